/* test_scale.c - the rule, by example and by property against a plain window that remembers all. */
#include <gantry/scale/scale.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/clock.h>

#define S GT_NS_PER_S

static struct gt_scale *fresh;
static struct gt_scale_pool *pool;

static struct gt_scale *renewed(void)
{
	gt_scale_free(fresh);
	gt_scale_pool_free(pool);
	pool = gt_scale_pool_new();
	return fresh = gt_scale_new();
}

static struct gt_scale_in load(uint64_t now_ns, uint32_t in_flight, uint32_t queued)
{
	return (struct gt_scale_in){
		.now_ns = now_ns,
		.params = { .target = 4,
			    .max = 10,
			    .idle_stated = true,
			    .idle_ms = 60000,
			    .price = GT_SCALE_PRICE_DEFAULT },
		.in_flight = in_flight,
		.queued = queued,
	};
}

static struct gt_scale_out decide(struct gt_scale *s, struct gt_scale_in in)
{
	struct gt_scale_out out;

	gt_scale_decide(s, pool, &in, &out);
	return out;
}

static void goes_up_at_once(void **state)
{
	struct gt_scale *s = renewed();
	struct gt_scale_out out;

	(void)state;
	assert_int_equal(decide(s, load(1 * S, 0, 0)).wanted, 0);
	assert_int_equal(decide(s, load(1 * S, 0, 1)).need, 1);
	assert_int_equal(decide(s, load(1 * S, 4, 0)).need, 1);
	assert_int_equal(decide(s, load(1 * S, 4, 1)).need, 2);
	out = decide(s, load(1 * S, 400, 400));
	assert_int_equal(out.need, 10);
	assert_int_equal(out.need_rule, GT_SCALE_MAX);
	assert_int_equal(out.asked[GT_SCALE_QUEUE], 200);
	assert_int_equal(out.asked[GT_SCALE_FLOOR], GT_SCALE_SILENT);
	out = decide(s, load(1 * S, 5, 4));
	assert_string_equal(out.why, "10 needed within the last 1m, 3 now");
	assert_int_equal(out.need_rule, GT_SCALE_QUEUE);
	assert_int_equal(out.asked[GT_SCALE_IDLE], 200);
}

static void falls_only_after_an_idle_window(void **state)
{
	struct gt_scale *s = renewed();
	struct gt_scale_out out;

	(void)state;
	decide(s, load(10 * S, 12, 0));
	out = decide(s, load(20 * S, 0, 0));
	assert_int_equal(out.need, 0);
	assert_int_equal(out.wanted, 3);
	assert_int_equal(out.due_ns, 80 * S);
	assert_int_equal(decide(s, load(80 * S - 1, 0, 0)).wanted, 3);
	out = decide(s, load(80 * S, 0, 0));
	assert_int_equal(out.wanted, 0);
	assert_true(out.due_ns == UINT64_MAX);
	assert_string_equal(out.why, "idle for 1m");
	assert_int_equal(out.wanted_rule, GT_SCALE_NONE);
}

static void ready_replicas_get_a_whole_window(void **state)
{
	struct gt_scale *s = renewed();
	struct gt_scale_in in = load(100 * S, 0, 0);

	(void)state;
	decide(s, load(0, 0, 1));
	decide(s, load(1 * S, 0, 0)); /* the client left while the start went on */
	in.renew = 1;
	assert_int_equal(decide(s, in).wanted, 1);
	assert_int_equal(decide(s, load(159 * S, 0, 0)).wanted, 1);
	assert_int_equal(decide(s, load(160 * S, 0, 0)).wanted, 0);
}

static void bounds_hold(void **state)
{
	struct gt_scale *s = renewed();
	struct gt_scale_in in = load(1 * S, 0, 0);

	(void)state;
	in.params.min = 2;
	assert_int_equal(decide(s, in).wanted, 2);
	assert_string_equal(decide(s, in).why, "min 2");
	in.in_flight = 100;
	assert_int_equal(decide(s, in).wanted, 10);
	in.params.max = 3; /* a deploy: what was needed before may be above it */
	assert_int_equal(decide(s, in).wanted, 3);
	in.in_flight = UINT32_MAX;
	in.queued = UINT32_MAX;
	in.params.target = 0;
	assert_int_equal(decide(s, in).need, 3);
	in.params.idle_ms = 0;
	in.in_flight = in.queued = 0;
	assert_int_equal(decide(s, in).wanted, 2);
}

static void a_buffer_is_there_while_there_are_calls(void **state)
{
	struct gt_scale *s = renewed();
	struct gt_scale_in in = load(1 * S, 0, 1);
	struct gt_scale_out out;

	(void)state;
	in.params.buffer = 2;
	out = decide(s, in);
	assert_int_equal(out.need, 3);
	assert_int_equal(out.need_rule, GT_SCALE_BUFFER);
	assert_string_equal(out.why, "0 in flight + 1 queued, target 4, and 2 to spare");
	in.queued = 0;
	in.now_ns = 2 * S;
	assert_int_equal(decide(s, in).need, 0);
	assert_int_equal(decide(s, in).wanted, 3); /* held as the rest is */
	in.now_ns = 62 * S;
	assert_int_equal(decide(s, in).wanted, 0);
}

static void a_clock_that_jumps_costs_one_window_at_most(void **state)
{
	struct gt_scale *s = renewed();

	(void)state;
	decide(s, load(1000000 * S, 12, 0));
	decide(s, load(1000010 * S, 0, 0)); /* until 1000070 */
	assert_int_equal(decide(s, load(5 * S, 0, 0)).wanted, 3);
	assert_int_equal(decide(s, load(5 * S, 0, 0)).due_ns, 65 * S);
	assert_int_equal(decide(s, load(65 * S, 0, 0)).wanted, 0);
	decide(s, load(70 * S, 12, 0));
	decide(s, load(71 * S, 0, 0));
	assert_int_equal(decide(s, load(UINT64_MAX - 1, 0, 0)).wanted, 0);
}

