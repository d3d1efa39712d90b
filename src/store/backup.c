/* store/backup.c - see backup.h. Bodies are files that never change, so they are copied first, and
 * again those that came meanwhile; then the database, as it is at the moment in between. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include <gantry/base/log.h>
#include <gantry/store/backup.h>

#include "db_kind.h"
#include "task_db.h"

#define TRIES       5
#define PAGES       1024    /* copied between two looks */
#define EPOCHS_MORE 1000000 /* than any time between a backup and its use has */
#define CALLS_MORE  (1LL << 40)
#define DB_NAME     "gantry.db"
#define BODIES_NAME "bodies"

static int dir_open(const char *path, const char *name, bool make, int *ret, struct gt_err *err)
{
	gt_auto(free) char *full = gt_asprintf("%s/%s", path, name);

	if (make && mkdir(full, 0700) < 0 && errno != EEXIST)
		return gt_err_errno(err, errno, "%s", full);
	*ret = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *ret < 0 ? gt_err_errno(err, errno, "%s", full) : 0;
}

static int db_open(const char *dir, bool reads, struct gt_db **ret, struct gt_err *err)
{
	gt_auto(free) char *path = gt_asprintf("%s/%s", dir, DB_NAME);
	struct gt_db_config config = { .path = path, .reads = reads };

	if (access(path, R_OK) < 0) /* none is made */
		return gt_err_errno(err, errno, "%s", path);
	return gt_db_open(&config, ret, err);
}

/* ---- bodies --------------------------------------------------------------------------------- */

/* Synced. A file that is gone already is fine. */
static int body_copy(int from, int to, const char *name, struct gt_err *err)
{
	gt_auto(fd) int in = openat(from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	gt_auto(fd) int out = -EBADF;
	ssize_t n;

	if (in < 0)
		return errno == ENOENT ? 0
				       : gt_err_errno(err, errno, "a body of a call (%s)", name);
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out < 0)
		return errno == EEXIST ? 0
				       : gt_err_errno(err, errno, "a body of a call (%s)", name);
	while ((n = sendfile(out, in, NULL, 1 << 20)) > 0)
		;
	if (n < 0 || fsync(out) < 0)
		return gt_err_errno(err, errno, "copy a body of a call (%s)", name);
	return 0;
}

/* Those that are not there yet. */
static int bodies_copy(int from, int to, struct gt_err *err)
{
	int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		gt_close(fd);
		return gt_err_errno(err, errno, "the directory of bodies of calls");
	}
	while (r == 0 && (e = readdir(dir)))
		if (strlen(e->d_name) == GT_ULID_LEN)
			r = body_copy(from, to, e->d_name, err);
	closedir(dir);
	return r;
}

static const char bodies_sql[] =
	"SELECT i.file, t.size FROM task_inputs i JOIN tasks t ON t.seq = i.seq"
	" WHERE i.file IS NOT NULL"
	" UNION ALL SELECT file, size FROM task_results WHERE file IS NOT NULL";

/* -ENODATA: one that a row names is missing, or too short. */
static int bodies_check(struct gt_db *db, int dir_fd, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(db, err, bodies_sql, "");
	struct stat st;
	int r;

	while ((r = gt_db_step(q, err)) > 0)
		if (fstatat(dir_fd, gt_db_text(q, 0), &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode) || st.st_size != (off_t)gt_db_int(q, 1))
			return gt_err_set(err, ENODATA, "unavailable",
					  "a body of a call (%s) is not whole", gt_db_text(q, 0));
	return r;
}

/* ---- the database --------------------------------------------------------------------------- */

/* From the moment of db's open transaction. The copy's name is plain, so SQLite's own file layer
 * does for it. */
static int pages_copy(struct gt_db *db, const char *to, struct gt_err *err)
{
	gt_auto(free) char *path = gt_asprintf("%s/%s", to, DB_NAME);
	sqlite3 *copy = NULL;
	sqlite3_backup *b;
	const char *vfs;
	int r = gt_db_vfs(&vfs, err);

	if (r < 0)
		return r;
	r = sqlite3_open_v2(path, &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs);
	b = r == SQLITE_OK ? sqlite3_backup_init(copy, "main", gt_db_sqlite_handle(db), "main")
			   : NULL;
	while (b && (r = sqlite3_backup_step(b, PAGES)) == SQLITE_OK)
		;
	if (b && sqlite3_backup_finish(b) == SQLITE_OK && r == SQLITE_DONE)
		r = SQLITE_OK;
	else
		gt_err_set(err, r == SQLITE_FULL ? ENOSPC : EIO, "unavailable", "%s: %s", path,
			   sqlite3_errmsg(copy));
	sqlite3_close_v2(copy);
	return r == SQLITE_OK ? 0 : -err->code;
}

