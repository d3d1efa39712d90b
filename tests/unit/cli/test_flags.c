#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "flags.h"

static const struct gt_flag own[] = {
	{ "image", 'i', "IMAGE", "", false },
	{ "env", 'e', "K=V", "", true },
	{ "follow", 'f', NULL, "", false },
};
static const struct gt_flag global[] = {
	{ "json", 0, NULL, "", false },
	{ "verbose", 'v', NULL, "", false },
};
static const struct gt_flag_table tables[] = { { own, GT_LEN(own) }, { global, GT_LEN(global) } };

#define WORDS_MAX 16

struct line {
	char *words[WORDS_MAX];
	char text[256];
	struct gt_args args;
	struct gt_err err;
};

/* Reads blank-separated words; the result's strings live in *l. */
static int read_line(struct line *l, const char *text, bool leading)
{
	int n = 0;

	*l = (struct line){ 0 };
	gt_strcopy(l->text, sizeof(l->text), text);
	for (char *at = l->text, *word; (word = strsep(&at, " "));)
		l->words[n++] = word;
	return gt_args_read(*text ? n : 0, l->words, tables, 2, leading, &l->args, &l->err);
}

static void every_form_of_a_flag_is_read(void **state)
{
	static const char *const forms[] = { "a --image x b", "a b --image=x", "-i x a b",
					     "-ix a b",       "a -fvi x b",    "a -fix b" };
	struct line l;

	(void)state;
	for (size_t i = 0; i < GT_LEN(forms); i++) {
		assert_int_equal(read_line(&l, forms[i], false), 0);
		assert_string_equal(gt_args_get(&l.args, "image"), "x");
		assert_int_equal(l.args.n_operands, 2);
		assert_string_equal(l.args.operands[0], "a");
		assert_string_equal(l.args.operands[1], "b");
	}
}

static void repeated_flags_keep_their_order(void **state)
{
	struct line l;

	(void)state;
	assert_int_equal(read_line(&l, "-e A=1 x --env B=2 --json", false), 0);
	assert_string_equal(gt_args_nth(&l.args, "env", 0), "A=1");
	assert_string_equal(gt_args_nth(&l.args, "env", 1), "B=2");
	assert_null(gt_args_nth(&l.args, "env", 2));
	assert_true(gt_args_has(&l.args, "json"));
	assert_false(gt_args_has(&l.args, "follow"));
}

static void two_dashes_end_the_flags(void **state)
{
	struct line l;

	(void)state;
	assert_int_equal(read_line(&l, "name -f -- /echo --image -x", false), 0);
	assert_int_equal(l.args.n_operands, 1);
	assert_int_equal(l.args.n_rest, 3);
	assert_string_equal(l.args.rest[1], "--image");
	assert_false(gt_args_has(&l.args, "image"));
}

static void a_lone_dash_is_an_operand(void **state)
{
	struct line l;

	(void)state;
	assert_int_equal(read_line(&l, "- --image -", false), 0);
	assert_string_equal(l.args.operands[0], "-");
	assert_string_equal(gt_args_get(&l.args, "image"), "-");
}

static void leading_flags_stop_at_the_command(void **state)
{
	struct line l;

	(void)state;
	assert_int_equal(read_line(&l, "--json ls --unknown", true), 0);
	assert_int_equal(l.args.n_operands, 2);
	assert_string_equal(l.args.operands[0], "ls");
}

static void mistakes_say_what_is_right(void **state)
{
	static const struct {
		const char *line, *text;
	} cases[] = {
		{ "--imgae x", "did you mean --image?" },
		{ "--zzzzzzz", "unknown flag --zzzzzzz" },
		{ "-z", "unknown flag -z" },
		{ "--image", "needs a value: --image IMAGE" },
		{ "--image -- x", "needs a value" },
		{ "-i", "needs a value" },
		{ "--follow=1", "takes no value" },
		{ "-i a -i b", "given twice" },
		{ "--jsn", "did you mean --json?" },
	};
	struct line l;

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		assert_int_equal(read_line(&l, cases[i].line, false), -EINVAL);
		assert_string_equal(l.err.slug, "usage");
		if (!strstr(l.err.text, cases[i].text))
			fail_msg("%s: %s", cases[i].line, l.err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_of_a_flag_is_read),
		cmocka_unit_test(repeated_flags_keep_their_order),
		cmocka_unit_test(two_dashes_end_the_flags),
		cmocka_unit_test(a_lone_dash_is_an_operand),
		cmocka_unit_test(leading_flags_stop_at_the_command),
		cmocka_unit_test(mistakes_say_what_is_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
