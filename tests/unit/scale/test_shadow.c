/* test_shadow.c - a candidate beside the live policy, and what both are billed. */
#include <gantry/scale/shadow.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#define S GT_NS_PER_S

/* A live system that follows its policy at once: a start takes start_s, nobody fails. */
struct live {
	struct gt_scale *scale;
	struct gt_scale_pool *pool, *shadow_pool;
	struct gt_scale_shadow *shadow;
	struct gt_scale_params params;
	uint64_t now_ns, due_ns, ready_at_ns;
	uint32_t calls, ready, starting;
	uint64_t start_ns;
};

static struct live live_new(const char *candidate)
{
	struct gt_scale_candidate c;

	assert_int_equal(gt_scale_candidate_parse(candidate, &c, NULL), 0);
	return (struct live){
		.scale = gt_scale_new(),
		.pool = gt_scale_pool_new(),
		.shadow_pool = gt_scale_pool_new(),
		.shadow = gt_scale_shadow_new(&c),
		.params = { .target = 1,
			    .max = 10,
			    .idle_stated = true,
			    .idle_ms = 60000,
			    .price = 20 },
		.now_ns = 1000 * S,
		.due_ns = UINT64_MAX,
		.ready_at_ns = UINT64_MAX,
		.start_ns = 2 * S,
	};
}

static void live_free(struct live *l)
{
	gt_scale_free(l->scale);
	gt_scale_pool_free(l->pool);
	gt_scale_pool_free(l->shadow_pool);
	gt_scale_shadow_free(l->shadow);
}

static void live_decide(struct live *l, uint32_t starts)
{
	uint32_t in_flight = GT_MIN(l->calls, l->ready);
	const struct gt_scale_in in = { .now_ns = l->now_ns,
					.params = l->params,
					.in_flight = in_flight,
					.queued = l->calls - in_flight,
					.ready = l->ready,
					.starting = l->starting,
					.starts = starts,
					.start_ns = starts * l->start_ns,
					.renew = starts ? l->ready : 0 };
	struct gt_scale_out out;

	gt_scale_decide(l->scale, l->pool, &in, &out);
	gt_scale_shadow_feed(l->shadow, l->shadow_pool, &in, &out);
	l->due_ns = out.due_ns;
	if (l->ready + l->starting < out.need) {
		l->starting = out.need - l->ready;
		l->ready_at_ns = l->now_ns + l->start_ns;
	}
	if (l->ready > out.wanted)
		l->ready = GT_MAX(out.wanted, in_flight);
}

/* So many calls from now on, for so long. */
static void live_run(struct live *l, uint32_t calls, uint64_t ns)
{
	uint64_t end = l->now_ns + ns;

	l->calls = calls;
	live_decide(l, 0);
	for (;;) {
		uint64_t next = GT_MIN(l->ready_at_ns, l->due_ns);
		uint32_t n = 0;

		if (next > end)
			break;
		l->now_ns = next;
		if (l->ready_at_ns == next) {
			n = l->starting;
			l->ready += n;
			l->starting = 0;
			l->ready_at_ns = UINT64_MAX;
		}
		live_decide(l, n);
	}
	l->now_ns = end;
	live_decide(l, 0);
}

static void bills(const struct live *l, struct gt_scale_bill *live, struct gt_scale_bill *shadow)
{
	gt_scale_shadow_bills(l->shadow, live, shadow);
}

/* Time of starts is learned by then. */
static void warm_up(struct live *l, struct gt_scale_bill *live, struct gt_scale_bill *shadow)
{
	for (unsigned i = 0; i < 30; i++) {
		live_run(l, 2, 10 * S);
		live_run(l, 0, 200 * S);
	}
	bills(l, live, shadow);
}

static void the_same_policy_gets_the_same_bill(void **state)
{
	struct gt_scale_bill live, shadow, live0, shadow0;
	struct live l = live_new("gantry");

	(void)state;
	warm_up(&l, &live0, &shadow0);
	live_run(&l, 3, 20 * S);
	live_run(&l, 0, 200 * S);
	live_run(&l, 1, 5 * S);
	live_run(&l, 0, 200 * S);
	bills(&l, &live, &shadow);
	assert_true(live.replica_s - live0.replica_s > 200);
	assert_true(shadow.starts - shadow0.starts == 4 && live.starts - live0.starts == 4);
	assert_true(shadow.replica_s - shadow0.replica_s >
		    0.95 * (live.replica_s - live0.replica_s));
	assert_true(shadow.replica_s - shadow0.replica_s <
		    1.05 * (live.replica_s - live0.replica_s));
	assert_true(shadow.waiting_s - shadow0.waiting_s >
		    0.9 * (live.waiting_s - live0.waiting_s));
	assert_true(shadow.waiting_s - shadow0.waiting_s <
		    1.1 * (live.waiting_s - live0.waiting_s));
	live_free(&l);
}

