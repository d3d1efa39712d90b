#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

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

int gt_config_files_open(const struct gt_config *c, int fds[GT_GATEWAY_FILES], struct gt_err *err)
{
	for (int i = 0; i < GT_GATEWAY_FILES; i++)
		fds[i] = -1;
	int r = open_log(c->access_log, &fds[GT_GATEWAY_ACCESS_LOG], err);

	if (r < 0)
		gt_config_files_close(fds);
	return r;
}

void gt_config_files_close(int fds[GT_GATEWAY_FILES])
{
	for (int i = 0; i < GT_GATEWAY_FILES; i++)
		fds[i] = gt_close(fds[i]);
}
