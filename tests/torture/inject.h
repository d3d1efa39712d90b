/* inject.h - the nth call of a process and its children fails: a filter of seccomp tells this
 * process of each call in calls.tbl before the kernel does it, whoever makes it (libc, a library, a
 * raw syscall(2), a static program) and in whatever thread. */
#ifndef TESTS_TORTURE_INJECT_H
#define TESTS_TORTURE_INJECT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PLACES_MAX 8192

enum call_kind { MAKES, DATA, SYNC, TIDIES };

struct hit { /* what was made to fail */
	pid_t pid;
	int error;
	enum call_kind kind;
	char call[32], role[32], file[96];
};

/* In memory that the injector and those it injects into share. */
struct plan {
	_Atomic int on;           /* else nothing is counted, nothing fails */
	_Atomic unsigned calls;   /* counted so far */
	_Atomic unsigned allocs;  /* and allocations (memory.c) */
	_Atomic unsigned call_at; /* the one that fails; 0 = none */
	_Atomic unsigned alloc_at;
	_Atomic unsigned seed; /* picks one of the errnos of a call */
	_Atomic int is_hit;
	struct hit hit;
	/* While it counts: the first allocation of each place that makes some, by its callers. */
	_Atomic int gathers;
	_Atomic unsigned n_places;
	unsigned places[PLACES_MAX];
	char role[32]; /* only processes whose argv[1] (gantry-init: argv[0]) this is; "" = all */
};

/* Of the process that shall be injected into: from here on it is, with all that it starts. The
 * listener is -1 for want of something, with errno. Calls of sendmsg on `spare_fd` pass. */
int inject_filter(int spare_fd);
/* The injector's part: reads one question and answers it. -1: the last process is gone. */
int inject_answer(int listener, struct plan *plan);
const char *inject_error(int error); /* "ENOSPC" */

#endif
