/* Control or the node's agent is away, or hangs: what is known and ready is served on, what needs
 * them is told so in time, and all is as before when they are back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "script.h"

#define AUTH     "Authorization: Bearer " SCRIPT_TOKEN "\r\n"
#define GET_ECHO "GET /f/echo/x HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n"
#define OK_HI    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define GET_LIST "GET /v1/functions HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n"
#define MINUTES  (60 * 1000)

static int setup(void **state)
{
	*state = script_open(1);
	return 0;
}

static int teardown(void **state)
{
	struct script *s = *state;
	struct gt_fn *fn = gt_routes_function(s->gw, "echo", 4);

	for (size_t i = 0; i < s->n_ends; i++)
		if (s->ends[i].open && s->ends[i].role == SCRIPT_CLIENT)
			script_fail(&s->ends[i], ECONNRESET);
	assert_int_equal(s->gw->n_conns, 0);
	assert_int_equal(s->gw->buffered, 0);
	assert_int_equal(fn->in_flight + fn->n_waiting, 0);
	assert_int_equal(script_close(s), 0);
	return 0;
}

static void control_hangs(struct script *s)
{
	gt_routes_down(NULL, s->gw);
	script_run(s);
}

static struct script_end *asks(struct script *s, const char *request)
{
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, request);
	return c;
}

static void is_refused_for_now(struct script_end *c, const char *why)
{
	assert_true(script_has(c, "HTTP/1.1 503 "));
	assert_true(script_has(c, "\"code\":\"unavailable\""));
	assert_true(script_has(c, "\r\nRetry-After: "));
	assert_true(script_has(c, why));
}

static void test_control_that_is_there_may_take_its_time(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, GET_LIST);

	script_wait(s, 10 * MINUTES); /* ?wait=10m */
	assert_int_equal(c->got.len, 0);
	script_puts(script_up(s, SCRIPT_API, 0), OK_HI);
	assert_true(script_has(c, "200 OK"));
}

static void test_request_to_a_control_that_hangs(void **state)
{
	struct script *s = *state;
	struct script_end *before = asks(s, GET_LIST), *after;

	script_wait(s, 10 * MINUTES);
	control_hangs(s);
	after = asks(s, GET_LIST);
	script_wait(s, GT_GW_REACH_MS - 1);
	assert_int_equal(before->got.len + after->got.len, 0);
	script_wait(s, 1);
	is_refused_for_now(before, "control does not answer");
	is_refused_for_now(after, "control does not answer");
	assert_true(script_up(s, SCRIPT_API, 0)->closed);
	assert_true(script_up(s, SCRIPT_API, 1)->closed);
}

static void test_request_to_a_control_that_hung_for_a_moment(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, GET_LIST);

	control_hangs(s);
	script_wait(s, GT_GW_REACH_MS - 1);
	gt_routes_up(s->gw);
	script_wait(s, 1 * MINUTES);
	assert_int_equal(c->got.len, 0);
	script_puts(script_up(s, SCRIPT_API, 0), OK_HI);
	assert_true(script_has(c, "200 OK"));
}

static void test_stream_of_a_control_that_hangs_is_not_cut(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, GET_LIST);

	script_puts(script_up(s, SCRIPT_API, 0),
		    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
	control_hangs(s);
	script_wait(s, 1 * MINUTES);
	assert_false(c->closed);
	script_puts(script_up(s, SCRIPT_API, 0), "3\r\n ho\r\n0\r\n\r\n");
	assert_true(script_has(c, "3\r\n ho\r\n0\r\n\r\n"));
}

static void test_known_functions_are_served_without_control(void **state)
{
	struct script *s = *state;
	struct script_end *c;

	control_hangs(s);
	script_wait(s, 60 * MINUTES);
	c = asks(s, GET_ECHO);
	script_puts(script_up(s, SCRIPT_UP, 0), OK_HI);
	assert_true(script_has(c, "200 OK"));
}

