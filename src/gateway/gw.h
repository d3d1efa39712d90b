/* gw.h - the structs of a loop thread of the gateway and what its files offer each other.
 *
 *	gt_conn   a client connection: reads requests, writes answers (conn.h)
 *	gt_call   one request on it: admission, queue, end (call.c), both directions (relay.c)
 *	gt_up     a connection to a replica, an agent or control (up.c)
 *	gt_fn     a function: queue and slots (fn.c, pure), kept by routes.c
 *
 * Whatever is closed keeps its memory until what was deferred before has run (gt_gw_bury), so that
 * callers further up the stack may look at its `closed`. */
#ifndef GANTRY_GATEWAY_GW_H
#define GANTRY_GATEWAY_GW_H

#include <uthash.h>

#include <gantry/base/log.h>
#include <gantry/gateway/gateway.h>
#include <gantry/http/http1.h>
#include <gantry/http/watch.h>
#include <gantry/wire/leader.h>
#include <gantry/wire/wire.h>

#include "demand.h"
#include "fence.h"
#include "fn.h"
#include "hand.h"
#include "listen.h"
#include "port.h"
#include "shard.h"
#include "trace.h"

#define GT_GW_BUFFER     (64 * GT_KIB) /* a blocked direction holds no more */
#define GT_GW_HEAD_MS    10000
#define GT_GW_IDLE_MS    60000
#define GT_GW_STALL_MS   60000 /* the client neither takes nor sends what is due */
#define GT_GW_LINGER_MS  2000
#define GT_GW_FIRST_MS   5000  /* calls are held so long before the first routes */
#define GT_GW_REACH_MS   3000  /* a broker or control that is away, or silent, is waited for */
#define GT_GW_STALE_MS   30000 /* control is away: /readyz says so, cold calls are refused */
#define GT_GW_RETRIES    3
#define GT_GW_REQUEST_ID 64

struct gt_gateway;
struct gt_access_log;
struct ssl_ctx_st;
struct gt_call;
struct gt_conn;
struct gt_model;    /* routes.c */
struct gt_route_fn; /* routes.h */
struct gt_node;     /* nodes.h */
struct gt_identity;

/* Memory that must outlive the current stack. First member of what is buried. */
struct gt_grave {
	struct gt_grave *next;
	bool spare; /* a call's: kept for the next one */
};

struct gt_up {
	struct gt_grave grave;
	struct gt_up *prev, *next; /* in a pool, or node->idle */
	struct gt_gateway *gw;
	struct gt_sock sock;
	struct gt_target *target; /* NULL: control, or an agent */
	struct gt_call *call;     /* NULL: idle */
	uint64_t idle_since_ns;
	bool reused, closed;
	struct gt_node_pipe *pipe; /* nodes.h; NULL: it was made on this host */
	bool forward;              /* forward.c: to the gateway that leads */
	struct gt_call *asker;     /* of such a one that is not there yet */
};

enum gt_call_state {
	GT_CALL_HELD,    /* no routes known yet */
	GT_CALL_COLLECT, /* reads the body until it has told the model */
	GT_CALL_QUEUED,
	GT_CALL_PAUSED,  /* waits to try again */
	GT_CALL_DIALING, /* the broker makes a connection */
	GT_CALL_SENT,    /* connected or connecting; no answer yet */
	GT_CALL_STREAM,  /* the head of the answer was passed on */
	GT_CALL_TUNNEL,  /* websocket */
	GT_CALL_DONE,    /* the answer is complete on our side */
};

enum gt_way { /* where a request goes; see path.c */
	      GT_WAY_FUNCTION,
	      GT_WAY_OPENAI,
	      GT_WAY_LEADER,  /* whatever it is: another gateway's */
	      GT_WAY_CONTROL, /* its API */
	      GT_WAY_LINK,    /* its link */
	      GT_WAY_AGENT,   /* of another node: control's questions */
	      GT_WAY_LIVEZ,
	      GT_WAY_READYZ,
	      GT_WAY_SERVER, /* OPTIONS * */
};

struct gt_pipe;

