/* replica_gang.c - members of a gang on this node: they wait for each other, learn their addresses,
 * start together, and reach each other.
 *
 * With network egress all members are here. Each gets its sandbox, and with it its address, and is
 * held there; the last one lets all go, with everybody's address in the environment. With network
 * host the addresses are the nodes', and came with the order: nothing is waited for. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/log.h>

#include "agent_impl.h"

#define HOLD_MS 20000 /* for all members to get here */

bool gt_replica_gang_holds(const struct replica *r)
{
	return r->gang.size > 0 && r->spec->network == GT_NETWORK_EGRESS;
}

static bool same_epoch(const struct replica *a, const struct replica *b)
{
	return a->gang.epoch == b->gang.epoch && strcmp(a->gang.id, b->gang.id) == 0;
}

/* Those of its epoch that have a sandbox, by rank. */
static uint32_t seated(const struct replica *of, struct replica *ret[GT_GANG_MAX])
{
	struct replica *r, *next;
	uint32_t n = 0;

	memset(ret, 0, GT_GANG_MAX * sizeof(*ret));
	HASH_ITER (hh, of->agent->replicas, r, next) {
		if (r->gang.size != of->gang.size || !same_epoch(r, of) || r->where.slot == 0 ||
		    gt_replica_state_ended(r->state) || ret[r->gang.rank])
			continue;
		ret[r->gang.rank] = r;
		n++;
	}
	return n;
}

/* ---- the environment ---- */

/* The interface that has the address, or NULL. The caller's. */
static char *interface_of(const char *address)
{
	struct ifaddrs *all, *i;
	char *name = NULL;

	if (getifaddrs(&all) < 0)
		return NULL;
	for (i = all; i && !name; i = i->ifa_next) {
		char text[GT_ADDRESS_MAX + 1] = "";
		int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
		const void *at =
			family == AF_INET
				? (const void *)&((struct sockaddr_in *)(void *)i->ifa_addr)
					  ->sin_addr
				: (const void *)&((struct sockaddr_in6 *)(void *)i->ifa_addr)
					  ->sin6_addr;

		if (family != AF_INET && family != AF_INET6)
			continue;
		inet_ntop(family, at, text, sizeof(text));
		if (strcmp(text, address) == 0)
			name = gt_strdup(i->ifa_name);
	}
	freeifaddrs(all);
	return name;
}

static char *joined(char (*addresses)[GT_ADDRESS_MAX + 1], uint32_t n)
{
	gt_auto(buf) struct gt_buf out = { 0 };

	gt_buf_init(&out, 0);
	for (uint32_t i = 0; i < n; i++)
		gt_buf_addf(&out, "%s%s", i ? "," : "", addresses[i]);
	return gt_buf_steal(&out);
}

/* What the user has set stays. */
static void add(const struct replica *r, char *ret[GT_CONTAINER_ENV_MAX], size_t *n,
		char *text GT_TAKES)
{
	size_t len = strcspn(text, "=");

	for (size_t i = 0; i < r->spec->n_env; i++)
		if (strncmp(r->spec->env[i].name, text, len) == 0 &&
		    r->spec->env[i].name[len] == '\0') {
			free(text);
			return;
		}
	ret[(*n)++] = text;
}

size_t gt_replica_gang_env(const struct replica *r, char (*addresses)[GT_ADDRESS_MAX + 1],
			   char *ret[GT_CONTAINER_ENV_MAX])
{
	static const char *const ranks[] = { "RANK", "GROUP_RANK", "NODE_RANK" };
	static const char *const sizes[] = { "WORLD_SIZE", "GROUP_WORLD_SIZE" };
	const struct gt_gang_member *m = &r->gang;
	bool own_net = gt_replica_gang_holds(r);
	gt_auto(free) char *interface = own_net ? gt_strdup("eth0")
						: interface_of(addresses[m->rank]);
	gt_auto(free) char *ips = joined(addresses, m->size);
	size_t n = 0;

	add(r, ret, &n, gt_asprintf("MASTER_ADDR=%s", addresses[0]));
	add(r, ret, &n, gt_asprintf("MASTER_PORT=%u", m->port));
	for (size_t i = 0; i < GT_LEN(ranks); i++)
		add(r, ret, &n, gt_asprintf("%s=%u", ranks[i], m->rank));
	for (size_t i = 0; i < GT_LEN(sizes); i++)
		add(r, ret, &n, gt_asprintf("%s=%u", sizes[i], m->size));
	add(r, ret, &n, gt_strdup("LOCAL_RANK=0"));
	add(r, ret, &n, gt_strdup("LOCAL_WORLD_SIZE=1"));
	add(r, ret, &n, gt_asprintf("GANTRY_GANG_ID=%s", m->id));
	add(r, ret, &n, gt_asprintf("GANTRY_GANG_EPOCH=%u", m->epoch));
	add(r, ret, &n, gt_asprintf("GANTRY_RANK_IPS=%s", ips));
	/* NCCL takes those of one kernel for one host and tries shared memory, which two
	 * containers do not have. */
	add(r, ret, &n,
	    gt_asprintf("NCCL_HOSTID=%s-%s-%u", r->agent->node, addresses[m->rank], m->rank));
	if (interface)
		add(r, ret, &n, gt_asprintf("NCCL_SOCKET_IFNAME=%s", interface));
	return n;
}

