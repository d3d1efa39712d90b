#include "commands.h"
#include "rest.h"
#include "table.h"

#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <gantry/base/clock.h>
#include <gantry/base/units.h>

#define HEADERS_MAX      64
#define STATE_AFTER_MS   200 /* a warm call is over by then */
#define STATE_EVERY_MS   300
#define STATE_TIMEOUT_MS 1000

struct call {
	struct gt_cli *cli;
	const char *function;
	struct gt_rest *side; /* asks for the state while the call waits; NULL until needed */
	uint64_t began_ns, asked_ns;
	bool pipe_broken;
	char last; /* byte of the answer */
};

/* A request path comes from the command line, so only what would break the request is refused. */
static bool path_ok(const char *path)
{
	for (; *path; path++)
		if ((unsigned char)*path <= 0x20 || *path == 0x7f || *path == '#')
			return false;
	return true;
}

static bool looks_like_json(const char *s)
{
	s += strspn(s, " \t\r\n");
	return *s == '{' || *s == '[';
}

static int add_headers(struct gt_cli *cli, const char **headers, struct gt_rest_request *req)
{
	const char *h;

	while ((h = gt_args_nth(&cli->args, "header", req->n_headers))) {
		if (req->n_headers == HEADERS_MAX || strpbrk(h, "\r\n") || !strchr(h, ':')) {
			gt_cli_usage(cli, "-H \"%s\": write it as \"Name: value\", %d at most", h,
				     HEADERS_MAX);
			return -EINVAL;
		}
		if (strncasecmp(h, "content-type:", 13) == 0)
			req->content_type = NULL;
		headers[req->n_headers++] = h;
	}
	req->headers = headers;
	return 0;
}

/* -d TEXT, -d @FILE, -d - */
static int add_body(struct gt_cli *cli, FILE **file, struct gt_rest_request *req)
{
	const char *data = gt_args_get(&cli->args, "data");
	struct stat st;

	if (!data)
		return 0;
	req->method = "POST";
	req->content_type = "application/json";
	if (strcmp(data, "-") == 0 || strcmp(data, "@-") == 0) {
		req->file = stdin;
	} else if (data[0] == '@') {
		*file = fopen(data + 1, "re");
		if (!*file) {
			gt_cli_usage(cli, "-d %s: %s", data, strerror(errno));
			return -EINVAL;
		}
		req->file = *file;
	} else {
		req->body = data;
		req->body_len = strlen(data);
		if (!looks_like_json(data))
			req->content_type = "text/plain; charset=utf-8";
		return 0;
	}
	req->file_bytes = fstat(fileno(req->file), &st) == 0 && S_ISREG(st.st_mode) ? st.st_size
										    : -1;
	return 0;
}

static void print_timing(const struct call *c, const struct gt_rest_answer *a, double ms)
{
	FILE *err = c->cli->err;
	char total[24];

	gt_ms_text(ms, total, sizeof(total));
	fprintf(err, "gantry: %ld in %s", a->status, total);
	if (a->timing[0]) {
		fputs("; ", err);
		gt_text_print(err, a->timing);
	}
	fputc('\n', err);
}

static bool on_data(const struct gt_rest_answer *answer GT_UNUSED, const char *data, size_t len,
		    void *arg)
{
	struct call *c = arg;

	gt_progress_clear(c->cli);
	c->last = data[len - 1];
	c->pipe_broken = fwrite(data, 1, len, c->cli->out) != len || fflush(c->cli->out) != 0;
	return !c->pipe_broken;
}

static void show_state(struct call *c, uint64_t now_ns)
{
	gt_auto(free) char *path = gt_asprintf("/v1/functions/%s", c->function);
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	gt_auto(value) struct gt_value *v = NULL;
	struct gt_rest_request req = { .path = path, .timeout_ms = STATE_TIMEOUT_MS };
	const char *state;

	if (gt_rest_send(c->side, &req, &answer, NULL) < 0 || answer.status != 200 ||
	    gt_value_parse(gt_buf_str(&answer.body), answer.body.len, &v, NULL) < 0)
		return;
	state = gt_value_str(v, "state", "");
	if (c->cli->err_tty)
		gt_progress(c->cli, "%s is %s, %.1f s", c->function, state,
			    (double)(now_ns - c->began_ns) / 1e9);
	else
		gt_progress(c->cli, "%s is %s", c->function, state);
}

static void on_idle(const struct gt_rest_answer *answer, void *arg)
{
	struct call *c = arg;
	uint64_t now = gt_mono_ns(&gt_clock_system);

	if (answer->status || !gt_progress_wanted(c->cli) ||
	    now - c->began_ns < STATE_AFTER_MS * GT_NS_PER_MS ||
	    now - c->asked_ns < STATE_EVERY_MS * GT_NS_PER_MS)
		return;
	c->asked_ns = now;
	if (!c->side)
		c->side = gt_rest_dup(c->cli->rest);
	show_state(c, now);
}

static enum gt_exit finish(struct call *c, const struct gt_rest_answer *a)
{
	double ms = (double)(gt_mono_ns(&gt_clock_system) - c->began_ns) / 1e6;

