/* test_park.c - idle replicas are parked and come back; turns on a GPU; what a node that refuses,
 * or another control, makes of it. */
#include "fixture.h"

#include <gantry/control/decision.h>

#include <stdlib.h>

static struct gt_gpu gpus[] = {
	{ .uuid = "G0", .model = "H100", .memory_bytes = 80 * GT_GIB, .backend = GT_GPU_SIM },
};

/* The node, with memory for parked ones, says so. */
static void node(struct fix *x, uint64_t parking_bytes, size_t n_gpus)
{
	const struct gt_report r = { .node = "n1",
				     .full = true,
				     .epoch = FIX_EPOCH,
				     .cpu_milli = 2000,
				     .memory_bytes = 64 * GT_GIB,
				     .parking_bytes = parking_bytes,
				     .gpus = gpus,
				     .n_gpus = n_gpus };

	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

static void told(struct fix *x, uint64_t parking_bytes, const char *id, const char *function,
		 enum gt_replica_state state, uint32_t turn, uint32_t refused)
{
	struct gt_observed o = fix_observed(id, function, 1, state);
	const struct gt_report r = { .node = "n1",
				     .epoch = FIX_EPOCH,
				     .cpu_milli = 2000,
				     .memory_bytes = 64 * GT_GIB,
				     .parking_bytes = parking_bytes,
				     .replicas = &o,
				     .n_replicas = 1 };

	o.turn = turn;
	o.park.method = GT_PARK_FREEZE;
	o.park.refused = refused;
	o.park.bytes = state == GT_REPLICA_PARKED ? GT_GIB : 0;
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

static void tell(struct fix *x, const char *id, const char *function, enum gt_replica_state state)
{
	told(x, 4 * GT_GIB, id, function, state, x->order.turn, 0);
}

static struct gt_spec *parking(uint32_t gpu_share)
{
	struct gt_spec *spec = fix_spec();

	spec->park.method = GT_PARK_AUTO;
	spec->park.after_ms = 5000;
	spec->scale.idle_ms = GT_IDLE_LEARNED;
	spec->resources.memory_bytes = GT_GIB;
	spec->resources.gpu.count = gpu_share > 0;
	spec->resources.gpu.share_milli = gpu_share;
	return spec;
}

static void start(struct fix *x, const char *function, char id[GT_REPLICA_ID_SIZE])
{
	fix_demand(x, function, 1, 0);
	assert_string_equal(x->order.function, function);
	assert_int_equal(x->order.want, GT_WANT_RUN);
	gt_strcopy(id, GT_REPLICA_ID_SIZE, x->order.replica);
	tell(x, id, function, GT_REPLICA_READY);
	fix_demand(x, function, 0, 1);
}

static void park(struct fix *x, const char *function, const char *id)
{
	fix_demand(x, function, 0, 0);
	fix_pass(x, 5000);
	assert_int_equal(fix_view(x, function).replicas[GT_REPLICA_PARKING], 1);
	fix_drained(x, id);
	assert_string_equal(x->order.replica, id);
	assert_int_equal(x->order.want, GT_WANT_PARK);
	tell(x, id, function, GT_REPLICA_PARKED);
	assert_int_equal(fix_view(x, function).replicas[GT_REPLICA_PARKED], 1);
}

static size_t routed(struct fix *x, const char *function, bool *draining)
{
	struct gt_route route;
	size_t n;

	assert_int_equal(gt_control_route(x->c, function, &route, NULL), 0);
	n = route.n_replicas;
	*draining = n > 0 && route.replicas[0].draining;
	gt_route_fini(&route);
	return n;
}

static bool keep(const struct gt_decision *d, void *arg)
{
	*(struct gt_decision *)arg = *d;
	return true;
}

static struct gt_decision last_of(struct fix *x, const char *function)
{
	struct gt_decision d = { 0 };

	assert_int_equal(gt_control_decisions(x->c, function, 0, keep, &d, NULL), 0);
	return d;
}

static void it_is_parked_and_comes_back(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];
	bool draining;

	node(x, 4 * GT_GIB, 0);
	fix_put(x, "f", parking(0), "a");
	start(x, "f", id);
	fix_demand(x, "f", 0, 0);
	fix_pass(x, 4999);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	fix_pass(x, 1);
	size_t orders = x->n_orders;
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_PARKING], 1);
	assert_int_equal(routed(x, "f", &draining), 1);
	assert_true(draining); /* no order before the gateway has let go */
	fix_drained(x, id);
	assert_int_equal(x->n_orders, orders + 1);
	assert_int_equal(x->order.want, GT_WANT_PARK);
	fix_pass(x, 30);
	tell(x, id, "f", GT_REPLICA_PARKED);
	assert_int_equal(routed(x, "f", &draining), 0);
	assert_int_equal(fix_view(x, "f").state, GT_FUNCTION_PARKED);
	assert_int_equal(fix_view(x, "f").wanted, 0);
	assert_int_equal(fix_view(x, "f").parking.park_ms, 30);
	assert_true(gt_control_due_ns(x->c) == UINT64_MAX); /* it costs nothing, and stays */
	fix_demand(x, "f", 1, 0);
	assert_string_equal(x->order.replica, id); /* and no other one */
	assert_int_equal(x->order.want, GT_WANT_RUN);
	assert_int_equal(fix_view(x, "f").state, GT_FUNCTION_STARTING);
	struct gt_decision d = last_of(x, "f");
	assert_int_equal(d.kind, GT_DECISION_PARK);
	assert_true(d.park.back);
	fix_pass(x, 7);
	tell(x, id, "f", GT_REPLICA_READY);
	assert_int_equal(routed(x, "f", &draining), 1);
	assert_false(draining);
	assert_int_equal(fix_view(x, "f").parking.unpark_ms, 7);
	assert_int_equal(fix_view(x, "f").starts_total, 1);
}

