/* The store on a disk whose power is cut at any of its writes (power.h): it opens, is whole, has
 * all that was acknowledged before, and of what was under way all or nothing. With POWER_SEEDS each
 * way of losing what was not synced is tried at each moment, with so many seeds; else one of them.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include <gantry/base/buf.h>
#include <gantry/store/store.h>

#include "power.h"

#define NOW      1000000ULL
#define LARGE    (GT_TASK_INLINE_MAX + 1000) /* a body that has a file */
#define DONE_MAX 64

struct world {
	char dir[64];
	int event;
	struct gt_store *store;
	uint64_t now_ms;
	struct power *power;
	struct power_mark mark;
	char *states[DONE_MAX]; /* after so many operations: all that is in the tables */
	struct gt_task_op *leased;
};

static unsigned cuts;
static char where[64]; /* the cut that is looked at */

/* 0: this is to be quick. */
static unsigned seeds(void)
{
	const char *text = getenv("POWER_SEEDS");

	return text ? (unsigned)atoi(text) : 0;
}

static void ring(void *arg)
{
	struct world *w = arg;
	uint64_t one = 1;

	if (write(w->event, &one, sizeof(one)) < 0)
		abort();
}

static int try_open(struct world *w, const char *db, const char *bodies, struct gt_err *err)
{
	struct gt_store_config config = {
		.path = db, .bodies_dir = bodies, .notify = ring, .notify_arg = w
	};

	return gt_store_open(&config, &w->store, err);
}

static void await(struct world *w)
{
	struct pollfd p = { .fd = w->event, .events = POLLIN };
	uint64_t count;

	assert_int_equal(poll(&p, 1, 20000), 1);
	assert_int_equal(read(w->event, &count, sizeof(count)), sizeof(count));
	gt_store_poll(w->store);
}

static int setup(void **state)
{
	static const char *const dirs[] = { "control", "cut", "cut/once", "cut/twice" };
	struct world *w = gt_alloc(sizeof(*w));

	/* No disk is needed, and thousands of files come and go. */
	snprintf(w->dir, sizeof(w->dir), "/dev/shm/gt-power-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(chdir(w->dir), 0);
	for (size_t i = 0; i < GT_LEN(dirs); i++) {
		gt_auto(free) char *bodies = gt_asprintf("%s/bodies", dirs[i]);

		assert_int_equal(mkdir(dirs[i], 0700), 0);
		assert_int_equal(mkdir(bodies, 0700), 0);
	}
	w->event = eventfd(0, EFD_CLOEXEC);
	w->now_ms = NOW;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	gt_auto(free) char *rm = gt_asprintf("rm -r %s", w->dir);
	pid_t pid;

	power_careless(NULL);
	power_free(w->power);
	gt_store_close(w->store);
	gt_task_op_free(w->leased);
	for (size_t i = 0; i < DONE_MAX; i++)
		free(w->states[i]);
	close(w->event);
	assert_int_equal(chdir("/"), 0);
	pid = fork();
	if (pid == 0)
		_exit(execl("/bin/sh", "sh", "-c", rm, (char *)NULL));
	waitpid(pid, NULL, 0);
	free(w);
	return 0;
}

/* ---- all that is in a database --------------------------------------------------------------- */

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	return s;
}

static void add_hash(struct gt_buf *out, const unsigned char *data, size_t len)
{
	uint64_t h = 14695981039346656037ULL;

	for (size_t i = 0; i < len; i++)
		h = (h ^ data[i]) * 1099511628211ULL;
	gt_buf_addf(out, "%zu:%016llx", len, (unsigned long long)h);
}

/* A body that is not there, or is not whole, makes it another state. */
static void add_file(struct gt_buf *out, const char *dir, const char *name)
{
	gt_auto(free) char *path = gt_asprintf("%s/bodies/%s", dir, name);
	gt_auto(free) unsigned char *data = gt_alloc(2 * LARGE);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, data, 2 * LARGE);

	gt_close(fd);
	if (n < 0)
		gt_buf_addf(out, "(no file)");
	else
		add_hash(out, data, (size_t)n);
}

