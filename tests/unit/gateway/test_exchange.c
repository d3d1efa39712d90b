/* The exchange from end to end without a descriptor, on a virtual clock: slow peers, floods, limits
 * of time, and every request of tests/data/http-vectors.json, cut wherever it can be cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "script.h"

#define AUTH     "Authorization: Bearer " SCRIPT_TOKEN "\r\n"
#define GET_ECHO "GET /f/echo/x HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n"
#define OK_HI    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static int setup(void **state)
{
	*state = script_open(1);
	return 0;
}

/* Nothing may be left: no slot, no buffered byte, no connection. */
static int teardown(void **state)
{
	struct script *s = *state;
	struct gt_fn *fn = gt_routes_function(s->gw, "echo", 4);

	for (size_t i = 0; i < s->n_ends; i++)
		if (s->ends[i].open && s->ends[i].role == SCRIPT_CLIENT)
			script_fail(&s->ends[i], ECONNRESET);
	assert_int_equal(s->gw->n_conns, 0);
	assert_int_equal(s->gw->buffered, 0);
	assert_int_equal(fn->in_flight, 0);
	assert_int_equal(fn->n_waiting, 0);
	assert_int_equal(script_close(s), 0);
	return 0;
}

static struct script_end *up(struct script *s, size_t i)
{
	struct script_end *e = script_up(s, SCRIPT_UP, i);

	assert_non_null(e);
	return e;
}

static void test_a_call_and_the_next_one_on_the_same_connections(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	for (int i = 0; i < 3; i++) {
		script_puts(c, GET_ECHO);
		assert_true(script_has(up(s, 0), "GET /x HTTP/1.1\r\n"));
		gt_buf_reset(&up(s, 0)->got);
		script_puts(up(s, 0), OK_HI);
		assert_true(script_has(c, "HTTP/1.1 200 OK\r\n"));
		gt_buf_reset(&c->got);
	}
	assert_null(script_up(s, SCRIPT_UP, 1));
}

static void test_small_call_reads_and_writes_each_side_once(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, GET_ECHO);
	script_puts(up(s, 0), OK_HI);
	unsigned reads = s->reads, writes = s->writes;

	script_puts(c, GET_ECHO);
	script_puts(up(s, 0), OK_HI);
	assert_int_equal(s->reads - reads, 2);
	assert_int_equal(s->writes - writes, 2);
}

static void expect(struct script *s, struct script_end *c, const char *authorization, int status)
{
	char request[256], line[32];

	snprintf(request, sizeof(request),
		 "GET /f/echo/x HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\n\r\n", authorization);
	snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
	gt_buf_reset(&c->got);
	script_puts(c, request);
	if (status == 200)
		script_puts(up(s, 0), OK_HI);
	assert_true(script_has(c, line));
}

static void test_each_call_shows_a_token_that_is_valid_now(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	for (int i = 0; i < 2; i++) {
		expect(s, c, "Bearer " SCRIPT_TOKEN, 200);
		expect(s, c, "Bearer " SCRIPT_TOKEN, 200);
		expect(s, c, "bearer  " SCRIPT_TOKEN, 200);
		expect(s, c, "Bearer " SCRIPT_TOKEN "x", 401);
		expect(s, c, "Bearer secret-tokem", 401);
		expect(s, c, "Bearer secret-toke", 401);
	}
	expect(s, c, "Bearer " SCRIPT_TOKEN, 200);
	s->token = "another";
	script_tell(s, 1);
	expect(s, c, "Bearer " SCRIPT_TOKEN, 401);
	expect(s, c, "Bearer another", 200);
	assert_int_equal(gt_routes_function(s->gw, "echo", 4)->in_flight, 0);
}

