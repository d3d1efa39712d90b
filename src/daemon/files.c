#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/cidr.h>
#include <gantry/base/cleanup.h>

static int open_log(const char *path, int *ret, struct gt_err *err)
{
	struct stat st;

	if (!path[0])
		return 0;
	if (gt_streq(path, "-")) {
		*ret = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
		return *ret < 0 ? gt_err_errno(err, errno, "access_log: standard output") : 0;
	}
	/* Not to wait for the reader of a pipe, which is refused below. */
	gt_auto(fd) int fd = open(
		path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
	if (fd < 0 || fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "access_log: %s", path);
	if (!S_ISREG(st.st_mode))
		return gt_err_set(err, EINVAL, "bad_config", "access_log: %s is no regular file",
				  path);
	*ret = gt_steal_fd(&fd);
	return 0;
}

static int open_pem(const char *key, const char *path, int *ret, struct gt_err *err)
{
	struct stat st;

	if (!path[0])
		return 0;
	gt_auto(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "%s: %s", key, path);
	if (!S_ISREG(st.st_mode))
		return gt_err_set(err, EINVAL, "bad_config", "%s: %s is no regular file", key,
				  path);
	*ret = gt_steal_fd(&fd);
	return 0;
}

int gt_config_files_open(const struct gt_config *c, int fds[GT_GATEWAY_FILES], struct gt_err *err)
{
	for (int i = 0; i < GT_GATEWAY_FILES; i++)
		fds[i] = -1;
	if (open_log(c->access_log, &fds[GT_GATEWAY_ACCESS_LOG], err) == 0 &&
	    open_pem("tls_cert", c->tls_cert, &fds[GT_GATEWAY_TLS_CERT], err) == 0 &&
	    open_pem("tls_key", c->tls_key, &fds[GT_GATEWAY_TLS_KEY], err) == 0 &&
	    open_pem("tls_client_ca", c->tls_client_ca, &fds[GT_GATEWAY_TLS_CLIENT_CA], err) == 0)
		return 0;
	gt_config_files_close(fds);
	return -err->code;
}

static int bad(struct gt_err *err, const char *text)
{
	return gt_err_set(err, EINVAL, "bad_config", "%s", text);
}

int gt_config_check_gateway(const struct gt_config *c, struct gt_err *err)
{
	const struct {
		const char *key, *path;
	} files[] = { { "tls_cert", c->tls_cert },
		      { "tls_key", c->tls_key },
		      { "tls_client_ca", c->tls_client_ca },
		      { "access_log", gt_streq(c->access_log, "-") ? "" : c->access_log } };
	struct gt_cidr proxies[GT_GATEWAY_PROXIES_MAX];

	for (size_t i = 0; i < GT_LEN(files); i++)
		if (files[i].path[0] && files[i].path[0] != '/')
			return gt_err_set(err, EINVAL, "bad_config",
					  "%s: \"%s\" is no absolute path", files[i].key,
					  files[i].path);
	if (!c->tls_cert[0] != !c->tls_key[0])
		return bad(err, "tls_cert and tls_key belong together: set both or none");
	if (!c->tls_cert[0] && c->tls_listen[0])
		return bad(err, "tls_listen: needs tls_cert and tls_key");
	if (!c->tls_cert[0] && c->tls_client_ca[0])
		return bad(err, "tls_client_ca: needs tls_cert and tls_key");
	if (!c->tls_client_ca[0] && c->tls_client_optional)
		return bad(err, "tls_client_optional: needs tls_client_ca");
	if (!c->tls_listen[0] && c->tls_proxy_from[0])
		return bad(err, "tls_proxy_from: needs tls_listen; proxy_from is that of listen");
	if (gt_cidr_list("proxy_from", c->proxy_from, proxies, GT_LEN(proxies), err) < 0 ||
	    gt_cidr_list("tls_proxy_from", c->tls_proxy_from, proxies, GT_LEN(proxies), err) < 0)
		return -err->code;
	return 0;
}

void gt_config_files_close(int fds[GT_GATEWAY_FILES])
{
	for (int i = 0; i < GT_GATEWAY_FILES; i++)
		fds[i] = gt_close(fds[i]);
}
