/* gateway.c - who waits and who is served, as each gateway says. A gateway that went down is
 * believed for a few seconds more: it is most likely restarting, with its clients about to call
 * again. */
#include "task.h"

#include <stdlib.h>
#include <string.h>

static struct gt_ctl_gateway *gateway_find(struct gt_control *c, const char *name)
{
	struct gt_ctl_gateway *g;

	DL_FOREACH (c->gateways, g)
		if (strcmp(g->name, name) == 0)
			return g;
	return NULL;
}

static struct gt_ctl_gateway *gateway_get(struct gt_control *c, const char *name)
{
	struct gt_ctl_gateway *g = gateway_find(c, name);

	if (g)
		return g;
	if (c->gateway_bits == UINT64_MAX) {
		gt_ctl_event(c, "gateway.refused", NULL, NULL, NULL, "overloaded",
			     "%s: %d gateways are known already", name, CTL_GATEWAYS_MAX);
		return NULL;
	}
	g = gt_alloc(sizeof(*g));
	gt_strcopy(g->name, sizeof(g->name), name);
	g->bit = (unsigned)__builtin_ctzll(~c->gateway_bits);
	g->down_ns = gt_ctl_now(c); /* not up before its routes watch is open */
	c->gateway_bits |= 1ULL << g->bit;
	DL_APPEND(c->gateways, g);
	return g;
}

static struct gt_ctl_traffic *traffic_of(struct gt_ctl_live *live, const struct gt_ctl_gateway *g)
{
	struct gt_ctl_traffic *t;

	DL_FOREACH (live->traffic, t)
		if (t->gateway == g)
			return t;
	return NULL;
}

/* It waits for the word that no call is on it. */
static bool is_drained_by_gateways(const struct gt_ctl_replica *r)
{
	return (r->state == GT_REPLICA_DRAINING && !r->stop_ordered) ||
	       (r->state == GT_REPLICA_PARKING && !r->park_ordered);
}

static void draining_touch(struct gt_control *c)
{
	struct gt_ctl_live *live;
	struct gt_ctl_replica *r;

	DL_FOREACH (c->lives, live)
		DL_FOREACH (live->replicas, r)
			if (is_drained_by_gateways(r))
				gt_ctl_touch(c, live->f);
}

static void gateway_remove(struct gt_control *c, struct gt_ctl_gateway *g)
{
	struct gt_ctl_live *live;
	struct gt_ctl_replica *r, *r_next;

	DL_FOREACH (c->lives, live) {
		struct gt_ctl_traffic *t = traffic_of(live, g);

		if (!t)
			continue;
		DL_DELETE(live->traffic, t);
		free(t);
		gt_ctl_touch(c, live->f);
	}
	HASH_ITER (hh, c->replicas, r, r_next)
		r->drained &= ~(1ULL << g->bit);
	c->gateway_bits &= ~(1ULL << g->bit);
	DL_DELETE(c->gateways, g);
	free(g);
	draining_touch(c);
}

void gt_control_gateway_up(struct gt_control *c, const char *gateway)
{
	struct gt_ctl_gateway *g = gateway_get(c, gateway);

	if (!g || g->up)
		return;
	g->up = true;
	gt_ctl_event(c, "gateway.up", NULL, NULL, NULL, NULL, "%s", g->name);
	gt_ctl_finish(c);
}

void gt_control_gateway_down(struct gt_control *c, const char *gateway)
{
	struct gt_ctl_gateway *g = gateway_find(c, gateway);

	if (!g || !g->up)
		return;
	g->up = false;
	g->down_ns = gt_ctl_now(c);
	gt_ctl_event(c, "gateway.down", NULL, NULL, NULL, NULL, "%s", g->name);
	gt_ctl_tasks_gateway_down(c, g->name);
	gt_ctl_finish(c);
}

static bool gateway_expired(const struct gt_ctl_gateway *g, uint64_t now)
{
	return !g->up && now - g->down_ns >= CTL_GATEWAY_LINGER_NS;
}

void gt_ctl_gateways_tick(struct gt_control *c)
{
	struct gt_ctl_gateway *g, *g_next;
	uint64_t now = gt_ctl_now(c);

	DL_FOREACH_SAFE (c->gateways, g, g_next)
		if (gateway_expired(g, now))
			gateway_remove(c, g);
}

uint64_t gt_ctl_gateways_due(const struct gt_control *c)
{
	const struct gt_ctl_gateway *g;
	uint64_t due = CTL_NEVER;

	DL_FOREACH (c->gateways, g)
		if (!g->up)
			due = GT_MIN(due, g->down_ns + CTL_GATEWAY_LINGER_NS);
	return due;
}

/* Before gateways had time to come back after a start of control, nobody can say that none calls.
 */
