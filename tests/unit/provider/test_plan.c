/* test_plan.c - how many hosts are missing: cases, and what holds for any fleet. */
#include <gantry/provider/plan.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct gt_offer offer(unsigned cpus, unsigned gib, unsigned gpus, const char *model,
			     const char *labels)
{
	struct gt_provider p = { .cpus = cpus, .memory_bytes = gib * GT_GIB };
	struct gt_offer o = { 0 };

	if (gpus)
		snprintf(p.gpus, sizeof(p.gpus), "%ux80GiB:%s", gpus, model);
	gt_strcopy(p.labels, sizeof(p.labels), labels);
	assert_int_equal(gt_provider_offer(&p, &o, NULL), 0);
	return o;
}

static struct gt_spec *spec(uint32_t cpu_milli, unsigned gib, uint32_t gpus, const char *model)
{
	struct gt_spec *s = gt_spec_new();

	s->resources.cpu_milli = cpu_milli;
	s->resources.memory_bytes = gib * GT_GIB;
	s->resources.gpu.count = gpus;
	if (model) {
		s->resources.gpu.models = gt_alloc_array(1, sizeof(char *));
		s->resources.gpu.models[0] = gt_strdup(model);
		s->resources.gpu.n_models = 1;
	}
	return s;
}

/* A world of at most some of each. */
struct world {
	struct gt_offer offers[4];
	struct gt_plan_provider providers[4];
	struct gt_plan_want wants[8];
	struct gt_spec *specs[8];
	struct gt_plan_host hosts[32];
	struct gt_plan plan;
};

static struct world *world_new(void)
{
	struct world *w = gt_alloc(sizeof(*w));

	w->plan = (struct gt_plan){ .memory_overcommit = 1,
				    .cpu_overcommit = 1,
				    .wants = w->wants,
				    .providers = w->providers,
				    .hosts = w->hosts };
	return w;
}

static void provider_add(struct world *w, struct gt_offer o, uint32_t room)
{
	size_t i = w->plan.n_providers++;

	w->offers[i] = o;
	w->providers[i] = (struct gt_plan_provider){ &w->offers[i], room };
}

static struct gt_spec *want_add(struct world *w, struct gt_spec *s, uint32_t missing)
{
	size_t i = w->plan.n_wants++;

	w->specs[i] = s;
	w->wants[i] =
		(struct gt_plan_want){ .spec = s, .function = (uint32_t)i + 1, .missing = missing };
	return s;
}

static void host_add(struct world *w, uint32_t provider, bool leaves)
{
	w->hosts[w->plan.n_hosts++] = (struct gt_plan_host){ .provider = provider,
							     .leaves = leaves };
}

static void world_free(struct world *w)
{
	for (size_t i = 0; i < w->plan.n_wants; i++)
		gt_spec_free(w->specs[i]);
	free(w);
}

static size_t asked(const struct world *w, uint32_t provider)
{
	size_t n = 0;

	for (size_t i = 0; i < w->plan.n_news; i++)
		n += w->plan.news[i].provider == provider;
	return n;
}

static void as_many_as_it_takes(void **state GT_UNUSED)
{
	struct world *w = world_new();

	provider_add(w, offer(4, 16, 0, NULL, ""), 10);
	want_add(w, spec(1000, 1, 0, NULL), 9);
	gt_plan_run(&w->plan);
	assert_int_equal(asked(w, 0), 3);
	assert_int_equal(w->wants[0].placed, 9);
	world_free(w);
}

static void what_comes_anyway_counts(void **state GT_UNUSED)
{
	struct world *w = world_new();

	provider_add(w, offer(4, 16, 0, NULL, ""), 10);
	host_add(w, 0, false);
	host_add(w, 0, false);
	want_add(w, spec(1000, 1, 0, NULL), 9);
	gt_plan_run(&w->plan);
	assert_int_equal(asked(w, 0), 1);
	world_free(w);
}

