/* str.c - comparing and copying strings without surprises. */
#include <gantry/base/base.h>

#include <string.h>

bool gt_strcopy(char *dst, size_t size, const char *src)
{
	if (size == 0)
		return false;
	size_t len = strlen(src);
	bool fits = len < size;

	if (!fits)
		len = size - 1;
	memmove(dst, src, len);
	dst[len] = '\0';
	return fits;
}

bool gt_streq(const char *a, const char *b)
{
	if (!a || !b)
		return a == b;
	return strcmp(a, b) == 0;
}

bool gt_starts_with(const char *s, const char *prefix)
{
	return s && prefix && strncmp(s, prefix, strlen(prefix)) == 0;
}
