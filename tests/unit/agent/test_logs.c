/* test_logs.c - from pipes to lines to files and back, without a container. */
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "log_query.h"

#define ID(n) "01AAAAAAAAAAAAAAAAAAAAAA" n

struct world {
	char dir[64];
	struct gt_loop *loop;
	struct logs *logs;
	struct log log;
	bool fifo; /* standard output is one, as a replica's: its file system notes times */
	int in[LOG_STREAM_N]; /* writing ends */
	char got[65536];      /* "seq stream text\n" of what was asked for */
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int set_up(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));

	gt_strcopy(w->dir, sizeof(w->dir), "/tmp/gantry-logs-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(gt_loop_new(&w->loop, NULL), 0);
	assert_int_equal(gt_logs_new(w->loop, w->dir, &w->logs, NULL), 0);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	gt_log_close(&w->log);
	gt_logs_free(w->logs);
	gt_loop_free(w->loop);
	nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(w);
	return 0;
}

static void open_log(struct world *w, const char *replica, uint64_t max_bytes)
{
	int fds[LOG_STREAM_N];

	w->log = (struct log){
		.function = "hello", .replica = replica, .revision = 4, .max_bytes = max_bytes
	};
	for (int i = 0; i < LOG_STREAM_N; i++) {
		int ends[2];

		assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
		fds[i] = ends[0];
		w->in[i] = ends[1];
		if (w->fifo && i == LOG_STDOUT) {
			char path[128];

			gt_close(ends[0]);
			gt_close(ends[1]);
			snprintf(path, sizeof(path), "%s/fifo", w->dir);
			assert_int_equal(mkfifo(path, 0600), 0);
			fds[i] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
			w->in[i] = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
			assert_true(fds[i] >= 0 && w->in[i] >= 0);
		}
	}
	assert_int_equal(gt_log_open(w->logs, &w->log, fds, NULL), 0);
}

static void end_log(struct world *w)
{
	gt_close(w->in[LOG_STDOUT]);
	gt_close(w->in[LOG_STDERR]);
	gt_log_drain(&w->log);
	gt_log_close(&w->log);
}

static void say(struct world *w, enum log_stream stream, const char *text)
{
	assert_int_equal(write(w->in[stream], text, strlen(text)), strlen(text));
	gt_log_drain(&w->log);
}

static void note(const struct log_line *line, void *arg)
{
	struct world *w = arg;
	size_t len = strlen(w->got);

	snprintf(w->got + len, sizeof(w->got) - len, "%llu %c %.*s\n",
		 (unsigned long long)line->seq, line->stream == LOG_STDOUT ? 'o' : 'e',
		 (int)line->len, line->text);
}

static const char *ask(struct world *w, struct log_query q)
{
	w->got[0] = '\0';
	gt_strcopy(q.function, sizeof(q.function), "hello");
	gt_log_query_run(w->logs, &q, note, w);
	return w->got;
}

#define EVERYTHING                                         \
	(struct log_query)                                 \
	{                                                  \
		.revision = -1, .stream = -1, .tail = 1000 \
	}

static void lines_come_back_in_order(void **state)
{
	struct world *w = *state;
	struct log_query q = EVERYTHING;

	open_log(w, ID("01"), GT_MIB);
	say(w, LOG_STDOUT, "one\ntwo\r\n");
	say(w, LOG_STDERR, "\n");
	say(w, LOG_STDOUT, "last without an end");
	assert_string_equal(ask(w, q), "1 o one\n2 o two\n3 e \n4 o last without an end\n");
	q.tail = 2;
	assert_string_equal(ask(w, q), "3 e \n4 o last without an end\n");
	q.stream = LOG_STDERR;
	assert_string_equal(ask(w, q), "3 e \n");
	q = EVERYTHING;
	q.after = 3;
	assert_string_equal(ask(w, q), "4 o last without an end\n");
	q.revision = 5;
	assert_string_equal(ask(w, q), "");
	end_log(w);
}

