/* provider.c - what a configured provider says, read and checked. */
#include <gantry/model/provider.h>

#include <stdlib.h>
#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/model/gpu.h>
#include <gantry/model/spec.h>

#define CPUS_MAX 4096
#define URL_HTTP "http://"

const char *gt_hook_verb_name(enum gt_hook_verb v)
{
	static const char *const names[] = {
		[GT_HOOK_CREATE] = "create", [GT_HOOK_RELEASE] = "release", [GT_HOOK_LIST] = "list"
	};

	_Static_assert(GT_LEN(names) == GT_HOOK_VERBS, "every verb has a name");
	return names[v];
}

void gt_provider_defaults(struct gt_provider *p)
{
	p->max = 1;
	p->idle_ms = 600000;
	p->start_ms = 600000;
	p->timeout_ms = 30000;
	p->backoff_ms = 10000;
}

bool gt_host_id_ok(const char *id)
{
	size_t len = strlen(id);

	for (const char *p = id; *p; p++)
		if (*p <= ' ' || *p >= 0x7f)
			return false;
	return len >= 1 && len <= GT_HOST_ID_MAX;
}

bool gt_host_key_ok(const char *key, const char *provider)
{
	size_t len = strlen(provider);

	return strncmp(key, provider, len) == 0 && key[len] == '-' &&
	       strlen(key + len + 1) == GT_ULID_LEN && gt_name_ok(key);
}

/* Adds what `group` names. */
static int gpus_add(const char *group, struct gt_offer *o, struct gt_err *err)
{
	struct gt_gpu_group is;
	const char *why = gt_gpu_group_read(group, &is);

	if (!why && !is.model[0])
		why = "there is no model";
	if (!why && is.count > GT_NODE_GPUS_MAX - o->n_gpus)
		why = "with those before it there are more than 16";
	if (why)
		return gt_err_set(
			err, EINVAL, "bad_config",
			"gpus: \"%.100s\": %s; write COUNTxSIZE:MODEL, such as 8x80GiB:H100", group,
			why);
	for (; is.count > 0; is.count--) {
		struct gt_offer_gpu *gpu = &o->gpus[o->n_gpus++];

		gpu->memory_bytes = is.memory_bytes;
		gt_strcopy(gpu->model, sizeof(gpu->model), is.model);
	}
	return 0;
}

int gt_provider_offer(const struct gt_provider *p, struct gt_offer *ret, struct gt_err *err)
{
	gt_auto(free) char *copy = gt_strdup(p->gpus);
	gt_auto(free) struct gt_label *labels = NULL;
	struct gt_offer o = { .cpu_milli = p->cpus * 1000, .memory_bytes = p->memory_bytes };
	struct gt_err why = { 0 };
	char *at = NULL;

	for (char *group = strtok_r(copy, ",", &at); group; group = strtok_r(NULL, ",", &at))
		if (gpus_add(group + strspn(group, " "), &o, err) < 0)
			return -EINVAL;
	if (gt_labels_parse(p->labels, &labels, &o.n_labels, &why) < 0)
		return gt_err_set(err, EINVAL, "bad_config", "labels: %s", why.text);
	if (o.n_labels)
		memcpy(o.labels, labels, o.n_labels * sizeof(*labels));
	*ret = o;
	return 0;
}

/* The token goes there: in the clear only to this machine. */
static bool url_ok(const char *url)
{
	if (gt_starts_with(url, "https://"))
		return url[8] && !strchr(url, '@');
	return gt_starts_with(url, URL_HTTP "127.0.0.1:") || gt_starts_with(url, URL_HTTP "[::1]:");
}

static int refused(const char *text, struct gt_err *err)
{
	return gt_err_set(err, EINVAL, "bad_config", "%s", text);
}

int gt_provider_check(const struct gt_provider *p, struct gt_err *err)
{
	struct gt_offer offer;

	if (!gt_name_ok(p->name) || strlen(p->name) > GT_PROVIDER_NAME_MAX)
		return refused("a provider's name has up to 24 lower-case letters, digits and '-'",
			       err);
	if (!p->exec[0] == !p->url[0])
		return refused("a provider has either exec or url", err);
	if (p->exec[0] && p->exec[0] != '/')
		return refused("exec: must be an absolute path", err);
	if (p->url[0] && !url_ok(p->url))
		return refused("url: must be https://, or http:// to 127.0.0.1 or [::1] with a "
			       "port: it is sent tokens",
			       err);
	if (!gt_starts_with(p->join, "https://"))
		return refused("join: must be the https://HOST:PORT of the door that hosts dial",
			       err);
	if (p->max == 0 || p->max > GT_PROVIDER_HOSTS_MAX || p->min > p->max)
		return refused("max: must be 1 to 1000, and min at most that", err);
	if (p->cpus > CPUS_MAX)
		return refused("cpu: at most 4096", err);
	if (p->start_ms < GT_JOIN_TTL_MIN_MS || p->start_ms > GT_JOIN_TTL_MAX_MS)
		return refused("start_timeout: must be 1s to 7d", err);
	if (p->timeout_ms < 100 || p->backoff_ms < 100 || p->idle_ms < 100)
		return refused("idle, timeout and backoff: at least 100ms", err);
	return gt_provider_offer(p, &offer, err);
}
