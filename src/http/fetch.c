/* http/fetch.c - libcurl's easy interface with its generosity taken away: each redirect is one
 * transfer of its own, and what goes with it is decided here. */
#include <gantry/http/fetch.h>

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include <gantry/base/clock.h>

#include "curl.h"
#include "fetch_head.h"

#define CONNECT_MS_DEFAULT 10000
#define STALL_S_DEFAULT    30
#define STALL_BYTES_S      64L /* slower than this is no transfer */
#define REDIRECTS_MAX      5
#define IDLE_CONNECTIONS   4L
#define THROW_AWAY_MAX     (64 * GT_KIB) /* of a body that nobody wants, to keep its connection */

struct gt_fetcher {
	CURL *easy;
	char *ca_file;
	long connect_ms, stall_s;
	struct gt_fetch_answer answer;
	char why[CURL_ERROR_SIZE];
	/* Of the fetch that runs. */
	const struct gt_fetch *what;
	struct gt_err *err;
	CURLU *url;     /* of this hop */
	char *host;     /* of it, for messages */
	bool at_origin; /* no redirect has led away so far */
	int failed;     /* what ended the transfer on our side; 0 = nothing did */
	bool enough;
	uint64_t got;
};

int gt_fetcher_new(const struct gt_fetcher_config *config, struct gt_fetcher **ret,
		   struct gt_err *err)
{
	struct gt_fetcher *f = gt_alloc(sizeof(*f));

	if (gt_curl_start() < 0 || !(f->easy = curl_easy_init())) {
		free(f);
		return gt_err_set(err, ENOMEM, "system_error", "libcurl did not start");
	}
	f->ca_file = gt_strdup(config->ca_file);
	f->connect_ms = config->connect_ms ? config->connect_ms : CONNECT_MS_DEFAULT;
	f->stall_s = config->stall_s ? config->stall_s : STALL_S_DEFAULT;
	*ret = f;
	return 0;
}

void gt_fetcher_free(struct gt_fetcher *f)
{
	if (!f)
		return;
	curl_easy_cleanup(f->easy);
	gt_fetch_answer_reset(&f->answer);
	free(f->ca_file);
	free(f);
}

const struct gt_fetch_answer *gt_fetch_answer(const struct gt_fetcher *f)
{
	return &f->answer;
}

bool gt_fetch_at_origin(const struct gt_fetcher *f)
{
	return f->at_origin;
}

static bool is_redirect(const struct gt_fetcher *f)
{
	int s = f->answer.status;

	return !f->what->form && (s == 301 || s == 302 || s == 303 || s == 307 || s == 308) &&
	       gt_fetch_header(&f->answer, "location");
}

/* ---- callbacks of curl: to return less than n ends the transfer ---------------------------- */
static int head_complete(struct gt_fetcher *f)
{
	curl_off_t retry = 0;
	uint64_t length;

	curl_easy_getinfo(f->easy, CURLINFO_RETRY_AFTER, &retry);
	f->answer.retry_after_s = gt_fetch_header(&f->answer, "retry-after") ? (int64_t)retry : -1;
	if (is_redirect(f))
		return 0;
	if (f->what->max && f->answer.status / 100 == 2 && gt_fetch_length(&f->answer, &length) &&
	    length > f->what->max)
		return gt_err_set(f->err, EMSGSIZE, "unavailable",
				  "%s: an answer of %llu bytes; the limit is %llu", f->host,
				  (unsigned long long)length, (unsigned long long)f->what->max);
	return f->what->on_head ? f->what->on_head(&f->answer, f->what->arg, f->err) : 0;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct gt_fetcher *f = arg;

	if (f->failed)
		return 0;
	n *= size;
	switch (gt_fetch_answer_line(&f->answer, data, n)) {
	case GT_FETCH_LINE_BAD:
		f->failed = gt_err_set(f->err, EPROTO, "unavailable",
				       "%s: the head of the answer is malformed", f->host);
		break;
	case GT_FETCH_LINE_LAST:
		f->failed = head_complete(f);
		break;
	case GT_FETCH_LINE_OK:
		break;
	}
	return f->failed ? 0 : n;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct gt_fetcher *f = arg;

	n *= size;
	f->got += n;
	if (f->answer.status / 100 != 2) {
		f->enough = f->got > THROW_AWAY_MAX;
		return f->enough ? 0 : n;
	}
	if (f->what->max && f->got > f->what->max)
		f->failed = gt_err_set(f->err, EMSGSIZE, "unavailable",
				       "%s: the answer is longer than %llu bytes", f->host,
				       (unsigned long long)f->what->max);
	else if (f->what->on_data)
		f->failed = f->what->on_data(data, n, f->what->arg, f->err);
	return f->failed ? 0 : n;
}

