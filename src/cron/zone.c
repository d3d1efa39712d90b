/* zone.c - a TZif file read, and what of it holds at a time. Versions 2 and later alone: the first
 * has no rule for what comes after its table. */
#include <gantry/cron/zone.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "civil.h"
#include "posix.h"

#define HEAD_SIZE    44
#define TIMES_MAX    4096
#define OFFSET_LEAST (-89999) /* RFC 9636, 3.2 */
#define OFFSET_MOST  93599

struct gt_zone {
	size_t n;
	int64_t *at;     /* ascending */
	int32_t *offset; /* from at[i] on */
	int32_t first;   /* before them */
	struct posix_rule rule;
	bool has_rule; /* for what comes after them */
};

static int bad(struct gt_err *err, const char *what)
{
	return gt_err_set(err, EINVAL, "invalid_schedule",
			  "the file of the time zone is damaged: %s", what);
}

struct reader {
	const unsigned char *at;
	size_t left;
};

static const unsigned char *take(struct reader *r, size_t len)
{
	const unsigned char *at = r->at;

	if (len > r->left)
		return NULL;
	r->at += len;
	r->left -= len;
	return at;
}

static int64_t number(const unsigned char *p, size_t bytes)
{
	uint64_t v = p[0] & 0x80 ? UINT64_MAX : 0;

	while (bytes--)
		v = v << 8 | *p++;
	return (int64_t)v;
}

struct head {
	unsigned char version;
	uint32_t isut, isstd, leap, times, types, chars;
};

static int head_read(struct reader *r, struct head *h, struct gt_err *err)
{
	const unsigned char *p = take(r, HEAD_SIZE);
	uint32_t *const counts[] = {
		&h->isut, &h->isstd, &h->leap, &h->times, &h->types, &h->chars
	};

	if (!p || memcmp(p, "TZif", 4) != 0)
		return bad(err, "it does not begin with TZif");
	h->version = p[4];
	for (size_t i = 0; i < GT_LEN(counts); i++) {
		uint64_t n = (uint64_t)number(p + 20 + 4 * i, 4);

		if (n > TIMES_MAX)
			return bad(err, "it has too many times");
		*counts[i] = (uint32_t)n;
	}
	if (h->version < '2')
		return bad(err, "it is of version 1, which is out of use since 2005");
	if (h->types == 0 || h->chars == 0)
		return bad(err, "it has no offset");
	return 0;
}

static size_t block_size(const struct head *h, size_t time)
{
	return h->times * (time + 1) + h->types * 6 + h->chars + h->leap * (time + 4) + h->isstd +
	       h->isut;
}

static int types_read(const unsigned char *p, const struct head *h, int32_t *offsets,
		      struct gt_err *err)
{
	for (uint32_t i = 0; i < h->types; i++, p += 6) {
		int64_t offset = number(p, 4);

		if (offset < OFFSET_LEAST || offset > OFFSET_MOST || p[4] > 1 || p[5] >= h->chars)
			return bad(err, "an offset is none");
		offsets[i] = (int32_t)offset;
	}
	return 0;
}

static int times_read(struct gt_zone *z, struct reader *r, const struct head *h, struct gt_err *err)
{
	const unsigned char *times = take(r, h->times * 8), *kinds = take(r, h->times);
	const unsigned char *types = take(r, h->types * 6);
	int32_t offsets[256];

	if (!times || !kinds || !types || h->types > GT_LEN(offsets))
		return bad(err, "it ends early");
	if (types_read(types, h, offsets, err) < 0)
		return -EINVAL;
	z->n = h->times;
	z->at = gt_alloc_array(z->n + 1, sizeof(*z->at));
	z->offset = gt_alloc_array(z->n + 1, sizeof(*z->offset));
	z->first = offsets[0];
	for (size_t i = 0; i < z->n; i++) {
		z->at[i] = number(times + 8 * i, 8);
		if (kinds[i] >= h->types || (i && z->at[i] <= z->at[i - 1]))
			return bad(err, "its times are not in order");
		z->offset[i] = offsets[kinds[i]];
	}
	return 0;
}

