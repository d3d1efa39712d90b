/* Answers of OpenAI's API that are streams, on a virtual clock: the company that a waiting client
 * gets, errors as events, events in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script.h"

#define HEAD                                                                                   \
	"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " SCRIPT_TOKEN \
	"\r\n"
#define BODY "{\"model\":\"qwen\",\"stream\":true}"
#define ASK  HEAD "Content-Length: 30\r\n\r\n" BODY
#define SSE_HEAD                                                 \
	"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" \
	"Transfer-Encoding: chunked\r\n\r\n"
#define LAST     "0\r\n\r\n"
#define STARTING "c\r\n: starting\n\n\r\n"

/* The function serves "qwen"; no replica is ready. */
static int setup(void **state)
{
	static char *models[] = { (char *)"qwen" };
	struct script *s = script_open(0);

	s->route.models = models;
	s->route.n_models = 1;
	script_tell(s, 0);
	*state = s;
	return 0;
}

static struct gt_fn *fn_of(struct script *s)
{
	return gt_routes_function(s->gw, "echo", 4);
}

/* Nothing may be left: no slot, no buffered byte, no connection. */
static int teardown(void **state)
{
	struct script *s = *state;

	for (size_t i = 0; i < s->n_ends; i++)
		if (s->ends[i].open && s->ends[i].role == SCRIPT_CLIENT)
			script_fail(&s->ends[i], ECONNRESET);
	assert_int_equal(s->gw->n_conns, 0);
	assert_int_equal(s->gw->buffered, 0);
	assert_int_equal(fn_of(s)->in_flight, 0);
	assert_int_equal(fn_of(s)->n_waiting, 0);
	assert_int_equal(script_close(s), 0);
	return 0;
}

static struct script_end *up(struct script *s)
{
	struct script_end *e = script_up(s, SCRIPT_UP, 0);

	assert_non_null(e);
	assert_true(script_has(e, BODY));
	return e;
}

static size_t count(struct script_end *e, const char *text)
{
	size_t n = 0;

	for (const char *p = gt_buf_str(&e->got); (p = strstr(p, text)); p += strlen(text))
		n++;
	return n;
}

/* ---- waiting ---- */

static void test_comments_come_after_five_seconds_and_every_ten(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, ASK);
	script_wait(s, 4999);
	assert_int_equal(c->got.len, 0);
	script_wait(s, 1);
	assert_true(script_has(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"));
	assert_int_equal(count(c, "\r\nGantry-Trace-Id: "), 1); /* for when it fails later */
	assert_true(script_has(c, "Transfer-Encoding: chunked\r\n\r\n" STARTING));
	script_wait(s, 9999);
	assert_int_equal(count(c, STARTING), 1);
	script_wait(s, 1);
	assert_int_equal(count(c, STARTING), 2);
	script_tell(s, 1);
	script_wait(s, 10000); /* the replica thinks */
	assert_int_equal(count(c, "b\r\n: waiting\n\n\r\n"), 1);
	script_puts(up(s), SSE_HEAD "a\r\ndata: {}\n\n\r\n");
	script_wait(s, 60000);                       /* now it is the replica's to say something */
	assert_int_equal(count(c, ": "), 3 + 1 + 6); /* comments, the event, the head */
	script_puts(up(s), LAST);
	assert_true(script_has(c, "a\r\ndata: {}\n\n\r\n" LAST));
	assert_int_equal(count(c, "HTTP/1.1"), 1);
	assert_int_equal(fn_of(s)->stats.responses[2], 1);
	script_puts(c, "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"); /* the connection goes on */
	assert_true(script_has(c, "\"ok\""));
}

static void test_warm_stream_has_the_replicas_head(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	script_tell(s, 1);
	script_puts(c, ASK);
	script_wait(s, 4000);
	script_puts(up(s), SSE_HEAD "a\r\ndata: {}\n\n\r\n" LAST);
	assert_true(script_has(c, "Gantry-Replica: " SCRIPT_REPLICA));
	assert_true(script_has(c, "a\r\ndata: {}\n\n\r\n" LAST));
	script_wait(s, 20000);
	assert_int_equal(count(c, "waiting"), 0);
}

static void nothing_comes(struct script *s, const char *request)
{
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, request);
	script_wait(s, 50000);
	assert_int_equal(c->got.len, 0);
	script_fail(c, ECONNRESET);
}

static void test_others_are_left_alone(void **state)
{
	struct script *s = *state;

	nothing_comes(s, HEAD "Content-Length: 16\r\n\r\n{\"model\":\"qwen\"}");
	nothing_comes(s, HEAD "Content-Length: 31\r\n\r\n{\"model\":\"qwen\",\"stream\":false}");
	/* It knows no chunks. */
	nothing_comes(s, "POST /v1/completions HTTP/1.0\r\nAuthorization: Bearer " SCRIPT_TOKEN
			 "\r\nContent-Length: 30\r\n\r\n" BODY);
	/* It still has something to send. */
	nothing_comes(s, HEAD "Content-Length: 40\r\n\r\n" BODY);
}

