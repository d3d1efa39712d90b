/* Several loop threads on real sockets, for the thread sanitizer: clients that change functions,
 * cut their requests anywhere and leave at any time, against replicas that count who calls them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <gantry/http/digest.h>
#include <gantry/model/dial.h>

#include "../../../src/gateway/calls.h"
#include "threads.h"

#define TOKEN_TEXT "secret-token"
#define AUTH       "Authorization: Bearer " TOKEN_TEXT "\r\n"
#define THREADS    4
#define FUNCTIONS  7
#define SLOTS      2
#define CLIENTS    6
#define REQUESTS   300
#define POLLS_MAX  512

/* ---- replicas, and the broker that leads to them, on one thread ---- */

struct server {
	int listen_fd;
	struct pollfd polls[POLLS_MAX];
	char of[POLLS_MAX]; /* a replica's letter; 0 = the broker */
	bool owes[POLLS_MAX];
	size_t n;
	unsigned most[FUNCTIONS];
	_Atomic bool stop;
};

static void server_add(struct server *s, int fd, char of)
{
	assert_true(s->n < POLLS_MAX);
	s->polls[s->n] = (struct pollfd){ .fd = fd, .events = POLLIN };
	s->owes[s->n] = false;
	s->of[s->n++] = of;
}

static void answer_ask(struct server *s, int fd)
{
	struct gt_dial_ask ask;
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	int ends[2];

	if (recv(fd, &ask, sizeof(ask), 0) != sizeof(ask))
		return;
	struct gt_dial_answer a = { .tag = ask.tag };
	struct iovec iov = { &a, sizeof(a) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &ends[0], sizeof(int));
	sendmsg(fd, &msg, MSG_NOSIGNAL);
	close(ends[0]);
	server_add(s, ends[1], ask.replica[GT_REPLICA_ID_SIZE - 2]);
}

/* Calls of a replica; of those that the gateway gave up it may not have heard yet. */
static unsigned busy(const struct server *s, char of)
{
	unsigned n = 0;
	char c;

	for (size_t i = 0; i < s->n; i++)
		n += s->owes[i] && s->of[i] == of &&
		     recv(s->polls[i].fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
	return n;
}

/* It comes in one piece or two, and is answered in the next round. */
static bool take_request(struct server *s, size_t i)
{
	char text[8192];
	ssize_t n = recv(s->polls[i].fd, text, sizeof(text), 0);
	unsigned of = (unsigned)(s->of[i] - '0');

	if (n <= 0)
		return false;
	s->owes[i] = true;
	s->most[of] = GT_MAX(s->most[of], busy(s, s->of[i]));
	return true;
}

static void answer_all(struct server *s, size_t n)
{
	char text[100];

	for (size_t i = 0; i < n; i++) {
		if (!s->owes[i])
			continue;
		s->owes[i] = false;
		int len = snprintf(text, sizeof(text),
				   "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<%c>", s->of[i]);
		(void)!send(s->polls[i].fd, text, (size_t)len, MSG_NOSIGNAL);
	}
}

static void *serve(void *arg)
{
	struct server *s = arg;

	while (!atomic_load(&s->stop)) {
		poll(s->polls, s->n, 1);
		size_t n = s->n;

		answer_all(s, n);
		if (s->polls[0].revents) {
			int fd = accept(s->polls[0].fd, NULL, NULL);

			if (fd >= 0)
				server_add(s, fd, 0);
		}
		for (size_t i = n; i-- > 1;) {
			if (!s->polls[i].revents)
				continue;
			if (!s->of[i]) {
				answer_ask(s, s->polls[i].fd);
			} else if (!take_request(s, i)) {
				close(s->polls[i].fd);
				s->n--;
				s->polls[i] = s->polls[s->n];
				s->of[i] = s->of[s->n];
				s->owes[i] = s->owes[s->n];
			}
		}
	}
	while (s->n > 0)
		close(s->polls[--s->n].fd);
	return NULL;
}

/* ---- clients ---- */

struct client {
	pthread_t thread;
	uint64_t seed;
	struct sockaddr_in to;
	unsigned opened, answered, left;
	const char *failed;
};

static unsigned pick(struct client *c, unsigned n)
{
	c->seed = c->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(c->seed >> 33) % n;
}

static int open_client(struct client *c)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&c->to, sizeof(c->to)) < 0)
		c->failed = "connect";
	c->opened++;
	return fd;
}

static size_t write_request(struct client *c, unsigned f, char *out, size_t size)
{
	int n;

	if (f == 0 && pick(c, 2))
		n = snprintf(out, size,
			     "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n" AUTH
			     "Content-Length: 16\r\n\r\n{\"model\":\"qwen\"}");
	else
		n = snprintf(out, size, "GET /f/f%u/x HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n", f);
	return (size_t)n;
}

