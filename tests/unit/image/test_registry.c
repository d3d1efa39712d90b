/* test_registry.c - manifests, indexes and configurations, from an honest registry and from one
 * that lies, limits, stalls and breaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <gantry/wire/oci.h>

#include "reg_world.h"

GT_CLEANUP_TYPE(manifest, struct gt_manifest *, gt_manifest_free)

static void an_image_is_read(void **state)
{
	gt_auto(manifest) struct gt_manifest *m = NULL, *pinned = NULL;
	gt_auto(image_config) struct gt_image_config *c = NULL;
	struct reg *w = *state;
	char rest[100];

	if (reg_manifest(w, ":1", &m) < 0)
		fail_msg("%s", w->err.text);
	assert_string_equal(m->digest, w->manifest);
	assert_string_equal(m->index, "");
	assert_string_equal(m->config.digest, w->conf);
	assert_int_equal(m->n_layers, 2);
	assert_string_equal(m->layers[0].digest, w->layer[0]);
	assert_int_equal(m->layers[0].bytes, LAYER_SIZE);
	assert_int_equal(m->layers[0].form, GT_LAYER_GZIP);
	assert_int_equal(m->layers[1].form, GT_LAYER_ZSTD);
	assert_int_equal(fake_server_saw(w->server, gt_oci_accept), 1);
	if (gt_registry_config(w->r, &w->ref, m, NULL, &c, &w->err) < 0)
		fail_msg("%s", w->err.text);
	assert_string_equal(c->cmd[0], "/a");
	assert_int_equal(c->n_diff_ids, 2);
	/* The digest wins over the tag. */
	snprintf(rest, sizeof(rest), ":nowhere@%s", w->manifest);
	assert_int_equal(reg_manifest(w, rest, &pinned), 0);
	assert_string_equal(pinned->digest, w->manifest);
	reg_expect(w, reg_manifest_fails(w, ":2"), -ENOENT, "image_missing", "team/echo:2");
}

#define ENTRY "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu%s}"
#define LINUX ",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}"

static const struct reg_item *add_index(struct reg *w, const char *tag, const char *entries)
{
	return reg_addf(w, tag, OCI "index.v1+json", "{\"schemaVersion\":2,\"manifests\":[%s]}",
			entries);
}

static char *entry(const struct reg_item *item, const char *platform)
{
	return gt_asprintf(ENTRY, item->type, item->digest, item->len, platform);
}

static void an_index_is_followed(void **state)
{
	gt_auto(manifest) struct gt_manifest *m = NULL, *deep = NULL;
	struct reg *w = *state;
	const struct reg_item *image = reg_find(w, "1");
	gt_auto(free) char *good = entry(image, LINUX), *inner = NULL, *list = NULL;

	list = gt_asprintf("{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"sha512:00\","
			   "\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}},"
			   "{\"mediaType\":\"" OCI
			   "manifest.v1+json\",\"digest\":\"%s\",\"size\":7,"
			   "\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\"}},%s",
			   w->layer[0], good);
	const struct reg_item *one = add_index(w, "multi", list);

	if (reg_manifest(w, ":multi", &m) < 0)
		fail_msg("%s", w->err.text);
	assert_string_equal(m->digest, w->manifest);
	assert_string_equal(m->index, one->digest);
	inner = entry(one, "");
	const struct reg_item *two = add_index(w, "deep", inner);

	assert_int_equal(reg_manifest(w, ":deep", &deep), 0);
	assert_string_equal(deep->digest, w->manifest);
	assert_string_equal(deep->index, two->digest);
	gt_auto(free) char *outer = entry(two, "");

	add_index(w, "deeper", outer);
	reg_expect(w, reg_manifest_fails(w, ":deeper"), -EBADMSG, "image_invalid", "deep");
}

static void the_platform_is_chosen(void **state)
{
	static const struct {
		const char *first, *second, *third; /* variants; "-" = without platform */
		unsigned wanted;
	} cases[] = {
		{ "v3", "v2", "v4", 1 }, { "v3", "", "v1", 1 },  { "-", "v3", "-", 1 },
		{ "-", "arm", "-", 0 },  { "v9", "-", "v4", 2 }, { "-", "v9", "v1", 2 },
	};
	struct reg *w = *state;
	const struct reg_item *image = reg_find(w, "1");
	const struct reg_item *same[3] = { image };

	/* The same manifest three times, told apart by blanks behind it. */
	same[1] = reg_addf(w, "", image->type, "%.*s ", (int)image->len, image->data);
	same[2] = reg_addf(w, "", image->type, "%.*s  ", (int)image->len, image->data);
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		const char *variants[] = { cases[i].first, cases[i].second, cases[i].third };
		gt_auto(manifest) struct gt_manifest *m = NULL;
		gt_auto(buf) struct gt_buf list = { 0 };
		char tag[32], rest[40];

		for (size_t v = 0; v < 3; v++) {
			gt_auto(free) char *platform = gt_asprintf(
				",\"platform\":{\"os\":\"linux\",\"architecture\":\"%s\","
				"\"variant\":\"%s\"}",
				gt_streq(variants[v], "arm") ? "arm" : "amd64", variants[v]);
			gt_auto(free) char *e = entry(same[v],
						      gt_streq(variants[v], "-") ? "" : platform);

			gt_buf_addf(&list, "%s%s", v ? "," : "", e);
		}
		snprintf(tag, sizeof(tag), "case%zu", i);
		snprintf(rest, sizeof(rest), ":%s", tag);
		add_index(w, tag, gt_buf_str(&list));
		if (reg_manifest(w, rest, &m) < 0)
			fail_msg("%zu: %s", i, w->err.text);
		assert_string_equal(m->digest, same[cases[i].wanted]->digest);
	}
}

