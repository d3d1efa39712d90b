/* oci_config.c - a bundle's config.json as tables. The members of groups (process, linux) lie in
 * one struct, so their rows count from its start. */
#include <gantry/wire/oci_runtime.h>

#include <stdio.h>
#include <string.h>

#include <gantry/model/limits.h>

#include "doc.h"
#include "fields.h"

#define ROWS(array) .rows = (array), .n = GT_LEN(array), .open = true
#define AT(member)  .offset = offsetof(struct gt_oci_config, member)
#define STRS(member)                                                                       \
	GT_F_STRS, AT(member.v), .count_offset = offsetof(struct gt_oci_config, member.n), \
				 .max = GT_OCI_LIST_MAX
#define LIST(member, count)                                                           \
	GT_F_LIST, AT(member), .count_offset = offsetof(struct gt_oci_config, count), \
			       .max = GT_OCI_LIST_MAX
#define TEXT      .max = GT_TEXT_MAX - 1
#define PERIOD_US 100000 /* the kernel's */

/* ---- members of their own kind ---- */

/* {"name": "value", ...} */
static int pairs_read(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		      void *base, struct gt_err *err)
{
	struct gt_oci_pair **list = (void *)((char *)base + f->offset);
	size_t *n = (void *)((char *)base + f->count_offset);
	const char *name;
	json_t *value;

	if (!json_is_object(js))
		return gt_field_refuse_type(at, js, "an object", err);
	if (json_object_size(js) > GT_OCI_LIST_MAX)
		return gt_refuse_at(err, at, "%zu members are too many", json_object_size(js));
	*list = gt_alloc_array(json_object_size(js) + 1, sizeof(**list));
	json_object_foreach((json_t *)js, name, value)
	{
		struct gt_at here = { .up = at, .name = name };
		const char *text = NULL;
		int r = gt_field_text(value, &here, GT_ENV_VALUE_MAX, &text, err);

		if (r < 0)
			return r;
		(*list)[*n].name = gt_strdup(name);
		(*list)[(*n)++].value = gt_strdup(text);
	}
	return 0;
}
static const struct gt_field_hooks pairs_hooks = { .read = pairs_read };

static int groups_read(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		       void *base, struct gt_err *err)
{
	struct gt_oci_config *c = base;

	(void)f;
	if (!json_is_array(js))
		return gt_field_refuse_type(at, js, "an array of whole numbers", err);
	if (json_array_size(js) > GT_OCI_GROUPS_MAX)
		return gt_refuse_at(err, at, "%zu groups are too many", json_array_size(js));
	for (size_t i = 0; i < json_array_size(js); i++) {
		struct gt_at elem = { .up = at, .index = i };
		int64_t gid = 0;
		int r = gt_field_whole(json_array_get(js, i), &elem, 0, UINT32_MAX - 1, &gid, err);

		if (r < 0)
			return r;
		c->process.groups[c->process.n_groups++] = (uint32_t)gid;
	}
	return 0;
}
static const struct gt_field_hooks groups_hooks = { .read = groups_read };

/* Only that it is there. */
static int present_read(const struct gt_field *f, const json_t *js, const struct gt_at *at,
			void *base, struct gt_err *err)
{
	(void)at, (void)err;
	*(bool *)((char *)base + f->offset) = !json_is_null(js);
	return 0;
}
static const struct gt_field_hooks present_hooks = { .read = present_read };

static int unsupported_read(const struct gt_field *f, const json_t *js, const struct gt_at *at,
			    void *base, struct gt_err *err)
{
	struct gt_oci_config *c = base;
	bool empty = json_is_null(js) || json_is_false(js) ||
		     (json_is_array(js) && json_array_size(js) == 0) ||
		     (json_is_object(js) && json_object_size(js) == 0);

	(void)f, (void)err;
	if (!empty && !c->unsupported[0])
		snprintf(c->unsupported, sizeof(c->unsupported), "%s%s%s",
			 at->up && at->up->name ? at->up->name : "", at->up ? "." : "", at->name);
	return 0;
}
static const struct gt_field_hooks unsupported_hooks = { .read = unsupported_read };
#define UNSUPPORTED(name)                                      \
	{                                                      \
		name, GT_F_CUSTOM, .hooks = &unsupported_hooks \
	}

