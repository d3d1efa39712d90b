/* net.c - the front door: configuration, leases, and bringing the host into the state they need. */
#include <gantry/net/net.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>

#include "forward.h"
#include "resolv.h"
#include "route.h"
#include "rules.h"

#define SLOTS_MAX   65536
#define SLOT_FIRST  2  /* 0 is the network, 1 the next hop's address */
#define NAME_LEN    23 /* "gantry-" and 16 digits */
#define SUBNET4_MIN 8
#define SUBNET4_MAX 28
#define SUBNET6_MAX 112
#define GROUPED_MAX 512 /* members of all groups: each is two rules */

/* What is whose on a machine with more than one daemon. */
struct names {
	char table[NAME_LEN + 1], prefix[10]; /* "gt1a2b3c-", of the links */
	uint32_t mark;                        /* priority of the routes that reserve the subnets */
};

/* Replicas that may reach each other. */
struct group {
	char name[32];
	uint32_t slots[GT_GANG_MAX];
	size_t n;
};

struct gt_net {
	struct names names;
	struct gt_cidr own[2]; /* in use; IPv4 first */
	size_t n_own;
	bool has4, has6, open;
	bool block_private, set_forwarding;
	struct gt_cidr block[GT_NET_CIDRS_MAX], allow[GT_NET_CIDRS_MAX];
	size_t n_block, n_allow;
	bool dns_given;
	struct gt_resolv dns;
	char resolv[GT_NET_RESOLV_SIZE];
	struct gt_nft *nft; /* stays open: it owns the table */
	uint32_t n_slots, next;
	uint8_t taken[SLOTS_MAX / 8]; /* by sandboxes of this process */
	struct group *groups;
	size_t n_groups;
};

/* ---- configuration ---- */

static int take_name(struct names *n, const char *name, struct gt_err *err)
{
	if (strlen(name) != NAME_LEN)
		return gt_err_set(err, EINVAL, "bad_config", "\"%s\" is no name of a daemon", name);
	gt_strcopy(n->table, sizeof(n->table), name);
	snprintf(n->prefix, sizeof(n->prefix), "gt%.6s-", name + NAME_LEN - 6);
	n->mark = (uint32_t)strtoul(name + NAME_LEN - 6, NULL, 16) + 1; /* 0 is no priority */
	return 0;
}

static int take_subnet(struct gt_net *net, const char *key, const char *text, const char *def,
		       uint8_t len, struct gt_err *err)
{
	struct gt_cidr c;

	if (gt_streq(text, "none"))
		return 0;
	if (!text || !*text)
		text = def;
	if (!gt_cidr_parse(text, &c) || c.len != len ||
	    (len == 4 ? c.bits < SUBNET4_MIN || c.bits > SUBNET4_MAX : c.bits > SUBNET6_MAX))
		return gt_err_set(err, EINVAL, "bad_config",
				  "%s: \"%.60s\" is neither \"none\" nor a network like %s%s", key,
				  text, def,
				  len == 4 ? ", of prefix length 8 to 28" : ", of at most /112");
	if (len == 4)
		net->n_slots = (uint32_t)GT_MIN(1u << (32 - c.bits), SLOTS_MAX);
	net->has4 |= len == 4;
	net->has6 |= len == 16;
	net->own[net->n_own++] = c;
	return 0;
}

static int take_lists(struct gt_net *net, const struct gt_net_config *config, struct gt_err *err)
{
	int r = gt_cidr_list("egress_block", config->block ? config->block : "", net->block,
			     GT_NET_CIDRS_MAX, err);

	if (r < 0)
		return r;
	net->n_block = (size_t)r;
	r = gt_cidr_list("egress_allow", config->allow ? config->allow : "", net->allow,
			 GT_NET_CIDRS_MAX, err);
	if (r < 0)
		return r;
	net->n_allow = (size_t)r;
	r = gt_cidr_list("dns", config->dns ? config->dns : "", net->dns.servers,
			 GT_RESOLV_SERVERS_MAX, err);
	if (r < 0)
		return r;
	net->dns.n_servers = (size_t)r;
	net->dns_given = r > 0;
	for (size_t i = 0; i < net->dns.n_servers; i++)
		if (net->dns.servers[i].bits != net->dns.servers[i].len * 8)
			return gt_err_set(err, EINVAL, "bad_config",
					  "dns: a name server is an address, not a network");
	return 0;
}

