/* started.c - durable calls that a replica has now, as gateways tell. Nothing durable: one that is
 * not told runs all the same, and after a start of control gateways tell all of them anew. */
#include "task.h"

#include <stdlib.h>

struct gt_ctl_started {
	struct gt_task_start is;
	uint64_t session;
	UT_hash_handle hh; /* by seq */
};

static struct gt_ctl_started *started_at(const struct gt_control *c, uint64_t seq)
{
	struct gt_ctl_started *s = NULL;

	if (c->started)
		HASH_FIND(hh, c->started, &seq, sizeof(seq), s);
	return s;
}

static void forget(struct gt_control *c, struct gt_ctl_started *s)
{
	HASH_DEL(c->started, s);
	free(s);
}

void gt_ctl_started_drop(struct gt_control *c, uint64_t seq, uint32_t attempt)
{
	struct gt_ctl_started *s = started_at(c, seq);

	if (s && s->is.attempt <= attempt)
		forget(c, s);
}

static bool holds(const struct gt_task_op *op, uint64_t seq)
{
	return op->n_held && bsearch(&seq, op->held, op->n_held, sizeof(seq), gt_ctl_by_seq);
}

static void drop_lost(struct gt_control *c, const struct gt_task_op *op)
{
	struct gt_ctl_started *s, *next;

	HASH_ITER (hh, c->started, s, next)
		if (s->session == op->sessions[0].session && !holds(op, s->is.seq))
			forget(c, s);
}

void gt_ctl_started_take(struct gt_control *c, const struct gt_task_op *op)
{
	const struct gt_task_session *of = &op->sessions[0];

	if (op->full)
		drop_lost(c, op);
	for (size_t i = 0; i < op->n_starts; i++) {
		struct gt_ctl_started *s = started_at(c, op->starts[i].seq);

		if (s && s->is.attempt > op->starts[i].attempt)
			continue;
		if (!s) {
			s = gt_alloc(sizeof(*s));
			s->is.seq = op->starts[i].seq;
			HASH_ADD(hh, c->started, is.seq, sizeof(s->is.seq), s);
		}
		s->is = op->starts[i];
		s->session = of->session;
		gt_strcopy(s->is.gateway, sizeof(s->is.gateway), of->gateway);
		c->ports.on_task_changed(c->ports.ctx, s->is.id);
	}
	for (size_t i = 0; i < op->n_results; i++)
		gt_ctl_started_drop(c, op->results[i].seq, op->results[i].attempt);
}

void gt_ctl_started_session_end(struct gt_control *c, uint64_t session)
{
	struct gt_ctl_started *s, *next;

	HASH_ITER (hh, c->started, s, next)
		if (s->session == session)
			forget(c, s);
}

void gt_ctl_started_free(struct gt_control *c)
{
	struct gt_ctl_started *s, *next;

	HASH_ITER (hh, c->started, s, next)
		forget(c, s);
}

const struct gt_task_start *gt_control_task_start(const struct gt_control *c, uint64_t seq,
						  uint32_t attempt)
{
	const struct gt_ctl_started *s = started_at(c, seq);

	return s && s->is.attempt == attempt ? &s->is : NULL;
}
