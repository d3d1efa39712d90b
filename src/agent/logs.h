/* logs.h - what replicas print: read from their FIFOs, cut into lines, kept in files of bounded
 * size, handed to whoever follows.
 *
 * A file DIR/agent/logs/<function>/<replica>.log holds lines "SEQ MS STREAM REVISION TEXT", STREAM
 * o or e. MS is when it was read; "MS-LATE" when it is known to have waited for that. At half its
 * limit it becomes <replica>.log.1 in place of an older one: the newest half is always there, and a
 * gap in SEQ shows what was dropped. */
#ifndef GANTRY_AGENT_LOGS_H
#define GANTRY_AGENT_LOGS_H

#include <time.h>

#include <gantry/base/buf.h>
#include <gantry/loop/loop.h>
#include <gantry/model/msg.h>

struct logs;
struct log;

enum log_stream { LOG_STDOUT, LOG_STDERR, LOG_STREAM_N };

struct log_line {
	uint64_t seq, wall_ms;
	uint64_t late_ms; /* it may have been written so long before it was read */
	enum log_stream stream;
	const char *function, *replica;
	uint32_t revision;
	const char *text; /* not NUL-terminated */
	size_t len;
};

struct log_pipe {
	struct log *log;
	enum log_stream stream;
	int fd; /* our end of the FIFO */
	struct gt_watch *watch;
	struct gt_timer pause; /* it prints faster than we care to store */
	struct timespec wrote; /* the FIFO's own note of its last write, at the last read */
	uint64_t read_ms;      /* when that was */
	uint64_t late_ms;      /* of what it brought */
	bool full;             /* it left something there */
	struct gt_buf part;    /* a line without its end */
};

/* Lives inside its replica. */
struct log {
	struct logs *logs;
	struct log *prev, *next;        /* logs->open */
	const char *function, *replica; /* borrowed */
	uint32_t revision;
	uint64_t seq, max_bytes, size;
	uint64_t said_ns; /* when the program last wrote something; 0 = not since it was opened */
	int fd;           /* the file, opened with the first line */
	struct log_pipe pipes[LOG_STREAM_N];
	char *tail[GT_FAIL_LOG_LINES]; /* ring of the last lines */
	size_t n_tail;
};

/* Told of each new line, after it was written. */
struct log_follower {
	struct log_follower *prev, *next;
	void (*on_line)(const struct log_line *line, void *arg);
	void *arg;
};

int gt_logs_new(struct gt_loop *loop, const char *dir, struct logs **ret, struct gt_err *err);
void gt_logs_free(struct logs *l);
void gt_logs_follow(struct logs *l, struct log_follower *f);
void gt_logs_unfollow(struct logs *l, struct log_follower *f);
int gt_logs_dir(const struct logs *l); /* descriptor of the directory */

/* fds: read ends of the FIFOs (taken). Goes on after the last line of an earlier agent. */
int gt_log_open(struct logs *l, struct log *log, int fds[LOG_STREAM_N], struct gt_err *err);
void gt_log_say(struct log *log, const char *text); /* a line of ours among the program's */
/* Reads now what the program has written until now: who asks need not wait for our turn. */
void gt_logs_catch_up(struct logs *l, const char *function);
void gt_log_drain(struct log *log); /* everything that is in the FIFOs, and the unfinished lines */
char *gt_log_tail(
	const struct log *log); /* the last lines, '\n' between; NULL = none; caller frees */
void gt_log_close(struct log *log);

/* log_file.c */
int gt_log_file_append(struct log *log, const char *data, size_t len);
uint64_t gt_log_file_last_seq(struct log *log);
/* Reads one line of a file; false when it is none. text points into the line. */
bool gt_log_line_parse(const char *at, size_t len, struct log_line *ret);
void gt_log_file_format(const struct log_line *line, struct gt_buf *out);
/* Removes the oldest files of a function; live ones are spared. */
void gt_log_files_prune(struct logs *l, const char *function);
bool gt_log_is_open(const struct logs *l, const char *function, const char *replica);

#endif
