/* test_many.c - what there is a lot of: functions at zero, and nodes that wait to be lost. */
#include "fixture.h"

#define FUNCTIONS 100000
#define NODES     2000

static void functions_at_zero_cost_no_timer_and_no_decision(void **state)
{
	struct fix *x = *state;

	for (size_t i = 0; i < FUNCTIONS; i++) {
		char name[GT_NAME_MAX + 1];
		struct gt_function_row row = {
			.name = name, .revision = 1, .spec_json = (char[]){ "{}" }, .created_ms = 1
		};

		snprintf(name, sizeof(name), "fn-%06zu", i);
		gt_control_load(x->c, &row, fix_spec());
	}
	uint64_t decisions = gt_control_decided(x->c);

	assert_true(gt_control_due_ns(x->c) == UINT64_MAX);
	fix_pass(x, 86400000);
	gt_control_tick(x->c);
	assert_int_equal(gt_control_decided(x->c), decisions);
	/* One that is called has a timer, until it is at zero again. */
	fix_demand(x, "fn-050000", 1, 0);
	assert_int_equal(gt_control_decided(x->c), decisions + 1);
	fix_report(x, x->order.replica, GT_REPLICA_READY);
	fix_demand(x, "fn-050000", 0, 0);
	assert_true(gt_control_due_ns(x->c) != UINT64_MAX);
	fix_pass(x, 60000);
	fix_drained(x, x->order.replica);
	fix_report(x, x->order.replica, GT_REPLICA_STOPPED);
	assert_true(gt_control_due_ns(x->c) == UINT64_MAX);
	assert_int_equal(gt_control_check(x->c, NULL), 0);
}

static void node_name(char name[GT_NAME_MAX + 1], size_t i)
{
	snprintf(name, GT_NAME_MAX + 1, "node-%zu", i);
}

struct lost {
	size_t up, down;
};

static bool count_node(const struct gt_node_view *v, void *arg)
{
	struct lost *lost = arg;

	*(v->state != GT_NODE_LOST ? &lost->up : &lost->down) += 1;
	return true;
}

/* Each at its own time, in the order in which they went; one that returned is not among them. */
static void nodes_are_lost_in_the_order_they_went(void **state)
{
	struct fix *x = *state;
	char name[GT_NAME_MAX + 1];
	struct lost lost = { 0 };

	for (size_t i = 0; i < NODES; i++) {
		node_name(name, i);
		gt_control_node_up(x->c, name);
	}
	for (size_t i = 0; i < NODES; i++) {
		node_name(name, NODES - 1 - i);
		gt_control_node_down(x->c, name);
		x->now_ns += GT_NS_PER_MS;
	}
	node_name(name, NODES - 2);
	gt_control_node_up(x->c, name);
	uint64_t first_ns = gt_control_due_ns(x->c);

	assert_true(first_ns == x->now_ns - NODES * GT_NS_PER_MS + 10 * GT_NS_PER_S);
	x->now_ns = first_ns;
	gt_control_tick(x->c);
	/* The second came back: the third is next. */
	assert_true(gt_control_due_ns(x->c) == first_ns + 2 * GT_NS_PER_MS);
	fix_pass(x, 20000);
	assert_true(gt_control_due_ns(x->c) == UINT64_MAX);
	gt_control_nodes(x->c, count_node, &lost);
	assert_int_equal(lost.up, 2); /* and n1 of the fixture */
	assert_int_equal(lost.down, NODES - 1);
}

/* A full report crosses an order: the node can not list the replica yet, and it stays booked until
 * the node has answered, though control wants to stop it by now. */
static void an_order_on_its_way_keeps_its_replica(void **state)
{
	struct fix *x = *state;
	struct gt_order orders[4];
	char id[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 1, 0);
	gt_strcopy(id, sizeof(id), x->order.replica);
	assert_false(x->order.known);
	assert_int_equal(gt_control_replica_stop(x->c, "f", id, true, NULL), 0);
	fix_report_full(x, NULL, 0);
	size_t n = fix_orders(x, orders, 4);
	bool found = false;

	for (size_t i = 0; i < n; i++)
		if (strcmp(orders[i].replica, id) == 0)
			found = orders[i].want == GT_WANT_STOP;
	assert_true(found);
	fix_report(x, id, GT_REPLICA_STOPPED);
	assert_int_equal(gt_control_check(x->c, NULL), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fix_setup, fix_teardown)
	const struct CMUnitTest tests[] = {
		T(functions_at_zero_cost_no_timer_and_no_decision),
		T(nodes_are_lost_in_the_order_they_went),
		T(an_order_on_its_way_keeps_its_replica),
	};

	return cmocka_run_group_tests_name("many", tests, NULL, NULL);
}
