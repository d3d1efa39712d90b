/* park_cuda.c - the driver's part of parking, asked of the GPU helper: one question at a time, each
 * with a deadline. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/log.h>
#include <gantry/gpu/helper.h>
#include <gantry/os/os.h>

#include "agent_impl.h"

#define LOCK_MS     5000           /* it has no call: what its GPU still does ends soon */
#define MOVE_MS     100000         /* 80 GiB at a GiB a second; control waits a little longer */
#define MARGIN      (512 * GT_MIB) /* of the GPU's memory, beside what it had */
#define BUSY_MS     10
#define CGROUP_SIZE 4096

static void ask(struct replica *r);

/* ---- answers ---- */

static enum park_came came_of(enum park_do what, const struct gt_err *err)
{
	if (!err)
		return PARK_OK;
	if (err->code == ETIMEDOUT || err->code == ECHILD)
		return PARK_LOST;
	return err->code == EAGAIN && what == PARK_LOCK ? PARK_AGAIN : PARK_ERROR;
}

static enum park_came state_of(const struct gt_gpu_reply *reply)
{
	static const enum park_came is[GT_GPU_PROCESS_N] = {
		[GT_GPU_PROCESS_RUNNING] = PARK_IS_RUNNING,
		[GT_GPU_PROCESS_LOCKED] = PARK_IS_LOCKED,
		[GT_GPU_PROCESS_CHECKPOINTED] = PARK_IS_CHECKPOINTED,
		[GT_GPU_PROCESS_FAILED] = PARK_IS_FAILED,
	};

	return (unsigned)reply->state < GT_GPU_PROCESS_N ? is[reply->state] : PARK_IS_FAILED;
}

/* Pids are the host's: whose it is, its control group says. */
static bool is_its(const struct replica *r, int32_t pid)
{
	char path[48], text[CGROUP_SIZE];

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	return pid == r->where.pid ||
	       (gt_os_read_at(AT_FDCWD, path, text, sizeof(text), NULL) >= 0 &&
		strstr(text, r->where.sandbox));
}

static bool is_here(int32_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return access(path, F_OK) == 0;
}

/* One that has none there has nothing to checkpoint. But where the driver numbers processes
 * otherwise than we do, one that has some looks like that. */
static enum park_came take_processes(struct replica *r, const struct gt_gpu_reply *reply)
{
	struct parking *p = &r->parking;
	bool strange = false;

	p->steps.n = 0;
	p->gpu_bytes = 0;
	if (reply->more)
		return PARK_ERROR; /* it may be among those that were left out */
	for (uint32_t i = 0; i < reply->n_processes; i++) {
		if (!is_its(r, reply->processes[i].pid)) {
			strange |= !is_here(reply->processes[i].pid);
			continue;
		}
		if (p->steps.n == PARK_PROCS_MAX)
			return PARK_ERROR;
		p->pids[p->steps.n++] = reply->processes[i].pid;
		p->gpu_bytes += reply->processes[i].bytes;
	}
	return p->steps.n == 0 && strange ? PARK_ERROR : PARK_OK;
}

static enum park_came free_enough(const struct replica *r, const struct gt_gpu_reply *reply)
{
	uint64_t need = GT_MIN(r->parking.gpu_bytes + MARGIN, reply->total_bytes);

	return reply->free_bytes >= need ? PARK_OK : PARK_AGAIN;
}

static void on_reply(const struct gt_gpu_reply *reply, const struct gt_err *err, void *arg)
{
	struct replica *r = arg;
	enum park_do what = r->parking.steps.at;
	enum park_came came = came_of(what, err);

	r->parking.op = NULL;
	if (err)
		gt_warn("replica %s: %s: %s", r->id, gt_park_do_name(what), err->text);
	if (came == PARK_OK && what == PARK_STATE)
		came = state_of(reply);
	else if (came == PARK_OK && what == PARK_FIND)
		came = take_processes(r, reply);
	else if (came == PARK_OK && what == PARK_FREE)
		came = free_enough(r, reply);
	gt_park_done(r, came);
}

/* ---- questions ---- */

static void request_fill(const struct replica *r, struct gt_gpu_request *q)
{
	static const enum gt_gpu_op_kind kinds[] = {
		[PARK_FIND] = GT_GPU_OP_PROCESSES,        [PARK_FREE] = GT_GPU_OP_MEMORY,
		[PARK_STATE] = GT_GPU_OP_STATE,           [PARK_LOCK] = GT_GPU_OP_LOCK,
		[PARK_CHECKPOINT] = GT_GPU_OP_CHECKPOINT, [PARK_RESTORE] = GT_GPU_OP_RESTORE,
		[PARK_UNLOCK] = GT_GPU_OP_UNLOCK,
	};
	const struct park_steps *s = &r->parking.steps;

	*q = (struct gt_gpu_request){ .kind = kinds[s->at], .lock_ms = LOCK_MS };
	if (s->at == PARK_FIND || s->at == PARK_FREE)
		gt_strcopy(q->uuid, sizeof(q->uuid), r->gpus[0].uuid);
	else
		q->pid = r->parking.pids[s->i];
	if (s->at == PARK_CHECKPOINT || s->at == PARK_RESTORE)
		q->deadline_ms = MOVE_MS;
}

static void on_timer(void *arg)
{
	ask(arg);
}

static void on_no_question(void *arg)
{
	gt_park_done(arg, PARK_ERROR);
}

static void ask(struct replica *r)
{
	struct gt_gpu_request q;
	struct gt_err err = { 0 };

	request_fill(r, &q);
	if (gt_gpu_helper_ask(gt_gpus_helper(r->agent->gpus), &q, on_reply, r, &r->parking.op,
			      &err) == 0)
		return;
	r->parking.op = NULL;
	if (err.code == EBUSY) /* others are being asked about */
		gt_timer_set(r->agent->loop, &r->parking.timer, BUSY_MS, on_timer, r);
	else
		gt_timer_set(r->agent->loop, &r->parking.timer, 0, on_no_question, r);
}

void gt_park_ask_driver(struct replica *r)
{
	ask(r);
}

/* ---- whether ---- */

bool gt_park_cuda_can(const struct replica *r, const char **why)
{
	const struct gt_gpu_driver *driver = gt_gpus_driver(r->agent->gpus);
	const struct gt_gpu *gpu = gt_gpus_find(r->agent->gpus, r->gpus[0].uuid);

	if (r->n_gpus != 1)
		*why = "it has several GPUs";
	else if (!gpu)
		*why = "its GPU is not known";
	else if (gpu->gi >= 0)
		*why = "its GPU is a MIG instance";
	else if (driver->cuda[0])
		*why = driver->cuda;
	else
		return true;
	return false;
}
