/* find.h - which daemon to talk to, and with which token.
 *
 * Address: --url, $GANTRY_URL, else the local daemon: its state directory (DIR/daemon.json,
 * {"url","pid"}) is looked for in $GANTRY_STATE alone, or else in the one that
 * /run/gantry/daemon.json names ({"state": DIR}), /var/lib/gantry, $XDG_STATE_HOME/gantry
 * (~/.local/state/gantry) and ./build/demo-state.
 * CA certificates: --ca, $GANTRY_CA, else the system's.
 * Token: --token, --token-file, $GANTRY_TOKEN, else DIR/admin.token of the local daemon, which is
 * sent to no other address than that daemon's own. */
#ifndef GANTRY_CLI_FIND_H
#define GANTRY_CLI_FIND_H

#include <sys/types.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

struct gt_find {
	const char *url, *ca, *token, *token_file; /* of the command line; NULL = not given */
	const char *pointer; /* NULL = /run/gantry/daemon.json; tests name another */
};

struct gt_target {
	char *url;   /* without a '/' at the end */
	char *ca;    /* file of CA certificates to trust instead of the system's; NULL = those */
	char *token; /* NULL = none found */
	char *state; /* state directory of a local daemon that was found, or NULL */
	pid_t pid;   /* of that daemon, or 0 */
	char *note;  /* why there is no token, or NULL */
};

/* -ENOENT with slug "unreachable" when no daemon was found: the text says how to start one. */
GT_MUST_USE int gt_target_find(const struct gt_find *in, struct gt_target *ret, struct gt_err *err);
void gt_target_fini(struct gt_target *t);

static inline void gt_cleanup_target(struct gt_target *t)
{
	gt_target_fini(t);
}

#endif
