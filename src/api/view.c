/* api/view.c - control's views as JSON. */
#include "api_priv.h"

#include <gantry/wire/image.h>

void gt_view_time(struct gt_json *j, const char *name, uint64_t wall_ms)
{
	char text[GT_TIME_TEXT];

	if (!wall_ms)
		return;
	gt_time_text(wall_ms, text);
	gt_json_str(j, name, text);
}

void gt_view_etag_header(struct gt_request *req, const char *etag)
{
	char quoted[GT_ETAG_SIZE + 2];

	snprintf(quoted, sizeof(quoted), "\"%s\"", etag);
	gt_request_header_set(req, "ETag", quoted);
}

void gt_view_end(struct gt_json *j, const char *name, const struct gt_end *end)
{
	gt_json_object(j, name);
	gt_end_write(j, end, "detail");
	gt_json_close(j, '}');
}

static void write_spec(struct gt_json *j, const struct gt_function_view *v, bool effective)
{
	gt_auto(buf) struct gt_buf text = { 0 };

	if (!effective) {
		gt_json_raw(j, "spec", v->row->spec_json);
		return;
	}
	gt_spec_write_effective(v->spec, &text);
	gt_json_raw(j, "spec", gt_buf_str(&text));
}

static void write_scale(struct gt_json *j, const struct gt_function_view *v)
{
	gt_json_object(j, "replicas");
	for (unsigned s = 0; s < GT_REPLICA_N; s++) {
		if (v->replicas[s] || s == GT_REPLICA_READY)
			gt_json_u64(j, gt_replica_state_name(s), v->replicas[s]);
	}
	gt_json_close(j, '}');
	gt_json_u64(j, "wanted", v->wanted);
	gt_json_u64(j, "queued", v->queued);
	gt_json_u64(j, "in_flight", v->in_flight);
	gt_json_u64(j, "start_ms", v->start_ms);
	gt_json_u64(j, "starts_total", v->starts_total);
	gt_json_u64(j, "failed_total", v->failed_total);
	if (v->parking.unpark_ms)
		gt_json_u64(j, "unpark_ms", v->parking.unpark_ms);
}

void gt_view_function(struct gt_json *j, const struct gt_function_view *v, bool effective,
		      const bool *reached)
{
	gt_json_object(j, NULL);
	gt_json_str(j, "name", v->row->name);
	gt_json_str(j, "state", gt_function_state_name(v->state));
	if (v->why && v->why[0])
		gt_json_str(j, "why", v->why);
	if (reached)
		gt_json_bool(j, "reached", *reached);
	gt_json_u64(j, "revision", v->row->revision);
	gt_json_str(j, "etag", v->row->etag);
	gt_view_time(j, "created_at", v->row->created_ms);
	gt_view_time(j, "updated_at", v->row->updated_ms);
	write_scale(j, v);
	if (v->failures) {
		gt_json_u64(j, "failures", v->failures);
		gt_json_u64(j, "retry_in_ms", v->retry_in_ms);
	}
	if (v->last_failure)
		gt_view_end(j, "last_failure", v->last_failure);
	write_spec(j, v, effective);
	gt_json_close(j, '}');
}

void gt_view_revision(struct gt_json *j, const struct gt_function_row *row)
{
	gt_json_object(j, NULL);
	gt_json_u64(j, "revision", row->revision);
	gt_json_str(j, "etag", row->etag);
	gt_view_time(j, "created_at", row->created_ms);
	gt_json_raw(j, "spec", row->spec_json);
	gt_json_close(j, '}');
}

/* all: a part that took no measurable time is 0, not missing. */
static void write_timings(struct gt_json *j, const struct gt_phases *p, bool all)
{
	const struct {
		const char *name;
		uint64_t us;
	} parts[] = { { "image_ms", p->image_us },
		      { "sandbox_ms", p->sandbox_us },
		      { "root_ms", p->root_us },
		      { "exec_ms", p->exec_us },
		      { "ready_ms", p->ready_us } };

	gt_json_object(j, "timings");
	for (size_t i = 0; i < GT_LEN(parts); i++)
		if (parts[i].us || all)
			gt_json_num(j, parts[i].name, (double)parts[i].us / 1000);
	if (p->weights_us) /* few wait for that */
		gt_json_num(j, "weights_ms", (double)p->weights_us / 1000);
	gt_json_close(j, '}');
}

