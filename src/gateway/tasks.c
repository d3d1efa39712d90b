/* tasks.c - leases of durable calls, asked for while there is room, and their results, told until
 * control has them. A post carries both; what happens meanwhile is in the next one. Two may be
 * under way, so that control and the store have work while an answer is read here. They may
 * overtake each other: one of them alone asks for leases, and one that tells of starts, or
 * everything, has none beside it.
 *
 * A post whose answer did not come may have been taken or not. The next one tells every lease that
 * is held here, so that control releases what it gave in vain; a result that control has already is
 * stale there, and forgotten here. */
#include "tasks.h"
#include "task_ask.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define POST_MAX_MS   15000
#define FAILED_MS     100 /* doubled up to: */
#define FAILED_MAX_MS 1000
#define START_MS      50            /* a call that runs for longer is told to run */
#define ALIVE_MS      3000          /* a gateway with leases is heard of so often */
#define BYTES_MAX     (64 * GT_MIB) /* bodies of leases and results */
#define RESULTS_MAX   512           /* in one post, and of bytes: */
#define RESULT_BYTES  (8 * GT_MIB)
#define RESULTS_LEAST 128 /* for which a post goes beside another one */
#define WANTS_MAX     64
#define ANSWER_MAX    (48 * GT_MIB)

struct gt_task_fn {
	char name[GT_NAME_MAX + 1];
	struct gt_task_ask ask;
	uint32_t held;
	uint32_t ended; /* by an answer, since it was asked for */
	UT_hash_handle hh;
};

struct post {
	struct gt_tasks *t;
	struct gt_http_call *call; /* NULL: not under way */
	struct gt_task_run *runs;  /* whose results it tells */
	bool asks, alone;
};

struct gt_tasks {
	struct gt_gateway *gw;
	uint64_t session;
	struct gt_task_fn *fns;
	struct gt_task_run *held;   /* hash: all leases */
	struct gt_task_run *untold; /* by their start, the first one first */
	struct gt_task_run *ended;
	size_t n_ended, bytes;
	struct post posts[GT_TASK_EXCHANGES_MAX];
	struct gt_timer timer;
	uint64_t fails_ms, posted_ns;
	bool full;
};

static void on_timer(void *arg);
static bool may_post(struct gt_tasks *t);

static struct gt_tasks *tasks_of(struct gt_gateway *gw)
{
	struct gt_tasks *t = gw->tasks;

	if (t)
		return t;
	t = gw->tasks = gt_alloc(sizeof(*t));
	t->gw = gw;
	gt_rand_system.fill(gt_rand_system.arg, &t->session, sizeof(t->session));
	t->session &= INT64_MAX; /* the store's numbers have a sign */
	for (size_t i = 0; i < GT_LEN(t->posts); i++)
		t->posts[i].t = t;
	return t;
}

/* One that is; NULL: none. */
static const struct post *under_way(const struct gt_tasks *t)
{
	for (size_t i = 0; i < GT_LEN(t->posts); i++)
		if (t->posts[i].call)
			return &t->posts[i];
	return NULL;
}

static struct post *free_post(struct gt_tasks *t)
{
	for (size_t i = 0; i < GT_LEN(t->posts); i++)
		if (!t->posts[i].call)
			return &t->posts[i];
	return NULL;
}

static void schedule(struct gt_tasks *t, uint64_t delay_ms)
{
	uint64_t due_ns = gt_gw_now(t->gw) + delay_ms * GT_NS_PER_MS;

	if (t->gw->freeing || !t->gw->http || (under_way(t) && !may_post(t)))
		return; /* an answer looks again */
	if (!gt_timer_is_set(&t->timer) || due_ns < t->timer.due_ns)
		gt_timer_set_at(t->gw->loop, &t->timer, due_ns, on_timer, t);
}

static struct gt_task_fn *fn_of(struct gt_tasks *t, const char *name)
{
	struct gt_task_fn *fn = NULL;

	HASH_FIND_STR(t->fns, name, fn);
	if (fn)
		return fn;
	fn = gt_alloc(sizeof(*fn));
	gt_strcopy(fn->name, sizeof(fn->name), name);
	HASH_ADD_STR(t->fns, name, fn);
	return fn;
}

/* One without work and leases is not remembered. */
static void fn_settle(struct gt_tasks *t, struct gt_task_fn *fn)
{
	if (fn->held || fn->ask.told > fn->ask.answered)
		return;
	HASH_DEL(t->fns, fn);
	free(fn);
}

void gt_tasks_work(struct gt_gateway *gw, const char *function, uint64_t number)
{
	struct gt_tasks *t = tasks_of(gw);
	struct gt_task_fn *fn = fn_of(t, function);

	fn->ask.told = GT_MAX(fn->ask.told, number);
	schedule(t, 0);
}

