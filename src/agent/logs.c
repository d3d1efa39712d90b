/* logs.c - FIFOs to lines. A container that fills its pipe faster than it is read is read after a
 * pause that grows with the number of lines: it waits for the log, the node does not. */
#include "logs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/os/os.h>

#define READ_SIZE          65536
#define WRITE_SIZE         16384 /* so that a file passes its limit by little */
#define PAUSE_MIN_MS       2
#define LINES_PER_PAUSE_MS 400

struct logs {
	struct gt_loop *loop;
	int dir_fd;
	struct log *open;
	struct log_follower *followers;
};

int gt_logs_new(struct gt_loop *loop, const char *dir, struct logs **ret, struct gt_err *err)
{
	struct logs *l;
	int fd, r = gt_os_mkdir_at(AT_FDCWD, dir, 0700, err);

	if (r == 0)
		r = gt_os_open_dir(AT_FDCWD, dir, &fd, err);
	if (r < 0)
		return r;
	l = gt_alloc(sizeof(*l));
	l->loop = loop;
	l->dir_fd = fd;
	*ret = l;
	return 0;
}

void gt_logs_free(struct logs *l)
{
	if (!l)
		return;
	gt_close(l->dir_fd);
	free(l);
}

int gt_logs_dir(const struct logs *l)
{
	return l->dir_fd;
}

void gt_logs_follow(struct logs *l, struct log_follower *f)
{
	DL_APPEND(l->followers, f);
}

void gt_logs_unfollow(struct logs *l, struct log_follower *f)
{
	DL_DELETE(l->followers, f);
}

bool gt_log_is_open(const struct logs *l, const char *function, const char *replica)
{
	const struct log *log;

	DL_FOREACH (l->open, log) {
		if (gt_streq(log->replica, replica) && gt_streq(log->function, function))
			return true;
	}
	return false;
}

/* ---- lines ---- */

static void tail_add(struct log *log, const char *text, size_t len)
{
	char **slot = &log->tail[log->n_tail++ % GT_FAIL_LOG_LINES];

	free(*slot);
	*slot = gt_strndup(text, len);
}

char *gt_log_tail(const struct log *log)
{
	size_t n = GT_MIN(log->n_tail, (size_t)GT_FAIL_LOG_LINES);
	gt_auto(buf) struct gt_buf out = { 0 };

	if (n == 0)
		return NULL;
	gt_buf_init(&out, 0);
	for (size_t i = log->n_tail - n; i < log->n_tail; i++) {
		if (out.len > 0)
			gt_buf_addc(&out, '\n');
		gt_buf_adds(&out, log->tail[i % GT_FAIL_LOG_LINES]);
	}
	return gt_buf_steal(&out);
}

/* A full disk must not stop the program: the lines are lost, their numbers show it. */
static void write_lines(struct log *log, struct gt_buf *file)
{
	if (file->len > 0)
		gt_log_file_append(log, file->data, file->len);
	gt_buf_reset(file);
}

/* One line: into `file` for the disk, to the tail, to the followers. */
static void take_line(struct log_pipe *p, const char *text, size_t len, struct gt_buf *file)
{
	struct log *log = p->log;
	struct log_follower *f, *next;
	struct log_line line = {
		.seq = ++log->seq,
		.wall_ms = gt_wall_ms(&gt_clock_system),
		.late_ms = p->late_ms,
		.stream = p->stream,
		.function = log->function,
		.replica = log->replica,
		.revision = log->revision,
		.text = text,
		.len = len,
	};

	if (len > 0 && text[len - 1] == '\r')
		line.len--;
	gt_log_file_format(&line, file);
	if (file->len >= WRITE_SIZE)
		write_lines(log, file);
	tail_add(log, line.text, line.len);
	DL_FOREACH_SAFE (log->logs->followers, f, next)
		f->on_line(&line, f->arg);
}

void gt_log_say(struct log *log, const char *text)
{
	gt_auto(buf) struct gt_buf file = { 0 };

	if (!log->logs)
		return;
	gt_buf_init(&file, 0);
	log->pipes[LOG_STDERR].late_ms = 0;
	take_line(&log->pipes[LOG_STDERR], text, strlen(text), &file);
	write_lines(log, &file);
}

static void take_bytes(struct log_pipe *p, const char *data, size_t len, struct gt_buf *file)
{
	while (len > 0) {
		const char *end = memchr(data, '\n', len);
		size_t n = end ? (size_t)(end - data) : len;
		size_t room = GT_LOG_LINE_MAX - p->part.len;

		if (n >= room) { /* too long for a line: a piece of it */
			gt_buf_add(&p->part, data, room);
			take_line(p, p->part.data, p->part.len, file);
			gt_buf_reset(&p->part);
			data += room;
			len -= room;
			continue;
		}
		gt_buf_add(&p->part, data, n);
		if (end) {
			take_line(p, gt_buf_str(&p->part), p->part.len, file);
			gt_buf_reset(&p->part);
			n++;
		}
		data += n;
		len -= n;
	}
}

