/* cgroup.c - finding the hierarchies and our place in them. */
#include "cgroup_impl.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>
#include <gantry/os/os.h>

#define DAEMON_LEAF "daemon" /* where our own processes go when a unified group becomes a base */

static const struct ctl {
	const char *v1, *v2; /* v2 NULL: a part of every group there */
	const char *lost;    /* what a machine without it can not do; NULL = nothing promised */
} ctl_rows[] = {
	[GT_CGROUP_MEMORY] = { "memory", "memory", "limits on memory are not enforced" },
	[GT_CGROUP_CPU] = { "cpu", "cpu", "limits on cpu are not enforced" },
	[GT_CGROUP_PIDS] = { "pids", "pids", "limits on pids are not enforced" },
	[GT_CGROUP_DEVICES] = { "devices", NULL,
				"only missing rights keep containers from devices" },
	[GT_CGROUP_FREEZER] = { "freezer", NULL, "containers can not be frozen" },
	[GT_CGROUP_CPUACCT] = { "cpuacct", NULL, NULL },
	[GT_CGROUP_IO] = { "blkio", "io", NULL },
	[GT_CGROUP_HUGETLB] = { "hugetlb", "hugetlb", NULL },
};
_Static_assert(GT_LEN(ctl_rows) == GT_CGROUP_CTL_N, "every controller has a row");

/* Those that make a unified hierarchy worth a group. The machine's other controllers are left to
 * version 1 then, for turning one on at the top changes what everybody finds there. */
#define LIMITS (1u << GT_CGROUP_MEMORY | 1u << GT_CGROUP_CPU | 1u << GT_CGROUP_PIDS)

/* ---- where a hierarchy is mounted, and which group of it this process is in ---- */

static bool has_word(const char *list, const char *word, const char *separators)
{
	size_t len = strlen(word);

	while (*list) {
		size_t n = strcspn(list, separators);

		if (n == len && memcmp(list, word, n) == 0)
			return true;
		list += n + (list[n] != '\0');
	}
	return false;
}

/* Finds the mount of a hierarchy: ctl NULL = the unified one. "id parent dev root point opts - type
 * source superopts" is a line of mountinfo. */
static int find_mount(const char *proc, const char *ctl, char point[GT_CGROUP_PATH_SIZE],
		      char root[GT_CGROUP_PATH_SIZE], struct gt_err *err)
{
	char path[GT_CGROUP_PATH_SIZE];
	gt_auto(free) char *line = NULL;
	size_t size = 0;

	snprintf(path, sizeof(path), "%s/self/mountinfo", proc);
	gt_auto(file) FILE *f = fopen(path, "re");

	if (!f)
		return gt_err_errno(err, errno, "open %s", path);
	while (getline(&line, &size, f) > 0) {
		char type[32], opts[256];
		const char *rest = strstr(line, " - ");

		if (!rest || sscanf(line, "%*s %*s %*s %511s %511s", root, point) != 2 ||
		    sscanf(rest, " - %31s %*s %255s", type, opts) != 2)
			continue;
		if (ctl ? gt_streq(type, "cgroup") && has_word(opts, ctl, ",")
			: gt_streq(type, "cgroup2"))
			return 0;
	}
	return ferror(f) ? gt_err_errno(err, errno, "read %s", path) : -ENOENT;
}

/* The group of this process: "id:controllers:path" is a line of /proc/self/cgroup. */
static int own_group(const char *proc, const char *ctl, char ret[GT_CGROUP_PATH_SIZE],
		     struct gt_err *err)
{
	char path[GT_CGROUP_PATH_SIZE], text[8192];
	char *save = NULL;
	int r;

	snprintf(path, sizeof(path), "%s/self/cgroup", proc);
	r = gt_os_read_at(AT_FDCWD, path, text, sizeof(text), err);
	if (r < 0)
		return r;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *ctls = strchr(line, ':');
		char *group = ctls ? strchr(ctls + 1, ':') : NULL;

