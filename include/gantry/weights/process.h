/* weights/process.h - the processes that meet what is in volumes, so that the agent does not: a
 * scout that finds files, and a reader for each file. Each has one job, tells over a packet socket
 * how it goes, and ends; each dies with its parent. What hurts one (a file that shrinks, a disk
 * that does not answer, a kill) hurts nobody else.
 *
 * The scout has two rights left of root's: to read what is not its own, and to be told what of it
 * is in memory. The reader has none, and the descriptors of its file alone. */
#ifndef GANTRY_WEIGHTS_PROCESS_H
#define GANTRY_WEIGHTS_PROCESS_H

#include <sys/types.h>

#include <gantry/weights/read.h>
#include <gantry/weights/scan.h>

/* Where they live. */
struct gt_weights_home {
	const int *groups; /* of control groups: each takes a "0" from who wants to be in it */
	size_t n_groups;
	uid_t uid; /* of readers; not root, unless we are not */
	gid_t gid;
};

struct gt_weights_place {
	int root; /* of gt_weights_scan */
	const char *pattern;
};

struct gt_weights_process {
	pid_t pid;
	int pidfd, sock; /* sock: non-blocking by gt_os_recv */
};

enum gt_weights_word_type {
	GT_WEIGHTS_FOUND = 1, /* with the file's descriptor */
	GT_WEIGHTS_PROGRESS,
	GT_WEIGHTS_END, /* the last one, unless it died */
};

struct gt_weights_word {
	uint32_t type;
	uint32_t place; /* FOUND: index */
	struct gt_weights_id id;
	uint64_t resident;
	struct gt_weights_done done; /* PROGRESS, END of a reader */
	uint64_t took_ns;            /* END of a reader */
	int32_t code;                /* END: 0, or a positive errno */
	char slug[40];
	char path[4096]; /* FOUND: below the place */
};
#define GT_WEIGHTS_WORD_HEAD offsetof(struct gt_weights_word, path) /* a word is at least this */

/* From a single-threaded process; the places and descriptors stay the caller's. A place in which
 * there is nothing is passed over. */
GT_MUST_USE int gt_weights_scout(const struct gt_weights_home *home,
				 const struct gt_weights_place *places, size_t n,
				 struct gt_weights_process *ret, struct gt_err *err);
/* into < 0: a prefetch. */
GT_MUST_USE int gt_weights_reader(const struct gt_weights_home *home, int from, int into,
				  uint64_t size, struct gt_weights_process *ret,
				  struct gt_err *err);
#endif
