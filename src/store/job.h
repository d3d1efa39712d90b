/* store/job.h - one queued operation: its copy of the arguments, what it does, its completion. */
#ifndef GANTRY_SRC_STORE_JOB_H
#define GANTRY_SRC_STORE_JOB_H

#include <gantry/model/member.h>
#include <gantry/model/provider.h>
#include <gantry/model/row.h>
#include <gantry/model/webhook.h>

#include "task_db.h"

struct gt_job {
	int (*run)(struct gt_job *job, struct gt_tasks_db *t, struct gt_err *err);
	void (*done)(const struct gt_err *err, void *arg);
	void (*done_rows)(const struct gt_err *err, const struct gt_function_row *rows, size_t n,
			  void *arg);
	void *arg;
	struct gt_function_row row; /* the argument; only its name for drop and revisions */
	struct gt_node_row node;    /* of gt_job_node */
	struct gt_function_row *rows;
	size_t n_rows;
	/* About durable calls: then the three above are not used, and op->done is called. */
	struct gt_task_op *op;
	struct gt_body_list files;   /* made for it, before its transaction */
	struct gt_member_op *member; /* likewise, of gt_job_member */
	struct gt_host_op *host;     /* likewise, of gt_job_host */
	struct gt_webhook_op *webhook;
	struct gt_err err; /* the outcome */
	struct gt_job *prev, *next;
};

struct gt_job *gt_job_put(const struct gt_function_row *row);
struct gt_job *gt_job_drop(const char *function);
struct gt_job *gt_job_node(const struct gt_node_row *row);
struct gt_job *gt_job_member(struct gt_member_op *op GT_TAKES);
struct gt_job *gt_job_host(struct gt_host_op *op GT_TAKES);
struct gt_job *gt_job_webhook(struct gt_webhook_op *op GT_TAKES);
struct gt_job *gt_job_revisions(const char *function);
struct gt_job *gt_job_task(struct gt_task_op *op GT_TAKES);
bool gt_job_reads(const struct gt_job *job); /* changes nothing: needs no transaction */
bool gt_job_lists(const struct gt_job *job); /* and takes its time */
/* Does it fail for other reasons than the database's? Then it takes no other along. */
bool gt_job_may_refuse(const struct gt_job *job);
/* New work. What is not is owed to somebody: it is written down as long as anything can be. */
bool gt_job_grows(const struct gt_job *job);
size_t gt_job_new_calls(const struct gt_job *job); /* how many numbers it needs, at most */
/* Has a body that is too large for a row? Then the second writes it to where those lie. */
bool gt_job_has_bodies(const struct gt_job *job);
GT_MUST_USE int gt_job_write_bodies(struct gt_job *job, struct gt_tasks_db *t, struct gt_err *err);
void gt_job_complete(struct gt_job *job); /* calls back and frees */
void gt_job_free(struct gt_job *job);

#endif
