#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/wire/wire.h>

#include "cli.h"
#include "deploy_spec.h"

struct line {
	char *words[64];
	struct gt_args args;
	struct gt_err err;
	struct gt_buf out;
};

/* words end in NULL */
static int build(struct line *l, const char *const *words)
{
	struct gt_flag_table table = { gt_deploy_flags, GT_DEPLOY_FLAGS_N };
	int n = 0;

	*l = (struct line){ 0 };
	for (; words[n]; n++)
		l->words[n] = (char *)words[n];
	if (gt_args_read(n, l->words, &table, 1, false, &l->args, &l->err) < 0)
		return -EINVAL;
	return gt_spec_of_args(&l->args, &l->out, &l->err);
}

static void all_flags_make_this_document(void **state)
{
	static const char *const words[] = { "echo",
					     "--image",
					     "dir:/srv/echo",
					     "--port",
					     "8000",
					     "-e",
					     "A=b=c",
					     "-e",
					     "B=",
					     "--volume",
					     "/srv/m:/models",
					     "--volume",
					     "/srv/w:/w:rw",
					     "--tmpfs",
					     "/scratch:64MiB",
					     "--tmpfs",
					     "/x",
					     "-w",
					     "/app",
					     "-u",
					     "1000:1000",
					     "--public",
					     "--ready",
					     "/health",
					     "--ready-timeout",
					     "5m",
					     "--cpu",
					     "0.5",
					     "-m",
					     "512MiB",
					     "--disk",
					     "1GiB",
					     "--pids",
					     "64",
					     "--min",
					     "1",
					     "--max",
					     "4",
					     "-c",
					     "8",
					     "--idle",
					     "30s",
					     "--model",
					     "org/a:b",
					     "--model",
					     "second",
					     "--wait",
					     "--",
					     "/echo",
					     "--flag",
					     "a \"b\"",
					     NULL };
	struct line l;
	struct gt_spec *spec = NULL;

	(void)state;
	assert_int_equal(build(&l, words), 0);
	assert_string_equal(
		gt_buf_str(&l.out),
		"{\"image\":\"dir:/srv/echo\",\"command\":[\"/echo\",\"--flag\",\"a \\\"b\\\"\"],"
		"\"env\":{\"A\":\"b=c\",\"B\":\"\"},"
		"\"volumes\":[{\"host\":\"/srv/m\",\"path\":\"/models\"},"
		"{\"host\":\"/srv/w\",\"path\":\"/w\",\"readonly\":false}],"
		"\"tmpfs\":[{\"path\":\"/scratch\",\"size\":\"64MiB\"},{\"path\":\"/x\"}],"
		"\"port\":8000,\"workdir\":\"/app\",\"user\":\"1000:1000\",\"access\":\"public\","
		"\"ready\":{\"path\":\"/health\",\"timeout\":\"5m\"},"
		"\"resources\":{\"cpu\":0.5,\"memory\":\"512MiB\",\"disk\":\"1GiB\",\"pids\":64},"
		"\"scale\":{\"min\":1,\"max\":4,\"concurrency\":8,\"idle\":\"30s\"},"
		"\"serves\":{\"openai\":[\"org/a:b\",\"second\"]}}");
	assert_int_equal(gt_spec_read(l.out.data, l.out.len, &spec, &l.err), 0);
	gt_spec_free(spec);
	gt_buf_fini(&l.out);
}

static void cpu_may_be_text_and_no_flag_is_an_empty_document(void **state)
{
	struct line l;

	(void)state;
	assert_int_equal(build(&l, (const char *[]){ "x", "--cpu", "500m", NULL }), 0);
	assert_string_equal(gt_buf_str(&l.out), "{\"resources\":{\"cpu\":\"500m\"}}");
	gt_buf_fini(&l.out);
	assert_int_equal(build(&l, (const char *[]){ "x", "--dry-run", NULL }), 0);
	assert_string_equal(gt_buf_str(&l.out), "{}");
	gt_buf_fini(&l.out);
}

static void env_without_a_value_comes_from_here(void **state)
{
	struct line l;

	(void)state;
	setenv("GT_TEST_ENV", "from here", 1);
	unsetenv("GT_TEST_UNSET");
	assert_int_equal(build(&l, (const char *[]){ "x", "-e", "GT_TEST_ENV", NULL }), 0);
	assert_string_equal(gt_buf_str(&l.out), "{\"env\":{\"GT_TEST_ENV\":\"from here\"}}");
	gt_buf_fini(&l.out);
	assert_int_equal(build(&l, (const char *[]){ "x", "-e", "GT_TEST_UNSET", NULL }), -EINVAL);
	assert_non_null(strstr(l.err.text, "write NAME=VALUE"));
	gt_buf_fini(&l.out);
}

