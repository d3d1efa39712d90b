/* scan.c - see weights/scan.h. */
#include <gantry/weights/scan.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

#define TRIES     16 /* while somebody renames beside us */
#define PARTS_MAX 32
#define CACHESTAT 451

struct scan {
	int root;
	gt_weights_found_fn *fn;
	void *arg;
	char path[PATH_MAX]; /* so far, below root */
	size_t names, files, parts;
	bool ended;
};

void gt_weights_id_name(const struct gt_weights_id *id, char ret[GT_WEIGHTS_NAME_SIZE])
{
	snprintf(ret, GT_WEIGHTS_NAME_SIZE, "%llx-%llx-%llx-%llx-%llx", (unsigned long long)id->dev,
		 (unsigned long long)id->ino, (unsigned long long)id->size,
		 (unsigned long long)id->mtime_ns, (unsigned long long)id->ctime_ns);
}

static int64_t ns_of(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

int gt_weights_id_of(int fd, struct gt_weights_id *ret, struct gt_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "look at a file of weights");
	*ret = (struct gt_weights_id){ .dev = st.st_dev,
				       .ino = st.st_ino,
				       .size = (uint64_t)st.st_size,
				       .mtime_ns = ns_of(&st.st_mtim),
				       .ctime_ns = ns_of(&st.st_ctim),
				       .mode = st.st_mode,
				       .uid = st.st_uid,
				       .gid = st.st_gid };
	return 0;
}

/* Paths are walked from the root each time: a link may lead anywhere below it. */
static int open_below(int root, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS |
					   RESOLVE_NO_XDEV };
	int fd, tries = 0;

	do {
		fd = (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof(how));
	} while (fd < 0 && (errno == EINTR || errno == EAGAIN) && ++tries < TRIES);
	return fd;
}

/* By its descriptor: the very file that was looked at. */
static int reopen(int at)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", at);
	return open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static uint64_t resident_by_mincore(int fd, uint64_t size)
{
	uint64_t pages = 0, page = (uint64_t)sysconf(_SC_PAGESIZE);
	size_t n = (size_t)((size + page - 1) / page);
	unsigned char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0), *seen;

	if (map == MAP_FAILED)
		return 0;
	seen = gt_alloc(n);
	if (mincore(map, size, seen) == 0)
		for (size_t i = 0; i < n; i++)
			pages += seen[i] & 1;
	free(seen);
	munmap(map, size);
	return GT_MIN(pages * page, size);
}

static uint64_t resident_of(int fd, uint64_t size)
{
	struct { /* of the kernel's cachestat(2), since 6.5 */
		uint64_t off, len;
	} range = { 0, size };
	struct {
		uint64_t cache, dirty, writeback, evicted, recently_evicted;
	} stat;

	if (syscall(CACHESTAT, fd, &range, &stat, 0) < 0)
		return resident_by_mincore(fd, size);
	return GT_MIN(stat.cache * (uint64_t)sysconf(_SC_PAGESIZE), size);
}

/* Of a file that could not be opened or looked at (errno): it is passed over, as the program will
 * not be able to read it either, unless it is this process that lacks something. */
static int passed_over(const struct scan *s, struct gt_err *err)
{
	if (gt_err_is_want(errno))
		return gt_err_errno(err, errno, "weights: %s", *s->path ? s->path : ".");
	return 0;
}

static int found(struct scan *s, int at, struct gt_err *err)
{
	struct gt_weights_found f = { .path = s->path };
	struct stat st;

	if (fstat(at, &st) < 0)
		return passed_over(s, err);
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return 0;
	if (++s->files > GT_WEIGHTS_FILES_MAX)
		return gt_err_set(err, E2BIG, "weights_many", "more than %d files",
				  GT_WEIGHTS_FILES_MAX);
	gt_auto(fd) int fd = reopen(at);
	if (fd < 0 || gt_weights_id_of(fd, &f.id, NULL) < 0)
		return passed_over(s, err);
	f.fd = fd;
	f.resident = resident_of(fd, f.id.size);
	s->ended = !s->fn(&f, s->arg);
	return 0;
}

static int walk(struct scan *s, const char *pattern, struct gt_err *err);

/* One more component below what s->path says, then the rest of the pattern. */
static int step(struct scan *s, const char *name, const char *rest, struct gt_err *err)
{
	size_t len = strlen(s->path);
	int r = 0;

	if (snprintf(s->path + len, sizeof(s->path) - len, "%s%s", len ? "/" : "", name) <
	    (int)(sizeof(s->path) - len))
		r = walk(s, rest, err);
	s->path[len] = '\0';
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list(struct scan *s, const char *match, char ***ret, size_t *n, struct gt_err *err)
{
	int fd = open_below(s->root, s->path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!d) {
		r = passed_over(s, err);
		gt_close(fd);
		return r;
	}
	while (r == 0 && (errno = 0, e = readdir(d))) {
		if (++s->names > GT_WEIGHTS_NAMES_MAX)
			r = gt_err_set(err, E2BIG, "weights_many",
				       "more than %d names to look through", GT_WEIGHTS_NAMES_MAX);
		else if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
			 fnmatch(match, e->d_name, FNM_PERIOD) == 0) {
			*ret = gt_grow(*ret, *n + 1, sizeof(**ret));
			(*ret)[(*n)++] = gt_strdup(e->d_name);
		}
	}
	if (r == 0)
		r = passed_over(s, err);
	closedir(d);
	if (*n > 1)
		qsort(*ret, *n, sizeof(**ret), by_name);
	return r;
}

static int walk_names(struct scan *s, const char *match, const char *rest, struct gt_err *err)
{
	char **names = NULL;
	size_t n = 0;
	int r = list(s, match, &names, &n, err);

	for (size_t i = 0; r == 0 && !s->ended && i < n; i++)
		r = step(s, names[i], rest, err);
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return r;
}

static int walk(struct scan *s, const char *pattern, struct gt_err *err)
{
	size_t len = strcspn(pattern, "/");
	const char *rest = pattern + len + (pattern[len] == '/');
	char part[NAME_MAX + 1];
	int r;

	if (*pattern == '\0') {
		gt_auto(fd) int at = open_below(s->root, s->path, O_PATH);

		return at < 0 ? passed_over(s, err) : found(s, at, err);
	}
	if (len > NAME_MAX || ++s->parts > PARTS_MAX)
		return gt_err_set(err, ENAMETOOLONG, "weights_many", "the pattern is too long");
	memcpy(part, pattern, len);
	part[len] = '\0';
	r = strpbrk(part, "*?[") ? walk_names(s, part, rest, err) : step(s, part, rest, err);
	s->parts--;
	return r;
}

int gt_weights_scan(int root, const char *pattern, gt_weights_found_fn *fn, void *arg,
		    struct gt_err *err)
{
	gt_auto(free) struct scan *s = gt_alloc(sizeof(*s));
	int r;

	s->root = root;
	s->fn = fn;
	s->arg = arg;
	r = *pattern ? walk(s, pattern, err) : found(s, root, err);
	if (r == 0 && s->files == 0)
		return gt_err_set(err, ENOENT, "weights_missing", "there is no such file");
	return r;
}
