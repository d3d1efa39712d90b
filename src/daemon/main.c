/* gantryd: one binary, three roles, and the few commands an operator runs by hand. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/agent/agent.h>
#include <gantry/api/api.h>
#include <gantry/base/suggest.h>
#include <gantry/gpu/helper.h>

#include "backup.h"
#include "check.h"
#include "config.h"
#include "files.h"
#include "kind.h"
#include "role.h"
#include "supervisor.h"

enum { EXIT_USAGE = 2 };

struct options {
	char **argv; /* as the process was given them */
	const char *state, *listen, *file, *node, *gpus, *join, *token, *store;
	const char *dir;             /* the one argument that is no option */
	char labels[GT_CONFIG_TEXT]; /* joined by ',' */
	enum gt_level log_level;
	bool has_log_level;
};

static const char usage[] =
	"usage: gantryd run [--state DIR] [--listen ADDR:PORT] [--config FILE]\n"
	"                   [--node NAME] [--gpus auto|none|nvidia|sim:COUNTxSIZE[:MODEL],...]\n"
	"                   [--label KEY=VALUE]... [--store postgresql://...]\n"
	"                   [--log-level debug|info|warn|error]\n"
	"       gantryd agent [--join https://HOST:PORT --token TOKEN] [--state DIR] [--config "
	"FILE]\n"
	"                   [--node NAME] [--gpus ...] [--label KEY=VALUE]... [--log-level LEVEL]\n"
	"                                         a node of the cluster whose door is there\n"
	"       gantryd check [--config FILE]     read the configuration, say what is wrong\n"
	"       gantryd cleanup --state DIR       stop and remove every replica of a stopped "
	"daemon\n"
	"       gantryd backup DIR [--state DIR]  a copy of what must survive the machine, of a "
	"daemon at work\n"
	"       gantryd restore DIR [--state DIR] back from it, into a stopped daemon's state "
	"directory\n"
	"       gantryd routes                    the REST routes, one a line\n"
	"       gantryd version | help\n"
	"\n"
	"Signals of a running daemon: TERM drains and ends (replicas keep running and are adopted "
	"by\n"
	"the next start), INT ends the replicas too, HUP reads configuration and admin token "
	"again,\n"
	"USR2 becomes the program that is now at its path, without a lost call.\n";

static int add_label(struct options *o, const char *label, struct gt_err *err)
{
	size_t len = strlen(o->labels);

	if (len > 0 && len + 1 < sizeof(o->labels))
		o->labels[len++] = ',';
	if (!gt_strcopy(o->labels + len, sizeof(o->labels) - len, label))
		return gt_err_set(err, EINVAL, "usage", "--label: too many");
	return 0;
}

/* Options that are a text, by the letter that getopt calls them. */
static const char **text_option(struct options *o, int letter)
{
	switch (letter) {
	case 's':
		return &o->state;
	case 'l':
		return &o->listen;
	case 'c':
		return &o->file;
	case 'n':
		return &o->node;
	case 'g':
		return &o->gpus;
	case 'j':
		return &o->join;
	case 't':
		return &o->token;
	case 'S':
		return &o->store;
	default:
		return NULL;
	}
}

static const struct option longs[] = {
	{ "state", required_argument, NULL, 's' },
	{ "listen", required_argument, NULL, 'l' },
	{ "config", required_argument, NULL, 'c' },
	{ "node", required_argument, NULL, 'n' },
	{ "gpus", required_argument, NULL, 'g' },
	{ "join", required_argument, NULL, 'j' },
	{ "token", required_argument, NULL, 't' },
	{ "label", required_argument, NULL, 'L' },
	{ "store", required_argument, NULL, 'S' },
	{ "log-level", required_argument, NULL, 'v' },
	{ NULL, 0, NULL, 0 },
};

static int unknown_option(const char *word, struct gt_err *err)
{
	static const char *const names[] = { "--state", "--listen",   "--config", "--node",
					     "--gpus",  "--join",     "--token",  "--label",
					     "--store", "--log-level" };
	const char *near = gt_suggest(word, names, GT_LEN(names));

	return gt_err_set(err, EINVAL, "usage", "unknown option %s%s%s", word,
			  near ? "; did you mean " : "", near ? near : "");
}

