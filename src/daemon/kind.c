#include "kind.h"

#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

#include "listen.h"
#include "state_dir.h"

const struct gt_kind gt_kind_run = {
	.command = "run",
	.roles = 1U << GT_PROC_CONTROL | 1U << GT_PROC_AGENT | 1U << GT_PROC_GATEWAY,
	.front = GT_PROC_GATEWAY,
	.fds = {
		[GT_PROC_CONTROL] = 1U << GT_FD_LINK | 1U << GT_FD_API | 1U << GT_FD_LOCK,
		[GT_PROC_AGENT] = 1U << GT_FD_AGENT | 1U << GT_FD_DIAL | 1U << GT_FD_LOCK,
		[GT_PROC_GATEWAY] =
			1U << GT_FD_LISTEN | 1U << GT_FD_LISTEN_TLS | 1U << GT_FD_DOOR | 1U << GT_FD_LOCK,
	},
};

/* One of several with the same store. */
static const struct gt_kind kind_several = {
	.command = "run",
	.roles = 1U << GT_PROC_CONTROL | 1U << GT_PROC_AGENT | 1U << GT_PROC_GATEWAY |
		 1U << GT_PROC_UPLINK,
	.front = GT_PROC_GATEWAY,
	.fds = {
		[GT_PROC_CONTROL] =
			1U << GT_FD_LINK | 1U << GT_FD_API | 1U << GT_FD_LEAD | 1U << GT_FD_LOCK,
		[GT_PROC_AGENT] = 1U << GT_FD_AGENT | 1U << GT_FD_DIAL | 1U << GT_FD_LOCK,
		[GT_PROC_GATEWAY] =
			1U << GT_FD_LISTEN | 1U << GT_FD_LISTEN_TLS | 1U << GT_FD_DOOR | 1U << GT_FD_LOCK,
		[GT_PROC_UPLINK] = 1U << GT_FD_LINK | 1U << GT_FD_FORWARD | 1U << GT_FD_LOCK,
	},
};

const struct gt_kind *gt_kind_of(const struct gt_kind *kind, const struct gt_config *c)
{
	return kind == &gt_kind_run && c->store[0] ? &kind_several : kind;
}

/* Of a host that has joined the cluster of another one. */
const struct gt_kind gt_kind_agent = {
	.command = "agent",
	.roles = 1U << GT_PROC_AGENT | 1U << GT_PROC_UPLINK,
	.front = GT_PROC_UPLINK,
	.joins = true,
	.fds = {
		[GT_PROC_AGENT] = 1U << GT_FD_AGENT | 1U << GT_FD_DIAL | 1U << GT_FD_LOCK,
		[GT_PROC_UPLINK] = 1U << GT_FD_LINK | 1U << GT_FD_LOCK,
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
	static const uid_t offsets[GT_PROC_N] = {
		[GT_PROC_GATEWAY] = 1, [GT_PROC_AGENT] = 2, [GT_PROC_UPLINK] = 3
	};

	return c->user[0] ? uid : uid + offsets[id];
}

int gt_kind_dirs(const struct gt_kind *kind, const struct gt_config *c, uid_t uid, gid_t gid,
		 struct gt_err *err)
{
	int r = 0;

	if (gt_kind_has(kind, GT_PROC_CONTROL))
		r = gt_state_dir("control", uid, gid, err);
	if (r == 0 && kind->joins)
		r = gt_state_dir(GT_UPLINK_DIR, gt_kind_uid(c, uid, GT_PROC_UPLINK), gid, err);
	return r;
}

/* Once it has joined the file may be gone. */
static int read_token(struct gt_config *c, bool joined, struct gt_err *err)
{
	gt_auto(fd) int fd = open(c->join_token_file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n;

	if (fd < 0 && errno == ENOENT && joined)
		return 0;
	if (fd < 0 || (n = read(fd, c->join_token, sizeof(c->join_token) - 1)) < 0)
		return gt_err_errno(err, errno, "join_token_file: %s", c->join_token_file);
	c->join_token[n] = '\0';
	c->join_token[strcspn(c->join_token, " \r\n")] = '\0';
	return 0;
}

int gt_kind_settle(const struct gt_kind *kind, struct gt_config *c, struct gt_err *err)
{
	struct gt_uplink_joined joined;
	struct gt_err why;

	if (kind->joins) {
		bool has_joined = gt_uplink_joined(GT_UPLINK_DIR, &joined, &why) == 0;

		if (!c->join_token[0] && c->join_token_file[0] &&
		    read_token(c, has_joined, err) < 0)
			return -err->code;
		if (!c->node[0] && has_joined)
			gt_strcopy(c->node, sizeof(c->node), joined.node);
	}
	gt_config_node_default(c);
	return 0;
}

static bool wanted(const struct gt_kind *kind, enum gt_role_fd fd)
{
	for (int i = 0; i < GT_PROC_N; i++)
		if (kind->fds[i] & 1U << fd)
			return true;
	return false;
}

int gt_kind_listen(const struct gt_kind *kind, const struct gt_config *c, uid_t uid, gid_t gid,
		   struct gt_listening *ret, struct gt_err *err)
{
	static const struct {
		enum gt_role_fd fd;
		const char *path;
		int type;
		bool control; /* for control alone */
	} sockets[] = {
		{ GT_FD_LINK, "run/link.sock", SOCK_STREAM, false },
		{ GT_FD_API, "run/api.sock", SOCK_STREAM, false },
		{ GT_FD_AGENT, "run/agent.sock", SOCK_STREAM, false },
		{ GT_FD_DIAL, "run/dial.sock", SOCK_SEQPACKET, false },
		{ GT_FD_DOOR, "run/door.sock", SOCK_STREAM, true },
		{ GT_FD_LEAD, "run/lead.sock", SOCK_STREAM, false },
		{ GT_FD_FORWARD, "run/forward.sock", SOCK_STREAM, false },
	};

	for (size_t i = 0; i < GT_LEN(sockets); i++)
		if (wanted(kind, sockets[i].fd) && ret->fds[sockets[i].fd] < 0 &&
		    gt_listen_unix(sockets[i].path, sockets[i].type, sockets[i].control ? uid : 0,
				   gid, &ret->fds[sockets[i].fd], err) < 0)
			return -err->code;
	if (!wanted(kind, GT_FD_LISTEN) || ret->fds[GT_FD_LISTEN] >= 0)
		return 0;
	if (gt_listen_tcp(c->listen, gt_config_only_tls(c) ? "https" : "http", ret->url,
			  sizeof(ret->url), &ret->fds[GT_FD_LISTEN], err) < 0)
		return -err->code;
	if (!c->tls_listen[0])
		return 0;
	return gt_listen_tcp(c->tls_listen, "https", ret->tls_url, sizeof(ret->tls_url),
			     &ret->fds[GT_FD_LISTEN_TLS], err);
}