static void a_line_may_come_in_pieces(void **state)
{
	struct world *w = *state;
	char *tail;

	open_log(w, ID("01"), GT_MIB);
	for (const char *p = "slow\n"; *p; p++) {
		assert_int_equal(write(w->in[LOG_STDOUT], p, 1), 1);
		assert_int_equal(gt_loop_step(w->loop, 1000, NULL), 0);
	}
	assert_string_equal(ask(w, EVERYTHING), "1 o slow\n");
	tail = gt_log_tail(&w->log);
	assert_string_equal(tail, "slow");
	free(tail);
	end_log(w);
}

static void long_lines_are_cut(void **state)
{
	struct world *w = *state;
	struct log_query q = EVERYTHING;
	char *text = malloc(GT_LOG_LINE_MAX + 11);

	open_log(w, ID("01"), GT_MIB);
	memset(text, 'x', GT_LOG_LINE_MAX + 10);
	text[GT_LOG_LINE_MAX + 9] = '\n';
	text[GT_LOG_LINE_MAX + 10] = '\0';
	say(w, LOG_STDOUT, text);
	free(text);
	assert_int_equal(strlen(ask(w, q)), GT_LOG_LINE_MAX + 9 + 2 * strlen("1 o \n"));
	q.after = 1;
	assert_string_equal(ask(w, q), "2 o xxxxxxxxx\n");
	end_log(w);
}

static void the_newest_stay_within_the_limit(void **state)
{
	struct world *w = *state;
	const char *first;
	struct stat a, b;
	char path[128], line[128];

	open_log(w, ID("01"), 8192);
	for (int i = 1; i <= 400; i++) {
		snprintf(line, sizeof(line), "number %d, and some more of it\n", i);
		say(w, LOG_STDOUT, line);
	}
	snprintf(path, sizeof(path), "%s/hello/%s.log", w->dir, ID("01"));
	assert_int_equal(stat(path, &a), 0);
	snprintf(path, sizeof(path), "%s/hello/%s.log.1", w->dir, ID("01"));
	assert_int_equal(stat(path, &b), 0);
	assert_true(a.st_size + b.st_size <= 8192);
	first = ask(w, EVERYTHING);
	assert_true(strtoul(first, NULL, 10) > 1); /* dropped: the numbers tell */
	assert_non_null(strstr(first, "400 o number 400,"));
	end_log(w);
	/* A later agent goes on counting where this one stopped. */
	open_log(w, ID("01"), 8192);
	say(w, LOG_STDOUT, "again\n");
	assert_non_null(strstr(ask(w, EVERYTHING), "401 o again\n"));
	end_log(w);
}

static void many_short_lines_keep_the_limit_too(void **state)
{
	struct world *w = *state;
	char path[128], text[30001];
	struct stat st;

	open_log(w, ID("01"), 65536);
	memset(text, '\n', sizeof(text) - 1); /* each takes some 25 bytes in the file */
	text[sizeof(text) - 1] = '\0';
	say(w, LOG_STDOUT, text);
	say(w, LOG_STDOUT, text);
	snprintf(path, sizeof(path), "%s/hello/%s.log", w->dir, ID("01"));
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size <= 32768);
	end_log(w);
}

static void old_files_make_room(void **state)
{
	struct world *w = *state;
	char path[128], id[GT_REPLICA_ID_SIZE];

	for (int i = 10; i < 40; i++) {
		snprintf(id, sizeof(id), "01AAAAAAAAAAAAAAAAAAAAAA%d", i);
		open_log(w, id, GT_MIB);
		say(w, LOG_STDOUT, "hello\n");
		end_log(w);
	}
	/* 20 that have ended are kept beside the newest, which was open when it looked. */
	snprintf(path, sizeof(path), "%s/hello/%s.log", w->dir, ID("18"));
	assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof(path), "%s/hello/%s.log", w->dir, ID("19"));
	assert_int_equal(access(path, F_OK), 0);
}

static void the_tail_is_what_was_last(void **state)
{
	struct world *w = *state;
	char *tail, line[32];

	open_log(w, ID("01"), GT_MIB);
	assert_null(gt_log_tail(&w->log));
	for (int i = 0; i < GT_FAIL_LOG_LINES + 5; i++) {
		snprintf(line, sizeof(line), "%d\n", i);
		say(w, LOG_STDERR, line);
	}
	tail = gt_log_tail(&w->log);
	assert_string_equal(tail, "5\n6\n7\n8\n9\n10\n11\n12\n13\n14");
	free(tail);
	end_log(w);
}

