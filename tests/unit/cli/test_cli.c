#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "rest.h"
#include "run.h"

static int no_daemon(void **state)
{
	(void)state;
	setenv("GANTRY_STATE", "/nonexistent/gantry", 1);
	unsetenv("GANTRY_URL");
	unsetenv("GANTRY_TOKEN");
	return 0;
}

static void usage_mistakes_exit_with_2_and_say_what_is_right(void **state)
{
	static const struct {
		const char *line, *text;
	} cases[] = {
		{ "", "usage: gantry COMMAND" },
		{ "depoly x", "did you mean deploy?" },
		{ "frobnicate", "`gantry help` lists them" },
		{ "ls --jsno", "did you mean --json?" },
		{ "--jsno ls", "did you mean --json?" },
		{ "get", "usage: gantry get NAME" },
		{ "get a b", "usage: gantry get NAME" },
		{ "get Bad_Name", "no function name" },
		{ "rm ok ../etc", "no function name" },
		{ "call echo 'a b'", "a path has no blanks" },
		{ "call echo -X 'GET\r\nX: y'", "capital letters" },
		{ "call echo -H 'X: a\r\nB: c'", "Name: value" },
		{ "call echo -H nonsense", "Name: value" },
		{ "call echo -d @/nonexistent", "No such file" },
		{ "call echo --timeout soon", "a duration" },
		{ "logs echo --tail many", "a number up to" },
		{ "logs echo --since yesterday", "a duration (10m) or a time" },
		{ "deploy", "a NAME for the function is missing" },
		{ "deploy echo", "say what to deploy" },
		{ "deploy Echo.json", "no function name" },
		{ "deploy /nonexistent/echo.json", "No such file" },
		{ "deploy echo --port x", "--port x" },
		{ "deploy echo --port 1 --timeout never --wait", "--timeout never" },
		{ "help nothing", "no command \"nothing\"" },
		{ "completion fish", "bash" },
		{ "node clear n1", "which GPU?" },
		{ "node clear n1 ../x", "no GPU's name" },
		{ "node clear n1 GPU-1 --wait", "are of gantry node drain" },
		{ "node drain n1 GPU-1", "takes one name" },
		{ "--url ftp://x ls", "http://HOST:PORT" },
		{ "--url http://127.0.0.1:1 --token 'a b' ls", "the token has blanks" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_auto(run) struct run r = run_cli(cases[i].line);
		if (r.code != GT_EXIT_USAGE || !strstr(r.err, cases[i].text) || r.out[0])
			fail_msg("%s: exit %d, %s", cases[i].line, r.code, r.err);
	}
}

static void no_daemon_exits_with_7_and_says_how_to_start_one(void **state)
{
	static const char *const lines[] = { "ls",       "get x",   "call x",    "logs x",
					     "ps",       "ps x",    "rm x",      "events",
					     "nodes",    "version", "ls --json", "deploy x -p 1",
					     "logs x -f" };

	(void)state;
	for (size_t i = 0; i < GT_LEN(lines); i++) {
		gt_auto(run) struct run r = run_cli(lines[i]);
		assert_int_equal(r.code, GT_EXIT_UNREACHABLE);
		assert_non_null(strstr(r.err, "gantryd run"));
	}
	gt_auto(run) struct run r = run_cli("--url http://127.0.0.1:1 ls");
	assert_int_equal(r.code, GT_EXIT_UNREACHABLE);
	assert_non_null(strstr(r.err, "http://127.0.0.1:1"));
}

static void flags_may_stand_before_the_command(void **state)
{
	gt_auto(run) struct run before = run_cli("--verbose help ls");
	gt_auto(run) struct run after = run_cli("help ls --verbose");
	gt_auto(run) struct run flag = run_cli("ls --help");

	(void)state;
	assert_int_equal(before.code, 0);
	assert_string_equal(before.out, after.out);
	assert_string_equal(before.out, flag.out);
}

static void exit_codes_follow_the_status(void **state)
{
	static const struct {
		long status;
		enum gt_exit code;
	} cases[] = {
		{ 200, GT_EXIT_DONE },     { 201, GT_EXIT_DONE },     { 202, GT_EXIT_DONE },
		{ 400, GT_EXIT_FAILED },   { 401, GT_EXIT_AUTH },     { 403, GT_EXIT_AUTH },
		{ 404, GT_EXIT_FAILED },   { 409, GT_EXIT_CONFLICT }, { 412, GT_EXIT_CONFLICT },
		{ 422, GT_EXIT_FAILED },   { 429, GT_EXIT_FAILED },   { 503, GT_EXIT_FAILED },
		{ 504, GT_EXIT_DEADLINE }, { 302, GT_EXIT_FAILED },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++)
		assert_int_equal(gt_exit_of_status(cases[i].status), cases[i].code);
}

/* What gt_cli_problem prints for an answer. */
static char *problem(long status, const char *body, bool json, enum gt_exit *code)
{
	struct gt_rest_answer answer = { .status = status };
	struct gt_cli cli = { .json = json };
	char *text = NULL;
	size_t len;

	cli.err = open_memstream(&text, &len);
	gt_buf_adds(&answer.body, body);
	*code = gt_cli_problem(&cli, &answer);
	fclose(cli.err);
	gt_buf_fini(&answer.body);
	return text;
}

static const char start_failed[] =
	"{\"type\":\"urn:gantry:problem:start_failed\",\"title\":\"The function failed to start\","
	"\"status\":503,\"code\":\"start_failed\",\"detail\":\"replica x: exit status 3\","
	"\"retryable\":true,\"instance\":\"01H\",\"cause\":\"exited_early\",\"exit_code\":3,"
	"\"signal\":0,\"retry_after_s\":4,\"log\":[\"one\",\"two \\u001b[2J\"]}";

static void a_problem_is_shown_with_cause_and_log(void **state)
{
	enum gt_exit code;
	gt_auto(free) char *text = problem(503, start_failed, false, &code);

	(void)state;
	assert_int_equal(code, GT_EXIT_FAILED);
	assert_string_equal(text, "gantry: The function failed to start\n"
				  "  replica x: exit status 3\n"
				  "  cause: exited_early\n"
				  "  exit code: 3\n"
				  "  last log lines:\n"
				  "    | one\n"
				  "    | two ?[2J\n"
				  "  try again in: 4 s\n"
				  "  request: 01H\n");
}

static void a_problem_names_the_place_of_the_mistake(void **state)
{
	enum gt_exit code;
	gt_auto(free) char *text = problem(
		422,
		"{\"title\":\"The function specification is invalid\",\"status\":422,"
		"\"detail\":\"scale.max: 2000 is above 1000\","
		"\"errors\":[{\"path\":\"scale.max\",\"detail\":\"2000 is above 1000\"},"
		"{\"path\":\"port\",\"detail\":\"is missing\"}],\"hint\":\"use less\"}",
		false, &code);

	(void)state;
	assert_int_equal(code, GT_EXIT_FAILED);
	assert_string_equal(text, "gantry: The function specification is invalid\n"
				  "  scale.max: 2000 is above 1000\n"
				  "  at port: is missing\n"
				  "  hint: use less\n");
}

static void with_json_a_problem_stays_as_it_came(void **state)
{
	enum gt_exit code;
	gt_auto(free) char *text = problem(503, start_failed, true, &code);
	gt_auto(free) char *want = gt_asprintf("%s\n", start_failed);

	(void)state;
	assert_string_equal(text, want);
}

static void what_is_no_problem_document_is_reported_too(void **state)
{
	enum gt_exit code;
	gt_auto(free) char *text = problem(502, "<html>\n\033[2J", false, &code);

	(void)state;
	assert_int_equal(code, GT_EXIT_FAILED);
	assert_string_equal(text, "gantry: the daemon answered 502\n  <html>??[2J\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(usage_mistakes_exit_with_2_and_say_what_is_right),
		cmocka_unit_test(no_daemon_exits_with_7_and_says_how_to_start_one),
		cmocka_unit_test(flags_may_stand_before_the_command),
		cmocka_unit_test(exit_codes_follow_the_status),
		cmocka_unit_test(a_problem_is_shown_with_cause_and_log),
		cmocka_unit_test(a_problem_names_the_place_of_the_mistake),
		cmocka_unit_test(with_json_a_problem_stays_as_it_came),
		cmocka_unit_test(what_is_no_problem_document_is_reported_too),
	};

	return cmocka_run_group_tests(tests, no_daemon, NULL);
}
