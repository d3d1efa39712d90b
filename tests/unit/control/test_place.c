/* test_place.c - of two nodes, the one that has the image already. */
#include "fixture.h"

static void report(struct fix *x, const char *node, const struct gt_observed *o)
{
	struct gt_observed copy = o ? *o : (struct gt_observed){ 0 };
	struct gt_report r = { .full = !o,
			       .epoch = FIX_EPOCH,
			       .cpu_milli = 64000,
			       .memory_bytes = 64 * GT_GIB,
			       .replicas = &copy,
			       .n_replicas = o ? 1 : 0 };

	gt_strcopy(r.node, sizeof(r.node), node);
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

/* Starts one, lets it serve and go. Returns with its node in x->node. */
static void once(struct fix *x, const char *function, uint64_t pull_ms)
{
	struct gt_observed o;
	char node[GT_NAME_MAX + 1];

	fix_demand(x, function, 1, 0);
	assert_int_equal(x->order.want, GT_WANT_RUN);
	assert_string_equal(x->order.function, function);
	gt_strcopy(node, sizeof(node), x->node);
	fix_pass(x, pull_ms + 50);
	o = fix_observed(x->order.replica, function, 1, GT_REPLICA_READY);
	o.phases.image_us = pull_ms * 1000;
	report(x, node, &o);
	fix_demand(x, function, 0, 0);
	fix_pass(x, 60000);
	fix_drained(x, o.replica);
	o.state = GT_REPLICA_STOPPED;
	report(x, node, &o);
	gt_strcopy(x->node, sizeof(x->node), node);
}

/* How often, of `n` functions that each serve twice, the second replica is where the first was. The
 * nodes fill up by a third function in between, so that without the image another node is better.
 */
static unsigned again(struct fix *x, uint64_t pull_ms, unsigned n)
{
	unsigned same = 0;

	gt_control_node_up(x->c, "n2");
	report(x, "n1", NULL);
	report(x, "n2", NULL);
	for (unsigned i = 0; i < n; i++) {
		char name[16], first[GT_NAME_MAX + 1];

		snprintf(name, sizeof(name), "f%u", i);
		fix_put(x, name, fix_spec(), "a");
		once(x, name, pull_ms);
		gt_strcopy(first, sizeof(first), x->node);
		/* One stays for good, on the same node or the other. */
		snprintf(name, sizeof(name), "g%u", i);
		struct gt_spec *spec = fix_spec();

		spec->scale.min = 1;
		spec->resources.memory_bytes = GT_GIB;
		fix_put(x, name, spec, "a");
		snprintf(name, sizeof(name), "f%u", i);
		once(x, name, 0);
		same += strcmp(first, x->node) == 0;
	}
	return same;
}

static void the_image_is_worth_going_back_for(void **state)
{
	assert_int_equal(again(*state, 20000, 8), 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_image_is_worth_going_back_for, fix_setup,
						fix_teardown),
	};

	return cmocka_run_group_tests_name("control/test_place", tests, NULL, NULL);
}
