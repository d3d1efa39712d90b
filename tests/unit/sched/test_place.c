/* test_place.c - filters, scores, books and refusals. */
#include "fleet.h"

static const struct gt_sched_config daemons = { .memory_overcommit = 4, .cpu_overcommit = 16 };
static const struct gt_sched_config plain = { 0 };

static void assert_refused(struct gt_sched *s, const struct gt_sched_want *want, const char *text)
{
	struct gt_sched_spot spot = { .node = 77 };
	struct gt_err err = { 0 };

	assert_int_equal(gt_sched_place(s, want, &spot, &err), -ENOSPC);
	assert_string_equal(err.slug, "no_capacity");
	if (!strstr(err.text, text))
		fail_msg("\"%s\" is not in \"%s\"", text, err.text);
	assert_int_equal(spot.node, 77);
}

/* ---- GPUs that are near to each other ---- */
/* Eight: even ones are linked, odd ones are linked; each half of the node is below one bridge. */
static struct gt_sched_node crossed(struct gt_sched *s)
{
	struct gt_sched_node n = box(s, "a", 8, "H100", 80 * GT_GIB);

	for (uint8_t i = 0; i < 8; i++) {
		n.gpus[i].link = (uint8_t)(1 + i % 2);
		n.gpus[i].bridge = (uint8_t)(1 + i / 4);
	}
	return n;
}

static void several_gpus_are_near_to_each_other(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	struct gt_sched_node n = crossed(s);
	struct gt_sched_spot one, two, four;
	const struct gt_sched_want wants[] = { { .gpus = 1 }, { .gpus = 2 }, { .gpus = 4 } };

	(void)state;
	add(s, 0, &n);
	assert_int_equal(placed(s, &wants[1], &two), 0);
	assert_int_equal(two.gpu_mask, 0x05); /* linked, and below one bridge */
	assert_int_equal(placed(s, &wants[0], &one), 0);
	assert_int_equal(one.gpu_mask, 0x10); /* not of the four that are linked and free */
	assert_int_equal(placed(s, &wants[2], &four), 0);
	assert_int_equal(four.gpu_mask, 0xaa);
	gt_sched_release(s, &two);
	assert_int_equal(placed(s, &wants[1], &two), 0);
	assert_int_equal(two.gpu_mask, 0x05);
}

static void gpus_that_are_near_to_none_are_taken_in_order(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	struct gt_sched_node n = box(s, "a", 8, "H100", 80 * GT_GIB);
	const struct gt_sched_want want = { .gpus = 3 };
	struct gt_sched_spot spot;

	(void)state;
	n.gpus[1].broken = true;
	add(s, 0, &n);
	assert_int_equal(placed(s, &want, &spot), 0);
	assert_int_equal(spot.gpu_mask, 0x0d);
}

static void a_gang_on_one_node_is_near_together(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	struct gt_sched_node n = crossed(s);
	const struct gt_sched_want wants[2] = { { .gpus = 2 }, { .gpus = 2 } };
	struct gt_sched_spot spots[2];

	(void)state;
	add(s, 0, &n);
	assert_int_equal(gt_sched_place_gang(s, wants, 2, GT_SCHED_TOGETHER, spots, NULL), 0);
	assert_int_equal(spots[0].gpu_mask | spots[1].gpu_mask, 0x55);
}

/* ---- cpu and memory ---- */
static void a_small_machine_takes_many_default_functions(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&daemons);
	const struct gt_sched_node n = { .name = "a",
					 .state = GT_SCHED_UP,
					 .memory_bytes = 24 * GT_GIB };
	const struct gt_sched_want want = { .memory_bytes = 512 * GT_MIB };
	int count = 0;

	(void)state;
	add(s, 0, &n);
	while (placed(s, &want, NULL) == 0)
		count++;
	assert_int_equal(count, 192);
	assert_refused(s, &want,
		       "needs 512 MiB of memory: of 1 node, 1 has not so much memory left (most: 0 "
		       "MiB on node a, whose limits may add up to 96 GiB); stop replicas or lower "
		       "resources.memory");
}

