/* Functions, revisions, lists, models, health: the API as a client sees it. */
#include "fixture.h"

#include <stdio.h>

#define JSON "Content-Type: application/json\r\n"
#define SPEC "{\"image\":\"host:\",\"command\":[\"/bin/true\"],\"port\":8000}"
#define SPEC2                                                             \
	"{\"image\":\"host:\",\"command\":[\"/bin/true\"],\"port\":8000," \
	"\"env\":{\"A\":\"b\"},\"serves\":{\"openai\":[\"m/one\"]}}"

/* What gateways were told until then; they pass the answer on when they have heard of it. */
static bool says_news(struct world *w, const struct answer *a)
{
	char text[80];

	snprintf(text, sizeof(text), "Gantry-Routes: %llu.%llu\r\n",
		 (unsigned long long)gt_control_epoch(w->control),
		 (unsigned long long)gt_control_news(w->control));
	return header_has(a, text);
}

static void asks_for_a_token(void **state)
{
	struct world *w = *state;
	struct answer a;

	refused(w, "GET", "/v1/functions", "Authorization: Bearer wrong\r\n", NULL, 401,
		"unauthorized");
	refused(w, "GET", "/metrics", "Authorization: Basic abc\r\n", NULL, 401, "unauthorized");
	ask(w, "GET", "/v1/nodes", "Authorization: Bearer\r\n", NULL, &a);
	assert_int_equal(a.status, 401);
	assert_true(header_has(&a, "WWW-Authenticate: Bearer"));
	answer_fini(&a);
	ask(w, "GET", "/v1/version", "Authorization: none\r\n", NULL, &a);
	assert_int_equal(a.status, 200);
	assert_string_equal(str(&a, "version"), GT_VERSION);
	answer_fini(&a);
}

static void creates_then_unchanged_then_changes(void **state)
{
	struct world *w = *state;
	struct answer a;

	ask(w, "PUT", "/v1/functions/one", JSON, SPEC, &a);
	assert_int_equal(a.status, 201);
	assert_true(header_has(&a, "Location: /v1/functions/one\r\n"));
	assert_true(header_has(&a, "ETag: \""));
	assert_true(says_news(w, &a));
	assert_true(gt_value_bool(a.json, "created", false));
	answer_fini(&a);
	ask(w, "PUT", "/v1/functions/one", JSON, SPEC, &a);
	assert_int_equal(a.status, 200);
	assert_true(gt_value_bool(a.json, "unchanged", false));
	answer_fini(&a);
	ask(w, "PUT", "/v1/functions/one", JSON, SPEC2, &a);
	assert_int_equal(a.status, 200);
	assert_true(gt_value_bool(a.json, "changed", false));
	assert_int_equal(gt_value_u64(a.json, "revision", 0), 2);
	answer_fini(&a);
	ask(w, "GET", "/v1/functions/one", NULL, NULL, &a);
	assert_string_equal(str(&a, "spec.env.A"), "b");
	assert_string_equal(str(&a, "state"), "idle");
	assert_null(gt_value_at(a.json, "spec.limits"));
	answer_fini(&a);
	ask(w, "GET", "/v1/functions/one?effective=1", NULL, NULL, &a);
	assert_int_equal(gt_value_u64(a.json, "spec.limits.queue", 0), 1000);
	answer_fini(&a);
}

