/* sim_driver.c - simulated GPUs inside gpud: memory that is counted, the driver's states, its
 * copies as time that passes, and faults by script. Everything under one lock; what takes time
 * waits outside of it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>
#include <gantry/wire/value.h>

#include "backend.h"
#include "gpud.h"

#define SCRIPT_MAX       (256 * 1024)
#define FAULTS_MAX       64
#define BANDWIDTH        (25 * GT_GIB) /* of copies between GPU and host, a second */
#define CUDA_ERROR_OOM   2
#define CUDA_ERROR_OS    304
#define CUDA_ERROR_STATE 401
#define CUDA_ERROR_BUSY  600

enum fault_kind { FAULT_NONE, FAULT_TIMEOUT, FAULT_FAILED, FAULT_OOM, FAULT_CRASH, FAULT_HANG };

struct fault {
	enum gt_gpu_op_kind op;
	enum fault_kind kind;
	uint64_t nth; /* of these operations since the script was read; 0 = each */
};

struct claim {
	struct gpud_claim is;
	bool copying; /* an operation of it is going on */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct gt_gpu gpus[GT_NODE_GPUS_MAX];
static size_t n_gpus;
static struct claim claims[GPUD_CLAIMS];
static size_t n_claims;
static struct {
	char path[GPUD_CONFIG];
	struct timespec changed;
	uint64_t bandwidth, done[GT_GPU_OP_N];
	struct fault faults[FAULTS_MAX];
	size_t n_faults;
	struct gt_gpu_incident incidents[FAULTS_MAX];
	size_t n_incidents;
} script = { .bandwidth = BANDWIDTH };

/* ---- the script ---- */

static int find_word(const char *const *words, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (words[i] && gt_streq(words[i], word))
			return (int)i;
	return -1;
}

static void read_fault(const struct gt_value *v)
{
	static const char *const ops[] = {
		[GT_GPU_OP_STATE] = "state",           [GT_GPU_OP_LOCK] = "lock",
		[GT_GPU_OP_CHECKPOINT] = "checkpoint", [GT_GPU_OP_RESTORE] = "restore",
		[GT_GPU_OP_UNLOCK] = "unlock",         [GT_GPU_OP_THREAD] = "thread",
		[GT_GPU_OP_PROCESSES] = "processes",   [GT_GPU_OP_MEMORY] = "memory",
		[GT_GPU_OP_REREAD] = "reread",
	};
	static const char *const kinds[] = { [FAULT_TIMEOUT] = "timeout",
					     [FAULT_FAILED] = "failed",
					     [FAULT_OOM] = "oom",
					     [FAULT_CRASH] = "crash",
					     [FAULT_HANG] = "hang" };
	int op = find_word(ops, GT_LEN(ops), gt_value_str(v, "op", ""));
	int kind = find_word(kinds, GT_LEN(kinds), gt_value_str(v, "kind", ""));

	if (op < 0 || kind < 0) {
		gt_warn("gpud: %s: a fault needs op and kind", script.path);
		return;
	}
	if (script.n_faults < FAULTS_MAX)
		script.faults[script.n_faults++] = (struct fault){ (enum gt_gpu_op_kind)op,
								   (enum fault_kind)kind,
								   gt_value_u64(v, "nth", 0) };
}

static void read_incident(const struct gt_value *v)
{
	struct gt_gpu_incident *in = &script.incidents[script.n_incidents];
	uint64_t gpu = gt_value_u64(v, "gpu", 0);

	if (script.n_incidents == FAULTS_MAX || gpu >= n_gpus)
		return;
	*in = (struct gt_gpu_incident){ .xid = (uint32_t)gt_value_u64(v, "xid", 0),
					.action = (int32_t)gt_value_num(v, "action", -1) };
	gt_strcopy(in->uuid, sizeof(in->uuid), gpus[gpu].uuid);
	script.n_incidents++;
}

static void read_script(const char *text, size_t len)
{
	gt_auto(value) struct gt_value *v = NULL;
	struct gt_err err = { 0 };
	const struct gt_value *list;

	if (gt_value_parse(text, len, &v, &err) < 0) {
		gt_warn("gpud: %s: %s", script.path, err.text);
		return;
	}
	memset(script.done, 0, sizeof(script.done));
	script.n_faults = script.n_incidents = 0;
	script.bandwidth = GT_MAX(gt_value_u64(v, "bandwidth_bytes", BANDWIDTH), (uint64_t)1);
	list = gt_value_at(v, "faults");
	for (size_t i = 0; i < gt_value_len(list); i++)
		read_fault(gt_value_item(list, i));
	list = gt_value_at(v, "incidents");
	for (size_t i = 0; i < gt_value_len(list); i++)
		read_incident(gt_value_item(list, i));
}

/* Read when it changed. A script that is not there is one without a word. */
static void refresh_script(void)
{
	gt_auto(fd) int fd = script.path[0] ? open(script.path, O_RDONLY | O_CLOEXEC) : -EBADF;
	gt_auto(free) char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > SCRIPT_MAX ||
	    (st.st_mtim.tv_sec == script.changed.tv_sec &&
	     st.st_mtim.tv_nsec == script.changed.tv_nsec))
		return;
	text = gt_alloc((size_t)st.st_size + 1);
	n = read(fd, text, (size_t)st.st_size);
	script.changed = st.st_mtim;
	if (n > 0)
		read_script(text, (size_t)n);
}

