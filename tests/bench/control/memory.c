/* memory.c - what functions at zero, nodes and replicas cost control, as the allocator counts it;
 * and what a tick costs with a million functions at zero. One JSON object. */
#include <gantry/base/buf.h>
#include <gantry/control/control.h>
#include <gantry/wire/wire.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTIONS 1000000
#define NODES     1000
#define GPUS      8
#define REPLICAS  8000 /* all of one function in ten */

static const char spec_text[] =
	"{\"image\":\"registry.example/team/app:1\",\"command\":[\"/app/"
	"server\",\"--port\",\"8000\"],"
	"\"port\":8000,\"env\":{\"SOME\":\"value\"},\"resources\":{\"memory\":\"512MiB\"},"
	"\"scale\":{\"max\":1000}}";

static uint64_t now_ns = GT_NS_PER_S, seed = 1;

static uint64_t mono_ns(void *arg)
{
	(void)arg;
	return now_ns;
}

static uint64_t wall_ms(void *arg)
{
	(void)arg;
	return 1700000000000ULL + now_ns / GT_NS_PER_MS;
}

struct ordered {
	struct gt_observed *all;
	char (*nodes)[GT_NAME_MAX + 1];
	size_t n;
};

static void on_order(void *ctx, const char *node, const struct gt_order *order)
{
	struct ordered *o = ctx;
	struct gt_observed *to = &o->all[o->n];

	if (o->n == REPLICAS)
		return;
	gt_strcopy(to->replica, sizeof(to->replica), order->replica);
	gt_strcopy(to->function, sizeof(to->function), order->function);
	to->revision = order->revision;
	to->state = GT_REPLICA_READY;
	gt_strcopy(o->nodes[o->n++], sizeof(o->nodes[0]), node);
}

static void on_name(void *ctx, const char *name)
{
	(void)ctx;
	(void)name;
}

static void on_forget(void *ctx, const char *node, const char *replica)
{
	(void)ctx;
	(void)node;
	(void)replica;
}

static void on_due(void *ctx)
{
	(void)ctx;
}

static size_t used(void)
{
	return mallinfo2().uordblks + mallinfo2().hblkhd;
}

static void functions_load(struct gt_control *c)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_spec *spec;
	struct gt_err err;

	for (size_t i = 0; i < FUNCTIONS; i++) {
		char name[GT_NAME_MAX + 1];
		struct gt_function_row row = { .name = name, .revision = 1, .created_ms = 1 };

		if (gt_spec_read(spec_text, strlen(spec_text), &spec, &err) < 0) {
			fprintf(stderr, "memory: %s\n", err.text);
			exit(1);
		}
		gt_buf_reset(&text);
		gt_spec_write(spec, &text);
		row.spec_json = gt_buf_str(&text);
		snprintf(name, sizeof(name), "fn-%07zu", i);
		snprintf(row.etag, sizeof(row.etag), "%032zx", i);
		gt_control_load(c, &row, spec);
	}
	gt_buf_fini(&text);
}

static void nodes_join(struct gt_control *c)
{
	for (size_t i = 0; i < NODES; i++) {
		struct gt_gpu gpus[GPUS] = { 0 };
		struct gt_report r = { .full = true,
				       .epoch = 1,
				       .cpu_milli = 96000,
				       .memory_bytes = 1024 * GT_GIB,
				       .gpus = gpus,
				       .n_gpus = GPUS };

		snprintf(r.node, sizeof(r.node), "node-%zu", i);
		for (size_t g = 0; g < GPUS; g++) {
			snprintf(gpus[g].uuid, sizeof(gpus[g].uuid), "GPU-%zu-%zu", i, g);
			gt_strcopy(gpus[g].model, sizeof(gpus[g].model), "sim");
			gpus[g].memory_bytes = 80 * GT_GIB;
		}
		gt_control_node_up(c, r.node);
		(void)!gt_control_report(c, &r, NULL);
	}
}

static void replicas_start(struct gt_control *c, struct ordered *o)
{
	for (size_t i = 0; o->n < REPLICAS; i++) {
		struct gt_demand_function f = { .queued = 80 * GT_DEFAULT_CONCURRENCY };
		struct gt_demand d = { .epoch = 1, .functions = &f, .n_functions = 1 };

		gt_strcopy(d.gateway, sizeof(d.gateway), "gw");
		snprintf(f.function, sizeof(f.function), "fn-%07zu", i);
		(void)!gt_control_demand(c, &d, NULL);
	}
	for (size_t i = 0; i < o->n; i++) {
		struct gt_report r = { .epoch = 1,
				       .cpu_milli = 96000,
				       .memory_bytes = 1024 * GT_GIB,
				       .replicas = &o->all[i],
				       .n_replicas = 1 };

		gt_strcopy(r.node, sizeof(r.node), o->nodes[i]);
		(void)!gt_control_report(c, &r, NULL);
	}
}

int main(void)
{
	struct ordered o = { .all = gt_alloc_array(REPLICAS, sizeof(*o.all)),
			     .nodes = gt_alloc_array(REPLICAS, sizeof(*o.nodes)) };
	const struct gt_control_ports ports = { .clock = { .mono_ns = mono_ns, .wall_ms = wall_ms },
						.rnd = gt_rand_seeded(&seed),
						.ctx = &o,
						.on_order = on_order,
						.on_forget = on_forget,
						.on_route = on_name,
						.on_route_gone = on_name,
						.on_due = on_due };
	const struct gt_control_config config = { .epoch = 1 };
	struct gt_control *c = gt_control_new(&ports, &config);
	size_t before = used();

	functions_load(c);
	size_t functions = used() - before;

	before = used();
	nodes_join(c);
	size_t nodes = used() - before;
	uint64_t decisions = gt_control_decided(c), due_ns = gt_control_due_ns(c);

	before = used();
	replicas_start(c, &o);
	size_t replicas = used() - before;

	printf("{\"function\": %zu, \"node\": %zu, \"replica\": %zu, \"decisions_at_zero\": %llu, "
	       "\"due_at_zero\": %s}\n",
	       functions / FUNCTIONS, nodes / NODES, replicas / REPLICAS,
	       (unsigned long long)decisions, due_ns == UINT64_MAX ? "null" : "true");
	gt_control_free(c);
	free(o.all);
	free(o.nodes);
	return 0;
}
