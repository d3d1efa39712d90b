/* Durable calls in the store: accepted once, leased once, one result, whatever ends when. */
#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/store/store.h>

#include "backend.h"

#define NOW 1000000ULL

struct world {
	char dir[64];
	int event;
	struct gt_store *store;
	uint64_t now_ms, session;
	bool full, alone;
};

static void ring(void *arg)
{
	struct world *w = arg;
	uint64_t one = 1;

	if (write(w->event, &one, sizeof(one)) < 0)
		abort();
}

static void reopen(struct world *w)
{
	struct gt_store_config config = { .path = backend_path(),
					  .bodies_dir = "control/bodies",
					  .notify = ring,
					  .notify_arg = w };
	struct gt_err err = { 0 };

	gt_store_close(w->store);
	w->store = NULL;
	if (gt_store_open(&config, &w->store, &err) < 0)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));

	snprintf(w->dir, sizeof(w->dir), "/tmp/gt-tasks-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(chdir(w->dir), 0);
	assert_int_equal(mkdir("control", 0700), 0);
	backend_fresh();
	w->event = eventfd(0, EFD_CLOEXEC);
	w->now_ms = NOW;
	w->session = 7;
	reopen(w);
	*state = w;
	return 0;
}

/* How many large bodies there are. */
static unsigned files(void)
{
	struct dirent *e;
	unsigned n = 0;
	DIR *dir;

	if (backend_is_pg())
		return (unsigned)backend_sql("SELECT count(DISTINCT id) FROM bodies");
	dir = opendir("control/bodies");
	assert_non_null(dir);
	while ((e = readdir(dir)))
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

static int teardown(void **state)
{
	struct world *w = *state;
	gt_auto(free) char *rm = gt_asprintf("rm -r %s", w->dir);
	pid_t pid;
	int status;

	gt_store_close(w->store);
	close(w->event);
	assert_int_equal(chdir("/"), 0);
	pid = fork();
	if (pid == 0)
		_exit(execl("/bin/sh", "sh", "-c", rm, (char *)NULL));
	waitpid(pid, &status, 0);
	free(w);
	return 0;
}

static void on_done(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_err *out = arg;

	*out = err ? *err : (struct gt_err){ 0 };
	op->arg = NULL; /* told */
}

/* Waits for the answer, which may be a refusal. */
static struct gt_err run(struct world *w, struct gt_task_op *op)
{
	struct gt_err err = { 0 };

	op->now_ms = w->now_ms;
	op->epoch = 3;
	op->done = on_done;
	op->arg = &err;
	gt_store_task(w->store, op);
	while (op->arg) {
		struct pollfd p = { .fd = w->event, .events = POLLIN };
		uint64_t count;

		assert_int_equal(poll(&p, 1, 10000), 1);
		assert_int_equal(read(w->event, &count, sizeof(count)), sizeof(count));
		gt_store_poll(w->store);
	}
	return err;
}

static void run_ok(struct world *w, struct gt_task_op *op)
{
	struct gt_err err = run(w, op);

	if (err.code)
		fail_msg("%s: %s", err.slug, err.text);
}

static struct gt_task *add(struct gt_task_op *op, const char *id, const char *function,
			   size_t body_len)
{
	struct gt_task *t = gt_task_op_add(op);

	gt_strcopy(t->id, sizeof(t->id), id);
	gt_strcopy(t->function, sizeof(t->function), function);
	gt_strcopy(t->method, sizeof(t->method), "POST");
	gt_strcopy(t->print, sizeof(t->print), "p");
	t->path = gt_strdup("/");
	t->priority = GT_TASK_NORMAL;
	t->created_ms = NOW;
	t->deadline_ms = NOW + 100000;
	t->body.data = gt_alloc(body_len + 1);
	t->body.len = body_len;
	memset(t->body.data, 'b', body_len);
	return t;
}

static struct gt_task accept_one(struct world *w, const char *id, const char *function,
				 const char *key, const char *print, size_t body_len)
{
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);
	struct gt_task *t = add(op, id, function, body_len);

	t->key = gt_strdup(key);
	gt_strcopy(t->print, sizeof(t->print), print);
	run_ok(w, op);
	return op->tasks[0]; /* its pointers are gone */
}

