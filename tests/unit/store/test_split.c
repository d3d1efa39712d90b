/* Split brain: a leader is paused, another one follows it and writes, the first one is woken and
 * goes on writing: nothing of it is accepted. SPLIT_ROUNDS is how often; else it is quick. */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>
#include <sqlite3.h>

#include <gantry/base/clock.h>
#include <gantry/store/lease.h>
#include <gantry/store/store.h>

#include "backend.h"

#define LANES    8   /* that have a database each, at once */
#define LEASE_MS 500 /* as short as one that is at work renews on a busy machine */
#define SAID_MS  60000
#define TRIES    20000

enum what { FOLLOWS, LEADS, WROTE, OVER };

struct said {
	enum what what;
	uint64_t epoch;
};

struct leader { /* a process */
	pid_t pid;
	int from;
	uint64_t epoch;
};

struct lane {
	bool pg;
	sqlite3 *lite;
	PGconn *conn;
};

struct result {
	unsigned rounds, accepted;
};
static struct result *results; /* of the lanes, in memory that all share */
static struct result total[2];
static int event;

/* In processes of their own an assertion has nowhere to go. */
#define MUST(expr)                                                                 \
	do {                                                                       \
		if (!(expr)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #expr); \
			_exit(1);                                                  \
		}                                                                  \
	} while (0)

/* ---- a leader -------------------------------------------------------------------------------- */

static void ring(void *arg)
{
	uint64_t one = 1;

	(void)arg;
	if (write(event, &one, sizeof(one)) < 0)
		abort();
}

static void await_ring(void)
{
	uint64_t count;

	MUST(read(event, &count, sizeof(count)) == sizeof(count));
}

static void say(int to, enum what what, uint64_t epoch)
{
	struct said s = { .what = what, .epoch = epoch };

	MUST(write(to, &s, sizeof(s)) == sizeof(s));
}

static void on_done(const struct gt_err *err, void *arg)
{
	*(int *)arg = err ? err->code : 0;
}

static int write_one(struct gt_store *s, unsigned n)
{
	gt_auto(free) char *name = gt_asprintf("e%llu-%u", (unsigned long long)gt_store_epoch(s),
					       n);
	struct gt_function_row row = { .name = name, .revision = 1, .spec_json = (char[]){ "{}" } };
	int done = -1;

	gt_strcopy(row.etag, sizeof(row.etag), "e");
	gt_store_put(s, &row, on_done, &done);
	while (done < 0) {
		await_ring();
		gt_store_poll(s);
	}
	return done;
}

/* Its turn, by the lease. */
static uint64_t follow(struct gt_lease *l, int to)
{
	struct gt_lease_view v;

	do {
		await_ring();
		gt_lease_view(l, &v);
		if (v.state == GT_LEASE_FOLLOWS)
			say(to, FOLLOWS, v.epoch);
	} while (v.state != GT_LEASE_LEADS);
	return v.epoch;
}

/* Writes until it is told that its time is over: a database that is away, or busy, is no reason. */
static _Noreturn void lead(const struct lane *lane, int to)
{
	struct gt_lease_config config = { .url = backend_path(),
					  .holder = "node",
					  .place = "here",
					  .door = "http://door",
					  .lease_ms = LEASE_MS,
					  .notify = ring };
	struct gt_store_config store = { .path = backend_path(), .notify = ring };
	struct gt_lease *l = NULL;
	struct gt_store *s = NULL;
	struct gt_err err = { 0 };
	unsigned n = 0;
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	event = eventfd(0, EFD_CLOEXEC);
	if (lane->pg) {
		MUST(gt_lease_new(&config, &l, &err) == 0);
		store.epoch = follow(l, to);
	}
	if (gt_store_open(&store, &s, &err) < 0)
		fprintf(stderr, "%s\n", err.text);
	MUST(s);
	say(to, LEADS, gt_store_epoch(s));
	do {
		r = write_one(s, n++);
		if (n == 1)
			say(to, WROTE, 0);
	} while (r != ESTALE && n < TRIES);
	say(to, OVER, 0);
	_exit(r != ESTALE);
}

static struct leader begin(const struct lane *lane)
{
	struct leader l = { 0 };
	int fds[2];

	MUST(pipe(fds) == 0);
	l.pid = fork();
	MUST(l.pid >= 0);
	if (l.pid == 0) {
		close(fds[0]);
		lead(lane, fds[1]);
	}
	close(fds[1]);
	l.from = fds[0];
	return l;
}

static struct said hear(const struct leader *l)
{
	struct pollfd p = { .fd = l->from, .events = POLLIN };
	struct said s = { 0 };

	MUST(poll(&p, 1, SAID_MS) == 1 && read(l->from, &s, sizeof(s)) == sizeof(s));
	return s;
}

static void await(struct leader *l, enum what what)
{
	struct said s;

	do
		s = hear(l);
	while (s.what != what);
	if (what == LEADS)
		l->epoch = s.epoch;
}

static void end(struct leader *l)
{
	kill(l->pid, SIGKILL);
	MUST(waitpid(l->pid, NULL, 0) == l->pid);
	close(l->from);
}

/* ---- what is in the database ------------------------------------------------------------------
 */

