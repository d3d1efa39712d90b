/* json.c - the JSON writer. Values go straight into the buffer; runs of plain bytes are copied
 * whole. */
#include <gantry/wire/json.h>

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

#define DEPTH_MAX   63 /* bits in gt_json.comma, less the top */
#define REPLACEMENT "\xef\xbf\xbd"

/* What a byte becomes: 0 itself, 'u' \u00XX, '8' starts a multi-byte sequence, else backslash + it.
 */
static const char escapes[256] = {
	['\b'] = 'b', ['\f'] = 'f',      ['\n'] = 'n',        ['\r'] = 'r', ['\t'] = 't',
	['"'] = '"',  ['\\'] = '\\',     [0] = 'u',           [1] = 'u',    [2] = 'u',
	[3] = 'u',    [4] = 'u',         [5] = 'u',           [6] = 'u',    [7] = 'u',
	[11] = 'u',   [14 ... 31] = 'u', [128 ... 255] = '8',
};

static void add_escape(struct gt_buf *out, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";

	if (escapes[c] == 'u')
		gt_buf_add(out, (char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
	else
		gt_buf_add(out, (char[]){ '\\', escapes[c] }, 2);
}

static void add_string(struct gt_buf *out, const char *value, size_t len)
{
	const unsigned char *s = (const unsigned char *)value;
	size_t run = 0, i = 0; /* s[run..i) is still to be copied */

	gt_buf_addc(out, '"');
	while (i < len) {
		if (!escapes[s[i]]) {
			i++;
			continue;
		}
		size_t multi = escapes[s[i]] == '8' ? gt_utf8_len(s + i, len - i) : 0;

		if (multi) {
			i += multi;
			continue;
		}
		gt_buf_add(out, s + run, i - run);
		if (escapes[s[i]] == '8')
			gt_buf_adds(out, REPLACEMENT);
		else
			add_escape(out, s[i]);
		run = ++i;
	}
	gt_buf_add(out, s + run, len - run);
	gt_buf_addc(out, '"');
}

/* The comma and the name that stand before a value. */
static void begin_value(struct gt_json *j, const char *name)
{
	uint64_t bit = 1ULL << j->depth;

	if (j->comma & bit)
		gt_buf_addc(j->out, ',');
	j->comma |= bit;
	if (!name)
		return;
	add_string(j->out, name, strlen(name));
	gt_buf_addc(j->out, ':');
}

static void open_bracket(struct gt_json *j, const char *name, char bracket)
{
	begin_value(j, name);
	gt_buf_addc(j->out, bracket);
	assert(j->depth < DEPTH_MAX);
	j->depth++;
	j->comma &= ~(1ULL << j->depth);
}

void gt_json_begin(struct gt_json *j, struct gt_buf *out)
{
	*j = (struct gt_json){ .out = out };
}

void gt_json_object(struct gt_json *j, const char *name)
{
	open_bracket(j, name, '{');
}

void gt_json_array(struct gt_json *j, const char *name)
{
	open_bracket(j, name, '[');
}

void gt_json_close(struct gt_json *j, char bracket)
{
	assert(j->depth > 0 && (bracket == '}' || bracket == ']'));
	j->depth--;
	gt_buf_addc(j->out, bracket);
}

void gt_json_strn(struct gt_json *j, const char *name, const char *value, size_t len)
{
	begin_value(j, name);
	add_string(j->out, value, len);
}

void gt_json_str(struct gt_json *j, const char *name, const char *value)
{
	if (value)
		gt_json_strn(j, name, value, strlen(value));
	else
		gt_json_null(j, name);
}

static void add_u64(struct gt_buf *out, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + value % 10);
	while (value /= 10);
	gt_buf_add(out, digits + at, sizeof(digits) - at);
}

void gt_json_u64(struct gt_json *j, const char *name, uint64_t value)
{
	begin_value(j, name);
	add_u64(j->out, value);
}

void gt_json_i64(struct gt_json *j, const char *name, int64_t value)
{
	begin_value(j, name);
	if (value < 0)
		gt_buf_addc(j->out, '-');
	add_u64(j->out, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

void gt_json_bool(struct gt_json *j, const char *name, bool value)
{
	gt_json_raw(j, name, value ? "true" : "false");
}

void gt_json_null(struct gt_json *j, const char *name)
{
	gt_json_raw(j, name, "null");
}

void gt_json_num(struct gt_json *j, const char *name, double value)
{
	char text[320]; /* DBL_MAX has 309 digits */

	assert(isfinite(value));
	int len = snprintf(text, sizeof(text), "%.3f", value);

	while (text[len - 1] == '0')
		len--;
	if (text[len - 1] == '.')
		len--;
	text[len] = '\0';
	gt_json_raw(j, name, strcmp(text, "-0") == 0 ? "0" : text);
}

void gt_json_raw(struct gt_json *j, const char *name, const char *json)
{
	begin_value(j, name);
	gt_buf_adds(j->out, json);
}
