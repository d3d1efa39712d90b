/* test_life.c - from zero to one to many and back; rollouts; nodes, gateways and control that go
 * away. */
#include "fixture.h"

static void a_call_starts_one_and_idleness_stops_it(void **state)
{
	struct fix *x = *state;
	struct gt_route route;
	char id[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	assert_int_equal(x->n_orders, 0);
	assert_int_equal(fix_view(x, "f").state, GT_FUNCTION_IDLE);
	fix_demand(x, "f", 1, 0);
	assert_int_equal(x->n_orders, 1); /* within the same call */
	assert_string_equal(x->node, "n1");
	assert_int_equal(x->order.want, GT_WANT_RUN);
	assert_int_equal(fix_view(x, "f").state, GT_FUNCTION_STARTING);
	gt_strcopy(id, sizeof(id), x->order.replica);

	fix_pass(x, 40);
	fix_report(x, id, GT_REPLICA_STARTING);
	fix_report(x, id, GT_REPLICA_READY);
	assert_string_equal(x->routed, "f");
	assert_int_equal(gt_control_route(x->c, "f", &route, NULL), 0);
	assert_int_equal(route.n_replicas, 1);
	assert_string_equal(route.replicas[0].id, id);
	assert_false(route.replicas[0].draining);
	assert_int_equal(route.target, 1);
	assert_int_equal(route.idle_ms, 7000);
	assert_true(route.idempotent);
	assert_string_equal(route.affinity, "X-User");
	assert_int_equal(route.start_ms, 40);
	gt_route_fini(&route);
	assert_int_equal(fix_view(x, "f").state, GT_FUNCTION_READY);

	fix_demand(x, "f", 0, 1);
	fix_demand(x, "f", 0, 0);
	fix_pass(x, 59999);
	assert_int_equal(fix_view(x, "f").wanted, 1);
	fix_pass(x, 1);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_DRAINING], 1);
	assert_int_equal(x->n_orders, 1); /* not before the gateway has let go */
	fix_drained(x, id);
	assert_int_equal(x->order.want, GT_WANT_STOP);
	assert_int_equal(x->order.grace_ms, 30000);
	fix_report(x, id, GT_REPLICA_STOPPED);
	assert_string_equal(x->forgot, id);
	assert_int_equal(fix_view(x, "f").state, GT_FUNCTION_IDLE);
	assert_true(gt_control_due_ns(x->c) == UINT64_MAX);
}

static void a_pull_is_not_what_a_start_takes(void **state)
{
	struct gt_observed o = { .function = "f",
				 .revision = 1,
				 .state = GT_REPLICA_READY,
				 .phases = { .image_us = 200000000 } };
	struct fix *x = *state;
	struct gt_route route;

	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 1, 0);
	gt_strcopy(o.replica, sizeof(o.replica), x->order.replica);
	fix_report(x, o.replica, GT_REPLICA_PULLING);
	fix_pass(x, 200040);
	fix_report_full(x, &o, 1);
	assert_int_equal(gt_control_route(x->c, "f", &route, NULL), 0);
	assert_int_equal(route.start_ms, 40);
	gt_route_fini(&route);
}

static bool copy_usage(const struct gt_replica_view *v, void *arg)
{
	*(struct gt_usage *)arg = *v->usage;
	return v->usage->has == 0;
}

static struct gt_usage usage_of(struct fix *x, const char *function)
{
	struct gt_usage u = { 0 };

	gt_control_replicas(x->c, function, copy_usage, &u);
	return u;
}

static void what_a_replica_uses_is_known_and_kept(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];
	struct gt_observed o;

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", id);
	assert_int_equal(usage_of(x, "f").has, 0);
	o = fix_observed(id, "f", 1, GT_REPLICA_READY);
	o.usage = (struct gt_usage){ .has = GT_USAGE_MEMORY | GT_USAGE_OOM, .memory_bytes = 77 };
	fix_report_full(x, &o, 1);
	assert_int_equal(usage_of(x, "f").memory_bytes, 77);
	o.usage.oom_kills = 2; /* and it lives on */
	fix_report_full(x, &o, 1);
	assert_string_equal(x->event.type, "replica.oom_kill");
	assert_string_equal(x->event.cause, "out_of_memory");
	assert_string_equal(x->event.replica, id);
	assert_non_null(strstr(x->event.text, "2 of its processes"));
	size_t told = x->n_events;
	fix_report_full(x, &o, 1);
	assert_int_equal(x->n_events, told);
	/* An agent that has just started does not know yet. */
	o.usage = (struct gt_usage){ 0 };
	fix_report_full(x, &o, 1);
	assert_int_equal(usage_of(x, "f").oom_kills, 2);
	fix_report(x, id, GT_REPLICA_FAILED); /* the one that takes its place has none yet */
	assert_int_equal(usage_of(x, "f").memory_bytes, 77);
}

