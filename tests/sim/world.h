/* world.h - a virtual fleet around the real control: nodes, gateways with callers, a store, and
 * time. One thread, one seed; the same seed gives the same world, bit for bit. */
#ifndef TEST_SIM_WORLD_H
#define TEST_SIM_WORLD_H

#include <gantry/control/control.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define W_FNS      5
#define W_AGENTS   3
#define W_GATEWAYS 2
#define W_GPUS     16   /* of a node */
#define W_PROCS    256  /* replicas a node remembers */
#define W_CALLS    2048 /* waiting or running calls of one function at one gateway */
#define W_TEXT     96
#define W_MS       GT_NS_PER_MS

/* What a revision is like: the spec, and how its process behaves. Written into the spec's text, so
 * that it travels to the node as any spec does. */
struct w_kind {
	unsigned start_ms, fail_permille, crash_permille;
	unsigned min, max, target, concurrency, idle_ms, drain_ms, memory_mib;
	unsigned gpu_milli; /* of one GPU; 0 = none */
	unsigned serial;    /* makes texts differ */
};
void w_kind_write(const struct w_kind *kind, char out[W_TEXT]);
struct w_kind w_kind_read(const char *text);

struct w_fn {
	char name[GT_NAME_MAX + 1];
	/* the durable row */
	bool stored;
	uint32_t revision;
	char text[W_TEXT];
	uint64_t created_ms;
	/* the callers */
	unsigned every_ms; /* mean time between calls over all gateways; 0 = none */
	bool steady;       /* exactly every_ms apart, each lasting service_ms */
	unsigned service_ms;
	uint64_t load_serial; /* a change of load makes older arrivals void */
	uint64_t served, refused, lost;
};

struct w_proc {
	char id[GT_REPLICA_ID_SIZE], function[GT_NAME_MAX + 1];
	uint32_t revision;
	enum gt_replica_state state;
	uint64_t serial; /* of the process: a timer of an earlier one is void */
	struct w_kind kind;
	uint64_t created_ms;
	struct gt_gpu_grant gpu; /* milli 0: none */
	struct gt_end end;
};

struct w_agent {
	char name[32];
	uint64_t conn; /* of the watch; 0 = not connected */
	uint64_t memory_bytes;
	uint64_t up_at_ns, down_at_ns; /* last delivery each way: messages keep their order */
	struct w_proc procs[W_PROCS];
	size_t n_procs;
};

struct w_call {
	uint64_t arrived_ns, serial;
	char replica[GT_REPLICA_ID_SIZE]; /* "" = waits */
};

struct w_queue { /* one function at one gateway */
	bool routed;
	struct gt_route route;
	uint64_t refuse_until_ns, fail_seq;
	struct w_call calls[W_CALLS];
	size_t n_calls;
	uint32_t said_queued, said_in_flight; /* in the last post */
};

struct w_gateway {
	char name[32];
	uint64_t conn;
	uint64_t up_at_ns, down_at_ns;
	bool post_due, full_due;
	struct w_queue queues[W_FNS];
};

struct world;
struct w_event {
	uint64_t at_ns, serial;
	void (*fn)(struct world *w, struct w_event *e);
	uint64_t a, b, c;
	void *data; /* freed with the event */
	void (*data_fini)(void *data);
};

struct world {
	uint64_t seed, rng, now_ns, serial, hash;
	struct gt_control *c; /* NULL while it is down */
	uint64_t epoch, last_event_id;
	uint64_t conn_last;
	struct w_fn fns[W_FNS];
	struct w_agent agents[W_AGENTS];
	struct w_gateway gateways[W_GATEWAYS];
	size_t n_fns, n_agents, n_gateways;
	bool faults;
	unsigned store_fail_permille;
	uint64_t steps, starts, scale_events, wait_limit_ns;
	uint64_t heal_ns; /* when faults stopped; 0 = not yet */
	struct w_event *heap;
	size_t n_heap, cap_heap;
	struct { /* RUN orders of this epoch, by replica */
		char id[GT_REPLICA_ID_SIZE], node[32];
	} * ordered;
	size_t n_ordered, cap_ordered;
};

/* world.c */
struct world *w_new(uint64_t seed, size_t n_fns);
void w_free(struct world *w);
void w_run_until(struct world *w, uint64_t ns);
uint64_t w_below(struct world *w, uint64_t n);
bool w_chance(struct world *w, unsigned permille);
void w_delay(struct world *w, uint64_t *at_ns); /* when a message arrives: after the one before */
struct w_event *w_at(struct world *w, uint64_t at_ns,
		     void (*fn)(struct world *w, struct w_event *e));
void w_mix(struct world *w, const char *what, const char *s,
	   uint64_t n); /* into the trace's hash */
struct w_fn *w_fn_find(struct world *w, const char *name);
uint64_t w_wall_ms(void *world);
uint64_t w_mono_ns(void *world);
_Noreturn void w_fail(struct world *w, const char *fmt, ...) GT_PRINTF(2, 3);

/* w_control.c: control's process, its ports, the store */
void w_control_start(struct world *w);
void w_control_kill(struct world *w);
void w_deploy(struct world *w, size_t fn, const struct w_kind *kind);
void w_delete(struct world *w, size_t fn);

/* w_agent.c */
void w_agent_connect(struct world *w, size_t agent);
void w_agent_disconnect(struct world *w, size_t agent, uint64_t back_ms);
void w_agent_reboot(struct world *w, size_t agent);
void w_agent_order(struct world *w, const char *node, const struct gt_order *order);
void w_agent_forget(struct world *w, const char *node, const char *replica);
void w_agent_report_full(struct world *w, size_t agent);
bool w_agent_serves(struct world *w, const char *replica); /* a process that answers */
void w_agent_free(struct w_agent *a);

/* w_gateway.c */
void w_gateway_connect(struct world *w, size_t gateway);
void w_gateway_disconnect(struct world *w, size_t gateway, uint64_t back_ms);
void w_gateway_restart(struct world *w, size_t gateway);
void w_gateway_route(struct world *w, const char *function); /* changed, or gone */
void w_gateway_load(struct world *w, size_t fn, unsigned every_ms);
void w_gateway_check(struct world *w); /* nobody waits too long */
void w_gateway_free(struct w_gateway *g);

#endif
