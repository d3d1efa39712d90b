/* spec_fields.c - the function specification as tables. docs/functions.md says what members mean;
 * docs/schema/function.json is held against these rows by a test. */
#include "spec_fields.h"

#include <gantry/model/device.h>
#include <gantry/model/llm.h>
#include <gantry/model/spec.h>

#include "gpu_hooks.h"
#include "spec_hooks.h"

#define ROWS(array) .rows = (array), .n = GT_LEN(array)
#define AT(member)  .offset = offsetof(struct gt_spec, member)
#define DAY_MS      86400000ULL
#define WEEK_MS     (7 * DAY_MS)
#define TIB         (1ULL << 40)
#define IOPS_MAX    10000000

static const char *access_name(unsigned value)
{
	static const char *const names[] = {
		[GT_ACCESS_TOKEN] = "token", [GT_ACCESS_PUBLIC] = "public"
	};

	return names[value];
}

static const char *network_name(unsigned value)
{
	static const char *const names[] = { [GT_NETWORK_NONE] = "none",
					     [GT_NETWORK_EGRESS] = "egress",
					     [GT_NETWORK_HOST] = "host" };

	return names[value];
}

static const char *isolation_name(unsigned value)
{
	static const char *const names[] = {
		[GT_ISOLATION_SHARED] = "shared", [GT_ISOLATION_EXCLUSIVE] = "exclusive"
	};

	return names[value];
}

static const char *spread_name(unsigned value)
{
	static const char *const names[] = { [GT_GANG_AUTO] = "auto",
					     [GT_GANG_NODE] = "node",
					     [GT_GANG_NODES] = "nodes",
					     [GT_GANG_ANY] = "any" };

	return names[value];
}

static const char *policy_name(unsigned value)
{
	static const char *const names[] = { [GT_SCALE_GANTRY] = "gantry", [GT_SCALE_KPA] = "kpa" };

	return names[value];
}

static const char *pull_name(unsigned value)
{
	static const char *const names[] = { [GT_PULL_MISSING] = "missing",
					     [GT_PULL_ALWAYS] = "always",
					     [GT_PULL_NEVER] = "never" };

	return names[value];
}

static const char *park_name(unsigned value)
{
	return gt_park_method_name((enum gt_park_method)value);
}

static const char *reconcile_name(unsigned value)
{
	static const char *const names[] = { [GT_RECONCILE_BEST] = "best",
					     [GT_RECONCILE_ORIGINAL] = "original",
					     [GT_RECONCILE_REPLACEMENT] = "replacement" };

	return names[value];
}

static const struct gt_field volume_rows[] = {
	{ "host", GT_F_STR, GT_F_NEEDED, offsetof(struct gt_volume, host), .min = 1,
	  .max = GT_TEXT_MAX - 1 },
	{ "path", GT_F_STR, GT_F_NEEDED, offsetof(struct gt_volume, path), .min = 1,
	  .max = GT_TEXT_MAX - 1 },
	{ "readonly", GT_F_BOOL, .offset = offsetof(struct gt_volume, readonly) },
};
static const struct gt_volume volume_defaults = { .readonly = true };
static const struct gt_fields volume_fields = { ROWS(volume_rows), .size = sizeof(struct gt_volume),
						.defaults = &volume_defaults };

static const struct gt_field tmpfs_rows[] = {
	{ "path", GT_F_STR, GT_F_NEEDED, offsetof(struct gt_tmpfs, path), .min = 1,
	  .max = GT_TEXT_MAX - 1 },
	{ "size", GT_F_BYTES, .offset = offsetof(struct gt_tmpfs, size_bytes), .min = 64 * GT_KIB,
	  .max = TIB },
};
static const struct gt_tmpfs tmpfs_defaults = { .size_bytes = GT_DEFAULT_TMPFS_BYTES };
static const struct gt_fields tmpfs_fields = { ROWS(tmpfs_rows), .size = sizeof(struct gt_tmpfs),
					       .defaults = &tmpfs_defaults };

