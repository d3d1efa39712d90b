/* net.c - the network is a loopback of its own, and IPC objects are the container's. */
#include "escape.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <mqueue.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FAMILY_MAX                    64
#define NETLINK_MAX                   32
#define SHIFT(family, protocol, type) ((long)(family) << 16 | (protocol) << 8 | (type))

static void loopback(struct result *r, const char *text, long family)
{
	const char *port = host_fact(r, "HOST_PORT");
	struct sockaddr_storage addr = { .ss_family = (sa_family_t)family };
	int fd = socket((int)family, SOCK_STREAM, 0);

	if (!port)
		return;
	if (family == AF_INET) {
		struct sockaddr_in *in = (void *)&addr;

		inet_pton(AF_INET, text, &in->sin_addr);
		in->sin_port = htons((unsigned short)atoi(port));
	} else {
		struct sockaddr_in6 *in6 = (void *)&addr;

		inet_pton(AF_INET6, text, &in6->sin6_addr);
		in6->sin6_port = htons((unsigned short)atoi(port));
	}
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		say(r, ESCAPED, "%s:%s answers", text, port);
	say(r, CONTAINED, "%s:%s: %s", text, port, error_name(errno));
}

static void interfaces(struct result *r, const char *arg, long nr)
{
	struct if_nameindex *names = if_nameindex();
	int n = 0;

	(void)arg;
	(void)nr;
	for (; names && names[n].if_index; n++) {
		if (strcmp(names[n].if_name, "lo") != 0)
			say(r, ESCAPED, "there is %s", names[n].if_name);
	}
	say(r, n == 1 ? CONTAINED : ESCAPED, "%d interfaces", n);
}

static void abstract(struct result *r, const char *arg, long nr)
{
	const char *name = host_fact(r, "HOST_ABSTRACT");
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)arg;
	(void)nr;
	if (!name)
		return;
	memcpy(addr.sun_path + 1, name, strlen(name));
	if (connect(fd, (struct sockaddr *)&addr,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))) == 0)
		say(r, ESCAPED, "the host's abstract socket answers");
	say(r, CONTAINED, "%s", error_name(errno));
}

static void listed(struct result *r, const char *path, long nr)
{
	const char *name = host_fact(r, "HOST_ABSTRACT");
	static char text[262144];

	(void)nr;
	if (slurp(path, text, sizeof(text)) < 0)
		must_fail(r, path, -1);
	if (name)
		say(r, strstr(text, name) ? ESCAPED : CONTAINED, "looked for %s", name);
}

static void no_socket(struct result *r, const char *name, long shifted)
{
	must_fail(r, name,
		  socket((int)(shifted >> 16), (int)(shifted & 0xff), (int)(shifted >> 8 & 0xff)));
}

static void families(struct result *r, const char *arg, long nr)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET };
	char what[64];

	(void)arg;
	(void)nr;
	for (int family = 0; family < FAMILY_MAX; family++) {
		if (family == AF_UNIX || family == AF_INET || family == AF_INET6 ||
		    family == AF_NETLINK)
			continue;
		for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
			snprintf(what, sizeof(what), "family %d, type %d", family, types[i]);
			must_fail(r, what, socket(family, types[i], 0));
		}
	}
}

static void netlinks(struct result *r, const char *arg, long nr)
{
	char what[64];

	(void)arg;
	(void)nr;
	for (int protocol = 0; protocol < NETLINK_MAX; protocol++) {
		if (protocol == NETLINK_ROUTE)
			continue;
		snprintf(what, sizeof(what), "netlink protocol %d", protocol);
		must_fail(r, what, socket(AF_NETLINK, SOCK_RAW, protocol));
	}
}

/* One request; the answer's error. */
static void route_request(struct result *r, const char *what, long type)
{
	struct {
		struct nlmsghdr head;
		union {
			struct ifinfomsg link;
			struct ifaddrmsg addr;
			struct rtmsg route;
		} u;
	} m = { .head = { .nlmsg_len = sizeof(m),
			  .nlmsg_type = (unsigned short)type,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE } };
	struct {
		struct nlmsghdr head;
		struct nlmsgerr err;
		char more[512];
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	if (fd < 0 || send(fd, &m, sizeof(m), 0) < 0 || recv(fd, &answer, sizeof(answer), 0) <= 0) {
		say(r, ESCAPED, "no answer: %s", error_name(errno));
		return;
	}
	errno = -answer.err.error;
	must_fail(r, what, answer.err.error < 0 ? -1 : 0);
}

static void loopback_down(struct result *r, const char *arg, long nr)
{
	struct ifreq ifr = { .ifr_name = "lo" };

	(void)arg;
	(void)nr;
	must_fail(r, "lo down", ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &ifr));
}

