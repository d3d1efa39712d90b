/* rules.c - what must hold after each step, whatever goes wrong. The first rule that does not ends
 * the world, with its name, the moment, and what was seen. */
#include "rules_gang.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_OVERCOMMIT 4 /* limits that a node takes, of its size (src/control/place.h) */
#define CHECK_NS          (60 * GT_NS_PER_S) /* rules that cost time, in large worlds */

void gt_w_break(struct gt_world *w, const char *rule, const char *fmt, ...)
{
	va_list args;

	if (w->broken.rule[0])
		return;
	gt_strcopy(w->broken.rule, sizeof(w->broken.rule), rule);
	w->broken.at_ns = w->now_ns;
	w->broken.step = w->stats.steps;
	va_start(args, fmt);
	vsnprintf(w->broken.text, sizeof(w->broken.text), fmt, args);
	va_end(args);
}

/* ---- orders ---- */
struct staying {
	uint32_t revision;
	uint32_t current, old, adopted, moving;
	const char *id; /* is it an adopted one? */
	const struct gt_world *w;
	bool found;
	bool again; /* the next epoch of a gang, which is no new replica */
	char gangs[64][GT_REPLICA_ID_SIZE];
	size_t n_gangs;
};

static const struct w_agent *node_of(const struct gt_world *w, const char *name)
{
	return &w->agents[strtoul(name + strlen("node"), NULL, 10)];
}

/* Gangs of which any member is on a node that drains: all of it moves. */
static bool staying_gangs(const struct gt_replica_view *v, void *arg)
{
	struct staying *s = arg;

	if (v->member && v->state <= GT_REPLICA_READY && s->n_gangs < GT_LEN(s->gangs) &&
	    node_of(s->w, v->node)->said.duty == GT_DUTY_DRAINING)
		gt_strcopy(s->gangs[s->n_gangs++], GT_REPLICA_ID_SIZE, v->member->id);
	return true;
}

static bool moves(const struct staying *s, const struct gt_replica_view *v)
{
	for (size_t i = 0; v->member && i < s->n_gangs; i++)
		if (strcmp(s->gangs[i], v->member->id) == 0)
			return true;
	return node_of(s->w, v->node)->said.duty == GT_DUTY_DRAINING;
}

static bool staying_add(const struct gt_replica_view *v, void *arg)
{
	struct staying *s = arg;
	bool adopted = strcmp(v->reason, "adopted") == 0;

	if (s->id && strcmp(v->id, s->id) == 0)
		s->found = adopted;
	if (v->state > GT_REPLICA_UNPARKING || (v->member && v->member->rank > 0))
		return true; /* a gang counts once */
	s->adopted += adopted && v->revision == s->revision;
	if (v->revision == s->revision && moves(s, v))
		s->moving++;
	else
		*(v->revision == s->revision ? &s->current : &s->old) += 1;
	return true;
}

/* A start must have a reason, and room below max; while an old revision serves, one above. */
static void start_check(struct gt_world *w, const struct gt_order *order, const struct staying *s)
{
	struct gt_function_view v;
	const struct gt_world_kind kind = gt_w_kind_read(order->spec_json);

	if (gt_control_function(w->c, order->function, &v, NULL) < 0) {
		gt_w_break(w, "start", "%s is started after its deletion", order->function);
		return;
	}
	if (v.queued + v.in_flight == 0 && kind.min == 0 && !gt_w_plan_near(w, order->function))
		gt_w_break(w, "start", "%s is started without demand", order->function);
	if (order->revision != v.row->revision)
		gt_w_break(w, "start", "%s: revision %u is started, %u is current", order->function,
			   order->revision, v.row->revision);
	if (!gt_control_settled(w->c))
		gt_w_break(w, "start", "%s is started before the nodes have reported",
			   order->function);
	/* One above max as well while those of a node that drains wait for their successors. A gang
	 * that begins anew may find an old one that was not known when it began. */
	if (s->current > (s->old > 0 && !s->again ? 1 : kind.max) ||
	    (s->moving > 0 && s->current + s->moving > kind.max + 1 && s->current > 1))
		gt_w_break(w, "bounds", "%s has %u replicas and %u old ones, max %u",
			   order->function, s->current, s->old, kind.max);
}

/* ---- the fence ---- */
struct known {
	const char *id;
	bool found;
};

static bool is_known(const struct gt_replica_view *v, void *arg)
{
	struct known *k = arg;

	k->found = k->found || (strcmp(v->id, k->id) == 0 && !gt_replica_state_ended(v->state));
	return !k->found;
}

/* What was given up runs nowhere any more when another is started, if its function wants that. */
static void fence_check(struct gt_world *w, const struct gt_order *order)
{
	const struct w_fn *f = gt_w_fn(w, order->function);
	const struct w_proc *p;

	if (!f || !gt_w_kind_read(order->spec_json).stop_after_ms)
		return;
	for (p = w->procs; p; p = p->hh.next) {
		struct known k = { .id = p->id };

		if (p->fn != f->index || !p->holds || !p->kind.stop_after_ms)
			continue;
		gt_control_replicas(w->c, NULL, is_known, &k);
		if (!k.found)
			gt_w_break(w, "fence", "%s is started while %s still runs on %s, unknown",
				   order->function, p->id, p->agent->peer.name);
	}
}

