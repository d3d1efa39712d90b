/* test_nvidia.c - the backend for NVIDIA's driver, by test doubles of its libraries: what is found
 * and told, and what each call costs that fails, hangs or crashes. */
#include "gpud_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

#include "nvml.h"

#define GPU0 "GPU-00000000-0000-0000-0000-000000000000"
#define GPU1 "GPU-11111111-1111-1111-1111-111111111111"
#define TWO                                                                          \
	"\"devices\":[{\"uuid\":\"" GPU0                                             \
	"\",\"name\":\"NVIDIA H100 80GB HBM3\",\"gpm\":{\"1\":0}},{\"uuid\":\"" GPU1 \
	"\",\"name\":\"NVIDIA H100 80GB HBM3\",\"temperature\":null,\"minor\":5}]"

static char script_path[64], fake[512];

static void write_script(const char *text)
{
	char next[80];
	FILE *f;

	snprintf(next, sizeof(next), "%s.next", script_path);
	f = fopen(next, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(rename(next, script_path), 0);
}

static struct rig *scripted(const char *text)
{
	static const struct gt_gpu_helper_config quick = { .sample_ms = 5,
							   .init_ms = 300,
							   .silent_ms = 300 };

	write_script(text);
	return rig_new(fake, &quick);
}

static void it_finds_what_there_is(void **state)
{
	struct rig *r = scripted("{" TWO "}");
	const struct gt_gpu *gpu = &r->gpus[1];

	(void)state;
	rig_until(r, r->driver.state == GT_GPU_DRIVER_READY && !r->driver.cuda[0]);
	assert_int_equal(r->driver.backend, GT_GPU_FAKE);
	assert_string_equal(r->driver.version, "580.95.05");
	assert_int_equal(r->n_gpus, 2);
	assert_string_equal(gpu->uuid, GPU1);
	assert_string_equal(gpu->model, "NVIDIA H100 80GB HBM3");
	assert_string_equal(gpu->pci, "0000:c1:00.0");
	assert_int_equal(gpu->minor, 5);
	assert_int_equal(gpu->gi, -1);
	assert_int_equal(gpu->capability, 90);
	assert_int_equal(gpu->memory_bytes, 80 * GT_GIB);
	assert_int_equal(gpu->backend, GT_GPU_FAKE);
	rig_until(r, r->n_samples >= 4);
	assert_int_equal(r->samples[0].stats.value[GT_GPU_STAT_GPU_TEMP], 41);
	assert_false(gt_gpu_stat_has(&r->samples[1].stats, GT_GPU_STAT_GPU_TEMP)); /* null */
	assert_true(__builtin_popcountll(r->samples[0].stats.has) >= 23);
	assert_int_equal(r->samples[0].action, 0);
	rig_free(r);
}

static void those_that_are_near_are_in_one_group(void **state)
{
	static const int link[] = { 0, 1, 0, 1, -1 }, bridge[] = { 0, 0, -1, 0, -1 };
	struct rig *r = scripted("{\"devices\":["
				 "{\"uuid\":\"GPU-0\",\"link\":7,\"bridge\":3},"
				 "{\"uuid\":\"GPU-1\",\"link\":2,\"bridge\":3},"
				 "{\"uuid\":\"GPU-2\",\"link\":7,\"bridge\":4},"
				 "{\"uuid\":\"GPU-3\",\"link\":2,\"bridge\":3},"
				 "{\"uuid\":\"GPU-4\",\"link\":null}]}");

	(void)state;
	rig_until(r, r->driver.state == GT_GPU_DRIVER_READY);
	assert_int_equal(r->n_gpus, GT_LEN(link));
	for (size_t i = 0; i < GT_LEN(link); i++) {
		assert_int_equal(r->gpus[i].link, link[i]);
		assert_int_equal(r->gpus[i].bridge, bridge[i]);
	}
	rig_free(r);
}

static void what_its_parts_do_is_told_where_it_is_counted(void **state)
{
	struct rig *r = scripted("{\"devices\":[{\"uuid\":\"" GPU0 "\",\"name\":\"H200\","
				 "\"gpm\":{\"1\":50,\"5\":12.5,\"10\":100.5,\"20\":3,\"21\":0}},"
				 "{\"uuid\":\"" GPU1 "\",\"name\":\"L4\"}]}");
	const struct gt_gpu_stats *s = &r->samples[0].stats;

	(void)state;
	rig_until(r, gt_gpu_stat_has(s, GT_GPU_STAT_TENSOR_ACTIVE));
	assert_int_equal(s->value[GT_GPU_STAT_GR_ENGINE_ACTIVE], 500000);
	assert_int_equal(s->value[GT_GPU_STAT_TENSOR_ACTIVE], 125000);
	assert_false(gt_gpu_stat_has(s, GT_GPU_STAT_DRAM_ACTIVE)); /* can not be */
	assert_int_equal(s->value[GT_GPU_STAT_PCIE_TX], 3 * GT_MIB);
	assert_true(gt_gpu_stat_has(s, GT_GPU_STAT_PCIE_RX)); /* 0 is a value */
	assert_true(r->samples[1].stats.has != 0);
	assert_int_equal(r->samples[1].stats.has >> GT_GPU_STAT_GR_ENGINE_ACTIVE, 0);
	rig_free(r);
}

static void instances_are_listed_in_place_of_their_card(void **state)
{
	struct rig *r = scripted(
		"{\"devices\":[{\"uuid\":\"" GPU0 "\",\"name\":\"A100\",\"mig\":["
		"{\"uuid\":\"MIG-1\",\"name\":\"A100 MIG 1g\",\"gi\":7,\"ci\":0,"
		"\"memory\":5368709120},"
		"{\"uuid\":\"MIG-2\",\"name\":\"A100 MIG 2g\",\"gi\":3,\"ci\":1}]}]}");

	(void)state;
	rig_until(r, r->driver.state == GT_GPU_DRIVER_READY);
	assert_int_equal(r->n_gpus, 2);
	assert_string_equal(r->gpus[0].uuid, "MIG-1");
	assert_int_equal(r->gpus[0].gi, 7);
	assert_int_equal(r->gpus[0].memory_bytes, 5 * GT_GIB);
	assert_int_equal(r->gpus[1].ci, 1);
	assert_string_equal(r->gpus[1].pci, "0000:c0:00.0");
	rig_free(r);
}

static void processes_and_errors_are_told(void **state)
{
	char text[1024];
	struct rig *r;
	struct gt_gpu_request rq = { .kind = GT_GPU_OP_REREAD, .uuid = GPU0 };
	pid_t pid = getpid();

	(void)state;
	snprintf(text, sizeof(text),
		 "{\"devices\":[{\"uuid\":\"" GPU0 "\",\"name\":\"H100\",\"recovery\":1,"
		 "\"processes\":[{\"pid\":%d,\"bytes\":1024}]}],"
		 "\"calls\":{\"nvmlDeviceGetComputeRunningProcesses_v3\":13},"
		 "\"events\":[{\"id\":1,\"device\":0,\"type\":8,\"data\":79}]}",
		 (int)pid);
	r = scripted(text);
	rig_until(r, r->n_incidents == 1 && r->n_samples > 0);
	assert_int_equal(r->incident.xid, 79);
	assert_string_equal(r->incident.uuid, GPU0);
	assert_string_equal(r->incident.pci, "0000:c0:00.0");
	assert_int_equal(r->incident.action, 1);
	assert_int_equal(r->samples[0].n_processes, 1);
	assert_int_equal(r->samples[0].processes[0].bytes, 1024);
	assert_int_equal(rig_ask(r, &rq), 0);
	assert_int_equal(r->reply.health, GT_GPU_RESET);
	write_script("{\"devices\":[{\"uuid\":\"" GPU0 "\",\"name\":\"H100\",\"lost\":true}]}");
	rig_until(r, r->samples[0].lost);
	assert_int_equal(rig_ask(r, &rq), 0);
	assert_int_equal(r->reply.health, GT_GPU_LOST);
	rig_free(r);
}

static void a_process_is_parked(void **state)
{
	char text[512];
	struct rig *r;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close_range(1, ~0u, 0);
		for (;;)
			pause();
	}
	snprintf(text, sizeof(text),
		 "{\"devices\":[{\"uuid\":\"" GPU0 "\",\"name\":\"H100\","
		 "\"processes\":[{\"pid\":%d,\"bytes\":1024}]}]}",
		 (int)pid);
	r = scripted(text);
	rig_until(r, r->driver.state == GT_GPU_DRIVER_READY && !r->driver.cuda[0]);
	assert_int_equal(rig_of(r, GT_GPU_OP_STATE, getppid()), -ESRCH);
	assert_int_equal(rig_of(r, GT_GPU_OP_LOCK, pid), 0);
	assert_int_equal(rig_of(r, GT_GPU_OP_CHECKPOINT, pid), 0);
	assert_int_equal(kill(gt_gpu_helper_pid(r->h), SIGKILL), 0); /* the driver remembers */
	rig_until(r, r->driver.state != GT_GPU_DRIVER_READY);
	rig_until(r, r->driver.state == GT_GPU_DRIVER_READY && !r->driver.cuda[0]);
	assert_int_equal(rig_of(r, GT_GPU_OP_STATE, pid), 0);
	assert_int_equal(r->reply.state, GT_GPU_PROCESS_CHECKPOINTED);
	assert_int_equal(rig_of(r, GT_GPU_OP_RESTORE, pid), 0);
	assert_int_equal(rig_of(r, GT_GPU_OP_UNLOCK, pid), 0);
	assert_int_equal(rig_of(r, GT_GPU_OP_UNLOCK, pid), -EINVAL);
	assert_int_equal(r->reply.driver, 401);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	rig_free(r);
}

