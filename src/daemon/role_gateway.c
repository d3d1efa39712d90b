#include <stdio.h>

#include <gantry/gateway/gateway.h>
#include <gantry/model/limits.h>

#include "role.h"

int gt_role_gateway(struct gt_role_env *env, struct gt_err *err)
{
	/* While a reload replaces it, two gateways are up: their names must differ. Otherwise a
	 * gateway has its predecessor's name, so that its counters continue the same series. */
	char name[GT_NAME_MAX + 1];
	bool only_tls = gt_config_only_tls(&env->config);
	struct gt_gateway_config config = {
		.listen_fd = only_tls ? -1 : env->fds[GT_FD_LISTEN],
		.tls_listen_fd = env->fds[only_tls ? GT_FD_LISTEN : GT_FD_LISTEN_TLS],
		.tls_proxy_from = only_tls ? env->config.proxy_from : env->config.tls_proxy_from,
		.tls_client_optional = env->config.tls_client_optional,
		.predecessor_fd = env->fds[GT_FD_BEFORE],
		.successor_fd = env->fds[GT_FD_AFTER],
		.proxy_from = env->config.proxy_from,
		.files_fd = env->fds[GT_FD_FILES],
		.ready_fd = env->fds[GT_FD_READY],
		.name = name,
		.node = env->config.node,
		.door_fd = env->fds[GT_FD_DOOR],
		.threads = (unsigned)env->config.threads,
		.connections_max = (uint32_t)env->config.max_connections,
		.drain_ms = env->config.drain_ms,
	};

	/* With several controls gateways of several hosts meet at the one that leads. */
	if (env->config.store[0]) {
		config.lead_path = "run/lead.sock";
		config.forward_path = "run/forward.sock";
		snprintf(name, sizeof(name), "%.40s-gw-%s", env->config.node, env->instance);
	} else {
		snprintf(name, sizeof(name), "gw-%s", env->instance);
	}
	return gt_gateway_run(&config, err);
}