static const struct gt_field ready_rows[] = {
	{ "path", GT_F_STR, AT(ready.path), .min = 1, .max = GT_TEXT_MAX - 1 },
	{ "timeout", GT_F_DURATION, AT(ready.timeout_ms), .min = 1, .max = DAY_MS },
};
static const struct gt_fields ready_fields = { ROWS(ready_rows) };

static const struct gt_field io_rows[] = {
	{ "read_bps", GT_F_BYTES, AT(resources.io.read_bps), .min = 64 * GT_KIB, .max = TIB },
	{ "write_bps", GT_F_BYTES, AT(resources.io.write_bps), .min = 64 * GT_KIB, .max = TIB },
	{ "read_iops", GT_F_U32, AT(resources.io.read_iops), .min = 10, .max = IOPS_MAX },
	{ "write_iops", GT_F_U32, AT(resources.io.write_iops), .min = 10, .max = IOPS_MAX },
};
static const struct gt_fields io_fields = { ROWS(io_rows) };

static const char *overuse_name(unsigned value)
{
	static const char *const names[] = {
		[GT_GPU_OVERUSE_WARN] = "warn", [GT_GPU_OVERUSE_KILL] = "kill"
	};

	return names[value];
}

static const char *kv_type_name(unsigned value)
{
	return gt_kv_type_name((enum gt_kv_type)value);
}

#define TERM(name)                                                                                \
	{                                                                                         \
#name, GT_F_BYTES, AT(resources.gpu.estimate.terms.name), .min = 1,               \
									  .max = GT_GPU_BYTES_MAX \
	}
static const struct gt_field terms_rows[] = {
	TERM(weights), TERM(cache), TERM(activations), TERM(overhead), TERM(measured),
};
static const struct gt_fields terms_fields = { ROWS(terms_rows) };

static const struct gt_field estimate_rows[] = {
	{ "context", GT_F_U32, AT(resources.gpu.estimate.context), .min = 1,
	  .max = GT_LLM_SIZE_MAX },
	{ "sequences", GT_F_U32, AT(resources.gpu.estimate.sequences), .min = 1,
	  .max = GT_GPU_SEQUENCES_MAX },
	{ "kv_dtype", GT_F_ENUM, AT(resources.gpu.estimate.kv_type), .max = GT_KV_N,
	  .enum_name = kv_type_name },
	{ "overhead", GT_F_BYTES, AT(resources.gpu.estimate.overhead_bytes), .min = GT_MIB,
	  .max = GT_GPU_BYTES_MAX },
	{ "terms", GT_F_OBJECT, .sub = &terms_fields },
};
static const struct gt_fields estimate_fields = { ROWS(estimate_rows) };

/* `gpu` is read and written by its hooks. */
static const struct gt_field gpu_rows[] = {
	{ "count", GT_F_U32, GT_F_ALWAYS, AT(resources.gpu.count), .min = 1, .max = GT_GPUS_MAX },
	{ "memory", GT_F_CUSTOM, .min = GT_MIB, .max = GT_GPU_BYTES_MAX,
	  .hooks = &gt_gpu_memory_hooks },
	{ "estimate", GT_F_OBJECT, .sub = &estimate_fields },
	{ "models", GT_F_STRS, AT(resources.gpu.models),
	  .count_offset = offsetof(struct gt_spec, resources.gpu.n_models),
	  .max = GT_GPU_MODELS_MAX, .elem_max = GT_GPU_MODEL_MAX },
	{ "overuse", GT_F_ENUM, AT(resources.gpu.overuse), .max = GT_GPU_OVERUSE_N,
	  .enum_name = overuse_name },
	{ "share", GT_F_CUSTOM, AT(resources.gpu.share_milli), .min = GT_GPU_SHARE_MIN,
	  .max = GT_GPU_WHOLE - GT_GPU_SHARE_MIN,
	  .wanted = "no share of a GPU; write a number such as 0.5, or \"500m\"",
	  .hooks = &gt_milli_hooks },
	{ .name = "mode", .type = GT_F_LATER },
};
static const struct gt_fields gpu_fields = { ROWS(gpu_rows) };

