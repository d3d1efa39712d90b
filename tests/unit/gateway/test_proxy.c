/* PROXY headers: what is read, what is refused, and whose connection it is then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy.h"
#include "script.h"

#define SIG   "\r\n\r\n\0\r\nQUIT\n"
#define TCP4  SIG "\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x30\x39\x01\xbb" /* 192.0.2.7 */
#define LOCAL SIG "\x20\0\0\0"

struct text {
	const char *at;
	size_t len;
};
#define T(s)                     \
	{                        \
		s, sizeof(s) - 1 \
	}

/* Fed in pieces of `step`; what follows the header must not be wanted. */
static enum gt_proxy_event feed(struct gt_proxy *p, struct text t, size_t step)
{
	enum gt_proxy_event ev = GT_PROXY_MORE;
	size_t at = 0;

	gt_proxy_begin(p);
	while (ev == GT_PROXY_MORE && at < t.len) {
		size_t n = GT_MIN(GT_MIN(step, gt_proxy_wants(p)), t.len - at);

		ev = gt_proxy_feed(p, t.at + at, n);
		at += n;
	}
	if (ev == GT_PROXY_DONE)
		assert_int_equal(at, p->size);
	return ev;
}

static void test_headers(void **state)
{
	static const struct {
		struct text text;
		const char *peer;
	} rows[] = {
		{ T(TCP4), "192.0.2.7" },
		{ T(TCP4 "GET / HTTP/1.1\r\n"), "192.0.2.7" },
		{ T(LOCAL), "" },
		{ T(SIG "\x20\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x30\x39\x01\xbb"), "" },
		{ T(SIG "\x20\xff\0\x02xx"), "" }, /* LOCAL: the rest is passed over */
		{ T(SIG "\x21\0\0\x03xyz"), "" },
		{ T(SIG "\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
			"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\0\x01\0\x02"),
		  "2001:db8::1" },
		{ T(SIG "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x07"
			"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x08\0\x01\0\x02"),
		  "192.0.2.7" },
		{ T(SIG "\x21\x11\0\x11\xc0\0\x02\x07\x0a\0\0\x01\x30\x39\x01\xbb\x04\0\x02zz"),
		  "192.0.2.7" },
	};
	struct gt_proxy p;

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		for (size_t step = 1; step < 70; step++) {
			assert_int_equal(feed(&p, rows[i].text, step), GT_PROXY_DONE);
			assert_string_equal(p.peer, rows[i].peer);
		}
	}
}

static void test_what_is_none(void **state)
{
	static const struct text rows[] = {
		T("GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
		T("PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n"), /* version 1 */
		T("\r\n\r\n\0\r\nQUIT\r"),
		T(SIG "\x11\x11\0\x0c"), /* version 1 in the place of 2 */
		T(SIG "\x22\x11\0\x0c"),
		T(SIG "\x21\x12\0\x0c"), /* UDP */
		T(SIG "\x21\x31\0\xd8"), /* a unix socket */
		T(SIG "\x21\x11\0\x0b"),
		T(SIG "\x21\x21\0\x23"),
		T(SIG "\x21\x11\x10\x01"),
		T(SIG "\x20\0\xff\xff"),
	};
	struct gt_proxy p;

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		for (size_t step = 1; step < 20; step++) {
			assert_int_equal(feed(&p, rows[i], step), GT_PROXY_BAD);
			assert_non_null(p.why);
		}
	}
}

static void test_unfinished_ones_wait(void **state)
{
	struct gt_proxy p;

	(void)state;
	for (size_t len = 0; len < sizeof(TCP4) - 1; len++)
		assert_int_equal(feed(&p, (struct text){ TCP4, len }, 5), GT_PROXY_MORE);
}

/* ---- in the gateway ---- */

#define GET "GET /f/echo/x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " SCRIPT_TOKEN "\r\n\r\n"

static struct gt_cidr balancers;

static struct script *open_with_balancers(void)
{
	struct script *s = script_open(1);

	assert_true(gt_cidr_parse("10.0.0.0/8", &balancers));
	s->gw->listeners[0].proxies = gt_alloc(sizeof(balancers));
	*s->gw->listeners[0].proxies = balancers;
	s->gw->listeners[0].n_proxies = 1;
	return s;
}

static void test_the_peer_is_the_one_behind_the_balancer(void **state)
{
	struct script *s = open_with_balancers();
	struct script_end *c = script_client(s, "10.1.2.3");
	struct gt_buf all = { 0 };

	(void)state;
	gt_buf_add(&all, TCP4, sizeof(TCP4) - 1);
	gt_buf_adds(&all, GET);
	for (size_t i = 0; i < all.len; i++)
		script_put(c, all.data + i, 1);
	assert_true(script_has(script_up(s, SCRIPT_UP, 0), "X-Forwarded-For: 192.0.2.7\r\n"));
	gt_buf_fini(&all);
	script_fail(c, ECONNRESET);
	assert_int_equal(script_close(s), 0);
}

static void test_others_are_taken_as_they_are(void **state)
{
	struct script *s = open_with_balancers();
	struct script_end *c = script_client(s, "192.0.2.1"), *liar = script_client(s, "192.0.2.1");

	(void)state;
	script_put(liar, TCP4, sizeof(TCP4) - 1);
	script_puts(liar, GET);
	assert_true(script_has(liar, "HTTP/1.1 400"));
	assert_null(script_up(s, SCRIPT_UP, 0));
	script_puts(c, GET);
	assert_true(script_has(script_up(s, SCRIPT_UP, 0), "X-Forwarded-For: 192.0.2.1\r\n"));
	script_fail(c, ECONNRESET);
	script_eof(liar);
	assert_int_equal(script_close(s), 0);
}

static void test_a_balancer_must_say_who_it_is_for(void **state)
{
	struct script *s = open_with_balancers();
	struct script_end *old = script_client(s, "10.1.2.3"), *slow = script_client(s, "10.1.2.3"),
			  *own = script_client(s, "10.1.2.3");

	(void)state;
	script_puts(old, "PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n" GET);
	assert_true(script_has(old, "HTTP/1.1 400"));
	assert_true(script_has(old, "begin with a PROXY header of version 2"));
	assert_true(old->shut);
	script_put(slow, TCP4, 20);
	script_put(own, LOCAL, sizeof(LOCAL) - 1);
	script_puts(own, GET);
	assert_true(script_has(script_up(s, SCRIPT_UP, 0), "X-Forwarded-For: 10.1.2.3\r\n"));
	script_wait(s, GT_GW_HEAD_MS + 10);
	assert_true(slow->closed);
	assert_int_equal(slow->got.len, 0);
	script_eof(old);
	script_fail(own, ECONNRESET);
	assert_int_equal(script_close(s), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_what_is_none),
		cmocka_unit_test(test_unfinished_ones_wait),
		cmocka_unit_test(test_the_peer_is_the_one_behind_the_balancer),
		cmocka_unit_test(test_others_are_taken_as_they_are),
		cmocka_unit_test(test_a_balancer_must_say_who_it_is_for),
	};

	return cmocka_run_group_tests_name("gateway_proxy", tests, NULL, NULL);
}
