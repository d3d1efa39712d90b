/* base/cleanup.h - resources that release themselves. Declare with a neutral value on the same
 * line, steal on success:  gt_auto(fd) int fd = -EBADF;  ...  *ret = gt_steal_fd(&fd); */
#ifndef GANTRY_BASE_CLEANUP_H
#define GANTRY_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>

#include <gantry/base/base.h>

/* GT_CLEANUP_TYPE(image, struct gt_image *, gt_image_unref) makes gt_auto(image) work. */
#define GT_CLEANUP_TYPE(name, type, release)          \
	static inline void gt_cleanup_##name(type *p) \
	{                                             \
		release(*p);                          \
	}
#define gt_auto(name) __attribute__((cleanup(gt_cleanup_##name), unused))

/* Takes the pointer out of *pp and leaves NULL. */
#define gt_steal(pp)                               \
	({                                         \
		__typeof__(*(pp)) stolen_ = *(pp); \
		*(pp) = NULL;                      \
		stolen_;                           \
	})

int gt_close(int fd); /* closes when >= 0, keeps errno, returns -EBADF for `fd = gt_close(fd)` */
int gt_steal_fd(int *fd);

static inline void gt_cleanup_fd(int *fd)
{
	gt_close(*fd);
}

static inline void gt_cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void gt_cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

#endif
