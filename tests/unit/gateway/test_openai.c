/* Calls of OpenAI's API: the body as it comes, the queue before its end, refusals in OpenAI's
 * dialect, and answers that are streams. */
#include "world.h"

#include <string.h>
#include <sys/socket.h>

#define HEAD       "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN "\r\n"
#define BODY       "{\"messages\":[{\"content\":\"hi\"}],\"model\":\"qwen\",\"n\":1}"
#define STREAM     "{\"model\":\"qwen\",\"stream\":true}"
#define ASK_STREAM HEAD "Content-Length: 30\r\n\r\n" STREAM

/* Function "echo" serves "qwen". */
static struct peer ready_client(struct world *w, size_t replicas)
{
	static char *models[] = { (char *)"qwen" };

	w->route.models = models;
	w->route.n_models = 1;
	world_replicas(w, replicas);
	world_snapshot(w);
	return world_client(w);
}

static struct gt_call *call_of(struct world *w)
{
	UNTIL(w, w->gw->conns && w->gw->conns->call);
	return w->gw->conns->call;
}

static void answered(struct world *w, const char *request, const char *status, const char *has)
{
	struct peer c = world_client(w);

	peer_send(&c, request);
	UNTIL(w, peer_has(&c, "\r\n\r\n"));
	world_settle(w);
	if (!peer_has(&c, status) || !peer_has(&c, has))
		fail_msg("%s: %s", request, gt_buf_str(&c.got));
	peer_close(&c);
}

/* ---- the body ---- */

static void test_body_passes_as_it_is_at_any_cut(void **state)
{
	struct world *w = *state;
	const char *text = HEAD "Content-Length: 52\r\n\r\n" BODY;
	size_t head = strlen(text) - strlen(BODY);
	struct peer c = ready_client(w, 1);

	assert_int_equal(strlen(BODY), 52);
	for (size_t cut = head; cut <= strlen(text); cut += 7) {
		gt_buf_reset(&c.got);
		assert_int_equal(send(c.fd, text, cut, 0), cut);
		world_settle(w);
		assert_int_equal(send(c.fd, text + cut, strlen(text) - cut, 0), strlen(text) - cut);
		UNTIL(w, peer_has(world_up(w, 0), "\r\n\r\n" BODY));
		assert_true(peer_has(world_up(w, 0), "Content-Length: 52\r\n"));
		gt_buf_reset(&world_up(w, 0)->got);
		peer_send(world_up(w, 0), OK_HI);
		UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	}
	assert_int_equal(w->n_ups, 1);
	peer_close(&c);
}

static void test_queued_once_the_model_is_known_but_without_a_slot(void **state)
{
	struct world *w = *state;
	struct peer c = ready_client(w, 1);

	peer_send(&c, HEAD "Content-Length: 29\r\n\r\n{\"model\":");
	UNTIL(w, call_of(w)->state == GT_CALL_COLLECT);
	assert_int_equal(world_fn(w)->n_waiting, 0);
	peer_send(&c, "\"qwen\",");
	UNTIL(w, world_fn(w)->n_waiting == 1);
	world_settle(w);
	assert_int_equal(world_fn(w)->in_flight,
			 0); /* a replica is free, but the body is not here */
	assert_int_equal(w->n_ups, 0);
	peer_send(&c, "\"prompt\":\"x\"}");
	UNTIL(w, peer_has(world_up(w, 0), "{\"model\":\"qwen\",\"prompt\":\"x\"}"));
	peer_close(&c);
}