static int take_config(struct gt_net *net, const struct gt_net_config *config, struct gt_err *err)
{
	int r;

	net->n_slots = SLOTS_MAX;
	net->next = SLOT_FIRST;
	net->block_private = config->block_private;
	net->set_forwarding = config->set_forwarding;
	r = take_subnet(net, "egress_subnet4", config->subnet4, GT_NET_SUBNET4, 4, err);
	if (r == 0)
		r = take_subnet(net, "egress_subnet6", config->subnet6, GT_NET_SUBNET6, 16, err);
	if (r == 0)
		r = take_lists(net, config, err);
	return r;
}

int gt_net_check(const struct gt_net_config *config, struct gt_err *err)
{
	gt_auto(free) struct gt_net *net = gt_alloc(sizeof(*net));

	return take_config(net, config, err);
}

int gt_net_new(const struct gt_net_config *config, struct gt_net **ret, struct gt_err *err)
{
	struct gt_net *net = gt_alloc(sizeof(*net));
	int r = take_name(&net->names, config->name, err);

	if (r == 0)
		r = take_config(net, config, err);
	if (r < 0) {
		gt_net_free(net);
		return r;
	}
	*ret = net;
	return 0;
}

void gt_net_free(struct gt_net *net)
{
	if (!net)
		return;
	gt_nft_close(net->nft);
	free(net->groups);
	free(net);
}

/* ---- the host ---- */

static void choose_dns(struct gt_net *net)
{
	/* The second is where a local stub resolver keeps the servers that it asks. */
	static const char *const files[] = { "/etc/resolv.conf",
					     "/run/systemd/resolve/resolv.conf" };

	if (!net->dns_given)
		gt_resolv_find(files, GT_LEN(files), net->has4, net->has6, &net->dns);
	if (net->dns.n_servers == 0)
		gt_warn("replicas with network egress can not resolve names: no name server in "
			"/etc/resolv.conf is reachable from them; set [agent] dns");
	gt_resolv_write(&net->dns, net->resolv);
}

/* The slot goes into the last bits, which are zero in the network's own address. */
static void address_of(const struct gt_cidr *own, uint32_t slot, uint8_t *out)
{
	memcpy(out, own->addr, own->len);
	out[own->len - 1] = (uint8_t)(out[own->len - 1] | (slot & 0xff));
	out[own->len - 2] = (uint8_t)(out[own->len - 2] | slot >> 8);
}

/* One family: the one whose addresses members are told. */
static size_t groups_fill(const struct gt_net *net, struct gt_rules_group *groups,
			  struct gt_cidr *members)
{
	const struct gt_cidr *own = &net->own[0];
	size_t at = 0;

	for (size_t i = 0; i < net->n_groups; i++) {
		const struct group *g = &net->groups[i];

		groups[i] = (struct gt_rules_group){ .members = members + at, .n = g->n };
		for (size_t k = 0; k < g->n; k++, at++) {
			members[at] = *own;
			members[at].bits = (uint8_t)(own->len * 8);
			address_of(own, g->slots[k], members[at].addr);
		}
	}
	return net->n_groups;
}

static int write_rules(struct gt_net *net, struct gt_err *err)
{
	gt_auto(free) struct gt_cidr *members = gt_alloc_array(GROUPED_MAX, sizeof(*members));
	gt_auto(free) struct gt_rules_group *groups = gt_alloc_array(GROUPED_MAX, sizeof(*groups));
	struct gt_rules rules = {
		.table = net->names.table,
		.prefix = net->names.prefix,
		.own = net->own,
		.n_own = net->n_own,
		.dns = net->dns.servers,
		.n_dns = net->dns.n_servers,
		.allow = net->allow,
		.n_allow = net->n_allow,
		.block = net->block,
		.n_block = net->n_block,
		.block_private = net->block_private,
		.groups = groups,
		.n_groups = groups_fill(net, groups, members),
	};

	return gt_rules_write(net->nft, &rules, err);
}

