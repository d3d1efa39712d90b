/* test_member.c - machines that join with a token and are removed, and what others are told. */
#include "fixture.h"

static struct gt_err answer;
static size_t answers;

static void on_member(struct gt_member_op *op, const struct gt_err *err, void *arg GT_UNUSED)
{
	answers++;
	answer = err ? *err : (struct gt_err){ 0 };
	gt_member_op_free(op);
}

static void on_node(const struct gt_err *err, void *arg GT_UNUSED)
{
	answers++;
	answer = err ? *err : (struct gt_err){ 0 };
}

/* The store has done what it was asked for. */
static void store_done(struct fix *x, const struct gt_err *err)
{
	struct gt_member_op *op = x->member;
	size_t before = answers;

	assert_non_null(op);
	x->member = NULL;
	if (op->verb == GT_MEMBER_JOIN && !op->repeated)
		op->member.since_ms = op->now_ms;
	op->done(op, err, op->arg);
	assert_int_equal(answers, before + 1);
}

static int join(struct fix *x, const char *node)
{
	struct gt_member_op *op = gt_member_op_new(GT_MEMBER_JOIN);
	struct gt_err err = { 0 };

	gt_strcopy(op->member.node, sizeof(op->member.node), node);
	int r = gt_control_member_do(x->c, op, on_member, NULL, &err);

	if (r < 0)
		gt_member_op_free(op);
	return r;
}

static void list(const struct gt_member *m, void *arg)
{
	char *out = arg;

	assert_true(m->since_ms > 0);
	snprintf(out + strlen(out), 100 - strlen(out), "%s ", m->node);
}

static void assert_members(struct fix *x, const char *wanted)
{
	char names[100] = "";

	gt_control_members(x->c, list, names);
	assert_string_equal(names, wanted);
}

struct seen {
	const char *name;
	struct gt_node_view v;
};

static bool see(const struct gt_node_view *v, void *arg)
{
	struct seen *s = arg;

	if (strcmp(v->name, s->name) == 0)
		s->v = *v;
	return true;
}

static const char *state_of(struct fix *x, const char *node)
{
	struct seen s = { .name = node };

	gt_control_nodes(x->c, see, &s);
	return s.v.name ? gt_node_state_name(s.v.state) : "none";
}

static void up(struct fix *x, const char *node)
{
	struct gt_report r = {
		.full = true, .epoch = FIX_EPOCH, .cpu_milli = 8000, .memory_bytes = 64 * GT_GIB
	};

	gt_strcopy(r.node, sizeof(r.node), node);
	gt_control_node_up(x->c, node);
	assert_int_equal(gt_control_report(x->c, &r, NULL), 0);
}

static void who_joined_is_a_member_once_it_is_durable(void **state)
{
	struct fix *x = *state;
	struct gt_member m;

	assert_int_equal(join(x, "far"), 0);
	assert_false(x->member->taken);
	assert_false(gt_control_member(x->c, "far", NULL));
	assert_int_equal(x->n_members, 0);
	store_done(x, NULL);
	assert_int_equal(answer.code, 0);
	assert_true(gt_control_member(x->c, "far", &m));
	assert_string_equal(m.node, "far");
	assert_int_equal(x->n_members, 1);
	assert_string_equal(x->event.type, "node.joined");
	assert_members(x, "far ");
	assert_string_equal(state_of(x, "far"), "joining");
	up(x, "far");
	assert_string_equal(state_of(x, "far"), "ready");
}

static void a_join_that_is_refused_changes_nothing(void **state)
{
	struct fix *x = *state;
	struct gt_err bad = { 0 };

	gt_err_set(&bad, EACCES, "bad_join_token", "no");
	assert_int_equal(join(x, "far"), 0);
	store_done(x, &bad);
	assert_string_equal(answer.slug, "bad_join_token");
	assert_members(x, "");
	assert_string_equal(state_of(x, "far"), "none");
	assert_int_equal(x->n_members, 0);
}

/* One that is here by the local socket, or was spoken of: its name is not for strangers. */
static void a_known_name_is_taken(void **state)
{
	struct fix *x = *state;

	assert_int_equal(join(x, "n1"), 0);
	assert_true(x->member->taken);
	store_done(x, &(struct gt_err){ .code = EEXIST });
	assert_members(x, "");
}

static void joins_that_wait_are_bounded(void **state)
{
	struct fix *x = *state;
	struct gt_member_op *ops[16];

	for (size_t i = 0; i < GT_LEN(ops); i++) {
		assert_int_equal(join(x, "far"), 0);
		ops[i] = gt_steal(&x->member);
	}
	assert_int_equal(join(x, "far"), -EAGAIN);
	x->member = ops[0];
	store_done(x, &(struct gt_err){ .code = EACCES });
	assert_int_equal(join(x, "far"), 0);
	store_done(x, NULL);
	for (size_t i = 1; i < GT_LEN(ops); i++) {
		x->member = ops[i];
		store_done(x, &(struct gt_err){ .code = EEXIST });
	}
	assert_members(x, "far ");
}

