/* world_priv.h - what the files of the virtual fleet share. One thread.
 *
 * Control, agents and gateways know of each other only what messages have told. What the world
 * itself knows (which processes run, which calls wait) is here, and the rules compare the two. */
#ifndef GANTRY_SIM_WORLD_PRIV_H
#define GANTRY_SIM_WORLD_PRIV_H

#include <gantry/base/buf.h>
#include <gantry/sched/sched.h>
#include <gantry/sim/world.h>

#include <uthash.h>
#include <utlist.h>

#include "task.h"

#define W_TEXT            320
#define W_MS              GT_NS_PER_MS
#define W_NEVER           UINT64_MAX
#define W_POST_TIMEOUT_NS (5 * GT_NS_PER_S)  /* a post without an answer is taken as lost */
#define W_SILENCE_NS      (30 * GT_NS_PER_S) /* a watch without a line is closed by the peer */
#define W_UNACKED_NS      (15 * GT_NS_PER_S) /* and by control, when nothing comes back */

/* ---- what happens next: world.c ---- */
struct w_event {
	uint64_t serial;
	void (*fn)(struct gt_world *w, struct w_event *e);
	void *who;
	uint64_t a, b;
	void *data;                /* freed with the event, after data_fini */
	void (*data_fini)(void *); /* NULL = nothing but free */
	struct w_event *next;      /* of the free ones */
};
struct w_due {
	uint64_t at_ns, serial;
	struct w_event *event;
};

/* ---- functions ---- */
struct w_fn {
	char name[GT_NAME_MAX + 1];
	size_t index;
	UT_hash_handle hh;
	bool stored; /* the durable row */
	uint32_t revision;
	uint64_t created_ms;
	char text[W_TEXT];
	uint32_t every_ms, service_ms; /* its callers */
	bool steady;
	uint64_t load_serial; /* a change of load makes older arrivals void */
	struct gt_world_counts counts;
	uint64_t unmet_ns; /* since when it lacks replicas; 0 = it does not */
};

/* ---- peers of control: peer.c ---- */
struct w_peer {
	bool gateway;
	size_t index;
	char name[24];
	uint64_t conn;                   /* its open watch; 0 = it dials */
	uint64_t heard;                  /* the watch that control believes to be open; 0 = none */
	uint64_t epoch;                  /* of the last snapshot it took */
	uint64_t back_ns;                /* its process is down before */
	uint64_t cut_up_ns, cut_down_ns; /* nothing passes before, towards control and back */
	uint64_t down_at_ns;             /* last delivery: what control sends keeps its order */
	bool posting, full;              /* one post in flight; the next one lists everything */
	uint64_t post, sent_ns;          /* serial of it; when it was sent */
	uint64_t retry_ms;               /* after a failure; 0 = none */
};

/* ---- nodes: agent.c ---- */
struct w_agent;
struct w_proc { /* a replica that a node remembers */
	char id[GT_REPLICA_ID_SIZE];
	UT_hash_handle hh; /* of the world: by id */
	struct w_agent *agent;
	size_t fn;
	uint32_t revision;
	struct gt_gang_member member;
	enum gt_replica_state state;
	bool holds; /* its memory is taken: from the order to the end of the process */
	bool dirty, forgotten;
	bool on_gpu; /* it has its GPUs */
	bool want_parked, park_busy;
	uint32_t turn;
	struct gt_park park;
	uint64_t serial; /* of the process: a timer of an earlier one is void */
	uint64_t listed; /* last snapshot that had it */
	struct gt_world_kind kind;
	uint64_t created_ms, ready_ns;
	struct gt_gpu_grant *gpus;
	size_t n_gpus;
	struct gt_end end;
	struct w_call *calls; /* by pprev, pnext */
	struct w_proc *prev, *next;
};
struct w_agent {
	struct w_peer peer;
	struct w_proc *procs;
	size_t n_procs, n_dirty;
	uint64_t memory_bytes, held_bytes;
	uint32_t gpu_milli[GT_SCHED_GPUS_MAX]; /* held */
	unsigned batch;                        /* orders are being read: reports wait */
	struct gt_node_row said;               /* of it, as stored */
	bool beats;                            /* a report is due, with or without news */
	uint64_t heard_ns; /* when the last report was sent that control acknowledged */
};

