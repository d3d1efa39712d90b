#include "lead.h"

#include <stdio.h>
#include <utlist.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>
#include <gantry/http/pki.h>
#include <gantry/http/server.h>
#include <gantry/link/link.h>
#include <gantry/store/lease.h>
#include <gantry/wire/leader.h>

#include "state_dir.h"

#define LOOK_MS 500 /* between two looks at the lease, by our own clock */
#define PING_MS 10000
#define CSR_MAX (16 * GT_KIB)

struct listener {
	struct gt_lead *lead;
	struct gt_stream *stream;
	struct listener *prev, *next;
};

struct gt_lead {
	struct gt_lead_config config;
	struct gt_lease *lease;
	struct gt_wake *wake;
	struct gt_timer look, ping;
	struct gt_lease_view view;
	struct gt_http_server *server;
	struct listener *listeners;
	struct gt_pki_ca *authority; /* NULL: not seen yet */
	char place[GT_ULID_LEN + 1];
	bool leads;
};

/* ---- what the daemon's other roles are told ---------------------------------------------------
 */

static void line_write(const struct gt_lead *l, struct gt_buf *line)
{
	const struct gt_lease_view *v = &l->view;
	struct gt_leader w = { .epoch = v->epoch };

	if (v->state == GT_LEASE_LEADS)
		w.state = GT_LEADER_SELF;
	else if (v->state == GT_LEASE_FOLLOWS && !gt_streq(v->holder, l->config.node))
		w.state = GT_LEADER_OTHER; /* else it is the one that was here before this one */
	gt_strcopy(w.own_door, sizeof(w.own_door), l->config.door);
	gt_strcopy(w.before, sizeof(w.before), v->before);
	if (w.state != GT_LEADER_NONE) {
		gt_strcopy(w.node, sizeof(w.node), v->holder);
		gt_strcopy(w.door, sizeof(w.door), v->door);
	}
	gt_leader_write(&w, line);
}

static void listener_close(void *arg)
{
	struct listener *s = arg;

	DL_DELETE(s->lead->listeners, s);
	free(s);
}

static void listener_tell(struct listener *s)
{
	gt_auto(buf) struct gt_buf line = { 0 };

	line_write(s->lead, &line);
	if (gt_stream_write(s->stream, line.data, line.len) == 0)
		return;
	gt_stream_end(s->stream);
	listener_close(s);
}

static void tell(struct gt_lead *l)
{
	struct listener *s, *next;

	DL_FOREACH_SAFE (l->listeners, s, next)
		listener_tell(s);
}

static void ping(void *arg)
{
	struct gt_lead *l = arg;

	tell(l);
	gt_timer_set(l->config.loop, &l->ping, PING_MS, ping, l);
}

static void on_watch(struct gt_request *req, void *app)
{
	struct listener *s = gt_alloc(sizeof(*s));

	s->lead = app;
	s->stream = gt_request_stream(req, 200, "application/x-ndjson");
	gt_stream_on_close(s->stream, listener_close, s);
	DL_APPEND(s->lead->listeners, s);
	listener_tell(s);
}

/* ---- certificates -----------------------------------------------------------------------------
 */

static int authority_open(struct gt_lead *l, struct gt_err *err)
{
	struct gt_buf key = { 0 };
	gt_auto(buf) struct gt_buf cert = { 0 };
	int r = l->authority ? 0 : gt_lease_authority(l->lease, &key, &cert, err);

	if (r == 0 && !l->authority)
		r = gt_pki_ca_open(gt_buf_str(&key), gt_buf_str(&cert), &l->authority, err);
	gt_buf_wipe(&key);
	return r;
}

static void on_certify(struct gt_request *req, void *app)
{
	struct gt_lead *l = app;
	const struct gt_buf *body = gt_request_body(req);
	struct gt_err err = { 0 };

	if (authority_open(l, &err) < 0)
		gt_link_refuse(req, &err, l);
	else
		gt_link_certify(req, l->authority,
				&(struct gt_link_cert){
					.kind = GT_PKI_GATEWAY,
					.name = gt_request_param(req, "gateway"),
					.csr = body->data ? body->data : "",
					.csr_len = body->len,
					.now_ms = gt_wall_ms(&gt_clock_system),
					.life_ms = GT_LINK_GATEWAY_CERT_MS,
				},
				200);
}

static int admit(struct gt_request *req GT_UNUSED, enum gt_role role GT_UNUSED, void *app GT_UNUSED,
		 struct gt_err *err GT_UNUSED)
{
	return 0; /* who could open the socket is a role of this daemon */
}

