/* replica_gang.c - members of a gang on this node: they wait for each other, learn their addresses,
 * start together, and reach each other.
 *
 * With network egress all members are here. Each gets its sandbox, and with it its address, and is
 * held there; the last one lets all go, with everybody's address in the environment. With network
 * host the addresses are the nodes', and came with the order: nobody is waited for.
 *
 * Where their GPUs are checked (preflight.c) they are held until that is done: all of a gang that
 * meets here, and each member by itself with network host. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/log.h>

#include "agent_impl.h"

#define HOLD_MS 20000 /* for all members to get here */

/* All of it are here, and wait for the last one. */
static bool meets_here(const struct replica *r)
{
	return r->gang.size > 0 && r->spec->network == GT_NETWORK_EGRESS;
}

bool gt_replica_gang_holds(const struct replica *r)
{
	return meets_here(r) || gt_preflight_wanted(r);
}

static bool is_of(const struct replica *r, const struct gt_gang_member *gang)
{
	return r->gang.size == gang->size && r->gang.epoch == gang->epoch &&
	       strcmp(r->gang.id, gang->id) == 0;
}

/* Those of its epoch that have a sandbox, by rank. */
static uint32_t seated(struct agent *a, const struct gt_gang_member *gang,
		       struct replica *ret[GT_GANG_MAX])
{
	struct replica *r, *next;
	uint32_t n = 0;

	memset(ret, 0, GT_GANG_MAX * sizeof(*ret));
	HASH_ITER (hh, a->replicas, r, next) {
		if (!is_of(r, gang) || r->where.slot == 0 || gt_replica_state_ended(r->state) ||
		    ret[r->gang.rank])
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
	bool own_net = meets_here(r);
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

/* addresses NULL: it has its environment. */
static int go(struct replica *r, char (*addresses)[GT_ADDRESS_MAX + 1], struct gt_err *err)
{
	char *env[GT_CONTAINER_ENV_MAX] = { NULL };
	size_t n = addresses ? gt_replica_gang_env(r, addresses, env) : 0;
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

static int go_all(struct replica *members[GT_GANG_MAX], uint32_t n, struct gt_err *err)
{
	char addresses[GT_GANG_MAX][GT_ADDRESS_MAX + 1];
	const struct replica *of = members[0];
	int res = 0;

	if (!meets_here(of))
		return go(members[0], NULL, err);
	for (uint32_t i = 0; i < n; i++)
		gt_runtime_address(of->agent->rt, members[i]->where.slot, addresses[i]);
	res = connect_all(of, members, err);
	for (uint32_t i = 0; res == 0 && i < n; i++)
		res = go(members[i], addresses, err);
	return res;
}

int gt_replica_gang_held(struct replica *r, struct gt_err *err)
{
	struct replica *members[GT_GANG_MAX] = { r };
	uint32_t n = 1;

	if (r->state == GT_REPLICA_DRAINING)
		return gt_err_set(err, ECANCELED, "sandbox_failed", "stopped while it was held");
	if (meets_here(r))
		n = seated(r->agent, &r->gang, members);
	if (meets_here(r) && n < r->gang.size) {
		r->held = true;
		gt_timer_set(r->agent->loop, &r->deadline, HOLD_MS, on_hold_over, r);
		return 0;
	}
	if (!gt_preflight_wanted(r) || !gt_preflight_begin(r, members, n))
		return go_all(members, n, err);
	for (uint32_t i = 0; i < n; i++) { /* its deadline is theirs */
		members[i]->held = true;
		gt_timer_clear(r->agent->loop, &members[i]->deadline);
	}
	return 0;
}

void gt_replica_gang_checked(struct agent *a, const struct gt_gang_member *gang,
			     const char *replica, const char *failed)
{
	struct replica *members[GT_GANG_MAX] = { gt_replica_find(a, replica) };
	const char *cause = "preflight_failed";
	bool together = !members[0] || meets_here(members[0]);
	uint32_t n = together ? seated(a, gang, members) : 1;
	struct gt_err err = { 0 };

	if (!together && gt_replica_state_ended(members[0]->state))
		return;
	if (!failed && together && n < gang->size) {
		cause = "gang_incomplete";
		failed = "a member ended while the GPUs of the gang were checked";
	} else if (!failed && go_all(members, n, &err) < 0) {
		cause = err.slug;
		failed = err.text;
	}
	/* Of a gang that is not whole any more there are gaps. */
	for (uint32_t i = 0; failed && i < (together ? gang->size : 1); i++)
		if (members[i])
			gt_replica_give_up(members[i], cause, failed);
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
	    (r->gang.size == 0 || r->addresses || meets_here(r)))
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

	if (r->gang.size == 0 || seated(r->agent, &r->gang, members) < r->gang.size)
		return; /* the last one that is found does it */
	if (connect_all(r, members, &err) < 0)
		gt_warn("gang %s: its members do not reach each other: %s", r->gang.id, err.text);
}

/* ---- while it runs ---- */

void gt_replica_gang_look(struct replica *r)
{
	uint64_t now = gt_loop_clock_ns(r->agent->loop), since;
	char text[160];

	if (r->gang.size == 0 || !r->spec || r->spec->gang.progress_ms == 0 ||
	    r->state != GT_REPLICA_READY || r->killed)
		return;
	if (r->quiet_ns == 0)
		r->quiet_ns = now; /* it has just become ready, or was found so */
	since = GT_MAX(r->quiet_ns, r->log.said_ns);
	if (now - since < r->spec->gang.progress_ms * GT_NS_PER_MS)
		return;
	snprintf(text, sizeof(text), "rank %u has written nothing for %llu s (gang.progress)",
		 r->gang.rank, (unsigned long long)((now - since) / GT_NS_PER_S));
	gt_replica_kill(r, "gang_stuck", text);
}
