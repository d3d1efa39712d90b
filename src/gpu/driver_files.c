/* driver_files.c - the libraries whose names end in the driver's version: they and the kernel
 * module are built together, and no others work. A root may be a whole system of its own (the
 * driver in a container), so its links are followed below it and never out of it. */
#include "driver_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "library.h"

#define SLUG "device_unavailable"

/* soname: what programs are linked to, where that is not the file's own name. */
static const struct library {
	const char *name, *soname;
	unsigned capability;
	bool needed; /* without it the capability is worth nothing */
} libraries[] = {
	{ "libnvidia-ml.so", "libnvidia-ml.so.1", GT_GPU_UTILITY, true },
	{ "libnvidia-cfg.so", "libnvidia-cfg.so.1", GT_GPU_UTILITY, false },
	{ "libcuda.so", "libcuda.so.1", GT_GPU_COMPUTE, true },
	{ "libcudadebugger.so", "libcudadebugger.so.1", GT_GPU_COMPUTE, false },
	{ "libnvidia-ptxjitcompiler.so", "libnvidia-ptxjitcompiler.so.1", GT_GPU_COMPUTE, false },
	{ "libnvidia-nvvm.so", "libnvidia-nvvm.so.4", GT_GPU_COMPUTE, false },
	{ "libnvidia-nvvm70.so", "libnvidia-nvvm70.so.4", GT_GPU_COMPUTE, false },
	{ "libnvidia-gpucomp.so", NULL, GT_GPU_COMPUTE, false },
	{ "libnvidia-opencl.so", "libnvidia-opencl.so.1", GT_GPU_COMPUTE, false },
	{ "libnvidia-allocator.so", "libnvidia-allocator.so.1", GT_GPU_COMPUTE, false },
	{ "libnvidia-tileiras.so", NULL, GT_GPU_COMPUTE, false },
	{ "libnvidia-pkcs11.so", NULL, GT_GPU_COMPUTE, false },
	{ "libnvidia-pkcs11-openssl3.so", NULL, GT_GPU_COMPUTE, false },
	{ "libnvcuvid.so", "libnvcuvid.so.1", GT_GPU_VIDEO, false },
	{ "libnvidia-encode.so", "libnvidia-encode.so.1", GT_GPU_VIDEO, false },
	{ "libnvidia-opticalflow.so", "libnvidia-opticalflow.so.1", GT_GPU_VIDEO, false },
};

/* By these names programs load them at run time. */
static const struct {
	const char *path, *to;
	unsigned capability;
} links[] = {
	{ GT_GPU_LIBRARY_DIR "/libcuda.so", "libcuda.so.1", GT_GPU_COMPUTE },
	{ GT_GPU_LIBRARY_DIR "/libnvidia-opticalflow.so", "libnvidia-opticalflow.so.1",
	  GT_GPU_VIDEO },
};

/* Where a driver has a directory of its own, the program in the usual ones is a script that leads
 * there: here it would lead to itself. */
static const char *const program_dirs[] = { "usr/local/nvidia/bin", "usr/bin", "bin",
					    "usr/local/bin", NULL };

/* A regular file below the root; -1 with errno. */
static int open_below(int root, const char *dir, const char *name)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	char path[GT_INJECT_PATH_MAX + 1];
	struct stat st;
	int fd;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
		gt_close(fd);
		errno = ENOENT;
		return -1;
	}
	return fd;
}

static int find(int root, const char *const *dirs, const char *name)
{
	int fd = -1;

	for (; fd < 0 && *dirs; dirs++)
		fd = open_below(root, **dirs ? *dirs : ".", name);
	return fd;
}

static int add_library(int root, const struct library *l, const char *driver_root,
		       const char *version, struct gt_inject *ret, struct gt_err *err)
{
	char name[96], path[160];
	int fd, r;

	snprintf(name, sizeof(name), "%s.%s", l->name, version);
	fd = find(root, gpu_library_dirs, name);
	if (fd < 0 && !l->needed)
		return 0; /* not every version has each */
	if (fd < 0)
		return gt_err_set(err, ENOENT, SLUG,
				  "there is no %s in usr/lib/x86_64-linux-gnu, usr/lib64, "
				  "usr/local/nvidia/lib64 "
				  "and the like below "
				  "the driver's root %s (see gpu_driver_root in the daemon's "
				  "configuration)",
				  name, driver_root);
	snprintf(path, sizeof(path), GT_GPU_LIBRARY_DIR "/%s", name);
	r = gt_inject_bind_add(ret, path, fd, err);
	if (r < 0 || !l->soname)
		return r;
	snprintf(path, sizeof(path), GT_GPU_LIBRARY_DIR "/%s", l->soname);
	return gt_inject_link_add(ret, path, name, err);
}

int gt_driver_files(const struct gt_driver_roots *roots, const char *version, unsigned capabilities,
		    struct gt_inject *ret, struct gt_err *err)
{
	const char *path = roots && roots->driver && *roots->driver ? roots->driver : "/";
	gt_auto(fd) int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = 0, fd;

	if (root < 0)
		return gt_err_set(err, errno, SLUG, "the driver's root %s: %s", path,
				  strerror(errno));
	for (size_t i = 0; r == 0 && i < GT_LEN(libraries); i++) {
		if (libraries[i].capability & capabilities)
			r = add_library(root, &libraries[i], path, version, ret, err);
	}
	for (size_t i = 0; r == 0 && i < GT_LEN(links); i++) {
		if (links[i].capability & capabilities)
			r = gt_inject_link_add(ret, links[i].path, links[i].to, err);
	}
	if (r == 0 && ret->n_binds > 0)
		r = gt_inject_library_dir_add(ret, GT_GPU_LIBRARY_DIR, err);
	if (r < 0 || !(capabilities & GT_GPU_UTILITY))
		return r;
	fd = find(root, program_dirs, "nvidia-smi");
	if (fd < 0)
		return 0; /* nobody's start depends on it */
	r = gt_inject_bind_add(ret, GT_GPU_PROGRAM_DIR "/nvidia-smi", fd, err);
	return r < 0 ? r : gt_inject_program_dir_add(ret, GT_GPU_PROGRAM_DIR, err);
}