static void followers_hear_each_line_once(void **state)
{
	struct world *w = *state;
	struct log_follower f = { .on_line = note, .arg = w };

	open_log(w, ID("01"), GT_MIB);
	say(w, LOG_STDOUT, "before\n");
	gt_logs_follow(w->logs, &f);
	w->got[0] = '\0';
	say(w, LOG_STDOUT, "after\n");
	assert_string_equal(w->got, "2 o after\n");
	gt_logs_unfollow(w->logs, &f);
	say(w, LOG_STDOUT, "unheard\n");
	assert_string_equal(w->got, "2 o after\n");
	end_log(w);
}

static void numbers_go_on_after_strange_bytes(void **state)
{
	static const char line[] = "a\0b\n", false_start[] = "99999999 1 o 1 x";
	struct world *w = *state;
	char fill[512];
	uint64_t seq;

	open_log(w, ID("01"), 1 << 20);
	assert_int_equal(write(w->in[LOG_STDOUT], line, 4), 4);
	assert_int_equal(write(w->in[LOG_STDOUT], line, 4), 4);
	gt_log_drain(&w->log);
	seq = w->log.seq;
	end_log(w);
	open_log(w, ID("01"), 1 << 20);
	assert_int_equal(w->log.seq, seq);
	/* Wherever the end that is read begins, it never begins with the program's own number. */
	memset(fill, 'x', sizeof(fill));
	for (size_t at = 0; at + sizeof(false_start) < sizeof(fill); at += strlen(false_start))
		memcpy(fill + at, false_start, strlen(false_start));
	for (int i = 0; i < 400; i++) {
		assert_int_equal(write(w->in[LOG_STDOUT], fill, sizeof(fill)), sizeof(fill));
		gt_log_drain(&w->log);
	}
	assert_int_equal(write(w->in[LOG_STDOUT], "\n", 1), 1);
	gt_log_drain(&w->log);
	seq = w->log.seq;
	end_log(w);
	open_log(w, ID("01"), 1 << 20);
	assert_int_equal(w->log.seq, seq);
	end_log(w);
}

/* Writes and has the FIFO note that it was so long ago. */
static void say_ago(struct world *w, const char *text, uint64_t now_ms, uint64_t ago_ms)
{
	struct timespec t = { .tv_sec = (time_t)((now_ms - ago_ms) / 1000),
			      .tv_nsec = (long)((now_ms - ago_ms) % 1000) * 1000000 };
	const struct timespec both[2] = { t, t };

	assert_int_equal(write(w->in[LOG_STDOUT], text, strlen(text)), strlen(text));
	assert_int_equal(futimens(w->in[LOG_STDOUT], both), 0);
}

static void what_is_read_late_is_found_by_when_it_was_written(void **state)
{
	struct world *w = *state;
	uint64_t now = gt_wall_ms(&gt_clock_system);
	struct log_query q = EVERYTHING;

	w->fifo = true;
	open_log(w, ID("01"), GT_MIB);
	say_ago(w, "waited\n", now, 5000);
	gt_log_drain(&w->log);
	/* Of this one the file system says nothing new: it was written just now. */
	say_ago(w, "did not\n", now, 5000);
	gt_log_drain(&w->log);
	gt_log_say(&w->log, "of ours");
	assert_string_equal(ask(w, q), "1 o waited\n2 o did not\n3 e of ours\n");
	/* Nor was anything from before the last look still there. */
	say_ago(w, "set clock\n", now, 4500);
	gt_log_drain(&w->log);
	q.tail = 1;
	q.until_ms = now - 4000;
	q.after = 3;
	assert_string_equal(ask(w, q), "");
	q = EVERYTHING;
	q.until_ms = now - 4000;
	assert_string_equal(ask(w, q), "1 o waited\n");
	q.until_ms = now - 6000;
	assert_string_equal(ask(w, q), "");
	q.until_ms = 0;
	q.since_ms = now; /* a line is never called earlier than it may have been written */
	assert_string_equal(ask(w, q), "1 o waited\n2 o did not\n3 e of ours\n4 o set clock\n");
	end_log(w);
}

