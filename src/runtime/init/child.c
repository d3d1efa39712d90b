/* child.c - from process 1 to the program: a child in its own session, with the user's identity,
 * standard descriptors only.
 *
 * The child is made before GO and waits for it, so that what is left then is little more than the
 * execution itself. It shares this process's memory until it executes, while process 1 sleeps in
 * the kernel (CLONE_VM | CLONE_VFORK): no page is copied, and its report is a plain struct. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

#define NOFILE_SOFT_MAX 65536
#define PATH_SIZE       4096
#define STACK_SIZE      (64 * 1024)

struct child {
	const struct init_spec *spec;
	bool tell_prepared;
	struct init_user user;
	char home[sizeof("HOME=") + 256];
	struct gt_init_go go;
	int out, err;
	uint64_t go_us;
	/* What failed, for process 1 to read once it wakes up. */
	bool failed;
	enum gt_init_step step;
	int code;
	unsigned index;
};

static struct child the_child;

static _Noreturn void child_fail(enum gt_init_step step, int code, unsigned index)
{
	the_child.failed = true;
	the_child.step = step;
	the_child.code = code;
	the_child.index = index;
	_exit(127);
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

static void add_env(const struct init_spec *spec, char *text)
{
	char **end = spec->envp; /* it has room: spec.c */

	while (*end)
		end++;
	*end = text;
}

static void find_user(struct child *c)
{
	enum gt_init_user_part part = GT_INIT_USER_FILE;
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int code = root < 0 ? errno : init_user_find(root, c->spec->user, &c->user, &part);

	if (code != 0)
		child_fail(GT_INIT_STEP_USER_NAME, code, part);
	close(root);
	if (c->spec->head->home) {
		snprintf(c->home, sizeof(c->home), "HOME=%s", c->user.home);
		add_env(c->spec, c->home);
	}
}

static void wait_for_go(struct child *c)
{
	struct gt_init_answer a = { .type = GT_INIT_PREPARED };
	struct gt_init_go *m = &c->go;
	static int fds[GT_INIT_FDS_MAX];
	char *at = m->env;

	if (c->tell_prepared)
		init_answer(&a);
	if (init_receive(GT_INIT_GO, m, sizeof(*m), fds) != 2 || m->n_env > GT_INIT_GO_ENV)
		child_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 1);
	c->go_us = init_now_us();
	m->env[sizeof(m->env) - 1] = '\0';
	for (uint32_t i = 0; i < m->n_env; i++) {
		if (at >= m->env + sizeof(m->env))
			child_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 2);
		add_env(c->spec, at);
		at += strlen(at) + 1;
	}
	c->out = fds[0];
	c->err = fds[1];
}

/* A program may open /dev/stdout again, which takes the right to the FIFO itself. Whatever else an
 * operator's output is, it keeps its owner. */
static void give_fifo(int fd, const struct init_user *user)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || (S_ISFIFO(st.st_mode) && fchown(fd, user->uid, user->gid) < 0))
		child_fail(GT_INIT_STEP_STDIO, errno, 0);
}

/* Process 1 has /dev/null on 0..2, so that nothing else can be there. */
static void stdio(const struct child *c)
{
	if (c->user.uid != 0 || c->user.gid != 0) {
		give_fifo(c->out, &c->user);
		give_fifo(c->err, &c->user);
	}
	if (dup2(c->out, STDOUT_FILENO) < 0 || dup2(c->err, STDERR_FILENO) < 0 ||
	    close_range(STDERR_FILENO + 1, ~0u, 0) < 0)
		child_fail(GT_INIT_STEP_STDIO, errno, 1);
}

static void become_user(const struct init_user *u)
{
	gid_t groups[INIT_GROUPS_MAX];
	int code = init_lock_rights(u->uid == 0);

	for (size_t i = 0; i < u->n_groups; i++)
		groups[i] = u->groups[i];
	if (code != 0)
		child_fail(GT_INIT_STEP_USER, code, 0);
	if (u->n_groups > 0 && setgroups(u->n_groups, groups) < 0)
		child_fail(GT_INIT_STEP_USER, errno, 1);
	if (setresgid(u->gid, u->gid, u->gid) < 0 || setresuid(u->uid, u->uid, u->uid) < 0)
		child_fail(GT_INIT_STEP_USER, errno, 2);
	/* The memory is process 1's too, and a change of user may have opened it. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		child_fail(GT_INIT_STEP_USER, errno, 3);
}

/* A directory outside of the root has no path that begins with "/". */
static void enter_workdir(const char *path)
{
	static char where[PATH_SIZE];

	if (chdir(path) < 0 || syscall(SYS_getcwd, where, sizeof(where)) < 0)
		child_fail(GT_INIT_STEP_WORKDIR, errno, 0);
	if (where[0] != '/')
		child_fail(GT_INIT_STEP_WORKDIR, EXDEV, 0);
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
		child_fail(GT_INIT_STEP_INTERPRETER, code, 0);
	child_fail(code == ENOENT || code == ENOTDIR ? GT_INIT_STEP_LOOKUP : GT_INIT_STEP_EXEC,
		   code, 0);
}

/* A command without '/' is looked up like a shell does; a found file that may not be executed is
 * reported only when nothing better comes after it. */
static _Noreturn void exec_program(const struct init_spec *spec)
{
	const char *dir = env_value(spec->envp, "PATH"), *name = spec->argv[0];
	static char path[PATH_SIZE], found[PATH_SIZE];
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

static int child_main(void *arg)
{
	struct child *c = arg;
	sigset_t none;
	int code = 0;

	limits();
	if (c->spec->foreign && (code = init_foreign_limits(c->spec->foreign)) != 0)
		child_fail(GT_INIT_STEP_FOREIGN, code, 20);
	if (setsid() < 0)
		child_fail(GT_INIT_STEP_FORK, errno, 2);
	find_user(c);
	wait_for_go(c);
	stdio(c);
	if (c->spec->foreign)
		code = init_foreign_become(c->spec->foreign, c->user.uid, c->user.gid);
	else
		become_user(&c->user);
	if (code != 0)
		child_fail(GT_INIT_STEP_USER, code, 4);
	enter_workdir(c->spec->workdir);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	exec_program(c->spec);
}

pid_t init_exec(const struct init_spec *spec, bool tell_prepared, uint64_t *ret_go_us)
{
	static _Alignas(16) char stack[STACK_SIZE];
	struct child *c = &the_child;
	pid_t pid;

	c->spec = spec;
	c->tell_prepared = tell_prepared;
	pid = clone(child_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, c);
	if (pid < 0)
		init_fail(GT_INIT_STEP_FORK, errno, 1);
	if (c->failed)
		init_fail(c->step, c->code, c->index);
	*ret_go_us = c->go_us;
	return pid;
}