static void test_unknown_functions_without_control(void **state)
{
	struct script *s = *state;

	control_hangs(s);
	is_refused_for_now(asks(s, "GET /f/new/ HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n"),
			   "control does not answer");
	assert_true(
		script_has(asks(s, "GET /f/new/ HTTP/1.1\r\nHost: h\r\n\r\n"), "HTTP/1.1 401 "));
	gt_routes_up(s->gw);
	assert_true(script_has(asks(s, "GET /f/new/ HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n"),
			       "function_not_found"));
}

static void test_cold_calls_without_control(void **state)
{
	struct script *s = *state;
	struct script_end *early, *late;

	s->route.wait_ms = 60 * MINUTES;
	script_tell(s, 0);
	early = asks(s, GET_ECHO);
	script_wait(s, 2 * MINUTES); /* a start may take its time */
	control_hangs(s);
	script_wait(s, GT_GW_STALE_MS - 1); /* it may come back */
	assert_int_equal(early->got.len, 0);
	script_wait(s, 1);
	is_refused_for_now(early, "no replica is ready");
	late = asks(s, GET_ECHO);
	script_run(s);
	is_refused_for_now(late, "no replica is ready");
	gt_routes_up(s->gw);
	late = asks(s, GET_ECHO);
	script_tell(s, 1);
	script_puts(script_up(s, SCRIPT_UP, 0), OK_HI);
	assert_true(script_has(late, "200 OK"));
}

static void test_queued_calls_of_what_is_ready_wait_on(void **state)
{
	struct script *s = *state;
	struct script_end *busy = asks(s, GET_ECHO), *waiting = asks(s, GET_ECHO);

	control_hangs(s);
	script_wait(s, GT_GW_STALE_MS + 1);
	assert_int_equal(waiting->got.len, 0);
	script_puts(script_up(s, SCRIPT_UP, 0), OK_HI);
	assert_true(script_has(busy, "200 OK"));
	script_puts(script_up(s, SCRIPT_UP, 0), OK_HI);
	assert_true(script_has(waiting, "200 OK"));
}

static void test_agent_that_hangs(void **state)
{
	struct script *s = *state;
	struct script_end *c;

	s->dial_hold = true;
	c = asks(s, GET_ECHO);
	script_wait(s, GT_GW_REACH_MS);
	assert_true(script_up(s, SCRIPT_BROKER, 0)->closed);
	script_wait(s, GT_GW_REACH_MS + 100);
	is_refused_for_now(c, "the node's agent could not be reached");
	assert_int_equal(gt_routes_function(s->gw, "echo", 4)->in_flight, 0);
}

static void test_agent_that_hangs_and_is_restarted(void **state)
{
	struct script *s = *state;
	struct script_end *c;

	s->dial_hold = true;
	c = asks(s, GET_ECHO);
	script_wait(s, GT_GW_REACH_MS - 1);
	s->dial_hold = false; /* the next one */
	script_wait(s, 100);
	script_puts(script_up(s, SCRIPT_UP, 0), OK_HI);
	assert_true(script_has(c, "200 OK"));
}

#define AWAY_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		AWAY_TEST(test_control_that_is_there_may_take_its_time),
		AWAY_TEST(test_request_to_a_control_that_hangs),
		AWAY_TEST(test_request_to_a_control_that_hung_for_a_moment),
		AWAY_TEST(test_stream_of_a_control_that_hangs_is_not_cut),
		AWAY_TEST(test_known_functions_are_served_without_control),
		AWAY_TEST(test_unknown_functions_without_control),
		AWAY_TEST(test_cold_calls_without_control),
		AWAY_TEST(test_queued_calls_of_what_is_ready_wait_on),
		AWAY_TEST(test_agent_that_hangs),
		AWAY_TEST(test_agent_that_hangs_and_is_restarted),
	};

	return cmocka_run_group_tests_name("away", tests, NULL, NULL);
}