static void add_row(struct gt_buf *out, const char *dir, sqlite3_stmt *s)
{
	for (int i = 0; i < sqlite3_column_count(s); i++) {
		const unsigned char *text = sqlite3_column_text(s, i);

		if (text && strcmp(sqlite3_column_name(s, i), "file") == 0)
			add_file(out, dir, (const char *)text);
		else if (text && sqlite3_column_bytes(s, i) > 64)
			add_hash(out, text, (size_t)sqlite3_column_bytes(s, i));
		else
			gt_buf_addf(out, "%s", text ? (const char *)text : "NULL");
		gt_buf_addf(out, "|");
	}
	gt_buf_addf(out, "\n");
}

/* Epochs only grow, and are looked at by themselves. */
static char *dump(const char *dir)
{
	gt_auto(free) char *path = gt_asprintf("%s/gantry.db", dir);
	struct gt_buf out = { 0 };
	sqlite3_stmt *tables, *rows;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	tables = prepare(db, "SELECT name FROM sqlite_schema WHERE type = 'table'"
			     " AND name <> 'leader' ORDER BY name");
	while (sqlite3_step(tables) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(tables, 0);
		gt_auto(free) char *sql = gt_asprintf(
			"SELECT * FROM %s%s ORDER BY 1, 2", name,
			strcmp(name, "meta") == 0 ? " WHERE key <> 'epoch'" : "");

		gt_buf_addf(&out, "%s\n", name);
		rows = prepare(db, sql);
		while (sqlite3_step(rows) == SQLITE_ROW)
			add_row(&out, dir, rows);
		sqlite3_finalize(rows);
	}
	sqlite3_finalize(tables);
	sqlite3_close(db);
	return out.data; /* it ends with a NUL */
}

static unsigned files(const char *dir)
{
	gt_auto(free) char *path = gt_asprintf("%s/bodies", dir);
	DIR *d = opendir(path);
	struct dirent *e;
	unsigned n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void expect_only(sqlite3 *db, const char *sql, const char *want)
{
	sqlite3_stmt *s = prepare(db, sql);
	bool row = sqlite3_step(s) == SQLITE_ROW;

	if (want)
		assert_string_equal(row ? (const char *)sqlite3_column_text(s, 0) : "none", want);
	else
		assert_false(row);
	sqlite3_finalize(s);
}

static void expect_whole(const char *dir)
{
	gt_auto(free) char *path = gt_asprintf("%s/gantry.db", dir);
	gt_auto(free) char *named = gt_asprintf("%u", files(dir)); /* no more than rows name */
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	expect_only(db, "PRAGMA integrity_check", "ok");
	expect_only(db, "PRAGMA foreign_key_check", NULL);
	expect_only(db,
		    "SELECT (SELECT count(file) FROM task_inputs)"
		    " + (SELECT count(file) FROM task_results)",
		    named);
	sqlite3_close(db);
}

/* ---- operations ------------------------------------------------------------------------------ */

static void on_done(const struct gt_err *err, void *arg)
{
	if (err)
		fail_msg("%s", err->text);
	*(bool *)arg = true;
}

static void on_op(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	(void)op;
	on_done(err, arg);
}

static void put_function(struct world *w, const char *name, uint32_t revision, size_t len)
{
	gt_auto(free) char *spec = gt_alloc(len + 1);
	struct gt_function_row row = { .name = (char *)name,
				       .revision = revision,
				       .spec_json = spec,
				       .created_ms = 1,
				       .updated_ms = revision };
	bool done = false;

	memset(spec, 's', len);
	gt_strcopy(row.etag, sizeof(row.etag), "e");
	gt_store_put(w->store, &row, on_done, &done);
	while (!done)
		await(w);
}

static void give(struct world *w, struct gt_task_op *op)
{
	bool done = false;

	op->now_ms = w->now_ms;
	op->epoch = 3;
	op->done = on_op;
	op->arg = &done;
	gt_store_task(w->store, op);
	while (!done)
		await(w);
}

static void add_task(struct gt_task_op *op, const char *id, size_t len)
{
	struct gt_task *t = gt_task_op_add(op);

	gt_strcopy(t->id, sizeof(t->id), id);
	gt_strcopy(t->function, sizeof(t->function), "f");
	gt_strcopy(t->method, sizeof(t->method), "POST");
	gt_strcopy(t->print, sizeof(t->print), "p");
	t->path = gt_strdup("/");
	t->key = gt_strdup(id);
	t->priority = GT_TASK_NORMAL;
	t->created_ms = NOW;
	t->deadline_ms = NOW + 100000;
	t->body.data = gt_alloc(len + 1);
	t->body.len = len;
	memset(t->body.data, 'a' + (int)(len % 26), len);
}

static void accept_some(struct world *w, const char *prefix, unsigned n, size_t len)
{
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);

	for (unsigned i = 0; i < n; i++) {
		char id[16];

		snprintf(id, sizeof(id), "%s%u", prefix, i);
		add_task(op, id, len);
	}
	give(w, op);
}

