/* test_gpu.c - GPUs and labels of nodes: what control knows of them, who is given which. */
#include "fixture.h"

static struct gt_gpu gpus[] = {
	{ .uuid = "G0", .model = "NVIDIA H100 80GB", .memory_bytes = 80 * GT_GIB },
	{ .uuid = "G1", .model = "NVIDIA H100 80GB", .memory_bytes = 80 * GT_GIB },
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

static void report_gpus(struct fix *x, struct gt_gpu *list, size_t n, struct gt_observed *one)
{
	const struct gt_report r = { .node = "n1",
				     .full = true,
				     .epoch = FIX_EPOCH,
				     .gpus = list,
				     .n_gpus = n,
				     .replicas = one,
				     .n_replicas = one != NULL };

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

/* ---- who is given which ---- */

static char *models_l4[] = { (char[]){ "L4" } };

static struct gt_spec *want_gpu(uint32_t count, uint32_t share_milli)
{
	struct gt_spec *spec = fix_spec();

	spec->resources.gpu.count = count;
	spec->resources.gpu.share_milli = share_milli;
	return spec;
}

static void gpus_go_into_orders_and_come_back(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];

	report(x, gpus, 2, NULL, 0);
	fix_put(x, "f", want_gpu(2, 0), "f");
	fix_put(x, "half", want_gpu(1, 500), "half");
	fix_demand(x, "f", 1, 0);
	assert_int_equal(x->order.n_gpus, 2);
	assert_string_equal(x->order.gpus[0].uuid, "G0");
	assert_string_equal(x->order.gpus[1].uuid, "G1");
	assert_int_equal(x->order.gpus[1].milli, GT_GPU_WHOLE);
	assert_int_equal(x->order.gpus[1].memory_bytes, 80 * GT_GIB);
	assert_int_equal(node_view(x).gpus[1].taken_milli, GT_GPU_WHOLE);
	gt_strcopy(id, sizeof(id), x->order.replica);

	size_t orders = x->n_orders;

	fix_demand(x, "half", 1, 0);
	assert_int_equal(x->n_orders, orders);
	assert_string_equal(x->event.type, "scale.blocked");
	fix_fail(x, id, "exited_early"); /* its end is room */
	assert_int_equal(x->n_orders, orders + 1);
	assert_int_equal(x->order.n_gpus, 1);
	assert_int_equal(x->order.gpus[0].milli, 500);
	assert_int_equal(x->order.gpus[0].memory_bytes, 40 * GT_GIB);
}

static void halves_are_put_together(void **state)
{
	struct fix *x = *state;
	char first[GT_GPU_UUID_MAX + 1];

	report(x, gpus, 2, NULL, 0);
	fix_put(x, "a", want_gpu(1, 500), "a");
	fix_put(x, "b", want_gpu(1, 500), "b");
	fix_demand(x, "a", 1, 0);
	gt_strcopy(first, sizeof(first), x->order.gpus[0].uuid);
	fix_demand(x, "b", 1, 0);
	assert_string_equal(x->order.function, "b");
	assert_string_equal(x->order.gpus[0].uuid, first);
}

/* After a start of control the node's reports are all it has. */
static void gpus_of_found_replicas_are_taken(void **state)
{
	struct fix *x = *state;
	struct gt_gpu_grant whole = { "G1", GT_GPU_WHOLE, 40 * GT_GIB };
	struct gt_gpu_grant half = { "G0", 500, 40 * GT_GIB };
	struct gt_observed found[] = {
		fix_observed("01AAAAAAAAAAAAAAAAAAAAAAAA", "f", 1, GT_REPLICA_READY),
		fix_observed("01BBBBBBBBBBBBBBBBBBBBBBBB", "stray", 1, GT_REPLICA_READY),
	};
	const struct gt_report r = { .node = "n1",
				     .full = true,
				     .epoch = FIX_EPOCH,
				     .gpus = gpus,
				     .n_gpus = 2,
				     .replicas = found,
				     .n_replicas = 2 };
	struct gt_node_view v;

	fix_put(x, "f", fix_spec(), "f"); /* which asks for none by now */
	found[0].gpus = &whole;
	found[1].gpus = &half;
	found[0].n_gpus = found[1].n_gpus = 1;
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
	v = node_view(x);
	assert_int_equal(v.gpus[0].taken_milli, 500);
	assert_int_equal(v.gpus[1].taken_milli, GT_GPU_WHOLE);
}

/* One that was being stopped when control ended has its GPU until it is gone. */
static void a_draining_one_keeps_its_gpu_to_the_end(void **state)
{
	struct fix *x = *state;
	struct gt_gpu_grant grant = { "G0", GT_GPU_WHOLE, 80 * GT_GIB };
	struct gt_observed found = fix_observed("01AAAAAAAAAAAAAAAAAAAAAAAA", "f", 1,
						GT_REPLICA_DRAINING);
	struct gt_report r = { .node = "n1",
			       .full = true,
			       .epoch = FIX_EPOCH,
			       .gpus = gpus,
			       .n_gpus = 1,
			       .replicas = &found,
			       .n_replicas = 1 };

	report(x, gpus, 1, NULL, 0);
	fix_put(x, "f", want_gpu(1, 0), "f");
	found.gpus = &grant;
	found.n_gpus = 1;
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
	assert_int_equal(x->order.want, GT_WANT_STOP);
	assert_int_equal(x->order.grace_ms, 30000);
	fix_demand(x, "f", 1, 0);
	assert_string_equal(x->event.type, "scale.blocked");
	found.state = GT_REPLICA_STOPPED;
	r.full = false;
	r.gpus = NULL;
	r.n_gpus = 0;
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
	assert_int_equal(x->order.want, GT_WANT_RUN);
	assert_string_equal(x->order.gpus[0].uuid, "G0");
}

/* The node starts anew with its GPUs in another order, and one more. */
static void slots_follow_their_gpus(void **state)
{
	struct fix *x = *state;
	struct gt_gpu others[] = { gpus[1],
				   { .uuid = "G9", .model = "L4", .memory_bytes = 24 * GT_GIB },
				   gpus[0] };
	char id[GT_REPLICA_ID_SIZE];
	struct gt_node_view v;

	report(x, gpus, 2, NULL, 0);
	fix_put(x, "f", want_gpu(1, 0), "f");
	fix_start(x, "f", id);
	assert_int_equal(node_view(x).gpus[0].taken_milli, GT_GPU_WHOLE);
	struct gt_observed still = fix_observed(id, "f", 1, GT_REPLICA_READY);
	const struct gt_report r = { .node = "n1",
				     .full = true,
				     .epoch = FIX_EPOCH,
				     .gpus = others,
				     .n_gpus = 3,
				     .replicas = &still,
				     .n_replicas = 1 };

	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
	v = node_view(x);
	assert_int_equal(v.gpus[0].taken_milli, 0);
	assert_int_equal(v.gpus[1].taken_milli, 0);
	assert_string_equal(v.gpus[2].is.uuid, "G0");
	assert_int_equal(v.gpus[2].taken_milli, GT_GPU_WHOLE);
}

static void a_sick_gpu_is_given_to_nobody(void **state)
{
	struct fix *x = *state;
	struct gt_gpu sick[] = { gpus[0], gpus[1] };

	sick[0].health = GT_GPU_DRAIN;
	report(x, sick, 2, NULL, 0);
	fix_put(x, "f", want_gpu(1, 0), "f");
	fix_demand(x, "f", 1, 0);
	assert_string_equal(x->order.gpus[0].uuid, "G1");
	fix_put(x, "g", want_gpu(1, 0), "g");
	fix_demand(x, "g", 1, 0);
	assert_string_equal(x->event.type, "scale.blocked");
	report(x, gpus, 2, NULL,
	       0); /* it is well again; f's replica is not listed, so it is gone */
	assert_string_equal(x->order.function, "g");
}

/* What is on a GPU that is not well goes elsewhere, from a lost one at once. */
static void leaves_a_gpu(struct fix *x, enum gt_gpu_health health)
{
	struct gt_gpu sick[] = { gpus[0], gpus[1] };
	struct gt_observed o;
	struct gt_order orders[4];
	char first[GT_REPLICA_ID_SIZE];
	struct gt_report r = { .node = "n1",
			       .full = true,
			       .epoch = FIX_EPOCH,
			       .gpus = sick,
			       .n_gpus = 2,
			       .replicas = &o,
			       .n_replicas = 1 };
	struct gt_spec *spec = want_gpu(1, 0);
	bool killed = false, moved = false;

	report(x, gpus, 2, NULL, 0);
	spec->scale.min = 1;
	fix_put(x, "f", spec, "f");
	gt_strcopy(first, sizeof(first), x->order.replica);
	fix_report(x, first, GT_REPLICA_READY);
	sick[strcmp(x->order.gpus[0].uuid, "G1") == 0].health = health;
	o = fix_observed(first, "f", 1, GT_REPLICA_READY);
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
	for (size_t n = fix_orders(x, orders, 4), k = 0; k < n; k++) {
		bool old = strcmp(orders[k].replica, first) == 0;

		killed |= old && orders[k].want == GT_WANT_STOP && orders[k].grace_ms == 0;
		moved |= !old && orders[k].want == GT_WANT_RUN;
	}
	assert_true(moved);
	assert_int_equal(killed, health == GT_GPU_LOST);
}

static void replicas_leave_a_gpu_that_drains(void **state)
{
	leaves_a_gpu(*state, GT_GPU_DRAIN);
}

static void replicas_leave_a_gpu_that_is_lost(void **state)
{
	leaves_a_gpu(*state, GT_GPU_LOST);
}

/* What others have of a GPU is not given away. */
static void foreign_memory_is_not_given(void **state)
{
	struct fix *x = *state;
	struct gt_gpu used[] = { gpus[0], gpus[1] };
	struct gt_spec *spec = want_gpu(1, 0);

	used[0].foreign_bytes = 70 * GT_GIB;
	used[1].foreign_bytes = 30 * GT_GIB;
	report(x, used, 2, NULL, 0);
	spec->resources.gpu.memory_bytes = 20 * GT_GIB;
	fix_put(x, "f", spec, "f");
	fix_demand(x, "f", 1, 0);
	assert_string_equal(x->order.gpus[0].uuid, "G1");
	fix_put(x, "g", want_gpu(1, 0), "g");
	fix_demand(x, "g", 1, 0);
	assert_string_equal(x->order.gpus[0].uuid, "G0");
	assert_int_equal(x->order.gpus[0].memory_bytes, 10 * GT_GIB);
}

static void events_of_gpus_are_kept(void **state)
{
	struct fix *x = *state;
	struct gt_told_event e = { .type = "gpu.xid", .text = "XID 31" };
	const struct gt_report r = {
		.node = "n1", .epoch = FIX_EPOCH, .events = &e, .n_events = 1
	};

	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
	assert_string_equal(x->event.type, "gpu.xid");
	assert_string_equal(x->event.node, "n1");
	assert_string_equal(x->event.text, "XID 31");
}

static void preferences_choose_the_gpu(void **state)
{
	struct fix *x = *state;
	struct gt_gpu mixed[] = {
		gpus[0], { .uuid = "G9", .model = "NVIDIA L4", .memory_bytes = 24 * GT_GIB }
	};
	struct gt_spec *spec = want_gpu(1, 0);

	report(x, mixed, 2, NULL, 0);
	spec->resources.gpu.models = gt_alloc_array(3, sizeof(char *));
	spec->resources.gpu.models[0] = gt_strdup("l4");
	spec->resources.gpu.models[1] = gt_strdup("H100");
	spec->resources.gpu.n_models = 2;
	fix_put(x, "f", spec, "f");
	fix_demand(x, "f", 2, 0);
	struct gt_order orders[2];

	assert_int_equal(fix_orders(x, orders, 2), 2);
	bool l4_first = strcmp(orders[0].gpus[0].uuid, "G9") == 0;

	assert_string_equal(orders[l4_first].gpus[0].uuid, "G0");
	assert_string_equal(orders[!l4_first].gpus[0].uuid, "G9");
}

/* ---- what could never be ---- */

struct put_result {
	struct gt_err err;
	bool done;
};

static void on_put(const struct gt_err *err, enum gt_put_result result,
		   const struct gt_function_view *view, void *arg)
{
	struct put_result *r = arg;

	(void)result;
	(void)view;
	r->done = true;
	if (err)
		r->err = *err;
}

static struct gt_err dry_put(struct fix *x, struct gt_spec *spec)
{
	const struct gt_put put = {
		.name = "f", .spec = spec, .spec_json = "{}", .etag = "e", .dry_run = true
	};
	struct put_result r = { 0 };

