/* script.c - the scripted peers and the port that leads to them. */
#include "script.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <gantry/http/digest.h>
#include <gantry/model/dial.h>

#define FD_BASE 1000 /* nothing real has this number */
#define EVENTS  (GT_EV_READ | GT_EV_WRITE | GT_EV_HANGUP | GT_EV_FAILED)

static struct script *now_playing; /* ports have no argument: one script at a time */

static struct script_end *end_of(int fd)
{
	assert(fd >= FD_BASE && (size_t)(fd - FD_BASE) < now_playing->n_ends);
	return &now_playing->ends[fd - FD_BASE];
}

static int fd_of(const struct script_end *e)
{
	return FD_BASE + (int)(e - e->script->ends);
}

static struct script_end *end_new(struct script *s, enum script_role role)
{
	if (s->n_ends == SCRIPT_ENDS)
		return NULL;
	struct script_end *e = &s->ends[s->n_ends++];

	*e = (struct script_end){ .role = role, .script = s, .room = s->room, .open = true };
	gt_buf_init(&e->to_gw, 0);
	gt_buf_init(&e->sent, 0);
	gt_buf_init(&e->got, 0);
	return e;
}

/* ---- the port ---- */

static int port_watch(struct gt_sock *sock, struct gt_loop *loop, gt_watch_fn *fn, void *arg,
		      struct gt_err *err)
{
	struct script_end *e = end_of(sock->fd);

	(void)loop;
	(void)err;
	e->fn = fn;
	e->arg = arg;
	e->pending |= GT_EV_WRITE | (e->to_gw.len ? GT_EV_READ : 0) |
		      (e->eof ? GT_EV_READ | GT_EV_HANGUP : 0) | (e->error ? EVENTS : 0);
	return 0;
}

static void port_unwatch(struct gt_sock *sock)
{
	end_of(sock->fd)->fn = NULL;
}

static ssize_t port_read(struct gt_sock *sock, void *buf, size_t len)
{
	struct script_end *e = end_of(sock->fd);
	size_t n = GT_MIN(len, e->to_gw.len);

	e->script->reads++;
	assert(e->open);
	if (n) {
		memcpy(buf, e->to_gw.data, n);
		gt_buf_consume(&e->to_gw, n);
		return (ssize_t)n;
	}
	return e->error ? -e->error : e->eof ? 0 : -EAGAIN;
}

/* The broker: what was asked is answered in its order. */
static ssize_t port_receive(struct gt_sock *sock, void *buf, size_t len, int *fd)
{
	struct script_end *e = end_of(sock->fd), *up;
	struct gt_dial_ask ask;
	struct gt_dial_answer a = { 0 };

	assert(len == sizeof(a));
	*fd = -1;
	if (e->got.len < sizeof(ask) || e->script->dial_hold)
		return e->error ? -e->error : e->eof ? 0 : -EAGAIN;
	memcpy(&ask, e->got.data, sizeof(ask));
	gt_buf_consume(&e->got, sizeof(ask));
	a.tag = ask.tag;
	up = e->script->dial_fails ? NULL : end_new(e->script, SCRIPT_UP);
	if (e->script->dial_fails)
		e->script->dial_fails--;
	if (up) {
		gt_strcopy(up->name, sizeof(up->name), ask.replica);
		*fd = fd_of(up);
	} else {
		a.error = ECONNREFUSED;
	}
	memcpy(buf, &a, sizeof(a));
	return sizeof(a);
}

static ssize_t port_write(struct gt_sock *sock, const struct iovec *iov, size_t n)
{
	struct script_end *e = end_of(sock->fd);
	size_t took = 0;

	if (!e->script->writes++)
		e->script->read_first = e->script->reads;
	assert(e->open && !e->shut);
	if (e->error)
		return e->error == ECONNRESET ? -EPIPE : -e->error;
	for (size_t i = 0; i < n; i++) {
		size_t part = e->role == SCRIPT_BROKER ? iov[i].iov_len
						       : GT_MIN(iov[i].iov_len, e->room);

		gt_buf_add(&e->got, iov[i].iov_base, part);
		took += part;
		e->room -= e->role == SCRIPT_BROKER ? 0 : part;
		if (part < iov[i].iov_len) {
			e->full = true;
			break;
		}
	}
	if (e->role == SCRIPT_BROKER)
		e->pending |= GT_EV_READ;
	return took ? (ssize_t)took : -EAGAIN;
}

static bool port_silent(struct gt_sock *sock)
{
	const struct script_end *e = end_of(sock->fd);

	return !e->to_gw.len && !e->eof && !e->error;
}

static bool port_delivered(struct gt_sock *sock)
{
	return !end_of(sock->fd)->undelivered;
}

static void port_shut(struct gt_sock *sock)
{
	assert(!end_of(sock->fd)->shut);
	end_of(sock->fd)->shut = true;
}

static void port_reset(struct gt_sock *sock)
{
	end_of(sock->fd)->reset = true;
}

static void port_close(struct gt_sock *sock)
{
	struct script_end *e = end_of(sock->fd);

	assert(e->open);
	e->open = false;
	e->closed = true;
	e->closed_ns = e->script->now_ns;
	e->fn = NULL;
}

