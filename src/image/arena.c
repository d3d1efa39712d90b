/* arena.c - memory that is released all at once. */
#include "arena.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (256 * 1024)

struct gt_arena_chunk {
	struct gt_arena_chunk *next;
	size_t size;
	_Alignas(16) char data[];
};

void *gt_arena_get(struct gt_arena *a, size_t size)
{
	struct gt_arena_chunk *c = a->chunks;

	size = (size + 7) & ~(size_t)7;
	if (size > a->max - a->total)
		return NULL;
	if (!c || size > c->size - a->used) {
		size_t room = GT_MAX(size, CHUNK_BYTES);

		c = calloc(1, sizeof(*c) + room);
		if (!c)
			return NULL;
		c->size = room;
		c->next = a->chunks;
		a->chunks = c;
		a->used = 0;
	}
	void *p = c->data + a->used;

	a->used += size;
	a->total += size;
	return p;
}

char *gt_arena_text(struct gt_arena *a, const char *s, size_t len)
{
	char *p = gt_arena_get(a, len + 1);

	if (p)
		memcpy(p, s, len);
	return p;
}

void gt_arena_fini(struct gt_arena *a)
{
	for (struct gt_arena_chunk *c = a->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	a->chunks = NULL;
}
