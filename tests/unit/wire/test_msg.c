/* test_msg.c - messages between roles: round trips with every member set, and hostile ones refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/wire/wire.h>

#include "msg_fields.h"

#define ID_A "01JD0000000000000000000000"
#define ID_B "01JD0000000000000000000001"
#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void read_line(const char *text, struct gt_line *ret)
{
	struct gt_err err = { 0 };

	if (gt_line_read(text, strlen(text), ret, &err) < 0)
		fail_msg("refused: %s\n%s", err.text, text);
}

/* Writes, reads, writes: both texts equal and the struct too. Returns the text. */
static void line_round_trip(const struct gt_line *line, struct gt_buf *text)
{
	gt_auto(buf) struct gt_buf again = { 0 };
	struct gt_line copy = { 0 };

	gt_line_write(line, text);
	assert_int_equal(text->data[text->len - 1], '\n');
	assert_int_equal(strcspn(text->data, "\n"), text->len - 1);
	read_line(text->data, &copy);
	assert_int_equal(copy.type, line->type);
	assert_true(gt_fields_equal(&gt_line_fields[line->type], line, &copy));
	gt_line_write(&copy, &again);
	assert_string_equal(again.data, text->data);
	gt_line_fini(&copy);
}

static void order_lines_round_trip(void **state)
{
	(void)state;
	struct gt_gpu_grant grants[] = { { "a", 500, GT_GIB }, { "b", 500, GT_GIB } };
	char addresses[][GT_ADDRESS_MAX + 1] = { "10.0.0.1", "fd00::2" };
	struct gt_order orders[] = {
		{ .replica = ID_A,
		  .function = "echo",
		  .revision = 7,
		  .want = GT_WANT_PARK,
		  .turn = 9,
		  .known = true,
		  .spec_json = (char[]){ "{\"a\":\"\\n\"}" },
		  .gpus = grants,
		  .n_gpus = 2,
		  .gang = { "01K0000000000000000000000G", 3, 0, 2, 29500 },
		  .addresses = addresses,
		  .n_addresses = 2 },
		{ .replica = ID_B,
		  .function = "other",
		  .revision = 1,
		  .want = GT_WANT_STOP,
		  .grace_ms = 30000 },
	};
	gt_auto(buf) struct gt_buf all = { 0 }, one = { 0 }, none = { 0 };

	line_round_trip(&(struct gt_line){ .type = GT_LINE_SNAPSHOT,
					   .epoch = 3,
					   .seq = 9,
					   .orders = orders,
					   .n_orders = 2 },
			&all);
	assert_non_null(strstr(all.data, "\"want\":\"park\",\"known\":true,"));
	assert_non_null(strstr(all.data, "\"epoch\":3,\"seq\":9,\"orders\":[{\"replica\":\"" ID_A));
	line_round_trip(
		&(struct gt_line){
			.type = GT_LINE_ORDER, .seq = 10, .orders = orders + 1, .n_orders = 1 },
		&one);
	assert_string_equal(one.data,
			    "{\"type\":\"order\",\"seq\":10,\"order\":{\"replica\":\"" ID_B
			    "\",\"function\":\"other\",\"revision\":1,\"want\":\"stop\","
			    "\"grace_ms\":30000}}\n");
	line_round_trip(&(struct gt_line){ .type = GT_LINE_SNAPSHOT, .epoch = 1 }, &none);
	assert_string_equal(none.data, "{\"type\":\"snapshot\",\"epoch\":1,\"seq\":0}\n");
}