static void scales_to_max_and_down_after_the_window(void **state)
{
	struct fix *x = *state;
	struct gt_order orders[8];

	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 50, 0);
	assert_int_equal(fix_orders(x, orders, 8), 5);
	fix_demand(x, "f", 60, 0); /* those on their way count */
	assert_int_equal(x->n_orders, 5);
	for (int i = 0; i < 5; i++)
		fix_report(x, orders[i].replica, GT_REPLICA_READY);
	fix_demand(x, "f", 0, 2);
	fix_pass(x, 59999);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 5);
	fix_pass(x, 1);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 2);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_DRAINING], 3);
	fix_pass(x, 30000); /* the gateway never says drained: the limit decides */
	assert_int_equal(x->order.want, GT_WANT_STOP);
	assert_int_equal(x->n_orders, 8);
}

static void a_start_is_not_stopped_because_its_client_left(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 1, 0);
	gt_strcopy(id, sizeof(id), x->order.replica);
	fix_demand(x, "f", 0, 0);
	fix_pass(x, 600000);
	assert_int_equal(fix_view(x, "f").state, GT_FUNCTION_STARTING);
	fix_report(x, id, GT_REPLICA_READY);
	fix_pass(x, 59999);
	assert_int_equal(fix_view(x, "f").state, GT_FUNCTION_READY);
	fix_pass(x, 1);
	assert_int_equal(fix_view(x, "f").state, GT_FUNCTION_DRAINING);
	assert_int_equal(fix_view(x, "f").starts_total, 1);
}

static void min_is_kept_without_demand(void **state)
{
	struct fix *x = *state;
	struct gt_spec *spec = fix_spec();

	spec->scale.min = 2;
	fix_put(x, "f", spec, "a");
	assert_int_equal(x->n_orders, 2);
	fix_report(x, x->order.replica, GT_REPLICA_READY);
	fix_pass(x, 3600000);
	assert_int_equal(fix_view(x, "f").wanted, 2);
	assert_string_equal(fix_view(x, "f").why, "min 2");
}

static void a_rollout_bridges_with_the_old_revision(void **state)
{
	struct fix *x = *state;
	struct gt_spec *spec = fix_spec();
	char old[GT_REPLICA_ID_SIZE];
	struct gt_route route;

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", old);
	spec->port = 9000;
	fix_put(x, "f", spec, "b");
	assert_int_equal(x->n_orders, 2);
	assert_int_equal(x->order.revision, 2);
	assert_int_equal(gt_control_route(x->c, "f", &route, NULL), 0);
	assert_int_equal(route.n_replicas, 1);
	assert_string_equal(route.replicas[0].id, old);
	assert_false(route.replicas[0].draining);
	gt_route_fini(&route);

	fix_report(x, x->order.replica, GT_REPLICA_READY);
	assert_int_equal(gt_control_route(x->c, "f", &route, NULL), 0);
	assert_int_equal(route.n_replicas, 2);
	assert_int_equal(route.revision, 2);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(route.replicas[i].draining, !strcmp(route.replicas[i].id, old));
	gt_route_fini(&route);
	fix_drained(x, old);
	assert_string_equal(x->order.replica, old);
	assert_int_equal(x->order.want, GT_WANT_STOP);
}

