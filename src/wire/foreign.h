/* foreign.h - members of documents that others define: unknown ones are ignored, null means
 * absent. */
#ifndef GANTRY_WIRE_FOREIGN_H
#define GANTRY_WIRE_FOREIGN_H

#include "doc.h"
#include "refuse.h"

/* A document whose top is an object, of at most max bytes; one that would take much more memory
 * than its text is refused. */
int gt_foreign_parse(const char *text, size_t len, size_t max, json_t **ret, struct gt_err *err);
/* The member, or NULL when absent or null; of another type: refused. */
int gt_foreign_get(const json_t *obj, const struct gt_at *at, const char *name, json_type type,
		   json_t **ret, struct gt_err *err);
/* Text without NUL characters, borrowed; NULL when absent. */
int gt_foreign_text(const json_t *obj, const struct gt_at *at, const char *name, size_t max,
		    const char **ret, struct gt_err *err);

#endif
