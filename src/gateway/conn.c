/* conn.c - client connections: bytes in and out, requests cut from them, time-outs. */
#include "calls.h"
#include "cluster.h"
#include "handover.h"
#include "proxy.h"
#include "splice.h"
#include "tls.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define EXCHANGES_MAX 256
#define LOOKED_AT_MAX 64 /* connections, for one to give way */
#define FULL_TOLD_MS  60000
#define PUMP_ROUNDS   16 /* reads of one connection before others get their turn */

static void on_timer(void *arg);

/* Each call moves it to later, and none but the first and one a minute sets the timer for it. */
void gt_conn_arm(struct gt_conn *c, uint64_t delay_ms)
{
	c->due_ns = gt_gw_now(c->gw) + delay_ms * GT_NS_PER_MS;
	if (!gt_timer_is_set(&c->timer) || c->timer.due_ns > c->due_ns)
		gt_timer_set_at(c->gw->loop, &c->timer, c->due_ns, on_timer, c);
}

/* ---- its exchange ---- */

static void wake(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;
	struct gt_exchange *x = gw->exchanges;

	if (c->x)
		return;
	if (x) {
		gw->exchanges = x->next;
		gw->n_exchanges--;
	} else {
		x = gt_alloc(sizeof(*x));
		gt_h1_init(&x->req, GT_H1_REQUEST);
		gt_buf_init(&x->in, 2 * GT_GW_BUFFER);
		gt_outq_init(&x->out, 8 * GT_GW_BUFFER, &gw->queues);
	}
	x->progress_ns = gt_gw_now(gw);
	c->x = x;
}

static void free_exchange(struct gt_exchange *x)
{
	gt_h1_fini(&x->req);
	free(x);
}

static void give_up_exchange(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;
	struct gt_exchange *x = gt_steal(&c->x);

	if (!x)
		return;
	gt_gw_buffered_add(gw, -(int64_t)x->accounted);
	x->accounted = 0;
	x->bound = 0;
	gt_h1_reset(&x->req);
	gt_buf_fini(&x->in);
	gt_outq_clear(&x->out);
	free(gt_steal(&x->proxy));
	x->shake_prev = x->shake_next = NULL;
	if (gw->n_exchanges == EXCHANGES_MAX) {
		free_exchange(x);
		return;
	}
	x->next = gw->exchanges;
	gw->exchanges = x;
	gw->n_exchanges++;
}

void gt_conn_free_exchanges(struct gt_gateway *gw)
{
	struct gt_exchange *x;

	while ((x = gw->exchanges)) {
		gw->exchanges = x->next;
		free_exchange(x);
	}
}

static bool idle(const struct gt_conn *c)
{
	return c->state == GT_CONN_HEAD && !gt_outq_unsent(&c->x->out) && !c->x->in.len &&
	       !gt_h1_started(&c->x->req);
}

/* Counts what this connection holds in memory; returns false when the gateway holds too much. */
static bool account(struct gt_conn *c)
{
	size_t now = c->x->out.buf.cap + c->x->in.cap + c->x->req.head_cap;

	if (c->call)
		now += c->call->upq.buf.cap + c->call->resp.head_cap + gt_sse_size(c->call) +
		       (c->call->fenced ? c->call->fenced->rest.cap : 0);
	bool grew = now > c->x->accounted;

	if (now != c->x->accounted)
		gt_gw_buffered_add(c->gw, (int64_t)now - (int64_t)c->x->accounted);
	c->x->accounted = now;
	return !grew || gt_gw_buffered(c->gw) <= c->gw->cfg.memory_bytes;
}

void gt_conn_close(struct gt_conn *c)
{
	if (c->closed)
		return;
	c->closed = true;
	if (c->state == GT_CONN_HANDSHAKE)
		gt_conn_shaken(c, false);
	if (c->call)
		gt_call_finish(c->call);
	gt_timer_clear(c->gw->loop, &c->timer);
	gt_sock_close(&c->sock);
	c->cluster = false;
	give_up_exchange(c);
	DL_DELETE(c->gw->conns, c);
	gt_gw_bury(c->gw, &c->grave);
	gt_gw_conn_gone(c->gw);
}

