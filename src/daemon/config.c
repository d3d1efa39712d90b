#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/base/cidr.h>
#include <gantry/base/cleanup.h>
#include <gantry/base/suggest.h>
#include <gantry/base/units.h>
#include <gantry/gateway/gateway.h>
#include <gantry/gpu/gpu.h>
#include <gantry/model/label.h>
#include <gantry/model/spec.h>
#include <gantry/scale/shadow.h>
#include <gantry/store/store.h>

enum key_type {
	KEY_TEXT,
	KEY_BOOL,
	KEY_DURATION,
	KEY_NUMBER,
	KEY_BYTES,
	KEY_BYTES_OR_DEFAULT, /* UINT64_MAX: what the machine suggests */
	KEY_LEVEL,
	KEY_EXTRACT,
	KEY_SHADOW
};

struct key {
	const char *section, *name;
	enum key_type type;
	size_t offset;
	uint64_t max; /* of a number or duration; size of a text */
};

#define FIELD(f)  offsetof(struct gt_config, f)
#define TEXT(f)   KEY_TEXT, FIELD(f), sizeof(((struct gt_config *)0)->f)
#define BYTES_MAX (64ULL << 40)
#define DAY_MS    86400000ULL

#define SECTION_SIZE 64

#define CERTIFICATE_MIN_MS 10000

#define LEASE_MIN_MS   2000
#define SILENT_MIN_MS  (2 * GT_NODE_BEAT_MS) /* one report may be late */
#define SUBID_BASE_MAX 4000000000ULL
_Static_assert(SUBID_BASE_MAX + GT_ID_RANGES * GT_ID_RANGE < UINT32_MAX, "all ids fit");

static const char *const extract_words[] = { "no", "yes", "always" }; /* enum gt_image_extract */

static const char default_word[] = "default"; /* where a size is the machine's business */

