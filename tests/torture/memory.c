/* memory.c - the nth allocation fails: in front of libc's, or of the address sanitizer's. As a part
 * of a test's program, or as a library that LD_PRELOAD puts before the real ones ($GT_TORTURE names
 * the file of the plan then). */
#include "memory.h"

#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH  14 /* callers that tell one place from another */
#define LEN(a) (sizeof(a) / sizeof((a)[0]))

#ifdef GT_SANITIZED
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *p, size_t size);
void *malloc(size_t size);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t size);
void *reallocarray(void *p, size_t n, size_t size);

static struct plan *plan;

static char role[sizeof(plan->role)]; /* ours */

static char role[sizeof(plan->role)]; /* ours */

/* The sanitizers themselves, and libraries that are known not to survive it: libseccomp 2.5, which
 * is asked for a filter once, when an agent starts. */
static struct {
	uintptr_t from, to;
} theirs_at[16];
static size_t n_theirs;

static bool is_theirs(uintptr_t at)
{
	for (size_t i = 0; i < n_theirs; i++)
		if (at >= theirs_at[i].from && at < theirs_at[i].to)
			return true;
	return false;
}

static int look_at_library(struct dl_phdr_info *info, size_t size, void *arg)
{
	static const char *const names[] = { "/libasan.", "/liblsan.", "/libubsan.",
					     "/libseccomp." };

	(void)size;
	(void)arg;
	for (size_t i = 0; i < LEN(names); i++) {
		if (!strstr(info->dlpi_name, names[i]))
			continue;
		for (int k = 0; k < info->dlpi_phnum && n_theirs < LEN(theirs_at); k++) {
			const ElfW(Phdr) *p = &info->dlpi_phdr[k];

			if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
				continue;
			theirs_at[n_theirs].from = info->dlpi_addr + p->p_vaddr;
			theirs_at[n_theirs++].to = info->dlpi_addr + p->p_vaddr + p->p_memsz;
		}
	}
	return 0;
}

void memory_get_ready(void)
{
	n_theirs = 0;
	dl_iterate_phdr(look_at_library, NULL);
	void *frame;

	backtrace(&frame, 1); /* loads a library, once */
}

void memory_follow(struct plan *p, const char *as)
{
	strncpy(role, as, sizeof(role) - 1);
	plan = p;
}

/* With threads the numbers are not the same each time. */
static bool is_by_them(void)
{
	void *frames[DEPTH];
	bool theirs = false;

	for (int i = 1, many = backtrace(frames, DEPTH); i < many; i++)
		theirs |= is_theirs((uintptr_t)frames[i]);
	return theirs;
}

/* Remembers allocation number n when nothing before it came from the same callers. */
static void gather(unsigned n)
{
	static uint64_t known[4 * PLACES_MAX];
	static _Thread_local bool inside;
	void *frames[DEPTH];
	uint64_t hash = 0xcbf29ce484222325ull;

	if (inside)
		return;
	inside = true;
	bool theirs = false; /* the first frame is of the sanitizer's backtrace itself */

	for (int i = 1, many = backtrace(frames, DEPTH); i < many; i++) {
		hash = (hash ^ (uintptr_t)frames[i]) * 0x100000001b3ull;
		theirs |= is_theirs((uintptr_t)frames[i]);
	}
	inside = false;
	if (theirs)
		return;
	for (size_t at = hash % LEN(known), tries = 0; tries < LEN(known);
	     tries++, at = (at + 1) % LEN(known)) {
		if (known[at] == hash)
			return;
		if (known[at])
			continue;
		known[at] = hash;
		unsigned slot = atomic_fetch_add(&plan->n_places, 1);

		if (slot < PLACES_MAX)
			plan->places[slot] = n;
		return;
	}
}

static bool fails(void)
{
	if (!plan || !atomic_load_explicit(&plan->on, memory_order_relaxed) ||
	    (plan->role[0] && strcmp(plan->role, role) != 0))
		return false;
	unsigned n = atomic_fetch_add(&plan->allocs, 1) + 1;

	if (atomic_load_explicit(&plan->gathers, memory_order_relaxed))
		gather(n);
	if (n != atomic_load(&plan->alloc_at) || is_by_them())
		return false;
	void *frames[DEPTH];

	atomic_store(&plan->is_hit, 1);
	backtrace_symbols_fd(frames, backtrace(frames, DEPTH), 2);
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return fails() ? NULL : REAL(malloc)(size);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : REAL(calloc)(n, size);
}

void *realloc(void *p, size_t size)
{
	return fails() ? NULL : REAL(realloc)(p, size);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, bytes);
}

#ifdef GT_TORTURE_LIBRARY
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* Only in the process that the plan means: a role is executed anew, with its name in argv. */
__attribute__((constructor)) static void begin(int argc, char **argv)
{
	const char *path = getenv("GT_TORTURE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	struct plan *p = MAP_FAILED;

	if (fd >= 0) {
		p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (p != MAP_FAILED)
		memory_follow(p, argc > 1 ? argv[1] : "");
}
#endif
