/* escape.h - the parts of the escape suite: a function that tries to get out of its container.
 *
 * A probe runs in a process of its own, may die in it, and says what it found. What it must know of
 * the world outside (names and numbers to look for) comes as HOST_* in the environment. */
#ifndef GANTRY_TESTS_ESCAPE_H
#define GANTRY_TESTS_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>

enum verdict { NOTHING, ABSENT, CONTAINED, ESCAPED }; /* the worst of several counts */

struct result {
	enum verdict verdict;
	char detail[400];
};

/* Where a probe is harmless outside a container and must then say ESCAPED: proof that it would
 * notice. NOWHERE: it would do harm, or what it finds depends on the machine. */
enum control { NOWHERE, BARE, UNSHARED };

/* Some probes end the replica that they run in, or fill it: those run in one of their own. */
enum kind { PLAIN, ALONE };

struct probe {
	const char *name;
	void (*run)(struct result *r, const char *arg, long nr);
	const char *arg;
	long nr;
	enum control control;
	enum kind kind;
};

struct probes {
	const struct probe *table;
	size_t n;
};

#define PROBES(table)                                     \
	{                                                 \
		table, sizeof(table) / sizeof((table)[0]) \
	}

extern const struct probes namespace_probes, process_probes, mount_probes, file_probes,
	right_probes, call_probes, net_probes, limit_probes;

/* verdict.c */
__attribute__((format(printf, 3, 4))) void say(struct result *r, enum verdict verdict,
					       const char *fmt, ...);
/* A call that must not have worked: refused with one of the errors of a boundary, or it escaped. */
void must_fail(struct result *r, const char *what, long value);
const char *error_name(int code);
/* The named fact about the outside; without it the probe can find nothing and says so. */
const char *host_fact(struct result *r, const char *name);
/* All of a small file; -1 and errno. Ends in NUL. */
long slurp(const char *path, char *buf, size_t size);
/* The facts of the program's very start, before it opened anything. */
extern unsigned long long started_with_fds; /* a bit each */

#endif