static void one_that_leaves_is_called_back_before_a_new_one_is_asked_for(void **state GT_UNUSED)
{
	struct world *w = world_new();

	provider_add(w, offer(4, 16, 0, NULL, ""), 10);
	host_add(w, 0, true);
	host_add(w, 0, true);
	want_add(w, spec(4000, 1, 0, NULL), 1);
	gt_plan_run(&w->plan);
	assert_int_equal(w->plan.n_news, 0);
	assert_true(w->hosts[0].needed);
	assert_false(w->hosts[1].needed);
	world_free(w);
}

static void the_first_that_fits_is_asked(void **state GT_UNUSED)
{
	struct world *w = world_new();

	provider_add(w, offer(8, 64, 0, NULL, ""), 10);
	provider_add(w, offer(8, 64, 1, "L4", ""), 1);
	provider_add(w, offer(8, 64, 4, "NVIDIA H100 80GB HBM3", ""), 10);
	want_add(w, spec(1000, 1, 1, "L4"), 2); /* one more than may be had */
	want_add(w, spec(1000, 1, 2, "h100"), 3);
	want_add(w, spec(1000, 1, 1, "A100"), 1);
	gt_plan_run(&w->plan);
	assert_int_equal(asked(w, 0), 0);
	assert_int_equal(asked(w, 1), 1);
	assert_int_equal(asked(w, 2), 2);
	assert_int_equal(w->wants[0].placed, 1);
	assert_int_equal(w->wants[1].placed, 3);
	assert_int_equal(w->wants[2].placed, 0);
	world_free(w);
}

/* It is not counted as coming from the one that may not be asked now. */
static void one_without_room_is_passed_over(void **state GT_UNUSED)
{
	struct world *w = world_new();

	provider_add(w, offer(8, 64, 0, NULL, "zone=a"), 0);
	provider_add(w, offer(8, 64, 0, NULL, "zone=a,price=high"), 1);
	struct gt_spec *s = want_add(w, spec(1000, 1, 0, NULL), 1);

	s->placement.n_labels = 1;
	s->placement.labels = gt_alloc_array(1, sizeof(*s->placement.labels));
	gt_strcopy(s->placement.labels[0].key, GT_LABEL_MAX + 1, "zone");
	gt_strcopy(s->placement.labels[0].value, GT_LABEL_MAX + 1, "a");
	gt_plan_run(&w->plan);
	assert_int_equal(asked(w, 0), 0);
	assert_int_equal(asked(w, 1), 1);
	gt_strcopy(s->placement.labels[0].value, GT_LABEL_MAX + 1, "b");
	gt_plan_run(&w->plan);
	assert_int_equal(w->plan.n_news, 0);
	assert_int_equal(w->wants[0].placed, 0);
	world_free(w);
}

static void a_gang_gets_all_its_hosts_or_none(void **state GT_UNUSED)
{
	struct world *w = world_new();
	struct gt_spec *s;

	provider_add(w, offer(8, 64, 8, "H100", ""), 2);
	s = want_add(w, spec(1000, 1, 8, "H100"), 1);
	s->gang.size = 3;
	s->gang.spread = GT_GANG_ANY;
	gt_plan_run(&w->plan);
	assert_int_equal(w->plan.n_news, 0);
	s->gang.size = 2;
	gt_plan_run(&w->plan);
	assert_int_equal(asked(w, 0), 2);
	world_free(w);
}

static void what_needs_a_host_alone_gets_one_each(void **state GT_UNUSED)
{
	struct world *w = world_new();

	provider_add(w, offer(8, 64, 0, NULL, ""), 10);
	want_add(w, spec(100, 1, 0, NULL), 1)->isolation = GT_ISOLATION_EXCLUSIVE;
	want_add(w, spec(100, 1, 0, NULL), 2)->isolation = GT_ISOLATION_EXCLUSIVE;
	gt_plan_run(&w->plan);
	assert_int_equal(asked(w, 0), 2); /* those of one function share */
	world_free(w);
}

/* ---- what always holds ---- */

static uint32_t below(uint64_t *seed, uint32_t n)
{
	struct gt_rand rnd = gt_rand_seeded(seed);
	uint32_t x;

	rnd.fill(rnd.arg, &x, sizeof(x));
	return x % n;
}

