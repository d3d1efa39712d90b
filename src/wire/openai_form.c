/* openai_form.c - multipart/form-data (RFC 7578) byte by byte, in its strict form: what clients of
 * today write, and nothing that two readers could take for different parts. */
#include "openai_scan.h"

#include <string.h>
#include <strings.h>

enum {
	IN_HEAD,     /* a header line of a part */
	IN_HEAD_END, /* its CR was read */
	IN_BODY,
	AFTER_DELIMITER,
	AFTER_CR,   /* of the line of a delimiter */
	AFTER_DASH, /* of the last delimiter */
	AFTER_LAST,
	AFTER_LAST_CR,
	AT_END,
};

enum { FIELD_OTHER, FIELD_MODEL, FIELD_STREAM };

static bool bad(struct gt_openai_scan *s, uint64_t at, const char *why)
{
	return gt_openai_fault(s, "malformed_request", at, why);
}

/* ---- parameters of a header: ; name=value ; name="value" ---- */

struct param {
	const char *name, *value; /* value without its quotes, escapes as they stand */
	size_t name_len, value_len;
};

static bool token_char(char c)
{
	return (unsigned char)c > ' ' && (unsigned char)c < 0x7f && !strchr("()<>@,;:\\\"/[]?=", c);
}

static const char *skip_blanks(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	return p;
}

/* The end of a quoted string that begins at p, or NULL. */
static const char *quoted_end(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\' && p + 1 < end)
			p++;
	return p < end ? p : NULL;
}

/* 1 and the next parameter; 0 = no more; -1 = not well formed. */
static int next_param(const char **at, const char *end, struct param *ret)
{
	const char *p = skip_blanks(*at, end);

	if (p == end)
		return 0;
	if (*p != ';')
		return -1;
	ret->name = p = skip_blanks(p + 1, end);
	while (p < end && token_char(*p))
		p++;
	ret->name_len = (size_t)(p - ret->name);
	if (!ret->name_len || p == end || *p != '=')
		return -1;
	ret->value = ++p;
	if (p < end && *p == '"') {
		p = quoted_end(p, end);
		if (!p)
			return -1;
		ret->value++;
		ret->value_len = (size_t)(p - ret->value);
		*at = p + 1;
		return 1;
	}
	while (p < end && token_char(*p))
		p++;
	ret->value_len = (size_t)(p - ret->value);
	*at = p;
	return ret->value_len ? 1 : -1;
}

static bool param_is(const struct param *p, const char *name)
{
	return p->name_len == strlen(name) && !strncasecmp(p->name, name, p->name_len);
}

/* ---- the boundary ---- */

static bool boundary_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("'()+_,-./:=? ", c));
}

static bool take_boundary(struct gt_openai_form *f, const struct param *p)
{
	if (f->delimiter_len || !p->value_len || p->value_len > GT_FORM_BOUNDARY_MAX ||
	    p->value[p->value_len - 1] == ' ')
		return false;
	for (size_t i = 0; i < p->value_len; i++)
		if (!boundary_char(p->value[i]))
			return false;
	memcpy(f->delimiter, "\r\n--", 4);
	memcpy(f->delimiter + 4, p->value, p->value_len);
	f->delimiter_len = p->value_len + 4;
	return true;
}

bool gt_openai_form_begin(struct gt_openai_scan *s, const char *content_type, size_t len)
{
	struct gt_openai_form *f = &s->form;
	const char *at = content_type, *end = content_type + len;
	struct param p;
	int r;

	while ((r = next_param(&at, end, &p)) > 0)
		if (param_is(&p, "boundary") && !take_boundary(f, &p))
			break;
	if (r != 0 || !f->delimiter_len)
		return bad(s, 0, "give one boundary of 1 to 70 characters, as RFC 2046 allows");
	f->expect = IN_BODY;
	f->matched = 2; /* the first delimiter stands at the very beginning, without the CRLF */
	f->field = FIELD_OTHER;
	return true;
}

