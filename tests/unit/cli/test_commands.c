#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "fake.h"
#include "run.h"

#define JSON    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define NDJSON  "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
#define TEXT    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
#define PROBLEM "Content-Type: application/problem+json\r\n"

#define FUNCTION(name, state)                                                                      \
	"{\"name\":\"" name "\",\"state\":\"" state "\",\"revision\":3,\"etag\":\"abc\","          \
	"\"created_at\":\"2020-01-01T00:00:00.000Z\",\"updated_at\":\"2020-01-01T00:00:00.000Z\"," \
	"\"replicas\":{\"ready\":1,\"starting\":0},\"wanted\":2,\"queued\":4,\"in_flight\":5,"     \
	"\"why\":\"5 in flight\",\"spec\":{\"image\":\"host:\",\"command\":[\"/x\"],\"port\":80,"  \
	"\"scale\":{\"min\":1}}}"
#define REPLICA(id, state)                                                                        \
	"{\"id\":\"" id "\",\"function\":\"echo\",\"state\":\"" state "\","                       \
	"\"node\":\"n1\",\"revision\":3,\"pid\":77,\"created_at\":\"2020-01-01T00:00:00.000Z\","  \
	"\"timings\":{\"sandbox_ms\":1.5,\"exec_ms\":0.5,\"ready_ms\":2.2},\"reason\":\"queue\"," \
	"\"usage\":{\"cpu_ms\":1500,\"memory_bytes\":3145728}}"

static void lists_follow_the_cursor(void **state)
{
	static const struct rule rules[] = {
		{ "GET /v1/functions?limit=1000&cursor=a%26b", JSON,
		  "{\"items\":[" FUNCTION("two", "idle") "],\"next_cursor\":null}" },
		{ "GET /v1/functions?limit=1000 ", JSON,
		  "{\"items\":[" FUNCTION("one", "ready") "],\"next_cursor\":\"a&b\"}" },
		{ 0 },
	};
	gt_auto(free) char *requests = NULL;

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run table = run_cli("ls");
	gt_auto(run) struct run names = run_cli("ls -q");
	gt_auto(run) struct run json = run_cli("ls --json");
	requests = fake_stop();
	assert_int_equal(table.code, 0);
	assert_true(gt_starts_with(table.out, "NAME  STATE  READY  QUEUED  RUNNING  REV"));
	assert_non_null(strstr(table.out, "\none   ready    1/2       4        5    3"));
	assert_non_null(strstr(table.out, "\ntwo   idle "));
	assert_string_equal(names.out, "one\ntwo\n");
	assert_string_equal(json.out, "{\"items\":[" FUNCTION("one", "ready") "," FUNCTION(
					      "two", "idle") "]}\n");
	assert_non_null(strstr(requests, "\r\nAuthorization: Bearer t0ken\r\n"));
}

static void an_empty_list_is_json_too(void **state)
{
	static const struct rule rules[] = {
		{ "GET ", JSON, "{\"items\":[],\"next_cursor\":null}" },
		{ 0 },
	};

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run r = run_cli("nodes --json");
	gt_auto(run) struct run ps = run_cli("ps --json");
	free(fake_stop());
	assert_string_equal(r.out, "{\"items\":[]}\n");
	assert_string_equal(ps.out, "{\"items\":[]}\n");
}

#define GPU(model) "{\"model\":\"" model "\",\"backend\":\"sim\",\"memory_bytes\":85899345920}"

