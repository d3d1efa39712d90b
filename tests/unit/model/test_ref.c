/* test_ref.c - image references: what is accepted, how it is taken apart, what is refused and how
 * the refusal helps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/model/ref.h>

#define HEX  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define D256 "sha256:" HEX
#define X10  "xxxxxxxxxx"
#define X50  X10 X10 X10 X10 X10
#define X127 X50 X50 X10 X10 "xxxxxxx"

static const struct {
	const char *text, *host, *path, *tag, *digest;
	const char *canonical; /* NULL = the text itself */
} good[] = {
	{ "registry.example/team/echo:1", "registry.example", "team/echo", "1", "", NULL },
	{ "registry.example/echo", "registry.example", "echo", "latest", "",
	  "registry.example/echo:latest" },
	{ "localhost/a:b", "localhost", "a", "b", "", NULL },
	{ "localhost:5000/a:b", "localhost:5000", "a", "b", "", NULL },
	{ "host:1/a:b", "host:1", "a", "b", "", NULL },
	{ "127.0.0.1:65535/a/b/c/d:t", "127.0.0.1:65535", "a/b/c/d", "t", "", NULL },
	{ "[::1]:5000/a:b", "[::1]:5000", "a", "b", "", NULL },
	{ "[fe80::1]/a:b", "[fe80::1]", "a", "b", "", NULL },
	{ "R.Example/a@" D256, "r.example", "a", "", D256, "r.example/a@" D256 },
	{ "r.example/a:t@" D256, "r.example", "a", "t", D256, NULL },
	{ "r.example/a.b_c__d---e/9:_T.-", "r.example", "a.b_c__d---e/9", "_T.-", "", NULL },
	{ "a-b.c-d/x:1", "a-b.c-d", "x", "1", "", NULL },
	{ "r.example/a:x" X127, "r.example", "a", "x" X127, "", NULL },
	{ "r.example/" X127 X127 "x:1", "r.example", X127 X127 "x", "1", "", NULL },
};

static void good_references_are_taken_apart(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(good); i++) {
		struct gt_ref ref, again;
		struct gt_err err = { 0 };
		char text[GT_REF_TEXT_SIZE];

		if (gt_ref_parse(good[i].text, &ref, &err) < 0)
			fail_msg("%s", err.text);
		assert_string_equal(ref.host, good[i].host);
		assert_string_equal(ref.path, good[i].path);
		assert_string_equal(ref.tag, good[i].tag);
		assert_string_equal(ref.digest, good[i].digest);
		gt_ref_format(&ref, text);
		assert_string_equal(text, good[i].canonical ? good[i].canonical : good[i].text);
		assert_int_equal(gt_ref_parse(text, &again, &err), 0);
		assert_memory_equal(&ref, &again, sizeof(ref));
	}
}

