/* pipes.c - connections that wait at the door for calls.
 *
 *	-> GET /link/v1/nodes/NODE/pipe?shard=K	Upgrade: gantry-pipe
 *	<- 101, Gantry-Shards: N			it waits in the pool of one of the gateway's
 *N threads
 *	<- replica ID | agent				it is taken: what should be at our end?
 *	-> ok | err ERRNO
 *
 * and from then on bytes, both ways. So many wait for each thread as were taken within the last
 * second, two at least: a burst finds what the one before it needed. */
#include "uplink_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <utlist.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/units.h>
#include <gantry/http/http1.h>
#include <gantry/model/msg.h>
#include <gantry/os/os.h>

#include "identity.h"

#define IDLE_MIN         2
#define IDLE_MAX         64 /* of a shard */
#define SHARDS_MAX       16
#define BUSY_MAX         8192
#define RETRY_FIRST_MS   50
#define RETRY_MOST_MS    2000
#define RETRY_SEVERAL_MS 300
#define ROUND_MS         1000
#define REFRESH_ROUNDS   10
#define UPGRADE_MS       3000
#define PREFACE_MAX      64

enum state {
	CONNECTING,
	UPGRADING,
	WAITING,  /* for a call */
	REACHING, /* what the call asked for */
	BUSY,
};

struct pipe {
	struct pipes *pool;
	struct pipe *prev, *next;
	enum state state;
	unsigned shard;
	struct conn *conn;
	struct end end;
	struct gt_watch *watch;
	struct gt_timer late;
	struct gt_h1 head;
	struct gt_buf in; /* the preface, and what came with it */
	struct dial *dial;
	struct pump *pump;
};

struct shard {
	unsigned idle; /* not BUSY or REACHING */
	unsigned taken, taken_before;
};

struct pipes {
	struct uplink *u;
	struct pipe *all;
	struct shard shards[SHARDS_MAX];
	unsigned n_shards;
	size_t busy;
	bool reached; /* the last one that ended its way got there */
	bool drained;
	unsigned rounds;
	struct gt_timer retry, round;
	uint64_t retry_ms;
};

static void fill(struct pipes *p);

/* ---- one ---- */

static bool is_idle(const struct pipe *x)
{
	return x->state <= WAITING;
}

static void pipe_free(struct pipe *x)
{
	struct pipes *p = x->pool;

	if (is_idle(x))
		p->shards[x->shard].idle--;
	else
		p->busy--;
	conn_cancel(x->conn);
	dial_cancel(x->dial);
	pump_free(x->pump);
	gt_timer_clear(p->u->loop, &x->late);
	gt_watch_close(x->watch);
	end_close(&x->end, false);
	gt_h1_fini(&x->head);
	gt_buf_fini(&x->in);
	DL_DELETE(p->all, x);
	free(x);
}

static void on_retry(void *arg)
{
	fill(arg);
}

static void fill_later(struct pipes *p)
{
	bool several = p->u->leader || doors_several(p->u->doors); /* one of them will lead soon */
	uint64_t most_ms = several ? RETRY_SEVERAL_MS : RETRY_MOST_MS;

	if (!gt_timer_is_set(&p->retry))
		gt_timer_set(p->u->loop, &p->retry,
			     backoff_ms(&p->retry_ms, RETRY_FIRST_MS, most_ms), on_retry, p);
}

/* Nobody is there, or not who should be. One that answers and ends the connection has just begun,
 * or is about to end. */
static bool is_away(const struct gt_err *why)
{
	static const int codes[] = { ETIMEDOUT,   ECONNREFUSED, EHOSTUNREACH,
				     ENETUNREACH, EACCES,       EKEYEXPIRED };

	for (size_t i = 0; i < GT_LEN(codes); i++)
		if (why->code == codes[i])
			return true;
	return false;
}

static void silent(struct pipes *p, const struct gt_err *why)
{
	p->reached = false;
	uplink_door_silent(p->u, why);
	if (p->u->doors && is_away(why))
		doors_silent(p->u->doors);
	fill_later(p);
}

/* It did not become one: the next try waits. */
static void pipe_failed(struct pipe *x, const struct gt_err *why)
{
	struct pipes *p = x->pool;

	pipe_free(x);
	silent(p, why);
}

