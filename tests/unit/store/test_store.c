/* The store against real files: what was acknowledged is there after any end of the process. */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include <gantry/base/buf.h>
#include <gantry/store/store.h>

#include "backend.h"

struct world {
	char dir[64];
	int event; /* rung by notify */
	struct gt_store *store;
	bool ballast;
};

static void ring(void *arg)
{
	struct world *w = arg;
	uint64_t one = 1;

	if (write(w->event, &one, sizeof(one)) < 0)
		abort();
}

static int try_open(struct world *w, uint32_t pages_max, struct gt_err *err)
{
	struct gt_store_config config = {
		.path = backend_path(), .notify = ring, .notify_arg = w, .pages_max = pages_max
	};

	if (w->ballast)
		config.ballast = "control/ballast";

	return gt_store_open(&config, &w->store, err);
}

static void reopen(struct world *w, uint32_t pages_max)
{
	struct gt_err err = { 0 };

	gt_store_close(w->store);
	w->store = NULL;
	if (try_open(w, pages_max, &err) < 0)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));

	snprintf(w->dir, sizeof(w->dir), "/tmp/gt-store-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(chdir(w->dir), 0);
	assert_int_equal(mkdir("control", 0700), 0);
	backend_fresh();
	w->event = eventfd(0, EFD_CLOEXEC);
	reopen(w, 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	gt_store_close(w->store);
	close(w->event);
	unlink("control/gantry.db");
	unlink("control/gantry.db-wal");
	unlink("control/gantry.db-shm");
	rmdir("control");
	assert_int_equal(chdir("/"), 0);
	rmdir(w->dir);
	free(w);
	return 0;
}

struct outcome {
	unsigned done, failed;
	struct gt_err err;
	struct gt_task_op *op;
};

static void on_done(const struct gt_err *err, void *arg)
{
	struct outcome *o = arg;

	o->done++;
	if (err) {
		o->failed++;
		o->err = *err;
	}
}

static void wait_for(struct world *w, const unsigned *n, unsigned want)
{
	while (*n < want) {
		struct pollfd p = { .fd = w->event, .events = POLLIN };
		uint64_t count;

		assert_int_equal(poll(&p, 1, 10000), 1);
		assert_int_equal(read(w->event, &count, sizeof(count)), sizeof(count));
		gt_store_poll(w->store);
	}
}

static void put(struct world *w, const char *name, uint32_t revision, const char *spec,
		struct outcome *o)
{
	struct gt_function_row row = { .name = (char *)name,
				       .revision = revision,
				       .spec_json = (char *)spec,
				       .created_ms = 1000,
				       .updated_ms = 1000 + revision };

	snprintf(row.etag, sizeof(row.etag), "etag-%u", revision);
	gt_store_put(w->store, &row, on_done, o);
}

struct seen {
	unsigned n;
	struct gt_function_row last;
	char spec[64], names[256];
};

static void on_row(const struct gt_function_row *row, void *arg)
{
	struct seen *s = arg;
	size_t used = strlen(s->names);

	s->n++;
	s->last = *row;
	snprintf(s->spec, sizeof(s->spec), "%s", row->spec_json);
	snprintf(s->names + used, sizeof(s->names) - used, "%s ", row->name);
}

static struct seen load(struct world *w)
{
	struct seen s = { 0 };

	assert_int_equal(gt_store_load(w->store, on_row, &s, NULL), 0);
	return s;
}

static void counts_the_epoch_up(void **state)
{
	struct world *w = *state;

	assert_int_equal(gt_store_epoch(w->store), 1);
	reopen(w, 0);
	assert_int_equal(gt_store_epoch(w->store), 2);
}

static void keeps_functions_over_a_restart(void **state)
{
	struct world *w = *state;
	struct outcome o = { 0 };
	struct seen s;

	put(w, "b", 1, "{\"v\":1}", &o);
	put(w, "a", 1, "{\"v\":1}", &o);
	put(w, "b", 2, "{\"v\":2}", &o);
	assert_int_equal(o.done, 0); /* never before the call returned */
	wait_for(w, &o.done, 3);
	assert_int_equal(o.failed, 0);
	reopen(w, 0);
	s = load(w);
	assert_string_equal(s.names, "a b ");
	assert_int_equal(s.last.revision, 2);
	assert_string_equal(s.spec, "{\"v\":2}");
	assert_string_equal(s.last.etag, "etag-2");
	assert_int_equal(s.last.created_ms, 1000);
	assert_int_equal(s.last.updated_ms, 1002);
}

static void on_node(const struct gt_node_row *row, void *arg)
{
	gt_buf_addf(arg, "%s %d %llu;", row->name, (int)row->duty,
		    (unsigned long long)row->drain_until_ms);
}

static void keeps_what_was_said_of_nodes(void **state)
{
	struct world *w = *state;
	gt_auto(buf) struct gt_buf seen = { 0 };
	struct outcome o = { 0 };
	const struct gt_node_row rows[] = {
		{ .name = "b", .duty = GT_DUTY_CORDONED },
		{ .name = "a", .duty = GT_DUTY_CORDONED },
		{ .name = "c", .duty = GT_DUTY_CORDONED },
		{ .name = "a", .duty = GT_DUTY_DRAINING, .drain_until_ms = 77 },
		{ .name = "c", .duty = GT_DUTY_ALL },
	};

	for (size_t i = 0; i < GT_LEN(rows); i++)
		gt_store_put_node(w->store, &rows[i], on_done, &o);
	wait_for(w, &o.done, GT_LEN(rows));
	assert_int_equal(o.failed, 0);
	reopen(w, 0);
	assert_int_equal(gt_store_load_nodes(w->store, on_node, &seen, NULL), 0);
	assert_string_equal(gt_buf_str(&seen), "a 2 77;b 1 0;");
}

static void drops_a_function_with_its_revisions(void **state)
{
	struct world *w = *state;
	struct outcome o = { 0 };

	put(w, "a", 1, "{}", &o);
	gt_store_drop(w->store, "a", on_done, &o);
	put(w, "a", 1, "{\"again\":1}", &o);
	wait_for(w, &o.done, 3);
	assert_int_equal(o.failed, 0);
	assert_string_equal(load(w).spec, "{\"again\":1}");
}

struct history {
	unsigned done;
	size_t n;
	uint32_t first, last;
};

static void on_revisions(const struct gt_err *err, const struct gt_function_row *rows, size_t n,
			 void *arg)
{
	struct history *h = arg;

	assert_null(err);
	h->done++;
	h->n = n;
	if (n) {
		h->first = rows[0].revision;
		h->last = rows[n - 1].revision;
	}
}

static void keeps_the_last_revisions_only(void **state)
{
	struct world *w = *state;
	struct outcome o = { 0 };
	struct history h = { 0 };

	for (uint32_t i = 1; i <= GT_REVISIONS_KEPT + 5; i++)
		put(w, "a", i, "{}", &o);
	wait_for(w, &o.done, GT_REVISIONS_KEPT + 5);
	gt_store_revisions(w->store, "a", on_revisions, &h);
	wait_for(w, &h.done, 1);
	assert_int_equal(o.done, GT_REVISIONS_KEPT + 5);
	assert_int_equal(h.n, GT_REVISIONS_KEPT);
	assert_int_equal(h.first, GT_REVISIONS_KEPT + 5);
	assert_int_equal(h.last, 6);
	gt_store_revisions(w->store, "nobody", on_revisions, &h);
	wait_for(w, &h.done, 2);
	assert_int_equal(h.n, 0);
}

static void one_failing_job_takes_no_other_along(void **state)
{
	struct world *w = *state;
	struct outcome good = { 0 }, bad = { 0 };

	put(w, "a", 1, "{}", &good);
	put(w, "a", 1, "{}", &bad); /* a revision number twice */
	put(w, "b", 1, "{}", &good);
	wait_for(w, &good.done, 2);
	assert_int_equal(bad.done, 1);
	assert_int_equal(bad.failed, 1);
	assert_int_equal(good.failed, 0);
	assert_string_equal(load(w).names, "a b ");
}

static void says_that_the_disk_is_full(void **state)
{
	struct world *w = *state;
	gt_auto(free) char *big = gt_alloc(100000);
	struct outcome small = { 0 }, fat = { 0 };

	reopen(w, 72);
	memset(big, 'x', 99999);
	put(w, "a", 1, "{}", &small);
	wait_for(w, &small.done, 1);
	for (int i = 0; i < 3; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%d", i);
		put(w, name, 1, big, &fat);
	}
	put(w, "b", 1, "{}", &small);
	wait_for(w, &small.done, 2);
	assert_int_equal(fat.done, 3);
	assert_int_equal(fat.failed, 2);
	assert_int_equal(fat.err.code, ENOSPC);
	assert_string_equal(fat.err.slug, "storage_full");
	assert_int_equal(small.failed, 0);
	reopen(w, 0);
	assert_string_equal(load(w).names, "a b f0 ");
}

/* The real thing, where the machine lets us: a file system without a byte left. */
static void survives_a_full_file_system(void **state)
{
	struct world *w = *state;
	struct outcome o = { 0 };
	char big[60000];
	unsigned held;

	gt_store_close(w->store);
	w->store = NULL;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "control", "tmpfs", 0, "size=1m") < 0)
		skip();
	reopen(w, 0);
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	for (unsigned i = 1; i <= 40; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%u", i);
		put(w, name, 1, big, &o);
		wait_for(w, &o.done, i);
	}
	held = o.done - o.failed;
	assert_true(o.failed > 0 && held > 0);
	assert_string_equal(o.err.slug, "storage_full");
	assert_int_equal(load(w).n, held);
	assert_int_equal(mount("tmpfs", "control", "tmpfs", MS_REMOUNT, "size=8m"), 0);
	reopen(w, 0);
	assert_int_equal(load(w).n, held);
	put(w, "after", 1, big, &o);
	wait_for(w, &o.done, 41);
	assert_int_equal(load(w).n, held + 1);
	gt_store_close(w->store);
	w->store = NULL;
	assert_int_equal(umount2("control", MNT_DETACH), 0);
}

