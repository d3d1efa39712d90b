/* rules.c - one table for all replicas: the rules go by the links' common name and by prefixes, so
 * that a replica more is no rule more. Refusals are answered: a program that asks for the metadata
 * service or a blocked host shall fail now and not time out. */
#include "rules.h"

#include <netinet/in.h>
#include <stdio.h>

#include <linux/netfilter.h>

#define ESTABLISHED (1u << 1) /* bits of the connection's state, as nft(8) has them */
#define RELATED     (1u << 2)
#define INVALID     (1u << 0)
#define PRIO_RAW    -300
#define PRIO_EARLY  -10 /* before a firewall's usual place, 0: that one still has its say */
#define PRIO_SNAT   100
#define DNS_PORT    53

/* Services that tell whoever asks the machine's secrets, and what is on the host's own links. */
static const char *const metadata[] = {
	"169.254.0.0/16",      /* link-local; most clouds' metadata at 169.254.169.254 */
	"168.63.129.16",       /* Azure's host agent */
	"100.100.100.200",     /* Alibaba Cloud */
	"192.0.0.192",         /* Oracle Cloud */
	"fe80::/10",           /* link-local */
	"fd00:ec2::254",       /* AWS */
	"fd20:ce::254",        /* Google Cloud */
	"fd00:42::42",         /* Scaleway */
	"64:ff9b::a9fe:0/112", /* 169.254.0.0/16 by way of NAT64 */
	"64:ff9b::a83f:8110",  /* 168.63.129.16 likewise */
};

static const char *const private[] = {
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7",
};

static void rule_to(struct gt_nft *nft, const char *chain, const struct gt_cidr *c)
{
	gt_nft_rule(nft, chain);
	gt_nft_to(nft, c);
}

static void refuse_all(struct gt_nft *nft, const char *const *networks, size_t n)
{
	struct gt_cidr c;

	for (size_t i = 0; i < n; i++) {
		if (!gt_cidr_parse(networks[i], &c))
			continue;
		rule_to(nft, "out", &c);
		gt_nft_go(nft, "refuse", false);
	}
}

static void accept_answers(struct gt_nft *nft, const char *chain)
{
	gt_nft_rule(nft, chain);
	gt_nft_state(nft, ESTABLISHED | RELATED);
	gt_nft_accept(nft);
}

/* Name servers may be anywhere, on the host too; and what the operator opens. */
static void exceptions(struct gt_nft *nft, const char *chain, const struct gt_rules *r)
{
	static const uint8_t protocols[] = { IPPROTO_UDP, IPPROTO_TCP };

	for (size_t i = 0; i < r->n_dns * 2; i++) {
		rule_to(nft, chain, &r->dns[i / 2]);
		gt_nft_protocol(nft, protocols[i % 2]);
		gt_nft_port(nft, DNS_PORT);
		gt_nft_accept(nft);
	}
	for (size_t i = 0; i < r->n_allow; i++) {
		rule_to(nft, chain, &r->allow[i]);
		gt_nft_accept(nft);
	}
}

static void base_chains(struct gt_nft *nft, const struct gt_rules *r)
{
	gt_nft_base_add(nft, "source", "filter", NF_INET_PRE_ROUTING, PRIO_RAW);
	gt_nft_base_add(nft, "forward", "filter", NF_INET_FORWARD, PRIO_EARLY);
	gt_nft_base_add(nft, "input", "filter", NF_INET_LOCAL_IN, PRIO_EARLY);
	gt_nft_base_add(nft, "masquerade", "nat", NF_INET_POST_ROUTING, PRIO_SNAT);

	gt_nft_rule(nft, "source");
	gt_nft_if_in(nft, r->prefix);
	gt_nft_spoofed(nft);
	gt_nft_drop(nft);

	gt_nft_rule(nft, "forward");
	gt_nft_if_in(nft, r->prefix);
	gt_nft_go(nft, "out", true);
	gt_nft_rule(nft, "forward");
	gt_nft_if_out(nft, r->prefix, true);
	gt_nft_go(nft, "in", true);

	gt_nft_rule(nft, "input");
	gt_nft_if_in(nft, r->prefix);
	gt_nft_go(nft, "host", true);

	for (size_t i = 0; i < r->n_own; i++) {
		gt_nft_rule(nft, "masquerade");
		gt_nft_from(nft, &r->own[i]);
		gt_nft_if_out(nft, r->prefix, false);
		gt_nft_masquerade(nft);
	}
}

