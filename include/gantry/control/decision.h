/* control/decision.h - why a function has the replicas that it has: what was known, which rule
 * spoke, what the others would have done, and what came of it. */
#ifndef GANTRY_CONTROL_DECISION_H
#define GANTRY_CONTROL_DECISION_H

#include <gantry/model/msg.h>
#include <gantry/scale/scale.h>

struct gt_control;

enum gt_decision_kind {
	GT_DECISION_SCALE, /* how many */
	GT_DECISION_PLACE, /* where one replica goes, or why nowhere */
	GT_DECISION_EVICT, /* a replica makes room for another function's calls, and is stopped */
	GT_DECISION_PARK,  /* one is parked, or comes back */
	GT_DECISION_KINDS
};
const char *gt_decision_kind_name(enum gt_decision_kind k); /* "scale", "place", "evict", "park" */

#define GT_PLACE_SHOWN  4
#define GT_PLACE_LIMITS 12

/* How a node stood, in steps of 0.12 GPU of fragmentation or 0.3 s; the sum decides. */
struct gt_place_node {
	const char *node;
	int32_t room;   /* fragmentation, GPU models, fill */
	int32_t ready;  /* time to ready, against the usual one */
	int32_t spread; /* replicas of the function there: 0 or less */
};

/* One about how many that repeats the one before it (the same counts by the same rules) is not
 * kept. What it starts is placed right after it, one decision each. */
struct gt_decision {
	uint64_t id; /* grows over restarts of control: epoch << 32 | n */
	uint64_t wall_ms;
	const char *function;
	uint32_t revision;
	enum gt_decision_kind kind;
	union {
		struct {
			struct gt_scale_in in;
			struct gt_scale_out out;
		} scale;
		struct {
			uint64_t cpu_milli, memory_bytes; /* limits that were asked for; 0 = none */
			uint32_t gpus, gpu_milli;         /* and GPUs; 0 thousandths = whole ones */
			uint64_t gpu_bytes;               /* on each; 0 = none stated */
			uint32_t nodes;                   /* that are known */
			char replica[GT_REPLICA_ID_SIZE]; /* "" = none was placed */
			const char *node;                 /* "" = none fits: see why */
			const char *given;                /* GPUs by UUID, blanks between */
			const char *why;
			uint64_t weights_here, weights_total;      /* bytes; 0 = none are known */
			struct gt_place_node best[GT_PLACE_SHOWN]; /* the first was taken */
			uint8_t n_best, n_refused;
			struct {
				const char *limit; /* the first that they fail; static text */
				uint32_t nodes;
			} refused[GT_PLACE_LIMITS];
			uint32_t looked; /* nodes that `refused` is about: the first 128 */
		} place;
		struct {
			char replica[GT_REPLICA_ID_SIZE];
			const char *node;
			const char *by; /* the function that needs the place */
			double worth;   /* seconds that are lost on average (gt_scale_worth) */
			uint32_t among; /* idle replicas that might have gone instead */
		} evict;
		struct {
			char replica[GT_REPLICA_ID_SIZE];
			const char *node;
			const char *why; /* "idle", "pressure", "called" */
			const char *by;  /* the function that gets its place; "" = none */
			enum gt_park_method method;
			bool back;     /* it comes back */
			double swap_s; /* that going or coming is expected to take */
		} park;
	};
};

/* The function's, oldest first, id > after; fn returns false to stop. What control keeps is bounded
 * (GT_DECISIONS_KEPT, of all functions together): -ERANGE (slug cursor_gone) when `after` is older
 * than that; 0 = from the oldest kept. Borrowed for the call. */
GT_MUST_USE int gt_control_decisions(struct gt_control *c, const char *function, uint64_t after,
				     bool (*fn)(const struct gt_decision *d, void *arg), void *arg,
				     struct gt_err *err);

#endif