static void nodes_show_gpus_and_labels_where_there_are_any(void **state)
{
	static const struct rule rules[] = {
		{ "GET /v1/nodes", JSON,
		  "{\"items\":[{\"name\":\"n1\",\"state\":\"up\",\"cpu_milli\":2000,\"memory_"
		  "bytes\":0,"
		  "\"replicas\":3,\"labels\":{\"rack\":\"\",\"zone\":\"a\"},\"gpus\":[" GPU(
			  "H100") "," GPU("H100") "," GPU("L4") "]}]}" },
		{ 0 },
	};
	static const struct rule plain[] = {
		{ "GET /v1/nodes", JSON,
		  "{\"items\":[{\"name\":\"n1\",\"state\":\"up\",\"labels\":{},\"gpus\":[]}]}" },
		{ 0 },
	};

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run r = run_cli("nodes");
	free(fake_stop());
	assert_non_null(strstr(r.out, "REPLICAS  GPUS "));
	assert_non_null(strstr(r.out, "3  2 x H100 80 GiB (sim), 1 x L4 80 GiB (sim)  "
				      "rack=,zone=a\n"));
	fake_start(plain);
	gt_auto(run) struct run bare = run_cli("nodes");
	free(fake_stop());
	assert_null(strstr(bare.out, "GPUS"));
	assert_null(strstr(bare.out, "LABELS"));
}

static void providers_show_their_hosts_and_troubles(void **state)
{
	static const struct rule rules[] = {
		{ "GET /v1/providers", JSON,
		  "{\"items\":[{\"name\":\"cheap\",\"kind\":\"exec\",\"configured\":true,\"min\":0,"
		  "\"max\":4,\"error\":\"create: no quota\",\"retry_in_ms\":20000,\"hosts\":["
		  "{\"key\":\"cheap-a\",\"id\":\"i-1\",\"state\":\"up\",\"asked_at\":"
		  "\"2020-01-01T00:00:00.000Z\"},{\"key\":\"cheap-b\",\"state\":\"releasing\","
		  "\"asked_at\":\"2020-01-01T00:00:00.000Z\",\"why\":\"late\"}]}]}" },
		{ 0 },
	};

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run r = run_cli("providers");
	free(fake_stop());
	assert_int_equal(r.code, 0);
	assert_non_null(strstr(r.out, "\ncheap     exec    0    4   1       0        1\n\nHOST "));
	assert_non_null(strstr(r.out, "\ncheap-a  cheap     up         i-1"));
	assert_non_null(strstr(r.out, "late\ncheap: create: no quota\ncheap: it is asked for hosts "
				      "again in 20 s\n"));
}

static void ps_asks_about_functions_that_are_not_idle(void **state)
{
	static const struct rule rules[] = {
		{ "GET /v1/functions?", JSON,
		  "{\"items\":[" FUNCTION("echo", "ready") "," FUNCTION("zzz", "idle") "]}" },
		{ "GET /v1/functions/echo/replicas", JSON,
		  "{\"items\":[" REPLICA("01AAA", "ready") "," REPLICA("01BBB", "failed") "]}" },
		{ 0 },
	};
	gt_auto(free) char *requests = NULL;

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run live = run_cli("ps");
	gt_auto(run) struct run all = run_cli("ps echo --all");
	requests = fake_stop();
	assert_int_equal(live.code, 0);
	assert_non_null(strstr(live.out, "01AAA    echo      ready    3"));
	assert_non_null(strstr(live.out, "4.20 ms  1.50 s  3.0 MiB   77  n1    queue\n"));
	assert_null(strstr(live.out, "01BBB"));
	assert_non_null(strstr(all.out, "01BBB"));
	assert_null(strstr(requests, "zzz"));
}

static void get_shows_people_and_programs_the_function(void **state)
{
	static const struct rule rules[] = {
		{ "GET /v1/functions/echo ", JSON, FUNCTION("echo", "ready") },
		{ 0 },
	};

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run people = run_cli("get echo");
	gt_auto(run) struct run json = run_cli("get echo --json");
	gt_auto(run) struct run spec = run_cli("get echo --spec");
	free(fake_stop());
	assert_non_null(strstr(people.out, "\nreplicas    1 ready; 2 wanted: 5 in flight\n"));
	assert_non_null(strstr(people.out, "\ncalls       5 running, 4 queued\n"));
	assert_string_equal(json.out, FUNCTION("echo", "ready") "\n");
	assert_true(gt_starts_with(spec.out, "{\n  \"image\": \"host:\","));
}

