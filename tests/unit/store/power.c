#include "power.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/base.h>

#define SECTOR    512
#define FILES_MAX 256 /* that there were, one after the other */

struct moment {
	enum power_what what;
	unsigned file;
	char name[64];
	int64_t at;
	size_t len;
	char *data;
	struct power_mark mark;
};

struct bytes {
	char *data;
	size_t len, cap;
};

struct power {
	const char *root;
	struct stat dirs[2]; /* root, and its bodies/ */
	struct moment *moments;
	size_t n, cap;
	struct stat files[FILES_MAX];
	unsigned n_files;
	struct bytes before[FILES_MAX]; /* of those that were there */
	char names[FILES_MAX][64];
	unsigned n_before;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool active;
static struct power *noting;
static const char *careless;

/* Tests that fork have no use for a lock that another thread may hold. */
bool power_lock(void)
{
	if (!active)
		return false;
	pthread_mutex_lock(&lock);
	return true;
}

static void be(struct power *next_noting, const char *next_careless)
{
	pthread_mutex_lock(&lock);
	noting = next_noting;
	careless = next_careless;
	active = noting || careless;
	pthread_mutex_unlock(&lock);
}

void power_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

/* ---- notes ---------------------------------------------------------------------------------- */

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

static struct moment *note(struct power *p, enum power_what what)
{
	struct moment *m;

	if (p->n == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 1024;
		p->moments = gt_grow(p->moments, p->cap, sizeof(*p->moments));
	}
	m = &p->moments[p->n++];
	*m = (struct moment){ .what = what };
	return m;
}

bool power_notes(int dir_fd, const char *path, char name[64])
{
	size_t n = noting ? strlen(noting->root) : 0;
	const char *end = strrchr(path, '-');
	struct stat dir;

	if (!noting || (end && strcmp(end, "-shm") == 0)) /* which is made anew */
		return false;
	if (dir_fd == AT_FDCWD) {
		if (strncmp(path, noting->root, n) != 0 || path[n] != '/')
			return false;
		return snprintf(name, 64, "%s", path + n + 1) < 64;
	}
	if (fstat(dir_fd, &dir) < 0 || !same(&dir, &noting->dirs[1]))
		return false;
	return snprintf(name, 64, "bodies/%s", path) < 64;
}

void power_note_name(enum power_what what, const char *name, int fd)
{
	struct moment *m = note(noting, what);

	snprintf(m->name, sizeof(m->name), "%s", name);
	if (what != POWER_CREATE)
		return;
	if (noting->n_files == FILES_MAX || fstat(fd, &noting->files[noting->n_files]) < 0)
		abort();
	m->file = noting->n_files++;
}

/* The number of one that was removed may be another's: the last one's. */
static bool file_of(const struct power *p, const struct stat *st, unsigned *ret)
{
	for (unsigned i = p->n_files; i-- > 0;)
		if (same(st, &p->files[i])) {
			*ret = i;
			return true;
		}
	return false;
}

void power_note_data(enum power_what what, int fd, int64_t at, const void *data, size_t len)
{
	struct moment *m;
	struct stat st;
	unsigned file;

	if (!noting || fstat(fd, &st) < 0)
		return;
	for (unsigned i = 0; i < 2; i++)
		if (what == POWER_SYNC && same(&st, &noting->dirs[i])) {
			note(noting, POWER_SYNC_NAMES)->file = i;
			return;
		}
	if (!file_of(noting, &st, &file))
		return;
	m = note(noting, what);
	m->file = file;
	m->at = at;
	m->len = len;
	if (!data)
		return;
	m->data = gt_alloc(len + 1);
	memcpy(m->data, data, len);
}

void power_mark(struct power *p, const struct power_mark *mark)
{
	pthread_mutex_lock(&lock);
	note(p, POWER_MARK)->mark = *mark;
	pthread_mutex_unlock(&lock);
}

bool power_is_careless(int fd)
{
	char link[64], path[256];
	ssize_t n = -1;

	if (careless) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, path, sizeof(path) - 1);
	}
	if (n < 0)
		return false;
	path[n] = '\0';
	snprintf(link, sizeof(link), "/%.60s", careless);
	return strstr(path, link) != NULL;
}

void power_careless(const char *dir)
{
	be(noting, dir);
}

/* ---- begin and end -------------------------------------------------------------------------- */

