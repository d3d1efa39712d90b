/* scan.c - a pull scanner over JSON text. State is one expectation and one bit per open bracket. */
#include "scan.h"

#include <stdio.h>
#include <string.h>

#include <gantry/model/limits.h>

enum {
	EXPECT_VALUE,
	EXPECT_VALUE_OR_CLOSE, /* after [ */
	EXPECT_KEY_OR_CLOSE,   /* after { */
	EXPECT_KEY,            /* after a comma in an object */
	EXPECT_COMMA_OR_CLOSE,
	EXPECT_NOTHING, /* after the outermost value */
	EXPECT_ERROR,
};

void gt_scan_begin(struct gt_scan *scan, const char *text, size_t len)
{
	*scan = (struct gt_scan){ .p = text, .end = text + len, .expect = EXPECT_VALUE };
}

bool gt_scan_in_object(const struct gt_scan *scan)
{
	uint32_t at = scan->depth - 1;

	return scan->depth > 0 && (scan->objects[at / 64] >> at % 64 & 1);
}

static enum gt_token broken(struct gt_scan *scan)
{
	scan->expect = EXPECT_ERROR;
	return GT_TOKEN_ERROR;
}

static void skip_blanks(struct gt_scan *scan)
{
	while (scan->p < scan->end &&
	       (*scan->p == ' ' || *scan->p == '\n' || *scan->p == '\r' || *scan->p == '\t'))
		scan->p++;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The escape at scan->p, which is its backslash. */
static bool take_escape(struct gt_scan *scan)
{
	if (scan->end - scan->p < 2 || !scan->p[1] || !strchr("\"\\/bfnrtu", scan->p[1]))
		return false;
	if (scan->p[1] == 'u') {
		if (scan->end - scan->p < 6)
			return false;
		for (int i = 2; i < 6; i++)
			if (!is_hex(scan->p[i]))
				return false;
		scan->p += 4;
	}
	scan->p += 2;
	return true;
}

static bool take_string(struct gt_scan *scan)
{
	if (scan->p >= scan->end || *scan->p != '"')
		return false;
	scan->tok = scan->p++;
	while (scan->p < scan->end && *scan->p != '"') {
		if ((unsigned char)*scan->p < 0x20)
			return false;
		if (*scan->p != '\\')
			scan->p++;
		else if (!take_escape(scan))
			return false;
	}
	if (scan->p >= scan->end)
		return false;
	scan->p++;
	scan->len = (size_t)(scan->p - scan->tok);
	return true;
}

static size_t take_digits(struct gt_scan *scan)
{
	const char *first = scan->p;

	while (scan->p < scan->end && *scan->p >= '0' && *scan->p <= '9')
		scan->p++;
	return (size_t)(scan->p - first);
}

static bool take_char(struct gt_scan *scan, const char *any_of)
{
	if (scan->p >= scan->end || !*scan->p || !strchr(any_of, *scan->p))
		return false;
	scan->p++;
	return true;
}

static bool take_number(struct gt_scan *scan)
{
	take_char(scan, "-");
	if (!take_char(scan, "0") && !take_digits(scan))
		return false;
	if (take_char(scan, ".") && !take_digits(scan))
		return false;
	if (take_char(scan, "eE")) {
		take_char(scan, "+-");
		return take_digits(scan) > 0;
	}
	return true;
}

static bool take_atom(struct gt_scan *scan)
{
	static const char *const words[] = { "true", "false", "null" };

	scan->tok = scan->p;
	for (size_t i = 0; i < GT_LEN(words); i++) {
		size_t len = strlen(words[i]);

		if ((size_t)(scan->end - scan->p) < len || memcmp(scan->p, words[i], len) != 0)
			continue;
		scan->p += len;
		scan->len = len;
		return true;
	}
	if (!take_number(scan))
		return false;
	scan->len = (size_t)(scan->p - scan->tok);
	return true;
}

static enum gt_token after_value(struct gt_scan *scan, enum gt_token token)
{
	scan->expect = scan->depth ? EXPECT_COMMA_OR_CLOSE : EXPECT_NOTHING;
	return token;
}

static enum gt_token take_open(struct gt_scan *scan)
{
	uint32_t at = scan->depth;
	bool object = *scan->p == '{';

	if (at == GT_SCAN_DEPTH_MAX)
		return broken(scan);
	scan->objects[at / 64] &= ~(1ULL << at % 64);
	scan->objects[at / 64] |= (uint64_t)object << at % 64;
	scan->tok = scan->p++;
	scan->len = 1;
	scan->depth++;
	scan->expect = object ? EXPECT_KEY_OR_CLOSE : EXPECT_VALUE_OR_CLOSE;
	return GT_TOKEN_OPEN;
}

static enum gt_token take_close(struct gt_scan *scan)
{
	if (*scan->p != (gt_scan_in_object(scan) ? '}' : ']'))
		return broken(scan);
	scan->tok = scan->p++;
	scan->len = 1;
	scan->depth--;
	return after_value(scan, GT_TOKEN_CLOSE);
}

static enum gt_token take_value(struct gt_scan *scan)
{
	if (*scan->p == '{' || *scan->p == '[')
		return take_open(scan);
	if (*scan->p == '"')
		return take_string(scan) ? after_value(scan, GT_TOKEN_STRING) : broken(scan);
	return take_atom(scan) ? after_value(scan, GT_TOKEN_ATOM) : broken(scan);
}

static enum gt_token take_key(struct gt_scan *scan)
{
	if (!take_string(scan))
		return broken(scan);
	const char *tok = scan->tok;
	size_t len = scan->len;

	skip_blanks(scan);
	if (!take_char(scan, ":"))
		return broken(scan);
	scan->tok = tok;
	scan->len = len;
	scan->expect = EXPECT_VALUE;
	return GT_TOKEN_KEY;
}

enum gt_token gt_scan_next(struct gt_scan *scan)
{
	if (scan->expect == EXPECT_ERROR)
		return GT_TOKEN_ERROR;
	skip_blanks(scan);
	if (scan->p == scan->end)
		return scan->expect == EXPECT_NOTHING ? GT_TOKEN_END : broken(scan);
	switch (scan->expect) {
	case EXPECT_VALUE:
		return take_value(scan);
	case EXPECT_VALUE_OR_CLOSE:
		return *scan->p == ']' ? take_close(scan) : take_value(scan);
	case EXPECT_KEY_OR_CLOSE:
		return *scan->p == '}' ? take_close(scan) : take_key(scan);
	case EXPECT_KEY:
		return take_key(scan);
	case EXPECT_COMMA_OR_CLOSE:
		if (!take_char(scan, ","))
			return take_close(scan);
		scan->expect = gt_scan_in_object(scan) ? EXPECT_KEY : EXPECT_VALUE;
		return gt_scan_next(scan);
	default:
		return broken(scan);
	}
}

struct step {
	const char *key; /* NULL in an array */
	size_t len, index;
};

static void path_text(const struct step *steps, uint32_t n, char *out, size_t size)
{
	size_t at = 0;

	out[0] = '\0';
	for (uint32_t i = 0; i < n && at < size; i++) {
		int add = steps[i].key ? snprintf(out + at, size - at, "%s%.*s", at ? "." : "",
						  (int)GT_MIN(steps[i].len, size), steps[i].key)
				       : snprintf(out + at, size - at, "[%zu]", steps[i].index);

		at += add > 0 ? (size_t)add : 0;
	}
}

void gt_scan_path(const char *text, size_t len, size_t at, char *out, size_t size)
{
	struct step steps[GT_JSON_DEPTH_MAX + 1] = { 0 };
	struct gt_scan scan;
	uint32_t n = 0; /* steps to the token read last */

	gt_scan_begin(&scan, text, len);
	while (true) {
		uint32_t inside = scan.depth;
		bool array = inside > 0 && !gt_scan_in_object(&scan);
		enum gt_token token = gt_scan_next(&scan);

		if (token == GT_TOKEN_END || token == GT_TOKEN_ERROR ||
		    scan.tok + scan.len > text + at || scan.depth > GT_JSON_DEPTH_MAX)
			break;
		n = token == GT_TOKEN_CLOSE ? scan.depth : inside;
		if (token == GT_TOKEN_KEY)
			steps[inside - 1] = (struct step){ .key = scan.tok + 1,
							   .len = scan.len - 2 };
		else if (array && token != GT_TOKEN_CLOSE)
			steps[inside - 1].index++;
		if (token == GT_TOKEN_OPEN)
			steps[scan.depth - 1] = (struct step){ .index = SIZE_MAX };
	}
	path_text(steps, n, out, size);
}