static void join_now(struct fix *x, const char *node)
{
	assert_int_equal(join(x, node), 0);
	store_done(x, NULL);
	up(x, node);
}

static void a_member_that_is_removed_has_no_right_from_then_on(void **state)
{
	struct fix *x = *state;

	join_now(x, "far");
	gt_control_node_delete(x->c, "far", false, on_node, NULL);
	assert_string_equal(answer.slug, "conflict"); /* connected, and not forced */
	assert_non_null(strstr(answer.text, "force"));
	gt_control_node_delete(x->c, "far", true, on_node, NULL);
	assert_int_equal(x->member->verb, GT_MEMBER_LEAVE);
	assert_members(x, "far "); /* until it is durable */
	store_done(x, NULL);
	assert_int_equal(answer.code, 0);
	assert_members(x, "");
	assert_int_equal(x->n_members, 2);
	assert_string_equal(state_of(x, "far"), "none");
	gt_control_node_down(x->c, "far"); /* its watch is closed after it */
	assert_int_equal(gt_control_check(x->c, NULL), 0);
}

static void a_removed_member_s_replicas_start_elsewhere(void **state)
{
	struct fix *x = *state;

	gt_control_node_set(x->c, "n1", GT_DUTY_CORDONED, 0, on_node, NULL);
	fix_store_answer(x, NULL);
	join_now(x, "far");
	fix_put(x, "f", fix_spec(), "a");
	fix_demand(x, "f", 1, 0);
	assert_string_equal(x->node, "far");
	gt_control_node_set(x->c, "n1", GT_DUTY_ALL, 0, on_node, NULL);
	fix_store_answer(x, NULL);
	gt_control_node_delete(x->c, "far", true, on_node, NULL);
	store_done(x, NULL);
	fix_pass(x, 100);
	assert_string_equal(x->node, "n1");
	assert_int_equal(gt_control_check(x->c, NULL), 0);
}

static void one_that_is_away_is_removed_without_force(void **state)
{
	struct fix *x = *state;

	join_now(x, "far");
	gt_control_node_down(x->c, "far");
	gt_control_node_delete(x->c, "far", false, on_node, NULL);
	store_done(x, NULL);
	assert_int_equal(answer.code, 0);
	assert_members(x, "");
}

static void force_does_not_remove_the_daemon_s_own_node(void **state)
{
	struct fix *x = *state;

	gt_control_node_delete(x->c, "n1", true, on_node, NULL);
	assert_string_equal(answer.slug, "conflict");
	assert_string_equal(state_of(x, "n1"), "ready");
}

static void members_are_there_after_a_restart(void **state)
{
	struct fix *x = *state;

	gt_control_load_member(x->c, &(struct gt_member){ .node = "far", .since_ms = 5 });
	assert_members(x, "far ");
	assert_string_equal(state_of(x, "far"), "joining");
	fix_pass(x, 11000);
	assert_string_equal(state_of(x, "far"), "lost");
	up(x, "far");
	assert_string_equal(state_of(x, "far"), "ready");
}

/* What it runs must be known before anything is started a second time, but not for long: it may
 * be away for good. */
static void decisions_wait_a_moment_for_members(void **state)
{
	struct fix *x = *state;

	gt_control_load_member(x->c, &(struct gt_member){ .node = "far", .since_ms = 5 });
	gt_control_load_member(x->c, &(struct gt_member){ .node = "gone", .since_ms = 5 });
	up(x, "n1");
	assert_false(gt_control_settled(x->c));
	up(x, "far");
	assert_false(gt_control_settled(x->c));
	fix_pass(x, 1499);
	assert_false(gt_control_settled(x->c));
	fix_pass(x, 2);
	assert_true(gt_control_settled(x->c));
}

static void decisions_begin_when_all_members_are_back(void **state)
{
	struct fix *x = *state;

	gt_control_load_member(x->c, &(struct gt_member){ .node = "far", .since_ms = 5 });
	up(x, "n1");
	assert_false(gt_control_settled(x->c));
	up(x, "far");
	assert_true(gt_control_settled(x->c));
}

int main(void)
{
#define t(f) cmocka_unit_test_setup_teardown(f, fix_setup, fix_teardown)
#define e(f) cmocka_unit_test_setup_teardown(f, fix_setup_empty, fix_teardown)
	const struct CMUnitTest tests[] = {
		t(who_joined_is_a_member_once_it_is_durable),
		t(a_join_that_is_refused_changes_nothing),
		t(a_known_name_is_taken),
		t(joins_that_wait_are_bounded),
		t(a_member_that_is_removed_has_no_right_from_then_on),
		t(a_removed_member_s_replicas_start_elsewhere),
		t(one_that_is_away_is_removed_without_force),
		t(force_does_not_remove_the_daemon_s_own_node),
		e(members_are_there_after_a_restart),
		e(decisions_wait_a_moment_for_members),
		e(decisions_begin_when_all_members_are_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
