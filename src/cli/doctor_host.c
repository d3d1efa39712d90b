/* Disk, memory, limits, users and ports of this machine. */
#include "doctor.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <gantry/base/clock.h>
#include <gantry/model/limits.h>

#define DISK_WARN_BYTES   GT_GIB
#define DISK_ERROR_BYTES  (64 * GT_MIB)
#define MEMORY_WARN_BYTES (512 * GT_MIB)
#define FILES_WARN        4096
#define FSYNC_ROUNDS      9
#define FSYNC_WARN_MS     30
#define DEFAULT_PORT      8080

/* The state directory, or the nearest directory above it that exists. */
static char *existing(const char *dir)
{
	char *at = gt_strdup(dir);

	while (access(at, F_OK) < 0 && strcmp(at, "/") != 0 && strcmp(at, ".") != 0) {
		char *up = gt_strdup(dirname(at));
		free(at);
		at = up;
	}
	return at;
}

static void check_disk(struct gt_doctor *d, struct gt_finding *f)
{
	gt_auto(free) char *dir = existing(d->state);
	struct statvfs v;
	uint64_t free_bytes;
	enum gt_check_state state;

	if (statvfs(dir, &v) < 0) {
		gt_finding_set(f, GT_CHECK_WARN, NULL, "%s: %s", dir, strerror(errno));
		return;
	}
	free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	state = free_bytes < DISK_ERROR_BYTES  ? GT_CHECK_ERROR
		: free_bytes < DISK_WARN_BYTES ? GT_CHECK_WARN
					       : GT_CHECK_OK;
	if (v.f_flag & ST_RDONLY)
		gt_finding_set(f, GT_CHECK_ERROR, "keep state elsewhere: --state DIR",
			       "%s is on a read-only file system", dir);
	else
		gt_finding_set(f, state,
			       state == GT_CHECK_OK ? NULL : "free space, or keep state elsewhere",
			       "%.1f GiB free at %s", (double)free_bytes / (double)GT_GIB, dir);
}

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The time of one durable write decides how fast deploys are. */
static void check_fsync(struct gt_doctor *d, struct gt_finding *f)
{
	gt_auto(free) char *dir = existing(d->state);
	gt_auto(fd) int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	uint64_t ns[FSYNC_ROUNDS];
	char block[4096] = { 0 };
	double ms;

	if (fd < 0) {
		gt_finding_set(f, GT_CHECK_SKIP, NULL, "no file can be made in %s: %s", dir,
			       strerror(errno));
		return;
	}
	for (int i = 0; i < FSYNC_ROUNDS; i++) {
		uint64_t began = gt_mono_ns(&gt_clock_system);
		if (write(fd, block, sizeof(block)) < 0 || fdatasync(fd) < 0) {
			gt_finding_set(f, GT_CHECK_ERROR, "see the kernel's log about the disk",
				       "a write to %s fails: %s", dir, strerror(errno));
			return;
		}
		ns[i] = gt_mono_ns(&gt_clock_system) - began;
	}
	qsort(ns, FSYNC_ROUNDS, sizeof(ns[0]), by_size);
	ms = (double)ns[FSYNC_ROUNDS / 2] / 1e6;
	if (ms > FSYNC_WARN_MS)
		gt_finding_set(f, GT_CHECK_WARN, "keep state on a faster disk: --state DIR",
			       "a durable write takes %.1f ms", ms);
	else
		gt_finding_set(f, GT_CHECK_OK, NULL, "%.2f ms for a durable write", ms);
}

static void check_memory(struct gt_doctor *d GT_UNUSED, struct gt_finding *f)
{
	gt_auto(file) FILE *info = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];
	bool few;

	while (info && fgets(line, sizeof(line), info))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	few = kib * 1024 < MEMORY_WARN_BYTES;
	gt_finding_set(f, few ? GT_CHECK_WARN : GT_CHECK_OK,
		       few ? "replicas have a limit of 512MiB unless resources.memory says else"
			   : NULL,
		       "%.1f GiB available", (double)kib / 1048576);
}

