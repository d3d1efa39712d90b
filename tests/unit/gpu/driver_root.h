/* driver_root.h - a directory that looks like the roots of a machine with a driver: files that
 * tests make themselves, nothing of NVIDIA's in them. */
#ifndef TEST_GPU_DRIVER_ROOT_H
#define TEST_GPU_DRIVER_ROOT_H

#include <gantry/gpu/inject.h>

struct driver_root {
	char dir[64];
	char driver[96], proc[96], sys[96];
	struct gt_driver_roots roots;
};

#define DRIVER_VERSION "580.95.05"

/* `gpus` of them, minor numbers from 0, bus ids 0000:00:01.0 and so on; libraries and nvidia-smi.
 */
void driver_root_open(struct driver_root *d, unsigned gpus);
void driver_root_close(struct driver_root *d);
/* Below the directory; parents are made. */
void driver_root_put(const struct driver_root *d, const char *path, const char *text);
void driver_root_remove(const struct driver_root *d, const char *path);

#endif