static int open_family(struct gt_net *net, const struct gt_cidr *own, struct gt_err *err)
{
	struct gt_uplinks uplinks = { .n = 0 };
	bool v6 = own->len == 16;
	int r = gt_route_scan(own, net->names.prefix, net->names.mark, &uplinks, err);

	if (r == -EADDRINUSE)
		return gt_err_wrap(err, "[agent] egress_subnet%d", v6 ? 6 : 4);
	if (r == 0 && uplinks.n == 0 && !v6)
		gt_warn("this machine has no default route: replicas with network egress reach "
			"only what other routes lead to");
	if (r == 0)
		r = gt_forward_on(&uplinks, v6, net->set_forwarding, err);
	if (r == 0)
		r = gt_route_reserve(own, net->names.mark, err);
	return r;
}

static void drop6(struct gt_net *net)
{
	if (net->has6)
		net->n_own--;
	net->has6 = false;
}

/* IPv6 is what a machine may lack; then replicas have IPv4 alone. */
static int open_families(struct gt_net *net, struct gt_err *err)
{
	int r = 0;

	if (net->has6 && !gt_forward_has6())
		drop6(net);
	if (net->has4)
		r = open_family(net, &net->own[0], err);
	if (r < 0 || !net->has6)
		return r;
	r = open_family(net, &net->own[net->n_own - 1], err);
	if (r != -EOPNOTSUPP && r != -EPERM)
		return r;
	gt_warn("replicas with network egress have no IPv6: %s", err ? err->text : "");
	drop6(net);
	return 0;
}

static int open_host(struct gt_net *net, struct gt_err *err)
{
	int r = 0;

	if (!net->nft)
		r = gt_nft_open(&net->nft, err);
	if (r == 0)
		r = open_families(net, err);
	if (r == 0 && net->n_own == 0)
		r = gt_err_set(err, EPERM, "network_not_allowed",
			       "network egress is turned off on this node (see egress_subnet4 and "
			       "egress_subnet6 in the daemon's configuration)");
	if (r < 0)
		return r;
	choose_dns(net);
	r = write_rules(net, err);
	net->open = r == 0;
	return r;
}

int gt_net_renew(struct gt_net *net, struct gt_err *err)
{
	int r = net->nft ? 0 : gt_nft_open(&net->nft, err);

	if (r == -EPROTONOSUPPORT)
		return 0; /* a kernel without nf_tables has no table of ours */
	if (r == 0)
		r = gt_nft_table_exists(net->nft, net->names.table, err);
	return r == 1 ? open_host(net, err) : r;
}

/* ---- leases ---- */

static void link_name(const struct gt_net *net, uint32_t slot, char name[IF_NAMESIZE])
{
	snprintf(name, IF_NAMESIZE, "%s%u", net->names.prefix, (unsigned)(uint16_t)slot);
}

static bool is_taken(const struct gt_net *net, uint32_t slot)
{
	char name[IF_NAMESIZE];

	if (net->taken[slot / 8] & 1u << slot % 8)
		return true;
	link_name(net, slot, name);
	return if_nametoindex(name) != 0;
}

/* From where the last search ended, so that an address is not given to the next at once. */
static int find_slot(struct gt_net *net, uint32_t *ret, struct gt_err *err)
{
	uint32_t last = net->n_slots - 1; /* IPv4's broadcast address */

	for (uint32_t i = SLOT_FIRST; i < last; i++) {
		uint32_t slot = net->next;

		net->next = slot + 1 < last ? slot + 1 : SLOT_FIRST;
		if (!is_taken(net, slot)) {
			*ret = slot;
			return 0;
		}
	}
	return gt_err_set(err, ENOSPC, "sandbox_failed",
			  "all %u addresses of egress_subnet4 are in use", last - SLOT_FIRST);
}