static struct world *random_world(uint64_t *seed)
{
	static const char *const models[] = { "L4", "A100", "H100" };
	struct world *w = world_new();
	uint32_t n = 1 + below(seed, 4);

	for (uint32_t i = 0; i < n; i++)
		provider_add(w,
			     offer(1 + below(seed, 16), 1 + below(seed, 64), below(seed, 5),
				   models[below(seed, 3)], below(seed, 2) ? "zone=a" : ""),
			     below(seed, 12));
	for (uint32_t i = below(seed, 8); i > 0; i--)
		host_add(w, below(seed, n), below(seed, 4) == 0);
	for (uint32_t i = 1 + below(seed, 7); i > 0; i--) {
		uint32_t gpus = below(seed, 3);
		struct gt_spec *s = want_add(w,
					     spec(100 + below(seed, 8000), 1 + below(seed, 16),
						  gpus, gpus ? models[below(seed, 3)] : NULL),
					     1 + below(seed, 20));

		if (below(seed, 4) == 0)
			s->isolation = GT_ISOLATION_EXCLUSIVE;
		if (below(seed, 5) == 0)
			s->gang = (struct gt_gang_want){ .size = 2 + below(seed, 3),
							 .spread = 1 + below(seed, 3) };
	}
	return w;
}

static void copy(const struct world *from, struct world *to)
{
	*to = *from;
	to->plan.wants = to->wants;
	to->plan.providers = to->providers;
	to->plan.hosts = to->hosts;
	for (size_t i = 0; i < to->plan.n_providers; i++)
		to->providers[i].offer = &to->offers[i];
}

/* Hosts that leave are called back later than those that come are used, and a gang that found no
 * place may find one together with what was asked for others. */
static bool is_simple(const struct world *w)
{
	bool simple = true;

	for (size_t i = 0; i < w->plan.n_hosts; i++)
		simple = simple && !w->hosts[i].leaves;
	for (size_t i = 0; i < w->plan.n_wants; i++)
		simple = simple &&
			 (w->specs[i]->gang.size == 0 || w->wants[i].placed == w->wants[i].missing);
	return simple;
}

static void whatever_there_is(void **state GT_UNUSED)
{
	size_t n_again = 0;

	for (uint64_t seed = 1, number = 1; number <= 5000; seed = ++number) {
		struct world *w = random_world(&seed), *again = gt_alloc(sizeof(*again));
		size_t before;

		gt_plan_run(&w->plan);
		for (uint32_t i = 0; i < w->plan.n_providers; i++)
			assert_true(asked(w, i) <=
				    w->providers[i].room); /* never more than may be */
		/* The same again from the same. */
		copy(w, again);
		gt_plan_run(&again->plan);
		assert_int_equal(again->plan.n_news, w->plan.n_news);
		assert_memory_equal(again->plan.news, w->plan.news,
				    w->plan.n_news * sizeof(w->plan.news[0]));
		/* Once they are asked for, nobody asks for them a second time. */
		before = w->plan.n_news;
		if (w->plan.n_hosts + before <= GT_LEN(w->hosts) && is_simple(w)) {
			copy(w, again);
			for (size_t i = 0; i < before; i++) {
				again->providers[w->plan.news[i].provider].room--;
				host_add(again, w->plan.news[i].provider, false);
			}
			gt_plan_run(&again->plan);
			if (again->plan.n_news > 0)
				fail_msg("number %llu asks again for %zu hosts after %zu",
					 (unsigned long long)number, again->plan.n_news, before);
			n_again++;
		}
		free(again);
		world_free(w);
	}
	assert_true(n_again > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_many_as_it_takes),
		cmocka_unit_test(what_comes_anyway_counts),
		cmocka_unit_test(one_that_leaves_is_called_back_before_a_new_one_is_asked_for),
		cmocka_unit_test(the_first_that_fits_is_asked),
		cmocka_unit_test(one_without_room_is_passed_over),
		cmocka_unit_test(a_gang_gets_all_its_hosts_or_none),
		cmocka_unit_test(what_needs_a_host_alone_gets_one_each),
		cmocka_unit_test(whatever_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
