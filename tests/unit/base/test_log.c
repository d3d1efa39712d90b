/* test_log.c - each event is one whole line, whatever is in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>

/* Standard error is a pipe while a test logs; its content lands here. */
static char captured[65536];
static int saved_stderr, pipe_fds[2];

static void capture_start(enum gt_level least)
{
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(pipe_fds[1], STDERR_FILENO);
	gt_log_init("control", least);
}

static void capture_stop(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	gt_close(saved_stderr);
	gt_close(pipe_fds[1]);
	ssize_t n = read(pipe_fds[0], captured, sizeof(captured) - 1);

	captured[n > 0 ? n : 0] = '\0';
	gt_close(pipe_fds[0]);
}

static void a_line_has_its_fields_in_order(void **state)
{
	(void)state;
	capture_start(GT_INFO);
	gt_warn("node %s lost", "n1");
	capture_stop();
	assert_memory_equal(captured, "{\"ts\":\"2", 8);
	assert_string_equal(
		strstr(captured, "Z\","),
		"Z\",\"level\":\"warn\",\"role\":\"control\",\"msg\":\"node n1 lost\"}\n");
}

static void levels_below_the_least_are_dropped(void **state)
{
	(void)state;
	capture_start(GT_WARN);
	gt_debug("a");
	gt_info("b");
	gt_error("c");
	capture_stop();
	assert_null(strstr(captured, "\"a\""));
	assert_null(strstr(captured, "\"b\""));
	assert_non_null(strstr(captured, "\"level\":\"error\""));
}

static void hostile_text_stays_inside_its_string(void **state)
{
	(void)state;
	capture_start(GT_INFO);
	gt_info("%s", "a\"b\\c\nd\te\x1b[2J\x7f\xff\xc3\xa4\xed\xa0\x80\xe2\x82");
	capture_stop();
	assert_string_equal(strstr(captured, "\"msg\""),
			    "\"msg\":\"a\\\"b\\\\c\\nd\\te\\u001b[2J\\u007f\\ufffd\xc3\xa4"
			    "\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"}\n");
}

static void a_long_message_is_cut_and_still_one_line(void **state)
{
	gt_auto(free) char *msg = gt_alloc(20000);

	(void)state;
	memset(msg, '\x01', 19999);
	capture_start(GT_INFO);
	gt_info("%s", msg);
	capture_stop();
	size_t len = strlen(captured);

	assert_true(len <= 4096);
	assert_string_equal(captured + len - 9, "\\u0001\"}\n");
	assert_ptr_equal(strchr(captured, '\n'), captured + len - 1);
}

static void logging_keeps_errno(void **state)
{
	(void)state;
	capture_start(GT_INFO);
	errno = ENOTTY;
	gt_info("x");
	int after = errno;

	capture_stop();
	assert_int_equal(after, ENOTTY);
}

static void *log_many(void *arg)
{
	for (int i = 0; i < 50; i++)
		gt_info("%s", (const char *)arg);
	return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
	static const char *const words[] = { "aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd" };
	pthread_t threads[GT_LEN(words)];
	int lines = 0;

	(void)state;
	capture_start(GT_INFO);
	for (size_t i = 0; i < GT_LEN(words); i++)
		pthread_create(&threads[i], NULL, log_many, (void *)words[i]);
	for (size_t i = 0; i < GT_LEN(words); i++)
		pthread_join(threads[i], NULL);
	capture_stop();
	char *rest = captured, *line;

	while ((line = strsep(&rest, "\n")) && *line) {
		assert_memory_equal(line, "{\"ts\"", 5);
		assert_string_equal(line + strlen(line) - 2, "\"}");
		assert_int_equal(strlen(strstr(line, "msg")), strlen("msg\":\"aaaaaaaa\"}"));
		lines++;
	}
	assert_int_equal(lines, 200);
}

static void level_names_are_read(void **state)
{
	enum gt_level level = GT_ERROR;

	(void)state;
	assert_int_equal(gt_log_level_parse("debug", &level), 0);
	assert_int_equal(level, GT_DEBUG);
	assert_int_equal(gt_log_level_parse("warn", &level), 0);
	assert_int_equal(level, GT_WARN);
	assert_int_equal(gt_log_level_parse("WARN", &level), -EINVAL);
	assert_int_equal(gt_log_level_parse(NULL, &level), -EINVAL);
	assert_int_equal(level, GT_WARN);
}

static void a_terminal_gets_text(void **state)
{
	gt_auto(fd) int master = posix_openpt(O_RDWR | O_NOCTTY);

	(void)state;
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		skip();
	gt_auto(fd) int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);

	if (terminal < 0)
		skip();
	saved_stderr = dup(STDERR_FILENO);
	dup2(terminal, STDERR_FILENO);
	gt_log_init("agent", GT_INFO);
	gt_info("up \x1b[31m");
	dup2(saved_stderr, STDERR_FILENO);
	gt_close(saved_stderr);
	ssize_t n = read(master, captured, sizeof(captured) - 1);

	assert_true(n > 0);
	captured[n] = '\0';
	assert_memory_equal(captured, "ts=2", 4);
	assert_non_null(strstr(captured, " level=info role=agent msg=\"up \\u001b[31m\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_has_its_fields_in_order),
		cmocka_unit_test(levels_below_the_least_are_dropped),
		cmocka_unit_test(hostile_text_stays_inside_its_string),
		cmocka_unit_test(a_long_message_is_cut_and_still_one_line),
		cmocka_unit_test(logging_keeps_errno),
		cmocka_unit_test(lines_of_threads_do_not_mix),
		cmocka_unit_test(level_names_are_read),
		cmocka_unit_test(a_terminal_gets_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