void gt_tasks_resync(struct gt_gateway *gw)
{
	struct gt_tasks *t = tasks_of(gw);

	t->full = true;
	t->fails_ms = 0;
	schedule(t, 0);
}

bool gt_tasks_idle(const struct gt_gateway *gw)
{
	return !gw->tasks || !gw->tasks->held;
}

/* ---- the message ---------------------------------------------------------------------------- */

static void add_held(struct gt_tasks *t, struct gt_task_op *op)
{
	struct gt_task_run *run;

	op->held = gt_alloc_array(HASH_CNT(hh_held, t->held) + 1, sizeof(*op->held));
	for (run = t->held; run; run = run->hh_held.next)
		op->held[op->n_held++] = run->task.seq;
}

static bool starts_due(const struct gt_tasks *t)
{
	return t->untold && gt_gw_now(t->gw) >= t->untold->start_ns + START_MS * GT_NS_PER_MS;
}

static void start_told(struct gt_tasks *t, struct gt_task_run *run)
{
	run->untold = false;
	DL_DELETE(t->untold, run);
}

/* After a break, of all that run: control may be another one. */
static void add_starts(struct gt_tasks *t, struct gt_task_op *op)
{
	struct gt_task_run *run;

	if (!t->full && !starts_due(t))
		return;
	op->starts = gt_alloc_array(HASH_CNT(hh_held, t->held) + 1, sizeof(*op->starts));
	for (run = t->full ? t->held : NULL; run; run = run->hh_held.next)
		if (run->start.seq && !run->ended)
			op->starts[op->n_starts++] = run->start;
	while (t->untold && (t->full || starts_due(t))) {
		run = t->untold;
		start_told(t, run);
		if (!t->full)
			op->starts[op->n_starts++] = run->start;
	}
}

/* Borrowed: the bodies stay the run's, in case that it has to be told again. */
static void add_results(struct post *p, struct gt_task_op *op)
{
	struct gt_tasks *t = p->t;
	struct gt_task_run *run, *next;
	size_t bytes = 0;

	DL_FOREACH_SAFE (t->ended, run, next) {
		bytes += run->result.body.len;
		if (op->n_results == RESULTS_MAX || (bytes > RESULT_BYTES && op->n_results))
			break;
		DL_DELETE(t->ended, run);
		t->n_ended--;
		DL_APPEND(p->runs, run);
		*gt_task_op_result(op) = run->result;
	}
}

static bool has_room(const struct gt_tasks *t)
{
	return !t->gw->quiescing && t->bytes < BYTES_MAX &&
	       HASH_CNT(hh_held, t->held) < GT_TASK_HELD_MAX;
}

static void add_wants(struct gt_tasks *t, struct gt_task_op *op)
{
	unsigned room = GT_TASK_HELD_MAX - HASH_CNT(hh_held, t->held);
	struct gt_task_fn *fn, *next, *asked[WANTS_MAX];
	uint64_t now_ns = gt_gw_now(t->gw);

	op->wants = gt_alloc_array(WANTS_MAX, sizeof(*op->wants));
	if (!has_room(t))
		return;
	room = GT_MIN(room, (unsigned)GT_TASK_LEASES_MAX);
	HASH_ITER (hh, t->fns, fn, next) {
		if (!gt_task_ask_due(&fn->ask, now_ns) || op->n_wants == WANTS_MAX)
			continue;
		struct gt_task_want *w = &op->wants[op->n_wants++];

		gt_strcopy(w->function, sizeof(w->function), fn->name);
		w->held = fn->held;
		w->ended = fn->ended;
		fn->ended = 0;
		asked[op->n_wants - 1] = fn;
	}
	for (size_t i = 0; i < op->n_wants; i++) {
		op->wants[i].n = GT_MAX(room / (unsigned)op->n_wants, 1u);
		gt_task_ask_sent(&asked[i]->ask, op->wants[i].n);
		HASH_DEL(t->fns, asked[i]); /* to the end: each has its turn */
		HASH_ADD_STR(t->fns, name, asked[i]);
	}
}

static bool any_wanted(const struct gt_tasks *t)
{
	const struct gt_task_fn *fn;

	for (fn = t->fns; fn; fn = fn->hh.next)
		if (gt_task_ask_due(&fn->ask, gt_gw_now(t->gw)))
			return true;
	return false;
}

/* Also those that rest. */
static bool any_left(const struct gt_tasks *t)
{
	const struct gt_task_fn *fn;

	for (fn = t->fns; fn; fn = fn->hh.next)
		if (fn->ask.told > fn->ask.answered)
			return true;
	return false;
}

static bool asks(const struct gt_tasks *t)
{
	return has_room(t) && any_wanted(t);
}

