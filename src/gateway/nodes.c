/* nodes.c - pipes of other hosts: waiting, asked, in use; and the calls that wait for one. */
#include "nodes.h"
#include "calls.h"
#include "leader.h"
#include "tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define SWEEP_MS 1000
#define AGE_NS   (4 * GT_NS_PER_S) /* of a pipe, from its first call to the start of its last */

static void serve(struct gt_node *node);

struct gt_node *gt_node_find(struct gt_gateway *gw, const char *name, size_t len)
{
	struct gt_node *node = NULL;

	HASH_FIND(hh, gw->nodes, name, len, node);
	return node;
}

static struct gt_node *add_daemon(struct gt_gateway *gw, const char *name)
{
	struct gt_node *node = gt_alloc(sizeof(*node));

	gt_strcopy(node->name, sizeof(node->name), name);
	node->daemon = true;
	HASH_ADD_STR(gw->nodes, name, node);
	return node;
}

void gt_node_door(struct gt_node *node, const struct gt_call *call)
{
	const struct gt_h1 *req = &call->conn->x->req;
	const struct gt_h1_field *f = gt_h1_find_text(req, "Gantry-Door");

	if (!node->daemon || !f || f->value.len >= sizeof(node->door))
		return;
	memcpy(node->door, gt_h1_text(req, f->value), f->value.len);
	node->door[f->value.len] = '\0';
}

void gt_nodes_doors(const struct gt_gateway *gw, struct gt_buf *head)
{
	const struct gt_node *node, *next;

	if (!gw->leader.own_door[0])
		return;
	gt_buf_addf(head, "Gantry-Doors: %s", gw->leader.own_door);
	HASH_ITER (hh, gw->nodes, node, next)
		if (node->door[0])
			gt_buf_addf(head, " %s", node->door);
	gt_buf_adds(head, "\r\n");
}

struct gt_node *gt_node_of(struct gt_gateway *gw, const struct gt_pki_id *id)
{
	struct gt_node *node = gt_node_find(gw, id->name, strlen(id->name));

	if (id->kind == GT_PKI_GATEWAY && gw->cfg.lead_path)
		return node && !node->daemon ? NULL : node ? node : add_daemon(gw, id->name);
	if (id->kind != GT_PKI_NODE || !node || !gt_pki_since(id, node->since_ms))
		return NULL;
	return node;
}

/* ---- pipes ---- */

static void leave_idle(struct gt_node_pipe *pipe)
{
	DL_DELETE(pipe->node->idle, pipe->up);
	pipe->node->n_idle--;
}

void gt_node_forget(struct gt_up *up)
{
	struct gt_node_pipe *pipe = up->pipe;

	if (pipe->stage == GT_PIPE_IDLE)
		leave_idle(pipe);
	if (pipe->asker)
		pipe->asker->asked = NULL;
	DL_DELETE(pipe->node->pipes, pipe);
	free(pipe);
	up->pipe = NULL;
}

void gt_node_pipe_open(struct gt_node *node, struct gt_conn *c)
{
	uint64_t until_ns = gt_cluster_peer(c)->until_ns;
	struct gt_up *up = gt_up_of_conn(c);
	struct gt_node_pipe *pipe;

	if (!up)
		return;
	pipe = gt_alloc(sizeof(*pipe));
	*pipe = (struct gt_node_pipe){ .node = node, .up = up, .until_ns = until_ns };
	up->pipe = pipe;
	DL_APPEND(node->pipes, pipe);
	node->leaving = false;
	DL_PREPEND(node->idle, up);
	if (++node->n_idle > GT_NODE_PIPES_MAX)
		gt_up_close(node->idle->prev);
	serve(node);
}

/* The one used last; those whose certificate is over are closed. */
static struct gt_node_pipe *take_idle(struct gt_node *node)
{
	struct gt_up *up;

	while ((up = node->idle)) {
		struct gt_node_pipe *pipe = up->pipe;

		if (pipe->until_ns <= gt_gw_now(up->gw)) {
			gt_up_close(up);
			continue;
		}
		leave_idle(pipe);
		pipe->stage = GT_PIPE_ASKED;
		return pipe;
	}
	return NULL;
}

/* ---- asking ---- */

/* False: the pipe is of no use, and closed. It was empty: what does not fit at once never will. */
static bool ask(struct gt_node_pipe *pipe, const struct gt_call *call)
{
	char text[16 + GT_REPLICA_ID_SIZE];
	int len = call->fn ? snprintf(text, sizeof(text), "replica %s\n", call->replica)
			   : snprintf(text, sizeof(text), "agent\n");
	const struct iovec iov = { text, (size_t)len };
	struct gt_sock *sock = &pipe->up->sock;

	if (sock->ops->write(sock, &iov, 1) == len)
		return true;
	gt_up_close(pipe->up);
	return false;
}

