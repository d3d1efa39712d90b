/* journal.c - the decisions that were taken lately. */
#include "control_priv.h"

#include <gantry/base/buf.h>

#include <string.h>

#define STRINGS_MAX (4 + GT_PLACE_SHOWN)

/* The strings that a decision names follow it. */
struct note {
	struct gt_decision d;
	char text[];
};

const char *gt_decision_kind_name(enum gt_decision_kind k)
{
	static const char *const names[] = {
		[GT_DECISION_SCALE] = "scale",
		[GT_DECISION_PLACE] = "place",
		[GT_DECISION_EVICT] = "evict",
		[GT_DECISION_PARK] = "park",
	};

	_Static_assert(GT_LEN(names) == GT_DECISION_KINDS, "every kind has a name");
	return (unsigned)k < GT_DECISION_KINDS ? names[k] : "unknown";
}

/* Its strings, all members of *d. Returns how many. */
static size_t strings_of(struct gt_decision *d, const char **ret[STRINGS_MAX])
{
	size_t n = 0;

	ret[n++] = &d->function;
	if (d->kind == GT_DECISION_PLACE) {
		ret[n++] = &d->place.node;
		ret[n++] = &d->place.given;
		ret[n++] = &d->place.why;
		for (size_t i = 0; i < d->place.n_best; i++)
			ret[n++] = &d->place.best[i].node;
	} else if (d->kind == GT_DECISION_EVICT) {
		ret[n++] = &d->evict.node;
		ret[n++] = &d->evict.by;
	} else if (d->kind == GT_DECISION_PARK) {
		ret[n++] = &d->park.node;
		ret[n++] = &d->park.why;
		ret[n++] = &d->park.by;
	}
	return n;
}

/* d's strings are the caller's. */
static void note_add(struct gt_control *c, const struct gt_ctl_function *f, struct gt_decision d)
{
	const char **strings[STRINGS_MAX];
	size_t size = 0, n;

	d.id = ++c->last_decision;
	d.wall_ms = gt_wall_ms(&c->ports.clock);
	d.revision = f->rev->row.revision;
	d.function = gt_ctl_name(f);
	n = strings_of(&d, strings);
	for (size_t i = 0; i < n; i++)
		size += strlen(*strings[i]) + 1;
	struct note *note = gt_alloc(sizeof(*note) + size);
	char *at = note->text;

	note->d = d;
	strings_of(&note->d, strings);
	for (size_t i = 0; i < n; i++) {
		size = strlen(*strings[i]) + 1;
		*strings[i] = memcpy(at, *strings[i], size);
		at += size;
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
	note_add(c, live->f,
		 (struct gt_decision){ .kind = GT_DECISION_SCALE,
				       .scale = { .in = *in, .out = *out } });
}

static void look_note(const struct gt_control *c, const struct gt_sched_look *look,
		      struct gt_decision *d)
{
	_Static_assert((int)GT_PLACE_SHOWN == (int)GT_SCHED_BEST_MAX, "as many as are looked for");
	_Static_assert((int)GT_PLACE_LIMITS >= (int)GT_SCHED_LIMITS, "room for every limit");
	d->place.looked = look->looked;
	for (size_t i = 0; i < look->n_best; i++)
		d->place.best[d->place.n_best++] =
			(struct gt_place_node){ .node = c->node_at[look->best[i].node]->name,
						.room = look->best[i].room,
						.ready = look->best[i].ready,
						.spread = look->best[i].spread };
	for (unsigned l = 0; l < GT_SCHED_LIMITS; l++) {
		if (look->refused[l] == 0)
			continue;
		d->place.refused[d->place.n_refused].limit = gt_sched_limit_name(l);
		d->place.refused[d->place.n_refused++].nodes = look->refused[l];
	}
}

void gt_ctl_journal_place(struct gt_control *c, struct gt_ctl_live *live,
			  const struct gt_ctl_replica *r, const struct gt_sched_look *look,
			  const char *why)
{
	const struct gt_spec *spec = live->f->rev->spec;
	gt_auto(buf) struct gt_buf given = { 0 };
	struct gt_decision d = {
		.kind = GT_DECISION_PLACE,
		.place = { .cpu_milli = spec->resources.cpu_milli,
			   .memory_bytes = spec->resources.memory_bytes,
			   .gpus = spec->resources.gpu.count,
			   .gpu_milli = spec->resources.gpu.share_milli,
			   .gpu_bytes = spec->resources.gpu.memory_bytes,
			   .nodes = HASH_COUNT(c->nodes),
			   .node = r ? r->node->name : "",
			   .why = why },
	};

	for (size_t i = 0; r && i < r->gpus.n; i++)
		gt_buf_addf(&given, "%s%s", i ? " " : "", r->gpus.list[i].uuid);
	d.place.given = gt_buf_str(&given);
	look_note(c, look, &d);
	if (r) {
		struct gt_weights_here here = gt_ctl_weights_on(c, live->f->rev, r->node);

		gt_strcopy(d.place.replica, sizeof(d.place.replica), r->id);
		d.place.weights_here = here.resident;
		d.place.weights_total = here.total;
	}
	note_add(c, live->f, d);
}

void gt_ctl_journal_evict(struct gt_control *c, const struct gt_ctl_replica *r, const char *by,
			  double worth, size_t among)
{
	struct gt_decision d = {
		.kind = GT_DECISION_EVICT,
		.evict = { .node = r->node->name,
			   .by = by,
			   .worth = worth,
			   .among = (uint32_t)among },
	};

	gt_strcopy(d.evict.replica, sizeof(d.evict.replica), r->id);
	if (r->f)
		note_add(c, r->f, d);
}

void gt_ctl_journal_park(struct gt_control *c, const struct gt_ctl_replica *r, const char *why,
			 const char *by)
{
	struct gt_ctl_live *live = gt_ctl_live(c, r->f);
	bool back = r->state != GT_REPLICA_PARKING;
	uint64_t ms = back ? gt_ctl_wake_ms(live) : gt_ctl_park_ms(live);
	struct gt_decision d = {
		.kind = GT_DECISION_PARK,
		.park = { .node = r->node->name,
			  .why = why,
			  .by = by,
			  .method = r->park.method,
			  .back = back,
			  .swap_s = (double)ms / 1000 },
	};

	gt_strcopy(d.park.replica, sizeof(d.park.replica), r->id);
	note_add(c, r->f, d);
}

int gt_control_decisions(struct gt_control *c, const char *function, uint64_t after,
			 bool (*fn)(const struct gt_decision *d, void *arg), void *arg,
			 struct gt_err *err)
{
	size_t skip;
	int r = gt_ctl_ring_after(&c->decisions, c->last_decision, after, "decisions", &skip, err);

	if (r < 0)
		return r;
	for (size_t i = skip; i < c->decisions.n; i++) {
		const struct note *note = gt_ctl_ring_at(&c->decisions, i);

		if (strcmp(note->d.function, function) == 0 && !fn(&note->d, arg))
			break;
	}
	return 0;
}
