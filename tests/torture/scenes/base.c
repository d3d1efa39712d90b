/* base.c - what is read: specifications, configurations, time zones. */
#include <stdio.h>
#include <string.h>

#include <gantry/base/buf.h>
#include <gantry/cron/zone.h>
#include <gantry/wire/cdi.h>
#include <gantry/wire/wire.h>

#include "../torture.h"

static const char spec_text[] =
	"{\"image\":\"registry.example/echo:1\",\"command\":[\"/echo\",\"-x\"],\"port\":8000,"
	"\"env\":{\"A\":\"1\",\"B\":\"2\"},\"resources\":{\"cpu\":2,\"memory\":\"1GiB\"},"
	"\"scale\":{\"min\":0,\"max\":8},\"volumes\":[{\"host\":\"/srv\",\"path\":\"/"
	"m\",\"readonly\":true}]}";

static int spec(struct world *w, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf out = { 0 };
	struct gt_spec *s = NULL;
	int r = gt_spec_read(spec_text, strlen(spec_text), &s, err);

	if (r < 0)
		return r;
	gt_spec_write(s, &out);
	if (s->n_env != 2 || s->n_command != 2 || !strstr(gt_buf_str(&out), "registry.example"))
		wrong(w, "%zu variables, %zu words: %s", s->n_env, s->n_command, gt_buf_str(&out));
	gt_spec_free(s);
	return 0;
}

static int zone(struct world *w, struct gt_err *err)
{
	gt_auto(zone) struct gt_zone *z = NULL;
	struct gt_zone_span span = { 0 };
	int r = gt_zone_read(GT_ZONE_DIR, "Europe/Berlin", &z, err);

	if (r < 0)
		return r;
	gt_zone_span_at(z, 1700000000, &span);
	if (span.offset_s != 3600)
		wrong(w, "%d s from UTC", span.offset_s);
	return 0;
}

static const char cdi_text[] =
	"cdiVersion: \"0.6.0\"\nkind: vendor.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n"
	"    deviceNodes:\n    - path: /dev/null\n    env: [A=1]\ncontainerEdits:\n  env: [B=2]\n";

static int cdi(struct world *w, struct gt_err *err)
{
	gt_auto(cdi) struct gt_cdi *c = NULL;
	int r = gt_cdi_read(cdi_text, strlen(cdi_text), GT_CDI_YAML, &c, err);

	if (r == 0 && (c->n_devices != 1 || c->devices[0].edits.n_nodes != 1))
		wrong(w, "%zu devices", c->n_devices);
	return r;
}

const struct scene base_scenes[] = {
	{ "wire.spec", 0, NULL, spec, NULL, NULL, NULL },
	{ "wire.cdi", 0, NULL, cdi, NULL, NULL, NULL },
	{ "cron.zone", 0, NULL, zone, NULL, NULL, NULL },
};
SCENES_OF(base);
