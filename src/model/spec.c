/* spec.c - a function specification's life: defaults, release, names. */
#include <gantry/model/spec.h>

#include <stdlib.h>
#include <string.h>

struct gt_spec *gt_spec_new(void)
{
	struct gt_spec *spec = gt_alloc(sizeof(*spec));

	spec->workdir = gt_strdup("/");
	spec->ready.timeout_ms = GT_DEFAULT_READY_TIMEOUT_MS;
	spec->resources.cpu_milli = GT_DEFAULT_CPU_MILLI;
	spec->resources.memory_bytes = GT_DEFAULT_MEMORY_BYTES;
	spec->resources.disk_bytes = GT_DEFAULT_DISK_BYTES;
	spec->resources.pids = GT_DEFAULT_PIDS;
	spec->gang.restarts = GT_DEFAULT_GANG_RESTARTS;
	spec->gang.preflight = true;
	spec->scale.max = GT_DEFAULT_SCALE_MAX;
	spec->scale.target = GT_DEFAULT_CONCURRENCY;
	spec->scale.concurrency = GT_DEFAULT_CONCURRENCY;
	spec->scale.delay_price = GT_DEFAULT_DELAY_PRICE;
	spec->scale.idle_ms = GT_IDLE_LEARNED;
	spec->park.after_ms = GT_DEFAULT_PARK_MS;
	spec->retry.on = GT_DEFAULT_RETRY_ON;
	spec->retry.first_ms = GT_DEFAULT_RETRY_FIRST_MS;
	spec->retry.most_ms = GT_DEFAULT_RETRY_MOST_MS;
	spec->limits.queue = GT_DEFAULT_QUEUE;
	spec->limits.wait_ms = GT_DEFAULT_WAIT_MS;
	spec->limits.first_byte_ms = GT_DEFAULT_FIRST_BYTE_MS;
	spec->limits.idle_ms = GT_DEFAULT_MOVE_MS;
	spec->limits.run_ms = GT_DEFAULT_RUN_MS;
	spec->limits.drain_ms = GT_DEFAULT_DRAIN_MS;
	spec->limits.body_bytes = GT_DEFAULT_BODY_BYTES;
	spec->limits.log_bytes = GT_DEFAULT_LOG_BYTES;
	return spec;
}

const char *gt_retry_on_name(unsigned on)
{
	static const char *const names[GT_RETRY_N] = { "crash", "timeout", "408", "425", "429",
						       "500",   "502",     "503", "504" };

	return on < GT_RETRY_N ? names[on] : NULL;
}

static void strings_free(char **strings, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(strings[i]);
	free(strings);
}

void gt_spec_free(struct gt_spec *spec)
{
	if (!spec)
		return;
	if (spec->packed) {
		free(spec);
		return;
	}
	for (size_t i = 0; i < spec->n_env; i++) {
		free(spec->env[i].name);
		free(spec->env[i].value);
	}
	for (size_t i = 0; i < spec->n_volumes; i++) {
		free(spec->volumes[i].host);
		free(spec->volumes[i].path);
	}
	for (size_t i = 0; i < spec->n_tmpfs; i++)
		free(spec->tmpfs[i].path);
	free(spec->env);
	free(spec->volumes);
	free(spec->tmpfs);
	strings_free(spec->command, spec->n_command);
	strings_free(spec->models, spec->n_models);
	strings_free(spec->weights.paths, spec->weights.n_paths);
	strings_free(spec->resources.devices, spec->resources.n_devices);
	strings_free(spec->resources.gpu.models, spec->resources.gpu.n_models);
	free(spec->placement.labels);
	free(spec->image);
	free(spec->image_path);
	free(spec->base);
	free(spec->socket);
	free(spec->workdir);
	free(spec->user);
	free(spec->affinity.header);
	free(spec->ready.path);
	free(spec->park.http.sleep);
	free(spec->park.http.wake);
	free(spec);
}

static bool alnum_lower(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool gt_name_ok(const char *name)
{
	size_t len = name ? strnlen(name, GT_NAME_MAX + 1) : 0;

	if (len == 0 || len > GT_NAME_MAX)
		return false;
	if (!alnum_lower(name[0]) || !alnum_lower(name[len - 1]))
		return false;
	for (size_t i = 1; i < len; i++)
		if (!alnum_lower(name[i]) && name[i] != '-')
			return false;
	return true;
}

enum gt_gang_spread gt_spec_spread(const struct gt_spec *spec)
{
	if (spec->gang.spread != GT_GANG_AUTO)
		return spec->gang.spread;
	return spec->network == GT_NETWORK_HOST ? GT_GANG_NODES : GT_GANG_NODE;
}

const char *gt_spec_ref(const struct gt_spec *spec)
{
	if (spec->image_kind == GT_IMAGE_REGISTRY)
		return spec->image;
	return spec->image_kind == GT_IMAGE_BUNDLE ? spec->base : NULL;
}
