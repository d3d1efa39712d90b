/* host_hook.c - what is asked of a provider's hook, and what it answers. It is the operator's
 * program and may be wrong: it is believed only as far as its answer can be true. */
#include "host.h"

#include <stdio.h>
#include <string.h>

bool gt_ctl_hook_free(const struct gt_ctl_provider *p)
{
	return p->configured && p->calls < CTL_HOOK_CALLS_MAX;
}

static void ask(struct gt_control *c, struct gt_ctl_provider *p, struct gt_hook_ask *a,
		gt_hook_fn *done, void *arg)
{
	a->provider = &p->conf;
	a->offer = &p->offer;
	p->calls++;
	c->ports.hook(c->ports.ctx, a, done, arg);
}

static void answered(struct gt_control *c, struct gt_ctl_provider *p)
{
	p->calls--;
	gt_ctl_hosts_touch(c);
}

/* ---- create ---- */

static bool id_taken(const struct gt_control *c, const struct gt_ctl_host *h, const char *id)
{
	const struct gt_ctl_host *o;

	for (o = c->hosts->all; o; o = o->hh.next)
		if (o != h && o->p == h->p && gt_streq(o->row.id, id))
			return true;
	return false;
}

static void on_create(const struct gt_err *err, const struct gt_hook_answer *answer, void *arg)
{
	struct gt_ctl_host *h = arg;
	struct gt_control *c = h->p->c;
	char text[sizeof(err->text)];

	answered(c, h->p);
	h->calling = false;
	memset(h->token, 0, sizeof(h->token));
	if (err || id_taken(c, h, answer->id)) {
		if (err)
			gt_strcopy(text, sizeof(text), err->text);
		else
			snprintf(text, sizeof(text), "create: id %.64s is another host's",
				 answer->id);
		gt_ctl_provider_fault(c, h->p, text);
		/* It may have made one all the same. */
		gt_ctl_host_release(c, h, "its provider failed to make it");
	} else {
		gt_strcopy(h->row.id, sizeof(h->row.id), answer->id);
		h->named_ns = gt_ctl_now(c);
		h->state = GT_HOST_STARTING;
		gt_ctl_host_put(c, h);
	}
	gt_ctl_finish(c);
}

void gt_ctl_hook_create(struct gt_control *c, struct gt_ctl_host *h)
{
	struct gt_hook_ask a = { .verb = GT_HOOK_CREATE,
				 .key = h->row.key,
				 .token = h->token,
				 .expires_ms = h->expires_ms };

	h->calling = true;
	ask(c, h->p, &a, on_create, h);
}

/* ---- release ---- */

static void on_release(const struct gt_err *err, const struct gt_hook_answer *answer GT_UNUSED,
		       void *arg)
{
	struct gt_ctl_host *h = arg;
	struct gt_control *c = h->p->c;
	uint64_t pause_ns = CTL_RELEASE_NS;

	answered(c, h->p);
	h->calling = false;
	h->released = !err;
	if (err) {
		for (unsigned i = 0; i < h->tries && pause_ns < CTL_RELEASE_MAX_NS; i++)
			pause_ns *= 2;
		h->tries++;
		h->retry_ns = gt_ctl_now(c) + GT_MIN(pause_ns, (uint64_t)CTL_RELEASE_MAX_NS);
		h->p->failed_total++;
		gt_strcopy(h->p->error, sizeof(h->p->error), err->text);
		gt_ctl_event(c, "provider.failed", NULL, NULL, h->row.key, "provider_failed",
			     "%s: %s; it is asked again", h->p->conf.name, err->text);
	}
	gt_ctl_finish(c);
}

void gt_ctl_hook_release(struct gt_control *c, struct gt_ctl_host *h)
{
	struct gt_hook_ask a = { .verb = GT_HOOK_RELEASE,
				 .key = h->row.key,
				 .id = h->row.id[0] ? h->row.id : NULL };

	h->calling = true;
	ask(c, h->p, &a, on_release, h);
}

