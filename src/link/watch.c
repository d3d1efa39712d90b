/* watch.c - downward: a snapshot for whoever connects, then each change to those it concerns. */
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "link_priv.h"

static void peer_remove(struct gt_peer *peer)
{
	struct gt_link *link = peer->link;
	struct gt_peer *other;
	bool last = true;

	DL_DELETE(link->peers, peer);
	DL_FOREACH (link->peers, other)
		if (other->kind == peer->kind && gt_streq(other->name, peer->name))
			last = false;
	/* After a reconnect the new watch may open before the old one is seen to close. */
	if (last && peer->kind == GT_PEER_NODE)
		gt_control_node_down(link->config.control, peer->name);
	else if (last)
		gt_control_gateway_down(link->config.control, peer->name);
	free(peer);
}

static void on_stream_close(void *arg)
{
	peer_remove(arg);
}

/* Not at once: control, which is telling us of a change, must not be told of a lost peer meanwhile.
 */
static void drop_cut_peers(void *arg)
{
	struct gt_link *link = arg;
	struct gt_peer *peer, *tmp;

	DL_FOREACH_SAFE (link->peers, peer, tmp)
		if (!peer->stream)
			peer_remove(peer);
}

static void peer_cut(struct gt_peer *peer)
{
	struct gt_link *link = peer->link;

	gt_stream_end(peer->stream);
	peer->stream = NULL;
	gt_timer_set(link->config.loop, &link->drop, 0, drop_cut_peers, link);
}

/* A peer that can not keep up is cut off; it connects again and starts with a snapshot. */
static void peer_send(struct gt_peer *peer, struct gt_line *line)
{
	struct gt_link *link = peer->link;

	if (!peer->stream)
		return;
	/* A gateway is told how far it has heard of what control says in answers. */
	line->seq = peer->kind == GT_PEER_GATEWAY ? gt_control_news(link->config.control)
						  : ++peer->seq;
	gt_buf_reset(&link->line);
	link->line.failed = false;
	gt_line_write(line, &link->line);
	if (!link->line.failed &&
	    gt_stream_write(peer->stream, link->line.data, link->line.len) == 0)
		return;
	peer_cut(peer);
}

static void send_to_all(struct gt_link *link, enum gt_peer_kind kind, const char *name,
			struct gt_line *line)
{
	struct gt_peer *peer;

	DL_FOREACH (link->peers, peer)
		if (peer->kind == kind && (!name || gt_streq(peer->name, name)))
			peer_send(peer, line);
}

static struct gt_peer *peer_open(struct gt_link *link, struct gt_request *req,
				 enum gt_peer_kind kind, const char *name)
{
	struct gt_peer *peer = gt_alloc(sizeof(*peer));
	const char *sender = gt_link_sender(req);

	peer->link = link;
	peer->kind = kind;
	gt_strcopy(peer->name, sizeof(peer->name), name);
	peer->joined = sender && gt_starts_with(sender, "node/");
	peer->stream = gt_request_stream(req, 200, "application/x-ndjson");
	gt_stream_limit(peer->stream, GT_LINK_QUEUED_MAX);
	gt_stream_on_close(peer->stream, on_stream_close, peer);
	DL_APPEND(link->peers, peer);
	return peer;
}

/* ---- nodes ---- */

struct orders {
	struct gt_order *items;
	size_t n, cap;
};

/* Shallow: the strings stay control's for the moment that the snapshot is written. */
static void collect_order(const struct gt_order *o, void *arg)
{
	struct orders *all = arg;

	if (all->n == all->cap) {
		all->cap = all->cap ? all->cap * 2 : 16;
		all->items = gt_grow(all->items, all->cap, sizeof(*all->items));
	}
	all->items[all->n++] = *o;
}

