/* peers.c - on which nodes the replicas of each function are. */
#include "sched_priv.h"

#include <uthash.h>

struct peers {
	uint32_t function;
	size_t n, cap;
	struct peer *all;
	UT_hash_handle hh;
};

static void peers_drop(struct gt_sched *s, struct peers *p)
{
	HASH_DEL(s->peers, p);
	free(p->all);
	free(p);
}

static struct peers *peers_get(struct gt_sched *s, uint32_t function)
{
	struct peers *p;

	HASH_FIND_INT(s->peers, &function, p);
	if (p)
		return p;
	p = gt_alloc(sizeof(*p));
	p->function = function;
	HASH_ADD_INT(s->peers, function, p);
	return p;
}

void gt_sched_peers_add(struct gt_sched *s, uint32_t function, uint32_t node, int by)
{
	struct peers *p;
	size_t i = 0;

	if (function == 0)
		return;
	p = peers_get(s, function);
	while (i < p->n && p->all[i].node != node)
		i++;
	if (i == p->n) {
		if (p->n == p->cap) {
			p->cap = p->cap ? 2 * p->cap : 4;
			p->all = gt_grow(p->all, p->cap, sizeof(*p->all));
		}
		p->all[p->n++] = (struct peer){ .node = node };
	}
	p->all[i].count += (uint32_t)by;
	if (p->all[i].count == 0)
		p->all[i] = p->all[--p->n];
	if (p->n == 0)
		peers_drop(s, p);
}

size_t gt_sched_peers_of(const struct gt_sched *s, uint32_t function, const struct peer **ret)
{
	struct peers *p = NULL;

	if (function)
		HASH_FIND_INT(s->peers, &function, p);
	*ret = p ? p->all : NULL;
	return p ? p->n : 0;
}

void gt_sched_peers_forget(struct gt_sched *s, uint32_t node)
{
	struct peers *p, *next;

	HASH_ITER (hh, s->peers, p, next) {
		for (size_t i = 0; i < p->n; i++)
			if (p->all[i].node == node)
				p->all[i--] = p->all[--p->n];
		if (p->n == 0)
			peers_drop(s, p);
	}
}

void gt_sched_peers_free(struct gt_sched *s)
{
	struct peers *p, *next;

	HASH_ITER (hh, s->peers, p, next)
		peers_drop(s, p);
}
