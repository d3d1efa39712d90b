/* peer.c - the connections of nodes and gateways to control, and how they fail.
 *
 * Downward a watch: a stream in order, which begins with a snapshot; a cut delays it, until one of
 * the two sides gives it up. Upward posts, one at a time: one without an answer in time is taken as
 * lost, although it may have arrived, and the next one lists everything. */
#include "world_priv.h"

#include <stdlib.h>

static uint64_t delay_ns(struct gt_world *w)
{
	return gt_w_below(w, w->config.delay_us) * GT_NS_PER_US;
}

/* ---- the watch ---- */
static void control_notes(struct gt_world *w, struct w_peer *p, uint64_t conn)
{
	if (p->heard != conn)
		return; /* a newer one is open */
	p->heard = 0;
	if (!w->c)
		return;
	if (p->gateway)
		gt_control_gateway_down(w->c, p->name);
	else
		gt_control_node_down(w->c, p->name);
}

static void on_control_notes(struct gt_world *w, struct w_event *e)
{
	control_notes(w, e->who, e->a);
}

static void connect(struct gt_world *w, struct w_peer *p)
{
	p->conn = p->heard = ++w->conn_last;
	gt_w_mix(w, "connects", p->name, p->conn);
	if (p->gateway) {
		gt_w_gateway_snapshot(w, (struct w_gateway *)p);
		gt_control_gateway_up(w->c, p->name);
	} else {
		gt_w_agent_snapshot(w, (struct w_agent *)p);
		gt_control_node_up(w->c, p->name);
	}
}

static void dial(struct gt_world *w, struct w_event *e)
{
	struct w_peer *p = e->who;
	uint64_t closed_ns = GT_MAX(GT_MAX(p->cut_up_ns, p->cut_down_ns), p->back_ns);

	if (p->conn)
		return;
	if (w->c && closed_ns <= w->now_ns)
		connect(w, p);
	else
		gt_w_peer_dial(w, p, GT_MAX(closed_ns, w->now_ns + 100 * W_MS) - w->now_ns);
}

void gt_w_peer_dial(struct gt_world *w, struct w_peer *p, uint64_t in_ns)
{
	gt_w_at(w, w->now_ns + in_ns, dial)->who = p;
}

void gt_w_peer_break(struct gt_world *w, struct w_peer *p, uint64_t back_ms)
{
	uint64_t conn = p->conn;

	if (!conn)
		return;
	gt_w_mix(w, "breaks", p->name, back_ms);
	p->conn = 0;
	control_notes(w, p, conn);
	gt_w_peer_dial(w, p, back_ms * W_MS);
}

void gt_w_peer_crash(struct gt_world *w, struct w_peer *p, uint64_t back_ms, bool heard)
{
	uint64_t conn = p->conn;

	gt_w_mix(w, heard ? "crashes" : "loses power", p->name, back_ms);
	p->back_ns = w->now_ns + back_ms * W_MS;
	p->conn = 0;
	p->epoch = 0;
	p->posting = p->full = false;
	p->post = p->retry_ms = 0;
	if (conn && heard) {
		control_notes(w, p, conn);
	} else if (conn) {
		struct w_event *e = gt_w_at(w, w->now_ns + W_UNACKED_NS, on_control_notes);

		e->who = p;
		e->a = conn;
	}
	gt_w_peer_dial(w, p, back_ms * W_MS);
}

/* a: connection. The side that hears nothing gives it up, and the other one hears of that. */
static void on_silence(struct gt_world *w, struct w_event *e)
{
	struct w_peer *p = e->who;

	if (p->conn != e->a || p->cut_down_ns <= w->now_ns)
		return;
	gt_w_mix(w, "hears nothing", p->name, e->a);
	p->conn = 0;
	struct w_event *then = gt_w_at(w, GT_MAX(w->now_ns, p->cut_up_ns), on_control_notes);

	then->who = p;
	then->a = e->a;
	gt_w_peer_dial(w, p, 0);
}

static void on_unacked(struct gt_world *w, struct w_event *e)
{
	struct w_peer *p = e->who;

	if (p->heard != e->a || p->cut_up_ns <= w->now_ns)
		return;
	control_notes(w, p, e->a);
	if (p->conn != e->a)
		return;
	p->conn = 0;
	gt_w_peer_dial(w, p, 0);
}

static void later(struct gt_world *w, struct w_peer *p, uint64_t ns,
		  void (*fn)(struct gt_world *w, struct w_event *e))
{
	struct w_event *e = gt_w_at(w, w->now_ns + ns, fn);

	e->who = p;
	e->a = p->conn;
}

void gt_w_peer_cut(struct gt_world *w, struct w_peer *p, uint64_t up_ms, uint64_t down_ms)
{
	gt_w_mix(w, "is cut", p->name, up_ms << 32 ^ down_ms);
	p->cut_up_ns = GT_MAX(p->cut_up_ns, w->now_ns + up_ms * W_MS);
	p->cut_down_ns = GT_MAX(p->cut_down_ns, w->now_ns + down_ms * W_MS);
	if (!p->conn)
		return;
	later(w, p, W_SILENCE_NS, on_silence);
	later(w, p, W_UNACKED_NS, on_unacked);
}