static unsigned rows(struct lane *lane, uint64_t epoch)
{
	gt_auto(free) char *sql = gt_asprintf(
		"SELECT count(*) FROM functions WHERE name LIKE 'e%llu-%%'",
		(unsigned long long)epoch);
	unsigned n;

	if (lane->pg) {
		PGresult *res = PQexec(lane->conn, sql);

		MUST(PQntuples(res) == 1);
		n = (unsigned)atoi(PQgetvalue(res, 0, 0));
		PQclear(res);
	} else {
		sqlite3_stmt *stmt;

		MUST(sqlite3_prepare_v2(lane->lite, sql, -1, &stmt, NULL) == SQLITE_OK);
		MUST(sqlite3_step(stmt) == SQLITE_ROW);
		n = (unsigned)sqlite3_column_int(stmt, 0);
		sqlite3_finalize(stmt);
	}
	return n;
}

/* In a transaction of SQLite it is paused with the lock that every other leader needs. */
static bool has_lock(struct lane *lane)
{
	if (lane->pg)
		return false;
	if (sqlite3_exec(lane->lite, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
		return true;
	MUST(sqlite3_exec(lane->lite, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK);
	return false;
}

static void pause_leader(struct lane *lane, const struct leader *l)
{
	int status;

	for (;;) {
		usleep((unsigned)rand() % 5000);
		kill(l->pid, SIGSTOP);
		MUST(waitpid(l->pid, &status, WUNTRACED) == l->pid && WIFSTOPPED(status));
		if (!has_lock(lane))
			return;
		kill(l->pid, SIGCONT);
	}
}

static unsigned one_round(struct lane *lane, struct leader *a)
{
	struct leader b;
	unsigned before, after;

	if (lane->pg) {
		b = begin(lane);
		await(&b, FOLLOWS);
	}
	pause_leader(lane, a);
	if (!lane->pg)
		b = begin(lane);
	await(&b, LEADS);
	await(&b, WROTE);
	MUST(b.epoch == a->epoch + 1);
	before = rows(lane, a->epoch);
	kill(a->pid, SIGCONT);
	await(a, OVER);
	after = rows(lane, a->epoch);
	end(a);
	*a = b;
	return after - before;
}

static void lane_run(struct lane *lane, unsigned rounds, struct result *ret)
{
	struct leader a;

	srand((unsigned)getpid());
	if (lane->pg)
		lane->conn = PQconnectdb(backend_path());
	a = begin(lane);
	await(&a, LEADS);
	await(&a, WROTE);
	if (!lane->pg)
		MUST(sqlite3_open(backend_path(), &lane->lite) == SQLITE_OK);
	while (ret->rounds < rounds) {
		ret->accepted += one_round(lane, &a);
		ret->rounds++;
	}
	end(&a);
	sqlite3_close(lane->lite);
	PQfinish(lane->conn);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static _Noreturn void lane_main(unsigned i, unsigned rounds)
{
	struct lane lane = { .pg = backend_is_pg() };
	char dir[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(dir, sizeof(dir), "lane%u", i);
	if (!lane.pg)
		MUST(mkdir(dir, 0700) == 0 && chdir(dir) == 0 && mkdir("control", 0700) == 0);
	lane_run(&lane, rounds, &results[i]);
	_exit(0);
}

static void run(unsigned rounds)
{
	struct result *sum = &total[backend_is_pg()];
	pid_t pids[LANES];

	memset(results, 0, LANES * sizeof(*results));
	for (unsigned i = 0; i < LANES; i++) {
		backend_fresh();
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0)
			lane_main(i, (rounds + LANES - 1) / LANES);
	}
	for (unsigned i = 0; i < LANES; i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		sum->rounds += results[i].rounds;
		sum->accepted += results[i].accepted;
		assert_int_equal(status, 0);
	}
	assert_int_equal(sum->accepted, 0);
	assert_true(sum->rounds >= rounds);
}

static void a_leader_that_slept_writes_nothing(void **state)
{
	const char *rounds = getenv("SPLIT_ROUNDS");

	(void)state;
	run(rounds ? (unsigned)atoi(rounds) : backend_is_pg() ? LANES : 3 * LANES);
}

static int set_up(void **state)
{
	static char dir[] = "/tmp/gt-split-XXXXXX";

	*state = dir;
	assert_non_null(mkdtemp(dir));
	return chdir(dir);
}

static int tear_down(void **state)
{
	gt_auto(free) char *rm = gt_asprintf("rm -r %s", (char *)*state);
	pid_t pid;

	assert_int_equal(chdir("/"), 0);
	pid = fork();
	if (pid == 0)
		_exit(execl("/bin/sh", "sh", "-c", rm, (char *)NULL));
	return waitpid(pid, NULL, 0) < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_leader_that_slept_writes_nothing) };
	int failed;

	results = mmap(NULL, LANES * sizeof(*results), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	failed = cmocka_run_group_tests_name("on SQLite", tests, set_up, tear_down);
	if (backend_pg_installed())
		failed += cmocka_run_group_tests_name("on PostgreSQL", tests, backend_pg_begin,
						      backend_pg_end);
	printf("{\"sqlite\": {\"rounds\": %u, \"accepted\": %u}, "
	       "\"postgresql\": {\"rounds\": %u, \"accepted\": %u}}\n",
	       total[0].rounds, total[0].accepted, total[1].rounds, total[1].accepted);
	return failed;
}
