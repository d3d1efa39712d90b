/* oci.c - indexes, manifests and image configurations of registries. */
#include <gantry/wire/oci.h>

#include <string.h>
#include <strings.h>

#include <gantry/base/units.h>
#include <gantry/model/limits.h>

#include "fields.h"
#include "foreign.h"

#define OCI    "application/vnd.oci.image."
#define DOCKER "application/vnd.docker."

static const struct {
	const char *type;
	enum gt_oci_media media;
} types[] = {
	{ OCI "index.v1+json", GT_OCI_INDEX },
	{ DOCKER "distribution.manifest.list.v2+json", GT_OCI_INDEX },
	{ OCI "manifest.v1+json", GT_OCI_MANIFEST },
	{ DOCKER "distribution.manifest.v2+json", GT_OCI_MANIFEST },
	{ OCI "config.v1+json", GT_OCI_CONFIG },
	{ DOCKER "container.image.v1+json", GT_OCI_CONFIG },
	{ OCI "layer.v1.tar", GT_OCI_TAR },
	{ OCI "layer.v1.tar+gzip", GT_OCI_TAR_GZIP },
	{ OCI "layer.v1.tar+zstd", GT_OCI_TAR_ZSTD },
	{ DOCKER "image.rootfs.diff.tar", GT_OCI_TAR },
	{ DOCKER "image.rootfs.diff.tar.gzip", GT_OCI_TAR_GZIP },
	{ DOCKER "image.rootfs.diff.tar.zstd", GT_OCI_TAR_ZSTD },
	{ OCI "layer.nondistributable.v1.tar", GT_OCI_FOREIGN },
	{ OCI "layer.nondistributable.v1.tar+gzip", GT_OCI_FOREIGN },
	{ OCI "layer.nondistributable.v1.tar+zstd", GT_OCI_FOREIGN },
	{ DOCKER "image.rootfs.foreign.diff.tar", GT_OCI_FOREIGN },
	{ DOCKER "image.rootfs.foreign.diff.tar.gzip", GT_OCI_FOREIGN },
	{ DOCKER "distribution.manifest.v1+json", GT_OCI_SCHEMA1 },
	{ DOCKER "distribution.manifest.v1+prettyjws", GT_OCI_SCHEMA1 },
};

const char gt_oci_accept[] = OCI "index.v1+json, " OCI "manifest.v1+json, " DOCKER
				 "distribution.manifest.list.v2+json, " DOCKER
				 "distribution.manifest.v2+json";

enum gt_oci_media gt_oci_media(const char *media_type)
{
	for (size_t i = 0; i < GT_LEN(types); i++)
		if (strcmp(types[i].type, media_type) == 0)
			return types[i].media;
	return GT_OCI_OTHER;
}

/* The walkers refuse in the words of specifications; these documents are parts of an image. */
static int of_image(int r, struct gt_err *err)
{
	if (r < 0 && err)
		gt_strcopy(err->slug, sizeof(err->slug), "image_invalid");
	return r;
}

/* ---- descriptors --------------------------------------------------------------------------- */
static int copy_text(const json_t *obj, const struct gt_at *at, const char *name, char *out,
		     size_t size, struct gt_err *err)
{
	const char *text = NULL;
	int r = gt_foreign_text(obj, at, name, size - 1, &text, err);

	if (r == 0 && text)
		gt_strcopy(out, size, text);
	return r;
}

static int platform_read(const json_t *js, const struct gt_at *at, struct gt_oci_descriptor *d,
			 struct gt_err *err)
{
	struct gt_at here = { at, "platform", 0 };
	json_t *p = NULL;
	int r = gt_foreign_get(js, at, "platform", JSON_OBJECT, &p, err);

	if (r < 0 || !p)
		return r;
	d->has_platform = true;
	if ((r = copy_text(p, &here, "os", d->os, sizeof(d->os), err)) < 0 ||
	    (r = copy_text(p, &here, "architecture", d->arch, sizeof(d->arch), err)) < 0)
		return r;
	return copy_text(p, &here, "variant", d->variant, sizeof(d->variant), err);
}

static int descriptor_read(const json_t *js, const struct gt_at *at, bool in_index,
			   struct gt_oci_descriptor *d, struct gt_err *err)
{
	struct gt_at size_at = { at, "size", 0 }, digest_at = { at, "digest", 0 };
	const char *digest = NULL;
	json_t *size_js = NULL;
	int64_t size = 0;
	int r;

