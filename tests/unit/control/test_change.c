/* test_change.c - deploys and deletions: order, conditions, what the store says, and the table. */
#include "fixture.h"

#include <malloc.h>
#include <stdlib.h>
#include <time.h>

struct answer {
	unsigned calls;
	int code;
	char slug[40], path[64];
	enum gt_put_result result;
	bool has_view;
	uint32_t revision;
};

static void err_keep(struct answer *a, const struct gt_err *err)
{
	a->calls++;
	a->code = err ? err->code : 0;
	gt_strcopy(a->slug, sizeof(a->slug), err ? err->slug : "");
	gt_strcopy(a->path, sizeof(a->path), err ? err->path : "");
}

static void put_keep(const struct gt_err *err, enum gt_put_result result,
		     const struct gt_function_view *view, void *arg)
{
	struct answer *a = arg;

	err_keep(a, err);
	a->result = result;
	a->has_view = view != NULL;
	a->revision = view ? view->row->revision : 0;
}

static void delete_keep(const struct gt_err *err, void *arg)
{
	err_keep(arg, err);
}

static struct gt_spec *spec_of_model(const char *model)
{
	struct gt_spec *spec = fix_spec();

	spec->models = gt_alloc_array(1, sizeof(char *));
	spec->models[0] = gt_strdup(model);
	spec->n_models = 1;
	return spec;
}

static struct answer *put(struct fix *x, struct gt_put p, struct answer *a)
{
	*a = (struct answer){ 0 };
	if (!p.spec)
		p.spec = fix_spec();
	p.spec_json = p.etag;
	gt_control_put(x->c, &p, put_keep, a);
	return a;
}

static void created_changed_unchanged(void **state)
{
	struct fix *x = *state;
	struct answer a;

	put(x, (struct gt_put){ .name = "f", .etag = "1" }, &a);
	assert_int_equal(a.calls, 0); /* not before it is durable */
	assert_int_equal(gt_control_functions_count(x->c), 0);
	fix_store_answer(x, NULL);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.result, GT_PUT_CREATED);
	assert_int_equal(a.revision, 1);
	assert_string_equal(x->event.type, "function.created");

	put(x, (struct gt_put){ .name = "f", .etag = "1" }, &a);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.result, GT_PUT_UNCHANGED);
	assert_int_equal(x->n_jobs, 0);
	put(x, (struct gt_put){ .name = "f", .etag = "2" }, &a);
	fix_store_answer(x, NULL);
	assert_int_equal(a.result, GT_PUT_CHANGED);
	assert_int_equal(a.revision, 2);
	assert_string_equal(x->event.type, "function.updated");
}

static void conditions_are_judged_in_order(void **state)
{
	struct fix *x = *state;
	struct answer a, b, c, d;

	put(x, (struct gt_put){ .name = "f", .etag = "1", .if_match = "0" }, &a);
	assert_string_equal(a.slug, "etag_mismatch");
	assert_int_equal(a.code, ESTALE);
	put(x, (struct gt_put){ .name = "f", .etag = "1", .if_none_match = true }, &a);
	put(x, (struct gt_put){ .name = "f", .etag = "2", .if_match = "1" }, &b);
	put(x, (struct gt_put){ .name = "f", .etag = "3", .if_match = "1" }, &c);
	put(x, (struct gt_put){ .name = "f", .etag = "4", .if_none_match = true }, &d);
	assert_int_equal(x->n_jobs, 1); /* the others wait for the first */
	fix_store_answer(x, NULL);
	assert_int_equal(a.result, GT_PUT_CREATED);
	assert_int_equal(b.calls, 0);
	fix_store_answer(x, NULL);
	assert_int_equal(b.result, GT_PUT_CHANGED);
	assert_string_equal(b.slug, "");
	assert_string_equal(c.slug, "etag_mismatch");
	assert_string_equal(d.slug, "etag_mismatch");
	assert_int_equal(x->n_jobs, 0);
}

static void a_dry_run_changes_nothing(void **state)
{
	struct fix *x = *state;
	struct answer a;

	put(x, (struct gt_put){ .name = "f", .etag = "1", .dry_run = true }, &a);
	assert_int_equal(a.result, GT_PUT_CREATED);
	assert_false(a.has_view);
	assert_int_equal(x->n_jobs, 0);
	fix_put(x, "f", fix_spec(), "1");
	put(x, (struct gt_put){ .name = "f", .etag = "2", .dry_run = true }, &a);
	assert_int_equal(a.result, GT_PUT_CHANGED);
	assert_true(a.has_view);
	assert_int_equal(x->n_jobs, 0);
	assert_int_equal(fix_view(x, "f").row->revision, 1);
}

