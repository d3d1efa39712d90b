/* The reader against llhttp (Debian's node-llhttp, in tests only), of requests and of answers: what
 * llhttp refuses is refused here, and what is accepted here has the same end and the same body
 * there. The other way round there are many things that only this reader refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/clock.h>
#include <gantry/http/http1.h>

#define MUTANTS 4000 /* of each seed; the environment's MUTANTS and SEED say otherwise */
#define WALK    16   /* changes one upon the other, as long as the message is accepted */
#define EXTENSIONS                                                          \
	"PUT /a?b HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\n" \
	"\r\n3;a;b=c;d=\"e f\"\r\nabc\r\n0\r\n\r\n"

enum verdict { HEAD, MORE, WHOLE, BAD }; /* HEAD: it is not complete */

struct reading {
	enum verdict verdict;
	size_t used;
	struct gt_buf body;
	llhttp_errno_t error;
	bool in_trailers; /* the last chunk was seen */
	bool bodiless;    /* an answer by its status */
};

static struct reading read_ours(enum gt_h1_kind kind, const char *data, size_t len)
{
	struct reading r = { .verdict = HEAD };
	struct gt_h1 h;
	size_t used;

	gt_buf_init(&r.body, 0);
	gt_h1_init(&h, kind);
	while (r.verdict <= MORE) {
		struct gt_h1_body body;
		enum gt_h1_event ev = gt_h1_feed(&h, data + r.used, len - r.used, &used, &body);

		r.used += used;
		if (ev == GT_H1_MORE)
			break;
		if (ev == GT_H1_HEAD)
			r.verdict = MORE;
		if (ev == GT_H1_DATA)
			gt_buf_add(&r.body, body.data, body.len);
		if (ev == GT_H1_END || ev == GT_H1_BAD)
			r.verdict = ev == GT_H1_END ? WHOLE : BAD;
	}
	r.bodiless = kind == GT_H1_RESPONSE && r.verdict != HEAD &&
		     (h.status / 100 == 1 || h.status == 204 || h.status == 304);
	gt_h1_fini(&h);
	return r;
}

static int on_body(llhttp_t *p, const char *at, size_t len)
{
	struct reading *r = p->data;

	return gt_buf_add(&r->body, at, len);
}

static int on_chunk(llhttp_t *p)
{
	struct reading *r = p->data;

	r->in_trailers = p->content_length == 0;
	return 0;
}

static int on_complete(llhttp_t *p)
{
	struct reading *r = p->data;

	r->verdict = WHOLE;
	return HPE_PAUSED;
}

static struct reading read_theirs(enum gt_h1_kind kind, const char *data, size_t len)
{
	struct reading r = { .verdict = MORE, .used = len };
	llhttp_settings_t settings;
	llhttp_t p;

