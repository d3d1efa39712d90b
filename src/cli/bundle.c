/* bundle.c - uploads an archive, piece by piece; goes on where an earlier try broke off. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <gantry/http/digest.h>
#include <gantry/model/limits.h>

#include "commands.h"
#include "pull.h"
#include "rest.h"

#define READ_SIZE ((size_t)256 * 1024)

struct upload {
	struct gt_cli *cli;
	const char *path;
	FILE *file;
	uint64_t total;
	char digest[sizeof("sha256:") + GT_SHA256_HEX_SIZE];
	char *piece;
};

static enum gt_exit fail(struct upload *u, const char *why)
{
	fprintf(u->cli->err, "gantry: %s: %s\n", u->path, why);
	return GT_EXIT_FAILED;
}

static enum gt_exit hash(struct upload *u)
{
	struct gt_sha256 *sha = gt_sha256_new();
	char hex[GT_SHA256_HEX_SIZE];
	size_t n;

	while ((n = fread(u->piece, 1, READ_SIZE, u->file)) > 0) {
		gt_sha256_add(sha, u->piece, n);
		u->total += n;
	}
	gt_sha256_end(sha, hex);
	snprintf(u->digest, sizeof(u->digest), "sha256:%s", hex);
	if (ferror(u->file))
		return fail(u, strerror(errno));
	return u->total > 0 ? GT_EXIT_DONE : fail(u, "the file is empty");
}

static enum gt_exit state(struct upload *u, uint64_t *ret_bytes, bool *ret_complete)
{
	gt_auto(free) char *path = gt_asprintf("/v1/bundles/%s", u->digest);
	gt_auto(value) struct gt_value *v = NULL;
	enum gt_exit code = gt_cli_get(u->cli, path, NULL, &v);

	if (code != GT_EXIT_DONE)
		return code;
	*ret_bytes = gt_value_u64(v, "bytes", 0);
	*ret_complete = gt_value_bool(v, "complete", false);
	return code;
}

static int read_piece(struct upload *u, uint64_t offset, size_t *ret_len)
{
	if (fseeko(u->file, (off_t)offset, SEEK_SET) < 0)
		return -errno;
	*ret_len = fread(u->piece, 1, GT_BUNDLE_PIECE_MAX, u->file);
	return *ret_len > 0 ? 0 : -EIO; /* it became shorter meanwhile */
}

static enum gt_exit send_pieces(struct upload *u, uint64_t at)
{
	for (;;) {
		gt_auto(free) char *path = gt_asprintf("/v1/bundles/%s?offset=%llu&total=%llu",
						       u->digest, (unsigned long long)at,
						       (unsigned long long)u->total);
		gt_auto(answer) struct gt_rest_answer answer = { 0 };
		struct gt_rest_request req = { .method = "PUT",
					       .path = path,
					       .content_type = "application/octet-stream",
					       .accept = "application/x-ndjson" };
		enum gt_exit code;
		size_t len = 0;

		if (read_piece(u, at, &len) < 0)
			return fail(u, "can not be read any more");
		req.body = u->piece;
		req.body_len = len;
		gt_progress(u->cli, "%.60s: %llu of %llu MiB sent", u->path,
			    (unsigned long long)(at / GT_MIB),
			    (unsigned long long)(u->total / GT_MIB));
		if (at + len == u->total)
			return gt_cli_pull(u->cli, &req, u->path);
		code = gt_cli_send(u->cli, &req, &answer);
		if (code != GT_EXIT_DONE)
			return code;
		at += len;
	}
}

static enum gt_exit push(struct upload *u)
{
	uint64_t at = 0;
	bool complete = false;
	enum gt_exit code = hash(u);

	if (code == GT_EXIT_DONE)
		code = state(u, &at, &complete);
	if (code == GT_EXIT_DONE && !complete)
		code = send_pieces(u, at >= u->total ? 0 : at);
	else if (code == GT_EXIT_DONE && !u->cli->json)
		fprintf(u->cli->out, "%s\n", u->digest);
	gt_progress_clear(u->cli);
	if (code == GT_EXIT_DONE && u->cli->err_tty)
		fprintf(u->cli->err, "deploy it with \"image\": \"bundle:%s\"\n", u->digest);
	return code;
}

static enum gt_exit run(struct gt_cli *cli)
{
	struct upload u = { .cli = cli };
	enum gt_exit code;
	struct stat st;

	if (strcmp(cli->args.operands[0], "push") != 0)
		return gt_cli_usage(cli, "usage: gantry bundle push FILE");
	u.path = cli->args.operands[1];
	u.file = fopen(u.path, "re");
	if (!u.file)
		return fail(&u, strerror(errno));
	u.piece = gt_alloc(GT_BUNDLE_PIECE_MAX);
	if (fstat(fileno(u.file), &st) == 0 && S_ISDIR(st.st_mode))
		code = fail(&u,
			    "is a directory; make an archive of it: tar -C DIR -czf app.tar.gz .");
	else
		code = push(&u);
	fclose(u.file);
	free(u.piece);
	return code;
}

const struct gt_command gt_cmd_bundle = {
	.name = "bundle",
	.args = "push FILE",
	.summary = "upload an archive to run functions from",
	.help = "Uploads a tar archive, plain or compressed by gzip or zstd, and prints its "
		"digest. "
		"A function runs\n"
		"from it with \"image\": \"bundle:DIGEST\", alone or over the image of a registry: "
		"\"base\". What is\n"
		"there already is not sent again; an upload that broke off goes on.\n"
		"\n"
		"  tar -C app -czf app.tar.gz . && gantry bundle push app.tar.gz",
	.least = 2,
	.most = 2,
	.run = run,
};