/* One exchange: asks for n of f, and hands in what was added to `op`. */
static struct gt_task_op *exchange(struct world *w, struct gt_task_op *op, uint32_t n)
{
	op->sessions = gt_alloc(sizeof(*op->sessions));
	op->n_sessions = 1;
	op->sessions[0].session = w->session;
	gt_strcopy(op->sessions[0].gateway, sizeof(op->sessions[0].gateway), "g");
	op->wants = gt_alloc(sizeof(*op->wants));
	op->n_wants = 1;
	op->wants[0].n = n;
	gt_strcopy(op->wants[0].function, sizeof(op->wants[0].function), "f");
	op->full = w->full;
	op->alone = w->alone;
	run_ok(w, op);
	return op;
}

static struct gt_task_op *lease(struct world *w, uint32_t n)
{
	return exchange(w, gt_task_op_new(GT_TASK_EXCHANGE), n);
}

static bool finish(struct world *w, const struct gt_task *t, enum gt_task_state next, size_t body)
{
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_EXCHANGE);
	struct gt_task_result *r = gt_task_op_result(op);

	r->seq = t->seq;
	r->attempt = t->attempt;
	r->status = 200;
	r->next = next;
	r->counts = true;
	r->due_ms = w->now_ms + 500;
	r->content_type = gt_strdup("text/plain");
	r->body.data = gt_alloc(body + 1);
	r->body.len = body;
	memset(r->body.data, 'r', body);
	exchange(w, op, 0);
	return !op->results[0].stale;
}

static struct gt_task_op *ask(struct world *w, enum gt_task_verb verb, const char *id)
{
	struct gt_task_op *op = gt_task_op_new(verb);

	gt_strcopy(op->id, sizeof(op->id), id);
	run_ok(w, op);
	return op;
}

static enum gt_task_state state_of(struct world *w, const char *id)
{
	gt_auto(task_op) struct gt_task_op *op = ask(w, GT_TASK_GET, id);

	return op->tasks[0].state;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void a_call_runs_once_and_has_one_result(void **state)
{
	struct world *w = *state;

	accept_one(w, "one", "f", NULL, "p", 10);
	assert_int_equal(state_of(w, "one"), GT_TASK_QUEUED);
	gt_auto(task_op) struct gt_task_op *got = lease(w, 5);

	assert_int_equal(got->n_tasks, 1);
	assert_int_equal(got->tasks[0].attempt, 1);
	assert_int_equal(got->tasks[0].body.len, 10);
	assert_int_equal(got->changes[0].queued, -1);
	gt_auto(task_op) struct gt_task_op *none = lease(w, 5);

	assert_int_equal(none->n_tasks, 0);
	assert_int_equal(state_of(w, "one"), GT_TASK_RUNNING);
	assert_true(finish(w, &got->tasks[0], GT_TASK_SUCCEEDED, 4));
	assert_false(finish(w, &got->tasks[0], GT_TASK_SUCCEEDED, 4));
	gt_auto(task_op) struct gt_task_op *res = ask(w, GT_TASK_RESULT, "one");

	assert_int_equal(res->tasks[0].state, GT_TASK_SUCCEEDED);
	assert_int_equal(res->results[0].body.len, 4);
	assert_memory_equal(res->results[0].body.data, "rrrr", 4);
	assert_string_equal(res->results[0].content_type, "text/plain");
	assert_int_equal(res->n_attempts, 1);
	assert_int_equal(res->attempts[0].epoch, 3);
}

/* More than one statement is about: each has its own lease, and a second time it has none. */
static void many_results_come_at_once(void **state)
{
	enum { MANY = 40 };
	struct world *w = *state;
	gt_auto(task_op) struct gt_task_op *all = gt_task_op_new(GT_TASK_ACCEPT);
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_EXCHANGE);
	gt_auto(task_op) struct gt_task_op *none = NULL;
	gt_auto(task_op) struct gt_task_op *leased = NULL;
	char id[8];

