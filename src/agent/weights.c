/* weights.c - what each replica wants of the node's weights, from its order to its end; and what
 * control is told of it. A replica never fails for want of them: what is not read ahead, or has no
 * room in the store, it reads from its volume, as if nothing had been said. */
#include "weights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>

#define FILES_MAX   2048          /* descriptors that may wait for their turn */
#define SPEED_BYTES (64 * GT_MIB) /* less tells little of a disk */
#define NAMES_MAX   (GT_RUNTIME_FILES_MAX * GT_WEIGHTS_NAME_SIZE)
#define NAMES_FILE  "weights"

/* ---- the node ---- */

int gt_weights_new(struct agent *a, const struct gt_agent_config *config, struct gt_err *err)
{
	struct weights *n = gt_alloc(sizeof(*n));
	int r;

	a->weights = n;
	n->agent = a;
	n->home = (struct gt_weights_home){ .groups = n->groups,
					    .uid = config->image_uid,
					    .gid = config->image_gid };
	n->read_bps = config->weight_read_bps;
	n->cache_bytes = GT_MIN(config->weight_cache_bytes, a->memory_bytes / 2);
	n->told.told = true;
	r = gt_weights_store_open(config->state_dir, &n->store, err);
	return r == -ENOENT ? 0 : r;
}

static void changed(struct weights *n)
{
	n->dirty = true;
	gt_report_progress(n->agent);
}

void gt_weights_free(struct weights *n)
{
	if (!n)
		return;
	gt_weights_jobs_end(n);
	gt_weights_store_close(n->store);
	for (size_t i = 0; i < n->home.n_groups; i++)
		gt_close(n->groups[i]);
	free(n->told.here);
	free(n);
}

bool gt_weights_dirty(const struct weights *n)
{
	return n->dirty;
}

void gt_weights_observe_node(struct weights *n, struct gt_node_weights *ret)
{
	if (n->store) {
		struct gt_weights_room room = gt_weights_store_room(n->store);

		n->told.store_bytes = room.bytes;
		n->told.store_used = room.used;
		n->told.store_huge = room.huge;
	}
	*ret = n->told;
	n->dirty = false;
}

/* ---- files ---- */

static void file_free(struct weights_file *f)
{
	struct weights *n = f->node;

	gt_weights_read_cancel(f);
	if (f->copy && f->done)
		gt_weights_store_unpin(n->store, f->copy);
	else if (f->copy)
		gt_weights_store_drop(n->store, f->copy);
	HASH_DEL(n->files, f);
	gt_close(f->fd);
	free(f);
}

static struct weights_file *file_find(struct weights *n, char how, const struct gt_weights_id *id,
				      char key[2 + GT_WEIGHTS_NAME_SIZE])
{
	struct weights_file *f;

	key[0] = how;
	key[1] = ':';
	gt_weights_id_name(id, key + 2);
	HASH_FIND_STR(n->files, key, f);
	return f;
}

static struct weights_file *file_new(struct weights *n, const char *key,
				     const struct gt_weights_id *id)
{
	struct weights_file *f = gt_alloc(sizeof(*f));

	f->node = n;
	f->id = *id;
	f->fd = -EBADF;
	gt_strcopy(f->key, sizeof(f->key), key);
	HASH_ADD_STR(n->files, key, f);
	return f;
}

static void file_use(struct replica_weights *w, struct weights_file *f, char *path)
{
	struct weights_use *u = gt_alloc(sizeof(*u));

	*u = (struct weights_use){
		.of = w, .file = f, .path = path, .resident = f->done ? f->id.size : f->resident
	};
	w->uses = gt_grow(w->uses, w->n_uses + 1, sizeof(struct weights_use *));
	w->uses[w->n_uses++] = u;
	DL_APPEND(f->uses, u);
}

static void use_end(struct weights_use *u)
{
	struct weights_file *f = u->file;

	DL_DELETE(f->uses, u);
	if (!f->uses)
		file_free(f);
	free(u->path);
	free(u);
}

/* ---- one replica ---- */

/* What its pages would push out again is not read ahead. */
static uint64_t cache_wanted(const struct weights *n)
{
	const struct weights_file *f, *next;
	uint64_t bytes = 0;

	HASH_ITER (hh, n->files, f, next)
		bytes += f->key[0] == 'p' && !f->failed ? f->id.size - f->resident : 0;
	return bytes;
}

