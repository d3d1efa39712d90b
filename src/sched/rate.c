/* rate.c - filter and score of one node for one shape: FGD with prices (README.md). */
#include "sched_priv.h"

#include <string.h>

#define STEP       ((int64_t)GT_SCHED_STEP_MILLI * WEIGHT_ALL)
#define PRICE_PART 10  /* a GPU of price 1 costs a tenth of a GPU of fragmentation */
#define CPU_MILLI  250 /* a want without GPUs pays for a quarter of one where there are some */

/* ---- what is free ---- */
/* Percent of a node's cpu and memory that is taken; a node of unknown size fills by replicas. */
static unsigned share(uint64_t taken, uint64_t room, uint32_t replicas)
{
	if (room == ROOM_ANY)
		return replicas * 100 / (replicas + 32);
	if (taken >= room)
		return 100;
	return (unsigned)((unsigned __int128)taken * 100 / room);
}

void gt_sched_cap(const struct gt_sched *s, const struct node *n, struct cap *ret)
{
	uint64_t cpu = n->cpu_room > n->cpu_taken ? n->cpu_room - n->cpu_taken : 0;

	memset(ret, 0, sizeof(*ret));
	ret->cpu = (uint32_t)GT_MIN(cpu, UINT32_MAX);
	ret->fill = NO_FILL;
	ret->n_kinds = n->n_kinds;
	memcpy(ret->kinds, n->kinds, sizeof(ret->kinds));
	if (n->cpu_room == ROOM_ANY)
		ret->cpu = UINT32_MAX;
	if (n->n_slots == 0)
		ret->fill = (uint8_t)((share(n->cpu_taken, n->cpu_room, n->replicas) +
				       share(n->memory_taken, n->memory_room, n->replicas)) /
				      2);
	for (size_t i = 0; i < n->n_slots; i++) {
		const struct slot *slot = &n->slots[i];
		size_t at = ret->n;
		uint32_t code;

		if (slot->broken || slot->milli >= GT_SCHED_GPU_MILLI)
			continue;
		code = gt_sched_slot_code(s, n, i);
		for (; at > 0 && ret->gpus[at - 1] > code; at--)
			ret->gpus[at] = ret->gpus[at - 1];
		ret->gpus[at] = code;
		ret->n++;
	}
}

/* ---- the score ---- */
static struct rated rated(int64_t gain, int steps, unsigned pick)
{
	int64_t byte = MIDDLE - steps + (gain >= 0 ? gain / STEP : -((-gain + STEP - 1) / STEP));

	return (struct rated){ .byte = (uint8_t)GT_MIN(GT_MAX(byte, 1), BYTE_MAX),
			       .pick = (uint8_t)pick };
}

/* A rare model is kept for those that can use no other. */
static int64_t price(const struct gt_sched *s, const struct shape *sh, uint8_t kind, unsigned milli)
{
	return sh->models ? 0 : s->kinds[kind].price * milli / PRICE_PART;
}

static struct rated rate_cpu(const struct gt_sched *s, const struct shape *sh, const struct cap *c,
			     int64_t frag)
{
	struct cap after = *c;
	int64_t gain;

	if (c->fill != NO_FILL) /* better than any node with GPUs, the emptiest first */
		return rated(0, -(1 + 100 - c->fill), 0);
	if (after.cpu != UINT32_MAX)
		after.cpu -= sh->cpu;
	gain = frag - gt_sched_frag(s, &after);
	if (c->n_kinds > 0)
		gain -= price(s, sh, c->kinds[0], CPU_MILLI);
	return rated(gain, 0, 0);
}

struct group {
	size_t from, end; /* GPUs of one kind, in cap.gpus */
	unsigned milli;   /* what is taken of each */
	uint32_t mib;
};

static void code_insert(struct cap *c, uint32_t code)
{
	size_t at = c->n++;

	for (; at > 0 && c->gpus[at - 1] > code; at--)
		c->gpus[at] = c->gpus[at - 1];
	c->gpus[at] = code;
}

/* codes: some of c->gpus, in their order. */
static void cap_after(const struct cap *c, const uint32_t *codes, size_t n, uint32_t cpu,
		      const struct group *g, struct cap *ret)
{
	size_t taken = 0;

	memcpy(ret, c, offsetof(struct cap, gpus));
	ret->n = 0;
	if (c->cpu != UINT32_MAX)
		ret->cpu -= cpu;
	for (size_t i = 0; i < c->n; i++) {
		if (taken < n && c->gpus[i] == codes[taken])
			taken++;
		else
			ret->gpus[ret->n++] = c->gpus[i];
	}
	for (size_t i = 0; i < n; i++)
		if (code_milli(codes[i]) > g->milli)
			code_insert(ret, codes[i] - gpu_code(0, g->milli, g->mib));
}

