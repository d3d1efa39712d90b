/* bundle.c - a bundle on the disk: its directory and the text of its config.json. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci.h"

void oci_bundle_fini(struct oci_bundle *b)
{
	free(b->dir);
	free(b->text);
	gt_oci_config_free(b->config);
	*b = (struct oci_bundle){ .dir = NULL };
}

int oci_bundle_load(const char *dir, const char *config, struct oci_bundle *ret, struct gt_err *err)
{
	struct oci_bundle b = { .dir = NULL };
	gt_auto(buf) struct gt_buf text = { 0 };
	gt_auto(fd) int at = -EBADF;
	char real[PATH_MAX];
	int r;

	if (!realpath(dir, real))
		return gt_err_errno(err, errno, "bundle %s", dir);
	at = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (at < 0)
		return gt_err_errno(err, errno, "bundle %s", dir);
	r = oci_file_read(at, config, GT_OCI_CONFIG_MAX, &text, err);
	if (r == 0)
		r = gt_oci_config_read(text.data ? text.data : "", text.len, &b.config, err);
	if (r < 0)
		return gt_err_wrap(err, "bundle %s: %s", dir, config);
	b.dir = gt_strdup(real);
	b.len = text.len;
	b.text = gt_buf_steal(&text);
	*ret = b;
	return 0;
}