static void the_least_worth_goes_first(void **state)
{
	const struct gt_scale_held held[] = {
		{ .spare = 0, .units = 1, .worth = 0 }, /* it serves */
		{ .spare = 1, .units = 0, .worth = 0 }, /* it frees nothing */
		{ .spare = 2, .units = 1, .worth = 9 }, { .spare = 1, .units = 4, .worth = 12 },
		{ .spare = 1, .units = 2, .worth = 6 },
	};
	size_t at = 77;

	(void)state;
	assert_int_equal(gt_scale_pressure(held, 2, &at), -ENOENT);
	assert_int_equal(gt_scale_pressure(held, 0, &at), -ENOENT);
	assert_int_equal(at, 77);
	assert_int_equal(gt_scale_pressure(held, GT_LEN(held), &at), 0);
	assert_int_equal(at, 3);
}

static void names_are_read_back(void **state)
{
	enum gt_scale_policy p = GT_SCALE_POLICIES;

	(void)state;
	assert_int_equal(gt_scale_policy_parse("kpa", &p), 0);
	assert_int_equal(p, GT_SCALE_KPA);
	assert_int_equal(gt_scale_policy_parse("hpa", &p), -ENOENT);
	assert_string_equal(gt_scale_policy_name(GT_SCALE_GANTRY), "gantry");
	for (unsigned r = 0; r < GT_SCALE_RULES; r++)
		assert_string_not_equal(gt_scale_rule_name((enum gt_scale_rule)r), "unknown");
}

/* ---- against a window that remembers everything ---- */
#define HISTORY 4000
#define STEPS   16 /* distinct needs that are remembered exactly */
struct plain {
	size_t n;
	uint64_t end_ns[HISTORY]; /* need[i] was in force until then */
	uint32_t need[HISTORY];
};

static uint32_t plain_max(const struct plain *p, uint64_t now_ns, uint64_t idle_ns, uint32_t need)
{
	uint32_t max = need;

	for (size_t i = 0; i < p->n; i++)
		if (now_ns - p->end_ns[i] < idle_ns)
			max = GT_MAX(max, p->need[i]);
	return max;
}

static uint32_t random_below(uint64_t *seed, uint32_t n)
{
	struct gt_rand rnd = gt_rand_seeded(seed);
	uint64_t word;

	rnd.fill(rnd.arg, &word, sizeof(word));
	return (uint32_t)(word % n);
}

/* With as few distinct needs as there are steps the maximum is exact; with more it may only be
 * higher, by a need that was within the window, and it always comes down in the end. */
static void one_seed(uint64_t seed, uint32_t max)
{
	static struct plain p;
	struct gt_scale *w = renewed();
	struct gt_scale_in in = load(0, 0, 0);
	uint32_t before = 0;
	uint64_t idle_ns, s = seed;

	p.n = 0;
	in.params.max = max;
	in.params.target = 1;
	in.params.idle_ms = 1 + random_below(&s, 5000);
	idle_ns = in.params.idle_ms * GT_NS_PER_MS;
	for (int i = 0; i < 2000; i++) {
		struct gt_scale_out out;

		in.now_ns += random_below(&s, 300) * GT_NS_PER_MS;
		in.in_flight = random_below(&s, max + 1);
		out = decide(w, in);
		p.need[p.n] = before;
		p.end_ns[p.n++] = in.now_ns;
		before = in.in_flight;
		uint32_t exact = plain_max(&p, in.now_ns, idle_ns, out.need);

		if (max <= STEPS ? out.wanted != exact : out.wanted < exact)
			fail_msg("seed %llu step %d: wanted %u, exact %u", (unsigned long long)seed,
				 i, out.wanted, exact);
		assert_true(out.wanted <= max && out.wanted >= out.need);
		assert_true(out.due_ns > in.now_ns);
	}
	in.in_flight = 0;
	decide(w, in);
	in.now_ns += idle_ns;
	assert_int_equal(decide(w, in).wanted, 0);
}

static void equals_a_plain_sliding_maximum(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		one_seed(seed, 5);
		one_seed(seed, STEPS);
		one_seed(seed, 200);
	}
}

/* A load that repeats within the window settles on one number and stays there. */
static void never_oscillates(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		uint64_t s = seed, now = 0;
		uint32_t phase[8];
		struct gt_scale *w = renewed();
		uint32_t highest = 0;

		for (size_t i = 0; i < GT_LEN(phase); i++) {
			phase[i] = random_below(&s, 40);
			highest = GT_MAX(highest, (phase[i] + 3) / 4);
		}
		for (int i = 0; i < 400; i++, now += 7 * S) {
			uint32_t wanted = decide(w, load(now, phase[i % 8], 0)).wanted;

			if (i >= 8)
				assert_int_equal(wanted, highest);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_up_at_once),
		cmocka_unit_test(falls_only_after_an_idle_window),
		cmocka_unit_test(ready_replicas_get_a_whole_window),
		cmocka_unit_test(bounds_hold),
		cmocka_unit_test(a_buffer_is_there_while_there_are_calls),
		cmocka_unit_test(a_clock_that_jumps_costs_one_window_at_most),
		cmocka_unit_test(the_least_worth_goes_first),
		cmocka_unit_test(names_are_read_back),
		cmocka_unit_test(equals_a_plain_sliding_maximum),
		cmocka_unit_test(never_oscillates),
	};

	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	gt_scale_free(fresh);
	gt_scale_pool_free(pool);
	return failed;
}