static void test_client_that_leaves_is_noticed(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, ASK);
	script_wait(s, 6000);
	assert_true(script_has(c, STARTING));
	script_eof(c);
	assert_int_equal(fn_of(s)->n_waiting, 0);
	assert_true(c->closed);
}

static void test_client_that_does_not_read_is_cut(void **state)
{
	struct script *s = *state;
	struct script_end *c;

	s->room = 10;
	c = script_client(s, "10.0.0.9");
	script_puts(c, ASK);
	script_wait(s, 5000);
	assert_int_equal(c->got.len, 10);
	script_wait(s, 121000);
	assert_true(c->closed);
	assert_int_equal(fn_of(s)->n_waiting, 0);
}

static void test_stream_after_a_long_prompt_is_seen(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");
	size_t n = 200 * GT_KIB;
	gt_auto(free) char *prompt = gt_alloc(n + 1);

	memset(prompt, 'x', n);
	script_puts(c, HEAD "Transfer-Encoding: chunked\r\n\r\n3200d\r\n{\"messages\":\"");
	script_put(c, prompt, n);
	script_puts(c, "\r\n10\r\n\",\"model\":\"qwen\"\r\n"); /* queued */
	assert_int_equal(fn_of(s)->n_waiting, 1);
	script_puts(c, "f\r\n,\"stream\":true}\r\n0\r\n\r\n");
	script_wait(s, 5000);
	assert_true(script_has(c, STARTING));
}

/* ---- errors as events ---- */

/* A client that has a head, and a replica that has its request. */
static struct script_end *started(struct script *s, struct script_end **c)
{
	*c = script_client(s, "10.0.0.9");
	script_puts(*c, ASK);
	script_wait(s, 5000);
	assert_true(script_has(*c, STARTING));
	script_tell(s, 1);
	gt_buf_reset(&(*c)->got);
	return up(s);
}

static void told_as_event(struct script *s, const char *answer, const char *event)
{
	struct script_end *c, *replica = started(s, &c);

	script_puts(replica, answer);
	if (!script_has(c, event) || !script_has(c, LAST))
		fail_msg("%s: %s", answer, gt_buf_str(&c->got));
}

static void test_error_object_of_the_replica_passes(void **state)
{
	told_as_event(*state,
		      "HTTP/1.1 400 Bad Request\r\nContent-Length: 42\r\n\r\n"
		      "{\n\"error\": {\"message\": \"no\", \"code\": \"x\"}}\n",
		      "data: {\"error\":{\"message\":\"no\",\"code\":\"x\"}}\n\n");
}

static void test_other_objects_are_put_into_one(void **state)
{
	told_as_event(*state,
		      "HTTP/1.1 422 No\r\nTransfer-Encoding: chunked\r\n\r\n"
		      "11\r\n{\"detail\":\"never\"\r\n1\r\n}\r\n" LAST,
		      "data: {\"error\":{\"message\":\"never\",\"type\":\"invalid_request_error\","
		      "\"param\":null,\"code\":null}}\n\n");
}

static void test_words_of_the_replica_are_put_into_one(void **state)
{
	told_as_event(*state, "HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\ntoo\nbusy!",
		      "data: {\"error\":{\"message\":\"too\\nbusy!\",\"type\":\"server_error\",");
}

static void test_no_words_are_told_by_the_status(void **state)
{
	told_as_event(*state, "HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n",
		      "{\"error\":{\"message\":\"the replica answered with status 502\",");
}

static void test_answer_without_a_stream_is_an_error(void **state)
{
	told_as_event(*state, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		      "{\"error\":{\"message\":\"the replica answered no event stream");
}

static void test_silent_loss_is_an_event(void **state)
{
	struct script *s = *state;
	struct script_end *c, *replica = started(s, &c);

	script_eof(replica);
	assert_true(script_has(c, "\"code\":\"replica_lost\"}}\n\n\r\n" LAST));
	assert_int_equal(fn_of(s)->stats.responses[5], 1);
	assert_false(c->closed);
}

static void test_end_of_the_wait_is_an_event(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	s->route.wait_ms = 12000;
	script_tell(s, 0);
	script_puts(c, ASK);
	script_wait(s, 12000);
	assert_true(script_has(c, STARTING));
	assert_true(script_has(c, "\"code\":\"wait_timeout\"}}\n\n\r\n" LAST));
	assert_int_equal(count(c, "HTTP/1.1"), 1);
}

