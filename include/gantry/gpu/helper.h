/* gpu/helper.h - the process that talks to the GPU driver ("gpud"), and this process's end of it.
 *
 * gpud is the only process that loads libnvidia-ml.so.1 and libcuda.so.1. It is this program,
 * executed once more with the argument "gpud"; it is root, in the host's pid namespace, and dies
 * with its parent. A call of the driver may hang or crash it: every request has a deadline, a gpud
 * that misses one is killed, and another is started after a pause that doubles from 100 ms to 30 s.
 * The caller waits for nothing: each answer is a callback on its loop.
 *
 * Loop thread only. All sizes are bytes, all times milliseconds unless the name says otherwise. */
#ifndef GANTRY_GPU_HELPER_H
#define GANTRY_GPU_HELPER_H

#include <sys/types.h>

#include <gantry/loop/loop.h>
#include <gantry/model/gpu.h>
#include <gantry/model/gpu_stats.h>

struct gt_gpu_helper;
struct gt_gpu_op;

#define GT_GPU_HELPER_ARG    "gpud"
#define GT_GPU_PROCESSES_MAX 128 /* of one GPU that are told */
#define GT_GPU_OPS_MAX       64  /* requests in flight; more are refused with -EBUSY */
#define GT_GPU_TEXT_MAX      199

/* ---- requests ------------------------------------------------------------------------------- */

/* The checkpoint calls are the CUDA driver's own (cuCheckpointProcess*, driver 570 and later); what
 * they do to the process `pid`, a pid of the host:
 *	LOCK        new CUDA calls of it block, submitted work ends: RUNNING -> LOCKED
 *	CHECKPOINT  GPU memory goes to the process's own host memory, all GPU handles are given
 *	            back: LOCKED -> CHECKPOINTED
 *	RESTORE     and back, onto the same GPUs or those of `moves`: CHECKPOINTED -> LOCKED
 *	UNLOCK      LOCKED -> RUNNING
 * Never freeze a process that is not CHECKPOINTED, and thaw it before RESTORE: the driver's thread
 * inside it has to run. A RESTORE that failed is never tried again: kill the process. */
enum gt_gpu_op_kind {
	GT_GPU_OP_STATE,      /* of pid; reply->state */
	GT_GPU_OP_LOCK,       /* pid, lock_ms (1 at least: 0 would wait for ever) */
	GT_GPU_OP_CHECKPOINT, /* pid */
	GT_GPU_OP_RESTORE,    /* pid, moves */
	GT_GPU_OP_UNLOCK,     /* pid */
	GT_GPU_OP_THREAD,     /* pid; reply->tid, the thread that RESTORE uses */
	GT_GPU_OP_PROCESSES,  /* uuid; reply->processes */
	GT_GPU_OP_MEMORY,     /* uuid; reply->free_bytes, total_bytes */
	GT_GPU_OP_REREAD,     /* uuid; what the driver says of its health; reply->health */
	GT_GPU_OP_N
};
const char *gt_gpu_op_name(enum gt_gpu_op_kind kind);

enum gt_gpu_process_state {
	GT_GPU_PROCESS_RUNNING,
	GT_GPU_PROCESS_LOCKED,
	GT_GPU_PROCESS_CHECKPOINTED,
	GT_GPU_PROCESS_FAILED,
	GT_GPU_PROCESS_N
};

/* Every GPU of the checkpoint must be named, or none: same chip, enough memory. */
struct gt_gpu_move {
	char from[GT_GPU_UUID_MAX + 1], to[GT_GPU_UUID_MAX + 1];
};

struct gt_gpu_request {
	enum gt_gpu_op_kind kind;
	pid_t pid;
	char uuid[GT_GPU_UUID_MAX + 1];
	uint32_t lock_ms;
	/* From the call to the answer. 0 = 5 s, and 300 s for CHECKPOINT and RESTORE. LOCK has
	 * lock_ms on top. Past it gpud is killed, and all other requests in flight fail with it. */
	uint64_t deadline_ms;
	size_t n_moves;
	struct gt_gpu_move moves[GT_NODE_GPUS_MAX];
};

struct gt_gpu_process {
	int32_t pid; /* of the host */
	uint32_t pad;
	uint64_t bytes;
};

struct gt_gpu_reply {
	enum gt_gpu_process_state state;
	pid_t tid;
	uint64_t free_bytes, total_bytes;
	enum gt_gpu_health health;
	uint64_t took_us;           /* of the driver's call alone */
	int32_t driver;             /* the CUresult or nvmlReturn_t of a call that failed, else 0 */
	uint32_t n_processes, more; /* more: how many were left out */
	struct gt_gpu_process processes[GT_GPU_PROCESSES_MAX];
};

/* err NULL: it is done. Else err->code and slug:
 *	ETIMEDOUT gpu_timeout     past its deadline; what the driver did is not known
 *	ECHILD    gpu_helper      gpud died or is not there; what the driver did is not known
 *	EAGAIN    gpu_busy        LOCK's lock_ms passed: the process is still RUNNING
 *	ENOMEM    gpu_memory      not enough GPU memory; after RESTORE only a kill helps
 *	EINVAL    gpu_state       the process is in another state than the call needs
 *	ESRCH     gpu_process     no such process, or it does not use CUDA
 *	ENOENT    gpu_unknown     no such GPU
 *	ENOTSUP   gpu_unsupported the driver has no such call, or refuses it (MIG, MPS, UVM)
 *	EIO       gpu_driver      anything else; the text has the driver's words
 * The reply is borrowed for the call and is there in both cases. The callback may start and cancel
 * others. Never called before gt_gpu_helper_ask returned. */