static int on_progress(void *arg, curl_off_t dltotal GT_UNUSED, curl_off_t dlnow GT_UNUSED,
		       curl_off_t ultotal GT_UNUSED, curl_off_t ulnow GT_UNUSED)
{
	struct gt_fetcher *f = arg;

	if (f->failed || !f->what->cancel || !atomic_load(f->what->cancel))
		return 0;
	f->failed = gt_err_set(f->err, ECANCELED, "unavailable", "%s: cancelled", f->host);
	return 1;
}

/* ---- one transfer -------------------------------------------------------------------------- */
static void options_apply(struct gt_fetcher *f)
{
	CURL *e = f->easy;

	curl_easy_reset(e); /* keeps connections */
	curl_easy_setopt(e, CURLOPT_CURLU, f->url);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (f->ca_file) {
		curl_easy_setopt(e, CURLOPT_CAINFO, f->ca_file);
		curl_easy_setopt(e, CURLOPT_CAPATH, "/etc/ssl/certs");
	}
	curl_easy_setopt(e, CURLOPT_PROXY, ""); /* the environment has no say */
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(e, CURLOPT_HTTP_CONTENT_DECODING, 0L);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_MAXCONNECTS, IDLE_CONNECTIONS);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, f->connect_ms);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES_S);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, f->stall_s);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, f->why);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, f);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, f);
	curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(e, CURLOPT_XFERINFODATA, f);
	curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
	if (f->what->form)
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, f->what->form);
}

static void header_add(struct curl_slist **list, const char *name, const char *value)
{
	gt_auto(free) char *line = gt_asprintf("%s: %s", name, value);

	*list = curl_slist_append(*list, line);
}

static struct curl_slist *headers_make(const struct gt_fetcher *f)
{
	struct curl_slist *list = NULL;

	header_add(&list, "User-Agent", "gantry/" GT_VERSION);
	header_add(&list, "Accept-Encoding", "identity");
	list = curl_slist_append(list, "Expect:");
	if (f->what->accept)
		header_add(&list, "Accept", f->what->accept);
	if (f->what->authorization && f->at_origin)
		header_add(&list, "Authorization", f->what->authorization);
	if (f->what->from) {
		gt_auto(free) char *range = gt_asprintf("bytes=%llu-",
							(unsigned long long)f->what->from);

		header_add(&list, "Range", range);
	}
	return list;
}

static int transfer_failed(struct gt_fetcher *f, CURLcode code)
{
	const char *why = f->why[0] ? f->why : curl_easy_strerror(code);
	int number = EIO;

	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		number = ETIMEDOUT;
		break;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
		number = ECONNREFUSED;
		break;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_HTTP_RETURNED_ERROR:
	case CURLE_BAD_CONTENT_ENCODING:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		number = EPROTO;
		break;
	default:
		break;
	}
	return gt_err_set(f->err, number, "unavailable", "%s: %s", f->host, why);
}

static int transfer(struct gt_fetcher *f, uint64_t ends_ns)
{
	struct curl_slist *headers = headers_make(f);

	gt_fetch_answer_reset(&f->answer);
	f->why[0] = '\0';
	f->failed = 0;
	f->enough = false;
	f->got = 0;
	options_apply(f);
	curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, headers);
	if (ends_ns) {
		uint64_t now = gt_mono_ns(&gt_clock_system);
		uint64_t left = ends_ns > now ? (ends_ns - now) / GT_NS_PER_MS : 0;

		curl_easy_setopt(f->easy, CURLOPT_TIMEOUT_MS, (long)GT_MAX(left, 1ull));
	}
	CURLcode code = curl_easy_perform(f->easy);

	curl_slist_free_all(headers);
	if (f->failed)
		return f->failed;
	if (code != CURLE_OK && !f->enough)
		return transfer_failed(f, code);
	return 0;
}