/* A peer that is woken once finds all of them, and is not woken by each. */
static void test_all_that_is_ready_is_read_before_anything_is_written(void **state)
{
	struct script *s = *state;
	struct script_end *c[3];

	s->route.concurrency = GT_LEN(c);
	script_tell(s, 1);
	for (int round = 0; round < 2; round++) { /* the first one makes the connections */
		for (size_t i = 0; i < GT_LEN(c); i++) {
			c[i] = round ? c[i] : script_client(s, "10.0.0.9");
			script_add(c[i], GET_ECHO);
		}
		s->reads = s->writes = 0;
		script_run(s);
		if (round)
			assert_int_equal(s->read_first, GT_LEN(c));
		for (size_t i = 0; i < GT_LEN(c); i++)
			script_add(up(s, i), OK_HI);
		s->reads = s->writes = 0;
		script_run(s);
		assert_int_equal(s->read_first, GT_LEN(c));
		assert_int_equal(s->writes, GT_LEN(c));
	}
}

static void test_what_came_before_an_answer_breaks_is_passed_on(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, GET_ECHO);
	script_puts(up(s, 0), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			      "2\r\nok\r\n-2\r\n");
	assert_true(script_has(c, "\r\n\r\n2\r\nok\r\n"));
	assert_true(c->closed);
}

static void test_head_that_trickles_is_over_after_ten_seconds(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	for (size_t i = 0; i < 9; i++) {
		script_put(c, &GET_ECHO[i], 1);
		script_wait(s, 1000);
	}
	assert_int_equal(c->got.len, 0);
	script_wait(s, 1000);
	assert_true(script_has(c, "HTTP/1.1 408 "));
	assert_true(c->shut);
	script_wait(s, GT_GW_LINGER_MS);
	assert_true(c->closed);
}

static void test_body_that_trickles_goes_on_and_holds_no_slot(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9"), *other;

	s->route.wait_ms = 3600 * 1000;
	script_tell(s, 1);
	script_puts(c, "POST /f/echo HTTP/1.1\r\nHost: h\r\n" AUTH "Content-Length: 100\r\n\r\n");
	for (int i = 0; i < 99; i++) {
		script_wait(s, 1000); /* a byte a second is slow, but it is no end */
		script_puts(c, "x");
	}
	assert_null(script_up(s, SCRIPT_UP, 0));
	other = script_client(s, "10.0.0.8");
	script_puts(other, GET_ECHO); /* overtakes it */
	script_puts(up(s, 0), OK_HI);
	assert_true(script_has(other, "200 OK"));
	script_puts(c, "y");
	assert_true(script_has(up(s, 0), "xxy"));
}

static void test_body_that_stops_coming_ends_after_a_minute(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	s->route.wait_ms = 3600 * 1000;
	script_tell(s, 1);
	script_puts(c, "POST /f/echo HTTP/1.1\r\nHost: h\r\n" AUTH "Content-Length: 9\r\n\r\nx");
	script_wait(s, GT_GW_STALL_MS - 1);
	assert_int_equal(c->got.len, 0);
	script_wait(s, 2);
	assert_true(script_has(c, "HTTP/1.1 408 "));
}

