/* images.h - the images of a node: records, layers, what is mounted of them, and the worker that
 * gets new ones. Loop thread only.
 *
 *	DIR/agent/images/records/<hex>.json	one an image, written when all its layers are there
 *	DIR/agent/images/layers/<hex>.tar, .erofs	a layer; the index comes last
 *	DIR/agent/images/layers/<hex>.ok	it is on the disk for sure
 *	DIR/agent/images/trees/<hex>	it as a directory, where layers can not be mounted
 *	DIR/agent/images/work/	the worker's own: unfinished files, uploads, trash
 *
 * A layer without .ok is used, but not after a crash of the machine: then it is fetched again. */
#ifndef GANTRY_AGENT_IMAGES_H
#define GANTRY_AGENT_IMAGES_H

#include <uthash.h>

#include <gantry/agent/agent.h>
#include <gantry/base/buf.h>
#include <gantry/image/worker.h>
#include <gantry/loop/loop.h>
#include <gantry/model/image.h>
#include <gantry/runtime/runtime.h>

struct agent;
struct image_job;
struct ask;
struct errand;
struct outgoing;

struct image_layer {
	char diff_id[GT_REF_DIGEST_SIZE];
	uint64_t tar_bytes, since_ms;
	int mount;             /* detached; -EBADF = not mounted yet */
	bool unpacked, opaque; /* opaque: known with the mount; nothing below it counts */
	UT_hash_handle hh;
};

struct image {
	struct gt_image_record *record;
	uint64_t used_ms;
	UT_hash_handle hh; /* by record->digest */
};

struct images;
typedef int chore_fn(const int *fds, struct gt_err *err);

/* One child at a time that works on files. */
struct chore {
	struct images *images;
	int pidfd, answer; /* -EBADF = none */
	struct gt_watch *watch;
	void (*done)(struct images *im, const struct gt_err *err); /* err NULL: it went well */
};

struct images_config {
	uid_t uid;
	gid_t gid; /* of the worker */
	const char *registry_config, *registry_ca;
	const char *registry_insecure; /* comma-separated hosts */
	uint64_t keep_ms;              /* an image that nobody uses for so long goes; 0 = never */
	enum gt_image_extract extract;
	unsigned disk_percent; /* fuller than this, images that nobody uses go, oldest first */
};

struct images {
	struct agent *agent;
	struct images_config config;
	char *registry_config, *registry_ca, *registry_insecure;
	int dir_fd, records_fd, layers_fd, work_fd, trees_fd;
	bool new_boot; /* the machine was started since the last agent */
	struct image *images;
	struct image_layer *layers;
	struct gt_timer collect;
	/* images_serve.c */
	struct ask *asks; /* clients that wait */
	bool draining;
	/* image_jobs.c */
	pid_t worker_pid;
	int worker_pidfd, worker_fd;
	struct gt_watch *pid_watch, *worker_watch;
	struct gt_timer idle;
	struct errand *errands;
	struct outgoing *outbox;
	uint32_t next_id;
	unsigned unsynced, idle_rounds; /* layers that the worker brings to the disk still */
	/* image_unpack.c */
	bool unpacks, mounts_known; /* layers become directories; the kernel was asked */
	struct image_wait *waits;
	struct gt_timer unpack_soon;
	struct chore unpacking, removal;
	char unpacking_id[GT_REF_DIGEST_SIZE];
	unsigned garbage_serial;
	bool garbage_more; /* came while the last was being removed */
};

/* Who ordered hears exactly one of on_done and on_failed, never before the order returned. */
struct image_want {
	void (*on_done)(struct gt_image_record *r, void *arg); /* borrowed */
	void (*on_failed)(const struct gt_err *err, void *arg);
	void (*on_progress)(const struct gt_pull_progress *pull, void *arg); /* may be NULL */
	void *arg;
};

int gt_images_new(struct agent *a, const struct images_config *config, const char *state_dir,
		  struct images **ret, struct gt_err *err);
void gt_images_free(struct images *im); /* NULL is fine */

/* ---- image_store.c ---- */
int gt_image_store_open(struct images *im, const char *dir, struct gt_err *err);
void gt_image_store_close(struct images *im);
/* The image of this digest, its own or that of the index which led to it, with all its layers; or
 * NULL. */
struct image *gt_image_find(struct images *im, const char *digest);
/* The same for what was uploaded. */
struct image *gt_image_bundle_find(struct images *im, const char *digest);
uint64_t gt_image_layer_bytes(const struct images *im, const char *diff_id);
void gt_image_used(struct images *im, struct image *image);
int gt_image_layer_open(const struct images *im, const char *diff_id, const char *end, int *ret,
			struct gt_err *err);
/* Takes over the worker's two files. */
int gt_image_layer_keep(struct images *im, const char *file, const char *diff_id,
			struct gt_err *err);
