/* images.c - a node's images as a whole. */
#include "images.h"

#include <stdlib.h>
#include <string.h>

#include "agent_impl.h"

int gt_images_new(struct agent *a, const struct images_config *config, const char *state_dir,
		  struct images **ret, struct gt_err *err)
{
	struct images *im = gt_alloc(sizeof(*im));
	gt_auto(free) char *dir = gt_asprintf("%s/agent/images", state_dir);
	int r;

	im->agent = a;
	im->config = *config;
	im->registry_config = gt_strdup(config->registry_config ? config->registry_config : "");
	im->registry_ca = gt_strdup(config->registry_ca ? config->registry_ca : "");
	im->registry_insecure = gt_strdup(config->registry_insecure ? config->registry_insecure
								    : "");
	im->dir_fd = im->records_fd = im->layers_fd = im->work_fd = im->trees_fd = -EBADF;
	im->worker_pidfd = im->worker_fd = -EBADF;
	im->unpacking.pidfd = im->unpacking.answer = -EBADF;
	im->removal.pidfd = im->removal.answer = -EBADF;
	im->unpacks = config->extract == GT_EXTRACT_ALWAYS;
	r = gt_image_store_open(im, dir, err);
	if (r < 0) {
		gt_images_free(im);
		return r;
	}
	gt_image_collect_start(im);
	*ret = im;
	return 0;
}

void gt_images_free(struct images *im)
{
	if (!im)
		return;
	gt_timer_clear(im->agent->loop, &im->collect);
	gt_image_jobs_end(im);
	gt_image_unpack_end(im);
	gt_image_store_close(im);
	free(im->registry_config);
	free(im->registry_ca);
	free(im->registry_insecure);
	free(im);
}