/* What it had of its GPU somebody else has now: it could not be put back. */
static void memory_that_is_gone_keeps_it_parked(void **state)
{
	struct fix *x = *state;
	struct gt_gpu list[] = { gpus[0] };
	struct gt_observed o;
	struct gt_report r = { .node = "n1",
			       .full = true,
			       .epoch = FIX_EPOCH,
			       .cpu_milli = 2000,
			       .memory_bytes = 64 * GT_GIB,
			       .parking_bytes = 4 * GT_GIB,
			       .gpus = list,
			       .n_gpus = 1,
			       .replicas = &o,
			       .n_replicas = 1 };
	char id[GT_REPLICA_ID_SIZE];

	node(x, 4 * GT_GIB, 1);
	fix_put(x, "f", parking(1000), "a");
	start(x, "f", id);
	park(x, "f", id);
	o = fix_observed(id, "f", 1, GT_REPLICA_PARKED);
	o.turn = x->order.turn;
	o.park.method = GT_PARK_FREEZE;
	o.park.bytes = GT_GIB;
	list[0].foreign_bytes = 60 * GT_GIB;
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
	fix_demand(x, "f", 1, 0);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_PARKED], 1);
	assert_string_equal(x->event.type, "replica.pending"); /* another one, with what is left */
}

static void a_call_in_between_takes_it_back(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];
	bool draining;

	node(x, 4 * GT_GIB, 0);
	fix_put(x, "f", parking(0), "a");
	start(x, "f", id);
	fix_demand(x, "f", 0, 0);
	fix_pass(x, 5000);
	size_t orders = x->n_orders;
	fix_demand(x, "f", 1, 0); /* before it was ordered: it is there at once */
	assert_int_equal(x->n_orders, orders);
	assert_int_equal(routed(x, "f", &draining), 1);
	assert_false(draining);
	fix_demand(x, "f", 0, 0);
	fix_pass(x, 5000);
	fix_drained(x, id);
	uint32_t turn = x->order.turn;
	fix_demand(x, "f", 1, 0); /* and after */
	assert_int_equal(x->order.want, GT_WANT_RUN);
	assert_int_equal(x->order.turn, turn + 1);
	told(x, 4 * GT_GIB, id, "f", GT_REPLICA_PARKED, turn, 0); /* of the past */
	told(x, 4 * GT_GIB, id, "f", GT_REPLICA_READY, turn, 0);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_UNPARKING], 1);
	tell(x, id, "f", GT_REPLICA_READY);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
}

static void who_can_not_park_stops(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];
	struct gt_spec *spec = parking(0);

	node(x, GT_GIB / 2, 0); /* less than it needs */
	spec->scale.idle_ms = 5000;
	fix_put(x, "f", spec, "a");
	start(x, "f", id);
	fix_demand(x, "f", 0, 0);
	fix_pass(x, 5000);
	told(x, GT_GIB / 2, id, "f", GT_REPLICA_READY, 0, 0);
	fix_drained(x, id);
	assert_int_equal(x->order.want, GT_WANT_STOP);
}

