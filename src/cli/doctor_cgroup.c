/* Where limits can be set, and what a dead daemon left there. */
#include "doctor.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUPS_MAX 16
#define DEPTH_MAX  5

struct hierarchy {
	char mount[256];
	char controllers[256]; /* ",memory," or of v2 with ',' for blanks */
	char own[512];         /* this process's group, as a directory */
	bool v2;
};

static bool has(const char *list, const char *name)
{
	gt_auto(free) char *needle = gt_asprintf(",%s,", name);

	return strstr(list, needle) != NULL;
}

/* "[name=]a,b" or "a b\n" as ",a,b," */
static void set_list(char *out, size_t size, const char *text)
{
	snprintf(out, size, ",%.*s,", (int)strcspn(text, "\n"), text);
	for (char *p = out; *p; p++)
		if (*p == ' ')
			*p = ',';
}

static void read_v2(struct hierarchy *h)
{
	gt_auto(free) char *path = gt_asprintf("%s/cgroup.controllers", h->mount);
	gt_auto(file) FILE *f = fopen(path, "re");
	char text[200] = "";

	if (f && fgets(text, sizeof(text), f))
		set_list(h->controllers, sizeof(h->controllers), text);
}

static size_t read_mounts(struct hierarchy *all)
{
	gt_auto(file) FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[1024], mount[200], type[16], super[256];
	size_t n = 0;

	while (f && n < GROUPS_MAX && fgets(line, sizeof(line), f)) {
		const char *dash = strstr(line, " - ");
		struct hierarchy *h = &all[n];

		if (!dash || sscanf(line, "%*s %*s %*s %*s %199s", mount) != 1 ||
		    sscanf(dash, " - %15s %*s %255s", type, super) != 2 ||
		    !gt_starts_with(type, "cgroup"))
			continue;
		*h = (struct hierarchy){ .v2 = strcmp(type, "cgroup2") == 0 };
		gt_strcopy(h->mount, sizeof(h->mount), mount);
		if (h->v2)
			read_v2(h);
		else
			set_list(h->controllers, sizeof(h->controllers), super);
		n++;
	}
	return n;
}

/* "4:memory:/a/b" and, for v2, "0::/a/b" */
static void read_own(struct hierarchy *all, size_t n)
{
	gt_auto(file) FILE *f = fopen("/proc/self/cgroup", "re");
	char line[1024];

	while (f && fgets(line, sizeof(line), f)) {
		char *rest = line, *names, *path;

		strsep(&rest, ":");
		names = strsep(&rest, ":");
		path = strsep(&rest, "\n");
		for (size_t i = 0; names && path && i < n; i++) {
			char first[64];
			bool same;

			gt_strcopy(first, sizeof(first), names);
			first[strcspn(first, ",")] = '\0';
			same = *names ? !all[i].v2 && has(all[i].controllers, first) : all[i].v2;
			if (same)
				snprintf(all[i].own, sizeof(all[i].own), "%s%s", all[i].mount,
					 strcmp(path, "/") == 0 ? "" : path);
		}
	}
}

static const struct hierarchy *find(const struct hierarchy *all, size_t n, const char *controller)
{
	for (size_t i = 0; i < n; i++)
		if (has(all[i].controllers, controller))
			return &all[i];
	return NULL;
}

/* Makes a group below the own one and removes it. */
static int try_group(const struct hierarchy *h)
{
	gt_auto(free) char *dir = gt_asprintf("%s/gantry-doctor-%d", h->own, (int)getpid());

	if (mkdir(dir, 0755) < 0)
		return errno;
	return rmdir(dir) < 0 ? errno : 0;
}

static void check_limits(struct gt_doctor *d, struct gt_finding *f)
{
	static const char *const needed[] = { "memory", "cpu", "pids" };
	struct hierarchy all[GROUPS_MAX];
	size_t n = read_mounts(all), len = 0;
	char text[128] = "", missing[64] = "";

	read_own(all, n);
	for (size_t i = 0; i < GT_LEN(needed); i++) {
		const struct hierarchy *h = find(all, n, needed[i]);
		int rc;

		if (!h) {
			size_t at = strlen(missing);
			snprintf(missing + at, sizeof(missing) - at, " %s", needed[i]);
			continue;
		}
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s by v%d",
					len ? ", " : "", needed[i], h->v2 ? 2 : 1);
		rc = d->root ? try_group(h) : 0;
		if (rc != 0) {
			gt_finding_set(f, GT_CHECK_ERROR, "mount it writable, or run as its owner",
				       "no group can be made below %s: %s", h->own, strerror(rc));
			return;
		}
	}
	if (missing[0])
		gt_finding_set(f, GT_CHECK_WARN,
			       "boot with cgroup_enable=memory systemd.unified_cgroup_hierarchy=1",
			       "no controller for%s: that limit does not hold", missing);
	else
		gt_finding_set(f, GT_CHECK_OK, NULL, "%s", text);
}

/* Directories named gantry-* that are not the doctor's own. */
static size_t count_leftovers(const char *dir, int depth, char *first, size_t size)
{
	DIR *at = depth > 0 ? opendir(dir) : NULL;
	struct dirent *e;
	size_t n = 0;

	while (at && (e = readdir(at))) {
		gt_auto(free) char *path = NULL;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		path = gt_asprintf("%s/%s", dir, e->d_name);
		if (!gt_starts_with(e->d_name, "gantry-")) {
			n += count_leftovers(path, depth - 1, first, size);
		} else if (!gt_starts_with(e->d_name, "gantry-doctor-")) {
			if (!first[0])
				gt_strcopy(first, size, path);
			n++;
		}
	}
	if (at)
		closedir(at);
	return n;
}

static void check_leftovers(struct gt_doctor *d, struct gt_finding *f)
{
	struct hierarchy all[GROUPS_MAX];
	size_t n = read_mounts(all), found = 0;
	char first[300] = "";

	if (d->daemon_runs) {
		gt_finding_set(f, GT_CHECK_SKIP, NULL, "a daemon runs");
		return;
	}
	for (size_t i = 0; i < n; i++)
		found += count_leftovers(all[i].mount, DEPTH_MAX, first, sizeof(first));
	if (found)
		gt_finding_set(
			f, GT_CHECK_WARN,
			"start gantryd on its state directory again, it adopts or removes them; or "
			"`gantryd cleanup --state DIR`",
			"%zu control groups of replicas without a daemon, such as %s", found,
			first);
	else
		gt_finding_set(f, GT_CHECK_OK, NULL, "none");
}

static const struct gt_check rows[] = {
	{ "control groups", check_limits },
	{ "leftovers", check_leftovers },
};
const struct gt_checks gt_checks_cgroup = { rows, GT_LEN(rows) };
