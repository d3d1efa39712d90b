/* test_away.c - what becomes of replicas whose node is not heard of: who waits for the fence, who
 * does not, and who stays when the node is back. */
#include "fixture.h"

static struct gt_err answer;

static void on_done(const struct gt_err *err, void *arg GT_UNUSED)
{
	answer = err ? *err : (struct gt_err){ 0 };
}

static void report(struct fix *x, const char *node, struct gt_observed *all, size_t n)
{
	struct gt_report r = { .full = true,
			       .epoch = FIX_EPOCH,
			       .cpu_milli = 8000,
			       .memory_bytes = 64 * GT_GIB,
			       .replicas = all,
			       .n_replicas = n };

	gt_strcopy(r.node, sizeof(r.node), node);
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

static void up(struct fix *x, const char *node)
{
	gt_control_node_up(x->c, node);
	report(x, node, NULL, 0);
}

static struct gt_spec *spec_of(uint64_t lost_after_ms, uint64_t stop_after_ms,
			       enum gt_reconcile reconcile)
{
	struct gt_spec *spec = fix_spec(); /* drain 30 s */

	spec->scale.min = 1;
	spec->disconnect.lost_after_ms = lost_after_ms;
	spec->disconnect.stop_after_ms = stop_after_ms;
	spec->disconnect.reconcile = reconcile;
	return spec;
}

/* One replica of f, ready on n1, which is down; n2 has room. */
static void cut_off(struct fix *x, struct gt_spec *spec, char id[GT_REPLICA_ID_SIZE])
{
	fix_put(x, "f", spec, "a");
	fix_start(x, "f", id);
	assert_string_equal(x->node, "n1");
	up(x, "n2");
	gt_control_node_down(x->c, "n1");
}

/* How long until the next order, in steps of 100 ms. */
static uint64_t until_order(struct fix *x, uint64_t most_ms)
{
	size_t before = x->n_orders;

	for (uint64_t ms = 0; ms <= most_ms; ms += 100) {
		if (x->n_orders > before)
			return ms;
		fix_pass(x, 100);
	}
	return UINT64_MAX;
}

static void without_a_policy_it_is_replaced_with_its_node(void **state)
{
	char id[GT_REPLICA_ID_SIZE];

	cut_off(*state, spec_of(0, 0, GT_RECONCILE_BEST), id);
	uint64_t ms = until_order(*state, 60000);

	assert_true(ms >= 10000 && ms <= 10200);
	assert_string_equal(((struct fix *)*state)->node, "n2");
}

static void lost_after_puts_the_replacement_off(void **state)
{
	char id[GT_REPLICA_ID_SIZE];

	cut_off(*state, spec_of(60000, 0, GT_RECONCILE_BEST), id);
	uint64_t ms = until_order(*state, 120000);

	assert_true(ms >= 60000 && ms <= 60200);
}

static void a_node_that_is_back_in_time_keeps_its_replica(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];

	cut_off(x, spec_of(60000, 0, GT_RECONCILE_BEST), id);
	assert_true(until_order(x, 50000) == UINT64_MAX);
	struct gt_observed o = fix_observed(id, "f", 1, GT_REPLICA_READY);

	gt_control_node_up(x->c, "n1");
	report(x, "n1", &o, 1);
	assert_true(until_order(x, 60000) == UINT64_MAX);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	assert_int_equal(gt_control_check(x->c, NULL), 0);
}

/* stop_after, the grace, and what clocks may differ: 60 + 30 s, a 128th part of it, and a second.
 */
#define FENCE_MS (90000 + 90000 / 128 + 1000)

static void a_replacement_waits_for_the_fence(void **state)
{
	char id[GT_REPLICA_ID_SIZE];

	cut_off(*state, spec_of(0, 60000, GT_RECONCILE_BEST), id);
	uint64_t ms = until_order(*state, 200000);

	assert_true(ms >= FENCE_MS && ms <= FENCE_MS + 200);
}

/* What it has is free when the fence is passed, not before. */
static void it_stays_booked_until_then(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];

	cut_off(x, spec_of(0, 60000, GT_RECONCILE_BEST), id);
	fix_pass(x, FENCE_MS - 1000);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	assert_int_equal(gt_control_check(x->c, NULL), 0);
	fix_pass(x, 1100);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 0);
	assert_int_equal(gt_control_check(x->c, NULL), 0);
}

/* Its node says that it stopped it: no need to wait longer, and no fault of the function. */
static void a_node_that_says_so_ends_the_wait(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];

	cut_off(x, spec_of(0, 60000, GT_RECONCILE_BEST), id);
	fix_pass(x, 70000);
	struct gt_observed o = fix_observed(id, "f", 1, GT_REPLICA_STOPPED);
	size_t before = x->n_orders;

	gt_strcopy(o.end.cause, sizeof(o.end.cause), "node_lost");
	gt_control_node_up(x->c, "n1");
	report(x, "n1", &o, 1);
	fix_pass(x, 100);
	assert_true(x->n_orders > before);
	assert_int_equal(fix_view(x, "f").failures, 0);
}

