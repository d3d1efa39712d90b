/* procfs.h - what the kernel tells of NVIDIA's driver, in /proc and /sys or in directories that
 * look like them. */
#ifndef GPU_PROCFS_H
#define GPU_PROCFS_H

#include <gantry/gpu/inject.h>

/* A whole file below the root `proc`, at most GT_INJECT_TEXT_MAX bytes; the caller's to free. */
int gt_proc_read(const struct gt_driver_roots *roots, const char *path, char **ret,
		 struct gt_err *err);
/* The major number that /proc/devices has for a character device of one of the names, which end in
 * NULL. -ENOENT: there is none. */
int gt_proc_major(const struct gt_driver_roots *roots, const char *const *names, uint32_t *ret,
		  struct gt_err *err);
/* "00000000:C6:00.0" -> "0000:c6:00.0"; -EINVAL */
int gt_pci_name(const char *pci, char out[GT_GPU_PCI_SIZE], struct gt_err *err);
/* Where below /sys a PCI device is: "devices/pci0000:00/0000:00:01.0". -ENOENT. */
int gt_sys_pci_path(const struct gt_driver_roots *roots, const char *pci, char *out, size_t size,
		    struct gt_err *err);

#endif
