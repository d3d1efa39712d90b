/* test_vessel.c - what a container leaves to the next one of its plan: its network namespace and
 * its control groups, clean, and to nobody else. */
#include "fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define WIDTH   4  /* starts at once, which raise the demand */
#define STARTS  12 /* one after the other; the first ones may find sandboxes made before */
#define SLEEPER "sleep 1000"
#define SCRIPT  "readlink /proc/self/ns/net"

#define VESSEL(f)                                                                                \
	struct fixture f;                                                                        \
	if (fixture_open_with(                                                                   \
		    &f, (struct gt_runtime_config){ .pool_max = WIDTH, .prepared_max = 2 }) < 0) \
		skip();

struct seen {
	char leaf[48], netns[128]; /* what it printed, beginning with its namespace */
};

static void see(struct run *run, struct seen *ret)
{
	if (run->failed)
		fail_msg("%s", run->err.text);
	run_read(run);
	*ret = (struct seen){ 0 };
	gt_strcopy(ret->leaf, sizeof(ret->leaf), run->where.sandbox);
	gt_strcopy(ret->netns, sizeof(ret->netns), gt_buf_str(&run->text));
}

static void start(struct fixture *f, const char *function, const char *script, struct run *run)
{
	struct gt_container_args args = { .function = function, .revision = 1 };

	if (run_start_as(f, args, fixture_shell(script), run) < 0)
		fail_msg("refused: %s", run->err.text);
}

static struct seen one(struct fixture *f, const char *function, const char *script)
{
	struct seen seen;
	struct run run;

	start(f, function, script, &run);
	fixture_until(f, &run.exited);
	see(&run, &seen);
	run_close(&run);
	return seen;
}

/* The demand is there from now on for some seconds. */
static void many(struct fixture *f, const char *function, const char *script, struct seen *seen)
{
	struct run runs[WIDTH];

	one(f, function, script);
	for (size_t i = 0; i < WIDTH; i++)
		start(f, function, script, &runs[i]);
	for (size_t i = 0; i < WIDTH; i++) {
		fixture_until(f, &runs[i].exited);
		see(&runs[i], &seen[i]);
		run_close(&runs[i]);
	}
}

/* How many of STARTS were in the namespace of one of `seen`; its groups came with it. */
static unsigned again(struct fixture *f, const char *function, const char *script,
		      const struct seen *seen, size_t n)
{
	unsigned found = 0;

	for (unsigned i = 0; i < STARTS; i++) {
		struct seen now = one(f, function, script);

		for (size_t k = 0; k < n; k++) {
			bool same_net = gt_streq(now.netns, seen[k].netns);

			/* The number of a namespace may come again, a group's name never. */
			if (gt_streq(now.leaf, seen[k].leaf)) {
				assert_true(same_net);
				found++;
			}
		}
	}
	return found;
}

/* One after the other, none is where one of `seen` was. The script sleeps. */
static void elsewhere(struct fixture *f, const char *function, const char *script,
		      const struct seen *seen)
{
	for (unsigned n = 0; n < STARTS; n++) {
		struct run run;

		start(f, function, script, &run);
		fixture_until(f, &run.started);
		for (size_t i = 0; i < WIDTH; i++)
			assert_string_not_equal(run.where.sandbox, seen[i].leaf);
		run_close(&run);
	}
}

static void sleepers(struct fixture *f, const char *function, struct run *runs)
{
	for (size_t i = 0; i < WIDTH; i++) {
		start(f, function, SLEEPER, &runs[i]);
		fixture_until(f, &runs[i].started);
	}
}

static void wake(struct fixture *f, struct run *runs, struct seen *seen)
{
	for (size_t i = 0; i < WIDTH; i++) {
		gt_container_kill(runs[i].c);
		fixture_until(f, &runs[i].exited);
		see(&runs[i], &seen[i]);
		run_close(&runs[i]);
	}
}