static struct gt_task_op *exchange_new(uint32_t n)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_EXCHANGE);

	op->sessions = gt_alloc(sizeof(*op->sessions));
	op->n_sessions = 1;
	op->sessions[0].session = 7;
	gt_strcopy(op->sessions[0].gateway, sizeof(op->sessions[0].gateway), "g");
	op->wants = gt_alloc(sizeof(*op->wants));
	op->n_wants = 1;
	op->wants[0].n = n;
	gt_strcopy(op->wants[0].function, sizeof(op->wants[0].function), "f");
	return op;
}

static void lease(struct world *w, uint32_t n)
{
	gt_task_op_free(w->leased);
	w->leased = exchange_new(n);
	give(w, w->leased);
	assert_int_equal(w->leased->n_tasks, n);
}

static void finish(struct world *w, size_t len)
{
	gt_auto(task_op) struct gt_task_op *op = exchange_new(0);

	for (size_t i = 0; i < w->leased->n_tasks; i++) {
		struct gt_task_result *r = gt_task_op_result(op);

		r->seq = w->leased->tasks[i].seq;
		r->attempt = w->leased->tasks[i].attempt;
		r->status = 200;
		r->next = GT_TASK_SUCCEEDED;
		r->counts = true;
		r->content_type = gt_strdup("text/plain");
		r->body.data = gt_alloc(len + 1);
		r->body.len = len;
		memset(r->body.data, 'r', len);
	}
	give(w, op);
}

static void op_open(struct world *w)
{
	struct gt_err err = { 0 };

	gt_store_close(w->store); /* it moves the log into the database, and removes it */
	w->store = NULL;
	if (try_open(w, "control/gantry.db", "control/bodies", &err) < 0)
		fail_msg("%s", err.text);
	w->mark.epoch = gt_store_epoch(w->store);
}

static void op_function(struct world *w)
{
	put_function(w, "f", 1, 3000);
}

static void op_revision(struct world *w)
{
	put_function(w, "f", 2, 9000);
}

static void op_other(struct world *w)
{
	put_function(w, "g", 1, 20);
}

static void op_drop(struct world *w)
{
	bool done = false;

	gt_store_drop(w->store, "g", on_done, &done);
	while (!done)
		await(w);
}

static void op_node(struct world *w)
{
	struct gt_node_row row = { .name = "n", .duty = GT_DUTY_CORDONED };
	bool done = false;

	gt_store_put_node(w->store, &row, on_done, &done);
	while (!done)
		await(w);
}

static void op_call(struct world *w)
{
	accept_some(w, "one", 1, 10);
}

static void op_batch(struct world *w)
{
	accept_some(w, "batch", 20, 900);
}

static void op_large(struct world *w)
{
	accept_some(w, "large", 2, LARGE);
}

static void op_lease_all(struct world *w)
{
	lease(w, 23);
}

static void op_finish(struct world *w)
{
	finish(w, 700);
}