static const struct gt_field resources_rows[] = {
	{ "cpu", GT_F_CUSTOM, AT(resources.cpu_milli), .min = GT_CPU_MILLI_MIN,
	  .max = GT_CPU_MILLI_MAX,
	  .wanted = "no amount of CPU; write a number such as 0.5, or \"500m\"",
	  .hooks = &gt_milli_hooks },
	{ "memory", GT_F_BYTES, AT(resources.memory_bytes), .min = 4 * GT_MIB, .max = 64 * TIB },
	{ "memory_high", GT_F_BYTES, AT(resources.memory_high_bytes), .min = 4 * GT_MIB,
	  .max = 64 * TIB },
	{ "disk", GT_F_BYTES, AT(resources.disk_bytes), .min = 64 * GT_KIB, .max = 64 * TIB },
	{ "shm", GT_F_BYTES, AT(resources.shm_bytes), .min = 64 * GT_KIB, .max = 64 * TIB },
	{ "pids", GT_F_U32, AT(resources.pids), .min = 2, .max = 4194304 },
	{ "io", GT_F_OBJECT, .sub = &io_fields },
	{ "gpu", GT_F_CUSTOM, .sub = &gpu_fields, .hooks = &gt_gpu_hooks },
	{ "devices", GT_F_STRS, AT(resources.devices),
	  .count_offset = offsetof(struct gt_spec, resources.n_devices), .max = GT_DEVICES_MAX,
	  .elem_max = GT_DEVICE_NAME_MAX },
};
static const struct gt_fields resources_fields = { ROWS(resources_rows) };

/* `concurrency` is read and written by its hooks; the rows are for both. */
static const struct gt_field concurrency_rows[] = {
	{ "target", GT_F_U32, AT(scale.target), .min = 1, .max = GT_CONCURRENCY_MAX },
	{ "max", GT_F_U32, AT(scale.concurrency), .min = 1, .max = GT_CONCURRENCY_MAX },
};
static const struct gt_fields concurrency_fields = { ROWS(concurrency_rows) };

static const struct gt_field scale_rows[] = {
	{ "min", GT_F_U32, AT(scale.min), .max = GT_REPLICAS_MAX },
	{ "max", GT_F_U32, AT(scale.max), .min = 1, .max = GT_REPLICAS_MAX },
	{ "concurrency", GT_F_CUSTOM, .sub = &concurrency_fields, .hooks = &gt_concurrency_hooks },
	{ "idle", GT_F_DURATION, AT(scale.idle_ms), .max = WEEK_MS },
	{ "buffer", GT_F_U32, AT(scale.buffer), .max = GT_REPLICAS_MAX },
	{ "delay_price", GT_F_U32, AT(scale.delay_price), .max = 100000 },
	{ "policy", GT_F_ENUM, AT(scale_policy), .max = GT_SCALE_POLICIES,
	  .enum_name = policy_name },
};
static const struct gt_fields scale_fields = { ROWS(scale_rows) };

static const struct gt_field limits_rows[] = {
	{ "queue", GT_F_U32, AT(limits.queue), .min = 1, .max = 100000 },
	{ "wait", GT_F_DURATION, AT(limits.wait_ms), .min = 1, .max = DAY_MS },
	{ "first_byte", GT_F_DURATION, AT(limits.first_byte_ms), .min = 1, .max = WEEK_MS },
	{ "idle", GT_F_DURATION, AT(limits.idle_ms), .max = WEEK_MS },
	{ "run", GT_F_DURATION, AT(limits.run_ms), .max = WEEK_MS },
	{ "drain", GT_F_DURATION, AT(limits.drain_ms), .max = DAY_MS },
	{ "body", GT_F_BYTES, AT(limits.body_bytes), .min = 1, .max = TIB },
	{ "log", GT_F_BYTES, AT(limits.log_bytes), .min = 64 * GT_KIB, .max = TIB },
};
static const struct gt_fields limits_fields = { ROWS(limits_rows) };