static void other_platforms_are_told(void **state)
{
	struct reg *w = *state;
	gt_auto(free) char *arm = entry(
		reg_find(w, "1"),
		",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\"}");

	add_index(w, "arm", arm);
	reg_expect(w, reg_manifest_fails(w, ":arm"), -EBADMSG, "image_invalid",
		   "not for linux/amd64; there is: linux/arm64/v8");
}

static void an_index_that_lies_is_refused(void **state)
{
	struct reg *w = *state;
	const struct reg_item *image = reg_find(w, "1");
	gt_auto(free) char *size = gt_asprintf(ENTRY, image->type, image->digest, image->len + 1,
					       LINUX);
	gt_auto(free) char *type = gt_asprintf(ENTRY, OCI "index.v1+json", image->digest,
					       image->len, LINUX);

	add_index(w, "size", size);
	reg_expect(w, reg_manifest_fails(w, ":size"), -EBADMSG, "image_invalid", "its index says");
	add_index(w, "type", type);
	reg_expect(w, reg_manifest_fails(w, ":type"), -EBADMSG, "image_invalid", "another type");
}

static void layers_are_refused_with_the_reason(void **state)
{
	static const struct {
		const char *type, *why;
	} cases[] = {
		{ OCI "layer.nondistributable.v1.tar+gzip", "may not be distributed" },
		{ DOCK "image.rootfs.foreign.diff.tar.gzip", "may not be distributed" },
		{ OCI "layer.v1.tar+gzip+encrypted", "not supported" },
		{ "text\\n\\u001b[2J", "\"text??[2J\"" }, /* nothing that a terminal would act on */
		{ "", "not supported" },
	};
	struct reg *w = *state;

	for (size_t i = 0; i < GT_LEN(cases); i++) {
		reg_addf(w, "bad", DOCK "distribution.manifest.v2+json",
			 "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" DOCK
			 "container.image.v1+json\",\"digest\":\"%s\",\"size\":9},\"layers\":[{"
			 "\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":7}]}",
			 w->conf, cases[i].type, w->layer[0]);
		reg_expect(w, reg_manifest_fails(w, ":bad"), -EBADMSG, "image_invalid",
			   cases[i].why);
	}
}

static void the_config_must_fit_the_layers(void **state)
{
	gt_auto(manifest) struct gt_manifest *m = NULL;
	struct gt_image_config *c = NULL;
	struct reg *w = *state;

	assert_int_equal(reg_manifest(w, ":1", &m), 0);
	m->n_layers = 1;
	reg_expect(w, gt_registry_config(w->r, &w->ref, m, NULL, &c, &w->err), -EBADMSG,
		   "image_invalid", "1 layers, but 2 diff ids");
	m->n_layers = 2;
	m->config.bytes = GT_OCI_CONFIG_MAX + 1;
	reg_expect(w, gt_registry_config(w->r, &w->ref, m, NULL, &c, &w->err), -EMSGSIZE,
		   "image_invalid", "a config of");
	assert_null(c);
}

/* ---- answers that are not what they should be ------------------------------------------------ */
static enum reg_hooked lying(struct reg *w, struct fake_request *req)
{
	const struct reg_item *image = reg_find(w, "1");