static void op_calls_again(struct world *w)
{
	accept_some(w, "second", 2, LARGE + 1);
}

static void op_lease_again(struct world *w)
{
	lease(w, 2);
}

static void op_finish_large(struct world *w)
{
	finish(w, LARGE + 2);
}

/* Time forgets them, with their files. */
static void op_forget(struct world *w)
{
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_WAKE);

	w->now_ms += GT_TASK_KEEP_MS;
	give(w, op);
}

static void op_fill(struct world *w)
{
	char name[16];

	snprintf(name, sizeof(name), "fill%u", w->mark.begun);
	put_function(w, name, 1, 1000000);
}

typedef void op_fn(struct world *w);

static void run(struct world *w, op_fn *const *ops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert_true(w->mark.begun + 1 < DONE_MAX);
		w->mark.begun++;
		power_mark(w->power, &w->mark);
		ops[i](w);
		w->mark.acknowledged++;
		power_mark(w->power, &w->mark);
		w->states[w->mark.begun] = dump("control");
	}
	if (!w->states[0])
		w->states[0] = gt_strdup(w->states[1]);
}

static void end(struct world *w)
{
	power_end(w->power);
	gt_store_close(w->store);
	w->store = NULL;
}

/* ---- after the cut --------------------------------------------------------------------------- */

/* One of the states from what was acknowledged to what was begun. */
static bool is_expected(const struct world *w, const struct power_mark *m, const char *now)
{
	for (unsigned i = m->acknowledged; i <= m->begun; i++)
		if (w->states[i] && strcmp(w->states[i], now) == 0)
			return true;
	return false;
}

static void fail_other(const char *now, const char *want, const struct power_mark *m)
{
	while (*now && *want) {
		int n = (int)strcspn(now, "\n"), of = (int)strcspn(want, "\n");

		if (n != of || strncmp(now, want, (size_t)n) != 0)
			fail_msg("operation %u was acknowledged, %u begun: there is \"%.*s\", not "
				 "\"%.*s\"",
				 m->acknowledged, m->begun, n, now, of, want);
		now += n + 1;
		want += of + 1;
	}
	fail_msg("operation %u was acknowledged, %u begun: a row more or less", m->acknowledged,
		 m->begun);
}

/* What is in `dir`, after a cut at a moment of which `m` was said, serves. */
static void expect_good(struct world *w, const char *dir, const struct power_mark *m)
{
	gt_auto(free) char *db = gt_asprintf("%s/gantry.db", dir);
	gt_auto(free) char *bodies = gt_asprintf("%s/bodies", dir);
	gt_auto(free) char *now = NULL;
	struct gt_err err = { 0 };

	if (try_open(w, db, bodies, &err) < 0)
		fail_msg("it does not open: %s", err.text);
	now = dump(dir);
	if (!is_expected(w, m, now))
		fail_other(now, w->states[m->acknowledged], m);
	assert_true(gt_store_epoch(w->store) > m->epoch);
	put_function(w, "after-the-cut", 1, 20);
	assert_int_equal(gt_store_failed(w->store, &err), 0);
	gt_store_close(w->store);
	w->store = NULL;
	expect_whole(dir);
	cuts++;
	where[0] = '\0';
}

static void cut(struct world *w, const struct power *p, size_t at, enum power_luck luck,
		uint64_t seed, const char *dir, const struct power_mark *m)
{
	static const char *const names[] = { "none", "all", "short", "torn", "any" };

	snprintf(where, sizeof(where), "moment %zu, %s, seed %u", at, names[luck], (unsigned)seed);
	power_image(p, at, luck, seed, dir);
	expect_good(w, dir, m);
}

