/* logs_serve.c - GET /link/v1/logs: history first, then what comes, with no gap between: both are
 * read on the loop thread, and nothing is written in the middle of a handler. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/units.h>
#include <gantry/wire/wire.h>

#include "agent_impl.h"
#include "images.h"
#include "log_query.h"

#define IMAGE_ASK_MAX 4096

struct reader {
	struct log_follower follower;
	struct log_query query;
	struct logs *logs;
	struct gt_stream *stream;
	bool broken; /* the client is too slow or gone */
};

/* ---- the question ---- */

static int number(const struct gt_request *req, const char *name, uint64_t max, uint64_t *ret,
		  struct gt_err *err)
{
	const char *text = gt_request_query(req, name);

	if (text && gt_parse_u64(text, max, ret) < 0)
		return gt_err_set(err, EINVAL, "bad_parameter", "%s must be a number up to %llu",
				  name, (unsigned long long)max);
	return 0;
}

static int read_numbers(const struct gt_request *req, struct log_query *q, struct gt_err *err)
{
	uint64_t revision = UINT64_MAX, tail = GT_LIST_DEFAULT, follow = 0;
	int r = number(req, "tail", GT_LOG_TAIL_MAX, &tail, err);

	if (r == 0)
		r = number(req, "revision", UINT32_MAX, &revision, err);
	if (r == 0)
		r = number(req, "after", UINT64_MAX, &q->after, err);
	if (r == 0)
		r = number(req, "since_ms", UINT64_MAX, &q->since_ms, err);
	if (r == 0)
		r = number(req, "until_ms", UINT64_MAX, &q->until_ms, err);
	if (r == 0 && gt_request_query(req, "follow") && gt_request_query(req, "follow")[0])
		r = number(req, "follow", 1, &follow, err);
	else if (gt_request_query(req, "follow"))
		follow = 1;
	q->tail = (size_t)tail;
	q->follow = follow != 0;
	q->revision = revision == UINT64_MAX ? -1 : (int64_t)revision;
	return r;
}

static int read_query(const struct gt_request *req, struct log_query *q, struct gt_err *err)
{
	static const char *const known[] = { "function", "replica",  "revision", "stream",
					     "tail",     "follow",   "after",    "since_ms",
					     "until_ms", "contains", NULL };
	static const char id_alphabet[] =
		"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	const char *function = gt_request_query(req, "function");
	const char *replica = gt_request_query(req, "replica");
	const char *stream = gt_request_query(req, "stream");
	const char *contains = gt_request_query(req, "contains");
	int r = gt_request_query_check(req, known, err);

	if (r < 0)
		return r;
	/* Both become parts of a path. */
	if (!function || !gt_name_ok(function))
		return gt_err_set(err, EINVAL, "bad_parameter", "function must name a function");
	if (replica &&
	    (strlen(replica) != GT_ULID_LEN || strspn(replica, id_alphabet) != GT_ULID_LEN))
		return gt_err_set(err, EINVAL, "bad_parameter", "replica must be a replica's id");
	if (contains && !gt_task_id_ok(contains))
		return gt_err_set(err, EINVAL, "bad_parameter", "contains must be a call's id");
	gt_strcopy(q->contains, sizeof(q->contains), contains ? contains : "");
	if (stream && !gt_streq(stream, "stdout") && !gt_streq(stream, "stderr"))
		return gt_err_set(err, EINVAL, "bad_parameter", "stream must be stdout or stderr");
	gt_strcopy(q->function, sizeof(q->function), function);
	gt_strcopy(q->replica, sizeof(q->replica), replica ? replica : "");
	q->stream = !stream ? -1 : gt_streq(stream, "stdout") ? LOG_STDOUT : LOG_STDERR;
	return read_numbers(req, q, err);
}

/* ---- the answer ---- */

static void write_line(const struct log_line *line, void *arg)
{
	struct reader *rd = arg;
	char time[GT_TIME_TEXT];
	gt_auto(buf) struct gt_buf out = { 0 };
	struct gt_json j;

	if (rd->broken)
		return;
	gt_buf_init(&out, 0);
	gt_time_text(line->wall_ms, time);
	gt_json_begin(&j, &out);
	gt_json_object(&j, NULL);
	gt_json_u64(&j, "seq", line->seq);
	gt_json_str(&j, "ts", time);
	gt_json_str(&j, "function", line->function);
	gt_json_str(&j, "replica", line->replica);
	gt_json_u64(&j, "revision", line->revision);
	gt_json_str(&j, "stream", line->stream == LOG_STDOUT ? "stdout" : "stderr");
	gt_json_strn(&j, "line", line->text, line->len);
	gt_json_close(&j, '}');
	gt_buf_addc(&out, '\n');
	rd->broken = gt_stream_write(rd->stream, out.data, out.len) < 0;
}