static bool code_fits(uint32_t code, unsigned milli, uint32_t mib)
{
	return code_milli(code) >= milli && code_mib(code) >= mib;
}

/* The first `want` of codes[from, end) that fit. */
static size_t take(const struct cap *c, size_t from, size_t end, size_t want, unsigned milli,
		   uint32_t mib, uint32_t *codes)
{
	size_t n = 0;

	for (size_t i = from; i < end && n < want; i++)
		if (code_fits(c->gpus[i], milli, mib))
			codes[n++] = c->gpus[i];
	return n;
}

/* The steps that a model stands behind the first in order of preference. */
static int preference(const struct shape *sh, uint8_t model)
{
	int rank = 0;

	if (sh->order[0] == 0)
		return 0;
	while (rank < GT_SCHED_WANT_MODELS_MAX && sh->order[rank] != model + 1)
		rank++;
	return rank * GT_SCHED_MODEL_STEPS;
}

/* Of the places within one group, which differ for a single shared GPU alone. */
static struct rated rate_group(const struct gt_sched *s, const struct shape *sh,
			       const struct cap *c, int64_t frag, const struct group *g)
{
	uint8_t kind = c->kinds[code_kind(c->gpus[g->from])];
	int64_t cost = price(s, sh, kind, g->milli * sh->gpus);
	int steps = preference(sh, s->kinds[kind].model);
	struct rated best = { 0 };
	uint32_t codes[GT_SCHED_GPUS_MAX], last = 0;

	for (size_t i = g->from; i < g->end; i++) {
		struct cap after;
		struct rated r;

		if (c->gpus[i] == last || !code_fits(c->gpus[i], g->milli, g->mib))
			continue;
		last = c->gpus[i];
		if (take(c, i, g->end, sh->gpus, g->milli, g->mib, codes) < sh->gpus)
			break;
		cap_after(c, codes, sh->gpus, sh->cpu, g, &after);
		r = rated(frag - gt_sched_frag(s, &after) - cost, steps, (unsigned)i);
		if (r.byte > best.byte)
			best = r;
		if (sh->gpus > 1)
			break;
	}
	return best;
}

struct rated gt_sched_cap_rate(const struct gt_sched *s, const struct shape *sh,
			       const struct cap *c, int64_t frag)
{
	struct rated best = { 0 }, r;
	struct group g;

	if (sh->cpu > c->cpu)
		return best;
	if (sh->gpus == 0)
		return rate_cpu(s, sh, c, frag);
	for (g.from = 0; g.from < c->n; g.from = g.end) {
		unsigned kind = code_kind(c->gpus[g.from]);

		for (g.end = g.from + 1; g.end < c->n && code_kind(c->gpus[g.end]) == kind;)
			g.end++;
		if (g.end - g.from < sh->gpus ||
		    !gt_sched_need(sh, &s->kinds[c->kinds[kind]], &g.milli, &g.mib))
			continue;
		r = rate_group(s, sh, c, frag, &g);
		if (r.byte > best.byte)
			best = r;
	}
	return best;
}

size_t gt_sched_cap_take(const struct gt_sched *s, const struct shape *sh, const struct cap *c,
			 unsigned pick, uint32_t codes[GT_SCHED_GPUS_MAX])
{
	unsigned kind = code_kind(c->gpus[pick]), milli;
	size_t end = pick;
	uint32_t mib;

	if (!gt_sched_need(sh, &s->kinds[c->kinds[kind]], &milli, &mib))
		return 0;
	while (end < c->n && code_kind(c->gpus[end]) == kind)
		end++;
	return take(c, pick, end, sh->gpus, milli, mib, codes);
}

/* ---- nodes ---- */
static bool has_labels(const struct node *n, const struct shape *sh)
{
	for (size_t i = 0, at = 0; i < GT_SCHED_WANT_LABELS_MAX && sh->labels[i]; i++) {
		while (at < n->n_labels && n->labels[at] < sh->labels[i] - 1)
			at++;
		if (at == n->n_labels || n->labels[at] != sh->labels[i] - 1)
			return false;
	}
	return true;
}

bool gt_sched_node_takes(const struct node *n, const struct shape *sh)
{
	if (n->state != GT_SCHED_UP)
		return false;
	if (n->exclusives > 0 ? !sh->exclusive : sh->exclusive && n->replicas > 0)
		return false;
	if (n->exclusives > 0 &&
	    (n->owners_differ || n->owner != sh->owner || n->exclusives != n->replicas))
		return false;
	return has_labels(n, sh);
}

struct rated gt_sched_node_rate(const struct gt_sched *s, const struct shape *sh,
				const struct node *n)
{
	struct cap c;

	if (!n->name || !gt_sched_node_takes(n, sh))
		return (struct rated){ 0 };
	gt_sched_cap(s, n, &c);
	return gt_sched_cap_rate(s, sh, &c, gt_sched_frag(s, &c));
}
