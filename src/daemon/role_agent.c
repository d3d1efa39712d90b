#include <gantry/agent/agent.h>

#include "role.h"

int gt_role_agent(struct gt_role_env *env, struct gt_err *err)
{
	const struct gt_config *c = &env->config;
	const struct gt_agent_config config = {
		.state_dir = c->state,
		/* From the working directory: a socket's address has room for 107 bytes. */
		.link_path = "run/link.sock",
		.node = c->node,
		.gpus = c->gpus,
		.gpu_helper = "/proc/self/exe",
		.gpu_kmsg = c->gpu_kmsg,
		.gpu_driver_root = c->gpu_driver_root,
		.gpu_nccl = c->gpu_nccl,
		.gpu_reset = c->gpu_reset,
		.gpu_proc = c->gpu_proc,
		.gpu_sys = c->gpu_sys,
		.cdi_dirs = c->cdi_dirs,
		.cdi_devices = c->cdi_devices,
		.labels = c->labels,
		.address = c->address,
		.agent_fd = env->fds[GT_FD_AGENT],
		.dial_fd = env->fds[GT_FD_DIAL],
		.ready_fd = env->fds[GT_FD_READY],
		.pool = (unsigned)c->pool,
		.pool_max = (unsigned)c->pool_max,
		.prepared = (unsigned)c->prepared,
		.parking_bytes = c->parking_memory,
		.subid_base = (uint32_t)c->subid_base,
		.allow_host_image = c->allow_host_image,
		.allow_host_paths = c->allow_host_paths,
		.image_uid = (uint32_t)env->uid,
		.image_gid = (uint32_t)env->gid,
		.registry_config = c->registry_config,
		.registry_ca = c->registry_ca,
		.registry_insecure = c->registry_insecure,
		.image_keep_ms = c->image_keep_ms,
		.image_extract = (enum gt_image_extract)c->image_extract,
		.image_disk_percent = (unsigned)c->image_disk,
		.weight_cache_bytes = c->weight_cache,
		.weight_read_bps = c->weight_read_bps,
		.allow_host_network = c->allow_host_network,
		.egress = gt_config_egress(c),
	};

	return gt_agent_run(&config, err);
}