static void guards_changes_with_etags(void **state)
{
	struct world *w = *state;
	char etag[64], header[128];
	struct answer a;

	ask(w, "PUT", "/v1/functions/one", JSON, SPEC, &a);
	gt_strcopy(etag, sizeof(etag), str(&a, "etag"));
	answer_fini(&a);
	snprintf(header, sizeof(header), JSON "If-Match: \"%s\"\r\n", etag);
	ask(w, "PUT", "/v1/functions/one", header, SPEC2, &a);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	ask(w, "PUT", "/v1/functions/one", header, SPEC, &a);
	assert_int_equal(a.status, 412);
	assert_string_equal(str(&a, "code"), "etag_mismatch");
	assert_int_equal(strlen(str(&a, "etag")), 32);
	assert_string_not_equal(str(&a, "etag"), etag);
	answer_fini(&a);
	refused(w, "DELETE", "/v1/functions/one", header, NULL, 412, "etag_mismatch");
	refused(w, "PUT", "/v1/functions/one", JSON "If-None-Match: *\r\n", SPEC, 412,
		"etag_mismatch");
	refused(w, "PUT", "/v1/functions/two", JSON "If-Match: *\r\n", SPEC, 412, "etag_mismatch");
	refused(w, "PUT", "/v1/functions/one", JSON "If-None-Match: \"x\"\r\n", SPEC, 400,
		"bad_parameter");
	snprintf(header, sizeof(header), JSON "If-Match: \"zz\", \"%s\"\r\n", etag);
	ask(w, "PUT", "/v1/functions/two", JSON, SPEC, &a);
	answer_fini(&a);
	ask(w, "PUT", "/v1/functions/two", header, SPEC, &a);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
}

static void dry_run_changes_nothing(void **state)
{
	struct world *w = *state;
	struct answer a;

	ask(w, "PUT", "/v1/functions/one?dry_run=1", JSON, SPEC, &a);
	assert_int_equal(a.status, 200);
	assert_true(gt_value_bool(a.json, "created", false));
	assert_true(gt_value_bool(a.json, "dry_run", false));
	answer_fini(&a);
	refused(w, "GET", "/v1/functions/one", NULL, NULL, 404, "function_not_found");
}

static void refuses_what_is_wrong_and_says_where(void **state)
{
	struct world *w = *state;
	struct answer a;
	gt_auto(free) char *big = gt_alloc(GT_SPEC_BYTES_MAX + 2);

	ask(w, "PUT", "/v1/functions/one", JSON,
	    "{\"image\":\"host:\",\"command\":[\"/x\"],\"port\":1,\"scale\":{\"max\":2000}}", &a);
	assert_int_equal(a.status, 422);
	assert_string_equal(str(&a, "errors[0].path"), "scale.max");
	answer_fini(&a);
	refused(w, "PUT", "/v1/functions/one", JSON, "{", 400, "malformed_json");
	refused(w, "PUT", "/v1/functions/one", JSON, "", 400, "malformed_json");
	refused(w, "PUT", "/v1/functions/one", "Content-Type: text/plain\r\n", SPEC, 415,
		"unsupported_media_type");
	refused(w, "PUT", "/v1/functions/UPPER", JSON, SPEC, 400, "bad_parameter");
	refused(w, "PUT", "/v1/functions/one?dry-run=1", JSON, SPEC, 400, "bad_parameter");
	refused(w, "PUT", "/v1/functions/one?dry_run=maybe", JSON, SPEC, 400, "bad_parameter");
	memset(big, ' ', GT_SPEC_BYTES_MAX + 1);
	ask(w, "PUT", "/v1/functions/one", JSON, big, &a);
	assert_int_equal(a.status, 413);
	assert_int_equal(gt_value_u64(a.json, "limit", 0), GT_SPEC_BYTES_MAX);
	answer_fini(&a);
	refused(w, "GET", "/v1/nothing", NULL, NULL, 404, "not_found");
	refused(w, "POST", "/v1/functions/one", JSON, SPEC, 405, "method_not_allowed");
	refused(w, "GET", "/v1/functions/one", NULL, NULL, 404, "function_not_found");
}

static void says_that_the_disk_is_full(void **state)
{
	struct world *w = *state;

	w->storage_full = true;
	refused(w, "PUT", "/v1/functions/one", JSON, SPEC, 507, "storage_full");
	refused(w, "GET", "/v1/functions/one", NULL, NULL, 404, "function_not_found");
}

static void deletes(void **state)
{
	struct world *w = *state;
	struct answer a;

	refused(w, "DELETE", "/v1/functions/one", NULL, NULL, 404, "function_not_found");
	put_ok(w, "one", SPEC, 201);
	ask(w, "DELETE", "/v1/functions/one", NULL, NULL, &a);
	assert_int_equal(a.status, 200);
	assert_true(says_news(w, &a));
	answer_fini(&a);
	refused(w, "GET", "/v1/functions/one", NULL, NULL, 404, "function_not_found");
	put_ok(w, "one", SPEC, 201);
}

