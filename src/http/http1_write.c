/* http1_write.c - heads written from their parsed form: room for all of one is made first, and then
 * it is only copied. */
#include "http1_priv.h"

#include <string.h>

#include <gantry/base/units.h>

#define FIXED_SIZE 192 /* version, Host, framing, Connection, the end: more than all of them */
#define FIELD_SIZE 4   /* of an extra field, besides its name and value */

static char *put(char *p, const char *data, size_t len)
{
	memcpy(p, data, len);
	return p + len;
}

#define PUT(p, text) put(p, text, sizeof(text) - 1)

static char *put_span(const struct gt_h1 *h, struct gt_h1_span s, char *p)
{
	return put(p, h->head + s.at, s.len);
}

static char *put_fields(const struct gt_h1 *h, uint8_t without, const struct gt_h1_rewrite *rw,
			char *p)
{
	for (size_t i = 0; i < h->n_fields; i++) {
		const struct gt_h1_field *f = &h->fields[i];

		if (f->hop || (gt_h1_known[f->id].flags & without) ||
		    (f->id == GT_H1_AUTHORIZATION && rw->drop_authorization) ||
		    (f->id == GT_H1_TRACESTATE && rw->drop_tracestate))
			continue;
		p = put_span(h, f->name, p);
		p = PUT(p, ": ");
		p = put_span(h, f->value, p);
		p = PUT(p, "\r\n");
	}
	return p;
}

static char *put_end(const struct gt_h1_rewrite *rw, char *p)
{
	for (size_t i = 0; i < rw->n_extra; i++) {
		const struct gt_h1_header *e = &rw->extra[i];

		if (!e->value)
			continue;
		p = PUT(put(p, e->name, e->name_len), ": ");
		p = PUT(put(p, e->value, e->value_len), "\r\n");
	}
	if (rw->framing == GT_H1_CHUNKED)
		p = PUT(p, "Transfer-Encoding: chunked\r\n");
	if (rw->framing == GT_H1_LENGTH) {
		p = PUT(p, "Content-Length: ");
		p = gt_put_u64(p, rw->length);
		p = PUT(p, "\r\n");
	}
	if (rw->connection == GT_H1_SWITCH)
		p = PUT(p, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	else if (rw->connection == GT_H1_CLOSE)
		p = PUT(p, "Connection: close\r\n");
	return PUT(p, "\r\n");
}

/* Where to write, with room for the whole head. -EINVAL, -ENOBUFS. */
static int begin(const struct gt_h1 *h, const struct gt_h1_rewrite *rw, struct gt_buf *out,
		 char **ret)
{
	size_t size = FIXED_SIZE + h->head_len + 4 * h->n_fields + rw->target_len;

	for (size_t i = 0; i < rw->n_extra; i++) {
		const struct gt_h1_header *e = &rw->extra[i];

		if (gt_h1_text_len(e->value, e->value_len) != e->value_len)
			return -EINVAL;
		size += FIELD_SIZE + e->name_len + e->value_len;
	}
	*ret = gt_buf_reserve(out, size);
	if (!*ret)
		out->failed = true;
	return *ret ? 0 : -ENOBUFS;
}

static void end(struct gt_buf *out, char *p)
{
	out->len = (size_t)(p - out->data);
	*p = '\0';
}

int gt_h1_write_request(const struct gt_h1 *h, const struct gt_h1_rewrite *rw, struct gt_buf *out)
{
	char *p;
	int r = begin(h, rw, out, &p);

	if (r < 0)
		return r;
	p = put_span(h, h->method, p);
	*p++ = ' ';
	p = rw->target ? put(p, rw->target, rw->target_len) : put_span(h, h->target, p);
	p = PUT(p, " HTTP/1.1\r\n");
	if (!gt_h1_find(h, GT_H1_HOST))
		p = PUT(p, "Host: localhost\r\n"); /* HTTP/1.0 may come without */
	end(out, put_end(rw, put_fields(h, H1_FORWARDED, rw, p)));
	return 0;
}

int gt_h1_write_response(const struct gt_h1 *h, const struct gt_h1_rewrite *rw, struct gt_buf *out)
{
	char *p;
	int r = begin(h, rw, out, &p);

	if (r < 0)
		return r;
	p = gt_put_u64(PUT(p, "HTTP/1.1 "), (uint64_t)h->status);
	*p++ = ' ';
	p = put_span(h, h->reason, p);
	p = PUT(p, "\r\n");
	end(out, put_end(rw, put_fields(h, rw->keep_ours ? 0 : H1_OURS, rw, p)));
	return 0;
}