/* ---- urls ---------------------------------------------------------------------------------- */
static bool part_equal(CURLU *a, CURLU *b, CURLUPart part)
{
	char *x = NULL, *y = NULL;
	bool equal = curl_url_get(a, part, &x, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		     curl_url_get(b, part, &y, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		     strcasecmp(x, y) == 0;

	curl_free(x);
	curl_free(y);
	return equal;
}

static bool scheme_is(CURLU *u, const char *scheme)
{
	char *s = NULL;
	bool is = curl_url_get(u, CURLUPART_SCHEME, &s, 0) == CURLUE_OK && strcmp(s, scheme) == 0;

	curl_free(s);
	return is;
}

/* Goes to `to`, which may be relative to where the fetcher is. */
static int url_set(struct gt_fetcher *f, const char *to)
{
	CURLUcode code = curl_url_set(f->url, CURLUPART_URL, to, CURLU_DISALLOW_USER);
	char *host = NULL, *port = NULL;

	if (code != CURLUE_OK)
		return gt_err_set(f->err, EPROTO, "unavailable", "%s%sthe address is refused: %s",
				  f->host ? f->host : "", f->host ? ": " : "",
				  curl_url_strerror(code));
	if (curl_url_get(f->url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
	    (scheme_is(f->url, "http") || scheme_is(f->url, "https"))) {
		bool has_port = curl_url_get(f->url, CURLUPART_PORT, &port, 0) == CURLUE_OK;

		free(f->host);
		f->host = gt_asprintf("%s%s%s", host, has_port ? ":" : "", has_port ? port : "");
	} else {
		code = CURLUE_UNSUPPORTED_SCHEME;
	}
	curl_free(host);
	curl_free(port);
	return code == CURLUE_OK ? 0
				 : gt_err_set(f->err, EPROTO, "unavailable",
					      "%s%sonly http and https are spoken",
					      f->host ? f->host : "", f->host ? ": " : "");
}

static int redirect(struct gt_fetcher *f)
{
	CURLU *from = curl_url_dup(f->url);
	int r = from ? url_set(f, gt_fetch_header(&f->answer, "location"))
		     : gt_err_set(f->err, ENOMEM, "system_error", "no memory for an address");

	if (r == 0 && scheme_is(from, "https") && !scheme_is(f->url, "https"))
		r = gt_err_set(f->err, EPROTO, "unavailable",
			       "%s: a redirect from https to http is not followed", f->host);
	/* Once away they stay away, also when the chain comes back. */
	if (r == 0 && (!part_equal(from, f->url, CURLUPART_SCHEME) ||
		       !part_equal(from, f->url, CURLUPART_HOST) ||
		       !part_equal(from, f->url, CURLUPART_PORT)))
		f->at_origin = false;
	curl_url_cleanup(from);
	return r;
}

/* ---- the whole fetch ----------------------------------------------------------------------- */
static bool field_ok(const char *value)
{
	for (; value && *value; value++)
		if ((unsigned char)*value < ' ' || *value == 0x7f)
			return false;
	return true;
}

static int fetch_hops(struct gt_fetcher *f)
{
	uint64_t ends_ns = f->what->whole_ms
				   ? gt_mono_ns(&gt_clock_system) + f->what->whole_ms * GT_NS_PER_MS
				   : 0;
	int r = url_set(f, f->what->url);

	for (int hop = 0; r == 0; hop++) {
		r = transfer(f, ends_ns);
		if (r < 0 || !is_redirect(f))
			break;
		if (hop == REDIRECTS_MAX)
			return gt_err_set(f->err, EPROTO, "unavailable",
					  "%s: more than %d redirects", f->host, REDIRECTS_MAX);
		r = redirect(f);
	}
	return r;
}

int gt_fetch(struct gt_fetcher *f, const struct gt_fetch *what, struct gt_err *err)
{
	if (!field_ok(what->accept) || !field_ok(what->authorization))
		return gt_err_set(err, EINVAL, "unavailable",
				  "a header field may hold no control characters");
	f->what = what;
	f->err = err;
	f->at_origin = true;
	f->url = curl_url();
	if (!f->url)
		return gt_err_set(err, ENOMEM, "system_error", "no memory for an address");
	gt_fetch_answer_reset(&f->answer);
	int r = fetch_hops(f);

	curl_url_cleanup(f->url);
	free(f->host);
	f->host = NULL;
	f->url = NULL;
	f->what = NULL;
	f->err = NULL;
	return r;
}
