/* lend.c - slots of one replica that two gateways share while one takes the other's place. The old
 * one has a quota: what its calls have, and what it is lent. The rest is the new one's. */
#include "fn.h"

#include <utlist.h>

/* What others have of it is not in a quota: the new one counts that, too, before it lends. */
static uint32_t taken(const struct gt_target *t)
{
	return t->in_flight + (t->fn->yields ? 0 : t->elsewhere);
}

uint32_t gt_target_room(const struct gt_target *t)
{
	uint32_t most = t->fn->yields ? t->quota : gt_fn_slots(t->fn);

	return gt_target_serves(t) && taken(t) < most ? most - taken(t) : 0;
}

bool gt_target_drained(const struct gt_target *t)
{
	return t->draining && !t->in_flight && !t->elsewhere;
}

static void change(struct gt_target *t, uint32_t *part, uint32_t n)
{
	uint32_t before = gt_target_room(t);

	*part = n;
	t->fn->n_free += gt_target_room(t) - before;
}

void gt_fn_yield(struct gt_fn *fn)
{
	struct gt_target *t;

	fn->yields = true;
	fn->n_free = 0;
	DL_FOREACH (fn->targets, t)
		t->quota = t->in_flight;
}

void gt_fn_own_all(struct gt_fn *fn)
{
	struct gt_target *t;

	fn->yields = false;
	fn->wanted_elsewhere = 0;
	fn->n_free = 0;
	DL_FOREACH (fn->targets, t) {
		t->elsewhere = 0;
		fn->n_free += gt_target_room(t);
	}
	gt_fn_forget_gone(fn);
}

uint32_t gt_target_give(struct gt_target *t)
{
	uint32_t n = 0;

	if (t->fn->yields && (!t->fn->n_waiting || !gt_target_serves(t)))
		n = t->quota - GT_MIN(t->quota, taken(t));
	if (n)
		change(t, &t->quota, t->quota - n);
	return n;
}

void gt_target_lent(struct gt_target *t)
{
	if (t->fn->yields)
		change(t, &t->quota, t->quota + 1);
}

void gt_target_held(struct gt_target *t, uint32_t n)
{
	change(t, &t->elsewhere, n);
}

struct gt_target *gt_fn_lend(struct gt_fn *fn, uint64_t now_ns)
{
	const struct gt_waiter anyone = { .queued = false };
	struct gt_target *t = fn->wanted_elsewhere && fn->n_free ? gt_fn_choose(fn, &anyone, now_ns)
								 : NULL;

	if (t)
		fn->wanted_elsewhere--;
	return t;
}
