#include "role.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <gantry/base/units.h>

const char *const gt_role_names[GT_PROC_N] = {
	[GT_PROC_CONTROL] = "control",
	[GT_PROC_AGENT] = "agent",
	[GT_PROC_GATEWAY] = "gateway",
	[GT_PROC_UPLINK] = "uplink",
};

const char *const gt_role_fd_names[GT_FD_N] = {
	[GT_FD_LISTEN] = "listen", [GT_FD_LINK] = "link",       [GT_FD_API] = "api",
	[GT_FD_AGENT] = "agent",   [GT_FD_DIAL] = "dial",       [GT_FD_DOOR] = "door",
	[GT_FD_LOCK] = "lock",     [GT_FD_READY] = "ready",     [GT_FD_BEFORE] = "before",
	[GT_FD_AFTER] = "after",   [GT_FD_FILES] = "files",     [GT_FD_LISTEN_TLS] = "listen_tls",
	[GT_FD_LEAD] = "lead",     [GT_FD_FORWARD] = "forward",
};

static int read_fds(int fds[GT_FD_N], struct gt_err *err)
{
	const char *text = getenv(GT_ENV_FDS);

	for (int i = 0; i < GT_FD_N; i++)
		fds[i] = -EBADF;
	while (text && *text) {
		char item[32];
		size_t n = strcspn(text, ",");
		uint64_t fd;
		int i;

		snprintf(item, sizeof(item), "%.*s", (int)GT_MIN(n, sizeof(item) - 1), text);
		char *eq = strchr(item, '=');
		for (i = 0; eq && i < GT_FD_N; i++)
			if (strncmp(item, gt_role_fd_names[i], (size_t)(eq - item)) == 0 &&
			    gt_role_fd_names[i][eq - item] == '\0')
				break;
		if (!eq || i == GT_FD_N || gt_parse_u64(eq + 1, 1 << 20, &fd) < 0 ||
		    fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
			return gt_err_set(
				err, EINVAL, "bad_config",
				"%s: \"%s\" is no inherited descriptor; roles are started by "
				"`gantryd run`",
				GT_ENV_FDS, item);
		fds[i] = (int)fd;
		text += n + (text[n] == ',');
	}
	return 0;
}

/* Irrevocable: no group, no id, no way back. */
static int drop_root(uid_t uid, gid_t gid, struct gt_err *err)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return gt_err_errno(err, errno, "become user %u", (unsigned)uid);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return gt_err_errno(err, errno, "no_new_privs");
	if (uid != 0 && setuid(0) == 0)
		return gt_err_set(err, EPERM, "internal", "root came back after it was given up");
	return 0;
}

int gt_role_enter(enum gt_role_id id, struct gt_role_env *ret, struct gt_err *err)
{
	const char *config = getenv(GT_ENV_CONFIG), *ids = getenv(GT_ENV_IDS);
	unsigned uid, gid;

	gt_config_defaults(&ret->config);
	if (!config || !ids || sscanf(ids, "%u:%u", &uid, &gid) != 2)
		return gt_err_set(err, EINVAL, "bad_config",
				  "a role is started by `gantryd run`, not by hand");
	if (gt_config_unpack(&ret->config, config, err) < 0 || read_fds(ret->fds, err) < 0)
		return -err->code;
	ret->token_sha256 = getenv(GT_ENV_TOKEN);
	ret->join_token = getenv(GT_ENV_JOIN);
	ret->instance = getenv(GT_ENV_INSTANCE);
	if (!ret->token_sha256 || !ret->instance)
		return gt_err_set(err, EINVAL, "bad_config",
				  "the supervisor's environment is incomplete");
	ret->uid = (uid_t)uid;
	ret->gid = (gid_t)gid;
	gt_log_init(gt_role_names[id], ret->config.log_level);
	signal(SIGPIPE, SIG_IGN);
	if (id != GT_PROC_AGENT && drop_root(ret->uid, ret->gid, err) < 0)
		return -err->code;
	/* After the change of ids, which clears it; a supervisor that died earlier is seen by its
	 * pid. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return gt_err_errno(err, errno, "parent death signal");
	const char *parent = getenv(GT_ENV_SUPERVISOR);
	if (!parent || getppid() != (pid_t)strtol(parent, NULL, 10))
		return gt_err_set(err, ESRCH, "internal", "the supervisor is gone");
	return 0;
}

void gt_role_ready(const struct gt_role_env *env)
{
	static const char word[] = "READY\n";

	if (env->fds[GT_FD_READY] >= 0)
		(void)!write(env->fds[GT_FD_READY], word, sizeof(word) - 1);
}
