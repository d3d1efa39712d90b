/* api/put.c - PUT and DELETE of a function: what changes the declared state. */
#include <string.h>
#include <strings.h>

#include <gantry/http/digest.h>

#include "op.h"
#include "pin.h"

/* ---- conditions ----------------------------------------------------------------------------- */

/* The next tag of an If-Match list, without its quotes; the bare form is taken too. */
static const char *tag_next(const char *s, char *out, size_t size)
{
	size_t len;

	s += strspn(s, ", \t");
	if (*s == '\0')
		return NULL;
	if (strncmp(s, "W/", 2) == 0)
		s += 2;
	if (*s == '"') {
		s++;
		len = strcspn(s, "\"");
	} else {
		len = strcspn(s, ", \t");
	}
	if (len < size)
		snprintf(out, size, "%.*s", (int)len, s);
	else
		gt_strcopy(out, size, "-"); /* cut short it could match */
	s += len;
	return *s == '"' ? s + 1 : s;
}

/* The tag to compare with in *tag ("" = no condition): of a list the one that matches, if any. */
static int condition_read(struct gt_api *api, struct gt_request *req, char tag[GT_ETAG_SIZE],
			  struct gt_err *err)
{
	const char *s = gt_request_header(req, "If-Match");
	struct gt_function_view v;
	char one[GT_ETAG_SIZE];
	bool exists;

	tag[0] = '\0';
	if (!s)
		return 0;
	exists = gt_control_function(api->config.control, gt_request_param(req, "function"), &v,
				     NULL) == 0;
	if (gt_streq(s, "*"))
		return exists ? 0
			      : gt_err_set(err, ESTALE, "etag_mismatch", "there is no function %s",
					   gt_request_param(req, "function"));
	while ((s = tag_next(s, one, sizeof(one)))) {
		if (tag[0] == '\0' || (exists && gt_streq(one, v.row->etag)))
			gt_strcopy(tag, GT_ETAG_SIZE, one);
	}
	if (tag[0] == '\0')
		return gt_err_set(err, EINVAL, "bad_parameter",
				  "If-Match: use the ETag of an earlier answer, in quotes");
	return 0;
}

static int create_only_read(struct gt_request *req, bool *ret, struct gt_err *err)
{
	const char *s = gt_request_header(req, "If-None-Match");

	*ret = s != NULL;
	if (!s || gt_streq(s, "*"))
		return 0;
	return gt_err_set(err, EINVAL, "bad_parameter", "If-None-Match: only * has a meaning here");
}

/* The gateway passes the answer on when it knows of all that control had told until now: whoever
 * has it finds the change in force. It never sees the header. */
static void say_routes(struct gt_op *op)
{
	gt_auto(free) char *told = gt_asprintf(
		"%llu.%llu", (unsigned long long)gt_control_epoch(op->api->config.control),
		(unsigned long long)gt_control_news(op->api->config.control));

	gt_request_header_set(op->req, "Gantry-Routes", told);
}

/* A refusal by control; the body of 412 says which tag is the current one. */
static void refuse_change(struct gt_op *op, const struct gt_err *err)
{
	struct gt_function_view v;
	bool stale = gt_streq(err->slug, "etag_mismatch");

	if (stale && gt_control_function(op->api->config.control, op->function, &v, NULL) == 0)
		gt_api_fail_etag(op->req, err, v.row->etag);
	else
		gt_api_fail(op->req, err);
}

/* ---- put ------------------------------------------------------------------------------------ */

static void write_result(struct gt_buf *out, const struct gt_op *op, enum gt_put_result result,
			 const struct gt_function_view *v)
{
	bool current = v && gt_streq(v->row->etag, op->etag);
	uint32_t revision = !v ? 1 : current ? v->row->revision : v->row->revision + 1;
	gt_auto(free) char *url = gt_asprintf("/f/%s/", op->function);
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "name", op->function);
	gt_json_u64(&j, "revision", revision);
	gt_json_str(&j, "etag", op->etag);
	gt_json_bool(&j, "created", result == GT_PUT_CREATED);
	gt_json_bool(&j, "changed", result == GT_PUT_CHANGED);
	gt_json_bool(&j, "unchanged", result == GT_PUT_UNCHANGED);
	gt_json_bool(&j, "dry_run", op->dry_run);
	gt_json_str(&j, "url", url);
	if (current)
		gt_json_raw(&j, "spec", v->row->spec_json);
	gt_json_close(&j, '}');
}

static void on_put(const struct gt_err *err, enum gt_put_result result,
		   const struct gt_function_view *view, void *arg)
{
	struct gt_op *op = arg;
	gt_auto(buf) struct gt_buf body = { 0 };
	bool created = result == GT_PUT_CREATED && !op->dry_run;

	if (op->req && err) {
		refuse_change(op, err);
	} else if (op->req) {
		write_result(&body, op, result, view);
		say_routes(op);
		gt_view_etag_header(op->req, op->etag);
		if (created)
			gt_request_header_set(op->req, "Location", gt_request_path(op->req));
		gt_api_reply(op->req, created ? 201 : 200, &body);
	}
	op->req = NULL;
	gt_op_free(op);
}