static void what_waits_behind_a_full_pipe_is_as_old_as_the_last_read(void **state)
{
	struct world *w = *state;
	static char text[65536];
	struct log_query q = EVERYTHING;

	open_log(w, ID("01"), GT_MIB);
	memset(text, 'x', sizeof(text));
	assert_int_equal(write(w->in[LOG_STDOUT], text, sizeof(text)), sizeof(text));
	assert_int_equal(gt_loop_step(w->loop, 1000, NULL), 0);
	q.after = w->log.seq;
	q.until_ms = gt_wall_ms(&gt_clock_system);
	assert_int_equal(write(w->in[LOG_STDOUT], "\nsoon\n", 6), 6);
	while (gt_wall_ms(&gt_clock_system) <= q.until_ms)
		;
	gt_log_drain(&w->log);
	assert_non_null(strstr(ask(w, q), "o soon\n"));
	end_log(w);
}

static void who_asks_gets_what_was_written_before(void **state)
{
	struct world *w = *state;

	open_log(w, ID("01"), GT_MIB);
	assert_int_equal(write(w->in[LOG_STDOUT], "just now\n", 9), 9);
	gt_logs_catch_up(w->logs, "other");
	assert_string_equal(ask(w, EVERYTHING), "");
	gt_logs_catch_up(w->logs, "hello");
	assert_string_equal(ask(w, EVERYTHING), "1 o just now\n");
	end_log(w);
}

static void strange_bytes_do_no_harm(void **state)
{
	struct world *w = *state;
	struct log_line line;
	char path[128];
	FILE *f;

	open_log(w, ID("01"), GT_MIB);
	assert_int_equal(write(w->in[LOG_STDOUT], "a\0b\n\xff\xfe\n", 7), 7);
	gt_log_drain(&w->log);
	say(w, LOG_STDOUT, "end\n");
	assert_string_equal(ask(w, EVERYTHING), "1 o a b\n2 o \xff\xfe\n3 o end\n");
	end_log(w);
	/* A file that something else has scribbled into. */
	snprintf(path, sizeof(path), "%s/hello/%s.log", w->dir, ID("01"));
	f = fopen(path, "a");
	fputs("nonsense\n9 9 z 9 x\n\n7 7 o 7\n99999999999999999999999999 1 o 1 big\n", f);
	fclose(f);
	assert_non_null(strstr(ask(w, EVERYTHING), "3 o end\n"));
	assert_false(gt_log_line_parse("", 0, &line));
	assert_false(gt_log_line_parse("1 2 o 3", 7, &line));
	assert_true(gt_log_line_parse("1 2 o 3 ", 8, &line));
	assert_int_equal(line.len, 0);
	assert_true(gt_log_line_parse("1 20-5 o 3 x", 12, &line));
	assert_true(line.wall_ms == 20 && line.late_ms == 5 && line.len == 1);
	assert_true(gt_log_line_parse("1 20-50 o 3 x", 13, &line));
	assert_int_equal(line.late_ms, 20); /* nothing was written before the world began */
	assert_false(gt_log_line_parse("1 20- o 3 x", 11, &line));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(lines_come_back_in_order),
		T(a_line_may_come_in_pieces),
		T(long_lines_are_cut),
		T(the_newest_stay_within_the_limit),
		T(old_files_make_room),
		T(many_short_lines_keep_the_limit_too),
		T(the_tail_is_what_was_last),
		T(followers_hear_each_line_once),
		T(strange_bytes_do_no_harm),
		T(numbers_go_on_after_strange_bytes),
		T(what_is_read_late_is_found_by_when_it_was_written),
		T(what_waits_behind_a_full_pipe_is_as_old_as_the_last_read),
		T(who_asks_gets_what_was_written_before),
	};

	return cmocka_run_group_tests_name("logs", tests, NULL, NULL);
}