int gt_net_lease(struct gt_net *net, struct gt_net_lease *ret, struct gt_err *err)
{
	struct gt_net_lease l = { .slot = 0 };
	int r = 1;

	/* Somebody may have flushed it: a replica must never be without. */
	if (net->open)
		r = gt_nft_table_exists(net->nft, net->names.table, err);
	if (r == 0)
		gt_warn("nf_tables has lost table %s; writing it again", net->names.table);
	if (r >= 0)
		r = net->open && r == 1 ? 0 : open_host(net, err);
	if (r == 0)
		r = find_slot(net, &l.slot, err);
	if (r < 0)
		return r;
	l.has4 = net->has4;
	l.has6 = net->has6;
	link_name(net, l.slot, l.host_if);
	if (l.has4) {
		address_of(&net->own[0], l.slot, l.addr4);
		address_of(&net->own[0], 1, l.gate4);
	}
	if (l.has6)
		address_of(&net->own[net->n_own - 1], l.slot, l.addr6);
	net->taken[l.slot / 8] = (uint8_t)(net->taken[l.slot / 8] | 1u << l.slot % 8);
	gt_net_ungroup(net, l.slot);
	*ret = l;
	return 0;
}

void gt_net_release(struct gt_net *net, uint32_t slot)
{
	net->taken[slot / 8] = (uint8_t)(net->taken[slot / 8] & ~(1u << slot % 8));
}

/* ---- groups ---- */

void gt_net_address(const struct gt_net *net, uint32_t slot, char out[GT_ADDRESS_MAX + 1])
{
	const struct gt_cidr *own = &net->own[0];
	uint8_t bytes[16];

	address_of(own, slot, bytes);
	inet_ntop(own->len == 4 ? AF_INET : AF_INET6, bytes, out, GT_ADDRESS_MAX + 1);
}

static struct group *group_find(struct gt_net *net, const char *name)
{
	for (size_t i = 0; i < net->n_groups; i++)
		if (gt_streq(net->groups[i].name, name))
			return &net->groups[i];
	return NULL;
}

static void group_remove(struct gt_net *net, struct group *g)
{
	*g = net->groups[--net->n_groups];
}

static size_t grouped(const struct gt_net *net)
{
	size_t n = 0;

	for (size_t i = 0; i < net->n_groups; i++)
		n += net->groups[i].n;
	return n;
}

int gt_net_group(struct gt_net *net, const char *name, const uint32_t *slots, size_t n,
		 struct gt_err *err)
{
	struct group *g = group_find(net, name), *all;

	if (!g && n == 0)
		return 0;
	if (g)
		group_remove(net, g);
	if (n > GT_GANG_MAX || grouped(net) + n > GROUPED_MAX)
		return gt_err_set(err, ENOSPC, "sandbox_failed",
				  "%zu members of gangs are on this node already; the limit is %d",
				  grouped(net), GROUPED_MAX);
	if (n > 0) {
		all = gt_grow(net->groups, net->n_groups + 1, sizeof(*all));
		net->groups = all;
		g = &all[net->n_groups++];
		*g = (struct group){ .n = n };
		gt_strcopy(g->name, sizeof(g->name), name);
		memcpy(g->slots, slots, n * sizeof(*slots));
	}
	return net->open ? write_rules(net, err) : 0;
}

void gt_net_ungroup(struct gt_net *net, uint32_t slot)
{
	struct gt_err err;

	for (size_t i = 0; i < net->n_groups; i++) {
		struct group *g = &net->groups[i];

		for (size_t k = 0; k < g->n; k++) {
			if (g->slots[k] != slot)
				continue;
			/* Whose address it was is dead, and with it the whole gang. */
			group_remove(net, g);
			if (net->open && write_rules(net, &err) < 0)
				gt_warn("the packet filter still lets an ended gang through: %s",
					err.text);
			return;
		}
	}
}

const char *gt_net_resolv(const struct gt_net *net)
{
	return net->resolv;
}

/* ---- the end ---- */

static int delete_table(const char *name, struct gt_err *err)
{
	struct gt_nft *nft = NULL;
	int r = gt_nft_open(&nft, err);

	if (r == -EPROTONOSUPPORT)
		return 0;
	if (r == 0)
		r = gt_nft_table_exists(nft, name, err);
	if (r == 1) {
		gt_nft_begin(nft, name);
		gt_nft_table_delete(nft);
		r = gt_nft_commit(nft, err);
	}
	gt_nft_close(nft);
	return r;
}

int gt_net_cleanup(const char *name, struct gt_err *err)
{
	struct names n;
	int r = take_name(&n, name, err);

	if (r == 0)
		r = delete_table(n.table, err);
	if (r == 0)
		r = gt_route_release(n.mark, err);
	return r;
}
