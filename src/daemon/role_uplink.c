#include <gantry/uplink/uplink.h>

#include "role.h"

int gt_role_uplink(struct gt_role_env *env, struct gt_err *err)
{
	const bool several = env->fds[GT_FD_FORWARD] >= 0;
	const struct gt_uplink_config config = {
		.dir = GT_UPLINK_DIR,
		.url = env->config.join,
		.token = env->join_token ? env->join_token : "",
		.node = env->config.node,
		.dial_path = "run/dial.sock",
		.agent_path = "run/agent.sock",
		.link_fd = env->fds[GT_FD_LINK],
		.lead_path = several ? "run/lead.sock" : NULL,
		.forward_fd = env->fds[GT_FD_FORWARD],
		.ready_fd = env->fds[GT_FD_READY],
		.drain_ms = env->config.drain_ms,
	};

	return gt_uplink_run(&config, err);
}