static const struct key keys[] = {
	{ "daemon", "state", TEXT(state) },
	{ "daemon", "listen", TEXT(listen) },
	{ "daemon", "user", TEXT(user) },
	{ "daemon", "log_level", KEY_LEVEL, FIELD(log_level), 0 },
	{ "gateway", "max_connections", KEY_NUMBER, FIELD(max_connections), 1000000 },
	{ "gateway", "threads", KEY_NUMBER, FIELD(threads), GT_GATEWAY_THREADS_MAX },
	{ "gateway", "access_log", TEXT(access_log) },
	{ "gateway", "proxy_from", TEXT(proxy_from) },
	{ "gateway", "tls_listen", TEXT(tls_listen) },
	{ "gateway", "tls_cert", TEXT(tls_cert) },
	{ "gateway", "tls_key", TEXT(tls_key) },
	{ "gateway", "tls_client_ca", TEXT(tls_client_ca) },
	{ "gateway", "tls_client_optional", KEY_BOOL, FIELD(tls_client_optional), 0 },
	{ "gateway", "tls_proxy_from", TEXT(tls_proxy_from) },
	{ "gateway", "drain", KEY_DURATION, FIELD(drain_ms), DAY_MS },
	{ "control", "store", TEXT(store) },
	{ "control", "advertise", TEXT(advertise) },
	{ "control", "lease", KEY_DURATION, FIELD(lease_ms), 600000 },
	{ "control", "dcgm_metrics", KEY_BOOL, FIELD(dcgm_metrics), 0 },
	{ "control", "webhook_allow", TEXT(webhook_allow) },
	{ "control", "record", KEY_BOOL, FIELD(record), 0 },
	{ "control", "record_mib", KEY_NUMBER, FIELD(record_mib), 1024 * 1024 },
	{ "control", "shadow", KEY_SHADOW, FIELD(shadow), sizeof(((struct gt_config *)0)->shadow) },
	{ "control", "node_suspect", KEY_DURATION, FIELD(node_suspect_ms), DAY_MS },
	{ "control", "node_lost", KEY_DURATION, FIELD(node_lost_ms), DAY_MS },
	{ "control", "node_certificate", KEY_DURATION, FIELD(node_certificate_ms), 365 * DAY_MS },
	{ "agent", "join", TEXT(join) },
	{ "agent", "join_token_file", TEXT(join_token_file) },
	{ "agent", "node", TEXT(node) },
	{ "agent", "gpus", TEXT(gpus) },
	{ "agent", "gpu_driver_root", TEXT(gpu_driver_root) },
	{ "agent", "gpu_kmsg", TEXT(gpu_kmsg) },
	{ "agent", "gpu_nccl", TEXT(gpu_nccl) },
	{ "agent", "gpu_reset", TEXT(gpu_reset) },
	{ "agent", "gpu_proc", TEXT(gpu_proc) },
	{ "agent", "gpu_sys", TEXT(gpu_sys) },
	{ "agent", "cdi_dirs", TEXT(cdi_dirs) },
	{ "agent", "cdi_devices", TEXT(cdi_devices) },
	{ "agent", "labels", TEXT(labels) },
	{ "agent", "address", TEXT(address) },
	{ "agent", "allow_host_image", KEY_BOOL, FIELD(allow_host_image), 0 },
	{ "agent", "allow_host_paths", TEXT(allow_host_paths) },
	{ "agent", "allow_host_network", KEY_BOOL, FIELD(allow_host_network), 0 },
	{ "agent", "egress_subnet4", TEXT(egress_subnet4) },
	{ "agent", "egress_subnet6", TEXT(egress_subnet6) },
	{ "agent", "egress_block", TEXT(egress_block) },
	{ "agent", "egress_allow", TEXT(egress_allow) },
	{ "agent", "egress_private", KEY_BOOL, FIELD(egress_private), 0 },
	{ "agent", "egress_forwarding", KEY_BOOL, FIELD(egress_forwarding), 0 },
	{ "agent", "dns", TEXT(dns) },
	{ "agent", "pool", KEY_NUMBER, FIELD(pool), 64 },
	{ "agent", "pool_max", KEY_NUMBER, FIELD(pool_max), 256 },
	{ "agent", "prepared", KEY_NUMBER, FIELD(prepared), 256 },
	{ "agent", "parking_memory", KEY_BYTES_OR_DEFAULT, FIELD(parking_memory), BYTES_MAX },
	{ "agent", "registry_config", TEXT(registry_config) },
	{ "agent", "registry_ca", TEXT(registry_ca) },
	{ "agent", "registry_insecure", TEXT(registry_insecure) },
	{ "agent", "image_keep", KEY_DURATION, FIELD(image_keep_ms), 3650 * DAY_MS },
	{ "agent", "image_extract", KEY_EXTRACT, FIELD(image_extract), GT_LEN(extract_words) },
	{ "agent", "image_disk", KEY_NUMBER, FIELD(image_disk), 100 },
	{ "agent", "weight_store", KEY_BYTES, FIELD(weight_store), BYTES_MAX },
	{ "agent", "weight_cache", KEY_BYTES, FIELD(weight_cache), BYTES_MAX },
	{ "agent", "weight_read_bps", KEY_BYTES, FIELD(weight_read_bps), BYTES_MAX },
	{ "agent", "subid_base", KEY_NUMBER, FIELD(subid_base), SUBID_BASE_MAX },
};

#define PROVIDER  "provider" /* [provider NAME] */
#define OF(f)     offsetof(struct gt_provider, f)
#define P_TEXT(f) KEY_TEXT, OF(f), sizeof(((struct gt_provider *)0)->f)

static const struct key provider_keys[] = {
	{ PROVIDER, "exec", P_TEXT(exec) },
	{ PROVIDER, "url", P_TEXT(url) },
	{ PROVIDER, "join", P_TEXT(join) },
	{ PROVIDER, "min", KEY_NUMBER, OF(min), GT_PROVIDER_HOSTS_MAX },
	{ PROVIDER, "max", KEY_NUMBER, OF(max), GT_PROVIDER_HOSTS_MAX },
	{ PROVIDER, "cpu", KEY_NUMBER, OF(cpus), 4096 },
	{ PROVIDER, "memory", KEY_BYTES, OF(memory_bytes), BYTES_MAX },
	{ PROVIDER, "gpus", P_TEXT(gpus) },
	{ PROVIDER, "labels", P_TEXT(labels) },
	{ PROVIDER, "idle", KEY_DURATION, OF(idle_ms), 7 * DAY_MS },
	{ PROVIDER, "start_timeout", KEY_DURATION, OF(start_ms), DAY_MS },
	{ PROVIDER, "timeout", KEY_DURATION, OF(timeout_ms), 3600000 },
	{ PROVIDER, "backoff", KEY_DURATION, OF(backoff_ms), 600000 },
};

