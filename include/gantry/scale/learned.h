/* scale/learned.h - what the autoscaler has learned, as bytes: for a file that outlives control,
 * and for a record of decisions that does not begin from states that are all new.
 *
 * The bytes are this program's own, in this machine's order; a version and a checksum stand for
 * them. Times are moved on reading by how long ago they were written. */
#ifndef GANTRY_SCALE_LEARNED_H
#define GANTRY_SCALE_LEARNED_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>
#include <gantry/scale/scale.h>

#define GT_LEARNED_FUNCTIONS_MAX 16384
#define GT_LEARNED_BYTES_MAX     (64 * GT_MIB) /* more than that many functions can fill */

struct gt_learned_head {
	uint64_t now_ns;  /* the clock of the inputs, then */
	uint64_t wall_ms; /* the wall clock, then */
	bool final;       /* nothing was decided after it */
	uint32_t functions;
};

/* One function, read: scale is the reader's to free or to take. */
struct gt_learned_function {
	char name[GT_NAME_MAX + 1];
	uint64_t start_ms; /* control's estimate of a start */
	bool busy;         /* it had calls */
	struct gt_scale *scale;
};

/* Writing: begin, functions, end. `functions` of the head is counted. */
void gt_learned_begin(struct gt_buf *out, const struct gt_learned_head *head,
		      const struct gt_scale_pool *pool);
/* False: the bounds are reached, it is left out. */
bool gt_learned_add(struct gt_buf *out, const char *name, uint64_t start_ms,
		    const struct gt_scale *scale);
void gt_learned_end(struct gt_buf *out);

/* Reads all of it or nothing: -EINVAL (slug invalid_state) for bytes that are damaged or of another
 * version. Times become what they were to `head.now_ns`, seen elapsed_ns later at now_ns. fn gets
 * each function in the order of writing and takes or frees its scale. *ret_pool: the caller's. */
GT_MUST_USE int gt_learned_head_read(const void *data, size_t len, struct gt_learned_head *ret,
				     struct gt_err *err);
GT_MUST_USE int gt_learned_read(const void *data, size_t len, uint64_t now_ns, uint64_t elapsed_ns,
				void (*fn)(const struct gt_learned_function *f, void *arg),
				void *arg, struct gt_scale_pool **ret_pool, struct gt_err *err);

#endif
