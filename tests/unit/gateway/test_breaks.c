/* Peers that die, lie or leave: retries, 502, cut answers, and what control is told. */
#include "world.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define POST_ECHO                                                          \
	"POST /f/echo HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN \
	"\r\nContent-Length: 1\r\n\r\nx"

static struct peer ready_client(struct world *w)
{
	world_replicas(w, 1);
	world_snapshot(w);
	return world_client(w);
}

/* One good call, so that a connection to the replica is idle in the pool. */
static void warm_up(struct world *w, struct peer *c)
{
	peer_send(c, GET_ECHO);
	UNTIL(w, peer_has(world_up(w, 0), "GET"));
	peer_send(world_up(w, 0), OK_HI);
	UNTIL(w, peer_has(c, "\r\n\r\nhi"));
	gt_buf_reset(&c->got);
	gt_buf_reset(&world_up(w, 0)->got);
}

static void test_get_is_tried_again_when_a_reused_connection_dies(void **state)
{
	struct world *w = *state;
	struct peer c = ready_client(w);

	warm_up(w, &c);
	peer_send(&c, GET_ECHO);
	UNTIL(w, world_fn(w)->in_flight == 1);
	world_settle(w);
	peer_close(world_up(w, 0)); /* unread: a reset */
	UNTIL(w, peer_has(world_up(w, 1), "GET /x"));
	peer_send(world_up(w, 1), OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	assert_int_equal(world_fn(w)->in_flight, 0);
	peer_close(&c);
}

static void test_replica_that_dies_of_a_call_is_not_asked_again(void **state)
{
	struct world *w = *state;
	struct peer c = ready_client(w);

	warm_up(w, &c);
	peer_send(&c, GET_ECHO);
	UNTIL(w, peer_has(world_up(w, 0), "GET"));
	peer_close(world_up(w, 0)); /* it read everything, then ended */
	UNTIL(w, peer_has(&c, "replica_lost"));
	assert_int_equal(w->n_ups, 1);
	peer_close(&c);
}

static void test_post_is_not_sent_twice(void **state)
{
	struct world *w = *state;
	struct peer c = ready_client(w);

	warm_up(w, &c);
	peer_send(&c, POST_ECHO);
	UNTIL(w, world_fn(w)->in_flight == 1);
	world_settle(w);
	peer_close(world_up(w, 0)); /* a reset, but the method may have had an effect */
	UNTIL(w, peer_has(&c, "HTTP/1.1 502"));
	UNTIL(w, peer_has(&c, "replica_lost"));
	assert_int_equal(w->n_ups, 1);
	assert_int_equal(world_fn(w)->in_flight, 0);
	peer_close(&c);
}

static void test_fresh_connection_that_dies_is_no_retry(void **state)
{
	struct world *w = *state;
	struct peer c = ready_client(w);

	peer_send(&c, GET_ECHO);
	UNTIL(w, peer_has(world_up(w, 0), "GET"));
	peer_close(world_up(w, 0));
	UNTIL(w, peer_has(&c, "HTTP/1.1 502"));
	peer_close(&c);
}

static void test_dead_idle_connection_is_noticed(void **state)
{
	struct world *w = *state;
	struct peer c = ready_client(w);

	warm_up(w, &c);
	assert_int_equal(world_fn(w)->targets->idle.n, 1);
	peer_close(world_up(w, 0));
	UNTIL(w, world_fn(w)->targets->idle.n == 0);
	peer_send(&c, POST_ECHO);
	UNTIL(w, peer_has(world_up(w, 1), "\r\n\r\nx"));
	peer_close(&c);
}

static void test_answer_with_more_bytes_ends_the_connection(void **state)
{
	struct world *w = *state;
	struct peer c = ready_client(w);

	peer_send(&c, GET_ECHO);
	UNTIL(w, peer_has(world_up(w, 0), "GET"));
	peer_send(world_up(w, 0), OK_HI "HTTP/1.1 200 stolen\r\n\r\n");
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	assert_int_equal(world_fn(w)->targets->idle.n, 0);
	UNTIL(w, peer_eof(world_up(w, 0)));
	assert_false(peer_has(&c, "stolen"));
	peer_close(&c);
}

static void test_unreachable_replica_is_tried_for_a_while(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->dial_fails = 3;
	w->dial_error = ECONNREFUSED;
	c = ready_client(w);
	peer_send(&c, POST_ECHO); /* nothing was sent: any method may go again */
	UNTIL(w, peer_has(world_up(w, 0), "\r\n\r\nx"));
	peer_send(world_up(w, 0), OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	assert_int_equal(world_fn(w)->stats.calls, 1);
	peer_close(&c);
}

static void test_unreachable_replica_gives_way_to_another(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->dial_fails = 1;
	w->dial_error = ECONNREFUSED;
	world_replicas(w, 2);
	world_snapshot(w);
	c = world_client(w);
	peer_send(&c, GET_ECHO);
	assert_string_equal(world_up(w, 0)->replica, REPLICA_B);
	peer_close(&c);
}

static void test_broker_restart_is_survived(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->dial_hold = true;
	c = ready_client(w);
	peer_send(&c, GET_ECHO);
	UNTIL(w, w->dial_fd >= 0 && w->gw->dialer.asks);
	w->dial_fd = gt_close(w->dial_fd);
	w->dial_fd = -1;
	w->dial_hold = false;
	UNTIL(w, peer_has(world_up(w, 0), "GET /x"));
	peer_close(&c);
}

static void test_invalid_answer(void **state)
{
	struct world *w = *state;
	struct peer c = ready_client(w);

	peer_send(&c, GET_ECHO);
	UNTIL(w, peer_has(world_up(w, 0), "GET"));
	peer_send(world_up(w, 0),
		  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi");
	UNTIL(w, peer_has(&c, "HTTP/1.1 502"));
	UNTIL(w, peer_has(&c, "bad_gateway"));
	UNTIL(w, peer_eof(world_up(w, 0)));
	gt_buf_reset(&c.got);
	peer_send(&c, GET_ECHO); /* the client's connection is still good */
	UNTIL(w, peer_has(world_up(w, 1), "GET"));
	peer_send(world_up(w, 1),
		  "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
	UNTIL(w, peer_has(&c, "HTTP/1.1 502"));
	peer_close(&c);
}

static void test_cut_answer_never_looks_complete(void **state)
{
	struct world *w = *state;
	struct peer c = ready_client(w);

	peer_send(&c, GET_ECHO);
	UNTIL(w, peer_has(world_up(w, 0), "GET"));
	peer_send(world_up(w, 0),
		  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
	UNTIL(w, peer_has(&c, "2\r\nhi\r\n"));
	peer_close(world_up(w, 0));
	UNTIL(w, peer_eof(&c));
	assert_false(peer_has(&c, "\r\n0\r\n\r\n"));
	assert_int_equal(world_fn(w)->stats.responses[0], 1);
	peer_close(&c);
}

static void test_client_leaving_cancels_the_call(void **state)
{
	struct world *w = *state;
	struct peer c = ready_client(w);

	peer_send(&c, GET_ECHO);
	UNTIL(w, peer_has(world_up(w, 0), "GET"));
	peer_close(&c);
	UNTIL(w, peer_eof(world_up(w, 0)));
	UNTIL(w, world_fn(w)->in_flight == 0);
}

static void test_client_leaving_while_dialing(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->dial_hold = true;
	c = ready_client(w);
	peer_send(&c, GET_ECHO);
	UNTIL(w, w->gw->dialer.asks);
	peer_close(&c);
	UNTIL(w, world_fn(w)->in_flight == 0);
	w->dial_hold = false;
	UNTIL(w, w->n_ups == 1 && peer_eof(&w->ups[0])); /* nobody wants it any more */
	assert_null(w->gw->dialer.asks);
}

static void test_answer_before_the_body_ends(void **state)
{
	struct world *w = *state;
	static char block[70000];
	struct peer c = ready_client(w);

	memset(block, 'b', sizeof(block) - 1);
	peer_send(&c, "POST /f/echo HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN
		      "\r\nContent-Length: 1000000\r\n\r\n");
	peer_send(&c, block); /* more than 64 KiB: worth a slot */
	UNTIL(w, peer_has(world_up(w, 0), "POST"));
	peer_send(world_up(w, 0), OK_HI);
	UNTIL(w, peer_has(&c, "Connection: close\r\n\r\nhi"));
	UNTIL(w, peer_eof(world_up(w, 0)));
	assert_int_equal(world_fn(w)->in_flight, 0);
	UNTIL(w, peer_eof(&c));
	peer_close(&c);
}

static void test_drained_replica_is_told(void **state)
{
	struct world *w = *state;
	struct gt_demand d;
	struct peer c = ready_client(w);

	peer_send(&c, GET_ECHO);
	UNTIL(w, peer_has(world_up(w, 0), "GET"));
	w->replicas[0].draining = true;
	world_route(w);
	gt_demander_build(w->gw, true, &d);
	assert_int_equal(d.n_drained, 0);
	assert_int_equal(d.functions[0].in_flight, 1);
	gt_demand_fini(&d);
	peer_send(world_up(w, 0), OK_HI);
	UNTIL(w, peer_has(&c, "hi"));
	for (int i = 0; i < 2; i++) { /* again and again until it leaves the route */
		gt_demander_build(w->gw, false, &d);
		assert_int_equal(d.n_drained, 1);
		assert_string_equal(d.drained[0], REPLICA_A);
		gt_demand_fini(&d);
	}
	world_replicas(w, 0);
	world_route(w);
	gt_demander_build(w->gw, false, &d);
	assert_int_equal(d.n_drained, 0);
	gt_demand_fini(&d);
	peer_close(&c);
}

static void test_management_is_passed_to_control(void **state)
{
	struct world *w = *state;
	struct peer c = world_client(w), api = { .fd = -1 };

	peer_send(&c, "PUT /v1/functions/a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\n"
		      "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	UNTIL(w, peer_has(&c, "100 Continue"));
	peer_send(&c, "{}");
	UNTIL(w, world_accept_api(w, &api) == 0);
	UNTIL(w, peer_has(&api, "\r\n\r\n{}"));
	assert_true(peer_has(&api, "PUT /v1/functions/a HTTP/1.1\r\nHost: h\r\n"
				   "Authorization: Bearer t\r\n"));
	assert_true(peer_has(&api, "Connection: close\r\n"));
	peer_send(&api, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
	UNTIL(w, peer_has(&c, "data: 1\n\n"));
	peer_close(&c);
	UNTIL(w, peer_eof(&api)); /* the watch ends with its reader */
	peer_close(&api);
}

static void test_control_restart_is_waited_for(void **state)
{
	struct world *w = *state;
	struct peer c = world_client(w), api = { .fd = -1 };

	peer_send(&c, "GET /v1/functions HTTP/1.1\r\nHost: h\r\n\r\n");
	UNTIL(w, world_accept_api(w, &api) == 0);
	peer_close(&api);
	UNTIL(w, world_accept_api(w, &api) == 0); /* asked again */
	UNTIL(w, peer_has(&api, "GET /v1/functions"));
	peer_send(&api, OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	peer_close(&api);
	peer_close(&c);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_get_is_tried_again_when_a_reused_connection_dies),
		T(test_replica_that_dies_of_a_call_is_not_asked_again),
		T(test_post_is_not_sent_twice),
		T(test_fresh_connection_that_dies_is_no_retry),
		T(test_dead_idle_connection_is_noticed),
		T(test_answer_with_more_bytes_ends_the_connection),
		T(test_unreachable_replica_is_tried_for_a_while),
		T(test_unreachable_replica_gives_way_to_another),
		T(test_broker_restart_is_survived),
		T(test_invalid_answer),
		T(test_cut_answer_never_looks_complete),
		T(test_client_leaving_cancels_the_call),
		T(test_client_leaving_while_dialing),
		T(test_answer_before_the_body_ends),
		T(test_drained_replica_is_told),
		T(test_management_is_passed_to_control),
		T(test_control_restart_is_waited_for),
	};

	return cmocka_run_group_tests_name("gateway_breaks", tests, NULL, NULL);
}
