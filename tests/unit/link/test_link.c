/* The link between real control and a peer that watches and posts through the http room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/http/watch.h>

#include "world.h"

#define SPEC "{\"image\":\"host:\",\"command\":[\"/bin/true\"],\"port\":8000,\"scale\":{\"min\":1}}"

/* What a peer has read: the last line of each type. */
struct peer {
	struct gt_ndjson_watch *watch;
	unsigned up, down, n[GT_LINE_N];
	struct gt_line last[GT_LINE_N];
	uint64_t seq;
};

/* ---- a peer --------------------------------------------------------------------------------- */

static void peer_up(void *arg)
{
	struct peer *p = arg;

	p->up++;
	p->seq = 0;
}

static void peer_down(const struct gt_err *why, void *arg)
{
	struct peer *p = arg;

	(void)why;
	p->down++;
}

static void peer_line(const char *text, size_t len, void *arg)
{
	struct peer *p = arg;
	struct gt_line line = { 0 };

	assert_int_equal(gt_line_read(text, len, &line, NULL), 0);
	if (p->seq == 0)
		assert_int_equal(line.type, GT_LINE_SNAPSHOT); /* always first */
	assert_true(line.seq >= p->seq && line.seq > 0);
	p->seq = line.seq;
	gt_line_fini(&p->last[line.type]);
	p->last[line.type] = line;
	p->n[line.type]++;
}

static void peer_start(struct world *w, struct peer *p, const char *path)
{
	gt_auto(free) char *url = gt_asprintf("http://control%s", path);
	struct gt_ndjson_config config = { .unix_path = w->path,
					   .url = url,
					   .on_up = peer_up,
					   .on_line = peer_line,
					   .on_down = peer_down,
					   .arg = p };

	memset(p, 0, sizeof(*p));
	assert_int_equal(gt_ndjson_watch_new(w->loop, w->client, &config, &p->watch, NULL), 0);
	step_until(w, p->n[GT_LINE_SNAPSHOT] == 1);
}

static void peer_end(struct peer *p)
{
	gt_ndjson_watch_free(p->watch);
	for (unsigned i = 0; i < GT_LINE_N; i++)
		gt_line_fini(&p->last[i]);
}

static int report(struct world *w, const char *node, uint64_t epoch, struct gt_observed *o)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_report r = { .full = true,
			       .epoch = epoch,
			       .cpu_milli = 8000,
			       .memory_bytes = 16 * GT_GIB,
			       .replicas = o,
			       .n_replicas = o != NULL };

	gt_strcopy(r.node, sizeof(r.node), node);
	gt_report_write(&r, &body);
	return post(w, "/link/v1/nodes/box/report", body.data, body.len);
}

/* ---- control's side ------------------------------------------------------------------------- */

static void on_put(const struct gt_err *err, enum gt_put_result result,
		   const struct gt_function_view *view, void *arg)
{
	(void)result;
	(void)view;
	assert_null(err);
	*(bool *)arg = true;
}

static void put(struct world *w, const char *name)
{
	struct gt_put put = { .name = name, .spec_json = SPEC, .etag = "e1" };
	bool done = false;

	assert_int_equal(gt_spec_read(SPEC, strlen(SPEC), &put.spec, NULL), 0);
	gt_control_put(w->control, &put, on_put, &done);
	step_until(w, done);
	gt_control_tick(w->control);
}

static bool node_state(const struct gt_node_view *v, void *arg)
{
	*(bool *)arg = v->state == GT_NODE_JOINING || v->state == GT_NODE_READY;
	return true;
}

