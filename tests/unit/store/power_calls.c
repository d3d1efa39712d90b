/* power_calls.c - the C library's calls that change files, for the whole program: passed on, and
 * noted where somebody notes (power.h). What is passed on goes to the next library, so that
 * sanitizers see it. */
#undef _FORTIFY_SOURCE /* which defines some of these itself */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "power.h"

#define NEXT(name)                                                                     \
	static __typeof__(&name) next;                                                 \
	if (!__atomic_load_n(&next, __ATOMIC_RELAXED))                                 \
	__atomic_store_n(&next, (__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name), \
			 __ATOMIC_RELAXED)

static int next_openat(int dir, const char *path, int flags, mode_t mode)
{
	NEXT(openat);
	return next(dir, path, flags, mode);
}

static int noted_open(int dir, const char *path, int flags, mode_t mode)
{
	char name[64];
	struct stat st;
	bool made;
	int fd;

	if (!(flags & O_CREAT) || !power_lock())
		return next_openat(dir, path, flags, mode);
	made = power_notes(dir, path, name) && fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0;
	fd = next_openat(dir, path, flags, mode);
	if (fd >= 0 && made)
		power_note_name(POWER_CREATE, name, fd);
	power_unlock();
	return fd;
}

#define MODE                                           \
	mode_t mode = 0;                               \
	va_list args;                                  \
	va_start(args, flags);                         \
	if (flags & (O_CREAT | __O_TMPFILE))           \
		mode = (mode_t)va_arg(args, unsigned); \
	va_end(args)

int open(const char *path, int flags, ...)
{
	MODE;
	return noted_open(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	MODE;
	return noted_open(AT_FDCWD, path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	MODE;
	return noted_open(dir, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
	MODE;
	return noted_open(dir, path, flags, mode);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
	ssize_t n;

	NEXT(pwrite64);
	if (!power_lock())
		return next(fd, data, len, at);
	n = next(fd, data, len, at);
	if (n > 0)
		power_note_data(POWER_WRITE, fd, at, data, (size_t)n);
	power_unlock();
	return n;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
	return pwrite64(fd, data, len, at);
}

ssize_t write(int fd, const void *data, size_t len)
{
	off_t at;
	ssize_t n;

	NEXT(write);
	at = lseek(fd, 0, SEEK_CUR);
	if (at < 0 || !power_lock()) /* a pipe may wait */
		return next(fd, data, len);
	n = next(fd, data, len);
	if (n > 0)
		power_note_data(POWER_WRITE, fd, at, data, (size_t)n);
	power_unlock();
	return n;
}

int ftruncate64(int fd, off64_t len)
{
	int r;

	NEXT(ftruncate64);
	if (!power_lock())
		return next(fd, len);
	r = next(fd, len);
	if (r == 0)
		power_note_data(POWER_TRUNCATE, fd, len, NULL, 0);
	power_unlock();
	return r;
}

int ftruncate(int fd, off_t len)
{
	return ftruncate64(fd, len);
}

static int noted_sync(int fd, int (*next)(int))
{
	int r = 0;

	if (!power_lock())
		return next(fd);
	if (!power_is_careless(fd))
		r = next(fd);
	if (r == 0)
		power_note_data(POWER_SYNC, fd, 0, NULL, 0);
	power_unlock();
	return r;
}

int fsync(int fd)
{
	NEXT(fsync);
	return noted_sync(fd, next);
}

int fdatasync(int fd)
{
	NEXT(fdatasync);
	return noted_sync(fd, next);
}

int unlinkat(int dir, const char *path, int flags)
{
	char name[64];
	int r;

	NEXT(unlinkat);
	if (!power_lock())
		return next(dir, path, flags);
	r = next(dir, path, flags);
	if (r == 0 && power_notes(dir, path, name))
		power_note_name(POWER_DELETE, name, -1);
	power_unlock();
	return r;
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}
