/* tls.h - TLS for accepted connections: a layer between a socket and its transport, so that the
 * rest of the gateway reads and writes as on any other. Nothing here waits. */
#ifndef GANTRY_GATEWAY_TLS_H
#define GANTRY_GATEWAY_TLS_H

#include "sock.h"

struct ssl_ctx_st; /* certificate, key and rules; connections keep the one they began with */

/* Reads PEM files: the certificate with its chain, its key, and CAs of clients' certificates (-1:
 * clients are not asked for one). The descriptors stay the caller's; slug "bad_config". */
GT_MUST_USE int gt_tls_server_new(int cert_fd, int key_fd, int client_ca_fd, bool client_optional,
				  struct ssl_ctx_st **ret, struct gt_err *err);
struct ssl_ctx_st *gt_tls_server_share(struct ssl_ctx_st *server); /* one more to free */
void gt_tls_server_free(struct ssl_ctx_st *server);                /* NULL is fine */

/* The socket was copied to s, and is used there from now on. */
void gt_tls_moved(struct gt_sock *s);

/* Puts the layer on an open socket of which nothing that belongs to TLS was read yet. */
void gt_tls_begin(struct gt_sock *s, struct ssl_ctx_st *server);

enum gt_tls_event {
	GT_TLS_MORE,
	GT_TLS_DONE,
	GT_TLS_PLAIN, /* the client does not speak TLS: the layer is off again */
	GT_TLS_FAILED,
};
enum gt_tls_event gt_tls_handshake(struct gt_sock *s);
/* After the handshake. */
bool gt_tls_resumed(const struct gt_sock *s);
/* The name in the client's certificate (RFC 2253), which was checked; NULL when there is none, or
 * when it is too long. The layer's. */
const char *gt_tls_subject(const struct gt_sock *s);

#endif
