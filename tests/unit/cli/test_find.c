#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "find.h"

/* A state directory of its own for each test. */
static char dir[64];

static void put(const char *name, const char *text)
{
	gt_auto(free) char *path = gt_asprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void put_daemon(int pid)
{
	gt_auto(free) char *text = gt_asprintf("{\"url\":\"http://127.0.0.1:4242\",\"pid\":%d}\n",
					       pid);

	put("daemon.json", text);
	put("admin.token", "s3cret\n");
}

static int setup(void **state)
{
	(void)state;
	gt_strcopy(dir, sizeof(dir), "/tmp/gantry-find-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	setenv("GANTRY_STATE", dir, 1);
	unsetenv("GANTRY_URL");
	unsetenv("GANTRY_TOKEN");
	put_daemon((int)getpid());
	return 0;
}

static int remove_one(const char *path, const struct stat *st GT_UNUSED, int flag GT_UNUSED,
		      struct FTW *ftw GT_UNUSED)
{
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void the_local_daemon_is_found_with_its_token(void **state)
{
	gt_auto(target) struct gt_target t = { 0 };
	struct gt_find find = { 0 };

	(void)state;
	assert_int_equal(gt_target_find(&find, &t, NULL), 0);
	assert_string_equal(t.url, "http://127.0.0.1:4242");
	assert_string_equal(t.token, "s3cret");
	assert_string_equal(t.state, dir);
	assert_int_equal(t.pid, getpid());
}

static void a_pointer_names_the_state_directory(void **state)
{
	gt_auto(free) char *pointer = gt_asprintf("%s/pointer.json", dir);
	gt_auto(free) char *text = gt_asprintf("{\"state\":\"%s\"}", dir);
	gt_auto(target) struct gt_target t = { 0 };
	struct gt_find find = { .pointer = pointer };

	(void)state;
	unsetenv("GANTRY_STATE");
	put("pointer.json", text);
	assert_int_equal(gt_target_find(&find, &t, NULL), 0);
	assert_string_equal(t.state, dir);
}

static void a_dead_daemon_is_none(void **state)
{
	struct gt_target t = { 0 };
	struct gt_find find = { 0 };
	struct gt_err err = { 0 };

	(void)state;
	put_daemon(0x3ffffffe); /* above any pid_max */
	assert_int_equal(gt_target_find(&find, &t, &err), -ENOENT);
	assert_int_equal(gt_exit_of_err(&err), GT_EXIT_UNREACHABLE);
	assert_null(t.url);
}

static void broken_daemon_files_are_no_daemon(void **state)
{
	static const char *const texts[] = { "",
					     "{",
					     "[]",
					     "{\"url\":\"http://x:1\"}",
					     "{\"url\":\"file:///etc\",\"pid\":1}",
					     "{\"url\":\"http://a b\",\"pid\":1}",
					     "{\"url\":5,\"pid\":1}",
					     "{\"url\":\"http://x\",\"pid\":99999999999}" };
	struct gt_target t = { 0 };
	struct gt_find find = { 0 };

	(void)state;
	for (size_t i = 0; i < GT_LEN(texts); i++) {
		put("daemon.json", texts[i]);
		assert_int_equal(gt_target_find(&find, &t, NULL), -ENOENT);
	}
}

static void files_of_other_users_are_not_believed(void **state)
{
	struct gt_target t = { 0 };
	struct gt_find find = { 0 };
	char path[256];

	(void)state;
	if (geteuid() != 0) {
		print_message("only root can give a file away\n");
		skip();
	}
	snprintf(path, sizeof(path), "%s/daemon.json", dir);
	assert_int_equal(chown(path, 12345, 12345), 0);
	assert_int_equal(gt_target_find(&find, &t, NULL), -ENOENT);
}

static void the_local_token_goes_to_the_local_daemon_only(void **state)
{
	gt_auto(target) struct gt_target other = { 0 };
	gt_auto(target) struct gt_target same = { 0 };
	struct gt_find away = { .url = "https://elsewhere.example:8080/" };
	struct gt_find here = { .url = "http://127.0.0.1:4242/" };

	(void)state;
	assert_int_equal(gt_target_find(&away, &other, NULL), 0);
	assert_string_equal(other.url, "https://elsewhere.example:8080");
	assert_null(other.token);
	assert_non_null(strstr(other.note, "GANTRY_TOKEN"));
	assert_int_equal(gt_target_find(&here, &same, NULL), 0);
	assert_string_equal(same.token, "s3cret");
}

static void what_is_given_comes_before_what_is_found(void **state)
{
	gt_auto(free) char *path = gt_asprintf("%s/other.token", dir);
	gt_auto(target) struct gt_target env = { 0 };
	gt_auto(target) struct gt_target file = { 0 };
	gt_auto(target) struct gt_target flag = { 0 };
	struct gt_find find = { 0 };

	(void)state;
	put("other.token", "from-file\r\n");
	setenv("GANTRY_URL", "http://env:1", 1);
	setenv("GANTRY_TOKEN", "from-env", 1);
	assert_int_equal(gt_target_find(&find, &env, NULL), 0);
	assert_string_equal(env.url, "http://env:1");
	assert_string_equal(env.token, "from-env");
	find.token_file = path;
	assert_int_equal(gt_target_find(&find, &file, NULL), 0);
	assert_string_equal(file.token, "from-file");
	find.token = "from-flag";
	find.url = "http://flag:2";
	assert_int_equal(gt_target_find(&find, &flag, NULL), 0);
	assert_string_equal(flag.url, "http://flag:2");
	assert_string_equal(flag.token, "from-flag");
}

static void a_token_that_can_not_be_read_is_explained(void **state)
{
	gt_auto(free) char *path = gt_asprintf("%s/admin.token", dir);
	gt_auto(target) struct gt_target t = { 0 };
	struct gt_find find = { 0 };
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(unlink(path), 0);
	assert_int_equal(gt_target_find(&find, &t, NULL), 0);
	assert_null(t.token);
	assert_non_null(strstr(t.note, path));
	find.token_file = path;
	gt_target_fini(&t);
	t = (struct gt_target){ 0 };
	assert_int_equal(gt_target_find(&find, &t, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
}

static void odd_tokens_and_urls_are_refused(void **state)
{
	static const char *const urls[] = { "", "127.0.0.1:80", "http//x", "file:///etc/passwd",
					    "http://a\r\nb" };
	struct gt_target t = { 0 };
	struct gt_err err = { 0 };

	(void)state;
	for (size_t i = 1; i < GT_LEN(urls); i++) {
		struct gt_find find = { .url = urls[i] };
		assert_int_equal(gt_target_find(&find, &t, &err), -EINVAL);
		assert_int_equal(gt_exit_of_err(&err), GT_EXIT_USAGE);
	}
	struct gt_find find = { .token = "a\nb" };
	assert_int_equal(gt_target_find(&find, &t, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_local_daemon_is_found_with_its_token, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_pointer_names_the_state_directory, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_dead_daemon_is_none, setup, teardown),
		cmocka_unit_test_setup_teardown(broken_daemon_files_are_no_daemon, setup, teardown),
		cmocka_unit_test_setup_teardown(files_of_other_users_are_not_believed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(the_local_token_goes_to_the_local_daemon_only,
						setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_given_comes_before_what_is_found, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_token_that_can_not_be_read_is_explained, setup,
						teardown),
		cmocka_unit_test_setup_teardown(odd_tokens_and_urls_are_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
