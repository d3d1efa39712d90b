/* Several shards under one made-up clock: connections go to where their calls are at home, with
 * everything that is on them, and what there is one of is counted once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "../../../src/gateway/parts.h"
#include "script.h"

#define AUTH  "Authorization: Bearer " SCRIPT_TOKEN "\r\n"
#define OK_HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define CHAT  "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n" AUTH
#define N     3

static char names[N][8]; /* of functions; the i-th is at home on shard i */
static char *models[] = { (char *)"qwen" };

static int setup(void **state)
{
	struct script *s = script_open_shards(0, N);

	for (unsigned i = 0; i < N; i++)
		for (unsigned k = 0;
		     k == 0 || gt_shard_home(s->gw, names[i], strlen(names[i])) != i; k++)
			snprintf(names[i], sizeof(names[i]), "f%u", k);
	gt_strcopy(s->route.function, sizeof(s->route.function), names[0]);
	s->others[0] = names[1];
	s->others[1] = names[2];
	script_tell(s, 1);
	*state = s;
	return 0;
}

static struct gt_fn *fn_of(struct script *s, unsigned i)
{
	return gt_routes_function(s->shards[i], names[i], strlen(names[i]));
}

static int teardown(void **state)
{
	struct script *s = *state;

	s->mail_waits = false;
	for (size_t i = 0; i < s->n_ends; i++)
		if (s->ends[i].open && s->ends[i].role == SCRIPT_CLIENT)
			script_fail(&s->ends[i], ECONNRESET);
	assert_int_equal(gt_gw_conns(s->gw), 0);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(s->shards[i]->n_conns, 0);
		assert_int_equal(s->shards[i]->buffered, 0);
		assert_int_equal(fn_of(s, i)->in_flight + fn_of(s, i)->n_waiting, 0);
	}
	assert_int_equal(script_close(s), 0);
	return 0;
}

static const char *get(unsigned i)
{
	static char text[160];

	snprintf(text, sizeof(text), "GET /f/%s/x HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n", names[i]);
	return text;
}

/* The connection to a replica of the i-th function, of the last that was made. */
static struct script_end *up_of(struct script *s, unsigned i)
{
	const char *id = fn_of(s, i)->targets->id;

	for (size_t k = s->n_ends; k-- > 0;)
		if (s->ends[k].role == SCRIPT_UP && gt_streq(s->ends[k].name, id))
			return &s->ends[k];
	return NULL;
}

static void answers(struct script *s, unsigned i, const char *body)
{
	char text[100];

	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
		 strlen(body), body);
	assert_non_null(up_of(s, i));
	script_puts(up_of(s, i), text);
}

/* ---- homes ---- */

static void test_each_route_is_at_home_once(void **state)
{
	struct script *s = *state;

	for (unsigned i = 0; i < N; i++)
		for (unsigned k = 0; k < N; k++)
			assert_int_equal(gt_routes_function(s->shards[k], names[i],
							    strlen(names[i])) != NULL,
					 i == k);
}

static void test_route_that_goes_leaves_its_home(void **state)
{
	struct script *s = *state;
	gt_auto(buf) struct gt_buf out = { 0 };

	for (unsigned i = 0; i < N; i++) {
		struct gt_line line = { .type = GT_LINE_GONE, .epoch = 1, .seq = ++s->seq };

		gt_strcopy(line.name, sizeof(line.name), names[i]);
		gt_buf_reset(&out);
		gt_line_write(&line, &out);
		gt_routes_line(out.data, out.len - 1, s->gw);
		script_run(s);
		assert_null(fn_of(s, i));
	}
	script_tell(s, 1); /* for the teardown */
	assert_non_null(fn_of(s, 2));
}

static void test_homes_are_spread(void **state)
{
	struct script *s = *state;
	unsigned n[N] = { 0 };
	char name[16];

	for (unsigned i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "fn-%u", i);
		n[gt_shard_home(s->gw, name, strlen(name))]++;
	}
	for (unsigned i = 0; i < N; i++)
		assert_in_range(n[i], 850, 1150);
}

/* A gateway tells it to its successor, which may be of another version. */
static void test_hash_of_a_name_never_changes(void **state)
{
	(void)state;
	assert_int_equal(gt_shard_hash("echo", 4), 0x99ecb3f9);
}