static void an_unknown_size_is_never_full(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&daemons);
	const struct gt_sched_node n = { .name = "a", .state = GT_SCHED_UP };
	const struct gt_sched_want want = { .memory_bytes = 1ULL << 62, .cpu_milli = 4000000000 };

	(void)state;
	add(s, 0, &n);
	for (int i = 0; i < 10; i++)
		assert_int_equal(placed(s, &want, NULL), 0);
}

static void only_nodes_that_are_up_take_new_ones(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&daemons);
	struct gt_sched_node n = box(s, "a", 0, "", 0);
	const struct gt_sched_want want = { .cpu_milli = 1 };

	(void)state;
	assert_refused(s, &want, "no node is up (0 known)");
	n.state = GT_SCHED_DOWN;
	add(s, 0, &n);
	assert_refused(s, &want, "no node is up (1 known)");
	n.state = GT_SCHED_CORDONED;
	add(s, 1, &n);
	assert_refused(s, &want, "of 2 nodes, 1 is down, 1 takes nothing new");
	n.state = GT_SCHED_UP;
	add(s, 1, &n);
	assert_int_equal(placed(s, &want, NULL), 1);
	gt_sched_node_remove(s, 1);
	assert_refused(s, &want, "no node is up (1 known)");
}

static void the_emptiest_node_and_other_nodes_first(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&daemons);
	const struct gt_sched_node n = box(s, "a", 0, "", 0);
	struct gt_sched_want want = { .memory_bytes = 100 * GT_GIB };

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		add(s, i, &n);
	assert_int_equal(placed(s, &want, NULL), 0);
	assert_int_equal(placed(s, &want, NULL), 1);
	want.memory_bytes = 300 * GT_GIB;
	want.function = 5;
	assert_int_equal(placed(s, &want, NULL), 2);
	want.memory_bytes = 1;
	assert_int_equal(placed(s, &want, NULL), 0);
	assert_int_equal(placed(s, &want, NULL), 1);
	want.function = 6; /* nothing of it anywhere: the emptiest */
	assert_int_equal(placed(s, &want, NULL), 0);
}

/* ---- GPUs ---- */
static void gpus_are_taken_and_given_back_to_the_slot(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	const struct gt_sched_node n = box(s, "a", 4, "H100", 80 * GT_GIB);
	const struct gt_sched_want two = { .gpus = 2 };
	const struct gt_sched_want half = { .gpus = 1, .gpu_milli = 500 };
	const struct gt_sched_want memory = { .gpus = 1, .gpu_bytes = 20 * GT_GIB };
	struct gt_sched_spot a, b, c, d, e;
	struct gt_sched_usage u;

	(void)state;
	add(s, 0, &n);
	assert_int_equal(placed(s, &two, &a), 0);
	assert_int_equal(a.gpu_mask, 3);
	assert_int_equal(placed(s, &half, &b), 0);
	assert_int_equal(placed(s, &memory, &c), 0);
	assert_int_equal(b.gpu_mask, c.gpu_mask);
	assert_int_equal(c.gpu_milli, 250);
	assert_int_equal(c.gpu_mib, 20 * 1024);
	assert_int_equal(placed(s, &two, &d), -1);
	assert_refused(s, &two,
		       "needs 2 GPUs: of 1 node, 1 has too few free (most: 1 on node a); stop "
		       "replicas or lower resources.gpu");
	gt_sched_release(s, &a);
	assert_int_equal(placed(s, &two, &d), 0);
	assert_int_equal(d.gpu_mask, 3);
	assert_int_equal(placed(s, &half, &e), 0);
	gt_sched_release(s, &b);
	gt_sched_release(s, &b); /* a second time: nothing */
	assert_int_equal(gt_sched_usage(s, 0, &u), 0);
	assert_int_equal(u.replicas, 3);
	assert_int_equal(u.gpu_milli[0], 1000);
	assert_int_equal(u.gpu_bytes[1], 80 * GT_GIB);
	assert_int_equal(gt_sched_gpu_milli_taken(s), 2000 + 250 + 500);
	gt_sched_release(s, &c);
	gt_sched_release(s, &d);
	gt_sched_release(s, &e);
	assert_int_equal(gt_sched_gpu_milli_taken(s), 0);
	assert_int_equal(gt_sched_usage(s, 0, &u), 0);
	for (size_t i = 0; i < 4; i++)
		assert_true(u.gpu_milli[i] == 0 && u.gpu_bytes[i] == 0);
}

