/* The table of prompts' beginnings, the choice by it, and what it gains over the least busy
 * replica. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "fn.h"

/* A prompt of n blocks: the first `shared` are those of family 0. */
static struct gt_prompt_taps prompt(uint64_t family, uint32_t shared, uint32_t n)
{
	struct gt_prompt_taps t = { .n = GT_MIN(n, GT_PROMPT_TAPS),
				    .bytes = (uint64_t)n * GT_PROMPT_BLOCK };

	for (uint32_t i = 0; i < t.n; i++)
		t.tap[i] = (i < shared ? 0 : family) * 1000003 + i + 1;
	return t;
}

static uint32_t seen(const struct gt_prefixes *p, const struct gt_prompt_taps *t, uint32_t replica)
{
	struct gt_prefix_match m;

	gt_prefixes_match(p, t, &m);
	for (uint32_t i = 0; i < m.n; i++)
		if (m.at[i].replica == replica)
			return m.at[i].bytes / GT_PROMPT_BLOCK;
	return 0;
}

/* ---- the table ---- */

static void test_longest_beginning_is_found(void **state)
{
	(void)state;
	struct gt_prefixes *p = gt_prefixes_new(100);
	struct gt_prompt_taps a = prompt(1, 2, 5), longer = prompt(1, 2, 8), b = prompt(2, 2, 4);

	assert_int_equal(seen(NULL, &a, 7), 0);
	gt_prefixes_took(p, &a, 7);
	assert_int_equal(seen(p, &a, 7), 5);
	assert_int_equal(seen(p, &longer, 7), 5);
	assert_int_equal(seen(p, &b, 7), 2);
	assert_int_equal(seen(p, &a, 8), 0);
	gt_prefixes_took(p, &b, 8);
	assert_int_equal(seen(p, &a, 8), 2);
	assert_int_equal(seen(p, &a, 7), 5);
	gt_prefixes_free(p);
	gt_prefixes_free(NULL);
}

static void test_shared_beginning_hides_no_owner(void **state)
{
	(void)state;
	struct gt_prefixes *p = gt_prefixes_new(100);
	struct gt_prompt_taps t;

	for (uint32_t r = 1; r <= 3 * GT_PREFIX_OWNERS; r++) {
		t = prompt(r, 1, 3);
		gt_prefixes_took(p, &t, r);
	}
	t = prompt(1, 1, 3);
	assert_int_equal(seen(p, &t, 1), 3); /* no longer among the owners of the first block */
	assert_int_equal(seen(p, &t, 3 * GT_PREFIX_OWNERS), 1);
	gt_prefixes_free(p);
}

static void test_table_is_bounded_and_forgets_what_was_used_longest_ago(void **state)
{
	(void)state;
	struct gt_prefixes *p = gt_prefixes_new(10);
	struct gt_prompt_taps a = prompt(1, 0, 4), b = prompt(2, 0, 4), c = prompt(3, 0, 4);

	gt_prefixes_took(p, &a, 1);
	gt_prefixes_took(p, &b, 2);
	gt_prefixes_took(p, &a, 1); /* used again */
	gt_prefixes_took(p, &c, 3);
	assert_int_equal(seen(p, &c, 3), 4);
	assert_int_equal(seen(p, &a, 1), 4);
	assert_int_equal(seen(p, &b, 2), 2); /* its end went first */
	gt_prefixes_free(p);
}

/* ---- the choice ---- */

struct fleet {
	struct gt_fn fn;
	uint64_t now_ns;
};

static int setup(void **state)
{
	struct fleet *f = gt_alloc(sizeof(*f));

	f->now_ns = GT_NS_PER_S;
	gt_fn_init(&f->fn, "f", f->now_ns);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fleet *f = *state;

	gt_fn_fini(&f->fn);
	free(f);
	return 0;
}

static void replicas(struct fleet *f, size_t n, uint32_t concurrency)
{
	struct gt_route r = { .revision = 1, .concurrency = concurrency, .queue = 1000 };

	r.replicas = gt_alloc_array(n, sizeof(*r.replicas));
	r.n_replicas = n;
	for (size_t i = 0; i < n; i++)
		snprintf(r.replicas[i].id, sizeof(r.replicas[i].id), "r%zu", i);
	gt_fn_apply(&f->fn, &r, false, f->now_ns);
}

/* Queues a call and gives it a slot. */
static struct gt_target *call(struct fleet *f, const struct gt_prompt_taps *t, const char *avoid)
{
	struct gt_waiter w = { .able = true, .prompt = t }, *got;
	struct gt_target *target;

	gt_strcopy(w.avoid, sizeof(w.avoid), avoid);
	f->now_ns += GT_NS_PER_MS;
	gt_fn_join(&f->fn, &w, f->now_ns);
	assert_true(gt_fn_next(&f->fn, f->now_ns, &got, &target));
	assert_ptr_equal(got, &w);
	return target;
}

static void done(struct fleet *f, struct gt_target *t)
{
	gt_fn_release(&f->fn, t, GT_NS_PER_MS, f->now_ns);
}

static void test_prompt_goes_where_its_beginning_is(void **state)
{
	struct fleet *f = *state;
	struct gt_prompt_taps a = prompt(1, 0, 20), b = prompt(2, 0, 20);

	replicas(f, 3, 16);
	struct gt_target *ta = call(f, &a, ""), *tb = call(f, &b, "");

	assert_ptr_not_equal(ta, tb);
	done(f, ta);
	done(f, tb);
	for (int i = 0; i < 3; i++) {
		assert_ptr_equal(call(f, &a, ""), ta);
		done(f, ta);
		assert_ptr_equal(call(f, &b, ""), tb);
		done(f, tb);
	}
	assert_ptr_not_equal(call(f, &a, ta->id), ta); /* it failed this call just now */
}

