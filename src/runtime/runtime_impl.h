/* runtime_impl.h - the inside of the room. A sandbox is a process 1 with its control groups; a
 * container is a user's claim on one. */
#ifndef GANTRY_RUNTIME_IMPL_H
#define GANTRY_RUNTIME_IMPL_H

#include <gantry/base/buf.h>
#include <gantry/runtime/runtime.h>

#include "cgroup.h"
#include "sandbox_net.h"
#include <gantry/runtime/init_proto.h>

enum sandbox_state {
	SANDBOX_STAGING, /* its process 1 prepares */
	SANDBOX_STAGED,  /* in the pool */
	SANDBOX_STARTING,
	SANDBOX_RUNNING,
	SANDBOX_DYING,    /* given up: killed, or about to end by itself */
	SANDBOX_REMOVING, /* no process any more; groups are being removed */
};

struct sandbox {
	struct gt_runtime *rt;
	struct sandbox *prev, *next; /* rt->sandboxes */
	enum sandbox_state state;
	struct gt_container_where where;
	struct sandbox_net net;
	int pidfd, control, netns;
	struct gt_watch *pid_watch, *control_watch;
	struct gt_timer timer;      /* staging and starting deadline, then removal retries */
	unsigned removals;          /* tries so far */
	struct gt_container *owner; /* NULL: nobody waits for its end */
	struct gt_exit how;
};

struct gt_container {
	struct gt_runtime *rt;
	struct gt_container *prev, *next; /* rt->waiting, while it has no sandbox */
	struct sandbox *box;
	struct gt_container_events events;
	struct gt_cgroup_limits limits;
	enum gt_network network;
	int fds[GT_INIT_FDS_MAX]; /* for START, in its order; only status is kept after it */
	size_t n_fds;
	uint32_t spec_len;
	char *command, *workdir, *image; /* for error texts */
	char **mount_paths;              /* NULL-terminated, in the order of the message */
	bool waiting, ended;
};

struct gt_runtime {
	struct gt_loop *loop;
	struct gt_cgroups cgroups;
	uint32_t id_base;
	unsigned pool;
	bool allow_host_image, allow_host_network, freeing, retired;
	struct gt_net *net;
	char name[40]; /* of this daemon's things on the machine */
	char *allow_host_paths;
	char *mnt_path; /* absolute, of an empty directory that each sandbox mounts its scratch on
			 */
	int init_fd, userns, netns, null_fd;
	struct gt_buf filter; /* seccomp program */
	struct sandbox *sandboxes;
	struct gt_container *waiting; /* oldest first */
	struct gt_timer pump, refill;
	uint64_t sandbox_n;
	struct {
		bool used;   /* somebody asked for one, ever */
		bool failed; /* the last try to stage one: go slowly */
		struct gt_err err;
	} staging[GT_NETWORK_N];
};

/* sandbox.c */
int gt_sandbox_spawn(struct gt_runtime *rt, enum gt_network network, struct gt_err *err);
int gt_sandbox_begin(struct sandbox *box, struct gt_container *c, struct gt_err *err);
struct sandbox *gt_sandbox_adopt(struct gt_runtime *rt, const struct gt_container_where *where,
				 int pidfd, struct gt_err *err);
void gt_sandbox_kill(struct sandbox *box);
void gt_sandbox_forget(struct sandbox *box); /* frees the memory, touches no process */

/* removal.c: from the death of process 1 to the last control group. */
void gt_sandbox_remove(struct sandbox *box);
struct sandbox *gt_sandbox_leftover(struct gt_runtime *rt, const char *leaf);
void gt_exit_read(int status_fd, struct gt_exit *ret);

/* pool.c */
void gt_pool_pump(struct gt_runtime *rt); /* soon: pair waiting containers with sandboxes, refill */
/* failed: NULL when one more is staged. */
void gt_pool_staged(struct gt_runtime *rt, enum gt_network network, const struct gt_err *failed);

/* container.c: what happened to its sandbox. */
void gt_container_on_answer(struct gt_container *c, const struct gt_init_answer *a);
void gt_container_on_failed(struct gt_container *c, const struct gt_err *err);
void gt_container_on_exit(struct gt_container *c, const struct gt_exit *how);

/* image.c: descriptors of the image and the volumes, appended to c->fds. */
int gt_image_open(struct gt_runtime *rt, const struct gt_spec *spec, int *ret, struct gt_err *err);
int gt_volume_open(struct gt_runtime *rt, const struct gt_volume *volume, int *ret,
		   struct gt_err *err);

/* encode.c: the flat specification as a memory file, c->mount_paths and the volumes' descriptors.
 */
int gt_spec_encode(struct gt_runtime *rt, const struct gt_container_args *args,
		   struct gt_container *c, struct gt_err *err);

#endif
