/* test_oci.c - documents of registries: what real ones look like, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/buf.h>
#include <gantry/wire/oci.h>

#define HEX   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIG   "sha256:" HEX
#define OCI   "application/vnd.oci.image."
#define DOCK  "application/vnd.docker."
#define MAN   OCI "manifest.v1+json"
#define INDEX OCI "index.v1+json"

#define DESC(type, size) "{\"mediaType\":\"" type "\",\"digest\":\"" DIG "\",\"size\":" size "}"
#define CONF             DESC(OCI "config.v1+json", "10")
#define LAYER            DESC(OCI "layer.v1.tar+gzip", "100")

static void a_manifest_is_read(void **state)
{
	static const char text[] =
		"{\"schemaVersion\":2,\"mediaType\":\"" MAN "\",\"annotations\":{\"a\":\"b\"},"
		"\"config\":" CONF ",\"layers\":[" LAYER "," DESC(OCI "layer.v1.tar", "0") "," DESC(
			OCI "layer.v1.tar+zstd",
			"4398046511104") "," DESC(DOCK "image.rootfs.diff.tar.gzip",
						  "7") "," DESC(DOCK "image.rootfs.foreign.diff."
								     "tar.gzip",
								"7") "," DESC("text/plain",
									      "7") "]}";
	static const enum gt_oci_media media[] = { GT_OCI_TAR_GZIP, GT_OCI_TAR,     GT_OCI_TAR_ZSTD,
						   GT_OCI_TAR_GZIP, GT_OCI_FOREIGN, GT_OCI_OTHER };
	gt_auto(oci_manifest) struct gt_oci_manifest *m = NULL;
	struct gt_err err = { 0 };

	(void)state;
	if (gt_oci_manifest_read(text, strlen(text), MAN "; charset=utf-8", &m, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(m->kind, GT_OCI_MANIFEST);
	assert_string_equal(m->config.digest, DIG);
	assert_int_equal(m->config.size, 10);
	assert_int_equal(m->n, GT_LEN(media));
	for (size_t i = 0; i < m->n; i++)
		assert_int_equal(m->items[i].media, media[i]);
	assert_int_equal(m->items[2].size, GT_OCI_BLOB_MAX);
}

static void an_index_is_read(void **state)
{
	static const char text[] =
		"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MAN "\",\"digest\":\"" DIG
		"\",\"size\":5,\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\","
		"\"variant\":\"v2\",\"os.version\":\"1\"}},{\"mediaType\":\"" INDEX
		"\",\"digest\":\"sha512:" HEX HEX "\",\"size\":6,\"platform\":null}]}";
	gt_auto(oci_manifest) struct gt_oci_manifest *m = NULL;
	struct gt_err err = { 0 };

	(void)state;
	/* OCI leaves mediaType out; the field then says what it is. */
	if (gt_oci_manifest_read(text, strlen(text), INDEX, &m, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(m->kind, GT_OCI_INDEX);
	assert_int_equal(m->n, 2);
	assert_true(m->items[0].has_platform);
	assert_string_equal(m->items[0].variant, "v2");
	assert_false(m->items[1].has_platform);
	assert_int_equal(m->items[1].media, GT_OCI_INDEX);
	assert_string_equal(m->items[1].digest, "");
}

static const struct {
	const char *type, *text, *why;
} bad[] = {
	{ MAN, "", "empty" },
	{ MAN, "{", "line 1" },
	{ MAN, "[]", "an object" },
	{ MAN, "{\"schemaVersion\":1}", "schemaVersion: not 2" },
	{ MAN, "{\"schemaVersion\":2,\"schemaVersion\":2}", "given twice" },
	{ MAN, "{\"schemaVersion\":2,\"config\":" CONF "}", "layers: missing" },
	{ MAN, "{\"schemaVersion\":2,\"layers\":[" LAYER "]}", "config: missing" },
	{ MAN, "{\"schemaVersion\":2,\"config\":" CONF ",\"layers\":[]}", "layers: empty" },
	{ MAN, "{\"schemaVersion\":2,\"config\":" CONF ",\"layers\":[7]}", "layers[0]" },
	{ MAN, "{\"schemaVersion\":2,\"config\":" CONF ",\"layers\":{}}", "an array" },
	{ MAN,
	  "{\"schemaVersion\":2,\"config\":" DESC("application/vnd.oci.empty.v1+json",
						  "2") ",\"layers\":[" LAYER "]}",
	  "no container image" },
	{ MAN,
	  "{\"schemaVersion\":2,\"config\":" DESC(OCI "config.v1+json",
						  "8388609") ",\"layers\":[" LAYER "]}",
	  "config.size" },
	{ MAN,
	  "{\"schemaVersion\":2,\"config\":" DESC(OCI "config.v1+json", "-1") ",\"layers\":[" LAYER
									      "]}",
	  "below 0" },
	{ MAN,
	  "{\"schemaVersion\":2,\"config\":" DESC(OCI "config.v1+json", "1.5") ",\"layers\":[" LAYER
									       "]}",
	  "config.size" },
	{ MAN,
	  "{\"schemaVersion\":2,\"config\":" CONF
	  ",\"layers\":[" DESC(OCI "layer.v1.tar", "4398046511105") "]}",
	  "layers[0].size" },
	{ MAN,
	  "{\"schemaVersion\":2,\"config\":" CONF
	  ",\"layers\":[" DESC(OCI "layer.v1.tar", "99999999999999999999") "]}",
	  "out of range" },
	{ MAN,
	  "{\"schemaVersion\":2,\"config\":" CONF
	  ",\"layers\":[{\"digest\":\"sha256:abc\",\"size\":1}]}",
	  "no sha256 digest" },
	{ MAN,
	  "{\"schemaVersion\":2,\"config\":" CONF ",\"layers\":[{\"digest\":\"" DIG
	  "\\u0000\",\"size\":1}]}",
	  "NUL" },
	{ MAN, "{\"schemaVersion\":2,\"config\":" CONF ",\"layers\":[{\"digest\":\"" DIG "\"}]}",
	  "size: missing" },
	{ MAN, "{\"schemaVersion\":2,\"config\":" CONF ",\"layers\":[{\"size\":1}]}",
	  "digest: missing" },
	{ NULL, "{\"schemaVersion\":2,\"config\":" CONF ",\"layers\":[" LAYER "]}",
	  "no Content-Type" },
	{ "application/json", "{\"schemaVersion\":2,\"config\":" CONF ",\"layers\":[" LAYER "]}",
	  "neither" },
	{ INDEX, "{\"schemaVersion\":2,\"mediaType\":\"" MAN "\"}", "came as" },
	{ INDEX, "{\"schemaVersion\":2,\"config\":" CONF ",\"layers\":[" LAYER "]}",
	  "both an index and a manifest" },
	{ MAN, "{\"schemaVersion\":2,\"manifests\":[],\"config\":" CONF ",\"layers\":[" LAYER "]}",
	  "both an index and a manifest" },
	{ DOCK "distribution.manifest.v1+prettyjws", "{\"schemaVersion\":1}", "schema 1" },
	{ INDEX, "{\"schemaVersion\":2,\"manifests\":[]}", "manifests: empty" },
};

static void bad_manifests_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(bad); i++) {
		struct gt_oci_manifest *m = NULL;
		struct gt_err err = { 0 };

		if (gt_oci_manifest_read(bad[i].text, strlen(bad[i].text), bad[i].type, &m, &err) >=
		    0)
			fail_msg("accepted: %s", bad[i].text);
		assert_null(m);
		assert_string_equal(err.slug, "image_invalid");
		if (!strstr(err.text, bad[i].why))
			fail_msg("%s: %s", bad[i].text, err.text);
	}
}

