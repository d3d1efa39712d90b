/* cdi_write.c - what this node gives to containers, as a document of the Container Device
 * Interface. It is for eyes and for other programs; our own containers do not go through it. */
#include <gantry/wire/cdi.h>

#include <gantry/wire/json.h>

#define VERSION "0.6.0" /* the lowest that has all that is used */

static void write_env(struct gt_json *j, const struct gt_inject *i)
{
	if (i->n_env == 0)
		return;
	gt_json_array(j, "env");
	for (size_t k = 0; k < i->n_env; k++) {
		gt_auto(free) char *text = gt_asprintf("%s=%s", i->env[k].name, i->env[k].value);

		gt_json_str(j, NULL, text);
	}
	gt_json_close(j, ']');
}

static void write_nodes(struct gt_json *j, const struct gt_inject *i)
{
	if (i->n_nodes == 0)
		return;
	gt_json_array(j, "deviceNodes");
	for (size_t k = 0; k < i->n_nodes; k++) {
		const struct gt_inject_node *n = &i->nodes[k];
		const char type[] = { n->type, '\0' };

		gt_json_object(j, NULL);
		gt_json_str(j, "path", n->path);
		gt_json_str(j, "type", type);
		gt_json_u64(j, "major", n->major);
		gt_json_u64(j, "minor", n->minor);
		gt_json_str(j, "permissions", n->read && n->write ? "rw" : n->read ? "r" : "w");
		gt_json_close(j, '}');
	}
	gt_json_close(j, ']');
}

static void write_mounts(struct gt_json *j, const struct gt_inject *i, char *const *hosts)
{
	static const char *const options[] = { "ro", "nosuid", "nodev", "bind" };

	if (i->n_binds == 0 || !hosts)
		return;
	gt_json_array(j, "mounts");
	for (size_t k = 0; k < i->n_binds; k++) {
		gt_json_object(j, NULL);
		gt_json_str(j, "hostPath", hosts[k]);
		gt_json_str(j, "containerPath", i->binds[k].path);
		gt_json_array(j, "options");
		for (size_t o = 0; o < GT_LEN(options); o++)
			gt_json_str(j, NULL, options[o]);
		gt_json_close(j, ']');
		gt_json_close(j, '}');
	}
	gt_json_close(j, ']');
}

static void begin_hook(struct gt_json *j, const char *what)
{
	gt_json_object(j, NULL);
	gt_json_str(j, "hookName", "createContainer");
	gt_json_str(j, "path", "/usr/bin/nvidia-cdi-hook");
	gt_json_array(j, "args");
	gt_json_str(j, NULL, "nvidia-cdi-hook");
	gt_json_str(j, NULL, what);
}

/* Links and directories of libraries have no other form there. We need no such hook. */
static void write_hooks(struct gt_json *j, const struct gt_inject *i)
{
	if (i->n_links == 0 && i->n_library_dirs == 0)
		return;
	gt_json_array(j, "hooks");
	if (i->n_links > 0) {
		begin_hook(j, "create-symlinks");
		for (size_t k = 0; k < i->n_links; k++) {
			gt_auto(free) char *text = gt_asprintf("%s::%s", i->links[k].to,
							       i->links[k].path);

			gt_json_str(j, NULL, "--link");
			gt_json_str(j, NULL, text);
		}
		gt_json_close(j, ']');
		gt_json_close(j, '}');
	}
	if (i->n_library_dirs > 0) {
		begin_hook(j, "update-ldcache");
		for (size_t k = 0; k < i->n_library_dirs; k++) {
			gt_json_str(j, NULL, "--folder");
			gt_json_str(j, NULL, i->library_dirs[k]);
		}
		gt_json_close(j, ']');
		gt_json_close(j, '}');
	}
	gt_json_close(j, ']');
}

static void write_edits(struct gt_json *j, const struct gt_inject *i, char *const *hosts)
{
	gt_json_object(j, "containerEdits");
	write_env(j, i);
	write_nodes(j, i);
	write_mounts(j, i, hosts);
	write_hooks(j, i);
	gt_json_close(j, '}');
}

void gt_cdi_write(const char *kind, const struct gt_cdi_own *devices, size_t n,
		  const struct gt_inject *common, char *const *hosts, struct gt_buf *out)
{
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "cdiVersion", VERSION);
	gt_json_str(&j, "kind", kind);
	gt_json_array(&j, "devices");
	for (size_t k = 0; k < n; k++) {
		gt_json_object(&j, NULL);
		gt_json_str(&j, "name", devices[k].name);
		write_edits(&j, devices[k].inject, NULL);
		gt_json_close(&j, '}');
	}
	gt_json_close(&j, ']');
	write_edits(&j, common, hosts);
	gt_json_close(&j, '}');
}
