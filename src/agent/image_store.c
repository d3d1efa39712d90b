/* image_store.c - images.h's files: opened, checked at the start, taken over from the worker. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/clock.h>
#include <gantry/base/log.h>
#include <gantry/os/os.h>
#include <gantry/wire/image.h>

#include "agent_impl.h"
#include "images.h"

#define PATH_SIZE 128
#define BOOT_FILE "boot"
#define BOOT_ID   "/proc/sys/kernel/random/boot_id"

static const char *path_of(const char *digest, const char *end, char out[PATH_SIZE])
{
	snprintf(out, PATH_SIZE, "%.64s%s", gt_digest_hex(digest), end);
	return out;
}

static bool exists(int dir, const char *digest, const char *end)
{
	char path[PATH_SIZE];

	return faccessat(dir, path_of(digest, end, path), F_OK, 0) == 0;
}

/* ---- layers ---- */

static struct image_layer *layer_find(const struct images *im, const char *diff_id)
{
	struct image_layer *l;

	HASH_FIND_STR(im->layers, diff_id, l);
	return l;
}

uint64_t gt_image_layer_bytes(const struct images *im, const char *diff_id)
{
	const struct image_layer *l = layer_find(im, diff_id);

	return l ? l->tar_bytes : 0;
}

static void layer_add(struct images *im, const char *diff_id)
{
	struct image_layer *l = layer_find(im, diff_id);
	char path[PATH_SIZE];
	struct stat st;

	if (l || fstatat(im->layers_fd, path_of(diff_id, ".tar", path), &st, 0) < 0)
		return;
	l = gt_alloc(sizeof(*l));
	gt_strcopy(l->diff_id, sizeof(l->diff_id), diff_id);
	l->tar_bytes = (uint64_t)st.st_size;
	l->since_ms = (uint64_t)st.st_ctim.tv_sec * 1000; /* its owner was changed when it came */
	l->mount = -EBADF;
	HASH_ADD_STR(im->layers, diff_id, l);
}

/* Moved to the worker, which has the time to let the file system free them. The index goes first:
 * without it there is no layer. */
static uint64_t layer_remove(struct images *im, struct image_layer *l)
{
	static const char *const ends[] = { ".erofs", ".ok", ".tar" };
	uint64_t bytes = l->tar_bytes;

	for (size_t i = 0; i < GT_LEN(ends); i++) {
		char path[PATH_SIZE], trash[PATH_SIZE + 8];

		path_of(l->diff_id, ends[i], path);
		snprintf(trash, sizeof(trash), GT_IMAGE_TRASH "%s", path);
		if (renameat(im->layers_fd, path, im->work_fd, trash) < 0)
			unlinkat(im->layers_fd, path, 0);
	}
	if (l->unpacked)
		gt_image_tree_drop(im, l->diff_id);
	HASH_DEL(im->layers, l);
	gt_close(l->mount);
	free(l);
	return bytes;
}

/* NULL also when somebody took one of its files away: then it is fetched again. */
static struct image_layer *layer_here(struct images *im, const char *diff_id)
{
	struct image_layer *l = layer_find(im, diff_id);

	if (!l || l->mount >= 0 ||
	    (exists(im->layers_fd, diff_id, ".tar") && exists(im->layers_fd, diff_id, ".erofs")))
		return l;
	gt_warn("layer %.19s has lost a file", diff_id);
	layer_remove(im, l);
	return NULL;
}

/* The worker is not trusted: what was opened is what becomes ours, if it is a plain file that has
 * no other name. A link, unlike a renaming, can not be led to another file, nor replace one. */
static int take_file(struct images *im, const char *file, const char *end, const char *diff_id,
		     struct gt_err *err)
{
	char from[PATH_SIZE], to[PATH_SIZE];
	struct stat st;

