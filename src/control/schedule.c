/* schedule.c - calls that are made by the clock: each due time has one, whoever looks, and however
 * often.
 *
 * A due time is passed by one transaction of the store, which moves the schedule on to the next one
 * only from the time that control knew (GT_TASK_FIRE); and the id of its call is made of the
 * schedule and the time, so that even a clock that is set back makes none of them twice. This is
 * the one place that goes by the wall clock: it looks at it once a minute at least, and when it
 * went back, all are computed anew, as they are at each start, for the zones' rules may have
 * changed. */
#include "schedule.h"
#include "task.h"

#include <stdlib.h>
#include <string.h>

#include <gantry/base/skew.h>

#define NEAR_MS       (15 * 60000ULL) /* those that are due within it are in memory */
#define LEAD_MOST_MS  (10 * 60000ULL) /* a start takes at most so long */
#define LOOK_MS       60000ULL        /* the wall clock may be set */
#define RETRY_NS      (1 * GT_NS_PER_S)
#define REST_MS       1000 /* between two reads of those that are near */
#define IN_FLIGHT_MAX 256
#define SWEEP_PAGE    500
#define NEVER_MS      UINT64_MAX

struct plan { /* one that is due soon */
	char name[GT_SCHEDULE_NAME_MAX + 1], function[GT_NAME_MAX + 1];
	struct gt_timing timing;
	enum gt_catch_up catch_up;
	bool cold, warm; /* warm: a replica is asked for ahead of it */
	bool busy;       /* the store has it */
	bool seen;       /* in the read that is taken up */
	uint64_t next_ms, resumed_ms, retry_ns;
	uint64_t serial; /* of what the store has */
	UT_hash_handle hh;
};

struct gt_ctl_schedules {
	struct plan *plans;
	uint64_t due_ns;
	uint64_t read_ms;  /* when those that are near must be read again; NEVER_MS: they are all
			      here */
	uint64_t sweep_ns; /* when a sweep that failed is tried again */
	bool reading, sweeping, sweep_again;
	unsigned in_flight;
	uint64_t serial;
	char swept[GT_SCHEDULE_NAME_MAX + 1]; /* so far */
	int64_t skew_ms;                      /* see gt_clock_set_back */
};

static uint64_t wall_ms(const struct gt_control *c)
{
	return gt_wall_ms(&c->ports.clock);
}

uint64_t gt_ctl_schedules_due(const struct gt_control *c)
{
	return c->schedules ? c->schedules->due_ns : CTL_NEVER;
}

static void look_soon(struct gt_control *c)
{
	c->schedules->due_ns = gt_ctl_now(c);
}

/* ---- a replica ahead of it ------------------------------------------------------------------ */

static uint64_t lead_ms(struct gt_control *c, const char *function)
{
	struct gt_ctl_function *f = gt_ctl_function_find(c, function);
	uint64_t ms = f ? gt_ctl_start_high_ms(f->live) : 0;

	return f ? GT_MIN(ms + ms / 4 + 250, LEAD_MOST_MS) : 0;
}

/* They are counted anew whenever one of them changes, so that no count can drift. */
static void book(struct gt_control *c, const char *function)
{
	struct gt_ctl_function *f = gt_ctl_function_find(c, function);
	const struct plan *p;
	uint32_t n = 0;

	if (!f)
		return;
	for (p = c->schedules->plans; p; p = p->hh.next)
		n += p->warm && gt_streq(p->function, function);
	if (n == 0 && !f->live)
		return;
	gt_ctl_live(c, f)->booked = n;
	gt_ctl_touch(c, f);
}

/* ---- those that are near -------------------------------------------------------------------- */

static void plan_drop(struct gt_control *c, struct plan *p)
{
	char function[GT_NAME_MAX + 1];
	bool warm = p->warm;

	gt_strcopy(function, sizeof(function), p->function);
	HASH_DEL(c->schedules->plans, p);
	free(p);
	if (warm)
		book(c, function);
}

static void plan_forget(struct gt_control *c, const char *name)
{
	struct plan *p = NULL;

	HASH_FIND_STR(c->schedules->plans, name, p);
	if (p)
		plan_drop(c, p);
}