/* ---- connections ---- */

static void test_connection_goes_where_its_call_is_at_home(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < N; i++) {
			gt_buf_reset(&c->got);
			script_puts(c, get(i));
			assert_int_equal(s->shards[i]->n_conns, 1);
			assert_int_equal(gt_gw_conns(s->gw), 1);
			assert_true(script_has(up_of(s, i), "X-Forwarded-For: 10.0.0.9\r\n"));
			answers(s, i, names[i]);
			assert_true(script_has(c, names[i]));
		}
}

static void test_next_request_stays(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");
	const struct gt_conn *at;

	script_puts(c, get(1));
	answers(s, 1, "one");
	at = s->shards[1]->conns;
	script_puts(c, get(1));
	answers(s, 1, "two");
	assert_ptr_equal(s->shards[1]->conns, at);
	assert_true(script_has(c, "two"));
}

static void test_pipelined_requests_for_several_shards(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");
	char text[700] = "";

	for (unsigned i = 0; i < 4; i++)
		strcat(text, get(i % N));
	script_puts(c, text);
	answers(s, 0, "one");
	answers(s, 1, "two");
	answers(s, 2, "three");
	answers(s, 0, "four");
	const char *got = gt_buf_str(&c->got), *last = got;

	for (unsigned i = 0; i < 4; i++) {
		static const char *const bodies[] = { "\r\n\r\none", "\r\n\r\ntwo", "\r\n\r\nthree",
						      "\r\n\r\nfour" };
		const char *at = strstr(got, bodies[i]);

		assert_non_null(at);
		assert_true(at > last);
		last = at;
	}
}

static void test_body_comes_before_while_and_after_it_moves(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");
	char head[200];

	snprintf(head, sizeof(head),
		 "POST /f/%s/x HTTP/1.1\r\nHost: h\r\n" AUTH "Content-Length: 12\r\n\r\nbefore",
		 names[1]);
	s->mail_waits = true;
	script_puts(c, head);
	script_puts(c, "in it");
	assert_null(up_of(s, 1));
	assert_int_equal(gt_gw_conns(s->gw), 1);
	assert_int_equal(s->shards[0]->n_conns + s->shards[1]->n_conns, 0);
	s->mail_waits = false;
	script_run(s);
	script_puts(c, "!");
	assert_true(script_has(up_of(s, 1), "\r\n\r\nbeforein it!"));
	answers(s, 1, "hi");
	assert_true(script_has(c, "hi"));
}

static void test_client_leaves_while_it_moves(void **state)
{
	struct script *s = *state;
	struct script_end *c;

	for (int reset = 0; reset < 2; reset++) {
		c = script_client(s, "10.0.0.9");
		s->mail_waits = true;
		script_puts(c, get(1));
		if (reset)
			script_fail(c, ECONNRESET);
		else
			script_eof(c);
		assert_true(c->open);
		s->mail_waits = false;
		script_run(s);
		assert_true(c->closed);
		assert_int_equal(gt_gw_conns(s->gw), 0);
		assert_int_equal(fn_of(s, 1)->in_flight + fn_of(s, 1)->n_waiting, 0);
	}
}

static void test_unsent_answer_moves_along(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");
	char text[400] = "";

	c->room = 10;
	strcat(text, get(0));
	strcat(text, get(1));
	script_puts(c, text);
	answers(s, 0, "first");
	assert_int_equal(c->got.len, 10);
	assert_int_equal(s->shards[1]->n_conns, 1);
	answers(s, 1, "second");
	script_room(c, 100000);
	assert_true(script_has(c, "\r\n\r\nfirstHTTP/1.1 200"));
	assert_true(script_has(c, "\r\n\r\nsecond"));
}

static void test_slow_client_is_timed_out_after_a_move(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, get(1));
	answers(s, 1, "hi");
	script_wait(s, GT_GW_IDLE_MS - 1);
	assert_false(c->closed);
	script_wait(s, 1);
	assert_true(c->closed);
}

static void test_end_with_letters_unread(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	s->mail_waits = true;
	script_puts(c, get(1));
	assert_int_equal(script_close(s), 0);
	setup(state);
}

/* ---- calls ---- */

