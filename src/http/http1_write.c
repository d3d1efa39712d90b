/* http1_write.c - heads written from their parsed form. */
#include "http1_priv.h"

#include <string.h>

static void add_span(const struct gt_h1 *h, struct gt_h1_span s, struct gt_buf *out)
{
	if (s.len)
		gt_buf_add(out, h->head + s.at, s.len);
}

static void add_fields(const struct gt_h1 *h, uint8_t without, const struct gt_h1_rewrite *rw,
		       struct gt_buf *out)
{
	for (size_t i = 0; i < h->n_fields; i++) {
		const struct gt_h1_field *f = &h->fields[i];

		if (f->hop || (gt_h1_known[f->id].flags & without) ||
		    (f->id == GT_H1_AUTHORIZATION && rw->drop_authorization) ||
		    (f->id == GT_H1_TRACESTATE && rw->drop_tracestate))
			continue;
		add_span(h, f->name, out);
		gt_buf_add(out, ": ", 2);
		add_span(h, f->value, out);
		gt_buf_add(out, "\r\n", 2);
	}
}

static int add_end(const struct gt_h1_rewrite *rw, struct gt_buf *out)
{
	for (size_t i = 0; i < rw->n_extra; i++) {
		const char *value = rw->extra[i].value;

		if (!value)
			continue;
		if (!gt_h1_all(value, strlen(value), H1_TEXT))
			return -EINVAL;
		gt_buf_addf(out, "%s: %s\r\n", rw->extra[i].name, value);
	}
	if (rw->framing == GT_H1_CHUNKED)
		gt_buf_adds(out, "Transfer-Encoding: chunked\r\n");
	if (rw->framing == GT_H1_LENGTH)
		gt_buf_addf(out, "Content-Length: %llu\r\n", (unsigned long long)rw->length);
	if (rw->connection == GT_H1_SWITCH)
		gt_buf_adds(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	else if (rw->connection == GT_H1_CLOSE)
		gt_buf_adds(out, "Connection: close\r\n");
	gt_buf_add(out, "\r\n", 2);
	return out->failed ? -ENOBUFS : 0;
}

int gt_h1_write_request(const struct gt_h1 *h, const struct gt_h1_rewrite *rw, struct gt_buf *out)
{
	add_span(h, h->method, out);
	gt_buf_addc(out, ' ');
	if (rw->target)
		gt_buf_add(out, rw->target, rw->target_len);
	else
		add_span(h, h->target, out);
	gt_buf_adds(out, " HTTP/1.1\r\n");
	if (!gt_h1_find(h, GT_H1_HOST))
		gt_buf_adds(out, "Host: localhost\r\n"); /* HTTP/1.0 may come without */
	add_fields(h, H1_FORWARDED, rw, out);
	return add_end(rw, out);
}

int gt_h1_write_response(const struct gt_h1 *h, const struct gt_h1_rewrite *rw, struct gt_buf *out)
{
	gt_buf_addf(out, "HTTP/1.1 %u ", h->status);
	add_span(h, h->reason, out);
	gt_buf_add(out, "\r\n", 2);
	add_fields(h, H1_OURS, rw, out);
	return add_end(rw, out);
}