static const char *may_read(const struct weights *n, const struct gt_weights_word *word)
{
	if (HASH_COUNT(n->files) >= FILES_MAX)
		return "weights_many";
	if (cache_wanted(n) + (word->id.size - word->resident) > n->cache_bytes)
		return n->cache_bytes ? "cache_full" : "cache_off";
	return NULL;
}

static void find_cached(struct replica_weights *w, const struct gt_weights_word *word, int fd,
			char *path)
{
	struct weights *n = w->r->agent->weights;
	char key[2 + GT_WEIGHTS_NAME_SIZE];
	struct weights_file *f = file_find(n, 'p', &word->id, key);
	const char * not ;

	if (f && !f->done && !f->failed) { /* it is being read already */
		gt_close(fd);
		file_use(w, f, path);
		return;
	}
	if (!f)
		f = file_new(n, key, &word->id);
	f->resident = word->resident;
	f->bytes = 0;
	f->failed = false;
	f->done = word->resident == word->id.size;
	not = f->done ? NULL : may_read(n, word);
	file_use(w, f, path);
	if (f->done || not ) {
		f->failed = not != NULL;
		gt_strcopy(f->why, sizeof(f->why), not ? not : "");
		gt_close(fd);
		return;
	}
	f->fd = fd;
	gt_weights_read_begin(f);
}

static void find_stored(struct replica_weights *w, const struct gt_weights_word *word, int fd,
			char *path)
{
	struct weights *n = w->r->agent->weights;
	char key[2 + GT_WEIGHTS_NAME_SIZE];
	struct weights_file *f = file_find(n, 's', &word->id, key);

	if (f && !f->failed) {
		gt_close(fd);
		file_use(w, f, path);
		return;
	}
	if (!f)
		f = file_new(n, key, &word->id);
	f->failed = false;
	f->copy = gt_weights_store_find(n->store, key + 2);
	f->done = f->copy != NULL;
	file_use(w, f, path);
	if (f->copy) {
		gt_weights_store_pin(n->store, f->copy);
		gt_close(fd);
		return;
	}
	f->fd = fd;
	gt_weights_read_begin(f);
}

void gt_weights_found(struct replica_weights *w, size_t path, const struct gt_weights_word *word,
		      int fd)
{
	const struct gt_spec *spec = w->r->spec;
	const char *root, *rest;
	const struct gt_volume *volume = gt_spec_weights_at(spec, path, &root, &rest);
	char *at = gt_asprintf("%s%s%s", volume ? volume->path : "", *word->path ? "/" : "",
			       word->path);
	bool store = spec->weights_store && w->r->agent->weights->store;

	for (size_t i = 0; i < w->n_uses; i++) {
		if (!gt_streq(w->uses[i]->path, at))
			continue;
		free(at); /* two patterns mean it */
		gt_close(fd);
		return;
	}
	if (word->id.size == 0 || word->resident > word->id.size ||
	    w->n_uses >= (store ? GT_RUNTIME_FILES_MAX : GT_WEIGHTS_FILES_MAX)) {
		gt_strcopy(w->why, sizeof(w->why), "weights_many");
		free(at);
		gt_close(fd);
		return;
	}
	if (store)
		find_stored(w, word, fd, at);
	else
		find_cached(w, word, fd, at);
}

static bool is_done(const struct replica_weights *w)
{
	if (w->scout)
		return false;
	for (size_t i = 0; i < w->n_uses; i++) {
		if (!w->uses[i]->file->done && !w->uses[i]->file->failed)
			return false;
	}
	return true;
}

void gt_weights_observe(const struct replica_weights *w, struct gt_weights_progress *ret)
{
	*ret = (struct gt_weights_progress){ 0 };
	if (!w)
		return;
	for (size_t i = 0; i < w->n_uses; i++) {
		const struct weights_file *f = w->uses[i]->file;
		uint64_t missed = f->id.size - w->uses[i]->resident;

		ret->total += f->id.size;
		ret->resident += w->uses[i]->resident;
		/* What was there is touched too. */
		ret->bytes += f->done ? missed : GT_MIN(f->bytes, missed);
		if (f->why[0] && !ret->why[0])
			gt_strcopy(ret->why, sizeof(ret->why), f->why);
	}
	ret->store = w->n_uses > 0 && w->uses[0]->file->key[0] == 's';
	if (w->why[0])
		gt_strcopy(ret->why, sizeof(ret->why), w->why);
}

