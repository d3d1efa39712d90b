/* registry.c - what is asked of a registry besides blobs: from a reference to the manifest of this
 * platform, and to the image's configuration. */
#include <gantry/image/registry.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <gantry/http/digest.h>
#include <gantry/wire/oci.h>

#include "registry_priv.h"

#define PER_HOST_DEFAULT  6
#define STALL_S_DEFAULT   20 /* two tries of a document within the time of a deploy */
#define TRIES_DEFAULT     5
#define PAUSE_MS_DEFAULT  500
#define HELPER_MS_DEFAULT 10000
#define HELPER_PATH       "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define INDEXES_MAX       2
#define PLATFORMS_TOLD    8

/* ---- life ----------------------------------------------------------------------------------- */
static char **strs_copy(const char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	char **copy = gt_alloc_array(n + 1, sizeof(*copy));

	for (size_t i = 0; i < n; i++)
		copy[i] = gt_strdup(list[i]);
	return copy;
}

int gt_registry_new(const struct gt_registry_config *config, struct gt_registry **ret,
		    struct gt_err *err)
{
	struct gt_docker_config *docker = NULL;
	pthread_condattr_t attr;

	if (config->docker_config &&
	    gt_docker_config_read(config->docker_config, strlen(config->docker_config), &docker,
				  err) < 0) {
		gt_err_wrap(err, "registry credentials");
		return -EINVAL;
	}
	struct gt_registry *r = gt_alloc(sizeof(*r));

	r->docker = docker;
	r->insecure = strs_copy(config->insecure);
	r->ca_file = gt_strdup(config->ca_file);
	r->helper_path = gt_strdup(config->helper_path ? config->helper_path : HELPER_PATH);
	r->per_host = config->per_host ? config->per_host : PER_HOST_DEFAULT;
	r->stall_s = config->stall_s ? config->stall_s : STALL_S_DEFAULT;
	r->tries = config->tries ? config->tries : TRIES_DEFAULT;
	r->pause_ms = config->pause_ms ? config->pause_ms : PAUSE_MS_DEFAULT;
	r->helper_ms = config->helper_ms ? config->helper_ms : HELPER_MS_DEFAULT;
	r->clock = config->clock ? config->clock : &gt_clock_system;
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->slot_free, &attr);
	pthread_condattr_destroy(&attr);
	*ret = r;
	return 0;
}

void gt_registry_free(struct gt_registry *r)
{
	if (!r)
		return;
	while (r->n_idle)
		gt_fetcher_free(r->idle[--r->n_idle]);
	gt_auths_free(r);
	for (char **s = r->insecure; *s; s++)
		free(*s);
	free(r->insecure);
	gt_docker_config_free(r->docker);
	pthread_cond_destroy(&r->slot_free);
	pthread_mutex_destroy(&r->lock);
	free(r->ca_file);
	free(r->helper_path);
	free(r);
}

void gt_manifest_free(struct gt_manifest *m)
{
	if (!m)
		return;
	free(m->layers);
	free(m);
}
GT_CLEANUP_TYPE(manifest, struct gt_manifest *, gt_manifest_free)

/* ---- one manifest or index ------------------------------------------------------------------ */
struct document {
	struct gt_buf body;
	char type[256];                     /* Content-Type; "" = none */
	char announced[GT_REF_DIGEST_SIZE]; /* by the registry; "" = none */
	char digest[GT_REF_DIGEST_SIZE];    /* what it is */
};

static int on_head(const struct gt_fetch_answer *a, void *arg, struct gt_err *err)
{
	struct document *d = arg;
	const char *type = gt_fetch_header(a, "content-type");
	const char *digest = gt_fetch_header(a, "docker-content-digest");
	const char *encoding = gt_fetch_header(a, "content-encoding");

	if (gt_fetch_status(a) != 200)
		return 0;
	if (encoding && strcasecmp(encoding, "identity") != 0)
		return gt_err_set(err, EBADMSG, "image_invalid",
				  "it came compressed, which was not asked for");
	gt_strcopy(d->type, sizeof(d->type), type ? type : "");
	gt_strcopy(d->announced, sizeof(d->announced), gt_digest_ok(digest) ? digest : "");
	gt_buf_reset(&d->body); /* of a try before */
	return 0;
}

static int on_data(const void *data, size_t len, void *arg, struct gt_err *err)
{
	struct document *d = arg;

	return gt_buf_add(&d->body, data, len) < 0
		       ? gt_err_set(err, ENOBUFS, "unavailable", "no memory for a manifest")
		       : 0;
}

static int digest_check(struct document *d, const char *wanted, struct gt_err *err)
{
	char hex[GT_SHA256_HEX_SIZE];

	gt_sha256_hex(gt_buf_str(&d->body), d->body.len, hex);
	snprintf(d->digest, sizeof(d->digest), "sha256:%s", hex);
	if (!*wanted)
		wanted = d->announced;
	if (!*wanted || gt_streq(wanted, d->digest))
		return 0;
	return gt_err_set(err, EBADMSG, "image_invalid", "it should be %s and is %s", wanted,
			  d->digest);
}

