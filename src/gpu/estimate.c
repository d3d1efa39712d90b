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
#include <unistd.h>

#include <gantry/gpu/model_files.h>
#include <gantry/os/child.h>
#include <gantry/os/os.h>

/* Of address space: a header of 100 MB takes up to half of it. What a sanitizer maps for itself is
 * terabytes. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMORY_MAX RLIM_INFINITY
#else
#define MEMORY_MAX (GT_GIB)
#endif
#define CPU_S 60

enum { SOCKET_FD = GT_OS_CHILD_FD, ROOT_FD };

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
	gt_os_child_tie();
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

static void become_reader(void *order)
{
	const struct gt_estimate_order *o = order;
	struct gt_estimate_answer a = { 0 };
	struct gt_err err = { 0 };

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
	int pair[2], r = gt_os_socketpair(pair, err);
	pid_t pid;

	if (r < 0)
		return r;
	ours = pair[0];
	theirs = pair[1];
	const int fds[] = { theirs, order->root_fd };

	r = gt_os_child(fds, GT_LEN(fds), become_reader, (void *)order, &pid, ret_pidfd, err);
	if (r < 0)
		return r;
	*ret_socket = gt_steal_fd(&ours);
	return 0;
}
