/* http/fetch.h - HTTP fetches that block, one at a time and instance: for worker threads. (On a
 * loop there is http/client.h.)
 *
 * An instance belongs to one thread at a time and keeps a few connections open between its fetches.
 * Only http and https are spoken, redirects included; at most 5 redirects are followed, those of
 * GET alone. Credentials go to the scheme, host and port of the url that was asked for and to no
 * other; https never becomes http. Bodies come as they were sent: nothing is asked for compressed
 * and nothing is unpacked. The environment has no say: no proxy, no .netrc, no cookies.
 * The process must ignore SIGPIPE. */
#ifndef GANTRY_HTTP_FETCH_H
#define GANTRY_HTTP_FETCH_H

#include <stdatomic.h>

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

struct gt_fetcher;
struct gt_fetch_answer;

struct gt_fetcher_config {
	const char *ca_file; /* trusted besides the system's CA certificates; or NULL. Copied. */
	unsigned connect_ms; /* 0 = 10000 */
	unsigned stall_s;    /* a fetch that moves (next to) nothing for so long ends; 0 = 30 */
};

GT_MUST_USE int gt_fetcher_new(const struct gt_fetcher_config *config, struct gt_fetcher **ret,
			       struct gt_err *err);
void gt_fetcher_free(struct gt_fetcher *f); /* NULL is fine */
GT_CLEANUP_TYPE(fetcher, struct gt_fetcher *, gt_fetcher_free)

/* Borrowed for the call. The texts that become header fields may hold no control characters. */
struct gt_fetch {
	const char *url;           /* absolute, without user information */
	const char *accept;        /* or NULL */
	const char *authorization; /* "Basic ..."; or NULL */
	const char *form;          /* POSTed as application/x-www-form-urlencoded; NULL = GET */
	uint64_t from;             /* > 0: asks for the bytes from this one on (Range) */
	uint64_t max;              /* a longer body ends the fetch with -EMSGSIZE; 0 = no limit */
	unsigned whole_ms;         /* for everything, redirects included; 0 = no limit */
	const atomic_bool *cancel; /* true ends the fetch within about a second; or NULL */
	/* Both on the calling thread; a negative result ends the fetch with it. on_head: the final
	 * answer's head is there. on_data: the body of a 2xx answer, piece by piece; bodies of
	 * others are thrown away. Either may be NULL. */
	int (*on_head)(const struct gt_fetch_answer *answer, void *arg, struct gt_err *err);
	int (*on_data)(const void *data, size_t len, void *arg, struct gt_err *err);
	void *arg;
};

/* Returns 0 when an answer came whole, whatever its status. Else, slug "unavailable":
 *	-ECANCELED	by `cancel`
 *	-ETIMEDOUT	stalled, or out of time	\
 *	-ECONNREFUSED	nobody answers there, or there is no such host	| worth another try
 *	-EIO		the connection broke	/
 *	-EMSGSIZE	the body is longer than max
 *	-EPROTO		a redirect that is not followed, an untrusted certificate, a broken answer
 * or what a callback returned, with its err. Texts name the host that was spoken to, never a
 * path or query, which may be secret. */
GT_MUST_USE int gt_fetch(struct gt_fetcher *f, const struct gt_fetch *what, struct gt_err *err);

/* The final answer of the last fetch; borrowed until the next one. Also there when its body failed;
 * status 0 = none came. */
const struct gt_fetch_answer *gt_fetch_answer(const struct gt_fetcher *f);
/* Did the answer come from the scheme, host and port that was asked? What others say, a 401 above
 * all, is not to be answered with credentials. */
bool gt_fetch_at_origin(const struct gt_fetcher *f);
int gt_fetch_status(const struct gt_fetch_answer *a);
/* Case does not matter; a field that came more than once is joined by ", ". NULL = absent. */
const char *gt_fetch_header(const struct gt_fetch_answer *a, const char *name);
bool gt_fetch_length(const struct gt_fetch_answer *a, uint64_t *ret); /* false = not announced */
/* Seconds, of either form of Retry-After; -1 = absent. */
int64_t gt_fetch_retry_after_s(const struct gt_fetch_answer *a);

/* Text as one component of a query or form. */
void gt_fetch_escape(struct gt_buf *out, const char *text);
/* "Basic ..." for gt_fetch.authorization; the caller frees it. */
char *gt_fetch_basic(const char *user, const char *password);

#endif