/* What the node has of these files now: for control, which places by it. */
static void note_here(struct replica_weights *w)
{
	struct weights *n = w->r->agent->weights;
	struct gt_weights_progress p;
	struct gt_weights_here *h = NULL;

	gt_weights_observe(w, &p);
	for (size_t i = 0; i < n->told.n_here; i++)
		if (gt_streq(n->told.here[i].key, w->key))
			h = &n->told.here[i];
	if (!h && n->told.n_here == GT_WEIGHTS_HERE_MAX) {
		/* The one that was noted first makes room. */
		memmove(n->told.here, n->told.here + 1,
			(GT_WEIGHTS_HERE_MAX - 1) * sizeof(*n->told.here));
		h = &n->told.here[GT_WEIGHTS_HERE_MAX - 1];
	} else if (!h) {
		n->told.here = gt_grow(n->told.here, n->told.n_here + 1, sizeof(*n->told.here));
		h = &n->told.here[n->told.n_here++];
	}
	gt_strcopy(h->key, sizeof(h->key), w->key);
	h->total = p.total;
	h->resident = GT_MIN(p.resident + p.bytes, p.total);
	changed(n);
}

static void on_go(void *arg)
{
	struct replica *r = arg;

	r->weights->awaited = false;
	gt_replica_weights_are_here(r);
}

static void moved(struct replica_weights *w)
{
	struct replica *r = w->r;

	r->dirty = true;
	gt_report_progress(r->agent);
	if (!is_done(w))
		return;
	if (w->n_uses > 0)
		note_here(w);
	if (w->awaited) /* later: a start that fails takes w and its part in files along */
		gt_timer_set(r->agent->loop, &w->go, 0, on_go, r);
}

void gt_weights_scouted(struct replica_weights *w, const char *why)
{
	struct agent *a = w->r->agent;

	if (why[0])
		gt_strcopy(w->why, sizeof(w->why), why);
	else if (w->n_uses == 0)
		gt_strcopy(w->why, sizeof(w->why), "weights_missing");
	else if (w->r->spec->weights_store && !a->weights->store)
		gt_strcopy(w->why, sizeof(w->why), "store_off");
	moved(w);
}

/* ---- what reading tells ---- */

void gt_weights_file_moved(struct weights_file *f)
{
	struct weights_use *u;

	DL_FOREACH (f->uses, u)
		u->of->r->dirty = true;
	gt_report_progress(f->node->agent);
}

static void learn(struct weights *n, const struct weights_file *f,
		  const struct gt_weights_word *end)
{
	uint64_t bytes = f->id.size - f->resident;

	if (end->done.folios == GT_FOLIOS_LARGE)
		n->told.pages = GT_PAGES_LARGE;
	else if (end->done.folios == GT_FOLIOS_SMALL)
		n->told.pages = GT_PAGES_SMALL;
	if (bytes < SPEED_BYTES || end->took_ns == 0)
		return;
	/* By halves: what else the disk had to do is gone next time. */
	bytes = (uint64_t)((double)bytes * (double)GT_NS_PER_S / (double)end->took_ns);
	n->told.read_bps = n->told.read_bps ? (n->told.read_bps + bytes) / 2 : bytes;
}

/* Its source is what it was when it was found, or the copy is of two versions. */
static int seal(struct weights_file *f, struct gt_err *err)
{
	char is[GT_WEIGHTS_NAME_SIZE];
	struct gt_weights_id id;
	int r = gt_weights_id_of(f->fd, &id, err);

	if (r < 0)
		return r;
	gt_weights_id_name(&id, is);
	if (!gt_streq(is, f->key + 2))
		return gt_err_set(err, ESTALE, "weights_failed",
				  "a file changed while it was read");
	return gt_weights_store_seal(f->node->store, f->copy, &f->id, err);
}

void gt_weights_file_ended(struct weights_file *f, const struct gt_weights_word *end,
			   const char *why)
{
	struct weights *n = f->node;
	struct weights_use *u;
	struct gt_err err = { 0 };

	if (!why[0] && f->copy && seal(f, &err) < 0) {
		gt_warn("weights: %s", err.text);
		why = "weights_failed";
	}
	f->fd = gt_close(f->fd);
	f->done = !why[0];
	f->failed = !f->done;
	gt_strcopy(f->why, sizeof(f->why), why);
	if (f->done)
		learn(n, f, end);
	else if (f->copy)
		gt_weights_store_drop(n->store, gt_steal(&f->copy));
	changed(n);
	DL_FOREACH (f->uses, u)
		moved(u->of);
}