static void route_lines_round_trip(void **state)
{
	(void)state;
	char *models[] = { (char[]){ "org/m:1" }, (char[]){ "m" } };
	struct gt_route_replica replicas[] = { { .id = ID_A, .suspect = true },
					       { .id = ID_B, .node = "far", .draining = true } };
	struct gt_route routes[] = {
		{ .function = "llm",
		  .revision = 4,
		  .access = GT_ACCESS_PUBLIC,
		  .concurrency = 16,
		  .target = 8,
		  .queue = 1000,
		  .wait_ms = 1,
		  .first_byte_ms = 2,
		  .idle_ms = 4,
		  .run_ms = 3,
		  .body_bytes = 1ULL << 40,
		  .idempotent = true,
		  .affinity = "X-Session-Id",
		  .max_replicas = 10,
		  .start_ms = 1500,
		  .models = models,
		  .n_models = 2,
		  .replicas = replicas,
		  .n_replicas = 2,
		  .fail_seq = 5,
		  .retry_ms = 8000,
		  .fail = { .cause = "exited_early",
			    .text = "exit status 3",
			    .exit_code = 3,
			    .signal = 0,
			    .log_tail = (char[]){ "a\nb \x1b[0m" } } },
		{ .function = "echo" },
	};
	char tokens[][GT_TOKEN_HASH_HEX] = { HASH };
	struct gt_member members[] = { { .node = "a", .since_ms = 1 }, { .node = "b-2" } };
	gt_auto(buf) struct gt_buf all = { 0 }, one = { 0 };

	line_round_trip(&(struct gt_line){ .type = GT_LINE_SNAPSHOT,
					   .epoch = 3,
					   .seq = 9,
					   .routes = routes,
					   .n_routes = 2,
					   .tokens = tokens,
					   .n_tokens = 1,
					   .members = members,
					   .n_members = 2 },
			&all);
	line_round_trip(
		&(struct gt_line){
			.type = GT_LINE_ROUTE, .seq = 1, .routes = routes, .n_routes = 1 },
		&one);
	struct gt_line copy = { 0 };

	read_line(one.data, &copy);
	assert_int_equal(copy.routes[0].fail.exit_code, 3);
	assert_string_equal(copy.routes[0].fail.log_tail, "a\nb \x1b[0m");
	assert_true(copy.routes[0].replicas[0].suspect);
	assert_true(copy.routes[0].replicas[1].draining);
	assert_false(copy.routes[0].replicas[1].suspect);
	assert_string_equal(copy.routes[0].replicas[0].node, "");
	assert_string_equal(copy.routes[0].replicas[1].node, "far");
	assert_string_equal(copy.routes[0].models[1], "m");
	gt_line_fini(&copy);
	gt_line_fini(&copy);
}

static void small_lines_round_trip(void **state)
{
	(void)state;
	char tokens[][GT_TOKEN_HASH_HEX] = { HASH, HASH };
	gt_auto(buf) struct gt_buf a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 }, e = { 0 };

	line_round_trip(&(struct gt_line){ .type = GT_LINE_FORGET, .seq = 1, .name = ID_A }, &a);
	assert_string_equal(a.data, "{\"type\":\"forget\",\"seq\":1,\"replica\":\"" ID_A "\"}\n");
	line_round_trip(&(struct gt_line){ .type = GT_LINE_GONE, .seq = 2, .name = "echo" }, &b);
	assert_string_equal(b.data, "{\"type\":\"gone\",\"seq\":2,\"function\":\"echo\"}\n");
	line_round_trip(&(struct gt_line){ .type = GT_LINE_PING, .seq = 3 }, &c);
	assert_string_equal(c.data, "{\"type\":\"ping\",\"seq\":3}\n");
	line_round_trip(
		&(struct gt_line){
			.type = GT_LINE_TOKENS, .seq = 4, .tokens = tokens, .n_tokens = 2 },
		&d);
	line_round_trip(&(struct gt_line){ .type = GT_LINE_TOKENS, .seq = 5 }, &e);
	assert_string_equal(e.data, "{\"type\":\"tokens\",\"seq\":5,\"tokens\":[]}\n");
	struct gt_member one = { .node = "a", .since_ms = 7 };
	gt_auto(buf) struct gt_buf f = { 0 }, g = { 0 };

	line_round_trip(&(struct gt_line){ .type = GT_LINE_NODES, .members = &one, .n_members = 1 },
			&f);
	assert_string_equal(f.data, "{\"type\":\"nodes\",\"seq\":0,\"nodes\":"
				    "[{\"name\":\"a\",\"since_ms\":7}]}\n");
	line_round_trip(&(struct gt_line){ .type = GT_LINE_NODES, .seq = 6 }, &g);
	assert_string_equal(g.data, "{\"type\":\"nodes\",\"seq\":6,\"nodes\":[]}\n");
}

