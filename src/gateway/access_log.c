/* access_log.c - the ring, and the thread that empties it. */
#include "access_log.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/base/clock.h>
#include <gantry/base/log.h>
#include <gantry/wire/json.h>

#define BATCH       (64 * GT_KIB)
#define PIPE_CHUNK  4096 /* what poll promises that a pipe takes */
#define STUCK_MS    100
#define COMPLAIN_NS (60 * GT_NS_PER_S)

/* In the ring, on 8 bytes; the texts lie behind it. */
struct record {
	uint32_t size; /* of all of it */
	bool skip;     /* nothing is here: the next record is at the ring's start */
	uint16_t len[GT_ACCESS_TEXTS];
	struct gt_access_facts facts;
};

struct ring {
	char *at;
	_Alignas(64) _Atomic size_t head; /* positions; they only grow */
	size_t told;                      /* head at the last wake-up */
	_Atomic uint64_t dropped;
	_Alignas(64) _Atomic size_t tail;
};

struct gt_access_log {
	struct ring *rings;
	unsigned n;
	size_t size;         /* of each, a power of two */
	_Atomic int next_fd; /* -1 = the present one goes on */
	_Atomic bool stop;
	int wake;
	pthread_t thread;
	/* the writer's own */
	int fd;
	bool regular, torn; /* torn: the file ends inside a line */
	uint64_t dropped_told, complained_ns;
};

/* ---- adding ---- */

static void wake(struct gt_access_log *log)
{
	const uint64_t one = 1;

	(void)!write(log->wake, &one, sizeof(one));
}

void gt_access_log_flush(struct gt_access_log *log, unsigned ring)
{
	struct ring *r = &log->rings[ring];

	r->told = atomic_load_explicit(&r->head, memory_order_relaxed);
	wake(log);
}

void gt_access_log_add(struct gt_access_log *log, unsigned ring,
		       const struct gt_access_facts *facts,
		       const struct gt_access_text texts[GT_ACCESS_TEXTS])
{
	struct ring *to = &log->rings[ring];
	size_t head = atomic_load_explicit(&to->head, memory_order_relaxed), mask = log->size - 1;
	size_t left = log->size - (head & mask), size = sizeof(struct record);

	for (size_t i = 0; i < GT_ACCESS_TEXTS; i++)
		size += texts[i].len;
	size = (size + 7) & ~(size_t)7;
	size_t skip = left < size ? left : 0;

	if (head + skip + size - atomic_load_explicit(&to->tail, memory_order_acquire) >
	    log->size) {
		atomic_fetch_add_explicit(&to->dropped, 1, memory_order_relaxed);
		return;
	}
	if (skip) {
		struct record *gap = (void *)(to->at + (head & mask));

		gap->size = (uint32_t)skip;
		gap->skip = true;
		head += skip;
	}
	struct record *r = (void *)(to->at + (head & mask));
	char *at = (char *)(r + 1);

	*r = (struct record){ .size = (uint32_t)size, .facts = *facts };
	for (size_t i = 0; i < GT_ACCESS_TEXTS; i++) {
		r->len[i] = texts[i].len;
		if (texts[i].len)
			memcpy(at, texts[i].at, texts[i].len);
		at += texts[i].len;
	}
	atomic_store_explicit(&to->head, head + size, memory_order_release);
	if (head + size - to->told > log->size / 8)
		gt_access_log_flush(log, ring);
}

uint64_t gt_access_log_dropped(struct gt_access_log *log, unsigned ring)
{
	return atomic_load_explicit(&log->rings[ring].dropped, memory_order_relaxed);
}

void gt_access_log_file(struct gt_access_log *log, int fd GT_TAKES)
{
	gt_close(atomic_exchange(&log->next_fd, fd));
	wake(log);
}

/* ---- lines ---- */

static void add_text(struct gt_json *j, const char *name, const char *at, size_t len)
{
	if (len)
		gt_json_strn(j, name, at, len);
}

static void add_line(const struct record *r, struct gt_buf *out)
{
	static const char *const names[GT_ACCESS_TEXTS] = {
		"function", "method",     "path",     "refused",
		"replica",  "request_id", "trace_id", "peer",
	};
	const struct gt_access_facts *f = &r->facts;
	const char *at = (const char *)(r + 1);
	char time[GT_TIME_TEXT], token[17];
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	gt_time_text(f->time_ms, time);
	gt_json_str(&j, "time", time);
	for (size_t i = 0; i < GT_ACCESS_TEXTS; at += r->len[i++])
		add_text(&j, names[i], at, r->len[i]);
	if (f->status)
		gt_json_u64(&j, "status", f->status);
	if (f->cut)
		gt_json_bool(&j, "cut", true);
	gt_json_u64(&j, "bytes_in", f->bytes_in);
	gt_json_u64(&j, "bytes_out", f->bytes_out);
	gt_json_num(&j, "wait_ms", (double)f->wait_us / 1e3);
	gt_json_num(&j, "total_ms", (double)f->total_us / 1e3);
	if (f->revision)
		gt_json_u64(&j, "revision", f->revision);
	if (f->token) {
		snprintf(token, sizeof(token), "%016llx", (unsigned long long)f->token);
		gt_json_str(&j, "token", token);
	}
	gt_json_close(&j, '}');
	gt_buf_addc(out, '\n');
}

static void add_dropped(struct gt_access_log *log, struct gt_buf *out)
{
	uint64_t dropped = 0;
	char time[GT_TIME_TEXT];

	for (unsigned i = 0; i < log->n; i++)
		dropped += gt_access_log_dropped(log, i);
	if (dropped == log->dropped_told)
		return;
	gt_time_text(gt_wall_ms(&gt_clock_system), time);
	gt_buf_addf(out, "{\"time\":\"%s\",\"dropped\":%llu}\n", time,
		    (unsigned long long)(dropped - log->dropped_told));
	log->dropped_told = dropped;
}

