/* nvml.c - loading NVIDIA's management library. */
#include <dlfcn.h>
#include <string.h>

#include "library.h"
#include "nvidia.h"

struct nvml nvml;

const struct nvml_names nvml_names = {
#define NVML_NAME(member, symbol, args) .member = #symbol,
	NVML_CALLS(NVML_NAME)
#undef NVML_NAME
};

int nvml_fail(struct gt_err *err, int code, const char *call)
{
	const char *words = nvml.error_string ? nvml.error_string(code) : NULL, *todo = "";

	if (code == NVML_ERROR_LIB_RM_VERSION_MISMATCH)
		todo = "; the library and the loaded kernel module are of different versions: "
		       "reboot, or load the new module";
	else if (code == NVML_ERROR_DRIVER_NOT_LOADED)
		todo = "; load the kernel module: modprobe nvidia";
	return gt_err_set(err, code == NVML_ERROR_NOT_SUPPORTED ? ENOTSUP : EIO, "gpu_driver",
			  "%s: %.60s (%d)%s", call, words ? words : "failed", code, todo);
}

static void resolve(void *lib)
{
#define NVML_RESOLVE(member, symbol, args) nvml.member = (int(*) args)dlsym(lib, #symbol);
	NVML_CALLS(NVML_RESOLVE)
#undef NVML_RESOLVE
	nvml.error_string = (const char *(*)(int))dlsym(lib, "nvmlErrorString");
}

int nvml_begin(const char *root, char *ret_version, size_t size, struct gt_err *err)
{
	void *lib = gpu_library_open(root, GPU_LIBRARY_NVML, err);
	int code;

	if (!lib)
		return -err->code;
	resolve(lib);
	if (!nvml.init || !nvml.count || !nvml.handle || !nvml.uuid)
		return gt_err_set(err, ELIBBAD, "gpu_driver",
				  "%s lacks a call that every driver has: it is none, or too old",
				  GPU_LIBRARY_NVML);
	code = NVML_CALL(init);
	/* The library of a toolkit, made for linking only, says so in the CUDA driver's words. */
	if (code == CUDA_ERROR_STUB_LIBRARY)
		return gt_err_set(err, ELIBBAD, "gpu_driver",
				  "nvmlInit_v2: this is a toolkit's stub (34), not the driver's "
				  "library: set gpu_driver_root to where the driver is");
	if (code != NVML_SUCCESS)
		return nvml_fail(err, code, "nvmlInit_v2");
	if (NVML_CALL(driver_version, ret_version, (unsigned int)size) != NVML_SUCCESS)
		ret_version[0] = '\0';
	ret_version[size - 1] = '\0';
	return 0;
}
