/* join.c - a token becomes an identity. Tried until somebody answers. */
#include "join.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>
#include <gantry/http/digest.h>
#include <gantry/wire/json.h>
#include <gantry/wire/value.h>

#include "identity.h"
#include "tls.h"

#define RETRY_FIRST_MS 50
#define RETRY_MOST_MS  2000

struct join {
	struct uplink *u;
	struct gt_uplink_joined joined; /* what will be in the file */
	char pin[GT_PKI_PIN_SIZE];
	struct gt_buf body;
	struct ssl_ctx_st *ctx;
	struct ask *ask;
	struct gt_timer retry;
	uint64_t retry_ms;
	bool told, told_over; /* that nobody answers; that a certificate is over */
	join_fn *fn;
};

static void try_now(struct join *j);

static void on_retry(void *arg)
{
	try_now(arg);
}

static void again(struct join *j, const struct gt_err *why)
{
	bool *told = why->code == EKEYEXPIRED ? &j->told_over : &j->told;

	if (!*told)
		gt_warn("the cluster at %s can not be joined yet, and is tried again: %s",
			j->joined.url, why->text);
	*told = true;
	gt_timer_set(j->u->loop, &j->retry, backoff_ms(&j->retry_ms, RETRY_FIRST_MS, RETRY_MOST_MS),
		     on_retry, j);
}

static void refuse(struct join *j, struct gt_err *why)
{
	gt_err_wrap(why, "join %s as %s", j->joined.url, j->joined.node);
	uplink_fail(j->u, why);
}

static int take(struct join *j, const char *body, size_t len, struct gt_err *err)
{
	gt_auto(value) struct gt_value *v = NULL;

	if (gt_value_parse(body, len, &v, err) < 0)
		return -err->code;
	return identity_joined(j->u->config.dir, &j->joined, gt_value_str(v, "certificate", ""),
			       gt_value_str(v, "ca", ""), err);
}

static void on_answer(int status, const char *body, size_t len, const struct gt_err *err, void *arg)
{
	struct join *j = arg;
	struct gt_err why = { 0 };

	j->ask = NULL;
	if (status == 0) {
		why = *err;
		if (why.code == EACCES)
			refuse(j, &why);
		else
			again(j, &why);
		return;
	}
	if (status / 100 == 2) {
		if (take(j, body, len, &why) < 0)
			refuse(j, &why);
		else
			j->fn(j->u);
		return;
	}
	if (ask_problem(status, body, len, &why) == -EAGAIN || status == 429)
		again(j, &why);
	else
		refuse(j, &why);
}

static void try_now(struct join *j)
{
	j->ask = ask_post(j->u, j->ctx, "/link/v1/join", &j->body, on_answer, j);
}

static int make_body(struct join *j, struct gt_err *err)
{
	struct gt_buf key = { 0 };
	gt_auto(buf) struct gt_buf csr = { 0 };
	struct gt_json w;
	int r = identity_key(j->u->config.dir, &key, err);

	if (r == 0)
		r = gt_pki_request(gt_buf_str(&key), &csr, err);
	gt_buf_wipe(&key);
	if (r < 0)
		return r;
	gt_buf_init(&j->body, 0);
	gt_json_begin(&w, &j->body);
	gt_json_object(&w, NULL);
	gt_json_str(&w, "token", j->u->config.token);
	gt_json_str(&w, "node", j->joined.node);
	gt_json_str(&w, "csr", gt_buf_str(&csr));
	gt_json_close(&w, '}');
	return 0;
}

int join_new(struct uplink *u, join_fn *fn, struct join **ret, struct gt_err *err)
{
	struct join *j = gt_alloc(sizeof(*j));
	const struct gt_uplink_config *c = &u->config;
	int r = gt_pki_token_pin(c->token, j->pin, err);

	j->u = u;
	j->fn = fn;
	gt_strcopy(j->joined.url, sizeof(j->joined.url), c->url);
	gt_strcopy(j->joined.node, sizeof(j->joined.node), c->node);
	gt_strcopy(j->joined.ca_pin, sizeof(j->joined.ca_pin), j->pin);
	gt_sha256_hex(c->token, strlen(c->token), j->joined.token_sha256);
	if (r == 0)
		r = make_body(j, err);
	if (r == 0)
		r = tls_stranger(j->pin, &j->ctx, err);
	if (r < 0) {
		join_free(j);
		return r;
	}
	gt_info("joining the cluster at %s as %s", c->url, c->node);
	try_now(j);
	*ret = j;
	return 0;
}

void join_free(struct join *j)
{
	if (!j)
		return;
	ask_cancel(j->ask);
	gt_timer_clear(j->u->loop, &j->retry);
	gt_buf_wipe(&j->body);
	tls_free(j->ctx);
	free(j);
}
