/* child.c - from process 1 to the program: a child in its own session, with the user's identity,
 * standard descriptors only. A pipe that closes on exec tells whether it came that far. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

#define REPORT_FD       3
#define NOFILE_SOFT_MAX 65536
#define PATH_SIZE       4096

struct report {
	uint32_t step;
	int32_t code;
};

static _Noreturn void child_fail(enum gt_init_step step, int code)
{
	struct report r = { step, code };
	ssize_t n = write(REPORT_FD, &r, sizeof(r));

	_exit(n == sizeof(r) ? 126 : 127);
}

static void stdio(const struct init_fds *fds, int report)
{
	int in = open("/dev/null", O_RDONLY);

	if (in < 0)
		child_fail(GT_INIT_STEP_STDIO, errno);
	/* Away from the places it is about to fill; process 1 itself has 0..2 on /dev/null. */
	if (dup2(in, 0) < 0 || dup2(fds->fixed[GT_INIT_FD_STDOUT], 1) < 0 ||
	    dup2(fds->fixed[GT_INIT_FD_STDERR], 2) < 0)
		child_fail(GT_INIT_STEP_STDIO, errno);
	if (report != REPORT_FD && dup3(report, REPORT_FD, O_CLOEXEC) < 0)
		child_fail(GT_INIT_STEP_STDIO, errno);
	if (close_range(REPORT_FD + 1, ~0u, 0) < 0)
		child_fail(GT_INIT_STEP_STDIO, errno);
}

/* Soft failures: a machine whose root lacks CAP_SYS_RESOURCE keeps its own limits. */
static void limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max < NOFILE_SOFT_MAX ? files.rlim_max
								  : NOFILE_SOFT_MAX;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static const char *env_value(char **envp, const char *name)
{
	size_t len = strlen(name);

	for (; *envp; envp++) {
		if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
			return *envp + len + 1;
	}
	return "";
}

/* ENOENT for a file that is there means that what should interpret it is not. */
static _Noreturn void exec_fail(const char *path, int code)
{
	if (code == ENOENT && faccessat(AT_FDCWD, path, F_OK, 0) == 0)
		child_fail(GT_INIT_STEP_INTERPRETER, code);
	child_fail(code == ENOENT || code == ENOTDIR ? GT_INIT_STEP_LOOKUP : GT_INIT_STEP_EXEC,
		   code);
}

/* A command without '/' is looked up like a shell does; a found file that may not be executed is
 * reported only when nothing better comes after it. */
static _Noreturn void exec_program(const struct init_spec *spec)
{
	const char *dir = env_value(spec->envp, "PATH"), *name = spec->argv[0];
	char path[PATH_SIZE], found[PATH_SIZE] = "";
	int code = ENOENT;

	if (strchr(name, '/')) {
		execve(name, spec->argv, spec->envp);
		exec_fail(name, errno);
	}
	while (*dir) {
		int len = (int)strcspn(dir, ":");
		int n = snprintf(path, sizeof(path), "%.*s/%s", len, dir, name);
		struct stat st;

		dir += len + (dir[len] == ':');
		if (n >= (int)sizeof(path) || stat(path, &st) < 0 || S_ISDIR(st.st_mode))
			continue;
		execve(path, spec->argv, spec->envp);
		if (errno != EACCES)
			exec_fail(path, errno);
		code = errno;
		memcpy(found, path, sizeof(found));
	}
	exec_fail(*found ? found : name, code);
}

static _Noreturn void child(const struct init_spec *spec, const struct init_fds *fds, int report)
{
	sigset_t none;

	stdio(fds, report);
	limits();
	if (setsid() < 0)
		child_fail(GT_INIT_STEP_FORK, errno);
	if (setresgid(spec->head->gid, spec->head->gid, spec->head->gid) < 0 ||
	    setresuid(spec->head->uid, spec->head->uid, spec->head->uid) < 0)
		child_fail(GT_INIT_STEP_USER, errno);
	if (chdir(spec->workdir) < 0)
		child_fail(GT_INIT_STEP_WORKDIR, errno);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	exec_program(spec);
}

pid_t init_exec(const struct init_spec *spec, const struct init_fds *fds)
{
	struct report r;
	int report[2];
	ssize_t n;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		init_fail(GT_INIT_STEP_FORK, errno, 0);
	pid = fork();
	if (pid < 0)
		init_fail(GT_INIT_STEP_FORK, errno, 1);
	if (pid == 0)
		child(spec, fds, report[1]);
	close(report[1]);
	do {
		n = read(report[0], &r, sizeof(r));
	} while (n < 0 && errno == EINTR);
	if (n == sizeof(r))
		init_fail((enum gt_init_step)r.step, r.code, 0);
	close(report[0]);
	return pid;
}
