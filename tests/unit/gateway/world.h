/* world.h - a gateway between scripted peers, all on one thread: clients and replicas are ends of
 * socket pairs, the broker and control's API are sockets in a temporary directory. */
#ifndef TESTS_GATEWAY_WORLD_H
#define TESTS_GATEWAY_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../../src/gateway/calls.h"

#define REPLICA_A "01ARZ3NDEKTSV4RRFFQ69G5FAA"
#define REPLICA_B "01ARZ3NDEKTSV4RRFFQ69G5FBB"
#define TOKEN     "secret-token"
#define PEERS_MAX 64

struct peer {
	int fd; /* -1 = closed by the test */
	struct gt_buf got;
	bool eof;
	char replica[GT_REPLICA_ID_SIZE];
};

struct world {
	struct gt_loop *loop;
	struct gt_gateway *gw;
	char dir[64], dial_path[96], api_path[96];
	int dial_listen, dial_fd, api_listen;
	int dial_error;             /* answered by the broker instead of a connection */
	unsigned dial_fails;        /* so many times; then it works */
	bool dial_hold;             /* the broker does not answer */
	struct peer ups[PEERS_MAX]; /* replicas' ends in the order of their making */
	size_t n_ups;
	struct gt_route route; /* the next one to be told */
	struct gt_route_replica replicas[4];
	uint64_t epoch, seq;
};

int world_open(void **state);
int world_close(void **state);
void world_step(struct world *w);
/* Steps until `expr` holds; fails the test after a while. */
#define UNTIL(w, expr)                                                          \
	do {                                                                    \
		bool came_ = false;                                             \
		for (int i_ = 0; i_ < 4000 && !(came_ = (expr)); i_++)          \
			world_step(w);                                          \
		if (!came_)                                                     \
			fail_msg("%s:%d never: %s", __FILE__, __LINE__, #expr); \
	} while (0)
/* So much time goes by at once; a step takes a fifth of a millisecond. */
void world_pass(struct world *w, uint64_t ms);
/* A few rounds in which nothing more should happen. */
void world_settle(struct world *w);

/* Tells the routes: function "echo" as in w->route, with the token above. */
void world_snapshot(struct world *w);
void world_route(struct world *w);
void world_gone(struct world *w);
void world_replicas(struct world *w, size_t n); /* A, then B */
struct gt_fn *world_fn(struct world *w);

struct peer world_client(struct world *w);
struct peer world_client_tcp(struct world *w); /* tells of room only once, as unix sockets do not */
void peer_close(struct peer *p);
void peer_send(struct peer *p, const char *text);
void peer_pull(struct peer *p); /* reads what is there */
bool peer_has(struct peer *p, const char *text);
bool peer_eof(struct peer *p);
struct peer *world_up(struct world *w, size_t i);      /* the i-th connection to a replica */
int world_accept_api(struct world *w, struct peer *p); /* 0 or -1 when none waits */

#define GET_ECHO "GET /f/echo/x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN "\r\n\r\n"
#define OK_HI    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

#endif
