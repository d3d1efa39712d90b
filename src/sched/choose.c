/* choose.c - the best node for a want: its row, and what is said of single nodes. */
#include "sched_priv.h"

#include <string.h>

#define STEPS_MAX 200 /* of time to ready: a minute */

static int32_t steps_of(const struct adjust *a)
{
	return a->ready + a->spread;
}

struct adjust *gt_sched_adjust_of(const struct gt_sched *s, uint32_t node)
{
	return s->mark[node] ? &s->adjust[s->mark[node] - 1] : NULL;
}

static struct adjust *adjust_get(struct gt_sched *s, uint32_t node)
{
	if (!s->mark[node]) {
		if (s->n_adjust == s->cap_adjust) {
			s->cap_adjust = s->cap_adjust ? 2 * s->cap_adjust : 64;
			s->adjust = gt_grow(s->adjust, s->cap_adjust, sizeof(*s->adjust));
		}
		s->adjust[s->n_adjust++] = (struct adjust){ .node = node };
		s->mark[node] = (uint32_t)s->n_adjust;
	}
	return &s->adjust[s->mark[node] - 1];
}

void gt_sched_adjust_collect(struct gt_sched *s, const struct gt_sched_want *want, bool spread)
{
	const struct peer *peers;
	size_t n = spread ? gt_sched_peers_of(s, want->function, &peers) : 0;
	int32_t each = want->gpus ? GT_SCHED_SPREAD_STEPS : GT_SCHED_SPREAD_CPU_STEPS;

	s->n_adjust = 0;
	for (size_t i = 0; i < n; i++)
		adjust_get(s, peers[i].node)->spread -= each *
							(int32_t)GT_MIN(peers[i].count, 1000000);
	for (size_t i = 0; i < want->n_hints; i++) {
		int64_t saved = ((int64_t)want->usual_ms - want->hints[i].ms) / GT_SCHED_STEP_MS;

		if (want->hints[i].node < s->n_nodes)
			adjust_get(s, want->hints[i].node)->ready += (int32_t)GT_MAX(
				GT_MIN(saved, STEPS_MAX), -STEPS_MAX);
	}
}

void gt_sched_adjust_end(struct gt_sched *s)
{
	for (size_t i = 0; i < s->n_adjust; i++)
		s->mark[s->adjust[i].node] = 0;
	s->n_adjust = 0;
}

bool gt_sched_memory_fits(struct gt_sched *s, uint32_t node, const struct gt_sched_want *want)
{
	return want->memory_bytes <= gt_sched_state(s, node)->memory;
}

/* ---- without an index ---- */
static struct choice choose_plain(struct gt_sched *s, const struct gt_sched_want *want,
				  const struct shape *sh)
{
	struct choice best = { .node = NO_NODE };
	int32_t best_total = 0;

	for (uint32_t i = 0; i < s->n_nodes; i++) {
		uint32_t r = gt_sched_node_rate(s, sh, &s->nodes[i]);
		int32_t total = rated_byte(r);

		if (total == 0 || !gt_sched_memory_fits(s, i, want))
			continue;
		if (s->mark[i])
			total += steps_of(&s->adjust[s->mark[i] - 1]);
		if (best.node != NO_NODE && total <= best_total)
			continue;
		best = (struct choice){ .node = i, .pick = rated_pick(r) };
		best_total = total;
	}
	return best;
}

/* ---- with it ---- */
/* Hides a node from the row's maximum until adjust_show. */
static void adjust_hide(struct gt_sched *s, struct row *row, size_t i)
{
	struct adjust *a = &s->adjust[i];

	a->rated = gt_sched_row_rate(s, row, a->node);
	gt_sched_row_set(row, a->node, 0);
}

static void adjust_show(struct gt_sched *s, struct row *row)
{
	for (size_t i = 0; i < s->n_adjust; i++)
		gt_sched_row_set(row, s->adjust[i].node, s->adjust[i].rated);
}

/* The first node of a block whose score this is and that has the memory. */
static uint32_t best_of_block(struct gt_sched *s, struct row *row, size_t block, uint8_t byte,
			      const struct gt_sched_want *want)
{
	const uint8_t *at = row->bytes + block * ROW_ALIGN, *end = at + ROW_ALIGN;

	for (; (at = memchr(at, byte, (size_t)(end - at))); at++) {
		uint32_t node = (uint32_t)(at - row->bytes);

		if (gt_sched_memory_fits(s, node, want) &&
		    rated_byte(gt_sched_row_rate(s, row, node)) == byte)
			return node;
	}
	return NO_NODE;
}

/* From the best byte down, and from the first node on: the first that has the memory. The search
 * goes by what no byte of a block exceeds: the row's tops, and from the first block on none of
 * whose best nodes has the memory, a copy of them that says what is left to look at. A top that no
 * byte has any more is corrected when it is the largest; until then nobody asks. */
static uint32_t best_of_row(struct gt_sched *s, struct row *row, const struct gt_sched_want *want)
{
	const size_t n = gt_sched_tops_size(s->cap_nodes);
	const bool portable = s->config.portable;
	uint8_t *bounds = row->tops, *at, max;

	while ((max = gt_sched_row_max(bounds, n, UINT8_MAX, portable)) > 0) {
		for (at = bounds; (at = memchr(at, max, (size_t)(bounds + n - at)));) {
			size_t block = (size_t)(at - bounds);
			const uint8_t *bytes = row->bytes + block * ROW_ALIGN;
			uint32_t node = best_of_block(s, row, block, max, want);
			uint8_t left;

			if (node != NO_NODE)
				return node;
			left = gt_sched_row_max(bytes, ROW_ALIGN, max, portable);
			if (row->tops[block] == max)
				row->tops[block] = left;
			if (left == max) {
				if (bounds == row->tops)
					bounds = memcpy(s->bounds, row->tops, n);
				left = gt_sched_row_max(bytes, ROW_ALIGN, max - 1, portable);
			}
			at = bounds + block;
			*at = left;
		}
	}
	return NO_NODE;
}

static struct choice choose_indexed(struct gt_sched *s, const struct gt_sched_want *want,
				    const struct shape *sh)
{
	struct row *row = gt_sched_row(s, sh);
	size_t n = s->n_adjust;
	uint32_t best;
	int32_t total = 0;

	for (size_t i = 0; i < n; i++)
		adjust_hide(s, row, i);
	best = best_of_row(s, row, want);
	if (best != NO_NODE)
		total = row->bytes[best];
	adjust_show(s, row);
	for (size_t i = 0; i < n; i++) {
		const struct adjust *a = &s->adjust[i];
		int32_t own = rated_byte(a->rated) + steps_of(a);

		if (rated_byte(a->rated) == 0 || !gt_sched_memory_fits(s, a->node, want))
			continue;
		if (best != NO_NODE && (own < total || (own == total && a->node > best)))
			continue;
		best = a->node;
		total = own;
	}
	if (best == NO_NODE)
		return (struct choice){ .node = NO_NODE };
	__builtin_prefetch(&s->nodes[best]);
	__builtin_prefetch(&s->nodes[best].slots);
	return (struct choice){ .node = best, .pick = row->picks[best] };
}

struct choice gt_sched_choose(struct gt_sched *s, const struct gt_sched_want *want,
			      const struct shape *sh, bool spread)
{
	struct choice c;

	if (s->n_nodes == 0)
		return (struct choice){ .node = NO_NODE };
	gt_sched_mix_refresh(s);
	gt_sched_adjust_collect(s, want, spread);
	c = s->config.plain ? choose_plain(s, want, sh) : choose_indexed(s, want, sh);
	gt_sched_adjust_end(s);
	return c;
}
