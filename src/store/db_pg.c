/* store/db_pg.c - a connection to PostgreSQL, by libpq in pipeline mode; see db.h.
 *
 * Statements of a transaction that give no rows are sent and not waited for: their results are read
 * before the next row is, or at the commit. When one fails, the server skips what follows, and the
 * whole transaction is rolled back. No call waits longer than `patience_ms` for the server: after
 * that, as after any failure of the connection, it is closed and made anew by gt_db_ready. */
#include <arpa/inet.h>
#include <endian.h>
#include <poll.h>
#include <string.h>

#include <libpq-fe.h>

#include <gantry/base/clock.h>
#include <gantry/store/store.h>

#include "db_kind.h"
#include "pg_text.h"

#define PATIENCE_MS 10000
#define CONNECT_S   "3"
#define AGAIN_NS    (500 * GT_NS_PER_MS) /* between two tries to connect */
#define UNREAD_MAX  1000                 /* results that wait to be read */

struct pg_query {
	struct gt_query q;
	int which;
	char *sql; /* of one that is kept, as PostgreSQL says it */
	bool prepared;
	PGresult *rows;
	int row;
};

struct pg {
	struct gt_db db;
	char *url;
	PGconn *conn;      /* NULL: it was lost */
	uint64_t tried_ns; /* in vain, last; 0 = it did connect */
	int patience_ms;
	bool reads;
	size_t unread; /* statements whose results were not read */
	bool in_tx;
	struct gt_err failure; /* of the open transaction, or of the one statement */
	struct pg_query kept[GT_SQL_N];
};

static struct pg *of(struct gt_db *db)
{
	return (struct pg *)db; /* it is the first member */
}

static struct pg_query *query_of(struct gt_query *q)
{
	return (struct pg_query *)q;
}

/* ---- errors --------------------------------------------------------------------------------- */

static void disconnect(struct pg *p)
{
	PQfinish(p->conn);
	p->conn = NULL;
	p->unread = 0;
	for (size_t i = 0; i < GT_SQL_N; i++)
		p->kept[i].prepared = false;
}

/* One line of what libpq says. */
static int lost(struct pg *p, const char *why, struct gt_err *err)
{
	char text[256];

	gt_strcopy(text, sizeof(text), why ? why : p->conn ? PQerrorMessage(p->conn) : "");
	text[strcspn(text, "\n")] = '\0';
	gt_err_set(&p->failure, ENOTCONN, "unavailable", "the state database is not there: %s",
		   text[0] ? text : "the connection was lost");
	gt_err_printable(&p->failure);
	disconnect(p);
	if (err)
		*err = p->failure;
	return -ENOTCONN;
}

/* The connection has ended, or leads to a server that takes no writes any more. */
static bool is_loss(const char *state)
{
	return strncmp(state, "08", 2) == 0 || strncmp(state, "57P", 3) == 0 ||
	       strcmp(state, "25P03") == 0 || strcmp(state, "25006") == 0;
}

/* Of a statement that the server refused. */
static void refused(struct pg *p, const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (p->failure.code)
		return;
	if (!state)
		state = "";
	if (strcmp(state, "53100") == 0)
		gt_err_set(&p->failure, ENOSPC, "storage_full",
			   "the disk of the state database is full; free some space and try again");
	else if (is_loss(state))
		gt_err_set(&p->failure, ENOTCONN, "unavailable",
			   "the state database is not there: %s", text ? text : state);
	else
		gt_err_set(&p->failure, EAGAIN, "unavailable", "the state database: %s (%s)",
			   text ? text : "it refused", state);
	gt_err_printable(&p->failure);
}

static int failed(const struct pg *p, struct gt_err *err)
{
	if (err)
		*err = p->failure;
	return -p->failure.code;
}

/* ---- results -------------------------------------------------------------------------------- */

