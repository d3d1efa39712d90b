/* weights/scan.h - which files a pattern means, below a directory that a stranger may write in. */
#ifndef GANTRY_WEIGHTS_SCAN_H
#define GANTRY_WEIGHTS_SCAN_H

#include <sys/types.h>

#include <gantry/base/base.h>
#include <gantry/base/err.h>

#define GT_WEIGHTS_FILES_MAX 256  /* that one scan finds */
#define GT_WEIGHTS_NAMES_MAX 4096 /* entries of directories that one scan looks at */

/* What a file's content is told by: not its path, which may come to mean another file. */
struct gt_weights_id {
	uint64_t dev, ino, size;
	int64_t mtime_ns, ctime_ns;
	uint32_t mode, uid, gid;
};
#define GT_WEIGHTS_NAME_SIZE 96
/* As one component of a path; the same for equal content only. */
void gt_weights_id_name(const struct gt_weights_id *id, char ret[GT_WEIGHTS_NAME_SIZE]);
GT_MUST_USE int gt_weights_id_of(int fd, struct gt_weights_id *ret, struct gt_err *err);

struct gt_weights_found {
	const char *path; /* below the directory, "" = the place itself */
	int fd;           /* opened for reading; borrowed */
	struct gt_weights_id id;
	uint64_t resident; /* bytes of it in the page cache */
};

/* Calls fn for each regular file that is not empty, in the order of names, until it returns false.
 * root: a directory, or with pattern "" a file; O_PATH will do. `*`, `?` and `[]` match within one
 * component; names that begin with a dot only when the pattern says so. Links are followed where
 * they stay below root; nothing but a regular file is ever opened, so no pipe or device can hold up
 * or hurt. Nothing mounted below root is entered, as no container sees it. -E2BIG: more names or
 * files than one scan looks at. -ENOENT: the pattern means nothing. */
typedef bool gt_weights_found_fn(const struct gt_weights_found *found, void *arg);
GT_MUST_USE int gt_weights_scan(int root, const char *pattern, gt_weights_found_fn *fn, void *arg,
				struct gt_err *err);

#endif
