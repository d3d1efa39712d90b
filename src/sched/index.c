/* index.c - what is known of (shape, node) pairs, brought up to date only when it is looked at.
 *
 * A change of a node is one entry of the log. A row replays the entries since its cursor, and
 * scores a node once, at its newest entry; when more happened than there are nodes, it looks
 * through the nodes instead: no replay is longer than the fleet. What is free on a node is summed
 * up once after a change, for all rows. */
#include "sched_priv.h"

#include <string.h>

#define SHAPES_MAX 1024
#define BATCH      32         /* entries of the log */
#define OUTDATED   (1u << 31) /* of an entry: the node has a newer one */
#define SEEN_BITS  6          /* of the number of states that a pass over the nodes remembers */

size_t gt_sched_tops_size(size_t nodes)
{
	return (nodes / ROW_ALIGN + ROW_ALIGN - 1) / ROW_ALIGN * ROW_ALIGN;
}

static void row_grow(struct row *row, size_t old, size_t cap)
{
	row->bytes = gt_grow(row->bytes, cap, 1);
	memset(row->bytes + old, 0, cap - old);
	row->picks = gt_grow(row->picks, cap, 1);
	memset(row->picks + old, 0, cap - old);
	row->tops = gt_grow(row->tops, gt_sched_tops_size(cap), 1);
	memset(row->tops + gt_sched_tops_size(old), 0,
	       gt_sched_tops_size(cap) - gt_sched_tops_size(old));
}

void gt_sched_index_grow(struct gt_sched *s, size_t cap)
{
	size_t old = s->cap_nodes, log = LOG_LEAST;

	cap = (cap + ROW_ALIGN - 1) / ROW_ALIGN * ROW_ALIGN;
	while (log < cap)
		log *= 2;
	s->newest = gt_grow(s->newest, cap, sizeof(*s->newest));
	s->states = gt_grow(s->states, cap, sizeof(*s->states));
	s->glances = gt_grow(s->glances, cap, sizeof(*s->glances));
	s->mark = gt_grow(s->mark, cap, sizeof(*s->mark));
	s->bounds = gt_grow(s->bounds, gt_sched_tops_size(cap), 1);
	for (size_t i = old; i < cap; i++) {
		s->newest[i] = 0;
		s->glances[i].kind = GLANCE_UNKNOWN;
		s->mark[i] = 0;
	}
	for (size_t i = 0; i < s->n_rows; i++)
		row_grow(&s->rows[i], old, cap);
	s->cap_nodes = cap;
	if (log == s->log_cap)
		return;
	s->log = gt_grow(s->log, log, sizeof(*s->log));
	memset(s->log, 0, log * sizeof(*s->log));
	s->log_cap = log;
	for (size_t i = 0; i < s->n_rows; i++)
		s->rows[i].cursor = 0; /* the ring's places are others now */
}

void gt_sched_index_free(struct gt_sched *s)
{
	for (size_t i = 0; i < s->n_rows; i++) {
		free(s->rows[i].bytes);
		free(s->rows[i].picks);
		free(s->rows[i].tops);
	}
	free(s->rows);
	free(s->row_slots);
	free(s->states);
	free(s->glances);
	free(s->newest);
	free(s->mark);
	free(s->log);
	free(s->bounds);
}

void gt_sched_index_reset(struct gt_sched *s)
{
	for (size_t i = 0; i < s->cap_nodes; i++)
		s->glances[i].kind = GLANCE_UNKNOWN;
	for (size_t i = 0; i < s->n_rows; i++)
		s->rows[i].cursor = 0;
}

void gt_sched_changed(struct gt_sched *s, uint32_t node)
{
	uint64_t before = s->newest[node];

	if (s->seq - before < s->log_cap)
		s->log[before & (s->log_cap - 1)] |= OUTDATED;
	s->seq++;
	s->log[s->seq & (s->log_cap - 1)] = node;
	s->newest[node] = s->seq;
	s->glances[node].kind = GLANCE_UNKNOWN;
}

/* ---- states ---- */
static struct glance glance_of(const struct node *n, const struct cap *c)
{
	bool open = n->name && n->state == GT_SCHED_UP && !n->barred && n->exclusives == 0;
	struct glance g = { .cpu = c->cpu, .kind = GLANCE_NONE };

