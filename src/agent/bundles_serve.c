/* bundles_serve.c - archives that clients upload, piece by piece: PUT at an offset, GET tells how
 * far it came, so that an interrupted upload goes on. The name is the digest of the whole: what is
 * there already needs no upload. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/units.h>
#include <gantry/wire/json.h>

#include "agent_impl.h"
#include "images.h"

#define BUNDLE_MAX (64 * GT_GIB)

static int read_digest(struct gt_request *req, const char **ret, struct gt_err *err)
{
	const char *digest = gt_request_param(req, "digest");

	if (!gt_digest_ok(digest)) {
		gt_err_set(err, EINVAL, "bad_parameter",
			   "digest: \"%.80s\" is no digest; write sha256: and 64 hex digits",
			   digest);
		return gt_err_path(err, "digest");
	}
	*ret = digest;
	return 0;
}

static void upload_name(const char *digest, char out[GT_REF_DIGEST_SIZE])
{
	/* The digest's last digits would not fit beside the prefix into an order. */
	snprintf(out, GT_REF_DIGEST_SIZE, GT_IMAGE_UPLOAD "%.60s", gt_digest_hex(digest));
}

static void reply_state(struct gt_request *req, const char *digest, uint64_t bytes, bool complete)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "digest", digest);
	gt_json_u64(&j, "bytes", bytes);
	gt_json_bool(&j, "complete", complete);
	gt_json_close(&j, '}');
	gt_request_reply(req, 200, "application/json", &body);
}

void gt_bundle_get(struct gt_request *req, void *app)
{
	struct images *im = ((struct agent *)app)->images;
	char name[GT_REF_DIGEST_SIZE];
	const char *digest;
	struct gt_err err = { 0 };
	struct image *image;
	struct stat st = { 0 };

	if (read_digest(req, &digest, &err) < 0) {
		gt_agent_refuse(req, &err, app);
		return;
	}
	image = gt_image_bundle_find(im, digest);
	upload_name(digest, name);
	if (!image)
		fstatat(im->work_fd, name, &st, AT_SYMLINK_NOFOLLOW);
	reply_state(req, digest,
		    image ? image->record->layers[0].download_bytes : (uint64_t)st.st_size,
		    image != NULL);
}

static int read_number(struct gt_request *req, const char *name, uint64_t *ret, struct gt_err *err)
{
	const char *text = gt_request_query(req, name);

	if (!text || gt_parse_u64(text, BUNDLE_MAX, ret) < 0) {
		gt_err_set(err, EINVAL, "bad_parameter",
			   "%s: a number of bytes up to %llu is needed", name,
			   (unsigned long long)BUNDLE_MAX);
		return gt_err_path(err, "%s", name);
	}
	return 0;
}

/* Appends; what came before must be there, so that a piece sent twice does no harm. */
static int write_piece(struct images *im, const char *name, uint64_t offset,
		       const struct gt_buf *body, uint64_t *ret_size, struct gt_err *err)
{
	gt_auto(fd) int fd = openat(im->work_fd, name,
				    O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "open the upload");
	/* The directory is the worker's: it must not get a file by another name of it. */
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return gt_err_errno(err, EINVAL, "the upload's file");
	if (fchown(fd, im->config.uid, im->config.gid) < 0)
		return gt_err_errno(err, errno, "owner of the upload");
	if (offset > (uint64_t)st.st_size)
		return gt_err_set(err, EINVAL, "conflict",
				  "offset: %llu bytes are here; go on from there",
				  (unsigned long long)st.st_size);
	if (body->len > 0 && pwrite(fd, body->data, body->len, (off_t)offset) != (ssize_t)body->len)
		return gt_err_set(err, ENOSPC, "storage_full",
				  "the disk of the state directory is full; the upload can be "
				  "taken up again");
	*ret_size = GT_MAX((uint64_t)st.st_size, offset + body->len);
	return 0;
}

static int put(struct gt_request *req, struct images *im, const char *name, uint64_t *size,
	       uint64_t *total, struct gt_err *err)
{
	uint64_t offset = 0;
	int r = read_number(req, "offset", &offset, err);

	if (r == 0)
		r = read_number(req, "total", total, err);
	if (r == 0 && offset + gt_request_body(req)->len > *total)
		r = gt_err_set(err, EINVAL, "bad_parameter", "the piece ends behind total");
	return r < 0 ? r : write_piece(im, name, offset, gt_request_body(req), size, err);
}

void gt_bundle_put(struct gt_request *req, void *app)
{
	struct images *im = ((struct agent *)app)->images;
	char name[GT_REF_DIGEST_SIZE];
	uint64_t size = 0, total = 0;
	struct gt_err err = { 0 };
	const char *digest = NULL;
	int r = read_digest(req, &digest, &err);

	if (r == 0 && gt_image_bundle_find(im, digest)) {
		reply_state(req, digest,
			    gt_image_bundle_find(im, digest)->record->layers[0].download_bytes,
			    true);
		return;
	}
	if (r == 0) {
		upload_name(digest, name);
		/* Another client was faster, and its last byte is read already. */
		if (!gt_image_ordered(im, GT_IMAGE_IMPORT, digest))
			r = put(req, im, name, &size, &total, &err);
	}
	if (r < 0)
		gt_agent_refuse(req, &err, app);
	else if (size < total)
		reply_state(req, digest, size, false);
	else
		gt_image_order_stream(req, im, GT_IMAGE_IMPORT, digest, name);
}
