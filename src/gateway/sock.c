/* sock.c - reading and writing of edge-triggered sockets. */
#include "sock.h"

#include <errno.h>

#define PARTS_MAX 4
#define KEEP_MAX  (4 * GT_KIB) /* of a queue's memory, to be kept */

int gt_sock_open(struct gt_sock *s, const struct gt_sock_ops *ops, struct gt_loop *loop,
		 int fd GT_TAKES, gt_watch_fn *fn, void *arg, struct gt_err *err)
{
	*s = (struct gt_sock){ .ops = ops, .fd = fd };
	int r = ops->watch(s, loop, fn, arg, err);

	if (r < 0)
		gt_sock_close(s);
	return r;
}

void gt_sock_close(struct gt_sock *s)
{
	if (s->fd >= 0)
		s->ops->close(s);
	*s = (struct gt_sock){ .ops = s->ops, .fd = -1 };
}

void gt_sock_drop(const struct gt_sock_ops *ops, int fd GT_TAKES)
{
	struct gt_sock s = { .ops = ops, .fd = fd };

	gt_sock_close(&s);
}

void gt_sock_told(struct gt_sock *s, unsigned events)
{
	s->can_read |= s->both || (events & (GT_EV_READ | GT_EV_HANGUP)) != 0;
	s->can_write |= s->both || (events & GT_EV_WRITE) != 0;
	s->hup |= (events & GT_EV_HANGUP) != 0;
	s->failed |= (events & GT_EV_FAILED) != 0;
}

ssize_t gt_sock_read(struct gt_sock *s, void *buf, size_t len)
{
	if (!s->can_read)
		return -EAGAIN;
	ssize_t n = s->ops->read(s, buf, len);

	if (n < 0) {
		s->can_read = n != -EAGAIN;
	} else if ((size_t)n < len && !s->hup) {
		s->can_read = false; /* a short read emptied it; the next edge will tell */
	}
	return n;
}

void gt_outq_store_fini(struct gt_outq_store *store)
{
	while (store->n)
		gt_buf_fini(&store->spare[--store->n]);
}

void gt_outq_init(struct gt_outq *q, size_t max, struct gt_outq_store *store)
{
	*q = (struct gt_outq){ .store = store };
	gt_buf_init(&q->buf, max);
}

void gt_outq_clear(struct gt_outq *q)
{
	struct gt_outq_store *store = q->store;

	if (q->buf.data && q->buf.cap <= KEEP_MAX && store->n < GT_LEN(store->spare))
		store->spare[store->n++] = q->buf;
	else
		gt_buf_fini(&q->buf);
	gt_outq_init(q, q->buf.max, store);
}

struct gt_buf *gt_outq_buf(struct gt_outq *q)
{
	if (!q->buf.data && q->store->n) {
		size_t max = q->buf.max;

		q->buf = q->store->spare[--q->store->n];
		q->buf.max = max;
		gt_buf_reset(&q->buf);
	}
	return &q->buf;
}

void gt_outq_forget(struct gt_outq *q)
{
	q->keep = false;
	if (q->sent == q->buf.len) {
		gt_outq_clear(q);
	} else if (q->sent) {
		gt_buf_consume(&q->buf, q->sent);
		q->sent = 0;
	}
}

int gt_outq_add(struct gt_outq *q, const struct iovec *parts, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = gt_buf_add(gt_outq_buf(q), parts[i].iov_base, parts[i].iov_len);
	return r;
}

/* What send took: first from the queue, then from the parts; the rest of the parts is queued. */
static int account(struct gt_outq *q, const struct iovec *parts, size_t n, size_t took)
{
	size_t from_queue = GT_MIN(took, gt_outq_unsent(q));
	int r = 0;

	q->sent += from_queue;
	took -= from_queue;
	if (!q->keep && q->sent && q->sent == q->buf.len)
		gt_outq_forget(q);
	for (size_t i = 0; i < n && r == 0; i++) {
		size_t skip = GT_MIN(took, parts[i].iov_len);

		took -= skip;
		if (skip < parts[i].iov_len)
			r = gt_buf_add(gt_outq_buf(q), (char *)parts[i].iov_base + skip,
				       parts[i].iov_len - skip);
	}
	if (!q->keep && q->sent > 32 * GT_KIB)
		gt_outq_forget(q);
	return r;
}

int gt_sock_send(struct gt_sock *s, struct gt_outq *q, const struct iovec *parts, size_t n)
{
	struct iovec iov[PARTS_MAX + 1];
	size_t n_iov = 0;
	ssize_t took = 0;

	if (q->keep) { /* everything must be in the queue for a replay */
		int r = gt_outq_add(q, parts, n);

		if (r < 0)
			return r;
		n = 0;
	}
	if (gt_outq_unsent(q))
		iov[n_iov++] = (struct iovec){ q->buf.data + q->sent, gt_outq_unsent(q) };
	for (size_t i = 0; i < n && i < PARTS_MAX; i++) {
		if (parts[i].iov_len)
			iov[n_iov++] = parts[i];
	}
	if (s->can_write && n_iov) {
		took = s->ops->write(s, iov, n_iov);
		if (took < 0 && took != -EAGAIN)
			return (int)took;
		took = GT_MAX(took, 0);
		size_t all = gt_outq_unsent(q);

		for (size_t i = 0; i < n; i++)
			all += parts[i].iov_len;
		if ((size_t)took < all)
			s->can_write = false;
	}
	return account(q, parts, n, (size_t)took);
}
