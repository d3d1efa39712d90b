/* http1_head.c - the meaning of a head: first line, fields, framing, connection. */
#include "http1_priv.h"

#include <string.h>
#include <strings.h>

static struct gt_h1_span span(size_t at, size_t len)
{
	return (struct gt_h1_span){ .at = (uint16_t)at, .len = (uint16_t)len };
}

static bool equal_nocase(const struct gt_h1 *h, struct gt_h1_span s, const char *text)
{
	return s.len == strlen(text) && !strncasecmp(h->head + s.at, text, s.len);
}

/* ---- first line ---- */

/* "HTTP/1.0" and "HTTP/1.1" only. */
static enum gt_h1_event read_version(struct gt_h1 *h, const char *s, size_t len)
{
	if (len != 8 || memcmp(s, "HTTP/", 5) != 0 || s[5] < '0' || s[5] > '9' || s[6] != '.' ||
	    s[7] < '0' || s[7] > '9')
		return gt_h1_bad(h, "malformed_request", "the first line names no HTTP version");
	if (s[5] != '1' || s[7] > '1')
		return gt_h1_bad(h, "http_version",
				 "only the versions 1.0 and 1.1 are served here");
	h->minor = (uint8_t)(s[7] - '0');
	return GT_H1_MORE;
}

static enum gt_h1_event request_line(struct gt_h1 *h, size_t at, size_t len)
{
	const char *s = h->head + at;
	const char *sp1 = memchr(s, ' ', len);
	const char *sp2 = sp1 ? memchr(sp1 + 1, ' ', len - (size_t)(sp1 + 1 - s)) : NULL;

	if (!sp2)
		return gt_h1_bad(h, "malformed_request",
				 "the request line is not METHOD TARGET HTTP/1.1");
	size_t method = (size_t)(sp1 - s), target = (size_t)(sp2 - sp1 - 1);

	if (!method || !gt_h1_all(s, method, H1_TCHAR) || !target)
		return gt_h1_bad(h, "malformed_request",
				 "the request line is not METHOD TARGET HTTP/1.1");
	if (method > GT_H1_METHOD_MAX)
		return gt_h1_bad(h, "not_implemented", "the method is longer than 32 bytes");
	if (memchr(sp1 + 1, '\t', target))
		return gt_h1_bad(h, "malformed_request", "the target holds a tab");
	h->method = span(at, method);
	h->target = span(at + method + 1, target);
	return read_version(h, sp2 + 1, len - (size_t)(sp2 + 1 - s));
}

static enum gt_h1_event status_line(struct gt_h1 *h, size_t at, size_t len)
{
	const char *s = h->head + at;
	enum gt_h1_event r = read_version(h, s, GT_MIN(len, 8));

	if (r != GT_H1_MORE)
		return r;
	if (len < 12 || s[8] != ' ' || (len > 12 && s[12] != ' '))
		return gt_h1_bad(h, "bad_gateway", "the status line is malformed");
	for (size_t i = 9; i < 12; i++)
		if (s[i] < '0' || s[i] > '9')
			return gt_h1_bad(h, "bad_gateway", "the status is no number");
	h->status = (uint16_t)((s[9] - '0') * 100 + (s[10] - '0') * 10 + (s[11] - '0'));
	if (h->status < 100 || h->status > 599)
		return gt_h1_bad(h, "bad_gateway", "the status is not in 100..599");
	h->reason = len > 13 ? span(at + 13, len - 13) : span(at + len, 0);
	return GT_H1_MORE;
}

enum gt_h1_event gt_h1_first_line(struct gt_h1 *h, size_t at, size_t len)
{
	return h->kind == GT_H1_REQUEST ? request_line(h, at, len) : status_line(h, at, len);
}

/* ---- fields ---- */

enum gt_h1_event gt_h1_field_line(struct gt_h1 *h, size_t at, size_t len)
{
	const char *s = h->head + at;

	if (s[0] == ' ' || s[0] == '\t')
		return gt_h1_bad(h, "malformed_request", "a header line starts with a blank");
	size_t name = gt_h1_token_len(s, len, &h->underscored);

