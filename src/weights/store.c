/* store.c - see weights/store.h. */
#include <gantry/weights/store.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>
#include <gantry/os/os.h>

#define HUGE      (2 * GT_MIB)
#define PART      ".part"
#define FILES_MAX 4096
#define FILE_SIZE (GT_WEIGHTS_NAME_SIZE + sizeof(PART))

struct gt_weights_copy {
	char name[GT_WEIGHTS_NAME_SIZE];
	uint64_t size, bytes; /* bytes: of memory */
	unsigned pins;
	bool complete;
	struct gt_weights_copy *prev, *next; /* store->copies */
	UT_hash_handle hh;                   /* by name */
};

struct gt_weights_store {
	int dir_fd;
	struct gt_weights_room room;
	struct gt_weights_copy *by_name;
	struct gt_weights_copy *copies; /* the one used longest ago first */
	size_t n;
};

static void part_name(const struct gt_weights_copy *c, char ret[FILE_SIZE])
{
	snprintf(ret, FILE_SIZE, "%s%s", c->name, c->complete ? "" : PART);
}

static uint64_t rounded(uint64_t size)
{
	return (size + HUGE - 1) / HUGE * HUGE;
}

static struct gt_weights_copy *copy_new(struct gt_weights_store *s, const char *name, uint64_t size,
					bool complete)
{
	struct gt_weights_copy *c = gt_alloc(sizeof(*c));

	gt_strcopy(c->name, sizeof(c->name), name);
	c->size = size;
	c->bytes = rounded(size);
	c->complete = complete;
	s->room.used += c->bytes;
	s->n++;
	HASH_ADD_STR(s->by_name, name, c);
	DL_APPEND(s->copies, c);
	return c;
}

static void copy_free(struct gt_weights_store *s, struct gt_weights_copy *c)
{
	s->room.used -= c->bytes;
	s->n--;
	HASH_DEL(s->by_name, c);
	DL_DELETE(s->copies, c);
	free(c);
}

void gt_weights_store_drop(struct gt_weights_store *s, struct gt_weights_copy *c)
{
	char file[FILE_SIZE];

	part_name(c, file);
	unlinkat(s->dir_fd, file, 0);
	copy_free(s, c);
}

/* ---- taking up ---- */

