/* runtime_impl.h - the inside of the room. A sandbox is a process 1 with its control groups; a
 * container is a user's claim on one. */
#ifndef GANTRY_RUNTIME_IMPL_H
#define GANTRY_RUNTIME_IMPL_H

#include <gantry/base/buf.h>
#include <gantry/runtime/runtime.h>

#include "cgroup.h"
#include "idrange.h"
#include "plan.h"
#include "sandbox_net.h"

/* A sandbox only moves down, and may leave out what is in between. */
enum sandbox_state {
	SANDBOX_STAGING,   /* its process 1 prepares what is the same for all */
	SANDBOX_STAGED,    /* in the pool */
	SANDBOX_PREPARING, /* was told for which function */
	SANDBOX_PREPARED,  /* waits for a replica of it */
	SANDBOX_STARTING,
	SANDBOX_RUNNING,
	SANDBOX_DYING,    /* given up: killed, or about to end by itself */
	SANDBOX_REMOVING, /* no process any more; groups are being removed */
};

struct sandbox {
	struct gt_runtime *rt;
	struct sandbox *prev, *next; /* rt->sandboxes */
	enum sandbox_state state;
	bool staged; /* it has come that far */
	bool young;  /* up to STARTING: also in rt->young */
	struct sandbox *young_prev, *young_next;
	struct gt_container_where where;
	struct sandbox_net net;
	uint32_t id_base; /* of its range of ids, held; 0 = it has none any more */
	int pidfd, control, netns;
	struct gt_watch *pid_watch, *control_watch;
	struct gt_timer timer;      /* deadline of what it is doing, then removal retries */
	unsigned removals;          /* tries so far */
	struct gt_container *owner; /* NULL: nobody waits for its end */
	struct hot *hot;            /* PREPARING, PREPARED: for whom */
	struct sandbox *hot_prev, *hot_next; /* hot->boxes */
	uint64_t kin;                        /* hot.id of the plan that ran in it; 0 = of none */
	bool frozen_once;                    /* its control groups may remember that */
	struct gt_usage before;              /* what its groups counted for the one before it */
	struct gt_exit how;
};

/* How many are wanted at a time: grows with each start that had to do without, and every
 * DEMAND_HALF_S seconds without one halve it. */
struct demand {
	unsigned n;
	uint64_t since_ns; /* when n was true */
};

/* A function that was started lately, with the sandboxes prepared for its next replicas and what
 * the ones before left behind for them. */
struct hot {
	struct hot *prev, *next; /* rt->hots, the one used last first */
	struct plan *plan;
	uint64_t id; /* never 0, never the same again */
	struct demand demand;
	struct sandbox *boxes; /* the one begun first is first */
	unsigned n_boxes;
	struct vessel *vessels; /* the one left first is first */
	unsigned n_vessels;
	uint64_t used_ns;
	bool failed; /* could not be prepared: not tried again until it was started once more */
};

/* What outlives a container and was not its to alter: the network namespace and the control groups,
 * both made and set by process 1 and the agent, and its ids. The next container of the very same
 * plan may have them. */
struct vessel {
	struct vessel *prev, *next;
	char leaf[GT_CGROUP_LEAF_SIZE]; /* with the plan's limits */
	uint32_t id_base;               /* held */
	int netns;
	struct sandbox_net net;
};

struct gt_container {
	struct gt_runtime *rt;
	struct gt_container *prev, *next; /* rt->waiting, while it has no sandbox */
	struct sandbox *box;
	struct gt_container_events events;
	struct plan *plan;     /* until it is started */
	struct gt_init_go *go; /* likewise */
	int out, err, status;  /* only status is kept after the start */
	enum gt_start_kind kind;
	bool waiting, ended;
	bool hold; /* GO is somebody's word */
};

struct gt_runtime {
	struct gt_loop *loop;
	struct gt_cgroups cgroups;
	struct idranges ids;
	unsigned pool, pool_max, prepared_max;
	uint64_t prepared_idle_ns;
	bool allow_host_image, allow_host_network, layers_by_fd, freeing, retired;
	struct gt_net *net;
	char name[40]; /* of this daemon's things on the machine */
	char *allow_host_paths;
	char *mnt_path; /* absolute, of an empty directory */
	int init_fd, netns, null_fd;
	int ground;  /* the mount namespace that a sandbox gets its own copy of */
	int door;    /* is the socket of a sandbox while its process 1 is made, else /dev/null */
	int low_fds; /* what process 1 begins with has a number below this */
	struct gt_buf filter;      /* seccomp program */
	struct sandbox *sandboxes; /* all */
	struct sandbox *young;     /* what a start looks through, however many run; oldest first */
	struct gt_container *waiting; /* oldest first */
	struct hot *hots;
	struct gt_timer pump, refill, shrink, cool;
	uint64_t sandbox_n, hot_n;
	struct {
		bool used; /* somebody asked for one, and it could be made */
		struct demand demand;
		bool failed; /* the last try to stage one: go slowly */
		struct gt_err err;
	} staging[GT_NETWORK_N];
};

