/* clock.c - a host whose clock is set: LD_PRELOAD of it, and the wall's clock is that many
 * nanoseconds off as the eight bytes of the file $GT_FAKE_CLOCK say, from the moment they say it.
 * No other clock is touched, as none is when a real one is set. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL

static const int64_t nowhere;
static const volatile int64_t *offset_ns = &nowhere;
static int (*real)(clockid_t id, struct timespec *ts);

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("GT_FAKE_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *at = MAP_FAILED;

	*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	if (fd >= 0) {
		at = mmap(NULL, sizeof(*offset_ns), PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (at != MAP_FAILED)
		offset_ns = at;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (!real) /* a constructor that runs before this one's */
		*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	int r = real(id, ts);

	if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
		int64_t ns = ts->tv_sec * SECOND_NS + ts->tv_nsec + *offset_ns;

		ts->tv_sec = ns / SECOND_NS;
		ts->tv_nsec = ns % SECOND_NS;
	}
	return r;
}

time_t time(time_t *ret)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (ret)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}

int gettimeofday(struct timeval *tv, void *zone)
{
	struct timespec ts;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &ts);
	*tv = (struct timeval){ .tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000 };
	return 0;
}