static void thousandths_and_bytes_are_two_limits(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	const struct gt_sched_node n = box(s, "a", 1, "H100", 80 * GT_GIB);
	const struct gt_sched_want wide = { .gpus = 1, .gpu_milli = 100, .gpu_bytes = 50 * GT_GIB };
	const struct gt_sched_want fast = { .gpus = 1, .gpu_milli = 800, .gpu_bytes = 20 * GT_GIB };

	(void)state;
	add(s, 0, &n);
	assert_int_equal(placed(s, &wide, NULL), 0);
	assert_int_equal(placed(s, &wide, NULL), -1); /* bytes */
	assert_int_equal(placed(s, &fast, NULL), 0);
	assert_int_equal(placed(s, &fast, NULL), -1); /* thousandths */
}

static void models_in_order_of_preference(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	const struct gt_sched_node a = box(s, "a", 1, "A100", 40 * GT_GIB);
	const struct gt_sched_node b = box(s, "b", 1, "H100", 80 * GT_GIB);
	struct gt_sched_node c = box(s, "c", 1, "T4", 16 * GT_GIB);
	struct gt_sched_want want = { .gpus = 1,
				      .n_models = 2,
				      .models = { model(s, "H100"), model(s, "A100") } };
	struct gt_sched_spot spot;

	(void)state;
	add(s, 0, &a);
	add(s, 1, &b);
	add(s, 2, &c);
	assert_int_equal(placed(s, &want, &spot), 1);
	gt_sched_release(s, &spot);
	want.models_equal = true;
	assert_int_equal(placed(s, &want, NULL), 0);
	want.models_equal = false;
	assert_int_equal(placed(s, &want, NULL), 1);
	assert_refused(s, &want,
		       "needs 1 GPU, model H100 or A100: of 3 nodes, 1 has no GPU of the models, 2 "
		       "have too few free (most: 0 on node a)");
	want.gpu_bytes = 60 * GT_GIB;
	assert_refused(s, &want, "1 has too few such GPUs (most: 0 on node a)");
	want = (struct gt_sched_want){ .gpus = 1 };
	c.gpus[0].broken = true;
	add(s, 2, &c);
	assert_int_equal(placed(s, &want, NULL), -1);
	c.gpus[0].broken = false;
	add(s, 2, &c);
	assert_int_equal(placed(s, &want, NULL), 2);
}

static void gpus_of_one_replica_are_alike(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	struct gt_sched_node n = box(s, "a", 4, "H100", 80 * GT_GIB);
	const struct gt_sched_want two = { .gpus = 2 };
	struct gt_sched_spot spot;

	(void)state;
	n.gpus[0].model = n.gpus[2].model = model(s, "L4");
	n.gpus[3].vram_bytes = 94 * GT_GIB;
	add(s, 0, &n);
	assert_int_equal(placed(s, &two, &spot), 0);
	assert_int_equal(spot.gpu_mask, 5);
	assert_int_equal(placed(s, &two, NULL), -1);
}

