/* test_fetch.c - blocking fetches against a server that redirects, lies, stalls and cuts. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/http/fetch.h>

#include "fake_server.h"

#define SECRET "Basic c2VjcmV0"

struct world {
	struct fake_server *server, *other; /* two ports are two origins */
	struct gt_fetcher *fetcher;
	struct gt_buf body;
	atomic_bool cancel;
	int head_status, refuse_head, refuse_data;
	struct gt_err err;
};

static bool redirect_to(struct fake_request *req, int status, const char *where, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, where);
	if (vasprintf(&text, where, args) < 0)
		abort();
	va_end(args);
	bool ok = fake_sendf(req, "HTTP/1.1 %d X\r\nContent-Length: 4\r\nLocation: %s\r\n\r\naway",
			     status, text);

	free(text);
	return ok;
}

static bool go(const struct fake_request *req, const char *target)
{
	return strcmp(req->target, target) == 0;
}

static bool broken_head(struct fake_request *req)
{
	if (go(req, "/nul"))
		return fake_send(req, "HTTP/1.1 200 X\r\nA: x\0y\r\n\r\n", 26) && false;
	if (go(req, "/blank"))
		fake_sendf(req, "HTTP/1.1 200 X\r\nA : x\r\nContent-Length: 0\r\n\r\n");
	if (go(req, "/many")) {
		fake_sendf(req, "HTTP/1.1 200 X\r\n");
		for (int i = 0; i < 200; i++)
			fake_sendf(req, "X-%d: y\r\n", i);
		fake_sendf(req, "\r\n");
	}
	if (go(req, "/endless"))
		while (fake_sendf(req, "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"))
			continue;
	return false;
}

static bool redirects(struct fake_request *req, struct world *w)
{
	unsigned other = w->other ? fake_server_port(w->other) : 0;
	unsigned here = fake_server_port(w->server);

	if (go(req, "/same"))
		return redirect_to(req, 307, "plain?x=1");
	if (go(req, "/away"))
		return redirect_to(req, 302, "http://127.0.0.1:%u/there", other);
	if (go(req, "/there-and-back"))
		return redirect_to(req, 302, "http://127.0.0.1:%u/back", other);
	if (go(req, "/back"))
		return redirect_to(req, 302, "http://127.0.0.1:%u/plain", here);
	if (go(req, "/name"))
		return redirect_to(req, 302, "http://localhost:%u/plain", here);
	if (go(req, "/file"))
		return redirect_to(req, 302, "file:///etc/passwd");
	if (go(req, "/ftp"))
		return redirect_to(req, 302, "ftp://127.0.0.1/x");
	if (go(req, "/user"))
		return redirect_to(req, 302, "http://u:p@127.0.0.1:%u/plain", here);
	if (go(req, "/loop"))
		return redirect_to(req, 302, "/loop");
	return fake_reply(req, 404, "", "no", 2);
}

static bool on_request(struct fake_request *req, void *arg)
{
	struct world *w = arg;

	if (go(req, "/plain") || go(req, "/plain?x=1") || go(req, "/there"))
		return fake_reply(req, 200, "X-Two: a\r\nx-two: b\r\n", "hello", 5);
	if (go(req, "/nul") || go(req, "/blank") || go(req, "/many") || go(req, "/endless"))
		return broken_head(req);
	if (go(req, "/continue"))
		return fake_sendf(req, "HTTP/1.1 100 Continue\r\nX-Two: no\r\n\r\n") &&
		       fake_reply(req, 200, "", "hello", 5);
	if (go(req, "/gzip"))
		return fake_reply(req, 200, "Content-Encoding: gzip\r\n", "\x1f\x8bnot", 5);
	if (go(req, "/cut")) {
		fake_sendf(req, "HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nhello");
		return false;
	}
	if (go(req, "/chunks"))
		return fake_sendf(req, "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
				       "5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n");
	if (go(req, "/hang"))
		return fake_hang(req);
	if (go(req, "/stall")) {
		fake_sendf(req, "HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nhello");
		return fake_hang(req);
	}
	if (go(req, "/cancel")) {
		atomic_store(&w->cancel, true);
		return fake_hang(req);
	}
	if (go(req, "/busy"))
		return fake_reply(req, 429, "Retry-After: 7\r\n", "later", 5);
	if (go(req, "/moved-post"))
		return redirect_to(req, 302, "/plain");
	return redirects(req, w);
}

