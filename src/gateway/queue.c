/* queue.c - the lines of classes, and what callers have behind them. */
#include "queue.h"

#include <stdlib.h>
#include <utlist.h>

/* Most functions have one caller; the table grows with them. */
#undef HASH_INITIAL_NUM_BUCKETS
#undef HASH_INITIAL_NUM_BUCKETS_LOG2
#define HASH_INITIAL_NUM_BUCKETS      4U
#define HASH_INITIAL_NUM_BUCKETS_LOG2 2U

#define IDLE_MAX 32 /* callers remembered though none of their calls waits */

static const unsigned weights[GT_CLASS_N] = {
	[GT_CLASS_HIGH] = 16,
	[GT_CLASS_NORMAL] = 4,
	[GT_CLASS_LOW] = 1,
};

/* ---- callers ---- */

static struct gt_caller *find(const struct gt_queue *q, uint64_t id)
{
	struct gt_caller *c = NULL;

	HASH_FIND(hh, q->callers, &id, sizeof(id), c);
	return c;
}

static void caller_free(struct gt_queue *q, struct gt_caller *c)
{
	DL_DELETE(q->idle, c);
	q->n_idle--;
	HASH_DEL(q->callers, c);
	free(c);
}

static struct gt_caller *caller_get(struct gt_queue *q, uint64_t id)
{
	struct gt_caller *c = find(q, id);

	if (!c) {
		c = gt_alloc(sizeof(*c));
		c->id = id;
		HASH_ADD(hh, q->callers, id, sizeof(c->id), c);
	} else if (!c->n) {
		DL_DELETE(q->idle, c);
		q->n_idle--;
	}
	return c;
}

void gt_queue_fini(struct gt_queue *q)
{
	while (q->idle)
		caller_free(q, q->idle);
}

uint32_t gt_queue_of(const struct gt_queue *q, uint64_t caller)
{
	const struct gt_caller *c = find(q, caller);

	return c ? c->n : 0;
}

uint32_t gt_queue_callers(const struct gt_queue *q)
{
	return HASH_COUNT(q->callers) - q->n_idle;
}

/* ---- lines ---- */

static void to_line(struct gt_queue *q, struct gt_waiter *w)
{
	DL_APPEND2(q->classes[w->class].line, w, line_prev, line_next);
	q->classes[w->class].in_line++;
	w->of->classes[w->class].in_line++;
	w->place = GT_IN_LINE;
}

static void to_behind(struct gt_queue *q, struct gt_waiter *w)
{
	struct gt_waiter **behind = &w->of->classes[w->class].behind;

	q->classes[w->class].backlogs += !*behind;
	DL_APPEND2(*behind, w, line_prev, line_next);
	w->place = GT_BEHIND;
}

static void from_behind(struct gt_queue *q, struct gt_waiter *w)
{
	struct gt_waiter **behind = &w->of->classes[w->class].behind;

	DL_DELETE2(*behind, w, line_prev, line_next);
	q->classes[w->class].backlogs -= !*behind;
}

void gt_queue_able(struct gt_queue *q, struct gt_waiter *w)
{
	w->able = true;
	if (w->place != GT_UNABLE)
		return;
	if (w->of->classes[w->class].in_line < GT_QUEUE_WINDOW)
		to_line(q, w);
	else
		to_behind(q, w);
}

static void count_in(struct gt_queue *q, struct gt_waiter *w)
{
	w->of = caller_get(q, w->caller);
	w->place = GT_UNABLE;
	w->of->n++;
	w->of->classes[w->class].n++;
	q->classes[w->class].n++;
}

void gt_queue_add(struct gt_queue *q, struct gt_waiter *w)
{
	count_in(q, w);
	if (w->able)
		gt_queue_able(q, w);
}

void gt_queue_put_back(struct gt_queue *q, struct gt_waiter *w)
{
	count_in(q, w);
	DL_PREPEND2(q->classes[w->class].line, w, line_prev, line_next);
	w->place = GT_IN_LINE;
	q->classes[w->class].in_line++;
	w->of->classes[w->class].in_line++; /* past its window, if need be */
	q->classes[w->class].credit++;
}

/* Out of the line, or from behind it; the caller's next one takes the place at the end. */
static void step_out(struct gt_queue *q, struct gt_waiter *w)
{
	struct gt_caller *c = w->of;
	struct gt_waiter *next;

	if (w->place == GT_BEHIND)
		from_behind(q, w);
	if (w->place != GT_IN_LINE)
		return;
	DL_DELETE2(q->classes[w->class].line, w, line_prev, line_next);
	q->classes[w->class].in_line--;
	c->classes[w->class].in_line--;
	next = c->classes[w->class].behind;
	if (!next || c->classes[w->class].in_line >= GT_QUEUE_WINDOW)
		return;
	from_behind(q, next);
	to_line(q, next);
}

void gt_queue_remove(struct gt_queue *q, struct gt_waiter *w)
{
	struct gt_caller *c = w->of;

	step_out(q, w);
	w->place = GT_UNABLE;
	w->of = NULL;
	q->classes[w->class].n--;
	c->classes[w->class].n--;
	if (--c->n)
		return;
	DL_APPEND(q->idle, c);
	if (++q->n_idle > IDLE_MAX)
		caller_free(q, q->idle);
}

/* ---- turns ---- */

/* The highest class with credit; when those that wait have none left, a new round begins. */
static int turn(struct gt_queue *q)
{
	int waits = -1;

	for (int i = 0; i < GT_CLASS_N; i++) {
		if (!q->classes[i].line)
			continue;
		if (q->classes[i].credit)
			return i;
		waits = waits < 0 ? i : waits;
	}
	for (int i = 0; waits >= 0 && i < GT_CLASS_N; i++)
		q->classes[i].credit = weights[i];
	return waits;
}

struct gt_waiter *gt_queue_first(struct gt_queue *q)
{
	int class = turn(q);

	return class < 0 ? NULL : q->classes[class].line;
}

void gt_queue_serve(struct gt_queue *q, struct gt_waiter *w)
{
	gt_queue_remove(q, w);
	q->classes[w->class].credit -= q->classes[w->class].credit > 0;
}

uint32_t gt_queue_ahead(const struct gt_queue *q, uint64_t caller, enum gt_class class)
{
	const struct gt_caller *own = find(q, caller);
	uint32_t mine = own ? own->classes[class].n : 0, line = q->classes[class].in_line,
		 ahead = 0;

	for (int i = 0; i < (int)class; i++)
		ahead += q->classes[i].n;
	if (mine < GT_QUEUE_WINDOW) /* straight to the end of the line */
		return ahead + line;
	/* With each of its own, one of every backlog is served; the others in the line once. */
	uint32_t backlogs = GT_MAX(q->classes[class].backlogs, 1u);

	return ahead + mine * backlogs + line - GT_MIN(line, backlogs * GT_QUEUE_WINDOW);
}
