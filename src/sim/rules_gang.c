/* rules_gang.c - what must hold of gangs, by what the world itself has seen: control orders each
 * epoch once and in rising order, no gang serves before all of its members have answered, and
 * nothing of an epoch outlives it. */
#include "rules_gang.h"

#include <stdlib.h>
#include <string.h>

#define OVER_NS (5 * GT_NS_PER_S) /* what is left of an epoch is gone, when nothing is cut off */

/* A gang as the world has seen it. */
struct w_gang {
	char id[GT_REPLICA_ID_SIZE];
	UT_hash_handle hh;
	uint32_t epoch, size; /* the latest that was ordered */
	bool again;           /* it is not the first one */
	uint64_t were_ready;  /* ranks of it whose process has answered */
	uint64_t epoch_ns;    /* when it was first ordered */
	uint64_t dead_ns;     /* when the first of its processes ended unasked; 0 = none has */
	char replicas[W_GANG_MAX][GT_REPLICA_ID_SIZE]; /* by rank, as ordered */
};

static struct w_gang *gang_of(struct gt_world *w, const struct gt_gang_member *m)
{
	struct w_gang *g;

	HASH_FIND_STR(w->gangs, m->id, g);
	return g;
}

static struct w_gang *gang_get(struct gt_world *w, const struct gt_gang_member *m)
{
	struct w_gang *g = gang_of(w, m);

	if (g)
		return g;
	g = gt_alloc(sizeof(*g));
	gt_strcopy(g->id, sizeof(g->id), m->id);
	g->size = m->size;
	HASH_ADD_STR(w->gangs, id, g);
	return g;
}

static void epoch_begin(struct gt_world *w, struct w_gang *g, uint32_t epoch)
{
	g->again = g->epoch > 0;
	g->epoch = epoch;
	g->epoch_ns = w->now_ns;
	g->were_ready = g->dead_ns = 0;
	memset(g->replicas, 0, sizeof(g->replicas));
}

bool gt_w_rule_gang_order(struct gt_world *w, const struct gt_order *order)
{
	const struct gt_gang_member *m = &order->gang;
	struct w_gang *g;
	char *seat;

	if (m->size == 0 || order->known)
		return false; /* of a found one the epoch may be over: control hears of the next
				 later */
	w->stats.checks++;
	if (!gt_gang_member_ok(m) || m->size > W_GANG_MAX) {
		gt_w_break(w, "gang", "an order for rank %u of %u, epoch %u", m->rank, m->size,
			   m->epoch);
		return false;
	}
	g = gang_get(w, m);
	if (m->epoch < g->epoch)
		gt_w_break(w, "gang", "gang %s: epoch %u is ordered after %u", g->id, m->epoch,
			   g->epoch);
	if (m->epoch > g->epoch)
		epoch_begin(w, g, m->epoch);
	seat = g->replicas[m->rank];
	if (seat[0] && strcmp(seat, order->replica) != 0)
		gt_w_break(w, "gang", "gang %s, epoch %u: rank %u is ordered twice", g->id,
			   g->epoch, m->rank);
	gt_strcopy(seat, sizeof(g->replicas[0]), order->replica);
	return g->again;
}

/* A node that went away before control had heard of the member starts it when it is back: nobody
 * has seen it end. */
void gt_w_rule_gang_start(struct gt_world *w, const struct w_proc *p)
{
	struct w_gang *g = p->member.size > 0 ? gang_of(w, &p->member) : NULL;

	if (g && g->epoch == p->member.epoch && strcmp(g->replicas[p->member.rank], p->id) == 0)
		g->dead_ns = 0;
}

void gt_w_rule_gang_ready(struct gt_world *w, const struct w_proc *p)
{
	struct w_gang *g = p->member.size > 0 ? gang_of(w, &p->member) : NULL;

	if (g && g->epoch == p->member.epoch)
		g->were_ready |= 1ULL << p->member.rank;
}

void gt_w_rule_gang_dead(struct gt_world *w, const struct w_proc *p)
{
	struct w_gang *g = p->member.size > 0 && p->holds ? gang_of(w, &p->member) : NULL;

	if (g && g->epoch == p->member.epoch && g->dead_ns == 0)
		g->dead_ns = w->now_ns;
}

static void admitted_check(struct gt_world *w, const char *replica)
{
	const struct w_proc *p = gt_w_proc_find(w, replica);
	const struct w_gang *g = p && p->member.size > 0 ? gang_of(w, &p->member) : NULL;

	if (!g || g->epoch != p->member.epoch)
		return;
	w->stats.checks++;
	w->stats.admissions++;
	if (p->member.rank != 0)
		gt_w_break(w, "gang", "gang %s: rank %u has a route", g->id, p->member.rank);
	if ((uint32_t)__builtin_popcountll(g->were_ready) < g->size)
		gt_w_break(w, "gang", "gang %s, epoch %u is admitted with %u of %u members", g->id,
			   g->epoch, (unsigned)__builtin_popcountll(g->were_ready), g->size);
}

void gt_w_rule_route(struct gt_world *w, const char *function)
{
	struct gt_route route = { 0 };

	if (!w->gangs || !w->config.strict || gt_control_route(w->c, function, &route, NULL) < 0)
		return;
	for (size_t i = 0; i < route.n_replicas; i++)
		if (!route.replicas[i].draining)
			admitted_check(w, route.replicas[i].id);
	gt_route_fini(&route);
}

static void over_check(struct gt_world *w, const struct w_proc *p)
{
	const struct w_gang *g = gang_of(w, &p->member);
	uint64_t since_ns = !g ? 0 : p->member.epoch < g->epoch ? g->epoch_ns : g->dead_ns;

	if (!since_ns || w->now_ns - GT_MAX(since_ns, w->calm_ns) <= OVER_NS)
		return;
	gt_w_break(w, "gang", "gang %s: rank %u of epoch %u lives on %s after the epoch's end",
		   g->id, p->member.rank, p->member.epoch, p->agent->peer.name);
}

void gt_w_rule_gangs_check(struct gt_world *w)
{
	const struct w_proc *p;

	if (!w->gangs || w->limit_ns == W_NEVER)
		return;
	w->stats.checks++;
	for (size_t i = 0; i < w->config.nodes; i++)
		DL_FOREACH (w->agents[i].procs, p)
			if (p->holds && p->member.size > 0)
				over_check(w, p);
}

void gt_w_rule_gangs_fini(struct gt_world *w)
{
	struct w_gang *g, *next;

	HASH_ITER (hh, w->gangs, g, next) {
		HASH_DEL(w->gangs, g);
		free(g);
	}
}
