/* Answers that are none, that contradict themselves, or that break off at any byte: the client
 * never takes them for whole, the slot is free, and the replica's connection serves nobody else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "script.h"

#define AUTH     "Authorization: Bearer " SCRIPT_TOKEN "\r\n"
#define GET_ECHO "GET /f/echo/x HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n"
#define LAST     "\r\n0\r\n\r\n"

struct play {
	struct script *s;
	struct script_end *client, *up;
};

static struct play begin(void)
{
	struct play p = { .s = script_open(1) };

	p.client = script_client(p.s, "10.0.0.9");
	script_puts(p.client, GET_ECHO);
	p.up = script_up(p.s, SCRIPT_UP, 0);
	assert_non_null(p.up);
	return p;
}

static void end(struct play *p, const char *what, size_t cut)
{
	struct gt_fn *fn = gt_routes_function(p->s->gw, "echo", 4);

	if (!p->up->closed || fn->in_flight || fn->targets->idle.n)
		fail_msg("%s, cut at %zu: the replica's connection or the slot is still in use",
			 what, cut);
	if (!p->client->closed)
		script_fail(p->client, ECONNRESET);
	assert_int_equal(p->s->gw->buffered, 0);
	assert_int_equal(script_close(p->s), 0);
}

static bool ends_in(struct script_end *e, const char *text)
{
	size_t n = strlen(text);

	return e->got.len >= n && !memcmp(e->got.data + e->got.len - n, text, n);
}

static size_t answers(struct script_end *e)
{
	size_t n = 0;

	for (const char *at = gt_buf_str(&e->got); (at = strstr(at, "HTTP/1.1 ")); at++)
		n++;
	return n;
}

/* In two pieces; SIZE_MAX: byte by byte. */
static void say(struct script_end *e, const char *text, size_t cut)
{
	size_t len = strlen(text);

	for (size_t i = 0; cut == SIZE_MAX && i < len; i++)
		script_put(e, text + i, 1);
	if (cut == SIZE_MAX)
		return;
	script_put(e, text, cut);
	script_put(e, text + cut, len - cut);
}

static void refused(const char *lie, size_t cut)
{
	struct play p = begin();

	say(p.up, lie, cut);
	if (!script_has(p.client, "HTTP/1.1 502 ") || !script_has(p.client, "bad_gateway") ||
	    answers(p.client) != 1)
		fail_msg("%s, cut at %zu: %s", lie, cut, gt_buf_str(&p.client->got));
	end(&p, lie, cut);
}

static void test_heads_that_are_none(void **state)
{
	static const char *const lies[] = {
		"SSH-2.0-OpenSSH\r\n\r\n",
		"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		" HTTP/1.1 200 OK\r\n\r\n",
		"http/1.1 200 OK\r\n\r\n",
		"HTTP/1.1200 OK\r\n\r\n",
		"HTTP/1.1  200 OK\r\n\r\n",
		"HTTP/1.1\t200 OK\r\n\r\n",
		"HTTP/1.2 200 OK\r\n\r\n",
		"HTTP/2.0 200 OK\r\n\r\n",
		"HTTP/1.1 20 OK\r\n\r\n",
		"HTTP/1.1 2000 OK\r\n\r\n",
		"HTTP/1.1 099 OK\r\n\r\n",
		"HTTP/1.1 2x0 OK\r\n\r\n",
		"HTTP/1.1 -20 OK\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nhi",
		"HTTP/1.1 200 OK\rContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
		"HTTP/1.1 200 OK\r\n X: a\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX\r\n\r\n",
		"HTTP/1.1 200 OK\r\n: a\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\001b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: "
		"chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: "
		"2\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
		"chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(lies); i++) {
		for (size_t cut = 0; cut <= strlen(lies[i]); cut++)
			refused(lies[i], cut);
		refused(lies[i], SIZE_MAX);
	}
}

/* The answer has begun: all that is left is that it does not look whole. */
static void cut_off(const char *lie, size_t cut)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi";
	struct play p = begin();

	script_puts(p.up, head);
	say(p.up, lie, cut);
	if (answers(p.client) != 1 || ends_in(p.client, LAST) || !p.client->closed)
		fail_msg("%s, cut at %zu: %s", lie, cut, gt_buf_str(&p.client->got));
	end(&p, lie, cut);
}

