/* confine.c - the worker may write in its own directory and nowhere else, whatever the permissions
 * of other files say (Landlock). Without a kernel that has it, its user id is the only wall. */
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

#include "work.h"

#define WRITES                                                           \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |     \
	 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |   \
	 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

static int allow(int ruleset, int dir, uint64_t what)
{
	const struct landlock_path_beneath_attr rule = { .allowed_access = what, .parent_fd = dir };

	return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

int gt_work_confine(int dir_fd)
{
	const struct landlock_ruleset_attr attr = { .handled_access_fs = WRITES };
	gt_auto(fd) int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	gt_auto(fd) int null = open("/dev/null", O_PATH | O_CLOEXEC);

	if (ruleset < 0 || null < 0)
		return -errno;
	/* Credential helpers are started with /dev/null as their standard streams. */
	if (allow(ruleset, dir_fd, WRITES) < 0 ||
	    allow(ruleset, null, LANDLOCK_ACCESS_FS_WRITE_FILE) < 0 ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return -errno;
	return 0;
}
