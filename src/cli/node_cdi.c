/* node_cdi.c - `gantry node cdi`: what this machine would give to containers. Asks no daemon. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/gpu/inject.h>
#include <gantry/wire/cdi.h>

#include "node.h"

#define KIND "nvidia.com/gpu"

struct document {
	struct gt_proc_gpu gpus[GT_NODE_GPUS_MAX];
	size_t n;
	struct gt_cdi_own own[GT_NODE_GPUS_MAX];
	struct gt_inject *only[GT_NODE_GPUS_MAX]; /* what is particular to each */
	struct gt_inject *common;
	char *hosts[GT_INJECT_BINDS_MAX]; /* where the files of `common` are */
};

static void document_fini(struct document *d)
{
	for (size_t i = 0; i < d->n; i++)
		gt_inject_free(d->only[i]);
	for (size_t i = 0; i < GT_LEN(d->hosts); i++)
		free(d->hosts[i]);
	gt_inject_free(d->common);
}

/* Its own node goes from the common list into a list of its own. */
static int set_apart(struct document *d, size_t gpu, struct gt_err *err)
{
	struct gt_inject *from = d->common;
	char path[32];
	int r = 0;

	snprintf(path, sizeof(path), "/dev/nvidia%u", d->gpus[gpu].minor);
	d->only[gpu] = gt_inject_new();
	d->own[gpu].inject = d->only[gpu];
	gt_strcopy(d->own[gpu].name, sizeof(d->own[gpu].name), d->gpus[gpu].uuid);
	for (size_t i = 0; r == 0 && i < from->n_nodes; i++) {
		if (!gt_streq(from->nodes[i].path, path))
			continue;
		r = gt_inject_node_add(d->only[gpu], &from->nodes[i], err);
		from->nodes[i] = from->nodes[--from->n_nodes];
	}
	return r;
}

static void find_hosts(struct document *d)
{
	char link[64], path[1024];

	for (size_t i = 0; i < d->common->n_binds; i++) {
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", d->common->binds[i].fd);
		n = readlink(link, path, sizeof(path) - 1);
		path[GT_MAX(n, 0)] = '\0';
		d->hosts[i] = gt_strdup(path);
	}
}

static int fill(struct document *d, const struct gt_driver_roots *roots, struct gt_err *err)
{
	struct gt_inject_gpu all[GT_NODE_GPUS_MAX];
	char version[32];
	int r = gt_proc_driver_version(roots, version, sizeof(version), err);

	if (r == 0)
		r = gt_proc_gpus(roots, d->gpus, &d->n, err);
	if (r == 0 && d->n == 0)
		r = gt_err_set(err, ENODEV, "device_unavailable",
			       "the driver %s is loaded, and it has no GPU", version);
	for (size_t i = 0; i < d->n; i++)
		all[i] = (struct gt_inject_gpu){ d->gpus[i].uuid, d->gpus[i].minor, -1, -1,
						 d->gpus[i].pci };
	if (r < 0)
		return r;
	d->common = gt_inject_new();
	r = gt_gpu_inject(roots, all, d->n, GT_GPU_CAPABILITIES, d->common, err);
	for (size_t i = 0; r == 0 && i < d->n; i++)
		r = set_apart(d, i, err);
	if (r == 0)
		find_hosts(d);
	return r;
}

enum gt_exit gt_node_cdi(struct gt_cli *cli)
{
	const struct gt_driver_roots roots = { gt_args_get(&cli->args, "driver-root"),
					       gt_args_get(&cli->args, "proc"), NULL };
	struct document d = { .n = 0 };
	gt_auto(buf) struct gt_buf out = { 0 };
	enum gt_exit code = GT_EXIT_DONE;
	struct gt_err err = { 0 };

	gt_buf_init(&out, 0);
	if (fill(&d, &roots, &err) < 0) {
		code = gt_cli_fail(cli, &err);
	} else {
		gt_cdi_write(KIND, d.own, d.n, d.common, d.hosts, &out);
		gt_cli_print_json(cli, &out);
	}
	document_fini(&d);
	return code;
}
