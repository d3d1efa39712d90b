/* test_model.c - state moves, names, the problem table, checks of a specification. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/model/image.h>
#include <gantry/model/msg.h>
#include <gantry/model/problem.h>
#include <gantry/model/task.h>
#include <gantry/model/usage.h>

/* Rows: from; columns: to, in the order of the enum. */
static const char *const moves[GT_REPLICA_N] = {
	[GT_REPLICA_PENDING] = "1111010111",   [GT_REPLICA_PULLING] = "0111000111",
	[GT_REPLICA_STARTING] = "0011010111",  [GT_REPLICA_READY] = "0001100111",
	[GT_REPLICA_PARKING] = "0001111111",   [GT_REPLICA_PARKED] = "0001011111",
	[GT_REPLICA_UNPARKING] = "0001001111", [GT_REPLICA_DRAINING] = "0000000111",
	[GT_REPLICA_STOPPED] = "0000000010",   [GT_REPLICA_FAILED] = "0000000001",
};

static void replica_moves_follow_the_table(void **state)
{
	(void)state;
	for (unsigned from = 0; from < GT_REPLICA_N; from++)
		for (unsigned to = 0; to < GT_REPLICA_N; to++)
			assert_int_equal(gt_replica_state_may(from, to), moves[from][to] == '1');
	assert_false(gt_replica_state_may(GT_REPLICA_N, GT_REPLICA_READY));
	assert_false(gt_replica_state_may(GT_REPLICA_READY, GT_REPLICA_N));

	enum gt_replica_state s = GT_REPLICA_PENDING;

	gt_replica_state_move(&s, GT_REPLICA_READY);
	assert_int_equal(s, GT_REPLICA_READY);
}

static void an_illegal_move_aborts(void **state)
{
	(void)state;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		enum gt_replica_state s = GT_REPLICA_STOPPED;

		signal(SIGABRT, SIG_DFL);
		close(STDERR_FILENO);
		gt_replica_state_move(&s, GT_REPLICA_READY);
		_exit(0);
	}
	int status = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void state_names_round_trip(void **state)
{
	(void)state;
	for (unsigned i = 0; i < GT_REPLICA_N; i++) {
		enum gt_replica_state s = GT_REPLICA_N;

		assert_int_equal(gt_replica_state_parse(gt_replica_state_name(i), &s), 0);
		assert_int_equal(s, i);
		assert_int_equal(gt_replica_state_ended(i),
				 i == GT_REPLICA_STOPPED || i == GT_REPLICA_FAILED);
	}
	enum gt_replica_state s = GT_REPLICA_READY;

	assert_int_equal(gt_replica_state_parse("Ready", &s), -EINVAL);
	assert_int_equal(gt_replica_state_parse(NULL, &s), -EINVAL);
	assert_int_equal(s, GT_REPLICA_READY);
}

static void names_have_one_alphabet(void **state)
{
	(void)state;
	char longest[GT_NAME_MAX + 2];

	memset(longest, 'a', sizeof(longest));
	longest[GT_NAME_MAX] = '\0';
	assert_true(gt_name_ok(longest));
	longest[GT_NAME_MAX] = 'a';
	longest[GT_NAME_MAX + 1] = '\0';
	assert_false(gt_name_ok(longest));
	static const char *const good[] = { "a", "7", "echo", "my-fn-2", "a--b" };
	static const char *const bad[] = { "",    "-a",  "a-",  "A",        "a_b",
					   "a.b", "a/b", "a b", "\xc3\xa9", "a\n" };

	for (size_t i = 0; i < GT_LEN(good); i++)
		assert_true(gt_name_ok(good[i]));
	for (size_t i = 0; i < GT_LEN(bad); i++)
		assert_false(gt_name_ok(bad[i]));
	assert_false(gt_name_ok(NULL));
}

static void every_problem_is_found_and_fits_an_error(void **state)
{
	(void)state;
	struct gt_err err = { 0 };

	assert_true(gt_problem_kinds_n > 30);
	for (size_t i = 0; i < gt_problem_kinds_n; i++) {
		const struct gt_problem_kind *k = &gt_problem_kinds[i];

		assert_ptr_equal(gt_problem_kind(k->slug), k); /* and so none stands twice */
		assert_true(strlen(k->slug) < sizeof(err.slug));
		assert_in_range(k->status, 400, 599);
		assert_true(k->title[0]);
	}
	assert_null(gt_problem_kind("no_such_slug"));
	assert_null(gt_problem_kind(NULL));
	gt_err_set(&err, EBUSY, "queue_full", "full");
	assert_string_equal(gt_problem_of(&err)->slug, "queue_full");
	gt_err_errno(&err, EIO, "read");
	assert_string_equal(gt_problem_of(&err)->slug, "internal");
	assert_string_equal(gt_problem_of(NULL)->slug, "internal");
}

