/* api/logs.c - what the replicas wrote. The agent keeps it; we pass it on, in the form that the
 * client asked for. Lines come as JSON objects, one a line. */
#include <string.h>
#include <time.h>

#include <gantry/base/units.h>
#include <gantry/wire/value.h>

#include "api_priv.h"

#define TAIL_DEFAULT   1000
#define HISTORY_MS_MAX 60000
#define STREAM_MAX     (64 * GT_MIB)         /* bytes that may wait for a slow reader */
#define LINE_MAX       (8 * GT_LOG_LINE_MAX) /* a line with every byte escaped */

struct proxy {
	struct gt_request *req;   /* until the agent has answered */
	struct gt_stream *stream; /* after it, when it said yes */
	struct gt_http_call *call;
	enum gt_log_form form;
	int status;
	struct gt_buf line; /* the unfinished one, or the body of a refusal */
};

static void proxy_free(struct proxy *p)
{
	gt_buf_fini(&p->line);
	free(p);
}

static void on_close(void *arg)
{
	struct proxy *p = arg;

	gt_http_cancel(p->call);
	proxy_free(p);
}

static void on_gone(void *arg)
{
	struct proxy *p = arg;
	struct gt_err err = { 0 };

	gt_err_set(&err, ECANCELED, "unavailable", "the client left");
	gt_api_fail(p->req, &err);
	on_close(p);
}

/* ---- the agent's answer --------------------------------------------------------------------- */

struct gt_stream *gt_log_stream_open(struct gt_request *req, enum gt_log_form form)
{
	static const char *const media[] = { [GT_LOG_NDJSON] = GT_MEDIA_NDJSON,
					     [GT_LOG_TEXT] = GT_MEDIA_TEXT,
					     [GT_LOG_SSE] = GT_MEDIA_SSE };
	struct gt_stream *stream;

	gt_request_header_set(req, "Cache-Control", "no-store");
	stream = gt_request_stream(req, 200, media[form]);
	gt_stream_limit(stream, STREAM_MAX);
	return stream;
}

static void on_head(int status, void *arg)
{
	struct proxy *p = arg;

	p->status = status;
	if (status != 200)
		return;
	gt_request_on_gone(p->req, NULL, NULL);
	p->stream = gt_log_stream_open(gt_steal(&p->req), p->form);
	gt_stream_on_close(p->stream, on_close, p);
}

void gt_log_line_write(enum gt_log_form form, const char *line, size_t len, struct gt_buf *out)
{
	gt_auto(value) struct gt_value *v = NULL;

	if (len == 0 || gt_value_parse(line, len, &v, NULL) < 0)
		return;
	if (form == GT_LOG_NDJSON) {
		gt_buf_add(out, line, len);
		gt_buf_addc(out, '\n');
		return;
	}
	if (form == GT_LOG_SSE) {
		gt_api_frame(out, true, gt_value_u64(v, "seq", 0), line, len);
		return;
	}
	gt_buf_adds(out, gt_value_str(v, "line", ""));
	gt_buf_addc(out, '\n');
}

/* Complete lines of data, translated; what is left waits in p->line. */
static void translate(struct proxy *p, const char *data, size_t len, struct gt_buf *out)
{
	const char *end;

	while ((end = memchr(data, '\n', len))) {
		size_t n = (size_t)(end - data);

		gt_buf_add(&p->line, data, n);
		if (!p->line.failed)
			gt_log_line_write(p->form, gt_buf_str(&p->line), p->line.len, out);
		gt_buf_reset(&p->line);
		p->line.failed = false; /* an absurd line is left out */
		data += n + 1;
		len -= n + 1;
	}
	gt_buf_add(&p->line, data, len);
}

static void on_data(const char *data, size_t len, void *arg)
{
	struct proxy *p = arg;
	gt_auto(buf) struct gt_buf out = { 0 };

	if (!p->stream) {
		gt_buf_add(&p->line, data, len); /* of a refusal */
		return;
	}
	if (p->form != GT_LOG_NDJSON) {
		translate(p, data, len, &out);
		data = gt_buf_str(&out);
		len = out.len;
	}
	if (gt_stream_write(p->stream, data, len) == 0)
		return;
	gt_stream_end(p->stream);
	on_close(p);
}

static void on_done(int status, const char *body GT_UNUSED, size_t len GT_UNUSED,
		    const struct gt_err *why, void *arg)
{
	struct proxy *p = arg;
	struct gt_err err = { 0 };

	if (p->stream) {
		gt_stream_end(p->stream);
	} else {
		gt_request_on_gone(p->req, NULL, NULL);
		gt_err_set(&err, EAGAIN, "unavailable",
			   "the node that keeps the logs does not answer: %s",
			   status ? "it refused" : why->text);
		if (status == 503)
			gt_err_set(&err, EAGAIN, "node_unreachable", "%s",
				   "the node that keeps the logs is not connected");
		else if (status == 404)
			gt_err_set(&err, ENOENT, "not_found", "there are no such logs");
		else if (status == 400)
			gt_err_set(&err, EINVAL, "bad_parameter", "the node refused the question");
		gt_api_fail(p->req, &err);
	}
	proxy_free(p);
}

/* ---- the question --------------------------------------------------------------------------- */

static bool fail_parameter(struct gt_request *req, const char *name, const char *want)
{
	struct gt_err err = { 0 };

	gt_err_set(&err, EINVAL, "bad_parameter", "%s=%.60s: use %s", name,
		   gt_request_query(req, name), want);
	gt_err_path(&err, "%s", name);
	gt_api_fail(req, &err);
	return false;
}