void gt_w_rule_order(struct gt_world *w, const char *node, const struct gt_order *order)
{
	struct staying s = { .revision = order->revision, .id = order->replica, .w = w };
	struct w_order *o;

	if (order->want != GT_WANT_RUN)
		return;
	w->stats.checks++;
	s.again = gt_w_rule_gang_order(w, order);
	HASH_FIND_STR(w->orders, order->replica, o);
	if (order->turn > 0)
		return; /* it comes back: no start */
	if (o)
		gt_w_break(w, "start", "replica %s is ordered to node%zu and to %s", o->id, o->node,
			   node);
	else
		o = gt_alloc(sizeof(*o));
	if (!o->id[0]) {
		gt_strcopy(o->id, sizeof(o->id), order->replica);
		o->node = strtoul(node + strlen("node"), NULL, 10);
		HASH_ADD_STR(w->orders, id, o);
	}
	if (!w->config.strict) {
		w->stats.starts += gt_w_proc_find(w, order->replica) == NULL;
		return;
	}
	gt_control_replicas(w->c, order->function, staying_gangs, &s);
	gt_control_replicas(w->c, order->function, staying_add, &s);
	if (s.found)
		return;
	w->stats.starts++;
	fence_check(w, order);
	if (node_of(w, node)->said.duty != GT_DUTY_ALL)
		gt_w_break(w, "cordon", "%s is started on %s, which takes no replicas",
			   order->function, node);
	start_check(w, order, &s);
}

void gt_w_rule_forget(struct gt_world *w, const char *replica)
{
	struct w_order *o;

	HASH_FIND_STR(w->orders, replica, o);
	if (!o)
		return;
	HASH_DEL(w->orders, o);
	free(o);
}

void gt_w_rules_restart(struct gt_world *w)
{
	struct w_order *o, *next;

	HASH_ITER (hh, w->orders, o, next) {
		HASH_DEL(w->orders, o);
		free(o);
	}
}

void gt_w_rules_fini(struct gt_world *w)
{
	gt_w_rules_restart(w);
	gt_w_rule_gangs_fini(w);
}

void gt_w_rule_epoch(struct gt_world *w, struct w_peer *p, uint64_t epoch)
{
	w->stats.checks++;
	if (epoch < p->epoch)
		gt_w_break(w, "epoch", "%s is told epoch %llu after %llu", p->name,
			   (unsigned long long)epoch, (unsigned long long)p->epoch);
}

/* ---- nodes ---- */
static void capacity_check(struct gt_world *w)
{
	for (size_t i = 0; i < w->config.nodes; i++) {
		const struct w_agent *a = &w->agents[i];

		w->stats.checks++;
		if (a->memory_bytes && a->held_bytes > a->memory_bytes * MEMORY_OVERCOMMIT)
			gt_w_break(
				w, "capacity",
				"%s holds %llu MiB of limits; %u times its size is %llu MiB",
				a->peer.name, (unsigned long long)(a->held_bytes / GT_MIB),
				MEMORY_OVERCOMMIT,
				(unsigned long long)(a->memory_bytes * MEMORY_OVERCOMMIT / GT_MIB));
	}
}

/* ---- parked ones ---- */
/* Nobody is parked over the memory for it, and no calm lasts in which one is on its way. */
static void parked_check(struct gt_world *w)
{
	for (size_t i = 0; i < w->config.nodes; i++) {
		const struct w_proc *p;
		uint64_t bytes = 0;

		w->stats.checks++;
		DL_FOREACH (w->agents[i].procs, p) {
			bytes += p->park.bytes;
			if (p->state == GT_REPLICA_PARKED && p->on_gpu)
				gt_w_break(w, "parked", "%s is parked and has GPUs", p->id);
		}
		if (bytes > w->config.parking_bytes)
			gt_w_break(w, "parked", "%s has %llu MiB parked, its memory for it is %llu",
				   w->agents[i].peer.name, (unsigned long long)(bytes / GT_MIB),
				   (unsigned long long)(w->config.parking_bytes / GT_MIB));
	}
}

/* ---- calls ---- */
static void calls_check(struct gt_world *w)
{
	const struct gt_world_counts *c = &w->stats.calls;
	uint64_t ended = c->served + c->lost + c->refused - c->turned_away;

	w->stats.checks++;
	if (ended + c->waiting + c->running != c->accepted)
		gt_w_break(w, "calls",
			   "%llu calls were accepted: %llu ended, %llu wait and %llu run",
			   (unsigned long long)c->accepted, (unsigned long long)ended,
			   (unsigned long long)c->waiting, (unsigned long long)c->running);
}

