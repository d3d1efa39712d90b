/* cdi.c - documents of the Container Device Interface as tables, and what their hooks mean. */
#include <gantry/wire/cdi.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/model/device.h>

#include "doc.h"
#include "fields.h"
#include "foreign.h"
#include "yaml.h"

#define ROWS(array, type) .rows = (array), .n = GT_LEN(array), .size = sizeof(type)
#define PATH              .max = GT_INJECT_PATH_MAX
#define NAME              .max = 128
#define VALUE_MAX         4096
#define MAJOR_MAX         4095
#define MINOR_MAX         1048575

/* ---- members that need nothing done ---- */

static int ignored_read(const struct gt_field *f, const json_t *js, const struct gt_at *at,
			void *base, struct gt_err *err)
{
	(void)f, (void)js, (void)at, (void)base, (void)err;
	return 0;
}
static const struct gt_field_hooks ignored = { .read = ignored_read };
#define IGNORED(name)                                \
	{                                            \
		name, GT_F_CUSTOM, .hooks = &ignored \
	}

/* ---- the tables ---- */

#define OF(type, member) .offset = offsetof(struct type, member)
#define STRS(type, member)                                                              \
	GT_F_STRS, OF(type, member.v), .count_offset = offsetof(struct type, member.n), \
				       .max = GT_CDI_LIST_MAX, .elem_max = VALUE_MAX
#define LIST(type, member, count)                                                  \
	GT_F_LIST, OF(type, member), .count_offset = offsetof(struct type, count), \
				     .max = GT_CDI_LIST_MAX

/* Owners and modes: in the container a node is its root's and open to all its users. */
static const struct gt_field node_rows[] = {
	{ "path", GT_F_STR, GT_F_NEEDED, OF(gt_cdi_node, path), PATH },
	{ "hostPath", GT_F_STR, OF(gt_cdi_node, host_path), PATH },
	{ "type", GT_F_STR, OF(gt_cdi_node, type), NAME },
	{ "major", GT_F_U32, OF(gt_cdi_node, major), .max = MAJOR_MAX },
	{ "minor", GT_F_U32, OF(gt_cdi_node, minor), .max = MINOR_MAX },
	{ "permissions", GT_F_STR, OF(gt_cdi_node, permissions), NAME },
	IGNORED("fileMode"),
	IGNORED("uid"),
	IGNORED("gid"),
};
static const struct gt_fields node_fields = { ROWS(node_rows, struct gt_cdi_node) };

static const struct gt_field mount_rows[] = {
	{ "hostPath", GT_F_STR, GT_F_NEEDED, OF(gt_cdi_mount, host_path), PATH },
	{ "containerPath", GT_F_STR, GT_F_NEEDED, OF(gt_cdi_mount, path), PATH },
	{ "type", GT_F_STR, OF(gt_cdi_mount, type), NAME },
	{ "options", STRS(gt_cdi_mount, options) },
};
static const struct gt_fields mount_fields = { ROWS(mount_rows, struct gt_cdi_mount) };

static const struct gt_field hook_rows[] = {
	{ "hookName", GT_F_STR, GT_F_NEEDED, OF(gt_cdi_hook, name), NAME },
	{ "path", GT_F_STR, GT_F_NEEDED, OF(gt_cdi_hook, path), PATH },
	{ "args", STRS(gt_cdi_hook, args) },
	IGNORED("env"), /* none is run */
	IGNORED("timeout"),
};
static const struct gt_fields hook_fields = { ROWS(hook_rows, struct gt_cdi_hook) };

static const struct gt_field edits_rows[] = {
	{ "env", STRS(gt_cdi_edits, env) },
	{ "deviceNodes", LIST(gt_cdi_edits, nodes, n_nodes), .sub = &node_fields },
	{ "mounts", LIST(gt_cdi_edits, mounts, n_mounts), .sub = &mount_fields },
	{ "hooks", LIST(gt_cdi_edits, hooks, n_hooks), .sub = &hook_fields },
	IGNORED("additionalGids"), /* nodes are open to each user of the container */
	{ .name = "intelRdt", .type = GT_F_LATER },
	{ .name = "netDevices", .type = GT_F_LATER },
};
static const struct gt_fields edits_fields = { ROWS(edits_rows, struct gt_cdi_edits) };

