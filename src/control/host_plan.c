/* host_plan.c - who has no place, what comes already, and whom to ask for the rest. The arithmetic
 * is the provider room's. */
#include "host.h"
#include "place.h"

#include <gantry/provider/plan.h>

#include <stdlib.h>

#define WANTS_MAX 256 /* functions that are looked at */

/* ---- what a host turned out to have ---- */

static uint64_t less(uint64_t offered, uint64_t has)
{
	return has && (!offered || has < offered) ? has : offered;
}

/* How many GPUs of a model there are, of the node's and of the offer's. */
static size_t models(const struct gt_ctl_node *node, const char *model)
{
	size_t n = 0;

	for (size_t i = 0; i < node->n_gpus; i++)
		n += gt_streq(node->gpus[i].model, model);
	return n;
}

static bool is_short(const struct gt_ctl_provider *p, const struct gt_ctl_node *node)
{
	const struct gt_offer *o = &p->offer;

	if (!gt_labels_have(node->labels, node->n_labels, o->labels, o->n_labels))
		return true;
	for (size_t i = 0; i < o->n_gpus; i++)
		if (models(node, o->gpus[i].model) < models(&p->as_node, o->gpus[i].model))
			return true;
	return false;
}

/* A machine has a little less than its seller says, and a replica that needs exactly that would
 * have hosts asked for without end. */
bool gt_ctl_offer_compare(struct gt_control *c, struct gt_ctl_host *h,
			  const struct gt_ctl_node *node)
{
	struct gt_offer *o = &h->p->offer;

	if (is_short(h->p, node)) {
		gt_ctl_provider_fault(c, h->p,
				      "a host has other GPUs or labels than its provider offers");
		return false;
	}
	o->cpu_milli = less(o->cpu_milli, node->cpu_milli);
	o->memory_bytes = less(o->memory_bytes, node->memory_bytes);
	for (size_t i = 0; i < o->n_gpus; i++)
		for (size_t k = 0; k < node->n_gpus; k++)
			if (gt_streq(node->gpus[k].model, o->gpus[i].model))
				o->gpus[i].memory_bytes = less(o->gpus[i].memory_bytes,
							       gt_gpu_room(&node->gpus[k]));
	return true;
}

/* ---- the plan ---- */

static bool is_coming(const struct gt_control *c, const struct gt_ctl_host *h)
{
	const struct gt_ctl_node *node;

	if (h->state < GT_HOST_UP)
		return true;
	node = gt_ctl_node_find((struct gt_control *)c, h->row.key);
	if (h->state != GT_HOST_UP || !node || node->lost)
		return false;
	return !h->seen || (h->p->offer.n_gpus > 0 && gt_ctl_gpus_awaited(node));
}

/* A node that is no provider's, and may tell of GPUs for it any moment: what it had is not known.
 */
static bool gpus_may_come(const struct gt_control *c, const struct gt_spec *spec)
{
	const struct gt_ctl_node *node = NULL;
	const struct gt_ctl_host *h = NULL;

	do {
		node = gt_ctl_gpus_may_come(c, node, spec);
		if (node)
			HASH_FIND_STR(c->hosts->all, node->name, h);
	} while (node && h);
	return node != NULL;
}

static size_t wants_collect(struct gt_control *c, struct gt_plan_want wants[WANTS_MAX],
			    struct gt_ctl_live *lives[WANTS_MAX])
{
	struct gt_ctl_live *live;
	size_t n = 0;

	for (live = c->blocked; live && n < WANTS_MAX; live = live->next_blocked) {
		/* Others make room for one that was promised it; GPUs that come tell themselves. */
		if (!live->blocked_ns || live->unplaced == 0 || live->promised ||
		    gpus_may_come(c, live->f->rev->spec)) {
			live->coming = false;
			continue;
		}
		lives[n] = live;
		wants[n++] = (struct gt_plan_want){ .spec = live->f->rev->spec,
						    .function = live->number,
						    .missing = live->unplaced };
	}
	return n;
}

static uint32_t room_of(const struct gt_control *c, const struct gt_ctl_provider *p)
{
	uint32_t n = gt_ctl_hosts_count(c, p, CTL_HOSTS_ALL);

	if (gt_ctl_now(c) < p->retry_ns || n >= p->conf.max)
		return 0;
	return (uint32_t)p->conf.max - n;
}