static void test_end_of_the_run_is_an_event(void **state)
{
	struct script *s = *state;
	struct script_end *c;

	s->route.run_ms = 8000;
	script_puts(started(s, &c), SSE_HEAD "a\r\ndata: {}\n\n\r\n");
	script_wait(s, 8000);
	assert_true(script_has(c, "data: {}\n\n\r\n"));
	assert_true(script_has(
		c, "{\"error\":{\"message\":\"limits.run: the answer did not end within 8s\","
		   "\"type\":\"server_error\",\"param\":\"limits.run\",\"code\":\"run_timeout\"}}"
		   "\n\n\r\n" LAST));
	assert_true(up(s)->closed);
}

/* ---- inside the stream ---- */

static struct script_end *streaming(struct script *s, struct script_end **c)
{
	*c = script_client(s, "10.0.0.9");
	script_tell(s, 1);
	script_puts(*c, ASK);
	script_puts(up(s), SSE_HEAD);
	return up(s);
}

static void test_lost_replica_is_told_in_the_stream(void **state)
{
	struct script *s = *state;
	struct script_end *c, *replica = streaming(s, &c);

	script_puts(replica, "e\r\ndata: {\"a\":1}\n\r\n");
	assert_false(script_has(c, "data")); /* an event is passed on when it is whole */
	script_puts(replica, "f\r\n\n: ping\ndata: {\r\n");
	assert_true(script_has(c, "data: {\"a\":1}\n\r\n8\r\n\n: ping\n\r\n"));
	script_eof(replica);
	assert_true(script_has(c,
			       "data: {\"error\":{\"message\":\"the replica closed the connection "
			       "inside its answer\",\"type\":\"server_error\",\"param\":null,"
			       "\"code\":\"replica_lost\"}}\n\n\r\n" LAST));
	assert_int_equal(count(c, "data: {"), 2); /* not the one that was cut off */
	assert_false(c->closed);
}

static void test_answer_that_is_no_http_is_told_in_the_stream(void **state)
{
	struct script *s = *state;
	struct script_end *c;

	script_puts(streaming(s, &c), "a\r\ndata: {}\n\nxx");
	assert_true(script_has(c, "\"code\":\"bad_gateway\"}}\n\n\r\n" LAST));
}

static void test_events_in_pieces_and_without_end(void **state)
{
	static const char text[] = "data: a\r\n\r\nevent: x\ndata: b\n\n:c\n\n\ndata: [DONE]";
	struct script *s = *state;
	struct script_end *c, *replica = streaming(s, &c);
	gt_auto(buf) struct gt_buf got = { 0 };

	for (const char *p = text; *p; p++) {
		char piece[] = "1\r\n_\r\n";

		piece[3] = *p;
		script_puts(replica, piece);
	}
	script_puts(replica, LAST);
	for (char *p = strstr(gt_buf_str(&c->got), "\r\n\r\n") + 4; *p != '0';) {
		size_t n = strtoul(p, &p, 16); /* the chunks, put together again */

		gt_buf_add(&got, p + 2, n);
		p += 2 + n + 2;
	}
	assert_string_equal(gt_buf_str(&got), text);
}

static void test_event_too_large_to_be_held(void **state)
{
	static char block[40000];
	struct script *s = *state;
	struct script_end *c, *replica = streaming(s, &c);

	memset(block, 'x', sizeof(block) - 1);
	for (int i = 0; i < 2; i++) {
		script_puts(replica, "9c3f\r\n");
		script_puts(replica, block);
		script_puts(replica, "\r\n");
	}
	assert_true(script_has(c, "xxx")); /* passed as it comes */
	script_puts(replica, "a\r\n\n\ndata: {\n\r\n");
	script_eof(replica);
	assert_true(script_has(c, "\"code\":\"replica_lost\"")); /* after its end: as ever */
}

static void test_cut_inside_an_event_too_large(void **state)
{
	static char block[70000];
	struct script *s = *state;
	struct script_end *c, *replica = streaming(s, &c);

	memset(block, 'x', sizeof(block) - 1);
	script_puts(replica, "1116f\r\n");
	script_puts(replica, block);
	script_eof(replica);
	assert_true(c->closed); /* nothing can follow half an event */
	assert_false(script_has(c, "error"));
	assert_false(script_has(c, "\r\n" LAST));
}

