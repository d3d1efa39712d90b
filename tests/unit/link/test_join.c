/* test_join.c - machines that join, what they may do then, and what nobody may any more. */
#include "world.h"

#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/wire/value.h>

struct machine {
	struct gt_buf key, csr;
};

static void machine_init(struct machine *m)
{
	assert_int_equal(gt_pki_key_new(&m->key, NULL), 0);
	assert_int_equal(gt_pki_request(m->key.data, &m->csr, NULL), 0);
}

static void machine_fini(struct machine *m)
{
	gt_buf_wipe(&m->key);
	gt_buf_fini(&m->csr);
}

static void add_member(struct gt_json *j, const char *name, const char *value)
{
	if (value)
		gt_json_str(j, name, value);
}

static int join_as(struct world *w, const char *sender, const char *token, const char *node,
		   const char *csr, struct gt_buf *answer)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	add_member(&j, "token", token);
	add_member(&j, "node", node);
	add_member(&j, "csr", csr);
	gt_json_close(&j, '}');
	return post_as(w, "/link/v1/join", sender, body.data, body.len, answer);
}

static char *token_new(struct world *w, char out[GT_PKI_TOKEN_SIZE])
{
	assert_int_equal(gt_pki_token_new(gt_pki_ca_pin(w->authority), out, NULL), 0);
	return out;
}

static void join(struct world *w, const char *node, const struct machine *m, struct gt_buf *answer)
{
	char token[GT_PKI_TOKEN_SIZE];

	assert_int_equal(join_as(w, NULL, token_new(w, token), node, m->csr.data, answer), 201);
}

static int renew(struct world *w, const char *node, const char *sender, const struct machine *m,
		 struct gt_buf *answer)
{
	gt_auto(free) char *path = gt_asprintf("/link/v1/nodes/%s/certificate", node);
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "csr", m->csr.data);
	gt_json_close(&j, '}');
	return post_as(w, path, sender, body.data, body.len, answer);
}

/* Whom the certificate of an answer names. */
static struct gt_pki_id identity(const struct gt_buf *answer)
{
	gt_auto(value) struct gt_value *v = NULL;
	struct gt_pki_id id = { 0 };

	assert_int_equal(gt_value_parse(answer->data, answer->len, &v, NULL), 0);
	const char *pem = gt_value_str(v, "certificate", "");

	assert_int_equal(gt_pki_identity_pem(pem, strlen(pem), &id, NULL), 0);
	assert_non_null(strstr(gt_value_str(v, "ca", ""), "BEGIN CERTIFICATE"));
	return id;
}

static void assert_code(const struct gt_buf *answer, const char *code)
{
	gt_auto(value) struct gt_value *v = NULL;

	assert_int_equal(gt_value_parse(answer->data, answer->len, &v, NULL), 0);
	assert_string_equal(gt_value_str(v, "code", ""), code);
}

static void on_deleted(const struct gt_err *err, void *arg)
{
	assert_null(err);
	*(bool *)arg = true;
}

static void node_remove(struct world *w, const char *node)
{
	bool done = false;

	gt_control_node_delete(w->control, node, true, on_deleted, &done);
	step_until(w, done);
}

static void a_join_is_answered_with_a_certificate(void **state)
{
	struct world *w = *state;
	gt_auto(buf) struct gt_buf answer = { 0 };
	struct machine m;

	machine_init(&m);
	join(w, "far", &m, &answer);
	struct gt_pki_id id = identity(&answer);

	assert_int_equal(id.kind, GT_PKI_NODE);
	assert_string_equal(id.name, "far");
	assert_true(id.not_after_ms > w->now_ms + 6 * 86400000ULL);
	assert_true(gt_control_member(w->control, "far", NULL));
	machine_fini(&m);
}

static void refused(struct world *w, const char *token, const char *node, const char *csr,
		    int status, const char *code)
{
	gt_auto(buf) struct gt_buf answer = { 0 };

	assert_int_equal(join_as(w, NULL, token, node, csr, &answer), status);
	assert_code(&answer, code);
	assert_false(gt_control_member(w->control, "far", NULL));
}

