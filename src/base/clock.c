/* clock.c - the real clock and random source, and a seeded one. */
#include <gantry/base/clock.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static uint64_t system_mono_ns(void *arg)
{
	struct timespec ts;

	(void)arg;
	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * GT_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t system_wall_ms(void *arg)
{
	struct timespec ts;

	(void)arg;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / GT_NS_PER_MS;
}

/* Keys and tokens come from here, so that there is no second-best source to fall back to. */
static void system_fill(void *arg, void *buf, size_t len)
{
	unsigned char *p = buf;

	(void)arg;
	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			perror("gantry: getrandom");
			abort();
		}
		p += n;
		len -= (size_t)n;
	}
}

const struct gt_clock gt_clock_system = { .mono_ns = system_mono_ns, .wall_ms = system_wall_ms };
const struct gt_rand gt_rand_system = { .fill = system_fill };

static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static void seeded_fill(void *arg, void *buf, size_t len)
{
	unsigned char *p = buf;

	while (len > 0) {
		uint64_t word = splitmix64(arg);
		size_t n = GT_MIN(len, sizeof(word));

		memcpy(p, &word, n);
		p += n;
		len -= n;
	}
}

struct gt_rand gt_rand_seeded(uint64_t *state)
{
	return (struct gt_rand){ .fill = seeded_fill, .arg = state };
}

void gt_time_text(uint64_t wall_ms, char out[GT_TIME_TEXT])
{
	static const uint64_t last_ms = 253402300799999ULL; /* the end of year 9999 */
	struct tm tm;

	wall_ms = GT_MIN(wall_ms, last_ms);
	time_t seconds = (time_t)(wall_ms / 1000);

	gmtime_r(&seconds, &tm);
	/* The remainders change nothing: they show the compiler that the text fits. */
	snprintf(out, GT_TIME_TEXT, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
		 (unsigned)(tm.tm_year + 1900) % 10000u, (unsigned)(tm.tm_mon + 1) % 100u,
		 (unsigned)tm.tm_mday % 100u, (unsigned)tm.tm_hour % 100u,
		 (unsigned)tm.tm_min % 100u, (unsigned)tm.tm_sec % 100u,
		 (unsigned)(wall_ms % 1000));
}

void gt_ulid(const struct gt_clock *clock, const struct gt_rand *rnd, char out[GT_ULID_LEN + 1])
{
	static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	unsigned char rest[16]; /* 80 bits as 16 digits of 5 */
	uint64_t ms = gt_wall_ms(clock);

	rnd->fill(rnd->arg, rest, sizeof(rest));
	for (int i = 9; i >= 0; i--, ms >>= 5)
		out[i] = digits[ms & 31];
	for (size_t i = 0; i < sizeof(rest); i++)
		out[10 + i] = digits[rest[i] & 31];
	out[GT_ULID_LEN] = '\0';
}
