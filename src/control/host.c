/* host.c - one host from the wish for it until its provider has taken it back. Nothing is asked of
 * a provider that is not in the store first, and nothing leaves the store that the provider may
 * still have: so whatever ends when, none is forgotten. */
#include "host.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

const char *gt_host_state_name(enum gt_host_state s)
{
	static const char *const names[] = {
		[GT_HOST_NEW] = "new",           [GT_HOST_ASKED] = "asked",
		[GT_HOST_STARTING] = "starting", [GT_HOST_UP] = "up",
		[GT_HOST_RETIRING] = "retiring", [GT_HOST_RELEASING] = "releasing",
		[GT_HOST_ORPHANED] = "orphaned",
	};

	_Static_assert(GT_LEN(names) == GT_HOST_STATES, "every state has a name");
	return names[s];
}

/* ---- the table ---- */

static void offer_node(struct gt_ctl_provider *p)
{
	struct gt_ctl_node *n = &p->as_node;
	const struct gt_offer *o = &p->offer;

	gt_strcopy(n->name, sizeof(n->name), p->conf.name);
	n->told = true;
	n->cpu_milli = o->cpu_milli;
	n->memory_bytes = o->memory_bytes;
	n->labels = (struct gt_label *)o->labels;
	n->n_labels = o->n_labels;
	n->gpus = o->n_gpus ? gt_alloc_array(o->n_gpus, sizeof(*n->gpus)) : NULL;
	n->n_gpus = o->n_gpus;
	for (size_t i = 0; i < o->n_gpus; i++) {
		n->gpus[i] = gt_gpu_unknown;
		n->gpus[i].memory_bytes = o->gpus[i].memory_bytes;
		gt_strcopy(n->gpus[i].model, sizeof(n->gpus[i].model), o->gpus[i].model);
	}
}

struct gt_ctl_hosts *gt_ctl_hosts_new(struct gt_control *c, const struct gt_provider *providers,
				      size_t n)
{
	struct gt_ctl_hosts *hosts = gt_alloc(sizeof(*hosts));

	hosts->due_ns = n > 0 ? 0 : CTL_NEVER;
	if (n > 0)
		hosts->providers = gt_alloc_array(CTL_PROVIDERS_MAX, sizeof(*hosts->providers));
	for (size_t i = 0; i < n && i < GT_PROVIDERS_MAX; i++) {
		struct gt_ctl_provider *p = &hosts->providers[hosts->n_providers];

		p->c = c;
		p->conf = providers[i];
		if (gt_provider_offer(&p->conf, &p->offer, NULL) < 0)
			continue; /* the configuration was checked */
		p->configured = true;
		offer_node(p);
		hosts->n_configured = ++hosts->n_providers;
	}
	return hosts;
}

void gt_ctl_hosts_free(struct gt_control *c)
{
	struct gt_ctl_host *h, *next;

	HASH_ITER (hh, c->hosts->all, h, next) {
		HASH_DEL(c->hosts->all, h);
		free(h);
	}
	for (size_t i = 0; i < c->hosts->n_providers; i++)
		free(c->hosts->providers[i].as_node.gpus);
	free(c->hosts->providers);
	free(c->hosts);
}

void gt_ctl_hosts_touch(struct gt_control *c)
{
	if (c->hosts->n_providers > 0)
		c->hosts->due_ns = 0;
}

uint64_t gt_ctl_hosts_due(const struct gt_control *c)
{
	return c->hosts->due_ns;
}

uint32_t gt_ctl_hosts_count(const struct gt_control *c, const struct gt_ctl_provider *p,
			    unsigned states)
{
	const struct gt_ctl_host *h;
	uint32_t n = 0;

	for (h = c->hosts->all; h; h = h->hh.next)
		n += h->p == p && (states >> h->state & 1);
	return n;
}

static struct gt_ctl_host *host_add(struct gt_control *c, struct gt_ctl_provider *p,
				    const char *key)
{
	struct gt_ctl_host *h = gt_alloc(sizeof(*h));

	h->p = p;
	gt_strcopy(h->row.key, sizeof(h->row.key), key);
	gt_strcopy(h->row.provider, sizeof(h->row.provider), p->conf.name);
	HASH_ADD_STR(c->hosts->all, row.key, h);
	return h;
}

