/* names.c - models and labels as numbers. */
#include "sched_priv.h"

#include <string.h>

#include <uthash.h>

#define LABELS_ALL 65536 /* of a fleet */

struct gt_sched_labels {
	char *text;
	uint32_t id;
	UT_hash_handle hh;
};

int gt_sched_model(struct gt_sched *s, const char *name, uint8_t *ret, struct gt_err *err)
{
	size_t i = 0;

	while (i < s->n_models && strcmp(s->models[i], name) != 0)
		i++;
	if (i == GT_SCHED_MODELS_MAX)
		return gt_err_set(err, E2BIG, "overloaded", "GPU model %.64s: %d are known already",
				  name, GT_SCHED_MODELS_MAX);
	if (i == s->n_models)
		s->models[s->n_models++] = gt_strdup(name);
	*ret = (uint8_t)i;
	return 0;
}

int gt_sched_label(struct gt_sched *s, const char *label, uint32_t *ret, struct gt_err *err)
{
	struct gt_sched_labels *l;

	HASH_FIND_STR(s->labels, label, l);
	if (!l && HASH_COUNT(s->labels) == LABELS_ALL)
		return gt_err_set(err, E2BIG, "overloaded", "label %.64s: %d are known already",
				  label, LABELS_ALL);
	if (!l) {
		l = gt_alloc(sizeof(*l));
		l->text = gt_strdup(label);
		l->id = HASH_COUNT(s->labels);
		HASH_ADD_KEYPTR(hh, s->labels, l->text, strlen(l->text), l);
	}
	*ret = l->id;
	return 0;
}

void gt_sched_names_free(struct gt_sched *s)
{
	struct gt_sched_labels *l, *next;

	HASH_ITER (hh, s->labels, l, next) {
		HASH_DEL(s->labels, l);
		free(l->text);
		free(l);
	}
	for (size_t i = 0; i < s->n_models; i++)
		free(s->models[i]);
}
