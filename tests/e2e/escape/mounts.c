/* mounts.c - the mount table holds nothing of the host, and nothing in it can be changed. */
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PROC_MAGIC 0x9fa0

struct mount_line {
	char root[256], point[256], options[256], extra[256], type[64], source[256], super[1024];
};

/* One line of mountinfo; what is between the options and " - " is in `extra`. */
static bool parse(const char *line, struct mount_line *m)
{
	const char *dash = strstr(line, " - ");
	int at = 0;

	memset(m, 0, sizeof(*m));
	if (!dash ||
	    sscanf(line, "%*s %*s %*s %255s %255s %255s %n", m->root, m->point, m->options, &at) !=
		    3 ||
	    sscanf(dash, " - %63s %255s %1023s", m->type, m->source, m->super) != 3)
		return false;
	if (line + at < dash)
		snprintf(m->extra, sizeof(m->extra), "%.*s", (int)(dash - line - at), line + at);
	return true;
}

static void each_mount(struct result *r, void (*look)(struct result *r, const struct mount_line *m))
{
	static char text[65536];
	struct mount_line m;
	char *rest = text, *line;
	int n = 0;

	if (slurp("/proc/self/mountinfo", text, sizeof(text)) < 0)
		say(r, ESCAPED, "the mount table can not be read");
	while ((line = strsep(&rest, "\n")) != NULL && *line) {
		if (!parse(line, &m))
			say(r, ESCAPED, "not understood: %s", line);
		else
			look(r, &m);
		n++;
	}
	say(r, n > 5 ? CONTAINED : ESCAPED, "%d mounts looked at", n);
}

static bool among(const char *word, const char *const *list)
{
	for (; *list; list++) {
		if (strcmp(word, *list) == 0)
			return true;
	}
	return false;
}

/* Our own file systems, whole, or a part of /proc on itself, or the null device as a mask. */
static void look_own(struct result *r, const struct mount_line *m)
{
	static const char *const types[] = { "overlay", "proc",   "sysfs",   "tmpfs",
					     "devpts",  "mqueue", "cgroup2", NULL };
	static const char *const roots[] = { "/",     "/bus",           "/fs", "/irq", "/sys",
					     "/null", "/sysrq-trigger", NULL };
	bool tells = false;

	if (!among(m->type, types))
		say(r, ESCAPED, "a mount of type %s at %s", m->type, m->point);
	if (!among(m->root, roots))
		say(r, ESCAPED, "%s shows the part %s of something", m->point, m->root);
	for (const char *at = m->super; (at = strstr(at, "=/")) != NULL; at += 2)
		tells = tells || (at[2] && at[2] != ','); /* "/" alone is a layer's own root */
	if (m->source[0] == '/' || tells)
		say(r, ESCAPED, "%s tells a path of the host: %s %s", m->point, m->source,
		    m->super);
}

static void look_private(struct result *r, const struct mount_line *m)
{
	if (*m->extra)
		say(r, ESCAPED, "%s is not private: %s", m->point, m->extra);
}

static void look_flags(struct result *r, const struct mount_line *m)
{
	bool devices = strcmp(m->type, "devpts") == 0; /* needs them, and lets nobody make any */

	if (strncmp(m->options, "ro", 2) != 0 &&
	    (!strstr(m->options, "nosuid") || (!devices && !strstr(m->options, "nodev"))))
		say(r, ESCAPED, "%s can be written, and is %s", m->point, m->options);
	if (strncmp(m->point, "/proc", 5) == 0 || strncmp(m->point, "/sys", 4) == 0 ||
	    strncmp(m->point, "/dev", 4) == 0) {
		/* The null device as a mask keeps the flags of where it came from. */
		if (strcmp(m->root, "/null") != 0 &&
		    (!strstr(m->options, "nosuid") || !strstr(m->options, "noexec")))
			say(r, ESCAPED, "%s lacks nosuid or noexec: %s", m->point, m->options);
	}
}

static void own(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	each_mount(r, look_own);
}

