/* world.c - time, chance, the queue of what happens next, and the figures. */
#include "world_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- chance and the trace ---- */
uint64_t gt_w_below(struct gt_world *w, uint64_t n)
{
	struct gt_rand rnd = gt_rand_seeded(&w->rng);
	uint64_t word;

	rnd.fill(rnd.arg, &word, sizeof(word));
	return n ? word % n : 0;
}

bool gt_w_chance(struct gt_world *w, unsigned permille)
{
	return permille > 0 && gt_w_below(w, 1000) < permille;
}

/* FNV-1a over words. */
static void mix_word(struct gt_world *w, uint64_t word)
{
	w->hash = (w->hash ^ word) * 0x100000001b3ULL;
	w->hash ^= w->hash >> 29;
}

static void mix_text(struct gt_world *w, const char *s)
{
	size_t len = strlen(s);
	uint64_t word;

	for (; len >= sizeof(word); s += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, s, sizeof(word));
		mix_word(w, word);
	}
	word = len;
	memcpy((char *)&word + 1, s, len);
	mix_word(w, word);
}

/* Two runs of a seed must agree on everything that control is told and says. */
void gt_w_mix(struct gt_world *w, const char *what, const char *s, uint64_t n)
{
	mix_text(w, what);
	mix_text(w, s);
	mix_word(w, n);
	mix_word(w, w->now_ns);
	if (w->config.strict && getenv("TRACE"))
		printf("%8llu %s %s %llu\n", (unsigned long long)(w->now_ns / W_MS), what, s,
		       (unsigned long long)n);
}

uint64_t gt_w_wall_ms(void *world)
{
	const struct gt_world *w = world;

	return (uint64_t)(1700000000000LL + w->wall_ms) + w->now_ns / W_MS;
}

bool gt_w_sabotaged(const struct gt_world *w, const char *name)
{
	return w->sabotage && strcmp(w->sabotage, name) == 0;
}

/* ---- what happens next ---- */
static bool due_before(const struct w_due *a, const struct w_due *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->serial < b->serial;
}

