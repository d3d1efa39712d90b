/* test_registry_blob.c - blobs: streamed, verified, and taken up again after breaks of every kind.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reg_world.h"
#include "registry_priv.h"

static void delivered_whole(struct reg *w, int r)
{
	if (r < 0)
		fail_msg("%d %s", r, w->err.text);
	assert_int_equal(w->got.len, LAYER_SIZE);
	assert_memory_equal(w->got.data, w->layer_data, LAYER_SIZE);
}

static void a_blob_is_streamed(void **state)
{
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	delivered_whole(w, reg_blob(w, &blob));
	assert_int_equal(fake_server_saw(w->server, "Range:"), 0);
	const struct reg_item *empty = reg_add(w, "", "x", "", 0);
	struct gt_blob nothing = { .bytes = 0 };

	gt_strcopy(nothing.digest, sizeof(nothing.digest), empty->digest);
	assert_int_equal(reg_blob(w, &nothing), 0);
	assert_int_equal(w->got.len, 0);
	gt_strcopy(blob.digest, sizeof(blob.digest), "sha256:../../secret");
	reg_expect(w, reg_blob(w, &blob), -EINVAL, "image_invalid", "digest");
}

/* Sends what was asked for but cuts after `number` bytes of it, `count` times. */
static enum reg_hooked cutting(struct reg *w, struct fake_request *req)
{
	char range[64];
	size_t from = 0;

	if (atomic_load(&w->count) == 0)
		return PASS;
	atomic_fetch_sub(&w->count, 1);
	if (fake_header(req, "Range", range, sizeof(range)))
		from = strtoul(range + strlen("bytes="), NULL, 10);
	fake_sendf(req, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n", from ? 206 : 200,
		   (size_t)LAYER_SIZE - from);
	if (from)
		fake_sendf(req, "Content-Range: bytes %zu-%d/%s\r\n", from, LAYER_SIZE - 1,
			   w->text);
	fake_sendf(req, "\r\n");
	fake_send(req, w->layer_data + from, GT_MIN((size_t)w->number, LAYER_SIZE - from));
	return CLOSE;
}

static void a_cut_transfer_goes_on_where_it_broke(void **state)
{
	static const unsigned offsets[] = { 0, 1, 2, 700, 999, LAYER_SIZE - 1 };
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	w->hook = cutting;
	for (size_t i = 0; i < GT_LEN(offsets); i++)
		for (unsigned star = 0; star < 2; star++) {
			gt_strcopy(w->text, sizeof(w->text), star ? "*" : "3000");
			w->number = offsets[i];
			atomic_store(&w->count, 3);
			delivered_whole(w, reg_blob(w, &blob));
		}
	assert_int_equal(fake_server_saw(w->server, "Range: bytes=700-\r\n"), 2);
	assert_int_equal(fake_server_saw(w->server, "Range: bytes=1400-\r\n"), 2);
	assert_int_equal(fake_server_saw(w->server, "Range: bytes=2100-\r\n"), 2);
	/* As many breaks as there are tries, without a MiB between them. */
	w->number = 5;
	atomic_store(&w->count, 4);
	reg_expect(w, reg_blob(w, &blob), -EIO, "registry_unavailable", "blob sha256:");
	assert_int_equal(w->got.len, 20);
}

/* A server that knows no ranges: the whole again, cut later and later. */
static enum reg_hooked no_ranges(struct reg *w, struct fake_request *req)
{
	unsigned n = atomic_fetch_add(&w->count, 1);
	size_t len = GT_MIN((size_t)(n + 1) * 1100, (size_t)LAYER_SIZE);

	fake_sendf(req, "HTTP/1.1 200 X\r\n%s\r\n", w->number ? "Content-Length: 3000\r\n" : "");
	fake_send(req, w->layer_data, len);
	return CLOSE;
}

static void a_whole_answer_to_a_range_is_skipped_into(void **state)
{
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	w->hook = no_ranges;
	for (w->number = 0; w->number < 2; w->number++) { /* without a length, and with one */
		atomic_store(&w->count, 0);
		delivered_whole(w, reg_blob(w, &blob));
		assert_int_equal(atomic_load(&w->count), 3);
	}
}

