/* test_process.c - the processes that find and read: what they tell, what they have no right to,
 * and that what kills them is theirs alone. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/cleanup.h>
#include <gantry/os/os.h>
#include <gantry/weights/process.h>

#define SIZE (5 * GT_MIB + 4099)

static const struct gt_weights_home home = { .uid = 65534, .gid = 65534 };
static char data[SIZE];

static int file_of(size_t size)
{
	char path[] = "/var/tmp/gantry-weights-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	unlink(path);
	for (size_t i = 0; i < size; i++)
		data[i] = (char)(i * 7 + i / 4096);
	assert_int_equal(write(fd, data, size), size);
	return fd;
}

/* The next word; type 0 when there is none any more. */
static struct gt_weights_word hear(struct gt_weights_process *p, int *fd)
{
	static struct gt_weights_word w;
	struct pollfd ready = { p->sock, POLLIN, 0 };
	size_t len, n = 0;

	*fd = -EBADF;
	while (poll(&ready, 1, 10000) < 0 && errno == EINTR)
		continue;
	memset(&w, 0, sizeof(w));
	if (gt_os_recv(p->sock, &w, sizeof(w), &len, fd, 1, &n, NULL) < 0)
		w.type = 0;
	return w;
}

static int ended(struct gt_weights_process *p)
{
	int status;

	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	close(p->pidfd);
	close(p->sock);
	return status;
}

/* Past progress, to the last word. */
static struct gt_weights_word last(struct gt_weights_process *p)
{
	struct gt_weights_word w;
	uint64_t bytes = 0;
	int fd;

	do {
		w = hear(p, &fd);
		assert_true(fd < 0);
		assert_true(w.type == 0 || w.done.bytes >= bytes);
		bytes = w.done.bytes;
	} while (w.type == GT_WEIGHTS_PROGRESS);
	return w;
}

static struct gt_weights_word read_all(int from, int into, uint64_t size, int *status)
{
	struct gt_weights_process p;
	struct gt_err err = { 0 };
	struct gt_weights_word w;

	assert_int_equal(gt_weights_reader(&home, from, into, size, &p, &err), 0);
	w = last(&p);
	*status = ended(&p);
	return w;
}

static void a_prefetch_has_all_of_it_in_memory(void **state)
{
	gt_auto(fd) int fd = file_of(SIZE);
	struct gt_weights_word w;
	unsigned char seen[SIZE / 4096 + 1];
	int status;
	char *map;

	(void)state;
	fsync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	w = read_all(fd, -1, SIZE, &status);
	assert_int_equal(status, 0);
	assert_int_equal(w.type, GT_WEIGHTS_END);
	assert_int_equal(w.code, 0);
	assert_int_equal(w.done.bytes, SIZE);
	assert_true(w.took_ns > 0);
	map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	/* With readahead(2) the last of it may still be on its way. */
	while (w.done.folios == GT_FOLIOS_SMALL && mincore(map, SIZE, seen) == 0 &&
	       memchr(seen, 0, sizeof(seen)))
		sched_yield();
	assert_int_equal(mincore(map, SIZE, seen), 0);
	assert_null(memchr(seen, 0, sizeof(seen)));
	munmap(map, SIZE);
}

static void a_fill_is_the_same_to_the_last_byte(void **state)
{
	static const size_t sizes[] = { 1, 4095, 4096, 4097, 2 * GT_MIB, SIZE };

	(void)state;
	for (size_t i = 0; i < GT_LEN(sizes); i++) {
		gt_auto(fd) int fd = file_of(sizes[i]);
		gt_auto(fd) int into = memfd_create("copy", MFD_CLOEXEC);
		struct gt_weights_word w;
		int status;
		char *map;

		w = read_all(fd, into, sizes[i], &status);
		assert_int_equal(w.code, 0);
		assert_int_equal(status, 0);
		assert_int_equal(lseek(into, 0, SEEK_END), sizes[i]);
		map = mmap(NULL, sizes[i], PROT_READ, MAP_SHARED, into, 0);
		assert_memory_equal(map, data, sizes[i]);
		munmap(map, sizes[i]);
	}
}

/* What of the mapping at `map` is mapped 2 MiB at a time. */
static unsigned long huge_kib(const void *map)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long from, to, kib, found = 0;
	char line[512];
	bool here = false;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = from <= (uintptr_t)map && (uintptr_t)map < to;
		else if (here && sscanf(line, "ShmemPmdMapped: %lu kB", &kib) == 1)
			found = kib;
	}
	fclose(f);
	return found;
}

struct filled {
	struct gt_weights_word w;
	int status;
	bool same;
	unsigned long huge_kib;
};

/* Into a tmpfs with these options; false: nobody may mount one here. */
static bool fill_tmpfs(const char *options, size_t size, struct filled *ret)
{
	gt_auto(fd) int fd = file_of(size), into = -EBADF;
	char dir[] = "/tmp/gantry-weights-XXXXXX", path[sizeof(dir) + 8];
	char *map;

	assert_non_null(mkdtemp(dir));
	if (mount("none", dir, "tmpfs", 0, options) < 0) {
		rmdir(dir);
		return false;
	}
	snprintf(path, sizeof(path), "%s/copy", dir);
	into = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	assert_true(into >= 0);
	ret->w = read_all(fd, into, size, &ret->status);
	if (ret->w.code)
		return true;
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, into, 0);
	ret->same = map != MAP_FAILED && memcmp(map, data, size) == 0;
	ret->huge_kib = huge_kib(map);
	munmap(map, size);
	return true;
}

