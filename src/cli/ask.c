/* Requests as the commands need them: one document, a list of pages, a stream of lines. */
#include "cli.h"

#include <stdarg.h>
#include <string.h>

#include <curl/curl.h>

#include <gantry/model/spec.h>

#include "find.h"
#include "rest.h"
#include "table.h"

#define DOCUMENT_TIMEOUT_MS 60000
#define STREAM_LINE_MAX     (GT_MIB)
#define PAGES_MAX           1000

enum gt_exit gt_cli_open(struct gt_cli *cli)
{
	struct gt_err err = { 0 };
	gt_auto(target) struct gt_target target = { 0 };
	struct gt_find find = {
		.url = gt_args_get(&cli->args, "url"),
		.ca = gt_args_get(&cli->args, "ca"),
		.token = gt_args_get(&cli->args, "token"),
		.token_file = gt_args_get(&cli->args, "token-file"),
	};

	if (cli->rest)
		return GT_EXIT_DONE;
	if (gt_target_find(&find, &target, &err) < 0)
		return gt_cli_fail(cli, &err);
	if (target.note && cli->verbose) {
		fputs("gantry: ", cli->err);
		gt_text_print(cli->err, target.note);
		fputc('\n', cli->err);
	}
	cli->rest = gt_rest_new(&target);
	return GT_EXIT_DONE;
}

enum gt_exit gt_cli_send(struct gt_cli *cli, const struct gt_rest_request *req,
			 struct gt_rest_answer *answer)
{
	struct gt_err err = { 0 };
	enum gt_exit code = gt_cli_open(cli);

	if (code != GT_EXIT_DONE)
		return code;
	if (gt_rest_send(cli->rest, req, answer, &err) < 0)
		return gt_cli_fail(cli, &err);
	if (answer->status >= 200 && answer->status < 300)
		return GT_EXIT_DONE;
	return gt_cli_problem(cli, answer);
}

enum gt_exit gt_cli_get(struct gt_cli *cli, const char *path, struct gt_buf *text,
			struct gt_value **ret)
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	struct gt_rest_request req = { .path = path,
				       .accept = "application/json",
				       .timeout_ms = DOCUMENT_TIMEOUT_MS };
	enum gt_exit code = gt_cli_send(cli, &req, &answer);
	struct gt_err err = { 0 };

	if (code != GT_EXIT_DONE)
		return code;
	if (gt_value_parse(gt_buf_str(&answer.body), answer.body.len, ret, &err) < 0) {
		gt_err_wrap(&err, "the answer of %s is no JSON; is that a Gantry daemon?",
			    gt_rest_url(cli->rest));
		gt_cli_fail(cli, &err);
		return GT_EXIT_FAILED;
	}
	if (text) {
		*text = answer.body;
		answer.body = (struct gt_buf){ 0 };
	}
	return GT_EXIT_DONE;
}

void gt_query_add(struct gt_buf *path, const char *name, const char *value)
{
	char *escaped = curl_easy_escape(NULL, value, 0);

	gt_buf_addf(path, "%c%s=%s", memchr(path->data, '?', path->len) ? '&' : '?', name,
		    escaped ? escaped : "");
	curl_free(escaped);
}

bool gt_items_print(struct gt_cli *cli, const struct gt_value *item, void *arg)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	size_t *n = arg;

	if (gt_value_write(item, 0, &text) < 0)
		return false;
	fputs((*n)++ ? "," : "{\"items\":[", cli->out);
	fwrite(text.data, 1, text.len, cli->out);
	return true;
}

void gt_items_end(struct gt_cli *cli, size_t n)
{
	fputs(n ? "]}\n" : "{\"items\":[]}\n", cli->out);
}

enum gt_exit gt_cli_each(struct gt_cli *cli, const char *path, gt_item_fn *fn, void *arg)
{
	gt_auto(free) char *cursor = NULL;

	for (int page = 0; page < PAGES_MAX; page++) {
		gt_auto(value) struct gt_value *v = NULL;
		gt_auto(buf) struct gt_buf at = { 0 };
		const struct gt_value *items;
		enum gt_exit code;

		gt_buf_adds(&at, path);
		if (cursor)
			gt_query_add(&at, "cursor", cursor);
		code = gt_cli_get(cli, gt_buf_str(&at), NULL, &v);
		if (code != GT_EXIT_DONE)
			return code;
		items = gt_value_at(v, "items");
		for (size_t i = 0; i < gt_value_len(items); i++)
			if (!fn(cli, gt_value_item(items, i), arg))
				return GT_EXIT_DONE;
		free(gt_steal(&cursor));
		cursor = gt_strdup(gt_value_str(v, "next_cursor", NULL));
		if (!cursor) /* a page without items may have others behind it */
			break;
	}
	return GT_EXIT_DONE;
}

