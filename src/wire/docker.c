/* docker.c - credentials as Docker's tools write them. */
#include <gantry/wire/docker.h>

#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#include <gantry/model/ref.h>

#include "foreign.h"

#define HOST_MAX    256
#define SECRET_MAX  (16 * GT_KIB)
#define ENTRIES_MAX 1000
#define HELPER_MAX  64

struct entry {
	char host[HOST_MAX];
	struct gt_docker_login login; /* of auths */
	char helper[HELPER_MAX + 1];  /* of credHelpers */
};

struct gt_docker_config {
	struct entry *logins, *helpers;
	size_t n_logins, n_helpers;
	char store[HELPER_MAX + 1];
};

/* The parser's own words repeat what stands there, which may be a secret. */
static int hushed(int r, struct gt_err *err)
{
	char *near = r < 0 && err ? strstr(err->text, " near ") : NULL;

	if (near)
		*near = '\0';
	return r;
}

static void secret_free(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

void gt_docker_login_fini(struct gt_docker_login *l)
{
	free(l->user);
	secret_free(l->password);
	secret_free(l->identity_token);
	*l = (struct gt_docker_login){ 0 };
}

void gt_docker_config_free(struct gt_docker_config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_logins; i++)
		gt_docker_login_fini(&c->logins[i].login);
	free(c->logins);
	free(c->helpers);
	free(c);
}
GT_CLEANUP_TYPE(docker_config, struct gt_docker_config *, gt_docker_config_free)

bool gt_docker_helper_ok(const char *name)
{
	size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				  "0123456789._-");

	return len > 0 && len <= HELPER_MAX && !name[len];
}

/* "https://index.docker.io/v1/" -> "docker.io": old tools wrote addresses where new ones write
 * hosts. */
static void host_of(const char *key, char out[HOST_MAX])
{
	const char *scheme = strstr(key, "://");

	key = scheme ? scheme + 3 : key;
	snprintf(out, HOST_MAX, "%.*s", (int)strcspn(key, "/"), key);
	if (gt_host_is_hub(out))
		gt_strcopy(out, HOST_MAX, GT_HUB_HOST);
}

/* Base64 with its padding and nothing else in it; NULL when it is no such thing. */
static char *decode(const char *text)
{
	size_t len = strlen(text);
	size_t digits = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789+/");
	size_t pad = strspn(text + digits, "=");

	if (len == 0 || len % 4 != 0 || pad > 2 || digits + pad != len)
		return NULL;
	char *out = gt_alloc(len / 4 * 3 + 1);
	int n = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)text, (int)len);

	/* The padding's zeros are counted. */
	if (n < 0 || memchr(out, '\0', (size_t)n - pad)) {
		secret_free(out);
		return NULL;
	}
	return out;
}

static int auth_split(const char *auth, const struct gt_at *at, struct gt_docker_login *l,
		      struct gt_err *err)
{
	struct gt_at here = { at, "auth", 0 };
	char *plain = decode(auth);
	char *colon = plain ? strchr(plain, ':') : NULL;

	if (colon) {
		l->user = gt_strndup(plain, (size_t)(colon - plain));
		l->password = gt_strdup(colon + 1);
	}
	secret_free(plain);
	return colon ? 0 : gt_refuse_at(err, &here, "not USER:PASSWORD in base64");
}

static int login_read(const json_t *js, const struct gt_at *at, struct gt_docker_login *l,
		      struct gt_err *err)
{
	const char *auth = NULL, *user = NULL, *password = NULL, *token = NULL;
	struct gt_at user_at = { at, "username", 0 };
	int r;

	if ((r = gt_foreign_text(js, at, "auth", SECRET_MAX, &auth, err)) < 0 ||
	    (r = gt_foreign_text(js, at, "username", SECRET_MAX, &user, err)) < 0 ||
	    (r = gt_foreign_text(js, at, "password", SECRET_MAX, &password, err)) < 0 ||
	    (r = gt_foreign_text(js, at, "identitytoken", SECRET_MAX, &token, err)) < 0)
		return r;
	if (token && *token) {
		l->identity_token = gt_strdup(token);
		return 0;
	}
	if (auth && *auth)
		return auth_split(auth, at, l, err);
	if (!user || !*user)
		return 0; /* an entry of a credential store: only its name is here */
	if (strchr(user, ':'))
		return gt_refuse_at(err, &user_at, "a user's name has no ':'");
	l->user = gt_strdup(user);
	l->password = gt_strdup(password ? password : "");
	return 0;
}

static int helper_take(const json_t *obj, const struct gt_at *at, const char *name,
		       char out[HELPER_MAX + 1], struct gt_err *err)
{
	struct gt_at here = { at, name, 0 };
	const char *text = NULL;
	int r = gt_foreign_text(obj, at, name, HELPER_MAX, &text, err);

	if (r < 0 || !text || !*text)
		return r;
	if (!gt_docker_helper_ok(text))
		return gt_refuse_at(err, &here,
				    "not the name of a helper: letters, digits, '.', '_', '-'");
	gt_strcopy(out, HELPER_MAX + 1, text);
	return 0;
}

