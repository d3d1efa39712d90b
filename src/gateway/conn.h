/* conn.h - a client connection: reads requests, writes answers. */
#ifndef GANTRY_GATEWAY_CONN_H
#define GANTRY_GATEWAY_CONN_H

#include "gw.h"

#define GT_GW_HANDSHAKES 512           /* of TLS, at once */
#define GT_GW_LATER      (16 * GT_KIB) /* more than this is sent before other sockets are read */

struct gt_proxy;
struct gt_refusal;

enum gt_conn_state {
	GT_CONN_PROXY,     /* reads the header of a PROXY before it */
	GT_CONN_HANDSHAKE, /* of TLS */
	GT_CONN_HEAD,      /* waits for a request, or reads its head */
	GT_CONN_CALL,
	GT_CONN_LINGER, /* answered and half-closed: reads until the client has seen it */
};

/* What a connection needs while something happens on it. */
struct gt_exchange {
	struct gt_exchange *next;                /* in gw->exchanges */
	struct gt_conn *shake_prev, *shake_next; /* in gw->handshakes, oldest first */
	struct gt_proxy *proxy;                  /* in GT_CONN_PROXY */
	struct gt_h1 req;
	struct gt_buf in; /* read beyond the end of the current request */
	struct gt_outq out;
	uint64_t progress_ns; /* last byte from or to the client */
	size_t accounted;     /* bytes counted in gw->buffered */
	/* move.c */
	struct gt_mail mail;
	struct gt_conn *moved; /* in the mail: whose this is */
	unsigned bound;        /* 1 + the shard where its call is served; 0 = it is there */
};

/* Most of them wait for a next request at any time: an idle one is small. */
struct gt_conn {
	struct gt_grave grave;
	struct gt_conn *prev, *next;
	struct gt_gateway *gw;
	struct gt_exchange *x; /* NULL while it is idle and nothing runs on it */
	struct gt_sock sock;
	struct gt_timer timer; /* at due_ns or sooner: then it looks again */
	uint64_t due_ns;
	struct gt_call *call;
	struct gt_task_run *task; /* the client is this durable call; NULL: a peer */
	enum gt_conn_state state : 8;
	bool closed : 1, keep : 1, running : 1, again : 1, kicked : 1;
	bool whole : 1; /* the last request was read to its end */
	bool shut : 1;  /* our side is closed */
	bool tls : 1;
	bool fresh : 1;   /* no request came on it yet */
	bool cluster : 1; /* it speaks for a node, or control: gt_cluster_peer */
	char peer[]; /* the client's address as text; with room for any where a PROXY may tell it */
};

/* A connection as it is: handed over between two requests. NULL: it could not be watched. */
struct gt_conn *gt_conn_open(struct gt_gateway *gw, int fd GT_TAKES, const char *peer);
/* The client is here: ops speak for it. Never NULL. */
struct gt_conn *gt_conn_open_task(struct gt_gateway *gw, const struct gt_sock_ops *ops,
				  struct gt_task_run *run);
void gt_conn_free_exchanges(struct gt_gateway *gw);
/* A fresh one; NULL: it could not be watched. */
struct gt_conn *gt_conn_accept(struct gt_listener *l, int fd GT_TAKES, const char *peer);
/* The one of some that has waited longest for a request and buffers at least so many bytes; NULL:
 * there is none among them. */
struct gt_conn *gt_conn_idlest(struct gt_gateway *gw, size_t holding);
/* Reads what has come, of which the loop may not have told yet. */
void gt_conn_look(struct gt_conn *c);
/* The same of one that waits for a request; whether it still does. */
bool gt_conn_waits_in_vain(struct gt_conn *c);
/* Closes some of those until no more is buffered; false = more is, by calls. */
bool gt_conn_make_room(struct gt_gateway *gw, size_t bytes_max);
void gt_conn_close(struct gt_conn *c); /* at once; fine when closed */
void gt_conn_run(struct gt_conn *c);   /* moves all bytes that can move */
/* One of its sockets has something: takes it, and what is short is sent at the end of the round. */
void gt_conn_hear(struct gt_conn *c);
void gt_conn_kick(struct gt_conn *c); /* the same from a callback of another socket or a timer */
void gt_conn_next(struct gt_conn *c); /* the call ended: next request, or close */
/* Of its gateway from now on, watched as it was elsewhere; closed where that fails. */
void gt_conn_come(struct gt_conn *c);
void gt_conn_go(struct gt_conn *c); /* of no gateway any more; open, and not watched */

/* Its socket is *to's from now on, and watched by nobody; the rest is closed. Nothing is unsent. */
void gt_conn_give(struct gt_conn *c, struct gt_sock *to);
void gt_conns_shake(struct gt_gateway *gw); /* handshakes that waited for an identity go on */

/* It looks at what happened after so long, or is closed. */
void gt_conn_arm(struct gt_conn *c, uint64_t delay_ms);
/* What came is no request that a call could be made of: answered, and closed, as what follows can
 * not be found. */
void gt_conn_refuse(struct gt_conn *c, const struct gt_refusal *why);

/* shake.c */
void gt_conn_begin(struct gt_conn *c); /* a fresh one, behind a PROXY header if there was one */
/* It begins so because a node speaks TLS to a plain port; that was read. */
void gt_conn_greeted(struct gt_conn *c, const char *greeting, size_t len);
bool gt_conn_shake(struct gt_conn *c);             /* goes on; false = there is no more to do now */
void gt_conn_shaken(struct gt_conn *c, bool well); /* it is no longer in its handshake */

/* move.c: from one shard to another, with the call that has just begun on it. */
/* The call is another shard's: true, and nothing more is done with it here. gt_conn_run sends it.
 */
bool gt_conn_bind(struct gt_conn *c, const char *function, size_t len);
bool gt_conn_bind_to(struct gt_conn *c, unsigned shard);
void gt_conn_move(struct gt_conn *c); /* to where it is bound; closed here */

#endif
