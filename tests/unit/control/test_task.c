/* Durable calls in control: who gets how many, when to look again, and what an end means. */
#include "fixture.h"

#include <stdlib.h>

#include <gantry/control/task.h>

struct desk {
	struct fix x; /* first: the fixture's own calls take it */
	struct gt_task_op *ops[16];
	size_t n_ops;
	unsigned n_work, n_changed;
	uint64_t seen, stopped;
	uint32_t stopped_attempt;
	struct gt_err err; /* of the last answer */
	bool answered;
};

static void store_task(void *ctx, struct gt_task_op *op)
{
	struct desk *d = ctx;

	assert_true(d->n_ops < GT_LEN(d->ops));
	d->ops[d->n_ops++] = op;
}

static void on_task_work(void *ctx, const char *function, uint64_t seen)
{
	struct desk *d = ctx;

	assert_string_equal(function, "f");
	assert_true(seen > d->seen);
	d->seen = seen;
	d->n_work++;
}

static void on_task_changed(void *ctx, const char *id)
{
	assert_true(id[0] != '\0');
	((struct desk *)ctx)->n_changed++;
}

static void on_task_stop(void *ctx, uint64_t seq, uint32_t attempt)
{
	((struct desk *)ctx)->stopped_attempt = attempt;
	((struct desk *)ctx)->stopped = seq;
}

/* The store does the oldest operation. */
static struct gt_task_op *next_op(struct desk *d, enum gt_task_verb verb)
{
	assert_true(d->n_ops > 0);
	assert_int_equal(d->ops[0]->verb, verb);
	return d->ops[0];
}

static void answer(struct desk *d, const struct gt_err *err)
{
	struct gt_task_op *op = d->ops[0];

	memmove(d->ops, d->ops + 1, --d->n_ops * sizeof(d->ops[0]));
	op->done(op, err, op->arg);
}

static void on_answer(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct desk *d = arg;

	d->err = err ? *err : (struct gt_err){ 0 };
	d->answered = true;
	gt_task_op_free(op);
}

static void fresh(struct desk *d)
{
	struct gt_control_ports ports;
	const struct gt_control_config config = { .epoch = FIX_EPOCH };

	ports = fix_ports(&d->x);
	ports.store.task = store_task;
	ports.on_task_work = on_task_work;
	ports.on_task_changed = on_task_changed;
	ports.on_task_stop = on_task_stop;
	d->x.c = gt_control_new(&ports, &config);
	gt_control_tasks_load(d->x.c);
}

static int setup(void **state)
{
	struct desk *d = gt_alloc(sizeof(*d));

	d->x.now_ns = 1000 * GT_NS_PER_S;
	fresh(d);
	next_op(d, GT_TASK_COUNT);
	answer(d, NULL);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct desk *d = *state;

	for (size_t i = 0; i < d->n_ops; i++)
		gt_task_op_free(d->ops[i]);
	gt_control_free(d->x.c);
	free(d);
	return 0;
}

static void deploy(struct desk *d)
{
	struct gt_spec *spec = fix_spec();

	spec->retry.max = 2;
	fix_put(&d->x, "f", spec, "{}");
}

/* n calls become durable. */
static void accept(struct desk *d, int64_t n)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);
	struct gt_err err = { 0 };

	gt_strcopy(gt_task_op_add(op)->function, GT_NAME_MAX + 1, "f");
	op->tasks[0].deadline_ms = UINT64_MAX;
	assert_int_equal(gt_control_task(d->x.c, op, on_answer, d, &err), 0);
	gt_task_op_change(next_op(d, GT_TASK_ACCEPT), "f", n);
	answer(d, NULL);
}

/* An exchange of a gateway; it is at the store when this returns. */
static struct gt_task_op *exchange(uint32_t want, uint32_t held)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_EXCHANGE);

	op->sessions = gt_alloc(sizeof(*op->sessions));
	op->n_sessions = 1;
	op->sessions[0].session = 5;
	gt_strcopy(op->sessions[0].gateway, GT_NAME_MAX + 1, "g1");
	op->wants = gt_alloc(sizeof(*op->wants));
	op->n_wants = 1;
	op->wants[0].n = want;
	op->wants[0].held = held;
	gt_strcopy(op->wants[0].function, GT_NAME_MAX + 1, "f");
	return op;
}

