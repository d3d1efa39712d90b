/* blob.c - one blob, byte after byte in order, however often the transfer breaks. What was
 * delivered can not be taken back, so every new answer has to begin where the last one ended, and
 * the digest runs over what was delivered. */
#include "registry_priv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <gantry/base/units.h>
#include <gantry/http/digest.h>

/* So much in one go is progress: a registry that drops connections has its tries again. */
#define PROGRESS_BYTES GT_MIB

struct transfer {
	const struct gt_blob *blob;
	const char *object; /* its name in errors */
	gt_blob_sink *sink;
	void *arg;
	struct gt_sha256 *sha;
	uint64_t done; /* delivered */
	uint64_t skip; /* of this answer, which were delivered before */
	int refused;   /* what a check or the sink ended it with */
};

GT_PRINTF(3, 4)
static int lie(const struct transfer *t, struct gt_err *err, const char *fmt, ...)
{
	char text[200];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return gt_err_set(err, EBADMSG, "image_invalid", "%s: %s", t->object, text);
}

/* "bytes 5-9/10", or a star for the total. */
static bool range_parse(const char *text, uint64_t *first, uint64_t *last, uint64_t *total)
{
	char a[24], b[24], c[24];
	int end = 0;

	if (sscanf(text, "bytes %20[0-9]-%20[0-9]/%20[0-9*]%n", a, b, c, &end) != 3 || text[end])
		return false;
	*total = UINT64_MAX;
	return gt_parse_u64(a, UINT64_MAX, first) == 0 && gt_parse_u64(b, UINT64_MAX, last) == 0 &&
	       (gt_streq(c, "*") || gt_parse_u64(c, UINT64_MAX, total) == 0);
}

static int partial_check(const struct transfer *t, const struct gt_fetch_answer *a,
			 struct gt_err *err)
{
	const char *range = gt_fetch_header(a, "content-range");
	uint64_t first, last, total;

	if (t->done == 0)
		return lie(t, err, "a part came (status 206) where the whole was asked for");
	if (!range || !range_parse(range, &first, &last, &total))
		return lie(t, err, "a part came without a valid Content-Range");
	if (first != t->done || last != t->blob->bytes - 1 ||
	    (total != UINT64_MAX && total != t->blob->bytes))
		return lie(t, err,
			   "bytes %" PRIu64 "-%" PRIu64 " came where %" PRIu64 "-%" PRIu64
			   " were asked for",
			   first, last, t->done, t->blob->bytes - 1);
	return 0;
}

static int on_head(const struct gt_fetch_answer *a, void *arg, struct gt_err *err)
{
	struct transfer *t = arg;
	int status = gt_fetch_status(a);
	uint64_t length, wanted = t->blob->bytes;

	t->skip = 0;
	if (status == 206) {
		t->refused = partial_check(t, a, err);
		wanted = t->blob->bytes - t->done;
	} else if (status == 200) {
		t->skip = t->done; /* it does not know ranges */
	} else if (status / 100 == 2) {
		t->refused = lie(t, err, "status %d is no answer to a download", status);
	} else {
		return 0;
	}
	if (t->refused == 0 && gt_fetch_length(a, &length) && length != wanted)
		t->refused = lie(t, err, "%" PRIu64 " bytes are announced and not %" PRIu64, length,
				 wanted);
	return t->refused;
}

static int on_data(const void *data, size_t len, void *arg, struct gt_err *err)
{
	struct transfer *t = arg;
	const char *p = data;
	size_t old = (size_t)GT_MIN(t->skip, (uint64_t)len);

	t->skip -= old;
	p += old;
	len -= old;
	if (len > t->blob->bytes - t->done)
		return t->refused = lie(t, err, "more than the %" PRIu64 " bytes it should have",
					t->blob->bytes);
	if (len == 0)
		return 0;
	gt_sha256_add(t->sha, p, len);
	t->done += len;
	t->refused = t->sink(p, len, t->arg, err);
	return t->refused;
}

static int digest_check(struct transfer *t, struct gt_err *err)
{
	char hex[GT_SHA256_HEX_SIZE];

	gt_sha256_end(gt_steal(&t->sha), hex);
	if (gt_streq(hex, gt_digest_hex(t->blob->digest)))
		return 0;
	return lie(t, err, "its content has the digest sha256:%s", hex);
}

/* All requests that it takes. */
static int run(const struct gt_ask *ask, struct transfer *t, const char *url, struct gt_err *err)
{
	struct gt_tries tries = { .answered = true }; /* as it gave the manifest */

	for (;;) {
		struct gt_fetch what = { .url = url,
					 .from = t->done,
					 .on_head = on_head,
					 .on_data = on_data,
					 .arg = t };
		struct gt_asked asked = { 0 };
		uint64_t before = t->done;
		int r = gt_ask_once(ask, &what, &asked, err);

		if (t->refused)
			return t->refused;
		bool some = r < 0 ? t->done > before : asked.status / 100 == 2;

		/* Also when the connection broke behind the last byte. */
		if (some && t->done == t->blob->bytes)
			return 0;
		if (r == 0 && asked.status / 100 == 2) /* nothing said how long it would be */
			r = gt_err_set(err, EIO, "unavailable",
				       "%s: the answer ended after %" PRIu64 " of %" PRIu64
				       " bytes",
				       ask->ref->host, t->done, t->blob->bytes);
		if (t->done - before >= PROGRESS_BYTES)
			tries.failed = 0;
		r = gt_ask_failed(ask, &tries, t->object, r, &asked, err);
		if (r < 0)
			return r;
	}
}

int gt_registry_blob(struct gt_registry *r, const struct gt_ref *ref, const struct gt_blob *blob,
		     const atomic_bool *cancel, gt_blob_sink *sink, void *arg, struct gt_err *err)
{
	struct transfer t = { .blob = blob, .sink = sink, .arg = arg };
	gt_auto(free) char *object = NULL;
	gt_auto(free) char *url = NULL;
	struct gt_ask ask;
	int result;

	if (!gt_digest_ok(blob->digest))
		return gt_err_set(err, EINVAL, "image_invalid", "%s: a blob without a digest",
				  ref->host);
	gt_ask_init(&ask, r, ref, cancel);
	url = gt_asprintf("%s/v2/%s/blobs/%s", ask.base, ask.path, blob->digest);
	object = gt_asprintf("%s/%s: blob %s", ref->host, ref->path, blob->digest);
	t.object = object;
	t.sha = gt_sha256_new();
	result = run(&ask, &t, url, err);
	if (result == 0)
		result = digest_check(&t, err);
	gt_sha256_free(t.sha);
	return result;
}
