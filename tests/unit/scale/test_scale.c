/* test_scale.c - the rule, by example and by property against a plain window that remembers all. */
#include <gantry/scale/scale.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/clock.h>

#define S GT_NS_PER_S

static struct gt_scale_in load(uint64_t now_ns, uint32_t in_flight, uint32_t queued)
{
	return (struct gt_scale_in){ .now_ns = now_ns,
				     .in_flight = in_flight,
				     .queued = queued,
				     .target = 4,
				     .min = 0,
				     .max = 10,
				     .idle_ms = 60000 };
}

static struct gt_scale_out decide(struct gt_scale_window *w, struct gt_scale_in in)
{
	struct gt_scale_out out;

	gt_scale_decide(w, &in, &out);
	return out;
}

static void goes_up_at_once(void **state)
{
	struct gt_scale_window w = { 0 };

	(void)state;
	assert_int_equal(decide(&w, load(1 * S, 0, 0)).wanted, 0);
	assert_int_equal(decide(&w, load(1 * S, 0, 1)).need, 1);
	assert_int_equal(decide(&w, load(1 * S, 4, 0)).need, 1);
	assert_int_equal(decide(&w, load(1 * S, 4, 1)).need, 2);
	assert_int_equal(decide(&w, load(1 * S, 400, 400)).need, 10);
	assert_string_equal(decide(&w, load(1 * S, 5, 4)).why,
			    "10 needed within the last 1m, 3 now");
}

static void falls_only_after_an_idle_window(void **state)
{
	struct gt_scale_window w = { 0 };
	struct gt_scale_out out;

	(void)state;
	decide(&w, load(10 * S, 12, 0));
	out = decide(&w, load(20 * S, 0, 0));
	assert_int_equal(out.need, 0);
	assert_int_equal(out.wanted, 3);
	assert_int_equal(out.due_ns, 80 * S);
	assert_int_equal(decide(&w, load(80 * S - 1, 0, 0)).wanted, 3);
	out = decide(&w, load(80 * S, 0, 0));
	assert_int_equal(out.wanted, 0);
	assert_true(out.due_ns == UINT64_MAX);
	assert_string_equal(out.why, "idle for 1m");
}

static void ready_replicas_get_a_whole_window(void **state)
{
	struct gt_scale_window w = { 0 };

	(void)state;
	decide(&w, load(0, 0, 1));
	decide(&w, load(1 * S, 0, 0)); /* the client left while the start went on */
	gt_scale_hold(&w, 1, 100 * S);
	assert_int_equal(decide(&w, load(159 * S, 0, 0)).wanted, 1);
	assert_int_equal(decide(&w, load(160 * S, 0, 0)).wanted, 0);
}

static void bounds_hold(void **state)
{
	struct gt_scale_window w = { 0 };
	struct gt_scale_in in = load(1 * S, 0, 0);

	(void)state;
	in.min = 2;
	assert_int_equal(decide(&w, in).wanted, 2);
	assert_string_equal(decide(&w, in).why, "min 2");
	in.in_flight = 100;
	assert_int_equal(decide(&w, in).wanted, 10);
	in.max = 3; /* a deploy: what was needed before may be above it */
	assert_int_equal(decide(&w, in).wanted, 3);
	in.in_flight = UINT32_MAX;
	in.queued = UINT32_MAX;
	in.target = 0;
	assert_int_equal(decide(&w, in).need, 3);
	in.idle_ms = 0;
	in.in_flight = in.queued = 0;
	assert_int_equal(decide(&w, in).wanted, 2);
}

/* ---- against a window that remembers everything ---- */
#define HISTORY 4000
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
	struct gt_scale_window w = { 0 };
	struct gt_scale_in in = load(0, 0, 0);
	uint64_t idle_ns, s = seed;

	p.n = 0;
	in.max = max;
	in.target = 1;
	in.idle_ms = 1 + random_below(&s, 5000);
	idle_ns = in.idle_ms * GT_NS_PER_MS;
	for (int i = 0; i < 2000; i++) {
		uint32_t before = w.need;
		struct gt_scale_out out;

		in.now_ns += random_below(&s, 300) * GT_NS_PER_MS;
		in.in_flight = random_below(&s, max + 3);
		out = decide(&w, in);
		p.need[p.n] = before;
		p.end_ns[p.n++] = in.now_ns;
		uint32_t exact = plain_max(&p, in.now_ns, idle_ns, out.need);

		if (max <= GT_SCALE_STEPS ? out.wanted != exact : out.wanted < exact)
			fail_msg("seed %llu step %d: wanted %u, exact %u", (unsigned long long)seed,
				 i, out.wanted, exact);
		assert_true(out.wanted <= max && out.wanted >= out.need);
		assert_true(out.due_ns > in.now_ns);
	}
	in.in_flight = 0;
	decide(&w, in);
	in.now_ns += idle_ns;
	assert_int_equal(decide(&w, in).wanted, 0);
}

static void equals_a_plain_sliding_maximum(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		one_seed(seed, 5);
		one_seed(seed, GT_SCALE_STEPS);
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
		struct gt_scale_window w = { 0 };
		uint32_t highest = 0;

		for (size_t i = 0; i < GT_LEN(phase); i++) {
			phase[i] = random_below(&s, 40);
			highest = GT_MAX(highest, (phase[i] + 3) / 4);
		}
		for (int i = 0; i < 400; i++, now += 7 * S) {
			uint32_t wanted = decide(&w, load(now, phase[i % 8], 0)).wanted;

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
		cmocka_unit_test(equals_a_plain_sliding_maximum),
		cmocka_unit_test(never_oscillates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
