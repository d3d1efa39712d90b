#include "kind.h"

#include <pwd.h>
#include <sys/socket.h>

#include "listen.h"

const struct gt_kind gt_kind_run = {
	.command = "run",
	.roles = 1U << GT_PROC_CONTROL | 1U << GT_PROC_AGENT | 1U << GT_PROC_GATEWAY,
	.front = GT_PROC_GATEWAY,
	.fds = {
		[GT_PROC_CONTROL] = 1U << GT_FD_LINK | 1U << GT_FD_API | 1U << GT_FD_LOCK,
		[GT_PROC_AGENT] = 1U << GT_FD_AGENT | 1U << GT_FD_DIAL | 1U << GT_FD_LOCK,
		[GT_PROC_GATEWAY] =
			1U << GT_FD_LISTEN | 1U << GT_FD_LISTEN_TLS | 1U << GT_FD_LOCK,
	},
};

int gt_kind_ids(const struct gt_config *c, uid_t *ret_uid, gid_t *ret_gid, struct gt_err *err)
{
	const struct passwd *pw;

	*ret_uid = *ret_gid = GT_DEFAULT_ID;
	if (!c->user[0])
		return 0;
	pw = getpwnam(c->user);
	if (!pw || pw->pw_uid == 0)
		return gt_err_set(
			err, ENOENT, "bad_config",
			"user \"%s\" %s; all roles but the agent need an unprivileged one", c->user,
			pw ? "is root" : "does not exist");
	*ret_uid = pw->pw_uid;
	*ret_gid = pw->pw_gid;
	return 0;
}

uid_t gt_kind_uid(const struct gt_config *c, uid_t uid, enum gt_role_id id)
{
	static const uid_t offsets[GT_PROC_N] = { [GT_PROC_GATEWAY] = 1, [GT_PROC_AGENT] = 2 };

	return c->user[0] ? uid : uid + offsets[id];
}

static bool wanted(const struct gt_kind *kind, enum gt_role_fd fd)
{
	for (int i = 0; i < GT_PROC_N; i++)
		if (kind->fds[i] & 1U << fd)
			return true;
	return false;
}

int gt_kind_listen(const struct gt_kind *kind, const struct gt_config *c, gid_t gid,
		   struct gt_listening *ret, struct gt_err *err)
{
	static const struct {
		enum gt_role_fd fd;
		const char *path;
		int type;
	} sockets[] = {
		{ GT_FD_LINK, "run/link.sock", SOCK_STREAM },
		{ GT_FD_API, "run/api.sock", SOCK_STREAM },
		{ GT_FD_AGENT, "run/agent.sock", SOCK_STREAM },
		{ GT_FD_DIAL, "run/dial.sock", SOCK_SEQPACKET },
	};

	for (size_t i = 0; i < GT_LEN(sockets); i++)
		if (wanted(kind, sockets[i].fd) &&
		    gt_listen_unix(sockets[i].path, sockets[i].type, gid, &ret->fds[sockets[i].fd],
				   err) < 0)
			return -err->code;
	if (!wanted(kind, GT_FD_LISTEN))
		return 0;
	if (gt_listen_tcp(c->listen, gt_config_only_tls(c) ? "https" : "http", ret->url,
			  sizeof(ret->url), &ret->fds[GT_FD_LISTEN], err) < 0)
		return -err->code;
	if (!c->tls_listen[0])
		return 0;
	return gt_listen_tcp(c->tls_listen, "https", ret->tls_url, sizeof(ret->tls_url),
			     &ret->fds[GT_FD_LISTEN_TLS], err);
}
