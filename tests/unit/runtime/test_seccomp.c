/* test_seccomp.c - the filter loaded into a child: what it lets through and what not. */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "seccomp_filter.h"

static struct gt_buf filter;

struct call {
	long nr;
	long args[4];
	int expected; /* errno, 0 = success, -1 = anything that is not a refusal */
};

/* The errno of the call under the filter, or 1000 + signal. */
static int under_filter(const struct call *c)
{
	struct sock_fprog prog = { .len = (unsigned short)(filter.len / 8),
				   .filter = (struct sock_filter *)(void *)filter.data };
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGSYS, SIG_DFL);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
			syscall(SYS_exit_group, 250);
		long r = syscall(c->nr, c->args[0], c->args[1], c->args[2], c->args[3]);

		if (c->nr == SYS_clone && r == 0)
			syscall(SYS_exit_group, 0);
		syscall(SYS_exit_group, r < 0 ? errno : 0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The calls of a 32-bit program, which have other numbers, from a 64-bit one. */
static void ancient_door_is_shut(void **state)
{
	struct sock_fprog prog = { .len = (unsigned short)(filter.len / 8),
				   .filter = (struct sock_filter *)(void *)filter.data };
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		long r = 20; /* getpid there, writev here */

		signal(SIGSYS, SIG_DFL);
		signal(SIGSEGV, SIG_DFL);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
			syscall(SYS_exit_group, 250);
		__asm__ volatile("int $0x80" : "+a"(r) : : "memory", "r8", "r9", "r10", "r11");
		syscall(SYS_exit_group, 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	/* A kernel that is built without that door has a wall there. */
	assert_true(WIFSIGNALED(status) &&
		    (WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV));
}

static void verdicts(void **state)
{
	static const struct call calls[] = {
		{ SYS_getpid, { 0 }, 0 },
		{ SYS_socket, { AF_INET, SOCK_STREAM, 0 }, 0 },
		{ SYS_socket, { AF_UNIX, SOCK_STREAM, 0 }, 0 },
		{ SYS_socket, { AF_NETLINK, SOCK_RAW, 0 }, 0 },
		{ SYS_socket, { AF_NETLINK, SOCK_RAW, 12 /* NETFILTER */ }, ENOSYS },
		{ SYS_socket, { AF_PACKET, SOCK_RAW, 0 }, ENOSYS },
		{ SYS_socket, { 38 /* AF_ALG */, SOCK_SEQPACKET, 0 }, ENOSYS },
		{ SYS_socket, { 40 /* AF_VSOCK */, SOCK_STREAM, 0 }, ENOSYS },
		{ SYS_clone, { SIGCHLD, 0, 0, 0 }, 0 },
		{ SYS_clone, { SIGCHLD | CLONE_NEWUSER, 0, 0, 0 }, ENOSYS },
		{ SYS_clone, { SIGCHLD | CLONE_NEWNET, 0, 0, 0 }, ENOSYS },
		{ SYS_clone3, { 0 }, ENOSYS },
		{ SYS_unshare, { CLONE_NEWNS }, EPERM },
		{ SYS_setns, { 0, 0 }, EPERM },
		{ SYS_mount, { 0 }, EPERM },
		{ SYS_umount2, { 0 }, EPERM },
		{ SYS_ptrace, { 0 }, EPERM },
		{ SYS_bpf, { 0 }, EPERM },
		{ SYS_keyctl, { 0 }, EPERM },
		{ SYS_perf_event_open, { 0 }, EPERM },
		{ SYS_userfaultfd, { 0 }, EPERM },
		{ SYS_io_uring_setup, { 1, 0 }, ENOSYS },
		{ SYS_vmsplice, { 0 }, ENOSYS },
		{ SYS_socketpair, { AF_VSOCK, SOCK_STREAM, 0 }, ENOSYS },
		{ SYS_membarrier, { 0 /* QUERY */ }, 0 },
		{ SYS_set_mempolicy, { 0 /* DEFAULT */ }, 0 },
		{ SYS_process_madvise, { -1, 0, 0, 0 }, EINVAL }, /* the kernel's own answer */
		{ SYS_pidfd_getfd, { -1 }, EBADF },               /* likewise */
		{ SYS_process_vm_readv, { 0 }, EPERM },
		{ SYS_kcmp, { 0 }, EPERM },
		{ SYS_prlimit64, { 1, 1, 0, 0 }, ENOSYS }, /* of process 1 */
		{ SYS_prlimit64, { 0, 1, 0, 0 }, 0 },
		{ SYS_open_by_handle_at, { 0 }, EPERM },
		{ SYS_init_module, { 0 }, EPERM },
		{ SYS_personality, { 0xffffffff }, 0 },
		{ SYS_personality, { 0x0400000 /* READ_IMPLIES_EXEC */ }, ENOSYS },
		{ 100000, { 0 }, ENOSYS },
		/* The x32 face of getpid is another architecture's. */
		{ 0x40000000 + SYS_getpid, { 0 }, 1000 + SIGSYS },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		int got = under_filter(&calls[i]);

		if (got != calls[i].expected)
			fail_msg("row %zu, call %ld: %d, not %d", i, calls[i].nr, got,
				 calls[i].expected);
	}
}

static int build(void **state)
{
	struct gt_err err = { 0 };

	(void)state;
	gt_buf_init(&filter, 0);
	return gt_seccomp_build(&filter, &err);
}

static int drop(void **state)
{
	(void)state;
	gt_buf_fini(&filter);
	return 0;
}

static void fits_the_kernel(void **state)
{
	(void)state;
	assert_true(filter.len > 0 && filter.len % sizeof(struct sock_filter) == 0);
	assert_true(filter.len / sizeof(struct sock_filter) <= BPF_MAXINSNS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fits_the_kernel),
		cmocka_unit_test(verdicts),
		cmocka_unit_test(ancient_door_is_shut),
	};

	return cmocka_run_group_tests_name("seccomp", tests, build, drop);
}
