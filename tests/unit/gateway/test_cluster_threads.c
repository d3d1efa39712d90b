/* A node's pipes to several loop threads on real sockets, for the thread sanitizer: calls that go
 * over them, while another node joins and is removed. Time stands still: nothing here may need it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gantry/http/digest.h>

#include "nodes.h"
#include "peer_tls.h"
#include "threads.h"
#include "tls.h"

#define THREADS   3
#define PIPES     4 /* of each thread */
#define FUNCTIONS 6
#define CLIENTS   4
#define REQUESTS  60
#define CHANGES   30
#define AUTH      "Authorization: Bearer secret-token\r\n"

struct world {
	struct gt_gateway *gw;
	struct gt_loop *loop;
	struct sockaddr_in addr;
	SSL_CTX *far, *other;
	_Atomic bool stop;
	_Atomic unsigned served;
};

struct client {
	struct world *w;
	pthread_t thread;
	unsigned id, answered;
	char failed[200];
};

static struct world world;

static int connect_to(const struct world *w)
{
	const struct timeval patience = { .tv_sec = 30 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&w->addr, sizeof(w->addr)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* ---- nodes ---- */

struct pipe {
	SSL *ssl;
	int fd;
};

static bool pipe_open(const struct world *w, SSL_CTX *ctx, const char *name, unsigned shard,
		      struct pipe *p)
{
	char text[256];

	p->fd = connect_to(w);
	p->ssl = SSL_new(ctx);
	if (p->fd < 0 || SSL_set_fd(p->ssl, p->fd) != 1 || SSL_connect(p->ssl) != 1)
		return false;
	int len = snprintf(text, sizeof(text),
			   "GET /link/v1/nodes/%s/pipe?shard=%u HTTP/1.1\r\nHost: h\r\n"
			   "Connection: Upgrade\r\nUpgrade: gantry-pipe\r\n\r\n",
			   name, shard);

	return SSL_write(p->ssl, text, len) == len;
}

static void pipe_close(struct pipe *p)
{
	SSL_free(p->ssl);
	if (p->fd >= 0)
		close(p->fd);
}

/* Until `end`; false: the connection ended before. */
static bool read_to(struct pipe *p, const char *end)
{
	char text[4096];
	size_t n = 0, len = strlen(end);

	while (n < sizeof(text) - 1 && SSL_read(p->ssl, text + n, 1) == 1) {
		n++;
		if (n >= len && !memcmp(text + n - len, end, len))
			return true;
	}
	return false;
}

static bool say(struct pipe *p, const char *text)
{
	return SSL_write(p->ssl, text, (int)strlen(text)) > 0;
}

/* A pipe after the other, each for as many calls as it is used for. */
static void *be_pipe(void *arg)
{
	unsigned shard = (unsigned)(uintptr_t)arg;
	struct world *w = &world;

	while (!atomic_load(&w->stop)) {
		struct pipe p;

		if (pipe_open(w, w->far, "far", shard, &p) && read_to(&p, "\r\n\r\n") &&
		    read_to(&p, "\n") && say(&p, "ok\n"))
			while (read_to(&p, "\r\n\r\n") &&
			       say(&p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
				atomic_fetch_add(&w->served, 1);
		pipe_close(&p);
	}
	return NULL;
}

/* Comes whenever it may, and is thrown out as often. */
static void *be_other(void *arg)
{
	struct world *w = arg;

	for (unsigned i = 0; !atomic_load(&w->stop); i++) {
		struct pipe p;

		if (pipe_open(w, w->other, "other", i, &p))
			read_to(&p, "never");
		pipe_close(&p);
	}
	return NULL;
}

/* ---- control ---- */

static void tell(struct gt_gateway *gw, struct gt_line *line)
{
	static uint64_t seq;
	gt_auto(buf) struct gt_buf out = { 0 };

	line->epoch = 1;
	line->seq = ++seq;
	gt_line_write(line, &out);
	gt_routes_line(out.data, out.len - 1, gw);
}

static void tell_members(struct gt_gateway *gw, size_t n)
{
	struct gt_member members[2] = { { .node = "far" }, { .node = "other" } };

	tell(gw, &(struct gt_line){ .type = GT_LINE_NODES, .members = members, .n_members = n });
}

static void other_joins(struct gt_gateway *gw)
{
	tell_members(gw, 2);
}

static void other_leaves(struct gt_gateway *gw)
{
	tell_members(gw, 1);
}

static void tell_routes(struct gt_gateway *gw)
{
	char tokens[1][GT_TOKEN_HASH_HEX];
	struct gt_member members[1] = { { .node = "far" } };
	struct gt_route routes[FUNCTIONS] = { 0 };
	struct gt_route_replica replicas[FUNCTIONS] = { 0 };
	struct gt_line line = { .type = GT_LINE_SNAPSHOT,
				.routes = routes,
				.n_routes = FUNCTIONS,
				.tokens = tokens,
				.n_tokens = 1,
				.members = members,
				.n_members = 1 };

	gt_sha256_hex("secret-token", strlen("secret-token"), tokens[0]);
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		struct gt_route *r = &routes[i];

		*r = (struct gt_route){ .revision = 1,
					.concurrency = 2,
					.queue = 100,
					.wait_ms = 60000,
					.first_byte_ms = 60000,
					.body_bytes = 1 << 20,
					.replicas = &replicas[i],
					.n_replicas = 1 };
		snprintf(r->function, sizeof(r->function), "f%u", i);
		snprintf(replicas[i].id, GT_REPLICA_ID_SIZE, "01ARZ3NDEKTSV4RRFFQ69G5F%02u", i);
		gt_strcopy(replicas[i].node, sizeof(replicas[i].node), "far");
	}
	tell(gw, &line);
}

/* ---- clients ---- */

static bool answered(int fd, char text[4096])
{
	size_t n = 0;
	ssize_t got;

	while (n < 4095 && (got = recv(fd, text + n, 4095 - n, 0)) > 0) {
		n += (size_t)got;
		text[n] = '\0';
		if (strstr(text, "\r\n\r\nhi"))
			return true;
	}
	text[n] = '\0';
	return false;
}

static void *be_client(void *arg)
{
	struct client *c = arg;
	int fd = connect_to(c->w);
	char text[4096];

	for (unsigned i = 0; i < REQUESTS; i++) {
		int len = snprintf(text, sizeof(text),
				   "GET /f/f%u/x HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n",
				   (i + c->id) % FUNCTIONS);

		if (send(fd, text, (size_t)len, MSG_NOSIGNAL) != len || !answered(fd, text)) {
			snprintf(c->failed, sizeof(c->failed), "request %u: %.150s", i, text);
			break;
		}
		c->answered++;
	}
	close(fd);
	return NULL;
}

static void *watch(void *arg)
{
	struct client *clients = arg;
	struct world *w = clients->w;

	for (unsigned i = 0; i < CHANGES; i++) {
		gt_shard_tell(w->gw, 0, i % 2 ? other_leaves : other_joins);
		sched_yield();
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(clients[i].thread, NULL);
	atomic_store(&w->stop, true);
	gt_shard_tell(w->gw, 0, gt_gw_quiesce);
	return NULL;
}

static int listen_tcp(struct sockaddr_in *addr)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*addr);

	*addr = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (struct sockaddr *)addr, sizeof(*addr)), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
	return fd;
}

static void identify(struct gt_gateway *first, struct cluster *cluster)
{
	struct ssl_ctx_st *tls = cluster_identity(cluster);

	for (unsigned i = 0; i < THREADS; i++)
		gt_identity_use(first->shards->at[i].gw, gt_tls_server_share(tls));
	gt_tls_server_free(tls);
}

static void test_calls_over_pipes_while_nodes_come_and_go(void **state)
{
	struct world *w = &world;
	struct cluster cluster = cluster_make();
	struct client clients[CLIENTS];
	struct gt_gateway_config cfg = { .tls_listen_fd = -1,
					 .files_fd = -1,
					 .door_fd = -1,
					 .ready_fd = -1,
					 .successor_fd = -1,
					 .predecessor_fd = -1 };
	pthread_t pipes[THREADS * PIPES], other, watcher;

	(void)state;
	cfg.listen_fd = listen_tcp(&w->addr);
	w->far = cluster_node(&cluster, "far");
	w->other = cluster_node(&cluster, "other");
	assert_int_equal(gt_loop_new(&w->loop, NULL), 0);
	assert_int_equal(gt_gw_new(w->loop, &gt_port_system, &cfg, &w->gw, NULL), 0);
	assert_int_equal(gt_threads_new(w->gw, THREADS, NULL), 0);
	identify(w->gw, &cluster);
	gt_routes_up(w->gw);
	tell_routes(w->gw);
	gt_gw_accept(w->gw);
	assert_int_equal(gt_threads_start(w->gw, NULL), 0);
	for (unsigned i = 0; i < THREADS * PIPES; i++)
		pthread_create(&pipes[i], NULL, be_pipe, (void *)(uintptr_t)i);
	pthread_create(&other, NULL, be_other, w);
	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){ .w = w, .id = i };
		pthread_create(&clients[i].thread, NULL, be_client, &clients[i]);
	}
	pthread_create(&watcher, NULL, watch, clients);
	assert_int_equal(gt_loop_run(w->loop, NULL), 0);
	pthread_join(watcher, NULL);
	gt_threads_stop(w->gw);
	close(cfg.listen_fd);
	gt_shards_free(w->gw->shards); /* which ends what nodes wait for */
	for (unsigned i = 0; i < THREADS * PIPES; i++)
		pthread_join(pipes[i], NULL);
	pthread_join(other, NULL);
	gt_loop_free(w->loop);
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (clients[i].failed[0])
			fail_msg("client %u: %s", i, clients[i].failed);
		assert_int_equal(clients[i].answered, REQUESTS);
	}
	assert_int_equal(w->served, CLIENTS * REQUESTS);
	SSL_CTX_free(w->far);
	SSL_CTX_free(w->other);
	cluster_free(&cluster);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_over_pipes_while_nodes_come_and_go),
	};

	gt_log_init("test", GT_ERROR);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
