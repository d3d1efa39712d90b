/* test_backoff.c - crash loops, and the log of events. */
#include "fixture.h"

#include <stdlib.h>

static uint64_t route_retry_ms(struct fix *x, const char *function, uint64_t *ret_seq)
{
	struct gt_route route;
	uint64_t ms;

	assert_int_equal(gt_control_route(x->c, function, &route, NULL), 0);
	*ret_seq = route.fail_seq;
	ms = route.retry_ms;
	if (route.fail_seq) {
		assert_string_equal(route.fail.text, "it did not work");
		assert_string_equal(route.fail.log_tail, "last words");
	}
	gt_route_fini(&route);
	return ms;
}

static void starts_that_fail_are_retried_ever_more_slowly(void **state)
{
	static const uint64_t waits_ms[] = { 1000,  2000,   4000,   8000,   16000, 32000,
					     64000, 128000, 256000, 300000, 300000 };
	struct fix *x = *state;
	uint64_t seq, last_seq = 0;

	fix_put(x, "f", fix_spec(), "a");
	for (size_t i = 0; i < GT_LEN(waits_ms); i++) {
		fix_demand(x, "f", 1, 0);
		assert_int_equal(x->n_orders, i + 1);
		fix_fail(x, x->order.replica, "exited_early");
		assert_int_equal(route_retry_ms(x, "f", &seq), waits_ms[i]);
		assert_true(seq > last_seq);
		last_seq = seq;
		assert_int_equal(fix_view(x, "f").failures, i + 1);
		assert_int_equal(fix_view(x, "f").state, GT_FUNCTION_FAILING);
		assert_int_equal(fix_view(x, "f").retry_in_ms, waits_ms[i]);
		fix_demand(x, "f", 0, 0); /* the waiters were refused */
		fix_demand(x, "f", 1, 0); /* one that came too early starts nothing */
		assert_int_equal(x->n_orders, i + 1);
		fix_demand(x, "f", 0, 0);
		fix_pass(x, waits_ms[i]);
		assert_int_equal(x->n_orders, i + 1); /* nobody asks */
		assert_int_equal(route_retry_ms(x, "f", &seq), 0);
		assert_int_equal(seq, 0);
	}
}

static void a_waiter_is_served_when_the_wait_ends(void **state)
{
	struct fix *x = *state;

	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 1, 0);
	fix_fail(x, x->order.replica, "exited_early");
	fix_demand(x, "f", 3, 0);
	fix_pass(x, 1000);
	assert_int_equal(x->n_orders, 2); /* one try, not three */
}

static void replicas_that_fail_together_count_once(void **state)
{
	struct fix *x = *state;
	struct gt_order orders[8];

	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 5, 0);
	assert_int_equal(fix_orders(x, orders, 8), 5);
	for (int i = 0; i < 5; i++)
		fix_fail(x, orders[i].replica, "image_missing");
	assert_int_equal(fix_view(x, "f").failures, 1);
	assert_int_equal(fix_view(x, "f").retry_in_ms, 1000);
	assert_int_equal(fix_view(x, "f").failed_total, 5);
}

static void a_deploy_forgets_failures(void **state)
{
	struct fix *x = *state;
	uint64_t seq;

	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 1, 0);
	fix_fail(x, x->order.replica, "command_missing");
	fix_put(x, "f", fix_spec(), "b");
	assert_int_equal(x->n_orders, 2);
	assert_int_equal(x->order.revision, 2);
	assert_null(fix_view(x, "f").last_failure);
	route_retry_ms(x, "f", &seq);
	assert_int_equal(seq, 0);
}

static void the_first_crash_is_restarted_at_once(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];
	uint64_t seq;

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", id);
	fix_pass(x, 5000);
	fix_fail(x, id, "exited");
	assert_int_equal(x->n_orders, 2); /* the call in flight shows that it is needed */
	route_retry_ms(x, "f", &seq);
	assert_int_equal(seq, 0);
	gt_strcopy(id, sizeof(id), x->order.replica);
	fix_report(x, id, GT_REPLICA_READY);
	fix_pass(x, 5000);
	fix_fail(x, id, "exited");
	assert_int_equal(x->n_orders, 2);
	assert_int_equal(route_retry_ms(x, "f", &seq), 2000);
	assert_int_equal(fix_view(x, "f").failures, 2);
}

static void a_minute_of_readiness_forgets_failures(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 1, 0);
	fix_fail(x, x->order.replica, "exited_early");
	fix_pass(x, 1000);
	gt_strcopy(id, sizeof(id), x->order.replica);
	fix_report(x, id, GT_REPLICA_READY);
	assert_null(fix_view(x, "f").last_failure); /* success shows at once */
	assert_int_equal(fix_view(x, "f").failures, 1);
	fix_demand(x, "f", 0, 1);
	fix_pass(x, 60000);
	assert_int_equal(fix_view(x, "f").failures, 0);
	fix_fail(x, id, "out_of_memory");
	assert_int_equal(x->n_orders, 3);
	assert_int_equal(fix_view(x, "f").retry_in_ms, 0);
}

