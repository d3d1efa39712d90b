/* tls.h - TLS for accepted connections: a layer between a socket and its transport, so that the
 * rest of the gateway reads and writes as on any other. Nothing here waits. */
#ifndef GANTRY_GATEWAY_TLS_H
#define GANTRY_GATEWAY_TLS_H

#include <gantry/http/pki.h>

#include "sock.h"

#define GT_TLS_FIRST_BYTE 22 /* of a client; no HTTP begins with it */

struct ssl_st;
struct ssl_ctx_st; /* certificate, key and rules; connections keep the one they began with */

/* Reads PEM files: the certificate with its chain, its key, and CAs of clients' certificates (-1:
 * clients are not asked for one). The descriptors stay the caller's; slug "bad_config". */
GT_MUST_USE int gt_tls_server_new(int cert_fd, int key_fd, int client_ca_fd, bool client_optional,
				  struct ssl_ctx_st **ret, struct gt_err *err);
struct ssl_ctx_st *gt_tls_server_share(struct ssl_ctx_st *server); /* one more to free */
void gt_tls_server_free(struct ssl_ctx_st *server);                /* NULL is fine */

/* The cluster's own identity, out of PEM text: TLS 1.3 alone, clients are asked for a certificate
 * of `ca` and may have none, nothing is resumed. Slug "bad_certificate". */
GT_MUST_USE int gt_tls_link_new(const char *cert, const char *key, const char *ca,
				struct ssl_ctx_st **ret, struct gt_err *err);
/* Clients of this server may ask for the cluster: see gt_tls_begin. */
void gt_tls_choose(struct ssl_ctx_st *server);
/* The rules that a context of that kind brings with it when a connection changes over to it. */
void gt_tls_link_rules(struct ssl_st *ssl);

/* The socket was copied to s, and is used there from now on. */
void gt_tls_moved(struct gt_sock *s);

/* Puts the layer on an open socket of which nothing that belongs to TLS was read yet. A client that
 * asks for the cluster (GT_PKI_SNI) gets *link; while that is NULL the handshake stands still.
 * server NULL: every client gets *link, which is there. link NULL: none does. */
void gt_tls_begin(struct gt_sock *s, struct ssl_ctx_st *server, struct ssl_ctx_st *const *link);
/* What was read already: before the first handshake. */
void gt_tls_unread(struct gt_sock *s, const char *data, size_t len);
/* The client asked for the cluster. */
bool gt_tls_is_link(const struct gt_sock *s);
/* What lies with the layer, and is freed with it; NULL before it was given. */
void gt_tls_keep(struct gt_sock *s, void *kept GT_TAKES);
void *gt_tls_kept(const struct gt_sock *s);
/* Who it is, by a certificate of the cluster: 1; 0 = it showed none; -EACCES. */
int gt_tls_peer(const struct gt_sock *s, struct gt_pki_id *ret, struct gt_err *err);

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
