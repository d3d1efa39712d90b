/* node.c - `gantry node`: where replicas may run. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <gantry/base/units.h>
#include <gantry/model/gpu.h>
#include <gantry/model/spec.h>

#include "node.h"
#include "rest.h"

#define POLL_MS 500

static const struct {
	const char *name, *method, *path, *said;
} verbs[] = {
	{ "cordon", "POST", "/cordon", "takes no new replicas" },
	{ "uncordon", "POST", "/uncordon", "takes replicas" },
	{ "drain", "POST", "/drain", "is draining" },
	{ "rm", "DELETE", "", "is forgotten" },
};

/* Until none is left on it; says on a terminal how many are. */
static enum gt_exit wait_drained(struct gt_cli *cli, const char *name)
{
	gt_auto(free) char *path = gt_asprintf("/v1/nodes/%s", name);
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };

	for (;;) {
		gt_auto(buf) struct gt_buf text = { 0 };
		gt_auto(value) struct gt_value *v = NULL;
		enum gt_exit code = gt_cli_get(cli, path, &text, &v);
		const char *state;

		if (code != GT_EXIT_DONE)
			return code;
		state = gt_value_str(v, "state", "?");
		if (strcmp(state, "draining") != 0) {
			fprintf(cli->out, "%s is %s\n", name, state);
			return strcmp(state, "drained") == 0 ? GT_EXIT_DONE : GT_EXIT_FAILED;
		}
		if (gt_progress_wanted(cli))
			gt_progress(cli, "%u replicas are left on %s",
				    (unsigned)gt_value_u64(v, "replicas", 0), name);
		nanosleep(&pause, NULL);
	}
}

static enum gt_exit send_verb(struct gt_cli *cli, size_t verb, const char *name)
{
	const char *deadline = gt_args_get(&cli->args, "deadline");
	const char *force = gt_args_has(&cli->args, "force") ? "?force=1" : "";
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	gt_auto(free) char *path = gt_asprintf("/v1/nodes/%s%s%s%s%s", name, verbs[verb].path,
					       deadline ? "?deadline=" : "",
					       deadline ? deadline : "", force);
	struct gt_rest_request req = { .method = verbs[verb].method,
				       .path = path,
				       .timeout_ms = 60000 };
	enum gt_exit code = gt_cli_send(cli, &req, &answer);

	if (code != GT_EXIT_DONE)
		return code;
	if (gt_args_has(&cli->args, "wait"))
		return wait_drained(cli, name);
	if (cli->json)
		gt_cli_print_json(cli, &answer.body);
	else
		fprintf(cli->out, "%s %s\n", name, verbs[verb].said);
	return code;
}

/* A GPU was looked at, or reset: what errors made of it is forgotten. */
static enum gt_exit send_clear(struct gt_cli *cli, const char *name, const char *gpu)
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	gt_auto(free) char *path = gt_asprintf("/v1/nodes/%s/gpus/%s/clear", name, gpu);
	struct gt_rest_request req = { .method = "POST", .path = path, .timeout_ms = 60000 };
	gt_auto(value) struct gt_value *v = NULL;
	enum gt_exit code = gt_cli_send(cli, &req, &answer);
	const char *reason;

	if (code != GT_EXIT_DONE)
		return code;
	if (cli->json) {
		gt_cli_print_json(cli, &answer.body);
		return code;
	}
	if (gt_value_parse(answer.body.data ? answer.body.data : "", answer.body.len, &v, NULL) < 0)
		v = NULL;
	reason = gt_value_str(v, "reason", NULL);
	fprintf(cli->out, "%s on %s is %s%s%s\n", gpu, name, gt_value_str(v, "health", "?"),
		reason ? ": " : "", reason ? reason : "");
	return code;
}

static size_t verb_of(const char *word)
{
	size_t i = 0;

	while (i < GT_LEN(verbs) && strcmp(word, verbs[i].name) != 0)
		i++;
	return i;
}

static enum gt_exit duty(struct gt_cli *cli, size_t verb, const char *name)
{
	const char *deadline = gt_args_get(&cli->args, "deadline"), *word = verbs[verb].name;
	uint64_t ms;

	if (!gt_name_ok(name))
		return gt_cli_usage(cli, "\"%s\" is no node name; `gantry nodes` lists them", name);
	if (strcmp(word, "drain") != 0 && (deadline || gt_args_has(&cli->args, "wait")))
		return gt_cli_usage(cli, "--wait and --deadline are of gantry node drain");
	if (strcmp(word, "rm") != 0 && gt_args_has(&cli->args, "force"))
		return gt_cli_usage(cli, "--force is of gantry node rm");
	if (deadline && gt_parse_duration_ms(deadline, &ms) < 0)
		return gt_cli_usage(cli, "--deadline %s: write a time, as 90s or 10m", deadline);
	return send_verb(cli, verb, name);
}