	snprintf(from, sizeof(from), "%.31s%s", file, end);
	gt_auto(fd) int fd = openat(im->work_fd, from,
				    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "open %s of the image worker", from);
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return gt_err_errno(err, EINVAL, "%s of the image worker", from);
	if (fchown(fd, 0, 0) < 0 || fchmod(fd, 0444) < 0 ||
	    linkat(fd, "", im->layers_fd, path_of(diff_id, end, to), AT_EMPTY_PATH) < 0)
		return gt_err_errno(err, errno, "take over %s of the image worker", from);
	unlinkat(im->work_fd, from, 0);
	return 0;
}

static void unlink_part(struct images *im, const char *diff_id, const char *end)
{
	char path[PATH_SIZE];

	unlinkat(im->layers_fd, path_of(diff_id, end, path), 0);
}

int gt_image_layer_keep(struct images *im, const char *file, const char *diff_id,
			struct gt_err *err)
{
	int r;

	if (!gt_digest_ok(diff_id) || strchr(file, '/'))
		return gt_err_errno(err, EINVAL, "layer of the image worker");
	/* It looks before it begins: this one is a mistake, or a lie. */
	if (layer_here(im, diff_id))
		return gt_err_errno(err, EEXIST, "layer %.19s of the image worker", diff_id);
	unlink_part(im, diff_id, ".erofs");
	unlink_part(im, diff_id, ".tar");
	r = take_file(im, file, ".tar", diff_id, err);
	if (r == 0)
		r = take_file(im, file, ".erofs", diff_id, err);
	if (r == 0)
		layer_add(im, diff_id);
	else
		unlink_part(im, diff_id, ".tar");
	return r;
}

bool gt_image_layer_synced(struct images *im, const char *diff_id)
{
	char path[PATH_SIZE];

	if (!gt_digest_ok(diff_id) || !layer_find(im, diff_id))
		return false;
	gt_close(openat(im->layers_fd, path_of(diff_id, ".ok", path),
			O_WRONLY | O_CREAT | O_CLOEXEC, 0444));
	return true;
}

int gt_image_layer_open(const struct images *im, const char *diff_id, const char *end, int *ret,
			struct gt_err *err)
{
	char path[PATH_SIZE];
	int fd = openat(im->layers_fd, path_of(diff_id, end, path),
			O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return gt_err_errno(err, errno, "open layer %s", path);
	*ret = fd;
	return 0;
}

/* ---- records ---- */

static void image_free(struct images *im, struct image *image)
{
	HASH_DEL(im->images, image);
	gt_image_record_free(image->record);
	free(image);
}

static bool is_complete(struct images *im, const struct gt_image_record *r)
{
	for (size_t i = 0; i < r->n_layers; i++) {
		if (!layer_here(im, r->layers[i].diff_id))
			return false;
	}
	return true;
}

static struct image *find_by_index(const struct images *im, const char *digest)
{
	struct image *image, *next;

	HASH_ITER (hh, im->images, image, next) {
		if (digest[0] && gt_streq(image->record->index, digest))
			return image;
	}
	return NULL;
}

struct image *gt_image_find(struct images *im, const char *digest)
{
	struct image *image;

	HASH_FIND_STR(im->images, digest, image);
	if (!image)
		image = find_by_index(im, digest);
	return image && is_complete(im, image->record) ? image : NULL;
}

struct image *gt_image_bundle_find(struct images *im, const char *digest)
{
	struct image *image = gt_image_find(im, digest);

	return image && image->record->n_layers == 1 &&
			       gt_streq(image->record->layers[0].digest, digest)
		       ? image
		       : NULL;
}

static struct image *image_add(struct images *im, struct gt_image_record *record, uint64_t used_ms)
{
	struct image *image;

