/* cleanup.c - releasing descriptors on every way out. */
#include <gantry/base/cleanup.h>

#include <unistd.h>

int gt_close(int fd)
{
	if (fd >= 0) {
		int saved = errno;

		/* Linux has released the number even when close says EINTR: never again. */
		close(fd);
		errno = saved;
	}
	return -EBADF;
}

int gt_steal_fd(int *fd)
{
	int stolen = *fd;

	*fd = -EBADF;
	return stolen;
}