void gt_conn_give(struct gt_conn *c, struct gt_sock *to)
{
	c->gw->port->sock->unwatch(&c->sock);
	*to = c->sock;
	if (to->layer)
		gt_tls_moved(to);
	c->sock = (struct gt_sock){ .ops = c->gw->port->sock, .fd = -1 };
	c->cluster = false;
	gt_conn_close(c);
}

/* When it began to wait for a whole head; 0 = it does not wait for one. */
static uint64_t waits_since_ns(const struct gt_conn *c)
{
	bool started = c->x && gt_h1_started(&c->x->req);

	if (c->state != GT_CONN_HEAD || (c->x && gt_outq_unsent(&c->x->out)))
		return 0;
	return c->due_ns - (started ? GT_GW_HEAD_MS : GT_GW_IDLE_MS) * GT_NS_PER_MS;
}

/* Those looked at go to the end, so that the next search looks at others. */
struct gt_conn *gt_conn_idlest(struct gt_gateway *gw, size_t holding)
{
	struct gt_conn *idlest = NULL;
	unsigned n = GT_MIN(gw->n_conns, LOOKED_AT_MAX);

	for (unsigned i = 0; i < n; i++) {
		struct gt_conn *c = gw->conns;

		DL_DELETE(gw->conns, c);
		DL_APPEND(gw->conns, c);
		if (!waits_since_ns(c) || (c->x ? c->x->accounted : 0) < holding)
			continue;
		if (!idlest || waits_since_ns(c) < waits_since_ns(idlest))
			idlest = c;
	}
	return idlest;
}

static void tell_full(struct gt_gateway *gw)
{
	uint64_t now_ns = gt_gw_now(gw);

	if (gw->full_told_ns && now_ns - gw->full_told_ns < FULL_TOLD_MS * GT_NS_PER_MS)
		return;
	gw->full_told_ns = now_ns;
	gt_warn("gateway: buffers are full (limit %llu bytes): connections are cut, those whose "
		"heads do not end first",
		(unsigned long long)gw->cfg.memory_bytes);
}

/* Another shard has none that could give way. Some more go than it asks for, as it does not know of
 * the last few bytes here. */
static void give_way(struct gt_gateway *gw)
{
	size_t most = gw->cfg.memory_bytes / 20 * 17;
	struct gt_conn *c;

	while (gt_gw_buffered(gw) > most && (c = gt_conn_idlest(gw, 1)))
		gt_conn_close(c);
}

bool gt_conn_make_room(struct gt_gateway *gw, size_t bytes_max)
{
	struct gt_conn *c;

	while (gt_gw_buffered(gw) > bytes_max && (c = gt_conn_idlest(gw, 1))) {
		tell_full(gw);
		gt_conn_close(c);
	}
	if (gt_gw_buffered(gw) <= bytes_max)
		return true;
	if (gw->asked_room_ns != gt_gw_now(gw))
		gt_shards_tell(gw, give_way);
	gw->asked_room_ns = gt_gw_now(gw);
	return false;
}

static void linger(struct gt_conn *c)
{
	c->state = GT_CONN_LINGER;
	c->again = true;
	gt_conn_arm(c, GT_GW_STALL_MS);
}

/* After a complete exchange: the next request, or the end. */
void gt_conn_next(struct gt_conn *c)
{
	if (!c->keep) {
		linger(c);
		return;
	}
	gt_h1_reset(&c->x->req);
	c->state = GT_CONN_HEAD;
	c->again = true;
	gt_conn_arm(c, GT_GW_IDLE_MS);
}

/* What came is no request that a call could be made of: answered, and closed, as what follows can
 * not be found. */
void gt_conn_refuse(struct gt_conn *c, const struct gt_refusal *why)
{
	char id[GT_GW_REQUEST_ID + 1];

	c->keep = false;
	gt_request_id_make(c->gw, NULL, id);
	gt_gw_count_refusal(c->gw, NULL, why->slug);
	gt_access_no_call(c, why->slug, id);
	if (gt_answer_problem(c, why, id, false) < 0)
		gt_conn_close(c);
	else
		linger(c);
}

