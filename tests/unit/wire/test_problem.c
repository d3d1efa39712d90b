/* test_problem.c - refusals and events as clients see them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/wire/wire.h>

static void a_refused_document_names_the_path(void **state)
{
	(void)state;
	gt_auto(buf) struct gt_buf out = { 0 };

	gt_problem_write(&(struct gt_problem){ .kind = gt_problem_kind("invalid_spec"),
					       .detail = "scale.max: 2000 is above 1000",
					       .path = "scale.max",
					       .request_id = "01X",
					       .retry_after_s = -1 },
			 &out);
	assert_string_equal(
		gt_buf_str(&out),
		"{\"type\":\"urn:gantry:problem:invalid_spec\","
		"\"title\":\"The function specification is invalid\",\"status\":422,"
		"\"detail\":\"scale.max: 2000 is above 1000\",\"code\":\"invalid_spec\","
		"\"instance\":\"01X\",\"retryable\":false,"
		"\"errors\":[{\"path\":\"scale.max\",\"detail\":\"2000 is above 1000\"}]}");
}

static void a_failed_start_carries_its_reason_and_log(void **state)
{
	(void)state;
	const struct gt_end end = { .cause = "exited_early",
				    .text = "it ended with status 3",
				    .exit_code = 3,
				    .log_tail = (char[]){ "one\n\ntwo \xff" } };
	gt_auto(buf) struct gt_buf out = { 0 };

	gt_problem_write(&(struct gt_problem){ .kind = gt_problem_kind("start_failed"),
					       .retry_after_s = 0,
					       .end = &end },
			 &out);
	assert_string_equal(gt_buf_str(&out),
			    "{\"type\":\"urn:gantry:problem:start_failed\","
			    "\"title\":\"The function failed to start\",\"status\":503,"
			    "\"detail\":\"The function failed to start\",\"code\":\"start_failed\","
			    "\"retryable\":true,\"retry_after_s\":0,\"cause\":\"exited_early\","
			    "\"reason\":\"it ended with status 3\",\"exit_code\":3,"
			    "\"log\":[\"one\",\"\",\"two \xef\xbf\xbd\"]}");
}

static void the_rest_is_there_when_it_is_set(void **state)
{
	(void)state;
	const struct gt_end end = { .exit_code = -1, .signal = 9 };
	gt_auto(buf) struct gt_buf out = { 0 };

	gt_problem_write(&(struct gt_problem){ .kind = gt_problem_kind("body_too_large"),
					       .detail = "d",
					       .path = "",
					       .retry_after_s = 7,
					       .end = &end,
					       .etag = "abc",
					       .limit = 1024 },
			 &out);
	assert_string_equal(gt_buf_str(&out),
			    "{\"type\":\"urn:gantry:problem:body_too_large\","
			    "\"title\":\"The body is larger than the limit\",\"status\":413,"
			    "\"detail\":\"d\",\"code\":\"body_too_large\",\"retryable\":false,"
			    "\"retry_after_s\":7,\"etag\":\"abc\",\"limit\":1024,\"signal\":9}");
}

static void openai_clients_get_their_dialect(void **state)
{
	(void)state;
	static const struct {
		const char *slug, *type;
	} kinds[] = {
		{ "model_not_found", "invalid_request_error" },
		{ "unauthorized", "authentication_error" },
		{ "forbidden", "permission_error" },
		{ "queue_full", "rate_limit_error" },
		{ "start_failed", "server_error" },
		{ "wait_timeout", "server_error" },
	};

	for (size_t i = 0; i < GT_LEN(kinds); i++) {
		gt_auto(buf) struct gt_buf out = { 0 }, wanted = { 0 };

		gt_problem_write_openai(
			&(struct gt_problem){ .kind = gt_problem_kind(kinds[i].slug),
					      .detail = "why \"so\"",
					      .path = "model",
					      .retry_after_s = -1 },
			&out);
		gt_buf_addf(&wanted,
			    "{\"error\":{\"message\":\"why \\\"so\\\"\",\"type\":\"%s\","
			    "\"param\":\"model\",\"code\":\"%s\"}}",
			    kinds[i].type, kinds[i].slug);
		assert_string_equal(gt_buf_str(&out), gt_buf_str(&wanted));
	}
	gt_auto(buf) struct gt_buf out = { 0 };

	gt_problem_write_openai(
		&(struct gt_problem){ .kind = gt_problem_kind("internal"), .retry_after_s = -1 },
		&out);
	assert_non_null(strstr(gt_buf_str(&out), "\"param\":null,\"code\":\"internal\""));
}

static void events_leave_out_what_is_empty(void **state)
{
	(void)state;
	gt_auto(buf) struct gt_buf out = { 0 };
	const struct gt_event all = { .id = (2ULL << 32) + 5,
				      .wall_ms = 1700000000123,
				      .type = "replica.failed",
				      .function = "echo",
				      .replica = "01X",
				      .node = "local",
				      .text = "it \"ended\"",
				      .cause = "exited" };

	gt_event_write(&all, &out);
	assert_string_equal(
		gt_buf_str(&out),
		"{\"id\":8589934597,\"ts\":\"2023-11-14T22:13:20.123Z\","
		"\"type\":\"replica.failed\",\"function\":\"echo\",\"replica\":\"01X\","
		"\"node\":\"local\",\"text\":\"it \\\"ended\\\"\",\"cause\":\"exited\"}");
	gt_buf_reset(&out);
	gt_event_write(&(struct gt_event){ .id = 1, .type = "node.joined" }, &out);
	assert_string_equal(gt_buf_str(&out), "{\"id\":1,\"ts\":\"1970-01-01T00:00:00.000Z\","
					      "\"type\":\"node.joined\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refused_document_names_the_path),
		cmocka_unit_test(a_failed_start_carries_its_reason_and_log),
		cmocka_unit_test(the_rest_is_there_when_it_is_set),
		cmocka_unit_test(openai_clients_get_their_dialect),
		cmocka_unit_test(events_leave_out_what_is_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
