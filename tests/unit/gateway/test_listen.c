/* Whom a new connection finds at the limit of connections, and which of several shards: sockets are
 * real, but for the listening one, of which the test is the kernel. It says whom it wakes. */
#include "world.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "threads.h"

#define LISTEN_FD 1000000 /* nothing real has this number */
#define SHARDS    3
#define WAIT_MS   30 /* all that is paused looks again */

/* ---- the kernel ---- */

struct watch {
	int epoll_fd;
	void *data;
	bool woken;
};

static struct {
	struct watch watches[SHARDS];
	int backlog[8];
	size_t n;
} kernel;

static struct watch *watch_of(int epoll_fd)
{
	for (size_t i = 0; i < SHARDS; i++)
		if (kernel.watches[i].data && kernel.watches[i].epoll_fd == epoll_fd)
			return &kernel.watches[i];
	return NULL;
}

int epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *ev)
{
	if (fd != LISTEN_FD)
		return (int)syscall(SYS_epoll_ctl, epoll_fd, op, fd, ev);
	struct watch *w = watch_of(epoll_fd);

	if (op == EPOLL_CTL_DEL) {
		w->data = NULL;
		return 0;
	}
	assert_null(w);
	for (w = kernel.watches; w->data; w++)
		;
	*w = (struct watch){ epoll_fd, ev->data.ptr, kernel.n > 0 };
	return 0;
}

int epoll_wait(int epoll_fd, struct epoll_event *events, int max, int timeout_ms)
{
	int n = (int)syscall(SYS_epoll_pwait, epoll_fd, events, max - 1, timeout_ms, NULL, 8);
	struct watch *w = watch_of(epoll_fd);

	if (n < 0 || !w || !w->woken)
		return n;
	w->woken = kernel.n > 0;
	if (w->woken)
		events[n++] = (struct epoll_event){ EPOLLIN, { .ptr = w->data } };
	return n;
}

int epoll_pwait2(int epoll_fd, struct epoll_event *events, int max, const struct timespec *timeout,
		 const sigset_t *mask)
{
	(void)timeout;
	(void)mask;
	return epoll_wait(epoll_fd, events, max, 0);
}

static int accept_one(int listen_fd, char peer[INET6_ADDRSTRLEN])
{
	int fd;

	assert_int_equal(listen_fd, LISTEN_FD);
	if (!kernel.n)
		return -EAGAIN;
	fd = kernel.backlog[0];
	kernel.n--;
	for (size_t i = 0; i < kernel.n; i++)
		kernel.backlog[i] = kernel.backlog[i + 1];
	gt_strcopy(peer, INET6_ADDRSTRLEN, "10.0.0.9");
	return fd;
}

/* ---- the gateway ---- */

static struct gt_port port;

static int open_shards(void **state, unsigned n, uint32_t connections)
{
	struct gt_err err = { 0 };

	world_open(state);
	struct world *w = *state;

	memset(&kernel, 0, sizeof(kernel));
	port = gt_port_system;
	port.accept = accept_one;
	w->gw->port = &port;
	w->gw->cfg.listen_fd = LISTEN_FD;
	w->gw->cfg.connections_max = connections;
	assert_int_equal(gt_threads_new(w->gw, n, &err), 0); /* and none is started */
	assert_int_equal(gt_shard_home(w->gw, "echo", 4), n / 2);
	world_snapshot(w);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(gt_gw_listen(n > 1 ? w->gw->shards->at[i].gw : w->gw, &err), 0);
	return 0;
}

static int open_one(void **state)
{
	return open_shards(state, 1, 2);
}

static int open_several(void **state)
{
	return open_shards(state, SHARDS, 1);
}

static int close_shards(void **state)
{
	struct world *w = *state;

	while (kernel.n)
		close(kernel.backlog[--kernel.n]);
	if (w->gw->shards) {
		gt_shards_free(w->gw->shards);
		w->gw = NULL;
	}
	return world_close(state);
}

/* A round of all of them; none sleeps. */
static void step(struct world *w)
{
	world_step(w);
	for (unsigned i = 1; w->gw->shards && i < SHARDS; i++)
		assert_int_equal(gt_loop_step(w->gw->shards->at[i].loop, 0, NULL), 0);
}

static void settle(struct world *w)
{
	for (int i = 0; i < 20; i++)
		step(w);
}

static void pass(struct world *w)
{
	for (unsigned i = 0; i < WAIT_MS; i++) {
		world_pass(w, 1);
		settle(w);
	}
}

/* A client in the backlog, which has sent what it has to say. */
static struct peer knock(const char *text)
{
	struct peer p = { 0 };
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	p.fd = fds[1];
	peer_send(&p, text);
	kernel.backlog[kernel.n++] = fds[0];
	return p;
}

static void wake_shard(struct world *w, unsigned i)
{
	const struct gt_gateway *gw = i ? w->gw->shards->at[i].gw : w->gw;
	struct watch *at = kernel.watches;

	while (at < kernel.watches + SHARDS && at->data != gw->listeners[0].watch)
		at++;
	assert_true(at < kernel.watches + SHARDS); /* else it would have woken another one */
	at->woken = true;
	settle(w);
}