	HASH_FIND_STR(im->images, record->digest, image);
	if (image) {
		/* Its key is inside the record that is about to go. */
		HASH_DEL(im->images, image);
		gt_image_record_free(image->record);
	} else {
		image = gt_alloc(sizeof(*image));
	}
	image->record = record;
	image->used_ms = used_ms;
	HASH_ADD_KEYPTR(hh, im->images, image->record->digest, strlen(image->record->digest),
			image);
	return image;
}

/* Remembered by the file's own time. */
void gt_image_used(struct images *im, struct image *image)
{
	char path[PATH_SIZE];

	image->used_ms = gt_wall_ms(&gt_clock_system);
	utimensat(im->records_fd, path_of(image->record->digest, ".json", path), NULL, 0);
}

static int read_record(int dir, const char *file, struct gt_image_record **ret, uint64_t *ret_ms,
		       struct gt_err *err)
{
	gt_auto(fd) int fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	gt_auto(buf) struct gt_buf text = { 0 };
	struct stat st;
	char *room;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "open record %s", file);
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > GT_IMAGE_RECORD_MAX)
		return gt_err_errno(err, EINVAL, "record %s", file);
	gt_buf_init(&text, GT_IMAGE_RECORD_MAX + 1);
	room = gt_buf_reserve(&text, (size_t)st.st_size);
	n = room ? read(fd, room, (size_t)st.st_size) : -1;
	if (n != st.st_size)
		return gt_err_errno(err, EIO, "read record %s", file);
	if (ret_ms)
		*ret_ms = (uint64_t)st.st_mtim.tv_sec * 1000;
	return gt_image_record_read(room, (size_t)n, ret, err);
}

int gt_image_record_take(struct images *im, const char *file, struct gt_image_record **ret,
			 struct gt_err *err)
{
	int r;

	if (strchr(file, '/'))
		return gt_err_errno(err, EINVAL, "record of the image worker");
	r = read_record(im->work_fd, file, ret, NULL, err);
	unlinkat(im->work_fd, file, 0);
	return r;
}

static int write_record(struct images *im, const struct gt_image_record *record, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	char path[PATH_SIZE];
	ssize_t n;

	gt_buf_init(&text, 2 * GT_IMAGE_RECORD_MAX);
	gt_image_record_write(record, &text);
	gt_auto(fd) int fd = openat(im->records_fd, "new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
				    0600);
	n = fd < 0 ? -1 : write(fd, text.data, text.len);
	if (n >= 0 && (size_t)n < text.len)
		errno = ENOSPC;
	if (n != (ssize_t)text.len || renameat(im->records_fd, "new", im->records_fd,
					       path_of(record->digest, ".json", path)) < 0)
		return gt_err_set(err, errno, "storage_full", "write the record of image %s: %s",
				  record->name, strerror(errno));
	return 0;
}

/* The worker says what an image consists of, but not of which one it speaks. */
static int check_record(const char *ordered, struct gt_image_record *r, struct gt_err *err)
{
	struct gt_ref ref = { 0 };
	bool is_bundle = gt_digest_ok(ordered);
	const char *pinned = is_bundle ? ordered : ref.digest;
	int res = is_bundle ? 0 : gt_ref_parse(ordered, &ref, err);

	if (res < 0)
		return res;
	if (!gt_digest_ok(r->digest) || (is_bundle && r->n_layers != 1) ||
	    (pinned[0] && !gt_streq(r->digest, pinned) && !gt_streq(r->index, pinned)))
		return gt_err_set(err, EBADMSG, "image_invalid",
				  "the image worker answered with another image than %s", ordered);
	/* Only who asked for the index by its digest has checked that it leads here. */
	if (!gt_streq(r->index, pinned))
		r->index[0] = '\0';
	return 0;
}

int gt_image_record_keep(struct images *im, const char *ordered, struct gt_image_record **record,
			 struct image **ret, struct gt_err *err)
{
	struct gt_image_record *r = *record;
	struct image *image;
	int res = check_record(ordered, r, err);

	if (res < 0)
		return res;
	if (!is_complete(im, r))
		return gt_err_set(err, ESTALE, "sandbox_failed", "a layer of image %s is not here",
				  r->name ? r->name : r->digest);
	HASH_FIND_STR(im->images, r->digest, image);
	if (image && is_complete(im, image->record)) {
		/* One digest, one content: nothing but its names can be new. */
		char *name = image->record->name;

		image->record->name = r->name;
		r->name = name;
		image->record->pulled_ms = r->pulled_ms;
		if (r->index[0])
			gt_strcopy(image->record->index, sizeof(r->index), r->index);
		r = image->record;
	}
	res = write_record(im, r, err);
	if (res < 0)
		return res;
	if (r == *record)
		image = image_add(im, gt_steal(record), 0);
	image->used_ms = gt_wall_ms(&gt_clock_system);
	*ret = image;
	return 0;
}

