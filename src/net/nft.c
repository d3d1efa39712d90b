/* nft.c - nftables over netlink. */
#include "nft.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <gantry/base/cleanup.h>

#define BATCH_SIZE    (640 * 1024) /* all lists and groups full take about half of it */
#define MESSAGE_MAX   4096
#define TABLE_PERSIST 0x4 /* younger than Debian 12's headers */

struct gt_nft {
	struct mnl_socket *sock;
	const char *table;
	char *buf;
	size_t len;
	uint32_t seq;
	struct nlmsghdr *last;
	int failed; /* of what was collected: errno */
	struct nftnl_rule *rule;
};

int gt_nft_open(struct gt_nft **ret, struct gt_err *err)
{
	struct mnl_socket *sock = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);

	if (!sock)
		return gt_err_errno(err, errno, "open a socket to nf_tables");
	if (mnl_socket_bind(sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		int code = errno;

		mnl_socket_close(sock);
		return gt_err_errno(err, code, "bind a socket to nf_tables");
	}
	/* Refusals do not come with the whole request: there may be one a rule. */
	mnl_socket_setsockopt(sock, NETLINK_CAP_ACK, &(int){ 1 }, sizeof(int));
	setsockopt(mnl_socket_get_fd(sock), SOL_SOCKET, SO_SNDBUFFORCE, &(int){ 2 * BATCH_SIZE },
		   sizeof(int));
	*ret = gt_alloc(sizeof(**ret));
	(*ret)->sock = sock;
	return 0;
}

void gt_nft_close(struct gt_nft *nft)
{
	if (!nft)
		return;
	mnl_socket_close(nft->sock);
	if (nft->rule)
		nftnl_rule_free(nft->rule);
	free(nft->buf);
	free(nft);
}

/* ---- messages ---- */

static struct nlmsghdr *message(struct gt_nft *nft, uint16_t type, uint16_t flags)
{
	return nftnl_nlmsg_build_hdr(nft->buf + nft->len, type, NFPROTO_INET, flags, ++nft->seq);
}

static void add(struct gt_nft *nft, struct nlmsghdr *m)
{
	nft->last = m;
	nft->len += MNL_ALIGN(m->nlmsg_len);
	if (nft->len + MESSAGE_MAX > BATCH_SIZE) {
		nft->failed = ENOBUFS;
		nft->len = BATCH_SIZE - MESSAGE_MAX;
	}
}

