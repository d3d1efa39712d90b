/* left.c - see the header. */
#include "left.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void left_fds(struct gt_buf *out)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char to[PATH_MAX];
		ssize_t n = readlinkat(dirfd(dir), e->d_name, to, sizeof(to) - 1);

		if (n < 0 || atoi(e->d_name) == dirfd(dir))
			continue;
		to[n] = '\0';
		gt_buf_addf(out, "%s %s\n", e->d_name, to);
	}
	if (dir)
		closedir(dir);
}

static struct gt_buf *walked;
static size_t walked_from;
static const char *looked_for;

static int add_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)type;
	(void)ftw;
	gt_buf_addf(walked, "%s %o %lld\n", path + walked_from, st->st_mode,
		    S_ISREG(st->st_mode) ? (long long)st->st_size : 0);
	return 0;
}

void left_files(const char *dir, struct gt_buf *out)
{
	walked = out;
	walked_from = strlen(dir);
	nftw(dir, add_file, 16, FTW_PHYS);
}

static int add_group(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	if (type == FTW_D && strstr(path + ftw->base, looked_for))
		gt_buf_addf(walked, "%s\n", path);
	return 0;
}

/* As runtime.c names them. */
void left_groups(const char *dir, struct gt_buf *out)
{
	char real[PATH_MAX], name[64];
	uint64_t hash = 0xcbf29ce484222325ull;

	if (!realpath(dir, real))
		return;
	for (const char *p = real; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 0x100000001b3ull;
	snprintf(name, sizeof(name), "%016llx", (unsigned long long)hash);
	walked = out;
	looked_for = name;
	nftw("/sys/fs/cgroup", add_group, 16, FTW_PHYS);
}

void left_mounts(const char *dir, struct gt_buf *out)
{
	FILE *in = fopen("/proc/self/mountinfo", "re");
	char line[4096];

	while (in && fgets(line, sizeof(line), in))
		if (strstr(line, dir))
			gt_buf_adds(out, line);
	if (in)
		fclose(in);
}

static void each_child(pid_t pid, unsigned depth, void (*fn)(pid_t pid, void *arg), void *arg)
{
	char path[64];
	FILE *in;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	in = fopen(path, "re");
	while (in && fscanf(in, "%d", &child) == 1) {
		if (depth < 8)
			each_child(child, depth + 1, fn, arg);
		fn(child, arg);
	}
	if (in)
		fclose(in);
}

static void add_process(pid_t pid, void *arg)
{
	char path[64], name[64] = "";
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	in = fopen(path, "re");
	if (in && fgets(name, sizeof(name), in))
		name[strcspn(name, "\n")] = '\0';
	if (in)
		fclose(in);
	gt_buf_addf(arg, "%s\n", name);
}

void left_processes(struct gt_buf *out)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		continue;
	each_child(getpid(), 0, add_process, out);
}

static void kill_one(pid_t pid, void *arg)
{
	(void)arg;
	kill(pid, SIGKILL);
}

void left_kill(void)
{
	each_child(getpid(), 0, kill_one, NULL);
}

void left_more(const struct gt_buf *a, const struct gt_buf *b, const char *what, struct gt_buf *out)
{
	const char *at = b->data;

	while (at && *at) {
		const char *end = strchr(at, '\n');
		size_t len = (size_t)(end - at) + 1;

		if (!a->data || !memmem(a->data, a->len, at, len))
			gt_buf_addf(out, "%s%s %.*s", out->len ? "; " : "", what, (int)len - 1, at);
		at = end + 1;
	}
}