	for (int i = 0; i < MANY; i++) {
		snprintf(id, sizeof(id), "c%d", i);
		add(all, id, "f", i % 3 ? 10 : 0);
	}
	run_ok(w, all);
	leased = lease(w, MANY);
	assert_int_equal(leased->n_tasks, MANY);
	none = lease(w, MANY);
	assert_int_equal(none->n_tasks, 0);
	for (size_t i = 0; i < MANY + 3; i++) {
		const struct gt_task *t = &leased->tasks[i < MANY ? i : 35];
		struct gt_task_result *r = gt_task_op_result(op);

		r->seq = i == MANY ? 1000000 : t->seq; /* nobody's, the same again, another's */
		r->attempt = t->attempt + (i == MANY + 2);
		r->next = i % 2 ? GT_TASK_SUCCEEDED : GT_TASK_FAILED;
		r->counts = true;
	}
	exchange(w, op, 0);
	for (size_t i = 0; i < MANY + 3; i++) {
		const struct gt_task_result *r = &op->results[i];

		assert_int_equal(r->stale, i >= MANY);
		if (i != MANY)
			assert_string_equal(r->id, leased->tasks[i < MANY ? i : 35].id);
		if (i > MANY)
			assert_int_equal(r->state, GT_TASK_SUCCEEDED);
	}
	if (backend_is_pg()) /* of those that failed and had one */
		assert_int_equal(backend_sql("SELECT count(*) FROM task_inputs"), 13);
}

static void the_same_request_is_taken_once(void **state)
{
	struct world *w = *state;
	struct gt_task t = accept_one(w, "a", "f", "key", "p1", 0);

	assert_int_equal(t.taken, GT_TAKEN_NEW);
	t = accept_one(w, "b", "f", "key", "p1", 0);
	assert_int_equal(t.taken, GT_TAKEN_BEFORE);
	assert_string_equal(t.id, "a");
	t = accept_one(w, "c", "f", "key", "p2", 0);
	assert_int_equal(t.taken, GT_TAKEN_MISMATCH);
	t = accept_one(w, "d", "g", "key", "p2", 0);
	assert_int_equal(t.taken, GT_TAKEN_NEW); /* another function's key */
	gt_auto(task_op) struct gt_task_op *got = lease(w, 5);

	assert_int_equal(got->n_tasks, 1);
}

static void a_lost_lease_is_given_again_and_its_result_refused(void **state)
{
	struct world *w = *state;

	accept_one(w, "one", "f", NULL, "p", 1);
	gt_auto(task_op) struct gt_task_op *first = lease(w, 1);

	w->session = 8; /* the gateway was killed, and is back */
	w->full = w->alone = true;
	gt_auto(task_op) struct gt_task_op *second = lease(w, 1);

	assert_int_equal(second->n_tasks, 1);
	assert_int_equal(second->tasks[0].attempt, 2);
	w->full = false;
	assert_false(finish(w, &first->tasks[0], GT_TASK_SUCCEEDED, 1));
	assert_true(finish(w, &second->tasks[0], GT_TASK_SUCCEEDED, 1));
	gt_auto(task_op) struct gt_task_op *res = ask(w, GT_TASK_GET, "one");

	assert_int_equal(res->n_attempts, 2);
	assert_string_equal(res->attempts[0].slug, "gateway_lost");
}

/* What it holds stays its own; what it never heard of is released. */
static void a_gateway_that_lost_an_answer_says_what_it_has(void **state)
{
	struct world *w = *state;
	struct gt_task_op *op = gt_task_op_new(GT_TASK_EXCHANGE);

	accept_one(w, "a", "f", NULL, "p", 1);
	accept_one(w, "b", "f", NULL, "p", 1);
	gt_auto(task_op) struct gt_task_op *both = lease(w, 2);

	assert_int_equal(both->n_tasks, 2);
	op->held = gt_alloc(sizeof(*op->held));
	op->held[op->n_held++] = both->tasks[0].seq;
	w->full = true;
	gt_auto(task_op) struct gt_task_op *again = exchange(w, op, 2);

	assert_int_equal(again->n_tasks, 1);
	assert_string_equal(again->tasks[0].id, "b");
	assert_int_equal(again->tasks[0].attempt, 2);
}

static void a_call_is_given_up_after_many_lost_leases(void **state)
{
	struct world *w = *state;
	unsigned n = 0;

	accept_one(w, "one", "f", NULL, "p", 1);
	w->full = w->alone = true;
	for (;; n++, w->session++) {
		gt_auto(task_op) struct gt_task_op *op = lease(w, 1);

		if (!op->n_tasks)
			break;
	}
	assert_int_equal(n, GT_TASK_LOST_MAX);
	assert_int_equal(state_of(w, "one"), GT_TASK_FAILED);
}

