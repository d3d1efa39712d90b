/* gpu/inject.h - what a container needs to use some of the node's NVIDIA GPUs, and nothing of the
 * others: device nodes, the driver's own libraries, a filtered /proc/driver. Reads files of the
 * kernel and of the driver's root; loads nothing of the driver. The lists are those of NVIDIA's
 * libnvidia-container (src/nvc_info.c) and of the CDI documents that nvidia-ctk writes.
 *
 * A program finds the libraries by LD_LIBRARY_PATH. An entry of ld.so.conf.d would need ldconfig to
 * be run over the image, by somebody with rights: glibc reads the cache alone. They are put where
 * images with CUDA look already (their LD_LIBRARY_PATH and PATH name these directories). */
#ifndef GANTRY_GPU_INJECT_H
#define GANTRY_GPU_INJECT_H

#include <gantry/model/inject.h>
#include <gantry/model/limits.h>

#define GT_GPU_LIBRARY_DIR "/usr/local/nvidia/lib64"
#define GT_GPU_PROGRAM_DIR "/usr/local/nvidia/bin"
#define GT_GPU_PCI_SIZE    16 /* "0000:c6:00.0" */

/* NVIDIA_DRIVER_CAPABILITIES: which of the libraries. What needs a display is not offered. */
enum { GT_GPU_UTILITY = 1, GT_GPU_COMPUTE = 2, GT_GPU_VIDEO = 4 };
#define GT_GPU_CAPABILITIES (GT_GPU_UTILITY | GT_GPU_COMPUTE | GT_GPU_VIDEO)

/* Where the driver is. Each of NULL: as on a usual machine ("/", "/proc", "/sys"). */
struct gt_driver_roots {
	const char *driver; /* the libraries are below it; need not be writable */
	const char *proc, *sys;
};

/* One device that is granted: a GPU, or an instance of one (MIG). */
struct gt_inject_gpu {
	const char *uuid;
	uint32_t minor;  /* of /dev/nvidiaN: of the whole GPU, for an instance too */
	int gi, ci;      /* GPU and compute instance; -1: the whole GPU */
	const char *pci; /* bus id, with a domain of 4 or 8 digits */
};

/* What of `text` (the image's or the function's NVIDIA_DRIVER_CAPABILITIES) this version gives:
 * words that it does not know or does not offer are passed over. NULL or "": all. Never more than
 * GT_GPU_CAPABILITIES. */
unsigned gt_gpu_capabilities(const char *text);
/* "compute,utility" */
void gt_gpu_capabilities_text(unsigned capabilities, char *out, size_t size);

/* Adds to *ret. Slug device_unavailable: -ENODEV no driver is loaded, -ENOENT a library is missing,
 * a MIG instance is not there, or the kernel tells of no major number; each says where it looked.
 * `gpus` none: nothing is added but that all GPUs of the node are hidden. */
GT_MUST_USE int gt_gpu_inject(const struct gt_driver_roots *roots, const struct gt_inject_gpu *gpus,
			      size_t n, unsigned capabilities, struct gt_inject *ret,
			      struct gt_err *err);

/* /proc/driver/nvidia without any GPU, for who gets the driver's libraries from elsewhere. */
GT_MUST_USE int gt_gpu_inject_texts(const struct gt_driver_roots *roots, struct gt_inject *ret,
				    struct gt_err *err);

/* A GPU as the kernel module tells of it, without any library of the driver. */
struct gt_proc_gpu {
	char pci[GT_GPU_PCI_SIZE];
	char uuid[GT_GPU_UUID_MAX + 1];
	char model[GT_GPU_MODEL_MAX + 1];
	uint32_t minor;
};
/* In the order of bus ids. 0 with none when no driver is loaded. */
GT_MUST_USE int gt_proc_gpus(const struct gt_driver_roots *roots,
			     struct gt_proc_gpu ret[GT_NODE_GPUS_MAX], size_t *n,
			     struct gt_err *err);
/* "580.95.05"; -ENODEV (slug device_unavailable): no driver is loaded. */
GT_MUST_USE int gt_proc_driver_version(const struct gt_driver_roots *roots, char *out, size_t size,
				       struct gt_err *err);

#endif