static const struct gt_field affinity_rows[] = {
	{ "header", GT_F_STR, AT(affinity.header), .min = 1, .max = GT_HEADER_MAX },
};
static const struct gt_fields affinity_fields = { ROWS(affinity_rows) };

static const struct gt_field placement_rows[] = {
	{ "labels", GT_F_CUSTOM, AT(placement.labels),
	  .count_offset = offsetof(struct gt_spec, placement.n_labels), .max = GT_PLACE_LABELS_MAX,
	  .hooks = &gt_labels_hooks },
};
static const struct gt_fields placement_fields = { ROWS(placement_rows) };

static const struct gt_field gang_rows[] = {
	{ "size", GT_F_U32, AT(gang.size), .min = 1, .max = GT_GANG_MAX },
	{ "spread", GT_F_ENUM, AT(gang.spread), .max = GT_GANG_SPREADS, .enum_name = spread_name },
	{ "restarts", GT_F_U32, AT(gang.restarts), .max = GT_GANG_STARTS_MAX },
	{ "preflight", GT_F_BOOL, AT(gang.preflight) },
	{ "progress", GT_F_DURATION32, AT(gang.progress_ms), .max = WEEK_MS },
};
static const struct gt_fields gang_fields = { ROWS(gang_rows) };

static const struct gt_field serves_rows[] = {
	{ "openai", GT_F_STRS, AT(models), .count_offset = offsetof(struct gt_spec, n_models),
	  .max = GT_MODELS_MAX, .elem_max = GT_MODEL_NAME_MAX },
};
static const struct gt_fields serves_fields = { ROWS(serves_rows) };

static const struct gt_field park_http_rows[] = {
	{ "sleep", GT_F_STR, AT(park.http.sleep), .min = 1, .max = GT_TEXT_MAX - 1 },
	{ "wake", GT_F_STR, AT(park.http.wake), .min = 1, .max = GT_TEXT_MAX - 1 },
};
static const struct gt_fields park_http_fields = { ROWS(park_http_rows) };

static const struct gt_field park_rows[] = {
	{ "method", GT_F_ENUM, GT_F_ALWAYS, AT(park.method), .max = GT_PARK_N,
	  .enum_name = park_name },
	{ "after", GT_F_DURATION, AT(park.after_ms), .max = WEEK_MS },
	{ "priority", GT_F_U32, AT(park.priority), .max = GT_PARK_PRIORITY_MAX },
	{ "http", GT_F_OBJECT, .sub = &park_http_fields },
};
static const struct gt_fields park_fields = { ROWS(park_rows) };

static const struct gt_field backoff_rows[] = {
	{ "first", GT_F_DURATION32, AT(retry.first_ms), .min = 1, .max = DAY_MS },
	{ "most", GT_F_DURATION32, AT(retry.most_ms), .min = 1, .max = DAY_MS },
};
static const struct gt_fields backoff_fields = { ROWS(backoff_rows) };

static const struct gt_field retry_rows[] = {
	{ "max", GT_F_U32, AT(retry.max), .max = GT_RETRIES_MAX },
	{ "on", GT_F_CUSTOM, AT(retry.on), .hooks = &gt_retry_on_hooks },
	{ "backoff", GT_F_OBJECT, .sub = &backoff_fields },
};
static const struct gt_fields retry_fields = { ROWS(retry_rows) };

static const struct gt_field disconnect_rows[] = {
	{ "lost_after", GT_F_DURATION32, AT(disconnect.lost_after_ms), .min = GT_DISCONNECT_MIN_MS,
	  .max = GT_DISCONNECT_MAX_MS },
	{ "stop_after", GT_F_DURATION32, AT(disconnect.stop_after_ms), .min = GT_DISCONNECT_MIN_MS,
	  .max = GT_DISCONNECT_MAX_MS },
	{ "reconcile", GT_F_ENUM, AT(disconnect.reconcile), .max = GT_RECONCILE_N,
	  .enum_name = reconcile_name },
};
static const struct gt_fields disconnect_fields = { ROWS(disconnect_rows) };

