/* Whoever has control's answer to a change of a function finds it in force, at one shard and at
 * several: the answer waits for the routes that it speaks of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "script.h"

#define AUTH "Authorization: Bearer " SCRIPT_TOKEN "\r\n"
#define PUT  "PUT /v1/functions/new HTTP/1.1\r\nHost: h\r\n" AUTH "Content-Length: 2\r\n\r\n{}"
#define N    3

static int setup_one(void **state)
{
	*state = script_open(1);
	return 0;
}

static int setup_several(void **state)
{
	*state = script_open_shards(1, N);
	return 0;
}

static int teardown(void **state)
{
	struct script *s = *state;

	s->mail_waits = false;
	for (size_t i = 0; i < s->n_ends; i++)
		if (s->ends[i].open && s->ends[i].role == SCRIPT_CLIENT)
			script_fail(&s->ends[i], ECONNRESET);
	assert_int_equal(gt_gw_conns(s->gw), 0);
	assert_int_equal(script_close(s), 0);
	return 0;
}

/* The next request to control, on a connection of that shard. */
static struct script_end *ask(struct script *s, unsigned shard, struct script_end **api)
{
	struct script_end *c = script_client_at(s, shard, "10.0.0.9");
	size_t n = 0;

	while (script_up(s, SCRIPT_API, n))
		n++;
	script_puts(c, PUT);
	*api = script_up(s, SCRIPT_API, n);
	assert_non_null(*api);
	return c;
}

static void answer(struct script_end *api, uint64_t seq)
{
	char text[200];

	snprintf(text, sizeof(text),
		 "HTTP/1.1 201 Created\r\nGantry-Routes: 1.%llu\r\nContent-Length: 4\r\n\r\nyes!",
		 (unsigned long long)seq);
	script_puts(api, text);
}

static bool answered(struct script_end *c)
{
	return script_has(c, "201 Created\r\n") && script_has(c, "\r\n\r\nyes!");
}

static bool known(struct script *s, const char *name)
{
	unsigned home = gt_shard_home(s->gw, name, strlen(name));

	return gt_routes_function(s->shards[home], name, strlen(name)) != NULL;
}

/* ---- wherever ---- */

static void test_answer_waits_for_the_watch(void **state)
{
	struct script *s = *state;
	struct script_end *api, *c = ask(s, s->gw->shards ? 1 : 0, &api);

	answer(api, s->seq + 1);
	assert_int_equal(c->got.len, 0);
	script_tell(s, 1);
	assert_true(answered(c));
	assert_false(script_has(c, "Gantry-Routes"));
	script_puts(c, "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"); /* the connection goes on */
	assert_true(script_has(c, "200 OK"));
}

static void test_answer_of_what_is_known_goes_at_once(void **state)
{
	struct script *s = *state;
	struct script_end *api, *c = ask(s, 0, &api);

	answer(api, s->seq);
	assert_true(answered(c));
	c = ask(s, 0, &api);
	script_puts(api, "HTTP/1.1 201 Created\r\nGantry-Routes: 0.99\r\n"
			 "Content-Length: 4\r\n\r\nyes!"); /* of a control before this one */
	assert_true(answered(c));
}

static void test_answer_that_says_nonsense_goes_at_once(void **state)
{
	static const char *const values[] = {
		"1",    "",    ".",
		"1.",   ".9",  "1.2.3",
		"1.-9", "a.b", "1.99999999999999999999999999999999999999999999999"
	};
	struct script *s = *state;
	char text[200];

	for (size_t i = 0; i < GT_LEN(values); i++) {
		struct script_end *api, *c = ask(s, 0, &api);

		snprintf(text, sizeof(text),
			 "HTTP/1.1 201 Created\r\nGantry-Routes: %s\r\nContent-Length: 4\r\n\r\n"
			 "yes!",
			 values[i]);
		script_puts(api, text);
		assert_true(answered(c));
	}
}

/* A replica's is its own affair, and not passed on. */
static void test_replica_may_say_what_it_wants(void **state)
{
	struct script *s = *state;
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, "GET /f/echo/ HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n");
	script_puts(script_up(s, SCRIPT_UP, 0),
		    "HTTP/1.1 200 OK\r\nGantry-Routes: 9.9\r\nContent-Length: 2\r\n\r\nhi");
	assert_true(script_has(c, "\r\n\r\nhi"));
	assert_false(script_has(c, "Gantry-Routes"));
}

