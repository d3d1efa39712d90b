/* auth.c - answers to challenges: Basic at once, Bearer by way of a token server, both kept for
 * the repository they were given for. */
#include "registry_priv.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <utlist.h>

#include <gantry/wire/oci.h>

#define MARGIN_NS (5 * GT_NS_PER_S) /* a token that ends so soon may end on the way */
#define FOREVER   UINT64_MAX

struct gt_registry_auth {
	char host[GT_REF_HOST_SIZE];
	char path[GT_REF_PATH_SIZE + sizeof("library/")];
	char *value;
	uint64_t expires_ns;
	struct gt_registry_auth *prev, *next;
};

/* ---- what is known ------------------------------------------------------------------------- */
static void auth_drop(struct gt_registry *r, struct gt_registry_auth *a)
{
	DL_DELETE(r->auths, a);
	r->n_auths--;
	free(a->value);
	free(a);
}

void gt_auths_free(struct gt_registry *r)
{
	while (r->auths)
		auth_drop(r, r->auths);
}

static struct gt_registry_auth *auth_find(const struct gt_ask *ask)
{
	struct gt_registry_auth *a;

	DL_FOREACH (ask->r->auths, a)
		if (gt_streq(a->host, ask->host) && gt_streq(a->path, ask->path))
			return a;
	return NULL;
}

char *gt_auth_known(const struct gt_ask *ask)
{
	struct gt_registry *r = ask->r;
	char *value = NULL;

	pthread_mutex_lock(&r->lock);
	struct gt_registry_auth *a = auth_find(ask);

	if (a && a->expires_ns != FOREVER && a->expires_ns < gt_mono_ns(r->clock) + MARGIN_NS) {
		auth_drop(r, a);
	} else if (a) {
		DL_DELETE(r->auths, a);
		DL_PREPEND(r->auths, a);
		value = gt_strdup(a->value);
	}
	pthread_mutex_unlock(&r->lock);
	return value;
}

static void auth_keep(const struct gt_ask *ask, const char *value, uint64_t expires_ns)
{
	struct gt_registry *r = ask->r;

	pthread_mutex_lock(&r->lock);
	struct gt_registry_auth *a = auth_find(ask);

	if (a)
		auth_drop(r, a);
	if (r->n_auths == GT_REGISTRY_AUTHS_MAX)
		auth_drop(r, r->auths->prev); /* the last one */
	a = gt_alloc(sizeof(*a));
	gt_strcopy(a->host, sizeof(a->host), ask->host);
	gt_strcopy(a->path, sizeof(a->path), ask->path);
	a->value = gt_strdup(value);
	a->expires_ns = expires_ns;
	DL_PREPEND(r->auths, a);
	r->n_auths++;
	pthread_mutex_unlock(&r->lock);
}

/* ---- token servers -------------------------------------------------------------------------- */
struct answer {
	int status;
	struct gt_buf body;
};

static int on_data(const void *data, size_t len, void *arg, struct gt_err *err)
{
	struct answer *a = arg;

	if (gt_buf_add(&a->body, data, len) < 0)
		return gt_err_set(err, ENOBUFS, "unavailable", "no memory for an answer");
	return 0;
}

static int look(struct gt_fetcher *f, void *arg, struct gt_err *err GT_UNUSED)
{
	struct answer *a = arg;

	a->status = gt_fetch_status(gt_fetch_answer(f));
	return 0;
}

/* From a registry that is spoken to safely, credentials do not go out in the open. */
static int realm_check(const struct gt_ask *ask, const char *realm, struct gt_err *err)
{
	bool safe = strncasecmp(realm, "https://", strlen("https://")) == 0;
	bool plain = strncasecmp(realm, "http://", strlen("http://")) == 0;

	if (safe || (plain && gt_starts_with(ask->base, "http://")))
		return 0;
	return gt_err_set(err, EPROTO, "registry_unavailable",
			  "%s: its token server is not spoken to: not an https address",
			  ask->ref->host);
}

static void query_add(struct gt_buf *b, const char *name, const char *value)
{
	if (!*value)
		return;
	gt_buf_addf(b, "%s%s=", b->len ? "&" : "", name);
	gt_fetch_escape(b, value);
}

