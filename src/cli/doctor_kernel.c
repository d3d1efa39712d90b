/* What the kernel offers, tried with harmless calls. */
#include "doctor.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define NEWER_KERNEL "use a kernel of 6.1 or newer (Debian 12 has one)"

static void check_version(struct gt_doctor *d GT_UNUSED, struct gt_finding *f)
{
	unsigned major = 0, minor = 0;
	struct utsname u;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2) {
		gt_finding_set(f, GT_CHECK_WARN, NULL, "the version can not be read");
		return;
	}
	if (major * 1000 + minor >= 6001)
		gt_finding_set(f, GT_CHECK_OK, NULL, "Linux %s %s", u.release, u.machine);
	else if (major * 1000 + minor >= 5012)
		gt_finding_set(f, GT_CHECK_WARN, NEWER_KERNEL,
			       "Linux %s is older than what is tested", u.release);
	else
		gt_finding_set(f, GT_CHECK_ERROR, NEWER_KERNEL, "Linux %s is too old", u.release);
}

static void check_root(struct gt_doctor *d, struct gt_finding *f)
{
	if (d->root)
		gt_finding_set(f, GT_CHECK_OK, NULL, "yes");
	else
		gt_finding_set(f, GT_CHECK_WARN, "start gantryd, and this check, with sudo",
			       "this is user %u; gantryd makes containers as root", geteuid());
}

static int try_unshare(void *arg)
{
	return unshare(*(const int *)arg) < 0 ? errno : 0;
}

static void check_namespaces(struct gt_doctor *d GT_UNUSED, struct gt_finding *f)
{
	int all = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS |
		  CLONE_NEWIPC | CLONE_NEWCGROUP;
	int user = CLONE_NEWUSER, rc = gt_in_child(try_unshare, &user);

	if (rc != 0) {
		gt_finding_set(
			f, GT_CHECK_ERROR,
			"sysctl -w user.max_user_namespaces=15000 "
			"kernel.unprivileged_userns_clone=1; inside a container, allow it there",
			"a user namespace can not be made: %s", strerror(rc));
		return;
	}
	rc = gt_in_child(try_unshare, &all);
	if (rc != 0)
		gt_finding_set(f, GT_CHECK_ERROR,
			       "see the limits in /proc/sys/user/max_*_namespaces",
			       "a namespace of a container can not be made: %s", strerror(rc));
	else
		gt_finding_set(f, GT_CHECK_OK, NULL, "user, mount, pid, net, uts, ipc, cgroup");
}

