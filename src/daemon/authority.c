#include "authority.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/log.h>

#define KEY  "ca.key"
#define CERT "ca.crt"

/* -ENOENT when there is none. `ret` is initialised here. */
static int file_read(int dir, const char *name, struct gt_buf *ret, struct gt_err *err)
{
	gt_auto(fd) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n;
	char *at;

	gt_buf_init(ret, GT_PKI_PEM_MAX);
	if (fd < 0)
		return gt_err_errno(err, errno, "%s", name);
	at = gt_buf_reserve(ret, GT_PKI_PEM_MAX);
	n = read(fd, at, GT_PKI_PEM_MAX);
	if (n < 0)
		return gt_err_errno(err, errno, "%s", name);
	ret->len = (size_t)n;
	at[n] = '\0';
	return 0;
}

/* Whole or not at all, and durable but for its name. */
static int file_write(int dir, const char *name, mode_t mode, const struct gt_buf *text,
		      struct gt_err *err)
{
	gt_auto(free) char *tmp = gt_asprintf("%s.new", name);
	gt_auto(fd) int fd = -EBADF;

	(void)!unlinkat(dir, tmp, 0);
	fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0 || write(fd, text->data, text->len) != (ssize_t)text->len || fsync(fd) < 0 ||
	    renameat(dir, tmp, dir, name) < 0)
		return gt_err_errno(err, errno ? errno : EIO, "%s", name);
	return 0;
}

/* The key first: one without a certificate has signed nothing. */
static int make(int dir, uint64_t now_ms, struct gt_err *err)
{
	struct gt_buf key = { 0 }, cert = { 0 };
	int r = gt_pki_ca_new(now_ms, &key, &cert, err);

	if (r < 0)
		return r;
	r = file_write(dir, KEY, 0600, &key, err);
	if (r == 0 && fsync(dir) < 0)
		r = gt_err_errno(err, errno, "its directory");
	if (r == 0)
		r = file_write(dir, CERT, 0644, &cert, err);
	if (r == 0 && fsync(dir) < 0)
		r = gt_err_errno(err, errno, "its directory");
	gt_pki_wipe(&key);
	gt_buf_fini(&cert);
	return r;
}

static int load(int dir, struct gt_pki_ca **ret, struct gt_err *err)
{
	struct gt_buf key = { 0 };
	gt_auto(buf) struct gt_buf cert = { 0 };
	int r = file_read(dir, CERT, &cert, err);

	if (r == 0) {
		r = file_read(dir, KEY, &key, err);
		if (r == -ENOENT)
			r = gt_err_set(err, EINVAL, "bad_certificate",
				       "%s is there without %s: restore both from a backup, or "
				       "remove it and let every node join anew",
				       CERT, KEY);
	}
	if (r == 0)
		r = gt_pki_ca_open(key.data, cert.data, ret, err);
	gt_pki_wipe(&key);
	return r;
}

int gt_authority_open(const char *path, uint64_t now_ms, struct gt_pki_ca **ret, struct gt_err *err)
{
	gt_auto(fd) int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int r;

	if (dir < 0)
		return gt_err_errno(err, errno, "%s", path);
	r = load(dir, ret, err);
	if (r == -ENOENT) {
		gt_info("a new authority for the cluster's certificates is made");
		r = make(dir, now_ms, err);
		if (r == 0)
			r = load(dir, ret, err);
	}
	return r < 0 ? gt_err_wrap(err, "%s", path) : 0;
}
