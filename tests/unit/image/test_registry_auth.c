/* test_registry_auth.c - credentials: where they come from, where they go, and above all where they
 * do not go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "reg_world.h"

GT_CLEANUP_TYPE(manifest, struct gt_manifest *, gt_manifest_free)

#define USER_PASS "Basic dXNlcjpwYXNz" /* user:pass */

static uint64_t fake_ns = 1000 * GT_NS_PER_S;

static uint64_t fake_mono(void *arg)
{
	(void)arg;
	return fake_ns;
}

static const struct gt_clock fake_clock = { .mono_ns = fake_mono };

/* A client with this docker config, in which HOST stands for the registry. */
static void with_config(struct reg *w, const char *text)
{
	gt_auto(buf) struct gt_buf config = { 0 };
	const char *host;

	for (; (host = strstr(text, "HOST")); text = host + strlen("HOST")) {
		gt_buf_add(&config, text, (size_t)(host - text));
		gt_buf_adds(&config, w->ref.host);
	}
	gt_buf_adds(&config, text);
	w->config.docker_config = gt_buf_str(&config);
	w->config.clock = &fake_clock;
	reg_open(w);
	w->config.docker_config = NULL;
}

static int pull(struct reg *w)
{
	gt_auto(manifest) struct gt_manifest *m = NULL;

	return reg_manifest(w, ":1", &m);
}

static void pull_ok(struct reg *w)
{
	if (pull(w) < 0)
		fail_msg("%s", w->err.text);
}

static bool has_auth(const struct fake_request *req, const char *value)
{
	char got[400];

	return fake_header(req, "Authorization", got, sizeof(got)) && strcmp(got, value) == 0;
}

static enum reg_hooked challenge(struct fake_request *req, const char *value)
{
	char *headers = NULL;

	if (asprintf(&headers, "WWW-Authenticate: %s\r\n", value) < 0)
		abort();
	fake_reply(req, 401, headers, "{\"errors\":[]}", 13);
	free(headers);
	return KEEP;
}

/* ---- Basic ----------------------------------------------------------------------------------- */
static enum reg_hooked basic(struct reg *w, struct fake_request *req)
{
	(void)w;
	return has_auth(req, USER_PASS) ? PASS : challenge(req, "Basic realm=\"r\"");
}

static void basic_is_answered_when_asked(void **state)
{
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	w->hook = basic;
	with_config(w, "{\"auths\":{\"http://HOST/v2/\":{\"username\":\"user\",\"password\":"
		       "\"pass\"}}}");
	pull_ok(w);
	assert_int_equal(fake_server_saw(w->server, "GET /v2/"), 2);
	assert_int_equal(fake_server_saw(w->server, USER_PASS), 1);
	/* Known from then on. */
	assert_int_equal(reg_blob(w, &blob), 0);
	assert_int_equal(fake_server_saw(w->server, "GET /v2/"), 3);
	assert_int_equal(fake_server_saw(w->server, USER_PASS), 2);
}

static void nothing_is_sent_unasked(void **state)
{
	struct reg *w = *state;

	with_config(w, "{\"auths\":{\"HOST\":{\"auth\":\"dXNlcjpwYXNz\"}}}");
	pull_ok(w);
	assert_int_equal(fake_server_saw(w->server, "Authorization"), 0);
}

static void a_refusal_says_what_is_missing(void **state)
{
	struct reg *w = *state;

	w->hook = basic;
	reg_expect(w, pull(w), -EACCES, "image_denied", "add credentials for this host");
	with_config(w, "{\"auths\":{\"other.example\":{\"auth\":\"dXNlcjpwYXNz\"}}}");
	reg_expect(w, pull(w), -EACCES, "image_denied", "add credentials for this host");
	assert_int_equal(fake_server_saw(w->server, "Authorization"), 0);
	with_config(w, "{\"auths\":{\"HOST\":{\"auth\":\"dXNlcjp3cm9uZw==\"}}}");
	reg_expect(w, pull(w), -EACCES, "image_denied", "refuses access (status 401)");
	/* A registry that always asks again is asked twice. */
	assert_int_equal(fake_server_saw(w->server, "Authorization"), 1);
}

static enum reg_hooked odd_challenge(struct reg *w, struct fake_request *req)
{
	return w->text[0] ? challenge(req, w->text)
			  : (fake_reply(req, 401, "", "", 0) ? KEEP : CLOSE);
}

