#include <stdio.h>
#include <unistd.h>

#include <gantry/gateway/gateway.h>

#include "role.h"

int gt_role_gateway(struct gt_role_env *env, struct gt_err *err)
{
	/* While a reload replaces it, two gateways are up: their names must differ. */
	char name[32];
	struct gt_gateway_config config = {
		.listen_fd = env->fds[GT_FD_LISTEN],
		.ready_fd = env->fds[GT_FD_READY],
		.name = name,
		.connections_max = (uint32_t)env->config.max_connections,
		.drain_ms = env->config.drain_ms,
	};

	snprintf(name, sizeof(name), "gw-%d", (int)getpid());
	return gt_gateway_run(&config, err);
}
