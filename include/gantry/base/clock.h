/* base/clock.h - time and randomness come in through these two structs, so that a test or the
 * simulator can own them. Intervals and deadlines use mono_ns; wall_ms is for display and ids. */
#ifndef GANTRY_BASE_CLOCK_H
#define GANTRY_BASE_CLOCK_H

#include <gantry/base/base.h>

struct gt_clock {
	uint64_t (*mono_ns)(void *arg); /* never goes back; counts suspend time too */
	uint64_t (*wall_ms)(void *arg); /* Unix time */
	void *arg;
};

struct gt_rand {
	void (*fill)(void *arg, void *buf, size_t len);
	void *arg;
};

extern const struct gt_clock gt_clock_system; /* CLOCK_BOOTTIME and CLOCK_REALTIME */
extern const struct gt_rand gt_rand_system;   /* getrandom(2) */

static inline uint64_t gt_mono_ns(const struct gt_clock *c)
{
	return c->mono_ns(c->arg);
}

static inline uint64_t gt_wall_ms(const struct gt_clock *c)
{
	return c->wall_ms(c->arg);
}

/* A deterministic generator (splitmix64) for simulations and tests; state is the seed. */
struct gt_rand gt_rand_seeded(uint64_t *state);

/* "2026-11-23T18:40:12.345Z"; out must hold GT_TIME_TEXT bytes. */
#define GT_TIME_TEXT 25
void gt_time_text(uint64_t wall_ms, char out[GT_TIME_TEXT]);

/* ULID: 26 characters, sorted by time; out must hold GT_ULID_LEN + 1 bytes. */
#define GT_ULID_LEN 26
void gt_ulid(const struct gt_clock *clock, const struct gt_rand *rnd, char out[GT_ULID_LEN + 1]);

#endif
