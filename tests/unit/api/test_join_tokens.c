/* Join tokens and nodes that joined, as an operator sees them. */
#include "fixture.h"

#define JSON "Content-Type: application/json\r\n"

static void a_token_is_shown_once(void **state)
{
	struct world *w = *state;
	char pin[GT_PKI_PIN_SIZE], id[32];
	struct answer a;

	ask(w, "POST", "/v1/nodes/tokens", JSON, "{\"ttl\":\"2m\",\"node\":\"far\"}", &a);
	assert_int_equal(a.status, 201);
	assert_true(header_has(&a, "Cache-Control: no-store"));
	assert_int_equal(gt_pki_token_pin(str(&a, "token"), pin, NULL), 0);
	assert_string_equal(pin, gt_pki_ca_pin(w->authority));
	assert_string_equal(str(&a, "node"), "far");
	assert_string_equal(str(&a, "state"), "open");
	assert_null(strstr(w->join_token.digest, str(&a, "token")));
	assert_int_equal(w->join_token.expires_ms - w->join_token.created_ms, 120000);
	gt_strcopy(id, sizeof(id), str(&a, "id"));
	answer_fini(&a);
	ask(w, "GET", "/v1/nodes/tokens", NULL, NULL, &a);
	assert_int_equal(a.status, 200);
	assert_string_equal(str(&a, "items[0].id"), id);
	assert_null(strstr(a.body, "gtj_"));
	assert_null(strstr(a.body, w->join_token.digest));
	answer_fini(&a);
	gt_auto(free) char *path = gt_asprintf("/v1/nodes/tokens/%s", id);

	ask(w, "DELETE", path, NULL, NULL, &a);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	refused(w, "DELETE", path, NULL, NULL, 404, "not_found");
}

static void a_token_needs_no_body(void **state)
{
	struct world *w = *state;
	struct answer a;

	ask(w, "POST", "/v1/nodes/tokens", NULL, NULL, &a);
	assert_int_equal(a.status, 201);
	assert_string_equal(str(&a, "node"), "(absent)");
	assert_int_equal(w->join_token.expires_ms - w->join_token.created_ms, GT_JOIN_TTL_MS);
	answer_fini(&a);
}

static void bad_asks_are_refused_by_name(void **state)
{
	static const char path[] = "/v1/nodes/tokens";
	struct world *w = *state;

	refused(w, "POST", path, JSON, "{\"ttl\":\"8d\"}", 400, "bad_parameter");
	refused(w, "POST", path, JSON, "{\"ttl\":5}", 400, "bad_parameter");
	refused(w, "POST", path, JSON, "{\"node\":\"A\"}", 400, "bad_parameter");
	refused(w, "POST", path, JSON, "{\"nodes\":\"a\"}", 400, "bad_parameter");
	refused(w, "POST", path, JSON, "{", 400, "malformed_json");
	refused(w, "POST", path, "Content-Type: text/plain\r\n", "{}", 415,
		"unsupported_media_type");
	refused(w, "POST", path, "Authorization: Bearer no\r\n", NULL, 401, "unauthorized");
	refused(w, "GET", path, "Authorization: Bearer no\r\n", NULL, 401, "unauthorized");
	w->storage_full = true;
	refused(w, "POST", path, NULL, NULL, 507, "storage_full");
}

static void on_member(struct gt_member_op *op, const struct gt_err *err, void *arg)
{
	assert_null(err);
	*(bool *)arg = true;
	gt_member_op_free(op);
}

static void only_a_node_from_elsewhere_is_removed_by_force(void **state)
{
	struct world *w = *state;
	struct gt_member_op *op = gt_member_op_new(GT_MEMBER_JOIN);
	struct answer a;
	bool done = false;

	gt_strcopy(op->member.node, sizeof(op->member.node), "far");
	assert_int_equal(gt_control_member_do(w->control, op, on_member, &done, NULL), 0);
	step_until(w, done);
	node_up(w, "far");
	node_up(w, "box");
	ask(w, "GET", "/v1/nodes/far", NULL, NULL, &a);
	assert_string_not_equal(str(&a, "joined_at"), "(absent)");
	answer_fini(&a);
	ask(w, "GET", "/v1/nodes/box", NULL, NULL, &a);
	assert_string_equal(str(&a, "joined_at"), "(absent)");
	answer_fini(&a);
	refused(w, "DELETE", "/v1/nodes/far", NULL, NULL, 409, "conflict");
	refused(w, "DELETE", "/v1/nodes/far?force=maybe", NULL, NULL, 400, "bad_parameter");
	refused(w, "DELETE", "/v1/nodes/box?force=1", NULL, NULL, 409, "conflict");
	ask(w, "DELETE", "/v1/nodes/far?force=1", NULL, NULL, &a);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	refused(w, "GET", "/v1/nodes/far", NULL, NULL, 404, "not_found");
}

int main(void)
{
#define t(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		t(a_token_is_shown_once),
		t(a_token_needs_no_body),
		t(bad_asks_are_refused_by_name),
		t(only_a_node_from_elsewhere_is_removed_by_force),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