/* A cut after 100 bytes, then an answer of the test's. */
static enum reg_hooked lying_on_resume(struct reg *w, struct fake_request *req)
{
	if (atomic_fetch_add(&w->count, 1) == 0) {
		fake_sendf(req, "HTTP/1.1 200 X\r\nContent-Length: 3000\r\n\r\n");
		fake_send(req, w->layer_data, 100);
		return CLOSE;
	}
	fake_sendf(req, "%s", w->text);
	fake_send(req, w->layer_data + 100, LAYER_SIZE - 100);
	return CLOSE;
}

static void a_wrong_part_is_refused(void **state)
{
	static const struct {
		const char *head;
		int code;
		const char *slug, *why;
	} cases[] = {
		{ "HTTP/1.1 206 X\r\nContent-Range: bytes 99-2999/3000\r\n\r\n", -EBADMSG,
		  "image_invalid", "bytes 99-2999 came" },
		{ "HTTP/1.1 206 X\r\nContent-Range: bytes 101-2999/3000\r\n\r\n", -EBADMSG,
		  "image_invalid", "came where 100-2999" },
		{ "HTTP/1.1 206 X\r\nContent-Range: bytes 100-2998/3000\r\n\r\n", -EBADMSG,
		  "image_invalid", "came where" },
		{ "HTTP/1.1 206 X\r\nContent-Range: bytes 100-2999/3001\r\n\r\n", -EBADMSG,
		  "image_invalid", "came where" },
		{ "HTTP/1.1 206 X\r\nContent-Range: bytes 100-2999\r\n\r\n", -EBADMSG,
		  "image_invalid", "valid Content-Range" },
		{ "HTTP/1.1 206 X\r\nContent-Range: bytes 100-2999/3000 \r\n"
		  "Content-Range: bytes 0-1/2\r\n\r\n",
		  -EBADMSG, "image_invalid", "valid Content-Range" },
		{ "HTTP/1.1 206 X\r\nContent-Range: bytes 100-99999999999999999999/3000\r\n\r\n",
		  -EBADMSG, "image_invalid", "valid Content-Range" },
		{ "HTTP/1.1 206 X\r\n\r\n", -EBADMSG, "image_invalid", "valid Content-Range" },
		{ "HTTP/1.1 206 X\r\nContent-Range: bytes 100-2999/3000\r\n"
		  "Content-Length: 2901\r\n\r\n",
		  -EBADMSG, "image_invalid", "2901 bytes are announced" },
		{ "HTTP/1.1 203 X\r\nContent-Length: 2900\r\n\r\n", -EBADMSG, "image_invalid",
		  "status 203" },
		{ "HTTP/1.1 416 X\r\nContent-Length: 0\r\n\r\n", -EIO, "registry_unavailable",
		  "status 416" },
	};
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	w->hook = lying_on_resume;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		atomic_store(&w->count, 0);
		gt_strcopy(w->text, sizeof(w->text), cases[i].head);
		reg_expect(w, reg_blob(w, &blob), cases[i].code, cases[i].slug, cases[i].why);
		assert_int_equal(w->got.len, 100);
	}
}

static enum reg_hooked answering(struct reg *w, struct fake_request *req)
{
	unsigned len = w->number; /* the test may go on when it has the head */

	atomic_fetch_add(&w->count, 1);
	fake_sendf(req, "%s", w->text);
	fake_send(req, w->layer_data, len);
	return CLOSE;
}

