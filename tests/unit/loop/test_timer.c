/* test_timer.c - timers fire in the order of their due time, once, and can be cleared. All times
 * are in the past or far ahead, so that no test waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/cleanup.h>
#include <gantry/loop/loop.h>

#define TIMERS  200
#define FAR_OFF UINT64_MAX

struct fixture {
	struct gt_loop *loop;
	struct gt_timer timers[TIMERS];
	uint64_t fired[TIMERS]; /* due times in the order of firing */
	size_t n_fired;
	struct gt_err err;
};

static struct fixture *fx; /* callbacks get their timer as the argument */

static int setup(void **state)
{
	fx = gt_alloc(sizeof(*fx));
	*state = fx;
	return gt_loop_new(&fx->loop, &fx->err);
}

static int teardown(void **state)
{
	(void)state;
	gt_loop_free(fx->loop);
	free(fx);
	return 0;
}

static void step(void)
{
	if (gt_loop_step(fx->loop, 0, &fx->err) < 0)
		fail_msg("%s", fx->err.text);
}

static void on_due(void *arg)
{
	struct gt_timer *t = arg;

	assert_false(gt_timer_is_set(t));
	assert_true(fx->n_fired < TIMERS);
	fx->fired[fx->n_fired++] = t->due_ns;
}

static void set_at(size_t i, uint64_t due_ns)
{
	gt_timer_set_at(fx->loop, &fx->timers[i], due_ns, on_due, &fx->timers[i]);
}

static void timers_fire_in_order_and_once(void **state)
{
	uint64_t seed = 42, r;
	struct gt_rand rnd = gt_rand_seeded(&seed);

	(void)state;
	for (size_t i = 0; i < TIMERS; i++) {
		rnd.fill(rnd.arg, &r, sizeof(r));
		set_at(i, 1 + r % 1000);
	}
	step();
	assert_int_equal(fx->n_fired, TIMERS);
	for (size_t i = 1; i < TIMERS; i++)
		assert_true(fx->fired[i - 1] <= fx->fired[i]);
	step();
	assert_int_equal(fx->n_fired, TIMERS);
}

static void clearing_any_place_of_the_heap_keeps_the_order(void **state)
{
	uint64_t seed = 7, r;
	struct gt_rand rnd = gt_rand_seeded(&seed);
	size_t cleared = 0, moved = 0;

	(void)state;
	for (size_t i = 0; i < TIMERS; i++) {
		rnd.fill(rnd.arg, &r, sizeof(r));
		set_at(i, 1 + r % 1000);
	}
	for (size_t i = 0; i < TIMERS; i++) {
		rnd.fill(rnd.arg, &r, sizeof(r));
		if (r % 3 == 0) {
			gt_timer_clear(fx->loop, &fx->timers[i]);
			gt_timer_clear(fx->loop, &fx->timers[i]); /* fine when not set */
			cleared++;
		} else if (r % 3 == 1) {
			set_at(i, 1 + r % 777); /* replaces, and does not add */
			moved++;
		}
	}
	assert_true(cleared > 0 && moved > 0);
	step();
	assert_int_equal(fx->n_fired, TIMERS - cleared);
	for (size_t i = 1; i < fx->n_fired; i++)
		assert_true(fx->fired[i - 1] <= fx->fired[i]);
}

static void a_timer_ahead_does_not_fire(void **state)
{
	(void)state;
	set_at(0, FAR_OFF);
	set_at(1, gt_loop_clock_ns(fx->loop) + 3600 * GT_NS_PER_S);
	set_at(2, 1);
	step();
	assert_int_equal(fx->n_fired, 1);
	assert_true(gt_timer_is_set(&fx->timers[0]));
	assert_true(gt_timer_is_set(&fx->timers[1]));
}

static void clear_others(void *arg)
{
	(void)arg;
	fx->n_fired++;
	for (size_t i = 0; i < TIMERS; i++)
		gt_timer_clear(fx->loop, &fx->timers[i]);
}

static void a_timer_cleared_by_another_does_not_fire(void **state)
{
	(void)state;
	for (size_t i = 0; i < 10; i++)
		gt_timer_set_at(fx->loop, &fx->timers[i], 1, clear_others, NULL);
	step();
	assert_int_equal(fx->n_fired, 1);
}

static void set_again(void *arg)
{
	fx->n_fired++;
	gt_timer_set_at(fx->loop, arg, 1, set_again, arg);
}

static void a_timer_that_sets_itself_for_the_past_fires_once_a_round(void **state)
{
	(void)state;
	gt_timer_set_at(fx->loop, &fx->timers[0], 1, set_again, &fx->timers[0]);
	step();
	assert_int_equal(fx->n_fired, 1);
	step();
	assert_int_equal(fx->n_fired, 2);
}

