/* Schedules in control: each due time has one call, though control starts again at any moment,
 * answers are lost and the clock is set; and a replica is asked for in time. */
#include "fixture.h"

#include <stdlib.h>

#include <gantry/control/schedule.h>
#include <gantry/control/task.h>
#include <gantry/cron/cron.h>

#define CALLS_MAX 20000
#define MINUTE_NS (60 * GT_NS_PER_S)

/* A store in memory: one schedule, and the ids of calls. */
struct desk {
	struct fix x;   /* first: the fixture's own calls take it */
	int64_t set_ms; /* what the wall clock was set by */
	struct gt_schedule row;
	uint64_t made[CALLS_MAX], doubles;
	size_t n_made;
	struct gt_task_op *ops[64];
	size_t n_ops;
	unsigned loses; /* of 1000 answers; the operation was done */
	unsigned n_fires;
	struct gt_err err;
};

static uint64_t wall(void *arg)
{
	struct desk *d = arg;

	return (uint64_t)((int64_t)(1795600000000ULL + d->x.now_ns / GT_NS_PER_MS) + d->set_ms);
}

static uint64_t mono(void *arg)
{
	return ((struct desk *)arg)->x.now_ns;
}

static void store_task(void *ctx, struct gt_task_op *op)
{
	struct desk *d = ctx;

	assert_true(d->n_ops < GT_LEN(d->ops));
	d->ops[d->n_ops++] = op;
}

static void row_give(const struct desk *d, struct gt_schedule *to)
{
	char *cron = to->cron, *path = to->call.path;

	*to = d->row;
	to->cron = d->row.cron ? gt_strdup(d->row.cron) : NULL;
	to->call.path = NULL;
	free(cron);
	free(path);
}

static void make(struct desk *d, struct gt_task_op *op)
{
	if (op->told_ms != d->row.next_ms || d->row.paused) {
		row_give(d, &op->schedules[0]);
		return;
	}
	for (size_t i = 0; i < op->n_dues; i++) {
		struct gt_task *t = gt_task_op_add(op);
		size_t k = 0;

		while (k < d->n_made && d->made[k] != op->dues[i])
			k++;
		t->taken = k < d->n_made ? GT_TAKEN_BEFORE : GT_TAKEN_NEW;
		t->deadline_ms = UINT64_MAX;
		d->doubles += k < d->n_made;
		gt_strcopy(t->function, sizeof(t->function), "f");
		if (k < d->n_made)
			continue;
		assert_true(d->n_made < CALLS_MAX);
		d->made[d->n_made++] = op->dues[i];
		gt_task_op_change(op, "f", 1);
	}
	d->n_fires++;
	d->row.next_ms = op->schedules[0].next_ms;
	if (op->schedules[0].passed_ms)
		d->row.passed_ms = op->schedules[0].passed_ms;
	row_give(d, &op->schedules[0]);
}

static void apply(struct desk *d, struct gt_task_op *op)
{
	bool active = d->row.next_ms && !d->row.paused;

	switch (op->verb) {
	case GT_TASK_PLAN_DUE:
		op->next_ms = active && d->row.next_ms > op->told_ms ? d->row.next_ms : UINT64_MAX;
		if (active && d->row.next_ms <= op->told_ms)
			row_give(d, gt_task_op_plan(op));
		break;
	case GT_TASK_PLAN_LIST:
		if (active)
			row_give(d, gt_task_op_plan(op));
		break;
	case GT_TASK_PLAN_PUT:
		gt_schedule_fini(&d->row);
		d->row = op->schedules[0];
		d->row.since_ms = wall(d);
		op->schedules[0] = (struct gt_schedule){ 0 };
		row_give(d, &op->schedules[0]);
		break;
	case GT_TASK_PLAN_SET:
		d->row.paused = op->schedules[0].paused;
		d->row.resumed_ms = d->row.paused ? d->row.resumed_ms : wall(d);
		row_give(d, &op->schedules[0]);
		break;
	case GT_TASK_FIRE:
		make(d, op);
		break;
	default:
		break;
	}
}