static void check_files(struct gt_doctor *d GT_UNUSED, struct gt_finding *f)
{
	struct rlimit lim = { 0, 0 };

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_max < FILES_WARN)
		gt_finding_set(f, GT_CHECK_WARN,
			       "raise it: ulimit -Hn 65536, or LimitNOFILE= in the unit",
			       "at most %llu open files", (unsigned long long)lim.rlim_max);
	else
		gt_finding_set(f, GT_CHECK_OK, NULL, "%llu at most",
			       (unsigned long long)lim.rlim_max);
}

/* As process 1 of a container does it. */
static int try_core_limit(void *arg GT_UNUSED)
{
	return setrlimit(RLIMIT_CORE, &(struct rlimit){ 1, 1 }) < 0 ? errno : 0;
}

/* The kernel starts a program of core_pattern for a crash in a container too, as the host's root,
 * and a limit of 0 does not keep it from that: only 1 does. */
static void check_core(struct gt_doctor *d, struct gt_finding *f)
{
	gt_auto(file) FILE *pattern = fopen("/proc/sys/kernel/core_pattern", "re");
	int kind = pattern ? fgetc(pattern) : EOF;

	if (!d->root)
		gt_finding_set(f, GT_CHECK_SKIP, NULL, "only root can try");
	else if (gt_in_child(try_core_limit, NULL) == 0)
		gt_finding_set(f, GT_CHECK_OK, NULL, "a crash in a container stays there");
	else if (kind == '|')
		gt_finding_set(f, GT_CHECK_WARN,
			       "start gantryd by the service manager instead of sudo, or with "
			       "CAP_SYS_RESOURCE, or sysctl -w kernel.core_pattern=core",
			       "a crash in a container starts the host's program for core dumps as "
			       "root: RLIMIT_CORE is 0 for good");
	else
		gt_finding_set(f, GT_CHECK_OK, NULL,
			       "no program is started for core dumps; RLIMIT_CORE is 0 for good");
}

/* Does a line of it, "name:first:count", give somebody an id of containers? */
static bool finds_subids(const char *path, struct gt_finding *f)
{
	const unsigned long long ours = GT_DEFAULT_SUBID_BASE, n_ours = GT_ID_RANGES * GT_ID_RANGE;
	gt_auto(file) FILE *in = fopen(path, "re");
	unsigned long long first, count;
	char line[256], name[65];

	while (in && fgets(line, sizeof(line), in)) {
		if (sscanf(line, "%64[^:]:%llu:%llu", name, &first, &count) != 3 ||
		    first >= ours + n_ours || (first < ours && count <= ours - first))
			continue;
		gt_finding_set(f, GT_CHECK_WARN,
			       "give others, or set subid_base in [agent] of the daemon's "
			       "configuration",
			       "%s gives %s ids from %llu on, which are of %llu to %llu that "
			       "containers have",
			       path, name, first, ours, ours + n_ours - 1);
		return true;
	}
	return false;
}

static void check_subids(struct gt_doctor *d GT_UNUSED, struct gt_finding *f)
{
	if (!finds_subids("/etc/subuid", f) && !finds_subids("/etc/subgid", f))
		gt_finding_set(f, GT_CHECK_OK, NULL,
			       "%d ids from %d on are given to nobody else here",
			       GT_ID_RANGES * GT_ID_RANGE, GT_DEFAULT_SUBID_BASE);
}

static void check_port(struct gt_doctor *d, struct gt_finding *f)
{
	gt_auto(fd) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(DEFAULT_PORT) };
	int on = 1;

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (d->daemon_runs) {
		gt_finding_set(f, GT_CHECK_SKIP, NULL, "a daemon runs");
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		gt_finding_set(f, GT_CHECK_WARN,
			       "choose another: gantryd run --listen 127.0.0.1:PORT",
			       "127.0.0.1:%d: %s", DEFAULT_PORT, strerror(errno));
	else
		gt_finding_set(f, GT_CHECK_OK, NULL, "127.0.0.1:%d is free", DEFAULT_PORT);
}

static const struct gt_check rows[] = {
	{ "disk", check_disk },       { "durable writes", check_fsync },
	{ "memory", check_memory },   { "open files", check_files },
	{ "core dumps", check_core }, { "user ids", check_subids },
	{ "port", check_port },
};
const struct gt_checks gt_checks_host = { rows, GT_LEN(rows) };
