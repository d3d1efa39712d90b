/* checkpoint.c - checkpoints of processes by the CUDA driver. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "library.h"
#include "nvidia.h"

static struct {
#define CUDA_MEMBER(member, symbol, args) int(*member) args;
	CUDA_CALLS(CUDA_MEMBER)
#undef CUDA_MEMBER
} cuda;
static _Atomic(bool) ready;

#define CUDA_CALL(symbol, member, ...)            \
	({                                        \
		int code_;                        \
		gpud_enter(symbol);               \
		code_ = cuda.member(__VA_ARGS__); \
		gpud_leave();                     \
		code_;                            \
	})

static const char *words(int code)
{
	const char *name = NULL;

	if (code == CUDA_ERROR_STUB_LIBRARY)
		return "a toolkit's stub, not the driver's library";
	if (!cuda.error_name || cuda.error_name(code, &name) != CUDA_SUCCESS || !name)
		return "unknown error";
	return name;
}

void cuda_begin(const char *root, char *ret_why, size_t size)
{
	struct gt_err err = { 0 };
	void *lib = gpu_library_open(root, GPU_LIBRARY_CUDA, &err);
	int code;

	if (!lib) {
		gt_strcopy(ret_why, size, err.text);
		return;
	}
#define CUDA_RESOLVE(member, symbol, args) cuda.member = (int(*) args)dlsym(lib, #symbol);
	CUDA_CALLS(CUDA_RESOLVE)
#undef CUDA_RESOLVE
	if (!cuda.init) {
		gt_strcopy(ret_why, size, GPU_LIBRARY_CUDA " has no cuInit");
		return;
	}
	code = CUDA_CALL("cuInit", init, 0);
	if (code != CUDA_SUCCESS) {
		snprintf(ret_why, size, "cuInit: %s (%d)", words(code), code);
		return;
	}
	if (!cuda.state || !cuda.lock || !cuda.checkpoint || !cuda.restore || !cuda.unlock) {
		gt_strcopy(ret_why, size,
			   "the driver has no checkpoints of processes: it must be 570 or newer");
		return;
	}
	ret_why[0] = '\0';
	ready = true;
}

static int fail(struct gt_gpu_reply *ret, const char *call, int code, struct gt_err *err)
{
	static const struct {
		int cuda, code;
		const char *slug;
	} rows[] = {
		{ CUDA_ERROR_OUT_OF_MEMORY, ENOMEM, "gpu_memory" },
		{ CUDA_ERROR_NOT_READY, EAGAIN, "gpu_busy" },
		{ CUDA_ERROR_ILLEGAL_STATE, EINVAL, "gpu_state" },
		{ CUDA_ERROR_INVALID_VALUE, ESRCH, "gpu_process" },
		{ CUDA_ERROR_OPERATING_SYSTEM, ESRCH, "gpu_process" },
		{ CUDA_ERROR_NOT_FOUND, ESRCH, "gpu_process" },
		{ CUDA_ERROR_NOT_INITIALIZED, ESRCH, "gpu_process" },
		{ CUDA_ERROR_NOT_SUPPORTED, ENOTSUP, "gpu_unsupported" },
		{ CUDA_ERROR_NOT_PERMITTED, ENOTSUP, "gpu_unsupported" },
	};
	size_t i = 0;

	ret->driver = code;
	while (i < GT_LEN(rows) && rows[i].cuda != code)
		i++;
	return gt_err_set(err, i < GT_LEN(rows) ? rows[i].code : EIO,
			  i < GT_LEN(rows) ? rows[i].slug : "gpu_driver", "%s: %s (%d)", call,
			  words(code), code);
}

/* "GPU-8-4-4-4-12" in hex. */
static int read_uuid(const char *text, CUuuid *ret)
{
	size_t n = 0;

	if (!gt_starts_with(text, "GPU-"))
		return -EINVAL;
	for (text += 4; *text && n < 2 * sizeof(ret->bytes); text++) {
		static const char digits[] = "0123456789abcdef";
		const char *at = strchr(digits, *text | 0x20);

		if (*text == '-')
			continue;
		if (!at || !*at)
			return -EINVAL;
		ret->bytes[n / 2] = (char)(ret->bytes[n / 2] << 4 | (at - digits));
		n++;
	}
	return *text == '\0' && n == 2 * sizeof(ret->bytes) ? 0 : -EINVAL;
}

