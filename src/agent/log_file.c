/* log_file.c - log files on disk: format, size, age. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/os/os.h>

#include "logs.h"

#define FILES_KEPT 20 /* of ended replicas of a function */
#define PATH_SIZE  (GT_NAME_MAX + GT_REPLICA_ID_SIZE + 16)
#define LAST_READ  (2 * GT_LOG_LINE_MAX + 256)

static void file_path(const struct log *log, bool older, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, "%s/%s.log%s", log->function, log->replica, older ? ".1" : "");
}

void gt_log_file_format(const struct log_line *line, struct gt_buf *out)
{
	gt_buf_addf(out, "%llu %llu", (unsigned long long)line->seq,
		    (unsigned long long)line->wall_ms);
	if (line->late_ms > 0)
		gt_buf_addf(out, "-%llu", (unsigned long long)line->late_ms);
	gt_buf_addf(out, " %c %u ", line->stream == LOG_STDOUT ? 'o' : 'e', line->revision);
	gt_buf_add(out, line->text, line->len);
	gt_buf_addc(out, '\n');
}

bool gt_log_line_parse(const char *at, size_t len, struct log_line *ret)
{
	unsigned long long seq, ms, late = 0;
	unsigned revision;
	char head[96], stream;
	int times = 0, used = 0;

	snprintf(head, sizeof(head), "%.*s", (int)GT_MIN(len, sizeof(head) - 1), at);
	if (sscanf(head, "%llu %llu%n-%llu%n", &seq, &ms, &times, &late, &times) < 2 ||
	    sscanf(head + times, " %c %u%n", &stream, &revision, &used) != 2 ||
	    (size_t)(used += times) >= len || at[used] != ' ' || (stream != 'o' && stream != 'e'))
		return false;
	ret->seq = seq;
	ret->wall_ms = ms;
	ret->late_ms = GT_MIN(late, ms);
	ret->stream = stream == 'o' ? LOG_STDOUT : LOG_STDERR;
	ret->revision = revision;
	ret->text = at + used + 1;
	ret->len = len - (size_t)used - 1;
	return true;
}

/* With the first line, off the path of the start. */
static int file_open(struct log *log)
{
	int dir = gt_logs_dir(log->logs);
	char path[PATH_SIZE];
	struct stat st;

	if (gt_os_mkdir_at(dir, log->function, 0700, NULL) < 0)
		return -EIO;
	gt_log_files_prune(log->logs, log->function);
	file_path(log, false, path);
	log->fd = openat(dir, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (log->fd < 0)
		return -errno;
	log->size = fstat(log->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	return 0;
}

static void file_turn(struct log *log)
{
	char path[PATH_SIZE], older[PATH_SIZE];
	int dir = gt_logs_dir(log->logs);

	file_path(log, false, path);
	file_path(log, true, older);
	log->fd = gt_close(log->fd);
	renameat(dir, path, dir, older);
}

int gt_log_file_append(struct log *log, const char *data, size_t len)
{
	int r;

	if (log->fd >= 0 && log->size + len > log->max_bytes / 2)
		file_turn(log);
	if (log->fd < 0) {
		r = file_open(log);
		if (r < 0)
			return r;
	}
	while (len > 0) {
		ssize_t n = write(log->fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		log->size += (size_t)n;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static uint64_t last_seq_in(int dir, const char *path)
{
	gt_auto(fd) int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	gt_auto(free) char *text = NULL;
	struct log_line line = { .seq = 0 };
	uint64_t seq = 0;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0;
	bool cut = st.st_size > LAST_READ;
	text = gt_alloc(LAST_READ + 1);
	n = pread(fd, text, LAST_READ, cut ? st.st_size - LAST_READ : 0);
	/* Lines hold what a program printed: NULs, and in the middle of one a false beginning. */
	const char *at = text, *end = n > 0 ? text + n : text, *stop;
	if (cut)
		at = (stop = memchr(at, '\n', (size_t)(end - at))) ? stop + 1 : end;
	for (; (stop = memchr(at, '\n', (size_t)(end - at))); at = stop + 1) {
		if (gt_log_line_parse(at, (size_t)(stop - at), &line))
			seq = GT_MAX(seq, line.seq);
	}
	return seq;
}

uint64_t gt_log_file_last_seq(struct log *log)
{
	char path[PATH_SIZE];
	uint64_t seq;

	file_path(log, false, path);
	seq = last_seq_in(gt_logs_dir(log->logs), path);
	if (seq > 0)
		return seq;
	file_path(log, true, path);
	return last_seq_in(gt_logs_dir(log->logs), path);
}

/* ---- age: replica ids sort by the time of their start ---- */

static int is_log(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return len == GT_ULID_LEN + 4 && gt_streq(e->d_name + len - 4, ".log");
}

void gt_log_files_prune(struct logs *l, const char *function)
{
	struct dirent **names = NULL;
	int n = scandirat(gt_logs_dir(l), function, &names, is_log, alphasort);
	int ended = 0;

	for (int i = n - 1; i >= 0; i--) {
		char path[PATH_SIZE], replica[GT_REPLICA_ID_SIZE];

		snprintf(replica, sizeof(replica), "%.*s", GT_ULID_LEN, names[i]->d_name);
		if (!gt_log_is_open(l, function, replica) && ++ended > FILES_KEPT) {
			snprintf(path, sizeof(path), "%s/%s.log", function, replica);
			unlinkat(gt_logs_dir(l), path, 0);
			snprintf(path, sizeof(path), "%s/%s.log.1", function, replica);
			unlinkat(gt_logs_dir(l), path, 0);
		}
		free(names[i]);
	}
	free(names);
}
