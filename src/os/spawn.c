/* spawn.c - a process in our memory until it executes a program: nothing is copied for it, not even
 * the table of descriptors, whose copy and whose closing would grow with all that we have open.
 *
 * The child gets a stack of its own and runs while the caller sleeps in the kernel (CLONE_VM |
 * CLONE_VFORK). It shares memory and thread-local storage, so it keeps to raw system calls. Signals
 * are blocked around it: a handler of ours would run in both. */
#include <gantry/os/os.h>

#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK_SIZE (16 * 1024)

struct spawn_call {
	void (*fn)(void *arg);
	void *arg;
};

static void in_child(struct spawn_call *call)
{
	call->fn(call->arg);
	syscall(SYS_exit_group, 127);
}

#ifndef __x86_64__
#error "write clone3_on_stack for this processor"
#endif
/* No libc has a clone3 that takes a stack. The child must not return into the caller's frame. */
static long clone3_on_stack(struct clone_args *args, struct spawn_call *call)
{
	register struct spawn_call *child_call __asm__("r8") = call;
	register void (*child_fn)(struct spawn_call *) __asm__("r9") = in_child;
	long ret;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %[call], %%rdi\n\t"
			 "call *%[fn]\n\t"
			 "hlt\n\t"
			 "1:"
			 : "=a"(ret)
			 : "a"(SYS_clone3), "D"(args),
			   "S"(sizeof(*args)), [call] "r"(child_call), [fn] "r"(child_fn)
			 : "rcx", "r11", "memory", "cc");
	return ret;
}

int gt_os_spawn(const struct gt_os_spawn *spawn, pid_t *ret_pid, int *ret_pidfd, struct gt_err *err)
{
	_Alignas(16) unsigned char stack[STACK_SIZE];
	struct spawn_call call = { spawn->fn, spawn->arg };
	int pidfd = -1;
	struct clone_args args = {
		.flags = spawn->flags | CLONE_VM | CLONE_FILES | CLONE_VFORK | CLONE_PIDFD |
			 CLONE_CLEAR_SIGHAND,
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.stack = (uintptr_t)stack,
		.stack_size = sizeof(stack),
	};
	sigset_t all, before;
	long pid;

	if (spawn->cgroup >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)spawn->cgroup;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = clone3_on_stack(&args, &call);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return gt_err_errno(err, (int)-pid, "clone3 with flags %#llx",
				    (unsigned long long)spawn->flags);
	*ret_pid = (pid_t)pid;
	*ret_pidfd = pidfd;
	return 0;
}
