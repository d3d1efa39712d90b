/* measure.c - clock, quantiles, CPU time. */
#include "measure.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void bench_die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Values below 64 have a bucket each; above, six bits after the first one choose it. */
static size_t bucket(uint64_t ns)
{
	unsigned shift;

	if (ns < 64)
		return ns;
	shift = 63 - 6 - (unsigned)__builtin_clzll(ns);
	return (shift + 1) * 64 + ((ns >> shift) & 63);
}

void bench_hist_add(struct bench_hist *h, uint64_t ns)
{
	h->n++;
	h->counts[bucket(ns)]++;
}

double bench_hist_us(const struct bench_hist *h, double quantile)
{
	uint64_t rank = (uint64_t)(quantile * (double)h->n), seen = 0;

	for (size_t i = 0; i < BENCH_HIST_BUCKETS; i++) {
		seen += h->counts[i];
		if (seen > rank || (h->n && seen == h->n))
			return (double)(i < 64 ? i : (64 + i % 64) << (i / 64 - 1)) / 1e3;
	}
	return 0;
}

void bench_group_read(struct bench_group *g, const char *text)
{
	const char *at = strchr(text, ':');

	if (!at || (size_t)(at - text) >= sizeof(g->name))
		bench_die("a group is NAME:PID,PID...: %s", text);
	*g = (struct bench_group){ 0 };
	memcpy(g->name, text, (size_t)(at - text));
	for (char *end = (char *)at; *end;) {
		if (g->n_pids == BENCH_PIDS_MAX)
			bench_die("more than %d processes: %s", BENCH_PIDS_MAX, text);
		g->pids[g->n_pids++] = (int)strtol(end + 1, &end, 10);
	}
}

static uint64_t thread_ns(const char *path)
{
	unsigned long long ns = 0;
	FILE *f = fopen(path, "r");

	if (!f)
		return 0; /* a thread that ended meanwhile */
	if (fscanf(f, "%llu", &ns) != 1)
		bench_die("%s holds no number: the kernel has no schedstat", path);
	fclose(f);
	return ns;
}

uint64_t bench_group_ns(const struct bench_group *g)
{
	char path[320];
	uint64_t sum = 0;

	for (size_t i = 0; i < g->n_pids; i++) {
		struct dirent *e;
		DIR *dir;

		snprintf(path, sizeof(path), "/proc/%d/task", g->pids[i]);
		dir = opendir(path);
		if (!dir)
			bench_die("process %d of %s has ended", g->pids[i], g->name);
		while ((e = readdir(dir))) {
			snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", g->pids[i],
				 e->d_name);
			if (e->d_name[0] != '.')
				sum += thread_ns(path);
		}
		closedir(dir);
	}
	return sum;
}
