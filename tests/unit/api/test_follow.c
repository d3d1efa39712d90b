/* What takes time: events and logs that are followed, states that are waited for; and replicas. */
#include "fixture.h"

#include <stdio.h>
#include <sys/socket.h>

#define JSON    "Content-Type: application/json\r\n"
#define SPEC    "{\"image\":\"host:\",\"command\":[\"/bin/true\"],\"port\":8000}"
#define WARM    "{\"image\":\"host:\",\"command\":[\"/bin/true\"],\"port\":8000,\"scale\":{\"min\":1}}"
#define REPLICA "01ARZ3NDEKTSV4RRFFQ69G5FAV"

/* Runs what control has decided to do by now: the daemon does this from a timer. */
static void tick(struct world *w)
{
	gt_control_tick(w->control);
}

/* The id of the replica that control started for "one". */
static void started(struct world *w, char id[GT_REPLICA_ID_SIZE])
{
	struct answer a;

	tick(w);
	ask(w, "GET", "/v1/functions/one/replicas", NULL, NULL, &a);
	gt_strcopy(id, GT_REPLICA_ID_SIZE, str(&a, "items[0].id"));
	assert_int_equal(strlen(id), GT_ULID_LEN);
	answer_fini(&a);
}

static void reports_events_in_order(void **state)
{
	struct world *w = *state;
	char path[80];
	struct answer a;

	put_ok(w, "one", SPEC, 201);
	put_ok(w, "two", SPEC, 201);
	ask(w, "GET", "/v1/events?function=two", NULL, NULL, &a);
	assert_string_equal(str(&a, "items[0].type"), "function.created");
	assert_int_equal(gt_value_len(gt_value_at(a.json, "items")), 1);
	answer_fini(&a);
	ask(w, "GET", "/v1/events?limit=1", NULL, NULL, &a);
	assert_string_equal(str(&a, "items[0].function"), "one");
	snprintf(path, sizeof(path), "/v1/events?limit=1&cursor=%s", str(&a, "next_cursor"));
	answer_fini(&a);
	ask(w, "GET", path, NULL, NULL, &a);
	assert_string_equal(str(&a, "items[0].function"), "two");
	answer_fini(&a);
	ask(w, "GET", "/v1/events?tail=1", NULL, NULL, &a);
	assert_string_equal(str(&a, "items[0].function"), "two");
	answer_fini(&a);
	refused(w, "GET", "/v1/events?after=x", NULL, NULL, 400, "bad_parameter");
	refused(w, "GET", "/v1/events?limit=1001", NULL, NULL, 400, "bad_parameter");
}

static void follows_events_after_history(void **state)
{
	struct world *w = *state;
	struct answer lines, sse;

	put_ok(w, "one", SPEC, 201);
	ask_open(w, "GET", "/v1/events?follow=1&tail=1", NULL, NULL, &lines);
	step_until(w, answer_has(&lines, "\"function\":\"one\""));
	assert_true(header_has(&lines, "Content-Type: application/x-ndjson"));
	ask_open(w, "GET", "/v1/events?follow=1", "Accept: text/event-stream\r\n", NULL, &sse);
	step_until(w, answer_has(&sse, ": following"));
	assert_false(answer_has(&sse, "\"one\"")); /* without a cursor only what comes */
	put_ok(w, "two", SPEC, 201);
	step_until(w, answer_has(&lines, "\"function\":\"two\""));
	step_until(w, answer_has(&sse, "\"function\":\"two\""));
	assert_non_null(strstr(sse.body, "id: "));
	assert_non_null(strstr(sse.body, "data: {"));
	answer_fini(&lines);
	step_until(w, gt_api_active(w->api) == 1);
	put_ok(w, "three", SPEC, 201);
	step_until(w, answer_has(&sse, "\"function\":\"three\""));
	answer_fini(&sse);
	step_until(w, gt_api_active(w->api) == 0);
}

static void continues_after_the_last_event(void **state)
{
	struct world *w = *state;
	char header[96];
	struct answer a;

	put_ok(w, "one", SPEC, 201);
	put_ok(w, "two", SPEC, 201);
	ask(w, "GET", "/v1/events?limit=1", NULL, NULL, &a);
	snprintf(header, sizeof(header), "Accept: text/event-stream\r\nLast-Event-ID: %s\r\n",
		 str(&a, "next_cursor"));
	answer_fini(&a);
	ask_open(w, "GET", "/v1/events?follow=1", header, NULL, &a);
	step_until(w, answer_has(&a, "\"function\":\"two\""));
	assert_null(strstr(a.body, "\"function\":\"one\""));
	answer_fini(&a);
}

static void waits_for_a_state(void **state)
{
	struct world *w = *state;
	char id[GT_REPLICA_ID_SIZE];
	struct answer a, expired;

	node_up(w, "box");
	put_ok(w, "one", WARM, 201);
	started(w, id);
	ask_open(w, "GET", "/v1/functions/one?wait=10s&until=ready", NULL, NULL, &a);
	ask(w, "GET", "/v1/functions/one?wait=1ms&until=idle", NULL, NULL, &expired);
	assert_int_equal(expired.status, 200);
	assert_non_null(gt_value_at(expired.json, "reached"));
	assert_false(gt_value_bool(expired.json, "reached", true));
	answer_fini(&expired);
	assert_false(answer_closed(&a));
	observe(w, "box", id, "one", GT_REPLICA_STARTING);
	observe(w, "box", id, "one", GT_REPLICA_READY);
	step_until(w, answer_closed(&a));
	assert_int_equal(a.status, 200);
	assert_true(answer_has(&a, "\"reached\":true"));
	answer_fini(&a);
	refused(w, "GET", "/v1/functions/one?wait=11m", NULL, NULL, 400, "bad_parameter");
	refused(w, "GET", "/v1/functions/one?wait=1s&until=never", NULL, NULL, 400,
		"bad_parameter");
}

