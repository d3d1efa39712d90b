/* sink.c - a ring of buffers between the thread that decompresses and the one that writes. */
#include "sink.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define BUF_BYTES (256 * 1024)
#define BUFS      4

struct gt_sink {
	int fd;
	struct gt_sha256 *sha; /* the thread's while it runs */
	uint8_t *data;         /* BUFS buffers in a row */
	size_t filled;         /* of the caller's buffer */
	bool started;          /* what fits into one buffer needs no thread */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	/* Under the lock: buffers handed over and done since the beginning. */
	uint64_t handed, done;
	bool end;
	int failed; /* errno of the first write that failed */
};

int gt_image_write_error(struct gt_err *err, int code, const char *what)
{
	if (code == ENOSPC || code == EDQUOT)
		return gt_err_set(err, code, "storage_full", "%s: the disk is full", what);
	return gt_err_errno(err, code, "%s", what);
}

struct gt_sink *gt_sink_new(int fd)
{
	struct gt_sink *s = gt_alloc(sizeof(*s));

	s->fd = fd;
	s->sha = gt_sha256_new();
	s->data = gt_alloc(BUFS * BUF_BYTES);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->moved, NULL);
	return s;
}

static int put(struct gt_sink *s, const uint8_t *p, size_t len)
{
	gt_sha256_add(s->sha, p, len);
	while (len > 0) {
		ssize_t n = write(s->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static uint8_t *buffer(const struct gt_sink *s, uint64_t number)
{
	return s->data + number % BUFS * BUF_BYTES;
}

static void *work(void *arg)
{
	struct gt_sink *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		while (s->done == s->handed && !s->end)
			pthread_cond_wait(&s->moved, &s->lock);
		if (s->done == s->handed || s->failed)
			break;
		const uint8_t *p = buffer(s, s->done);

		pthread_mutex_unlock(&s->lock);
		int failed = put(s, p, BUF_BYTES);

		pthread_mutex_lock(&s->lock);
		s->failed = failed;
		s->done++;
		pthread_cond_signal(&s->moved);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* Signals are for the threads that know of them. */
static int start(struct gt_sink *s)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&s->thread, NULL, work, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	s->started = r == 0;
	return r;
}

/* Waits for the thread, after which everything here is the caller's. */
static void stop(struct gt_sink *s)
{
	if (!s->started)
		return;
	pthread_mutex_lock(&s->lock);
	s->end = true;
	pthread_cond_signal(&s->moved);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	s->started = false;
}

int gt_sink_room(struct gt_sink *s, uint8_t **ret, size_t *room, struct gt_err *err)
{
	int failed = 0;

	if (s->filled == BUF_BYTES) {
		if (!s->started && (failed = start(s)) != 0)
			return gt_err_errno(err, failed, "a thread to write a layer");
		pthread_mutex_lock(&s->lock);
		s->handed++;
		pthread_cond_signal(&s->moved);
		while (s->handed - s->done == BUFS && !s->failed)
			pthread_cond_wait(&s->moved, &s->lock);
		failed = s->failed;
		pthread_mutex_unlock(&s->lock);
		s->filled = 0;
	}
	if (failed)
		return gt_image_write_error(err, failed, "layer");
	*ret = buffer(s, s->handed) + s->filled;
	*room = BUF_BYTES - s->filled;
	return 0;
}

void gt_sink_commit(struct gt_sink *s, size_t len)
{
	s->filled += len;
}

int gt_sink_finish(struct gt_sink *s, char hex[GT_SHA256_HEX_SIZE], struct gt_err *err)
{
	stop(s);
	if (!s->failed && s->filled)
		s->failed = put(s, buffer(s, s->handed), s->filled);
	if (s->failed)
		return gt_image_write_error(err, s->failed, "layer");
	gt_sha256_end(gt_steal(&s->sha), hex);
	return 0;
}

void gt_sink_free(struct gt_sink *s)
{
	if (!s)
		return;
	stop(s);
	gt_sha256_free(s->sha);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->moved);
	free(s->data);
	free(s);
}
