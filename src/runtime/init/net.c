/* net.c - the network of a container, made while it is staged and process 1 still has the host's
 * rights over it.
 *
 * Egress is a veth pair, one end in here, one on the host, and nothing shared with others: each end
 * has a route to the other and asks nobody for addresses (no ARP, no neighbour discovery: both ends
 * have one hardware address), so that there is nobody to impersonate. The pair is never deleted: it
 * dies with this network namespace. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "init.h"

#define INSIDE   "eth0"
#define GEN_NONE 1 /* IN6_ADDR_GEN_MODE_NONE */

/* One request to the kernel, built in place. */
struct request {
	struct nlmsghdr head;
	char body[512];
};

/* Where it failed, in the error that the agent shows: 10 and up, in order. */
enum step { STEP_SOCKET = 10, STEP_VETH, STEP_UP, STEP_ADDRESS, STEP_ROUTE, STEP_HOST, STEP_BACK };

static const uint8_t hardware_address[6] = { 2, 0, 0, 0, 0, 1 };

static _Noreturn void fail(enum step step, int code)
{
	init_fail(GT_INIT_STEP_NETWORK, code, step);
}

static void loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		init_fail(GT_INIT_STEP_NETWORK, errno, 0);
	close(fd);
}

static bool set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);

	if (fd >= 0)
		close(fd);
	return ok;
}

static void settings(bool alone)
{
	/* The container's root has no right over its network, so port 80 must need none. */
	if (!set("proc/sys/net/ipv4/ip_unprivileged_port_start", "0"))
		init_fail(GT_INIT_STEP_NETWORK, errno, 1);
	/* Between two sockets of one machine there is no congestion, and what looks for it, in some
	 * hosts with a timer for each message, costs 2 % of a call. Every kernel has reno. */
	if (alone)
		(void)set("proc/sys/net/ipv4/tcp_congestion_control", "reno");
}

/* ---- rtnetlink ---- */

static void begin(struct request *r, uint16_t type, uint16_t flags, const void *head, size_t len)
{
	memset(r, 0, sizeof(*r));
	r->head.nlmsg_type = type;
	r->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	r->head.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + NLMSG_ALIGN(len));
	memcpy(r->body, head, len);
}

static struct rtattr *put(struct request *r, unsigned short type, const void *data, size_t len)
{
	size_t at = NLMSG_ALIGN(r->head.nlmsg_len), size = RTA_LENGTH(len);
	struct rtattr *a = (struct rtattr *)(void *)((char *)r + at);

	if (at + RTA_ALIGN(size) > sizeof(*r))
		fail(STEP_SOCKET, ENOBUFS);
	a->rta_type = type;
	a->rta_len = (unsigned short)size;
	if (len > 0)
		memcpy(RTA_DATA(a), data, len);
	r->head.nlmsg_len = (uint32_t)(at + RTA_ALIGN(size));
	return a;
}

/* The attribute goes on to the end of what was put after it. */
static void end(struct request *r, struct rtattr *a)
{
	a->rta_len = (unsigned short)((char *)r + r->head.nlmsg_len - (char *)a);
}

static int ask(int sock, struct request *r)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr err;
		char rest[1024]; /* the request may come back behind the error */
	} reply;
	ssize_t n;

	if (send(sock, r, r->head.nlmsg_len, 0) < 0)
		return -errno;
	do {
		n = recv(sock, &reply, sizeof(reply), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(reply.head) + sizeof(reply.err) ||
	    reply.head.nlmsg_type != NLMSG_ERROR)
		return -EBADMSG;
	return reply.err.error;
}

static int route_socket(enum step step)
{
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (sock < 0)
		fail(step, errno);
	return sock;
}

static void must(int sock, struct request *r, enum step step)
{
	int code = ask(sock, r);

	if (code < 0)
		fail(step, -code);
}

static int index_of(int sock, const char *name, enum step step)
{
	struct ifreq ifr = { .ifr_ifindex = 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(sock, SIOCGIFINDEX, &ifr) < 0)
		fail(step, errno);
	return ifr.ifr_ifindex;
}

/* ---- the pair ---- */

static void make_pair(int sock, const struct gt_init_net *net, int host)
{
	struct ifinfomsg link = { .ifi_family = AF_UNSPEC };
	struct request r;
	struct rtattr *info, *data, *peer;

	begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof(link));
	put(&r, IFLA_IFNAME, INSIDE, sizeof(INSIDE));
	put(&r, IFLA_ADDRESS, hardware_address, sizeof(hardware_address));
	info = put(&r, IFLA_LINKINFO, NULL, 0);
	put(&r, IFLA_INFO_KIND, "veth", 4);
	data = put(&r, IFLA_INFO_DATA, NULL, 0);
	peer = put(&r, VETH_INFO_PEER, &link, sizeof(link));
	put(&r, IFLA_IFNAME, net->host_if, strlen(net->host_if) + 1);
	put(&r, IFLA_ADDRESS, hardware_address, sizeof(hardware_address));
	put(&r, IFLA_NET_NS_FD, &host, sizeof(host));
	end(&r, peer);
	end(&r, data);
	end(&r, info);
	must(sock, &r, STEP_VETH);
}

static void put_devconf(struct request *r, unsigned short id, uint32_t value)
{
	put(r, id, &value, sizeof(value));
}

/* Before it is up, so that it never makes an address of its own. The host's end forwards, and takes
 * a packet only from the address that is routed to it. */