	if (!json_is_object(js))
		return gt_field_refuse_type(at, js, "an object", err);
	if ((r = copy_text(js, at, "mediaType", d->media_type, sizeof(d->media_type), err)) < 0 ||
	    (r = gt_foreign_text(js, at, "digest", 256, &digest, err)) < 0 ||
	    (r = gt_foreign_get(js, at, "size", JSON_INTEGER, &size_js, err)) < 0)
		return r;
	if (!size_js)
		return gt_refuse_at(err, &size_at, "missing");
	if ((r = gt_field_whole(size_js, &size_at, 0, GT_OCI_BLOB_MAX, &size, err)) < 0)
		return r;
	if (!digest)
		return gt_refuse_at(err, &digest_at, "missing");
	if (gt_digest_ok(digest))
		gt_strcopy(d->digest, sizeof(d->digest), digest);
	else if (!in_index)
		return gt_refuse_at(err, &digest_at, "\"%.100s\" is no sha256 digest", digest);
	d->media = gt_oci_media(d->media_type);
	d->size = (uint64_t)size;
	return in_index ? platform_read(js, at, d, err) : 0;
}

static int items_read(const json_t *list, const char *name, size_t max, struct gt_oci_manifest *m,
		      struct gt_err *err)
{
	struct gt_at top = { NULL, name, 0 };
	size_t n = json_array_size(list);

