/* sock.h - a non-blocking stream socket on the loop, edge-triggered: registered once, its readiness
 * kept as two flags, so that pausing a direction costs no system call. */
#ifndef GANTRY_GATEWAY_SOCK_H
#define GANTRY_GATEWAY_SOCK_H

#include <sys/types.h>
#include <sys/uio.h>

#include <gantry/base/buf.h>
#include <gantry/loop/loop.h>

struct gt_sock;

struct gt_pipe_ends {
	int in, out;
};

/* One table per kind of transport; the kernel's is in port.c. Interrupted calls are made again
 * inside. */
struct gt_sock_ops {
	int (*watch)(struct gt_sock *s, struct gt_loop *loop, gt_watch_fn *fn, void *arg,
		     struct gt_err *err);
	ssize_t (*read)(struct gt_sock *s, void *buf, size_t len); /* > 0; 0 = end; -errno */
	/* One message, and the descriptor that came with it or -1. */
	ssize_t (*receive)(struct gt_sock *s, void *buf, size_t len, int *fd);
	ssize_t (*write)(struct gt_sock *s, const struct iovec *iov, size_t n); /* or -errno */
	/* Through a pipe, which is empty before: from the socket and on to it. As read and write.
	 * NULL: what is on it must be seen. */
	ssize_t (*fill)(struct gt_sock *s, const struct gt_pipe_ends *pipe, size_t len);
	ssize_t (*drain)(struct gt_sock *s, const struct gt_pipe_ends *pipe, size_t len);
	bool (*silent)(struct gt_sock *s);    /* open, and nothing is there to read */
	bool (*delivered)(struct gt_sock *s); /* the peer's kernel has all, or nobody knows */
	void (*shut)(struct gt_sock *s);      /* we send no more */
	/* The close to come is a reset: no peer may take it for an orderly end. */
	void (*reset)(struct gt_sock *s);
	void (*close)(struct gt_sock *s); /* with its watch */
};

struct gt_sock {
	const struct gt_sock_ops *ops;
	int fd; /* owned; -1 = closed */
	bool can_read : 1, can_write : 1;
	bool tells_room : 1, asks_room : 1; /* of the port: without being asked; was asked */
	bool hup : 1;    /* the peer closed its sending side, or the socket failed */
	bool failed : 1; /* by a reset, mostly */
	bool both : 1;   /* a layer may have to write in order to read: each event allows both */
	struct gt_watch *watch;
	void *layer; /* of ops, between this socket and its transport; NULL = none */
};

/* Memory of queues that are empty, for those that are not: the last one given back goes first. */
struct gt_outq_store {
	struct gt_buf spare[256];
	unsigned n;
};
void gt_outq_store_fini(struct gt_outq_store *store);

/* Bytes on their way out. */
struct gt_outq {
	struct gt_buf buf; /* no memory while nothing is queued */
	struct gt_outq_store *store;
	size_t sent; /* of buf */
	bool keep;   /* sent bytes stay, so that all can be sent again elsewhere */
};

/* Takes fd in any case: closes it on failure. */
GT_MUST_USE int gt_sock_open(struct gt_sock *s, const struct gt_sock_ops *ops, struct gt_loop *loop,
			     int fd GT_TAKES, gt_watch_fn *fn, void *arg, struct gt_err *err);
void gt_sock_close(struct gt_sock *s);                             /* fine when closed */
void gt_sock_drop(const struct gt_sock_ops *ops, int fd GT_TAKES); /* one never opened; or -1 */
void gt_sock_told(struct gt_sock *s, unsigned events);
/* > 0 bytes; 0 = end; -EAGAIN; another -errno. */
ssize_t gt_sock_read(struct gt_sock *s, void *buf, size_t len);

static inline size_t gt_outq_unsent(const struct gt_outq *q)
{
	return q->buf.len - q->sent;
}
void gt_outq_init(struct gt_outq *q, size_t max, struct gt_outq_store *store);
void gt_outq_clear(struct gt_outq *q); /* drops all; what it holds goes to the store */
/* To write into; with memory of the store when it has none. */
struct gt_buf *gt_outq_buf(struct gt_outq *q);
void gt_outq_forget(struct gt_outq *q); /* no replay any more: drops what was sent */
/* Adds parts to the queue without sending. -ENOBUFS past its cap. */
GT_MUST_USE int gt_outq_add(struct gt_outq *q, const struct iovec *parts, size_t n);
/* Sends the queue and then the parts, as much as the socket takes; queues the rest of the parts.
 * 0, also when not all could be sent; -ENOBUFS; -errno of the socket. */
GT_MUST_USE int gt_sock_send(struct gt_sock *s, struct gt_outq *q, const struct iovec *parts,
			     size_t n);

#endif