static void a_refusal_is_tried_again_later_and_not_for_ever(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];

	node(x, 4 * GT_GIB, 0);
	fix_put(x, "f", parking(0), "a");
	start(x, "f", id);
	fix_demand(x, "f", 0, 0);
	fix_pass(x, 5000);
	for (uint32_t times = 1; times <= 3; times++) {
		fix_drained(x, id);
		assert_int_equal(x->order.want, GT_WANT_PARK);
		told(x, 4 * GT_GIB, id, "f", GT_REPLICA_READY, x->order.turn, times);
		assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1); /* it serves */
		fix_pass(x, 5000U << (times - 1));
	}
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_DRAINING], 1);
	assert_int_equal(fix_view(x, "f").parking.refused, 3);
}

static void a_node_that_says_nothing_is_not_waited_for(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];

	node(x, 4 * GT_GIB, 0);
	fix_put(x, "f", parking(0), "a");
	start(x, "f", id);
	park(x, "f", id);
	fix_demand(x, "f", 1, 0);
	fix_pass(x, 120000);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_DRAINING], 1);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_PENDING], 1); /* another one */
}

/* Two of 1 GiB are parked in 4 GiB, of which "a" is worth more; then "c" is to be parked, too. */
static void a_third_comes(struct fix *x, uint64_t bytes, char id[3][GT_REPLICA_ID_SIZE])
{
	static const char *const names[] = { "a", "b", "c" };

	node(x, 4 * GT_GIB, 0);
	for (size_t i = 0; i < 3; i++) {
		struct gt_spec *spec = parking(0);

		spec->resources.memory_bytes = i == 2 ? bytes : GT_GIB;
		spec->park.priority = i == 0;
		fix_put(x, names[i], spec, names[i]);
	}
	for (size_t i = 0; i < 2; i++) {
		start(x, names[i], id[i]);
		park(x, names[i], id[i]);
	}
	start(x, "c", id[2]);
	fix_demand(x, "c", 0, 0);
	fix_pass(x, 5000);
	fix_drained(x, id[2]);
}

static void the_coldest_makes_room(void **state)
{
	struct fix *x = *state;
	char id[3][GT_REPLICA_ID_SIZE];

	a_third_comes(x, 3 * GT_GIB, id);
	/* "a" is colder, but worth more: "b" goes, and c waits for its memory. */
	assert_string_equal(x->order.replica, id[1]);
	assert_int_equal(x->order.want, GT_WANT_STOP);
	assert_int_equal(last_of(x, "b").kind, GT_DECISION_EVICT);
	tell(x, id[1], "b", GT_REPLICA_STOPPED);
	assert_string_equal(x->order.replica, id[2]);
	assert_int_equal(x->order.want, GT_WANT_PARK);
	assert_int_equal(fix_view(x, "a").replicas[GT_REPLICA_PARKED], 1);
}

static void another_control_finds_it_parked(void **state)
{
	struct fix *x = *state;
	struct gt_observed all[] = { fix_observed("R1", "f", 1, GT_REPLICA_PARKED) };
	struct gt_order orders[2];

	fix_put(x, "f", parking(0), "a");
	all[0].turn = 9;
	all[0].park.method = GT_PARK_FREEZE;
	fix_report_full(x, all, 1);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_PARKED], 1);
	assert_int_equal(fix_orders(x, orders, 2), 1);
	assert_int_equal(orders[0].want, GT_WANT_PARK);
	assert_int_equal(orders[0].turn, 9);
	fix_demand(x, "f", 1, 0);
	assert_string_equal(x->order.replica, "R1");
	assert_int_equal(x->order.turn, 10);
}

/* ---- turns on a GPU ---- */

static void books_add_up(struct fix *x)
{
	assert_int_equal(gt_control_check(x->c, NULL), 0);
}