	gt_control_put(x->c, &put, on_put, &r);
	assert_true(r.done);
	return r.err;
}

static struct gt_spec *want(uint32_t count, uint64_t gib, char **models)
{
	struct gt_spec *spec = want_gpu(count, 0);

	spec->resources.gpu.memory_bytes = gib * GT_GIB;
	if (models) {
		spec->resources.gpu.models = gt_alloc_array(2, sizeof(char *));
		spec->resources.gpu.models[0] = gt_strdup(models[0]);
		spec->resources.gpu.n_models = 1;
	}
	return spec;
}

static void expect_never(struct fix *x, struct gt_spec *spec, const char *path, const char *words)
{
	struct gt_err err = dry_put(x, spec);

	assert_string_equal(err.slug, "invalid_spec");
	assert_string_equal(err.path, path);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
}

static void what_could_never_run_is_refused(void **state)
{
	struct fix *x = *state;
	char *near[] = { (char[]){ "H10" } }, *far[] = { (char[]){ "MI300X" } };
	struct gt_label labels[] = { { "rack", "7" }, { "zone", "a" } };
	struct gt_gpu mixed[] = { gpus[0],
				  { .uuid = "G9",
				    .model = "NVIDIA L4",
				    .memory_bytes = 24 * GT_GIB,
				    .health = GT_GPU_DRAIN } };
	struct gt_spec *spec;

	expect_never(x, want(1, 0, NULL), "resources.gpu", "no node has a GPU");
	report(x, mixed, 2, labels, 2);
	expect_never(x, want(2, 0, NULL), "resources.gpu.count", "the most is 1 on node n1");
	expect_never(x, want(1, 81, NULL), "resources.gpu.memory", "81GiB is more than any");
	expect_never(x, want(1, 25, models_l4), "resources.gpu.memory", "the most is 24GiB");
	expect_never(x, want(1, 0, near), "resources.gpu.models[0]", "did you mean \"H100\"?");
	expect_never(x, want(1, 0, far), "resources.gpu.models[0]",
		     "there is \"NVIDIA H100 80GB\"");
	assert_int_equal(dry_put(x, want(1, 80, NULL)).code, 0);
	assert_int_equal(dry_put(x, want(1, 24, models_l4)).code, 0); /* it may get well */

	spec = fix_spec();
	spec->placement.n_labels = 1;
	spec->placement.labels = gt_alloc(sizeof(*spec->placement.labels));
	spec->placement.labels[0] = (struct gt_label){ "zone", "b" };
	expect_never(x, spec, "placement.labels.zone", "there is \"a\"");
	spec = fix_spec();
	spec->resources.memory_bytes = UINT64_MAX;
	assert_int_equal(dry_put(x, spec).code, 0); /* nobody knows how large the node is */
}

/* ---- GPUs that nobody knows yet ---- */

static struct gt_spec *gang_of(uint32_t size, uint32_t gpus_each, enum gt_gang_spread spread)
{
	struct gt_spec *spec = fix_spec();