static int entries_new(const json_t *obj, const char *name, struct entry **ret, struct gt_err *err)
{
	size_t n = json_object_size(obj);

	if (n > ENTRIES_MAX)
		return gt_refuse(err, name, "%zu entries; the limit is %d", n, ENTRIES_MAX);
	*ret = gt_alloc_array(n + 1, sizeof(**ret));
	return 0;
}

static int auths_read(const json_t *js, struct gt_docker_config *c, struct gt_err *err)
{
	struct gt_at at = { NULL, "auths", 0 };
	json_t *auths = NULL, *value;
	const char *key;
	int r;

	if ((r = gt_foreign_get(js, NULL, "auths", JSON_OBJECT, &auths, err)) < 0 ||
	    (r = entries_new(auths, "auths", &c->logins, err)) < 0)
		return r;
	json_object_foreach(auths, key, value)
	{
		struct gt_at here = { &at, key, 0 };
		struct entry *e = &c->logins[c->n_logins];
		json_t *obj = NULL;

		if ((r = gt_foreign_get(auths, &at, key, JSON_OBJECT, &obj, err)) < 0 ||
		    (r = login_read(obj, &here, &e->login, err)) < 0)
			return r;
		host_of(key, e->host);
		if (e->login.user || e->login.identity_token)
			c->n_logins++;
	}
	return 0;
}

static int helpers_read(const json_t *js, struct gt_docker_config *c, struct gt_err *err)
{
	struct gt_at at = { NULL, "credHelpers", 0 };
	json_t *helpers = NULL, *value;
	const char *key;
	int r;

	if ((r = gt_foreign_get(js, NULL, "credHelpers", JSON_OBJECT, &helpers, err)) < 0 ||
	    (r = entries_new(helpers, "credHelpers", &c->helpers, err)) < 0)
		return r;
	json_object_foreach(helpers, key, value)
	{
		struct entry *e = &c->helpers[c->n_helpers++];

		host_of(key, e->host);
		if ((r = helper_take(helpers, &at, key, e->helper, err)) < 0)
			return r;
	}
	return helper_take(js, NULL, "credsStore", c->store, err);
}

int gt_docker_config_read(const char *text, size_t len, struct gt_docker_config **ret,
			  struct gt_err *err)
{
	gt_auto(docker_config) struct gt_docker_config *c = gt_alloc(sizeof(*c));
	gt_auto(doc) json_t *js = NULL;
	int r;

	if ((r = gt_foreign_parse(text, len, GT_DOCKER_CONFIG_MAX, &js, err)) < 0)
		return hushed(r, err);
	if ((r = auths_read(js, c, err)) < 0 || (r = helpers_read(js, c, err)) < 0)
		return r;
	*ret = gt_steal(&c);
	return 0;
}

static const struct entry *entry_find(const struct entry *list, size_t n, const char *host)
{
	char wanted[HOST_MAX];

	host_of(host, wanted);
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(list[i].host, wanted) == 0)
			return &list[i];
	return NULL;
}

const struct gt_docker_login *gt_docker_config_login(const struct gt_docker_config *c,
						     const char *host)
{
	const struct entry *e = entry_find(c->logins, c->n_logins, host);

	return e ? &e->login : NULL;
}

const char *gt_docker_config_helper(const struct gt_docker_config *c, const char *host, bool store)
{
	const struct entry *e = entry_find(c->helpers, c->n_helpers, host);

	if (e && e->helper[0])
		return e->helper;
	return store && c->store[0] ? c->store : NULL;
}

int gt_docker_answer_read(const char *text, size_t len, struct gt_docker_login *ret,
			  struct gt_err *err)
{
	gt_auto(doc) json_t *js = NULL;
	const char *user = NULL, *secret = NULL;
	int r;

	if ((r = gt_foreign_parse(text, len, GT_DOCKER_ANSWER_MAX, &js, err)) < 0)
		return hushed(r, err);
	if ((r = gt_foreign_text(js, NULL, "Username", SECRET_MAX, &user, err)) < 0 ||
	    (r = gt_foreign_text(js, NULL, "Secret", SECRET_MAX, &secret, err)) < 0)
		return r;
	if (!user || !secret || !*secret)
		return gt_refuse(err, "", "Username or Secret is missing");
	struct gt_docker_login l = { 0 };

	if (gt_streq(user, "<token>")) {
		l.identity_token = gt_strdup(secret);
	} else {
		l.user = gt_strdup(user);
		l.password = gt_strdup(secret);
	}
	*ret = l;
	return 0;
}