static void host_free(struct gt_control *c, struct gt_ctl_host *h)
{
	HASH_DEL(c->hosts->all, h);
	free(h);
}

/* Of rows whose provider is not configured any more: they are shown and kept. */
static struct gt_ctl_provider *provider_get(struct gt_control *c, const char *name)
{
	struct gt_ctl_hosts *hosts = c->hosts;
	struct gt_ctl_provider *p;

	for (size_t i = 0; i < hosts->n_providers; i++)
		if (gt_streq(hosts->providers[i].conf.name, name))
			return &hosts->providers[i];
	if (hosts->n_providers == CTL_PROVIDERS_MAX)
		return NULL;
	if (!hosts->providers)
		hosts->providers = gt_alloc_array(CTL_PROVIDERS_MAX, sizeof(*hosts->providers));
	p = &hosts->providers[hosts->n_providers++];
	p->c = c;
	gt_strcopy(p->conf.name, sizeof(p->conf.name), name);
	return p;
}

void gt_control_load_host(struct gt_control *c, const struct gt_host_row *row)
{
	struct gt_ctl_provider *p = provider_get(c, row->provider);
	uint64_t now_ms = gt_wall_ms(&c->ports.clock), until_ms;
	struct gt_ctl_host *h;

	if (!p)
		return;
	h = host_add(c, p, row->key);
	h->row = *row;
	h->loaded = true;
	h->stored = row->releasing;
	h->state = !p->configured   ? GT_HOST_ORPHANED
		   : row->releasing ? GT_HOST_RELEASING
		   : row->id[0]     ? GT_HOST_STARTING
				    : GT_HOST_ASKED;
	until_ms = row->asked_ms + p->conf.start_ms;
	h->deadline_ns = gt_ctl_now(c) +
			 (until_ms > now_ms ? GT_MIN(until_ms - now_ms, p->conf.start_ms) : 0) *
				 GT_NS_PER_MS;
	gt_ctl_hosts_touch(c);
}

/* ---- faults ---- */

void gt_ctl_provider_fault(struct gt_control *c, struct gt_ctl_provider *p, const char *text)
{
	uint64_t pause_ns = p->conf.backoff_ms * GT_NS_PER_MS;

	for (uint32_t i = 0; i < p->failures && pause_ns < CTL_BACKOFF_MAX_NS; i++)
		pause_ns *= 2;
	pause_ns = GT_MIN(pause_ns, CTL_BACKOFF_MAX_NS);
	p->failures++;
	p->failed_total++;
	p->retry_ns = gt_ctl_now(c) + pause_ns;
	gt_strcopy(p->error, sizeof(p->error), text);
	gt_ctl_event(c, "provider.failed", NULL, NULL, NULL, "provider_failed",
		     "%s: %s; it is not asked for hosts for %llu ms", p->conf.name, text,
		     (unsigned long long)(pause_ns / GT_NS_PER_MS));
	gt_ctl_hosts_touch(c);
}

/* ---- the store ---- */

static void said(const struct gt_err *err GT_UNUSED, void *arg GT_UNUSED)
{
}

static void on_put(struct gt_host_op *op, const struct gt_err *err, void *arg)
{
	struct gt_ctl_host *h = arg;
	struct gt_control *c = h->p->c;
	bool releasing = op->row.releasing; /* what it wrote may be older than what is wanted */

	free(op);
	h->writing = false;
	if (h->state == GT_HOST_NEW && err) {
		gt_ctl_provider_fault(c, h->p, err->text);
		host_free(c, h);
	} else if (h->state == GT_HOST_NEW) {
		h->state = GT_HOST_ASKED;
		h->fresh = true;
	} else if (h->state == GT_HOST_RELEASING) {
		h->stored = h->stored || (!err && releasing);
		h->retry_ns = err ? gt_ctl_now(c) + CTL_HOST_AGAIN_NS : 0;
	}
	gt_ctl_hosts_touch(c);
	gt_ctl_finish(c);
}

