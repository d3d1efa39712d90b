/* image.c - images of the node. */
#include <string.h>

#include <gantry/base/clock.h>
#include <gantry/model/ref.h>
#include <gantry/model/spec.h>
#include <gantry/wire/json.h>

#include "commands.h"
#include "pull.h"
#include "rest.h"
#include "table.h"

#define DIGEST_SHOWN (strlen("sha256:") + 12)

/* ---- ls ---- */

static bool add_row(struct gt_cli *cli GT_UNUSED, const struct gt_value *i, void *arg)
{
	struct gt_table *t = arg;
	char age[16], size[32];

	gt_age_text(gt_value_str(i, "used_at", NULL), gt_wall_ms(&gt_clock_system), age,
		    sizeof(age));
	gt_mib_text(gt_value_u64(i, "bytes", 0), size, sizeof(size));
	gt_table_cellf(t, "%.*s", (int)DIGEST_SHOWN, gt_value_str(i, "digest", "?"));
	gt_table_cellf(t, "%u", (unsigned)gt_value_u64(i, "layers", 0));
	gt_table_cell(t, size);
	gt_table_cell(t, age);
	gt_table_cell(t, gt_value_bool(i, "in_use", false) ? "yes" : "no");
	gt_table_cell(t, gt_value_str(i, "name", ""));
	return true;
}

/* Below /v1/images, of the node that --node names. */
static char *path_of(struct gt_cli *cli, const char *below)
{
	const char *node = gt_args_get(&cli->args, "node");

	return gt_asprintf("/v1/images%s%s%s", below,
			   !node                ? ""
			   : strchr(below, '?') ? "&node="
						: "?node=",
			   node ? node : "");
}

static enum gt_exit list(struct gt_cli *cli)
{
	static const char *const headers[] = { "DIGEST", ">LAYERS", ">SIZE",
					       ">USED",  "IN USE",  "NAME" };
	gt_auto(table) struct gt_table *t = gt_table_new(headers, GT_LEN(headers));
	gt_auto(free) char *path = path_of(cli, "");
	enum gt_exit code = gt_cli_list(cli, path, add_row, t);

	if (code != GT_EXIT_DONE || cli->json)
		return code;
	gt_table_print(t, cli->out, cli->color);
	if (gt_table_rows(t) == 0 && cli->out_tty)
		fputs("no images; `gantry image pull REFERENCE` gets one\n", cli->err);
	return GT_EXIT_DONE;
}

/* ---- pull ---- */

static enum gt_exit pull(struct gt_cli *cli)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	gt_auto(free) char *path = path_of(cli, "/pull");
	struct gt_rest_request req = { .method = "POST",
				       .path = path,
				       .content_type = "application/json",
				       .accept = "application/x-ndjson" };
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "image", cli->args.operands[1]);
	gt_json_close(&j, '}');
	req.body = gt_buf_str(&body);
	req.body_len = body.len;
	return gt_cli_pull(cli, &req, cli->args.operands[1]);
}

/* ---- rm, gc ---- */

static enum gt_exit send_removal(struct gt_cli *cli, const char *method, const char *path)
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	gt_auto(value) struct gt_value *v = NULL;
	struct gt_rest_request req = { .method = method, .path = path, .timeout_ms = 60000 };
	enum gt_exit code = gt_cli_send(cli, &req, &answer);
	char size[32];

	if (code != GT_EXIT_DONE)
		return code;
	if (cli->json) {
		gt_cli_print_json(cli, &answer.body);
		return code;
	}
	if (gt_value_parse(gt_buf_str(&answer.body), answer.body.len, &v, NULL) < 0)
		return GT_EXIT_FAILED;
	gt_mib_text(gt_value_u64(v, "bytes", 0), size, sizeof(size));
	fprintf(cli->out, "%u images removed, %s\n", (unsigned)gt_value_u64(v, "images", 0), size);
	return code;
}

struct search {
	const char *wanted;
	char *digest;
	unsigned found;
};

/* A digest, the beginning of one, or a name. */
static bool match(struct gt_cli *cli GT_UNUSED, const struct gt_value *i, void *arg)
{
	const char *digest = gt_value_str(i, "digest", ""), *name = gt_value_str(i, "name", "");
	struct search *s = arg;
	const char *hex = gt_starts_with(s->wanted, "sha256:") ? s->wanted + 7 : s->wanted;
	size_t len = strlen(s->wanted);
	bool named = strncmp(name, s->wanted, len) == 0 && (name[len] == '\0' || name[len] == '@');

	if (!named && (strlen(hex) < 6 || !gt_digest_ok(digest) ||
		       !gt_starts_with(gt_digest_hex(digest), hex)))
		return true;
	free(s->digest);
	s->digest = gt_strdup(digest);
	s->found++;
	return true;
}

static enum gt_exit remove_one(struct gt_cli *cli)
{
	struct search s = { .wanted = cli->args.operands[1] };
	gt_auto(free) char *all = path_of(cli, "");
	enum gt_exit code = gt_cli_each(cli, all, match, &s);
	gt_auto(free) char *digest = s.digest;
	gt_auto(free) char *below = gt_asprintf("/%s", digest ? digest : "");
	gt_auto(free) char *path = path_of(cli, below);

	if (code != GT_EXIT_DONE)
		return code;
	if (s.found != 1) {
		fprintf(cli->err, "gantry: %s %s; `gantry image ls` lists them\n",
			s.found ? "several images match" : "no image is called", s.wanted);
		return GT_EXIT_FAILED;
	}
	return send_removal(cli, "DELETE", path);
}

static enum gt_exit collect(struct gt_cli *cli)
{
	gt_auto(free) char *path = path_of(cli,
					   gt_args_has(&cli->args, "all") ? "/gc?all=1" : "/gc");

	return send_removal(cli, "POST", path);
}

static const struct {
	const char *name;
	size_t operands; /* with the name */
	enum gt_exit (*run)(struct gt_cli *cli);
} verbs[] = {
	{ "ls", 1, list }, { "pull", 2, pull }, { "rm", 2, remove_one }, { "gc", 1, collect }
};

static enum gt_exit run(struct gt_cli *cli)
{
	const char *verb = cli->args.operands[0], *node = gt_args_get(&cli->args, "node");

	if (node && !gt_name_ok(node))
		return gt_cli_usage(cli, "gantry image: --node: \"%s\" is no name of a node", node);
	for (size_t i = 0; i < GT_LEN(verbs); i++) {
		if (strcmp(verb, verbs[i].name) != 0)
			continue;
		if (cli->args.n_operands != verbs[i].operands)
			return gt_cli_usage(cli, "usage: gantry image %s%s", verb,
					    verbs[i].operands > 1 ? " IMAGE" : "");
		return verbs[i].run(cli);
	}
	return gt_cli_usage(cli, "gantry image: \"%s\" is none of ls, pull, rm, gc", verb);
}

static const struct gt_flag flags[] = {
	{ "all", 'a', NULL, "gc: also images that were used lately", false },
	{ "node", 0, "NODE", "of this node, not of the one that control runs on", false },
};

const struct gt_command gt_cmd_image = {
	.name = "image",
	.args = "ls | pull REFERENCE | rm IMAGE | gc",
	.summary = "images that a node has",
	.help = "ls lists them; pull gets one ahead of its first start, with progress on a "
		"terminal; rm removes\n"
		"one by its name, its digest or the first 6 digits of that; gc removes those that "
		"nobody has used\n"
		"for long (image_keep of the daemon's configuration). What a replica uses stays.\n"
		"\n"
		"  gantry image pull registry.example/team/echo:1",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.least = 1,
	.most = 2,
	.run = run,
};
