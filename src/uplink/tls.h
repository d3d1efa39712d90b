/* tls.h - the rules of connections to the door: TLS 1.3, and a gateway of our cluster at its end.
 */
#ifndef GANTRY_UPLINK_TLS_H
#define GANTRY_UPLINK_TLS_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

struct ssl_ctx_st;
struct ssl_st;

/* A member's: shows its certificate; the door's must be the authority's. */
GT_MUST_USE int tls_member(const char *cert_pem, const char *key_pem, const char *ca_pem,
			   struct ssl_ctx_st **ret, struct gt_err *err);
/* Of one who has nothing but a token: pin (of gt_pki_pin, borrowed as long as ctx or a connection
 * of it lives) names the authority. */
GT_MUST_USE int tls_stranger(const char *pin, struct ssl_ctx_st **ret, struct gt_err *err);
void tls_free(struct ssl_ctx_st *ctx); /* connections keep it; NULL is fine */
GT_CLEANUP_TYPE(tls, struct ssl_ctx_st *, tls_free)

/* A connection by these rules, and the socket that it is over, which stays the caller's. */
struct ssl_st *tls_new(struct ssl_ctx_st *ctx);
void tls_attach(struct ssl_st *ssl, int fd);
/* 0: done, and a gateway of the cluster is there; -EAGAIN; -EKEYEXPIRED: one is, whose certificate
 * is over by our clock; -EACCES: another one is, or it does not take us; another -errno. */
GT_MUST_USE int tls_handshake(struct ssl_st *ssl, struct gt_err *err);

#endif
