/* store/store_priv.h - what the store's files share: the connections, and the lanes that jobs wait
 * in. */
#ifndef GANTRY_SRC_STORE_STORE_PRIV_H
#define GANTRY_SRC_STORE_STORE_PRIV_H

#include <gantry/store/store.h>

#include "ballast.h"
#include "job.h"
#include "wait.h"

enum {
	GT_LANE_WRITER, /* everything that changes something, in its order */
	GT_LANE_READER, /* one call, its result, revisions: short */
	GT_LANE_LISTER, /* pages of calls: long, and in nobody's way */
	GT_LANE_BODIES, /* writes large bodies, then gives the job to the writer */
	GT_LANE_CHECK,  /* SQLite: looks for damage, once */
	GT_LANES
};

/* Jobs in their order, and the thread that does them with a connection of its own. */
struct gt_lane {
	struct gt_store *store;
	struct gt_job *queue;
	size_t n_queued;
	pthread_cond_t wake;
	pthread_t thread;
	bool has_thread, stopping;
	struct gt_tasks_db tasks;
};

/* What became of a transaction whose end nobody heard of. Writer's thread. */
struct gt_doubt {
	bool open;
	uint64_t commits;    /* its mark */
	struct gt_job *held; /* told nothing yet: others were told that they failed */
	struct gt_err why;
};

struct gt_store {
	struct gt_store_config config;
	char *path, *shown; /* shown: without what should not be seen */
	uint64_t epoch, commits;
	pthread_mutex_t db_lock; /* the writer's connection: over a whole transaction */
	int bodies_fd;
	struct gt_ballast ballast;
	struct gt_doubt doubt;
	pthread_mutex_t lock; /* of all below; held for moments */
	struct gt_lane lanes[GT_LANES];
	struct gt_job *finished;
	bool recount;
	struct gt_err trouble; /* why nothing is written any more: EIO, EBADMSG or ESTALE */
};

/* writer.c */
bool gt_is_trouble(const struct gt_err *err);
void gt_trouble_note(struct gt_store *s, const struct gt_err *why);
/* True when nothing is written any more; then each has its answer. */
bool gt_store_refuses(struct gt_store *s, struct gt_job *jobs);
/* Under the fence and committed, or nothing of it. -EINPROGRESS: nobody knows. */
GT_MUST_USE int gt_batch_run(struct gt_store *s, struct gt_job **batch);
void *gt_writer_main(void *lane);
/* -ESTALE: the epoch is over. light: beside the writer, and without a mark. */
GT_MUST_USE int gt_fence(struct gt_tasks_db *t, const uint64_t *mark, struct gt_err *err);

/* New work, and no room for it: true, and why in job->err. */
bool gt_job_unwelcome(struct gt_store *s, struct gt_job *job);

/* lanes.c */
GT_MUST_USE int gt_lane_start(struct gt_store *s, int which, struct gt_err *err);
void gt_lanes_stop(struct gt_store *s);
/* Waits for work, at most wait_ms (0 = as long as needed); at most so many. NULL = none. */
struct gt_job *gt_lane_take(struct gt_lane *l, int most, uint64_t wait_ms);
bool gt_lane_ends(struct gt_lane *l);                    /* it stops, and nothing is left */
void gt_lane_add(struct gt_lane *l, struct gt_job *job); /* lock held */
void gt_store_finish(struct gt_store *s, struct gt_job *jobs);

#endif