static const struct gt_field weights_rows[] = {
	{ "paths", GT_F_STRS, AT(weights.paths),
	  .count_offset = offsetof(struct gt_spec, weights.n_paths), .max = GT_WEIGHTS_MAX,
	  .elem_max = GT_TEXT_MAX - 1 },
	{ "store", GT_F_BOOL, AT(weights_store) },
};
static const struct gt_fields weights_fields = { ROWS(weights_rows) };

static const struct gt_field spec_rows[] = {
	{ "image", GT_F_STR, AT(image), .min = 1, .max = GT_TEXT_MAX - 1 },
	{ "base", GT_F_STR, AT(base), .min = 1, .max = GT_TEXT_MAX - 1 },
	{ "pull", GT_F_ENUM, AT(pull), .max = GT_PULL_N, .enum_name = pull_name },
	{ "command", GT_F_STRS, AT(command), .count_offset = offsetof(struct gt_spec, n_command),
	  .max = GT_COMMAND_MAX, .elem_max = GT_TEXT_MAX },
	{ "port", GT_F_U16, AT(port), .min = 1, .max = UINT16_MAX },
	{ "socket", GT_F_STR, AT(socket), .min = 2, .max = GT_SOCKET_PATH_MAX },
	{ "workdir", GT_F_STR, AT(workdir), .min = 1, .max = GT_TEXT_MAX - 1 },
	{ "user", GT_F_CUSTOM, .hooks = &gt_user_hooks },
	{ "env", GT_F_CUSTOM, .hooks = &gt_env_hooks },
	{ "volumes", GT_F_LIST, AT(volumes), .count_offset = offsetof(struct gt_spec, n_volumes),
	  .max = GT_VOLUMES_MAX, .sub = &volume_fields },
	{ "tmpfs", GT_F_LIST, AT(tmpfs), .count_offset = offsetof(struct gt_spec, n_tmpfs),
	  .max = GT_TMPFS_MAX, .sub = &tmpfs_fields },
	{ "network", GT_F_ENUM, AT(network), .max = GT_NETWORK_N, .enum_name = network_name },
	{ "access", GT_F_ENUM, AT(access), .max = GT_ACCESS_N, .enum_name = access_name },
	{ "idempotent", GT_F_BOOL, AT(idempotent) },
	/* The groups are members of struct gt_spec itself: their rows count from its start. */
	{ "ready", GT_F_OBJECT, .sub = &ready_fields },
	{ "resources", GT_F_OBJECT, .sub = &resources_fields },
	{ "placement", GT_F_OBJECT, .sub = &placement_fields },
	{ "isolation", GT_F_ENUM, AT(isolation), .max = GT_ISOLATION_N,
	  .enum_name = isolation_name },
	{ "gang", GT_F_OBJECT, .sub = &gang_fields },
	{ "scale", GT_F_OBJECT, .sub = &scale_fields },
	{ "park", GT_F_CUSTOM, .sub = &park_fields, .hooks = &gt_park_hooks },
	{ "limits", GT_F_OBJECT, .sub = &limits_fields },
	{ "affinity", GT_F_OBJECT, .sub = &affinity_fields },
	{ "weights", GT_F_OBJECT, .sub = &weights_fields },
	{ "serves", GT_F_OBJECT, .sub = &serves_fields },
	{ "retry", GT_F_OBJECT, .sub = &retry_fields },
	{ "disconnect", GT_F_OBJECT, .sub = &disconnect_fields },
	{ "gpu", GT_F_CUSTOM, .hooks = &gt_gpu_short_hooks },
	{ .name = "secrets", .type = GT_F_LATER },
	{ .name = "rollout", .type = GT_F_LATER },
};
const struct gt_fields gt_spec_fields = { ROWS(spec_rows), .size = sizeof(struct gt_spec) };