static struct gt_spec *small_spec(const char *image)
{
	struct gt_spec *spec = gt_spec_new();

	spec->image = gt_strdup(image);
	spec->command = gt_alloc_array(2, sizeof(*spec->command));
	spec->command[0] = gt_strdup("/echo");
	spec->n_command = 1;
	spec->port = 8000;
	return spec;
}

static void images_are_read_and_normalised(void **state)
{
	(void)state;
	static const struct {
		const char *image;
		enum gt_image_kind kind;
		const char *path;
	} good[] = {
		{ "dir:/srv/app", GT_IMAGE_DIR, "/srv/app" },
		{ "dir://srv/./app//", GT_IMAGE_DIR, "/srv/app" },
		{ "dir:/srv/..app", GT_IMAGE_DIR, "/srv/..app" },
		{ "host:", GT_IMAGE_HOST, NULL },
	};

	for (size_t i = 0; i < GT_LEN(good); i++) {
		gt_auto(spec) struct gt_spec *spec = small_spec(good[i].image);
		struct gt_err err = { 0 };

		assert_int_equal(gt_spec_check(spec, &err), 0);
		assert_int_equal(gt_spec_check(spec, &err), 0); /* again: nothing leaks */
		assert_int_equal(spec->image_kind, good[i].kind);
		assert_true(gt_streq(spec->image_path, good[i].path));
	}
	static const char *const bad[] = { "dir:srv", "dir:/", "dir:/.", "dir:/a/../b", "host:/",
					   "nginx:1", "",      "dir:",   "dir:/a\nb" };

	for (size_t i = 0; i < GT_LEN(bad); i++) {
		gt_auto(spec) struct gt_spec *spec = small_spec(bad[i]);
		struct gt_err err = { 0 };

		assert_int_equal(gt_spec_check(spec, &err), -EINVAL);
		assert_string_equal(err.slug, "invalid_spec");
		assert_string_equal(err.path, "image");
		assert_non_null(strstr(err.text, "image: "));
	}
}

static void an_empty_spec_misses_its_image_first(void **state)
{
	(void)state;
	gt_auto(spec) struct gt_spec *spec = gt_spec_new();
	struct gt_err err = { 0 };

	assert_int_equal(gt_spec_check(spec, &err), -EINVAL);
	assert_string_equal(err.path, "image");
	assert_int_equal(gt_spec_check(spec, NULL), -EINVAL);
}

static void an_end_is_copied_deep(void **state)
{
	(void)state;
	struct gt_end a = { .cause = "exited", .exit_code = 3, .log_tail = gt_strdup("x\ny") };
	struct gt_end b = { 0 };

	gt_end_copy(&b, &a);
	gt_end_fini(&a);
	gt_end_fini(&a);
	assert_string_equal(b.log_tail, "x\ny");
	assert_int_equal(b.exit_code, 3);
	gt_end_fini(&b);
}

static void signals_have_names_and_numbers(void **state)
{
	static const struct {
		const char *name;
		int signo;
	} rows[] = {
		{ "TERM", SIGTERM },  { "SIGQUIT", SIGQUIT }, { "15", 15 },
		{ "SIGRTMIN+3", 37 }, { "RTMAX-1", 63 },      { "SIGRTMAX", 64 },
		{ "RTMIN", 34 },      { "SIGNONE", 0 },       { "", 0 },
		{ "99", 0 },          { "RTMIN-1", 0 },       { "RTMIN+31", 0 },
		{ "term", 0 },        { "SIGSIGTERM", 0 },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++)
		assert_int_equal(gt_signal_parse(rows[i].name), rows[i].signo);
}

static void use_is_told_when_it_moved(void **state)
{
	const struct gt_usage then = { .has = GT_USAGE_ALL,
				       .memory_bytes = 50 * GT_MIB,
				       .cpu_us = 1000000,
				       .pids = 3,
				       .io = { .some_avg10_centi = 70 } };
	struct gt_usage now = then;

	(void)state;
	assert_false(gt_usage_moved(&then, &now));
	/* An idle runtime's ticks are not; their sum is. */
	now.cpu_us += 49999;
	now.memory_bytes -= GT_MIB - 1;
	now.io.some_avg10_centi += 99;
	assert_false(gt_usage_moved(&then, &now));
	now.cpu_us++;
	assert_true(gt_usage_moved(&then, &now));
	now = then;
	now.memory_bytes -= GT_MIB;
	assert_true(gt_usage_moved(&then, &now));
	now = then;
	now.io.some_avg10_centi = 0; /* the end of it */
	assert_true(gt_usage_moved(&then, &now));
	now = then;
	now.oom_kills++;
	assert_true(gt_usage_moved(&then, &now));
	now = then;
	now.has &= ~(unsigned)GT_USAGE_IO;
	assert_true(gt_usage_moved(&then, &now));
}