static void on_task(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	on_done(err, arg);
	gt_task_op_free(op);
}

static void give(struct world *w, struct gt_task_op *op, gt_task_fn *done, void *arg)
{
	op->now_ms = 1;
	op->done = done;
	op->arg = arg;
	gt_store_task(w->store, op);
}

static void call(struct world *w, unsigned n, size_t size, struct outcome *o)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);
	struct gt_task *t = gt_task_op_add(op);

	snprintf(t->id, sizeof(t->id), "c%u", n);
	gt_strcopy(t->function, sizeof(t->function), "f");
	gt_strcopy(t->method, sizeof(t->method), "POST");
	t->path = gt_strdup("/");
	t->deadline_ms = UINT32_MAX;
	t->body.len = size;
	t->body.data = gt_alloc(size + 1);
	give(w, op, on_task, o);
}

static void exchange_for(struct gt_task_op *op, uint32_t n)
{
	op->sessions = gt_alloc(sizeof(*op->sessions));
	op->n_sessions = 1;
	gt_strcopy(op->sessions[0].gateway, sizeof(op->sessions[0].gateway), "g");
	op->wants = gt_alloc(sizeof(*op->wants));
	op->n_wants = 1;
	op->wants[0].n = n;
	gt_strcopy(op->wants[0].function, sizeof(op->wants[0].function), "f");
}