	if (reg_is(req, "/manifests/swapped"))
		return reg_serve(req, image) ? KEEP : CLOSE;
	if (reg_is(req, "/manifests/sha256:"))
		return fake_reply(req, 200, "Content-Type: " OCI "manifest.v1+json\r\n", "{}", 2)
			       ? KEEP
			       : CLOSE;
	if (reg_is(req, "/manifests/announced")) {
		fake_reply(req, 200,
			   "Content-Type: " OCI "manifest.v1+json\r\nDocker-Content-Digest: "
			   "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
			   "\r\n",
			   image->data, image->len);
		return KEEP;
	}
	if (reg_is(req, "/manifests/type")) {
		fake_reply(req, 200, "Content-Type: " OCI "index.v1+json\r\n", image->data,
			   image->len);
		return KEEP;
	}
	if (reg_is(req, "/manifests/untyped")) {
		fake_reply(req, 200, "", image->data, image->len);
		return KEEP;
	}
	if (reg_is(req, "/manifests/garbage")) {
		fake_reply(req, 200, "Content-Type: " OCI "manifest.v1+json\r\n", "\x00\xff{", 3);
		return KEEP;
	}
	if (reg_is(req, "/manifests/gzip")) {
		fake_reply(req, 200,
			   "Content-Type: " OCI "manifest.v1+json\r\nContent-Encoding: gzip\r\n",
			   image->data, image->len);
		return KEEP;
	}
	if (reg_is(req, "/manifests/huge")) {
		fake_sendf(req, "HTTP/1.1 200 X\r\nContent-Length: 5000000\r\n\r\n");
		return CLOSE;
	}
	if (reg_is(req, "/manifests/endless")) {
		fake_sendf(req, "HTTP/1.1 200 X\r\nContent-Type: " OCI "manifest.v1+json\r\n\r\n{");
		while (fake_sendf(req, "%4096s", ""))
			continue;
		return CLOSE;
	}
	if (reg_is(req, "/manifests/teapot"))
		return fake_reply(req, 418, "", "", 0) ? KEEP : CLOSE;
	if (reg_is(req, "/manifests/nocontent"))
		return fake_sendf(req, "HTTP/1.1 204 X\r\n\r\n") ? KEEP : CLOSE;
	if (reg_is(req, "/manifests/denied"))
		return fake_reply(req, 403, "", "", 0) ? KEEP : CLOSE;
	if (reg_is(req, "/manifests/loop"))
		return fake_sendf(req,
				  "HTTP/1.1 307 X\r\nContent-Length: 0\r\nLocation: loop\r\n\r\n")
			       ? KEEP
			       : CLOSE;
	return PASS;
}

