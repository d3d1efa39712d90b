/* test_helper.c - gpud as a process, with simulated GPUs: requests, states, faults, its death. */
#include "gpud_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

#define GPU0 "SIM-n1-0"
#define GPU1 "SIM-n1-1"

/* A process that has GPU memory: one that sleeps. */
static pid_t user_new(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close_range(1, ~0u, 0);
		for (;;)
			pause();
	}
	return pid;
}

static void user_end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static char script_path[64];

static void write_script(const char *text)
{
	char next[80];
	FILE *f;

	snprintf(next, sizeof(next), "%s.next", script_path);
	f = fopen(next, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(rename(next, script_path), 0);
}

static struct rig *scripted(const char *text)
{
	char gpus[160];

	write_script(text);
	snprintf(gpus, sizeof(gpus), "sim:2x8GiB:H100,script=%s", script_path);
	return rig_new(gpus, NULL);
}

static uint64_t free_bytes(struct rig *r, const char *uuid)
{
	struct gt_gpu_request rq = { .kind = GT_GPU_OP_MEMORY };

	gt_strcopy(rq.uuid, sizeof(rq.uuid), uuid);
	assert_int_equal(rig_ask(r, &rq), 0);
	return r->reply.free_bytes;
}

static void it_tells_what_there_is(void **state)
{
	struct rig *r = rig_new("sim:2x8GiB:H100", NULL);

	(void)state;
	gt_gpu_helper_await(r->h, 10000);
	rig_until(r, r->driver.state == GT_GPU_DRIVER_READY && !r->driver.cuda[0]);
	assert_int_equal(r->n_gpus, 2);
	assert_string_equal(r->gpus[1].uuid, GPU1);
	assert_int_equal(r->driver.backend, GT_GPU_SIM);
	rig_until(r, r->n_samples >= 4);
	assert_int_equal(r->samples[0].stats.value[GT_GPU_STAT_FB_TOTAL], 8 * GT_GIB);
	assert_int_equal(r->samples[0].stats.value[GT_GPU_STAT_FB_USED], 0);
	assert_false(gt_gpu_stat_has(&r->samples[0].stats, GT_GPU_STAT_GPU_TEMP));
	rig_free(r);
}

static void a_process_is_parked_and_comes_back(void **state)
{
	pid_t pid = user_new();
	struct rig *r = rig_new("sim:2x8GiB:H100", NULL);
	struct gt_gpu_request rq = { .kind = GT_GPU_OP_PROCESSES, .uuid = GPU0 };

	(void)state;
	assert_int_equal(rig_of(r, GT_GPU_OP_STATE, pid), -ESRCH);
	gt_gpu_helper_claim(r->h, pid, GPU0, 3 * GT_GIB);
	gt_gpu_helper_claim(r->h, pid, GPU1, GT_GIB);
	assert_int_equal(rig_ask(r, &rq), 0);
	assert_int_equal(r->reply.n_processes, 1);
	assert_int_equal(r->reply.processes[0].pid, pid);
	assert_int_equal(r->reply.processes[0].bytes, 3 * GT_GIB);
	assert_int_equal(free_bytes(r, GPU1), 7 * GT_GIB);
	assert_int_equal(rig_of(r, GT_GPU_OP_CHECKPOINT, pid), -EINVAL); /* not locked */
	assert_string_equal(r->err.slug, "gpu_state");
	assert_int_equal(rig_of(r, GT_GPU_OP_LOCK, pid), 0);
	assert_int_equal(rig_of(r, GT_GPU_OP_CHECKPOINT, pid), 0);
	assert_int_equal(free_bytes(r, GPU0), 8 * GT_GIB);
	assert_int_equal(rig_of(r, GT_GPU_OP_STATE, pid), 0);
	assert_int_equal(r->reply.state, GT_GPU_PROCESS_CHECKPOINTED);
	assert_int_equal(rig_of(r, GT_GPU_OP_THREAD, pid), 0);
	rq = (struct gt_gpu_request){ .kind = GT_GPU_OP_RESTORE,
				      .pid = pid,
				      .n_moves = 2,
				      .moves = { { GPU0, GPU1 }, { GPU1, GPU0 } } };
	assert_int_equal(rig_ask(r, &rq), 0);
	assert_int_equal(rig_of(r, GT_GPU_OP_UNLOCK, pid), 0);
	assert_int_equal(free_bytes(r, GPU0), 7 * GT_GIB); /* moved */
	gt_gpu_helper_unclaim(r->h, pid);
	assert_int_equal(free_bytes(r, GPU0), 8 * GT_GIB);
	user_end(pid);
	rig_free(r);
}

static void a_restore_without_room_is_the_end(void **state)
{
	pid_t one = user_new(), two = user_new();
	struct rig *r = rig_new("sim:2x8GiB:H100", NULL);

	(void)state;
	gt_gpu_helper_claim(r->h, one, GPU0, 5 * GT_GIB);
	assert_int_equal(rig_of(r, GT_GPU_OP_LOCK, one), 0);
	assert_int_equal(rig_of(r, GT_GPU_OP_CHECKPOINT, one), 0);
	gt_gpu_helper_claim(r->h, two, GPU0, 5 * GT_GIB);
	assert_int_equal(rig_of(r, GT_GPU_OP_RESTORE, one), -ENOMEM);
	assert_int_equal(r->reply.driver, 2);
	user_end(two);
	assert_int_equal(free_bytes(r, GPU0), 8 * GT_GIB);            /* with its process */
	assert_int_equal(rig_of(r, GT_GPU_OP_RESTORE, one), -EINVAL); /* room does not help now */
	assert_int_equal(rig_of(r, GT_GPU_OP_STATE, one), 0);
	assert_int_equal(r->reply.state, GT_GPU_PROCESS_FAILED);
	user_end(one);
	rig_free(r);
}

static void faults_come_as_scripted(void **state)
{
	pid_t pid = user_new();
	struct rig *r = scripted("{\"faults\":[{\"op\":\"lock\",\"kind\":\"timeout\",\"nth\":1},"
				 "{\"op\":\"checkpoint\",\"kind\":\"failed\"}]}");

	(void)state;
	gt_gpu_helper_claim(r->h, pid, GPU0, GT_GIB);
	assert_int_equal(rig_of(r, GT_GPU_OP_LOCK, pid), -EAGAIN);
	assert_string_equal(r->err.slug, "gpu_busy");
	assert_int_equal(rig_of(r, GT_GPU_OP_STATE, pid), 0);
	assert_int_equal(r->reply.state, GT_GPU_PROCESS_RUNNING);
	assert_int_equal(rig_of(r, GT_GPU_OP_LOCK, pid), 0);
	assert_int_equal(rig_of(r, GT_GPU_OP_CHECKPOINT, pid), -EIO);
	assert_int_equal(rig_of(r, GT_GPU_OP_UNLOCK, pid), -EINVAL);
	write_script("{\"incidents\":[{\"gpu\":1,\"xid\":79,\"action\":2}]}");
	rig_until(r, r->n_incidents > 0);
	assert_string_equal(r->incident.uuid, GPU1);
	assert_int_equal(r->incident.xid, 79);
	assert_int_equal(r->incident.action, 2);
	user_end(pid);
	rig_free(r);
}

static void on_nothing(const struct gt_gpu_reply *reply, const struct gt_err *err, void *arg)
{
	(void)reply;
	assert_non_null(err);
	++*(unsigned *)arg;
}

/* It is killed and replaced, and finds processes as they were. */
static void a_call_that_hangs_costs_one_gpud(void **state)
{
	pid_t pid = user_new();
	struct rig *r = scripted("{\"faults\":[{\"op\":\"restore\",\"kind\":\"hang\",\"nth\":1}]}");
	struct gt_gpu_request rq = { .kind = GT_GPU_OP_RESTORE, .pid = pid, .deadline_ms = 100 };
	struct gt_gpu_request slow = { .kind = GT_GPU_OP_LOCK, .pid = pid, .lock_ms = 60000 };
	unsigned failed = 0;
	pid_t first;

	(void)state;
	gt_gpu_helper_claim(r->h, pid, GPU0, GT_GIB);
	assert_int_equal(rig_of(r, GT_GPU_OP_LOCK, pid), 0);
	assert_int_equal(rig_of(r, GT_GPU_OP_CHECKPOINT, pid), 0);
	first = gt_gpu_helper_pid(r->h);
	write_script("{\"faults\":[{\"op\":\"restore\",\"kind\":\"hang\"},"
		     "{\"op\":\"lock\",\"kind\":\"hang\"}]}");
	assert_int_equal(gt_gpu_helper_ask(r->h, &slow, on_nothing, &failed, NULL, NULL), 0);
	assert_int_equal(rig_ask(r, &rq), -ETIMEDOUT);
	write_script("{}");
	rig_until(r, failed == 1); /* the other one in flight */
	rig_until(r, gt_gpu_helper_starts(r->h) == 2 && r->driver.state == GT_GPU_DRIVER_READY);
	assert_int_not_equal(gt_gpu_helper_pid(r->h), first);
	assert_int_equal(rig_of(r, GT_GPU_OP_STATE, pid), 0);
	assert_int_equal(r->reply.state, GT_GPU_PROCESS_CHECKPOINTED);
	assert_int_equal(rig_of(r, GT_GPU_OP_RESTORE, pid), 0);
	user_end(pid);
	rig_free(r);
}

static void a_call_that_crashes_costs_one_gpud(void **state)
{
	pid_t pid = user_new();
	struct rig *r = scripted("{\"faults\":[{\"op\":\"lock\",\"kind\":\"crash\"}]}");

	(void)state;
	gt_gpu_helper_claim(r->h, pid, GPU0, GT_GIB);
	assert_int_equal(rig_of(r, GT_GPU_OP_LOCK, pid), -ECHILD);
	assert_string_equal(r->err.slug, "gpu_helper");
	assert_int_equal(r->driver.state, GT_GPU_DRIVER_FAILED);
	write_script("{}");
	assert_int_equal(rig_of(r, GT_GPU_OP_LOCK, pid), -ECHILD); /* none is there yet */
	rig_until(r, r->driver.state == GT_GPU_DRIVER_READY);
	assert_int_equal(rig_of(r, GT_GPU_OP_LOCK, pid), 0);
	user_end(pid);
	rig_free(r);
}

static void a_gpud_that_is_killed_comes_back(void **state)
{
	struct rig *r = rig_new("sim:1x8GiB", NULL);

	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		rig_until(r, r->driver.state == GT_GPU_DRIVER_READY);
		assert_int_equal(gt_gpu_helper_starts(r->h), i);
		assert_int_equal(kill(gt_gpu_helper_pid(r->h), SIGKILL), 0);
		rig_until(r, r->driver.state != GT_GPU_DRIVER_READY);
	}
	rig_free(r);
}

