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
#include <gantry/os/child.h>
#include <gantry/os/os.h>

#define CAP(name) (1u << CAP_##name)

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
		_exit(GT_OS_CHILD_UNFIT);
	if (geteuid() != 0)
		return; /* a test: there is nothing to give up */
	if (setgroups(0, NULL) < 0)
		_exit(GT_OS_CHILD_UNFIT);
	if (caps == 0 && (setresgid(home->gid, home->gid, home->gid) < 0 ||
			  setresuid(home->uid, home->uid, home->uid) < 0))
		_exit(GT_OS_CHILD_UNFIT);
	if (syscall(SYS_capset, &head, data) < 0)
		_exit(GT_OS_CHILD_UNFIT);
}

/* Behind all that serves: its turns at the processor and at the disk are those nobody else wants.
 * The control groups are its descriptors from `groups` on. */
static void settle(const struct gt_weights_home *home, const char *name, int groups, uint32_t caps)
{
	for (size_t i = 0; i < home->n_groups; i++)
		if (write(groups + (int)i, "0", 1) != 1)
			_exit(GT_OS_CHILD_UNFIT);
	close_range((unsigned)groups, ~0u, 0);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
	give_up_rights(home, caps);
	prctl(PR_SET_NAME, name);
	gt_os_child_tie();
}

/* Progress may be lost, the rest may not. */
static void say(int sock, const struct gt_weights_word *w, size_t len, int fd)
{
	if (w->type == GT_WEIGHTS_PROGRESS)
		(void)!send(sock, w, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (gt_os_send(sock, w, len, &fd, fd >= 0, NULL) < 0)
		_exit(GT_OS_CHILD_UNFIT); /* nobody listens */
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

struct scout {
	const struct gt_weights_home *home;
	const struct gt_weights_place *places;
	size_t n;
};

static void become_scout(void *arg)
{
	const struct scout *s = arg;
	struct mind mind = { .sock = GT_OS_CHILD_FD };
	const int roots = GT_OS_CHILD_FD + 1;
	struct gt_weights_word end = { 0 };
	struct gt_err err = { 0 };

	settle(s->home, "gantry-scout", roots + (int)s->n, CAP(DAC_READ_SEARCH) | CAP(FOWNER));
	for (size_t i = 0; i < s->n; i++) {
		mind.place = (uint32_t)i;
		if (gt_weights_scan(roots + (int)i, s->places[i].pattern, tell_found, &mind,
				    &err) == 0)
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

struct reader {
	const struct gt_weights_home *home;
	uint64_t size;
	bool fills; /* else it reads ahead */
};

static void become_reader(void *arg)
{
	const struct reader *r = arg;
	const int from = GT_OS_CHILD_FD + 1, into = from + 1;
	struct mind mind = { .sock = GT_OS_CHILD_FD };
	struct gt_weights_word end = { 0 };
	struct gt_err err = { 0 };
	uint64_t began;

	settle(r->home, "gantry-weights", r->fills ? into + 1 : into, 0);
	began = gt_mono_ns(&gt_clock_system);
	if (r->fills)
		(void)!gt_weights_fill(from, into, r->size, tell_progress, &mind, &end.done, &err);
	else
		(void)!gt_weights_prefetch(from, r->size, tell_progress, &mind, &end.done, &err);
	end.took_ns = gt_mono_ns(&gt_clock_system) - began;
	say_end(mind.sock, &end, &err);
	_exit(0);
}

/* ---- the parent ---- */

/* fds[0] is for the child's socket; after the n that it works with there is room for the groups. */
static int begin(const struct gt_weights_home *home, int *fds, size_t n, void (*fn)(void *),
		 void *arg, struct gt_weights_process *ret, struct gt_err *err)
{
	int pair[2], r = gt_os_socketpair(pair, err);

	if (r < 0)
		return r;
	fds[0] = pair[1];
	for (size_t i = 0; i < home->n_groups; i++)
		fds[n + i] = home->groups[i];
	r = gt_os_child(fds, n + home->n_groups, fn, arg, &ret->pid, &ret->pidfd, err);
	gt_close(pair[1]);
	if (r == 0)
		ret->sock = pair[0];
	else
		gt_close(pair[0]);
	return r;
}

int gt_weights_scout(const struct gt_weights_home *home, const struct gt_weights_place *places,
		     size_t n, struct gt_weights_process *ret, struct gt_err *err)
{
	gt_auto(free) int *fds = gt_alloc_array(1 + n + home->n_groups, sizeof(*fds));
	struct scout s = { home, places, n };

	for (size_t i = 0; i < n; i++)
		fds[1 + i] = places[i].root;
	return begin(home, fds, 1 + n, become_scout, &s, ret, err);
}

int gt_weights_reader(const struct gt_weights_home *home, int from, int into, uint64_t size,
		      struct gt_weights_process *ret, struct gt_err *err)
{
	gt_auto(free) int *fds = gt_alloc_array(3 + home->n_groups, sizeof(*fds));
	struct reader r = { home, size, into >= 0 };

	fds[1] = from;
	fds[2] = into;
	return begin(home, fds, r.fills ? 3 : 2, become_reader, &r, ret, err);
}
