/* peer_tls.h - a node between scripted peers: OpenSSL's client with a certificate of a cluster of
 * its own, whose bytes go by hand. */
#ifndef TESTS_GATEWAY_PEER_TLS_H
#define TESTS_GATEWAY_PEER_TLS_H

#include <openssl/ssl.h>

#include <gantry/http/pki.h>

#include "script.h"

/* An authority, and what it signed for the gateway. */
struct cluster {
	struct gt_buf ca_key, ca_cert;
	struct gt_pki_ca *ca;
	int64_t ahead_ms; /* its clock */
};
struct cluster cluster_make(void);
void cluster_free(struct cluster *c);
/* Gives the gateway (all of its shards) its identity, as control would. */
void cluster_identify(struct cluster *c, struct script *s);
/* The same for a gateway without a script. */
struct ssl_ctx_st *cluster_identity(struct cluster *c);
/* What a node of that name connects with; the caller's. */
SSL_CTX *cluster_node(struct cluster *c, const char *name);
/* The port of clients speaks TLS, too, with a certificate that the node trusts. */
void cluster_serve(struct cluster *c, struct script *s);
/* Control tells who joined: names up to NULL. */
void cluster_members(struct script *s, ...);

struct node_end {
	struct script_end *end;
	SSL_CTX *ctx;
	SSL *ssl;
	size_t seen; /* of end->got */
	bool goodbye;
	struct gt_buf said; /* the gateway's words */
};
/* Connects; name NULL: without a certificate. life_ms: of the certificate, from 10 minutes ago when
 * it is negative. The handshake is over when it returns. */
struct node_end node_open(struct cluster *c, struct script *s, enum gt_pki_kind kind,
			  const char *name, int64_t life_ms);
struct node_end node_on(struct cluster *c, struct script_end *end, enum gt_pki_kind kind,
			const char *name, int64_t life_ms);
/* A client that does not ask for the cluster, and one that does, with a session of before. */
struct node_end node_client(struct cluster *c, struct script *s, SSL_SESSION *session);
struct node_end node_resume(struct cluster *c, struct script *s, SSL_SESSION *session);
void node_close(struct node_end *n);
void node_pump(struct node_end *n); /* carries bytes until nothing moves */
void node_say(struct node_end *n, const char *text);
bool node_has(struct node_end *n, const char *text);
void node_forget(struct node_end *n); /* what the gateway said so far */
/* One pipe of that node to a shard. */
struct node_end node_pipe(struct cluster *c, struct script *s, const char *name, unsigned shard);

#endif