/* A group that is in the document at all; its members follow. */
#define GROUP(name, flag, fields)                                                                  \
	static int name##_read(const struct gt_field *f, const json_t *js, const struct gt_at *at, \
			       void *base, struct gt_err *err)                                     \
	{                                                                                          \
		(void)f;                                                                           \
		((struct gt_oci_config *)base)->flag = true;                                       \
		return gt_fields_read(&(fields), js, at, base, err);                               \
	}                                                                                          \
	static const struct gt_field_hooks name##_hooks = { .read = name##_read }

/* ---- process ---- */

static const struct gt_field user_rows[] = {
	{ "uid", GT_F_U32, AT(process.uid), .max = UINT32_MAX - 1 },
	{ "gid", GT_F_U32, AT(process.gid), .max = UINT32_MAX - 1 },
	{ "umask", GT_F_U32, AT(process.umask), .max = 0777 },
	{ "additionalGids", GT_F_CUSTOM, .hooks = &groups_hooks },
};
static const struct gt_fields user_fields = { ROWS(user_rows) };

static const struct gt_field caps_rows[] = {
	{ "bounding", STRS(process.caps[GT_OCI_CAP_BOUNDING]), .elem_max = 64 },
	{ "effective", STRS(process.caps[GT_OCI_CAP_EFFECTIVE]), .elem_max = 64 },
	{ "permitted", STRS(process.caps[GT_OCI_CAP_PERMITTED]), .elem_max = 64 },
	{ "inheritable", STRS(process.caps[GT_OCI_CAP_INHERITABLE]), .elem_max = 64 },
	{ "ambient", STRS(process.caps[GT_OCI_CAP_AMBIENT]), .elem_max = 64 },
};
static const struct gt_fields caps_fields = { ROWS(caps_rows) };
GROUP(caps, has_caps, caps_fields);

static const struct gt_field rlimit_rows[] = {
	{ "type", GT_F_STR, GT_F_NEEDED, offsetof(struct gt_oci_rlimit, type), .min = 1,
	  .max = 64 },
	{ "soft", GT_F_U64, GT_F_NEEDED, offsetof(struct gt_oci_rlimit, soft), .max = INT64_MAX },
	{ "hard", GT_F_U64, GT_F_NEEDED, offsetof(struct gt_oci_rlimit, hard), .max = INT64_MAX },
};
static const struct gt_fields rlimit_fields = { ROWS(rlimit_rows),
						.size = sizeof(struct gt_oci_rlimit) };

static int oom_score_read(const struct gt_field *f, const json_t *js, const struct gt_at *at,
			  void *base, struct gt_err *err)
{
	struct gt_oci_config *c = base;
	int64_t n = 0;
	int r = gt_field_whole(js, at, -1000, 1000, &n, err);

	(void)f;
	if (r < 0)
		return r;
	c->process.oom_score_adj = (int)n;
	c->has_oom_score_adj = true;
	return 0;
}
static const struct gt_field_hooks oom_score_hooks = { .read = oom_score_read };

static const struct gt_field process_rows[] = {
	{ "args", STRS(process.args), .elem_max = 128 * 1024 },
	{ "env", STRS(process.env), .elem_max = 128 * 1024 },
	{ "cwd", GT_F_STR, GT_F_NEEDED, AT(process.cwd), .min = 1, TEXT },
	{ "user", GT_F_OBJECT, .sub = &user_fields },
	{ "capabilities", GT_F_CUSTOM, .hooks = &caps_hooks },
	{ "rlimits", GT_F_LIST, AT(process.rlimits),
	  .count_offset = offsetof(struct gt_oci_config, process.n_rlimits), .max = 32,
	  .sub = &rlimit_fields },
	{ "terminal", GT_F_BOOL, AT(process.terminal) },
	{ "noNewPrivileges", GT_F_BOOL, AT(process.no_new_privileges) },
	{ "oomScoreAdj", GT_F_CUSTOM, .hooks = &oom_score_hooks },
	{ "apparmorProfile", GT_F_STR, AT(process.apparmor), TEXT },
	{ "selinuxLabel", GT_F_STR, AT(process.selinux), TEXT },
	UNSUPPORTED("scheduler"),
	UNSUPPORTED("ioPriority"),
	UNSUPPORTED("execCPUAffinity"),
};
static const struct gt_fields process_fields = { ROWS(process_rows) };
GROUP(process, has_process, process_fields);

/* ---- root, mounts ---- */