static void on_leased(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct outcome *o = arg;

	assert_null(err);
	o->done++;
	o->op = op;
}

static struct gt_task_op *lease_all(struct world *w)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_EXCHANGE);
	struct outcome o = { 0 };

	exchange_for(op, 200);
	give(w, op, on_leased, &o);
	wait_for(w, &o.done, 1);
	return o.op;
}

/* Each with a result of 10 kB. */
static unsigned finish_calls(struct world *w, const struct gt_task_op *leased, struct outcome *o)
{
	for (size_t i = 0; i < leased->n_tasks; i++) {
		struct gt_task_op *op = gt_task_op_new(GT_TASK_EXCHANGE);
		struct gt_task_result *r = gt_task_op_result(op);

		exchange_for(op, 0);
		r->seq = leased->tasks[i].seq;
		r->attempt = leased->tasks[i].attempt;
		r->next = GT_TASK_SUCCEEDED;
		r->counts = true;
		r->body.len = 10000;
		r->body.data = gt_alloc(r->body.len);
		give(w, op, on_task, o);
	}
	return (unsigned)leased->n_tasks;
}

/* Results of calls that run are written down on a disk that takes no new call any more. */
static void a_full_disk_has_room_for_results(void **state)
{
	struct world *w = *state;
	struct outcome o = { 0 }, late = { 0 };
	struct gt_task_op *leased;
	unsigned n = 0;
	int fd;

	gt_store_close(w->store);
	w->store = NULL;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "control", "tmpfs", 0, "size=64m") < 0)
		skip();
	w->ballast = true;
	reopen(w, 0);
	for (; n < 60; n++)
		call(w, n, 1000, &o);
	wait_for(w, &o.done, n);
	assert_int_equal(o.failed, 0);
	leased = lease_all(w);
	assert_int_equal(leased->n_tasks, n);
	fd = open("control/other", O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* somebody's log */
	for (char page[4096] = "x"; write(fd, page, sizeof(page)) == sizeof(page);)
		;
	o = (struct outcome){ 0 };
	n = finish_calls(w, leased, &o); /* 600 kB */
	wait_for(w, &o.done, n);
	assert_int_equal(o.failed, 0);
	assert_int_equal(access("control/ballast", F_OK), -1);
	call(w, 1000, 10, &late);
	wait_for(w, &late.done, 1);
	assert_string_equal(late.err.slug, "storage_full");
	assert_int_equal(ftruncate(fd, 0), 0);
	for (unsigned tries = 1; late.failed == tries; tries++) { /* at most a second */
		usleep(50000);
		call(w, 1000 + tries, 10, &late);
		wait_for(w, &late.done, tries + 1);
		assert_true(tries < 100);
	}
	assert_int_equal(access("control/ballast", F_OK), 0);
	close(fd);
	gt_task_op_free(leased);
	gt_store_close(w->store);
	w->store = NULL;
	assert_int_equal(umount2("control", MNT_DETACH), 0);
}

