/* test_docker.c - Docker's config.json and the answers of credential helpers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/wire/docker.h>

static const char config[] =
	"{\"auths\":{"
	"\"https://index.docker.io/v1/\":{\"auth\":\"aHViOnB3\"},"              /* hub:pw */
	"\"reg.example:5000\":{\"auth\":\"dXNlcjpwOmFzcw==\",\"email\":\"x\"}," /* user:p:ass */
	"\"http://Plain.Example/v2/\":{\"username\":\"u\",\"password\":\"p\"},"
	"\"id.example\":{\"auth\":\"\",\"identitytoken\":\"tok\"},"
	"\"stored.example\":{}},"
	"\"credHelpers\":{\"own.example\":\"ecr-login\",\"id.example\":\"other\"},"
	"\"credsStore\":\"desktop\",\"HttpHeaders\":{\"a\":\"b\"}}";

static void logins_are_found_by_host(void **state)
{
	struct gt_docker_config *c = NULL;
	struct gt_err err = { 0 };

	(void)state;
	if (gt_docker_config_read(config, strlen(config), &c, &err) < 0)
		fail_msg("%s", err.text);
	const struct gt_docker_login *l = gt_docker_config_login(c, "docker.io");

	assert_non_null(l);
	assert_string_equal(l->user, "hub");
	assert_string_equal(l->password, "pw");
	assert_ptr_equal(gt_docker_config_login(c, "registry-1.docker.io"), l);
	l = gt_docker_config_login(c, "reg.example:5000");
	assert_string_equal(l->user, "user");
	assert_string_equal(l->password, "p:ass");
	assert_string_equal(gt_docker_config_login(c, "plain.example")->user, "u");
	assert_string_equal(gt_docker_config_login(c, "id.example")->identity_token, "tok");
	assert_null(gt_docker_config_login(c, "reg.example"));
	assert_null(gt_docker_config_login(c, "reg.example:5001"));
	assert_null(gt_docker_config_login(c, "x.reg.example:5000"));
	assert_null(gt_docker_config_login(c, "stored.example"));
	assert_string_equal(gt_docker_config_helper(c, "own.example", false), "ecr-login");
	assert_null(gt_docker_config_helper(c, "any.example", false));
	assert_string_equal(gt_docker_config_helper(c, "any.example", true), "desktop");
	gt_docker_config_free(c);
}

static const struct {
	const char *text, *why;
} bad[] = {
	{ "", "empty" },
	{ "{\"auths\":{\"a.b\":{\"auth\":secret}}}", "line 1" },
	{ "[]", "an object" },
	{ "{\"auths\":[]}", "auths" },
	{ "{\"auths\":{\"a.b\":7}}", "auths.a.b" },
	{ "{\"auths\":{\"a.b\":{\"auth\":\"c2VjcmV0\"}}}", "auths.a.b.auth" },    /* no colon */
	{ "{\"auths\":{\"a.b\":{\"auth\":\"c2VjcmV0OnA\"}}}", "auths.a.b.auth" }, /* no padding */
	{ "{\"auths\":{\"a.b\":{\"auth\":\"c2VjcmV0 OnA=\"}}}", "auths.a.b.auth" },
	{ "{\"auths\":{\"a.b\":{\"auth\":\"c2VjcmV0OgA=\"}}}", "auths.a.b.auth" }, /* NUL */
	{ "{\"auths\":{\"a.b\":{\"auth\":\"====\"}}}", "auths.a.b.auth" },
	{ "{\"auths\":{\"a.b\":{\"username\":\"secret:x\"}}}", "username" },
	{ "{\"auths\":{\"a.b\":{\"password\":\"secret\\u0000\"}}}", "NUL" },
	{ "{\"auths\":{\"a.b\":{\"password\":{}}}}", "password" },
	{ "{\"credsStore\":\"../secret\"}", "credsStore" },
	{ "{\"credsStore\":\"a b\"}", "credsStore" },
	{ "{\"credHelpers\":{\"a.b\":\"x;secret\"}}", "credHelpers.a.b" },
	{ "{\"credHelpers\":{\"a.b\":\"x/secret\"}}", "credHelpers.a.b" },
	{ "{\"credHelpers\":\"x\"}", "credHelpers" },
};

static void bad_configs_are_refused_without_their_secrets(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(bad); i++) {
		struct gt_docker_config *c = NULL;
		struct gt_err err = { 0 };

		if (gt_docker_config_read(bad[i].text, strlen(bad[i].text), &c, &err) >= 0)
			fail_msg("accepted: %s", bad[i].text);
		assert_null(c);
		if (!strstr(err.text, bad[i].why))
			fail_msg("%s: %s", bad[i].text, err.text);
		assert_null(strstr(err.text, "secret"));
		assert_null(strstr(err.text, "c2Vjc"));
	}
}

static void answers_of_helpers(void **state)
{
	static const char good[] = "{\"ServerURL\":\"x\",\"Username\":\"u\",\"Secret\":\"s\"}\n";
	static const char token[] = "{\"Username\":\"<token>\",\"Secret\":\"s\"}";
	static const char *const none[] = { "",
					    "{}",
					    "credentials not found",
					    "{\"Username\":\"u\"}",
					    "{\"Username\":\"u\",\"Secret\":\"\"}",
					    "{\"Username\":\"u\",\"Secret\":\"\\u0000\"}" };
	gt_auto(docker_login) struct gt_docker_login l = { 0 }, t = { 0 };

	(void)state;
	assert_int_equal(gt_docker_answer_read(good, strlen(good), &l, NULL), 0);
	assert_string_equal(l.user, "u");
	assert_string_equal(l.password, "s");
	assert_int_equal(gt_docker_answer_read(token, strlen(token), &t, NULL), 0);
	assert_null(t.user);
	assert_string_equal(t.identity_token, "s");
	for (size_t i = 0; i < GT_LEN(none); i++)
		assert_int_equal(gt_docker_answer_read(none[i], strlen(none[i]), &l, NULL),
				 -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logins_are_found_by_host),
		cmocka_unit_test(bad_configs_are_refused_without_their_secrets),
		cmocka_unit_test(answers_of_helpers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