	if (!name || name == len || s[name] != ':')
		return gt_h1_bad(h, "malformed_request", "a header line is not NAME: VALUE");
	if (h->n_fields == GT_H1_FIELDS_MAX)
		return gt_h1_bad(h, "headers_too_large", "more than 100 header lines");
	size_t from = name + 1, to = len;

	while (from < to && (s[from] == ' ' || s[from] == '\t'))
		from++;
	while (to > from && (s[to - 1] == ' ' || s[to - 1] == '\t'))
		to--;
	if (h->n_fields == h->cap_fields) {
		h->cap_fields = h->cap_fields ? GT_MIN(h->cap_fields * 2, GT_H1_FIELDS_MAX) : 16;
		h->fields = gt_grow(h->fields, h->cap_fields, sizeof(*h->fields));
	}
	enum gt_h1_name id = gt_h1_name_find(s, name);

	h->fields[h->n_fields++] = (struct gt_h1_field){
		.name = span(at, name),
		.value = span(at + from, to - from),
		.id = (uint8_t)id,
		.hop = (gt_h1_known[id].flags & H1_HOP) != 0,
	};
	if (!h->first[id])
		h->first[id] = (uint8_t)h->n_fields;
	return GT_H1_MORE;
}

static bool same_for_cgi(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char x = a[i] == '_' ? '-' : a[i], y = b[i] == '_' ? '-' : b[i];

		if (strncasecmp(&x, &y, 1) != 0)
			return false;
	}
	return true;
}

/* X_Forwarded_For and X-Forwarded-For become one variable in CGI-like servers: a name that would
 * collide so could smuggle what we remove or state ourselves. */
static bool collides(const struct gt_h1 *h, const struct gt_h1_field *f)
{
	const char *name = h->head + f->name.at;

	if (!memchr(name, '_', f->name.len))
		return false;
	for (unsigned i = 1; i < GT_H1_NAME_N; i++)
		if (gt_h1_known[i].len == f->name.len &&
		    same_for_cgi(name, gt_h1_known[i].name, f->name.len))
			return true;
	for (size_t i = 0; i < h->n_fields; i++) {
		const struct gt_h1_field *o = &h->fields[i];

		if (o != f && o->name.len == f->name.len &&
		    same_for_cgi(name, h->head + o->name.at, f->name.len) &&
		    strncasecmp(name, h->head + o->name.at, f->name.len) != 0)
			return true;
	}
	return false;
}

/* ---- connection ---- */

static bool may_be_named(enum gt_h1_name id)
{
	return id != GT_H1_HOST && id != GT_H1_CONTENT_LENGTH && id != GT_H1_AUTHORIZATION &&
	       id != GT_H1_CONTENT_TYPE && id != GT_H1_CONTENT_ENCODING &&
	       id != GT_H1_TRANSFER_ENCODING && !(gt_h1_known[id].flags & H1_FORWARDED);
}

struct wishes {
	bool close, keep_alive, upgrade;
};

static enum gt_h1_event connection_token(struct gt_h1 *h, const char *s, size_t len,
					 struct wishes *w)
{
	if (!gt_h1_all(s, len, H1_TCHAR))
		return gt_h1_bad(h, "malformed_request", "Connection holds what is no name");
	if (!may_be_named(gt_h1_name_find(s, len)))
		return gt_h1_bad(h, "malformed_request",
				 "Connection names a header that must reach the other side");
	w->close |= len == 5 && !strncasecmp(s, "close", 5);
	w->keep_alive |= len == 10 && !strncasecmp(s, "keep-alive", 10);
	w->upgrade |= len == 7 && !strncasecmp(s, "upgrade", 7);
	for (size_t i = 0; i < h->n_fields; i++) {
		struct gt_h1_field *f = &h->fields[i];

		if (f->name.len == len && !strncasecmp(h->head + f->name.at, s, len))
			f->hop = true;
	}
	return GT_H1_MORE;
}

static enum gt_h1_event read_connection(struct gt_h1 *h, struct gt_h1_span v, struct wishes *w)
{
	const char *s = h->head + v.at, *end = s + v.len;

