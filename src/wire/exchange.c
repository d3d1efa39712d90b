/* exchange.c - durable calls between gateways and control: one line of JSON, and bodies as bytes.
 */
#include <gantry/wire/wire.h>

#include <string.h>

#include "doc.h"
#include "fields.h"

/* Who sends may be newer: what is not known is passed over. */
#define ROWS(array, type) \
	.rows = (array), .n = GT_LEN(array), .size = sizeof(struct type), .open = true
#define AT(type, member) .offset = offsetof(struct type, member)
#define LIST(type, member) \
	.offset = offsetof(struct type, member), .count_offset = offsetof(struct type, n_##member)
#define NUMBER(type, member)                                              \
	{                                                                 \
#member, GT_F_U64, 0, AT(type, member), .max = UINT64_MAX \
	}
#define FUNCTION(type)                                                              \
	{                                                                           \
		"function", GT_F_CHARS, GT_F_NEEDED, AT(type, function),            \
			.max = GT_NAME_MAX, .ok = gt_name_ok, .wanted = NAME_WANTED \
	}
#define BODY(type)                                                               \
	{                                                                        \
		"body", GT_F_U64, 0, AT(type, body.len), .max = GT_TASK_BODY_MAX \
	}
#define NAME_WANTED             "no name: lower-case letters, digits and inner hyphens, 63 at most"
#define CHARS_MAX(type, member) .max = sizeof(((struct type *)0)->member) - 1
#define DETAIL_MAX              1000
#define HEAD_MAX                (8 * GT_MIB)

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "lengths are read as uint64_t");

/* What both ends keep in a struct gt_task_op, as one flat document. */
struct exchange {
	char gateway[GT_NAME_MAX + 1];
	uint64_t session, epoch;
	bool full, alone;
	struct held {
		uint64_t seq;
	} * held;
	size_t n_held;
	struct gt_task_want *wants;
	size_t n_wants;
	struct gt_task_start *starts;
	size_t n_starts;
	struct gt_task_result *results;
	size_t n_results;
	struct gt_task *tasks;
	size_t n_tasks;
};

static const struct gt_field held_rows[] = { NUMBER(held, seq) };
static const struct gt_fields held_fields = { ROWS(held_rows, held) };

static const struct gt_field want_rows[] = {
	FUNCTION(gt_task_want),
	{ "n", GT_F_U32, 0, AT(gt_task_want, n), .max = GT_TASK_HELD_MAX },
	{ "held", GT_F_U32, 0, AT(gt_task_want, held), .max = UINT32_MAX },
	{ "ended", GT_F_U32, 0, AT(gt_task_want, ended), .max = UINT32_MAX },
	NUMBER(gt_task_want, queued),
	NUMBER(gt_task_want, seen),
};
static const struct gt_fields want_fields = { ROWS(want_rows, gt_task_want) };

static const struct gt_field start_rows[] = {
	NUMBER(gt_task_start, seq),
	{ "id", GT_F_CHARS, GT_F_NEEDED, AT(gt_task_start, id), .max = GT_TASK_ID_MAX,
	  .ok = gt_task_id_ok, .wanted = "no id of a call" },
	{ "attempt", GT_F_U32, 0, AT(gt_task_start, attempt), .max = UINT32_MAX },
	{ "replica", GT_F_CHARS, 0, AT(gt_task_start, replica), CHARS_MAX(gt_task_start, replica) },
	{ "revision", GT_F_U32, 0, AT(gt_task_start, revision), .max = UINT32_MAX },
	NUMBER(gt_task_start, started_ms),
};
static const struct gt_fields start_fields = { ROWS(start_rows, gt_task_start) };

static const struct gt_field result_rows[] = {
	NUMBER(gt_task_result, seq),
	{ "attempt", GT_F_U32, 0, AT(gt_task_result, attempt), .max = UINT32_MAX },
	{ "tries", GT_F_U32, 0, AT(gt_task_result, tries), .max = UINT32_MAX },
	FUNCTION(gt_task_result),
	{ "status", GT_F_INT, 0, AT(gt_task_result, status), .max = 999 },
	{ "slug", GT_F_CHARS, 0, AT(gt_task_result, slug), CHARS_MAX(gt_task_result, slug) },
	{ "detail", GT_F_STR, GT_F_CUT, AT(gt_task_result, detail), .max = DETAIL_MAX },
	{ "type", GT_F_STR, 0, AT(gt_task_result, content_type), .max = GT_TASK_TYPE_MAX },
	{ "replica", GT_F_CHARS, 0, AT(gt_task_result, replica),
	  CHARS_MAX(gt_task_result, replica) },
	{ "revision", GT_F_U32, 0, AT(gt_task_result, revision), .max = UINT32_MAX },
	NUMBER(gt_task_result, started_ms),
	NUMBER(gt_task_result, ended_ms),
	NUMBER(gt_task_result, wait_ms),
	NUMBER(gt_task_result, start_ms),
	BODY(gt_task_result),
};
static const struct gt_fields result_fields = { ROWS(result_rows, gt_task_result) };

