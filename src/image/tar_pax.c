/* tar_pax.c - the records of a pax header: "LENGTH KEY=VALUE\n". */
#include "tar.h"

#include <string.h>

#define XATTR_PREFIX "SCHILY.xattr."

struct record {
	const char *key;
	char *value; /* NUL-terminated, may hold NULs before that */
	size_t len;
};

/* Takes one record off the front of [*at, end). */
static int record_next(char **at, char *end, struct record *ret, struct gt_err *err)
{
	char *p = *at, *eq;
	size_t len = 0;

	for (; p < end && *p >= '0' && *p <= '9' && len <= GT_TAR_PAX_MAX; p++)
		len = len * 10 + (size_t)(*p - '0');
	if (p == *at || p == end || *p != ' ' || len > (size_t)(end - *at) ||
	    len < (size_t)(p - *at) + 4 || (*at)[len - 1] != '\n')
		return gt_image_refuse(err, "a pax record of a wrong length");
	p++;
	eq = memchr(p, '=', (size_t)(*at + len - 1 - p));
	if (!eq || eq == p || memchr(p, '\0', (size_t)(eq - p)))
		return gt_image_refuse(err, "a pax record without a key");
	*eq = '\0';
	(*at)[len - 1] = '\0';
	*ret = (struct record){ p, eq + 1, (size_t)(*at + len - 1 - (eq + 1)) };
	*at += len;
	return 0;
}

static int whole_number(const struct record *r, uint64_t max, uint64_t *ret, struct gt_err *err)
{
	uint64_t v = 0;

	for (size_t i = 0; i < r->len; i++) {
		unsigned digit = (unsigned)(r->value[i] - '0');

		if (digit > 9 || v > (max - digit) / 10)
			return gt_image_refuse(err, "pax %s is no number up to %llu", r->key,
					       (unsigned long long)max);
		v = v * 10 + digit;
	}
	*ret = v;
	return 0;
}

/* "-12.5" is half a second before -12: seconds round down, nanoseconds count up. */
static int time_value(const struct record *r, struct gt_pax *pax, struct gt_err *err)
{
	bool negative = r->value[0] == '-';
	char *dot = strchr(r->value, '.');
	struct record whole = { r->key, r->value + negative, 0 };
	uint64_t s, ns = 0, unit = 100000000;
	int rc;

	whole.len = dot ? (size_t)(dot - whole.value) : r->len - negative;
	if (whole.len == 0 || strlen(r->value) != r->len)
		return gt_image_refuse(err, "pax %s is no time", r->key);
	if ((rc = whole_number(&whole, INT64_MAX / 2, &s, err)) < 0)
		return rc;
	for (const char *p = dot ? dot + 1 : ""; *p; p++, unit /= 10) {
		if (*p < '0' || *p > '9')
			return gt_image_refuse(err, "pax %s is no time", r->key);
		ns += (uint64_t)(*p - '0') * unit;
	}
	pax->mtime = negative ? -(int64_t)s - (ns > 0) : (int64_t)s;
	pax->mtime_ns = (uint32_t)(negative && ns ? 1000000000 - ns : ns);
	return 0;
}

static int text_value(const struct record *r, const char **ret, struct gt_err *err)
{
	if (strlen(r->value) != r->len)
		return gt_image_refuse(err, "pax %s holds a NUL", r->key);
	*ret = r->value;
	return 0;
}

static int xattr(const struct record *r, struct gt_pax *pax, struct gt_err *err)
{
	const char *name = r->key + strlen(XATTR_PREFIX);

	for (size_t i = 0; i < pax->n_xattrs; i++)
		if (strcmp(pax->xattrs[i].name, name) == 0)
			return gt_image_refuse(err, "an extended attribute twice");
	if (pax->n_xattrs == GT_TAR_XATTRS_MAX)
		return gt_image_refuse(err, "more than %d extended attributes", GT_TAR_XATTRS_MAX);
	pax->xattrs[pax->n_xattrs++] = (struct gt_tar_xattr){ name, r->value, r->len };
	return 0;
}

static int id_value(const struct record *r, uint32_t *ret, struct gt_err *err)
{
	uint64_t v;
	int rc = whole_number(r, UINT32_MAX - 1, &v, err);

	if (rc == 0)
		*ret = (uint32_t)v;
	return rc;
}

static int apply(const struct record *r, unsigned bit, struct gt_pax *pax, struct gt_err *err)
{
	switch (bit) {
	case GT_PAX_PATH:
		return text_value(r, &pax->path, err);
	case GT_PAX_LINK:
		return text_value(r, &pax->link, err);
	case GT_PAX_SIZE:
		return whole_number(r, GT_TAR_FILE_MAX, &pax->size, err);
	case GT_PAX_UID:
		return id_value(r, &pax->uid, err);
	case GT_PAX_GID:
		return id_value(r, &pax->gid, err);
	default:
		return time_value(r, pax, err);
	}
}

static int take(const struct record *r, bool global, struct gt_pax *pax, struct gt_err *err)
{
	static const struct {
		const char *key;
		unsigned bit;
	} known[] = {
		{ "path", GT_PAX_PATH }, { "linkpath", GT_PAX_LINK }, { "size", GT_PAX_SIZE },
		{ "uid", GT_PAX_UID },   { "gid", GT_PAX_GID },       { "mtime", GT_PAX_MTIME },
	};
	int rc;

	if (gt_starts_with(r->key, "GNU.sparse.") || strcmp(r->key, "SCHILY.realsize") == 0)
		return gt_image_refuse(err, "sparse files are not supported");
	if (gt_starts_with(r->key, XATTR_PREFIX))
		return global ? gt_image_refuse(err, "a global pax header sets an attribute")
			      : xattr(r, pax, err);
	for (size_t i = 0; i < GT_LEN(known); i++) {
		if (strcmp(r->key, known[i].key) != 0)
			continue;
		if (global && known[i].bit < GT_PAX_UID)
			return gt_image_refuse(err, "a global pax header sets %s", r->key);
		pax->has &= ~known[i].bit;
		if (r->len == 0) /* takes back what an earlier record said */
			return 0;
		if ((rc = apply(r, known[i].bit, pax, err)) < 0)
			return rc;
		pax->has |= known[i].bit;
		return 0;
	}
	return 0; /* names, comments, times that nobody keeps */
}

int gt_pax_parse(char *text, size_t len, bool global, struct gt_pax *ret, struct gt_err *err)
{
	struct record r;
	int rc;

	for (char *at = text, *end = text + len; at < end;)
		if ((rc = record_next(&at, end, &r, err)) < 0 ||
		    (rc = take(&r, global, ret, err)) < 0)
			return rc;
	return 0;
}