/* The store does all that waits. */
static void serve(struct desk *d)
{
	static const struct gt_err lost = { .code = EAGAIN, .slug = "unavailable", .text = "lost" };
	uint64_t word;

	while (d->n_ops) {
		struct gt_task_op *op = d->ops[0];

		memmove(d->ops, d->ops + 1, --d->n_ops * sizeof(d->ops[0]));
		apply(d, op);
		gt_rand_seeded(&d->x.seed).fill(&d->x.seed, &word, sizeof(word));
		op->done(op, word % 1000 < d->loses ? &lost : NULL, op->arg);
	}
}

static void nothing(void *ctx, const char *what, uint64_t seen)
{
	(void)ctx;
	(void)what;
	(void)seen;
}

static void nobody(void *ctx, const char *id)
{
	(void)ctx;
	(void)id;
}

static void unheard(void *ctx, uint64_t seq, uint32_t attempt)
{
	(void)attempt;
	(void)ctx;
	(void)seq;
}

static void begin(struct desk *d)
{
	struct gt_control_ports ports = fix_ports(&d->x);
	const struct gt_control_config config = { .epoch = FIX_EPOCH };

	ports.clock = (struct gt_clock){ .mono_ns = mono, .wall_ms = wall, .arg = d };
	ports.store.task = store_task;
	ports.on_task_work = nothing;
	ports.on_task_changed = nobody;
	ports.on_task_stop = unheard;
	d->x.c = gt_control_new(&ports, &config);
	d->x.event.id = 0;
	gt_control_tasks_load(d->x.c);
	gt_control_schedules_load(d->x.c);
	gt_control_node_up(d->x.c, "n1");
	gt_control_gateway_up(d->x.c, "g1");
	fix_report_full(&d->x, NULL, 0);
	fix_put(&d->x, "f", fix_spec(), "one");
	serve(d);
}

/* The process ends; what the store was given it may have done. */
static void again(struct desk *d)
{
	while (d->n_ops) {
		struct gt_task_op *op = d->ops[--d->n_ops];

		apply(d, op);
		gt_task_op_free(op);
	}
	gt_control_free(d->x.c);
	begin(d);
}

static int setup(void **state)
{
	struct desk *d = gt_alloc(sizeof(*d));

	d->x.now_ns = 1000 * GT_NS_PER_S;
	d->x.seed = 1;
	begin(d);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct desk *d = *state;

	while (d->n_ops)
		gt_task_op_free(d->ops[--d->n_ops]);
	gt_control_free(d->x.c);
	gt_schedule_fini(&d->row);
	free(d);
	return 0;
}

/* Time goes by, and control ticks when it asked for it. */
static void pass(struct desk *d, uint64_t ns)
{
	uint64_t end_ns = d->x.now_ns + ns;

	for (;;) {
		uint64_t due_ns = gt_control_due_ns(d->x.c);

		if (due_ns > end_ns)
			break;
		d->x.now_ns = GT_MAX(d->x.now_ns, due_ns);
		gt_control_tick(d->x.c);
		serve(d);
	}
	d->x.now_ns = end_ns;
}

static void on_said(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	((struct desk *)arg)->err = err ? *err : (struct gt_err){ 0 };
	gt_task_op_free(op);
}

static int say(struct desk *d, const char *cron, uint64_t every_ms, enum gt_catch_up catch_up)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_PLAN_PUT);
	struct gt_schedule *s = gt_task_op_plan(op);
	int r;

	gt_strcopy(s->name, sizeof(s->name), "tick");
	gt_strcopy(s->zone, sizeof(s->zone), "UTC");
	gt_strcopy(s->call.function, sizeof(s->call.function), "f");
	s->cron = gt_strdup(cron);
	s->every_ms = every_ms;
	s->catch_up = catch_up;
	r = gt_control_task(d->x.c, op, on_said, d, &d->err);
	if (r < 0)
		gt_task_op_free(op);
	serve(d);
	return r;
}

static void set_pause(struct desk *d, bool paused)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_PLAN_SET);
	struct gt_schedule *s = gt_task_op_plan(op);

	gt_strcopy(s->name, sizeof(s->name), "tick");
	s->paused = paused;
	assert_int_equal(gt_control_task(d->x.c, op, on_said, d, &d->err), 0);
	serve(d);
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Each minute from the first to the last has a call. */
static void assert_each_minute(struct desk *d)
{
	qsort(d->made, d->n_made, sizeof(d->made[0]), by_time);
	for (size_t i = 0; i < d->n_made; i++) {
		assert_int_equal(d->made[i] % 60000, 0);
		if (i)
			assert_int_equal(d->made[i] - d->made[i - 1], 60000);
	}
}

