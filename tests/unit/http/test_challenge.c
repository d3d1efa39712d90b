/* test_challenge.c - WWW-Authenticate, taken apart or refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/http/challenge.h>

static const struct {
	const char *value;
	enum gt_challenge_scheme scheme;
	const char *realm, *service, *scope;
} good[] = {
	{ "Basic realm=\"x\"", GT_CHALLENGE_BASIC, "x", "", "" },
	{ "basic", GT_CHALLENGE_BASIC, "", "", "" },
	{ "Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:a/b:pull,push\"",
	  GT_CHALLENGE_BEARER, "https://a/t", "s", "repository:a/b:pull,push" },
	{ "BEARER Realm = \"https://a/t\" , SERVICE = s", GT_CHALLENGE_BEARER, "https://a/t", "s",
	  "" },
	{ "Bearer realm=\"a\\\"b\\\\c\"", GT_CHALLENGE_BEARER, "a\"b\\c", "", "" },
	{ "Bearer realm=\"r\",error=\"invalid_token\",charset=\"UTF-8\"", GT_CHALLENGE_BEARER, "r",
	  "", "" },
	{ "Basic realm=\"b\", Bearer realm=\"r\"", GT_CHALLENGE_BEARER, "r", "", "" },
	{ "Bearer realm=\"r\", Basic realm=\"b\"", GT_CHALLENGE_BEARER, "r", "", "" },
	{ "Negotiate, Basic realm=\"b\"", GT_CHALLENGE_BASIC, "b", "", "" },
	{ "Negotiate YIIabc/+==, Basic realm=\"b\"", GT_CHALLENGE_BASIC, "b", "", "" },
	{ "Digest realm=\"d\", nonce=\"n\", Basic realm=\"b\"", GT_CHALLENGE_BASIC, "b", "", "" },
	{ "Basic realm=\"Bearer realm=evil\"", GT_CHALLENGE_BASIC, "Bearer realm=evil", "", "" },
	{ " , Basic realm=\"b\" , ", GT_CHALLENGE_BASIC, "b", "", "" },
	{ "Bearer realm=\"one\", Bearer realm=\"two\"", GT_CHALLENGE_BEARER, "one", "", "" },
};

static void good_challenges_are_taken_apart(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(good); i++) {
		struct gt_challenge c;
		struct gt_err err = { 0 };

		if (gt_challenge_parse(good[i].value, &c, &err) < 0)
			fail_msg("%s: %s", good[i].value, err.text);
		assert_int_equal(c.scheme, good[i].scheme);
		assert_string_equal(c.realm, good[i].realm);
		assert_string_equal(c.service, good[i].service);
		assert_string_equal(c.scope, good[i].scope);
	}
}

static const char *const bad[] = {
	"",
	",",
	"Digest realm=\"x\"",
	"Bearer realm=\"x",
	"Bearer realm=\"x\\",
	"Bearer realm=\"x\\\"",
	"Bearer realm=",
	"Bearer realm=\"x\" service=\"y\"",
	"Bearer realm=\"x\"service=\"y\"",
	"Bearer realm=\"x\",realm=\"y\"",
	"Bearer realm=\"a\tb\"",
	"Bearer realm=\"a\rb\"",
	"Bearer realm=x/y",
	"Bearer \"x\"",
	"Bearer=x",
	"=x",
	"\"Bearer\"",
	"Bearer realm=\"x\"; service=\"y\"",
	"Bearer a b",
};

static void bad_challenges_are_refused(void **state)
{
	char longest[GT_CHALLENGE_TEXT_MAX + 32] = "Bearer realm=\"";
	struct gt_challenge c;
	struct gt_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < GT_LEN(bad); i++) {
		gt_err_clear(&err);
		if (gt_challenge_parse(bad[i], &c, &err) != -EPROTO || !err.text[0])
			fail_msg("accepted: %s", bad[i]);
	}
	memset(longest + strlen(longest), 'x', GT_CHALLENGE_TEXT_MAX);
	longest[strlen("Bearer realm=\"") + GT_CHALLENGE_TEXT_MAX] = '"';
	assert_int_equal(gt_challenge_parse(longest, &c, &err), 0);
	longest[strlen("Bearer realm=\"") + GT_CHALLENGE_TEXT_MAX] = 'x';
	longest[strlen("Bearer realm=\"") + GT_CHALLENGE_TEXT_MAX + 1] = '"';
	assert_int_equal(gt_challenge_parse(longest, &c, &err), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_challenges_are_taken_apart),
		cmocka_unit_test(bad_challenges_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