/* The next result, or NULL between two statements. False: the connection is lost. */
static bool result_get(struct pg *p, PGresult **ret)
{
	uint64_t until_ns = gt_mono_ns(&gt_clock_system) + (uint64_t)p->patience_ms * GT_NS_PER_MS;

	for (;;) {
		struct pollfd fd = { .fd = PQsocket(p->conn), .events = POLLIN };
		int unsent = PQflush(p->conn), r;

		if (unsent < 0)
			break;
		if (!PQisBusy(p->conn)) {
			*ret = PQgetResult(p->conn);
			return *ret || PQstatus(p->conn) == CONNECTION_OK;
		}
		if (unsent)
			fd.events |= POLLOUT;
		r = poll(&fd, 1, p->patience_ms);
		if (r == 0 || gt_mono_ns(&gt_clock_system) > until_ns) {
			lost(p, "it does not answer", NULL);
			return false;
		}
		if (r < 0 && errno != EINTR)
			break;
		if (r > 0 && fd.revents & (POLLIN | POLLHUP | POLLERR) && !PQconsumeInput(p->conn))
			break;
	}
	lost(p, NULL, NULL);
	return false;
}

static bool result_bad(struct pg *p, PGresult *res)
{
	switch (PQresultStatus(res)) {
	case PGRES_TUPLES_OK:
	case PGRES_COMMAND_OK:
	case PGRES_PIPELINE_SYNC:
		return false;
	case PGRES_PIPELINE_ABORTED:
		break; /* the one before it said why */
	default:
		refused(p, res);
	}
	if (!p->failure.code)
		gt_err_set(&p->failure, EAGAIN, "unavailable", "the state database gave up");
	return true;
}

/* All of one statement; its rows when they are asked for. */
static int statement_end(struct pg *p, PGresult **rows)
{
	PGresult *res = NULL, *end = NULL;

	if (!result_get(p, &res))
		return -ENOTCONN;
	if (!res || PQstatus(p->conn) != CONNECTION_OK || !result_get(p, &end)) {
		PQclear(res);
		return p->conn ? lost(p, NULL, NULL) : -ENOTCONN;
	}
	p->unread--;
	PQclear(end); /* NULL */
	if (result_bad(p, res)) {
		PQclear(res);
		if (p->failure.code == ENOTCONN)
			disconnect(p);
		return -p->failure.code;
	}
	if (rows)
		*rows = res;
	else
		PQclear(res);
	return 0;
}

/* Reads all but the last `keep` results. */
static int catch_up(struct pg *p, size_t keep)
{
	while (p->conn && p->unread > keep)
		if (statement_end(p, NULL) < 0 && !p->conn)
			return -ENOTCONN;
	return p->failure.code ? -p->failure.code : 0;
}

/* The end of what belongs together for the server; afterwards it takes statements again. */
static int sync_up(struct pg *p)
{
	PGresult *res = NULL;

	if (p->conn && !PQpipelineSync(p->conn))
		lost(p, NULL, NULL);
	(void)!catch_up(p, 0);
	if (!p->conn)
		return -ENOTCONN;
	if (!result_get(p, &res))
		return -ENOTCONN;
	if (PQresultStatus(res) != PGRES_PIPELINE_SYNC)
		lost(p, "it lost the thread", NULL);
	PQclear(res);
	return p->failure.code ? -p->failure.code : 0;
}

/* ---- sending -------------------------------------------------------------------------------- */

struct sent {
	const char *values[GT_PARAMS_MAX];
	int lengths[GT_PARAMS_MAX], formats[GT_PARAMS_MAX];
	uint64_t numbers[GT_PARAMS_MAX];
	char *made[GT_PARAMS_MAX]; /* text that had to be made fit */
};

static void params_fill(struct sent *s, const struct gt_param *params, int n)
{
	for (int i = 0; i < n; i++) {
		const struct gt_param *p = &params[i];

		s->formats[i] = 1;
		s->made[i] = NULL;
		s->values[i] = p->p;
		s->lengths[i] = (int)p->len;
		if (p->type == 'i') {
			s->numbers[i] = htobe64((uint64_t)p->i);
			s->values[i] = (const char *)&s->numbers[i];
			s->lengths[i] = sizeof(s->numbers[i]);
		} else if (p->type == 't' && p->p) {
			s->made[i] = gt_pg_text(p->p);
			if (s->made[i])
				s->values[i] = s->made[i];
			s->lengths[i] = (int)strlen(s->values[i]);
		}
	}
}