	while (s < end) {
		const char *comma = memchr(s, ',', (size_t)(end - s));
		const char *stop = comma ? comma : end;
		const char *last = stop;

		while (s < last && (*s == ' ' || *s == '\t'))
			s++;
		while (last > s && (last[-1] == ' ' || last[-1] == '\t'))
			last--;
		if (last > s && connection_token(h, s, (size_t)(last - s), w) == GT_H1_BAD)
			return GT_H1_BAD;
		s = stop + 1;
	}
	return GT_H1_MORE;
}

/* ---- framing ---- */

static enum gt_h1_event read_length(struct gt_h1 *h, struct gt_h1_span v)
{
	uint64_t n = 0;

	if (h->has_length)
		return gt_h1_bad(h, "malformed_request", "Content-Length is given twice");
	if (!v.len)
		return gt_h1_bad(h, "malformed_request", "Content-Length is empty");
	for (size_t i = 0; i < v.len; i++) {
		char c = h->head[v.at + i];

		if (c < '0' || c > '9')
			return gt_h1_bad(h, "malformed_request", "Content-Length is no number");
		if (n > ((uint64_t)INT64_MAX - (uint64_t)(c - '0')) / 10)
			return gt_h1_bad(h, "malformed_request", "Content-Length is too large");
		n = n * 10 + (uint64_t)(c - '0');
	}
	h->has_length = true;
	h->length = n;
	return GT_H1_MORE;
}

/* Blanks may follow a value, but other readers take a tab there for a part of it. A line begins
 * with no blank, so that what follows is this line's. */
static bool tab_follows(const struct gt_h1 *h, struct gt_h1_span v)
{
	size_t i = (size_t)v.at + v.len;

	while (i < h->head_len && h->head[i] == ' ')
		i++;
	return i < h->head_len && h->head[i] == '\t';
}

struct facts {
	unsigned hosts, encodings, expects, upgrades, authorizations;
	bool chunked;
	struct wishes wishes;
};

static enum gt_h1_event read_field(struct gt_h1 *h, const struct gt_h1_field *f, struct facts *a)
{
	bool framing = f->id == GT_H1_CONTENT_LENGTH || f->id == GT_H1_TRANSFER_ENCODING;

	if (framing && tab_follows(h, f->value))
		return gt_h1_bad(h, "malformed_request", "a tab follows the length of the body");
	switch (f->id) {
	case GT_H1_HOST:
		a->hosts++;
		break;
	case GT_H1_AUTHORIZATION:
		a->authorizations++;
		break;
	case GT_H1_CONTENT_LENGTH:
		return read_length(h, f->value);
	case GT_H1_TRANSFER_ENCODING:
		a->encodings++;
		a->chunked = equal_nocase(h, f->value, "chunked");
		break;
	case GT_H1_CONNECTION:
		return read_connection(h, f->value, &a->wishes);
	case GT_H1_EXPECT:
		if (h->kind == GT_H1_REQUEST && !equal_nocase(h, f->value, "100-continue"))
			return gt_h1_bad(h, "expectation_failed",
					 "only 100-continue can be expected");
		a->expects++;
		break;
	case GT_H1_UPGRADE:
		a->upgrades++;
		h->websocket = equal_nocase(h, f->value, "websocket");
		break;
	default:
		break;
	}
	return GT_H1_MORE;
}

static enum gt_h1_event check_framing(struct gt_h1 *h, const struct facts *a)
{
	if (a->encodings && h->has_length)
		return gt_h1_bad(h, "malformed_request",
				 "Content-Length and Transfer-Encoding are both given");
	if (a->encodings && h->minor == 0)
		return gt_h1_bad(h, "malformed_request", "Transfer-Encoding in HTTP/1.0");
	if (a->encodings > 1 || (a->encodings && !a->chunked))
		return gt_h1_bad(h, "not_implemented", "Transfer-Encoding is not just \"chunked\"");
	if (a->encodings)
		h->framing = GT_H1_CHUNKED;
	else if (h->has_length)
		h->framing = GT_H1_LENGTH;
	else
		h->framing = h->kind == GT_H1_REQUEST ? GT_H1_NO_BODY : GT_H1_UNTIL_CLOSE;
	if (h->kind == GT_H1_RESPONSE &&
	    (h->to_head || h->status < 200 || h->status == 204 || h->status == 304))
		h->framing = GT_H1_NO_BODY;
	return GT_H1_MORE;
}