static void answered(struct world *w, struct peer *c, size_t up)
{
	settle(w);
	peer_send(world_up(w, up), OK_HI);
	settle(w);
	assert_true(peer_has(c, "\r\n\r\nhi"));
	peer_close(c);
}

/* ---- one shard ---- */

static void test_who_has_said_something_does_not_give_way(void **state)
{
	struct world *w = *state;
	struct peer c[4];

	world_replicas(w, 1);
	w->route.concurrency = 4;
	world_route(w);
	for (size_t i = 0; i < GT_LEN(c); i++)
		c[i] = knock(GET_ECHO);
	wake_shard(w, 0); /* late: all of them are there */
	assert_int_equal(kernel.n, 2);
	for (size_t i = 0; i < GT_LEN(c); i++)
		answered(w, &c[i], i % 2);
}

static void test_who_says_nothing_gives_way(void **state)
{
	struct world *w = *state;
	struct peer silent = knock(""), begins = knock("GET / HT"), calls;

	world_replicas(w, 1);
	world_route(w);
	wake_shard(w, 0);
	world_pass(w, 10);
	calls = knock(GET_ECHO);
	wake_shard(w, 0);
	assert_true(peer_eof(&silent));
	assert_false(peer_eof(&begins));
	answered(w, &calls, 0);
	peer_close(&silent);
	peer_close(&begins);
}

static void test_who_has_left_gives_way(void **state)
{
	struct world *w = *state;
	struct peer left = knock(""), stays = knock(GET_ECHO), calls = knock(GET_ECHO);

	world_replicas(w, 1);
	world_route(w);
	peer_close(&left);
	wake_shard(w, 0);
	assert_int_equal(kernel.n, 0);
	answered(w, &stays, 0);
	answered(w, &calls, 0);
}

/* The kernel has not told of who comes, as it does when its turn among all that are ready has come.
 */
static void test_who_comes_is_not_left_behind_what_is_said(void **state)
{
	struct world *w = *state;
	struct peer talks = knock(""), next;

	wake_shard(w, 0);
	next = knock("GET /livez HTTP/1.1\r\nHost: h\r\n\r\n");
	for (int i = 0; i < 32; i++) {
		assert_int_equal(kernel.n, 1);
		peer_send(&talks, i ? "/" : "GET ");
		step(w);
	}
	assert_int_equal(kernel.n, 0);
	settle(w);
	assert_true(peer_has(&next, "HTTP/1.1 200"));
	peer_close(&talks);
	peer_close(&next);
}

/* ---- several ---- */

/* Shard 1 alone has a connection, and that has a call. Whoever is woken for the next one, and
 * whatever happened before: when the call ends, its connection is found and gives way. */
static void test_connection_of_another_shard_gives_way(void **state)
{
	struct world *w = *state;
	struct peer was = knock(""), next;

	wake_shard(w, 0);
	for (unsigned round = 0; round < 6; round++) {
		world_snapshot(w); /* without a replica: the call waits */
		peer_send(&was, GET_ECHO);
		pass(w);
		assert_int_equal(w->gw->shards->at[1].gw->n_conns, 1);
		next = knock("");
		wake_shard(w, round % 3 ? 2 : 0);
		pass(w);
		assert_int_equal(kernel.n, 1);
		world_gone(w);
		pass(w);
		assert_true(peer_has(&was, "HTTP/1.1 404"));
		assert_true(peer_eof(&was));
		assert_int_equal(kernel.n, 0);
		peer_close(&was);
		was = next;
	}
	peer_close(&was);
	pass(w);
	assert_int_equal(gt_gw_conns(w->gw), 0);
}

static void test_end_of_a_connection_is_room_for_all_shards(void **state)
{
	struct world *w = *state;
	struct peer was = knock(GET_ECHO), next;

	wake_shard(w, 0);
	for (unsigned round = 0; round < 6; round++) {
		pass(w);
		assert_int_equal(w->gw->shards->at[1].gw->n_conns, 1);
		next = knock(GET_ECHO);
		wake_shard(w, round % 3);
		pass(w);
		assert_int_equal(kernel.n, 1);
		peer_close(&was);
		pass(w);
		assert_int_equal(kernel.n, 0);
		was = next;
	}
	peer_close(&was);
	pass(w);
	assert_int_equal(gt_gw_conns(w->gw), 0);
}

int main(void)
{
#define ONE(t)  cmocka_unit_test_setup_teardown(t, open_one, close_shards)
#define MANY(t) cmocka_unit_test_setup_teardown(t, open_several, close_shards)
	const struct CMUnitTest tests[] = {
		ONE(test_who_has_said_something_does_not_give_way),
		ONE(test_who_says_nothing_gives_way),
		ONE(test_who_has_left_gives_way),
		ONE(test_who_comes_is_not_left_behind_what_is_said),
		MANY(test_connection_of_another_shard_gives_way),
		MANY(test_end_of_a_connection_is_room_for_all_shards),
	};

	gt_log_init("test", GT_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
