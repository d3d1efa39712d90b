/* change.c - deploys and deletions. What was promised to a user is durable first, so a change waits
 * for the store; those of one function wait for each other in a lane, and each is judged (If-Match,
 * models) only when its turn has come. */
#include "control_priv.h"

#include <stdlib.h>
#include <string.h>

struct op {
	struct gt_control *c;
	struct gt_ctl_lane *lane;
	gt_put_fn *put_fn; /* exactly one of the two is set */
	gt_delete_fn *delete_fn;
	void *arg;
	char etag[GT_ETAG_SIZE];
	char *spec_json, *if_match;
	struct gt_spec *spec;
	bool if_none_match, dry_run, force;
	struct gt_ctl_revision *rev; /* while the store writes it */
	struct op *prev, *next;
};

struct gt_ctl_lane {
	char function[GT_NAME_MAX + 1];
	struct op *ops; /* the first one is in work */
	size_t n_ops;
	bool writing; /* the store has the first one */
	bool running; /* lane_run is below us on the stack */
	UT_hash_handle hh;
};

static void op_free(struct op *op)
{
	gt_spec_free(op->spec);
	gt_ctl_revision_unref(op->rev);
	free(op->spec_json);
	free(op->if_match);
	free(op);
}

/* Takes the op out of its lane, so that whoever is called back may ask for the next change. */
static void op_answer(struct op *op, const struct gt_err *err, enum gt_put_result result)
{
	struct gt_control *c = op->c;
	struct gt_function_view v;
	struct gt_ctl_function *f = gt_ctl_function_find(c, op->lane->function);

	DL_DELETE(op->lane->ops, op);
	op->lane->n_ops--;
	if (f)
		gt_ctl_view_fill(c, f, &v);
	if (op->delete_fn)
		op->delete_fn(err, op->arg);
	else
		op->put_fn(err, result, err || !f ? NULL : &v, op->arg);
	op_free(op);
}

/* ---- judging ---- */
static int check_match(const struct op *op, const struct gt_ctl_function *f, struct gt_err *err)
{
	const char *name = op->lane->function;

	if (op->if_none_match && f)
		return gt_err_set(err, ESTALE, "etag_mismatch",
				  "function %s exists already, with ETag %s", name,
				  f->rev->row.etag);
	if (!op->if_match ||
	    (f && (strcmp(op->if_match, "*") == 0 || strcmp(op->if_match, f->rev->row.etag) == 0)))
		return 0;
	if (!f)
		return gt_err_set(err, ESTALE, "etag_mismatch", "function %s does not exist", name);
	return gt_err_set(err, ESTALE, "etag_mismatch",
			  "function %s has ETag %s, not %s: read it again", name, f->rev->row.etag,
			  op->if_match);
}

/* Also a model that another function is about to take counts as taken. */
static const char *model_owner(struct gt_control *c, const struct op *op, const char *model)
{
	struct gt_ctl_function *f = gt_ctl_model_find(c, model);
	struct gt_ctl_lane *lane, *lane_next;

	if (f && strcmp(gt_ctl_name(f), op->lane->function) != 0)
		return gt_ctl_name(f);
	HASH_ITER (hh, c->lanes, lane, lane_next) {
		const struct gt_spec *spec = lane->writing && lane->ops->rev ? lane->ops->rev->spec
									     : NULL;

		if (lane == op->lane || !spec)
			continue;
		for (size_t i = 0; i < spec->n_models; i++)
			if (strcmp(spec->models[i], model) == 0)
				return lane->function;
	}
	return NULL;
}

static int check_models(struct gt_control *c, const struct op *op, struct gt_err *err)
{
	for (size_t i = 0; i < op->spec->n_models; i++) {
		const char *owner = model_owner(c, op, op->spec->models[i]);

		if (!owner)
			continue;
		gt_err_set(err, EEXIST, "model_taken",
			   "model %s is served by function %s: remove it there first",
			   op->spec->models[i], owner);
		return gt_err_path(err, "serves.openai[%zu]", i);
	}
	return 0;
}

static int put_check(struct gt_control *c, const struct op *op, const struct gt_ctl_function *f,
		     struct gt_err *err)
{
	int r = check_match(op, f, err);