static void test_large_body_takes_its_slot_before_its_end(void **state)
{
	struct world *w = *state;
	static char block[50000];
	struct peer c = ready_client(w, 1);

	memset(block, 'x', sizeof(block) - 1);
	peer_send(&c, HEAD
		  "Transfer-Encoding: chunked\r\n\r\n1a\r\n{\"model\":\"qwen\",\"prompt\":\"\r\n");
	for (int i = 0; i < 3; i++) {
		peer_send(&c, "c34f\r\n");
		peer_send(&c, block);
		peer_send(&c, "\r\n");
		world_settle(w);
	}
	struct peer *up = world_up(w, 0);

	UNTIL(w,
	      peer_has(
		      up,
		      "Transfer-Encoding: chunked\r\n\r\n1a\r\n{\"model\":\"qwen\",\"prompt\":\""));
	peer_send(&c, "2\r\n\"}\r\n0\r\n\r\n");
	UNTIL(w, peer_has(up, "\"}\r\n0\r\n\r\n"));
	peer_send(up, OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	peer_close(&c);
}

static void test_second_model_never_reaches_the_replica_whole(void **state)
{
	struct world *w = *state;
	static char block[70000];
	struct peer c = ready_client(w, 1);

	memset(block, 'x', sizeof(block) - 1);
	peer_send(&c, HEAD "Content-Length: 200000\r\n\r\n{\"model\":\"qwen\",\"prompt\":\"");
	peer_send(&c, block);
	UNTIL(w, peer_has(world_up(w, 0), "\"prompt\":\"xxx"));
	peer_send(&c, "\",\"model\":\"other\"");
	UNTIL(w, peer_has(&c, "HTTP/1.1 400"));
	assert_true(peer_has(&c, "\\\"model\\\" is given twice; keep one"));
	UNTIL(w, peer_eof(world_up(w, 0)));
	assert_false(peer_has(world_up(w, 0), "other"));
	assert_int_equal(world_fn(w)->in_flight, 0);
	peer_close(&c);
}

static void test_equal_prompts_go_to_one_replica(void **state)
{
	struct world *w = *state;
	char body[6000], text[7000];
	struct peer a, b, c;

	memset(body, 'x', sizeof(body));
	memcpy(body, "{\"model\":\"qwen\",\"prompt\":\"",
	       strlen("{\"model\":\"qwen\",\"prompt\":\""));
	memcpy(body + sizeof(body) - 3, "\"}", 3);
	snprintf(text, sizeof(text), HEAD "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
	w->route.concurrency = 4;
	a = ready_client(w, 2);
	b = world_client(w);
	c = world_client(w);
	peer_send(&a, text);
	assert_non_null(world_up(w, 0));
	peer_send(&b, text); /* the other replica is idle, but has not seen the prompt */
	assert_non_null(world_up(w, 1));
	peer_send(&c, GET_ECHO);
	assert_non_null(world_up(w, 2));
	assert_string_equal(w->ups[0].replica, w->ups[1].replica);
	assert_string_not_equal(w->ups[0].replica, w->ups[2].replica);
	peer_close(&a);
	peer_close(&b);
	peer_close(&c);
}

static void test_form_goes_by_its_model(void **state)
{
	struct world *w = *state;
	struct peer c = ready_client(w, 1);
	static const char form[] =
		"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n"
		"RIFF\r\n--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nqwen\r\n"
		"--XX--\r\n";
	char head[256];

	snprintf(
		head, sizeof(head),
		"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN
		"\r\nContent-Type: multipart/form-data; boundary=XX\r\nContent-Length: %zu\r\n\r\n",
		strlen(form));
	peer_send(&c, head);
	peer_send(&c, form);
	UNTIL(w, peer_has(world_up(w, 0), form));
	peer_send(world_up(w, 0), OK_HI);
	UNTIL(w, peer_has(&c, "\r\n\r\nhi"));
	peer_close(&c);
}

static void test_refusals_in_openais_dialect(void **state)
{
	struct world *w = *state;
	struct peer c;

	w->route.queue = 1;
	c = ready_client(w, 0);
	answered(w, HEAD "Content-Length: 17\r\n\r\n{\"model\":\"other\"}", "HTTP/1.1 404",
		 "X-Should-Retry: false\r\n");
	answered(w, HEAD "Content-Length: 17\r\n\r\n{\"model\":\"other\"}", "HTTP/1.1 404",
		 "{\"error\":{\"message\":\"no function serves the model \\\"other\\\"\","
		 "\"type\":\"invalid_request_error\",\"param\":\"model\",\"code\":\"model_not_"
		 "found\"}}");
	answered(w, HEAD "Content-Length: 9\r\n\r\n{\"model\"}", "HTTP/1.1 400",
		 "byte 8: a colon belongs here");
	answered(w,
		 "GET /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN
		 "\r\n\r\n",
		 "HTTP/1.1 405", "Allow: POST\r\n");
	answered(w, HEAD "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 415",
		 "{\"error\":");
	answered(w,
		 HEAD "Content-Type: application/json\r\nContent-Type: text/x\r\nContent-Length: 2"
		      "\r\n\r\n{}",
		 "HTTP/1.1 400", "{\"error\":");
	answered(w, HEAD "Content-Type: multipart/form-data\r\nContent-Length: 2\r\n\r\n{}",
		 "HTTP/1.1 400", "Content-Type: give one boundary");
	answered(w,
		 HEAD "Content-Type: application/json\r\nConnection: content-type\r\n"
		      "Content-Length: 2\r\n\r\n{}",
		 "HTTP/1.1 400", "malformed_request");
	peer_send(&c, ASK_STREAM);
	UNTIL(w, world_fn(w)->n_waiting == 1);
	answered(w, ASK_STREAM, "HTTP/1.1 429",
		 "Retry-After: 2\r\nRetry-After-Ms: 2000\r\n"
		 "X-Should-Retry: true\r\n");
	peer_close(&c);
}

static void test_images_of_containers_stay_controls(void **state)
{
	struct world *w = *state;
	struct peer c = ready_client(w, 1), api;

	peer_send(&c, "POST /v1/images/gc HTTP/1.1\r\nHost: h\r\n\r\n");
	UNTIL(w, world_accept_api(w, &api) == 0);
	UNTIL(w, peer_has(&api, "POST /v1/images/gc"));
	answered(w,
		 "POST /v1/images/edits HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN
		 "\r\nContent-Length: 2\r\n\r\n{}",
		 "HTTP/1.1 400", "\"param\":\"model\"");
	peer_close(&api);
	peer_close(&c);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_body_passes_as_it_is_at_any_cut),
		T(test_queued_once_the_model_is_known_but_without_a_slot),
		T(test_large_body_takes_its_slot_before_its_end),
		T(test_second_model_never_reaches_the_replica_whole),
		T(test_equal_prompts_go_to_one_replica),
		T(test_form_goes_by_its_model),
		T(test_refusals_in_openais_dialect),
		T(test_images_of_containers_stay_controls),
	};

	return cmocka_run_group_tests_name("gateway_openai", tests, NULL, NULL);
}