static void test_one_slot_whoever_comes_from_where(void **state)
{
	struct script *s = *state;
	struct script_end *c[N];

	for (unsigned i = 0; i < N; i++) {
		c[i] = script_client_at(s, i, "10.0.0.9");
		script_puts(c[i], get(1));
	}
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(fn_of(s, 1)->in_flight, 1);
		assert_int_equal(fn_of(s, 1)->n_waiting, N - 1 - i);
		answers(s, 1, "hi");
	}
	for (unsigned i = 0; i < N; i++)
		assert_true(script_has(c[i], "200 OK"));
}

static void test_unknown_function_is_refused_by_its_home(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, "GET /f/nobody/ HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n");
	assert_true(script_has(c, "function_not_found"));
	script_puts(c, "GET /f/nobody/ HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_true(script_has(c, "HTTP/1.1 401"));
	uint64_t refused = 0;

	for (unsigned i = 0; i < N; i++)
		refused += s->shards[i]->stats.refusals[gt_refusal_index("function_not_found")];
	assert_int_equal(refused, 1);
}

static void test_call_before_the_routes_of_its_home(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	s->shards[1]->synced = false;
	script_puts(c, get(1));
	assert_null(up_of(s, 1));
	script_tell(s, 1);
	answers(s, 1, "hi");
	assert_true(script_has(c, "200 OK"));
}

static void test_call_before_the_routes_where_it_comes_in(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	s->shards[0]->synced = false;
	script_puts(c, get(1));
	assert_int_equal(s->shards[0]->n_conns, 1);
	script_tell(s, 1);
	answers(s, 1, "hi");
	assert_true(script_has(c, "200 OK"));
}

static void test_control_is_away_for_all(void **state)
{
	struct script *s = *state;

	gt_routes_down(NULL, s->gw);
	script_run(s);
	for (unsigned i = 0; i < N; i++) {
		struct script_end *c = script_client_at(s, i, "10.0.0.9");

		script_puts(c, "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n");
		assert_true(script_has(c, "\"control\":false"));
	}
	gt_routes_up(s->gw);
	script_run(s);
	assert_true(s->shards[2]->watch_up);
}

/* ---- OpenAI's API ---- */

static void serve_models(struct script *s)
{
	s->route.models = models; /* names[0]'s */
	s->route.n_models = 1;
	script_tell(s, 1);
}

static void test_call_goes_to_the_home_of_its_model(void **state)
{
	struct script *s = *state;
	const char *body = "{\"messages\":[{\"content\":\"hi\"}],\"model\":\"qwen\",\"n\":1}";
	char head[200];

	serve_models(s);
	snprintf(head, sizeof(head), CHAT "Content-Length: %zu\r\n\r\n", strlen(body));
	for (size_t cut = 0; cut <= strlen(body); cut++) {
		struct script_end *c = script_client_at(s, 1 + cut % 2, "10.0.0.9");

		script_puts(c, head);
		script_put(c, body, cut);
		script_puts(c, body + cut);
		assert_int_equal(s->shards[0]->n_conns, 1);
		assert_true(script_has(up_of(s, 0), body));
		answers(s, 0, "hello");
		assert_true(script_has(c, "hello"));
		gt_buf_reset(&up_of(s, 0)->got);
		script_eof(c);
		c->role = SCRIPT_FREE;
	}
}

static void test_model_in_chunks_and_a_request_behind_it(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client_at(s, 2, "10.0.0.9");

	serve_models(s);
	script_puts(c, CHAT "Transfer-Encoding: chunked\r\n\r\n"
			    "10\r\n{\"model\":\"qwen\",\r\n6\r\n\"n\":1}\r\n0\r\n\r\n");
	script_puts(c, get(2));
	assert_true(script_has(up_of(s, 0),
			       "10\r\n{\"model\":\"qwen\",\r\n6\r\n\"n\":1}\r\n0\r\n\r\n"));
	answers(s, 0, "hello");
	answers(s, 2, "world");
	assert_true(script_has(c, "hello"));
	assert_true(script_has(c, "world"));
}

