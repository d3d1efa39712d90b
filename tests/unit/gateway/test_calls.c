/* Calls that go well: warm, cold, queued, reused, streamed, upgraded. */
#include "world.h"

#include <string.h>
#include <sys/socket.h>

static void serve(struct world *w, struct peer *up, const char *request_has, const char *answer)
{
	UNTIL(w, peer_has(up, request_has));
	gt_buf_reset(&up->got);
	peer_send(up, answer);
}

static void test_warm_call_and_reuse(void **state)
{
	struct world *w = *state;
	struct peer c;

	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c, "GET /f/echo/a/b?q=1 HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer " TOKEN
		      "\r\nX-Forwarded-For: 6.6.6.6\r\n"
		      "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
		      "X-Request-Id: my-id.1\r\nConnection: x-hop\r\n"
		      "X-Hop: 1\r\nAccept: */*\r\n\r\n");
	struct peer *up = world_up(w, 0);

	UNTIL(w, peer_has(up, "\r\n\r\n"));
	char *span = strstr(gt_buf_str(&up->got), "-01\r\n\r\n") - 16;

	assert_int_equal(strspn(span, "0123456789abcdef"), 16);
	assert_memory_not_equal(span, "00f067aa0ba902b7", 16); /* a span of our own */
	memmove(span + 4, span + 16, strlen(span + 16) + 1);
	memcpy(span, "SPAN", 4);
	assert_string_equal(gt_buf_str(&up->got),
			    "GET /a/b?q=1 HTTP/1.1\r\nHost: h:1\r\nAccept: */*\r\n"
			    "X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\n"
			    "X-Forwarded-Host: h:1\r\nX-Forwarded-Prefix: /f/echo\r\n"
			    "X-Request-Id: my-id.1\r\n"
			    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-SPAN-01\r\n\r\n");
	assert_string_equal(up->replica, REPLICA_A);
	assert_int_equal(world_fn(w)->in_flight, 1);
	gt_buf_reset(&up->got);
	peer_send(up, OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	assert_true(peer_has(&c, "HTTP/1.1 200 OK\r\n"));
	assert_true(peer_has(&c, "Gantry-Replica: " REPLICA_A "\r\nGantry-Revision: 7\r\n"));
	assert_true(peer_has(&c, "X-Request-Id: my-id.1\r\n"
				 "Gantry-Trace-Id: 4bf92f3577b34da6a3ce929d0e0e4736\r\n"));
	assert_true(peer_has(&c, "Server-Timing: queue;dur="));
	assert_true(peer_has(&c, "start;dur=0.000, run;dur="));
	assert_int_equal(world_fn(w)->in_flight, 0);
	assert_int_equal(world_fn(w)->stats.responses[2], 1);

	gt_buf_reset(&c.got);
	peer_send(&c, "GET /f/echo HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN "\r\n\r\n");
	serve(w, up, "GET / HTTP/1.1\r\n", OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	assert_int_equal(w->n_ups, 1); /* the same connection */
	assert_int_equal(world_fn(w)->stats.calls, 2);
	peer_close(&c);
}

static void test_cold_call_waits_for_its_replica(void **state)
{
	struct world *w = *state;
	struct gt_demand d;
	struct peer c;

	world_snapshot(w);
	c = world_client(w);
	peer_send(&c, GET_ECHO);
	UNTIL(w, world_fn(w)->n_waiting == 1);
	assert_true(w->gw->demand.urgent);
	gt_demander_build(w->gw, false, &d);
	assert_int_equal(d.n_functions, 1);
	assert_int_equal(d.functions[0].queued, 1);
	gt_demand_fini(&d);
	world_settle(w);
	assert_int_equal(w->n_ups, 0);
	world_replicas(w, 1);
	world_route(w);
	serve(w, world_up(w, 0), "GET /x HTTP/1.1\r\n", OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	assert_false(peer_has(&c, "start;dur=0.000"));
	assert_int_equal(world_fn(w)->stats.cold, 1);
	peer_close(&c);
}

static void test_calls_before_the_first_routes_are_held(void **state)
{
	struct world *w = *state;
	struct peer c = world_client(w);

	peer_send(&c, GET_ECHO);
	UNTIL(w, w->gw->held);
	world_replicas(w, 1);
	world_snapshot(w);
	assert_null(w->gw->held);
	serve(w, world_up(w, 0), "GET /x", OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	peer_close(&c);
}

static void test_one_slot_serves_in_order(void **state)
{
	struct world *w = *state;
	struct peer a, b;

	world_replicas(w, 1);
	world_snapshot(w);
	a = world_client(w);
	b = world_client(w);
	peer_send(&a, GET_ECHO);
	UNTIL(w, world_fn(w)->in_flight == 1);
	peer_send(&b, GET_ECHO);
	UNTIL(w, world_fn(w)->n_waiting == 1);
	serve(w, world_up(w, 0), "GET /x", OK_HI);
	UNTIL(w, peer_has(&a, "\r\n\r\nhi"));
	assert_false(peer_has(&b, "HTTP"));
	serve(w, world_up(w, 0), "GET /x", OK_HI);
	UNTIL(w, peer_has(&b, "\r\n\r\nhi"));
	assert_int_equal(w->n_ups, 1);
	peer_close(&a);
	peer_close(&b);
}

static void test_pipelined_requests_wait_for_each_other(void **state)
{
	struct world *w = *state;
	struct peer c;

	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c, GET_ECHO "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n" GET_ECHO);
	serve(w, world_up(w, 0), "GET /x", OK_HI);
	UNTIL(w, peer_has(&c, "\"ok\""));
	serve(w, world_up(w, 0), "GET /x", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbye");
	UNTIL(w, peer_has(&c, "\r\n\r\nbye"));
	peer_close(&c);
}

static void test_chunked_both_ways(void **state)
{
	struct world *w = *state;
	struct peer c;

	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c, "POST /f/echo HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN
		      "\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n");
	serve(w, world_up(w, 0), "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
	UNTIL(w, peer_has(&c, "\r\n\r\n3\r\none\r\n")); /* without waiting for more */
	peer_send(world_up(w, 0), "4;e\r\nmore\r\n0\r\nT: 2\r\n\r\n");
	UNTIL(w, peer_has(&c, "4\r\nmore\r\n0\r\n\r\n"));
	assert_int_equal(world_fn(w)->in_flight, 0);
	peer_close(&c);
}

static void test_old_client_gets_a_plain_body(void **state)
{
	struct world *w = *state;
	struct peer c;

	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c, "GET /f/echo HTTP/1.0\r\nAuthorization: Bearer " TOKEN
		      "\r\nConnection: keep-alive\r\n\r\n");
	serve(w, world_up(w, 0), "GET / HTTP/1.1\r\nHost: localhost\r\n",
	      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n");
	UNTIL(w, peer_eof(&c));
	assert_true(peer_has(&c, "Connection: close\r\n\r\none"));
	assert_false(peer_has(&c, "chunked"));
	peer_close(&c);
}

static void test_body_until_close(void **state)
{
	struct world *w = *state;
	struct peer c;

	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c, GET_ECHO);
	serve(w, world_up(w, 0), "GET /x", "HTTP/1.0 200 OK\r\n\r\nall of it");
	UNTIL(w, peer_has(&c, "all of it"));
	peer_close(world_up(w, 0));
	UNTIL(w, peer_eof(&c));
	assert_true(peer_has(&c, "Connection: close\r\n\r\nall of it"));
	peer_close(&c);
}

static void test_head_has_length_and_no_body(void **state)
{
	struct world *w = *state;
	struct peer c;

	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c,
		  "HEAD /f/echo HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN "\r\n\r\n");
	serve(w, world_up(w, 0), "HEAD /", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
	UNTIL(w, peer_has(&c, "Content-Length: 1000\r\n\r\n"));
	gt_buf_reset(&c.got);
	peer_send(&c, GET_ECHO);
	serve(w, world_up(w, 0), "GET /x", OK_HI); /* both connections go on */
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	assert_int_equal(w->n_ups, 1);
	peer_close(&c);
}

static void test_continue_comes_from_the_gateway(void **state)
{
	struct world *w = *state;
	struct peer c;

	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c, "POST /f/echo HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN
		      "\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
	UNTIL(w, peer_has(&c, "HTTP/1.1 100 Continue\r\n\r\n"));
	assert_int_equal(world_fn(w)->in_flight, 0); /* no slot for a body that is not here */
	peer_send(&c, "hello");
	UNTIL(w, peer_has(world_up(w, 0), "hello"));
	assert_false(peer_has(world_up(w, 0), "Expect"));
	peer_send(world_up(w, 0),
		  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	assert_true(peer_has(&c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK"));
	peer_close(&c);
}

static void test_slow_upload_holds_no_slot(void **state)
{
	struct world *w = *state;
	struct peer slow, quick;

	world_replicas(w, 1);
	world_snapshot(w);
	slow = world_client(w);
	quick = world_client(w);
	peer_send(&slow, "POST /f/echo HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN
			 "\r\nContent-Length: 10\r\n\r\nhalf.");
	UNTIL(w, world_fn(w)->n_waiting == 1);
	peer_send(&quick, GET_ECHO);
	serve(w, world_up(w, 0), "GET /x", OK_HI);
	UNTIL(w, peer_has(&quick, "\r\n\r\nhi"));
	peer_send(&slow, "other");
	serve(w, world_up(w, 0), "half.other", OK_HI);
	UNTIL(w, peer_has(&slow, "\r\n\r\nhi"));
	peer_close(&slow);
	peer_close(&quick);
}

static void slow_client(struct world *w, struct peer c)
{
	static char block[65536];
	size_t sent = 0, all = 8 << 20, got = 0;

	world_replicas(w, 1);
	world_snapshot(w);
	peer_send(&c, GET_ECHO);
	struct peer *up = world_up(w, 0);

	serve(w, up, "GET /x", "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n");
	memset(block, 'x', sizeof(block));
	for (int quiet = 0; quiet < 50;) {
		ssize_t n = send(up->fd, block, GT_MIN(sizeof(block), all - sent), MSG_NOSIGNAL);

		quiet = n > 0 ? 0 : quiet + 1;
		sent += n > 0 ? (size_t)n : 0;
		world_step(w);
	}
	assert_true(sent < all / 2); /* kernel buffers and 64 KiB, not everything */
	assert_true(gt_outq_unsent(&w->gw->conns->x->out) <= 2 * GT_GW_BUFFER);
	for (int idle = 0; got < all && idle < 4000; idle++) {
		char buf[65536];
		ssize_t n = recv(c.fd, buf, sizeof(buf), 0);

		if (n > 0 && got == 0) {
			char *body = memmem(buf, (size_t)n, "\r\n\r\n", 4);

			assert_non_null(body);
			n -= body + 4 - buf;
		}
		got += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle;
		n = sent < all
			    ? send(up->fd, block, GT_MIN(sizeof(block), all - sent), MSG_NOSIGNAL)
			    : 0;
		sent += n > 0 ? (size_t)n : 0;
		world_step(w);
	}
	assert_int_equal(got, all);
	UNTIL(w, world_fn(w)->in_flight == 0);
	peer_close(&c);
}

static void test_slow_client_stops_the_replica(void **state)
{
	slow_client(*state, world_client(*state));
}

static void test_slow_client_over_tcp(void **state)
{
	slow_client(*state, world_client_tcp(*state));
}

#define LONG_BODY (3 << 20)

static char pattern(size_t at)
{
	return (char)(at * 31 + (at >> 12));
}

/* The replica sends `len` bytes; the client reads what comes, up to `most`, and what is wrong with
 * it is counted. Returns how many came. */
static size_t pass_body(struct world *w, struct peer *up, struct peer *c, size_t len, size_t most)
{
	static char block[8197], buf[65536]; /* the last one ends behind the body */
	size_t sent = 0, got = 0;
	bool head = true;

	for (int idle = 0; idle < 200 && got < most; idle++) {
		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = pattern(sent + i);
		ssize_t n = sent < len ? send(up->fd, block, GT_MIN(sizeof(block), len - sent),
					      MSG_NOSIGNAL)
				       : 0;

		sent += n > 0 ? (size_t)n : 0;
		world_step(w);
		n = recv(c->fd, buf, sizeof(buf), 0);
		if (n <= 0)
			continue;
		char *body = head ? memmem(buf, (size_t)n, "\r\n\r\n", 4) : buf - 4;

		assert_non_null(body);
		head = false;
		for (char *at = body + 4; at < buf + n; at++)
			assert_int_equal(*at, pattern(got++));
		idle = 0;
	}
	return got;
}

static struct peer *ask_long(struct world *w, struct peer *c, size_t i)
{
	char text[96];
	struct peer *up;

	peer_send(c, GET_ECHO);
	up = world_up(w, i);
	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LONG_BODY);
	serve(w, up, "GET /x", text);
	return up;
}

static void test_long_body_goes_through_a_pipe(void **state)
{
	struct world *w = *state;
	struct peer c, *up;

	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	up = ask_long(w, &c, 0);
	assert_int_equal(pass_body(w, up, &c, LONG_BODY, LONG_BODY), LONG_BODY);
	assert_int_equal(w->gw->pipes.n, 1);
	assert_non_null(w->gw->pipes.idle); /* given back, empty */
	UNTIL(w, world_fn(w)->in_flight == 0);
	/* Both connections serve the next call; what comes behind its body ends the replica's. */
	gt_buf_reset(&up->got);
	up = ask_long(w, &c, 0);
	assert_int_equal(pass_body(w, up, &c, LONG_BODY + 5, LONG_BODY), LONG_BODY);
	UNTIL(w, peer_eof(up));
	peer_send(&c, GET_ECHO);
	serve(w, world_up(w, 1), "GET /x", OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	peer_close(&c);
}

static void test_long_body_that_is_cut(void **state)
{
	struct world *w = *state;
	struct peer c, *up;

	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	up = ask_long(w, &c, 0);
	assert_in_range(pass_body(w, up, &c, LONG_BODY / 2, LONG_BODY), 1, LONG_BODY / 2);
	peer_close(up); /* short of its length: the client must see that */
	UNTIL(w, peer_eof(&c));
	UNTIL(w, world_fn(w)->in_flight == 0);
	peer_close(&c);
	c = world_client(w);
	up = ask_long(w, &c, 1);
	assert_true(pass_body(w, up, &c, LONG_BODY, 300000) >= 300000);
	peer_close(&c);
	UNTIL(w, peer_eof(up));
	UNTIL(w, world_fn(w)->in_flight == 0);
	/* A pipe that held what was left of it is nobody's. */
	for (unsigned n = 0; n < w->gw->pipes.n; n++)
		assert_non_null(w->gw->pipes.idle);
}

static void test_websocket_becomes_a_pipe(void **state)
{
	struct world *w = *state;
	struct peer c;

	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c,
		  "GET /f/echo/ws HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN
		  "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n");
	struct peer *up = world_up(w, 0);

	serve(w, up, "Connection: Upgrade\r\nUpgrade: websocket\r\n",
	      "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
	      "Sec-WebSocket-Accept: a\r\n\r\n\x81\x01x");
	UNTIL(w, peer_has(&c, "\r\n\r\n\x81\x01x"));
	assert_true(peer_has(&c, "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
	peer_send(&c, "\x82\x03HTTP");
	UNTIL(w, peer_has(up, "\x82\x03HTTP"));
	shutdown(c.fd, SHUT_WR);
	UNTIL(w, peer_eof(up)); /* half-closed: the other way stays open */
	peer_send(up, "last");
	UNTIL(w, peer_has(&c, "last"));
	assert_int_equal(world_fn(w)->in_flight, 1);
	peer_close(up);
	UNTIL(w, peer_eof(&c));
	UNTIL(w, world_fn(w)->in_flight == 0);
	peer_close(&c);
}

static void test_replicas_share_the_load(void **state)
{
	struct world *w = *state;
	struct peer a, b;

	world_replicas(w, 2);
	world_snapshot(w);
	a = world_client(w);
	b = world_client(w);
	peer_send(&a, GET_ECHO);
	peer_send(&b, GET_ECHO);
	assert_non_null(world_up(w, 1));
	assert_string_not_equal(w->ups[0].replica, w->ups[1].replica);
	peer_close(&a);
	peer_close(&b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_warm_call_and_reuse),
		T(test_cold_call_waits_for_its_replica),
		T(test_calls_before_the_first_routes_are_held),
		T(test_one_slot_serves_in_order),
		T(test_pipelined_requests_wait_for_each_other),
		T(test_chunked_both_ways),
		T(test_old_client_gets_a_plain_body),
		T(test_body_until_close),
		T(test_head_has_length_and_no_body),
		T(test_continue_comes_from_the_gateway),
		T(test_slow_upload_holds_no_slot),
		T(test_slow_client_stops_the_replica),
		T(test_slow_client_over_tcp),
		T(test_long_body_goes_through_a_pipe),
		T(test_long_body_that_is_cut),
		T(test_websocket_becomes_a_pipe),
		T(test_replicas_share_the_load),
	};

	return cmocka_run_group_tests_name("gateway_calls", tests, NULL, NULL);
}
