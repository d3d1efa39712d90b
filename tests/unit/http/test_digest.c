/* test_digest.c - SHA-256 at once and in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/http/digest.h>

/* FIPS 180-2: the digest of "abc". */
static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

static void pieces_give_the_digest_of_the_whole(void **state)
{
	char whole[GT_SHA256_HEX_SIZE], pieces[GT_SHA256_HEX_SIZE];
	char data[1000];

	(void)state;
	gt_sha256_hex("abc", 3, whole);
	assert_string_equal(whole, abc);
	memset(data, 'x', sizeof(data));
	gt_sha256_hex(data, sizeof(data), whole);
	for (size_t step = 1; step < 200; step += 17) {
		struct gt_sha256 *s = gt_sha256_new();

		for (size_t at = 0; at < sizeof(data); at += step)
			gt_sha256_add(s, data + at, GT_MIN(step, sizeof(data) - at));
		gt_sha256_end(s, pieces);
		assert_string_equal(pieces, whole);
	}
}

static void an_unfinished_digest_is_released(void **state)
{
	gt_auto(sha256) struct gt_sha256 *s = gt_sha256_new();

	(void)state;
	gt_sha256_add(s, "a", 1);
	gt_sha256_free(NULL);
}

/* Of `printf i.7.body | openssl dgst -sha256 -hmac KEY -binary | base64`. */
static void each_key_has_its_signature(void **state)
{
	static const char *const keys[] = { "new", "old" };
	gt_auto(free) char *both = gt_webhook_signature(keys, 2, "i", 7, "body", 4);
	gt_auto(free) char *one = gt_webhook_signature(keys, 1, "i", 7, "body", 4);

	(void)state;
	assert_string_equal(one, "v1,zxDLvaeQdB0opsLO/QW3AGGDz5MQtmAiavnqaW0WjRU=");
	assert_string_equal(both, "v1,zxDLvaeQdB0opsLO/QW3AGGDz5MQtmAiavnqaW0WjRU="
				  " v1,vDHe3z+lkpw6lUlgCwI+xgNjfnbi807OHbvuxvTOSds=");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_give_the_digest_of_the_whole),
		cmocka_unit_test(an_unfinished_digest_is_released),
		cmocka_unit_test(each_key_has_its_signature),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
