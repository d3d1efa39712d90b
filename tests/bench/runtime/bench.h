/* bench.h - the measuring program behind tests/bench/runtime.py.
 *
 * Two of it run: `bench ours` over the runtime room, `bench peer` for command-line tools, in a
 * mount namespace of its own. Each reads one command a line and answers it with one line of words,
 * or "error ..."; both measure with the same clock and the same stamps of stamp.c. One thread. */
#ifndef BENCH_RUNTIME_H
#define BENCH_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BENCH_WORDS_MAX 128

/* One line's words; ends the program with a message when they make no sense. */
typedef void bench_command_fn(char **words, size_t n_words);

struct bench_command {
	const char *name;
	size_t n_words; /* with the name; at least */
	bench_command_fn *fn;
};

void bench_serve(const struct bench_command *commands, size_t n); /* until standard input ends */
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
void bench_reply(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t bench_now_ns(void); /* CLOCK_MONOTONIC, as stamp.c reads it */
uint64_t bench_cpu_ns(void); /* this process and its children that were waited for */
/* A pipe for the programs' output; only the reading end does not block. */
void bench_pipe(int fds[2]);
/* Empties the pipe; the last stamp in it, 0 when there is none. */
uint64_t bench_stamp(int fd);

int bench_ours(int argc, char **argv);
int bench_peer(int argc, char **argv);

#endif
