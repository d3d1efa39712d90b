/* fuzz_oci_bundle.c - a bundle's config.json and a container's state. What is refused says why; a
 * state that is accepted is written and read back as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/wire/oci_runtime.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void fuzz_config(const char *text, size_t len)
{
	gt_auto(oci_config) struct gt_oci_config *c = NULL;
	struct gt_err err = { 0 };

	if (gt_oci_config_read(text, len, &c, &err) < 0) {
		must(!c && err.code > 0 && err.text[0]);
		return;
	}
	must(c->version && c->process.n_groups <= GT_OCI_GROUPS_MAX);
	must(!c->has_process || c->process.cwd);
	must(!c->process.args.n || !c->process.args.v[c->process.args.n]);
}

static void fuzz_state(const char *text, size_t len)
{
	gt_auto(buf) struct gt_buf once = { 0 }, twice = { 0 };
	struct gt_oci_state a, b;
	struct gt_err err = { 0 };

	if (gt_oci_state_read(text, len, &a, &err) < 0) {
		must(err.code > 0 && err.text[0]);
		return;
	}
	gt_oci_state_write(&a, true, &once);
	must(gt_oci_state_read(once.data, once.len, &b, &err) == 0);
	gt_oci_state_write(&b, true, &twice);
	must(strcmp(once.data, twice.data) == 0);
	gt_oci_state_fini(&a);
	gt_oci_state_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	fuzz_config((const char *)data, len);
	fuzz_state((const char *)data, len);
	return 0;
}