static void a_retry_waits_until_it_is_due(void **state)
{
	struct world *w = *state;

	accept_one(w, "one", "f", NULL, "p", 1);
	gt_auto(task_op) struct gt_task_op *got = lease(w, 1);

	assert_true(finish(w, &got->tasks[0], GT_TASK_WAITING, 1));
	gt_auto(task_op) struct gt_task_op *count = gt_task_op_new(GT_TASK_COUNT);

	run_ok(w, count);
	assert_int_equal(count->n_changes, 0);
	assert_int_equal(count->next_ms, w->now_ms + 500);
	gt_auto(task_op) struct gt_task_op *early = gt_task_op_new(GT_TASK_WAKE);
	gt_auto(task_op) struct gt_task_op *wake = gt_task_op_new(GT_TASK_WAKE);

	run_ok(w, early);
	assert_int_equal(early->n_changes, 0);
	wake->told_ms = GT_TASK_ALL_DUE; /* the clock was set back */
	run_ok(w, wake);
	assert_int_equal(wake->changes[0].queued, 1);
	w->now_ms += 500;
	gt_auto(task_op) struct gt_task_op *again = lease(w, 1);

	assert_int_equal(again->n_tasks, 1);
	assert_int_equal(again->tasks[0].tries, 1);
}

static void deadlines_end_calls_and_time_forgets_them(void **state)
{
	struct world *w = *state;
	gt_auto(task_op) struct gt_task_op *wake = gt_task_op_new(GT_TASK_WAKE);
	gt_auto(task_op) struct gt_task_op *old = gt_task_op_new(GT_TASK_WAKE);
	gt_auto(task_op) struct gt_task_op *gone = gt_task_op_new(GT_TASK_GET);

	accept_one(w, "one", "f", NULL, "p", GT_TASK_INLINE_MAX + 1);
	assert_int_equal(files(), 1);
	w->now_ms += 100000;
	run_ok(w, wake);
	assert_int_equal(wake->n_ended, 1);
	assert_int_equal(wake->changes[0].queued, -1);
	assert_int_equal(wake->next_ms, w->now_ms + GT_TASK_KEEP_MS);
	assert_int_equal(state_of(w, "one"), GT_TASK_EXPIRED);
	w->now_ms += GT_TASK_KEEP_MS;
	run_ok(w, old);
	gt_strcopy(gone->id, sizeof(gone->id), "one");
	assert_string_equal(run(w, gone).slug, "call_not_found");
	assert_int_equal(files(), 0);
}

static void cancelled_and_failed_calls_can_run_again(void **state)
{
	struct world *w = *state;
	gt_auto(task_op) struct gt_task_op *twice = gt_task_op_new(GT_TASK_CANCEL);

	accept_one(w, "one", "f", NULL, "p", 3);
	gt_auto(task_op) struct gt_task_op *got = lease(w, 1);
	gt_auto(task_op) struct gt_task_op *cancelled = ask(w, GT_TASK_CANCEL, "one");

	assert_true(cancelled->more); /* a gateway has it */
	assert_int_equal(cancelled->n_ended, 1);
	gt_strcopy(twice->id, sizeof(twice->id), "one");
	assert_string_equal(run(w, twice).slug, "conflict");
	assert_false(finish(w, &got->tasks[0], GT_TASK_SUCCEEDED, 1));
	gt_auto(task_op) struct gt_task_op *replayed = ask(w, GT_TASK_REPLAY, "one");

	assert_int_equal(replayed->tasks[0].state, GT_TASK_QUEUED);
	gt_auto(task_op) struct gt_task_op *again = lease(w, 1);

	assert_int_equal(again->tasks[0].body.len, 3);
	assert_true(finish(w, &again->tasks[0], GT_TASK_FAILED, 1));
	gt_auto(task_op) struct gt_task_op *third = ask(w, GT_TASK_REPLAY, "one");
	gt_auto(task_op) struct gt_task_op *last = lease(w, 1);

	assert_int_equal(last->tasks[0].body.len, 3);
	assert_true(finish(w, &last->tasks[0], GT_TASK_SUCCEEDED, 1));
}

