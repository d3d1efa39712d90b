/* image_collect.c - images that nobody uses go: when they are old, or when the disk fills up. What
 * a replica uses stays, and the newest of all stays until the disk needs its place. */
#include <sys/statvfs.h>

#include <gantry/base/clock.h>
#include <gantry/base/log.h>

#include "agent_impl.h"
#include "images.h"

#define COLLECT_MS 60000
#define ORPHAN_MS  (60 * 60 * 1000ULL)      /* a pull that failed is likely tried again */
#define UPLOAD_MS  (24 * 60 * 60 * 1000ULL) /* and an upload taken up again */

static bool uses(const struct replica *r, const struct gt_image_record *image)
{
	return gt_streq(r->image_digest, image->digest) ||
	       gt_streq(r->base_digest, image->digest) ||
	       (image->index[0] && gt_streq(r->base_digest, image->index));
}

bool gt_image_in_use(const struct images *im, const struct gt_image_record *image)
{
	struct replica *r, *next;

	HASH_ITER (hh, im->agent->replicas, r, next) {
		if (!gt_replica_state_ended(r->state) && uses(r, image))
			return true;
	}
	return false;
}

static bool disk_is_full(const struct images *im)
{
	struct statvfs fs;
	uint64_t used;

	if (im->config.disk_percent == 0 || fstatvfs(im->dir_fd, &fs) < 0 || fs.f_blocks == 0)
		return false;
	used = (uint64_t)fs.f_blocks - fs.f_bavail;
	return used * 100 > (uint64_t)fs.f_blocks * im->config.disk_percent;
}

static struct image *oldest_unused(struct images *im)
{
	struct image *image, *next, *oldest = NULL;

	HASH_ITER (hh, im->images, image, next) {
		if ((!oldest || image->used_ms < oldest->used_ms) &&
		    !gt_image_in_use(im, image->record))
			oldest = image;
	}
	return oldest;
}

static bool is_old(const struct images *im, const struct image *image)
{
	uint64_t now = gt_wall_ms(&gt_clock_system);

	return im->config.keep_ms > 0 && image->used_ms + im->config.keep_ms < now;
}

/* What no image has: parts of pulls and uploads that were given up. */
static void collect_rest(struct images *im, bool at_once, struct collected *c)
{
	uint64_t now = gt_wall_ms(&gt_clock_system), bytes;
	unsigned uploads = 0;

	if (im->errands)
		return; /* what is pulled has no record yet */
	bytes = gt_image_orphans_remove(im, at_once ? UINT64_MAX : now - ORPHAN_MS);
	uploads = gt_image_uploads_drop(im, now - UPLOAD_MS);
	c->bytes += bytes;
	c->rest = uploads > 0 || bytes > 0;
}

struct collected gt_image_collect(struct images *im, bool all)
{
	struct collected c = { 0 };
	bool full = disk_is_full(im);
	struct image *image;

	while ((image = oldest_unused(im)) && (all || full || is_old(im, image))) {
		gt_info("image %s is removed: %s", image->record->name,
			all    ? "asked for"
			: full ? "the disk is full"
			       : "nobody uses it");
		c.bytes += gt_image_remove(im, image);
		c.images++;
		/* The space comes back when the worker has removed the files: one at a time. */
		if (full && !all)
			break;
	}
	collect_rest(im, all || full, &c);
	if (c.images > 0 || c.rest)
		gt_image_sweep(im);
	return c;
}

static void on_timer(void *arg)
{
	struct images *im = arg;

	gt_image_collect(im, false);
	gt_timer_set(im->agent->loop, &im->collect, COLLECT_MS, on_timer, im);
}

void gt_image_collect_start(struct images *im)
{
	gt_timer_set(im->agent->loop, &im->collect, COLLECT_MS, on_timer, im);
}
