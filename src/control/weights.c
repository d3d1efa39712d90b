/* weights.c - whose weights are in the memory of which node, as nodes tell. */
#include "place.h"

#include <stdlib.h>
#include <string.h>

/* ---- which nodes have a model ---- */

static struct gt_ctl_weights *find(const struct gt_control *c, const char *key)
{
	struct gt_ctl_weights *w;

	HASH_FIND_STR(c->weights, key, w);
	return w;
}

static const struct gt_weights_here *here_of(const struct gt_node_weights *w, const char *key)
{
	for (size_t i = 0; i < w->n_here; i++)
		if (strcmp(w->here[i].key, key) == 0)
			return &w->here[i];
	return NULL;
}

static void add(struct gt_control *c, const char *key, uint32_t node)
{
	struct gt_ctl_weights *w = find(c, key);

	if (!w) {
		w = gt_alloc(sizeof(*w));
		gt_strcopy(w->key, sizeof(w->key), key);
		HASH_ADD_STR(c->weights, key, w);
	}
	w->nodes = gt_grow(w->nodes, w->n + 1, sizeof(*w->nodes));
	w->nodes[w->n++] = node;
}

static void weights_free(struct gt_control *c, struct gt_ctl_weights *w)
{
	HASH_DEL(c->weights, w);
	free(w->nodes);
	free(w);
}

static void drop(struct gt_control *c, const char *key, uint32_t node)
{
	struct gt_ctl_weights *w = find(c, key);
	size_t i = 0;

	while (w && i < w->n && w->nodes[i] != node)
		i++;
	if (!w || i == w->n)
		return;
	w->nodes[i] = w->nodes[--w->n];
	if (w->n == 0)
		weights_free(c, w);
}

void gt_ctl_node_weights(struct gt_control *c, struct gt_ctl_node *node,
			 const struct gt_node_weights *told)
{
	struct gt_node_weights was = node->weights;

	node->weights = *told;
	node->weights.here = told->n_here ? gt_alloc_array(told->n_here, sizeof(*told->here))
					  : NULL;
	for (size_t i = 0; i < told->n_here; i++) {
		struct gt_weights_here *h = &node->weights.here[i];

		*h = told->here[i];
		h->resident = GT_MIN(h->resident, h->total);
		if (!here_of(&was, h->key))
			add(c, h->key, node->index);
	}
	for (size_t i = 0; i < was.n_here; i++)
		if (!here_of(&node->weights, was.here[i].key))
			drop(c, was.here[i].key, node->index);
	free(was.here);
}

void gt_ctl_weights_free(struct gt_control *c)
{
	struct gt_ctl_weights *w, *next;

	HASH_ITER (hh, c->weights, w, next)
		weights_free(c, w);
}

struct gt_weights_here gt_ctl_weights_on(const struct gt_control *c,
					 const struct gt_ctl_revision *rev,
					 const struct gt_ctl_node *node)
{
	const struct gt_weights_here *h;
	struct gt_weights_here ret = { .resident = 0 };
	const struct gt_ctl_weights *w;

	gt_weights_key(rev->spec, ret.key);
	w = ret.key[0] ? find(c, ret.key) : NULL;
	for (size_t i = 0; w && i < w->n; i++) {
		h = here_of(&c->node_at[w->nodes[i]]->weights, ret.key);
		ret.total = h ? GT_MAX(ret.total, h->total) : ret.total;
	}
	h = node ? here_of(&node->weights, ret.key) : NULL;
	ret.resident = h ? h->resident : 0;
	return ret;
}

static uint64_t ms_of(uint64_t bytes, uint64_t bps)
{
	return (uint64_t)((double)bytes * 1000 / (double)(bps ? bps : GT_WEIGHTS_BPS));
}

size_t gt_ctl_weights_hints(const struct gt_control *c, const struct gt_ctl_revision *rev,
			    struct gt_ctl_weights_hint *ret, size_t max, uint64_t *ret_usual_ms)
{
	struct gt_weights_here all = gt_ctl_weights_on(c, rev, NULL);
	const struct gt_ctl_weights *w = all.total ? find(c, all.key) : NULL;
	uint64_t bps = 0;
	size_t n = 0;

	*ret_usual_ms = 0;
	for (size_t i = 0; w && i < w->n; i++) {
		const struct gt_ctl_node *node = c->node_at[w->nodes[i]];
		const struct gt_weights_here *h = here_of(&node->weights, all.key);

		bps = GT_MAX(bps, node->weights.read_bps);
		if (!h || n == max)
			continue;
		ret[n++] = (struct gt_ctl_weights_hint){
			.node = node->index,
			.ms = ms_of(all.total - GT_MIN(h->resident, all.total),
				    node->weights.read_bps),
		};
	}
	/* Elsewhere all of it is read, as fast as the fastest disk that was measured. */
	*ret_usual_ms = ms_of(all.total, bps);
	return n;
}

/* ---- what a replica goes without ---- */

static const char *text_of(const char *why)
{
	static const struct {
		const char *why, *text;
	} texts[] = {
		{ "store_full", "the node's weight store is full; it reads from its volume" },
		{ "store_off", "the node has no weight store (weight_store in its configuration); "
			       "it reads from its volume" },
		{ "weights_missing", "weights.paths name no file on the node" },
		{ "weights_many", "they are more files than the node reads ahead" },
		{ "cache_full", "they are more than the node reads ahead (weight_cache in its "
				"configuration)" },
		{ "cache_off", "the node reads nothing ahead (weight_cache in its configuration)" },
	};

	for (size_t i = 0; i < GT_LEN(texts); i++)
		if (strcmp(texts[i].why, why) == 0)
			return texts[i].text;
	return "the node could not read them ahead";
}

void gt_ctl_replica_weights(struct gt_control *c, struct gt_ctl_replica *r,
			    const struct gt_weights_progress *told)
{
	bool is_new = told->why[0] && strcmp(told->why, r->weights.why) != 0;

	r->weights = *told;
	if (is_new && !r->adopted)
		gt_ctl_event(c, "replica.weights", r->function, r->id, r->node->name, told->why,
			     "revision %u: %s", r->revision, text_of(told->why));
}