static void wrong_content_is_refused(void **state)
{
	static const struct {
		const char *head;
		unsigned len;
		const char *why;
	} cases[] = {
		{ "HTTP/1.1 200 X\r\nContent-Length: 2999\r\n\r\n", 2999,
		  "2999 bytes are announced" },
		{ "HTTP/1.1 200 X\r\nContent-Length: 3001\r\n\r\n", 3000,
		  "3001 bytes are announced" },
		{ "HTTP/1.1 206 X\r\nContent-Range: bytes 0-2999/3000\r\n\r\n", 3000,
		  "where the whole was asked for" },
	};
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	w->hook = answering;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_strcopy(w->text, sizeof(w->text), cases[i].head);
		w->number = cases[i].len;
		reg_expect(w, reg_blob(w, &blob), -EBADMSG, "image_invalid", cases[i].why);
		assert_int_equal(w->got.len, 0);
	}
	/* Longer than it should be, without saying so. */
	gt_strcopy(w->text, sizeof(w->text), "HTTP/1.1 200 X\r\n\r\n");
	w->number = 3000;
	blob.bytes = 2000;
	reg_expect(w, reg_blob(w, &blob), -EBADMSG, "image_invalid", "more than the 2000 bytes");
	assert_true(w->got.len <= 2000);
	/* The right length of something else; the registry is not asked twice. */
	atomic_store(&w->count, 0);
	w->number = 2000;
	reg_expect(w, reg_blob(w, &blob), -EBADMSG, "image_invalid", "digest sha256:");
	assert_int_equal(atomic_load(&w->count), 1);
}

static void a_short_answer_is_a_break(void **state)
{
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	w->hook = answering;
	w->number = 2000;
	gt_strcopy(w->text, sizeof(w->text), "HTTP/1.1 200 X\r\n\r\n");
	reg_expect(w, reg_blob(w, &blob), -EIO, "registry_unavailable", "after 2000 of 3000 bytes");
	assert_int_equal(atomic_load(&w->count), 4);
}

/* gzip as an encoding of the transfer is not unpacked: the digest is that of the bytes sent. */
static enum reg_hooked encoded(struct reg *w, struct fake_request *req)
{
	fake_reply(req, 200, "Content-Encoding: gzip\r\n", w->layer_data, LAYER_SIZE);
	return KEEP;
}

static void an_encoding_changes_nothing(void **state)
{
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	w->hook = encoded;
	delivered_whole(w, reg_blob(w, &blob));
}

static enum reg_hooked cut_behind_the_end(struct reg *w, struct fake_request *req)
{
	atomic_fetch_add(&w->count, 1);
	fake_sendf(req, "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n");
	fake_send(req, w->layer_data, LAYER_SIZE);
	return CLOSE; /* without the last chunk */
}

static void a_break_behind_the_last_byte_does_not_matter(void **state)
{
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	w->hook = cut_behind_the_end;
	delivered_whole(w, reg_blob(w, &blob));
	assert_int_equal(atomic_load(&w->count), 1);
}

static enum reg_hooked stalling(struct reg *w, struct fake_request *req)
{
	bool cancel = w->number;

	if (atomic_fetch_add(&w->count, 1) > 0)
		return PASS;
	fake_sendf(req, "HTTP/1.1 200 X\r\nContent-Length: 3000\r\n\r\n");
	fake_send(req, w->layer_data, 1234);
	if (cancel)
		atomic_store(&w->cancel, true);
	fake_hang(req);
	return CLOSE;
}

static void a_stall_is_a_break_and_cancel_the_end(void **state)
{
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	w->hook = stalling;
	w->config.stall_s = 1;
	reg_open(w);
	delivered_whole(w, reg_blob(w, &blob));
	assert_int_equal(fake_server_saw(w->server, "Range: bytes=1234-"), 1);
	w->config.stall_s = 60;
	reg_open(w);
	atomic_store(&w->count, 0);
	w->number = 1;
	reg_expect(w, reg_blob(w, &blob), -ECANCELED, "registry_unavailable", "cancelled");
	assert_true(w->got.len <= 1234);
}

static int full(const void *data, size_t len, void *arg, struct gt_err *err)
{
	unsigned *calls = arg;

	(void)data;
	(void)len;
	++*calls;
	return gt_err_set(err, EIO, "storage_full", "the disk says no");
}

