/* alloc.c - small allocations that never fail: without memory a role stops and is restarted. */
#include <gantry/base/base.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* No stdio and no allocation here: there is no memory left for either. */
void gt_out_of_memory(void)
{
	static const char msg[] = "gantry: out of memory\n";
	ssize_t ignored = write(STDERR_FILENO, msg, sizeof(msg) - 1);

	(void)ignored;
	abort();
}

void *gt_alloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		gt_out_of_memory();
	return p;
}

void *gt_alloc_array(size_t n, size_t size)
{
	void *p = n && size ? calloc(n, size) : calloc(1, 1);

	if (!p)
		gt_out_of_memory();
	return p;
}

void *gt_grow(void *p, size_t n, size_t size)
{
	void *grown = n && size ? reallocarray(p, n, size) : realloc(p, 1);

	if (!grown)
		gt_out_of_memory();
	return grown;
}

char *gt_strdup(const char *s)
{
	return s ? gt_strndup(s, strlen(s)) : NULL;
}

char *gt_strndup(const char *s, size_t n)
{
	if (!s)
		return NULL;
	size_t len = strnlen(s, n);
	char *copy = gt_alloc(len + 1);

	memcpy(copy, s, len);
	return copy;
}

char *gt_asprintf(const char *fmt, ...)
{
	char *s = NULL;
	va_list args;

	va_start(args, fmt);
	int r = vasprintf(&s, fmt, args);
	va_end(args);
	if (r < 0)
		gt_out_of_memory();
	return s;
}
