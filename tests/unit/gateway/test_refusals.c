/* Calls that the gateway answers itself: doors, limits, queue, failed starts, time. */
#include "world.h"

#include <string.h>
#include <sys/socket.h>

#define AUTH "Host: h\r\nAuthorization: Bearer " TOKEN "\r\n"

/* One request on a fresh connection that must be answered so. */
static void answered(struct world *w, const char *request, const char *status, const char *slug)
{
	struct peer c = world_client(w);

	peer_send(&c, request);
	UNTIL(w, peer_has(&c, "\r\n\r\n"));
	if (!peer_has(&c, status) || !peer_has(&c, slug))
		fail_msg("%s: %s", request, gt_buf_str(&c.got));
	assert_true(peer_has(&c, "X-Request-Id: "));
	peer_close(&c);
}

static void test_doors(void **state)
{
	struct world *w = *state;

	answered(w, "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200", "\"ok\"");
	answered(w, "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 503", "\"ready\":false");
	world_snapshot(w);
	answered(w, "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200", "\"ready\":true");
	gt_routes_down(NULL, w->gw); /* not for long yet */
	answered(w, "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200", "\"control\":false");
	gt_routes_up(w->gw);
	answered(w, "GET /link/v1/nodes/a/desired HTTP/1.1\r\n" AUTH "\r\n", "HTTP/1.1 404",
		 "not_found");
	answered(w, "GET /f/none HTTP/1.1\r\n" AUTH "\r\n", "HTTP/1.1 404", "function_not_found");
	answered(w, "GET /f/none HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 401", "unauthorized");
	answered(w, "GET /f/echo HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 401",
		 "WWW-Authenticate: Bearer\r\n");
	answered(w, "GET /f/echo HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer wrong\r\n\r\n",
		 "HTTP/1.1 401", "unauthorized");
	answered(w, "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
		 "HTTP/1.1 401", "{\"error\":");
	answered(w, "POST /v1/messages HTTP/1.1\r\n" AUTH "Content-Length: 2\r\n\r\n{}",
		 "HTTP/1.1 400", "\"param\":\"model\"");
	answered(w, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 204", "");
	answered(w, "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", "HTTP/1.1 405",
		 "method_not_allowed");
	answered(w, "hello\r\n\r\n", "HTTP/1.1 400", "malformed_request");
	answered(w, "GET /f/echo HTTP/1.1\r\n" AUTH "Gantry-Deadline: soon\r\n\r\n", "HTTP/1.1 400",
		 "bad_parameter");
}

static void test_public_function_keeps_its_own_authorization(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->route.access = GT_ACCESS_PUBLIC;
	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c, "GET /f/echo HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer app\r\n\r\n");
	UNTIL(w, peer_has(world_up(w, 0), "Authorization: Bearer app\r\n"));
	peer_close(&c);
}

static void test_full_queue(void **state)
{
	struct world *w = *state;
	struct peer a;

	w->route.queue = 1;
	world_snapshot(w);
	a = world_client(w);
	peer_send(&a, GET_ECHO);
	UNTIL(w, world_fn(w)->n_waiting == 1);
	answered(w, GET_ECHO, "HTTP/1.1 429", "Retry-After: 2\r\n"); /* start_ms */
	answered(w, GET_ECHO, "HTTP/1.1 429", "queue_full");
	assert_int_equal(world_fn(w)->stats.refusals[gt_refusal_index("queue_full")], 2);
	assert_int_equal(world_fn(w)->n_waiting, 1);
	peer_close(&a);
}

static void test_wait_has_an_end(void **state)
{
	struct world *w = *state;

	w->route.wait_ms = 5;
	world_snapshot(w);
	answered(w, GET_ECHO, "HTTP/1.1 504", "wait_timeout");
	answered(w, GET_ECHO, "HTTP/1.1 504", "Retry-After: 2\r\n");
	assert_int_equal(world_fn(w)->n_waiting, 0);
}

