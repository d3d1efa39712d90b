/* musl.h - included before anything of gantry-init: what musl, which it is linked to, has no names
 * for. A glibc program asks the processor dozens of questions before main, each of which costs
 * microseconds in a virtual machine; this one is on the path of every cold start. */
#ifndef GANTRY_RUNTIME_INIT_MUSL_H
#define GANTRY_RUNTIME_INIT_MUSL_H

#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef __GLIBC__ /* which has them; for the check that headers stand alone */
#include <linux/mount.h>

static inline int fsopen(const char *name, unsigned flags)
{
	return (int)syscall(SYS_fsopen, name, flags);
}

static inline int fsconfig(int fs, unsigned cmd, const char *key, const void *value, int aux)
{
	return (int)syscall(SYS_fsconfig, fs, cmd, key, value, aux);
}

static inline int fsmount(int fs, unsigned flags, unsigned attr)
{
	return (int)syscall(SYS_fsmount, fs, flags, attr);
}

static inline int move_mount(int from, const char *a, int to, const char *b, unsigned flags)
{
	return (int)syscall(SYS_move_mount, from, a, to, b, flags);
}

static inline int open_tree(int at, const char *path, unsigned flags)
{
	return (int)syscall(SYS_open_tree, at, path, flags);
}

static inline int mount_setattr(int at, const char *path, unsigned flags, struct mount_attr *attr,
				size_t size)
{
	return (int)syscall(SYS_mount_setattr, at, path, flags, attr, size);
}

static inline int close_range(unsigned first, unsigned last, int flags)
{
	return (int)syscall(SYS_close_range, first, last, flags);
}

#endif
#endif