static void a_refusal_of_the_store_leaves_all_as_it_was(void **state)
{
	struct fix *x = *state;
	const struct gt_err full = { .code = ENOSPC, .slug = "storage_full", .text = "full" };
	struct answer a;

	put(x, (struct gt_put){ .name = "f", .etag = "1", .spec = spec_of_model("m") }, &a);
	fix_store_answer(x, &full);
	assert_string_equal(a.slug, "storage_full");
	assert_int_equal(gt_control_functions_count(x->c), 0);
	assert_null(gt_control_model(x->c, "m"));
	fix_put(x, "f", fix_spec(), "1");
	gt_control_delete(x->c, "f", NULL, false, delete_keep, &a);
	fix_store_answer(x, &full);
	assert_string_equal(a.slug, "storage_full");
	assert_int_equal(gt_control_functions_count(x->c), 1);
}

static void a_model_has_one_owner(void **state)
{
	struct fix *x = *state;
	struct answer a, b;

	put(x, (struct gt_put){ .name = "f", .etag = "1", .spec = spec_of_model("m") }, &a);
	put(x, (struct gt_put){ .name = "g", .etag = "1", .spec = spec_of_model("m") }, &b);
	assert_string_equal(b.slug, "model_taken"); /* though the first is not yet durable */
	assert_string_equal(b.path, "serves.openai[0]");
	fix_store_answer(x, NULL);
	assert_string_equal(gt_control_model(x->c, "m"), "f");
	put(x, (struct gt_put){ .name = "f", .etag = "2", .spec = spec_of_model("other") }, &a);
	fix_store_answer(x, NULL);
	assert_null(gt_control_model(x->c, "m"));
	put(x, (struct gt_put){ .name = "g", .etag = "1", .spec = spec_of_model("m") }, &b);
	fix_store_answer(x, NULL);
	assert_string_equal(gt_control_model(x->c, "m"), "g");
	gt_control_delete(x->c, "g", NULL, false, delete_keep, &b);
	fix_store_answer(x, NULL);
	assert_null(gt_control_model(x->c, "m"));
}

static void deletion_frees_the_name_and_drains(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];
	struct answer a = { 0 };

	gt_control_delete(x->c, "f", NULL, false, delete_keep, &a);
	assert_string_equal(a.slug, "function_not_found");
	fix_put(x, "f", fix_spec(), "1");
	fix_start(x, "f", id);
	gt_control_delete(x->c, "f", "2", false, delete_keep, &a);
	assert_string_equal(a.slug, "etag_mismatch");
	gt_control_delete(x->c, "f", "1", false, delete_keep, &a);
	fix_store_answer(x, NULL);
	assert_int_equal(a.code, 0);
	assert_int_equal(x->n_gone, 1);
	assert_int_equal(gt_control_function(x->c, "f", &(struct gt_function_view){ 0 }, NULL),
			 -ENOENT);
	assert_int_equal(x->n_orders, 1); /* a call is in flight */
	fix_put(x, "f", fix_spec(), "9");
	assert_int_equal(fix_view(x, "f").row->revision, 1);
	assert_int_equal(fix_view(x, "f").state, GT_FUNCTION_IDLE);
	fix_pass(x, 30000);
	assert_int_equal(x->order.want, GT_WANT_STOP);
	assert_string_equal(x->order.replica, id);
	fix_report(x, id, GT_REPLICA_STOPPED);
	assert_string_equal(x->forgot, id);
}

static void an_idle_function_is_deleted_without_delay(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];
	struct answer a = { 0 };

	fix_put(x, "f", fix_spec(), "1");
	fix_start(x, "f", id);
	fix_demand(x, "f", 0, 0);
	gt_control_delete(x->c, "f", NULL, false, delete_keep, &a);
	fix_store_answer(x, NULL);
	assert_int_equal(x->order.want, GT_WANT_STOP);
	assert_int_equal(x->order.grace_ms, 30000);
}

static void force_kills(void **state)
{
	struct fix *x = *state;
	char id[GT_REPLICA_ID_SIZE];
	struct answer a = { 0 };

	fix_put(x, "f", fix_spec(), "1");
	fix_start(x, "f", id);
	gt_control_delete(x->c, "f", NULL, true, delete_keep, &a);
	fix_store_answer(x, NULL);
	assert_int_equal(x->order.want, GT_WANT_STOP);
	assert_int_equal(x->order.grace_ms, 0);
}

static void waiting_changes_are_bounded(void **state)
{
	struct fix *x = *state;
	struct answer a, refused;

	put(x, (struct gt_put){ .name = "f", .etag = "0" }, &a);
	for (int i = 1; i < 64; i++)
		put(x, (struct gt_put){ .name = "f", .etag = "0" }, &a);
	put(x, (struct gt_put){ .name = "f", .etag = "0" }, &refused);
	assert_string_equal(refused.slug, "unavailable");
	put(x, (struct gt_put){ .name = "g", .etag = "0" }, &a); /* another one is not concerned */
	assert_int_equal(x->n_jobs, 2);
}

struct again {
	struct fix *x;
	struct answer first, second;
};

static void put_again(const struct gt_err *err, enum gt_put_result result,
		      const struct gt_function_view *view, void *arg)
{
	struct again *again = arg;

	put_keep(err, result, view, &again->first);
	put(again->x, (struct gt_put){ .name = "f", .etag = "1" }, &again->second);
}

