/* spec_check.c - what no single member of a specification can tell. Sizes, counts and number ranges
 * are the reader's (wire); here stands what members mean and how they fit together. */
#include <gantry/model/device.h>
#include <gantry/model/ref.h>
#include <gantry/model/spec.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SLUG "invalid_spec"

/* Shows at most 100 bytes of what the user wrote. */
#define QUOTED "\"%.100s\""

/* The text begins with the path, so that it stands alone in a terminal or a log. */
GT_PRINTF(3, 4)
static int refused(struct gt_err *err, const char *path, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?'; /* terminals and logs show this */
	gt_err_set(err, EINVAL, SLUG, "%s: %s", path, text);
	gt_err_path(err, "%s", path);
	return -EINVAL;
}

static bool has_control_char(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return true;
	return false;
}

static bool has_dotdot(const char *path)
{
	for (const char *p = path; (p = strstr(p, "..")); p += 2)
		if ((p == path || p[-1] == '/') && (p[2] == '/' || p[2] == '\0'))
			return true;
	return false;
}

/* Without doubled, trailing and "." parts; allocated. `path` is absolute and has no "..". */
static char *path_normalised(const char *path)
{
	char *out = gt_alloc(strlen(path) + 2), *end = out;

	while (*path) {
		size_t len = strcspn(path, "/");

		if (len > 0 && !(len == 1 && path[0] == '.')) {
			*end++ = '/';
			memcpy(end, path, len);
			end += len;
		}
		path += len + (path[len] == '/');
	}
	if (end == out)
		*end = '/';
	return out;
}

/* Absolute, of one reading, and printable. */
static int path_sane(const char *path, const char *where, struct gt_err *err)
{
	if (path[0] != '/')
		return refused(err, where, QUOTED " is no absolute path; begin it with /", path);
	if (has_dotdot(path))
		return refused(err, where, QUOTED " contains \"..\"; write the path it means",
			       path);
	if (has_control_char(path))
		return refused(err, where, "%s", "the path contains a control character");
	return 0;
}

static int path_exact(const char *path, const char *where, struct gt_err *err)
{
	int r = path_sane(path, where, err);

	if (r < 0)
		return r;
	gt_auto(free) char *normal = path_normalised(path);

	if (strcmp(normal, path) != 0)
		return refused(err, where, QUOTED " is not in its shortest form; write " QUOTED,
			       path, normal);
	return 0;
}

static int check_dir(struct gt_spec *spec, struct gt_err *err)
{
	const char *path = spec->image + strlen("dir:");
	int r = path_sane(path, "image", err);

	if (r < 0)
		return r;
	gt_auto(free) char *normal = path_normalised(path);

	if (strcmp(normal, "/") == 0)
		return refused(err, "image", "%s",
			       "\"dir:/\" is the node's own root; write \"host:\"");
	spec->image_path = gt_steal(&normal);
	spec->image_kind = GT_IMAGE_DIR;
	return 0;
}

/* Canonical, so that equal images have equal text. */
static int check_ref(char **text, const char *where, struct gt_err *err)
{
	char canonical[GT_REF_TEXT_SIZE];
	struct gt_err why = { 0 };
	struct gt_ref ref;

	if (gt_ref_parse(*text, &ref, &why) < 0)
		return refused(err, where, "%s", why.text);
	gt_ref_format(&ref, canonical);
	free(*text);
	*text = gt_strdup(canonical);
	return 0;
}

static int check_bundle(struct gt_spec *spec, struct gt_err *err)
{
	if (!gt_digest_ok(spec->image + strlen("bundle:")))
		return refused(err, "image",
			       QUOTED " names no bundle; write \"bundle:sha256:\" and the 64 hex "
				      "digits of the uploaded archive's SHA-256",
			       spec->image);
	spec->image_kind = GT_IMAGE_BUNDLE;
	return spec->base ? check_ref(&spec->base, "base", err) : 0;
}