static void a_removed_node_is_waited_for_as_well(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];

	cut_off(x, spec_of(0, 60000, GT_RECONCILE_BEST), id);
	fix_pass(x, 20000);
	gt_control_node_delete(x->c, "n1", false, on_done, NULL);
	fix_store_answer(x, NULL);
	assert_int_equal(answer.code, 0);
	assert_string_equal(x->event.type, "scale.fenced");
	uint64_t ms = until_order(x, 200000) + 20000;

	assert_true(ms >= FENCE_MS && ms <= FENCE_MS + 700);
	assert_int_equal(gt_control_check(x->c, NULL), 0);
}

/* ---- after a start of control --------------------------------------------------------------- */

static void load(struct fix *x, struct gt_spec *spec)
{
	struct gt_function_row row = { .name = "f",
				       .revision = 1,
				       .etag = "a",
				       .spec_json = (char[]){ "a" },
				       .created_ms = 1 };

	gt_control_load(x->c, &row, spec);
	gt_control_load_member(x->c, &(struct gt_member){ .node = "n1", .since_ms = 1 });
}

static void after_a_start_nothing_runs_twice(void **state)
{
	struct fix *x = *state;

	load(x, spec_of(0, 60000, GT_RECONCILE_BEST));
	up(x, "n2");
	uint64_t ms = until_order(x, 200000);

	assert_true(ms >= FENCE_MS && ms <= FENCE_MS + 700);
}

static void after_a_start_who_comes_back_ends_the_wait(void **state)
{
	struct fix *x = *state;

	load(x, spec_of(0, 60000, GT_RECONCILE_BEST));
	up(x, "n2");
	assert_true(until_order(x, 10000) == UINT64_MAX);
	up(x, "n1"); /* with nothing */
	assert_true(until_order(x, 1000) <= 700);
}

static void after_a_start_others_do_not_wait(void **state)
{
	struct fix *x = *state;

	load(x, spec_of(0, 0, GT_RECONCILE_BEST));
	up(x, "n2");
	assert_true(until_order(x, 10000) <= 1700);
}

/* ---- both are there ------------------------------------------------------------------------- */

/* It was given to n2 and is ready there; n1 comes back with the first. Returns which one stays. */
static const char *both(struct fix *x, enum gt_reconcile reconcile, char first[GT_REPLICA_ID_SIZE])
{
	struct gt_spec *spec = spec_of(0, 0, reconcile);

	spec->scale.min = 0;
	spec->scale.max = 1;
	cut_off(x, spec, first);
	fix_demand(x, "f", 1, 0);
	assert_true(until_order(x, 20000) != UINT64_MAX);
	assert_string_equal(x->node, "n2");
	struct gt_observed o = fix_observed(x->order.replica, "f", 1, GT_REPLICA_READY);

	report(x, "n2", &o, 1);
	fix_demand(x, "f", 0, 1);
	o = fix_observed(first, "f", 1, GT_REPLICA_READY);
	size_t events = x->n_events;

	gt_control_node_up(x->c, "n1");
	report(x, "n1", &o, 1);
	assert_true(x->n_events > events);
	struct gt_route route = { 0 };
	static char stays[GT_REPLICA_ID_SIZE];

	assert_int_equal(gt_control_route(x->c, "f", &route, NULL), 0);
	stays[0] = '\0';
	for (size_t i = 0; i < route.n_replicas; i++)
		if (!route.replicas[i].draining)
			gt_strcopy(stays, sizeof(stays), route.replicas[i].id);
	gt_route_fini(&route);
	assert_true(stays[0]);
	return stays;
}

static void the_replacement_stays_where_that_is_asked_for(void **state)
{
	char first[GT_REPLICA_ID_SIZE];

	assert_string_not_equal(both(*state, GT_RECONCILE_REPLACEMENT, first), first);
}

static void the_original_stays_where_that_is_asked_for(void **state)
{
	char first[GT_REPLICA_ID_SIZE];

	assert_string_equal(both(*state, GT_RECONCILE_ORIGINAL, first), first);
}

int main(void)
{
#define t(f) cmocka_unit_test_setup_teardown(f, fix_setup, fix_teardown)
#define e(f) cmocka_unit_test_setup_teardown(f, fix_setup_empty, fix_teardown)
	const struct CMUnitTest tests[] = {
		t(without_a_policy_it_is_replaced_with_its_node),
		t(lost_after_puts_the_replacement_off),
		t(a_node_that_is_back_in_time_keeps_its_replica),
		t(a_replacement_waits_for_the_fence),
		t(it_stays_booked_until_then),
		t(a_node_that_says_so_ends_the_wait),
		t(a_removed_node_is_waited_for_as_well),
		e(after_a_start_nothing_runs_twice),
		e(after_a_start_who_comes_back_ends_the_wait),
		e(after_a_start_others_do_not_wait),
		t(the_replacement_stays_where_that_is_asked_for),
		t(the_original_stays_where_that_is_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