struct gt_call {
	struct gt_grave grave;
	struct gt_call *prev, *next; /* in gw->held, or node->waiters */
	struct gt_waiter waiter;
	struct gt_gateway *gw;
	struct gt_conn *conn;
	enum gt_way way;
	uint16_t name_len; /* of the function in the path; see gt_call_function */
	enum gt_call_state state;
	struct gt_fn *fn;
	struct gt_target *target; /* its slot is held */
	struct gt_up *up;
	struct gt_dial *dial;
	struct gt_node *node; /* it waits for a pipe of that one, or for the answer on `asked` */
	struct gt_up *asked;  /* node NULL: the way to the leader is being made */
	uint64_t ask_ns;
	struct gt_h1 resp;
	struct gt_pipe *pipe;        /* splice.c: the body passes through it */
	bool bulk;                   /* an upgraded connection just had more than one read took */
	struct gt_outq upq;          /* to the replica: head and body */
	struct gt_openai_scan *scan; /* reads the body on GT_WAY_OPENAI */
	struct gt_sse *sse;          /* the answer is an event stream of OpenAI's API */
	struct gt_fenced *fenced;    /* control's answer waits; NULL: none does */
	struct gt_timer timer, beat;
	char request_id[GT_GW_REQUEST_ID + 1];
	struct gt_trace trace;
	char replica[GT_REPLICA_ID_SIZE]; /* that answers; kept after the slot was given back */
	uint32_t revision;
	bool authed, req_done, counted;
	bool in_control, stranger; /* it is one of gw->n_control, and of gw->n_strangers */
	bool forwarded; /* another gateway passed it on: what it states of the client is true */
	bool retrying;  /* in the function's budget */
	bool chunk_up, chunk_down;             /* bodies are written in chunks */
	bool continued;                        /* 100 Continue was sent */
	bool refused;                          /* the body is no longer wanted: read and dropped */
	bool tunnel_up_eof, tunnel_down_eof;   /* the client, the replica will send no more */
	bool tunnel_up_shut, tunnel_down_shut; /* and the other side was told so */
	unsigned retries, interims;
	uint64_t begun_ns, slot_ns, wait_ns, start_ns;
	uint64_t wait_ms, deadline_ms; /* limits.wait when it came; Gantry-Deadline, 0 = none */
	uint64_t retry_at_ns, retry_until_ns;
	uint64_t moved_ns; /* last byte from or to the replica */
	uint64_t body_bytes, down_bytes, body_max;
	size_t up_head;     /* bytes of upq, at its beginning, that are the head */
	uint64_t collected; /* bytes of the body that came before its model was known */
	int status;
	const char *refusal; /* slug of the problem that answered it; NULL = none */
};