static void pages_cover_the_list_once(void **state)
{
	struct world *w = *state;
	char name[16], path[96] = "/v1/functions?limit=4&prefix=p-";
	unsigned seen = 0, pages = 0;
	struct answer a;

	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "p-%02u", i);
		put_ok(w, name, SPEC, 201);
	}
	put_ok(w, "other", SPEC, 201);
	while (path[0]) {
		const struct gt_value *items;

		ask(w, "GET", path, NULL, NULL, &a);
		items = gt_value_at(a.json, "items");
		for (size_t i = 0; i < gt_value_len(items); i++, seen++) {
			snprintf(name, sizeof(name), "p-%02u", seen);
			assert_string_equal(gt_value_str(gt_value_item(items, i), "name", ""),
					    name);
		}
		pages++;
		if (gt_value_at(a.json, "next_cursor")) {
			assert_true(
				header_has(&a, "Link: </v1/functions?limit=4&prefix=p-&cursor="));
			snprintf(path, sizeof(path), "/v1/functions?limit=4&prefix=p-&cursor=%s",
				 str(&a, "next_cursor"));
		} else {
			path[0] = '\0';
		}
		answer_fini(&a);
	}
	assert_int_equal(seen, 10);
	assert_int_equal(pages, 3);
	ask(w, "GET", "/v1/functions?prefix=p-", "Accept: application/x-ndjson\r\n", NULL, &a);
	assert_true(header_has(&a, "Content-Type: application/x-ndjson"));
	seen = 0;
	for (const char *s = a.body; (s = strchr(s, '\n')); s++)
		seen++;
	assert_int_equal(seen, 10);
	answer_fini(&a);
	refused(w, "GET", "/v1/functions?limit=0", NULL, NULL, 400, "bad_parameter");
	refused(w, "GET", "/v1/functions?cursor=!!!", NULL, NULL, 400, "bad_parameter");
	refused(w, "GET", "/v1/functions?cursor=%00", NULL, NULL, 400, "bad_parameter");
}

static void shows_revisions(void **state)
{
	struct world *w = *state;
	struct answer a;

	put_ok(w, "one", SPEC, 201);
	put_ok(w, "one", SPEC2, 200);
	ask(w, "GET", "/v1/functions/one/revisions", NULL, NULL, &a);
	assert_int_equal(gt_value_u64(a.json, "items[0].revision", 0), 2);
	assert_int_equal(gt_value_u64(a.json, "items[1].revision", 0), 1);
	answer_fini(&a);
	ask(w, "GET", "/v1/functions/one/revisions/2", NULL, NULL, &a);
	assert_string_equal(str(&a, "spec.env.A"), "b");
	answer_fini(&a);
	refused(w, "GET", "/v1/functions/one/revisions/9", NULL, NULL, 404, "not_found");
	refused(w, "GET", "/v1/functions/one/revisions/x", NULL, NULL, 400, "bad_parameter");
	refused(w, "GET", "/v1/functions/no/revisions", NULL, NULL, 404, "function_not_found");
}

static void lists_models_at_zero(void **state)
{
	struct world *w = *state;
	struct answer a;

	put_ok(w, "one", SPEC2, 201);
	ask(w, "GET", "/v1/models", NULL, NULL, &a);
	assert_string_equal(str(&a, "object"), "list");
	assert_string_equal(str(&a, "data[0].id"), "m/one");
	assert_string_equal(str(&a, "data[0].gantry.function"), "one");
	answer_fini(&a);
	ask(w, "GET", "/v1/models/m%2Fone", NULL, NULL, &a);
	assert_string_equal(str(&a, "id"), "m/one");
	answer_fini(&a);
	ask(w, "GET", "/v1/models/other", NULL, NULL, &a);
	assert_int_equal(a.status, 404);
	assert_string_equal(str(&a, "error.code"), "model_not_found");
	assert_true(header_has(&a, "X-Should-Retry: false"));
	answer_fini(&a);
	refused(w, "PUT", "/v1/functions/two", JSON, SPEC2, 409, "model_taken");
}