/* "10m" back from now, or a time in UTC. */
static bool since_read(struct gt_request *req, uint64_t *ret_ms)
{
	const char *s = gt_request_query(req, "since");
	uint64_t now = gt_wall_ms(&gt_clock_system), back;
	struct tm tm = { 0 };
	const char *end;

	if (!s)
		return true;
	if (gt_parse_duration_ms(s, &back) == 0) {
		*ret_ms = back < now ? now - back : 0;
		return true;
	}
	end = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	if (end && *end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	if (!end || !gt_streq(end, "Z"))
		return fail_parameter(req, "since", "10m or 2026-11-23T18:00:00Z");
	*ret_ms = (uint64_t)timegm(&tm) * 1000;
	return true;
}

static bool replica_read(struct gt_request *req, struct gt_buf *url)
{
	const char *s = gt_request_query(req, "replica");

	if (!s)
		return true;
	if (strlen(s) != GT_ULID_LEN ||
	    strspn(s, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") != GT_ULID_LEN)
		return fail_parameter(req, "replica", "the id of a replica");
	gt_buf_addf(url, "&replica=%s", s);
	return true;
}

static bool stream_read(struct gt_request *req, struct gt_buf *url)
{
	const char *s = gt_request_query(req, "stream");

	if (!s)
		return true;
	if (!gt_streq(s, "stdout") && !gt_streq(s, "stderr"))
		return fail_parameter(req, "stream", "stdout or stderr");
	gt_buf_addf(url, "&stream=%s", s);
	return true;
}

struct question {
	struct gt_buf text;
	struct gt_log_question is;
};

static bool question_read(struct gt_request *req, struct question *q)
{
	uint64_t revision = 0, since_ms = 0;

	if (!gt_api_number(req, "tail", 0, GT_LOG_TAIL_MAX, &q->is.tail) ||
	    !gt_api_number(req, "revision", 1, UINT32_MAX, &revision) ||
	    !gt_api_number(req, "after", 0, UINT64_MAX, &q->is.after) ||
	    !gt_api_flag(req, "follow", &q->is.follow) || !since_read(req, &since_ms) ||
	    !replica_read(req, &q->text) || !stream_read(req, &q->text))
		return false;
	if (revision)
		gt_buf_addf(&q->text, "&revision=%llu", (unsigned long long)revision);
	if (since_ms)
		gt_buf_addf(&q->text, "&since_ms=%llu", (unsigned long long)since_ms);
	return true;
}

static enum gt_log_form form_of(const struct gt_request *req)
{
	if (gt_api_accepts(req, GT_MEDIA_SSE))
		return GT_LOG_SSE;
	return gt_api_accepts(req, "text/plain") ? GT_LOG_TEXT : GT_LOG_NDJSON;
}

struct place {
	const char *replica;
	struct gt_api_nodes *nodes;
};

/* A replica that is known is looked for where it is, or was. */
static bool find_replica(const struct gt_replica_view *v, void *arg)
{
	struct place *p = arg;

	if (!gt_streq(v->id, p->replica))
		return true;
	gt_strcopy(p->nodes->name[0], sizeof(p->nodes->name[0]), v->node);
	p->nodes->n = 1;
	return false;
}

static void ask_one(struct gt_api *api, struct gt_request *req, const char *node,
		    const struct gt_log_question *q)
{
	const char *socket = NULL;
	gt_auto(free) char *path = gt_asprintf(
		"logs?%s&tail=%llu&after=%llu%s", q->text, (unsigned long long)q->tail,
		(unsigned long long)q->after, q->follow ? "&follow=1" : "");
	gt_auto(free) char *url = gt_api_agent_url(api, node, path, &socket);
	struct gt_http_out out = { .method = "GET",
				   .unix_path = socket,
				   .url = url,
				   .timeout_ms = q->follow ? 0 : HISTORY_MS_MAX,
				   .on_head = on_head,
				   .on_data = on_data,
				   .on_done = on_done };
	struct proxy *p = gt_alloc(sizeof(*p));
	struct gt_err err = { 0 };

	p->req = req;
	p->form = form_of(req);
	gt_buf_init(&p->line, LINE_MAX);
	out.arg = p;
	if (gt_http_start(api->config.client, &out, &p->call, &err) < 0) {
		gt_api_fail(req, &err);
		proxy_free(p);
		return;
	}
	gt_request_on_gone(req, on_gone, p);
}

void gt_api_logs_answer(struct gt_api *api, struct gt_request *req, const char *function,
			const struct gt_log_question *q)
{
	struct gt_api_nodes nodes;
	struct place place = { q->replica, &nodes };

	gt_api_nodes_there(api, &nodes);
	if (q->replica)
		gt_control_replicas(api->config.control, function, find_replica, &place);
	if (nodes.n == 1)
		ask_one(api, req, nodes.name[0], q);
	else
		gt_api_logs_merge(api, req, &nodes, form_of(req), q->text, q->tail, q->after,
				  q->follow);
}

void gt_api_get_logs(struct gt_request *req, void *app)
{
	static const char *const known[] = { "tail",   "follow", "replica", "revision",
					     "stream", "since",  "after",   NULL };
	struct gt_api *api = app;
	struct question q = { .is = { .tail = TAIL_DEFAULT,
				      .replica = gt_request_query(req, "replica") } };
	struct gt_function_view v;

	if (!gt_api_query(req, known) || !gt_api_function(api, req, &v))
		return;
	gt_buf_addf(&q.text, "function=%s", v.row->name);
	if (question_read(req, &q)) {
		q.is.text = gt_buf_str(&q.text);
		gt_api_logs_answer(api, req, v.row->name, &q.is);
	}
	gt_buf_fini(&q.text);
}