static bool hear(int fd, const char *body)
{
	char text[4096];
	size_t len = 0;

	while (len < sizeof(text) - 1) {
		ssize_t n = recv(fd, text + len, 1, 0);

		if (n <= 0)
			return false;
		text[++len] = '\0';
		if (text[len - 1] == '>')
			return strstr(text, "HTTP/1.1 200 ") && strstr(text, body);
	}
	return false;
}

/* One to three requests at once, in two pieces; sometimes the client is gone then. */
static bool converse(struct client *c, int fd)
{
	unsigned n = 1 + pick(c, 3), fs[3];
	bool leaves = pick(c, 10) == 0;
	char text[1024], body[8];
	size_t len = 0;

	for (unsigned i = 0; i < n; i++) {
		fs[i] = pick(c, FUNCTIONS);
		len += write_request(c, fs[i], text + len, sizeof(text) - len);
	}
	size_t cut = pick(c, (unsigned)len);

	(void)!send(fd, text, cut, MSG_NOSIGNAL);
	if (leaves && pick(c, 2))
		return false;
	(void)!send(fd, text + cut, len - cut, MSG_NOSIGNAL);
	for (unsigned i = 0; i < n; i++) {
		snprintf(body, sizeof(body), "<%u>", fs[i]);
		if (leaves)
			return false;
		if (!hear(fd, body))
			c->failed = "a wrong answer, or none";
		c->answered++;
	}
	return true;
}

static void *be_client(void *arg)
{
	struct client *c = arg;
	int fd = open_client(c);

	for (unsigned i = 0; i < REQUESTS && !c->failed; i++) {
		if (converse(c, fd))
			continue;
		c->left++;
		close(fd);
		fd = open_client(c);
	}
	close(fd);
	return NULL;
}

/* ---- the gateway ---- */

struct world {
	char dir[64], dial_path[96];
	struct gt_loop *loop;
	struct gt_gateway *gw;
	struct server server;
	struct client clients[CLIENTS];
};

static void tell_routes(struct gt_gateway *gw)
{
	static char *models[] = { (char *)"qwen" };
	char tokens[1][GT_TOKEN_HASH_HEX];
	struct gt_route routes[FUNCTIONS];
	struct gt_route_replica replicas[FUNCTIONS];
	struct gt_line line = { .type = GT_LINE_SNAPSHOT,
				.epoch = 1,
				.seq = 1,
				.routes = routes,
				.n_routes = FUNCTIONS,
				.tokens = tokens,
				.n_tokens = 1 };
	gt_auto(buf) struct gt_buf out = { 0 };

	for (unsigned i = 0; i < FUNCTIONS; i++) {
		replicas[i] = (struct gt_route_replica){ .draining = false };
		snprintf(replicas[i].id, sizeof(replicas[i].id), "01ARZ3NDEKTSV4RRFFQ69G5FA%u", i);
		routes[i] = (struct gt_route){ .revision = 1,
					       .concurrency = SLOTS,
					       .queue = 100,
					       .wait_ms = 60000,
					       .first_byte_ms = 60000,
					       .body_bytes = 1 << 20,
					       .max_replicas = 1,
					       .replicas = &replicas[i],
					       .n_replicas = 1,
					       .models = models,
					       .n_models = i == 0 };
		snprintf(routes[i].function, sizeof(routes[i].function), "f%u", i);
	}
	gt_sha256_hex(TOKEN_TEXT, strlen(TOKEN_TEXT), tokens[0]);
	gt_line_write(&line, &out);
	gt_routes_up(gw);
	gt_routes_line(out.data, out.len - 1, gw);
}

static int listen_tcp(struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	*addr = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (struct sockaddr *)addr, sizeof(*addr)), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
	return fd;
}