static const struct gt_field lease_rows[] = {
	NUMBER(gt_task, seq),
	{ "id", GT_F_CHARS, GT_F_NEEDED, AT(gt_task, id), .max = GT_TASK_ID_MAX,
	  .ok = gt_task_id_ok, .wanted = "no id of a call" },
	FUNCTION(gt_task),
	{ "attempt", GT_F_U32, 0, AT(gt_task, attempt), .max = UINT32_MAX },
	{ "tries", GT_F_U32, 0, AT(gt_task, tries), .max = UINT32_MAX },
	{ "method", GT_F_CHARS, GT_F_NEEDED, AT(gt_task, method), .max = GT_TASK_METHOD_MAX,
	  .ok = gt_task_method_ok, .wanted = "no method of a call" },
	{ "path", GT_F_STR, GT_F_NEEDED, AT(gt_task, path), .min = 1, .max = GT_TASK_PATH_MAX },
	{ "type", GT_F_STR, 0, AT(gt_task, content_type), .max = GT_TASK_TYPE_MAX },
	{ "priority", GT_F_U32, 0, AT(gt_task, priority), .max = GT_TASK_CLASSES - 1 },
	NUMBER(gt_task, deadline_ms),
	NUMBER(gt_task, left_ms),
	BODY(gt_task),
};
static const struct gt_fields lease_fields = { ROWS(lease_rows, gt_task) };

static const struct gt_field up_rows[] = {
	{ "gateway", GT_F_CHARS, GT_F_NEEDED, AT(exchange, gateway), .max = GT_NAME_MAX,
	  .ok = gt_name_ok, .wanted = NAME_WANTED },
	NUMBER(exchange, session),
	NUMBER(exchange, epoch),
	{ "full", GT_F_BOOL, 0, AT(exchange, full) },
	{ "alone", GT_F_BOOL, 0, AT(exchange, alone) },
	{ "held", GT_F_LIST, 0, LIST(exchange, held), .max = 2 * GT_TASK_HELD_MAX,
	  .sub = &held_fields },
	{ "wants", GT_F_LIST, 0, LIST(exchange, wants), .max = GT_TASK_HELD_MAX,
	  .sub = &want_fields },
	{ "starts", GT_F_LIST, 0, LIST(exchange, starts), .max = GT_TASK_HELD_MAX,
	  .sub = &start_fields },
	{ "results", GT_F_LIST, 0, LIST(exchange, results), .max = GT_TASK_HELD_MAX,
	  .sub = &result_fields },
};
static const struct gt_fields up_fields = { ROWS(up_rows, exchange) };

static const struct gt_field down_rows[] = {
	{ "leases", GT_F_LIST, 0, LIST(exchange, tasks), .max = GT_TASK_HELD_MAX,
	  .sub = &lease_fields },
	{ "wants", GT_F_LIST, 0, LIST(exchange, wants), .max = GT_TASK_HELD_MAX,
	  .sub = &want_fields },
};
static const struct gt_fields down_fields = { ROWS(down_rows, exchange) };

/* ---- reading -------------------------------------------------------------------------------- */

struct rest {
	const char *at;
	size_t left;
};

/* The lengths were told beside; each body is cut from what follows. */
static int body_take(struct rest *rest, struct gt_blob *body, struct gt_err *err)
{
	size_t len = body->len;

	body->data = NULL;
	if (len > rest->left) {
		body->len = 0;
		return gt_err_set(err, EINVAL, "malformed_request",
				  "a body of %zu bytes is cut short after %zu", len, rest->left);
	}
	if (len == 0)
		return 0;
	body->data = gt_alloc(len + 1);
	memcpy(body->data, rest->at, len);
	rest->at += len;
	rest->left -= len;
	return 0;
}

static void op_take(struct gt_task_op *op, struct exchange *x)
{
	op->sessions = gt_alloc(sizeof(*op->sessions));
	op->n_sessions = 1;
	op->sessions[0].session = x->session;
	gt_strcopy(op->sessions[0].gateway, sizeof(op->sessions[0].gateway), x->gateway);
	op->full = x->full;
	op->alone = x->alone;
	op->held = (uint64_t *)x->held; /* a struct of one number */
	op->n_held = x->n_held;
	op->wants = x->wants;
	op->n_wants = x->n_wants;
	op->results = x->results;
	op->n_results = x->n_results;
	op->starts = x->starts;
	op->n_starts = x->n_starts;
	op->tasks = x->tasks;
	op->n_tasks = x->n_tasks;
}