/* Makes an overlay of two directories and drops it unmounted. */
static int try_overlay(void *arg)
{
	int fd;

	if (unshare(*(const int *)arg) < 0)
		return errno;
	fd = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
	if (fd < 0)
		return errno;
	if (syscall(SYS_fsconfig, fd, FSCONFIG_SET_STRING, "lowerdir", "/usr:/etc", 0) < 0 ||
	    syscall(SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return errno;
	return 0;
}

static void check_overlay(struct gt_doctor *d, struct gt_finding *f)
{
	int flags = CLONE_NEWNS | (d->root ? 0 : CLONE_NEWUSER);
	int rc = gt_in_child(try_overlay, &flags);

	if (rc == 0)
		gt_finding_set(f, GT_CHECK_OK, NULL, "overlay file systems can be made");
	else
		gt_finding_set(f, GT_CHECK_ERROR, "modprobe overlay, or a kernel with OVERLAY_FS",
			       "an overlay file system can not be made: %s", strerror(rc));
}

/* A file that is no image: a kernel that mounts erofs from files says so (EINVAL), one that wants a
 * block device says that (ENOTBLK). */
static int try_erofs(void *arg GT_UNUSED)
{
	int fd = (int)syscall(SYS_fsopen, "erofs", FSOPEN_CLOEXEC);

	if (fd < 0)
		return errno;
	if (syscall(SYS_fsconfig, fd, FSCONFIG_SET_STRING, "source", "/etc/passwd", 0) < 0 ||
	    syscall(SYS_fsconfig, fd, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0)
		return errno;
	if (syscall(SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 && errno != EINVAL)
		return errno;
	return 0;
}

#define FILES_FIX "a kernel of 6.12 or newer, or image_extract = yes in [agent] of gantry.conf"

static void check_images(struct gt_doctor *d, struct gt_finding *f)
{
	int rc;

	if (!d->root) {
		gt_finding_set(f, GT_CHECK_SKIP, NULL, "only root can try");
		return;
	}
	rc = gt_in_child(try_erofs, NULL);
	if (rc == 0)
		gt_finding_set(f, GT_CHECK_OK, NULL, "layers can be mounted from files (erofs)");
	else if (rc == ENODEV)
		gt_finding_set(f, GT_CHECK_WARN,
			       "modprobe erofs, or image_extract = yes in [agent] of gantry.conf",
			       "this kernel has no erofs: layers of images can not be mounted");
	else if (rc == ENOTBLK)
		gt_finding_set(f, GT_CHECK_WARN, FILES_FIX,
			       "this kernel's erofs mounts no files, only block devices "
			       "(CONFIG_EROFS_FS_BACKED_BY_FILE is missing)");
	else
		gt_finding_set(f, GT_CHECK_WARN, FILES_FIX,
			       "layers can not be mounted from files: %s", strerror(rc));
}

/* Calls that change nothing with these arguments: absent is ENOSYS, forbidden is EPERM. */
static void check_calls(struct gt_doctor *d GT_UNUSED, struct gt_finding *f)
{
	static const struct {
		const char *name;
		long nr, a, b, c, d, e;
	} rows[] = {
		{ "openat2", SYS_openat2, -1, 0, 0, 0, 0 },
		{ "clone3", SYS_clone3, 0, 0, 0, 0, 0 },
		{ "pidfd_open", SYS_pidfd_open, 0, 0, 0, 0, 0 },
		{ "pidfd_send_signal", SYS_pidfd_send_signal, -1, 0, 0, 0, 0 },
		{ "close_range", SYS_close_range, 2, 1, 0, 0, 0 },
		{ "open_tree", SYS_open_tree, -1, 0, 0, 0, 0 },
		{ "move_mount", SYS_move_mount, -1, 0, -1, 0, 0 },
		{ "mount_setattr", SYS_mount_setattr, -1, 0, 0, 0, 0 },
		{ "memfd_create", SYS_memfd_create, 0, 0, 0, 0, 0 },
	};
	char missing[200] = "";
	size_t n = 0;

	for (size_t i = 0; i < GT_LEN(rows); i++) {
		if (syscall(rows[i].nr, rows[i].a, rows[i].b, rows[i].c, rows[i].d, rows[i].e) <
			    0 &&
		    (errno == ENOSYS || errno == EPERM))
			n += (size_t)snprintf(missing + n, sizeof(missing) - n, " %s",
					      rows[i].name);
	}
	if (n)
		gt_finding_set(f, GT_CHECK_ERROR,
			       NEWER_KERNEL
			       "; inside a container, let its seccomp filter allow them",
			       "not available:%s", missing);
	else
		gt_finding_set(f, GT_CHECK_OK, NULL,
			       "openat2, clone3, pidfd, open_tree, mount_setattr");
}

static void check_seccomp(struct gt_doctor *d GT_UNUSED, struct gt_finding *f)
{
	uint32_t errno_action = SECCOMP_RET_ERRNO, kill_action = SECCOMP_RET_KILL_PROCESS;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &errno_action) == 0 &&
	    syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &kill_action) == 0)
		gt_finding_set(f, GT_CHECK_OK, NULL, "filters can be used");
	else
		gt_finding_set(f, GT_CHECK_ERROR, "a kernel with SECCOMP_FILTER",
			       "system calls can not be filtered: %s", strerror(errno));
}

static const struct gt_check rows[] = {
	{ "kernel", check_version },        { "root", check_root },
	{ "namespaces", check_namespaces }, { "overlay", check_overlay },
	{ "images", check_images },         { "system calls", check_calls },
	{ "seccomp", check_seccomp },       { "egress", gt_check_egress },
};
const struct gt_checks gt_checks_kernel = { rows, GT_LEN(rows) };
