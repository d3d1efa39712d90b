/* err.c - errors as values. Nothing here allocates: reporting an error can not fail. */
#include <gantry/base/err.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A failing function must return below 0, also when its error was never filled in. */
#define ERR_UNKNOWN EIO

static int err_code(int code)
{
	if (code == 0)
		return ERR_UNKNOWN;
	return code < 0 ? -code : code;
}

/* Copies, and cuts between characters: half a UTF-8 sequence would spoil a JSON answer. */
static void err_copy(char *dst, size_t size, const char *src)
{
	if (gt_strcopy(dst, size, src))
		return;
	size_t len = size - 1;

	while (len > 0 && ((unsigned char)src[len] & 0xc0) == 0x80)
		len--;
	dst[len] = '\0';
}

int gt_err_set(struct gt_err *err, int code, const char *slug, const char *fmt, ...)
{
	char text[sizeof(err->text) + 8]; /* apart, because an argument may be err->text */
	va_list args;

	code = err_code(code);
	if (!err)
		return -code;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	err->code = code;
	gt_strcopy(err->slug, sizeof(err->slug), slug);
	err->path[0] = '\0';
	err_copy(err->text, sizeof(err->text), text);
	return -code;
}

int gt_err_errno(struct gt_err *err, int code, const char *fmt, ...)
{
	char what[sizeof(err->text) + 8], text[sizeof(err->text) - 80], reason[80];
	va_list args;

	code = err_code(code);
	if (!err)
		return -code;
	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	err_copy(text, sizeof(text), what); /* leaves room: the reason must not be what gets cut */
	return gt_err_set(err, code, "system_error", "%s: %s", text,
			  strerror_r(code, reason, sizeof(reason)));
}

int gt_err_wrap(struct gt_err *err, const char *fmt, ...)
{
	char context[sizeof(err->text) + 8], text[2 * sizeof(err->text) + 16];
	va_list args;

	if (!err)
		return -ERR_UNKNOWN;
	va_start(args, fmt);
	vsnprintf(context, sizeof(context), fmt, args);
	va_end(args);
	snprintf(text, sizeof(text), "%s: %s", context, err->text);
	err_copy(err->text, sizeof(err->text), text);
	err->code = err_code(err->code);
	return -err->code;
}

int gt_err_path(struct gt_err *err, const char *fmt, ...)
{
	char path[sizeof(err->path) + 8];
	va_list args;

	if (!err)
		return -ERR_UNKNOWN;
	va_start(args, fmt);
	vsnprintf(path, sizeof(path), fmt, args);
	va_end(args);
	err_copy(err->path, sizeof(err->path), path);
	err->code = err_code(err->code);
	return -err->code;
}

static void printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

void gt_err_printable(struct gt_err *err)
{
	if (!err)
		return;
	printable(err->text);
	printable(err->path);
}

void gt_err_clear(struct gt_err *err)
{
	if (err)
		*err = (struct gt_err){ 0 };
}