static const struct gt_field root_rows[] = {
	{ "path", GT_F_STR, GT_F_NEEDED, AT(root.path), .min = 1, TEXT },
	{ "readonly", GT_F_BOOL, AT(root.readonly) },
};
static const struct gt_fields root_fields = { ROWS(root_rows) };
GROUP(root, has_root, root_fields);

static const struct gt_field mount_rows[] = {
	{ "destination", GT_F_STR, GT_F_NEEDED, offsetof(struct gt_oci_mount, destination),
	  .min = 1, TEXT },
	{ "type", GT_F_STR, .offset = offsetof(struct gt_oci_mount, type), TEXT },
	{ "source", GT_F_STR, .offset = offsetof(struct gt_oci_mount, source), TEXT },
	{ "options", GT_F_STRS, .offset = offsetof(struct gt_oci_mount, options.v),
	  .count_offset = offsetof(struct gt_oci_mount, options.n), .max = 64, .elem_max = 4096 },
	/* Their id mappings are taken from the user namespace, always. */
};
static const struct gt_fields mount_fields = { ROWS(mount_rows),
					       .size = sizeof(struct gt_oci_mount) };

/* ---- linux ---- */

static const struct gt_field namespace_rows[] = {
	{ "type", GT_F_STR, GT_F_NEEDED, offsetof(struct gt_oci_namespace, type), .min = 1,
	  .max = 32 },
	{ "path", GT_F_STR, .offset = offsetof(struct gt_oci_namespace, path), TEXT },
};
static const struct gt_fields namespace_fields = { ROWS(namespace_rows),
						   .size = sizeof(struct gt_oci_namespace) };

static const struct gt_field id_map_rows[] = {
	{ "containerID", GT_F_U32, GT_F_NEEDED, offsetof(struct gt_oci_id_map, container),
	  .max = UINT32_MAX },
	{ "hostID", GT_F_U32, GT_F_NEEDED, offsetof(struct gt_oci_id_map, host),
	  .max = UINT32_MAX },
	{ "size", GT_F_U32, GT_F_NEEDED, offsetof(struct gt_oci_id_map, size), .min = 1,
	  .max = UINT32_MAX },
};
static const struct gt_fields id_map_fields = { ROWS(id_map_rows),
						.size = sizeof(struct gt_oci_id_map) };

static const struct gt_field device_rule_rows[] = {
	{ "allow", GT_F_BOOL, GT_F_NEEDED, .offset = offsetof(struct gt_oci_device_rule, allow) },
	{ "access", GT_F_STR, .offset = offsetof(struct gt_oci_device_rule, access), .max = 8 },
	{ "major", GT_F_I64, .offset = offsetof(struct gt_oci_device_rule, major),
	  .max = INT64_MAX },
	{ "minor", GT_F_I64, .offset = offsetof(struct gt_oci_device_rule, minor),
	  .max = INT64_MAX },
};
static const struct gt_oci_device_rule device_rule_defaults = { .major = -1, .minor = -1 };
static const struct gt_fields device_rule_fields = { ROWS(device_rule_rows),
						     .size = sizeof(struct gt_oci_device_rule),
						     .defaults = &device_rule_defaults };

static const struct gt_field memory_rows[] = {
	{ "limit", GT_F_I64, AT(resources.memory_bytes), .max = INT64_MAX },
	UNSUPPORTED("swap"),
	UNSUPPORTED("reservation"),
	UNSUPPORTED("kernel"),
	UNSUPPORTED("kernelTCP"),
	UNSUPPORTED("swappiness"),
	UNSUPPORTED("disableOOMKiller"),
};
static const struct gt_fields memory_fields = { ROWS(memory_rows) };

static const struct gt_field cpu_rows[] = {
	{ "quota", GT_F_I64, AT(resources.cpu_quota_us), .max = INT64_MAX },
	{ "period", GT_F_U64, AT(resources.cpu_period_us), .min = 1000, .max = 1000000 },
	UNSUPPORTED("shares"),
	UNSUPPORTED("realtimeRuntime"),
	UNSUPPORTED("realtimePeriod"),
	UNSUPPORTED("cpus"),
	UNSUPPORTED("mems"),
	UNSUPPORTED("burst"),
	UNSUPPORTED("idle"),
};
static const struct gt_fields cpu_fields = { ROWS(cpu_rows) };