/* It is as this row says. One that is not near is read when it is. */
static void plan_take(struct gt_control *c, const struct gt_schedule *row)
{
	struct gt_ctl_schedules *s = c->schedules;
	uint64_t now_ms = wall_ms(c);
	struct gt_timing timing;
	struct plan *p = NULL;

	HASH_FIND_STR(s->plans, row->name, p);
	if (row->paused || !row->next_ms || gt_ctl_timing(c, row, &timing, NULL) < 0) {
		plan_forget(c, row->name);
		return;
	}
	if (row->next_ms > now_ms + NEAR_MS || (!p && HASH_COUNT(s->plans) >= GT_SCHEDULES_NEAR)) {
		uint64_t at_ms = row->next_ms > now_ms + NEAR_MS ? row->next_ms - LEAD_MOST_MS
								 : row->next_ms;

		s->read_ms = GT_MIN(s->read_ms, GT_MAX(at_ms, now_ms + REST_MS));
		plan_forget(c, row->name);
		look_soon(c);
		return;
	}
	if (!p) {
		p = gt_alloc(sizeof(*p));
		gt_strcopy(p->name, sizeof(p->name), row->name);
		HASH_ADD_STR(s->plans, name, p);
	} else if (p->warm && (p->next_ms != row->next_ms || row->cold ||
			       !gt_streq(p->function, row->call.function))) {
		p->warm = false;
		book(c, p->function);
	}
	p->timing = timing;
	p->catch_up = row->catch_up;
	p->cold = row->cold;
	p->next_ms = row->next_ms;
	p->resumed_ms = row->resumed_ms;
	p->seen = true;
	gt_strcopy(p->function, sizeof(p->function), row->call.function);
	look_soon(c);
}

static void on_read(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_control *c = arg;
	struct gt_ctl_schedules *s = c->schedules;
	uint64_t now_ms = wall_ms(c);
	struct plan *p, *next;

	s->reading = false;
	s->read_ms = now_ms + REST_MS;
	if (!err) {
		HASH_ITER (hh, s->plans, p, next)
			p->seen = p->busy;
		s->read_ms = NEVER_MS;
		for (size_t i = 0; i < op->n_schedules; i++) {
			HASH_FIND_STR(s->plans, op->schedules[i].name, p);
			if (!p || !p->busy) /* its own answer says what it is */
				plan_take(c, &op->schedules[i]);
		}
		HASH_ITER (hh, s->plans, p, next)
			if (!p->seen)
				plan_drop(c, p);
		if (op->next_ms != UINT64_MAX)
			s->read_ms = GT_MIN(s->read_ms, GT_MAX(op->next_ms > now_ms + NEAR_MS
								       ? op->next_ms - LEAD_MOST_MS
								       : op->next_ms,
							       now_ms + REST_MS));
	}
	gt_task_op_free(op);
	look_soon(c);
	gt_ctl_finish(c);
}

static void read_near(struct gt_control *c)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_PLAN_DUE);

	op->told_ms = wall_ms(c) + NEAR_MS;
	op->limit = GT_SCHEDULES_NEAR;
	c->schedules->reading = true;
	gt_ctl_task_send(c, op, on_read);
}

/* ---- making calls --------------------------------------------------------------------------- */

static void on_fired(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_control *c = arg;
	struct gt_ctl_schedules *s = c->schedules;
	const struct gt_schedule *row = &op->schedules[0];
	struct plan *p = NULL;

	s->in_flight--;
	HASH_FIND_STR(s->plans, row->name, p);
	if (p && p->busy && p->serial == op->before)
		p->busy = false;
	if (err && gt_streq(err->slug, "schedule_not_found")) {
		plan_forget(c, row->name);
	} else if (err) {
		if (p)
			p->retry_ns = gt_ctl_now(c) + RETRY_NS;
	} else {
		for (size_t i = 0; i < op->n_tasks; i++)
			if (op->tasks[i].taken == GT_TAKEN_MISMATCH)
				gt_ctl_event(c, "schedule.passed", op->tasks[i].function, NULL,
					     NULL, "idempotency_mismatch",
					     "%s: call %s is another request", row->name,
					     op->tasks[i].id);
		gt_ctl_tasks_accepted(c, op);
		plan_take(c, row);
	}
	look_soon(c);
	gt_task_op_free(op);
	gt_ctl_finish(c);
}

static int64_t due_after(const struct gt_timing *t, uint64_t now_ms)
{
	int64_t at = gt_timing_next(t, (int64_t)(now_ms / 1000));

	return at == INT64_MAX ? 0 : at * 1000;
}

/* Why no call can be made now; NULL = it can. */
static const char *refusal(struct gt_control *c, const char *function)
{
	if (!gt_ctl_function_find(c, function))
		return "function_not_found";
	return gt_ctl_tasks_queued(c, function) >= GT_TASK_QUEUED_MAX ? "queue_full" : NULL;
}

