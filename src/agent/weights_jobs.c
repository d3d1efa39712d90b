/* weights_jobs.c - the processes that find and read weights: a few at a time, the rest in their
 * turn. One that makes no progress is given up; a process in the kernel's hands may outlive that,
 * and is only waited for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>

#include "weights.h"

#define READERS_MAX 2 /* files at once, GT_WEIGHTS_THREADS threads each */
#define SCOUTS_MAX  2
#define STALL_MS    60000
#define WORDS_ROUND 64 /* of one process, before others get their turn */

struct child {
	struct weights *node;
	struct gt_weights_process p;
	struct gt_watch *words, *death;
	struct gt_timer stalled;
};

/* Killed, and not dead yet. */
struct weights_dying {
	struct weights *node;
	int pidfd;
	struct gt_watch *watch;
	struct weights_dying *prev, *next;
};

struct weights_reader {
	struct child child;
	struct weights_file *file;
	struct gt_weights_word end; /* type 0: it has not told */
	struct weights_reader *prev, *next;
};

struct weights_scout {
	struct child child;
	char key[GT_WEIGHTS_KEY_SIZE];
	bool running;
	struct replica_weights *who; /* all have equal paths */
	struct weights_scout *prev, *next;
};

/* ---- any of them ---- */

static void dying_free(struct weights_dying *d)
{
	gt_watch_close(d->watch);
	gt_os_pidfd_reap(d->pidfd, NULL);
	gt_close(d->pidfd);
	DL_DELETE(d->node->dying, d);
	free(d);
}

static void on_dead(struct gt_watch *watch GT_UNUSED, unsigned events GT_UNUSED, void *arg)
{
	dying_free(arg);
}

/* A kill takes effect when the kernel gets to it, which with a bad disk may be much later. */
static void child_close(struct child *c)
{
	struct weights_dying *d;

	gt_timer_clear(c->node->agent->loop, &c->stalled);
	gt_watch_close(gt_steal(&c->words));
	gt_watch_close(gt_steal(&c->death));
	c->p.sock = gt_close(c->p.sock);
	if (c->p.pidfd < 0)
		return;
	gt_os_pidfd_signal(c->p.pidfd, SIGKILL, NULL);
	d = gt_alloc(sizeof(*d));
	*d = (struct weights_dying){ .node = c->node, .pidfd = gt_steal_fd(&c->p.pidfd) };
	DL_APPEND(c->node->dying, d);
	if (gt_os_pidfd_ended(d->pidfd) || gt_loop_watch(c->node->agent->loop, d->pidfd, GT_EV_READ,
							 on_dead, d, &d->watch, NULL) < 0)
		dying_free(d);
}

static int child_watch(struct child *c, gt_watch_fn *on_words, gt_watch_fn *on_death, void *arg,
		       struct gt_err *err)
{
	struct gt_loop *loop = c->node->agent->loop;
	int r = gt_loop_watch(loop, c->p.sock, GT_EV_READ, on_words, arg, &c->words, err);

	if (r == 0)
		r = gt_loop_watch(loop, c->p.pidfd, GT_EV_READ, on_death, arg, &c->death, err);
	if (r < 0)
		child_close(c);
	return r;
}

/* 1: a word; 0: none for now; -ECONNRESET: there will be none. *fd < 0 unless one came along. */
static int child_hear(struct child *c, struct gt_weights_word *w, int *fd)
{
	size_t len, n_fds = 0;
	int r = gt_os_recv(c->p.sock, w, sizeof(*w), &len, fd, 1, &n_fds, NULL);

	if (n_fds == 0)
		*fd = -EBADF;
	if (r == -EAGAIN)
		return 0;
	if (r < 0)
		return -ECONNRESET;
	if (len < sizeof(*w))
		memset((char *)w + len, 0, sizeof(*w) - len);
	w->path[sizeof(w->path) - 1] = w->slug[sizeof(w->slug) - 1] = '\0';
	return 1;
}

/* The group is made when it is needed first: most nodes have no weights. */
static int home_open(struct weights *n, struct gt_err *err)
{
	uint64_t bytes = n->cache_bytes + (n->store ? gt_weights_store_room(n->store).bytes : 0);

	if (n->home.n_groups > 0)
		return 0;
	return gt_runtime_aside(n->agent->rt, bytes, n->groups, &n->home.n_groups, err);
}

/* ---- scouts ---- */

static void scout_pump(struct weights *n);

static void scout_free(struct weights_scout *s)
{
	struct weights *n = s->child.node;

	n->n_scouting -= s->running;
	DL_DELETE(n->scouts, s);
	child_close(&s->child);
	free(s);
}

static void scout_end(struct weights_scout *s, const char *why)
{
	struct weights *n = s->child.node;
	struct replica_weights *w;
	char text[40];

	gt_strcopy(text, sizeof(text), why);
	/* Each may do away with itself, and with others. */
	while ((w = s->who)) {
		DL_DELETE(s->who, w);
		w->scout = NULL;
		gt_weights_scouted(w, text);
	}
	scout_free(s);
	scout_pump(n);
}