static void test_stream_keeps_its_client_company_after_a_move(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client_at(s, 1, "10.0.0.9");

	serve_models(s);
	script_tell(s, 0);
	script_puts(c, CHAT "Content-Length: 30\r\n\r\n{\"model\":\"qwen\",\"stream\":true}");
	assert_int_equal(fn_of(s, 0)->n_waiting, 1);
	script_wait(s, 5000);
	assert_true(script_has(c, ": starting\n\n"));
}

static void test_model_that_nobody_has(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client_at(s, 1, "10.0.0.9"), *stranger;

	serve_models(s);
	script_puts(c, CHAT "Content-Length: 16\r\n\r\n{\"model\":\"none\"}");
	assert_true(script_has(c, "model_not_found"));
	stranger = script_client_at(s, 1, "10.0.0.9");
	script_puts(stranger, "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n"
			      "Content-Length: 16\r\n\r\n{\"model\":\"qwen\"}");
	assert_true(script_has(stranger, "HTTP/1.1 401"));
	s->route.n_models = 0;
	script_tell(s, 1);
	script_puts(c, CHAT "Content-Length: 16\r\n\r\n{\"model\":\"qwen\"}");
	assert_true(strstr(gt_buf_str(&c->got), "\\\"qwen\\\"") != NULL);
}

static void test_strangers_may_call_a_public_model(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client_at(s, 1, "10.0.0.9");

	s->route.access = GT_ACCESS_PUBLIC;
	serve_models(s);
	script_puts(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n"
		       "Content-Length: 16\r\n\r\n{\"model\":\"qwen\"}");
	answers(s, 0, "hello");
	assert_true(script_has(c, "hello"));
}

/* ---- what there is one of ---- */

static struct gt_demand all_demand(struct script *s)
{
	struct gt_demand d;

	gt_demander_build(s->gw, false, &d);
	gt_parts_add(s->gw, &d);
	return d;
}

/* Control has taken, or not, what there is to tell. */
static void posted(struct script *s, bool ok)
{
	struct gt_demand d = all_demand(s);

	gt_demand_fini(&d);
	s->gw->demand.full = !ok;
	gt_parts_done(s->gw, ok);
	script_run(s);
}

static const struct gt_demand_function *said_of(const struct gt_demand *d, unsigned i)
{
	for (size_t k = 0; k < d->n_functions; k++)
		if (gt_streq(d->functions[k].function, names[i]))
			return &d->functions[k];
	return NULL;
}

static void test_demand_of_all_in_one_post(void **state)
{
	struct script *s = *state;

	script_wait(s, 2000); /* full parts, of the first routes, are with shard 0 */
	assert_true(gt_parts_complete(s->gw));
	posted(s, true);
	assert_false(gt_parts_complete(s->gw));
	for (unsigned i = 0; i < N; i++)
		for (unsigned k = 0; k <= i; k++)
			script_puts(script_client(s, "10.0.0.9"), get(i));
	script_wait(s, 2000);
	posted(s, true);
	script_wait(s, 2000);
	struct gt_demand d = all_demand(s);

	assert_int_equal(d.stats.connections, 6);
	assert_int_equal(d.stats.accepted, 6);
	for (unsigned i = 0; i < N; i++) {
		assert_non_null(said_of(&d, i));
		assert_int_equal(said_of(&d, i)->in_flight, 1);
		assert_int_equal(said_of(&d, i)->queued, i);
	}
	gt_demand_fini(&d);
}

static void test_who_waits_without_a_replica_is_told_at_once(void **state)
{
	struct script *s = *state;

	script_tell(s, 0);
	script_wait(s, 2000);
	posted(s, true);
	script_puts(script_client(s, "10.0.0.9"), get(2)); /* and no time goes by */
	struct gt_demand d = all_demand(s);

	assert_non_null(said_of(&d, 2));
	assert_int_equal(said_of(&d, 2)->queued, 1);
	assert_true(s->gw->demand.urgent);
	gt_demand_fini(&d);
}

static void test_post_that_failed_is_told_as_a_whole(void **state)
{
	struct script *s = *state;

	script_puts(script_client(s, "10.0.0.9"), get(2));
	script_wait(s, 2000);
	posted(s, true);
	posted(s, false);
	assert_false(gt_parts_complete(s->gw));
	script_wait(s, 1000);
	assert_true(gt_parts_complete(s->gw));
	struct gt_demand d = all_demand(s);

	assert_non_null(said_of(&d, 2));
	gt_demand_fini(&d);
}