static void relative_host_paths_become_absolute(void **state)
{
	struct line l;
	gt_auto(free) char *want = NULL;

	(void)state;
	assert_int_equal(chdir("/tmp"), 0);
	assert_int_equal(
		build(&l, (const char *[]){ "x", "--volume", "./:/d", "-i", "dir:.", NULL }), 0);
	want = gt_asprintf("{\"image\":\"dir:%s\",\"volumes\":[{\"host\":\"%s\",\"path\":\"/d\"}]}",
			   "/tmp", "/tmp");
	assert_string_equal(gt_buf_str(&l.out), want);
	gt_buf_fini(&l.out);
}

static void bad_values_name_their_flag(void **state)
{
	static const struct {
		const char *flag, *value;
	} cases[] = {
		{ "--port", "http" },         { "--min", "-1" },
		{ "--pids", "1.5" },          { "--volume", "/a" },
		{ "--volume", "/a:b" },       { "--volume", "/a:/b:xx" },
		{ "--volume", "/a:/b:ro:" },  { "--volume", ":/b" },
		{ "--tmpfs", "rel" },         { "--tmpfs", "/a:" },
		{ "--tmpfs", "/a:1MiB:x" },   { "--image", "dir:no/such" },
		{ "--volume", "no/such:/b" },
	};
	struct line l;

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		const char *words[] = { "x", cases[i].flag, cases[i].value, NULL };
		if (build(&l, words) != -EINVAL || !gt_starts_with(l.err.text, cases[i].flag) ||
		    gt_exit_of_err(&l.err) != GT_EXIT_USAGE)
			fail_msg("%s %s: %s", cases[i].flag, cases[i].value, l.err.text);
		gt_buf_fini(&l.out);
	}
}

static void flags_go_over_the_file(void **state)
{
	struct gt_buf file = { 0 }, flags = { 0 }, out = { 0 };
	struct gt_err err = { 0 };

	(void)state;
	gt_buf_adds(&file,
		    "{\"image\":\"host:\", \"scale\":{\"min\":1,\"max\":2},\"command\":[\"a\"]}");
	gt_buf_adds(&flags, "{}");
	assert_int_equal(gt_spec_over(&file, &flags, &out, &err), 0);
	assert_string_equal(out.data, file.data); /* byte by byte */
	gt_buf_reset(&flags);
	gt_buf_reset(&out);
	gt_buf_adds(&flags, "{\"scale\":{\"max\":9},\"command\":[\"b\",\"c\"]}");
	assert_int_equal(gt_spec_over(&file, &flags, &out, &err), 0);
	assert_string_equal(out.data, "{\"image\":\"host:\",\"scale\":{\"min\":1,\"max\":9},"
				      "\"command\":[\"b\",\"c\"]}");
	gt_buf_reset(&file);
	gt_buf_adds(&file, "{\n\"image\" 1}");
	assert_int_equal(gt_spec_over(&file, &flags, &out, &err), -EINVAL);
	assert_non_null(strstr(err.text, "line 2"));
	gt_buf_fini(&file);
	gt_buf_fini(&flags);
	gt_buf_fini(&out);
}

static void names_and_files_are_told_apart(void **state)
{
	static const struct {
		const char *words[5], *name, *file; /* name NULL: refused */
	} cases[] = {
		{ { "echo.json" }, "echo", "echo.json" },
		{ { "a/b/my-app.v2.json" }, "my-app", "a/b/my-app.v2.json" },
		{ { "echo", "x.json" }, "echo", "x.json" },
		{ { "x.json", "echo" }, "echo", "x.json" },
		{ { "echo", "-f", "spec" }, "echo", "spec" },
		{ { "-f", "spec" }, "spec", "spec" },
		{ { "echo", "-" }, "echo", "-" },
		{ { "echo" }, "echo", NULL },
		{ { "-" }, NULL, NULL },
		{ { "echo", "fox" }, NULL, NULL },
		{ { "x.json", "y.json" }, NULL, NULL },
		{ { "x.json", "-f", "y.json" }, NULL, NULL },
		{ { NULL }, NULL, NULL },
	};
	struct line l;

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_auto(free) char *name = NULL;
		const char *file = NULL;
		int rc;

		assert_int_equal(build(&l, cases[i].words), 0);
		rc = gt_deploy_names(&l.args, &name, &file, &l.err);
		assert_int_equal(rc, cases[i].name ? 0 : -EINVAL);
		if (cases[i].name) {
			assert_string_equal(name, cases[i].name);
			assert_true(gt_streq(file, cases[i].file));
		}
		gt_buf_fini(&l.out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_flags_make_this_document),
		cmocka_unit_test(cpu_may_be_text_and_no_flag_is_an_empty_document),
		cmocka_unit_test(env_without_a_value_comes_from_here),
		cmocka_unit_test(relative_host_paths_become_absolute),
		cmocka_unit_test(bad_values_name_their_flag),
		cmocka_unit_test(flags_go_over_the_file),
		cmocka_unit_test(names_and_files_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
