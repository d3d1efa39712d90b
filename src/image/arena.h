/* arena.h - memory that is released all at once, with a hard cap. */
#ifndef IMAGE_ARENA_H
#define IMAGE_ARENA_H

#include <gantry/base/base.h>

struct gt_arena {
	struct gt_arena_chunk *chunks; /* newest first */
	size_t used;                   /* of the newest */
	size_t total, max;             /* bytes handed out, and the most there may be */
};

void *gt_arena_get(struct gt_arena *a, size_t size); /* zeroed; NULL past the cap */
char *gt_arena_text(struct gt_arena *a, const char *s, size_t len);
void gt_arena_fini(struct gt_arena *a);

#endif