static bool statement_prepare(struct pg *p, struct pg_query *q)
{
	char name[16];

	if (q->prepared)
		return true;
	if (!q->sql)
		q->sql = gt_sql_for_pg(gt_sql_text[q->which]);
	snprintf(name, sizeof(name), "s%d", q->which);
	if (!PQsendPrepare(p->conn, name, q->sql, 0, NULL))
		return false;
	p->unread++;
	q->prepared = true;
	return true;
}

static int statement_send(struct pg *p, struct pg_query *q, const char *sql,
			  const struct gt_param *params, int n)
{
	struct sent s;
	char name[16];
	int ok;

	if (p->failure.code && p->in_tx)
		return -p->failure.code;
	gt_err_clear(&p->failure);
	if (!p->conn)
		return lost(p, "the connection was lost", NULL);
	if (p->unread >= UNREAD_MAX && (!PQsendFlushRequest(p->conn) || catch_up(p, 0) < 0))
		return p->conn ? -p->failure.code : -ENOTCONN;
	params_fill(&s, params, n);
	if (q->which < 0) {
		gt_auto(free) char *own = gt_sql_for_pg(sql);

		ok = PQsendQueryParams(p->conn, own, n, NULL, s.values, s.lengths, s.formats, 1);
	} else {
		snprintf(name, sizeof(name), "s%d", q->which);
		ok = statement_prepare(p, q) &&
		     PQsendQueryPrepared(p->conn, name, n, s.values, s.lengths, s.formats, 1);
	}
	for (int i = 0; i < n; i++)
		free(s.made[i]);
	if (!ok)
		return lost(p, NULL, NULL);
	p->unread++;
	return 0;
}

/* Names of what a failed transaction prepared may be known, or not. */
static void forget_prepared(struct pg *p)
{
	struct pg_query q = { .which = -1 };
	struct gt_err before = p->failure;

	for (size_t i = 0; i < GT_SQL_N; i++)
		p->kept[i].prepared = false;
	if (statement_send(p, &q, "DEALLOCATE ALL", NULL, 0) == 0)
		(void)!sync_up(p);
	p->failure = before;
}

/* ---- statements ----------------------------------------------------------------------------- */

static void pg_release(struct gt_query *query)
{
	struct pg_query *q = query_of(query);

	PQclear(q->rows);
	q->rows = NULL;
	if (q->which < 0)
		free(q);
}

static struct gt_query *pg_query(struct gt_db *db, int which, const char *sql,
				 const struct gt_param *params, int n, struct gt_err *err)
{
	struct pg *p = of(db);
	struct pg_query *q = which < 0 ? gt_alloc(sizeof(*q)) : &p->kept[which];

	q->q.db = db;
	q->which = which;
	q->row = -1;
	PQclear(q->rows);
	q->rows = NULL;
	if (statement_send(p, q, sql, params, n) == 0)
		return &q->q;
	failed(p, err);
	pg_release(&q->q);
	return NULL;
}

/* Outside of a transaction each statement is one: after a failure the next may come. */
static int settle(struct pg *p, PGresult **rows)
{
	int r;

	if (p->in_tx) {
		if (!PQsendFlushRequest(p->conn))
			return lost(p, NULL, NULL);
		r = catch_up(p, 1);
		return r < 0 ? r : statement_end(p, rows);
	}
	if (!PQpipelineSync(p->conn))
		return lost(p, NULL, NULL);
	r = catch_up(p, 1);
	if (p->conn && p->unread)
		r = statement_end(p, rows);
	PGresult *end = NULL;
	if (p->conn && result_get(p, &end))
		PQclear(end);
	if (p->conn && r < 0)
		forget_prepared(p);
	return r;
}

static int pg_step(struct gt_query *query, struct gt_err *err)
{
	struct pg_query *q = query_of(query);
	struct pg *p = of(query->db);
	struct gt_err before;

	if (!q->rows) {
		if (!p->conn || (p->in_tx && p->failure.code))
			return failed(p, err);
		if (settle(p, &q->rows) < 0) {
			before = p->failure;
			if (!before.code)
				lost(p, NULL, &before);
			if (err)
				*err = before;
			return -before.code;
		}
	}
	return ++q->row < PQntuples(q->rows);
}