static bool is_shared(const struct images *im, const char *diff_id)
{
	struct image *image, *next;

	HASH_ITER (hh, im->images, image, next) {
		for (size_t i = 0; i < image->record->n_layers; i++) {
			if (gt_streq(image->record->layers[i].diff_id, diff_id))
				return true;
		}
	}
	return false;
}

static uint64_t layer_unneeded(struct images *im, struct image_layer *l)
{
	return l && !is_shared(im, l->diff_id) ? layer_remove(im, l) : 0;
}

uint64_t gt_image_remove(struct images *im, struct image *image)
{
	struct gt_image_record *r = image->record;
	char path[PATH_SIZE];
	uint64_t bytes = 0;

	unlinkat(im->records_fd, path_of(r->digest, ".json", path), 0);
	HASH_DEL(im->images, image);
	free(image);
	for (size_t i = 0; i < r->n_layers; i++)
		bytes += layer_unneeded(im, layer_find(im, r->layers[i].diff_id));
	gt_image_record_free(r);
	return bytes;
}

uint64_t gt_image_orphans_remove(struct images *im, uint64_t since_ms)
{
	struct image_layer *l, *next;
	uint64_t bytes = 0;

	HASH_ITER (hh, im->layers, l, next) {
		if (l->since_ms < since_ms)
			bytes += layer_unneeded(im, l);
	}
	return bytes;
}

unsigned gt_image_uploads_drop(struct images *im, uint64_t since_ms)
{
	DIR *d = gt_os_list(im->work_fd);
	struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d))) {
		char trash[sizeof(e->d_name) + sizeof(GT_IMAGE_TRASH)];
		struct stat st;

		if (!gt_starts_with(e->d_name, GT_IMAGE_UPLOAD) ||
		    fstatat(im->work_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    (uint64_t)st.st_mtim.tv_sec * 1000 >= since_ms)
			continue;
		snprintf(trash, sizeof(trash), GT_IMAGE_TRASH "%s", e->d_name);
		n += renameat(im->work_fd, e->d_name, im->work_fd, trash) == 0;
	}
	if (d)
		closedir(d);
	return n;
}

/* ---- the start ---- */

/* A start that does not see what there is would throw it away. */
static int each(int dir, void (*fn)(struct images *im, const char *name), struct images *im,
		struct gt_err *err)
{
	DIR *d = gt_os_list(dir);
	struct dirent *e;
	int r = 0;

	if (!d)
		return gt_err_errno(err, errno, "list what is kept of images");
	while ((errno = 0, e = readdir(d))) {
		if (e->d_name[0] != '.')
			fn(im, e->d_name);
	}
	if (errno)
		r = gt_err_errno(err, errno, "list what is kept of images");
	closedir(d);
	return r;
}

/* "<64 hex><end>" as a digest. */
static bool digest_of(const char *name, const char *end, char out[GT_REF_DIGEST_SIZE])
{
	size_t len = strcspn(name, ".");

	if (len != 64 || !gt_streq(name + len, end))
		return false;
	snprintf(out, GT_REF_DIGEST_SIZE, "sha256:%.64s", name);
	return gt_digest_ok(out);
}

static void load_layer(struct images *im, const char *name)
{
	char digest[GT_REF_DIGEST_SIZE];

	if (digest_of(name, ".erofs", digest))
		layer_add(im, digest);
}

/* An archive whose index never came, or the other way round. */
static void drop_stray(struct images *im, const char *name)
{
	char digest[GT_REF_DIGEST_SIZE];
	bool part = digest_of(name, ".tar", digest) || digest_of(name, ".erofs", digest) ||
		    digest_of(name, ".ok", digest);

	if (part && !layer_find(im, digest))
		unlinkat(im->layers_fd, name, 0);
}