void gt_config_defaults(struct gt_config *c)
{
	memset(c, 0, sizeof(*c));
	gt_strcopy(c->listen, sizeof(c->listen), "127.0.0.1:8080");
	gt_strcopy(c->state, sizeof(c->state), "/var/lib/gantry");
	gt_strcopy(c->allow_host_paths, sizeof(c->allow_host_paths), "/");
	gt_strcopy(c->gpus, sizeof(c->gpus), GT_GPUS_AUTO);
	gt_strcopy(c->gpu_driver_root, sizeof(c->gpu_driver_root), "/");
	gt_strcopy(c->gpu_nccl, sizeof(c->gpu_nccl), "libnccl.so.2");
	gt_strcopy(c->gpu_proc, sizeof(c->gpu_proc), "/proc");
	gt_strcopy(c->gpu_sys, sizeof(c->gpu_sys), "/sys");
	gt_strcopy(c->cdi_dirs, sizeof(c->cdi_dirs), "/etc/cdi:/var/run/cdi");
	c->log_level = GT_INFO;
	c->max_connections = 10000;
	c->threads = 1;
	c->drain_ms = 30000;
	c->lease_ms = 10000;
	c->dcgm_metrics = true;
	c->record_mib = 256;
	c->node_suspect_ms = 3000;
	c->node_lost_ms = 10000;
	c->node_certificate_ms = 7 * DAY_MS;
	c->allow_host_image = true;
	gt_strcopy(c->egress_subnet4, sizeof(c->egress_subnet4), GT_NET_SUBNET4);
	gt_strcopy(c->egress_subnet6, sizeof(c->egress_subnet6), GT_NET_SUBNET6);
	c->egress_private = true;
	c->egress_forwarding = true;
	c->pool = 2;
	c->pool_max = 16;
	c->prepared = 16;
	c->parking_memory = UINT64_MAX;
	c->image_keep_ms = 7 * DAY_MS;
	c->image_disk = 85;
	c->weight_cache = BYTES_MAX; /* the agent takes no more than half of the memory */
	c->subid_base = GT_DEFAULT_SUBID_BASE;
}

struct gt_net_config gt_config_egress(const struct gt_config *c)
{
	return (struct gt_net_config){
		.subnet4 = c->egress_subnet4,
		.subnet6 = c->egress_subnet6,
		.dns = c->dns,
		.block = c->egress_block,
		.allow = c->egress_allow,
		.block_private = !c->egress_private,
		.set_forwarding = c->egress_forwarding,
	};
}

/* "Node_7.example" becomes "node-7". */
void gt_config_node_default(struct gt_config *c)
{
	char host[256] = "";
	size_t n = 0;

	if (c->node[0])
		return;
	gethostname(host, sizeof(host) - 1);
	for (const char *p = host; *p && *p != '.' && n < GT_NAME_MAX; p++)
		c->node[n++] = isalnum((unsigned char)*p) ? (char)tolower((unsigned char)*p) : '-';
	c->node[n] = '\0';
	if (!gt_name_ok(c->node))
		gt_strcopy(c->node, sizeof(c->node), "local");
}

int gt_config_check_node(const struct gt_config *c, struct gt_err *err)
{
	const struct gt_net_config egress = gt_config_egress(c);
	gt_auto(free) struct gt_label *labels = NULL;
	struct gt_err why = { 0 };
	struct gt_cidr address;
	size_t n;

	if (c->gpu_reset[0] && c->gpu_reset[0] != '/')
		return gt_err_set(err, EINVAL, "bad_config",
				  "gpu_reset: \"%s\" must be an absolute path", c->gpu_reset);
	if (c->node[0] && !gt_name_ok(c->node))
		return gt_err_set(err, EINVAL, "bad_config",
				  "node: \"%s\" is no name (lower-case letters, digits and '-')",
				  c->node);
	if (c->join[0] && gt_uplink_check_url(c->join, err) < 0)
		return -err->code;
	if (gt_gpus_check(c->gpus, &why) < 0)
		return gt_err_set(err, EINVAL, "bad_config", "gpus: %s", why.text);
	if (gt_labels_parse(c->labels, &labels, &n, &why) < 0)
		return gt_err_set(err, EINVAL, "bad_config", "labels: %s", why.text);
	if (c->address[0] &&
	    (!gt_cidr_parse(c->address, &address) || address.bits != address.len * 8))
		return gt_err_set(err, EINVAL, "bad_config", "address: \"%s\" is no IP address",
				  c->address);
	if (gt_net_check(&egress, err) < 0)
		return -err->code;
	if (c->subid_base < 65536)
		return gt_err_set(
			err, EINVAL, "bad_config",
			"subid_base: %llu would give containers the ids of the host's own users; "
			"65536 is the least",
			(unsigned long long)c->subid_base);
	return 0;
}