static int check_image(struct gt_spec *spec, struct gt_err *err)
{
	if (!spec->image)
		return refused(err, "image", "%s",
			       "missing; write a reference such as \"registry.example/app:1\", or "
			       "\"dir:/path\" or \"host:\"");
	free(gt_steal(&spec->image_path));
	if (gt_starts_with(spec->image, "bundle:"))
		return check_bundle(spec, err);
	if (spec->base)
		return refused(err, "base", "%s",
			       "only an image of the form \"bundle:sha256:...\" has one");
	if (strcmp(spec->image, "host:") == 0) {
		spec->image_kind = GT_IMAGE_HOST;
		return 0;
	}
	if (gt_starts_with(spec->image, "dir:"))
		return check_dir(spec, err);
	spec->image_kind = GT_IMAGE_REGISTRY;
	return check_ref(&spec->image, "image", err);
}

/* Of a request to the program. */
static int check_target(const char *target, const char *where, struct gt_err *err)
{
	if (target[0] != '/')
		return refused(err, where, QUOTED " must begin with /", target);
	for (const char *p = target; *p; p++)
		if (*p <= ' ' || *p >= 0x7f || *p == '#')
			return refused(err, where,
				       QUOTED " may hold printable ASCII without blanks and #; "
					      "escape others as %%XX",
				       target);
	return 0;
}

static int check_process(const struct gt_spec *spec, struct gt_err *err)
{
	bool known = gt_spec_ref(spec) == NULL; /* there is nobody to ask what is left out */

	if (spec->n_command == 0 && known)
		return refused(err, "command", "%s", "missing; write for example [\"/server\"]");
	if (spec->n_command > 0 && spec->command[0][0] == '\0')
		return refused(err, "command[0]", "%s", "empty; name the program to run");
	if (spec->port == 0 && !spec->socket && known)
		return refused(err, "port", "%s",
			       "missing; write the TCP port that the process listens on");
	int r = spec->ready.path ? check_target(spec->ready.path, "ready.path", err) : 0;

	return r < 0 ? r : path_exact(spec->workdir, "workdir", err);
}

