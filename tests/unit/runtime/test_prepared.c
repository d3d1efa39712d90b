/* test_prepared.c - sandboxes prepared for a function: used by exactly it, once, and bounded. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/runtime/init_proto.h>

#define PREPARED(f, ...)                                                          \
	struct fixture f;                                                         \
	if (fixture_open_with(&f, (struct gt_runtime_config){ __VA_ARGS__ }) < 0) \
		skip();

static struct gt_container_args of(const char *function, unsigned revision)
{
	return (struct gt_container_args){ .function = function, .revision = revision };
}

/* Runs it to its end. Returns how its sandbox was come by; what it printed goes to `text`. */
static enum gt_start_kind run_once(struct fixture *f, struct gt_container_args args,
				   struct gt_spec *spec, struct gt_buf *text)
{
	enum gt_start_kind kind;
	struct run run;

	if (run_start_as(f, args, spec, &run) < 0)
		fail_msg("refused: %s", run.err.text);
	fixture_until(f, &run.exited);
	if (run.failed)
		fail_msg("%s", run.err.text);
	run_read(&run);
	kind = gt_container_start_kind(run.c);
	if (kind == GT_START_PREPARED)
		assert_int_equal(run.root_us, 0);
	if (text)
		gt_buf_adds(text, gt_buf_str(&run.text));
	run_close(&run);
	return kind;
}

static void the_second_start_is_prepared(void **state)
{
	const char script[] =
		"echo $GANTRY_REPLICA $GANTRY_REVISION $HOME; id -u; pwd;"
		"grep -c . /proc/self/mountinfo > /dev/null; echo x > /once && ls /once";
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_container_args args = of("hello", 3);

	(void)state;
	PREPARED(f, .prepared_max = 2);
	args.replica = "01FIRST";
	assert_int_equal(run_once(&f, args, fixture_shell(script), &text), GT_START_COLD);
	fixture_until_waiting(&f, 0, 1);
	args.replica = "02SECOND";
	assert_int_equal(run_once(&f, args, fixture_shell(script), &text), GT_START_PREPARED);
	/* What the one before wrote is not there: no sandbox is used twice. */
	assert_string_equal(gt_buf_str(&text), "01FIRST 3 /root\n0\n/\n/once\n"
					       "02SECOND 3 /root\n0\n/\n/once\n");
	fixture_until_waiting(&f, 0, 1);
	fixture_close(&f);
}