static void write_weights(struct gt_json *j, const struct gt_weights_progress *w)
{
	gt_json_object(j, "weights");
	gt_json_u64(j, "bytes", w->bytes);
	gt_json_u64(j, "resident", w->resident);
	gt_json_u64(j, "total", w->total);
	gt_json_bool(j, "store", w->store);
	if (w->why[0])
		gt_json_str(j, "why", w->why);
	gt_json_close(j, '}');
}

static void write_gpus(struct gt_json *j, const struct gt_replica_view *v)
{
	gt_json_array(j, "gpus");
	for (size_t i = 0; i < v->n_gpus; i++) {
		gt_json_object(j, NULL);
		gt_json_str(j, "uuid", v->gpus[i].uuid);
		if (v->gpu) {
			gt_json_str(j, "model", v->gpu->model);
			gt_json_str(j, "backend", gt_gpu_backend_name(v->gpu->backend));
		}
		gt_json_num(j, "share", (double)v->gpus[i].milli / GT_GPU_WHOLE);
		gt_json_u64(j, "memory_bytes", v->gpus[i].memory_bytes);
		gt_json_close(j, '}');
	}
	gt_json_close(j, ']');
}

static void write_park(struct gt_json *j, const struct gt_park *p)
{
	gt_json_object(j, "park");
	gt_json_str(j, "method", gt_park_method_name(p->method));
	gt_json_str(j, "why", p->why);
	if (p->bytes)
		gt_json_u64(j, "memory_bytes", p->bytes);
	if (p->park_us)
		gt_json_num(j, "park_ms", (double)p->park_us / 1000);
	if (p->unpark_us)
		gt_json_num(j, "unpark_ms", (double)p->unpark_us / 1000);
	gt_json_u64(j, "parks", p->parks);
	gt_json_u64(j, "unparks", p->unparks);
	gt_json_u64(j, "refused", p->refused);
	gt_json_close(j, '}');
}

void gt_view_replica(struct gt_json *j, const struct gt_replica_view *v)
{
	uint64_t now = gt_wall_ms(&gt_clock_system);
	uint64_t until = v->ended_ms ? v->ended_ms : now;

	gt_json_object(j, NULL);
	gt_json_str(j, "id", v->id);
	gt_json_str(j, "function", v->function);
	gt_json_str(j, "state", gt_replica_state_name(v->state));
	gt_json_str(j, "node", v->node ? v->node : "");
	gt_json_u64(j, "revision", v->revision);
	if (v->pid)
		gt_json_i64(j, "pid", v->pid);
	gt_view_time(j, "created_at", v->created_ms);
	gt_view_time(j, "ready_at", v->ready_ms);
	gt_view_time(j, "ended_at", v->ended_ms);
	gt_json_u64(j, "age_ms", until > v->created_ms ? until - v->created_ms : 0);
	write_timings(j, &v->phases, v->ready_ms != 0);
	gt_view_usage(j, v->usage);
	if (v->n_gpus && v->state != GT_REPLICA_PARKED)
		write_gpus(j, v);
	if (v->parks && v->ready_ms)
		write_park(j, &v->park);
	if (v->member) {
		gt_json_object(j, "gang");
		gt_json_str(j, "id", v->member->id);
		gt_json_u64(j, "epoch", v->member->epoch);
		gt_json_u64(j, "rank", v->member->rank);
		gt_json_u64(j, "size", v->member->size);
		gt_json_close(j, '}');
	}
	if (v->state == GT_REPLICA_PULLING && v->pull.total_layers)
		gt_pull_progress_write(j, "pull", &v->pull);
	if (v->weights.total || v->weights.why[0])
		write_weights(j, &v->weights);
	if (v->reason && v->reason[0])
		gt_json_str(j, "reason", v->reason);
	if (v->end) {
		if (v->end->cause[0])
			gt_json_str(j, "cause", v->end->cause);
		gt_view_end(j, "end", v->end);
	}
	gt_json_close(j, '}');
}

