#include "splice.h"

#include <stdlib.h>

#define LONG_BODY (64 * GT_KIB)  /* below it the copy is cheaper */
#define PIPE_SIZE (512 * GT_KIB) /* with half of it a MiB costs a ninth more */
#define PIPES_MAX 64             /* at once; the others are copied */
#define ROUNDS    8              /* then other connections get their turn */

struct gt_pipe {
	struct gt_pipe *next; /* gw->pipes.idle */
	struct gt_pipe_ends ends;
	size_t len; /* bytes in it */
};

static struct gt_pipe *take(struct gt_gateway *gw)
{
	struct gt_pipe *p = gw->pipes.idle;

	if (p) {
		gw->pipes.idle = p->next;
		return p;
	}
	if (gw->pipes.n == PIPES_MAX)
		return NULL;
	p = gt_alloc(sizeof(*p));
	if (gw->port->pipe(PIPE_SIZE, &p->ends) < 0) {
		free(p);
		return NULL;
	}
	gw->pipes.n++;
	return p;
}

static void drop(struct gt_gateway *gw, struct gt_pipe *p)
{
	gt_close(p->ends.in);
	gt_close(p->ends.out);
	free(p);
	gw->pipes.n--;
}

void gt_splice_end(struct gt_call *call)
{
	struct gt_pipe *p = call->pipe;

	call->pipe = NULL;
	if (!p)
		return;
	if (p->len) { /* of a call that was cut: nobody else's */
		drop(call->gw, p);
		return;
	}
	p->next = call->gw->pipes.idle;
	call->gw->pipes.idle = p;
}

void gt_splice_free(struct gt_gateway *gw)
{
	struct gt_pipe *p;

	while ((p = gw->pipes.idle)) {
		gw->pipes.idle = p->next;
		drop(gw, p);
	}
}

static uint64_t left(const struct gt_call *call)
{
	return call->state == GT_CALL_TUNNEL ? UINT64_MAX : gt_h1_body_left(&call->resp);
}

bool gt_splice_begin(struct gt_call *call)
{
	struct gt_conn *c = call->conn;
	bool long_body = call->state == GT_CALL_STREAM && !call->sse &&
			 call->resp.framing == GT_H1_LENGTH && left(call) > LONG_BODY;
	bool bulk = call->state == GT_CALL_TUNNEL && call->bulk;

	if ((!long_body && !bulk) || gt_outq_unsent(&c->x->out) || !c->sock.ops->drain ||
	    !call->up->sock.ops->fill)
		return false;
	call->pipe = take(call->gw);
	return call->pipe != NULL;
}

size_t gt_splice_unsent(const struct gt_call *call)
{
	return call->pipe ? call->pipe->len : 0;
}

/* What is in the pipe goes on; true = all of it. */
static bool push(struct gt_call *call, enum gt_spliced *ret)
{
	struct gt_pipe *p = call->pipe;
	struct gt_sock *to = &call->conn->sock;
	ssize_t n;

	if (!to->can_write)
		return false;
	n = to->ops->drain(to, &p->ends, p->len);
	if (n < 0 && n != -EAGAIN) {
		*ret = GT_SPLICED_LEFT;
		return false;
	}
	if (n > 0) {
		p->len -= (size_t)n;
		call->conn->x->progress_ns = gt_gw_now(call->gw);
		*ret = GT_SPLICED;
	}
	to->can_write = p->len == 0;
	return p->len == 0;
}

/* Into the empty pipe; false = there is nothing now. */
static bool pull(struct gt_call *call, enum gt_spliced *ret, int *error)
{
	struct gt_sock *from = &call->up->sock;
	ssize_t n;

	if (!from->can_read)
		return false;
	n = from->ops->fill(from, &call->pipe->ends, GT_MIN(left(call), (uint64_t)PIPE_SIZE));
	if (n == -EAGAIN) {
		from->can_read = false;
		return false;
	}
	if (n <= 0) {
		*error = (int)-n;
		*ret = GT_SPLICED_END;
		return false;
	}
	call->pipe->len = (size_t)n;
	call->down_bytes += (uint64_t)n;
	call->moved_ns = gt_gw_now(call->gw);
	if (call->state != GT_CALL_TUNNEL)
		gt_h1_body_took(&call->resp, (uint64_t)n);
	*ret = GT_SPLICED;
	return true;
}

enum gt_spliced gt_splice_down(struct gt_call *call, int *error)
{
	enum gt_spliced ret = GT_SPLICED_NOTHING;

	for (unsigned i = 0; i < ROUNDS; i++) {
		if (call->pipe->len && !push(call, &ret))
			return ret;
		if (!left(call))
			return GT_SPLICED_ALL;
		if (!pull(call, &ret, error))
			break;
	}
	return ret;
}