static void usage_since_another_container(void **state)
{
	const struct gt_usage before = { .has = GT_USAGE_ALL,
					 .memory_bytes = 9,
					 .memory_peak_bytes = 100,
					 .cpu_us = 1000,
					 .io_reads = 5,
					 .cpu = { .some_us = 7, .some_avg10_centi = 3 } };
	struct gt_usage now = before;

	(void)state;
	now.cpu_us += 10;
	now.io_reads = 6;
	gt_usage_since(&now, &before);
	assert_int_equal(now.cpu_us, 10);
	assert_int_equal(now.io_reads, 1);
	assert_int_equal(now.memory_bytes, 9); /* what is there is there */
	assert_int_equal(now.cpu.some_us, 0);
	assert_int_equal(now.cpu.some_avg10_centi, 3);
	/* Whose peak that was is not known. */
	assert_int_equal(now.has, GT_USAGE_ALL & ~GT_USAGE_MEMORY_PEAK);
	now = before;
	now.memory_peak_bytes = 101;
	gt_usage_since(&now, &before);
	assert_int_equal(now.has, GT_USAGE_ALL);
	assert_int_equal(now.memory_peak_bytes, 101);
}

static void times_fall_into_places(void **state)
{
	struct gt_hist h = { 0 };

	(void)state;
	gt_hist_add(&h, 0);
	gt_hist_add(&h, GT_NS_PER_MS); /* a bound belongs to its place */
	gt_hist_add(&h, GT_NS_PER_MS + 1);
	gt_hist_add(&h, 601 * GT_NS_PER_S);
	assert_int_equal(h.n[0], 2);
	assert_int_equal(h.n[1], 1);
	assert_int_equal(h.n[GT_HIST_BOUNDS], 1);
	assert_int_equal(h.sum_us, 601002000);
}

static void counted_refusals_are_problems(void **state)
{
	(void)state;
	for (unsigned i = 1; i < GT_REFUSALS; i++) {
		assert_non_null(gt_problem_kind(gt_refusal_names[i]));
		assert_int_equal(gt_refusal_index(gt_refusal_names[i]), i);
	}
	assert_int_equal(gt_refusal_index("etag_mismatch"), 0);
}

static void models_of_gpus_match_by_words(void **state)
{
	static const struct {
		const char *wanted, *model;
		bool match;
	} rows[] = {
		{ "H100", "NVIDIA H100 80GB HBM3", true },
		{ "h100 hbm3", "NVIDIA H100 80GB HBM3", true },
		{ "a100-80gb", "NVIDIA A100-SXM4-80GB", true },
		{ "80gb a100", "NVIDIA A100-SXM4-80GB", false },
		{ "L4", "NVIDIA L4", true },
		{ "L4", "NVIDIA L40S", false },
		{ "L40S", "NVIDIA L4", false },
		{ "nvidia", "NVIDIA L4", true },
		{ "H100 H100", "H100", false },
		{ "H100", "", false },
	};
	char *models[] = { "H200", "H100" };
	const struct gt_gpu_want want = { .count = 1, .models = models, .n_models = 2 };
	const struct gt_gpu_want any = { .count = 1 };

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++)
		if (gt_gpu_model_match(rows[i].wanted, rows[i].model) != rows[i].match)
			fail_msg("\"%s\" and \"%s\"", rows[i].wanted, rows[i].model);
	assert_int_equal(gt_gpu_preference(&want, "NVIDIA H200"), 0);
	assert_int_equal(gt_gpu_preference(&want, "NVIDIA H100 PCIe"), 1);
	assert_int_equal(gt_gpu_preference(&want, "NVIDIA A100"), -1);
	assert_int_equal(gt_gpu_preference(&any, "NVIDIA A100"), 0);
}

static void a_share_has_its_part_of_the_memory(void **state)
{
	struct gt_gpu_want want = { .count = 1 };

	(void)state;
	assert_int_equal(gt_gpu_want_milli(&want), GT_GPU_WHOLE);
	assert_int_equal(gt_gpu_want_bytes(&want, 80 * GT_GIB + 7), 80 * GT_GIB + 7);
	want.share_milli = 250;
	assert_int_equal(gt_gpu_want_milli(&want), 250);
	assert_int_equal(gt_gpu_want_bytes(&want, 80 * GT_GIB), 20 * GT_GIB);
	assert_int_equal(gt_gpu_want_bytes(&want, GT_GPU_BYTES_MAX), GT_GPU_BYTES_MAX / 4);
	want.memory_bytes = GT_GIB;
	assert_int_equal(gt_gpu_want_bytes(&want, 80 * GT_GIB), GT_GIB);
}

