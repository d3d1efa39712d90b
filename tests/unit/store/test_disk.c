/* The store on a disk that fails: what could not be synced is not tried again, and a damaged
 * database is found and not written to. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include <gantry/store/store.h>

struct world {
	char dir[64];
	int event;
	struct gt_store *store;
};

/* ---- a disk whose log, or database, can not be synced --------------------------------------- */

static atomic_int failing, syncs; /* of the log, since failing was set */
static atomic_int failing_db;
static atomic_long bad_from; /* of the database: can not be read from here on; 0 = all can */
static atomic_bool bad_once, read_again; /* the second read of a place is good */
static atomic_long failed_at;
static int (*real_open)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
static int (*real_sync)(sqlite3_file *, int);
static int (*real_read)(sqlite3_file *, void *, int, sqlite3_int64);
static sqlite3_io_methods log_methods, db_methods;

static int log_sync(sqlite3_file *f, int flags)
{
	if (!failing)
		return real_sync(f, flags);
	syncs++;
	errno = EIO;
	return SQLITE_IOERR_FSYNC;
}

static int db_sync(sqlite3_file *f, int flags)
{
	if (!failing_db)
		return real_sync(f, flags);
	errno = EIO;
	return SQLITE_IOERR_FSYNC;
}

static int db_read(sqlite3_file *f, void *to, int len, sqlite3_int64 at)
{
	if (!bad_from || at < bad_from)
		return real_read(f, to, len, at);
	if (bad_once && at == failed_at) {
		read_again = true;
		return real_read(f, to, len, at);
	}
	failed_at = at;
	errno = EIO;
	return SQLITE_IOERR_READ;
}

static int faulty_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
	int r = real_open(vfs, name, f, flags, out);
	bool log = flags & SQLITE_OPEN_WAL;
	sqlite3_io_methods *m = log ? &log_methods : &db_methods;

	if (r != SQLITE_OK || !(flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_DB)))
		return r;
	real_sync = f->pMethods->xSync;
	*m = *f->pMethods;
	m->xSync = log ? log_sync : db_sync;
	if (!log) {
		real_read = f->pMethods->xRead;
		m->xRead = db_read;
	}
	f->pMethods = m;
	return r;
}

static int faulty_disk(void **state)
{
	static sqlite3_vfs faulty;

	(void)state;
	faulty = *sqlite3_vfs_find(NULL);
	real_open = faulty.xOpen;
	faulty.zName = "faulty";
	faulty.xOpen = faulty_open;
	faulty.pNext = NULL;
	return sqlite3_vfs_register(&faulty, 1);
}

/* ---- the world ------------------------------------------------------------------------------ */

static void ring(void *arg)
{
	struct world *w = arg;
	uint64_t one = 1;

	if (write(w->event, &one, sizeof(one)) < 0)
		abort();
}

