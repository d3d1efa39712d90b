/* daemon/state_dir.h - the state directory: layout, ownership, lock, admin token. */
#ifndef DAEMON_STATE_DIR_H
#define DAEMON_STATE_DIR_H

#include <sys/types.h>

#include <gantry/base/err.h>
#include <gantry/http/digest.h>

#define GT_TOKEN_FILE "admin.token"

/* Creates what is missing, takes the lock and makes the directory the process's working directory;
 * later paths are relative to it, since the roles may not traverse its parents.
 * *lock_fd holds the lock until the last process that inherited it is gone. `dir` (size bytes)
 * becomes absolute. -EBUSY when another daemon uses it. */
GT_MUST_USE int gt_state_open(char *dir, size_t size, gid_t gid, int *lock_fd, struct gt_err *err);
/* A directory in it that is this user's alone, with all that is in it. */
GT_MUST_USE int gt_state_dir(const char *name, uid_t uid, gid_t gid, struct gt_err *err);
/* Reads DIR/admin.token, or makes one (0600) at the first start. sha256_hex gets the token's
 * digest. */
GT_MUST_USE int gt_state_token(char *sha256_hex, size_t size, struct gt_err *err);
/* The same, making none: -ENOENT. */
GT_MUST_USE int gt_state_token_read(char *sha256_hex, size_t size, struct gt_err *err);
/* What daemons with one store compare: a digest of the digest, with which nobody is let in. */
void gt_state_token_print(const char *sha256_hex, char ret[GT_SHA256_HEX_SIZE]);
/* How `gantry` finds this daemon: DIR/daemon.json and /run/gantry/daemon.json. Best effort. */
void gt_state_announce(const char *dir, const char *url);
void gt_state_withdraw(const char *dir);

#endif