static void labels_and_exclusive_nodes(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&daemons);
	struct gt_sched_node n = box(s, "a", 0, "", 0);
	struct gt_sched_want want = { .n_labels = 2,
				      .labels = { label(s, "zone=b"), label(s, "disk=fast") } };
	const struct gt_sched_want shared = { 0 };
	struct gt_sched_want alone = { .exclusive = true, .owner = 9 };
	struct gt_sched_spot first, second;

	(void)state;
	n.n_labels = 2;
	n.labels[0] = label(s, "zone=a");
	n.labels[1] = label(s, "disk=fast");
	add(s, 0, &n);
	assert_refused(s, &want, "1 lacks a label");
	n.labels[0] = label(s, "zone=b");
	add(s, 1, &n);
	assert_int_equal(placed(s, &want, &first), 1);
	assert_int_equal(placed(s, &alone, &second), 0);
	assert_int_equal(placed(s, &shared, NULL), 1);
	assert_int_equal(placed(s, &alone, NULL), 0); /* its own node */
	alone.owner = 8;
	assert_refused(s, &alone, "2 are in use by others");
	gt_sched_node_remove(s, 1);
	assert_int_equal(placed(s, &shared, NULL), -1);
}

/* ---- more than room ---- */
static void time_to_ready_is_worth_fragmentation(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	const struct gt_sched_node n = box(s, "a", 8, "H100", 0);
	struct gt_sched_want want = { .gpus = 1, .usual_ms = 20000, .function = 1 };
	const struct gt_sched_hint near = { .node = 2, .ms = 3000 };
	const struct gt_sched_hint bad = { .node = 0, .ms = 60000 };

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		add(s, i, &n);
	assert_int_equal(placed(s, &want, NULL), 0);
	assert_int_equal(placed(s, &want, NULL), 1); /* spread */
	want.hints = &near;
	want.n_hints = 1;
	assert_int_equal(placed(s, &want, NULL), 2);
	assert_int_equal(placed(s, &want, NULL), 2); /* 17 s are worth more than spreading */
	want.hints = &bad;
	want.function = 0;
	assert_int_equal(placed(s, &want, NULL), 1);
}

static void a_gang_is_placed_whole_or_not_at_all(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	const struct gt_sched_node n = box(s, "a", 4, "H100", 0);
	struct gt_sched_want gang[5];
	struct gt_sched_spot spots[5];
	struct gt_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < 5; i++)
		gang[i] = (struct gt_sched_want){ .gpus = i == 3 ? 4 : 1, .function = 3 };
	add(s, 0, &n);
	assert_int_equal(gt_sched_place_gang(s, gang, 5, GT_SCHED_ANYWHERE, spots, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "a gang of 5, of which 1 could be placed: needs 1 GPU"));
	assert_int_equal(gt_sched_gpu_milli_taken(s), 0);
	add(s, 1, &n);
	assert_int_equal(gt_sched_place_gang(s, gang, 5, GT_SCHED_ANYWHERE, spots, &err), 0);
	assert_int_equal(gt_sched_gpu_milli_taken(s), 8000);
	assert_int_equal(spots[3].gpu_mask, 15);
	assert_int_equal(gt_sched_place_gang(s, gang, 0, GT_SCHED_ANYWHERE, spots, &err), -EINVAL);
}

static void a_gang_apart_has_a_node_for_each(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	const struct gt_sched_node n = box(s, "a", 8, "H100", 0);
	const struct gt_sched_want gang[3] = { { .gpus = 2 }, { .gpus = 2 }, { .gpus = 2 } };
	struct gt_sched_spot spots[3];
	struct gt_err err = { 0 };

	(void)state;
	add(s, 0, &n);
	add(s, 1, &n);
	assert_int_equal(gt_sched_place_gang(s, gang, 3, GT_SCHED_APART, spots, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "2 have a member of the gang"));
	assert_int_equal(gt_sched_gpu_milli_taken(s), 0);
	add(s, 2, &n);
	assert_int_equal(gt_sched_place_gang(s, gang, 3, GT_SCHED_APART, spots, &err), 0);
	assert_int_equal(1u << spots[0].node | 1u << spots[1].node | 1u << spots[2].node, 7);
	/* The next one finds the nodes open again. */
	assert_int_equal(gt_sched_place_gang(s, gang, 3, GT_SCHED_APART, spots, &err), 0);
	assert_int_equal(gt_sched_gpu_milli_taken(s), 12000);
}