/* At one moment: what is there if nothing or all of what was not synced is, and in other ways. */
static void cut_at(struct world *w, const struct power *p, size_t at, const char *dir,
		   const struct power_mark *m)
{
	for (unsigned luck = 0; luck < POWER_LUCKS; luck++) {
		bool chance = luck == POWER_TORN || luck == POWER_ANY;
		unsigned n = chance ? GT_MAX(seeds(), 1u) : 1;

		if (luck == POWER_NONE && !power_settles(p, at))
			continue; /* as at the moment before */
		if (!seeds() && luck > POWER_ALL && luck - POWER_SHORT != at % 6)
			continue;
		for (unsigned seed = 0; seed < n; seed++)
			cut(w, p, at, luck, seed, dir, m);
	}
}

static void a_cut_at_any_write_loses_nothing(void **state)
{
	static op_fn *const ops[] = { op_open,        op_function,    op_call,         op_revision,
				      op_other,       op_batch,       op_large,        op_lease_all,
				      op_finish,      op_drop,        op_node,         op_open,
				      op_calls_again, op_lease_again, op_finish_large, op_forget,
				      op_call };
	struct world *w = *state;

	w->power = power_begin("control");
	run(w, ops, GT_LEN(ops));
	end(w);
	power_careless("cut");
	for (size_t at = 1; at <= power_moments(w->power); at++) {
		struct power_mark m = power_marked(w->power, at);

		cut_at(w, w->power, at, "cut/once", &m);
	}
}

static off_t log_size(void)
{
	struct stat st;

	assert_int_equal(stat("control/gantry.db-wal", &st), 0);
	return st.st_size;
}

/* The log is full and goes into the database, and what follows is written over it: what is found
 * behind the end of the new log is a piece of the old one. */
static void a_cut_while_the_log_is_moved_loses_nothing(void **state)
{
	enum { FULL = 18, TRIES = 16 }; /* more than 4000 pages */
	static op_fn *const over[] = { op_call, op_batch, op_other };
	op_fn *ops[FULL] = { op_open, op_function };
	struct world *w = *state;
	size_t from = 0, n, step;
	off_t full;

	for (size_t i = 2; i < FULL; i++)
		ops[i] = op_fill;
	w->power = power_begin("control");
	run(w, ops, GT_LEN(ops));
	full = log_size();
	run(w, over, GT_LEN(over));
	assert_int_equal(log_size(), full);
	end(w);
	power_careless("cut");
	n = power_moments(w->power);
	while (power_marked(w->power, from).begun < FULL - 1)
		from++;
	step = (n - from) / (TRIES * GT_MAX(seeds(), 1u)) + 1;
	for (size_t at = from; at <= n; at += at + 60 < n ? step : 4) {
		struct power_mark m = power_marked(w->power, at);

		cut(w, w->power, at, at % 2 ? POWER_TORN : POWER_ANY, at, "cut/once", &m);
	}
}

/* Power that comes back and goes again while what is there is looked at. */
static void a_second_cut_loses_nothing_either(void **state)
{
	static op_fn *const ops[] = { op_open, op_function, op_batch, op_large, op_lease_all };
	struct world *w = *state;
	struct gt_err err = { 0 };
	size_t n;

	w->power = power_begin("control");
	run(w, ops, 4);
	end(w);
	power_careless("cut");
	n = power_moments(w->power);
	for (size_t at = 5; at < n; at += n / (2 * GT_MAX(seeds(), 1u)) + 1) {
		struct power_mark m = power_marked(w->power, at);
		struct power *second;

		power_image(w->power, at, POWER_ANY, at, "cut/once");
		second = power_begin("cut/once");
		if (try_open(w, "cut/once/gantry.db", "cut/once/bodies", &err) < 0)
			fail_msg("%s", err.text);
		power_end(second);
		gt_store_close(w->store);
		w->store = NULL;
		for (size_t i = 1; i <= power_moments(second); i++)
			cut_at(w, second, i, "cut/twice", &m);
		power_free(second);
	}
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(a_cut_at_any_write_loses_nothing),
		t(a_cut_while_the_log_is_moved_loses_nothing),
		t(a_second_cut_loses_nothing_either),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	if (where[0])
		printf("failed: %s\n", where);
	printf("{\"cuts\": %u, \"lost\": %d}\n", cuts, failed);
	return failed;
}