static void reopen(struct world *w)
{
	struct gt_store_config config = { .path = "control/gantry.db",
					  .bodies_dir = "control/bodies",
					  .notify = ring,
					  .notify_arg = w };
	struct gt_err err = { 0 };

	gt_store_close(w->store);
	w->store = NULL;
	if (gt_store_open(&config, &w->store, &err) < 0)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));

	failing = failing_db = 0;
	bad_from = failed_at = 0;
	bad_once = read_again = false;
	snprintf(w->dir, sizeof(w->dir), "/tmp/gt-disk-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(chdir(w->dir), 0);
	assert_int_equal(mkdir("control", 0700), 0);
	w->event = eventfd(0, EFD_CLOEXEC);
	reopen(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	static const char *const files[] = { "control/gantry.db", "control/gantry.db-wal",
					     "control/gantry.db-shm" };

	failing = failing_db = 0;
	bad_from = failed_at = 0;
	bad_once = read_again = false;
	gt_store_close(w->store);
	close(w->event);
	for (size_t i = 0; i < GT_LEN(files); i++)
		unlink(files[i]);
	assert_int_equal(rmdir("control/bodies"), 0);
	assert_int_equal(rmdir("control"), 0);
	assert_int_equal(chdir("/"), 0);
	rmdir(w->dir);
	free(w);
	return 0;
}

static void wait_event(struct world *w)
{
	struct pollfd p = { .fd = w->event, .events = POLLIN };
	uint64_t count;

	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(read(w->event, &count, sizeof(count)), sizeof(count));
	gt_store_poll(w->store);
}

struct outcome {
	unsigned done;
	struct gt_err err;
};

static void on_done(const struct gt_err *err, void *arg)
{
	struct outcome *o = arg;

	o->done++;
	o->err = err ? *err : (struct gt_err){ 0 };
}

static struct gt_err put(struct world *w, const char *name, const char *spec)
{
	gt_auto(free) char *text = gt_strdup(spec);
	struct gt_function_row row = { .name = (char *)name, .revision = 1, .spec_json = text };
	struct outcome o = { 0 };

	gt_strcopy(row.etag, sizeof(row.etag), "e");
	gt_store_put(w->store, &row, on_done, &o);
	while (!o.done)
		wait_event(w);
	return o.err;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void a_failed_sync_is_not_tried_again(void **state)
{
	struct world *w = *state;
	struct gt_err err;

	assert_int_equal(put(w, "a", "{}").code, 0);
	assert_int_equal(gt_store_failed(w->store, &err), 0);
	syncs = 0;
	failing = 1;
	err = put(w, "b", "{}");
	assert_int_equal(err.code, EIO);
	assert_string_equal(err.slug, "unavailable");
	assert_int_equal(syncs, 1);
	failing = 0; /* the next sync would say that all is well */
	err = put(w, "c", "{}");
	assert_int_equal(err.code, EIO);
	assert_non_null(strstr(err.text, "nothing more is written"));
	memset(&err, 0, sizeof(err));
	assert_int_equal(gt_store_failed(w->store, &err), -EIO);
	assert_non_null(strstr(err.text, "nothing more is written"));
}

static void on_row(const struct gt_function_row *row, void *arg)
{
	char *names = arg;

	strcat(names, row->name);
}

static void another_process_goes_on_from_what_is_there(void **state)
{
	struct world *w = *state;
	char names[16] = "";
	struct gt_err err = { 0 };
	struct stat log;

	assert_int_equal(put(w, "a", "{}").code, 0);
	failing = 1;
	assert_int_equal(put(w, "b", "{}").code, EIO);
	failing = 0;
	reopen(w);
	assert_int_equal(gt_store_failed(w->store, &err), 0);
	assert_int_equal(put(w, "c", "{}").code, 0);
	assert_int_equal(gt_store_load(w->store, on_row, names, &err), 0);
	assert_int_equal(names[0], 'a'); /* b may be there: it was written, its sync was not sure */
	assert_int_equal(names[strlen(names) - 1], 'c');
	gt_store_close(w->store);
	w->store = NULL;
	assert_int_equal(stat("control/gantry.db-wal", &log), -1);
}

/* A body that is larger than a row may hold: its file stays, as its row may be in the log. */
static void on_task(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	on_done(err, arg);
	gt_task_op_free(op);
}

static void files_of_what_may_be_in_the_log_stay(void **state)
{
	struct world *w = *state;
	struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);
	struct gt_task *t = gt_task_op_add(op);
	struct outcome o = { 0 };

	gt_strcopy(t->id, sizeof(t->id), "one");
	gt_strcopy(t->function, sizeof(t->function), "f");
	gt_strcopy(t->method, sizeof(t->method), "POST");
	t->path = gt_strdup("/");
	t->deadline_ms = UINT32_MAX;
	t->body.len = GT_TASK_INLINE_MAX + 1;
	t->body.data = gt_alloc(t->body.len);
	op->done = on_task;
	op->arg = &o;
	failing = 1;
	gt_store_task(w->store, op);
	while (!o.done)
		wait_event(w);
	assert_int_equal(o.err.code, EIO);
	assert_int_equal(rmdir("control/bodies"), -1);
	failing = 0;
	reopen(w);
	op = gt_task_op_new(GT_TASK_EXCHANGE); /* it is there, and whole, or it is not */
	op->sessions = gt_alloc(sizeof(*op->sessions));
	op->n_sessions = 1;
	op->wants = gt_alloc(sizeof(*op->wants));
	op->n_wants = op->wants[0].n = 1;
	gt_strcopy(op->wants[0].function, sizeof(op->wants[0].function), "f");
	op->done = on_task;
	op->arg = &o;
	o.done = 0;
	gt_store_task(w->store, op);
	while (!o.done)
		wait_event(w);
	assert_int_equal(o.err.code, 0);
	op = gt_task_op_new(GT_TASK_CANCEL);
	gt_strcopy(op->id, sizeof(op->id), "one");
	op->now_ms = 1;
	op->done = on_task;
	op->arg = &o;
	o.done = 0;
	gt_store_task(w->store, op);
	while (!o.done)
		wait_event(w);
	op = gt_task_op_new(GT_TASK_WAKE);
	op->now_ms = INT64_MAX;
	op->done = on_task;
	op->arg = &o;
	o.done = 0;
	gt_store_task(w->store, op);
	while (!o.done)
		wait_event(w);
}

/* The log has it, so what was told holds; but the database is to be trusted no more. */
static void a_database_that_can_not_be_synced_is_the_end(void **state)
{
	struct world *w = *state;
	gt_auto(free) char *spec = gt_alloc(1000001);
	char name[8], names[256] = "";
	struct gt_err err = { 0 };
	int n = 0;

	memset(spec, ' ', 1000000);
	failing_db = 1;
	while (gt_store_failed(w->store, &err) == 0 && n < 40) {
		snprintf(name, sizeof(name), "n%02d", n++);
		assert_int_equal(put(w, name, spec).code, 0);
	}
	assert_in_range(n, 10, 20); /* 4000 pages of the log */
	assert_int_equal(put(w, "z", "{}").code, EIO);
	failing_db = 0;
	reopen(w);
	assert_int_equal(gt_store_load(w->store, on_row, names, &err), 0);
	assert_int_equal(strlen(names), 3 * n);
}

static void a_damaged_database_is_found_and_not_written(void **state)
{
	struct world *w = *state;
	gt_auto(free) char *spec = gt_alloc(20000);
	char page[4096], names[16] = "";
	struct gt_err err = { 0 };
	int fd;

	memset(spec, ' ', 19990);
	assert_int_equal(put(w, "a", "{}").code, 0);
	for (char name[2] = "b"; name[0] < 'f'; name[0]++)
		assert_int_equal(put(w, name, spec).code, 0);
	gt_store_close(w->store);
	w->store = NULL;
	fd = open("control/gantry.db", O_RDWR | O_CLOEXEC);
	memset(page, 0x5a, sizeof(page));
	for (off_t at = lseek(fd, 0, SEEK_END) - 8 * 4096, n = 0; n < 8; n++)
		assert_int_equal(pwrite(fd, page, sizeof(page), at + n * 4096), sizeof(page));
	close(fd);
	reopen(w);
	wait_event(w); /* of the check alone: nothing was asked */
	err = put(w, "z", "{}");
	assert_int_equal(err.code, EBADMSG);
	assert_non_null(strstr(err.text, "restore control/ from its backup"));
	assert_int_equal(gt_store_failed(w->store, &err), 0); /* another process can do no better */
	(void)!gt_store_load(w->store, on_row, names, &err);
	assert_int_equal(names[0], 'a');
}

/* What is written to it from then on would be gone with the process. */
static void a_database_that_was_removed_is_found(void **state)
{
	static const char *const files[] = { "control/gantry.db", "control/gantry.db-wal" };
	struct world *w = *state;
	struct gt_err err = { 0 };

	for (size_t i = 0; i < GT_LEN(files); i++) {
		assert_int_equal(put(w, i ? "x" : "a", "{}").code, 0);
		assert_int_equal(rename(files[i], "control/away"), 0);
		err = put(w, "b", "{}");
		assert_int_equal(err.code, EBADMSG);
		assert_non_null(strstr(err.text, "was removed or replaced"));
		assert_int_equal(put(w, "c", "{}").code, EBADMSG);
		assert_int_equal(gt_store_failed(w->store, &err), 0);
		assert_int_equal(rename("control/away", files[i]), 0);
		gt_store_close(w->store);
		w->store = NULL;
		reopen(w);
	}
}

/* In libc's place: so many looks at the log fail. */
static atomic_int unseen;

int stat(const char *path, struct stat *st)
{
	if (strstr(path, "-wal") && unseen > 0) {
		unseen--;
		errno = EIO;
		return -1;
	}
	return fstatat(AT_FDCWD, path, st, 0);
}

static void a_log_that_can_not_be_looked_at_is_not_taken_for_removed(void **state)
{
	struct world *w = *state;
	struct gt_err err = { 0 };

	assert_int_equal(put(w, "a", "{}").code, 0);
	unseen = 1;
	assert_int_equal(put(w, "b", "{}").code, EIO);
	assert_int_equal(unseen, 0);
	assert_int_equal(gt_store_failed(w->store, &err), -EIO); /* another process can do better */
	assert_null(strstr(err.text, "restore"));
	reopen(w);
	assert_int_equal(put(w, "c", "{}").code, 0);
}

/* In libc's place: so many reads of the file whose name ends so fail. */
static atomic_int unread;
static const char *_Atomic unread_of;

ssize_t pread(int fd, void *to, size_t len, off_t at)
{
	char link[64], name[256] = "";
	const char *end = unread_of;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (unread > 0 && readlink(link, name, sizeof(name) - 1) > 0 &&
	    strlen(name) >= strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0) {
		unread--;
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, to, len, at);
}

static void on_revisions(const struct gt_err *err, const struct gt_function_row *rows GT_UNUSED,
			 size_t n GT_UNUSED, void *arg)
{
	on_done(err, arg);
}

/* SQLite says of it that the database is malformed. */
static void a_read_that_fails_is_not_taken_for_damage(void **state)
{
	struct world *w = *state;
	struct outcome o = { 0 };
	struct gt_err err = { 0 };

	assert_int_equal(put(w, "a", "{}").code, 0);
	unread_of = ".db-wal";
	unread = 1;
	gt_store_revisions(w->store, "a", on_revisions, &o);
	while (!o.done)
		wait_event(w);
	assert_int_equal(unread, 0);
	assert_int_equal(o.err.code, EIO);
	assert_int_equal(put(w, "b", "{}").code, EIO);
	assert_int_equal(gt_store_failed(w->store, &err), -EIO); /* another process can do better */
	assert_null(strstr(err.text, "restore"));
	assert_non_null(strstr(err.text, "a read failed: Input/output error"));
	reopen(w);
	assert_int_equal(put(w, "c", "{}").code, 0);
}

static void a_page_that_is_read_the_next_time_is_no_damage(void **state)
{
	struct world *w = *state;
	gt_auto(free) char *spec = gt_alloc(20000);
	struct pollfd told = { .fd = w->event, .events = POLLIN };
	struct stat st;

	memset(spec, ' ', 19990);
	assert_int_equal(put(w, "a", spec).code, 0);
	gt_store_close(w->store);
	w->store = NULL;
	assert_int_equal(stat("control/gantry.db", &st), 0);
	bad_once = true;
	bad_from = st.st_size - 4096;
	reopen(w);
	while (!read_again)
		assert_int_equal(poll(&told, 1, 1), 0);
	assert_int_equal(put(w, "b", "{}").code, 0);
}

/* As one that is damaged: to start anew would end the same way. */
static void a_page_that_can_not_be_read_is_damage(void **state)
{
	struct world *w = *state;
	gt_auto(free) char *spec = gt_alloc(20000);
	struct gt_err err = { 0 };
	struct stat st;

	memset(spec, ' ', 19990);
	assert_int_equal(put(w, "a", spec).code, 0);
	gt_store_close(w->store);
	w->store = NULL;
	assert_int_equal(stat("control/gantry.db", &st), 0);
	bad_from = st.st_size - 2 * 4096;
	reopen(w);
	wait_event(w);
	assert_int_equal(put(w, "z", "{}").code, EBADMSG);
	assert_int_equal(gt_store_failed(w->store, &err), 0);
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(a_failed_sync_is_not_tried_again),
		t(another_process_goes_on_from_what_is_there),
		t(files_of_what_may_be_in_the_log_stay),
		t(a_database_that_can_not_be_synced_is_the_end),
		t(a_read_that_fails_is_not_taken_for_damage),
		t(a_page_that_can_not_be_read_is_damage),
		t(a_page_that_is_read_the_next_time_is_no_damage),
		t(a_damaged_database_is_found_and_not_written),
		t(a_database_that_was_removed_is_found),
		t(a_log_that_can_not_be_looked_at_is_not_taken_for_removed),
	};

	return cmocka_run_group_tests(tests, faulty_disk, NULL);
}
