/* leader.c - a host whose own control has the cluster's store needs nobody's leave to be of the
 * cluster: that control signs for it, and tells which daemon leads. While it is this one there is
 * no door, and the agent speaks with the control that is here. */
#include "uplink_priv.h"

#include <stdlib.h>
#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>
#include <gantry/http/client.h>
#include <gantry/http/watch.h>
#include <gantry/wire/leader.h>
#include <gantry/wire/value.h>

#include "identity.h"

#define RETRY_FIRST_MS 50
#define RETRY_MOST_MS  2000
#define ASK_MS         5000

struct leader {
	struct uplink *u;
	struct gt_http_client *http;
	struct gt_ndjson_watch *watch;
	struct gt_http_call *call, *telling;
	struct gt_timer timer;
	uint64_t retry_ms;
	struct gt_buf key, csr;
	bool told;
};

static void look(void *arg);

/* ---- who leads ---- */

static void on_line(const char *text, size_t len, void *arg)
{
	struct leader *l = arg;
	struct uplink *u = l->u;
	struct gt_leader now;
	struct gt_err err = { 0 };

	if (gt_leader_read(text, len, &now, &err) < 0) {
		gt_error("a line of control is ignored: %s", err.text);
		return;
	}
	gt_strcopy(u->own_door, sizeof(u->own_door), now.own_door);
	if (now.state == GT_LEADER_NONE || now.epoch < u->epoch)
		return; /* it does not know, or not yet */
	u->epoch = now.epoch;
	links_listen(u->links, now.state == GT_LEADER_OTHER);
	uplink_move(u, now.state == GT_LEADER_OTHER ? now.door : NULL, true);
}

static void on_told(int status, const char *body, size_t len, const struct gt_err *why, void *arg)
{
	struct leader *l = arg;

	(void)body;
	(void)len;
	l->telling = NULL;
	if (status != 204)
		gt_warn("the agent was not told that another daemon leads: %s",
			status ? "it does not know the question" : why->text);
}

/* It is connected to the control that is here: one that hangs ends no connection. An agent that
 * starts finds the leader by itself. */
static void tell_agent(struct leader *l)
{
	struct gt_http_out out = { .method = "POST",
				   .unix_path = l->u->config.agent_path,
				   .url = "http://agent/link/v1/reconnect",
				   .body = "",
				   .timeout_ms = ASK_MS,
				   .on_done = on_told,
				   .arg = l };
	struct gt_err err = { 0 };

	gt_http_cancel(l->telling);
	if (gt_http_start(l->http, &out, &l->telling, &err) < 0)
		on_told(0, NULL, 0, &err, l);
}

void leader_heard(struct uplink *u, uint64_t epoch, const char *url)
{
	if (epoch <= u->epoch)
		return;
	u->epoch = epoch;
	links_listen(u->links, true);
	uplink_move(u, url, true);
	tell_agent(u->leader);
}

static void follow(struct leader *l)
{
	struct gt_ndjson_config config = { .unix_path = l->u->config.lead_path,
					   .url = "http://control/link/v1/leader",
					   .on_line = on_line,
					   .arg = l };
	struct gt_err err = { 0 };

	uplink_connect(l->u);
	if (gt_ndjson_watch_new(l->u->loop, l->http, &config, &l->watch, &err) < 0)
		uplink_fail(l->u, &err);
}

/* ---- who this is ---- */

static void failed(struct leader *l, const char *why)
{
	if (!l->told)
		gt_info("no certificate from control yet: %s", why);
	l->told = true;
	gt_timer_set(l->u->loop, &l->timer, backoff_ms(&l->retry_ms, RETRY_FIRST_MS, RETRY_MOST_MS),
		     look, l);
}

/* Connections keep what they began with. */
static int take(struct leader *l, const char *body, size_t len, struct gt_err *err)
{
	gt_auto(value) struct gt_value *v = NULL;
	struct identity *next = NULL;

	if (gt_value_parse(body, len, &v, err) < 0 ||
	    identity_hold(gt_buf_str(&l->key), gt_value_str(v, "certificate", ""),
			  gt_value_str(v, "ca", ""), &next, err) < 0)
		return -err->code;
	identity_free(l->u->identity);
	l->u->identity = next;
	return 0;
}

static void on_done(int status, const char *body, size_t len, const struct gt_err *why, void *arg)
{
	struct leader *l = arg;
	struct gt_err err = { 0 };

	l->call = NULL;
	if (status == 0)
		failed(l, why->text);
	else if (status != 200)
		failed(l, ask_problem(status, body, len, &err) < 0 ? err.text : "");
	else if (take(l, body, len, &err) < 0)
		failed(l, err.text);
	else {
		if (l->told)
			gt_info("the certificate from control is there");
		l->retry_ms = 0;
		l->told = false;
		if (!l->watch)
			follow(l);
		look(l);
	}
}

static void ask(struct leader *l)
{
	gt_auto(free) char *url = gt_asprintf("http://control/link/v1/gateways/%s/certificate",
					      l->u->config.node);
	struct gt_http_out out = { .method = "POST",
				   .unix_path = l->u->config.lead_path,
				   .url = url,
				   .content_type = "application/x-pem-file",
				   .body = gt_buf_str(&l->csr),
				   .body_len = l->csr.len,
				   .timeout_ms = ASK_MS,
				   .on_done = on_done,
				   .arg = l };
	struct gt_err err = { 0 };

	if (gt_http_start(l->http, &out, &l->call, &err) < 0) {
		l->call = NULL;
		failed(l, err.text);
	}
}

static void look(void *arg)
{
	struct leader *l = arg;
	uint64_t now_ms = gt_wall_ms(gt_loop_clock(l->u->loop));
	uint64_t wait_ms = l->u->identity ? gt_pki_wait_ms(&l->u->identity->id, now_ms) : 0;

	if (wait_ms)
		gt_timer_set(l->u->loop, &l->timer, wait_ms, look, l);
	else
		ask(l);
}

int leader_new(struct uplink *u, struct leader **ret, struct gt_err *err)
{
	struct leader *l = gt_alloc(sizeof(*l));
	int r = gt_pki_key_new(&l->key, err);

	l->u = u;
	if (r == 0)
		r = gt_pki_request(gt_buf_str(&l->key), &l->csr, err);
	if (r == 0)
		r = gt_http_client_new(u->loop, &l->http, err);
	if (r < 0) {
		leader_free(l);
		return r;
	}
	look(l);
	*ret = l;
	return 0;
}

void leader_free(struct leader *l)
{
	if (!l)
		return;
	gt_ndjson_watch_free(l->watch);
	gt_http_cancel(l->call);
	gt_http_cancel(l->telling);
	gt_http_client_free(l->http);
	gt_timer_clear(l->u->loop, &l->timer);
	gt_buf_wipe(&l->key);
	gt_buf_fini(&l->csr);
	free(l);
}
