/* runtime/runtime.h - containers: from a spec to a running program and back to nothing.
 *
 * Everything that is slow or the same for all (namespaces, control groups, /dev, /proc, /sys) is
 * staged ahead of demand by a pool of waiting process 1s. For functions that were started lately
 * one sandbox each is prepared further, up to the last step before the program: such a start takes
 * one message. No sandbox is used twice, and none by a function that it was not prepared for; the
 * next container of the same plan may have the network namespace and the control groups of one that
 * is gone, where they show no trace of it.
 *
 * Loop thread only; nothing here blocks for longer than a few system calls. A container goes on
 * when this process ends: it can be adopted from struct gt_container_where. */
#ifndef GANTRY_RUNTIME_RUNTIME_H
#define GANTRY_RUNTIME_RUNTIME_H

#include <sys/types.h>

#include <gantry/base/err.h>
#include <gantry/loop/loop.h>
#include <gantry/model/spec.h>
#include <gantry/model/usage.h>
#include <gantry/net/net.h>

struct gt_runtime;
struct gt_container;
struct gt_foreign;
struct gt_inject;

#define GT_RUNTIME_ID_BASE    100000
#define GT_RUNTIME_LAYERS_MAX 128

struct gt_runtime_config {
	const char *dir;   /* exists, only root enters it; also names the control groups and
			      the packet filter */
	uint32_t id_base;  /* the first of the host's ids that are the containers'; 0 = 100000 */
	unsigned pool;     /* sandboxes staged ahead, always */
	unsigned pool_max; /* how many recent starts may raise that to, and what is prepared
			      for one function; below pool = pool */
	unsigned prepared_max;     /* functions that may have a sandbox prepared; 0 = none */
	uint64_t prepared_idle_ms; /* it ends when the function was not started for so long; 0 =
				      5 min */
	bool layers_by_path;       /* as on kernels before 6.15; for tests */
	bool allow_host_image;
	bool allow_host_network;
	const struct gt_net_config *egress; /* its name is the runtime's; NULL = defaults */
	const char *allow_host_paths; /* ':'-separated prefixes for dir: images and volumes; NULL =
					 all */
};

/* As root only. Containers of the same `dir` that another process started stay until adopted or
 * swept. */
GT_MUST_USE int gt_runtime_new(struct gt_loop *loop, const struct gt_runtime_config *config,
			       struct gt_runtime **ret, struct gt_err *err);
/* No container goes on after this process: gt_runtime_free shall leave nothing on the machine. */
void gt_runtime_retire(struct gt_runtime *rt);
/* Staged sandboxes end; containers go on. Every container must have been released. NULL is fine. */
void gt_runtime_free(struct gt_runtime *rt);
/* Can layers of many containers be copies of the same detached mounts (kernel 6.15)? Else each
 * container needs mounts of its own: layers_owned. */
bool gt_runtime_layers_by_fd(const struct gt_runtime *rt);

/* A host path as volumes are opened: by the same rules, without any right on it. Slugs
 * volume_missing, image_not_allowed. */
GT_MUST_USE int gt_runtime_path_open(struct gt_runtime *rt, const char *path, int *ret,
				     struct gt_err *err);
#define GT_RUNTIME_GROUPS_MAX 8
/* The control group for processes of the caller that read ahead of containers: made with the first
 * call, limited anew by each, kept over a restart with what is charged to it, gone with a cleanup
 * or when nothing shall go on. fds: write "0" into each from a process of one thread to have it in
 * there; the caller's. memory_bytes 0 = no limit. */
GT_MUST_USE int gt_runtime_aside(struct gt_runtime *rt, uint64_t memory_bytes,
				 int fds[GT_RUNTIME_GROUPS_MAX], size_t *n_fds, struct gt_err *err);
/* And how fast it reads from the disk that a file system is on (st_dev). Fine when there is none.
 * -EOPNOTSUPP: this machine can not throttle. */
GT_MUST_USE int gt_runtime_aside_disk(struct gt_runtime *rt, dev_t dev, uint64_t read_bps,
				      struct gt_err *err);

