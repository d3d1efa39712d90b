#include "deploy_spec.h"

#include <limits.h>
#include <string.h>

#include <gantry/base/units.h>
#include <gantry/wire/json.h>
#include <gantry/wire/value.h>

const struct gt_flag gt_deploy_flags[GT_DEPLOY_FLAGS_N] = {
	{ "file", 'f', "FILE", "the specification; - reads standard input", false },
	{ "image", 'i', "IMAGE", "REGISTRY/NAME:TAG, bundle:DIGEST, dir:/PATH, or host:", false },
	{ "base", 0, "IMAGE", "image below a bundle", false },
	{ "pull", 0, "WHEN", "ask the registry when the image is missing, always or never", false },
	{ "port", 'p', "PORT", "TCP port that the command listens on", false },
	{ "socket", 0, "PATH", "unix socket that it listens on, instead of a port", false },
	{ "env", 'e', "NAME=VALUE", "environment; NAME alone takes its value from here", true },
	{ "volume", 0, "HOST:PATH", "mount a host path, read-only; HOST:PATH:rw to write", true },
	{ "tmpfs", 0, "PATH[:SIZE]", "empty memory file system", true },
	{ "workdir", 'w', "DIR", "working directory", false },
	{ "user", 'u', "USER[:GROUP]", "user in the container", false },
	{ "memory", 'm', "SIZE", "memory limit, such as 512MiB", false },
	{ "cpu", 0, "N", "CPUs, such as 0.5 or 500m", false },
	{ "disk", 0, "SIZE", "size of the writable layer", false },
	{ "gpu", 0, "MODEL[:N]", "GPUs, such as H100:2 or any:1", false },
	{ "pids", 0, "N", "most processes", false },
	{ "min", 0, "N", "replicas that always run", false },
	{ "max", 0, "N", "replicas at most", false },
	{ "concurrency", 'c', "N", "calls that a replica serves at once", false },
	{ "idle", 0, "TIME", "idle time before a replica ends, such as 60s", false },
	{ "ready", 0, "PATH", "ready when GET PATH answers 2xx (default: the port accepts)",
	  false },
	{ "ready-timeout", 0, "TIME", "time to become ready", false },
	{ "model", 0, "NAME", "serve this OpenAI model name", true },
	{ "public", 0, NULL, "calls need no token", false },
	{ "dry-run", 'n', NULL, "say what would happen, change nothing", false },
	{ "wait", 0, NULL, "wait until a replica of it serves (scale.min above 0)", false },
	{ "timeout", 0, "TIME", "longest --wait (default 10m)", false },
	{ "create", 0, NULL, "only if no function has this name", false },
	{ "if-match", 0, "ETAG", "only if the function still is at this version", false },
};

enum kind { TEXT, COUNT, NUMBER, LIST, PUBLIC };

/* flag -> member, in objects one after the other */
static const struct {
	const char *flag, *object, *member;
	enum kind kind;
} rows[] = {
	{ "base", NULL, "base", TEXT },
	{ "pull", NULL, "pull", TEXT },
	{ "port", NULL, "port", COUNT },
	{ "socket", NULL, "socket", TEXT },
	{ "workdir", NULL, "workdir", TEXT },
	{ "user", NULL, "user", TEXT },
	{ "public", NULL, "access", PUBLIC },
	{ "gpu", NULL, "gpu", TEXT },
	{ "ready", "ready", "path", TEXT },
	{ "ready-timeout", "ready", "timeout", TEXT },
	{ "cpu", "resources", "cpu", NUMBER },
	{ "memory", "resources", "memory", TEXT },
	{ "disk", "resources", "disk", TEXT },
	{ "pids", "resources", "pids", COUNT },
	{ "min", "scale", "min", COUNT },
	{ "max", "scale", "max", COUNT },
	{ "concurrency", "scale", "concurrency", COUNT },
	{ "idle", "scale", "idle", TEXT },
	{ "model", "serves", "openai", LIST },
};