static int restore(const struct gt_gpu_request *rq, struct gt_gpu_reply *ret, struct gt_err *err)
{
	CUcheckpointGpuPair pairs[GT_NODE_GPUS_MAX] = { 0 };
	CUcheckpointRestoreArgs args = { .gpuPairs = rq->n_moves ? pairs : NULL,
					 .gpuPairsCount = (unsigned)rq->n_moves };
	int code;

	for (size_t i = 0; i < rq->n_moves; i++)
		if (read_uuid(rq->moves[i].from, &pairs[i].oldUuid) < 0 ||
		    read_uuid(rq->moves[i].to, &pairs[i].newUuid) < 0)
			return gt_err_set(err, ENOENT, "gpu_unknown",
					  "a process can move between whole GPUs only, not from "
					  "%.50s to %.50s",
					  rq->moves[i].from, rq->moves[i].to);
	code = CUDA_CALL("cuCheckpointProcessRestore", restore, rq->pid, &args);
	return code == CUDA_SUCCESS ? 0 : fail(ret, "cuCheckpointProcessRestore", code, err);
}

static int get_state(const struct gt_gpu_request *rq, struct gt_gpu_reply *ret, struct gt_err *err)
{
	int state = 0, code = CUDA_CALL("cuCheckpointProcessGetState", state, rq->pid, &state);

	if (code != CUDA_SUCCESS)
		return fail(ret, "cuCheckpointProcessGetState", code, err);
	if (state < 0 || state >= GT_GPU_PROCESS_N)
		return gt_err_set(err, EIO, "gpu_driver",
				  "cuCheckpointProcessGetState: a state that is not known (%d)",
				  state);
	ret->state = (enum gt_gpu_process_state)state;
	return 0;
}

int cuda_ask(const struct gt_gpu_request *rq, struct gt_gpu_reply *ret, struct gt_err *err)
{
	CUcheckpointLockArgs lock = { .timeoutMs = GT_MAX(rq->lock_ms, 1u) };
	CUcheckpointArgs args = { { 0 } };
	const char *call;
	int code, tid = 0;

	if (!ready)
		return gt_err_set(err, ENOTSUP, "gpu_unsupported",
				  "the CUDA driver's checkpoints are not at hand");
	switch (rq->kind) {
	case GT_GPU_OP_STATE:
		return get_state(rq, ret, err);
	case GT_GPU_OP_RESTORE:
		return restore(rq, ret, err);
	case GT_GPU_OP_LOCK:
		call = "cuCheckpointProcessLock";
		code = CUDA_CALL("cuCheckpointProcessLock", lock, rq->pid, &lock);
		break;
	case GT_GPU_OP_CHECKPOINT:
		call = "cuCheckpointProcessCheckpoint";
		code = CUDA_CALL("cuCheckpointProcessCheckpoint", checkpoint, rq->pid, &args);
		break;
	case GT_GPU_OP_UNLOCK:
		call = "cuCheckpointProcessUnlock";
		code = CUDA_CALL("cuCheckpointProcessUnlock", unlock, rq->pid, &args);
		break;
	default:
		call = "cuCheckpointProcessGetRestoreThreadId";
		code = cuda.thread ? CUDA_CALL("cuCheckpointProcessGetRestoreThreadId", thread,
					       rq->pid, &tid)
				   : CUDA_ERROR_NOT_SUPPORTED;
		ret->tid = tid;
		break;
	}
	return code == CUDA_SUCCESS ? 0 : fail(ret, call, code, err);
}