static void on_drop(struct gt_host_op *op, const struct gt_err *err, void *arg)
{
	struct gt_ctl_host *h = arg;
	struct gt_control *c = h->p->c;

	free(op);
	h->writing = false;
	if (err) {
		h->retry_ns = gt_ctl_now(c) + CTL_HOST_AGAIN_NS;
	} else {
		h->p->released_total++;
		gt_ctl_event(c, "host.released", NULL, NULL, h->row.key, NULL, "%s", h->why);
		if (gt_ctl_node_find(c, h->row.key)) /* it joined in the last moment */
			gt_control_node_delete(c, h->row.key, true, said, NULL);
		host_free(c, h);
	}
	gt_ctl_hosts_touch(c);
	gt_ctl_finish(c);
}

static void store(struct gt_control *c, struct gt_ctl_host *h, enum gt_host_verb verb,
		  const struct gt_join_token *token)
{
	struct gt_host_op *op = gt_alloc(sizeof(*op));

	op->verb = verb;
	op->row = h->row;
	if (token)
		op->token = *token;
	op->done = verb == GT_HOST_PUT ? on_put : on_drop;
	op->arg = h;
	h->writing = true;
	c->ports.store.host(c->ports.store.ctx, op);
}

void gt_ctl_host_put(struct gt_control *c, struct gt_ctl_host *h)
{
	if (!h->writing)
		store(c, h, GT_HOST_PUT, NULL);
}

/* ---- a new one ---- */

bool gt_ctl_host_new(struct gt_control *c, struct gt_ctl_provider *p, struct gt_ctl_live *live)
{
	char ulid[GT_ULID_LEN + 1], key[GT_NAME_MAX + 1];
	gt_auto(free) char *text = NULL;
	struct gt_join_token token = { 0 };
	struct gt_err err = { 0 };
	struct gt_ctl_host *h;

	gt_ulid(&c->ports.clock, &c->ports.rnd, ulid);
	for (char *ch = ulid; *ch; ch++)
		*ch = (char)tolower((unsigned char)*ch);
	text = gt_asprintf("%s-%s", p->conf.name, ulid);
	gt_strcopy(key, sizeof(key), text);
	h = host_add(c, p, key);
	h->row.asked_ms = gt_wall_ms(&c->ports.clock);
	h->expires_ms = h->row.asked_ms + p->conf.start_ms;
	h->deadline_ns = gt_ctl_now(c) + p->conf.start_ms * GT_NS_PER_MS;
	if (c->ports.join_token(c->ports.ctx, h->token, &token, &err) < 0) {
		gt_ctl_provider_fault(c, p, err.text);
		host_free(c, h);
		return false;
	}
	gt_strcopy(token.node, sizeof(token.node), key);
	token.created_ms = h->row.asked_ms;
	token.expires_ms = h->expires_ms;
	gt_strcopy(h->row.token, sizeof(h->row.token), token.id);
	p->asked_total++;
	gt_ctl_event(c, "host.asked", live ? gt_ctl_name(live->f) : NULL, NULL, key, NULL,
		     "of provider %s, %s", p->conf.name,
		     live ? "as no node has room" : "to have its least number");
	store(c, h, GT_HOST_PUT, &token);
	if (live) {
		const struct gt_sched_look none = { 0 };
		gt_auto(free) char *why = gt_asprintf("host %s was asked of provider %s", key,
						      p->conf.name);

		gt_ctl_journal_place(c, live, NULL, &none, why);
	}
	return true;
}

/* ---- the way back ---- */

void gt_ctl_host_release(struct gt_control *c, struct gt_ctl_host *h, const char *why)
{
	h->state = GT_HOST_RELEASING;
	h->row.releasing = true;
	h->stored = h->released = false;
	h->tries = 0;
	h->retry_ns = 0;
	memset(h->token, 0, sizeof(h->token));
	gt_strcopy(h->why, sizeof(h->why), why);
	gt_ctl_event(c, "host.releasing", NULL, NULL, h->row.key, NULL, "%s", why);
	gt_ctl_hosts_touch(c);
}