static bool env_name_ok(const char *name)
{
	size_t len = strspn(name,
			    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");

	return len > 0 && name[len] == '\0' && !(name[0] >= '0' && name[0] <= '9');
}

static int env_compare(const void *a, const void *b)
{
	return strcmp(((const struct gt_env *)a)->name, ((const struct gt_env *)b)->name);
}

/* Sorts too: the order of variables means nothing, and equal specs must have equal text. */
static int check_env(struct gt_spec *spec, struct gt_err *err)
{
	char where[sizeof(err->path)];

	for (size_t i = 0; i < spec->n_env; i++) {
		const char *name = spec->env[i].name;

		snprintf(where, sizeof(where), "env.%s", name);
		if (!env_name_ok(name))
			return refused(
				err, where, "%s",
				"a variable's name has letters, digits and _, and begins with no"
				" digit");
		if (gt_starts_with(name, "GANTRY_"))
			return refused(
				err, where, "%s",
				"names that begin with GANTRY_ are reserved; choose another");
	}
	if (spec->n_env > 1)
		qsort(spec->env, spec->n_env, sizeof(*spec->env), env_compare);
	for (size_t i = 1; i < spec->n_env; i++) {
		if (strcmp(spec->env[i - 1].name, spec->env[i].name) != 0)
			continue;
		snprintf(where, sizeof(where), "env.%s", spec->env[i].name);
		return refused(err, where, "%s", "given twice; keep one");
	}
	return 0;
}

static bool path_within(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static int check_mount_path(const char *path, bool tmpfs, const char *where, struct gt_err *err)
{
	static const char *const kept[] = { "/proc", "/sys", "/dev" };
	int r = path_exact(path, where, err);

	if (r < 0)
		return r;
	if (strcmp(path, "/") == 0)
		return refused(err, where, "%s",
			       "\"/\" is the image's place; choose a path below it");
	if (tmpfs && strcmp(path, "/dev/shm") == 0)
		return 0;
	for (size_t i = 0; i < GT_LEN(kept); i++)
		if (path_within(path, kept[i]))
			return refused(err, where,
				       QUOTED
				       " is in %s, which belongs to the runtime; choose a path"
				       " elsewhere",
				       path, kept[i]);
	return 0;
}

static const char *mount_path(const struct gt_spec *spec, size_t i, char *where, size_t size)
{
	bool volume = i < spec->n_volumes;
	size_t at = volume ? i : i - spec->n_volumes;

	snprintf(where, size, "%s[%zu].path", volume ? "volumes" : "tmpfs", at);
	return volume ? spec->volumes[at].path : spec->tmpfs[at].path;
}

static int check_mounts(const struct gt_spec *spec, struct gt_err *err)
{
	char where[64], other[64];

	for (size_t i = 0; i < spec->n_volumes; i++) {
		snprintf(where, sizeof(where), "volumes[%zu].host", i);
		int r = path_exact(spec->volumes[i].host, where, err);

		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < spec->n_volumes + spec->n_tmpfs; i++) {
		const char *path = mount_path(spec, i, where, sizeof(where));
		int r = check_mount_path(path, i >= spec->n_volumes, where, err);

		if (r < 0)
			return r;
		for (size_t k = 0; k < i; k++)
			if (strcmp(path, mount_path(spec, k, other, sizeof(other))) == 0)
				return refused(err, where, QUOTED " is already %s; choose another",
					       path, other);
	}
	return 0;
}

/* On the container's own root: see gt_container_dial_path. */
static int check_socket(const struct gt_spec *spec, struct gt_err *err)
{
	char where[64];
	int r;

	if (!spec->socket)
		return 0;
	if (spec->port != 0)
		return refused(err, "socket", "%s",
			       "there is a port too; keep the one that the process listens on");
	r = check_mount_path(spec->socket, false, "socket", err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < spec->n_volumes + spec->n_tmpfs; i++)
		if (path_within(spec->socket, mount_path(spec, i, where, sizeof(where))))
			return refused(err, "socket",
				       QUOTED " is on the mount of %s; choose a path elsewhere",
				       spec->socket, where);
	return 0;
}

static int check_resources(const struct gt_spec *spec, struct gt_err *err)
{
	if (spec->resources.memory_high_bytes > spec->resources.memory_bytes)
		return refused(err, "resources.memory_high",
			       "%llu is above resources.memory, which is %llu and would be met "
			       "first",
			       (unsigned long long)spec->resources.memory_high_bytes,
			       (unsigned long long)spec->resources.memory_bytes);
	return 0;
}

static int check_gpu_models(const struct gt_gpu_want *gpu, struct gt_err *err)
{
	char where[64];

	for (size_t i = 0; i < gpu->n_models; i++) {
		snprintf(where, sizeof(where), "resources.gpu.models[%zu]", i);
		if (!gt_gpu_model_ok(gpu->models[i]))
			return refused(err, where,
				       QUOTED " names no model; write for example \"H100\"",
				       gpu->models[i]);
		for (size_t k = 0; k < i; k++)
			if (strcasecmp(gpu->models[i], gpu->models[k]) == 0)
				return refused(err, where, QUOTED " is given twice; keep one",
					       gpu->models[i]);
	}
	return 0;
}

/* What is left in place would reach the program as it stands. */
static int check_gpu_words(const struct gt_spec *spec, struct gt_err *err)
{
	char where[64];

	for (size_t i = 0; i < spec->n_command; i++) {
		const char *word = spec->command[i];

		snprintf(where, sizeof(where), "command[%zu]", i);
		for (; (word = strstr(word, "${gpu.")); word++) {
			if (!gt_starts_with(word, GT_GPU_FRACTION))
				return refused(err, where, QUOTED " is not known; there is only %s",
					       word, GT_GPU_FRACTION);
			if (spec->resources.gpu.count == 0)
				return refused(err, where, "%s needs resources.gpu",
					       GT_GPU_FRACTION);
		}
	}
	return 0;
}

/* What is accepted must happen: an estimate belongs to a memory that was computed, or shall be. */
static int check_gpu_estimate(const struct gt_gpu_want *gpu, struct gt_err *err)
{
	uint64_t sum = gt_gpu_terms_sum(&gpu->estimate.terms);

	if (gpu->memory_auto)
		return 0;
	if (sum == 0 && (gpu->estimate.context || gpu->estimate.sequences ||
			 gpu->estimate.kv_type || gpu->estimate.overhead_bytes))
		return refused(
			err, "resources.gpu.estimate", "%s",
			"there is nothing to estimate; write \"memory\": \"auto\" beside it");
	if (sum != 0 && sum != gpu->memory_bytes)
		return refused(err, "resources.gpu.estimate.terms",
			       "their sum is %llu, resources.gpu.memory is not; leave out terms, "
			       "which are computed, or write \"memory\": \"auto\"",
			       (unsigned long long)sum);
	return 0;
}

static int check_devices(const struct gt_spec *spec, struct gt_err *err)
{
	char *const *names = spec->resources.devices;
	char where[64], kind[GT_DEVICE_NAME_MAX + 1];
	const char *device;

	for (size_t i = 0; i < spec->resources.n_devices; i++) {
		snprintf(where, sizeof(where), "resources.devices[%zu]", i);
		if (gt_device_name_split(names[i], kind, &device, NULL) < 0)
			return refused(err, where,
				       QUOTED " is no name of a device; write for example "
					      "\"vendor.com/class=name\"",
				       names[i]);
		for (size_t k = 0; k < i; k++)
			if (strcmp(names[i], names[k]) == 0)
				return refused(err, where, QUOTED " is given twice; keep one",
					       names[i]);
	}
	return 0;
}

static int check_gpu(const struct gt_spec *spec, struct gt_err *err)
{
	const struct gt_gpu_want *gpu = &spec->resources.gpu;
	int r = check_gpu_words(spec, err);

	if (r == 0)
		r = check_gpu_models(gpu, err);
	if (r == 0)
		r = check_gpu_estimate(gpu, err);
	if (r == 0 && gpu->share_milli && gpu->count > 1)
		return refused(err, "resources.gpu.share",
			       "a share is of one GPU, and count is %u; leave one of them out",
			       gpu->count);
	return r;
}

/* Where the members of a gang could not meet, or could and should not. */
static int check_gang(const struct gt_spec *spec, struct gt_err *err)
{
	enum gt_gang_spread spread = gt_spec_spread(spec);

	if (spec->gang.size == 0 && spec->gang.spread != GT_GANG_AUTO)
		return refused(err, "gang.size", "%s", "missing; write how many containers");
	if (spec->gang.size == 0)
		return 0;
	if (spec->network == GT_NETWORK_NONE)
		return refused(
			err, "network", "%s",
			"the members of a gang meet over the network; write \"egress\" for a "
			"gang on one node, \"host\" for one on several");
	if (spec->network == GT_NETWORK_EGRESS && spread != GT_GANG_NODE)
		return refused(
			err, "gang.spread", "%s",
			"addresses of network \"egress\" end at their node; write \"node\", or "
			"network \"host\"");
	if (spec->resources.gpu.count > 0 && spec->gang.spread == GT_GANG_AUTO &&
	    spread == GT_GANG_NODE && spec->gang.size > 1)
		return refused(
			err, "gang.spread", "%s",
			"several containers with GPUs on one node reach each other by sockets "
			"alone; write network \"host\" for a node each, or spread \"node\" "
			"to have it so");
	return 0;
}

static int check_scale(const struct gt_spec *spec, struct gt_err *err)
{
	if (spec->scale.max == 0)
		return refused(err, "scale.max", "%s", "0 is below 1");
	if (spec->scale.max > GT_REPLICAS_MAX)
		return refused(err, "scale.max", "%u is above %d", spec->scale.max,
			       GT_REPLICAS_MAX);
	if (spec->scale.min > spec->scale.max)
		return refused(err, "scale.min", "%u is above scale.max, which is %u",
			       spec->scale.min, spec->scale.max);
	if (spec->scale.buffer > spec->scale.max)
		return refused(err, "scale.buffer", "%u is above scale.max, which is %u",
			       spec->scale.buffer, spec->scale.max);
	if (spec->scale.target == 0 || spec->scale.concurrency == 0)
		return refused(err, "scale.concurrency", "%s", "0 is below 1");
	if (spec->scale.target > spec->scale.concurrency)
		return refused(err, "scale.concurrency.target",
			       "%u is above scale.concurrency.max, which is %u", spec->scale.target,
			       spec->scale.concurrency);
	return 0;
}

static int check_affinity(const struct gt_spec *spec, struct gt_err *err)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789"
				    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	const char *name = spec->affinity.header;

	if (name && (!*name || name[strspn(name, token)]))
		return refused(err, "affinity.header",
			       QUOTED " is no header name; write for example \"X-Session-Id\"",
			       name);
	return 0;
}

static int check_models(const struct gt_spec *spec, struct gt_err *err)
{
	char where[64];

	for (size_t i = 0; i < spec->n_models; i++) {
		const char *name = spec->models[i];

		snprintf(where, sizeof(where), "serves.openai[%zu]", i);
		if (!*name)
			return refused(err, where, "%s", "empty; write the model's name");
		for (const char *p = name; *p; p++)
			if (*p <= ' ' || *p >= 0x7f)
				return refused(err, where,
					       QUOTED " may hold printable ASCII without blanks",
					       name);
		for (size_t k = 0; k < i; k++)
			if (strcmp(name, spec->models[k]) == 0)
				return refused(err, where, QUOTED " is given twice; keep one",
					       name);
	}
	return 0;
}

static int check_park_http(const struct gt_spec *spec, struct gt_err *err)
{
	const char *sleep = spec->park.http.sleep, *wake = spec->park.http.wake;
	int r = 0;

	if (!sleep && !wake)
		return spec->park.method == GT_PARK_HTTP
			       ? refused(err, "park.http", "%s",
					 "is missing; say what the program sleeps and wakes by, "
					 "such as {\"sleep\": \"/sleep\", \"wake\": \"/wake_up\"}")
			       : 0;
	if (!sleep || !wake)
		return refused(err, sleep ? "park.http.wake" : "park.http.sleep", "%s",
			       "is missing; a program that sleeps must be woken");
	r = check_target(sleep, "park.http.sleep", err);
	return r < 0 ? r : check_target(wake, "park.http.wake", err);
}

/* A replacement waits for the fence in any case; one that is asked for earlier is a mistake. */
static int check_disconnect(const struct gt_spec *spec, struct gt_err *err)
{
	if (spec->disconnect.lost_after_ms == 0 ||
	    spec->disconnect.lost_after_ms >= spec->disconnect.stop_after_ms)
		return 0;
	return refused(
		err, "disconnect.lost_after", "%s",
		"must not be shorter than stop_after: nothing is given to another before its "
		"node has stopped it");
}

static int check_park(const struct gt_spec *spec, struct gt_err *err)
{
	uint32_t gpus = spec->resources.gpu.count;

	if (spec->park.method == GT_PARK_FREEZE && gpus > 0)
		return refused(err, "park.method", "%s",
			       "freeze gives no GPU back; write auto, cuda or http");
	if (spec->park.method == GT_PARK_CUDA && gpus != 1)
		return refused(err, "park.method",
			       "cuda is for one GPU, and resources.gpu has %u; write %s", gpus,
			       gpus ? "http, or stop" : "auto or freeze");
	if (spec->park.method != GT_PARK_STOP && spec->gang.size > 0)
		return refused(err, "park.method", "%s",
			       "a gang can not be parked by this version; leave park out");
	return check_park_http(spec, err);
}

/* What is mounted at or above `path`, the deepest; n = number of mounts: the image. */
static size_t mount_above(const struct gt_spec *spec, const char *path)
{
	size_t n = spec->n_volumes + spec->n_tmpfs, at = n, best = 0;
	char where[64];

	for (size_t i = 0; i < n; i++) {
		const char *mount = mount_path(spec, i, where, sizeof(where));

		if (path_within(path, mount) && strlen(mount) > best) {
			best = strlen(mount);
			at = i;
		}
	}
	return at;
}

static int check_weights_path(const struct gt_spec *spec, size_t i, const char *where,
			      struct gt_err *err)
{
	const char *path = spec->weights.paths[i];
	size_t mounts = spec->n_volumes + spec->n_tmpfs, at;
	int r = path_exact(path, where, err);

	if (r < 0)
		return r;
	if (strstr(path, "**"))
		return refused(err, where, QUOTED " has \"**\"; write one * for each directory",
			       path);
	at = mount_above(spec, path);
	if (at == mounts && spec->image_kind != GT_IMAGE_DIR)
		return refused(err, where,
			       QUOTED " is in no volume; weights are read from volumes, or from an "
				      "image of the form \"dir:/path\"",
			       path);
	if (at < mounts && at >= spec->n_volumes)
		return refused(err, where, QUOTED " is on a tmpfs, which is empty at the start",
			       path);
	if (spec->weights_store && at < mounts && !spec->volumes[at].readonly)
		return refused(err, where,
			       QUOTED " is in volumes[%zu], which is writable; the store shares "
				      "what nobody changes: make it readonly or leave out store",
			       path, at);
	return 0;
}

static int check_weights(const struct gt_spec *spec, struct gt_err *err)
{
	char where[64];

	if (spec->weights_store && spec->weights.n_paths == 0)
		return refused(err, "weights.paths", "%s",
			       "missing; write for example [\"/models/*.safetensors\"]");
	for (size_t i = 0; i < spec->weights.n_paths; i++) {
		snprintf(where, sizeof(where), "weights.paths[%zu]", i);
		int r = check_weights_path(spec, i, where, err);

		if (r < 0)
			return r;
		for (size_t k = 0; k < i; k++)
			if (strcmp(spec->weights.paths[i], spec->weights.paths[k]) == 0)
				return refused(err, where, QUOTED " is given twice; keep one",
					       spec->weights.paths[i]);
	}
	return 0;
}

/* The directory that a path names files of: it may hold no pattern itself. */
static size_t directory_len(const char *path)
{
	size_t len = (size_t)(strrchr(path, '/') - path);

	return strcspn(path, "*?[") > len ? len : 0;
}

/* The model of "memory": "auto" lies in one directory, which weights.paths name. */
static int check_auto(const struct gt_spec *spec, struct gt_err *err)
{
	const char *first = spec->weights.n_paths ? spec->weights.paths[0] : NULL;
	char where[64];

	if (!spec->resources.gpu.memory_auto)
		return 0;
	if (!first)
		return refused(err, "resources.gpu.memory", "%s",
			       "\"auto\" is computed from the model's files; write where they are "
			       "in weights.paths, such as [\"/models/qwen/*.safetensors\"], or a "
			       "size");
	for (size_t i = 0; i < spec->weights.n_paths; i++) {
		size_t len = directory_len(spec->weights.paths[i]);

		snprintf(where, sizeof(where), "weights.paths[%zu]", i);
		if (len == 0 || len != directory_len(first) ||
		    strncmp(spec->weights.paths[i], first, len) != 0)
			return refused(err, where,
				       QUOTED " is not in the directory of one model, from which "
					      "\"memory\": \"auto\" of the GPU is computed",
				       spec->weights.paths[i]);
	}
	return 0;
}

const struct gt_volume *gt_spec_weights_at(const struct gt_spec *spec, size_t i, const char **root,
					   const char **rest)
{
	const char *path = spec->weights.paths[i];
	size_t at = mount_above(spec, path);
	const struct gt_volume *volume = at < spec->n_volumes ? &spec->volumes[at] : NULL;

	*root = volume ? volume->host : spec->image_path;
	path += volume ? strlen(volume->path) : 0;
	*rest = path + strspn(path, "/");
	return volume;
}

int gt_spec_check(struct gt_spec *spec, struct gt_err *err)
{
	int r = check_image(spec, err);

	if (r == 0)
		r = check_process(spec, err);
	if (r == 0)
		r = check_env(spec, err);
	if (r == 0)
		r = check_mounts(spec, err);
	if (r == 0)
		r = check_socket(spec, err);
	if (r == 0)
		r = check_resources(spec, err);
	if (r == 0)
		r = check_gpu(spec, err);
	if (r == 0)
		r = check_gang(spec, err);
	if (r == 0)
		r = check_scale(spec, err);
	if (r == 0)
		r = check_park(spec, err);
	if (r == 0)
		r = check_disconnect(spec, err);
	if (r == 0)
		r = check_affinity(spec, err);
	if (r == 0)
		r = check_weights(spec, err);
	if (r == 0)
		r = check_auto(spec, err);
	if (r == 0)
		r = check_devices(spec, err);
	if (r == 0)
		r = check_models(spec, err);
	return r;
}
