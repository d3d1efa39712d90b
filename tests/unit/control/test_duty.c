/* test_duty.c - nodes that are cordoned, drained, deleted, or silent. */
#include "fixture.h"

static void report(struct fix *x, const char *node, bool full, const struct gt_observed *all,
		   size_t n)
{
	struct gt_observed copy[8];
	struct gt_report r = { .full = full,
			       .epoch = FIX_EPOCH,
			       .cpu_milli = 8000,
			       .memory_bytes = 64 * GT_GIB,
			       .replicas = copy,
			       .n_replicas = n };

	for (size_t i = 0; i < n; i++)
		copy[i] = all[i];
	gt_strcopy(r.node, sizeof(r.node), node);
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

static void join(struct fix *x, const char *node)
{
	gt_control_node_up(x->c, node);
	report(x, node, true, NULL, 0);
}

static struct gt_err answer;
static size_t answers;

static void on_done(const struct gt_err *err, void *arg)
{
	(void)arg;
	answers++;
	answer = err ? *err : (struct gt_err){ 0 };
}

static void set(struct fix *x, const char *node, enum gt_node_duty duty, uint64_t deadline_ms)
{
	size_t before = answers;

	gt_control_node_set(x->c, node, duty, deadline_ms, on_done, NULL);
	assert_int_equal(answers, before); /* not before it is durable */
	fix_store_answer(x, NULL);
	assert_int_equal(answers, before + 1);
	assert_int_equal(answer.code, 0);
	assert_string_equal(x->said.name, node);
	assert_int_equal(x->said.duty, duty);
}

struct seen {
	const char *name;
	struct gt_node_view v;
	size_t n;
};

static bool see(const struct gt_node_view *v, void *arg)
{
	struct seen *s = arg;

	s->n++;
	if (strcmp(v->name, s->name) == 0)
		s->v = *v;
	return true;
}

static const char *state_of(struct fix *x, const char *node)
{
	struct seen s = { .name = node };

	gt_control_nodes(x->c, see, &s);
	return s.v.name ? gt_node_state_name(s.v.state) : "none";
}

static void a_cordoned_node_takes_nothing_new(void **state)
{
	struct fix *x = *state;
	char first[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", first);
	assert_string_equal(state_of(x, "n1"), "ready");
	set(x, "n1", GT_DUTY_CORDONED, 0);
	assert_string_equal(state_of(x, "n1"), "cordoned");
	fix_demand(x, "f", 1, 1);
	assert_string_equal(x->order.replica, first);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	set(x, "n1", GT_DUTY_ALL, 0); /* who waits for a place gets it at once */
	assert_string_not_equal(x->order.replica, first);
	assert_string_equal(state_of(x, "n1"), "ready");
}

/* A replica has a successor elsewhere, which answers, before it takes no more calls. */
static void a_drain_starts_elsewhere_first(void **state)
{
	struct fix *x = *state;
	struct gt_observed o;
	char first[GT_REPLICA_ID_SIZE], second[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", first);
	assert_string_equal(x->node, "n1");
	join(x, "n2");
	set(x, "n1", GT_DUTY_DRAINING, 60000);
	assert_string_equal(x->node, "n2");
	assert_string_not_equal(x->order.replica, first);
	gt_strcopy(second, sizeof(second), x->order.replica);
	assert_string_equal(state_of(x, "n1"), "draining");
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_DRAINING], 0);
	fix_pass(x, 5000);
	o = fix_observed(second, "f", 1, GT_REPLICA_READY);
	report(x, "n2", false, &o, 1);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_DRAINING], 1);
	fix_drained(x, first);
	assert_string_equal(x->order.replica, first);
	assert_int_equal(x->order.want, GT_WANT_STOP);
	o = fix_observed(first, "f", 1, GT_REPLICA_STOPPED);
	report(x, "n1", false, &o, 1);
	assert_string_equal(state_of(x, "n1"), "drained");
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
}

static void what_nobody_needs_does_not_move(void **state)
{
	struct fix *x = *state;
	char first[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", first);
	fix_demand(x, "f", 0, 0);
	join(x, "n2");
	set(x, "n1", GT_DUTY_DRAINING, 60000);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_DRAINING], 1);
	assert_string_equal(x->order.replica, first); /* nothing was started */
}

static void without_a_place_elsewhere_it_serves_until_the_deadline(void **state)
{
	struct fix *x = *state;
	char first[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", first);
	set(x, "n1", GT_DUTY_DRAINING, 20000);
	fix_pass(x, 19000);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	fix_pass(x, 2000);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 0);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_DRAINING], 1);
}

