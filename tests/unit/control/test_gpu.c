/* test_gpu.c - GPUs and labels of nodes: what control knows of them, who is given which. */
#include "fixture.h"

static struct gt_gpu gpus[] = {
	{ "G0", "NVIDIA H100 80GB", 80 * GT_GIB, GT_GPU_SIM, true },
	{ "G1", "NVIDIA H100 80GB", 80 * GT_GIB, GT_GPU_SIM, true },
};
static struct gt_label zone_a[] = { { "zone", "a" } };

static void report(struct fix *x, struct gt_gpu *list, size_t n, struct gt_label *labels,
		   size_t n_labels)
{
	const struct gt_report r = { .node = "n1",
				     .full = true,
				     .epoch = FIX_EPOCH,
				     .gpus = list,
				     .n_gpus = n,
				     .labels = labels,
				     .n_labels = n_labels };

	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

static struct gt_node_gpu seen[GT_NODE_GPUS_MAX];

static bool keep_view(const struct gt_node_view *v, void *arg)
{
	struct gt_node_view *ret = arg;

	*ret = *v;
	memcpy(seen, v->gpus, v->n_gpus * sizeof(*seen));
	ret->gpus = seen;
	return false;
}

static struct gt_node_view node_view(struct fix *x)
{
	struct gt_node_view v = { 0 };

	gt_control_nodes(x->c, keep_view, &v);
	return v;
}

static void a_full_report_tells_gpus_and_labels(void **state)
{
	struct fix *x = *state;
	struct gt_node_view v;

	report(x, gpus, 2, zone_a, 1);
	assert_string_equal(x->event.type, "node.gpus");
	assert_string_equal(x->event.text, "2 GPUs, the first NVIDIA H100 80GB (sim)");
	v = node_view(x);
	assert_int_equal(v.n_gpus, 2);
	assert_string_equal(v.gpus[1].is.uuid, "G1");
	assert_int_equal(v.gpus[1].taken_milli, 0);
	assert_int_equal(v.n_labels, 1);
	assert_string_equal(v.labels[0].value, "a");

	size_t events = x->n_events;

	report(x, gpus, 2, zone_a, 1);
	assert_int_equal(x->n_events, events); /* nothing is new */
	report(x, gpus, 1, NULL, 0);
	v = node_view(x);
	assert_int_equal(v.n_gpus, 1);
	assert_int_equal(v.n_labels, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_full_report_tells_gpus_and_labels, fix_setup,
						fix_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