/* ---- list ---- */

static const struct gt_hook_host *listed(const struct gt_hook_answer *answer, const char *key)
{
	for (size_t i = 0; i < answer->n_hosts; i++)
		if (gt_streq(answer->hosts[i].key, key))
			return &answer->hosts[i];
	return NULL;
}

/* An answer in which two are one can not be true. */
static bool list_ok(const struct gt_hook_answer *answer, char *text, size_t size)
{
	for (size_t i = 0; i < answer->n_hosts; i++)
		for (size_t k = 0; k < i; k++) {
			if (!gt_streq(answer->hosts[i].key, answer->hosts[k].key) &&
			    !gt_streq(answer->hosts[i].id, answer->hosts[k].id))
				continue;
			snprintf(text, size, "list: host %.63s or its id is there twice",
				 answer->hosts[i].key);
			return false;
		}
	return true;
}

/* Nobody remembers them: one that control asked for has a row before it is asked for. */
static void find_forgotten(struct gt_control *c, struct gt_ctl_provider *p,
			   const struct gt_hook_answer *answer)
{
	for (size_t i = 0; i < answer->n_hosts; i++) {
		const struct gt_hook_host *host = &answer->hosts[i];
		struct gt_ctl_host *h;

		HASH_FIND_STR(c->hosts->all, host->key, h);
		if (!h && gt_host_key_ok(host->key, p->conf.name))
			gt_ctl_host_found(c, p, host->key, host->id);
	}
}

static bool is_away(const struct gt_control *c, const struct gt_ctl_host *h)
{
	const struct gt_ctl_node *node = gt_ctl_node_find((struct gt_control *)c, h->row.key);

	return !node || !node->up || node->silent;
}

/* One that the list could have told of. */
static void judge(struct gt_control *c, struct gt_ctl_host *h, const struct gt_hook_answer *answer,
		  uint64_t asked_ns)
{
	const struct gt_hook_host *is = listed(answer, h->row.key);

	if (is && !h->row.id[0] && !h->calling && !id_taken(c, h, is->id)) {
		gt_strcopy(h->row.id, sizeof(h->row.id), is->id);
		if (h->state == GT_HOST_ASKED)
			h->state = GT_HOST_STARTING;
		gt_ctl_host_put(c, h);
		return;
	}
	if (is || h->calling || h->writing || h->fresh || h->named_ns >= asked_ns || !is_away(c, h))
		return;
	if (h->state == GT_HOST_ASKED)
		gt_ctl_host_release(c, h, "its provider never heard of it");
	else if (h->state == GT_HOST_STARTING || h->state == GT_HOST_UP)
		gt_ctl_host_release(c, h, "its provider has it no more");
}

static void on_list(const struct gt_err *err, const struct gt_hook_answer *answer, void *arg)
{
	struct gt_ctl_provider *p = arg;
	struct gt_control *c = p->c;
	struct gt_ctl_host *h, *next;
	char text[sizeof(err->text)] = "";

	answered(c, p);
	p->listing = false;
	if (err || !list_ok(answer, text, sizeof(text))) {
		gt_ctl_provider_fault(c, p, err ? err->text : text);
		p->list_due_ns = p->retry_ns;
	} else {
		p->listed = true;
		p->list_due_ns = gt_ctl_now(c) + CTL_HOOK_LIST_NS;
		HASH_ITER (hh, c->hosts->all, h, next)
			if (h->p == p)
				judge(c, h, answer, p->list_asked_ns);
		find_forgotten(c, p, answer);
	}
	gt_ctl_finish(c);
}

void gt_ctl_hook_list(struct gt_control *c, struct gt_ctl_provider *p)
{
	struct gt_hook_ask a = { .verb = GT_HOOK_LIST };

	p->listing = true;
	p->list_asked_ns = gt_ctl_now(c);
	ask(c, p, &a, on_list, p);
}
