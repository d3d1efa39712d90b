/* read.c - see weights/read.h. What decides is the depth: four threads of plain calls keep a disk
 * as busy as a ring of io_uring does (measured the same), and need neither its library nor its
 * system calls. */
#include <gantry/weights/read.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <gantry/base/base.h>
#include <gantry/base/clock.h>

#define HUGE    (2 * GT_MIB)
#define AHEAD   (32 * GT_MIB) /* of the page cache, which one thread reads on its own */
#define DIRECT  (8 * GT_MIB)  /* of one read past it */
#define PAGE    4096
#define WINDOW  (128 * GT_KIB) /* readahead(2) quietly cuts what is longer than a disk's window */
#define TICK_NS 50000000

struct job {
	int from;
	uint64_t size, piece;
	char *map;
	int (*read_piece)(struct job *job, uint64_t at, uint64_t len);
	atomic_uint_fast64_t next, bytes;
	atomic_int folios, code;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned left; /* threads */
};

static long faults(void)
{
	struct rusage used;

	return getrusage(RUSAGE_THREAD, &used) == 0 ? used.ru_minflt + used.ru_majflt : 0;
}

static long major_faults(void)
{
	struct rusage used;

	return getrusage(RUSAGE_THREAD, &used) == 0 ? used.ru_majflt : 0;
}

static void touch(const char *at)
{
	(void)*(const volatile char *)at;
}

/* The first touch was answered from the disk. Does another one, a megabyte on, still fault? A folio
 * of 2 MiB is mapped as one. */
static void find_folios(struct job *job, uint64_t at)
{
	long before, after = major_faults();

	touch(job->map + at);
	if (major_faults() == after)
		return; /* it was there, as whoever read it made it */
	before = faults();
	touch(job->map + at + GT_MIB);
	atomic_store(&job->folios, faults() == before ? GT_FOLIOS_LARGE : GT_FOLIOS_SMALL);
}

static int touch_piece(struct job *job, uint64_t at, uint64_t len)
{
	uint64_t end = at + len;

	if (atomic_load(&job->folios) == GT_FOLIOS_UNKNOWN && len >= HUGE)
		find_folios(job, at);
	while (at < end) {
		bool large = atomic_load(&job->folios) != GT_FOLIOS_SMALL;
		uint64_t step = GT_MIN(large ? (uint64_t)HUGE : (uint64_t)WINDOW, end - at);

		if (large)
			touch(job->map + at);
		else if (readahead(job->from, (off_t)at, step) < 0)
			return -errno;
		atomic_fetch_add(&job->bytes, step);
		at += step;
	}
	return 0;
}

