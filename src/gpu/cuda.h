/* cuda.h - the part of the CUDA driver that gpud uses: checkpoints of processes, as CUDA 13.0
 * declares them. All four structs of arguments are 64 bytes, and what is reserved must be zero. */
#ifndef GPU_CUDA_H
#define GPU_CUDA_H

#include <gantry/base/base.h>

/* CUresult */
enum {
	CUDA_SUCCESS = 0,
	CUDA_ERROR_INVALID_VALUE = 1,
	CUDA_ERROR_OUT_OF_MEMORY = 2,
	CUDA_ERROR_NOT_INITIALIZED = 3,
	CUDA_ERROR_STUB_LIBRARY = 34,
	CUDA_ERROR_NO_DEVICE = 100,
	CUDA_ERROR_OPERATING_SYSTEM = 304,
	CUDA_ERROR_ILLEGAL_STATE = 401,
	CUDA_ERROR_NOT_FOUND = 500,
	CUDA_ERROR_NOT_READY = 600,
	CUDA_ERROR_NOT_PERMITTED = 800,
	CUDA_ERROR_NOT_SUPPORTED = 801,
	CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
};

typedef struct {
	char bytes[16];
} CUuuid;

typedef struct {
	unsigned int timeoutMs; /* 0 waits for ever: never pass it */
	unsigned int reserved0;
	uint64_t reserved1[7];
} CUcheckpointLockArgs;

typedef struct {
	uint64_t reserved[8];
} CUcheckpointArgs; /* of Checkpoint and Unlock */

typedef struct {
	CUuuid oldUuid, newUuid;
} CUcheckpointGpuPair;

typedef struct {
	CUcheckpointGpuPair *gpuPairs;
	unsigned int gpuPairsCount;
	char reserved[52 - sizeof(CUcheckpointGpuPair *)];
	uint64_t reserved1;
} CUcheckpointRestoreArgs;

_Static_assert(sizeof(CUcheckpointLockArgs) == 64 && sizeof(CUcheckpointArgs) == 64 &&
		       sizeof(CUcheckpointRestoreArgs) == 64 && sizeof(CUcheckpointGpuPair) == 32,
	       "ABI of CUDA");

/* CALL(member, symbol, arguments): all return an int that is a CUresult. */
#define CUDA_CALLS(CALL)                                                            \
	CALL(init, cuInit, (unsigned int))                                          \
	CALL(error_name, cuGetErrorName, (int, const char **))                      \
	CALL(state, cuCheckpointProcessGetState, (int, int *))                      \
	CALL(lock, cuCheckpointProcessLock, (int, CUcheckpointLockArgs *))          \
	CALL(checkpoint, cuCheckpointProcessCheckpoint, (int, CUcheckpointArgs *))  \
	CALL(restore, cuCheckpointProcessRestore, (int, CUcheckpointRestoreArgs *)) \
	CALL(unlock, cuCheckpointProcessUnlock, (int, CUcheckpointArgs *))          \
	CALL(thread, cuCheckpointProcessGetRestoreThreadId, (int, int *))

#endif