static int listen_unix(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	gt_strcopy(addr.sun_path, sizeof(addr.sun_path), path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

/* Beside the gateway, whose first loop is the test's own thread. */
static void *watch_clients(void *arg)
{
	struct world *w = arg;

	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(w->clients[i].thread, NULL);
	gt_shard_tell(w->gw, 0, gt_gw_quiesce);
	return NULL;
}

static void check(struct world *w)
{
	uint64_t accepted = 0, calls = 0;
	unsigned opened = 0, answered = 0, left = 0;

	for (unsigned i = 0; i < CLIENTS; i++) {
		if (w->clients[i].failed)
			fail_msg("client %u: %s", i, w->clients[i].failed);
		opened += w->clients[i].opened;
		answered += w->clients[i].answered;
		left += w->clients[i].left;
	}
	for (unsigned i = 0; i < THREADS; i++) {
		struct gt_gateway *gw = w->gw->shards->at[i].gw;
		struct gt_route_fn *f, *next;

		accepted += gw->stats.accepted;
		assert_int_equal(gw->n_conns, 0);
		assert_int_equal(gw->buffered, 0);
		HASH_ITER (hh, gw->fns, f, next) {
			calls += f->fn.stats.calls;
			assert_int_equal(f->fn.in_flight + f->fn.n_waiting, 0);
		}
	}
	assert_int_equal(accepted, opened);
	assert_int_equal(gt_gw_conns(w->gw), 0);
	assert_in_range(calls, answered, answered + 3 * left);
	for (unsigned i = 0; i < FUNCTIONS; i++)
		assert_in_range(w->server.most[i], 1, SLOTS);
	print_message("%u connections, %u answers, %u left\n", opened, answered, left);
}

static void test_clients_that_go_everywhere(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));
	struct gt_gateway_config cfg = { .tls_listen_fd = -1,
					 .files_fd = -1,
					 .door_fd = -1,
					 .ready_fd = -1,
					 .successor_fd = -1,
					 .predecessor_fd = -1 };
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)getpid();
	pthread_t server, watcher;
	struct sockaddr_in addr;

	(void)state;
	print_message("SEED=%llu\n", (unsigned long long)seed);
	snprintf(w->dir, sizeof(w->dir), "/tmp/gt-threads-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->dial_path, sizeof(w->dial_path), "%s/dial", w->dir);
	server_add(&w->server, listen_unix(w->dial_path), 0);
	cfg.listen_fd = listen_tcp(&addr);
	cfg.dial_path = w->dial_path;
	assert_int_equal(gt_loop_new(&w->loop, NULL), 0);
	assert_int_equal(gt_gw_new(w->loop, &gt_port_system, &cfg, &w->gw, NULL), 0);
	assert_int_equal(gt_threads_new(w->gw, THREADS, NULL), 0);
	tell_routes(w->gw);
	gt_gw_accept(w->gw);
	assert_int_equal(gt_threads_start(w->gw, NULL), 0);
	pthread_create(&server, NULL, serve, &w->server);
	for (unsigned i = 0; i < CLIENTS; i++) {
		w->clients[i] = (struct client){ .seed = seed + i, .to = addr };
		pthread_create(&w->clients[i].thread, NULL, be_client, &w->clients[i]);
	}
	pthread_create(&watcher, NULL, watch_clients, w);
	assert_int_equal(gt_loop_run(w->loop, NULL), 0);
	pthread_join(watcher, NULL);
	gt_threads_stop(w->gw);
	atomic_store(&w->server.stop, true);
	pthread_join(server, NULL);
	check(w);
	gt_shards_free(w->gw->shards);
	gt_loop_free(w->loop);
	close(cfg.listen_fd);
	unlink(w->dial_path);
	rmdir(w->dir);
	free(w);
}

/* ---- letters ---- */

#define SENDERS 3
#define LETTERS 5000

struct letter {
	struct gt_mail mail;
	unsigned from, n;
};

static unsigned heard[SENDERS];
static struct gt_shards *shards_;

static void hear_letter(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct letter *l = GT_CONTAINER(m, struct letter, mail);

	if (l->n != heard[l->from]++)
		heard[l->from] = UINT32_MAX / 2; /* out of order */
	free(l);
	if (heard[0] == LETTERS && heard[1] == LETTERS && heard[2] == LETTERS)
		gt_loop_stop(gw->loop);
}

static void *send_letters(void *arg)
{
	for (unsigned i = 0; i < LETTERS; i++) {
		struct letter *l = gt_alloc(sizeof(*l));

		*l = (struct letter){ .mail.fn = hear_letter, .from = *(unsigned *)arg, .n = i };
		gt_shard_post(shards_, 0, &l->mail);
	}
	return NULL;
}

static void test_letters_of_each_sender_come_in_order(void **state)
{
	const struct gt_gateway_config cfg = { .listen_fd = -1, .tls_listen_fd = -1 };
	unsigned ids[SENDERS] = { 0, 1, 2 };
	struct gt_gateway *gw = NULL;
	struct gt_loop *loop = NULL;
	pthread_t threads[SENDERS];

	(void)state;
	assert_int_equal(gt_loop_new(&loop, NULL), 0);
	assert_int_equal(gt_gw_new(loop, &gt_port_system, &cfg, &gw, NULL), 0);
	assert_int_equal(gt_threads_new(gw, 2, NULL), 0);
	shards_ = gw->shards;
	for (unsigned i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, send_letters, &ids[i]), 0);
	assert_int_equal(gt_loop_run(loop, NULL), 0);
	for (unsigned i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	gt_shards_free(shards_);
	gt_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_letters_of_each_sender_come_in_order),
		cmocka_unit_test(test_clients_that_go_everywhere),
	};

	gt_log_init("test", GT_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
