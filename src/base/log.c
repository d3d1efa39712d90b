/* log.c - one line an event on standard error, each in a single write(2), so that lines of
 * several threads or processes never mix. */
#include <gantry/base/log.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/clock.h>

#define LOG_MSG_MAX  3000 /* bytes of a message; longer ones are cut */
#define LOG_LINE_MAX 4096 /* PIPE_BUF: a write up to this size to a pipe is atomic */

static const char *const level_names[] = {
	[GT_DEBUG] = "debug",
	[GT_INFO] = "info",
	[GT_WARN] = "warn",
	[GT_ERROR] = "error",
};

/* Written by gt_log_init before other threads start, and only read after it. */
static const char *log_role = "gantry";
static enum gt_level log_least = GT_INFO;
static bool log_on_terminal;

void gt_log_init(const char *role, enum gt_level least)
{
	log_role = role;
	log_least = least;
	log_on_terminal = isatty(STDERR_FILENO) == 1;
}

int gt_log_level_parse(const char *s, enum gt_level *ret)
{
	for (size_t i = 0; i < GT_LEN(level_names); i++) {
		if (gt_streq(s, level_names[i])) {
			*ret = (enum gt_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* The length of the UTF-8 sequence at s (1 to 4), or 0 when it is none. */
static size_t utf8_len(const unsigned char *s)
{
	if (s[0] < 0x80)
		return 1;
	size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

/* One character of the message as it may stand in a JSON string; *s moves past it. Control
 * characters are escaped on a terminal as well: a message may quote hostile input. */
static size_t escape_one(const unsigned char **s, char out[8])
{
	const unsigned char *p = *s;
	size_t len = utf8_len(p);

	*s += len ? len : 1;
	if (len == 0)
		return (size_t)snprintf(out, 8, "\\ufffd");
	if (len > 1) {
		memcpy(out, p, len);
		return len;
	}
	if (*p == '"' || *p == '\\')
		return (size_t)snprintf(out, 8, "\\%c", *p);
	if (*p == '\n' || *p == '\t')
		return (size_t)snprintf(out, 8, "\\%c", *p == '\n' ? 'n' : 't');
	if (*p < 0x20 || *p == 0x7f)
		return (size_t)snprintf(out, 8, "\\u%04x", *p);
	out[0] = (char)*p;
	return 1;
}

static size_t log_format(char line[LOG_LINE_MAX], enum gt_level level, const char *msg)
{
	const unsigned char *s = (const unsigned char *)msg;
	const char *end = log_on_terminal ? "\"\n" : "\"}\n";
	char ts[GT_TIME_TEXT], piece[8];

	gt_time_text(gt_wall_ms(&gt_clock_system), ts);
	int head = snprintf(line, 256,
			    log_on_terminal ? "ts=%s level=%s role=%.64s msg=\""
					    : "{\"ts\":\"%s\",\"level\":\"%s\",\"role\":\"%.64s\","
					      "\"msg\":\"",
			    ts, level_names[level], log_role);
	size_t len = (size_t)head;

	while (*s) {
		size_t n = escape_one(&s, piece);

		if (len + n + 4 > LOG_LINE_MAX)
			break;
		memcpy(line + len, piece, n);
		len += n;
	}
	memcpy(line + len, end, strlen(end));
	return len + strlen(end);
}

void gt_log(enum gt_level level, const char *fmt, ...)
{
	char msg[LOG_MSG_MAX], line[LOG_LINE_MAX];
	int saved = errno;
	va_list args;

	if (level < log_least || level > GT_ERROR)
		return;
	va_start(args, fmt);
	vsnprintf(msg, sizeof(msg), fmt, args);
	va_end(args);
	size_t len = log_format(line, level, msg);
	/* A lost or cut line has nowhere to be reported. */
	ssize_t ignored = write(STDERR_FILENO, line, len);

	(void)ignored;
	errno = saved;
}
