#include "upgrade.h"
#include "spawn.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/base/cleanup.h>
#include <gantry/base/units.h>

#define ENV_HELD "GANTRY_HELD" /* number of the memory file's descriptor */
#define HEAD     "gantry-held 1"
#define HELD_MAX 8192
#define ARGS_MAX 16

static struct {
	char program[PATH_MAX];
	char **argv;
	int cwd; /* a relative path of the command line means the same again */
} self = { .cwd = -EBADF };

int gt_upgrade_begin(char **argv, struct gt_err *err)
{
	ssize_t n = readlink("/proc/self/exe", self.program, sizeof(self.program) - 1);

	if (n < 0)
		return gt_err_errno(err, errno, "find the program's own path");
	self.program[n] = '\0';
	self.argv = argv;
	self.cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return self.cwd < 0 ? gt_err_errno(err, errno, "open the working directory") : 0;
}

/* ---- before ---- */

_Noreturn static void check_child(void)
{
	char *argv[ARGS_MAX + 1] = { NULL };
	sigset_t none;

	for (size_t i = 0; i < ARGS_MAX && self.argv[i]; i++)
		argv[i] = i == 1 ? (char *)"check" : self.argv[i];
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	/* What it says is for the log; standard output has the supervisor's one line. */
	if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0 || fchdir(self.cwd) < 0 ||
	    close_range(STDERR_FILENO + 1, ~0U, 0) < 0)
		_exit(125);
	execv(self.program, argv);
	_exit(126);
}

int gt_upgrade_check(pid_t *ret_pid, int *ret_pidfd, struct gt_err *err)
{
	pid_t pid = fork();

	if (pid < 0)
		return gt_err_errno(err, errno, "fork");
	if (pid == 0)
		check_child();
	if (gt_spawn_watch(pid, ret_pidfd, err) < 0)
		return -err->code;
	*ret_pid = pid;
	return 0;
}

static int write_held(const struct gt_held *held, int *ret, struct gt_err *err)
{
	gt_auto(fd) int fd = memfd_create("gantry-held", 0);
	gt_auto(buf) struct gt_buf text = { 0 };

	gt_buf_init(&text, HELD_MAX);
	gt_buf_addf(&text, HEAD "\nstate %s\nurl %s\n", held->state, held->url);
	for (int i = 0; i < GT_FD_N; i++) {
		if (held->fds[i] >= 0)
			gt_buf_addf(&text, "fd %s %d\n", gt_role_fd_names[i], held->fds[i]);
	}
	for (size_t i = 0; i < held->n_children; i++)
		gt_buf_addf(&text, "child %s %d %u %d %d\n", gt_role_names[held->children[i].id],
			    (int)held->children[i].pid, held->children[i].instance,
			    held->children[i].current, held->children[i].heir);
	if (fd < 0 || text.failed || write(fd, text.data, text.len) != (ssize_t)text.len)
		return gt_err_errno(err, errno ? errno : ENOSPC, "write what is handed over");
	*ret = gt_steal_fd(&fd);
	return 0;
}

static void keep_one(int fd, bool keep)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

static void keep_open(const struct gt_held *held, bool keep)
{
	for (int i = 0; i < GT_FD_N; i++)
		keep_one(held->fds[i], keep);
	for (size_t i = 0; i < held->n_children; i++)
		keep_one(held->children[i].heir, keep);
}

int gt_upgrade_exec(const struct gt_held *held, struct gt_err *err)
{
	gt_auto(fd) int fd = -EBADF;
	char number[16];
	int r = write_held(held, &fd, err);

	if (r < 0)
		return r;
	snprintf(number, sizeof(number), "%d", fd);
	if (setenv(ENV_HELD, number, 1) < 0 || fchdir(self.cwd) < 0) {
		r = gt_err_errno(err, errno, "prepare the exec");
	} else {
		keep_open(held, true);
		execv(self.program, self.argv);
		r = gt_err_errno(err, errno, "execute %s", self.program);
		keep_open(held, false);
	}
	unsetenv(ENV_HELD);
	if (chdir(held->state) < 0)
		return gt_err_errno(err, errno, "go back to %s", held->state);
	return r;
}

/* ---- after ---- */

static int index_of(const char *const *names, int n, const char *name)
{
	for (int i = 0; i < n; i++) {
		if (gt_streq(names[i], name))
			return i;
	}
	return -1;
}

static bool read_fd(struct gt_held *h, const char *line)
{
	char name[16];
	int fd, i;

	if (sscanf(line, "fd %15s %d", name, &fd) != 2)
		return false;
	i = index_of(gt_role_fd_names, GT_FD_N, name);
	/* One that this program does not know any more is closed. */
	if (i < 0) {
		gt_close(fd);
		return true;
	}
	h->fds[i] = fd;
	return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static bool read_child(struct gt_held *h, const char *line)
{
	char name[16];
	unsigned instance;
	int pid, current, heir, id;

	if (h->n_children == GT_HELD_CHILDREN_MAX ||
	    sscanf(line, "child %15s %d %u %d %d", name, &pid, &instance, &current, &heir) != 5 ||
	    (heir >= 0 && fcntl(heir, F_SETFD, FD_CLOEXEC) < 0))
		return false;
	id = index_of(gt_role_names, GT_PROC_N, name);
	if (id < 0)
		return false;
	h->children[h->n_children].id = (enum gt_role_id)id;
	h->children[h->n_children].pid = pid;
	h->children[h->n_children].instance = instance;
	h->children[h->n_children].heir = heir;
	h->children[h->n_children++].current = current != 0;
	return true;
}

static bool read_line(struct gt_held *h, const char *line)
{
	if (gt_starts_with(line, "state "))
		return gt_strcopy(h->state, sizeof(h->state), line + strlen("state "));
	if (gt_starts_with(line, "url "))
		return gt_strcopy(h->url, sizeof(h->url), line + strlen("url "));
	if (gt_starts_with(line, "fd "))
		return read_fd(h, line);
	return gt_starts_with(line, "child ") && read_child(h, line);
}

int gt_upgrade_resume(struct gt_held *ret, struct gt_err *err)
{
	const char *number = getenv(ENV_HELD);
	gt_auto(fd) int fd = -EBADF;
	char text[HELD_MAX] = "", *line, *rest = text;
	uint64_t n;

	if (!number)
		return gt_err_errno(err, ENOENT, "%s", ENV_HELD);
	*ret = (struct gt_held){ .n_children = 0 };
	for (int i = 0; i < GT_FD_N; i++)
		ret->fds[i] = -EBADF;
	if (gt_parse_u64(number, INT_MAX, &n) == 0)
		fd = (int)n;
	unsetenv(ENV_HELD);
	if (pread(fd, text, sizeof(text) - 1, 0) < 0 || !(line = strsep(&rest, "\n")) ||
	    !gt_streq(line, HEAD))
		return gt_err_set(err, EPROTO, "internal",
				  "what the program before handed over can not be read");
	while ((line = strsep(&rest, "\n")) && *line) {
		if (!read_line(ret, line))
			return gt_err_set(err, EPROTO, "internal",
					  "the program before handed over \"%s\"", line);
	}
	return 0;
}
