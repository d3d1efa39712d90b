/* cuda.c - a test double of libcuda.so.1: checkpoints of processes that the script lists on a
 * device. What state they are in is kept in a file beside the script, as a driver keeps it in the
 * kernel: it outlives the process that asks. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../../src/gpu/cuda.h"
#include "script.h"

enum { RUNNING, LOCKED, CHECKPOINTED, FAILED, PROCESSES = 256 };

struct process {
	int pid, state;
};
static struct process *table;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct process *open_table(void)
{
	const char *script = getenv("GANTRY_FAKE_GPU");
	size_t size = PROCESSES * sizeof(*table);
	char path[1024];
	int fd;

	snprintf(path, sizeof(path), "%s.cuda", script ? script : "/tmp/gantry-fake");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		abort();
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

/* Bytes that the script gives it on all devices; -1: it is on none. */
static long long bytes_of(int pid)
{
	const json_t *devices, *device, *process;
	long long sum = -1;
	size_t i, k;

	devices = json_object_get(script_take(), "devices");
	json_array_foreach(devices, i, device)
	{
		json_array_foreach(json_object_get(device, "processes"), k, process)
		{
			if (json_integer_value(json_object_get(process, "pid")) != pid)
				continue;
			sum = (sum < 0 ? 0 : sum) +
			      json_integer_value(json_object_get(process, "bytes"));
		}
	}
	script_done();
	return sum;
}

static struct process *find(int pid)
{
	struct process *free_one = NULL;

	if (!table)
		table = open_table();
	if (bytes_of(pid) < 0 || (kill(pid, 0) < 0 && errno == ESRCH))
		return NULL;
	for (int i = 0; i < PROCESSES; i++) {
		if (table[i].pid == pid)
			return &table[i];
		if (!free_one && (!table[i].pid || kill(table[i].pid, 0) < 0))
			free_one = &table[i];
	}
	if (free_one)
		*free_one = (struct process){ pid, RUNNING };
	return free_one;
}

static void copy(int pid)
{
	long long bandwidth = json_integer_value(json_object_get(script_take(), "bandwidth_bytes"));

	script_done();
	if (bandwidth > 0)
		usleep((useconds_t)(bytes_of(pid) * 1000000.0 / (double)bandwidth));
}

static int move(int pid, int from, int to)
{
	struct process *p;
	int code = CUDA_SUCCESS;

	pthread_mutex_lock(&lock);
	p = find(pid);
	if (!p)
		code = CUDA_ERROR_OPERATING_SYSTEM;
	else if (p->state != from)
		code = CUDA_ERROR_ILLEGAL_STATE;
	else
		p->state = to;
	pthread_mutex_unlock(&lock);
	return code;
}

API int cuInit(unsigned int flags);
API int cuInit(unsigned int flags)
{
	(void)flags;
	ENTER("cuInit");
	return CUDA_SUCCESS;
}

API int cuGetErrorName(int code, const char **ret);
API int cuGetErrorName(int code, const char **ret)
{
	static _Thread_local char name[32];

	snprintf(name, sizeof(name), "CUDA_ERROR_%d", code);
	*ret = name;
	return CUDA_SUCCESS;
}

API int cuCheckpointProcessGetState(int pid, int *ret);
API int cuCheckpointProcessGetState(int pid, int *ret)
{
	struct process *p;

	ENTER("cuCheckpointProcessGetState");
	pthread_mutex_lock(&lock);
	p = find(pid);
	*ret = p ? p->state : 0;
	pthread_mutex_unlock(&lock);
	return p ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

API int cuCheckpointProcessLock(int pid, CUcheckpointLockArgs *args);
API int cuCheckpointProcessLock(int pid, CUcheckpointLockArgs *args)
{
	int code = script_call("cuCheckpointProcessLock");

	if (code == CUDA_ERROR_NOT_READY)
		usleep(args->timeoutMs * 1000);
	if (args->timeoutMs == 0)
		pause(); /* as the driver does */
	return code ? code : move(pid, RUNNING, LOCKED);
}

API int cuCheckpointProcessCheckpoint(int pid, CUcheckpointArgs *args);
API int cuCheckpointProcessCheckpoint(int pid, CUcheckpointArgs *args)
{
	(void)args;
	ENTER("cuCheckpointProcessCheckpoint");
	copy(pid);
	return move(pid, LOCKED, CHECKPOINTED);
}

API int cuCheckpointProcessRestore(int pid, CUcheckpointRestoreArgs *args);
API int cuCheckpointProcessRestore(int pid, CUcheckpointRestoreArgs *args)
{
	int code = script_call("cuCheckpointProcessRestore");

	(void)args;
	if (code) {
		(void)move(pid, CHECKPOINTED, FAILED);
		return code;
	}
	copy(pid);
	return move(pid, CHECKPOINTED, LOCKED);
}

API int cuCheckpointProcessUnlock(int pid, CUcheckpointArgs *args);
API int cuCheckpointProcessUnlock(int pid, CUcheckpointArgs *args)
{
	(void)args;
	ENTER("cuCheckpointProcessUnlock");
	return move(pid, LOCKED, RUNNING);
}

API int cuCheckpointProcessGetRestoreThreadId(int pid, int *ret);
API int cuCheckpointProcessGetRestoreThreadId(int pid, int *ret)
{
	ENTER("cuCheckpointProcessGetRestoreThreadId");
	*ret = pid;
	return CUDA_SUCCESS;
}

#define SAME(member, symbol, args) \
	_Static_assert(__builtin_types_compatible_p(__typeof__(&symbol), int(*) args), #symbol);
CUDA_CALLS(SAME)