static void pass(struct gt_control *c, const struct plan *p, struct gt_schedule *row, int64_t due_s,
		 const char *why)
{
	row->passed_ms = (uint64_t)due_s * 1000;
	gt_strcopy(row->reason, sizeof(row->reason), why);
	gt_ctl_event(c, "schedule.passed", p->function, NULL, NULL, why,
		     "%s: no call was made for a time that was due", p->name);
}

/* Which of the times that are due get a call: the last ones, as `catch_up` says. */
static void choose(struct gt_control *c, const struct plan *p, struct gt_task_op *op)
{
	struct gt_schedule *row = &op->schedules[0];
	uint64_t now_ms = wall_ms(c);
	size_t keep = p->catch_up == GT_CATCH_UP_ALL ? GT_SCHEDULE_ALL_MAX : 1, first;
	int64_t dues[GT_SCHEDULE_ALL_MAX + 1], now_s = (int64_t)(now_ms / 1000);
	int64_t from = (int64_t)GT_MAX(p->next_ms / 1000, (p->resumed_ms + 999) / 1000);
	size_t n = gt_timing_last(&p->timing, from, now_s, keep + 1, dues);
	const char *why = refusal(c, p->function);

	if (n == 0)
		return;
	if (!why && p->catch_up == GT_CATCH_UP_NONE &&
	    now_ms - (uint64_t)dues[n - 1] * 1000 > GT_SCHEDULE_LATE_MS)
		why = "missed";
	first = why ? n : n > keep;
	if (first)
		pass(c, p, row, dues[first - 1], why ? why : "missed");
	op->dues = gt_alloc_array(n, sizeof(*op->dues));
	for (; first < n; first++)
		op->dues[op->n_dues++] = (uint64_t)dues[first] * 1000;
	if (op->n_dues)
		row->fired_ms = op->dues[op->n_dues - 1];
}

static void fire(struct gt_control *c, struct plan *p)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_FIRE);
	struct gt_schedule *row = gt_task_op_plan(op);

	gt_strcopy(row->name, sizeof(row->name), p->name);
	op->told_ms = p->next_ms;
	row->next_ms = (uint64_t)due_after(&p->timing, wall_ms(c));
	choose(c, p, op);
	p->busy = true;
	p->serial = op->before = ++c->schedules->serial;
	c->schedules->in_flight++;
	gt_ctl_task_send(c, op, on_fired);
}

/* ---- all of them anew ----------------------------------------------------------------------- */

static void sweep_page(struct gt_control *c);

/* Those that are due by now are left as they are: what is missed is made up for. */
static void move(struct gt_control *c, const struct gt_schedule *row)
{
	struct gt_timing t;
	struct gt_task_op *op;
	uint64_t now_ms = wall_ms(c), at_ms;

	if (row->next_ms <= now_ms || gt_ctl_timing(c, row, &t, NULL) < 0)
		return;
	at_ms = (uint64_t)due_after(&t, now_ms);
	if (at_ms == row->next_ms)
		return;
	op = gt_task_op_new(GT_TASK_FIRE);
	gt_strcopy(gt_task_op_plan(op)->name, sizeof(op->schedules->name), row->name);
	op->told_ms = row->next_ms;
	op->schedules[0].next_ms = at_ms;
	c->schedules->in_flight++;
	gt_ctl_task_send(c, op, on_fired);
}

static void on_swept(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_control *c = arg;
	struct gt_ctl_schedules *s = c->schedules;

	s->sweeping = false;
	for (size_t i = 0; !err && i < op->n_schedules; i++) {
		move(c, &op->schedules[i]);
		gt_strcopy(s->swept, sizeof(s->swept), op->schedules[i].name);
	}
	if (err) {
		s->sweep_again = true;
		s->sweep_ns = gt_ctl_now(c) + RETRY_NS;
	} else if (s->sweep_again) { /* the clock went back once more */
		s->sweep_ns = gt_ctl_now(c);
	} else if (op->more) {
		sweep_page(c);
	}
	gt_task_op_free(op);
	look_soon(c);
	gt_ctl_finish(c);
}

static void sweep_page(struct gt_control *c)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_PLAN_LIST);

	gt_strcopy(op->id, sizeof(op->id), c->schedules->swept);
	op->limit = SWEEP_PAGE;
	op->active = true;
	c->schedules->sweeping = true;
	gt_ctl_task_send(c, op, on_swept);
}

