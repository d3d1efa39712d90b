/* refuse.c - refusals that name the JSON path. */
#include "refuse.h"

#include <stdarg.h>
#include <stdio.h>

GT_PRINTF(3, 0)
static int refuse_va(struct gt_err *err, const char *path, const char *fmt, va_list args)
{
	char text[sizeof(err->text)];

	vsnprintf(text, sizeof(text), fmt, args);
	gt_err_set(err, EINVAL, "invalid_spec", "%s%s%s", path, *path ? ": " : "", text);
	gt_err_path(err, "%s", path);
	gt_err_printable(err);
	return -EINVAL;
}

int gt_refuse(struct gt_err *err, const char *path, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int r = refuse_va(err, path, fmt, args);
	va_end(args);
	return r;
}

/* Recursion is bounded by the document's depth. */
static size_t at_text(const struct gt_at *at, char *out, size_t size)
{
	size_t len = at->up ? at_text(at->up, out, size) : 0;

	if (len >= size)
		return len;
	int add = at->name ? snprintf(out + len, size - len, "%s%s", len ? "." : "", at->name)
			   : snprintf(out + len, size - len, "[%zu]", at->index);

	return len + (add > 0 ? (size_t)add : 0);
}

int gt_refuse_at(struct gt_err *err, const struct gt_at *at, const char *fmt, ...)
{
	char path[sizeof(err->path)] = "";
	va_list args;

	if (at)
		at_text(at, path, sizeof(path));
	va_start(args, fmt);
	int r = refuse_va(err, path, fmt, args);
	va_end(args);
	return r;
}
