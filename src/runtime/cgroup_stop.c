/* cgroup_stop.c - freezing a leaf and killing what is in it. */
#include "cgroup_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/clock.h>
#include <gantry/os/os.h>

#define FILE_SIZE  (GT_CGROUP_LEAF_SIZE + 48)
#define PASSES_MAX 8 /* over the members of a group that could not be frozen */

/* ---- freezing ---- */

bool gt_cgroup_can_freeze(const struct gt_cgroups *g)
{
	return gt_cgroup_has(g, GT_CGROUP_FREEZER);
}

static int not_here(const char *leaf, struct gt_err *err)
{
	return gt_err_errno(err, EOPNOTSUPP, "freeze control group %s", leaf);
}

static int ask(const struct gt_cgroups *g, const char *leaf, bool freeze, struct gt_err *err)
{
	if (gt_cgroup_is_unified(g, GT_CGROUP_FREEZER))
		return gt_cgroup_write(g, GT_CGROUP_FREEZER, leaf, "cgroup.freeze",
				       freeze ? "1" : "0", err);
	return gt_cgroup_write(g, GT_CGROUP_FREEZER, leaf, "freezer.state",
			       freeze ? "FROZEN" : "THAWED", err);
}

/* Version 2 tells it in a file that can be polled. -EBADF for version 1. */
static int open_events(const struct gt_cgroups *g, const char *leaf, int *ret, struct gt_err *err)
{
	char path[FILE_SIZE];
	int fd;

	if (!gt_cgroup_is_unified(g, GT_CGROUP_FREEZER))
		return 0;
	snprintf(path, sizeof(path), "%s/cgroup.events", leaf);
	fd = openat(g->bases[0].fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return gt_err_errno(err, errno, "open %s", path);
	*ret = fd;
	return 0;
}

static int is_frozen(const struct gt_cgroups *g, const char *leaf, int events, struct gt_err *err)
{
	char text[256] = "";
	int r;

	if (events >= 0) {
		if (pread(events, text, sizeof(text) - 1, 0) < 0)
			return gt_err_errno(err, errno, "read %s/cgroup.events", leaf);
		return strstr(text, "frozen 1") != NULL;
	}
	r = gt_cgroup_read(g, GT_CGROUP_FREEZER, leaf, "freezer.state", text, sizeof(text), err);
	return r < 0 ? r : gt_streq(text, "FROZEN");
}

int gt_cgroup_frozen(const struct gt_cgroups *g, const char *leaf, struct gt_err *err)
{
	gt_auto(fd) int events = -EBADF;
	int r;

	if (!gt_cgroup_has(g, GT_CGROUP_FREEZER))
		return 0;
	r = open_events(g, leaf, &events, err);
	return r < 0 ? r : is_frozen(g, leaf, events, err);
}

int gt_cgroup_freeze(const struct gt_cgroups *g, const char *leaf, struct gt_err *err)
{
	uint64_t until_ns = gt_mono_ns(&gt_clock_system) + GT_CGROUP_WAIT_MS * GT_NS_PER_MS;
	gt_auto(fd) int events = -EBADF;
	int r;

	if (!gt_cgroup_has(g, GT_CGROUP_FREEZER))
		return not_here(leaf, err);
	r = open_events(g, leaf, &events, err);
	if (r == 0)
		r = ask(g, leaf, true, err);
	while (r == 0 && (r = is_frozen(g, leaf, events, err)) == 0) {
		uint64_t now_ns = gt_mono_ns(&gt_clock_system);
		struct pollfd changed = { events, POLLPRI, 0 };

		if (now_ns >= until_ns)
			return gt_err_errno(err, EAGAIN, "freeze control group %s", leaf);
		if (events >= 0) {
			poll(&changed, 1, (int)((until_ns - now_ns) / GT_NS_PER_MS + 1));
			continue;
		}
		/* Version 1 tells nobody: reading the state is what makes it look, and asking again
		 * catches a child born in between. */
		poll(NULL, 0, 1);
		r = ask(g, leaf, true, err);
	}
	return r < 0 ? r : 0;
}

int gt_cgroup_thaw(const struct gt_cgroups *g, const char *leaf, struct gt_err *err)
{
	if (!gt_cgroup_has(g, GT_CGROUP_FREEZER))
		return not_here(leaf, err);
	return ask(g, leaf, false, err);
}

/* ---- killing ---- */

/* Returns how many got the signal. */
static size_t kill_listed(const struct gt_cgroups *g, size_t base, const char *leaf, int signo)
{
	char path[FILE_SIZE];
	size_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", leaf);
	fd = openat(g->bases[base].fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	gt_auto(file) FILE *f = fdopen(fd, "r");
	gt_auto(free) char *line = NULL;
	size_t size = 0;

	if (!f) {
		gt_close(fd);
		return 0;
	}
	while (getline(&line, &size, f) > 0) {
		pid_t pid = (pid_t)strtol(line, NULL, 10);

		/* 0 stands for a process of another pid namespace. */
		if (pid > 1 && pid != getpid())
			n += kill(pid, signo) == 0;
	}
	return n;
}

static size_t kill_all_listed(const struct gt_cgroups *g, const char *leaf, int signo)
{
	size_t n = 0;

	for (size_t i = 0; i < g->n_bases; i++)
		n += kill_listed(g, i, leaf, signo);
	return n;
}

void gt_cgroup_kill(const struct gt_cgroups *g, const char *leaf)
{
	char path[FILE_SIZE];
	bool frozen;

	snprintf(path, sizeof(path), "%s/cgroup.kill", leaf);
	if (g->unified && gt_os_write_at(g->bases[0].fd, path, "1", NULL) == 0 && g->n_bases == 1)
		return;
	if (kill_all_listed(g, leaf, 0) == 0)
		return; /* mostly: the last one is on its way out already */
	/* Who forks faster than we read does so no more when frozen. The signals are delivered by
	 * the thaw, before anything else is done. */
	frozen = gt_cgroup_freeze(g, leaf, NULL) == 0;
	for (int pass = 0; pass < (frozen ? 1 : PASSES_MAX); pass++) {
		if (kill_all_listed(g, leaf, SIGKILL) == 0)
			break;
	}
	gt_cgroup_thaw(g, leaf, NULL);
}
