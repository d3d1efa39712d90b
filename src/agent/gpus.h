/* gpus.h - what the node's GPUs and their driver tell, and what of it is a replica's. */
#ifndef GANTRY_AGENT_GPUS_H
#define GANTRY_AGENT_GPUS_H

#include "agent_impl.h"

int gt_agent_gpus_open(struct agent *a, const struct gt_agent_config *config, struct gt_err *err);
void gt_agent_gpus_close(struct agent *a);
void gt_agent_gpus_clear(struct gt_request *req, void *app); /* a route */
/* Its program begins, or has ended. */
void gt_agent_gpus_started(struct replica *r);
void gt_agent_gpus_ended(struct replica *r);
/* Adds what it has of GPUs. */
void gt_agent_gpus_usage(const struct replica *r, struct gt_usage *u);
/* What they measure now; how many. */
size_t gt_agent_gpus_stats(struct agent *a, const struct gt_gpu_told **ret);

#endif