/* What must be alone waits for the others to end, which so begin no more. */
static bool worth_a_second(const struct gt_tasks *t, const struct post *first)
{
	return !first->alone && !t->full && !starts_due(t) &&
	       (t->n_ended >= RESULTS_LEAST || (!first->asks && asks(t)));
}

static bool worth_a_post(const struct gt_tasks *t)
{
	uint64_t silent_ns = gt_gw_now(t->gw) - t->posted_ns;

	return t->full || t->ended || starts_due(t) || asks(t) ||
	       (t->held && silent_ns >= ALIVE_MS * GT_NS_PER_MS);
}

static bool may_post(struct gt_tasks *t)
{
	const struct post *first = under_way(t);

	return first ? free_post(t) && worth_a_second(t, first) : worth_a_post(t);
}

/* ---- the answer ----------------------------------------------------------------------------- */

static void run_end(struct post *p, struct gt_task_run *run)
{
	struct gt_tasks *t = p->t;

	DL_DELETE(p->runs, run);
	HASH_DELETE(hh_held, t->held, run);
	t->bytes -= GT_MIN(t->bytes, run->result.body.len);
	gt_task_run_free(run);
}

static void start_there(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	if (!gw->freeing)
		gt_task_run_start(gw, GT_CONTAINER(m, struct gt_task_run, mail));
}

static void lease_take(struct gt_tasks *t, struct gt_task *task)
{
	struct gt_gateway *gw = t->gw;
	struct gt_task_run *run = gt_task_run_new(task);
	unsigned home = gt_shard_home(gw, run->task.function, strlen(run->task.function));

	run->fn = fn_of(t, run->task.function);
	run->fn->held++;
	t->bytes += run->task.body.len;
	HASH_ADD(hh_held, t->held, key, sizeof(run->key), run);
	if (home == gw->shard) {
		gt_task_run_start(gw, run);
		return;
	}
	run->mail.fn = start_there;
	gt_shard_post(gw->shards, home, &run->mail);
}

static uint32_t leases_for(const struct gt_task_op *op, const char *function)
{
	uint32_t n = 0;

	for (size_t i = 0; i < op->n_tasks; i++)
		n += gt_streq(op->tasks[i].function, function);
	return n;
}

static void wants_answered(struct gt_tasks *t, const struct gt_task_op *op)
{
	for (size_t i = 0; i < op->n_wants; i++) {
		const struct gt_task_want *w = &op->wants[i];

		gt_task_ask_answered(&fn_of(t, w->function)->ask, w, leases_for(op, w->function),
				     gt_gw_now(t->gw));
	}
}

static bool answer_take(struct post *p, const char *body, size_t len)
{
	struct gt_tasks *t = p->t;
	struct gt_task_op *op = NULL;
	struct gt_err err = { 0 };

	if (gt_leases_read(body, len, &op, &err) < 0) {
		gt_error("gateway: control's answer about durable calls: %s", err.text);
		return false;
	}
	while (p->runs)
		run_end(p, p->runs);
	wants_answered(t, op);
	for (size_t i = 0; i < op->n_tasks; i++)
		lease_take(t, &op->tasks[i]);
	for (size_t i = 0; i < op->n_wants; i++)
		fn_settle(t, fn_of(t, op->wants[i].function));
	gt_task_op_free(op);
	return true;
}

static void go_on(struct gt_tasks *t)
{
	if (may_post(t))
		schedule(t, 0);
	else if (t->untold)
		schedule(t, START_MS);
	else if (any_left(t))
		schedule(t, GT_TASK_REST_MS);
	else if (t->held)
		schedule(t, ALIVE_MS);
	if (!t->held)
		gt_gw_settled(t->gw);
}

static void on_done(int status, const char *body, size_t len, const struct gt_err *err, void *arg)
{
	struct post *p = arg;
	struct gt_tasks *t = p->t;

	p->call = NULL;
	p->asks = p->alone = false;
	t->posted_ns = gt_gw_now(t->gw);
	if (status == 200 && answer_take(p, body, len)) {
		t->fails_ms = 0;
		go_on(t);
		return;
	}
	gt_debug("gateway: durable calls were not taken (status %d): %s", status,
		 err ? err->text : "");
	for (; p->runs; t->n_ended++) {
		struct gt_task_run *run = p->runs;

		DL_DELETE(p->runs, run);
		DL_APPEND(t->ended, run);
	}
	t->full = true;
	t->fails_ms = t->fails_ms ? GT_MIN(2 * t->fails_ms, (uint64_t)FAILED_MAX_MS) : FAILED_MS;
	if (t->gw->watch_up) /* else the next snapshot does */
		schedule(t, t->fails_ms);
}

