/* model/task.h - a durable call ("call" in the API): accepted once, run at least once, its result
 * recorded once. Plain data; what may be asked of the store about them is one operation struct, so
 * that the port, both of its ends and any other back end share it.
 *
 * A gateway runs a task under a lease: (seq, attempt). `attempt` grows with every lease, so a
 * result is recorded only while its own lease is the one in force. */
#ifndef GANTRY_MODEL_TASK_H
#define GANTRY_MODEL_TASK_H

#include <gantry/base/cleanup.h>
#include <gantry/base/clock.h>
#include <gantry/base/err.h>
#include <gantry/model/limits.h>

#define GT_TASK_ID_MAX          64 /* [A-Za-z0-9_-]: ours are ULIDs */
#define GT_TASK_KEY_MAX         255
#define GT_TASK_PATH_MAX        2048
#define GT_TASK_TYPE_MAX        255
#define GT_TASK_CALLBACK_MAX    2048
#define GT_TASK_METHOD_MAX      7
#define GT_TASK_HOST_MAX        259 /* of a callback: a name, a colon and a port */
#define GT_HOOKS_HOST_MAX       4   /* ends of calls that are told to one host at a time */
#define GT_TASK_PRINT_SIZE      33  /* 32 hex digits and NUL */
#define GT_TASK_BODY_MAX        (16 << 20)
#define GT_TASK_INLINE_MAX      (64 << 10) /* larger bodies lie in files beside the database */
#define GT_TASK_LEASES_MAX      256        /* in one exchange */
#define GT_TASK_HELD_MAX        4096       /* leases of one gateway */
#define GT_TASK_LOST_MAX        20         /* leases lost in a row: the task is given up */
#define GT_TASK_QUEUED_MAX      10000000   /* that wait for one function */
#define GT_TASK_BATCH_MAX       100000     /* lines of a batch */
#define GT_TASK_DEADLINE_MS     (7ULL * 24 * 3600 * 1000) /* when none is stated */
#define GT_TASK_DEADLINE_MAX_MS (30ULL * 24 * 3600 * 1000)
#define GT_TASK_KEEP_MS         (7ULL * 24 * 3600 * 1000) /* results, from their end on */

enum gt_task_state {
	GT_TASK_QUEUED,
	GT_TASK_WAITING, /* until due_ms: a retry, or it could not be run */
	GT_TASK_RUNNING, /* leased to a gateway: in the function's queue or in a replica */
	GT_TASK_SUCCEEDED,
	GT_TASK_FAILED,
	GT_TASK_CANCELLED,
	GT_TASK_EXPIRED,
	GT_TASK_N
};
const char *gt_task_state_name(unsigned state); /* "queued"; NULL past the end */
static inline bool gt_task_ended(enum gt_task_state s)
{
	return s >= GT_TASK_SUCCEEDED;
}
bool gt_task_id_ok(const char *id);
bool gt_task_method_ok(const char *method);
/* Printable ASCII from "/" on: what may follow /f/{function} in a request line. */
bool gt_task_path_ok(const char *path);

/* "example.com:8080" of "https://Example.com:8080/x"; NULL and what is no URL: "". */
void gt_task_host(const char *url, char ret[GT_TASK_HOST_MAX + 1]);

enum { GT_TASK_HIGH, GT_TASK_NORMAL, GT_TASK_LOW, GT_TASK_CLASSES };

struct gt_blob {
	char *data; /* NULL when it was not asked for */
	size_t len; /* told also then */
};

enum gt_task_taken {
	GT_TAKEN_NEW,
	GT_TAKEN_BEFORE,   /* the same request came before: id and state are that one's */
	GT_TAKEN_MISMATCH, /* key or id belong to another request */
};