static void drop_unsynced(struct images *im, const char *name)
{
	char digest[GT_REF_DIGEST_SIZE], path[PATH_SIZE];

	if (digest_of(name, ".erofs", digest) && !exists(im->layers_fd, digest, ".ok")) {
		gt_info("layer %.19s was not on the disk when the machine stopped: removed",
			digest);
		unlinkat(im->layers_fd, path_of(digest, ".erofs", path), 0);
	}
}

/* After a crash of the machine what was never synced may hold anything. */
static int check_boot(struct images *im, struct gt_err *err)
{
	char now[64] = "", before[64] = "";

	gt_os_read_at(AT_FDCWD, BOOT_ID, now, sizeof(now), NULL);
	if (gt_os_read_at(im->layers_fd, BOOT_FILE, before, sizeof(before), NULL) >= 0 &&
	    gt_streq(now, before))
		return 0;
	im->new_boot = true;
	if (each(im->layers_fd, drop_unsynced, im, err) < 0)
		return -err->code;
	gt_auto(fd) int fd = openat(im->layers_fd, BOOT_FILE,
				    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0)
		dprintf(fd, "%s\n", now);
	return 0;
}

static void load_record(struct images *im, const char *name)
{
	struct gt_image_record *record = NULL;
	char digest[GT_REF_DIGEST_SIZE];
	struct gt_err err = { 0 };
	uint64_t used_ms = 0;

	if (digest_of(name, ".json", digest) &&
	    read_record(im->records_fd, name, &record, &used_ms, &err) == 0 &&
	    gt_streq(record->digest, digest) && is_complete(im, record)) {
		image_add(im, record, used_ms);
		return;
	}
	gt_debug("image record %s is not complete: removed %s", name, err.text);
	gt_image_record_free(record);
	unlinkat(im->records_fd, name, 0);
}

static int open_dir(int parent, const char *name, mode_t mode, uid_t uid, gid_t gid, int *ret,
		    struct gt_err *err)
{
	gt_auto(fd) int fd = -EBADF;
	int r = gt_os_mkdir_at(parent, name, mode, err);

	if (r == 0)
		r = gt_os_open_dir(parent, name, &fd, err);
	if (r == 0 && (fchmod(fd, mode) < 0 || fchown(fd, uid, gid) < 0))
		r = gt_err_errno(err, errno, "owner of %s", name);
	if (r == 0)
		*ret = gt_steal_fd(&fd);
	return r;
}

int gt_image_store_open(struct images *im, const char *dir, struct gt_err *err)
{
	int r = open_dir(AT_FDCWD, dir, 0711, 0, 0, &im->dir_fd, err);

	if (r == 0)
		r = open_dir(im->dir_fd, "records", 0700, 0, 0, &im->records_fd, err);
	if (r == 0)
		r = open_dir(im->dir_fd, "layers", 0755, 0, 0, &im->layers_fd, err);
	if (r == 0)
		r = open_dir(im->dir_fd, "trees", 0700, 0, 0, &im->trees_fd, err);
	if (r == 0)
		r = open_dir(im->dir_fd, "work", 0700, im->config.uid, im->config.gid, &im->work_fd,
			     err);
	if (r < 0)
		return gt_err_wrap(err, "images");
	r = check_boot(im, err);
	if (r == 0)
		r = each(im->layers_fd, load_layer, im, err);
	if (r == 0)
		r = each(im->layers_fd, drop_stray, im, err);
	if (r == 0)
		r = each(im->records_fd, load_record, im, err);
	if (r == 0)
		r = each(im->trees_fd, gt_image_tree_load, im, err);
	return r;
}

void gt_image_store_close(struct images *im)
{
	struct image *image, *next;
	struct image_layer *l, *after;

	HASH_ITER (hh, im->images, image, next)
		image_free(im, image);
	HASH_ITER (hh, im->layers, l, after) {
		HASH_DEL(im->layers, l);
		gt_close(l->mount);
		free(l);
	}
	gt_close(im->dir_fd);
	gt_close(im->records_fd);
	gt_close(im->layers_fd);
	gt_close(im->work_fd);
	gt_close(im->trees_fd);
}