static int read_layers(size_t n)
{
	gt_auto(oci_manifest) struct gt_oci_manifest *m = NULL;
	gt_auto(buf) struct gt_buf b = { 0 };

	gt_buf_adds(&b, "{\"schemaVersion\":2,\"config\":" CONF ",\"layers\":[");
	for (size_t i = 0; i < n; i++)
		gt_buf_addf(&b, "%s%s", i ? "," : "", LAYER);
	gt_buf_adds(&b, "]}");
	return gt_oci_manifest_read(b.data, b.len, MAN, &m, NULL);
}

static void counts_and_sizes_are_bounded(void **state)
{
	gt_auto(oci_manifest) struct gt_oci_manifest *m = NULL;
	gt_auto(buf) struct gt_buf b = { 0 };
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(read_layers(GT_IMAGE_LAYERS_MAX), 0);
	assert_int_equal(read_layers(GT_IMAGE_LAYERS_MAX + 1), -EINVAL);
	/* Small text, large tree. */
	gt_buf_adds(&b, "{\"x\":[");
	for (size_t i = 0; i < 200000; i++)
		gt_buf_adds(&b, "[],");
	gt_buf_adds(&b, "0]}");
	assert_int_equal(gt_oci_manifest_read(b.data, b.len, MAN, &m, &err), -EINVAL);
	assert_non_null(strstr(err.text, "more than 100000 values"));
	gt_buf_reset(&b);
	while (b.len <= GT_OCI_MANIFEST_MAX)
		gt_buf_adds(&b, "                                                              ");
	assert_int_equal(gt_oci_manifest_read(b.data, b.len, MAN, &m, &err), -EMSGSIZE);
	assert_string_equal(err.slug, "image_invalid");
}