static const struct gt_field device_rows[] = {
	{ "name", GT_F_STR, GT_F_NEEDED, OF(gt_cdi_device, name), NAME },
	{ "containerEdits", GT_F_OBJECT, OF(gt_cdi_device, edits), .sub = &edits_fields },
	IGNORED("annotations"),
};
static const struct gt_fields device_fields = { ROWS(device_rows, struct gt_cdi_device) };

static const struct gt_field cdi_rows[] = {
	{ "cdiVersion", GT_F_STR, GT_F_NEEDED, OF(gt_cdi, version), NAME },
	{ "kind", GT_F_STR, GT_F_NEEDED, OF(gt_cdi, kind), PATH },
	{ "devices", GT_F_LIST, GT_F_NEEDED, OF(gt_cdi, devices),
	  .count_offset = offsetof(struct gt_cdi, n_devices), .max = GT_CDI_DEVICES_MAX,
	  .sub = &device_fields },
	{ "containerEdits", GT_F_OBJECT, OF(gt_cdi, edits), .sub = &edits_fields },
	IGNORED("annotations"),
};
static const struct gt_fields cdi_fields = { ROWS(cdi_rows, struct gt_cdi) };

/* ---- releasing ---- */

static void strs_fini(struct gt_cdi_strs *s)
{
	while (s->n > 0)
		free(s->v[--s->n]);
	free(s->v);
}

static void edits_fini(struct gt_cdi_edits *e)
{
	strs_fini(&e->env);
	for (size_t i = 0; i < e->n_nodes; i++) {
		free(e->nodes[i].path);
		free(e->nodes[i].host_path);
		free(e->nodes[i].type);
		free(e->nodes[i].permissions);
	}
	for (size_t i = 0; i < e->n_mounts; i++) {
		free(e->mounts[i].host_path);
		free(e->mounts[i].path);
		free(e->mounts[i].type);
		strs_fini(&e->mounts[i].options);
	}
	for (size_t i = 0; i < e->n_hooks; i++) {
		free(e->hooks[i].name);
		free(e->hooks[i].path);
		strs_fini(&e->hooks[i].args);
	}
	for (size_t i = 0; i < e->n_links; i++) {
		free(e->links[i].path);
		free(e->links[i].to);
	}
	strs_fini(&e->library_dirs);
	free(e->nodes);
	free(e->mounts);
	free(e->hooks);
	free(e->links);
}

void gt_cdi_free(struct gt_cdi *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_devices; i++) {
		free(c->devices[i].name);
		edits_fini(&c->devices[i].edits);
	}
	free(c->devices);
	edits_fini(&c->edits);
	free(c->version);
	free(c->kind);
	free(c);
}

const struct gt_cdi_device *gt_cdi_find(const struct gt_cdi *c, const char *device)
{
	for (size_t i = 0; i < c->n_devices; i++) {
		if (gt_streq(c->devices[i].name, device))
			return &c->devices[i];
	}
	return NULL;
}

/* ---- hooks ---- */

static void strs_add(struct gt_cdi_strs *s, const char *text)
{
	s->v = gt_grow(s->v, s->n + 1, sizeof(*s->v));
	s->v[s->n++] = gt_strdup(text);
}

/* "target::path" */
static int link_read(struct gt_cdi_edits *e, const char *text, const struct gt_at *at,
		     struct gt_err *err)
{
	const char *parts = strstr(text, "::");

	if (!parts || parts == text || parts[2] != '/')
		return gt_refuse_at(err, at, "\"%.100s\" is no TARGET::PATH of a link", text);
	e->links = gt_grow(e->links, e->n_links + 1, sizeof(*e->links));
	e->links[e->n_links++] = (struct gt_cdi_link){ gt_strdup(parts + 2),
						       gt_strndup(text, (size_t)(parts - text)) };
	return 0;
}

