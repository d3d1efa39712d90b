/* world.c - time, chance, the queue of what happens next, and the rules that must hold after each
 * step. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

_Noreturn void w_fail(struct world *w, const char *fmt, ...)
{
	char text[600];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	print_error("SEED=%llu at %llu ms, step %llu: %s\n", (unsigned long long)w->seed,
		    (unsigned long long)(w->now_ns / W_MS), (unsigned long long)w->steps, text);
	fail();
	abort(); /* not reached: fail() jumps out of the test */
}

/* ---- chance and the trace ---- */
uint64_t w_below(struct world *w, uint64_t n)
{
	struct gt_rand rnd = gt_rand_seeded(&w->rng);
	uint64_t word;

	rnd.fill(rnd.arg, &word, sizeof(word));
	return n ? word % n : 0;
}

bool w_chance(struct world *w, unsigned permille)
{
	return w_below(w, 1000) < permille;
}

void w_delay(struct world *w, uint64_t *at_ns)
{
	uint64_t arrives_ns = w->now_ns + w_below(w, 5000) * GT_NS_PER_US;

	*at_ns = GT_MAX(*at_ns, arrives_ns);
}

/* FNV-1a over everything that control is told and says: two runs of a seed must agree on it. */
static void mix_bytes(struct world *w, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		w->hash = (w->hash ^ p[i]) * 0x100000001b3ULL;
}

void w_mix(struct world *w, const char *what, const char *s, uint64_t n)
{
	mix_bytes(w, what, strlen(what));
	mix_bytes(w, s, strlen(s));
	mix_bytes(w, &n, sizeof(n));
	mix_bytes(w, &w->now_ns, sizeof(w->now_ns));
	if (getenv("TRACE"))
		print_message("%8llu %s %s %llu\n", (unsigned long long)(w->now_ns / W_MS), what, s,
			      (unsigned long long)n);
}

uint64_t w_mono_ns(void *world)
{
	return ((struct world *)world)->now_ns;
}

uint64_t w_wall_ms(void *world)
{
	return 1700000000000ULL + ((struct world *)world)->now_ns / W_MS;
}

/* ---- what happens next ---- */
static bool event_before(const struct w_event *a, const struct w_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->serial < b->serial;
}

static void heap_swap(struct world *w, size_t i, size_t j)
{
	struct w_event e = w->heap[i];

	w->heap[i] = w->heap[j];
	w->heap[j] = e;
}

struct w_event *w_at(struct world *w, uint64_t at_ns,
		     void (*fn)(struct world *w, struct w_event *e))
{
	if (w->n_heap == w->cap_heap) {
		w->cap_heap = w->cap_heap ? 2 * w->cap_heap : 256;
		w->heap = gt_grow(w->heap, w->cap_heap, sizeof(*w->heap));
	}
	size_t i = w->n_heap++;

	w->heap[i] = (struct w_event){ .at_ns = GT_MAX(at_ns, w->now_ns),
				       .serial = ++w->serial,
				       .fn = fn };
	for (; i > 0 && event_before(&w->heap[i], &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap_swap(w, i, (i - 1) / 2);
	return &w->heap[i];
}

static struct w_event heap_pop(struct world *w)
{
	struct w_event first = w->heap[0];
	size_t i = 0;

	w->heap[0] = w->heap[--w->n_heap];
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= w->n_heap)
			return first;
		if (child + 1 < w->n_heap && event_before(&w->heap[child + 1], &w->heap[child]))
			child++;
		if (!event_before(&w->heap[child], &w->heap[i]))
			return first;
		heap_swap(w, i, child);
		i = child;
	}
}

static void event_fini(struct w_event *e)
{
	if (e->data && e->data_fini)
		e->data_fini(e->data);
	free(e->data);
}

/* ---- steps ---- */
static bool view_check(const struct gt_function_view *v, void *arg)
{
	struct world *w = arg;
	uint32_t live = 0;

	for (unsigned s = GT_REPLICA_PENDING; s <= GT_REPLICA_DRAINING; s++)
		live += v->replicas[s];
	if (v->replicas[GT_REPLICA_STOPPED] + v->replicas[GT_REPLICA_FAILED] > 0)
		w_fail(w, "%s lists an ended replica as live", v->row->name);
	if (v->wanted > v->spec->scale.max)
		w_fail(w, "%s wants %u replicas, max %u", v->row->name, v->wanted,
		       v->spec->scale.max);
	if (v->state == GT_FUNCTION_IDLE && live > 0)
		w_fail(w, "%s is idle with %u replicas", v->row->name, live);
	return true;
}

struct last_seen {
	struct world *w;
	char id[GT_REPLICA_ID_SIZE];
};