static void each_time_has_a_call(void **state)
{
	struct desk *d = *state;

	assert_int_equal(say(d, "* * * * *", 0, GT_CATCH_UP_ONE), 0);
	pass(d, 10 * MINUTE_NS);
	assert_int_equal(d->n_made, 10);
	assert_each_minute(d);
	pass(d, 24 * 60 * MINUTE_NS);
	assert_int_equal(d->n_made, 1450);
	assert_int_equal(d->doubles, 0);
}

/* Control dies, and answers of the store are lost, at any moment. */
static void once_over_restarts(void **state)
{
	struct desk *d = *state;
	struct gt_rand rnd = gt_rand_seeded(&d->x.seed);
	const char *seed = getenv("SEED");
	uint64_t word;

	d->x.seed = seed ? strtoull(seed, NULL, 10) : 20261126;
	print_message("seed %llu\n", (unsigned long long)d->x.seed);
	assert_int_equal(say(d, "* * * * *", 0, GT_CATCH_UP_ALL), 0);
	d->loses = 200;
	for (unsigned i = 0; i < 3000; i++) {
		rnd.fill(rnd.arg, &word, sizeof(word));
		pass(d, word % (40 * GT_NS_PER_S));
		if (word >> 32 & 1) /* between what it asked for and the answer */
			d->x.now_ns = GT_MAX(d->x.now_ns, GT_MIN(gt_control_due_ns(d->x.c),
								 d->x.now_ns + MINUTE_NS));
		if (word >> 33 & 1) {
			gt_control_tick(d->x.c);
			again(d);
		}
	}
	d->loses = 0;
	pass(d, 3 * MINUTE_NS);
	assert_true(d->n_made > 900);
	assert_each_minute(d);
	assert_int_equal(d->made[d->n_made - 1], wall(d) / 60000 * 60000);
	assert_int_equal(d->doubles, 0);
}

static void a_clock_that_is_set(struct desk *d, int64_t by_ms, bool restart)
{
	size_t were;

	pass(d, 10 * MINUTE_NS);
	were = d->n_made;
	d->set_ms += by_ms;
	if (restart)
		again(d);
	pass(d, 2 * MINUTE_NS);
	assert_true(d->n_made <= were + 4); /* no storm */
	pass(d, 10 * MINUTE_NS);
	/* It goes on at once, except for times that had their call before. */
	if (by_ms > 0 || by_ms < -3600 * 1000)
		assert_true(d->n_made >= were + 11 && d->n_made <= were + 14);
}

static void the_clock_may_be_set(void **state)
{
	static const int64_t hour_ms = 3600 * 1000, years_ms = 3653LL * 24 * 3600 * 1000;
	struct desk *d = *state;

	assert_int_equal(say(d, "* * * * *", 0, GT_CATCH_UP_ONE), 0);
	for (int restart = 0; restart < 2; restart++) {
		a_clock_that_is_set(d, hour_ms, restart);
		a_clock_that_is_set(d, -hour_ms, restart);
		pass(d, 90 * MINUTE_NS);
		a_clock_that_is_set(d, years_ms, restart);
		a_clock_that_is_set(d, -years_ms, restart);
		a_clock_that_is_set(d, -years_ms, restart);
		a_clock_that_is_set(d, years_ms, restart);
	}
	/* periods as well */
	assert_int_equal(say(d, NULL, 60000, GT_CATCH_UP_ONE), 0);
	a_clock_that_is_set(d, years_ms, false);
	a_clock_that_is_set(d, -2 * years_ms, false);
}

static void away(struct desk *d, enum gt_catch_up catch_up, uint64_t ns, size_t want)
{
	size_t were;

	assert_int_equal(say(d, "* * * * *", 0, catch_up), 0);
	pass(d, MINUTE_NS + 1);
	were = d->n_made;
	d->x.now_ns += ns;
	again(d);
	pass(d, GT_NS_PER_S);
	assert_int_equal(d->n_made - were, want);
}

