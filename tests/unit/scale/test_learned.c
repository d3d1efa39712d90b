/* test_learned.c - states as bytes: what is read goes on as what was written, and no damage gets
 * through. SEED=n repeats one run. */
#include <gantry/scale/learned.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/clock.h>

#define S     GT_NS_PER_S
#define N     3
#define STEPS 400

struct run {
	uint64_t seed, now_ns;
	struct gt_rand rnd;
	struct gt_scale_pool *pool;
	struct gt_scale *scales[N];
	uint32_t ready[N];
	uint64_t shift_ns; /* of the times it is told */
};

static void run_free(struct run *r)
{
	for (size_t f = 0; f < N; f++)
		gt_scale_free(r->scales[f]);
	gt_scale_pool_free(r->pool);
}

static uint64_t draw(uint64_t *seed)
{
	struct gt_rand rnd = gt_rand_seeded(seed);
	uint64_t n;

	rnd.fill(rnd.arg, &n, sizeof(n));
	return n;
}

/* The same input to both, times moved: the outputs are the same, but for their times. */
static void step_both(struct run *a, struct run *b, uint64_t *seed, uint64_t *now_ns)
{
	uint64_t r = draw(seed);
	unsigned f = r % N;
	struct gt_scale_in in = {
		.params = { .target = 1 + f, .max = 40, .idle_ms = 30000, .price = 20 },
		.in_flight = (r >> 8) % (f == 2 ? 40 : 5),
		.queued = (r >> 16) % 3,
		.arrivals = (r >> 24) % 7,
		.completions = (r >> 32) % 7,
		.service_ns = (r >> 40) % 100 * GT_NS_PER_MS,
	};
	struct gt_scale_out out[2];
	struct run *runs[] = { a, b };

	in.params.idle_stated = f == 1;
	*now_ns += (r >> 48) % 20000 * GT_NS_PER_MS;
	for (size_t i = 0; i < 2 && runs[i]; i++) {
		in.ready = runs[i]->ready[f];
		in.starts = in.in_flight > in.ready ? in.in_flight - in.ready : 0;
		in.start_ns = in.starts * 3 * S;
		in.renew = in.starts ? in.in_flight : 0;
		in.ready = GT_MAX(in.ready, in.in_flight);
		in.now_ns = *now_ns + runs[i]->shift_ns;
		gt_scale_decide(runs[i]->scales[f], runs[i]->pool, &in, &out[i]);
		runs[i]->ready[f] = out[i].wanted;
	}
	if (!b)
		return;
	assert_int_equal(out[0].need, out[1].need);
	assert_int_equal(out[0].wanted, out[1].wanted);
	assert_int_equal(out[0].need_rule, out[1].need_rule);
	assert_int_equal(out[0].wanted_rule, out[1].wanted_rule);
	assert_true(out[0].load == out[1].load && out[0].start_s == out[1].start_s);
	assert_int_equal(out[0].due_ns == UINT64_MAX ? 0 : out[0].due_ns + b->shift_ns,
			 out[1].due_ns == UINT64_MAX ? 0 : out[1].due_ns);
}

static void write_all(struct gt_buf *out, const struct run *r, uint64_t now_ns, bool final)
{
	const struct gt_learned_head head = { .now_ns = now_ns, .wall_ms = 99, .final = final };
	static const char *const names[N] = { "a", "b", "c" };

	gt_learned_begin(out, &head, r->pool);
	for (size_t f = 0; f < N; f++)
		assert_true(gt_learned_add(out, names[f], 100 + f, r->scales[f]));
	gt_learned_end(out);
}

static void take(const struct gt_learned_function *l, void *arg)
{
	struct run *r = arg;
	size_t f = (size_t)(l->name[0] - 'a');

	assert_true(f < N);
	assert_int_equal(l->start_ms, 100 + f);
	assert_null(r->scales[f]);
	r->scales[f] = l->scale;
}