	gt_buf_init(&r.body, 0);
	llhttp_settings_init(&settings);
	settings.on_body = on_body;
	settings.on_chunk_header = on_chunk;
	settings.on_message_complete = on_complete;
	llhttp_init(&p, kind == GT_H1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
	p.data = &r;
	r.error = llhttp_execute(&p, data, len);
	if (r.error != HPE_OK)
		r.used = (size_t)(llhttp_get_error_pos(&p) - data);
	if (r.error != HPE_OK && r.verdict != WHOLE)
		r.verdict = BAD;
	return r;
}

static bool in_extension(const char *data, size_t at)
{
	while (at > 0 && data[at - 1] != '\n')
		if (data[--at] == ';')
			return true;
	return false;
}

/* llhttp knows a list of methods, and refuses all others. It judges a line as it comes, this reader
 * when the head is complete. It reads trailers as headers, which are dropped here unread. It
 * refuses chunk extensions that RFC 9112 has: quoted values, one that follows a value. It reads
 * bodies that RFC 9112 says are none, behind 1xx, 204 and 304. */
static bool excused(const char *data, const struct reading *ours, const struct reading *theirs)
{
	if (ours->verdict == HEAD)
		return theirs->verdict != WHOLE;
	if (ours->bodiless && ours->verdict == WHOLE)
		return !ours->body.len && ours->used <= theirs->used;
	if (theirs->error == HPE_INVALID_CHUNK_SIZE || theirs->error == HPE_STRICT)
		return in_extension(data, theirs->used);
	return theirs->error == HPE_INVALID_METHOD ||
	       (theirs->in_trailers && theirs->verdict == BAD);
}

static uint64_t compared, accepted;

/* Whether it is accepted here. */
static bool compare(enum gt_h1_kind kind, const char *data, size_t len)
{
	struct reading a = read_ours(kind, data, len), b = read_theirs(kind, data, len);
	bool same = a.verdict == b.verdict && a.body.len == b.body.len &&
		    (a.verdict == MORE || a.used == b.used) &&
		    (!a.body.len || !memcmp(a.body.data, b.body.data, a.body.len));

	if (a.verdict != BAD && !same && !excused(data, &a, &b))
		fail_msg("ours: %d, %zu used, %zu body; llhttp: %d (%s), %zu used, %zu body; of "
			 "%zu:\n%.*s",
			 a.verdict, a.used, a.body.len, b.verdict, llhttp_errno_name(b.error),
			 b.used, b.body.len, len, (int)len, data);
	gt_buf_fini(&a.body);
	gt_buf_fini(&b.body);
	compared++;
	accepted += a.verdict != BAD;
	return a.verdict != BAD;
}

/* Random changes of one kind or another, the same ones in each run. */
static size_t mutate(const struct gt_rand *rnd, char *data, size_t len, size_t cap)
{
	static const char bytes[] = "\r\n\t :;,0159afAFxX-+_\"\v\f\x01\x7f\x80\xff%";
	uint32_t r[4];
	size_t at, n;

	rnd->fill(rnd->arg, r, sizeof(r));
	at = len ? r[1] % len : 0;
	n = GT_MIN(r[2] % 12 + 1, len - at);
	switch (r[0] % 5) {
	case 0:
		if (len)
			data[at] = bytes[r[3] % (sizeof(bytes) - 1)];
		return len;
	case 1:
		memmove(data + at, data + at + n, len - at - n);
		return len - n;
	case 2: /* a piece again */
		if (len + n > cap)
			return len;
		memmove(data + at + n, data + at, len - at);
		return len + n;
	case 3:
		if (len + 1 > cap)
			return len;
		memmove(data + at + 1, data + at, len - at);
		data[at] = bytes[r[3] % (sizeof(bytes) - 1)];
		return len + 1;
	default:
		return at; /* the end is missing */
	}
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *given = getenv(name);

	return given ? strtoull(given, NULL, 10) : otherwise;
}

static void compare_mutants(enum gt_h1_kind kind, const char *seed, size_t len,
			    const struct gt_rand *rnd)
{
	char base[1024], data[1024];
	uint64_t mutants = setting("MUTANTS", MUTANTS);
	size_t base_len = len;

	assert_true(len <= sizeof(base));
	compare(kind, seed, len);
	for (uint64_t i = 0; i < mutants; i++) {
		if (i % WALK == 0) {
			memcpy(base, seed, len);
			base_len = len;
		}
		size_t n = base_len;

		memcpy(data, base, n);
		for (uint64_t k = 0; k <= i % 3; k++)
			n = mutate(rnd, data, n, sizeof(data));
		if (compare(kind, data, n)) {
			memcpy(base, data, n);
			base_len = n;
		}
	}
}

static void test_accepted_requests_read_alike(void **state)
{
	json_error_t err;
	json_t *doc = json_load_file("tests/data/http-vectors.json", JSON_ALLOW_NUL, &err), *v;
	uint64_t seed = setting("SEED", 1);
	struct gt_rand rnd = gt_rand_seeded(&seed);
	size_t i;

	(void)state;
	assert_non_null(doc);
	json_array_foreach(json_object_get(doc, "vectors"), i, v)
	{
		json_t *request = json_object_get(v, "request");

		compare_mutants(GT_H1_REQUEST, json_string_value(request),
				json_string_length(request), &rnd);
	}
	json_decref(doc);
	compare_mutants(GT_H1_REQUEST, EXTENSIONS, sizeof(EXTENSIONS) - 1, &rnd);
}

static void test_accepted_answers_read_alike(void **state)
{
	static const char *const seeds[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: a/b\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n1;a=b\r\nx\r\n"
		"000A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
		"HTTP/1.0 200 OK\r\n\r\nuntil the end",
		"HTTP/1.0 404 Not Found\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx",
		"HTTP/1.1 500 Internal \"error\"\r\nA: b\r\nContent-Length: 1\r\n\r\nx",
	};
	uint64_t seed = setting("SEED", 1) + 1;
	struct gt_rand rnd = gt_rand_seeded(&seed);

	(void)state;
	for (size_t i = 0; i < GT_LEN(seeds); i++)
		compare_mutants(GT_H1_RESPONSE, seeds[i], strlen(seeds[i]), &rnd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted_requests_read_alike),
		cmocka_unit_test(test_accepted_answers_read_alike),
	};

	int failed = cmocka_run_group_tests_name("http1_llhttp", tests, NULL, NULL);

	printf("%llu messages were read by both, of them %llu accepted here\n",
	       (unsigned long long)compared, (unsigned long long)accepted);
	return failed;
}
