/* tar.c - blocks of 512 bytes to entries. */
#include "tar.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define META_MAX       (1024 * 1024) /* of one extended header */
#define SIZE_MAX_BYTES (1ULL << 50)

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100];
	char magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is a block");

/* What extended headers say; for the next entry alone, or, of a global one, for all that follow. */
struct extra {
	char *path, *link;
	bool has_size, has_uid, has_gid, has_mtime;
	uint64_t size;
	uint32_t uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns;
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	size_t n_xattrs;
};

enum meta { META_NONE, META_PAX, META_GLOBAL, META_NAME, META_LINK };

struct tar_reader {
	tar_entry_fn *fn;
	void *arg;
	uint64_t offset; /* of the next byte */
	union {
		struct header h;
		char bytes[TAR_BLOCK];
	} block;
	size_t have;            /* bytes of the block */
	uint64_t body, padding; /* bytes to come */
	enum meta meta;         /* what the body is */
	struct gt_buf text;
	struct extra next, global;
	unsigned zeros; /* empty blocks in a row */
	bool ended;
};

GT_PRINTF(3, 4)
static int bad(const struct tar_reader *t, struct gt_err *err, const char *fmt, ...)
{
	char text[300];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?'; /* names of strangers go to terminals and logs */
	}
	return gt_err_set(err, EBADMSG, "image_invalid", "%s (archive offset %llu)", text,
			  (unsigned long long)t->offset);
}

static void extra_clear(struct extra *x)
{
	free(x->path);
	free(x->link);
	for (size_t i = 0; i < x->n_xattrs; i++) {
		free(x->xattrs[i].name);
		free(x->xattrs[i].value);
	}
	*x = (struct extra){ .path = NULL };
}

struct tar_reader *tar_reader_new(tar_entry_fn *fn, void *arg)
{
	struct tar_reader *t = gt_alloc(sizeof(*t));

	t->fn = fn;
	t->arg = arg;
	gt_buf_init(&t->text, META_MAX + 1);
	return t;
}

void tar_reader_free(struct tar_reader *t)
{
	if (!t)
		return;
	extra_clear(&t->next);
	extra_clear(&t->global);
	gt_buf_fini(&t->text);
	free(t);
}

/* ---- numbers ---- */

/* Octal digits between blanks and NULs, or base 256 with the first bit set. */
static int number(const char *field, size_t size, uint64_t max, uint64_t *ret)
{
	const unsigned char *p = (const unsigned char *)field, *end = p + size;
	uint64_t n = 0;

	if (*p & 0x80) {
		n = *p++ & 0x7f; /* a negative one has 0x40, and is too large below */
		for (; p < end; p++) {
			if (n >> 55)
				return -ERANGE;
			n = n << 8 | *p;
		}
	} else {
		while (p < end && *p == ' ')
			p++;
		for (; p < end && *p >= '0' && *p <= '7'; p++) {
			if (n >> 60)
				return -ERANGE;
			n = n << 3 | (uint64_t)(*p - '0');
		}
		for (; p < end; p++) {
			if (*p != ' ' && *p != '\0')
				return -EINVAL;
		}
	}
	if (n > max)
		return -ERANGE;
	*ret = n;
	return 0;
}

/* mtime may lie before 1970: base 256, negative. */
static int64_t time_of(const char *field, size_t size)
{
	uint64_t n = 0;

	if (!(*field & 0x80))
		return number(field, size, INT64_MAX, &n) < 0 ? 0 : (int64_t)n;
	for (size_t i = size - 8; i < size; i++)
		n = n << 8 | (unsigned char)field[i];
	return (int64_t)n;
}

static int decimal(const char *s, size_t len, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (len == 0 || len > 20)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9' || n > (UINT64_MAX - 9) / 10)
			return -EINVAL;
		n = n * 10 + (uint64_t)(s[i] - '0');
	}
	if (n > max)
		return -ERANGE;
	*ret = n;
	return 0;
}

