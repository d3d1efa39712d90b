/* worker.c - one rank: joins, adds, checks each sum on the host, measures, tells.
 *
 * The types and numbers of NCCL and of the driver are declared here, as their headers have them
 * (nccl.h 2.x, cuda.h 12): programs that build on machines without either load them at run time. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "preflight.h"

#define NCCL_FLOAT  7
#define NCCL_SUM    0
#define LINK_ROUNDS 3

struct unique_id {
	char internal[128];
};
_Static_assert(sizeof(struct unique_id) == 128, "ncclUniqueId");

/* Null where a library was not asked for. */
static struct {
	int (*GetVersion)(int *);
	int (*GetUniqueId)(struct unique_id *);
	int (*CommInitRank)(void **, int, struct unique_id, int);
	int (*AllReduce)(const void *, void *, size_t, int, int, void *, void *);
	int (*Send)(const void *, size_t, int, int, void *, void *);
	int (*Recv)(void *, size_t, int, int, void *, void *);
	int (*CommDestroy)(void *);
	const char *(*GetErrorString)(int);
} nccl;

static struct {
	int (*Init)(unsigned);
	int (*DeviceGet)(int *, int);
	int (*DevicePrimaryCtxRetain)(void **, int);
	int (*CtxSetCurrent)(void *);
	int (*CtxSynchronize)(void);
	int (*MemAlloc_v2)(uint64_t *, size_t);
	int (*MemcpyHtoD_v2)(uint64_t, const void *, size_t);
	int (*MemcpyDtoH_v2)(void *, uint64_t, size_t);
} cuda;

struct worker {
	const struct pf_config *c;
	int rank, sock;
	void *comm;
	float *host;     /* of the largest size */
	void *from, *to; /* of NCCL: the GPU's, or the host's */
	struct pf_msg result;
};

uint64_t pf_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool pf_send(int fd, const struct pf_msg *m)
{
	return send(fd, m, sizeof(*m), MSG_NOSIGNAL) == (ssize_t)sizeof(*m);
}

bool pf_receive(int fd, struct pf_msg *m)
{
	return recv(fd, m, sizeof(*m), MSG_WAITALL) == (ssize_t)sizeof(*m) && m->magic == PF_MAGIC;
}

static _Noreturn void give_up(struct worker *w, enum pf_type type, const char *what,
			      const char *why)
{
	struct pf_msg m = { .magic = PF_MAGIC, .type = type, .rank = w->rank };

	snprintf(m.text, sizeof(m.text), "%s: %s", what, why);
	if (w->sock >= 0)
		pf_send(w->sock, &m);
	_exit(1);
}

static _Noreturn void fail(struct worker *w, const char *what, const char *why)
{
	give_up(w, PF_FAILED, what, why);
}

/* ---- libraries ---- */

static void resolve(struct worker *w, void *library, const char *prefix, const char *name,
		    void *ret)
{
	char symbol[64];
	void *at;

	snprintf(symbol, sizeof(symbol), "%s%s", prefix, name);
	at = dlsym(library, symbol);
	if (!at)
		fail(w, symbol, "the library does not have it");
	memcpy(ret, &at, sizeof(at));
}

static void *load(struct worker *w, const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!library)
		give_up(w, PF_NO_LIBRARY, "load", dlerror());
	return library;
}

#define NCCL(name) resolve(w, library, "nccl", #name, &nccl.name)
#define CUDA(name) resolve(w, library, "cu", #name, &cuda.name)

static void load_nccl(struct worker *w)
{
	void *library = load(w, w->c->nccl);

	NCCL(GetVersion);
	NCCL(GetUniqueId);
	NCCL(CommInitRank);
	NCCL(AllReduce);
	NCCL(Send);
	NCCL(Recv);
	NCCL(CommDestroy);
	NCCL(GetErrorString);
}

static void check_cuda(struct worker *w, const char *what, int r)
{
	char number[48];

	snprintf(number, sizeof(number), "the driver answers %d", r);
	if (r != 0)
		fail(w, what, number);
}

