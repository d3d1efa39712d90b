/* cluster.c - what nodes and control may do through this gateway. Whoever gets here has shown a
 * certificate of the cluster, or came by control's own socket, or may join and nothing else. */
#include "cluster.h"
#include "calls.h"
#include "holds.h"
#include "leader.h"
#include "nodes.h"
#include "tls.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utlist.h>

#define JOIN_BODY_MAX ((uint64_t)64 * GT_KIB)

static void refuse(struct gt_call *call, const char *slug, const char *detail)
{
	struct gt_refusal why = GT_REFUSAL(slug, detail);

	gt_call_refuse(call, &why);
}

static void refuse_for_now(struct gt_call *call, const char *detail)
{
	struct gt_refusal why = GT_REFUSAL("unavailable", detail);

	why.retry_after_s = 1;
	gt_call_refuse(call, &why);
}

/* ---- who it is ---- */

/* It lies with the layer of TLS, so that other connections have no place for it. */
const struct gt_cluster_peer *gt_cluster_peer(const struct gt_conn *c)
{
	static const struct gt_cluster_peer control = { .kind = GT_CLUSTER_CONTROL,
							.until_ns = UINT64_MAX };

	return c->sock.layer ? gt_tls_kept(&c->sock) : &control;
}

/* Of the loop's time, which goes on when the host's clock is set. */
static uint64_t end_of(const struct gt_gateway *gw, uint64_t not_after_ms)
{
	uint64_t wall_ms = gt_wall_ms(gt_loop_clock(gw->loop));

	return gt_gw_now(gw) + (not_after_ms - GT_MIN(wall_ms, not_after_ms)) * GT_NS_PER_MS;
}

static enum gt_cluster_kind kind_of(struct gt_gateway *gw, const struct gt_pki_id *id)
{
	if (id->kind == GT_PKI_GATEWAY && gw->cfg.lead_path)
		return GT_CLUSTER_GATEWAY;
	return gt_node_of(gw, id) ? GT_CLUSTER_NODE : GT_CLUSTER_REMOVED;
}

bool gt_cluster_greet(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;
	struct gt_pki_id id = { 0 };
	struct gt_err err = { 0 };
	int r = gt_tls_peer(&c->sock, &id, &err);

	if (r < 0) {
		gt_debug("gateway: %s: %s", c->peer, err.text);
		return false;
	}
	if (r > 0 && id.kind == GT_PKI_NODE && !gw->synced && !gt_follows(gw))
		return false; /* who joined is not known yet */
	struct gt_cluster_peer *who = gt_alloc(sizeof(*who));

	*who = (struct gt_cluster_peer){ .kind = r > 0 ? kind_of(gw, &id) : GT_CLUSTER_STRANGER,
					 .until_ns = r > 0 ? end_of(gw, id.not_after_ms)
							   : UINT64_MAX,
					 .id = id };
	gt_tls_keep(&c->sock, who);
	c->cluster = true;
	gw->port->guard(c->sock.fd);
	return true;
}

uint64_t gt_cluster_until_ns(const struct gt_call *call)
{
	const struct gt_conn *c = call->conn;

	return c->cluster ? gt_cluster_peer(c)->until_ns : UINT64_MAX;
}

/* ---- what it wants ---- */

struct gt_cluster_path gt_cluster_path(const struct gt_call *call)
{
	const struct gt_h1 *req = &call->conn->x->req;

	return gt_cluster_path_read(gt_cluster_peer(call->conn), gt_h1_text(req, req->target),
				    req->target.len);
}

static void pass_on(struct gt_call *call, enum gt_way way)
{
	call->way = way;
	if (call->gw->quiescing) {
		refuse_for_now(call, "this gateway ends: ask again");
	} else if (gt_head_up(call) < 0) {
		refuse(call, "internal", "the head could not be passed on");
	} else {
		gt_call_want_body(call);
		gt_relay_connect(call);
	}
}

static bool wants(const struct gt_h1 *req, const char *word)
{
	const struct gt_h1_field *f = gt_h1_find(req, GT_H1_UPGRADE);

	return gt_h1_is(req, req->method, "GET") && req->framing == GT_H1_NO_BODY && f && f->hop &&
	       f->value.len == strlen(word) &&
	       !strncasecmp(gt_h1_text(req, f->value), word, strlen(word));
}

/* It waits here from now on. Nothing that the node may have sent behind its request is kept: it has
 * nothing to say before it is asked. */
static void become_pipe(struct gt_call *call)
{
	struct gt_gateway *gw = call->gw;
	struct gt_conn *c = call->conn;
	struct gt_node *node = gt_node_of(gw, &gt_cluster_peer(c)->id);
	gt_auto(buf) struct gt_buf head = { 0 };

	if (!node) { /* it was removed while the connection came here */
		gt_conn_close(c);
		return;
	}
	if (gw->quiescing) {
		refuse_for_now(call, "this gateway ends: ask again");
		return;
	}
	gt_node_door(node, call);
	gt_buf_addf(&head,
		    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
		    "Upgrade: gantry-pipe\r\nGantry-Shards: %u\r\n",
		    gw->shards ? gw->shards->n : 1);
	gt_nodes_doors(gw, &head);
	gt_buf_adds(&head, "\r\n");
	call->status = 101;
	const struct iovec iov = { head.data, head.len };

	/* So little fits, or something is wrong with it. One that came from another shard was not
	 * told yet that it has room. */
	if (c->sock.ops->write(&c->sock, &iov, 1) != (ssize_t)head.len)
		gt_conn_close(c);
	else
		gt_node_pipe_open(node, c);
}

