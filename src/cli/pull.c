/* pull.c - see pull.h. */
#include "pull.h"

#include <string.h>

#include "rest.h"
#include "table.h"

#define LINE_MAX (64 * GT_KIB)

struct progress {
	struct gt_cli *cli;
	const char *what;
	struct gt_buf line;
	struct gt_value *last; /* {"image":...}, {"error":...} or a state */
};

void gt_pull_text(const struct gt_value *v, char out[GT_PULL_TEXT])
{
	double done = gt_value_num(v, "bytes", 0), total = gt_value_num(v, "bytes_total", 0);

	snprintf(out, GT_PULL_TEXT, "%.0f of %.0f MiB, %u of %u layers", done / (double)GT_MIB,
		 total / (double)GT_MIB, (unsigned)gt_value_u64(v, "layers", 0),
		 (unsigned)gt_value_u64(v, "layers_total", 0));
}

static void show(struct progress *p, const struct gt_value *v)
{
	char text[GT_PULL_TEXT];

	gt_pull_text(v, text);
	gt_progress(p->cli, "%.60s: %s", p->what, text);
}

static void take_line(struct progress *p)
{
	struct gt_value *v = NULL;

	if (p->line.len > 0 && gt_value_parse(gt_buf_str(&p->line), p->line.len, &v, NULL) == 0) {
		if (gt_value_at(v, "progress")) {
			show(p, gt_value_at(v, "progress"));
			gt_value_free(v);
		} else {
			gt_value_free(p->last);
			p->last = v;
		}
	}
	gt_buf_reset(&p->line);
}

static bool on_data(const struct gt_rest_answer *answer GT_UNUSED, const char *data, size_t len,
		    void *arg)
{
	struct progress *p = arg;

	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n')
			take_line(p);
		else
			gt_buf_addc(&p->line, data[i]);
	}
	return true;
}

static enum gt_exit finish(struct progress *p)
{
	struct gt_cli *cli = p->cli;
	const struct gt_value *image = gt_value_at(p->last, "image");
	const struct gt_value *error = gt_value_at(p->last, "error");
	gt_auto(buf) struct gt_buf text = { 0 };

	gt_progress_clear(cli);
	if (error) {
		fprintf(cli->err, "gantry: %s: ", p->what);
		gt_text_print(cli->err, gt_value_str(error, "detail", "failed"));
		fprintf(cli->err, " (%s)\n", gt_value_str(error, "code", "?"));
		return GT_EXIT_FAILED;
	}
	if (!image && !gt_value_bool(p->last, "complete", false)) {
		fprintf(cli->err, "gantry: %s: the daemon ended the answer early\n", p->what);
		return GT_EXIT_FAILED;
	}
	if (!image)
		image = p->last;
	if (cli->json && gt_value_write(image, 0, &text) == 0)
		gt_cli_print_json(cli, &text);
	else
		fprintf(cli->out, "%s\n", gt_value_str(image, "digest", ""));
	return GT_EXIT_DONE;
}

enum gt_exit gt_cli_pull(struct gt_cli *cli, struct gt_rest_request *req, const char *what)
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	struct progress p = { .cli = cli, .what = what };
	enum gt_exit code;

	gt_buf_init(&p.line, LINE_MAX);
	req->on_data = on_data;
	req->arg = &p;
	code = gt_cli_send(cli, req, &answer);
	take_line(&p);
	if (code == GT_EXIT_DONE)
		code = finish(&p);
	gt_value_free(p.last);
	gt_buf_fini(&p.line);
	return code;
}
