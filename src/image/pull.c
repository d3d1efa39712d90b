/* pull.c - one image: its manifest, its config, then its layers side by side. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/clock.h>

#include "work.h"

GT_CLEANUP_TYPE(manifest, struct gt_manifest *, gt_manifest_free)

static char **strings_copy(char *const *list, size_t *ret_n)
{
	char **copy;
	size_t n = 0;

	while (list && list[n])
		n++;
	*ret_n = n;
	if (n == 0)
		return NULL;
	copy = gt_alloc_array(n + 1, sizeof(*copy));
	for (size_t i = 0; i < n; i++)
		copy[i] = gt_strdup(list[i]);
	return copy;
}

static struct gt_image_record *record_of(const struct gt_ref *ref, const struct gt_manifest *m,
					 const struct gt_image_config *c)
{
	struct gt_image_record *r = gt_alloc(sizeof(*r));
	char name[GT_REF_TEXT_SIZE];
	struct gt_ref pinned = *ref;

	gt_strcopy(pinned.digest, sizeof(pinned.digest), m->digest);
	gt_ref_format(&pinned, name);
	r->name = gt_strdup(name);
	gt_strcopy(r->digest, sizeof(r->digest), m->digest);
	gt_strcopy(r->index, sizeof(r->index), m->index);
	r->pulled_ms = gt_wall_ms(&gt_clock_system);
	r->entrypoint = strings_copy(c->entrypoint, &r->n_entrypoint);
	r->cmd = strings_copy(c->cmd, &r->n_cmd);
	r->env = strings_copy(c->env, &r->n_env);
	r->user = gt_strdup(c->user);
	r->workdir = gt_strdup(c->workdir);
	r->stop_signal = gt_strdup(c->stop_signal);
	r->port = c->port;
	r->n_layers = m->n_layers;
	r->layers = gt_alloc_array(m->n_layers + 1, sizeof(*r->layers));
	for (size_t i = 0; i < m->n_layers; i++) {
		gt_strcopy(r->layers[i].diff_id, GT_REF_DIGEST_SIZE, c->diff_ids[i]);
		gt_strcopy(r->layers[i].digest, GT_REF_DIGEST_SIZE, m->layers[i].digest);
		r->layers[i].download_bytes = m->layers[i].bytes;
	}
	return r;
}

/* ---- layers side by side ---- */

struct layers {
	struct job *j;
	const struct gt_manifest *m;
	const struct gt_image_config *c;
	atomic_size_t next;
};

static void failed(struct job *j, int r, const struct gt_err *err)
{
	struct worker *w = j->w;

	pthread_mutex_lock(&w->lock);
	if (j->err.code == 0) {
		j->err = *err;
		j->err.code = -r;
		j->cancel = true; /* the others' work would be for nothing */
	}
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* The next one that nobody has begun, until there is none. */
static void *get_some(void *arg)
{
	struct layers *l = arg;
	struct job *j = l->j;
	struct worker *w = j->w;
	size_t i;

	while (!j->cancel && (i = l->next++) < l->m->n_layers) {
		struct gt_err err = { 0 };
		int r = gt_work_layer(j, &l->m->layers[i], l->c->diff_ids[i], &err);

		if (r < 0)
			failed(j, r, &err);
		else
			j->done_layers++;
	}
	pthread_mutex_lock(&w->lock);
	j->running--; /* both may be gone after this */
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Beside the job's own. Fewer will do. */
static void start_thread(struct layers *l)
{
	struct worker *w = l->j->w;
	pthread_t thread;

	pthread_mutex_lock(&w->lock);
	l->j->running++;
	pthread_mutex_unlock(&w->lock);
	if (pthread_create(&thread, NULL, get_some, l) == 0) {
		pthread_detach(thread);
		return;
	}
	pthread_mutex_lock(&w->lock);
	l->j->running--;
	pthread_mutex_unlock(&w->lock);
}

static int get_layers(struct job *j, const struct gt_manifest *m, const struct gt_image_config *c,
		      struct gt_err *err)
{
	struct layers l = { .j = j, .m = m, .c = c };
	struct worker *w = j->w;
	uint64_t bytes = 0;
	int r;

	for (size_t i = 0; i < m->n_layers; i++)
		bytes += m->layers[i].bytes;
	j->total_bytes = bytes;
	j->total_layers = (unsigned)m->n_layers;
	gt_work_progress(j);
	for (size_t i = 1; i < GT_MIN(m->n_layers, (size_t)GT_WORK_LAYERS_AT_ONCE); i++)
		start_thread(&l);
	pthread_mutex_lock(&w->lock);
	j->running++;
	pthread_mutex_unlock(&w->lock);
	get_some(&l);
	pthread_mutex_lock(&w->lock);
	while (j->running > 0)
		pthread_cond_wait(&w->changed, &w->lock);
	r = -j->err.code;
	if (r < 0)
		*err = j->err;
	else if (j->cancel)
		r = gt_err_set(err, ECANCELED, "sandbox_failed", "the pull was cancelled");
	pthread_mutex_unlock(&w->lock);
	return r;
}

int gt_work_pull(struct job *j, struct gt_err *err)
{
	struct gt_registry *reg = j->w->registry;
	gt_auto(manifest) struct gt_manifest *m = NULL;
	gt_auto(image_config) struct gt_image_config *c = NULL;
	gt_auto(image_record) struct gt_image_record *record = NULL;
	int r = gt_ref_parse(j->order.text, &j->ref, err);

	if (r == 0)
		r = gt_registry_manifest(reg, &j->ref, &j->cancel, &m, err);
	if (r == 0)
		r = gt_registry_config(reg, &j->ref, m, &j->cancel, &c, err);
	if (r < 0)
		return r;
	if (m->n_layers > GT_IMAGE_LAYERS_MAX)
		return gt_err_set(err, E2BIG, "image_invalid",
				  "image %s has %zu layers; %d are the most", j->order.text,
				  m->n_layers, GT_IMAGE_LAYERS_MAX);
	record = record_of(&j->ref, m, c);
	if (j->order.op == GT_IMAGE_PULL)
		r = get_layers(j, m, c, err);
	return r < 0 ? r : gt_work_record(j, record, err);
}