static void refuse_bad(struct gt_conn *c)
{
	struct gt_refusal why = GT_REFUSAL(c->x->req.slug, c->x->req.why);

	c->keep = false;
	if (c->call)
		gt_call_refuse(c->call, &why);
	else
		gt_conn_refuse(c, &why);
}

static bool request_complete(const struct gt_conn *c)
{
	return c->state == GT_CONN_CALL && c->call && c->call->req_done;
}

/* Feeds bytes of the client; stops at the end of a request whose call still runs. Returns how many
 * were used. */
static size_t feed(struct gt_conn *c, const char *data, size_t len)
{
	size_t at = 0;

	while (!c->closed && c->state != GT_CONN_LINGER && !request_complete(c) && !c->x->bound) {
		bool fresh = c->state == GT_CONN_HEAD && !gt_h1_started(&c->x->req);
		struct gt_h1_body body;
		size_t used;
		enum gt_h1_event ev = gt_h1_feed(&c->x->req, data + at, len - at, &used, &body);

		at += used;
		if (ev == GT_H1_MORE) {
			if (fresh && gt_h1_started(&c->x->req))
				gt_conn_arm(c, GT_GW_HEAD_MS);
			break;
		}
		if (ev == GT_H1_BAD) {
			refuse_bad(c);
		} else if (ev == GT_H1_HEAD) {
			c->fresh = false;
			c->keep = c->x->req.keep_alive &&
				  (!c->gw->quiescing ||
				   (c->gw->handover.yielding && !c->tls && !c->cluster));
			c->state = GT_CONN_CALL;
			gt_conn_arm(c, GT_GW_STALL_MS);
			gt_call_begin(c);
		} else if (ev == GT_H1_DATA) {
			gt_call_body(c->call, body.data, body.len);
		} else {
			gt_call_body_end(c->call);
		}
	}
	return at;
}

static size_t wanted(const struct gt_conn *c)
{
	size_t unsent = gt_outq_unsent(&c->x->out);

	if (c->state == GT_CONN_LINGER)
		return unsent ? 0 : sizeof(c->gw->scratch);
	if (c->state == GT_CONN_HEAD)
		return unsent < GT_GW_BUFFER ? 16 * GT_KIB : 0;
	return gt_call_body_room(c->call);
}

static bool client_ended(struct gt_conn *c)
{
	if (c->state == GT_CONN_CALL && c->call->state == GT_CALL_TUNNEL) {
		c->call->tunnel_up_eof = true;
		return true;
	}
	if (c->state == GT_CONN_HEAD && gt_outq_unsent(&c->x->out)) {
		linger(c); /* it may still read the last answer */
		return true;
	}
	gt_conn_close(c);
	return false;
}

static void take(struct gt_conn *c, const char *data, size_t len)
{
	c->x->progress_ns = gt_gw_now(c->gw);
	if (c->state == GT_CONN_LINGER)
		return;
	if (data[0] == GT_TLS_FIRST_BYTE && c->fresh && !c->tls && !gt_h1_started(&c->x->req)) {
		gt_conn_greeted(c, data, len);
		return;
	}
	size_t used = feed(c, data, len);

	if (!c->closed && used < len && c->state != GT_CONN_LINGER &&
	    gt_buf_add(&c->x->in, data + used, len - used) < 0)
		gt_conn_close(c);
}

/* Bytes of an upgraded connection pass unread. */
static void take_tunnel(struct gt_conn *c, const char *data, size_t len)
{
	struct iovec part = { (char *)data, len };

	c->x->progress_ns = gt_gw_now(c->gw);
	if (gt_outq_add(&c->call->upq, &part, 1) < 0)
		gt_conn_close(c);
}

