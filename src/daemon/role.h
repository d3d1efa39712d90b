/* daemon/role.h - what a role process inherits from the supervisor, and the roles' mains. */
#ifndef DAEMON_ROLE_H
#define DAEMON_ROLE_H

#include <sys/types.h>

#include "config.h"

enum gt_role_id { GT_PROC_CONTROL, GT_PROC_AGENT, GT_PROC_GATEWAY, GT_PROC_UPLINK, GT_PROC_N };
extern const char *const gt_role_names[GT_PROC_N];

/* Names of inherited descriptors in $GANTRY_FDS ("listen=3,ready=4"). */
enum gt_role_fd {
	GT_FD_LISTEN,
	GT_FD_LISTEN_TLS, /* if there is a second one */
	GT_FD_LINK,
	GT_FD_API,
	GT_FD_AGENT,
	GT_FD_DIAL,
	GT_FD_DOOR,    /* a gateway's: control asks agents of other nodes through it */
	GT_FD_LEAD,    /* with several controls: control tells the others which of them leads */
	GT_FD_FORWARD, /* an uplink's: the gateway passes on what is for the one that leads */
	GT_FD_LOCK,
	GT_FD_READY,
	GT_FD_BEFORE, /* a gateway's packet sockets: to the one it replaces */
	GT_FD_AFTER,  /* and to the one that will replace it */
	GT_FD_FILES,  /* see gt_gateway_send_files */
	GT_FD_N
};
extern const char *const gt_role_fd_names[GT_FD_N];

#define GT_ENV_FDS        "GANTRY_FDS"
#define GT_ENV_CONFIG     "GANTRY_CONFIG"
#define GT_ENV_TOKEN      "GANTRY_TOKEN_SHA256"
#define GT_ENV_JOIN       "GANTRY_JOIN_TOKEN" /* the uplink's, if there is one */
#define GT_ENV_IDS        "GANTRY_IDS"        /* "uid:gid" of control and gateway */
#define GT_ENV_SUPERVISOR "GANTRY_SUPERVISOR" /* its pid */
#define GT_ENV_INSTANCE   "GANTRY_INSTANCE"   /* 1; another number while a replaced process ends */

/* Ids when no user is configured, below systemd's range for transient users: control's, and the
 * group of both; the gateway, which parses strangers' bytes, has the next user id and can not read
 * the store. */
#define GT_DEFAULT_ID 61180

struct gt_role_env {
	struct gt_config config;
	int fds[GT_FD_N]; /* -EBADF = not given; close-on-exec was set again */
	const char *token_sha256, *join_token, *instance;
	uid_t uid;
	gid_t gid;
};

/* Reads the environment, dies with the supervisor, and for all but the agent gives up root. */
GT_MUST_USE int gt_role_enter(enum gt_role_id id, struct gt_role_env *ret, struct gt_err *err);
void gt_role_ready(const struct gt_role_env *env); /* tells the supervisor; may be called twice */

GT_MUST_USE int gt_role_control(struct gt_role_env *env, struct gt_err *err);
GT_MUST_USE int gt_role_gateway(struct gt_role_env *env, struct gt_err *err);
GT_MUST_USE int gt_role_uplink(struct gt_role_env *env, struct gt_err *err);
GT_MUST_USE int gt_role_agent(struct gt_role_env *env, struct gt_err *err);

#endif
