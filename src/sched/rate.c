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

/* ---- fragmentation ---- */
/* What the mix's tasks use of some free GPUs of one kind, summed up so that F with a little less of
 * them is quick to tell. */
struct use {
	const struct kind *k; /* NULL: there is no mix */
	const uint32_t *codes;
	size_t n;
	const uint32_t *one, *weight; /* of k, for the cpu */
	int64_t total, ones, groups;
};

/* How many thresholds this much cpu reaches. */
static size_t cpu_row(const struct kind *k, uint32_t cpu)
{
	size_t row = k->cpu_from[GT_MIN(cpu / CPU_PART, (uint32_t)CPU_PARTS - 1)];

	while (row < k->n_cpu && k->cpu[row] <= cpu)
		row++;
	return row;
}

/* What tasks with one GPU use of a free one. */
static int64_t one_use(const struct use *u, unsigned milli)
{
	return (int64_t)u->one[u->k->upto[milli]] * milli;
}

/* What tasks with several GPUs use, when `milli` less is free on each of some of them. */
static int64_t groups_use(const struct use *u, const uint32_t *taken, size_t n, unsigned milli)
{
	const struct kind *k = u->k;
	int64_t usable = 0, reach = 0;
	size_t left = u->n, count = 0;

	for (size_t g = 0; g < k->n_groups; g++) {
		size_t now = 0;
		int64_t less = 0;

		while (left > 0 && code_milli(u->codes[left - 1]) >= k->milli[g]) {
			reach += code_milli(u->codes[--left]);
			count++;
		}
		for (size_t i = 0; i < n; i++) {
			unsigned before = code_milli(taken[i]), after = before - milli;

			now += before >= k->milli[g] && after < k->milli[g];
			if (before >= k->milli[g])
				less += after >= k->milli[g] ? milli : before;
		}
		if (count - now >= k->num[g])
			usable += u->weight[g] * (reach - less);
	}
	return usable;
}

static void use_set(const struct gt_sched *s, struct use *u, const struct kind *k, uint32_t cpu,
		    const uint32_t *codes, size_t n)
{
	size_t row;

	*u = (struct use){ .k = s->n_tasks > 0 ? k : NULL, .codes = codes, .n = n };
	if (!u->k)
		return;
	row = cpu_row(k, cpu);
	u->one = k->one_weight + row * (k->n_ones + 1);
	u->weight = k->weight + row * k->n_groups;
	for (size_t i = 0; i < n; i++) {
		u->total += code_milli(codes[i]);
		u->ones += one_use(u, code_milli(codes[i]));
	}
	u->groups = groups_use(u, NULL, 0, 0);
}

static int64_t use_frag(const struct use *u, const uint32_t *taken, size_t n, unsigned milli)
{
	int64_t total = u->total - (int64_t)(n * milli), ones = u->ones, groups = u->groups;
	unsigned most = 0;

	if (!u->k)
		return 0;
	for (size_t i = 0; i < n; i++) {
		unsigned before = code_milli(taken[i]);

		ones += one_use(u, before - milli) - one_use(u, before);
		most = GT_MAX(most, before);
	}
	if (u->k->n_groups > 0 && most >= u->k->milli[u->k->n_groups - 1])
		groups = groups_use(u, taken, n, milli);
	return total * WEIGHT_ALL - ones - groups;
}

/* Behind the last GPU of the kind of the one at `from`. */
static size_t group_end(const struct cap *c, size_t from)
{
	size_t end = from + 1;

	if (code_kind(c->gpus[c->n - 1]) == code_kind(c->gpus[from]))
		return c->n;
	while (code_kind(c->gpus[end]) == code_kind(c->gpus[from]))
		end++;
	return end;
}

int64_t gt_sched_frag(const struct gt_sched *s, const struct cap *c, uint32_t cpu)
{
	struct use u;
	int64_t sum = 0;
	size_t end;

	for (size_t i = 0; i < c->n; i = end) {
		end = group_end(c, i);
		use_set(s, &u, &s->kinds[c->kinds[code_kind(c->gpus[i])]], cpu, c->gpus + i,
			end - i);
		sum += use_frag(&u, NULL, 0, 0);
	}
	return sum;
}

/* ---- the score ---- */
static uint32_t rate(int64_t gain, int steps, size_t pick)
{
	int64_t byte = MIDDLE - steps + (gain >= 0 ? gain / STEP : -((-gain + STEP - 1) / STEP));

	return rated((uint8_t)GT_MIN(GT_MAX(byte, 1), BYTE_MAX), pick);
}

/* A rare model is kept for those that can use no other. */
static int64_t price(const struct shape *sh, const struct kind *kind, unsigned milli)
{
	return sh->models ? 0 : kind->price * milli / PRICE_PART;
}

static uint32_t cpu_after(const struct shape *sh, const struct cap *c)
{
	return c->cpu == UINT32_MAX ? UINT32_MAX : c->cpu - sh->cpu;
}

