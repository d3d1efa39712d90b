/* place.c - the books: what is given to whom, and given back. */
#include "sched_priv.h"

#include <string.h>

/* ---- taking and giving back ---- */
static void spot_take(struct gt_sched *s, const struct gt_sched_spot *spot)
{
	struct node *n = &s->nodes[spot->node];

	n->cpu_taken += spot->cpu_milli;
	n->memory_taken += spot->memory_bytes;
	if (spot->exclusive) {
		n->owners_differ = n->owners_differ ||
				   (n->exclusives > 0 && n->owner != spot->owner);
		n->owner = spot->owner;
		n->exclusives++;
	}
	n->replicas++;
	for (size_t i = 0; i < n->n_slots; i++) {
		if (!(spot->gpu_mask >> i & 1))
			continue;
		n->slots[i].milli = (uint16_t)(n->slots[i].milli + spot->gpu_milli);
		n->slots[i].mib += spot->gpu_mib;
		s->milli_taken += spot->gpu_milli;
	}
	gt_sched_peers_add(s, spot->function, spot->node, 1);
	gt_sched_changed(s, spot->node);
}

void gt_sched_release(struct gt_sched *s, struct gt_sched_spot *spot)
{
	struct node *n = spot->node < s->n_nodes ? &s->nodes[spot->node] : NULL;

	if (!n || !n->name || spot->generation == 0 || n->generation != spot->generation) {
		*spot = (struct gt_sched_spot){ 0 };
		return;
	}
	n->cpu_taken -= spot->cpu_milli;
	n->memory_taken -= spot->memory_bytes;
	n->replicas--;
	n->exclusives -= spot->exclusive;
	n->owners_differ = n->owners_differ && n->exclusives > 0;
	for (size_t i = 0; i < GT_SCHED_GPUS_MAX; i++) {
		if (!(spot->gpu_mask >> i & 1))
			continue;
		n->slots[i].milli = (uint16_t)(n->slots[i].milli - spot->gpu_milli);
		n->slots[i].mib -= spot->gpu_mib;
		s->milli_taken -= spot->gpu_milli;
	}
	gt_sched_peers_add(s, spot->function, spot->node, -1);
	gt_sched_changed(s, spot->node);
	*spot = (struct gt_sched_spot){ 0 };
}

static struct gt_sched_spot spot_of(const struct gt_sched *s, const struct gt_sched_want *want,
				    uint32_t node)
{
	return (struct gt_sched_spot){ .node = node,
				       .generation = s->nodes[node].generation,
				       .cpu_milli = want->cpu_milli,
				       .memory_bytes = want->memory_bytes,
				       .exclusive = want->exclusive,
				       .owner = want->exclusive ? want->owner : 0,
				       .function = want->function };
}

/* ---- the GPUs of a choice ---- */
static void spot_slots(struct gt_sched *s, const struct shape *sh, unsigned pick,
		       struct gt_sched_spot *spot)
{
	const struct node *n = &s->nodes[spot->node];
	uint32_t codes[GT_SCHED_GPUS_MAX];
	unsigned milli;
	const struct cap *c = &gt_sched_state(s, spot->node)->cap;
	size_t taken = gt_sched_cap_take(s, sh, c, pick, codes);

	(void)gt_sched_need(sh, &s->kinds[c->kinds[code_kind(codes[0])]], &milli, &spot->gpu_mib);
	spot->gpu_milli = (uint16_t)milli;
	spot->gpu_mask = gt_sched_near(s, n, codes, taken);
}

static int place(struct gt_sched *s, const struct gt_sched_want *want, bool spread,
		 struct gt_sched_spot *ret, struct gt_err *err)
{
	struct shape sh;
	struct choice c;
	int r = gt_sched_shape(want, &sh, err);

	if (r < 0)
		return r;
	c = gt_sched_choose(s, want, &sh, spread);
	if (c.node == NO_NODE)
		return err ? gt_sched_refuse(s, want, &sh, err) : -ENOSPC;
	*ret = spot_of(s, want, c.node);
	if (sh.gpus > 0)
		spot_slots(s, &sh, c.pick, ret);
	spot_take(s, ret);
	gt_sched_mix_learn(s, &sh);
	return 0;
}

int gt_sched_place(struct gt_sched *s, const struct gt_sched_want *want, struct gt_sched_spot *ret,
		   struct gt_err *err)
{
	return place(s, want, true, ret, err);
}

/* ---- gangs ---- */
static void bar(struct gt_sched *s, uint32_t node, bool barred)
{
	s->nodes[node].barred = barred;
	gt_sched_changed(s, node);
}

static bool larger(const struct gt_sched_want *a, const struct gt_sched_want *b)
{
	uint64_t x = (uint64_t)a->gpus * (a->gpu_milli ? a->gpu_milli : GT_SCHED_GPU_MILLI);
	uint64_t y = (uint64_t)b->gpus * (b->gpu_milli ? b->gpu_milli : GT_SCHED_GPU_MILLI);

	if (x != y)
		return x > y;
	if (a->cpu_milli != b->cpu_milli)
		return a->cpu_milli > b->cpu_milli;
	return a->memory_bytes > b->memory_bytes;
}