static void test_failed_start_answers_waiters_and_newcomers(void **state)
{
	struct world *w = *state;
	struct peer a;

	world_snapshot(w);
	a = world_client(w);
	peer_send(&a, GET_ECHO);
	UNTIL(w, world_fn(w)->n_waiting == 1);
	w->route.fail_seq = 1;
	w->route.retry_ms = 3000;
	w->route.fail = (struct gt_end){ .cause = "exited_early",
					 .text = "the process ended with status 3",
					 .exit_code = 3,
					 .log_tail = (char *)"no model\ngiving up" };
	world_route(w);
	UNTIL(w, peer_has(&a, "HTTP/1.1 503"));
	UNTIL(w, peer_has(&a, "giving up"));
	assert_true(peer_has(&a, "\"start_failed\""));
	assert_true(peer_has(&a, "exited_early"));
	assert_true(peer_has(&a, "Retry-After: 3\r\n"));
	answered(w, GET_ECHO, "HTTP/1.1 503", "start_failed");
	world_fn(w)->fail_until_ns = 0; /* the pause is over: the next one starts a new try */
	gt_buf_reset(&a.got);
	peer_send(&a, GET_ECHO);
	UNTIL(w, world_fn(w)->n_waiting == 1);
	peer_close(&a);
}

static void test_leaving_lowers_demand_at_once(void **state)
{
	struct world *w = *state;
	struct peer a;

	world_snapshot(w);
	a = world_client(w);
	peer_send(&a, GET_ECHO);
	UNTIL(w, world_fn(w)->n_waiting == 1);
	w->gw->demand.urgent = false;
	peer_close(&a);
	UNTIL(w, world_fn(w)->n_waiting == 0);
	assert_true(w->gw->demand.urgent);
	UNTIL(w, w->gw->n_conns == 0);
	assert_int_equal(world_fn(w)->stats.responses[0], 1);
}

static void test_deleted_while_waiting(void **state)
{
	struct world *w = *state;
	struct peer a;

	world_snapshot(w);
	a = world_client(w);
	peer_send(&a, GET_ECHO);
	UNTIL(w, world_fn(w)->n_waiting == 1);
	world_gone(w);
	assert_null(world_fn(w));
	UNTIL(w, peer_has(&a, "function_not_found"));
	peer_close(&a);
}

static void test_bodies_over_the_limit(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->route.body_bytes = 8;
	world_replicas(w, 1);
	world_snapshot(w);
	answered(w, "POST /f/echo HTTP/1.1\r\n" AUTH "Content-Length: 9\r\n\r\n", "HTTP/1.1 413",
		 "body_too_large");
	c = world_client(w);
	peer_send(&c, "POST /f/echo HTTP/1.1\r\n" AUTH "Transfer-Encoding: chunked\r\n\r\n"
		      "5\r\n12345\r\n5\r\n12345\r\n");
	UNTIL(w, peer_has(&c, "HTTP/1.1 413"));
	UNTIL(w, peer_eof(&c));
	assert_int_equal(w->n_ups, 0);
	assert_int_equal(world_fn(w)->n_waiting, 0);
	peer_close(&c);
}

static void test_bad_body_framing(void **state)
{
	struct world *w = *state;
	struct peer c;

	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c, "POST /f/echo HTTP/1.1\r\n" AUTH
		      "Transfer-Encoding: chunked\r\n\r\n5\r\n1234567");
	UNTIL(w, peer_has(&c, "HTTP/1.1 400"));
	UNTIL(w, peer_eof(&c));
	UNTIL(w, world_fn(w)->n_waiting == 0);
	peer_close(&c);
}