static void missed_times_are_made_up_for(void **state)
{
	struct desk *d = *state;

	d->x.now_ns += MINUTE_NS - (wall(d) % 60000) * GT_NS_PER_MS + 5 * GT_NS_PER_S;
	away(d, GT_CATCH_UP_ONE, 50 * MINUTE_NS, 1);
	assert_true(d->row.passed_ms > 0);
	away(d, GT_CATCH_UP_ALL, 50 * MINUTE_NS, 50);
	away(d, GT_CATCH_UP_ALL, 5000 * MINUTE_NS, GT_SCHEDULE_ALL_MAX);
	away(d, GT_CATCH_UP_NONE, 50 * MINUTE_NS, 1); /* that is due right now */
	assert_int_equal(say(d, "0 * * * *", 0, GT_CATCH_UP_NONE), 0);
	pass(d, MINUTE_NS);
	size_t were = d->n_made;

	d->x.now_ns += 150 * MINUTE_NS + 30 * GT_NS_PER_S;
	again(d);
	pass(d, GT_NS_PER_S);
	assert_true(d->n_made == were ||
		    d->made[d->n_made - 1] + GT_SCHEDULE_LATE_MS >= wall(d) - 2000);
}

static void a_pause_is_not_made_up_for(void **state)
{
	struct desk *d = *state;

	assert_int_equal(say(d, "* * * * *", 0, GT_CATCH_UP_ALL), 0);
	pass(d, 3 * MINUTE_NS);
	set_pause(d, true);
	size_t were = d->n_made;

	pass(d, 100 * MINUTE_NS);
	assert_int_equal(d->n_made, were);
	assert_true(gt_control_due_ns(d->x.c) > d->x.now_ns + 100 * MINUTE_NS ||
		    d->n_ops == 0); /* it asks for nothing */
	set_pause(d, false);
	pass(d, 3 * MINUTE_NS);
	assert_int_equal(d->n_made, were + 3);
}

static void what_is_no_schedule_is_refused(void **state)
{
	struct desk *d = *state;

	assert_int_equal(say(d, "61 * * * *", 0, GT_CATCH_UP_ONE), -EINVAL);
	assert_string_equal(d->err.slug, "invalid_schedule");
	assert_string_equal(d->err.path, "cron");
	assert_int_equal(d->n_ops, 0);
}

static uint32_t wanted(struct desk *d)
{
	return fix_view(&d->x, "f").wanted;
}

/* The fixture's replicas take one second to be ready. */
static void a_replica_is_asked_for_in_time(void **state)
{
	struct desk *d = *state;
	uint64_t due_ms;

	assert_int_equal(say(d, "0 * * * *", 0, GT_CATCH_UP_ONE), 0);
	due_ms = d->row.next_ms;
	pass(d, (due_ms - wall(d) - 20000) * GT_NS_PER_MS);
	assert_int_equal(wanted(d), 0);
	assert_int_equal(d->x.n_orders, 0);
	pass(d, 10 * GT_NS_PER_S); /* nothing was measured: 10 s are expected, and a quarter */
	assert_int_equal(wanted(d), 1);
	assert_int_equal(d->x.n_orders, 1);
	assert_int_equal(d->n_made, 0);
	pass(d, GT_NS_PER_S);
	fix_report(&d->x, d->x.order.replica, GT_REPLICA_READY);
	pass(d, 9 * GT_NS_PER_S);
	assert_int_equal(d->n_made, 1);
	assert_int_equal(d->x.n_orders, 1);
	assert_int_equal(wanted(d), 1); /* for the call that waits now */
	/* measured: a second, a quarter, and a quarter of a second */
	set_pause(d, true);
	set_pause(d, false);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_time_has_a_call, setup, teardown),
		cmocka_unit_test_setup_teardown(once_over_restarts, setup, teardown),
		cmocka_unit_test_setup_teardown(the_clock_may_be_set, setup, teardown),
		cmocka_unit_test_setup_teardown(missed_times_are_made_up_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pause_is_not_made_up_for, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_schedule_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_replica_is_asked_for_in_time, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
