/* http1.c - the reader of the HTTP/1.1 codec: cuts bytes into lines, chunks and body pieces. What
 * the lines mean is in http1_head.c. */
#include "http1_priv.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
	S_START,    /* nothing seen, or one empty line before a request */
	S_START_LF, /* that empty line's LF */
	S_LINE,
	S_LINE_LF,
	S_BODY, /* left bytes, or until the peer closes */
	S_SIZE, /* digits of a chunk's size */
	S_EXT,  /* what follows the size, dropped */
	S_SIZE_LF,
	S_CHUNK,
	S_CHUNK_CR,
	S_CHUNK_LF,
	S_TRAILER_LINE,
	S_TRAILER_LF,
	S_END,
	S_BAD,
};

#define HEAD_FIRST  1000 /* most heads; the largest size that malloc keeps at hand */
#define HEAD_KEEP   (4 * HEAD_FIRST)
#define FIELDS_KEEP 64

void gt_h1_init(struct gt_h1 *h, enum gt_h1_kind kind)
{
	*h = (struct gt_h1){ .kind = (uint8_t)kind, .state = S_START };
}

void gt_h1_fini(struct gt_h1 *h)
{
	free(h->head);
	free(h->fields);
	gt_h1_init(h, (enum gt_h1_kind)h->kind);
}

void gt_h1_reset(struct gt_h1 *h)
{
	struct gt_h1 old = *h;

	if (old.head_cap > HEAD_KEEP || old.cap_fields > FIELDS_KEEP) {
		gt_h1_fini(h);
	} else {
		gt_h1_init(h, (enum gt_h1_kind)h->kind);
		h->head = old.head;
		h->head_cap = old.head_cap;
		h->fields = old.fields;
		h->cap_fields = old.cap_fields;
	}
	h->to_head = old.to_head;
}

bool gt_h1_started(const struct gt_h1 *h)
{
	return h->state != S_START || h->led;
}

bool gt_h1_is(const struct gt_h1 *h, struct gt_h1_span s, const char *text)
{
	return s.len == strlen(text) && !memcmp(h->head + s.at, text, s.len);
}

const struct gt_h1_field *gt_h1_find(const struct gt_h1 *h, enum gt_h1_name name)
{
	return h->first[name] ? &h->fields[h->first[name] - 1] : NULL;
}

const struct gt_h1_field *gt_h1_find_text(const struct gt_h1 *h, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < h->n_fields; i++)
		if (h->fields[i].name.len == len &&
		    !strncasecmp(gt_h1_text(h, h->fields[i].name), name, len))
			return &h->fields[i];
	return NULL;
}

bool gt_h1_idempotent(const struct gt_h1 *h)
{
	static const char *const methods[] = { "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE" };

	for (size_t i = 0; i < GT_LEN(methods); i++)
		if (gt_h1_is(h, h->method, methods[i]))
			return true;
	return false;
}

/* ---- head ---- */

static void keep(struct gt_h1 *h, const char *data, size_t len)
{
	if (h->head_len + len > h->head_cap) {
		h->head_cap = GT_MAX(h->head_len + (uint32_t)len,
				     h->head_cap ? h->head_cap * 2 : HEAD_FIRST);
		h->head = gt_grow(h->head, h->head_cap, 1);
	}
	memcpy(h->head + h->head_len, data, len);
	h->head_len += (uint32_t)len;
}

/* A line is complete. GT_H1_HEAD after the empty one. */
static enum gt_h1_event head_line(struct gt_h1 *h);

/* Takes allowed bytes up to the CR, and the LF if it is here. The limits are met at the same byte
 * however the input is cut.
 */
static enum gt_h1_event head_text(struct gt_h1 *h, const char *data, size_t len, size_t *i)
{
	size_t n = gt_h1_text_len(data + *i, len - *i);
	size_t line_room = GT_H1_LINE_MAX - (h->head_len - h->line);
	size_t head_room = GT_H1_HEAD_MAX - h->head_len;

	if (n > head_room || n > line_room) {
		bool first = h->line == 0 && h->kind == GT_H1_REQUEST;

		return first ? gt_h1_bad(h, "uri_too_long", "the request line is over 8 KiB")
			     : gt_h1_bad(h, "headers_too_large",
					 "a header line is over 8 KiB or the head over 32 KiB");
	}
	if (n) /* nothing to copy may mean no memory yet */
		keep(h, data + *i, n);
	*i += n;
	if (*i == len)
		return GT_H1_MORE;
	if (data[*i] != '\r')
		return gt_h1_bad(
			h, "malformed_request",
			"a control character in the head, or a line that does not end in CRLF");
	++*i;
	h->state = S_LINE_LF;
	if (*i == len || data[*i] != '\n')
		return GT_H1_MORE;
	++*i;
	return head_line(h);
}

