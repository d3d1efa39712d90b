/* client.h - what the files of this process's end of gpud share. */
#ifndef GPU_CLIENT_H
#define GPU_CLIENT_H

#include "proto.h"

struct gt_gpu_op {
	struct gt_gpu_helper *h;
	struct gt_gpu_op *prev, *next;
	uint32_t id;
	struct gt_gpu_request request;
	gt_gpu_reply_fn *fn; /* NULL: cancelled */
	void *arg;
	struct gt_timer deadline;
	uint64_t deadline_ms;
	struct gt_err err; /* it failed at once */
};

struct gpu_claim {
	struct gpu_claim *prev, *next;
	struct gpud_claim is;
};

struct gt_gpu_helper {
	struct gt_loop *loop;
	struct gt_gpu_helper_config config; /* its strings are copies */
	enum gt_gpu_backend backend;
	uint64_t init_ms, sample_ms, silent_ms;
	pid_t pid;
	int socket, pidfd;
	struct gt_watch *watch, *pid_watch;
	struct gt_timer init, restart, watchdog;
	unsigned failures; /* of gpud in a row */
	uint64_t starts, began_ns, heard_ns, sampled_ns;
	bool known; /* it told of GPUs or of the driver */
	bool begun, has_gpus, told_down, paused;
	char stuck[48]; /* the call that it has been in for longest; "" = in none */
	char why[GT_GPU_REASON_MAX + 1]; /* it ended, or is about to */
	struct gt_gpu_op *ops;
	size_t n_ops;
	uint32_t last_id;
	struct gpu_claim *claims;
};

/* client.c */
int gpu_helper_start(struct gt_gpu_helper *h, struct gt_err *err);
void gpu_helper_kill(struct gt_gpu_helper *h);
void gpu_helper_send(struct gt_gpu_helper *h, const void *packet, size_t len);

/* claims.c: what processes have of simulated GPUs; told to each new gpud */
void gpu_claims_send(struct gt_gpu_helper *h);
void gpu_claims_note(struct gt_gpu_helper *h, const struct gt_gpu_op *op,
		     const struct gpud_answer *answer);
void gpu_claims_free(struct gt_gpu_helper *h);

#endif
