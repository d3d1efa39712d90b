/* tar_head.c - one header block of 512 bytes. */
#include "tar.h"

#include <stdarg.h>
#include <string.h>

struct field {
	const char *name;
	size_t at, len;
};

static const struct field f_mode = { "mode", 100, 8 }, f_uid = { "uid", 108, 8 },
			  f_gid = { "gid", 116, 8 }, f_size = { "size", 124, 12 },
			  f_mtime = { "mtime", 136, 12 }, f_sum = { "checksum", 148, 8 };

int gt_image_refuse(struct gt_err *err, const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return gt_err_set(err, EBADMSG, "image_invalid", "%s", text);
}

const char *gt_image_shown(const char *name, char out[GT_SHOWN_SIZE])
{
	size_t i;

	for (i = 0; name[i] && i < GT_SHOWN_SIZE - 4; i++)
		out[i] = name[i] >= ' ' && name[i] <= '~' ? name[i] : '?';
	gt_strcopy(out + i, GT_SHOWN_SIZE - i, name[i] ? "..." : "");
	return out;
}

/* GNU's form of numbers that do not fit: the first bit set, the rest is binary, big end first, in
 * two's complement. At most 63 bits of it mean anything here. */
static int binary_number(const uint8_t *p, size_t len, int64_t *ret)
{
	bool negative = p[0] & 0x40;
	uint8_t fill = negative ? 0xff : 0;
	uint64_t v = negative ? UINT64_MAX : 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t c = i == 0 ? (uint8_t)((p[0] & 0x7f) | (negative ? 0x80 : 0)) : p[i];

		if (len - i > 8 && c != fill)
			return -ERANGE;
		v = v << 8 | c;
	}
	if ((v >> 63) != negative)
		return -ERANGE;
	*ret = (int64_t)v;
	return 0;
}

/* Octal digits, blanks before, blanks or NULs after; all blank is 0. */
static int octal_number(const uint8_t *p, size_t len, int64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;

	while (i < len && p[i] == ' ')
		i++;
	for (; i < len && p[i] >= '0' && p[i] <= '7'; i++)
		v = v << 3 | (p[i] - '0'); /* 12 digits are 36 bits */
	for (; i < len; i++)
		if (p[i] != ' ' && p[i] != '\0')
			return -EINVAL;
	*ret = (int64_t)v;
	return 0;
}

static int number(const uint8_t *block, const struct field *f, int64_t least, int64_t *ret,
		  struct gt_err *err)
{
	const uint8_t *p = block + f->at;
	int r = p[0] & 0x80 ? binary_number(p, f->len, ret) : octal_number(p, f->len, ret);

	if (r < 0)
		return gt_image_refuse(err, "%s is no number", f->name);
	if (*ret < least)
		return gt_image_refuse(err, "%s is negative", f->name);
	return 0;
}

/* The sum of all bytes with the checksum's own taken as blanks; some old writers had signed ones.
 */
static int check_sum(const uint8_t *block, struct gt_err *err)
{
	int64_t said, with_sign = 0, without = 0;

	for (size_t i = 0; i < GT_TAR_BLOCK; i++) {
		bool own = i >= f_sum.at && i < f_sum.at + f_sum.len;

		without += own ? ' ' : block[i];
		with_sign += own ? ' ' : (int8_t)block[i];
	}
	if (number(block, &f_sum, 0, &said, err) < 0)
		return -EBADMSG;
	if (said != without && said != with_sign)
		return gt_image_refuse(err, "the checksum of a header is wrong");
	return 0;
}

static size_t text(const uint8_t *p, size_t len, char *out)
{
	size_t n = strnlen((const char *)p, len);

	memcpy(out, p, n);
	out[n] = '\0';
	return n;
}

int gt_tar_head_parse(const uint8_t block[GT_TAR_BLOCK], struct gt_tar_head *ret,
		      struct gt_err *err)
{
	struct gt_tar_head h = { .type = (char)block[156] };
	int64_t size, mode, uid, gid;
	size_t n = 0;
	int r;

	if ((r = check_sum(block, err)) < 0 || (r = number(block, &f_size, 0, &size, err)) < 0 ||
	    (r = number(block, &f_mode, 0, &mode, err)) < 0 ||
	    (r = number(block, &f_uid, 0, &uid, err)) < 0 ||
	    (r = number(block, &f_gid, 0, &gid, err)) < 0 ||
	    (r = number(block, &f_mtime, INT64_MIN, &h.mtime, err)) < 0)
		return r;
	h.size = (uint64_t)size;
	h.mode = (uint64_t)mode;
	h.uid = (uint64_t)uid;
	h.gid = (uint64_t)gid;
	/* Only POSIX's own form has a prefix, and star has times at its end; GNU keeps other things
	 * at its place. */
	if (memcmp(block + 257, "ustar", 6) == 0 && block[345])
		n = text(block + 345, memcmp(block + 508, "tar", 4) == 0 ? 131 : 155, h.path);
	else if (memcmp(block + 257, "ustar", 5) != 0 && block[257])
		return gt_image_refuse(err, "a header of an unknown kind of archive");
	if (n)
		h.path[n++] = '/';
	text(block, 100, h.path + n);
	text(block + 157, 100, h.link);
	*ret = h;
	return 0;
}