static void test_replica_without_calls_is_told_as_drained(void **state)
{
	struct script *s = *state;

	s->replicas[0].draining = true;
	script_tell(s, 1);
	script_wait(s, 2000);
	struct gt_demand d = all_demand(s);

	assert_int_equal(d.n_drained, N);
	gt_demand_fini(&d);
}

static void test_heads_without_end_of_another_shard_give_way(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client_at(s, 1, "10.0.0.9"), *call;
	static char much[20000];

	memset(much, 'a', sizeof(much));
	for (unsigned i = 0; i < N; i++)
		s->shards[i]->cfg.memory_bytes = 2048 * GT_KIB;
	script_puts(c, "GET / HTTP/1.1\r\n");
	script_wait(s, 1);
	for (unsigned i = 0; i < 75; i++) {
		c = script_client_at(s, 1, "10.0.0.9");
		script_puts(c, "GET / HTTP/1.1\r\nHost: h\r\n");
		for (unsigned k = 0; k < 4; k++) {
			script_puts(c, "X: ");
			script_put(c, much, 7000);
			script_puts(c, "\r\n");
		}
	}
	assert_in_range(gt_gw_buffered(s->gw), 1900 * GT_KIB, 2048 * GT_KIB + 64 * GT_KIB);
	call = script_client(s, "10.0.0.9");
	script_puts(call, get(0));
	assert_true(script_has(call, "HTTP/1.1 503"));
	call = script_client(s, "10.0.0.9");
	script_wait(s, 1);
	script_puts(call, get(0));
	answers(s, 0, "hi");
	assert_true(script_has(call, "200 OK"));
}

static void test_all_end_when_the_last_connection_has_ended(void **state)
{
	struct script *s = *state;
	struct script_end *idle[N], *busy;

	for (unsigned i = 0; i < N; i++)
		idle[i] = script_client_at(s, i, "10.0.0.9");
	busy = script_client(s, "10.0.0.9");
	script_puts(busy, get(2));
	s->gw->cfg.successor_fd = -1;
	gt_gw_quiesce(s->gw);
	assert_false(s->gw->quiet);
	script_run(s);
	assert_true(s->gw->quiet);
	for (unsigned i = 0; i < N; i++)
		assert_true(idle[i]->closed);
	assert_int_equal(gt_gw_conns(s->gw), 1);
	answers(s, 2, "hi");
	assert_true(script_has(busy, "Connection: close\r\n") || busy->shut || busy->closed);
	script_eof(busy);
	assert_int_equal(gt_gw_conns(s->gw), 0);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_each_route_is_at_home_once),
		TEST(test_route_that_goes_leaves_its_home),
		TEST(test_homes_are_spread),
		cmocka_unit_test(test_hash_of_a_name_never_changes),
		TEST(test_connection_goes_where_its_call_is_at_home),
		TEST(test_next_request_stays),
		TEST(test_pipelined_requests_for_several_shards),
		TEST(test_body_comes_before_while_and_after_it_moves),
		TEST(test_client_leaves_while_it_moves),
		TEST(test_unsent_answer_moves_along),
		TEST(test_slow_client_is_timed_out_after_a_move),
		TEST(test_end_with_letters_unread),
		TEST(test_one_slot_whoever_comes_from_where),
		TEST(test_unknown_function_is_refused_by_its_home),
		TEST(test_call_before_the_routes_of_its_home),
		TEST(test_call_before_the_routes_where_it_comes_in),
		TEST(test_control_is_away_for_all),
		TEST(test_call_goes_to_the_home_of_its_model),
		TEST(test_model_in_chunks_and_a_request_behind_it),
		TEST(test_stream_keeps_its_client_company_after_a_move),
		TEST(test_model_that_nobody_has),
		TEST(test_strangers_may_call_a_public_model),
		TEST(test_demand_of_all_in_one_post),
		TEST(test_who_waits_without_a_replica_is_told_at_once),
		TEST(test_post_that_failed_is_told_as_a_whole),
		TEST(test_replica_without_calls_is_told_as_drained),
		TEST(test_heads_without_end_of_another_shard_give_way),
		TEST(test_all_end_when_the_last_connection_has_ended),
	};

	gt_log_init("test", GT_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