static void scout_tell(struct weights_scout *s, const struct gt_weights_word *word, int fd)
{
	struct replica_weights *w;
	int one;

	DL_FOREACH (s->who, w) {
		if (word->place >= w->r->spec->weights.n_paths)
			break;
		one = dup(fd);
		if (one >= 0)
			gt_weights_found(w, word->place, word, one);
	}
	gt_close(fd);
}

static void on_scout_words(struct gt_watch *watch GT_UNUSED, unsigned events GT_UNUSED, void *arg)
{
	struct weights_scout *s = arg;
	struct gt_weights_word w;
	int fd, r = 1;

	for (unsigned i = 0; i < WORDS_ROUND && (r = child_hear(&s->child, &w, &fd)) == 1; i++) {
		if (w.type == GT_WEIGHTS_FOUND && fd >= 0) {
			scout_tell(s, &w, fd);
			continue;
		}
		gt_close(fd);
		if (w.type != GT_WEIGHTS_END)
			continue;
		scout_end(s, w.code == 0                        ? ""
			     : gt_streq(w.slug, "weights_many") ? w.slug
								: "weights_failed");
		return;
	}
	if (r < 0)
		scout_end(s, "weights_failed");
}

static void on_scout_death(struct gt_watch *watch, unsigned events GT_UNUSED, void *arg)
{
	struct weights_scout *s = arg;

	/* What it said is still in the socket, which tells of the end too. */
	gt_watch_close(watch);
	s->child.death = NULL;
	gt_os_pidfd_reap(s->child.p.pidfd, NULL);
}

static void on_scout_stalled(void *arg)
{
	scout_end(arg, "weights_failed");
}

static int scout_start(struct weights_scout *s, struct gt_err *err)
{
	const struct gt_spec *spec = s->who->r->spec;
	struct gt_weights_place places[GT_WEIGHTS_MAX];
	size_t n = 0;
	int r = home_open(s->child.node, err);

	for (size_t i = 0; r == 0 && i < spec->weights.n_paths; i++) {
		const char *root;
		int fd;

		gt_spec_weights_at(spec, i, &root, &places[n].pattern);
		r = gt_runtime_path_open(s->child.node->agent->rt, root, &fd, err);
		if (r == 0)
			places[n++].root = fd;
	}
	if (r == 0)
		r = gt_weights_scout(&s->child.node->home, places, n, &s->child.p, err);
	while (n > 0)
		gt_close(places[--n].root);
	if (r == 0)
		r = child_watch(&s->child, on_scout_words, on_scout_death, s, err);
	if (r == 0)
		gt_timer_set(s->child.node->agent->loop, &s->child.stalled, STALL_MS,
			     on_scout_stalled, s);
	return r;
}

static void scout_pump(struct weights *n)
{
	struct weights_scout *s, *next;
	struct gt_err err;

	DL_FOREACH_SAFE (n->scouts, s, next) {
		if (n->n_scouting >= SCOUTS_MAX)
			return;
		if (s->running)
			continue;
		s->running = true;
		n->n_scouting++;
		if (scout_start(s, &err) == 0)
			continue;
		gt_warn("weights of %s: %s", s->who->r->function, err.text);
		/* Later: who asked is not told before the asking returned. */
		gt_timer_set(n->agent->loop, &s->child.stalled, 0, on_scout_stalled, s);
	}
}

static bool same_paths(const struct gt_spec *a, const struct gt_spec *b)
{
	if (a->weights.n_paths != b->weights.n_paths)
		return false;
	for (size_t i = 0; i < a->weights.n_paths; i++) {
		const char *a_root, *a_rest, *b_root, *b_rest;

		gt_spec_weights_at(a, i, &a_root, &a_rest);
		gt_spec_weights_at(b, i, &b_root, &b_rest);
		if (!gt_streq(a_root, b_root) || !gt_streq(a_rest, b_rest))
			return false;
	}
	return true;
}

void gt_weights_look(struct weights *n, struct replica_weights *w)
{
	struct weights_scout *s;

	/* One that runs may have told of files already. */
	DL_FOREACH (n->scouts, s) {
		if (!s->running && gt_streq(s->key, w->key) &&
		    same_paths(s->who->r->spec, w->r->spec))
			break;
	}
	if (!s) {
		s = gt_alloc(sizeof(*s));
		s->child = (struct child){ .node = n, .p = { .pidfd = -EBADF, .sock = -EBADF } };
		gt_strcopy(s->key, sizeof(s->key), w->key);
		DL_APPEND(n->scouts, s);
	}
	w->scout = s;
	DL_APPEND(s->who, w);
	scout_pump(n);
}

void gt_weights_look_no_more(struct replica_weights *w)
{
	struct weights_scout *s = gt_steal(&w->scout);
	struct weights *n;

	if (!s)
		return;
	n = s->child.node;
	DL_DELETE(s->who, w);
	if (!s->who) {
		scout_free(s);
		scout_pump(n);
	}
}

/* ---- readers ---- */

static void reader_pump(struct weights *n);