static void a_gang_together_shares_one_node(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	const struct gt_sched_node n = box(s, "a", 4, "H100", 0);
	const struct gt_sched_want gang[3] = { { .gpus = 1 }, { .gpus = 1 }, { .gpus = 1 } };
	const struct gt_sched_want one = { .gpus = 2 };
	struct gt_sched_spot spots[3], spot;
	struct gt_err err = { 0 };

	(void)state;
	add(s, 0, &n);
	assert_int_equal(gt_sched_place(s, &one, &spot, &err), 0);
	assert_int_equal(gt_sched_place_gang(s, gang, 3, GT_SCHED_TOGETHER, spots, &err), -ENOSPC);
	assert_int_equal(gt_sched_gpu_milli_taken(s), 2000);
	add(s, 1, &n);
	assert_int_equal(gt_sched_place_gang(s, gang, 3, GT_SCHED_TOGETHER, spots, &err), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(spots[i].node, 1);
	assert_int_equal(spots[0].gpu_mask | spots[1].gpu_mask | spots[2].gpu_mask, 7);
	assert_int_equal(gt_sched_gpu_milli_taken(s), 5000);
	gt_sched_release(s, &spots[1]);
	assert_int_equal(gt_sched_gpu_milli_taken(s), 4000);
}

static void what_was_there_before_is_booked(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	const struct gt_sched_node n = box(s, "a", 2, "H100", 80 * GT_GIB);
	const struct gt_sched_want want = { .gpus = 1, .gpu_milli = 600, .cpu_milli = 100000 };
	struct gt_sched_spot spot, again;
	struct gt_err err = { 0 };

	(void)state;
	add(s, 0, &n);
	assert_int_equal(gt_sched_book(s, &want, 0, 2, &spot, &err), 0); /* cpu: over the limit */
	assert_int_equal(gt_sched_book(s, &want, 0, 2, &again, &err), -EBUSY);
	assert_string_equal(err.slug, "gpu_taken");
	assert_int_equal(gt_sched_book(s, &want, 0, 3, &again, &err), -EINVAL);
	assert_int_equal(gt_sched_book(s, &want, 0, 4, &again, &err), -EINVAL);
	assert_int_equal(gt_sched_book(s, &want, 1, 1, &again, &err), -ENOENT);
	assert_int_equal(gt_sched_gpu_milli_taken(s), 600);
	gt_sched_node_remove(s, 0);
	assert_int_equal(gt_sched_gpu_milli_taken(s), 0);
	add(s, 0, &n);
	gt_sched_release(s, &spot); /* of a node that was another one */
	assert_int_equal(gt_sched_gpu_milli_taken(s), 0);
}

/* Others took memory meanwhile: whoever is there has its time of the GPU, and nobody comes there.
 */
static void what_is_there_needs_no_room(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	const struct gt_sched_node n = box(s, "a", 1, "H100", 30 * GT_GIB);
	struct gt_sched_want half = { .gpus = 1, .gpu_milli = 500, .gpu_bytes = 40 * GT_GIB };
	const struct gt_sched_want quarter = { .gpus = 1,
					       .gpu_milli = 250,
					       .gpu_bytes = 20 * GT_GIB };
	const struct gt_sched_want some = { .gpus = 1, .gpu_milli = 100, .gpu_bytes = GT_MIB };
	struct gt_sched_spot a, b, c;
	struct gt_sched_usage usage;

	(void)state;
	add(s, 0, &n);
	assert_int_equal(gt_sched_book(s, &quarter, 0, 1, &a, NULL), 0);
	assert_int_equal(gt_sched_book(s, &half, 0, 1, &b, NULL), -EBUSY); /* it comes back, say */
	half.is_there = true;
	assert_int_equal(gt_sched_book(s, &half, 0, 1, &b, NULL), 0);
	assert_int_equal(a.gpu_mib + b.gpu_mib, 30 * 1024);
	assert_int_equal(gt_sched_usage(s, 0, &usage), 0);
	assert_int_equal(usage.gpu_milli[0], 750);
	assert_int_equal(gt_sched_place(s, &some, &c, NULL), -ENOSPC);
	assert_int_equal(gt_sched_book(s, &half, 0, 1, &c, NULL), -EBUSY);
	gt_sched_release(s, &a);
	gt_sched_release(s, &b);
	assert_int_equal(gt_sched_place(s, &some, &c, NULL), 0);
}

static void a_rare_model_is_kept_for_those_that_need_it(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	const struct gt_sched_node rare = box(s, "rare", 2, "T4", 0);
	const struct gt_sched_node common = box(s, "common", 2, "G2", 0);
	struct gt_sched_task mix[2] = {
		{ .want = { .gpus = 1, .n_models = 1, .models = { model(s, "T4") } }, .weight = 3 },
		{ .want = { .gpus = 1 }, .weight = 1 },
	};

	(void)state;
	add(s, 0, &rare);
	add(s, 1, &common);
	assert_int_equal(placed(s, &mix[1].want, NULL), 0);
	assert_int_equal(gt_sched_mix(s, mix, 2, NULL), 0);
	assert_int_equal(placed(s, &mix[1].want, NULL), 1);
	assert_int_equal(placed(s, &mix[0].want, NULL), 0);
}

static void what_is_placed_is_what_is_expected(void **state)
{
	const struct gt_sched_config learns = { .learn = true };
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&learns);
	const struct gt_sched_node a = box(s, "a", 4, "G2", 0), b = box(s, "b", 2, "G2", 0);
	const struct gt_sched_want four = { .gpus = 4 }, one = { .gpus = 1 };
	struct gt_sched_spot spot;

	(void)state;
	add(s, 0, &a);
	add(s, 1, &b);
	assert_int_equal(placed(s, &one, &spot), 0); /* nothing is known: the first */
	gt_sched_release(s, &spot);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(placed(s, &four, &spot), 0);
		gt_sched_release(s, &spot);
	}
	assert_int_equal(placed(s, &one, NULL), 1); /* four together are worth keeping */
}