static void odd_challenges_are_refused(void **state)
{
	static const struct {
		const char *challenge;
		int code;
		const char *slug, *why;
	} cases[] = {
		{ "", -EACCES, "image_denied", "status 401" },
		{ "Digest realm=\"x\"", -EPROTO, "registry_unavailable", "neither" },
		{ "Bearer realm=\"x", -EPROTO, "registry_unavailable", "malformed" },
		{ "Bearer service=\"x\"", -EPROTO, "registry_unavailable", "token server" },
		{ "Bearer realm=\"file:///etc/passwd\"", -EPROTO, "registry_unavailable",
		  "token server" },
		{ "Bearer realm=\"//127.0.0.1/\"", -EPROTO, "registry_unavailable",
		  "token server" },
		{ "Bearer realm=\"http://u:p@127.0.0.1/\"", -EPROTO, "registry_unavailable",
		  "refused" },
	};
	struct reg *w = *state;

	w->hook = odd_challenge;
	with_config(w, "{\"auths\":{\"HOST\":{\"auth\":\"dXNlcjpwYXNz\"}}}");
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_strcopy(w->text, sizeof(w->text), cases[i].challenge);
		reg_expect(w, pull(w), cases[i].code, cases[i].slug, cases[i].why);
	}
	assert_int_equal(fake_server_saw(w->server, "Authorization"), 0);
}

/* ---- Bearer ---------------------------------------------------------------------------------- */
/* The token server is the other server; number counts tokens, text is its answer's head or "". */
static enum reg_hooked bearer(struct reg *w, struct fake_request *req)
{
	char wanted[64], body[100], value[300];

	if (reg_is(req, "/token")) {
		if (w->text[0]) {
			fake_sendf(req, "%s", w->text);
			return CLOSE;
		}
		unsigned n = atomic_fetch_add(&w->count, 1) + 1;

		snprintf(body, sizeof(body), "{\"token\":\"tok%u\",\"expires_in\":300}", n);
		fake_reply(req, 200, "", body, strlen(body));
		return KEEP;
	}
	snprintf(wanted, sizeof(wanted), "Bearer tok%u", atomic_load(&w->count));
	if (has_auth(req, wanted))
		return PASS;
	snprintf(value, sizeof(value),
		 "Bearer realm=\"http://127.0.0.1:%u/token?x=1\",service=\"the registry\",scope=\""
		 "repository:team/echo:pull\"",
		 fake_server_port(w->other));
	return challenge(req, value);
}

static void a_token_is_fetched_and_kept(void **state)
{
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	w->hook = bearer;
	with_config(w, "{}");
	pull_ok(w);
	assert_int_equal(fake_server_saw(w->other, "GET /token?x=1&service=the%20registry&scope="
						   "repository%3Ateam%2Fecho%3Apull HTTP/1.1\r\n"),
			 1);
	assert_int_equal(fake_server_saw(w->other, "Authorization"), 0); /* anonymous */
	assert_int_equal(reg_blob(w, &blob), 0);
	assert_int_equal(fake_server_saw(w->other, "GET /token"), 1);
	assert_int_equal(fake_server_saw(w->server, "Authorization: Bearer tok1"), 2);
	/* Another one when it is about to end. */
	fake_ns += 294 * GT_NS_PER_S;
	assert_int_equal(reg_blob(w, &blob), 0);
	assert_int_equal(fake_server_saw(w->other, "GET /token"), 1);
	fake_ns += 2 * GT_NS_PER_S;
	assert_int_equal(reg_blob(w, &blob), 0);
	assert_int_equal(fake_server_saw(w->other, "GET /token"), 2);
	/* And when the registry no longer takes it. */
	atomic_store(&w->count, 7);
	assert_int_equal(reg_blob(w, &blob), 0);
	assert_int_equal(fake_server_saw(w->server, "Authorization: Bearer tok8"), 1);
}

static void a_token_is_for_one_repository(void **state)
{
	struct reg *w = *state;

	w->hook = bearer;
	with_config(w, "{}");
	pull_ok(w);
	gt_strcopy(w->ref.path, sizeof(w->ref.path), "team/other");
	struct gt_blob blob = reg_layer_blob(w);

	reg_expect(w, reg_blob(w, &blob), -ENOENT, "image_missing", "team/other");
	assert_int_equal(fake_server_saw(w->server, "GET /v2/team/other/"), 2);
	assert_int_equal(fake_server_saw(w->other, "GET /token"), 2);
}