void gt_cluster_resume(struct gt_call *call)
{
	if (gt_cluster_path(call).way == GT_CLUSTER_HOLDS)
		gt_tells_begin(call);
	else
		become_pipe(call);
}

static void holds_begin(struct gt_call *call)
{
	call->way = GT_WAY_LINK;
	if (!wants(&call->conn->x->req, "gantry-holds"))
		refuse(call, "bad_parameter", "it is asked for by GET with Upgrade: gantry-holds");
	else if (!gt_conn_bind_to(call->conn, 0))
		gt_tells_begin(call);
}

static void pipe_begin(struct gt_call *call, unsigned shard)
{
	struct gt_gateway *gw = call->gw;

	call->way = GT_WAY_LINK;
	if (!wants(&call->conn->x->req, "gantry-pipe"))
		refuse(call, "bad_parameter",
		       "a pipe is asked for by GET with Upgrade: gantry-pipe");
	else if (!gt_conn_bind_to(call->conn, gw->shards ? shard % gw->shards->n : 0))
		become_pipe(call);
}

/* ---- several gateways ---- */

/* This one has no nodes and no functions: whoever is here is told where they are. */
void gt_cluster_send_away(struct gt_call *call)
{
	struct gt_conn *c = call->conn;

	c->keep = false;
	call->status = 503;
	gt_buf_addf(&c->x->out.buf,
		    "HTTP/1.1 503 Service Unavailable\r\nGantry-Leader: %s\r\nRetry-After: 1\r\n"
		    "Content-Length: 0\r\nConnection: close\r\n\r\n",
		    call->gw->leader.door);
	gt_call_finish(call);
	gt_conn_kick(c);
}

/* A value of its head; "" when there is none, or when it is too long. */
static void field(const struct gt_h1 *req, const char *name, char *out, size_t size)
{
	const struct gt_h1_field *f = gt_h1_find_text(req, name);
	size_t n = f && f->value.len < size ? f->value.len : 0;

	if (n)
		memcpy(out, gt_h1_text(req, f->value), n);
	out[n] = '\0';
}

bool gt_cluster_forwards(struct gt_call *call)
{
	struct gt_conn *c = call->conn;
	const struct gt_h1 *req = &c->x->req;
	struct gt_cluster_peer *by = c->sock.layer ? gt_tls_kept(&c->sock) : NULL;
	char proto[8];

	if (!by || by->kind != GT_CLUSTER_GATEWAY || call->way == GT_WAY_LINK ||
	    gt_follows(call->gw) || by->until_ns <= gt_gw_now(call->gw))
		return false;
	field(req, "X-Forwarded-For", by->client, sizeof(by->client));
	field(req, "X-Forwarded-Proto", proto, sizeof(proto));
	by->client_tls = gt_streq(proto, "https");
	call->forwarded = true;
	call->gw->stats.forwarded++;
	return true;
}

static void deny(struct gt_call *call, enum gt_cluster_kind kind)
{
	call->conn->keep = false;
	if (kind == GT_CLUSTER_REMOVED)
		refuse(call, "node_removed",
		       "this is no node of the cluster, or none any more: it has to join");
	else if (kind == GT_CLUSTER_STRANGER)
		refuse(call, "forbidden",
		       "without a certificate of the cluster there is only /link/v1/join");
	else
		refuse(call, "forbidden", "a node may speak for itself alone");
}

void gt_cluster_begin(struct gt_call *call)
{
	const struct gt_cluster_peer *who = gt_cluster_peer(call->conn);
	struct gt_cluster_path path = gt_cluster_path(call);

	if (who->until_ns <= gt_gw_now(call->gw)) {
		gt_conn_close(call->conn); /* the next handshake would refuse it, too */
		return;
	}
	if (path.way == GT_CLUSTER_HOLDS) { /* who has something to tell is one that follows */
		holds_begin(call);
		return;
	}
	if (gt_follows(call->gw)) {
		gt_cluster_send_away(call);
		return;
	}
	if (who->kind == GT_CLUSTER_STRANGER)
		call->body_max = JOIN_BODY_MAX;
	switch (path.way) {
	case GT_CLUSTER_LINK:
		pass_on(call, GT_WAY_LINK);
		break;
	case GT_CLUSTER_PIPE:
		pipe_begin(call, path.shard);
		break;
	case GT_CLUSTER_AGENT:
		pass_on(call, GT_WAY_AGENT);
		break;
	case GT_CLUSTER_NOWHERE:
		refuse(call, "not_found", "there is no such path");
		break;
	default:
		deny(call, who->kind);
	}
}

/* ---- the end ---- */

/* Streams of nodes go on for as long as a gateway lives: they begin anew at the next one. */
void gt_cluster_quiesce(struct gt_gateway *gw)
{
	struct gt_conn *c, *next;

	DL_FOREACH_SAFE (gw->conns, c, next)
		if (c->cluster && c->call && !c->call->forwarded && c->call->way == GT_WAY_LINK &&
		    c->call->state == GT_CALL_STREAM)
			gt_conn_close(c);
	gt_nodes_quiesce(gw);
}