static void leave(struct gt_call *call);

static void give_away(struct gt_node *node)
{
	while (node->waiters) {
		struct gt_call *call = node->waiters;

		leave(call);
		if (call->fn)
			gt_call_give_away(call);
		else
			gt_relay_unreached(call, EHOSTUNREACH);
	}
}

static void serve(struct gt_node *node)
{
	struct gt_node_pipe *pipe;

	while (node->waiters && (pipe = take_idle(node))) {
		struct gt_call *call = node->waiters;

		if (!ask(pipe, call))
			continue;
		DL_DELETE(node->waiters, call);
		call->asked = pipe->up;
		pipe->asker = call;
	}
	/* No pipe comes any more, where they go to another gateway. */
	if (node->waiters && gt_follows(node->waiters->gw))
		give_away(node);
}

void gt_node_ask(struct gt_call *call, const char *name, size_t len)
{
	struct gt_gateway *gw = call->gw;
	struct gt_node *node = gt_node_find(gw, name, len);

	if (!node) {
		gt_relay_no_broker(call, EHOSTUNREACH);
		return;
	}
	call->node = node;
	call->ask_ns = gt_gw_now(gw);
	DL_APPEND(node->waiters, call);
	gt_call_arm(call);
	serve(node);
}

/* It waits for nothing here any more; its pipe, if it has asked one, stays as it is. */
static void leave(struct gt_call *call)
{
	if (call->asked)
		call->asked->pipe->asker = NULL;
	else
		DL_DELETE(call->node->waiters, call);
	call->asked = NULL;
	call->node = NULL;
}

void gt_node_cancel(struct gt_call *call)
{
	struct gt_up *up = call->asked;

	leave(call);
	if (up)
		gt_up_close(up);
}

void gt_node_late(struct gt_call *call)
{
	int error = call->asked ? ETIMEDOUT : EHOSTUNREACH;

	gt_node_cancel(call);
	gt_relay_unreached(call, error);
}

/* ---- answers ---- */

/* The pipe was dead, or its node speaks nonsense. The call is the next one's that has a pipe, while
 * there is time. */
static void lost(struct gt_node_pipe *pipe)
{
	struct gt_node *node = pipe->node;
	struct gt_call *call = pipe->asker;

	gt_up_close(pipe->up); /* which leaves the call alone with its node */
	DL_PREPEND(node->waiters, call);
	serve(node);
}

static void answered(struct gt_node_pipe *pipe)
{
	struct gt_call *call = pipe->asker;
	struct gt_up *up = pipe->up;
	int r = gt_cluster_answer(pipe->answer, pipe->n_answer);

	if (r < 0) {
		gt_warn("gateway: node %s answers nonsense on a pipe", pipe->node->name);
		lost(pipe);
		return;
	}
	leave(call);
	if (r > 0) {
		gt_up_close(up);
		gt_relay_dial_failed(call, r);
		return;
	}
	pipe->stage = GT_PIPE_OPEN;
	pipe->opened_ns = gt_gw_now(up->gw);
	up->target = call->target;
	up->sock.can_read = true; /* what came behind the line is told by no event */
	gt_relay_attach(call, up);
}

/* Byte by byte, as what follows is not this line's; they come out of one record. */
static void read_answer(struct gt_node_pipe *pipe)
{
	char c;
	ssize_t n;

	while ((n = gt_sock_read(&pipe->up->sock, &c, 1)) == 1) {
		if (c == '\n') {
			answered(pipe);
			return;
		}
		if (pipe->n_answer == sizeof(pipe->answer)) {
			pipe->n_answer = 0;
			answered(pipe);
			return;
		}
		pipe->answer[pipe->n_answer++] = c;
	}
	if (n != -EAGAIN)
		lost(pipe);
}

static bool is_parked(const struct gt_node_pipe *pipe)
{
	return pipe->stage == GT_PIPE_OPEN && !pipe->up->call;
}

/* The node took its waiting pipes away: it ends, and waits for its last calls. */
static void node_leaves(struct gt_node *node)
{
	struct gt_node_pipe *pipe, *next;

	node->leaving = true;
	DL_FOREACH_SAFE (node->pipes, pipe, next)
		if (is_parked(pipe))
			gt_up_close(pipe->up);
}

bool gt_node_retires(const struct gt_up *up)
{
	return up->pipe->node->leaving || gt_gw_now(up->gw) - up->pipe->opened_ns > AGE_NS;
}

void gt_node_heard(struct gt_up *up)
{
	struct gt_node_pipe *pipe = up->pipe;

	if (pipe->stage == GT_PIPE_ASKED) {
		read_answer(pipe);
	} else if (!up->sock.ops->silent(&up->sock)) {
		struct gt_node *node = pipe->node;
		bool waited = pipe->stage == GT_PIPE_IDLE;

		gt_up_close(up); /* it ended, or speaks without being asked */
		if (waited && node->n_idle == 0)
			node_leaves(node);
	}
}

