/* Who leads, of several controls with one PostgreSQL. Children are controls that can be killed and
 * stopped; they say on a pipe what they are. */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>

#include <gantry/base/clock.h>
#include <gantry/store/lease.h>

#include "backend.h"

#define LEASE_MS 3000

struct one {
	pid_t pid;
	int from; /* struct said, each time it changes */
};

static int event;
static uint64_t lease_ms;
static const char *token_print; /* of who begins next */

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

	if (read(event, &count, sizeof(count)) != sizeof(count))
		abort();
}

struct said {
	enum gt_lease_state state;
	uint64_t epoch;
	char place[32], before[32];
	bool other_token;
};

static void say(int to, const struct said *s)
{
	if (write(to, s, sizeof(*s)) != sizeof(*s))
		_exit(1);
}

/* Follows until it leads, and leads until it may not. */
static _Noreturn void child(const char *place, int to)
{
	gt_auto(free) char *door = gt_asprintf("http://%s", place);
	struct gt_lease_config config = { .url = backend_path(),
					  .holder = place,
					  .place = place,
					  .door = door,
					  .token_print = token_print,
					  .lease_ms = lease_ms,
					  .notify = ring };
	struct gt_lease *l = NULL;
	struct said said = { 0 };
	struct gt_lease_view v;
	struct gt_err err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	event = eventfd(0, EFD_CLOEXEC);
	if (gt_lease_new(&config, &l, &err) < 0)
		_exit(1);
	do {
		await_ring();
		gt_lease_view(l, &v);
		said.state = v.state;
		said.epoch = v.epoch;
		said.other_token = v.other_token;
		gt_strcopy(said.place, sizeof(said.place), v.place);
		gt_strcopy(said.before, sizeof(said.before), v.before);
		say(to, &said);
	} while (v.state != GT_LEASE_LEADS);
	for (gt_lease_view(l, &v); v.state == GT_LEASE_LEADS; gt_lease_view(l, &v))
		await_ring();
	said.state = v.state;
	say(to, &said);
	gt_lease_free(l);
	_exit(0);
}

static struct one begin(const char *place)
{
	struct one o;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	o.pid = fork();
	assert_true(o.pid >= 0);
	if (o.pid == 0) {
		close(fds[0]);
		child(place, fds[1]);
	}
	close(fds[1]);
	o.from = fds[0];
	return o;
}

static void end(struct one *o)
{
	kill(o->pid, SIGKILL);
	waitpid(o->pid, NULL, 0);
	close(o->from);
}

/* What it says next; false after so long, or at its end. */
static bool hear(const struct one *o, struct said *ret, int within_ms)
{
	struct pollfd p = { .fd = o->from, .events = POLLIN };

	return poll(&p, 1, within_ms) == 1 && read(o->from, ret, sizeof(*ret)) == sizeof(*ret);
}

static struct said hear_state(const struct one *o, enum gt_lease_state state, int within_ms)
{
	struct said s = { 0 };

	do
		assert_true(hear(o, &s, within_ms));
	while (s.state != state);
	return s;
}

static uint64_t now_ms(void)
{
	return gt_mono_ns(&gt_clock_system) / GT_NS_PER_MS;
}