static void load_cuda(struct worker *w)
{
	void *library, *context;
	int device;

	if (!w->c->cuda)
		return;
	library = load(w, w->c->cuda);
	CUDA(Init);
	CUDA(DeviceGet);
	CUDA(DevicePrimaryCtxRetain);
	CUDA(CtxSetCurrent);
	CUDA(CtxSynchronize);
	CUDA(MemAlloc_v2);
	CUDA(MemcpyHtoD_v2);
	CUDA(MemcpyDtoH_v2);
	check_cuda(w, "cuInit", cuda.Init(0));
	check_cuda(w, "cuDeviceGet", cuda.DeviceGet(&device, w->rank - w->c->first));
	check_cuda(w, "cuDevicePrimaryCtxRetain", cuda.DevicePrimaryCtxRetain(&context, device));
	check_cuda(w, "cuCtxSetCurrent", cuda.CtxSetCurrent(context));
}

static void check(struct worker *w, const char *what, int r)
{
	if (r != 0)
		fail(w, what, nccl.GetErrorString(r));
}

static void finish(struct worker *w) /* what was given to the GPU */
{
	if (w->c->cuda)
		check_cuda(w, "cuCtxSynchronize", cuda.CtxSynchronize());
}

/* ---- memory ---- */

static void *memory(struct worker *w, size_t bytes)
{
	uint64_t at = 0;
	void *ret;

	if (!w->c->cuda) {
		ret = calloc(1, bytes);
		if (!ret)
			fail(w, "memory", "not enough");
		return ret;
	}
	check_cuda(w, "cuMemAlloc", cuda.MemAlloc_v2(&at, bytes));
	memcpy(&ret, &at, sizeof(ret));
	return ret;
}

static uint64_t address(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

static void put(struct worker *w, void *to, size_t bytes)
{
	if (w->c->cuda)
		check_cuda(w, "copy to the GPU", cuda.MemcpyHtoD_v2(address(to), w->host, bytes));
	else
		memcpy(to, w->host, bytes);
}

static void get(struct worker *w, const void *from, size_t bytes)
{
	if (w->c->cuda)
		check_cuda(w, "copy from the GPU",
			   cuda.MemcpyDtoH_v2(w->host, address(from), bytes));
	else
		memcpy(w->host, from, bytes);
}

/* ---- sums ---- */

/* Small whole numbers, so that their sum is exact in any order. Each rank has its own, and so has
 * each of 251 neighbours. */
static float part(size_t i, int rank)
{
	return (float)(i % 251 + (size_t)rank * 3 + 1);
}

static float sum(size_t i, int ranks)
{
	return (float)((i % 251 + 1) * (size_t)ranks + (size_t)(3 * ranks * (ranks - 1) / 2));
}

static void add(struct worker *w, size_t count)
{
	check(w, "ncclAllReduce",
	      nccl.AllReduce(w->from, w->to, count, NCCL_FLOAT, NCCL_SUM, w->comm, NULL));
	finish(w);
}

static void compare(struct worker *w, int at, size_t count)
{
	get(w, w->to, count * sizeof(float));
	for (size_t i = 0; i < count && w->result.wrong[at] < 0; i++) {
		if (w->host[i] == sum(i, w->c->ranks))
			continue;
		w->result.wrong[at] = (int64_t)i;
		w->result.got = w->host[i];
		w->result.wanted = sum(i, w->c->ranks);
	}
}

static void measure(struct worker *w, int at)
{
	size_t count = w->c->sizes[at] / sizeof(float);

	for (size_t i = 0; i < count; i++)
		w->host[i] = part(i, w->rank);
	put(w, w->from, count * sizeof(float));
	add(w, count);
	compare(w, at, count);
	for (int round = 0; round < PF_ROUNDS; round++) {
		uint64_t began = pf_now_ns();

		add(w, count);
		w->result.ns[at][round] = pf_now_ns() - began;
	}
	compare(w, at, count);
}

static void measure_link(struct worker *w, int from)
{
	int n = w->c->ranks, before = (w->rank + n - 1) % n, after = (w->rank + 1) % n;
	size_t count = PF_LINK_BYTES / sizeof(float);
	uint64_t began, took;

	add(w, 2); /* all are here */
	began = pf_now_ns();
	if (from == w->rank)
		check(w, "ncclSend", nccl.Send(w->from, count, NCCL_FLOAT, after, w->comm, NULL));
	if (from == before)
		check(w, "ncclRecv", nccl.Recv(w->to, count, NCCL_FLOAT, before, w->comm, NULL));
	finish(w);
	took = pf_now_ns() - began;
	if (from == before && (w->result.link_ns == 0 || took < w->result.link_ns))
		w->result.link_ns = took;
}

/* One link of the ring after the other: an all-reduce is as slow for all as for its slowest. The
 * best of a few: what is slow by nature is slow each time. */
static void measure_links(struct worker *w)
{
	for (int round = 0; w->c->ranks > 1 && round < LINK_ROUNDS; round++)
		for (int from = 0; from < w->c->ranks; from++)
			measure_link(w, from);
}

/* ---- the life of a rank ---- */

static int dial(const struct pf_config *c)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all, *at;
	char port[8];
	int fd = -1;

	snprintf(port, sizeof(port), "%u", c->port);
	/* The coordinator may come a moment later; the judge of this process ends the wait. */
	while (fd < 0) {
		if (getaddrinfo(c->host, port, &hints, &all) != 0)
			_exit(1);
		for (at = all; at && fd < 0; at = at->ai_next) {
			fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, 0);
			if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) < 0) {
				close(fd);
				fd = -1;
			}
		}
		freeaddrinfo(all);
		if (fd < 0)
			usleep(20000);
	}
	return fd;
}

