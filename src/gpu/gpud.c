/* gpud.c - the process that talks to the driver. */
#include "gpud.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gantry/base/clock.h>
#include <gantry/base/log.h>

#define SLOTS      (GT_GPU_OPS_MAX + 4) /* threads that may be in a call at a time */
#define STACK      (512 * 1024)         /* of a thread: the driver's calls are no small ones */
#define LIST_EVERY 10                   /* samples, then it looks whether there are other GPUs */

/* ---- which call is going on ---- */

static struct slot {
	_Atomic(const char *) call;
	_Atomic uint64_t since_ns;
} slots[SLOTS];
static _Thread_local struct slot *slot;

static struct slot *slot_take(const char *call)
{
	for (size_t i = 0; i < SLOTS; i++) {
		const char *none = NULL;

		if (atomic_compare_exchange_strong(&slots[i].call, &none, call))
			return &slots[i];
	}
	return NULL; /* then it is not told */
}

void gpud_enter(const char *call)
{
	slot = slot_take(call);
	if (slot)
		atomic_store(&slot->since_ns, gt_mono_ns(&gt_clock_system));
}

void gpud_leave(void)
{
	if (!slot)
		return;
	atomic_store(&slot->since_ns, 0);
	atomic_store(&slot->call, NULL);
	slot = NULL;
}

static void oldest_call(struct gpud_alive *ret)
{
	uint64_t now = gt_mono_ns(&gt_clock_system);

	for (size_t i = 0; i < SLOTS; i++) {
		uint64_t since = atomic_load(&slots[i].since_ns);
		const char *call = atomic_load(&slots[i].call);
		uint64_t ms = since && since < now ? (now - since) / GT_NS_PER_MS : 0;

		if (!call || ms <= ret->call_ms)
			continue;
		ret->call_ms = ms;
		gt_strcopy(ret->call, sizeof(ret->call), call);
	}
}

/* ---- telling ---- */