static enum fault_kind next_fault(enum gt_gpu_op_kind op)
{
	uint64_t nth = ++script.done[op];

	for (size_t i = 0; i < script.n_faults; i++)
		if (script.faults[i].op == op &&
		    (script.faults[i].nth == 0 || script.faults[i].nth == nth))
			return script.faults[i].kind;
	return FAULT_NONE;
}

/* ---- claims ---- */

static void drop_claim(size_t i)
{
	claims[i] = claims[--n_claims];
}

static struct claim *find_claim(pid_t pid)
{
	for (size_t i = 0; i < n_claims; i++)
		if (claims[i].is.pid == pid)
			return &claims[i];
	return NULL;
}

/* Memory of processes that ended is free, as with a real one. */
static void drop_dead(void)
{
	for (size_t i = n_claims; i > 0; i--)
		if (!claims[i - 1].copying && kill(claims[i - 1].is.pid, 0) < 0 && errno == ESRCH)
			drop_claim(i - 1);
}

static bool holds_memory(const struct claim *c)
{
	return c->is.state == GT_GPU_PROCESS_RUNNING || c->is.state == GT_GPU_PROCESS_LOCKED;
}

static uint64_t bytes_of(const struct claim *c, const char *uuid)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < c->is.n; i++)
		if (strcmp(c->is.of[i].uuid, uuid) == 0)
			sum += c->is.of[i].bytes;
	return sum;
}

static uint64_t used_bytes(const char *uuid)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n_claims; i++)
		if (holds_memory(&claims[i]))
			sum += bytes_of(&claims[i], uuid);
	return sum;
}

static void claim(struct gpud *g, const struct gpud_claim *what)
{
	struct claim *c;

	(void)g;
	if (what->n > GT_NODE_GPUS_MAX || what->pid < 1)
		return;
	pthread_mutex_lock(&lock);
	drop_dead();
	c = find_claim(what->pid);
	if (what->n == 0) {
		if (c)
			drop_claim((size_t)(c - claims));
	} else if (c) {
		c->is = *what;
	} else if (n_claims < GPUD_CLAIMS) {
		claims[n_claims++].is = *what;
	}
	pthread_mutex_unlock(&lock);
}

/* ---- operations ---- */

static int refused(struct gt_gpu_reply *ret, int code, const char *slug, int driver,
		   const char *text, struct gt_err *err)
{
	ret->driver = driver;
	return gt_err_set(err, code, slug, "simulated GPU: %s", text);
}

static int wrong_state(struct gt_gpu_reply *ret, struct gt_err *err)
{
	return refused(ret, EINVAL, "gpu_state", CUDA_ERROR_STATE,
		       "the process is in another state than this call needs", err);
}

/* How long the copy of all that the process has takes. Under the lock. */
static int copy_ms(const struct claim *c)
{
	double bytes = 0;

	for (size_t i = 0; i < c->is.n; i++)
		bytes += (double)c->is.of[i].bytes;
	return (int)GT_MIN(bytes * 1000 / (double)script.bandwidth, 3600000.0);
}

/* The lock is let go meanwhile, and the claim may be another's place after it. NULL: it ended. */
static struct claim *wait_copy(struct claim *c)
{
	pid_t pid = c->is.pid;
	int ms = copy_ms(c);

