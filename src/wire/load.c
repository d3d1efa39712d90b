/* load.c - see the header. */
#include "load.h"

#include <stdlib.h>

#include <gantry/base/base.h>

static void *allocate(size_t size)
{
	return gt_grow(NULL, size, 1);
}

/* Before any thread, and whoever makes a document without reading one has these too: the room's
 * objects are linked as they are used, and all of them read. */
__attribute__((constructor)) static void begin(void)
{
	json_set_alloc_funcs(allocate, free);
}

json_t *gt_json_load(const char *text, size_t len, size_t flags, json_error_t *err)
{
	return json_loadb(text, len, flags, err);
}
