/* test_journal.c - why a function has its replicas: what is kept of decisions, and for how long. */
#include "fixture.h"

#include <gantry/control/decision.h>

struct seen {
	struct gt_decision all[64];
	size_t n;
};

static bool see(const struct gt_decision *d, void *arg)
{
	struct seen *s = arg;

	assert_true(s->n < GT_LEN(s->all));
	s->all[s->n++] = *d;
	return true;
}

static struct seen decisions(struct fix *x, const char *function, uint64_t after)
{
	struct seen s = { .n = 0 };

	assert_int_equal(gt_control_decisions(x->c, function, after, see, &s, NULL), 0);
	return s;
}

static void a_start_is_explained_by_its_rule_and_its_place(void **state)
{
	struct fix *x = *state;

	fix_put(x, "f", fix_spec(), "a");
	fix_put(x, "g", fix_spec(), "b");
	fix_demand(x, "f", 3, 0);
	struct seen s = decisions(x, "f", 0);

	assert_int_equal(s.n, 4); /* how many, and then where for each of them */
	assert_int_equal(s.all[0].kind, GT_DECISION_SCALE);
	assert_string_equal(s.all[0].function, "f");
	assert_int_equal(s.all[0].revision, 1);
	assert_int_equal(s.all[0].scale.in.queued, 3);
	assert_int_equal(s.all[0].scale.in.ready, 0);
	assert_int_equal(s.all[0].scale.in.params.max, 5);
	assert_int_equal(s.all[0].scale.out.need, 3);
	assert_int_equal(s.all[0].scale.out.need_rule, GT_SCALE_QUEUE);
	assert_int_equal(s.all[0].scale.out.asked[GT_SCALE_QUEUE], 3);
	for (size_t i = 1; i < 4; i++) {
		assert_int_equal(s.all[i].kind, GT_DECISION_PLACE);
		assert_int_equal(s.all[i].id, s.all[i - 1].id + 1);
		assert_string_equal(s.all[i].place.node, "n1");
		assert_int_equal(s.all[i].place.n_best, 1);
		assert_string_equal(s.all[i].place.best[0].node, "n1");
		assert_int_equal(s.all[i].place.looked, 1);
		assert_int_equal(s.all[i].place.n_refused, 0);
	}
	assert_string_equal(s.all[3].place.replica, x->order.replica);
	assert_int_equal(decisions(x, "g", 0).n, 0);
	assert_int_equal(decisions(x, "f", s.all[1].id).n, 2);
}

static void what_repeats_itself_is_kept_once(void **state)
{
	struct fix *x = *state;
	size_t n;

	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 2, 0);
	n = decisions(x, "f", 0).n;
	fix_demand(x, "f", 1, 1);
	fix_demand(x, "f", 0, 2);
	fix_demand(x, "f", 2, 0);
	assert_int_equal(decisions(x, "f", 0).n, n);
	fix_demand(x, "f", 3, 0);
	assert_int_equal(decisions(x, "f", 0).n, n + 2);
}

static void no_room_is_explained_once_with_the_limit(void **state)
{
	struct fix *x = *state;
	struct gt_spec *spec = fix_spec();

	spec->resources.memory_bytes = 20 * GT_GIB; /* of 4 x 8 GiB that limits may add up to */
	fix_put(x, "f", spec, "a");
	fix_demand(x, "f", 2, 0);
	fix_pass(x, 100);
	fix_demand(x, "f", 1, 1);
	fix_demand(x, "f", 2, 0);
	struct seen s = decisions(x, "f", 0);

	assert_int_equal(s.n, 3);
	assert_string_equal(s.all[1].place.node, "n1");
	assert_int_equal(s.all[2].kind, GT_DECISION_PLACE);
	assert_string_equal(s.all[2].place.node, "");
	assert_string_equal(s.all[2].place.replica, "");
	assert_non_null(strstr(s.all[2].place.why, "memory"));
	assert_int_equal(s.all[2].place.n_best, 0);
	assert_int_equal(s.all[2].place.n_refused, 1);
	assert_string_equal(s.all[2].place.refused[0].limit, "memory");
	assert_int_equal(s.all[2].place.refused[0].nodes, 1);
}

static void the_oldest_give_way_and_a_cursor_says_so(void **state)
{
	struct fix *x = *state;
	struct gt_err err = { 0 };
	struct seen s;

	fix_put(x, "f", fix_spec(), "a");
	fix_put(x, "g", fix_spec(), "b");
	fix_demand(x, "f", 1, 0);
	s = decisions(x, "f", 0);
	assert_int_equal(s.n, 2);
	for (unsigned i = 0; i < GT_DECISIONS_KEPT; i++)
		fix_demand(x, "g", 4 + i % 2, 0);
	assert_int_equal(decisions(x, "f", 0).n, 0);
	s.n = 0;
	assert_int_equal(
		gt_control_decisions(x->c, "g", (uint64_t)FIX_EPOCH << 32 | 1, see, &s, &err),
		-ERANGE);
	assert_string_equal(err.slug, "cursor_gone");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_start_is_explained_by_its_rule_and_its_place,
						fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(what_repeats_itself_is_kept_once, fix_setup,
						fix_teardown),
		cmocka_unit_test_setup_teardown(no_room_is_explained_once_with_the_limit, fix_setup,
						fix_teardown),
		cmocka_unit_test_setup_teardown(the_oldest_give_way_and_a_cursor_says_so, fix_setup,
						fix_teardown),
	};

	return cmocka_run_group_tests_name("control/test_journal", tests, NULL, NULL);
}
