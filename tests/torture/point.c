/* point.c - see the header. */
#include "point.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sanitizer/lsan_interface.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <gantry/os/os.h>

#include "left.h"
#include "memory.h"

#define LIMIT_MS 20000 /* of one point */
#define GONE_MS  10000 /* until the last process has followed its parent */
#define SPARE_FD 999

const char *const verdict_names[VERDICTS] = { "done",   "refused", "ended", "unreached", "CRASHED",
					      "LEAKED", "LEFT",    "WRONG", "HUNG",      "BROKEN" };

/* What the process that runs the scene tells of it, in shared memory. */
struct told {
	struct plan plan;
	bool ran, all; /* came so far */
	int result, again, leaks;
	struct gt_err err, again_err;
	char wrong[320], left[700], broken[400];
};

static struct told *told;

void broken(const char *fmt, ...)
{
	va_list args;

	if (told) {
		atomic_store(&told->plan.on, 0);
		va_start(args, fmt);
		vsnprintf(told->broken, sizeof(told->broken), fmt, args);
		va_end(args);
	}
	_exit(99);
}

int wrong(struct world *w, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(w->wrong, sizeof(w->wrong), fmt, args);
	va_end(args);
	return 0;
}

void put_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	MUST(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	close(fd);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void remove_all(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- in the scene's process ---- */

static void look(const struct scene *s, const struct world *w, const struct gt_buf *fds,
		 const struct gt_buf *files, bool tidied)
{
	gt_auto(buf) struct gt_buf now = { 0 }, more = { 0 };

	left_fds(&now);
	left_more(fds, &now, "descriptor", &more);
	if (!(s->flags & KEEPS) && tidied) {
		gt_buf_reset(&now);
		left_files(w->dir, &now);
		left_more(files, &now, "file", &more);
	}
	if (more.len && !told->left[0])
		snprintf(told->left, sizeof(told->left), "%s", more.data);
}

static void perform(const struct scene *s, struct world *w, int channel)
{
	gt_auto(buf) struct gt_buf fds = { 0 }, files = { 0 };
	int listener;
	char go;

	if (s->setup)
		s->setup(w);
	if (s->flags & WARM) {
		if (s->run(w, &told->err) < 0)
			broken("%s", told->err.text);
		if (s->undo)
			s->undo(w);
		gt_err_clear(&told->err);
	}
	MUST(fcntl(channel, F_DUPFD_CLOEXEC, SPARE_FD) == SPARE_FD);
	close(channel);
	left_files(w->dir, &files);
	listener = inject_filter(SPARE_FD);
	MUST(listener >= 0);
	MUST(gt_os_send(SPARE_FD, "f", 1, &listener, 1, NULL) == 0);
	close(listener);
	MUST(recv(SPARE_FD, &go, 1, 0) == 1);
	left_fds(&fds);
	memory_get_ready();
	memory_follow(&told->plan, "");
	atomic_store(&told->plan.on, 1);
	told->result = s->run(w, &told->err);
	atomic_store(&told->plan.on, 0);
	memory_follow(NULL, "");
	told->ran = true;
	snprintf(told->wrong, sizeof(told->wrong), "%s", w->wrong);
	if (told->result == 0 && s->undo)
		s->undo(w);
	look(s, w, &fds, &files, told->plan.hit.kind != TIDIES);
	w->wrong[0] = '\0';
	told->again = s->run(w, &told->again_err);
	if (told->again == 0 && s->undo)
		s->undo(w);
	if (told->again == 0 && w->wrong[0] && !told->wrong[0])
		snprintf(told->wrong, sizeof(told->wrong), "again: %s", w->wrong);
	look(s, w, &fds, &files, true);
	if (s->teardown)
		s->teardown(w);
	gt_buf_fini(&fds);
	gt_buf_fini(&files);
	told->leaks = __lsan_do_recoverable_leak_check();
	told->all = true;
}

/* After a process that died: as what starts next would, and then all is as before. */
static void perform_again(const struct scene *s, struct world *w)
{
	if (s->recover)
		s->recover(w);
	if (s->setup)
		s->setup(w);
	told->again = s->run(w, &told->again_err);
	if (told->again == 0 && s->undo)
		s->undo(w);
	if (s->teardown)
		s->teardown(w);
	told->all = true;
}

/* ---- beside it ---- */

static pid_t start(const struct scene *s, struct world *w, int output, int channel[2])
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
	signal(SIGPIPE, SIG_IGN);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	close(output);
	if (chdir(w->dir) < 0)
		_exit(98);
	if (channel) {
		close(channel[0]);
		perform(s, w, channel[1]);
	} else {
		perform_again(s, w);
	}
	_exit(0);
}

/* Answers until `pid` has ended; its status, or -1 when it had to be killed. */
static int serve(pid_t pid, int channel)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), listener = -1, status;
	uint64_t until_ms = now_ms() + LIMIT_MS;
	bool late = false;

	for (;;) {
		struct pollfd fds[] = { { pidfd, POLLIN, 0 },
					{ listener >= 0 ? listener : channel, POLLIN, 0 } };
		size_t len, n = 0;
		char c;

		if (poll(fds, listener >= 0 || channel >= 0 ? 2 : 1, 1000) < 0 && errno != EINTR)
			break;
		if (listener < 0 && channel >= 0 && fds[1].revents) {
			if (gt_os_recv(channel, &c, 1, &len, &listener, 1, &n, NULL) == 0 && n == 1)
				send(channel, "g", 1, MSG_NOSIGNAL);
			else
				channel = -1;
		} else if (listener >= 0 && fds[1].revents & POLLIN) {
			inject_answer(listener, &told->plan);
		} else if (fds[0].revents) {
			break;
		}
		if (now_ms() > until_ms && !late) {
			late = true;
			kill(pid, SIGKILL);
			gt_close(listener); /* whoever still asks is told ENOSYS */
			listener = channel = -1;
		}
	}
	close(pidfd);
	waitpid(pid, &status, 0);
	/* What it started may have to end, and asks meanwhile. */
	until_ms = now_ms() + GONE_MS;
	while (listener >= 0) {
		gt_auto(buf) struct gt_buf more = { 0 };
		struct pollfd p = { listener, POLLIN, 0 };

		left_processes(&more);
		if (!more.len || now_ms() > until_ms)
			break;
		if (poll(&p, 1, 5) > 0 && inject_answer(listener, &told->plan) < 0)
			break;
	}
	gt_close(listener);
	return late ? -1 : status;
}