/* ---- idle in a replica's pool ---- */

/* Their nodes hold two sockets for each, and wait for them when they stop: what no call takes any
 * more is closed. */
static void sweep(void *arg)
{
	struct gt_gateway *gw = arg;
	struct gt_node *node, *next;
	struct gt_node_pipe *pipe, *after;
	bool more = false;

	HASH_ITER (hh, gw->nodes, node, next)
		DL_FOREACH_SAFE (node->pipes, pipe, after) {
			if (!is_parked(pipe))
				continue;
			if (gt_gw_now(gw) - pipe->up->idle_since_ns > GT_UP_IDLE_NS)
				gt_up_close(pipe->up);
			else
				more = true;
		}
	if (more)
		gt_timer_set(gw->loop, &gw->pipes_timer, SWEEP_MS, sweep, gw);
}

void gt_node_parked(struct gt_up *up)
{
	struct gt_gateway *gw = up->gw;

	if (!gt_timer_is_set(&gw->pipes_timer))
		gt_timer_set(gw->loop, &gw->pipes_timer, SWEEP_MS, sweep, gw);
}

/* ---- who there is ---- */

/* Nothing of it is left; calls that were served by it end as with any replica that breaks. */
static void drop(struct gt_gateway *gw, struct gt_node *node)
{
	HASH_DEL(gw->nodes, node);
	while (node->waiters) {
		struct gt_call *call = node->waiters;

		leave(call);
		gt_relay_unreached(call, EHOSTUNREACH);
	}
	while (node->pipes) {
		struct gt_up *up = node->pipes->up;
		struct gt_call *asker = node->pipes->asker, *call = up->call;

		if (call) {
			gt_relay_broken(call, EHOSTUNREACH);
			continue;
		}
		if (asker)
			leave(asker);
		gt_up_close(up);
		if (asker)
			gt_relay_unreached(asker, EHOSTUNREACH);
	}
	free(node);
}

/* Ends what nodes do that are not there any more. */
static void close_strangers(struct gt_gateway *gw)
{
	struct gt_conn *c = gw->conns;

	while (c) {
		const struct gt_cluster_peer *who = c->cluster ? gt_cluster_peer(c) : NULL;
		bool gone = who && who->kind == GT_CLUSTER_NODE && !gt_node_of(gw, &who->id);

		if (gone)
			gt_conn_close(c);
		c = gone ? gw->conns : c->next; /* what closes one may close others */
	}
}

static void add(struct gt_gateway *gw, const struct gt_member *m)
{
	struct gt_node *node = gt_alloc(sizeof(*node));

	gt_strcopy(node->name, sizeof(node->name), m->node);
	node->since_ms = m->since_ms;
	node->listed = true;
	HASH_ADD_STR(gw->nodes, name, node);
}

void gt_nodes_list(struct gt_gateway *gw, const struct gt_member *members, size_t n)
{
	struct gt_node *node, *next;

	HASH_ITER (hh, gw->nodes, node, next)
		node->listed = node->daemon;
	for (size_t i = 0; i < n; i++) {
		node = gt_node_find(gw, members[i].node, strlen(members[i].node));
		if (node && !node->daemon)
			node->listed = node->since_ms == members[i].since_ms;
	}
	HASH_ITER (hh, gw->nodes, node, next)
		if (!node->listed) {
			gt_info("gateway: node %s left the cluster", node->name);
			drop(gw, node);
		}
	for (size_t i = 0; i < n; i++)
		if (!gt_node_find(gw, members[i].node, strlen(members[i].node)))
			add(gw, &members[i]);
	close_strangers(gw);
	if (n > 0)
		gt_identity_want(gw);
}

/* The uplinks hold as many as they found to be enough, of whichever gateway: when some end they
 * come to the next one. The others are for the calls that still wait here. */
void gt_nodes_quiesce(struct gt_gateway *gw)
{
	struct gt_node *node, *next;

	HASH_ITER (hh, gw->nodes, node, next)
		for (unsigned n = node->n_idle - node->n_idle / 2; n > 0; n--)
			gt_up_close(node->idle->prev);
}

void gt_nodes_let_go(struct gt_gateway *gw)
{
	struct gt_node *node, *next;

	HASH_ITER (hh, gw->nodes, node, next) {
		while (node->idle)
			gt_up_close(node->idle);
		give_away(node);
	}
}

void gt_nodes_free(struct gt_gateway *gw)
{
	struct gt_node *node, *next;

	gt_timer_clear(gw->loop, &gw->pipes_timer);
	HASH_ITER (hh, gw->nodes, node, next) {
		HASH_DEL(gw->nodes, node);
		while (node->pipes)
			gt_up_close(node->pipes->up);
		free(node);
	}
}
