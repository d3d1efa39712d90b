/* decompress.c - gzip by ISA-L, zstd by its own library, both also of several members or frames. */
#include "decompress.h"

#include <stdlib.h>
#include <string.h>

#include <isa-l.h>
#include <zstd.h>

#define OUT_SIZE ((size_t)256 * 1024)

struct decompressor {
	enum gt_layer_form form;
	decompress_sink *sink;
	void *arg;
	struct inflate_state *gzip;
	ZSTD_DStream *zstd;
	bool inside; /* a member or frame has begun and not ended */
	bool begun;  /* any has */
	unsigned char *out;
};

static int damaged(struct gt_err *err, const char *what)
{
	return gt_err_set(err, EBADMSG, "image_invalid", "the compressed stream is damaged: %s",
			  what);
}

static void gzip_next(struct decompressor *d)
{
	isal_inflate_init(d->gzip);
	d->gzip->crc_flag = ISAL_GZIP;
}

int decompress_new(enum gt_layer_form form, decompress_sink *sink, void *arg,
		   struct decompressor **ret, struct gt_err *err)
{
	struct decompressor *d = gt_alloc(sizeof(*d));

	d->form = form;
	d->sink = sink;
	d->arg = arg;
	d->out = gt_alloc(OUT_SIZE);
	if (form == GT_LAYER_GZIP) {
		d->gzip = gt_alloc(sizeof(*d->gzip));
		gzip_next(d);
	} else if (form == GT_LAYER_ZSTD) {
		d->zstd = ZSTD_createDStream();
		/* A window that a stranger's stream asks for is memory of ours: 128 MiB at most. */
		if (!d->zstd ||
		    ZSTD_isError(ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, 27))) {
			decompress_free(d);
			return gt_err_errno(err, ENOMEM, "zstd");
		}
	}
	*ret = d;
	return 0;
}

void decompress_free(struct decompressor *d)
{
	if (!d)
		return;
	ZSTD_freeDStream(d->zstd);
	free(d->gzip);
	free(d->out);
	free(d);
}

static bool only_zeros(const unsigned char *p, size_t len)
{
	while (len > 0 && p[len - 1] == 0)
		len--;
	return len == 0;
}

static int feed_gzip(struct decompressor *d, const unsigned char *data, size_t len,
		     struct gt_err *err)
{
	struct inflate_state *s = d->gzip;

	s->next_in = (uint8_t *)data;
	s->avail_in = (uint32_t)len;
	while (s->avail_in > 0 || s->avail_out == 0) {
		int r;

		if (!d->inside && s->avail_in == 0)
			break;
		/* Some writers pad the end. */
		if (!d->inside && d->begun && only_zeros(s->next_in, s->avail_in))
			return 0;
		d->inside = d->begun = true;
		s->next_out = d->out;
		s->avail_out = (uint32_t)OUT_SIZE;
		r = isal_inflate(s);
		if (r != ISAL_DECOMP_OK)
			return damaged(err, "gzip");
		if (s->next_out > d->out) {
			r = d->sink(d->out, (size_t)(s->next_out - d->out), d->arg, err);
			if (r < 0)
				return r;
		}
		if (s->block_state == ISAL_BLOCK_FINISH) {
			uint8_t *rest = s->next_in;
			uint32_t n = s->avail_in;

			gzip_next(d);
			s->next_in = rest;
			s->avail_in = n;
			s->avail_out = 1; /* nothing waits to come out */
			d->inside = false;
		}
	}
	return 0;
}

static int feed_zstd(struct decompressor *d, const void *data, size_t len, struct gt_err *err)
{
	ZSTD_inBuffer in = { data, len, 0 };
	bool full = false;

	while (in.pos < in.size || full) {
		ZSTD_outBuffer out = { d->out, OUT_SIZE, 0 };
		size_t left = ZSTD_decompressStream(d->zstd, &out, &in);

		if (ZSTD_isError(left))
			return damaged(err, ZSTD_getErrorName(left));
		d->inside = left != 0;
		d->begun = true;
		full = out.pos == out.size;
		if (out.pos > 0) {
			int r = d->sink(d->out, out.pos, d->arg, err);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

int decompress_feed(struct decompressor *d, const void *data, size_t len, struct gt_err *err)
{
	if (len == 0)
		return 0;
	switch (d->form) {
	case GT_LAYER_GZIP:
		return feed_gzip(d, data, len, err);
	case GT_LAYER_ZSTD:
		return feed_zstd(d, data, len, err);
	default:
		return d->sink(data, len, d->arg, err);
	}
}

int decompress_end(struct decompressor *d, struct gt_err *err)
{
	if (d->form == GT_LAYER_TAR || (d->begun && !d->inside))
		return 0;
	return damaged(err, "it ends too early");
}
