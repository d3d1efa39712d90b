/* estimate.c - the process that reads a model's files for the agent. Opening needs the agent's
 * rights, as files may belong to anyone; parsing has none: another user, no new file, no memory
 * beyond a bound, no time beyond a bound. */
#include <gantry/gpu/estimate.h>

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/gpu/model_files.h>
#include <gantry/os/os.h>

#define MEMORY_MAX (GT_GIB) /* of address space: a header of 100 MB takes up to half of it */
#define CPU_S      60

enum { SOCKET_FD = 3, ROOT_FD, FIRST_FREE_FD };

static void limit(int what, rlim_t most)
{
	const struct rlimit l = { most, most };

	if (setrlimit((__rlimit_resource_t)what, &l) < 0)
		_exit(125);
}

/* Irrevocable. */
static void give_up_rights(const struct gt_estimate_order *o)
{
	limit(RLIMIT_AS, MEMORY_MAX);
	limit(RLIMIT_CPU, CPU_S);
	limit(RLIMIT_NOFILE, 0); /* what is open stays */
	limit(RLIMIT_FSIZE, 0);
	limit(RLIMIT_CORE, 0);
	if (setgroups(0, NULL) < 0 || setresgid(o->gid, o->gid, o->gid) < 0 ||
	    setresuid(o->uid, o->uid, o->uid) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    (o->uid != 0 && setuid(0) == 0))
		_exit(125);
	limit(RLIMIT_NPROC, 0);
	prctl(PR_SET_NAME, "gantry-estimate");
	/* After the change of ids, which clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		_exit(125);
}

/* Copies high up first: one that stands where the other goes must not be lost. */
static void place_fds(int sock, int root)
{
	int high_sock = fcntl(sock, F_DUPFD, 100), high_root = fcntl(root, F_DUPFD, 100);

	if (dup3(high_sock, SOCKET_FD, O_CLOEXEC) < 0 || dup3(high_root, ROOT_FD, O_CLOEXEC) < 0)
		_exit(125);
	close_range(FIRST_FREE_FD, ~0u, 0);
}

static int work(const struct gt_estimate_order *o, struct gt_estimate_answer *a, struct gt_err *err)
{
	gt_auto(model_files) struct gt_model_files files = { .config_fd = -EBADF,
							     .index_fd = -EBADF };
	struct gt_model model;
	int r = gt_model_files_open(ROOT_FD, o->path, &files, err);

	give_up_rights(o);
	if (r == 0)
		r = gt_model_read(&files, o->parallel, &model, err);
	if (r == 0)
		r = gt_vram_estimate(&model, &o->params, &a->vram, err);
	if (r == 0)
		gt_strcopy(a->arch, sizeof(a->arch), model.llm.arch);
	return r;
}

static _Noreturn void become_reader(const struct gt_estimate_order *o, int sock, pid_t parent)
{
	struct gt_estimate_answer a = { 0 };
	struct gt_err err = { 0 };
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, signo == SIGPIPE ? SIG_IGN : SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	place_fds(sock, o->root_fd);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(125);
	if (work(o, &a, &err) < 0) {
		a.code = err.code ? err.code : EIO;
		gt_strcopy(a.slug, sizeof(a.slug), err.slug);
		gt_strcopy(a.text, sizeof(a.text), err.text);
	}
	_exit(gt_os_send(SOCKET_FD, &a, sizeof(a), NULL, 0, NULL) < 0);
}

int gt_estimate_start(const struct gt_estimate_order *order, int *ret_pidfd, int *ret_socket,
		      struct gt_err *err)
{
	gt_auto(fd) int ours = -EBADF, theirs = -EBADF;
	pid_t self = getpid(), pid;
	int pair[2], r = gt_os_socketpair(pair, err);

	if (r < 0)
		return r;
	ours = pair[0];
	theirs = pair[1];
	pid = fork();
	if (pid == 0)
		become_reader(order, theirs, self);
	if (pid < 0)
		return gt_err_errno(err, errno, "fork what reads the model's files");
	r = gt_os_pidfd_open(pid, ret_pidfd, err);
	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return r;
	}
	*ret_socket = gt_steal_fd(&ours);
	return 0;
}
