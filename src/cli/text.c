/* Text of others, made safe for a terminal. */
#include "table.h"

#include <string.h>

/* Length of the well-formed UTF-8 character at s, 0 when there is none. */
static size_t utf8_len(const unsigned char *s)
{
	size_t n = s[0] < 0x80                   ? 1
		   : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
		   : (s[0] & 0xf0) == 0xe0       ? 3
						 : 4;

	if (n == 4 && (s[0] < 0xf0 || s[0] > 0xf4))
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

static bool is_control(const unsigned char *s, size_t len)
{
	if (len == 1)
		return (s[0] < 0x20 && s[0] != '\t') || s[0] == 0x7f;
	return len == 2 && s[0] == 0xc2 && s[1] < 0xa0;
}

char *gt_text_clean(const char *text)
{
	char *out = gt_strdup(text), *to = out;
	const unsigned char *s = (const unsigned char *)text;

	while (*s) {
		size_t len = utf8_len(s);
		if (len == 0 || is_control(s, len)) {
			*to++ = '?';
			s += len ? len : 1;
			continue;
		}
		memcpy(to, s, len);
		to += len;
		s += len;
	}
	*to = '\0';
	return out;
}

void gt_text_print(FILE *out, const char *text)
{
	gt_auto(free) char *clean = gt_text_clean(text);

	fputs(clean, out);
}

void gt_lines_print(FILE *out, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");
		gt_auto(free) char *line = gt_asprintf("%.*s", (int)len, text);

		gt_text_print(out, line);
		fputc('\n', out);
		text += len + (text[len] == '\n');
	}
}

size_t gt_text_width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

const char *gt_state_color(const char *state)
{
	static const struct {
		const char *state, *sgr;
	} rows[] = {
		{ "ready", "32" },   { "ok", "32" },       { "starting", "33" },
		{ "suspect", "33" }, { "pending", "33" },  { "pulling", "33" },
		{ "warn", "33" },    { "draining", "33" }, { "failed", "31" },
		{ "failing", "31" }, { "error", "31" },    { "lost", "31" },
	};

	for (size_t i = 0; i < GT_LEN(rows); i++)
		if (strcmp(rows[i].state, state) == 0)
			return rows[i].sgr;
	return NULL;
}