static int pg_finish(struct gt_query *query, struct gt_err *err)
{
	struct pg *p = of(query->db);
	int r;

	if (p->in_tx)
		return p->failure.code ? failed(p, err) : 0; /* read later */
	r = pg_step(query, err);
	return r < 0 ? r : 0;
}

static const void *pg_column(struct gt_query *query, int column, size_t *len)
{
	const struct pg_query *q = query_of(query);

	if (len)
		*len = (size_t)PQgetlength(q->rows, q->row, column);
	if (PQgetisnull(q->rows, q->row, column))
		return NULL;
	return PQgetvalue(q->rows, q->row, column);
}

static int64_t pg_int(struct gt_query *query, int column)
{
	const struct pg_query *q = query_of(query);
	const char *at = PQgetvalue(q->rows, q->row, column);
	uint64_t wide;
	uint32_t narrow;

	switch (PQgetisnull(q->rows, q->row, column) ? 0 : PQgetlength(q->rows, q->row, column)) {
	case 8:
		memcpy(&wide, at, sizeof(wide));
		return (int64_t)be64toh(wide);
	case 4:
		memcpy(&narrow, at, sizeof(narrow));
		return (int32_t)ntohl(narrow);
	case 1:
		return at[0]; /* of a truth */
	default:
		return 0;
	}
}

static int pg_columns(struct gt_query *query)
{
	return PQnfields(query_of(query)->rows);
}

/* ---- transactions --------------------------------------------------------------------------- */

static int pg_say(struct gt_db *db, const char *sql, struct gt_err *err)
{
	struct pg_query q = { .which = -1 };

	return statement_send(of(db), &q, sql, NULL, 0) < 0 ? failed(of(db), err) : 0;
}

static int pg_begin(struct gt_db *db, struct gt_err *err)
{
	struct pg *p = of(db);

	gt_err_clear(&p->failure);
	if (pg_say(db, "BEGIN", err) < 0)
		return -err->code;
	p->in_tx = true;
	return 0;
}

static int pg_commit(struct gt_db *db, struct gt_err *err)
{
	struct pg *p = of(db);
	int r;

	if (p->failure.code)
		return failed(p, err);
	r = pg_say(db, "COMMIT", err);
	if (r == 0 && sync_up(p) < 0)
		r = failed(p, err);
	if (r == 0)
		p->in_tx = false;
	return r == -ENOTCONN ? -EINPROGRESS : r;
}

static void pg_rollback(struct gt_db *db)
{
	struct pg *p = of(db);
	struct pg_query q = { .which = -1 };

	(void)!sync_up(p);
	p->in_tx = false;
	gt_err_clear(&p->failure);
	if (!p->conn)
		return;
	if (statement_send(p, &q, "ROLLBACK", NULL, 0) < 0 || sync_up(p) < 0)
		return;
	forget_prepared(p);
}

static bool pg_broken(struct gt_db *db)
{
	return of(db)->failure.code != 0 || !of(db)->conn;
}

/* Each for itself: the protocol that pipelines takes one at a time. */
static int pg_exec(struct gt_db *db, const char *sql, struct gt_err *err)
{
	while (*sql) {
		size_t len = strcspn(sql, ";");
		gt_auto(free) char *one = gt_asprintf("%.*s", (int)len, sql);
		int r = 0;

		if (one[strspn(one, " \t\n")])
			r = gt_db_finish(gt_db_query(db, err, one, ""), err);
		if (r < 0)
			return r;
		sql += len + (sql[len] == ';');
	}
	return of(db)->in_tx && catch_up(of(db), of(db)->unread) < 0 ? failed(of(db), err) : 0;
}

/* ---- connecting ----------------------------------------------------------------------------- */

/* Answers are promises that a power cut must not break. A writer whose control was stopped gives
 * its locks back. */
static int session_prepare(struct pg *p, struct gt_err *err)
{
	gt_auto(free) char *sql = gt_asprintf(
		"SELECT set_config('synchronous_commit', 'on', false)"
		" WHERE current_setting('synchronous_commit') = 'off';"
		"SET idle_in_transaction_session_timeout = %d;"
		"SET lock_timeout = %d; SET jit = off; SET default_transaction_isolation ="
		" 'read committed'; SET default_transaction_read_only = %s",
		p->patience_ms, p->patience_ms, p->reads ? "on" : "off");

	return pg_exec(&p->db, sql, err);
}

