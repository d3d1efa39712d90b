/* test_clock.c - time as text, sortable ids, and a generator that repeats itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/clock.h>

static uint64_t fixed_wall_ms(void *arg)
{
	return *(uint64_t *)arg;
}

static void time_text_is_utc_with_milliseconds(void **state)
{
	char out[GT_TIME_TEXT];

	(void)state;
	gt_time_text(0, out);
	assert_string_equal(out, "1970-01-01T00:00:00.000Z");
	gt_time_text(1795459212345, out);
	assert_string_equal(out, "2026-11-23T18:40:12.345Z");
	gt_time_text(UINT64_MAX, out);
	assert_string_equal(out, "9999-12-31T23:59:59.999Z");
}

static void the_seeded_generator_is_splitmix64(void **state)
{
	uint64_t seed = 1234567, words[2];
	struct gt_rand rnd = gt_rand_seeded(&seed);

	(void)state;
	rnd.fill(rnd.arg, words, sizeof(words));
	/* The first two values of the published reference for this seed. */
	assert_int_equal(words[0], 6457827717110365317ULL);
	assert_int_equal(words[1], 3203168211198807973ULL);
}

static void equal_seeds_give_equal_bytes_and_odd_lengths_work(void **state)
{
	uint64_t seed_a = 9, seed_b = 9;
	struct gt_rand a = gt_rand_seeded(&seed_a), b = gt_rand_seeded(&seed_b);
	unsigned char x[14] = { 0 }, y[14] = { 0 };

	(void)state;
	a.fill(a.arg, x, 13);
	b.fill(b.arg, y, 13);
	assert_memory_equal(x, y, sizeof(x));
	assert_int_equal(x[13], 0);
	a.fill(a.arg, x, 13);
	assert_memory_not_equal(x, y, sizeof(x));
}

static void ulids_have_their_alphabet_and_sort_by_time(void **state)
{
	uint64_t seed = 1, wall_ms = 1469918176385;
	struct gt_rand rnd = gt_rand_seeded(&seed);
	struct gt_clock clock = { .wall_ms = fixed_wall_ms, .arg = &wall_ms };
	char first[GT_ULID_LEN + 1], second[GT_ULID_LEN + 1], later[GT_ULID_LEN + 1];

	(void)state;
	gt_ulid(&clock, &rnd, first);
	gt_ulid(&clock, &rnd, second);
	wall_ms++;
	gt_ulid(&clock, &rnd, later);
	assert_int_equal(strlen(first), GT_ULID_LEN);
	assert_int_equal(strspn(first, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), GT_ULID_LEN);
	assert_memory_equal(first, "01ARYZ6S41", 10); /* the specification's example time */
	assert_memory_equal(second, first, 10);
	assert_string_not_equal(first, second);
	assert_true(strcmp(later, first) > 0 && strcmp(later, second) > 0);
}

static void the_system_clock_and_random_work(void **state)
{
	uint64_t a = gt_mono_ns(&gt_clock_system), b = gt_mono_ns(&gt_clock_system);
	unsigned char x[64] = { 0 }, y[64] = { 0 };

	(void)state;
	assert_true(b >= a);
	assert_true(gt_wall_ms(&gt_clock_system) > 1600000000000ULL);
	gt_rand_system.fill(gt_rand_system.arg, x, sizeof(x));
	gt_rand_system.fill(gt_rand_system.arg, y, sizeof(y));
	assert_memory_not_equal(x, y, sizeof(x));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_text_is_utc_with_milliseconds),
		cmocka_unit_test(the_seeded_generator_is_splitmix64),
		cmocka_unit_test(equal_seeds_give_equal_bytes_and_odd_lengths_work),
		cmocka_unit_test(ulids_have_their_alphabet_and_sort_by_time),
		cmocka_unit_test(the_system_clock_and_random_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
