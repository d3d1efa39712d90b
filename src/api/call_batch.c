/* api/call_batch.c - many durable calls in one request, a JSON object a line. Lines are taken while
 * they come: what is held in memory is a few of them, however long the body is. Each line has its
 * answer, in order; a line that is refused takes no other along. */
#include <stdlib.h>
#include <string.h>

#include "calls.h"

#define GROUP_MAX   256 /* lines in one operation of the store, and of bytes: */
#define GROUP_BYTES (256 * GT_KIB)
#define OPEN_MAX    4 /* operations that are under way; then the client waits */
#define LINE_MAX    (GT_TASK_BODY_MAX + 64 * GT_KIB)
#define ANSWER_MAX  (64 * GT_MIB)

struct batch {
	struct gt_api *api;
	struct gt_request *req; /* NULL: the client is gone */
	char id[GT_ULID_LEN + 1], function[GT_NAME_MAX + 1];
	struct gt_buf line;       /* the one that is not complete */
	struct gt_task_op *group; /* not given to the store yet */
	size_t group_bytes;
	uint64_t *numbers; /* of the group's lines */
	uint64_t lines, accepted, refused;
	unsigned open;
	bool whole; /* the body is here */
	struct gt_buf answer;
	struct gt_err failure; /* the first of the store's */
};

struct group { /* given to the store */
	struct gt_owed owed;
	struct batch *batch;
	uint64_t *numbers;
};

static void batch_free(struct batch *b)
{
	gt_buf_fini(&b->line);
	gt_buf_fini(&b->answer);
	gt_task_op_free(b->group);
	free(b->numbers);
	free(b);
}

static void refuse_line(struct batch *b, uint64_t number, const struct gt_err *err)
{
	struct gt_json j;

	b->refused++;
	gt_json_begin(&j, &b->answer);
	gt_json_object(&j, NULL);
	gt_json_u64(&j, "line", number);
	gt_json_object(&j, "error");
	gt_json_str(&j, "code", err->slug);
	gt_json_str(&j, "detail", err->text);
	if (err->path[0])
		gt_json_str(&j, "path", err->path);
	gt_json_close(&j, '}');
	gt_json_close(&j, '}');
	gt_buf_addc(&b->answer, '\n');
}

static void answer_line(struct batch *b, uint64_t number, const struct gt_task *t)
{
	struct gt_err err = { 0 };
	struct gt_json j;

	if (t->taken == GT_TAKEN_MISMATCH) {
		gt_err_set(&err, EEXIST, "idempotency_mismatch",
			   "the id or key belongs to another request");
		refuse_line(b, number, &err);
		return;
	}
	b->accepted++;
	gt_json_begin(&j, &b->answer);
	gt_json_object(&j, NULL);
	gt_json_u64(&j, "line", number);
	gt_json_str(&j, "id", t->id);
	if (t->taken == GT_TAKEN_BEFORE)
		gt_json_bool(&j, "replayed", true);
	gt_json_close(&j, '}');
	gt_buf_addc(&b->answer, '\n');
}

/* Everything has its answer, and the client waits for it. */
static void finish(struct batch *b)
{
	struct gt_request *req = b->req;
	struct gt_json j;

	if (!b->whole || b->open || (b->group && b->group->n_tasks))
		return;
	gt_request_on_gone(req, NULL, NULL);
	if (!b->accepted && b->failure.code) {
		gt_api_fail(req, &b->failure);
		batch_free(b);
		return;
	}
	gt_json_begin(&j, &b->answer);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "batch", b->id);
	gt_json_u64(&j, "accepted", b->accepted);
	gt_json_u64(&j, "refused", b->refused);
	gt_json_close(&j, '}');
	gt_buf_addc(&b->answer, '\n');
	gt_request_reply(req, 202, GT_MEDIA_NDJSON, &b->answer);
	batch_free(b);
}

static void group_free(struct group *g)
{
	g->batch->open--;
	free(g->numbers);
	free(g);
}

static void group_drop(struct gt_owed *o)
{
	struct batch *b = ((struct group *)o)->batch;

	group_free((struct group *)o);
	if (!b->open) /* its client is gone already */
		batch_free(b);
}

static void on_accepted(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct group *g = arg;
	struct batch *b = g->batch;

	gt_api_owe_end(&g->owed);
	for (size_t i = 0; i < op->n_tasks && b->req; i++) {
		if (err)
			refuse_line(b, g->numbers[i], err);
		else
			answer_line(b, g->numbers[i], &op->tasks[i]);
	}
	if (err && !b->failure.code)
		b->failure = *err;
	group_free(g);
	gt_task_op_free(op);
	if (!b->req) { /* what was accepted stays so */
		if (!b->open)
			batch_free(b);
		return;
	}
	if (b->open < OPEN_MAX)
		gt_request_go_on(b->req);
	finish(b);
}

static void group_give(struct batch *b)
{
	struct gt_task_op *op = gt_steal(&b->group);
	struct group *g;
	struct gt_err err = { 0 };

	b->group_bytes = 0;
	if (!op)
		return;
	g = gt_alloc(sizeof(*g));
	g->batch = b;
	g->numbers = gt_steal(&b->numbers);
	b->open++;
	gt_api_owe(b->api, &g->owed, group_drop);
	if (gt_control_task(b->api->config.control, op, on_accepted, g, &err) == 0)
		return;
	for (size_t i = 0; i < op->n_tasks; i++)
		refuse_line(b, g->numbers[i], &err);
	b->failure = b->failure.code ? b->failure : err;
	gt_api_owe_end(&g->owed);
	group_free(g);
	gt_task_op_free(op);
}