static void labels_and_names_of_gpus_have_alphabets(void **state)
{
	struct gt_label labels[] = { { "zone", "a" }, { "disk", "" } };
	const struct gt_label zone_a = { "zone", "a" }, zone_b = { "zone", "b" };
	const struct gt_label disk = { "disk", "" }, other = { "rack", "" };

	(void)state;
	gt_labels_sort(labels, 2);
	assert_string_equal(labels[0].key, "disk");
	assert_true(gt_labels_have(labels, 2, &zone_a, 1));
	assert_true(gt_labels_have(labels, 2, labels, 2));
	assert_true(gt_labels_have(labels, 2, &disk, 1));
	assert_true(gt_labels_have(NULL, 0, NULL, 0));
	assert_false(gt_labels_have(labels, 2, &zone_b, 1));
	assert_false(gt_labels_have(labels, 2, &other, 1));
	assert_true(gt_label_key_ok("example.org/a_b-c"));
	assert_false(gt_label_key_ok(""));
	assert_false(gt_label_key_ok("a=b"));
	assert_true(gt_label_value_ok(""));
	assert_false(gt_label_value_ok("a b"));
	assert_true(gt_gpu_uuid_ok("GPU-6ba7b810-9dad-11d1-80b4-00c04fd430c8"));
	assert_false(gt_gpu_uuid_ok(""));
	assert_false(gt_gpu_uuid_ok("a,b"));
	assert_true(gt_gpu_model_ok("NVIDIA H100 80GB HBM3"));
	assert_false(gt_gpu_model_ok(" H100"));
	assert_false(gt_gpu_model_ok("H100:2"));
	assert_false(gt_gpu_model_ok("--"));
	assert_string_equal(gt_gpu_backend_name(GT_GPU_SIM), "sim");
}

static void parked_memory_is_what_it_has(void **state)
{
	struct gt_usage u = { 0 };

	(void)state;
	assert_int_equal(gt_usage_gpu_parked(&u, 80 * GT_GIB), 80 * GT_GIB); /* nobody tells */
	u.gpu_memory_bytes = 8 * GT_GIB;
	assert_int_equal(gt_usage_gpu_parked(&u, 80 * GT_GIB), 80 * GT_GIB);
	u.has = GT_USAGE_GPU_MEMORY;
	assert_int_equal(gt_usage_gpu_parked(&u, 80 * GT_GIB), 8 * GT_GIB + GT_PARK_SLACK);
	assert_int_equal(gt_usage_gpu_parked(&u, 8 * GT_GIB), 8 * GT_GIB);
	assert_int_equal(gt_usage_gpu_parked(&u, 7 * GT_GIB), 7 * GT_GIB);
	u.gpu_memory_bytes = 0; /* a look while it was parked */
	u.gpu_memory_peak_bytes = 8 * GT_GIB;
	assert_int_equal(gt_usage_gpu_parked(&u, 80 * GT_GIB), 8 * GT_GIB + GT_PARK_SLACK);
}

/* A transaction that is tried again fills it anew; what it had is its own still, and is not lost
 * (the leak sanitizer says so). */
static void an_operation_is_filled_once_more(void **state)
{
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		op->n_changes = op->n_ended = 0;
		gt_task_op_change(op, "f", 1);
		gt_task_op_change(op, "g", 1);
		gt_task_op_ended(op, "id");
	}
	assert_int_equal(op->n_changes, 2);
	assert_string_equal(op->changes[1].function, "g");
	assert_int_equal(op->n_ended, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parked_memory_is_what_it_has),
		cmocka_unit_test(an_operation_is_filled_once_more),
		cmocka_unit_test(replica_moves_follow_the_table),
		cmocka_unit_test(an_illegal_move_aborts),
		cmocka_unit_test(state_names_round_trip),
		cmocka_unit_test(names_have_one_alphabet),
		cmocka_unit_test(every_problem_is_found_and_fits_an_error),
		cmocka_unit_test(images_are_read_and_normalised),
		cmocka_unit_test(an_empty_spec_misses_its_image_first),
		cmocka_unit_test(an_end_is_copied_deep),
		cmocka_unit_test(signals_have_names_and_numbers),
		cmocka_unit_test(use_is_told_when_it_moved),
		cmocka_unit_test(usage_since_another_container),
		cmocka_unit_test(times_fall_into_places),
		cmocka_unit_test(counted_refusals_are_problems),
		cmocka_unit_test(models_of_gpus_match_by_words),
		cmocka_unit_test(a_share_has_its_part_of_the_memory),
		cmocka_unit_test(labels_and_names_of_gpus_have_alphabets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
