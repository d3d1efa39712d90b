/* gpus.h - the GPUs of a node and of its replicas, for the files of this room; part of
 * agent_impl.h. */
#ifndef GANTRY_SRC_AGENT_GPUS_H
#define GANTRY_SRC_AGENT_GPUS_H

#include "agent_impl.h"

/* replica_gpu.c */
void gt_replica_gpus_set(struct replica *r, const struct gt_gpu_grant *gpus, size_t n);
/* From the node's book, and the specification's command says what they are. -EBUSY, -ENOENT, slug
 * gpu_conflict. */
int gt_replica_gpus_take(struct replica *r, struct gt_err *err);
/* Once more, the very same; -EBUSY. */
int gt_replica_gpus_again(struct replica *r, struct gt_err *err);
/* The same for one that was found running: what it had is its, also while the driver has not told
 * yet which GPUs there are. */
int gt_replica_gpus_keep(struct replica *r, struct gt_err *err);
void gt_replica_gpus_return(struct replica *r); /* fine when it has none */
/* What the program is told; the strings are the caller's to free. */
size_t gt_replica_gpus_env(const struct replica *r, char *ret[GT_CONTAINER_ENV_MAX]);

/* gpus.c: what the node's GPUs and their driver tell */
int gt_agent_gpus_open(struct agent *a, const struct gt_agent_config *config, struct gt_err *err);
/* Its program begins, or has ended. */
void gt_agent_gpus_close(struct agent *a);
void gt_agent_gpus_clear(struct gt_request *req, void *app); /* a route */
void gt_agent_gpus_started(struct replica *r);
/* Adds what it has of GPUs. */
void gt_agent_gpus_usage(const struct replica *r, struct gt_usage *u);
/* What they measure now; how many. */
size_t gt_agent_gpus_stats(struct agent *a, const struct gt_gpu_told **ret);
void gt_agent_gpus_ended(struct replica *r);

/* gpu_reset.c: program: of the configuration, stays the caller's; NULL or "": none is reset */
void gt_gpu_reset_open(struct agent *a, const char *program);
void gt_gpu_reset_close(struct agent *a); /* one that runs is killed */
/* A GPU's health, or who has it, may have changed. */
void gt_gpu_reset_look(struct agent *a);
bool gt_gpu_reset_runs(const struct agent *a); /* then nothing is asked of the driver */

/* estimate_serve.c */
void gt_estimate_serve(struct gt_request *req, void *app);
void gt_estimates_drain(struct agent *a); /* refuses those that are being made */

/* replica_inject.c */
/* What the container gets beside its image, by its GPUs and resources.devices; NULL: nothing. The
 * specification has the variables afterwards. *ret is the caller's. Slug device_unavailable. */
int gt_replica_inject(struct replica *r, struct gt_inject **ret, struct gt_err *err);

/* cdi.c */
/* Adds what the named device needs. Slug device_unavailable. */
int gt_cdi_inject(const struct agent *a, const char *name, struct gt_inject *ret,
		  struct gt_err *err);

#endif