/* The query of a GET with Basic, or, for an identity token, the form of a POST. */
static int token_fetch(const struct gt_ask *ask, const struct gt_challenge *c,
		       const struct gt_docker_login *login, struct answer *answer,
		       struct gt_err *err)
{
	gt_auto(buf) struct gt_buf query = { 0 };
	gt_auto(free) char *basic = login->user ? gt_fetch_basic(login->user, login->password)
						: NULL;
	gt_auto(free) char *url = NULL;
	struct gt_fetch what = { .max = GT_OCI_TOKEN_MAX,
				 .whole_ms = ask->r->stall_s * 4000,
				 .cancel = ask->cancel,
				 .on_data = on_data,
				 .arg = answer };

	query_add(&query, "service", c->service);
	query_add(&query, "scope", c->scope[0] ? c->scope : ask->scope);
	if (login->identity_token) {
		query_add(&query, "grant_type", "refresh_token");
		query_add(&query, "client_id", "gantry");
		query_add(&query, "refresh_token", login->identity_token);
		what.form = gt_buf_str(&query);
		what.url = c->realm;
	} else {
		url = gt_asprintf("%s%s%s", c->realm, strchr(c->realm, '?') ? "&" : "?",
				  gt_buf_str(&query));
		what.url = url;
		what.authorization = basic;
	}
	return gt_ask_fetch(ask->r, &what, look, answer, err);
}

static int token_refused(const struct gt_ask *ask, int status, bool anonymous, struct gt_err *err)
{
	if (status == 408 || status == 429 || status >= 500) /* -EIO: worth another try */
		return gt_err_set(err, EIO, "unavailable", "%s: its token server answers status %d",
				  ask->ref->host, status);
	return gt_err_set(err, EACCES, "image_denied",
			  anonymous ? "%s: no access without credentials (its token server answers "
				      "status %d); add them for this host"
				    : "%s: its token server refuses the credentials (status %d)",
			  ask->ref->host, status);
}

/* What was wrong with it is not told: the answer holds a secret. */
static int no_use(const struct gt_ask *ask, struct gt_err *err)
{
	return gt_err_set(err, EPROTO, "registry_unavailable",
			  "%s: the answer of its token server is of no use", ask->ref->host);
}

static int bearer_answer(const struct gt_ask *ask, const struct gt_challenge *c,
			 const struct gt_docker_login *login, char **ret, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	gt_auto(free) char *token = NULL;
	struct answer answer = { 0 };
	uint64_t expires_s = 0;
	int r = realm_check(ask, c->realm, err);

	if (r < 0)
		return r;
	uint64_t asked_ns = gt_mono_ns(ask->r->clock);

	r = token_fetch(ask, c, login, &answer, err);
	body = answer.body;
	if (r == -EMSGSIZE)
		return no_use(ask, err);
	if (r < 0)
		return r;
	if (answer.status != 200)
		return token_refused(ask, answer.status, !login->user && !login->identity_token,
				     err);
	r = gt_oci_token_read(gt_buf_str(&body), body.len, &token, &expires_s, err);
	if (r < 0)
		return no_use(ask, err);
	*ret = gt_asprintf("Bearer %s", token);
	auth_keep(ask, *ret, asked_ns + expires_s * GT_NS_PER_S);
	return 0;
}

/* ---- challenges ----------------------------------------------------------------------------- */
static int basic_answer(const struct gt_ask *ask, const struct gt_docker_login *login, char **ret,
			struct gt_err *err)
{
	if (!login->user)
		return gt_err_set(err, EACCES, "image_denied",
				  "%s: no access without a user and password; add credentials for "
				  "this host",
				  ask->ref->host);
	*ret = gt_fetch_basic(login->user, login->password);
	auth_keep(ask, *ret, FOREVER);
	return 0;
}

int gt_auth_answer(const struct gt_ask *ask, const char *challenge, char **ret, struct gt_err *err)
{
	gt_auto(docker_login) struct gt_docker_login login = { 0 };
	gt_auto(free) struct gt_challenge *c = gt_alloc(sizeof(*c));
	int r = gt_challenge_parse(challenge, c, err);

	if (r < 0) {
		gt_err_wrap(err, "%s", ask->ref->host);
		return r;
	}
	if ((r = gt_creds_find(ask, &login, err)) < 0)
		return r;
	if (c->scheme == GT_CHALLENGE_BASIC)
		return basic_answer(ask, &login, ret, err);
	return bearer_answer(ask, c, &login, ret, err);
}