/* Reads nothing of what follows the header. */
static bool read_proxy(struct gt_conn *c)
{
	char piece[512];
	ssize_t n = gt_sock_read(&c->sock, piece,
				 GT_MIN(gt_proxy_wants(c->x->proxy), sizeof(piece)));

	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		gt_conn_close(c);
		return false;
	}
	enum gt_proxy_event ev = gt_proxy_feed(c->x->proxy, piece, (size_t)n);

	if (ev == GT_PROXY_BAD) {
		struct gt_refusal why = GT_REFUSAL("malformed_request", c->x->proxy->why);

		gt_conn_refuse(c, &why);
	} else if (ev == GT_PROXY_DONE) {
		if (c->x->proxy->peer[0])
			gt_strcopy(c->peer, INET6_ADDRSTRLEN, c->x->proxy->peer);
		free(gt_steal(&c->x->proxy));
		gt_conn_begin(c);
	}
	return !c->closed;
}

static bool read_client(struct gt_conn *c)
{
	if ((!c->sock.can_read && !c->x->in.len) || c->x->bound)
		return false;
	if (c->state == GT_CONN_PROXY)
		return read_proxy(c);
	if (c->state == GT_CONN_HANDSHAKE)
		return gt_conn_shake(c);
	size_t room = GT_MIN(wanted(c), sizeof(c->gw->scratch));
	bool tunnel = c->state == GT_CONN_CALL && c->call->state == GT_CALL_TUNNEL;

	if (!room)
		return false;
	if (c->x->in.len) {
		size_t n = GT_MIN(room, c->x->in.len);
		gt_auto(buf) struct gt_buf in = c->x->in;

		gt_buf_init(&c->x->in, c->x->in.max);
		if (tunnel)
			take_tunnel(c, in.data, n);
		else
			take(c, in.data, n);
		if (!c->closed && n < in.len && gt_buf_add(&c->x->in, in.data + n, in.len - n) < 0)
			gt_conn_close(c);
		/* Nothing moved when the rest of a request is still to come. */
		return !c->closed && c->x->in.len != in.len;
	}
	ssize_t n = gt_sock_read(&c->sock, c->gw->scratch, room);

	if (n == -EAGAIN)
		return false;
	if (n == 0)
		return client_ended(c);
	if (n < 0) {
		gt_conn_close(c);
		return false;
	}
	if (tunnel)
		take_tunnel(c, c->gw->scratch, (size_t)n);
	else
		take(c, c->gw->scratch, (size_t)n);
	return true;
}

/* true = there is room again that there was not before. */
static bool flush_client(struct gt_conn *c)
{
	size_t before = gt_outq_unsent(&c->x->out);

	if (before && gt_sock_send(&c->sock, &c->x->out, NULL, 0) < 0) {
		gt_conn_close(c);
		return false;
	}
	size_t after = gt_outq_unsent(&c->x->out);

	if (after < before)
		c->x->progress_ns = gt_gw_now(c->gw);
	if (after || c->state != GT_CONN_LINGER)
		return after < before;
	/* All is sent. Unread bytes would turn our close into a reset that can overtake the answer:
	 * close only our side and read on until the client closes its own. */
	if (c->whole && !c->x->in.len && !c->sock.can_read) {
		gt_conn_close(c);
	} else if (!c->shut) {
		c->shut = true;
		gt_buf_fini(&c->x->in);
		c->sock.ops->shut(&c->sock);
		gt_conn_arm(c, GT_GW_LINGER_MS);
	}
	return after < before && !c->closed;
}

/* Half of a tunnel may end alone; then nothing is read that would tell of a failure. */
static bool client_left(const struct gt_conn *c)
{
	if (c->state != GT_CONN_CALL || !c->call)
		return false;
	return c->call->state == GT_CALL_TUNNEL ? c->sock.failed : c->sock.hup;
}

static void run_later(void *arg)
{
	struct gt_conn *c = arg;

	c->kicked = false;
	if (!c->closed)
		gt_conn_run(c);
}

void gt_conn_kick(struct gt_conn *c)
{
	if (c->kicked || c->closed)
		return;
	c->kicked = true;
	gt_loop_defer(c->gw->loop, run_later, c);
}

static bool run_once(struct gt_conn *c)
{
	bool moved = false;

	c->again = false;
	if (client_left(c)) {
		gt_conn_close(c);
		return false;
	}
	if (c->call && c->call->up)
		moved |= gt_relay_read(c->call);
	if (!c->closed)
		moved |= flush_client(c);
	if (!c->closed)
		moved |= read_client(c);
	if (!c->closed && c->call)
		moved |= gt_relay_flush(c->call);
	return moved || c->again;
}