static int port_accept(int listen_fd, char peer[INET6_ADDRSTRLEN])
{
	(void)listen_fd;
	(void)peer;
	return -EAGAIN; /* script_client brings them */
}

static int port_connect(const char *path, int type)
{
	struct script *s = now_playing;
	struct script_end *e;

	if (type == SOCK_STREAM && s->api_away)
		return -ECONNREFUSED;
	if (!strcmp(path, "dial"))
		e = end_new(s, SCRIPT_BROKER);
	else
		e = end_new(s, !strcmp(path, "link") ? SCRIPT_LINK : SCRIPT_API);
	return e ? fd_of(e) : -EMFILE;
}

static void port_patience(int fd, bool patient)
{
	(void)fd;
	(void)patient;
}

static void port_guard(int fd)
{
	end_of(fd)->script->guarded++;
}

static const struct gt_sock_ops ops = {
	.watch = port_watch,
	.unwatch = port_unwatch,
	.read = port_read,
	.receive = port_receive,
	.write = port_write,
	.silent = port_silent,
	.delivered = port_delivered,
	.shut = port_shut,
	.reset = port_reset,
	.close = port_close,
};

static const struct gt_port port = {
	.sock = &ops,
	.accept = port_accept,
	.connect = port_connect,
	.guard = port_guard,
	.patience = port_patience,
};

/* ---- the world ---- */

static uint64_t clock_ns(void *arg)
{
	return ((struct script *)arg)->now_ns;
}

static uint64_t clock_ms(void *arg)
{
	const struct script *s = arg;

	return s->wall_ms + s->now_ns / GT_NS_PER_MS;
}

static void step(struct script *s)
{
	int r = gt_loop_step(s->loop, 0, NULL);

	assert(r == 0);
	(void)r;
}

static void tell(struct script *s, struct gt_line *line)
{
	gt_auto(buf) struct gt_buf out = { 0 };

	line->epoch = s->epoch;
	line->seq = ++s->seq;
	gt_line_write(line, &out);
	gt_routes_line(out.data, out.len - 1, s->gw);
}

void script_tell(struct script *s, size_t n_replicas)
{
	char tokens[1][GT_TOKEN_HASH_HEX];
	struct gt_route routes[1 + SCRIPT_SHARDS];
	struct gt_route_replica replicas[SCRIPT_SHARDS][4];
	struct gt_line line = { .type = GT_LINE_SNAPSHOT,
				.routes = routes,
				.n_routes = 1,
				.tokens = tokens,
				.n_tokens = 1,
				.members = (struct gt_member *)s->members,
				.n_members = s->n_members };

	s->route.n_replicas = n_replicas;
	routes[0] = s->route;
	for (size_t i = 0; i < SCRIPT_SHARDS && s->others[i]; i++) {
		struct gt_route *r = &routes[line.n_routes++];

		*r = s->route;
		r->n_models = 0;
		r->replicas = memcpy(replicas[i], s->replicas, sizeof(s->replicas));
		gt_strcopy(r->function, sizeof(r->function), s->others[i]);
		for (size_t k = 0; k < n_replicas; k++)
			replicas[i][k].id[strlen(SCRIPT_REPLICA)] = "FGHJKMNPQRSTVWXY"[4 * i + k];
	}
	gt_sha256_hex(s->token, strlen(s->token), tokens[0]);
	tell(s, &line);
	script_run(s);
}

void script_members(struct script *s, const struct gt_member *members, size_t n)
{
	struct gt_line line = { .type = GT_LINE_NODES,
				.members = (struct gt_member *)members,
				.n_members = n };

	s->members = members;
	s->n_members = n;
	tell(s, &line);
	script_run(s);
}

struct script *script_open(size_t n_replicas)
{
	return script_open_shards(n_replicas, 1);
}

struct script *script_open_shards(size_t n_replicas, unsigned n_shards)
{
	struct script *s = gt_alloc(sizeof(*s));
	const struct gt_gateway_config cfg = { .listen_fd = -1,
					       .tls_listen_fd = -1,
					       .files_fd = -1,
					       .door_fd = -1,
					       .ready_fd = -1,
					       .api_path = "api",
					       .link_path = "link",
					       .dial_path = "dial" };
	struct gt_err err = { 0 };

