/* fixture.c - see fixture.h. */
#include "fixture.h"

#include <stdlib.h>

static uint64_t fix_mono(void *arg)
{
	return ((struct fix *)arg)->now_ns;
}

static uint64_t fix_wall(void *arg)
{
	const struct fix *x = arg;

	return 1700000000000ULL + (uint64_t)x->set_ms + x->now_ns / GT_NS_PER_MS;
}

static void job_add(struct fix *x, bool drop, const char *function, gt_store_done_fn *done,
		    void *arg)
{
	struct fix_job *job = &x->jobs[x->n_jobs++];

	assert_true(x->n_jobs < FIX_MAX);
	*job = (struct fix_job){ .drop = drop, .done = done, .arg = arg };
	gt_strcopy(job->function, sizeof(job->function), function);
}

static void store_put(void *ctx, const struct gt_function_row *row, gt_store_done_fn *done,
		      void *arg)
{
	job_add(ctx, false, row->name, done, arg);
}

static void store_drop(void *ctx, const char *function, gt_store_done_fn *done, void *arg)
{
	job_add(ctx, true, function, done, arg);
}

static void store_revisions(void *ctx, const char *function, gt_store_revisions_fn *done, void *arg)
{
	(void)ctx;
	(void)function;
	done(NULL, NULL, 0, arg);
}

void fix_store_answer(struct fix *x, const struct gt_err *err)
{
	struct fix_job job = x->jobs[0];

	assert_true(x->n_jobs > 0);
	memmove(x->jobs, x->jobs + 1, --x->n_jobs * sizeof(job));
	job.done(err, job.arg);
}

static void on_order(void *ctx, const char *node, const struct gt_order *order)
{
	struct fix *x = ctx;

	x->n_orders++;
	x->order = *order;
	x->order.spec_json = NULL;
	gt_strcopy(x->node, sizeof(x->node), node);
}

static void on_forget(void *ctx, const char *node, const char *replica)
{
	struct fix *x = ctx;

	(void)node;
	x->n_forgets++;
	gt_strcopy(x->forgot, sizeof(x->forgot), replica);
}

static void on_route(void *ctx, const char *function)
{
	struct fix *x = ctx;

	x->n_routes++;
	gt_strcopy(x->routed, sizeof(x->routed), function);
}

static void on_route_gone(void *ctx, const char *function)
{
	(void)function;
	((struct fix *)ctx)->n_gone++;
}

static void on_event(void *ctx, const struct gt_event *event)
{
	struct fix *x = ctx;

	assert_true(event->id > x->event.id);
	x->n_events++;
	x->event = *event;
}

static void store_put_node(void *ctx, const struct gt_node_row *row, gt_store_done_fn *done,
			   void *arg)
{
	struct fix *x = ctx;

	job_add(x, false, row->name, done, arg);
	x->said = *row;
}

static void store_member(void *ctx, struct gt_member_op *op)
{
	struct fix *x = ctx;

	assert_null(x->member);
	x->member = op;
}

static void on_members(void *ctx)
{
	((struct fix *)ctx)->n_members++;
}

static void on_due(void *ctx)
{
	((struct fix *)ctx)->n_due++;
}

static void on_scale(void *ctx, const char *function, const struct gt_scale_in *in,
		     const struct gt_scale_out *out)
{
	(void)function;
	(void)out;
	if (in)
		((struct fix *)ctx)->scaled = *in;
}

struct gt_control_ports fix_ports(struct fix *x)
{
	return (struct gt_control_ports){
		.clock = { .mono_ns = fix_mono, .wall_ms = fix_wall, .arg = x },
		.rnd = gt_rand_seeded(&x->seed),
		.store = { .ctx = x,
			   .put = store_put,
			   .drop = store_drop,
			   .put_node = store_put_node,
			   .revisions = store_revisions,
			   .member = store_member },
		.ctx = x,
		.on_order = on_order,
		.on_forget = on_forget,
		.on_route = on_route,
		.on_route_gone = on_route_gone,
		.on_event = on_event,
		.on_members = on_members,
		.on_due = on_due,
		.on_scale = on_scale,
	};
}

int fix_setup_empty(void **state)
{
	struct fix *x = gt_alloc(sizeof(*x));
	const struct gt_control_config config = { .epoch = FIX_EPOCH };

	x->now_ns = 1000 * GT_NS_PER_S;
	x->seed = 1;
	const struct gt_control_ports ports = fix_ports(x);

	x->c = gt_control_new(&ports, &config);
	*state = x;
	return 0;
}

int fix_setup(void **state)
{
	fix_setup_empty(state);
	struct fix *x = *state;

	gt_control_node_up(x->c, "n1");
	gt_control_gateway_up(x->c, "g1");
	fix_report_full(x, NULL, 0);
	return 0;
}

int fix_teardown(void **state)
{
	struct fix *x = *state;

	gt_control_free(x->c);
	free(x);
	return 0;
}