/* What is the replica's alone comes after what is prepared: its GPUs, for one. */
static void each_has_its_own_environment(void **state)
{
	static const char *const first[] = { "A=1", "B=x y" }, *const second[] = { "A=2" };
	char large[GT_INIT_GO_BYTES];
	const char *const too_large[] = { large };
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_container_args args = of("hello", 3);
	struct run run;

	(void)state;
	PREPARED(f, .prepared_max = 2);
	args.env = first;
	args.n_env = 2;
	assert_int_equal(run_once(&f, args, fixture_shell("echo $A $B."), &text), GT_START_COLD);
	fixture_until_waiting(&f, 0, 1);
	args.env = second;
	args.n_env = 1;
	assert_int_equal(run_once(&f, args, fixture_shell("echo $A $B."), &text),
			 GT_START_PREPARED);
	assert_string_equal(gt_buf_str(&text), "1 x y.\n2 .\n");
	memset(large, 'x', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	args.env = too_large;
	assert_int_equal(run_start_as(&f, args, fixture_shell("true"), &run), -E2BIG);
	assert_string_equal(run.err.slug, "sandbox_failed");
	run_close(&run);
	fixture_close(&f);
}

static void each_kind_of_start_is_told(void **state)
{
	struct run run;

	(void)state;
	PREPARED(f, .pool = 1);
	fixture_until_waiting(&f, 1, 0);
	assert_int_equal(run_once(&f, of("a", 1), fixture_shell("true"), NULL), GT_START_POOLED);
	/* Nothing may be prepared here. */
	fixture_until_waiting(&f, 1, 0);
	assert_int_equal(run_once(&f, of("a", 1), fixture_shell("true"), NULL), GT_START_POOLED);
	assert_int_equal(run_start(&f, fixture_shell("true"), &run), 0);
	run_close(&run); /* released while it waits */
	fixture_close(&f);
}

/* Whatever makes the container another one makes the prepared sandbox useless, and it ends. */
static void only_the_very_same_is_used(void **state)
{
	struct gt_spec *spec;

	(void)state;
	PREPARED(f, .prepared_max = 4);
	assert_int_equal(run_once(&f, of("a", 1), fixture_shell("true"), NULL), GT_START_COLD);
	fixture_until_waiting(&f, 0, 1);
	assert_int_equal(run_once(&f, of("b", 1), fixture_shell("true"), NULL), GT_START_COLD);
	fixture_until_waiting(&f, 0, 2);
	assert_int_equal(run_once(&f, of("a", 2), fixture_shell("true"), NULL), GT_START_COLD);
	fixture_until_waiting(&f, 0, 2);
	assert_int_equal(run_once(&f, of("a", 2), fixture_shell("exit 0"), NULL), GT_START_COLD);
	fixture_until_waiting(&f, 0, 2);
	spec = fixture_shell("exit 0");
	spec->resources.pids = 77;
	assert_int_equal(run_once(&f, of("a", 2), spec, NULL), GT_START_COLD);
	fixture_until_waiting(&f, 0, 2);
	spec = fixture_shell("exit 0");
	spec->resources.pids = 77;
	assert_int_equal(run_once(&f, of("a", 2), spec, NULL), GT_START_PREPARED);
	assert_int_equal(run_once(&f, of("b", 1), fixture_shell("true"), NULL), GT_START_PREPARED);
	fixture_close(&f);
}

/* A directory that was put in the place of another is another image. */
static void a_replaced_directory_is_seen(void **state)
{
	char from[160], to[160];
	struct gt_spec *spec;
	struct run run;

	(void)state;
	PREPARED(f, .prepared_max = 4);
	snprintf(from, sizeof(from), "%s/data", f.dir);
	snprintf(to, sizeof(to), "%s/old", f.dir);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mkdir(from, 0755), 0);
		spec = fixture_shell("true");
		fixture_mount(spec, from, "/mnt", true);
		assert_int_equal(run_once(&f, of("a", 1), spec, NULL), GT_START_COLD);
		fixture_until_waiting(&f, 0, 1);
		assert_int_equal(rename(from, to), 0);
	}
	spec = fixture_shell("true");
	fixture_mount(spec, from, "/mnt", true);
	assert_true(run_start_as(&f, of("a", 1), spec, &run) < 0);
	assert_string_equal(run.err.slug, "volume_missing");
	run_close(&run);
	fixture_close(&f);
}

static void the_longest_unused_makes_room(void **state)
{
	static const char *const names[] = { "a", "b", "c" };

	(void)state;
	PREPARED(f, .prepared_max = 2);
	for (size_t i = 0; i < GT_LEN(names); i++)
		run_once(&f, of(names[i], 1), fixture_shell("true"), NULL);
	fixture_until_waiting(&f, 0, 2);
	assert_int_equal(run_once(&f, of("a", 1), fixture_shell("true"), NULL), GT_START_COLD);
	/* Now b was the one to go. */
	fixture_until_waiting(&f, 0, 2);
	assert_int_equal(run_once(&f, of("c", 1), fixture_shell("true"), NULL), GT_START_PREPARED);
	fixture_until_waiting(&f, 0, 2);
	assert_int_equal(run_once(&f, of("b", 1), fixture_shell("true"), NULL), GT_START_COLD);
	fixture_close(&f);
}

