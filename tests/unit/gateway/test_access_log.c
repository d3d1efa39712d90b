/* The access log: what a line says, what happens when nobody reads it, another file. */
#include "world.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access_log.h"

#define T_TEXT(id, s) [id] = { s, sizeof(s) - 1 }

static int fds[2];
static struct gt_access_log *log_;

static int setup(void **state)
{
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	return gt_access_log_new(fds[1], 1, &log_, &err);
}

static int teardown(void **state)
{
	(void)state;
	gt_access_log_free(log_);
	close(fds[0]);
	return 0;
}

/* Reads one line; the caller owns it. */
static json_t *read_line(int fd)
{
	char line[16384];
	size_t n = 0;
	json_error_t error;

	do
		assert_int_equal(read(fd, line + n, 1), 1);
	while (line[n] != '\n' && ++n < sizeof(line));
	json_t *js = json_loadb(line, n, 0, &error);

	if (!js)
		fail_msg("%.*s: %s", (int)n, line, error.text);
	return js;
}

static const char *str(const json_t *js, const char *name)
{
	return json_string_value(json_object_get(js, name));
}

static void test_a_line_says_all_and_escapes(void **state)
{
	const struct gt_access_facts facts = { .time_ms = 1795000000123,
					       .wait_us = 1500,
					       .total_us = 2250000,
					       .bytes_in = 10,
					       .bytes_out = 20,
					       .token = 0xabc,
					       .revision = 7,
					       .status = 200,
					       .cut = true };
	const struct gt_access_text texts[GT_ACCESS_TEXTS] = {
		T_TEXT(GT_ACCESS_FUNCTION, "echo"), T_TEXT(GT_ACCESS_METHOD, "GET"),
		T_TEXT(GT_ACCESS_PATH, "/f/\"\\\n{\xff\x01\"}"), T_TEXT(GT_ACCESS_PEER, "::1")
	};
	struct gt_access_facts none = { .time_ms = 1 };
	const struct gt_access_text empty[GT_ACCESS_TEXTS] = { { 0 } };

	(void)state;
	gt_access_log_add(log_, 0, &facts, texts);
	gt_access_log_add(log_, 0, &none, empty);
	gt_access_log_flush(log_, 0);
	json_t *js = read_line(fds[0]);

	assert_string_equal(str(js, "time"), "2026-11-18T11:06:40.123Z");
	assert_string_equal(str(js, "function"), "echo");
	assert_memory_equal(str(js, "path"), "/f/\"\\\n{", 7);
	assert_string_equal(str(js, "token"), "0000000000000abc");
	assert_int_equal(json_integer_value(json_object_get(js, "status")), 200);
	assert_true(json_real_value(json_object_get(js, "wait_ms")) == 1.5);
	assert_int_equal(json_integer_value(json_object_get(js, "total_ms")), 2250);
	assert_true(json_is_true(json_object_get(js, "cut")));
	assert_null(json_object_get(js, "refused"));
	json_decref(js);
	js = read_line(fds[0]);
	assert_null(json_object_get(js, "status"));
	assert_null(json_object_get(js, "token"));
	json_decref(js);
}

/* More than fits while nobody reads: adding goes on, and every line is there or told as dropped. */
static void test_what_does_not_fit_is_told(void **state)
{
	static char path[8000];
	const struct gt_access_facts facts = { .time_ms = 1, .status = 200 };
	struct gt_access_text texts[GT_ACCESS_TEXTS] = { { 0 } };
	const size_t total = 3 * GT_ACCESS_RING / sizeof(path);
	json_int_t lines = 0, dropped = 0;

	(void)state;
	memset(path, 'x', sizeof(path));
	for (size_t i = 0; i < total; i++) {
		texts[GT_ACCESS_PATH] = (struct gt_access_text){ path,
								 (uint16_t)(7000 + i % 1000) };
		gt_access_log_add(log_, 0, &facts, texts);
	}
	assert_true(gt_access_log_dropped(log_, 0) > total / 4);
	gt_access_log_flush(log_, 0);
	while (lines + dropped < (json_int_t)total) {
		json_t *js = read_line(fds[0]);

		if (json_object_get(js, "dropped"))
			dropped += json_integer_value(json_object_get(js, "dropped"));
		else
			lines++;
		json_decref(js);
	}
	assert_int_equal(dropped, gt_access_log_dropped(log_, 0));
	assert_int_equal(lines + dropped, total);
}

#define RINGS 3
#define EACH  20000

struct adder {
	struct gt_access_log *log;
	unsigned ring;
};

static void *add_many(void *arg)
{
	const struct adder *a = arg;
	const struct gt_access_text texts[GT_ACCESS_TEXTS] = { T_TEXT(GT_ACCESS_FUNCTION, "echo") };
	struct gt_access_facts facts = { .time_ms = 1, .revision = a->ring + 1 };

	for (unsigned i = 0; i < EACH; i++) {
		facts.status = (uint16_t)(1 + i % 60000);
		gt_access_log_add(a->log, a->ring, &facts, texts);
	}
	gt_access_log_flush(a->log, a->ring);
	return NULL;
}

/* Of each thread the lines come whole, and in their order. */
static void test_a_ring_for_each_thread(void **state)
{
	struct adder adders[RINGS];
	pthread_t threads[RINGS];
	json_int_t last[RINGS] = { 0 }, all = 0;
	struct gt_access_log *log;
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(gt_access_log_new(ends[1], RINGS, &log, NULL), 0);
	for (unsigned i = 0; i < RINGS; i++) {
		adders[i] = (struct adder){ log, i };
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, &adders[i]), 0);
	}
	while (all < RINGS * EACH) {
		json_t *js = read_line(ends[0]);
		json_int_t of = json_integer_value(json_object_get(js, "revision")) - 1;
		json_int_t status = json_integer_value(json_object_get(js, "status"));

		all += json_integer_value(json_object_get(js, "dropped"));
		if (of >= 0) {
			assert_string_equal(str(js, "function"), "echo");
			assert_true(status > last[of]);
			last[of] = status;
			all++;
		}
		json_decref(js);
	}
	for (unsigned i = 0; i < RINGS; i++)
		pthread_join(threads[i], NULL);
	gt_access_log_free(log);
	close(ends[0]);
}

