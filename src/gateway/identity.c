/* identity.c - who this gateway is to the cluster: a key that never leaves its memory, and a
 * certificate of it that control signs, renewed at two thirds of its life. Connections keep what
 * they began with. Shard 0 gets it, all use it. */
#include "calls.h"
#include "cluster.h"
#include "tls.h"

#include <stdlib.h>
#include <string.h>

#include <gantry/http/client.h>
#include <gantry/wire/value.h>

#define RETRY_FIRST_MS 50 /* nodes try again as soon */
#define RETRY_MAX_MS   10000
#define ASK_MS         10000

struct gt_identity {
	struct gt_pki_id is; /* the present certificate's */
	struct gt_buf key;   /* PEM */
	struct gt_buf request;
	struct gt_http_call *call;
	struct gt_timer timer;
	uint64_t retry_ms;
};

static void ask(void *arg);

/* ---- to all shards ---- */

struct letter {
	struct gt_mail mail;
	struct ssl_ctx_st *tls;
};

void gt_identity_use(struct gt_gateway *gw, struct ssl_ctx_st *tls GT_TAKES)
{
	gt_tls_server_free(gw->link_tls);
	gw->link_tls = tls;
	if (!gw->freeing)
		gt_conns_shake(gw);
}

static void open_letter(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct letter *l = GT_CONTAINER(m, struct letter, mail);

	gt_identity_use(gw, l->tls);
	free(l);
}

static void use_everywhere(struct gt_gateway *gw, struct ssl_ctx_st *tls GT_TAKES)
{
	for (unsigned i = 1; gw->shards && i < gw->shards->n; i++) {
		struct letter *l = gt_alloc(sizeof(*l));

		*l = (struct letter){ .mail.fn = open_letter, .tls = gt_tls_server_share(tls) };
		gt_shard_post(gw->shards, i, &l->mail);
	}
	gt_identity_use(gw, tls);
}

/* ---- shard 0 ---- */

/* The wall's clock is looked at again and again: a certificate that was signed while it was wrong
 * is no good as soon as it is right. */
static void look(void *arg)
{
	struct gt_gateway *gw = arg;
	uint64_t wait_ms = gt_pki_wait_ms(&gw->identity->is, gt_wall_ms(gt_loop_clock(gw->loop)));

	if (wait_ms)
		gt_timer_set(gw->loop, &gw->identity->timer, wait_ms, look, gw);
	else
		ask(gw);
}

static void failed(struct gt_gateway *gw, const char *why)
{
	struct gt_identity *id = gw->identity;

	if (!id->retry_ms)
		gt_warn("gateway: no certificate of the cluster: %s", why);
	id->retry_ms = GT_MIN(GT_MAX(2 * id->retry_ms, (uint64_t)RETRY_FIRST_MS),
			      (uint64_t)RETRY_MAX_MS);
	gt_timer_set(gw->loop, &id->timer, id->retry_ms, ask, gw);
}

static int take(struct gt_gateway *gw, const char *body, size_t len, struct gt_err *err)
{
	gt_auto(value) struct gt_value *answer = NULL;
	struct ssl_ctx_st *tls = NULL;
	struct gt_identity *id = gw->identity;
	uint64_t wait_ms;

	if (gt_value_parse(body, len, &answer, err) < 0)
		return -err->code;
	const char *cert = gt_value_str(answer, "certificate", "");
	const char *ca = gt_value_str(answer, "ca", "");

	if (gt_pki_identity_pem(cert, strlen(cert), &id->is, err) < 0 ||
	    gt_tls_link_new(cert, gt_buf_str(&gw->identity->key), ca, &tls, err) < 0)
		return -err->code;
	use_everywhere(gw, tls);
	/* One that is due again by this host's clock is not asked for in a loop. */
	wait_ms = gt_pki_wait_ms(&id->is, gt_wall_ms(gt_loop_clock(gw->loop)));
	gt_timer_set(gw->loop, &id->timer, wait_ms ? wait_ms : GT_PKI_LOOK_MS, look, gw);
	return 0;
}

static void on_done(int status, const char *body, size_t len, const struct gt_err *why, void *arg)
{
	struct gt_gateway *gw = arg;
	struct gt_err err = { 0 };

	gw->identity->call = NULL;
	if (status != 200) {
		if (!why)
			gt_err_set(&err, EPROTO, "unavailable", "control answers %d", status);
		failed(gw, why ? why->text : err.text);
	} else if (take(gw, body, len, &err) < 0) {
		failed(gw, err.text);
	} else {
		gw->identity->retry_ms = 0;
	}
}

static int make_key(struct gt_identity *id, struct gt_err *err)
{
	if (id->key.len)
		return 0;
	int r = gt_pki_key_new(&id->key, err);

	if (r == 0)
		r = gt_pki_request(gt_buf_str(&id->key), &id->request, err);
	if (r < 0)
		gt_buf_wipe(&id->key);
	return r;
}

static void ask(void *arg)
{
	struct gt_gateway *gw = arg;
	struct gt_identity *id = gw->identity;
	gt_auto(free) char *url = gt_asprintf("http://control/link/v1/gateways/%s/certificate",
					      gw->cfg.name);
	struct gt_http_out out = { .method = "POST",
				   .unix_path = gw->cfg.lead_path ? gw->cfg.lead_path
								  : gw->cfg.link_path,
				   .url = url,
				   .content_type = "application/x-pem-file",
				   .timeout_ms = ASK_MS,
				   .on_done = on_done,
				   .arg = gw };
	struct gt_err err = { 0 };

	if (make_key(id, &err) < 0) {
		failed(gw, err.text);
		return;
	}
	out.body = gt_buf_str(&id->request);
	out.body_len = id->request.len;
	if (gt_http_start(gw->http, &out, &id->call, &err) < 0) {
		id->call = NULL;
		failed(gw, err.text);
	}
}

static void want(struct gt_gateway *gw)
{
	if (gw->identity || !gw->http)
		return;
	gw->identity = gt_alloc(sizeof(*gw->identity));
	ask(gw);
}

void gt_identity_want(struct gt_gateway *gw)
{
	if (gw->link_tls || gw->link_wanted)
		return;
	gw->link_wanted = true;
	if (gw->shard == 0)
		want(gw);
	else
		gt_shard_tell(gw, 0, want);
}

void gt_identity_free(struct gt_gateway *gw)
{
	struct gt_identity *id = gt_steal(&gw->identity);

	if (!id)
		return;
	gt_http_cancel(id->call);
	gt_timer_clear(gw->loop, &id->timer);
	gt_buf_wipe(&id->key);
	gt_buf_fini(&id->request);
	free(id);
}