static void test_client_that_stops_reading_is_cut_after_a_minute(void **state)
{
	struct script *s = *state;
	char body[4096];

	memset(body, 'b', sizeof(body));
	s->room = 1000;
	struct script_end *c = script_client(s, "10.0.0.9");

	s->room = SIZE_MAX / 2;
	script_puts(c, GET_ECHO);
	script_puts(up(s, 0), "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
	for (int i = 0; i < 200; i++)
		script_put(up(s, 0), body, sizeof(body));
	/* What waits in each direction is bounded: the replica's bytes stay with its kernel. */
	assert_true(up(s, 0)->to_gw.len >= 200 * sizeof(body) - 2 * GT_GW_BUFFER);
	script_wait(s, GT_GW_STALL_MS / 2);
	script_room(c, 10); /* that little is progress */
	script_wait(s, GT_GW_STALL_MS - 1);
	assert_false(c->closed);
	script_wait(s, 2);
	assert_true(c->closed);
	assert_true(up(s, 0)->closed);
}

static void test_pipelined_flood_is_served_one_by_one_and_bounded(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	for (int i = 0; i < 20000; i++) {
		gt_buf_adds(&c->to_gw, GET_ECHO);
	}
	size_t all = c->to_gw.len;

	script_puts(c, GET_ECHO);
	assert_true(all - c->to_gw.len <= 64 * GT_KIB); /* the rest was not read */
	assert_int_equal(gt_routes_function(s->gw, "echo", 4)->in_flight, 1);
	for (int i = 0; i < 1000; i++) {
		size_t before = up(s, 0)->got.len;

		script_puts(up(s, 0), OK_HI);
		assert_true(up(s, 0)->got.len > before); /* exactly the next one */
		assert_int_equal(gt_routes_function(s->gw, "echo", 4)->in_flight, 1);
	}
	assert_true(s->gw->buffered <= 128 * GT_KIB);
	script_fail(c, ECONNRESET);
	assert_true(up(s, 0)->closed);
}

static void test_idle_connections_end_after_a_minute(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	script_wait(s, GT_GW_IDLE_MS - 1);
	assert_false(c->closed);
	script_wait(s, 2);
	assert_true(c->closed);
}

/* At the limit of connections: see listen.c. */
static void test_the_longest_without_a_request_gives_way(void **state)
{
	struct script *s = *state;
	struct script_end *first = script_client(s, "10.0.0.9"), *busy, *slow;

	script_wait(s, 1000);
	busy = script_client(s, "10.0.0.8");
	script_puts(busy, GET_ECHO);
	script_wait(s, 1000);
	slow = script_client(s, "10.0.0.7");
	script_puts(slow, "GET ");
	assert_string_equal(gt_conn_idlest(s->gw, 0)->peer, "10.0.0.9");
	script_wait(s, 1000);
	script_puts(first, GET_ECHO); /* waits for the slot */
	assert_string_equal(gt_conn_idlest(s->gw, 0)->peer, "10.0.0.7");
	gt_conn_close(gt_conn_idlest(s->gw, 0));
	script_run(s);
	assert_true(slow->closed);
	assert_null(gt_conn_idlest(s->gw, 0));
	script_puts(up(s, 0), OK_HI); /* to the busy one, which is idle now */
	assert_string_equal(gt_conn_idlest(s->gw, 0)->peer, "10.0.0.8");
}

/* Each time the oldest heads give way, to the next ones and to whoever has a whole request. */
static void test_flood_of_heads_without_end_keeps_nobody_out(void **state)
{
	struct script *s = *state;
	static const char begin[] = "GET /f/echo/ HTTP/1.1\r\nX:";
	static char head[20000];
	struct script_end *slow[20], *c;

	memset(head, 'a', sizeof(head));
	for (size_t i = 0; i < sizeof(head); i += 400)
		memcpy(head + i, "\r\nX:", 4);
	memcpy(head, begin, sizeof(begin) - 1);
	s->gw->cfg.memory_bytes = 200000;
	for (size_t i = 0; i < GT_LEN(slow); i++) {
		slow[i] = script_client(s, "10.0.0.9");
		script_put(slow[i], head, sizeof(head));
		script_wait(s, 10);
		assert_true(s->gw->buffered <= s->gw->cfg.memory_bytes);
	}
	assert_true(slow[0]->closed);
	assert_false(slow[19]->closed);
	c = script_client(s, "10.0.0.8");
	script_puts(c, GET_ECHO);
	script_puts(up(s, 0), OK_HI);
	assert_true(script_has(c, "HTTP/1.1 200 OK"));
	assert_false(slow[19]->closed);
}

static void test_first_byte_of_the_answer_has_its_time(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, GET_ECHO);
	script_wait(s, 59999);
	assert_int_equal(c->got.len, 0);
	script_wait(s, 2);
	assert_true(script_has(c, "HTTP/1.1 504 "));
	assert_true(script_has(c, "run_timeout"));
	assert_true(up(s, 0)->closed);
}

static void test_a_minute_in_the_queue_and_no_more(void **state)
{
	struct script *s = *state;
	struct script_end *c;

	script_tell(s, 0);
	c = script_client(s, "10.0.0.9");
	script_puts(c, GET_ECHO);
	script_wait(s, 59999);
	assert_int_equal(c->got.len, 0);
	script_wait(s, 2);
	assert_true(script_has(c, "HTTP/1.1 504 "));
	assert_true(script_has(c, "wait_timeout"));
}

