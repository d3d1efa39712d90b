/* process.c - see weights/process.h. */
#include <gantry/weights/process.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/ioprio.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/clock.h>
#include <gantry/os/os.h>

#define EXIT_UNFIT 125
#define CAP(name)  (1u << CAP_##name)

struct mind { /* of a process */
	int sock;
	uint32_t place;
};

/* ---- what both do ---- */

static void give_up_rights(const struct gt_weights_home *home, uint32_t caps)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { .effective = caps, .permitted = caps } };
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		_exit(EXIT_UNFIT);
	if (geteuid() != 0)
		return; /* a test: there is nothing to give up */
	if (setgroups(0, NULL) < 0)
		_exit(EXIT_UNFIT);
	if (caps == 0 && (setresgid(home->gid, home->gid, home->gid) < 0 ||
			  setresuid(home->uid, home->uid, home->uid) < 0))
		_exit(EXIT_UNFIT);
	if (syscall(SYS_capset, &head, data) < 0)
		_exit(EXIT_UNFIT);
}

/* Everything of the parent goes but what is listed, which gets the numbers from 3 on. */
static void keep_fds(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD, 3 + (int)n);
		if (fds[i] < 0)
			_exit(EXIT_UNFIT);
	}
	for (size_t i = 0; i < n; i++) {
		if (dup2(fds[i], 3 + (int)i) < 0)
			_exit(EXIT_UNFIT);
		fds[i] = 3 + (int)i;
	}
	close_range(3 + (unsigned)n, ~0u, 0);
}

/* Behind all that serves: its turns at the processor and at the disk are those nobody else wants.
 */
static void settle(const struct gt_weights_home *home, pid_t parent, const char *name, int *fds,
		   size_t n, uint32_t caps)
{
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, signo == SIGPIPE ? SIG_IGN : SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (size_t i = 0; i < home->n_groups; i++)
		if (write(home->groups[i], "0", 1) != 1)
			_exit(EXIT_UNFIT);
	keep_fds(fds, n);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
	give_up_rights(home, caps);
	prctl(PR_SET_NAME, name);
	/* After the change of ids, which clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || chdir("/") < 0)
		_exit(EXIT_UNFIT);
}

/* Progress may be lost, the rest may not. */
static void say(int sock, const struct gt_weights_word *w, size_t len, int fd)
{
	if (w->type == GT_WEIGHTS_PROGRESS)
		(void)!send(sock, w, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (gt_os_send(sock, w, len, &fd, fd >= 0, NULL) < 0)
		_exit(EXIT_UNFIT); /* nobody listens */
}

static void say_end(int sock, struct gt_weights_word *w, const struct gt_err *err)
{
	w->type = GT_WEIGHTS_END;
	if (err->code) {
		w->code = err->code;
		gt_strcopy(w->slug, sizeof(w->slug), err->slug);
	}
	say(sock, w, GT_WEIGHTS_WORD_HEAD, -1);
}

/* ---- the scout ---- */

static bool tell_found(const struct gt_weights_found *f, void *arg)
{
	struct gt_weights_word w = { .type = GT_WEIGHTS_FOUND,
				     .id = f->id,
				     .resident = f->resident };
	const struct mind *m = arg;

	w.place = m->place;
	if (gt_strcopy(w.path, sizeof(w.path), f->path))
		say(m->sock, &w, GT_WEIGHTS_WORD_HEAD + strlen(w.path) + 1, f->fd);
	return true;
}

static _Noreturn void become_scout(const struct gt_weights_home *home, pid_t parent, int sock,
				   const struct gt_weights_place *places, size_t n)
{
	struct mind mind = { 0 };
	struct gt_weights_word end = { 0 };
	struct gt_err err = { 0 };
	int *fds = gt_alloc_array(n + 1, sizeof(*fds));

	fds[0] = sock;
	for (size_t i = 0; i < n; i++)
		fds[i + 1] = places[i].root;
	settle(home, parent, "gantry-scout", fds, n + 1, CAP(DAC_READ_SEARCH) | CAP(FOWNER));
	mind.sock = fds[0];
	for (size_t i = 0; i < n; i++) {
		mind.place = (uint32_t)i;
		if (gt_weights_scan(fds[i + 1], places[i].pattern, tell_found, &mind, &err) == 0)
			continue;
		if (err.code != ENOENT)
			break;
		err = (struct gt_err){ 0 };
	}
	say_end(mind.sock, &end, &err);
	_exit(0);
}

/* ---- the reader ---- */

static void tell_progress(const struct gt_weights_done *done, void *arg)
{
	const struct gt_weights_word w = { .type = GT_WEIGHTS_PROGRESS, .done = *done };
	const struct mind *m = arg;

	say(m->sock, &w, GT_WEIGHTS_WORD_HEAD, -1);
}

static _Noreturn void become_reader(const struct gt_weights_home *home, pid_t parent, int sock,
				    int from, int into, uint64_t size)
{
	int fds[] = { sock, from, into };
	struct gt_weights_word end = { 0 };
	struct gt_err err = { 0 };
	struct mind mind;
	uint64_t began;

	settle(home, parent, "gantry-weights", fds, into < 0 ? 2 : 3, 0);
	mind.sock = fds[0];
	began = gt_mono_ns(&gt_clock_system);
	if (into < 0)
		(void)!gt_weights_prefetch(fds[1], size, tell_progress, &mind, &end.done, &err);
	else
		(void)!gt_weights_fill(fds[1], fds[2], size, tell_progress, &mind, &end.done, &err);
	end.took_ns = gt_mono_ns(&gt_clock_system) - began;
	say_end(mind.sock, &end, &err);
	_exit(0);
}

/* ---- the parent ---- */

static int born(pid_t pid, const int pair[2], struct gt_weights_process *ret, struct gt_err *err)
{
	int r = pid < 0 ? gt_err_errno(err, errno, "fork")
			: gt_os_pidfd_open(pid, &ret->pidfd, err);

	gt_close(pair[1]);
	if (r == 0) {
		ret->pid = pid;
		ret->sock = pair[0];
		return 0;
	}
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	gt_close(pair[0]);
	return r;
}

int gt_weights_scout(const struct gt_weights_home *home, const struct gt_weights_place *places,
		     size_t n, struct gt_weights_process *ret, struct gt_err *err)
{
	pid_t self = getpid(), pid;
	int pair[2], r = gt_os_socketpair(pair, err);

	if (r < 0)
		return r;
	pid = fork();
	if (pid == 0)
		become_scout(home, self, pair[1], places, n);
	return born(pid, pair, ret, err);
}

int gt_weights_reader(const struct gt_weights_home *home, int from, int into, uint64_t size,
		      struct gt_weights_process *ret, struct gt_err *err)
{
	pid_t self = getpid(), pid;
	int pair[2], r = gt_os_socketpair(pair, err);

	if (r < 0)
		return r;
	pid = fork();
	if (pid == 0)
		become_reader(home, self, pair[1], from, into, size);
	return born(pid, pair, ret, err);
}
