/* logs_merge.c - what replicas on several nodes wrote. The history of each is asked for, and put in
 * the order of time; then, with follow, what comes is passed on as it comes, from where the history
 * of each node ended. A node that does not answer is named in a header, not waited for. */
#include <stdlib.h>
#include <string.h>

#include <gantry/base/log.h>
#include <gantry/wire/value.h>

#include "api_priv.h"

#define HISTORY_MS_MAX 60000
#define HISTORY_MAX    (64 * GT_MIB) /* bytes of all lines; what is more is left out */
#define LINE_MAX       (8 * GT_LOG_LINE_MAX)
#define TIME_SIZE      32

struct merge;

struct source {
	struct merge *merge;
	struct gt_http_call *call; /* NULL: it has answered */
	char node[GT_NAME_MAX + 1];
	bool there;
	int status;
	uint64_t seq; /* of its last line */
	char time[TIME_SIZE];
	struct gt_buf part;
};

struct line {
	char time[TIME_SIZE]; /* or that of a line before it, where its node's clock went back */
	size_t place;         /* in the order in which they came */
	char *text;
	size_t len;
};

struct merge {
	struct gt_api *api;
	struct gt_request *req;   /* until the history is there */
	struct gt_stream *stream; /* after it */
	enum gt_log_form form;
	bool follow;
	uint64_t tail;
	char *query;
	struct line *lines;
	size_t n_lines, cap_lines, bytes;
	size_t n_open;
	size_t n;
	struct source sources[];
};

static void merge_free(struct merge *m)
{
	for (size_t i = 0; i < m->n; i++) {
		gt_http_cancel(m->sources[i].call);
		gt_buf_fini(&m->sources[i].part);
	}
	for (size_t i = 0; i < m->n_lines; i++)
		free(m->lines[i].text);
	free(m->lines);
	free(m->query);
	free(m);
}

static void on_close(void *arg)
{
	merge_free(arg);
}

static void on_gone(void *arg)
{
	struct merge *m = arg;
	struct gt_err err = { 0 };

	gt_err_set(&err, ECANCELED, "unavailable", "the client left");
	gt_api_fail(m->req, &err);
	merge_free(m);
}

/* ---- lines ---- */

static void keep(struct source *s, const char *text, size_t len, const char *time)
{
	struct merge *m = s->merge;
	struct line *line;

	if (m->bytes + len > HISTORY_MAX)
		return;
	if (m->n_lines == m->cap_lines) {
		m->cap_lines = m->cap_lines ? 2 * m->cap_lines : 256;
		m->lines = gt_grow(m->lines, m->cap_lines, sizeof(*m->lines));
	}
	m->bytes += len;
	line = &m->lines[m->n_lines];
	*line = (struct line){ .place = m->n_lines++, .text = gt_alloc(len + 1), .len = len };
	memcpy(line->text, text, len);
	if (strcmp(time, s->time) > 0)
		gt_strcopy(s->time, sizeof(s->time), time);
	memcpy(line->time, s->time, sizeof(line->time));
}

/* False: nobody takes lines any more, and m is gone. */
static bool pass_on(struct merge *m, const char *text, size_t len)
{
	gt_auto(buf) struct gt_buf out = { 0 };

	gt_log_line_write(m->form, text, len, &out);
	if (!out.len || gt_stream_write(m->stream, out.data, out.len) == 0)
		return true;
	gt_stream_end(m->stream);
	merge_free(m);
	return false;
}

static bool take_line(struct source *s, const char *text, size_t len)
{
	gt_auto(value) struct gt_value *v = NULL;

	if (!len || gt_value_parse(text, len, &v, NULL) < 0)
		return true;
	s->seq = GT_MAX(s->seq, gt_value_u64(v, "seq", 0));
	if (s->merge->stream)
		return pass_on(s->merge, text, len);
	keep(s, text, len, gt_value_str(v, "ts", ""));
	return true;
}

static void on_data(const char *data, size_t len, void *arg)
{
	struct source *s = arg;
	const char *end;

	if (s->status != 200)
		return;
	while ((end = memchr(data, '\n', len))) {
		size_t n = (size_t)(end - data);

		gt_buf_add(&s->part, data, n);
		if (!s->part.failed && !take_line(s, gt_buf_str(&s->part), s->part.len))
			return;
		gt_buf_reset(&s->part);
		s->part.failed = false; /* an absurd line is left out */
		data += n + 1;
		len -= n + 1;
	}
	gt_buf_add(&s->part, data, len);
}

static void on_head(int status, void *arg)
{
	((struct source *)arg)->status = status;
}

/* ---- the history is there ---- */

static int by_time(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int r = strcmp(x->time, y->time);

	return r ? r : x->place < y->place ? -1 : 1;
}

static void tell_missing(struct merge *m)
{
	gt_auto(buf) struct gt_buf names = { 0 };

	for (size_t i = 0; i < m->n; i++)
		if (!m->sources[i].there)
			gt_buf_addf(&names, "%s%s", names.len ? ", " : "", m->sources[i].node);
	if (names.len)
		gt_request_header_set(m->req, "Gantry-Missing-Nodes", gt_buf_str(&names));
}

