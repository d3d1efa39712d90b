/* weights.c - one way to get a file of weights into memory, measured: `weights MODE FILE [INTO]`
 *prints nanoseconds, nanoseconds of processor time of all that took part, faults, bytes from disks,
 *and bytes that the program had mapped 2 MiB at a time.
 *
 *	direct	past the page cache, four threads, each with its own huge pages: what the disk can
 *	ahead	a reader as the agent starts it, into the page cache
 *	use	a program that maps the file and copies it out in pieces, as loaders do; cold
 *	both	the same, with such a reader beside it
 *	warm	the same, on a page cache filled by readahead(2)
 *	huge	the same, on one filled by a reader
 *	fill	a reader as the agent starts it, into the new file INTO
 *	again	the program alone, on whatever holds the file
 *	own	the same, on as much of its own memory in huge pages: what the copying out is */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/base/base.h>
#include <gantry/base/clock.h>
#include <gantry/weights/process.h>

#define WINDOW  (64 * GT_MIB)
#define PIECE   (4 * GT_MIB)
#define THREADS 4

static int fd;
static uint64_t size;
static atomic_uint_fast64_t next;

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void *huge_pages(size_t len)
{
	char *p = mmap(NULL, len + 2 * GT_MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	must(p != MAP_FAILED, "mmap");
	p = (char *)(((uintptr_t)p + 2 * GT_MIB - 1) & ~(uintptr_t)(2 * GT_MIB - 1));
	madvise(p, len, MADV_HUGEPAGE);
	madvise(p, len, MADV_DONTFORK); /* or the reader's birth makes us copy all of it */
	memset(p, 1, len);
	return p;
}

static void *read_direct(void *arg)
{
	char *buffer = arg;
	uint64_t at;

	while ((at = atomic_fetch_add(&next, PIECE)) < size)
		must(pread(fd, buffer, PIECE, (off_t)at) > 0, "pread");
	return NULL;
}

static void direct(void)
{
	pthread_t threads[THREADS];

	must(fcntl(fd, F_SETFL, O_DIRECT) == 0, "O_DIRECT");
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, read_direct, huge_pages(PIECE));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static uint64_t mapped_huge(const char *map)
{
	unsigned long long from, to, kib, sum = 0;
	FILE *f = fopen("/proc/self/smaps", "re");
	bool here = false;
	char line[512];

	must(f != NULL, "/proc/self/smaps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx ", &from, &to) == 2)
			here = from <= (uintptr_t)map && (uintptr_t)map < to;
		else if (here && (sscanf(line, "ShmemPmdMapped: %llu", &kib) == 1 ||
				  sscanf(line, "FilePmdMapped: %llu", &kib) == 1))
			sum += kib * GT_KIB;
	}
	fclose(f);
	return sum;
}

static void copy_out(char *window, const char *map)
{
	for (uint64_t at = 0; at < size; at += WINDOW)
		memcpy(window, map + at, GT_MIN((uint64_t)WINDOW, size - at));
}

static uint64_t huge;

static void use(char *window)
{
	char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	must(map != MAP_FAILED, "mmap");
	copy_out(window, map);
	huge = mapped_huge(map);
	munmap(map, size);
}

static struct gt_weights_process reader(int into)
{
	const struct gt_weights_home home = { .uid = 65534, .gid = 65534 };
	struct gt_weights_process p;
	struct gt_err err = { 0 };

	if (gt_weights_reader(&home, fd, into, size, &p, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	return p;
}

static void ended(const struct gt_weights_process *p)
{
	struct pollfd dead = { p->pidfd, POLLIN, 0 };
	char word[sizeof(struct gt_weights_word)];
	int status;

	while (poll(&dead, 1, 10) == 0)
		while (recv(p->sock, word, sizeof(word), MSG_DONTWAIT) > 0)
			continue;
	must(waitpid(p->pid, &status, 0) == p->pid && status == 0, "the reader");
}

static void forget(void)
{
	must(fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0, "forget");
}

static void warm(void)
{
	unsigned char *seen = malloc(size / 4096 + 1);
	char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	for (uint64_t at = 0; at < size; at += 128 * GT_KIB)
		must(readahead(fd, (off_t)at, 128 * GT_KIB) == 0, "readahead");
	do {
		usleep(1000);
		must(mincore(map, size, seen) == 0, "mincore");
	} while (memchr(seen, 0, size / 4096));
	munmap(map, size);
	free(seen);
}

/* A host takes memory back that a virtual machine has freed, and gives it anew, page by page, when
 * a processor touches it: ten times what is measured here. So as much as is needed is touched
 * first, and let go at the last moment: what is free now is given out first. */
static char *ballast;

static void ballast_drop(void)
{
	munmap(ballast, size + WINDOW);
}

static uint64_t ns_of(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * GT_NS_PER_S + (uint64_t)t->tv_usec * 1000;
}

struct cost {
	uint64_t wall, cpu, faults, bytes;
};

static uint64_t bytes_from_disks(void)
{
	unsigned long long n = 0;
	FILE *f = fopen("/proc/self/io", "re");
	char line[128];

	must(f != NULL, "/proc/self/io");
	while (fgets(line, sizeof(line), f))
		sscanf(line, "read_bytes: %llu", &n);
	fclose(f);
	return n;
}

static struct cost cost_now(void)
{
	struct rusage self, children;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	return (struct cost){ gt_mono_ns(&gt_clock_system),
			      ns_of(&self.ru_utime) + ns_of(&self.ru_stime) +
				      ns_of(&children.ru_utime) + ns_of(&children.ru_stime),
			      (uint64_t)(self.ru_minflt + self.ru_majflt), bytes_from_disks() };
}

static void run(const char *mode, char *window, int into)
{
	struct gt_weights_process p;

	if (strcmp(mode, "direct") == 0) {
		direct();
	} else if (strcmp(mode, "ahead") == 0 || strcmp(mode, "fill") == 0) {
		p = reader(into);
		ended(&p);
	} else if (strcmp(mode, "both") == 0) {
		p = reader(-1);
		use(window);
		ended(&p);
	} else if (strcmp(mode, "own") == 0) {
		copy_out(window, ballast);
	} else {
		use(window);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";
	int into = -1;
	struct cost before, after;
	struct stat st;
	char *window;

	fd = open(argc > 2 ? argv[2] : "", O_RDONLY | O_CLOEXEC);
	must(fd >= 0 && fstat(fd, &st) == 0, "the file");
	size = (uint64_t)st.st_size;
	window = huge_pages(WINDOW);
	ballast = huge_pages(size + WINDOW);
	if (strcmp(mode, "again") != 0 && strcmp(mode, "own") != 0)
		forget();
	if (strcmp(mode, "fill") == 0) {
		into = open(argv[3], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		must(into >= 0, argv[3]);
	}
	if (strcmp(mode, "own") != 0)
		ballast_drop();
	if (strcmp(mode, "warm") == 0) {
		warm();
	} else if (strcmp(mode, "huge") == 0) {
		struct gt_weights_process p = reader(-1);

		ended(&p);
	}
	before = cost_now();
	run(mode, window, into);
	after = cost_now();
	printf("%llu %llu %llu %llu %llu\n", (unsigned long long)(after.wall - before.wall),
	       (unsigned long long)(after.cpu - before.cpu),
	       (unsigned long long)(after.faults - before.faults),
	       (unsigned long long)(after.bytes - before.bytes), (unsigned long long)huge);
	return 0;
}
