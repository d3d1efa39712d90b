/* gpud_rig.h - a gpud beside a test: this program once more. */
#ifndef TESTS_GPUD_RIG_H
#define TESTS_GPUD_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <gantry/gpu/helper.h>

struct rig {
	struct gt_loop *loop;
	struct gt_gpu_helper *h;
	struct gt_gpu_driver driver;
	struct gt_gpu gpus[GT_NODE_GPUS_MAX];
	size_t n_gpus;
	struct gt_gpu_sample samples[GT_NODE_GPUS_MAX]; /* the last of each */
	unsigned n_samples, n_drivers, n_incidents;
	struct gt_gpu_incident incident;
	/* of the last request */
	bool answered;
	struct gt_err err;
	struct gt_gpu_reply reply;
};

struct rig *rig_new(const char *gpus, const struct gt_gpu_helper_config *more);
void rig_free(struct rig *r);
void rig_step(struct rig *r);
/* Asks and waits. Returns 0 or -errno. */
int rig_ask(struct rig *r, const struct gt_gpu_request *rq);
int rig_of(struct rig *r, enum gt_gpu_op_kind kind, pid_t pid);

#define rig_until(rig, condition)      \
	do {                           \
		while (!(condition))   \
			rig_step(rig); \
	} while (0)

/* Of a test's main, first: is this gpud? Then it does not return. */
void rig_main(int argc, char **argv);

#endif