static void credentials_go_to_the_token_server(void **state)
{
	struct reg *w = *state;

	w->hook = bearer;
	with_config(w, "{\"auths\":{\"HOST\":{\"auth\":\"dXNlcjpwYXNz\"}}}");
	pull_ok(w);
	assert_int_equal(fake_server_saw(w->other, "Authorization: " USER_PASS), 1);
	assert_int_equal(fake_server_saw(w->server, "Basic"), 0);
}

static void an_identity_token_is_posted(void **state)
{
	struct reg *w = *state;

	w->hook = bearer;
	with_config(w, "{\"auths\":{\"HOST\":{\"identitytoken\":\"id&tok\"}}}");
	pull_ok(w);
	assert_int_equal(
		fake_server_saw(w->other,
				"\nservice=the%20registry&scope=repository%3Ateam%2Fecho%3Apull&"
				"grant_type=refresh_token&client_id=gantry&refresh_token=id%26tok"),
		1);
	assert_int_equal(fake_server_saw(w->other, "POST /token?x=1 "), 1);
	assert_int_equal(fake_server_saw(w->server, "id%26tok"), 0);
}

static void a_failing_token_server_is_told(void **state)
{
	static const struct {
		const char *answer;
		int code;
		const char *slug, *why;
		unsigned asked;
	} cases[] = {
		{ "HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n", -EACCES, "image_denied",
		  "no access without credentials", 1 },
		{ "HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n", -EACCES, "image_denied",
		  "no access without credentials", 1 },
		{ "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", -EIO, "registry_unavailable",
		  "its token server answers status 503", 4 },
		{ "HTTP/1.1 200 X\r\nContent-Length: 6\r\n\r\n<html>", -EPROTO,
		  "registry_unavailable", "of no use", 1 },
		{ "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}", -EPROTO, "registry_unavailable",
		  "of no use", 1 },
		{ "HTTP/1.1 200 X\r\nContent-Length: 26\r\n\r\n{\"token\":\"secret\\r\\nX: y\"} ",
		  -EPROTO, "registry_unavailable", "of no use", 1 },
		{ "HTTP/1.1 200 X\r\nContent-Length: 24\r\n\r\n{\"token\":\"secret\\u0000y\"}",
		  -EPROTO, "registry_unavailable", "of no use", 1 },
		{ "HTTP/1.1 200 X\r\nContent-Length: 70000\r\n\r\n", -EPROTO,
		  "registry_unavailable", "of no use", 1 },
		{ "HTTP/1.1 302 X\r\nLocation: file:///etc/passwd\r\n\r\n", -EPROTO,
		  "registry_unavailable", "only http and https", 1 },
		{ "no http", -EPROTO, "registry_unavailable", "127.0.0.1", 1 },
	};
	struct reg *w = *state;
	unsigned asked = 0;

	w->hook = bearer;
	with_config(w, "{}");
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_strcopy(w->text, sizeof(w->text), cases[i].answer);
		reg_expect(w, pull(w), cases[i].code, cases[i].slug, cases[i].why);
		assert_null(strstr(w->err.text, "secret"));
		asked += cases[i].asked;
		assert_int_equal(fake_server_saw(w->other, "GET /token"), asked);
	}
	with_config(w, "{\"auths\":{\"HOST\":{\"auth\":\"dXNlcjpwYXNz\"}}}");
	gt_strcopy(w->text, sizeof(w->text), cases[0].answer);
	reg_expect(w, pull(w), -EACCES, "image_denied", "refuses the credentials");
}

/* ---- redirects ------------------------------------------------------------------------------- */
static const struct reg *served_by_other(struct reg *w, struct fake_request *req)
{
	return req->server == w->other ? w : NULL;
}

/* Blobs are at the other server, which asks for credentials in its own way. */
static enum reg_hooked to_storage(struct reg *w, struct fake_request *req)
{
	char headers[200];

	if (served_by_other(w, req))
		return w->text[0] && !reg_is(req, "/token") ? challenge(req, w->text) : PASS;
	if (!has_auth(req, USER_PASS))
		return challenge(req, "Basic realm=\"r\"");
	if (!reg_is(req, "/blobs/"))
		return PASS;
	snprintf(headers, sizeof(headers), "Location: http://127.0.0.1:%u/v2/team/echo/x/%s\r\n",
		 fake_server_port(w->other), strrchr(req->target, '/') + 1);
	return fake_reply(req, 307, headers, "", 0) ? KEEP : CLOSE;
}