static void line_take(struct batch *b, const char *text, size_t len)
{
	struct gt_err err = { 0 };
	struct gt_task task = { 0 };

	b->lines++;
	if (gt_task_line_read(text, len, &task, &err) < 0) {
		refuse_line(b, b->lines, &err);
		return;
	}
	task.named = task.id[0] != '\0';
	if (!task.named)
		gt_ulid(&gt_clock_system, &gt_rand_system, task.id);
	else
		free(gt_steal(&task.key));
	gt_strcopy(task.function, sizeof(task.function), b->function);
	gt_strcopy(task.batch, sizeof(task.batch), b->id);
	task.created_ms = gt_wall_ms(&gt_clock_system);
	task.deadline_ms = task.created_ms +
			   (task.deadline_ms ? task.deadline_ms : GT_TASK_DEADLINE_MS);
	if (task.named || task.key)
		gt_api_call_digest(&task, task.print);
	if (!b->group) {
		b->group = gt_task_op_new(GT_TASK_ACCEPT);
		b->numbers = gt_alloc_array(GROUP_MAX, sizeof(*b->numbers));
	}
	b->numbers[b->group->n_tasks] = b->lines;
	b->group_bytes += task.body.len;
	*gt_task_op_add(b->group) = task;
	if (b->group->n_tasks == GROUP_MAX || b->group_bytes >= GROUP_BYTES)
		group_give(b);
}

static int lines_take(struct batch *b, const char *data, size_t len, struct gt_err *err)
{
	const char *end;

	while ((end = memchr(data, '\n', len))) {
		size_t n = (size_t)(end - data);

		if (b->line.len) {
			if (gt_buf_add(&b->line, data, n) < 0)
				break;
			line_take(b, b->line.data, b->line.len);
			gt_buf_reset(&b->line);
		} else if (n) {
			line_take(b, data, n);
		}
		data += n + 1;
		len -= n + 1;
	}
	if (gt_buf_add(&b->line, data, len) < 0)
		return gt_err_set(err, EMSGSIZE, "body_too_large",
				  "line %llu is longer than %llu bytes",
				  (unsigned long long)b->lines + 1, (unsigned long long)LINE_MAX);
	if (b->lines > GT_TASK_BATCH_MAX)
		return gt_err_set(err, EMSGSIZE, "body_too_large",
				  "a batch has at most %d lines; %llu of it were accepted with "
				  "batch=%s, send the others in another one",
				  GT_TASK_BATCH_MAX, (unsigned long long)b->accepted, b->id);
	return 0;
}

static void on_gone(void *arg)
{
	struct batch *b = arg;

	if (b->whole) {
		struct gt_err err = { 0 };

		gt_err_set(&err, ECANCELED, "unavailable", "the client left");
		gt_api_fail(b->req, &err);
	}
	b->req = NULL;
	if (!b->open)
		batch_free(b);
}

/* 0, or why nothing of it can be taken. */
static int batch_begin(struct gt_request *req, struct gt_api *api, struct batch **ret,
		       struct gt_err *err)
{
	static const char *const known[] = { NULL };
	struct gt_function_view v;
	struct batch *b;
	int r = gt_request_query_check(req, known, err);

	if (r == 0)
		r = gt_control_function(api->config.control, gt_request_param(req, "function"), &v,
					err);
	if (r < 0)
		return r;
	b = gt_alloc(sizeof(*b));
	b->api = api;
	b->req = req;
	gt_strcopy(b->function, sizeof(b->function), v.row->name);
	gt_ulid(&gt_clock_system, &gt_rand_system, b->id);
	gt_buf_init(&b->line, LINE_MAX);
	gt_buf_init(&b->answer, ANSWER_MAX);
	gt_request_set_arg(req, b);
	gt_request_on_gone(req, on_gone, b);
	*ret = b;
	return 0;
}

int gt_api_batch_piece(struct gt_request *req, const char *data, size_t len, void *app,
		       struct gt_err *err)
{
	struct batch *b = gt_request_arg(req);
	int r = 0;

	if (gt_request_route(req)->handler != gt_api_create_batch)
		return 1;
	if (!b)
		r = batch_begin(req, app, &b, err);
	if (r == 0)
		r = lines_take(b, data, len, err);
	if (r < 0 && b) { /* what was given to the store ends by itself */
		gt_request_on_gone(req, NULL, NULL);
		b->req = NULL;
		if (!b->open)
			batch_free(b);
		return r;
	}
	if (r == 0 && b->open >= OPEN_MAX)
		gt_request_pause(req);
	return r;
}

void gt_api_create_batch(struct gt_request *req, void *app)
{
	struct batch *b = gt_request_arg(req);
	struct gt_err err = { 0 };

	if (!b && batch_begin(req, app, &b, &err) < 0) {
		gt_api_fail(req, &err);
		return;
	}
	b->whole = true;
	if (b->line.len)
		line_take(b, b->line.data, b->line.len);
	group_give(b);
	finish(b);
}
