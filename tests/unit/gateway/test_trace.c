/* W3C Trace Context: which requests continue a trace, and what is passed on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trace.h"

#define ID   "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static struct gt_trace trace_of(const char *fields)
{
	uint64_t seed = 7;
	const struct gt_rand rnd = gt_rand_seeded(&seed);
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_h1 req;
	struct gt_h1_body body;
	struct gt_trace t;
	size_t used;

	gt_buf_addf(&text, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", fields);
	gt_h1_init(&req, GT_H1_REQUEST);
	assert_int_equal(gt_h1_feed(&req, text.data, text.len, &used, &body), GT_H1_HEAD);
	gt_trace_begin(&req, &rnd, &t);
	gt_h1_fini(&req);
	assert_int_equal(strlen(t.parent), 55);
	assert_memory_equal(t.parent + 3, t.id, 32);
	return t;
}

static void continues(const char *value, const char *flags)
{
	char line[256];

	snprintf(line, sizeof(line), "TraceParent: %s\r\n", value);
	struct gt_trace t = trace_of(line);

	assert_string_equal(t.id, ID);
	assert_memory_not_equal(t.parent + 36, SPAN, 16);
	assert_string_equal(t.parent + 52, flags);
	assert_memory_equal(t.parent, "00-", 3);
}

static void test_valid_parents_are_continued(void **state)
{
	(void)state;
	continues("00-" ID "-" SPAN "-01", "-01");
	continues("00-" ID "-" SPAN "-00", "-00");
	continues("00-" ID "-" SPAN "-ff", "-01"); /* flags that nobody knows are not passed on */
	continues("00-" ID "-" SPAN "-fe", "-00");
	continues("cc-" ID "-" SPAN "-01", "-01");
	continues("cc-" ID "-" SPAN "-01-what-comes-later", "-01");
}

static void test_others_begin_a_new_trace(void **state)
{
	static const char *const lines[] = {
		"",
		"traceparent:\r\n",
		"traceparent: 00-" ID "-" SPAN "\r\n",
		"traceparent: 00-" ID "-" SPAN "-1\r\n",
		"traceparent: 00-" ID "-" SPAN "-0g\r\n",
		"traceparent: 00-" ID "-" SPAN "-01-more\r\n",
		"traceparent: 00-" ID "-" SPAN "-011\r\n",
		"traceparent: cc-" ID "-" SPAN "-01.more\r\n",
		"traceparent: ff-" ID "-" SPAN "-01\r\n",
		"traceparent: 0-" ID "-" SPAN "-011\r\n",
		"traceparent: 00_" ID "-" SPAN "-01\r\n",
		"traceparent: 00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01\r\n",
		"traceparent: 00-00000000000000000000000000000000-" SPAN "-01\r\n",
		"traceparent: 00-" ID "-0000000000000000-01\r\n",
		"traceparent: 00-" ID "-" SPAN "-01\r\ntraceparent: 00-" ID "-" SPAN "-01\r\n",
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(lines); i++) {
		struct gt_trace t = trace_of(lines[i]);

		if (!strcmp(t.id, ID) || strspn(t.id, "0") == 32)
			fail_msg("%s: %s", lines[i], t.parent);
		assert_string_equal(t.parent + 52, "-01");
		assert_false(t.state);
	}
}

static bool passes(const char *states)
{
	gt_auto(buf) struct gt_buf lines = { 0 };

	gt_buf_addf(&lines, "traceparent: 00-" ID "-" SPAN "-01\r\n%s", states);
	return trace_of(gt_buf_str(&lines)).state;
}

static void test_states(void **state)
{
	gt_auto(buf) struct gt_buf many = { 0 };

	(void)state;
	assert_true(passes("tracestate: a=1\r\n"));
	assert_true(passes("tracestate: congo=t61rcWkgMzE,rojo=00f067aa0ba902b7\r\n"));
	assert_true(passes("tracestate: 0a_-*/@b=x y, ,\tc=!~\r\n"));
	assert_true(passes("tracestate: a=1\r\ntracestate: b=2\r\n"));
	assert_false(passes(""));
	assert_false(passes("tracestate:\r\n"));
	assert_false(passes("tracestate: a\r\n"));
	assert_false(passes("tracestate: =1\r\n"));
	assert_false(passes("tracestate: a=\r\n"));
	assert_false(passes("tracestate: A=1\r\n"));
	assert_false(passes("tracestate: _a=1\r\n"));
	assert_false(passes("tracestate: a=1=2\r\n"));
	assert_false(passes("tracestate: a=1;b=2,a=3\r\n"));
	assert_false(passes("tracestate: a=1\r\ntracestate: a=2\r\n"));
	assert_false(passes("tracestate: a=\xc3\xa9\r\n"));
	for (int i = 0; i < 32; i++)
		gt_buf_addf(&many, "tracestate: k%d=1\r\n", i);
	assert_true(passes(gt_buf_str(&many)));
	gt_buf_adds(&many, "tracestate: last=1\r\n");
	assert_false(passes(gt_buf_str(&many)));
	/* Without its parent it belongs to no trace. */
	assert_false(trace_of("tracestate: a=1\r\n").state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_valid_parents_are_continued),
		cmocka_unit_test(test_others_begin_a_new_trace),
		cmocka_unit_test(test_states),
	};

	return cmocka_run_group_tests_name("gateway_trace", tests, NULL, NULL);
}
