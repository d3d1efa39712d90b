/* fuzz_oci.c - what a registry, its token server, a credential helper or a user's image name can
 * say. What is refused says why; what is accepted keeps its bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/http/challenge.h>
#include <gantry/model/limits.h>
#include <gantry/model/problem.h>
#include <gantry/wire/docker.h>
#include <gantry/wire/oci.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void must_say_why(const struct gt_err *err)
{
	must(err->code > 0 && err->text[0] && gt_problem_kind(err->slug));
	for (const char *p = err->text; *p; p++)
		must((unsigned char)*p >= ' ' && *p != 0x7f);
}

static void manifest(const char *text, size_t len, const char *type)
{
	gt_auto(oci_manifest) struct gt_oci_manifest *m = NULL;
	struct gt_err err = { 0 };

	if (gt_oci_manifest_read(text, len, type, &m, &err) < 0) {
		must_say_why(&err);
		must(gt_streq(err.slug, "image_invalid"));
		return;
	}
	bool index = m->kind == GT_OCI_INDEX;

	must(index || m->kind == GT_OCI_MANIFEST);
	must(m->n > 0 && m->n <= (index ? GT_OCI_INDEX_MAX : GT_IMAGE_LAYERS_MAX));
	must(index || (gt_digest_ok(m->config.digest) && m->config.size <= GT_OCI_CONFIG_MAX));
	for (size_t i = 0; i < m->n; i++) {
		must(m->items[i].size <= GT_OCI_BLOB_MAX);
		must(gt_digest_ok(m->items[i].digest) || (index && !m->items[i].digest[0]));
	}
}

static void image(const char *text, size_t len)
{
	gt_auto(image_config) struct gt_image_config *c = NULL;
	struct gt_err err = { 0 };

	if (gt_oci_image_read(text, len, &c, &err) < 0) {
		must_say_why(&err);
		return;
	}
	must(c->entrypoint && c->cmd && c->env);
	must(c->n_diff_ids > 0 && c->n_diff_ids <= GT_IMAGE_LAYERS_MAX);
	for (size_t i = 0; i < c->n_diff_ids; i++)
		must(gt_digest_ok(c->diff_ids[i]));
	for (char **e = c->env; *e; e++)
		must(**e != '=' && strchr(*e, '='));
}

static void credentials(const char *text, size_t len)
{
	gt_auto(docker_login) struct gt_docker_login l = { 0 };
	gt_auto(free) char *token = NULL;
	struct gt_docker_config *c = NULL;
	struct gt_err err = { 0 };
	uint64_t expires = 0;

	if (gt_oci_token_read(text, len, &token, &expires, &err) < 0)
		must_say_why(&err);
	else
		must(*token && !strpbrk(token, " \r\n") && expires <= 86400);
	if (gt_docker_answer_read(text, len, &l, &err) < 0)
		must_say_why(&err);
	if (gt_docker_config_read(text, len, &c, &err) < 0) {
		must_say_why(&err);
		return;
	}
	const struct gt_docker_login *found = gt_docker_config_login(c, "a.b");
	const char *helper = gt_docker_config_helper(c, "a.b", true);

	must(!found || found->identity_token || (found->user && found->password));
	must(!helper || gt_docker_helper_ok(helper));
	gt_docker_config_free(c);
}

static void names(const char *text)
{
	struct gt_challenge c;
	struct gt_ref ref, again;
	struct gt_err err = { 0 };
	char out[GT_REF_TEXT_SIZE];

	if (gt_challenge_parse(text, &c, &err) < 0)
		must_say_why(&err);
	if (gt_ref_parse(text, &ref, &err) < 0) {
		must_say_why(&err);
		return;
	}
	gt_ref_format(&ref, out);
	must(gt_ref_parse(out, &again, NULL) == 0 && memcmp(&ref, &again, sizeof(ref)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const content_types[] = {
		"application/vnd.oci.image.index.v1+json",
		"application/vnd.oci.image.manifest.v1+json; charset=utf-8",
		"application/vnd.docker.distribution.manifest.list.v2+json",
		"application/vnd.docker.distribution.manifest.v2+json",
	};
	gt_auto(free) char *text = gt_strndup((const char *)data, len);

	for (size_t i = 0; i < GT_LEN(content_types); i++)
		manifest((const char *)data, len, content_types[i]);
	image((const char *)data, len);
	credentials((const char *)data, len);
	names(text);
	return 0;
}