static int parse_options(int argc, char **argv, struct options *o, struct gt_err *err)
{
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		const char **text = text_option(o, c);

		if (text) {
			*text = optarg;
			continue;
		}
		switch (c) {
		case 'L':
			if (add_label(o, optarg, err) < 0)
				return -EINVAL;
			break;
		case 'v':
			if (gt_log_level_parse(optarg, &o->log_level) < 0)
				return gt_err_set(err, EINVAL, "usage",
						  "--log-level: \"%s\" is none of debug, info, "
						  "warn, error",
						  optarg);
			o->has_log_level = true;
			break;
		case ':':
			return gt_err_set(err, EINVAL, "usage", "%s needs a value",
					  argv[optind - 1]);
		default:
			return unknown_option(argv[optind - 1], err);
		}
	}
	if (optind < argc)
		o->dir = argv[optind++];
	if (optind < argc)
		return gt_err_set(err, EINVAL, "usage", "unexpected argument \"%s\"", argv[optind]);
	return 0;
}

/* The file, then what the command line said over it. */
static int load_config(struct gt_config *c, void *arg, struct gt_err *err)
{
	const struct options *o = arg;
	const char *file = o->file ? o->file : GT_CONFIG_FILE;

	if ((o->file || access(file, F_OK) == 0) && gt_config_read(c, file, err) < 0)
		return -err->code;
	if (o->state && !gt_strcopy(c->state, sizeof(c->state), o->state))
		return gt_err_set(err, ENAMETOOLONG, "usage", "--state: too long");
	if (o->listen && !gt_strcopy(c->listen, sizeof(c->listen), o->listen))
		return gt_err_set(err, ENAMETOOLONG, "usage", "--listen: too long");
	if (o->node && !gt_strcopy(c->node, sizeof(c->node), o->node))
		return gt_err_set(err, ENAMETOOLONG, "usage", "--node: too long");
	if (o->gpus && !gt_strcopy(c->gpus, sizeof(c->gpus), o->gpus))
		return gt_err_set(err, ENAMETOOLONG, "usage", "--gpus: too long");
	if (o->join && !gt_strcopy(c->join, sizeof(c->join), o->join))
		return gt_err_set(err, ENAMETOOLONG, "usage", "--join: too long");
	if (o->token && !gt_strcopy(c->join_token, sizeof(c->join_token), o->token))
		return gt_err_set(err, ENAMETOOLONG, "usage", "--token: too long");
	if (o->labels[0])
		gt_strcopy(c->labels, sizeof(c->labels), o->labels);
	if (o->store && !gt_strcopy(c->store, sizeof(c->store), o->store))
		return gt_err_set(err, ENAMETOOLONG, "usage", "--store: too long");
	if (gt_config_check_node(c, err) < 0 || gt_config_check_gateway(c, err) < 0 ||
	    gt_config_check_control(c, err) < 0)
		return -err->code;
	if (o->has_log_level)
		c->log_level = o->log_level;
	return 0;
}

static int supervise(const struct gt_kind *kind, struct options *o, struct gt_err *err)
{
	/* The process changes its directory; a relative file must mean the same at a reload. */
	static char full[GT_CONFIG_TEXT];

	if (o->file) {
		gt_auto(free) char *path = realpath(o->file, NULL);
		if (!path || !gt_strcopy(full, sizeof(full), path))
			return gt_err_errno(err, errno, "%s", o->file);
		o->file = full;
	}
	return gt_supervise(kind, load_config, o, o->argv, err);
}

static int run_daemon(struct options *o, struct gt_err *err)
{
	if (o->join || o->token)
		return gt_err_set(err, EINVAL, "usage",
				  "--join and --token are options of `gantryd agent`");
	return supervise(&gt_kind_run, o, err);
}

static int run_agent(struct options *o, struct gt_err *err)
{
	if (o->listen)
		return gt_err_set(
			err, EINVAL, "usage",
			"--listen is an option of `gantryd run`: an agent only calls out");
	return supervise(&gt_kind_agent, o, err);
}

static int run_check(struct options *o, struct gt_err *err)
{
	struct gt_config c;

	int fds[GT_GATEWAY_FILES];

	gt_config_defaults(&c);
	if (load_config(&c, o, err) < 0)
		return -err->code;
	c.access_log[0] = '\0'; /* a check makes no file */
	if (gt_config_files_open(&c, fds, err) < 0)
		return -err->code;
	int r = gt_gateway_check_files(fds, err);

	gt_config_files_close(fds);
	if (r == 0)
		r = gt_check_state(&c, err);
	if (r < 0)
		return r;
	printf("configuration is valid%s%s\n", c.file[0] ? ": " : " (no file, all defaults)",
	       c.file);
	return 0;
}

static int run_cleanup(struct options *o, struct gt_err *err)
{
	struct gt_config c;

	gt_config_defaults(&c);
	if (load_config(&c, o, err) < 0)
		return -err->code;
	return gt_agent_cleanup(c.state, err);
}