static int bad(struct gt_err *err, const char *flag, const char *value, const char *fix)
{
	return gt_err_set(err, EINVAL, "usage", "--%s %s: %s", flag, value, fix);
}

static int write_row(struct gt_json *j, const struct gt_args *args, size_t row, struct gt_err *err)
{
	const char *flag = rows[row].flag, *member = rows[row].member, *one;
	const char *value = gt_args_get(args, flag);
	uint64_t n;
	double d;
	char *end;

	switch (rows[row].kind) {
	case PUBLIC:
		gt_json_str(j, member, "public");
		break;
	case COUNT:
		if (gt_parse_u64(value, UINT32_MAX, &n) < 0)
			return bad(err, flag, value, "write a whole number");
		gt_json_u64(j, member, n);
		break;
	case NUMBER:
		d = strtod(value, &end);
		if (end != value && *end == '\0' && d >= 0 && d < 1e6)
			gt_json_num(j, member, d);
		else
			gt_json_str(j, member, value);
		break;
	case LIST:
		gt_json_array(j, member);
		for (size_t i = 0; (one = gt_args_nth(args, flag, i)); i++)
			gt_json_str(j, NULL, one);
		gt_json_close(j, ']');
		break;
	case TEXT:
		gt_json_str(j, member, value);
		break;
	}
	return 0;
}

static int write_rows(struct gt_json *j, const struct gt_args *args, struct gt_err *err)
{
	const char *open = NULL;

	for (size_t i = 0; i < GT_LEN(rows); i++) {
		int rc;

		if (!gt_args_has(args, rows[i].flag))
			continue;
		if (!gt_streq(open, rows[i].object)) {
			if (open)
				gt_json_close(j, '}');
			gt_json_object(j, rows[i].object);
			open = rows[i].object;
		}
		rc = write_row(j, args, i, err);
		if (rc < 0)
			return rc;
	}
	if (open)
		gt_json_close(j, '}');
	return 0;
}

/* Host paths are of the node; a relative one can only mean this machine. */
static char *absolute(const char *path)
{
	return path[0] == '/' ? gt_strdup(path) : realpath(path, NULL);
}

static int write_image(struct gt_json *j, const struct gt_args *args, struct gt_err *err)
{
	const char *image = gt_args_get(args, "image");
	gt_auto(free) char *path = NULL, *full = NULL;

	if (!image)
		return 0;
	if (gt_starts_with(image, "dir:")) {
		path = absolute(image + 4);
		if (!path)
			return bad(err, "image", image, strerror(errno));
		full = gt_asprintf("dir:%s", path);
		image = full;
	}
	gt_json_str(j, "image", image);
	return 0;
}

static void write_command(struct gt_json *j, const struct gt_args *args)
{
	if (!args->rest)
		return;
	gt_json_array(j, "command");
	for (size_t i = 0; i < args->n_rest; i++)
		gt_json_str(j, NULL, args->rest[i]);
	gt_json_close(j, ']');
}

static int write_env(struct gt_json *j, const struct gt_args *args, struct gt_err *err)
{
	const char *one;

	if (!gt_args_has(args, "env"))
		return 0;
	gt_json_object(j, "env");
	for (size_t i = 0; (one = gt_args_nth(args, "env", i)); i++) {
		const char *equals = strchr(one, '=');
		gt_auto(free) char *name = gt_strndup(one, strcspn(one, "="));
		const char *value = equals ? equals + 1 : getenv(name);

		if (!value)
			return bad(err, "env", one, "it is not set here; write NAME=VALUE");
		gt_json_str(j, name, value);
	}
	gt_json_close(j, '}');
	return 0;
}

