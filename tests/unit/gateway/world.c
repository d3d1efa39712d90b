/* world.c - the scripted peers of the gateway's tests. */
#include "world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <gantry/http/digest.h>
#include <gantry/model/dial.h>

#define STEP_NS (GT_NS_PER_MS / 5)
static uint64_t passed_ns = 1000 * GT_NS_PER_S;

/* In place of the C library's: time goes by with steps, and by world_pass. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	ts->tv_sec = (time_t)(passed_ns / GT_NS_PER_S);
	ts->tv_nsec = (long)(passed_ns % GT_NS_PER_S);
	return 0;
}

void world_pass(struct world *w, uint64_t ms)
{
	passed_ns += ms * GT_NS_PER_MS;
	world_step(w);
	world_step(w);
}

static int listen_at(const char *path, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	gt_strcopy(addr.sun_path, sizeof(addr.sun_path), path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

int world_open(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));
	struct gt_err err = { 0 };

	w->epoch = 1;
	snprintf(w->dir, sizeof(w->dir), "/tmp/gt-gateway-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->dial_path, sizeof(w->dial_path), "%s/dial", w->dir);
	snprintf(w->api_path, sizeof(w->api_path), "%s/api", w->dir);
	w->dial_listen = listen_at(w->dial_path, SOCK_SEQPACKET);
	w->api_listen = listen_at(w->api_path, SOCK_STREAM);
	w->dial_fd = -1;
	assert_int_equal(gt_loop_new(&w->loop, &err), 0);
	struct gt_gateway_config cfg = { .listen_fd = -1,
					 .tls_listen_fd = -1,
					 .files_fd = -1,
					 .door_fd = -1,
					 .ready_fd = -1,
					 .api_path = w->api_path,
					 .dial_path = w->dial_path };

	assert_int_equal(gt_gw_new(w->loop, &gt_port_system, &cfg, &w->gw, &err), 0);
	gt_routes_up(w->gw);
	w->route = (struct gt_route){ .revision = 7,
				      .concurrency = 1,
				      .queue = 10,
				      .wait_ms = 60000,
				      .first_byte_ms = 60000,
				      .body_bytes = 1 << 20,
				      .max_replicas = 2,
				      .start_ms = 1500,
				      .replicas = w->replicas };
	snprintf(w->route.function, sizeof(w->route.function), "echo");
	gt_strcopy(w->replicas[0].id, GT_REPLICA_ID_SIZE, REPLICA_A);
	gt_strcopy(w->replicas[1].id, GT_REPLICA_ID_SIZE, REPLICA_B);
	*state = w;
	return 0;
}

int world_close(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < w->n_ups; i++)
		peer_close(&w->ups[i]);
	gt_gw_free(w->gw);
	gt_loop_free(w->loop);
	gt_close(w->dial_fd);
	gt_close(w->dial_listen);
	gt_close(w->api_listen);
	unlink(w->dial_path);
	unlink(w->api_path);
	rmdir(w->dir);
	free(w);
	return 0;
}

/* ---- the broker ---- */

static void answer_dial(struct world *w, const struct gt_dial_ask *ask)
{
	struct gt_dial_answer a = { .tag = ask->tag };
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &a, sizeof(a) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[2] = { -1, -1 };

	if (w->dial_fails) {
		w->dial_fails--;
		a.error = w->dial_error;
	} else {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fds[0], sizeof(int));
		assert_true(w->n_ups < PEERS_MAX);
		struct peer *p = &w->ups[w->n_ups++];

		p->fd = fds[1];
		gt_strcopy(p->replica, sizeof(p->replica), ask->replica);
	}
	assert_int_equal(sendmsg(w->dial_fd, &msg, MSG_NOSIGNAL), (ssize_t)sizeof(a));
	gt_close(fds[0]);
}

static void run_broker(struct world *w)
{
	struct gt_dial_ask ask;

	if (w->dial_fd < 0)
		w->dial_fd = accept4(w->dial_listen, NULL, NULL, SOCK_NONBLOCK);
	if (w->dial_fd < 0 || w->dial_hold)
		return;
	while (recv(w->dial_fd, &ask, sizeof(ask), 0) == sizeof(ask)) {
		answer_dial(w, &ask);
	}
}

