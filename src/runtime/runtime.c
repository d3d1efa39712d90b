/* runtime.c - what all containers of a node share, and the cleaning up after dead predecessors. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>

#include "runtime_impl.h"
#include "seccomp_filter.h"

#define CLEANUP_MS       5000
#define PREPARED_IDLE_MS 300000

extern const char gt_init_blob[], gt_init_blob_end[];

/* Control groups and the packet filter are named after the directory: two daemons on one machine
 * never meet, and a restarted one finds its own. FNV-1a. */
static int base_name(const char *dir, char *name, size_t size, struct gt_err *err)
{
	char real[PATH_MAX];
	uint64_t hash = 0xcbf29ce484222325ull;

	if (!realpath(dir, real))
		return gt_err_errno(err, errno, "directory %s", dir);
	for (const char *p = real; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 0x100000001b3ull;
	snprintf(name, size, "gantry-%016llx", (unsigned long long)hash);
	return 0;
}

/* By path: a descriptor would still stand for the mount in this process's own namespace. */
static int make_mnt(struct gt_runtime *rt, const char *dir, struct gt_err *err)
{
	char real[PATH_MAX];

	if (!realpath(dir, real))
		return gt_err_errno(err, errno, "directory %s", dir);
	rt->mnt_path = gt_asprintf("%s/mnt", real);
	return gt_os_mkdir_at(AT_FDCWD, rt->mnt_path, 0700, err);
}

/* By trying: as a layer, a copy of what is detached itself. */
static bool try_layers_by_fd(const char *dir)
{
	gt_auto(fd) int at = -EBADF, tree = -EBADF, copy = -EBADF;
	gt_auto(fd) int fs = fsopen("overlay", FSOPEN_CLOEXEC);

	return fs >= 0 && gt_os_open_dir(AT_FDCWD, dir, &at, NULL) == 0 &&
	       gt_os_tree_open(at, &tree, NULL) == 0 && gt_os_tree_open(tree, &copy, NULL) == 0 &&
	       fsconfig(fs, FSCONFIG_SET_FD, "lowerdir+", NULL, copy) == 0;
}

/* Early, while numbers are low: what is open below these is copied for each process 1. */
static int open_door(struct gt_runtime *rt, struct gt_err *err)
{
	rt->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	rt->door = rt->null_fd < 0 ? -EBADF : fcntl(rt->null_fd, F_DUPFD_CLOEXEC, 0);
	if (rt->door < 0)
		return gt_err_errno(err, errno, "open /dev/null");
	rt->low_fds = GT_MAX(GT_MAX(rt->init_fd, rt->null_fd), rt->door) + 1;
	return 0;
}

static int open_shared(struct gt_runtime *rt, const struct gt_runtime_config *config,
		       struct gt_err *err)
{
	const char *dir = config->dir;
	uint32_t base = config->id_base ? config->id_base : GT_RUNTIME_ID_BASE;
	int r = gt_idranges_open(&rt->ids, base, err);

	if (r == 0)
		r = make_mnt(rt, dir, err);
	if (r == 0)
		r = gt_os_memfd("gantry-init", gt_init_blob,
				(size_t)(gt_init_blob_end - gt_init_blob), &rt->init_fd, err);
	if (r == 0)
		r = gt_ground_open(rt->mnt_path, &rt->ground, err);
	if (r == 0)
		r = gt_os_ns_open(getpid(), "net", &rt->netns, err);
	if (r == 0)
		r = gt_seccomp_build(&rt->filter, err);
	if (r == 0)
		r = base_name(dir, rt->name, sizeof(rt->name), err);
	if (r == 0)
		r = gt_cgroups_open("/proc", rt->name, dir, &rt->cgroups, err);
	if (r < 0)
		return r;
	if (!config->layers_by_path)
		rt->layers_by_fd = try_layers_by_fd(rt->mnt_path);
	return open_door(rt, err);
}

int gt_runtime_new(struct gt_loop *loop, const struct gt_runtime_config *config,
		   struct gt_runtime **ret, struct gt_err *err)
{
	struct gt_runtime *rt;
	int r;

	if (geteuid() != 0)
		return gt_err_set(err, EPERM, "sandbox_failed",
				  "containers need root; start the daemon with sudo");
	rt = gt_alloc(sizeof(*rt));
	rt->loop = loop;
	rt->pool = config->pool;
	rt->pool_max = config->pool_max;
	rt->prepared_max = config->prepared_max;
	rt->prepared_idle_ns = (config->prepared_idle_ms ? config->prepared_idle_ms
							 : PREPARED_IDLE_MS) *
			       GT_NS_PER_MS;
	rt->allow_host_image = config->allow_host_image;
	rt->allow_host_paths = gt_strdup(config->allow_host_paths);
	rt->init_fd = rt->netns = rt->null_fd = rt->ground = rt->door = -EBADF;
	r = open_shared(rt, config, err);
	if (r == 0)
		r = gt_sandbox_net_open(rt, config, rt->name, err);
	if (r < 0) {
		gt_runtime_free(rt);
		return r;
	}
	gt_pool_pump(rt);
	*ret = rt;
	return 0;
}

/* False: it is not dead at that time. */
static bool wait_dead(const struct sandbox *box, uint64_t until_ns)
{
	struct pollfd dead = { box->pidfd, POLLIN, 0 };
	uint64_t now_ns = gt_mono_ns(&gt_clock_system);
	uint64_t left_ms = until_ns > now_ns ? (until_ns - now_ns) / GT_NS_PER_MS + 1 : 0;

	if (box->pidfd < 0)
		return true; /* of an earlier agent, or gone long ago */
	if (poll(&dead, 1, (int)left_ms) <= 0)
		return false;
	gt_os_pidfd_reap(box->pidfd, NULL);
	return true;
}

/* The kernel may take a moment longer to let go of a group than of its last process. */
static void remove_groups(struct sandbox *box, uint64_t until_ns)
{
	const struct timespec pause = { .tv_nsec = (long)GT_NS_PER_MS };
	const struct gt_cgroups *g = &box->rt->cgroups;

	while (!wait_dead(box, until_ns) || gt_cgroup_remove(g, box->where.sandbox) < 0) {
		if (gt_mono_ns(&gt_clock_system) >= until_ns) {
			gt_warn("control group %s is still in use; left behind",
				box->where.sandbox);
			return;
		}
		gt_cgroup_kill(g, box->where.sandbox);
		nanosleep(&pause, NULL);
	}
}

/* There is no loop any more that would hear of a death. Those that run or start are somebody's, who
 * finds them again; of all others nothing may stay. */
static void end_others(struct gt_runtime *rt)
{
	uint64_t until_ns = gt_mono_ns(&gt_clock_system) + CLEANUP_MS * GT_NS_PER_MS;
	struct sandbox *box, *next;

	DL_FOREACH (rt->sandboxes, box) {
		if (gt_sandbox_is_idle(box))
			gt_sandbox_kill(box);
	}
	DL_FOREACH_SAFE (rt->sandboxes, box, next) {
		if (box->state != SANDBOX_STARTING && box->state != SANDBOX_RUNNING)
			remove_groups(box, until_ns);
		gt_sandbox_forget(box);
	}
}

void gt_runtime_retire(struct gt_runtime *rt)
{
	rt->retired = true;
}

void gt_runtime_free(struct gt_runtime *rt)
{
	struct gt_err err;

	if (!rt)
		return;
	rt->freeing = true;
	gt_timer_clear(rt->loop, &rt->pump);
	gt_timer_clear(rt->loop, &rt->refill);
	gt_timer_clear(rt->loop, &rt->shrink);
	gt_hot_clear(rt);
	end_others(rt);
	gt_net_free(rt->net);
	if (rt->retired && gt_net_cleanup(rt->name, &err) < 0)
		gt_warn("%s", err.text);
	if (rt->retired)
		gt_runtime_aside_end(rt);
	gt_cgroups_close(&rt->cgroups);
	gt_buf_fini(&rt->filter);
	gt_close(rt->init_fd);
	gt_idranges_close(&rt->ids);
	gt_close(rt->netns);
	gt_close(rt->null_fd);
	gt_close(rt->ground);
	gt_close(rt->door);
	free(rt->allow_host_paths);
	free(rt->mnt_path);
	free(rt);
}

bool gt_runtime_layers_by_fd(const struct gt_runtime *rt)
{
	return rt->layers_by_fd;
}

struct gt_runtime_waiting gt_runtime_waiting(const struct gt_runtime *rt)
{
	struct gt_runtime_waiting w = { 0, 0 };
	const struct sandbox *box;

	DL_FOREACH2(rt->young, box, young_next)
	{
		w.staged += box->state == SANDBOX_STAGED;
		w.prepared += box->state == SANDBOX_PREPARED;
	}
	return w;
}

static void sweep_leaf(const char *leaf, void *arg)
{
	struct gt_runtime *rt = arg;
	struct sandbox *box;

	DL_FOREACH (rt->sandboxes, box) {
		if (gt_streq(box->where.sandbox, leaf))
			return;
	}
	if (gt_hot_has_leaf(rt, leaf) || gt_streq(leaf, GT_RUNTIME_ASIDE))
		return;
	gt_debug("sweeping what is left of sandbox %s", leaf);
	box = gt_sandbox_leftover(rt, leaf);
	gt_cgroup_kill(&rt->cgroups, leaf);
	gt_sandbox_remove(box);
}

void gt_runtime_sweep(struct gt_runtime *rt)
{
	gt_cgroups_each(&rt->cgroups, sweep_leaf, rt);
}

bool gt_runtime_busy(const struct gt_runtime *rt)
{
	const struct sandbox *box;

	DL_FOREACH (rt->sandboxes, box) {
		if (!box->owner && !gt_sandbox_is_idle(box))
			return true;
	}
	return false;
}

struct cleanup {
	const struct gt_cgroups *cgroups;
	unsigned left;
	char name[GT_CGROUP_LEAF_SIZE];
};

static void cleanup_leaf(const char *leaf, void *arg)
{
	struct cleanup *c = arg;

	gt_cgroup_kill(c->cgroups, leaf);
	if (gt_cgroup_remove(c->cgroups, leaf) == 0)
		return;
	c->left++;
	gt_strcopy(c->name, sizeof(c->name), leaf);
}

int gt_runtime_cleanup(const char *dir, struct gt_err *err)
{
	struct timespec pause = { .tv_nsec = (long)(2 * GT_NS_PER_MS) };
	uint64_t until_ns = gt_mono_ns(&gt_clock_system) + CLEANUP_MS * GT_NS_PER_MS;
	struct gt_cgroups cgroups;
	struct cleanup c = { .cgroups = &cgroups };
	char name[40];
	int r = base_name(dir, name, sizeof(name), err);

	if (r == 0)
		r = gt_cgroups_open("/proc", name, dir, &cgroups, err);
	if (r < 0)
		return r;
	do {
		c.left = 0;
		gt_cgroups_each(&cgroups, cleanup_leaf, &c);
		if (c.left > 0)
			nanosleep(&pause, NULL);
	} while (c.left > 0 && gt_mono_ns(&gt_clock_system) < until_ns);
	gt_cgroups_close(&cgroups);
	if (c.left > 0)
		return gt_err_set(err, ETIMEDOUT, "sandbox_failed",
				  "control group %s/%s is still in use", name, c.name);
	return gt_net_cleanup(name, err);
}
