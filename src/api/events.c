/* api/events.c - the ordered log: pages of it, or history and then what comes. */
#include <string.h>
#include <utlist.h>

#include <gantry/base/units.h>

#include "api_priv.h"

/* Who follows. */
struct gt_follower {
	struct gt_api *api;
	struct gt_stream *stream;
	char function[GT_NAME_MAX + 1]; /* "" = all */
	bool sse;
	struct gt_follower *prev, *next;
};

struct question {
	uint64_t after, limit, tail;
	bool has_after, has_tail, follow;
	const char *function; /* NULL = all */
};

/* ---- following ------------------------------------------------------------------------------ */

static void follower_free(struct gt_follower *f)
{
	DL_DELETE(f->api->followers, f);
	free(f);
}

static void on_close(void *arg)
{
	follower_free(arg);
}

/* False when the follower is gone: it read too slowly. */
static bool follower_write(struct gt_follower *f, const char *data, size_t len)
{
	if (gt_stream_write(f->stream, data, len) == 0)
		return true;
	gt_stream_end(f->stream);
	follower_free(f);
	return false;
}

static bool follower_send(struct gt_follower *f, const struct gt_event *e)
{
	gt_auto(buf) struct gt_buf json = { 0 };
	gt_auto(buf) struct gt_buf frame = { 0 };

	gt_event_write(e, &json);
	gt_api_frame(&frame, f->sse, e->id, gt_buf_str(&json), json.len);
	return follower_write(f, gt_buf_str(&frame), frame.len);
}

void gt_api_followers_event(struct gt_api *api, const struct gt_event *event)
{
	struct gt_follower *f, *tmp;

	DL_FOREACH_SAFE (api->followers, f, tmp)
		if (!f->function[0] || gt_streq(f->function, event->function))
			follower_send(f, event);
}

/* Keeps proxies from closing a quiet stream, and finds out who has left. */
static void on_heartbeat(void *arg)
{
	struct gt_api *api = arg;
	struct gt_follower *f, *tmp;

	DL_FOREACH_SAFE (api->followers, f, tmp)
		follower_write(f, f->sse ? ": alive\n\n" : "\n", f->sse ? 9 : 1);
	if (api->followers)
		gt_timer_set(api->config.loop, &api->heartbeat, GT_HEARTBEAT_MS, on_heartbeat, api);
}

void gt_api_followers_end(struct gt_api *api)
{
	struct gt_follower *f, *tmp;

	DL_FOREACH_SAFE (api->followers, f, tmp) {
		gt_stream_end(f->stream);
		follower_free(f);
	}
	gt_timer_clear(api->config.loop, &api->heartbeat);
}

/* ---- history -------------------------------------------------------------------------------- */

struct page {
	const struct question *q;
	uint64_t skip, n;
	uint64_t last;
	bool more;
	struct gt_json json;
	struct gt_follower *follower; /* NULL = a page */
};

static bool count_one(const struct gt_event *e GT_UNUSED, void *arg)
{
	(*(uint64_t *)arg)++;
	return true;
}

/* How many of the events to leave out so that `tail` are left. */
static int tail_skip(struct gt_api *api, const struct question *q, uint64_t *ret,
		     struct gt_err *err)
{
	uint64_t n = 0;
	int r;

	*ret = 0;
	if (!q->has_tail)
		return 0;
	r = gt_control_events(api->config.control, q->after, q->function, count_one, &n, err);
	if (r == 0 && n > q->tail)
		*ret = n - q->tail;
	return r;
}

static bool add_event(const struct gt_event *e, void *arg)
{
	struct page *p = arg;
	gt_auto(buf) struct gt_buf text = { 0 };

	if (p->skip) {
		p->skip--;
		return true;
	}
	if (p->n == p->q->limit) {
		p->more = true;
		return false;
	}
	p->n++;
	p->last = e->id;
	gt_event_write(e, &text);
	gt_json_raw(&p->json, NULL, gt_buf_str(&text));
	return true;
}