static void pipe_broke(struct pipe *x, ssize_t n)
{
	struct pipes *p = x->pool;
	struct gt_err err = { 0 };

	if (x->state == WAITING && n != -ETIMEDOUT && n != -EHOSTUNREACH) {
		pipe_free(x); /* a gateway that ends, mostly: the next one is there already */
		fill_later(p);
		return;
	}
	gt_err_errno(&err, n < 0 ? (int)-n : ECONNRESET, "%s",
		     x->state == UPGRADING && n == 0
			     ? "it ended the connection; was this node removed?"
			     : "it broke the connection");
	pipe_failed(x, &err);
}

static void on_late(void *arg)
{
	pipe_broke(arg, -ETIMEDOUT);
}

static void on_end(void *arg)
{
	struct pipe *x = arg;
	struct uplink *u = x->pool->u;

	x->pump = NULL;
	pipe_free(x);
	uplink_drained(u);
}

/* ---- what the call asked for ---- */

static void answer_no(struct pipe *x, int error)
{
	struct uplink *u = x->pool->u;
	char text[24];
	int n = snprintf(text, sizeof(text), "err %d\n", error);

	/* It fits into the empty socket; if not, the end says nearly the same. */
	(void)!end_write(&x->end, text, (size_t)n);
	pipe_free(x);
	uplink_drained(u);
}

/* sock is taken. */
static void answer_yes(struct pipe *x, int sock)
{
	struct end near = { .fd = sock };
	struct pump_config config = { .loop = x->pool->u->loop,
				      .left = &x->end,
				      .right = &near,
				      .to_left = "ok\n",
				      .to_left_len = 3,
				      .to_right = x->in.data,
				      .to_right_len = x->in.len,
				      .fn = on_end,
				      .arg = x };

	/* Whose client reads slowly is not gone: only who waits for an answer is asked each second.
	 */
	(void)gt_os_tcp_patience(x->end.fd, true);
	gt_watch_close(x->watch);
	x->watch = NULL;
	x->state = BUSY;
	if (pump_new(&config, &x->pump, NULL) < 0)
		on_end(x);
	else
		gt_buf_fini(&x->in);
}

static void on_dialed(int sock, int error, void *arg)
{
	struct pipe *x = arg;

	x->dial = NULL;
	if (error)
		answer_no(x, error);
	else
		answer_yes(x, sock);
}

static void reach_agent(struct pipe *x)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 &&
	    gt_strcopy(to.sun_path, sizeof(to.sun_path), x->pool->u->config.agent_path) &&
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
		answer_yes(x, fd);
		return;
	}
	int error = errno ? errno : EIO;

	gt_close(fd);
	answer_no(x, error);
}

/* The preface's line is complete. */
static void taken(struct pipe *x, const char *line)
{
	struct pipes *p = x->pool;
	const char *id = line + strlen("replica ");

	p->shards[x->shard].idle--;
	p->shards[x->shard].taken++;
	p->busy++;
	x->state = REACHING;
	if (gt_streq(line, "agent"))
		reach_agent(x);
	else if (gt_starts_with(line, "replica ") && strlen(id) < GT_REPLICA_ID_SIZE)
		x->dial = dial_ask(p->u->dialer, id, on_dialed, x);
	else
		answer_no(x, EPROTO);
	fill(p);
}

/* ---- the way there ---- */

static unsigned shards_of(const struct gt_h1 *h)
{
	const struct gt_h1_field *f = gt_h1_find_text(h, "Gantry-Shards");
	char text[8];
	uint64_t n;

	if (!f || f->value.len >= sizeof(text))
		return 0;
	memcpy(text, gt_h1_text(h, f->value), f->value.len);
	text[f->value.len] = '\0';
	return gt_parse_u64(text, SHARDS_MAX, &n) == 0 ? (unsigned)n : 0;
}

/* A field of the head as a text; NULL: it is not there, or too long. */
static const char *field(const struct gt_h1 *h, const char *name, char *out, size_t size)
{
	const struct gt_h1_field *f = gt_h1_find_text(h, name);

	if (!f || f->value.len >= size)
		return NULL;
	memcpy(out, gt_h1_text(h, f->value), f->value.len);
	out[f->value.len] = '\0';
	return out;
}

/* True: it sends us to another one. */
static bool tell_doors(const struct pipe *x)
{
	struct doors *doors = x->pool->u->doors;
	char leads[GT_UPLINK_URL_SIZE], all[GT_UPLINK_DOORS_MAX * GT_UPLINK_URL_SIZE];
	const char *to = field(&x->head, "Gantry-Leader", leads, sizeof(leads));

	if (doors)
		doors_told(doors, to, field(&x->head, "Gantry-Doors", all, sizeof(all)));
	return to != NULL;
}