/* `name` is a tag or a digest; the digest is checked. */
static int document_get(const struct gt_ask *ask, const char *name, struct document *d,
			struct gt_err *err)
{
	gt_auto(free) char *url = gt_asprintf("%s/v2/%s/manifests/%s", ask->base, ask->path, name);
	gt_auto(free) char *object = gt_asprintf("manifest %s", name);
	struct gt_tries tries = { 0 };

	for (;;) {
		struct gt_fetch what = { .url = url,
					 .accept = gt_oci_accept,
					 .max = GT_OCI_MANIFEST_MAX,
					 .whole_ms = ask->r->stall_s * 4000,
					 .on_head = on_head,
					 .on_data = on_data,
					 .arg = d };
		struct gt_asked asked = { 0 };
		int r = gt_ask_once(ask, &what, &asked, err);

		if (r == 0 && asked.status == 200) {
			r = digest_check(d, gt_digest_ok(name) ? name : "", err);
			if (r < 0)
				gt_err_wrap(err, "%s", object);
			return r;
		}
		r = gt_ask_failed(ask, &tries, object, r, &asked, err);
		if (r < 0)
			return r;
	}
}

/* ---- platforms ------------------------------------------------------------------------------ */
/* Less is better; 0 = not for us. The least of the variants runs everywhere, so that all nodes run
 * the same image. */
static unsigned rank(const struct gt_oci_descriptor *d)
{
	static const char *const variants[] = { "", "v1", "v2", "v3", "v4" };

	if (!d->digest[0] || (d->media != GT_OCI_MANIFEST && d->media != GT_OCI_INDEX))
		return 0;
	if (!d->has_platform)
		return d->media == GT_OCI_INDEX ? 100 : 101;
	if (!gt_streq(d->os, "linux") || !gt_streq(d->arch, "amd64"))
		return 0;
	for (unsigned i = 0; i < GT_LEN(variants); i++)
		if (gt_streq(d->variant, variants[i]))
			return 1 + i;
	return 0;
}

static int no_platform(const struct gt_oci_manifest *index, struct gt_err *err)
{
	char list[300] = "";
	size_t told = 0;

	for (size_t i = 0; i < index->n && told < PLATFORMS_TOLD; i++) {
		const struct gt_oci_descriptor *d = &index->items[i];
		size_t len = strlen(list);

		if (!d->has_platform || gt_streq(d->os, "unknown"))
			continue;
		snprintf(list + len, sizeof(list) - len, "%s%s/%s%s%s", told++ ? ", " : "", d->os,
			 d->arch, d->variant[0] ? "/" : "", d->variant);
	}
	return gt_err_set(err, EBADMSG, "image_invalid", "not for linux/amd64; there is: %s",
			  list[0] ? list : "nothing");
}

static int choose(const struct gt_oci_manifest *index, const struct gt_oci_descriptor **ret,
		  struct gt_err *err)
{
	const struct gt_oci_descriptor *best = NULL;

	for (size_t i = 0; i < index->n; i++) {
		const struct gt_oci_descriptor *d = &index->items[i];

		if (rank(d) && (!best || rank(d) < rank(best)))
			best = d;
	}
	if (!best)
		return no_platform(index, err);
	*ret = best;
	return 0;
}

/* ---- from a reference to layers ------------------------------------------------------------- */
static int layer_take(const struct gt_oci_descriptor *d, size_t i, struct gt_blob *ret,
		      struct gt_err *err)
{
	static const struct {
		enum gt_oci_media media;
		enum gt_layer_form form;
	} forms[] = { { GT_OCI_TAR, GT_LAYER_TAR },
		      { GT_OCI_TAR_GZIP, GT_LAYER_GZIP },
		      { GT_OCI_TAR_ZSTD, GT_LAYER_ZSTD } };

	if (d->media == GT_OCI_FOREIGN)
		return gt_err_set(err, EBADMSG, "image_invalid",
				  "layer %zu may not be distributed by registries (%s); use an "
				  "image without it",
				  i, d->media_type);
	for (size_t f = 0; f < GT_LEN(forms); f++) {
		if (forms[f].media != d->media)
			continue;
		*ret = (struct gt_blob){ .bytes = d->size, .form = forms[f].form };
		gt_strcopy(ret->digest, sizeof(ret->digest), d->digest);
		return 0;
	}
	return gt_err_set(err, EBADMSG, "image_invalid",
			  "layer %zu has the type \"%.100s\", which is not supported", i,
			  d->media_type);
}

