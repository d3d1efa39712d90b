/* api/functions.c - reading functions and their revisions. */
#include <string.h>

#include <gantry/base/units.h>

#include "op.h"

#define WAIT_MAX_MS 600000

/* ---- one ------------------------------------------------------------------------------------ */

void gt_api_get_function(struct gt_request *req, void *app)
{
	static const char *const known[] = { "effective", "wait", "until", NULL };
	struct gt_api *api = app;
	const char *until = gt_request_query(req, "until");
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_function_view v;
	struct gt_err err = { 0 };
	struct gt_json j;
	uint64_t wait_ms = 0;
	bool effective = false;

	if (!gt_api_query(req, known) || !gt_api_flag(req, "effective", &effective) ||
	    !gt_api_duration(req, "wait", WAIT_MAX_MS, &wait_ms))
		return;
	if (until && !gt_streq(until, "ready") && !gt_streq(until, "idle")) {
		gt_err_set(&err, EINVAL, "bad_parameter", "until=%.40s: use ready or idle", until);
		gt_err_path(&err, "until");
		gt_api_fail(req, &err);
		return;
	}
	if (!gt_api_function(api, req, &v))
		return;
	if (until || gt_request_query(req, "wait")) {
		gt_api_poll_start(api, req, v.row->name,
				  gt_streq(until, "idle") ? GT_FUNCTION_IDLE : GT_FUNCTION_READY,
				  wait_ms, effective);
		return;
	}
	gt_json_begin(&j, &body);
	gt_view_function(&j, &v, effective, NULL);
	gt_view_etag_header(req, v.row->etag);
	gt_api_reply(req, 200, &body);
}

/* ---- list ----------------------------------------------------------------------------------- */

struct page {
	struct gt_json json;
	struct gt_buf body;
	uint64_t left;
	bool more;
	char last[GT_NAME_MAX + 1];
};

static bool add_item(const struct gt_function_view *v, void *arg)
{
	struct page *p = arg;

	if (p->left == 0) {
		p->more = true;
		return false;
	}
	p->left--;
	gt_view_function(&p->json, v, false, NULL);
	gt_strcopy(p->last, sizeof(p->last), v->row->name);
	return !p->body.failed;
}

static bool add_line(const struct gt_function_view *v, void *arg)
{
	struct page *p = arg;

	gt_json_begin(&p->json, &p->body);
	gt_view_function(&p->json, v, false, NULL);
	gt_buf_addc(&p->body, '\n');
	return !p->body.failed;
}

static void list_lines(struct gt_api *api, struct gt_request *req, const char *after,
		       const char *prefix)
{
	struct page p = { 0 };
	struct gt_err err = { 0 };

	gt_buf_init(&p.body, GT_API_LIST_MAX);
	gt_control_functions(api->config.control, after, prefix, add_line, &p);
	if (p.body.failed) {
		gt_err_set(&err, ENOBUFS, "internal", "the list is too large; ask for pages");
		gt_api_fail(req, &err);
	} else {
		gt_request_reply(req, 200, GT_MEDIA_NDJSON, &p.body);
	}
	gt_buf_fini(&p.body);
}

static void list_page(struct gt_api *api, struct gt_request *req, const char *after,
		      const char *prefix, uint64_t limit)
{
	static const char *const keep[] = { "limit", "prefix", NULL };
	struct page p = { .left = limit };

	gt_buf_init(&p.body, GT_API_LIST_MAX);
	gt_json_begin(&p.json, &p.body);
	gt_json_object(&p.json, NULL);
	gt_json_array(&p.json, "items");
	gt_control_functions(api->config.control, after, prefix, add_item, &p);
	gt_json_close(&p.json, ']');
	gt_json_str(&p.json, "next_cursor", p.more ? p.last : NULL);
	gt_json_close(&p.json, '}');
	if (p.more)
		gt_api_link_next(req, keep, p.last);
	gt_api_reply(req, 200, &p.body);
	gt_buf_fini(&p.body);
}

void gt_api_list_functions(struct gt_request *req, void *app)
{
	static const char *const known[] = { "limit", "cursor", "prefix", NULL };
	const char *cursor = gt_request_query(req, "cursor");
	const char *prefix = gt_request_query(req, "prefix");
	struct gt_err err = { 0 };
	uint64_t limit = GT_LIST_DEFAULT;

	if (!gt_api_query(req, known) || !gt_api_number(req, "limit", 1, GT_LIST_MAX, &limit))
		return;
	if (cursor && *cursor && !gt_name_ok(cursor)) {
		gt_err_set(&err, EINVAL, "bad_parameter",
			   "cursor: use the next_cursor of the page before");
		gt_err_path(&err, "cursor");
		gt_api_fail(req, &err);
		return;
	}
	cursor = cursor ? cursor : "";
	prefix = prefix ? prefix : "";
	if (gt_api_accepts(req, GT_MEDIA_NDJSON))
		list_lines(app, req, cursor, prefix);
	else
		list_page(app, req, cursor, prefix, limit);
}

/* ---- revisions ------------------------------------------------------------------------------ */

static void reply_revisions(struct gt_request *req, const struct gt_function_row *rows, size_t n)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	gt_api_list_begin(&j, &body);
	for (size_t i = 0; i < n; i++)
		gt_view_revision(&j, &rows[i]);
	gt_api_list_reply(req, &j, &body);
}

static void reply_revision(struct gt_op *op, const struct gt_function_row *rows, size_t n)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_err err = { 0 };
	struct gt_json j;
	size_t i = 0;

	while (i < n && rows[i].revision != op->revision)
		i++;
	if (i == n) {
		gt_err_set(&err, ENOENT, "not_found",
			   "function %s has no revision %u; the last %d are kept", op->function,
			   op->revision, GT_REVISIONS_KEPT);
		gt_api_fail(op->req, &err);
		return;
	}
	gt_json_begin(&j, &body);
	gt_view_revision(&j, &rows[i]);
	gt_api_reply(op->req, 200, &body);
}

static void on_revisions(const struct gt_err *err, const struct gt_function_row *rows, size_t n,
			 void *arg)
{
	struct gt_op *op = arg;

	if (op->req && err)
		gt_api_fail(op->req, err);
	else if (op->req && op->revision)
		reply_revision(op, rows, n);
	else if (op->req)
		reply_revisions(op->req, rows, n);
	op->req = NULL;
	gt_op_free(op);
}

static void revisions_ask(struct gt_api *api, struct gt_request *req, uint32_t revision)
{
	struct gt_function_view v;
	struct gt_op *op;

	if (!gt_api_query(req, (const char *const[]){ NULL }) || !gt_api_function(api, req, &v))
		return;
	op = gt_op_new(api, req);
	op->revision = revision;
	gt_control_revisions(api->config.control, op->function, on_revisions, op);
}

void gt_api_list_revisions(struct gt_request *req, void *app)
{
	revisions_ask(app, req, 0);
}

void gt_api_get_revision(struct gt_request *req, void *app)
{
	const char *text = gt_request_param(req, "revision");
	struct gt_err err = { 0 };
	uint64_t n;

	if (gt_parse_u64(text, UINT32_MAX, &n) < 0 || n == 0) {
		gt_err_set(&err, EINVAL, "bad_parameter",
			   "revision: \"%.20s\" is not a number from 1 on", text);
		gt_err_path(&err, "revision");
		gt_api_fail(req, &err);
		return;
	}
	revisions_ask(app, req, (uint32_t)n);
}
