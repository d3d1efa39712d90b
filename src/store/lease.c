/* store/lease.c - see lease.h. All that it says is PostgreSQL's: a file of SQLite belongs to who
 * has the state directory.
 *
 * Leader N holds the advisory lock N from its own connection, so a follower that gets it knows that
 * leader N's connection has ended, and need not wait for the lease to pass. A leader that is
 * stopped keeps its lock; then the time decides. */
#include <pthread.h>
#include <signal.h>

#include <gantry/base/clock.h>
#include <gantry/base/log.h>
#include <gantry/store/lease.h>

#include "db.h"
#include "keys.h"
#include "lease_row.h"
#include "wait.h"

#define WAIT_MS  500 /* for the lock, and between two tries to connect */
#define AGAIN_MS 100
#define NOW      "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
#define LOCK     "(('leader'::regclass::oid::bigint << 32) + ?1)"

struct gt_lease {
	struct gt_lease_config config;
	char *url, *holder, *place, *door, *token_print;
	struct gt_db *db; /* thread's */
	pthread_t thread;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t wake;
	bool stopping;
	struct gt_lease_view view;
	uint64_t good_ns;        /* the last renewal was asked for then */
	struct gt_buf key, cert; /* of the authority, once it was seen */
};

static uint64_t now_ns(void)
{
	return gt_mono_ns(&gt_clock_system);
}

static uint64_t stop_ns(const struct gt_lease *l)
{
	return l->config.lease_ms * GT_NS_PER_MS / 10 * 7;
}

/* ---- the state ------------------------------------------------------------------------------ */

static void state_set(struct gt_lease *l, const struct gt_lease_view *next)
{
	bool other;

	pthread_mutex_lock(&l->lock);
	other = next->state != l->view.state || next->epoch != l->view.epoch ||
		next->other_token != l->view.other_token;
	if (l->view.state != GT_LEASE_OVER)
		l->view = *next;
	pthread_mutex_unlock(&l->lock);
	if (other)
		l->config.notify(l->config.notify_arg);
}

static void state_waits(struct gt_lease *l, const struct gt_err *why)
{
	struct gt_lease_view v = { .state = GT_LEASE_WAITS, .why = *why };

	state_set(l, &v);
}

static void state_over(struct gt_lease *l, uint64_t epoch, const char *why)
{
	struct gt_lease_view v = { .state = GT_LEASE_OVER, .epoch = epoch };

	gt_err_set(&v.why, ESTALE, "unavailable", "epoch %llu is over: %s",
		   (unsigned long long)epoch, why);
	state_set(l, &v);
}

static const char too_late[] = "the lease could not be renewed in time";

void gt_lease_view(struct gt_lease *l, struct gt_lease_view *ret)
{
	pthread_mutex_lock(&l->lock);
	*ret = l->view;
	if (ret->state == GT_LEASE_LEADS && now_ns() - l->good_ns > stop_ns(l)) {
		ret->state = GT_LEASE_OVER;
		gt_err_set(&ret->why, ESTALE, "unavailable", "epoch %llu is over: %s",
			   (unsigned long long)ret->epoch, too_late);
	}
	pthread_mutex_unlock(&l->lock);
}

/* False: it stops. */
static bool pause_ms(struct gt_lease *l, uint64_t ms)
{
	struct timespec until = gt_in_ms(ms);
	bool stopping;

	pthread_mutex_lock(&l->lock);
	if (!l->stopping && ms)
		pthread_cond_timedwait(&l->wake, &l->lock, &until);
	stopping = l->stopping;
	pthread_mutex_unlock(&l->lock);
	return !stopping;
}

/* ---- statements ----------------------------------------------------------------------------- */

/* A truth, or a number that says whether a row was there. */
static int ask(struct gt_lease *l, const char *sql, uint64_t epoch, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(l->db, err, sql, "i", (int64_t)epoch);
	int r = gt_db_step(q, err);

	return r > 0 ? gt_db_int(q, 0) != 0 : r;
}

