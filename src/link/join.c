/* join.c - machines that join, and certificates: for nodes and gateways, from the cluster's own
 * authority. */
#include <stdlib.h>
#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/http/digest.h>
#include <gantry/http/pki.h>

#include "link_priv.h"

void gt_link_certify(struct gt_request *req, const struct gt_pki_ca *authority,
		     const struct gt_link_cert *of, int status)
{
	gt_auto(buf) struct gt_buf cert = { 0 }, body = { 0 };
	struct gt_err err = { 0 };
	struct gt_json j;

	if (gt_pki_sign(authority, of->csr, of->csr_len, of->kind, of->name, of->now_ms,
			of->life_ms, &cert, &err) < 0) {
		gt_link_refuse(req, &err, NULL);
		return;
	}
	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "certificate", cert.data);
	gt_json_str(&j, "ca", gt_pki_ca_pem(authority));
	gt_json_str(&j, gt_pki_kind_names[of->kind], of->name);
	gt_json_close(&j, '}');
	gt_request_reply(req, status, "application/json", &body);
}

static void certify(struct gt_link *link, struct gt_request *req, int status, enum gt_pki_kind kind,
		    const char *name, const char *csr, size_t len)
{
	const struct gt_link_config *c = &link->config;

	gt_link_certify(req, c->authority,
			&(struct gt_link_cert){
				.kind = kind,
				.name = name,
				.csr = csr,
				.csr_len = len,
				.now_ms = gt_wall_ms(&c->clock),
				.life_ms = kind == GT_PKI_NODE ? c->node_certificate_ms
							       : GT_LINK_GATEWAY_CERT_MS,
			},
			status);
}

static bool no_authority(struct gt_link *link, struct gt_request *req)
{
	struct gt_err err = { 0 };

	if (link->config.authority)
		return false;
	gt_err_set(&err, ENOTSUP, "unavailable", "this control has no authority for certificates");
	gt_link_refuse(req, &err, link);
	return true;
}

/* ---- joining -------------------------------------------------------------------------------- */

static void on_joined(struct gt_member_op *op, const struct gt_err *err, void *arg)
{
	struct gt_link_owed *w = arg;
	struct gt_link *link = w->link;
	struct gt_request *req = w->req;
	gt_auto(free) char *csr = gt_steal(&w->csr);

	gt_link_owed_free(w);
	if (req && err)
		gt_link_refuse(req, err, link);
	else if (req)
		certify(link, req, 201, GT_PKI_NODE, op->member.node, csr, strlen(csr));
	gt_member_op_free(op);
}

/* What can be refused without asking the store. The request's key is what a second try of the same
 * machine is known by. */
static int check(const struct gt_link *link, const struct gt_join *join, struct gt_member_op *op,
		 struct gt_err *err)
{
	char pin[GT_PKI_PIN_SIZE], key[GT_PKI_PIN_SIZE];

	if (gt_pki_token_pin(join->token, pin, NULL) < 0 ||
	    !gt_streq(pin, gt_pki_ca_pin(link->config.authority)))
		return gt_join_refuse(err);
	if (gt_pki_request_pin(join->csr, strlen(join->csr), key, err) < 0)
		return gt_err_path(err, "csr");
	gt_sha256_hex(join->token, strlen(join->token), op->token.digest);
	gt_sha256_hex(key, strlen(key), op->key);
	gt_strcopy(op->member.node, sizeof(op->member.node), join->node);
	return 0;
}

/* What it signs then would be over for good as soon as the clock is right. */
static int check_clock(const struct gt_link *link, struct gt_err *err)
{
	uint64_t now_ms = gt_wall_ms(&link->config.clock);
	char text[GT_TIME_TEXT];

	if (now_ms >= GT_PKI_LEAST_MS)
		return 0;
	gt_time_text(now_ms, text);
	return gt_err_set(err, EAGAIN, "unavailable",
			  "the clock of the machine with control says %s: set it, and join then",
			  text);
}

void gt_link_post_join(struct gt_request *req, void *app)
{
	struct gt_link *link = app;
	const struct gt_buf *body = gt_request_body(req);
	gt_auto(member_op) struct gt_member_op *op = gt_member_op_new(GT_MEMBER_JOIN);
	struct gt_join join = { 0 };
	struct gt_err err = { 0 };
	struct gt_link_owed *w;

	if (no_authority(link, req))
		return;
	int r = check_clock(link, &err);

	if (r == 0)
		r = gt_join_read(body->data ? body->data : "", body->len, &join, &err);
	if (r == 0)
		r = check(link, &join, op, &err);
	if (r == 0) {
		w = gt_link_owe(link, req);
		w->csr = gt_steal(&join.csr);
		r = gt_control_member_do(link->config.control, op, on_joined, w, &err);
		if (r == 0)
			op = NULL; /* the store's, or done already */
		else
			gt_link_owed_free(w);
	}
	if (r < 0)
		gt_link_refuse(req, &err, link);
	gt_join_fini(&join);
}

/* ---- certificates --------------------------------------------------------------------------- */

int gt_link_check_member(struct gt_link *link, const char *node, struct gt_err *err)
{
	if (gt_control_member(link->config.control, node, NULL))
		return 0;
	return gt_err_set(err, EACCES, "node_removed",
			  "%.80s is no node of this cluster, or none any more: it has to join",
			  node);
}

void gt_link_certify_node(struct gt_request *req, void *app)
{
	struct gt_link *link = app;
	const struct gt_buf *body = gt_request_body(req);
	const char *node = gt_request_param(req, "node");
	struct gt_join renew = { 0 };
	struct gt_err err = { 0 };

	if (no_authority(link, req))
		return;
	if (gt_link_check_member(link, node, &err) < 0 ||
	    gt_renew_read(body->data ? body->data : "", body->len, &renew, &err) < 0)
		gt_link_refuse(req, &err, link);
	else
		certify(link, req, 200, GT_PKI_NODE, node, renew.csr, strlen(renew.csr));
	gt_join_fini(&renew);
}

void gt_link_certify_gateway(struct gt_request *req, void *app)
{
	struct gt_link *link = app;
	const struct gt_buf *body = gt_request_body(req);

	if (!no_authority(link, req))
		certify(link, req, 200, GT_PKI_GATEWAY, gt_request_param(req, "gateway"),
			body->data ? body->data : "", body->len);
}
