/* fence.c - answers of control that wait until all shards know what they speak of. */
#include "calls.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <gantry/base/units.h>

static bool reached(const struct gt_heard *is, const struct gt_heard *needs)
{
	return is->epoch > needs->epoch || (is->epoch == needs->epoch && is->seq >= needs->seq);
}

/* Those that need no more go on, at the end of the loop's round. */
static void release(struct gt_gateway *gw)
{
	struct gt_fenced *f, *next;

	DL_FOREACH_SAFE (gw->fence.waiting, f, next) {
		if (f->over || !reached(&gw->fence.all, &f->needs))
			continue;
		f->over = true;
		gt_conn_kick(f->call->conn);
	}
}

/* ---- the letter ---- */

static void pass_on(struct gt_shards *shards, struct gt_fence *ask);
static void send_letter(struct gt_gateway *gw);

static void come_back(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct gt_fence *fence = GT_CONTAINER(m, struct gt_fence, mail);

	fence->out = false;
	if (gw->freeing)
		return;
	fence->all = fence->wanted;
	release(gw);
	send_letter(gw);
}

static void come_by(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	if (!gw->freeing)
		pass_on(gw->shards, GT_CONTAINER(m, struct gt_fence, mail));
}

static void pass_on(struct gt_shards *shards, struct gt_fence *ask)
{
	if (++ask->at == ask->from)
		ask->at++;
	bool last = ask->at >= shards->n;

	ask->mail.fn = last ? come_back : come_by;
	gt_shard_post(shards, last ? ask->from : ask->at, &ask->mail);
}

/* Shard 0 sends it behind all that it has heard of. */
static void set_out(struct gt_gateway *gw, struct gt_fence *ask)
{
	ask->wanted = gw->fence.heard;
	pass_on(gw->shards, ask);
}

static void come_first(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct gt_fence *ask = GT_CONTAINER(m, struct gt_fence, mail);

	if (gw->freeing)
		return;
	if (reached(&gw->fence.heard, &ask->wanted))
		set_out(gw, ask);
	else
		LL_PREPEND(gw->fence.asks, ask);
}

/* For who needs least; if it is not on its way. */
static void send_letter(struct gt_gateway *gw)
{
	struct gt_fence *fence = &gw->fence;
	const struct gt_fenced *f, *least = NULL;

	if (fence->out || !gw->shards)
		return;
	DL_FOREACH (fence->waiting, f)
		if (!f->over && (!least || reached(&least->needs, &f->needs)))
			least = f;
	if (!least)
		return;
	fence->wanted = least->needs;
	fence->out = true;
	fence->from = gw->shard;
	fence->at = 0;
	fence->mail.fn = come_first;
	gt_shard_post(gw->shards, 0, &fence->mail);
}

void gt_fence_heard(struct gt_gateway *gw, uint64_t seq)
{
	struct gt_fence *ask, *next;

	gw->fence.heard = (struct gt_heard){ gw->epoch, seq };
	if (!gw->shards) {
		gw->fence.all = gw->fence.heard;
		release(gw);
		return;
	}
	LL_FOREACH_SAFE (gw->fence.asks, ask, next) {
		if (!reached(&gw->fence.heard, &ask->wanted))
			continue;
		LL_DELETE(gw->fence.asks, ask);
		set_out(gw, ask);
	}
}

/* ---- an answer ---- */

/* "EPOCH.SEQ" of control, whose word is good; anything else needs nothing. */
static bool read_needs(const struct gt_h1 *resp, struct gt_heard *ret)
{
	const struct gt_h1_field *f = gt_h1_find(resp, GT_H1_GANTRY_ROUTES);
	char text[2 * GT_U64_SIZE + 2], *dot;

	if (!f || f->value.len >= sizeof(text))
		return false;
	memcpy(text, gt_h1_text(resp, f->value), f->value.len);
	text[f->value.len] = '\0';
	dot = strchr(text, '.');
	if (!dot)
		return false;
	*dot = '\0';
	return gt_parse_u64(text, UINT64_MAX, &ret->epoch) == 0 &&
	       gt_parse_u64(dot + 1, UINT64_MAX, &ret->seq) == 0;
}

bool gt_fence_holds(struct gt_call *call)
{
	struct gt_gateway *gw = call->gw;
	struct gt_heard needs;

	if (call->way != GT_WAY_CONTROL || !read_needs(&call->resp, &needs) ||
	    reached(&gw->fence.all, &needs))
		return false;
	struct gt_fenced *f = call->fenced = gt_alloc(sizeof(*f));

	f->call = call;
	f->needs = needs;
	f->since_ns = gt_gw_now(gw);
	gt_buf_init(&f->rest, GT_GW_BUFFER);
	DL_APPEND(gw->fence.waiting, f);
	gt_call_arm(call);
	send_letter(gw);
	return true;
}

void gt_fence_late(struct gt_call *call)
{
	gt_warn("gateway: a change was answered before all routes were told: control does not "
		"speak of them");
	call->fenced->over = true;
	gt_conn_kick(call->conn);
}

void gt_fence_free(struct gt_call *call)
{
	struct gt_fenced *f = gt_steal(&call->fenced);

	if (!f)
		return;
	DL_DELETE(call->gw->fence.waiting, f);
	gt_buf_fini(&f->rest);
	free(f);
}