static void a_rollout_that_fails_keeps_the_old_revision(void **state)
{
	struct fix *x = *state;
	char old[GT_REPLICA_ID_SIZE];
	struct gt_route route;

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", old);
	fix_put(x, "f", fix_spec(), "b");
	fix_fail(x, x->order.replica, "command_missing");
	assert_int_equal(gt_control_route(x->c, "f", &route, NULL), 0);
	assert_int_equal(route.n_replicas, 1);
	assert_string_equal(route.replicas[0].id, old);
	assert_int_equal(route.fail_seq, 0); /* nobody has to be refused */
	gt_route_fini(&route);
	assert_string_equal(fix_view(x, "f").last_failure->cause, "command_missing");
	assert_int_equal(fix_view(x, "f").state, GT_FUNCTION_READY);
	fix_pass(x, 1000);
	assert_int_equal(x->n_orders, 3); /* tried again */
	assert_int_equal(x->order.revision, 2);
}

static void an_idle_function_is_replaced_at_once(void **state)
{
	struct fix *x = *state;
	char old[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", old);
	fix_demand(x, "f", 0, 0);
	fix_put(x, "f", fix_spec(), "b");
	assert_int_equal(x->n_orders, 1);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_DRAINING], 1);
}

static void a_lost_node_gives_up_its_replicas(void **state)
{
	struct fix *x = *state;
	char old[GT_REPLICA_ID_SIZE];
	struct gt_observed o;

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", old);
	gt_control_node_down(x->c, "n1");
	fix_pass(x, 9999);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	fix_pass(x, 1);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 0);
	assert_int_equal(fix_view(x, "f").failures, 0);
	assert_int_equal(x->n_orders, 1); /* there is no other node */

	gt_control_node_up(x->c, "n1");
	assert_int_equal(x->n_orders, 1); /* it has to say first what it brings */
	o = fix_observed(old, "f", 1, GT_REPLICA_READY);
	fix_report_full(x, &o, 1);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	assert_int_equal(x->n_orders, 2); /* that one is wanted again */
	assert_string_equal(x->order.replica, old);
	assert_int_equal(x->order.want, GT_WANT_RUN);
}

static void without_a_node_waiters_are_refused_after_10s(void **state)
{
	struct fix *x = *state;
	struct gt_route route;

	gt_control_node_down(x->c, "n1");
	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 1, 0);
	fix_pass(x, 9999);
	assert_int_equal(gt_control_route(x->c, "f", &route, NULL), 0);
	assert_int_equal(route.fail_seq, 0);
	gt_route_fini(&route);
	fix_pass(x, 1);
	assert_string_equal(x->routed, "f");
	assert_int_equal(gt_control_route(x->c, "f", &route, NULL), 0);
	assert_true(route.fail_seq > 0);
	assert_string_equal(route.fail.cause, "no_capacity");
	assert_in_range(route.retry_ms, 1, 10000);
	gt_route_fini(&route);

	gt_control_node_up(x->c, "n1"); /* not lost yet or lost: it must report */
	fix_report_full(x, NULL, 0);
	assert_int_equal(x->n_orders, 1);
	assert_int_equal(gt_control_route(x->c, "f", &route, NULL), 0);
	assert_int_equal(route.fail_seq, 0);
	gt_route_fini(&route);
}

static void a_gateway_that_went_is_believed_for_5s(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", id);
	gt_control_gateway_down(x->c, "g1");
	fix_pass(x, 4999);
	assert_int_equal(fix_view(x, "f").in_flight, 1);
	fix_pass(x, 1);
	assert_int_equal(fix_view(x, "f").in_flight, 0);
	fix_pass(x, 60000); /* idle; with no gateway left nothing has to drain */
	assert_int_equal(x->order.want, GT_WANT_STOP);
}

static void a_full_post_clears_what_it_leaves_out(void **state)
{
	struct fix *x = *state;
	struct gt_demand d = { .gateway = "g1", .full = true, .epoch = FIX_EPOCH };

	fix_put(x, "f", fix_spec(), "a");
	fix_put(x, "g", fix_spec(), "a");
	fix_demand(x, "f", 0, 3);
	fix_demand(x, "g", 0, 1);
	assert_int_equal(fix_view(x, "f").in_flight, 3);
	assert_int_equal(gt_control_demand(x->c, &d, NULL), 0);
	assert_int_equal(fix_view(x, "f").in_flight, 0);
	assert_int_equal(fix_view(x, "g").in_flight, 0);
	d.epoch--;
	assert_int_equal(gt_control_demand(x->c, &d, NULL), -ESTALE);
}

