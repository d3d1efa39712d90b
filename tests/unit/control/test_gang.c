/* test_gang.c - gangs: whole or not at all, admitted as one, killed as one, and the next epoch. */
#include "fixture.h"

#define SIZE 3

#define H100(name)                                                         \
	{                                                                  \
		.uuid = name, .model = "H100", .memory_bytes = 80 * GT_GIB \
	}
static struct gt_gpu gpus[] = { H100("G0"), H100("G1"), H100("G2"), H100("G3") };

static struct gt_spec *gang_spec(uint32_t gpus_each)
{
	struct gt_spec *spec = fix_spec();

	spec->network = GT_NETWORK_EGRESS;
	spec->gang.size = SIZE;
	spec->gang.spread = GT_GANG_NODE;
	spec->gang.restarts = 2;
	spec->scale.max = 2;
	spec->resources.gpu.count = gpus_each;
	return spec;
}

/* The gang's members by rank, as node n1 is told; the rest of the list is zeroes. */
struct members {
	struct gt_order by_rank[SIZE];
	size_t n;
	uint32_t stopping;
};

static struct members members_of(struct fix *x, uint32_t epoch)
{
	struct gt_order all[16];
	struct members m = { .n = 0 };
	size_t n = fix_orders(x, all, GT_LEN(all));

	for (size_t i = 0; i < n; i++) {
		if (all[i].gang.size != SIZE || all[i].gang.epoch != epoch)
			continue;
		m.by_rank[all[i].gang.rank] = all[i];
		m.n++;
		m.stopping += all[i].want == GT_WANT_STOP;
	}
	return m;
}

