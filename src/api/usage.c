/* api/usage.c - what replicas use, as members of their view and as metrics: one row each, so that
 * both know the same. What the node could not tell is in neither. */
#include "api_priv.h"

static const struct usage_row {
	const char *member, *metric, *type, *help;
	unsigned bit;  /* of gt_usage.has */
	size_t offset; /* of a uint64_t in gt_usage */
	bool time;     /* it is in us: ms in the view, seconds in the metrics */
} usage_rows[] = {
#define AT(member) offsetof(struct gt_usage, member)
	{ "cpu_ms", "gantry_replica_cpu_seconds_total", "counter", "Processor time.", GT_USAGE_CPU,
	  AT(cpu_us), true },
	{ "cpu_throttled_ms", "gantry_replica_cpu_throttled_seconds_total", "counter",
	  "Time held still at the limit of CPU.", GT_USAGE_THROTTLED, AT(throttled_us), true },
	{ "memory_bytes", "gantry_replica_memory_bytes", "gauge",
	  "Memory, with the cache of files.", GT_USAGE_MEMORY, AT(memory_bytes), false },
	{ "memory_peak_bytes", "gantry_replica_memory_peak_bytes", "gauge",
	  "The most memory so far.", GT_USAGE_MEMORY_PEAK, AT(memory_peak_bytes), false },
	{ "oom_kills", "gantry_replica_oom_kills_total", "counter",
	  "Processes killed at the limit of memory.", GT_USAGE_OOM, AT(oom_kills), false },
	{ "pids", "gantry_replica_pids", "gauge", "Processes and threads.", GT_USAGE_PIDS, AT(pids),
	  false },
	{ "io_read_bytes", "gantry_replica_io_read_bytes_total", "counter", "Bytes read of disks.",
	  GT_USAGE_IO, AT(io_read_bytes), false },
	{ "io_write_bytes", "gantry_replica_io_write_bytes_total", "counter",
	  "Bytes written to disks.", GT_USAGE_IO, AT(io_write_bytes), false },
	{ "io_reads", "gantry_replica_io_reads_total", "counter", "Read operations of disks.",
	  GT_USAGE_IO, AT(io_reads), false },
	{ "io_writes", "gantry_replica_io_writes_total", "counter", "Write operations of disks.",
	  GT_USAGE_IO, AT(io_writes), false },
	{ "gpu_memory_bytes", "gantry_gpu_replica_memory_bytes", "gauge",
	  "Memory of GPUs that its processes have.", GT_USAGE_GPU_MEMORY, AT(gpu_memory_bytes),
	  false },
	{ "gpu_memory_peak_bytes", "gantry_gpu_replica_memory_peak_bytes", "gauge",
	  "The most of it that was seen.", GT_USAGE_GPU_MEMORY, AT(gpu_memory_peak_bytes), false },
#undef AT
};

static const struct pressure_row {
	const char *resource;
	unsigned bit;
	size_t offset; /* of a gt_pressure in gt_usage */
} pressure_rows[] = {
	{ "cpu", GT_USAGE_CPU_PRESSURE, offsetof(struct gt_usage, cpu) },
	{ "memory", GT_USAGE_MEMORY_PRESSURE, offsetof(struct gt_usage, memory) },
	{ "io", GT_USAGE_IO_PRESSURE, offsetof(struct gt_usage, io) },
};
#define PRESSURE (GT_USAGE_CPU_PRESSURE | GT_USAGE_MEMORY_PRESSURE | GT_USAGE_IO_PRESSURE)

static uint64_t number_of(const struct gt_usage *u, const struct usage_row *row)
{
	return *(const uint64_t *)(const void *)((const char *)u + row->offset);
}

static const struct gt_pressure *pressure_of(const struct gt_usage *u,
					     const struct pressure_row *row)
{
	return (const struct gt_pressure *)(const void *)((const char *)u + row->offset);
}

