/* catalog.h - which function has a model, for shards that are not its home. One thread writes, any
 * reads. */
#ifndef GANTRY_GATEWAY_CATALOG_H
#define GANTRY_GATEWAY_CATALOG_H

#include <gantry/model/msg.h>

struct gt_catalog;

struct gt_catalog *gt_catalog_new(void);
void gt_catalog_free(struct gt_catalog *c); /* NULL is fine */
/* Readers wait from begin to end; set and forget are called in between. */
void gt_catalog_begin(struct gt_catalog *c);
void gt_catalog_end(struct gt_catalog *c);
/* What each of the routes says of its function. `all`: there are no others. A model that two have
 * stays the first one's until that goes. */
void gt_catalog_set(struct gt_catalog *c, const struct gt_route *routes, size_t n, bool all);
void gt_catalog_forget(struct gt_catalog *c, const char *function);
/* false: nobody has it. */
bool gt_catalog_find(struct gt_catalog *c, const char *model, char function[GT_NAME_MAX + 1]);
bool gt_catalog_any_public(struct gt_catalog *c);

#endif