	now_playing = s;
	s->epoch = 1;
	s->now_ns = 1000 * GT_NS_PER_S;
	s->wall_ms = 1700000000000;
	s->room = SIZE_MAX / 2;
	s->token = SCRIPT_TOKEN;
	s->clock = (struct gt_clock){ .mono_ns = clock_ns, .wall_ms = clock_ms, .arg = s };
	s->loop = gt_loop_new_virtual(&s->clock);
	for (unsigned i = 0; i < n_shards; i++) {
		if (gt_gw_new(s->loop, &port, &cfg, &s->shards[i], &err) < 0)
			abort();
		if (i == 1)
			gt_shards_new(s->shards[0]);
		if (i > 0)
			gt_shards_add(s->shards[0]->shards, s->shards[i]);
	}
	s->gw = s->shards[0];
	s->route = (struct gt_route){ .revision = 7,
				      .concurrency = 1,
				      .queue = 10,
				      .wait_ms = 60000,
				      .first_byte_ms = 60000,
				      .body_bytes = 1 << 20,
				      .max_replicas = 4,
				      .start_ms = 1500,
				      .replicas = s->replicas };
	gt_strcopy(s->route.function, sizeof(s->route.function), "echo");
	for (size_t i = 0; i < GT_LEN(s->replicas); i++) {
		gt_strcopy(s->replicas[i].id, GT_REPLICA_ID_SIZE, SCRIPT_REPLICA "A");
		s->replicas[i].id[strlen(SCRIPT_REPLICA)] = (char)('A' + i);
	}
	gt_routes_up(s->gw);
	script_tell(s, n_replicas);
	return s;
}

size_t script_close(struct script *s)
{
	size_t open = 0;

	if (s->gw->shards)
		gt_shards_free(s->gw->shards);
	else
		gt_gw_free(s->gw);
	gt_loop_free(s->loop);
	for (size_t i = 0; i < s->n_ends; i++) {
		open += s->ends[i].open;
		gt_buf_fini(&s->ends[i].to_gw);
		gt_buf_fini(&s->ends[i].sent);
		gt_buf_fini(&s->ends[i].got);
	}
	free(s);
	now_playing = NULL;
	return open;
}

static bool tell_events(struct script *s)
{
	bool told = false;

	for (size_t i = 0; i < s->n_ends; i++) {
		struct script_end *e = &s->ends[i];
		unsigned events = e->pending & EVENTS;

		if (!e->fn || !events)
			continue;
		e->pending = 0;
		e->fn(NULL, events, e->arg);
		told = true;
	}
	return told;
}

static bool read_mail(struct script *s)
{
	struct gt_shards *shards = s->gw->shards;
	bool any = false;

	for (unsigned i = 0; shards && !s->mail_waits && i < shards->n; i++) {
		any |= atomic_load(&shards->at[i].box) != NULL;
		gt_shard_read(shards->at[i].gw);
	}
	return any;
}

void script_run(struct script *s)
{
	do
		step(s);
	while (tell_events(s) || read_mail(s) || gt_loop_due_ns(s->loop) <= s->now_ns);
}

void script_wait(struct script *s, uint64_t ms)
{
	uint64_t until_ns = s->now_ns + ms * GT_NS_PER_MS, due_ns;

	script_run(s);
	while ((due_ns = gt_loop_due_ns(s->loop)) <= until_ns) {
		s->now_ns = GT_MAX(due_ns, s->now_ns);
		script_run(s);
	}
	s->now_ns = until_ns;
	script_run(s);
}

/* ---- peers ---- */

struct script_end *script_client(struct script *s, const char *peer)
{
	return script_client_at(s, 0, peer);
}

struct script_end *script_client_at(struct script *s, unsigned shard, const char *peer)
{
	struct script_end *e = end_new(s, SCRIPT_CLIENT);

	if (e) {
		gt_strcopy(e->name, sizeof(e->name), peer);
		gt_conn_accept(&s->shards[shard]->listeners[0], fd_of(e), peer);
		script_run(s);
	}
	return e;
}

struct script_end *script_door(struct script *s)
{
	struct script_end *e = end_new(s, SCRIPT_CLIENT);

	gt_conn_accept(&s->gw->listeners[GT_LISTEN_DOOR], fd_of(e), "");
	script_run(s);
	return e;
}

struct script_end *script_up(struct script *s, enum script_role role, size_t i)
{
	for (size_t k = 0; k < s->n_ends; k++)
		if (s->ends[k].role == role && i-- == 0)
			return &s->ends[k];
	return NULL;
}

static void add(struct script_end *e, const void *data, size_t len)
{
	if (!e->open || e->eof || e->error)
		return;
	gt_buf_add(&e->to_gw, data, len);
	gt_buf_add(&e->sent, data, len);
	e->pending |= GT_EV_READ;
}

void script_put(struct script_end *e, const void *data, size_t len)
{
	add(e, data, len);
	script_run(e->script);
}

void script_add(struct script_end *e, const char *text)
{
	add(e, text, strlen(text));
}

void script_puts(struct script_end *e, const char *text)
{
	script_put(e, text, strlen(text));
}

void script_eof(struct script_end *e)
{
	e->eof = true;
	e->pending |= GT_EV_READ | GT_EV_HANGUP;
	script_run(e->script);
}

void script_fail(struct script_end *e, int error)
{
	e->error = error;
	gt_buf_reset(&e->to_gw); /* a reset overtakes what was not read */
	e->pending |= EVENTS;
	script_run(e->script);
}

void script_room(struct script_end *e, size_t more)
{
	e->room += more;
	if (e->full)
		e->pending |= GT_EV_WRITE;
	e->full = false;
	script_run(e->script);
}

bool script_has(struct script_end *e, const char *text)
{
	return strstr(gt_buf_str(&e->got), text) != NULL;
}
