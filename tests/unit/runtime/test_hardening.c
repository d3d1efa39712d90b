/* test_hardening.c - what the kernel keeps a running container from, seen from inside, and what the
 * node sees of it: frozen, thawed, counted. */
#include "fixture.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/clock.h>

#define CONTAINER(f, pool)              \
	struct fixture f;               \
	if (fixture_open(&f, pool) < 0) \
		skip();

#define WAIT_MS 5000

static bool can_freeze(struct fixture *f, struct run *run)
{
	struct gt_err err = { 0 };
	uint64_t since_ns = gt_mono_ns(&gt_clock_system);
	int r;

	(void)f;
	while ((r = gt_container_freeze(run->c, &err)) == -EAGAIN &&
	       gt_mono_ns(&gt_clock_system) - since_ns < WAIT_MS * GT_NS_PER_MS)
		;
	if (r == -EOPNOTSUPP)
		return false;
	if (r < 0)
		fail_msg("%s", err.text);
	return true;
}

/* How long the answer takes to a byte sent to a listening echo, in ms; -1 = none within the time.
 */
static int answer_ms(struct run *run, int wait_ms)
{
	static const char request[] = "GET /x HTTP/1.0\r\n\r\n";
	uint64_t since_ns = gt_mono_ns(&gt_clock_system);
	struct pollfd p = { .events = POLLIN };
	struct gt_err err;
	char byte;
	int got;

	if (gt_container_dial(run->c, 8000, &p.fd, &err) < 0)
		fail_msg("%s", err.text);
	if (poll(&(struct pollfd){ p.fd, POLLOUT, 0 }, 1, wait_ms) == 1 &&
	    send(p.fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0 && poll(&p, 1, wait_ms) == 1)
		got = recv(p.fd, &byte, 1, 0) == 1;
	else
		got = 0;
	gt_close(p.fd);
	return got ? (int)((gt_mono_ns(&gt_clock_system) - since_ns) / GT_NS_PER_MS) : -1;
}

static void start_echo(struct fixture *f, struct run *run)
{
	if (run_start(f, fixture_echo(f), run) < 0)
		fail_msg("%s", run->err.text);
	fixture_until(f, &run->started);
	while (answer_ms(run, WAIT_MS) < 0)
		;
}

static void frozen_thawed_and_answers(void **state)
{
	struct gt_err err = { 0 };
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	start_echo(&f, &run);
	if (!can_freeze(&f, &run)) {
		print_message("skipped: nothing can be frozen here\n");
	} else {
		assert_int_equal(gt_container_frozen(run.c, &err), 1);
		assert_int_equal(answer_ms(&run, 50), -1);
		assert_int_equal(gt_container_thaw(run.c, &err), 0);
		assert_int_equal(gt_container_frozen(run.c, &err), 0);
		assert_true(answer_ms(&run, WAIT_MS) >= 0);
	}
	gt_container_kill(run.c);
	fixture_until(&f, &run.exited);
	assert_int_equal(gt_container_frozen(run.c, &err), -ENOENT);
	assert_int_equal(gt_container_freeze(run.c, &err), -ENOENT);
	run_close(&run);
	fixture_close(&f);
}

static void killed_while_frozen(void **state)
{
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	start_echo(&f, &run);
	if (can_freeze(&f, &run)) {
		gt_container_kill(run.c);
		fixture_until(&f, &run.exited);
		assert_int_equal(run.how.signal, SIGKILL);
	}
	run_close(&run);
	fixture_close(&f);
}

static void adopted_while_frozen(void **state)
{
	struct gt_runtime_config config = { .allow_host_image = true };
	struct gt_container_events events = { .arg = NULL };
	struct gt_runtime *other;
	struct gt_err err = { 0 };
	struct run run;
	bool frozen;

	(void)state;
	CONTAINER(f, 0);
	start_echo(&f, &run);
	frozen = can_freeze(&f, &run);
	gt_container_leave(run.c);
	gt_runtime_free(f.rt);
	config.dir = f.dir;
	assert_int_equal(gt_runtime_new(f.loop, &config, &other, &err), 0);
	f.rt = other;
	if (gt_container_adopt(other, &run.where, run.status, &events, &run.c, &run.how, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(gt_container_frozen(run.c, &err), frozen);
	if (frozen)
		assert_int_equal(gt_container_thaw(run.c, &err), 0);
	assert_true(answer_ms(&run, WAIT_MS) >= 0);
	run_close(&run);
	fixture_close(&f);
}

/* A frozen one that nobody adopts must not stay for ever. */
static void swept_while_frozen(void **state)
{
	struct gt_err err;
	struct run run;

	(void)state;
	CONTAINER(f, 0);
	start_echo(&f, &run);
	can_freeze(&f, &run);
	gt_container_leave(run.c);
	run.c = NULL;
	if (gt_runtime_cleanup(f.dir, &err) < 0)
		fail_msg("%s", err.text);
	run_close(&run);
	fixture_close(&f);
}

static void usage_of_a_container(void **state)
{
	struct gt_usage u = { 0 };
	struct gt_err err = { 0 };
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	start_echo(&f, &run);
	assert_int_equal(gt_container_usage(run.c, &u, &err), 0);
	if (u.has & GT_USAGE_MEMORY)
		assert_true(u.memory_bytes > 0);
	if (u.has & GT_USAGE_PIDS)
		assert_true(u.pids >= 2); /* process 1 and the program */
	if (u.has & GT_USAGE_CPU)
		assert_true(u.cpu_us > 0);
	if (u.has & GT_USAGE_OOM)
		assert_int_equal(u.oom_kills, 0);
	gt_container_kill(run.c);
	fixture_until(&f, &run.exited);
	assert_int_equal(gt_container_usage(run.c, &u, &err), -ENOENT);
	run_close(&run);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frozen_thawed_and_answers), cmocka_unit_test(killed_while_frozen),
		cmocka_unit_test(adopted_while_frozen),      cmocka_unit_test(swept_while_frozen),
		cmocka_unit_test(usage_of_a_container),
	};

	return cmocka_run_group_tests_name("hardening", tests, NULL, NULL);
}