static int write_volume(struct gt_json *j, const char *text, struct gt_err *err)
{
	gt_auto(free) char *copy = gt_strdup(text), *host = NULL;
	char *at = copy, *from = strsep(&at, ":"), *to = strsep(&at, ":"), *mode = strsep(&at, ":");

	if (!*from || !to || to[0] != '/' || at ||
	    (mode && strcmp(mode, "ro") != 0 && strcmp(mode, "rw") != 0))
		return bad(err, "volume", text, "write HOST:PATH, HOST:PATH:ro or HOST:PATH:rw");
	host = absolute(from);
	if (!host)
		return bad(err, "volume", text, strerror(errno));
	gt_json_object(j, NULL);
	gt_json_str(j, "host", host);
	gt_json_str(j, "path", to);
	if (mode)
		gt_json_bool(j, "readonly", strcmp(mode, "ro") == 0);
	gt_json_close(j, '}');
	return 0;
}

static int write_tmpfs(struct gt_json *j, const char *text, struct gt_err *err)
{
	gt_auto(free) char *copy = gt_strdup(text);
	char *size = copy, *path = strsep(&size, ":");

	if (path[0] != '/' || (size && (!*size || strchr(size, ':'))))
		return bad(err, "tmpfs", text, "write PATH or PATH:SIZE, such as /scratch:64MiB");
	gt_json_object(j, NULL);
	gt_json_str(j, "path", path);
	if (size)
		gt_json_str(j, "size", size);
	gt_json_close(j, '}');
	return 0;
}

static int write_mounts(struct gt_json *j, const struct gt_args *args, const char *flag,
			const char *member,
			int (*write)(struct gt_json *j, const char *text, struct gt_err *err),
			struct gt_err *err)
{
	const char *one;

	if (!gt_args_has(args, flag))
		return 0;
	gt_json_array(j, member);
	for (size_t i = 0; (one = gt_args_nth(args, flag, i)); i++) {
		int rc = write(j, one, err);
		if (rc < 0)
			return rc;
	}
	gt_json_close(j, ']');
	return 0;
}

int gt_spec_of_args(const struct gt_args *args, struct gt_buf *out, struct gt_err *err)
{
	struct gt_json j;
	int rc;

	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	rc = write_image(&j, args, err);
	write_command(&j, args);
	if (rc == 0)
		rc = write_env(&j, args, err);
	if (rc == 0)
		rc = write_mounts(&j, args, "volume", "volumes", write_volume, err);
	if (rc == 0)
		rc = write_mounts(&j, args, "tmpfs", "tmpfs", write_tmpfs, err);
	if (rc == 0)
		rc = write_rows(&j, args, err);
	if (rc == 0)
		gt_json_close(&j, '}');
	return rc;
}

int gt_spec_over(const struct gt_buf *file, const struct gt_buf *flags, struct gt_buf *out,
		 struct gt_err *err)
{
	gt_auto(value) struct gt_value *base = NULL, *patch = NULL;

	if (strcmp(flags->data, "{}") == 0)
		return gt_buf_add(out, file->data, file->len);
	if (gt_value_parse(flags->data, flags->len, &patch, err) < 0 ||
	    gt_value_parse(file->data, file->len, &base, err) < 0 ||
	    gt_value_merge(base, patch, err) < 0)
		return -EINVAL;
	return gt_value_write(base, 0, out);
}

static bool is_file(const char *word)
{
	return strcmp(word, "-") == 0 || strpbrk(word, "/.") != NULL;
}

int gt_deploy_names(const struct gt_args *args, char **name, const char **file, struct gt_err *err)
{
	const char *own = NULL, *from = gt_args_get(args, "file"), *base;

	for (size_t i = 0; i < args->n_operands; i++) {
		const char *word = args->operands[i];
		const char **to = is_file(word) ? &from : &own;
		if (*to)
			return gt_err_set(err, EINVAL, "usage", "\"%s\" and \"%s\": one %s only",
					  *to, word, to == &from ? "FILE" : "NAME");
		*to = word;
	}
	if (!own && (!from || strcmp(from, "-") == 0))
		return gt_err_set(err, EINVAL, "usage", "a NAME for the function is missing");
	*file = from;
	if (own) {
		*name = gt_strdup(own);
		return 0;
	}
	base = strrchr(from, '/');
	base = base ? base + 1 : from;
	*name = gt_strndup(base, strcspn(base, "."));
	return 0;
}