static void an_answer_may_ask_for_the_next_change(void **state)
{
	struct fix *x = *state;
	struct again again = { .x = x };
	const struct gt_put p = { .name = "f", .etag = "1", .spec_json = "1", .spec = fix_spec() };

	gt_control_put(x->c, &p, put_again, &again);
	fix_store_answer(x, NULL);
	assert_int_equal(again.first.result, GT_PUT_CREATED);
	assert_int_equal(again.second.calls, 1);
	assert_int_equal(again.second.result, GT_PUT_UNCHANGED);
}

struct listing {
	char names[512];
	unsigned n, stop_at;
};

static bool list_keep(const struct gt_function_view *v, void *arg)
{
	struct listing *l = arg;
	size_t len = strlen(l->names);

	snprintf(l->names + len, sizeof(l->names) - len, "%s ", v->row->name);
	return ++l->n != l->stop_at;
}

static void lists_by_name_after_and_prefix(void **state)
{
	struct fix *x = *state;
	static const char *const names[] = { "b", "ab", "a", "c-1", "abc", "ac", "c" };
	struct listing l = { 0 };

	for (size_t i = 0; i < GT_LEN(names); i++)
		fix_put(x, names[i], fix_spec(), "1");
	gt_control_functions(x->c, "", "", list_keep, &l);
	assert_string_equal(l.names, "a ab abc ac b c c-1 ");
	l = (struct listing){ .stop_at = 2 };
	gt_control_functions(x->c, "ab", "", list_keep, &l);
	assert_string_equal(l.names, "abc ac ");
	l = (struct listing){ 0 };
	gt_control_functions(x->c, "", "ab", list_keep, &l);
	assert_string_equal(l.names, "ab abc ");
	l = (struct listing){ 0 };
	gt_control_functions(x->c, "zz", "", list_keep, &l);
	assert_string_equal(l.names, "");
}

static bool count_one(const struct gt_function_view *v, void *arg)
{
	*(size_t *)arg += v->row->revision;
	return true;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEASURED false
#else
#define MEASURED true
#endif

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * GT_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void ten_thousand_functions_at_zero(void **state)
{
	struct fix *x = *state;
	size_t before = mallinfo2().uordblks, seen = 0;
	/* The members of the specification of tests/bench/control/memory.c. */
	char text[200] =
		"{\"image\":\"registry.example/team/app:1\",\"command\":[\"/app/"
		"server\",\"--port\",\"8000\"],"
		"\"port\":8000,\"env\":{\"SOME\":\"value\"},\"resources\":{\"memory\":\"512MiB\"},"
		"\"scale\":{\"max\":1000}}";
	static const char *const command[] = { "/app/server", "--port", "8000" };

	for (int i = 0; i < 10000; i++) {
		char name[GT_NAME_MAX + 1];
		struct gt_function_row row = {
			.name = name, .revision = 1, .etag = "a", .spec_json = text
		};
		struct gt_spec *spec = fix_spec();

		spec->image = gt_strdup("registry.example/team/app:1");
		spec->command = gt_alloc_array(4, sizeof(char *));
		for (; spec->n_command < 3; spec->n_command++)
			spec->command[spec->n_command] = gt_strdup(command[spec->n_command]);
		spec->env = gt_alloc(sizeof(*spec->env));
		spec->env[0].name = gt_strdup("SOME");
		spec->env[0].value = gt_strdup("value");
		spec->n_env = 1;
		snprintf(name, sizeof(name), "function-%d", (i * 7919) % 10000);
		gt_control_load(x->c, &row, spec);
	}
	size_t bytes = (mallinfo2().uordblks - before) / 10000;
	uint64_t start_ns = cpu_ns();

	gt_control_functions(x->c, "", "", count_one, &seen);
	uint64_t took_ms = (cpu_ns() - start_ns) / GT_NS_PER_MS;

	assert_int_equal(seen, 10000);
	print_message("%zu bytes a function at zero, listed in %llu ms\n", bytes,
		      (unsigned long long)took_ms);
	if (MEASURED) {
		assert_true(bytes <= 1024);
		assert_true(took_ms <= 50);
	}
	assert_true(gt_control_due_ns(x->c) == UINT64_MAX); /* and none has a timer */
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
	const struct CMUnitTest tests[] = {
		T(created_changed_unchanged),
		T(conditions_are_judged_in_order),
		T(a_dry_run_changes_nothing),
		T(a_refusal_of_the_store_leaves_all_as_it_was),
		T(a_model_has_one_owner),
		T(deletion_frees_the_name_and_drains),
		T(an_idle_function_is_deleted_without_delay),
		T(force_kills),
		T(waiting_changes_are_bounded),
		T(an_answer_may_ask_for_the_next_change),
		T(lists_by_name_after_and_prefix),
		T(ten_thousand_functions_at_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