static bool node_is_up(struct world *w)
{
	bool up = false;

	gt_control_nodes(w->control, node_state, &up);
	return up;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void orders_reach_the_node(void **state)
{
	struct world *w = *state;
	struct peer p;
	struct gt_observed o = { .revision = 1,
				 .state = GT_REPLICA_STARTING,
				 .end = { .exit_code = -1 } };

	peer_start(w, &p, "/link/v1/nodes/box/desired");
	assert_int_equal(p.last[GT_LINE_SNAPSHOT].epoch, 3);
	assert_int_equal(p.last[GT_LINE_SNAPSHOT].n_orders, 0);
	step_until(w, node_is_up(w));
	assert_int_equal(report(w, "box", 3, NULL), 204);
	put(w, "one");
	step_until(w, p.n[GT_LINE_ORDER] == 1);
	assert_string_equal(p.last[GT_LINE_ORDER].orders[0].function, "one");
	assert_int_equal(p.last[GT_LINE_ORDER].orders[0].want, GT_WANT_RUN);
	gt_strcopy(o.replica, sizeof(o.replica), p.last[GT_LINE_ORDER].orders[0].replica);
	gt_strcopy(o.function, sizeof(o.function), "one");
	assert_int_equal(report(w, "box", 3, &o), 204);
	peer_end(&p);
	step_until(w, !node_is_up(w));
	/* Who comes back gets what it missed in the snapshot. */
	peer_start(w, &p, "/link/v1/nodes/box/desired");
	assert_int_equal(p.last[GT_LINE_SNAPSHOT].n_orders, 1);
	assert_string_equal(p.last[GT_LINE_SNAPSHOT].orders[0].replica, o.replica);
	peer_end(&p);
}

static void routes_reach_every_gateway(void **state)
{
	struct world *w = *state;
	struct peer a, b;

	put(w, "zero");
	peer_start(w, &a, "/link/v1/gateways/a/routes");
	peer_start(w, &b, "/link/v1/gateways/b/routes");
	assert_int_equal(a.last[GT_LINE_SNAPSHOT].n_routes, 1);
	assert_int_equal(a.last[GT_LINE_SNAPSHOT].n_tokens, 1);
	assert_string_equal(a.last[GT_LINE_SNAPSHOT].tokens[0], HASH);
	put(w, "one");
	step_until(w, a.n[GT_LINE_ROUTE] > 0 && b.n[GT_LINE_ROUTE] > 0);
	assert_int_equal(b.last[GT_LINE_ROUTE].seq, gt_control_news(w->control));
	assert_string_equal(b.last[GT_LINE_ROUTE].routes[0].function, "one");
	assert_int_equal(b.last[GT_LINE_ROUTE].routes[0].revision, 1);
	assert_int_equal(a.n[GT_LINE_ORDER], 0);
	peer_end(&a);
	peer_end(&b);
}

static void demand_reaches_control(void **state)
{
	struct world *w = *state;
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_demand_function f = { .queued = 2, .in_flight = 3, .calls = 5 };
	struct gt_demand d = { .epoch = 3, .full = true, .functions = &f, .n_functions = 1 };
	struct gt_function_view v;
	struct peer p;

	put(w, "one");
	peer_start(w, &p, "/link/v1/gateways/gw/routes");
	gt_strcopy(d.gateway, sizeof(d.gateway), "gw");
	gt_strcopy(f.function, sizeof(f.function), "one");
	gt_demand_write(&d, &body);
	assert_int_equal(post(w, "/link/v1/gateways/gw/demand", body.data, body.len), 204);
	assert_int_equal(gt_control_function(w->control, "one", &v, NULL), 0);
	assert_int_equal(v.queued, 2);
	assert_int_equal(v.in_flight, 3);
	peer_end(&p);
}

static void refuses_what_is_stale_or_wrong(void **state)
{
	struct world *w = *state;
	struct peer p;

	peer_start(w, &p, "/link/v1/nodes/box/desired");
	assert_int_equal(report(w, "box", 2, NULL), 409);
	assert_int_equal(report(w, "other", 3, NULL), 400);
	assert_int_equal(post(w, "/link/v1/nodes/box/report", "{", 1), 400);
	assert_int_equal(post(w, "/link/v1/nodes/box/report", NULL, 0), 400);
	assert_int_equal(post(w, "/link/v1/nodes/box/report", "{}", 2), 422);
	assert_int_equal(post(w, "/link/v1/nothing", "{}", 2), 404);
	peer_end(&p);
}

static void a_second_watch_of_a_node_keeps_it_up(void **state)
{
	struct world *w = *state;
	struct peer first, second;

	peer_start(w, &first, "/link/v1/nodes/box/desired");
	peer_start(w, &second, "/link/v1/nodes/box/desired");
	peer_end(&first);
	for (int i = 0; i < 20; i++)
		assert_int_equal(gt_loop_step(w->loop, 5, NULL), 0);
	assert_true(node_is_up(w));
	peer_end(&second);
	step_until(w, !node_is_up(w));
}

/* An exchange and a join that are under way: the leak sanitizer looks at the end. */
static void what_the_store_still_owes_ends_with_the_link(void **state)
{
	struct world *w = *state;
	char token[GT_PKI_TOKEN_SIZE];
	gt_auto(buf) struct gt_buf exchange = { 0 }, join = { 0 }, key = { 0 }, csr = { 0 };
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_EXCHANGE);
	struct gt_json j;

	w->silent = true;
	op->sessions = gt_alloc(sizeof(*op->sessions));
	op->n_sessions = 1;
	op->sessions[0].session = 7;
	gt_strcopy(op->sessions[0].gateway, sizeof(op->sessions[0].gateway), "gw");
	gt_exchange_write(op, 3, &exchange);
	post_only(w, "/link/v1/gateways/gw/calls", exchange.data, exchange.len);
	assert_int_equal(gt_pki_key_new(&key, NULL), 0);
	assert_int_equal(gt_pki_request(key.data, &csr, NULL), 0);
	assert_int_equal(gt_pki_token_new(gt_pki_ca_pin(w->authority), token, NULL), 0);
	gt_json_begin(&j, &join);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "token", token);
	gt_json_str(&j, "node", "far");
	gt_json_str(&j, "csr", csr.data);
	gt_json_close(&j, '}');
	post_only(w, "/link/v1/join", join.data, join.len);
	step_until(w, w->task && w->member);
}

#define t(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(orders_reach_the_node),
		t(routes_reach_every_gateway),
		t(demand_reaches_control),
		t(refuses_what_is_stale_or_wrong),
		t(a_second_watch_of_a_node_keeps_it_up),
		t(what_the_store_still_owes_ends_with_the_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