static void a_deploy_sends_the_file_as_it_is(void **state)
{
	static const struct rule rules[] = {
		{ "PUT /v1/functions/my-fn?dry_run=1 ", JSON,
		  "{\"name\":\"my-fn\",\"revision\":2,\"unchanged\":true,\"dry_run\":true}" },
		{ "PUT /v1/functions/my-fn ",
		  "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n",
		  "{\"name\":\"my-fn\",\"revision\":1,\"created\":true,\"unchanged\":false}" },
		{ 0 },
	};
	gt_auto(free) char *requests = NULL;
	FILE *f = fopen("/tmp/my-fn.gantry-test.json", "we");

	(void)state;
	fputs("{\"image\":  \"host:\"}", f);
	fclose(f);
	fake_start(rules);
	gt_auto(run) struct run created = run_cli("deploy /tmp/my-fn.gantry-test.json --create");
	gt_auto(run) struct run dry = run_cli("deploy my-fn -p 1 --dry-run --if-match abc");
	requests = fake_stop();
	unlink("/tmp/my-fn.gantry-test.json");
	assert_string_equal(created.out, "my-fn created, revision 1\n");
	assert_string_equal(dry.out, "my-fn would be unchanged\n");
	assert_non_null(strstr(requests, "\r\n\r\n{\"image\":  \"host:\"}\n"));
	assert_non_null(strstr(requests, "\r\nIf-None-Match: *\r\n"));
	assert_non_null(strstr(requests, "\r\nIf-Match: \"abc\"\r\n"));
	assert_non_null(strstr(requests, "\r\nContent-Type:application/json\r\n"));
}

#define PUT_OK                                                                      \
	{                                                                           \
		"PUT ", JSON, "{\"name\":\"echo\",\"revision\":3,\"changed\":true}" \
	}

static void wait_ends_when_the_new_revision_is_ready(void **state)
{
	static const struct rule rules[] = {
		PUT_OK,
		{ "GET /v1/functions/echo ", JSON, FUNCTION("echo", "starting") },
		{ "GET /v1/functions/echo/replicas", JSON,
		  "{\"items\":[" REPLICA("01A", "ready") "]}" },
		{ 0 },
	};

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run r = run_cli("deploy echo -p 1 --wait");
	free(fake_stop());
	assert_int_equal(r.code, 0);
	assert_true(gt_starts_with(r.out, "echo changed, revision 3\necho is ready after "));
}

static void wait_ends_with_3_when_it_does_not_start(void **state)
{
	static const struct rule rules[] = {
		PUT_OK,
		{ "GET /v1/functions/echo ", JSON,
		  "{\"state\":\"failing\",\"spec\":{\"scale\":{\"min\":1}},\"last_failure\":"
		  "{\"cause\":\"exited_early\",\"detail\":\"exit status 3\",\"log\":[\"boom\"]}}" },
		{ "GET /v1/functions/echo/replicas", JSON, "{\"items\":[]}" },
		{ 0 },
	};

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run r = run_cli("deploy echo -p 1 --wait");
	free(fake_stop());
	assert_int_equal(r.code, GT_EXIT_ROLLOUT);
	assert_string_equal(r.err, "gantry: echo does not start: exit status 3\n"
				   "  cause: exited_early\n  last log lines:\n    | boom\n");
}