static void idle_ones_give_their_gpu_and_get_it_back(void **state)
{
	struct fix *x = *state;
	char a[GT_REPLICA_ID_SIZE], b[GT_REPLICA_ID_SIZE];

	node(x, 400 * GT_GIB, 1);
	fix_put(x, "a", parking(600), "a");
	fix_put(x, "b", parking(600), "b");
	start(x, "a", a);
	fix_demand(x, "a", 0, 0);
	fix_pass(x, 2000);
	fix_demand(x, "b", 1, 0); /* long before a's time is over */
	assert_int_equal(fix_view(x, "a").replicas[GT_REPLICA_PARKING], 1);
	struct gt_decision d = last_of(x, "a");
	assert_int_equal(d.kind, GT_DECISION_PARK);
	assert_string_equal(d.park.by, "b");
	fix_drained(x, a);
	assert_int_equal(x->order.want, GT_WANT_PARK);
	told(x, 400 * GT_GIB, a, "a", GT_REPLICA_PARKED, x->order.turn, 0);
	books_add_up(x);
	assert_string_equal(x->order.function, "b"); /* the moment that it is free */
	gt_strcopy(b, sizeof(b), x->order.replica);
	told(x, 400 * GT_GIB, b, "b", GT_REPLICA_READY, 0, 0);
	fix_demand(x, "b", 0, 1);
	/* b is busy, and a calls: it waits until b has had its time. */
	fix_demand(x, "a", 1, 0);
	assert_int_equal(fix_view(x, "b").replicas[GT_REPLICA_READY], 1);
	fix_pass(x, 1999);
	assert_int_equal(fix_view(x, "b").replicas[GT_REPLICA_READY], 1);
	fix_pass(x, 60000);
	assert_int_equal(fix_view(x, "b").replicas[GT_REPLICA_PARKING], 1);
	assert_int_equal(fix_view(x, "a").last_failure != NULL, 0); /* nobody was refused */
	/* b's next calls do not take it back, its running one is not cut off. */
	fix_demand(x, "b", 3, 1);
	assert_int_equal(fix_view(x, "b").replicas[GT_REPLICA_PARKING], 1);
	fix_pass(x, 100000);
	assert_int_equal(fix_view(x, "b").replicas[GT_REPLICA_PARKING], 1);
	fix_demand(x, "b", 3, 0);
	fix_drained(x, b);
	assert_string_equal(x->order.replica, b);
	told(x, 400 * GT_GIB, b, "b", GT_REPLICA_PARKED, x->order.turn, 0);
	assert_string_equal(x->order.replica, a); /* not b again, though it has more calls */
	assert_int_equal(x->order.want, GT_WANT_RUN);
	told(x, 400 * GT_GIB, a, "a", GT_REPLICA_READY, x->order.turn, 0);
	books_add_up(x);
	assert_int_equal(fix_view(x, "a").replicas[GT_REPLICA_READY], 1);
	assert_int_equal(fix_view(x, "a").starts_total, 1);
}

/* There is memory for one of them. */
static void the_one_that_is_called_keeps_its_memory(void **state)
{
	struct fix *x = *state;
	char a[GT_REPLICA_ID_SIZE], b[GT_REPLICA_ID_SIZE];

	node(x, GT_GIB, 1);
	fix_put(x, "a", parking(600), "a");
	fix_put(x, "b", parking(600), "b");
	start(x, "a", a);
	fix_demand(x, "a", 0, 0);
	fix_pass(x, 2000);
	fix_demand(x, "b", 1, 0);
	fix_drained(x, a);
	told(x, GT_GIB, a, "a", GT_REPLICA_PARKED, x->order.turn, 0);
	gt_strcopy(b, sizeof(b), x->order.replica);
	told(x, GT_GIB, b, "b", GT_REPLICA_READY, 0, 0);
	fix_demand(x, "b", 0, 0);
	fix_pass(x, 2000);
	fix_demand(x, "a", 1, 0);
	fix_drained(x, b);
	assert_int_equal(fix_view(x, "a").replicas[GT_REPLICA_PARKED], 1);
	assert_string_equal(x->order.replica, b);
	assert_int_equal(x->order.want, GT_WANT_STOP);
	told(x, GT_GIB, b, "b", GT_REPLICA_STOPPED, 0, 0);
	books_add_up(x);
	assert_string_equal(x->order.replica, a);
	assert_int_equal(x->order.want, GT_WANT_RUN);
	assert_int_equal(fix_view(x, "a").replicas[GT_REPLICA_UNPARKING], 1);
	assert_int_equal(fix_view(x, "a").starts_total, 1);
}

/* "b" would not do, so it stays. */
static void nothing_goes_for_one_that_does_not_fit_then_either(void **state)
{
	struct fix *x = *state;
	char id[3][GT_REPLICA_ID_SIZE];

	a_third_comes(x, 4 * GT_GIB, id);
	assert_string_equal(x->order.replica, id[2]);
	assert_int_equal(x->order.want, GT_WANT_STOP);
	assert_int_equal(fix_view(x, "b").replicas[GT_REPLICA_PARKED], 1);
}