static void reader_free(struct weights_reader *rd)
{
	struct weights *n = rd->child.node;

	if (rd->file) {
		rd->file->reader = NULL;
		n->n_readers--;
	}
	DL_DELETE(n->readers, rd);
	child_close(&rd->child);
	free(rd);
}

/* Its file has what it gets, or goes without. */
static void reader_end(struct weights_reader *rd, const char *why)
{
	struct weights_file *f = rd->file;
	struct gt_weights_word end = rd->end;
	struct weights *n = f->node;

	reader_free(rd);
	gt_weights_file_ended(f, &end, why);
	reader_pump(n);
}

static void on_reader_stalled(void *arg)
{
	gt_warn("weights: a file was not read any further for %d s", STALL_MS / 1000);
	reader_end(arg, "weights_failed");
}

static void on_reader_words(struct gt_watch *watch, unsigned events GT_UNUSED, void *arg)
{
	struct weights_reader *rd = arg;
	struct gt_weights_word w;
	int fd, r = 1;

	for (unsigned i = 0; i < WORDS_ROUND && (r = child_hear(&rd->child, &w, &fd)) == 1; i++) {
		gt_close(fd);
		if (w.type == GT_WEIGHTS_END)
			rd->end = w;
		if (w.done.bytes <= rd->file->bytes)
			continue;
		rd->file->bytes = GT_MIN(w.done.bytes, rd->file->id.size);
		gt_timer_set(rd->child.node->agent->loop, &rd->child.stalled, STALL_MS,
			     on_reader_stalled, rd);
		gt_weights_file_moved(rd->file);
	}
	if (r < 0) { /* its end is near: told by its death, when nothing of it is left */
		gt_watch_close(watch);
		rd->child.words = NULL;
	}
}

static void on_reader_death(struct gt_watch *watch GT_UNUSED, unsigned events, void *arg)
{
	struct weights_reader *rd = arg;

	for (unsigned i = 0; i < WORDS_ROUND && rd->child.words; i++)
		on_reader_words(rd->child.words, events, rd);
	reader_end(rd, rd->end.type != GT_WEIGHTS_END || rd->end.code ? "weights_failed" : "");
}

static int reader_start(struct weights_file *f, struct weights_reader *rd, int into,
			struct gt_err *err)
{
	struct weights *n = f->node;
	int r = home_open(n, err);

	if (r == 0 && n->read_bps > 0 &&
	    gt_runtime_aside_disk(n->agent->rt, (dev_t)f->id.dev, n->read_bps, err) < 0)
		gt_debug("weights: %s", err->text);
	if (r == 0)
		r = gt_weights_reader(&n->home, f->fd, into, f->id.size, &rd->child.p, err);
	if (r == 0)
		r = child_watch(&rd->child, on_reader_words, on_reader_death, rd, err);
	if (r == 0)
		gt_timer_set(n->agent->loop, &rd->child.stalled, STALL_MS, on_reader_stalled, rd);
	return r;
}

/* Into the store: makes the file there, now that it is its turn. */
static int copy_begin(struct weights_file *f, int *ret_into, char why[40], struct gt_err *err)
{
	int r;

	if (f->key[0] != 's')
		return 0;
	r = gt_weights_store_add(f->node->store, &f->id, &f->copy, ret_into, err);
	if (r == -ENOSPC)
		gt_strcopy(why, 40, "store_full");
	return r;
}

static void reader_pump(struct weights *n)
{
	struct weights_file *f;

	while (n->n_readers < READERS_MAX && (f = n->waiting)) {
		struct weights_reader *rd = gt_alloc(sizeof(*rd));
		gt_auto(fd) int into = -EBADF;
		char why[40] = "weights_failed";
		struct gt_err err = { 0 };

		DL_DELETE(n->waiting, f);
		f->waiting = false;
		rd->child = (struct child){ .node = n, .p = { .pidfd = -EBADF, .sock = -EBADF } };
		DL_APPEND(n->readers, rd);
		if (copy_begin(f, &into, why, &err) == 0 && reader_start(f, rd, into, &err) == 0) {
			rd->file = f;
			f->reader = rd;
			n->n_readers++;
			continue;
		}
		gt_warn("weights: %s", err.text);
		reader_free(rd);
		gt_weights_file_ended(f, &(struct gt_weights_word){ 0 }, why);
	}
}

static void on_turn(void *arg)
{
	reader_pump(arg);
}

void gt_weights_read_begin(struct weights_file *f)
{
	f->waiting = true;
	DL_APPEND(f->node->waiting, f);
	gt_loop_defer(f->node->agent->loop, on_turn, f->node);
}

void gt_weights_read_cancel(struct weights_file *f)
{
	if (f->waiting)
		DL_DELETE(f->node->waiting, f);
	f->waiting = false;
	if (!f->reader)
		return;
	reader_free(f->reader);
	gt_loop_defer(f->node->agent->loop, on_turn, f->node);
}

void gt_weights_jobs_end(struct weights *n)
{
	while (n->readers)
		reader_free(n->readers);
	while (n->scouts)
		scout_free(n->scouts);
	while (n->dying)
		dying_free(n->dying);
}