static void idle_ones_end(void **state)
{
	uint64_t until_ns;

	(void)state;
	PREPARED(f, .prepared_max = 2, .prepared_idle_ms = 300);
	run_once(&f, of("a", 1), fixture_shell("true"), NULL);
	until_ns = gt_mono_ns(&gt_clock_system) + 300 * GT_NS_PER_MS;
	while (gt_mono_ns(&gt_clock_system) < until_ns)
		assert_int_equal(gt_loop_step(f.loop, 10, NULL), 0);
	fixture_until_waiting(&f, 0, 0);
	assert_int_equal(run_once(&f, of("a", 1), fixture_shell("true"), NULL), GT_START_COLD);
	fixture_close(&f);
}

static void prepared_when_told(void **state)
{
	gt_auto(spec) struct gt_spec *spec = NULL, *bad = NULL;
	struct gt_container_args args = of("a", 1);
	struct gt_err err;

	(void)state;
	PREPARED(f, .prepared_max = 1);
	spec = fixture_shell("exit 0");
	bad = fixture_shell("true");
	args.spec = bad;
	bad->user = gt_strdup("nobody-of-this-name");
	assert_int_equal(gt_runtime_prepare(f.rt, &args, &err), 0); /* found out inside */
	args.spec = spec;
	assert_int_equal(gt_runtime_prepare(f.rt, &args, &err), 0);
	fixture_until_waiting(&f, 0, 1);
	assert_int_equal(run_once(&f, args, fixture_shell("exit 0"), NULL), GT_START_PREPARED);
	fixture_close(&f);
}

/* A burst leaves a larger pool behind. */
static void demand_raises_the_pool(void **state)
{
	struct run runs[5];

	(void)state;
	PREPARED(f, .pool = 1, .pool_max = 4);
	fixture_until_waiting(&f, 1, 0);
	for (size_t i = 0; i < GT_LEN(runs); i++)
		assert_int_equal(run_start(&f, fixture_shell("true"), &runs[i]), 0);
	for (size_t i = 0; i < GT_LEN(runs); i++) {
		fixture_until(&f, &runs[i].exited);
		run_close(&runs[i]);
	}
	fixture_until_waiting(&f, 4, 0);
	/* And it fades: nobody pays for yesterday's burst. */
	while (gt_runtime_waiting(f.rt).staged >= 4)
		assert_int_equal(gt_loop_step(f.loop, 100, NULL), 0);
	fixture_close(&f);
}

/* The process of a prepared sandbox dies: the next start is a cold one and not a failure. */
static void a_dead_one_is_replaced(void **state)
{
	struct gt_runtime_waiting w;
	char path[64], name[32];
	FILE *children;
	int pid = 0;

	(void)state;
	PREPARED(f, .prepared_max = 1);
	run_once(&f, of("a", 1), fixture_shell("true"), NULL);
	fixture_until_waiting(&f, 0, 1);
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	children = fopen(path, "re");
	assert_non_null(children);
	while (fscanf(children, "%31s", name) == 1)
		pid = atoi(name);
	fclose(children);
	assert_true(pid > 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	do {
		assert_int_equal(gt_loop_step(f.loop, 100, NULL), 0);
		w = gt_runtime_waiting(f.rt);
	} while (w.prepared == 1);
	assert_int_equal(run_once(&f, of("a", 1), fixture_shell("true"), NULL), GT_START_COLD);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_second_start_is_prepared),
		cmocka_unit_test(each_has_its_own_environment),
		cmocka_unit_test(each_kind_of_start_is_told),
		cmocka_unit_test(only_the_very_same_is_used),
		cmocka_unit_test(a_replaced_directory_is_seen),
		cmocka_unit_test(the_longest_unused_makes_room),
		cmocka_unit_test(idle_ones_end),
		cmocka_unit_test(prepared_when_told),
		cmocka_unit_test(demand_raises_the_pool),
		cmocka_unit_test(a_dead_one_is_replaced),
	};

	return cmocka_run_group_tests_name("prepared", tests, NULL, NULL);
}
