/* seccomp.c - default-deny filter: the calls of syscalls.tbl, a few for some arguments only, ENOSYS
 * for the rest (programs take it for an old kernel and fall back), EPERM for well-known privileged
 * ones (programs then say what is wrong). Another architecture's calls end the process. */
#include "seccomp_filter.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>

#define NEW_NAMESPACES                                                                             \
	(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | \
	 CLONE_NEWCGROUP | 0x80 /* CLONE_NEWTIME */)
#define PERSONALITY_QUERY 0xffffffff

static const char *const allowed[] = {
#define GT_SYSCALL(name) #name,
#include "syscalls.tbl"
#undef GT_SYSCALL
};

static const char *const refused[] = {
	"mount",
	"umount2",
	"pivot_root",
	"chroot",
	"move_mount",
	"open_tree",
	"fsopen",
	"fsmount",
	"fsconfig",
	"fspick",
	"mount_setattr",
	"unshare",
	"setns",
	"keyctl",
	"add_key",
	"request_key",
	"bpf",
	"userfaultfd",
	"perf_event_open",
	"ptrace",
	"process_vm_readv",
	"process_vm_writev",
	"kcmp",
	"kexec_load",
	"kexec_file_load",
	"init_module",
	"finit_module",
	"delete_module",
	"reboot",
	"swapon",
	"swapoff",
	"settimeofday",
	"clock_settime",
	"clock_adjtime",
	"adjtimex",
	"open_by_handle_at",
	"sethostname",
	"setdomainname",
	"syslog",
	"acct",
	"quotactl",
	"quotactl_fd",
	"iopl",
	"ioperm",
	"vhangup",
	"fanotify_init",
	"lookup_dcookie",
	"nfsservctl",
	"move_pages",
	"migrate_pages",
};

static int rule(scmp_filter_ctx ctx, uint32_t action, const char *name, unsigned n_args,
		const struct scmp_arg_cmp *args, struct gt_err *err)
{
	int nr = seccomp_syscall_resolve_name(name), r;

	/* The library or the architecture does not know it: then the default refuses it. */
	if (nr == __NR_SCMP_ERROR || nr < 0)
		return 0;
	r = seccomp_rule_add_array(ctx, action, nr, n_args, args);
	if (r < 0)
		return gt_err_errno(err, -r, "seccomp rule for %s", name);
	return 0;
}

static int rules_by_name(scmp_filter_ctx ctx, struct gt_err *err)
{
	int r;

	for (size_t i = 0; i < GT_LEN(allowed); i++) {
		r = rule(ctx, SCMP_ACT_ALLOW, allowed[i], 0, NULL, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < GT_LEN(refused); i++) {
		r = rule(ctx, SCMP_ACT_ERRNO(EPERM), refused[i], 0, NULL, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int rules_by_argument(scmp_filter_ctx ctx, struct gt_err *err)
{
	const struct {
		const char *name;
		unsigned n_args;
		struct scmp_arg_cmp args[2];
	} rows[] = {
		/* Threads and processes, not namespaces. clone3 hides its flags behind a pointer:
		 * it stays unknown, and libc goes back to clone. */
		{ "clone", 1, { SCMP_A0(SCMP_CMP_MASKED_EQ, NEW_NAMESPACES, 0) } },
		{ "socket", 1, { SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0) } },
		{ "socket", 1, { SCMP_A0(SCMP_CMP_EQ, AF_INET, 0) } },
		{ "socket", 1, { SCMP_A0(SCMP_CMP_EQ, AF_INET6, 0) } },
		{ "socket",
		  2,
		  { SCMP_A0(SCMP_CMP_EQ, AF_NETLINK, 0), SCMP_A2(SCMP_CMP_EQ, NETLINK_ROUTE, 0) } },
		/* One's own only: process 1 must keep the limits it writes the end down with. */
		{ "prlimit64", 1, { SCMP_A0(SCMP_CMP_EQ, 0, 0) } },
		{ "socketpair", 1, { SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0) } },
		{ "personality", 1, { SCMP_A0(SCMP_CMP_EQ, 0, 0) } },
		{ "personality", 1, { SCMP_A0(SCMP_CMP_EQ, PERSONALITY_QUERY, 0) } },
	};

	for (size_t i = 0; i < GT_LEN(rows); i++) {
		int r = rule(ctx, SCMP_ACT_ALLOW, rows[i].name, rows[i].n_args, rows[i].args, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int export(scmp_filter_ctx ctx, struct gt_buf *out, struct gt_err *err)
{
	gt_auto(fd) int fd = memfd_create("seccomp", MFD_CLOEXEC);
	ssize_t n;
	char *room;
	off_t size;
	int r;

	if (fd < 0)
		return gt_err_errno(err, errno, "memfd for the seccomp program");
	r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return gt_err_errno(err, -r, "compile the seccomp program");
	size = lseek(fd, 0, SEEK_END);
	room = size > 0 ? gt_buf_reserve(out, (size_t)size) : NULL;
	if (!room)
		return gt_err_errno(err, ENOBUFS, "seccomp program of %ld bytes", (long)size);
	n = pread(fd, room, (size_t)size, 0);
	if (n != size)
		return gt_err_errno(err, EIO, "read the seccomp program");
	out->len += (size_t)size;
	return 0;
}

static void release(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

int gt_seccomp_policy(struct gt_buf *out, struct gt_err *err)
{
	__attribute__((cleanup(release)))
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int r;

	if (!ctx)
		return gt_err_errno(err, ENOMEM, "seccomp filter");
	r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (r < 0)
		return gt_err_errno(err, -r, "seccomp: refuse other architectures");
	/* A binary tree: the kernel walks the depth of it, not its length. Old libraries lack it.
	 */
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	r = rules_by_name(ctx, err);
	if (r == 0)
		r = rules_by_argument(ctx, err);
	if (r == 0)
		r = export(ctx, out, err);
	return r;
}

int gt_seccomp_build(struct gt_buf *out, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf policy = { 0 };
	int r = gt_seccomp_policy(&policy, err);

	if (r < 0)
		return r;
	r = gt_seccomp_compact(&policy, out, err);
	if (r != -EOPNOTSUPP)
		return r;
	/* Of a library that writes programs in another way: right as they are, and slower. */
	gt_debug("%s", "the seccomp program is libseccomp's own");
	gt_err_clear(err);
	return gt_buf_add(out, policy.data, policy.len);
}
