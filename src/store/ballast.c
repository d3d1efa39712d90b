#include "ballast.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>
#include <gantry/base/units.h>

#define SIZE_MAX_BYTES (64 * GT_MIB)
#define DISK_PART      16 /* of a small disk it takes no more than this part */
#define AGAIN_NS       GT_NS_PER_S

/* Of the disk that the directory of fd is on. */
static uint64_t size_of(int fd, uint64_t *free_bytes)
{
	struct statvfs disk;

	if (fstatvfs(fd, &disk) < 0)
		return 0;
	*free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
	return GT_MIN((uint64_t)disk.f_blocks * disk.f_frsize / DISK_PART, SIZE_MAX_BYTES);
}

/* It takes its place for good: half of what is free at most, and no hole. */
static bool make(const char *path)
{
	gt_auto(fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	uint64_t free_bytes = 0, size = fd < 0 ? 0 : size_of(fd, &free_bytes);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	if (size == 0) /* the file system has no size, as one in memory may have none */
		return unlink(path) == 0;
	if ((uint64_t)st.st_size == size && (uint64_t)st.st_blocks * 512 >= size)
		return true;
	if (free_bytes >= 2 * size && ftruncate(fd, 0) == 0 &&
	    posix_fallocate(fd, 0, (off_t)size) == 0)
		return true;
	unlink(path);
	return false;
}

static bool ready_locked(struct gt_ballast *b)
{
	uint64_t now_ns;

	if (!b->path || b->there)
		return true;
	now_ns = gt_mono_ns(&gt_clock_system);
	if (b->tried_ns && now_ns - b->tried_ns < AGAIN_NS)
		return false;
	b->there = make(b->path);
	b->tried_ns = b->there ? 0 : now_ns;
	if (b->there)
		gt_info("store: the state disk has room");
	return b->there;
}

void gt_ballast_open(struct gt_ballast *b, const char *path)
{
	pthread_mutex_init(&b->lock, NULL);
	b->path = path;
	if (!path)
		return;
	b->there = make(path);
	if (!b->there)
		gt_warn("store: the state disk is nearly full: no calls or functions are taken "
			"until it has room");
}

void gt_ballast_close(struct gt_ballast *b)
{
	pthread_mutex_destroy(&b->lock);
}

bool gt_ballast_ready(struct gt_ballast *b)
{
	bool r;

	pthread_mutex_lock(&b->lock);
	r = ready_locked(b);
	pthread_mutex_unlock(&b->lock);
	return r;
}

bool gt_ballast_drop(struct gt_ballast *b)
{
	bool dropped;

	pthread_mutex_lock(&b->lock);
	dropped = b->path && b->there && unlink(b->path) == 0;
	if (dropped) {
		b->there = false;
		b->tried_ns = gt_mono_ns(&gt_clock_system);
		gt_warn("store: the state disk is full: what was kept for that is given up, and no "
			"calls or functions are taken until there is room");
	}
	pthread_mutex_unlock(&b->lock);
	return dropped;
}