static void test_long_answer_that_waits_is_whole(void **state)
{
	enum { LEN = 300000, FIRST = 20000 };
	static char body[LEN + 1];
	struct script *s = *state;
	struct script_end *api, *c = ask(s, 0, &api);
	char head[120];

	for (size_t i = 0; i < LEN; i++)
		body[i] = (char)('a' + i % 26);
	snprintf(head, sizeof(head),
		 "HTTP/1.1 200 OK\r\nGantry-Routes: 1.%llu\r\nContent-Length: %d\r\n\r\n",
		 (unsigned long long)s->seq + 1, LEN);
	script_add(api, head);
	script_put(api, body, FIRST); /* read with the head */
	assert_int_equal(c->got.len, 0);
	script_put(api, body + FIRST, LEN - FIRST);
	assert_int_equal(c->got.len, 0);
	script_tell(s, 1);
	assert_true(script_has(c, body));
}

static void test_answers_go_in_the_order_of_what_they_need(void **state)
{
	struct script *s = *state;
	struct script_end *api[3], *c[3];

	for (unsigned i = 0; i < 3; i++) {
		c[i] = ask(s, 0, &api[i]);
		answer(api[i], s->seq + 1 + i);
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_false(answered(c[i]));
		script_tell(s, 1);
		assert_true(answered(c[i]));
	}
}

static void test_later_control_has_all_that_an_earlier_one_told(void **state)
{
	struct script *s = *state;
	struct script_end *api, *c = ask(s, 0, &api);

	answer(api, s->seq + 1000);
	script_tell(s, 1);
	assert_false(answered(c));
	s->epoch = 2;
	script_tell(s, 1);
	assert_true(answered(c));
}

static void test_answer_waits_for_so_long(void **state)
{
	struct script *s = *state;
	struct script_end *api, *c = ask(s, 0, &api);

	answer(api, s->seq + 1);
	script_wait(s, GT_GW_REACH_MS - 1);
	assert_int_equal(c->got.len, 0);
	gt_log_init("test", GT_ERROR + 1); /* it warns */
	script_wait(s, 1);
	assert_true(answered(c));
	script_tell(s, 1); /* of no interest to anybody now */
}

static void test_client_leaves_while_its_answer_waits(void **state)
{
	struct script *s = *state;
	struct script_end *api, *c = ask(s, 0, &api);

	answer(api, s->seq + 1);
	script_fail(c, ECONNRESET);
	assert_true(c->closed && api->closed);
	script_tell(s, 1);
	c = ask(s, 0, &api);
	answer(api, s->seq + 1);
	script_tell(s, 1);
	assert_true(answered(c));
}

/* ---- several ---- */

/* Control's answer came to shard 2, the news to shard 0, and a box is read when it is read. */
static void test_answer_waits_until_every_shard_has_read_of_it(void **state)
{
	static const unsigned order[] = { 2, 0, 2, 1, 2 };
	struct script *s = *state;
	struct script_end *api, *c = ask(s, 2, &api);
	char name[16] = "";

	for (unsigned k = 0; !*name || gt_shard_home(s->gw, name, strlen(name)) != 1; k++)
		snprintf(name, sizeof(name), "f%u", k);
	s->mail_waits = true;
	gt_strcopy(s->route.function, sizeof(s->route.function), name);
	answer(api, s->seq + 1);
	script_tell(s, 1);
	for (size_t i = 0; i < GT_LEN(order); i++) {
		assert_false(answered(c));
		gt_shard_read(s->shards[order[i]]);
		script_run(s);
		assert_int_equal(known(s, name), i >= 3);
	}
	assert_true(answered(c));
}

static void test_end_while_an_answer_waits(void **state)
{
	struct script *s = *state;
	struct script_end *api, *c = ask(s, 1, &api);

	(void)c;
	answer(api, s->seq + 1); /* the letter is with shard 0 */
	assert_int_equal(script_close(s), 0);
	setup_several(state);
	s = *state;
	ask(s, 1, &api);
	s->mail_waits = true;
	answer(api, s->seq + 1); /* in its box */
	assert_int_equal(script_close(s), 0);
	setup_several(state);
}

int main(void)
{
#define ONE(t)     cmocka_unit_test_setup_teardown(t, setup_one, teardown)
#define SEVERAL(t) cmocka_unit_test_setup_teardown(t, setup_several, teardown)
#define BOTH(t)    ONE(t), SEVERAL(t)
	const struct CMUnitTest tests[] = {
		BOTH(test_answer_waits_for_the_watch),
		BOTH(test_answer_of_what_is_known_goes_at_once),
		BOTH(test_answer_that_says_nonsense_goes_at_once),
		BOTH(test_replica_may_say_what_it_wants),
		BOTH(test_long_answer_that_waits_is_whole),
		BOTH(test_answers_go_in_the_order_of_what_they_need),
		BOTH(test_later_control_has_all_that_an_earlier_one_told),
		BOTH(test_answer_waits_for_so_long),
		BOTH(test_client_leaves_while_its_answer_waits),
		SEVERAL(test_answer_waits_until_every_shard_has_read_of_it),
		SEVERAL(test_end_while_an_answer_waits),
	};

	gt_log_init("test", GT_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