/* ---- control starts again ---- */
static void load(struct fix *x, const char *name, uint32_t revision, struct gt_spec *spec)
{
	char text[] = "{}";
	struct gt_function_row row = {
		.name = (char *)name, .revision = revision, .etag = "a", .spec_json = text
	};

	gt_control_load(x->c, &row, spec);
}

/* Those of before have been told by the control of then. */
static bool no_oom_kill(const struct gt_event *e, void *arg)
{
	(void)arg;
	assert_string_not_equal(e->type, "replica.oom_kill");
	return true;
}

static void a_new_control_adopts_what_runs(void **state)
{
	struct fix *x = *state;
	struct gt_observed all[] = {
		fix_observed("R1", "f", 3, GT_REPLICA_READY),
		fix_observed("R2", "f", 3, GT_REPLICA_READY),
		fix_observed("R3", "gone", 1, GT_REPLICA_READY),
		fix_observed("R4", "f", 3, GT_REPLICA_STOPPED),
		fix_observed("R5", "f", 3, GT_REPLICA_DRAINING),
	};
	struct gt_order orders[8];
	struct gt_spec *spec = fix_spec();

	all[1].usage = (struct gt_usage){ .has = GT_USAGE_OOM, .oom_kills = 2 };
	spec->scale.min = 1;
	load(x, "f", 3, spec);
	gt_control_node_up(x->c, "n1");
	gt_control_gateway_up(x->c, "g1");
	fix_demand(x, "f", 1, 0);
	assert_false(gt_control_settled(x->c));
	assert_int_equal(x->n_orders, 0); /* what runs is not known yet */
	fix_report_full(x, all, 5);
	assert_true(gt_control_settled(x->c));
	assert_int_equal(fix_orders(x, orders, 8), 4);
	for (size_t i = 0; i < 4; i++) {
		bool stops = strcmp(orders[i].replica, "R3") == 0 ||
			     strcmp(orders[i].replica, "R5") == 0;

		assert_int_equal(orders[i].want, stops ? GT_WANT_STOP : GT_WANT_RUN);
		assert_true(orders[i].known);
	}
	assert_string_equal(x->forgot, "R4");
	assert_int_equal(usage_of(x, "f").oom_kills, 2);
	assert_int_equal(gt_control_events(x->c, 0, "f", no_oom_kill, NULL, NULL), 0);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 2);
	fix_demand(x, "f", 0, 0);
	fix_pass(x, 59999); /* the past is unknown: nothing goes before one window */
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 2);
	fix_pass(x, 1);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	fix_report_full(x, all, 2);
	assert_int_equal(fix_orders(x, orders, 8), 2);
}

static void an_old_revision_that_runs_is_replaced_in_order(void **state)
{
	struct fix *x = *state;
	struct gt_observed all[] = {
		fix_observed("R1", "f", 2, GT_REPLICA_READY),
		fix_observed("R2", "f", 2, GT_REPLICA_STARTING),
	};

	load(x, "f", 3, fix_spec());
	gt_control_node_up(x->c, "n1");
	gt_control_gateway_up(x->c, "g1");
	fix_demand(x, "f", 0, 1);
	fix_report_full(x, all, 2);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_DRAINING], 1); /* R2 */
	assert_int_equal(x->order.revision, 3);
	fix_report(x, x->order.replica, GT_REPLICA_READY);
	fix_drained(x, "R1");
	assert_string_equal(x->order.replica, "R1");
	assert_int_equal(x->order.want, GT_WANT_STOP);
}

static void nobody_reports_and_control_goes_on_after_5s(void **state)
{
	struct fix *x = *state;
	struct gt_spec *spec = fix_spec();

	spec->scale.min = 1;
	load(x, "f", 1, spec);
	gt_control_node_up(x->c, "n1");
	fix_pass(x, 4999);
	assert_false(gt_control_settled(x->c));
	fix_pass(x, 1);
	assert_true(gt_control_settled(x->c));
	assert_int_equal(x->n_orders, 0); /* on a node that does not report nothing is placed */
	fix_report_full(x, NULL, 0);
	assert_int_equal(x->n_orders, 1);
}