	for (size_t i = 0; i < c->n; i++) {
		g.milli = (uint16_t)GT_MAX(g.milli, code_milli(c->gpus[i]));
		g.whole += code_milli(c->gpus[i]) == GT_SCHED_GPU_MILLI;
	}
	if (c->n > 0)
		g.kind = c->n_kinds == 1 ? c->kinds[0] : GLANCE_MANY;
	if (!open)
		g.kind |= GLANCE_CLOSED;
	return g;
}

const struct state *gt_sched_state_learn(struct gt_sched *s, uint32_t node)
{
	const struct node *n = &s->nodes[node];
	struct state *st = &s->states[node];

	gt_sched_cap(s, n, &st->cap);
	st->memory = n->memory_room == ROOM_ANY         ? ROOM_ANY
		     : n->memory_room > n->memory_taken ? n->memory_room - n->memory_taken
							: 0;
	st->frag = gt_sched_frag(s, &st->cap, st->cap.cpu);
	s->glances[node] = glance_of(n, &st->cap);
	return st;
}

/* Whether the shape may go there at all. Of an open node its glance alone is looked at: the rest
 * would not be in the cache. */
static bool takes(const struct gt_sched *s, struct glance g, const struct shape *sh, uint32_t node)
{
	if (!(g.kind & GLANCE_CLOSED) && !sh->exclusive && !sh->labels[0])
		return true;
	return s->nodes[node].name && gt_sched_node_takes(&s->nodes[node], sh);
}

/* ---- rows ---- */
void gt_sched_row_set(struct row *row, uint32_t node, uint32_t rated)
{
	uint8_t *top = &row->tops[node / ROW_ALIGN], byte = rated_byte(rated);

	row->bytes[node] = byte;
	row->picks[node] = rated_pick(rated);
	*top = GT_MAX(*top, byte);
}

uint32_t gt_sched_row_rate(struct gt_sched *s, struct row *row, uint32_t node)
{
	const struct state *st;

	if (row->bytes[node] > 0 && row->picks[node] == UNRATED) {
		st = gt_sched_state(s, node);
		gt_sched_row_set(row, node, gt_sched_cap_rate(s, &row->shape, &st->cap, st->frag));
	}
	return rated(row->bytes[node], row->picks[node]);
}

static size_t cap_size(const struct cap *c)
{
	return offsetof(struct cap, gpus) + c->n * sizeof(c->gpus[0]);
}

/* All nodes that changed after the cursor. Many are in one state when a row is new. */
static void row_pass(struct gt_sched *s, struct row *row)
{
	struct {
		const struct state *of;
		uint32_t rated;
	} seen[1 << SEEN_BITS] = { 0 };

	for (uint32_t i = 0; i < s->n_nodes; i++) {
		const struct state *st;
		size_t size, at;

		if (s->newest[i] <= row->cursor)
			continue;
		st = gt_sched_state(s, i);
		row->bytes[i] = 0;
		if (!takes(s, s->glances[i], &row->shape, i))
			continue;
		size = cap_size(&st->cap);
		at = ((uint64_t)st->frag + st->cap.cpu) * 0x9e3779b97f4a7c15ULL >> (64 - SEEN_BITS);
		if (!seen[at].of || memcmp(&seen[at].of->cap, &st->cap, size) != 0) {
			seen[at].of = st;
			seen[at].rated = gt_sched_cap_rate(s, &row->shape, &st->cap, st->frag);
		}
		gt_sched_row_set(row, i, seen[at].rated);
	}
}

/* What a glance must have: more than there is, where the shape may have no such GPU. */
static void needs_set(const struct gt_sched *s, struct row *row)
{
	const struct shape *sh = &row->shape;

	memset(row->needs, 0, sizeof(row->needs));
	row->whole = sh->milli == GT_SCHED_GPU_MILLI ? sh->gpus : 0;
	if (sh->gpus == 0)
		return;
	row->needs[GLANCE_NONE] = GT_SCHED_GPU_MILLI + 1;
	for (size_t i = 0; i < s->n_kinds; i++) {
		unsigned milli;
		uint32_t mib;

		row->needs[i] = gt_sched_need(sh, &s->kinds[i], &milli, &mib)
					? (uint16_t)milli
					: GT_SCHED_GPU_MILLI + 1;
	}
}

/* Without a branch: which way it goes is not to be foreseen. */
static bool may_fit(const struct row *row, struct glance g)
{
	return (row->shape.cpu <= g.cpu) & (row->whole <= g.whole) &
	       (row->needs[g.kind & ~GLANCE_CLOSED] <= g.milli);
}