static int foot_read(struct gt_zone *z, struct reader *r, struct gt_err *err)
{
	char text[POSIX_TEXT_MAX + 1];
	const unsigned char *end = r->left > 1 ? memchr(r->at + 1, '\n', r->left - 1) : NULL;
	size_t len;

	if (!end || r->at[0] != '\n')
		return bad(err, "it has no last line");
	len = (size_t)(end - r->at) - 1;
	if (len == 0)
		return 0;
	if (len > POSIX_TEXT_MAX || memchr(r->at + 1, '\0', len))
		return bad(err, "its last line is too long");
	memcpy(text, r->at + 1, len);
	text[len] = '\0';
	if (posix_parse(text, &z->rule) < 0)
		return bad(err, "its last line is no rule");
	z->has_rule = true;
	return 0;
}

int gt_zone_parse(const void *data, size_t len, struct gt_zone **ret, struct gt_err *err)
{
	gt_auto(zone) struct gt_zone *z = gt_alloc(sizeof(*z));
	struct reader r = { data, len };
	struct head h = { 0 };

	if (head_read(&r, &h, err) < 0)
		return -EINVAL;
	if (!take(&r, block_size(&h, 4))) /* the same once more, for old readers */
		return bad(err, "it ends early");
	if (head_read(&r, &h, err) < 0)
		return -EINVAL;
	if (h.leap)
		return bad(err, "it counts leap seconds");
	if (times_read(z, &r, &h, err) < 0)
		return -EINVAL;
	if (!take(&r, h.chars + h.isstd + h.isut))
		return bad(err, "it ends early");
	if (foot_read(z, &r, err) < 0)
		return -EINVAL;
	*ret = gt_steal(&z);
	return 0;
}

void gt_zone_free(struct gt_zone *z)
{
	if (!z)
		return;
	free(z->at);
	free(z->offset);
	free(z);
}

/* ---- files ---------------------------------------------------------------------------------- */

bool gt_zone_name_ok(const char *name)
{
	size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				  "0123456789+-_/");

	return len > 0 && len <= GT_ZONE_NAME_MAX && name[len] == '\0' && name[0] != '/' &&
	       name[len - 1] != '/' && !strstr(name, "//");
}

/* No name has a dot, so none leads out of the directory. */
int gt_zone_read(const char *dir, const char *name, struct gt_zone **ret, struct gt_err *err)
{
	gt_auto(fd) int dir_fd = -EBADF;
	gt_auto(fd) int fd = -EBADF;
	gt_auto(free) char *data = NULL;
	ssize_t n;

	if (!gt_zone_name_ok(name))
		return gt_err_set(err, EINVAL, "invalid_schedule",
				  "\"%.80s\" is no time zone: use a name such as Europe/Berlin",
				  name);
	if (gt_streq(name, "UTC")) {
		*ret = NULL;
		return 0;
	}
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return gt_err_set(err, ENOENT, "invalid_schedule",
				  "%s can not be read (%s): install tzdata, or use UTC", dir,
				  strerror(errno));
	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return gt_err_set(err, ENOENT, "invalid_schedule",
				  "there is no time zone %s in %s (%s)", name, dir,
				  strerror(errno));
	data = gt_alloc(GT_ZONE_BYTES_MAX);
	n = read(fd, data, GT_ZONE_BYTES_MAX);
	if (n < 0)
		return gt_err_set(err, ENOENT, "invalid_schedule", "%s is no time zone: %s", name,
				  strerror(errno));
	if (gt_zone_parse(data, (size_t)n, ret, err) < 0)
		return gt_err_wrap(err, "%s/%s", dir, name);
	return 0;
}

/* ---- spans ---------------------------------------------------------------------------------- */

void gt_zone_span_at(const struct gt_zone *z, int64_t t, struct gt_zone_span *ret)
{
	size_t low = 0, high = z ? z->n : 0;

	*ret = (struct gt_zone_span){ INT64_MIN, INT64_MAX, 0 };
	if (!z)
		return;
	while (low < high) { /* how many have come by then */
		size_t mid = low + (high - low) / 2;

		if (z->at[mid] <= t)
			low = mid + 1;
		else
			high = mid;
	}
	ret->offset_s = low ? z->offset[low - 1] : z->first;
	if (low)
		ret->begin = z->at[low - 1];
	if (low < z->n)
		ret->end = z->at[low];
	else if (z->has_rule)
		posix_span_at(&z->rule, t, ret);
}
