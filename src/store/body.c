/* store/body.c - bodies that are too large for rows: a file each, durable before the row that names
 * it, removed after the row that named it; or, where several controls must find them, pieces in a
 * table of their own. What a crash leaves between the two is swept at the next start. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "task_db.h"

#define PIECE (1 << 20) /* of a body in rows */

static int write_all(int fd, const struct gt_blob *body)
{
	size_t at = 0;

	while (at < body->len) {
		ssize_t n = write(fd, body->data + at, body->len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static int failed(struct gt_err *err, int code, const char *name)
{
	if (code == ENOSPC || code == EDQUOT)
		return gt_err_set(err, ENOSPC, "storage_full",
				  "a body of a call: the state disk is full; free some space and "
				  "try again");
	return gt_err_set(err, code == EIO ? EIO : EAGAIN, "unavailable",
			  "a body of a call (%s): %s", name, strerror(code));
}

static int file_write(int dir_fd, const struct gt_blob *body, const char *name, struct gt_err *err)
{
	gt_auto(fd) int fd = openat(dir_fd, name,
				    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return failed(err, errno, name);
	r = write_all(fd, body);
	if (r == 0 && fsync(dir_fd) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	unlinkat(dir_fd, name, 0);
	return failed(err, -r, name);
}

static int rows_write(struct gt_tasks_db *t, const struct gt_blob *body, const char *name,
		      struct gt_err *err)
{
	int r = 0;

	for (size_t at = 0, n = 0; at < body->len && r == 0; at += PIECE, n++)
		r = gt_db_finish(gt_sql(t->db, err, GT_SQL_BODY_PUT, "tib", name, (int64_t)n,
					body->data + at, GT_MIN(body->len - at, (size_t)PIECE)),
				 err);
	return r;
}

int gt_body_write(struct gt_tasks_db *t, const struct gt_blob *body, char name[GT_BODY_NAME_SIZE],
		  struct gt_err *err)
{
	gt_ulid(&gt_clock_system, &gt_rand_system, name);
	return t->bodies_in_rows ? rows_write(t, body, name, err)
				 : file_write(t->bodies_fd, body, name, err);
}

/* Not there, or not to be read: no later try will do better. */
static int lost(struct gt_err *err, int code, const char *name)
{
	if (gt_err_is_want(code))
		return failed(err, code, name);
	return gt_err_set(err, ENODATA, "unavailable", "a body of a call (%s) is lost: %s", name,
			  strerror(code));
}

static int file_read(int dir_fd, const char *name, char *data, size_t len, struct gt_err *err)
{
	gt_auto(fd) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t at = 0;

	if (fd < 0)
		return lost(err, errno, name);
	while (at < len) {
		ssize_t n = read(fd, data + at, len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return lost(err, n < 0 ? errno : ENODATA, name);
		at += (size_t)n;
	}
	return 0;
}

static int rows_read(struct gt_tasks_db *t, const char *name, char *data, size_t len,
		     struct gt_err *err)
{
	for (size_t at = 0, n = 0; at < len; n++) {
		gt_auto(query) struct gt_query *q = gt_sql(t->db, err, GT_SQL_BODY_GET, "ti", name,
							   (int64_t)n);
		int r = gt_db_step(q, err);
		const void *piece;
		size_t size = 0;

		if (r < 0)
			return r;
		piece = r > 0 ? gt_db_bytes(q, 0, &size) : NULL;
		if (!piece || !size || size > len - at)
			return lost(err, ENODATA, name);
		memcpy(data + at, piece, size);
		at += size;
	}
	return 0;
}

int gt_body_read(struct gt_tasks_db *t, const char *name, size_t len, struct gt_blob *ret,
		 struct gt_err *err)
{
	gt_auto(free) char *data = malloc(len + 1);
	int r;

	if (!data)
		return failed(err, ENOMEM, name);
	r = t->bodies_in_rows ? rows_read(t, name, data, len, err)
			      : file_read(t->bodies_fd, name, data, len, err);
	if (r < 0)
		return r;
	*ret = (struct gt_blob){ .data = gt_steal(&data), .len = len };
	return 0;
}

void gt_body_list_add(struct gt_body_list *l, const char *name)
{
	l->names = gt_grow(l->names, l->n + 1, sizeof(*l->names));
	gt_strcopy(l->names[l->n++], GT_BODY_NAME_SIZE, name);
}

const char *gt_body_list_at(const struct gt_body_list *l, size_t i)
{
	return i < l->n && l->names[i][0] ? l->names[i] : NULL;
}

void gt_body_list_clear(struct gt_body_list *l)
{
	free(l->names);
	*l = (struct gt_body_list){ 0 };
}

void gt_body_list_remove(struct gt_body_list *l, int dir_fd)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->names[i][0])
			unlinkat(dir_fd, l->names[i], 0);
	gt_body_list_clear(l);
}

int gt_body_list_drop(struct gt_tasks_db *t, struct gt_body_list *l, struct gt_err *err)
{
	int r = 0;

	for (size_t i = 0; i < l->n && r == 0; i++)
		if (l->names[i][0])
			r = gt_db_finish(gt_sql(t->db, err, GT_SQL_BODY_DROP, "t", l->names[i]),
					 err);
	gt_body_list_clear(l);
	return r;
}

static int files_sweep(struct gt_tasks_db *t, struct gt_err *err)
{
	int fd = openat(t->bodies_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!dir) {
		r = gt_err_errno(err, errno, "the directory of bodies of calls");
		gt_close(fd);
		return r;
	}
	while (r >= 0 && (e = readdir(dir))) {
		if (strlen(e->d_name) != GT_ULID_LEN)
			continue;
		gt_auto(query) struct gt_query *q = gt_sql(t->db, err, GT_SQL_FILE_USED, "t",
							   e->d_name);

		r = gt_db_step(q, err);
		if (r == 0)
			unlinkat(t->bodies_fd, e->d_name, 0);
	}
	closedir(dir);
	return r < 0 ? r : 0;
}

int gt_bodies_sweep(struct gt_tasks_db *t, struct gt_err *err)
{
	if (t->bodies_in_rows)
		return gt_db_finish(gt_sql(t->db, err, GT_SQL_BODIES_SWEEP, ""), err);
	return t->bodies_fd < 0 ? 0 : files_sweep(t, err);
}