static void refuse(struct merge *m)
{
	struct gt_err err = { 0 };
	bool bad = false;

	for (size_t i = 0; i < m->n; i++)
		bad |= m->sources[i].status == 400;
	if (bad)
		gt_err_set(&err, EINVAL, "bad_parameter", "the nodes refused the question");
	else
		gt_err_set(&err, EAGAIN, "unavailable", "no node that keeps logs answers");
	gt_request_on_gone(m->req, NULL, NULL);
	gt_api_fail(m->req, &err);
	merge_free(m);
}

static int ask(struct source *s, bool follow);

static void go_on(struct merge *m)
{
	m->n_open = 1; /* until all are asked */
	for (size_t i = 0; i < m->n; i++)
		if (m->sources[i].there && ask(&m->sources[i], true) == 0)
			m->n_open++;
	if (--m->n_open == 0) {
		gt_stream_end(m->stream);
		merge_free(m);
	}
}

static void show(struct merge *m)
{
	size_t from = m->n_lines - GT_MIN(m->n_lines, m->tail);
	gt_auto(buf) struct gt_buf out = { 0 };

	gt_buf_init(&out, 2 * HISTORY_MAX);
	qsort(m->lines, m->n_lines, sizeof(*m->lines), by_time);
	tell_missing(m);
	gt_request_on_gone(m->req, NULL, NULL);
	m->stream = gt_log_stream_open(gt_steal(&m->req), m->form);
	for (size_t i = 0; i < m->n_lines; i++) {
		if (i >= from)
			gt_log_line_write(m->form, m->lines[i].text, m->lines[i].len, &out);
		free(m->lines[i].text);
	}
	m->n_lines = 0;
	bool sent = !out.len || gt_stream_write(m->stream, out.data, out.len) == 0;

	if (!sent || !m->follow) {
		gt_stream_end(m->stream);
		merge_free(m);
		return;
	}
	gt_stream_on_close(m->stream, on_close, m);
	go_on(m);
}

static void on_done(int status, const char *body GT_UNUSED, size_t len GT_UNUSED,
		    const struct gt_err *why GT_UNUSED, void *arg)
{
	struct source *s = arg;
	struct merge *m = s->merge;
	bool any = false;

	s->call = NULL;
	if (!m->stream)
		s->there = status == 200;
	if (--m->n_open > 0)
		return;
	for (size_t i = 0; i < m->n; i++)
		any |= m->sources[i].there;
	if (m->stream) {
		gt_stream_end(m->stream);
		merge_free(m);
	} else if (any) {
		show(m);
	} else {
		refuse(m);
	}
}

/* ---- asking ---- */

/* What came between the history and the rest is told once, by the number of its last line. */
static int ask(struct source *s, bool follow)
{
	struct merge *m = s->merge;
	const char *socket = NULL;
	gt_auto(buf) struct gt_buf path = { 0 };
	struct gt_err err = { 0 };

	/* Of one line at least the number is needed to go on from there. */
	gt_buf_addf(&path, "logs?%s&tail=%llu&after=%llu%s", m->query,
		    (unsigned long long)(follow ? GT_LOG_TAIL_MAX : GT_MAX(m->tail, 1u)),
		    (unsigned long long)s->seq, follow ? "&follow=1" : "");
	gt_auto(free) char *url = gt_api_agent_url(m->api, s->node, gt_buf_str(&path), &socket);
	struct gt_http_out out = { .method = "GET",
				   .unix_path = socket,
				   .url = url,
				   .timeout_ms = follow ? 0 : HISTORY_MS_MAX,
				   .on_head = on_head,
				   .on_data = on_data,
				   .on_done = on_done,
				   .arg = s };

	gt_buf_reset(&s->part);
	s->status = 0;
	int r = gt_http_start(m->api->config.client, &out, &s->call, &err);

	if (r < 0) {
		s->call = NULL;
		gt_warn("logs of node %s: %s", s->node, err.text);
	}
	return r;
}

void gt_api_logs_merge(struct gt_api *api, struct gt_request *req, const struct gt_api_nodes *nodes,
		       enum gt_log_form form, const char *query, uint64_t tail, uint64_t after,
		       bool follow)
{
	struct merge *m = gt_alloc(sizeof(*m) + nodes->n * sizeof(m->sources[0]));

	m->api = api;
	m->req = req;
	m->form = form;
	m->follow = follow;
	m->tail = tail;
	m->query = gt_strdup(query);
	m->n = nodes->n;
	gt_request_on_gone(req, on_gone, m);
	m->n_open = 1;
	for (size_t i = 0; i < m->n; i++) {
		struct source *s = &m->sources[i];

		s->merge = m;
		s->seq = after;
		gt_buf_init(&s->part, LINE_MAX);
		gt_strcopy(s->node, sizeof(s->node), nodes->name[i]);
		m->n_open += ask(s, false) == 0;
	}
	if (--m->n_open == 0)
		refuse(m);
}