/* In batches: which nodes, then which of them may do, then bounds for those. Most are never asked
 * for their score before they change again. */
static void row_replay(struct gt_sched *s, struct row *row)
{
	uint32_t nodes[BATCH];
	size_t n, fit;

	for (uint64_t i = row->cursor + 1; i <= s->seq;) {
		for (n = fit = 0; i <= s->seq && n < BATCH; i++) {
			nodes[n] = s->log[i & (s->log_cap - 1)];
			n += !(nodes[n] & OUTDATED);
		}
		for (size_t k = 0; k < n; k++) {
			uint32_t node = nodes[k];

			if (s->glances[node].kind == GLANCE_UNKNOWN)
				gt_sched_state_learn(s, node);
			row->bytes[node] = 0;
			nodes[fit] = node;
			fit += may_fit(row, s->glances[node]) &
			       takes(s, s->glances[node], &row->shape, node);
		}
		for (size_t k = 0; k < fit; k++)
			__builtin_prefetch(&s->states[nodes[k]]);
		for (size_t k = 0; k < fit; k++) {
			const struct state *st = &s->states[nodes[k]];

			gt_sched_row_set(row, nodes[k],
					 gt_sched_cap_bound(s, &row->shape, &st->cap, st->frag,
							    row->needs[st->cap.kinds[0]]));
		}
	}
}

static void row_refresh(struct gt_sched *s, struct row *row)
{
	if (row->cursor == s->seq)
		return;
	if (row->cursor == 0)
		needs_set(s, row);
	if (row->cursor > 0 && s->seq - row->cursor <= s->n_nodes)
		row_replay(s, row);
	else
		row_pass(s, row);
	row->cursor = s->seq;
}

static size_t slot_of(const struct gt_sched *s, const struct shape *sh)
{
	size_t at = gt_sched_hash(sh, sizeof(*sh)) & (s->n_row_slots - 1);

	while (s->row_slots[at] &&
	       memcmp(&s->rows[s->row_slots[at] - 1].shape, sh, sizeof(*sh)) != 0)
		at = (at + 1) & (s->n_row_slots - 1);
	return at;
}

static void slots_fill(struct gt_sched *s, size_t n)
{
	s->row_slots = gt_grow(s->row_slots, n, sizeof(*s->row_slots));
	memset(s->row_slots, 0, n * sizeof(*s->row_slots));
	s->n_row_slots = n;
	for (size_t i = 0; i < s->n_rows; i++)
		s->row_slots[slot_of(s, &s->rows[i].shape)] = (uint32_t)i + 1;
}

/* The row for a shape that has none: a new one, or the one that was asked for longest ago. */
static struct row *row_take(struct gt_sched *s, const struct shape *sh)
{
	size_t max = s->config.shapes_max ? s->config.shapes_max : SHAPES_MAX, oldest = 0;
	struct row *row;

	if (s->n_rows < max) {
		if (s->n_rows == s->cap_rows) {
			s->cap_rows = GT_MIN(max, s->cap_rows ? 2 * s->cap_rows : 16);
			s->rows = gt_grow(s->rows, s->cap_rows, sizeof(*s->rows));
		}
		row = &s->rows[s->n_rows++];
		*row = (struct row){ 0 };
		row_grow(row, 0, s->cap_nodes);
	} else {
		for (size_t i = 1; i < s->n_rows; i++)
			if (s->rows[i].used < s->rows[oldest].used)
				oldest = i;
		row = &s->rows[oldest];
		memset(row->bytes, 0, s->cap_nodes);
		memset(row->tops, 0, gt_sched_tops_size(s->cap_nodes));
	}
	row->shape = *sh;
	row->cursor = 0;
	slots_fill(s, s->n_row_slots < 4 * s->n_rows ? GT_MAX(64, 2 * s->n_row_slots)
						     : s->n_row_slots);
	return row;
}

struct row *gt_sched_row(struct gt_sched *s, const struct shape *sh)
{
	struct row *row = NULL;

	if (s->n_row_slots > 0) {
		size_t at = slot_of(s, sh);

		if (s->row_slots[at])
			row = &s->rows[s->row_slots[at] - 1];
	}
	if (!row)
		row = row_take(s, sh);
	row->used = ++s->requests;
	row_refresh(s, row);
	return row;
}
