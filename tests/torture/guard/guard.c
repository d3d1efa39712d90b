/* guard.c - a program among whose processes one call, or one allocation, fails when it is told so.
 * usage: guard SOCKET LIBRARY PROGRAM [ARGUMENT...]
 * It becomes PROGRAM; a process beside it answers the filter (inject.h), keeps the plan of memory.c
 *as LIBRARY, and takes words on SOCKET, one a connection, and answers each with a line: arm ROLE
 *call|alloc N SEED	counts anew; the Nth fails (0: none)
 *	off				nothing is counted any more; says "CALLS ALLOCATIONS", and
 *what was hit It ends with the last of those processes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../inject.h"

#define SPARE_FD 999

static struct plan *plan;

static void must(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(125);
}

static void send_fd(int sock, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr head;
	} control = { 0 };
	struct iovec iov = { (char *)"f", 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	must(sendmsg(sock, &msg, 0) == 1, "sendmsg");
}

static int take_fd(int sock)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr head;
	} control = { 0 };
	char c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	int fd = -1;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

static void arm(const char *words)
{
	char kind[16];
	unsigned n, seed;

	atomic_store(&plan->on, 0);
	memset(plan->role, 0, sizeof(plan->role));
	if (sscanf(words, "arm %31s %15s %u %u", plan->role, kind, &n, &seed) != 4)
		return;
	atomic_store(&plan->calls, 0);
	atomic_store(&plan->allocs, 0);
	atomic_store(&plan->is_hit, 0);
	memset(&plan->hit, 0, sizeof(plan->hit));
	atomic_store(&plan->call_at, strcmp(kind, "call") == 0 ? n : 0);
	atomic_store(&plan->alloc_at, strcmp(kind, "call") == 0 ? 0 : n);
	atomic_store(&plan->seed, seed);
	atomic_store(&plan->on, 1);
}

static void answer(int fd)
{
	char words[256], line[512];
	ssize_t n = read(fd, words, sizeof(words) - 1);

	words[n > 0 ? n : 0] = '\0';
	if (strncmp(words, "arm", 3) == 0)
		arm(words);
	else
		atomic_store(&plan->on, 0);
	snprintf(line, sizeof(line), "%u %u %d %s %s %s %s\n", plan->calls, plan->allocs,
		 plan->is_hit, plan->hit.call[0] ? plan->hit.call : "-",
		 plan->hit.error ? inject_error(plan->hit.error) : "-",
		 plan->hit.role[0] ? plan->hit.role : "-",
		 plan->hit.file[0] ? plan->hit.file : "-");
	if (write(fd, line, strlen(line)) < 0)
		perror("guard");
	close(fd);
}

static _Noreturn void serve(int words, int channel)
{
	int listener = take_fd(channel);

	close(channel);
	signal(SIGPIPE, SIG_IGN);
	must(listener >= 0, "the filter's listener");
	for (;;) {
		struct pollfd fds[] = { { listener, POLLIN, 0 }, { words, POLLIN, 0 } };

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents & POLLIN)
			answer(accept4(words, NULL, NULL, SOCK_CLOEXEC));
		if (fds[0].revents & POLLIN && inject_answer(listener, plan) < 0)
			_exit(0);
		else if (fds[0].revents & POLLHUP)
			_exit(0);
	}
}

/* Nobody's child: the program would not know it. */
static void start_beside(int words, int channel[2])
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (pid > 0)
		return;
	pid = fork();
	must(pid >= 0, "fork");
	if (pid > 0)
		_exit(0);
	setsid();
	close(channel[1]);
	for (int fd = 0; fd < 2;
	     fd++) /* who waits for the end of the program's output waits not for us */
		close(fd);
	serve(words, channel[0]);
}

int main(int argc, char **argv)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int words = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), channel[2], fd, listener;
	char path[200], library[300];

	must(argc > 3, "usage");
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", argv[1]);
	unlink(argv[1]);
	must(bind(words, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(words, 16) == 0,
	     argv[1]);
	snprintf(path, sizeof(path), "%s.plan", argv[1]);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && ftruncate(fd, sizeof(*plan)) == 0, path);
	plan = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(plan != MAP_FAILED, path);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) == 0, "socketpair");
	start_beside(words, channel);
	close(channel[0]);
	must(dup3(channel[1], SPARE_FD, O_CLOEXEC) == SPARE_FD, "dup3");
	snprintf(library, sizeof(library), "%s", argv[2]);
	setenv("LD_PRELOAD", library, 1);
	setenv("GT_TORTURE", path, 1);
	listener = inject_filter(SPARE_FD);
	must(listener >= 0, "seccomp");
	fcntl(listener, F_SETFD, FD_CLOEXEC);
	send_fd(SPARE_FD, listener);
	execv(argv[3], argv + 3);
	must(0, argv[3]);
}
