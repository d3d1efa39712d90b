/* model/msg.h - what the roles tell each other over the link.
 *
 *	control -> agent    struct gt_order   what should run on the node (desired)
 *	agent   -> control  struct gt_report  what does run there (observed)
 *	control -> gateway  struct gt_route   where calls of a function may go
 *	gateway -> control  struct gt_demand  who waits and who is being served
 *
 * Downward a watch: one snapshot, then changes, each with a `seq` that never falls; upward posts,
 * the first after a (re)connect with full = true. To a gateway `seq` is how many changes of routes
 *it knows of by then, which control names in its answers, too (Gantry-Routes: EPOCH.SEQ). Losing
 *any of them costs time only. `epoch` grows with each start of control; a message of a lower epoch
 *is ignored. Strings are owned by the struct that holds them; *_fini frees what a struct holds. */
#ifndef GANTRY_MODEL_MSG_H
#define GANTRY_MODEL_MSG_H

#include <gantry/model/gang.h>
#include <gantry/model/gpu_stats.h>
#include <gantry/model/image.h>
#include <gantry/model/replica.h>
#include <gantry/model/spec.h>
#include <gantry/model/traffic.h>
#include <gantry/model/usage.h>
#include <gantry/model/weights.h>

#define GT_REPLICA_ID_SIZE (GT_ULID_LEN + 1)
#define GT_TOKEN_HASH_HEX  65 /* SHA-256 in hex and NUL */

enum gt_want { GT_WANT_RUN, GT_WANT_STOP, GT_WANT_PARK, GT_WANT_N };

/* One replica that a node should run, park or stop. An order that disappears from the desired set
 * means: forget it; if it still runs, stop it. */
struct gt_order {
	char replica[GT_REPLICA_ID_SIZE];
	char function[GT_NAME_MAX + 1];
	uint32_t revision;
	enum gt_want want;
	bool known;                /* the node has reported it: not there means ended */
	uint32_t turn;             /* grows with each change between RUN and PARK */
	uint64_t grace_ms;         /* for STOP: TERM, wait this long, KILL; 0 = KILL at once */
	char *spec_json;           /* canonical spec text; the agent parses it with gt_spec_read */
	struct gt_gpu_grant *gpus; /* what it has from its start to its end */
	size_t n_gpus;
	struct gt_gang_member gang;
	/* Of the members by rank, where they are known before the start: those of the nodes, with
	 * network host. */
	char (*addresses)[GT_ADDRESS_MAX + 1];
	size_t n_addresses;
};

/* Why and how a replica ended or could not start. */
struct gt_end {
	char cause[40]; /* slug of problem.tbl: exited_early, out_of_memory, image_missing ...; "" =
			   none */
	char text[600]; /* for people */
	int exit_code;  /* -1 when it did not exit by itself */
	int signal;     /* 0 when none */
	char *log_tail; /* last GT_FAIL_LOG_LINES lines, '\n' between; NULL = none */
};

struct gt_observed {
	char replica[GT_REPLICA_ID_SIZE];
	char function[GT_NAME_MAX + 1];
	uint32_t revision;
	enum gt_replica_state state; /* all but PENDING; DRAINING: being stopped */
	uint32_t turn;               /* of the last order between RUN and PARK that it is about */
	int64_t pid;                 /* of the container's init, 0 = none */
	uint64_t created_ms;         /* wall clock */
	uint64_t cpu_milli, memory_bytes; /* its limits, which the node has given; 0 = none */
	struct gt_phases phases;
	struct gt_usage usage;        /* has 0: not looked at yet */
	struct gt_pull_progress pull; /* while PULLING */
	struct gt_park park;
	struct gt_weights_progress weights;
	struct gt_gpu_grant *gpus; /* as its order said */
	size_t n_gpus;
	struct gt_gang_member gang; /* likewise */
	struct gt_end end;
};

/* Something that happened on a node, for the log of events. */
struct gt_told_event {
	char type[40]; /* "gpu.xid" ...: only types that begin with "gpu." are taken */
	char function[GT_NAME_MAX + 1], replica[GT_REPLICA_ID_SIZE]; /* "" = about none */
	char cause[40];                                              /* slug, or "" */
	char text[400];
};
#define GT_TOLD_EVENTS_MAX 64 /* of one report */

/* What a GPU measured last. */
struct gt_gpu_told {
	char uuid[GT_GPU_UUID_MAX + 1];
	struct gt_gpu_stats stats;
};

