/* http/router.c - see router.h. */
#include <string.h>

#include <gantry/base/cleanup.h>

#include "router.h"

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Decodes in place; false for a broken escape or an encoded NUL, which would hide what follows. */
static bool percent_decode(char *s, bool plus_is_space)
{
	char *w = s;

	for (const char *r = s; *r; r++) {
		if (*r == '%') {
			int high = hex_digit(r[1]);
			int low = high < 0 ? -1 : hex_digit(r[2]);

			if (low < 0 || (high == 0 && low == 0))
				return false;
			*w++ = (char)(high << 4 | low);
			r += 2;
		} else {
			*w++ = plus_is_space && *r == '+' ? ' ' : *r;
		}
	}
	*w = '\0';
	return true;
}

static int parse_segments(char *path, struct gt_target *t, struct gt_err *err)
{
	char *save = path + (*path == '/');

	for (char *s; (s = strsep(&save, "/"));) {
		if (t->n_segments == GT_LEN(t->segments))
			return gt_err_set(err, EINVAL, "bad_parameter",
					  "the path has more than %d segments",
					  GT_TARGET_SEGMENTS_MAX);
		if (!percent_decode(s, false))
			return gt_err_set(err, EINVAL, "bad_parameter",
					  "the path has a broken percent escape");
		t->segments[t->n_segments++] = s;
	}
	return 0;
}

static int parse_query(char *query, struct gt_target *t, struct gt_err *err)
{
	for (char *s; (s = strsep(&query, "&"));) {
		char *value;

		if (*s == '\0')
			continue;
		if (t->n_query == GT_LEN(t->query))
			return gt_err_set(err, EINVAL, "bad_parameter",
					  "the query has more than %d members",
					  GT_TARGET_QUERY_MAX);
		value = strchr(s, '=');
		if (value)
			*value++ = '\0';
		if (!percent_decode(s, true))
			return gt_err_set(err, EINVAL, "bad_parameter",
					  "the query has a broken percent escape");
		if (value && !percent_decode(value, true))
			return gt_err_set(err, EINVAL, "bad_parameter",
					  "the value of \"%.64s\" has a broken percent escape", s);
		t->query[t->n_query++] = (struct gt_pair){ s, value ? value : "" };
	}
	return 0;
}

int gt_target_parse(const char *uri, struct gt_target *ret, struct gt_err *err)
{
	char *query;
	int r;

	*ret = (struct gt_target){ .path = gt_strndup(uri, strcspn(uri, "?")),
				   .store = gt_strdup(uri) };
	query = strchr(ret->store, '?');
	if (query)
		*query++ = '\0';
	r = parse_segments(ret->store, ret, err);
	if (r == 0 && query)
		r = parse_query(query, ret, err);
	return r;
}

void gt_target_fini(struct gt_target *t)
{
	free(t->path);
	free(t->store);
	free(t->names);
	*t = (struct gt_target){ 0 };
}

static const char *pair_find(const struct gt_pair *pairs, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(pairs[i].name, name) == 0)
			return pairs[i].value;
	return NULL;
}

const char *gt_target_query(const struct gt_target *t, const char *name)
{
	return pair_find(t->query, t->n_query, name);
}

const char *gt_target_param(const struct gt_target *t, const char *name)
{
	return pair_find(t->params, t->n_params, name);
}

static bool pattern_matches(const char *pattern, const struct gt_target *t)
{
	const char *p = pattern;

	for (size_t i = 0; i < t->n_segments; i++) {
		size_t len;

		if (*p != '/')
			return false;
		p++;
		len = strcspn(p, "/");
		if (*p == '{') {
			if (t->segments[i][0] == '\0')
				return false;
		} else if (strncmp(p, t->segments[i], len) != 0 || t->segments[i][len] != '\0') {
			return false;
		}
		p += len;
	}
	return *p == '\0';
}

/* The names are cut out of a copy of the pattern: "/v1/functions/{function}". */
static void params_take(const char *pattern, struct gt_target *t)
{
	char *save;
	size_t i = 0;

	t->names = gt_strdup(pattern + 1);
	save = t->names;
	for (char *s; (s = strsep(&save, "/")); i++) {
		if (*s != '{')
			continue;
		s[strlen(s) - 1] = '\0';
		t->params[t->n_params++] = (struct gt_pair){ s + 1, t->segments[i] };
	}
}

const struct gt_http_route *gt_route_match(const struct gt_http_route *routes, size_t n,
					   enum gt_method method, struct gt_target *t,
					   unsigned *allowed)
{
	*allowed = 0;
	for (size_t i = 0; i < n; i++) {
		if (!pattern_matches(routes[i].pattern, t))
			continue;
		if (routes[i].method == method) {
			params_take(routes[i].pattern, t);
			return &routes[i];
		}
		*allowed |= 1u << routes[i].method;
	}
	return NULL;
}