static void several_move_one_after_the_other(void **state)
{
	struct fix *x = *state;
	struct gt_spec *spec = fix_spec();
	struct gt_order orders[8];
	struct gt_observed o;
	uint32_t ready;

	spec->scale.max = 3;
	fix_put(x, "f", spec, "a");
	fix_demand(x, "f", 3, 0);
	size_t n = fix_orders(x, orders, GT_LEN(orders));

	assert_int_equal(n, 3);
	for (size_t i = 0; i < n; i++)
		fix_report(x, orders[i].replica, GT_REPLICA_READY);
	fix_demand(x, "f", 0, 3);
	join(x, "n2");
	set(x, "n1", GT_DUTY_DRAINING, 60000);
	for (size_t i = 0; i < n; i++) {
		struct gt_function_view v = fix_view(x, "f");

		ready = v.replicas[GT_REPLICA_READY];
		assert_int_equal(ready, 3); /* never fewer that serve */
		assert_int_equal(v.replicas[GT_REPLICA_PENDING], 1);
		assert_string_equal(x->node, "n2");
		o = fix_observed(x->order.replica, "f", 1, GT_REPLICA_READY);
		report(x, "n2", false, &o, 1);
	}
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_DRAINING], 3);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_PENDING], 0);
}

static void a_drain_that_is_called_off_leaves_none_too_many(void **state)
{
	struct fix *x = *state;
	struct gt_spec *spec = fix_spec();
	char first[GT_REPLICA_ID_SIZE];

	spec->scale.max = 1;
	fix_put(x, "f", spec, "a");
	fix_start(x, "f", first);
	join(x, "n2");
	set(x, "n1", GT_DUTY_DRAINING, 60000);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_PENDING], 1);
	set(x, "n1", GT_DUTY_ALL, 0);
	assert_string_equal(x->node, "n2");
	assert_int_equal(x->order.want, GT_WANT_STOP);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
}

static void what_was_said_outlives_control(void **state)
{
	struct fix *x = *state;
	const struct gt_node_row row = { .name = "n1", .duty = GT_DUTY_CORDONED };

	gt_control_load_node(x->c, &row);
	assert_string_equal(state_of(x, "n1"), "joining");
	join(x, "n1");
	assert_true(gt_control_settled(x->c));
	assert_string_equal(state_of(x, "n1"), "cordoned");
	fix_put(x, "f", fix_spec(), "a");
	gt_control_gateway_up(x->c, "g1");
	fix_demand(x, "f", 1, 0);
	assert_int_equal(x->n_orders, 0);
}

static void only_a_node_that_is_gone_is_forgotten(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];
	struct seen s = { .name = "n1" };

	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", id);
	gt_control_node_delete(x->c, "nobody", false, on_done, NULL);
	assert_string_equal(answer.slug, "not_found");
	gt_control_node_delete(x->c, "n1", false, on_done, NULL);
	assert_string_equal(answer.slug, "conflict");
	gt_control_node_down(x->c, "n1");
	assert_string_equal(state_of(x, "n1"), "suspect");
	gt_control_node_delete(x->c, "n1", false, on_done, NULL);
	fix_store_answer(x, NULL);
	assert_int_equal(answer.code, 0);
	gt_control_nodes(x->c, see, &s);
	assert_int_equal(s.n, 0);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 0);
	assert_int_equal(gt_control_check(x->c, NULL), 0);
	join(x, "n3"); /* takes its slot in the books */
	assert_string_equal(x->node, "n3");
	assert_int_equal(gt_control_check(x->c, NULL), 0);
}

static void nothing_is_said_of_a_node_that_is_being_forgotten(void **state)
{
	struct fix *x = *state;

	gt_control_node_down(x->c, "n1");
	gt_control_node_delete(x->c, "n1", false, on_done, NULL);
	gt_control_node_set(x->c, "n1", GT_DUTY_CORDONED, 0, on_done, NULL);
	assert_string_equal(answer.slug, "not_found");
	assert_int_not_equal(x->said.duty, GT_DUTY_CORDONED);
	fix_store_answer(x, NULL);
	assert_int_equal(answer.code, 0);
}

static void a_failed_write_changes_nothing(void **state)
{
	struct fix *x = *state;
	struct gt_err full = { 0 };

	gt_err_set(&full, ENOSPC, "storage_full", "full");
	gt_control_node_set(x->c, "n1", GT_DUTY_CORDONED, 0, on_done, NULL);
	fix_store_answer(x, &full);
	assert_string_equal(answer.slug, "storage_full");
	assert_string_equal(state_of(x, "n1"), "ready");
}

