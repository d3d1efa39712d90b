/* images_serve.c - images of this node over the agent's socket: listed, resolved, pulled, removed.
 * Long orders answer as a stream of lines, one JSON object each: {"progress":{...}} while it lasts,
 * then {"image":{...}} or {"error":{problem}}. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <gantry/base/log.h>
#include <gantry/wire/image.h>
#include <gantry/wire/value.h>
#include <gantry/wire/wire.h>

#include "agent_impl.h"
#include "images.h"

struct ask {
	struct images *images;
	struct ask *prev, *next;
	enum gt_image_op op;
	struct image_job *job;
	struct gt_request *req;   /* resolve */
	struct gt_stream *stream; /* pull */
};

/* ---- views ---- */

static void view(struct gt_json *j, const char *name, const struct images *im,
		 const struct gt_image_record *r, uint64_t used_ms)
{
	char time[GT_TIME_TEXT];
	uint64_t bytes = 0;

	gt_json_object(j, name);
	gt_json_str(j, "digest", r->digest);
	gt_json_str(j, "name", r->name ? r->name : "");
	gt_time_text(r->pulled_ms, time);
	gt_json_str(j, "pulled_at", time);
	if (used_ms) {
		gt_time_text(used_ms, time);
		gt_json_str(j, "used_at", time);
	}
	gt_json_u64(j, "layers", r->n_layers);
	for (size_t i = 0; i < r->n_layers; i++)
		bytes += gt_image_layer_bytes(im, r->layers[i].diff_id);
	gt_json_u64(j, "bytes", bytes);
	gt_json_bool(j, "in_use", gt_image_in_use(im, r));
	if (r->port)
		gt_json_u64(j, "port", r->port);
	gt_json_bool(j, "has_command", r->n_entrypoint + r->n_cmd > 0);
	gt_json_close(j, '}');
}

static void reply(struct gt_request *req, int status, struct gt_buf *body)
{
	gt_request_reply(req, status, "application/json", body);
}

void gt_images_list(struct gt_request *req, void *app)
{
	struct images *im = ((struct agent *)app)->images;
	gt_auto(buf) struct gt_buf body = { 0 };
	struct image *image, *next;
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_array(&j, "items");
	HASH_ITER (hh, im->images, image, next)
		view(&j, NULL, im, image->record, image->used_ms);
	gt_json_close(&j, ']');
	gt_json_close(&j, '}');
	reply(req, 200, &body);
}

/* ---- what is asked ---- */

static struct ask *ask_new(struct images *im, enum gt_image_op op)
{
	struct ask *k = gt_alloc(sizeof(*k));

	k->images = im;
	k->op = op;
	DL_APPEND(im->asks, k);
	return k;
}

static void ask_free(struct ask *k)
{
	DL_DELETE(k->images->asks, k);
	free(k);
}

static int refuse_draining(struct gt_err *err)
{
	return gt_err_set(err, ECANCELED, "unavailable", "the daemon is stopping");
}

/* {"image": "..."}: the reference, canonical. */
static int read_ref(struct gt_request *req, char out[GT_REF_TEXT_SIZE], struct gt_err *err)
{
	struct gt_buf *body = (struct gt_buf *)gt_request_body(req);
	gt_auto(value) struct gt_value *v = NULL;
	struct gt_ref ref;
	int r = gt_value_parse(gt_buf_str(body), body->len, &v, err);

	if (r == 0)
		r = gt_ref_parse(gt_value_str(v, "image", ""), &ref, err);
	if (r < 0)
		return r;
	gt_ref_format(&ref, out);
	return 0;
}

static void on_gone(void *arg)
{
	struct ask *k = arg;
	struct gt_err err = { 0 };

	gt_image_cancel(gt_steal(&k->job));
	if (k->req) {
		gt_err_set(&err, ECANCELED, "unavailable", "the client left");
		gt_agent_refuse(k->req, &err, NULL);
	}
	ask_free(k);
}

/* ---- resolve ---- */

static void on_resolved(struct gt_image_record *r, void *arg)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct ask *k = arg;
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "digest", r->digest);
	gt_json_u64(&j, "port", r->port);
	gt_json_bool(&j, "has_command", r->n_entrypoint + r->n_cmd > 0);
	gt_json_close(&j, '}');
	gt_request_on_gone(k->req, NULL, NULL);
	reply(k->req, 200, &body);
	ask_free(k);
}

static void on_unresolved(const struct gt_err *err, void *arg)
{
	struct ask *k = arg;

	gt_request_on_gone(k->req, NULL, NULL);
	gt_agent_refuse(k->req, err, NULL);
	ask_free(k);
}