static void a_buffer_costs_replicas_and_saves_waiting(void **state)
{
	struct gt_scale_bill live, shadow;
	struct live l = live_new("gantry buffer=2");

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		live_run(&l, 1, 30 * S);
		live_run(&l, 3, 10 * S);
		live_run(&l, 1, 100 * S);
	}
	bills(&l, &live, &shadow);
	assert_true(shadow.replica_s > 1.2 * live.replica_s);
	assert_true(shadow.waiting_s < 0.8 * live.waiting_s);
	live_free(&l);
}

/* Knative's panic and its target of 70 %: two for a call where ours has one. */
static void kpa_is_billed_for_its_spare(void **state)
{
	struct gt_scale_bill live, shadow;
	struct live l = live_new("kpa");

	(void)state;
	live_run(&l, 2, 600 * S);
	bills(&l, &live, &shadow);
	assert_true(shadow.replica_s > 1.2 * live.replica_s);
	live_free(&l);
}

static void nobody_calls_and_nobody_pays(void **state)
{
	struct gt_scale_bill live, shadow;
	struct live l = live_new("gantry price=1 idle=learned");

	(void)state;
	live_run(&l, 1, 10 * S);
	live_run(&l, 0, 100000 * S);
	bills(&l, &live, &shadow);
	assert_true(shadow.replica_s < 40000);
	double before = shadow.replica_s;

	live_run(&l, 0, 100000 * S);
	bills(&l, &live, &shadow);
	assert_true(shadow.replica_s == before);
	live_free(&l);
}

/* A clock that goes back bills nothing and stops nothing. */
static void a_clock_that_jumps_is_survived(void **state)
{
	struct gt_scale_bill live, shadow;
	struct live l = live_new("gantry");

	(void)state;
	live_run(&l, 1, 10 * S);
	l.now_ns -= 500 * S;
	l.due_ns = l.ready_at_ns = UINT64_MAX;
	live_run(&l, 1, 10 * S);
	bills(&l, &live, &shadow);
	assert_true(live.replica_s > 15 && live.replica_s < 25);
	assert_true(shadow.replica_s > 15 && shadow.replica_s < 25);
	live_free(&l);
}

static void a_candidate_is_read_or_refused(void **state)
{
	struct gt_scale_candidate c;
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(gt_scale_candidate_parse("", &c, NULL), 0);
	assert_false(c.on);
	assert_int_equal(gt_scale_candidate_parse(" kpa ", &c, NULL), 0);
	assert_true(c.on && c.policy == GT_SCALE_KPA && c.price < 0 && c.buffer < 0);
	assert_int_equal(
		gt_scale_candidate_parse("gantry price=50 buffer=1 idle=learned", &c, NULL), 0);
	assert_true(c.on && c.price == 50 && c.buffer == 1 && c.learn_idle);
	assert_int_equal(gt_scale_candidate_parse("knative", &c, &err), -EINVAL);
	assert_non_null(strstr(err.text, "'knative'"));
	assert_int_equal(gt_scale_candidate_parse("price=50", &c, &err), -EINVAL);
	assert_int_equal(gt_scale_candidate_parse("kpa price=-1", &c, &err), -EINVAL);
	assert_int_equal(gt_scale_candidate_parse("kpa gantry", &c, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_policy_gets_the_same_bill),
		cmocka_unit_test(a_buffer_costs_replicas_and_saves_waiting),
		cmocka_unit_test(kpa_is_billed_for_its_spare),
		cmocka_unit_test(nobody_calls_and_nobody_pays),
		cmocka_unit_test(a_clock_that_jumps_is_survived),
		cmocka_unit_test(a_candidate_is_read_or_refused),
	};

	return cmocka_run_group_tests_name("scale/test_shadow", tests, NULL, NULL);
}