typedef void gt_gpu_reply_fn(const struct gt_gpu_reply *reply, const struct gt_err *err, void *arg);

/* -EBUSY, slug gpu_busy: too many are in flight. -EINVAL: lock_ms 0, pid < 1, no uuid. *ret is
 * valid until fn was called; NULL when nobody will cancel. */
GT_MUST_USE int gt_gpu_helper_ask(struct gt_gpu_helper *h, const struct gt_gpu_request *request,
				  gt_gpu_reply_fn *fn, void *arg, struct gt_gpu_op **ret,
				  struct gt_err *err);
/* fn is not called. The driver's call goes on: its deadline stays. NULL is fine. */
void gt_gpu_op_cancel(struct gt_gpu_op *op);

/* ---- backend sim ---------------------------------------------------------------------------- */

/* A GPU of backend sim is memory that is counted, no more: a process has as much of it as was
 * claimed for its pid, up to the GPU's size; the claim is the process's "CUDA context", so that a
 * pid without one answers ESRCH. The agent claims for the first process of a replica what the
 * ledger granted, and drops the claim with the replica; claims outlive a gpud that was replaced
 * (their states RUNNING and CHECKPOINTED too: the client remembers both). A checkpoint frees the
 * claimed bytes and takes bytes / bandwidth; a restore takes them again, or fails with ENOMEM and
 * leaves the process FAILED for ever, as the real driver does. Faults and bandwidth come from the
 * script of "sim:...,script=FILE" (src/gpu/README.md). Elsewhere both calls do nothing. */
void gt_gpu_helper_claim(struct gt_gpu_helper *h, pid_t pid, const char *uuid, uint64_t bytes);
void gt_gpu_helper_unclaim(struct gt_gpu_helper *h, pid_t pid);

/* ---- what it tells by itself ---------------------------------------------------------------- */

/* One error that the driver told of. */
struct gt_gpu_incident {
	char uuid[GT_GPU_UUID_MAX + 1]; /* "" = of all of them */
	char pci[GT_GPU_PCI_MAX + 1];   /* "" = not known */
	uint32_t xid;                   /* 0 = an ECC event, or a change of the recovery action */
	int32_t action;                 /* the driver's recovery action (field 230); -1 = unknown */
	uint32_t dbe;                   /* uncorrectable memory errors */
};

/* One look at all GPUs, once a second. */
struct gt_gpu_sample {
	char uuid[GT_GPU_UUID_MAX + 1];
	struct gt_gpu_stats stats;
	int32_t action; /* as above */
	uint32_t lost;  /* the driver says that it fell off */
	uint32_t n_processes, more;
	struct gt_gpu_process processes[GT_GPU_PROCESSES_MAX];
};

/* All on the loop; what is pointed to is borrowed for the call. NULL members are not called. */
struct gt_gpu_helper_events {
	/* At the start, when the driver answered or failed, and after each new gpud. */
	void (*on_driver)(const struct gt_gpu_driver *driver, void *arg);
	/* What there is. After each start of gpud, and when it changed (MIG). */
	void (*on_gpus)(const struct gt_gpu *gpus, size_t n, void *arg);
	void (*on_sample)(const struct gt_gpu_sample *sample, void *arg);
	void (*on_incident)(const struct gt_gpu_incident *incident, void *arg);
	void *arg;
};

struct gt_gpu_helper_config {
	const char *program;     /* "/proc/self/exe"; executed with the argument "gpud" */
	const char *gpus;        /* the backend: "nvidia", "fake:DIR[,FILE]", "sim:..." */
	const char *node;        /* for the ids of simulated GPUs */
	const char *driver_root; /* where the driver's libraries are; NULL or "" = "/" */
	uint64_t init_ms;        /* longest that the driver may take to begin; 0 = 60 s */
	uint64_t sample_ms;      /* how often it looks; 0 = 1000 */
	uint64_t silent_ms;      /* without a sign of life for so long it is killed; 0 = 15 s */
	struct gt_gpu_helper_events events;
};

/* Starts the first gpud. Fails only for want of memory or descriptors: a driver that is missing or
 * broken is told by on_driver. */
GT_MUST_USE int gt_gpu_helper_new(struct gt_loop *loop, const struct gt_gpu_helper_config *config,
				  struct gt_gpu_helper **ret, struct gt_err *err);
/* Kills gpud; no callback any more. NULL is fine. */
void gt_gpu_helper_free(struct gt_gpu_helper *h);
/* Waits for the first on_gpus or on_driver, at most so long. For the start of a node, which would
 * like to know its GPUs before it takes orders. */
void gt_gpu_helper_await(struct gt_gpu_helper *h, uint64_t most_ms);
/* Ends gpud, which keeps the GPUs open, and starts none until the other call; nobody is told that
 * it ended. Requests fail meanwhile (ECHILD). It is gone when gt_gpu_helper_pid is 0. */
void gt_gpu_helper_pause(struct gt_gpu_helper *h);
void gt_gpu_helper_resume(struct gt_gpu_helper *h);
pid_t gt_gpu_helper_pid(const struct gt_gpu_helper *h); /* 0 = none lives */
uint64_t gt_gpu_helper_starts(const struct gt_gpu_helper *h);

/* gpud itself, with its end of the socket as descriptor 3. */
_Noreturn void gt_gpud_main(void);

#endif
