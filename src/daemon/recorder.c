#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/base/log.h>
#include <gantry/loop/loop.h>
#include <gantry/scale/record.h>

#include "learner.h"

#define OLD_PATH     "control/decisions.1.csv"
#define OLD_LEARNED  "control/decisions.1.learned"
#define LEARNED_PATH "control/decisions.learned"
#define FLUSH_MS     1000
#define FLUSH_BYTES  (64 * 1024)

struct gt_recorder {
	struct gt_loop *loop;
	struct gt_timer flush;
	int fd; /* -1: the record has ended */
	uint64_t written, max_bytes;
	struct gt_buf rows;
};

static void end(struct gt_recorder *r, const char *why)
{
	gt_warn("%s ends here: %s", GT_RECORDER_PATH, why);
	close(r->fd);
	r->fd = -1;
}

static void flush(void *arg)
{
	struct gt_recorder *r = arg;
	const char *at = gt_buf_str(&r->rows);
	size_t left = r->rows.len;

	while (r->fd >= 0 && left > 0) {
		ssize_t n = write(r->fd, at, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			end(r, strerror(errno));
			break;
		}
		at += n;
		left -= (size_t)n;
		r->written += (uint64_t)n;
	}
	gt_buf_reset(&r->rows);
	if (r->fd >= 0 && r->written >= r->max_bytes)
		end(r, "it has reached record_mib");
}

int gt_recorder_open(struct gt_loop *loop, uint64_t max_bytes, struct gt_recorder **ret,
		     struct gt_err *err)
{
	struct gt_recorder *r;
	int fd;

	if (rename(GT_RECORDER_PATH, OLD_PATH) < 0 && errno != ENOENT)
		return gt_err_errno(err, errno, "%s", OLD_PATH);
	(void)!unlink(OLD_LEARNED);
	if (rename(LEARNED_PATH, OLD_LEARNED) < 0 && errno != ENOENT)
		return gt_err_errno(err, errno, "%s", OLD_LEARNED);
	fd = open(GT_RECORDER_PATH, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return gt_err_errno(err, errno, "%s", GT_RECORDER_PATH);
	r = gt_alloc(sizeof(*r));
	r->loop = loop;
	r->fd = fd;
	r->max_bytes = max_bytes;
	gt_scale_record_heading(&r->rows);
	flush(r);
	*ret = r;
	return 0;
}

void gt_recorder_learned(struct gt_recorder *r, const struct gt_buf *state)
{
	struct gt_err err = { 0 };

	if (gt_learner_file_write(LEARNED_PATH, state, &err) < 0) {
		end(r, err.text);
		return;
	}
	gt_scale_record_learned(&r->rows);
	flush(r);
}

void gt_recorder_close(struct gt_recorder *r)
{
	if (!r)
		return;
	flush(r);
	gt_timer_clear(r->loop, &r->flush);
	if (r->fd >= 0)
		close(r->fd);
	gt_buf_fini(&r->rows);
	free(r);
}

void gt_recorder_scale(struct gt_recorder *r, const char *function, const struct gt_scale_in *in,
		       const struct gt_scale_out *out)
{
	if (r->fd < 0)
		return;
	gt_scale_record_row(&r->rows, function, in, out);
	if (r->rows.len >= FLUSH_BYTES)
		flush(r);
	else if (!gt_timer_is_set(&r->flush))
		gt_timer_set(r->loop, &r->flush, FLUSH_MS, flush, r);
}
