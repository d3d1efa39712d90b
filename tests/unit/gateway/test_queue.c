/* Whose turn it is: classes, callers, and how long anybody can be passed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "queue.h"

static struct gt_queue q;

static int teardown(void **state)
{
	(void)state;
	gt_queue_fini(&q);
	assert_null(q.callers);
	q = (struct gt_queue){ 0 };
	return 0;
}

static struct gt_waiter *add(uint64_t caller, enum gt_class class)
{
	struct gt_waiter *w = gt_alloc(sizeof(*w));

	*w = (struct gt_waiter){ .caller = caller, .class = class, .able = true };
	gt_queue_add(&q, w);
	return w;
}

/* The next one's caller and class as a number; 0 = nobody. */
static unsigned serve(void)
{
	struct gt_waiter *w = gt_queue_first(&q);

	if (!w)
		return 0;
	unsigned who = (unsigned)w->caller * 10 + w->class;

	gt_queue_serve(&q, w);
	free(w);
	return who;
}

/* The third caller's calls are few: only the order of coming counts. */
static void test_first_come_first_served(void **state)
{
	(void)state;
	static const unsigned order[] = { 11, 21, 11, 31, 21, 11, 0 };

	for (size_t i = 0; order[i]; i++)
		add(order[i] / 10, GT_CLASS_NORMAL);
	assert_int_equal(gt_queue_callers(&q), 3);
	assert_int_equal(gt_queue_of(&q, 1), 3);
	for (size_t i = 0; i < GT_LEN(order); i++)
		assert_int_equal(serve(), order[i]);
	assert_int_equal(gt_queue_callers(&q), 0);
}

static void test_burst_delays_others_by_a_window(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++)
		add(1, GT_CLASS_NORMAL);
	add(2, GT_CLASS_NORMAL);
	for (int i = 0; i < GT_QUEUE_WINDOW; i++)
		assert_int_equal(serve(), 11);
	assert_int_equal(serve(), 21);
	for (int i = 0; i < 1000; i++)
		add(3, GT_CLASS_NORMAL);
	unsigned served[4] = { 0 };

	for (int i = 0; i < 500; i++)
		served[serve() / 10]++;
	assert_in_range(served[1], 250 - GT_QUEUE_WINDOW, 250 + GT_QUEUE_WINDOW);
	assert_in_range(served[3], 250 - GT_QUEUE_WINDOW, 250 + GT_QUEUE_WINDOW);
	while (serve())
		;
	assert_int_equal(gt_queue_callers(&q), 0);
	assert_int_equal(q.classes[GT_CLASS_NORMAL].n, 0);
	assert_int_equal(q.classes[GT_CLASS_NORMAL].in_line, 0);
	assert_int_equal(q.classes[GT_CLASS_NORMAL].backlogs, 0);
}

static void test_callers_own_order_is_kept(void **state)
{
	(void)state;
	struct gt_waiter w[3 * GT_QUEUE_WINDOW] = { 0 };

	for (size_t i = 0; i < GT_LEN(w); i++) {
		w[i].able = true;
		gt_queue_add(&q, &w[i]);
	}
	gt_queue_remove(&q, &w[1]);                   /* left from the line, */
	gt_queue_remove(&q, &w[GT_QUEUE_WINDOW + 2]); /* and from behind it */
	for (size_t i = 0; i < GT_LEN(w); i++) {
		if (i == 1 || i == GT_QUEUE_WINDOW + 2)
			continue;
		assert_ptr_equal(gt_queue_first(&q), &w[i]);
		gt_queue_serve(&q, &w[i]);
	}
	assert_null(gt_queue_first(&q));
}

static void test_classes_share_by_weight_and_none_starves(void **state)
{
	(void)state;
	unsigned served[GT_CLASS_N] = { 0 }, since[GT_CLASS_N] = { 0 };

	for (int i = 0; i < 3; i++)
		for (int n = 0; n < 2; n++)
			add(1, (enum gt_class)i);
	for (int i = 0; i < 21 * 50; i++) {
		unsigned class = serve() % 10;

		add(1, (enum gt_class) class);
		served[class]++;
		for (int k = 0; k < GT_CLASS_N; k++) {
			since[k] = k == (int)class ? 0 : since[k] + 1;
			assert_true(since[k] <= 20);
		}
	}
	assert_int_equal(served[GT_CLASS_HIGH], 16 * 50);
	assert_int_equal(served[GT_CLASS_NORMAL], 4 * 50);
	assert_int_equal(served[GT_CLASS_LOW], 50);
	while (serve())
		;
}

