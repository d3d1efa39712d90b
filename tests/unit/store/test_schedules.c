/* Schedules in the store: a put that is repeated moves nothing, a due time and its call are one
 * step, and nobody makes a step twice. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/model/schedule.h>
#include <gantry/store/store.h>

#include "backend.h"

#define NOW 1000000ULL

struct world {
	char dir[64];
	int event;
	struct gt_store *store;
	uint64_t now_ms;
};

static void ring(void *arg)
{
	uint64_t one = 1;

	if (write(((struct world *)arg)->event, &one, sizeof(one)) < 0)
		abort();
}

static void reopen(struct world *w)
{
	struct gt_store_config config = { .path = backend_path(), .notify = ring, .notify_arg = w };
	struct gt_err err = { 0 };

	gt_store_close(w->store);
	w->store = NULL;
	if (gt_store_open(&config, &w->store, &err) < 0)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));

	snprintf(w->dir, sizeof(w->dir), "/tmp/gt-plans-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(chdir(w->dir), 0);
	assert_int_equal(mkdir("control", 0700), 0);
	backend_fresh();
	w->event = eventfd(0, EFD_CLOEXEC);
	w->now_ms = NOW;
	reopen(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	gt_store_close(w->store);
	close(w->event);
	unlink("control/gantry.db");
	unlink("control/gantry.db-wal");
	unlink("control/gantry.db-shm");
	assert_int_equal(rmdir("control"), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(w->dir), 0);
	free(w);
	return 0;
}

static void on_done(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	*(struct gt_err *)arg = err ? *err : (struct gt_err){ 0 };
	op->arg = NULL;
}

static struct gt_err run(struct world *w, struct gt_task_op *op)
{
	struct gt_err err = { 0 };
	uint64_t n;

	op->now_ms = w->now_ms;
	op->epoch = 1;
	op->done = on_done;
	op->arg = &err;
	gt_store_task(w->store, op);
	while (op->arg) {
		assert_int_equal(
			poll(&(struct pollfd){ .fd = w->event, .events = POLLIN }, 1, 10000), 1);
		assert_int_equal(read(w->event, &n, sizeof(n)), sizeof(n));
		gt_store_poll(w->store);
	}
	return err;
}

static struct gt_task_op *op_of(enum gt_task_verb verb, const char *name)
{
	struct gt_task_op *op = gt_task_op_new(verb);

	gt_strcopy(gt_task_op_plan(op)->name, sizeof(op->schedules->name), name);
	return op;
}

static struct gt_task_op *saying(const char *name, const char *cron, const char *etag)
{
	struct gt_task_op *op = op_of(GT_TASK_PLAN_PUT, name);
	struct gt_schedule *s = &op->schedules[0];

	s->cron = gt_strdup(cron);
	gt_strcopy(s->zone, sizeof(s->zone), "UTC");
	gt_strcopy(s->etag, sizeof(s->etag), etag);
	gt_strcopy(s->call.function, sizeof(s->call.function), "f");
	gt_strcopy(s->call.method, sizeof(s->call.method), "POST");
	gt_strcopy(s->call.print, sizeof(s->call.print), "print");
	s->call.path = gt_strdup("/x");
	s->call.body.data = gt_strdup("hello");
	s->call.body.len = 5;
	s->next_ms = NOW + 60000;
	return op;
}

static enum gt_schedule_put put(struct world *w, const char *name, const char *cron,
				const char *etag)
{
	gt_auto(task_op) struct gt_task_op *op = saying(name, cron, etag);
	struct gt_err err = run(w, op);

	if (err.code)
		fail_msg("%s", err.text);
	return op->schedules[0].outcome;
}

static struct gt_task_op *get(struct world *w, const char *name)
{
	struct gt_task_op *op = op_of(GT_TASK_PLAN_GET, name);

	assert_int_equal(run(w, op).code, 0);
	return op;
}

/* From the time that is known to the next; how many calls came of it. */
static size_t fire(struct world *w, const char *name, uint64_t known_ms, uint64_t next_ms,
		   enum gt_task_taken *taken)
{
	gt_auto(task_op) struct gt_task_op *op = op_of(GT_TASK_FIRE, name);

	op->told_ms = known_ms;
	op->schedules[0].next_ms = next_ms;
	op->schedules[0].fired_ms = known_ms;
	op->dues = gt_alloc_array(1, sizeof(*op->dues));
	op->dues[op->n_dues++] = known_ms;
	assert_int_equal(run(w, op).code, 0);
	if (op->n_tasks && taken)
		*taken = op->tasks[0].taken;
	return op->n_tasks;
}