static void a_look_says_who_else_and_who_not(void **state)
{
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	struct gt_sched_hint hint = { .node = 1, .ms = 1000 };
	struct gt_sched_want want = { .memory_bytes = GT_GIB, .gpus = 2, .function = 7 };
	struct gt_sched_spot spot;
	struct gt_sched_look look;

	(void)state;
	for (uint32_t i = 0; i < 10; i++) {
		struct gt_sched_node n = box(s, "n", i == 8 ? 1 : 4, "A100", 0);

		n.state = i == 6 ? GT_SCHED_DOWN : i == 7 ? GT_SCHED_CORDONED : GT_SCHED_UP;
		if (i == 9)
			n.memory_bytes = GT_MIB;
		add(s, i, &n);
	}
	assert_int_equal(placed(s, &want, &spot), 0);
	want.hints = &hint;
	want.n_hints = 1;
	want.usual_ms = 4000;
	gt_sched_look(s, &want, &look);
	assert_int_equal(look.n_best, GT_SCHED_BEST_MAX);
	assert_int_equal(look.best[0].node, 1);
	assert_int_equal(look.best[0].ready, 10);
	assert_int_equal(look.best[1].node, 2);
	assert_int_equal(look.best[1].ready, 0);
	assert_int_equal(look.best[3].node, 4); /* node 0 has one of the function */
	assert_int_equal(look.looked, 10);
	assert_int_equal(look.refused[GT_SCHED_LIMIT_DOWN], 1);
	assert_int_equal(look.refused[GT_SCHED_LIMIT_CORDONED], 1);
	assert_int_equal(look.refused[GT_SCHED_LIMIT_SIZE], 1);
	assert_int_equal(look.refused[GT_SCHED_LIMIT_MEMORY], 1);
	assert_int_equal(placed(s, &want, &spot), 1);
	want.gpus = 4;
	gt_sched_look(s, &want, &look);
	assert_int_equal(look.refused[GT_SCHED_LIMIT_GPUS], 2);
	assert_string_equal(gt_sched_limit_name(GT_SCHED_LIMIT_GPUS), "gpus");
	want.gpus = GT_SCHED_GPUS_MAX + 1;
	gt_sched_look(s, &want, &look);
	assert_int_equal(look.looked + look.n_best, 0);
}

