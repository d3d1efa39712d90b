/* test_faults.c - the machine runs out of something, or the agent dies at the worst moment. */
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/os/os.h>

static unsigned open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Starts "true"; 0, or it was refused in the way it should be. */
static int start_or_refuse(struct fixture *f)
{
	struct run run;
	int r = run_start(f, fixture_shell("true"), &run);

	if (r == 0)
		fixture_until(f, &run.exited);
	if (r < 0 || run.failed) {
		/* Whichever call it was, the user reads what the machine lacks. */
		if (!gt_streq(run.err.slug, "sandbox_failed") || !run.err.text[0])
			fail_msg("%s: %s", run.err.slug, run.err.text);
		r = -1;
	}
	run_close(&run);
	return r;
}

/* With room for none, one, two and more descriptors: every place where they can run out. */
static void without_descriptors(void **state)
{
	struct rlimit before, few;
	unsigned refused = 0, used;
	struct fixture f;

	(void)state;
	if (fixture_open_with(&f, (struct gt_runtime_config){ .pool = 0 }) < 0)
		skip();
	assert_int_equal(start_or_refuse(&f), 0);
	while (gt_runtime_busy(f.rt))
		assert_int_equal(gt_loop_step(f.loop, 100, NULL), 0);
	used = open_files();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (unsigned room = 0; room < 24; room++) {
		/* Three are the test's own: the FIFO's ends and the status. */
		few = (struct rlimit){ used + 3 + room, before.rlim_max };
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		refused += start_or_refuse(&f) < 0;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	}
	assert_true(refused > 4);
	/* They are back, and so is everything else. */
	assert_int_equal(start_or_refuse(&f), 0);
	while (gt_runtime_busy(f.rt))
		assert_int_equal(gt_loop_step(f.loop, 100, NULL), 0);
	assert_int_equal(open_files(), used);
	fixture_close(&f);
}

/* ---- no more processes ---- */

/* Our group in the hierarchy of the pids controller, or false where there is none of version 1. */
static bool pids_group(char out[256])
{
	char line[256], *path;
	FILE *in = fopen("/proc/self/cgroup", "re");
	bool found = false;

	assert_non_null(in);
	while (!found && fgets(line, sizeof(line), in)) {
		path = strstr(line, ":pids:");
		if (!path)
			continue;
		path += strlen(":pids:");
		path[strcspn(path, "\n")] = '\0';
		snprintf(out, 256, "/sys/fs/cgroup/pids%s", gt_streq(path, "/") ? "" : path);
		found = access(out, W_OK) == 0;
	}
	fclose(in);
	return found;
}

static void without_processes(void **state)
{
	char ours[256], inner[300];
	struct gt_err err;
	struct fixture f;
	int ours_fd, inner_fd;

	(void)state;
	if (fixture_open_with(&f, (struct gt_runtime_config){ .pool = 0 }) < 0)
		skip();
	if (!pids_group(ours)) {
		print_message("skipped: no pids controller of version 1\n");
		fixture_close(&f);
		skip();
	}
	snprintf(inner, sizeof(inner), "%s/gantry-test-%d", ours, (int)getpid());
	assert_int_equal(gt_os_mkdir_at(AT_FDCWD, inner, 0755, &err), 0);
	assert_int_equal(gt_os_open_dir(AT_FDCWD, ours, &ours_fd, &err), 0);
	assert_int_equal(gt_os_open_dir(AT_FDCWD, inner, &inner_fd, &err), 0);
	assert_int_equal(gt_os_write_at(inner_fd, "cgroup.procs", "0", &err), 0);
	assert_int_equal(gt_os_write_at(inner_fd, "pids.max", "1", &err), 0);
	assert_true(start_or_refuse(&f) < 0);
	assert_int_equal(gt_os_write_at(inner_fd, "pids.max", "max", &err), 0);
	assert_int_equal(start_or_refuse(&f), 0);
	assert_int_equal(gt_os_write_at(ours_fd, "cgroup.procs", "0", &err), 0);
	fixture_close(&f);
	gt_close(ours_fd);
	gt_close(inner_fd);
	/* Only process 1s of ours were in it, and those moved away themselves. */
	assert_int_equal(gt_os_rmdir_at(AT_FDCWD, inner, &err), 0);
}