static int models_without_a_token(struct world *w, const char *path, const char *id_path)
{
	struct answer a;

	ask(w, "GET", path, "Authorization: none\r\n", NULL, &a);
	if (a.status == 200)
		assert_string_equal(str(&a, id_path), "m/public");
	else
		assert_string_equal(str(&a, "error.code"), "unauthorized");
	int status = a.status;

	answer_fini(&a);
	return status;
}

static void shows_models_to_who_may_call_them(void **state)
{
	struct world *w = *state;

	put_ok(w, "one", SPEC2, 201);
	assert_int_equal(models_without_a_token(w, "/v1/models", "data[0].id"), 401);
	put_ok(w, "open",
	       "{\"image\":\"dir:/srv\",\"command\":[\"/a\"],\"port\":1,\"access\":\"public\","
	       "\"serves\":{\"openai\":[\"m/public\"]}}",
	       201);
	assert_int_equal(models_without_a_token(w, "/v1/models", "data[0].id"), 200);
	assert_int_equal(models_without_a_token(w, "/v1/models/m%2Fpublic", "id"), 200);
	assert_int_equal(models_without_a_token(w, "/v1/models/m%2Fone", "id"), 401);
	assert_int_equal(models_without_a_token(w, "/v1/models/none", "id"), 401);
}

static void says_whether_it_is_ready(void **state)
{
	struct world *w = *state;
	struct answer a;

	ask(w, "GET", "/livez", "Authorization: none\r\n", NULL, &a);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	refused(w, "GET", "/readyz", "Authorization: none\r\n", NULL, 503, "unavailable");
	node_up(w, "box");
	ask(w, "GET", "/readyz", "Authorization: none\r\n", NULL, &a);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	ask(w, "GET", "/v1/nodes", NULL, NULL, &a);
	assert_string_equal(str(&a, "items[0].state"), "ready");
	assert_int_equal(gt_value_u64(a.json, "items[0].cpu_milli", 0), 8000);
	answer_fini(&a);
	ask(w, "GET", "/v1/nodes/box", NULL, NULL, &a);
	assert_string_equal(str(&a, "name"), "box");
	answer_fini(&a);
	refused(w, "GET", "/v1/nodes/none", NULL, NULL, 404, "not_found");
}

/* What the node could not tell is nowhere, and never 0. */
static void shows_what_a_replica_uses(void **state)
{
	struct world *w = *state;
	struct gt_observed o = { .replica = "01AAAAAAAAAAAAAAAAAAAAAAAA",
				 .function = "one",
				 .revision = 1,
				 .state = GT_REPLICA_READY,
				 .usage = { .has = GT_USAGE_CPU | GT_USAGE_OOM |
						   GT_USAGE_MEMORY_PRESSURE,
					    .cpu_us = 1234567,
					    .memory = { 125, 0, 2500000, 0 } } };
	struct gt_report report = { .node = "box",
				    .epoch = gt_control_epoch(w->control),
				    .replicas = &o,
				    .n_replicas = 1 };
	struct answer a;

	put_ok(w, "one", SPEC, 201);
	node_up(w, "box");
	assert_int_equal(gt_control_report(w->control, &report, NULL), 0);
	ask(w, "GET", "/v1/functions/one/replicas/01AAAAAAAAAAAAAAAAAAAAAAAA", NULL, NULL, &a);
	assert_true(gt_value_num(a.json, "usage.cpu_ms", 0) == 1234.567);
	assert_non_null(gt_value_at(a.json, "usage.oom_kills"));
	assert_null(gt_value_at(a.json, "usage.memory_bytes"));
	assert_true(gt_value_num(a.json, "usage.pressure.memory.some_percent", 0) == 1.25);
	assert_true(gt_value_num(a.json, "usage.pressure.memory.some_ms", 0) == 2500);
	assert_null(gt_value_at(a.json, "usage.pressure.io"));
	answer_fini(&a);
	ask(w, "GET", "/metrics", NULL, NULL, &a);
#define OF "{function=\"one\",replica=\"01AAAAAAAAAAAAAAAAAAAAAAAA\""
	assert_non_null(strstr(a.body, "\ngantry_replica_cpu_seconds_total" OF "} 1.234567\n"));
	assert_non_null(strstr(a.body, "\ngantry_replica_oom_kills_total" OF "} 0\n"));
	assert_null(strstr(a.body, "\ngantry_replica_memory_bytes{"));
	assert_non_null(strstr(a.body, "\ngantry_replica_pressure_seconds_total" OF
				       ",resource=\"memory\",share=\"some\"} 2.500000\n"));
	assert_null(strstr(a.body, "resource=\"io\""));
#undef OF
	answer_fini(&a);
}

