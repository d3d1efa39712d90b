/* Every request of tests/data/http-vectors.json and of the families below, before a second request
 * on the same connection, cut at every byte: what is refused reaches no replica and ends the
 * connection, what is accepted reaches one as it was sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "reference.h"
#include "tls.h"

#define SECOND                                       \
	"GET /f/echo/second HTTP/1.1\r\nHost: a\r\n" \
	"Authorization: Bearer " SCRIPT_TOKEN "\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

/* JSON text is UTF-8; the vectors mean bytes. */
static size_t latin1(const char *utf8, size_t n, char *out)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)utf8[i];

		if (c >= 0xc0 && i + 1 < n)
			out[len++] = (char)((c & 3) << 6 | (utf8[++i] & 0x3f));
		else
			out[len++] = (char)c;
	}
	return len;
}

/* The vector as a call of "echo", where it has the parts that this takes. */
static void as_call(const char *data, size_t len, struct gt_buf *out)
{
	static const char auth[] = "Authorization: Bearer " SCRIPT_TOKEN "\r\n";
	static const char host[] = "\r\nHost: a\r\n", root[] = " / HTTP";
	const char *path = memmem(data, len, root, sizeof(root) - 1), *at = data;
	const char *end = data + len, *h = memmem(data, len, host, sizeof(host) - 1);

	if (path) {
		gt_buf_add(out, at, (size_t)(path + 1 - at));
		gt_buf_adds(out, "/f/echo/");
		at = path + 2;
	}
	if (path && h && h >= at) {
		h += sizeof(host) - 1;
		gt_buf_add(out, at, (size_t)(h - at));
		gt_buf_adds(out, auth);
		at = h;
	}
	gt_buf_add(out, at, (size_t)(end - at));
}

static bool reached(struct script *s, const char *text)
{
	for (size_t i = 0; i < s->n_ends; i++)
		if (s->ends[i].role != SCRIPT_CLIENT && s->ends[i].role != SCRIPT_BROKER &&
		    script_has(&s->ends[i], text))
			return true;
	return false;
}

/* Whoever was asked answers, as often as it takes. */
static void answer_all(struct script *s)
{
	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < s->n_ends; i++)
			if ((s->ends[i].role == SCRIPT_UP || s->ends[i].role == SCRIPT_API) &&
			    s->ends[i].got.len && gt_routes_function(s->gw, "echo", 4)->in_flight)
				script_puts(&s->ends[i], OK);
}

static void play(const char *name, const struct gt_buf *data, size_t cut, bool accept)
{
	struct script *s = script_open(1);
	struct script_end *c = script_client(s, "10.0.0.9");

	if (cut == SIZE_MAX) {
		for (size_t i = 0; i < data->len; i++)
			script_put(c, data->data + i, 1);
	} else {
		script_put(c, data->data, cut);
		script_put(c, data->data + cut, data->len - cut);
	}
	script_puts(c, SECOND);
	answer_all(s);
	if (data->len && data->data[0] == GT_TLS_FIRST_BYTE)
		script_wait(s, GT_GW_HEAD_MS + 1); /* a node's greeting, which does not go on */
	const char *bad = ref_check(s);

	if (bad)
		fail_msg("%s, cut at %zu: %s", name, cut, bad);
	if (!accept && (reached(s, "second") || !(c->shut || c->closed)))
		fail_msg("%s, cut at %zu: a request follows what is none", name, cut);
	if (!c->closed)
		script_fail(c, ECONNRESET);
	assert_int_equal(gt_routes_function(s->gw, "echo", 4)->in_flight, 0);
	assert_int_equal(s->gw->buffered, 0);
	assert_int_equal(script_close(s), 0);
}

static void play_all(const char *name, const struct gt_buf *data, bool accept)
{
	for (size_t cut = 0; cut <= data->len; cut++)
		play(name, data, cut, accept);
	play(name, data, SIZE_MAX, accept);
}

static void test_vectors(void **state)
{
	json_error_t err;
	json_t *doc = json_load_file("tests/data/http-vectors.json", JSON_ALLOW_NUL, &err), *v;
	size_t i;

	(void)state;
	assert_non_null(doc);
	json_array_foreach(json_object_get(doc, "vectors"), i, v)
	{
		json_t *request = json_object_get(v, "request");
		const char *verdict = json_string_value(json_object_get(v, "verdict"));
		char data[1024];
		size_t n = json_string_length(request);
		gt_auto(buf) struct gt_buf call = { 0 };

		assert_true(n <= sizeof(data));
		n = latin1(json_string_value(request), n, data);
		as_call(data, n, &call);
		play_all(json_string_value(json_object_get(v, "name")), &call,
			 !strncmp(verdict, "accept", 6));
	}
	json_decref(doc);
}

/* What servers are known to read in different ways. All of it is refused here. */
static void test_families_of_smuggling(void **state)
{
	static const char *const families[] = {
		"Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding\r\n: chunked\r\n\r\n0\r\n\r\n",
		"Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n",
		"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked \t\r\n\r\n0\r\n\r\n",
		"Content-Length: 5\t\r\n\r\nhello",
		"Content-Length: +5\r\n\r\nhello",
		"Content-Length: 0_5\r\n\r\nhello",
		"Content-Length: 0x5\r\n\r\nhello",
		"Content-Length: 5 5\r\n\r\nhello",
		"Content-Length: 5,\r\n\r\nhello",
		"Content-Length: \r\n\r\n",
		"Content-Length: 18446744073709551621\r\n\r\nhello",
		"Content_Length: 5\r\n\r\nhello",
		"Connection: content-length\r\nContent-Length: 5\r\n\r\nhello",
		"Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n5\rXhello\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n0\r\nX\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n0\r\n X: y\r\n\r\n",
		"Host: b\r\n\r\n",
		"Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello",
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(families); i++) {
		gt_auto(buf) struct gt_buf call = { 0 };

		gt_buf_adds(
			&call,
			"POST /f/echo/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " SCRIPT_TOKEN
			"\r\n");
		gt_buf_adds(&call, families[i]);
		play_all(families[i], &call, false);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_families_of_smuggling),
	};

	return cmocka_run_group_tests_name("vectors", tests, NULL, NULL);
}