static enum gt_exit clear(struct gt_cli *cli)
{
	const char *name = cli->args.operands[1], *gpu;

	if (!gt_name_ok(name))
		return gt_cli_usage(cli, "\"%s\" is no node name; `gantry nodes` lists them", name);
	if (cli->args.n_operands < 3)
		return gt_cli_usage(cli,
				    "gantry node clear %s: which GPU? `gantry nodes` names "
				    "those that are not well",
				    name);
	gpu = cli->args.operands[2];
	if (!gt_gpu_uuid_ok(gpu) || strchr(gpu, '/'))
		return gt_cli_usage(cli, "\"%s\" is no GPU's name, such as GPU-1234", gpu);
	if (gt_args_has(&cli->args, "wait") || gt_args_has(&cli->args, "deadline"))
		return gt_cli_usage(cli, "--wait and --deadline are of gantry node drain");
	return send_clear(cli, name, gpu);
}

static enum gt_exit run(struct gt_cli *cli)
{
	const char *word = cli->args.operands[0];
	bool cdi = strcmp(word, "cdi") == 0, gpu = strcmp(word, "clear") == 0;
	size_t verb = verb_of(word);

	if (cdi && cli->args.n_operands == 1)
		return gt_node_cdi(cli);
	if (cdi)
		return gt_cli_usage(cli, "gantry node cdi is of this machine; it takes no name");
	if (strcmp(word, "token") == 0 || strcmp(word, "tokens") == 0)
		return gt_node_token(cli);
	if (gt_args_has(&cli->args, "ttl") || gt_args_has(&cli->args, "node"))
		return gt_cli_usage(cli, "--ttl and --node are of gantry node token");
	if (verb == GT_LEN(verbs) && !gpu)
		return gt_cli_usage(cli,
				    "gantry node: \"%s\" is none of cordon, uncordon, drain, rm, "
				    "clear, token, tokens, cdi",
				    word);
	if (cli->args.n_operands < 2)
		return gt_cli_usage(cli, "gantry node %s: which node? `gantry nodes` lists them",
				    word);
	if (gpu)
		return clear(cli);
	if (cli->args.n_operands > 2)
		return gt_cli_usage(cli, "gantry node %s takes one name", word);
	return duty(cli, verb, cli->args.operands[1]);
}

static const struct gt_flag flags[] = {
	{ "wait", 'w', NULL, "drain: return when no replica is left on it", false },
	{ "deadline", 0, "TIME", "drain: replicas left then end without a successor (default 10m)",
	  false },
	{ "force", 'f', NULL, "rm: also a node that is connected, if it joined from elsewhere",
	  false },
	{ "ttl", 0, "TIME", "token: how long it is good (default 1h)", false },
	{ "node", 0, "NAME", "token: the only name that it is good for", false },
	{ "driver-root", 0, "DIR", "cdi: where the driver's libraries are (default /)", false },
	{ "proc", 0, "DIR", "cdi: where the kernel tells of the driver (default /proc)", false },
};

const struct gt_command gt_cmd_node = {
	.name = "node",
	.args = "cordon|uncordon|drain|rm NODE, clear NODE GPU, token [rm ID], tokens, cdi",
	.summary = "let nodes join, take no replicas, or go",
	.help = "cordon: it takes no new replicas and keeps those that it has; uncordon: it takes "
		"them again.\n"
		"drain: its replicas move to other nodes, each one when its successor is ready "
		"there; those that\n"
		"nobody needs end. rm forgets a node whose agent is not connected any more; one "
		"that joined from\n"
		"another machine may not come back then, and with --force that holds at once.\n"
		"token prints a token that lets one machine join, once; tokens lists them.\n"
		"clear: a GPU that was looked at or reset is well again, unless its driver says "
		"otherwise.\n"
		"\n"
		"cdi prints a document of the Container Device Interface for the GPUs of the "
		"machine it runs on:\n"
		"the device nodes of each, and the files, links and variables that come with any "
		"of them. It is\n"
		"the list that replicas with GPUs get; they need no such document, other programs "
		"can use it. It\n"
		"asks no daemon and loads nothing of the driver. Instances of a GPU (MIG) are not "
		"listed.\n"
		"\n"
		"  gantry node drain box-7 --wait\n"
		"  gantry node token --ttl 10m",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.least = 1,
	.most = 3,
	.run = run,
};