/* ---- the agent is killed ---- */

#define GROUPS_MAX 8

struct waiting_init {
	pid_t pid;
	char groups[GROUPS_MAX][400];
	unsigned n_groups;
};

/* Where the kernel shows the groups of a sandbox: those that are called after the directory. */
static void find_groups(struct waiting_init *w)
{
	char path[64], line[300];
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)w->pid);
	in = fopen(path, "re");
	assert_non_null(in);
	while (fgets(line, sizeof(line), in) && w->n_groups < GROUPS_MAX) {
		char *name = strchr(line, ':'), *at = name ? strchr(name + 1, ':') : NULL;
		char *out = w->groups[w->n_groups];

		if (!at || !strstr(at, "gantry-"))
			continue;
		*at++ = '\0';
		at[strcspn(at, "\n")] = '\0';
		snprintf(out, sizeof(w->groups[0]), "/sys/fs/cgroup/%s%s",
			 name[1] ? name + 1 : "unified", at);
		if (access(out, F_OK) == 0)
			w->n_groups++;
	}
	fclose(in);
}

/* A process that prepares a sandbox, tells its process 1 and waits to be killed. */
static _Noreturn void be_the_agent(const char *dir, int tell)
{
	struct gt_runtime_config config = { .dir = dir,
					    .prepared_max = 1,
					    .allow_host_image = true };
	struct gt_spec *spec = fixture_shell("true");
	struct gt_container_args args = { .function = "f", .revision = 1, .spec = spec };
	char path[64], text[64] = "";
	struct gt_runtime *rt;
	struct gt_loop *loop;
	struct gt_err err;
	int pid;

	if (gt_loop_new(&loop, &err) < 0 || gt_runtime_new(loop, &config, &rt, &err) < 0 ||
	    gt_runtime_prepare(rt, &args, &err) < 0)
		_exit(1);
	while (gt_runtime_waiting(rt).prepared == 0) {
		if (gt_loop_step(loop, 100, NULL) < 0)
			_exit(2);
	}
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	gt_os_read_at(AT_FDCWD, path, text, sizeof(text), NULL);
	pid = atoi(text);
	if (write(tell, &pid, sizeof(pid)) != sizeof(pid))
		_exit(3);
	for (;;)
		pause();
}

static void agent_killed_while_one_is_prepared(void **state)
{
	struct waiting_init w = { .n_groups = 0 };
	int tell[2], pidfd, pid = 0;
	struct pollfd ended;
	struct gt_err err;
	struct fixture f;
	pid_t agent;

	(void)state;
	if (fixture_open_with(&f, (struct gt_runtime_config){ .pool = 0 }) < 0)
		skip();
	assert_int_equal(pipe(tell), 0);
	agent = fork();
	assert_true(agent >= 0);
	if (agent == 0)
		be_the_agent(f.dir, tell[1]);
	gt_close(tell[1]);
	assert_int_equal(read(tell[0], &pid, sizeof(pid)), sizeof(pid));
	w.pid = pid;
	assert_int_equal(gt_os_pidfd_open(w.pid, &pidfd, &err), 0);
	find_groups(&w);
	assert_true(w.n_groups > 0);
	assert_int_equal(kill(agent, SIGKILL), 0);
	assert_int_equal(waitpid(agent, NULL, 0), agent);
	/* The process ends by itself; its groups are the next start's to remove. */
	ended = (struct pollfd){ pidfd, POLLIN, 0 };
	assert_int_equal(poll(&ended, 1, 10000), 1);
	gt_runtime_sweep(f.rt);
	while (gt_runtime_busy(f.rt))
		assert_int_equal(gt_loop_step(f.loop, 100, NULL), 0);
	for (unsigned i = 0; i < w.n_groups; i++)
		assert_int_equal(access(w.groups[i], F_OK), -1);
	gt_close(pidfd);
	gt_close(tell[0]);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_descriptors),
		cmocka_unit_test(without_processes),
		cmocka_unit_test(agent_killed_while_one_is_prepared),
	};

	return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
