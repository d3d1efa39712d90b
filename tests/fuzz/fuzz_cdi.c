/* fuzz_cdi.c - documents of the Container Device Interface, in both syntaxes. What is refused says
 * why; of what is accepted nothing would run a program, and all of it keeps its bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/model/device.h>
#include <gantry/model/problem.h>
#include <gantry/wire/cdi.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void must_say_why(const struct gt_err *err)
{
	must(err->code > 0 && err->text[0] && gt_streq(err->slug, "device_unavailable"));
	for (const char *p = err->text; *p; p++)
		must((unsigned char)*p >= ' ' && *p != 0x7f);
}

static void check_edits(const struct gt_cdi_edits *e)
{
	must(e->n_nodes <= GT_CDI_LIST_MAX && e->n_mounts <= GT_CDI_LIST_MAX);
	for (size_t i = 0; i < e->n_nodes; i++) {
		must(e->nodes[i].path && strlen(e->nodes[i].path) <= GT_INJECT_PATH_MAX);
		must(e->nodes[i].major <= 4095 && e->nodes[i].minor <= 1048575);
	}
	for (size_t i = 0; i < e->n_mounts; i++)
		must(e->mounts[i].host_path && e->mounts[i].path);
	for (size_t i = 0; i < e->n_links; i++)
		must(e->links[i].path[0] == '/' && e->links[i].to[0]);
	for (size_t i = 0; i < e->library_dirs.n; i++)
		must(e->library_dirs.v[i][0] == '/');
	for (size_t i = 0; i < e->env.n; i++)
		must(strchr(e->env.v[i], '=') > e->env.v[i]);
	for (size_t i = 0; i < e->n_hooks; i++)
		must(strstr(e->hooks[i].path, "nvidia-c") != NULL);
}

static void read_as(const char *text, size_t len, enum gt_cdi_syntax syntax)
{
	gt_auto(cdi) struct gt_cdi *c = NULL;
	char kind[GT_DEVICE_NAME_MAX + 1];
	struct gt_err err = { 0 };
	const char *device;

	if (gt_cdi_read(text, len, syntax, &c, &err) < 0) {
		must_say_why(&err);
		return;
	}
	must(c->n_devices > 0 && c->n_devices <= GT_CDI_DEVICES_MAX);
	check_edits(&c->edits);
	for (size_t i = 0; i < c->n_devices; i++) {
		gt_auto(free) char *name = gt_asprintf("%s=%s", c->kind, c->devices[i].name);

		check_edits(&c->devices[i].edits);
		must(gt_cdi_find(c, c->devices[i].name) == &c->devices[i]);
		must(gt_device_name_split(name, kind, &device, &err) == 0);
		must(gt_streq(kind, c->kind) && gt_streq(device, c->devices[i].name));
		must(gt_device_name_allowed(name, name));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	read_as((const char *)data, len, GT_CDI_JSON);
	read_as((const char *)data, len, GT_CDI_YAML);
	return 0;
}
