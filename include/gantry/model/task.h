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
#define GT_TASK_LEASES_MAX      512        /* in one exchange */
#define GT_TASK_EXCHANGES_MAX   2          /* of one gateway under way */
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
	/* Of a lease: until deadline_ms when it was given, whatever the gateway's clock says. 0:
	 * who gave it did not say. */
	uint64_t left_ms;
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
	uint32_t ended; /* by an answer, since it was asked for before */
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

void gt_task_fini(struct gt_task *t);
void gt_task_result_fini(struct gt_task_result *r);

#include <gantry/model/task_op.h>

#endif