struct w_event *gt_w_peer_tell(struct gt_world *w, struct w_peer *p,
			       void (*fn)(struct gt_world *w, struct w_event *e))
{
	uint64_t at_ns = GT_MAX(w->now_ns + delay_ns(w), p->cut_down_ns);

	p->down_at_ns = GT_MAX(p->down_at_ns, at_ns);
	struct w_event *e = gt_w_at(w, p->down_at_ns, fn);

	e->who = p;
	e->a = p->conn;
	return e;
}

bool gt_w_peer_hears(const struct w_peer *p, const struct w_event *e)
{
	return p->conn && p->conn == e->a;
}

/* ---- posts ---- */
struct post {
	struct w_peer *peer;
	uint64_t serial, sent_ns;
	bool unanswered;
	w_take_fn *take;
	void *msg;
	void (*msg_fini)(void *);
};

static void post_fini(void *arg)
{
	struct post *post = arg;

	post->msg_fini(post->msg);
	free(post->msg);
}

static void post_again(struct gt_world *w, struct w_peer *p)
{
	if (p->gateway)
		gt_w_gateway_post(w, (struct w_gateway *)p);
	else
		gt_w_agent_report(w, (struct w_agent *)p);
}

static void on_retry(struct gt_world *w, struct w_event *e)
{
	struct w_peer *p = e->who;

	if (p->post != e->a || !p->posting)
		return;
	p->posting = false;
	post_again(w, p);
}

/* a: serial of the post, b: it was taken */
static void on_answer(struct gt_world *w, struct w_event *e)
{
	struct w_peer *p = e->who;

	if (p->post != e->a || !p->posting)
		return;
	if (e->b) {
		if (!p->gateway)
			gt_w_agent_heard((struct w_agent *)p, p->sent_ns);
		p->posting = false;
		p->retry_ms = 0;
		post_again(w, p);
		return;
	}
	p->full = true; /* nobody knows what arrived of it */
	p->retry_ms = p->retry_ms ? GT_MIN(p->retry_ms * 2, (uint64_t)1000) : 10;
	struct w_event *retry = gt_w_at(w, w->now_ns + p->retry_ms * W_MS, on_retry);

	retry->who = p;
	retry->a = p->post;
}

static void answer(struct gt_world *w, const struct post *post, bool taken, uint64_t at_ns)
{
	uint64_t latest_ns = post->sent_ns + W_POST_TIMEOUT_NS;
	struct w_event *e = gt_w_at(w, GT_MIN(at_ns, latest_ns), on_answer);

	e->who = post->peer;
	e->a = post->serial;
	e->b = taken && at_ns <= latest_ns;
}

static void on_arrival(struct gt_world *w, struct w_event *e)
{
	const struct post *post = e->data;
	struct w_peer *p = post->peer;
	struct gt_err err = { 0 };
	bool taken = false;

	if (w->c) {
		int r = post->take(w->c, post->msg, &err);

		taken = r == 0;
		gt_w_mix(w, "post", p->name, (uint64_t)-r);
		if (r < 0 && r != -ESTALE)
			gt_w_break(w, "list", "%s", err.text);
	}
	uint64_t back_ns = GT_MAX(w->now_ns + delay_ns(w), p->cut_down_ns);

	if (post->unanswered)
		answer(w, post, false, w->now_ns + gt_w_below(w, W_POST_TIMEOUT_NS));
	else
		answer(w, post, taken, back_ns);
}

void gt_w_peer_post(struct gt_world *w, struct w_peer *p, w_take_fn *take, void *msg,
		    void (*msg_fini)(void *))
{
	struct post *post = gt_alloc(sizeof(*post));
	uint64_t at_ns = GT_MAX(w->now_ns + delay_ns(w), p->cut_up_ns);

	*post = (struct post){ .peer = p,
			       .serial = ++w->serial,
			       .sent_ns = w->now_ns,
			       .take = take,
			       .msg = msg,
			       .msg_fini = msg_fini };
	p->posting = true;
	p->sent_ns = w->now_ns;
	p->post = post->serial;
	bool fails = gt_w_chance(w, w->posts_fail_permille);

	post->unanswered = fails && gt_w_chance(w, 500); /* arrives, and is sent once more */
	if ((fails && !post->unanswered) || at_ns > post->sent_ns + W_POST_TIMEOUT_NS) {
		answer(w, post, false,
		       fails ? w->now_ns + gt_w_below(w, W_POST_TIMEOUT_NS) : W_NEVER);
		post_fini(post);
		free(post);
		return;
	}
	struct w_event *e = gt_w_at(w, at_ns, on_arrival);

	e->data = post;
	e->data_fini = post_fini;
}

/* ---- faults ---- */
void gt_world_posts_fail(struct gt_world *w, unsigned permille)
{
	w->posts_fail_permille = permille;
}

void gt_world_node_cut(struct gt_world *w, size_t node, uint64_t up_ms, uint64_t down_ms)
{
	gt_w_peer_cut(w, &w->agents[node].peer, up_ms, down_ms);
}

void gt_world_gateway_cut(struct gt_world *w, size_t gateway, uint64_t up_ms, uint64_t down_ms)
{
	gt_w_peer_cut(w, &w->gateways[gateway].peer, up_ms, down_ms);
}
