/* decompress.c - gzip by ISA-L, zstd by its own library; members and frames in a row are one
 * stream, as both formats say. */
#include "decompress.h"
#include "tar.h"

#include <isa-l.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct gt_decompress {
	enum gt_layer_form form;
	bool whole; /* between members, and there was one */
	struct inflate_state *gzip;
	ZSTD_DStream *zstd;
};

int gt_decompress_new(enum gt_layer_form form, struct gt_decompress **ret, struct gt_err *err)
{
	struct gt_decompress *d;

	if ((unsigned)form >= GT_LAYER_FORM_N)
		return gt_err_set(err, EINVAL, "image_invalid", "an unknown form of layer");
	d = gt_alloc(sizeof(*d));
	d->form = form;
	if (form == GT_LAYER_GZIP) {
		d->gzip = gt_alloc(sizeof(*d->gzip));
		isal_inflate_init(d->gzip);
		d->gzip->crc_flag = ISAL_GZIP;
	} else if (form == GT_LAYER_ZSTD) {
		d->zstd = ZSTD_createDStream();
		if (!d->zstd) {
			gt_decompress_free(d);
			return gt_err_errno(err, ENOMEM, "zstd");
		}
	}
	*ret = d;
	return 0;
}

void gt_decompress_free(struct gt_decompress *d)
{
	if (!d)
		return;
	free(d->gzip);
	ZSTD_freeDStream(d->zstd);
	free(d);
}

static int gzip_run(struct gt_decompress *d, const uint8_t **in, size_t *in_len, uint8_t *out,
		    size_t room, size_t *ret, struct gt_err *err)
{
	struct inflate_state *s = d->gzip;
	uint32_t given = (uint32_t)GT_MIN(*in_len, UINT32_MAX);

	*ret = 0;
	if (d->whole && *in_len == 0)
		return 0;
	if (d->whole) {
		isal_inflate_reset(s);
		s->crc_flag = ISAL_GZIP;
		d->whole = false;
	}
	s->next_in = (uint8_t *)(uintptr_t)*in; /* is only read */
	s->avail_in = given;
	s->next_out = out;
	s->avail_out = (uint32_t)GT_MIN(room, UINT32_MAX);
	int r = isal_inflate(s);

	if (r < 0)
		return gt_image_refuse(err, r == ISAL_INCORRECT_CHECKSUM
						    ? "gzip: the checksum is wrong"
						    : "gzip: broken data");
	*in += given - s->avail_in;
	*in_len -= given - s->avail_in;
	*ret = (size_t)(s->next_out - out);
	d->whole = s->block_state == ISAL_BLOCK_FINISH;
	return 0;
}

static int zstd_run(struct gt_decompress *d, const uint8_t **in, size_t *in_len, uint8_t *out,
		    size_t room, size_t *ret, struct gt_err *err)
{
	ZSTD_inBuffer from = { *in, *in_len, 0 };
	ZSTD_outBuffer to = { out, room, 0 };

	*ret = 0;
	if (d->whole && *in_len == 0)
		return 0;
	size_t r = ZSTD_decompressStream(d->zstd, &to, &from);

	if (ZSTD_isError(r))
		return gt_image_refuse(err, "zstd: %s", ZSTD_getErrorName(r));
	*in += from.pos;
	*in_len -= from.pos;
	*ret = to.pos;
	d->whole = r == 0;
	return 0;
}

int gt_decompress_run(struct gt_decompress *d, const uint8_t **in, size_t *in_len, uint8_t *out,
		      size_t room, size_t *ret, struct gt_err *err)
{
	size_t n;

	switch (d->form) {
	case GT_LAYER_GZIP:
		return gzip_run(d, in, in_len, out, room, ret, err);
	case GT_LAYER_ZSTD:
		return zstd_run(d, in, in_len, out, room, ret, err);
	default:
		n = GT_MIN(*in_len, room);
		memcpy(out, *in, n);
		*in += n;
		*in_len -= n;
		*ret = n;
		return 0;
	}
}

int gt_decompress_finish(const struct gt_decompress *d, struct gt_err *err)
{
	if (d->form != GT_LAYER_TAR && !d->whole)
		return gt_image_refuse(err, "the compressed data ends too early");
	return 0;
}