/* "-123.456" */
static int pax_time(const char *s, size_t len, struct extra *x)
{
	bool negative = len > 0 && *s == '-';
	const char *dot;
	uint64_t whole, part = 0, scale = 100000000;

	s += negative;
	len -= negative;
	dot = memchr(s, '.', len);
	if (decimal(s, dot ? (size_t)(dot - s) : len, INT64_MAX / 2, &whole) < 0)
		return -EINVAL;
	for (const char *p = dot ? dot + 1 : s + len; p < s + len; p++, scale /= 10) {
		if (*p < '0' || *p > '9')
			return -EINVAL;
		part += (uint64_t)(*p - '0') * scale;
	}
	x->mtime_s = negative ? -(int64_t)whole - (part > 0) : (int64_t)whole;
	x->mtime_ns = (uint32_t)(negative && part ? 1000000000 - part : part);
	x->has_mtime = true;
	return 0;
}

/* ---- extended headers ---- */

static int pax_xattr(struct tar_reader *t, struct extra *x, const char *name, size_t name_len,
		     const char *value, size_t len, struct gt_err *err)
{
	if (x->n_xattrs == TAR_XATTRS_MAX)
		return bad(t, err, "an entry has more than %d extended attributes", TAR_XATTRS_MAX);
	if (name_len == 0 || name_len > 255 || len > UINT16_MAX || memchr(name, '\0', name_len))
		return bad(t, err, "an extended attribute's name or value is too long");
	x->xattrs[x->n_xattrs].name = gt_strndup(name, name_len);
	x->xattrs[x->n_xattrs].value = gt_alloc(len + 1);
	memcpy(x->xattrs[x->n_xattrs].value, value, len);
	x->xattrs[x->n_xattrs++].len = len;
	return 0;
}

static int pax_string(struct tar_reader *t, char **at, const char *value, size_t len,
		      struct gt_err *err)
{
	if (len == 0 || len >= TAR_PATH_MAX || memchr(value, '\0', len))
		return bad(t, err, "an extended header's name is empty, too long or has a NUL");
	free(*at);
	*at = gt_strndup(value, len);
	return 0;
}

static int pax_record(struct tar_reader *t, struct extra *x, const char *key, size_t key_len,
		      const char *value, size_t len, struct gt_err *err)
{
	static const char xattr[] = "SCHILY.xattr.";
	uint64_t n = 0;

#define IS(word) (key_len == strlen(word) && memcmp(key, word, key_len) == 0)
	if (IS("path"))
		return pax_string(t, &x->path, value, len, err);
	if (IS("linkpath"))
		return pax_string(t, &x->link, value, len, err);
	if (IS("size")) {
		if (decimal(value, len, SIZE_MAX_BYTES, &x->size) < 0)
			return bad(t, err, "an extended header's size is none");
		x->has_size = true;
	} else if (IS("uid") || IS("gid")) {
		if (decimal(value, len, UINT32_MAX - 1, &n) < 0)
			return bad(t, err, "an extended header's owner is none");
		*(IS("uid") ? &x->uid : &x->gid) = (uint32_t)n;
		*(IS("uid") ? &x->has_uid : &x->has_gid) = true;
	} else if (IS("mtime")) {
		if (pax_time(value, len, x) < 0)
			return bad(t, err, "an extended header's time is none");
	} else if (key_len >= 11 && memcmp(key, "GNU.sparse.", 11) == 0) {
		return bad(t, err, "sparse files are not supported");
	} else if (key_len > strlen(xattr) && memcmp(key, xattr, strlen(xattr)) == 0) {
		return pax_xattr(t, x, key + strlen(xattr), key_len - strlen(xattr), value, len,
				 err);
	}
#undef IS
	return 0;
}

/* "LENGTH KEY=VALUE\n", the length counting itself. */
static int pax_read(struct tar_reader *t, struct extra *x, struct gt_err *err)
{
	const char *at = gt_buf_str(&t->text), *end = at + t->text.len;

	while (at < end) {
		const char *blank = memchr(at, ' ', (size_t)(end - at)), *equals;
		uint64_t len = 0;
		int r;

		if (!blank || decimal(at, (size_t)(blank - at), (uint64_t)(end - at), &len) < 0 ||
		    len < (uint64_t)(blank - at) + 3 || at[len - 1] != '\n')
			return bad(t, err, "an extended header is malformed");
		equals = memchr(blank + 1, '=', (size_t)(at + len - 1 - (blank + 1)));
		if (!equals)
			return bad(t, err, "an extended header is malformed");
		r = pax_record(t, x, blank + 1, (size_t)(equals - blank - 1), equals + 1,
			       (size_t)(at + len - 1 - (equals + 1)), err);
		if (r < 0)
			return r;
		at += len;
	}
	return 0;
}

