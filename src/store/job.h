/* store/job.h - one queued operation: its copy of the arguments, what it does, its completion. */
#ifndef GANTRY_SRC_STORE_JOB_H
#define GANTRY_SRC_STORE_JOB_H

#include <gantry/model/row.h>

#include "db.h"

struct gt_job {
	int (*run)(struct gt_job *job, sqlite3 *db, struct gt_err *err); /* writer thread */
	void (*done)(const struct gt_err *err, void *arg);
	void (*done_rows)(const struct gt_err *err, const struct gt_function_row *rows, size_t n,
			  void *arg);
	void *arg;
	struct gt_function_row row; /* the argument; only its name for drop and revisions */
	struct gt_node_row node;    /* of gt_job_node */
	struct gt_function_row *rows;
	size_t n_rows;
	struct gt_err err; /* the outcome */
	struct gt_job *prev, *next;
};

struct gt_job *gt_job_put(const struct gt_function_row *row);
struct gt_job *gt_job_drop(const char *function);
struct gt_job *gt_job_node(const struct gt_node_row *row);
struct gt_job *gt_job_revisions(const char *function);
void gt_job_complete(struct gt_job *job); /* calls back and frees */
void gt_job_free(struct gt_job *job);

#endif