static void free_self(void *arg)
{
	fx->n_fired++;
	free(arg);
}

static void a_callback_may_free_its_timer(void **state)
{
	struct gt_timer *t = gt_alloc(sizeof(*t));

	(void)state;
	gt_timer_set_at(fx->loop, t, 1, free_self, t);
	step();
	assert_int_equal(fx->n_fired, 1);
}

static void a_delay_counts_from_now_and_saturates(void **state)
{
	uint64_t before_ns = gt_loop_clock_ns(fx->loop);

	(void)state;
	gt_timer_set(fx->loop, &fx->timers[0], 5000, on_due, &fx->timers[0]);
	assert_true(fx->timers[0].due_ns >= before_ns + 5000 * GT_NS_PER_MS);
	assert_true(fx->timers[0].due_ns <= gt_loop_clock_ns(fx->loop) + 5000 * GT_NS_PER_MS);
	gt_timer_set(fx->loop, &fx->timers[1], UINT64_MAX, on_due, &fx->timers[1]);
	assert_int_equal(fx->timers[1].due_ns, UINT64_MAX);
	step();
	assert_int_equal(fx->n_fired, 0);
}

static void the_loop_wakes_for_its_next_timer_and_not_early(void **state)
{
	(void)state;
	gt_timer_set(fx->loop, &fx->timers[0], 5, on_due, &fx->timers[0]);
	uint64_t due_ns = fx->timers[0].due_ns;

	while (fx->n_fired == 0)
		assert_int_equal(gt_loop_step(fx->loop, -1, &fx->err), 0);
	assert_true(gt_loop_now_ns(fx->loop) >= due_ns);
}

static void freeing_the_loop_unsets_its_timers(void **state)
{
	struct gt_loop *other = NULL;
	struct gt_timer t = { 0 };

	(void)state;
	assert_int_equal(gt_loop_new(&other, &fx->err), 0);
	gt_timer_set_at(other, &t, FAR_OFF, on_due, &t);
	gt_loop_free(other);
	assert_false(gt_timer_is_set(&t));
	gt_loop_free(NULL);
}

#define TIMER_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* ---- a virtual loop ---- */

static uint64_t virtual_ns(void *arg)
{
	return *(uint64_t *)arg;
}

static void nothing(struct gt_watch *w, unsigned events, void *arg)
{
	(void)w;
	(void)events;
	(void)arg;
}

static void a_virtual_loop_lives_by_its_clock(void **state)
{
	uint64_t now_ns = 5 * GT_NS_PER_S;
	const struct gt_clock clock = { .mono_ns = virtual_ns, .arg = &now_ns };
	struct gt_watch *w = NULL;
	struct gt_timer t = { 0 };

	(void)state;
	gt_loop_free(fx->loop);
	fx->loop = gt_loop_new_virtual(&clock);
	assert_ptr_equal(gt_loop_clock(fx->loop), &clock);
	assert_true(gt_loop_due_ns(fx->loop) == UINT64_MAX);
	assert_true(gt_loop_watch(fx->loop, 0, GT_EV_READ, nothing, NULL, &w, &fx->err) < 0);
	gt_timer_set(fx->loop, &t, 3600 * 1000, on_due, &t);
	assert_true(gt_loop_due_ns(fx->loop) == now_ns + 3600 * GT_NS_PER_S);
	assert_int_equal(gt_loop_step(fx->loop, -1, &fx->err), 0); /* does not wait */
	assert_int_equal(fx->n_fired, 0);
	now_ns = gt_loop_due_ns(fx->loop);
	step();
	assert_int_equal(fx->n_fired, 1);
	assert_true(gt_loop_now_ns(fx->loop) == now_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TIMER_TEST(timers_fire_in_order_and_once),
		TIMER_TEST(clearing_any_place_of_the_heap_keeps_the_order),
		TIMER_TEST(a_timer_ahead_does_not_fire),
		TIMER_TEST(a_timer_cleared_by_another_does_not_fire),
		TIMER_TEST(a_timer_that_sets_itself_for_the_past_fires_once_a_round),
		TIMER_TEST(a_callback_may_free_its_timer),
		TIMER_TEST(a_delay_counts_from_now_and_saturates),
		TIMER_TEST(the_loop_wakes_for_its_next_timer_and_not_early),
		TIMER_TEST(freeing_the_loop_unsets_its_timers),
		TIMER_TEST(a_virtual_loop_lives_by_its_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