static void no_priority_starves(void **state)
{
	struct world *w = *state;
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);
	unsigned n[GT_TASK_CLASSES] = { 0 };

	for (unsigned i = 0; i < 300; i++) {
		char id[16];

		snprintf(id, sizeof(id), "t%u", i);
		add(op, id, "f", 0)->priority = i % 3;
	}
	run_ok(w, op);
	gt_auto(task_op) struct gt_task_op *got = lease(w, 42);

	for (size_t i = 0; i < got->n_tasks; i++)
		n[got->tasks[i].priority]++;
	assert_int_equal(n[GT_TASK_HIGH], 32);
	assert_int_equal(n[GT_TASK_NORMAL], 8);
	assert_int_equal(n[GT_TASK_LOW], 2);
}

static void lists_have_pages_and_filters(void **state)
{
	struct world *w = *state;
	unsigned seen = 0;
	uint64_t before = 0;

	for (unsigned i = 0; i < 7; i++) {
		char id[16];

		snprintf(id, sizeof(id), "t%u", i);
		accept_one(w, id, i == 3 ? "g" : "f", NULL, "p", 0);
	}
	gt_task_op_free(ask(w, GT_TASK_CANCEL, "t2"));
	for (bool more = true; more;) {
		gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_LIST);

		gt_strcopy(op->function, sizeof(op->function), "f");
		op->states = 1U << GT_TASK_QUEUED;
		op->limit = 2;
		op->before = before;
		run_ok(w, op);
		for (size_t i = 0; i < op->n_tasks; i++)
			assert_true(!before || op->tasks[i].seq < before);
		seen += (unsigned)op->n_tasks;
		more = op->more;
		before = op->before;
	}
	assert_int_equal(seen, 5);
	gt_auto(task_op) struct gt_task_op *dead = gt_task_op_new(GT_TASK_LIST);

	dead->states = 1U << GT_TASK_FAILED | 1U << GT_TASK_CANCELLED;
	dead->limit = 10;
	run_ok(w, dead);
	assert_int_equal(dead->n_tasks, 1);
	assert_string_equal(dead->tasks[0].id, "t2");
}

static void leave_an_orphan(void)
{
	FILE *orphan;

	if (backend_is_pg()) {
		backend_sql("INSERT INTO bodies VALUES('01JD0000000000000000000000', 0, 'x')");
		return;
	}
	orphan = fopen("control/bodies/01JD0000000000000000000000", "w");
	assert_non_null(orphan);
	fclose(orphan);
}

static void large_bodies_lie_in_files_that_go_in_time(void **state)
{
	struct world *w = *state;
	const size_t large = 35 * GT_TASK_INLINE_MAX; /* two pieces and a rest */

	accept_one(w, "one", "f", "k", "p", large);
	assert_int_equal(accept_one(w, "two", "f", "k", "p", large).taken, GT_TAKEN_BEFORE);
	assert_int_equal(files(), 1);
	gt_auto(task_op) struct gt_task_op *got = lease(w, 1);

	assert_int_equal(got->tasks[0].body.len, large);
	assert_int_equal(got->tasks[0].body.data[large - 1], 'b');
	assert_true(finish(w, &got->tasks[0], GT_TASK_SUCCEEDED, large));
	assert_int_equal(files(), 1); /* of the result */
	assert_false(finish(w, &got->tasks[0], GT_TASK_SUCCEEDED, large));
	assert_int_equal(files(), 1);
	gt_auto(task_op) struct gt_task_op *res = ask(w, GT_TASK_RESULT, "one");

	assert_int_equal(res->results[0].body.len, large);
	leave_an_orphan();
	assert_int_equal(files(), 2);
	reopen(w);
	assert_int_equal(files(), 1);
}