static int take_meta(struct tar_reader *t, struct gt_err *err)
{
	enum meta meta = t->meta;
	size_t len = strnlen(gt_buf_str(&t->text), t->text.len);
	int r = 0;

	t->meta = META_NONE;
	if (meta == META_PAX)
		r = pax_read(t, &t->next, err);
	else if (meta == META_GLOBAL)
		r = pax_read(t, &t->global, err);
	else
		r = pax_string(t, meta == META_NAME ? &t->next.path : &t->next.link,
			       gt_buf_str(&t->text), len, err);
	gt_buf_reset(&t->text);
	return r;
}

/* ---- headers ---- */

static int check_sum(const struct tar_reader *t)
{
	const unsigned char *p = (const unsigned char *)t->block.bytes;
	uint64_t wanted, sum = 0;

	for (size_t i = 0; i < TAR_BLOCK; i++) {
		bool own = i >= offsetof(struct header, sum) &&
			   i < offsetof(struct header, sum) + sizeof(t->block.h.sum);

		sum += own ? ' ' : p[i];
	}
	if (number(t->block.h.sum, sizeof(t->block.h.sum), UINT32_MAX, &wanted) < 0)
		return -EINVAL;
	return sum == wanted ? 0 : -EINVAL;
}

static void field_path(const struct header *h, char out[TAR_PATH_MAX])
{
	bool ustar = memcmp(h->magic, "ustar\0", 6) == 0 && h->prefix[0];

	snprintf(out, TAR_PATH_MAX, "%.*s%s%.*s", ustar ? (int)sizeof(h->prefix) : 0, h->prefix,
		 ustar ? "/" : "", (int)sizeof(h->name), h->name);
}

static int entry_type(struct tar_reader *t, const char *path, enum tar_type *ret,
		      struct gt_err *err)
{
	size_t len = strlen(path);

	switch (t->block.h.type) {
	case '0':
	case '\0':
	case '7':
		/* Old archives mark directories by their name alone. */
		*ret = len > 0 && path[len - 1] == '/' ? TAR_DIR : TAR_FILE;
		return 0;
	case '1':
		*ret = TAR_LINK;
		return 0;
	case '2':
		*ret = TAR_SYMLINK;
		return 0;
	case '5':
		*ret = TAR_DIR;
		return 0;
	case '6':
		*ret = TAR_FIFO;
		return 0;
	case '3':
	case '4':
		return bad(t, err, "%.200s is a device node", path);
	case 'S':
		return bad(t, err, "%.200s is a sparse file, which is not supported", path);
	default:
		return bad(t, err, "%.200s is of the unknown type 0x%02x", path,
			   (unsigned char)t->block.h.type);
	}
}

static const char *pick(const char *a, const char *b, const char *c)
{
	return a ? a : b ? b : c;
}

static int owner(struct tar_reader *t, const char *field, bool has_next, uint32_t next,
		 bool has_global, uint32_t global, uint32_t *ret, struct gt_err *err)
{
	uint64_t n = has_next ? next : global;

	if (!has_next && !has_global && number(field, 8, UINT32_MAX - 1, &n) < 0)
		return bad(t, err, "an entry's owner is no number");
	*ret = (uint32_t)n;
	return 0;
}

static int entry_numbers(struct tar_reader *t, struct tar_entry *e, struct gt_err *err)
{
	const struct extra *x = &t->next, *g = &t->global;
	const struct header *h = &t->block.h;
	uint64_t n = 0;
	int r;

	if (number(h->mode, sizeof(h->mode), UINT32_MAX, &n) < 0)
		return bad(t, err, "%.200s: its mode is no number", e->path);
	e->mode = (uint32_t)n & 07777;
	r = owner(t, h->uid, x->has_uid, x->uid, g->has_uid, g->uid, &e->uid, err);
	if (r == 0)
		r = owner(t, h->gid, x->has_gid, x->gid, g->has_gid, g->gid, &e->gid, err);
	if (r < 0)
		return r;
	if (x->has_mtime || g->has_mtime) {
		e->mtime_s = x->has_mtime ? x->mtime_s : g->mtime_s;
		e->mtime_ns = x->has_mtime ? x->mtime_ns : g->mtime_ns;
	} else {
		e->mtime_s = time_of(h->mtime, sizeof(h->mtime));
	}
	return 0;
}

