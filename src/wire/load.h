/* load.h - jansson's parser, with our allocations. */
#ifndef WIRE_LOAD_H
#define WIRE_LOAD_H

#include <jansson.h>

/* json_loadb. Without memory the process ends (base.h): jansson would go on without a character. */
json_t *gt_json_load(const char *text, size_t len, size_t flags, json_error_t *err);

#endif