static void what_a_full_report_lacks_is_gone(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];
	struct gt_order orders[4];

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", id);
	fix_report_full(x, NULL, 0);
	assert_string_equal(x->forgot, id);
	assert_int_equal(fix_orders(x, orders, 4), 1); /* the call in flight gets another */
	assert_string_not_equal(orders[0].replica, id);
	fix_report_full(x, NULL, 0); /* the order may still be on its way */
	assert_int_equal(fix_orders(x, orders, 4), 1);
}

static void a_replica_can_be_stopped_by_hand(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", id);
	fix_demand(x, "f", 0, 0);
	assert_int_equal(gt_control_replica_stop(x->c, "g", id, false, NULL), -ENOENT);
	assert_int_equal(gt_control_replica_stop(x->c, "f", "nope", false, NULL), -ENOENT);
	assert_int_equal(gt_control_replica_stop(x->c, "f", id, false, NULL), 0);
	assert_int_equal(x->n_orders, 1);
	assert_int_equal(gt_control_replica_stop(x->c, "f", id, true, NULL), 0);
	assert_int_equal(x->order.want, GT_WANT_STOP);
	assert_int_equal(x->order.grace_ms, 0);
}

static void counts(struct fix *x, uint32_t queued, uint64_t calls, uint64_t given, uint64_t busy_us)
{
	struct gt_demand_function f = { .queued = queued, .calls = calls, .busy_us = busy_us };
	struct gt_demand d = { .epoch = FIX_EPOCH, .functions = &f, .n_functions = 1 };

	f.wait.n[0] = given;
	gt_strcopy(f.function, sizeof(f.function), "f");
	gt_strcopy(d.gateway, sizeof(d.gateway), "g1");
	assert_int_equal(gt_control_demand(x->c, &d, NULL), 0);
}

/* A gateway that starts anew counts from 0; one that counts nonsense harms nobody's sums. */
static void counters_that_wrap_are_counted_anew(void **state)
{
	struct fix *x = *state;

	fix_put(x, "f", fix_spec(), "a");
	counts(x, 1, 100, 90, 5000);
	counts(x, 2, 104, 93, 5600);
	assert_int_equal(x->scaled.arrivals, 4);
	assert_int_equal(x->scaled.completions, 3);
	assert_int_equal(x->scaled.service_ns, 600000);
	counts(x, 1, 2, 1, 40); /* anew */
	assert_int_equal(x->scaled.arrivals, 2);
	assert_int_equal(x->scaled.completions, 1);
	assert_int_equal(x->scaled.service_ns, 40000);
	counts(x, 2, UINT64_MAX, UINT64_MAX, UINT64_MAX);
	assert_int_equal(x->scaled.arrivals, UINT32_MAX);
	assert_int_equal(x->scaled.completions, UINT32_MAX);
	assert_true(x->scaled.service_ns >= UINT64_MAX - GT_NS_PER_US);
	counts(x, 1, 3, 3, 3); /* over the end of the range */
	assert_int_equal(x->scaled.arrivals, 3);
	assert_int_equal(x->scaled.service_ns, 3000);
	assert_int_equal(gt_control_check(x->c, NULL), 0);
}

int main(void)
{
#define T(fn)       cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
#define T_EMPTY(fn) cmocka_unit_test_setup_teardown(fn, fix_setup_empty, fix_teardown)
	const struct CMUnitTest tests[] = {
		T(a_call_starts_one_and_idleness_stops_it),
		T(a_pull_is_not_what_a_start_takes),
		T(what_a_replica_uses_is_known_and_kept),
		T(scales_to_max_and_down_after_the_window),
		T(a_start_is_not_stopped_because_its_client_left),
		T(min_is_kept_without_demand),
		T(a_rollout_bridges_with_the_old_revision),
		T(a_rollout_that_fails_keeps_the_old_revision),
		T(an_idle_function_is_replaced_at_once),
		T(a_lost_node_gives_up_its_replicas),
		T(without_a_node_waiters_are_refused_after_10s),
		T(a_gateway_that_went_is_believed_for_5s),
		T(a_full_post_clears_what_it_leaves_out),
		T(counters_that_wrap_are_counted_anew),
		T_EMPTY(a_new_control_adopts_what_runs),
		T_EMPTY(an_old_revision_that_runs_is_replaced_in_order),
		T_EMPTY(nobody_reports_and_control_goes_on_after_5s),
		T(what_a_full_report_lacks_is_gone),
		T(a_replica_can_be_stopped_by_hand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
