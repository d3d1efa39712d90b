#include "learner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/log.h>
#include <gantry/control/control.h>
#include <gantry/control/learned.h>
#include <gantry/loop/loop.h>
#include <gantry/scale/learned.h>

#include "recorder.h"

#define PERIOD_MS 10000 /* for each MiB, so that a thousandth of a second's work is the most */

struct gt_learner {
	struct gt_loop *loop;
	struct gt_control *control;
	struct gt_timer timer;
	uint64_t decided; /* by control, at the last writing */
	struct gt_buf content;
	bool failed; /* said in the log */
};

/* ---- files ---- */
static int write_all(int fd, const struct gt_buf *b)
{
	for (size_t at = 0; at < b->len;) {
		ssize_t n = write(fd, b->data + at, b->len - at);

		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int gt_learner_file_write(const char *path, const struct gt_buf *content, struct gt_err *err)
{
	gt_auto(free) char *tmp = gt_asprintf("%s.new", path);
	gt_auto(fd) int fd = -EBADF;
	int r;

	(void)!unlink(tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return gt_err_errno(err, errno, "%s", tmp);
	r = write_all(fd, content);
	if (r < 0)
		return gt_err_errno(err, -r, "%s", tmp);
	if (rename(tmp, path) < 0)
		return gt_err_errno(err, errno, "%s", path);
	return 0;
}

static int file_read(const char *path, struct gt_buf *ret, struct gt_err *err)
{
	gt_auto(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "%s", path);
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)GT_LEARNED_BYTES_MAX)
		return gt_err_set(err, EINVAL, "invalid_state", "%s: no file of up to %llu bytes",
				  path, (unsigned long long)GT_LEARNED_BYTES_MAX);
	while (ret->len < (size_t)st.st_size) {
		size_t left = (size_t)st.st_size - ret->len;
		char *to = gt_buf_reserve(ret, left);
		ssize_t n = read(fd, to, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return gt_err_errno(err, n < 0 ? errno : EIO, "%s", path);
		ret->len += (size_t)n;
	}
	return 0;
}

/* ---- now and then ---- */
static void save(struct gt_learner *l, bool final)
{
	struct gt_err err = { 0 };

	l->decided = gt_control_decided(l->control);
	gt_control_learned_save(l->control, final, &l->content);
	if (gt_learner_file_write(GT_LEARNER_PATH, &l->content, &err) == 0)
		l->failed = false;
	else if (!l->failed) {
		gt_warn("what was learned is not kept: %s", err.text);
		l->failed = true;
	}
}

static void on_timer(void *arg)
{
	struct gt_learner *l = arg;

	if (gt_control_decided(l->control) != l->decided)
		save(l, false);
	gt_timer_set(l->loop, &l->timer, PERIOD_MS * (1 + l->content.len / GT_MIB), on_timer, l);
}

static void load(struct gt_learner *l, struct gt_recorder *recorder)
{
	struct gt_err err = { 0 };
	int r = file_read(GT_LEARNER_PATH, &l->content, &err);

	if (r == 0)
		r = gt_control_learned_load(l->control, gt_buf_str(&l->content), l->content.len,
					    &err);
	if (r < 0) {
		if (r != -ENOENT)
			gt_warn("%s is not used, the autoscaler learns anew: %s", GT_LEARNER_PATH,
				err.text);
		return;
	}
	save(l, false); /* what a control leaves that is killed: not final any more */
	if (recorder)
		gt_recorder_learned(recorder, &l->content);
}

void gt_learner_open(struct gt_loop *loop, struct gt_control *control, struct gt_recorder *recorder,
		     struct gt_learner **ret)
{
	struct gt_learner *l = gt_alloc(sizeof(*l));

	l->loop = loop;
	l->control = control;
	load(l, recorder);
	gt_timer_set(loop, &l->timer, PERIOD_MS, on_timer, l);
	*ret = l;
}

void gt_learner_close(struct gt_learner *l)
{
	if (!l)
		return;
	gt_timer_clear(l->loop, &l->timer);
	if (l->content.len > 0 || gt_control_decided(l->control) > 0)
		save(l, true);
	gt_buf_fini(&l->content);
	free(l);
}
