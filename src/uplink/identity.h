/* identity.h - who this node is: its key, its certificate, the authority, where it joined. In files
 * of a directory that belongs to this role's user alone; the key never leaves it.
 *
 *	node.key	made here, once for each time that the node joins
 *	ca.crt		the cluster's authority
 *	node.crt	renewed by renew.c
 *	join.json	written last: without it the node has not joined
 */
#ifndef GANTRY_UPLINK_IDENTITY_H
#define GANTRY_UPLINK_IDENTITY_H

#include <gantry/base/buf.h>
#include <gantry/http/pki.h>
#include <gantry/uplink/uplink.h>

#define IDENTITY_KEY  "node.key"
#define IDENTITY_CERT "node.crt"
#define IDENTITY_CA   "ca.crt"
#define IDENTITY_JOIN "join.json"

struct ssl_ctx_st;

struct identity {
	char dir[256];
	struct gt_uplink_joined joined;
	struct gt_pki_id id;
	struct gt_buf key, ca;
	struct ssl_ctx_st *ctx; /* new connections' */
};

/* -ENOENT: has not joined. */
GT_MUST_USE int identity_load(const char *dir, struct identity **ret, struct gt_err *err);
void identity_free(struct identity *i); /* NULL is fine */
/* A key for a certificate request: that of an attempt to join that was not finished, or a new one.
 * key: initialised here; wipe it. */
GT_MUST_USE int identity_key(const char *dir, struct gt_buf *key, struct gt_err *err);
/* Forgets that it has joined, and the key. */
GT_MUST_USE int identity_drop(const char *dir, struct gt_err *err);
/* What the cluster answered to its first request; all of it is checked, and is in the files then.
 */
GT_MUST_USE int identity_joined(const char *dir, const struct gt_uplink_joined *joined,
				const char *cert, const char *ca, struct gt_err *err);
/* The next certificate. On failure the present one stays; so it does when the next was signed by a
 * clock that was set back, as that one may be refused as soon as the clock is right again. */
GT_MUST_USE int identity_renew(struct identity *i, const char *cert, struct gt_err *err);
/* Remembers another address of the same cluster; and all that there are. */
GT_MUST_USE int identity_move(struct identity *i, const char *url, struct gt_err *err);
/* One that is nobody's but this process's: of a key that is in memory alone. */
GT_MUST_USE int identity_hold(const char *key, const char *cert, const char *ca,
			      struct identity **ret, struct gt_err *err);

#endif
