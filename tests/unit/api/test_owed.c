/* Whoever waits for the store when control ends is called back by nobody. The leak sanitizer looks
 * at the end. */
#include "fixture.h"

#include <gantry/base/cleanup.h>

#define JSON "Content-Type: application/json\r\n"
#define SPEC "{\"image\":\"host:\",\"command\":[\"/bin/true\"],\"port\":8000}"

static void whoever_asked_goes_with_the_api(void **state)
{
	static const struct {
		const char *method, *path, *body;
	} asks[] = {
		{ "PUT", "/v1/functions/other", SPEC },
		{ "DELETE", "/v1/functions/f", NULL },
		{ "GET", "/v1/functions/f/revisions", NULL },
		{ "POST", "/v1/nodes/n/cordon", NULL },
		{ "POST", "/v1/nodes/tokens", "{}" },
		{ "POST", "/v1/webhooks/keys", "{}" },
		{ "POST", "/v1/functions/f/calls", "{}" },
		{ "POST", "/v1/functions/f/batches", "{\"body\":1}\n" },
		{ "GET", "/v1/calls", NULL },
		{ "GET", "/v1/calls/one?wait=60s", NULL },
		{ "GET", "/v1/calls/one/events", NULL },
		{ "GET", "/v1/calls/one/logs", NULL },
		{ "DELETE", "/v1/calls/one", NULL },
		{ "GET", "/v1/schedules", NULL },
	};
	struct world *w = *state;
	struct answer a[GT_LEN(asks)];

	put_ok(w, "f", SPEC, 201);
	node_up(w, "n");
	step_until(w, w->n_kept == 1); /* that the hook was told is not written down yet */
	w->silent = true;
	for (size_t i = 0; i < GT_LEN(asks); i++) {
		ask_open(w, asks[i].method, asks[i].path, JSON, asks[i].body, &a[i]);
		step_until(w, w->n_kept == i + 2);
	}
	gt_api_free(w->api);
	w->api = NULL;
	for (size_t i = 0; i < GT_LEN(asks); i++)
		answer_fini(&a[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whoever_asked_goes_with_the_api, world_setup_silent,
						world_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