static void a_driver_that_is_not_well_says_so(void **state)
{
	static const struct {
		const char *gpus, *script, *words;
	} rows[] = {
		{ "fake:/nonexistent", "{}", "libnvidia-ml.so.1 is not there" },
		{ NULL, "{\"calls\":{\"nvmlInit_v2\":18}}", "mismatch (18)" },
		{ NULL, "{\"calls\":{\"nvmlInit_v2\":9}}", "modprobe nvidia" },
		{ NULL, "{\"calls\":{\"nvmlInit_v2\":34}}", "a toolkit's stub (34)" },
		{ NULL, "{\"calls\":{\"nvmlInit_v2\":\"hang\"}}", "hangs in nvmlInit_v2" },
		{ NULL, "{\"calls\":{\"nvmlInit_v2\":\"crash\"}}", "killed by signal 11" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		static const struct gt_gpu_helper_config quick = { .init_ms = 700 };
		struct rig *r;

		write_script(rows[i].script);
		r = rig_new(rows[i].gpus ? rows[i].gpus : fake, &quick);
		rig_until(r, r->driver.state == GT_GPU_DRIVER_FAILED);
		if (!strstr(r->driver.text, rows[i].words))
			fail_msg("%s: \"%s\"", rows[i].words, r->driver.text);
		assert_int_equal(rig_of(r, GT_GPU_OP_STATE, 1) < 0, 1);
		rig_free(r);
	}
}

static void without_cuda_the_rest_works(void **state)
{
	struct rig *r = scripted("{" TWO ",\"calls\":{\"cuInit\":34}}");

	(void)state;
	rig_until(r, strstr(r->driver.cuda, "stub") && r->n_samples >= 2);
	assert_int_equal(r->driver.state, GT_GPU_DRIVER_READY);
	assert_int_equal(rig_of(r, GT_GPU_OP_LOCK, 1), -ENOTSUP);
	rig_free(r);
}

struct answer {
	bool came;
	int code;
};

static void keep_answer(const struct gt_gpu_reply *reply, const struct gt_err *err, void *arg)
{
	struct answer *a = arg;

	(void)reply;
	a->came = true;
	a->code = err ? err->code : 0;
}

/* An error would be the end of a process that is parked. */
static void who_asks_for_cuda_waits_until_it_is_loaded(void **state)
{
	static const char text[] =
		"{\"devices\":[{\"uuid\":\"" GPU0
		"\",\"name\":\"H100\",\"processes\":[{\"pid\":%d,\"bytes\":1}]}],"
		"\"calls\":{%s}}";
	struct gt_gpu_request parked = { .kind = GT_GPU_OP_STATE, .pid = getpid() };
	struct gt_gpu_request memory = { .kind = GT_GPU_OP_MEMORY, .uuid = GPU0 };
	struct answer a = { 0 };
	char script[512];
	struct rig *r;

	(void)state;
	snprintf(script, sizeof(script), text, (int)getpid(), "\"cuInit\":\"wait\"");
	r = scripted(script);
	rig_until(r, r->driver.state == GT_GPU_DRIVER_READY);
	assert_int_equal(gt_gpu_helper_ask(r->h, &parked, keep_answer, &a, NULL, NULL), 0);
	assert_int_equal(rig_ask(r, &memory), 0); /* that needs no CUDA */
	assert_int_equal(rig_ask(r, &memory), 0);
	assert_false(a.came);
	snprintf(script, sizeof(script), text, (int)getpid(), "");
	write_script(script);
	rig_until(r, a.came);
	assert_int_equal(a.code, 0);
	rig_free(r);
}

static const char *const calls[] = {
#define NAME(member, symbol, args) #symbol,
	NVML_CALLS(NAME)
#undef NAME
};

/* Each call fails: what it would tell is missing, and nothing else is. */
static void a_call_that_fails_costs_what_it_tells(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(calls); i++) {
		bool needed = strstr("nvmlInit_v2 nvmlDeviceGetCount_v2", calls[i]) != NULL;
		char text[1024];
		struct rig *r;

		snprintf(text, sizeof(text), "{" TWO ",\"calls\":{\"%s\":999}}", calls[i]);
		r = scripted(text);
		rig_until(r, r->driver.state == (strcmp(calls[i], "nvmlInit_v2") == 0
							 ? GT_GPU_DRIVER_FAILED
							 : GT_GPU_DRIVER_READY));
		if (!needed && strcmp(calls[i], "nvmlDeviceGetHandleByIndex_v2") != 0 &&
		    strcmp(calls[i], "nvmlDeviceGetUUID") != 0) {
			rig_until(r, r->n_samples >= 2);
			assert_int_equal(r->n_gpus, 2);
		}
		assert_int_equal(gt_gpu_helper_starts(r->h), 1);
		rig_free(r);
	}
}

