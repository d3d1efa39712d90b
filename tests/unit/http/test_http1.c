/* The codec's rules that the vectors do not cover, responses, and the writers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../../src/http/http1_priv.h"
#include <gantry/base/clock.h>
#include <gantry/http/digest.h>

/* Reads one message; `body` collects its body, *left gets what was not used. */
static enum gt_h1_event read_all(struct gt_h1 *h, const char *text, size_t len, struct gt_buf *body,
				 size_t *left)
{
	for (;;) {
		struct gt_h1_body piece;
		size_t used;
		enum gt_h1_event ev = gt_h1_feed(h, text, len, &used, &piece);

		text += used;
		len -= used;
		*left = len;
		if (ev == GT_H1_DATA)
			gt_buf_add(body, piece.data, piece.len);
		if (ev == GT_H1_BAD || ev == GT_H1_END || ev == GT_H1_MORE)
			return ev;
	}
}

struct result {
	struct gt_h1 h;
	struct gt_buf body;
	size_t left;
	enum gt_h1_event ev;
};

static void parse(struct result *r, enum gt_h1_kind kind, const char *text, bool to_head)
{
	gt_h1_init(&r->h, kind);
	r->h.to_head = to_head;
	gt_buf_init(&r->body, 0);
	r->ev = read_all(&r->h, text, strlen(text), &r->body, &r->left);
}

static void release(struct result *r)
{
	gt_h1_fini(&r->h);
	gt_buf_fini(&r->body);
}

static void refused(enum gt_h1_kind kind, const char *text, const char *slug)
{
	struct result r;

	parse(&r, kind, text, false);
	if (r.ev != GT_H1_BAD || strcmp(r.h.slug, slug) != 0)
		fail_msg("%s: event %d, %s instead of %s", text, r.ev, r.h.slug ? r.h.slug : "-",
			 slug);
	assert_non_null(r.h.why);
	release(&r);
}

static void accepted(enum gt_h1_kind kind, const char *text, const char *target, const char *body)
{
	struct result r;

	parse(&r, kind, text, false);
	if (r.ev != GT_H1_END)
		fail_msg("%s: event %d %s", text, r.ev, r.h.why ? r.h.why : "");
	if (target && !gt_h1_is(&r.h, r.h.target, target))
		fail_msg("%s: target %.*s", text, r.h.target.len, gt_h1_text(&r.h, r.h.target));
	assert_string_equal(gt_buf_str(&r.body), body);
	release(&r);
}