static int bodies_take(struct gt_task_op *op, struct rest *rest, struct gt_err *err)
{
	int r = 0;

	for (size_t i = 0; i < op->n_results; i++)
		if (r < 0)
			op->results[i].body = (struct gt_blob){ 0 };
		else
			r = body_take(rest, &op->results[i].body, err);
	for (size_t i = 0; i < op->n_tasks; i++)
		if (r < 0)
			op->tasks[i].body = (struct gt_blob){ 0 };
		else
			r = body_take(rest, &op->tasks[i].body, err);
	if (r == 0 && rest->left)
		r = gt_err_set(err, EINVAL, "malformed_request", "%zu bytes follow the last body",
			       rest->left);
	return r;
}

/* On failure *x holds what was read before the mistake. */
static int head_read(const struct gt_fields *fields, const char *text, size_t len,
		     struct exchange *x, struct gt_err *err)
{
	gt_auto(doc) json_t *js = NULL;
	int r;

	if (len <= HEAD_MAX && gt_fields_plain(fields, text, len, x))
		return 0;
	gt_auto(task_op) struct gt_task_op *part = gt_task_op_new(GT_TASK_EXCHANGE);

	op_take(part, x);
	*x = (struct exchange){ 0 };
	r = gt_doc_parse(text, len, HEAD_MAX, &js, err);
	return r < 0 ? r : gt_fields_read(fields, js, NULL, x, err);
}

static int read_any(const struct gt_fields *fields, const char *text, size_t len,
		    struct gt_task_op **ret, uint64_t *epoch, struct gt_err *err)
{
	gt_auto(task_op) struct gt_task_op *op = gt_task_op_new(GT_TASK_EXCHANGE);
	const char *end = len ? memchr(text, '\n', len) : NULL;
	struct rest rest = { 0 };
	struct exchange x = { 0 };
	int r;

	if (!end)
		return gt_err_set(err, EINVAL, "malformed_request",
				  "an exchange begins with a line of JSON");
	rest = (struct rest){ end + 1, len - (size_t)(end + 1 - text) };
	r = head_read(fields, text, (size_t)(end - text), &x, err);
	op_take(op, &x); /* also what was read before a mistake */
	if (r < 0)
		rest.left = 0;
	if (bodies_take(op, &rest, r < 0 ? NULL : err) < 0 && r == 0)
		r = -EINVAL;
	if (r < 0)
		return r;
	*epoch = x.epoch;
	*ret = gt_steal(&op);
	return 0;
}

int gt_exchange_read(const char *text, size_t len, struct gt_task_op **ret, uint64_t *epoch,
		     struct gt_err *err)
{
	return read_any(&up_fields, text, len, ret, epoch, err);
}

int gt_leases_read(const char *text, size_t len, struct gt_task_op **ret, struct gt_err *err)
{
	uint64_t epoch;

	return read_any(&down_fields, text, len, ret, &epoch, err);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void write_any(const struct gt_fields *fields, const struct gt_task_op *op, uint64_t epoch,
		      struct gt_buf *out)
{
	struct exchange x = {
		.epoch = epoch,
		.full = op->full,
		.alone = op->alone,
		.held = (struct held *)op->held,
		.n_held = op->n_held,
		.wants = op->wants,
		.n_wants = op->n_wants,
		.starts = op->starts,
		.n_starts = op->n_starts,
		.results = op->results,
		.n_results = op->n_results,
		.tasks = op->tasks,
		.n_tasks = op->n_tasks,
	};
	struct gt_json j;

	if (op->n_sessions) {
		x.session = op->sessions[0].session;
		gt_strcopy(x.gateway, sizeof(x.gateway), op->sessions[0].gateway);
	}
	gt_json_begin(&j, out);
	gt_fields_write(fields, &j, NULL, &x, NULL, false);
	gt_buf_addc(out, '\n');
}

void gt_exchange_write(const struct gt_task_op *op, uint64_t epoch, struct gt_buf *out)
{
	write_any(&up_fields, op, epoch, out);
	for (size_t i = 0; i < op->n_results; i++)
		gt_buf_add(out, op->results[i].body.data, op->results[i].body.len);
}

void gt_leases_write(const struct gt_task_op *op, struct gt_buf *out)
{
	write_any(&down_fields, op, 0, out);
	for (size_t i = 0; i < op->n_tasks; i++)
		gt_buf_add(out, op->tasks[i].body.data, op->tasks[i].body.len);
}
