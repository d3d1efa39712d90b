/* gpus.c - the node's GPUs and their driver, as the agent meets them: what changed is reported,
 * replicas whose GPU is gone are ended, simulated GPUs learn who has what of them. */
#include <stdlib.h>
#include <string.h>

#include <gantry/base/log.h>

#include "agent_impl.h"

#define AWAIT_MS                                                                         \
	700 /* of a node's start: real drivers answer in less where they are kept loaded \
	     */

static void on_change(void *arg)
{
	gt_park_choose_again(arg);
	gt_report_full(arg);
}

int gt_agent_gpus_open(struct agent *a, const struct gt_agent_config *config, struct gt_err *err)
{
	const struct gt_gpus_config gc = {
		.gpus = config->gpus,
		.node = a->node,
		.helper = config->gpu_helper,
		.driver_root = config->gpu_driver_root,
		.await_ms = AWAIT_MS,
		.events = { .on_change = on_change, .arg = a },
	};

	return gt_gpus_open(a->loop, &gc, &a->gpus, err);
}

void gt_agent_gpus_started(struct replica *r)
{
	for (size_t i = 0; i < r->n_gpus; i++)
		gt_gpu_helper_claim(gt_gpus_helper(r->agent->gpus), r->where.pid, r->gpus[i].uuid,
				    r->gpus[i].memory_bytes);
}

void gt_agent_gpus_ended(struct replica *r)
{
	if (r->where.pid > 0)
		gt_gpu_helper_unclaim(gt_gpus_helper(r->agent->gpus), r->where.pid);
}
