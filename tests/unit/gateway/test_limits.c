/* What a function's limits and a request's wishes do: time, priority, affinity, second tries. Time
 * is made to pass. */
#include "world.h"

#include <string.h>

#define AUTH "Host: h\r\nAuthorization: Bearer " TOKEN "\r\n"
#define GET  "GET /f/echo/x HTTP/1.1\r\n" AUTH
#define POST "POST /f/echo/x HTTP/1.1\r\n" AUTH

static struct peer asks(struct world *w, const char *request)
{
	struct peer c = world_client(w);

	peer_send(&c, request);
	return c;
}

static struct peer *reaches(struct world *w, size_t i, const char *text)
{
	struct peer *up = world_up(w, i);

	UNTIL(w, peer_has(up, text));
	gt_buf_reset(&up->got);
	return up;
}

static void is_answered(struct world *w, struct peer *c, const char *status, const char *text)
{
	UNTIL(w, peer_has(c, "\r\n\r\n"));
	if (!peer_has(c, status) || !peer_has(c, text))
		fail_msg("%s %s: %s", status, text, gt_buf_str(&c->got));
}

static void serve(struct world *w, size_t i, struct peer *c)
{
	peer_send(reaches(w, i, "\r\n\r\n"), OK_HI);
	UNTIL(w, peer_has(c, "\r\n\r\nhi"));
	gt_buf_reset(&c->got);
}

static void warm(struct world *w, size_t replicas)
{
	world_replicas(w, replicas);
	w->route.idle_ms = 60000;
	world_snapshot(w);
}

/* ---- time ---- */

static void retries_after(struct peer *c)
{
	const char *first = strstr(gt_buf_str(&c->got), "\r\nRetry-After: ");

	assert_non_null(first);
	assert_null(strstr(first + 2, "\r\nRetry-After: "));
}

static void test_wait_ends_and_is_named(void **state)
{
	struct world *w = *state;
	struct peer c, d;

	w->route.wait_ms = 300000;
	warm(w, 0);
	c = asks(w, GET "\r\n");
	d = asks(w, GET "Gantry-Deadline: 7\r\n\r\n");
	UNTIL(w, world_fn(w)->n_waiting == 2);
	world_pass(w, 6000);
	assert_false(peer_has(&d, "HTTP"));
	world_pass(w, 1100);
	is_answered(w, &d, "HTTP/1.1 504", "Gantry-Deadline: no replica became ready");
	retries_after(&d);
	world_pass(w, 292000);
	assert_false(peer_has(&c, "HTTP"));
	world_pass(w, 1000);
	is_answered(w, &c, "HTTP/1.1 504", "\"path\":\"limits.wait\"");
	assert_true(peer_has(&c, "\"code\":\"wait_timeout\""));
	retries_after(&c);
	peer_close(&c);
	peer_close(&d);
}

static void test_first_byte_ends_and_is_named(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->route.first_byte_ms = 300000;
	warm(w, 1);
	c = asks(w, GET "\r\n");
	reaches(w, 0, "GET /x");
	world_pass(w, 299000); /* no byte moves: idle is not about this */
	assert_false(peer_has(&c, "HTTP"));
	world_pass(w, 1100);
	is_answered(w, &c, "HTTP/1.1 504",
		    "limits.first_byte: the replica gave no answer within 5m");
	retries_after(&c);
	UNTIL(w, peer_eof(world_up(w, 0)));
	assert_int_equal(world_fn(w)->in_flight, 0);
	peer_close(&c);
}

