#include "renew.h"

#include <stdlib.h>
#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>
#include <gantry/wire/json.h>
#include <gantry/wire/value.h>

#include "identity.h"

#define RETRY_FIRST_MS 500
#define RETRY_MOST_MS  60000

struct renewal {
	struct uplink *u;
	struct ask *ask;
	struct gt_timer timer;
	uint64_t retry_ms;
	bool told;
};

static void look(void *arg);

static void failed(struct renewal *r, const struct gt_err *why)
{
	if (!r->told)
		gt_warn("the node's certificate is not renewed yet: %s", why->text);
	r->told = true;
	gt_timer_set(r->u->loop, &r->timer, backoff_ms(&r->retry_ms, RETRY_FIRST_MS, RETRY_MOST_MS),
		     look, r);
}

static void on_answer(int status, const char *body, size_t len, const struct gt_err *err, void *arg)
{
	struct renewal *r = arg;
	gt_auto(value) struct gt_value *v = NULL;
	struct gt_err why = { 0 };
	uint64_t wait_ms;

	r->ask = NULL;
	if (status == 0) {
		failed(r, err);
		return;
	}
	if (status / 100 != 2)
		ask_problem(status, body, len, &why);
	else if (gt_value_parse(body, len, &v, &why) == 0 &&
		 identity_renew(r->u->identity, gt_value_str(v, "certificate", ""), &why) == 0)
		gt_info("the node's certificate was renewed");
	if (why.code) {
		failed(r, &why);
		return;
	}
	r->retry_ms = 0;
	r->told = false;
	/* Not at once where this clock says that it is due again: that differs from the
	 * authority's. */
	wait_ms = gt_pki_wait_ms(&r->u->identity->id, gt_wall_ms(gt_loop_clock(r->u->loop)));
	gt_timer_set(r->u->loop, &r->timer, wait_ms ? wait_ms : GT_PKI_LOOK_MS, look, r);
}

static int begin(struct renewal *r, struct gt_err *err)
{
	const struct identity *i = r->u->identity;
	gt_auto(free) char *path = gt_asprintf("/link/v1/nodes/%s/certificate", r->u->config.node);
	gt_auto(buf) struct gt_buf csr = { 0 };
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json w;

	if (gt_pki_request(i->key.data, &csr, err) < 0)
		return -err->code;
	gt_json_begin(&w, &body);
	gt_json_object(&w, NULL);
	gt_json_str(&w, "csr", gt_buf_str(&csr));
	gt_json_close(&w, '}');
	r->ask = ask_post(r->u, i->ctx, path, &body, on_answer, r);
	return 0;
}

static void look(void *arg)
{
	struct renewal *r = arg;
	uint64_t now_ms = gt_wall_ms(gt_loop_clock(r->u->loop));
	uint64_t wait_ms = gt_pki_wait_ms(&r->u->identity->id, now_ms);
	struct gt_err err = { 0 };

	if (wait_ms)
		gt_timer_set(r->u->loop, &r->timer, wait_ms, look, r);
	else if (begin(r, &err) < 0)
		failed(r, &err);
}

struct renewal *renewal_new(struct uplink *u)
{
	struct renewal *r = gt_alloc(sizeof(*r));

	r->u = u;
	look(r);
	return r;
}

void renewal_free(struct renewal *r)
{
	if (!r)
		return;
	ask_cancel(r->ask);
	gt_timer_clear(r->u->loop, &r->timer);
	free(r);
}