bool gt_ctl_gateways_drained(const struct gt_control *c, const struct gt_ctl_replica *r)
{
	if (r->drained == UINT64_MAX)
		return true; /* known to be unused when its function was deleted */
	if (!c->gateways)
		return gt_ctl_now(c) - c->started_ns >= CTL_SETTLE_NS;
	return (c->gateway_bits & ~r->drained) == 0;
}

void gt_ctl_demand_sum(const struct gt_control *c, struct gt_ctl_live *live)
{
	/* Durable calls that no gateway has yet wait as others do. */
	uint64_t queued = gt_ctl_tasks_queued(c, gt_ctl_name(live->f)), in_flight = 0;
	const struct gt_ctl_traffic *t;

	DL_FOREACH (live->traffic, t) {
		queued += t->said.queued;
		in_flight += t->said.in_flight;
	}
	live->queued = (uint32_t)GT_MIN(queued, (uint64_t)UINT32_MAX);
	live->in_flight = (uint32_t)GT_MIN(in_flight, (uint64_t)UINT32_MAX);
}

static void strays_drained(struct gt_control *c, const struct gt_ctl_gateway *g,
			   const char *function)
{
	struct gt_ctl_replica *r;

	DL_FOREACH (c->strays, r)
		if (r->state == GT_REPLICA_DRAINING && gt_streq(r->function, function))
			r->drained |= 1ULL << g->bit;
}

static void said_set(struct gt_control *c, struct gt_ctl_gateway *g,
		     const struct gt_demand_function *said)
{
	struct gt_ctl_function *f = gt_ctl_function_find(c, said->function);

	if (!f) { /* it was deleted; its replicas may go when the last call has ended */
		if (said->queued + said->in_flight == 0)
			strays_drained(c, g, said->function);
		return;
	}
	struct gt_ctl_live *live = gt_ctl_live(c, f);
	struct gt_ctl_traffic *t = traffic_of(live, g);

	if (!t) {
		t = gt_alloc(sizeof(*t));
		t->gateway = g;
		DL_APPEND(live->traffic, t);
	}
	if (t->said.queued != said->queued || t->said.in_flight != said->in_flight)
		gt_ctl_touch(c, f);
	gt_ctl_sample_traffic(live, &t->said, said);
	t->said = *said;
	t->fresh = true;
}

/* A full post lists everything with a call; what it leaves out has none. Counters stay. */
static void unsaid_clear(struct gt_control *c, struct gt_ctl_gateway *g)
{
	struct gt_ctl_live *live;

	DL_FOREACH (c->lives, live) {
		struct gt_ctl_traffic *t = traffic_of(live, g);

		if (!t || t->fresh || t->said.queued + t->said.in_flight == 0)
			continue;
		t->said.queued = 0;
		t->said.in_flight = 0;
		t->said.oldest_wait_ms = 0;
		gt_ctl_touch(c, live->f);
	}
}

int gt_control_demand(struct gt_control *c, const struct gt_demand *d, struct gt_err *err)
{
	if (d->epoch != c->epoch)
		return gt_err_set(err, ESTALE, "conflict",
				  "demand of gateway %s is of epoch %llu, this is %llu: open the "
				  "watch again",
				  d->gateway, (unsigned long long)d->epoch,
				  (unsigned long long)c->epoch);
	struct gt_ctl_gateway *g = gateway_get(c, d->gateway);
	struct gt_ctl_live *live;

	if (!g)
		return gt_err_set(err, ENOSPC, "overloaded", "%d gateways are known already",
				  CTL_GATEWAYS_MAX);
	if (d->full) {
		DL_FOREACH (c->lives, live) {
			struct gt_ctl_traffic *t = traffic_of(live, g);

			if (t)
				t->fresh = false;
		}
	}
	g->stats = d->stats;
	for (size_t i = 0; i < d->n_functions; i++)
		said_set(c, g, &d->functions[i]);
	if (d->full)
		unsaid_clear(c, g);
	for (size_t i = 0; i < d->n_drained; i++) {
		struct gt_ctl_replica *r;

		HASH_FIND_STR(c->replicas, d->drained[i], r);
		if (!r || !is_drained_by_gateways(r))
			continue;
		r->drained |= 1ULL << g->bit;
		if (r->f)
			gt_ctl_touch(c, r->f);
	}
	gt_ctl_finish(c);
	return 0;
}

void gt_control_gateways(struct gt_control *c,
			 void (*fn)(const char *gateway, const struct gt_gateway_stats *stats,
				    void *arg),
			 void *arg)
{
	const struct gt_ctl_gateway *g;

	DL_FOREACH (c->gateways, g)
		fn(g->name, &g->stats, arg);
}

void gt_control_traffic(struct gt_control *c,
			void (*fn)(const char *gateway, const struct gt_demand_function *f,
				   void *arg),
			void *arg)
{
	const struct gt_ctl_live *live;
	const struct gt_ctl_traffic *t;

	DL_FOREACH (c->lives, live)
		DL_FOREACH (live->traffic, t)
			fn(t->gateway->name, &t->said, arg);
}