struct gt_report {
	char node[GT_NAME_MAX + 1];
	bool full; /* replicas[] is everything on the node; what is not listed does not exist */
	uint64_t epoch;                   /* of the watch this answers to */
	uint64_t cpu_milli, memory_bytes; /* the node's size */
	uint64_t parking_bytes;           /* of its memory, for parked replicas */
	/* From here to the labels: told in full reports only. */
	char address[GT_ADDRESS_MAX + 1]; /* at which other nodes reach it; "" = none */
	struct gt_gpu *gpus;
	size_t n_gpus;
	struct gt_gpu_driver gpu_driver;
	struct gt_label *labels; /* sorted by key */
	size_t n_labels;
	struct gt_gpu_told *gpu_stats; /* each of those that are told is whole */
	size_t n_gpu_stats;
	struct gt_told_event *events; /* told again after a failure: at least once */
	size_t n_events;
	struct gt_node_weights weights; /* told: in full reports, and when it changed */
	struct gt_observed *replicas;
	size_t n_replicas;
};

struct gt_route_replica {
	char id[GT_REPLICA_ID_SIZE];
	char node[GT_NAME_MAX + 1]; /* where it runs; "" = the gateway's own */
	bool draining;              /* no new calls; when the last in-flight one ended, list it in
				       gt_demand.drained */
	bool suspect;               /* its node is silent: no new calls while another one serves */
};

struct gt_route {
	char function[GT_NAME_MAX + 1];
	uint32_t revision;
	enum gt_access access;
	uint32_t concurrency; /* slots a replica */
	uint32_t target;      /* calls that scaling wants a replica to hold; 0 = concurrency */
	uint32_t queue;
	uint64_t wait_ms, first_byte_ms, idle_ms, run_ms, body_bytes; /* idle, run: 0 = no limit */
	bool idempotent;
	char affinity[GT_HEADER_MAX + 1]; /* header; "" = none */
	uint32_t max_replicas;
	uint64_t start_ms; /* how long a start is expected to take: for Retry-After */
	char **models;
	size_t n_models;
	struct gt_route_replica *replicas; /* ready and draining ones */
	size_t n_replicas;
	/* Set while starts fail: waiters are refused at once with this, until retry_ms have passed
	 * since the message was received. A growing fail_seq marks a new failure. */
	uint64_t fail_seq; /* 0 = not failing */
	uint64_t retry_ms;
	struct gt_end fail;
};

struct gt_demand_function {
	char function[GT_NAME_MAX + 1];
	uint32_t queued, in_flight;
	uint64_t oldest_wait_ms;
	/* since the gateway started */
	uint64_t calls, responses[6]; /* responses[n]: status class n00; [0] = cut off */
	uint64_t refusals[GT_REFUSALS];
	uint64_t bytes_in, bytes_out, busy_us, cold;
	struct gt_hist wait;  /* for a slot, of calls that got one */
	struct gt_hist total; /* of all calls, from the head to the last byte handed over */
};

/* What belongs to no function. */
struct gt_gateway_stats {
	uint64_t connections, accepted;                   /* of clients: open now; all */
	uint64_t buffered_bytes;                          /* now */
	uint64_t tls_handshakes, tls_resumed, tls_failed; /* all that succeeded; of them; others */
	uint64_t forwarded;             /* requests that other gateways passed on to this one */
	uint64_t log_dropped;           /* lines of the access log */
	uint64_t refusals[GT_REFUSALS]; /* of requests whose function is not known */
};

struct gt_demand {
	char gateway[GT_NAME_MAX + 1];
	bool full; /* functions[] is everything with a waiting or running call */
	uint64_t epoch;
	struct gt_demand_function *functions;
	size_t n_functions;
	char (*drained)[GT_REPLICA_ID_SIZE]; /* draining replicas without a call in flight here */
	size_t n_drained;
	struct gt_gateway_stats stats;
};

void gt_order_fini(struct gt_order *o);
void gt_end_fini(struct gt_end *e);
void gt_end_copy(struct gt_end *dst, const struct gt_end *src); /* dst must be zeroed or fini'd */
void gt_observed_fini(struct gt_observed *o);
void gt_report_fini(struct gt_report *r);
void gt_route_fini(struct gt_route *r);
void gt_demand_fini(struct gt_demand *d);

#endif
