/* prefix.c - a bounded table of prompts' taps and the replicas that were given them. */
#include "prefix.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

struct entry {
	uint64_t tap;
	struct entry *prev, *next; /* used last first */
	uint32_t n_owners;
	uint64_t owners[GT_PREFIX_OWNERS]; /* used last first */
	UT_hash_handle hh;
};

struct gt_prefixes {
	struct entry *table, *used;
	size_t n, max;
};

struct gt_prefixes *gt_prefixes_new(size_t entries_max)
{
	struct gt_prefixes *p = gt_alloc(sizeof(*p));

	p->max = entries_max;
	return p;
}

static void forget(struct gt_prefixes *p, struct entry *e)
{
	HASH_DEL(p->table, e);
	DL_DELETE(p->used, e);
	free(e);
	p->n--;
}

void gt_prefixes_free(struct gt_prefixes *p)
{
	while (p && p->used)
		forget(p, p->used);
	free(p);
}

static struct entry *find(const struct gt_prefixes *p, uint64_t tap)
{
	struct entry *e = NULL;

	if (p)
		HASH_FIND(hh, p->table, &tap, sizeof(tap), e);
	return e;
}

static bool known(const struct gt_prefix_match *m, uint64_t replica)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (m->at[i].replica == replica)
			return true;
	return false;
}

void gt_prefixes_match(const struct gt_prefixes *p, const struct gt_prompt_taps *prompt,
		       struct gt_prefix_match *ret)
{
	const struct entry *found[GT_PROMPT_TAPS];
	uint32_t n = 0;

	ret->n = 0;
	while (n < prompt->n && (found[n] = find(p, prompt->tap[n])))
		n++;
	/* The longest first: who owns a tap has seen all before it, though others may have taken
	 * its place among the owners there. */
	while (n-- > 0)
		for (uint32_t i = 0; i < found[n]->n_owners; i++)
			if (ret->n < GT_PREFIX_MATCHES && !known(ret, found[n]->owners[i])) {
				ret->at[ret->n].replica = found[n]->owners[i];
				ret->at[ret->n++].bytes = (n + 1) * GT_PROMPT_BLOCK;
			}
}

/* Puts the replica first; the last one leaves when there is no room. */
static void own(struct entry *e, uint64_t replica)
{
	uint32_t at = 0;

	while (at < e->n_owners && e->owners[at] != replica)
		at++;
	if (at == e->n_owners && e->n_owners < GT_PREFIX_OWNERS)
		e->n_owners++;
	at = GT_MIN(at, GT_PREFIX_OWNERS - 1u);
	memmove(&e->owners[1], &e->owners[0], at * sizeof(e->owners[0]));
	e->owners[0] = replica;
}

static struct entry *add(struct gt_prefixes *p, uint64_t tap)
{
	struct entry *e = gt_alloc(sizeof(*e));

	if (p->n == p->max)
		forget(p, p->used->prev); /* the head's prev is the tail */
	e->tap = tap;
	HASH_ADD(hh, p->table, tap, sizeof(e->tap), e);
	DL_PREPEND(p->used, e);
	p->n++;
	return e;
}

void gt_prefixes_took(struct gt_prefixes *p, const struct gt_prompt_taps *prompt, uint64_t replica)
{
	/* Backwards, so that a beginning never is forgotten before what follows it. */
	for (uint32_t i = prompt->n; i-- > 0;) {
		struct entry *e = find(p, prompt->tap[i]);

		if (e && e != p->used) {
			DL_DELETE(p->used, e);
			DL_PREPEND(p->used, e);
		}
		own(e ? e : add(p, prompt->tap[i]), replica);
	}
}

int64_t gt_prefix_cost(const struct gt_prefix_match *m, uint64_t replica, uint32_t in_flight)
{
	int64_t cost = (int64_t)in_flight * GT_PREFIX_CALL_BYTES;

	for (uint32_t i = 0; i < m->n; i++)
		if (m->at[i].replica == replica)
			return cost - m->at[i].bytes;
	return cost;
}