static void end_rule(struct gt_nft *nft)
{
	struct nlmsghdr *m;

	if (!nft->rule)
		return;
	m = message(nft, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
	nftnl_rule_nlmsg_build_payload(m, nft->rule);
	add(nft, m);
	nftnl_rule_free(nft->rule);
	nft->rule = NULL;
}

/* Waits for the answer to request `seq`; what fails before it is the answer. */
static int answer(struct gt_nft *nft, uint32_t seq)
{
	char buf[2 * MESSAGE_MAX];

	for (;;) {
		ssize_t n = mnl_socket_recvfrom(nft->sock, buf, sizeof(buf));
		int left = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (struct nlmsghdr *m = (void *)buf; mnl_nlmsg_ok(m, left);
		     m = mnl_nlmsg_next(m, &left)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(m);

			if (m->nlmsg_type != NLMSG_ERROR)
				continue;
			if (e->error < 0 || m->nlmsg_seq == seq)
				return e->error;
		}
	}
}

/* What an earlier failed transaction still has to say is not about this one. */
static void drain(struct gt_nft *nft)
{
	char buf[2 * MESSAGE_MAX];

	while (recv(mnl_socket_get_fd(nft->sock), buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

int gt_nft_table_exists(struct gt_nft *nft, const char *table, struct gt_err *err)
{
	char buf[MESSAGE_MAX];
	struct nftnl_table *t = nftnl_table_alloc();
	struct nlmsghdr *m = nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETTABLE, NFPROTO_INET, NLM_F_ACK,
						   ++nft->seq);
	int r;

	if (!t)
		gt_out_of_memory();
	nftnl_table_set_str(t, NFTNL_TABLE_NAME, table);
	nftnl_table_nlmsg_build_payload(m, t);
	nftnl_table_free(t);
	drain(nft);
	r = mnl_socket_sendto(nft->sock, m, m->nlmsg_len) < 0 ? -errno : answer(nft, m->nlmsg_seq);
	if (r == 0)
		return 1;
	/* No nf_tables in this kernel, or not for us: then no table of ours either. */
	if (r == -ENOENT || r == -EINVAL || r == -EPERM)
		return 0;
	return gt_err_errno(err, -r, "nf_tables: look for table %s", table);
}

void gt_nft_begin(struct gt_nft *nft, const char *table)
{
	free(nft->buf);
	nft->buf = gt_alloc(BATCH_SIZE);
	nft->table = table;
	nft->len = 0;
	nft->failed = 0;
	nftnl_batch_begin(nft->buf, ++nft->seq);
	nft->len = MNL_ALIGN(((struct nlmsghdr *)(void *)nft->buf)->nlmsg_len);
}

int gt_nft_commit(struct gt_nft *nft, struct gt_err *err)
{
	uint32_t last;
	int r;

	end_rule(nft);
	nft->last->nlmsg_flags |= NLM_F_ACK; /* the one answer of a transaction that succeeds */
	last = nft->last->nlmsg_seq;
	add(nft, nftnl_batch_end(nft->buf + nft->len, ++nft->seq));
	drain(nft);
	if (nft->failed)
		r = -nft->failed;
	else if (mnl_socket_sendto(nft->sock, nft->buf, nft->len) < 0)
		r = -errno;
	else
		r = answer(nft, last);
	free(nft->buf);
	nft->buf = NULL;
	if (r < 0)
		return gt_err_errno(err, -r, "nf_tables: write table %s", nft->table);
	return 0;
}

/* ---- tables and chains ---- */

void gt_nft_table_add(struct gt_nft *nft, bool owned)
{
	struct nlmsghdr *m = message(nft, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	struct nftnl_table *t = nftnl_table_alloc();

	if (!t)
		gt_out_of_memory();
	nftnl_table_set_str(t, NFTNL_TABLE_NAME, nft->table);
	nftnl_table_set_u32(t, NFTNL_TABLE_FLAGS, owned ? NFT_TABLE_F_OWNER | TABLE_PERSIST : 0);
	nftnl_table_nlmsg_build_payload(m, t);
	nftnl_table_free(t);
	add(nft, m);
}

void gt_nft_table_delete(struct gt_nft *nft)
{
	struct nlmsghdr *m = message(nft, NFT_MSG_DELTABLE, 0);
	struct nftnl_table *t = nftnl_table_alloc();

	if (!t)
		gt_out_of_memory();
	nftnl_table_set_str(t, NFTNL_TABLE_NAME, nft->table);
	nftnl_table_nlmsg_build_payload(m, t);
	nftnl_table_free(t);
	add(nft, m);
}

static void chain_add(struct gt_nft *nft, const char *chain, const char *type, uint32_t hook,
		      int32_t priority)
{
	struct nlmsghdr *m = message(nft, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	struct nftnl_chain *c = nftnl_chain_alloc();

	if (!c)
		gt_out_of_memory();
	nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, nft->table);
	nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, chain);
	if (type) {
		nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, type);
		nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, hook);
		nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, priority);
		nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_ACCEPT);
	}
	nftnl_chain_nlmsg_build_payload(m, c);
	nftnl_chain_free(c);
	add(nft, m);
}

void gt_nft_chain_add(struct gt_nft *nft, const char *chain)
{
	chain_add(nft, chain, NULL, 0, 0);
}

void gt_nft_base_add(struct gt_nft *nft, const char *chain, const char *type, uint32_t hook,
		     int32_t priority)
{
	chain_add(nft, chain, type, hook, priority);
}

/* ---- rules ---- */

void gt_nft_rule(struct gt_nft *nft, const char *chain)
{
	end_rule(nft);
	nft->rule = nftnl_rule_alloc();
	if (!nft->rule)
		gt_out_of_memory();
	nftnl_rule_set_u32(nft->rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
	nftnl_rule_set_str(nft->rule, NFTNL_RULE_TABLE, nft->table);
	nftnl_rule_set_str(nft->rule, NFTNL_RULE_CHAIN, chain);
}

static struct nftnl_expr *expr(struct gt_nft *nft, const char *name)
{
	struct nftnl_expr *e = nftnl_expr_alloc(name);

	if (!e)
		gt_out_of_memory();
	nftnl_rule_add_expr(nft->rule, e);
	return e;
}

static void load_meta(struct gt_nft *nft, uint32_t key)
{
	struct nftnl_expr *e = expr(nft, "meta");

	nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
	nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, NFT_REG_1);
}

static void load_payload(struct gt_nft *nft, uint32_t base, uint32_t offset, uint32_t len)
{
	struct nftnl_expr *e = expr(nft, "payload");

	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, len);
}

