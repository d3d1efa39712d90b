/* route.c - reading and marking the host's routes over rtnetlink. */
#include "route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include <gantry/base/cleanup.h>

#define DUMP_SIZE 32768 /* what the kernel hands out at once */
#define MARKS_MAX 8     /* reserved subnets that one daemon can have left behind */

struct route {
	struct gt_cidr to;
	uint32_t priority;
	uint8_t type;
	unsigned oifs[GT_UPLINKS_MAX];
	size_t n_oifs;
};

typedef void route_fn(const struct route *r, void *arg);

struct walk {
	uint8_t family;
	route_fn *fn;
	void *arg;
};

static void add_oif(struct route *r, unsigned index)
{
	if (r->n_oifs < GT_UPLINKS_MAX)
		r->oifs[r->n_oifs++] = index;
}

static void add_hops(struct route *r, const struct nlattr *a)
{
	const struct rtnexthop *hop = mnl_attr_get_payload(a);
	int left = mnl_attr_get_payload_len(a);

	while (RTNH_OK(hop, left) && hop->rtnh_len >= sizeof(*hop)) {
		add_oif(r, (unsigned)hop->rtnh_ifindex);
		left -= (int)RTNH_ALIGN(hop->rtnh_len);
		hop = RTNH_NEXT(hop);
	}
}

static int on_route(const struct nlmsghdr *m, void *arg)
{
	const struct rtmsg *rm = mnl_nlmsg_get_payload(m);
	const struct walk *w = arg;
	struct route r = { .type = rm->rtm_type };
	const struct nlattr *a;

	r.to.len = rm->rtm_family == AF_INET6 ? 16 : 4;
	r.to.bits = rm->rtm_dst_len;
	/* A kernel without a family answers for it with the routes of all others. */
	if (m->nlmsg_type != RTM_NEWROUTE || (rm->rtm_flags & RTM_F_CLONED) ||
	    rm->rtm_family != w->family)
		return MNL_CB_OK;
	mnl_attr_for_each(a, m, sizeof(*rm))
	{
		switch (mnl_attr_get_type(a)) {
		case RTA_DST:
			if (mnl_attr_get_payload_len(a) == r.to.len)
				memcpy(r.to.addr, mnl_attr_get_payload(a), r.to.len);
			break;
		case RTA_PRIORITY:
			r.priority = mnl_attr_get_u32(a);
			break;
		case RTA_OIF:
			add_oif(&r, mnl_attr_get_u32(a));
			break;
		case RTA_MULTIPATH:
			add_hops(&r, a);
			break;
		}
	}
	w->fn(&r, w->arg);
	return MNL_CB_OK;
}

static int route_socket(struct mnl_socket **ret, struct gt_err *err)
{
	struct mnl_socket *sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);

	if (!sock)
		return gt_err_errno(err, errno, "open a routing socket");
	if (mnl_socket_bind(sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		int code = errno;

		mnl_socket_close(sock);
		return gt_err_errno(err, code, "bind a routing socket");
	}
	*ret = sock;
	return 0;
}