/* ---- starting together ---- */

static int go(struct replica *r, char (*addresses)[GT_ADDRESS_MAX + 1], struct gt_err *err)
{
	char *env[GT_CONTAINER_ENV_MAX];
	size_t n = gt_replica_gang_env(r, addresses, env);
	int res = gt_container_go(r->container, (const char *const *)env, n, err);

	r->held = false;
	gt_timer_clear(r->agent->loop, &r->deadline);
	while (n > 0)
		free(env[--n]);
	return res;
}

/* They reach each other before the first one runs. */
static int connect_all(const struct replica *of, struct replica *members[GT_GANG_MAX],
		       struct gt_err *err)
{
	uint32_t slots[GT_GANG_MAX];

	for (uint32_t i = 0; i < of->gang.size; i++)
		slots[i] = members[i]->where.slot;
	return gt_runtime_group(of->agent->rt, of->gang.id, slots, of->gang.size, err);
}

static void on_hold_over(void *arg)
{
	struct replica *r = arg;
	char text[128];

	snprintf(text, sizeof(text), "not all %u members of its gang got to this node within %d s",
		 r->gang.size, HOLD_MS / 1000);
	gt_replica_give_up(r, "gang_incomplete", text);
}

int gt_replica_gang_held(struct replica *r, struct gt_err *err)
{
	char addresses[GT_GANG_MAX][GT_ADDRESS_MAX + 1];
	struct replica *members[GT_GANG_MAX];
	int res;

	if (r->state == GT_REPLICA_DRAINING)
		return gt_err_set(err, ECANCELED, "sandbox_failed", "stopped while it was held");
	if (seated(r, members) < r->gang.size) {
		r->held = true;
		gt_timer_set(r->agent->loop, &r->deadline, HOLD_MS, on_hold_over, r);
		return 0;
	}
	for (uint32_t i = 0; i < r->gang.size; i++)
		gt_runtime_address(r->agent->rt, members[i]->where.slot, addresses[i]);
	res = connect_all(r, members, err);
	for (uint32_t i = 0; res == 0 && i < r->gang.size; i++)
		res = go(members[i], addresses, err);
	return res;
}

/* The first end is the end of the group: an address of it may soon be somebody else's. */
void gt_replica_gang_over(struct replica *r)
{
	struct gt_err err;

	if (r->gang.size == 0 || r->where.slot == 0)
		return;
	if (gt_runtime_group(r->agent->rt, r->gang.id, NULL, 0, &err) < 0)
		gt_warn("gang %s: %s", r->gang.id, err.text);
}

void gt_replica_gang_set(struct replica *r, const struct gt_order *o)
{
	r->gang = o->gang;
	if (o->n_addresses < o->gang.size || o->gang.size == 0)
		return;
	r->addresses = gt_alloc_array(o->n_addresses, sizeof(r->addresses[0]));
	memcpy(r->addresses, o->addresses, o->n_addresses * sizeof(r->addresses[0]));
}

int gt_replica_gang_check(const struct replica *r, struct gt_err *err)
{
	if (gt_gang_member_ok(&r->gang) && r->gang.size == r->spec->gang.size &&
	    (r->gang.size == 0 || r->addresses || gt_replica_gang_holds(r)))
		return 0;
	return gt_err_set(err, EINVAL, "gang_incomplete",
			  "the order is for member %u of a gang of %u, without all addresses or "
			  "with another size than the function's %u",
			  r->gang.rank, r->gang.size, r->spec->gang.size);
}

void gt_replica_gang_adopt(struct replica *r)
{
	struct replica *members[GT_GANG_MAX];
	struct gt_err err;

	if (r->gang.size == 0 || seated(r, members) < r->gang.size)
		return; /* the last one that is found does it */
	if (connect_all(r, members, &err) < 0)
		gt_warn("gang %s: its members do not reach each other: %s", r->gang.id, err.text);
}