static void requests_are_bounded_and_can_be_cancelled(void **state)
{
	struct gt_gpu_op *ops[GT_GPU_OPS_MAX];
	struct gt_gpu_request rq = { .kind = GT_GPU_OP_STATE, .pid = 1 };
	struct rig *r = rig_new("sim:1x8GiB", NULL);
	unsigned failed = 0;
	struct gt_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < GT_GPU_OPS_MAX; i++)
		assert_int_equal(gt_gpu_helper_ask(r->h, &rq, on_nothing, &failed, &ops[i], &err),
				 0);
	assert_int_equal(gt_gpu_helper_ask(r->h, &rq, on_nothing, &failed, NULL, &err), -EBUSY);
	for (size_t i = 0; i < GT_GPU_OPS_MAX; i += 2)
		gt_gpu_op_cancel(ops[i]);
	rig_until(r, failed == GT_GPU_OPS_MAX / 2);
	rq = (struct gt_gpu_request){ .kind = GT_GPU_OP_LOCK, .pid = 1 }; /* would wait for ever */
	assert_int_equal(gt_gpu_helper_ask(r->h, &rq, on_nothing, &failed, NULL, &err), -EINVAL);
	rq = (struct gt_gpu_request){ .kind = GT_GPU_OP_MEMORY, .uuid = "SIM-n1-7" };
	assert_int_equal(rig_ask(r, &rq), -ENOENT);
	rig_free(r);
}

static int tidy(void **state)
{
	(void)state;
	unlink(script_path);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_tells_what_there_is),
		cmocka_unit_test(a_process_is_parked_and_comes_back),
		cmocka_unit_test(a_restore_without_room_is_the_end),
		cmocka_unit_test(faults_come_as_scripted),
		cmocka_unit_test(a_call_that_hangs_costs_one_gpud),
		cmocka_unit_test(a_call_that_crashes_costs_one_gpud),
		cmocka_unit_test(a_gpud_that_is_killed_comes_back),
		cmocka_unit_test(requests_are_bounded_and_can_be_cancelled),
	};

	rig_main(argc, argv);
	snprintf(script_path, sizeof(script_path), "/tmp/gantry-gpu-%d.json", (int)getpid());
	return cmocka_run_group_tests(tests, NULL, tidy);
}
