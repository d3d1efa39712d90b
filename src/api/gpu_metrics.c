/* api/gpu_metrics.c - what GPUs measure, under the names of NVIDIA's dcgm-exporter, so that
 * dashboards made for it go on working, and under our own. Out of what nodes told last: no scrape
 * waits for a driver. What a driver does not tell is not there. */
#include "api_priv.h"

#include <stdio.h>

struct families {
	struct gt_buf dcgm[GT_GPU_STAT_N], own[GT_GPU_STAT_N], health, driver, foreign, taken;
	bool with_dcgm;
};

/* Quotes and backslashes are in no name of a model; versions come from a driver. */
static void add_quoted(struct gt_buf *out, const char *text)
{
	for (; *text; text++)
		gt_buf_addc(out, *text == '"' || *text == '\\' || *text == '\n' ? '?' : *text);
}

static void add_dcgm(struct gt_buf *out, const struct gt_node_view *v, size_t i,
		     enum gt_gpu_stat stat, uint64_t value)
{
	const struct gt_gpu_stat_row *row = &gt_gpu_stat_rows[stat];
	const struct gt_gpu *gpu = &v->gpus[i].is;

	gt_buf_addf(out, "DCGM_FI_%s{gpu=\"%zu\",UUID=\"%s\",pci_bus_id=\"%s\"", row->dcgm, i,
		    gpu->uuid, gpu->pci);
	if (gpu->minor >= 0)
		gt_buf_addf(out, ",device=\"nvidia%d\"", gpu->minor);
	gt_buf_addf(out, ",modelName=\"%s\"", gpu->model);
	if (gpu->gi >= 0)
		gt_buf_addf(out, ",GPU_I_ID=\"%d\"", gpu->gi);
	gt_buf_addf(out, ",Hostname=\"%s\",DCGM_FI_DRIVER_VERSION=\"", v->name);
	add_quoted(out, v->driver ? v->driver->version : "");
	gt_buf_addf(out, "\",backend=\"%s\"} %.17g\n", gt_gpu_backend_name(gpu->backend),
		    (double)value * row->scale);
}

static void add_labels(struct gt_buf *out, const char *name, const struct gt_node_view *v, size_t i)
{
	const struct gt_gpu *gpu = &v->gpus[i].is;

	gt_buf_addf(out, "gantry_gpu_%s{node=\"%s\",gpu=\"%s\",model=\"%s\",backend=\"%s\"} ", name,
		    v->name, gpu->uuid, gpu->model, gt_gpu_backend_name(gpu->backend));
}

static void add_stats(struct families *f, const struct gt_node_view *v, size_t i,
		      const struct gt_gpu_stats *s)
{
	for (unsigned stat = 0; stat < GT_GPU_STAT_N; stat++) {
		const struct gt_gpu_stat_row *row = &gt_gpu_stat_rows[stat];

		if (!gt_gpu_stat_has(s, stat))
			continue;
		if (f->with_dcgm && row->dcgm[0])
			add_dcgm(&f->dcgm[stat], v, i, stat, s->value[stat]);
		if (!row->own[0])
			continue;
		add_labels(&f->own[stat], row->own, v, i);
		gt_buf_addf(&f->own[stat], "%llu\n", (unsigned long long)s->value[stat]);
	}
}

static bool add_node(const struct gt_node_view *v, void *arg)
{
	struct families *f = arg;

	if (v->driver)
		gt_buf_addf(&f->driver, "gantry_gpu_driver_up{node=\"%s\",backend=\"%s\"} %d\n",
			    v->name, gt_gpu_backend_name(v->driver->backend),
			    v->driver->state == GT_GPU_DRIVER_READY);
	for (size_t i = 0; i < v->n_gpus; i++) {
		add_labels(&f->health, "health", v, i);
		gt_buf_addf(&f->health, "%d\n", (int)v->gpus[i].is.health);
		add_labels(&f->foreign, "foreign_bytes", v, i);
		gt_buf_addf(&f->foreign, "%llu\n", (unsigned long long)v->gpus[i].is.foreign_bytes);
		add_labels(&f->taken, "granted_bytes", v, i);
		gt_buf_addf(&f->taken, "%llu\n", (unsigned long long)v->gpus[i].taken_bytes);
		for (size_t k = 0; k < v->n_stats; k++)
			if (gt_streq(v->stats[k].uuid, v->gpus[i].is.uuid))
				add_stats(f, v, i, &v->stats[k].stats);
	}
	return true;
}

/* A family without samples is not there either. */
static void write_family(struct gt_buf *out, const char *prefix, const char *name, const char *type,
			 const char *help, struct gt_buf *samples)
{
	char full[96];

	snprintf(full, sizeof(full), "%s%s", prefix, name);
	if (samples->len > 0)
		gt_metrics_family(out, full, type, help, samples);
}

void gt_api_gpu_metrics(struct gt_api *api, struct gt_buf *out)
{
	struct families f = { .with_dcgm = !api->config.no_dcgm };

	gt_control_nodes(api->config.control, add_node, &f);
	write_family(out, "gantry_gpu_", "driver_up", "gauge",
		     "1 while the node's GPU driver answers.", &f.driver);
	write_family(out, "gantry_gpu_", "health", "gauge", "0 well, 1 drain, 2 reset, 3 lost.",
		     &f.health);
	write_family(out, "gantry_gpu_", "foreign_bytes", "gauge",
		     "Memory that processes have which are no replica's.", &f.foreign);
	write_family(out, "gantry_gpu_", "granted_bytes", "gauge",
		     "Memory that replicas were given.", &f.taken);
	for (unsigned stat = 0; stat < GT_GPU_STAT_N; stat++) {
		const struct gt_gpu_stat_row *row = &gt_gpu_stat_rows[stat];

		write_family(out, "gantry_gpu_", row->own, row->type, row->help, &f.own[stat]);
		write_family(out, "DCGM_FI_", row->dcgm, row->type, row->help, &f.dcgm[stat]);
	}
}
