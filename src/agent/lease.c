/* lease.c - replicas that may not run for long without control: how long it is since control was
 * last known to hear of us, and stopping them when their functions say so.
 *
 * What counts is when the last report was sent that control acknowledged: control counts from when
 * it came, which is later, and gives nothing to others before we must have stopped it. The time is
 * kept in a file, for the next agent; after a start of the machine, which ended all replicas, it
 * says nothing. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/log.h>
#include <gantry/base/units.h>
#include <gantry/os/os.h>

#include "agent_impl.h"

#define BOOT_SIZE 37 /* "/proc/sys/kernel/random/boot_id", with NUL */
#define TEXT_SIZE (24 + BOOT_SIZE)

/* Neither starting nor running ones are excepted; of a gang each stops by itself. */
static bool is_bound(const struct replica *r)
{
	return r->spec && r->spec->disconnect.stop_after_ms && !r->stop_ordered &&
	       !gt_replica_state_ended(r->state);
}

static uint64_t until_ns(const struct replica *r)
{
	return r->agent->lease.heard_ns + r->spec->disconnect.stop_after_ms * GT_NS_PER_MS;
}

static void stop(struct replica *r)
{
	char text[32];

	gt_format_duration_ms(r->spec->disconnect.stop_after_ms, text, sizeof(text));
	gt_warn("replica %s of %s is stopped: control was not heard of for %s", r->id, r->function,
		text);
	gt_strcopy(r->end.cause, sizeof(r->end.cause), "node_lost");
	snprintf(r->end.text, sizeof(r->end.text),
		 "its node had no connection to control for %s and stopped it", text);
	gt_replica_stop(r, r->spec->limits.drain_ms);
}

static void on_time(void *arg)
{
	struct agent *a = arg;
	uint64_t now = gt_loop_clock_ns(a->loop);
	struct replica *r, *next;

	HASH_ITER (hh, a->replicas, r, next)
		if (is_bound(r) && until_ns(r) <= now)
			stop(r);
	gt_lease_watch(a);
}

/* The file is only read after this process's end, and lost with the machine. */
static void keep(const struct agent *a)
{
	char text[TEXT_SIZE];
	int n = snprintf(text, sizeof(text), "%020llu %s\n", (unsigned long long)a->lease.heard_ns,
			 a->lease.boot);

	if (pwrite(a->lease.fd, text, (size_t)n, 0) != n)
		gt_debug("the time of the last word to control is not kept: %s", strerror(errno));
}

void gt_lease_watch(struct agent *a)
{
	uint64_t due = UINT64_MAX;
	struct replica *r, *next;

	HASH_ITER (hh, a->replicas, r, next)
		if (is_bound(r))
			due = GT_MIN(due, until_ns(r));
	if (due == UINT64_MAX)
		gt_timer_clear(a->loop, &a->lease.timer);
	else
		gt_timer_set_at(a->loop, &a->lease.timer, due, on_time, a);
}

void gt_lease_heard(struct agent *a, uint64_t sent_ns)
{
	a->lease.heard_ns = GT_MAX(a->lease.heard_ns, sent_ns);
	gt_lease_watch(a);
	if (gt_timer_is_set(&a->lease.timer))
		keep(a);
}

int gt_lease_open(struct agent *a, const char *dir, struct gt_err *err)
{
	gt_auto(free) char *path = gt_asprintf("%s/heard", dir);
	char text[TEXT_SIZE] = "", boot[BOOT_SIZE] = "";
	unsigned long long ns;

	a->lease.heard_ns = gt_loop_clock_ns(a->loop);
	if (gt_os_read_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", a->lease.boot,
			  sizeof(a->lease.boot), err) < 0)
		return -err->code;
	a->lease.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (a->lease.fd < 0)
		return gt_err_errno(err, errno, "%s", path);
	if (pread(a->lease.fd, text, sizeof(text) - 1, 0) > 0 &&
	    sscanf(text, "%llu %36s", &ns, boot) == 2 && gt_streq(boot, a->lease.boot))
		a->lease.heard_ns = GT_MIN(a->lease.heard_ns, (uint64_t)ns);
	return 0;
}

void gt_lease_close(struct agent *a)
{
	gt_timer_clear(a->loop, &a->lease.timer);
	a->lease.fd = gt_close(a->lease.fd);
}
