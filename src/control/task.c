/* task.c - durable calls: who has work, who gets it, and when to look at those that wait.
 *
 * The store owns the calls. Control keeps, for each function, how many can be leased: the store
 * says with each operation by how many that number changes. */
#include "task.h"
#include "schedule.h"

#include <stdlib.h>
#include <string.h>

#include <gantry/base/skew.h>

#define SESSIONS_MAX   128
#define SESSION_NS     (10 * GT_NS_PER_S) /* a gateway that is silent for so long has ended */
#define LEFT_NS        (1 * GT_NS_PER_S)  /* one whose watch has closed; it may come back */
#define WINDOW_LEAST   16
#define WINDOW_MOST    1024
#define RETRY_STORE_NS (1 * GT_NS_PER_S)

struct desk { /* a function that calls wait for, or did */
	char function[GT_NAME_MAX + 1];
	uint64_t queued;
	uint64_t was; /* while counts are taken: what nobody counted */
	UT_hash_handle hh;
};

struct session {
	struct gt_task_session is;
	uint64_t heard_ns;
	unsigned exchanges; /* at the store: one that is full must not overtake them */
};

struct gt_ctl_tasks {
	struct desk *desks;
	uint64_t seen; /* number of the last call to work */
	struct session sessions[SESSIONS_MAX];
	size_t n_sessions;
	bool loaded, waking, releasing;
	bool orphans; /* leases of before this start, of gateways that may have ended meanwhile */
	bool all_due; /* the clock was set back: pauses of retries are over, or would last longer */
	int64_t skew_ms;
	uint64_t load_ns, wake_ns, release_ns; /* when to; CTL_NEVER */
	struct gt_task_counts counts;
};

struct gt_ctl_tasks *gt_ctl_tasks_new(struct gt_control *c)
{
	struct gt_ctl_tasks *t = gt_alloc(sizeof(*t));

	t->seen = c->epoch << 32;
	t->load_ns = t->wake_ns = CTL_NEVER;
	t->skew_ms = GT_SKEW_NONE;
	(void)gt_clock_set_back(&c->ports.clock, &t->skew_ms); /* the first look of many: now */
	t->orphans = true;
	t->release_ns = gt_ctl_now(c) + SESSION_NS;
	return t;
}

void gt_ctl_tasks_free(struct gt_control *c)
{
	struct desk *d, *next;

	if (!c->tasks)
		return;
	HASH_ITER (hh, c->tasks->desks, d, next) {
		HASH_DEL(c->tasks->desks, d);
		free(d);
	}
	free(c->tasks);
}

uint64_t gt_ctl_tasks_due(const struct gt_control *c)
{
	const struct gt_ctl_tasks *t = c->tasks;
	uint64_t due_ns = CTL_NEVER;

	if (!t)
		return CTL_NEVER;
	if (!t->loaded)
		return t->load_ns;
	if (!t->waking)
		due_ns = t->wake_ns;
	return t->releasing ? due_ns : GT_MIN(due_ns, t->release_ns);
}

/* ---- what waits ----------------------------------------------------------------------------- */

static struct desk *desk_of(const struct gt_control *c, const char *function)
{
	struct desk *d = NULL;

	if (c->tasks)
		HASH_FIND_STR(c->tasks->desks, function, d);
	return d;
}

uint32_t gt_ctl_tasks_queued(const struct gt_control *c, const char *function)
{
	const struct desk *d = c->tasks && c->tasks->desks ? desk_of(c, function) : NULL;

	return d ? (uint32_t)GT_MIN(d->queued, (uint64_t)UINT32_MAX) : 0;
}