/* ---- the head of a part ---- */

/* Content-Disposition: which field is it? */
static bool take_disposition(struct gt_openai_scan *s, const char *value, const char *end,
			     uint64_t at)
{
	struct gt_openai_form *f = &s->form;
	const char *type = "form-data";
	bool named = false, file = false;
	struct param p;
	int r;

	if (f->had_disposition)
		return bad(s, at, "Content-Disposition is given twice in a part");
	f->had_disposition = true;
	if ((size_t)(end - value) < strlen(type) || strncasecmp(value, type, strlen(type)) != 0)
		return bad(s, at, "a part's Content-Disposition must be form-data");
	value += strlen(type);
	while ((r = next_param(&value, end, &p)) > 0) {
		if (param_is(&p, "name*") || (named && param_is(&p, "name")))
			return bad(s, at, "a part must have one name");
		file |= param_is(&p, "filename") || param_is(&p, "filename*");
		if (!param_is(&p, "name"))
			continue;
		named = true;
		if (memchr(p.value, '\\', p.value_len))
			return bad(s, at, "escapes in the name of a part are not accepted");
		f->field = p.value_len == 5 && !memcmp(p.value, "model", 5)    ? FIELD_MODEL
			   : p.value_len == 6 && !memcmp(p.value, "stream", 6) ? FIELD_STREAM
									       : FIELD_OTHER;
	}
	if (r < 0 || !named)
		return bad(s, at,
			   "a part's Content-Disposition is not well formed, or has no name");
	if (file && f->field != FIELD_OTHER)
		return bad(s, at, "model and stream are fields, not files");
	return true;
}

/* An empty line ends the head. */
static bool head_ends(struct gt_openai_scan *s, uint64_t at)
{
	struct gt_openai_form *f = &s->form;

	if (!f->had_disposition)
		return bad(s, at, "a part has no Content-Disposition");
	if ((f->field == FIELD_MODEL && f->had_model) ||
	    (f->field == FIELD_STREAM && f->had_stream))
		return bad(s, at, "model or stream is given twice; keep one");
	f->had_model |= f->field == FIELD_MODEL;
	f->had_stream |= f->field == FIELD_STREAM;
	f->value_len = 0;
	f->matched = 0;
	f->expect = IN_BODY;
	return true;
}

static bool line_ends(struct gt_openai_scan *s, uint64_t at)
{
	static const char name[] = "content-disposition";
	struct gt_openai_form *f = &s->form;
	const char *end = f->line + f->line_len;
	const char *colon = memchr(f->line, ':', f->line_len);

	f->expect = IN_HEAD;
	if (!f->line_len)
		return head_ends(s, at);
	if (++f->n_lines > GT_FORM_LINES_MAX)
		return bad(s, at, "a part has more than 16 headers");
	for (const char *p = f->line; p < (colon ? colon : end); p++)
		if (!token_char(*p))
			colon = NULL;
	if (!colon || colon == f->line)
		return bad(s, at, "a header line of a part is no \"Name: value\"");
	f->line_len = 0;
	if ((size_t)(colon - f->line) != sizeof(name) - 1 ||
	    strncasecmp(f->line, name, sizeof(name) - 1) != 0)
		return true;
	return take_disposition(s, skip_blanks(colon + 1, end), end, at);
}

static bool in_head(struct gt_openai_scan *s, unsigned char c, uint64_t at)
{
	struct gt_openai_form *f = &s->form;

	if (f->expect == IN_HEAD_END)
		return c == '\n' ? line_ends(s, at) : bad(s, at, "a CR without LF");
	if (c == '\r') {
		f->expect = IN_HEAD_END;
		return true;
	}
	if ((c < ' ' && c != '\t') || c == 0x7f)
		return bad(s, at, "a control character in a part's header");
	if (f->line_len == sizeof(f->line))
		return bad(s, at, "a header line of a part is longer than 1024 bytes");
	f->line[f->line_len++] = (char)c;
	return true;
}