/* ---- the writer ---- */

/* Of the file; false when it is broken, or nobody reads and we are to end. */
static bool wait_for_room(struct gt_access_log *log)
{
	struct pollfd p = { .fd = log->fd, .events = POLLOUT };
	int r;

	while ((r = poll(&p, 1, STUCK_MS)) == 0)
		if (atomic_load(&log->stop))
			return false;
	return r > 0 || errno == EINTR;
}

static void complain(struct gt_access_log *log, const char *why)
{
	uint64_t now_ns = gt_mono_ns(&gt_clock_system);

	if (log->complained_ns && now_ns - log->complained_ns < COMPLAIN_NS)
		return;
	log->complained_ns = now_ns;
	gt_error("gateway: the access log can not be written, lines are lost: %s", why);
}

static void write_batch(struct gt_access_log *log, struct gt_buf *batch)
{
	size_t at = 0;

	if (log->torn && wait_for_room(log) && write(log->fd, "\n", 1) == 1)
		log->torn = false;
	while (at < batch->len && wait_for_room(log)) {
		size_t most = log->regular ? batch->len - at
					   : GT_MIN(batch->len - at, (size_t)PIPE_CHUNK);
		ssize_t n = write(log->fd, batch->data + at, most);

		if (n < 0 && errno != EINTR && errno != EAGAIN) {
			complain(log, strerror(errno));
			break;
		}
		at += n > 0 ? (size_t)n : 0;
	}
	for (size_t i = at; i < batch->len; i++)
		if (batch->data[i] == '\n')
			atomic_fetch_add_explicit(&log->rings[0].dropped, 1, memory_order_relaxed);
	if (at)
		log->torn = batch->data[at - 1] != '\n';
	gt_buf_reset(batch);
}

static void use_file(struct gt_access_log *log, int fd GT_TAKES)
{
	struct stat st;

	gt_close(log->fd);
	log->fd = fd;
	log->torn = false;
	log->regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static const struct record *next_record(const struct ring *ring, size_t mask, size_t *tail)
{
	size_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
	const struct record *r = (void *)(ring->at + (*tail & mask));

	if (*tail != head && r->skip) {
		*tail += r->size;
		r = (void *)ring->at;
	}
	return *tail == head ? NULL : r;
}

static void empty_ring(struct gt_access_log *log, struct ring *ring, struct gt_buf *batch)
{
	size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	const struct record *r;

	while ((r = next_record(ring, log->size - 1, &tail))) {
		add_line(r, batch);
		tail += r->size;
		atomic_store_explicit(&ring->tail, tail, memory_order_release);
		if (batch->len >= BATCH)
			write_batch(log, batch);
	}
}

static void empty_rings(struct gt_access_log *log, struct gt_buf *batch)
{
	for (unsigned i = 0; i < log->n; i++)
		empty_ring(log, &log->rings[i], batch);
	add_dropped(log, batch);
	if (batch->len)
		write_batch(log, batch);
}

static void *writer(void *arg)
{
	struct gt_access_log *log = arg;
	gt_auto(buf) struct gt_buf batch = { 0 };
	bool stop = false;
	uint64_t rings;

	while (!stop) {
		(void)!read(log->wake, &rings, sizeof(rings));
		stop = atomic_load(&log->stop);
		int fd = atomic_exchange(&log->next_fd, -1);

		empty_rings(log, &batch);
		if (fd >= 0)
			use_file(log, fd);
	}
	return NULL;
}

/* ---- start and end ---- */

static void rings_new(struct gt_access_log *log, unsigned n)
{
	log->rings = aligned_alloc(_Alignof(struct ring), n * sizeof(*log->rings));
	if (!log->rings)
		gt_out_of_memory();
	memset(log->rings, 0, n * sizeof(*log->rings));
	log->n = n;
	for (log->size = GT_ACCESS_RING; log->size > GT_ACCESS_RING_MIN && n > 1; n = (n + 1) / 2)
		log->size /= 2;
	for (unsigned i = 0; i < log->n; i++)
		log->rings[i].at = gt_alloc(log->size);
}

static void rings_free(struct gt_access_log *log)
{
	for (unsigned i = 0; i < log->n; i++)
		free(log->rings[i].at);
	free(log->rings);
}

int gt_access_log_new(int fd GT_TAKES, unsigned rings, struct gt_access_log **ret,
		      struct gt_err *err)
{
	struct gt_access_log *log = gt_alloc(sizeof(*log));
	sigset_t all, was;

	rings_new(log, rings);
	log->fd = -1;
	use_file(log, fd);
	atomic_init(&log->next_fd, -1);
	log->wake = eventfd(0, EFD_CLOEXEC);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	int r = log->wake < 0 ? errno : pthread_create(&log->thread, NULL, writer, log);

	pthread_sigmask(SIG_SETMASK, &was, NULL);
	if (r != 0) {
		gt_close(log->wake);
		gt_close(log->fd);
		rings_free(log);
		free(log);
		return gt_err_errno(err, r, "access log");
	}
	*ret = log;
	return 0;
}

void gt_access_log_free(struct gt_access_log *log)
{
	if (!log)
		return;
	atomic_store(&log->stop, true);
	wake(log);
	pthread_join(log->thread, NULL);
	gt_close(atomic_load(&log->next_fd));
	gt_close(log->wake);
	gt_close(log->fd);
	rings_free(log);
	free(log);
}