static void credentials_do_not_follow_a_redirect(void **state)
{
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	w->hook = to_storage;
	with_config(w, "{\"auths\":{\"HOST\":{\"auth\":\"dXNlcjpwYXNz\"}}}");
	if (reg_blob(w, &blob) < 0)
		fail_msg("%s", w->err.text);
	assert_memory_equal(w->got.data, w->layer_data, LAYER_SIZE);
	assert_int_equal(fake_server_saw(w->other, "GET /v2/team/echo/x/sha256:"), 1);
	assert_int_equal(fake_server_saw(w->other, "Authorization"), 0);
	assert_int_equal(fake_server_saw(w->server, USER_PASS), 1);
}

static void a_challenge_from_elsewhere_is_not_answered(void **state)
{
	struct reg *w = *state;
	struct gt_blob blob = reg_layer_blob(w);

	w->hook = to_storage;
	with_config(w, "{\"auths\":{\"HOST\":{\"auth\":\"dXNlcjpwYXNz\"}}}");
	pull_ok(w); /* its own challenge is answered by now, so that the next one is the first */
	snprintf(w->text, sizeof(w->text), "Bearer realm=\"http://127.0.0.1:%u/token\"",
		 fake_server_port(w->other));
	reg_expect(w, reg_blob(w, &blob), -EACCES, "image_denied", "status 401");
	gt_strcopy(w->text, sizeof(w->text), "Basic realm=\"x\"");
	reg_expect(w, reg_blob(w, &blob), -EACCES, "image_denied", "status 401");
	assert_int_equal(fake_server_saw(w->other, "Authorization"), 0);
	assert_int_equal(fake_server_saw(w->other, "/token"), 0);
}

/* ---- helpers --------------------------------------------------------------------------------- */
static char helper_dir[] = "/tmp/gantry-helper-XXXXXX";

