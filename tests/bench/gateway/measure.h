/* measure.h - what the load generator measures with: a clock, quantiles, other processes' CPU time.
 */
#ifndef BENCH_GATEWAY_MEASURE_H
#define BENCH_GATEWAY_MEASURE_H

#include <stddef.h>
#include <stdint.h>

_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t bench_now_ns(void); /* CLOCK_MONOTONIC */

/* Counts of durations; buckets are 1/64 of their value wide. Zeroed memory is an empty one. */
#define BENCH_HIST_BUCKETS (64 * 59)

struct bench_hist {
	uint64_t n;
	uint64_t counts[BENCH_HIST_BUCKETS];
};

void bench_hist_add(struct bench_hist *h, uint64_t ns);
double bench_hist_us(const struct bench_hist *h, double quantile); /* 0 when it is empty */

/* "NAME:PID,PID...": run time of all their threads, by the scheduler's own count. */
#define BENCH_GROUPS_MAX 8
#define BENCH_PIDS_MAX   16

struct bench_group {
	char name[32];
	int pids[BENCH_PIDS_MAX];
	size_t n_pids;
	uint64_t began_ns;
};

void bench_group_read(struct bench_group *g, const char *text);
uint64_t bench_group_ns(const struct bench_group *g);

#endif