static void the_sinks_error_is_kept(void **state)
{
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);
	unsigned calls = 0;
	int r = gt_registry_blob(w->r, &w->ref, &blob, NULL, full, &calls, &w->err);

	/* -EIO: what would be tried again if it were the registry's. */
	reg_expect(w, r, -EIO, "storage_full", "the disk says no");
	assert_string_equal(w->err.text, "the disk says no");
	assert_int_equal(calls, 1);
}

/* ---- several at once ------------------------------------------------------------------------- */
#define THREADS 12

struct pull {
	struct reg *w;
	struct gt_blob blob;
	struct gt_buf got;
	struct gt_err err;
	int r;
};

static int pull_take(const void *data, size_t len, void *arg, struct gt_err *err)
{
	struct pull *p = arg;

	(void)err;
	return gt_buf_add(&p->got, data, len);
}

static void *pull(void *arg)
{
	struct pull *p = arg;

	p->r = gt_registry_blob(p->w->r, &p->w->ref, &p->blob, NULL, pull_take, p, &p->err);
	return NULL;
}

static atomic_uint most;

static unsigned waiting(struct gt_registry *r)
{
	unsigned n = 0;

	pthread_mutex_lock(&r->lock);
	n = r->hosts ? r->hosts->waiting : 0;
	pthread_mutex_unlock(&r->lock);
	return n;
}

/* count: requests that are being served. They take until all others had the chance to come too: so
 * neither a client that asks one at a time passes nor one without a limit. */
static enum reg_hooked counting(struct reg *w, struct fake_request *req)
{
	static atomic_bool crowded;
	unsigned now = atomic_fetch_add(&w->count, 1) + 1;

	for (unsigned m = atomic_load(&most); now > m;)
		if (atomic_compare_exchange_weak(&most, &m, now))
			break;
	while (!atomic_load(&crowded) && atomic_load(&most) <= 2) {
		if (atomic_load(&w->count) == 2 && waiting(w->r) == THREADS - 2)
			atomic_store(&crowded, true);
		sched_yield();
	}
	const struct reg_item *item = reg_find(w, strrchr(req->target, '/') + 1);

	/* Before the client can know that its place is free. */
	fake_sendf(req, "HTTP/1.1 200 X\r\nContent-Length: %zu\r\n\r\n", item->len);
	fake_send(req, item->data, item->len - 1);
	atomic_fetch_sub(&w->count, 1);
	fake_send(req, item->data + item->len - 1, 1);
	return KEEP;
}

static void threads_share_a_client_within_its_limit(void **state)
{
	struct reg *w = *state;
	struct pull pulls[THREADS];
	pthread_t threads[THREADS];

	w->config.per_host = 2;
	reg_open(w);
	w->hook = counting;
	for (size_t i = 0; i < THREADS; i++) {
		const struct reg_item *item = reg_addf(w, "", "x", "blob number %zu", i);

		pulls[i] = (struct pull){ .w = w, .blob.bytes = item->len };
		gt_strcopy(pulls[i].blob.digest, sizeof(pulls[i].blob.digest), item->digest);
	}
	reg_sync(w);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, pull, &pulls[i]), 0);
	for (size_t i = 0; i < THREADS; i++) {
		char wanted[32];

		pthread_join(threads[i], NULL);
		if (pulls[i].r < 0)
			fail_msg("%s", pulls[i].err.text);
		snprintf(wanted, sizeof(wanted), "blob number %zu", i);
		assert_string_equal(gt_buf_str(&pulls[i].got), wanted);
		gt_buf_fini(&pulls[i].got);
	}
	assert_int_equal(atomic_load(&most), 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, reg_setup, reg_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_blob_is_streamed),
		TEST(a_cut_transfer_goes_on_where_it_broke),
		TEST(a_whole_answer_to_a_range_is_skipped_into),
		TEST(a_wrong_part_is_refused),
		TEST(wrong_content_is_refused),
		TEST(a_short_answer_is_a_break),
		TEST(an_encoding_changes_nothing),
		TEST(a_break_behind_the_last_byte_does_not_matter),
		TEST(a_stall_is_a_break_and_cancel_the_end),
		TEST(the_sinks_error_is_kept),
		TEST(threads_share_a_client_within_its_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