/* What is not known is not there. */
static void write_place(struct gt_json *j, const struct gt_gpu *gpu)
{
	char capability[16];

	if (gpu->pci[0])
		gt_json_str(j, "pci", gpu->pci);
	if (gpu->minor >= 0)
		gt_json_u64(j, "minor", (uint64_t)gpu->minor);
	if (gpu->gi >= 0) {
		gt_json_u64(j, "gi", (uint64_t)gpu->gi);
		gt_json_u64(j, "ci", (uint64_t)GT_MAX(gpu->ci, 0));
	}
	if (gpu->capability) {
		snprintf(capability, sizeof(capability), "%u.%u", gpu->capability / 10,
			 gpu->capability % 10);
		gt_json_str(j, "capability", capability);
	}
	if (gpu->numa >= 0)
		gt_json_u64(j, "numa", (uint64_t)gpu->numa);
	if (gpu->link >= 0)
		gt_json_u64(j, "link", (uint64_t)gpu->link);
	if (gpu->bridge >= 0)
		gt_json_u64(j, "bridge", (uint64_t)gpu->bridge);
}

static void write_driver(struct gt_json *j, const struct gt_gpu_driver *d)
{
	gt_json_object(j, "gpu_driver");
	gt_json_str(j, "state", gt_gpu_driver_state_name(d->state));
	gt_json_str(j, "backend", gt_gpu_backend_name(d->backend));
	if (d->version[0])
		gt_json_str(j, "version", d->version);
	if (d->text[0])
		gt_json_str(j, "text", d->text);
	if (d->state == GT_GPU_DRIVER_READY)
		gt_json_str(j, "checkpoints", d->cuda[0] ? d->cuda : "yes");
	gt_json_close(j, '}');
}

static void write_gpu(struct gt_json *j, const struct gt_node_gpu *g)
{
	gt_json_object(j, NULL);
	gt_json_str(j, "uuid", g->is.uuid);
	gt_json_str(j, "model", g->is.model);
	gt_json_str(j, "backend", gt_gpu_backend_name(g->is.backend));
	gt_json_bool(j, "healthy", gt_gpu_healthy(&g->is));
	gt_json_str(j, "health", gt_gpu_health_name(g->is.health));
	if (g->is.reason[0])
		gt_json_str(j, "reason", g->is.reason);
	write_place(j, &g->is);
	gt_json_u64(j, "memory_bytes", g->is.memory_bytes);
	if (g->is.foreign_bytes)
		gt_json_u64(j, "foreign_bytes", g->is.foreign_bytes);
	gt_json_num(j, "taken", (double)g->taken_milli / GT_GPU_WHOLE);
	gt_json_u64(j, "taken_bytes", g->taken_bytes);
	gt_json_close(j, '}');
}

static void write_facts(struct gt_json *j, const struct gt_node_view *v)
{
	gt_json_object(j, "labels");
	for (size_t i = 0; i < v->n_labels; i++)
		gt_json_str(j, v->labels[i].key, v->labels[i].value);
	gt_json_close(j, '}');
	gt_json_array(j, "gpus");
	for (size_t i = 0; i < v->n_gpus; i++)
		write_gpu(j, &v->gpus[i]);
	gt_json_close(j, ']');
	if (v->driver)
		write_driver(j, v->driver);
}

static void write_node_weights(struct gt_json *j, const struct gt_node_weights *w)
{
	uint64_t resident = 0;

	for (size_t i = 0; i < w->n_here; i++)
		resident += w->here[i].resident;
	gt_json_object(j, "weights");
	gt_json_str(j, "pages", gt_weights_pages_name(w->pages));
	if (w->read_bps)
		gt_json_u64(j, "read_bps", w->read_bps);
	gt_json_u64(j, "models", w->n_here);
	gt_json_u64(j, "resident_bytes", resident);
	gt_json_u64(j, "store_bytes", w->store_bytes);
	gt_json_u64(j, "store_used_bytes", w->store_used);
	if (w->store_bytes)
		gt_json_bool(j, "store_huge", w->store_huge);
	gt_json_close(j, '}');
}

void gt_view_node(struct gt_json *j, const struct gt_node_view *v)
{
	gt_json_object(j, NULL);
	gt_json_str(j, "name", v->name);
	gt_json_str(j, "state", gt_node_state_name(v->state));
	gt_view_time(j, "since", v->since_ms);
	gt_view_time(j, "joined_at", v->member_ms);
	gt_json_u64(j, "cpu_milli", v->cpu_milli);
	gt_json_u64(j, "memory_bytes", v->memory_bytes);
	gt_json_u64(j, "parking_bytes", v->parking_bytes);
	gt_json_u64(j, "parked_bytes", v->parked_bytes);
	gt_json_u64(j, "replicas", v->replicas);
	write_facts(j, v);
	write_node_weights(j, v->weights);
	gt_json_close(j, '}');
}