/* Sends, and runs the answers through `cb`. 0 or -errno. */
static int ask(struct mnl_socket *sock, const struct nlmsghdr *m, mnl_cb_t cb, void *arg)
{
	gt_auto(free) char *buf = gt_alloc(DUMP_SIZE);
	int r = MNL_CB_OK;

	if (mnl_socket_sendto(sock, m, m->nlmsg_len) < 0)
		return -errno;
	while (r > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(sock, buf, DUMP_SIZE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		r = mnl_cb_run(buf, (size_t)n, m->nlmsg_seq, mnl_socket_get_portid(sock), cb, arg);
	}
	return r < 0 ? -errno : 0;
}

static int each_route(uint8_t family, route_fn *fn, void *arg, struct gt_err *err)
{
	char buf[256];
	struct nlmsghdr *m = mnl_nlmsg_put_header(buf);
	struct walk w = { family, fn, arg };
	struct mnl_socket *sock;
	struct rtmsg *rm;
	int r = route_socket(&sock, err);

	if (r < 0)
		return r;
	m->nlmsg_type = RTM_GETROUTE;
	m->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	m->nlmsg_seq = 1;
	rm = mnl_nlmsg_put_extra_header(m, sizeof(*rm));
	rm->rtm_family = family;
	r = ask(sock, m, on_route, &w);
	mnl_socket_close(sock);
	return r < 0 ? gt_err_errno(err, -r, "read the host's routes") : 0;
}

/* ---- what there is ---- */

struct scan {
	const struct gt_cidr *subnet;
	const char *prefix;
	uint32_t mark;
	struct gt_uplinks uplinks;
	char other[128]; /* a route in the way */
};

static void add_uplink(struct gt_uplinks *u, unsigned index)
{
	char name[IF_NAMESIZE];

	if (!if_indextoname(index, name))
		return;
	for (size_t i = 0; i < u->n; i++)
		if (gt_streq(u->names[i], name))
			return;
	if (u->n < GT_UPLINKS_MAX)
		gt_strcopy(u->names[u->n++], IF_NAMESIZE, name);
}

static void look(const struct route *r, void *arg)
{
	struct scan *s = arg;
	char name[IF_NAMESIZE] = "", text[50];

	if (r->to.bits == 0) {
		for (size_t i = 0; r->type == RTN_UNICAST && i < r->n_oifs; i++)
			add_uplink(&s->uplinks, r->oifs[i]);
		return;
	}
	if (s->other[0] || !gt_cidr_overlap(&r->to, s->subnet) ||
	    (r->type == RTN_UNREACHABLE && r->priority == s->mark))
		return;
	if (r->n_oifs > 0 && if_indextoname(r->oifs[0], name) && gt_starts_with(name, s->prefix))
		return;
	gt_cidr_text(&r->to, text, sizeof(text));
	snprintf(s->other, sizeof(s->other), "%s%s%s%s", text, name[0] ? " on " : "", name,
		 r->type == RTN_UNREACHABLE ? " (unreachable: another gantryd?)" : "");
}

int gt_route_scan(const struct gt_cidr *subnet, const char *prefix, uint32_t mark,
		  struct gt_uplinks *ret, struct gt_err *err)
{
	struct scan s = { .subnet = subnet, .prefix = prefix, .mark = mark };
	char text[50];
	int r = each_route(subnet->len == 16 ? AF_INET6 : AF_INET, look, &s, err);

	if (r < 0)
		return r;
	if (s.other[0]) {
		gt_cidr_text(subnet, text, sizeof(text));
		return gt_err_set(err, EADDRINUSE, "sandbox_failed",
				  "%s is in use on this machine: it overlaps the route %s", text,
				  s.other);
	}
	*ret = s.uplinks;
	return 0;
}

/* ---- the mark ---- */

static int change(uint16_t type, uint16_t flags, const struct gt_cidr *c, uint32_t mark,
		  struct gt_err *err)
{
	char buf[256], text[50];
	struct nlmsghdr *m = mnl_nlmsg_put_header(buf);
	struct mnl_socket *sock;
	struct rtmsg *rm;
	int r = route_socket(&sock, err);

	if (r < 0)
		return r;
	m->nlmsg_type = type;
	m->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	m->nlmsg_seq = 1;
	rm = mnl_nlmsg_put_extra_header(m, sizeof(*rm));
	rm->rtm_family = c->len == 16 ? AF_INET6 : AF_INET;
	rm->rtm_dst_len = c->bits;
	rm->rtm_table = RT_TABLE_MAIN;
	rm->rtm_protocol = RTPROT_STATIC;
	rm->rtm_scope = RT_SCOPE_UNIVERSE;
	rm->rtm_type = RTN_UNREACHABLE;
	mnl_attr_put(m, RTA_DST, c->len, c->addr);
	mnl_attr_put_u32(m, RTA_PRIORITY, mark);
	r = ask(sock, m, NULL, NULL);
	mnl_socket_close(sock);
	if (r == 0)
		return 0;
	gt_cidr_text(c, text, sizeof(text));
	return gt_err_errno(err, -r, "change the route of %s", text);
}

int gt_route_reserve(const struct gt_cidr *subnet, uint32_t mark, struct gt_err *err)
{
	return change(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, subnet, mark, err);
}

struct marked {
	struct gt_cidr found[MARKS_MAX];
	size_t n;
	uint32_t mark;
};

static void note(const struct route *r, void *arg)
{
	struct marked *m = arg;

	if (r->type == RTN_UNREACHABLE && r->priority == m->mark && m->n < MARKS_MAX)
		m->found[m->n++] = r->to;
}

int gt_route_release(uint32_t mark, struct gt_err *err)
{
	struct marked m = { .mark = mark };
	int r = each_route(AF_INET, note, &m, err);

	if (r == 0)
		r = each_route(AF_INET6, note, &m, err);
	for (size_t i = 0; r == 0 && i < m.n; i++)
		r = change(RTM_DELROUTE, 0, &m.found[i], mark, err);
	return r;
}
