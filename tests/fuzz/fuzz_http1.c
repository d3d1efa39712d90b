/* The HTTP/1.1 reader: any cut of the bytes gives the same verdict, head and body; what is accepted
 * is written to a head that reads back as the same message. The first byte picks kind and cuts. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/http/http1.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void log_head(const struct gt_h1 *h, struct gt_buf *log)
{
	struct gt_h1_rewrite rw = { .framing = h->framing, .length = h->length };
	struct gt_buf out;
	struct gt_h1 again;
	struct gt_h1_body body;
	size_t used;

	if (h->n_fields > GT_H1_FIELDS_MAX - 2 || h->head_len > GT_H1_HEAD_MAX - 512)
		return; /* Host or Connection may be added: over the limits only because of us */
	gt_buf_init(&out, 0);
	int r = h->kind == GT_H1_REQUEST ? gt_h1_write_request(h, &rw, &out)
					 : gt_h1_write_response(h, &rw, &out);

	assert(r == 0);
	gt_h1_init(&again, (enum gt_h1_kind)h->kind);
	again.to_head = h->to_head;
	enum gt_h1_event ev = gt_h1_feed(&again, out.data, out.len, &used, &body);

	/* Host of an HTTP/1.0 request may be empty or absent; everything else must hold. */
	assert(ev == GT_H1_HEAD);
	assert(again.framing == h->framing);
	assert(h->framing != GT_H1_LENGTH || again.length == h->length);
	assert(again.status == h->status && again.method.len == h->method.len);
	gt_buf_add(log, out.data, out.len);
	gt_h1_fini(&again);
	gt_buf_fini(&out);
}

static void feed(struct gt_h1 *h, const char *data, size_t len, size_t step, struct gt_buf *log)
{
	size_t at = 0;

	while (at < len) {
		size_t n = step < len - at ? step : len - at, used;
		struct gt_h1_body body;
		enum gt_h1_event ev;

		do {
			ev = gt_h1_feed(h, data + at, n, &used, &body);
			assert(used <= n);
			at += used;
			n -= used;
			if (ev == GT_H1_DATA) {
				assert(body.len && body.data + body.len <= data + len);
				gt_buf_add(log, body.data, body.len);
			}
			if (ev == GT_H1_HEAD)
				log_head(h, log);
			if (ev == GT_H1_BAD) {
				assert(h->slug && h->why);
				gt_buf_addf(log, "[bad %s %s]", h->slug, h->why);
				return;
			}
			if (ev == GT_H1_END) {
				gt_buf_addf(log, "[end %zu]", at);
				return;
			}
		} while (ev != GT_H1_MORE);
	}
	gt_buf_addf(log, "[eof %d]", gt_h1_eof(h));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len < 1)
		return 0;
	enum gt_h1_kind kind = data[0] & 1 ? GT_H1_RESPONSE : GT_H1_REQUEST;
	size_t steps[] = { len, 1, (data[0] >> 2) + 2u };
	struct gt_buf logs[3];

	for (size_t i = 0; i < 3; i++) {
		struct gt_h1 h;

		gt_buf_init(&logs[i], 0);
		gt_h1_init(&h, kind);
		h.to_head = kind == GT_H1_RESPONSE && (data[0] & 2);
		feed(&h, (const char *)data + 1, len - 1, steps[i], &logs[i]);
		gt_h1_fini(&h);
	}
	for (size_t i = 1; i < 3; i++) {
		assert(logs[i].len == logs[0].len);
		assert(!logs[0].len || !memcmp(logs[i].data, logs[0].data, logs[0].len));
	}
	for (size_t i = 0; i < 3; i++)
		gt_buf_fini(&logs[i]);
	return 0;
}