/* ---- gateways and their callers: gateway.c, call.c ---- */
struct w_slot { /* a replica as a gateway knows it */
	char id[GT_REPLICA_ID_SIZE];
	UT_hash_handle hh; /* of the queue */
	struct w_queue *queue;
	bool draining, gone, dead, free;
	uint32_t in_flight;
	uint64_t listed;              /* last route that had it */
	struct w_slot *prev, *next;   /* queue->free: those with room */
	struct w_slot *dprev, *dnext; /* gateway->draining */
};
struct w_call {
	uint64_t serial; /* 0: it has ended */
	uint64_t arrived_ns, service_ns;
	struct w_queue *queue;
	struct w_lease *lease; /* NULL: a direct call */
	struct w_slot *slot;   /* NULL: it waits */
	struct w_proc *proc;
	struct w_call *prev, *next;   /* queue->waiting or queue->running; of the free ones */
	struct w_call *pprev, *pnext; /* proc->calls */
};
struct w_queue { /* one function at one gateway */
	struct w_gateway *gateway;
	size_t fn;
	bool routed, dirty, expiring;
	uint32_t concurrency, target, most;
	uint64_t wait_ns, refuse_until_ns, fail_seq;
	struct w_slot *slots, *free;
	struct w_call *waiting, *running;
	uint32_t n_waiting, n_running, peak, told_need;
};
struct w_gateway {
	struct w_peer peer;
	struct w_queue **queues; /* by function; NULL = never heard of */
	size_t cap_queues;
	size_t *dirty; /* functions */
	size_t n_dirty, cap_dirty;
	struct w_slot *draining;
	struct w_desk desk;
	bool urgent;
	uint64_t post_due_ns, timer; /* serial of the timer in force */
};

struct w_order { /* a RUN order of this epoch */
	char id[GT_REPLICA_ID_SIZE];
	size_t node;
	UT_hash_handle hh;
};

#define W_WAIT_SUB  64 /* places for each doubling */
#define W_WAIT_LIST (64 * W_WAIT_SUB)

struct gt_world {
	struct gt_world_config config;
	uint64_t rng, now_ns, serial, hash, epoch, last_event_id, conn_last;
	int64_t wall_ms; /* jumps add up */
	struct gt_control *c;
	struct gt_buf learned; /* by the last one, at its end */
	struct w_fn **fns, *by_name;
	size_t n_fns, cap_fns, n_heap, cap_heap;
	struct w_agent *agents;
	struct w_gateway *gateways;
	struct w_proc *procs;
	struct w_order *orders;
	struct w_gang *gangs; /* rules_gang.c */
	struct w_tasks tasks;
	struct w_call *free_calls;
	struct w_event *free_events;
	struct w_due *heap;
	unsigned store_fail_permille, posts_fail_permille;
	uint64_t store_slow_ms, store_at_ns, check_at_ns;
	uint64_t calm_ns, limit_ns; /* since when, and how long a call may wait; W_NEVER = storm */
	struct gt_world_stats stats;
	uint64_t metered_ns, started; /* calls ever accepted, for the sum of them */
	uint64_t waits[W_WAIT_LIST], n_waits;
	struct gt_world_broken broken;
	/* For tests of the rules alone: which one is to be broken, see tests/sim/test_rules.c. */
	const char *sabotage;
};

/* world.c */
uint64_t gt_w_below(struct gt_world *w, uint64_t n);
bool gt_w_chance(struct gt_world *w, unsigned permille);
struct w_event *gt_w_at(struct gt_world *w, uint64_t at_ns,
			void (*fn)(struct gt_world *w, struct w_event *e));
