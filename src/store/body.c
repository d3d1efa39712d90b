/* store/body.c - bodies that are too large for rows: a file each, durable before the row that names
 * it, removed after the row that named it. What a crash leaves between the two is swept at the next
 * start. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "task_db.h"

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

int gt_body_write(int dir_fd, const struct gt_blob *body, char name[GT_BODY_NAME_SIZE],
		  struct gt_err *err)
{
	gt_auto(fd) int fd = -EBADF;
	int r;

	gt_ulid(&gt_clock_system, &gt_rand_system, name);
	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
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

/* Not there, or not to be read: no later try will do better. */
static int lost(struct gt_err *err, int code, const char *name)
{
	if (code == ENOMEM || code == EMFILE || code == ENFILE)
		return failed(err, code, name);
	return gt_err_set(err, ENODATA, "unavailable", "a body of a call (%s) is lost: %s", name,
			  strerror(code));
}

int gt_body_read(int dir_fd, const char *name, size_t len, struct gt_blob *ret, struct gt_err *err)
{
	gt_auto(fd) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	gt_auto(free) char *data = NULL;
	size_t at = 0;

	if (fd < 0)
		return lost(err, errno, name);
	data = malloc(len + 1);
	if (!data)
		return failed(err, ENOMEM, name);
	while (at < len) {
		ssize_t n = read(fd, data + at, len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return lost(err, n < 0 ? errno : ENODATA, name);
		at += (size_t)n;
	}
	*ret = (struct gt_blob){ .data = gt_steal(&data), .len = len };
	return 0;
}

void gt_body_list_add(struct gt_body_list *l, const char *name)
{
	l->names = gt_grow(l->names, l->n + 1, sizeof(*l->names));
	gt_strcopy(l->names[l->n++], GT_BODY_NAME_SIZE, name);
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

int gt_bodies_sweep(struct gt_tasks_db *t, struct gt_err *err)
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
		gt_auto(sql) sqlite3_stmt *q = gt_sql(t, err, GT_SQL_FILE_USED, "t", e->d_name);

		r = q ? gt_db_step(q, err) : -EIO;
		if (r == 0)
			unlinkat(t->bodies_fd, e->d_name, 0);
	}
	closedir(dir);
	return r < 0 ? r : 0;
}
