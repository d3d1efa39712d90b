/* weights/read.h - a file into memory, as fast as its disk can and with next to no processor time.
 * Both block, use GT_WEIGHTS_THREADS threads of their own, and are for a process that may be killed
 * by what they meet: a file that shrinks under a mapping is a SIGBUS. */
#ifndef GANTRY_WEIGHTS_READ_H
#define GANTRY_WEIGHTS_READ_H

#include <gantry/base/err.h>

#define GT_WEIGHTS_THREADS 4

enum gt_weights_folios { /* of 2 MiB in the page cache: does the file system make them? */
			 GT_FOLIOS_UNKNOWN, /* it was all there already */
			 GT_FOLIOS_LARGE,
			 GT_FOLIOS_SMALL, /* no: it was read by readahead(2) */
			 GT_FOLIOS_N
};

struct gt_weights_done {
	uint64_t bytes; /* so far; what was there already counts too */
	enum gt_weights_folios folios;
};
typedef void gt_weights_tick_fn(const struct gt_weights_done *done, void *arg);

/* Into the page cache, from the front to the back: one touch of a mapping for each 2 MiB, which the
 * kernel answers with one folio of that size where the file system can, so that whoever maps the
 * file later takes one fault for each too. tick: now and then, from the calling thread. */
GT_MUST_USE int gt_weights_prefetch(int fd, uint64_t size, gt_weights_tick_fn *tick, void *arg,
				    struct gt_weights_done *ret, struct gt_err *err);
/* Past the page cache into an empty file of a tmpfs, in huge pages where it may have any. -ENOSPC:
 * the tmpfs is full. -ESTALE: the file became shorter. */
GT_MUST_USE int gt_weights_fill(int from, int into, uint64_t size, gt_weights_tick_fn *tick,
				void *arg, struct gt_weights_done *ret, struct gt_err *err);

#endif
