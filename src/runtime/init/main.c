/* main.c - process 1 of a container: waits staged, becomes a function's sandbox on one message and
 * a replica on the next.
 *
 * The order is the point: each step gives up what the step before needed. While staged there is
 * nothing of a user in this process. From PREPARE on: root, mounts, host name with the host's
 * rights; then the user namespace, and from there on no right over any namespace of the container.
 * The program is a child, so that it can neither trace nor outlive this process. */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

uint64_t init_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Process 1 waits for signals; none may interrupt the set-up either. What the agent ignores, a
 * program would go on ignoring. */
static void quiet(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, SIG_DFL);
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NAME, "gantry-init");
}

static void stage(struct gt_init_stage *ret)
{
	struct gt_init_answer a = { .type = GT_INIT_STAGED };
	int fds[GT_INIT_FDS_MAX];
	size_t n = init_receive(GT_INIT_STAGE, ret, sizeof(*ret), fds);

	init_stage(ret, fds, n);
	init_answer(&a);
}

static void receive_prepare(struct init_prepare *ret)
{
	struct gt_init_prepare *m = &ret->head;

	ret->n_fds = init_receive(GT_INIT_PREPARE, m, sizeof(*m), ret->fds);
	ret->came_us = init_now_us();
	if (m->n_layers == 0 || m->n_layers > GT_INIT_LAYERS_MAX ||
	    ret->n_fds < GT_INIT_FD_LAYERS + m->n_layers)
		init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
}

static int receive_status(void)
{
	struct gt_init_status_here m;
	int fds[GT_INIT_FDS_MAX];

	if (init_receive(GT_INIT_STATUS, &m, sizeof(m), fds) != 1)
		init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
	return fds[0];
}

int main(void)
{
	struct gt_init_answer a = { .type = GT_INIT_RUNS };
	static struct gt_init_stage staged;
	static struct init_prepare p;
	struct init_spec spec;
	uint64_t rooted_us, go_us;
	pid_t program;
	int status;

	quiet();
	stage(&staged);
	receive_prepare(&p);
	init_spec_read(p.fds[GT_INIT_FD_SPEC], p.head.spec_len, &spec);
	close(p.fds[GT_INIT_FD_SPEC]);
	init_root(&spec, &p, &staged);
	/* While it may: memory that others write into (network cards, GPUs) must stay where it is.
	 * What is locked counts as the container's memory all the same. */
	if (spec.head->memlock)
		setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
	rooted_us = init_now_us();
	init_drop(&spec, p.fds[GT_INIT_FD_USERNS]);
	program = init_exec(&spec, p.head.answer != 0, &go_us);
	if (!p.head.answer)
		a.root_us = rooted_us - p.came_us;
	a.exec_us = init_now_us() - (p.head.answer ? go_us : rooted_us);
	status = receive_status();
	init_answer(&a);
	close(GT_INIT_SOCKET);
	init_reap(program, status);
}