void fix_pass(struct fix *x, uint64_t ms)
{
	uint64_t end_ns = x->now_ns + ms * GT_NS_PER_MS;

	while (gt_control_due_ns(x->c) <= end_ns) {
		x->now_ns = GT_MAX(x->now_ns, gt_control_due_ns(x->c));
		gt_control_tick(x->c);
		assert_true(gt_control_due_ns(x->c) > x->now_ns);
	}
	x->now_ns = end_ns;
}

struct gt_spec *fix_spec(void)
{
	struct gt_spec *spec = gt_spec_new();

	spec->scale.max = 5;
	spec->scale.target = 1;
	spec->scale.concurrency = 1;
	spec->scale.idle_ms = 60000;
	spec->limits.drain_ms = 30000;
	spec->limits.idle_ms = 7000;
	spec->idempotent = true;
	spec->affinity.header = gt_strdup("X-User");
	spec->port = 8000;
	return spec;
}

static void put_ok(const struct gt_err *err, enum gt_put_result result,
		   const struct gt_function_view *view, void *arg)
{
	(void)result;
	(void)arg;
	assert_null(err);
	assert_non_null(view);
}

void fix_put(struct fix *x, const char *name, struct gt_spec *spec, const char *text)
{
	const struct gt_put put = { .name = name, .spec = spec, .spec_json = text, .etag = text };

	gt_control_put(x->c, &put, put_ok, NULL);
	fix_store_answer(x, NULL);
}

static void demand_post(struct fix *x, struct gt_demand *d)
{
	gt_strcopy(d->gateway, sizeof(d->gateway), "g1");
	d->epoch = FIX_EPOCH;
	assert_int_equal(gt_control_demand(x->c, d, NULL), 0);
}

void fix_demand(struct fix *x, const char *function, uint32_t queued, uint32_t in_flight)
{
	struct gt_demand_function f = { .queued = queued, .in_flight = in_flight };
	struct gt_demand d = { .functions = &f, .n_functions = 1 };

	gt_strcopy(f.function, sizeof(f.function), function);
	demand_post(x, &d);
}

void fix_drained(struct fix *x, const char *replica)
{
	char ids[1][GT_REPLICA_ID_SIZE] = { "" };
	struct gt_demand d = { .drained = ids, .n_drained = 1 };

	gt_strcopy(ids[0], sizeof(ids[0]), replica);
	demand_post(x, &d);
}

struct gt_observed fix_observed(const char *replica, const char *function, uint32_t revision,
				enum gt_replica_state state)
{
	struct gt_observed o = { .revision = revision, .state = state, .pid = 42 };

	gt_strcopy(o.replica, sizeof(o.replica), replica);
	gt_strcopy(o.function, sizeof(o.function), function);
	return o;
}

static void report_post(struct fix *x, bool full, const struct gt_observed *all, size_t n)
{
	struct gt_observed copy[16];
	struct gt_report r = { .node = "n1",
			       .full = full,
			       .epoch = FIX_EPOCH,
			       .cpu_milli = 2000,
			       .memory_bytes = 8 * GT_GIB,
			       .replicas = copy,
			       .n_replicas = n };

	assert_true(n <= GT_LEN(copy));
	for (size_t i = 0; i < n; i++)
		copy[i] = all[i];
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

void fix_report(struct fix *x, const char *replica, enum gt_replica_state state)
{
	struct gt_observed o = fix_observed(replica, x->order.function, x->order.revision, state);

	report_post(x, false, &o, 1);
}

void fix_fail(struct fix *x, const char *replica, const char *cause)
{
	struct gt_observed o = fix_observed(replica, x->order.function, x->order.revision,
					    GT_REPLICA_FAILED);
	char tail[] = "last words";

	gt_strcopy(o.end.cause, sizeof(o.end.cause), cause);
	gt_strcopy(o.end.text, sizeof(o.end.text), "it did not work");
	o.end.exit_code = 3;
	o.end.log_tail = tail;
	report_post(x, false, &o, 1);
}

void fix_report_full(struct fix *x, const struct gt_observed *all, size_t n)
{
	report_post(x, true, all, n);
}

struct gt_function_view fix_view(struct fix *x, const char *function)
{
	struct gt_function_view v = { 0 };

	assert_int_equal(gt_control_function(x->c, function, &v, NULL), 0);
	return v;
}

struct orders {
	struct gt_order *out;
	size_t n, max;
};

static void order_keep(const struct gt_order *o, void *arg)
{
	struct orders *orders = arg;

	assert_true(orders->n < orders->max);
	orders->out[orders->n++] = *o;
}

size_t fix_orders(struct fix *x, struct gt_order *out, size_t max)
{
	struct orders orders = { .out = out, .max = max };

	gt_control_orders(x->c, "n1", order_keep, &orders);
	return orders.n;
}

void fix_start(struct fix *x, const char *function, char id[GT_REPLICA_ID_SIZE])
{
	fix_demand(x, function, 1, 0);
	assert_int_equal(x->order.want, GT_WANT_RUN);
	assert_string_equal(x->order.function, function);
	gt_strcopy(id, GT_REPLICA_ID_SIZE, x->order.replica);
	fix_report(x, id, GT_REPLICA_READY);
	fix_demand(x, function, 0, 1);
}
