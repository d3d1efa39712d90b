/* agent_impl.h - the inside of the room: one struct for the node, one for each replica. */
#ifndef GANTRY_AGENT_IMPL_H
#define GANTRY_AGENT_IMPL_H

#include <uthash.h>

#include <gantry/agent/agent.h>
#include <gantry/base/buf.h>
#include <gantry/gpu/gpu.h>
#include <gantry/gpu/inject.h>
#include <gantry/gpu/ledger.h>
#include <gantry/http/client.h>
#include <gantry/http/server.h>
#include <gantry/http/watch.h>
#include <gantry/model/msg.h>
#include <gantry/model/ref.h>
#include <gantry/runtime/runtime.h>

#include "lease.h"
#include "logs.h"
#include "park.h"
#include "probe.h"

struct agent;
struct image_job;
struct image_wait;
struct estimate;
struct images;
struct preflight;
struct preflight_known;
struct peaks;
struct replica_weights;
struct weights;

struct replica {
	struct agent *agent;
	char id[GT_REPLICA_ID_SIZE];
	char function[GT_NAME_MAX + 1];
	uint32_t revision;
	struct gt_spec *spec; /* NULL when it could not be read */
	char *spec_json;
	enum gt_replica_state state;
	struct gt_container *container; /* NULL before and after */
	struct gt_container_where where;
	uint64_t created_ms, ordered_ns, exec_ns;
	struct gt_phases phases;
	struct gt_usage usage; /* as last told to control */
	unsigned usage_round;  /* of its last look */
	struct gt_end end;
	struct probe probe;
	struct gt_park park;      /* as control is told */
	struct parking parking;   /* as it is done */
	struct gt_timer deadline; /* not ready in time, later: the end of grace */
	struct {                  /* after a crash without control: again.c */
		struct gt_timer timer;
		uint64_t ended_ns;
		unsigned n; /* so often already */
	} again;
	struct log log;
	struct gt_gpu_grant *gpus; /* from its order; held in the ledger until it has ended */
	size_t n_gpus;
	struct gt_gang_member gang;
	uint64_t quiet_ns; /* of a gang's member: not before this is it asked for progress */
	char (*addresses)[GT_ADDRESS_MAX + 1]; /* of the gang's members, as ordered; or NULL */
	struct gpu_use *gpu_use;               /* of each of them */
	uint64_t gpu_peak_bytes;               /* on that of them where it was most */
	struct image_job *pull;                /* in state PULLING: it comes */
	struct image_wait *unpack;             /* and then, where that is needed, this */
	struct replica_weights *weights;       /* from its order to its end; NULL: it names none */
	/* Of the images that it uses: a bundle's own, and the registry's (below it); "" = none. */
	char image_digest[GT_REF_DIGEST_SIZE], base_digest[GT_REF_DIGEST_SIZE];
	int stop_signal;
	bool stop_ordered, forgotten; /* forgotten: freed as soon as it has ended */
	bool was_ready;
	bool held;          /* has its sandbox and waits for the other members of its gang */
	bool out_of_time;   /* killed because it did not get ready */
	const char *killed; /* or for this cause, a slug; NULL = not killed by us */
	char killed_text[320];
	bool dirty; /* control has not heard of the last change */
	UT_hash_handle hh;
};

/* What a replica has of one of its GPUs, as the last look told. */
struct gpu_use {
	uint64_t bytes;
	unsigned over; /* looks in a row that found too much */
	bool known, told;
};

struct reporter {
	struct gt_http_call *call; /* one in flight */
	uint64_t sent_ns;
	struct gt_timer retry, progress, beat;
	uint64_t retry_ms;
	bool full;                /* the next one lists everything */
	uint64_t sent_full, told; /* epoch: of the one in flight, if it lists everything; of the
				     last such one that arrived. 0 = none */
	bool due;                 /* control has not heard of us for a while */
	bool deferred;
	bool stats; /* what GPUs measure goes with it */
	struct gt_told_event events[GT_TOLD_EVENTS_MAX];
	size_t n_events, sent_events; /* sent: in the one in flight */
	uint64_t lost_events;
};

/* Looks at what replicas use, one round after the other while any runs. */
struct usage_rounds {
	struct gt_timer timer;
	uint64_t every_ms;
	unsigned round; /* the one that comes or goes on, from 1 */
};

struct agent {
	struct gt_loop *loop;
	struct gt_runtime *rt;
	struct gt_http_client *client;
	struct gt_http_server *server;
	struct gt_ndjson_watch *watch;
	struct dial *dial;
	struct logs *logs;
	struct images *images;
	struct weights *weights;
	struct estimate *estimates; /* being made */
	struct preflight *preflights;
	struct preflight_known *preflights_known;
	struct peaks *peaks;
	uid_t reader_uid; /* who reads files of models */
	gid_t reader_gid;
	struct replica *replicas; /* hash by id */
	struct reporter report;
	struct lease lease;
	struct usage_rounds usage;
	char node[GT_NAME_MAX + 1];
	char *link_path;
	int replicas_fd; /* DIR/agent/replicas */
	uint64_t epoch;  /* of the watch; 0 = none yet */
	bool link_up;
	bool refuses;  /* the watch is of a control before that of `epoch` */
	bool stopping; /* take no orders; the loop ends with the last replica */
	uint64_t cpu_milli, memory_bytes;
	uint64_t parking_bytes;           /* of that, for parked replicas */
	char address[GT_ADDRESS_MAX + 1]; /* at which other nodes reach this one; "" = none */
	struct gt_gpus *gpus;
	struct gpu_reset *reset;   /* NULL: none is reset */
	struct gt_timer gpu_round; /* what GPUs measure is told */
	struct gt_gpu_told gpu_told[GT_NODE_GPUS_MAX];
	size_t n_gpu_told;
	struct gt_gpu_ledger *ledger;
	struct gt_driver_roots driver; /* this and the next two are the configuration's */
	const char *cdi_dirs;          /* ':'-separated, later ones over earlier ones */
	const char *cdi_devices;       /* of gt_device_name_allowed */
	const char *nccl;              /* for preflights; NULL or "" = the linker finds it */
	struct gt_label *labels;
	size_t n_labels;
};