static void the_longest_waiting_is_next(void **state)
{
	struct fix *x = *state;
	char a[GT_REPLICA_ID_SIZE];

	node(x, 400 * GT_GIB, 1);
	for (const char *name = "a\0b\0c\0"; *name; name += 2)
		fix_put(x, name, parking(600), name);
	start(x, "a", a);
	fix_pass(x, 100);
	fix_demand(x, "b", 1, 0);
	fix_pass(x, 100);
	fix_demand(x, "c", 1, 0);
	fix_pass(x, 900); /* c's own moment comes with the same residency of a's */
	fix_demand(x, "a", 0, 0);
	fix_demand(x, "c", 2, 0);
	fix_pass(x, 60000);
	fix_drained(x, a);
	told(x, 400 * GT_GIB, a, "a", GT_REPLICA_PARKED, x->order.turn, 0);
	assert_string_equal(x->order.function, "b");
}

/* A function with the whole GPU, whose memory the node would not have for it. */
static struct gt_spec *whole(void)
{
	struct gt_spec *spec = parking(600);

	spec->resources.gpu.share_milli = 0;
	return spec;
}

static void ready_with(struct fix *x, const char *id, const char *function, uint64_t gpu_bytes)
{
	struct gt_observed o = fix_observed(id, function, 1, GT_REPLICA_READY);
	struct gt_gpu_grant grant = { .uuid = "G0",
				      .milli = 1000,
				      .memory_bytes = gpus[0].memory_bytes };
	const struct gt_report r = { .node = "n1",
				     .epoch = FIX_EPOCH,
				     .cpu_milli = 2000,
				     .memory_bytes = 64 * GT_GIB,
				     .parking_bytes = 16 * GT_GIB,
				     .replicas = &o,
				     .n_replicas = 1 };

	o.gpus = &grant;
	o.n_gpus = 1;
	o.park.method = GT_PARK_CUDA;
	if (gpu_bytes)
		o.usage = (struct gt_usage){ .has = GT_USAGE_MEMORY | GT_USAGE_GPU_MEMORY,
					     .memory_bytes = GT_GIB,
					     .gpu_memory_bytes = gpu_bytes };
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

static void turn_of_whole_gpus(struct fix *x, uint64_t gpu_bytes, enum gt_replica_state becomes)
{
	char a[GT_REPLICA_ID_SIZE];

	node(x, 16 * GT_GIB, 1);
	fix_put(x, "a", whole(), "a");
	fix_put(x, "b", whole(), "b");
	fix_demand(x, "a", 1, 0);
	gt_strcopy(a, sizeof(a), x->order.replica);
	ready_with(x, a, "a", gpu_bytes);
	fix_demand(x, "a", 0, 0);
	fix_pass(x, 2000);
	fix_demand(x, "b", 1, 0);
	assert_int_equal(fix_view(x, "a").replicas[becomes], 1);
	books_add_up(x);
}

static void what_parks_is_what_it_has_on_its_gpu(void **state)
{
	turn_of_whole_gpus(*state, 8 * GT_GIB, GT_REPLICA_PARKING);
}

static void one_that_no_memory_is_there_for_is_stopped(void **state)
{
	gpus[0].memory_bytes = 300 * GT_GIB; /* a node takes limits of four times what it has */
	turn_of_whole_gpus(*state, 0, GT_REPLICA_DRAINING);
	gpus[0].memory_bytes = 80 * GT_GIB;
}

static void a_turn_ends_with_its_last_call(void **state)
{
	struct fix *x = *state;
	char a[GT_REPLICA_ID_SIZE];

	node(x, 400 * GT_GIB, 1);
	fix_put(x, "a", parking(600), "a");
	fix_put(x, "b", parking(600), "b");
	start(x, "a", a);
	fix_pass(x, 1500);
	fix_demand(x, "b", 1, 0);
	assert_int_equal(fix_view(x, "a").replicas[GT_REPLICA_READY], 1); /* it has a call */
	fix_demand(x, "a", 0, 0);
	assert_int_equal(fix_view(x, "a").replicas[GT_REPLICA_PARKING], 1);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
	const struct CMUnitTest tests[] = {
		T(it_is_parked_and_comes_back),
		T(memory_that_is_gone_keeps_it_parked),
		T(a_call_in_between_takes_it_back),
		T(who_can_not_park_stops),
		T(a_refusal_is_tried_again_later_and_not_for_ever),
		T(a_node_that_says_nothing_is_not_waited_for),
		T(the_coldest_makes_room),
		T(the_one_that_is_called_keeps_its_memory),
		T(nothing_goes_for_one_that_does_not_fit_then_either),
		T(another_control_finds_it_parked),
		T(idle_ones_give_their_gpu_and_get_it_back),
		T(the_longest_waiting_is_next),
		T(what_parks_is_what_it_has_on_its_gpu),
		T(one_that_no_memory_is_there_for_is_stopped),
		T(a_turn_ends_with_its_last_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