static bool is_asked_first(const char *call)
{
	static const char *const later[] = { "nvmlDeviceGetMemoryInfo",
					     "nvmlDeviceGetCurrentClocksThrottleReasons",
					     "nvmlDeviceGetComputeRunningProcesses_v2",
					     "nvmlDeviceGetComputeRunningProcesses",
					     "nvmlDeviceGetMaxMigDeviceCount",
					     "nvmlDeviceGetMigDeviceHandleByIndex",
					     "nvmlDeviceGetGpuInstanceId",
					     "nvmlDeviceGetComputeInstanceId",
					     "nvmlEventSetWait" };

	for (size_t i = 0; i < GT_LEN(later); i++)
		if (strcmp(later[i], call) == 0)
			return false;
	return true;
}

/* Each call hangs, or crashes: gpud is replaced, and works when the driver does again. */
static void a_call_costs_one_gpud(const char *how)
{
	for (size_t i = 0; i < GT_LEN(calls); i++) {
		char text[1024];
		struct rig *r;

		if (!is_asked_first(calls[i]))
			continue;
		snprintf(text, sizeof(text), "{" TWO ",\"calls\":{\"%s\":\"%s\"}}", calls[i], how);
		r = scripted(text);
		rig_until(r, gt_gpu_helper_starts(r->h) >= 2);
		write_script("{" TWO "}");
		r->n_samples = 0;
		rig_until(r, r->driver.state == GT_GPU_DRIVER_READY && r->n_samples >= 2);
		rig_free(r);
	}
}