static void read_file(struct power *p, int dir_fd, const char *prefix, const char *name)
{
	struct bytes *b = &p->before[p->n_before];
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	struct stat *st = &p->files[p->n_before];

	if (fd < 0 || fstat(fd, st) < 0 || p->n_before == FILES_MAX)
		abort();
	if (S_ISREG(st->st_mode) && !strstr(name, "-shm")) {
		b->len = b->cap = (size_t)st->st_size;
		b->data = gt_alloc(b->len + 1);
		if (pread(fd, b->data, b->len, 0) != (ssize_t)b->len)
			abort();
		if (snprintf(p->names[p->n_before++], 64, "%s%s", prefix, name) >= 64)
			abort();
	}
	close(fd);
}

static void read_dir(struct power *p, const char *path, const char *prefix, struct stat *st)
{
	DIR *dir = opendir(path);
	struct dirent *e;

	if (!dir || fstat(dirfd(dir), st) < 0)
		abort();
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			read_file(p, dirfd(dir), prefix, e->d_name);
	closedir(dir);
}

struct power *power_begin(const char *root)
{
	struct power *p = gt_alloc(sizeof(*p));
	char path[128];

	p->root = root;
	snprintf(path, sizeof(path), "%s/bodies", root);
	read_dir(p, root, "", &p->dirs[0]);
	read_dir(p, path, "bodies/", &p->dirs[1]);
	p->n_files = p->n_before;
	be(p, careless);
	return p;
}

void power_end(struct power *p)
{
	if (noting == p)
		be(NULL, careless);
}

void power_free(struct power *p)
{
	if (!p)
		return;
	power_end(p);
	for (size_t i = 0; i < p->n; i++)
		free(p->moments[i].data);
	for (unsigned i = 0; i < p->n_before; i++)
		free(p->before[i].data);
	free(p->moments);
	free(p);
}

size_t power_moments(const struct power *p)
{
	return p->n;
}

bool power_settles(const struct power *p, size_t at)
{
	enum power_what what = at ? p->moments[at - 1].what : POWER_MARK;

	return what == POWER_SYNC || what == POWER_SYNC_NAMES || what == POWER_MARK;
}

struct power_mark power_marked(const struct power *p, size_t at)
{
	while (at-- > 0)
		if (p->moments[at].what == POWER_MARK)
			return p->moments[at].mark;
	return (struct power_mark){ 0 };
}

/* ---- what is found -------------------------------------------------------------------------- */

struct found {
	const struct power *p;
	struct bytes files[FILES_MAX];
	struct {
		char name[64];
		int file; /* -1: it is gone */
	} names[FILES_MAX];
	unsigned n_names;
	const struct moment **open; /* of what was not synced yet, in order */
	size_t n_open;
	uint64_t seed;
};

static uint64_t dice(struct found *f)
{
	f->seed ^= f->seed << 13;
	f->seed ^= f->seed >> 7;
	f->seed ^= f->seed << 17;
	return f->seed * 0x2545f4914f6cdd1dULL >> 33;
}

static void name_set(struct found *f, const char *name, int file)
{
	unsigned i = 0;

	while (i < f->n_names && strcmp(f->names[i].name, name) != 0)
		i++;
	if (i == FILES_MAX)
		abort();
	if (i == f->n_names)
		f->n_names++;
	snprintf(f->names[i].name, sizeof(f->names[i].name), "%s", name);
	f->names[i].file = file;
}

static void bytes_resize(struct bytes *b, size_t len)
{
	if (len > b->cap) {
		b->cap = len * 2;
		b->data = gt_grow(b->data, b->cap, 1);
	}
	if (len > b->len)
		memset(b->data + b->len, 0, len - b->len);
	b->len = len;
}

static void put(struct found *f, const struct moment *m, size_t from, size_t to, bool garbage)
{
	struct bytes *b = &f->files[m->file];

	if (from == to)
		return;
	bytes_resize(b, GT_MAX(b->len, (size_t)m->at + to));
	if (!garbage)
		memcpy(b->data + m->at + from, m->data + from, to - from);
	else
		for (size_t i = from; i < to; i++)
			b->data[(size_t)m->at + i] = (char)dice(f);
}

static void apply(struct found *f, const struct moment *m)
{
	switch (m->what) {
	case POWER_CREATE:
		name_set(f, m->name, (int)m->file);
		break;
	case POWER_DELETE:
		name_set(f, m->name, -1);
		break;
	case POWER_TRUNCATE:
		bytes_resize(&f->files[m->file], (size_t)m->at);
		break;
	case POWER_WRITE:
		put(f, m, 0, m->len, false);
		break;
	default:
		break;
	}
}

