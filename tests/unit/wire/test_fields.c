/* test_fields.c - the reader of plain documents against the one of trees: what it takes, the other
 * one takes too, and reads the same. SEED=n repeats a run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/clock.h>

#include "doc.h"
#include "fields.h"

#define ROUNDS 100000

struct leaf {
	uint64_t a;
	int64_t b;
	uint32_t c;
	uint16_t d;
	int e;
	bool f;
	char name[9];
	char *text;
};

struct top {
	char id[5];
	struct leaf *leaves;
	size_t n_leaves;
	uint64_t pair[2];
};

static bool no_x(const char *text)
{
	return !strchr(text, 'x');
}

static const struct leaf leaf_defaults = { .c = 7, .f = true };
static const struct gt_field leaf_rows[] = {
	{ "a", GT_F_U64, 0, offsetof(struct leaf, a), .max = UINT64_MAX },
	{ "b", GT_F_I64, 0, offsetof(struct leaf, b), .max = 1000 },
	{ "c", GT_F_U32, 0, offsetof(struct leaf, c), .min = 2, .max = 99 },
	{ "d", GT_F_U16, 0, offsetof(struct leaf, d), .max = UINT16_MAX },
	{ "e", GT_F_INT, 0, offsetof(struct leaf, e), .max = 500 },
	{ "f", GT_F_BOOL, .offset = offsetof(struct leaf, f) },
	{ "name", GT_F_CHARS, GT_F_NEEDED, offsetof(struct leaf, name), .max = 8, .ok = no_x,
	  .wanted = "no name" },
	{ "text", GT_F_STR, 0, offsetof(struct leaf, text), .min = 1, .max = 20 },
};
static const struct gt_fields leaf_fields = { .rows = leaf_rows,
					      .n = GT_LEN(leaf_rows),
					      .size = sizeof(struct leaf),
					      .defaults = &leaf_defaults };
static const struct gt_field top_rows[] = {
	{ "id", GT_F_CHARS, 0, offsetof(struct top, id), .max = 4 },
	{ "leaves", GT_F_LIST, 0, offsetof(struct top, leaves), offsetof(struct top, n_leaves),
	  .max = 5, .sub = &leaf_fields },
	{ "pair", GT_F_U64S, 0, offsetof(struct top, pair), .max = 2 },
};
static const struct gt_fields top_fields = { .rows = top_rows,
					     .n = GT_LEN(top_rows),
					     .size = sizeof(struct top) };

static void top_fini(struct top *t)
{
	for (size_t i = 0; i < t->n_leaves; i++)
		free(t->leaves[i].text);
	free(t->leaves);
	*t = (struct top){ 0 };
}

static bool by_tree(const char *text, size_t len, struct top *ret)
{
	gt_auto(doc) json_t *js = NULL;
	struct gt_err err = { 0 };

	return gt_doc_parse(text, len, 10000, &js, &err) == 0 &&
	       gt_fields_read(&top_fields, js, NULL, ret, &err) == 0;
}

/* True when the plain reader took it. */
static bool agrees(const char *text, size_t len)
{
	struct top plain = { 0 }, tree = { 0 };
	bool taken = gt_fields_plain(&top_fields, text, len, &plain);

	if (taken && (!by_tree(text, len, &tree) || !gt_fields_equal(&top_fields, &plain, &tree)))
		fail_msg("read otherwise than by the tree: %.*s", (int)len, text);
	top_fini(&plain);
	top_fini(&tree);
	return taken;
}

static const char *const plain_ones[] = {
	"{}",
	"{\"leaves\":[]}",
	" { \"id\" : \"ab\" , \"leaves\" : [ { \"name\" : \"n\" } , {\"name\":\"m\",\"f\":false}] "
	"}\n",
	"{\"leaves\":[{\"a\":9223372036854775807,\"b\":1000,\"c\":2,\"d\":65535,\"e\":500,\"f\":"
	"true,"
	"\"name\":\"12345678\",\"text\":\"a text, of 20 bytes!\"},{\"text\":\"~\",\"name\":\"1\","
	"\"e\":0}],\"id\":\"\"}",
	"{\"leaves\":[{\"name\":\"1\"},{\"name\":\"2\"},{\"name\":\"3\"},{\"name\":\"4\"},"
	"{\"name\":\"5\"}]}",
};