/* What a sanitizer says first, else the last words. */
static void read_output(int fd, char *out, size_t size)
{
	static char all[65536];
	ssize_t n = pread(fd, all, sizeof(all) - 1, 0);
	const char *at;

	all[n > 0 ? n : 0] = '\0';
	at = strstr(all, "ERROR: ");
	if (!at)
		at = strstr(all, "runtime error: ");
	if (!at)
		at = all + (strlen(all) < size ? 0 : strlen(all) - size + 1);
	snprintf(out, size, "%s", at);
}

static void look_outside(const struct scene *s, const struct world *w, struct gt_buf *more)
{
	gt_auto(buf) struct gt_buf none = { 0 }, now = { 0 };

	/* Who has been killed is not gone at once. */
	for (uint64_t until_ms = now_ms() + GONE_MS;;) {
		gt_buf_reset(&now);
		left_processes(&now);
		if (!now.len || now_ms() > until_ms)
			break;
		poll(NULL, 0, 5);
	}
	if (now.len) {
		left_more(&none, &now, "process", more);
		left_kill();
	}
	gt_buf_reset(&now);
	left_mounts(w->dir, &now);
	left_more(&none, &now, "mount", more);
	if (s->flags & CONTAINERS) {
		gt_buf_reset(&now);
		left_groups(w->dir, &now);
		left_more(&none, &now, "group", more);
	}
}