void gt_w_mix(struct gt_world *w, const char *what, const char *s, uint64_t n);
void gt_w_meter(struct gt_world *w); /* before held, ready or busy change */
struct w_fn *gt_w_fn(struct gt_world *w, const char *name);
uint64_t gt_w_wall_ms(void *world);
void gt_w_kind_write(const struct gt_world_kind *k, char out[W_TEXT]);
struct gt_world_kind gt_w_kind_read(const char *text);
bool gt_w_sabotaged(const struct gt_world *w, const char *name);

/* rules.c */
void gt_w_break(struct gt_world *w, const char *rule, const char *fmt, ...) GT_PRINTF(3, 4);
void gt_w_rules_check(struct gt_world *w);
void gt_w_rule_order(struct gt_world *w, const char *node, const struct gt_order *order);
void gt_w_rule_forget(struct gt_world *w, const char *replica);
void gt_w_rule_epoch(struct gt_world *w, struct w_peer *p, uint64_t epoch);
void gt_w_rules_fini(struct gt_world *w);
void gt_w_rules_restart(struct gt_world *w);

/* peer.c */
void gt_w_peer_dial(struct gt_world *w, struct w_peer *p, uint64_t delay_ns);
/* Both sides know at once. It dials again after back_ms. */
void gt_w_peer_break(struct gt_world *w, struct w_peer *p, uint64_t back_ms);
/* The process is down until then; control hears of it, or (power cut) does not. */
void gt_w_peer_crash(struct gt_world *w, struct w_peer *p, uint64_t back_ms, bool heard);
void gt_w_peer_cut(struct gt_world *w, struct w_peer *p, uint64_t up_ms, uint64_t down_ms);
/* Down the watch, in order; fn is not called when the watch has broken meanwhile. who = p. */
struct w_event *gt_w_peer_tell(struct gt_world *w, struct w_peer *p,
			       void (*fn)(struct gt_world *w, struct w_event *e));
bool gt_w_peer_hears(const struct w_peer *p, const struct w_event *e);
/* Up: take is called when it arrives; the answer ends peer->posting. msg is freed. */
typedef int w_take_fn(struct gt_control *c, const void *msg, struct gt_err *err);
void gt_w_peer_post(struct gt_world *w, struct w_peer *p, w_take_fn *take, void *msg GT_TAKES,
		    void (*msg_fini)(void *));

/* control.c */
void gt_w_control_start(struct gt_world *w);
struct gt_spec *gt_w_spec(const char *text);

#include "world_agent.h"

/* gateway.c */
void gt_w_gateway_snapshot(struct gt_world *w, struct w_gateway *g);
void gt_w_gateway_route(struct gt_world *w, const char *function); /* changed, or gone */
void gt_w_gateway_post(struct gt_world *w, struct w_gateway *g);   /* if it may, and has what */
void gt_w_gateway_changed(struct gt_world *w, struct w_queue *q);
struct w_queue *gt_w_queue(struct gt_world *w, struct w_gateway *g, size_t fn);
void gt_w_gateway_fini(struct gt_world *w, struct w_gateway *g);

/* call.c */
enum w_call_end { W_SERVED, W_REFUSED, W_LOST };
void gt_w_call_end(struct gt_world *w, struct w_call *call, enum w_call_end how);
void gt_w_calls_refuse(struct gt_world *w, struct w_queue *q); /* those that wait */
void gt_w_calls_resume(struct gt_world *w, struct w_proc *p);  /* it stood still */
void gt_w_calls_lose(struct gt_world *w, struct w_proc *p);    /* its process is gone */
void gt_w_calls_dispatch(struct gt_world *w, struct w_queue *q);
void gt_w_slot_update(struct w_slot *s); /* has it room? */

#endif