static void queue_check(struct gt_world *w, const struct w_queue *q, uint64_t *waiting,
			uint64_t *running)
{
	const struct w_call *call;
	uint64_t n = 0;

	DL_FOREACH (q->waiting, call)
		n++;
	*waiting += n;
	DL_FOREACH (q->running, call)
		*running += 1;
	if (w->limit_ns == W_NEVER || !q->waiting ||
	    w->now_ns - GT_MAX(q->waiting->arrived_ns, w->calm_ns) <= w->limit_ns)
		return;
	gt_w_break(w, "wait", "a call of %s starves at %s: %u wait, %u run, %u replicas are known",
		   w->fns[q->fn]->name, q->gateway->peer.name, q->n_waiting, q->n_running,
		   HASH_COUNT(q->slots));
}

static void queues_check(struct gt_world *w)
{
	uint64_t waiting = 0, running = 0;

	w->stats.checks++;
	for (size_t g = 0; g < w->config.gateways; g++)
		for (size_t i = 0; i < w->gateways[g].cap_queues; i++)
			if (w->gateways[g].queues[i])
				queue_check(w, w->gateways[g].queues[i], &waiting, &running);
	if (waiting != w->stats.calls.waiting || running != w->stats.calls.running)
		gt_w_break(w, "calls", "%llu calls wait and %llu run, counted %llu and %llu",
			   (unsigned long long)waiting, (unsigned long long)running,
			   (unsigned long long)w->stats.calls.waiting,
			   (unsigned long long)w->stats.calls.running);
}

/* ---- functions ---- */
static void wanted_check(struct gt_world *w, struct w_fn *f, const struct gt_function_view *v)
{
	if (w->limit_ns == W_NEVER)
		return;
	if (v->replicas[GT_REPLICA_READY] >= v->wanted) {
		f->unmet_ns = 0;
		return;
	}
	if (!f->unmet_ns)
		f->unmet_ns = w->now_ns;
	if (w->now_ns - f->unmet_ns > w->limit_ns)
		gt_w_break(w, "wanted", "%s wants %u replicas and has %u for %llu ms", f->name,
			   v->wanted, v->replicas[GT_REPLICA_READY],
			   (unsigned long long)((w->now_ns - f->unmet_ns) / W_MS));
}

static bool view_check(const struct gt_function_view *v, void *arg)
{
	struct gt_world *w = arg;
	const struct gt_world_kind kind = gt_w_kind_read(v->row->spec_json);
	uint32_t live = 0;

	w->stats.checks++;
	for (unsigned s = GT_REPLICA_PENDING; s <= GT_REPLICA_DRAINING; s++)
		live += v->replicas[s];
	if (v->replicas[GT_REPLICA_STOPPED] + v->replicas[GT_REPLICA_FAILED] > 0)
		gt_w_break(w, "list", "%s lists an ended replica as live", v->row->name);
	if (v->wanted > kind.max)
		gt_w_break(w, "bounds", "%s wants %u replicas, max %u", v->row->name, v->wanted,
			   kind.max);
	if (v->wanted < kind.min && gt_control_settled(w->c))
		gt_w_break(w, "bounds", "%s wants %u replicas, min %u", v->row->name, v->wanted,
			   kind.min);
	if (v->state == GT_FUNCTION_IDLE && live > 0)
		gt_w_break(w, "list", "%s is idle with %u replicas", v->row->name, live);
	wanted_check(w, gt_w_fn(w, v->row->name), v);
	if (!w->config.strict || live <= kind.max)
		return !w->broken.rule[0];
	/* Above max are those that leave, old ones, one that replaces them, and what a control
	 * that has just started finds. */
	struct staying s = { .revision = v->row->revision, .w = w };

	gt_control_replicas(w->c, v->row->name, staying_gangs, &s);
	gt_control_replicas(w->c, v->row->name, staying_add, &s);
	if (s.current > kind.max + s.adopted)
		gt_w_break(w, "bounds", "%s has %u replicas, max %u", v->row->name, s.current,
			   kind.max);
	return !w->broken.rule[0];
}

struct last_seen {
	struct gt_world *w;
	char id[GT_REPLICA_ID_SIZE];
};

static bool replica_check(const struct gt_replica_view *v, void *arg)
{
	struct last_seen *last = arg;

	if (last->id[0] && strcmp(v->id, last->id) >= 0)
		gt_w_break(last->w, "list", "replica %s is listed after %s", v->id, last->id);
	gt_strcopy(last->id, sizeof(last->id), v->id);
	return true;
}

static void control_check(struct gt_world *w)
{
	struct gt_err err = { 0 };

	if (!w->c)
		return;
	gt_control_functions(w->c, "", "", view_check, w);
	w->stats.checks++;
	if (gt_control_check(w->c, &err) < 0)
		gt_w_break(w, err.slug, "%s", err.text);
}

void gt_w_rules_check(struct gt_world *w)
{
	struct last_seen last = { .w = w };

	calls_check(w);
	if (!w->config.strict && w->now_ns < w->check_at_ns)
		return;
	w->check_at_ns = w->now_ns + CHECK_NS;
	capacity_check(w);
	parked_check(w);
	control_check(w);
	queues_check(w);
	gt_w_rule_gangs_check(w);
	if (w->c && (!w->config.strict || w->stats.steps % 16 == 0))
		gt_control_replicas(w->c, NULL, replica_check, &last);
}
