/* The route table and docs/openapi.yaml say the same, and each problem is explained. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/cleanup.h>
#include <gantry/model/problem.h>

#include "api_priv.h"
#include "contract_read.h"

static struct operation all[OPERATIONS_MAX];
static size_t n_all;

static void every_route_is_in_the_contract(void **state)
{
	(void)state;
	for (size_t i = 0; i < gt_api_routes_n; i++) {
		const struct gt_http_route *r = &gt_api_routes[i];
		const struct operation *op = contract_find(all, n_all, r->operation);

		if (!op)
			fail_msg("%s is in no operation of docs/openapi.yaml", r->operation);
		assert_string_equal(op->path, r->pattern);
		assert_string_equal(op->method, gt_method_name(r->method));
		assert_int_equal(op->open, r->role == GT_ROLE_NONE);
		if (!op->open)
			assert_true(contract_allows(op, 401));
		assert_true(r->summary[0] != '\0');
	}
}

static void every_operation_has_a_route(void **state)
{
	(void)state;
	assert_int_equal(n_all, gt_api_routes_n);
	for (size_t i = 0; i < n_all; i++) {
		size_t k = 0;

		while (k < gt_api_routes_n && strcmp(gt_api_routes[k].operation, all[i].id) != 0)
			k++;
		if (k == gt_api_routes_n)
			fail_msg("%s %s is in no route", all[i].method, all[i].path);
		assert_true(contract_allows(&all[i], 200) || contract_allows(&all[i], 201) ||
			    contract_allows(&all[i], 202));
	}
}

static void every_problem_is_explained(void **state)
{
	gt_auto(free) char *text = gt_alloc(GT_MIB);
	FILE *f = fopen("docs/problems.md", "r");

	(void)state;
	assert_non_null(f); /* tests run in the root of the repository */
	assert_true(fread(text, 1, GT_MIB - 1, f) > 0);
	fclose(f);
	for (size_t i = 0; i < gt_problem_kinds_n; i++) {
		char with_status[80], alone[80];
		const struct gt_problem_kind *k = &gt_problem_kinds[i];

		snprintf(with_status, sizeof(with_status), "| `%s` | %d |", k->slug, k->status);
		snprintf(alone, sizeof(alone), "| `%s` | ", k->slug);
		if (!strstr(text, alone))
			fail_msg("docs/problems.md does not explain %s", k->slug);
		/* Causes of failed starts have no status of their own there. */
		if (strstr(text, with_status) == NULL && k->status != 503)
			fail_msg("docs/problems.md states another status for %s", k->slug);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_route_is_in_the_contract),
		cmocka_unit_test(every_operation_has_a_route),
		cmocka_unit_test(every_problem_is_explained),
	};

	n_all = contract_read(all);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
