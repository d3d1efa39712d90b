/* schedule.c - schedules in the virtual fleet: the store's table of them. Control's end is the real
 * one, and reads and steps on over whatever dies; each due time must have one call. */
#include "world_priv.h"

#include <stdlib.h>

#include <gantry/control/schedule.h>

static struct w_plan *plan_find(struct gt_world *w, const char *name)
{
	for (size_t i = 0; i < w->tasks.n_plans; i++)
		if (gt_streq(w->tasks.plans[i].name, name))
			return &w->tasks.plans[i];
	return NULL;
}

static void row_give(const struct gt_world *w, const struct w_plan *p, struct gt_schedule *to)
{
	gt_schedule_fini(to);
	gt_strcopy(to->name, sizeof(to->name), p->name);
	gt_strcopy(to->zone, sizeof(to->zone), "UTC");
	gt_strcopy(to->call.function, sizeof(to->call.function), w->fns[p->fn]->name);
	to->every_ms = p->every_ms;
	to->catch_up = GT_CATCH_UP_ALL;
	to->since_ms = p->since_ms;
	to->next_ms = p->next_ms;
}

static void put(struct gt_world *w, struct gt_task_op *op)
{
	struct gt_schedule *s = &op->schedules[0];
	struct w_plan *p = plan_find(w, s->name);

	if (!p) {
		w->tasks.plans = gt_grow(w->tasks.plans, w->tasks.n_plans + 1, sizeof(*p));
		p = &w->tasks.plans[w->tasks.n_plans++];
		*p = (struct w_plan){ .fn = gt_w_fn(w, s->call.function)->index,
				      .every_ms = s->every_ms,
				      .since_ms = op->now_ms / 1000 * 1000,
				      .next_ms = s->next_ms };
		gt_strcopy(p->name, sizeof(p->name), s->name);
	}
	row_give(w, p, s);
}

/* The calls of the step; a time that has one already is a rule broken, as no clock is set. */
static void make(struct gt_world *w, struct w_plan *p, struct gt_task_op *op)
{
	for (size_t i = 0; i < op->n_dues; i++) {
		uint64_t k = (op->dues[i] - p->since_ms) / p->every_ms;
		struct gt_task *t;

		if (k >= GT_LEN(p->made) || p->made[k]++)
			gt_w_break(w, "schedules", "%s has a second call for its time %llu",
				   p->name, (unsigned long long)k);
		t = gt_task_op_add(op);
		gt_strcopy(t->function, sizeof(t->function), w->fns[p->fn]->name);
		t->deadline_ms = UINT64_MAX;
	}
}

static void fire(struct gt_world *w, struct gt_task_op *op)
{
	struct gt_schedule *s = &op->schedules[0];
	struct w_plan *p = plan_find(w, s->name);

	if (p->next_ms == op->told_ms) {
		make(w, p, op);
		p->next_ms = s->next_ms;
	}
	row_give(w, p, s);
}

static void due(struct gt_world *w, struct gt_task_op *op)
{
	for (size_t i = 0; i < w->tasks.n_plans; i++) {
		const struct w_plan *p = &w->tasks.plans[i];

		if (p->next_ms <= op->told_ms)
			row_give(w, p, gt_task_op_plan(op));
		else
			op->next_ms = GT_MIN(op->next_ms, p->next_ms);
	}
}

bool gt_w_plan_apply(struct gt_world *w, struct gt_task_op *op)
{
	switch (op->verb) {
	case GT_TASK_PLAN_PUT:
		put(w, op);
		return true;
	case GT_TASK_FIRE:
		fire(w, op);
		return true;
	case GT_TASK_PLAN_DUE:
		due(w, op);
		return true;
	case GT_TASK_PLAN_LIST:
		for (size_t i = 0; i < w->tasks.n_plans; i++)
			row_give(w, &w->tasks.plans[i], gt_task_op_plan(op));
		return true;
	default:
		return false;
	}
}

bool gt_w_plan_near(const struct gt_world *w, const char *function)
{
	for (size_t i = 0; i < w->tasks.n_plans; i++) {
		const struct w_plan *p = &w->tasks.plans[i];

		if (gt_streq(w->fns[p->fn]->name, function) &&
		    p->next_ms < gt_w_wall_ms((void *)w) + 60000)
			return true;
	}
	return false;
}

void gt_w_plan_failed(struct gt_world *w, struct gt_task_op *op)
{
	struct w_plan *p = op->verb == GT_TASK_FIRE ? plan_find(w, op->schedules[0].name) : NULL;

	if (p && gt_w_sabotaged(w, "a step is kept without its calls"))
		p->next_ms = op->schedules[0].next_ms;
}

static void on_put(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	(void)err;
	(void)arg;
	gt_task_op_free(op);
}

void gt_world_schedule(struct gt_world *w, size_t fn, uint64_t every_s)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_PLAN_PUT);
	struct gt_schedule *s = gt_task_op_plan(op);
	struct gt_err err;

	snprintf(s->name, sizeof(s->name), "p%zu", fn);
	gt_strcopy(s->zone, sizeof(s->zone), "UTC");
	gt_strcopy(s->call.function, sizeof(s->call.function), w->fns[fn]->name);
	s->every_ms = every_s * 1000;
	s->catch_up = GT_CATCH_UP_ALL;
	w->tasks.service_ns = W_MS;
	if (!w->c || gt_control_task(w->c, op, on_put, w, &err) < 0)
		gt_task_op_free(op);
}

uint64_t gt_world_schedules_missed(const struct gt_world *w, uint64_t late_s, uint64_t *ret_made)
{
	uint64_t now_ms = gt_w_wall_ms((void *)w), missed = 0;

	*ret_made = 0;
	for (size_t i = 0; i < w->tasks.n_plans; i++) {
		const struct w_plan *p = &w->tasks.plans[i];

		for (uint64_t k = 1; p->since_ms + k * p->every_ms + late_s * 1000 < now_ms; k++) {
			missed += p->made[k] == 0;
			*ret_made += p->made[k];
		}
	}
	return missed;
}
