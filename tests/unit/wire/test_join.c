/* test_join.c - what is said about joining: bounded, and refused by the member's name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/wire/wire.h>

static void a_join_has_token_node_and_request(void **state)
{
	static const char text[] = "{\"token\":\"gtj_x\",\"node\":\"n-1\",\"csr\":\"PEM\\n\"}";
	struct gt_join join = { 0 };
	struct gt_err err;

	(void)state;
	assert_int_equal(gt_join_read(text, sizeof(text) - 1, &join, &err), 0);
	assert_string_equal(join.token, "gtj_x");
	assert_string_equal(join.node, "n-1");
	assert_string_equal(join.csr, "PEM\n");
	gt_join_fini(&join);
	assert_int_equal(gt_renew_read("{\"csr\":\"P\"}", 11, &join, &err), 0);
	assert_string_equal(join.csr, "P");
	gt_join_fini(&join);
}

static void what_a_newer_node_adds_is_passed_over(void **state)
{
	static const char text[] = "{\"token\":\"t\",\"node\":\"n\",\"csr\":\"P\",\"x\":1}";
	struct gt_join join = { 0 };

	(void)state;
	assert_int_equal(gt_join_read(text, strlen(text), &join, NULL), 0);
	assert_string_equal(join.node, "n");
	gt_join_fini(&join);
}

static void bad_joins_are_refused_by_name(void **state)
{
	static const struct {
		const char *text, *path;
	} bad[] = {
		{ "{\"node\":\"n\",\"csr\":\"P\"}", "token" },
		{ "{\"token\":\"t\",\"csr\":\"P\"}", "node" },
		{ "{\"token\":\"t\",\"node\":\"n\"}", "csr" },
		{ "{\"token\":\"t\",\"node\":\"N\",\"csr\":\"P\"}", "node" },
		{ "{\"token\":\"t\",\"node\":\"tokens\",\"csr\":\"P\"}", "node" },
		{ "{\"token\":\"t\",\"node\":\"../x\",\"csr\":\"P\"}", "node" },
		{ "{\"token\":1,\"node\":\"n\",\"csr\":\"P\"}", "token" },
		{ "{\"token\":\"t\",\"node\":\"n\",\"csr\":\"\\u0000\"}", "csr" },
		{ "[]", "" },
	};
	struct gt_join join = { 0 };
	struct gt_err err;

	(void)state;
	for (size_t i = 0; i < GT_LEN(bad); i++) {
		err = (struct gt_err){ 0 };
		assert_int_equal(gt_join_read(bad[i].text, strlen(bad[i].text), &join, &err),
				 -EINVAL);
		assert_string_equal(err.slug, "bad_parameter");
		assert_string_equal(err.path, bad[i].path);
		assert_null(join.csr);
	}
	assert_int_equal(gt_join_read("{", 1, &join, &err), -EINVAL);
	assert_string_equal(err.slug, "malformed_json");
}

static void a_large_request_is_refused(void **state)
{
	char text[9000];
	struct gt_join join = { 0 };
	struct gt_err err = { 0 };

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "{\"csr\":\"", 8);
	memcpy(text + sizeof(text) - 2, "\"}", 2);
	assert_int_equal(gt_renew_read(text, sizeof(text), &join, &err), -EINVAL);
	assert_string_equal(err.path, "csr");
}

static void a_token_is_asked_for_with_defaults(void **state)
{
	struct gt_token_ask ask;
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(gt_token_ask_read("{}", 2, &ask, &err), 0);
	assert_int_equal(ask.ttl_ms, 3600000);
	assert_string_equal(ask.node, "");
	assert_int_equal(gt_token_ask_read("{\"ttl\":\"2h\",\"node\":\"n\"}", 23, &ask, &err), 0);
	assert_int_equal(ask.ttl_ms, 7200000);
	assert_string_equal(ask.node, "n");
	assert_int_equal(gt_token_ask_read("{\"ttl\":\"8d\"}", 12, &ask, &err), -EINVAL);
	assert_string_equal(err.path, "ttl");
	assert_int_equal(gt_token_ask_read("{\"ttl\":\"0s\"}", 12, &ask, &err), -EINVAL);
}

static void a_key_of_webhooks_has_an_overlap(void **state)
{
	static const char much[] = "{\"overlap\":\"31d\"}";
	struct gt_err err = { 0 };
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(gt_webhook_ask_read("{}", 2, &ms, &err), 0);
	assert_int_equal(ms, 24 * 3600000);
	assert_int_equal(gt_webhook_ask_read("{\"overlap\":\"0s\"}", 16, &ms, &err), 0);
	assert_int_equal(ms, 0);
	assert_int_equal(gt_webhook_ask_read(much, sizeof(much) - 1, &ms, &err), -EINVAL);
	assert_string_equal(err.slug, "bad_parameter");
	assert_string_equal(err.path, "overlap");
	assert_int_equal(ms, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_join_has_token_node_and_request),
		cmocka_unit_test(bad_joins_are_refused_by_name),
		cmocka_unit_test(what_a_newer_node_adds_is_passed_over),
		cmocka_unit_test(a_large_request_is_refused),
		cmocka_unit_test(a_token_is_asked_for_with_defaults),
		cmocka_unit_test(a_key_of_webhooks_has_an_overlap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
