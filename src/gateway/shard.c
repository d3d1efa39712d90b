/* shard.c - several loop threads: letters, homes, and what is counted over all. */
#include "shard.h"
#include "gw.h"

#include <assert.h>
#include <malloc.h>
#include <stdlib.h>

#define LETTERS_MAX   256 /* a round */
#define BUFFERED_STEP ((int64_t)(64 * GT_KIB))
#define TRIM_BYTES    (32 * GT_MIB) /* so much less is buffered than was */
#define TRIM_MS       2000

/* ---- letters ---- */

void gt_shard_post(struct gt_shards *s, unsigned to, struct gt_mail *m GT_TAKES)
{
	struct gt_shard *shard = &s->at[to];
	struct gt_mail *newest = atomic_load_explicit(&shard->box, memory_order_relaxed);

	do
		m->next = newest;
	while (!atomic_compare_exchange_weak_explicit(&shard->box, &newest, m, memory_order_release,
						      memory_order_relaxed));
	/* Whoever writes into an empty box rings; from here on m may be gone. */
	if (!newest && shard->wake)
		gt_wake_ring(shard->wake);
}

/* Behind those that were not read yet, oldest first. */
static void empty_box(struct gt_shard *s)
{
	struct gt_mail *m = atomic_exchange_explicit(&s->box, NULL, memory_order_acquire);
	struct gt_mail *oldest = NULL, **end = &s->read;

	while (m) {
		struct gt_mail *older = m->next;

		m->next = oldest;
		oldest = m;
		m = older;
	}
	while (*end)
		end = &(*end)->next;
	*end = oldest;
}

static void read_on(void *arg)
{
	struct gt_gateway *gw = arg;

	gw->shards->at[gw->shard].reads_on = false;
	gt_shard_read(gw);
}

void gt_shard_read(struct gt_gateway *gw)
{
	struct gt_shard *s = &gw->shards->at[gw->shard];
	struct gt_mail *m;

	empty_box(s);
	for (unsigned i = 0; i < LETTERS_MAX && (m = s->read); i++) {
		s->read = m->next;
		m->fn(gw, m);
	}
	if (!s->read || s->reads_on || gw->freeing)
		return;
	s->reads_on = true;
	gt_loop_defer(gw->loop, read_on, gw);
}

struct errand {
	struct gt_mail mail;
	void (*fn)(struct gt_gateway *gw);
};

static void run_errand(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct errand *e = GT_CONTAINER(m, struct errand, mail);

	if (!gw->freeing)
		e->fn(gw);
	free(e);
}

void gt_shard_tell(struct gt_gateway *gw, unsigned to, void (*fn)(struct gt_gateway *gw))
{
	struct errand *e = gt_alloc(sizeof(*e));

	e->mail.fn = run_errand;
	e->fn = fn;
	gt_shard_post(gw->shards, to, &e->mail);
}

void gt_shards_tell(struct gt_gateway *gw, void (*fn)(struct gt_gateway *gw))
{
	for (unsigned i = 0; gw->shards && i < gw->shards->n; i++)
		if (i != gw->shard)
			gt_shard_tell(gw, i, fn);
}

/* ---- homes ---- */

/* FNV-1a, and splitmix64's finish: names that differ in one letter go anywhere. A gateway may tell
 * this to its successor, which may be of another version: it stays as it is. */
uint32_t gt_shard_hash(const char *function, size_t len)
{
	uint64_t h = gt_affinity_hash(function, len);

	h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ (h >> 27)) * 0x94d049bb133111ebULL;
	return (uint32_t)(h ^ (h >> 31));
}

unsigned gt_shard_home(const struct gt_gateway *gw, const char *function, size_t len)
{
	return gw->shards ? gt_shard_hash(function, len) % gw->shards->n : 0;
}

/* ---- what is counted over all of them ---- */

void gt_gw_conns_add(struct gt_gateway *gw, int n)
{
	gw->n_conns += (unsigned)n;
	if (gw->shards)
		atomic_fetch_add_explicit(&gw->shards->n_conns, (unsigned)n, memory_order_relaxed);
}

uint32_t gt_gw_conns(const struct gt_gateway *gw)
{
	return gw->shards ? atomic_load_explicit(&gw->shards->n_conns, memory_order_relaxed)
			  : gw->n_conns;
}

/* The C library keeps what was freed: after a flood that is much, and nobody's. */
static void trim(void *arg)
{
	struct gt_gateway *gw = arg;

	gw->buffered_most = gw->buffered;
	malloc_trim(0);
}

/* A line of memory that all write is dear: it gets what adds up to a step. */
void gt_gw_buffered_add(struct gt_gateway *gw, int64_t bytes)
{
	gw->buffered += (size_t)bytes;
	gw->buffered_most = GT_MAX(gw->buffered_most, gw->buffered);
	if (gw->buffered_most - gw->buffered > TRIM_BYTES && !gw->freeing &&
	    !gt_timer_is_set(&gw->trim_timer))
		gt_timer_set(gw->loop, &gw->trim_timer, TRIM_MS, trim, gw);
	if (!gw->shards)
		return;
	int64_t untold = (int64_t)gw->buffered - gw->buffered_told;

	if (untold > -BUFFERED_STEP && untold < BUFFERED_STEP)
		return;
	gw->buffered_told += untold;
	atomic_fetch_add_explicit(&gw->shards->buffered, untold, memory_order_relaxed);
}

size_t gt_gw_buffered(const struct gt_gateway *gw)
{
	if (!gw->shards)
		return gw->buffered;
	int64_t all = atomic_load_explicit(&gw->shards->buffered, memory_order_relaxed) -
		      gw->buffered_told + (int64_t)gw->buffered;

	return (size_t)GT_MAX(all, 0);
}

/* ---- the set ---- */

struct gt_shards *gt_shards_new(struct gt_gateway *first)
{
	struct gt_shards *s = aligned_alloc(_Alignof(struct gt_shards), sizeof(*s));

	if (!s)
		gt_out_of_memory();
	*s = (struct gt_shards){ .catalog = gt_catalog_new() };
	gt_shards_add(s, first);
	return s;
}

void gt_shards_add(struct gt_shards *s, struct gt_gateway *gw)
{
	assert(s->n < GT_SHARDS_MAX);
	gw->shards = s;
	gw->shard = s->n;
	s->at[s->n++].gw = gw;
}

void gt_shards_free(struct gt_shards *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->n; i++)
		s->at[i].gw->freeing = true;
	for (unsigned i = 0; i < s->n; i++) {
		struct gt_shard *shard = &s->at[i];

		do
			gt_shard_read(shard->gw);
		while (shard->read || atomic_load(&shard->box));
	}
	for (unsigned i = s->n; i-- > 0;) {
		gt_wake_free(s->at[i].wake);
		gt_gw_free(s->at[i].gw);
		gt_loop_free(s->at[i].loop);
	}
	gt_catalog_free(s->catalog);
	free(s);
}