enum gt_exit gt_cli_list(struct gt_cli *cli, const char *path, gt_item_fn *fn, void *arg)
{
	size_t n = 0;
	enum gt_exit code;

	if (!cli->json)
		return gt_cli_each(cli, path, fn, arg);
	code = gt_cli_each(cli, path, gt_items_print, &n);
	if (code == GT_EXIT_DONE)
		gt_items_end(cli, n);
	return code;
}

struct stream {
	struct gt_cli *cli;
	struct gt_buf line;
	gt_item_fn *fn;
	void *arg;
	enum gt_exit code;
};

/* One line, without its end. False ends the stream. */
static bool take_line(struct stream *s, const char *line, size_t len)
{
	struct gt_cli *cli = s->cli;
	gt_auto(value) struct gt_value *v = NULL;
	bool more;

	if (len == 0)
		return true;
	if (cli->json) {
		fwrite(line, 1, len, cli->out);
		more = fputc('\n', cli->out) != EOF;
	} else if (gt_value_parse(line, len, &v, NULL) < 0) {
		return true;
	} else {
		more = s->fn(cli, v, s->arg);
	}
	if (fflush(cli->out) == 0)
		return more;
	s->code = GT_EXIT_PIPE;
	return false;
}

static bool on_stream(const struct gt_rest_answer *answer GT_UNUSED, const char *data, size_t len,
		      void *arg)
{
	struct stream *s = arg;
	const char *end;

	while ((end = memchr(data, '\n', len))) {
		size_t n = (size_t)(end - data);
		bool more;
		if (s->line.len == 0) {
			more = take_line(s, data, n);
		} else {
			gt_buf_add(&s->line, data, n);
			more = take_line(s, s->line.data, s->line.len);
			gt_buf_reset(&s->line);
		}
		if (!more)
			return false;
		data += n + 1;
		len -= n + 1;
	}
	return gt_buf_add(&s->line, data, len) == 0;
}

enum gt_exit gt_cli_stream(struct gt_cli *cli, const char *path, gt_item_fn *fn, void *arg)
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	struct stream s = { .cli = cli, .fn = fn, .arg = arg };
	struct gt_rest_request req = {
		.path = path, .accept = "application/x-ndjson", .on_data = on_stream, .arg = &s
	};
	enum gt_exit code;

	gt_buf_init(&s.line, STREAM_LINE_MAX);
	code = gt_cli_send(cli, &req, &answer);
	if (code == GT_EXIT_DONE && s.line.len && !s.line.failed)
		take_line(&s, s.line.data, s.line.len);
	if (s.line.failed)
		code = gt_cli_usage(cli, "a line of the answer is longer than 1 MiB");
	gt_buf_fini(&s.line);
	return code == GT_EXIT_DONE ? s.code : code;
}

void gt_cli_print_json(struct gt_cli *cli, const struct gt_buf *text)
{
	struct gt_buf t = *text;
	size_t len = t.len;

	while (len && t.data[len - 1] == '\n')
		len--;
	fwrite(gt_buf_str(&t), 1, len, cli->out);
	fputc('\n', cli->out);
}

const char *gt_cli_function(struct gt_cli *cli, size_t i)
{
	const char *name = cli->args.operands[i];

	if (gt_name_ok(name))
		return name;
	gt_cli_usage(
		cli,
		"\"%s\" is no function name: lower-case letters, digits and '-' inside, at most "
		"63 characters",
		name);
	return NULL;
}

enum gt_exit gt_cli_table(struct gt_cli *cli, const char *path, const char *const *headers,
			  size_t n_headers, gt_item_fn *add_row)
{
	gt_auto(table) struct gt_table *t = gt_table_new(headers, n_headers);
	enum gt_exit code = gt_cli_list(cli, path, add_row, t);

	if (code == GT_EXIT_DONE && !cli->json)
		gt_table_print(t, cli->out, cli->color);
	return code;
}

enum gt_exit gt_cli_remove(struct gt_cli *cli, const char *path, const char *fmt, ...)
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	struct gt_rest_request req = { .method = "DELETE", .path = path, .timeout_ms = 60000 };
	enum gt_exit code = gt_cli_send(cli, &req, &answer);
	va_list ap;

	if (code != GT_EXIT_DONE)
		return code;
	if (cli->json && answer.body.len)
		gt_cli_print_json(cli, &answer.body);
	if (cli->json)
		return code;
	va_start(ap, fmt);
	vfprintf(cli->out, fmt, ap);
	va_end(ap);
	fputc('\n', cli->out);
	return code;
}