static void desk_change(struct gt_control *c, const struct gt_task_change *change)
{
	struct gt_ctl_tasks *t = c->tasks;
	struct desk *d = desk_of(c, change->function);
	struct gt_ctl_function *f;
	uint64_t was;

	if (!d) {
		d = gt_alloc(sizeof(*d));
		gt_strcopy(d->function, sizeof(d->function), change->function);
		HASH_ADD_STR(t->desks, function, d);
	}
	was = d->queued;
	d->queued = change->queued < 0 && d->queued < (uint64_t)-change->queued
			    ? 0
			    : d->queued + (uint64_t)change->queued;
	t->counts.queued += d->queued - was;
	f = gt_ctl_function_find(c, change->function);
	if (f && was != d->queued)
		gt_ctl_touch(c, f);
	if (!was && d->queued)
		c->ports.on_task_work(c->ports.ctx, d->function, ++t->seen);
	if (d->queued)
		return;
	HASH_DEL(t->desks, d);
	free(d);
}

static void changes_take(struct gt_control *c, const struct gt_task_op *op)
{
	for (size_t i = 0; i < op->n_changes; i++)
		if (op->changes[i].queued)
			desk_change(c, &op->changes[i]);
	for (size_t i = 0; i < op->n_ended; i++)
		c->ports.on_task_changed(c->ports.ctx, op->ended[i]);
}

/* What was counted goes over what is known: the store may have lost its database in the middle of
 * an operation, and told less than became of it. */
static void counts_take(struct gt_control *c, struct gt_task_op *op)
{
	struct desk *d, *next;
	size_t n = op->n_changes;

	for (d = c->tasks->desks; d; d = d->hh.next)
		d->was = d->queued;
	for (size_t i = 0; i < n; i++) {
		d = desk_of(c, op->changes[i].function);
		if (!d)
			continue;
		op->changes[i].queued -= (int64_t)d->queued;
		d->was = 0;
	}
	HASH_ITER (hh, c->tasks->desks, d, next) {
		struct gt_task_change none = { .queued = -(int64_t)d->was };

		gt_strcopy(none.function, sizeof(none.function), d->function);
		if (d->was)
			desk_change(c, &none);
	}
	changes_take(c, op);
}

void gt_control_task_work(struct gt_control *c,
			  void (*fn)(const char *function, uint64_t seen, void *arg), void *arg)
{
	const struct desk *d;

	for (d = c->tasks ? c->tasks->desks : NULL; d; d = d->hh.next)
		fn(d->function, c->tasks->seen, arg);
}

void gt_control_task_counts(const struct gt_control *c, struct gt_task_counts *ret)
{
	*ret = c->tasks ? c->tasks->counts : (struct gt_task_counts){ 0 };
}

/* ---- asking the store ----------------------------------------------------------------------- */

static uint64_t wall_ms(const struct gt_control *c)
{
	return gt_wall_ms(&c->ports.clock);
}

/* At a wall time; looked at again when that clock was set. */
static void wake_by(struct gt_control *c, uint64_t at_ms)
{
	uint64_t now_ms = wall_ms(c), in_ms = at_ms > now_ms ? at_ms - now_ms : 0;

	if (at_ms == UINT64_MAX)
		return;
	in_ms = GT_MIN(in_ms, 60000ULL);
	c->tasks->wake_ns = GT_MIN(c->tasks->wake_ns, gt_ctl_now(c) + in_ms * GT_NS_PER_MS);
}

void gt_ctl_task_send(struct gt_control *c, struct gt_task_op *op, gt_task_fn *done)
{
	op->now_ms = wall_ms(c);
	op->epoch = c->epoch;
	op->done = done;
	op->arg = c;
	c->ports.store.task(c->ports.store.ctx, op);
}

static void on_loaded(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_control *c = arg;

	if (err) { /* a store that can not be read is asked until it can */
		gt_ctl_event(c, "calls.unread", NULL, NULL, NULL, err->slug, "%s", err->text);
		c->tasks->load_ns = gt_ctl_now(c) + RETRY_STORE_NS;
		gt_task_op_free(op);
		gt_ctl_finish(c);
		return;
	}
	c->tasks->loaded = true;
	counts_take(c, op);
	wake_by(c, op->next_ms);
	gt_task_op_free(op);
	gt_ctl_finish(c);
}