static void an_end_without_a_reason_is_named(void **state)
{
	struct fix *x = *state;

	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 1, 0);
	fix_report(x, x->order.replica, GT_REPLICA_STOPPED);
	assert_string_equal(fix_view(x, "f").last_failure->cause, "exited_early");
	assert_int_equal(fix_view(x, "f").failures, 1);
}

struct history {
	size_t n;
	struct gt_replica_view newest;
	char newest_id[GT_REPLICA_ID_SIZE];
};

static bool history_keep(const struct gt_replica_view *v, void *arg)
{
	struct history *h = arg;

	if (h->n++ == 0) {
		h->newest = *v;
		gt_strcopy(h->newest_id, sizeof(h->newest_id), v->id);
	} else {
		assert_true(strcmp(v->id, h->newest_id) < 0);
	}
	return true;
}

static void the_last_ten_ends_stay_readable(void **state)
{
	struct fix *x = *state;
	struct history h = { 0 };

	fix_put(x, "f", fix_spec(), "a");
	for (int i = 0; i < 15; i++) {
		fix_demand(x, "f", 1, 0);
		fix_fail(x, x->order.replica, "exec_failed");
		fix_pass(x, 300000);
	}
	gt_control_replicas(x->c, "f", history_keep, &h);
	assert_int_equal(h.n, 11); /* ten that failed and the try under way */
	assert_int_equal(h.newest.state, GT_REPLICA_PENDING);
	h.n = 0;
	gt_control_replicas(x->c, NULL, history_keep, &h);
	assert_int_equal(h.n, 11);
}

/* ---- events ---- */
struct log {
	size_t n;
	uint64_t first, last;
	char types[512];
};

static bool log_keep(const struct gt_event *e, void *arg)
{
	struct log *log = arg;
	size_t len = strlen(log->types);

	if (log->n++ == 0)
		log->first = e->id;
	log->last = e->id;
	if (len + 42 < sizeof(log->types))
		snprintf(log->types + len, sizeof(log->types) - len, "%s ", e->type);
	return true;
}

static void events_tell_what_happened(void **state)
{
	struct fix *x = *state;
	struct log log = { 0 };
	char id[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	fix_put(x, "g", fix_spec(), "a");
	fix_start(x, "f", id);
	fix_fail(x, id, "exited");
	assert_int_equal(gt_control_events(x->c, 0, "f", log_keep, &log, NULL), 0);
	assert_string_equal(log.types, "function.created scale.up replica.pending replica.ready "
				       "replica.failed scale.up replica.pending ");
	assert_int_equal(log.last >> 32, FIX_EPOCH);
}

static void events_are_bounded_and_cursors_age(void **state)
{
	struct fix *x = *state;
	struct log log = { 0 };
	struct gt_err err;
	uint64_t base = (uint64_t)FIX_EPOCH << 32;

	assert_int_equal(gt_control_events(x->c, base, NULL, log_keep, &log, NULL), 0);
	assert_int_equal(log.n, x->n_events);
	assert_int_equal(gt_control_events(x->c, base - 5, NULL, log_keep, &log, &err), -ERANGE);
	assert_string_equal(err.slug, "cursor_gone");
	while (x->n_events < GT_EVENTS_KEPT + 7) {
		gt_control_gateway_down(x->c, "g1");
		gt_control_gateway_up(x->c, "g1");
	}
	log = (struct log){ 0 };
	assert_int_equal(gt_control_events(x->c, 0, NULL, log_keep, &log, NULL), 0);
	assert_int_equal(log.n, GT_EVENTS_KEPT);
	assert_int_equal(log.last, base + x->n_events);
	assert_int_equal(log.first, log.last - GT_EVENTS_KEPT + 1);
	assert_int_equal(gt_control_events(x->c, log.first - 2, NULL, log_keep, &log, &err),
			 -ERANGE);
	log.n = 0;
	assert_int_equal(gt_control_events(x->c, log.last - 3, NULL, log_keep, &log, NULL), 0);
	assert_int_equal(log.n, 3);
	log.n = 0;
	assert_int_equal(gt_control_events(x->c, base + x->n_events, NULL, log_keep, &log, NULL),
			 0);
	assert_int_equal(log.n, 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
	const struct CMUnitTest tests[] = {
		T(starts_that_fail_are_retried_ever_more_slowly),
		T(a_waiter_is_served_when_the_wait_ends),
		T(replicas_that_fail_together_count_once),
		T(a_deploy_forgets_failures),
		T(the_first_crash_is_restarted_at_once),
		T(a_minute_of_readiness_forgets_failures),
		T(an_end_without_a_reason_is_named),
		T(the_last_ten_ends_stay_readable),
		T(events_tell_what_happened),
		T(events_are_bounded_and_cursors_age),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