/* ---- the view ------------------------------------------------------------------------------- */

static void write_pressure(struct gt_json *j, const struct gt_usage *u)
{
	gt_json_object(j, "pressure");
	for (size_t i = 0; i < GT_LEN(pressure_rows); i++) {
		const struct gt_pressure *p = pressure_of(u, &pressure_rows[i]);

		if (!(u->has & pressure_rows[i].bit))
			continue;
		gt_json_object(j, pressure_rows[i].resource);
		gt_json_num(j, "some_percent", p->some_avg10_centi / 100.0);
		gt_json_num(j, "full_percent", p->full_avg10_centi / 100.0);
		gt_json_num(j, "some_ms", (double)p->some_us / 1000);
		gt_json_num(j, "full_ms", (double)p->full_us / 1000);
		gt_json_close(j, '}');
	}
	gt_json_close(j, '}');
}

void gt_view_usage(struct gt_json *j, const struct gt_usage *u)
{
	if (!u->has)
		return;
	gt_json_object(j, "usage");
	for (size_t i = 0; i < GT_LEN(usage_rows); i++) {
		const struct usage_row *row = &usage_rows[i];

		if (!(u->has & row->bit))
			continue;
		if (row->time)
			gt_json_num(j, row->member, (double)number_of(u, row) / 1000);
		else
			gt_json_u64(j, row->member, number_of(u, row));
	}
	if (u->has & PRESSURE)
		write_pressure(j, u);
	gt_json_close(j, '}');
}

/* ---- metrics -------------------------------------------------------------------------------- */

/* A family's samples stand together: a buffer each, filled in one walk. */
struct families {
	struct gt_buf rows[GT_LEN(usage_rows)], pressure;
};

static void add_pressure(struct gt_buf *out, const struct gt_replica_view *v, const char *resource,
			 const char *share, uint64_t us)
{
	gt_buf_addf(out,
		    "gantry_replica_pressure_seconds_total{function=\"%s\",replica=\"%s\","
		    "resource=\"%s\",share=\"%s\"} %.6f\n",
		    v->function, v->id, resource, share, (double)us * 1e-6);
}

static bool add_replica(const struct gt_replica_view *v, void *arg)
{
	struct families *f = arg;

	if (gt_replica_state_ended(v->state))
		return true;
	for (size_t i = 0; i < GT_LEN(usage_rows); i++) {
		const struct usage_row *row = &usage_rows[i];

		if (!(v->usage->has & row->bit))
			continue;
		gt_buf_addf(&f->rows[i], "%s{function=\"%s\",replica=\"%s\"} ", row->metric,
			    v->function, v->id);
		if (row->time)
			gt_buf_addf(&f->rows[i], "%.6f\n", (double)number_of(v->usage, row) * 1e-6);
		else
			gt_buf_addf(&f->rows[i], "%llu\n",
				    (unsigned long long)number_of(v->usage, row));
	}
	for (size_t i = 0; i < GT_LEN(pressure_rows); i++) {
		const struct pressure_row *row = &pressure_rows[i];
		const struct gt_pressure *p = pressure_of(v->usage, row);

		if (!(v->usage->has & row->bit))
			continue;
		add_pressure(&f->pressure, v, row->resource, "some", p->some_us);
		add_pressure(&f->pressure, v, row->resource, "full", p->full_us);
	}
	return true;
}

void gt_api_usage_metrics(struct gt_api *api, struct gt_buf *out)
{
	struct families f = { 0 };

	gt_control_replicas(api->config.control, NULL, add_replica, &f);
	for (size_t i = 0; i < GT_LEN(usage_rows); i++)
		gt_metrics_family(out, usage_rows[i].metric, usage_rows[i].type, usage_rows[i].help,
				  &f.rows[i]);
	gt_metrics_family(out, "gantry_replica_pressure_seconds_total", "counter",
			  "Time that some, or all, of a replica waited for a resource.",
			  &f.pressure);
}