static void start_body(struct gt_h1 *h)
{
	if (h->framing == GT_H1_NO_BODY || (h->framing == GT_H1_LENGTH && !h->length)) {
		h->state = S_END;
	} else if (h->framing == GT_H1_CHUNKED) {
		h->state = S_SIZE;
		h->left = 0;
		h->digits = 0;
		h->chunk_line = 0;
	} else {
		h->state = S_BODY;
		h->left = h->framing == GT_H1_LENGTH ? h->length : UINT64_MAX;
	}
}

static enum gt_h1_event head_line(struct gt_h1 *h)
{
	size_t at = h->line, len = h->head_len - at;
	enum gt_h1_event r;

	if (at == 0 && len == 0)
		return gt_h1_bad(h, "malformed_request", "the first line is empty");
	if (len == 0) {
		r = gt_h1_head_done(h);
		if (r == GT_H1_BAD)
			return r;
		start_body(h);
		return GT_H1_HEAD;
	}
	r = at == 0 ? gt_h1_first_line(h, at, len) : gt_h1_field_line(h, at, len);
	h->line = h->head_len;
	h->state = S_LINE;
	return r;
}

static enum gt_h1_event feed_head(struct gt_h1 *h, const char *data, size_t len, size_t *i)
{
	switch (h->state) {
	case S_START:
		if (data[*i] == '\r' && h->kind == GT_H1_REQUEST && !h->led) {
			++*i;
			h->led = true;
			h->state = S_START_LF;
			return GT_H1_MORE;
		}
		h->state = S_LINE;
		return GT_H1_MORE;
	case S_LINE:
		return head_text(h, data, len, i);
	default: /* S_START_LF, S_LINE_LF */
		if (data[(*i)++] != '\n')
			return gt_h1_bad(h, "malformed_request", "a CR without LF");
		if (h->state == S_LINE_LF)
			return head_line(h);
		h->state = S_START;
		return GT_H1_MORE;
	}
}

/* ---- chunked body ---- */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return (c | 0x20) - 'a' + 10;
}

enum { EXT_NAME, EXT_VALUE, EXT_QUOTED, EXT_CLOSED }; /* h->digits while in S_EXT */

/* name, name=token or name="text", each after a ';': readers differ about anything else. */
static bool extension_char(struct gt_h1 *h, char c)
{
	switch (h->digits) {
	case EXT_QUOTED:
		h->digits = c == '"' ? EXT_CLOSED : EXT_QUOTED;
		return (gt_h1_class[(uint8_t)c] & H1_TEXT) && c != '\\';
	case EXT_CLOSED:
		h->digits = EXT_NAME;
		return c == ';';
	default:
		if (h->digits == EXT_VALUE && c == '"') {
			h->digits = EXT_QUOTED;
			return true;
		}
		h->digits = c == '=' ? EXT_VALUE : EXT_NAME;
		return (gt_h1_class[(uint8_t)c] & H1_TCHAR) || c == ';' || c == '=';
	}
}

static enum gt_h1_event chunk_size_char(struct gt_h1 *h, char c)
{
	if (++h->chunk_line > GT_H1_CHUNK_LINE_MAX)
		return gt_h1_bad(h, "malformed_request", "a chunk's size line is over 256 bytes");
	if (h->state == S_SIZE && (gt_h1_class[(uint8_t)c] & H1_HEX)) {
		if (++h->digits > 16 || h->left > (uint64_t)INT64_MAX >> 4)
			return gt_h1_bad(h, "malformed_request", "a chunk's size is too large");
		h->left = h->left << 4 | (uint64_t)hex_value(c);
		return GT_H1_MORE;
	}
	if (h->state == S_SIZE && !h->digits)
		return gt_h1_bad(h, "malformed_request", "a chunk has no size");
	if (c == '\r' && !(h->state == S_EXT && h->digits == EXT_QUOTED)) {
		h->state = S_SIZE_LF;
	} else if (h->state == S_SIZE && c == ';') {
		h->state = S_EXT;
		h->digits = EXT_NAME;
	} else if (h->state == S_SIZE || !extension_char(h, c)) {
		return gt_h1_bad(h, "malformed_request", "a chunk's size line is malformed");
	}
	return GT_H1_MORE;
}

/* Trailers are read for their form and dropped: they could not be told from headers later. */
static enum gt_h1_event trailer_char(struct gt_h1 *h, char c)
{
	if (c == '\r') {
		h->state = S_TRAILER_LF;
		return GT_H1_MORE;
	}
	if (++h->trailer > GT_H1_TRAILER_MAX)
		return gt_h1_bad(h, "headers_too_large", "the trailers are over 8 KiB");
	/* digits: 0 before the colon, 1 after it. */
	if (!(gt_h1_class[(uint8_t)c] & (h->digits ? H1_TEXT : H1_TCHAR)) &&
	    !(c == ':' && h->trailer_line && !h->digits))
		return gt_h1_bad(h, "malformed_request", "a trailer line is malformed");
	if (c == ':')
		h->digits = 1;
	h->trailer_line++;
	return GT_H1_MORE;
}