/* sandbox.c */
/* For anyone. */
int gt_sandbox_spawn(struct gt_runtime *rt, enum gt_network network, struct sandbox **ret,
		     struct gt_err *err);
/* For a container of this plan. from: NULL, or what the sandbox is made in; taken in any case. */
int gt_sandbox_spawn_for(struct gt_runtime *rt, const struct plan *p, struct vessel *from,
			 struct sandbox **ret, struct gt_err *err);
/* Makes it the function's: limits of its groups, PREPARE. */
int gt_sandbox_prepare(struct sandbox *box, const struct plan *p, bool answer, struct gt_err *err);
/* Makes it the container's, which was prepared for it. */
int gt_sandbox_go(struct sandbox *box, const struct gt_container *c, struct gt_err *err);
struct sandbox *gt_sandbox_adopt(struct gt_runtime *rt, const struct gt_container_where *where,
				 int pidfd, struct gt_err *err);
/* Of one that is there already: its range is told by its name. */
void gt_sandbox_hold_ids(struct sandbox *box);
void gt_sandbox_kill(struct sandbox *box);
void gt_sandbox_drop(struct sandbox *box);          /* one that waits for somebody: ends it */
void gt_sandbox_forget(struct sandbox *box);        /* frees the memory, touches no process */
bool gt_sandbox_is_idle(const struct sandbox *box); /* waits for somebody, or will */
const char *gt_init_step_text(uint32_t step);

/* ground.c */
/* A mount namespace with nothing in it but an empty directory for each sandbox's scratch. dir: an
 * absolute path of a directory, which nothing happens to. */
int gt_ground_open(const char *dir, int *ret, struct gt_err *err);

/* removal.c: from the death of process 1 to the last control group. */
void gt_sandbox_remove(struct sandbox *box);
struct sandbox *gt_sandbox_leftover(struct gt_runtime *rt, const char *leaf);
void gt_exit_read(int status_fd, struct gt_exit *ret);

/* aside.c */
#define GT_RUNTIME_ASIDE "weights" /* its group; no sandbox is named so */
void gt_runtime_aside_end(struct gt_runtime *rt);

/* vessel.c */
/* The namespace and the groups of a dead sandbox, taken from it; NULL: they show traces of it, or
 * can not be told to be clean. */
struct vessel *gt_vessel_of(struct sandbox *box);
bool gt_vessel_is_clean(const struct gt_runtime *rt, const struct vessel *v);
void gt_vessel_drop(struct gt_runtime *rt, struct vessel *v);

/* pool.c */
unsigned gt_demand_now(const struct gt_runtime *rt, struct demand *d); /* up to rt->pool_max */
void gt_pool_shrink(struct gt_runtime *rt); /* later: end what recent starts do not ask for */
void gt_pool_pump(struct gt_runtime *rt); /* soon: pair waiting containers with sandboxes, refill */
/* failed: NULL when one more is staged. */
void gt_pool_staged(struct gt_runtime *rt, enum gt_network network, const struct gt_err *failed);

/* hot.c */
/* Of exactly this plan, or NULL. What was kept for an older plan of the function ends. */
struct hot *gt_hot_of(struct gt_runtime *rt, const struct plan *p);
struct sandbox *gt_hot_take(struct hot *h);                         /* NULL: none is prepared */
struct vessel *gt_hot_vessel(struct gt_runtime *rt, struct hot *h); /* NULL: none is clean */
/* Was started; takes the plan. Returns the hot's id, 0: it is not kept. */
uint64_t gt_hot_keep(struct gt_runtime *rt, struct plan *p);
/* True: the sandbox's namespace and groups are kept for the next of its plan. */
bool gt_hot_inherit(struct sandbox *box);
void gt_hot_on_lost(struct sandbox *box, const struct gt_err *why); /* why NULL: it died */
/* Prepares up to `most` that are missing. */
void gt_hot_refill(struct gt_runtime *rt, unsigned most);
/* Ends one thing a function that recent starts do not ask for. True: there is more, or will be. */
bool gt_hot_shrink(struct gt_runtime *rt);
bool gt_hot_has_leaf(const struct gt_runtime *rt, const char *leaf);
void gt_hot_clear(struct gt_runtime *rt);

int gt_container_running(const struct gt_container *c, struct gt_err *err); /* -ENOENT */
/* container.c: what happened to its sandbox. */
void gt_container_on_answer(struct gt_container *c, const struct gt_init_answer *a);
void gt_container_on_failed(struct gt_container *c, const struct gt_err *err);
void gt_container_on_exit(struct gt_container *c, const struct gt_exit *how);

/* plan.c: what has no cause yet is the node's trouble. Returns r. */
int gt_cause_set(struct gt_err *err, int r);

#endif