static void a_waiting_client_may_leave(void **state)
{
	struct world *w = *state;
	struct answer a;

	put_ok(w, "one", SPEC, 201);
	ask_open(w, "GET", "/v1/functions/one?wait=10m&until=ready", NULL, NULL, &a);
	step_until(w, gt_api_active(w->api) == 1);
	answer_fini(&a);
	step_until(w, gt_api_active(w->api) == 0);
}

static void waiting_ends_with_the_function(void **state)
{
	struct world *w = *state;
	struct answer a, gone;

	put_ok(w, "one", SPEC, 201);
	ask_open(w, "GET", "/v1/functions/one?wait=10m&until=ready", NULL, NULL, &a);
	step_until(w, gt_api_active(w->api) == 1);
	ask(w, "DELETE", "/v1/functions/one", NULL, NULL, &gone);
	answer_fini(&gone);
	step_until(w, answer_closed(&a));
	assert_int_equal(a.status, 404);
	answer_fini(&a);
}

static void shows_and_stops_replicas(void **state)
{
	struct world *w = *state;
	char id[GT_REPLICA_ID_SIZE], path[128];
	struct answer a;

	node_up(w, "box");
	put_ok(w, "one", WARM, 201);
	started(w, id);
	observe(w, "box", id, "one", GT_REPLICA_STARTING);
	observe(w, "box", id, "one", GT_REPLICA_READY);
	snprintf(path, sizeof(path), "/v1/functions/one/replicas/%s", id);
	ask(w, "GET", path, NULL, NULL, &a);
	assert_string_equal(str(&a, "state"), "ready");
	assert_string_equal(str(&a, "node"), "box");
	assert_int_equal(gt_value_u64(a.json, "pid", 0), 4242);
	assert_true(gt_value_num(a.json, "timings.exec_ms", 0) > 0.29);
	answer_fini(&a);
	ask(w, "DELETE", path, NULL, NULL, &a);
	assert_int_equal(a.status, 202);
	assert_string_not_equal(str(&a, "state"), "ready");
	answer_fini(&a);
	refused(w, "GET", "/v1/functions/one/replicas/" REPLICA, NULL, NULL, 404, "not_found");
	refused(w, "GET", "/v1/functions/no/replicas", NULL, NULL, 404, "function_not_found");
}

static void passes_logs_on(void **state)
{
	struct world *w = *state;
	struct answer a;

	w->log_text = "{\"seq\":1,\"line\":\"hello\"}\n{\"seq\":2,\"line\":\"w\\u00f6rld\"}\n";
	refused(w, "GET", "/v1/functions/one/logs", NULL, NULL, 404, "function_not_found");
	put_ok(w, "one", SPEC, 201);
	ask(w, "GET", "/v1/functions/one/logs?tail=5&since=10m&stream=stderr", NULL, NULL, &a);
	assert_string_equal(a.body, w->log_text);
	assert_string_equal(w->log_question, "one tail=5 since=1 stream=stderr");
	answer_fini(&a);
	ask(w, "GET", "/v1/functions/one/logs", "Accept: text/plain\r\n", NULL, &a);
	assert_string_equal(a.body, "hello\nwörld\n");
	answer_fini(&a);
	refused(w, "GET", "/v1/functions/one/logs?tail=10001", NULL, NULL, 400, "bad_parameter");
	refused(w, "GET", "/v1/functions/one/logs?since=soon", NULL, NULL, 400, "bad_parameter");
	refused(w, "GET", "/v1/functions/one/logs?stream=both", NULL, NULL, 400, "bad_parameter");
	refused(w, "GET", "/v1/functions/one/logs?replica=..%2F..", NULL, NULL, 400,
		"bad_parameter");
}

static void follows_logs(void **state)
{
	struct world *w = *state;
	struct answer a;

	w->log_text = "{\"seq\":1,\"line\":\"hello\"}\n";
	put_ok(w, "one", SPEC, 201);
	ask_open(w, "GET", "/v1/functions/one/logs?follow=1", "Accept: text/event-stream\r\n", NULL,
		 &a);
	step_until(w, answer_has(&a, "id: 1\ndata: {\"seq\":1,\"line\":\"hello\"}\n\n"));
	assert_non_null(w->log_stream);
	gt_stream_write(w->log_stream, "{\"seq\":2,\"li", 12);
	gt_stream_write(w->log_stream, "ne\":\"more\"}\n", 12);
	step_until(w, answer_has(&a, "data: {\"seq\":2,\"line\":\"more\"}\n\n"));
	answer_fini(&a);
	step_until(w, !w->log_stream); /* the agent learns that nobody listens */
}

static void says_that_logs_can_not_be_had(void **state)
{
	struct world *w = *state;

	put_ok(w, "one", SPEC, 201);
	gt_http_server_free(w->agent);
	w->agent = NULL;
	shutdown(w->agent_fd, 2);
	refused(w, "GET", "/v1/functions/one/logs", NULL, NULL, 503, "unavailable");
}

#define t(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(reports_events_in_order),
		t(follows_events_after_history),
		t(continues_after_the_last_event),
		t(waits_for_a_state),
		t(a_waiting_client_may_leave),
		t(waiting_ends_with_the_function),
		t(shows_and_stops_replicas),
		t(passes_logs_on),
		t(follows_logs),
		t(says_that_logs_can_not_be_had),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
