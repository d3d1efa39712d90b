/* foreign.c - what a bundle of the OCI runtime specification asks for and functions can not: for
 * the adapter that lets others judge this program. Nothing here runs for a function. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "init.h"

static _Noreturn void fail(unsigned index)
{
	init_fail(GT_INIT_STEP_FOREIGN, errno, index);
}

/* ---- process 1, with the host's rights ---- */

static void make_files_as(uint32_t id)
{
	setfsgid(id);
	setfsuid(id);
}

int init_foreign_root(const struct init_prepare *p, uint32_t id_base)
{
	if (move_mount(p->fds[GT_INIT_FD_LAYERS], "", AT_FDCWD, "root", MOVE_MOUNT_F_EMPTY_PATH) <
	    0)
		fail(1);
	make_files_as(id_base);
	return open("root", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int empty_dir(void)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), mnt;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "0", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "2", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		fail(2);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC,
		      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	close(fs);
	return mnt;
}

/* The node that this program made, never one that a bundle has put in its place. */
static int null_device(int root)
{
	struct stat st;
	int at = init_open_below(root, "dev/null", 0, RESOLVE_NO_SYMLINKS), mnt;

	if (at < 0 || fstat(at, &st) < 0)
		fail(3);
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3)) {
		errno = ENODEV;
		fail(4);
	}
	mnt = open_tree(at, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	close(at);
	return mnt;
}

static int open_path(int root, const char *path)
{
	int fd = init_open_below(root, path + strspn(path, "/"), 0, 0);

	if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
		fail(5);
	return fd; /* what is not there needs no hiding */
}

static void cover(int at, int mnt)
{
	if (mnt < 0 ||
	    move_mount(mnt, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		fail(6);
	close(mnt);
	close(at);
}

static void mask(int root, const char *path)
{
	int at = open_path(root, path);
	struct stat st;

	if (at < 0)
		return;
	if (fstat(at, &st) < 0)
		fail(7);
	cover(at, S_ISDIR(st.st_mode) ? empty_dir() : null_device(root));
}

static void make_readonly(int root, const char *path)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	int at = open_path(root, path), mnt;

	if (at < 0)
		return;
	mnt = open_tree(at, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	if (mnt < 0 ||
	    mount_setattr(mnt, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		fail(8);
	cover(at, mnt);
}

/* A writable one that nobody else ever sees: nothing of a bundle can stand in the way. */
static int private_proc(void)
{
	int fs = fsopen("proc", FSOPEN_CLOEXEC), mnt;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		fail(13);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (mnt < 0)
		fail(14);
	close(fs);
	return mnt;
}

static void write_proc(int proc, const char *path, const char *value, unsigned index)
{
	int fd = openat(proc, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t len = strlen(value);

	if (fd < 0 || write(fd, value, len) != (ssize_t)len)
		fail(index);
	close(fd);
}

void init_foreign_set_up(const struct init_spec *spec, int root)
{
	const struct gt_init_foreign *f = spec->foreign;
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };
	char text[512];
	int proc;

	make_files_as(0);
	for (uint32_t i = 0; i < f->n_masked; i++)
		mask(root, spec->masked[i]);
	for (uint32_t i = 0; i < f->n_readonly; i++)
		make_readonly(root, spec->readonly[i]);
	proc = private_proc();
	for (uint32_t i = 0; i < f->n_sysctls; i++) {
		snprintf(text, sizeof(text), "sys/%s", spec->sysctls[(size_t)i * 2]);
		write_proc(proc, text, spec->sysctls[(size_t)i * 2 + 1], 9);
	}
	if (f->has_oom_score_adj) {
		snprintf(text, sizeof(text), "%d", f->oom_score_adj);
		write_proc(proc, "self/oom_score_adj", text, 10);
	}
	close(proc);
	if (*spec->domainname && setdomainname(spec->domainname, strlen(spec->domainname)) < 0)
		fail(11);
	if (f->root_readonly &&
	    mount_setattr(root, "", AT_EMPTY_PATH, &readonly, sizeof(readonly)) < 0)
		fail(12);
}

/* ---- the child ---- */

int init_foreign_limits(const struct gt_init_foreign *f)
{
	for (uint32_t i = 0; i < f->n_limits; i++) {
		struct rlimit r = { f->limits[i].soft, f->limits[i].hard };

		if (setrlimit((int)f->limits[i].resource, &r) < 0)
			return errno;
	}
	umask(f->umask);
	return 0;
}

static int set_caps(const struct gt_init_foreign *f)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++) {
		data[i].effective = (uint32_t)(f->caps[1] >> (32 * i));
		data[i].permitted = (uint32_t)(f->caps[2] >> (32 * i));
		data[i].inheritable = (uint32_t)(f->caps[3] >> (32 * i));
	}
	if (syscall(SYS_capset, &head, data) < 0)
		return errno;
	for (unsigned long cap = 0; cap < 64; cap++) {
		if ((f->caps[4] >> cap & 1) &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return errno;
	}
	return 0;
}

/* The bounding set first, while the right to shrink it is there; the change of user keeps what the
 * sets that follow may hold. */
int init_foreign_become(const struct gt_init_foreign *f, uint32_t uid, uint32_t gid)
{
	gid_t groups[GT_INIT_FOREIGN_MAX];
	int code;

	/* As for functions, unless the bundle has ambient capabilities to raise. */
	if (!f->has_caps || f->caps[4] == 0) {
		code = init_lock_rights(uid == 0);
		if (code != 0)
			return code;
	}
	for (uint32_t i = 0; i < f->n_groups; i++)
		groups[i] = f->groups[i];
	for (unsigned long cap = 0; f->has_caps && cap < 64; cap++) {
		if (!(f->caps[0] >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 &&
		    errno != EINVAL)
			return errno;
	}
	if (f->has_caps && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return errno;
	if (setgroups(f->n_groups, groups) < 0 || setresgid(gid, gid, gid) < 0 ||
	    setresuid(uid, uid, uid) < 0)
		return errno;
	if (f->has_caps) {
		code = set_caps(f);
		if (code != 0)
			return code;
	}
	/* The memory is process 1's too, and a change of user may have opened it. */
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? errno : 0;
}