/* The child says what was acknowledged, and is killed at any moment. */
static void killed_at_any_time_nothing_acknowledged_is_lost(void **state)
{
	struct world *w = *state;
	unsigned char seed = (unsigned char)getpid();

	printf("seed %u\n", seed);
	gt_store_close(w->store);
	w->store = NULL;
	unsigned next = 0, told = 0;

	for (unsigned round = 0; round < 10; round++) {
		int to[2];

		assert_int_equal(pipe(to), 0);
		pid_t pid = fork();

		if (pid == 0) {
			reopen(w);
			for (unsigned i = next; i < next + 100000; i++) {
				char id[16];

				snprintf(id, sizeof(id), "t%u", i);
				accept_one(w, id, "f", NULL, "p", i % 8 ? 100 : 100000);
				if (write(to[1], &i, sizeof(i)) < 0)
					_exit(1);
			}
			_exit(0);
		}
		close(to[1]);
		unsigned want = 1 + (seed * 7 + round * 13) % 60, last = 0, status;

		for (unsigned n = 0; n < want; n++)
			assert_int_equal(read(to[0], &last, sizeof(last)), sizeof(last));
		kill(pid, SIGKILL);
		waitpid(pid, (int *)&status, 0);
		while (read(to[0], &last, sizeof(last)) == sizeof(last))
			;
		close(to[0]);
		told = last + 1;
		next = told + 1000; /* ids of what was on its way are not used again */
		reopen(w);
		char id[16];

		snprintf(id, sizeof(id), "t%u", told - 1);
		gt_auto(task_op) struct gt_task_op *op = ask(w, GT_TASK_GET, id);

		assert_int_equal(op->tasks[0].state, GT_TASK_QUEUED);
		gt_store_close(w->store);
		w->store = NULL;
	}
}

/* All but the oldest are of no interest: the pages up to it are short, and lead to it. */
static void a_page_looks_at_so_many(void **state)
{
	struct world *w = *state;
	unsigned pages = 0, seen = 0;
	uint64_t before = 0;

	accept_one(w, "oldest", "f", NULL, "p", 0);
	gt_task_op_free(lease(w, 1));
	for (unsigned n = 0; n < GT_TASK_LOOKED_MAX; n += 10000) {
		gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);
		char id[16];

		for (unsigned i = 0; i < 10000; i++) {
			snprintf(id, sizeof(id), "t%u", n + i);
			add(op, id, "f", 0);
		}
		run_ok(w, op);
	}
	for (bool more = true; more; pages++) {
		gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_LIST);

		op->states = 1U << GT_TASK_RUNNING;
		op->limit = 2;
		op->before = before;
		run_ok(w, op);
		seen += (unsigned)op->n_tasks;
		more = op->more;
		before = op->before;
	}
	assert_int_equal(seen, 1);
	assert_int_equal(pages, 2);
}

static void lose_bodies(void)
{
	struct dirent *e;
	DIR *dir;

	if (backend_is_pg()) {
		backend_sql("DELETE FROM bodies");
		return;
	}
	dir = opendir("control/bodies");
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			assert_int_equal(unlinkat(dirfd(dir), e->d_name, 0), 0);
	closedir(dir);
}

static void a_body_that_is_lost_holds_up_no_other(void **state)
{
	struct world *w = *state;

	accept_one(w, "big", "f", NULL, "p", GT_TASK_INLINE_MAX + 1);
	accept_one(w, "next", "f", NULL, "p", 10);
	lose_bodies();
	gt_auto(task_op) struct gt_task_op *got = lease(w, 5);

	assert_int_equal(got->n_tasks, 1);
	assert_string_equal(got->tasks[0].id, "next");
	assert_int_equal(got->changes[0].queued, -2);
	assert_int_equal(got->n_ended, 1);
	gt_auto(task_op) struct gt_task_op *big = ask(w, GT_TASK_RESULT, "big");

	assert_int_equal(big->tasks[0].state, GT_TASK_FAILED);
	assert_string_equal(big->tasks[0].slug, "input_lost");
	assert_true(finish(w, &got->tasks[0], GT_TASK_SUCCEEDED, 1));
}

static struct gt_task_op *hooks_due(struct world *w)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_HOOKS);

	op->limit = 10;
	run_ok(w, op);
	return op;
}

static void hook_told(struct world *w, const struct gt_task *t, uint64_t due_ms)
{
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_HOOK_SET);

	op->before = t->seq;
	op->told_ms = t->hook_due_ms;
	op->next_ms = due_ms;
	run_ok(w, op);
}

