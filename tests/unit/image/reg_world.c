/* reg_world.c - see the header. */
#include "reg_world.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/http/digest.h>

const struct reg_item *reg_add(struct reg *w, const char *tag, const char *type, const char *data,
			       size_t len)
{
	struct reg_item *item = &w->items[w->n++];
	char hex[GT_SHA256_HEX_SIZE];

	assert_true(w->n < ITEMS_MAX);
	gt_sha256_hex(data, len, hex);
	snprintf(item->digest, sizeof(item->digest), "sha256:%s", hex);
	gt_strcopy(item->tag, sizeof(item->tag), tag);
	gt_strcopy(item->type, sizeof(item->type), type);
	item->data = malloc(len + 1);
	memcpy(item->data, data, len);
	item->len = len;
	return item;
}

const struct reg_item *reg_addf(struct reg *w, const char *tag, const char *type, const char *fmt,
				...)
{
	char *text = NULL;
	va_list args;

	va_start(args, fmt);
	int len = vasprintf(&text, fmt, args);

	va_end(args);
	assert_true(len >= 0);
	const struct reg_item *item = reg_add(w, tag, type, text, (size_t)len);

	free(text);
	return item;
}

const struct reg_item *reg_find(const struct reg *w, const char *name)
{
	/* The tag's latest meaning. */
	for (size_t i = w->n; i > 0; i--)
		if (strcmp(w->items[i - 1].tag, name) == 0 ||
		    strcmp(w->items[i - 1].digest, name) == 0)
			return &w->items[i - 1];
	return NULL;
}

bool reg_is(const struct fake_request *req, const char *part)
{
	return strstr(req->target, part) != NULL;
}

bool reg_serve(struct fake_request *req, const struct reg_item *item)
{
	char range[64], headers[400];
	size_t from = 0;

	if (fake_header(req, "Range", range, sizeof(range)) &&
	    sscanf(range, "bytes=%zu-", &from) == 1 && from < item->len) {
		snprintf(headers, sizeof(headers), "Content-Range: bytes %zu-%zu/%zu\r\n", from,
			 item->len - 1, item->len);
		return fake_reply(req, 206, headers, item->data + from, item->len - from);
	}
	snprintf(headers, sizeof(headers), "Content-Type: %s\r\nDocker-Content-Digest: %s\r\n",
		 item->type, item->digest);
	return fake_reply(req, 200, headers, item->data, item->len);
}

static bool on_request(struct fake_request *req, void *arg)
{
	struct reg *w = arg;
	const char *slash = strrchr(req->target, '/');
	const struct reg_item *item;

	switch (w->hook ? w->hook(w, req) : PASS) {
	case KEEP:
		return true;
	case CLOSE:
		return false;
	case PASS:
		break;
	}
	item = slash ? reg_find(w, slash + 1) : NULL;
	if (!item || !gt_starts_with(req->target, "/v2/team/echo/"))
		return fake_reply(req, 404, "", "{}", 2);
	return reg_serve(req, item);
}

static void image_add(struct reg *w)
{
	static const char two[] = "the second layer";
	const struct reg_item *a, *b, *conf;

	/* No two pieces of it are alike, so that a wrong offset shows. */
	for (size_t i = 0; i < LAYER_SIZE; i++)
		w->layer_data[i] = (char)(i * 7 + i / 251);
	a = reg_add(w, "", "application/octet-stream", w->layer_data, LAYER_SIZE);
	b = reg_add(w, "", "application/octet-stream", two, strlen(two));
	conf = reg_addf(
		w, "", "application/octet-stream",
		"{\"os\":\"linux\",\"architecture\":\"amd64\",\"config\":{\"Cmd\":[\"/a\"]},"
		"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\",\"%s\"]}}",
		a->digest, b->digest);
	gt_strcopy(w->layer[0], sizeof(w->layer[0]), a->digest);
	gt_strcopy(w->layer[1], sizeof(w->layer[1]), b->digest);
	gt_strcopy(w->conf, sizeof(w->conf), conf->digest);
	const struct reg_item *m = reg_addf(
		w, "1", OCI "manifest.v1+json",
		"{\"schemaVersion\":2,\"mediaType\":\"" OCI "manifest.v1+json\",\"config\":{"
		"\"mediaType\":\"" OCI "config.v1+json\",\"digest\":\"%s\",\"size\":%zu},"
		"\"layers\":[{\"mediaType\":\"" OCI "layer.v1.tar+gzip\",\"digest\":\"%s\","
		"\"size\":%zu},{\"mediaType\":\"" OCI "layer.v1.tar+zstd\",\"digest\":\"%s\","
		"\"size\":%zu}]}",
		conf->digest, conf->len, a->digest, a->len, b->digest, b->len);

	gt_strcopy(w->manifest, sizeof(w->manifest), m->digest);
}