/* A call that no replica has seen yet can still be answered. */
static bool refuse_for_memory(struct gt_conn *c)
{
	struct gt_refusal why = GT_REFUSAL("overloaded", "the gateway's buffers are full");

	if (!c->call || c->call->state >= GT_CALL_SENT)
		return false;
	why.retry_after_s = 1;
	gt_call_refuse(c->call, &why);
	return true;
}

void gt_conn_run(struct gt_conn *c)
{
	unsigned rounds = 0;

	if (c->running) {
		c->again = true;
		return;
	}
	c->running = true;
	wake(c);
	while (!c->closed && !c->x->bound && run_once(c))
		if (++rounds == PUMP_ROUNDS) {
			gt_conn_kick(c); /* others first */
			break;
		}
	c->running = false;
	if (!c->closed && c->x->bound)
		gt_conn_move(c);
	if (c->closed)
		return;
	if (!account(c) && !gt_conn_make_room(c->gw, c->gw->cfg.memory_bytes) &&
	    !refuse_for_memory(c)) {
		tell_full(c->gw);
		gt_conn_close(c);
	}
	if (c->closed)
		return;
	if (!idle(c))
		return;
	if (c->gw->quiescing && gt_handover_client(c) == GT_HAND_NOT)
		gt_conn_close(c);
	if (c->closed)
		return;
	give_up_exchange(c);
	gt_listeners_room(c->gw); /* it could give way */
}

static size_t unsent(const struct gt_conn *c)
{
	return gt_outq_unsent(&c->x->out) + (c->call ? gt_outq_unsent(&c->call->upq) : 0);
}

/* Reads before anything is written: a peer that is woken by the first of many messages finds the
 * others on its way, where it would sleep again after each. Waking one costs as much as a message.
 */
void gt_conn_hear(struct gt_conn *c)
{
	if (c->running) {
		c->again = true;
		return;
	}
	c->running = true;
	wake(c);
	if (client_left(c))
		gt_conn_close(c);
	if (!c->closed && c->call && c->call->up)
		gt_relay_read(c->call);
	if (!c->closed)
		read_client(c);
	c->running = false;
	if (c->closed)
		return;
	if (unsent(c) > GT_GW_LATER)
		gt_conn_run(c);
	else
		gt_conn_kick(c);
}

void gt_conn_look(struct gt_conn *c)
{
	c->sock.can_read = true;
	gt_conn_hear(c);
}

bool gt_conn_waits_in_vain(struct gt_conn *c)
{
	gt_conn_look(c);
	return !c->closed && waits_since_ns(c) > 0;
}

static void on_event(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_conn *c = arg;
	struct gt_gateway *gw = c->gw;

	(void)w;
	gt_sock_told(&c->sock, events);
	gt_conn_hear(c);
	gt_listeners_look(gw);
}

/* ---- from one shard to another ---- */

void gt_conn_go(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;

	gt_timer_clear(gw->loop, &c->timer);
	gw->port->sock->unwatch(&c->sock);
	gt_gw_buffered_add(gw, -(int64_t)c->x->accounted);
	c->x->accounted = 0;
	DL_DELETE(gw->conns, c);
	gw->n_conns--;
}

void gt_conn_come(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;

	DL_APPEND(gw->conns, c);
	gw->n_conns++;
	gt_timer_set_at(gw->loop, &c->timer, c->due_ns, on_timer, c);
	if (gw->freeing || gw->port->sock->watch(&c->sock, gw->loop, on_event, c, NULL) < 0)
		gt_conn_close(c);
}

/* ---- time-outs ---- */