void gt_control_tasks_load(struct gt_control *c)
{
	if (c->tasks)
		gt_ctl_task_send(c, gt_task_op_new(GT_TASK_COUNT), on_loaded);
}

static void on_woken(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_control *c = arg;
	struct gt_ctl_tasks *t = c->tasks;

	t->waking = false;
	if (err) {
		t->wake_ns = GT_MIN(t->wake_ns, gt_ctl_now(c) + RETRY_STORE_NS);
	} else {
		changes_take(c, op);
		t->all_due = t->all_due && op->more;
		wake_by(c, op->more ? 0 : op->next_ms);
	}
	gt_task_op_free(op);
	gt_ctl_finish(c);
}

static void wake(struct gt_control *c)
{
	struct gt_ctl_tasks *t = c->tasks;
	struct gt_task_op *op = gt_task_op_new(GT_TASK_WAKE);

	t->all_due |= gt_clock_set_back(&c->ports.clock, &t->skew_ms);
	op->told_ms = t->all_due ? GT_TASK_ALL_DUE : 0;
	t->waking = true;
	t->wake_ns = CTL_NEVER;
	gt_ctl_task_send(c, op, on_woken);
}

static void on_released(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_control *c = arg;
	struct gt_ctl_tasks *t = c->tasks;

	t->releasing = false;
	if (err) {
		t->orphans = true;
		t->release_ns = GT_MIN(t->release_ns, gt_ctl_now(c) + RETRY_STORE_NS);
	} else {
		changes_take(c, op);
	}
	gt_task_op_free(op);
	gt_ctl_finish(c);
}

static void release(struct gt_control *c)
{
	struct gt_ctl_tasks *t = c->tasks;
	struct gt_task_op *op = gt_task_op_new(GT_TASK_RELEASE);

	op->sessions = gt_alloc_array(t->n_sessions + 1, sizeof(*op->sessions));
	for (; op->n_sessions < t->n_sessions; op->n_sessions++)
		op->sessions[op->n_sessions] = t->sessions[op->n_sessions].is;
	t->releasing = true;
	t->orphans = false;
	gt_ctl_task_send(c, op, on_released);
}

/* Forgets sessions that fell silent; true when there were any. */
static bool sessions_expire(struct gt_control *c)
{
	struct gt_ctl_tasks *t = c->tasks;
	uint64_t now_ns = gt_ctl_now(c);
	size_t kept = 0, were = t->n_sessions;

	t->release_ns = CTL_NEVER;
	for (size_t i = 0; i < were; i++) {
		uint64_t end_ns = t->sessions[i].heard_ns + SESSION_NS;

		if (end_ns <= now_ns && !t->sessions[i].exchanges) {
			gt_ctl_started_session_end(c, t->sessions[i].is.session);
			continue;
		}
		if (end_ns <= now_ns)
			end_ns = now_ns + RETRY_STORE_NS;
		t->release_ns = GT_MIN(t->release_ns, end_ns);
		t->sessions[kept++] = t->sessions[i];
	}
	t->n_sessions = kept;
	return kept < were;
}

void gt_ctl_tasks_tick(struct gt_control *c)
{
	struct gt_ctl_tasks *t = c->tasks;
	uint64_t now_ns = gt_ctl_now(c);

	if (t && !t->loaded && t->load_ns <= now_ns) {
		t->load_ns = CTL_NEVER;
		gt_control_tasks_load(c);
	}
	if (!t || !t->loaded)
		return;
	if (!t->waking && t->wake_ns <= now_ns)
		wake(c);
	if (t->releasing || t->release_ns > now_ns)
		return;
	if (sessions_expire(c) || t->orphans)
		release(c);
}