/* Rank 0 makes NCCL's id, when it is asked; the coordinator gives it to all. */
static struct unique_id take_id(struct worker *w)
{
	struct unique_id id;
	struct pf_msg m;

	while (pf_receive(w->sock, &m)) {
		memcpy(&id, m.id, sizeof(id));
		if (m.type == PF_ID)
			return id;
		check(w, "ncclGetUniqueId", nccl.GetUniqueId(&id));
		memcpy(m.id, &id, sizeof(id));
		m.type = PF_ID;
		m.rank = w->rank;
		pf_send(w->sock, &m);
	}
	_exit(1);
}

static uint64_t largest(const struct pf_config *c)
{
	uint64_t most = PF_LINK_BYTES;

	for (int i = 0; i < c->n_sizes; i++)
		most = c->sizes[i] > most ? c->sizes[i] : most;
	return most;
}

void pf_work(const struct pf_config *c, int rank)
{
	struct worker w = { .c = c, .rank = rank, .sock = dial(c) };
	struct pf_msg hello = { .magic = PF_MAGIC, .type = PF_HELLO, .rank = rank };
	char text[16];

	snprintf(text, sizeof(text), "%d", rank);
	setenv("RANK", text, 1); /* as launchers name it; libraries put it into their logs */

	load_nccl(&w);
	check(&w, "ncclGetVersion", nccl.GetVersion(&hello.version));
	load_cuda(&w);
	pf_send(w.sock, &hello);
	check(&w, "ncclCommInitRank", nccl.CommInitRank(&w.comm, c->ranks, take_id(&w), rank));
	w.host = calloc(1, largest(c));
	w.from = memory(&w, largest(c));
	w.to = memory(&w, largest(c));
	if (!w.host)
		fail(&w, "memory", "not enough");
	w.result = (struct pf_msg){ .magic = PF_MAGIC, .type = PF_RESULT, .rank = rank };
	for (int i = 0; i < PF_SIZES_MAX; i++)
		w.result.wrong[i] = -1;
	for (int i = 0; i < c->n_sizes; i++) {
		measure(&w, i);
		if (w.result.wrong[i] >= 0) { /* that is the verdict; the others need not go on */
			pf_send(w.sock, &w.result);
			_exit(1);
		}
	}
	measure_links(&w);
	pf_send(w.sock, &w.result);
	nccl.CommDestroy(w.comm);
	_exit(0);
}
