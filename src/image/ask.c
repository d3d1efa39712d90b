/* ask.c - one request to a registry: a place in its host's queue, a connection, the answer to a
 * challenge; and whether it is worth asking again. */
#include "registry_priv.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <utlist.h>

#define LOOK_MS          100 /* how often a wait looks at `cancel`, which nobody signals */
#define PAUSE_DOUBLES    6
#define CHALLENGE_MAX    (8 * GT_KIB)
#define TRIES_UNANSWERED 2u

static bool cancelled(const atomic_bool *cancel)
{
	return cancel && atomic_load(cancel);
}

static int refuse_cancelled(struct gt_err *err)
{
	return gt_err_set(err, ECANCELED, "registry_unavailable", "cancelled");
}

/* ---- where a reference's registry answers --------------------------------------------------- */
static bool is_loopback(const char *host)
{
	char name[GT_REF_HOST_SIZE];
	struct in_addr v4;

	if (host[0] == '[')
		return gt_starts_with(host, "[::1]");
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(host, ":"), host);
	if (strcasecmp(name, "localhost") == 0)
		return true;
	return inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

static bool is_plain(const struct gt_registry *r, const char *host)
{
	for (char **h = r->insecure; *h; h++)
		if (strcasecmp(*h, host) == 0)
			return true;
	return is_loopback(host);
}

void gt_ask_init(struct gt_ask *ask, struct gt_registry *r, const struct gt_ref *ref,
		 const atomic_bool *cancel)
{
	bool hub = gt_host_is_hub(ref->host);
	bool official = hub && !strchr(ref->path, '/');

	*ask = (struct gt_ask){ .r = r, .ref = ref, .cancel = cancel };
	gt_strcopy(ask->host, sizeof(ask->host), hub ? GT_HUB_API : ref->host);
	snprintf(ask->path, sizeof(ask->path), "%s%s", official ? "library/" : "", ref->path);
	snprintf(ask->base, sizeof(ask->base), "%s://%s", is_plain(r, ask->host) ? "http" : "https",
		 ask->host);
	snprintf(ask->scope, sizeof(ask->scope), "repository:%s:pull", ask->path);
}

