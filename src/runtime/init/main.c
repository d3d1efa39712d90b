/* main.c - process 1 of a container: waits staged, becomes the container on one message.
 *
 * The order is the point: each step gives up what the step before needed. While staged there is
 * nothing of a user in this process. From START on: root, mounts, host name with the host's
 * rights; then the user namespace, and from there on no right over any namespace of the container.
 * The program is a child, so that it can neither trace nor outlive this process. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

uint64_t init_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void answer(const struct gt_init_answer *a)
{
	while (send(GT_INIT_SOCKET, a, sizeof(*a), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

void init_fail(enum gt_init_step step, int code, unsigned index)
{
	struct gt_init_answer a = {
		.type = GT_INIT_FAILED, .step = step, .code = code, .index = index
	};

	answer(&a);
	_exit(1);
}

/* One packet of exactly `size` bytes. The end of the socket means that the agent is gone or does
 * not need this sandbox: a staged init then ends quietly. Returns the number of descriptors. */
static size_t receive(void *data, size_t size, int *fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(GT_INIT_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { data, size };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c;
	size_t n_fds = 0;
	ssize_t n;

	do {
		n = recvmsg(GT_INIT_SOCKET, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		_exit(0);
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
	}
	if ((size_t)n != size || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
	return n_fds;
}

static void receive_start(struct gt_init_start *start, struct init_fds *ret)
{
	int fds[GT_INIT_FDS_MAX];
	size_t n = receive(start, sizeof(*start), fds);

	if (start->type != GT_INIT_START || n < GT_INIT_FD_N)
		init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
	memcpy(ret->fixed, fds, sizeof(ret->fixed));
	ret->n_volumes = n - GT_INIT_FD_N;
	memcpy(ret->volumes, fds + GT_INIT_FD_N, ret->n_volumes * sizeof(int));
}

/* Process 1 waits for signals; none may interrupt the set-up either. */
static void quiet(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NAME, "gantry-init");
}

int main(void)
{
	struct gt_init_stage stage;
	struct gt_init_start start;
	struct gt_init_answer a = { .type = GT_INIT_STAGED };
	struct init_spec spec;
	struct init_fds fds;
	int stage_fds[GT_INIT_FDS_MAX];
	uint64_t began_us;
	size_t n_stage_fds;
	pid_t program;

	quiet();
	n_stage_fds = receive(&stage, sizeof(stage), stage_fds);
	if (stage.type != GT_INIT_STAGE)
		init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
	init_stage(&stage, stage_fds, n_stage_fds);
	answer(&a);

	receive_start(&start, &fds);
	began_us = init_now_us();
	init_spec_read(fds.fixed[GT_INIT_FD_SPEC], start.spec_len, &spec);
	init_root(&spec, &fds, &stage);
	a.root_us = init_now_us() - began_us;
	init_drop(&spec, fds.fixed[GT_INIT_FD_USERNS]);
	program = init_exec(&spec, &fds);
	a.type = GT_INIT_RUNS;
	a.exec_us = init_now_us() - began_us - a.root_us;
	answer(&a);
	close(GT_INIT_SOCKET);
	init_reap(program, fds.fixed[GT_INIT_FD_STATUS]);
}
