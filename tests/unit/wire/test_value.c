#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include <gantry/wire/value.h>

static struct gt_value *parse(const char *text)
{
	struct gt_value *v = NULL;

	assert_int_equal(gt_value_parse(text, strlen(text), &v, NULL), 0);
	return v;
}

static void paths_reach_members_and_items(void **state)
{
	gt_auto(value) struct gt_value *v = parse("{\"a\":{\"b\":[{\"c\":\"x\"},{\"c\":\"y\"}]},"
						  "\"n\":7,\"f\":1.5,\"t\":true,\"z\":null}");

	(void)state;
	assert_string_equal(gt_value_str(v, "a.b[1].c", "-"), "y");
	assert_string_equal(gt_value_str(gt_value_at(v, "a"), "b[0].c", "-"), "x");
	assert_int_equal(gt_value_u64(v, "n", 0), 7);
	assert_true(gt_value_num(v, "f", 0) == 1.5);
	assert_true(gt_value_num(v, "n", 0) == 7.0);
	assert_true(gt_value_bool(v, "t", false));
	assert_int_equal(gt_value_len(gt_value_at(v, "a.b")), 2);
	assert_int_equal(gt_value_len(v), 5);
	assert_ptr_equal(gt_value_at(v, ""), v);
}

static void what_is_absent_or_of_another_type_is_the_fallback(void **state)
{
	static const char *const paths[] = { "x",   "a.x", "a[9]", "a[", "a[x]",
					     "n.m", "z",   "a..b", ".",  "a[0]x" };
	gt_auto(value) struct gt_value *v = parse("{\"a\":[1],\"n\":-7,\"z\":null,\"s\":\"t\"}");

	(void)state;
	for (size_t i = 0; i < GT_LEN(paths); i++)
		assert_string_equal(gt_value_str(v, paths[i], "none"), "none");
	assert_int_equal(gt_value_u64(v, "n", 3), 3);
	assert_int_equal(gt_value_u64(v, "s", 3), 3);
	assert_true(gt_value_bool(v, "s", true));
	assert_null(gt_value_at(NULL, "a"));
	assert_int_equal(gt_value_len(NULL), 0);
	assert_null(gt_value_item(gt_value_at(v, "a"), 1));
}

static void bad_documents_name_line_and_column(void **state)
{
	struct gt_value *v = NULL;
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(gt_value_parse("{\n \"a\": }", 9, &v, &err), -EINVAL);
	assert_null(v);
	assert_string_equal(err.slug, "malformed_json");
	assert_non_null(strstr(err.text, "line 2"));
	assert_int_equal(gt_value_parse("{\"a\":1,\"a\":2}", 13, &v, &err), -EINVAL);
}

static void members_come_in_order(void **state)
{
	gt_auto(value) struct gt_value *v = parse("{\"z\":1,\"a\":2,\"m\":3}");
	const struct gt_value *one = NULL;
	const char *name = NULL;
	char seen[8] = "";

	(void)state;
	while ((name = gt_value_member(v, name, &one)))
		strncat(seen, name, 1);
	assert_string_equal(seen, "zam");
	assert_null(gt_value_member(one, NULL, &one));
}

static void a_patch_replaces_lists_and_merges_objects(void **state)
{
	gt_auto(value) struct gt_value *base = parse(
		"{\"a\":{\"b\":1,\"c\":2},\"l\":[1,2],\"k\":1.1}");
	gt_auto(value) struct gt_value *patch = parse("{\"a\":{\"c\":3},\"l\":[9]}");
	gt_auto(buf) struct gt_buf out = { 0 };

	(void)state;
	assert_int_equal(gt_value_merge(base, patch, NULL), 0);
	assert_int_equal(gt_value_write(base, 0, &out), 0);
	assert_string_equal(out.data, "{\"a\":{\"b\":1,\"c\":3},\"l\":[9],\"k\":1.1}");
}

static void only_objects_can_be_merged(void **state)
{
	gt_auto(value) struct gt_value *base = parse("[1]"), *patch = parse("{\"a\":1}");
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(gt_value_merge(base, patch, &err), -EINVAL);
	assert_true(err.text[0]);
}

static void writing_stops_at_the_cap(void **state)
{
	gt_auto(value) struct gt_value *v = parse("{\"abc\":\"0123456789\"}");
	gt_auto(buf) struct gt_buf out = { .max = 8 };

	(void)state;
	assert_int_equal(gt_value_write(v, 0, &out), -ENOBUFS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_reach_members_and_items),
		cmocka_unit_test(what_is_absent_or_of_another_type_is_the_fallback),
		cmocka_unit_test(bad_documents_name_line_and_column),
		cmocka_unit_test(members_come_in_order),
		cmocka_unit_test(a_patch_replaces_lists_and_merges_objects),
		cmocka_unit_test(only_objects_can_be_merged),
		cmocka_unit_test(writing_stops_at_the_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