static void give(struct desk *d, struct gt_task_op *op)
{
	struct gt_err err = { 0 };

	assert_int_equal(gt_control_task_exchange(d->x.c, FIX_EPOCH, op, on_answer, d, &err), 0);
	next_op(d, GT_TASK_EXCHANGE);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void work_is_told_once_and_again_when_it_is_new(void **state)
{
	struct desk *d = *state;

	deploy(d);
	accept(d, 3);
	accept(d, 2);
	assert_int_equal(d->n_work, 1);
	give(d, exchange(10, 0));
	gt_task_op_change(d->ops[0], "f", -5);
	answer(d, NULL);
	accept(d, 1);
	assert_int_equal(d->n_work, 2);
}

static void backlog_is_demand(void **state)
{
	struct desk *d = *state;
	struct gt_task_counts counts;

	deploy(d);
	accept(d, 7);
	assert_int_equal(fix_view(&d->x, "f").queued, 7);
	gt_control_task_counts(d->x.c, &counts);
	assert_int_equal(counts.queued, 7);
}

static void leases_fit_a_window_and_a_function_that_is_there(void **state)
{
	struct desk *d = *state;

	give(d, exchange(100, 0));
	assert_int_equal(d->ops[0]->wants[0].n, 0); /* no such function */
	answer(d, NULL);
	deploy(d);
	accept(d, 1000);
	give(d, exchange(100, 0));
	assert_int_equal(d->ops[0]->wants[0].n, 16);
	answer(d, NULL);
	give(d, exchange(100, 12));
	assert_int_equal(d->ops[0]->wants[0].n, 4);
	answer(d, NULL);
	give(d, exchange(100, 50));
	assert_int_equal(d->ops[0]->wants[0].n, 0);
	answer(d, NULL);
}

/* Calls that are shorter than an exchange would leave the slots without work until its answer. */
static void the_window_has_room_for_what_ends_during_an_exchange(void **state)
{
	struct desk *d = *state;
	struct gt_task_op *op = exchange(100, 0);

	deploy(d);
	accept(d, 1000);
	op->wants[0].ended = 20;
	give(d, op);
	assert_int_equal(op->wants[0].n, 40);
	answer(d, NULL);
	give(d, exchange(100, 0));
	assert_int_equal(d->ops[0]->wants[0].n, 16);
	answer(d, NULL);
}

static void another_epoch_is_refused(void **state)
{
	struct desk *d = *state;
	struct gt_task_op *op = exchange(1, 0);
	struct gt_err err = { 0 };

	assert_int_equal(gt_control_task_exchange(d->x.c, FIX_EPOCH - 1, op, on_answer, d, &err),
			 -ESTALE);
	gt_task_op_free(op);
}

static void silent_gateways_lose_their_leases(void **state)
{
	struct desk *d = *state;

	deploy(d);
	fix_pass(&d->x, 10000); /* those of before this start */
	assert_int_equal(next_op(d, GT_TASK_RELEASE)->n_sessions, 0);
	answer(d, NULL);
	give(d, exchange(1, 0));
	answer(d, NULL);
	fix_pass(&d->x, 9000);
	assert_int_equal(d->n_ops, 0);
	fix_pass(&d->x, 1000);
	assert_int_equal(next_op(d, GT_TASK_RELEASE)->n_sessions, 0);
	answer(d, NULL);
}

static void retries_are_woken_when_they_are_due(void **state)
{
	struct desk *d = *state;
	struct gt_task_op *op = exchange(0, 0);
	struct gt_task_result *r = gt_task_op_result(op);

	deploy(d);
	r->status = 503;
	gt_strcopy(r->function, sizeof(r->function), "f");
	give(d, op);
	assert_int_equal(op->results[0].next, GT_TASK_WAITING);
	gt_strcopy(op->results[0].id, sizeof(op->results[0].id), "x");
	answer(d, NULL);
	assert_int_equal(d->n_changed, 1);
	fix_pass(&d->x, 1000);
	next_op(d, GT_TASK_WAKE);
	answer(d, NULL);
}

/* By its time a retry would wait for as long as the clock was set back by: nobody knows how much of
 * that is over, so it is made at once. Once alone, and no deadline is nearer. */
static void retries_do_not_wait_for_a_clock_that_was_set_back(void **state)
{
	struct desk *d = *state;
	struct gt_task_op *op;

	deploy(d);
	for (int i = 0; i < 3; i++) {
		op = exchange(0, 0);
		gt_strcopy(gt_task_op_result(op)->function, sizeof(op->results[0].function), "f");
		op->results[0].status = 503;
		give(d, op);
		gt_strcopy(op->results[0].id, sizeof(op->results[0].id), "x");
		answer(d, NULL);
		d->x.set_ms -= i == 1 ? 3600000 : 0;
		fix_pass(&d->x, 1000);
		op = next_op(d, GT_TASK_WAKE);
		assert_int_equal(op->told_ms, i == 1 ? GT_TASK_ALL_DUE : 0);
		op->next_ms = UINT64_MAX;
		answer(d, NULL);
	}
}

/* Nor for one that was set back before the first look at what waits. */
static void a_control_that_has_just_started_knows_its_clock(void **state)
{
	struct desk *d = *state;
	struct gt_task_op *op = exchange(0, 0);

	deploy(d);
	gt_strcopy(gt_task_op_result(op)->function, sizeof(op->results[0].function), "f");
	op->results[0].status = 503;
	give(d, op);
	gt_strcopy(op->results[0].id, sizeof(op->results[0].id), "x");
	answer(d, NULL);
	d->x.set_ms -= 3600000;
	fix_pass(&d->x, 1000);
	op = next_op(d, GT_TASK_WAKE);
	assert_int_equal(op->told_ms, GT_TASK_ALL_DUE);
	op->next_ms = UINT64_MAX;
	answer(d, NULL);
}

static const struct end {
	int status;
	const char *slug;
	uint32_t tries;
	enum gt_task_state next;
	bool counts;
} ends[] = {
	{ 200, "", 0, GT_TASK_SUCCEEDED, true },
	{ 303, "", 0, GT_TASK_SUCCEEDED, true },
	{ 404, "", 0, GT_TASK_FAILED, true },
	{ 500, "", 0, GT_TASK_FAILED, true }, /* not in retry.on */
	{ 503, "", 0, GT_TASK_WAITING, true },
	{ 503, "", 1, GT_TASK_WAITING, true },
	{ 503, "", 2, GT_TASK_FAILED, true }, /* retry.max */
	{ 0, "replica_lost", 0, GT_TASK_WAITING, true },
	{ 0, "run_timeout", 0, GT_TASK_WAITING, true },
	{ 0, "result_too_large", 0, GT_TASK_FAILED, true },
	{ 0, "start_failed", 9, GT_TASK_WAITING, false }, /* never a try */
	{ 0, "queue_full", 9, GT_TASK_WAITING, false },
	{ 0, "function_not_found", 9, GT_TASK_WAITING, false },
};

static void ends_mean_what_the_policy_says(void **state)
{
	struct desk *d = *state;

	deploy(d);
	for (size_t i = 0; i < GT_LEN(ends); i++) {
		struct gt_task_op *op = exchange(0, 0);
		struct gt_task_result *r = gt_task_op_result(op);
		uint64_t now_ms = 1700000000000ULL + d->x.now_ns / GT_NS_PER_MS;

		r->status = ends[i].status;
		r->tries = ends[i].tries;
		gt_strcopy(r->slug, sizeof(r->slug), ends[i].slug);
		gt_strcopy(r->function, sizeof(r->function), "f");
		give(d, op);
		r = &op->results[0];
		if (r->next != ends[i].next || r->counts != ends[i].counts)
			fail_msg("end %zu: %s", i, gt_task_state_name(r->next));
		if (r->next == GT_TASK_WAITING)
			assert_in_range(r->due_ms, now_ms + 500, now_ms + 2000);
		gt_strcopy(r->id, sizeof(r->id), "x");
		answer(d, NULL);
	}
}

static int try(struct desk *d, struct gt_task_op *op)
{
	struct gt_err err = { 0 };

	return gt_control_task_exchange(d->x.c, FIX_EPOCH, op, on_answer, d, &err);
}

/* A gateway that gave a post up tells everything: that must not be done before the one that was
 * given up, whose leases nobody takes. */
static void an_exchange_of_everything_does_not_overtake(void **state)
{
	struct desk *d = *state;
	struct gt_task_op *full = exchange(10, 0);

	full->full = true;
	deploy(d);
	accept(d, 3);
	give(d, exchange(10, 0));
	assert_int_equal(try(d, full), -EBUSY);
	assert_int_equal(d->n_ops, 1);
	d->x.now_ns += 60 * GT_NS_PER_S; /* nor are its leases released before they are there */
	gt_control_tick(d->x.c);
	for (size_t i = 0; i < d->n_ops; i++)
		assert_true(d->ops[i]->verb != GT_TASK_RELEASE || d->ops[i]->n_sessions == 1);
	answer(d, NULL);
	assert_int_equal(try(d, full), 0);
}

static void a_gateway_has_two_exchanges_at_the_store(void **state)
{
	struct desk *d = *state;
	struct gt_task_op *third = exchange(10, 0);

	deploy(d);
	accept(d, 3);
	give(d, exchange(10, 0));
	give(d, exchange(10, 0));
	assert_int_equal(try(d, third), -EBUSY);
	answer(d, NULL);
	assert_int_equal(try(d, third), 0);
}

/* A store that can not be read is not asked without a pause. */
static void an_unread_store_is_asked_again_after_a_pause(void **state)
{
	struct desk *d = *state;
	struct gt_err err = { 0 };

	gt_control_free(d->x.c);
	fresh(d);
	gt_err_set(&err, EIO, "unavailable", "no");
	next_op(d, GT_TASK_COUNT);
	answer(d, &err);
	assert_int_equal(d->n_ops, 0);
	d->x.now_ns = gt_control_due_ns(d->x.c);
	gt_control_tick(d->x.c);
	next_op(d, GT_TASK_COUNT);
	answer(d, NULL);
	assert_int_equal(d->n_ops, 0);
}

int main(void)
{
#define t(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(work_is_told_once_and_again_when_it_is_new),
		t(backlog_is_demand),
		t(leases_fit_a_window_and_a_function_that_is_there),
		t(the_window_has_room_for_what_ends_during_an_exchange),
		t(another_epoch_is_refused),
		t(silent_gateways_lose_their_leases),
		t(retries_are_woken_when_they_are_due),
		t(retries_do_not_wait_for_a_clock_that_was_set_back),
		t(a_control_that_has_just_started_knows_its_clock),
		t(ends_mean_what_the_policy_says),
		t(an_exchange_of_everything_does_not_overtake),
		t(a_gateway_has_two_exchanges_at_the_store),
		t(an_unread_store_is_asked_again_after_a_pause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
