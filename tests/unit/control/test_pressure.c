/* test_pressure.c - a function finds no room; idle replicas of others go, never one with a call. */
#include "fixture.h"

#include <gantry/control/decision.h>

/* The node of the fixture takes 32 GiB of limits (8 GiB four times over). */
static struct gt_spec *large(void)
{
	struct gt_spec *spec = fix_spec();

	spec->resources.memory_bytes = 16 * GT_GIB;
	return spec;
}

static bool last(const struct gt_decision *d, void *arg)
{
	*(struct gt_decision *)arg = *d;
	return true;
}

static void idle_ones_make_room(void **state)
{
	struct fix *x = *state;
	char a[GT_REPLICA_ID_SIZE], b[GT_REPLICA_ID_SIZE];

	fix_put(x, "a", large(), "a");
	fix_put(x, "b", large(), "a");
	fix_put(x, "c", large(), "a");
	fix_start(x, "a", a);
	fix_start(x, "b", b);
	fix_demand(x, "b", 0, 0);
	size_t orders = x->n_orders;
	fix_demand(x, "c", 1, 0);
	assert_int_equal(x->n_orders, orders);
	assert_int_equal(fix_view(x, "a").replicas[GT_REPLICA_READY], 1); /* it serves */
	assert_int_equal(fix_view(x, "b").replicas[GT_REPLICA_DRAINING], 1);
	struct gt_decision why = { 0 };

	assert_int_equal(gt_control_decisions(x->c, "b", 0, last, &why, NULL), 0);
	assert_int_equal(why.kind, GT_DECISION_EVICT);
	assert_string_equal(why.evict.replica, b);
	assert_string_equal(why.evict.by, "c");
	assert_int_equal(why.evict.among, 1);
	fix_drained(x, b);
	assert_string_equal(x->order.replica, b);
	assert_int_equal(x->order.want, GT_WANT_STOP);
	fix_report(x, b, GT_REPLICA_STOPPED);
	assert_string_equal(x->order.function, "c");
	assert_int_equal(x->order.want, GT_WANT_RUN);
}

static void nobody_goes_where_it_would_not_help(void **state)
{
	struct fix *x = *state;
	char a[GT_REPLICA_ID_SIZE], b[GT_REPLICA_ID_SIZE];
	struct gt_spec *whole = fix_spec();

	whole->resources.memory_bytes = 32 * GT_GIB;
	fix_put(x, "a", large(), "a");
	fix_put(x, "b", large(), "a");
	fix_put(x, "c", whole, "a");
	fix_start(x, "a", a);
	fix_start(x, "b", b); /* serves */
	fix_demand(x, "a", 0, 0);
	fix_demand(x, "c", 1, 0);
	assert_int_equal(fix_view(x, "a").replicas[GT_REPLICA_READY], 1);
}

static void what_min_asks_for_stays(void **state)
{
	struct fix *x = *state;
	struct gt_spec *spec = large();

	spec->scale.min = 2;
	fix_put(x, "a", spec, "a");
	fix_put(x, "c", large(), "a");
	fix_demand(x, "c", 1, 0);
	assert_int_equal(fix_view(x, "a").replicas[GT_REPLICA_DRAINING], 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
	const struct CMUnitTest tests[] = {
		T(idle_ones_make_room),
		T(nobody_goes_where_it_would_not_help),
		T(what_min_asks_for_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