void gt_ctl_tasks_gateway_down(struct gt_control *c, const char *gateway)
{
	struct gt_ctl_tasks *t = c->tasks;

	for (size_t i = 0; t && i < t->n_sessions; i++) {
		struct session *s = &t->sessions[i];

		if (!gt_streq(s->is.gateway, gateway))
			continue;
		s->heard_ns = GT_MIN(s->heard_ns, gt_ctl_now(c) + LEFT_NS - SESSION_NS);
		t->release_ns = GT_MIN(t->release_ns, s->heard_ns + SESSION_NS);
	}
}

/* ---- for users ------------------------------------------------------------------------------ */

void gt_ctl_tasks_accepted(struct gt_control *c, const struct gt_task_op *op)
{
	changes_take(c, op);
	for (size_t i = 0; i < op->n_tasks; i++) {
		c->tasks->counts.accepted += op->tasks[i].taken == GT_TAKEN_NEW;
		wake_by(c, op->tasks[i].deadline_ms);
	}
}

static void on_asked(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_control *c = arg;

	if (!err && op->verb == GT_TASK_ACCEPT) {
		gt_ctl_tasks_accepted(c, op);
	} else if (!err) {
		changes_take(c, op);
		gt_ctl_schedule_said(c, op);
		if (op->verb == GT_TASK_CANCEL)
			gt_ctl_started_drop(c, op->tasks[0].seq, op->tasks[0].attempt);
		if (op->verb == GT_TASK_CANCEL && op->more)
			c->ports.on_task_stop(c->ports.ctx, op->tasks[0].seq, op->tasks[0].attempt);
	}
	gt_ctl_finish(c);
	op->asker(op, err, op->asker_arg);
}

int gt_control_task(struct gt_control *c, struct gt_task_op *op, gt_task_fn *asker, void *arg,
		    struct gt_err *err)
{
	const struct desk *d;

	if (!c->tasks)
		return gt_err_set(err, ENOTSUP, "unavailable", "there is no store for calls");
	d = op->verb == GT_TASK_ACCEPT ? desk_of(c, op->tasks[0].function) : NULL;
	if (d && d->queued >= GT_TASK_QUEUED_MAX)
		return gt_err_set(err, EAGAIN, "queue_full",
				  "%d calls wait for function %s already", GT_TASK_QUEUED_MAX,
				  d->function);
	if (op->verb == GT_TASK_PLAN_PUT &&
	    gt_control_schedule_check(c, &op->schedules[0], err) < 0)
		return -err->code;
	op->asker = asker;
	op->asker_arg = arg;
	gt_ctl_task_send(c, op, on_asked);
	return 0;
}

/* ---- for gateways --------------------------------------------------------------------------- */

static size_t session_index(const struct gt_ctl_tasks *t, const struct gt_task_session *is)
{
	size_t i = 0;

	while (i < t->n_sessions && (t->sessions[i].is.session != is->session ||
				     !gt_streq(t->sessions[i].is.gateway, is->gateway)))
		i++;
	return i;
}

static int session_heard(struct gt_control *c, const struct gt_task_op *op, struct gt_err *err)
{
	struct gt_ctl_tasks *t = c->tasks;
	const struct gt_task_session *is = &op->sessions[0];
	size_t i = session_index(t, is);

	if (i == SESSIONS_MAX)
		return gt_err_set(err, ENOSPC, "overloaded", "%d gateways have calls already",
				  SESSIONS_MAX);
	if (i == t->n_sessions)
		t->sessions[t->n_sessions++] = (struct session){ .is = *is };
	t->sessions[i].heard_ns = gt_ctl_now(c);
	t->release_ns = GT_MIN(t->release_ns, t->sessions[i].heard_ns + SESSION_NS);
	if (t->sessions[i].exchanges >= (op->full ? 1 : GT_TASK_EXCHANGES_MAX))
		return gt_err_set(err, EBUSY, "unavailable",
				  "the store has exchanges of gateway %s already", is->gateway);
	t->sessions[i].exchanges++;
	return 0;
}

/* Enough for every slot that there is and for what ends during an exchange, and as many again, so
 * that one that becomes free has work; never so many that they could fill the function's queue. */
