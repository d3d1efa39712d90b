/* wire/image.h - image records from and to JSON: what the node keeps beside an image's layers, and
 * what GET /v1/images shows. */
#ifndef GANTRY_WIRE_IMAGE_H
#define GANTRY_WIRE_IMAGE_H

#include <gantry/model/image.h>
#include <gantry/wire/json.h>

#define GT_IMAGE_RECORD_MAX (1024 * 1024) /* bytes of its text */

/* Slugs as gt_spec_read. *ret is written on success only; the caller frees. */
GT_MUST_USE int gt_image_record_read(const char *text, size_t len, struct gt_image_record **ret,
				     struct gt_err *err);
void gt_image_record_write(const struct gt_image_record *r, struct gt_buf *out);

/* {"bytes":1,"bytes_total":2,"layers":0,"layers_total":1} as member `name`. */
void gt_pull_progress_write(struct gt_json *j, const char *name,
			    const struct gt_pull_progress *pull);

#endif