static void bad_joins_are_refused(void **state)
{
	struct world *w = *state;
	char token[GT_PKI_TOKEN_SIZE], other[GT_PKI_TOKEN_SIZE];
	struct machine m;

	machine_init(&m);
	token_new(w, token);
	gt_strcopy(other, sizeof(other), token);
	other[GT_PKI_TOKEN_SIZE - 2] = other[GT_PKI_TOKEN_SIZE - 2] == 'A' ? 'B' : 'A';
	refused(w, "gtj_x", "far", m.csr.data, 401, "bad_join_token");
	refused(w, other, "far", m.csr.data, 401, "bad_join_token"); /* another cluster's pin */
	refused(w, NULL, "far", m.csr.data, 400, "bad_parameter");
	refused(w, token, "Far", m.csr.data, 400, "bad_parameter");
	refused(w, token, "far", "nonsense", 400, "bad_certificate");
	refused(w, token, "far", m.key.data, 400, "bad_certificate");
	gt_err_set(&w->member_err, EACCES, "bad_join_token", "no");
	refused(w, token, "far", m.csr.data, 401, "bad_join_token");
	gt_err_set(&w->member_err, EEXIST, "node_exists", "no");
	refused(w, token, "far", m.csr.data, 409, "node_exists");
	machine_fini(&m);
}

/* The token is good when the clock is. */
static void nobody_joins_by_a_clock_that_was_never_set(void **state)
{
	struct world *w = *state;
	gt_auto(buf) struct gt_buf answer = { 0 };
	uint64_t now_ms = w->now_ms;
	char token[GT_PKI_TOKEN_SIZE];
	struct machine m;

	machine_init(&m);
	token_new(w, token);
	w->now_ms = 60000; /* 1970 */
	refused(w, token, "far", m.csr.data, 503, "unavailable");
	w->now_ms = now_ms;
	assert_int_equal(join_as(w, NULL, token, "far", m.csr.data, &answer), 201);
	machine_fini(&m);
}

static void a_member_renews_its_own_certificate_alone(void **state)
{
	struct world *w = *state;
	gt_auto(buf) struct gt_buf answer = { 0 };
	struct machine a, b;

	machine_init(&a);
	machine_init(&b);
	join(w, "a", &a, NULL);
	join(w, "b", &b, NULL);
	w->now_ms += 86400000ULL;
	assert_int_equal(renew(w, "a", "node/a", &a, &answer), 200);
	assert_string_equal(identity(&answer).name, "a");
	assert_true(identity(&answer).not_after_ms > w->now_ms + 6 * 86400000ULL);
	assert_int_equal(renew(w, "b", "node/a", &a, NULL), 403);
	assert_int_equal(renew(w, "c", NULL, &a, NULL), 403); /* no member */
	machine_fini(&a);
	machine_fini(&b);
}

static void who_comes_from_outside_may_do_what_is_its_own(void **state)
{
	static const char *const others[] = { "/link/v1/gateways/g/demand",
					      "/link/v1/gateways/g/calls",
					      "/link/v1/gateways/g/certificate",
					      "/link/v1/nodes/b/report", "/link/v1/join" };
	static const char *const senders[] = { "node/", "node/ab", "gateway/ab", "gateway/",
					       "a",     "",        "node" };
	struct world *w = *state;
	struct machine m;

	machine_init(&m);
	join(w, "a", &m, NULL);
	for (size_t i = 0; i < GT_LEN(others); i++)
		assert_int_equal(post_as(w, others[i], "node/a", "{}", 2, NULL), 403);
	assert_int_equal(post_as(w, "/link/v1/nodes/a/report", "node/a", "{}", 2, NULL), 422);
	for (size_t i = 0; i < GT_LEN(senders); i++)
		assert_int_equal(post_as(w, "/link/v1/nodes/a/report", senders[i], "{}", 2, NULL),
				 senders[i][0] ? 403 : 422);
	/* A daemon that has the store joined nothing, and is let in. */
	assert_int_equal(post_as(w, "/link/v1/nodes/z/report", "gateway/z", "{}", 2, NULL), 422);
	for (size_t i = 0; i < GT_LEN(others); i++)
		assert_int_equal(post_as(w, others[i], "gateway/a", "{}", 2, NULL), 403);
	machine_fini(&m);
}

static void a_gateway_gets_a_certificate_for_a_day(void **state)
{
	struct world *w = *state;
	gt_auto(buf) struct gt_buf answer = { 0 };
	struct machine m;

	machine_init(&m);
	assert_int_equal(post_as(w, "/link/v1/gateways/g1/certificate", NULL, m.csr.data, m.csr.len,
				 &answer),
			 200);
	struct gt_pki_id id = identity(&answer);

	assert_int_equal(id.kind, GT_PKI_GATEWAY);
	assert_string_equal(id.name, "g1");
	assert_true(id.not_after_ms <= w->now_ms + 24 * 3600000ULL);
	assert_int_equal(post_as(w, "/link/v1/gateways/g1/certificate", NULL, "x", 1, NULL), 400);
	machine_fini(&m);
}