#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" DIG "\"]}"
#define LINUX  "\"os\":\"linux\",\"architecture\":\"amd64\","

static void a_config_is_read(void **state)
{
	static const char text[] =
		"{" LINUX "\"config\":{\"Entrypoint\":[\"/bin/a\",\"\"],\"Cmd\":null,"
		"\"Env\":[\"A=b=c\",\"E=\"],\"User\":\"app\",\"WorkingDir\":\"/w\","
		"\"StopSignal\":\"SIGINT\",\"ExposedPorts\":{\"8080/tcp\":{},\"53/udp\":{}},"
		"\"Volumes\":{\"/v\":{}},\"Labels\":null},\"history\":[{}]," ROOTFS "}";
	gt_auto(image_config) struct gt_image_config *c = NULL;
	struct gt_err err = { 0 };

	(void)state;
	if (gt_oci_image_read(text, strlen(text), &c, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(c->entrypoint[0], "/bin/a");
	assert_string_equal(c->entrypoint[1], "");
	assert_null(c->entrypoint[2]);
	assert_null(c->cmd[0]);
	assert_string_equal(c->env[0], "A=b=c");
	assert_string_equal(c->env[1], "E=");
	assert_null(c->env[2]);
	assert_string_equal(c->user, "app");
	assert_string_equal(c->workdir, "/w");
	assert_string_equal(c->stop_signal, "SIGINT");
	assert_int_equal(c->port, 8080);
	assert_int_equal(c->n_diff_ids, 1);
	assert_string_equal(c->diff_ids[0], DIG);
}

static const struct {
	const char *ports;
	uint16_t port;
} ports[] = {
	{ "{}", 0 },
	{ "{\"80\":{}}", 80 },
	{ "{\"80/TCP\":{}}", 80 },
	{ "{\"80/tcp\":{},\"81/tcp\":{}}", 0 },
	{ "{\"80/tcp\":{},\"81/tcp\":{},\"82/tcp\":{}}", 0 },
	{ "{\"80/tcp\":{},\"80-90/tcp\":{}}", 80 },
	{ "{\"65536/tcp\":{}}", 0 },
	{ "{\"-1/tcp\":{}}", 0 },
	{ "{\"80/sctp\":{}}", 0 },
	{ "{\"\":{}}", 0 },
	{ "null", 0 },
};

static void the_only_tcp_port_counts(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(ports); i++) {
		gt_auto(image_config) struct gt_image_config *c = NULL;
		gt_auto(free) char *text = gt_asprintf(
			"{" LINUX "\"config\":{\"ExposedPorts\":%s}," ROOTFS "}", ports[i].ports);

		assert_int_equal(gt_oci_image_read(text, strlen(text), &c, NULL), 0);
		assert_int_equal(c->port, ports[i].port);
		assert_null(c->user);
	}
}

static const struct {
	const char *text, *why;
} bad_configs[] = {
	{ "{" ROOTFS "}", "?/?" },
	{ "{\"os\":\"linux\",\"architecture\":\"arm64\"," ROOTFS "}", "linux/arm64" },
	{ "{\"os\":\"windows\",\"architecture\":\"amd64\"," ROOTFS "}", "windows/amd64" },
	{ "{" LINUX "\"config\":{}}", "diff_ids" },
	{ "{" LINUX "\"rootfs\":{\"diff_ids\":[]}}", "diff_ids" },
	{ "{" LINUX "\"rootfs\":{\"diff_ids\":[\"sha256:0\"]}}", "diff_ids[0]" },
	{ "{" LINUX "\"rootfs\":{\"diff_ids\":[7]}}", "diff_ids[0]" },
	{ "{" LINUX ROOTFS ",\"config\":{\"Env\":[\"A\"]}}", "config.Env[0]" },
	{ "{" LINUX ROOTFS ",\"config\":{\"Env\":[\"=A\"]}}", "config.Env[0]" },
	{ "{" LINUX ROOTFS ",\"config\":{\"Env\":[\"A=\\u0000LD_PRELOAD=x\"]}}", "NUL" },
	{ "{" LINUX ROOTFS ",\"config\":{\"Cmd\":\"/bin/sh\"}}", "config.Cmd" },
	{ "{" LINUX ROOTFS ",\"config\":{\"Entrypoint\":[null]}}", "config.Entrypoint[0]" },
	{ "{" LINUX ROOTFS ",\"config\":{\"User\":7}}", "config.User" },
	{ "{" LINUX ROOTFS ",\"config\":{\"User\":\"a\\u0000\"}}", "NUL" },
	{ "{" LINUX ROOTFS ",\"config\":{\"User\":\"a\",\"User\":\"b\"}}", "given twice" },
};

static void bad_configs_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(bad_configs); i++) {
		struct gt_image_config *c = NULL;
		struct gt_err err = { 0 };

		if (gt_oci_image_read(bad_configs[i].text, strlen(bad_configs[i].text), &c, &err) >=
		    0)
			fail_msg("accepted: %s", bad_configs[i].text);
		assert_string_equal(err.slug, "image_invalid");
		if (!strstr(err.text, bad_configs[i].why))
			fail_msg("%s: %s", bad_configs[i].text, err.text);
	}
}