	gt_progress_clear(c->cli);
	if (c->pipe_broken)
		return GT_EXIT_PIPE;
	if (c->cli->out_tty && c->last && c->last != '\n')
		fputc('\n', c->cli->out);
	if (c->cli->verbose || c->cli->err_tty)
		print_timing(c, a, ms);
	if (a->problem)
		return gt_cli_problem(c->cli, a);
	if (a->status >= 400)
		fprintf(c->cli->err, "gantry: %s answered %ld\n", c->function, a->status);
	return a->status < 400 ? GT_EXIT_DONE : GT_EXIT_FAILED;
}

static enum gt_exit send_call(struct gt_cli *cli, struct gt_rest_request *req)
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	struct call c = { .cli = cli, .function = cli->args.operands[0] };
	struct gt_err err = { 0 };
	enum gt_exit code;

	code = gt_cli_open(cli);
	if (code != GT_EXIT_DONE)
		return code;
	req->on_data = on_data;
	req->on_idle = on_idle;
	req->arg = &c;
	c.began_ns = gt_mono_ns(&gt_clock_system);
	if (gt_rest_send(cli->rest, req, &answer, &err) < 0)
		code = gt_cli_fail(cli, &err);
	else
		code = finish(&c, &answer);
	gt_rest_free(c.side);
	return code;
}

/* A durable call: what is printed is its id. */
static enum gt_exit send_async(struct gt_cli *cli, const char *name, const char *path,
			       struct gt_rest_request *req)
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	gt_auto(value) struct gt_value *call = NULL;
	gt_auto(buf) struct gt_buf full = { 0 };
	const char *key = gt_args_get(&cli->args, "key"), *headers[HEADERS_MAX + 2];
	gt_auto(free) char *key_header = key ? gt_asprintf("Idempotency-Key: %s", key) : NULL;
	enum gt_exit code;

	gt_buf_addf(&full, "/v1/functions/%s/calls", name);
	gt_query_add(&full, "path", path);
	if (gt_args_get(&cli->args, "request"))
		gt_query_add(&full, "method", req->method);
	memcpy(headers, req->headers, req->n_headers * sizeof(*headers));
	headers[req->n_headers++] = "Prefer: respond-async";
	if (key)
		headers[req->n_headers++] = key_header;
	req->headers = headers;
	req->method = "POST";
	req->path = gt_buf_str(&full);
	code = gt_cli_send(cli, req, &answer);
	if (code != GT_EXIT_DONE)
		return code;
	if (cli->json) {
		gt_cli_print_json(cli, &answer.body);
		return GT_EXIT_DONE;
	}
	if (gt_value_parse(gt_buf_str(&answer.body), answer.body.len, &call, NULL) == 0)
		gt_text_print(cli->out, gt_value_str(call, "id", "?"));
	fputc('\n', cli->out);
	return GT_EXIT_DONE;
}

static enum gt_exit run(struct gt_cli *cli)
{
	const char *name = gt_cli_function(cli, 0), *headers[HEADERS_MAX];
	const char *path = cli->args.n_operands > 1 ? cli->args.operands[1] : "/";
	const char *timeout = gt_args_get(&cli->args, "timeout");
	const char *method = gt_args_get(&cli->args, "request");
	gt_auto(free) char *full = NULL;
	gt_auto(file) FILE *file = NULL;
	struct gt_rest_request req = { 0 };

	if (!name)
		return GT_EXIT_USAGE;
	if (!path_ok(path))
		return gt_cli_usage(
			cli, "\"%s\": a path has no blanks and no '#'; write %%20 and %%23", path);
	if (timeout && gt_parse_duration_ms(timeout, &req.timeout_ms) < 0)
		return gt_cli_usage(cli, "--timeout %s: write a duration such as 30s", timeout);
	full = gt_asprintf("/f/%s/%s", name, path[0] == '/' ? path + 1 : path);
	req.path = full;
	if (add_body(cli, &file, &req) < 0 || add_headers(cli, headers, &req) < 0)
		return GT_EXIT_USAGE;
	if (method && method[strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-")])
		return gt_cli_usage(cli, "-X %s: a method is in capital letters", method);
	if (method)
		req.method = method;
	if (gt_args_has(&cli->args, "async"))
		return send_async(cli, name, strchr(full + 3, '/'), &req);
	if (gt_args_has(&cli->args, "key"))
		return gt_cli_usage(cli, "--key is of durable calls: add --async");
	return send_call(cli, &req);
}

static const struct gt_flag flags[] = {
	{ "request", 'X', "METHOD", "GET, or POST with -d, unless given", false },
	{ "data", 'd', "DATA", "body: text, @FILE, or - for standard input", false },
	{ "header", 'H', "HEADER", "\"Name: value\" to send", true },
	{ "async", 0, NULL, "make a durable call, and print its id", false },
	{ "key", 0, "KEY", "with --async: the same key is one call, however often it is made",
	  false },
	{ "timeout", 0, "TIME", "give up after this long (default: the function's limits)", false },
};

const struct gt_command gt_cmd_call = {
	.name = "call",
	.args = "NAME [PATH] [-X METHOD] [-d DATA] [--async]",
	.summary = "call a function",
	.help = "Calls a function and prints its answer as it comes; a function at zero is started "
		"by it.\n"
		"On a terminal, or with -v, the state is shown while it starts and the times at "
		"the end.\n"
		"A body is sent as application/json unless it is text that is none, or -H says "
		"so.\n"
		"Exit code 1 when the function answers 400 or above.",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.least = 1,
	.most = 2,
	.run = run,
};
