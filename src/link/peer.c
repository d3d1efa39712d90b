/* link/peer.c - one open watch: its life, and the lines that go down it.
 *
 * Lines are written from inside control's callbacks, where control must not be changed. So a peer
 * that fails there is only marked (stream = NULL) and reaped, with the news for control, in the
 * loop's next round. */
#include <utlist.h>

#include <gantry/base/log.h>

#include "link_priv.h"

#define QUEUED_MAX_DEFAULT (256 * GT_MIB)

static void tell(const struct gt_peer *p, bool up)
{
	struct gt_control *c = p->link->config.control;

	gt_info("%s %s is %s", p->kind == GT_PEER_NODE ? "node" : "gateway", p->name,
		up ? "up" : "down");
	if (p->kind == GT_PEER_NODE)
		(up ? gt_control_node_up : gt_control_node_down)(c, p->name);
	else
		(up ? gt_control_gateway_up : gt_control_gateway_down)(c, p->name);
}

static struct gt_peer *peer_find(struct gt_link *l, enum gt_peer_kind kind, const char *name,
				 const struct gt_peer *except)
{
	struct gt_peer *p;

	DL_FOREACH (l->peers, p)
		if (p != except && p->stream && p->kind == kind && gt_streq(p->name, name))
			return p;
	return NULL;
}

void gt_peer_reap(struct gt_link *l)
{
	struct gt_peer *p, *tmp;

	DL_FOREACH_SAFE (l->peers, p, tmp) {
		if (p->stream)
			continue;
		DL_DELETE(l->peers, p);
		/* Another watch of the same name took over: it never was down. */
		if (!l->freeing && !peer_find(l, p->kind, p->name, p))
			tell(p, false);
		free(p);
	}
}

static void on_reap(void *arg)
{
	gt_peer_reap(arg);
}

static void peer_lost(struct gt_peer *p)
{
	p->stream = NULL;
	gt_timer_set(p->link->loop, &p->link->reap, 0, on_reap, p->link);
}

static void on_close(void *arg)
{
	peer_lost(arg);
}

void gt_peer_send(struct gt_peer *p, struct gt_line *line)
{
	gt_auto(buf) struct gt_buf out = { 0 };

	if (!p->stream)
		return;
	gt_buf_init(&out, QUEUED_MAX_DEFAULT);
	line->seq = ++p->seq;
	gt_line_write(line, &out);
	if (!out.failed && gt_stream_write(p->stream, out.data, out.len) == 0)
		return;
	gt_warn("%s reads its watch too slowly: it must start over", p->name);
	gt_stream_end(p->stream);
	peer_lost(p);
}

void gt_peer_open(struct gt_link *l, enum gt_peer_kind kind, const char *name,
		  struct gt_request *req)
{
	struct gt_peer *p = gt_alloc(sizeof(*p));
	struct gt_peer *before = peer_find(l, kind, name, NULL);

	p->link = l;
	p->kind = kind;
	gt_strcopy(p->name, sizeof(p->name), name);
	if (before) {
		gt_stream_end(before->stream);
		peer_lost(before);
	}
	p->stream = gt_request_stream(req, 200, "application/x-ndjson");
	gt_stream_limit(p->stream,
			l->config.queued_max ? l->config.queued_max : QUEUED_MAX_DEFAULT);
	gt_stream_on_close(p->stream, on_close, p);
	/* In the list before control hears of it: what control decides then follows the snapshot.
	 */
	gt_snapshot_send(p);
	DL_APPEND(l->peers, p);
	if (!before)
		tell(p, true);
}