static const struct {
	const char *text, *why;
} bad[] = {
	{ "", "registry's host" },
	{ "echo", "registry's host: registry.example/team/echo:1" },
	{ "echo:1", "registry's host" },
	{ "team/echo:1", "registry's host" },
	{ "/echo", "registry's host" },
	{ "registry.example", "registry's host" },
	{ "https://registry.example/a", "host is not valid" },
	{ "r_x.example/a", "host is not valid" },
	{ ".example/a", "host is not valid" },
	{ "a..b/a", "host is not valid" },
	{ "a.b./a", "host is not valid" },
	{ "-a.b/a", "host is not valid" },
	{ "a-.b/a", "host is not valid" },
	{ "a.b-/a", "host is not valid" },
	{ "a.b:/a", "host is not valid" },
	{ "a.b:0/a", "host is not valid" },
	{ "a.b:65536/a", "host is not valid" },
	{ "a.b:+1/a", "host is not valid" },
	{ "a.b:1:2/a", "host is not valid" },
	{ "user@a.b/a", "host is not valid" },
	{ "user:secret@a.b/a", "host is not valid" },
	{ "a.b%00/a", "host is not valid" },
	{ "::1/a", "host is not valid" },
	{ "[::1/a", "host is not valid" },
	{ "[::1]x/a", "host is not valid" },
	{ "[::1%25eth0]/a", "host is not valid" },
	{ "[]/a", "host is not valid" },
	{ X127 X127 X10 ".b/a", "host is not valid" },
	{ "a.b/", "path is not valid" },
	{ "a.b//a", "path is not valid" },
	{ "a.b/a/", "path is not valid" },
	{ "a.b/A", "path is not valid" },
	{ "a.b/../a", "path is not valid" },
	{ "a.b/a/..", "path is not valid" },
	{ "a.b/a..b", "path is not valid" },
	{ "a.b/a___b", "path is not valid" },
	{ "a.b/a-_b", "path is not valid" },
	{ "a.b/-a", "path is not valid" },
	{ "a.b/a-", "path is not valid" },
	{ "a.b/a b", "path is not valid" },
	{ "a.b/a?x=1", "path is not valid" },
	{ "a.b/a#x", "path is not valid" },
	{ "a.b/a%2fb", "path is not valid" },
	{ "a.b/a\nb", "path is not valid" },
	{ "a.b/\xc3\xa4", "path is not valid" },
	{ "a.b/" X127 X127 "xx", "longer than 255" },
	{ "a.b/a:", "tag is not valid" },
	{ "a.b/a:.x", "tag is not valid" },
	{ "a.b/a:-x", "tag is not valid" },
	{ "a.b/a:x/y", "tag is not valid" },
	{ "a.b/a:x:y", "tag is not valid" },
	{ "a.b/a:x y", "tag is not valid" },
	{ "a.b/a:xx" X127, "tag is not valid" },
	{ "a.b/a@", "digest is not valid" },
	{ "a.b/a@sha256:", "digest is not valid" },
	{ "a.b/a@sha256:0123", "digest is not valid" },
	{ "a.b/a@" D256 "0", "digest is not valid" },
	{ "a.b/a@" D256 ":t", "digest is not valid" },
	{ "a.b/a@" D256 "@" D256, "digest is not valid" },
	{ "a.b/a@sha512:" HEX HEX, "digest is not valid" },
	{ "a.b/a@sha256:0123456789ABCDEF" HEX, "digest is not valid" },
};

static void bad_references_are_refused_with_the_fix(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(bad); i++) {
		struct gt_ref ref, untouched;
		struct gt_err err = { 0 };

		memset(&ref, 0x5a, sizeof(ref));
		untouched = ref;
		if (gt_ref_parse(bad[i].text, &ref, &err) != -EINVAL)
			fail_msg("accepted: %s", bad[i].text);
		assert_string_equal(err.slug, "invalid_spec");
		if (!strstr(err.text, bad[i].why))
			fail_msg("%s: %s", bad[i].text, err.text);
		assert_null(strpbrk(err.text, "\n\xc3"));
		assert_memory_equal(&ref, &untouched, sizeof(ref));
	}
}

static void the_hub_has_several_names(void **state)
{
	(void)state;
	assert_true(gt_host_is_hub(GT_HUB_HOST));
	assert_true(gt_host_is_hub(GT_HUB_API));
	assert_true(gt_host_is_hub("Index.Docker.IO"));
	assert_false(gt_host_is_hub("docker.io.example"));
	assert_false(gt_host_is_hub("docker.io:5000"));
	assert_false(gt_host_is_hub(""));
}

static void digests_are_sha256_in_lower_case(void **state)
{
	(void)state;
	assert_true(gt_digest_ok(D256));
	assert_false(gt_digest_ok(NULL));
	assert_false(gt_digest_ok(""));
	assert_false(gt_digest_ok(HEX));
	assert_false(gt_digest_ok("sha256:" HEX "0"));
	assert_false(gt_digest_ok(" " D256));
	assert_false(
		gt_digest_ok("sha256:g123456789abcdef0123456789abcdef0123456789abcdef0123456789"
			     "abcdef"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_references_are_taken_apart),
		cmocka_unit_test(bad_references_are_refused_with_the_fix),
		cmocka_unit_test(digests_are_sha256_in_lower_case),
		cmocka_unit_test(the_hub_has_several_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
