/* cli.h - what a command gets, the table of commands, and the exit codes. One thread. */
#ifndef GANTRY_CLI_CLI_H
#define GANTRY_CLI_CLI_H

#include <stdio.h>

#include <gantry/wire/value.h>

#include "flags.h"

struct gt_rest;
struct gt_rest_request;
struct gt_rest_answer;

enum gt_exit {
	GT_EXIT_DONE = 0,
	GT_EXIT_FAILED = 1,
	GT_EXIT_USAGE = 2,
	GT_EXIT_ROLLOUT = 3,     /* the new revision does not start */
	GT_EXIT_DEADLINE = 4,    /* time is over, the work goes on */
	GT_EXIT_AUTH = 5,        /* no token, a wrong one, or not allowed */
	GT_EXIT_CONFLICT = 6,    /* changed by someone else, name taken */
	GT_EXIT_UNREACHABLE = 7, /* no daemon answers */
	GT_EXIT_INTERRUPTED = 130,
	GT_EXIT_PIPE = 141, /* the reader of the output went away */
};

struct gt_cli;

struct gt_command {
	const char *name;
	const char *args;    /* usage after the name */
	const char *summary; /* one line of `gantry help` */
	const char *help;    /* paragraphs of `gantry help NAME` */
	const struct gt_flag *flags;
	size_t n_flags;
	size_t least, most; /* operands */
	bool rest;          /* takes words after "--" by themselves */
	enum gt_exit (*run)(struct gt_cli *cli);
};

struct gt_cli {
	FILE *out, *err; /* answers; progress and problems */
	bool out_tty, err_tty, color;
	bool json, verbose;
	const struct gt_command *command;
	struct gt_args args;
	struct gt_rest *rest; /* opened by the first request */
	char status[160];     /* the progress line that stands on the terminal */
};

/* NULL-terminated, in the order of `gantry help`. */
extern const struct gt_command *const gt_commands[];
extern const struct gt_flag_table gt_global_flags;
const struct gt_command *gt_command_find(const char *name);
int gt_cli_main(int argc, char **argv, FILE *out, FILE *err); /* exit code */

void gt_help_all(FILE *out);
void gt_help_command(FILE *out, const struct gt_command *c);
void gt_completion_bash(FILE *out);

/* Every report on cli->err starts with "gantry: ". gt_cli_fail returns what the slug stands for. */
enum gt_exit gt_cli_fail(struct gt_cli *cli, const struct gt_err *err);
enum gt_exit gt_cli_usage(struct gt_cli *cli, const char *fmt, ...) GT_PRINTF(2, 3);
enum gt_exit gt_cli_problem(struct gt_cli *cli, const struct gt_rest_answer *answer);
/* The last log lines that `end` carries, if any. */
void gt_cli_log_tail(struct gt_cli *cli, const struct gt_value *end);
enum gt_exit gt_exit_of_status(long status);
enum gt_exit gt_exit_of_err(const struct gt_err *err);

/* Finds the daemon and makes cli->rest, once. */
enum gt_exit gt_cli_open(struct gt_cli *cli);
/* Sends; 2xx is GT_EXIT_DONE, all else has been reported. */
enum gt_exit gt_cli_send(struct gt_cli *cli, const struct gt_rest_request *req,
			 struct gt_rest_answer *answer);
/* GET of one document. text and ret are written on GT_EXIT_DONE only; the caller frees. */
enum gt_exit gt_cli_get(struct gt_cli *cli, const char *path, struct gt_buf *text,
			struct gt_value **ret);
/* GET of a list, page after page: fn for each item, until it returns false. gt_cli_list prints
 * {"items":[...]} instead of calling fn when --json was given. */
typedef bool gt_item_fn(struct gt_cli *cli, const struct gt_value *item, void *arg);
enum gt_exit gt_cli_each(struct gt_cli *cli, const char *path, gt_item_fn *fn, void *arg);
enum gt_exit gt_cli_list(struct gt_cli *cli, const char *path, gt_item_fn *fn, void *arg);
/* The same as a table: add_row adds the cells of one, its arg is the table. */
enum gt_exit gt_cli_table(struct gt_cli *cli, const char *path, const char *const *headers,
			  size_t n_headers, gt_item_fn *add_row);
/* DELETE, and fmt as a line that it is done; with --json what was answered. */
enum gt_exit gt_cli_remove(struct gt_cli *cli, const char *path, const char *fmt, ...)
	GT_PRINTF(3, 4);
/* Such a document by hand: arg is a size_t, 0 at first. */
bool gt_items_print(struct gt_cli *cli, const struct gt_value *item, void *arg);
void gt_items_end(struct gt_cli *cli, size_t n);
/* GET of an NDJSON stream: fn for each line as it comes; with --json lines are printed as they are.
 */
enum gt_exit gt_cli_stream(struct gt_cli *cli, const char *path, gt_item_fn *fn, void *arg);
/* Prints a document and a newline. */
void gt_cli_print_json(struct gt_cli *cli, const struct gt_buf *text);

/* The i-th operand as a function name; NULL after a usage report. */
const char *gt_cli_function(struct gt_cli *cli, size_t i);
/* "/v1/functions/echo" + "?tail=5&stream=stderr": values are escaped. buf starts empty. */
void gt_query_add(struct gt_buf *path, const char *name, const char *value);

/* One line on a terminal that the next one replaces; with -v and no terminal a line each change.
 * Shown on cli->err. gt_progress_clear before anything else is printed. */
void gt_progress(struct gt_cli *cli, const char *fmt, ...) GT_PRINTF(2, 3);
void gt_progress_clear(struct gt_cli *cli);
bool gt_progress_wanted(const struct gt_cli *cli);

/* "12s", "5m", "3h", "2d" since an RFC 3339 time; "" when it is none. */
void gt_age_text(const char *since, uint64_t now_ms, char *out, size_t size);
int gt_time_read(const char *rfc3339, uint64_t *ret_ms);
void gt_mib_text(uint64_t bytes, char *out, size_t size); /* "12.3 MiB" */
void gt_ms_text(double ms, char *out, size_t size);       /* "0.42 ms", "12.3 ms", "1.84 s" */

#endif
