/* map.c - from a bundle's configuration to what the engine is asked for. Three kinds of answers:
 * done; refused, where less isolation or another program would be the result; and a warning, where
 * the engine is stricter than was asked (docs/conformance.md lists them). */
#include "map.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/runtime/runtime.h>

int oci_refuse(struct gt_err *err, const char *path, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	gt_err_set(err, ENOTSUP, "not_supported", "%s: %s", path, text);
	return gt_err_path(err, "%s", path);
}

static bool version_ok(const char *v)
{
	size_t minor, patch;

	if (!gt_starts_with(v, "1."))
		return false;
	v += 2;
	minor = strspn(v, "0123456789");
	if (minor == 0 || v[minor] != '.')
		return false;
	v += minor + 1;
	patch = strspn(v, "0123456789");
	return patch > 0 && (v[patch] == '\0' || v[patch] == '-' || v[patch] == '+');
}

static int map_whole(const struct gt_oci_config *c, struct gt_err *err)
{
	if (!version_ok(c->version))
		return oci_refuse(err, "ociVersion", "\"%.60s\" is no version 1.x.y", c->version);
	if (c->unsupported[0])
		return oci_refuse(err, c->unsupported, "the engine has no such thing");
	if (!c->has_root)
		return oci_refuse(err, "root", "missing; this member is required");
	for (unsigned i = GT_OCI_CREATE_CONTAINER; i <= GT_OCI_START_CONTAINER; i++) {
		if (c->hooks[i].n > 0)
			return oci_refuse(err,
					  i == GT_OCI_CREATE_CONTAINER ? "hooks.createContainer"
								       : "hooks.startContainer",
					  "nothing but the program runs in a container");
	}
	return 0;
}

static int map_root(const struct oci_bundle *b, struct oci_plan *p, struct gt_err *err)
{
	const char *path = b->config->root.path;
	gt_auto(free) char *full = *path == '/' ? gt_strdup(path)
						: gt_asprintf("%s/%s", b->dir, path);
	char real[PATH_MAX];

	if (!realpath(full, real))
		return gt_err_errno(err, errno, "root.path: %s", full);
	p->spec->image_kind = GT_IMAGE_DIR;
	p->spec->image_path = gt_strdup(real);
	p->spec->image = gt_asprintf("dir:%s", real);
	return 0;
}

/* ---- process ---- */

static int map_env(const struct gt_oci_config *c, struct gt_spec *spec, struct gt_err *err)
{
	const struct gt_oci_strs *env = &c->process.env;

	spec->env = gt_alloc_array(env->n + 1, sizeof(*spec->env));
	for (size_t i = 0; i < env->n; i++) {
		const char *text = env->v[i], *eq = strchr(text, '=');

		if (!eq || eq == text)
			return oci_refuse(err, "process.env", "\"%.100s\" has no form NAME=value",
					  text);
		spec->env[i].name = gt_strndup(text, (size_t)(eq - text));
		spec->env[i].value = gt_strdup(eq + 1);
		spec->n_env++;
	}
	return 0;
}

/* A bundle without a process can be created; its start is refused. */
static void map_command(const struct gt_oci_config *c, struct gt_spec *spec)
{
	static char *none[] = { "/", NULL };
	char **from = c->process.args.n > 0 ? c->process.args.v : none;
	size_t n = c->process.args.n > 0 ? c->process.args.n : 1;

	spec->command = gt_alloc_array(n + 1, sizeof(*spec->command));
	for (size_t i = 0; i < n; i++)
		spec->command[i] = gt_strdup(from[i]);
	spec->n_command = n;
}

static int map_process(const struct oci_args *args, const struct gt_oci_config *c,
		       struct oci_plan *p, struct gt_err *err)
{
	struct gt_spec *spec = p->spec;

	map_command(c, spec);
	p->has_program = c->process.args.n > 0;
	if (!c->has_process)
		return 0;
	if (c->process.terminal)
		return oci_refuse(err, "process.terminal", "a container has no terminal");
	if (c->process.apparmor)
		return oci_refuse(err, "process.apparmorProfile", "profiles are not set");
	if (c->process.selinux)
		return oci_refuse(err, "process.selinuxLabel", "labels are not set");
	if (*c->process.cwd != '/')
		return oci_refuse(err, "process.cwd", "\"%.100s\" is not absolute", c->process.cwd);
	if (!c->process.no_new_privileges)
		oci_warn(args, "process.noNewPrivileges is always true");
	if (c->process.uid >= GT_ID_RANGE || c->process.gid >= GT_ID_RANGE)
		return oci_refuse(err, "process.user", "ids end at %d", GT_ID_RANGE - 1);
	spec->user = gt_asprintf("%u:%u", c->process.uid, c->process.gid);
	free(spec->workdir);
	spec->workdir = gt_strdup(c->process.cwd);
	return map_env(c, spec, err);
}

/* ---- linux ---- */

static const char *const namespaces[] = {
	"pid", "network", "mount", "ipc", "uts", "user", "cgroup"
};

static int map_namespaces(const struct oci_args *args, const struct gt_oci_config *c,
			  struct gt_err *err)
{
	bool seen[GT_LEN(namespaces)] = { false };