	if (r == 0)
		r = check_models(c, op, err);
	if (r == 0 && !f && c->n_functions >= GT_FUNCTIONS_MAX)
		r = gt_err_set(err, ENOSPC, "conflict",
			       "there are %zu functions, which is the limit: delete one first",
			       c->n_functions);
	return r;
}

/* ---- writing ---- */
static void lane_run(struct gt_control *c, struct gt_ctl_lane *lane);

/* Whoever is answered may ask for the next change of the function at once; the lane stays ours. */
static void lane_answer(struct gt_control *c, struct op *op, const struct gt_err *err,
			enum gt_put_result result)
{
	struct gt_ctl_lane *lane = op->lane;

	lane->running = true;
	op_answer(op, err, result);
	lane->running = false;
	lane_run(c, lane);
}

static void deployed(struct gt_control *c, struct op *op, bool created)
{
	struct gt_ctl_function *f = gt_ctl_function_set(c, gt_ctl_revision_ref(op->rev));

	gt_ctl_event(c, created ? "function.created" : "function.updated", gt_ctl_name(f), NULL,
		     NULL, NULL, "revision %u", f->rev->row.revision);
	/* A function that is not called needs no state beyond its row. */
	if (f->live || f->rev->spec->scale.min > 0)
		gt_ctl_touch(c, f);
	if (f->live) {
		gt_ctl_failure_forget(f->live);
		f->live->route_changed = false;
	}
	gt_ctl_tell_route(c, f);
}

static void put_done(const struct gt_err *err, void *arg)
{
	struct op *op = arg;
	struct gt_control *c = op->c;
	struct gt_ctl_lane *lane = op->lane;
	bool created = !gt_ctl_function_find(c, lane->function);

	lane->writing = false;
	if (!err) {
		deployed(c, op, created);
		gt_ctl_finish(c);
	}
	lane_answer(c, op, err, created ? GT_PUT_CREATED : GT_PUT_CHANGED);
}

static void put_begin(struct gt_control *c, struct op *op)
{
	struct gt_ctl_function *f = gt_ctl_function_find(c, op->lane->function);
	struct gt_err err = { 0 };

	if (put_check(c, op, f, &err) < 0) {
		op_answer(op, &err, GT_PUT_UNCHANGED);
		return;
	}
	if (f && strcmp(f->rev->row.etag, op->etag) == 0) {
		op_answer(op, NULL, GT_PUT_UNCHANGED);
		return;
	}
	if (gt_ctl_may_ever_fit(c, op->spec, &err) < 0) {
		op_answer(op, &err, GT_PUT_UNCHANGED);
		return;
	}
	if (op->dry_run) {
		op_answer(op, NULL, f ? GT_PUT_CHANGED : GT_PUT_CREATED);
		return;
	}
	struct gt_function_row row = { .name = op->lane->function,
				       .revision = f ? f->rev->row.revision + 1 : 1,
				       .spec_json = op->spec_json,
				       .updated_ms = gt_wall_ms(&c->ports.clock) };

	row.created_ms = f ? f->rev->row.created_ms : row.updated_ms;
	gt_strcopy(row.etag, sizeof(row.etag), op->etag);
	op->rev = gt_ctl_revision_new(&row, gt_steal(&op->spec));
	op->lane->writing = true;
	c->ports.store.put(c->ports.store.ctx, &op->rev->row, put_done, op);
}

/* Its replicas become strays that drain on their own; the name is free at once. */
static void removed(struct gt_control *c, struct gt_ctl_function *f, bool force)
{
	char name[GT_NAME_MAX + 1];
	bool idle = !f->live || f->live->queued + f->live->in_flight == 0;
	struct gt_ctl_replica *r, *r_next;

	gt_strcopy(name, sizeof(name), gt_ctl_name(f));
	if (f->live)
		DL_FOREACH_SAFE (f->live->replicas, r, r_next) {
			gt_ctl_replica_leave(c, r, "function deleted", force);
			if (idle) /* no gateway would name it drained: there is no route any more */
				r->drained = UINT64_MAX;
		}
	gt_ctl_function_remove(c, f);
	gt_ctl_event(c, "function.deleted", name, NULL, NULL, NULL, "%s",
		     force ? "its replicas are killed" : "its replicas drain");
	c->news++;
	c->ports.on_route_gone(c->ports.ctx, name);
}