static void reply_page(struct gt_api *api, struct gt_request *req, const struct question *q)
{
	static const char *const keep[] = { "limit", "function", NULL };
	gt_auto(buf) struct gt_buf body = { 0 };
	struct page p = { .q = q };
	struct gt_err err = { 0 };
	char cursor[24];
	int r = tail_skip(api, q, &p.skip, &err);

	gt_json_begin(&p.json, &body);
	gt_json_object(&p.json, NULL);
	gt_json_array(&p.json, "items");
	if (r == 0)
		r = gt_control_events(api->config.control, q->after, q->function, add_event, &p,
				      &err);
	if (r < 0) {
		gt_api_fail(req, &err);
		return;
	}
	gt_json_close(&p.json, ']');
	snprintf(cursor, sizeof(cursor), "%llu", (unsigned long long)p.last);
	gt_json_str(&p.json, "next_cursor", p.more ? cursor : NULL);
	gt_json_close(&p.json, '}');
	if (p.more)
		gt_api_link_next(req, keep, cursor);
	gt_api_reply(req, 200, &body);
}

static bool send_event(const struct gt_event *e, void *arg)
{
	struct page *p = arg;

	if (p->skip) {
		p->skip--;
		return true;
	}
	if (follower_send(p->follower, e))
		return true;
	p->follower = NULL;
	return false;
}

/* History is written before anything can happen, and what happens next comes through
 * gt_api_followers_event: no gap, nothing twice. */
static void follow(struct gt_api *api, struct gt_request *req, const struct question *q)
{
	struct gt_follower *f;
	struct page p = { .q = q };
	struct gt_err err = { 0 };
	bool history = q->has_after || q->has_tail;

	if (history && tail_skip(api, q, &p.skip, &err) < 0) {
		gt_api_fail(req, &err);
		return;
	}
	f = gt_alloc(sizeof(*f));
	f->api = api;
	f->sse = gt_api_accepts(req, GT_MEDIA_SSE);
	if (q->function)
		gt_strcopy(f->function, sizeof(f->function), q->function);
	gt_request_header_set(req, "Cache-Control", "no-store");
	f->stream = gt_request_stream(req, 200, f->sse ? GT_MEDIA_SSE : GT_MEDIA_NDJSON);
	gt_stream_on_close(f->stream, on_close, f);
	DL_APPEND(api->followers, f);
	if (!gt_timer_is_set(&api->heartbeat))
		gt_timer_set(api->config.loop, &api->heartbeat, GT_HEARTBEAT_MS, on_heartbeat, api);
	p.follower = f;
	/* The head goes out at once, also when nothing happens for long. */
	if (!follower_write(f, f->sse ? ": following\n\n" : "\n", f->sse ? 13 : 1) || !history)
		return;
	(void)!gt_control_events(api->config.control, q->after, q->function, send_event, &p, NULL);
}

/* ---- the question --------------------------------------------------------------------------- */

static bool question_read(struct gt_request *req, struct question *q)
{
	const char *last = gt_request_header(req, "Last-Event-ID");
	const char *name = gt_request_query(req, "after") ? "after" : "cursor";

	q->limit = GT_LIST_DEFAULT;
	q->function = gt_request_query(req, "function");
	q->has_after = gt_request_query(req, name) != NULL;
	q->has_tail = gt_request_query(req, "tail") != NULL;
	if (!gt_api_number(req, "limit", 1, GT_LIST_MAX, &q->limit) ||
	    !gt_api_number(req, name, 0, UINT64_MAX, &q->after) ||
	    !gt_api_number(req, "tail", 0, GT_LIST_MAX, &q->tail) ||
	    !gt_api_flag(req, "follow", &q->follow))
		return false;
	/* What a browser's EventSource sends when it reconnects; nonsense is as good as nothing. */
	if (last && gt_parse_u64(last, UINT64_MAX, &q->after) == 0)
		q->has_after = true;
	return true;
}

void gt_api_list_events(struct gt_request *req, void *app)
{
	static const char *const known[] = { "limit",    "after",  "cursor", "tail",
					     "function", "follow", NULL };
	struct question q = { 0 };

	if (!gt_api_query(req, known) || !question_read(req, &q))
		return;
	if (q.follow)
		follow(app, req, &q);
	else
		reply_page(app, req, &q);
}