static void test_short_beginning_does_not_outweigh_a_busy_replica(void **state)
{
	struct fleet *f = *state;
	struct gt_prompt_taps a = prompt(1, 0, 3);

	replicas(f, 2, 16);
	struct gt_target *ta = call(f, &a, ""); /* still runs */

	assert_ptr_not_equal(call(f, &a, ""), ta); /* 768 bytes are cheaper than a call */
}

static void test_load_stays_within_the_bound(void **state)
{
	struct fleet *f = *state;
	struct gt_prompt_taps a = prompt(1, 0, GT_PROMPT_TAPS);
	struct gt_target *t;
	uint32_t n = 0;

	replicas(f, 4, 16);
	done(f, call(f, &a, ""));
	while (n < 40) { /* all want the same replica */
		t = call(f, &a, "");
		assert_true(4 * (t->in_flight - 1) < 5 * (n + 1) / 4.0); /* ceil(1.25 x mean) */
		n++;
	}
	DL_FOREACH (f->fn.targets, t)
		assert_true(t->in_flight >= 8 && t->in_flight <= 13);
}

static void test_others_are_not_affected(void **state)
{
	struct fleet *f = *state;
	struct gt_prompt_taps a = prompt(1, 0, 20), tiny = prompt(1, 0, 0);

	replicas(f, 2, 16);
	struct gt_target *ta = call(f, &a, "");
	struct gt_target *other = call(f, NULL, "");

	assert_ptr_not_equal(other, ta);
	done(f, ta);
	assert_ptr_equal(call(f, &tiny, ""), ta);
}

/* ---- conversations ---- */

enum {
	REPLICAS = 8,
	CHATS = 96,
	CACHE = 1200, /* blocks that a replica keeps, whole prompts at a time */
	SYSTEM = 4,   /* blocks that all chats begin with */
	CALLS = 6000,
	ACTIVE = 24, /* calls at once */
};

struct engine {
	uint64_t chat[CHATS + 1]; /* when it was used last; 0 = not cached */
	uint32_t blocks[CHATS + 1];
};

static uint32_t cached(const struct engine *e, uint64_t chat, uint32_t n)
{
	uint32_t own = e->chat[chat] ? e->blocks[chat] : 0;
	uint32_t system = 0;

	for (size_t i = 1; i <= CHATS; i++)
		if (e->chat[i])
			system = SYSTEM;
	return GT_MIN(GT_MAX(own, system), n);
}

static void keep(struct engine *e, uint64_t chat, uint32_t n, uint64_t now)
{
	e->chat[chat] = now;
	e->blocks[chat] = n;
	while (true) {
		uint64_t sum = 0, oldest = chat;

		for (size_t i = 1; i <= CHATS; i++) {
			sum += e->chat[i] ? e->blocks[i] : 0;
			if (e->chat[i] && e->chat[i] < e->chat[oldest])
				oldest = i;
		}
		if (sum <= CACHE || oldest == chat)
			return;
		e->chat[oldest] = 0;
	}
}

/* Chats of growing length, ACTIVE calls at once that end in random order. Returns the share of
 * blocks that the engines had in their caches. */
static double hit_share(struct fleet *f, bool by_prompt, double *worst)
{
	static struct engine engines[REPLICAS + 1];
	struct gt_target *running[ACTIVE] = { 0 };
	uint32_t turn[CHATS + 1] = { 0 };
	uint64_t hits = 0, blocks = 0;

	memset(engines, 0, sizeof(engines));
	replicas(f, REPLICAS, 16);
	srandom(7);
	*worst = 0;
	for (uint32_t i = 1; i <= CALLS; i++) {
		size_t slot = (size_t)random() % ACTIVE;
		uint64_t chat = 1 + (uint64_t)random() % CHATS;
		uint32_t n = SYSTEM + 4 + 2 * (turn[chat]++ % 24);
		struct gt_prompt_taps t = prompt(chat, SYSTEM, n);

		if (running[slot])
			done(f, running[slot]);
		double mean = (double)(f->fn.in_flight + 1) / REPLICAS;

		running[slot] = call(f, by_prompt ? &t : NULL, "");
		*worst = GT_MAX(*worst, running[slot]->in_flight - mean * 1.25);
		struct engine *e = &engines[atoi(running[slot]->id + 1)];

		hits += cached(e, chat, n);
		blocks += n;
		keep(e, chat, n, i);
	}
	for (size_t i = 0; i < ACTIVE; i++)
		if (running[i])
			done(f, running[i]);
	return (double)hits / (double)blocks;
}

static void test_more_is_found_in_caches_with_a_bounded_load(void **state)
{
	struct fleet *f = *state;
	void *other;
	double worst, least_busy, by_prompt;

	setup(&other);
	least_busy = hit_share(other, false, &worst);
	by_prompt = hit_share(f, true, &worst);
	print_message("hit share: %.2f by least busy, %.2f by prompt\n", least_busy, by_prompt);
	assert_true(worst < 1); /* the bound is a whole number of calls: rounded up */
	assert_true(by_prompt > 1.5 * least_busy);
	teardown(&other);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_longest_beginning_is_found),
		cmocka_unit_test(test_shared_beginning_hides_no_owner),
		cmocka_unit_test(test_table_is_bounded_and_forgets_what_was_used_longest_ago),
		T(test_prompt_goes_where_its_beginning_is),
		T(test_short_beginning_does_not_outweigh_a_busy_replica),
		T(test_load_stays_within_the_bound),
		T(test_others_are_not_affected),
		T(test_more_is_found_in_caches_with_a_bounded_load),
	};

	return cmocka_run_group_tests_name("gateway_prefix", tests, NULL, NULL);
}