static void delete_done(const struct gt_err *err, void *arg)
{
	struct op *op = arg;
	struct gt_control *c = op->c;
	struct gt_ctl_lane *lane = op->lane;
	struct gt_ctl_function *f = gt_ctl_function_find(c, lane->function);

	lane->writing = false;
	if (!err && f) {
		removed(c, f, op->force);
		gt_ctl_finish(c);
	}
	lane_answer(c, op, err, GT_PUT_UNCHANGED);
}

static void delete_begin(struct gt_control *c, struct op *op)
{
	struct gt_ctl_function *f = gt_ctl_function_find(c, op->lane->function);
	struct gt_err err = { 0 };

	if (!f)
		gt_err_set(&err, ENOENT, "function_not_found", "there is no function %s",
			   op->lane->function);
	if (!f || check_match(op, f, &err) < 0) {
		op_answer(op, &err, GT_PUT_UNCHANGED);
		return;
	}
	op->lane->writing = true;
	c->ports.store.drop(c->ports.store.ctx, op->lane->function, delete_done, op);
}

/* ---- lanes ---- */
static void lane_run(struct gt_control *c, struct gt_ctl_lane *lane)
{
	if (lane->running)
		return;
	lane->running = true;
	while (lane->ops && !lane->writing) {
		if (lane->ops->delete_fn)
			delete_begin(c, lane->ops);
		else
			put_begin(c, lane->ops);
	}
	lane->running = false;
	if (lane->ops)
		return;
	HASH_DEL(c->lanes, lane);
	free(lane);
}

static struct gt_ctl_lane *lane_get(struct gt_control *c, const char *function)
{
	struct gt_ctl_lane *lane;

	HASH_FIND_STR(c->lanes, function, lane);
	if (lane)
		return lane;
	lane = gt_alloc(sizeof(*lane));
	gt_strcopy(lane->function, sizeof(lane->function), function);
	HASH_ADD_STR(c->lanes, function, lane);
	return lane;
}

static void lane_add(struct gt_control *c, const char *function, struct op *op)
{
	struct gt_ctl_lane *lane = lane_get(c, function);

	op->c = c;
	op->lane = lane;
	DL_APPEND(lane->ops, op);
	if (++lane->n_ops > CTL_OPS_MAX) {
		struct gt_err err = { 0 };

		gt_err_set(&err, EAGAIN, "unavailable",
			   "%d changes of function %s wait already: try again", CTL_OPS_MAX,
			   function);
		op_answer(op, &err, GT_PUT_UNCHANGED);
		return;
	}
	lane_run(c, lane);
}

void gt_control_put(struct gt_control *c, const struct gt_put *put, gt_put_fn *fn, void *arg)
{
	struct op *op = gt_alloc(sizeof(*op));

	op->put_fn = fn;
	op->arg = arg;
	op->spec = put->spec;
	op->spec_json = gt_strdup(put->spec_json);
	gt_strcopy(op->etag, sizeof(op->etag), put->etag);
	op->if_match = gt_strdup(put->if_match);
	op->if_none_match = put->if_none_match;
	op->dry_run = put->dry_run;
	lane_add(c, put->name, op);
}

void gt_control_delete(struct gt_control *c, const char *name, const char *if_match, bool force,
		       gt_delete_fn *fn, void *arg)
{
	struct op *op = gt_alloc(sizeof(*op));

	op->delete_fn = fn;
	op->arg = arg;
	op->if_match = gt_strdup(if_match);
	op->force = force;
	lane_add(c, name, op);
}

void gt_control_revisions(struct gt_control *c, const char *name, gt_store_revisions_fn *fn,
			  void *arg)
{
	struct gt_err err = { 0 };

	if (gt_ctl_function_find(c, name)) {
		c->ports.store.revisions(c->ports.store.ctx, name, fn, arg);
		return;
	}
	gt_err_set(&err, ENOENT, "function_not_found", "there is no function %s", name);
	fn(&err, NULL, 0, arg);
}

/* Nobody is answered any more: the store must be closed before control. */
void gt_ctl_lanes_free(struct gt_control *c)
{
	struct gt_ctl_lane *lane, *lane_next;
	struct op *op, *op_next;

	HASH_ITER (hh, c->lanes, lane, lane_next) {
		DL_FOREACH_SAFE (lane->ops, op, op_next)
			op_free(op);
		HASH_DEL(c->lanes, lane);
		free(lane);
	}
}
