/* verdict.c - what the probes say their findings with. */
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void say(struct result *r, enum verdict verdict, const char *fmt, ...)
{
	va_list args;

	/* The first of the worst stays. */
	if (verdict <= r->verdict)
		return;
	r->verdict = verdict;
	va_start(args, fmt);
	vsnprintf(r->detail, sizeof(r->detail), fmt, args);
	va_end(args);
}

const char *error_name(int code)
{
	const char *name = strerrorname_np(code);

	return name ? name : "an unknown error";
}

void must_fail(struct result *r, const char *what, long value)
{
	int code = errno;

	if (value >= 0)
		say(r, ESCAPED, "%s worked", what);
	else if (code == ENOENT)
		say(r, ABSENT, "%s: there is none", what);
	else if (code == EPERM || code == EACCES || code == EROFS || code == ENOSYS)
		say(r, CONTAINED, "%s: %s", what, error_name(code));
	else
		say(r, ESCAPED, "%s got as far as %s", what, error_name(code));
}

const char *host_fact(struct result *r, const char *name)
{
	const char *value = getenv(name);

	if (!value)
		say(r, ESCAPED, "%s is not set: nothing to look for", name);
	return value;
}

long slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = 0;

	if (fd < 0)
		return -1;
	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	buf[len] = '\0';
	return n < 0 && len == 0 ? -1 : (long)len;
}