static enum gt_h1_event trailer_end(struct gt_h1 *h)
{
	if (h->trailer_line && !h->digits)
		return gt_h1_bad(h, "malformed_request", "a trailer line is malformed");
	h->state = h->trailer_line ? S_TRAILER_LINE : S_END;
	h->trailer_line = 0;
	h->digits = 0;
	return GT_H1_MORE;
}

static enum gt_h1_event chunk_line_end(struct gt_h1 *h)
{
	h->state = h->left ? S_CHUNK : S_TRAILER_LINE;
	h->digits = 0;
	h->chunk_line = 0;
	h->trailer_line = 0;
	return GT_H1_MORE;
}

static enum gt_h1_event feed_framing(struct gt_h1 *h, char c)
{
	switch (h->state) {
	case S_SIZE:
	case S_EXT:
		return chunk_size_char(h, c);
	case S_TRAILER_LINE:
		return trailer_char(h, c);
	case S_CHUNK_CR:
		h->state = S_CHUNK_LF;
		return c == '\r'
			       ? GT_H1_MORE
			       : gt_h1_bad(h, "malformed_request", "a chunk does not end in CRLF");
	default: /* the LF of some line */
		if (c != '\n')
			return gt_h1_bad(h, "malformed_request",
					 "a CR without LF in a chunked body");
		if (h->state == S_SIZE_LF)
			return chunk_line_end(h);
		if (h->state == S_TRAILER_LF)
			return trailer_end(h);
		h->state = S_SIZE;
		return GT_H1_MORE;
	}
}

/* ---- long bodies ---- */

static void forget_fields(struct gt_h1 *h)
{
	free(h->fields);
	h->fields = NULL;
	h->n_fields = h->cap_fields = 0;
	memset(h->first, 0, sizeof(h->first));
}

void gt_h1_forget_head(struct gt_h1 *h)
{
	forget_fields(h);
	free(h->head);
	h->head = NULL;
	h->head_len = h->head_cap = h->line = 0;
	h->method = h->target = h->reason = (struct gt_h1_span){ 0, 0 };
}

void gt_h1_keep_line(struct gt_h1 *h)
{
	forget_fields(h);
	h->head_len = h->line = (uint32_t)h->target.at + h->target.len;
	h->head_cap = h->head_len + 1;
	h->head = gt_grow(h->head, h->head_cap, 1);
}

uint64_t gt_h1_body_left(const struct gt_h1 *h)
{
	return h->framing == GT_H1_LENGTH && h->state == S_BODY ? h->left : 0;
}

void gt_h1_body_took(struct gt_h1 *h, uint64_t len)
{
	h->left -= GT_MIN(len, gt_h1_body_left(h));
	if (h->state == S_BODY && !h->left)
		h->state = S_END;
}

/* ---- all together ---- */

static enum gt_h1_event feed_data(struct gt_h1 *h, const char *data, size_t len, size_t *i,
				  struct gt_h1_body *body)
{
	size_t n = (size_t)GT_MIN((uint64_t)(len - *i), h->left);

	*body = (struct gt_h1_body){ .data = data + *i, .len = n };
	*i += n;
	if (h->framing != GT_H1_UNTIL_CLOSE)
		h->left -= n;
	if (!h->left)
		h->state = h->framing == GT_H1_CHUNKED ? S_CHUNK_CR : S_END;
	return GT_H1_DATA;
}

enum gt_h1_event gt_h1_feed(struct gt_h1 *h, const char *data, size_t len, size_t *used,
			    struct gt_h1_body *body)
{
	enum gt_h1_event r = GT_H1_MORE;
	size_t i = 0;

	if (h->state == S_END || h->state == S_BAD) {
		*used = 0;
		return h->state == S_END ? GT_H1_END : GT_H1_BAD;
	}
	while (i < len && r == GT_H1_MORE && h->state != S_END) {
		if (h->state <= S_LINE_LF)
			r = feed_head(h, data, len, &i);
		else if (h->state == S_BODY || h->state == S_CHUNK)
			r = feed_data(h, data, len, &i, body);
		else
			r = feed_framing(h, data[i++]);
	}
	if (r == GT_H1_BAD)
		h->state = S_BAD;
	else if (r == GT_H1_MORE && h->state == S_END)
		r = GT_H1_END;
	*used = i;
	return r;
}

enum gt_h1_event gt_h1_eof(struct gt_h1 *h)
{
	if (h->state == S_END || (h->state == S_BODY && h->framing == GT_H1_UNTIL_CLOSE)) {
		h->state = S_END;
		return GT_H1_END;
	}
	if (h->state != S_BAD)
		gt_h1_bad(h, "malformed_request", "the connection closed inside the message");
	h->state = S_BAD;
	return GT_H1_BAD;
}