static int lock_try(struct gt_lease *l, uint64_t epoch, struct gt_err *err)
{
	return ask(l, "SELECT pg_try_advisory_lock(" LOCK ")", epoch, err);
}

static void lock_drop(struct gt_lease *l, uint64_t epoch)
{
	struct gt_err err;

	(void)!ask(l, "SELECT pg_advisory_unlock(" LOCK ")", epoch, &err);
}

/* 1 = it is ours: its holder's connection has ended. */
static int lock_wait(struct gt_lease *l, uint64_t epoch, uint64_t wait_ms, struct gt_err *err)
{
	gt_auto(free) char *sql = gt_asprintf("SET lock_timeout = %llu",
					      (unsigned long long)wait_ms);
	int r = gt_db_exec(l->db, sql, err);

	if (r == 0)
		r = ask(l, "SELECT 1 FROM (SELECT pg_advisory_lock(" LOCK ")) l", epoch, err);
	return r == -EAGAIN ? 0 : r; /* in vain */
}

/* A new database has no tables yet; others get newer ones from who leads. */
static int tables_make(struct gt_lease *l, struct gt_err *err)
{
	int r = ask(l, "SELECT to_regclass('leader') IS NOT NULL AND ?1::bigint = 1", 1, err);

	return r == 0 ? gt_db_migrate(l->db, "the state database", err) : r;
}

int gt_lease_row_read(struct gt_db *db, struct gt_lease_view *ret, int64_t *left_ms,
		      struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err, "SELECT epoch, holder, place, door, expires_ms - " NOW " FROM leader", "");
	int r = gt_db_step(q, err);

	if (r <= 0)
		return r < 0 ? r : gt_err_set(err, EAGAIN, "unavailable", "no row of a leader");
	*ret = (struct gt_lease_view){ .state = GT_LEASE_FOLLOWS,
				       .epoch = (uint64_t)gt_db_int(q, 0) };
	gt_strcopy(ret->holder, sizeof(ret->holder), gt_db_text(q, 1));
	gt_strcopy(ret->place, sizeof(ret->place), gt_db_text(q, 2));
	gt_strcopy(ret->door, sizeof(ret->door), gt_db_text(q, 3));
	*left_ms = gt_db_int(q, 4);
	return 0;
}

int gt_lease_token_other(struct gt_db *db, uint64_t epoch, const char *print, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf theirs = { 0 };
	int r = gt_token_print_read(db, epoch, &theirs, err);

	return r == 0 ? !gt_streq(gt_buf_str(&theirs), print) : r == -ENOENT ? 0 : r;
}

/* For who follows: it opens no store, but its daemon has to prove who it is. The authority is made
 * once, by the first who leads, and never changes. */
static void authority_look(struct gt_lease *l)
{
	struct gt_buf key = { 0 }, cert = { 0 };
	struct gt_err err = { 0 };

	if (l->cert.len) /* this thread alone sets it */
		return;
	if (gt_authority_read(l->db, &key, &cert, &err) < 0) {
		gt_buf_wipe(&key);
		gt_buf_fini(&cert);
		return;
	}
	pthread_mutex_lock(&l->lock);
	l->key = key;
	l->cert = cert;
	pthread_mutex_unlock(&l->lock);
}

int gt_lease_authority(struct gt_lease *l, struct gt_buf *key, struct gt_buf *cert,
		       struct gt_err *err)
{
	int r = 0;

	pthread_mutex_lock(&l->lock);
	if (!l->cert.len)
		r = gt_err_set(err, EAGAIN, "unavailable",
			       "the cluster's authority for certificates is not known yet");
	else if (gt_buf_add(key, l->key.data, l->key.len) < 0 ||
		 gt_buf_add(cert, l->cert.data, l->cert.len) < 0)
		r = gt_err_set(err, E2BIG, "internal", "the authority in the store");
	pthread_mutex_unlock(&l->lock);
	return r;
}

/* ---- to lead -------------------------------------------------------------------------------- */