static int on_head(const struct gt_fetch_answer *answer, void *arg, struct gt_err *err)
{
	struct world *w = arg;

	w->head_status = gt_fetch_status(answer);
	return w->refuse_head ? gt_err_set(err, w->refuse_head, "conflict", "no head") : 0;
}

static int on_data(const void *data, size_t len, void *arg, struct gt_err *err)
{
	struct world *w = arg;

	if (w->refuse_data)
		return gt_err_set(err, w->refuse_data, "conflict", "no data");
	return gt_buf_add(&w->body, data, len);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct gt_fetcher_config config = { .connect_ms = 2000, .stall_s = 60 };

	signal(SIGPIPE, SIG_IGN);
	assert_non_null(w);
	w->server = fake_server_start(on_request, w);
	w->other = fake_server_start(on_request, w);
	assert_int_equal(gt_fetcher_new(&config, &w->fetcher, &w->err), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	gt_fetcher_free(w->fetcher);
	fake_server_stop(w->server);
	fake_server_stop(w->other);
	gt_buf_fini(&w->body);
	free(w);
	return 0;
}

static int fetch_with(struct world *w, const char *target, struct gt_fetch what)
{
	gt_auto(free) char *url = gt_asprintf("http://127.0.0.1:%u%s", fake_server_port(w->server),
					      target);

	what.url = url;
	what.on_head = on_head;
	what.on_data = on_data;
	what.arg = w;
	w->head_status = 0;
	gt_buf_reset(&w->body);
	gt_err_clear(&w->err);
	fake_server_sync(w->server);
	fake_server_sync(w->other);
	return gt_fetch(w->fetcher, &what, &w->err);
}

static int fetch(struct world *w, const char *target)
{
	return fetch_with(w, target, (struct gt_fetch){ .authorization = SECRET });
}

static int status(struct world *w)
{
	return gt_fetch_status(gt_fetch_answer(w->fetcher));
}

static void an_answer_comes_whole(void **state)
{
	struct world *w = *state;
	uint64_t length = 0;

	assert_int_equal(
		fetch_with(w, "/plain", (struct gt_fetch){ .accept = "text/x, text/y", .from = 3 }),
		0);
	assert_int_equal(status(w), 200);
	assert_int_equal(w->head_status, 200);
	assert_string_equal(gt_buf_str(&w->body), "hello");
	assert_string_equal(gt_fetch_header(gt_fetch_answer(w->fetcher), "X-TWO"), "a, b");
	assert_null(gt_fetch_header(gt_fetch_answer(w->fetcher), "x-three"));
	assert_true(gt_fetch_length(gt_fetch_answer(w->fetcher), &length));
	assert_int_equal(length, 5);
	assert_int_equal(fake_server_saw(w->server, "Range: bytes=3-\r\n"), 1);
	assert_int_equal(fake_server_saw(w->server, "Accept: text/x, text/y\r\n"), 1);
	assert_int_equal(fake_server_saw(w->server, "Accept-Encoding: identity\r\n"), 1);
	assert_int_equal(fetch(w, "/chunks"), 0);
	assert_string_equal(gt_buf_str(&w->body), "helloworld");
	assert_false(gt_fetch_length(gt_fetch_answer(w->fetcher), &length));
	assert_int_equal(fetch(w, "/continue"), 0);
	assert_null(gt_fetch_header(gt_fetch_answer(w->fetcher), "X-Two"));
}

static void a_body_stays_as_it_was_sent(void **state)
{
	struct world *w = *state;

	assert_int_equal(fetch(w, "/gzip"), 0);
	assert_int_equal(w->body.len, 5);
	assert_memory_equal(w->body.data, "\x1f\x8bnot", 5);
}

static void bodies_of_refusals_are_thrown_away(void **state)
{
	struct world *w = *state;

	assert_int_equal(fetch(w, "/busy"), 0);
	assert_int_equal(status(w), 429);
	assert_int_equal(gt_fetch_retry_after_s(gt_fetch_answer(w->fetcher)), 7);
	assert_int_equal(w->body.len, 0);
	assert_int_equal(fetch(w, "/nowhere"), 0);
	assert_int_equal(status(w), 404);
	assert_int_equal(gt_fetch_retry_after_s(gt_fetch_answer(w->fetcher)), -1);
}

static void a_redirect_within_the_origin_keeps_the_credentials(void **state)
{
	struct world *w = *state;

	assert_int_equal(fetch(w, "/same"), 0);
	assert_string_equal(gt_buf_str(&w->body), "hello");
	assert_int_equal(fake_server_saw(w->server, "GET /plain?x=1 "), 1);
	assert_int_equal(fake_server_saw(w->server, SECRET), 2);
	assert_true(gt_fetch_at_origin(w->fetcher));
}

static void credentials_stay_at_their_origin(void **state)
{
	struct world *w = *state;

	assert_int_equal(fetch(w, "/away"), 0);
	assert_string_equal(gt_buf_str(&w->body), "hello");
	assert_int_equal(fake_server_saw(w->other, "GET /there "), 1);
	assert_false(gt_fetch_at_origin(w->fetcher));
	assert_int_equal(fake_server_saw(w->other, "Authorization"), 0);
	/* Also when another host sends us back, and when another name is the same machine. */
	assert_int_equal(fetch(w, "/there-and-back"), 0);
	assert_int_equal(fake_server_saw(w->other, "Authorization"), 0);
	assert_int_equal(fetch(w, "/name"), 0);
	assert_int_equal(fake_server_saw(w->server, "GET /plain "), 2);
	assert_int_equal(fake_server_saw(w->server, SECRET), 3); /* of the three first hops */
}

static void bad_redirects_are_refused(void **state)
{
	static const char *const targets[] = { "/file", "/ftp", "/user", "/loop" };
	struct world *w = *state;

	for (size_t i = 0; i < GT_LEN(targets); i++) {
		assert_int_equal(fetch(w, targets[i]), -EPROTO);
		assert_string_equal(w->err.slug, "unavailable");
		assert_int_equal(w->head_status, 0);
		assert_int_equal(w->body.len, 0);
	}
	assert_int_equal(fake_server_saw(w->server, "GET /loop "), 6);
	assert_non_null(strstr(w->err.text, "redirects"));
}

static void a_post_is_not_redirected(void **state)
{
	struct world *w = *state;

	assert_int_equal(fetch_with(w, "/moved-post", (struct gt_fetch){ .form = "a=b" }), 0);
	assert_int_equal(status(w), 302);
	assert_int_equal(fake_server_saw(w->server, "\na=b"), 1);
	assert_int_equal(fake_server_saw(w->server, "GET /plain"), 0);
}

static void broken_heads_are_refused(void **state)
{
	static const char *const targets[] = { "/nul", "/blank", "/many", "/endless" };
	struct world *w = *state;

	for (size_t i = 0; i < GT_LEN(targets); i++) {
		int r = fetch(w, targets[i]);

		if (r != -EPROTO)
			fail_msg("%s: %d %s", targets[i], r, w->err.text);
		assert_int_equal(status(w), 0);
	}
}

static void a_cut_or_a_stall_is_told(void **state)
{
	struct world *w = *state;

	assert_int_equal(fetch(w, "/cut"), -EIO);
	assert_string_equal(gt_buf_str(&w->body), "hello");
	assert_int_equal(status(w), 200);
	gt_fetcher_free(w->fetcher);
	w->fetcher = NULL;
	assert_int_equal(
		gt_fetcher_new(&(struct gt_fetcher_config){ .stall_s = 1 }, &w->fetcher, &w->err),
		0);
	assert_int_equal(fetch(w, "/stall"), -ETIMEDOUT);
	assert_string_equal(gt_buf_str(&w->body), "hello");
	assert_int_equal(fetch_with(w, "/hang", (struct gt_fetch){ .whole_ms = 50 }), -ETIMEDOUT);
	assert_int_equal(status(w), 0);
}

static void a_cancelled_fetch_ends(void **state)
{
	struct world *w = *state;

	assert_int_equal(fetch_with(w, "/cancel", (struct gt_fetch){ .cancel = &w->cancel }),
			 -ECANCELED);
}

static void limits_and_callbacks_end_a_fetch(void **state)
{
	struct world *w = *state;

	assert_int_equal(fetch_with(w, "/plain", (struct gt_fetch){ .max = 4 }), -EMSGSIZE);
	assert_int_equal(fetch_with(w, "/chunks", (struct gt_fetch){ .max = 7 }), -EMSGSIZE);
	assert_int_equal(w->body.len, 5);
	assert_int_equal(fetch_with(w, "/plain", (struct gt_fetch){ .max = 5 }), 0);
	w->refuse_head = EBUSY;
	assert_int_equal(fetch(w, "/plain"), -EBUSY);
	assert_string_equal(w->err.text, "no head");
	w->refuse_head = 0;
	w->refuse_data = ENOSPC;
	assert_int_equal(fetch(w, "/plain"), -ENOSPC);
	assert_string_equal(w->err.text, "no data");
	w->refuse_data = 0;
	assert_int_equal(fetch(w, "/plain"), 0);
}

static void bad_requests_are_not_sent(void **state)
{
	struct world *w = *state;
	struct gt_fetch what = { .url = "file:///etc/passwd" };

	assert_int_equal(gt_fetch(w->fetcher, &what, &w->err), -EPROTO);
	what.url = "http://u@127.0.0.1/";
	assert_int_equal(gt_fetch(w->fetcher, &what, &w->err), -EPROTO);
	assert_int_equal(
		fetch_with(w, "/plain", (struct gt_fetch){ .authorization = "a\r\nHost: b" }),
		-EINVAL);
	assert_int_equal(fake_server_saw(w->server, "/plain"), 0);
}

static void the_environment_has_no_say(void **state)
{
	struct world *w = *state;

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	assert_int_equal(fetch(w, "/plain"), 0);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
}

static void texts_for_requests(void **state)
{
	gt_auto(buf) struct gt_buf b = { 0 };
	gt_auto(free) char *basic = gt_fetch_basic("Aladdin", "open sesame");

	(void)state;
	gt_fetch_escape(&b, "a b&c=/~\xc3\xa4");
	assert_string_equal(gt_buf_str(&b), "a%20b%26c%3D%2F~%C3%A4");
	assert_string_equal(basic, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="); /* RFC 7617 */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_answer_comes_whole),
		TEST(a_body_stays_as_it_was_sent),
		TEST(bodies_of_refusals_are_thrown_away),
		TEST(a_redirect_within_the_origin_keeps_the_credentials),
		TEST(credentials_stay_at_their_origin),
		TEST(bad_redirects_are_refused),
		TEST(a_post_is_not_redirected),
		TEST(broken_heads_are_refused),
		TEST(a_cut_or_a_stall_is_told),
		TEST(a_cancelled_fetch_ends),
		TEST(limits_and_callbacks_end_a_fetch),
		TEST(bad_requests_are_not_sent),
		TEST(the_environment_has_no_say),
		cmocka_unit_test(texts_for_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
