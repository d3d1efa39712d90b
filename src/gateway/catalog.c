/* catalog.c - models and the functions that have them, behind a lock: it is asked only for a call
 * whose function is not at home where the call came in. */
#include "catalog.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include <gantry/base/cleanup.h>

struct owner {
	char function[GT_NAME_MAX + 1];
	bool is_public;
	struct model *models;
	UT_hash_handle hh;
};

struct model {
	struct model *next; /* of its owner */
	struct owner *owner;
	char name[GT_MODEL_NAME_MAX + 1];
	UT_hash_handle hh;
};

struct gt_catalog {
	pthread_rwlock_t lock;
	struct owner *owners;
	struct model *models;
	size_t n_public;
};

struct gt_catalog *gt_catalog_new(void)
{
	struct gt_catalog *c = gt_alloc(sizeof(*c));

	pthread_rwlock_init(&c->lock, NULL);
	return c;
}

static void drop(struct gt_catalog *c, struct owner *o)
{
	struct model *m;

	while ((m = o->models)) {
		o->models = m->next;
		HASH_DEL(c->models, m);
		free(m);
	}
	c->n_public -= o->is_public;
	HASH_DEL(c->owners, o);
	free(o);
}

static void drop_all(struct gt_catalog *c)
{
	struct owner *o, *next;

	HASH_ITER (hh, c->owners, o, next)
		drop(c, o);
}

static struct owner *owner_of(struct gt_catalog *c, const char *function)
{
	struct owner *o = NULL;

	HASH_FIND_STR(c->owners, function, o);
	return o;
}

static void add(struct gt_catalog *c, const struct gt_route *r)
{
	struct owner *o = owner_of(c, r->function);

	if (o)
		drop(c, o);
	if (!r->n_models)
		return;
	o = gt_alloc(sizeof(*o));
	gt_strcopy(o->function, sizeof(o->function), r->function);
	HASH_ADD_STR(c->owners, function, o);
	for (size_t i = 0; i < r->n_models; i++) {
		struct model *m = NULL;

		HASH_FIND_STR(c->models, r->models[i], m);
		if (m)
			continue;
		m = gt_alloc(sizeof(*m));
		gt_strcopy(m->name, sizeof(m->name), r->models[i]);
		m->owner = o;
		m->next = o->models;
		o->models = m;
		HASH_ADD_STR(c->models, name, m);
	}
	o->is_public = o->models && r->access == GT_ACCESS_PUBLIC;
	c->n_public += o->is_public;
}

void gt_catalog_begin(struct gt_catalog *c)
{
	pthread_rwlock_wrlock(&c->lock);
}

void gt_catalog_end(struct gt_catalog *c)
{
	pthread_rwlock_unlock(&c->lock);
}

void gt_catalog_set(struct gt_catalog *c, const struct gt_route *routes, size_t n, bool all)
{
	if (all)
		drop_all(c);
	for (size_t i = 0; i < n; i++)
		add(c, &routes[i]);
}

void gt_catalog_forget(struct gt_catalog *c, const char *function)
{
	struct owner *o = owner_of(c, function);

	if (o)
		drop(c, o);
}

bool gt_catalog_find(struct gt_catalog *c, const char *model, char function[GT_NAME_MAX + 1])
{
	struct model *m = NULL;

	pthread_rwlock_rdlock(&c->lock);
	HASH_FIND_STR(c->models, model, m);
	if (m)
		gt_strcopy(function, GT_NAME_MAX + 1, m->owner->function);
	pthread_rwlock_unlock(&c->lock);
	return m != NULL;
}

bool gt_catalog_any_public(struct gt_catalog *c)
{
	pthread_rwlock_rdlock(&c->lock);
	bool any = c->n_public > 0;

	pthread_rwlock_unlock(&c->lock);
	return any;
}

void gt_catalog_free(struct gt_catalog *c)
{
	if (!c)
		return;
	drop_all(c);
	pthread_rwlock_destroy(&c->lock);
	free(c);
}