static void reader_end(struct reader *rd)
{
	gt_stream_end(rd->stream);
	free(rd);
}

static void on_line(const struct log_line *line, void *arg)
{
	struct reader *rd = arg;

	if (!gt_log_query_wants(&rd->query, line))
		return;
	write_line(line, rd);
	if (rd->broken) {
		gt_logs_unfollow(rd->logs, &rd->follower);
		reader_end(rd);
	}
}

static void on_close(void *arg)
{
	struct reader *rd = arg;

	gt_logs_unfollow(rd->logs, &rd->follower);
	free(rd);
}

static void get_logs(struct gt_request *req, void *app)
{
	struct agent *a = app;
	struct log_query q = { .after = 0 };
	struct gt_err err = { 0 };
	struct reader *rd;

	if (read_query(req, &q, &err) < 0) {
		gt_agent_refuse(req, &err, app);
		return;
	}
	gt_logs_catch_up(a->logs, q.function);
	rd = gt_alloc(sizeof(*rd));
	rd->query = q;
	rd->logs = a->logs;
	rd->stream = gt_request_stream(req, 200, "application/x-ndjson");
	gt_log_query_run(a->logs, &q, write_line, rd);
	if (!q.follow || rd->broken) {
		reader_end(rd);
		return;
	}
	rd->follower.on_line = on_line;
	rd->follower.arg = rd;
	gt_logs_follow(a->logs, &rd->follower);
	gt_stream_on_close(rd->stream, on_close, rd);
}

void gt_agent_refuse(struct gt_request *req, const struct gt_err *err, void *app)
{
	struct gt_problem problem = {
		.kind = gt_problem_of(err),
		.detail = err->text,
		.path = err->path[0] ? err->path : NULL,
		.request_id = gt_request_id(req),
		.retry_after_s = -1,
	};
	struct gt_buf body;

	(void)app;
	gt_buf_init(&body, 0);
	gt_problem_write(&problem, &body);
	gt_request_reply(req, problem.kind->status, "application/problem+json", &body);
	gt_buf_fini(&body);
}

const struct gt_http_route gt_agent_routes[] = {
	{ GT_GET, "/link/v1/logs", GT_ROLE_LINK, 0, get_logs, "link_logs",
	  "Lines that replicas of this node printed" },
	{ GT_GET, "/link/v1/images", GT_ROLE_LINK, 0, gt_images_list, "link_images",
	  "List images" },
	{ GT_POST, "/link/v1/images/resolve", GT_ROLE_LINK, IMAGE_ASK_MAX, gt_images_resolve,
	  "link_resolve", "What a reference stands for now" },
	{ GT_POST, "/link/v1/images/pull", GT_ROLE_LINK, IMAGE_ASK_MAX, gt_images_pull, "link_pull",
	  "Get an image" },
	{ GT_POST, "/link/v1/images/gc", GT_ROLE_LINK, 0, gt_images_collect, "link_collect",
	  "Remove images that nobody uses" },
	{ GT_DELETE, "/link/v1/images/{digest}", GT_ROLE_LINK, 0, gt_images_remove, "link_remove",
	  "Remove an image" },
	{ GT_POST, "/link/v1/gpus/{gpu}/clear", GT_ROLE_LINK, 0, gt_agent_gpus_clear, "link_clear",
	  "A GPU is well again" },
	{ GT_POST, "/link/v1/gpu/estimate", GT_ROLE_LINK, 2 * GT_SPEC_BYTES_MAX, gt_estimate_serve,
	  "link_estimate", "What a model needs on each GPU" },
	{ GT_GET, "/link/v1/bundles/{digest}", GT_ROLE_LINK, 0, gt_bundle_get, "link_bundle",
	  "How far an upload came" },
	{ GT_PUT, "/link/v1/bundles/{digest}", GT_ROLE_LINK, GT_BUNDLE_PIECE_MAX, gt_bundle_put,
	  "link_upload", "A piece of an upload" },
	{ GT_POST, "/link/v1/reconnect", GT_ROLE_LINK, 0, gt_desired_reconnect, "link_reconnect",
	  "Another control leads" },
};
const size_t gt_agent_routes_n = GT_LEN(gt_agent_routes);