/* ---- limits and connections ----------------------------------------------------------------- */
static struct timespec in_ms(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	t.tv_sec += ms / 1000 + t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static void host_leave(struct gt_registry *r, struct gt_registry_host *h)
{
	if (h->running || h->waiting)
		return;
	DL_DELETE(r->hosts, h);
	free(h);
}

static struct gt_registry_host *host_enter(struct gt_registry *r, const char *name)
{
	struct gt_registry_host *h;

	DL_FOREACH (r->hosts, h)
		if (strcasecmp(h->name, name) == 0)
			return h;
	h = gt_alloc(sizeof(*h));
	gt_strcopy(h->name, sizeof(h->name), name);
	DL_APPEND(r->hosts, h);
	return h;
}

/* "https://host:1/x?y" -> "host:1" */
static void host_of(const char *url, char out[GT_REGISTRY_URL_MAX])
{
	const char *host = strstr(url, "://");

	host = host ? host + 3 : url;
	snprintf(out, GT_REGISTRY_URL_MAX, "%.*s", (int)strcspn(host, "/?#"), host);
}

static int slot_take(struct gt_registry *r, const char *url, const atomic_bool *cancel,
		     struct gt_registry_host **ret, struct gt_err *err)
{
	char name[GT_REGISTRY_URL_MAX];
	int result = 0;

	host_of(url, name);
	pthread_mutex_lock(&r->lock);
	struct gt_registry_host *h = host_enter(r, name);

	h->waiting++;
	while (h->running >= r->per_host && result == 0) {
		struct timespec until = in_ms(LOOK_MS);

		if (cancelled(cancel))
			result = refuse_cancelled(err);
		else
			pthread_cond_timedwait(&r->slot_free, &r->lock, &until);
	}
	h->waiting--;
	if (result == 0) {
		h->running++;
		*ret = h;
	} else {
		host_leave(r, h);
	}
	pthread_mutex_unlock(&r->lock);
	return result;
}

static int fetcher_take(struct gt_registry *r, struct gt_fetcher **ret, struct gt_err *err)
{
	struct gt_fetcher_config config = { .ca_file = r->ca_file, .stall_s = r->stall_s };

	pthread_mutex_lock(&r->lock);
	struct gt_fetcher *f = r->n_idle ? r->idle[--r->n_idle] : NULL;

	pthread_mutex_unlock(&r->lock);
	if (!f)
		return gt_fetcher_new(&config, ret, err);
	*ret = f;
	return 0;
}

static void give_back(struct gt_registry *r, struct gt_registry_host *h, struct gt_fetcher *f)
{
	pthread_mutex_lock(&r->lock);
	h->running--;
	host_leave(r, h);
	if (f && r->n_idle < GT_REGISTRY_FETCHERS_IDLE) {
		r->idle[r->n_idle++] = f;
		f = NULL;
	}
	pthread_cond_broadcast(&r->slot_free);
	pthread_mutex_unlock(&r->lock);
	gt_fetcher_free(f);
}

int gt_ask_fetch(struct gt_registry *r, const struct gt_fetch *what,
		 int (*use)(struct gt_fetcher *f, void *arg, struct gt_err *err), void *arg,
		 struct gt_err *err)
{
	struct gt_registry_host *h = NULL;
	struct gt_fetcher *f = NULL;
	int result = slot_take(r, what->url, what->cancel, &h, err);

	if (result < 0)
		return result;
	result = fetcher_take(r, &f, err);
	if (result == 0)
		result = gt_fetch(f, what, err);
	if (result == 0)
		result = use(f, arg, err);
	give_back(r, h, f);
	return result;
}

/* ---- one request ---------------------------------------------------------------------------- */
struct seen {
	struct gt_asked asked;
	char *challenge; /* of a 401 that is the registry's own */
};

static int look(struct gt_fetcher *f, void *arg, struct gt_err *err GT_UNUSED)
{
	const struct gt_fetch_answer *a = gt_fetch_answer(f);
	const char *challenge = gt_fetch_header(a, "www-authenticate");
	struct seen *seen = arg;

	seen->asked = (struct gt_asked){ gt_fetch_status(a), gt_fetch_retry_after_s(a) };
	/* Whoever a redirect led to has no right to the credentials of this registry. */
	if (seen->asked.status == 401 && challenge && gt_fetch_at_origin(f) &&
	    strlen(challenge) <= CHALLENGE_MAX)
		seen->challenge = gt_strdup(challenge);
	return 0;
}

int gt_ask_once(const struct gt_ask *ask, struct gt_fetch *what, struct gt_asked *ret,
		struct gt_err *err)
{
	gt_auto(free) char *authorization = gt_auth_known(ask);
	struct seen seen = { 0 };

	what->authorization = authorization;
	what->cancel = ask->cancel;
	int r = gt_ask_fetch(ask->r, what, look, &seen, err);

	if (r == 0 && seen.challenge) {
		/* Unknown or out of date: once more with what the registry wants to see. */
		free(authorization);
		authorization = NULL;
		r = gt_auth_answer(ask, seen.challenge, &authorization, err);
		free(gt_steal(&seen.challenge));
		what->authorization = authorization;
		if (r == 0)
			r = gt_ask_fetch(ask->r, what, look, &seen, err);
		free(seen.challenge);
	}
	what->authorization = NULL;
	if (r == 0)
		*ret = seen.asked;
	return r;
}

/* ---- and again ------------------------------------------------------------------------------ */
static bool worth_another(int r, const struct gt_asked *asked)
{
	if (r < 0)
		return r == -EIO || r == -ETIMEDOUT || r == -ECONNREFUSED;
	return asked->status == 408 || asked->status == 429 || asked->status >= 500;
}

/* Somebody may be waiting for the answer that a registry is down, or that its name is wrong: once
 * more for a stumble, and that is it. */
static unsigned most_tries(const struct gt_ask *ask, const struct gt_tries *tries, int r)
{
	bool nobody = !tries->answered && (r == -ECONNREFUSED || r == -ETIMEDOUT);

	return nobody ? GT_MIN(ask->r->tries, TRIES_UNANSWERED) : ask->r->tries;
}

/* Half of it is chance, so that many who were refused together do not come back together. */
static int pause_before(const struct gt_ask *ask, unsigned failed, int64_t retry_after_s,
			struct gt_err *err)
{
	uint64_t longest = (uint64_t)ask->r->pause_ms << PAUSE_DOUBLES;
	uint64_t ms = (uint64_t)ask->r->pause_ms << GT_MIN(failed - 1, (unsigned)PAUSE_DOUBLES);
	uint32_t chance;

	gt_rand_system.fill(gt_rand_system.arg, &chance, sizeof(chance));
	ms = ms / 2 + chance % (ms / 2 + 1);
	if (retry_after_s > 0)
		ms = GT_MIN(GT_MAX(ms, (uint64_t)GT_MIN(retry_after_s, 86400) * 1000), longest);
	while (ms > 0) {
		uint64_t step = GT_MIN(ms, (uint64_t)LOOK_MS);
		struct timespec until = in_ms((unsigned)step);

		if (cancelled(ask->cancel))
			return refuse_cancelled(err);
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		ms -= step;
	}
	return 0;
}

/* A failed exchange in the words of images. */
static int exchange_failed(int r, const char *object, struct gt_err *err)
{
	if (err && (gt_streq(err->slug, "unavailable") || gt_streq(err->slug, "system_error")))
		gt_strcopy(err->slug, sizeof(err->slug),
			   r == -EMSGSIZE ? "image_invalid" : "registry_unavailable");
	gt_err_wrap(err, "%s", object);
	return r;
}

static int status_failed(const struct gt_ask *ask, const char *object, int status,
			 struct gt_err *err)
{
	const char *host = ask->ref->host;

	switch (status) {
	case 404:
		return gt_err_set(err, ENOENT, "image_missing", "%s: %s does not have it", object,
				  host);
	case 401:
	case 403:
		return gt_err_set(err, EACCES, "image_denied",
				  "%s: %s refuses access (status %d); does the image exist, and "
				  "may these credentials read it?",
				  object, host, status);
	case 429:
		return gt_err_set(err, EBUSY, "registry_unavailable",
				  "%s: %s limits how often it may be asked (status 429)", object,
				  host);
	default:
		return gt_err_set(err, EIO, "registry_unavailable", "%s: %s answers status %d",
				  object, host, status);
	}
}

int gt_ask_failed(const struct gt_ask *ask, struct gt_tries *tries, const char *object, int r,
		  const struct gt_asked *asked, struct gt_err *err)
{
	tries->failed++;
	tries->answered |= r == 0;
	if (worth_another(r, asked) && tries->failed < most_tries(ask, tries, r)) {
		gt_err_clear(err);
		return pause_before(ask, tries->failed, r < 0 ? -1 : asked->retry_after_s, err);
	}
	return r < 0 ? exchange_failed(r, object, err)
		     : status_failed(ask, object, asked->status, err);
}
