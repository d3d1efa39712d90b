/* claims.c - what processes have of simulated GPUs. Kept here, because a gpud that is replaced must
 * find the processes as they were: a real driver keeps that in the kernel and in them. */
#include "client.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static struct gpu_claim *find(struct gt_gpu_helper *h, pid_t pid)
{
	struct gpu_claim *c;

	DL_FOREACH (h->claims, c) {
		if (c->is.pid == pid)
			return c;
	}
	return NULL;
}

void gpu_claim_move(struct gpud_claim *c, const struct gt_gpu_request *rq)
{
	for (size_t i = 0; i < c->n; i++) {
		for (size_t m = 0; m < rq->n_moves; m++) {
			if (strcmp(c->of[i].uuid, rq->moves[m].from) != 0)
				continue;
			gt_strcopy(c->of[i].uuid, sizeof(c->of[i].uuid), rq->moves[m].to);
			break;
		}
	}
}

void gt_gpu_helper_claim(struct gt_gpu_helper *h, pid_t pid, const char *uuid, uint64_t bytes)
{
	struct gpu_claim *c;

	if (!h || h->backend != GT_GPU_SIM || pid < 1)
		return;
	c = find(h, pid);
	if (!c) {
		c = gt_alloc(sizeof(*c));
		c->is.word = GPUD_CLAIM;
		c->is.pid = pid;
		DL_APPEND(h->claims, c);
	}
	if (c->is.n == GT_NODE_GPUS_MAX)
		return;
	gt_strcopy(c->is.of[c->is.n].uuid, sizeof(c->is.of->uuid), uuid);
	c->is.of[c->is.n++].bytes = bytes;
	gpu_helper_send(h, &c->is, sizeof(c->is));
}

void gt_gpu_helper_unclaim(struct gt_gpu_helper *h, pid_t pid)
{
	struct gpu_claim *c = h ? find(h, pid) : NULL;

	if (!c)
		return;
	c->is.n = 0;
	gpu_helper_send(h, &c->is, sizeof(c->is));
	DL_DELETE(h->claims, c);
	free(c);
}

void gpu_claims_send(struct gt_gpu_helper *h)
{
	struct gpu_claim *c;

	DL_FOREACH (h->claims, c)
		gpu_helper_send(h, &c->is, sizeof(c->is));
}

/* What an operation did to its process. */
void gpu_claims_note(struct gt_gpu_helper *h, const struct gt_gpu_op *op,
		     const struct gpud_answer *answer)
{
	static const enum gt_gpu_process_state after[GT_GPU_OP_N] = {
		[GT_GPU_OP_LOCK] = GT_GPU_PROCESS_LOCKED,
		[GT_GPU_OP_CHECKPOINT] = GT_GPU_PROCESS_CHECKPOINTED,
		[GT_GPU_OP_RESTORE] = GT_GPU_PROCESS_LOCKED,
		[GT_GPU_OP_UNLOCK] = GT_GPU_PROCESS_RUNNING,
	};
	const struct gt_gpu_request *rq = &op->request;
	struct gpu_claim *c = rq->pid > 0 ? find(h, rq->pid) : NULL;

	if (!c)
		return;
	if (answer->code == EIO || (answer->code == ENOMEM && rq->kind == GT_GPU_OP_RESTORE))
		c->is.state = GT_GPU_PROCESS_FAILED;
	if (answer->code || rq->kind < GT_GPU_OP_LOCK || rq->kind > GT_GPU_OP_UNLOCK)
		return;
	c->is.state = after[rq->kind];
	gpu_claim_move(&c->is, rq);
}

void gpu_claims_free(struct gt_gpu_helper *h)
{
	struct gpu_claim *c, *next;

	DL_FOREACH_SAFE (h->claims, c, next) {
		DL_DELETE(h->claims, c);
		free(c);
	}
}
