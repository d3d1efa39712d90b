/* What is asked of other nodes' agents, by way of the gateway. */
#include "fixture.h"

#define LINE(seq, ms, text) \
	"{\"seq\":" #seq ",\"ts\":\"2026-11-26T08:00:00." #ms "Z\",\"line\":\"" text "\"}\n"
#define ECHO "{\"image\":\"host:\",\"command\":[\"/echo\"],\"port\":8000}"

static void logs_of_two_nodes_are_in_the_order_of_time(void **state)
{
	struct world *w = *state;
	struct answer a;

	put_ok(w, "one", ECHO, 201);
	w->log_text = LINE(1, 100, "a") LINE(2, 300, "c") LINE(3, 200, "late");
	w->far_text = LINE(1, 200, "b") "\n" LINE(9, 400, "d");
	ask(w, "GET", "/v1/functions/one/logs?stream=stdout&tail=10", NULL, NULL, &a);
	assert_int_equal(a.status, 200);
	assert_string_equal(a.body, LINE(1, 100, "a") LINE(1, 200, "b") LINE(2, 300, "c")
					    LINE(3, 200, "late") LINE(9, 400, "d"));
	assert_string_equal(w->far_question,
			    "/link/v1/nodes/far/agent/link/v1/logs tail=10 after=0 ");
	assert_false(header_has(&a, "Gantry-Missing-Nodes"));
	answer_fini(&a);
	ask(w, "GET", "/v1/functions/one/logs?tail=2", "Accept: text/plain\r\n", NULL, &a);
	assert_string_equal(a.body, "late\nd\n");
	answer_fini(&a);
}

static void a_node_that_is_not_there_is_named(void **state)
{
	struct world *w = *state;
	struct answer a;

	put_ok(w, "one", ECHO, 201);
	w->log_text = LINE(1, 100, "a");
	ask(w, "GET", "/v1/functions/one/logs", NULL, NULL, &a);
	assert_string_equal(a.body, LINE(1, 100, "a"));
	assert_true(header_has(&a, "Gantry-Missing-Nodes: far"));
	answer_fini(&a);
	gt_http_server_free(w->agent); /* and nobody at all */
	w->agent = NULL;
	close(w->agent_fd);
	w->agent_fd = -1;
	ask(w, "GET", "/v1/functions/one/logs", NULL, NULL, &a);
	assert_int_equal(a.status, 503);
	answer_fini(&a);
}

static void say(struct gt_stream *stream, const char *text)
{
	assert_int_equal(gt_stream_write(stream, text, strlen(text)), 0);
}

static void follows_two_nodes_from_where_their_history_ends(void **state)
{
	struct world *w = *state;
	struct answer a;

	put_ok(w, "one", ECHO, 201);
	w->log_text = LINE(1, 100, "a");
	w->far_text = LINE(7, 200, "b");
	ask_open(w, "GET", "/v1/functions/one/logs?follow=1&tail=1", "Accept: text/plain\r\n", NULL,
		 &a);
	step_until(w, answer_has(&a, "b\n"));
	assert_false(answer_has(&a, "a\n"));
	step_until(w, w->log_stream && w->far_stream);
	assert_string_equal(w->far_question,
			    "/link/v1/nodes/far/agent/link/v1/logs tail=10000 after=7 ");
	say(w->far_stream, "{\"seq\":8,\"line\":\"mo");
	say(w->far_stream, "re\"}\n");
	step_until(w, answer_has(&a, "more\n"));
	say(w->log_stream, "{\"seq\":2,\"line\":\"near\"}\n");
	step_until(w, answer_has(&a, "near\n"));
	close(a.fd);
	a.fd = -1;
	step_until(w, !w->log_stream && !w->far_stream);
	answer_fini(&a);
}

static void one_replica_s_logs_are_asked_of_its_node(void **state)
{
	static const char id[] = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
	struct world *w = *state;
	struct answer a;

	put_ok(w, "one", ECHO, 201);
	observe(w, "far", id, "one", GT_REPLICA_READY);
	w->far_text = LINE(7, 200, "b");
	ask(w, "GET", "/v1/functions/one/logs?replica=01ARZ3NDEKTSV4RRFFQ69G5FAV", NULL, NULL, &a);
	assert_string_equal(a.body, LINE(7, 200, "b"));
	assert_string_equal(w->log_question, "");
	answer_fini(&a);
	w->far_text = NULL;
	ask(w, "GET", "/v1/functions/one/logs?replica=01ARZ3NDEKTSV4RRFFQ69G5FAV", NULL, NULL, &a);
	assert_int_equal(a.status, 503);
	assert_string_equal(gt_value_str(a.json, "code", ""), "node_unreachable");
	answer_fini(&a);
}

static void images_are_those_of_the_node_that_is_named(void **state)
{
	struct world *w = *state;
	struct answer a;

	w->far_text = "{\"items\":[]}";
	ask(w, "GET", "/v1/images?node=far", NULL, NULL, &a);
	assert_int_equal(a.status, 200);
	assert_string_equal(w->far_question,
			    "/link/v1/nodes/far/agent/link/v1/images tail=- after=- ");
	answer_fini(&a);
	w->far_text = NULL;
	ask(w, "GET", "/v1/images?node=far", NULL, NULL, &a);
	assert_int_equal(a.status, 503);
	assert_string_equal(gt_value_str(a.json, "code", ""), "node_unreachable");
	answer_fini(&a);
	ask(w, "GET", "/v1/images?node=none", NULL, NULL, &a);
	assert_int_equal(a.status, 404);
	answer_fini(&a);
}

/* This host's agent does not answer: a tag is looked up by another one. */
static void another_node_pins_a_tag(void **state)
{
	struct world *w = *state;
	struct answer a;

	gt_http_server_free(w->agent);
	w->agent = NULL;
	close(w->agent_fd);
	w->agent_fd = -1;
	w->far_text = "{\"digest\":\"sha256:"
		      "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\","
		      "\"port\":80,\"has_command\":true}";
	ask(w, "PUT", "/v1/functions/one", NULL, "{\"image\":\"registry.example/a:1\"}", &a);
	assert_int_equal(a.status, 201);
	assert_true(strstr(w->far_question, "/agent/link/v1/images/resolve ") != NULL);
	assert_true(strstr(w->far_question, "registry.example/a:1") != NULL);
	answer_fini(&a);
}

int main(void)
{
#define t(f) cmocka_unit_test_setup_teardown(f, world_setup_hosts, world_teardown)
	const struct CMUnitTest tests[] = {
		t(logs_of_two_nodes_are_in_the_order_of_time),
		t(a_node_that_is_not_there_is_named),
		t(follows_two_nodes_from_where_their_history_ends),
		t(one_replica_s_logs_are_asked_of_its_node),
		t(images_are_those_of_the_node_that_is_named),
		t(another_node_pins_a_tag),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