static void test_targets(void **state)
{
	(void)state;
	accepted(GT_H1_REQUEST, "GET http://A:1/x?y HTTP/1.1\r\nHost: a:1\r\n\r\n", "/x?y", "");
	accepted(GT_H1_REQUEST, "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", "/", "");
	accepted(GT_H1_REQUEST, "GET https://ab?q HTTP/1.1\r\nHost: ab\r\n\r\n", "/?q", "");
	accepted(GT_H1_REQUEST, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*", "");
	accepted(GT_H1_REQUEST, "GET / HTTP/1.0\r\n\r\n", "/", "");
	refused(GT_H1_REQUEST, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request");
	refused(GT_H1_REQUEST, "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request");
	refused(GT_H1_REQUEST, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "method_not_allowed");
	refused(GT_H1_REQUEST, "GET x HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request");
	refused(GT_H1_REQUEST, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "malformed_request");
	refused(GT_H1_REQUEST, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http_version");
	refused(GT_H1_REQUEST, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request");
	refused(GT_H1_REQUEST, "\x16\x03\x01", "malformed_request");
}

static void test_fields(void **state)
{
	(void)state;
	refused(GT_H1_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n",
		"malformed_request");
	refused(GT_H1_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, authorization\r\n\r\n",
		"malformed_request");
	refused(GT_H1_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1\r\n\r\n",
		"malformed_request");
	refused(GT_H1_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx_a: 1\r\n\r\n",
		"malformed_request");
	accepted(GT_H1_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\nmy_own: 1\r\n\r\n", "/", "");
	refused(GT_H1_REQUEST, "POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",
		"expectation_failed");
	refused(GT_H1_REQUEST, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
		"not_implemented");
	refused(GT_H1_REQUEST,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n",
		"malformed_request");
}

static void repeat(struct gt_buf *b, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		gt_buf_adds(b, s);
}

static void test_limits(void **state)
{
	(void)state;
	struct gt_buf b;

	gt_buf_init(&b, 0);
	gt_buf_adds(&b, "GET /");
	repeat(&b, "a", GT_H1_LINE_MAX);
	refused(GT_H1_REQUEST, gt_buf_str(&b), "uri_too_long");
	gt_buf_reset(&b);
	gt_buf_adds(&b, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
	repeat(&b, "a", GT_H1_LINE_MAX);
	refused(GT_H1_REQUEST, gt_buf_str(&b), "headers_too_large");
	gt_buf_reset(&b);
	gt_buf_adds(&b, "GET / HTTP/1.1\r\nHost: a\r\n");
	repeat(&b, "A: b\r\n", GT_H1_FIELDS_MAX);
	refused(GT_H1_REQUEST, gt_buf_str(&b), "headers_too_large");
	gt_buf_reset(&b);
	gt_buf_adds(&b, "GET / HTTP/1.1\r\nHost: a\r\n");
	for (int i = 0; i < 10; i++) {
		gt_buf_adds(&b, "A: ");
		repeat(&b, "b", 4000);
		gt_buf_adds(&b, "\r\n");
	}
	refused(GT_H1_REQUEST, gt_buf_str(&b), "headers_too_large");
	gt_buf_reset(&b);
	repeat(&b, "M", GT_H1_METHOD_MAX + 1);
	gt_buf_adds(&b, " / HTTP/1.1\r\n");
	refused(GT_H1_REQUEST, gt_buf_str(&b), "not_implemented");
	gt_buf_reset(&b);
	gt_buf_adds(&b, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
	repeat(&b, "A: bbbbbbbbbb\r\n", 1000);
	refused(GT_H1_REQUEST, gt_buf_str(&b), "headers_too_large");
	gt_buf_reset(&b);
	gt_buf_adds(&b, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;");
	repeat(&b, "x", 300);
	refused(GT_H1_REQUEST, gt_buf_str(&b), "malformed_request");
	gt_buf_fini(&b);
}

#define CHUNKED "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"

static void test_chunked(void **state)
{
	(void)state;
	accepted(GT_H1_REQUEST,
		 CHUNKED "3;q=\"x\"\r\nabc\r\n00a\r\n0123456789\r\n000\r\nX: y\r\n\r\n", "/",
		 "abc0123456789");
	refused(GT_H1_REQUEST, CHUNKED "0\r\n X: y\r\n\r\n", "malformed_request");
	refused(GT_H1_REQUEST, CHUNKED "0\r\nXy\r\n\r\n", "malformed_request");
	refused(GT_H1_REQUEST, CHUNKED "0\r\n: y\r\n\r\n", "malformed_request");
	refused(GT_H1_REQUEST, CHUNKED "ffffffffffffffff\r\n", "malformed_request");
	refused(GT_H1_REQUEST, CHUNKED ";a\r\n", "malformed_request");
	refused(GT_H1_REQUEST, CHUNKED "3\r\nabc\r\n0\r\n\rX", "malformed_request");
}

static void test_responses(void **state)
{
	(void)state;
	struct result r;

	accepted(GT_H1_RESPONSE, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", NULL, "hi");
	accepted(GT_H1_RESPONSE, "HTTP/1.1 204\r\nContent-Length: 2\r\n\r\n", NULL, "");
	accepted(GT_H1_RESPONSE, "HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n", NULL, "");
	accepted(GT_H1_RESPONSE, "HTTP/1.1 100 Continue\r\n\r\n", NULL, "");
	refused(GT_H1_RESPONSE,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
		"malformed_request");
	refused(GT_H1_RESPONSE, "HTTP/1.1 200 OK\nA: b\n\n", "malformed_request");
	refused(GT_H1_RESPONSE, "HTTP/1.1 2000 OK\r\n\r\n", "bad_gateway");
	refused(GT_H1_RESPONSE, "HTTP/1.1 099 OK\r\n\r\n", "bad_gateway");
	refused(GT_H1_RESPONSE, "hello\r\n\r\n", "malformed_request");

	parse(&r, GT_H1_RESPONSE, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP", true);
	assert_int_equal(r.ev, GT_H1_END); /* to a HEAD: no body whatever the head says */
	assert_int_equal(r.left, 4);
	release(&r);

	parse(&r, GT_H1_RESPONSE, "HTTP/1.0 200 OK\r\n\r\nuntil the end", false);
	assert_int_equal(r.ev, GT_H1_MORE);
	assert_string_equal(gt_buf_str(&r.body), "until the end");
	assert_false(r.h.keep_alive);
	assert_int_equal(gt_h1_eof(&r.h), GT_H1_END);
	release(&r);

	parse(&r, GT_H1_RESPONSE, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", false);
	assert_int_equal(gt_h1_eof(&r.h), GT_H1_BAD);
	release(&r);
}

static bool keeps(const char *text)
{
	struct result r;

	parse(&r, GT_H1_REQUEST, text, false);
	assert_int_equal(r.ev, GT_H1_END);
	bool keep = r.h.keep_alive;

	release(&r);
	return keep;
}

static void test_find_by_text(void **state)
{
	(void)state;
	struct result r = { 0 };

	parse(&r, GT_H1_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\nX-User: 1\r\nx-user: 2\r\n\r\n",
	      false);
	const struct gt_h1_field *f = gt_h1_find_text(&r.h, "x-USER");

	assert_non_null(f);
	assert_true(gt_h1_is(&r.h, f->value, "1"));
	assert_non_null(gt_h1_find_text(&r.h, "host"));
	assert_null(gt_h1_find_text(&r.h, "X-Use"));
	release(&r);
}

static void test_keep_alive(void **state)
{
	(void)state;
	assert_true(keeps("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_false(keeps("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"));
	assert_false(keeps("GET / HTTP/1.0\r\nHost: a\r\n\r\n"));
	assert_true(keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
}

static void test_pipelined_bytes_are_left(void **state)
{
	(void)state;
	struct result r;

	parse(&r, GT_H1_REQUEST,
	      "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", false);
	assert_int_equal(r.ev, GT_H1_END);
	assert_int_equal(r.left, strlen("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"));
	gt_h1_reset(&r.h);
	assert_false(gt_h1_started(&r.h));
	release(&r);
}

static bool says(const struct gt_h1 *h, struct gt_h1_span s, const char *text)
{
	return s.len == strlen(text) && memcmp(gt_h1_text(h, s), text, s.len) == 0;
}

static void test_the_line_is_kept_while_the_body_comes(void **state)
{
	(void)state;
	static const char head[] = "\r\nPOST /f/x?y HTTP/1.1\r\nHost: a\r\nTE: x\r\n"
				   "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
			  rest[] = "3\r\nabc\r\n0\r\nT: x\r\n\r\nG",
			  next[] = "GET / HTTP/1.1\r\nHost: b\r\n\r\n";
	struct result r;
	struct gt_h1_body piece;
	size_t used;

	gt_h1_init(&r.h, GT_H1_REQUEST);
	gt_buf_init(&r.body, 0);
	assert_int_equal(gt_h1_feed(&r.h, head, strlen(head), &used, &piece), GT_H1_HEAD);
	gt_h1_keep_line(&r.h);
	assert_int_equal(r.h.head_cap, strlen("POST /f/x?y") + 1);
	assert_null(r.h.fields);
	assert_true(says(&r.h, r.h.method, "POST") && says(&r.h, r.h.target, "/f/x?y"));
	assert_int_equal(read_all(&r.h, rest, strlen(rest), &r.body, &r.left), GT_H1_END);
	assert_string_equal(gt_buf_str(&r.body), "abc");
	assert_int_equal(r.left, 1);
	assert_false(r.h.keep_alive);
	gt_h1_reset(&r.h);
	assert_int_equal(read_all(&r.h, next, strlen(next), &r.body, &r.left), GT_H1_END);
	assert_true(says(&r.h, r.h.target, "/") && gt_h1_find(&r.h, GT_H1_HOST) && r.h.keep_alive);
	release(&r);
}

static void test_write_request(void **state)
{
	(void)state;
	struct result r;
	struct gt_buf out;
	struct gt_h1_header extra[] = { gt_h1_header("X-Forwarded-For", "10.0.0.1"),
					gt_h1_header("X-None", NULL) };
	struct gt_h1_rewrite rw = {
		.target = "/rest?q",
		.target_len = 7,
		.drop_authorization = true,
		.framing = GT_H1_CHUNKED,
		.extra = extra,
		.n_extra = 2,
	};

	parse(&r, GT_H1_REQUEST,
	      "POST /f/e/rest?q HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\n"
	      "Forwarded: for=6\r\nAuthorization: Bearer t\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
	      "Keep-Alive: 1\r\nProxy-Authorization: x\r\nTE: trailers\r\nTrailer: a\r\n"
	      "Expect: 100-continue\r\nX-Request-Id: r\r\nUpgrade: h2c\r\nA:  b \t\r\n"
	      "Transfer-Encoding: chunked\r\n\r\n",
	      false);
	assert_int_equal(r.ev, GT_H1_MORE);
	assert_true(r.h.expect_continue);
	assert_false(r.h.websocket);
	gt_buf_init(&out, 0);
	assert_int_equal(gt_h1_write_request(&r.h, &rw, &out), 0);
	assert_string_equal(
		gt_buf_str(&out),
		"POST /rest?q HTTP/1.1\r\nHost: h\r\nA: b\r\nX-Forwarded-For: 10.0.0.1\r\n"
		"Transfer-Encoding: chunked\r\n\r\n");
	extra[0] = gt_h1_header("X-Forwarded-For", "a\r\nEvil: 1");
	assert_int_equal(gt_h1_write_request(&r.h, &rw, &out), -EINVAL);
	gt_buf_fini(&out);
	release(&r);
}

/* Sixteen at a time or one by one: the table decides. */
static void test_runs_of_characters_end_where_the_table_says(void **state)
{
	uint64_t seed = 1;
	struct gt_rand rnd = gt_rand_seeded(&seed);
	char s[100];

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		size_t len = i % sizeof(s), text = 0, token = 0;
		bool found = false, underscored = false;
		uint8_t wild[3];

		memset(s, "az-09_AZ"[i / 100 % 8], sizeof(s));
		rnd.fill(rnd.arg, wild, sizeof(wild));
		s[wild[0] % sizeof(s)] = (char)wild[1];
		s[wild[2] % sizeof(s)] = (char)(i % 256);
		while (text < len && (gt_h1_class[(uint8_t)s[text]] & H1_TEXT))
			text++;
		while (token < len && (gt_h1_class[(uint8_t)s[token]] & H1_TCHAR))
			found |= s[token++] == '_';
		assert_int_equal(gt_h1_text_len(s, len), text);
		assert_int_equal(gt_h1_token_len(s, len, &underscored), token);
		assert_int_equal(underscored, found);
	}
}

static void test_write_response(void **state)
{
	(void)state;
	struct result r;
	struct gt_buf out;
	struct gt_h1_rewrite rw = { .framing = GT_H1_LENGTH,
				    .length = 2,
				    .connection = GT_H1_CLOSE };

	parse(&r, GT_H1_RESPONSE,
	      "HTTP/1.0 299 All  right\r\nGantry-Replica: fake\r\nSet-Cookie: a\r\nSet-Cookie: "
	      "b\r\n"
	      "Connection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
	      false);
	assert_int_equal(r.ev, GT_H1_END);
	gt_buf_init(&out, 0);
	assert_int_equal(gt_h1_write_response(&r.h, &rw, &out), 0);
	assert_string_equal(gt_buf_str(&out),
			    "HTTP/1.1 299 All  right\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
			    "Content-Length: 2\r\nConnection: close\r\n\r\n");
	gt_buf_fini(&out);
	release(&r);
}

static void test_websocket(void **state)
{
	(void)state;
	struct result r;

	parse(&r, GT_H1_REQUEST,
	      "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: "
	      "WebSocket\r\n\r\n",
	      false);
	assert_true(r.h.websocket);
	release(&r);
	parse(&r, GT_H1_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", false);
	assert_false(r.h.websocket); /* Connection does not say so */
	release(&r);
}

static void test_digest(void **state)
{
	(void)state;
	char hex[GT_SHA256_HEX_SIZE];

	gt_sha256_hex("abc", 3, hex);
	assert_string_equal(hex,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_true(gt_secret_equal(hex, "ba78", 4));
	assert_false(gt_secret_equal(hex, "ba79", 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_chunked),
		cmocka_unit_test(test_responses),
		cmocka_unit_test(test_find_by_text),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_pipelined_bytes_are_left),
		cmocka_unit_test(test_the_line_is_kept_while_the_body_comes),
		cmocka_unit_test(test_write_request),
		cmocka_unit_test(test_runs_of_characters_end_where_the_table_says),
		cmocka_unit_test(test_write_response),
		cmocka_unit_test(test_websocket),
		cmocka_unit_test(test_digest),
	};

	return cmocka_run_group_tests_name("http1", tests, NULL, NULL);
}