/* A child writes and says on a pipe what was acknowledged, until it is killed in the middle. */
static void writer_child(struct world *w, int out)
{
	uint32_t acked = 0;

	reopen(w, 0);
	for (;;) {
		struct outcome o = { 0 };

		for (uint32_t i = 1; i <= 8; i++) {
			char name[16];

			snprintf(name, sizeof(name), "f%u", acked + i);
			put(w, name, 1, "{\"kept\":true}", &o);
		}
		wait_for(w, &o.done, 8);
		acked += 8;
		if (write(out, &acked, sizeof(acked)) < 0)
			_exit(1);
	}
}

static void kill_loses_nothing_acknowledged(void **state)
{
	struct world *w = *state;

	gt_store_close(w->store);
	w->store = NULL;
	for (int round = 0; round < 5; round++) {
		uint32_t acked = 0, next;
		int pipe_fd[2];
		pid_t pid;

		backend_fresh();
		assert_int_equal(pipe(pipe_fd), 0);
		pid = fork();
		if (pid == 0) {
			close(pipe_fd[0]);
			writer_child(w, pipe_fd[1]);
		}
		close(pipe_fd[1]);
		while (acked < 400u + 56u * (unsigned)round &&
		       read(pipe_fd[0], &next, sizeof(next)) == sizeof(next))
			acked = next;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		while (read(pipe_fd[0], &next, sizeof(next)) == sizeof(next))
			acked = next;
		close(pipe_fd[0]);
		reopen(w, 0);
		assert_true(acked >= 400);
		assert_true(load(w).n >= acked);
		gt_store_close(w->store);
		w->store = NULL;
	}
}

/* Two that have the same database, as after a lease was lost. */
static void an_epoch_that_is_over_writes_nothing(void **state)
{
	struct world *w = *state, next = { .event = w->event };
	struct outcome o = { 0 };
	struct gt_err err = { 0 };

	put(w, "a", 1, "{}", &o);
	wait_for(w, &o.done, 1);
	assert_int_equal(o.failed, 0);
	reopen(&next, 0);
	put(w, "b", 1, "{}", &o);
	wait_for(w, &o.done, 2);
	assert_int_equal(o.failed, 1);
	assert_int_equal(o.err.code, ESTALE);
	assert_int_equal(gt_store_failed(w->store, &err), -ESTALE);
	put(&next, "c", 1, "{}", &o);
	wait_for(&next, &o.done, 3);
	assert_int_equal(o.failed, 1);
	assert_string_equal(load(&next).names, "a c ");
	gt_store_close(next.store);
}

static void text_of_any_bytes_is_kept(void **state)
{
	struct world *w = *state;
	struct outcome o = { 0 };

	put(w, "a", 1, "{\"v\":\"\xff\xc3\xa9\xed\xa0\x80\"}", &o);
	wait_for(w, &o.done, 1);
	assert_int_equal(o.failed, 0);
	if (backend_is_pg()) /* which takes characters alone */
		assert_string_equal(load(w).spec, "{\"v\":\"?\xc3\xa9???\"}");
	else
		assert_string_equal(load(w).spec, "{\"v\":\"\xff\xc3\xa9\xed\xa0\x80\"}");
}