static void trim(struct pipes *p)
{
	struct pipe *x, *next;

	DL_FOREACH_SAFE (p->all, x, next)
		if (is_idle(x) && x->shard >= p->n_shards)
			pipe_free(x);
}

/* It waits from now on. False: x is gone. */
static bool arrived(struct pipe *x)
{
	struct pipes *p = x->pool;
	unsigned n = shards_of(&x->head);
	struct gt_err err = { 0 };

	bool elsewhere = tell_doors(x);

	if (elsewhere) {
		pipe_free(x);
		p->reached = false;
		fill_later(p);
		return false;
	}
	if (x->head.status != 101 || n == 0) {
		gt_err_set(&err, EPROTO, "unavailable", "it answers %u to a pipe%s", x->head.status,
			   x->head.status == 403 ? "; was this node removed?" : "");
		pipe_failed(x, &err);
		return false;
	}
	gt_h1_fini(&x->head);
	gt_timer_clear(p->u->loop, &x->late);
	x->state = WAITING;
	p->reached = true;
	p->retry_ms = 0;
	gt_timer_clear(p->u->loop, &p->retry);
	uplink_door_answers(p->u);
	if (p->u->doors)
		doors_answers(p->u->doors);
	if (n != p->n_shards) {
		unsigned own = x->shard;

		p->n_shards = n;
		trim(p);
		fill(p);
		return own < n;
	}
	fill(p);
	return true;
}

/* The answer to the upgrade. 1: it is there, used bytes were its; 0: more; -1: x is gone. */
static int upgrade(struct pipe *x, const char *data, size_t len, size_t *all)
{
	struct gt_h1_body body;
	enum gt_h1_event ev;
	size_t used;

	*all = 0;
	do {
		ev = gt_h1_feed(&x->head, data + *all, len - *all, &used, &body);
		*all += used;
	} while (ev == GT_H1_HEAD && x->head.status == 101);
	if (ev == GT_H1_MORE)
		return 0;
	return arrived(x) ? 1 : -1;
}

/* True: the line is complete and x may be gone. */
static bool preface(struct pipe *x)
{
	char line[PREFACE_MAX], *end = memchr(x->in.data, '\n', x->in.len);
	size_t n = end ? (size_t)(end - x->in.data) : x->in.len;

	if (n >= sizeof(line)) {
		pipe_broke(x, -EPROTO);
		return true;
	}
	if (!end)
		return false;
	memcpy(line, x->in.data, n);
	line[n] = '\0';
	gt_buf_consume(&x->in, n + 1);
	taken(x, line);
	return true;
}

static void on_event(struct gt_watch *w, unsigned events, void *arg)
{
	struct pipe *x = arg;
	char data[4096];
	ssize_t n;

	(void)w;
	(void)events;
	/* While the broker is asked nothing is read: what comes meanwhile is the pump's. */
	while (is_idle(x) && (n = end_read(&x->end, data, sizeof(data))) != -EAGAIN) {
		size_t used = 0;

		if (n <= 0) {
			pipe_broke(x, n);
			return;
		}
		if (x->state == UPGRADING && upgrade(x, data, (size_t)n, &used) < 0)
			return;
		if (gt_buf_add(&x->in, data + used, (size_t)n - used) < 0) {
			pipe_broke(x, -EPROTO);
			return;
		}
		if (x->in.len && preface(x))
			return;
	}
}

static int send_wish(struct pipe *x)
{
	const struct uplink *u = x->pool->u;
	const char *own = u->own_door;
	char text[256 + sizeof(u->own_door)];
	int n = snprintf(text, sizeof(text),
			 "GET /link/v1/nodes/%s/pipe?shard=%u HTTP/1.1\r\nHost: " GT_PKI_SNI
			 "\r\nConnection: Upgrade\r\nUpgrade: gantry-pipe\r\n%s%s%s\r\n",
			 u->config.node, x->shard, *own ? "Gantry-Door: " : "", own,
			 *own ? "\r\n" : "");
	ssize_t sent = end_write(&x->end, text, (size_t)n);

	/* A new connection has room for so little. */
	return sent == n ? 0 : sent < 0 ? (int)sent : -ENOBUFS;
}

