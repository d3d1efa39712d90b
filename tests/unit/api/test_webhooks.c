/* The keys that sign webhooks, as an operator sees them. */
#include "fixture.h"

#include <stdlib.h>

#define JSON "Content-Type: application/json\r\n"
#define PATH "/v1/webhooks/keys"

static int setup(void **state)
{
	int r = world_setup(state);
	struct world *w = *state;

	w->webhook_keys.n = 1;
	gt_strcopy(w->webhook_keys.at[0].name, GT_WEBHOOK_NAME_SIZE, GT_WEBHOOK_NEWEST);
	gt_strcopy(w->webhook_keys.at[0].text, GT_WEBHOOK_KEY_SIZE, "first");
	gt_control_load_webhook_keys(w->control, &w->webhook_keys);
	return r;
}

static void ids(struct world *w, char id[2][32], size_t n)
{
	struct answer a;

	ask(w, "GET", PATH, NULL, NULL, &a);
	assert_int_equal(a.status, 200);
	assert_int_equal(gt_value_len(gt_value_at(a.json, "items")), n);
	for (size_t i = 0; i < n; i++)
		gt_strcopy(id[i], sizeof(id[i]), str(&a, i ? "items[1].id" : "items[0].id"));
	assert_null(strstr(a.body, "first"));
	assert_null(strstr(a.body, w->webhook_keys.at[0].text));
	answer_fini(&a);
}

static void a_new_key_is_shown_once_and_the_one_before_signs_on(void **state)
{
	struct world *w = *state;
	const struct gt_webhook_key *at = w->webhook_keys.at;
	char id[2][32], was[32], path[64];
	const char *good[GT_WEBHOOK_KEYS_MAX];
	struct answer a;

	ids(w, id, 1);
	assert_string_equal(id[0], "a7937b64b8caa58f"); /* printf first | sha256sum */
	ask(w, "POST", PATH, JSON, "{\"overlap\":\"2h\"}", &a);
	assert_int_equal(a.status, 201);
	assert_true(header_has(&a, "Cache-Control: no-store"));
	assert_string_equal(str(&a, "key"), at[0].text);
	assert_int_equal(strlen(at[0].text), GT_WEBHOOK_KEY_SIZE - 1);
	assert_string_equal(str(&a, "ends_at"), "(absent)");
	assert_int_equal(at[1].ends_ms - at[0].created_ms, 2 * 3600000);
	answer_fini(&a);
	gt_strcopy(was, sizeof(was), id[0]);
	ids(w, id, 2);
	assert_string_equal(id[1], was);
	assert_int_equal(
		gt_webhook_keys_good(gt_control_webhook_keys(w->control), at[1].ends_ms - 1, good),
		2);
	assert_string_equal(good[1], "first");
	assert_int_equal(
		gt_webhook_keys_good(gt_control_webhook_keys(w->control), at[1].ends_ms, good), 1);
	snprintf(path, sizeof(path), PATH "/%s", id[0]);
	refused(w, "DELETE", path, NULL, NULL, 409, "conflict");
	snprintf(path, sizeof(path), PATH "/%s", was);
	ask(w, "DELETE", path, NULL, NULL, &a);
	assert_int_equal(a.status, 200);
	assert_string_equal(str(&a, "id"), was);
	answer_fini(&a);
	refused(w, "DELETE", path, NULL, NULL, 404, "not_found");
	ids(w, id, 1);
}

static void a_day_of_both_is_the_default(void **state)
{
	struct world *w = *state;
	struct answer a;

	ask(w, "POST", PATH, NULL, NULL, &a);
	assert_int_equal(a.status, 201);
	assert_in_range(w->webhook_keys.at[1].ends_ms - w->webhook_keys.at[0].created_ms,
			GT_WEBHOOK_OVERLAP_MS, GT_WEBHOOK_OVERLAP_MS + 60000);
	answer_fini(&a);
}

static void bad_asks_are_refused_by_name(void **state)
{
	struct world *w = *state;

	refused(w, "POST", PATH, JSON, "{\"overlap\":\"31d\"}", 400, "bad_parameter");
	refused(w, "POST", PATH, JSON, "{\"overlap\":5}", 400, "bad_parameter");
	refused(w, "POST", PATH, JSON, "{\"ttl\":\"1h\"}", 400, "bad_parameter");
	refused(w, "POST", PATH, JSON, "{", 400, "malformed_json");
	refused(w, "POST", PATH, "Content-Type: text/plain\r\n", "{}", 415,
		"unsupported_media_type");
	refused(w, "GET", PATH "?x=1", NULL, NULL, 400, "bad_parameter");
	refused(w, "POST", PATH, "Authorization: Bearer no\r\n", NULL, 401, "unauthorized");
	w->storage_full = true;
	refused(w, "POST", PATH, NULL, NULL, 507, "storage_full");
	assert_int_equal(gt_control_webhook_keys(w->control)->n, 1);
}

int main(void)
{
#define t(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)
	const struct CMUnitTest tests[] = {
		t(a_new_key_is_shown_once_and_the_one_before_signs_on),
		t(a_day_of_both_is_the_default),
		t(bad_asks_are_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
