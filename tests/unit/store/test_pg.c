/* The store on a PostgreSQL that goes and comes back: nothing is accepted that is not saved, and
 * what became of a commit that nobody answered is found out. */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/store/store.h>

#include "backend.h"

#define PATIENCE_MS 1000

struct world {
	int event;
	struct gt_store *store;
};

static void ring(void *arg)
{
	struct world *w = arg;
	uint64_t one = 1;

	if (write(w->event, &one, sizeof(one)) < 0)
		abort();
}

static int setup(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));
	struct gt_store_config config = { .notify = ring,
					  .notify_arg = w,
					  .patience_ms = PATIENCE_MS };
	struct gt_err err = { 0 };

	backend_fresh();
	config.path = backend_path();
	w->event = eventfd(0, EFD_CLOEXEC);
	if (gt_store_open(&config, &w->store, &err) < 0)
		fail_msg("%s", err.text);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	gt_store_close(w->store);
	close(w->event);
	free(w);
	return 0;
}

struct outcome {
	unsigned done;
	struct gt_err err;
};

static void on_done(const struct gt_err *err, void *arg)
{
	struct outcome *o = arg;

	o->done++;
	o->err = err ? *err : (struct gt_err){ 0 };
}

static void on_task(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	on_done(err, arg);
	gt_task_op_free(op);
}

static void wait_done(struct world *w, const struct outcome *o)
{
	while (!o->done) {
		struct pollfd p = { .fd = w->event, .events = POLLIN };
		uint64_t count;

		assert_int_equal(poll(&p, 1, 20000), 1);
		assert_int_equal(read(w->event, &count, sizeof(count)), sizeof(count));
		gt_store_poll(w->store);
	}
}

static void put_begin(struct world *w, const char *name, struct outcome *o)
{
	gt_auto(free) char *own = gt_strdup(name);
	struct gt_function_row row = { .name = own, .revision = 1, .spec_json = (char[]){ "{}" } };

	gt_strcopy(row.etag, sizeof(row.etag), "e");
	*o = (struct outcome){ 0 };
	gt_store_put(w->store, &row, on_done, o);
}

static struct gt_err put(struct world *w, const char *name)
{
	struct outcome o;

	put_begin(w, name, &o);
	wait_done(w, &o);
	return o.err;
}

static void call_begin(struct world *w, const char *id, size_t body, struct outcome *o)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);
	struct gt_task *t = gt_task_op_add(op);

	gt_strcopy(t->id, sizeof(t->id), id);
	gt_strcopy(t->function, sizeof(t->function), "f");
	gt_strcopy(t->method, sizeof(t->method), "POST");
	t->path = gt_strdup("/");
	t->deadline_ms = UINT32_MAX;
	t->body.len = body;
	t->body.data = gt_alloc(body + 1);
	op->done = on_task;
	op->arg = o;
	*o = (struct outcome){ 0 };
	gt_store_task(w->store, op);
}

static struct gt_err call(struct world *w, const char *id, size_t body)
{
	struct outcome o;

	call_begin(w, id, body, &o);
	wait_done(w, &o);
	return o.err;
}

static struct gt_err get(struct world *w, const char *id)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_GET);
	struct outcome o = { 0 };

	gt_strcopy(op->id, sizeof(op->id), id);
	op->done = on_task;
	op->arg = &o;
	gt_store_task(w->store, op);
	wait_done(w, &o);
	return o.err;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void nothing_is_accepted_while_it_is_away(void **state)
{
	struct world *w = *state;
	struct gt_err err;

	assert_int_equal(call(w, "before", 10).code, 0);
	backend_pg_crash();
	err = call(w, "away", 10);
	assert_int_equal(err.code, ENOTCONN);
	assert_string_equal(err.slug, "unavailable");
	assert_int_equal(call(w, "large", 100000).code, ENOTCONN);
	assert_int_equal(put(w, "f").code, ENOTCONN);
	assert_int_equal(get(w, "before").code, ENOTCONN);
	backend_pg_return();
	while (get(w, "before").code == ENOTCONN) /* twice a second it is tried */
		usleep(50000);
	assert_int_equal(get(w, "before").code, 0);
	assert_int_equal(call(w, "after", 10).code, 0);
	assert_int_equal(call(w, "large", 100000).code, 0);
	assert_int_equal(put(w, "f").code, 0);
	assert_int_equal(get(w, "away").code, ENOENT);
	assert_int_equal(gt_store_failed(w->store, &err), 0);
}

/* A server that was started anew meanwhile is found by the first who asks, and nobody notices. */
static void a_restart_between_two_writes_is_not_noticed(void **state)
{
	struct world *w = *state;

	assert_int_equal(call(w, "a", 10).code, 0);
	backend_pg_crash();
	backend_pg_return();
	assert_int_equal(call(w, "b", 10).code, 0);
	assert_int_equal(get(w, "a").code, 0);
	assert_int_equal(get(w, "b").code, 0);
}

/* A commit that takes longer than anybody waits. */
static void slow_commits(void)
{
	backend_sql("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
		    " 'BEGIN PERFORM pg_sleep(2.5); RETURN NULL; END'");
	backend_sql("CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON functions"
		    " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()");
}

static void what_was_committed_unheard_is_found_out(void **state)
{
	struct world *w = *state;
	struct outcome f, c;

	slow_commits();
	put_begin(w, "f", &f);
	wait_done(w, &f); /* held until the answer is known, and then it is the true one */
	assert_int_equal(f.err.code, 0);
	assert_int_equal(backend_sql("SELECT count(*) FROM functions"), 1);
	assert_true(gt_store_recount(w->store));
	assert_false(gt_store_recount(w->store));
	call_begin(w, "c", 10, &c);
	wait_done(w, &c);
	assert_int_equal(c.err.code, 0);
}

static void what_was_not_committed_is_found_out(void **state)
{
	struct world *w = *state;
	struct outcome f;

	slow_commits();
	put_begin(w, "f", &f);
	while (backend_sql("SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT'"
			   " AND state = 'active'") == 0)
		usleep(10000);
	backend_pg_crash();
	backend_pg_return();
	wait_done(w, &f);
	assert_int_equal(f.err.code, ENOTCONN);
	assert_int_equal(backend_sql("SELECT count(*) FROM functions"), 0);
}

/* One that says nothing is given up, and its locks do not outlive it. */
static void a_server_that_hangs_is_no_server(void **state)
{
	struct world *w = *state;

	assert_int_equal(call(w, "a", 10).code, 0);
	backend_pg_signal(SIGSTOP);
	assert_int_equal(call(w, "b", 10).code, ENOTCONN);
	backend_pg_signal(SIGCONT);
	while (call(w, "c", 10).code == ENOTCONN)
		usleep(50000);
	assert_int_equal(get(w, "c").code, 0);
}

int main(void)
{
#define t(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(nothing_is_accepted_while_it_is_away),
		t(a_restart_between_two_writes_is_not_noticed),
		t(what_was_committed_unheard_is_found_out),
		t(what_was_not_committed_is_found_out),
		t(a_server_that_hangs_is_no_server),
	};

	if (!backend_pg_installed())
		return 0;
	return cmocka_run_group_tests(tests, backend_pg_begin, backend_pg_end);
}