static void test_low_class_alone_has_all_slots(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++)
		add(1, GT_CLASS_LOW);
	for (int i = 0; i < 50; i++)
		assert_int_equal(serve(), 12);
	add(1, GT_CLASS_LOW);
	add(2, GT_CLASS_HIGH);
	assert_int_equal(serve(), 20);
	assert_int_equal(serve(), 12);
}

static void test_put_back_is_next(void **state)
{
	(void)state;
	add(1, GT_CLASS_NORMAL);
	add(2, GT_CLASS_NORMAL);
	for (int i = 0; i < GT_QUEUE_WINDOW; i++)
		add(1, GT_CLASS_NORMAL);
	struct gt_waiter *w = gt_queue_first(&q);

	gt_queue_serve(&q, w);
	gt_queue_put_back(&q, w);
	assert_ptr_equal(gt_queue_first(&q), w);
	assert_int_equal(serve(), 11);
	assert_int_equal(serve(), 21);
	for (int i = 0; i < GT_QUEUE_WINDOW; i++)
		assert_int_equal(serve(), 11);
	assert_int_equal(serve(), 0);
}

static void test_who_is_not_able_is_passed_over_and_counted(void **state)
{
	(void)state;
	struct gt_waiter slow = { .caller = 1, .class = GT_CLASS_NORMAL };

	gt_queue_add(&q, &slow);
	assert_null(gt_queue_first(&q));
	add(1, GT_CLASS_NORMAL);
	assert_int_equal(gt_queue_of(&q, 1), 2);
	assert_int_equal(serve(), 11);
	gt_queue_able(&q, &slow);
	gt_queue_able(&q, &slow); /* twice is once */
	assert_ptr_equal(gt_queue_first(&q), &slow);
	gt_queue_remove(&q, &slow);
	assert_null(gt_queue_first(&q));
	assert_int_equal(gt_queue_of(&q, 1), 0);
}

static void test_ahead(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++)
		add(1, GT_CLASS_NORMAL);
	add(2, GT_CLASS_NORMAL);
	add(3, GT_CLASS_HIGH);
	assert_int_equal(gt_queue_ahead(&q, 1, GT_CLASS_NORMAL), 1 + 50 + 1);
	assert_int_equal(gt_queue_ahead(&q, 2, GT_CLASS_NORMAL), 1 + GT_QUEUE_WINDOW + 1);
	assert_int_equal(gt_queue_ahead(&q, 4, GT_CLASS_HIGH), 1);
	assert_int_equal(gt_queue_ahead(&q, 4, GT_CLASS_LOW), 52);
	for (int i = 0; i < 20; i++)
		add(4, GT_CLASS_NORMAL);
	assert_int_equal(gt_queue_ahead(&q, 4, GT_CLASS_NORMAL), 1 + 2 * 20 + 1);
	while (serve())
		;
}

/* A stranger a call must not make the table of callers grow. */
static void test_callers_are_forgotten(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= 1000; i++) {
		add(i, GT_CLASS_HIGH);
		assert_int_not_equal(serve(), 0);
	}
	assert_true(HASH_COUNT(q.callers) <= 32);
}

#define T(name) cmocka_unit_test_teardown(name, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_first_come_first_served),
		T(test_burst_delays_others_by_a_window),
		T(test_callers_own_order_is_kept),
		T(test_classes_share_by_weight_and_none_starves),
		T(test_low_class_alone_has_all_slots),
		T(test_put_back_is_next),
		T(test_who_is_not_able_is_passed_over_and_counted),
		T(test_ahead),
		T(test_callers_are_forgotten),
	};

	return cmocka_run_group_tests_name("gateway_queue", tests, NULL, NULL);
}