static void wait_ends_with_4_when_the_time_is_over(void **state)
{
	static const struct rule rules[] = {
		PUT_OK,
		{ "GET /v1/functions/echo ", JSON, FUNCTION("echo", "starting") },
		{ "GET /v1/functions/echo/replicas", JSON,
		  "{\"items\":[{\"id\":\"01A\",\"state\":\"ready\",\"revision\":2},"
		  "{\"id\":\"01B\",\"state\":\"pulling\",\"revision\":3,\"pull\":{\"bytes\":"
		  "12582912,"
		  "\"bytes_total\":41943040,\"layers\":1,\"layers_total\":3}}]}" },
		{ 0 },
	};

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run r = run_cli("deploy echo -p 1 --wait -v --timeout 1ms");
	free(fake_stop());
	assert_int_equal(r.code, GT_EXIT_DEADLINE);
	assert_non_null(
		strstr(r.err, "echo is starting; its image: 12 of 40 MiB, 1 of 3 layers\n"));
}

static void a_call_prints_the_answer_and_nothing_else(void **state)
{
	static const struct rule rules[] = {
		{ "GET /f/echo/a?b=1 ", TEXT "Server-Timing: start;dur=4.1\r\n", "bytes\nof it" },
		{ "POST /f/echo/ ", TEXT, "posted" },
		{ "GET /f/echo/missing ", "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n",
		  "nope" },
		{ "GET /f/echo/fail ", "HTTP/1.1 503 Service Unavailable\r\n" PROBLEM,
		  "{\"title\":\"The function failed to "
		  "start\",\"status\":503,\"cause\":\"exited\"}" },
		{ "GET /f/echo/slow ", "HTTP/1.1 504 Gateway Timeout\r\n" PROBLEM,
		  "{\"title\":\"T\"}" },
		{ 0 },
	};
	gt_auto(free) char *requests = NULL;

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run plain = run_cli("call echo a?b=1");
	gt_auto(run) struct run verbose = run_cli("call echo /a?b=1 -v");
	gt_auto(run) struct run post = run_cli("call echo / -d {\"x\":1} -H 'X-A: b'");
	gt_auto(run) struct run text = run_cli("call echo / -d hi");
	gt_auto(run) struct run own = run_cli("call echo / -d hi -H Content-Type:a/b");
	gt_auto(run) struct run missing = run_cli("call echo /missing");
	gt_auto(run) struct run fail = run_cli("call echo /fail");
	gt_auto(run) struct run slow = run_cli("call echo /slow");
	requests = fake_stop();
	assert_int_equal(plain.code, 0);
	assert_string_equal(plain.out, "bytes\nof it");
	assert_string_equal(plain.err, "");
	assert_non_null(strstr(verbose.err, "; start;dur=4.1\n"));
	assert_string_equal(post.out, "posted");
	assert_non_null(strstr(requests, "\r\nContent-Type:application/json\r\nX-A: b\r\n"));
	assert_non_null(strstr(requests, "\r\nContent-Type:text/plain; charset=utf-8\r\n"));
	assert_non_null(strstr(requests, "\r\nContent-Type:a/b\r\n"));
	assert_int_equal(text.code, 0);
	assert_int_equal(own.code, 0);
	assert_int_equal(missing.code, GT_EXIT_FAILED);
	assert_string_equal(missing.out, "nope");
	assert_int_equal(fail.code, GT_EXIT_FAILED);
	assert_string_equal(fail.out, "");
	assert_non_null(strstr(fail.err, "cause: exited"));
	assert_int_equal(slow.code, GT_EXIT_DEADLINE);
}

static void a_call_without_an_answer_ends_with_4(void **state)
{
	static const struct rule rules[] = {
		{ "GET /f/echo/", "", NULL },
		{ "GET /v1/functions/echo ", JSON, FUNCTION("echo", "starting") },
		{ 0 },
	};

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run r = run_cli("call echo --timeout 2s -v");
	free(fake_stop());
	assert_int_equal(r.code, GT_EXIT_DEADLINE);
	assert_true(gt_starts_with(r.err, "echo is starting\ngantry: "));
}

#define LINE(n, s)                                                                           \
	"{\"seq\":" n ",\"ts\":\"2026-11-23T18:00:00.001Z\",\"function\":\"echo\","          \
	"\"replica\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"stream\":\"" s "\",\"line\":\"line " n \
	"\"}\n"

