/* test_gpu.c - simulated GPUs by configuration, and the ledger of who has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/clock.h>
#include <gantry/gpu/gpu.h>
#include <gantry/gpu/ledger.h>

static struct gt_gpus *opened(struct gt_loop *loop, const char *config)
{
	const struct gt_gpus_config gc = { .gpus = config, .node = "n1" };
	struct gt_gpus *g = NULL;
	struct gt_err err = { 0 };

	if (gt_gpus_open(loop, &gc, &g, &err) < 0)
		fail_msg("%s", err.text);
	return g;
}

static void configurations_are_read(void **state)
{
	static const char *const none[] = { NULL, "", "none" };
	struct gt_loop *loop = gt_loop_new_virtual(&gt_clock_system);
	struct gt_gpus *g = opened(loop, "sim:2x80GiB:NVIDIA H100 80GB,1x24GiB,script=/x/y");
	struct gt_err err = { 0 };
	const struct gt_gpu *list;

	(void)state;
	assert_int_equal(gt_gpus_list(g, &list), 3);
	assert_string_equal(list[0].uuid, "SIM-n1-0");
	assert_string_equal(list[1].model, "NVIDIA H100 80GB");
	assert_int_equal(list[1].memory_bytes, 80 * GT_GIB);
	assert_int_equal(list[1].backend, GT_GPU_SIM);
	assert_int_equal(list[1].minor, -1);
	assert_true(gt_gpu_healthy(&list[1]));
	assert_string_equal(list[2].model, "simulated");
	assert_int_equal(list[2].memory_bytes, 24 * GT_GIB);
	assert_ptr_equal(gt_gpus_find(g, "SIM-n1-2"), &list[2]);
	assert_null(gt_gpus_find(g, "SIM-n1-3"));
	assert_false(gt_gpu_is_real(&list[0]));
	assert_null(gt_gpus_helper(g));
	assert_int_equal(gt_gpus_driver(g)->state, GT_GPU_DRIVER_READY);
	gt_gpus_close(g);
	for (size_t i = 0; i < GT_LEN(none); i++) {
		g = opened(loop, none[i]);
		assert_int_equal(gt_gpus_list(g, &list), 0);
		assert_true(gt_gpus_known(g));
		assert_int_equal(gt_gpus_driver(g)->state, GT_GPU_DRIVER_NONE);
		gt_gpus_close(g);
	}
	gt_loop_free(loop);
	assert_int_equal(gt_gpus_check("sim:16x1MiB", &err), 0);
	assert_int_equal(gt_gpus_check("auto", &err), 0);
	assert_int_equal(gt_gpus_check("nvidia", &err), 0);
	assert_int_equal(gt_gpus_check("fake:/lib/doubles,/etc/gpus.json", &err), 0);
}

static void mistakes_in_a_configuration_are_named(void **state)
{
	static const struct {
		const char *config, *words;
	} rows[] = {
		{ "automatic", "\"automatic\" is no source of GPUs; write auto, none, nvidia" },
		{ "nvidia:0", "\"nvidia:0\" is no source" },
		{ "fake:", "write fake:DIR or fake:DIR,FILE with absolute paths" },
		{ "fake:lib", "with absolute paths" },
		{ "fake:/lib,x", "with absolute paths" },
		{ "sim:1x1GiB,script=x", "the script is no absolute path" },
		{ "sim:script=/x", "no GPU in it" },
		{ "sim", "no GPU in it" },
		{ "sim:", "no GPU in it" },
		{ "simx:1x1GiB", "\"simx:1x1GiB\" is no source" },
		{ "sim:80GiB", "there is no count" },
		{ "sim:0x80GiB", "the count is none of 1 to 16" },
		{ "sim:17x80GiB", "the count is none of 1 to 16" },
		{ "sim:-1x80GiB", "the count is none of 1 to 16" },
		{ "sim:9x80GiB,8x80GiB", "more than 16 GPUs" },
		{ "sim:1x80", "the size is none of" },
		{ "sim:1x80Gib", "the size is none of" },
		{ "sim:1x2TiB", "the size is none of" },
		{ "sim:1x80GiB:", "no name of a model" },
		{ "sim:1x80GiB:a:b", "no name of a model" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		struct gt_err err = { 0 };

		assert_int_equal(gt_gpus_check(rows[i].config, &err), -EINVAL);
		assert_string_equal(err.slug, "bad_gpus");
		if (!strstr(err.text, rows[i].words))
			fail_msg("%s: \"%s\"", rows[i].config, err.text);
	}
}

static const struct gt_gpu two[] = {
	{ .uuid = "a", .memory_bytes = 80 * GT_GIB },
	{ .uuid = "b", .memory_bytes = 80 * GT_GIB },
};

static int take(struct gt_gpu_ledger *l, const char *holder, const struct gt_gpu_grant *grants,
		size_t n)
{
	struct gt_err err = { 0 };
	int r = gt_gpu_ledger_take(l, two, GT_LEN(two), holder, grants, n, &err);

	assert_true(r == 0 || (strcmp(err.slug, "gpu_conflict") == 0 && err.text[0]));
	return r;
}

static void a_gpu_is_given_once(void **state)
{
	const struct gt_gpu_grant a = { "a", GT_GPU_WHOLE, 80 * GT_GIB };
	const struct gt_gpu_grant both[] = { { "b", GT_GPU_WHOLE, GT_GIB },
					     { "a", GT_GPU_WHOLE, GT_GIB } };
	const struct gt_gpu_grant twice[] = { { "b", 500, 0 }, { "b", 600, 0 } };
	const struct gt_gpu_grant other = { "c", 100, 0 }, nothing = { "a", 0, 0 };
	struct gt_gpu_ledger *l = gt_gpu_ledger_new();

	(void)state;
	assert_int_equal(take(l, "x", &a, 1), 0);
	assert_int_equal(take(l, "y", &a, 1), -EBUSY);
	assert_int_equal(take(l, "y", both, 2), -EBUSY); /* and b was not taken for it */
	assert_int_equal(take(l, "y", twice, 2), -EBUSY);
	assert_int_equal(take(l, "y", both, 1), 0);
	assert_int_equal(take(l, "z", &other, 1), -ENOENT);
	gt_gpu_ledger_give_back(l, "x");
	gt_gpu_ledger_give_back(l, "nobody");
	assert_int_equal(take(l, "z", &nothing, 1), -EBUSY);
	assert_int_equal(take(l, "z", both, 2), -EBUSY); /* y has b */
	assert_int_equal(take(l, "z", &both[1], 1), 0);
	gt_gpu_ledger_free(l);
}