	spec->network = GT_NETWORK_HOST;
	spec->gang.size = size;
	spec->gang.spread = spread;
	spec->resources.gpu.count = gpus_each;
	return spec;
}

static void report_driver(struct fix *x, enum gt_gpu_driver_state state, size_t n,
			  struct gt_observed *replicas, size_t n_replicas)
{
	const struct gt_report r = { .node = "n1",
				     .full = true,
				     .epoch = FIX_EPOCH,
				     .cpu_milli = 4000,
				     .memory_bytes = 8 * GT_GIB,
				     .gpus = gpus,
				     .n_gpus = n,
				     .gpu_driver = { .state = state },
				     .replicas = replicas,
				     .n_replicas = n_replicas };

	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

static void what_a_driver_may_yet_tell_of_is_accepted(void **state)
{
	struct fix *x = *state;
	struct gt_spec *spec;

	report_driver(x, GT_GPU_DRIVER_STARTING, 0, NULL, 0);
	assert_int_equal(dry_put(x, want(64, 1000, models_l4)).code, 0);
	spec = gang_of(4, 8, GT_GANG_NODE);
	assert_int_equal(dry_put(x, spec).code, 0);
	spec = gang_of(2, 8, GT_GANG_NODES); /* of nodes there are as many as there are */
	expect_never(x, spec, "gang.size", "and 1 of the nodes would do");
	spec = want(1, 0, NULL); /* nor has it more memory than it says */
	spec->resources.memory_bytes = 64 * GT_GIB;
	expect_never(x, spec, "resources.memory", "the most is 32GiB");
	report_driver(x, GT_GPU_DRIVER_FAILED, 0, NULL, 0);
	expect_never(x, want(1, 0, NULL), "resources.gpu", "no node has a GPU");
	report_driver(x, GT_GPU_DRIVER_READY, 2, NULL, 0);
	assert_int_equal(dry_put(x, want(2, 0, NULL)).code, 0);
	expect_never(x, want(3, 0, NULL), "resources.gpu.count", "the most is 2");
}

static void calls_wait_for_a_driver(void **state)
{
	struct fix *x = *state;

	report_driver(x, GT_GPU_DRIVER_STARTING, 0, NULL, 0);
	fix_put(x, "f", want_gpu(1, 0), "f");
	fix_demand(x, "f", 1, 0);
	assert_string_equal(x->event.type, "scale.blocked");
	assert_non_null(strstr(x->event.text, "GPUs there are is not known yet on node n1"));
	fix_pass(x, 15000); /* longer than for room that there is not */
	report_driver(x, GT_GPU_DRIVER_STARTING, 0, NULL, 0);
	assert_null(fix_view(x, "f").last_failure);
	report_driver(x, GT_GPU_DRIVER_READY, 2, NULL, 0);
	assert_string_equal(x->order.function, "f");
	assert_int_equal(x->order.n_gpus, 1);
}

static void calls_do_not_wait_for_a_driver_that_failed(void **state)
{
	struct fix *x = *state;

	report_driver(x, GT_GPU_DRIVER_STARTING, 0, NULL, 0);
	fix_put(x, "f", want_gpu(1, 0), "f");
	fix_demand(x, "f", 1, 0);
	fix_pass(x, 15000);
	report_driver(x, GT_GPU_DRIVER_FAILED, 0, NULL, 0);
	assert_string_equal(fix_view(x, "f").last_failure->cause, "no_capacity");
}

/* Its agent starts again, and the driver takes its time. */
static void gpus_stay_whose_they_are_while_a_driver_begins(void **state)
{
	struct fix *x = *state;
	struct gt_observed o;
	char id[GT_REPLICA_ID_SIZE];
	size_t events, orders;

	report_driver(x, GT_GPU_DRIVER_READY, 2, NULL, 0);
	fix_put(x, "f", want_gpu(1, 0), "f");
	fix_put(x, "g", want_gpu(1, 0), "g");
	fix_start(x, "f", id);
	o = fix_observed(id, "f", 1, GT_REPLICA_READY);
	events = x->n_events;
	report_driver(x, GT_GPU_DRIVER_STARTING, 0, &o, 1);
	assert_int_equal(x->n_events, events); /* no GPU is gone, none is another's */
	assert_int_equal(node_view(x).n_gpus, 2);
	assert_int_equal(node_view(x).gpus[0].taken_milli + node_view(x).gpus[1].taken_milli,
			 GT_GPU_WHOLE);
	orders = x->n_orders;
	fix_demand(x, "g", 1, 0); /* its agent would refuse what it does not know */
	assert_int_equal(x->n_orders, orders);
	report_driver(x, GT_GPU_DRIVER_READY, 2, &o, 1);
	assert_string_equal(x->order.function, "g");
	assert_int_equal(node_view(x).gpus[0].taken_milli, GT_GPU_WHOLE);
	assert_int_equal(node_view(x).gpus[1].taken_milli, GT_GPU_WHOLE);
}

/* Somebody who is no replica takes memory of a GPU, all of it even: who has the GPU has it still,
 * and it is nobody else's. */
static void strangers_take_no_gpu_away(void **state)
{
	struct fix *x = *state;
	struct gt_gpu list[] = { gpus[0] };
	struct gt_observed o;
	char id[GT_REPLICA_ID_SIZE];
	size_t orders, events;

	report(x, list, 1, NULL, 0);
	fix_put(x, "f", want_gpu(1, 0), "f");
	fix_put(x, "g", want_gpu(1, 100), "g");
	fix_start(x, "f", id);
	fix_demand(x, "g", 1, 0);
	orders = x->n_orders;
	events = x->n_events;
	for (uint64_t gib = 70; gib <= 80; gib += 10) {
		list[0].foreign_bytes = gib * GT_GIB;
		o = fix_observed(id, "f", 1, GT_REPLICA_READY);
		report_gpus(x, list, 1, &o);
		assert_int_equal(node_view(x).gpus[0].taken_milli, GT_GPU_WHOLE);
		assert_int_equal(x->n_orders, orders);
		assert_int_equal(x->n_events, events);
	}
}

/* Of 0 bytes left is not of unknown size. */
static void a_gpu_without_memory_takes_nobody_who_needs_some(void **state)
{
	struct fix *x = *state;
	struct gt_gpu list[] = { gpus[0] };
	struct gt_spec *spec = want_gpu(1, 0);
	size_t orders;

	list[0].foreign_bytes = list[0].memory_bytes;
	report(x, list, 1, NULL, 0);
	spec->resources.gpu.memory_bytes = 8 * GT_GIB;
	fix_put(x, "f", spec, "f");
	orders = x->n_orders;
	fix_demand(x, "f", 1, 0);
	assert_int_equal(x->n_orders, orders);
	list[0].foreign_bytes = 0;
	report(x, list, 1, NULL, 0);
	assert_int_equal(x->n_orders, orders + 1);
}

/* Its agent starts again: what the last one told of GPUs is not what this one knows. */
static void nothing_starts_before_the_next_agent_has_told(void **state)
{
	struct fix *x = *state;
	size_t orders;

	report_driver(x, GT_GPU_DRIVER_READY, 2, NULL, 0);
	fix_put(x, "f", want_gpu(1, 0), "f");
	gt_control_node_down(x->c, "n1");
	fix_demand(x, "f", 1, 0);
	orders = x->n_orders;
	gt_control_node_up(x->c, "n1");
	assert_int_equal(x->n_orders, orders);
	report_driver(x, GT_GPU_DRIVER_STARTING, 0, NULL, 0);
	assert_int_equal(x->n_orders, orders);
	report_driver(x, GT_GPU_DRIVER_READY, 2, NULL, 0);
	assert_int_equal(x->n_orders, orders + 1);
}

/* The new watch may open before the last one is seen to close. */
static void nor_when_its_watch_came_first(void **state)
{
	struct fix *x = *state;
	size_t orders = x->n_orders;

	report_driver(x, GT_GPU_DRIVER_READY, 2, NULL, 0);
	gt_control_node_up(x->c, "n1");
	fix_put(x, "f", want_gpu(1, 0), "f");
	fix_demand(x, "f", 1, 0);
	assert_int_equal(x->n_orders, orders);
	report_driver(x, GT_GPU_DRIVER_READY, 2, NULL, 0);
	assert_int_equal(x->n_orders, orders + 1);
}

/* A gang is as good as the least of its GPUs, and what is not told of yet is not out of use. */
static void gangs_go_on_while_a_driver_begins(void **state)
{
	struct fix *x = *state;
	struct gt_observed o[2];
	struct gt_order orders[4];
	struct gt_spec *spec = gang_of(2, 1, GT_GANG_NODE);

	report_driver(x, GT_GPU_DRIVER_READY, 2, NULL, 0);
	spec->network = GT_NETWORK_EGRESS;
	fix_put(x, "f", spec, "f");
	fix_demand(x, "f", 1, 0);
	assert_int_equal(fix_orders(x, orders, 4), 2);
	for (int i = 0; i < 2; i++) {
		o[i] = fix_observed(orders[i].replica, "f", 1, GT_REPLICA_STARTING);
		o[i].gang = orders[i].gang;
	}
	report_driver(x, GT_GPU_DRIVER_STARTING, 0, o, 2);
	assert_int_equal(fix_orders(x, orders, 4), 2);
	assert_int_equal(orders[0].want, GT_WANT_RUN);
	report_driver(x, GT_GPU_DRIVER_READY, 1, o, 2); /* now it is */
	assert_int_equal(fix_orders(x, orders, 4), 2);
	assert_int_equal(orders[0].want, GT_WANT_STOP);
}

/* So does control: of the GPUs of what runs it knows by its replicas alone. */
static void gpus_of_found_replicas_are_taken_when_they_are_known(void **state)
{
	struct fix *x = *state;
	struct gt_gpu_grant whole = { "G1", GT_GPU_WHOLE, 80 * GT_GIB };
	struct gt_observed o = fix_observed("01AAAAAAAAAAAAAAAAAAAAAAAA", "f", 1, GT_REPLICA_READY);

	fix_put(x, "f", fix_spec(), "f");
	o.gpus = &whole;
	o.n_gpus = 1;
	report_driver(x, GT_GPU_DRIVER_STARTING, 0, &o, 1);
	report_driver(x, GT_GPU_DRIVER_READY, 2, &o, 1);
	assert_int_equal(node_view(x).gpus[1].taken_milli, GT_GPU_WHOLE);
	assert_int_equal(node_view(x).gpus[0].taken_milli, 0);
}

/* A node of so much cpu and memory with the first n of GPUs that are alike. */
static void tell(struct fix *x, const char *node, uint64_t cpu_milli, uint64_t gib, size_t n)
{
	struct gt_gpu list[8];
	char uuid[GT_LEN(list)][8];
	struct gt_report r = { .full = true,
			       .epoch = FIX_EPOCH,
			       .cpu_milli = cpu_milli,
			       .memory_bytes = gib * GT_GIB,
			       .gpus = list,
			       .n_gpus = n };

	for (size_t i = 0; i < n; i++) {
		list[i] = gpus[0];
		snprintf(uuid[i], sizeof(uuid[i]), "%.4s-%zu", node, i);
		gt_strcopy(list[i].uuid, sizeof(list[i].uuid), uuid[i]);
	}
	gt_strcopy(r.node, sizeof(r.node), node);
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

/* n1 has the cpu and 4 GPUs, n2 the memory and 2. */
static void what_no_two_nodes_make_up_is_refused(void **state)
{
	struct fix *x = *state;
	struct gt_spec *spec;

	gt_control_node_up(x->c, "n2");
	tell(x, "n1", 64000, 8, 4);
	tell(x, "n2", 4000, 512, 2);
	spec = fix_spec();
	spec->resources.cpu_milli = 900000;
	spec->resources.memory_bytes = 64 * GT_GIB;
	expect_never(x, spec, "resources.memory", "that has cpu 900; the most of these is 32GiB");
	spec = fix_spec();
	spec->resources.cpu_milli = 900000;
	spec->resources.memory_bytes = 32 * GT_GIB;
	assert_int_equal(dry_put(x, spec).code, 0);

	expect_never(x, gang_of(3, 1, GT_GANG_NODES), "gang.size", "and 2 of the nodes would do");
	expect_never(x, gang_of(2, 4, GT_GANG_NODES), "gang.size", "and 1 of the nodes would do");
	expect_never(x, gang_of(3, 2, GT_GANG_NODE), "gang.size", "the most is 2 on node n1");
	expect_never(x, gang_of(4, 2, GT_GANG_ANY), "gang.size", "together; the most is 3");
	assert_int_equal(dry_put(x, gang_of(2, 2, GT_GANG_NODES)).code, 0);
	assert_int_equal(dry_put(x, gang_of(2, 2, GT_GANG_NODE)).code, 0);
	assert_int_equal(dry_put(x, gang_of(3, 2, GT_GANG_ANY)).code, 0);
	spec = gang_of(2, 0, GT_GANG_NODES);
	spec->resources.cpu_milli = 500000; /* of the one or the other: not of both */
	expect_never(x, spec, "gang.size", "and 1 of the nodes would do");
}

static void what_nobody_can_know_is_accepted(void **state)
{
	struct fix *x = *state;

	assert_int_equal(dry_put(x, want(64, 1000, models_l4)).code, 0);
}

/* Without a stated window a GPU is kept by what was learned; a replica without one for 60 s. */
static void idle_that_is_left_out(void **state)
{
	struct fix *x = *state;
	struct gt_spec *plain = fix_spec(), *gpu = fix_spec();
	char id[GT_REPLICA_ID_SIZE];

	plain->scale.idle_ms = gpu->scale.idle_ms = GT_IDLE_LEARNED;
	gpu->resources.gpu.count = 1;
	report(x, gpus, 2, NULL, 0);
	fix_put(x, "plain", plain, "a");
	fix_put(x, "gpu", gpu, "a");
	fix_start(x, "plain", id);
	fix_demand(x, "plain", 0, 0);
	fix_start(x, "gpu", id); /* at once: nothing is lost by another start */
	fix_demand(x, "gpu", 0, 0);
	fix_pass(x, 59000);
	assert_int_equal(fix_view(x, "plain").replicas[GT_REPLICA_READY], 1);
	assert_int_equal(fix_view(x, "gpu").replicas[GT_REPLICA_READY], 0);
	fix_pass(x, 2000);
	assert_int_equal(fix_view(x, "plain").replicas[GT_REPLICA_READY], 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fix_setup, fix_teardown)
	const struct CMUnitTest tests[] = {
		T(a_full_report_tells_gpus_and_labels),
		T(gpus_go_into_orders_and_come_back),
		T(halves_are_put_together),
		T(gpus_of_found_replicas_are_taken),
		T(a_draining_one_keeps_its_gpu_to_the_end),
		T(slots_follow_their_gpus),
		T(a_sick_gpu_is_given_to_nobody),
		T(replicas_leave_a_gpu_that_drains),
		T(replicas_leave_a_gpu_that_is_lost),
		T(foreign_memory_is_not_given),
		T(events_of_gpus_are_kept),
		T(preferences_choose_the_gpu),
		T(what_could_never_run_is_refused),
		T(what_no_two_nodes_make_up_is_refused),
		cmocka_unit_test_setup_teardown(what_nobody_can_know_is_accepted, fix_setup_empty,
						fix_teardown),
		T(what_a_driver_may_yet_tell_of_is_accepted),
		T(calls_wait_for_a_driver),
		T(calls_do_not_wait_for_a_driver_that_failed),
		T(gpus_stay_whose_they_are_while_a_driver_begins),
		T(strangers_take_no_gpu_away),
		T(a_gpu_without_memory_takes_nobody_who_needs_some),
		T(nothing_starts_before_the_next_agent_has_told),
		T(nor_when_its_watch_came_first),
		T(gangs_go_on_while_a_driver_begins),
		T(gpus_of_found_replicas_are_taken_when_they_are_known),
		T(idle_that_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
