/* record.c - the end of a job: its image's record. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/wire/image.h>

#include "work.h"

int gt_work_record(struct job *j, const struct gt_image_record *record, struct gt_err *err)
{
	struct gt_image_event e = { .word = GT_IMAGE_DONE, .id = j->order.id };
	gt_auto(buf) struct gt_buf text = { 0 };

	gt_buf_init(&text, GT_IMAGE_RECORD_MAX);
	gt_image_record_write(record, &text);
	if (text.failed)
		return gt_err_set(err, E2BIG, "image_invalid", "the image's config is too large");
	snprintf(e.file, sizeof(e.file), "record-%u", j->w->serial++);
	gt_strcopy(e.name, sizeof(e.name), record->digest);
	gt_auto(fd) int fd = openat(j->w->dir_fd, e.file,
				    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 && errno != ENOSPC)
		return gt_err_errno(err, errno, "write the image's record");
	if (fd < 0 || write(fd, text.data, text.len) != (ssize_t)text.len) {
		unlinkat(j->w->dir_fd, e.file, 0);
		return gt_err_set(err, ENOSPC, "storage_full",
				  "the disk of the state directory is full");
	}
	gt_work_tell(j->w, &e);
	return 0;
}