/* agent.c */
void gt_agent_replica_gone(struct agent *a); /* one ended: are we done? */

/* desired.c: the connections to control. */
int gt_desired_start(struct agent *a, struct gt_err *err);
void gt_desired_stop(struct agent *a);                          /* fine when it never began */
void gt_desired_reconnect(struct gt_request *req, void *agent); /* all of them, and anew */

/* supervise.c: a replica's life. Each of these may end in a report. */
struct replica *gt_replica_find(struct agent *a, const char *id);
struct replica *gt_replica_new(struct agent *a, const char *id, const char *function,
			       uint32_t revision, const char *spec_json);
void gt_replica_start(struct replica *r);
void gt_replica_adopt(struct replica *r);
void gt_replica_stop(struct replica *r, uint64_t grace_ms);
void gt_replica_forget(struct replica *r);
/* It ends at once and has failed for this cause, a static slug. */
void gt_replica_kill(struct replica *r, const char *cause, const char *text);
void gt_replica_leave(struct replica *r); /* the agent ends, the replica goes on */
void gt_replica_free(struct replica *r);
void gt_replica_is_ready(struct replica *r); /* probe.c found out */
/* It can not start. */
void gt_replica_give_up(struct replica *r, const char *cause, const char *text);
void gt_replica_move(struct replica *r, enum gt_replica_state to); /* and control is told */

void gt_replica_image_is_here(struct replica *r, const struct gt_err *failed);

/* replica_image.c */
/* 0: it is here, the specification has what the image says. -EINPROGRESS: gt_replica_image_is_here
 * follows. */
int gt_replica_image_get(struct replica *r, struct gt_err *err);
void gt_replica_image_adopt(struct replica *r);
/* Topmost first, to be returned with gt_image_mounts_drop. None for dir: and host:. */
int gt_replica_image_layers(struct replica *r, int *fds, size_t *n, size_t max, struct gt_err *err);

/* weights.c */
int gt_weights_new(struct agent *a, const struct gt_agent_config *config, struct gt_err *err);
void gt_weights_free(struct weights *n); /* after all replicas; NULL is fine */
bool gt_weights_dirty(const struct weights *n);
void gt_weights_observe_node(struct weights *n, struct gt_node_weights *ret); /* here: borrowed */
void gt_weights_observe(const struct replica_weights *w, struct gt_weights_progress *ret);
void gt_replica_weights_begin(struct replica *r); /* with its order: reading goes on beside all */
void gt_replica_weights_adopt(struct replica *r);
/* Must its container wait for the store? Then gt_replica_weights_are_here follows. */
bool gt_replica_weights_wait(struct replica *r);
void gt_replica_weights_are_here(struct replica *r);
/* The copies that lie over its paths; the descriptors are the caller's, the paths are not. */
size_t gt_replica_weights_files(struct replica *r, struct gt_container_file *ret);
void gt_replica_weights_end(struct replica *r); /* fine when it has none */

/* preflight.c */
bool gt_preflight_wanted(const struct replica *r); /* are its GPUs checked before it runs? */
/* Over the GPUs of these members, of whom `last` came last. True: gt_replica_gang_checked follows;
 * false: nothing is to be waited for. */
bool gt_preflight_begin(struct replica *last, struct replica *const *members, uint32_t n);
void gt_preflights_drain(struct agent *a); /* ends them, and calls nobody */

/* report.c */
void gt_report_soon(struct agent *a);
void gt_report_progress(struct agent *a); /* a pull went on; told later, with others */
void gt_report_full(struct agent *a);
/* For control's log of events. When it can not be told for long the oldest are lost. */
void gt_report_event(struct agent *a, const struct gt_told_event *event);
void gt_report_stop(struct agent *a);

/* usage.c */
bool gt_usage_look(struct replica *r);       /* into r->usage, now; false: its memory is not told */
void gt_usage_rounds_begin(struct agent *a); /* a replica runs; fine when they go on already */
void gt_usage_rounds_stop(struct agent *a);

#include "record.h"

/* dial.c */
/* A non-blocking connection to where the replica listens. */
int gt_replica_dial(struct replica *r, int *ret, struct gt_err *err);
int gt_dial_new(struct agent *a, int listen_fd, struct dial **ret, struct gt_err *err);
void gt_dial_free(struct dial *d);

/* logs_serve.c: routes of the agent's socket. */
extern const struct gt_http_route gt_agent_routes[];
extern const size_t gt_agent_routes_n;
void gt_agent_refuse(struct gt_request *req, const struct gt_err *err, void *app);

#include "gpus.h"
#include "replica_gang.h"

#endif