/* By a tmpfs that gives huge pages to nobody else, as a host does with no memory lying ready. */
static void a_fill_asks_for_huge_pages(void **state)
{
	struct filled f = { 0 };

	(void)state;
	if (!fill_tmpfs("huge=advise,size=8m", 4 * GT_MIB, &f))
		skip();
	assert_int_equal(f.w.code, 0);
	assert_true(f.status == 0 && f.same);
	assert_int_equal(f.huge_kib, 4 * GT_MIB / GT_KIB);
}

static void a_full_store_is_said(void **state)
{
	struct filled f = { 0 };

	(void)state;
	if (!fill_tmpfs("size=2m", SIZE, &f))
		skip();
	assert_int_equal(f.w.code, ENOSPC);
	assert_int_equal(f.status, 0);
}

static void a_file_that_shrank_is_the_readers_trouble(void **state)
{
	gt_auto(fd) int fd = file_of(SIZE);
	gt_auto(fd) int into = memfd_create("copy", MFD_CLOEXEC);
	struct gt_weights_word w;
	int status;

	(void)state;
	assert_int_equal(ftruncate(fd, 4096), 0);
	w = read_all(fd, -1, SIZE, &status);
	assert_int_equal(w.type, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	w = read_all(fd, into, SIZE, &status);
	assert_int_equal(w.type, GT_WEIGHTS_END);
	assert_int_equal(w.code, ESTALE);
}

static void a_copy_without_room_is_not_begun(void **state)
{
	gt_auto(fd) int fd = file_of(SIZE);
	/* Sealed against growing: as a file system that is full. */
	gt_auto(fd) int into = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct gt_weights_word w;
	int status;

	(void)state;
	assert_int_equal(fcntl(into, F_ADD_SEALS, F_SEAL_GROW), 0);
	w = read_all(fd, into, SIZE, &status);
	assert_int_equal(w.type, GT_WEIGHTS_END);
	assert_true(w.code != 0 && w.done.bytes == 0);
}

static void a_reader_has_no_rights(void **state)
{
	gt_auto(fd) int fd = file_of(SIZE);
	struct gt_weights_process p;
	char path[64], text[4096];

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(gt_weights_reader(&home, fd, -1, SIZE, &p, NULL), 0);
	assert_int_equal(last(&p).type, GT_WEIGHTS_END);
	/* Dead, and not yet reaped: the kernel still tells who it was. */
	assert_int_equal(waitid(P_PID, (id_t)p.pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
	snprintf(path, sizeof(path), "/proc/%d/status", p.pid);
	assert_int_equal(gt_os_read_at(AT_FDCWD, path, text, sizeof(text), NULL), 0);
	assert_non_null(strstr(text, "\nUid:\t65534\t65534\t65534\t65534"));
	assert_non_null(strstr(text, "\nCapPrm:\t0000000000000000"));
	assert_non_null(strstr(text, "\nNoNewPrivs:\t1"));
	ended(&p);
}

static void a_scout_tells_of_files_with_their_descriptors(void **state)
{
	char dir[] = "/tmp/gantry-scout-XXXXXX", path[64];
	struct gt_weights_place places[2];
	struct gt_weights_process p;
	struct gt_weights_word w;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a.st", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "abc", 3), 3);
	close(fd);
	fd = open(dir, O_PATH | O_CLOEXEC);
	places[0] = (struct gt_weights_place){ fd, "none/*" };
	places[1] = (struct gt_weights_place){ fd, "*.st" };
	assert_int_equal(gt_weights_scout(&home, places, 2, &p, NULL), 0);
	close(fd);
	w = hear(&p, &fd);
	assert_int_equal(w.type, GT_WEIGHTS_FOUND);
	assert_int_equal(w.place, 1);
	assert_string_equal(w.path, "a.st");
	assert_int_equal(w.id.size, 3);
	assert_int_equal(w.resident, 3); /* just written */
	assert_int_equal(pread(fd, path, 3, 0), 3);
	assert_memory_equal(path, "abc", 3);
	close(fd);
	w = hear(&p, &fd);
	assert_int_equal(w.type, GT_WEIGHTS_END);
	assert_int_equal(w.code, 0);
	assert_int_equal(ended(&p), 0);
	snprintf(path, sizeof(path), "%s/a.st", dir);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_prefetch_has_all_of_it_in_memory),
		cmocka_unit_test(a_fill_is_the_same_to_the_last_byte),
		cmocka_unit_test(a_fill_asks_for_huge_pages),
		cmocka_unit_test(a_full_store_is_said),
		cmocka_unit_test(a_file_that_shrank_is_the_readers_trouble),
		cmocka_unit_test(a_copy_without_room_is_not_begun),
		cmocka_unit_test(a_reader_has_no_rights),
		cmocka_unit_test(a_scout_tells_of_files_with_their_descriptors),
	};

	return cmocka_run_group_tests_name("weights/test_process", tests, NULL, NULL);
}