static void lies_are_found(void **state)
{
	static const struct {
		const char *rest;
		int code;
		const char *slug, *why;
	} cases[] = {
		{ ":announced", -EBADMSG, "image_invalid", "it should be sha256:0123" },
		{ ":type", -EINVAL, "image_invalid", "came as" },
		{ ":untyped", -EINVAL, "image_invalid", "no Content-Type" },
		{ ":garbage", -EINVAL, "image_invalid", "line 1" },
		{ ":gzip", -EBADMSG, "image_invalid", "compressed" },
		{ ":huge", -EMSGSIZE, "image_invalid", "5000000" },
		{ ":endless", -EMSGSIZE, "image_invalid", "longer than" },
		{ ":teapot", -EIO, "registry_unavailable", "status 418" },
		{ ":nocontent", -EIO, "registry_unavailable", "status 204" },
		{ ":denied", -EACCES, "image_denied", "status 403" },
		{ ":loop", -EPROTO, "registry_unavailable", "redirects" },
		{ "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		  -EBADMSG, "image_invalid", "it should be sha256:0123" },
	};
	struct reg *w = *state;
	struct gt_manifest *m = NULL;

	w->hook = lying;
	for (size_t i = 0; i < GT_LEN(cases); i++)
		reg_expect(w, reg_manifest_fails(w, cases[i].rest), cases[i].code, cases[i].slug,
			   cases[i].why);
	/* A tag may mean any manifest. */
	assert_int_equal(reg_manifest(w, ":swapped", &m), 0);
	gt_manifest_free(m);
}

/* ---- registries that are not well ------------------------------------------------------------ */
/* number times what text says, then honest. */
static enum reg_hooked failing(struct reg *w, struct fake_request *req)
{
	bool keep = w->text[0] && !strstr(w->text, "close");

	if (atomic_fetch_add(&w->count, 1) >= w->number)
		return PASS;
	fake_sendf(req, "%s", w->text);
	return keep ? KEEP : CLOSE;
}

static int with_failures(struct reg *w, unsigned number, const char *answer)
{
	struct gt_manifest *m = NULL;

	w->hook = failing;
	w->number = number;
	atomic_store(&w->count, 0);
	gt_strcopy(w->text, sizeof(w->text), answer);
	int r = reg_manifest(w, ":1", &m);

	gt_manifest_free(m);
	return r;
}

static void what_passes_is_tried_again(void **state)
{
	static const char *const passing[] = {
		"HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nbusy",
		"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 429 X\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n",
		"HTTP/1.1 429 X\r\nContent-Length: 0\r\nRetry-After: 86400\r\n\r\n",
		"HTTP/1.1 429 X\r\nContent-Length: 0\r\nRetry-After: nonsense\r\n\r\n",
		"HTTP/1.1 408 X\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 X\r\nContent-Type: " OCI "manifest.v1+json\r\nContent-Length: 900"
		"\r\nX: close\r\n\r\n{\"schema",
		"", /* hangs up without a word */
	};
	struct reg *w = *state;

	for (size_t i = 0; i < GT_LEN(passing); i++) {
		int r = with_failures(w, 3, passing[i]);

		if (r < 0)
			fail_msg("%s: %s", passing[i], w->err.text);
		assert_int_equal(w->err.code, 0);
	}
}

static void tries_end(void **state)
{
	struct reg *w = *state;

	reg_expect(w, with_failures(w, 99, "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"), -EIO,
		   "registry_unavailable", "status 503");
	assert_int_equal(atomic_load(&w->count), 4);
	reg_expect(w, with_failures(w, 99, "HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n"), -EBUSY,
		   "registry_unavailable", "limits how often");
	reg_expect(w, with_failures(w, 99, ""), -EIO, "registry_unavailable", "127.0.0.1");
	/* What will not pass is not tried again. */
	reg_expect(w, with_failures(w, 99, "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"), -ENOENT,
		   "image_missing", "does not have it");
	assert_int_equal(atomic_load(&w->count), 1);
}

static void retry_after_is_waited_for(void **state)
{
	struct reg *w = *state;
	uint64_t start = gt_mono_ns(&gt_clock_system);

	w->config.pause_ms = 20; /* longest: 1280 ms */
	reg_open(w);
	assert_int_equal(
		with_failures(w, 1,
			      "HTTP/1.1 429 X\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"),
		0);
	assert_true(gt_mono_ns(&gt_clock_system) - start >= GT_NS_PER_S);
}

static enum reg_hooked hanging(struct reg *w, struct fake_request *req)
{
	atomic_fetch_add(&w->count, 1);
	if (w->number)
		atomic_store(&w->cancel, true);
	fake_hang(req);
	return CLOSE;
}

static enum reg_hooked busy_and_cancel(struct reg *w, struct fake_request *req)
{
	atomic_store(&w->cancel, true);
	return fake_reply(req, 503, "", "", 0) ? KEEP : CLOSE;
}

static void a_silent_registry_is_given_up(void **state)
{
	struct reg *w = *state;

	w->hook = hanging;
	w->config.stall_s = 1;
	reg_open(w);
	reg_expect(w, reg_manifest_fails(w, ":1"), -ETIMEDOUT, "registry_unavailable",
		   "manifest 1");
	assert_int_equal(atomic_load(&w->count), 2);
}

static void a_cancelled_pull_ends(void **state)
{
	struct reg *w = *state;

	w->hook = hanging;
	w->number = 1;
	reg_expect(w, reg_manifest_fails(w, ":1"), -ECANCELED, "registry_unavailable", "cancelled");
	/* Also in a pause. */
	atomic_store(&w->cancel, false);
	w->hook = busy_and_cancel;
	w->config.pause_ms = 3600000;
	reg_open(w);
	reg_expect(w, reg_manifest_fails(w, ":1"), -ECANCELED, "registry_unavailable", "cancelled");
}

static atomic_uint connects;

/* libcurl's, too. */
int connect(int fd, const struct sockaddr *to, socklen_t len)
{
	atomic_fetch_add(&connects, 1);
	return (int)syscall(SYS_connect, fd, to, len);
}

static void nobody_there(void **state)
{
	struct gt_blob layer = reg_layer_blob(*state);
	struct reg *w = *state;

	snprintf(w->ref.host, sizeof(w->ref.host), "127.0.0.1:1");
	atomic_store(&connects, 0);
	reg_expect(w, reg_manifest_fails(w, ":1"), -ECONNREFUSED, "registry_unavailable",
		   "127.0.0.1:1");
	assert_int_equal(atomic_load(&connects), 2);
	/* In the middle of a pull it is more likely to come back. */
	atomic_store(&connects, 0);
	reg_expect(w, reg_blob(w, &layer), -ECONNREFUSED, "registry_unavailable", "127.0.0.1:1");
	assert_int_equal(atomic_load(&connects), w->config.tries);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, reg_setup, reg_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_image_is_read),
		TEST(an_index_is_followed),
		TEST(the_platform_is_chosen),
		TEST(other_platforms_are_told),
		TEST(an_index_that_lies_is_refused),
		TEST(layers_are_refused_with_the_reason),
		TEST(the_config_must_fit_the_layers),
		TEST(lies_are_found),
		TEST(what_passes_is_tried_again),
		TEST(tries_end),
		TEST(retry_after_is_waited_for),
		TEST(a_silent_registry_is_given_up),
		TEST(a_cancelled_pull_ends),
		TEST(nobody_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
