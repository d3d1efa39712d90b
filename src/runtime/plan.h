/* plan.h - all that a container's sandbox is made of, before there is one: the flat specification,
 * the trees of the host, the limits. The same for all replicas of a function's revision, and kept
 * to prepare the next one. */
#ifndef GANTRY_RUNTIME_PLAN_H
#define GANTRY_RUNTIME_PLAN_H

#include <gantry/base/buf.h>
#include <gantry/model/inject.h>
#include <gantry/runtime/init_proto.h>
#include <gantry/runtime/runtime.h>

#include "cgroup.h"

/* A packet has room for so many; what is left of it is for files of weights. */
#define PLAN_TREES_MAX (GT_INIT_FDS_MAX - GT_INIT_FD_LAYERS)
_Static_assert(GT_INIT_LAYERS_MAX + GT_VOLUMES_MAX + GT_INJECT_BINDS_MAX <= PLAN_TREES_MAX,
	       "a plan fits one packet");

struct plan_tree {
	int fd;         /* a place on the host, or a detached mount of a layer */
	bool layer;     /* of an image: its ids must be mapped */
	bool map;       /* and these where the file system can */
	uint64_t attr;  /* MOUNT_ATTR_* */
	char *name;     /* for texts */
	uint64_t id[2]; /* device and inode */
};

struct plan {
	char function[GT_NAME_MAX + 1];
	uint32_t revision;
	struct gt_buf flat; /* the memory file */
	struct plan_tree trees[PLAN_TREES_MAX];
	size_t n_layers, n_trees; /* layers first, topmost first; then the others as in `flat` */
	bool once;                /* the layers are gone with the first sandbox */
	bool passing;             /* for this container alone: nothing is prepared with it */
	bool shared_ids; /* of the first range, as what it writes on a disk has them as they are */
	struct gt_cgroup_limits limits;
	struct gt_cgroup_device devices[GT_INJECT_NODES_MAX]; /* told by `flat` too */
	size_t n_devices;
	enum gt_network network;
	char *command, *workdir, *image, *user; /* for error texts */
	char **mount_paths; /* NULL-terminated, in the order of the message; then those of links */
};

/* Slugs are causes: image_missing, image_not_allowed, volume_missing, command_missing,
 * limit_unsupported, sandbox_failed. */
int gt_plan_new(struct gt_runtime *rt, const struct gt_container_args *args, struct plan **ret,
		struct gt_err *err);
void gt_plan_free(struct plan *p); /* NULL is fine */
bool gt_plan_same(const struct plan *a, const struct plan *b);
/* PREPARE over a sandbox's socket. */
int gt_plan_send(const struct gt_runtime *rt, const struct plan *p, int sock, int userns,
		 bool answer, struct gt_err *err);
/* Why process 1 refused, for people. */
void gt_plan_failure(const struct plan *p, const struct gt_init_answer *a, struct gt_err *err);

/* image.c: opens what is named and appends it to p->trees. */
int gt_image_open(struct gt_runtime *rt, const struct gt_container_args *args, struct plan *p,
		  struct gt_err *err);
/* A file at hand: see struct gt_container_file. */
int gt_file_add(const struct gt_container_file *file, struct plan *p, struct gt_err *err);
int gt_volume_open(struct gt_runtime *rt, const struct gt_volume *volume, struct plan *p,
		   struct gt_err *err);
int gt_bind_open(const struct gt_inject_bind *bind, struct plan *p, struct gt_err *err);
/* A detached mount for a sandbox, whose ids userns maps. The caller's. */
int gt_tree_take(const struct plan *p, const struct plan_tree *t, int userns, int *ret,
		 struct gt_err *err);

/* encode.c: fills p->flat and p->mount_paths, opens the volumes. */
int gt_spec_encode(struct gt_runtime *rt, const struct gt_container_args *args, struct plan *p,
		   struct gt_err *err);
void gt_encode_string(struct gt_buf *out, const char *s); /* with its end */
/* foreign.c: the struct, and its strings. */
void gt_foreign_encode(const struct gt_foreign *f, struct gt_buf *out);
void gt_foreign_encode_strings(const struct gt_foreign *f, struct gt_buf *out);
/* inject.c: the struct with its nodes, its strings; and p->devices. */
void gt_inject_encode(const struct gt_inject *i, struct gt_buf *out);
void gt_inject_encode_strings(const struct gt_inject *i, struct gt_buf *out);
void gt_inject_devices(const struct gt_inject *i, struct plan *p);
/* What is particular to one replica. */
/* *ret is the caller's to free. */
int gt_go_add(struct gt_init_go *go, const char *const *env, size_t n, struct gt_err *err);
int gt_go_encode(const struct gt_container_args *args, struct gt_init_go **ret, struct gt_err *err);

#endif
