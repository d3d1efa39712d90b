/* ground.c - the mount namespace that every sandbox begins in and takes its own copy of: one empty,
 * read-only directory with a mount point, and nothing of the host.
 *
 * It is made once. A sandbox that came from the host's would copy all of its mounts and take them
 * off again, and the change of root that does so looks at every thread of the machine, so that
 * starts would be slower the more containers live. */
#include "runtime_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/os/os.h>

#define BARE (MS_NOSUID | MS_NODEV | MS_NOEXEC)

struct birth {
	const char *dir;
	int ns;
	int code;
};

/* In our memory and with our descriptors: raw system calls only. */
static void make_ground(void *arg)
{
	struct birth *b = arg;
	bool ok = syscall(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		  syscall(SYS_mount, "ground", b->dir, "tmpfs", BARE,
			  "mode=0755,size=4k,nr_inodes=2") == 0 &&
		  syscall(SYS_chdir, b->dir) == 0 &&
		  syscall(SYS_mkdir, &GT_INIT_SCRATCH[1], 0755) == 0;

	if (ok)
		b->ns = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/ns/mnt",
				     O_RDONLY | O_CLOEXEC);
	ok = ok && b->ns >= 0 && syscall(SYS_pivot_root, ".", ".") == 0 &&
	     syscall(SYS_umount2, ".", MNT_DETACH) == 0 &&
	     syscall(SYS_mount, NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | BARE, NULL) == 0;
	b->code = ok ? 0 : errno;
}

int gt_ground_open(const char *dir, int *ret, struct gt_err *err)
{
	struct birth birth = { dir, -EBADF, 0 };
	const struct gt_os_spawn spawn = {
		.flags = CLONE_NEWNS,
		.cgroup = -EBADF,
		.fn = make_ground,
		.arg = &birth,
	};
	gt_auto(fd) int pidfd = -EBADF;
	pid_t pid;
	int r = gt_os_spawn(&spawn, &pid, &pidfd, err);

	if (r < 0)
		return r;
	waitpid(pid, NULL, 0);
	if (birth.code == 0) {
		*ret = birth.ns;
		return 0;
	}
	if (birth.ns >= 0)
		gt_close(birth.ns);
	return gt_err_errno(err, birth.code, "make an empty mount namespace");
}
