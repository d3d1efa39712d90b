/* test_tasks.c - posts about durable calls: what two of them that are under way may tell, and what
 * is told again. Control is this file: it takes the place of the HTTP client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include <gantry/http/client.h>

#include "../../../src/gateway/tasks.h"
#include "script.h"

#define AT_ONCE "nothing" /* no such function: its calls end as they begin */
#define MOST    512       /* results in one post */
#define LEAST   128       /* in one beside another */
#define OK_HI   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

struct gt_http_call {
	struct gt_http_out out;
	struct gt_task_op *op; /* what it told; NULL: it is not about calls */
};

static struct gt_http_call *posts[16];
static size_t n_posts; /* under way, the oldest first */
static uint64_t last_seq;

/* ---- in place of the client ---- */

int gt_http_client_new(struct gt_loop *loop GT_UNUSED, struct gt_http_client **ret GT_UNUSED,
		       struct gt_err *err)
{
	return gt_err_set(err, ENOSYS, "internal", "no client here");
}

void gt_http_client_free(struct gt_http_client *c GT_UNUSED)
{
}

int gt_http_start(struct gt_http_client *c GT_UNUSED, const struct gt_http_out *out,
		  struct gt_http_call **ret, struct gt_err *err)
{
	struct gt_http_call *call = gt_alloc(sizeof(*call));
	uint64_t epoch;

	call->out = *out;
	if (strstr(out->url, "/calls")) {
		assert_int_equal(gt_exchange_read(out->body, out->body_len, &call->op, &epoch, err),
				 0);
		assert_true(n_posts < GT_LEN(posts));
		posts[n_posts++] = call;
	}
	*ret = call;
	return 0;
}

static struct gt_http_call *take(size_t i)
{
	struct gt_http_call *call = posts[i];

	assert_true(i < n_posts);
	n_posts--;
	memmove(&posts[i], &posts[i + 1], (n_posts - i) * sizeof(struct gt_http_call *));
	return call;
}

void gt_http_cancel(struct gt_http_call *call)
{
	if (!call)
		return;
	for (size_t i = 0; i < n_posts; i++)
		if (posts[i] == call)
			take(i);
	gt_task_op_free(call->op);
	free(call);
}

/* ---- control ---- */

static struct gt_task_op *answer(void)
{
	return gt_task_op_new(GT_TASK_EXCHANGE);
}

static void lease(struct gt_task_op *op, const char *function, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct gt_task *t = gt_task_op_add(op);

		t->seq = ++last_seq;
		t->attempt = 1;
		snprintf(t->id, sizeof(t->id), "call-%llu", (unsigned long long)t->seq);
		gt_strcopy(t->function, sizeof(t->function), function);
		gt_strcopy(t->method, sizeof(t->method), "GET");
		t->path = gt_strdup("/x");
		t->left_ms = 3600000;
	}
}

static void want(struct gt_task_op *op, const char *function, uint64_t queued)
{
	op->wants = gt_alloc(sizeof(*op->wants));
	op->n_wants = 1;
	op->wants[0] = (struct gt_task_want){ .n = 256, .queued = queued, .seen = 1 };
	gt_strcopy(op->wants[0].function, GT_NAME_MAX, function);
}

static void finish(struct script *s, size_t i, int status, struct gt_task_op *op)
{
	struct gt_http_call *call = take(i);
	gt_auto(buf) struct gt_buf body = { 0 };

	if (op)
		gt_leases_write(op, &body);
	gt_task_op_free(op);
	call->out.on_done(status, gt_buf_str(&body), body.len, NULL, call->out.arg);
	gt_http_cancel(call);
	script_run(s);
}

static void taken(struct script *s, size_t i)
{
	finish(s, i, 200, answer());
}

static void refuse(struct script *s, size_t i)
{
	finish(s, i, 503, NULL);
}

/* The i-th post under way: so many results, and is for more asked? */
static void told(size_t i, size_t results, bool asks)
{
	assert_true(i < n_posts);
	assert_int_equal(posts[i]->op->n_results, results);
	assert_int_equal(posts[i]->op->n_wants, asks);
}

static int setup(void **state)
{
	struct script *s = script_open(1);

	n_posts = 0;
	last_seq = 0;
	s->gw->http = (struct gt_http_client *)s; /* never looked into */
	gt_tasks_work(s->gw, AT_ONCE, 1);
	script_run(s);
	*state = s;
	assert_int_equal(n_posts, 1);
	told(0, 0, true);
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(script_close(*state), 0);
	assert_int_equal(n_posts, 0);
	return 0;
}

/* So many end at once, and as many as that are there still. */
static void leased(struct script *s, size_t i, unsigned n)
{
	struct gt_task_op *op = answer();

	lease(op, AT_ONCE, n);
	want(op, AT_ONCE, 1000);
	finish(s, i, 200, op);
}

/* ---- the tests ---- */

static void many_results_do_not_wait_for_an_answer(void **state)
{
	struct script *s = *state;

	leased(s, 0, MOST + LEAST);
	assert_int_equal(n_posts, 2);
	told(0, MOST, true);
	told(1, LEAST, false); /* one of them asks: both answers could fill the window */
	taken(s, 1);
	assert_int_equal(n_posts, 1);
}