void gt_link_watch_node(struct gt_request *req, void *app)
{
	struct gt_link *link = app;
	const char *name = gt_request_param(req, "node");
	struct orders all = { 0 };
	struct gt_err err = { 0 };

	if (!gt_name_ok(name)) {
		gt_err_set(&err, EINVAL, "bad_parameter", "\"%s\" is no node name", name);
		gt_link_refuse(req, &err, link);
		return;
	}
	struct gt_peer *peer = peer_open(link, req, GT_PEER_NODE, name);
	gt_control_orders(link->config.control, peer->name, collect_order, &all);
	struct gt_line line = { .type = GT_LINE_SNAPSHOT,
				.epoch = gt_control_epoch(link->config.control),
				.orders = all.items,
				.n_orders = all.n };
	peer_send(peer, &line);
	free(all.items);
	gt_control_node_up(link->config.control, peer->name); /* what it orders now is a change */
}

void gt_link_on_order(struct gt_link *link, const char *node, const struct gt_order *order)
{
	struct gt_order shallow = *order;
	struct gt_line line = { .type = GT_LINE_ORDER, .orders = &shallow, .n_orders = 1 };

	line.epoch = gt_control_epoch(link->config.control);
	send_to_all(link, GT_PEER_NODE, node, &line);
}

void gt_link_on_forget(struct gt_link *link, const char *node, const char *replica)
{
	struct gt_line line = { .type = GT_LINE_FORGET };

	line.epoch = gt_control_epoch(link->config.control);
	gt_strcopy(line.name, sizeof(line.name), replica);
	send_to_all(link, GT_PEER_NODE, node, &line);
}

/* ---- gateways ---- */

struct routes {
	struct gt_control *control;
	struct gt_route *items;
	size_t n, cap;
};

static bool collect_route(const struct gt_function_view *v, void *arg)
{
	struct routes *all = arg;

	if (all->n == all->cap) {
		all->cap = all->cap ? all->cap * 2 : 64;
		all->items = gt_grow(all->items, all->cap, sizeof(*all->items));
	}
	memset(&all->items[all->n], 0, sizeof(all->items[0]));
	if (gt_control_route(all->control, v->row->name, &all->items[all->n], NULL) == 0)
		all->n++;
	return true;
}

static void put_tokens(struct gt_link *link, struct gt_line *line)
{
	line->n_tokens = link->config.n_tokens;
	line->tokens = gt_alloc_array(line->n_tokens + 1, sizeof(*line->tokens));
	for (size_t i = 0; i < line->n_tokens; i++)
		gt_strcopy(line->tokens[i], sizeof(line->tokens[i]), link->config.tokens_sha256[i]);
}

struct members {
	struct gt_member *items;
	size_t n, cap;
};

static void collect_member(const struct gt_member *m, void *arg)
{
	struct members *all = arg;

	if (all->n == all->cap) {
		all->cap = all->cap ? all->cap * 2 : 16;
		all->items = gt_grow(all->items, all->cap, sizeof(*all->items));
	}
	all->items[all->n++] = *m;
}

static void put_members(struct gt_link *link, struct gt_line *line)
{
	struct members all = { 0 };

	gt_control_members(link->config.control, collect_member, &all);
	line->members = all.items;
	line->n_members = all.n;
}

void gt_link_on_members(struct gt_link *link)
{
	struct gt_line line = { .type = GT_LINE_NODES };
	struct gt_peer *peer;

	DL_FOREACH (link->peers, peer)
		if (peer->kind == GT_PEER_NODE && peer->joined && peer->stream &&
		    !gt_control_member(link->config.control, peer->name, NULL))
			peer_cut(peer);
	line.epoch = gt_control_epoch(link->config.control);
	put_members(link, &line);
	send_to_all(link, GT_PEER_GATEWAY, NULL, &line);
	free(line.members);
}

static struct gt_line work_line(const struct gt_link *link, const char *function, uint64_t seen)
{
	struct gt_line line = { .type = GT_LINE_WORK, .number = seen };

	line.epoch = gt_control_epoch(link->config.control);
	gt_strcopy(line.name, sizeof(line.name), function);
	return line;
}

