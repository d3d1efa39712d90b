/* gpud.h - the inside of gpud: a main thread that reads requests and never calls the driver, a
 * thread that looks at the GPUs, one that waits for the driver's events, and one for each request.
 * What they tell goes out as whole packets, so sending needs no lock. */
#ifndef GPU_GPUD_H
#define GPU_GPUD_H

#include <stdatomic.h>

#include "proto.h"

struct gpud {
	int socket;
	const struct gpu_driver *driver;
	struct gpud_hello config;
	atomic_uint ops;           /* threads of requests */
	struct gt_gpu_driver told; /* when it was ready, before CUDA was */
};

/* A source of GPUs as gpud sees it. Every call may be made on any thread, and may block; `begin`
 * comes first and alone. Those that a backend can not do are NULL. */
struct gpu_driver {
	/* Takes the path of its libraries or its configuration. On failure *ret's text says what
	 * to do; a driver that is not there is a failure too. */
	int (*begin)(struct gpud *g, struct gt_gpu_driver *ret, struct gt_err *err);
	int (*list)(struct gpud *g, struct gt_gpu *ret, size_t *ret_n, struct gt_err *err);
	/* Fills what it knows of the i-th GPU of the last list. */
	void (*sample)(struct gpud *g, size_t i, struct gt_gpu_sample *ret);
	/* One incident, waiting at most max_ms. 0: there is one; -EAGAIN: none; else there will
	 * never be any. */
	int (*incident)(struct gpud *g, unsigned max_ms, struct gt_gpu_incident *ret);
	/* Makes the checkpoint calls ready, which takes seconds; "" or why they can not be had. */
	void (*begin_cuda)(struct gpud *g, char *ret, size_t size);
	int (*ask)(struct gpud *g, const struct gt_gpu_request *rq, struct gt_gpu_reply *ret,
		   struct gt_err *err);
	void (*claim)(struct gpud *g, const struct gpud_claim *claim);
};

extern const struct gpu_driver gpud_sim;    /* sim_driver.c */
extern const struct gpu_driver gpud_nvidia; /* nvidia.c; fake is the same with other libraries */

/* Around each call of a driver's library: what hangs can be told by name. Not nested. */
void gpud_enter(const char *call);
void gpud_leave(void);

#endif
