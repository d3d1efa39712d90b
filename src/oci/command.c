/* command.c - the command line, with the flags of runc and crun that make sense here. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/clock.h>
#include <gantry/oci/oci.h>
#include <gantry/wire/json.h>

#include "oci.h"

#define DEFAULT_ROOT "/run/gantry-oci"

static const char usage[] =
	"usage: gantry oci [--root DIR] [--log FILE] [--log-format text|json] COMMAND\n"
	"  create [-b BUNDLE] [-f CONFIG] [--pid-file FILE] ID\n"
	"  start ID\n"
	"  run [-b BUNDLE] [-f CONFIG] [--pid-file FILE] [-d] [--keep] ID\n"
	"  state ID\n"
	"  kill [-a] ID [SIGNAL]\n"
	"  delete [-f] ID\n"
	"  list [-q]\n";

/* ---- what is told ---- */

static void log_line(const struct oci_args *args, const char *level, const char *text)
{
	gt_auto(file) FILE *f = args->log ? fopen(args->log, "ae") : NULL;
	gt_auto(buf) struct gt_buf line = { 0 };
	char now[GT_TIME_TEXT];
	struct gt_json j;

	if (!f)
		return;
	gt_time_text(gt_wall_ms(&gt_clock_system), now);
	gt_json_begin(&j, &line);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "level", level);
	gt_json_str(&j, "msg", text);
	gt_json_str(&j, "time", now);
	gt_json_close(&j, '}');
	if (args->log_json)
		fprintf(f, "%s\n", gt_buf_str(&line));
	else
		fprintf(f, "%s %s: %s\n", now, level, text);
}

/* Into the log only: standard error is the container's. */
void oci_warn(const struct oci_args *args, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_line(args, "warning", text);
}

/* ---- the line ---- */

enum flag {
	FLAG_HELP = 256,
	FLAG_VERSION,
	FLAG_ROOT,
	FLAG_LOG,
	FLAG_LOG_FORMAT,
	FLAG_IGNORED,
	FLAG_PID_FILE,
	FLAG_CONSOLE,
	FLAG_PRESERVE,
	FLAG_KEEP
};

static const struct option global_flags[] = {
	{ "root", required_argument, NULL, FLAG_ROOT },
	{ "log", required_argument, NULL, FLAG_LOG },
	{ "log-format", required_argument, NULL, FLAG_LOG_FORMAT },
	{ "help", no_argument, NULL, FLAG_HELP },
	{ "version", no_argument, NULL, FLAG_VERSION },
	/* Of no meaning here, but callers give them. */
	{ "debug", no_argument, NULL, FLAG_IGNORED },
	{ "cgroup-manager", required_argument, NULL, FLAG_IGNORED },
	{ NULL, 0, NULL, 0 },
};

static const struct option birth_flags[] = {
	{ "bundle", required_argument, NULL, 'b' },
	{ "config", required_argument, NULL, 'f' },
	{ "pid-file", required_argument, NULL, FLAG_PID_FILE },
	{ "console-socket", required_argument, NULL, FLAG_CONSOLE },
	{ "preserve-fds", required_argument, NULL, FLAG_PRESERVE },
	{ "detach", no_argument, NULL, 'd' },
	{ "keep", no_argument, NULL, FLAG_KEEP },
	{ "no-pivot", no_argument, NULL, FLAG_IGNORED },
	{ "no-new-keyring", no_argument, NULL, FLAG_IGNORED },
	{ NULL, 0, NULL, 0 },
};
static const struct option kill_flags[] = { { "all", no_argument, NULL, 'a' },
					    { NULL, 0, NULL, 0 } };
static const struct option delete_flags[] = { { "force", no_argument, NULL, 'f' },
					      { NULL, 0, NULL, 0 } };
static const struct option list_flags[] = { { "quiet", no_argument, NULL, 'q' },
					    { NULL, 0, NULL, 0 } };
static const struct option no_flags[] = { { NULL, 0, NULL, 0 } };

static const struct verb {
	const char *name, *letters;
	const struct option *flags;
	int least, most; /* words: the id, for kill the signal too */
	int (*run)(const struct oci_args *args, struct gt_err *err);
} verbs[] = {
	{ "create", "+b:f:", birth_flags, 1, 1, oci_create },
	{ "run", "+b:f:d", birth_flags, 1, 1, oci_run },
	{ "start", "+", no_flags, 1, 1, oci_start },
	{ "state", "+", no_flags, 1, 1, oci_state },
	{ "kill", "+a", kill_flags, 1, 2, oci_kill },
	{ "delete", "+f", delete_flags, 1, 1, oci_delete },
	{ "list", "+q", list_flags, 0, 0, oci_list },
};

static int bad_usage(struct gt_err *err, const char *what)
{
	return gt_err_set(err, EINVAL, "usage", "%s; see `gantry oci --help`", what);
}