static void send_work(const char *function, uint64_t seen, void *arg)
{
	struct gt_peer *peer = arg;
	struct gt_line line = work_line(peer->link, function, seen);

	peer_send(peer, &line);
}

void gt_link_watch_gateway(struct gt_request *req, void *app)
{
	struct gt_link *link = app;
	const char *name = gt_request_param(req, "gateway");
	struct gt_err err = { 0 };

	if (!gt_name_ok(name)) {
		gt_err_set(&err, EINVAL, "bad_parameter", "\"%s\" is no gateway name", name);
		gt_link_refuse(req, &err, link);
		return;
	}
	struct gt_peer *peer = peer_open(link, req, GT_PEER_GATEWAY, name);
	struct routes all = { .control = link->config.control };
	gt_control_functions(link->config.control, "", "", collect_route, &all);
	struct gt_line line = { .type = GT_LINE_SNAPSHOT,
				.epoch = gt_control_epoch(link->config.control),
				.routes = all.items,
				.n_routes = all.n,
				.partial = !gt_control_settled(link->config.control) };
	put_tokens(link, &line);
	put_members(link, &line);
	peer_send(peer, &line);
	for (size_t i = 0; i < all.n; i++)
		gt_route_fini(&all.items[i]);
	free(all.items);
	free(line.tokens);
	free(line.members);
	gt_control_task_work(link->config.control, send_work, peer);
	gt_control_gateway_up(link->config.control, peer->name);
}

void gt_link_on_task_work(struct gt_link *link, const char *function, uint64_t seen)
{
	struct gt_line line = work_line(link, function, seen);

	send_to_all(link, GT_PEER_GATEWAY, NULL, &line);
}

void gt_link_on_task_stop(struct gt_link *link, uint64_t seq, uint32_t attempt)
{
	struct gt_line line = { .type = GT_LINE_CANCEL, .number = seq, .attempt = attempt };

	line.epoch = gt_control_epoch(link->config.control);
	send_to_all(link, GT_PEER_GATEWAY, NULL, &line);
}

void gt_link_on_route(struct gt_link *link, const char *function)
{
	struct gt_route route = { 0 };
	struct gt_line line = { .type = GT_LINE_ROUTE, .routes = &route, .n_routes = 1 };

	if (gt_control_route(link->config.control, function, &route, NULL) < 0)
		return;
	line.epoch = gt_control_epoch(link->config.control);
	line.partial = !gt_control_settled(link->config.control);
	send_to_all(link, GT_PEER_GATEWAY, NULL, &line);
	gt_route_fini(&route);
}

void gt_link_on_route_gone(struct gt_link *link, const char *function)
{
	struct gt_line line = { .type = GT_LINE_GONE };

	line.epoch = gt_control_epoch(link->config.control);
	gt_strcopy(line.name, sizeof(line.name), function);
	send_to_all(link, GT_PEER_GATEWAY, NULL, &line);
}

/* ---- liveness ---- */

static void ping(void *arg)
{
	struct gt_link *link = arg;
	struct gt_line line = { .type = GT_LINE_PING };
	struct gt_peer *peer;

	line.epoch = gt_control_epoch(link->config.control);
	line.partial = !gt_control_settled(link->config.control);
	DL_FOREACH (link->peers, peer)
		peer_send(peer, &line);
	gt_timer_set(link->config.loop, &link->ping, GT_LINK_PING_MS, ping, link);
}

void gt_link_ping_start(struct gt_link *link)
{
	gt_timer_set(link->config.loop, &link->ping, GT_LINK_PING_MS, ping, link);
}

void gt_link_peers_end(struct gt_link *link)
{
	struct gt_peer *peer, *tmp;

	gt_timer_clear(link->config.loop, &link->ping);
	gt_timer_clear(link->config.loop, &link->drop);
	DL_FOREACH_SAFE (link->peers, peer, tmp) {
		DL_DELETE(link->peers, peer);
		if (peer->stream)
			gt_stream_end(peer->stream);
		free(peer);
	}
}