static void what_is_read_goes_on_as_what_was_written(void **state)
{
	const char *text = getenv("SEED");
	uint64_t first = text ? strtoull(text, NULL, 10) : 1;

	(void)state;
	for (uint64_t n = first; n < first + (text ? 1 : 20); n++) {
		struct run a = { .pool = gt_scale_pool_new() }, b = { 0 };
		gt_auto(buf) struct gt_buf bytes = { 0 };
		uint64_t seed = n, now_ns = 5000 * S;
		struct gt_learned_head head;

		print_message("seed %llu\n", (unsigned long long)n);
		for (size_t f = 0; f < N; f++)
			a.scales[f] = gt_scale_new();
		for (int i = 0; i < STEPS; i++)
			step_both(&a, NULL, &seed, &now_ns);
		write_all(&bytes, &a, now_ns, n & 1);
		assert_int_equal(gt_learned_head_read(gt_buf_str(&bytes), bytes.len, &head, NULL),
				 0);
		assert_int_equal(head.functions, N);
		assert_int_equal(head.final, n & 1);
		b.shift_ns = n % 3 * 777 * S; /* another clock, on which as much time has passed */
		memcpy(b.ready, a.ready, sizeof(b.ready));
		assert_int_equal(gt_learned_read(gt_buf_str(&bytes), bytes.len,
						 now_ns + b.shift_ns + 4 * S, 4 * S, take, &b,
						 &b.pool, NULL),
				 0);
		for (int i = 0; i < STEPS; i++)
			step_both(&a, &b, &seed, &now_ns);
		run_free(&a);
		run_free(&b);
	}
}

static void nobody(const struct gt_learned_function *l, void *arg)
{
	(void)arg;
	gt_scale_free(l->scale);
}

static uint64_t sum_of(const char *at, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)at[i]) * 0x100000001b3ULL;
	return h;
}

static void no_damage_gets_through(void **state)
{
	struct run a = { .pool = gt_scale_pool_new() };
	gt_auto(buf) struct gt_buf bytes = { 0 };
	uint64_t seed = 1, now_ns = 5000 * S;
	struct gt_scale_pool *pool;
	size_t refused = 0;

	(void)state;
	for (size_t f = 0; f < N; f++)
		a.scales[f] = gt_scale_new();
	for (int i = 0; i < STEPS; i++)
		step_both(&a, NULL, &seed, &now_ns);
	write_all(&bytes, &a, now_ns, true);
	run_free(&a);
	for (int i = 0; i < 3000; i++) {
		gt_auto(free) char *copy = gt_alloc(bytes.len);
		size_t len = bytes.len, at = draw(&seed) % len;
		struct gt_err err = { 0 };
		int r;

		memcpy(copy, bytes.data, len);
		if (i % 4 == 0)
			len = at;
		else
			copy[at] = (char)(copy[at] ^ (1 << draw(&seed) % 8));
		r = gt_learned_read(copy, len, now_ns, 0, nobody, NULL, &pool, &err);
		assert_int_equal(r, -EINVAL);
		assert_string_equal(err.slug, "invalid_state");
		/* Whoever makes the sum right as well gets no further than wrong numbers. */
		if (len < 100 || at < 8)
			continue;
		uint64_t sum = sum_of(copy, len - sizeof(sum));

		memcpy(copy + len - sizeof(sum), &sum, sizeof(sum));
		r = gt_learned_read(copy, len, now_ns, 0, nobody, NULL, &pool, NULL);
		refused += r < 0;
		if (r == 0)
			gt_scale_pool_free(pool);
	}
	assert_true(refused > 0);
}

static void functions_over_the_bound_are_left_out(void **state)
{
	struct gt_scale_pool *pool = gt_scale_pool_new();
	struct gt_scale *s = gt_scale_new();
	const struct gt_learned_head head = { .now_ns = S };
	gt_auto(buf) struct gt_buf bytes = { 0 };
	size_t n = 0;

	(void)state;
	gt_learned_begin(&bytes, &head, pool);
	gt_scale_pool_free(pool);
	while (gt_learned_add(&bytes, "f", 1, s))
		n++;
	gt_learned_end(&bytes);
	assert_false(bytes.failed);
	assert_int_equal(n, GT_LEARNED_FUNCTIONS_MAX);
	assert_int_equal(gt_learned_read(bytes.data, bytes.len, S, 0, nobody, NULL, &pool, NULL),
			 0);
	gt_scale_pool_free(pool);
	gt_scale_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_read_goes_on_as_what_was_written),
		cmocka_unit_test(no_damage_gets_through),
		cmocka_unit_test(functions_over_the_bound_are_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
