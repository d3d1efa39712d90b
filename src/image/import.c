/* import.c - an archive that a client uploaded, as a layer. Its name is the digest of what was
 * sent. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/clock.h>
#include <gantry/http/digest.h>

#include "work.h"

GT_CLEANUP_TYPE(layer, struct gt_layer_writer *, gt_layer_free)

#define READ_SIZE (256 * 1024)

/* What is no gzip and no zstd must be a tar, which the reader finds out. */
static enum gt_layer_form form_of(const unsigned char *head, size_t len)
{
	static const unsigned char gzip[] = { 0x1f, 0x8b }, zstd[] = { 0x28, 0xb5, 0x2f, 0xfd };

	if (len >= sizeof(gzip) && memcmp(head, gzip, sizeof(gzip)) == 0)
		return GT_LAYER_GZIP;
	if (len >= sizeof(zstd) && memcmp(head, zstd, sizeof(zstd)) == 0)
		return GT_LAYER_ZSTD;
	return GT_LAYER_TAR;
}

static int feed_all(struct job *j, int fd, struct gt_layer_writer *writer, struct gt_sha256 *sha,
		    struct gt_err *err)
{
	gt_auto(free) char *chunk = gt_alloc(READ_SIZE);
	ssize_t n;

	while ((n = read(fd, chunk, READ_SIZE)) > 0) {
		int r = gt_layer_feed(writer, chunk, (size_t)n, err);

		if (r < 0)
			return r;
		if (j->cancel)
			return gt_err_set(err, ECANCELED, "sandbox_failed",
					  "the import was cancelled");
		gt_sha256_add(sha, chunk, (size_t)n);
		j->done_bytes += (uint64_t)n;
	}
	return n < 0 ? gt_err_errno(err, errno, "read the upload") : 0;
}

static int unpack(struct job *j, int fd, const struct work_files *files,
		  struct gt_layer_result *ret, struct gt_err *err)
{
	gt_auto(layer) struct gt_layer_writer *writer = NULL;
	gt_auto(sha256) struct gt_sha256 *sha = gt_sha256_new();
	char hex[GT_SHA256_HEX_SIZE];
	unsigned char head[4];
	ssize_t n = pread(fd, head, sizeof(head), 0);
	int r = gt_layer_new(form_of(head, n < 0 ? 0 : (size_t)n), files->tar, files->index,
			     &j->w->limits, &writer, err);

	if (r == 0)
		r = feed_all(j, fd, writer, sha, err);
	if (r == 0)
		r = gt_layer_finish(writer, ret, err);
	if (r < 0)
		return r;
	gt_sha256_end(gt_steal(&sha), hex);
	if (!gt_streq(hex, gt_digest_hex(j->order.text)))
		return gt_err_set(err, EBADMSG, "image_invalid",
				  "what was uploaded has the digest sha256:%s", hex);
	return 0;
}

static int write_record(struct job *j, const struct gt_layer_result *result, struct gt_err *err)
{
	struct gt_image_layer layer = { .download_bytes = j->done_bytes };
	struct gt_image_record record = { .pulled_ms = gt_wall_ms(&gt_clock_system),
					  .layers = &layer,
					  .n_layers = 1 };
	gt_auto(free) char *name = gt_asprintf("bundle:%s", j->order.text);

	record.name = name;
	gt_strcopy(record.digest, sizeof(record.digest), j->order.text);
	gt_strcopy(layer.diff_id, sizeof(layer.diff_id), result->diff_id);
	gt_strcopy(layer.digest, sizeof(layer.digest), j->order.text);
	return gt_work_record(j, &record, err);
}

static int import(struct job *j, int fd, struct gt_err *err)
{
	struct worker *w = j->w;
	struct work_files files = { .tar = -EBADF, .index = -EBADF };
	struct gt_layer_result result;
	int r = gt_work_files_make(w, &files, err);

	if (r < 0)
		return r;
	r = unpack(j, fd, &files, &result, err);
	if (r < 0) {
		gt_work_files_drop(w, &files);
		return gt_err_wrap(err, "bundle %.19s", j->order.text);
	}
	r = gt_work_hand_over(j, result.diff_id, &files, err);
	if (r == 0)
		r = write_record(j, &result, err);
	return r;
}

int gt_work_import(struct job *j, struct gt_err *err)
{
	struct worker *w = j->w;
	struct stat st;
	int r;

	j->order.name[sizeof(j->order.name) - 1] = '\0';
	gt_auto(fd) int fd = openat(w->dir_fd, j->order.name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "open the upload");
	j->total_bytes = (uint64_t)st.st_size;
	j->total_layers = 1;
	r = import(j, fd, err);
	/* With room again, the same bytes would do; what is wrong must be sent anew. */
	if (r == 0 || gt_streq(err->slug, "image_invalid"))
		unlinkat(w->dir_fd, j->order.name, 0);
	return r;
}