		if (!group)
			continue;
		*group++ = '\0';
		if (ctl ? has_word(ctls + 1, ctl, ",") : ctls[1] == '\0') {
			gt_strcopy(ret, GT_CGROUP_PATH_SIZE, group);
			return 0;
		}
	}
	return -ENOENT;
}

/* The directory of a group below a mount whose root may itself be a group (in a container). */
static void group_dir(const char *point, const char *root, const char *group,
		      char ret[GT_CGROUP_PATH_SIZE])
{
	size_t len = gt_streq(root, "/") ? 0 : strlen(root);

	if (strncmp(group, root, len) == 0)
		group += len;
	snprintf(ret, GT_CGROUP_PATH_SIZE, "%s%s%s", point, *group == '/' ? "" : "/", group);
	len = strlen(ret);
	while (len > 1 && ret[len - 1] == '/')
		ret[--len] = '\0';
}

/* ---- the unified hierarchy ---- */

static bool delegated(const char *dir)
{
	char value[8];

	return getxattr(dir, "trusted.delegate", value, sizeof(value)) > 0 ||
	       getxattr(dir, "user.delegate", value, sizeof(value)) > 0;
}

/* A group with controllers for its children may hold no process itself. */
static int evacuate(const char *dir, struct gt_err *err)
{
	char leaf[GT_CGROUP_PATH_SIZE + 16], procs[GT_CGROUP_PATH_SIZE + 32], text[16384];
	char *save = NULL;
	int r;

	snprintf(leaf, sizeof(leaf), "%s/" DAEMON_LEAF, dir);
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", dir);
	r = gt_os_mkdir_at(AT_FDCWD, leaf, 0755, err);
	if (r == 0)
		r = gt_os_read_at(AT_FDCWD, procs, text, sizeof(text), err);
	if (r < 0)
		return r;
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", leaf);
	for (char *pid = strtok_r(text, "\n", &save); pid; pid = strtok_r(NULL, "\n", &save))
		gt_os_write_at(AT_FDCWD, procs, pid, NULL); /* it may have ended meanwhile */
	return 0;
}