static void post_now(struct post *p, const struct post *first)
{
	struct gt_tasks *t = p->t;
	struct gt_gateway *gw = t->gw;
	gt_auto(free) char *url = gt_asprintf("http://control/link/v1/gateways/%s/calls",
					      gw->cfg.name);
	struct gt_task_op *op = gt_task_op_new(GT_TASK_EXCHANGE);
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_err err = { 0 };

	op->sessions = gt_alloc(sizeof(*op->sessions));
	op->n_sessions = 1;
	op->sessions[0].session = t->session;
	gt_strcopy(op->sessions[0].gateway, sizeof(op->sessions[0].gateway), gw->cfg.name);
	op->full = t->full;
	op->alone = t->full && !gw->handover.before.watch;
	if (t->full)
		add_held(t, op);
	if (!first)
		add_starts(t, op);
	add_results(p, op);
	if (!first || !first->asks)
		add_wants(t, op);
	p->asks = op->n_wants > 0;
	p->alone = op->full || op->n_starts;
	gt_exchange_write(op, gw->epoch, &body);
	op->n_results = 0; /* they are the runs' */
	gt_task_op_free(op);
	t->full = false;
	struct gt_http_out out = {
		.method = "POST",
		.unix_path = gw->cfg.link_path,
		.url = url,
		.content_type = "application/octet-stream",
		.body = gt_buf_str(&body),
		.body_len = body.len,
		.timeout_ms = POST_MAX_MS,
		.answer_max = ANSWER_MAX,
		.on_done = on_done,
		.arg = p,
	};

	if (gt_http_start(gw->http, &out, &p->call, &err) < 0)
		on_done(0, NULL, 0, &err, p);
}

static void on_timer(void *arg)
{
	struct gt_tasks *t = arg;

	if (!t->gw->synced || !t->gw->watch_up)
		return;
	if (may_post(t))
		post_now(free_post(t), under_way(t));
	go_on(t);
}

/* ---- from their homes ----------------------------------------------------------------------- */

void gt_tasks_ended(struct gt_gateway *gw, struct gt_task_run *run)
{
	struct gt_tasks *t = gw->tasks;

	t->bytes -= GT_MIN(t->bytes, run->task.body.len);
	t->bytes += run->result.body.len;
	run->ended = true;
	if (run->untold)
		start_told(t, run);
	DL_APPEND(t->ended, run);
	t->n_ended++;
	run->fn->held--;
	run->fn->ended += run->result.status != 0;
	gt_task_ask_freed(&run->fn->ask);
	fn_settle(t, gt_steal(&run->fn));
	schedule(t, 0);
}

void gt_tasks_started(struct gt_gateway *gw, const struct gt_task_start *start)
{
	const struct gt_lease_key key = { start->seq, start->attempt };
	struct gt_tasks *t = gw->tasks;
	struct gt_task_run *run = NULL;

	if (t)
		HASH_FIND(hh_held, t->held, &key, sizeof(key), run);
	if (!run || run->ended)
		return;
	run->start = *start;
	if (run->untold)
		return;
	run->untold = true;
	run->start_ns = gt_gw_now(gw);
	DL_APPEND(t->untold, run);
	schedule(t, START_MS);
}

struct stop {
	struct gt_mail mail;
	struct gt_lease_key key;
};

static void stop_there(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct stop *stop = GT_CONTAINER(m, struct stop, mail);

	if (!gw->freeing)
		gt_task_run_stop(gw, &stop->key);
	free(stop);
}

void gt_tasks_cancel(struct gt_gateway *gw, uint64_t seq, uint32_t attempt)
{
	const struct gt_lease_key key = { seq, attempt };
	struct gt_task_run *run = NULL;

	if (gw->tasks)
		HASH_FIND(hh_held, gw->tasks->held, &key, sizeof(key), run);
	if (!run || run->ended)
		return;
	unsigned home = gt_shard_home(gw, run->task.function, strlen(run->task.function));

	if (home == gw->shard) {
		gt_task_run_stop(gw, &key);
		return;
	}
	struct stop *stop = gt_alloc(sizeof(*stop));

	stop->key = key;
	stop->mail.fn = stop_there;
	gt_shard_post(gw->shards, home, &stop->mail);
}

void gt_tasks_free(struct gt_gateway *gw)
{
	struct gt_tasks *t = gw->tasks;
	struct gt_task_run *run, *run_next;
	struct gt_task_fn *fn, *fn_next;

	HASH_CLEAR(hh, gw->runs);
	if (!t)
		return;
	gt_timer_clear(gw->loop, &t->timer);
	for (size_t i = 0; i < GT_LEN(t->posts); i++)
		gt_http_cancel(t->posts[i].call);
	HASH_ITER (hh_held, t->held, run, run_next) {
		HASH_DELETE(hh_held, t->held, run);
		gt_task_run_free(run);
	}
	HASH_ITER (hh, t->fns, fn, fn_next) {
		HASH_DEL(t->fns, fn);
		free(fn);
	}
	free(t);
	gw->tasks = NULL;
}
