/* msg_fields.c - the messages between roles as tables. Ids and names are held to their alphabets,
 * because they become paths and control groups on the other side. */
#include "msg_fields.h"
#include "gpu_hooks.h"

#include <string.h>

/* Who sends may be newer: what is not known is passed over. */
#define ROWS(array, type) \
	.rows = (array), .n = GT_LEN(array), .size = sizeof(struct type), .open = true
#define AT(type, member) .offset = offsetof(struct type, member)
#define LIST(type, member) \
	.offset = offsetof(struct type, member), .count_offset = offsetof(struct type, n_##member)
#define FUNCTION_NAME .max = GT_NAME_MAX, .ok = gt_name_ok, .wanted = NAME_WANTED
#define GPU_UUID      .max = GT_GPU_UUID_MAX, .ok = gt_gpu_uuid_ok, .wanted = UUID_WANTED
#define REPLICA_ID    .max = GT_REPLICA_ID_SIZE - 1, .ok = id_ok, .wanted = ID_WANTED

#define NAME_WANTED  "no name: lower-case letters, digits and inner hyphens, 63 at most"
#define ID_WANTED    "no replica id: letters, digits and hyphens"
#define SLUG_WANTED  "no slug: lower-case letters, digits and _"
#define UUID_WANTED  "no id of a GPU: letters, digits and ._-/"
#define TOKEN_WANTED "no token hash: 64 lower-case hex digits"
#define ADDR_WANTED  "no IP address"
#define LIST_MAX     1000000 /* elements; the size of the text bounds them too */
#define LOG_TAIL_MAX ((uint64_t)4 * GT_FAIL_LOG_LINES * GT_LOG_LINE_MAX)

static bool id_ok(const char *id)
{
	return id[strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-")] ==
	       '\0';
}

static bool address_ok(const char *address)
{
	return address[strspn(address, "0123456789abcdefABCDEF:.")] == '\0';
}

static bool event_ok(const char *type)
{
	return gt_starts_with(type, "gpu.") &&
	       type[strspn(type, "abcdefghijklmnopqrstuvwxyz_.")] == '\0';
}

static bool token_ok(const char *hash)
{
	return strlen(hash) == GT_TOKEN_HASH_HEX - 1 &&
	       strspn(hash, "0123456789abcdef") == GT_TOKEN_HASH_HEX - 1;
}

static bool slug_ok(const char *slug)
{
	return slug[strspn(slug, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static const char *pages_name(unsigned value)
{
	return gt_weights_pages_name((enum gt_weights_pages)value);
}

static const char *want_name(unsigned value)
{
	static const char *const names[] = {
		[GT_WANT_RUN] = "run", [GT_WANT_STOP] = "stop", [GT_WANT_PARK] = "park"
	};

	return names[value];
}

static const char *access_name(unsigned value)
{
	static const char *const names[] = {
		[GT_ACCESS_TOKEN] = "token", [GT_ACCESS_PUBLIC] = "public"
	};

	return names[value];
}

static const char *state_name(unsigned value)
{
	return gt_replica_state_name((enum gt_replica_state)value);
}

static const char *backend_name(unsigned value)
{
	return gt_gpu_backend_name((enum gt_gpu_backend)value);
}

static const char *park_name(unsigned value)
{
	return gt_park_method_name((enum gt_park_method)value);
}

static const char *health_name(unsigned value)
{
	return gt_gpu_health_name((enum gt_gpu_health)value);
}

static const char *driver_state_name(unsigned value)
{
	return gt_gpu_driver_state_name((enum gt_gpu_driver_state)value);
}

static const char *line_type_name(unsigned value)
{
	static const char *const names[] = {
		[GT_LINE_SNAPSHOT] = "snapshot", [GT_LINE_ORDER] = "order",
		[GT_LINE_FORGET] = "forget",     [GT_LINE_ROUTE] = "route",
		[GT_LINE_GONE] = "gone",         [GT_LINE_TOKENS] = "tokens",
		[GT_LINE_PING] = "ping",         [GT_LINE_WORK] = "work",
		[GT_LINE_CANCEL] = "cancel",     [GT_LINE_NODES] = "nodes",
	};

	return names[value];
}

/* ---- agents -------------------------------------------------------------------------------- */

static const struct gt_field grant_rows[] = {
	{ "uuid", GT_F_CHARS, GT_F_NEEDED, AT(gt_gpu_grant, uuid), GPU_UUID },
	{ "milli", GT_F_U32, GT_F_ALWAYS, AT(gt_gpu_grant, milli), .min = 1, .max = GT_GPU_WHOLE },
	{ "memory_bytes", GT_F_U64, GT_F_ALWAYS, AT(gt_gpu_grant, memory_bytes),
	  .max = GT_GPU_BYTES_MAX },
};
static const struct gt_fields grant_fields = { ROWS(grant_rows, gt_gpu_grant) };
#define GRANTS(type)                                                             \
	{                                                                        \
		"gpus", GT_F_LIST, 0, LIST(type, gpus), .max = GT_NODE_GPUS_MAX, \
							.sub = &grant_fields     \
	}

static const struct gt_field member_rows[] = {
	{ "id", GT_F_CHARS, 0, AT(gt_gang_member, id), .max = GT_ULID_LEN, .ok = id_ok,
	  .wanted = ID_WANTED },
	{ "epoch", GT_F_U32, 0, AT(gt_gang_member, epoch), .max = UINT32_MAX },
	{ "rank", GT_F_U32, GT_F_ALWAYS, AT(gt_gang_member, rank), .max = GT_GANG_MAX - 1 },
	{ "size", GT_F_U32, 0, AT(gt_gang_member, size), .max = GT_GANG_MAX },
	{ "port", GT_F_U16, 0, AT(gt_gang_member, port), .max = UINT16_MAX },
};
static const struct gt_fields member_fields = { ROWS(member_rows, gt_gang_member) };

static const struct gt_field order_rows[] = {
	{ "replica", GT_F_CHARS, GT_F_NEEDED, AT(gt_order, replica), REPLICA_ID },
	{ "function", GT_F_CHARS, GT_F_NEEDED, AT(gt_order, function), FUNCTION_NAME },
	{ "revision", GT_F_U32, GT_F_ALWAYS, AT(gt_order, revision), .max = UINT32_MAX },
	{ "want", GT_F_ENUM, GT_F_ALWAYS, AT(gt_order, want), .max = GT_WANT_N,
	  .enum_name = want_name },
	{ "known", GT_F_BOOL, 0, AT(gt_order, known) },
	{ "turn", GT_F_U32, 0, AT(gt_order, turn), .max = UINT32_MAX },
	{ "grace_ms", GT_F_U64, 0, AT(gt_order, grace_ms), .max = UINT64_MAX },
	{ "spec", GT_F_STR, 0, AT(gt_order, spec_json), .max = 2 * GT_SPEC_BYTES_MAX },
	GRANTS(gt_order),
	{ "gang", GT_F_OBJECT, 0, AT(gt_order, gang), .sub = &member_fields },
	{ "addresses", GT_F_CHARS_LIST, 0, LIST(gt_order, addresses), .max = GT_GANG_MAX,
	  .elem_max = GT_ADDRESS_MAX, .ok = address_ok, .wanted = ADDR_WANTED },
};
static const struct gt_fields order_fields = { ROWS(order_rows, gt_order) };

static const struct gt_field end_rows[] = {
	{ "cause", GT_F_CHARS, GT_F_CUT, AT(gt_end, cause),
	  .max = sizeof(((struct gt_end *)0)->cause) - 1 },
	{ "text", GT_F_CHARS, GT_F_CUT, AT(gt_end, text),
	  .max = sizeof(((struct gt_end *)0)->text) - 1 },
	{ "exit_code", GT_F_INT, 0, AT(gt_end, exit_code), .max = 255 },
	{ "signal", GT_F_INT, 0, AT(gt_end, signal), .max = 64 },
	{ "log_tail", GT_F_STR, 0, AT(gt_end, log_tail), .max = LOG_TAIL_MAX },
};
static const struct gt_fields end_fields = { ROWS(end_rows, gt_end) };

static const struct gt_field phases_rows[] = {
	{ "image_us", GT_F_U64, 0, AT(gt_phases, image_us), .max = UINT64_MAX },
	{ "sandbox_us", GT_F_U64, 0, AT(gt_phases, sandbox_us), .max = UINT64_MAX },
	{ "root_us", GT_F_U64, 0, AT(gt_phases, root_us), .max = UINT64_MAX },
	{ "exec_us", GT_F_U64, 0, AT(gt_phases, exec_us), .max = UINT64_MAX },
	{ "ready_us", GT_F_U64, 0, AT(gt_phases, ready_us), .max = UINT64_MAX },
	{ "weights_us", GT_F_U64, 0, AT(gt_phases, weights_us), .max = UINT64_MAX },
};
static const struct gt_fields phases_fields = { ROWS(phases_rows, gt_phases) };

#define COUNT(type, name)                                             \
	{                                                             \
#name, GT_F_U64, 0, AT(type, name), .max = UINT64_MAX \
	}

static const struct gt_field pressure_rows[] = {
	{ "some_avg10_centi", GT_F_U32, 0, AT(gt_pressure, some_avg10_centi), .max = UINT32_MAX },
	{ "full_avg10_centi", GT_F_U32, 0, AT(gt_pressure, full_avg10_centi), .max = UINT32_MAX },
	COUNT(gt_pressure, some_us),
	COUNT(gt_pressure, full_us),
};
static const struct gt_fields pressure_fields = { ROWS(pressure_rows, gt_pressure) };

static const struct gt_field usage_rows[] = {
	{ "has", GT_F_U32, 0, AT(gt_usage, has), .max = GT_USAGE_ALL },
	COUNT(gt_usage, memory_bytes),
	COUNT(gt_usage, memory_peak_bytes),
	COUNT(gt_usage, oom_kills),
	COUNT(gt_usage, cpu_us),
	COUNT(gt_usage, throttled_us),
	COUNT(gt_usage, pids),
	COUNT(gt_usage, io_read_bytes),
	COUNT(gt_usage, io_write_bytes),
	COUNT(gt_usage, io_reads),
	COUNT(gt_usage, io_writes),
	COUNT(gt_usage, gpu_memory_bytes),
	COUNT(gt_usage, gpu_memory_peak_bytes),
	{ "cpu", GT_F_OBJECT, 0, AT(gt_usage, cpu), .sub = &pressure_fields },
	{ "memory", GT_F_OBJECT, 0, AT(gt_usage, memory), .sub = &pressure_fields },
	{ "io", GT_F_OBJECT, 0, AT(gt_usage, io), .sub = &pressure_fields },
};
static const struct gt_fields usage_fields = { ROWS(usage_rows, gt_usage) };

static const struct gt_field pull_rows[] = {
	{ "done_bytes", GT_F_U64, 0, AT(gt_pull_progress, done_bytes), .max = UINT64_MAX },
	{ "total_bytes", GT_F_U64, 0, AT(gt_pull_progress, total_bytes), .max = UINT64_MAX },
	{ "done_layers", GT_F_U32, 0, AT(gt_pull_progress, done_layers), .max = UINT32_MAX },
	{ "total_layers", GT_F_U32, 0, AT(gt_pull_progress, total_layers), .max = UINT32_MAX },
};
static const struct gt_fields pull_fields = { ROWS(pull_rows, gt_pull_progress) };

static const struct gt_field park_rows[] = {
	{ "method", GT_F_ENUM, 0, AT(gt_park, method), .max = GT_PARK_N, .enum_name = park_name },
	{ "why", GT_F_CHARS, GT_F_CUT, AT(gt_park, why), .max = GT_PARK_WHY_SIZE - 1 },
	COUNT(gt_park, bytes),
	COUNT(gt_park, park_us),
	COUNT(gt_park, unpark_us),
	{ "parks", GT_F_U32, 0, AT(gt_park, parks), .max = UINT32_MAX },
	{ "unparks", GT_F_U32, 0, AT(gt_park, unparks), .max = UINT32_MAX },
	{ "refused", GT_F_U32, 0, AT(gt_park, refused), .max = UINT32_MAX },
};
static const struct gt_fields park_fields = { ROWS(park_rows, gt_park) };

static const struct gt_field weights_rows[] = {
	COUNT(gt_weights_progress, total),
	COUNT(gt_weights_progress, resident),
	COUNT(gt_weights_progress, bytes),
	{ "store", GT_F_BOOL, 0, AT(gt_weights_progress, store) },
	{ "why", GT_F_CHARS, 0, AT(gt_weights_progress, why),
	  .max = sizeof(((struct gt_weights_progress *)0)->why) - 1, .ok = slug_ok,
	  .wanted = SLUG_WANTED },
};
static const struct gt_fields weights_fields = { ROWS(weights_rows, gt_weights_progress) };

static const struct gt_field here_rows[] = {
	{ "key", GT_F_CHARS, GT_F_NEEDED, AT(gt_weights_here, key), .max = GT_WEIGHTS_KEY_SIZE - 1,
	  .ok = id_ok, .wanted = ID_WANTED },
	COUNT(gt_weights_here, resident),
	COUNT(gt_weights_here, total),
};
static const struct gt_fields here_fields = { ROWS(here_rows, gt_weights_here) };

static const struct gt_field node_weights_rows[] = {
	{ "told", GT_F_BOOL, 0, AT(gt_node_weights, told) },
	COUNT(gt_node_weights, read_bps),
	{ "pages", GT_F_ENUM, 0, AT(gt_node_weights, pages), .max = GT_PAGES_N,
	  .enum_name = pages_name },
	COUNT(gt_node_weights, store_bytes),
	COUNT(gt_node_weights, store_used),
	{ "store_huge", GT_F_BOOL, 0, AT(gt_node_weights, store_huge) },
	{ "here", GT_F_LIST, 0, LIST(gt_node_weights, here), .max = GT_WEIGHTS_HERE_MAX,
	  .sub = &here_fields },
};
static const struct gt_fields node_weights_fields = { ROWS(node_weights_rows, gt_node_weights) };

static const struct gt_field observed_rows[] = {
	{ "replica", GT_F_CHARS, GT_F_NEEDED, AT(gt_observed, replica), REPLICA_ID },
	{ "function", GT_F_CHARS, GT_F_NEEDED, AT(gt_observed, function), FUNCTION_NAME },
	{ "revision", GT_F_U32, GT_F_ALWAYS, AT(gt_observed, revision), .max = UINT32_MAX },
	{ "state", GT_F_ENUM, GT_F_ALWAYS | GT_F_NEEDED, AT(gt_observed, state),
	  .max = GT_REPLICA_N, .enum_name = state_name },
	{ "turn", GT_F_U32, 0, AT(gt_observed, turn), .max = UINT32_MAX },
	{ "pid", GT_F_I64, 0, AT(gt_observed, pid), .max = INT64_MAX },
	{ "created_ms", GT_F_U64, 0, AT(gt_observed, created_ms), .max = UINT64_MAX },
	{ "cpu_milli", GT_F_U64, 0, AT(gt_observed, cpu_milli), .max = UINT64_MAX },
	{ "memory_bytes", GT_F_U64, 0, AT(gt_observed, memory_bytes), .max = UINT64_MAX },
	{ "phases", GT_F_OBJECT, 0, AT(gt_observed, phases), .sub = &phases_fields },
	{ "usage", GT_F_OBJECT, 0, AT(gt_observed, usage), .sub = &usage_fields },
	{ "pull", GT_F_OBJECT, 0, AT(gt_observed, pull), .sub = &pull_fields },
	{ "park", GT_F_OBJECT, 0, AT(gt_observed, park), .sub = &park_fields },
	{ "weights", GT_F_OBJECT, 0, AT(gt_observed, weights), .sub = &weights_fields },
	GRANTS(gt_observed),
	{ "gang", GT_F_OBJECT, 0, AT(gt_observed, gang), .sub = &member_fields },
	{ "end", GT_F_OBJECT, 0, AT(gt_observed, end), .sub = &end_fields },
};
static const struct gt_fields observed_fields = { ROWS(observed_rows, gt_observed) };

static const struct gt_field gpu_rows[] = {
	{ "uuid", GT_F_CHARS, GT_F_NEEDED, AT(gt_gpu, uuid), GPU_UUID },
	{ "model", GT_F_CHARS, GT_F_NEEDED, AT(gt_gpu, model), .max = GT_GPU_MODEL_MAX,
	  .ok = gt_gpu_model_ok, .wanted = "no model of a GPU: printable ASCII without , : \" \\" },
	{ "memory_bytes", GT_F_U64, GT_F_ALWAYS, AT(gt_gpu, memory_bytes),
	  .max = GT_GPU_BYTES_MAX },
	{ "backend", GT_F_ENUM, GT_F_ALWAYS | GT_F_NEEDED, AT(gt_gpu, backend),
	  .max = GT_GPU_BACKEND_N, .enum_name = backend_name },
	{ "foreign_bytes", GT_F_U64, 0, AT(gt_gpu, foreign_bytes), .max = GT_GPU_BYTES_MAX },
	{ "health", GT_F_ENUM, GT_F_ALWAYS, AT(gt_gpu, health), .max = GT_GPU_HEALTH_N,
	  .enum_name = health_name },
	{ "reason", GT_F_CHARS, GT_F_CUT, AT(gt_gpu, reason), .max = GT_GPU_REASON_MAX },
	{ "pci", GT_F_CHARS, 0, AT(gt_gpu, pci), .max = GT_GPU_PCI_MAX },
	{ "minor", GT_F_INT, 0, AT(gt_gpu, minor), .max = 1 << 20 },
	{ "gi", GT_F_INT, 0, AT(gt_gpu, gi), .max = 1 << 20 },
	{ "ci", GT_F_INT, 0, AT(gt_gpu, ci), .max = 1 << 20 },
	{ "capability", GT_F_U32, 0, AT(gt_gpu, capability), .max = 10000 },
	{ "numa", GT_F_INT, 0, AT(gt_gpu, numa), .max = 1 << 20 },
	{ "link", GT_F_INT, 0, AT(gt_gpu, link), .max = GT_NODE_GPUS_MAX - 1 },
	{ "bridge", GT_F_INT, 0, AT(gt_gpu, bridge), .max = GT_NODE_GPUS_MAX - 1 },
};
static const struct gt_fields gpu_fields = { ROWS(gpu_rows, gt_gpu), .defaults = &gt_gpu_unknown };

static const struct gt_field driver_rows[] = {
	{ "state", GT_F_ENUM, GT_F_ALWAYS, AT(gt_gpu_driver, state), .max = GT_GPU_DRIVER_N,
	  .enum_name = driver_state_name },
	{ "backend", GT_F_ENUM, GT_F_ALWAYS, AT(gt_gpu_driver, backend), .max = GT_GPU_BACKEND_N,
	  .enum_name = backend_name },
	{ "version", GT_F_CHARS, GT_F_CUT, AT(gt_gpu_driver, version), .max = GT_GPU_VERSION_MAX },
	{ "cuda", GT_F_CHARS, GT_F_CUT, AT(gt_gpu_driver, cuda), .max = GT_GPU_REASON_MAX },
	{ "text", GT_F_CHARS, GT_F_CUT, AT(gt_gpu_driver, text), .max = GT_GPU_REASON_MAX },
};
static const struct gt_fields driver_fields = { ROWS(driver_rows, gt_gpu_driver) };

static const struct gt_field gpu_told_rows[] = {
	{ "uuid", GT_F_CHARS, GT_F_NEEDED, AT(gt_gpu_told, uuid), GPU_UUID },
	{ "has", GT_F_U64, 0, AT(gt_gpu_told, stats.has), .max = INT64_MAX },
	{ "values", GT_F_U64S, 0, AT(gt_gpu_told, stats.value), .max = GT_GPU_STAT_N },
};
static const struct gt_fields gpu_told_fields = { ROWS(gpu_told_rows, gt_gpu_told) };

static const struct gt_field told_event_rows[] = {
	{ "type", GT_F_CHARS, GT_F_NEEDED, AT(gt_told_event, type), .max = 39, .ok = event_ok,
	  .wanted = "no type of an event of GPUs" },
	{ "function", GT_F_CHARS, 0, AT(gt_told_event, function), FUNCTION_NAME },
	{ "replica", GT_F_CHARS, 0, AT(gt_told_event, replica), REPLICA_ID },
	{ "cause", GT_F_CHARS, GT_F_CUT, AT(gt_told_event, cause), .max = 39 },
	{ "text", GT_F_CHARS, GT_F_CUT, AT(gt_told_event, text), .max = 399 },
};
static const struct gt_fields told_event_fields = { ROWS(told_event_rows, gt_told_event) };

static const struct gt_field report_rows[] = {
	{ "node", GT_F_CHARS, GT_F_NEEDED, AT(gt_report, node), FUNCTION_NAME },
	{ "full", GT_F_BOOL, GT_F_ALWAYS, AT(gt_report, full) },
	{ "epoch", GT_F_U64, GT_F_ALWAYS, AT(gt_report, epoch), .max = UINT64_MAX },
	{ "cpu_milli", GT_F_U64, 0, AT(gt_report, cpu_milli), .max = UINT64_MAX },
	{ "memory_bytes", GT_F_U64, 0, AT(gt_report, memory_bytes), .max = UINT64_MAX },
	{ "parking_bytes", GT_F_U64, 0, AT(gt_report, parking_bytes), .max = UINT64_MAX },
	{ "address", GT_F_CHARS, 0, AT(gt_report, address), .max = GT_ADDRESS_MAX, .ok = address_ok,
	  .wanted = ADDR_WANTED },
	{ "gpus", GT_F_LIST, 0, LIST(gt_report, gpus), .max = GT_NODE_GPUS_MAX,
	  .sub = &gpu_fields },
	{ "gpu_driver", GT_F_OBJECT, 0, AT(gt_report, gpu_driver), .sub = &driver_fields },
	{ "labels", GT_F_CUSTOM, 0, LIST(gt_report, labels), .max = GT_LABELS_MAX,
	  .hooks = &gt_labels_hooks },
	{ "gpu_stats", GT_F_LIST, 0, LIST(gt_report, gpu_stats), .max = GT_NODE_GPUS_MAX,
	  .sub = &gpu_told_fields },
	{ "events", GT_F_LIST, 0, LIST(gt_report, events), .max = GT_TOLD_EVENTS_MAX,
	  .sub = &told_event_fields },
	{ "weights", GT_F_OBJECT, 0, AT(gt_report, weights), .sub = &node_weights_fields },
	{ "replicas", GT_F_LIST, GT_F_ALWAYS, LIST(gt_report, replicas), .max = LIST_MAX,
	  .sub = &observed_fields },
};
const struct gt_fields gt_report_fields = { ROWS(report_rows, gt_report) };

/* ---- gateways ------------------------------------------------------------------------------- */

static const struct gt_field route_replica_rows[] = {
	{ "id", GT_F_CHARS, GT_F_NEEDED, AT(gt_route_replica, id), REPLICA_ID },
	{ "node", GT_F_CHARS, 0, AT(gt_route_replica, node), FUNCTION_NAME },
	{ "draining", GT_F_BOOL, 0, AT(gt_route_replica, draining) },
	{ "suspect", GT_F_BOOL, 0, AT(gt_route_replica, suspect) },
};
static const struct gt_fields route_replica_fields = { ROWS(route_replica_rows, gt_route_replica) };

static const struct gt_field route_rows[] = {
	{ "function", GT_F_CHARS, GT_F_NEEDED, AT(gt_route, function), FUNCTION_NAME },
	{ "revision", GT_F_U32, GT_F_ALWAYS, AT(gt_route, revision), .max = UINT32_MAX },
	{ "access", GT_F_ENUM, GT_F_ALWAYS, AT(gt_route, access), .max = GT_ACCESS_N,
	  .enum_name = access_name },
	{ "concurrency", GT_F_U32, 0, AT(gt_route, concurrency), .max = UINT32_MAX },
	{ "target", GT_F_U32, 0, AT(gt_route, target), .max = UINT32_MAX },
	{ "queue", GT_F_U32, 0, AT(gt_route, queue), .max = UINT32_MAX },
	{ "wait_ms", GT_F_U64, 0, AT(gt_route, wait_ms), .max = UINT64_MAX },
	{ "first_byte_ms", GT_F_U64, 0, AT(gt_route, first_byte_ms), .max = UINT64_MAX },
	{ "idle_ms", GT_F_U64, 0, AT(gt_route, idle_ms), .max = UINT64_MAX },
	{ "run_ms", GT_F_U64, 0, AT(gt_route, run_ms), .max = UINT64_MAX },
	{ "body_bytes", GT_F_U64, 0, AT(gt_route, body_bytes), .max = UINT64_MAX },
	{ "idempotent", GT_F_BOOL, 0, AT(gt_route, idempotent) },
	{ "affinity", GT_F_CHARS, 0, AT(gt_route, affinity), .max = GT_HEADER_MAX },
	{ "max_replicas", GT_F_U32, 0, AT(gt_route, max_replicas), .max = UINT32_MAX },
	{ "start_ms", GT_F_U64, 0, AT(gt_route, start_ms), .max = UINT64_MAX },
	{ "models", GT_F_STRS, 0, LIST(gt_route, models), .max = GT_MODELS_MAX,
	  .elem_max = GT_MODEL_NAME_MAX },
	{ "replicas", GT_F_LIST, GT_F_ALWAYS, LIST(gt_route, replicas), .max = LIST_MAX,
	  .sub = &route_replica_fields },
	{ "fail_seq", GT_F_U64, 0, AT(gt_route, fail_seq), .max = UINT64_MAX },
	{ "retry_ms", GT_F_U64, 0, AT(gt_route, retry_ms), .max = UINT64_MAX },
	{ "fail", GT_F_OBJECT, 0, AT(gt_route, fail), .sub = &end_fields },
};
static const struct gt_fields route_fields = { ROWS(route_rows, gt_route) };

static const struct gt_field hist_rows[] = {
	{ "n", GT_F_U64S, 0, AT(gt_hist, n), .max = GT_HIST_BOUNDS + 1 },
	{ "sum_us", GT_F_U64, 0, AT(gt_hist, sum_us), .max = UINT64_MAX },
};
static const struct gt_fields hist_fields = { ROWS(hist_rows, gt_hist) };

static const struct gt_field demand_function_rows[] = {
	{ "function", GT_F_CHARS, GT_F_NEEDED, AT(gt_demand_function, function), FUNCTION_NAME },
	{ "queued", GT_F_U32, 0, AT(gt_demand_function, queued), .max = UINT32_MAX },
	{ "in_flight", GT_F_U32, 0, AT(gt_demand_function, in_flight), .max = UINT32_MAX },
	{ "oldest_wait_ms", GT_F_U64, 0, AT(gt_demand_function, oldest_wait_ms),
	  .max = UINT64_MAX },
	{ "calls", GT_F_U64, 0, AT(gt_demand_function, calls), .max = UINT64_MAX },
	{ "refusals", GT_F_U64S, 0, AT(gt_demand_function, refusals), .max = GT_REFUSALS },
	{ "responses", GT_F_U64S, 0, AT(gt_demand_function, responses),
	  .max = GT_LEN(((struct gt_demand_function *)0)->responses) },
	{ "bytes_in", GT_F_U64, 0, AT(gt_demand_function, bytes_in), .max = UINT64_MAX },
	{ "bytes_out", GT_F_U64, 0, AT(gt_demand_function, bytes_out), .max = UINT64_MAX },
	{ "busy_us", GT_F_U64, 0, AT(gt_demand_function, busy_us), .max = UINT64_MAX },
	{ "cold", GT_F_U64, 0, AT(gt_demand_function, cold), .max = UINT64_MAX },
	{ "wait", GT_F_OBJECT, 0, AT(gt_demand_function, wait), .sub = &hist_fields },
	{ "total", GT_F_OBJECT, 0, AT(gt_demand_function, total), .sub = &hist_fields },
};
static const struct gt_fields demand_function_fields = { ROWS(demand_function_rows,
							      gt_demand_function) };

static const struct gt_field stats_rows[] = {
	{ "connections", GT_F_U64, 0, AT(gt_gateway_stats, connections), .max = UINT64_MAX },
	{ "accepted", GT_F_U64, 0, AT(gt_gateway_stats, accepted), .max = UINT64_MAX },
	{ "buffered_bytes", GT_F_U64, 0, AT(gt_gateway_stats, buffered_bytes), .max = UINT64_MAX },
	{ "tls_handshakes", GT_F_U64, 0, AT(gt_gateway_stats, tls_handshakes), .max = UINT64_MAX },
	{ "tls_resumed", GT_F_U64, 0, AT(gt_gateway_stats, tls_resumed), .max = UINT64_MAX },
	{ "forwarded", GT_F_U64, 0, AT(gt_gateway_stats, forwarded), .max = UINT64_MAX },
	{ "tls_failed", GT_F_U64, 0, AT(gt_gateway_stats, tls_failed), .max = UINT64_MAX },
	{ "log_dropped", GT_F_U64, 0, AT(gt_gateway_stats, log_dropped), .max = UINT64_MAX },
	{ "refusals", GT_F_U64S, 0, AT(gt_gateway_stats, refusals), .max = GT_REFUSALS },
};
static const struct gt_fields stats_fields = { ROWS(stats_rows, gt_gateway_stats) };

static const struct gt_field demand_rows[] = {
	{ "gateway", GT_F_CHARS, GT_F_NEEDED, AT(gt_demand, gateway), FUNCTION_NAME },
	{ "full", GT_F_BOOL, GT_F_ALWAYS, AT(gt_demand, full) },
	{ "epoch", GT_F_U64, GT_F_ALWAYS, AT(gt_demand, epoch), .max = UINT64_MAX },
	{ "functions", GT_F_LIST, GT_F_ALWAYS, LIST(gt_demand, functions), .max = LIST_MAX,
	  .sub = &demand_function_fields },
	{ "drained", GT_F_CHARS_LIST, 0, LIST(gt_demand, drained), .max = LIST_MAX,
	  .elem_max = GT_REPLICA_ID_SIZE - 1, .ok = id_ok, .wanted = ID_WANTED },
	{ "stats", GT_F_OBJECT, 0, AT(gt_demand, stats), .sub = &stats_fields },
};
const struct gt_fields gt_demand_fields = { ROWS(demand_rows, gt_demand) };

/* ---- watch lines ---------------------------------------------------------------------------- */

#define TYPE                                                                     \
	{                                                                        \
		"type", GT_F_ENUM, GT_F_ALWAYS | GT_F_NEEDED, AT(gt_line, type), \
			.max = GT_LINE_N, .enum_name = line_type_name            \
	}
#define SEQ                                                                       \
	{                                                                         \
		"seq", GT_F_U64, GT_F_ALWAYS, AT(gt_line, seq), .max = UINT64_MAX \
	}
#define TOKENS(flags)                                                                       \
	{                                                                                   \
		"tokens", GT_F_CHARS_LIST, flags, LIST(gt_line, tokens),                    \
			.max = LIST_MAX, .elem_max = GT_TOKEN_HASH_HEX - 1, .ok = token_ok, \
			.wanted = TOKEN_WANTED                                              \
	}

#define PARTIAL                                               \
	{                                                     \
		"partial", GT_F_BOOL, 0, AT(gt_line, partial) \
	}

static const struct gt_field joined_rows[] = {
	{ "name", GT_F_CHARS, GT_F_NEEDED, AT(gt_member, node), FUNCTION_NAME },
	{ "since_ms", GT_F_U64, GT_F_ALWAYS, AT(gt_member, since_ms), .max = UINT64_MAX },
};
static const struct gt_fields joined_fields = { ROWS(joined_rows, gt_member) };
#define NODES(flags)                                                                     \
	{                                                                                \
		"nodes", GT_F_LIST, flags, LIST(gt_line, members), .max = LIST_MAX,      \
								   .sub = &joined_fields \
	}

static const struct gt_field snapshot_rows[] = {
	TYPE,
	{ "epoch", GT_F_U64, GT_F_ALWAYS, AT(gt_line, epoch), .max = UINT64_MAX },
	SEQ,
	PARTIAL,
	TOKENS(0),
	NODES(0),
	{ "orders", GT_F_LIST, 0, LIST(gt_line, orders), .max = LIST_MAX, .sub = &order_fields },
	{ "routes", GT_F_LIST, 0, LIST(gt_line, routes), .max = LIST_MAX, .sub = &route_fields },
};
static const struct gt_field order_line_rows[] = {
	TYPE,
	SEQ,
	{ "order", GT_F_ONE, GT_F_NEEDED, LIST(gt_line, orders), .sub = &order_fields },
};
static const struct gt_field forget_rows[] = {
	TYPE,
	SEQ,
	{ "replica", GT_F_CHARS, GT_F_NEEDED, AT(gt_line, name), REPLICA_ID },
};
static const struct gt_field route_line_rows[] = {
	TYPE,
	SEQ,
	PARTIAL,
	{ "route", GT_F_ONE, GT_F_NEEDED, LIST(gt_line, routes), .sub = &route_fields },
};
static const struct gt_field gone_rows[] = {
	TYPE,
	SEQ,
	{ "function", GT_F_CHARS, GT_F_NEEDED, AT(gt_line, name), FUNCTION_NAME },
};
static const struct gt_field tokens_rows[] = { TYPE, SEQ, TOKENS(GT_F_ALWAYS) };
static const struct gt_field nodes_rows[] = { TYPE, SEQ, NODES(GT_F_ALWAYS) };
static const struct gt_field ping_rows[] = { TYPE, SEQ, PARTIAL };
#define NUMBER                                                                          \
	{                                                                               \
		"number", GT_F_U64, GT_F_ALWAYS, AT(gt_line, number), .max = UINT64_MAX \
	}
static const struct gt_field work_rows[] = {
	TYPE,
	SEQ,
	{ "function", GT_F_CHARS, GT_F_NEEDED, AT(gt_line, name), FUNCTION_NAME },
	NUMBER,
};
static const struct gt_field cancel_rows[] = {
	TYPE,
	SEQ,
	NUMBER,
	{ "attempt", GT_F_U32, GT_F_ALWAYS, AT(gt_line, attempt), .max = UINT32_MAX },
};

const struct gt_fields gt_line_fields[GT_LINE_N] = {
	[GT_LINE_SNAPSHOT] = { ROWS(snapshot_rows, gt_line) },
	[GT_LINE_ORDER] = { ROWS(order_line_rows, gt_line) },
	[GT_LINE_FORGET] = { ROWS(forget_rows, gt_line) },
	[GT_LINE_ROUTE] = { ROWS(route_line_rows, gt_line) },
	[GT_LINE_GONE] = { ROWS(gone_rows, gt_line) },
	[GT_LINE_TOKENS] = { ROWS(tokens_rows, gt_line) },
	[GT_LINE_PING] = { ROWS(ping_rows, gt_line) },
	[GT_LINE_WORK] = { ROWS(work_rows, gt_line) },
	[GT_LINE_CANCEL] = { ROWS(cancel_rows, gt_line) },
	[GT_LINE_NODES] = { ROWS(nodes_rows, gt_line) },
};
