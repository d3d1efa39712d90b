#include "spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/os/os.h>

#define FIRST_FD  3
#define PARKED_FD 200 /* above every target, so that moving one does not overwrite another */

/* Moves the wanted descriptors to 3, 4, ... and closes all others. In the child. */
static int place_fds(const struct gt_spawn *spawn, char *text, size_t size)
{
	int parked[GT_FD_N], next = FIRST_FD;
	size_t len = 0;

	for (int i = 0; i < GT_FD_N; i++) {
		parked[i] = spawn->fds[i] < 0 ? -1 : fcntl(spawn->fds[i], F_DUPFD, PARKED_FD);
		if (spawn->fds[i] >= 0 && parked[i] < 0)
			return -errno;
	}
	text[0] = '\0';
	for (int i = 0; i < GT_FD_N; i++) {
		if (parked[i] < 0)
			continue;
		if (dup2(parked[i], next) < 0)
			return -errno;
		len += (size_t)snprintf(text + len, size - len, "%s%s=%d", len ? "," : "",
					gt_role_fd_names[i], next++);
	}
	return close_range((unsigned)next, ~0U, 0) < 0 ? -errno : 0;
}

static void set_env(const char *name, const char *value)
{
	if (setenv(name, value, 1) < 0)
		_exit(125);
}

_Noreturn static void child(const struct gt_spawn *spawn, const char *config, pid_t supervisor)
{
	char fds[256], text[64];
	char *argv[] = { "gantryd", (char *)gt_role_names[spawn->id], NULL };
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0); /* a terminal's Ctrl-C is for the supervisor alone */
	if (place_fds(spawn, fds, sizeof(fds)) < 0)
		_exit(125);
	set_env(GT_ENV_FDS, fds);
	set_env(GT_ENV_CONFIG, config);
	set_env(GT_ENV_TOKEN, spawn->token_sha256);
	if (spawn->join_token)
		set_env(GT_ENV_JOIN, spawn->join_token);
	snprintf(text, sizeof(text), "%u:%u", (unsigned)spawn->uid, (unsigned)spawn->gid);
	set_env(GT_ENV_IDS, text);
	snprintf(text, sizeof(text), "%d", (int)supervisor);
	set_env(GT_ENV_SUPERVISOR, text);
	snprintf(text, sizeof(text), "%u", spawn->instance);
	set_env(GT_ENV_INSTANCE, text);
	unsetenv("NOTIFY_SOCKET"); /* only the supervisor speaks to the service manager */
	execv("/proc/self/exe", argv);
	_exit(126);
}

int gt_spawn_watch(pid_t pid, int *ret_pidfd, struct gt_err *err)
{
	int r = gt_os_pidfd_open(pid, ret_pidfd, err);

	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return r;
}

int gt_spawn_role(const struct gt_spawn *spawn, pid_t *ret_pid, int *ret_pidfd, struct gt_err *err)
{
	char config[GT_CONFIG_PACKED];
	pid_t self = getpid();

	if (gt_config_pack(spawn->config, config, sizeof(config), err) < 0)
		return -err->code;
	pid_t pid = fork();
	if (pid < 0)
		return gt_err_errno(err, errno, "fork the %s", gt_role_names[spawn->id]);
	if (pid == 0)
		child(spawn, config, self);
	if (gt_spawn_watch(pid, ret_pidfd, err) < 0)
		return -err->code;
	*ret_pid = pid;
	return 0;
}