void gt_ctl_host_found(struct gt_control *c, struct gt_ctl_provider *p, const char *key,
		       const char *id)
{
	struct gt_ctl_host *h = host_add(c, p, key);

	gt_strcopy(h->row.id, sizeof(h->row.id), id);
	h->row.asked_ms = gt_wall_ms(&c->ports.clock);
	gt_ctl_host_release(c, h, "its provider has it and nobody asked for it");
}

static void on_removed(const struct gt_err *err, void *arg)
{
	struct gt_ctl_host *h = arg;
	struct gt_control *c = h->p->c;

	h->removing = false;
	h->retry_ns = err ? gt_ctl_now(c) + CTL_HOST_AGAIN_NS : 0;
	gt_ctl_hosts_touch(c); /* whoever called finishes the input */
}

/* It came, or came back, and has work before anybody was asked to take it: it stays. */
static bool is_back(const struct gt_control *c, const struct gt_ctl_host *h)
{
	const struct gt_ctl_node *node = gt_ctl_node_find((struct gt_control *)c, h->row.key);

	return !h->released && h->tries == 0 && node && node->up && node->replicas > 0;
}

static void look_releasing(struct gt_control *c, struct gt_ctl_host *h, uint64_t now)
{
	if (h->calling || h->removing || h->retry_ns > now)
		return;
	if (is_back(c, h)) {
		h->state = GT_HOST_UP;
		h->row.releasing = false;
		h->why[0] = '\0';
		h->empty_ns = h->lost_ns = 0;
		gt_ctl_host_put(c, h);
	} else if (!h->stored) {
		gt_ctl_host_put(c, h);
	} else if (!h->released) {
		if (gt_ctl_hook_free(h->p))
			gt_ctl_hook_release(c, h);
	} else if (gt_ctl_node_find(c, h->row.key)) {
		h->removing = true;
		gt_control_node_delete(c, h->row.key, true, on_removed, h);
	} else {
		store(c, h, GT_HOST_DROP, NULL);
	}
}

/* ---- one that nobody can take back ---- */

static struct gt_ctl_host *orphan_find(struct gt_control *c, const char *key)
{
	struct gt_ctl_host *h;

	HASH_FIND_STR(c->hosts->all, key, h);
	return h && h->state == GT_HOST_ORPHANED ? h : NULL;
}

bool gt_ctl_host_forget(struct gt_control *c, const char *key, gt_ctl_host_fn *done, void *arg)
{
	struct gt_ctl_host *h = orphan_find(c, key);
	struct gt_host_op *op;

	if (!h)
		return false;
	op = gt_alloc(sizeof(*op));
	op->verb = GT_HOST_DROP;
	op->row = h->row;
	op->done = done;
	op->arg = arg;
	c->ports.store.host(c->ports.store.ctx, op);
	return true;
}

void gt_ctl_host_forgotten(struct gt_control *c, const char *key)
{
	struct gt_ctl_host *h = orphan_find(c, key);

	if (!h) /* asked for twice */
		return;
	gt_ctl_event(
		c, "host.forgotten", NULL, NULL, key, NULL,
		"by an operator: provider %s, which is not configured, was not asked to take it",
		h->p->conf.name);
	host_free(c, h);
}

/* ---- one that is here ---- */

static void on_cordoned(const struct gt_err *err, void *arg)
{
	struct gt_ctl_host *h = arg;
	struct gt_control *c = h->p->c;
	const struct gt_ctl_node *node = gt_ctl_node_find(c, h->row.key);

	gt_ctl_hosts_touch(c);
	if (!err && node && node->replicas == 0 && !h->needed) {
		gt_ctl_host_release(c, h, "it was empty for its idle time");
		return;
	}
	h->state = GT_HOST_UP;
	h->empty_ns = 0;
	if (!err && node)
		gt_control_node_set(c, h->row.key, GT_DUTY_ALL, 0, said, NULL);
}

