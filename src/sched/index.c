/* index.c - what is known of (shape, node) pairs, brought up to date only when it is looked at.
 *
 * A change of a node is one entry of the log. A row replays the entries since its cursor, and
 * scores a node once, at its newest entry; when more happened than there are nodes, it looks
 * through the nodes instead: no replay is longer than the fleet. A score that another node in the
 * same state had is copied. */
#include "sched_priv.h"

#include <string.h>

#define STATE_SLOTS (2 * STATES_MAX)
#define SHAPES_MAX  1024
#define AHEAD       8 /* entries: what they need is fetched meanwhile */

void gt_sched_index_grow(struct gt_sched *s, size_t cap)
{
	size_t old = s->cap_nodes, log = LOG_LEAST;

	cap = (cap + ROW_ALIGN - 1) / ROW_ALIGN * ROW_ALIGN;
	while (log < cap)
		log *= 2;
	s->newest = gt_grow(s->newest, cap, sizeof(*s->newest));
	s->state_of = gt_grow(s->state_of, cap, sizeof(*s->state_of));
	s->mark = gt_grow(s->mark, cap, sizeof(*s->mark));
	for (size_t i = old; i < cap; i++) {
		s->newest[i] = 0;
		s->state_of[i] = NO_STATE;
		s->mark[i] = 0;
	}
	for (size_t i = 0; i < s->n_rows; i++) {
		s->rows[i].bytes = gt_grow(s->rows[i].bytes, cap, 1);
		memset(s->rows[i].bytes + old, 0, cap - old);
	}
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
		free(s->rows[i].memo);
	}
	free(s->rows);
	free(s->row_slots);
	free(s->states);
	free(s->state_slots);
	free(s->state_of);
	free(s->newest);
	free(s->mark);
	free(s->log);
}

/* Ids of states are given anew, so nothing that was known by them holds. */
static void states_forget(struct gt_sched *s)
{
	if (s->states)
		memset(s->state_slots, 0, STATE_SLOTS * sizeof(*s->state_slots));
	s->n_states = 0;
	for (size_t i = 0; i < s->cap_nodes; i++)
		s->state_of[i] = NO_STATE;
	for (size_t i = 0; i < s->n_rows; i++)
		memset(s->rows[i].memo, 0, STATES_MAX * sizeof(*s->rows[i].memo));
}

void gt_sched_index_reset(struct gt_sched *s)
{
	states_forget(s);
	for (size_t i = 0; i < s->n_rows; i++)
		s->rows[i].cursor = 0;
}

void gt_sched_changed(struct gt_sched *s, uint32_t node)
{
	s->seq++;
	s->log[s->seq & (s->log_cap - 1)] = node;
	s->newest[node] = s->seq;
	s->state_of[node] = NO_STATE;
}

/* ---- states ---- */
static uint32_t state_find(struct gt_sched *s, const struct cap *c)
{
	size_t len = offsetof(struct cap, gpus) + c->n * sizeof(c->gpus[0]);
	size_t at = gt_sched_hash(c, len) & (STATE_SLOTS - 1);

	for (; s->state_slots[at]; at = (at + 1) & (STATE_SLOTS - 1))
		if (memcmp(&s->states[s->state_slots[at] - 1].cap, c, len) == 0)
			return s->state_slots[at] - 1;
	s->states[s->n_states] = (struct state){ .cap = *c, .frag = gt_sched_frag(s, c) };
	s->state_slots[at] = (uint32_t)++s->n_states;
	return (uint32_t)s->n_states - 1;
}

static uint32_t state_find_of(struct gt_sched *s, uint32_t node)
{
	struct cap c;

	if (!s->states) {
		s->states = gt_alloc_array(STATES_MAX, sizeof(*s->states));
		s->state_slots = gt_alloc_array(STATE_SLOTS, sizeof(*s->state_slots));
	}
	if (s->n_states == STATES_MAX)
		states_forget(s);
	gt_sched_cap(s, &s->nodes[node], &c);
	return state_find(s, &c);
}

/* Whether every want without labels that is not exclusive may go there. */
static bool is_open(const struct node *n)
{
	return n->name && n->state == GT_SCHED_UP && n->exclusives == 0;
}

static struct rated rate_anew(struct gt_sched *s, struct row *row, uint32_t node)
{
	uint32_t state = s->state_of[node];
	struct rated r;

	if (state == NO_STATE) {
		state = state_find_of(s, node);
		s->state_of[node] = is_open(&s->nodes[node]) ? state : state | STATE_SHUT;
		state = s->state_of[node];
	}
	if (((state & STATE_SHUT) || row->shape.labels[0] || row->shape.exclusive) &&
	    (!s->nodes[node].name || !gt_sched_node_takes(&s->nodes[node], &row->shape)))
		return (struct rated){ 0 };
	state &= ~STATE_SHUT;
	r = row->memo[state];
	if (r.byte == 0) {
		r = gt_sched_cap_rate(s, &row->shape, &s->states[state].cap, s->states[state].frag);
		r.byte++;
		row->memo[state] = r;
	}
	r.byte--;
	return r;
}

/* Nothing of an open node is looked at but its state's number: the rest would not be in the cache.
 */
static inline struct rated rate(struct gt_sched *s, struct row *row, bool plain, uint32_t node)
{
	uint32_t state = s->state_of[node];
	struct rated r;

	if (!plain || state >= STATES_MAX || row->memo[state].byte == 0)
		return rate_anew(s, row, node);
	r = row->memo[state];
	r.byte--;
	return r;
}

struct rated gt_sched_row_rate(struct gt_sched *s, struct row *row, uint32_t node)
{
	return rate_anew(s, row, node);
}

/* ---- rows ---- */
static void row_refresh(struct gt_sched *s, struct row *row)
{
	bool plain = !row->shape.labels[0] && !row->shape.exclusive;
	uint64_t behind = s->seq - row->cursor;

	if (behind == 0)
		return;
	if (behind <= s->n_nodes && row->cursor > 0) {
		for (uint64_t i = row->cursor + 1; i <= s->seq; i++) {
			uint32_t node = s->log[i & (s->log_cap - 1)];
			uint32_t ahead = s->state_of[s->log[(i + AHEAD) & (s->log_cap - 1)]];

			__builtin_prefetch(&row->memo[ahead & (STATES_MAX - 1)]);
			if (s->newest[node] == i)
				row->bytes[node] = rate(s, row, plain, node).byte;
		}
	} else {
		for (uint32_t i = 0; i < s->n_nodes; i++)
			if (s->newest[i] > row->cursor)
				row->bytes[i] = rate(s, row, plain, i).byte;
	}
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
		row->bytes = gt_alloc_array(s->cap_nodes, 1);
		row->memo = gt_alloc_array(STATES_MAX, sizeof(*row->memo));
	} else {
		for (size_t i = 1; i < s->n_rows; i++)
			if (s->rows[i].used < s->rows[oldest].used)
				oldest = i;
		row = &s->rows[oldest];
		memset(row->bytes, 0, s->cap_nodes);
		memset(row->memo, 0, STATES_MAX * sizeof(*row->memo));
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