	if (n == 0)
		return gt_refuse_at(err, &top, "empty");
	if (n > max)
		return gt_refuse_at(err, &top, "%zu entries; the limit is %zu", n, max);
	m->items = gt_alloc_array(n, sizeof(*m->items));
	m->n = n;
	for (size_t i = 0; i < n; i++) {
		struct gt_at at = { &top, NULL, i };
		int r = descriptor_read(json_array_get(list, i), &at, m->kind == GT_OCI_INDEX,
					&m->items[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- indexes and manifests ----------------------------------------------------------------- */
/* "type/subtype; parameters" against the type that the document gives itself. */
static bool type_is(const char *content_type, const char *media_type)
{
	size_t len = strcspn(content_type, "; \t");

	return len == strlen(media_type) && strncasecmp(content_type, media_type, len) == 0;
}

static int kind_read(const json_t *js, const char *content_type, enum gt_oci_media *ret,
		     struct gt_err *err)
{
	const char *type = NULL;
	char announced[128];
	int r = gt_foreign_text(js, NULL, "mediaType", sizeof(announced) - 1, &type, err);

	if (r < 0)
		return r;
	if (!content_type)
		return gt_refuse(err, "", "the answer has no Content-Type");
	snprintf(announced, sizeof(announced), "%.*s", (int)strcspn(content_type, "; \t"),
		 content_type);
	if (type && !type_is(content_type, type))
		return gt_refuse(err, "mediaType", "\"%s\" came as \"%s\"", type, announced);
	enum gt_oci_media kind = gt_oci_media(type ? type : announced);

	if (kind == GT_OCI_SCHEMA1)
		return gt_refuse(err, "",
				 "an image of schema 1, which is no longer supported; "
				 "push it again with a current tool");
	if (kind != GT_OCI_INDEX && kind != GT_OCI_MANIFEST)
		return gt_refuse(err, "mediaType", "\"%s\" is neither an index nor a manifest",
				 type ? type : announced);
	/* A reader that goes by members would take such a document for the other kind. */
	bool like_index = json_object_get(js, "manifests");
	bool like_manifest = json_object_get(js, "layers") || json_object_get(js, "config") ||
			     json_object_get(js, "fsLayers");

	if (kind == GT_OCI_INDEX ? like_manifest : like_index)
		return gt_refuse(err, "", "both an index and a manifest");
	*ret = kind;
	return 0;
}

static int manifest_fill(const json_t *js, struct gt_oci_manifest *m, struct gt_err *err)
{
	struct gt_at config_at = { NULL, "config", 0 };
	json_t *version = NULL, *config = NULL, *list = NULL;
	const char *name = m->kind == GT_OCI_INDEX ? "manifests" : "layers";
	int r;

	if ((r = gt_foreign_get(js, NULL, "schemaVersion", JSON_INTEGER, &version, err)) < 0 ||
	    (r = gt_foreign_get(js, NULL, "config", JSON_OBJECT, &config, err)) < 0 ||
	    (r = gt_foreign_get(js, NULL, name, JSON_ARRAY, &list, err)) < 0)
		return r;
	if (!version || json_integer_value(version) != 2)
		return gt_refuse(err, "schemaVersion", "not 2");
	if (!list)
		return gt_refuse(err, name, "missing");
	if (m->kind == GT_OCI_INDEX)
		return items_read(list, name, GT_OCI_INDEX_MAX, m, err);
	if (!config)
		return gt_refuse(err, "config", "missing");
	if ((r = descriptor_read(config, &config_at, false, &m->config, err)) < 0)
		return r;
	if (m->config.media != GT_OCI_CONFIG)
		return gt_refuse(err, "config.mediaType", "\"%s\": this is no container image",
				 m->config.media_type);
	if (m->config.size > GT_OCI_CONFIG_MAX)
		return gt_refuse(err, "config.size", "more than %llu bytes",
				 (unsigned long long)GT_OCI_CONFIG_MAX);
	return items_read(list, name, GT_IMAGE_LAYERS_MAX, m, err);
}

int gt_oci_manifest_read(const char *text, size_t len, const char *content_type,
			 struct gt_oci_manifest **ret, struct gt_err *err)
{
	gt_auto(oci_manifest) struct gt_oci_manifest *m = gt_alloc(sizeof(*m));
	gt_auto(doc) json_t *js = NULL;
	int r;

	if ((r = gt_foreign_parse(text, len, GT_OCI_MANIFEST_MAX, &js, err)) < 0 ||
	    (r = kind_read(js, content_type, &m->kind, err)) < 0 ||
	    (r = manifest_fill(js, m, err)) < 0)
		return of_image(r, err);
	*ret = gt_steal(&m);
	return 0;
}

void gt_oci_manifest_free(struct gt_oci_manifest *m)
{
	if (!m)
		return;
	free(m->items);
	free(m);
}

/* ---- image configurations ------------------------------------------------------------------ */
static int strs_read(const json_t *obj, const struct gt_at *at, const char *name, size_t max,
		     size_t max_len, char ***ret, struct gt_err *err)
{
	struct gt_at here = { at, name, 0 };
	json_t *list = NULL;
	int r = gt_foreign_get(obj, at, name, JSON_ARRAY, &list, err);
	size_t n = json_array_size(list);

	if (r < 0)
		return r;
	if (n > max)
		return gt_refuse_at(err, &here, "%zu entries; the limit is %zu", n, max);
	*ret = gt_alloc_array(n + 1, sizeof(**ret));
	for (size_t i = 0; i < n; i++) {
		struct gt_at item = { &here, NULL, i };
		const char *text = NULL;

		r = gt_field_text(json_array_get(list, i), &item, max_len, &text, err);
		if (r < 0)
			return r;
		(*ret)[i] = gt_strdup(text);
	}
	return 0;
}

static int env_check(char *const *env, const struct gt_at *at, struct gt_err *err)
{
	struct gt_at here = { at, "Env", 0 };

	for (size_t i = 0; env[i]; i++) {
		struct gt_at item = { &here, NULL, i };

		if (env[i][0] == '=' || !strchr(env[i], '='))
			return gt_refuse_at(err, &item, "\"%.100s\" is not NAME=value", env[i]);
	}
	return 0;
}

static int text_dup(const json_t *obj, const struct gt_at *at, const char *name, char **ret,
		    struct gt_err *err)
{
	const char *text = NULL;
	int r = gt_foreign_text(obj, at, name, GT_TEXT_MAX, &text, err);

	if (r == 0 && text && *text)
		*ret = gt_strdup(text);
	return r;
}

/* "8080/tcp" or "8080"; ranges and other protocols do not count. */
static uint16_t tcp_port(const char *key)
{
	char digits[6] = "";
	size_t len = strcspn(key, "/");
	uint64_t port;

	if (len >= sizeof(digits) || (key[len] && strcasecmp(key + len, "/tcp") != 0))
		return 0;
	memcpy(digits, key, len);
	return gt_parse_u64(digits, UINT16_MAX, &port) == 0 ? (uint16_t)port : 0;
}

static int ports_read(const json_t *obj, const struct gt_at *at, uint16_t *ret, struct gt_err *err)
{
	json_t *ports = NULL, *value;
	const char *key;
	unsigned n = 0;
	int r = gt_foreign_get(obj, at, "ExposedPorts", JSON_OBJECT, &ports, err);

	json_object_foreach(ports, key, value)
	{
		uint16_t port = tcp_port(key);

		if (!port)
			continue;
		*ret = n++ == 0 ? port : 0;
	}
	return r;
}

static int run_read(const json_t *js, struct gt_image_config *c, struct gt_err *err)
{
	struct gt_at at = { NULL, "config", 0 };
	json_t *obj = NULL;
	int r = gt_foreign_get(js, NULL, "config", JSON_OBJECT, &obj, err);
	size_t env_len = GT_TEXT_MAX + GT_ENV_VALUE_MAX + 1;

	if (r < 0 ||
	    (r = strs_read(obj, &at, "Entrypoint", GT_COMMAND_MAX, GT_TEXT_MAX, &c->entrypoint,
			   err)) < 0 ||
	    (r = strs_read(obj, &at, "Cmd", GT_COMMAND_MAX, GT_TEXT_MAX, &c->cmd, err)) < 0 ||
	    (r = strs_read(obj, &at, "Env", GT_ENV_MAX, env_len, &c->env, err)) < 0 ||
	    (r = env_check(c->env, &at, err)) < 0 ||
	    (r = text_dup(obj, &at, "User", &c->user, err)) < 0 ||
	    (r = text_dup(obj, &at, "WorkingDir", &c->workdir, err)) < 0 ||
	    (r = text_dup(obj, &at, "StopSignal", &c->stop_signal, err)) < 0)
		return r;
	return ports_read(obj, &at, &c->port, err);
}

static int diff_ids_read(const json_t *js, struct gt_image_config *c, struct gt_err *err)
{
	struct gt_at at = { NULL, "rootfs", 0 }, ids_at = { &at, "diff_ids", 0 };
	json_t *rootfs = NULL, *ids = NULL;
	int r = gt_foreign_get(js, NULL, "rootfs", JSON_OBJECT, &rootfs, err);

	if (r < 0 || (r = gt_foreign_get(rootfs, &at, "diff_ids", JSON_ARRAY, &ids, err)) < 0)
		return r;
	size_t n = json_array_size(ids);

	if (n == 0 || n > GT_IMAGE_LAYERS_MAX)
		return gt_refuse_at(err, &ids_at, "%zu entries; an image has 1 to %d", n,
				    GT_IMAGE_LAYERS_MAX);
	c->diff_ids = gt_alloc_array(n, sizeof(*c->diff_ids));
	c->n_diff_ids = n;
	for (size_t i = 0; i < n; i++) {
		struct gt_at item = { &ids_at, NULL, i };
		const char *text = NULL;

		r = gt_field_text(json_array_get(ids, i), &item, 256, &text, err);
		if (r < 0)
			return r;
		if (!gt_digest_ok(text))
			return gt_refuse_at(err, &item, "\"%.100s\" is no sha256 digest", text);
		gt_strcopy(c->diff_ids[i], sizeof(c->diff_ids[i]), text);
	}
	return 0;
}

static int platform_check(const json_t *js, struct gt_err *err)
{
	char os[32] = "", arch[32] = "";
	int r;

	if ((r = copy_text(js, NULL, "os", os, sizeof(os), err)) < 0 ||
	    (r = copy_text(js, NULL, "architecture", arch, sizeof(arch), err)) < 0)
		return r;
	if (!gt_streq(os, "linux") || !gt_streq(arch, "amd64"))
		return gt_refuse(err, "", "the image is for %s/%s and not for linux/amd64",
				 os[0] ? os : "?", arch[0] ? arch : "?");
	return 0;
}

int gt_oci_image_read(const char *text, size_t len, struct gt_image_config **ret,
		      struct gt_err *err)
{
	gt_auto(image_config) struct gt_image_config *c = gt_alloc(sizeof(*c));
	gt_auto(doc) json_t *js = NULL;
	int r;

	if ((r = gt_foreign_parse(text, len, GT_OCI_CONFIG_MAX, &js, err)) < 0 ||
	    (r = platform_check(js, err)) < 0 || (r = run_read(js, c, err)) < 0 ||
	    (r = diff_ids_read(js, c, err)) < 0)
		return of_image(r, err);
	*ret = gt_steal(&c);
	return 0;
}

/* ---- tokens -------------------------------------------------------------------------------- */
int gt_oci_token_read(const char *text, size_t len, char **ret_token, uint64_t *ret_expires_s,
		      struct gt_err *err)
{
	gt_auto(doc) json_t *js = NULL;
	const char *token = NULL, *access = NULL;
	json_t *expires_js = NULL;
	int64_t expires = 60; /* what the token specification says when nothing is said */
	int r;

	if ((r = gt_foreign_parse(text, len, GT_OCI_TOKEN_MAX, &js, err)) < 0 ||
	    (r = gt_foreign_text(js, NULL, "token", GT_OCI_TOKEN_MAX, &token, err)) < 0 ||
	    (r = gt_foreign_text(js, NULL, "access_token", GT_OCI_TOKEN_MAX, &access, err)) < 0 ||
	    (r = gt_foreign_get(js, NULL, "expires_in", JSON_INTEGER, &expires_js, err)) < 0)
		return of_image(r, err);
	token = token && *token ? token : access;
	if (!token || !*token)
		return of_image(gt_refuse(err, "token", "missing"), err);
	for (const char *p = token; *p; p++)
		if (*p <= ' ' || *p > '~')
			return of_image(gt_refuse(err, "token", "not fit for a header field"), err);
	if (expires_js)
		expires = json_integer_value(expires_js);
	*ret_token = gt_strdup(token);
	*ret_expires_s = (uint64_t)GT_MIN(GT_MAX(expires, 0), 86400);
	return 0;
}
