/* library.c - finding and loading the driver's libraries. Never the stub that comes with a toolkit:
 * its directories are not looked into, and what it answers is known by its code. */
#include "library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *const gpu_library_dirs[] = {
	"usr/lib/x86_64-linux-gnu",
	"usr/lib/aarch64-linux-gnu",
	"usr/lib/x86_64-linux-gnu/nvidia/current",
	"usr/lib/aarch64-linux-gnu/nvidia/current",
	"usr/lib64",
	"usr/lib",
	"usr/local/nvidia/lib64",
	"usr/local/nvidia/lib",
	"lib64",
	"lib",
	"",
	NULL,
};

static bool is_host(const char *root)
{
	return !root || !*root || strcmp(root, "/") == 0;
}

bool gpu_library_find(const char *root, const char *name, char ret[GPU_LIBRARY_PATH])
{
	for (const char *const *dir = gpu_library_dirs; *dir; dir++) {
		int n = snprintf(ret, GPU_LIBRARY_PATH, "%s/%s%s%s", is_host(root) ? "" : root,
				 *dir, **dir ? "/" : "", name);

		if (n < GPU_LIBRARY_PATH && access(ret, R_OK) == 0)
			return true;
	}
	return false;
}

void *gpu_library_open(const char *root, const char *name, struct gt_err *err)
{
	char path[GPU_LIBRARY_PATH];
	bool found = gpu_library_find(root, name, path);
	void *lib = found           ? dlopen(path, RTLD_NOW | RTLD_LOCAL)
		    : is_host(root) ? dlopen(name, RTLD_NOW | RTLD_LOCAL)
				    : NULL;

	if (lib)
		return lib;
	if (found)
		gt_err_set(err, ELIBBAD, "gpu_driver",
			   "the driver's library can not be loaded: %.100s", dlerror());
	else
		gt_err_set(err, ENOENT, "gpu_driver",
			   "the driver's library %s is not there: install NVIDIA's driver, or set "
			   "gpu_driver_root (it is %.60s)",
			   name, is_host(root) ? "/" : root);
	return NULL;
}