static int manifest_make(const struct gt_oci_manifest *doc, struct gt_manifest *m,
			 struct gt_err *err)
{
	m->config.bytes = doc->config.size;
	gt_strcopy(m->config.digest, sizeof(m->config.digest), doc->config.digest);
	m->layers = gt_alloc_array(doc->n, sizeof(*m->layers));
	m->n_layers = doc->n;
	for (size_t i = 0; i < doc->n; i++) {
		int r = layer_take(&doc->items[i], i, &m->layers[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The descriptor that an index gave, against what came. */
static int same_as_said(const struct gt_oci_descriptor *said, const struct document *d,
			const struct gt_oci_manifest *doc, struct gt_err *err)
{
	if (said->size != d->body.len)
		return gt_err_set(err, EBADMSG, "image_invalid",
				  "manifest %s has %zu bytes; its index says %llu", d->digest,
				  d->body.len, (unsigned long long)said->size);
	if (said->media != doc->kind)
		return gt_err_set(err, EBADMSG, "image_invalid",
				  "manifest %s is of another type than its index says", d->digest);
	return 0;
}

static int follow(const struct gt_ask *ask, struct document *d, struct gt_manifest *m,
		  struct gt_err *err)
{
	const struct gt_ref *ref = ask->ref;
	const char *name = ref->digest[0] ? ref->digest : ref->tag;
	struct gt_oci_descriptor said = { 0 };

	for (int indexes = 0;; indexes++) {
		gt_auto(oci_manifest) struct gt_oci_manifest *doc = NULL;
		const struct gt_oci_descriptor *best = NULL;
		int r = document_get(ask, indexes ? said.digest : name, d, err);

		if (r < 0)
			return r;
		r = gt_oci_manifest_read(gt_buf_str(&d->body), d->body.len,
					 d->type[0] ? d->type : NULL, &doc, err);
		if (r < 0) {
			gt_err_wrap(err, "manifest %s", d->digest);
			return r;
		}
		if (indexes && (r = same_as_said(&said, d, doc, err)) < 0)
			return r;
		if (doc->kind == GT_OCI_MANIFEST)
			return manifest_make(doc, m, err);
		if (indexes == INDEXES_MAX)
			return gt_err_set(err, EBADMSG, "image_invalid",
					  "indexes within indexes, more than %d deep", INDEXES_MAX);
		if (!indexes)
			gt_strcopy(m->index, sizeof(m->index), d->digest);
		if ((r = choose(doc, &best, err)) < 0)
			return r;
		said = *best;
	}
}

int gt_registry_manifest(struct gt_registry *r, const struct gt_ref *ref, const atomic_bool *cancel,
			 struct gt_manifest **ret, struct gt_err *err)
{
	gt_auto(manifest) struct gt_manifest *m = gt_alloc(sizeof(*m));
	struct document d = { .body.max = GT_OCI_MANIFEST_MAX };
	char text[GT_REF_TEXT_SIZE];
	struct gt_ask ask;

	gt_ask_init(&ask, r, ref, cancel);
	int result = follow(&ask, &d, m, err);

	gt_buf_fini(&d.body);
	if (result < 0) {
		gt_err_printable(err); /* it may repeat what the registry wrote */
		gt_ref_format(ref, text);
		gt_err_wrap(err, "%s", text);
		return result;
	}
	gt_strcopy(m->digest, sizeof(m->digest), d.digest);
	*ret = gt_steal(&m);
	return 0;
}

/* ---- the configuration ---------------------------------------------------------------------- */
static int collect(const void *data, size_t len, void *arg, struct gt_err *err)
{
	return gt_buf_add(arg, data, len) < 0
		       ? gt_err_set(err, ENOBUFS, "registry_unavailable", "no memory for a config")
		       : 0;
}

int gt_registry_config(struct gt_registry *r, const struct gt_ref *ref, const struct gt_manifest *m,
		       const atomic_bool *cancel, struct gt_image_config **ret, struct gt_err *err)
{
	gt_auto(image_config) struct gt_image_config *c = NULL;
	gt_auto(buf) struct gt_buf body = { .max = GT_OCI_CONFIG_MAX };
	char text[GT_REF_TEXT_SIZE];

	if (m->config.bytes > GT_OCI_CONFIG_MAX)
		return gt_err_set(err, EMSGSIZE, "image_invalid", "%s/%s: a config of %llu bytes",
				  ref->host, ref->path, (unsigned long long)m->config.bytes);
	int result = gt_registry_blob(r, ref, &m->config, cancel, collect, &body, err);

	if (result < 0)
		return result;
	result = gt_oci_image_read(gt_buf_str(&body), body.len, &c, err);
	if (result == 0 && c->n_diff_ids != m->n_layers)
		result = gt_err_set(err, EBADMSG, "image_invalid",
				    "%zu layers, but %zu diff ids in its config", m->n_layers,
				    c->n_diff_ids);
	if (result < 0) {
		gt_ref_format(ref, text);
		gt_err_wrap(err, "%s", text);
		return result;
	}
	*ret = gt_steal(&c);
	return 0;
}