static int global_flag(struct oci_args *args, int flag, struct gt_err *err)
{
	switch (flag) {
	case FLAG_ROOT:
		args->root = optarg;
		return 0;
	case FLAG_LOG:
		args->log = optarg;
		return 0;
	case FLAG_LOG_FORMAT:
		args->log_json = gt_streq(optarg, "json");
		return 0;
	case FLAG_IGNORED:
		return 0;
	case FLAG_HELP:
		fputs(usage, args->out);
		return 1;
	case FLAG_VERSION:
		fprintf(args->out, "gantry oci %s\nspec: 1.0.2\n", GT_VERSION);
		return 1;
	default:
		return bad_usage(err, "unknown flag");
	}
}

/* Of create and run. */
static int birth_flag(struct oci_args *args, int flag, struct gt_err *err)
{
	switch (flag) {
	case 'b':
		args->bundle = optarg;
		return 0;
	case 'f':
		args->config = optarg;
		return 0;
	case 'd':
		args->detach = true;
		return 0;
	case FLAG_PID_FILE:
		args->pid_file = optarg;
		return 0;
	case FLAG_KEEP:
		args->keep = true;
		return 0;
	case FLAG_IGNORED:
		return 0;
	case FLAG_CONSOLE:
		return gt_err_set(err, ENOTSUP, "not_supported",
				  "--console-socket: a container has no terminal");
	case FLAG_PRESERVE:
		if (gt_streq(optarg, "0"))
			return 0;
		return gt_err_set(err, ENOTSUP, "not_supported",
				  "--preserve-fds: a container gets three descriptors, no others");
	default:
		return bad_usage(err, "unknown flag");
	}
}

static int verb_flag(const struct verb *verb, struct oci_args *args, int flag, struct gt_err *err)
{
	if (verb->flags == birth_flags)
		return birth_flag(args, flag, err);
	switch (flag) {
	case 'a':
		return 0; /* KILL ends all of it, and other signals go to the program's group */
	case 'f':
		args->force = true;
		return 0;
	case 'q':
		args->quiet = true;
		return 0;
	default:
		return bad_usage(err, "unknown flag");
	}
}

static int read_words(const struct verb *verb, struct oci_args *args, int n, char **words,
		      struct gt_err *err)
{
	if (n < verb->least || n > verb->most)
		return bad_usage(err, n < verb->least ? "a container's id is missing"
						      : "too many words");
	if (n > 0 && !oci_id_ok(words[0]))
		return gt_err_set(err, EINVAL, "usage",
				  "\"%.60s\" is an invalid container id: letters, digits and _+-. "
				  "make one",
				  words[0]);
	args->id = n > 0 ? words[0] : NULL;
	args->signal = n > 1 ? words[1] : NULL;
	return 0;
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < GT_LEN(verbs); i++) {
		if (gt_streq(verbs[i].name, name))
			return &verbs[i];
	}
	return NULL;
}

static int read_verb(const struct verb *verb, int argc, char **argv, struct oci_args *args,
		     struct gt_err *err)
{
	int flag, r = 0;

	optind = 0;
	opterr = 0;
	while (r == 0 && (flag = getopt_long(argc, argv, verb->letters, verb->flags, NULL)) != -1)
		r = verb_flag(verb, args, flag, err);
	return r == 0 ? read_words(verb, args, argc - optind, argv + optind, err) : r;
}

static int run(int argc, char **argv, struct oci_args *args, struct gt_err *err)
{
	const struct verb *verb;
	int flag, r = 0;

	optind = 0;
	opterr = 0;
	while (r == 0 && (flag = getopt_long(argc, argv, "+", global_flags, NULL)) != -1)
		r = global_flag(args, flag, err);
	if (r != 0)
		return r < 0 ? r : 0;
	argc -= optind;
	argv += optind;
	verb = argc > 0 ? find_verb(argv[0]) : NULL;
	if (!verb)
		return bad_usage(err, argc > 0 ? "unknown command" : "a command is missing");
	r = read_verb(verb, argc, argv, args, err);
	if (r < 0)
		return r;
	if (geteuid() != 0)
		return gt_err_set(err, EPERM, "sandbox_failed", "containers need root");
	return verb->run(args, err);
}

int gt_oci_main(int argc, char **argv, FILE *out, FILE *err)
{
	/* getopt wants a program's name in front. */
	char **line = gt_alloc_array((size_t)argc + 2, sizeof(*line));
	struct oci_args args = {
		.root = DEFAULT_ROOT, .bundle = ".", .config = "config.json", .out = out, .err = err
	};
	struct gt_err refusal = { 0 };
	int r;

	line[0] = "gantry oci";
	memcpy(line + 1, argv, (size_t)argc * sizeof(*line));
	r = run(argc + 1, line, &args, &refusal);
	free(line);
	if (r >= 0)
		return r;
	log_line(&args, "error", refusal.text);
	fprintf(err, "gantry oci: %s\n", refusal.text);
	return 1;
}