static int direct_piece(struct job *job, uint64_t at, uint64_t len)
{
	uint64_t end = at + len;

	while (at < end) {
		/* To the end of the page: the mapping has all of it. */
		uint64_t want = (end - at + PAGE - 1) / PAGE * PAGE;
		ssize_t n = pread(job->from, job->map + at, want, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EFAULT ? -ENOSPC : -errno; /* no page for it */
		if (n == 0)
			return -ESTALE;
		at += (uint64_t)n;
		atomic_fetch_add(&job->bytes, (uint64_t)n);
	}
	return 0;
}

static void *work(void *arg)
{
	struct job *job = arg;
	uint64_t at;
	int r = 0;

	while (r == 0 && atomic_load(&job->code) == 0 &&
	       (at = atomic_fetch_add(&job->next, job->piece)) < job->size)
		r = job->read_piece(job, at, GT_MIN(job->piece, job->size - at));
	if (r < 0)
		atomic_store(&job->code, r);
	pthread_mutex_lock(&job->lock);
	job->left--;
	pthread_cond_signal(&job->ended);
	pthread_mutex_unlock(&job->lock);
	return NULL;
}

static struct gt_weights_done done_of(struct job *job)
{
	return (struct gt_weights_done){
		.bytes = GT_MIN((uint64_t)atomic_load(&job->bytes), job->size),
		.folios = (enum gt_weights_folios)atomic_load(&job->folios),
	};
}

static void wait_all(struct job *job, gt_weights_tick_fn *tick, void *arg)
{
	pthread_mutex_lock(&job->lock);
	while (job->left > 0) {
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += TICK_NS;
		until.tv_sec += until.tv_nsec / (long)GT_NS_PER_S;
		until.tv_nsec %= (long)GT_NS_PER_S;
		pthread_cond_clockwait(&job->ended, &job->lock, CLOCK_MONOTONIC, &until);
		if (job->left > 0 && tick) {
			struct gt_weights_done done = done_of(job);

			tick(&done, arg);
		}
	}
	pthread_mutex_unlock(&job->lock);
}

static int run(struct job *job, gt_weights_tick_fn *tick, void *arg, struct gt_weights_done *ret,
	       struct gt_err *err)
{
	pthread_t threads[GT_WEIGHTS_THREADS];
	unsigned n = 0;
	int code = 0;

	pthread_mutex_init(&job->lock, NULL);
	pthread_cond_init(&job->ended, NULL);
	job->left = GT_WEIGHTS_THREADS;
	while (n < GT_WEIGHTS_THREADS && code == 0) {
		code = pthread_create(&threads[n], NULL, work, job);
		n += code == 0;
	}
	if (code) {
		pthread_mutex_lock(&job->lock);
		job->left -= GT_WEIGHTS_THREADS - n;
		pthread_mutex_unlock(&job->lock);
		atomic_store(&job->code, -code);
	}
	wait_all(job, tick, arg);
	while (n > 0)
		pthread_join(threads[--n], NULL);
	pthread_cond_destroy(&job->ended);
	pthread_mutex_destroy(&job->lock);
	*ret = done_of(job);
	code = atomic_load(&job->code);
	return code ? gt_err_errno(err, -code, "read weights") : 0;
}

int gt_weights_prefetch(int fd, uint64_t size, gt_weights_tick_fn *tick, void *arg,
			struct gt_weights_done *ret, struct gt_err *err)
{
	struct job job = { .from = fd, .size = size, .piece = AHEAD, .read_piece = touch_piece };
	int r;

	job.map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (job.map == MAP_FAILED)
		return gt_err_errno(err, errno, "map weights");
	/* Kernels without large folios for files refuse this; then a touch brings less, which
	 * find_folios sees. */
	(void)!madvise(job.map, size, MADV_HUGEPAGE);
	r = run(&job, tick, arg, ret, err);
	munmap(job.map, size);
	return r;
}

int gt_weights_fill(int from, int into, uint64_t size, gt_weights_tick_fn *tick, void *arg,
		    struct gt_weights_done *ret, struct gt_err *err)
{
	struct job job = {
		.from = from, .size = size, .piece = DIRECT, .read_piece = direct_piece
	};
	int flags = fcntl(from, F_GETFL), r;

	if (ftruncate(into, (off_t)size) < 0)
		return gt_err_errno(err, errno, "memory for %llu bytes of weights",
				    (unsigned long long)size);
	job.map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, into, 0);
	if (job.map == MAP_FAILED)
		return gt_err_errno(err, errno, "map the copy of weights");
	/* For a huge page of a mapping that asks for them the kernel compacts memory and gives up
	 * page cache; for one of fallocate(2) it takes what lies ready, which on a host that has
	 * run for a while is nothing. */
	(void)!madvise(job.map, size, MADV_HUGEPAGE);
	/* File systems that can not do without the page cache say so. */
	if (flags >= 0)
		(void)!fcntl(from, F_SETFL, flags | O_DIRECT);
	r = run(&job, tick, arg, ret, err);
	if (r == -EINVAL && flags >= 0) {
		(void)!fcntl(from, F_SETFL, flags & ~O_DIRECT);
		job.next = job.bytes = 0;
		job.code = 0;
		r = run(&job, tick, arg, ret, err);
	}
	munmap(job.map, size);
	return r;
}