/* A Host may hold a name, an address, a port: nothing that could end it early elsewhere. */
static bool host_ok(const char *s, size_t len)
{
	return gt_h1_all(s, len, H1_HOST);
}

/* http://host/path: the authority overrides Host and must agree with it; the rest is the target. */
static enum gt_h1_event absolute_target(struct gt_h1 *h, size_t scheme, struct gt_h1_span host)
{
	const char *s = h->head + h->target.at + scheme;
	size_t left = h->target.len - scheme, n = 0;

	while (n < left && s[n] != '/' && s[n] != '?')
		n++;
	if (!n || !host_ok(s, n) ||
	    (host.len && (host.len != n || strncasecmp(s, h->head + host.at, n))))
		return gt_h1_bad(h, "malformed_request", "the target's host and Host do not agree");
	if (n == left || s[n] == '?') {
		/* "http://h" and "http://h?q" have the path "/": there is room, as the
		 * authority before it is not needed any more. */
		h->head[h->target.at + scheme + n - 1] = '/';
		n--;
	}
	h->target = span(h->target.at + scheme + n, left - n);
	return GT_H1_MORE;
}

static enum gt_h1_event check_target(struct gt_h1 *h, const struct facts *a)
{
	const struct gt_h1_field *f = gt_h1_find(h, GT_H1_HOST);
	struct gt_h1_span none = { 0, 0 };
	const char *t = h->head + h->target.at;

	if (a->hosts > 1 || (h->minor == 1 && a->hosts == 0))
		return gt_h1_bad(h, "malformed_request", "there must be exactly one Host");
	if (f && !host_ok(h->head + f->value.at, f->value.len))
		return gt_h1_bad(h, "malformed_request", "Host is malformed");
	if (gt_h1_is(h, h->method, "CONNECT"))
		return gt_h1_bad(h, "method_not_allowed", "CONNECT is not served here");
	if (t[0] == '/')
		return GT_H1_MORE;
	if (h->target.len == 1 && t[0] == '*' && gt_h1_is(h, h->method, "OPTIONS"))
		return GT_H1_MORE;
	if (h->target.len > 7 && !strncasecmp(t, "http://", 7))
		return absolute_target(h, 7, f ? f->value : none);
	if (h->target.len > 8 && !strncasecmp(t, "https://", 8))
		return absolute_target(h, 8, f ? f->value : none);
	return gt_h1_bad(h, "malformed_request", "the target is no path");
}

enum gt_h1_event gt_h1_head_done(struct gt_h1 *h)
{
	struct facts a = { 0 };

	for (size_t i = 0; i < h->n_fields; i++) {
		if (h->underscored && h->kind == GT_H1_REQUEST && collides(h, &h->fields[i]))
			return gt_h1_bad(h, "malformed_request",
					 "a header name with \"_\" collides with another one");
		if (h->fields[i].id != GT_H1_OTHER && read_field(h, &h->fields[i], &a) == GT_H1_BAD)
			return GT_H1_BAD;
	}
	if (check_framing(h, &a) == GT_H1_BAD)
		return GT_H1_BAD;
	if (h->kind == GT_H1_REQUEST && a.authorizations > 1)
		return gt_h1_bad(h, "malformed_request", "Authorization is given twice");
	if (h->kind == GT_H1_REQUEST && check_target(h, &a) == GT_H1_BAD)
		return GT_H1_BAD;
	h->keep_alive = !a.wishes.close && (h->minor == 1 || a.wishes.keep_alive) &&
			h->framing != GT_H1_UNTIL_CLOSE;
	h->expect_continue = h->kind == GT_H1_REQUEST && a.expects && h->minor == 1 &&
			     (h->framing == GT_H1_CHUNKED || h->length);
	h->websocket = h->websocket && a.upgrades == 1 && a.wishes.upgrade && h->minor == 1;
	if (h->kind == GT_H1_REQUEST)
		h->websocket = h->websocket && gt_h1_is(h, h->method, "GET") &&
			       h->framing == GT_H1_NO_BODY;
	else
		h->websocket = h->websocket && h->status == 101;
	return GT_H1_MORE;
}