/* Largest first; each to the best place that is left. Returns how many could be placed. */
static size_t place_each(struct gt_sched *s, const struct gt_sched_want *wants, size_t n,
			 bool apart, struct gt_sched_spot *spots, int *ret, struct gt_err *err)
{
	size_t order[GT_SCHED_GANG_MAX], placed = 0;

	for (size_t i = 0; i < n; i++) {
		size_t at = i;

		for (; at > 0 && larger(&wants[i], &wants[order[at - 1]]); at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
	for (; placed < n; placed++) {
		*ret = place(s, &wants[order[placed]], false, &spots[placed], err);
		if (*ret < 0)
			break;
		if (apart)
			bar(s, spots[placed].node, true);
	}
	for (size_t i = 0; apart && i < placed; i++)
		bar(s, spots[i].node, false);
	if (placed < n)
		return placed;
	/* From the order of placing to that of the members. */
	struct gt_sched_spot found[GT_SCHED_GANG_MAX];

	memcpy(found, spots, n * sizeof(*found));
	for (size_t i = 0; i < n; i++)
		spots[order[i]] = found[i];
	return placed;
}

/* One want for all of them finds the node; what it booked is then parted. */
static int place_together(struct gt_sched *s, const struct gt_sched_want *of, size_t n,
			  struct gt_sched_spot *spots, struct gt_err *err)
{
	struct gt_sched_want all = *of;
	struct gt_sched_spot sum;

	all.cpu_milli *= n;
	all.memory_bytes *= n;
	all.gpus *= (uint32_t)n;
	int r = place(s, &all, false, &sum, err);

	if (r < 0)
		return r;
	const struct gt_sched_spot had = sum;
	uint32_t mask = sum.gpu_mask;

	gt_sched_release(s, &sum);
	for (size_t i = 0; i < n; i++) {
		spots[i] = spot_of(s, of, had.node);
		spots[i].gpu_milli = had.gpu_milli;
		spots[i].gpu_mib = had.gpu_mib;
		for (uint32_t k = 0; k < of->gpus; k++) {
			spots[i].gpu_mask |= mask & -mask;
			mask &= mask - 1;
		}
		spot_take(s, &spots[i]);
	}
	return 0;
}

int gt_sched_place_gang(struct gt_sched *s, const struct gt_sched_want *wants, size_t n,
			enum gt_sched_spread spread, struct gt_sched_spot *ret, struct gt_err *err)
{
	struct gt_sched_spot spots[GT_SCHED_GANG_MAX];
	size_t placed = 0;
	int r = 0;

	if (n == 0 || n > GT_SCHED_GANG_MAX)
		return gt_err_set(err, EINVAL, "invalid_want", "a gang of %zu; 1 to %d are allowed",
				  n, GT_SCHED_GANG_MAX);
	if (spread == GT_SCHED_TOGETHER) {
		r = place_together(s, wants, n, ret, err);
		return r < 0 ? gt_err_wrap(err, "a gang of %zu on one node", n), r : 0;
	}
	placed = place_each(s, wants, n, spread == GT_SCHED_APART, spots, &r, err);
	if (r == 0) {
		memcpy(ret, spots, n * sizeof(*ret));
		return 0;
	}
	for (size_t i = 0; i < placed; i++)
		gt_sched_release(s, &spots[i]);
	gt_err_wrap(err, "a gang of %zu, of which %zu could be placed", n, placed);
	return r;
}

/* ---- what was there before ---- */
static int gpu_taken(const struct node *n, size_t slot, struct gt_err *err)
{
	return gt_err_set(err, EBUSY, "gpu_taken",
			  "node %s: GPU %zu has not so much left as a replica on it says it has",
			  n->name, slot);
}

static int book_gpus(const struct gt_sched *s, const struct gt_sched_want *want,
		     const struct shape *sh, struct gt_sched_spot *spot, struct gt_err *err)
{
	const struct node *n = &s->nodes[spot->node];
	struct shape any = *sh;

	any.models = 0; /* it is there, allowed or not */
	if (want->gpus != (uint32_t)__builtin_popcount(spot->gpu_mask) ||
	    (n->n_slots < 32 && spot->gpu_mask >> n->n_slots))
		return gt_err_set(err, EINVAL, "invalid_want",
				  "node %s: GPU slots 0x%x are not %u of its %u", n->name,
				  spot->gpu_mask, want->gpus, n->n_slots);
	for (size_t i = 0; i < n->n_slots; i++) {
		const struct kind *kind = &s->kinds[n->kinds[n->slots[i].kind]];
		unsigned milli;
		uint32_t mib;

		if (!(spot->gpu_mask >> i & 1))
			continue;
		if (want->is_there && kind->mib)
			any.mib = GT_MIN(sh->mib, kind->mib);
		if (!gt_sched_need(&any, kind, &milli, &mib))
			return gpu_taken(n, i, err);
		spot->gpu_milli = (uint16_t)GT_MAX(spot->gpu_milli, milli);
		spot->gpu_mib = GT_MAX(spot->gpu_mib, mib);
	}
	for (size_t i = 0; i < n->n_slots; i++) {
		uint32_t code = gt_sched_slot_code(s, n, i);

		if (!(spot->gpu_mask >> i & 1))
			continue;
		if (want->is_there)
			spot->gpu_mib = GT_MIN(spot->gpu_mib, code_mib(code));
		if (code_milli(code) < spot->gpu_milli || code_mib(code) < spot->gpu_mib)
			return gpu_taken(n, i, err);
	}
	return 0;
}

int gt_sched_book(struct gt_sched *s, const struct gt_sched_want *want, uint32_t node,
		  uint32_t gpu_mask, struct gt_sched_spot *ret, struct gt_err *err)
{
	struct gt_sched_spot spot;
	struct shape sh;
	int r = gt_sched_shape(want, &sh, err);

	if (r < 0)
		return r;
	if (node >= s->n_nodes || !s->nodes[node].name)
		return gt_err_set(err, ENOENT, "not_found", "node %u is not known", node);
	spot = spot_of(s, want, node);
	spot.gpu_mask = gpu_mask;
	r = book_gpus(s, want, &sh, &spot, err);
	if (r < 0)
		return r;
	*ret = spot;
	spot_take(s, ret);
	gt_sched_mix_learn(s, &sh);
	return 0;
}