/* ---- a replica's life ---- */

void gt_replica_weights_begin(struct replica *r)
{
	struct replica_weights *w;

	if (r->spec->weights.n_paths == 0)
		return;
	w = gt_alloc(sizeof(*w));
	w->r = r;
	gt_weights_key(r->spec, w->key);
	r->weights = w;
	gt_weights_look(r->agent->weights, w);
}

bool gt_replica_weights_wait(struct replica *r)
{
	struct replica_weights *w = r->weights;

	if (!w || !r->spec->weights_store || !r->agent->weights->store || is_done(w))
		return false;
	w->awaited = true;
	return true;
}

void gt_replica_weights_end(struct replica *r)
{
	struct replica_weights *w = gt_steal(&r->weights);

	if (!w)
		return;
	gt_weights_look_no_more(w);
	gt_timer_clear(r->agent->loop, &w->go);
	for (size_t i = 0; i < w->n_uses; i++)
		use_end(w->uses[i]);
	free(w->uses);
	free(w);
}

/* Which copies it has mounted, for an agent after us. */
static void write_names(const struct replica *r)
{
	const struct replica_weights *w = r->weights;
	gt_auto(buf) struct gt_buf text = { 0 };
	char path[GT_REPLICA_ID_SIZE + 16];

	gt_buf_init(&text, NAMES_MAX);
	for (size_t i = 0; i < w->n_uses; i++)
		if (w->uses[i]->file->done)
			gt_buf_addf(&text, "%s\n", w->uses[i]->file->key + 2);
	snprintf(path, sizeof(path), "%s/" NAMES_FILE, r->id);
	gt_auto(fd) int fd = openat(r->agent->replicas_fd, path,
				    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, gt_buf_str(&text), text.len) != (ssize_t)text.len)
		gt_warn("replica %s: its weights could not be written down", r->id);
}

size_t gt_replica_weights_files(struct replica *r, struct gt_container_file *ret)
{
	struct replica_weights *w = r->weights;
	struct weights *n = r->agent->weights;
	size_t k = 0;

	if (!w || !r->spec->weights_store || !n->store)
		return 0;
	for (size_t i = 0; i < w->n_uses && k < GT_RUNTIME_FILES_MAX; i++) {
		struct weights_file *f = w->uses[i]->file;

		if (!f->copy || !f->done ||
		    gt_weights_copy_open(n->store, f->copy, &ret[k].fd, NULL) < 0)
			continue;
		ret[k++].path = w->uses[i]->path;
	}
	if (k > 0)
		write_names(r);
	return k;
}

/* Its mounts hold the copies, whatever their source is by now. */
void gt_replica_weights_adopt(struct replica *r)
{
	struct weights *n = r->agent->weights;
	gt_auto(free) char *text = gt_alloc(NAMES_MAX + 1);
	char path[GT_REPLICA_ID_SIZE + 16], *save = NULL;
	struct replica_weights *w;

	snprintf(path, sizeof(path), "%s/" NAMES_FILE, r->id);
	if (!n->store || gt_os_read_at(r->agent->replicas_fd, path, text, NAMES_MAX, NULL) < 0)
		return;
	w = gt_alloc(sizeof(*w));
	w->r = r;
	gt_weights_key(r->spec, w->key);
	r->weights = w;
	for (char *name = strtok_r(text, "\n", &save); name; name = strtok_r(NULL, "\n", &save)) {
		struct gt_weights_copy *copy = gt_weights_store_find(n->store, name);
		gt_auto(free) char *key = gt_asprintf("s:%.*s", GT_WEIGHTS_NAME_SIZE - 1, name);
		struct weights_file *f;

		if (!copy)
			continue;
		HASH_FIND_STR(n->files, key, f);
		if (!f) {
			f = file_new(n, key,
				     &(struct gt_weights_id){ .size = gt_weights_copy_size(copy) });
			f->copy = copy;
			f->done = true;
			gt_weights_store_pin(n->store, copy);
		}
		file_use(w, f, gt_strdup(""));
	}
	if (w->n_uses > 0)
		note_here(w);
}
