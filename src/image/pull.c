/* pull.c - one image: its manifest, its config, then its layers side by side. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/clock.h>

#include "work.h"

GT_CLEANUP_TYPE(manifest, struct gt_manifest *, gt_manifest_free)

struct task {
	struct job *j;
	struct gt_blob blob;
	char diff_id[GT_REF_DIGEST_SIZE];
};

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

static void task_over(struct job *j, const struct gt_err *err, int r)
{
	struct worker *w = j->w;

	pthread_mutex_lock(&w->lock);
	if (r < 0 && j->err.code == 0) {
		j->err = *err;
		j->err.code = -r;
		j->cancel = true; /* the others' work would be for nothing */
	}
	j->running--;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

static void *run_task(void *arg)
{
	struct task *t = arg;
	struct job *j = t->j;
	struct worker *w = j->w;
	struct work_files kept = { .tar = -EBADF, .index = -EBADF };
	struct gt_err err = { 0 };
	int r = gt_work_layer(j, &t->blob, t->diff_id, &kept, &err);

	if (r == 0)
		j->done_layers++;
	task_over(j, &err, r); /* the job may be gone after this */
	gt_work_sync(w, t->diff_id, &kept);
	free(t);
	return NULL;
}

static void begin_task(struct job *j, const struct gt_blob *blob, const char *diff_id)
{
	struct task *t = gt_alloc(sizeof(*t));
	pthread_t thread;
	struct gt_err err;
	int r;

	t->j = j;
	t->blob = *blob;
	gt_strcopy(t->diff_id, sizeof(t->diff_id), diff_id);
	pthread_mutex_lock(&j->w->lock);
	j->running++;
	pthread_mutex_unlock(&j->w->lock);
	r = pthread_create(&thread, NULL, run_task, t);
	if (r == 0) {
		pthread_detach(thread);
		return;
	}
	gt_err_errno(&err, r, "start a thread for a layer");
	task_over(j, &err, -r);
	free(t);
}

static int get_layers(struct job *j, const struct gt_manifest *m, const struct gt_image_config *c,
		      struct gt_err *err)
{
	struct worker *w = j->w;
	uint64_t bytes = 0;
	int r;

	for (size_t i = 0; i < m->n_layers; i++)
		bytes += m->layers[i].bytes;
	j->total_bytes = bytes;
	j->total_layers = (unsigned)m->n_layers;
	gt_work_progress(j);
	for (size_t i = 0; i < m->n_layers; i++)
		begin_task(j, &m->layers[i], c->diff_ids[i]);
	pthread_mutex_lock(&w->lock);
	while (j->running > 0)
		pthread_cond_wait(&w->changed, &w->lock);
	r = -j->err.code;
	if (r < 0)
		*err = j->err;
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