	c->copying = true;
	pthread_mutex_unlock(&lock);
	poll(NULL, 0, ms);
	pthread_mutex_lock(&lock);
	c = find_claim(pid);
	if (c)
		c->copying = false;
	return c;
}

static bool has_room(const struct claim *c)
{
	for (size_t g = 0; g < n_gpus; g++) {
		uint64_t bytes = bytes_of(c, gpus[g].uuid), used = used_bytes(gpus[g].uuid);

		if (bytes > 0 && used + bytes > gpus[g].memory_bytes)
			return false;
	}
	return true;
}

static int restore(struct claim *c, const struct gt_gpu_request *rq, enum fault_kind fault,
		   struct gt_gpu_reply *ret, struct gt_err *err)
{
	if (c->is.state != GT_GPU_PROCESS_CHECKPOINTED)
		return wrong_state(ret, err);
	gpu_claim_move(&c->is, rq);
	if (fault == FAULT_OOM || !has_room(c)) {
		c->is.state = GT_GPU_PROCESS_FAILED;
		return refused(ret, ENOMEM, "gpu_memory", CUDA_ERROR_OOM, "out of memory", err);
	}
	c->is.state = GT_GPU_PROCESS_LOCKED; /* its memory is taken from the begin of the copy */
	c = wait_copy(c);
	return c ? 0 : refused(ret, ESRCH, "gpu_process", CUDA_ERROR_OS, "the process ended", err);
}

static int checkpoint(struct claim *c, struct gt_gpu_reply *ret, struct gt_err *err)
{
	if (c->is.state != GT_GPU_PROCESS_LOCKED)
		return wrong_state(ret, err);
	c = wait_copy(c);
	if (!c)
		return refused(ret, ESRCH, "gpu_process", CUDA_ERROR_OS, "the process ended", err);
	c->is.state = GT_GPU_PROCESS_CHECKPOINTED;
	return 0;
}

static int lock_process(struct claim *c, const struct gt_gpu_request *rq, enum fault_kind fault,
			struct gt_gpu_reply *ret, struct gt_err *err)
{
	if (c->is.state != GT_GPU_PROCESS_RUNNING)
		return wrong_state(ret, err);
	if (fault == FAULT_TIMEOUT) {
		pthread_mutex_unlock(&lock);
		poll(NULL, 0, (int)GT_MIN(rq->lock_ms, (uint32_t)3600000));
		pthread_mutex_lock(&lock);
		return refused(ret, EAGAIN, "gpu_busy", CUDA_ERROR_BUSY,
			       "work did not end in time; the process is still running", err);
	}
	c->is.state = GT_GPU_PROCESS_LOCKED;
	return 0;
}

static int of_process(const struct gt_gpu_request *rq, enum fault_kind fault,
		      struct gt_gpu_reply *ret, struct gt_err *err)
{
	struct claim *c = find_claim(rq->pid);

	if (!c)
		return refused(ret, ESRCH, "gpu_process", CUDA_ERROR_OS,
			       "the process has nothing of a GPU", err);
	if (c->copying)
		return wrong_state(ret, err);
	if (fault == FAULT_FAILED) {
		c->is.state = GT_GPU_PROCESS_FAILED;
		return refused(ret, EIO, "gpu_driver", 999, "failed, as its script says", err);
	}
	ret->state = (enum gt_gpu_process_state)c->is.state;
	switch (rq->kind) {
	case GT_GPU_OP_STATE:
		return 0;
	case GT_GPU_OP_LOCK:
		return lock_process(c, rq, fault, ret, err);
	case GT_GPU_OP_CHECKPOINT:
		return checkpoint(c, ret, err);
	case GT_GPU_OP_RESTORE:
		return restore(c, rq, fault, ret, err);
	case GT_GPU_OP_UNLOCK:
		if (c->is.state != GT_GPU_PROCESS_LOCKED)
			return wrong_state(ret, err);
		c->is.state = GT_GPU_PROCESS_RUNNING;
		return 0;
	default:
		ret->tid = rq->pid;
		return 0;
	}
}