void reg_open(struct reg *w)
{
	gt_registry_free(w->r);
	w->r = NULL;
	if (gt_registry_new(&w->config, &w->r, &w->err) < 0)
		fail_msg("%s", w->err.text);
}

int reg_setup(void **state)
{
	struct reg *w = calloc(1, sizeof(*w));

	signal(SIGPIPE, SIG_IGN);
	assert_non_null(w);
	w->server = fake_server_start(on_request, w);
	w->other = fake_server_start(on_request, w);
	/* The tests of stalls ask for a short one: a busy machine stops others for a second, too.
	 */
	w->config = (struct gt_registry_config){ .stall_s = 60, .tries = 4, .pause_ms = 2 };
	snprintf(w->ref.host, sizeof(w->ref.host), "127.0.0.1:%u", fake_server_port(w->server));
	gt_strcopy(w->ref.path, sizeof(w->ref.path), "team/echo");
	image_add(w);
	reg_open(w);
	*state = w;
	return 0;
}

int reg_teardown(void **state)
{
	struct reg *w = *state;

	gt_registry_free(w->r);
	fake_server_stop(w->server);
	fake_server_stop(w->other);
	for (size_t i = 0; i < w->n; i++)
		free(w->items[i].data);
	gt_buf_fini(&w->got);
	free(w);
	return 0;
}

struct gt_blob reg_layer_blob(const struct reg *w)
{
	struct gt_blob b = { .bytes = LAYER_SIZE };

	gt_strcopy(b.digest, sizeof(b.digest), w->layer[0]);
	return b;
}

void reg_sync(struct reg *w)
{
	fake_server_sync(w->server);
	fake_server_sync(w->other);
}

int reg_manifest(struct reg *w, const char *rest, struct gt_manifest **ret)
{
	gt_auto(free) char *text = gt_asprintf("%s/team/echo%s", w->ref.host, rest);

	gt_err_clear(&w->err);
	if (gt_ref_parse(text, &w->ref, &w->err) < 0)
		fail_msg("%s", w->err.text);
	reg_sync(w);
	int r = gt_registry_manifest(w->r, &w->ref, &w->cancel, ret, &w->err);

	reg_sync(w);
	return r;
}

int reg_manifest_fails(struct reg *w, const char *rest)
{
	struct gt_manifest *m = NULL;
	int r = reg_manifest(w, rest, &m);

	assert_null(m);
	return r;
}

static int take(const void *data, size_t len, void *arg, struct gt_err *err)
{
	struct reg *w = arg;

	(void)err;
	return gt_buf_add(&w->got, data, len);
}

int reg_blob(struct reg *w, const struct gt_blob *blob)
{
	gt_err_clear(&w->err);
	gt_buf_reset(&w->got);
	reg_sync(w);
	int r = gt_registry_blob(w->r, &w->ref, blob, &w->cancel, take, w, &w->err);

	reg_sync(w);
	return r;
}

void reg_expect(struct reg *w, int r, int wanted, const char *slug, const char *text)
{
	if (r != wanted || strcmp(w->err.slug, slug) != 0 || !strstr(w->err.text, text))
		fail_msg("%d (wanted %d), %s, %s", r, wanted, w->err.slug, w->err.text);
	assert_int_equal(w->err.code, -r);
}