static int setup(void **state)
{
	(void)state;
	backend_fresh();
	lease_ms = LEASE_MS;
	token_print = NULL;
	return 0;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void one_leads_and_the_other_knows_where(void **state)
{
	struct one a = begin("a"), b;
	uint64_t epoch = hear_state(&a, GT_LEASE_LEADS, 20000).epoch;
	struct said s;

	(void)state;
	b = begin("b");
	s = hear_state(&b, GT_LEASE_FOLLOWS, 20000);
	assert_string_equal(s.place, "a");
	assert_int_equal(s.epoch, epoch);
	assert_false(hear(&b, &s, 2 * LEASE_MS)); /* it is renewed */
	assert_false(hear(&a, &s, 0));
	end(&b);
	end(&a);
}

static void who_follows_with_another_token_is_told(void **state)
{
	struct one a, b, c, d;
	struct said s;

	(void)state;
	token_print = "one";
	a = begin("a");
	hear_state(&a, GT_LEASE_LEADS, 20000);
	b = begin("b");
	token_print = "other";
	c = begin("c");
	do
		s = hear_state(&c, GT_LEASE_FOLLOWS, 20000);
	while (!s.other_token);
	while (hear(&b, &s, LEASE_MS / 2))
		assert_false(s.other_token);
	/* One of a version that tells none leads: what the last one told is not its. */
	end(&a);
	end(&b);
	end(&c);
	token_print = NULL;
	a = begin("d");
	hear_state(&a, GT_LEASE_LEADS, 20000);
	token_print = "another";
	d = begin("e");
	hear_state(&d, GT_LEASE_FOLLOWS, 20000);
	while (hear(&d, &s, LEASE_MS))
		assert_false(s.other_token);
	end(&a);
	end(&d);
}

/* Its connection ends with it: nobody waits for the lease. */
static void a_killed_leader_is_followed_at_once(void **state)
{
	struct one a = begin("a"), b;
	uint64_t epoch = hear_state(&a, GT_LEASE_LEADS, 20000).epoch, begun_ms;
	struct said s;

	(void)state;
	b = begin("b");
	hear_state(&b, GT_LEASE_FOLLOWS, 20000);
	begun_ms = now_ms();
	end(&a);
	s = hear_state(&b, GT_LEASE_LEADS, 20000);
	assert_int_equal(s.epoch, epoch + 1);
	assert_string_equal(s.before, "http://a");
	printf("followed after %u ms\n", (unsigned)(now_ms() - begun_ms));
	assert_true(now_ms() - begun_ms < LEASE_MS / 2);
	end(&b);
	b = begin("b"); /* the next one of the same daemon */
	assert_string_equal(hear_state(&b, GT_LEASE_LEADS, 20000).before, "");
	end(&b);
}

/* As of one that was stopped while it told the server of a change: nothing ends it by itself. */
static void a_lock_of_the_last_leader_is_taken_from_it(void **state)
{
	struct one a = begin("a"), b;
	uint64_t epoch = hear_state(&a, GT_LEASE_LEADS, 20000).epoch;
	PGconn *held = PQconnectdb(backend_path());

	(void)state;
	b = begin("b");
	hear_state(&b, GT_LEASE_FOLLOWS, 20000);
	PQclear(PQexec(held, "BEGIN"));
	PQclear(PQexec(held, "UPDATE leader SET commits = commits + 1"));
	assert_int_equal(PQtransactionStatus(held), PQTRANS_INTRANS);
	end(&a);
	assert_int_equal(hear_state(&b, GT_LEASE_LEADS, 20000).epoch, epoch + 1);
	PQclear(PQexec(held, "COMMIT"));
	assert_int_equal(PQstatus(held), CONNECTION_BAD);
	PQfinish(held);
	end(&b);
}

/* It can not know whether another one was made leader meanwhile. */
static void a_leader_without_a_database_stops_in_time(void **state)
{
	struct one a = begin("a");
	uint64_t begun_ms;

	(void)state;
	hear_state(&a, GT_LEASE_LEADS, 20000);
	backend_pg_crash();
	begun_ms = now_ms();
	hear_state(&a, GT_LEASE_OVER, 20000);
	assert_in_range(now_ms() - begun_ms, LEASE_MS / 10 * 4 - 500, LEASE_MS);
	backend_pg_return();
	end(&a);
}

static void a_short_absence_of_the_database_ends_nothing(void **state)
{
	struct said s = { 0 };
	struct one a;
	long expires;

	(void)state;
	lease_ms = 15000;
	a = begin("a");
	hear_state(&a, GT_LEASE_LEADS, 20000);
	expires = backend_sql("SELECT expires_ms FROM leader");
	backend_pg_crash();
	backend_pg_return();
	while (backend_sql("SELECT expires_ms FROM leader") == expires)
		assert_false(hear(&a, &s, 100)); /* it leads on */
	end(&a);
}

static bool authority_is_known(struct gt_lease *l)
{
	gt_auto(buf) struct gt_buf key = { 0 }, cert = { 0 };
	struct gt_err err;

	return gt_lease_authority(l, &key, &cert, &err) == 0 && gt_streq(gt_buf_str(&cert), "cert");
}

/* Whether it is there before, or made by who leads: long before the lease is renewed. */
static void a_leader_knows_the_authority_soon(void **state)
{
	struct gt_lease_config config = { .url = backend_path(),
					  .holder = "a",
					  .place = "a",
					  .door = "http://a",
					  .lease_ms = 60000,
					  .notify = ring };
	struct gt_lease *l = NULL;
	struct gt_lease_view v;
	uint64_t begun_ms;
	struct gt_err err;

	(void)state;
	event = eventfd(0, EFD_CLOEXEC);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(gt_lease_new(&config, &l, &err), 0);
		for (gt_lease_view(l, &v); v.state != GT_LEASE_LEADS; gt_lease_view(l, &v))
			await_ring();
		begun_ms = now_ms();
		backend_sql("INSERT INTO authority(id, key, cert) VALUES(1, 'key', 'cert')"
			    " ON CONFLICT(id) DO NOTHING");
		while (!authority_is_known(l))
			assert_true(now_ms() - begun_ms < 5000);
		gt_lease_free(l);
	}
	close(event);
}

int main(void)
{
#define t(fn) cmocka_unit_test_setup(fn, setup)
	const struct CMUnitTest tests[] = {
		t(one_leads_and_the_other_knows_where),
		t(who_follows_with_another_token_is_told),
		t(a_killed_leader_is_followed_at_once),
		t(a_lock_of_the_last_leader_is_taken_from_it),
		t(a_leader_without_a_database_stops_in_time),
		t(a_short_absence_of_the_database_ends_nothing),
		t(a_leader_knows_the_authority_soon),
	};

	if (!backend_pg_installed())
		return 0;
	return cmocka_run_group_tests(tests, backend_pg_begin, backend_pg_end);
}