static void a_call_that_crashes_costs_one_gpud(void **state)
{
	(void)state;
	a_call_costs_one_gpud("crash");
}

static void a_call_that_hangs_costs_one_gpud(void **state)
{
	(void)state;
	a_call_costs_one_gpud("hang");
}

/* ---- the same of CUDA, which is asked for one process ---- */

static const struct {
	const char *call;
	enum gt_gpu_op_kind kind;
} checkpoint_calls[] = {
	{ "cuCheckpointProcessGetState", GT_GPU_OP_STATE },
	{ "cuCheckpointProcessLock", GT_GPU_OP_LOCK },
	{ "cuCheckpointProcessCheckpoint", GT_GPU_OP_CHECKPOINT },
	{ "cuCheckpointProcessRestore", GT_GPU_OP_RESTORE },
	{ "cuCheckpointProcessUnlock", GT_GPU_OP_UNLOCK },
	{ "cuCheckpointProcessGetRestoreThreadId", GT_GPU_OP_THREAD },
};

/* Each of them does `what`, and its request ends with this error; the next gpud, where there is
 * one, works when the driver does again. */
static void requests_end(const char *what, int code, unsigned starts)
{
	for (size_t i = 0; i < GT_LEN(checkpoint_calls); i++) {
		struct gt_gpu_request rq = { .kind = checkpoint_calls[i].kind,
					     .pid = getpid(),
					     .lock_ms = 1,
					     .deadline_ms = 200 };
		char text[1024];
		struct rig *r;

		snprintf(text, sizeof(text), "{" TWO ",\"calls\":{\"%s\":%s}}",
			 checkpoint_calls[i].call, what);
		r = scripted(text);
		rig_until(r, r->driver.state == GT_GPU_DRIVER_READY && !r->driver.cuda[0]);
		if (rig_ask(r, &rq) != -code)
			fail_msg("%s: %d, %s", checkpoint_calls[i].call, r->err.code, r->err.text);
		write_script("{" TWO "}");
		r->n_samples = 0;
		rig_until(r, r->driver.state == GT_GPU_DRIVER_READY && r->n_samples >= 2);
		assert_int_equal(gt_gpu_helper_starts(r->h), starts);
		rig_free(r);
	}
}

