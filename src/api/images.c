/* api/images.c - images and bundles of the node. */
#include <string.h>

#include <gantry/model/ref.h>

#include "api_priv.h"

static const char *const of_a_node[] = { "node", NULL };

static bool digest_of(struct gt_request *req, const char **ret)
{
	const char *digest = gt_request_param(req, "digest");
	struct gt_err err = { 0 };

	*ret = digest;
	if (gt_digest_ok(digest))
		return true;
	gt_err_set(&err, EINVAL, "bad_parameter",
		   "digest: \"%.80s\" is no digest; write sha256: and 64 hex digits", digest);
	gt_err_path(&err, "digest");
	gt_api_fail(req, &err);
	return false;
}

void gt_api_list_images(struct gt_request *req, void *app)
{
	const char *node = NULL;

	if (gt_api_query(req, of_a_node) && gt_api_node_param(app, req, &node))
		gt_api_forward(app, req, node, "images", false);
}

void gt_api_pull_image(struct gt_request *req, void *app)
{
	const char *node = NULL;

	if (gt_api_query(req, of_a_node) && gt_api_node_param(app, req, &node))
		gt_api_forward(app, req, node, "images/pull", true);
}

void gt_api_collect_images(struct gt_request *req, void *app)
{
	static const char *const known[] = { "all", "node", NULL };
	const char *node = NULL;
	bool all = false;

	if (gt_api_query(req, known) && gt_api_flag(req, "all", &all) &&
	    gt_api_node_param(app, req, &node))
		gt_api_forward(app, req, node, all ? "images/gc?all=1" : "images/gc", false);
}

void gt_api_delete_image(struct gt_request *req, void *app)
{
	const char *digest, *node = NULL;

	if (!gt_api_query(req, of_a_node) || !digest_of(req, &digest) ||
	    !gt_api_node_param(app, req, &node))
		return;
	gt_auto(free) char *path = gt_asprintf("images/%s", digest);
	gt_api_forward(app, req, node, path, false);
}

void gt_api_get_bundle(struct gt_request *req, void *app)
{
	static const char *const known[] = { NULL };
	const char *digest;

	if (!gt_api_query(req, known) || !digest_of(req, &digest))
		return;
	gt_auto(free) char *path = gt_asprintf("bundles/%s", digest);
	gt_api_forward(app, req, NULL, path, false);
}

void gt_api_put_bundle(struct gt_request *req, void *app)
{
	static const char *const known[] = { "offset", "total", NULL };
	uint64_t offset = 0, total = 0;
	const char *digest;

	if (!gt_api_query(req, known) || !gt_api_number(req, "offset", 0, UINT64_MAX, &offset) ||
	    !gt_api_number(req, "total", 1, UINT64_MAX, &total) || !digest_of(req, &digest))
		return;
	gt_auto(free) char *path = gt_asprintf("bundles/%s?offset=%llu&total=%llu", digest,
					       (unsigned long long)offset,
					       (unsigned long long)total);
	gt_api_forward(app, req, NULL, path, true);
}