static void private(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	each_mount(r, look_private);
}

static void flags(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	each_mount(r, look_flags);
}

static void new_mount(struct result *r, const char *type, long nr)
{
	(void)nr;
	mkdir("mount-here", 0755);
	must_fail(r, type, mount("none", "mount-here", type, 0, NULL));
	rmdir("mount-here");
}

static void bind(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	must_fail(r, "bind", mount("/", "/proc", NULL, MS_BIND | MS_REC, NULL));
	must_fail(r, "move", mount("/dev", "/proc", NULL, MS_MOVE, NULL));
	must_fail(r, "shared", mount(NULL, "/", NULL, MS_SHARED, NULL));
}

static void remount(struct result *r, const char *path, long nr)
{
	(void)nr;
	must_fail(r, path, mount(NULL, path, NULL, MS_REMOUNT | MS_BIND, NULL));
	must_fail(r, path, mount(NULL, path, NULL, MS_REMOUNT, NULL));
}

static void unmount(struct result *r, const char *path, long nr)
{
	(void)nr;
	must_fail(r, path, umount2(path, MNT_DETACH));
}

static void by_descriptor(struct result *r, const char *arg, long nr)
{
	struct mount_attr attr = { .attr_clr = MOUNT_ATTR_RDONLY };

	(void)arg;
	(void)nr;
	must_fail(r, "fsopen", fsopen("tmpfs", 0));
	must_fail(r, "fspick", fspick(AT_FDCWD, "/proc", 0));
	must_fail(r, "open_tree", open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE | AT_RECURSIVE));
	must_fail(r, "move_mount", move_mount(AT_FDCWD, "/dev/shm", AT_FDCWD, "/proc", 0));
	must_fail(r, "mount_setattr", mount_setattr(AT_FDCWD, "/proc", 0, &attr, sizeof(attr)));
}

static void other_root(struct result *r, const char *arg, long nr)
{
	(void)arg;
	must_fail(r, "another root",
		  nr == SYS_chroot ? syscall(nr, "/proc") : syscall(nr, "/", "/proc"));
}

/* Neither the old root nor the layers below and above the image are anywhere to be found. */
static void layers(struct result *r, const char *arg, long nr)
{
	static const char *const names[] = { "/up",    "/work",     "/lower",         "/root/lower",
					     "/../up", "/../lower", "/proc/../../up", NULL };
	struct stat root, st;

	(void)arg;
	(void)nr;
	for (const char *const *name = names; *name; name++) {
		if (stat(*name, &st) == 0)
			say(r, ESCAPED, "%s is there", *name);
	}
	if (stat("/", &root) < 0 || stat("/..", &st) < 0 || st.st_ino != root.st_ino ||
	    st.st_dev != root.st_dev)
		say(r, ESCAPED, "there is something above the root");
	say(r, CONTAINED, "nothing above the root, no layer in it");
}

/* CVE-2025-52881 and its ancestors: what is mounted at /proc is the kernel's. */
static void real_proc(struct result *r, const char *arg, long nr)
{
	struct statfs fs = { 0 };

	(void)arg;
	(void)nr;
	statfs("/proc/self", &fs);
	say(r, fs.f_type == PROC_MAGIC ? CONTAINED : ESCAPED, "/proc/self is of type %#lx",
	    (long)fs.f_type);
}

/* ---- control groups ---- */

static void look_cgroup1(struct result *r, const struct mount_line *m)
{
	if (strcmp(m->type, "cgroup") == 0)
		say(r, ESCAPED, "a control group hierarchy of version 1 at %s", m->point);
}

/* CVE-2022-0492. */
static void release_agent(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	each_mount(r, look_cgroup1);
	new_mount(r, "cgroup", 0);
	must_fail(r, "release_agent", open("/sys/fs/cgroup/release_agent", O_WRONLY | O_CLOEXEC));
}

