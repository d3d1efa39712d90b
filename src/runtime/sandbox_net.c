/* sandbox_net.c - between the net room, which knows addresses, and process 1, which makes links. */
#include "sandbox_net.h"

#include <string.h>

#include <gantry/base/log.h>

#include "runtime_impl.h"

_Static_assert(sizeof(((struct gt_init_net *)0)->host_if) ==
		       sizeof(((struct gt_net_lease *)0)->host_if),
	       "one length of interface names");
_Static_assert(GT_INIT_RESOLV_SIZE == GT_NET_RESOLV_SIZE, "one size of resolv.conf");

int gt_sandbox_net_open(struct gt_runtime *rt, const struct gt_runtime_config *config,
			const char *name, struct gt_err *err)
{
	struct gt_net_config nc = { .name = name };
	struct gt_err why;
	int r;

	if (config->egress)
		nc = *config->egress;
	nc.name = name;
	rt->allow_host_network = config->allow_host_network;
	r = gt_net_new(&nc, &rt->net, err);
	if (r < 0)
		return r;
	/* Replicas of the predecessor go on behind its rules; others can be started all the same.
	 */
	if (gt_net_renew(rt->net, &why) < 0)
		gt_warn("the packet filter of running replicas stays as it was: %s", why.text);
	return 0;
}

int gt_sandbox_net_allowed(const struct gt_runtime *rt, enum gt_network kind, struct gt_err *err)
{
	if (kind == GT_NETWORK_HOST && !rt->allow_host_network)
		return gt_err_set(err, EPERM, "network_not_allowed",
				  "the operator does not allow network \"host\" on this node (see "
				  "allow_host_network in the daemon's configuration)");
	return 0;
}

static int stage_egress(struct gt_runtime *rt, struct sandbox_net *n, struct gt_init_stage *stage,
			struct gt_err *err)
{
	struct gt_net_lease l;
	int r = gt_net_lease(rt->net, &l, err);

	if (r < 0)
		return r;
	n->leased = true;
	n->slot = l.slot;
	stage->net.flags = GT_INIT_NET_EGRESS | (l.has4 ? GT_INIT_NET_4 : 0) |
			   (l.has6 ? GT_INIT_NET_6 : 0);
	memcpy(stage->net.host_if, l.host_if, sizeof(l.host_if));
	memcpy(stage->net.addr4, l.addr4, sizeof(l.addr4));
	memcpy(stage->net.gate4, l.gate4, sizeof(l.gate4));
	memcpy(stage->net.addr6, l.addr6, sizeof(l.addr6));
	gt_strcopy(stage->resolv, sizeof(stage->resolv), gt_net_resolv(rt->net));
	return 0;
}

int gt_sandbox_net_stage(struct gt_runtime *rt, struct sandbox_net *n, bool made,
			 struct gt_init_stage *stage, struct gt_err *err)
{
	if (made) {
		stage->net.flags = GT_INIT_NET_MADE;
		if (n->leased)
			gt_net_ungroup(rt->net, n->slot);
		if (n->kind == GT_NETWORK_EGRESS)
			gt_strcopy(stage->resolv, sizeof(stage->resolv), gt_net_resolv(rt->net));
		return 0;
	}
	switch (n->kind) {
	case GT_NETWORK_EGRESS:
		return stage_egress(rt, n, stage, err);
	case GT_NETWORK_HOST:
		stage->net.flags = GT_INIT_NET_HOST;
		gt_net_resolv_host(stage->resolv);
		return 0;
	default:
		return 0; /* loopback, and nobody to ask for names */
	}
}

uint32_t gt_sandbox_net_slot(const struct sandbox_net *n)
{
	return n->leased ? n->slot : 0;
}

void gt_runtime_address(const struct gt_runtime *rt, uint32_t slot, char out[GT_ADDRESS_MAX + 1])
{
	gt_net_address(rt->net, slot, out);
}

int gt_runtime_group(struct gt_runtime *rt, const char *group, const uint32_t *slots, size_t n,
		     struct gt_err *err)
{
	return gt_net_group(rt->net, group, slots, n, err);
}

void gt_sandbox_net_release(struct gt_runtime *rt, struct sandbox_net *n)
{
	if (n->leased)
		gt_net_release(rt->net, n->slot);
	n->leased = false;
}
