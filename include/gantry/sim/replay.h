/* sim/replay.h - a recorded run of the autoscaler, decided once more: is every decision the same;
 * and what would a candidate have cost? */
#ifndef GANTRY_SIM_REPLAY_H
#define GANTRY_SIM_REPLAY_H

#include <gantry/base/err.h>
#include <gantry/scale/shadow.h>

struct gt_replay {
	uint64_t hash; /* of the file */
	uint64_t decisions, functions;
	uint64_t differing;                   /* decisions that came out otherwise */
	char first[240];                      /* the first of them, "" = none */
	struct gt_scale_bill live, candidate; /* of all functions; only with a candidate */
};

/* File as written by gantryd with `record = yes`, plain or gzip; learned: the file beside it with
 * the states that it begins from (decisions.learned), NULL = none. 0 also when decisions differ.
 * -EINVAL names the line of a bad row. */
GT_MUST_USE int gt_replay_run(const char *file, const char *learned,
			      const struct gt_scale_candidate *candidate,
			      void (*on_progress)(uint64_t rows, void *arg), void *arg,
			      struct gt_replay *ret, struct gt_err *err);

#endif
