/* rules.h - the packet filter of one daemon: what its replicas may reach, as one transaction. */
#ifndef NET_RULES_H
#define NET_RULES_H

#include <gantry/net/net.h>

#include "nft.h"

/* Replicas that may reach each other: their addresses, one family after the other. */
struct gt_rules_group {
	const struct gt_cidr *members;
	size_t n;
};

struct gt_rules {
	const char *table, *prefix; /* of the links' names: "gt1a2b3c-" */
	const struct gt_cidr *own;  /* the daemon's subnets, one a family */
	size_t n_own;
	const struct gt_cidr *dns, *allow, *block;
	size_t n_dns, n_allow, n_block;
	bool block_private;
	const struct gt_rules_group *groups;
	size_t n_groups;
};

/* In the place of an older table of this name, without a moment without rules. */
int gt_rules_write(struct gt_nft *nft, const struct gt_rules *rules, struct gt_err *err);

#endif
