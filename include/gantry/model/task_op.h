/* model/task_op.h - what may be asked of the store about durable calls and schedules: one operation
 * struct, so that the port, both of its ends and any other back end share it. Part of task.h. */
#ifndef GANTRY_MODEL_TASK_OP_H
#define GANTRY_MODEL_TASK_OP_H

#include <gantry/model/task.h>

enum gt_task_verb {
	GT_TASK_ACCEPT,   /* tasks[] in; each one's `taken` out */
	GT_TASK_EXCHANGE, /* results[], wants[] and held[] in; tasks[] (the leases) out */
	GT_TASK_RELEASE,  /* leases of all but sessions[] */
	/* What is due, late, or old: at most GT_TASK_WAKE_MAX; next_ms out. told_ms in: retries
	 * that are due until then, if that is later than now. */
	GT_TASK_WAKE,
	GT_TASK_CANCEL, /* id in; tasks[0] out, as it is then */
	GT_TASK_REPLAY, /* id in: one that did not succeed runs again; tasks[0] out */
	GT_TASK_COUNT,  /* changes[] out: how many wait for each function; next_ms */
	/* before (seq), told_ms, limit (tries) and next_ms (due; 0 = done) in */
	GT_TASK_HOOK_SET,
	GT_TASK_HOOKS_NOW, /* callbacks that would be due later are due now */
	/* Schedules: schedules[0] in, by its name; out as it is then. */
	GT_TASK_PLAN_PUT,  /* if_match, if_none_match in */
	GT_TASK_PLAN_DROP, /* if_match in */
	GT_TASK_PLAN_SET,  /* paused in */
	/* told_ms (next_ms, as it was), dues[], and of schedules[0] next_ms, fired_ms, passed_ms
	 * and reason in: nothing is done when next_ms is another one by now. tasks[] out, one for
	 * each of dues[]. */
	GT_TASK_FIRE,
	/* From here on they only read. */
	GT_TASK_GET,    /* id in; tasks[0], attempts[] out */
	GT_TASK_RESULT, /* the same, and the body of the result in results[0] */
	GT_TASK_LIST,   /* function, batch, states, before, limit in; tasks[] out, newest first */
	/* limit in; tasks[] whose callback is due, GT_HOOKS_HOST_MAX of a host, next_ms out */
	GT_TASK_HOOKS,
	GT_TASK_PLAN_GET,  /* schedules[0] in, by its name, and out */
	GT_TASK_PLAN_LIST, /* id (after this name), active, limit in; schedules[] out by name */
	/* told_ms, limit in: those that are due until then, by time; next_ms out: of the first that
	 * is not among them */
	GT_TASK_PLAN_DUE,
	GT_TASK_VERBS
};
#define GT_TASK_WAKE_MAX   1000
#define GT_TASK_ALL_DUE    ((uint64_t)INT64_MAX)
#define GT_TASK_LOOKED_MAX 100000 /* rows that a page of LIST looks at, whatever is in it */

struct gt_schedule; /* model/schedule.h */
struct gt_task_op;
typedef void gt_task_fn(struct gt_task_op *op, const struct gt_err *err, void *arg);

/* Made by who asks, given to the store, and back with `done`, which owns it again. */
struct gt_task_op {
	enum gt_task_verb verb;
	uint64_t now_ms, epoch;
	struct gt_task *tasks;
	size_t n_tasks;
	struct gt_task_result *results;
	size_t n_results;
	struct gt_task_want *wants;
	size_t n_wants;
	struct gt_task_start *starts; /* EXCHANGE: since the one before; with full, all */
	size_t n_starts;
	struct gt_task_attempt *attempts;
	size_t n_attempts;
	struct gt_task_session *sessions; /* RELEASE: those that live; EXCHANGE: whose it is */
	size_t n_sessions;
	uint64_t *held; /* EXCHANGE with full: seqs that the gateway has; others are released */
	size_t n_held;
	bool full;  /* held[] is everything of this session */
	bool alone; /* and no other session of this gateway lives */
	char id[GT_TASK_ID_MAX + 1];
	char function[GT_NAME_MAX + 1], batch[GT_ULID_LEN + 1]; /* LIST: "" = all */
	char schedule[GT_NAME_MAX + 1];                         /* the same */
	struct gt_schedule *schedules;
	size_t n_schedules;
	uint64_t *dues; /* wall clock, whole seconds */
	size_t n_dues;
	char *if_match; /* NULL = no condition */
	bool if_none_match, active;
	unsigned states; /* LIST: a bit each */
	uint64_t before; /* LIST: seq; 0 = newest. Out: of the next page */
	size_t limit;
	uint64_t told_ms; /* HOOK_SET: hook_due_ms of what was told; a later end is left as it is */
	bool more;        /* LIST: there are older ones; WAKE: there was more to do */
	/* out */
	struct gt_task_change *changes;
	size_t n_changes;
	uint64_t next_ms; /* when WAKE has something to do again; UINT64_MAX = never */
	char (*ended)[GT_TASK_ID_MAX + 1]; /* by WAKE, CANCEL or RELEASE */
	size_t n_ended;
	/* The port's own end, and who asked. */
	gt_task_fn *done;
	void *arg;
	gt_task_fn *asker;
	void *asker_arg;
};

struct gt_task_op *gt_task_op_new(enum gt_task_verb verb);
void gt_task_op_free(struct gt_task_op *op);                     /* NULL is fine */
struct gt_task *gt_task_op_add(struct gt_task_op *op);           /* one more task, zeroed */
struct gt_schedule *gt_task_op_plan(struct gt_task_op *op);      /* one more schedule, zeroed */
struct gt_task_result *gt_task_op_result(struct gt_task_op *op); /* one more result, zeroed */
void gt_task_op_change(struct gt_task_op *op, const char *function, int64_t queued);
void gt_task_op_ended(struct gt_task_op *op, const char *id);

GT_CLEANUP_TYPE(task_op, struct gt_task_op *, gt_task_op_free)

#endif