/* Hosts dial the door that this daemon opens, where that names an address. */
int gt_config_provider(const struct gt_config *c, size_t i, struct gt_provider *ret,
		       struct gt_err *err)
{
	const char *door = c->tls_listen[0] ? c->tls_listen : c->listen;

	*ret = c->providers[i];
	if (!ret->join[0] && !gt_starts_with(door, "0.0.0.0:") && !gt_starts_with(door, "[::]:")) {
		gt_auto(free) char *join = gt_asprintf("https://%s", door);

		gt_strcopy(ret->join, sizeof(ret->join), join);
	}
	if (gt_provider_check(ret, err) < 0)
		return gt_err_wrap(err, "[provider %s]", ret->name);
	return gt_uplink_check_url(ret->join, err) < 0
		       ? gt_err_wrap(err, "[provider %s]", ret->name)
		       : 0;
}

int gt_config_check_control(const struct gt_config *c, struct gt_err *err)
{
	if (c->store[0] && gt_store_check(c->store, err) < 0)
		return -err->code;
	for (size_t i = 0; i < c->n_providers; i++) {
		struct gt_provider provider;

		if (gt_config_provider(c, i, &provider, err) < 0)
			return -err->code;
	}
	if (c->lease_ms < LEASE_MIN_MS)
		return gt_err_set(err, EINVAL, "bad_config",
				  "lease: at least 2s: it is renewed after a third of it");
	if (c->node_suspect_ms && c->node_suspect_ms < SILENT_MIN_MS)
		return gt_err_set(
			err, EINVAL, "bad_config",
			"node_suspect: at least 2s, as nodes report once a second; or 0s: "
			"only their connections count");
	if (c->node_lost_ms < SILENT_MIN_MS || c->node_lost_ms < c->node_suspect_ms)
		return gt_err_set(err, EINVAL, "bad_config",
				  "node_lost: at least 2s, and not below node_suspect");
	if (c->node_certificate_ms >= CERTIFICATE_MIN_MS)
		return 0;
	return gt_err_set(
		err, EINVAL, "bad_config",
		"node_certificate: at least 10s; nodes renew theirs after two thirds of it");
}

static const struct key *find_key(const struct key *all, size_t n, const char *section,
				  const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (gt_streq(all[i].section, section) && gt_streq(all[i].name, name))
			return &all[i];
	return NULL;
}

static int unknown_key(const struct key *all, size_t n_all, const char *section, const char *name,
		       struct gt_err *err)
{
	const char *words[GT_LEN(keys) + 1];
	size_t n = 0;

	for (size_t i = 0; i < n_all; i++)
		if (gt_streq(all[i].section, section))
			words[n++] = all[i].name;
	if (n == 0)
		return gt_err_set(err, EINVAL, "bad_config",
				  "there is no section [%s]; sections are daemon, gateway, "
				  "control, agent, provider NAME",
				  section);
	const char *near = gt_suggest(name, words, n);
	return gt_err_set(err, EINVAL, "bad_config", "unknown key \"%s\" in [%s]%s%s%s", name,
			  section, near ? "; did you mean \"" : "", near ? near : "",
			  near ? "\"?" : "");
}

static int parse_bool(const char *value, bool *ret)
{
	static const char *const yes[] = { "yes", "true", "on", "1" };
	static const char *const no[] = { "no", "false", "off", "0" };

	for (size_t i = 0; i < GT_LEN(yes); i++) {
		if (gt_streq(value, yes[i]) || gt_streq(value, no[i])) {
			*ret = gt_streq(value, yes[i]);
			return 0;
		}
	}
	return -EINVAL;
}

