/* journal.c - the decisions that were taken lately. */
#include "control_priv.h"

#include <string.h>

/* The strings that a decision names follow it: function, node, why. */
struct note {
	struct gt_decision d;
	char text[];
};

const char *gt_decision_kind_name(enum gt_decision_kind k)
{
	static const char *const names[] = {
		[GT_DECISION_SCALE] = "scale", [GT_DECISION_PLACE] = "place"
	};

	_Static_assert(GT_LEN(names) == GT_DECISION_KINDS, "every kind has a name");
	return (unsigned)k < GT_DECISION_KINDS ? names[k] : "unknown";
}

static const char *text_add(char **at, const char *s)
{
	char *to = *at;
	size_t size = strlen(s) + 1;

	memcpy(to, s, size);
	*at += size;
	return to;
}

/* d's strings are the caller's. */
static void note_add(struct gt_control *c, const struct gt_ctl_live *live,
		     const struct gt_decision *d)
{
	bool place = d->kind == GT_DECISION_PLACE;
	const char *function = gt_ctl_name(live->f);
	size_t size = strlen(function) + 1;

	if (place)
		size += strlen(d->place.node) + strlen(d->place.why) + 2;
	struct note *note = gt_alloc(sizeof(*note) + size);
	char *at = note->text;

	note->d = *d;
	note->d.id = ++c->last_decision;
	note->d.wall_ms = gt_wall_ms(&c->ports.clock);
	note->d.revision = live->f->rev->row.revision;
	note->d.function = text_add(&at, function);
	if (place) {
		note->d.place.node = text_add(&at, d->place.node);
		note->d.place.why = text_add(&at, d->place.why);
	}
	gt_ctl_ring_add(&c->decisions, note);
}

void gt_ctl_journal_scale(struct gt_control *c, struct gt_ctl_live *live,
			  const struct gt_scale_in *in)
{
	const struct gt_scale_out *out = &live->decision;
	const struct gt_ctl_noted is = { .need = out->need,
					 .wanted = out->wanted,
					 .need_rule = (uint8_t)out->need_rule,
					 .wanted_rule = (uint8_t)out->wanted_rule };

	if (is.need == live->noted.need && is.wanted == live->noted.wanted &&
	    is.need_rule == live->noted.need_rule && is.wanted_rule == live->noted.wanted_rule)
		return;
	live->noted = is;
	const struct gt_decision d = { .kind = GT_DECISION_SCALE,
				       .scale = { .in = *in, .out = *out } };

	note_add(c, live, &d);
}

void gt_ctl_journal_place(struct gt_control *c, struct gt_ctl_live *live,
			  const struct gt_ctl_replica *r, const char *why)
{
	const struct gt_spec *spec = live->f->rev->spec;
	struct gt_decision d = {
		.kind = GT_DECISION_PLACE,
		.place = { .cpu_milli = spec->resources.cpu_milli,
			   .memory_bytes = spec->resources.memory_bytes,
			   .nodes = (uint32_t)c->n_nodes,
			   .node = r ? r->node->name : "",
			   .why = why },
	};

	if (r)
		gt_strcopy(d.place.replica, sizeof(d.place.replica), r->id);
	note_add(c, live, &d);
}

int gt_control_decisions(struct gt_control *c, const char *function, uint64_t after,
			 bool (*fn)(const struct gt_decision *d, void *arg), void *arg,
			 struct gt_err *err)
{
	uint64_t first = c->last_decision - c->decisions.n + 1; /* ids have no gaps */

	if (after != 0 && after + 1 < first)
		return gt_err_set(err, ERANGE, "cursor_gone",
				  "decisions after %llu are no longer kept; the oldest kept is "
				  "%llu: list from the start",
				  (unsigned long long)after, (unsigned long long)first);
	size_t skip = after >= first ? (size_t)GT_MIN(after - first + 1, c->decisions.n) : 0;

	for (size_t i = skip; i < c->decisions.n; i++) {
		const struct note *note = gt_ctl_ring_at(&c->decisions, i);

		if (strcmp(note->d.function, function) == 0 && !fn(&note->d, arg))
			break;
	}
	return 0;
}