static void test_first_byte_and_run_limits(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->route.first_byte_ms = 5;
	world_replicas(w, 1);
	world_snapshot(w);
	answered(w, GET_ECHO, "HTTP/1.1 504", "run_timeout");
	UNTIL(w, peer_eof(world_up(w, 0))); /* the replica is told to stop */
	w->route.first_byte_ms = 60000;
	w->route.run_ms = 20;
	world_route(w);
	c = world_client(w);
	peer_send(&c, GET_ECHO);
	UNTIL(w, peer_has(world_up(w, 1), "GET"));
	peer_send(world_up(w, 1),
		  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
	UNTIL(w, peer_eof(&c));
	assert_false(peer_has(&c, "\r\n0\r\n\r\n"));
	peer_close(&c);
}

static void test_draining_connections(void **state)
{
	struct world *w = *state;
	struct peer idle, busy;

	world_replicas(w, 1);
	world_snapshot(w);
	idle = world_client(w);
	busy = world_client(w);
	peer_send(&busy, GET_ECHO);
	UNTIL(w, peer_has(world_up(w, 0), "GET"));
	gt_gw_quiesce(w->gw);
	UNTIL(w, peer_eof(&idle));
	assert_false(peer_eof(&busy));
	peer_send(world_up(w, 0), OK_HI);
	UNTIL(w, peer_has(&busy, "Connection: close\r\n\r\nhi"));
	UNTIL(w, w->gw->n_conns == 0 || peer_eof(&busy));
	peer_close(&idle);
	peer_close(&busy);
}

static void test_idle_connections_are_small(void **state)
{
	struct world *w = *state;
	struct peer c;

	world_replicas(w, 1);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c, GET_ECHO);
	UNTIL(w, peer_has(world_up(w, 0), "GET"));
	peer_send(world_up(w, 0), OK_HI);
	UNTIL(w, peer_has(&c, "hi"));
	world_settle(w);
	assert_true(sizeof(struct gt_conn) <= 1024);
	assert_null(w->gw->conns->x); /* no buffer at all */
	assert_int_equal(w->gw->buffered, 0);
	peer_close(&c);
}

static void test_what_is_counted(void **state)
{
	struct world *w = *state;
	struct gt_demand d;
	struct peer c;

	world_snapshot(w);
	answered(w, "GET /f/echo HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 401", "unauthorized");
	answered(w, "GET /f/no HTTP/1.1\r\n" AUTH "\r\n", "HTTP/1.1 404", "function_not_found");
	answered(w, "BAD\r\n\r\n", "HTTP/1.1 400", "malformed_request");
	c = world_client(w);
	peer_send(&c, GET_ECHO);
	UNTIL(w, world_fn(w)->n_waiting == 1);
	gt_demander_build(w->gw, false, &d);
	assert_int_equal(d.stats.refusals[gt_refusal_index("unauthorized")], 1);
	assert_int_equal(d.stats.refusals[gt_refusal_index("function_not_found")], 1);
	assert_int_equal(d.stats.refusals[gt_refusal_index("malformed_request")], 1);
	assert_int_equal(d.stats.accepted, 4);
	assert_int_equal(d.stats.connections, w->gw->n_conns);
	assert_int_equal(d.functions[0].wait.n[0], 0); /* it still waits */
	gt_demand_fini(&d);
	world_replicas(w, 1);
	world_route(w);
	UNTIL(w, peer_has(world_up(w, 0), "GET"));
	peer_send(world_up(w, 0), OK_HI);
	UNTIL(w, peer_has(&c, "hi"));
	const struct gt_demand_function *s = &world_fn(w)->stats;
	uint64_t waits = 0, totals = 0;

	for (size_t i = 0; i <= GT_HIST_BOUNDS; i++) {
		waits += s->wait.n[i];
		totals += s->total.n[i];
	}
	assert_int_equal(waits, 1);
	assert_int_equal(totals, 1);
	assert_true(s->total.sum_us >= s->wait.sum_us);
	peer_close(&c);
}

/* Its deferred run stands behind the one that frees memory. */
static void test_closed_while_a_run_is_due(void **state)
{
	struct world *w = *state;
	struct peer a = world_client(w), b = world_client(w);
	struct gt_conn *first = w->gw->conns, *second = first->next;

	gt_conn_close(first);
	gt_conn_kick(second);
	gt_conn_close(second);
	world_settle(w);
	assert_int_equal(w->gw->n_conns, 0);
	assert_null(w->gw->graves);
	assert_null(w->gw->doomed);
	peer_close(&a);
	peer_close(&b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_doors),
		T(test_public_function_keeps_its_own_authorization),
		T(test_full_queue),
		T(test_wait_has_an_end),
		T(test_failed_start_answers_waiters_and_newcomers),
		T(test_leaving_lowers_demand_at_once),
		T(test_deleted_while_waiting),
		T(test_bodies_over_the_limit),
		T(test_bad_body_framing),
		T(test_first_byte_and_run_limits),
		T(test_draining_connections),
		T(test_idle_connections_are_small),
		T(test_what_is_counted),
		T(test_closed_while_a_run_is_due),
	};

	return cmocka_run_group_tests_name("gateway_refusals", tests, NULL, NULL);
}
