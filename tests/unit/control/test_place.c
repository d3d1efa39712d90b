/* test_place.c - of two nodes, the one that has the image already, or the weights. */
#include "fixture.h"

#include <gantry/control/decision.h>

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

/* A node tells what it has of the weights of `spec`, and how fast its disk is. */
static void tell_weights(struct fix *x, const char *node, const struct gt_spec *spec,
			 uint64_t resident, uint64_t total, uint64_t bps)
{
	struct gt_weights_here here = { .resident = resident, .total = total };
	struct gt_report r = {
		.full = true,
		.epoch = FIX_EPOCH,
		.cpu_milli = 64000,
		.memory_bytes = 64 * GT_GIB,
		.weights = { .told = true, .read_bps = bps, .here = &here, .n_here = total > 0 }
	};

	gt_weights_key(spec, here.key);
	gt_strcopy(r.node, sizeof(r.node), node);
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

static struct gt_spec *with_weights(void)
{
	struct gt_spec *spec = fix_spec();

	spec->volumes = gt_alloc(sizeof(*spec->volumes));
	*spec->volumes = (struct gt_volume){ gt_strdup("/srv"), gt_strdup("/m"), true };
	spec->n_volumes = 1;
	spec->weights.paths = gt_alloc(sizeof(char *));
	spec->weights.paths[0] = gt_strdup("/m/*.safetensors");
	spec->weights.n_paths = 1;
	return spec;
}

struct told {
	uint64_t here, total;
};

static bool keep_place(const struct gt_decision *d, void *arg)
{
	if (d->kind == GT_DECISION_PLACE)
		*(struct told *)arg = (struct told){ d->place.weights_here,
						     d->place.weights_total };
	return true;
}

/* Where a function goes when both nodes told of its weights. */
static void goes_to(struct fix *x, const char *name, const char *node, uint64_t here)
{
	struct told told = { 0 };

	fix_put(x, name, with_weights(), "a");
	fix_demand(x, name, 1, 0);
	assert_string_equal(x->order.function, name);
	assert_string_equal(x->node, node);
	assert_int_equal(gt_control_decisions(x->c, name, 0, keep_place, &told, NULL), 0);
	assert_int_equal(told.here, here);
	assert_int_equal(told.total, 16 * GT_GIB);
}

static void the_node_with_the_weights_is_chosen(void **state)
{
	struct gt_spec *spec = with_weights();
	struct fix *x = *state;

	gt_control_node_up(x->c, "n2");
	tell_weights(x, "n1", spec, 0, 0, 0);
	tell_weights(x, "n2", spec, 16 * GT_GIB, 16 * GT_GIB, 0);
	goes_to(x, "on-n2", "n2", 16 * GT_GIB);
	tell_weights(x, "n1", spec, 15 * GT_GIB, 16 * GT_GIB, GT_GIB);
	tell_weights(x, "n2", spec, 1 * GT_GIB, 16 * GT_GIB, GT_GIB);
	goes_to(x, "on-n1", "n1", 15 * GT_GIB);
	/* A disk that reads all in less time than the other one the rest. */
	tell_weights(x, "n1", spec, 8 * GT_GIB, 16 * GT_GIB, GT_GIB / 4);
	tell_weights(x, "n2", spec, 0, 16 * GT_GIB, 16 * GT_GIB);
	goes_to(x, "fast", "n2", 0);
	/* What a node does not tell of any more it has not. */
	tell_weights(x, "n1", spec, 16 * GT_GIB, 16 * GT_GIB, GT_GIB);
	tell_weights(x, "n2", spec, 0, 0, GT_GIB);
	goes_to(x, "last", "n1", 16 * GT_GIB);
	/* More than there is: a node's word is not taken for it. */
	tell_weights(x, "n2", spec, UINT64_MAX / 2, 16 * GT_GIB, 1);
	tell_weights(x, "n1", spec, 0, 0, 1);
	goes_to(x, "liar", "n2", 16 * GT_GIB);
	gt_spec_free(spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_image_is_worth_going_back_for, fix_setup,
						fix_teardown),
		cmocka_unit_test_setup_teardown(the_node_with_the_weights_is_chosen, fix_setup,
						fix_teardown),
	};

	return cmocka_run_group_tests_name("control/test_place", tests, NULL, NULL);
}