/* Was it one that is here? */
bool gt_image_layer_synced(struct images *im, const char *diff_id);
/* Reads and removes the worker's file. */
int gt_image_record_take(struct images *im, const char *file, struct gt_image_record **ret,
			 struct gt_err *err);
/* What came for `ordered` (a reference, a bundle's digest) becomes an image. *record is the store's
 * then, and NULL. -ESTALE: a layer that was here when the worker looked went meanwhile. */
int gt_image_record_keep(struct images *im, const char *ordered, struct gt_image_record **record,
			 struct image **ret, struct gt_err *err);
/* Layers that no other image has go with it. */
uint64_t gt_image_remove(struct images *im, struct image *image);
/* Layers that no image has, of pulls that failed: those that came before since_ms. */
uint64_t gt_image_orphans_remove(struct images *im, uint64_t since_ms);
/* Uploads of which nothing came since then are thrown away; how many. */
unsigned gt_image_uploads_drop(struct images *im, uint64_t since_ms);

/* ---- image_collect.c ---- */
struct collected {
	unsigned images;
	uint64_t bytes;
	bool rest; /* also what no image has */
};
void gt_image_collect_start(struct images *im);
/* all: everything that no replica uses, however young. */
struct collected gt_image_collect(struct images *im, bool all);
bool gt_image_in_use(const struct images *im, const struct gt_image_record *image);

/* ---- image_mount.c ---- */
/* Appends descriptors of the image's layers, topmost first, down to one that is opaque. *n counts
 * them also after an error. *opaque: another image below this one does not count. */
int gt_image_mount(struct images *im, const struct gt_image_record *record, int *fds, size_t *n,
		   size_t max, bool *opaque, struct gt_err *err);
/* Where each container needs layers of its own (kernels before 6.15) they are the caller's, else
 * borrowed from the store. */
bool gt_image_mounts_owned(const struct images *im);
void gt_image_mounts_drop(const struct images *im, int *fds, size_t n); /* if they are owned */
int gt_image_can_mount(struct images *im, const char *diff_id, struct gt_err *err);

/* ---- image_unpack.c: where layers can not be mounted from files ---- */
struct image_wait;
/* 0: the layers of these can be mounted now, nothing is heard. -EINPROGRESS: fn follows once,
 * failed NULL when they can. */
int gt_image_unpack(struct images *im, const struct gt_image_record *const *records, size_t n,
		    void (*fn)(const struct gt_err *failed, void *arg), void *arg,
		    struct image_wait **ret);
void gt_image_wait_cancel(struct image_wait *w); /* NULL is fine */
void gt_image_unpack_end(struct images *im);
void gt_image_tree_load(struct images *im, const char *name); /* what was found at the start */
void gt_image_tree_drop(struct images *im, const char *diff_id);

/* ---- image_chore.c ---- */
/* fn runs in a child that has copies of the descriptors, and no other. */
int gt_chore_start(struct images *im, struct chore *c, chore_fn *fn, const int *fds, size_t n,
		   void (*done)(struct images *im, const struct gt_err *err), struct gt_err *err);
void gt_chore_end(struct chore *c); /* killed; nothing is heard */

/* ---- image_jobs.c ---- */
/* op: GT_IMAGE_RESOLVE, GT_IMAGE_PULL, GT_IMAGE_IMPORT (text: digest, file: of the work directory).
 */
struct image_job *gt_image_order(struct images *im, enum gt_image_op op, const char *text,
				 const char *file, const struct image_want *want);
const struct gt_pull_progress *gt_image_progress(const struct image_job *job); /* as of now */
/* Is the same under way? Another order would only wait for it, too. */
bool gt_image_ordered(const struct images *im, enum gt_image_op op, const char *text);
void gt_image_cancel(struct image_job *job); /* nothing is heard of it any more; NULL is fine */
void gt_image_sweep(struct images *im);
void gt_image_jobs_end(struct images *im);

/* ---- image_spec.c: what the image says where the specification says nothing. ---- */
void gt_image_apply(const struct gt_image_record *record, struct gt_spec *spec);

/* ---- images_serve.c, bundles_serve.c: routes of the agent's socket ---- */
struct gt_request;
void gt_images_list(struct gt_request *req, void *app);
void gt_images_resolve(struct gt_request *req, void *app);
void gt_images_pull(struct gt_request *req, void *app);
void gt_images_remove(struct gt_request *req, void *app);
void gt_images_collect(struct gt_request *req, void *app);
/* The daemon ends soon: no client waits for a registry any longer, nor begins to. */
void gt_images_drain(struct images *im);
/* Takes the request over. file: as gt_image_order. */
void gt_image_order_stream(struct gt_request *req, struct images *im, enum gt_image_op op,
			   const char *text, const char *file);
void gt_bundle_get(struct gt_request *req, void *app);
void gt_bundle_put(struct gt_request *req, void *app);

#endif