static bool replica_check(const struct gt_replica_view *v, void *arg)
{
	struct last_seen *last = arg;

	if (last->id[0] && strcmp(v->id, last->id) >= 0)
		w_fail(last->w, "replica %s is listed after %s", v->id, last->id);
	gt_strcopy(last->id, sizeof(last->id), v->id);
	return true;
}

static void step_check(struct world *w)
{
	struct last_seen last = { .w = w };

	w->steps++;
	if (w->c)
		gt_control_functions(w->c, "", "", view_check, w);
	if (w->c && w->steps % 16 == 0)
		gt_control_replicas(w->c, NULL, replica_check, &last);
	w_gateway_check(w);
}

void w_run_until(struct world *w, uint64_t ns)
{
	for (;;) {
		uint64_t due_ns = w->c ? gt_control_due_ns(w->c) : UINT64_MAX;
		uint64_t next_ns = w->n_heap ? w->heap[0].at_ns : UINT64_MAX;

		if (GT_MIN(due_ns, next_ns) > ns)
			break;
		if (due_ns <= next_ns) {
			w->now_ns = GT_MAX(w->now_ns, due_ns);
			w_mix(w, "tick", "", due_ns);
			gt_control_tick(w->c);
			if (gt_control_due_ns(w->c) <= w->now_ns)
				w_fail(w, "control asks to be ticked for ever");
		} else {
			struct w_event e = heap_pop(w);

			w->now_ns = e.at_ns;
			e.fn(w, &e);
			event_fini(&e);
		}
		step_check(w);
	}
	w->now_ns = ns;
	w_gateway_check(w);
}

struct w_fn *w_fn_find(struct world *w, const char *name)
{
	for (size_t i = 0; i < w->n_fns; i++)
		if (strcmp(w->fns[i].name, name) == 0)
			return &w->fns[i];
	w_fail(w, "function %s was never deployed", name);
}

/* ---- kinds ---- */
void w_kind_write(const struct w_kind *k, char out[W_TEXT])
{
	snprintf(out, W_TEXT, "%u %u %u %u %u %u %u %u %u %u %u %u", k->start_ms, k->fail_permille,
		 k->crash_permille, k->min, k->max, k->target, k->concurrency, k->idle_ms,
		 k->drain_ms, k->memory_mib, k->gpu_milli, k->serial);
}

struct w_kind w_kind_read(const char *text)
{
	struct w_kind k = { 0 };
	int n = sscanf(text, "%u %u %u %u %u %u %u %u %u %u %u %u", &k.start_ms, &k.fail_permille,
		       &k.crash_permille, &k.min, &k.max, &k.target, &k.concurrency, &k.idle_ms,
		       &k.drain_ms, &k.memory_mib, &k.gpu_milli, &k.serial);

	assert_int_equal(n, 12);
	return k;
}

/* ---- the whole ---- */
struct world *w_new(uint64_t seed, size_t n_fns)
{
	struct world *w = gt_alloc(sizeof(*w));

	w->seed = seed;
	w->rng = seed * 0x9e3779b97f4a7c15ULL + 1;
	w->hash = 0xcbf29ce484222325ULL;
	w->now_ns = 1000 * GT_NS_PER_S;
	w->n_fns = n_fns;
	w->wait_limit_ns = UINT64_MAX;
	for (size_t i = 0; i < n_fns; i++)
		snprintf(w->fns[i].name, sizeof(w->fns[i].name), "f%zu", i);
	w->n_agents = 1 + w_below(w, W_AGENTS);
	w->n_gateways = 1 + w_below(w, W_GATEWAYS);
	for (size_t i = 0; i < w->n_agents; i++)
		snprintf(w->agents[i].name, sizeof(w->agents[i].name), "node%zu", i);
	for (size_t i = 0; i < w->n_gateways; i++)
		snprintf(w->gateways[i].name, sizeof(w->gateways[i].name), "gw%zu", i);
	w_control_start(w);
	for (size_t i = 0; i < w->n_agents; i++)
		w_agent_connect(w, i);
	for (size_t i = 0; i < w->n_gateways; i++)
		w_gateway_connect(w, i);
	return w;
}

void w_free(struct world *w)
{
	gt_control_free(w->c);
	for (size_t i = 0; i < w->n_agents; i++)
		w_agent_free(&w->agents[i]);
	for (size_t i = 0; i < w->n_gateways; i++)
		w_gateway_free(&w->gateways[i]);
	for (size_t i = 0; i < w->n_heap; i++)
		event_fini(&w->heap[i]);
	free(w->heap);
	free(w->ordered);
	free(w);
}