static void refuses_a_database_of_a_newer_program(void **state)
{
	struct world *w = *state;
	struct gt_err err = { 0 };
	sqlite3 *db;

	gt_store_close(w->store);
	w->store = NULL;
	assert_int_equal(sqlite3_open("control/gantry.db", &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
				      "PRAGMA user_version=77;"
				      "UPDATE meta SET value = 70 WHERE key = 'min_reader'",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(try_open(w, 0, &err), -EPROTO);
	assert_non_null(strstr(err.text, "schema 77"));
	assert_non_null(strstr(err.text, "up to "));
}

/* One release back: what was added since means nothing to it. */
static void uses_a_newer_database_that_says_it_may(void **state)
{
	struct world *w = *state;
	struct outcome o = { 0 };
	sqlite3 *db;

	gt_store_close(w->store);
	w->store = NULL;
	assert_int_equal(sqlite3_open("control/gantry.db", &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
				      "PRAGMA user_version=77;"
				      "ALTER TABLE functions ADD COLUMN news INTEGER DEFAULT 3",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	reopen(w, 0);
	put(w, "a", 1, "{}", &o);
	wait_for(w, &o.done, 1);
	assert_int_equal(o.failed, 0);
	assert_int_equal(sqlite3_open("control/gantry.db", &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "INSERT INTO meta VALUES('still', 1)", NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	reopen(w, 0);
	assert_string_equal(load(w).names, "a ");
}

static void names_a_file_that_is_no_database(void **state)
{
	struct world *w = *state;
	struct gt_err err = { 0 };
	FILE *f;

	gt_store_close(w->store);
	w->store = NULL;
	f = fopen("control/gantry.db", "w");
	for (int i = 0; i < 1000; i++)
		fputs("not a database\n", f);
	fclose(f);
	assert_int_equal(try_open(w, 0, &err), -EIO);
	assert_non_null(strstr(err.text, "control/gantry.db"));
}

/* As root we can take a user's right to search the parents away; the path is relative to survive
 * it. */
static void opens_below_parents_it_may_not_search(void **state)
{
	struct world *w = *state;
	char outer[80], inner[80];
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	gt_store_close(w->store);
	w->store = NULL;
	/* The world's directory moves into one that only root may enter. */
	assert_int_equal(chown("control", 65534, 65534), 0);
	assert_int_equal(chown("control/gantry.db", 65534, 65534), 0);
	snprintf(outer, sizeof(outer), "%s-shut", w->dir);
	snprintf(inner, sizeof(inner), "%s-shut/in", w->dir);
	assert_int_equal(mkdir(outer, 0700), 0);
	assert_int_equal(rename(w->dir, inner), 0);
	assert_int_equal(chmod(inner, 0711), 0);
	pid = fork();
	if (pid == 0) {
		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(4);
		if (try_open(w, 0, NULL) < 0)
			_exit(1);
		gt_store_close(w->store);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(rename(inner, w->dir), 0);
	rmdir(outer);
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define t(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest all[] = {
		t(counts_the_epoch_up),
		t(keeps_functions_over_a_restart),
		t(keeps_what_was_said_of_nodes),
		t(drops_a_function_with_its_revisions),
		t(keeps_the_last_revisions_only),
		t(one_failing_job_takes_no_other_along),
		t(kill_loses_nothing_acknowledged),
		t(an_epoch_that_is_over_writes_nothing),
		t(text_of_any_bytes_is_kept),
	};
	const struct CMUnitTest files[] = {
		t(says_that_the_disk_is_full),
		t(survives_a_full_file_system),
		t(a_full_disk_has_room_for_results),
		t(refuses_a_database_of_a_newer_program),
		t(uses_a_newer_database_that_says_it_may),
		t(names_a_file_that_is_no_database),
		t(opens_below_parents_it_may_not_search),
	};
	int failed = cmocka_run_group_tests_name("on SQLite", all, NULL, NULL) +
		     cmocka_run_group_tests_name("files of SQLite", files, NULL, NULL);

	if (backend_pg_installed())
		failed += cmocka_run_group_tests_name("on PostgreSQL", all, backend_pg_begin,
						      backend_pg_end);
	return failed;
}
