#include "rest.h"

#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "find.h"

#define ANSWER_BYTES_MAX  (256 * GT_MIB)
#define CONNECT_TIMEOUT_S 5L

struct gt_rest {
	CURL *curl; /* one handle, so that the connection is kept between requests */
	char *url, *token;
	char *ca; /* NULL: those of the system */
};

struct exchange {
	const struct gt_rest_request *req;
	struct gt_rest_answer *answer;
	bool too_large;
};

static struct gt_rest *make(const char *url, const char *token, const char *ca)
{
	struct gt_rest *r = gt_alloc(sizeof(*r));

	curl_global_init(CURL_GLOBAL_DEFAULT);
	r->curl = curl_easy_init();
	if (!r->curl)
		gt_out_of_memory();
	r->url = gt_strdup(url);
	r->token = gt_strdup(token);
	r->ca = gt_strdup(ca);
	return r;
}

struct gt_rest *gt_rest_new(const struct gt_target *target)
{
	return make(target->url, target->token, target->ca);
}

struct gt_rest *gt_rest_dup(const struct gt_rest *r)
{
	return make(r->url, r->token, r->ca);
}

void gt_rest_free(struct gt_rest *r)
{
	if (!r)
		return;
	curl_easy_cleanup(r->curl);
	free(r->url);
	free(r->token);
	free(r->ca);
	free(r);
}

const char *gt_rest_url(const struct gt_rest *r)
{
	return r->url;
}

void gt_rest_answer_fini(struct gt_rest_answer *a)
{
	gt_buf_fini(&a->body);
}

static void keep(const char *line, size_t len, const char *name, char *out, size_t size)
{
	size_t n = strlen(name);

	if (len <= n || strncasecmp(line, name, n) != 0)
		return;
	line += n, len -= n;
	while (len && (*line == ' ' || *line == '\t'))
		line++, len--;
	while (len && (line[len - 1] == '\r' || line[len - 1] == '\n' || line[len - 1] == ' '))
		len--;
	len = GT_MIN(len, size - 1);
	memcpy(out, line, len);
	out[len] = '\0';
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;
	struct gt_rest_answer *a = x->answer;
	size_t len = size * n;
	int status;

	if (len > 9 && strncmp(line, "HTTP/", 5) == 0 && sscanf(line, "HTTP/%*s %d", &status) == 1)
		a->status = status;
	keep(line, len, "content-type:", a->content_type, sizeof(a->content_type));
	keep(line, len, "etag:", a->etag, sizeof(a->etag));
	keep(line, len, "server-timing:", a->timing, sizeof(a->timing));
	keep(line, len, "retry-after:", a->retry_after, sizeof(a->retry_after));
	a->problem = strncasecmp(a->content_type, "application/problem+json", 24) == 0;
	return len;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;
	struct gt_rest_answer *a = x->answer;
	size_t len = size * n;

	if (x->req->on_data && !a->problem) {
		a->broken = !x->req->on_data(a, data, len, x->req->arg);
		return a->broken ? 0 : len;
	}
	x->too_large = gt_buf_add(&a->body, data, len) < 0;
	return x->too_large ? 0 : len;
}

static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;
	size_t got = fread(to, 1, size * n, x->req->file);

	return ferror(x->req->file) ? CURL_READFUNC_ABORT : got;
}

static int on_progress(void *arg, curl_off_t a GT_UNUSED, curl_off_t b GT_UNUSED,
		       curl_off_t c GT_UNUSED, curl_off_t d GT_UNUSED)
{
	struct exchange *x = arg;

	if (x->req->on_idle)
		x->req->on_idle(x->answer, x->req->arg);
	return 0;
}

static struct curl_slist *add(struct curl_slist *list, const char *fmt, const char *value)
{
	gt_auto(free) char *line = gt_asprintf(fmt, value);

	return curl_slist_append(list, line);
}

static struct curl_slist *header_list(const struct gt_rest *r, const struct gt_rest_request *req)
{
	struct curl_slist *list = curl_slist_append(NULL, "Expect:");

	if (r->token)
		list = add(list, "Authorization: Bearer %s", r->token);
	if (req->accept)
		list = add(list, "Accept: %s", req->accept);
	/* An empty one keeps curl from adding its own. */
	list = add(list, "Content-Type:%s", req->content_type ? req->content_type : "");
	for (size_t i = 0; i < req->n_headers; i++)
		list = curl_slist_append(list, req->headers[i]);
	return list;
}

static void set_body(CURL *c, const struct gt_rest_request *req, struct exchange *x)
{
	if (req->file) {
		curl_easy_setopt(c, CURLOPT_POST, 1L);
		curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(c, CURLOPT_READDATA, x);
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)req->file_bytes);
	} else if (req->body) {
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, req->body);
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)req->body_len);
	}
	/* HEAD has no body although its header may announce one. */
	if (req->method && strcmp(req->method, "HEAD") == 0)
		curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
	else if (req->method)
		curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, req->method);
}

static int failure(CURLcode code, const struct gt_rest *r, const struct exchange *x,
		   const char *text, struct gt_err *err)
{
	curl_off_t sent_us = 0;

	if (code == CURLE_OK || x->answer->broken)
		return 0;
	if (x->too_large)
		return gt_err_set(err, EFBIG, "cut_off", "the answer is larger than 256 MiB");
	if (!text[0])
		text = curl_easy_strerror(code);
	switch (code) {
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
		return gt_err_set(err, ECONNREFUSED, "unreachable", "%s: %s", r->url, text);
	case CURLE_OPERATION_TIMEDOUT:
		/* Before the request was sent it is the connection that took too long. */
		curl_easy_getinfo(r->curl, CURLINFO_PRETRANSFER_TIME_T, &sent_us);
		return gt_err_set(err, ETIMEDOUT, sent_us ? "deadline" : "unreachable", "%s: %s",
				  r->url, text);
	default:
		return gt_err_set(err, EIO, "cut_off", "%s: %s", r->url, text);
	}
}

/* A proxy from the environment must not see what stays on this machine. */
static bool is_loopback(const char *url)
{
	const char *host = strstr(url, "://");

	host = host ? host + 3 : url;
	return gt_starts_with(host, "127.") || gt_starts_with(host, "localhost") ||
	       gt_starts_with(host, "[::1]");
}

int gt_rest_send(struct gt_rest *r, const struct gt_rest_request *req,
		 struct gt_rest_answer *answer, struct gt_err *err)
{
	gt_auto(free) char *url = gt_asprintf("%s%s", r->url, req->path);
	struct exchange x = { .req = req, .answer = answer };
	struct curl_slist *headers = header_list(r, req);
	char text[CURL_ERROR_SIZE] = "";
	CURL *c = r->curl;
	CURLcode code;

	*answer = (struct gt_rest_answer){ 0 };
	gt_buf_init(&answer->body, ANSWER_BYTES_MAX);
	curl_easy_reset(c);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	if (is_loopback(r->url))
		curl_easy_setopt(c, CURLOPT_PROXY, "");
	if (r->ca)
		curl_easy_setopt(c, CURLOPT_CAINFO, r->ca);
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "gantry/" GT_VERSION);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)req->timeout_ms);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, text);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, &x);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, &x);
	curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(c, CURLOPT_XFERINFODATA, &x);
	set_body(c, req, &x);
	code = curl_easy_perform(c);
	curl_slist_free_all(headers);
	if (code == CURLE_OK || answer->broken)
		return 0;
	return failure(code, r, &x, text, err);
}