struct w_event *gt_w_at(struct gt_world *w, uint64_t at_ns,
			void (*fn)(struct gt_world *w, struct w_event *e))
{
	struct w_event *e = w->free_events;

	if (e)
		w->free_events = e->next;
	else
		e = gt_alloc(sizeof(*e));
	*e = (struct w_event){ .serial = ++w->serial, .fn = fn };
	if (w->n_heap == w->cap_heap) {
		w->cap_heap = w->cap_heap ? 2 * w->cap_heap : 256;
		w->heap = gt_grow(w->heap, w->cap_heap, sizeof(*w->heap));
	}
	struct w_due due = { .at_ns = GT_MAX(at_ns, w->now_ns), .serial = e->serial, .event = e };
	size_t i = w->n_heap++;

	for (; i > 0 && due_before(&due, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = due;
	return e;
}

static struct w_event *heap_pop(struct gt_world *w)
{
	struct w_event *first = w->heap[0].event;
	struct w_due last = w->heap[--w->n_heap];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= w->n_heap)
			break;
		if (child + 1 < w->n_heap && due_before(&w->heap[child + 1], &w->heap[child]))
			child++;
		if (!due_before(&w->heap[child], &last))
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	if (w->n_heap > 0)
		w->heap[i] = last;
	return first;
}

static void event_fini(struct gt_world *w, struct w_event *e)
{
	if (e->data && e->data_fini)
		e->data_fini(e->data);
	free(e->data);
	e->data = NULL;
	e->next = w->free_events;
	w->free_events = e;
}

/* ---- steps ---- */
static void control_tick(struct gt_world *w, uint64_t due_ns)
{
	gt_w_mix(w, "tick", "", due_ns);
	gt_control_tick(w->c);
	if (gt_control_due_ns(w->c) <= w->now_ns)
		gt_w_break(w, "ticks", "control asks to be ticked for ever");
}

void gt_world_run(struct gt_world *w, uint64_t until_ns, const struct gt_world_source *source)
{
	while (!w->broken.rule[0]) {
		bool ticks = w->c && !gt_w_sabotaged(w, "ticks are lost");
		uint64_t due_ns = ticks ? gt_control_due_ns(w->c) : W_NEVER;
		uint64_t next_ns = w->n_heap ? w->heap[0].at_ns : W_NEVER;
		uint64_t call_ns = source ? source->next_ns(source->arg) : W_NEVER;
		uint64_t first_ns = GT_MIN(GT_MIN(due_ns, next_ns), call_ns);

		if (first_ns > until_ns)
			break;
		w->now_ns = GT_MAX(w->now_ns, first_ns);
		if (due_ns == first_ns) {
			control_tick(w, due_ns);
		} else if (next_ns == first_ns) { /* ends before arrivals of the same moment */
			struct w_event *e = heap_pop(w);

			e->fn(w, e);
			event_fini(w, e);
		} else {
			source->fire(source->arg);
		}
		w->stats.steps++;
		gt_w_rules_check(w);
	}
	if (!w->broken.rule[0])
		w->now_ns = until_ns;
	gt_w_meter(w);
}

/* ---- functions ---- */
struct w_fn *gt_w_fn(struct gt_world *w, const char *name)
{
	struct w_fn *f;

	HASH_FIND_STR(w->by_name, name, f);
	return f;
}

size_t gt_world_function(struct gt_world *w, const char *name)
{
	struct w_fn *f = gt_alloc(sizeof(*f));

	gt_strcopy(f->name, sizeof(f->name), name);
	f->index = w->n_fns;
	HASH_ADD_STR(w->by_name, name, f);
	if (w->n_fns == w->cap_fns) {
		w->cap_fns = w->cap_fns ? 2 * w->cap_fns : 16;
		w->fns = gt_grow(w->fns, w->cap_fns, sizeof(struct w_fn *));
	}
	w->fns[w->n_fns++] = f;
	return f->index;
}

/* In the order of struct gt_world_kind. */
void gt_w_kind_write(const struct gt_world_kind *k, char out[W_TEXT])
{
	const uint32_t *at = (const uint32_t *)k;
	size_t len = 0;

	for (size_t i = 0; i < sizeof(*k) / sizeof(*at); i++)
		len += (size_t)snprintf(out + len, W_TEXT - len, "%s%u", i ? " " : "", at[i]);
}

struct gt_world_kind gt_w_kind_read(const char *text)
{
	struct gt_world_kind k = { 0 };
	uint32_t *at = (uint32_t *)&k;
	char *end = (char *)text;

	for (size_t i = 0; i < sizeof(k) / sizeof(*at); i++)
		at[i] = (uint32_t)strtoul(end, &end, 10);
	return k;
}

/* ---- figures ---- */
void gt_w_meter(struct gt_world *w)
{
	double s = (double)(w->now_ns - w->metered_ns) / GT_NS_PER_S;

	w->stats.held_s += s * w->stats.held;
	w->stats.busy_s += s * w->stats.busy;
	w->stats.gpus_s += s * w->stats.gpus_milli / GT_GPU_WHOLE;
	w->metered_ns = w->now_ns;
}

void gt_world_stats(struct gt_world *w, struct gt_world_stats *ret)
{
	gt_w_meter(w);
	*ret = w->stats;
	ret->decisions += w->c ? gt_control_decided(w->c) : 0;
	ret->nodes_up = 0;
	for (size_t i = 0; i < w->config.nodes; i++)
		ret->nodes_up += w->agents[i].peer.back_ns <= w->now_ns;
}

struct gt_world_counts gt_world_counts(const struct gt_world *w, size_t fn)
{
	return w->fns[fn]->counts;
}

uint64_t gt_world_now(const struct gt_world *w)
{
	return w->now_ns;
}

uint64_t gt_world_hash(const struct gt_world *w)
{
	return w->hash;
}

struct gt_control *gt_world_control(struct gt_world *w)
{
	return w->c;
}

const struct gt_world_broken *gt_world_broken(const struct gt_world *w)
{
	return w->broken.rule[0] ? &w->broken : NULL;
}

void gt_world_calm(struct gt_world *w, uint64_t wait_ms)
{
	w->calm_ns = w->now_ns;
	w->limit_ns = wait_ms == UINT64_MAX ? W_NEVER : wait_ms * W_MS;
	for (size_t i = 0; i < w->n_fns; i++)
		w->fns[i]->unmet_ns = 0;
}

void gt_world_wall_jump(struct gt_world *w, int64_t ms)
{
	w->wall_ms += ms;
	gt_w_mix(w, "wall clock", ms < 0 ? "back" : "ahead", (uint64_t)llabs(ms));
}

/* ---- the whole ---- */
struct gt_world *gt_world_new(const struct gt_world_config *config)
{
	struct gt_world *w = gt_alloc(sizeof(*w));

	w->config = *config;
	w->config.delay_us = config->delay_us ? config->delay_us : 5000;
	w->rng = config->seed * 0x9e3779b97f4a7c15ULL + 1;
	w->hash = 0xcbf29ce484222325ULL;
	w->now_ns = w->metered_ns = GT_WORLD_START_NS;
	w->limit_ns = W_NEVER;
	w->agents = gt_alloc_array(config->nodes, sizeof(*w->agents));
	w->gateways = gt_alloc_array(config->gateways, sizeof(*w->gateways));
	for (size_t i = 0; i < config->gateways; i++)
		w->gateways[i].desk.session = ++w->serial;
	for (size_t i = 0; i < config->nodes; i++)
		snprintf(w->agents[i].peer.name, sizeof(w->agents[i].peer.name), "node%zu", i);
	gt_w_control_start(w);
	for (size_t i = 0; i < config->nodes; i++) {
		struct w_peer *p = &w->agents[i].peer;

		p->index = i;
		w->agents[i].memory_bytes = config->node_memory_bytes;
		gt_w_peer_dial(w, p, 0);
		w->agents[i].heard_ns = w->now_ns;
		if (config->members)
			gt_w_at(w, w->now_ns + i, gt_w_agent_beat)->a = i;
	}
	for (size_t i = 0; i < config->gateways; i++) {
		struct w_peer *p = &w->gateways[i].peer;

		p->index = i;
		p->gateway = true;
		snprintf(p->name, sizeof(p->name), "gw%zu", i);
		gt_w_peer_dial(w, p, 0);
	}
	return w;
}

struct gt_world *gt_world_free(struct gt_world *w)
{
	if (!w)
		return NULL;
	gt_control_free(w->c);
	gt_w_tasks_lost(w);
	for (size_t i = 0; i < w->config.nodes; i++)
		gt_w_agent_fini(w, &w->agents[i]);
	for (size_t i = 0; i < w->config.gateways; i++)
		gt_w_gateway_fini(w, &w->gateways[i]);
	gt_w_rules_fini(w);
	for (size_t i = 0; i < w->n_heap; i++)
		event_fini(w, w->heap[i].event);
	HASH_CLEAR(hh, w->by_name);
	for (size_t i = 0; i < w->n_fns; i++)
		free(w->fns[i]);
	struct w_event *e, *e_next;
	struct w_call *call, *call_next;

	LL_FOREACH_SAFE (w->free_events, e, e_next)
		free(e);
	LL_FOREACH_SAFE (w->free_calls, call, call_next)
		free(call);
	free(w->tasks.at);
	free(w->tasks.plans);
	free(w->fns);
	free(w->agents);
	free(w->gateways);
	free(w->heap);
	gt_buf_fini(&w->learned);
	free(w);
	return NULL;
}