/* Each sector by itself; others of the file's are not touched. */
static void apply_any(struct found *f, const struct moment *m)
{
	size_t to;

	if (m->what != POWER_WRITE) {
		if (dice(f) % 2)
			apply(f, m);
		return;
	}
	for (size_t from = 0; from < m->len; from = to) {
		uint64_t n = dice(f) % 16;

		to = GT_MIN(m->len, (((size_t)m->at + from) / SECTOR + 1) * SECTOR - (size_t)m->at);
		if (n < 9)
			put(f, m, from, to, n == 0);
	}
}

/* Up to any byte; what follows is as before, or zero, or garbage. */
static void apply_torn(struct found *f, const struct moment *m)
{
	size_t n = m->what == POWER_WRITE ? dice(f) % m->len : 0;
	struct bytes *b = &f->files[m->file];

	if (m->what != POWER_WRITE)
		return;
	put(f, m, 0, n, false);
	switch (dice(f) % 3) {
	case 0:
		put(f, m, n, m->len, true);
		break;
	case 1:
		bytes_resize(b, GT_MAX(b->len, (size_t)m->at + m->len));
		memset(b->data + (size_t)m->at + n, 0, m->len - n);
		break;
	default:
		break;
	}
}

static bool is_name(const struct moment *m)
{
	return m->what == POWER_CREATE || m->what == POWER_DELETE;
}

/* What a sync makes sure of is there from then on. */
static void sync_up_to(struct found *f, const struct moment *sync)
{
	size_t kept = 0;

	for (size_t i = 0; i < f->n_open; i++) {
		const struct moment *m = f->open[i];
		bool mine = sync->what == POWER_SYNC
				    ? !is_name(m) && m->file == sync->file
				    : is_name(m) && (strncmp(m->name, "bodies/", 7) == 0) ==
							    (sync->file == 1);

		if (mine)
			apply(f, m);
		else
			f->open[kept++] = m;
	}
	f->n_open = kept;
}

static bool is_log(const struct found *f, unsigned file)
{
	for (unsigned i = 0; i < f->n_names; i++)
		if (f->names[i].file == (int)file)
			return strstr(f->names[i].name, "-wal") != NULL;
	return false;
}

static void lose(struct found *f, enum power_luck luck)
{
	const struct moment *last = f->n_open ? f->open[f->n_open - 1] : NULL;

	for (size_t i = 0; i < f->n_open && luck != POWER_NONE; i++) {
		if (luck == POWER_ANY)
			apply_any(f, f->open[i]);
		else if (luck == POWER_TORN && f->open[i] == last)
			apply_torn(f, last);
		else
			apply(f, f->open[i]);
	}
	if (luck == POWER_SHORT && last && last->what == POWER_WRITE && is_log(f, last->file))
		bytes_resize(&f->files[last->file], (size_t)last->at + last->len);
}

static void write_file(const char *dir, const char *name, const struct bytes *b)
{
	char path[192];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || pwrite(fd, b->data ? b->data : "", b->len, 0) != (ssize_t)b->len)
		abort();
	close(fd);
}

static void empty(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;

	if (!dir)
		abort();
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(dir), e->d_name, 0); /* not the directory */
	closedir(dir);
}

void power_image(const struct power *p, size_t at, enum power_luck luck, uint64_t seed,
		 const char *dir)
{
	struct found *f = gt_alloc(sizeof(*f));
	char bodies[128];

	f->p = p;
	f->seed = seed * 0x9e3779b97f4a7c15ULL + at + 1;
	f->open = gt_alloc_array(at + 1, sizeof(struct moment *));
	for (unsigned i = 0; i < p->n_before; i++) {
		name_set(f, p->names[i], (int)i);
		bytes_resize(&f->files[i], p->before[i].len);
		if (p->before[i].len)
			memcpy(f->files[i].data, p->before[i].data, p->before[i].len);
	}
	for (size_t i = 0; i < at; i++) {
		const struct moment *m = &p->moments[i];

		if (m->what == POWER_SYNC || m->what == POWER_SYNC_NAMES)
			sync_up_to(f, m);
		else if (m->what != POWER_MARK)
			f->open[f->n_open++] = m;
	}
	lose(f, luck);
	snprintf(bodies, sizeof(bodies), "%s/bodies", dir);
	empty(dir);
	empty(bodies);
	for (unsigned i = 0; i < f->n_names; i++)
		if (f->names[i].file >= 0)
			write_file(dir, f->names[i].name, &f->files[f->names[i].file]);
	for (unsigned i = 0; i < p->n_files; i++)
		free(f->files[i].data);
	free(f->open);
	free(f);
}