static void a_cuda_call_that_fails_costs_its_request(void **state)
{
	(void)state;
	requests_end("999", EIO, 1);
	requests_end("801", ENOTSUP, 1);
}

static void a_cuda_call_that_hangs_costs_one_gpud(void **state)
{
	(void)state;
	requests_end("\"hang\"", ETIMEDOUT, 2);
}

static void a_cuda_call_that_crashes_costs_one_gpud(void **state)
{
	(void)state;
	requests_end("\"crash\"", ECHILD, 2);
}

/* No program of ours is linked to the driver. */
static void the_driver_is_not_linked(void **state)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		assert_null(strstr(line, "libnvidia-ml"));
		assert_null(strstr(line, "libcuda"));
		assert_null(strstr(line, "libnccl"));
	}
	fclose(f);
}

static int tidy(void **state)
{
	char path[80];

	(void)state;
	unlink(script_path);
	snprintf(path, sizeof(path), "%s.cuda", script_path);
	unlink(path);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_finds_what_there_is),
		cmocka_unit_test(those_that_are_near_are_in_one_group),
		cmocka_unit_test(what_its_parts_do_is_told_where_it_is_counted),
		cmocka_unit_test(instances_are_listed_in_place_of_their_card),
		cmocka_unit_test(processes_and_errors_are_told),
		cmocka_unit_test(a_process_is_parked),
		cmocka_unit_test(a_driver_that_is_not_well_says_so),
		cmocka_unit_test(who_asks_for_cuda_waits_until_it_is_loaded),
		cmocka_unit_test(without_cuda_the_rest_works),
		cmocka_unit_test(a_call_that_fails_costs_what_it_tells),
		cmocka_unit_test(a_call_that_crashes_costs_one_gpud),
		cmocka_unit_test(a_call_that_hangs_costs_one_gpud),
		cmocka_unit_test(a_cuda_call_that_fails_costs_its_request),
		cmocka_unit_test(a_cuda_call_that_hangs_costs_one_gpud),
		cmocka_unit_test(a_cuda_call_that_crashes_costs_one_gpud),
		cmocka_unit_test(the_driver_is_not_linked),
	};
	char dir[256] = "";

	rig_main(argc, argv);
	(void)!readlink("/proc/self/exe", dir, sizeof(dir) - 1);
	*strrchr(dir, '/') = '\0';
	snprintf(script_path, sizeof(script_path), "/tmp/gantry-fake-%d.json", (int)getpid());
	snprintf(fake, sizeof(fake), "fake:%s/../../fake/gpu,%s", dir, script_path);
	return cmocka_run_group_tests(tests, NULL, tidy);
}
