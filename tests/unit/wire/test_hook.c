/* test_hook.c - what a provider's hook is asked, and which of its answers are believed. */
#include <gantry/wire/hook.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int read_answer(enum gt_hook_verb verb, const char *text, struct gt_hook_answer *ret)
{
	struct gt_err err = { 0 };
	int r = gt_hook_answer_read(verb, text, strlen(text), ret, &err);

	assert_true(r == 0 || (err.text[0] && gt_streq(err.slug, "bad_answer")));
	return r;
}

static void a_question_has_what_a_host_needs(void **state GT_UNUSED)
{
	struct gt_provider p = { .name = "p",
				 .join = "https://a:1",
				 .cpus = 4,
				 .memory_bytes = 8 * GT_GIB,
				 .gpus = "1x80GiB:H100",
				 .labels = "zone=a" };
	struct gt_offer offer;
	struct gt_hook_ask ask = { .verb = GT_HOOK_CREATE,
				   .provider = &p,
				   .offer = &offer,
				   .key = "p-k",
				   .token = "gtj_t",
				   .expires_ms = 1700000000000ULL };
	gt_auto(buf) struct gt_buf out = { 0 };

	assert_int_equal(gt_provider_offer(&p, &offer, NULL), 0);
	gt_hook_ask_write(&ask, "c1", &out);
	assert_string_equal(
		gt_buf_str(&out),
		"{\"version\":1,\"verb\":\"create\",\"cluster\":\"c1\",\"provider\":\"p\",\"key\":"
		"\"p-k\",\"join\":\"https://a:1\",\"token\":\"gtj_t\",\"token_expires_at\":"
		"\"2023-11-14T22:13:20.000Z\",\"offer\":{\"cpu_milli\":4000,\"memory_bytes\":"
		"8589934592,"
		"\"gpus\":[{\"model\":\"H100\",\"memory_bytes\":85899345920}],\"labels\":{\"zone\":"
		"\"a\"}}}");
	gt_buf_reset(&out);
	ask.verb = GT_HOOK_RELEASE;
	gt_hook_ask_write(&ask, "c1", &out);
	assert_string_equal(gt_buf_str(&out),
			    "{\"version\":1,\"verb\":\"release\",\"cluster\":\"c1\",\"provider\":"
			    "\"p\",\"key\":\"p-k\",\"id\":null}");
	gt_buf_reset(&out);
	ask.verb = GT_HOOK_LIST;
	gt_hook_ask_write(&ask, "c1", &out);
	assert_null(strstr(gt_buf_str(&out), "key"));
}

static void answers_of_the_right_form(void **state GT_UNUSED)
{
	struct gt_hook_answer a = { 0 };

	assert_int_equal(read_answer(GT_HOOK_CREATE, "{\"id\": \"i-1\", \"more\": 1}", &a), 0);
	assert_string_equal(a.id, "i-1");
	assert_int_equal(read_answer(GT_HOOK_RELEASE, "{}", &a), 0);
	assert_int_equal(read_answer(GT_HOOK_LIST, "{\"hosts\": []}", &a), 0);
	assert_int_equal(a.n_hosts, 0);
	gt_hook_answer_fini(&a);
	assert_int_equal(
		read_answer(GT_HOOK_LIST, "{\"hosts\":[{\"key\":\"k\",\"id\":\"i\",\"x\":2}]}", &a),
		0);
	assert_int_equal(a.n_hosts, 1);
	assert_string_equal(a.hosts[0].key, "k");
	gt_hook_answer_fini(&a);
}

static void others_are_not_believed(void **state GT_UNUSED)
{
	static const char *const creates[] = { "",
					       "nonsense",
					       "[]",
					       "\"i-1\"",
					       "{}",
					       "{\"id\":1}",
					       "{\"id\":\"\"}",
					       "{\"id\":\"a b\"}",
					       "{\"id\":\"a\\u0007\"}",
					       "{\"id\":\"i-1\"} {\"id\":\"i-2\"}" };
	static const char *const lists[] = { "{}",
					     "{\"hosts\":{}}",
					     "{\"hosts\":\"x\"}",
					     "{\"hosts\":[1]}",
					     "{\"hosts\":[{\"key\":\"k\"}]}",
					     "{\"hosts\":[{\"id\":\"i\"}]}",
					     "{\"hosts\":[{\"key\":\"k\",\"id\":\"i\"},null]}" };
	struct gt_hook_answer a = { 0 };
	char text[400];

	for (size_t i = 0; i < GT_LEN(creates); i++)
		assert_true(read_answer(GT_HOOK_CREATE, creates[i], &a) < 0);
	for (size_t i = 0; i < GT_LEN(lists); i++)
		assert_true(read_answer(GT_HOOK_LIST, lists[i], &a) < 0);
	snprintf(text, sizeof(text), "{\"id\":\"%0129d\"}", 1);
	assert_true(read_answer(GT_HOOK_CREATE, text, &a) < 0);
	assert_true(read_answer(GT_HOOK_RELEASE, "ok", &a) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_question_has_what_a_host_needs),
		cmocka_unit_test(answers_of_the_right_form),
		cmocka_unit_test(others_are_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
