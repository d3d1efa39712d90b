/* library.h - where the driver's libraries are. */
#ifndef GPU_LIBRARY_H
#define GPU_LIBRARY_H

#include <gantry/base/err.h>

#define GPU_LIBRARY_PATH 1280
#define GPU_LIBRARY_NVML "libnvidia-ml.so.1"
#define GPU_LIBRARY_CUDA "libcuda.so.1"

/* Where they are looked for below the driver's root, NULL-terminated; "": in it. */
extern const char *const gpu_library_dirs[];
/* The file, below the driver's root ("" and NULL are "/"), in the first directory that has it. */
bool gpu_library_find(const char *root, const char *name, char ret[GPU_LIBRARY_PATH]);
/* Loads it, by that path or, where the root is "/", by the linker's own search. NULL, with the text
 * saying where it was looked for. */
void *gpu_library_open(const char *root, const char *name, struct gt_err *err);

#endif
