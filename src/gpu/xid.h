/* xid.h - what an Xid error means, and the line of the kernel's log that tells of one. Pure. */
#ifndef GPU_XID_H
#define GPU_XID_H

#include <gantry/gpu/helper.h>

enum gpu_xid_class {
	GPU_XID_IGNORE,
	GPU_XID_WARN,
	GPU_XID_LINK,
	GPU_XID_RESTART,
	GPU_XID_RESET,
	GPU_XID_LOST,
	GPU_XID_CLASS_N
};

#define GPU_XID_MAX 172

/* *words is a static text. A code that is not in the catalogue is a warning. */
enum gpu_xid_class gpu_xid_class(uint32_t xid, const char **words);
enum gt_gpu_health gpu_xid_health(enum gpu_xid_class c);

/* "NVRM: Xid (PCI:0000:c6:00): 79, pid=1, name=x, text", the older form without "PCI:", and "NVRM:
 * GPU 0000:c6:00.0: GPU has fallen off the bus", which is an Xid 79. False: the line is about
 * something else. Writes pci as "0000:c6:00.0", and *pid, 0 = it names none. `line` need not end.
 */
bool gpu_xid_parse(const char *line, size_t len, struct gt_gpu_incident *ret, int32_t *pid);

#endif
