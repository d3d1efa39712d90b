/* http/watch.c - see gantry/http/watch.h. One call at a time; each end leads to the next try. */
#include <string.h>

#include <gantry/base/buf.h>
#include <gantry/http/watch.h>

#define RETRY_FIRST_MS     10
#define RETRY_MAX_MS       500
#define LINE_MAX_DEFAULT   (64 * GT_MIB)
#define SILENCE_MS_DEFAULT 30000

struct gt_ndjson_watch {
	struct gt_loop *loop;
	struct gt_http_client *client;
	struct gt_ndjson_config config;
	char *unix_path, *url;
	struct gt_http_call *call; /* NULL between two tries */
	struct gt_timer retry;
	struct gt_timer silence;
	uint64_t retry_ms;
	bool up;             /* on_up was called, on_down not yet */
	bool in_line, freed; /* a callback may free us while a line is being handed over */
	struct gt_buf line;  /* the unfinished one */
};

static void watch_open(struct gt_ndjson_watch *w);

static void on_retry(void *arg)
{
	watch_open(arg);
}

/* The connection is gone or given up: says so and tries again later. */
static void watch_down(struct gt_ndjson_watch *w, const struct gt_err *why)
{
	bool was_up = w->up;

	gt_http_cancel(w->call);
	w->call = NULL;
	w->up = false;
	gt_buf_reset(&w->line);
	gt_timer_clear(w->loop, &w->silence);
	gt_timer_set(w->loop, &w->retry, w->retry_ms, on_retry, w);
	w->retry_ms = GT_MIN(w->retry_ms * 2, RETRY_MAX_MS);
	if (was_up && w->config.on_down)
		w->config.on_down(why, w->config.arg);
}

static void on_silence(void *arg)
{
	struct gt_ndjson_watch *w = arg;
	struct gt_err err = { 0 };

	gt_err_set(&err, ETIMEDOUT, "unavailable", "%s: no byte for %llu ms", w->url,
		   (unsigned long long)w->config.silence_ms);
	watch_down(w, &err);
}

static void on_head(int status, void *arg)
{
	struct gt_ndjson_watch *w = arg;

	if (status != 200)
		return; /* on_done comes soon */
	w->up = true;
	if (w->config.on_up)
		w->config.on_up(w->config.arg);
}

/* Hands over the complete lines in data; the rest waits in w->line. False when w is gone. */
static bool lines_take(struct gt_ndjson_watch *w, const char *data, size_t len, bool *fits)
{
	const char *end;

	while ((end = memchr(data, '\n', len))) {
		size_t n = (size_t)(end - data);
		const char *line = data;
		size_t line_len = n;

		if (w->line.len) {
			if (gt_buf_add(&w->line, data, n) < 0)
				break;
			line = w->line.data;
			line_len = w->line.len;
		}
		w->config.on_line(line, line_len, w->config.arg);
		if (w->freed || !w->call)
			return false;
		gt_buf_reset(&w->line);
		data += n + 1;
		len -= n + 1;
	}
	*fits = !end && gt_buf_add(&w->line, data, len) == 0;
	return true;
}

static void watch_free(struct gt_ndjson_watch *w)
{
	gt_buf_fini(&w->line);
	free(w->unix_path);
	free(w->url);
	free(w);
}

static void on_data(const char *data, size_t len, void *arg)
{
	struct gt_ndjson_watch *w = arg;
	struct gt_err err = { 0 };
	bool fits = true;
	bool alive;

	if (!w->up)
		return;
	w->retry_ms = RETRY_FIRST_MS; /* not by the head alone: a peer may say 200 and die */
	gt_timer_set(w->loop, &w->silence, w->config.silence_ms, on_silence, w);
	w->in_line = true;
	alive = lines_take(w, data, len, &fits);
	w->in_line = false;
	if (w->freed) {
		watch_free(w);
		return;
	}
	if (alive && !fits) {
		gt_err_set(&err, EMSGSIZE, "malformed_json", "%s: a line is longer than %zu bytes",
			   w->url, w->config.line_max);
		watch_down(w, &err);
	}
}

static void on_done(int status, const char *body GT_UNUSED, size_t len GT_UNUSED,
		    const struct gt_err *err, void *arg)
{
	struct gt_ndjson_watch *w = arg;
	struct gt_err why = *err;

	w->call = NULL; /* ends with this callback */
	if (status)
		gt_err_set(&why, EPIPE, "unavailable", "%s: ended with status %d", w->url, status);
	watch_down(w, &why);
}

static void watch_open(struct gt_ndjson_watch *w)
{
	struct gt_err err = { 0 };
	struct gt_http_out out = {
		.method = "GET",
		.unix_path = w->unix_path,
		.url = w->url,
		.on_head = on_head,
		.on_data = on_data,
		.on_done = on_done,
		.arg = w,
	};

	if (gt_http_start(w->client, &out, &w->call, &err) < 0) {
		w->call = NULL;
		watch_down(w, &err);
		return;
	}
	gt_timer_set(w->loop, &w->silence, w->config.silence_ms, on_silence, w);
}

int gt_ndjson_watch_new(struct gt_loop *loop, struct gt_http_client *client,
			const struct gt_ndjson_config *config, struct gt_ndjson_watch **ret,
			struct gt_err *err GT_UNUSED)
{
	struct gt_ndjson_watch *w = gt_alloc(sizeof(*w));

	w->loop = loop;
	w->client = client;
	w->config = *config;
	w->unix_path = gt_strdup(config->unix_path);
	w->url = gt_strdup(config->url);
	w->config.line_max = config->line_max ? config->line_max : LINE_MAX_DEFAULT;
	w->config.silence_ms = config->silence_ms ? config->silence_ms : SILENCE_MS_DEFAULT;
	w->retry_ms = RETRY_FIRST_MS;
	gt_buf_init(&w->line, w->config.line_max);
	watch_open(w);
	*ret = w;
	return 0;
}

void gt_ndjson_watch_free(struct gt_ndjson_watch *w)
{
	if (!w)
		return;
	gt_http_cancel(w->call);
	gt_timer_clear(w->loop, &w->retry);
	gt_timer_clear(w->loop, &w->silence);
	if (w->in_line)
		w->freed = true; /* on_data still looks at it */
	else
		watch_free(w);
}