static void few_results_go_with_the_next_post(void **state)
{
	struct script *s = *state;

	leased(s, 0, MOST + LEAST - 1);
	assert_int_equal(n_posts, 1);
	taken(s, 0);
	told(0, LEAST - 1, true);
}

static void who_has_got_leases_asks_on_beside_results(void **state)
{
	struct script *s = *state;

	leased(s, 0, MOST + 200);
	told(1, 200, false);
	leased(s, 0, 10);
	assert_int_equal(n_posts, 2);
	told(0, 200, false);
	told(1, 10, true);
	assert_int_equal(posts[1]->op->wants[0].held, 0);
	leased(s, 1, 256); /* they wait for one of the two to be answered */
	assert_int_equal(n_posts, 2);
	told(1, 256, true);
}

static void how_many_were_answered_is_told_once(void **state)
{
	struct script *s = *state;
	struct gt_task_op *op = answer();
	uint32_t ended = 0;

	s->route.concurrency = 8;
	script_tell(s, 1);
	gt_tasks_work(s->gw, "echo", 1);
	lease(op, "echo", 3);
	lease(op, AT_ONCE, 2); /* these are answered by nobody */
	want(op, "echo", 100);
	finish(s, 0, 200, op);
	for (size_t i = 0; i < 3; i++)
		script_puts(script_up(s, SCRIPT_UP, i), OK_HI);
	for (int round = 0; round < 3; round++) {
		assert_int_equal(n_posts, 1);
		for (size_t i = 0; i < posts[0]->op->n_wants; i++)
			ended += posts[0]->op->wants[i].ended;
		taken(s, 0);
	}
	assert_int_equal(ended, 3);
}

static void what_was_not_taken_is_told_with_everything_else(void **state)
{
	struct script *s = *state;

	leased(s, 0, MOST + 200);
	refuse(s, 0);
	script_wait(s, 5000);
	assert_int_equal(n_posts, 1); /* it may be at the store still */
	told(0, 200, false);
	taken(s, 0);
	assert_int_equal(n_posts, 1);
	told(0, MOST, true);
	assert_true(posts[0]->op->full);
	assert_int_equal(posts[0]->op->n_held, MOST);
	refuse(s, 0);
	script_wait(s, 99);
	assert_int_equal(n_posts, 0);
	script_wait(s, 2);
	assert_true(posts[0]->op->full); /* still */
	told(0, MOST, true);
	taken(s, 0);
	assert_false(posts[0]->op->full);
	told(0, 0, true);
}

static void nothing_goes_beside_a_post_of_everything(void **state)
{
	struct script *s = *state;

	leased(s, 0, 2 * MOST + 144);
	refuse(s, 0);
	taken(s, 0);
	assert_int_equal(n_posts, 1);
	told(0, MOST, true);
	assert_true(posts[0]->op->full);
	taken(s, 0);
	assert_int_equal(n_posts, 1);
	told(0, 144, true);
}

/* Control must not hear of the start of a call after its end. */
static void nothing_goes_beside_a_post_of_starts(void **state)
{
	struct script *s = *state;
	struct gt_task_op *op = answer();
	uint64_t first;

	lease(op, "echo", 1); /* it has the slot */
	want(op, AT_ONCE, 0);
	first = last_seq;
	finish(s, 0, 200, op);
	assert_int_equal(n_posts, 0);
	script_wait(s, 49);
	assert_int_equal(n_posts, 0);
	script_wait(s, 2);
	told(0, 0, false);
	assert_int_equal(posts[0]->op->n_starts, 1);
	assert_int_equal(posts[0]->op->starts[0].seq, first);
	script_puts(script_up(s, SCRIPT_UP, 0), OK_HI);
	gt_tasks_work(s->gw, AT_ONCE, 2);
	script_run(s);
	assert_int_equal(n_posts, 1);
	taken(s, 0);
	told(0, 1, true);
	assert_int_equal(posts[0]->op->n_starts, 0);
}

static void a_start_that_is_due_is_not_kept_waiting(void **state)
{
	struct script *s = *state;
	struct gt_task_op *op = answer();

	lease(op, "echo", 1);
	lease(op, AT_ONCE, 2 * MOST + 144);
	want(op, AT_ONCE, 1000);
	finish(s, 0, 200, op);
	told(0, MOST, true);
	told(1, MOST, false);
	script_wait(s, 51);
	taken(s, 1);
	assert_int_equal(n_posts, 1); /* 144 are left, and wait for the start to be told */
	taken(s, 0);
	assert_int_equal(n_posts, 1);
	told(0, 144, true);
	assert_int_equal(posts[0]->op->n_starts, 1);
	gt_tasks_cancel(s->gw, 1, 1);
	script_run(s);
}

int main(void)
{
#define t(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(many_results_do_not_wait_for_an_answer),
		t(few_results_go_with_the_next_post),
		t(who_has_got_leases_asks_on_beside_results),
		t(how_many_were_answered_is_told_once),
		t(what_was_not_taken_is_told_with_everything_else),
		t(nothing_goes_beside_a_post_of_everything),
		t(nothing_goes_beside_a_post_of_starts),
		t(a_start_that_is_due_is_not_kept_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