static int take_entry(struct tar_reader *t, uint64_t size, struct gt_err *err)
{
	char path[TAR_PATH_MAX], link[sizeof(t->block.h.link) + 1];
	struct tar_entry e = { .offset = t->offset };
	int r;

	field_path(&t->block.h, path);
	snprintf(link, sizeof(link), "%.*s", (int)sizeof(t->block.h.link), t->block.h.link);
	e.path = pick(t->next.path, t->global.path, path);
	e.target = pick(t->next.link, t->global.link, link);
	r = entry_type(t, e.path, &e.type, err);
	if (r == 0)
		r = entry_numbers(t, &e, err);
	if (r < 0)
		return r;
	e.size = e.type == TAR_FILE ? size : 0;
	/* Links of some archives carry a size without a body; only files have one that counts. */
	if (e.type == TAR_LINK || e.type == TAR_SYMLINK)
		size = 0;
	e.xattrs = t->next.xattrs;
	e.n_xattrs = t->next.n_xattrs;
	r = t->fn(&e, t->arg, err);
	extra_clear(&t->next);
	t->body = size;
	t->padding = -size % TAR_BLOCK;
	return r;
}

static int take_meta_header(struct tar_reader *t, enum meta meta, uint64_t size, struct gt_err *err)
{
	if (size == 0 || size > META_MAX)
		return bad(t, err, "an extended header of %llu bytes", (unsigned long long)size);
	t->meta = meta;
	t->body = size;
	t->padding = -size % TAR_BLOCK;
	return 0;
}

static int take_header(struct tar_reader *t, struct gt_err *err)
{
	const struct header *h = &t->block.h;
	uint64_t size = 0;

	if (check_sum(t) < 0)
		return bad(t, err,
			   "a header's checksum is wrong; this is no tar archive, or a "
			   "damaged one");
	if (number(h->size, sizeof(h->size), SIZE_MAX_BYTES, &size) < 0)
		return bad(t, err, "an entry's size is no number");
	switch (h->type) {
	case 'x':
		return take_meta_header(t, META_PAX, size, err);
	case 'g':
		return take_meta_header(t, META_GLOBAL, size, err);
	case 'L':
		return take_meta_header(t, META_NAME, size, err);
	case 'K':
		return take_meta_header(t, META_LINK, size, err);
	default:
		if (t->next.has_size || t->global.has_size)
			size = t->next.has_size ? t->next.size : t->global.size;
		return take_entry(t, size, err);
	}
}

static int take_block(struct tar_reader *t, struct gt_err *err)
{
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		if (t->block.bytes[i]) {
			t->zeros = 0;
			return take_header(t, err);
		}
	}
	t->ended = ++t->zeros == 2;
	return 0;
}

/* ---- bytes ---- */

int tar_reader_feed(struct tar_reader *t, const void *data, size_t len, struct gt_err *err)
{
	const char *at = data;
	int r = 0;

	while (len > 0 && !t->ended && r == 0) { /* what follows the end means nothing */
		size_t n = len;

		if (t->body > 0) {
			n = (size_t)GT_MIN((uint64_t)len, t->body);
			if (t->meta)
				gt_buf_add(&t->text, at, n);
			t->body -= n;
		} else if (t->padding > 0) {
			n = (size_t)GT_MIN((uint64_t)len, t->padding);
			t->padding -= n;
		} else {
			n = GT_MIN(len, TAR_BLOCK - t->have);
			memcpy(t->block.bytes + t->have, at, n);
			t->have += n;
		}
		t->offset += n;
		at += n;
		len -= n;
		if (t->meta && t->body == 0)
			r = take_meta(t, err);
		else if (t->have == TAR_BLOCK) {
			t->have = 0;
			r = take_block(t, err);
		}
	}
	return r;
}

int tar_reader_end(struct tar_reader *t, struct gt_err *err)
{
	if (t->ended)
		return 0;
	return bad(t, err, "the archive ends too early");
}