static void the_next_of_the_plan_has_it(void **state)
{
	struct seen seen[WIDTH];

	(void)state;
	VESSEL(f);
	many(&f, "a", SCRIPT, seen);
	assert_true(again(&f, "a", SCRIPT, seen, WIDTH) > 0);
	fixture_close(&f);
}

static void assert_clean(const struct seen *seen)
{
	if (strpbrk(seen->netns, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
		fail_msg("%s", seen->netns);
}

/* All that can be found in there of the one before is the same as in a fresh one. */
static void nothing_of_the_last_is_in_it(void **state)
{
	static const char script[] = SCRIPT
		"; test ! -e /left && test ! -e /dev/shm/left || echo LEFT;"
		"echo > /left; echo > /dev/shm/left;"
		"test $(grep -c . /proc/self/net/unix) = 1 || echo SOCKETS;"
		"test $(grep -c . /proc/self/net/tcp) = 1 || echo SOCKETS;"
		"test $(grep -c : /proc/self/net/dev) = 1 || echo LINKS;"
		"set -- /proc/[0-9]*; test $# = 2 || echo PROCESSES;"
		"sleep 1000 & ";
	struct seen seen[WIDTH];

	(void)state;
	VESSEL(f);
	many(&f, "a", script, seen);
	for (size_t i = 0; i < WIDTH; i++)
		assert_clean(&seen[i]);
	assert_true(again(&f, "a", script, seen, WIDTH) > 0);
	for (size_t i = 0; i < STARTS; i++) {
		struct seen now = one(&f, "a", script);

		assert_clean(&now);
	}
	fixture_close(&f);
}

static void no_other_function_has_it(void **state)
{
	struct seen seen[WIDTH], other[WIDTH];
	(void)state;
	VESSEL(f);
	many(&f, "a", SCRIPT, seen);
	many(&f, "b", SCRIPT, other);
	for (size_t i = 0; i < WIDTH; i++) {
		for (size_t k = 0; k < WIDTH; k++)
			assert_string_not_equal(seen[i].leaf, other[k].leaf);
	}
	assert_int_equal(again(&f, "b", SCRIPT, seen, WIDTH), 0);
	/* Nor the same function with another specification. */
	assert_int_equal(again(&f, "a", SCRIPT "; true", seen, WIDTH), 0);
	fixture_close(&f);
}

/* Also while both have replicas. */
static void nor_beside_one(void **state)
{
	struct run mine[WIDTH], others[WIDTH], last;
	struct seen seen[WIDTH];

	(void)state;
	VESSEL(f);
	sleepers(&f, "b", others);
	sleepers(&f, "a", mine);
	start(&f, "b", SLEEPER, &last);
	fixture_until(&f, &last.started);
	wake(&f, mine, seen);
	elsewhere(&f, "b", SLEEPER, seen);
	run_close(&last);
	wake(&f, others, seen);
	fixture_close(&f);
}

/* A socket in there outlives the container: whoever holds it could answer for the next one. */
static void not_while_a_socket_is_held(void **state)
{
	struct run runs[WIDTH];
	struct seen seen[WIDTH];
	int fds[WIDTH];
	struct gt_err err;

	(void)state;
	VESSEL(f);
	sleepers(&f, "a", runs);
	for (size_t i = 0; i < WIDTH; i++)
		assert_int_equal(gt_container_dial(runs[i].c, 9, &fds[i], &err), 0);
	wake(&f, runs, seen);
	elsewhere(&f, "a", SLEEPER, seen);
	for (size_t i = 0; i < WIDTH; i++)
		close(fds[i]);
	fixture_close(&f);
}

static void not_after_it_was_frozen(void **state)
{
	struct run runs[WIDTH];
	struct seen seen[WIDTH];
	struct gt_err err;

	(void)state;
	VESSEL(f);
	sleepers(&f, "a", runs);
	for (size_t i = 0; i < WIDTH; i++) {
		int r = gt_container_freeze(runs[i].c, &err);

		assert_true(r == 0 || r == -EAGAIN);
	}
	wake(&f, runs, seen);
	elsewhere(&f, "a", SLEEPER, seen);
	fixture_close(&f);
}

/* What the one before used is not the next one's. */
static void counts_begin_anew(void **state)
{
	struct gt_container_args args = { .function = "a", .revision = 1 };
	struct gt_usage used = { 0 };
	unsigned again = 0;
	struct gt_err err;
	char dir[160], flag[176];

	(void)state;
	VESSEL(f);
	snprintf(dir, sizeof(dir), "%s/data", f.dir);
	snprintf(flag, sizeof(flag), "%s/lazy", dir);
	assert_int_equal(mkdir(dir, 0755), 0);
	for (unsigned n = 0; n < 3; n++) {
		struct run runs[WIDTH];

		if (n == 1)
			fclose(fopen(flag, "we"));
		for (size_t i = 0; i < WIDTH; i++) {
			struct gt_spec *spec = fixture_shell(
				"i=0; while [ ! -e /mnt/lazy -a $i -lt 100000 ]; do i=$((i+1)); "
				"done; echo done; sleep 1000");

			fixture_mount(spec, dir, "/mnt", true);
			assert_int_equal(run_start_as(&f, args, spec, &runs[i]), 0);
			fixture_until(&f, &runs[i].started);
		}
		for (size_t i = 0; i < WIDTH; i++) {
			while (runs[i].text.len == 0) {
				assert_int_equal(gt_loop_step(f.loop, 1, NULL), 0);
				run_read(&runs[i]);
			}
			assert_int_equal(gt_container_usage(runs[i].c, &used, &err), 0);
			if (!(used.has & GT_USAGE_CPU))
				print_message("nobody counts processor time here\n");
			else if (n == 0)
				assert_true(used.cpu_us > 50000);
			else
				assert_true(used.cpu_us < 50000);
			again += runs[i].where.again;
			gt_container_kill(runs[i].c);
			fixture_until(&f, &runs[i].exited);
			run_close(&runs[i]);
		}
	}
	assert_true(again > 0);
	fixture_close(&f);
}

static bool hog(struct run *run, char leaf[48])
{
	bool oom = run->how.oom;

	gt_strcopy(leaf, 48, run->where.sandbox);
	run_close(run);
	return oom;
}

/* The kernel has counted a kill there: the next one's end would be taken for one of its own. */
static void not_after_the_kernel_killed(void **state)
{
	static const char script[] = "head -c 64m /dev/zero | tail -c 64m > /dev/null";
	struct gt_container_args args = { .function = "a", .revision = 1 };
	char leafs[WIDTH + STARTS][48];
	unsigned kills = 0, n = 0, width = WIDTH;

	(void)state;
	VESSEL(f);
	for (; n < GT_LEN(leafs); n += width, width = 1) {
		struct run runs[WIDTH];

		for (unsigned i = 0; i < width; i++) {
			struct gt_spec *spec = fixture_shell(script);

			spec->resources.memory_bytes = 16 * GT_MIB;
			assert_int_equal(run_start_as(&f, args, spec, &runs[i]), 0);
			if (n == 0)
				fixture_until(&f, &runs[i].started);
		}
		for (unsigned i = 0; i < width; i++) {
			fixture_until(&f, &runs[i].exited);
			kills += hog(&runs[i], leafs[n + i]);
			for (unsigned k = 0; k < n + i; k++)
				assert_string_not_equal(leafs[k], leafs[n + i]);
		}
	}
	if (kills == 0)
		print_message("no kill for want of memory on this machine\n");
	else
		assert_int_equal(kills, GT_LEN(leafs));
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_of_the_plan_has_it),
		cmocka_unit_test(nothing_of_the_last_is_in_it),
		cmocka_unit_test(no_other_function_has_it),
		cmocka_unit_test(nor_beside_one),
		cmocka_unit_test(not_while_a_socket_is_held),
		cmocka_unit_test(not_after_it_was_frozen),
		cmocka_unit_test(counts_begin_anew),
		cmocka_unit_test(not_after_the_kernel_killed),
	};

	return cmocka_run_group_tests_name("vessel", tests, NULL, NULL);
}
