/* refuse.h - how a document is refused: slug "invalid_spec", the JSON path, a text that begins with
 * the path and holds nothing unprintable, whatever the document held. */
#ifndef GANTRY_WIRE_REFUSE_H
#define GANTRY_WIRE_REFUSE_H

#include <gantry/base/err.h>

/* Where the walk through a document stands; a chain on the stack, the outermost last. */
struct gt_at {
	const struct gt_at *up;
	const char *name; /* NULL: element `index` of an array */
	size_t index;
};

/* path "" = the document itself. Both return -EINVAL. */
int gt_refuse(struct gt_err *err, const char *path, const char *fmt, ...) GT_PRINTF(3, 4);
int gt_refuse_at(struct gt_err *err, const struct gt_at *at, const char *fmt, ...) GT_PRINTF(3, 4);

#endif