static void tell(const struct gpud *g, const void *packet, size_t len)
{
	while (send(g->socket, packet, len, MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			_exit(0); /* the parent is gone */
	}
}

static void tell_driver(const struct gpud *g, const struct gt_gpu_driver *driver)
{
	struct gpud_driver p = { .word = GPUD_DRIVER, .driver = *driver };

	tell(g, &p, sizeof(p));
}

/* ---- threads ---- */

static int thread_start(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r = pthread_attr_init(&attr);

	if (r == 0)
		r = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (r == 0)
		r = pthread_attr_setstacksize(&attr, STACK);
	if (r == 0)
		r = pthread_create(&thread, &attr, fn, arg);
	return -r;
}

struct job {
	struct gpud *g;
	struct gpud_ask ask;
};

static void answer(struct gpud *g, uint32_t id, int r, const struct gt_gpu_reply *reply,
		   const struct gt_err *err)
{
	struct gpud_answer p = { .word = GPUD_ANSWER, .id = id, .reply = *reply };

	if (r < 0) {
		p.code = err->code ? err->code : EIO;
		gt_strcopy(p.slug, sizeof(p.slug), err->slug);
		gt_strcopy(p.text, sizeof(p.text), err->text);
	}
	tell(g, &p, sizeof(p));
}

static pthread_mutex_t begun_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t begun_changed = PTHREAD_COND_INITIALIZER;
static bool begun, cuda_begun;

static void set_begun(bool *which)
{
	pthread_mutex_lock(&begun_lock);
	*which = true;
	pthread_cond_broadcast(&begun_changed);
	pthread_mutex_unlock(&begun_lock);
}

/* Until what it needs of the driver has begun, or failed to: which its answers then say. A process
 * that is parked can wait for CUDA to be loaded; an error would be its end. */
static void await_begun(enum gt_gpu_op_kind kind)
{
	const bool *which = kind == GT_GPU_OP_PROCESSES || kind == GT_GPU_OP_MEMORY ||
					    kind == GT_GPU_OP_REREAD
				    ? &begun
				    : &cuda_begun;

	pthread_mutex_lock(&begun_lock);
	while (!*which)
		pthread_cond_wait(&begun_changed, &begun_lock);
	pthread_mutex_unlock(&begun_lock);
}

static void *run_ask(void *arg)
{
	struct job *job = arg;
	struct gpud *g = job->g;
	struct gt_gpu_reply reply = { .health = GT_GPU_WELL };
	struct gt_err err = { 0 };
	uint64_t begin;
	int r;

	await_begun(job->ask.request.kind);
	begin = gt_mono_ns(&gt_clock_system);
	r = g->driver->ask(g, &job->ask.request, &reply, &err);
	reply.took_us = (gt_mono_ns(&gt_clock_system) - begin) / GT_NS_PER_US;
	answer(g, job->ask.id, r, &reply, &err);
	free(job);
	atomic_fetch_sub(&g->ops, 1);
	return NULL;
}

static void start_ask(struct gpud *g, const struct gpud_ask *ask)
{
	struct job *job;
	struct gt_err err = { 0 };

	/* The client keeps to this bound; what it has cancelled goes on here. */
	if (atomic_fetch_add(&g->ops, 1) >= GT_GPU_OPS_MAX) {
		gt_err_set(&err, EBUSY, "gpu_busy", "%d requests are in flight", GT_GPU_OPS_MAX);
	} else {
		job = gt_alloc(sizeof(*job));
		job->g = g;
		job->ask = *ask;
		if (thread_start(run_ask, job) == 0)
			return;
		free(job);
		gt_err_set(&err, EBUSY, "gpu_busy", "no thread can be started");
	}
	atomic_fetch_sub(&g->ops, 1);
	answer(g, ask->id, -EBUSY, &(struct gt_gpu_reply){ 0 }, &err);
}

static void *run_incidents(void *arg)
{
	struct gpud *g = arg;
	struct gpud_incident p = { .word = GPUD_INCIDENT };
	int r;

	do {
		r = g->driver->incident(g, 1000, &p.incident);
		if (r == 0)
			tell(g, &p, sizeof(p));
	} while (r == 0 || r == -EAGAIN);
	return NULL;
}

static void pause_ms(uint64_t ms)
{
	poll(NULL, 0, (int)GT_MIN(ms, (uint64_t)60000));
}

static size_t tell_gpus(struct gpud *g, struct gpud_gpus *last)
{
	struct gpud_gpus now = { .word = GPUD_GPUS };
	struct gt_err err = { 0 };
	size_t n = 0;

	if (g->driver->list(g, now.gpus, &n, &err) < 0) {
		gt_warn("gpud: %s", err.text);
		return last->n;
	}
	now.n = (uint32_t)n;
	if (memcmp(&now, last, sizeof(now)) != 0)
		tell(g, &now, sizeof(now));
	*last = now;
	return n;
}

/* Apart from the looks: it takes seconds where it works, and for ever where it does not. */
static void *run_cuda(void *arg)
{
	struct gpud *g = arg;
	struct gt_gpu_driver driver = g->told;

	driver.cuda[0] = '\0';
	g->driver->begin_cuda(g, driver.cuda, sizeof(driver.cuda));
	set_begun(&cuda_begun);
	tell_driver(g, &driver);
	return NULL;
}

/* The begin, then a look every so often until the process ends. */
static void *run_samples(void *arg)
{
	struct gpud *g = arg;
	struct gt_gpu_driver driver = { .state = GT_GPU_DRIVER_STARTING };
	struct gpud_gpus last = { 0 };
	struct gt_err err = { 0 };

	if (g->driver->begin(g, &driver, &err) < 0) {
		driver.state = GT_GPU_DRIVER_FAILED;
		gt_strcopy(driver.text, sizeof(driver.text), err.text);
		set_begun(&begun);
		set_begun(&cuda_begun);
		tell_driver(g, &driver);
		return NULL;
	}
	size_t n = tell_gpus(g, &last);

	set_begun(&begun);

	gt_strcopy(driver.cuda, sizeof(driver.cuda), "it is being loaded");
	driver.state = GT_GPU_DRIVER_READY;
	tell_driver(g, &driver);
	g->told = driver;
	if (thread_start(run_incidents, g) < 0 || thread_start(run_cuda, g) < 0)
		gt_warn("gpud: a thread can not be started");
	for (unsigned round = 1;; round++) {
		for (size_t i = 0; i < n; i++) {
			struct gpud_sample p = { .word = GPUD_SAMPLE };

			gt_strcopy(p.sample.uuid, sizeof(p.sample.uuid), last.gpus[i].uuid);
			p.sample.action = -1;
			g->driver->sample(g, i, &p.sample);
			tell(g, &p, sizeof(p));
		}
		pause_ms(g->config.sample_ms);
		if (round % LIST_EVERY == 0)
			n = tell_gpus(g, &last);
	}
}

/* ---- the main thread ---- */

static void obey(struct gpud *g, const union gpud_packet *p)
{
	if (p->word == GPUD_ASK)
		start_ask(g, &p->ask);
	else if (p->word == GPUD_CLAIM && g->driver->claim)
		g->driver->claim(g, &p->claim);
	else if (p->word != GPUD_CLAIM)
		_exit(1);
}

/* Its rights are what its parent left: root. It needs them: other processes' GPU memory. */
static void begin(struct gpud *g)
{
	union gpud_packet p;
	struct rlimit none = { 0, 0 };
	pid_t parent = getppid();
	ssize_t n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_NAME, "gantry-gpud");
	gt_log_init("gpud", GT_INFO);
	g->socket = GPUD_FD;
	n = recv(g->socket, &p, sizeof(p), 0);
	if (n < 0 || !gpud_packet_ok(&p, (size_t)n) || p.word != GPUD_HELLO || getppid() != parent)
		_exit(1);
	g->config = p.hello;
	g->driver = gt_starts_with(g->config.gpus, "sim:") ? &gpud_sim : &gpud_nvidia;
}

_Noreturn void gt_gpud_main(void)
{
	static struct gpud g;
	union gpud_packet p;
	uint64_t alive_ns = 0;

	begin(&g);
	if (thread_start(run_samples, &g) < 0)
		_exit(1);
	for (;;) {
		struct pollfd pfd = { .fd = g.socket, .events = POLLIN };
		uint64_t now = gt_mono_ns(&gt_clock_system);

		if (now >= alive_ns) {
			struct gpud_alive alive = { .word = GPUD_ALIVE };

			oldest_call(&alive);
			tell(&g, &alive, sizeof(alive));
			alive_ns = now + GPUD_ALIVE_MS * GT_NS_PER_MS;
		}
		if (poll(&pfd, 1, GPUD_ALIVE_MS) <= 0)
			continue;
		ssize_t n = recv(g.socket, &p, sizeof(p), MSG_DONTWAIT);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0 || !gpud_packet_ok(&p, (size_t)n))
			_exit(0); /* with its parent */
		obey(&g, &p);
	}
}