struct wish {
	struct gt_spec *spec;
	struct gt_buf text; /* canonical */
	char if_match[GT_ETAG_SIZE];
	bool create_only;
};

static int wish_read(struct gt_api *api, struct gt_request *req, struct wish *w, struct gt_err *err)
{
	const struct gt_buf *body = gt_request_body(req);
	const char *name = gt_request_param(req, "function");
	int r = 0;

	if (!gt_name_ok(name)) {
		gt_err_set(err, EINVAL, "bad_parameter",
			   "function: \"%.80s\" is not a name; use up to %d of a-z, 0-9 and -, "
			   "with no - at either end",
			   name, GT_NAME_MAX);
		return gt_err_path(err, "function");
	}
	r = gt_api_json_check(req, err);
	if (r == 0)
		r = create_only_read(req, &w->create_only, err);
	if (r == 0)
		r = gt_spec_read(body->data ? body->data : "", body->len, &w->spec, err);
	if (r == 0)
		r = condition_read(api, req, w->if_match, err);
	return r;
}

static void wish_fini(struct wish *w)
{
	gt_spec_free(w->spec);
	gt_buf_fini(&w->text);
}

static void put_wish(struct gt_api *api, struct gt_request *req, struct wish *w, bool dry_run)
{
	struct gt_put put = { .dry_run = dry_run };
	char digest[GT_SHA256_HEX_SIZE];
	struct gt_op *op = gt_op_new(api, req);

	gt_spec_write(w->spec, &w->text);
	op->dry_run = dry_run;
	gt_sha256_hex(w->text.data, w->text.len, digest);
	gt_strcopy(op->etag, sizeof(op->etag), digest);
	put.name = gt_request_param(req, "function");
	put.spec = gt_steal(&w->spec);
	put.spec_json = gt_buf_str(&w->text);
	put.etag = op->etag;
	put.if_match = w->if_match[0] ? w->if_match : NULL;
	put.if_none_match = w->create_only;
	gt_control_put(api->config.control, &put, on_put, op);
	wish_fini(w);
}

/* ---- what a node has to say first ---- */

struct waiting {
	struct gt_api *api;
	struct gt_request *req;
	struct wish wish;
	bool dry_run;
};

static void on_pinned(const struct gt_err *err, void *arg)
{
	struct waiting *x = arg;
	struct gt_err stale = { 0 };

	if (err)
		gt_api_fail(x->req, err);
	else if (condition_read(x->api, x->req, x->wish.if_match, &stale) < 0) /* it took a while */
		gt_api_fail(x->req, &stale);
	else
		put_wish(x->api, x->req, &x->wish, x->dry_run);
	wish_fini(&x->wish);
	free(x);
}

void gt_api_put_function(struct gt_request *req, void *app)
{
	static const char *const known[] = { "dry_run", NULL };
	struct gt_api *api = app;
	struct gt_err err = { 0 };
	struct wish w = { 0 };
	bool dry_run = false;

	if (!gt_api_query(req, known) || !gt_api_flag(req, "dry_run", &dry_run))
		return;
	if (wish_read(api, req, &w, &err) < 0) {
		wish_fini(&w);
		gt_api_fail(req, &err);
	} else if (gt_pin_needed(w.spec)) {
		struct waiting *x = gt_alloc(sizeof(*x));

		*x = (struct waiting){ api, req, w, dry_run };
		gt_pin(api, req, x->wish.spec, on_pinned, x);
	} else {
		put_wish(api, req, &w, dry_run);
	}
}

/* ---- delete --------------------------------------------------------------------------------- */

static void on_deleted(const struct gt_err *err, void *arg)
{
	struct gt_op *op = arg;

	if (op->req && err) {
		refuse_change(op, err);
	} else if (op->req) {
		say_routes(op);
		gt_api_reply_deleted(op->req, "name", op->function);
	}
	op->req = NULL;
	gt_op_free(op);
}

void gt_api_delete_function(struct gt_request *req, void *app)
{
	static const char *const known[] = { "force", NULL };
	struct gt_api *api = app;
	struct gt_function_view v;
	struct gt_err err = { 0 };
	char if_match[GT_ETAG_SIZE];
	bool force = false;

	if (!gt_api_query(req, known) || !gt_api_flag(req, "force", &force) ||
	    !gt_api_function(api, req, &v))
		return;
	if (condition_read(api, req, if_match, &err) < 0) {
		gt_api_fail(req, &err);
		return;
	}
	gt_control_delete(api->config.control, gt_request_param(req, "function"),
			  if_match[0] ? if_match : NULL, force, on_deleted, gt_op_new(api, req));
}
