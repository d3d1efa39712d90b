/* replica_image.c - a replica's image: found here, or pulled first. */
#include <stdlib.h>
#include <string.h>

#include <gantry/base/log.h>

#include "agent_impl.h"
#include "images.h"

#define IMAGES_MAX 2 /* of a replica: a bundle and its base */

/* The digests that its specification names: what garbage collection must leave alone. */
static void note_digests(struct replica *r)
{
	const char *ref_text = gt_spec_ref(r->spec);
	struct gt_ref ref;

	if (r->spec->image_kind == GT_IMAGE_BUNDLE)
		gt_strcopy(r->image_digest, sizeof(r->image_digest),
			   r->spec->image + strlen("bundle:"));
	if (ref_text && gt_ref_parse(ref_text, &ref, NULL) == 0)
		gt_strcopy(r->base_digest, sizeof(r->base_digest), ref.digest);
}

/* Those of them that are here, topmost first. */
static size_t images_here(const struct replica *r, struct image *ret[IMAGES_MAX])
{
	const char *const digests[IMAGES_MAX] = { r->image_digest, r->base_digest };
	size_t n = 0;

	for (size_t i = 0; i < IMAGES_MAX; i++) {
		if (digests[i][0] && (ret[n] = gt_image_find(r->agent->images, digests[i])))
			n++;
	}
	return n;
}

static void take_base(struct replica *r, struct image *base)
{
	const char *name = base->record->stop_signal;
	int signo = name ? gt_signal_parse(name) : 0;

	if (signo > 0)
		r->stop_signal = signo;
	gt_strcopy(r->base_digest, sizeof(r->base_digest), base->record->digest);
	gt_image_apply(base->record, r->spec);
	gt_image_used(r->agent->images, base);
}

void gt_replica_image_adopt(struct replica *r)
{
	struct image *base;

	note_digests(r);
	base = r->base_digest[0] ? gt_image_find(r->agent->images, r->base_digest) : NULL;
	if (base)
		take_base(r, base);
}

int gt_replica_image_layers(struct replica *r, int *fds, size_t *n, size_t max, struct gt_err *err)
{
	struct image *images[IMAGES_MAX];
	size_t n_images = images_here(r, images);
	bool opaque = false;
	int res = 0;

	*n = 0;
	for (size_t i = 0; res == 0 && i < n_images && !opaque; i++)
		res = gt_image_mount(r->agent->images, images[i]->record, fds, n, max, &opaque,
				     err);
	return res;
}

static void on_unpacked(const struct gt_err *failed, void *arg)
{
	struct replica *r = arg;

	r->unpack = NULL;
	gt_replica_image_is_here(r, failed);
}

/* 0 or -EINPROGRESS, as the layers of both must be fit for mounting. */
static int unpack(struct replica *r)
{
	const struct gt_image_record *records[IMAGES_MAX];
	struct image *images[IMAGES_MAX];
	size_t n = images_here(r, images);

	for (size_t i = 0; i < n; i++)
		records[i] = images[i]->record;
	return gt_image_unpack(r->agent->images, records, n, on_unpacked, r, &r->unpack);
}

static void on_done(struct gt_image_record *record, void *arg)
{
	struct replica *r = arg;
	struct image *base = gt_image_find(r->agent->images, record->digest);
	struct gt_err err = { 0 };

	r->pull = NULL;
	if (!base) { /* somebody took a file away in this instant */
		gt_err_set(&err, ENOENT, "sandbox_failed", "a layer of %s is not here",
			   record->name);
		gt_replica_image_is_here(r, &err);
		return;
	}
	take_base(r, base);
	if (unpack(r) == 0)
		gt_replica_image_is_here(r, NULL);
}

static void on_failed(const struct gt_err *err, void *arg)
{
	struct replica *r = arg;

	r->pull = NULL;
	gt_replica_image_is_here(r, err);
}

static void on_progress(const struct gt_pull_progress *pull, void *arg)
{
	struct replica *r = arg;

	(void)pull;
	gt_report_progress(r->agent);
}

static int find_bundle(struct replica *r, struct gt_err *err)
{
	struct image *image;

	if (r->spec->image_kind != GT_IMAGE_BUNDLE)
		return 0;
	image = gt_image_bundle_find(r->agent->images, r->image_digest);
	if (!image)
		return gt_err_set(err, ENOENT, "image_missing",
				  "%s is not on this node; upload it (gantry bundle push)",
				  r->spec->image);
	gt_image_used(r->agent->images, image);
	return 0;
}

int gt_replica_image_get(struct replica *r, struct gt_err *err)
{
	const struct image_want want = { on_done, on_failed, on_progress, r };
	const char *ref = gt_spec_ref(r->spec);
	struct image *base;
	int res;

	note_digests(r);
	res = find_bundle(r, err);
	if (res < 0)
		return res;
	if (!ref)
		return unpack(r);
	base = r->base_digest[0] ? gt_image_find(r->agent->images, r->base_digest) : NULL;
	if (base && r->spec->pull != GT_PULL_ALWAYS) {
		take_base(r, base);
		return unpack(r);
	}
	if (r->spec->pull == GT_PULL_NEVER)
		return gt_err_set(err, ENOENT, "image_missing",
				  "image %s is not on this node, and \"pull\" is \"never\"", ref);
	r->pull = gt_image_order(r->agent->images, GT_IMAGE_PULL, ref, NULL, &want);
	return -EINPROGRESS;
}