static int folder_read(struct gt_cdi_edits *e, const char *text, const struct gt_at *at,
		       struct gt_err *err)
{
	if (*text != '/')
		return gt_refuse_at(err, at, "\"%.100s\" is no absolute path", text);
	strs_add(&e->library_dirs, text);
	return 0;
}

static int view_read(struct gt_cdi_edits *e, const char *text, const struct gt_at *at,
		     struct gt_err *err)
{
	(void)text, (void)at, (void)err;
	e->driver_view = true;
	return 0;
}

static const struct hook_kind {
	const char *name, *option; /* whose values are read; NULL: once, without one */
	int (*read)(struct gt_cdi_edits *e, const char *text, const struct gt_at *at,
		    struct gt_err *err); /* NULL: it asks for what is so already */
} hook_kinds[] = {
	{ "create-symlinks", "link", link_read },
	{ "update-ldcache", "folder", folder_read },
	{ "disable-device-node-modification", NULL, view_read },
	{ "chmod", NULL, NULL },              /* nodes are open to each user of the container */
	{ "enable-cuda-compat", NULL, NULL }, /* the driver's own libraries are found first */
};

/* The sub-command of "nvidia-cdi-hook NAME ..." and "nvidia-ctk hook NAME ..."; *at: behind it. */
static const struct hook_kind *hook_kind(const struct gt_cdi_hook *h, size_t *at)
{
	const char *program = strrchr(h->path, '/');
	size_t i = 1;

	program = program ? program + 1 : h->path;
	if (!gt_streq(program, "nvidia-cdi-hook") && !gt_streq(program, "nvidia-ctk"))
		return NULL;
	if (i < h->args.n && gt_streq(h->args.v[i], "hook"))
		i++;
	*at = i + 1;
	for (size_t k = 0; i < h->args.n && k < GT_LEN(hook_kinds); k++) {
		if (gt_streq(hook_kinds[k].name, h->args.v[i]))
			return &hook_kinds[k];
	}
	return NULL;
}

/* "--folder X" and "--folder=X" */
static int hook_values(const struct hook_kind *k, const struct gt_cdi_hook *h, size_t i,
		       struct gt_cdi_edits *e, const struct gt_at *at, struct gt_err *err)
{
	size_t len = strlen(k->option);
	int r = 0;

	for (; r == 0 && i < h->args.n; i++) {
		const char *arg = h->args.v[i];
		struct gt_at args = { .up = at, .name = "args" };
		struct gt_at here = { .up = &args, .index = i };

		if (!gt_starts_with(arg, "--") || strncmp(arg + 2, k->option, len) != 0)
			continue;
		if (arg[2 + len] == '=')
			r = k->read(e, arg + 3 + len, &here, err);
		here.index += arg[2 + len] == '\0';
		if (arg[2 + len] == '\0' && i + 1 < h->args.n)
			r = k->read(e, h->args.v[++i], &here, err);
	}
	return r;
}

static int hooks_mean(struct gt_cdi_edits *e, const struct gt_at *up, struct gt_err *err)
{
	struct gt_at list = { .up = up, .name = "hooks" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < e->n_hooks; i++) {
		struct gt_at at = { .up = &list, .index = i };
		size_t behind = 0;
		const struct hook_kind *k = hook_kind(&e->hooks[i], &behind);

		if (!k)
			return gt_refuse_at(err, &at,
					    "%.100s %.40s: no hook is run here; known, and done "
					    "without them, are NVIDIA's create-symlinks, "
					    "update-ldcache, chmod, enable-cuda-compat and "
					    "disable-device-node-modification",
					    e->hooks[i].path,
					    e->hooks[i].args.n > 1 ? e->hooks[i].args.v[1] : "");
		if (k->option)
			r = hook_values(k, &e->hooks[i], behind, e, &at, err);
		else if (k->read)
			r = k->read(e, NULL, &at, err);
	}
	return r;
}

/* ---- the whole ---- */

