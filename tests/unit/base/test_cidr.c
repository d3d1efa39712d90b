#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/cidr.h>

static void reads_networks_and_addresses(void **state)
{
	static const struct {
		const char *text, *shown;
	} cases[] = {
		{ "10.0.0.0/8", "10.0.0.0/8" },     { "198.18.0.0/16", "198.18.0.0/16" },
		{ "192.0.2.1", "192.0.2.1" },       { "192.0.2.1/32", "192.0.2.1" },
		{ "0.0.0.0/0", "0.0.0.0/0" },       { "fd00::/8", "fd00::/8" },
		{ "FD00:0::1/128", "fd00::1" },     { "::/0", "::/0" },
		{ "10.64.0.0/10", "10.64.0.0/10" }, { "fe80::/10", "fe80::/10" },
	};
	struct gt_cidr c;
	char text[50];

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		assert_true(gt_cidr_parse(cases[i].text, &c));
		gt_cidr_text(&c, text, sizeof(text));
		assert_string_equal(text, cases[i].shown);
	}
}

static void refuses_what_is_none(void **state)
{
	static const char *const cases[] = {
		"",
		"10",
		"10.0.0.1/8",
		"10.0.0.0/33",
		"10.0.0.0/-1",
		"10.0.0.0/",
		"10.0.0.0/8x",
		"010.0.0.0/8",
		"fd00::/129",
		"fe80::1%eth0",
		"/8",
		"fd00::1/64",
		"300.1.1.1",
		"a.b.c.d",
		"10.128.0.0/8",
		"1.2.3.4/8/8",
		"00000000000000000000000000000000000000000000000000000000000000000000:/8",
	};
	struct gt_cidr c;

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++)
		if (gt_cidr_parse(cases[i], &c))
			fail_msg("\"%s\" was taken", cases[i]);
}

static void overlaps_both_ways(void **state)
{
	static const struct {
		const char *a, *b;
		bool overlap;
	} cases[] = {
		{ "10.0.0.0/8", "10.1.0.0/16", true },
		{ "10.0.0.0/8", "11.0.0.0/8", false },
		{ "0.0.0.0/0", "203.0.113.1", true },
		{ "0.0.0.0/0", "::/0", false },
		{ "198.18.0.0/15", "198.19.4.0/24", true },
		{ "198.18.0.0/16", "198.19.0.0/16", false },
		{ "fd00::/8", "fd67:616e::/32", true },
		{ "fd00:1::/32", "fd00:2::/32", false },
		{ "192.0.2.1", "192.0.2.1", true },
		{ "192.0.2.0/31", "192.0.2.2/31", false },
	};
	struct gt_cidr a, b;

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		assert_true(gt_cidr_parse(cases[i].a, &a) && gt_cidr_parse(cases[i].b, &b));
		assert_int_equal(gt_cidr_overlap(&a, &b), cases[i].overlap);
		assert_int_equal(gt_cidr_overlap(&b, &a), cases[i].overlap);
	}
}

static void lists_name_their_key(void **state)
{
	struct gt_cidr list[3];
	struct gt_err err;

	(void)state;
	assert_int_equal(gt_cidr_list("k", "", list, 3, &err), 0);
	assert_int_equal(gt_cidr_list("k", " 10.0.0.0/8,fd00::/8\t192.0.2.1 ", list, 3, &err), 3);
	assert_int_equal(list[1].len, 16);
	assert_int_equal(gt_cidr_list("k", "1.1.1.1 2.2.2.2 3.3.3.3 4.4.4.4", list, 3, &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "k: more than 3"));
	assert_int_equal(gt_cidr_list("egress_block", "10.0.0.0/8 10.0.0.1/8", list, 3, &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "egress_block: \"10.0.0.1/8\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_networks_and_addresses),
		cmocka_unit_test(refuses_what_is_none),
		cmocka_unit_test(overlaps_both_ways),
		cmocka_unit_test(lists_name_their_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