static void test_chunks_that_are_none(void **state)
{
	static const char *const lies[] = {
		"\n0\r\n\r\n",
		"!\r\n0\r\n\r\n",
		"\r0\r\n\r\n",
		"\r\n\r\n0\r\n\r\n",
		"\r\n-2\r\nhi\r\n0\r\n\r\n",
		"\r\n+2\r\nhi\r\n0\r\n\r\n",
		"\r\n0x2\r\nhi\r\n0\r\n\r\n",
		"\r\n 2\r\nhi\r\n0\r\n\r\n",
		"\r\n2 \r\nhi\r\n0\r\n\r\n",
		"\r\n2\nhi\r\n0\r\n\r\n",
		"\r\n10000000000000002\r\nhi\r\n0\r\n\r\n",
		"\r\n2;a\nb\r\nhi\r\n0\r\n\r\n",
		"\r\n1\r\nhi\r\n0\r\n\r\n",
		"\r\n0\n\r\n",
		"\r\n0\r\nX\r\n\r\n",
		"\r\n0\r\nX : y\r\n\r\n",
		"\r\n0\r\n X: y\r\n\r\n",
		"\r\n0\r\nX: y\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(lies); i++) {
		for (size_t cut = 0; cut <= strlen(lies[i]); cut++)
			cut_off(lies[i], cut);
		cut_off(lies[i], SIZE_MAX);
	}
}

/* Says the first n bytes of the answer, then ends orderly or not. */
static struct play break_off(const char *answer, size_t n, int error)
{
	struct play p = begin();

	script_put(p.up, answer, n);
	if (error)
		script_fail(p.up, error);
	else
		script_eof(p.up);
	return p;
}

static void test_answers_that_break_off_at_any_byte(void **state)
{
	static const char *const whole[] = {
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n"
		"2\r\nde\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
	};
	static const char *const last[] = { LAST, "\r\n\r\nabcde" };

	(void)state;
	for (size_t i = 0; i < GT_LEN(whole); i++)
		for (size_t n = 0; n < 2 * strlen(whole[i]); n++) {
			struct play p = break_off(whole[i], n / 2, n % 2 ? ECONNRESET : 0);
			bool told = script_has(p.client, "HTTP/1.1 502 ");

			if (ends_in(p.client, last[i]) || (!told && !p.client->closed))
				fail_msg("%s, %zu bytes: %s", whole[i], n / 2,
					 gt_buf_str(&p.client->got));
			end(&p, whole[i], n / 2);
		}
}

/* Where the end of the connection is the end of the body, a reset must stay one. */
static void test_answer_until_the_end_of_the_connection(void **state)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\n\r\nall of it";
	struct play p = break_off(answer, strlen(answer), 0);

	(void)state;
	assert_true(ends_in(p.client, "\r\n\r\nall of it"));
	assert_true(p.client->shut || p.client->closed);
	assert_false(p.client->reset);
	end(&p, answer, 0);
	p = break_off(answer, strlen(answer), ECONNRESET);
	assert_true(p.client->closed);
	assert_true(p.client->reset);
	end(&p, answer, 0);
}

static void test_what_follows_an_answer_is_nobodys(void **state)
{
	static const char *const surplus[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 stolen\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nHTTP/1.1 "
		"200 "
		"stolen\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nstolen",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nstolen",
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(surplus); i++)
		for (size_t cut = 0; cut <= strlen(surplus[i]); cut++) {
			struct play p = begin();

			say(p.up, surplus[i], cut);
			if (script_has(p.client, "stolen") || answers(p.client) != 1)
				fail_msg("%s, cut at %zu: %s", surplus[i], cut,
					 gt_buf_str(&p.client->got));
			end(&p, surplus[i], cut);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads_that_are_none),
		cmocka_unit_test(test_chunks_that_are_none),
		cmocka_unit_test(test_answers_that_break_off_at_any_byte),
		cmocka_unit_test(test_answer_until_the_end_of_the_connection),
		cmocka_unit_test(test_what_follows_an_answer_is_nobodys),
	};

	return cmocka_run_group_tests_name("lies", tests, NULL, NULL);
}
