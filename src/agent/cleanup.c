/* cleanup.c - for a state directory whose daemon does not run: nothing of it may stay. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/os/os.h>
#include <gantry/weights/store.h>

#include "agent_impl.h"

/* By the record, for machines without control groups: only the very process that it names. */
static void kill_recorded(int dir, const char *id)
{
	char path[512], text[1024];
	unsigned long long start;
	uint64_t now = 0;
	int pid;

	snprintf(path, sizeof(path), "%s/record", id);
	if (gt_os_read_at(dir, path, text, sizeof(text), NULL) < 0 ||
	    sscanf(text, "%*[^\n] %*s %*u %*u %*s %d %llu", &pid, &start) != 2)
		return;
	gt_auto(fd) int pidfd = -EBADF;
	if (gt_os_pidfd_open(pid, &pidfd, NULL) == 0 && gt_os_start_time(pid, &now, NULL) == 0 &&
	    now == start)
		gt_os_pidfd_signal(pidfd, SIGKILL, NULL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	if (ftw->level > 0)
		remove(path);
	return 0;
}

int gt_agent_cleanup(const char *state_dir, struct gt_err *err)
{
	gt_auto(free) char *agent = gt_asprintf("%s/agent", state_dir);
	gt_auto(free) char *replicas = gt_asprintf("%s/agent/replicas", state_dir);
	DIR *d = opendir(replicas);
	struct dirent *e;
	int r;

	if (!d && errno == ENOENT)
		return gt_weights_store_unmount(state_dir, err); /* no agent ever ran here */
	if (!d)
		return gt_err_errno(err, errno, "open directory %s", replicas);
	while ((e = readdir(d))) {
		if (e->d_name[0] != '.')
			kill_recorded(dirfd(d), e->d_name);
	}
	closedir(d);
	r = gt_runtime_cleanup(agent, err);
	if (r == 0)
		r = gt_weights_store_unmount(state_dir, err);
	if (r == 0)
		nftw(replicas, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return r;
}