void world_step(struct world *w)
{
	struct gt_err err = { 0 };

	passed_ns += STEP_NS;
	run_broker(w);
	assert_int_equal(gt_loop_step(w->loop, 1, &err), 0);
}

void world_settle(struct world *w)
{
	for (int i = 0; i < 10; i++)
		world_step(w);
}

/* ---- routes ---- */

static void tell(struct world *w, struct gt_line *line)
{
	struct gt_buf out;

	gt_buf_init(&out, 0);
	line->epoch = w->epoch;
	line->seq = ++w->seq;
	gt_line_write(line, &out);
	gt_routes_line(out.data, out.len - 1, w->gw);
	gt_buf_fini(&out);
}

void world_snapshot(struct world *w)
{
	char tokens[1][GT_TOKEN_HASH_HEX];
	struct gt_line line = { .type = GT_LINE_SNAPSHOT,
				.routes = &w->route,
				.n_routes = 1,
				.tokens = tokens,
				.n_tokens = 1 };

	gt_sha256_hex(TOKEN, strlen(TOKEN), tokens[0]);
	tell(w, &line);
	assert_true(w->gw->synced);
}

void world_route(struct world *w)
{
	struct gt_line line = { .type = GT_LINE_ROUTE, .routes = &w->route, .n_routes = 1 };

	tell(w, &line);
}

void world_gone(struct world *w)
{
	struct gt_line line = { .type = GT_LINE_GONE, .name = "echo" };

	tell(w, &line);
}

void world_replicas(struct world *w, size_t n)
{
	w->route.n_replicas = n;
}

struct gt_fn *world_fn(struct world *w)
{
	return gt_routes_function(w->gw, "echo", 4);
}

/* ---- peers ---- */

struct peer world_client(struct world *w)
{
	struct peer p = { 0 };
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	gt_conn_accept(&w->gw->listeners[0], fds[0], "10.0.0.9");
	p.fd = fds[1];
	return p;
}

struct peer world_client_tcp(struct world *w)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct peer p = { .fd = socket(AF_INET, SOCK_STREAM, 0) };

	int narrow = 65536;

	setsockopt(p.fd, SOL_SOCKET, SO_RCVBUF, &narrow, sizeof(narrow));
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	assert_int_equal(connect(p.fd, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(fcntl(p.fd, F_SETFL, O_NONBLOCK), 0);
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), small = 65536;

	/* The kernel would grow these to megabytes. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	gt_conn_accept(&w->gw->listeners[0], fd, "127.0.0.1");
	gt_close(listener);
	return p;
}

void peer_close(struct peer *p)
{
	p->fd = gt_close(p->fd);
	gt_buf_fini(&p->got);
}

void peer_send(struct peer *p, const char *text)
{
	assert_int_equal(send(p->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

void peer_pull(struct peer *p)
{
	char buf[65536];
	ssize_t n;

	while (p->fd >= 0 && (n = recv(p->fd, buf, sizeof(buf), 0)) >= 0) {
		if (n == 0) {
			p->eof = true;
			return;
		}
		assert_int_equal(gt_buf_add(&p->got, buf, (size_t)n), 0);
	}
	if (errno == ECONNRESET || errno == EPIPE)
		p->eof = true;
}

bool peer_has(struct peer *p, const char *text)
{
	peer_pull(p);
	return strstr(gt_buf_str(&p->got), text) != NULL;
}

bool peer_eof(struct peer *p)
{
	peer_pull(p);
	return p->eof;
}

struct peer *world_up(struct world *w, size_t i)
{
	UNTIL(w, w->n_ups > i);
	return &w->ups[i];
}

int world_accept_api(struct world *w, struct peer *p)
{
	int fd = accept4(w->api_listen, NULL, NULL, SOCK_NONBLOCK);

	if (fd < 0)
		return -1;
	*p = (struct peer){ .fd = fd };
	return 0;
}