/* ---- the body of a part ---- */

static void take_value(struct gt_openai_scan *s, const char *p, size_t len)
{
	struct gt_openai_form *f = &s->form;

	for (size_t i = 0; i < len && f->field == FIELD_MODEL; i++)
		gt_openai_name_add(&s->name, (unsigned char)p[i]);
	for (size_t i = 0; i < len && f->field == FIELD_STREAM; i++)
		if (f->value_len < sizeof(f->value))
			f->value[f->value_len++] = p[i];
}

static bool part_ends(struct gt_openai_scan *s, uint64_t at)
{
	struct gt_openai_form *f = &s->form;

	f->expect = AFTER_DELIMITER;
	if (f->field == FIELD_STREAM)
		s->ask.stream = f->value_len == 4 && !strncasecmp(f->value, "true", 4);
	return f->field != FIELD_MODEL || gt_openai_name_take(s, at);
}

/* CR stands only at the delimiter's beginning: what does not go on can only begin anew. */
static bool in_body(struct gt_openai_scan *s, char c, uint64_t at)
{
	struct gt_openai_form *f = &s->form;

	if (c == f->delimiter[f->matched]) {
		f->matched++;
		return f->matched < f->delimiter_len || part_ends(s, at);
	}
	if (!f->had_disposition)
		return bad(s, at, "the body must begin with its boundary");
	take_value(s, f->delimiter, f->matched);
	f->matched = c == '\r';
	if (!f->matched)
		take_value(s, &c, 1);
	return true;
}

static bool after_delimiter(struct gt_openai_scan *s, char c, uint64_t at)
{
	struct gt_openai_form *f = &s->form;
	static const struct {
		char c;
		uint8_t next;
	} steps[] = {
		[AFTER_CR] = { '\n', IN_HEAD },
		[AFTER_DASH] = { '-', AFTER_LAST },
		[AFTER_LAST] = { '\r', AFTER_LAST_CR },
		[AFTER_LAST_CR] = { '\n', AT_END },
	};

	if (f->expect == AFTER_DELIMITER && (c == '\r' || c == '-')) {
		f->expect = c == '\r' ? AFTER_CR : AFTER_DASH;
		return true;
	}
	if (f->expect == AFTER_DELIMITER)
		return bad(s, at, "a boundary must stand alone on its line");
	if (f->expect == AT_END || c != steps[f->expect].c)
		return bad(s, at,
			   f->expect < AFTER_LAST ? "a boundary must stand alone on its line"
						  : "something follows the last boundary");
	f->expect = steps[f->expect].next;
	if (f->expect == IN_HEAD) {
		f->line_len = 0;
		f->n_lines = 0;
		f->had_disposition = false;
		f->field = FIELD_OTHER;
	}
	return true;
}

bool gt_openai_form_feed(struct gt_openai_scan *s, const char *data, size_t len)
{
	struct gt_openai_form *f = &s->form;

	for (size_t i = 0; i < len; i++) {
		uint64_t at = s->fed + i;

		if (f->expect == IN_BODY && !f->matched && f->field == FIELD_OTHER) {
			const char *cr = memchr(data + i, '\r', len - i);

			if (!cr)
				break;
			i = (size_t)(cr - data);
		}
		if (!(f->expect <= IN_HEAD_END ? in_head(s, (unsigned char)data[i], at)
		      : f->expect == IN_BODY   ? in_body(s, data[i], at)
					       : after_delimiter(s, data[i], at)))
			return false;
	}
	return true;
}

bool gt_openai_form_end(struct gt_openai_scan *s)
{
	uint8_t expect = s->form.expect;

	return expect == AFTER_LAST || expect == AT_END ||
	       bad(s, s->fed, "the body ends before its last boundary");
}