/* What a replica has that runs is its, also before the driver has told of the GPU. */
static void what_was_found_is_kept(void **state)
{
	const struct gt_gpu_grant a = { "a", GT_GPU_WHOLE, 80 * GT_GIB }, gone = { "c", 500, 0 };
	struct gt_gpu_ledger *l = gt_gpu_ledger_new();

	(void)state;
	gt_gpu_ledger_keep(l, "x", &a, 1);
	gt_gpu_ledger_keep(l, "y", &gone, 1);
	assert_int_equal(take(l, "z", &a, 1), -EBUSY);
	gt_gpu_ledger_give_back(l, "x");
	assert_int_equal(take(l, "z", &a, 1), 0);
	gt_gpu_ledger_free(l);
}

static void shares_and_bytes_are_both_bounds(void **state)
{
	const struct gt_gpu_grant half = { "a", 500, 40 * GT_GIB }, little = { "a", 10, GT_MIB };
	const struct gt_gpu_grant much = { "a", 100, 60 * GT_GIB };
	struct gt_gpu_ledger *l = gt_gpu_ledger_new();

	(void)state;
	assert_int_equal(take(l, "x", &half, 1), 0);
	assert_int_equal(take(l, "y", &much, 1), -EBUSY);
	assert_int_equal(take(l, "y", &half, 1), 0);
	assert_int_equal(take(l, "z", &little, 1), -EBUSY);
	gt_gpu_ledger_give_back(l, "x");
	assert_int_equal(take(l, "z", &little, 1), 0);
	gt_gpu_ledger_free(l);
}

/* Whatever is taken and given back in whatever order: never more than there is. */
static void nothing_is_given_twice_in_any_order(void **state)
{
	enum { HOLDERS = 12, STEPS = 20000 };
	struct gt_gpu_grant held[HOLDERS] = { 0 };
	struct gt_gpu_ledger *l = gt_gpu_ledger_new();
	uint64_t seed = 20240817;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (unsigned step = 0; step < STEPS; step++) {
		uint64_t milli[2] = { 0 }, bytes[2] = { 0 };
		unsigned who, gpu;
		char name[8];

		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		who = (unsigned)(seed >> 33) % HOLDERS;
		gpu = (unsigned)(seed >> 40) % 2;
		snprintf(name, sizeof(name), "h%u", who);
		if (held[who].milli) {
			gt_gpu_ledger_give_back(l, name);
			held[who].milli = 0;
			continue;
		}
		struct gt_gpu_grant g = { .milli = (uint32_t)(seed >> 20) % GT_GPU_WHOLE + 1,
					  .memory_bytes = (seed >> 12) % (80 * GT_GIB) };

		gt_strcopy(g.uuid, sizeof(g.uuid), two[gpu].uuid);
		for (unsigned i = 0; i < HOLDERS; i++) {
			unsigned at = held[i].milli && held[i].uuid[0] == 'b';

			milli[at] += held[i].milli;
			bytes[at] += held[i].milli ? held[i].memory_bytes : 0;
		}
		bool room = milli[gpu] + g.milli <= GT_GPU_WHOLE &&
			    bytes[gpu] + g.memory_bytes <= 80 * GT_GIB;

		assert_int_equal(take(l, name, &g, 1), room ? 0 : -EBUSY);
		if (room)
			held[who] = g;
	}
	gt_gpu_ledger_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configurations_are_read),
		cmocka_unit_test(mistakes_in_a_configuration_are_named),
		cmocka_unit_test(a_gpu_is_given_once),
		cmocka_unit_test(what_was_found_is_kept),
		cmocka_unit_test(shares_and_bytes_are_both_bounds),
		cmocka_unit_test(nothing_is_given_twice_in_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