static void test_who_waits_for_his_own_body_is_told_so(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, "POST /f/echo HTTP/1.1\r\nHost: h\r\n" AUTH "Content-Length: 9\r\n\r\n");
	for (int i = 0; i < 6; i++) {
		script_puts(c, "x");
		script_wait(s, 9999);
		assert_int_equal(c->got.len, 0);
	}
	script_wait(s, 7);
	assert_true(script_has(c, "HTTP/1.1 408 "));
	assert_true(script_has(c, "limits.wait: the body did not come within 1m"));
}

static struct script_end *tunnel(struct script *s)
{
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, "GET /f/echo HTTP/1.1\r\nHost: h\r\n" AUTH
		       "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n");
	script_puts(up(s, 0),
		    "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
	assert_true(script_has(c, "HTTP/1.1 101 Go\r\n"));
	return c;
}

static void test_half_closed_tunnel_ends_when_its_client_fails(void **state)
{
	struct script *s = *state;
	struct script_end *c = tunnel(s);

	script_eof(c);
	assert_true(up(s, 0)->shut);
	script_puts(up(s, 0), "still here");
	assert_true(script_has(c, "still here"));
	script_fail(c, ECONNRESET);
	assert_true(up(s, 0)->closed);
}

static void test_half_closed_tunnel_ends_when_its_replica_fails(void **state)
{
	struct script *s = *state;
	struct script_end *c = tunnel(s);

	script_puts(up(s, 0), "last words");
	script_eof(up(s, 0));
	assert_true(c->shut);
	script_fail(up(s, 0), ECONNRESET);
	assert_true(script_has(c, "last words"));
	assert_true(c->closed);
}

static void test_tunnel_that_is_not_read_ends_with_its_client(void **state)
{
	struct script *s = *state;
	struct script_end *c = tunnel(s);
	static const char much[4 * GT_GW_BUFFER];

	up(s, 0)->room = 1000;
	script_put(c, much, sizeof(much));
	assert_true(c->to_gw.len > 0); /* not read on */
	script_fail(c, ECONNRESET);
	assert_true(up(s, 0)->closed);
}

#define EXCHANGE_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EXCHANGE_TEST(test_a_call_and_the_next_one_on_the_same_connections),
		EXCHANGE_TEST(test_small_call_reads_and_writes_each_side_once),
		EXCHANGE_TEST(test_each_call_shows_a_token_that_is_valid_now),
		EXCHANGE_TEST(test_all_that_is_ready_is_read_before_anything_is_written),
		EXCHANGE_TEST(test_what_came_before_an_answer_breaks_is_passed_on),
		EXCHANGE_TEST(test_head_that_trickles_is_over_after_ten_seconds),
		EXCHANGE_TEST(test_body_that_trickles_goes_on_and_holds_no_slot),
		EXCHANGE_TEST(test_body_that_stops_coming_ends_after_a_minute),
		EXCHANGE_TEST(test_client_that_stops_reading_is_cut_after_a_minute),
		EXCHANGE_TEST(test_pipelined_flood_is_served_one_by_one_and_bounded),
		EXCHANGE_TEST(test_idle_connections_end_after_a_minute),
		EXCHANGE_TEST(test_the_longest_without_a_request_gives_way),
		EXCHANGE_TEST(test_flood_of_heads_without_end_keeps_nobody_out),
		EXCHANGE_TEST(test_first_byte_of_the_answer_has_its_time),
		EXCHANGE_TEST(test_a_minute_in_the_queue_and_no_more),
		EXCHANGE_TEST(test_who_waits_for_his_own_body_is_told_so),
		EXCHANGE_TEST(test_half_closed_tunnel_ends_when_its_client_fails),
		EXCHANGE_TEST(test_half_closed_tunnel_ends_when_its_replica_fails),
		EXCHANGE_TEST(test_tunnel_that_is_not_read_ends_with_its_client),
	};

	return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}