static void serves_metrics_and_the_contract(void **state)
{
	struct world *w = *state;
	struct answer a;
	size_t len;

	put_ok(w, "one", SPEC, 201);
	ask(w, "GET", "/metrics", NULL, NULL, &a);
	assert_int_equal(a.status, 200);
	assert_non_null(strstr(a.body, "gantry_functions{state=\"idle\"} 1\n"));
	assert_non_null(strstr(a.body, "gantry_control_epoch 7\n"));
	assert_non_null(strstr(
		a.body, "gantry_api_answers_total{operation=\"putFunction\",class=\"2xx\"} 1"));
	answer_fini(&a);
	ask(w, "GET", "/openapi.yaml", "Authorization: none\r\n", NULL, &a);
	assert_string_equal(a.body, gt_api_contract(&len));
	answer_fini(&a);
}

static void serves_what_gateways_count(void **state)
{
	struct world *w = *state;
	struct answer a;
	struct gt_err err = { 0 };
	struct gt_demand_function f = { .function = "one",
					.calls = 3,
					.responses = { [2] = 2, [4] = 1 },
					.wait = { { 1, 1 }, 4000 } };
	struct gt_demand d = { .gateway = "gw-1",
			       .epoch = 7,
			       .functions = &f,
			       .n_functions = 1,
			       .stats = { .connections = 5 } };

	put_ok(w, "one", SPEC, 201);
	f.refusals[gt_refusal_index("queue_full")] = 1;
	d.stats.refusals[gt_refusal_index("unauthorized")] = 2;
	assert_int_equal(gt_control_demand(w->control, &d, &err), 0);
	ask(w, "GET", "/metrics", NULL, NULL, &a);
#define ONE "{gateway=\"gw-1\",function=\"one\""
	static const char *const lines[] = {
		"gantry_calls_total" ONE "} 3\n",
		"gantry_call_answers_total" ONE ",class=\"2xx\"} 2\n",
		"gantry_calls_refused_total" ONE ",cause=\"queue_full\"} 1\n",
		"gantry_call_wait_seconds_bucket" ONE ",le=\"0.001\"} 1\n",
		"gantry_call_wait_seconds_bucket" ONE ",le=\"0.005\"} 2\n",
		"gantry_call_wait_seconds_bucket" ONE ",le=\"+Inf\"} 2\n",
		"gantry_call_wait_seconds_sum" ONE "} 0.004000\n",
		"gantry_call_wait_seconds_count" ONE "} 2\n",
		"gantry_gateway_connections{gateway=\"gw-1\"} 5\n",
		"gantry_gateway_refused_total{gateway=\"gw-1\",cause=\"unauthorized\"} 2\n",
	};
	for (size_t i = 0; i < GT_LEN(lines); i++)
		if (!strstr(a.body, lines[i]))
			fail_msg("no %s in %s", lines[i], a.body);
	answer_fini(&a);
}

#define t(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(asks_for_a_token),
		t(creates_then_unchanged_then_changes),
		t(guards_changes_with_etags),
		t(dry_run_changes_nothing),
		t(refuses_what_is_wrong_and_says_where),
		t(says_that_the_disk_is_full),
		t(deletes),
		t(pages_cover_the_list_once),
		t(shows_revisions),
		t(lists_models_at_zero),
		t(shows_models_to_who_may_call_them),
		t(says_whether_it_is_ready),
		t(serves_metrics_and_the_contract),
		t(shows_what_a_replica_uses),
		t(serves_what_gateways_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
