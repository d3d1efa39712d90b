/* function.c - the table of functions, sorted by name, and the models they serve. A function that
 * was never called is its row, its spec and one pointer. */
#include "gang.h"

#include <stdlib.h>
#include <string.h>

/* ---- revisions ---- */
struct gt_ctl_revision *gt_ctl_revision_new(const struct gt_function_row *row, struct gt_spec *spec)
{
	size_t size = strlen(row->spec_json) + 1, name = strlen(row->name) + 1;
	struct gt_ctl_revision *rev;

	rev = gt_spec_pack_behind(spec, sizeof(*rev) + size + name, &spec);

	rev->refs = 1;
	rev->row = *row;
	rev->row.spec_json = memcpy(rev->text, row->spec_json, size);
	rev->row.name = memcpy(rev->text + size, row->name, name);
	rev->spec = spec;
	return rev;
}

struct gt_ctl_revision *gt_ctl_revision_ref(struct gt_ctl_revision *rev)
{
	rev->refs++;
	return rev;
}

void gt_ctl_revision_unref(struct gt_ctl_revision *rev)
{
	if (!rev || --rev->refs > 0)
		return;
	free(rev); /* and its spec */
}

/* ---- models ---- */
/* Index of the first entry that is not below `name`. */
static size_t models_seek(const struct gt_control *c, const char *name)
{
	size_t lo = 0, hi = c->n_models;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(c->models[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct gt_ctl_function *gt_ctl_model_find(struct gt_control *c, const char *model)
{
	size_t at = models_seek(c, model);

	return at < c->n_models && strcmp(c->models[at].name, model) == 0 ? c->models[at].f : NULL;
}

static void models_add(struct gt_control *c, struct gt_ctl_function *f)
{
	const struct gt_spec *spec = f->rev->spec;

	for (size_t i = 0; i < spec->n_models; i++) {
		size_t at = models_seek(c, spec->models[i]);

		if (at < c->n_models && strcmp(c->models[at].name, spec->models[i]) == 0)
			continue;
		if (c->n_models == c->cap_models) {
			c->cap_models = c->cap_models ? 2 * c->cap_models : 16;
			c->models = gt_grow(c->models, c->cap_models, sizeof(c->models[0]));
		}
		memmove(&c->models[at + 1], &c->models[at],
			(c->n_models - at) * sizeof(c->models[0]));
		c->models[at] = (struct gt_ctl_model){ .name = spec->models[i], .f = f };
		c->n_models++;
	}
}

static void models_remove(struct gt_control *c, struct gt_ctl_function *f)
{
	const struct gt_spec *spec = f->rev->spec;

	for (size_t i = 0; i < spec->n_models; i++) {
		size_t at = models_seek(c, spec->models[i]);

		if (at == c->n_models || c->models[at].f != f ||
		    strcmp(c->models[at].name, spec->models[i]) != 0)
			continue;
		c->n_models--;
		memmove(&c->models[at], &c->models[at + 1],
			(c->n_models - at) * sizeof(c->models[0]));
	}
}

const char *gt_control_model(struct gt_control *c, const char *model)
{
	struct gt_ctl_function *f = gt_ctl_model_find(c, model);

	return f ? gt_ctl_name(f) : NULL;
}

/* ---- the table ---- */
#define BLOCK 255 /* functions that are allocated at once: alone each would take twice its size */

struct gt_ctl_function_block {
	struct gt_ctl_function_block *next;
	struct gt_ctl_function all[BLOCK];
};

/* Zeroed. Those that are given back are a list, by their member `next`. */
static struct gt_ctl_function *function_take(struct gt_control *c)
{
	struct gt_ctl_function *f;

	if (!c->spare_functions) {
		struct gt_ctl_function_block *b = gt_alloc(sizeof(*b));

		LL_PREPEND(c->function_blocks, b);
		for (size_t i = BLOCK; i-- > 0;)
			LL_PREPEND(c->spare_functions, &b->all[i]);
	}
	f = c->spare_functions;
	LL_DELETE(c->spare_functions, f);
	*f = (struct gt_ctl_function){ 0 };
	return f;
}

void gt_ctl_functions_free(struct gt_control *c)
{
	struct gt_ctl_function_block *b, *next;

	while (c->n_functions > 0)
		gt_ctl_function_remove(c, c->functions[c->n_functions - 1]);
	LL_FOREACH_SAFE (c->function_blocks, b, next)
		free(b);
	free(c->functions);
	free(c->models);
}

static size_t functions_seek(const struct gt_control *c, const char *name)
{
	size_t lo = 0, hi = c->n_functions;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(gt_ctl_name(c->functions[mid]), name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct gt_ctl_function *gt_ctl_function_find(struct gt_control *c, const char *name)
{
	size_t at = functions_seek(c, name);

	if (at == c->n_functions || strcmp(gt_ctl_name(c->functions[at]), name) != 0)
		return NULL;
	return c->functions[at];
}

struct gt_ctl_function *gt_ctl_function_set(struct gt_control *c, struct gt_ctl_revision *rev)
{
	size_t at = functions_seek(c, rev->row.name);
	struct gt_ctl_function *f = gt_ctl_function_find(c, rev->row.name);

	if (f) {
		rev->loaded = f->rev->loaded;
		models_remove(c, f); /* their names live in the spec that may be freed now */
		gt_ctl_revision_unref(f->rev);
	} else {
		if (c->n_functions == c->cap_functions) {
			c->cap_functions = c->cap_functions ? 2 * c->cap_functions : 64;
			c->functions = gt_grow(c->functions, c->cap_functions,
					       sizeof(struct gt_ctl_function *));
		}
		f = function_take(c);
		memmove(&c->functions[at + 1], &c->functions[at],
			(c->n_functions - at) * sizeof(c->functions[0]));
		c->functions[at] = f;
		c->n_functions++;
	}
	f->rev = rev;
	models_add(c, f);
	return f;
}

struct gt_ctl_live *gt_ctl_live(struct gt_control *c, struct gt_ctl_function *f)
{
	if (f->live)
		return f->live;
	struct gt_ctl_live *live = gt_alloc(sizeof(*live));

	live->f = f;
	live->number = ++c->last_number;
	live->scale = gt_scale_new();
	if (c->candidate.on)
		live->shadow = gt_scale_shadow_new(&c->candidate);
	live->start_ms = CTL_START_MS_DEFAULT;
	live->fail_seq = c->epoch << 32; /* grows over restarts of control, as gateways expect */
	live->due_ns = CTL_NEVER;
	DL_APPEND(c->lives, live);
	f->live = live;
	return live;
}

/* Decisions are taken once for all changes of one input: see gt_ctl_finish. */
void gt_ctl_touch(struct gt_control *c, struct gt_ctl_function *f)
{
	struct gt_ctl_live *live = gt_ctl_live(c, f);

	if (live->touched)
		return;
	live->touched = true;
	LL_PREPEND2(c->touched, live, next_touched);
}

static void live_free(struct gt_control *c, struct gt_ctl_live *live)
{
	struct gt_ctl_replica *r, *r_next;
	struct gt_ctl_traffic *t, *t_next;

	gt_ctl_due_set(c, live, CTL_NEVER);
	if (live->touched)
		LL_DELETE2(c->touched, live, next_touched);
	if (live->listed_blocked)
		LL_DELETE2(c->blocked, live, next_blocked);
	DL_DELETE(c->lives, live);
	gt_ctl_gangs_orphan(c, live);
	DL_FOREACH_SAFE (live->replicas, r, r_next)
		gt_ctl_replica_orphan(c, r);
	DL_FOREACH_SAFE (live->ended, r, r_next)
		gt_ctl_replica_free(r);
	DL_FOREACH_SAFE (live->traffic, t, t_next)
		free(t);
	gt_ctl_failure_clear(live);
	gt_scale_free(live->scale);
	gt_scale_shadow_free(live->shadow);
	if (c->ports.on_scale)
		c->ports.on_scale(c->ports.ctx, gt_ctl_name(live->f), NULL, NULL);
	free(live);
}

void gt_ctl_function_remove(struct gt_control *c, struct gt_ctl_function *f)
{
	size_t at = functions_seek(c, gt_ctl_name(f));

	c->n_functions--;
	memmove(&c->functions[at], &c->functions[at + 1],
		(c->n_functions - at) * sizeof(c->functions[0]));
	models_remove(c, f);
	if (f->live)
		live_free(c, f->live);
	gt_ctl_revision_unref(f->rev);
	LL_PREPEND(c->spare_functions, f);
}

/* ---- views ---- */
const char *gt_function_state_name(enum gt_function_state s)
{
	static const char *const names[] = {
		[GT_FUNCTION_IDLE] = "idle",         [GT_FUNCTION_STARTING] = "starting",
		[GT_FUNCTION_READY] = "ready",       [GT_FUNCTION_PARKED] = "parked",
		[GT_FUNCTION_DRAINING] = "draining", [GT_FUNCTION_FAILING] = "failing",
	};

	_Static_assert(GT_LEN(names) == GT_FUNCTION_N, "every state has a name");
	return (unsigned)s < GT_FUNCTION_N ? names[s] : "unknown";
}

static enum gt_function_state function_state(const struct gt_function_view *v, uint32_t leaving)
{
	if (v->replicas[GT_REPLICA_READY] > 0)
		return GT_FUNCTION_READY;
	if (v->replicas[GT_REPLICA_PENDING] + v->replicas[GT_REPLICA_PULLING] +
		    v->replicas[GT_REPLICA_STARTING] + v->replicas[GT_REPLICA_UNPARKING] >
	    0)
		return GT_FUNCTION_STARTING;
	if (v->last_failure)
		return GT_FUNCTION_FAILING;
	if (v->replicas[GT_REPLICA_PARKED] + v->replicas[GT_REPLICA_PARKING] > 0)
		return GT_FUNCTION_PARKED;
	return leaving > 0 ? GT_FUNCTION_DRAINING : GT_FUNCTION_IDLE;
}

void gt_ctl_view_fill(struct gt_control *c, struct gt_ctl_function *f, struct gt_function_view *v)
{
	const struct gt_ctl_live *live = f->live;
	uint64_t now = gt_ctl_now(c);
	const struct gt_ctl_replica *r;
	const struct gt_ctl_gang *g;
	uint32_t staying = 0;

	*v = (struct gt_function_view){ .row = &f->rev->row,
					.spec = f->rev->spec,
					.why = "never called",
					.start_ms = CTL_START_MS_DEFAULT };
	if (!live)
		return;
	DL_FOREACH (live->replicas, r) {
		if (gt_ctl_follows(r))
			continue;
		v->replicas[r->state]++;
		staying += !gt_ctl_leaving(r) && r->state != GT_REPLICA_PARKING &&
			   r->state != GT_REPLICA_PARKED;
	}
	DL_FOREACH (live->gangs, g)
		v->replicas[GT_REPLICA_PENDING] += g->broken && g->again && live->decision.need > 0;
	/* What is held of the past keeps replicas, but never asks for new ones. */
	v->wanted = GT_MAX(live->decision.need, GT_MIN(live->decision.wanted, staying));
	v->why = live->decision.why;
	v->queued = live->queued;
	v->in_flight = live->in_flight;
	v->failures = live->failures;
	v->retry_in_ms = live->retry_at_ns > now
				 ? (live->retry_at_ns - now + GT_NS_PER_MS - 1) / GT_NS_PER_MS
				 : 0;
	v->last_failure = live->failure;
	v->start_ms = live->start_ms;
	v->starts_total = live->starts_total;
	v->failed_total = live->failed_total;
	v->parking = (struct gt_parking_view){ .parks = live->parking.parks,
					       .unparks = live->parking.wakes,
					       .refused = live->parking.refused,
					       .park_ms = live->parking.park_ms,
					       .unpark_ms = live->parking.wake_ms,
					       .park_sum_ms = live->parking.park_sum_ms,
					       .unpark_sum_ms = live->parking.wake_sum_ms };
	v->state = function_state(v, v->replicas[GT_REPLICA_DRAINING]);
}

int gt_control_function(struct gt_control *c, const char *name, struct gt_function_view *ret,
			struct gt_err *err)
{
	struct gt_ctl_function *f = gt_ctl_function_find(c, name);

	if (!f)
		return gt_err_set(err, ENOENT, "function_not_found", "there is no function %s",
				  name);
	gt_ctl_view_fill(c, f, ret);
	return 0;
}

void gt_control_functions(struct gt_control *c, const char *after, const char *prefix,
			  bool (*fn)(const struct gt_function_view *v, void *arg), void *arg)
{
	after = after ? after : "";
	prefix = prefix ? prefix : "";
	size_t at = functions_seek(c, strcmp(after, prefix) > 0 ? after : prefix);

	for (; at < c->n_functions; at++) {
		struct gt_function_view v;
		const char *name = gt_ctl_name(c->functions[at]);

		if (strcmp(name, after) == 0)
			continue;
		if (!gt_starts_with(name, prefix))
			break;
		gt_ctl_view_fill(c, c->functions[at], &v);
		if (!fn(&v, arg))
			break;
	}
}

size_t gt_control_functions_count(const struct gt_control *c)
{
	return c->n_functions;
}