static void post(struct fix *x, const struct gt_order *order, enum gt_replica_state state)
{
	struct gt_observed o = fix_observed(order->replica, order->function, order->revision,
					    state);
	const struct gt_report r = {
		.node = "n1", .epoch = FIX_EPOCH, .replicas = &o, .n_replicas = 1
	};

	o.gang = order->gang;
	if (state == GT_REPLICA_FAILED)
		gt_strcopy(o.end.cause, sizeof(o.end.cause), "exited");
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

static void all_ready(struct fix *x, const struct members *m)
{
	for (size_t i = 0; i < SIZE; i++)
		post(x, &m->by_rank[i], GT_REPLICA_READY);
}

static size_t routed(struct fix *x, const char *function)
{
	struct gt_route route = { 0 };

	assert_int_equal(gt_control_route(x->c, function, &route, NULL), 0);
	size_t n = 0;

	for (size_t i = 0; i < route.n_replicas; i++)
		n += !route.replicas[i].draining;
	gt_route_fini(&route);
	return n;
}

static void checked(struct fix *x)
{
	struct gt_err err = { 0 };

	if (gt_control_check(x->c, &err) < 0)
		fail_msg("%s: %s", err.slug, err.text);
}

static void report_gpus(struct fix *x, struct gt_gpu *list, size_t n, struct gt_observed *all,
			size_t n_all)
{
	const struct gt_report r = { .node = "n1",
				     .full = true,
				     .epoch = FIX_EPOCH,
				     .cpu_milli = 2000,
				     .memory_bytes = 8 * GT_GIB,
				     .gpus = list,
				     .n_gpus = n,
				     .replicas = all,
				     .n_replicas = n_all };

	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

static void a_gang_is_admitted_when_all_answer(void **state)
{
	struct fix *x = *state;
	struct members m;

	fix_put(x, "f", gang_spec(0), "f");
	fix_demand(x, "f", 1, 0);
	m = members_of(x, 1);
	assert_int_equal(m.n, SIZE);
	assert_string_equal(m.by_rank[0].gang.id, m.by_rank[2].gang.id);
	assert_int_equal(m.by_rank[0].gang.port, GT_GANG_PORT);
	post(x, &m.by_rank[0], GT_REPLICA_READY);
	post(x, &m.by_rank[2], GT_REPLICA_READY);
	assert_int_equal(routed(x, "f"), 0);
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 0);
	post(x, &m.by_rank[1], GT_REPLICA_READY);
	assert_int_equal(routed(x, "f"), 1); /* of rank 0 alone */
	assert_int_equal(fix_view(x, "f").replicas[GT_REPLICA_READY], 1);
	assert_int_equal(fix_view(x, "f").starts_total, 1);
	fix_demand(x, "f", 0, 1);
	assert_int_equal(members_of(x, 1).n, SIZE); /* need 1 is one gang */
	checked(x);
}

static void a_failed_member_ends_the_epoch(void **state)
{
	struct fix *x = *state;
	struct members m, next;

	fix_put(x, "f", gang_spec(0), "f");
	fix_demand(x, "f", 1, 0);
	m = members_of(x, 1);
	all_ready(x, &m);
	fix_demand(x, "f", 0, 1);
	post(x, &m.by_rank[1], GT_REPLICA_FAILED);
	assert_int_equal(routed(x, "f"), 0);
	assert_int_equal(members_of(x, 1).n, SIZE - 1);
	assert_int_equal(members_of(x, 1).stopping, SIZE - 1);
	assert_int_equal(members_of(x, 1).by_rank[0].grace_ms, 0);
	checked(x);
	post(x, &m.by_rank[0], GT_REPLICA_STOPPED);
	assert_int_equal(members_of(x, 2).n, 0); /* not before all are gone */
	post(x, &m.by_rank[2], GT_REPLICA_STOPPED);
	next = members_of(x, 2);
	assert_int_equal(next.n, SIZE);
	assert_string_equal(next.by_rank[0].gang.id, m.by_rank[0].gang.id);
	assert_string_not_equal(next.by_rank[0].replica, m.by_rank[0].replica);
	assert_int_equal(fix_view(x, "f").failures, 0);
	all_ready(x, &next);
	assert_int_equal(routed(x, "f"), 1);
	checked(x);
}

static void the_budget_of_restarts_ends(void **state)
{
	struct fix *x = *state;

	fix_put(x, "f", gang_spec(0), "f");
	fix_demand(x, "f", 1, 0);
	for (uint32_t epoch = 1; epoch <= 3; epoch++) {
		struct members m = members_of(x, epoch);

		assert_int_equal(m.n, SIZE);
		all_ready(x, &m);
		fix_demand(x, "f", 0, 1);
		post(x, &m.by_rank[2], GT_REPLICA_FAILED);
		post(x, &m.by_rank[0], GT_REPLICA_STOPPED);
		post(x, &m.by_rank[1], GT_REPLICA_STOPPED);
	}
	assert_int_equal(members_of(x, 4).n, 0);
	assert_int_equal(fix_view(x, "f").failures, 1);
	checked(x);
}

static void a_failing_start_backs_off(void **state)
{
	struct fix *x = *state;
	struct members m;

	fix_put(x, "f", gang_spec(0), "f");
	fix_demand(x, "f", 1, 0);
	m = members_of(x, 1);
	post(x, &m.by_rank[1], GT_REPLICA_FAILED);
	assert_int_equal(fix_view(x, "f").failures, 1);
	assert_int_equal(members_of(x, 1).stopping, SIZE - 1);
	post(x, &m.by_rank[0], GT_REPLICA_STOPPED);
	post(x, &m.by_rank[2], GT_REPLICA_STOPPED);
	assert_int_equal(members_of(x, 2).n, 0);
	checked(x);
}

static void what_it_had_is_held_for_the_next_epoch(void **state)
{
	struct fix *x = *state;
	struct members m;

	report_gpus(x, gpus, 4, NULL, 0);
	fix_put(x, "f", gang_spec(1), "f");
	fix_demand(x, "f", 1, 0);
	m = members_of(x, 1);
	assert_int_equal(m.by_rank[1].n_gpus, 1);
	all_ready(x, &m);
	fix_demand(x, "f", 0, 1);

	struct gt_spec *thief = fix_spec();

	thief->resources.gpu.count = 2;
	fix_put(x, "thief", thief, "thief");
	fix_demand(x, "thief", 1, 0); /* waits for room: 1 GPU is free */
	post(x, &m.by_rank[1], GT_REPLICA_FAILED);
	post(x, &m.by_rank[0], GT_REPLICA_STOPPED);
	assert_string_equal(x->order.function, "f"); /* two are free but not for the thief */
	checked(x);
	post(x, &m.by_rank[2], GT_REPLICA_STOPPED);
	assert_int_equal(members_of(x, 2).n, SIZE);
	checked(x);
}

static void without_need_the_hold_ends(void **state)
{
	struct fix *x = *state;
	struct gt_spec *other = fix_spec();
	struct members m;

	report_gpus(x, gpus, 4, NULL, 0);
	fix_put(x, "f", gang_spec(1), "f");
	other->resources.gpu.count = 4;
	fix_put(x, "other", other, "other");
	fix_demand(x, "f", 1, 0);
	m = members_of(x, 1);
	all_ready(x, &m);
	fix_demand(x, "f", 0, 0);
	post(x, &m.by_rank[0], GT_REPLICA_FAILED);
	post(x, &m.by_rank[1], GT_REPLICA_STOPPED);
	post(x, &m.by_rank[2], GT_REPLICA_STOPPED);
	fix_demand(x, "other", 1, 0);
	assert_string_not_equal(x->order.function, "other");
	fix_pass(x, GT_GANG_HOLD_MS - 1000);
	assert_string_not_equal(x->order.function, "other");
	fix_pass(x, 1001);
	assert_string_equal(x->order.function, "other");
	checked(x);
}

static void a_gpu_out_of_use_ends_the_epoch(void **state)
{
	struct fix *x = *state;
	struct gt_gpu sick[4];
	struct members m;
	struct gt_observed all[SIZE];

	report_gpus(x, gpus, 4, NULL, 0);
	fix_put(x, "f", gang_spec(1), "f");
	fix_demand(x, "f", 1, 0);
	m = members_of(x, 1);
	all_ready(x, &m);
	fix_demand(x, "f", 0, 1);
	memcpy(sick, gpus, sizeof(gpus));
	for (size_t i = 0; i < 4; i++)
		if (strcmp(sick[i].uuid, m.by_rank[1].gpus[0].uuid) == 0)
			sick[i].health = GT_GPU_DRAIN;
	for (size_t i = 0; i < SIZE; i++) {
		all[i] = fix_observed(m.by_rank[i].replica, "f", 1, GT_REPLICA_READY);
		all[i].gang = m.by_rank[i].gang;
	}
	report_gpus(x, sick, 4, all, SIZE);
	assert_int_equal(members_of(x, 1).stopping, SIZE);
	for (size_t i = 0; i < SIZE; i++)
		post(x, &m.by_rank[i], GT_REPLICA_STOPPED);
	assert_int_equal(members_of(x, 2).n, SIZE); /* on the three that are left */
	assert_string_equal(x->event.type, "gang.restarted");
	checked(x);
}

static void a_found_gang_goes_on_and_an_old_epoch_does_not(void **state)
{
	struct fix *x = *state;
	struct gt_observed all[SIZE + 1];
	struct gt_gang_member member = { .epoch = 4, .size = SIZE, .port = GT_GANG_PORT };
	char id[] = "01K0000000000000000000000A";

	gt_strcopy(member.id, sizeof(member.id), "01K0000000000000000000000G");
	fix_put(x, "f", gang_spec(0), "f");
	for (uint32_t i = 0; i <= SIZE; i++) {
		id[25] = (char)('A' + i);
		all[i] = fix_observed(id, "f", 1, GT_REPLICA_READY);
		all[i].gang = member;
		all[i].gang.rank = i % SIZE;
		all[i].gang.epoch = i == SIZE ? 3 : 4;
	}
	fix_report_full(x, all, SIZE + 1);
	assert_int_equal(routed(x, "f"), 1);
	assert_int_equal(members_of(x, 4).n, SIZE);
	assert_int_equal(members_of(x, 4).stopping, 0);
	assert_int_equal(members_of(x, 3).stopping, 1); /* what a lost node brought back */
	checked(x);
}

static void a_gang_that_is_not_found_whole_starts_again(void **state)
{
	struct fix *x = *state;
	struct gt_observed o = fix_observed("01K0000000000000000000000A", "f", 1, GT_REPLICA_READY);

	o.gang = (struct gt_gang_member){ .epoch = 4, .size = SIZE, .port = GT_GANG_PORT };
	gt_strcopy(o.gang.id, sizeof(o.gang.id), "01K0000000000000000000000G");
	fix_put(x, "f", gang_spec(0), "f");
	fix_report_full(x, &o, 1);
	fix_demand(x, "f", 1, 0);
	assert_int_equal(routed(x, "f"), 0);
	assert_int_equal(members_of(x, 4).n, 1); /* the rest may still be found */
	fix_pass(x, 15001);
	assert_int_equal(members_of(x, 4).stopping, 1);
	o.state = GT_REPLICA_STOPPED;
	fix_report(x, o.replica, GT_REPLICA_STOPPED);
	assert_int_equal(members_of(x, 5).n, SIZE);
	checked(x);
}

static void a_gang_drains_by_its_first_member(void **state)
{
	struct fix *x = *state;
	struct members m;

	fix_put(x, "f", gang_spec(0), "f");
	fix_demand(x, "f", 1, 0);
	m = members_of(x, 1);
	all_ready(x, &m);
	fix_demand(x, "f", 0, 1);
	assert_int_equal(gt_control_replica_stop(x->c, "f", m.by_rank[2].replica, false, NULL), 0);
	assert_int_equal(members_of(x, 1).stopping, 0); /* a call is in flight */
	fix_drained(x, m.by_rank[0].replica);
	assert_int_equal(members_of(x, 1).stopping, SIZE);
	checked(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_gang_is_admitted_when_all_answer, fix_setup,
						fix_teardown),
		cmocka_unit_test_setup_teardown(a_failed_member_ends_the_epoch, fix_setup,
						fix_teardown),
		cmocka_unit_test_setup_teardown(the_budget_of_restarts_ends, fix_setup,
						fix_teardown),
		cmocka_unit_test_setup_teardown(a_failing_start_backs_off, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(what_it_had_is_held_for_the_next_epoch, fix_setup,
						fix_teardown),
		cmocka_unit_test_setup_teardown(without_need_the_hold_ends, fix_setup,
						fix_teardown),
		cmocka_unit_test_setup_teardown(a_gpu_out_of_use_ends_the_epoch, fix_setup,
						fix_teardown),
		cmocka_unit_test_setup_teardown(a_found_gang_goes_on_and_an_old_epoch_does_not,
						fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(a_gang_that_is_not_found_whole_starts_again,
						fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(a_gang_drains_by_its_first_member, fix_setup,
						fix_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