/* ---- watches -------------------------------------------------------------------------------- */

struct watch {
	struct gt_http_call *call;
	int status;
	bool done;
	struct gt_buf lines;
};

static void on_head(int status, void *arg)
{
	((struct watch *)arg)->status = status;
}

static void on_data(const char *data, size_t len, void *arg)
{
	gt_buf_add(&((struct watch *)arg)->lines, data, len);
}

static void on_done(int status GT_UNUSED, const char *body GT_UNUSED, size_t len GT_UNUSED,
		    const struct gt_err *err GT_UNUSED, void *arg)
{
	((struct watch *)arg)->done = true;
}

static void watch_start(struct world *w, struct watch *watch, const char *path, const char *sender)
{
	gt_auto(free) char *url = gt_asprintf("http://control%s", path);
	gt_auto(free) char *header = gt_asprintf("Gantry-Peer: %s", sender ? sender : "");
	const char *const headers[] = { header };
	struct gt_http_out out = { .method = "GET",
				   .unix_path = w->path,
				   .url = url,
				   .headers = headers,
				   .n_headers = sender != NULL,
				   .on_head = on_head,
				   .on_data = on_data,
				   .on_done = on_done,
				   .arg = watch };

	*watch = (struct watch){ 0 };
	assert_int_equal(gt_http_start(w->client, &out, &watch->call, NULL), 0);
	step_until(w, watch->status != 0);
}

static void watch_end(struct watch *watch)
{
	if (!watch->done)
		gt_http_cancel(watch->call);
	gt_buf_fini(&watch->lines);
}

static void a_removed_node_is_cut_off_and_refused(void **state)
{
	struct world *w = *state;
	gt_auto(buf) struct gt_buf answer = { 0 };
	struct watch node, other, gateway;
	struct machine m;

	machine_init(&m);
	watch_start(w, &gateway, "/link/v1/gateways/g/routes", NULL);
	step_until(w, gateway.lines.len > 0);
	assert_null(strstr(gateway.lines.data, "\"nodes\""));
	join(w, "far", &m, NULL);
	join(w, "near", &m, NULL);
	step_until(w, strstr(gt_buf_str(&gateway.lines), "\"name\":\"near\"") != NULL);
	watch_start(w, &node, "/link/v1/nodes/far/desired", "node/far");
	watch_start(w, &other, "/link/v1/nodes/near/desired", "node/near");
	assert_int_equal(node.status, 200);
	gt_buf_reset(&gateway.lines);
	node_remove(w, "far");
	step_until(w, node.done);
	step_until(w, strstr(gt_buf_str(&gateway.lines), "\"type\":\"nodes\"") != NULL);
	assert_null(strstr(gateway.lines.data, "far"));
	assert_non_null(strstr(gateway.lines.data, "near"));
	assert_false(other.done);
	assert_int_equal(renew(w, "far", "node/far", &m, &answer), 403);
	assert_code(&answer, "node_removed");
	assert_int_equal(post_as(w, "/link/v1/nodes/far/report", "node/far", "{}", 2, NULL), 403);
	watch_end(&node);
	watch_start(w, &node, "/link/v1/nodes/far/desired", "node/far");
	assert_int_equal(node.status, 403);
	watch_end(&node);
	watch_end(&other);
	watch_end(&gateway);
	machine_fini(&m);
}

static void a_gateway_that_comes_is_told_of_members_first(void **state)
{
	struct world *w = *state;
	struct watch gateway;
	struct machine m;

	machine_init(&m);
	join(w, "far", &m, NULL);
	watch_start(w, &gateway, "/link/v1/gateways/g/routes", NULL);
	step_until(w, gateway.lines.len > 0);
	assert_non_null(strstr(gateway.lines.data, "\"type\":\"snapshot\""));
	assert_non_null(strstr(gateway.lines.data, "\"nodes\":[{\"name\":\"far\",\"since_ms\":"));
	watch_end(&gateway);
	machine_fini(&m);
}

#define t(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(a_join_is_answered_with_a_certificate),
		t(bad_joins_are_refused),
		t(nobody_joins_by_a_clock_that_was_never_set),
		t(a_member_renews_its_own_certificate_alone),
		t(who_comes_from_outside_may_do_what_is_its_own),
		t(a_gateway_gets_a_certificate_for_a_day),
		t(a_removed_node_is_cut_off_and_refused),
		t(a_gateway_that_comes_is_told_of_members_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