/* Only what has ended is told, and an answer about one end says nothing of the next. */
static void a_replay_is_told_of_at_its_own_end(void **state)
{
	struct world *w = *state;
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);

	add(op, "one", "f", 1)->callback = gt_strdup("https://example.org/");
	run_ok(w, op);
	gt_task_op_free(ask(w, GT_TASK_CANCEL, "one"));
	gt_auto(task_op) struct gt_task_op *first = hooks_due(w);

	assert_int_equal(first->n_tasks, 1);
	gt_task_op_free(ask(w, GT_TASK_REPLAY, "one"));
	hook_told(w, &first->tasks[0], w->now_ms); /* it failed: try again */
	gt_auto(task_op) struct gt_task_op *none = hooks_due(w);

	assert_int_equal(none->n_tasks, 0);
	w->now_ms += 10;
	gt_task_op_free(ask(w, GT_TASK_CANCEL, "one"));
	hook_told(w, &first->tasks[0], 0); /* it was taken, late */
	gt_auto(task_op) struct gt_task_op *second = hooks_due(w);

	assert_int_equal(second->n_tasks, 1);
	hook_told(w, &second->tasks[0], 0);
	gt_auto(task_op) struct gt_task_op *done = hooks_due(w);

	assert_int_equal(done->n_tasks, 0);
}

/* By its time a try would wait for as long as the clock was set back by. */
static void tries_do_not_wait_for_a_clock_that_was_set_back(void **state)
{
	struct world *w = *state;
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);

	add(op, "one", "f", 1)->callback = gt_strdup("https://example.org/");
	run_ok(w, op);
	gt_task_op_free(ask(w, GT_TASK_CANCEL, "one"));
	gt_auto(task_op) struct gt_task_op *first = hooks_due(w);

	hook_told(w, &first->tasks[0], w->now_ms + 5000);
	w->now_ms -= 500000;
	gt_auto(task_op) struct gt_task_op *none = hooks_due(w);

	assert_int_equal(none->n_tasks, 0);
	gt_task_op_free(ask(w, GT_TASK_HOOKS_NOW, ""));
	gt_auto(task_op) struct gt_task_op *second = hooks_due(w);

	assert_int_equal(second->n_tasks, 1);
	hook_told(w, &second->tasks[0], 0);
	gt_task_op_free(ask(w, GT_TASK_HOOKS_NOW, "")); /* one that is done stays so */
	gt_auto(task_op) struct gt_task_op *done = hooks_due(w);

	assert_int_equal(done->n_tasks, 0);
}

/* So that a gateway needs no clock like control's. */
static void a_lease_says_how_much_time_is_left(void **state)
{
	struct world *w = *state;
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);

	add(op, "one", "f", 1)->deadline_ms = w->now_ms + 7000;
	run_ok(w, op);
	w->now_ms += 2000;
	gt_auto(task_op) struct gt_task_op *got = lease(w, 1);

	assert_int_equal(got->n_tasks, 1);
	assert_int_equal(got->tasks[0].left_ms, 5000);
}

int main(void)
{
#define t(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(a_call_runs_once_and_has_one_result),
		t(many_results_come_at_once),
		t(the_same_request_is_taken_once),
		t(a_lost_lease_is_given_again_and_its_result_refused),
		t(a_gateway_that_lost_an_answer_says_what_it_has),
		t(a_call_is_given_up_after_many_lost_leases),
		t(a_retry_waits_until_it_is_due),
		t(deadlines_end_calls_and_time_forgets_them),
		t(cancelled_and_failed_calls_can_run_again),
		t(no_priority_starves),
		t(lists_have_pages_and_filters),
		t(large_bodies_lie_in_files_that_go_in_time),
		t(killed_at_any_time_nothing_acknowledged_is_lost),
		t(a_page_looks_at_so_many),
		t(a_body_that_is_lost_holds_up_no_other),
		t(a_replay_is_told_of_at_its_own_end),
		t(tries_do_not_wait_for_a_clock_that_was_set_back),
		t(a_lease_says_how_much_time_is_left),
	};

	int failed = cmocka_run_group_tests_name("on SQLite", tests, NULL, NULL);

	if (backend_pg_installed())
		failed += cmocka_run_group_tests_name("on PostgreSQL", tests, backend_pg_begin,
						      backend_pg_end);
	return failed;
}
