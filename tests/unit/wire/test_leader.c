/* test_leader.c - lines that say who leads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/cleanup.h>
#include <gantry/wire/leader.h>

static void what_is_written_is_read(void **state)
{
	(void)state;
	for (int s = GT_LEADER_NONE; s <= GT_LEADER_SELF; s++) {
		struct gt_leader l = { .state = (enum gt_leader_state)s, .epoch = 7 }, same;
		gt_auto(buf) struct gt_buf line = { 0 };
		struct gt_err err = { 0 };

		gt_strcopy(l.node, sizeof(l.node), "a");
		gt_strcopy(l.door, sizeof(l.door), "https://[2001:db8::1]:8080");
		gt_strcopy(l.own_door, sizeof(l.own_door), "https://b:8080");
		gt_strcopy(l.before, sizeof(l.before), "https://c:8080");
		gt_leader_write(&l, &line);
		assert_int_equal(line.data[line.len - 1], '\n');
		assert_int_equal(gt_leader_read(line.data, line.len - 1, &same, &err), 0);
		assert_int_equal(same.state, l.state);
		assert_int_equal(same.epoch, 7);
		assert_string_equal(same.node, l.node);
		assert_string_equal(same.door, l.door);
		assert_string_equal(same.own_door, l.own_door);
		assert_string_equal(same.before, l.before);
	}
}

static void nonsense_is_refused(void **state)
{
	static const char *const lines[] = {
		"", "{}", "[]", "{\"leader\":\"me\"}", "{\"leader\":1}", "{\"leader\":\"self\""
	};
	char text[1024];

	(void)state;
	for (size_t i = 0; i < GT_LEN(lines); i++) {
		struct gt_leader l;
		struct gt_err err = { 0 };

		assert_int_equal(gt_leader_read(lines[i], strlen(lines[i]), &l, &err), -EINVAL);
	}
	memset(text, 'a', sizeof(text));
	memcpy(text, "{\"leader\":\"other\",\"door\":\"", 26);
	memcpy(text + sizeof(text) - 3, "\"}", 3);
	assert_int_equal(
		gt_leader_read(text, strlen(text), &(struct gt_leader){ 0 }, &(struct gt_err){ 0 }),
		-EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
