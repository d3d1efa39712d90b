/* try.c - the same calls that egress needs, where they touch nobody: for `gantry doctor`. */
#include <gantry/net/net.h>

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "rules.h"

int gt_net_try_link(struct gt_err *err)
{
	char buf[512];
	struct nlmsghdr *m = mnl_nlmsg_put_header(buf);
	struct mnl_socket *sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct nlattr *info;
	ssize_t n;
	int r;

	if (!sock)
		return gt_err_errno(err, errno, "open a routing socket");
	m->nlmsg_type = RTM_NEWLINK;
	m->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
	mnl_nlmsg_put_extra_header(m, sizeof(struct ifinfomsg));
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_str(m, IFLA_INFO_KIND, "veth");
	mnl_attr_nest_end(m, info);
	r = mnl_socket_sendto(sock, m, m->nlmsg_len) < 0 ? -errno : 0;
	n = r < 0 ? 0 : mnl_socket_recvfrom(sock, buf, sizeof(buf));
	if (r == 0 && (n < 0 || mnl_cb_run(buf, (size_t)n, 0, 0, NULL, NULL) < 0))
		r = -errno;
	mnl_socket_close(sock);
	return r < 0 ? gt_err_errno(err, -r, "make a pair of virtual links (veth)") : 0;
}

int gt_net_try_filter(struct gt_err *err)
{
	struct gt_cidr own[2] = { { .bits = 0 } };
	struct gt_rules rules = { .table = "gantry-try", .prefix = "gttry-", .own = own };
	struct gt_nft *nft;
	int r;

	for (size_t i = 0; i < GT_LEN(own); i++)
		rules.n_own += gt_cidr_parse(i == 0 ? GT_NET_SUBNET4 : GT_NET_SUBNET6, &own[i]) ? 1
												: 0;
	r = gt_nft_open(&nft, err);
	if (r < 0)
		return r;
	r = gt_rules_write(nft, &rules, err);
	gt_nft_close(nft);
	return r;
}