	for (size_t i = 0; i < c->linux_.n_namespaces; i++) {
		const struct gt_oci_namespace *ns = &c->linux_.namespaces[i];
		size_t k = 0;

		while (k < GT_LEN(namespaces) && !gt_streq(ns->type, namespaces[k]))
			k++;
		if (k == GT_LEN(namespaces))
			return oci_refuse(err, "linux.namespaces", "there is no type \"%.30s\"",
					  ns->type);
		if (ns->path)
			return oci_refuse(err, "linux.namespaces",
					  "%s: a container is in no namespace of others", ns->type);
		if (seen[k])
			return oci_refuse(err, "linux.namespaces", "%s is there twice", ns->type);
		seen[k] = true;
	}
	for (size_t k = 0; k < GT_LEN(namespaces); k++) {
		if (!seen[k])
			oci_warn(args, "a container has a %s namespace of its own, always",
				 namespaces[k]);
	}
	return 0;
}

static int map_ids(const struct gt_oci_config *c, struct oci_plan *p, struct gt_err *err)
{
	const struct gt_oci_id_map *uid = c->linux_.uid_maps, *gid = c->linux_.gid_maps;

	if (c->linux_.n_uid_maps == 0 && c->linux_.n_gid_maps == 0)
		return 0;
	if (c->linux_.n_uid_maps != 1 || c->linux_.n_gid_maps != 1 || uid->container != 0 ||
	    gid->container != 0 || uid->host != gid->host || uid->size != GT_ID_RANGE ||
	    gid->size != GT_ID_RANGE || uid->host < GT_ID_RANGE)
		return oci_refuse(err, "linux.uidMappings",
				  "users and groups 0 to %d are mapped alike to one range above "
				  "%d, and no others",
				  GT_ID_RANGE - 1, GT_ID_RANGE - 1);
	p->id_base = uid->host;
	return 0;
}

/* What is in every container's /dev may be allowed; nothing else is there to allow. */
static bool device_is_there(const struct gt_oci_device_rule *d)
{
	static const struct {
		int64_t major, minor; /* -1 = any */
	} there[] = { { 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 },
		      { 1, 9 }, { 5, 0 }, { 5, 2 }, { 136, -1 } };

	for (size_t i = 0; i < GT_LEN(there); i++) {
		if (d->major == there[i].major &&
		    (there[i].minor == -1 || d->minor == there[i].minor))
			return true;
	}
	return false;
}

static int map_resources(const struct gt_oci_config *c, struct gt_spec *spec, struct gt_err *err)
{
	int64_t memory = c->resources.memory_bytes, quota = c->resources.cpu_quota_us;
	int64_t pids = c->resources.pids;
	uint64_t milli = quota > 0 ? (uint64_t)quota / (c->resources.cpu_period_us / 1000) : 0;

	for (size_t i = 0; i < c->resources.n_devices; i++) {
		if (c->resources.devices[i].allow && !device_is_there(&c->resources.devices[i]))
			return oci_refuse(err, "linux.resources.devices",
					  "a container has the default devices and no others");
	}
	if (quota > 0 && (milli == 0 || milli > UINT32_MAX))
		return oci_refuse(err, "linux.resources.cpu.quota", "out of range");
	if (pids > UINT32_MAX)
		return oci_refuse(err, "linux.resources.pids.limit", "out of range");
	spec->resources.memory_bytes = memory > 0 ? (uint64_t)memory : 0;
	spec->resources.cpu_milli = (uint32_t)milli;
	spec->resources.pids = pids > 0 ? (uint32_t)pids : 0;
	return 0;
}

static int map_linux(const struct oci_args *args, const struct gt_oci_config *c, struct oci_plan *p,
		     struct gt_err *err)
{
	const char *propagation = c->linux_.propagation;
	int r = map_namespaces(args, c, err);

	if (r == 0)
		r = map_ids(c, p, err);
	if (r == 0)
		r = map_resources(c, p->spec, err);
	if (r < 0)
		return r;
	if (c->linux_.mount_label)
		return oci_refuse(err, "linux.mountLabel", "labels are not set");
	if (propagation && strcmp(propagation, "private") != 0 &&
	    strcmp(propagation, "rprivate") != 0 && strcmp(propagation, "slave") != 0 &&
	    strcmp(propagation, "rslave") != 0)
		return oci_refuse(err, "linux.rootfsPropagation",
				  "\"%.20s\": a container's mounts are private", propagation);
	if (c->has_seccomp)
		oci_warn(args, "linux.seccomp: the engine's own filter is used instead");
	if (c->linux_.cgroups_path)
		oci_warn(args, "linux.cgroupsPath: the engine names its control groups itself");
	return 0;
}

void oci_plan_fini(struct oci_plan *p)
{
	gt_spec_free(p->spec);
	for (char **path = p->sysctl_paths; path && *path; path++)
		free(*path);
	free(p->sysctl_paths);
	free(p->sysctls);
	*p = (struct oci_plan){ .spec = NULL };
}

int oci_plan_make(const struct oci_args *args, const struct oci_bundle *bundle,
		  struct oci_plan *ret, struct gt_err *err)
{
	const struct gt_oci_config *c = bundle->config;
	struct oci_plan p = { .spec = gt_spec_new() };
	int r = map_whole(c, err);

	if (r == 0)
		r = map_root(bundle, &p, err);
	if (r == 0)
		r = map_process(args, c, &p, err);
	if (r == 0)
		r = map_linux(args, c, &p, err);
	if (r == 0)
		r = oci_map_mounts(args, bundle, p.spec, err);
	if (r == 0)
		r = oci_map_foreign(args, c, &p, err);
	if (r < 0) {
		oci_plan_fini(&p);
		return r;
	}
	*ret = p;
	return 0;
}