static int run_copy(struct options *o, bool back, struct gt_err *err)
{
	struct gt_config c;

	gt_config_defaults(&c);
	if (load_config(&c, o, err) < 0)
		return -err->code;
	if (!o->dir)
		return gt_err_set(err, EINVAL, "bad_config", "which directory? gantryd %s DIR",
				  back ? "restore" : "backup");
	if (geteuid() != 0)
		return gt_err_set(err, EPERM, "not_root",
				  "admin.token and the keys in control/ are root's and control's "
				  "alone: this needs root");
	if ((back ? gt_restore(&c, o->dir, err) : gt_backup(&c, o->dir, err)) < 0)
		return -err->code;
	printf(back ? "%s is restored into %s; what was there is beside it\n"
		    : "%s has what is in %s, checked\n",
	       o->dir, c.state);
	return 0;
}

static int run_backup(struct options *o, struct gt_err *err)
{
	return run_copy(o, false, err);
}

static int run_restore(struct options *o, struct gt_err *err)
{
	return run_copy(o, true, err);
}

static int run_routes(struct options *o, struct gt_err *err)
{
	(void)o;
	(void)err;
	gt_api_print_routes(stdout);
	return 0;
}

static int run_version(struct options *o, struct gt_err *err)
{
	(void)o;
	(void)err;
	printf("gantryd %s\n", GT_VERSION);
	return 0;
}

static int run_help(struct options *o, struct gt_err *err)
{
	(void)o;
	(void)err;
	fputs(usage, stdout);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct options *o, struct gt_err *err);
} commands[] = {
	{ "run", run_daemon },        { "agent", run_agent },     { "check", run_check },
	{ "backup", run_backup },     { "restore", run_restore }, { "cleanup", run_cleanup },
	{ "routes", run_routes },     { "version", run_version }, { "help", run_help },
	{ "--version", run_version }, { "--help", run_help },     { "-h", run_help },
	{ "--routes", run_routes },
};

static int (*const role_mains[GT_PROC_N])(struct gt_role_env *env, struct gt_err *err) = {
	[GT_PROC_CONTROL] = gt_role_control,
	[GT_PROC_AGENT] = gt_role_agent,
	[GT_PROC_GATEWAY] = gt_role_gateway,
	[GT_PROC_UPLINK] = gt_role_uplink,
};

static int run_role(enum gt_role_id id)
{
	struct gt_role_env env = { 0 };
	struct gt_err err = { 0 };

	if (gt_role_enter(id, &env, &err) == 0 && role_mains[id](&env, &err) == 0)
		return EXIT_SUCCESS;
	gt_error("%s", err.text);
	return EXIT_FAILURE;
}

static int run_command(int argc, char **argv, size_t i)
{
	struct options o = { .argv = argv };
	struct gt_err err = { 0 };

	if (argc == 3 && (gt_streq(argv[2], "--help") || gt_streq(argv[2], "-h")))
		return run_help(&o, &err);
	if (parse_options(argc - 1, argv + 1, &o, &err) == 0 && o.dir &&
	    commands[i].run != run_backup && commands[i].run != run_restore)
		gt_err_set(&err, EINVAL, "usage", "unexpected argument \"%s\"", o.dir);
	if (err.code) {
		fprintf(stderr, "gantryd %s: %s\n%s", commands[i].name, err.text, usage);
		return EXIT_USAGE;
	}
	if (commands[i].run(&o, &err) < 0) {
		fprintf(stderr, "gantryd: %s\n", err.text);
		return gt_streq(err.slug, "bad_config") || gt_streq(err.slug, "usage")
			       ? EXIT_USAGE
			       : EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	const char *names[GT_LEN(commands)];

	if (argc < 2) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	if (argc == 2 && gt_streq(argv[1], GT_GPU_HELPER_ARG))
		gt_gpud_main(); /* the agent starts it */
	/* `agent` alone is a command too: a role has its configuration from the supervisor. */
	for (int i = 0; i < GT_PROC_N; i++)
		if (argc == 2 && gt_streq(argv[1], gt_role_names[i]) &&
		    (i != GT_PROC_AGENT || getenv(GT_ENV_CONFIG)))
			return run_role((enum gt_role_id)i);
	for (size_t i = 0; i < GT_LEN(commands); i++) {
		names[i] = commands[i].name;
		if (gt_streq(argv[1], commands[i].name))
			return run_command(argc, argv, i);
	}
	const char *near = gt_suggest(argv[1], names, GT_LEN(names));
	fprintf(stderr, "gantryd: unknown command \"%s\"%s%s\n%s", argv[1],
		near ? "; did you mean " : "", near ? near : "", usage);
	return EXIT_USAGE;
}