static int row_take(struct gt_lease *l, uint64_t was, bool sure, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		l->db, err,
		"UPDATE leader SET epoch = epoch + 1, holder = ?2, place = ?3, door = ?4,"
		" expires_ms = " NOW
		" + ?5 WHERE epoch = ?1 AND (?6::bigint = 1 OR expires_ms < " NOW
		") RETURNING epoch",
		"itttii", (int64_t)was, l->holder, l->place, l->door, (int64_t)l->config.lease_ms,
		(int64_t)sure);

	return gt_db_step(q, err);
}

/* A leader that was stopped within a transaction holds the row for as long as it sleeps: the server
 * counts no idle time while it waits for the rest of a pipeline. Its time is over, so its session
 * is ended; those of others that try for the row, too, connect again. */
static int holders_end(struct gt_lease *l, uint64_t was, struct gt_err *err)
{
	int r = ask(l,
		    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE ?1::bigint >= 0"
		    " AND locktype = 'relation' AND relation = 'leader'::regclass AND database ="
		    " (SELECT oid FROM pg_database WHERE datname = current_database())"
		    " AND mode IN ('RowShareLock', 'RowExclusiveLock') AND granted"
		    " AND pid <> pg_backend_pid()",
		    was, err);

	if (r > 0)
		gt_warn("store: a session of leader %llu held its row, and was ended",
			(unsigned long long)was);
	return r < 0 ? r : 0;
}

/* From leader `was`, whose time has passed or whose connection has ended (sure). */
static int take(struct gt_lease *l, const struct gt_lease_view *was, bool sure, struct gt_err *err)
{
	struct gt_lease_view v = { .state = GT_LEASE_LEADS, .epoch = was->epoch + 1 };
	uint64_t begun_ns = now_ns();
	int r = lock_try(l, v.epoch, err);

	if (r <= 0)
		return r;
	r = row_take(l, was->epoch, sure, err);
	if (r <= 0) {
		lock_drop(l, v.epoch);
		return r == -EAGAIN ? holders_end(l, was->epoch, err) : r;
	}
	pthread_mutex_lock(&l->lock);
	l->good_ns = begun_ns;
	pthread_mutex_unlock(&l->lock);
	gt_strcopy(v.holder, sizeof(v.holder), l->holder);
	if (!gt_streq(was->holder, l->holder))
		gt_strcopy(v.before, sizeof(v.before), was->door);
	state_set(l, &v);
	return 1;
}

/* One look at the row, and a wait for its end. 1 = it leads now. */
static int follow(struct gt_lease *l, struct gt_err *err)
{
	struct gt_lease_view v;
	int64_t left_ms = 0;
	int r = gt_db_ready(l->db, err);

	if (r == 0)
		r = tables_make(l, err);
	if (r >= 0)
		r = gt_lease_row_read(l->db, &v, &left_ms, err);
	if (r < 0)
		return r;
	if (left_ms <= 0)
		return take(l, &v, false, err);
	if (l->token_print && !gt_streq(v.holder, l->holder))
		v.other_token = gt_lease_token_other(l->db, v.epoch, l->token_print,
						     &(struct gt_err){ 0 }) > 0;
	state_set(l, &v);
	authority_look(l);
	r = lock_wait(l, v.epoch, (uint64_t)GT_MIN(left_ms, (int64_t)WAIT_MS) + 1, err);
	if (r <= 0)
		return r;
	r = take(l, &v, true, err);
	lock_drop(l, v.epoch);
	return r;
}

/* ---- leading -------------------------------------------------------------------------------- */