struct gt_task {
	uint64_t seq; /* the store's, in order of acceptance; never 0 */
	char id[GT_TASK_ID_MAX + 1];
	char function[GT_NAME_MAX + 1];
	enum gt_task_state state;
	uint32_t priority; /* GT_TASK_HIGH ... */
	uint32_t attempt;  /* leases so far */
	uint32_t tries;    /* attempts that count for the function's retry.max; 0 after a replay */
	uint64_t created_ms, due_ms, deadline_ms, leased_ms, ended_ms, expires_ms; /* wall clock */
	char method[GT_TASK_METHOD_MAX + 1];
	char *path, *content_type; /* content_type NULL: none was given */
	char *key;                 /* Idempotency-Key, or NULL */
	char print[GT_TASK_PRINT_SIZE];
	char batch[GT_ULID_LEN + 1];
	char schedule[GT_NAME_MAX + 1]; /* that made it; "" = none did */
	uint64_t slot_ms;               /* for which of its due times; 0 = a user asked for it */
	char *callback;                 /* URL that is told of the end, or NULL */
	uint32_t hook_tries;            /* HOOKS: how often that was tried */
	uint64_t hook_due_ms;
	struct gt_blob body;
	bool named; /* the caller chose the id */
	enum gt_task_taken taken;
	/* of the last attempt that ran */
	int status; /* 0: no answer */
	char slug[40];
};

/* How an attempt ended. */
struct gt_task_result {
	uint64_t seq;
	uint32_t attempt, tries;
	int status;    /* of the function's answer; 0: there is none, and slug says why */
	char slug[40]; /* row of problem.tbl */
	char *detail, *content_type;
	char replica[GT_ULID_LEN + 1];
	uint32_t revision;
	uint64_t started_ms, ended_ms; /* wall clock */
	uint64_t wait_ms, start_ms;    /* in the gateway's queue; of that, for a cold start */
	struct gt_blob body;
	/* Control's verdict. */
	enum gt_task_state next; /* SUCCEEDED, FAILED, WAITING */
	bool counts;             /* it ran: an attempt that is kept, and a try */
	uint64_t due_ms;         /* with WAITING */
	/* The store's. */
	bool stale; /* another lease, or none, is in force: nothing was recorded */
	char id[GT_TASK_ID_MAX + 1], function[GT_NAME_MAX + 1];
	enum gt_task_state state; /* as it is now */
};

struct gt_task_attempt {
	uint32_t attempt;
	uint64_t epoch; /* of the control that recorded it */
	char gateway[GT_NAME_MAX + 1], replica[GT_ULID_LEN + 1];
	uint32_t revision;
	int status;
	char slug[40];
	char *detail;
	uint64_t started_ms, ended_ms, wait_ms, start_ms;
};

/* An attempt that a replica has now. */
struct gt_task_start {
	uint64_t seq;
	uint32_t attempt, revision;
	char id[GT_TASK_ID_MAX + 1], replica[GT_ULID_LEN + 1];
	uint64_t started_ms;           /* wall clock */
	char gateway[GT_NAME_MAX + 1]; /* filled by control */
};

/* What a gateway has room for; leases that it gets are at most n. */
struct gt_task_want {
	char function[GT_NAME_MAX + 1];
	uint32_t n, held;
	/* Control's answer. */
	uint64_t queued; /* still */
	uint64_t seen; /* when queued is 0: the number of the last call to work that this covers */
};

struct gt_task_session { /* one life of a gateway */
	char gateway[GT_NAME_MAX + 1];
	uint64_t session;
};

/* What an operation did to the number of tasks that can be leased. */
struct gt_task_change {
	char function[GT_NAME_MAX + 1];
	int64_t queued;
};

enum gt_task_verb {
	GT_TASK_ACCEPT,   /* tasks[] in; each one's `taken` out */
	GT_TASK_EXCHANGE, /* results[], wants[] and held[] in; tasks[] (the leases) out */
	GT_TASK_RELEASE,  /* leases of all but sessions[] */
	GT_TASK_WAKE,     /* what is due, late, or old: at most GT_TASK_WAKE_MAX; next_ms out */
	GT_TASK_CANCEL,   /* id in; tasks[0] out, as it is then */
	GT_TASK_REPLAY,   /* id in: one that did not succeed runs again; tasks[0] out */
	GT_TASK_COUNT,    /* changes[] out: how many wait for each function; next_ms */
	/* before (seq), told_ms, limit (tries) and next_ms (due; 0 = done) in */
	GT_TASK_HOOK_SET,
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
void gt_task_fini(struct gt_task *t);
void gt_task_result_fini(struct gt_task_result *r);

GT_CLEANUP_TYPE(task_op, struct gt_task_op *, gt_task_op_free)

#endif
