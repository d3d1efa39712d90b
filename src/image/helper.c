/* helper.c - runs a credential helper: no shell, an environment of two variables, no descriptor
 * but its own three, a time limit, and an end for whatever it left behind. */
#include "registry_priv.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/os/os.h>

#define LOOK_MS 100

/* The first executable file of that name in a PATH of absolute directories. */
static char *program_find(const char *path, const char *name)
{
	while (*path) {
		size_t len = strcspn(path, ":");
		char *file = gt_asprintf("%.*s/docker-credential-%s", (int)len, path, name);

		if (path[0] == '/' && access(file, X_OK) == 0)
			return file;
		free(file);
		path += len + (path[len] == ':');
	}
	return NULL;
}

static int spawn(const char *program, const char *path, int in, int out, pid_t *ret,
		 struct gt_err *err)
{
	const char *home = getenv("HOME");
	gt_auto(free) char *path_env = gt_asprintf("PATH=%s", path);
	gt_auto(free) char *home_env = gt_asprintf("HOME=%s", home ? home : "/");
	char *const argv[] = { (char *)program, (char *)"get", NULL };
	char *const envp[] = { path_env, home_env, NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	int r = posix_spawn(ret, program, &files, &attr, argv, envp);

	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return r == 0 ? 0 : gt_err_errno(err, r, "start %s", program);
}

/* To the end of what it writes. */
static int collect(const struct gt_ask *ask, int fd, struct gt_buf *out, struct gt_err *err)
{
	uint64_t ends_ns = gt_mono_ns(&gt_clock_system) + ask->r->helper_ms * GT_NS_PER_MS;

	for (;;) {
		uint64_t now = gt_mono_ns(&gt_clock_system);
		uint64_t left_ms = ends_ns > now ? (ends_ns - now) / GT_NS_PER_MS + 1 : 0;
		struct pollfd p = { fd, POLLIN, 0 };
		char data[4096];

		if (ask->cancel && atomic_load(ask->cancel))
			return gt_err_set(err, ECANCELED, "registry_unavailable", "cancelled");
		if (left_ms == 0)
			return gt_err_set(err, ETIMEDOUT, "image_denied", "no answer within %u ms",
					  ask->r->helper_ms);
		if (poll(&p, 1, (int)GT_MIN(left_ms, (uint64_t)LOOK_MS)) <= 0)
			continue;
		ssize_t n = read(fd, data, sizeof(data));

		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return gt_err_errno(err, errno, "read its answer");
		if (n > 0 && gt_buf_add(out, data, (size_t)n) < 0)
			return gt_err_set(err, EMSGSIZE, "image_denied",
					  "its answer is longer than %zu bytes", out->max);
		explicit_bzero(data, sizeof(data));
	}
}

/* Its output has ended, or waiting for it has. It may take a moment to exit by itself; then it is
 * killed with all its children. */
static bool end(pid_t pid, unsigned patience_ms)
{
	gt_auto(fd) int pidfd = -EBADF;
	struct pollfd p = { 0 };
	int status = 0;

	if (patience_ms > 0 && gt_os_pidfd_open(pid, &pidfd, NULL) == 0) {
		p = (struct pollfd){ pidfd, POLLIN, 0 };
		while (poll(&p, 1, (int)patience_ms) < 0 && errno == EINTR)
			continue;
	}
	kill(-pid, SIGKILL); /* not waited for yet: its number still names the group */
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int gt_helper_run(const struct gt_ask *ask, const char *name, const char *server,
		  struct gt_buf *out, bool *ret_succeeded, struct gt_err *err)
{
	const char *path = ask->r->helper_path;
	gt_auto(free) char *program = program_find(path, name);
	gt_auto(fd) int in = -EBADF, from = -EBADF, to = -EBADF;
	int ends[2], r;
	pid_t pid = -1;

	if (!program)
		return gt_err_set(err, ENOENT, "image_denied", "it is in none of %s", path);
	/* Not a pipe: it may end without reading. */
	if ((r = gt_os_memfd("server", server, strlen(server), &in, err)) < 0)
		return r;
	if (lseek(in, 0, SEEK_SET) < 0 || pipe2(ends, O_CLOEXEC) < 0)
		return gt_err_errno(err, errno, "its input and output");
	from = ends[0];
	to = ends[1];
	if ((r = spawn(program, path, in, to, &pid, err)) < 0)
		return r;
	to = gt_close(to);
	r = collect(ask, from, out, err);
	*ret_succeeded = end(pid, r == 0 ? ask->r->helper_ms : 0) && r == 0;
	return r;
}
