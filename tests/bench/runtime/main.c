/* main.c - the parts that both sides share, and the choice between them. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define STAMP_SIZE 17 /* with its newline */

static void say(const char *prefix, const char *format, va_list args)
{
	fputs(prefix, stdout);
	vprintf(format, args);
	putchar('\n');
	fflush(stdout);
}

void bench_die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("error ", format, args);
	va_end(args);
	exit(1);
}

void bench_reply(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("", format, args);
	va_end(args);
}

uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t usage_ns(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

uint64_t bench_cpu_ns(void)
{
	return usage_ns(RUSAGE_SELF) + usage_ns(RUSAGE_CHILDREN);
}

void bench_pipe(int fds[2])
{
	if (pipe2(fds, O_CLOEXEC) < 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
		bench_die("pipe: %s", strerror(errno));
}

uint64_t bench_stamp(int fd)
{
	char text[STAMP_SIZE * 256];
	uint64_t last = 0;
	ssize_t n;

	/* A stamp is written at once, and no reader but this one takes part of one. */
	while ((n = read(fd, text, sizeof(text))) > 0) {
		if (n % STAMP_SIZE != 0)
			bench_die("the program printed %zd bytes: %.*s", n, (int)n, text);
		last = strtoull(text + n - STAMP_SIZE, NULL, 16);
	}
	return last;
}

static void serve_line(const struct bench_command *commands, size_t n, char *line)
{
	char *words[BENCH_WORDS_MAX + 1], *rest = NULL;
	size_t n_words = 0;

	for (char *w = strtok_r(line, " \n", &rest); w && n_words < BENCH_WORDS_MAX;
	     w = strtok_r(NULL, " \n", &rest))
		words[n_words++] = w;
	words[n_words] = NULL;
	for (size_t i = 0; i < n; i++) {
		if (n_words >= commands[i].n_words && strcmp(words[0], commands[i].name) == 0) {
			commands[i].fn(words, n_words);
			return;
		}
	}
	bench_die("no such command: %s with %zu words", n_words ? words[0] : "", n_words);
}

void bench_serve(const struct bench_command *commands, size_t n)
{
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, stdin) > 0)
		serve_line(commands, n, line);
	free(line);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "ours") == 0)
		return bench_ours(argc, argv);
	if (argc == 3 && strcmp(argv[1], "peer") == 0)
		return bench_peer(argc, argv);
	fprintf(stderr, "usage: bench ours|peer DIR (see tests/bench/runtime.py)\n");
	return 2;
}
