/* api/poll.c - GET of a function that waits for a state. Looked at after each event of control, and
 * once a second in case a state changed without one. */
#include <utlist.h>

#include "api_priv.h"

#define LOOK_MS 1000

struct gt_poll {
	struct gt_api *api;
	struct gt_request *req;
	char function[GT_NAME_MAX + 1];
	enum gt_function_state until;
	bool effective;
	struct gt_timer expiry;
	struct gt_poll *prev, *next;
};

static void poll_free(struct gt_poll *p)
{
	DL_DELETE(p->api->polls, p);
	gt_timer_clear(p->api->config.loop, &p->expiry);
	free(p);
}

static void poll_fail(struct gt_poll *p, const struct gt_err *err)
{
	gt_request_on_gone(p->req, NULL, NULL);
	gt_api_fail(p->req, err);
	poll_free(p);
}

static void poll_answer(struct gt_poll *p, const struct gt_function_view *v, bool reached)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_view_function(&j, v, p->effective, &reached);
	gt_view_etag_header(p->req, v->row->etag);
	gt_request_on_gone(p->req, NULL, NULL);
	gt_api_reply(p->req, 200, &body);
	poll_free(p);
}

static void poll_look(struct gt_poll *p, bool expired)
{
	struct gt_function_view v;
	struct gt_err err = { 0 };

	if (gt_control_function(p->api->config.control, p->function, &v, &err) < 0)
		poll_fail(p, &err);
	else if (v.state == p->until || expired)
		poll_answer(p, &v, v.state == p->until);
}

static void on_expiry(void *arg)
{
	poll_look(arg, true);
}

static void on_gone(void *arg)
{
	struct gt_err err = { 0 };

	gt_err_set(&err, ECANCELED, "unavailable", "the client left");
	poll_fail(arg, &err);
}

static void on_look(void *arg)
{
	struct gt_api *api = arg;
	struct gt_poll *p, *tmp;

	DL_FOREACH_SAFE (api->polls, p, tmp)
		poll_look(p, false);
	if (api->polls)
		gt_timer_set(api->config.loop, &api->poll_timer, LOOK_MS, on_look, api);
}

void gt_api_poll_start(struct gt_api *api, struct gt_request *req, const char *function,
		       enum gt_function_state until, uint64_t wait_ms, bool effective)
{
	struct gt_poll *p = gt_alloc(sizeof(*p));

	p->api = api;
	p->req = req;
	p->until = until;
	p->effective = effective;
	gt_strcopy(p->function, sizeof(p->function), function);
	DL_APPEND(api->polls, p);
	gt_request_on_gone(req, on_gone, p);
	gt_timer_set(api->config.loop, &p->expiry, wait_ms, on_expiry, p);
	gt_timer_set(api->config.loop, &api->poll_timer, LOOK_MS, on_look, api);
	poll_look(p, wait_ms == 0);
}

/* Control is in the middle of a change: look when it has finished. */
void gt_api_poll_event(struct gt_api *api)
{
	if (api->polls)
		gt_timer_set(api->config.loop, &api->poll_timer, 0, on_look, api);
}

void gt_api_polls_end(struct gt_api *api)
{
	struct gt_poll *p, *tmp;
	struct gt_err err = { 0 };

	gt_err_set(&err, ESHUTDOWN, "unavailable", "the daemon stops");
	DL_FOREACH_SAFE (api->polls, p, tmp)
		poll_fail(p, &err);
	gt_timer_clear(api->config.loop, &api->poll_timer);
}
