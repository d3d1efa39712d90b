#include "listen.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/units.h>

#define BACKLOG 4096

static int split(const char *addr, char *host, size_t size, const char **port, struct gt_err *err)
{
	const char *colon = strrchr(addr, ':');
	size_t n = colon ? (size_t)(colon - addr) : 0;
	uint64_t number;

	/* getaddrinfo() would take a port above 65535 modulo 65536. */
	if (!colon || n == 0 || n >= size || gt_parse_u64(colon + 1, UINT16_MAX, &number) < 0)
		return gt_err_set(
			err, EINVAL, "bad_config",
			"listen: \"%s\" is no ADDR:PORT like 127.0.0.1:8080 or [::1]:8080", addr);
	if (addr[0] == '[' && colon[-1] == ']') {
		addr++;
		n -= 2;
	}
	memcpy(host, addr, n);
	host[n] = '\0';
	*port = colon + 1;
	return 0;
}

static int describe(int fd, const char *scheme, char *url, size_t size, struct gt_err *err)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[INET6_ADDRSTRLEN], port[8];

	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return gt_err_errno(err, errno, "getsockname");
	if (getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return gt_err_set(err, EINVAL, "bad_config",
				  "listen: the address has no text form");
	snprintf(url, size, ss.ss_family == AF_INET6 ? "%s://[%s]:%s" : "%s://%s:%s", scheme, host,
		 port);
	return 0;
}

int gt_listen_tcp(const char *addr, const char *scheme, char *url, size_t size, int *ret_fd,
		  struct gt_err *err)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
				  .ai_socktype = SOCK_STREAM };
	struct addrinfo *ai = NULL;
	const char *port = NULL;
	char host[128];
	int one = 1;

	if (split(addr, host, sizeof(host), &port, err) < 0)
		return -err->code;
	int r = getaddrinfo(host, port, &hints, &ai);
	if (r != 0)
		return gt_err_set(err, EINVAL, "bad_config",
				  "listen: \"%s\": %s (a numeric address and port are needed)",
				  addr, gai_strerror(r));
	gt_auto(fd) int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		r = 0;
	else
		r = gt_err_errno(err, errno, "listen on %s", addr);
	freeaddrinfo(ai);
	if (r < 0 || describe(fd, scheme, url, size, err) < 0)
		return -err->code;
	*ret_fd = gt_steal_fd(&fd);
	return 0;
}

int gt_listen_unix(const char *path, int type, uid_t only, gid_t gid, int *ret_fd,
		   struct gt_err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	gt_auto(fd) int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return gt_err_errno(err, errno, "socket");
	if (!gt_strcopy(sa.sun_path, sizeof(sa.sun_path), path))
		return gt_err_set(err, ENAMETOOLONG, "bad_config", "%s: too long", path);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return gt_err_errno(err, errno, "bind %s", path);
	if (chmod(path, only ? 0600 : 0660) < 0 || lchown(path, only, gid) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return gt_err_errno(err, errno, "%s", path);
	*ret_fd = gt_steal_fd(&fd);
	return 0;
}