static void reports_round_trip(void **state)
{
	(void)state;
	struct gt_gpu_grant grants[] = { { "GPU-1/0", GT_GPU_WHOLE, 7 }, { "b", 1, 0 } };
	struct gt_observed replicas[] = {
		{ .replica = ID_A,
		  .function = "echo",
		  .revision = 2,
		  .state = GT_REPLICA_PARKED,
		  .turn = 3,
		  .park = { GT_PARK_FREEZE, "it has no GPU", 1 << 20, 5, 6, 7, 8, 9 },
		  .pid = 4711,
		  .created_ms = 1700000000000,
		  .cpu_milli = 500,
		  .memory_bytes = 1 << 20,
		  .gpus = grants,
		  .n_gpus = GT_LEN(grants),
		  .phases = { 5, 1, 2, 3, 4, 6 },
		  .weights = { 30, 20, 10, true, "store_full" },
		  .usage = { GT_USAGE_ALL,
			     1,
			     2,
			     3,
			     4,
			     5,
			     6,
			     7,
			     8,
			     9,
			     10,
			     23,
			     24,
			     { 11, 12, 13, 14 },
			     { 15, 16, 17, 18 },
			     { 19, 20, 21, 22 } } },
		{ .replica = ID_B,
		  .function = "echo",
		  .revision = 2,
		  .state = GT_REPLICA_FAILED,
		  .end = { .cause = "out_of_memory",
			   .text = "t",
			   .exit_code = -1,
			   .signal = 9,
			   .log_tail = (char[]){ "bye" } } },
		{ .replica = ID_B,
		  .function = "echo",
		  .state = GT_REPLICA_PULLING,
		  .pull = { 1, 2, 3, 4 } },
	};
	struct gt_gpu gpus[] = {
		{ .uuid = "SIM-local-0",
		  .model = "NVIDIA H100 80GB",
		  .memory_bytes = 80 * GT_GIB,
		  .foreign_bytes = 5,
		  .pci = "0000:c6:00.0",
		  .minor = 3,
		  .gi = -1,
		  .ci = -1,
		  .capability = 90,
		  .numa = -1 },
		{ .uuid = "MIG-1",
		  .model = "L4",
		  .memory_bytes = GT_GPU_BYTES_MAX,
		  .backend = GT_GPU_NVIDIA,
		  .health = GT_GPU_LOST,
		  .reason = "XID 79",
		  .gi = 7,
		  .ci = 0,
		  .minor = -1 },
	};
	struct gt_gpu_told stats[] = { { "MIG-1", { 5, { 41, 0, 7 } } } };
	struct gt_told_event events[] = {
		{ .type = "gpu.overuse", .function = "echo", .replica = ID_A, .text = "much" },
	};
	struct gt_label labels[] = { { "rack", "" }, { "zone", "a" } };
	struct gt_weights_here here[] = { { "0123456789abcdef", 5, 7 } };
	const struct gt_report report = { .node = "local",
					  .weights = { true, 1, GT_PAGES_SMALL, 2, 3, true, here,
						       GT_LEN(here) },
					  .full = true,
					  .epoch = 5,
					  .cpu_milli = 2000,
					  .memory_bytes = 1 << 30,
					  .parking_bytes = 1 << 29,
					  .gpus = gpus,
					  .n_gpus = GT_LEN(gpus),
					  .gpu_stats = stats,
					  .n_gpu_stats = 1,
					  .events = events,
					  .n_events = 1,
					  .gpu_driver = { .state = GT_GPU_DRIVER_READY,
							  .backend = GT_GPU_NVIDIA,
							  .version = "580.95.05",
							  .cuda = "cuInit: stub (34)" },
					  .labels = labels,
					  .n_labels = GT_LEN(labels),
					  .replicas = replicas,
					  .n_replicas = GT_LEN(replicas) };
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_report copy = { 0 };
	struct gt_err err = { 0 };

	gt_report_write(&report, &text);
	if (gt_report_read(text.data, text.len, &copy, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(gt_fields_equal(&gt_report_fields, &report, &copy));
	assert_int_equal(copy.replicas[1].end.exit_code, -1);
	assert_int_equal(copy.replicas[1].end.signal, 9);
	assert_int_equal(copy.replicas[0].phases.ready_us, 4);
	assert_int_equal(copy.replicas[0].memory_bytes, 1 << 20);
	assert_int_equal(copy.replicas[0].usage.io_writes, 10);
	assert_int_equal(copy.replicas[0].usage.io.full_us, 22);
	assert_int_equal(copy.replicas[1].usage.has, 0);
	assert_int_equal(copy.replicas[2].pull.total_layers, 4);
	assert_int_equal(copy.n_gpus, 2);
	assert_string_equal(copy.gpus[0].model, "NVIDIA H100 80GB");
	assert_true(gt_gpu_healthy(&copy.gpus[0]) && copy.gpus[1].health == GT_GPU_LOST);
	assert_int_equal(copy.gpus[0].gi, -1);
	assert_int_equal(copy.gpu_stats[0].stats.value[2], 7);
	assert_int_equal(copy.replicas[0].usage.gpu_memory_peak_bytes, 24);
	assert_string_equal(copy.events[0].function, "echo");
	assert_int_equal(copy.gpus[1].ci, 0);
	assert_string_equal(copy.gpu_driver.version, "580.95.05");
	assert_int_equal(copy.replicas[0].gpus[0].memory_bytes, 7);
	assert_int_equal(copy.replicas[1].n_gpus, 0);
	assert_string_equal(copy.labels[1].value, "a");
	assert_int_equal(copy.replicas[0].phases.weights_us, 6);
	assert_string_equal(copy.replicas[0].weights.why, "store_full");
	assert_true(copy.weights.told && copy.weights.n_here == 1);
	assert_int_equal(copy.weights.here[0].total, 7);
	gt_report_fini(&copy);
	gt_report_fini(&copy);
}

#define GPU(members) \
	"{\"node\":\"local\",\"full\":true,\"epoch\":1,\"replicas\":[],\"gpus\":[{" members "}]}"

static void hostile_facts_of_nodes_are_refused(void **state)
{
	static const struct {
		const char *text, *path;
	} rows[] = {
		{ "{\"node\":\"local\",\"full\":true,\"epoch\":1,\"replicas\":[],"
		  "\"events\":[{\"type\":\"function.deleted\"}]}",
		  "events[0].type" },
		{ GPU("\"model\":\"m\",\"backend\":\"sim\""), "gpus[0].uuid" },
		{ GPU("\"uuid\":\"a b\",\"model\":\"m\",\"backend\":\"sim\""), "gpus[0].uuid" },
		{ GPU("\"uuid\":\"a\",\"model\":\"m\\\"x\",\"backend\":\"sim\""), "gpus[0].model" },
		{ GPU("\"uuid\":\"a\",\"model\":\"m\",\"backend\":\"real\""), "gpus[0].backend" },
		{ GPU("\"uuid\":\"a\",\"model\":\"m\",\"backend\":\"sim\","
		      "\"memory_bytes\":99999999999999999"),
		  "gpus[0].memory_bytes" },
		{ "{\"node\":\"local\",\"epoch\":1,\"replicas\":[{\"replica\":\"r\",\"function\":"
		  "\"f\","
		  "\"state\":\"ready\",\"gpus\":[{\"uuid\":\"a\",\"milli\":1001}]}]}",
		  "replicas[0].gpus[0].milli" },
		{ "{\"node\":\"local\",\"epoch\":1,\"labels\":{\"a b\":\"\"}}", "labels.a b" },
		{ "{\"node\":\"local\",\"epoch\":1,\"labels\":{\"a\":\"\\n\"}}", "labels.a" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		struct gt_report report = { 0 };
		struct gt_err err = { 0 };

		assert_int_equal(gt_report_read(rows[i].text, strlen(rows[i].text), &report, &err),
				 -EINVAL);
		assert_string_equal(err.path, rows[i].path);
	}
}

static void demands_round_trip(void **state)
{
	(void)state;
	struct gt_demand_function functions[] = {
		{ .function = "echo",
		  .queued = 1,
		  .in_flight = 2,
		  .oldest_wait_ms = 3,
		  .calls = 4,
		  .responses = { 6, 7, 8, 9, 10, 11 },
		  .refusals = { 1, [GT_REFUSALS - 1] = 17 },
		  .bytes_in = 12,
		  .bytes_out = 13,
		  .busy_us = 14,
		  .cold = 16,
		  .wait = { { 1, [GT_HIST_BOUNDS] = 5 }, 18 } },
		{ .function = "other" },
	};
	char drained[][GT_REPLICA_ID_SIZE] = { ID_A, ID_B };
	const struct gt_demand demand = { .gateway = "local",
					  .full = false,
					  .epoch = 5,
					  .functions = functions,
					  .n_functions = 2,
					  .drained = drained,
					  .n_drained = 2,
					  .stats = { .connections = 99, .refusals = { [2] = 3 } } };
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_demand copy = { 0 };
	struct gt_err err = { 0 };

	gt_demand_write(&demand, &text);
	if (gt_demand_read(text.data, text.len, &copy, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(gt_fields_equal(&gt_demand_fields, &demand, &copy));
	assert_int_equal(copy.functions[0].responses[5], 11);
	assert_int_equal(copy.functions[0].cold, 16);
	assert_int_equal(copy.functions[0].refusals[GT_REFUSALS - 1], 17);
	assert_int_equal(copy.functions[0].wait.n[GT_HIST_BOUNDS], 5);
	assert_int_equal(copy.functions[0].wait.sum_us, 18);
	assert_int_equal(copy.stats.connections, 99);
	assert_int_equal(copy.stats.refusals[2], 3);
	assert_string_equal(copy.drained[1], ID_B);
	gt_demand_fini(&copy);
}

static void broken_text_is_repaired_and_cut(void **state)
{
	(void)state;
	struct gt_observed replica = { .replica = ID_A,
				       .function = "echo",
				       .state = GT_REPLICA_FAILED };
	const struct gt_report report = { .node = "local", .replicas = &replica, .n_replicas = 1 };
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_report copy = { 0 };
	struct gt_err err = { 0 };

	/* Each of these bytes becomes three. */
	memset(replica.end.text, 0xff, sizeof(replica.end.text) - 1);
	gt_report_write(&report, &text);
	if (gt_report_read(text.data, text.len, &copy, &err) < 0)
		fail_msg("%s", err.text);
	size_t len = strlen(copy.replicas[0].end.text);

	assert_int_equal(len, (sizeof(replica.end.text) - 1) / 3 * 3); /* no half character */
	gt_report_fini(&copy);
}

static void hostile_lines_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *path;
	} cases[] = {
		{ "[]", "" },
		{ "{}", "type" },
		{ "{\"type\":\"nonsense\"}", "type" },
		{ "{\"type\":7}", "type" },
		{ "{\"type\":\"ping\",\"seq\":-1}", "seq" },
		{ "{\"type\":\"ping\",\"seq\":1.5}", "seq" },
		{ "{\"type\":\"order\"}", "order" },
		{ "{\"type\":\"order\",\"order\":[]}", "order" },
		{ "{\"type\":\"order\",\"order\":{\"function\":\"a\"}}", "order.replica" },
		{ "{\"type\":\"order\",\"order\":{\"replica\":\"../x\",\"function\":\"a\"}}",
		  "order.replica" },
		{ "{\"type\":\"order\",\"order\":{\"replica\":\"a\",\"function\":\"../a\"}}",
		  "order.function" },
		{ "{\"type\":\"order\",\"order\":{\"replica\":\"a\",\"function\":\"a\",\"want\":"
		  "\"x\"}}",
		  "order.want" },
		{ "{\"type\":\"order\",\"order\":{\"replica\":\"" ID_A "0\",\"function\":\"a\"}}",
		  "order.replica" },
		{ "{\"type\":\"snapshot\",\"orders\":[{\"replica\":\"a\",\"function\":\"a\","
		  "\"spec\":\"{}\"},{\"replica\":\"b\",\"function\":\"a\",\"spec\":1}]}",
		  "orders[1].spec" },
		{ "{\"type\":\"route\",\"route\":{\"function\":\"a\",\"models\":[\"m\",2]}}",
		  "route.models[1]" },
		{ "{\"type\":\"route\",\"route\":{\"function\":\"a\",\"fail\":{\"log_tail\":\"x\","
		  "\"signal\":900}}}",
		  "route.fail.signal" },
		{ "{\"type\":\"tokens\",\"tokens\":[\"" HASH "\",\"abc\"]}", "tokens[1]" },
		{ "{\"type\":\"nodes\",\"nodes\":[{\"name\":\"A\"}]}", "nodes[0].name" },
		{ "{\"type\":\"nodes\",\"nodes\":[{}]}", "nodes[0].name" },
		{ "{\"type\":\"gone\",\"function\":\"A\"}", "function" },
		{ "{\"type\":\"gone\",\"function\":\"\"}", "function" },
	};

	for (size_t i = 0; i < GT_LEN(cases); i++) {
		struct gt_line line = { .seq = 77 };
		struct gt_err err = { 0 };
		int r = gt_line_read(cases[i].text, strlen(cases[i].text), &line, &err);

		if (r != -EINVAL || strcmp(err.path, cases[i].path) != 0)
			fail_msg("%s: %d \"%s\" %s", cases[i].text, r, err.path, err.text);
		assert_true(err.text[0]);
		assert_int_equal(line.seq, 77); /* nothing was written */
	}
}

static void cut_lines_are_refused_at_every_length(void **state)
{
	(void)state;
	static const char text[] =
		"{\"type\":\"snapshot\",\"epoch\":1,\"seq\":2,\"tokens\":[\"" HASH "\"],\"routes\":"
		"[{\"function\":\"a\",\"models\":[\"m\"],\"replicas\":[{\"id\":\"x\"}],"
		"\"fail\":{\"log_tail\":\"x\"}}]}";

	for (size_t len = 0; len < strlen(text); len++) {
		struct gt_line line = { 0 };
		struct gt_err err = { 0 };

		assert_int_equal(gt_line_read(text, len, &line, &err), -EINVAL);
		assert_string_equal(err.slug, "malformed_json");
	}
	struct gt_line line = { 0 };

	read_line(text, &line);
	gt_line_fini(&line);
}

/* Roles and hosts of two versions speak with each other. */
static void what_a_newer_version_adds_is_passed_over(void **state)
{
	(void)state;
	static const char report[] =
		"{\"node\":\"a\",\"mood\":{},\"replicas\":[{\"replica\":\"" ID_A
		"\",\"function\":\"f\",\"state\":\"ready\",\"mood\":1}]}";
	static const char demand[] = "{\"gateway\":\"g\",\"mood\":[],\"functions\":"
				     "[{\"function\":\"f\",\"queued\":3,\"mood\":null}]}";
	static const char work[] = "{\"gateway\":\"g\",\"session\":7,\"mood\":1,\"wants\":"
				   "[{\"function\":\"f\",\"n\":2,\"mood\":\"x\"}]}\n";
	struct gt_line line = { 0 };
	struct gt_report r = { 0 };
	struct gt_demand d = { 0 };
	struct gt_task_op *op = NULL;
	uint64_t epoch = 0;

	read_line("{\"type\":\"snapshot\",\"epoch\":4,\"mood\":[1],\"routes\":[{\"function\":\"a\","
		  "\"mood\":1,\"replicas\":[{\"id\":\"x\",\"mood\":{}}]}]}",
		  &line);
	assert_int_equal(line.epoch, 4);
	assert_string_equal(line.routes[0].replicas[0].id, "x");
	gt_line_fini(&line);
	assert_int_equal(gt_report_read(report, strlen(report), &r, NULL), 0);
	assert_string_equal(r.replicas[0].replica, ID_A);
	gt_report_fini(&r);
	assert_int_equal(gt_demand_read(demand, strlen(demand), &d, NULL), 0);
	assert_int_equal(d.functions[0].queued, 3);
	gt_demand_fini(&d);
	assert_int_equal(gt_exchange_read(work, strlen(work), &op, &epoch, NULL), 0);
	assert_int_equal(op->wants[0].n, 2);
	gt_task_op_free(op);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_lines_round_trip),
		cmocka_unit_test(route_lines_round_trip),
		cmocka_unit_test(small_lines_round_trip),
		cmocka_unit_test(reports_round_trip),
		cmocka_unit_test(hostile_facts_of_nodes_are_refused),
		cmocka_unit_test(demands_round_trip),
		cmocka_unit_test(broken_text_is_repaired_and_cut),
		cmocka_unit_test(hostile_lines_are_refused),
		cmocka_unit_test(what_a_newer_version_adds_is_passed_over),
		cmocka_unit_test(cut_lines_are_refused_at_every_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
