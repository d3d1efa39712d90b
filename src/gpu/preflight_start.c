/* preflight_start.c - gantry-preflight as a child: the GPUs that it sees, and nothing else of ours.
 */
#include <gantry/gpu/preflight.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/base.h>
#include <gantry/os/child.h>
#include <gantry/os/os.h>

#include "library.h"

#define PATH_SIZE 4096

/* After an upgrade the name of our own file is one of the past, and its directory still right. */
static int program_find(char ret[PATH_SIZE], struct gt_err *err)
{
	ssize_t n = readlink("/proc/self/exe", ret, PATH_SIZE - 1);
	char *slash;

	if (n < 0)
		return gt_err_errno(err, errno, "read /proc/self/exe");
	ret[n] = '\0';
	slash = strrchr(ret, '/');
	slash = slash ? slash + 1 : ret;
	gt_strcopy(slash, PATH_SIZE - (size_t)(slash - ret), GT_PREFLIGHT_PROGRAM);
	if (access(ret, X_OK) < 0)
		return gt_err_set(err, ENOENT, "system_error", "%s: %s", ret, strerror(errno));
	return 0;
}

struct start {
	const char *program;
	char *const *argv, *const *env;
};

static void become_preflight(void *arg)
{
	const struct start *s = arg;

	signal(SIGPIPE, SIG_DFL);
	if (dup2(0, 2) >= 0 && dup2(GT_OS_CHILD_FD, 1) >= 0)
		execve(s->program, s->argv, s->env);
	_exit(126);
}

static int spawn(const char *program, char *const argv[], char *const env[], int *ret_pidfd,
		 int *ret_output, struct gt_err *err)
{
	gt_auto(fd) int ours = -EBADF, theirs = -EBADF;
	struct start start = { program, argv, env };
	int pipe_fds[2], r;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return gt_err_errno(err, errno, "a pipe");
	ours = pipe_fds[0];
	theirs = pipe_fds[1];
	if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
		return gt_err_errno(err, errno, "a pipe");
	r = gt_os_child(&theirs, 1, become_preflight, &start, &pid, ret_pidfd, err);
	if (r == 0)
		*ret_output = gt_steal_fd(&ours);
	return r;
}

int gt_preflight_start(const struct gt_preflight_order *o, int *ret_pidfd, int *ret_output,
		       struct gt_err *err)
{
	char program[PATH_SIZE], cuda[GPU_LIBRARY_PATH], ranks[16], nccl[PATH_SIZE];
	char timeout[16];
	char *argv[] = { GT_PREFLIGHT_PROGRAM,
			 "--ranks",
			 ranks,
			 "--nccl",
			 nccl,
			 "--cuda",
			 cuda,
			 "--timeout",
			 timeout,
			 o->fake ? "--sizes" : NULL,
			 "8,1048576,4194304",
			 NULL };
	gt_auto(free) char *visible = gt_asprintf("CUDA_VISIBLE_DEVICES=%s", o->uuids);
	gt_auto(free) char *libraries = NULL;
	int r = program_find(program, err);

	if (r < 0)
		return r;
	gt_strcopy(nccl, sizeof(nccl), o->nccl && o->nccl[0] ? o->nccl : "libnccl.so.2");
	snprintf(ranks, sizeof(ranks), "%u", o->ranks);
	/* A verdict that names the rank that hangs, before its end is all that is known. */
	snprintf(timeout, sizeof(timeout), "%llu",
		 (unsigned long long)gt_preflight_ms(o->ranks) - 200);
	/* NCCL loads the driver's libraries by their names. */
	if (!o->fake && gpu_library_find(o->driver_root, GPU_LIBRARY_CUDA, cuda))
		libraries = gt_asprintf("LD_LIBRARY_PATH=%.*s", (int)(strrchr(cuda, '/') - cuda),
					cuda);
	else
		gt_strcopy(cuda, sizeof(cuda), o->fake ? "none" : GPU_LIBRARY_CUDA);
	char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", visible, libraries, NULL };

	return spawn(program, argv, env, ret_pidfd, ret_output, err);
}