static int enable(const char *dir, unsigned wanted, struct gt_err *err)
{
	char path[GT_CGROUP_PATH_SIZE + 32];

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	for (int c = 0; c < GT_CGROUP_CTL_N; c++) {
		char text[16];
		int r;

		if (!(wanted & 1u << c))
			continue;
		snprintf(text, sizeof(text), "+%s", ctl_rows[c].v2);
		r = gt_os_write_at(AT_FDCWD, path, text, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The group that this process is in, when it was handed over to us (systemd's Delegate=yes). */
static bool own_delegated(const char *proc, const char *point, const char *root,
			  char ret[GT_CGROUP_PATH_SIZE])
{
	char group[GT_CGROUP_PATH_SIZE];
	char *slash;

	if (own_group(proc, NULL, group, NULL) < 0)
		return false;
	group_dir(point, root, group, ret);
	slash = strrchr(ret, '/');
	if (slash && gt_streq(slash, "/" DAEMON_LEAF))
		*slash = '\0'; /* moved there by an earlier start */
	return delegated(ret);
}

static unsigned unified_offers(const char *point)
{
	char path[GT_CGROUP_PATH_SIZE + 32], text[512];
	unsigned offers = 0;

	snprintf(path, sizeof(path), "%s/cgroup.controllers", point);
	if (gt_os_read_at(AT_FDCWD, path, text, sizeof(text), NULL) < 0)
		return 0;
	for (int c = 0; c < GT_CGROUP_CTL_N; c++)
		offers |= ctl_rows[c].v2 && has_word(text, ctl_rows[c].v2, " ") ? 1u << c : 0;
	return offers;
}

static int add_base(struct gt_cgroups *g, const char *parent, const char *name, bool unified,
		    struct gt_err *err)
{
	char path[GT_CGROUP_PATH_SIZE];
	size_t i;
	int r;

	if (snprintf(path, sizeof(path), "%s/%s", parent, name) >= (int)sizeof(path))
		return gt_err_errno(err, ENAMETOOLONG, "control group below %s", parent);
	for (i = 0; i < g->n_bases; i++) {
		if (gt_streq(g->bases[i].path, path))
			return (int)i; /* controllers that are mounted together */
	}
	r = gt_os_mkdir_at(AT_FDCWD, path, 0755, err);
	if (r == 0)
		r = gt_os_open_dir(AT_FDCWD, path, &g->bases[i].fd, err);
	if (r < 0)
		return r;
	gt_strcopy(g->bases[i].path, sizeof(g->bases[i].path), path);
	g->bases[i].unified = unified;
	g->n_bases++;
	return (int)i;
}

static int open_below(const char *parent, const char *name, struct gt_cgroups *g,
		      struct gt_err *err)
{
	unsigned offers = unified_offers(parent);
	struct gt_err why;
	int r;

	if (!(offers & LIMITS))
		return 0; /* they are in hierarchies of version 1 */
	r = enable(parent, offers, err);
	/* Only a group of our own, or a container's top, refuses because processes are in it. */
	if (r == -EBUSY) {
		r = evacuate(parent, err);
		if (r == 0)
			r = enable(parent, offers, err);
	}
	if (r == 0)
		r = add_base(g, parent, name, true, err);
	if (r < 0)
		return r;
	for (int c = 0; c < GT_CGROUP_CTL_N; c++) {
		if (offers & 1u << c || !ctl_rows[c].v2)
			g->base_of[c] = r;
	}
	g->unified = true;
	if (gt_cgroup_device_base(g->bases[r].fd, &why) < 0) {
		gt_debug("%s", why.text);
		g->base_of[GT_CGROUP_DEVICES] = -1;
	}
	return enable(g->bases[r].path, offers, err);
}

/* At the top of what we see if we may: a service manager can neither end the replicas together with
 * the daemon there, nor be kept from starting the daemon again by controllers that are turned on in
 * its own group. Else in a group that was delegated to us. */
static int open_unified(const char *proc, const char *name, struct gt_cgroups *g,
			struct gt_err *err)
{
	char point[GT_CGROUP_PATH_SIZE], root[GT_CGROUP_PATH_SIZE], own[GT_CGROUP_PATH_SIZE];
	int r = find_mount(proc, NULL, point, root, err);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = open_below(point, name, g, err);
	if (r < 0 && g->n_bases == 0 && own_delegated(proc, point, root, own))
		r = open_below(own, name, g, err);
	return r;
}

/* ---- version 1 ---- */

static bool has_leaf(const char *base)
{
	DIR *d = opendir(base);
	const struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d)))
		found = e->d_type == DT_DIR && e->d_name[0] != '.';
	if (d)
		closedir(d);
	return found;
}

/* The base is below the group that we were started in, and the next start may come from another one
 * (a login session, say). `keep` remembers the parent, which is taken again as long as an earlier
 * daemon's groups are below it. */
static int keep_parent(const char *keep, const char *name, enum gt_cgroup_ctl c,
		       char parent[GT_CGROUP_PATH_SIZE], struct gt_err *err)
{
	char file[PATH_MAX], earlier[GT_CGROUP_PATH_SIZE], base[GT_CGROUP_PATH_SIZE + NAME_MAX];

	if (snprintf(file, sizeof(file), "%s/cgroup.%s", keep, ctl_rows[c].v1) >= (int)sizeof(file))
		return gt_err_errno(err, ENAMETOOLONG, "%s", keep);
	if (gt_os_read_at(AT_FDCWD, file, earlier, sizeof(earlier), NULL) >= 0 &&
	    !gt_streq(earlier, parent)) {
		snprintf(base, sizeof(base), "%s/%s", earlier, name);
		if (has_leaf(base)) {
			gt_strcopy(parent, GT_CGROUP_PATH_SIZE, earlier);
			return 0;
		}
		rmdir(base); /* what a killed daemon left empty, if anything */
	}
	gt_auto(file) FILE *f = fopen(file, "we");
	if (!f || fputs(parent, f) < 0 || fflush(f) < 0)
		return gt_err_errno(err, errno, "%s", file);
	return 0;
}

static bool is_refusal(int r)
{
	return r == -EROFS || r == -EACCES || r == -EPERM;
}

static int open_v1(const char *proc, const char *name, const char *keep, enum gt_cgroup_ctl c,
		   struct gt_cgroups *g, struct gt_err *err)
{
	char point[GT_CGROUP_PATH_SIZE], root[GT_CGROUP_PATH_SIZE];
	char group[GT_CGROUP_PATH_SIZE], dir[GT_CGROUP_PATH_SIZE];
	int r = find_mount(proc, ctl_rows[c].v1, point, root, err);
	bool absent;

	if (r == 0)
		r = own_group(proc, ctl_rows[c].v1, group, err);
	absent = r == -ENOENT;
	if (r == 0) {
		group_dir(point, root, group, dir);
		r = keep ? keep_parent(keep, name, c, dir, err) : 0;
	}
	if (r == 0)
		r = add_base(g, dir, name, false, err);
	if (r >= 0) {
		g->base_of[c] = r;
		return 0;
	}
	/* Refused: inside somebody else's container, whose limits hold. */
	if (!absent && !is_refusal(r))
		return r;
	if (ctl_rows[c].lost)
		gt_warn("this machine has no %s control group%s: %s", ctl_rows[c].v1,
			absent ? "" : " that can be written", ctl_rows[c].lost);
	return 0;
}

/* A function has no way to ask for huge pages, so the machine's few are not its to take. By
 * reservation too: then the mapping fails, not its first use. */
static void deny_huge_pages(const struct gt_cgroups *g)
{
	int base = g->base_of[GT_CGROUP_HUGETLB];
	DIR *d = base >= 0 ? opendir(g->bases[base].path) : NULL;
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		size_t len = strlen(e->d_name);
		const char *end = g->bases[base].unified ? ".max" : "limit_in_bytes";

		if (gt_starts_with(e->d_name, "hugetlb.") && len > strlen(end) &&
		    gt_streq(e->d_name + len - strlen(end), end))
			gt_os_write_at(g->bases[base].fd, e->d_name, "0", NULL);
	}
	if (d)
		closedir(d);
}