static uint32_t window(const struct gt_ctl_function *f, const struct gt_task_want *w)
{
	const struct gt_spec *spec = f->rev->spec;
	const struct gt_ctl_replica *r;
	uint64_t n = w->ended;

	DL_FOREACH (f->live->replicas, r)
		if (!gt_ctl_leaving(r))
			n += spec->scale.concurrency;
	n = GT_MIN(GT_MAX(2 * n, (uint64_t)WINDOW_LEAST), (uint64_t)WINDOW_MOST);
	return (uint32_t)GT_MIN(n, GT_MAX(spec->limits.queue / 2 + 1, 1u));
}

static void want_limit(struct gt_control *c, struct gt_task_want *w)
{
	struct gt_ctl_function *f = gt_ctl_function_find(c, w->function);
	struct gt_ctl_live *live = f && desk_of(c, w->function) ? gt_ctl_live(c, f) : NULL;
	bool failing = live && live->failure && gt_ctl_now(c) < live->fail_until_ns;
	uint32_t most;

	if (!live || failing) { /* they wait where a crash loop costs nothing */
		w->n = 0;
		return;
	}
	most = window(f, w);
	w->n = GT_MIN(w->n, most - GT_MIN(most, w->held));
}

static void results_note(struct gt_control *c, const struct gt_task_op *op)
{
	struct gt_task_counts *n = &c->tasks->counts;

	for (size_t i = 0; i < op->n_results; i++) {
		const struct gt_task_result *r = &op->results[i];

		n->stale += r->stale;
		if (r->stale)
			continue;
		n->succeeded += r->next == GT_TASK_SUCCEEDED;
		n->failed += r->next == GT_TASK_FAILED;
		n->retried += r->next == GT_TASK_WAITING && r->counts;
		n->returned += !r->counts;
		if (r->counts)
			c->ports.on_task_changed(c->ports.ctx, r->id);
		if (!gt_task_ended(r->next))
			wake_by(c, r->due_ms);
	}
}

static void on_exchanged(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_control *c = arg;
	size_t of = session_index(c->tasks, &op->sessions[0]);

	if (of < c->tasks->n_sessions)
		c->tasks->sessions[of].exchanges--;
	if (!err) {
		changes_take(c, op);
		results_note(c, op);
		c->tasks->counts.leased += op->n_tasks;
		for (size_t i = 0; i < op->n_wants; i++) {
			op->wants[i].queued = gt_ctl_tasks_queued(c, op->wants[i].function);
			op->wants[i].seen = c->tasks->seen;
		}
	}
	gt_ctl_finish(c);
	op->asker(op, err, op->asker_arg);
}

int gt_ctl_by_seq(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int gt_control_task_exchange(struct gt_control *c, uint64_t epoch, struct gt_task_op *op,
			     gt_task_fn *asker, void *arg, struct gt_err *err)
{
	int r;

	if (!c->tasks)
		return gt_err_set(err, ENOTSUP, "unavailable", "there is no store for calls");
	if (epoch != c->epoch)
		return gt_err_set(err, ESTALE, "conflict",
				  "calls of gateway %s are of epoch %llu, this is %llu",
				  op->sessions[0].gateway, (unsigned long long)epoch,
				  (unsigned long long)c->epoch);
	r = session_heard(c, op, err);
	if (r < 0)
		return r;
	if (op->n_held)
		qsort(op->held, op->n_held, sizeof(*op->held), gt_ctl_by_seq);
	gt_ctl_started_take(c, op);
	for (size_t i = 0; i < op->n_results; i++)
		gt_ctl_verdict(c, &op->results[i]);
	for (size_t i = 0; i < op->n_wants; i++)
		want_limit(c, &op->wants[i]);
	op->asker = asker;
	op->asker_arg = arg;
	gt_ctl_task_send(c, op, on_exchanged);
	gt_ctl_finish(c);
	return 0;
}
