/* net/net.h - the node's side of replicas' networks: which address is whose, the packet filter with
 * NAT, the name servers. A replica's own side, and the link between both, is made by its process 1
 * while it is staged.
 *
 * Nothing of the machine is changed before the first lease; then one nftables table, one route a
 * family that reserves the subnet, and the forwarding of the interfaces that lead out. A link is
 * named after its slot, so the kernel's links are the record of who has which address: it outlives
 * this process, and an address is free again when its link is gone. As root only; loop thread only;
 * calls wait for the kernel alone. */
#ifndef GANTRY_NET_NET_H
#define GANTRY_NET_NET_H

#include <gantry/base/err.h>
#include <gantry/model/limits.h>

struct gt_net;

#define GT_NET_SUBNET4     "198.18.0.0/16" /* kept for laboratories by RFC 2544: on no real network */
#define GT_NET_SUBNET6     "fd67:616e:7472:7900::/64"
#define GT_NET_RESOLV_SIZE 1024
#define GT_NET_CIDRS_MAX   64 /* networks in one list */

/* Lists are separated by blanks or commas; NULL is "". Copied. */
struct gt_net_config {
	/* This daemon among those of the machine: "gantry-" and 16 hex digits. Names the table,
	 * and the links by its last 6 digits. */
	const char *name;
	const char *subnet4, *subnet6; /* "" = the defaults above, "none" = without this family */
	const char *dns;               /* addresses; "" = those of the host */
	const char *block, *allow;     /* networks: never reached; reached before any rule */
	bool block_private;            /* private networks are blocked too */
	bool set_forwarding;           /* may turn on forwarding of the interfaces that lead out */
};

struct gt_net_lease {
	uint32_t slot;
	char host_if[16]; /* what to name the host's end */
	bool has4, has6;
	uint8_t addr4[4], gate4[4], addr6[16]; /* network byte order */
};

/* Reads all but the name: -EINVAL with a slug "bad_config" and a text that names the key. */
GT_MUST_USE int gt_net_check(const struct gt_net_config *config, struct gt_err *err);
/* Likewise. */
GT_MUST_USE int gt_net_new(const struct gt_net_config *config, struct gt_net **ret,
			   struct gt_err *err);
void gt_net_free(struct gt_net *net); /* leaves the machine as it is; NULL is fine */
/* After a restart: if replicas of the predecessor may still be behind its table, puts the present
 * configuration in its place. Does nothing when there is no table. */
GT_MUST_USE int gt_net_renew(struct gt_net *net, struct gt_err *err);
/* An address for a new sandbox. Makes the table when it is missing. */
GT_MUST_USE int gt_net_lease(struct gt_net *net, struct gt_net_lease *ret, struct gt_err *err);
/* The sandbox is dead; the slot is given out again once the kernel has removed the link. */
void gt_net_release(struct gt_net *net, uint32_t slot);
/* The address of a slot, as text: IPv4 where there is one. */
void gt_net_address(const struct gt_net *net, uint32_t slot, char out[GT_ADDRESS_MAX + 1]);
/* Those with these slots reach each other, at any port: members of one group. Who is in no group
 * with somebody does not reach him. n 0: the group is no more. Writes the filter anew. */
GT_MUST_USE int gt_net_group(struct gt_net *net, const char *name, const uint32_t *slots, size_t n,
			     struct gt_err *err);
void gt_net_ungroup(struct gt_net *net, uint32_t slot); /* from whatever group it is in */
/* The resolv.conf for replicas with egress (valid until the next lease) and for those with the
 * host's network (a copy of the host's). */
const char *gt_net_resolv(const struct gt_net *net);
void gt_net_resolv_host(char out[GT_NET_RESOLV_SIZE]);
/* For a process in a network namespace that is thrown away afterwards: makes what egress needs. */
GT_MUST_USE int gt_net_try_link(struct gt_err *err);
GT_MUST_USE int gt_net_try_filter(struct gt_err *err);
/* Removes table and routes of the daemon with this name, if there are any. Its replicas are dead.
 */
GT_MUST_USE int gt_net_cleanup(const char *name, struct gt_err *err);

#endif
