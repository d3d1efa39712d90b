/* choice.c - which of the replicas with a free slot gets a call.
 *
 * The one with the fewest calls is taken, of equals the one used last: load spreads, and when there
 * is little of it the others stay idle for scale-in to find. Calls that belong together go to the
 * same replica as long as it has no more than 1.25 times the mean: by rendezvous hash, so that a
 * replica that comes or goes moves only its own share. Without such a wish a call with a prompt
 * goes, within the same bound, where the prompt costs least (prefix.h). A replica that just failed
 * the call is taken only when no other is free. */
#include "fn.h"

#include <string.h>
#include <utlist.h>

#define FNV_OFFSET 0xcbf29ce484222325ULL
#define FNV_PRIME  0x100000001b3ULL

uint64_t gt_affinity_hash(const char *text, size_t len)
{
	uint64_t h = FNV_OFFSET;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * FNV_PRIME;
	return h ? h : 1;
}

/* splitmix64's finish: FNV alone leaves the high bits of similar texts alike. */
static uint64_t weight(uint64_t key, const struct gt_target *t)
{
	uint64_t h = key * FNV_PRIME ^ t->hash;

	h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ (h >> 27)) * 0x94d049bb133111ebULL;
	return h ^ (h >> 31);
}

static bool lighter(const struct gt_target *a, const struct gt_target *b)
{
	return a->in_flight < b->in_flight ||
	       (a->in_flight == b->in_flight && a->used_ns > b->used_ns);
}

struct choice {
	const struct gt_fn *fn;
	const struct gt_waiter *w;
	uint32_t most; /* calls that a replica may have that is not chosen for being idle */
	struct gt_prefix_match prompt;
};

static bool has_prompt(const struct gt_waiter *w)
{
	return w->prompt && w->prompt->n;
}

/* Whether both cost the same is left to their calls. */
static bool cheaper(const struct choice *c, const struct gt_target *a, const struct gt_target *b)
{
	int64_t a_cost = gt_prefix_cost(&c->prompt, a->hash, a->in_flight);
	int64_t b_cost = gt_prefix_cost(&c->prompt, b->hash, b->in_flight);

	return a_cost != b_cost ? a_cost < b_cost : lighter(a, b);
}

static bool better(const struct choice *c, const struct gt_target *a, const struct gt_target *b)
{
	if (c->w->avoid[0]) {
		bool a_avoided = !strcmp(a->id, c->w->avoid);

		if (a_avoided != !strcmp(b->id, c->w->avoid))
			return !a_avoided;
	}
	if (c->w->affinity || has_prompt(c->w)) {
		bool a_fits = a->in_flight < c->most, b_fits = b->in_flight < c->most;

		if (a_fits != b_fits)
			return a_fits;
		if (a_fits && !c->w->affinity)
			return cheaper(c, a, b);
		if (a_fits)
			return weight(c->w->affinity, a) > weight(c->w->affinity, b);
	}
	return lighter(a, b);
}

struct gt_target *gt_fn_choose(const struct gt_fn *fn, const struct gt_waiter *w, uint64_t now_ns)
{
	struct choice c = { .fn = fn, .w = w };
	struct gt_target *t, *best[2] = { NULL, NULL }; /* of the sound ones, of suspects */
	bool sound = false;

	if (!w->affinity && has_prompt(w))
		gt_prefixes_match(fn->prefixes, w->prompt, &c.prompt);
	if ((w->affinity || has_prompt(w)) && fn->n_ready) /* ceil(1.25 x mean) */
		c.most = (uint32_t)((5 * ((uint64_t)fn->in_flight + 1) + 4 * fn->n_ready - 1) /
				    (4 * fn->n_ready));
	DL_FOREACH (fn->targets, t) {
		bool suspect = gt_target_suspect(t, now_ns);
		struct gt_target **of = &best[suspect];

		if (!gt_target_serves(t))
			continue;
		sound |= !suspect;
		if (gt_target_room(t) && !gt_target_rests(t, now_ns) &&
		    (!*of || better(&c, t, *of)))
			*of = t;
	}
	return best[!sound]; /* a suspect only when there are no others, free or not */
}

/* Its cache will hold the prompt. */
void gt_fn_chosen(struct gt_fn *fn, const struct gt_waiter *w, const struct gt_target *t)
{
	if (!has_prompt(w))
		return;
	if (!fn->prefixes)
		fn->prefixes = gt_prefixes_new(GT_PREFIX_ENTRIES);
	gt_prefixes_took(fn->prefixes, w->prompt, t->hash);
}