static void judge(const struct scene *s, struct world *w, int status, int output,
		  struct outcome *ret)
{
	gt_auto(buf) struct gt_buf more = { 0 };
	char said[1800];

	read_output(output, said, sizeof(said));
#define VERDICT(v, ...)                                              \
	do {                                                         \
		ret->verdict = v;                                    \
		snprintf(ret->text, sizeof(ret->text), __VA_ARGS__); \
		return;                                              \
	} while (0)
	if (status == -1)
		VERDICT(HUNG, "longer than %d s: %s", LIMIT_MS / 1000, said);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 99)
		VERDICT(BROKEN, "%s", told->broken);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
	    (strstr(said, "out of memory\n") || strstr(said, "level=error") ||
	     strstr(said, "\"level\":\"error\""))) {
		pid_t pid;

		told->again = -1;
		told->all = false;
		gt_err_set(&told->again_err, EIO, "x", "it did not come so far");
		pid = start(s, w, output, NULL);
		if (serve(pid, -1) != 0 || !told->all || told->again < 0) {
			read_output(output, said, sizeof(said));
			VERDICT(WRONG, "after its end: %d %s: %s", told->again,
				told->again_err.text, said);
		}
		look_outside(s, w, &more);
		if (more.len)
			VERDICT(LEFT, "after its end: %s", more.data);
		VERDICT(ENDED, "%s", said);
	}
	look_outside(s, w, &more);
	if (status != 0 || !told->all)
		VERDICT(CRASHED, "%s %d: %s", WIFSIGNALED(status) ? "signal" : "status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), said);
	if (told->leaks)
		VERDICT(LEAKED, "%s", said);
	if (told->left[0] || more.len)
		VERDICT(LEFT, "%s %s (it said %d %s)", told->left, more.len ? more.data : "",
			told->result, told->err.text);
	if (told->wrong[0])
		VERDICT(WRONG, "%s", told->wrong);
	if (told->result < 0 && (!told->err.text[0] || !told->err.slug[0]))
		VERDICT(WRONG, "it failed (%d) and said nothing", told->result);
	if (told->again < 0)
		VERDICT(WRONG, "it works no more: %s (first: %d %s)", told->again_err.text,
			told->result, told->err.text);
	if ((ret->hit.pid || atomic_load(&told->plan.is_hit)) ||
	    !(told->plan.call_at || told->plan.alloc_at))
		VERDICT(told->result < 0 ? REFUSED : DONE, "%s", told->err.text);
	VERDICT(UNREACHED, "%s", "");
#undef VERDICT
}

void point_run(const struct scene *s, unsigned call_at, unsigned alloc_at, unsigned seed,
	       struct outcome *ret)
{
	struct world w = { .dir = "/var/tmp/gantry-torture-XXXXXX" };
	int channel[2], output = memfd_create("output", MFD_CLOEXEC | 0), status;
	pid_t pid;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(told != MAP_FAILED && output >= 0 && mkdtemp(w.dir));
	MUST(fcntl(output, F_SETFL, O_APPEND) == 0);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) == 0);
	told->plan.call_at = call_at;
	told->plan.alloc_at = alloc_at;
	told->plan.seed = seed;
	told->plan.gathers = !call_at && !alloc_at;
	*ret = (struct outcome){ 0 };
	pid = start(s, &w, output, channel);
	MUST(pid > 0);
	close(channel[1]);
	status = serve(pid, channel[0]);
	close(channel[0]);
	ret->calls = told->plan.calls;
	ret->allocs = told->plan.allocs;
	ret->hit = told->plan.hit;
	ret->n_places = GT_MIN(told->plan.n_places, PLACES_MAX);
	if (ret->n_places) {
		ret->places = gt_alloc_array(ret->n_places, sizeof(*ret->places));
		memcpy(ret->places, told->plan.places, ret->n_places * sizeof(*ret->places));
	}
	judge(s, &w, status, output, ret);
	remove_all(w.dir);
	close(output);
	munmap(told, sizeof(*told));
	told = NULL;
}