/* ---- IPC ---- */

static void sysv(struct result *r, const char *kind, long nr)
{
	const char *text = host_fact(r, "HOST_KEY");
	key_t key = text ? (key_t)atoi(text) : 0;
	int id = *kind == 's' && kind[1] == 'h' ? shmget(key, 0, 0)
		 : *kind == 'm'                 ? msgget(key, 0)
						: semget(key, 0, 0);

	(void)nr;
	if (id >= 0 || errno != ENOENT)
		say(r, ESCAPED, "%s of the host's: %s", kind,
		    id >= 0 ? "there" : error_name(errno));
	say(r, CONTAINED, "no %s of that key", kind);
}

static void message_queue(struct result *r, const char *arg, long nr)
{
	const char *name = host_fact(r, "HOST_MQ");

	(void)arg;
	(void)nr;
	if (!name)
		return;
	if (mq_open(name, O_RDONLY) != (mqd_t)-1 || (errno != ENOENT && errno != ENOSYS))
		say(r, ESCAPED, "the host's queue %s is there", name);
	say(r, CONTAINED, "no queue %s", name);
}

static void host_file(struct result *r, const char *fact, long nr)
{
	const char *path = host_fact(r, fact);

	(void)nr;
	if (path)
		say(r, access(path, F_OK) == 0 ? ESCAPED : CONTAINED, "%s", path);
}

static const struct probe table[] = {
	{ "net_host_loopback", loopback, "127.0.0.1", AF_INET, BARE, PLAIN },
	{ "net_host_loopback6", loopback, "::ffff:127.0.0.1", AF_INET6, NOWHERE, PLAIN },
	{ "net_interfaces", interfaces, NULL, 0, NOWHERE, PLAIN },
	{ "net_abstract_socket", abstract, NULL, 0, BARE, PLAIN },
	{ "net_unix_list", listed, "/proc/net/unix", 0, BARE, PLAIN },
	{ "net_families", families, NULL, 0, BARE, PLAIN },
	{ "net_netlink", netlinks, NULL, 0, BARE, PLAIN },
	{ "net_packet", no_socket, "AF_PACKET", SHIFT(AF_PACKET, 0, SOCK_RAW), BARE, PLAIN },
	{ "net_raw", no_socket, "raw", SHIFT(AF_INET, IPPROTO_ICMP, SOCK_RAW), BARE, PLAIN },
	{ "net_raw6", no_socket, "raw", SHIFT(AF_INET6, IPPROTO_ICMPV6, SOCK_RAW), BARE, PLAIN },
	{ "net_ping", no_socket, "ping", SHIFT(AF_INET, IPPROTO_ICMP, SOCK_DGRAM), NOWHERE, PLAIN },
	{ "net_vsock", no_socket, "AF_VSOCK", SHIFT(AF_VSOCK, 0, SOCK_STREAM), NOWHERE, PLAIN },
	{ "net_alg", no_socket, "AF_ALG", SHIFT(AF_ALG, 0, SOCK_SEQPACKET), NOWHERE, PLAIN },
	{ "net_nfnetlink", no_socket, "nfnetlink", SHIFT(AF_NETLINK, NETLINK_NETFILTER, SOCK_RAW),
	  NOWHERE, PLAIN },
	{ "net_audit", no_socket, "audit", SHIFT(AF_NETLINK, NETLINK_AUDIT, SOCK_RAW), NOWHERE,
	  PLAIN },
	{ "net_new_link", route_request, "a new link", RTM_NEWLINK, NOWHERE, PLAIN },
	{ "net_new_address", route_request, "a new address", RTM_NEWADDR, UNSHARED, PLAIN },
	{ "net_new_route", route_request, "a new route", RTM_NEWROUTE, UNSHARED, PLAIN },
	{ "net_loopback_down", loopback_down, NULL, 0, UNSHARED, PLAIN },
	{ "ipc_shm", sysv, "shared memory", 0, BARE, PLAIN },
	{ "ipc_msg", sysv, "message queue", 0, BARE, PLAIN },
	{ "ipc_sem", sysv, "semaphores", 0, BARE, PLAIN },
	{ "ipc_mqueue", message_queue, NULL, 0, BARE, PLAIN },
	{ "ipc_dev_shm", host_file, "HOST_SHM", 0, BARE, PLAIN },
	{ "host_file", host_file, "HOST_CANARY", 0, BARE, PLAIN },
};
const struct probes net_probes = PROBES(table);