static int load(struct gt_weights_store *s, struct gt_err *err)
{
	DIR *d = gt_os_list(s->dir_fd);
	struct dirent *e;
	struct stat st;

	if (!d)
		return gt_err_errno(err, errno, "list the weight store");
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		if (strlen(e->d_name) >= GT_WEIGHTS_NAME_SIZE || strchr(e->d_name, '.') ||
		    fstatat(s->dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			unlinkat(s->dir_fd, e->d_name, 0);
		else
			copy_new(s, e->d_name, (uint64_t)st.st_size, true);
	}
	closedir(d);
	return 0;
}

int gt_weights_store_open_at(int dir_fd, uint64_t bytes, struct gt_weights_store **ret,
			     struct gt_err *err)
{
	struct gt_weights_store *s = gt_alloc(sizeof(*s));
	int r;

	s->dir_fd = dir_fd;
	s->room.bytes = bytes;
	r = load(s, err);
	if (r < 0) {
		gt_weights_store_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void gt_weights_store_close(struct gt_weights_store *s)
{
	if (!s)
		return;
	while (s->copies)
		copy_free(s, s->copies);
	gt_close(s->dir_fd);
	free(s);
}

/* ---- one file ---- */

struct gt_weights_copy *gt_weights_store_find(struct gt_weights_store *s, const char *name)
{
	struct gt_weights_copy *c;

	HASH_FIND_STR(s->by_name, name, c);
	return c && c->complete ? c : NULL;
}

static bool may_go(const struct gt_weights_copy *c)
{
	return c->complete && c->pins == 0;
}

static int make_room(struct gt_weights_store *s, uint64_t bytes, struct gt_err *err)
{
	struct gt_weights_copy *c, *next;
	uint64_t left = s->room.used;

	DL_FOREACH (s->copies, c)
		left -= may_go(c) ? c->bytes : 0;
	if (left + bytes > s->room.bytes || s->n >= FILES_MAX)
		return gt_err_set(err, ENOSPC, "store_full",
				  "the node's weight store has %llu MiB, of which %llu are in use; "
				  "%llu more are needed (weight_store in its configuration)",
				  (unsigned long long)(s->room.bytes / GT_MIB),
				  (unsigned long long)(left / GT_MIB),
				  (unsigned long long)(bytes / GT_MIB));
	DL_FOREACH_SAFE (s->copies, c, next) {
		if (s->room.used + bytes <= s->room.bytes)
			break;
		if (may_go(c))
			gt_weights_store_drop(s, c);
	}
	return 0;
}

int gt_weights_store_add(struct gt_weights_store *s, const struct gt_weights_id *id,
			 struct gt_weights_copy **ret, int *ret_fd, struct gt_err *err)
{
	char name[GT_WEIGHTS_NAME_SIZE], file[FILE_SIZE];
	struct gt_weights_copy *c;
	int fd, r;

	gt_weights_id_name(id, name);
	HASH_FIND_STR(s->by_name, name, c);
	if (c)
		return gt_err_set(err, EEXIST, "internal", "%s is in the store", name);
	r = make_room(s, rounded(id->size), err);
	if (r < 0)
		return r;
	snprintf(file, sizeof(file), "%s" PART, name);
	fd = openat(s->dir_fd, file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return gt_err_errno(err, errno, "make a file in the weight store");
	c = copy_new(s, name, id->size, false);
	c->pins = 1;
	*ret = c;
	*ret_fd = fd;
	return 0;
}

int gt_weights_store_seal(struct gt_weights_store *s, struct gt_weights_copy *c,
			  const struct gt_weights_id *id, struct gt_err *err)
{
	const struct timespec at = { .tv_sec = id->mtime_ns / 1000000000,
				     .tv_nsec = id->mtime_ns % 1000000000 };
	const struct timespec times[2] = { at, at };
	char file[FILE_SIZE];

	part_name(c, file);
	if (fchownat(s->dir_fd, file, id->uid, id->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(s->dir_fd, file, id->mode & 0555, 0) < 0 ||
	    utimensat(s->dir_fd, file, times, AT_SYMLINK_NOFOLLOW) < 0 ||
	    renameat(s->dir_fd, file, s->dir_fd, c->name) < 0)
		return gt_err_errno(err, errno, "seal a file in the weight store");
	c->complete = true;
	return 0;
}

void gt_weights_store_pin(struct gt_weights_store *s, struct gt_weights_copy *c)
{
	c->pins++;
	DL_DELETE(s->copies, c);
	DL_APPEND(s->copies, c);
}

void gt_weights_store_unpin(struct gt_weights_store *s, struct gt_weights_copy *c)
{
	c->pins--;
	DL_DELETE(s->copies, c);
	DL_APPEND(s->copies, c);
}

uint64_t gt_weights_copy_size(const struct gt_weights_copy *c)
{
	return c->size;
}

int gt_weights_copy_open(const struct gt_weights_store *s, const struct gt_weights_copy *c,
			 int *ret, struct gt_err *err)
{
	int fd = openat(s->dir_fd, c->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return gt_err_errno(err, errno, "open a file of the weight store");
	*ret = fd;
	return 0;
}

struct gt_weights_room gt_weights_store_room(const struct gt_weights_store *s)
{
	return s->room;
}

/* ---- the mount ---- */

static char *dir_of(const char *state_dir)
{
	return gt_asprintf("%s/agent/weights", state_dir);
}

/* Mounted there, not merely a directory on some tmpfs. */
static bool is_mounted(const char *dir)
{
	gt_auto(free) char *up = gt_asprintf("%s/..", dir);
	struct stat here, above;
	struct statfs fs;

	return stat(dir, &here) == 0 && stat(up, &above) == 0 && here.st_dev != above.st_dev &&
	       statfs(dir, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

int gt_weights_store_mount(const char *state_dir, uint64_t bytes, struct gt_err *err)
{
	/* Swapped out weights would be read from a disk again, and slower. */
	static const char *const more[] = { ",huge=always,noswap", ",huge=always", "" };
	gt_auto(free) char *dir = dir_of(state_dir), *agent = gt_asprintf("%s/agent", state_dir);
	bool again = is_mounted(dir);
	int r = 0;

	if (bytes == 0)
		return gt_weights_store_unmount(state_dir, err);
	r = gt_os_mkdir_at(AT_FDCWD, agent, 0700, err);
	if (r == 0)
		r = gt_os_mkdir_at(AT_FDCWD, dir, 0700, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < GT_LEN(more); i++) {
		gt_auto(free) char *options = gt_asprintf(
			"mode=0700,size=%llu%s", (unsigned long long)bytes, again ? "" : more[i]);

		r = gt_os_tmpfs_mount(dir, options, again, err);
		if (r == 0 && !again && !more[i][0])
			gt_warn("the weight store has no huge pages: this kernel has none for "
				"tmpfs");
		if (r == 0 || again)
			return r;
	}
	return r;
}

int gt_weights_store_unmount(const char *state_dir, struct gt_err *err)
{
	gt_auto(free) char *dir = dir_of(state_dir);

	return is_mounted(dir) ? gt_os_unmount(dir, err) : 0;
}

/* From the table of mounts, as statfs does not tell: the last one at this place. */
static bool has_huge_pages(const char *dir)
{
	gt_auto(free) char *real = realpath(dir, NULL), *line = NULL;
	FILE *f = fopen("/proc/self/mountinfo", "re");
	bool huge = false;
	size_t size = 0;

	while (f && real && getline(&line, &size, f) > 0) {
		char *at = strstr(line, real);

		if (at && at[-1] == ' ' && at[strlen(real)] == ' ')
			huge = strstr(at, "huge=always") != NULL;
	}
	if (f)
		fclose(f);
	return huge;
}

int gt_weights_store_open(const char *state_dir, struct gt_weights_store **ret, struct gt_err *err)
{
	gt_auto(free) char *dir = dir_of(state_dir);
	struct statfs fs;
	int fd, r;

	if (!is_mounted(dir))
		return gt_err_set(err, ENOENT, "not_found", "there is no weight store at %s", dir);
	r = gt_os_open_dir(AT_FDCWD, dir, &fd, err);
	if (r < 0)
		return r;
	if (fstatfs(fd, &fs) < 0) {
		gt_close(fd);
		return gt_err_errno(err, errno, "%s", dir);
	}
	r = gt_weights_store_open_at(fd, (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize, ret, err);
	if (r == 0)
		(*ret)->room.huge = has_huge_pages(dir);
	return r;
}
