/* buf.c - a growing byte buffer with a hard cap. Its memory is sized by input, so that running
 * out of it is an error of the caller's request and not the end of the process. */
#include <gantry/base/buf.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST_CAP 64
#define BUF_SMALL     (64 * GT_KIB) /* an allocation like any other: many that add look at nothing */

static size_t buf_max(const struct gt_buf *b)
{
	return b->max ? b->max : GT_BUF_MAX_DEFAULT;
}

/* Makes room for `len` more bytes and the terminator; cap counts the terminator too. */
static bool buf_make_room(struct gt_buf *b, size_t len)
{
	size_t max = buf_max(b);

	if (b->len > max || len > max - b->len)
		return false;
	size_t need = b->len + len + 1;

	if (need <= b->cap)
		return true;
	/* What is asked for first is often all that is needed. */
	size_t cap = b->cap ? b->cap : GT_MAX(need, (size_t)BUF_FIRST_CAP);

	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	cap = GT_MAX(need, GT_MIN(cap, max < SIZE_MAX ? max + 1 : max));
	char *grown = realloc(b->data, cap);

	if (!grown && cap <= BUF_SMALL)
		gt_out_of_memory();
	if (!grown)
		return false;
	b->data = grown;
	b->cap = cap;
	return true;
}

void gt_buf_init(struct gt_buf *b, size_t max)
{
	*b = (struct gt_buf){ .max = max };
}

void gt_buf_fini(struct gt_buf *b)
{
	free(b->data);
	gt_buf_init(b, b->max);
}

void gt_buf_wipe(struct gt_buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	gt_buf_fini(b);
}

int gt_buf_add(struct gt_buf *b, const void *data, size_t len)
{
	if (!buf_make_room(b, len)) {
		b->failed = true;
		return -ENOBUFS;
	}
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
	return 0;
}

int gt_buf_adds(struct gt_buf *b, const char *s)
{
	return gt_buf_add(b, s, strlen(s));
}

int gt_buf_addc(struct gt_buf *b, char c)
{
	return gt_buf_add(b, &c, 1);
}

int gt_buf_addf(struct gt_buf *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (len < 0 || !buf_make_room(b, (size_t)len)) {
		b->failed = true;
		return -ENOBUFS;
	}
	va_start(args, fmt);
	vsnprintf(b->data + b->len, (size_t)len + 1, fmt, args);
	va_end(args);
	b->len += (size_t)len;
	return 0;
}

char *gt_buf_reserve(struct gt_buf *b, size_t len)
{
	return buf_make_room(b, len) ? b->data + b->len : NULL;
}

void gt_buf_consume(struct gt_buf *b, size_t len)
{
	if (len == 0 || b->len == 0)
		return;
	len = GT_MIN(len, b->len);
	b->len -= len;
	memmove(b->data, b->data + len, b->len);
	b->data[b->len] = '\0';
}

void gt_buf_reset(struct gt_buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

char *gt_buf_str(struct gt_buf *b)
{
	static char empty[1];

	if (!b->data)
		return empty;
	b->data[b->len] = '\0'; /* bytes that came by gt_buf_reserve have no terminator yet */
	return b->data;
}

char *gt_buf_steal(struct gt_buf *b)
{
	char *data = b->data ? gt_buf_str(b) : gt_alloc(1);

	gt_buf_init(b, b->max);
	return data;
}