static void test_another_file(void **state)
{
	const struct gt_access_facts facts = { .time_ms = 1, .status = 200 };
	struct gt_access_text texts[GT_ACCESS_TEXTS] = { { 0 } };
	char name[] = "/tmp/gt-access-XXXXXX", more;
	int fd = mkstemp(name);
	struct stat st;

	(void)state;
	texts[GT_ACCESS_PATH] = (struct gt_access_text){ "/old", 4 };
	gt_access_log_add(log_, 0, &facts, texts);
	gt_access_log_file(log_, fcntl(fd, F_DUPFD_CLOEXEC, 3));
	json_t *js = read_line(fds[0]);

	assert_string_equal(str(js, "path"), "/old");
	json_decref(js);
	assert_int_equal(read(fds[0], &more, 1), 0); /* the writer has let go of it */
	texts[GT_ACCESS_PATH] = (struct gt_access_text){ "/new", 4 };
	gt_access_log_add(log_, 0, &facts, texts);
	gt_access_log_free(log_); /* writes what it has */
	log_ = NULL;
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_size > 0);
	lseek(fd, 0, SEEK_SET);
	js = read_line(fd);
	assert_string_equal(str(js, "path"), "/new");
	json_decref(js);
	close(fd);
	unlink(name);
}

/* A file that can not be written: lines are counted as lost, nothing else stops. */
static void test_full_disk(void **state)
{
	const struct gt_access_facts facts = { .time_ms = 1, .status = 200 };
	const struct gt_access_text texts[GT_ACCESS_TEXTS] = { { 0 } };
	struct gt_err err = { 0 };
	struct gt_access_log *full;
	int null = open("/dev/null", O_WRONLY), was = dup(2);

	(void)state;
	assert_int_equal(gt_access_log_new(open("/dev/full", O_WRONLY), 1, &full, &err), 0);
	dup2(null, 2); /* it complains */
	gt_access_log_add(full, 0, &facts, texts);
	gt_access_log_flush(full, 0);
	while (gt_access_log_dropped(full, 0) == 0)
		sched_yield();
	gt_access_log_free(full);
	dup2(was, 2);
	close(null);
	close(was);
}

/* ---- what the gateway puts into it ---- */

static void expect(json_t *js, const char *name, const char *value)
{
	const char *is = str(js, name);

	if (!is || strcmp(is, value) != 0)
		fail_msg("%s is %s, not %s", name, is ? is : "missing", value);
}

static void test_lines_of_requests(void **state)
{
	struct world *w = *state;
	struct gt_err err = { 0 };
	int ends[2];
	struct peer c;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(gt_access_log_new(ends[1], 1, &w->gw->access, &err), 0);
	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c, "POST /f/echo/x?secret=1 HTTP/1.1\r\nHost: h\r\nX-Request-Id: r1\r\n"
		      "Content-Length: 3\r\nAuthorization: Bearer " TOKEN "\r\n\r\nabc");
	UNTIL(w, peer_has(world_up(w, 0), "abc"));
	peer_send(world_up(w, 0), OK_HI);
	UNTIL(w, peer_has(&c, "hi"));
	peer_send(&c, "GET /f/none HTTP/1.1\r\nHost: h\r\n\r\n");
	UNTIL(w, peer_has(&c, "unauthorized"));
	peer_send(&c, "nonsense\r\n\r\n");
	UNTIL(w, peer_has(&c, "malformed_request"));
	assert_true(gt_timer_is_set(&w->gw->access_timer));
	gt_access_log_flush(w->gw->access, 0);

	json_t *js = read_line(ends[0]);

	expect(js, "function", "echo");
	expect(js, "method", "POST");
	expect(js, "path", "/f/echo/x");
	expect(js, "request_id", "r1");
	expect(js, "replica", REPLICA_A);
	expect(js, "peer", "10.0.0.9");
	assert_int_equal(strlen(str(js, "trace_id")), 32);
	assert_int_equal(strlen(str(js, "token")), 16);
	assert_null(strstr(str(js, "token"), TOKEN));
	assert_int_equal(json_integer_value(json_object_get(js, "status")), 200);
	assert_int_equal(json_integer_value(json_object_get(js, "bytes_in")), 3);
	assert_int_equal(json_integer_value(json_object_get(js, "bytes_out")), 2);
	assert_int_equal(json_integer_value(json_object_get(js, "revision")), 7);
	assert_null(json_object_get(js, "cut"));
	json_decref(js);
	js = read_line(ends[0]);
	expect(js, "refused", "unauthorized");
	assert_null(str(js, "function"));
	assert_int_equal(json_integer_value(json_object_get(js, "status")), 401);
	json_decref(js);
	js = read_line(ends[0]);
	expect(js, "refused", "malformed_request");
	assert_int_equal(json_integer_value(json_object_get(js, "status")), 400);
	json_decref(js);
	peer_close(&c);
	close(ends[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_line_says_all_and_escapes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_does_not_fit_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_file, setup, teardown),
		cmocka_unit_test(test_a_ring_for_each_thread),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test_setup_teardown(test_lines_of_requests, world_open, world_close),
	};

	return cmocka_run_group_tests_name("gateway_access_log", tests, NULL, NULL);
}