struct gt_runtime_waiting {
	unsigned staged, prepared; /* sandboxes that are ready for anyone, and for a function */
};
struct gt_runtime_waiting gt_runtime_waiting(const struct gt_runtime *rt);
/* Kills and removes what a dead process left of this dir and nobody adopted. In the background. */
void gt_runtime_sweep(struct gt_runtime *rt);
/* True while removed containers and swept leftovers still have control groups. */
bool gt_runtime_busy(const struct gt_runtime *rt);
/* For a daemon that does not run: kills and removes every container of the dir, waiting for it.
 * -ETIMEDOUT names a control group that would not go. */
GT_MUST_USE int gt_runtime_cleanup(const char *dir, struct gt_err *err);

/* What a later process needs to find a container again. */
struct gt_container_where {
	char sandbox[48]; /* its control groups' name */
	pid_t pid;        /* of its process 1, here */
	bool again;       /* the groups were another container's of the same plan before */
	uint32_t slot;    /* of its address, with network egress; 0 = none */
	uint64_t start_time;
};

struct gt_exit {
	int code;         /* -1: killed */
	int signal;       /* 0: it exited */
	bool oom;         /* the kernel killed for want of memory */
	uint64_t wall_ms; /* when; 0 = not known */
};

struct gt_container_events {
	/* A sandbox is at hand, nothing of the image runs yet: the moment to write down `where`.
	 * A negative answer with err refuses the start (on_failed follows). */
	int (*on_sandbox)(struct gt_container *c, const struct gt_container_where *where, void *arg,
			  struct gt_err *err);
	void (*on_started)(struct gt_container *c, uint64_t root_us, uint64_t exec_us, void *arg);
	/* err->slug is a cause of problem.tbl: command_missing, exec_failed, sandbox_failed. */
	void (*on_failed)(struct gt_container *c, const struct gt_err *err, void *arg);
	/* Its last process is gone and its control groups are removed. */
	void (*on_exit)(struct gt_container *c, const struct gt_exit *how, void *arg);
	void *arg;
};

enum gt_start_kind {
	GT_START_COLD,     /* its sandbox was made for it */
	GT_START_POOLED,   /* a staged one was there */
	GT_START_PREPARED, /* one for this very revision was there */
	GT_START_KIND_N
};

struct gt_container_file {
	const char *path; /* absolute; what is there is a file too, or is made */
	int fd;           /* of a mount in this process's own mount table */
};
#define GT_RUNTIME_FILES_MAX 64

struct gt_container_args {
	const char *function, *replica;
	uint32_t revision;
	const struct gt_spec *spec;
	/* The image's layers, topmost first: detached read-only mounts whose ids are not mapped
	 * yet. Copied; may serve other containers at the same time, unless layers_owned says that
	 * they are for this container only. n_layers 0: the spec's own dir: or host: image. */
	const int *layers;
	size_t n_layers; /* up to GT_RUNTIME_LAYERS_MAX */
	bool layers_owned;
	/* Files that lie over paths of the container, read-only: up to GT_RUNTIME_FILES_MAX, the
	 * last of which are left out where layers and other mounts take their room. No sandbox is
	 * kept ahead with them: it would hold them open for nobody. Copied. */
	const struct gt_container_file *files;
	size_t n_files;
	/* FIFOs open for both directions, and a file that process 1 writes the end into. Copied.
	 * The FIFOs are given to the container's root, and then to the program's user. */
	int stdout_fd, stderr_fd, status_fd;
	const struct gt_foreign *foreign; /* NULL: as functions are run */
	/* NULL: no devices. Its environment must be in the spec (gt_inject_env_apply). A sandbox
	 * that was prepared for other devices is not used. */
	const struct gt_inject *inject;
	/* More of the environment, of this replica alone: what is in the spec is shared with others
	 * of its revision that are prepared ahead. "NAME=value", at most GT_CONTAINER_ENV_MAX;
	 * names that the spec has as well are the caller's mistake. */
	const char *const *env;
	size_t n_env;
	/* Stops when on_sandbox was told: gt_container_go follows, within 30 s. */
	bool hold;
};
#define GT_CONTAINER_ENV_MAX 24