void gt_images_resolve(struct gt_request *req, void *app)
{
	struct images *im = ((struct agent *)app)->images;
	struct image_want want = { .on_done = on_resolved, .on_failed = on_unresolved };
	char ref[GT_REF_TEXT_SIZE];
	struct gt_err err = { 0 };
	struct ask *k;

	if ((im->draining ? refuse_draining(&err) : read_ref(req, ref, &err)) < 0) {
		gt_agent_refuse(req, &err, app);
		return;
	}
	want.arg = k = ask_new(im, GT_IMAGE_RESOLVE);
	k->req = req;
	gt_request_on_gone(req, on_gone, k);
	k->job = gt_image_order(im, GT_IMAGE_RESOLVE, ref, NULL, &want);
}

/* ---- pull, import: a stream ---- */

static void send_line(struct ask *k, struct gt_buf *line)
{
	gt_buf_addc(line, '\n');
	gt_stream_write(k->stream, line->data, line->len); /* a slow reader misses progress */
}

static void on_progress(const struct gt_pull_progress *pull, void *arg)
{
	gt_auto(buf) struct gt_buf line = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &line);
	gt_json_object(&j, NULL);
	gt_pull_progress_write(&j, "progress", pull);
	gt_json_close(&j, '}');
	send_line(arg, &line);
}

static void on_pulled(struct gt_image_record *r, void *arg)
{
	gt_auto(buf) struct gt_buf line = { 0 };
	struct ask *k = arg;
	struct gt_json j;

	gt_json_begin(&j, &line);
	gt_json_object(&j, NULL);
	view(&j, "image", k->images, r, 0);
	gt_json_close(&j, '}');
	send_line(k, &line);
	gt_stream_end(k->stream);
	ask_free(k);
}

static void on_not_pulled(const struct gt_err *err, void *arg)
{
	const struct gt_problem problem = { .kind = gt_problem_of(err),
					    .detail = err->text,
					    .retry_after_s = -1 };
	gt_auto(buf) struct gt_buf line = { 0 };
	struct ask *k = arg;

	gt_buf_adds(&line, "{\"error\":");
	gt_problem_write(&problem, &line);
	gt_buf_addc(&line, '}');
	send_line(k, &line);
	gt_stream_end(k->stream);
	ask_free(k);
}

void gt_image_order_stream(struct gt_request *req, struct images *im, enum gt_image_op op,
			   const char *text, const char *file)
{
	struct ask *k = ask_new(im, op);
	const struct image_want want = { on_pulled, on_not_pulled, on_progress, k };

	k->stream = gt_request_stream(req, 200, "application/x-ndjson");
	gt_stream_on_close(k->stream, on_gone, k);
	k->job = gt_image_order(im, op, text, file, &want);
}

void gt_images_pull(struct gt_request *req, void *app)
{
	struct images *im = ((struct agent *)app)->images;
	char ref[GT_REF_TEXT_SIZE];
	struct gt_err err = { 0 };

	if ((im->draining ? refuse_draining(&err) : read_ref(req, ref, &err)) < 0)
		gt_agent_refuse(req, &err, app);
	else
		gt_image_order_stream(req, im, GT_IMAGE_PULL, ref, NULL);
}

/* ---- the end ---- */

/* An import goes on: it waits for nobody. */
void gt_images_drain(struct images *im)
{
	struct ask *k, *next;
	struct gt_err err = { 0 };

	im->draining = true;
	refuse_draining(&err);
	DL_FOREACH_SAFE (im->asks, k, next) {
		if (k->op == GT_IMAGE_IMPORT)
			continue;
		gt_image_cancel(gt_steal(&k->job));
		if (k->req)
			on_unresolved(&err, k);
		else
			on_not_pulled(&err, k);
	}
}

/* ---- removal ---- */

static void reply_collected(struct gt_request *req, const struct collected *c)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_u64(&j, "images", c->images);
	gt_json_u64(&j, "bytes", c->bytes);
	gt_json_close(&j, '}');
	reply(req, 200, &body);
}

void gt_images_remove(struct gt_request *req, void *app)
{
	struct images *im = ((struct agent *)app)->images;
	const char *digest = gt_request_param(req, "digest");
	struct collected c = { .images = 1 };
	struct image *image;
	struct gt_err err = { 0 };

	HASH_FIND_STR(im->images, digest, image);
	if (!image) {
		gt_err_set(&err, ENOENT, "not_found", "there is no image %s on this node", digest);
		gt_agent_refuse(req, &err, app);
		return;
	}
	if (gt_image_in_use(im, image->record)) {
		gt_err_set(&err, EBUSY, "conflict",
			   "image %s is in use by a replica; delete its function first", digest);
		gt_agent_refuse(req, &err, app);
		return;
	}
	c.bytes = gt_image_remove(im, image);
	gt_image_sweep(im);
	reply_collected(req, &c);
}

void gt_images_collect(struct gt_request *req, void *app)
{
	struct images *im = ((struct agent *)app)->images;
	const char *all = gt_request_query(req, "all");
	struct collected c = gt_image_collect(im, all && !gt_streq(all, "0"));

	reply_collected(req, &c);
}