static uint32_t rate_cpu(const struct gt_sched *s, const struct shape *sh, const struct cap *c,
			 int64_t frag)
{
	int64_t gain;

	if (c->fill != NO_FILL) /* better than any node with GPUs, the emptiest first */
		return rate(0, -(1 + 100 - c->fill), 0);
	gain = frag - gt_sched_frag(s, c, cpu_after(sh, c));
	if (c->n_kinds > 0)
		gain -= price(sh, &s->kinds[c->kinds[0]], CPU_MILLI);
	return rate(gain, 0, 0);
}

struct group {
	size_t from, end; /* GPUs of one kind, in cap.gpus */
	unsigned milli;   /* what is taken of each */
	uint32_t mib;
};

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
static uint32_t rate_group(const struct gt_sched *s, const struct shape *sh, const struct cap *c,
			   int64_t frag, const struct group *g)
{
	const struct kind *kind = &s->kinds[c->kinds[code_kind(c->gpus[g->from])]];
	uint32_t codes[GT_SCHED_GPUS_MAX], last = 0, cpu = cpu_after(sh, c);
	int steps = preference(sh, kind->model);
	uint32_t best = 0;
	struct use use;
	size_t i = g->from;

	while (i < g->end && !code_fits(c->gpus[i], g->milli, g->mib))
		i++;
	if (g->end - i < sh->gpus)
		return best;
	use_set(s, &use, kind, cpu, c->gpus + g->from, g->end - g->from);
	frag -= price(sh, kind, g->milli * sh->gpus);
	if (g->end - g->from < c->n) /* what the other kinds of GPUs are worth with less cpu */
		frag -= gt_sched_frag(s, c, cpu) - use_frag(&use, NULL, 0, 0);
	for (; i < g->end; i++) {
		uint32_t r;

		if (c->gpus[i] == last || !code_fits(c->gpus[i], g->milli, g->mib))
			continue;
		last = c->gpus[i];
		if (take(c, i, g->end, sh->gpus, g->milli, g->mib, codes) < sh->gpus)
			break;
		r = rate(frag - use_frag(&use, codes, sh->gpus, g->milli), steps, i);
		if (rated_byte(r) > rated_byte(best))
			best = r;
		if (sh->gpus > 1 || last == c->gpus[g->end - 1])
			break;
	}
	return best;
}

uint32_t gt_sched_cap_rate(const struct gt_sched *s, const struct shape *sh, const struct cap *c,
			   int64_t frag)
{
	uint32_t best = 0, r;
	struct group g;

	if (sh->cpu > c->cpu)
		return best;
	if (sh->gpus == 0)
		return rate_cpu(s, sh, c, frag);
	for (g.from = 0; g.from < c->n; g.from = g.end) {
		const struct kind *kind = &s->kinds[c->kinds[code_kind(c->gpus[g.from])]];

		g.end = group_end(c, g.from);
		if (g.end - g.from < sh->gpus || !gt_sched_need(sh, kind, &g.milli, &g.mib) ||
		    code_milli(c->gpus[g.end - 1]) < g.milli)
			continue;
		r = rate_group(s, sh, c, frag, &g);
		if (rated_byte(r) > rated_byte(best))
			best = r;
	}
	return best;
}

/* Whoever takes from a GPU takes at least what tasks with one GPU used of that, and no more than
 * all F is won back. Exactly for nodes with several kinds of GPUs, which are few. */
uint32_t gt_sched_cap_bound(const struct gt_sched *s, const struct shape *sh, const struct cap *c,
			    int64_t frag, unsigned milli)
{
	const struct kind *k = &s->kinds[c->kinds[0]];
	const uint32_t *one;
	int64_t gain, least = INT64_MAX;

	if (c->n_kinds != 1 || s->n_tasks == 0)
		return gt_sched_cap_rate(s, sh, c, frag);
	if (sh->gpus == 0)
		return rate(-price(sh, k, CPU_MILLI), 0, UNRATED);
	one = k->one_weight + cpu_row(k, c->cpu) * (k->n_ones + 1);
	for (size_t i = c->n; i-- > 0 && code_milli(c->gpus[i]) >= milli;) {
		unsigned before = code_milli(c->gpus[i]), after = before - milli;
		int64_t less = (int64_t)one[k->upto[before]] * before -
			       (int64_t)one[k->upto[after]] * after;

		least = GT_MIN(least, less);
	}
	gain = ((int64_t)milli * WEIGHT_ALL - least) * sh->gpus;
	return rate(GT_MIN(frag, gain) - price(sh, k, milli * sh->gpus), preference(sh, k->model),
		    UNRATED);
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
	if (n->state != GT_SCHED_UP || n->barred)
		return false;
	if (n->exclusives > 0 ? !sh->exclusive : sh->exclusive && n->replicas > 0)
		return false;
	if (n->exclusives > 0 &&
	    (n->owners_differ || n->owner != sh->owner || n->exclusives != n->replicas))
		return false;
	return has_labels(n, sh);
}

uint32_t gt_sched_node_rate(const struct gt_sched *s, const struct shape *sh, const struct node *n)
{
	struct cap c;

	if (!n->name || !gt_sched_node_takes(n, sh))
		return 0;
	gt_sched_cap(s, n, &c);
	return gt_sched_cap_rate(s, sh, &c, gt_sched_frag(s, &c, c.cpu));
}