/* base: what the key's offset is in. */
static int set_key(void *base, const struct key *k, const char *value, struct gt_err *err)
{
	char *at = (char *)base + k->offset;
	struct gt_scale_candidate candidate;
	uint64_t n = 0;

	switch (k->type) {
	case KEY_SHADOW:
		if (gt_scale_candidate_parse(value, &candidate, err) < 0)
			return gt_err_wrap(err, "%s", k->name);
		/* fall through */
	case KEY_TEXT:
		if (!gt_strcopy(at, k->max, value))
			return gt_err_set(err, EINVAL, "bad_config",
					  "%s: longer than %zu characters", k->name,
					  (size_t)k->max - 1);
		return 0;
	case KEY_BOOL:
		if (parse_bool(value, (bool *)at) < 0)
			return gt_err_set(err, EINVAL, "bad_config",
					  "%s: \"%s\" is neither yes nor no", k->name, value);
		return 0;
	case KEY_LEVEL:
		if (gt_log_level_parse(value, (enum gt_level *)at) < 0)
			return gt_err_set(err, EINVAL, "bad_config",
					  "%s: \"%s\" is none of debug, info, warn, error", k->name,
					  value);
		return 0;
	case KEY_EXTRACT:
		while (n < k->max && !gt_streq(extract_words[n], value))
			n++;
		if (n == k->max)
			return gt_err_set(err, EINVAL, "bad_config",
					  "%s: \"%s\" is none of no, yes, always", k->name, value);
		break;
	case KEY_DURATION:
		if (gt_parse_duration_ms(value, &n) < 0 || n > k->max)
			return gt_err_set(err, EINVAL, "bad_config",
					  "%s: \"%s\" is no duration like 500ms, 30s or 10m",
					  k->name, value);
		break;
	case KEY_BYTES_OR_DEFAULT:
		if (gt_streq(value, default_word)) {
			n = UINT64_MAX;
			break;
		}
		/* fall through */
	case KEY_BYTES:
		if (gt_parse_bytes(value, &n) < 0 || n > k->max)
			return gt_err_set(err, EINVAL, "bad_config",
					  "%s: \"%s\" is no size like 64GiB, or 0", k->name, value);
		break;
	case KEY_NUMBER:
		if (gt_parse_u64(value, k->max, &n) < 0)
			return gt_err_set(err, EINVAL, "bad_config",
					  "%s: \"%s\" is no number from 0 to %llu", k->name, value,
					  (unsigned long long)k->max);
		break;
	}
	*(uint64_t *)(void *)at = n;
	return 0;
}

static char *trim(char *s)
{
	while (isspace((unsigned char)*s))
		s++;
	size_t n = strlen(s);
	while (n > 0 && isspace((unsigned char)s[n - 1]))
		s[--n] = '\0';
	return s;
}

/* The one that a section names, which may come in pieces. */
static int provider_get(struct gt_config *c, const char *name, struct gt_provider **ret,
			struct gt_err *err)
{
	size_t i = 0;

	while (i < c->n_providers && !gt_streq(c->providers[i].name, name))
		i++;
	if (i == GT_PROVIDERS_MAX)
		return gt_err_set(err, EINVAL, "bad_config", "at most %d providers",
				  GT_PROVIDERS_MAX);
	*ret = &c->providers[i];
	if (i < c->n_providers)
		return 0;
	if (!gt_name_ok(name) || !gt_strcopy((*ret)->name, sizeof((*ret)->name), name))
		return gt_err_set(err, EINVAL, "bad_config",
				  "\"%s\" is no name of a provider: up to %d lower-case letters, "
				  "digits and '-'",
				  name, GT_PROVIDER_NAME_MAX);
	gt_provider_defaults(*ret);
	c->n_providers++;
	return 0;
}

static int read_key(struct gt_config *c, const char *section, const char *name, const char *value,
		    struct gt_err *err)
{
	struct gt_provider *provider = NULL;
	const struct key *all = keys, *k;
	size_t n = GT_LEN(keys);

	if (gt_starts_with(section, PROVIDER " ")) {
		if (provider_get(c, section + strlen(PROVIDER " "), &provider, err) < 0)
			return -err->code;
		section = PROVIDER;
		all = provider_keys;
		n = GT_LEN(provider_keys);
	}
	k = find_key(all, n, section, name);
	if (!k)
		return unknown_key(all, n, section, name, err);
	return set_key(provider ? (void *)provider : (void *)c, k, value, err);
}

/* One line of the file; `section` remembers the last [section]. */
static int read_line(struct gt_config *c, char *line, char section[SECTION_SIZE],
		     struct gt_err *err)
{
	char *s = trim(line);