static void list_processes(const char *uuid, uint32_t *n, struct gt_gpu_process *ret,
			   uint32_t *more)
{
	for (size_t i = 0; i < n_claims; i++) {
		uint64_t bytes = bytes_of(&claims[i], uuid);

		if (bytes == 0 || !holds_memory(&claims[i]))
			continue;
		if (*n == GT_GPU_PROCESSES_MAX)
			++*more;
		else
			ret[(*n)++] = (struct gt_gpu_process){ .pid = claims[i].is.pid,
							       .bytes = bytes };
	}
}

static int of_gpu(const struct gt_gpu_request *rq, struct gt_gpu_reply *ret, struct gt_err *err)
{
	size_t i = 0;

	while (i < n_gpus && strcmp(gpus[i].uuid, rq->uuid) != 0)
		i++;
	if (i == n_gpus)
		return refused(ret, ENOENT, "gpu_unknown", 6, "there is no such GPU", err);
	ret->total_bytes = gpus[i].memory_bytes;
	ret->free_bytes = gpus[i].memory_bytes - GT_MIN(used_bytes(rq->uuid), gpus[i].memory_bytes);
	if (rq->kind == GT_GPU_OP_PROCESSES)
		list_processes(rq->uuid, &ret->n_processes, ret->processes, &ret->more);
	return 0;
}

static int ask(struct gpud *g, const struct gt_gpu_request *rq, struct gt_gpu_reply *ret,
	       struct gt_err *err)
{
	enum fault_kind fault;
	int r;

	(void)g;
	pthread_mutex_lock(&lock);
	refresh_script();
	drop_dead();
	fault = next_fault(rq->kind);
	if (fault == FAULT_CRASH)
		_exit(139);
	if (fault == FAULT_HANG) {
		pthread_mutex_unlock(&lock);
		gpud_enter("a call that hangs by script");
		for (;;)
			poll(NULL, 0, -1);
	}
	if (rq->kind == GT_GPU_OP_PROCESSES || rq->kind == GT_GPU_OP_MEMORY ||
	    rq->kind == GT_GPU_OP_REREAD)
		r = of_gpu(rq, ret, err);
	else
		r = of_process(rq, fault, ret, err);
	pthread_mutex_unlock(&lock);
	return r;
}

/* ---- looking ---- */

static int begin(struct gpud *g, struct gt_gpu_driver *ret, struct gt_err *err)
{
	ret->backend = GT_GPU_SIM;
	gt_strcopy(ret->version, sizeof(ret->version), "sim");
	return gpu_sim_list(g->config.gpus + strlen("sim:"), g->config.node, gpus, &n_gpus,
			    script.path, sizeof(script.path), err);
}

static int list(struct gpud *g, struct gt_gpu *ret, size_t *ret_n, struct gt_err *err)
{
	(void)g;
	(void)err;
	memcpy(ret, gpus, n_gpus * sizeof(*ret));
	*ret_n = n_gpus;
	return 0;
}

static void sample(struct gpud *g, size_t i, struct gt_gpu_sample *ret)
{
	uint64_t used, total = gpus[i].memory_bytes;

	(void)g;
	pthread_mutex_lock(&lock);
	drop_dead();
	used = GT_MIN(used_bytes(gpus[i].uuid), total);
	list_processes(gpus[i].uuid, &ret->n_processes, ret->processes, &ret->more);
	pthread_mutex_unlock(&lock);
	gt_gpu_stat_set(&ret->stats, GT_GPU_STAT_FB_TOTAL, total);
	gt_gpu_stat_set(&ret->stats, GT_GPU_STAT_FB_USED, used);
	gt_gpu_stat_set(&ret->stats, GT_GPU_STAT_FB_FREE, total - used);
}

static int incident(struct gpud *g, unsigned max_ms, struct gt_gpu_incident *ret)
{
	int r = -EAGAIN;

	(void)g;
	if (!script.path[0])
		return -ENOTSUP;
	pthread_mutex_lock(&lock);
	refresh_script();
	if (script.n_incidents > 0) {
		*ret = script.incidents[0];
		memmove(script.incidents, script.incidents + 1,
			--script.n_incidents * sizeof(*ret));
		r = 0;
	}
	pthread_mutex_unlock(&lock);
	if (r < 0)
		poll(NULL, 0, (int)GT_MIN(max_ms, 50u));
	return r;
}

static void begin_cuda(struct gpud *g, char *ret, size_t size)
{
	(void)g;
	(void)size;
	ret[0] = '\0';
}

const struct gpu_driver gpud_sim = { begin, list, sample, incident, begin_cuda, ask, claim };