static void helper_write(const char *name, const char *script)
{
	gt_auto(free) char *path = gt_asprintf("%s/docker-credential-%s", helper_dir, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fprintf(f, "#!/bin/sh\n%s\n", script);
	fclose(f);
	assert_int_equal(chmod(path, 0755), 0);
}

static int helpers_setup(void **state)
{
	gt_auto(free) char *env = NULL;

	(void)state;
	assert_non_null(mkdtemp(helper_dir));
	/* What it was given is part of what it answers. */
	helper_write("good", "read server\n"
			     "[ \"$1\" = get ] && [ $# = 1 ] || exit 7\n"
			     "echo \"{\\\"Username\\\":\\\"user\\\",\\\"Secret\\\":\\\"pass\\\","
			     "\\\"ServerURL\\\":\\\"$server\\\"}\"");
	env = gt_asprintf("/usr/bin/env | /usr/bin/sort > %s/env\n"
			  "/bin/cat > %s/stdin\n"
			  "/bin/ls /proc/self/fd > %s/fds\n"
			  "echo '{\"Username\":\"user\",\"Secret\":\"pass\"}'",
			  helper_dir, helper_dir, helper_dir);
	helper_write("spy", env);
	helper_write("token", "echo '{\"Username\":\"<token>\",\"Secret\":\"id&tok\"}'");
	helper_write("none", "echo credentials not found in native keychain; exit 1");
	helper_write("fails", "echo secret; exit 1");
	helper_write("hangs", "exec /bin/sleep 1000");
	helper_write("closes", "exec >&-; exec /bin/sleep 1000");
	helper_write("floods", "exec /usr/bin/yes secret");
	helper_write("garbage", "echo '{\"Username\":\"secret'");
	helper_write("nul", "echo '{\"Username\":\"a\\u0000secret\",\"Secret\":\"b\"}'");
	return 0;
}

static int helpers_teardown(void **state)
{
	static const char *const names[] = { "docker-credential-good",
					     "docker-credential-spy",
					     "docker-credential-token",
					     "docker-credential-none",
					     "docker-credential-fails",
					     "docker-credential-hangs",
					     "docker-credential-closes",
					     "docker-credential-floods",
					     "docker-credential-garbage",
					     "docker-credential-nul",
					     "env",
					     "stdin",
					     "fds" };

	(void)state;
	for (size_t i = 0; i < GT_LEN(names); i++) {
		gt_auto(free) char *path = gt_asprintf("%s/%s", helper_dir, names[i]);

		unlink(path);
	}
	return rmdir(helper_dir);
}

static void file_is(const char *name, const char *wanted)
{
	gt_auto(free) char *path = gt_asprintf("%s/%s", helper_dir, name);
	gt_auto(file) FILE *f = fopen(path, "r");
	char got[1000] = "";

	assert_non_null(f);
	got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
	assert_string_equal(got, wanted);
}

static void with_helper(struct reg *w, const char *name)
{
	gt_auto(free) char *config = gt_asprintf(
		"{\"credHelpers\":{\"HOST\":\"%s\"},\"auths\":{\"HOST\":{"
		"\"auth\":\"dXNlcjp3cm9uZw==\"}}}",
		name);

	w->config.helper_path = helper_dir;
	w->config.helper_ms = 300;
	with_config(w, config);
}

static void a_helper_is_asked(void **state)
{
	struct reg *w = *state;

	w->hook = basic;
	with_helper(w, "good");
	pull_ok(w);
	w->config.helper_path = helper_dir;
	with_config(w, "{\"credsStore\":\"good\",\"auths\":{\"HOST\":{}}}");
	pull_ok(w);
	/* What is written down goes before the helper for all. */
	with_config(w,
		    "{\"credsStore\":\"fails\",\"auths\":{\"HOST\":{\"auth\":\"dXNlcjpwYXNz\"}}}");
	pull_ok(w);
	w->hook = bearer;
	with_helper(w, "token");
	pull_ok(w);
	assert_int_equal(fake_server_saw(w->other, "refresh_token=id%26tok"), 1);
}

static void a_helper_gets_nothing_but_the_server(void **state)
{
	struct reg *w = *state;
	gt_auto(free) char *env = NULL;

	setenv("HOME", "/nonexistent", 1);
	setenv("LD_PRELOAD_GANTRY", "x", 1);
	w->hook = basic;
	with_helper(w, "spy");
	pull_ok(w);
	unsetenv("LD_PRELOAD_GANTRY");
	file_is("stdin", w->ref.host);
	file_is("fds", "0\n1\n2\n3\n"); /* 3 is the listing's own */
	env = gt_asprintf("HOME=/nonexistent\nPATH=%s\n", helper_dir);
	gt_auto(free) char *path = gt_asprintf("%s/env", helper_dir);
	gt_auto(file) FILE *f = fopen(path, "r");
	char line[300];

	/* The shell adds variables of its own. */
	while (fgets(line, sizeof(line), f))
		assert_true(strstr(env, line) || gt_starts_with(line, "PWD=") ||
			    gt_starts_with(line, "_=") || gt_starts_with(line, "OLDPWD=") ||
			    gt_starts_with(line, "SHLVL="));
}

static void helpers_that_fail_are_named(void **state)
{
	static const struct {
		const char *name, *why;
	} cases[] = {
		{ "none", "add credentials for this host" },
		{ "fails", "docker-credential-fails: it failed" },
		{ "hangs", "docker-credential-hangs: no answer within 300 ms" },
		{ "closes", "docker-credential-closes: it failed" },
		{ "floods", "docker-credential-floods: its answer is longer" },
		{ "garbage", "docker-credential-garbage" },
		{ "nul", "NUL" },
		{ "missing", "docker-credential-missing: it is in none of" },
	};
	struct reg *w = *state;

	w->hook = basic;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		with_helper(w, cases[i].name);
		reg_expect(w, pull(w), -EACCES, "image_denied", cases[i].why);
		assert_null(strstr(w->err.text, "secret"));
	}
	assert_int_equal(fake_server_saw(w->server, "Authorization"), 0);
}

static void bad_configs_are_refused(void **state)
{
	struct gt_registry_config config = { .docker_config = "{\"credsStore\":\"a/b\"}" };
	struct gt_registry *r = NULL;
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(gt_registry_new(&config, &r, &err), -EINVAL);
	assert_null(r);
	assert_non_null(strstr(err.text, "registry credentials: credsStore"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, reg_setup, reg_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(basic_is_answered_when_asked),
		TEST(nothing_is_sent_unasked),
		TEST(a_refusal_says_what_is_missing),
		TEST(odd_challenges_are_refused),
		TEST(a_token_is_fetched_and_kept),
		TEST(a_token_is_for_one_repository),
		TEST(credentials_go_to_the_token_server),
		TEST(an_identity_token_is_posted),
		TEST(a_failing_token_server_is_told),
		TEST(credentials_do_not_follow_a_redirect),
		TEST(a_challenge_from_elsewhere_is_not_answered),
		TEST(a_helper_is_asked),
		TEST(a_helper_gets_nothing_but_the_server),
		TEST(helpers_that_fail_are_named),
		cmocka_unit_test(bad_configs_are_refused),
	};

	return cmocka_run_group_tests(tests, helpers_setup, helpers_teardown);
}