static const struct gt_field pids_rows[] = {
	{ "limit", GT_F_I64, AT(resources.pids), .max = INT64_MAX },
};
static const struct gt_fields pids_fields = { ROWS(pids_rows) };

static const struct gt_field resources_rows[] = {
	{ "memory", GT_F_OBJECT, .sub = &memory_fields },
	{ "cpu", GT_F_OBJECT, .sub = &cpu_fields },
	{ "pids", GT_F_OBJECT, .sub = &pids_fields },
	{ "devices", GT_F_LIST, AT(resources.devices),
	  .count_offset = offsetof(struct gt_oci_config, resources.n_devices),
	  .max = GT_OCI_LIST_MAX, .sub = &device_rule_fields },
	UNSUPPORTED("blockIO"),
	UNSUPPORTED("hugepageLimits"),
	UNSUPPORTED("network"),
	UNSUPPORTED("rdma"),
	UNSUPPORTED("unified"),
};
static const struct gt_fields resources_fields = { ROWS(resources_rows) };

static const struct gt_field linux_rows[] = {
	{ "namespaces", LIST(linux_.namespaces, linux_.n_namespaces), .sub = &namespace_fields },
	{ "uidMappings", LIST(linux_.uid_maps, linux_.n_uid_maps), .sub = &id_map_fields },
	{ "gidMappings", LIST(linux_.gid_maps, linux_.n_gid_maps), .sub = &id_map_fields },
	{ "maskedPaths", STRS(linux_.masked), .elem_max = GT_TEXT_MAX - 1 },
	{ "readonlyPaths", STRS(linux_.readonly), .elem_max = GT_TEXT_MAX - 1 },
	{ "sysctl", GT_F_CUSTOM, AT(linux_.sysctl),
	  .count_offset = offsetof(struct gt_oci_config, linux_.n_sysctl), .hooks = &pairs_hooks },
	{ "rootfsPropagation", GT_F_STR, AT(linux_.propagation), TEXT },
	{ "mountLabel", GT_F_STR, AT(linux_.mount_label), TEXT },
	{ "cgroupsPath", GT_F_STR, AT(linux_.cgroups_path), TEXT },
	{ "seccomp", GT_F_CUSTOM, AT(has_seccomp), .hooks = &present_hooks },
	{ "resources", GT_F_OBJECT, .sub = &resources_fields },
	UNSUPPORTED("devices"),
	UNSUPPORTED("netDevices"),
	UNSUPPORTED("intelRdt"),
	UNSUPPORTED("personality"),
	UNSUPPORTED("memoryPolicy"),
	UNSUPPORTED("timeOffsets"),
};
static const struct gt_fields linux_fields = { ROWS(linux_rows) };

/* ---- hooks ---- */

static const struct gt_field hook_rows[] = {
	{ "path", GT_F_STR, GT_F_NEEDED, offsetof(struct gt_oci_hook, path), .min = 1, TEXT },
	{ "args", GT_F_STRS, .offset = offsetof(struct gt_oci_hook, args.v),
	  .count_offset = offsetof(struct gt_oci_hook, args.n), .max = GT_OCI_LIST_MAX,
	  .elem_max = 128 * 1024 },
	{ "env", GT_F_STRS, .offset = offsetof(struct gt_oci_hook, env.v),
	  .count_offset = offsetof(struct gt_oci_hook, env.n), .max = GT_OCI_LIST_MAX,
	  .elem_max = 128 * 1024 },
	{ "timeout", GT_F_U32, .offset = offsetof(struct gt_oci_hook, timeout_s), .min = 1,
	  .max = 86400 },
};
static const struct gt_fields hook_fields = { ROWS(hook_rows), .size = sizeof(struct gt_oci_hook) };

#define HOOKS(name, point)                                                                         \
	{                                                                                          \
		name, GT_F_LIST, AT(hooks[point].v),                                               \
			.count_offset = offsetof(struct gt_oci_config, hooks[point].n), .max = 64, \
			.sub = &hook_fields                                                        \
	}
static const struct gt_field hooks_rows[] = {
	HOOKS("prestart", GT_OCI_PRESTART),
	HOOKS("createRuntime", GT_OCI_CREATE_RUNTIME),
	HOOKS("createContainer", GT_OCI_CREATE_CONTAINER),
	HOOKS("startContainer", GT_OCI_START_CONTAINER),
	HOOKS("poststart", GT_OCI_POSTSTART),
	HOOKS("poststop", GT_OCI_POSTSTOP),
};
static const struct gt_fields hooks_fields = { ROWS(hooks_rows) };