static int connect_now(struct pg *p, struct gt_err *err)
{
	/* What the URL says goes before, as it comes later. */
	const char *const keys[] = { "connect_timeout",
				     "application_name",
				     "tcp_user_timeout",
				     "keepalives_idle",
				     "dbname",
				     "client_encoding",
				     NULL };
	const char *const values[] = { CONNECT_S, "gantry", "5000", "5", p->url, "UTF8", NULL };

	gt_err_clear(&p->failure);
	p->in_tx = false;
	p->tried_ns = gt_mono_ns(&gt_clock_system);
	p->conn = PQconnectdbParams(keys, values, 1);
	if (!p->conn || PQstatus(p->conn) != CONNECTION_OK)
		return lost(p, NULL, err);
	PQsetNoticeReceiver(p->conn, gt_pg_notice, NULL);
	if (PQsetnonblocking(p->conn, 1) != 0 || !PQenterPipelineMode(p->conn))
		return lost(p, NULL, err);
	if (session_prepare(p, err) < 0) {
		disconnect(p);
		return -err->code;
	}
	p->tried_ns = 0;
	return 0;
}

static int pg_ready(struct gt_db *db, struct gt_err *err)
{
	struct pg *p = of(db);

	if (p->conn)
		return 0;
	if (p->tried_ns && gt_mono_ns(&gt_clock_system) - p->tried_ns < AGAIN_NS)
		return gt_err_set(err, ENOTCONN, "unavailable", "the state database is not there");
	return connect_now(p, err);
}

static void pg_close(struct gt_db *db, bool trusted GT_UNUSED)
{
	struct pg *p = of(db);

	for (size_t i = 0; i < GT_SQL_N; i++) {
		PQclear(p->kept[i].rows);
		free(p->kept[i].sql);
	}
	PQfinish(p->conn);
	free(p->url);
	free(p);
}

static const struct gt_db_kind pg_kind = {
	.close = pg_close,
	.ready = pg_ready,
	.exec = pg_exec,
	.begin = pg_begin,
	.commit = pg_commit,
	.rollback = pg_rollback,
	.say = pg_say,
	.broken = pg_broken,
	.query = pg_query,
	.step = pg_step,
	.finish = pg_finish,
	.release = pg_release,
	.column = pg_column,
	.column_int = pg_int,
	.columns = pg_columns,
};

int gt_store_check(const char *url, struct gt_err *err)
{
	char *why = NULL;
	PQconninfoOption *options;
	bool secret = false;

	if (!gt_db_is_url(url))
		return gt_err_set(
			err, EINVAL, "bad_config",
			"store: \"%.20s\" is no URL of PostgreSQL: postgresql://HOST/NAME", url);
	options = PQconninfoParse(url, &why);
	if (!options) { /* what it says may have a password in it */
		PQfreemem(why);
		return gt_err_set(err, EINVAL, "bad_config",
				  "store: the URL of PostgreSQL can not be read");
	}
	for (const PQconninfoOption *o = options; o->keyword; o++)
		secret |= o->val && o->val[0] && strcmp(o->keyword, "password") == 0;
	PQconninfoFree(options);
	if (secret)
		return gt_err_set(
			err, EINVAL, "bad_config",
			"store: a URL with a password would be seen by every process that is "
			"told of it; put it into a file that only control's user can read and "
			"name that: postgresql://...?passfile=/etc/gantry/pgpass");
	return 0;
}

bool gt_db_is_pg(const struct gt_db *db)
{
	return db->kind == &pg_kind;
}

int gt_db_pg_open(const struct gt_db_config *config, struct gt_db **ret, struct gt_err *err)
{
	__attribute__((cleanup(gt_cleanup_db))) struct gt_db *db = NULL;
	struct pg *p = gt_alloc(sizeof(*p));
	int r;

	db = &p->db;
	db->kind = &pg_kind;
	p->url = gt_strdup(config->path);
	p->reads = config->reads;
	p->patience_ms = config->patience_ms ? (int)config->patience_ms : PATIENCE_MS;
	r = connect_now(p, err);
	if (r < 0)
		return r;
	*ret = gt_steal(&db);
	return 0;
}
