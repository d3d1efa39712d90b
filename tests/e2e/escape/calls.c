/* calls.c - system calls that a container has no use for: refused before the kernel looks at their
 * arguments, which are such that nothing would happen if it did. */
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Newer than the headers of the oldest distribution that this is built on. */
#define NR_STATMOUNT      457
#define NR_LISTMOUNT      458
#define NR_LSM_SET_SELF   460
#define NR_OPEN_TREE_ATTR 467
#define NR_LISTNS         470

static void refused(struct result *r, const char *name, long nr)
{
	must_fail(r, name, syscall(nr, -1L, -1L, -1L, -1L, -1L, -1L));
}

#if defined(__x86_64__)
static void expect_killed(struct result *r, const char *what, pid_t pid)
{
	int status = 0;

	waitpid(pid, &status, 0);
	say(r, WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? CONTAINED : ESCAPED,
	    "%s: wait status %#x", what, status);
}

static void compat_call(struct result *r, const char *arg, long nr)
{
	pid_t pid = fork();

	(void)arg;
	(void)nr;
	if (pid == 0) {
		long value = 20; /* getpid there */

		__asm__ volatile("int $0x80" : "+a"(value) : : "memory");
		_exit(0);
	}
	expect_killed(r, "int 0x80", pid);
}

static void x32_call(struct result *r, const char *arg, long nr)
{
	pid_t pid = fork();

	(void)arg;
	(void)nr;
	if (pid == 0) {
		syscall(0x40000000L | SYS_getpid);
		_exit(0);
	}
	expect_killed(r, "a call of x32", pid);
}
#else
static void other_machine(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	say(r, ABSENT, "this machine has no such calls");
}
#define compat_call other_machine
#define x32_call    other_machine
#endif

static void personality_bits(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	must_fail(r, "ADDR_NO_RANDOMIZE", syscall(SYS_personality, 0x0040000));
	must_fail(r, "READ_IMPLIES_EXEC", syscall(SYS_personality, 0x0400000));
}

/* "shocker": the root of the disk by its number, which no path leads to. */
static void by_handle(struct result *r, const char *arg, long nr)
{
	struct {
		unsigned bytes;
		int type;
		unsigned handle[2];
	} root = { 8, 1, { 2, 0 } };
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)arg;
	(void)nr;
	must_fail(r, "open_by_handle_at", syscall(SYS_open_by_handle_at, fd, &root, O_RDONLY));
}

/* Stopping all writes of a file system. */
static void freeze(struct result *r, const char *path, long nr)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long done = ioctl(fd, (unsigned long)nr, 0);

	if (done >= 0)
		ioctl(fd, _IOWR('X', 120, int), 0); /* thaw */
	must_fail(r, path, done);
}

#define CALL(name)                                                     \
	{                                                              \
		"call_" #name, refused, #name, SYS_##name, BARE, PLAIN \
	}
/* The machine decides whether there is such a call at all. */
#define CALL_MAYBE(name, nr)                                      \
	{                                                         \
		"call_" #name, refused, #name, nr, NOWHERE, PLAIN \
	}

static const struct probe table[] = {
	CALL(mount),
	CALL(umount2),
	CALL(pivot_root),
	CALL(chroot),
	CALL(move_mount),
	CALL(open_tree),
	CALL(fsopen),
	CALL(fsmount),
	CALL(fsconfig),
	CALL(fspick),
	CALL(mount_setattr),
	CALL(unshare),
	CALL(setns),
	CALL(add_key),
	CALL(request_key),
	CALL(keyctl),
	CALL(bpf),
	CALL(perf_event_open),
	CALL(ptrace),
	CALL(process_vm_readv),
	CALL(process_vm_writev),
	CALL(kcmp),
	CALL(reboot),
	CALL(swapon),
	CALL(swapoff),
	CALL(clock_settime),
	CALL(clock_adjtime),
	CALL(settimeofday),
	CALL(adjtimex),
	CALL(open_by_handle_at),
	CALL(syslog),
	CALL(vhangup),
	CALL(fanotify_mark),
	CALL(move_pages),
	CALL(migrate_pages),
	CALL_MAYBE(userfaultfd, SYS_userfaultfd),
	CALL_MAYBE(io_uring_setup, SYS_io_uring_setup),
	CALL_MAYBE(io_uring_enter, SYS_io_uring_enter),
	CALL_MAYBE(io_uring_register, SYS_io_uring_register),
	CALL_MAYBE(kexec_load, SYS_kexec_load),
	CALL_MAYBE(init_module, SYS_init_module),
	CALL_MAYBE(finit_module, SYS_finit_module),
	CALL_MAYBE(delete_module, SYS_delete_module),
	CALL_MAYBE(acct, SYS_acct),
	CALL_MAYBE(quotactl, SYS_quotactl),
	CALL_MAYBE(quotactl_fd, SYS_quotactl_fd),
	CALL_MAYBE(fanotify_init, SYS_fanotify_init),
	CALL_MAYBE(lookup_dcookie, SYS_lookup_dcookie),
	CALL_MAYBE(memfd_secret, SYS_memfd_secret),
	CALL_MAYBE(statmount, NR_STATMOUNT),
	CALL_MAYBE(listmount, NR_LISTMOUNT),
	CALL_MAYBE(listns, NR_LISTNS),
	CALL_MAYBE(open_tree_attr, NR_OPEN_TREE_ATTR),
	CALL_MAYBE(lsm_set_self_attr, NR_LSM_SET_SELF),
#ifdef SYS_kexec_file_load
	CALL_MAYBE(kexec_file_load, SYS_kexec_file_load),
#endif
#if defined(__x86_64__)
	CALL(iopl),
	CALL(ioperm),
	CALL_MAYBE(modify_ldt, SYS_modify_ldt),
	CALL_MAYBE(uselib, SYS_uselib),
	CALL_MAYBE(ustat, SYS_ustat),
	CALL_MAYBE(sysfs, SYS_sysfs),
#endif
	{ "call_personality", personality_bits, NULL, 0, BARE, PLAIN },
	{ "call_int80", compat_call, NULL, 0, NOWHERE, PLAIN },
	{ "call_x32", x32_call, NULL, 0, BARE, PLAIN },
	{ "handle_shocker", by_handle, NULL, 0, NOWHERE, PLAIN },
	{ "ioctl_freeze", freeze, "/", _IOWR('X', 119, int), NOWHERE, PLAIN },
	{ "ioctl_freeze_shm", freeze, "/dev/shm", _IOWR('X', 119, int), NOWHERE, PLAIN },
};
const struct probes call_probes = PROBES(table);