struct copying {
	const char *to;
	struct gt_db *db;
	int from_bodies, to_bodies; /* -1: there are none */
};

/* One moment. -ENODATA: a body that it needs was gone before it could be copied. */
static int copy_once(struct copying *c, struct gt_err *err)
{
	int r = c->from_bodies < 0 ? 0 : bodies_copy(c->from_bodies, c->to_bodies, err);

	if (r == 0)
		r = gt_db_exec(c->db, "BEGIN; SELECT count(*) FROM meta", err);
	if (r == 0 && c->from_bodies >= 0)
		r = bodies_copy(c->from_bodies, c->to_bodies, err);
	if (r == 0)
		r = bodies_check(c->db, c->to_bodies, err);
	if (r == 0)
		r = pages_copy(c->db, c->to, err);
	gt_db_rollback(c->db);
	return r;
}

static int copy_all(struct copying *c, struct gt_err *err)
{
	int r = -ENODATA;

	for (int i = 0; i < TRIES && r == -ENODATA; i++)
		r = copy_once(c, err);
	if (r == -ENODATA)
		return gt_err_set(
			err, EBUSY, "unavailable",
			"bodies of calls come and go too fast to be copied: %s; try again",
			err->text);
	return r;
}

/* What only later rows name, or earlier ones did. */
static int copy_sweep(const char *to, int bodies_fd, struct gt_err *err)
{
	struct gt_tasks_db t = { .bodies_fd = bodies_fd };
	int r = db_open(to, false, &t.db, err);

	if (r == 0)
		r = gt_bodies_sweep(&t, err);
	gt_db_close(t.db, true);
	return r;
}

int gt_store_copy(const char *from, const char *to, struct gt_err *err)
{
	__attribute__((cleanup(gt_cleanup_db))) struct gt_db *db = NULL;
	gt_auto(fd) int from_bodies = -EBADF, to_bodies = -EBADF, to_fd = -EBADF;
	struct copying c = { .to = to, .from_bodies = -1 };
	int r = db_open(from, true, &db, err);

	if (r == 0)
		r = dir_open(to, BODIES_NAME, true, &to_bodies, err);
	if (r == 0)
		r = dir_open(to, ".", false, &to_fd, err);
	if (r < 0)
		return r;
	c.db = db;
	c.to_bodies = to_bodies;
	if (dir_open(from, BODIES_NAME, false, &from_bodies, err) == 0)
		c.from_bodies = from_bodies;
	gt_err_clear(err);
	r = copy_all(&c, err);
	if (r == 0)
		r = copy_sweep(to, to_bodies, err);
	if (r == 0 && (fsync(to_bodies) < 0 || fsync(to_fd) < 0))
		r = gt_err_errno(err, errno, "sync %s", to);
	return r < 0 ? r : gt_store_verify(to, err);
}

int gt_store_verify(const char *dir, struct gt_err *err)
{
	__attribute__((cleanup(gt_cleanup_db))) struct gt_db *db = NULL;
	gt_auto(fd) int bodies = -EBADF;
	int r = db_open(dir, true, &db, err);

	if (r == 0)
		r = gt_db_check(db, true, err);
	if (r == 0)
		r = gt_db_readable(db, dir, NULL, err);
	if (r == 0)
		r = dir_open(dir, BODIES_NAME, false, &bodies, err);
	return r < 0 ? r : bodies_check(db, bodies, err);
}

int gt_store_readable(const char *dir, struct gt_err *err)
{
	__attribute__((cleanup(gt_cleanup_db))) struct gt_db *db = NULL;
	int r = db_open(dir, true, &db, err);

	if (r == -ENOENT) {
		gt_err_clear(err);
		return 0;
	}
	return r < 0 ? r : gt_db_readable(db, dir, NULL, err);
}

int gt_store_renumber(const char *dir, struct gt_err *err)
{
	__attribute__((cleanup(gt_cleanup_db))) struct gt_db *db = NULL;
	int r = db_open(dir, false, &db, err);

	if (r == 0)
		r = gt_db_migrate(db, dir, err);
	if (r == 0)
		r = gt_db_begin(db, err);
	if (r == 0)
		r = gt_db_finish(gt_db_query(db, err, "UPDATE leader SET epoch = epoch + ?1", "i",
					     (int64_t)EPOCHS_MORE),
				 err);
	if (r == 0)
		r = gt_db_finish(
			gt_db_query(
				db, err,
				"UPDATE meta SET value = ?1 + coalesce((SELECT max(x) FROM"
				" (SELECT value AS x FROM meta WHERE key = 'seq'"
				" UNION ALL SELECT max(seq) FROM tasks) n), 0) WHERE key = 'seq'",
				"i", (int64_t)CALLS_MORE),
			err);
	if (r == 0)
		r = gt_db_commit(db, err);
	return r;
}