/* Exactly one of on_started and on_failed follows, never before this returned; after on_started
 * exactly one on_exit. Everything of args is copied. A refusal at once has the slug of a cause too:
 * image_missing, image_not_allowed, network_not_allowed, volume_missing, limit_unsupported,
 * sandbox_failed. */
GT_MUST_USE int gt_container_start(struct gt_runtime *rt, const struct gt_container_args *args,
				   const struct gt_container_events *events,
				   struct gt_container **ret, struct gt_err *err);
/* How its sandbox was come by; once it is started, by this process. */
enum gt_start_kind gt_container_start_kind(const struct gt_container *c);
/* Has a sandbox prepared for the next start with these args, as a start does for the one after it.
 * replica and the descriptors are not used, and with layers_owned nothing is done. Refused as a
 * start is; nothing is told later. */
GT_MUST_USE int gt_runtime_prepare(struct gt_runtime *rt, const struct gt_container_args *args,
				   struct gt_err *err);
/* Goes on with one that was held, with more of the environment. */
GT_MUST_USE int gt_container_go(struct gt_container *c, const char *const *env, size_t n_env,
				struct gt_err *err);
/* The address of a slot of this node, as text. */
void gt_runtime_address(const struct gt_runtime *rt, uint32_t slot, char out[GT_ADDRESS_MAX + 1]);
/* The containers with these slots, and no others, reach each other: members of one group. n 0: it
 * is no more. A slot that is given to a new container is in no group. */
GT_MUST_USE int gt_runtime_group(struct gt_runtime *rt, const char *group, const uint32_t *slots,
				 size_t n, struct gt_err *err);
/* A container that another process started: only on_exit follows. -ESRCH: it ended meanwhile, and
 * *ret_exit tells how. status_fd is copied. */
GT_MUST_USE int gt_container_adopt(struct gt_runtime *rt, const struct gt_container_where *where,
				   int status_fd, const struct gt_container_events *events,
				   struct gt_container **ret, struct gt_exit *ret_exit,
				   struct gt_err *err);
/* Passed on to the program's process group. Fine when it has ended. */
void gt_container_signal(struct gt_container *c, int signo);
void gt_container_kill(struct gt_container *c); /* all of it, at once; also while starting */
bool gt_runtime_can_freeze(const struct gt_runtime *rt); /* this machine */
/* All of its processes stand still until it is thawed, also for signals but a kill. Waits up to 5
 * ms for the kernel; -EAGAIN: it is still at it, and gt_container_frozen or another freeze tells
 * when it has come about. -EOPNOTSUPP: this machine can not. */
GT_MUST_USE int gt_container_freeze(struct gt_container *c, struct gt_err *err);
GT_MUST_USE int gt_container_thaw(struct gt_container *c, struct gt_err *err);
/* 1 or 0, from the kernel: also of an adopted container that another process froze. */
GT_MUST_USE int gt_container_frozen(const struct gt_container *c, struct gt_err *err);
/* Another limit of its memory than its spec's, until it ends. Below what it uses the kernel takes
 * back what it can. */
GT_MUST_USE int gt_container_memory(struct gt_container *c, uint64_t bytes, struct gt_err *err);
/* A few files are read. -ENOENT: it does not run. Of an adopted container whose groups were another
 * one's before, what was used until it was adopted is not counted. */
GT_MUST_USE int gt_container_usage(const struct gt_container *c, struct gt_usage *ret,
				   struct gt_err *err);
/* A non-blocking socket whose connect() to 127.0.0.1:port inside was issued. */
GT_MUST_USE int gt_container_dial(struct gt_container *c, uint16_t port, int *ret,
				  struct gt_err *err);
/* A non-blocking connection to the unix socket at the absolute path inside, on the container's root
 * itself and not on a mount. -ENOENT, -ECONNREFUSED: nobody listens yet; -EAGAIN: more wait than
 * it takes. */
GT_MUST_USE int gt_container_dial_path(struct gt_container *c, const char *path, int *ret,
				       struct gt_err *err);
/* Ends the handle; no event follows. A container that has not ended is killed and removed. */
void gt_container_release(struct gt_container *c);
/* The same, but the container goes on: it can be adopted again. */
void gt_container_leave(struct gt_container *c);

#endif