static void put_is_repeatable(void **state)
{
	struct world *w = *state;
	gt_auto(task_op) struct gt_task_op *op = NULL;
	gt_auto(task_op) struct gt_task_op *later = NULL;

	assert_int_equal(put(w, "a", "@daily", "1"), GT_SCHEDULE_CREATED);
	w->now_ms += 5000;
	assert_int_equal(put(w, "a", "@daily", "1"), GT_SCHEDULE_UNCHANGED);
	assert_int_equal(put(w, "a", "@daily", "2"), GT_SCHEDULE_CHANGED);
	reopen(w);
	op = get(w, "a");
	assert_int_equal(op->schedules[0].since_ms, NOW); /* its times are the same */
	assert_int_equal(op->schedules[0].created_ms, NOW);
	assert_int_equal(op->schedules[0].updated_ms, NOW + 5000);
	assert_int_equal(op->schedules[0].call.body.len, 5);
	assert_memory_equal(op->schedules[0].call.body.data, "hello", 5);
	assert_int_equal(put(w, "a", "@hourly", "3"), GT_SCHEDULE_CHANGED);
	later = get(w, "a");
	assert_int_equal(later->schedules[0].since_ms, NOW + 5000);
	assert_int_equal(later->schedules[0].created_ms, NOW);
}

static void conditions_hold(void **state)
{
	struct world *w = *state;
	gt_auto(task_op) struct gt_task_op *op = saying("a", "@daily", "1");
	gt_auto(task_op) struct gt_task_op *again = saying("a", "@daily", "2");
	gt_auto(task_op) struct gt_task_op *drop = op_of(GT_TASK_PLAN_DROP, "a");
	gt_auto(task_op) struct gt_task_op *gone = op_of(GT_TASK_PLAN_GET, "a");

	op->if_match = gt_strdup("1");
	assert_string_equal(run(w, op).slug, "etag_mismatch");
	assert_int_equal(put(w, "a", "@daily", "1"), GT_SCHEDULE_CREATED);
	again->if_none_match = true;
	assert_string_equal(run(w, again).slug, "etag_mismatch");
	drop->if_match = gt_strdup("2");
	assert_string_equal(run(w, drop).slug, "etag_mismatch");
	gt_strcopy(drop->if_match, 2, "1");
	assert_int_equal(run(w, drop).code, 0);
	assert_string_equal(run(w, gone).slug, "schedule_not_found");
}

static void a_step_is_made_once(void **state)
{
	struct world *w = *state;
	uint64_t due = NOW + 60000;
	enum gt_task_taken taken;
	gt_auto(task_op) struct gt_task_op *list = gt_task_op_new(GT_TASK_LIST);

	put(w, "a", "@daily", "1");
	assert_int_equal(fire(w, "a", due, due + 60000, &taken), 1);
	assert_int_equal(taken, GT_TAKEN_NEW);
	reopen(w);
	assert_int_equal(fire(w, "a", due, due + 60000, NULL), 0); /* another one knew the same */
	/* the clock was set back: the same time once more has its call */
	assert_int_equal(fire(w, "a", due + 60000, due, &taken), 1);
	assert_int_equal(fire(w, "a", due, due + 60000, &taken), 1);
	assert_int_equal(taken, GT_TAKEN_BEFORE);
	list->limit = 10;
	list->states = ~0U;
	gt_strcopy(list->schedule, sizeof(list->schedule), "a");
	assert_int_equal(run(w, list).code, 0);
	assert_int_equal(list->n_tasks, 2);
	assert_string_equal(list->tasks[1].id, "a-19700101T001740Z");
	assert_int_equal(list->tasks[1].slot_ms, due);
	assert_string_equal(list->tasks[1].path, "/x");
}

static size_t n_due(struct world *w, uint64_t until_ms, uint64_t *next_ms)
{
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_PLAN_DUE);

	op->told_ms = until_ms;
	op->limit = 10;
	assert_int_equal(run(w, op).code, 0);
	*next_ms = op->next_ms;
	return op->n_schedules;
}

static void one_that_is_paused_is_not_due(void **state)
{
	struct world *w = *state;
	gt_auto(task_op) struct gt_task_op *pause = op_of(GT_TASK_PLAN_SET, "a");
	gt_auto(task_op) struct gt_task_op *resume = op_of(GT_TASK_PLAN_SET, "a");
	uint64_t next_ms;

	put(w, "a", "@daily", "1");
	put(w, "b", "@daily", "1");
	assert_int_equal(n_due(w, NOW, &next_ms), 0);
	assert_int_equal(next_ms, NOW + 60000);
	pause->schedules[0].paused = true;
	assert_int_equal(run(w, pause).code, 0);
	assert_int_equal(n_due(w, NOW + 60000, &next_ms), 1);
	assert_true(next_ms == UINT64_MAX);
	assert_int_equal(fire(w, "a", NOW + 60000, NOW + 120000, NULL), 0);
	w->now_ms += 500000;
	assert_int_equal(put(w, "a", "@daily", "2"), GT_SCHEDULE_CHANGED); /* it stays so */
	assert_int_equal(n_due(w, NOW + 60000, &next_ms), 1);
	assert_int_equal(run(w, resume).code, 0);
	assert_int_equal(resume->schedules[0].resumed_ms, NOW + 500000);
	assert_int_equal(n_due(w, NOW + 60000, &next_ms), 2);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(put_is_repeatable, setup, teardown),
		cmocka_unit_test_setup_teardown(conditions_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(a_step_is_made_once, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_is_paused_is_not_due, setup, teardown),
	};

	int failed = cmocka_run_group_tests_name("on SQLite", tests, NULL, NULL);

	if (backend_pg_installed())
		failed += cmocka_run_group_tests_name("on PostgreSQL", tests, backend_pg_begin,
						      backend_pg_end);
	return failed;
}