/* While a call runs: is it the client that everything waits for? */
static void watchdog(struct gt_conn *c)
{
	uint64_t now_ns = gt_gw_now(c->gw), limit_ns = GT_GW_STALL_MS * GT_NS_PER_MS;
	bool owes_bytes = c->call && !c->call->req_done && c->call->state != GT_CALL_HELD &&
			  c->call->state < GT_CALL_STREAM && gt_call_body_room(c->call);
	bool owes_reading = gt_outq_unsent(&c->x->out) > 0 ||
			    (c->call && gt_splice_unsent(c->call) > 0);
	struct gt_refusal why = GT_REFUSAL("request_timeout", "the body stopped coming for 60 s");

	if ((!owes_bytes && !owes_reading) || now_ns < c->x->progress_ns) {
		gt_conn_arm(c, GT_GW_STALL_MS);
	} else if (now_ns - c->x->progress_ns < limit_ns) {
		gt_conn_arm(c, (c->x->progress_ns + limit_ns - now_ns) / GT_NS_PER_MS + 1);
	} else if (owes_reading || !c->call) {
		gt_conn_close(c);
	} else {
		gt_call_refuse(c->call, &why);
		gt_conn_kick(c);
	}
}

static void on_timer(void *arg)
{
	struct gt_conn *c = arg;
	struct gt_refusal why = GT_REFUSAL("request_timeout", "the head took longer than 10 s");

	if (gt_gw_now(c->gw) < c->due_ns) {
		gt_timer_set_at(c->gw->loop, &c->timer, c->due_ns, on_timer, c);
		return;
	}
	wake(c);
	if (c->state == GT_CONN_CALL ||
	    (c->state == GT_CONN_LINGER && gt_outq_unsent(&c->x->out))) {
		watchdog(c);
	} else if (c->state == GT_CONN_LINGER || !gt_h1_started(&c->x->req)) {
		gt_conn_close(c);
	} else {
		gt_conn_refuse(c, &why);
		gt_conn_run(c);
	}
}

static struct gt_conn *open_with(struct gt_gateway *gw, int fd GT_TAKES, const char *peer,
				 size_t peer_size)
{
	struct gt_conn *c = gt_alloc(offsetof(struct gt_conn, peer) + peer_size);

	c->gw = gw;
	gt_strcopy(c->peer, peer_size, peer);
	if (gt_sock_open(&c->sock, gw->port->sock, gw->loop, fd, on_event, c, NULL) < 0) {
		free(c);
		return NULL;
	}
	DL_APPEND(gw->conns, c);
	gt_gw_conns_add(gw, 1);
	gw->stats.accepted++;
	gt_demander_counted(gw);
	c->state = GT_CONN_HEAD;
	gt_conn_arm(c, GT_GW_IDLE_MS);
	return c;
}

struct gt_conn *gt_conn_open(struct gt_gateway *gw, int fd GT_TAKES, const char *peer)
{
	return open_with(gw, fd, peer, strlen(peer) + 1);
}

#define NO_FD INT_MAX /* open, for who asks; nobody uses it */

struct gt_conn *gt_conn_open_task(struct gt_gateway *gw, const struct gt_sock_ops *ops,
				  struct gt_task_run *run)
{
	struct gt_conn *c = gt_alloc(offsetof(struct gt_conn, peer) + 1);

	c->gw = gw;
	c->task = run;
	(void)!gt_sock_open(&c->sock, ops, gw->loop, NO_FD, on_event, c, NULL);
	DL_APPEND(gw->conns, c);
	gt_gw_conns_add(gw, 1);
	c->state = GT_CONN_HEAD;
	gt_conn_arm(c, GT_GW_IDLE_MS);
	return c;
}

struct gt_conn *gt_conn_accept(struct gt_listener *l, int fd GT_TAKES, const char *peer)
{
	bool proxy = gt_listener_is_proxy(l, peer);
	struct gt_conn *c = open_with(l->gw, fd, peer, proxy ? INET6_ADDRSTRLEN : strlen(peer) + 1);

	if (!c)
		return NULL;
	c->tls = l->tls;
	c->fresh = !l->door;
	c->cluster = l->door;
	if (proxy || c->tls)
		wake(c);
	if (!proxy) {
		gt_conn_begin(c);
		return c;
	}
	c->state = GT_CONN_PROXY;
	c->x->proxy = gt_alloc(sizeof(*c->x->proxy));
	gt_proxy_begin(c->x->proxy);
	gt_conn_arm(c, GT_GW_HEAD_MS);
	return c;
}