/* From a replica to elsewhere. */
static void out_chain(struct gt_nft *nft, const struct gt_rules *r)
{
	gt_nft_rule(nft, "out");
	gt_nft_if_out(nft, r->prefix, true);
	gt_nft_go(nft, "peers", false);
	accept_answers(nft, "out");
	gt_nft_rule(nft, "out");
	gt_nft_state(nft, INVALID);
	gt_nft_drop(nft);
	exceptions(nft, "out", r);
	for (size_t i = 0; i < r->n_own; i++) {
		rule_to(nft, "out", &r->own[i]);
		gt_nft_go(nft, "refuse", false);
	}
	refuse_all(nft, metadata, GT_LEN(metadata));
	if (r->block_private)
		refuse_all(nft, private, GT_LEN(private));
	for (size_t i = 0; i < r->n_block; i++) {
		rule_to(nft, "out", &r->block[i]);
		gt_nft_go(nft, "refuse", false);
	}
}

static const char *group_chain(size_t i, char name[24])
{
	snprintf(name, 24, "group%u", (unsigned)i);
	return name;
}

/* From a replica to another one: only to those of its own group. */
static void peers_chain(struct gt_nft *nft, const struct gt_rules *r)
{
	char name[24];

	for (size_t i = 0; i < r->n_groups; i++)
		for (size_t k = 0; k < r->groups[i].n; k++) {
			gt_nft_rule(nft, "peers");
			gt_nft_from(nft, &r->groups[i].members[k]);
			gt_nft_go(nft, group_chain(i, name), false);
		}
	gt_nft_rule(nft, "peers");
	gt_nft_go(nft, "refuse", false);
	for (size_t i = 0; i < r->n_groups; i++) {
		group_chain(i, name);
		for (size_t k = 0; k < r->groups[i].n; k++) {
			rule_to(nft, name, &r->groups[i].members[k]);
			gt_nft_accept(nft);
		}
		gt_nft_rule(nft, name);
		gt_nft_go(nft, "refuse", false);
	}
}

int gt_rules_write(struct gt_nft *nft, const struct gt_rules *r, struct gt_err *err)
{
	static const char *const chains[] = { "refuse", "peers", "out", "in", "host" };
	char name[24];
	int exists = gt_nft_table_exists(nft, r->table, err), res = 0;

	if (exists < 0)
		return exists;
	for (int owned = 1; owned >= 0; owned--) {
		gt_nft_begin(nft, r->table);
		if (exists)
			gt_nft_table_delete(nft);
		gt_nft_table_add(nft, owned);
		for (size_t i = 0; i < GT_LEN(chains); i++)
			gt_nft_chain_add(nft, chains[i]);
		for (size_t i = 0; i < r->n_groups; i++)
			gt_nft_chain_add(nft, group_chain(i, name));
		base_chains(nft, r);
		out_chain(nft, r);
		peers_chain(nft, r);
		accept_answers(nft, "in");
		gt_nft_rule(nft, "in");
		gt_nft_drop(nft);
		accept_answers(nft, "host");
		exceptions(nft, "host", r);
		gt_nft_rule(nft, "host");
		gt_nft_go(nft, "refuse", false);
		gt_nft_rule(nft, "refuse");
		gt_nft_protocol(nft, IPPROTO_TCP);
		gt_nft_reject(nft, true);
		gt_nft_rule(nft, "refuse");
		gt_nft_reject(nft, false);
		res = gt_nft_commit(nft, err);
		/* A kernel that knows no owners, or not that their tables can stay. */
		if (res != -EOPNOTSUPP && res != -EINVAL)
			break;
	}
	return res;
}