/* What came to it while that was written stays, and the host with it: so it is cordoned, and not
 * drained. One that takes nothing by an operator's word has nothing to wait for. */
static void retire(struct gt_control *c, struct gt_ctl_host *h, const struct gt_ctl_node *node)
{
	if (node->duty != GT_DUTY_ALL) {
		gt_ctl_host_release(c, h, "it was empty and took no replicas");
		return;
	}
	h->state = GT_HOST_RETIRING;
	h->needed = false;
	gt_control_node_set(c, h->row.key, GT_DUTY_CORDONED, 0, on_cordoned, h);
}

/* Its driver may take a while to tell of GPUs. */
static bool has_told(const struct gt_ctl_host *h, const struct gt_ctl_node *node)
{
	return node->reported && (h->p->offer.n_gpus == 0 || !gt_ctl_gpus_awaited(node));
}

static void compare(struct gt_control *c, struct gt_ctl_host *h, const struct gt_ctl_node *node)
{
	h->seen = true;
	if (!gt_ctl_offer_compare(c, h, node))
		return;
	h->p->failures = 0;
	h->p->retry_ns = 0;
	h->p->error[0] = '\0';
	if (h->loaded)
		return;
	h->p->up_total++;
	gt_ctl_event(c, "host.up", NULL, NULL, h->row.key, NULL, "it joined and takes replicas");
}

/* Nothing is known to run there, and it takes nothing, or could. */
static bool is_empty(const struct gt_ctl_node *node)
{
	return node->up && node->reported && !node->silent && node->replicas == 0;
}

static void look_up(struct gt_control *c, struct gt_ctl_host *h, uint64_t now)
{
	const struct gt_ctl_node *node = gt_ctl_node_find(c, h->row.key);
	const struct gt_provider *conf = &h->p->conf;

	if (!node) {
		gt_ctl_host_release(c, h, "its node was removed");
		return;
	}
	if (!h->seen && has_told(h, node))
		compare(c, h, node);
	if (!node->lost || node->replicas > 0)
		h->lost_ns = 0;
	else if (h->lost_ns == 0)
		h->lost_ns = now;
	else if (now - h->lost_ns >= conf->start_ms * GT_NS_PER_MS) {
		gt_ctl_host_release(c, h, "it is lost and nothing runs there");
		return;
	}
	if (!is_empty(node)) {
		h->empty_ns = 0;
		return;
	}
	if (h->empty_ns == 0)
		h->empty_ns = now;
	/* One that an operator drains goes at once. */
	if (node->duty == GT_DUTY_DRAINING ||
	    (now - h->empty_ns >= conf->idle_ms * GT_NS_PER_MS &&
	     gt_ctl_hosts_count(c, h->p, CTL_HOSTS_THAT_STAY) > conf->min))
		retire(c, h, node);
}

static bool has_joined(const struct gt_control *c, const struct gt_ctl_host *h)
{
	const struct gt_ctl_node *node = gt_ctl_node_find((struct gt_control *)c, h->row.key);

	return node && node->member_ms;
}

static void look_coming(struct gt_control *c, struct gt_ctl_host *h, uint64_t now)
{
	if (h->calling)
		return; /* the hook has a deadline of its own */
	if (has_joined(c, h)) {
		h->state = GT_HOST_UP;
		memset(h->token, 0, sizeof(h->token));
		if (c->settled)
			look_up(c, h, now);
	} else if (now >= h->deadline_ns) {
		gt_ctl_provider_fault(c, h->p,
				      h->state == GT_HOST_STARTING ? "a host did not join in time"
								   : "a host was never named");
		gt_ctl_host_release(c, h, "it did not join in time");
	} else if (h->fresh && gt_ctl_hook_free(h->p)) {
		h->fresh = false;
		gt_ctl_hook_create(c, h);
	}
}