static int check_env(const struct gt_cdi_edits *e, const struct gt_at *up, struct gt_err *err)
{
	struct gt_at list = { .up = up, .name = "env" };

	for (size_t i = 0; i < e->env.n; i++) {
		struct gt_at at = { .up = &list, .index = i };

		if (e->env.v[i][0] == '=' || !strchr(e->env.v[i], '='))
			return gt_refuse_at(err, &at, "\"%.60s\" is no NAME=value", e->env.v[i]);
	}
	return 0;
}

static int check_node(const struct gt_cdi_node *n, const struct gt_at *at, struct gt_err *err)
{
	if (n->type && !gt_streq(n->type, "c") && !gt_streq(n->type, "u") &&
	    !gt_streq(n->type, "b"))
		return gt_refuse_at(err, at, "type: \"%.20s\" is none of c, u, b", n->type);
	if (n->permissions && n->permissions[strspn(n->permissions, "rwm")])
		return gt_refuse_at(err, at, "permissions: \"%.20s\" has others than r, w, m",
				    n->permissions);
	return 0;
}

static int check_nodes(const struct gt_cdi_edits *e, const struct gt_at *up, struct gt_err *err)
{
	struct gt_at list = { .up = up, .name = "deviceNodes" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < e->n_nodes; i++) {
		struct gt_at at = { .up = &list, .index = i };

		r = check_node(&e->nodes[i], &at, err);
	}
	return r;
}

static int check_edits(struct gt_cdi_edits *e, const struct gt_at *up, struct gt_err *err)
{
	struct gt_at at = { .up = up, .name = "containerEdits" };
	int r = check_env(e, &at, err);

	if (r == 0)
		r = check_nodes(e, &at, err);
	return r < 0 ? r : hooks_mean(e, &at, err);
}

static int check_devices(struct gt_cdi *c, struct gt_err *err)
{
	struct gt_at list = { .name = "devices" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n_devices; i++) {
		struct gt_at at = { .up = &list, .index = i };

		if (!gt_device_part_ok(c->devices[i].name))
			return gt_refuse_at(err, &at, "\"%.60s\" is no name of a device",
					    c->devices[i].name);
		for (size_t k = 0; k < i; k++) {
			if (gt_streq(c->devices[k].name, c->devices[i].name))
				return gt_refuse_at(err, &at, "\"%.60s\" is given twice",
						    c->devices[i].name);
		}
		r = check_edits(&c->devices[i].edits, &at, err);
	}
	return r;
}

static int check(struct gt_cdi *c, struct gt_err *err)
{
	int r;

	if (!gt_starts_with(c->version, "0.") && !gt_starts_with(c->version, "1."))
		return gt_refuse(err, "cdiVersion", "\"%.20s\" is not known; 0.3.0 to 1.1.0 are",
				 c->version);
	if (!gt_device_kind_ok(c->kind))
		return gt_refuse(err, "kind", "\"%.60s\" is no vendor.com/class", c->kind);
	r = check_edits(&c->edits, NULL, err);
	return r < 0 ? r : check_devices(c, err);
}

static int read_document(const char *text, size_t len, enum gt_cdi_syntax syntax,
			 struct gt_cdi **ret, struct gt_err *err)
{
	gt_auto(cdi) struct gt_cdi *c = gt_alloc(sizeof(*c));
	gt_auto(doc) json_t *js = NULL;
	int r = syntax == GT_CDI_YAML ? gt_yaml_parse(text, len, GT_CDI_TEXT_MAX, &js, err)
				      : gt_foreign_parse(text, len, GT_CDI_TEXT_MAX, &js, err);

	if (r == 0)
		r = gt_fields_read(&cdi_fields, js, NULL, c, err);
	if (r == 0)
		r = check(c, err);
	if (r == 0)
		*ret = gt_steal(&c);
	return r;
}

int gt_cdi_read(const char *text, size_t len, enum gt_cdi_syntax syntax, struct gt_cdi **ret,
		struct gt_err *err)
{
	int r = read_document(text, len, syntax, ret, err);

	/* It is an operator's document: its mistakes are not the specification's. */
	if (r < 0 && err)
		gt_strcopy(err->slug, sizeof(err->slug), "device_unavailable");
	return r;
}