/* 1 = renewed, 0 = another one leads. */
static int renew(struct gt_lease *l, uint64_t epoch, struct gt_err *err)
{
	uint64_t begun_ns = now_ns();
	gt_auto(query) struct gt_query *q = NULL;
	int r = gt_db_ready(l->db, err);

	if (r < 0)
		return r;
	(void)!lock_try(l, epoch, &(struct gt_err){ 0 }); /* again, by a new connection */
	q = gt_db_query(l->db, err,
			"UPDATE leader SET expires_ms = " NOW " + ?2 WHERE epoch = ?1"
			" RETURNING epoch",
			"ii", (int64_t)epoch, (int64_t)l->config.lease_ms);
	r = gt_db_step(q, err);
	if (r <= 0)
		return r;
	pthread_mutex_lock(&l->lock);
	l->good_ns = begun_ns;
	pthread_mutex_unlock(&l->lock);
	return 1;
}

static void hand_back(struct gt_lease *l, uint64_t epoch)
{
	struct gt_err err = { 0 };

	if (gt_db_ready(l->db, &err) == 0)
		(void)!gt_db_finish(gt_db_query(l->db, &err,
						"UPDATE leader SET expires_ms = 0 WHERE epoch = ?1",
						"i", (int64_t)epoch),
				    &err);
}

static void lead(struct gt_lease *l)
{
	const uint64_t renew_ms = l->config.lease_ms / 10 * 3, epoch = l->view.epoch;
	bool told = !l->token_print;
	struct gt_err err;
	int r = 1;

	/* The daemon's uplink can do nothing before it has a certificate: soon. */
	authority_look(l);
	while (pause_ms(l, r > 0 && l->cert.len ? renew_ms : AGAIN_MS)) {
		r = renew(l, epoch, &err);
		if (r > 0)
			authority_look(l);
		if (r > 0 && !told)
			told = gt_token_print_keep(l->db, epoch, l->token_print, &err) == 0;
		if (r == 0)
			state_over(l, epoch, "another control has taken over");
		else if (r < 0 && now_ns() - l->good_ns > stop_ns(l))
			state_over(l, epoch, too_late);
		else
			continue;
		return;
	}
	hand_back(l, epoch);
}

static void *lease_main(void *arg)
{
	struct gt_lease *l = arg;
	struct gt_db_config config = { .path = l->url,
				       .patience_ms = (uint32_t)l->config.lease_ms / 5 };
	struct gt_err err;

	config.patience_ms = GT_MAX(config.patience_ms, 2 * WAIT_MS);
	while (pause_ms(l, 0)) {
		int r = l->db ? follow(l, &err) : gt_db_open(&config, &l->db, &err);

		if (r > 0) {
			lead(l);
			return NULL;
		}
		if (r >= 0)
			continue;
		if (l->view.state != GT_LEASE_WAITS)
			gt_warn("store: %s", err.text);
		state_waits(l, &err);
		pause_ms(l, WAIT_MS);
	}
	return NULL;
}

/* ---- begin and end -------------------------------------------------------------------------- */

int gt_lease_new(const struct gt_lease_config *config, struct gt_lease **ret, struct gt_err *err)
{
	struct gt_lease *l = gt_alloc(sizeof(*l));
	sigset_t all, before;
	int r;

	l->config = *config;
	l->url = gt_strdup(config->url);
	l->holder = gt_strdup(config->holder);
	l->place = gt_strdup(config->place);
	l->door = gt_strdup(config->door);
	l->token_print = gt_strdup(config->token_print);
	pthread_mutex_init(&l->lock, NULL);
	gt_cond_init(&l->wake);
	sigfillset(&all); /* signals belong to the loop's thread */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&l->thread, NULL, lease_main, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r == 0) {
		pthread_setname_np(l->thread, "store-lease");
		*ret = l;
		return 0;
	}
	l->stopping = true;
	l->thread = 0;
	gt_lease_free(l);
	return gt_err_errno(err, r, "start a thread of the store");
}

void gt_lease_free(struct gt_lease *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stopping = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	if (l->thread)
		pthread_join(l->thread, NULL);
	gt_db_close(l->db, true);
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
	gt_buf_wipe(&l->key);
	gt_buf_fini(&l->cert);
	free(l->url);
	free(l->holder);
	free(l->place);
	free(l->door);
	free(l->token_print);
	free(l);
}