static void test_other_answers_are_cut(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	script_tell(s, 1);
	script_puts(c, ASK);
	script_puts(up(s), "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
			   "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
	assert_true(script_has(c, "abc"));
	script_eof(up(s));
	assert_true(c->closed);
	assert_false(script_has(c, LAST));
}

/* ---- without a stream ---- */

static void test_models_are_refused_in_openais_dialect_too(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	s->api_away = true; /* they are control's */
	script_puts(c, "GET /v1/models/qwen HTTP/1.1\r\nHost: h\r\n\r\n");
	script_wait(s, 5000);
	assert_true(script_has(c, "HTTP/1.1 503 "));
	assert_true(script_has(c, "Retry-After-Ms: 1000\r\nX-Should-Retry: true\r\n"));
	assert_true(script_has(c, "{\"error\":{\"message\":\"control could not be reached"));
}

/* 33 MiB of prompt, the model before or after it. */
static struct script_end *upload(struct script *s, const char *before, const char *after)
{
	static char block[GT_MIB];
	struct script_end *c = script_client(s, "10.0.0.9");
	char head[400];

	memset(block, 'x', sizeof(block));
	snprintf(head, sizeof(head), HEAD "Content-Length: %zu\r\n\r\n%s",
		 33 * sizeof(block) + strlen(before) + strlen(after), before);
	script_puts(c, head);
	for (int i = 0; i < 33 && !c->shut; i++)
		script_put(c, block, sizeof(block));
	if (!c->shut)
		script_puts(c, after);
	return c;
}

static void test_model_may_stand_behind_so_much_only(void **state)
{
	struct script *s = *state;
	struct script_end *c;

	s->route.body_bytes = 64 * GT_MIB;
	script_tell(s, 1);
	c = upload(s, "{\"prompt\":\"", "\",\"model\":\"qwen\"}");
	assert_true(script_has(c, "HTTP/1.1 413 "));
	assert_true(script_has(c, "larger than 33554432 bytes"));
	assert_null(script_up(s, SCRIPT_UP, 0));
	c = upload(s, "{\"model\":\"qwen\",\"prompt\":\"", "\"}");
	assert_int_equal(c->got.len, 0);
	script_puts(script_up(s, SCRIPT_UP, 0), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
	assert_true(script_has(c, "\r\n\r\nhi"));
	assert_true(script_up(s, SCRIPT_UP, 0)->got.len > 33 * GT_MIB);
}

/* ---- a second try ---- */

/* What had to be collected before the model was known is kept, however much it is. */
static void test_collected_body_can_be_sent_again(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9"), *again;
	size_t n = 300 * GT_KIB;
	gt_auto(free) char *prompt = gt_alloc(n + 1);
	char head[300];

	memset(prompt, 'x', n);
	script_tell(s, 1);
	script_puts(c, ASK);
	script_puts(up(s), SSE_HEAD LAST);
	gt_buf_reset(&c->got);
	gt_buf_reset(&script_up(s, SCRIPT_UP, 0)->got);
	snprintf(head, sizeof(head), HEAD "Content-Length: %zu\r\n\r\n{\"prompt\":\"",
		 n + strlen("{\"prompt\":\"\",\"model\":\"qwen\"}"));
	script_puts(c, head);
	script_put(c, prompt, n);
	script_puts(c, "\",\"model\":\"qwen\"}");
	assert_true(script_has(script_up(s, SCRIPT_UP, 0), "xxx\",\"model\":\"qwen\"}"));
	script_up(s, SCRIPT_UP, 0)->undelivered = true; /* crossed with the end of the connection */
	script_fail(script_up(s, SCRIPT_UP, 0), ECONNRESET);
	script_wait(s, 1000);
	again = script_up(s, SCRIPT_UP, 1);
	assert_non_null(again);
	assert_true(script_has(again, "{\"prompt\":\"xxx"));
	assert_true(script_has(again, "xxx\",\"model\":\"qwen\"}"));
	script_puts(again, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
	assert_true(script_has(c, "\r\n\r\nhi"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_comments_come_after_five_seconds_and_every_ten),
		T(test_warm_stream_has_the_replicas_head),
		T(test_others_are_left_alone),
		T(test_client_that_leaves_is_noticed),
		T(test_client_that_does_not_read_is_cut),
		T(test_stream_after_a_long_prompt_is_seen),
		T(test_error_object_of_the_replica_passes),
		T(test_other_objects_are_put_into_one),
		T(test_words_of_the_replica_are_put_into_one),
		T(test_no_words_are_told_by_the_status),
		T(test_answer_without_a_stream_is_an_error),
		T(test_silent_loss_is_an_event),
		T(test_end_of_the_wait_is_an_event),
		T(test_end_of_the_run_is_an_event),
		T(test_lost_replica_is_told_in_the_stream),
		T(test_answer_that_is_no_http_is_told_in_the_stream),
		T(test_events_in_pieces_and_without_end),
		T(test_event_too_large_to_be_held),
		T(test_cut_inside_an_event_too_large),
		T(test_other_answers_are_cut),
		T(test_models_are_refused_in_openais_dialect_too),
		T(test_model_may_stand_behind_so_much_only),
		T(test_collected_body_can_be_sent_again),
	};

	return cmocka_run_group_tests_name("gateway_sse", tests, NULL, NULL);
}