static struct gt_cgroups none(void)
{
	struct gt_cgroups g = { .n_bases = 0 };

	for (int c = 0; c < GT_CGROUP_CTL_N; c++)
		g.base_of[c] = -1;
	return g;
}

int gt_cgroups_open(const char *proc, const char *name, const char *keep, struct gt_cgroups *ret,
		    struct gt_err *err)
{
	struct gt_cgroups g = none();
	int r = open_unified(proc, name, &g, err);

	if (is_refusal(r)) {
		gt_warn("%s: limits of functions are not enforced",
			err ? err->text : "control groups can not be written");
		gt_cgroups_close(&g);
		*ret = none();
		return 0;
	}
	for (int c = 0; r == 0 && c < GT_CGROUP_CTL_N; c++) {
		if (g.base_of[c] < 0)
			r = open_v1(proc, name, keep, (enum gt_cgroup_ctl)c, &g, err);
	}
	if (r < 0) {
		gt_cgroups_close(&g);
		return gt_err_wrap(err, "control groups");
	}
	deny_huge_pages(&g);
	*ret = g;
	return 0;
}

void gt_cgroups_close(struct gt_cgroups *g)
{
	for (size_t i = 0; i < g->n_bases; i++) {
		gt_close(g->bases[i].fd);
		rmdir(g->bases[i].path); /* stays while replicas are in it */
	}
	*g = none();
}
