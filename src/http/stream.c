/* http/stream.c - an answer whose bytes come over time: a bounded queue between the application
 * and libmicrohttpd, which takes from it whenever the client reads. */
#include "server_priv.h"

void gt_stream_limit(struct gt_stream *s, size_t max_queued)
{
	s->max_queued = max_queued;
	s->queue.max = 2 * max_queued; /* what was sent may still lie in front */
}

void gt_stream_on_close(struct gt_stream *s, void (*fn)(void *arg), void *arg)
{
	s->on_close = fn;
	s->on_close_arg = arg;
}

size_t gt_stream_queued(const struct gt_stream *s)
{
	return s->queue.len - s->sent;
}

#define KEPT_MAX (64 * GT_KIB) /* memory that an empty queue holds on to */

void gt_stream_settle(struct gt_stream *s)
{
	if (s->sent == s->queue.len && s->queue.cap > KEPT_MAX) {
		gt_buf_fini(&s->queue);
		s->sent = 0;
	} else if (s->sent >= s->queue.len / 2) {
		/* Moving the rest to the front only when it is the smaller part: linear in all. */
		gt_buf_consume(&s->queue, s->sent);
		s->sent = 0;
	}
}

int gt_stream_write(struct gt_stream *s, const char *data, size_t len)
{
	if (s->ended || s->broken)
		return -EPIPE;
	if (len > s->max_queued - gt_stream_queued(s) || gt_buf_add(&s->queue, data, len) < 0) {
		s->broken = true;
		return -ENOBUFS;
	}
	gt_request_resume(s->req);
	return 0;
}

void gt_stream_end(struct gt_stream *s)
{
	s->on_close = NULL;
	s->ended = true;
	gt_request_resume(s->req);
}

void gt_stream_hung_up(struct gt_stream *s)
{
	void (*fn)(void *) = s->on_close;

	s->broken = true;
	s->on_close = NULL;
	if (fn)
		fn(s->on_close_arg);
}

void gt_stream_free(struct gt_stream *s)
{
	if (!s)
		return;
	gt_buf_fini(&s->queue);
	free(s);
}