static void sweep(struct gt_control *c)
{
	struct gt_ctl_schedules *s = c->schedules;

	s->sweep_again = false;
	s->swept[0] = '\0';
	s->read_ms = 0; /* those that come earlier now may not be here */
	sweep_page(c);
}

/* ---- by the clock --------------------------------------------------------------------------- */

static void clock_check(struct gt_control *c)
{
	struct gt_ctl_schedules *s = c->schedules;

	if (gt_clock_set_back(&c->ports.clock, &s->skew_ms)) {
		s->sweep_again = true;
		s->sweep_ns = 0;
	}
}

static uint64_t mono_of(const struct gt_control *c, uint64_t at_ms)
{
	uint64_t now_ms = wall_ms(c), in_ms = at_ms > now_ms ? at_ms - now_ms : 0;

	return gt_ctl_now(c) + GT_MIN(in_ms, LOOK_MS) * GT_NS_PER_MS;
}

/* What is to be done about it now; returns when it has to be looked at again. */
static uint64_t plan_look(struct gt_control *c, struct plan *p)
{
	struct gt_ctl_schedules *s = c->schedules;
	uint64_t now_ms = wall_ms(c), lead = 0;

	if (p->busy)
		return CTL_NEVER;
	if (p->next_ms <= now_ms) {
		if (p->retry_ns > gt_ctl_now(c))
			return p->retry_ns;
		if (s->in_flight < IN_FLIGHT_MAX)
			fire(c, p);
		return CTL_NEVER; /* an answer looks again */
	}
	if (p->warm || p->cold)
		return mono_of(c, p->next_ms);
	lead = lead_ms(c, p->function);
	if (p->next_ms > now_ms + lead)
		return mono_of(c, p->next_ms - lead);
	p->warm = true;
	book(c, p->function);
	return mono_of(c, p->next_ms);
}

void gt_ctl_schedules_tick(struct gt_control *c)
{
	struct gt_ctl_schedules *s = c->schedules;
	uint64_t due_ns = CTL_NEVER;
	struct plan *p, *next;

	if (!s || s->due_ns > gt_ctl_now(c))
		return;
	clock_check(c);
	if (s->sweep_again && !s->sweeping) {
		if (s->sweep_ns <= gt_ctl_now(c))
			sweep(c);
		else
			due_ns = s->sweep_ns;
	}
	if (!s->reading && s->read_ms <= wall_ms(c))
		read_near(c);
	HASH_ITER (hh, s->plans, p, next)
		due_ns = GT_MIN(due_ns, plan_look(c, p));
	if (!s->reading && s->read_ms != NEVER_MS)
		due_ns = GT_MIN(due_ns, mono_of(c, s->read_ms));
	s->due_ns = due_ns;
}

void gt_control_schedules_load(struct gt_control *c)
{
	if (!c->tasks || c->schedules)
		return;
	c->schedules = gt_alloc(sizeof(*c->schedules));
	c->schedules->sweep_again = true;
	c->schedules->skew_ms = GT_SKEW_NONE;
	look_soon(c);
}

void gt_ctl_schedules_free(struct gt_control *c)
{
	struct plan *p, *next;

	if (c->schedules)
		HASH_ITER (hh, c->schedules->plans, p, next) {
			HASH_DEL(c->schedules->plans, p);
			free(p);
		}
	free(gt_steal(&c->schedules));
	gt_ctl_zones_free(c);
}

/* ---- for users ------------------------------------------------------------------------------ */

int gt_control_schedule_check(struct gt_control *c, struct gt_schedule *s, struct gt_err *err)
{
	struct gt_timing t;

	if (gt_ctl_timing(c, s, &t, err) < 0)
		return -err->code;
	if (!gt_ctl_function_find(c, s->call.function)) {
		gt_err_set(err, ENOENT, "function_not_found",
			   "there is no function %s: deploy it first", s->call.function);
		return gt_err_path(err, "function");
	}
	s->next_ms = (uint64_t)due_after(&t, wall_ms(c));
	return 0;
}

void gt_ctl_schedule_said(struct gt_control *c, const struct gt_task_op *op)
{
	if (!c->schedules || op->verb < GT_TASK_PLAN_PUT || op->verb > GT_TASK_PLAN_SET)
		return;
	if (op->verb == GT_TASK_PLAN_DROP)
		plan_forget(c, op->schedules[0].name);
	else
		plan_take(c, &op->schedules[0]);
}