	if (*s == '\0' || *s == '#' || *s == ';')
		return 0;
	if (*s == '[') {
		char *end = strchr(s, ']');
		if (!end || end[1] != '\0')
			return gt_err_set(err, EINVAL, "bad_config", "\"%s\" is no [section]", s);
		*end = '\0';
		if (!gt_strcopy(section, SECTION_SIZE, trim(s + 1)))
			return gt_err_set(err, EINVAL, "bad_config", "there is no such section");
		return 0;
	}
	char *eq = strchr(s, '=');
	if (!eq)
		return gt_err_set(err, EINVAL, "bad_config", "\"%s\" is no key = value", s);
	*eq = '\0';
	char *name = trim(s), *value = trim(eq + 1);
	return read_key(c, section, name, value, err);
}

int gt_config_read(struct gt_config *c, const char *file, struct gt_err *err)
{
	gt_auto(file) FILE *f = fopen(file, "re");
	struct gt_config next = *c;
	char section[SECTION_SIZE] = "", line[2048];

	if (!f)
		return gt_err_errno(err, errno, "%s", file);
	gt_strcopy(next.file, sizeof(next.file), file);
	for (int n = 1; fgets(line, sizeof(line), f); n++) {
		if (!strchr(line, '\n') && !feof(f))
			return gt_err_set(err, EINVAL, "bad_config", "%s:%d: the line is too long",
					  file, n);
		if (read_line(&next, line, section, err) < 0)
			return gt_err_wrap(err, "%s:%d", file, n);
	}
	if (ferror(f))
		return gt_err_errno(err, errno, "read %s", file);
	*c = next;
	return 0;
}

/* One key as a line; base: what its offset is in. */
static int pack_key(const void *base, const struct key *k, struct gt_buf *out, struct gt_err *err)
{
	static const char *const levels[] = { "debug", "info", "warn", "error" };
	const char *at = (const char *)base + k->offset;
	char value[GT_CONFIG_TEXT];

	if (k->type == KEY_TEXT || k->type == KEY_SHADOW)
		gt_strcopy(value, sizeof(value), at);
	else if (k->type == KEY_BOOL)
		gt_strcopy(value, sizeof(value), *(const bool *)at ? "yes" : "no");
	else if (k->type == KEY_LEVEL)
		gt_strcopy(value, sizeof(value), levels[*(const enum gt_level *)(const void *)at]);
	else if (k->type == KEY_BYTES_OR_DEFAULT &&
		 *(const uint64_t *)(const void *)at == UINT64_MAX)
		gt_strcopy(value, sizeof(value), default_word);
	else if (k->type == KEY_EXTRACT)
		gt_strcopy(value, sizeof(value),
			   extract_words[*(const uint64_t *)(const void *)at]);
	else
		snprintf(value, sizeof(value), "%llu%s",
			 *(const unsigned long long *)(const void *)at,
			 k->type == KEY_DURATION ? "ms" : "");
	if (strchr(value, '\n'))
		return gt_err_set(err, EINVAL, "bad_config", "%s: contains a line break", k->name);
	gt_buf_addf(out, "%s=%s\n", k->name, value);
	return 0;
}

int gt_config_pack(const struct gt_config *c, char *out, size_t size, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf text = { .max = size - 1 };

	for (size_t i = 0; i < GT_LEN(keys); i++) {
		gt_buf_addf(&text, "[%s]\n", keys[i].section);
		if (pack_key(c, &keys[i], &text, err) < 0)
			return -err->code;
	}
	for (size_t i = 0; i < c->n_providers; i++) {
		gt_buf_addf(&text, "[%s %s]\n", PROVIDER, c->providers[i].name);
		for (size_t k = 0; k < GT_LEN(provider_keys); k++)
			if (pack_key(&c->providers[i], &provider_keys[k], &text, err) < 0)
				return -err->code;
	}
	if (text.failed)
		return gt_err_set(err, E2BIG, "bad_config", "the configuration is too long");
	gt_strcopy(out, size, gt_buf_str(&text));
	return 0;
}

int gt_config_unpack(struct gt_config *c, const char *text, struct gt_err *err)
{
	char section[SECTION_SIZE] = "", line[2048];

	while (*text) {
		size_t n = strcspn(text, "\n");
		if (n >= sizeof(line))
			return gt_err_set(err, EINVAL, "bad_config", "a line is too long");
		memcpy(line, text, n);
		line[n] = '\0';
		if (read_line(c, line, section, err) < 0)
			return -err->code;
		text += n + (text[n] == '\n');
	}
	return 0;
}
