/* replica_inject.c - what a replica's container gets beside its image: the nodes, libraries and
 * views of its GPUs, and the devices of resources.devices. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gpus.h"

static const char *env_value(const struct gt_spec *spec, const char *name)
{
	for (size_t i = 0; i < spec->n_env; i++) {
		if (gt_streq(spec->env[i].name, name))
			return spec->env[i].value;
	}
	return NULL;
}

/* Those that have a device: simulated ones do not. */
static int list_gpus(const struct replica *r, struct gt_inject_gpu *ret, size_t *ret_n,
		     struct gt_err *err)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_gpus && n < GT_NODE_GPUS_MAX; i++) {
		const struct gt_gpu *gpu = gt_gpus_find(r->agent->gpus, r->gpus[i].uuid);

		if (!gpu)
			return gt_err_set(err, ENODEV, "device_unavailable",
					  "GPU %s is not on this node any more", r->gpus[i].uuid);
		if (!gt_gpu_is_real(gpu))
			continue;
		if (gpu->minor < 0)
			return gt_err_set(err, ENODEV, "device_unavailable",
					  "the driver tells no device number of GPU %s", gpu->uuid);
		ret[n++] = (struct gt_inject_gpu){ .uuid = gpu->uuid,
						   .minor = (uint32_t)gpu->minor,
						   .gi = gpu->gi,
						   .ci = gpu->ci,
						   .pci = gpu->pci };
	}
	*ret_n = n;
	return 0;
}

/* By id, as indexes change with each boot. The image has no say in which. */
static int add_ids(const struct gt_inject_gpu *gpus, size_t n, struct gt_inject *i,
		   struct gt_err *err)
{
	gt_auto(buf) struct gt_buf ids = { 0 };
	int r;

	gt_buf_init(&ids, 0);
	for (size_t k = 0; k < n; k++)
		gt_buf_addf(&ids, "%s%s", k ? "," : "", gpus[k].uuid);
	r = gt_inject_env_add(i, "CUDA_VISIBLE_DEVICES", gt_buf_str(&ids), err);
	return r < 0 ? r : gt_inject_env_add(i, "NVIDIA_VISIBLE_DEVICES", gt_buf_str(&ids), err);
}

static int add_gpus(const struct replica *r, struct gt_inject *i, struct gt_err *err)
{
	struct gt_inject_gpu gpus[GT_NODE_GPUS_MAX];
	unsigned capabilities = gt_gpu_capabilities(
		env_value(r->spec, "NVIDIA_DRIVER_CAPABILITIES"));
	size_t n = 0;
	int res = list_gpus(r, gpus, &n, err);

	if (res < 0 || n == 0)
		return res;
	res = gt_gpu_inject(&r->agent->driver, gpus, n, capabilities, i, err);
	return res < 0 ? res : add_ids(gpus, n, i, err);
}

static bool is_empty(const struct gt_inject *i)
{
	return i->n_nodes + i->n_binds + i->n_links + i->n_texts + i->n_env + i->n_hides == 0;
}

int gt_replica_inject(struct replica *r, struct gt_inject **ret, struct gt_err *err)
{
	const struct gt_spec *spec = r->spec;
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	int res = add_gpus(r, i, err);

	for (size_t k = 0; res == 0 && k < spec->resources.n_devices; k++)
		res = gt_cdi_inject(r->agent, spec->resources.devices[k], i, err);
	if (res < 0)
		return res;
	gt_inject_env_apply(i, r->spec);
	*ret = is_empty(i) ? NULL : gt_steal(&i);
	return 0;
}