static const struct gt_field config_rows[] = {
	{ "ociVersion", GT_F_STR, GT_F_NEEDED, AT(version), .min = 1, .max = 64 },
	{ "process", GT_F_CUSTOM, .hooks = &process_hooks },
	{ "root", GT_F_CUSTOM, .hooks = &root_hooks },
	{ "hostname", GT_F_STR, AT(hostname), .max = 64 },
	{ "domainname", GT_F_STR, AT(domainname), .max = 64 },
	{ "mounts", LIST(mounts, n_mounts), .sub = &mount_fields },
	{ "linux", GT_F_OBJECT, .sub = &linux_fields },
	{ "hooks", GT_F_OBJECT, .sub = &hooks_fields },
	{ "annotations", GT_F_CUSTOM, AT(annotations),
	  .count_offset = offsetof(struct gt_oci_config, n_annotations), .hooks = &pairs_hooks },
	UNSUPPORTED("vm"),
	UNSUPPORTED("windows"),
	UNSUPPORTED("solaris"),
	UNSUPPORTED("zos"),
};
static const struct gt_fields config_fields = { ROWS(config_rows) };

int gt_oci_config_read(const char *text, size_t len, struct gt_oci_config **ret, struct gt_err *err)
{
	gt_auto(doc) json_t *js = NULL;
	gt_auto(oci_config) struct gt_oci_config *c = NULL;
	int r = gt_doc_parse(text, len, GT_OCI_CONFIG_MAX, &js, err);

	if (r < 0)
		return r;
	c = gt_alloc(sizeof(*c));
	c->process.umask = 022;
	c->resources.cpu_period_us = PERIOD_US;
	r = gt_fields_read(&config_fields, js, NULL, c, err);
	if (r < 0)
		return r;
	*ret = gt_steal(&c);
	return 0;
}

/* ---- release ---- */

static void free_strs(struct gt_oci_strs *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->v[i]);
	free(s->v);
}

static void free_pairs(struct gt_oci_pair *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].name);
		free(list[i].value);
	}
	free(list);
}

static void free_hooks(struct gt_oci_hook_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->v[i].path);
		free_strs(&list->v[i].args);
		free_strs(&list->v[i].env);
	}
	free(list->v);
}

static void free_process(struct gt_oci_config *c)
{
	free_strs(&c->process.args);
	free_strs(&c->process.env);
	free(c->process.cwd);
	for (size_t i = 0; i < GT_OCI_CAP_SET_N; i++)
		free_strs(&c->process.caps[i]);
	for (size_t i = 0; i < c->process.n_rlimits; i++)
		free(c->process.rlimits[i].type);
	free(c->process.rlimits);
	free(c->process.apparmor);
	free(c->process.selinux);
}

static void free_linux(struct gt_oci_config *c)
{
	for (size_t i = 0; i < c->linux_.n_namespaces; i++) {
		free(c->linux_.namespaces[i].type);
		free(c->linux_.namespaces[i].path);
	}
	free(c->linux_.namespaces);
	free(c->linux_.uid_maps);
	free(c->linux_.gid_maps);
	free_strs(&c->linux_.masked);
	free_strs(&c->linux_.readonly);
	free_pairs(c->linux_.sysctl, c->linux_.n_sysctl);
	free(c->linux_.propagation);
	free(c->linux_.mount_label);
	free(c->linux_.cgroups_path);
	for (size_t i = 0; i < c->resources.n_devices; i++)
		free(c->resources.devices[i].access);
	free(c->resources.devices);
}

void gt_oci_config_free(struct gt_oci_config *c)
{
	if (!c)
		return;
	free(c->version);
	free_process(c);
	free(c->root.path);
	free(c->hostname);
	free(c->domainname);
	for (size_t i = 0; i < c->n_mounts; i++) {
		free(c->mounts[i].destination);
		free(c->mounts[i].type);
		free(c->mounts[i].source);
		free_strs(&c->mounts[i].options);
	}
	free(c->mounts);
	free_linux(c);
	for (size_t i = 0; i < GT_OCI_HOOK_POINT_N; i++)
		free_hooks(&c->hooks[i]);
	free_pairs(c->annotations, c->n_annotations);
	free(c);
}