/* How long what is read next can have been there: since the last read if that did not take all,
 * else since the FIFO was last written to, as its file system says. Some file systems never say,
 * and of a write that goes on they have not said yet: then that time has not moved, and nothing is
 * known. */
static uint64_t lateness(struct log_pipe *p)
{
	uint64_t now = gt_wall_ms(&gt_clock_system), since = now;
	struct timespec before = p->wrote;
	struct stat st;

	if (fstat(p->fd, &st) == 0)
		p->wrote = st.st_mtim;
	if (p->full)
		since = p->read_ms;
	else if (p->wrote.tv_sec != before.tv_sec || p->wrote.tv_nsec != before.tv_nsec)
		since = (uint64_t)p->wrote.tv_sec * 1000 + (uint64_t)p->wrote.tv_nsec / 1000000;
	since = GT_MAX(since, p->read_ms); /* what was there then was taken */
	p->read_ms = now;
	return since < now ? now - since : 0;
}

/* Returns how many bytes came. */
static size_t read_pipe(struct log_pipe *p)
{
	static char data[READ_SIZE]; /* loop thread only */
	gt_auto(buf) struct gt_buf file = { 0 };
	ssize_t n;

	p->late_ms = lateness(p);
	do {
		n = read(p->fd, data, sizeof(data));
	} while (n < 0 && errno == EINTR);
	p->full = n == READ_SIZE;
	if (n <= 0)
		return 0;
	p->log->said_ns = gt_loop_clock_ns(p->log->logs->loop);
	gt_buf_init(&file, 0);
	take_bytes(p, data, (size_t)n, &file);
	write_lines(p->log, &file);
	return (size_t)n;
}

static void on_pipe(struct gt_watch *w, unsigned events, void *arg);

static void on_pause_over(void *arg)
{
	struct log_pipe *p = arg;

	if (gt_loop_watch(p->log->logs->loop, p->fd, GT_EV_READ, on_pipe, p, &p->watch, NULL) < 0)
		p->watch = NULL;
}

static void on_pipe(struct gt_watch *w, unsigned events, void *arg)
{
	struct log_pipe *p = arg;
	uint64_t before = p->log->seq;
	size_t n = read_pipe(p);

	(void)w;
	/* Process 1 held the last writing end; or a full pipe. */
	if (n < READ_SIZE && !(n == 0 && (events & GT_EV_HANGUP)))
		return;
	gt_watch_close(p->watch);
	p->watch = NULL;
	if (n > 0)
		gt_timer_set(p->log->logs->loop, &p->pause,
			     PAUSE_MIN_MS + (p->log->seq - before) / LINES_PER_PAUSE_MS,
			     on_pause_over, p);
}

static void flush_part(struct log_pipe *p)
{
	gt_auto(buf) struct gt_buf file = { 0 };

	if (p->part.len == 0)
		return;
	gt_buf_init(&file, 0);
	take_line(p, p->part.data, p->part.len, &file);
	gt_buf_reset(&p->part);
	write_lines(p->log, &file);
}

void gt_logs_catch_up(struct logs *l, const char *function)
{
	struct log *log;

	DL_FOREACH (l->open, log)
		for (int i = 0; i < LOG_STREAM_N && gt_streq(log->function, function); i++)
			read_pipe(&log->pipes[i]); /* all of it: a pipe holds no more */
}

void gt_log_drain(struct log *log)
{
	for (int i = 0; i < LOG_STREAM_N; i++) {
		struct log_pipe *p = &log->pipes[i];

		if (!log->logs || p->fd < 0)
			continue;
		/* A pipe has an end once its writers are dead; bounded in case they are not. */
		for (int rounds = 0; rounds < 32 && read_pipe(p) > 0; rounds++)
			;
		flush_part(p);
	}
}

/* ---- life ---- */

int gt_log_open(struct logs *l, struct log *log, int fds[LOG_STREAM_N], struct gt_err *err)
{
	int r = 0;

	log->logs = l;
	log->fd = -EBADF;
	DL_APPEND(l->open, log);
	log->seq = gt_log_file_last_seq(log);
	for (int i = 0; i < LOG_STREAM_N; i++) {
		struct log_pipe *p = &log->pipes[i];

		p->log = log;
		p->stream = (enum log_stream)i;
		p->fd = fds[i];
		gt_buf_init(&p->part, GT_LOG_LINE_MAX + 1);
		if (r == 0)
			r = gt_loop_watch(l->loop, p->fd, GT_EV_READ, on_pipe, p, &p->watch, err);
	}
	return r;
}

void gt_log_close(struct log *log)
{
	if (!log->logs)
		return;
	for (int i = 0; i < LOG_STREAM_N; i++) {
		struct log_pipe *p = &log->pipes[i];

		gt_timer_clear(log->logs->loop, &p->pause);
		gt_watch_close(p->watch);
		p->watch = NULL;
		p->fd = gt_close(p->fd);
		gt_buf_fini(&p->part);
	}
	log->fd = gt_close(log->fd);
	for (int i = 0; i < GT_FAIL_LOG_LINES; i++)
		free(gt_steal(&log->tail[i]));
	DL_DELETE(log->logs->open, log);
	log->logs = NULL;
}
