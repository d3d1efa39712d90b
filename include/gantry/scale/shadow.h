/* scale/shadow.h - a candidate policy beside the live one: it sees the same calls, moves replicas
 * that do not exist, and is billed for them. Pure, as scale.h; one thread.
 *
 * Its bill is an estimate. Calls at once are taken from the live system, which holds them longer
 * when it is slower; of those, the candidate's ready replicas serve `target` each and the rest
 * waits. A start takes what the live policy expects of one. The live bill is made in the same way,
 * from the replicas that there really are, so that the two compare. */
#ifndef GANTRY_SCALE_SHADOW_H
#define GANTRY_SCALE_SHADOW_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>
#include <gantry/scale/scale.h>

/* What differs from the live policy. */
struct gt_scale_candidate {
	bool on;
	char text[64]; /* as it was written */
	enum gt_scale_policy policy;
	double price;    /* < 0 = as the function says */
	int64_t buffer;  /* < 0 = as the function says */
	bool learn_idle; /* a stated scale.idle does not count */
};

/* "kpa", "gantry price=50 buffer=1 idle=learned"; "" = none. -EINVAL (slug invalid_config) names
 * the word. */
GT_MUST_USE int gt_scale_candidate_parse(const char *text, struct gt_scale_candidate *ret,
					 struct gt_err *err);

struct gt_scale_bill {
	double replica_s; /* replicas, ready or starting, times seconds */
	double waiting_s; /* waiting calls times seconds */
	uint64_t starts;  /* that became ready */
};
void gt_scale_bill_add(struct gt_scale_bill *to, const struct gt_scale_bill *b);

/* One function under the candidate. At most 1 KiB beside its struct gt_scale. */
struct gt_scale_shadow;
struct gt_scale_shadow *gt_scale_shadow_new(const struct gt_scale_candidate *candidate);
void gt_scale_shadow_free(struct gt_scale_shadow *s); /* NULL is fine */
GT_CLEANUP_TYPE(shadow, struct gt_scale_shadow *, gt_scale_shadow_free)

/* The live policy decided `out` from `in`. pool: the candidate's own, shared by all functions. */
void gt_scale_shadow_feed(struct gt_scale_shadow *s, struct gt_scale_pool *pool,
			  const struct gt_scale_in *in, const struct gt_scale_out *out);
/* Both bills up to the last input. */
void gt_scale_shadow_bills(const struct gt_scale_shadow *s, struct gt_scale_bill *ret_live,
			   struct gt_scale_bill *ret_shadow);

#endif
