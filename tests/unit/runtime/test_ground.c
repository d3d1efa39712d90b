/* test_ground.c - what a container stands on: nothing of the host is below its root, and nothing of
 * the agent is open in its process 1. */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CONTAINER(f, pool)              \
	struct fixture f;               \
	if (fixture_open(&f, pool) < 0) \
		skip();

#define OPEN_MAX_HERE 400

static int count_in(const char *path)
{
	DIR *d = opendir(path);
	const struct dirent *e;
	int n = 0;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return d ? n : -1;
}

/* Takes the root off a copy of the container's mounts and looks at what is left: 0, or where it
 * differs from the empty, read-only directory with an empty mount point. */
static int look_below(pid_t init)
{
	int proc = open("/proc", O_PATH | O_DIRECTORY), mine;
	char path[64];

	snprintf(path, sizeof(path), "%d/ns/mnt", (int)init);
	mine = openat(proc, path, O_RDONLY);
	if (mine < 0 || setns(mine, CLONE_NEWNS) < 0 || unshare(CLONE_NEWNS) < 0)
		return 1;
	if (access("/echo", F_OK) < 0)
		return 2; /* who enters the namespace is in the container's root */
	mine = openat(proc, "self/ns/mnt", O_RDONLY);
	if (mine < 0 || umount2("/", MNT_DETACH) < 0 || setns(mine, CLONE_NEWNS) < 0)
		return 3;
	if (count_in("/") != 1 || count_in("/scratch") != 0)
		return 4;
	return mkdir("/x", 0700) == 0 || errno != EROFS ? 5 : 0;
}

static void nothing_of_the_host_is_below(void **state)
{
	struct run run;
	int status;
	pid_t pid;

	(void)state;
	CONTAINER(f, 1);
	assert_int_equal(run_start(&f, fixture_echo(&f), &run), 0);
	fixture_until(&f, &run.started);
	pid = fork();
	if (pid == 0)
		_exit(look_below(run.where.pid));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	gt_container_kill(run.c);
	fixture_until(&f, &run.exited);
	run_close(&run);
	fixture_close(&f);
}

static void nothing_of_the_agent_is_open(void **state)
{
	int fds[OPEN_MAX_HERE];
	char path[64];
	struct run run;

	(void)state;
	CONTAINER(f, 0);
	/* Neither above what it gets nor, with those that are closed again, around it; and none of
	 * them closes on execution. */
	for (int i = 0; i < OPEN_MAX_HERE; i++)
		assert_true((fds[i] = fcntl(STDERR_FILENO, F_DUPFD, 0)) >= 0);
	for (int i = 0; i < OPEN_MAX_HERE; i += 2)
		close(fds[i]);
	assert_int_equal(run_start(&f, fixture_echo(&f), &run), 0);
	fixture_until(&f, &run.started);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)run.where.pid);
	/* 0 to 2, where the end is written down, and for another moment the socket. */
	assert_in_range(count_in(path), 4, 5);
	for (int i = 1; i < OPEN_MAX_HERE; i += 2)
		assert_int_equal(close(fds[i]), 0); /* ours are as they were */
	gt_container_kill(run.c);
	fixture_until(&f, &run.exited);
	run_close(&run);
	fixture_close(&f);
}

/* Control groups of this name, wherever the hierarchies of this machine are. */
static size_t groups_of(const char *leaf)
{
	static const char *const tops[] = { "/sys/fs/cgroup/gantry-*",
					    "/sys/fs/cgroup/*/gantry-*" };
	char pattern[256];
	size_t n = 0;

	for (size_t i = 0; i < GT_LEN(tops); i++) {
		glob_t found;

		snprintf(pattern, sizeof(pattern), "%s/%s", tops[i], leaf);
		if (glob(pattern, 0, NULL, &found) == 0)
			n += found.gl_pathc;
		globfree(&found);
	}
	return n;
}

/* Of the tests themselves: one that fails never comes to its end. */
static void a_failed_test_leaves_nothing(void **state)
{
	struct shared {
		struct fixture f;
		struct run run;
	} *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	(void)state;
	assert_ptr_not_equal(s, MAP_FAILED);
	pid = fork();
	if (pid == 0) {
		if (fixture_open(&s->f, 1) < 0)
			_exit(77);
		if (run_start(&s->f, fixture_echo(&s->f), &s->run) < 0)
			exit(2);
		fixture_until(&s->f, &s->run.started);
		exit(groups_of(s->run.where.sandbox) > 0 ? 1 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_int_equal(access(s->f.dir, F_OK), -1);
	assert_int_equal(groups_of(s->run.where.sandbox), 0);
	munmap(s, sizeof(*s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_of_the_host_is_below),
		cmocka_unit_test(nothing_of_the_agent_is_open),
		cmocka_unit_test(a_failed_test_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
