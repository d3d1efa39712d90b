/* fetch_layer.c - one layer, from the registry to two complete files that the agent takes over. Who
 * wants a layer that is on its way waits for it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/base/cleanup.h>

#include "work.h"

GT_CLEANUP_TYPE(layer, struct gt_layer_writer *, gt_layer_free)

#define PATH_SIZE 96

struct sink {
	struct job *j;
	struct gt_layer_writer *writer;
};

/* ---- files ---- */

static const char *path_of(const char *name, const char *end, char out[PATH_SIZE])
{
	snprintf(out, PATH_SIZE, "%s%s", name, end);
	return out;
}

static void close_files(struct work_files *f)
{
	f->tar = gt_close(f->tar);
	f->index = gt_close(f->index);
}

void gt_work_files_drop(struct worker *w, struct work_files *f)
{
	char path[PATH_SIZE];

	close_files(f);
	unlinkat(w->dir_fd, path_of(f->name, ".tar", path), 0);
	unlinkat(w->dir_fd, path_of(f->name, ".erofs", path), 0);
}

int gt_work_files_make(struct worker *w, struct work_files *f, struct gt_err *err)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
	char path[PATH_SIZE];
	int r;

	snprintf(f->name, sizeof(f->name), "layer-%u", w->serial++);
	f->tar = openat(w->dir_fd, path_of(f->name, ".tar", path), flags, 0600);
	if (f->tar >= 0)
		f->index = openat(w->dir_fd, path_of(f->name, ".erofs", path), flags, 0600);
	if (f->tar >= 0 && f->index >= 0)
		return 0;
	r = gt_err_set(err, errno, errno == ENOSPC ? "storage_full" : "sandbox_failed",
		       "make a layer's file: %s", strerror(errno));
	gt_work_files_drop(w, f);
	return r;
}

static bool is_complete(const struct worker *w, const char *diff_id)
{
	char path[PATH_SIZE];

	return faccessat(w->layers_fd, path_of(gt_digest_hex(diff_id), ".erofs", path), F_OK, 0) ==
	       0;
}

/* ---- one at a time ---- */

static struct fetch *find(const struct worker *w, const char *diff_id)
{
	struct fetch *f;

	DL_FOREACH (w->fetches, f) {
		if (gt_streq(f->diff_id, diff_id))
			return f;
	}
	return NULL;
}

/* *ret: it is ours to fetch; NULL: it is there. Less than `most` fetches must go on. */
static int begin(struct job *j, const char *diff_id, unsigned most, struct fetch **ret,
		 struct gt_err *err)
{
	struct worker *w = j->w;
	struct fetch *f = NULL;
	int r = 0;

	pthread_mutex_lock(&w->lock);
	while (!j->cancel && !is_complete(w, diff_id) && (find(w, diff_id) || w->fetching >= most))
		pthread_cond_wait(&w->changed, &w->lock);
	if (j->cancel) {
		r = gt_err_set(err, ECANCELED, "sandbox_failed", "the pull was cancelled");
	} else if (!is_complete(w, diff_id)) {
		f = gt_alloc(sizeof(*f));
		gt_strcopy(f->diff_id, sizeof(f->diff_id), diff_id);
		DL_APPEND(w->fetches, f);
		w->fetching++;
	}
	pthread_mutex_unlock(&w->lock);
	*ret = f;
	return r;
}

static void end(struct worker *w, struct fetch *f)
{
	pthread_mutex_lock(&w->lock);
	DL_DELETE(w->fetches, f);
	w->fetching--;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	free(f);
}

/* ---- the agent takes it over ---- */

void gt_work_kept(struct worker *w, const struct gt_image_order *o)
{
	struct fetch *f;

	pthread_mutex_lock(&w->lock);
	f = find(w, o->name);
	if (f) {
		f->asked = false;
		f->result = -o->code;
	}
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

static int offer(struct worker *w, struct fetch *f, struct work_files *files, struct gt_err *err)
{
	struct gt_image_event e = { .word = GT_IMAGE_LAYER };
	int r;

	/* They are the agent's now: nothing of this process can write to them. */
	close_files(files);
	gt_strcopy(e.name, sizeof(e.name), f->diff_id);
	gt_strcopy(e.file, sizeof(e.file), files->name);
	pthread_mutex_lock(&w->lock);
	f->asked = true;
	pthread_mutex_unlock(&w->lock);
	gt_work_tell(w, &e);
	pthread_mutex_lock(&w->lock);
	while (f->asked)
		pthread_cond_wait(&w->changed, &w->lock);
	r = f->result;
	pthread_mutex_unlock(&w->lock);
	if (r < 0)
		return gt_err_errno(err, -r, "keep layer %.19s", f->diff_id);
	gt_work_sync(w, f->diff_id);
	return 0;
}

int gt_work_hand_over(struct job *j, const char *diff_id, struct work_files *files,
		      struct gt_err *err)
{
	struct fetch *f = NULL;
	int r = begin(j, diff_id, UINT32_MAX, &f, err);

	if (r == 0 && f)
		r = offer(j->w, f, files, err);
	if (r < 0 || !f)
		gt_work_files_drop(j->w, files);
	if (f)
		end(j->w, f);
	return r;
}

/* ---- from a registry ---- */

static int on_bytes(const void *data, size_t len, void *arg, struct gt_err *err)
{
	struct sink *s = arg;

	s->j->done_bytes += len;
	return gt_layer_feed(s->writer, data, len, err);
}

static int download(struct job *j, const struct gt_blob *blob, const char *diff_id,
		    const struct work_files *files, struct gt_err *err)
{
	gt_auto(layer) struct gt_layer_writer *writer = NULL;
	struct gt_layer_result result;
	struct sink sink = { .j = j };
	int r = gt_layer_new(blob->form, files->tar, files->index, &j->w->limits, &writer, err);

	sink.writer = writer;
	if (r == 0)
		r = gt_registry_blob(j->w->registry, &j->ref, blob, &j->cancel, on_bytes, &sink,
				     err);
	if (r == 0)
		r = gt_layer_finish(writer, &result, err);
	if (r == 0 && !gt_streq(result.diff_id, diff_id))
		r = gt_err_set(err, EBADMSG, "image_invalid",
			       "its content has the digest %.19s..., the image's config says "
			       "%.19s...",
			       result.diff_id, diff_id);
	return r < 0 ? gt_err_wrap(err, "layer %.19s", blob->digest) : 0;
}

int gt_work_layer(struct job *j, const struct gt_blob *blob, const char *diff_id,
		  struct gt_err *err)
{
	struct worker *w = j->w;
	struct work_files files = { .tar = -EBADF, .index = -EBADF };
	struct fetch *f = NULL;
	int r = begin(j, diff_id, GT_WORK_FETCHES, &f, err);

	if (r < 0)
		return r;
	if (!f) {
		j->done_bytes += blob->bytes;
		return 0;
	}
	r = gt_work_files_make(w, &files, err);
	if (r == 0) {
		r = download(j, blob, diff_id, &files, err);
		if (r == 0)
			r = offer(w, f, &files, err);
		if (r < 0)
			gt_work_files_drop(w, &files);
	}
	end(w, f);
	return r;
}
