/* look.c - how the nodes stand for a want, for people: the best few with what their scores are made
 * of, and what stops the others. */
#include "sched_priv.h"

#include <string.h>

static int32_t total(const struct gt_sched_score *s)
{
	return s->room + s->ready + s->spread;
}

static bool better(const struct gt_sched_score *a, const struct gt_sched_score *b)
{
	return total(a) > total(b) || (total(a) == total(b) && a->node < b->node);
}

/* Keeps the best in order. */
static void best_add(struct gt_sched_look *ret, struct gt_sched_score score)
{
	size_t at = ret->n_best;

	while (at > 0 && better(&score, &ret->best[at - 1]))
		at--;
	if (at == GT_SCHED_BEST_MAX)
		return;
	ret->n_best = GT_MIN(ret->n_best + 1, (size_t)GT_SCHED_BEST_MAX);
	memmove(&ret->best[at + 1], &ret->best[at], (ret->n_best - at - 1) * sizeof(ret->best[0]));
	ret->best[at] = score;
}

/* What it takes to get in, before hints and replicas of the same function. */
static bool enters(const struct gt_sched_look *ret, uint8_t byte, const struct adjust *a)
{
	return ret->n_best < GT_SCHED_BEST_MAX || a ||
	       byte - MIDDLE > total(&ret->best[GT_SCHED_BEST_MAX - 1]);
}

static void node_look(struct gt_sched *s, const struct gt_sched_want *want, const struct shape *sh,
		      uint32_t i, struct row *row, struct gt_sched_look *ret)
{
	bool counts = i < GT_SCHED_LOOK_MAX && s->nodes[i].name;
	const struct adjust *a = gt_sched_adjust_of(s, i);
	uint8_t byte = row ? row->bytes[i] : rated_byte(gt_sched_node_rate(s, sh, &s->nodes[i]));
	uint64_t most;

	if (row && (counts || enters(ret, byte, a)))
		byte = rated_byte(gt_sched_row_rate(s, row, i));
	ret->looked += counts;
	if (byte == 0 || ((counts || enters(ret, byte, a)) && !gt_sched_memory_fits(s, i, want))) {
		if (counts)
			ret->refused[gt_sched_first_limit(s, &s->nodes[i], want, sh, &most)]++;
		return;
	}
	if (enters(ret, byte, a))
		best_add(ret, (struct gt_sched_score){ .node = i,
						       .room = byte - MIDDLE,
						       .ready = a ? a->ready : 0,
						       .spread = a ? a->spread : 0 });
}

/* Whether no node of the block of this one can be among the best; but for those with hints or
 * replicas of the function, which were looked at before. */
static bool block_fails(const struct gt_sched_look *ret, const struct row *row, uint32_t i)
{
	return row && i >= GT_SCHED_LOOK_MAX && i % ROW_ALIGN == 0 &&
	       !enters(ret, row->tops[i / ROW_ALIGN], NULL);
}

void gt_sched_look(struct gt_sched *s, const struct gt_sched_want *want, struct gt_sched_look *ret)
{
	struct row *row = NULL;
	struct shape sh;

	*ret = (struct gt_sched_look){ 0 };
	if (s->n_nodes == 0 || gt_sched_shape(want, &sh, NULL) < 0)
		return;
	gt_sched_mix_refresh(s);
	gt_sched_adjust_collect(s, want, true);
	if (!s->config.plain)
		row = gt_sched_row(s, &sh);
	for (size_t k = 0; row && k < s->n_adjust; k++)
		if (s->adjust[k].node >= GT_SCHED_LOOK_MAX)
			node_look(s, want, &sh, s->adjust[k].node, row, ret);
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		if (block_fails(ret, row, i))
			i += ROW_ALIGN - 1;
		else if (!row || i < GT_SCHED_LOOK_MAX || !s->mark[i])
			node_look(s, want, &sh, i, row, ret);
	}
	gt_sched_adjust_end(s);
}