static void mask(struct gt_nft *nft, const void *bits, uint32_t len)
{
	static const uint8_t zero[16];
	struct nftnl_expr *e = expr(nft, "bitwise");

	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, len);
	nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, bits, len);
	nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, zero, len);
}

static void compare(struct gt_nft *nft, bool same, const void *data, uint32_t len)
{
	struct nftnl_expr *e = expr(nft, "cmp");

	nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, same ? NFT_CMP_EQ : NFT_CMP_NEQ);
	nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, len);
}

void gt_nft_if_in(struct gt_nft *nft, const char *prefix)
{
	load_meta(nft, NFT_META_IIFNAME);
	compare(nft, true, prefix, (uint32_t)strlen(prefix));
}

void gt_nft_if_out(struct gt_nft *nft, const char *prefix, bool same)
{
	load_meta(nft, NFT_META_OIFNAME);
	compare(nft, same, prefix, (uint32_t)strlen(prefix));
}

static void address(struct gt_nft *nft, const struct gt_cidr *c, bool from)
{
	uint8_t family = c->len == 4 ? NFPROTO_IPV4 : NFPROTO_IPV6, bits[16] = { 0 };
	uint32_t offset = c->len == 4 ? 12 : 8;

	load_meta(nft, NFT_META_NFPROTO);
	compare(nft, true, &family, sizeof(family));
	load_payload(nft, NFT_PAYLOAD_NETWORK_HEADER, from ? offset : offset + c->len, c->len);
	if (c->bits < c->len * 8) {
		for (unsigned i = 0; i < c->bits; i++)
			bits[i / 8] = (uint8_t)(bits[i / 8] | 0x80u >> (i % 8));
		mask(nft, bits, c->len);
	}
	compare(nft, true, c->addr, c->len);
}

void gt_nft_from(struct gt_nft *nft, const struct gt_cidr *c)
{
	address(nft, c, true);
}

void gt_nft_to(struct gt_nft *nft, const struct gt_cidr *c)
{
	address(nft, c, false);
}

void gt_nft_protocol(struct gt_nft *nft, uint8_t protocol)
{
	load_meta(nft, NFT_META_L4PROTO);
	compare(nft, true, &protocol, sizeof(protocol));
}

void gt_nft_port(struct gt_nft *nft, uint16_t port)
{
	uint16_t wire = htons(port);

	load_payload(nft, NFT_PAYLOAD_TRANSPORT_HEADER, 2, sizeof(wire));
	compare(nft, true, &wire, sizeof(wire));
}

void gt_nft_state(struct gt_nft *nft, uint32_t states)
{
	struct nftnl_expr *e = expr(nft, "ct");
	uint32_t zero = 0;

	nftnl_expr_set_u32(e, NFTNL_EXPR_CT_KEY, NFT_CT_STATE);
	nftnl_expr_set_u32(e, NFTNL_EXPR_CT_DREG, NFT_REG_1);
	mask(nft, &states, sizeof(states));
	compare(nft, false, &zero, sizeof(zero));
}

void gt_nft_spoofed(struct gt_nft *nft)
{
	struct nftnl_expr *e = expr(nft, "fib");
	uint32_t none = 0;

	nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_DREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_OIF);
	nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF);
	compare(nft, true, &none, sizeof(none));
}

static void verdict(struct gt_nft *nft, uint32_t what, const char *chain)
{
	struct nftnl_expr *e = expr(nft, "immediate");

	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, what);
	if (chain)
		nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, chain);
}

void gt_nft_accept(struct gt_nft *nft)
{
	verdict(nft, NF_ACCEPT, NULL);
}

void gt_nft_drop(struct gt_nft *nft)
{
	verdict(nft, NF_DROP, NULL);
}

void gt_nft_go(struct gt_nft *nft, const char *chain, bool back)
{
	verdict(nft, (uint32_t)(back ? NFT_JUMP : NFT_GOTO), chain);
}

void gt_nft_reject(struct gt_nft *nft, bool reset)
{
	struct nftnl_expr *e = expr(nft, "reject");

	nftnl_expr_set_u32(e, NFTNL_EXPR_REJECT_TYPE,
			   reset ? NFT_REJECT_TCP_RST : NFT_REJECT_ICMPX_UNREACH);
	nftnl_expr_set_u8(e, NFTNL_EXPR_REJECT_CODE, reset ? 0 : NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
}

void gt_nft_masquerade(struct gt_nft *nft)
{
	expr(nft, "masq");
}