/* The tree has them, or words for what is wrong. */
static const char *const others[] = {
	"",
	"[]",
	"{} {}",
	"{\"id\":\"a\",\"id\":\"a\"}",
	"{\"id\":\"abcde\"}",
	"{\"id\":\"\\u0061\"}",
	"{\"id\":\"\xc3\xa4\"}",
	"{\"id\":null}",
	"{\"id\":7}",
	"{\"more\":1}",
	"{\"pair\":[1,2]}",
	"{\"leaves\":[{}]}",
	"{\"leaves\":{}}",
	"{\"leaves\":[[]]}",
	"{\"leaves\":[{\"name\":\"\"}]}",
	"{\"leaves\":[{\"name\":\"x\"}]}",
	"{\"leaves\":[{\"name\":\"n\",\"text\":\"\"}]}",
	"{\"leaves\":[{\"name\":\"n\",\"a\":-1}]}",
	"{\"leaves\":[{\"name\":\"n\",\"a\":1.0}]}",
	"{\"leaves\":[{\"name\":\"n\",\"a\":1e2}]}",
	"{\"leaves\":[{\"name\":\"n\",\"a\":01}]}",
	"{\"leaves\":[{\"name\":\"n\",\"a\":18446744073709551616}]}",
	"{\"leaves\":[{\"name\":\"n\",\"a\":9223372036854775808}]}",
	"{\"leaves\":[{\"name\":\"n\",\"a\":true}]}",
	"{\"leaves\":[{\"name\":\"n\",\"a\":\"1\"}]}",
	"{\"leaves\":[{\"name\":\"n\",\"b\":1001}]}",
	"{\"leaves\":[{\"name\":\"n\",\"c\":1}]}",
	"{\"leaves\":[{\"name\":\"n\",\"d\":65536}]}",
	"{\"leaves\":[{\"name\":\"n\",\"f\":1}]}",
	"{\"leaves\":[{\"name\":\"n\"},{\"name\":\"n\"},{\"name\":\"n\"},{\"name\":\"n\"},"
	"{\"name\":\"n\"},{\"name\":\"n\"}]}",
	"{\"leaves\":[{\"name\":\"n\"}],\"leaves\":[{\"name\":\"n\"}]}",
	"{\"leaves\":[{\"name\":\"n\"}",
};

static void plain_documents_are_read_without_a_tree(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(plain_ones); i++)
		if (!agrees(plain_ones[i], strlen(plain_ones[i])))
			fail_msg("not plain: %s", plain_ones[i]);
	for (size_t i = 0; i < GT_LEN(others); i++)
		if (agrees(others[i], strlen(others[i])))
			fail_msg("plain: %s", others[i]);
}

static uint64_t below(const struct gt_rand *rnd, uint64_t n)
{
	uint64_t r;

	rnd->fill(rnd->arg, &r, sizeof(r));
	return r % n;
}

static void broken_ones_are_never_read_otherwise(void **state)
{
	static const char bytes[] = "{}[]\",:\\ 0123456789-.eabcdfnmtux~\x7f\xc3\n";
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 10) : gt_mono_ns(&gt_clock_system);
	const struct gt_rand rnd = gt_rand_seeded(&seed);
	size_t taken = 0;

	(void)state;
	printf("SEED=%llu\n", (unsigned long long)seed);
	for (int round = 0; round < ROUNDS; round++) {
		const char *of = plain_ones[below(&rnd, GT_LEN(plain_ones))];
		gt_auto(free) char *text = gt_strdup(of);
		size_t len = strlen(text);

		for (uint64_t n = below(&rnd, 4); n > 0; n--)
			text[below(&rnd, len)] = bytes[below(&rnd, sizeof(bytes) - 1)];
		taken += agrees(text, len);
	}
	assert_true(taken > ROUNDS / 10 && taken < ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_documents_are_read_without_a_tree),
		cmocka_unit_test(broken_ones_are_never_read_otherwise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