static void cgroup_paths(struct result *r, const char *arg, long nr)
{
	char text[4096], *rest = text, *line;

	(void)arg;
	(void)nr;
	if (slurp("/proc/self/cgroup", text, sizeof(text)) < 0)
		say(r, ESCAPED, "/proc/self/cgroup can not be read");
	while ((line = strsep(&rest, "\n")) != NULL && *line) {
		const char *path = strrchr(line, ':');

		if (!path || strcmp(path, ":/") != 0)
			say(r, ESCAPED, "%s", line);
	}
	say(r, CONTAINED, "every group is the root of its namespace");
}

static void cgroup_write(struct result *r, const char *arg, long nr)
{
	static const char *const names[] = { "cgroup.procs", "../cgroup.procs",        "memory.max",
					     "pids.max",     "cgroup.subtree_control", NULL };

	(void)arg;
	(void)nr;
	for (const char *const *name = names; *name; name++) {
		char path[64];

		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", *name);
		must_fail(r, path, open(path, O_WRONLY | O_CLOEXEC));
	}
	must_fail(r, "a group below", mkdir("/sys/fs/cgroup/escaped", 0755));
}

static const struct probe table[] = {
	{ "mount_own", own, NULL, 0, BARE, PLAIN },
	{ "mount_private", private, NULL, 0, NOWHERE, PLAIN },
	{ "mount_flags", flags, NULL, 0, BARE, PLAIN },
	{ "mount_tmpfs", new_mount, "tmpfs", 0, UNSHARED, PLAIN },
	{ "mount_proc", new_mount, "proc", 0, UNSHARED, PLAIN },
	{ "mount_sysfs", new_mount, "sysfs", 0, UNSHARED, PLAIN },
	{ "mount_devtmpfs", new_mount, "devtmpfs", 0, NOWHERE, PLAIN },
	{ "mount_devpts", new_mount, "devpts", 0, UNSHARED, PLAIN },
	{ "mount_cgroup2", new_mount, "cgroup2", 0, NOWHERE, PLAIN },
	{ "mount_debugfs", new_mount, "debugfs", 0, NOWHERE, PLAIN },
	{ "mount_tracefs", new_mount, "tracefs", 0, NOWHERE, PLAIN },
	{ "mount_securityfs", new_mount, "securityfs", 0, NOWHERE, PLAIN },
	{ "mount_binfmt_misc", new_mount, "binfmt_misc", 0, NOWHERE, PLAIN },
	{ "mount_overlay", new_mount, "overlay", 0, UNSHARED, PLAIN },
	{ "mount_bind", bind, NULL, 0, NOWHERE, PLAIN },
	{ "mount_by_descriptor", by_descriptor, NULL, 0, UNSHARED, PLAIN },
	{ "remount_root", remount, "/", 0, UNSHARED, PLAIN },
	{ "remount_dev", remount, "/dev", 0, UNSHARED, PLAIN },
	{ "remount_sys", remount, "/sys", 0, UNSHARED, PLAIN },
	{ "remount_proc_sys", remount, "/proc/sys", 0, NOWHERE, PLAIN },
	{ "umount_proc_sys", unmount, "/proc/sys", 0, NOWHERE, PLAIN },
	{ "umount_proc_kcore", unmount, "/proc/kcore", 0, NOWHERE, PLAIN },
	{ "umount_dev", unmount, "/dev/shm", 0, NOWHERE, PLAIN },
	{ "root_pivot", other_root, NULL, SYS_pivot_root, UNSHARED, PLAIN },
	{ "root_chroot", other_root, NULL, SYS_chroot, UNSHARED, PLAIN },
	{ "root_layers", layers, NULL, 0, NOWHERE, PLAIN },
	{ "proc_is_procfs", real_proc, NULL, 0, NOWHERE, PLAIN },
	{ "cgroup_release_agent", release_agent, NULL, 0, NOWHERE, PLAIN },
	{ "cgroup_paths", cgroup_paths, NULL, 0, NOWHERE, PLAIN },
	{ "cgroup_write", cgroup_write, NULL, 0, NOWHERE, PLAIN },
};
const struct probes mount_probes = PROBES(table);
