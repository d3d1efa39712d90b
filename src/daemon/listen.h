/* daemon/listen.h - the daemon's listening sockets. The supervisor owns them all its life, so that
 * a role that died leaves its callers waiting in the backlog instead of refused. */
#ifndef DAEMON_LISTEN_H
#define DAEMON_LISTEN_H

#include <sys/types.h>

#include <gantry/base/err.h>

/* "127.0.0.1:8080", "[::1]:0", "0.0.0.0:80". The URL (size bytes) names the port actually bound. */
GT_MUST_USE int gt_listen_tcp(const char *addr, const char *scheme, char *url, size_t size,
			      int *ret_fd, struct gt_err *err);
/* Replaces a stale socket file. type is SOCK_STREAM or SOCK_SEQPACKET; for the group gid (mode
 * 0660), or for the user `only` alone (0600) when that is not 0. */
GT_MUST_USE int gt_listen_unix(const char *path, int type, uid_t only, gid_t gid, int *ret_fd,
			       struct gt_err *err);

#endif
