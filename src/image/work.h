/* work.h - the inside of the worker process. One thread reads orders; each job has a thread, and
 * each layer of an image that is pulled. */
#ifndef GANTRY_IMAGE_WORK_H
#define GANTRY_IMAGE_WORK_H

#include <pthread.h>
#include <stdatomic.h>

#include <gantry/image/registry.h>
#include <gantry/image/worker.h>

#define GT_WORK_LAYERS_AT_ONCE 4 /* more would only share the processors and the line */

struct job; /* one order that takes time */

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
	unsigned fetching;
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
	unsigned running;             /* layer threads; under the lock */
	struct gt_err err;            /* of the first that failed; under the lock */
};

/* worker.c */
void gt_work_tell(struct worker *w, const struct gt_image_event *e);
void gt_work_progress(struct job *j); /* at once; by itself it is told some times a second */

/* confine.c: after it this process writes below dir_fd alone. -errno where the kernel can not. */
int gt_work_confine(int dir_fd);

/* pull.c, import.c: the body of a job's thread. */
int gt_work_pull(struct job *j, struct gt_err *err);
int gt_work_import(struct job *j, struct gt_err *err);

/* fetch.c: makes sure that the agent has the layer. When *kept holds files, they are synced later
 * with gt_work_sync: nobody waits for the disk. */
int gt_work_layer(struct job *j, const struct gt_blob *blob, const char *diff_id,
		  struct work_files *kept, struct gt_err *err);
void gt_work_kept(struct worker *w, const struct gt_image_order *o);
void gt_work_sync(struct worker *w, const char *diff_id, struct work_files *files);
int gt_work_files_make(struct worker *w, struct work_files *f, struct gt_err *err);
void gt_work_files_drop(struct worker *w, struct work_files *f);
/* The agent takes over complete files, or they are dropped because it has such a layer already. */
int gt_work_hand_over(struct job *j, const char *diff_id, struct work_files *files,
		      struct gt_err *err);

/* record.c: writes it into a new file of the work directory and tells DONE. */
int gt_work_record(struct job *j, const struct gt_image_record *record, struct gt_err *err);

#endif