static void logs_are_read_line_by_line(void **state)
{
	static const struct rule rules[] = {
		{ "GET /v1/functions/echo/logs?tail=7&stream=stderr ", NDJSON,
		  LINE("1", "stdout") "\n" LINE("2", "stderr") "not json\n" },
		{ "GET /v1/functions/echo/logs?tail=100 ", NDJSON, LINE("1", "stdout") },
		{ 0 },
	};

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run people = run_cli("logs echo -n 7 --stream stderr");
	gt_auto(run) struct run plain = run_cli("logs echo --plain");
	gt_auto(run) struct run json = run_cli("logs echo --json");
	free(fake_stop());
	assert_string_equal(people.out, "2026-11-23 18:00:00.001 9G5FAV out line 1\n"
					"2026-11-23 18:00:00.001 9G5FAV err line 2\n");
	assert_string_equal(plain.out, "line 1\n");
	assert_string_equal(json.out, LINE("1", "stdout"));
}

static void refusals_have_their_exit_codes(void **state)
{
	static const struct rule rules[] = {
		{ "GET /v1/functions/a ", "HTTP/1.1 401 Unauthorized\r\n" PROBLEM,
		  "{\"title\":\"A\"}" },
		{ "GET /v1/functions/b ", "HTTP/1.1 404 Not Found\r\n" PROBLEM,
		  "{\"title\":\"B\"}" },
		{ "PUT ", "HTTP/1.1 412 Precondition Failed\r\n" PROBLEM, "{\"title\":\"C\"}" },
		{ "DELETE /v1/functions/d?force=1 ", JSON, "{\"name\":\"d\",\"deleted\":true}" },
		{ "GET /v1/functions/e ", TEXT, "I am another server" },
		{ 0 },
	};

	(void)state;
	fake_start(rules);
	gt_auto(run) struct run a = run_cli("get a");
	gt_auto(run) struct run b = run_cli("get b");
	gt_auto(run) struct run c = run_cli("deploy c -p 1 --if-match x");
	gt_auto(run) struct run d = run_cli("rm d missing --force");
	gt_auto(run) struct run e = run_cli("get e");
	free(fake_stop());
	assert_int_equal(a.code, GT_EXIT_AUTH);
	assert_non_null(strstr(a.err, "GANTRY_TOKEN"));
	assert_int_equal(b.code, GT_EXIT_FAILED);
	assert_int_equal(c.code, GT_EXIT_CONFLICT);
	assert_int_equal(d.code, GT_EXIT_FAILED);
	assert_string_equal(d.out, "d removed\n");
	assert_int_equal(e.code, GT_EXIT_FAILED);
	assert_non_null(strstr(e.err, "is that a Gantry daemon?"));
}

static int nowhere(void **state)
{
	(void)state;
	return setenv("GANTRY_STATE", "/nonexistent/gantry", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_follow_the_cursor),
		cmocka_unit_test(an_empty_list_is_json_too),
		cmocka_unit_test(providers_show_their_hosts_and_troubles),
		cmocka_unit_test(nodes_show_gpus_and_labels_where_there_are_any),
		cmocka_unit_test(ps_asks_about_functions_that_are_not_idle),
		cmocka_unit_test(get_shows_people_and_programs_the_function),
		cmocka_unit_test(a_deploy_sends_the_file_as_it_is),
		cmocka_unit_test(wait_ends_when_the_new_revision_is_ready),
		cmocka_unit_test(wait_ends_with_3_when_it_does_not_start),
		cmocka_unit_test(wait_ends_with_4_when_the_time_is_over),
		cmocka_unit_test(a_call_prints_the_answer_and_nothing_else),
		cmocka_unit_test(a_call_without_an_answer_ends_with_4),
		cmocka_unit_test(logs_are_read_line_by_line),
		cmocka_unit_test(refusals_have_their_exit_codes),
	};

	return cmocka_run_group_tests(tests, nowhere, NULL);
}