static void configure(int sock, int index, const struct gt_init_net *net, bool host)
{
	struct ifinfomsg link = { .ifi_family = AF_UNSPEC, .ifi_index = index };
	uint8_t none = GEN_NONE;
	struct rtattr *spec, *family, *conf;
	struct request r;

	begin(&r, RTM_NEWLINK, 0, &link, sizeof(link));
	spec = put(&r, IFLA_AF_SPEC, NULL, 0);
	if (host) {
		family = put(&r, AF_INET, NULL, 0);
		conf = put(&r, IFLA_INET_CONF, NULL, 0);
		put_devconf(&r, IPV4_DEVCONF_FORWARDING, 1);
		put_devconf(&r, IPV4_DEVCONF_RP_FILTER, 1);
		put_devconf(&r, IPV4_DEVCONF_ACCEPT_REDIRECTS, 0);
		put_devconf(&r, IPV4_DEVCONF_SEND_REDIRECTS, 0);
		end(&r, conf);
		end(&r, family);
	}
	if (net->flags & GT_INIT_NET_6) {
		family = put(&r, AF_INET6, NULL, 0);
		put(&r, IFLA_INET6_ADDR_GEN_MODE, &none, sizeof(none));
		end(&r, family);
	}
	end(&r, spec);
	must(sock, &r, host ? STEP_HOST : STEP_UP);
}

static void set_up(int sock, int index, enum step step)
{
	struct ifinfomsg link = { .ifi_family = AF_UNSPEC,
				  .ifi_index = index,
				  .ifi_flags = IFF_UP | IFF_NOARP,
				  .ifi_change = IFF_UP | IFF_NOARP };
	struct request r;

	begin(&r, RTM_NEWLINK, 0, &link, sizeof(link));
	must(sock, &r, step);
}

static void add_address(int sock, int index, int family, const void *addr, size_t len)
{
	struct ifaddrmsg a = { .ifa_family = (uint8_t)family,
			       .ifa_prefixlen = (uint8_t)(len * 8),
			       .ifa_flags = IFA_F_PERMANENT | IFA_F_NODAD,
			       .ifa_index = (uint32_t)index };
	struct request r;

	begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &a, sizeof(a));
	put(&r, IFA_LOCAL, addr, len);
	put(&r, IFA_ADDRESS, addr, len);
	must(sock, &r, STEP_ADDRESS);
}

/* To `to` (NULL: everything) by way of `gate` (NULL: it is at the other end). */
static void add_route(int sock, int index, int family, const void *to, const void *gate, size_t len,
		      enum step step)
{
	struct rtmsg m = { .rtm_family = (uint8_t)family,
			   .rtm_dst_len = to ? (uint8_t)(len * 8) : 0,
			   .rtm_table = RT_TABLE_MAIN,
			   .rtm_protocol = RTPROT_STATIC,
			   .rtm_scope = gate ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
			   .rtm_type = RTN_UNICAST,
			   .rtm_flags = gate ? RTNH_F_ONLINK : 0 };
	struct request r;

	begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
	if (to)
		put(&r, RTA_DST, to, len);
	if (gate)
		put(&r, RTA_GATEWAY, gate, len);
	put(&r, RTA_OIF, &index, sizeof(index));
	must(sock, &r, step);
}

static void inside_end(const struct gt_init_net *net, int host)
{
	static const uint8_t gate6[16] = { 0xfe, 0x80, [15] = 1 };
	int sock = route_socket(STEP_SOCKET), index;

	make_pair(sock, net, host);
	index = index_of(sock, INSIDE, STEP_VETH);
	configure(sock, index, net, false);
	set_up(sock, index, STEP_UP);
	if (net->flags & GT_INIT_NET_4) {
		add_address(sock, index, AF_INET, net->addr4, sizeof(net->addr4));
		add_route(sock, index, AF_INET, NULL, net->gate4, sizeof(net->gate4), STEP_ROUTE);
	}
	if (net->flags & GT_INIT_NET_6) {
		add_address(sock, index, AF_INET6, net->addr6, sizeof(net->addr6));
		add_route(sock, index, AF_INET6, NULL, gate6, sizeof(gate6), STEP_ROUTE);
	}
	close(sock);
}

/* Kernels before 6.17 have no such switch; the agent has seen to forwarding there. */
static void forward6(const char *host_if)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "proc/sys/net/ipv6/conf/%s/force_forwarding", host_if);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, "1", 1) != 1)
		fail(STEP_HOST, errno);
	close(fd);
}

static void host_end(const struct gt_init_net *net)
{
	int sock = route_socket(STEP_HOST), index = index_of(sock, net->host_if, STEP_HOST);

	configure(sock, index, net, true);
	set_up(sock, index, STEP_HOST);
	if (net->flags & GT_INIT_NET_4)
		add_route(sock, index, AF_INET, net->addr4, NULL, sizeof(net->addr4), STEP_HOST);
	if (net->flags & GT_INIT_NET_6) {
		add_route(sock, index, AF_INET6, net->addr6, NULL, sizeof(net->addr6), STEP_HOST);
		forward6(net->host_if);
	}
	close(sock);
}

static void egress(const struct gt_init_net *net, int host)
{
	int own = open("proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (own < 0)
		fail(STEP_SOCKET, errno);
	inside_end(net, host);
	if (setns(host, CLONE_NEWNET) < 0)
		fail(STEP_HOST, errno);
	host_end(net);
	if (setns(own, CLONE_NEWNET) < 0)
		fail(STEP_BACK, errno);
	close(own);
	close(host);
}

void init_net(const struct gt_init_net *net, int host)
{
	if (net->flags & (GT_INIT_NET_HOST | GT_INIT_NET_MADE))
		return; /* not ours to change, or done */
	loopback_up();
	settings(host < 0);
	if (host >= 0)
		egress(net, host);
}