static void wants_have_bounds(void **state)
{
	static const struct gt_sched_want bad[] = {
		{ .gpus = 17 },
		{ .gpus = 1, .gpu_milli = 1001 },
		{ .gpus = 1, .gpu_bytes = GT_SCHED_GPU_BYTES_MAX + 1 },
		{ .cpu_milli = UINT32_MAX },
		{ .n_models = 9 },
		{ .n_labels = 9 },
		{ .n_hints = 65 },
		{ .n_models = 1, .models = { 64 } },
	};
	gt_auto(sched) struct gt_sched *s = gt_sched_new(&plain);
	struct gt_sched_node n = box(s, "a", 1, "T4", 0);
	struct gt_sched_spot spot;

	(void)state;
	add(s, 0, &n);
	for (size_t i = 0; i < GT_LEN(bad); i++)
		assert_int_equal(gt_sched_place(s, &bad[i], &spot, NULL), -EINVAL);
	n.n_gpus = 17;
	assert_int_equal(gt_sched_node_set(s, 0, &n, NULL), -E2BIG);
	assert_int_equal(gt_sched_node_set(s, GT_SCHED_NODES_MAX, &n, NULL), -E2BIG);
	n.n_gpus = 5;
	for (size_t i = 0; i < 5; i++)
		n.gpus[i].vram_bytes = (i + 1) * GT_GIB;
	assert_int_equal(gt_sched_node_set(s, 0, &n, NULL), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(several_gpus_are_near_to_each_other),
		cmocka_unit_test(gpus_that_are_near_to_none_are_taken_in_order),
		cmocka_unit_test(a_gang_on_one_node_is_near_together),
		cmocka_unit_test(a_small_machine_takes_many_default_functions),
		cmocka_unit_test(an_unknown_size_is_never_full),
		cmocka_unit_test(only_nodes_that_are_up_take_new_ones),
		cmocka_unit_test(the_emptiest_node_and_other_nodes_first),
		cmocka_unit_test(gpus_are_taken_and_given_back_to_the_slot),
		cmocka_unit_test(thousandths_and_bytes_are_two_limits),
		cmocka_unit_test(models_in_order_of_preference),
		cmocka_unit_test(gpus_of_one_replica_are_alike),
		cmocka_unit_test(labels_and_exclusive_nodes),
		cmocka_unit_test(time_to_ready_is_worth_fragmentation),
		cmocka_unit_test(a_gang_is_placed_whole_or_not_at_all),
		cmocka_unit_test(a_gang_apart_has_a_node_for_each),
		cmocka_unit_test(a_gang_together_shares_one_node),
		cmocka_unit_test(what_was_there_before_is_booked),
		cmocka_unit_test(what_is_there_needs_no_room),
		cmocka_unit_test(a_rare_model_is_kept_for_those_that_need_it),
		cmocka_unit_test(what_is_placed_is_what_is_expected),
		cmocka_unit_test(a_look_says_who_else_and_who_not),
		cmocka_unit_test(wants_have_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