struct picture {
	struct gt_plan plan;
	struct gt_plan_provider providers[GT_PROVIDERS_MAX];
	struct gt_plan_want wants[WANTS_MAX];
	struct gt_ctl_live *lives[WANTS_MAX];
	struct gt_ctl_host **hosts; /* of plan.hosts */
};

static void picture_hosts(struct gt_control *c, struct picture *x)
{
	struct gt_ctl_hosts *hosts = c->hosts;
	size_t n = HASH_COUNT(hosts->all);
	struct gt_ctl_host *h;

	x->hosts = gt_alloc_array(n + 1, sizeof(struct gt_ctl_host *));
	x->plan.hosts = gt_alloc_array(n + 1, sizeof(*x->plan.hosts));
	for (h = hosts->all; h; h = h->hh.next) {
		bool leaves = h->state == GT_HOST_RETIRING;

		if (!h->p->configured || !(leaves || is_coming(c, h)))
			continue;
		x->hosts[x->plan.n_hosts] = h;
		x->plan.hosts[x->plan.n_hosts++] = (struct gt_plan_host){
			.provider = (uint32_t)(h->p - hosts->providers), .leaves = leaves
		};
	}
}

/* Who waits for a host that does not come is refused in time. */
static void note_coming(struct gt_control *c, struct gt_ctl_live *live, bool coming)
{
	if (live->coming && !coming) {
		gt_ctl_touch(c, live->f);
		gt_ctl_hosts_touch(c);
	}
	live->coming = coming;
}

static void for_need(struct gt_control *c)
{
	struct picture *x = gt_alloc(sizeof(*x));
	struct gt_plan *plan = &x->plan;

	plan->memory_overcommit = CTL_MEMORY_OVERCOMMIT;
	plan->cpu_overcommit = CTL_CPU_OVERCOMMIT;
	plan->wants = x->wants;
	plan->n_wants = wants_collect(c, x->wants, x->lives);
	if (plan->n_wants > 0) {
		plan->providers = x->providers;
		plan->n_providers = c->hosts->n_configured;
		for (size_t i = 0; i < plan->n_providers; i++)
			x->providers[i] = (struct gt_plan_provider){
				.offer = &c->hosts->providers[i].offer,
				.room = room_of(c, &c->hosts->providers[i]),
			};
		picture_hosts(c, x);
		gt_plan_run(plan);
		for (size_t i = 0; i < plan->n_wants; i++)
			note_coming(c, x->lives[i], plan->wants[i].placed > 0);
		for (size_t i = 0; i < plan->n_hosts; i++)
			x->hosts[i]->needed = x->hosts[i]->needed || plan->hosts[i].needed;
		for (size_t i = 0; i < plan->n_news; i++)
			(void)!gt_ctl_host_new(c, &c->hosts->providers[plan->news[i].provider],
					       x->lives[plan->news[i].want]);
		if (plan->n_news == GT_PLAN_NEW_MAX)
			gt_ctl_hosts_touch(c); /* there may be more to ask for */
	}
	free(plan->hosts);
	free(x->hosts);
	free(x);
}

void gt_ctl_hosts_plan(struct gt_control *c)
{
	struct gt_ctl_hosts *hosts = c->hosts;

	if (!c->settled || hosts->n_configured == 0)
		return;
	for_need(c);
	for (size_t i = 0; i < hosts->n_configured; i++) {
		struct gt_ctl_provider *p = &hosts->providers[i];
		uint32_t room = room_of(c, p);
		uint32_t n = gt_ctl_hosts_count(c, p, CTL_HOSTS_THAT_STAY);

		for (; n < p->conf.min && room > 0; n++, room--)
			if (!gt_ctl_host_new(c, p, NULL))
				break;
	}
}

uint64_t gt_ctl_hosts_plan_due(const struct gt_control *c)
{
	uint64_t now = gt_ctl_now(c), due = CTL_NEVER;

	for (size_t i = 0; i < c->hosts->n_configured; i++)
		if (c->hosts->providers[i].retry_ns > now)
			due = GT_MIN(due, c->hosts->providers[i].retry_ns);
	return due;
}
