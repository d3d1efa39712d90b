/* test_learned.c - what was learned outlives control: replicas are kept for as long as they would
 * have been, and starts are expected to take what they took. */
#include "fixture.h"

#include <gantry/control/learned.h>

#include <gantry/base/buf.h>

/* One replica that served for 10 s and stays for 60 s more; 25 s later another control begins. */
static struct gt_observed served(struct fix *x, struct gt_buf *learned, bool final)
{
	char id[GT_REPLICA_ID_SIZE];

	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 1, 0);
	gt_strcopy(id, sizeof(id), x->order.replica);
	fix_pass(x, 3000);
	fix_report(x, id, GT_REPLICA_READY);
	fix_demand(x, "f", 0, 1);
	fix_pass(x, 10000);
	fix_demand(x, "f", 0, 0);
	fix_pass(x, 25000);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	gt_control_learned_save(x->c, final, learned);
	return fix_observed(id, "f", 1, GT_REPLICA_READY);
}

/* `away_ms` later, on a machine whose clock began anew. */
static void begin_again(struct fix *x, const struct gt_buf *learned, uint64_t away_ms,
			const struct gt_observed *found)
{
	const struct gt_control_ports ports = fix_ports(x);
	const struct gt_control_config config = { .epoch = FIX_EPOCH };
	const struct gt_function_row row = {
		.name = "f", .revision = 1, .created_ms = 1, .spec_json = "{}", .etag = "a"
	};

	gt_control_free(x->c);
	x->event.id = 0; /* the epoch is the same here */
	x->now_ns += away_ms * GT_NS_PER_MS;
	x->c = gt_control_new(&ports, &config);
	gt_control_load(x->c, &row, fix_spec());
	assert_int_equal(gt_control_learned_load(x->c, learned->data, learned->len, NULL), 0);
	gt_control_node_up(x->c, "n1");
	gt_control_gateway_up(x->c, "g1");
	fix_report_full(x, found, 1);
	assert_true(gt_control_settled(x->c));
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
}

/* For how many seconds it is kept. */
static unsigned kept_s(struct fix *x)
{
	unsigned s = 0;

	for (; s < 200 && fix_view(x, "f").replicas[GT_REPLICA_READY] > 0; s++)
		fix_pass(x, 1000);
	return s;
}

static void a_window_goes_on_where_it_was(void **state)
{
	gt_auto(buf) struct gt_buf learned = { 0 };
	struct gt_observed found = served(*state, &learned, true);

	begin_again(*state, &learned, 5000, &found);
	assert_in_range(kept_s(*state), 29, 31);
}

static void after_a_kill_it_is_kept_for_a_whole_one(void **state)
{
	gt_auto(buf) struct gt_buf learned = { 0 };
	struct gt_observed found = served(*state, &learned, false);

	begin_again(*state, &learned, 5000, &found);
	assert_in_range(kept_s(*state), 59, 61);
}

static void starts_are_expected_to_take_what_they_took(void **state)
{
	gt_auto(buf) struct gt_buf learned = { 0 };
	struct gt_observed found = served(*state, &learned, false);

	assert_int_equal(fix_view(*state, "f").start_ms, 3000);
	begin_again(*state, &learned, 5000, &found);
	assert_int_equal(fix_view(*state, "f").start_ms, 3000);
}

static void damage_leaves_everything_as_it_was(void **state)
{
	struct fix *x = *state;
	gt_auto(buf) struct gt_buf learned = { 0 };
	struct gt_err err = { 0 };

	served(x, &learned, true);
	learned.data[learned.len / 2] ^= 1;
	assert_int_equal(gt_control_learned_load(x->c, learned.data, learned.len, &err), -EINVAL);
	assert_string_equal(err.slug, "invalid_state");
	assert_int_equal(fix_view(x, "f").start_ms, 3000);
	assert_in_range(kept_s(x), 34, 36);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, fix_setup, fix_teardown)
	const struct CMUnitTest tests[] = {
		WITH(a_window_goes_on_where_it_was),
		WITH(after_a_kill_it_is_kept_for_a_whole_one),
		WITH(starts_are_expected_to_take_what_they_took),
		WITH(damage_leaves_everything_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
