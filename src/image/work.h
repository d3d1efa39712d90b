/* work.h - the inside of the worker process. One thread reads orders; each job has a thread, and a
 * pull a few more for its layers. */
#ifndef GANTRY_IMAGE_WORK_H
#define GANTRY_IMAGE_WORK_H

#include <pthread.h>
#include <stdatomic.h>

#include <gantry/image/registry.h>
#include <gantry/image/worker.h>

/* Bounds of threads, descriptors and memory, whatever is ordered. */
#define GT_WORK_JOBS           32 /* that are under way; others wait for their turn */
#define GT_WORK_LAYERS_AT_ONCE 4  /* of an image: more would only share the line */
#define GT_WORK_FETCHES        8  /* of all images together */

struct job; /* one order that takes time */
struct unsynced;

/* A layer on its way: in the list until the agent has it, so that nobody fetches it twice. */
struct fetch {
	struct fetch *prev, *next;
	char diff_id[GT_REF_DIGEST_SIZE];
	bool asked; /* LAYER was sent; KEPT is awaited */
	int result; /* of KEPT */
};

/* The two files of a layer in the work directory, NAME.tar and NAME.erofs. */
struct work_files {
	char name[32];
	int tar, index; /* -EBADF = none */
};

struct worker {
	int socket, dir_fd, layers_fd;
	struct gt_registry *registry;
	struct gt_layer_limits limits;
	atomic_uint serial; /* of file names */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* anything below, or a job's cancel or running */
	struct job *jobs;
	struct fetch *fetches;
	unsigned fetching, working; /* working: jobs that have begun */
	struct unsynced *unsynced;
	bool syncing;
};

struct job {
	struct worker *w;
	struct job *prev, *next;
	struct gt_image_order order;
	struct gt_ref ref;
	atomic_bool cancel;
	_Atomic uint64_t done_bytes, total_bytes;
	atomic_uint done_layers, total_layers;
	struct gt_pull_progress told; /* of these; under the lock */
	bool begun;
	unsigned running;  /* threads that get layers; under the lock */
	struct gt_err err; /* of the first that failed; under the lock */
};

/* worker.c */
void gt_work_tell(struct worker *w, const struct gt_image_event *e);
void gt_work_progress(struct job *j); /* at once; by itself it is told some times a second */

/* confine.c: after it this process writes below dir_fd alone. -errno where the kernel can not. */
int gt_work_confine(int dir_fd);

/* pull.c, import.c: the body of a job's thread. */
int gt_work_pull(struct job *j, struct gt_err *err);
int gt_work_import(struct job *j, struct gt_err *err);

/* fetch_layer.c: makes sure that the agent has the layer. */
int gt_work_layer(struct job *j, const struct gt_blob *blob, const char *diff_id,
		  struct gt_err *err);
void gt_work_kept(struct worker *w, const struct gt_image_order *o);
int gt_work_files_make(struct worker *w, struct work_files *f, struct gt_err *err);
void gt_work_files_drop(struct worker *w, struct work_files *f);
/* The agent takes over complete files, or they are dropped because it has such a layer already. */
int gt_work_hand_over(struct job *j, const char *diff_id, struct work_files *files,
		      struct gt_err *err);

/* sync.c: brings a layer that was taken over to the disk some time, and tells SYNCED then. */
void gt_work_sync(struct worker *w, const char *diff_id);

/* record.c: writes it into a new file of the work directory and tells DONE. */
int gt_work_record(struct job *j, const struct gt_image_record *record, struct gt_err *err);

#endif