struct gt_gateway {
	struct gt_loop *loop;
	struct gt_shards *shards; /* NULL: this one is all there is */
	unsigned shard;           /* its place among them */
	const struct gt_port *port;
	struct gt_gateway_config cfg; /* defaults filled in */
	struct gt_http_client *http;
	struct gt_ndjson_watch *watch;
	struct gt_ndjson_watch *leads; /* shard 0's: leader.c; NULL = there is one daemon */
	struct gt_leader leader;
	struct gt_up_pool forwards;                 /* to the gateway that leads */
	struct gt_listener listeners[GT_LISTENERS]; /* plain, TLS, control's */
	struct ssl_ctx_st *tls;       /* for connections to come; NULL: none is configured */
	struct ssl_ctx_st *link_tls;  /* of the cluster; NULL: none yet: identity.c */
	bool link_wanted;             /* shard 0 was told so */
	struct gt_identity *identity; /* shard 0's; NULL: nobody has asked for it */
	struct gt_node *nodes;        /* hash: those that joined */
	struct gt_timer pipes_timer;  /* set while a replica elsewhere has an idle connection */
	struct gt_conn *handshakes;
	uint32_t n_handshakes, handshakes_max;
	struct gt_watch *files;
	struct gt_timer accept_timer, drain_timer;
	struct gt_timer rest_timer; /* set while a replica rests */
	struct gt_grave *graves, *doomed;
	struct {
		struct gt_pipe *idle;
		unsigned n;
	} pipes;                 /* splice.c */
	struct gt_grave *spares; /* memory of calls */
	unsigned n_spares;
	struct gt_outq_store queues;
	struct gt_exchange *exchanges; /* memory of connections that became idle */
	unsigned n_exchanges;
	bool reaping;
	struct gt_rand rnd; /* of request ids: distinct, not secret; no system call each */
	uint64_t rnd_state;
	/* routes.c */
	struct gt_route_fn *fns;
	struct gt_model *models;
	char (*tokens)[GT_TOKEN_HASH_HEX];
	size_t n_tokens;
	struct {                 /* the last valid Authorization: mostly the next call's, too */
		uint64_t caller; /* 0 = none */
		size_t len;
		char value[512];
	} vouched;
	uint64_t epoch, down_since_ns;
	bool refuses; /* shard 0: the watch is of a control before that of `epoch` */
	bool partial; /* routes are of a control that does not know all replicas yet */
	bool synced, watch_up;
	struct gt_fence fence;
	struct gt_call *held;
	uint32_t n_control, n_strangers; /* requests that control's API has; without a token */
	uint32_t heard;                  /* see gt_listeners_look */
	/* connections */
	struct gt_conn *conns;
	uint32_t n_conns;
	bool accept_paused, accept_full, quiescing, freeing, was_ready;
	bool quiet;                     /* shard 0's: all of them are quiescing */
	size_t buffered, buffered_most; /* most: since memory was given back last */
	struct gt_timer trim_timer;
	int64_t buffered_told;  /* to all shards */
	uint64_t asked_room_ns; /* of the other shards: once a round */
	uint64_t full_told_ns;  /* when it was last logged that buffers are full; 0 = never */
	struct gt_gateway_stats stats;
	struct gt_access_log *access; /* NULL: none is written */
	struct gt_timer access_timer; /* set while the writer may not know of a line */
	struct {                      /* dial.c */
		struct gt_sock sock;
		struct gt_dial *asks;
		struct gt_timer timer; /* set while an answer is owed */
		uint32_t tag;
	} dialer;
	struct gt_handover handover;
	struct gt_tasks *tasks;   /* shard 0's: leases of durable calls; NULL = none yet */
	struct gt_task_run *runs; /* hash: those at home here */
	struct {                  /* demand.c */
		struct gt_http_call *post;
		struct gt_timer timer;
		bool full, urgent, dirty;
		bool handed; /* not of shard 0: its part is there */
	} demand;
	char scratch[64 * GT_KIB];
};

/* gateway.c */
GT_MUST_USE int gt_gw_new(struct gt_loop *loop, const struct gt_port *port,
			  const struct gt_gateway_config *cfg, struct gt_gateway **ret,
			  struct gt_err *err);
void gt_gw_free(struct gt_gateway *gw); /* NULL is fine; cuts what is open */
/* Connects to control: routes come in, demand goes out. Without it nothing is known or told. */
GT_MUST_USE int gt_gw_follow(struct gt_gateway *gw, struct gt_err *err);
GT_MUST_USE int gt_gw_watch(struct gt_gateway *gw, struct gt_err *err); /* control here leads */
void gt_gw_bury(struct gt_gateway *gw, struct gt_grave *grave GT_TAKES);
struct gt_call *gt_gw_new_call(struct gt_gateway *gw); /* all zero but gw */
void gt_gw_conn_gone(struct gt_gateway *gw);           /* one client connection fewer */
/* A refusal; fn NULL: the request's function is not known. */
void gt_gw_count_refusal(struct gt_gateway *gw, struct gt_fn *fn, const char *slug);
void gt_gw_quiesce(struct gt_gateway *gw);
void gt_gw_ready(struct gt_gateway *gw);         /* the first routes are known, or who has them */
void gt_gw_accept(struct gt_gateway *gw);        /* and nobody before this one accepts */
uint64_t gt_gw_now(const struct gt_gateway *gw); /* the loop's monotonic time */

#endif