static void test_run_ends_before_and_inside_an_answer(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->route.run_ms = 10000;
	warm(w, 1);
	c = asks(w, GET "\r\n");
	reaches(w, 0, "GET /x");
	world_pass(w, 10100);
	is_answered(w, &c, "HTTP/1.1 504", "limits.run: ");
	peer_close(&c);
	c = asks(w, GET "\r\n");
	peer_send(reaches(w, 1, "GET /x"),
		  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
	UNTIL(w, peer_has(&c, "1\r\na\r\n"));
	for (int i = 0; i < 2; i++) { /* busy or not */
		world_pass(w, 4000);
		peer_send(world_up(w, 1), "1\r\nb\r\n");
		world_settle(w);
	}
	world_pass(w, 2100);
	UNTIL(w, peer_eof(&c));
	assert_false(peer_has(&c, "\r\n0\r\n\r\n"));
	assert_int_equal(world_fn(w)->in_flight, 0);
	peer_close(&c);
}

static void test_silent_stream_is_cut(void **state)
{
	struct world *w = *state;
	struct peer c;

	warm(w, 1);
	c = asks(w, GET "\r\n");
	peer_send(reaches(w, 0, "GET /x"),
		  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
	UNTIL(w, peer_has(&c, "1\r\na\r\n"));
	for (int i = 0; i < 4; i++) {
		world_pass(w, 50000);
		gt_buf_reset(&c.got);
		peer_send(world_up(w, 0), "1\r\nb\r\n");
		UNTIL(w, peer_has(&c, "1\r\nb\r\n"));
	}
	world_pass(w, 59000);
	assert_false(peer_eof(&c));
	world_pass(w, 1100);
	UNTIL(w, peer_eof(&c));
	assert_int_equal(world_fn(w)->in_flight, 0);
	peer_close(&c);
}

static void test_no_idle_limit(void **state)
{
	struct world *w = *state;
	struct peer c;

	warm(w, 1);
	w->route.idle_ms = 0;
	world_route(w);
	c = asks(w, GET "\r\n");
	peer_send(reaches(w, 0, "GET /x"),
		  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
	UNTIL(w, peer_has(&c, "1\r\na\r\n"));
	world_pass(w, 86400000);
	peer_send(world_up(w, 0), "1\r\nb\r\n0\r\n\r\n");
	UNTIL(w, peer_has(&c, "1\r\nb\r\n0\r\n\r\n"));
	peer_close(&c);
}

static void test_silent_websocket_is_cut(void **state)
{
	struct world *w = *state;
	struct peer c;

	warm(w, 1);
	c = asks(w, GET "Connection: Upgrade\r\nUpgrade: websocket\r\n"
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
			"Sec-WebSocket-Version: 13\r\n\r\n");
	peer_send(
		reaches(w, 0, "GET /x"),
		"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
		"Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
	UNTIL(w, peer_has(&c, "HTTP/1.1 101"));
	for (int i = 0; i < 3; i++) { /* either side keeps it */
		world_pass(w, 50000);
		peer_send(&c, "ping");
		reaches(w, 0, "ping");
	}
	world_pass(w, 61000);
	UNTIL(w, peer_eof(&c));
	assert_int_equal(world_fn(w)->in_flight, 0);
	peer_close(&c);
}

/* ---- slow bodies ---- */

/* A call whose body has come far enough for a slot, and then stops. */
static struct peer slow_upload(struct world *w)
{
	static char block[70000];
	struct peer c = asks(w, POST "Content-Length: 1000000\r\n\r\n");

	memset(block, 'b', sizeof(block) - 1);
	peer_send(&c, block);
	reaches(w, 0, "POST /x");
	UNTIL(w, (world_step(w), peer_pull(world_up(w, 0)), world_fn(w)->in_flight == 1));
	return c;
}

static void test_slow_body_before_its_slot_holds_none(void **state)
{
	struct world *w = *state;
	struct peer slow, quick;

	warm(w, 1);
	slow = asks(w, POST "Content-Length: 10\r\n\r\n12345");
	UNTIL(w, world_fn(w)->n_waiting == 1);
	quick = asks(w, GET "\r\n");
	serve(w, 0, &quick);
	assert_int_equal(world_fn(w)->n_waiting, 1);
	peer_close(&slow);
	peer_close(&quick);
}

static void test_body_that_stops_frees_its_slot(void **state)
{
	struct world *w = *state;
	struct peer slow, next;

	w->route.idle_ms = 20000;
	world_replicas(w, 1);
	world_snapshot(w);
	slow = slow_upload(w);
	next = asks(w, GET "\r\n");
	UNTIL(w, world_fn(w)->n_waiting == 1);
	world_pass(w, 19000);
	assert_false(peer_has(&slow, "HTTP"));
	world_pass(w, 1100);
	is_answered(w, &slow, "HTTP/1.1 408", "limits.idle: ");
	UNTIL(w, peer_eof(world_up(w, 0)));
	serve(w, 1, &next);
	peer_close(&slow);
	peer_close(&next);
}

static void test_body_that_drips_frees_its_slot(void **state)
{
	struct world *w = *state;
	struct peer slow;

	w->route.first_byte_ms = 300000;
	warm(w, 1);
	slow = slow_upload(w);
	for (int i = 0; i < 5; i++) {
		world_pass(w, 50000);
		assert_false(peer_has(&slow, "HTTP"));
		peer_send(&slow, "x");
		world_settle(w);
	}
	world_pass(w, 50100);
	is_answered(w, &slow, "HTTP/1.1 408", "limits.first_byte: ");
	assert_int_equal(world_fn(w)->in_flight, 0);
	peer_close(&slow);
}

/* ---- the queue ---- */

static void test_priority_header(void **state)
{
	struct world *w = *state;
	struct peer busy, low, high, c;

	warm(w, 1);
	busy = asks(w, GET "\r\n");
	reaches(w, 0, "GET /x");
	low = asks(w, "GET /f/echo/low HTTP/1.1\r\n" AUTH "Gantry-Priority: low\r\n\r\n");
	UNTIL(w, world_fn(w)->n_waiting == 1);
	high = asks(w, "GET /f/echo/high HTTP/1.1\r\n" AUTH "Gantry-Priority: high\r\n\r\n");
	UNTIL(w, world_fn(w)->n_waiting == 2);
	peer_send(world_up(w, 0), OK_HI);
	reaches(w, 0, "GET /high");
	peer_send(world_up(w, 0), OK_HI);
	reaches(w, 0, "GET /low");
	c = asks(w, GET "Gantry-Priority: urgent\r\n\r\n");
	is_answered(w, &c, "HTTP/1.1 400", "Gantry-Priority must be high, normal or low");
	peer_close(&busy);
	peer_close(&low);
	peer_close(&high);
	peer_close(&c);
}

static void test_strangers_delay_a_holder_by_a_window(void **state)
{
	struct world *w = *state;
	struct peer busy, c, strangers[2 * GT_QUEUE_WINDOW];

	w->route.access = GT_ACCESS_PUBLIC;
	w->route.queue = 100;
	warm(w, 1);
	busy = asks(w, GET "\r\n");
	reaches(w, 0, "GET /x");
	for (uint32_t i = 0; i < GT_LEN(strangers); i++) {
		strangers[i] = asks(w, "GET /f/echo/stranger HTTP/1.1\r\nHost: h\r\n\r\n");
		UNTIL(w, world_fn(w)->n_waiting == i + 1);
	}
	c = asks(w, "GET /f/echo/holder HTTP/1.1\r\n" AUTH "\r\n");
	UNTIL(w, world_fn(w)->n_waiting == GT_LEN(strangers) + 1);
	for (int i = 0; i < GT_QUEUE_WINDOW; i++) {
		peer_send(world_up(w, 0), OK_HI);
		reaches(w, 0, "GET /stranger");
	}
	peer_send(world_up(w, 0), OK_HI);
	reaches(w, 0, "GET /holder");
	peer_close(&busy);
	peer_close(&c);
	for (size_t i = 0; i < GT_LEN(strangers); i++)
		peer_close(&strangers[i]);
}

static void test_strangers_have_no_high_priority(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->route.access = GT_ACCESS_PUBLIC;
	warm(w, 1);
	c = asks(w, "GET /f/echo HTTP/1.1\r\nHost: h\r\nGantry-Priority: high\r\n\r\n");
	is_answered(w, &c, "HTTP/1.1 403", "forbidden");
	peer_close(&c);
}

static void test_waiting_bodies_are_bounded(void **state)
{
	struct world *w = *state;
	struct peer first, second;

	warm(w, 0);
	world_fn(w)->held_max = 100000;
	first = asks(w, POST "Content-Length: 1000000\r\n\r\n");
	UNTIL(w, world_fn(w)->n_waiting == 1);
	assert_in_range(world_fn(w)->held, GT_GW_BUFFER, GT_GW_BUFFER + 1000);
	second = asks(w, POST "Transfer-Encoding: chunked\r\n\r\n");
	is_answered(w, &second, "HTTP/1.1 503", "overloaded");
	retries_after(&second);
	peer_close(&first);
	UNTIL(w, world_fn(w)->held == 0);
	peer_close(&second);
}

static void test_control_is_kicked_by_growth_only(void **state)
{
	struct world *w = *state;
	struct gt_demand d;
	struct peer c[5];
	static const bool kicks[5] = { true, false, false, true, false };

	w->route.concurrency = 4;
	w->route.target = 3;
	warm(w, 0);
	for (uint32_t i = 0; i < 5; i++) {
		w->gw->demand.urgent = false;
		c[i] = asks(w, GET "\r\n");
		UNTIL(w, world_fn(w)->n_waiting == i + 1);
		assert_int_equal(w->gw->demand.urgent, kicks[i]);
		gt_demander_build(w->gw, false, &d);
		gt_demand_fini(&d);
	}
	for (int i = 0; i < 5; i++)
		peer_close(&c[i]);
}

/* ---- choice ---- */

static void test_affinity_by_header(void **state)
{
	struct world *w = *state;
	struct peer c;
	char first[2][GT_REPLICA_ID_SIZE];
	bool differ = false;

	w->route.concurrency = 4;
	gt_strcopy(w->route.affinity, sizeof(w->route.affinity), "X-Session-Id");
	warm(w, 2);
	c = world_client(w);
	for (int i = 0; i < 20; i++) {
		char request[256], *at = first[i % 2];

		if (i < 12) /* sessions 0..5, each twice; an idle connection serves the second */
			snprintf(request, sizeof(request), GET "x-session-id: s%d\r\n\r\n", i / 2);
		else
			snprintf(request, sizeof(request), GET "\r\n");
		gt_buf_reset(&c.got);
		peer_send(&c, request);
		bool done = false;

		for (int n = 0; n < 4000 && !done; n++) {
			world_step(w);
			for (size_t k = 0; k < w->n_ups && !done; k++)
				if (peer_has(&w->ups[k], "\r\n\r\n")) {
					gt_strcopy(at, GT_REPLICA_ID_SIZE, w->ups[k].replica);
					gt_buf_reset(&w->ups[k].got);
					peer_send(&w->ups[k], OK_HI);
					done = true;
				}
		}
		assert_true(done);
		UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
		if (i < 12 && i % 2)
			assert_string_equal(first[0], first[1]);
		else if (i < 12 && i)
			differ |= strcmp(first[0], first[1]) != 0;
	}
	assert_true(differ); /* not all sessions are at the same one */
	peer_close(&c);
}

/* ---- second tries ---- */

static void test_idempotent_function_is_asked_again(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->route.idempotent = true;
	warm(w, 1);
	c = asks(w, POST "Content-Length: 1\r\n\r\nx");
	for (size_t i = 0; i < GT_GW_RETRIES; i++) {
		reaches(w, i, "\r\n\r\nx");
		peer_close(world_up(w, i)); /* took everything, answered nothing */
		UNTIL(w, world_fn(w)->n_waiting == 1 || w->n_ups > i + 1);
		assert_int_equal(world_fn(w)->n_retrying, 1);
		world_pass(w, GT_FN_REST2_MS);
	}
	peer_send(reaches(w, GT_GW_RETRIES, "\r\n\r\nx"), OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	assert_int_equal(world_fn(w)->n_retrying, 0);
	assert_int_equal(world_fn(w)->targets->fails, 0);
	assert_int_equal(world_fn(w)->stats.calls, 1);
	peer_close(&c);
}

static void test_retries_end(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->dial_fails = 100;
	w->dial_error = ECONNREFUSED;
	warm(w, 1);
	c = asks(w, GET "\r\n");
	for (int i = 0; i < GT_GW_RETRIES; i++) {
		UNTIL(w, world_fn(w)->n_waiting == 1);
		world_settle(w);
		world_pass(w, GT_FN_REST2_MS);
	}
	is_answered(w, &c, "HTTP/1.1 502", "could not be reached");
	assert_int_equal(w->dial_fails, 100 - GT_GW_RETRIES - 1);
	assert_int_equal(world_fn(w)->n_retrying, 0);
	assert_true(gt_target_suspect(world_fn(w)->targets, gt_gw_now(w->gw)));
	w->dial_fails = 0; /* a suspect, but the only one */
	gt_buf_reset(&c.got);
	world_pass(w, GT_FN_REST2_MS);
	peer_send(&c, GET "\r\n");
	serve(w, 0, &c);
	peer_close(&c);
}

static void test_absent_broker_is_no_fault_of_a_replica(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->dial_hold = true;
	warm(w, 1);
	c = asks(w, GET "\r\n");
	UNTIL(w, w->dial_fd >= 0 && w->gw->dialer.asks);
	w->dial_fd = gt_close(w->dial_fd);
	UNTIL(w, !w->gw->dialer.asks);
	assert_int_equal(world_fn(w)->targets->fails, 0);
	assert_int_equal(world_fn(w)->n_retrying, 0);
	w->dial_fd = -1;
	w->dial_hold = false;
	serve(w, 0, &c);
	peer_close(&c);
}

static void test_no_retry_past_the_budget(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->route.idempotent = true;
	warm(w, 1);
	world_fn(w)->n_retrying = GT_FN_RETRIES;
	c = asks(w, GET "\r\n");
	reaches(w, 0, "GET /x");
	peer_close(world_up(w, 0));
	is_answered(w, &c, "HTTP/1.1 502", "replica_lost");
	world_fn(w)->n_retrying = 0;
	peer_close(&c);
}

static void test_retry_ends_with_the_deadline(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->route.idempotent = true;
	warm(w, 1);
	c = asks(w, GET "Gantry-Deadline: 5\r\n\r\n");
	reaches(w, 0, "GET /x");
	world_pass(w, 4900);
	peer_close(world_up(w, 0));
	UNTIL(w, world_fn(w)->n_waiting == 1);
	world_replicas(w, 0); /* and nobody is left */
	world_route(w);
	world_pass(w, 200);
	is_answered(w, &c, "HTTP/1.1 504", "Gantry-Deadline: ");
	assert_int_equal(world_fn(w)->n_retrying, 0);
	peer_close(&c);
}

static void test_answers_of_5xx_say_nothing_about_health(void **state)
{
	struct world *w = *state;
	struct peer c;

	warm(w, 1);
	c = world_client(w);
	for (int i = 0; i < 5; i++) {
		peer_send(&c, GET "\r\n");
		peer_send(reaches(w, 0, "GET /x"),
			  "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno");
		UNTIL(w, peer_has(&c, "\r\n\r\nno"));
		gt_buf_reset(&c.got);
	}
	assert_int_equal(world_fn(w)->targets->fails, 0);
	assert_int_equal(world_fn(w)->stats.responses[5], 5);
	peer_close(&c);
}

/* ---- control ---- */

/* The last one that control takes is passed on, one more hears so at once, and no count is lost. */
static void test_control_takes_so_many(void **state)
{
	static const char list[] = "GET /v1/functions HTTP/1.1\r\n" AUTH "\r\n";
	struct world *w = *state;
	struct peer c, d, api = { .fd = -1 };

	warm(w, 1);
	w->gw->n_control = GT_CALL_CONTROL_MAX - 1; /* as many others */
	c = asks(w, list);
	UNTIL(w, world_accept_api(w, &api) == 0);
	d = asks(w, list);
	is_answered(w, &d, "HTTP/1.1 503", "\"code\":\"overloaded\"");
	retries_after(&d);
	gt_buf_reset(&d.got);
	peer_send(&d, "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n");
	is_answered(w, &d, "HTTP/1.1 200", "ok");
	UNTIL(w, peer_has(&api, "GET /v1/functions"));
	peer_send(&api, OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	assert_int_equal(w->gw->n_control, GT_CALL_CONTROL_MAX - 1);
	peer_close(&c);
	peer_close(&d);
	peer_close(&api);
}

/* Whoever has no token, or one that is none, finds no room, and takes none of the others'. */
static void test_strangers_have_few_places_in_control(void **state)
{
	static const char *const strangers[] = {
		"GET /v1/version HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /v1/functions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer wrong\r\n\r\n",
	};
	struct world *w = *state;
	struct peer c, api = { .fd = -1 };

	warm(w, 1);
	w->gw->n_control = w->gw->n_strangers = GT_CALL_STRANGERS_MAX - 1; /* as many others */
	c = asks(w, strangers[1]);
	UNTIL(w, world_accept_api(w, &api) == 0);
	for (size_t i = 0; i < GT_LEN(strangers); i++) {
		struct peer d = asks(w, strangers[i]);

		is_answered(w, &d, "HTTP/1.1 503", "\"code\":\"overloaded\"");
		retries_after(&d);
		peer_close(&d);
	}
	struct peer holder = asks(w, "GET /v1/nodes HTTP/1.1\r\n" AUTH "\r\n"), its = { .fd = -1 };

	UNTIL(w, world_accept_api(w, &its) == 0);
	UNTIL(w, peer_has(&its, "GET /v1/nodes"));
	peer_send(&its, OK_HI);
	UNTIL(w, peer_has(&holder, "\r\n\r\nhi"));
	UNTIL(w, peer_has(&api, "GET /v1/functions"));
	peer_send(&api, OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	assert_int_equal(w->gw->n_control, GT_CALL_STRANGERS_MAX - 1);
	assert_int_equal(w->gw->n_strangers, GT_CALL_STRANGERS_MAX - 1);
	peer_close(&c);
	peer_close(&api);
	peer_close(&holder);
	peer_close(&its);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_wait_ends_and_is_named),
		T(test_first_byte_ends_and_is_named),
		T(test_run_ends_before_and_inside_an_answer),
		T(test_silent_stream_is_cut),
		T(test_no_idle_limit),
		T(test_silent_websocket_is_cut),
		T(test_slow_body_before_its_slot_holds_none),
		T(test_body_that_stops_frees_its_slot),
		T(test_body_that_drips_frees_its_slot),
		T(test_priority_header),
		T(test_strangers_delay_a_holder_by_a_window),
		T(test_strangers_have_no_high_priority),
		T(test_waiting_bodies_are_bounded),
		T(test_control_is_kicked_by_growth_only),
		T(test_affinity_by_header),
		T(test_idempotent_function_is_asked_again),
		T(test_retries_end),
		T(test_absent_broker_is_no_fault_of_a_replica),
		T(test_no_retry_past_the_budget),
		T(test_retry_ends_with_the_deadline),
		T(test_answers_of_5xx_say_nothing_about_health),
		T(test_control_takes_so_many),
		T(test_strangers_have_few_places_in_control),
	};

	return cmocka_run_group_tests_name("gateway_limits", tests, NULL, NULL);
}
