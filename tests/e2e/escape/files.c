/* files.c - /proc, /sys and /dev: what is masked, what can not be written, which devices there are.
 */
#include "escape.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define WALK_MAX  40000
#define DEPTH_MAX 8
#define TEXT_SIZE 65536

/* A masked path is not there, empty, or nobody's. */
static void masked(struct result *r, const char *path, long nr)
{
	char text[64];
	struct stat st;
	struct dirent *e = NULL;
	DIR *d;

	(void)nr;
	if (stat(path, &st) < 0) {
		must_fail(r, path, -1);
		return;
	}
	if (S_ISDIR(st.st_mode)) {
		d = opendir(path);
		while (d && (e = readdir(d)) != NULL && e->d_name[0] == '.')
			;
		if (e)
			say(r, ESCAPED, "%s holds %s", path, e->d_name);
		if (d)
			closedir(d);
		say(r, CONTAINED, "%s is empty", path);
	} else {
		long n = slurp(path, text, sizeof(text));

		if (n != 0)
			must_fail(r, path, n);
		say(r, CONTAINED, "%s is empty", path);
	}
}

static void thermal(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	for (int cpu = 0; cpu < 1024; cpu++) {
		char path[80];

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/thermal_throttle", cpu);
		masked(r, path, 0);
	}
}

static void unwritable(struct result *r, const char *path, long nr)
{
	(void)nr;
	must_fail(r, path, open(path, O_WRONLY | O_CLOEXEC));
}

/* Opening alone changes nothing, so that the walk is harmless wherever it runs. */
static void walk(struct result *r, const char *path, int depth, int *left)
{
	DIR *d = opendir(path);
	char below[4096];
	struct stat st;

	for (struct dirent *e;
	     d && *left > 0 && r->verdict < ESCAPED && (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
		if (lstat(below, &st) < 0 || S_ISLNK(st.st_mode))
			continue;
		--*left;
		if (S_ISDIR(st.st_mode) && depth > 0)
			walk(r, below, depth - 1, left);
		else if (S_ISREG(st.st_mode))
			must_fail(r, below, open(below, O_WRONLY | O_CLOEXEC | O_NONBLOCK));
	}
	if (d)
		closedir(d);
}

static void unwritable_tree(struct result *r, const char *path, long nr)
{
	int left = WALK_MAX;

	(void)nr;
	walk(r, path, DEPTH_MAX, &left);
	say(r, left < WALK_MAX ? CONTAINED : ABSENT, "%d names below %s", WALK_MAX - left, path);
}

static void unreadable(struct result *r, const char *path, long nr)
{
	char text[64];

	(void)nr;
	/* What is there may also be empty. */
	if (slurp(path, text, sizeof(text)) == 0)
		say(r, CONTAINED, "%s is empty", path);
	else
		must_fail(r, path, text[0] ? 0 : -1);
}

/* Each line with a number other than zero at its beginning is an address of the kernel's. */
static void addresses(struct result *r, const char *path, long nr)
{
	static char text[TEXT_SIZE];
	char *rest = text, *line;

	(void)nr;
	if (slurp(path, text, sizeof(text)) < 0)
		must_fail(r, path, -1);
	while ((line = strsep(&rest, "\n")) != NULL && *line) {
		if (strtoull(line, NULL, 16) != 0)
			say(r, ESCAPED, "%s: %.40s", path, line);
	}
	say(r, CONTAINED, "%s tells no address", path);
}

static void module_addresses(struct result *r, const char *path, long nr)
{
	static char text[TEXT_SIZE];

	(void)nr;
	if (slurp(path, text, sizeof(text)) < 0)
		must_fail(r, path, -1);
	for (char *at = text; (at = strstr(at, " 0x")) != NULL; at++) {
		if (strtoull(at + 1, NULL, 16) != 0)
			say(r, ESCAPED, "%s: %.40s", path, at);
	}
	say(r, CONTAINED, "%s tells no address", path);
}

/* Keys of this user namespace's users only. */
static void key_users(struct result *r, const char *path, long nr)
{
	char text[4096], *rest = text, *line;

	(void)nr;
	if (slurp(path, text, sizeof(text)) < 0)
		must_fail(r, path, -1);
	while ((line = strsep(&rest, "\n")) != NULL && *line) {
		if (strtoul(line, NULL, 10) >= 65534)
			say(r, ESCAPED, "a user of outside: %s", line);
	}
	say(r, CONTAINED, "%s names nobody of outside", path);
}

/* ---- devices ---- */

static void dev_list(struct result *r, const char *arg, long nr)
{
	static const char *const known[] = { "null", "zero", "full",  "random", "urandom",
					     "tty",  "fd",   "stdin", "stdout", "stderr",
					     "ptmx", "pts",  "shm",   "mqueue" };
	DIR *d = opendir("/dev");

	(void)arg;
	(void)nr;
	for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
		bool found = e->d_name[0] == '.';

		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			found = found || strcmp(e->d_name, known[i]) == 0;
		if (!found)
			say(r, ESCAPED, "/dev/%s is there", e->d_name);
	}
	if (d)
		closedir(d);
	say(r, d ? CONTAINED : ESCAPED, "only harmless ones");
}

