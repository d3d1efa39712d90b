#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cli.h"
#include "run.h"

static void the_page_carries_every_help_text(void **state)
{
	gt_auto(free) char *page = read_text("docs/cli.md");
	gt_auto(run) struct run all = run_cli("help");

	(void)state;
	assert_non_null(page);
	assert_int_equal(all.code, 0);
	assert_non_null(strstr(page, all.out));
	for (const struct gt_command *const *c = gt_commands; *c; c++) {
		gt_auto(free) char *line = gt_asprintf("help %s", (*c)->name);
		gt_auto(run) struct run one = run_cli(line);
		gt_auto(free) char *block = gt_asprintf("\n## %s\n\n```text\n%s```\n", (*c)->name,
							one.out);

		assert_int_equal(one.code, 0);
		if (!strstr(page, block))
			fail_msg("docs/cli.md does not have this block:\n%s", block);
	}
}

/* Flags are written \-\-name in the manual's source. */
static void assert_flag_in_manual(const char *manual, const char *where, const char *flag)
{
	gt_auto(free) char *from = gt_strdup(flag);
	char text[128] = "\\-";

	for (char *at = from, *part; (part = strsep(&at, "-"));) {
		size_t n = strlen(text);
		snprintf(text + n, sizeof(text) - n, "%s%s", part == from ? "" : "\\-", part);
	}
	if (!strstr(manual, text))
		fail_msg("docs/man/gantry.1: %s --%s is missing", where, flag);
}

static void the_manual_names_every_command_and_flag(void **state)
{
	gt_auto(free) char *manual = read_text("docs/man/gantry.1");

	(void)state;
	assert_non_null(manual);
	for (size_t i = 0; i < gt_global_flags.n; i++)
		assert_flag_in_manual(manual, "gantry", gt_global_flags.flags[i].name);
	for (const struct gt_command *const *c = gt_commands; *c; c++) {
		gt_auto(free) char *item = gt_asprintf("\n.It Cm %s", (*c)->name);
		gt_auto(free) char *part = NULL;
		const char *at = strstr(manual, item), *next;

		if (!at)
			fail_msg("docs/man/gantry.1: the command %s is missing", (*c)->name);
		at += strlen(item);
		next = strstr(at, "\n.It Cm ");
		part = gt_strndup(at, next ? (size_t)(next - at) : strlen(at));
		for (size_t i = 0; i < (*c)->n_flags; i++)
			assert_flag_in_manual(part, (*c)->name, (*c)->flags[i].name);
	}
}

static void the_completion_script_is_the_one_that_is_shipped(void **state)
{
	gt_auto(free) char *shipped = read_text("scripts/gantry-completion.bash");
	gt_auto(run) struct run printed = run_cli("completion bash");

	(void)state;
	assert_string_equal(printed.out, shipped);
}

static void help_fits_a_screen(void **state)
{
	(void)state;
	for (const struct gt_command *const *c = gt_commands; *c; c++) {
		gt_auto(free) char *line = gt_asprintf("help %s", (*c)->name);
		gt_auto(run) struct run r = run_cli(line);
		char *at = r.out, *one;
		size_t n = 0;

		for (; (one = strsep(&at, "\n")); n++)
			if (strlen(one) > 100)
				fail_msg("%s: %s", (*c)->name, one);
		assert_true(n <= 60);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_page_carries_every_help_text),
		cmocka_unit_test(the_manual_names_every_command_and_flag),
		cmocka_unit_test(the_completion_script_is_the_one_that_is_shipped),
		cmocka_unit_test(help_fits_a_screen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