static void on_conn(struct end *e, const struct gt_err *err, void *arg)
{
	const unsigned all = GT_EV_READ | GT_EV_WRITE | GT_EV_HANGUP | GT_EV_EDGE;
	struct pipe *x = arg;
	int r;

	x->conn = NULL;
	if (!e) {
		pipe_failed(x, err);
		return;
	}
	x->end = end_steal(e);
	x->state = UPGRADING;
	gt_timer_set(x->pool->u->loop, &x->late, UPGRADE_MS, on_late, x);
	r = gt_loop_watch(x->pool->u->loop, x->end.fd, all, on_event, x, &x->watch, NULL);
	if (r == 0)
		r = send_wish(x);
	if (r < 0)
		pipe_broke(x, r);
}

static void pipe_open(struct pipes *p, unsigned shard)
{
	struct pipe *x = gt_alloc(sizeof(*x));

	*x = (struct pipe){ .pool = p, .shard = shard, .end = END_NONE };
	gt_h1_init(&x->head, GT_H1_RESPONSE);
	gt_buf_init(&x->in, PUMP_ROOM / 4);
	DL_APPEND(p->all, x);
	p->shards[shard].idle++;
	x->conn = conn_open(p->u, p->u->door, p->u->identity->ctx, on_conn, x);
}

/* ---- all ---- */

static unsigned wanted(const struct shard *s)
{
	unsigned taken = GT_MAX(s->taken, s->taken_before);

	return GT_MIN(GT_MAX(taken, (unsigned)IDLE_MIN), (unsigned)IDLE_MAX);
}

static bool knocks(const struct pipes *p)
{
	const struct pipe *x;

	DL_FOREACH (p->all, x)
		if (x->state < WAITING)
			return true;
	return false;
}

/* A door that was not reached lately is knocked at by one, not by all. Those that wait already may
 * wait with a gateway that ends, and say nothing of the next one. */
static void fill(struct pipes *p)
{
	if (p->drained || !p->u->door || gt_timer_is_set(&p->retry))
		return;
	if (!p->reached) {
		if (!knocks(p))
			pipe_open(p, 0);
		return;
	}
	for (unsigned i = 0; i < p->n_shards; i++)
		while (p->shards[i].idle < wanted(&p->shards[i]) && p->busy < BUSY_MAX)
			pipe_open(p, i);
}

/* The youngest: a gateway that ends has older ones, and no others come to the calls that wait
 * there.
 */
static void refresh(struct pipes *p)
{
	struct pipe *x, *last = NULL;

	DL_FOREACH (p->all, x)
		if (x->state == WAITING)
			last = x;
	if (last)
		pipe_free(last);
}

/* The oldest go: the gateway takes the youngest first. */
static void on_round(void *arg)
{
	struct pipes *p = arg;
	struct pipe *x, *next;

	/* What a gateway tells with each of them is told again. */
	if (p->u->doors && ++p->rounds % REFRESH_ROUNDS == 0)
		refresh(p);
	for (unsigned i = 0; i < SHARDS_MAX; i++) {
		p->shards[i].taken_before = p->shards[i].taken;
		p->shards[i].taken = 0;
	}
	DL_FOREACH_SAFE (p->all, x, next)
		if (x->state == WAITING && p->shards[x->shard].idle > wanted(&p->shards[x->shard]))
			pipe_free(x);
	fill(p);
	gt_timer_set(p->u->loop, &p->round, ROUND_MS, on_round, p);
}

struct pipes *pipes_new(struct uplink *u)
{
	struct pipes *p = gt_alloc(sizeof(*p));

	p->u = u;
	p->n_shards = 1;
	on_round(p);
	return p;
}

static void leave(struct pipes *p)
{
	struct pipe *x, *next;

	DL_FOREACH_SAFE (p->all, x, next)
		if (is_idle(x))
			pipe_free(x);
}

void pipes_drain(struct pipes *p)
{
	p->drained = true;
	leave(p);
}

void pipes_move(struct pipes *p, bool at_once)
{
	leave(p);
	p->reached = false;
	p->n_shards = 1;
	if (at_once) {
		p->retry_ms = 0;
		gt_timer_clear(p->u->loop, &p->retry);
	}
	fill(p);
}

size_t pipes_busy(const struct pipes *p)
{
	return p->busy;
}

void pipes_free(struct pipes *p)
{
	if (!p)
		return;
	while (p->all)
		pipe_free(p->all);
	gt_timer_clear(p->u->loop, &p->retry);
	gt_timer_clear(p->u->loop, &p->round);
	free(p);
}