/* Gateways were told, since routes was `was`, that the function's replica is suspect, or is not. */
static void routed_as(struct fix *x, size_t was, bool suspect)
{
	struct gt_route route;

	assert_int_equal(x->n_routes, was + 1);
	assert_int_equal(gt_control_route(x->c, "f", &route, NULL), 0);
	assert_int_equal(route.n_replicas, 1);
	assert_int_equal(route.replicas[0].suspect, suspect);
	gt_route_fini(&route);
}

/* Its watch stands open, but nothing comes. */
static void a_silent_node_is_suspect_then_lost(void **state)
{
	struct fix *x = *state;
	const struct gt_control_ports ports = fix_ports(x);
	const struct gt_control_config config = { .epoch = FIX_EPOCH, .node_suspect_ms = 3000 };
	struct gt_report r = { .node = "n1", .epoch = FIX_EPOCH };
	struct gt_err err = { 0 };
	char id[GT_REPLICA_ID_SIZE];
	size_t routes;

	gt_control_free(x->c);
	x->event.id = 0;
	x->c = gt_control_new(&ports, &config);
	join(x, "n1");
	gt_control_gateway_up(x->c, "g1");
	fix_put(x, "f", fix_spec(), "a");
	fix_start(x, "f", id);
	fix_pass(x, 2900);
	assert_string_equal(state_of(x, "n1"), "ready");
	routes = x->n_routes;
	fix_pass(x, 1500);
	assert_string_equal(state_of(x, "n1"), "suspect");
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	routed_as(x, routes, true);
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0); /* a beat */
	assert_string_equal(state_of(x, "n1"), "ready");
	routed_as(x, routes + 1, false);
	fix_pass(x, 4400);
	routed_as(x, routes + 2, true);
	gt_control_node_down(x->c, "n1");
	gt_control_node_up(x->c, "n1");
	assert_string_equal(state_of(x, "n1"), "ready");
	routed_as(x, routes + 3, false);
	x->now_ns += 60 * GT_NS_PER_S; /* control itself stood still */
	gt_control_tick(x->c);
	assert_string_equal(state_of(x, "n1"), "ready");
	fix_pass(x, 12000);
	assert_string_equal(state_of(x, "n1"), "lost");
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 0);
	assert_int_equal(gt_control_report(x->c, &r, &err), -ESTALE);
	report(x, "n1", true, NULL, 0);
	assert_string_equal(state_of(x, "n1"), "ready");
	assert_int_equal(gt_control_check(x->c, NULL), 0);
}

/* The kernel gives up the connection of a machine that is gone after control has. */
static void a_node_that_is_lost_may_go_down(void **state)
{
	struct fix *x = *state;
	const struct gt_control_ports ports = fix_ports(x);
	const struct gt_control_config config = { .epoch = FIX_EPOCH, .node_suspect_ms = 3000 };

	gt_control_free(x->c);
	x->event.id = 0;
	x->c = gt_control_new(&ports, &config);
	join(x, "n1");
	fix_pass(x, 12000);
	assert_string_equal(state_of(x, "n1"), "lost");
	gt_control_node_down(x->c, "n1");
	fix_pass(x, 30000);
	assert_string_equal(state_of(x, "n1"), "lost");
	gt_control_node_up(x->c, "n1");
	report(x, "n1", true, NULL, 0);
	assert_string_equal(state_of(x, "n1"), "ready");
	gt_control_node_down(x->c, "n1");
	fix_pass(x, 9000);
	assert_string_equal(state_of(x, "n1"), "suspect");
	fix_pass(x, 2000);
	assert_string_equal(state_of(x, "n1"), "lost");
	assert_int_equal(gt_control_check(x->c, NULL), 0);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, fix_setup, fix_teardown)
	const struct CMUnitTest tests[] = {
		WITH(a_cordoned_node_takes_nothing_new),
		WITH(a_drain_starts_elsewhere_first),
		WITH(what_nobody_needs_does_not_move),
		WITH(without_a_place_elsewhere_it_serves_until_the_deadline),
		WITH(several_move_one_after_the_other),
		WITH(a_drain_that_is_called_off_leaves_none_too_many),
		cmocka_unit_test_setup_teardown(what_was_said_outlives_control, fix_setup_empty,
						fix_teardown),
		WITH(only_a_node_that_is_gone_is_forgotten),
		WITH(nothing_is_said_of_a_node_that_is_being_forgotten),
		WITH(a_failed_write_changes_nothing),
		WITH(a_silent_node_is_suspect_then_lost),
		WITH(a_node_that_is_lost_may_go_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