static void look(struct gt_control *c, struct gt_ctl_host *h, uint64_t now)
{
	if (h->writing)
		return;
	switch (h->state) {
	case GT_HOST_ASKED:
	case GT_HOST_STARTING:
		look_coming(c, h, now);
		break;
	case GT_HOST_UP:
		if (c->settled)
			look_up(c, h, now);
		break;
	case GT_HOST_RELEASING:
		look_releasing(c, h, now);
		break;
	case GT_HOST_NEW:
	case GT_HOST_RETIRING:
	case GT_HOST_ORPHANED:
	case GT_HOST_STATES:
		break;
	}
}

/* ---- when ---- */

static uint64_t host_due(const struct gt_ctl_host *h, uint64_t now)
{
	uint64_t idle_ns = h->p->conf.idle_ms * GT_NS_PER_MS;

	if (h->writing || h->calling || h->removing)
		return CTL_NEVER;
	switch (h->state) {
	case GT_HOST_ASKED: /* one that waits for a call that ends is looked at then */
	case GT_HOST_STARTING:
		return h->deadline_ns;
	case GT_HOST_UP:
		return now + GT_MIN(CTL_HOST_LOOK_NS, GT_MAX(idle_ns / 4, GT_NS_PER_MS));
	case GT_HOST_RELEASING:
		return h->retry_ns > now ? h->retry_ns : CTL_NEVER;
	default:
		return CTL_NEVER;
	}
}

void gt_ctl_hosts_run(struct gt_control *c)
{
	struct gt_ctl_hosts *hosts = c->hosts;
	struct gt_ctl_host *h, *next;
	uint64_t now = gt_ctl_now(c), due = CTL_NEVER;

	if (hosts->due_ns > now)
		return;
	hosts->due_ns = CTL_NEVER; /* what follows may touch it */
	for (size_t i = 0; i < hosts->n_configured; i++) {
		struct gt_ctl_provider *p = &hosts->providers[i];

		if (p->listing || !gt_ctl_hook_free(p))
			continue; /* the end of a call is looked at */
		if (p->list_due_ns <= now)
			gt_ctl_hook_list(c, p);
		else
			due = GT_MIN(due, p->list_due_ns);
	}
	HASH_ITER (hh, hosts->all, h, next)
		look(c, h, now);
	gt_ctl_hosts_plan(c);
	for (h = hosts->all; h; h = h->hh.next)
		due = GT_MIN(due, host_due(h, now));
	due = GT_MIN(due, gt_ctl_hosts_plan_due(c));
	hosts->due_ns = GT_MIN(hosts->due_ns, due);
}

/* ---- views ---- */

void gt_control_providers(struct gt_control *c,
			  void (*fn)(const struct gt_provider_view *v, void *arg), void *arg)
{
	uint64_t now = gt_ctl_now(c);

	for (size_t i = 0; i < c->hosts->n_providers; i++) {
		const struct gt_ctl_provider *p = &c->hosts->providers[i];
		struct gt_provider_view v = { .conf = &p->conf,
					      .offer = &p->offer,
					      .configured = p->configured,
					      .failures = p->failures,
					      .error = p->error,
					      .asked_total = p->asked_total,
					      .up_total = p->up_total,
					      .released_total = p->released_total,
					      .failed_total = p->failed_total };

		if (p->retry_ns > now)
			v.retry_in_ms = (p->retry_ns - now) / GT_NS_PER_MS;
		for (unsigned s = 0; s < GT_HOST_STATES; s++)
			v.hosts[s] = gt_ctl_hosts_count(c, p, CTL_HOST_BIT(s));
		fn(&v, arg);
	}
}

void gt_control_hosts(struct gt_control *c, const char *provider,
		      void (*fn)(const struct gt_host_view *v, void *arg), void *arg)
{
	uint64_t now = gt_ctl_now(c);
	const struct gt_ctl_host *h;

	for (h = c->hosts->all; h; h = h->hh.next) {
		const struct gt_host_view v = {
			.row = &h->row,
			.state = h->state,
			.empty_ms = h->empty_ns ? (now - h->empty_ns) / GT_NS_PER_MS : 0,
			.why = h->why,
		};

		if (gt_streq(h->p->conf.name, provider))
			fn(&v, arg);
	}
}