static void dev_numbers(struct result *r, const char *arg, long nr)
{
	static const struct {
		const char *path;
		unsigned major, minor;
	} nodes[] = { { "/dev/null", 1, 3 },   { "/dev/zero", 1, 5 },    { "/dev/full", 1, 7 },
		      { "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 } };
	struct stat st;

	(void)arg;
	(void)nr;
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		if (lstat(nodes[i].path, &st) < 0 || !S_ISCHR(st.st_mode) ||
		    st.st_rdev != makedev(nodes[i].major, nodes[i].minor))
			say(r, ESCAPED, "%s is something else", nodes[i].path);
	}
	say(r, CONTAINED, "each has its number");
}

static void dev_read_only(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	must_fail(r, "a file in /dev", open("/dev/escaped", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	must_fail(r, "removing /dev/null", unlink("/dev/null"));
	must_fail(r, "mode of /dev/null", chmod("/dev/null", 0600));
	must_fail(r, "owner of /dev/null", chown("/dev/null", 1, 1));
	must_fail(r, "/dev/null over itself", rename("/dev/zero", "/dev/null"));
}

/* nr: major * 1000 + minor. */
static void make_node(struct result *r, const char *kind, long nr)
{
	mode_t type = *kind == 'b' ? S_IFBLK : S_IFCHR;
	long made = mknod("escape-node", type | 0666,
			  makedev((unsigned)(nr / 1000), (unsigned)(nr % 1000)));

	must_fail(r, kind, made);
	if (made == 0)
		must_fail(r, kind, open("escape-node", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
	unlink("escape-node");
}

/* The image holds these nodes, as a layer could that root unpacked. */
static void image_node(struct result *r, const char *path, long nr)
{
	struct stat st;

	(void)nr;
	if (lstat(path, &st) < 0 || !(S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)))
		say(r, ESCAPED, "the image should hold the device node %s", path);
	must_fail(r, path, open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

static const struct probe table[] = {
	{ "mask_proc_acpi", masked, "/proc/acpi", 0, NOWHERE, PLAIN },
	{ "mask_proc_asound", masked, "/proc/asound", 0, NOWHERE, PLAIN },
	{ "mask_proc_interrupts", masked, "/proc/interrupts", 0, BARE, PLAIN },
	{ "mask_proc_kcore", masked, "/proc/kcore", 0, NOWHERE, PLAIN },
	{ "mask_proc_keys", masked, "/proc/keys", 0, NOWHERE, PLAIN },
	{ "mask_proc_latency_stats", masked, "/proc/latency_stats", 0, NOWHERE, PLAIN },
	{ "mask_proc_timer_list", masked, "/proc/timer_list", 0, BARE, PLAIN },
	{ "mask_proc_timer_stats", masked, "/proc/timer_stats", 0, NOWHERE, PLAIN },
	{ "mask_proc_sched_debug", masked, "/proc/sched_debug", 0, NOWHERE, PLAIN },
	{ "mask_proc_scsi", masked, "/proc/scsi", 0, NOWHERE, PLAIN },
	{ "mask_proc_driver", masked, "/proc/driver", 0, NOWHERE, PLAIN },
	{ "mask_sys_firmware", masked, "/sys/firmware", 0, BARE, PLAIN },
	{ "mask_sys_powercap", masked, "/sys/devices/virtual/powercap", 0, NOWHERE, PLAIN },
	{ "mask_sys_thermal", thermal, NULL, 0, NOWHERE, PLAIN },
	{ "ro_core_pattern", unwritable, "/proc/sys/kernel/core_pattern", 0, BARE, PLAIN },
	{ "ro_modprobe", unwritable, "/proc/sys/kernel/modprobe", 0, NOWHERE, PLAIN },
	{ "ro_hostname", unwritable, "/proc/sys/kernel/hostname", 0, BARE, PLAIN },
	{ "ro_sysrq_trigger", unwritable, "/proc/sysrq-trigger", 0, NOWHERE, PLAIN },
	{ "ro_uevent_helper", unwritable, "/sys/kernel/uevent_helper", 0, NOWHERE, PLAIN },
	{ "ro_binfmt_misc", unwritable, "/proc/sys/fs/binfmt_misc/register", 0, NOWHERE, PLAIN },
	{ "ro_proc_sys", unwritable_tree, "/proc/sys", 0, BARE, PLAIN },
	{ "ro_proc_bus", unwritable_tree, "/proc/bus", 0, NOWHERE, PLAIN },
	{ "ro_proc_fs", unwritable_tree, "/proc/fs", 0, NOWHERE, PLAIN },
	{ "ro_proc_irq", unwritable_tree, "/proc/irq", 0, BARE, PLAIN },
	{ "ro_sys", unwritable_tree, "/sys", 0, NOWHERE, PLAIN },
	{ "leak_kallsyms", addresses, "/proc/kallsyms", 0, NOWHERE, PLAIN },
	{ "leak_iomem", addresses, "/proc/iomem", 0, BARE, PLAIN },
	{ "leak_modules", module_addresses, "/proc/modules", 0, NOWHERE, PLAIN },
	{ "leak_kmsg", unreadable, "/proc/kmsg", 0, NOWHERE, PLAIN },
	{ "leak_slabinfo", unreadable, "/proc/slabinfo", 0, BARE, PLAIN },
	{ "leak_vmallocinfo", unreadable, "/proc/vmallocinfo", 0, BARE, PLAIN },
	{ "leak_pagetypeinfo", unreadable, "/proc/pagetypeinfo", 0, NOWHERE, PLAIN },
	{ "leak_kpageflags", unreadable, "/proc/kpageflags", 0, NOWHERE, PLAIN },
	{ "leak_sys_kernel_debug", masked, "/sys/kernel/debug", 0, NOWHERE, PLAIN },
	{ "leak_sys_kernel_tracing", masked, "/sys/kernel/tracing", 0, NOWHERE, PLAIN },
	{ "leak_key_users", key_users, "/proc/key-users", 0, NOWHERE, PLAIN },
	{ "dev_list", dev_list, NULL, 0, NOWHERE, PLAIN },
	{ "dev_numbers", dev_numbers, NULL, 0, NOWHERE, PLAIN },
	{ "dev_read_only", dev_read_only, NULL, 0, NOWHERE, PLAIN },
	{ "dev_mknod_disk", make_node, "block 8:0", 8000, UNSHARED, PLAIN },
	{ "dev_mknod_virtual_disk", make_node, "block 254:0", 254000, UNSHARED, PLAIN },
	{ "dev_mknod_loop", make_node, "block 7:0", 7000, UNSHARED, PLAIN },
	{ "dev_mknod_mem", make_node, "char 1:1", 1001, UNSHARED, PLAIN },
	{ "dev_mknod_kmsg", make_node, "char 1:11", 1011, UNSHARED, PLAIN },
	{ "dev_mknod_loop_control", make_node, "char 10:237", 10237, UNSHARED, PLAIN },
	{ "dev_mknod_fuse", make_node, "char 10:229", 10229, UNSHARED, PLAIN },
	{ "dev_mknod_kvm", make_node, "char 10:232", 10232, UNSHARED, PLAIN },
	{ "dev_mknod_tun", make_node, "char 10:200", 10200, UNSHARED, PLAIN },
	{ "dev_mknod_gpu", make_node, "char 195:0", 195000, UNSHARED, PLAIN },
	{ "dev_image_null", image_node, "/node-null", 0, NOWHERE, PLAIN },
	{ "dev_image_mem", image_node, "/node-mem", 0, NOWHERE, PLAIN },
	{ "dev_image_disk", image_node, "/node-disk", 0, NOWHERE, PLAIN },
};
const struct probes file_probes = PROBES(table);