static const struct gt_http_route routes[] = {
	{ GT_GET, "/link/v1/leader", GT_ROLE_LINK, 0, on_watch, "watchLeader",
	  "which daemon leads" },
	{ GT_POST, "/link/v1/gateways/{gateway}/certificate", GT_ROLE_LINK, CSR_MAX, on_certify,
	  "certifyGateway", "a certificate for a gateway" },
};

static int serve(struct gt_lead *l, struct gt_err *err)
{
	struct gt_http_config http = {
		.listen_fd = l->config.lead_fd,
		.routes = routes,
		.n_routes = GT_LEN(routes),
		.hooks = { .admit = admit, .refuse = gt_link_refuse },
		.app = l,
		.idle_timeout_s = 300,
	};
	int r = gt_http_server_new(l->config.loop, &http, &l->server, err);

	ping(l);
	return r;
}

/* ---- the lease ------------------------------------------------------------------------------ */

static void state_take(struct gt_lead *l)
{
	const struct gt_lead_config *c = &l->config;

	switch (l->view.state) {
	case GT_LEASE_STARTS:
		break;
	case GT_LEASE_LEADS:
		if (l->leads)
			break;
		gt_info("this control leads, epoch %llu", (unsigned long long)l->view.epoch);
		l->leads = true;
		c->begin(c->arg, l->view.epoch);
		break;
	case GT_LEASE_OVER:
		c->over(c->arg, &l->view.why);
		break;
	default:
		c->ready(c->arg);
	}
}

static void look(void *arg)
{
	struct gt_lead *l = arg;
	enum gt_lease_state was = l->view.state;
	uint64_t epoch = l->view.epoch;
	bool other_token = l->view.other_token;

	gt_lease_view(l->lease, &l->view);
	if (l->view.other_token && !other_token)
		gt_warn("node %s leads with another %s than this daemon's: who has the one is "
			"refused while the other's daemon leads. Copy that file from there into "
			"this state directory, and send HUP",
			l->view.holder, GT_TOKEN_FILE);
	if (l->view.state == was && l->view.epoch == epoch) {
		gt_timer_set(l->config.loop, &l->look, LOOK_MS, look, l);
		return;
	}
	if (l->view.state == GT_LEASE_FOLLOWS)
		gt_info("node %s leads, epoch %llu", l->view.holder,
			(unsigned long long)l->view.epoch);
	gt_timer_set(l->config.loop, &l->look, LOOK_MS, look, l);
	if (l->view.state != was)
		state_take(l);
	tell(l);
}

static void ring(void *arg)
{
	gt_wake_ring(arg);
}

static int lead_start(struct gt_lead *l, struct gt_err *err)
{
	char print[GT_SHA256_HEX_SIZE];
	struct gt_lease_config lease = { .url = l->config.url,
					 .holder = l->config.node,
					 .place = l->place,
					 .door = l->config.door,
					 .token_print = print,
					 .lease_ms = l->config.lease_ms,
					 .notify = ring };

	gt_state_token_print(l->config.token_sha256, print);
	gt_ulid(&gt_clock_system, &gt_rand_system, l->place);
	if (gt_wake_new(l->config.loop, look, l, &l->wake, err) < 0)
		return -err->code;
	lease.notify_arg = l->wake;
	if (gt_lease_new(&lease, &l->lease, err) < 0)
		return -err->code;
	gt_timer_set(l->config.loop, &l->look, LOOK_MS, look, l);
	return serve(l, err);
}

int gt_lead_new(const struct gt_lead_config *config, struct gt_lead **ret, struct gt_err *err)
{
	struct gt_lead *l = gt_alloc(sizeof(*l));

	l->config = *config;
	if (lead_start(l, err) < 0) {
		gt_lead_free(l);
		return -err->code;
	}
	*ret = l;
	return 0;
}

void gt_lead_free(struct gt_lead *l)
{
	struct listener *s, *next;

	if (!l)
		return;
	gt_timer_clear(l->config.loop, &l->look);
	gt_timer_clear(l->config.loop, &l->ping);
	DL_FOREACH_SAFE (l->listeners, s, next) {
		gt_stream_end(s->stream);
		listener_close(s);
	}
	gt_http_server_free(l->server);
	gt_lease_free(l->lease);
	gt_wake_free(l->wake);
	gt_pki_ca_free(l->authority);
	free(l);
}