static const struct {
	const char *text, *token; /* NULL = refused */
	uint64_t expires_s;
} tokens[] = {
	{ "{\"token\":\"abc\"}", "abc", 60 },
	{ "{\"access_token\":\"abc\",\"expires_in\":300,\"issued_at\":\"x\"}", "abc", 300 },
	{ "{\"token\":\"abc\",\"access_token\":\"def\"}", "abc", 60 },
	{ "{\"token\":\"\",\"access_token\":\"def\"}", "def", 60 },
	{ "{\"token\":\"abc\",\"expires_in\":-5}", "abc", 0 },
	{ "{\"token\":\"abc\",\"expires_in\":999999999999}", "abc", 86400 },
	{ "{}", NULL, 0 },
	{ "{\"token\":\"\"}", NULL, 0 },
	{ "{\"token\":7}", NULL, 0 },
	{ "{\"token\":\"a\\r\\nHost: x\"}", NULL, 0 },
	{ "{\"token\":\"a b\"}", NULL, 0 },
	{ "{\"token\":\"a\\u0000b\"}", NULL, 0 },
	{ "{\"token\":\"abc\",\"expires_in\":\"300\"}", NULL, 0 },
	{ "<html>", NULL, 0 },
};

static void tokens_fit_a_header(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(tokens); i++) {
		gt_auto(free) char *token = NULL;
		uint64_t expires = 0;
		struct gt_err err = { 0 };
		int r = gt_oci_token_read(tokens[i].text, strlen(tokens[i].text), &token, &expires,
					  &err);

		if ((r == 0) != (tokens[i].token != NULL))
			fail_msg("%s: %s", tokens[i].text, err.text);
		if (r == 0)
			assert_string_equal(token, tokens[i].token);
		assert_int_equal(expires, tokens[i].expires_s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_manifest_is_read),
		cmocka_unit_test(an_index_is_read),
		cmocka_unit_test(bad_manifests_are_refused),
		cmocka_unit_test(counts_and_sizes_are_bounded),
		cmocka_unit_test(a_config_is_read),
		cmocka_unit_test(the_only_tcp_port_counts),
		cmocka_unit_test(bad_configs_are_refused),
		cmocka_unit_test(tokens_fit_a_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
