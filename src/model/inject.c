/* inject.c - lists with bounds. Paths are checked here once, for every source of them. */
#include <gantry/model/inject.h>

#include <gantry/base/buf.h>
#include <gantry/model/spec.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLUG "device_unavailable"

struct gt_inject *gt_inject_new(void)
{
	return gt_alloc(sizeof(struct gt_inject));
}

static void words_free(char **words, size_t n)
{
	while (n > 0)
		free(words[--n]);
	free(words);
}

void gt_inject_free(struct gt_inject *i)
{
	if (!i)
		return;
	for (size_t k = 0; k < i->n_binds; k++)
		gt_close(i->binds[k].fd);
	for (size_t k = 0; k < i->n_texts; k++)
		free(i->texts[k].text);
	for (size_t k = 0; k < i->n_env; k++) {
		free(i->env[k].name);
		free(i->env[k].value);
	}
	words_free(i->hides, i->n_hides);
	words_free(i->library_dirs, i->n_library_dirs);
	words_free(i->program_dirs, i->n_program_dirs);
	free(i->nodes);
	free(i->binds);
	free(i->links);
	free(i->texts);
	free(i->env);
	free(i);
}

/* ---- what is no path ---- */

/* Components without "." and "..", and no control characters. */
static bool components_ok(const char *path)
{
	size_t len = strlen(path);

	if (len == 0 || len > GT_INJECT_PATH_MAX)
		return false;
	for (const char *c = path; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 127)
			return false;
	}
	for (const char *at = path; *at;) {
		size_t n = strcspn(at, "/");

		if (n == 0 || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.'))
			return false;
		at += n;
		if (*at == '/' && *++at == '\0')
			return false;
	}
	return true;
}

static int check_absolute(const char *path, struct gt_err *err)
{
	if (path[0] == '/' && components_ok(path + 1))
		return 0;
	return gt_err_set(
		err, EINVAL, SLUG,
		"\"%.200s\" is no absolute path of at most %d bytes without \".\", \"..\" "
		"and doubled slashes",
		path, GT_INJECT_PATH_MAX);
}

static int check_below(const char *path, const char *where, struct gt_err *err)
{
	if (components_ok(path))
		return 0;
	return gt_err_set(err, EINVAL, SLUG, "\"%.200s\" is no path below %s", path, where);
}

static int full(size_t n, size_t max, const char *what, struct gt_err *err)
{
	return n < max ? 0
		       : gt_err_set(err, E2BIG, SLUG, "more than %zu %s for one container", max,
				    what);
}

static int taken(const char *path, struct gt_err *err)
{
	return gt_err_set(err, EEXIST, SLUG, "%s is asked for twice, as different things", path);
}

/* ---- adding ---- */

/* Process 1 makes these itself. */
static bool is_ours(const char *name)
{
	static const char *const ours[] = { "null", "zero", "full",  "random", "urandom",
					    "tty",  "fd",   "stdin", "stdout", "stderr",
					    "ptmx", "pts",  "shm",   "mqueue", "console" };
	size_t len = strcspn(name, "/");

	for (size_t k = 0; k < GT_LEN(ours); k++) {
		if (strlen(ours[k]) == len && strncmp(ours[k], name, len) == 0)
			return true;
	}
	return false;
}

static bool same_node(const struct gt_inject_node *a, const struct gt_inject_node *b)
{
	return a->type == b->type && a->major == b->major && a->minor == b->minor &&
	       a->read == b->read && a->write == b->write;
}

int gt_inject_node_add(struct gt_inject *i, const struct gt_inject_node *node, struct gt_err *err)
{
	const char *name = gt_starts_with(node->path, "/dev/") ? node->path + 5 : "";

	if (check_absolute(node->path, err) < 0)
		return -EINVAL;
	if (!*name || is_ours(name))
		return gt_err_set(err, EINVAL, SLUG,
				  "%s: a device is below /dev, and none that each container has",
				  node->path);
	if (node->type != 'c' && node->type != 'b')
		return gt_err_set(err, EINVAL, SLUG, "%s: neither a character nor a block device",
				  node->path);
	for (size_t k = 0; k < i->n_nodes; k++) {
		if (gt_streq(i->nodes[k].path, node->path))
			return same_node(&i->nodes[k], node) ? 0 : taken(node->path, err);
	}
	if (full(i->n_nodes, GT_INJECT_NODES_MAX, "devices", err) < 0)
		return -E2BIG;
	i->nodes = gt_grow(i->nodes, i->n_nodes + 1, sizeof(*i->nodes));
	i->nodes[i->n_nodes++] = *node;
	return 0;
}

static int bind_add(struct gt_inject *i, const char *path, int *fd, struct gt_err *err)
{
	if (check_absolute(path, err) < 0)
		return -EINVAL;
	for (size_t k = 0; k < i->n_binds; k++) {
		if (gt_streq(i->binds[k].path, path))
			return taken(path, err);
	}
	if (full(i->n_binds, GT_INJECT_BINDS_MAX, "files", err) < 0)
		return -E2BIG;
	i->binds = gt_grow(i->binds, i->n_binds + 1, sizeof(*i->binds));
	gt_strcopy(i->binds[i->n_binds].path, sizeof(i->binds->path), path);
	i->binds[i->n_binds++].fd = gt_steal_fd(fd);
	return 0;
}

int gt_inject_bind_add(struct gt_inject *i, const char *path, int fd, struct gt_err *err)
{
	gt_auto(fd) int own = fd;

	return bind_add(i, path, &own, err);
}

int gt_inject_link_add(struct gt_inject *i, const char *path, const char *to, struct gt_err *err)
{
	if (check_absolute(path, err) < 0)
		return -EINVAL;
	if (!*to || strlen(to) > GT_INJECT_PATH_MAX || strpbrk(to, "\n\r"))
		return gt_err_set(err, EINVAL, SLUG, "%s: what the link leads to is no path", path);
	for (size_t k = 0; k < i->n_links; k++) {
		if (gt_streq(i->links[k].path, path))
			return gt_streq(i->links[k].to, to) ? 0 : taken(path, err);
	}
	if (full(i->n_links, GT_INJECT_LINKS_MAX, "links", err) < 0)
		return -E2BIG;
	i->links = gt_grow(i->links, i->n_links + 1, sizeof(*i->links));
	gt_strcopy(i->links[i->n_links].path, sizeof(i->links->path), path);
	gt_strcopy(i->links[i->n_links++].to, sizeof(i->links->to), to);
	return 0;
}

int gt_inject_text_add(struct gt_inject *i, const char *path, const char *text, struct gt_err *err)
{
	if (check_below(path, "/proc/driver", err) < 0)
		return -EINVAL;
	for (size_t k = 0; k < i->n_texts; k++) {
		if (gt_streq(i->texts[k].path, path))
			return gt_streq(i->texts[k].text, text) ? 0 : taken(path, err);
	}
	if (full(i->n_texts, GT_INJECT_TEXTS_MAX, "files of /proc/driver", err) < 0)
		return -E2BIG;
	if (strlen(text) > GT_INJECT_TEXT_MAX)
		return gt_err_set(err, E2BIG, SLUG, "/proc/driver/%s has more than %d bytes", path,
				  GT_INJECT_TEXT_MAX);
	i->texts = gt_grow(i->texts, i->n_texts + 1, sizeof(*i->texts));
	gt_strcopy(i->texts[i->n_texts].path, sizeof(i->texts->path), path);
	i->texts[i->n_texts++].text = gt_strdup(text);
	return 0;
}

int gt_inject_env_add(struct gt_inject *i, const char *name, const char *value, struct gt_err *err)
{
	if (!*name || strchr(name, '='))
		return gt_err_set(err, EINVAL, SLUG, "\"%.64s\" is no name of a variable", name);
	for (size_t k = 0; k < i->n_env; k++) {
		if (gt_streq(i->env[k].name, name)) {
			free(i->env[k].value);
			i->env[k].value = gt_strdup(value);
			return 0;
		}
	}
	if (full(i->n_env, GT_INJECT_ENV_MAX, "variables", err) < 0)
		return -E2BIG;
	i->env = gt_grow(i->env, i->n_env + 1, sizeof(*i->env));
	i->env[i->n_env++] = (struct gt_inject_env){ gt_strdup(name), gt_strdup(value) };
	return 0;
}

static int word_add(char ***words, size_t *n, size_t max, const char *word, const char *what,
		    struct gt_err *err)
{
	for (size_t k = 0; k < *n; k++) {
		if (gt_streq((*words)[k], word))
			return 0;
	}
	if (full(*n, max, what, err) < 0)
		return -E2BIG;
	*words = gt_grow(*words, *n + 1, sizeof(**words));
	(*words)[(*n)++] = gt_strdup(word);
	return 0;
}

int gt_inject_hide_add(struct gt_inject *i, const char *path, struct gt_err *err)
{
	int r = check_below(path, "/sys", err);

	return r < 0 ? r
		     : word_add(&i->hides, &i->n_hides, GT_INJECT_HIDES_MAX, path,
				"hidden directories", err);
}

/* A ':' would make two of it. */
static int check_dir(const char *path, struct gt_err *err)
{
	if (strchr(path, ':'))
		return gt_err_set(err, EINVAL, SLUG, "\"%.200s\": no ':' in a list of directories",
				  path);
	return check_absolute(path, err);
}

int gt_inject_library_dir_add(struct gt_inject *i, const char *path, struct gt_err *err)
{
	int r = check_dir(path, err);

	return r < 0 ? r
		     : word_add(&i->library_dirs, &i->n_library_dirs, GT_INJECT_DIRS_MAX, path,
				"directories of libraries", err);
}

int gt_inject_program_dir_add(struct gt_inject *i, const char *path, struct gt_err *err)
{
	int r = check_dir(path, err);

	return r < 0 ? r
		     : word_add(&i->program_dirs, &i->n_program_dirs, GT_INJECT_DIRS_MAX, path,
				"directories of programs", err);
}

/* ---- the environment ---- */

static struct gt_env *find_env(const struct gt_spec *spec, const char *name)
{
	for (size_t k = 0; k < spec->n_env; k++) {
		if (gt_streq(spec->env[k].name, name))
			return &spec->env[k];
	}
	return NULL;
}

/* Takes the value. */
static void set_env(struct gt_spec *spec, const char *name, char *value)
{
	struct gt_env *e = find_env(spec, name);

	if (e) {
		free(e->value);
		e->value = value;
		return;
	}
	spec->env = gt_grow(spec->env, spec->n_env + 1, sizeof(*spec->env));
	spec->env[spec->n_env++] = (struct gt_env){ gt_strdup(name), value };
}

static char *joined(const char *before, char *const *words, size_t n, const char *after)
{
	gt_auto(buf) struct gt_buf out = { 0 };

	gt_buf_init(&out, 0);
	gt_buf_adds(&out, before);
	for (size_t k = 0; k < n; k++)
		gt_buf_addf(&out, "%s%s", out.len ? ":" : "", words[k]);
	gt_buf_addf(&out, "%s%s", *after ? ":" : "", after);
	return gt_buf_steal(&out);
}

void gt_inject_env_apply(const struct gt_inject *i, struct gt_spec *spec)
{
	const struct gt_env *libraries, *programs;

	for (size_t k = 0; k < i->n_env; k++)
		set_env(spec, i->env[k].name, gt_strdup(i->env[k].value));
	libraries = find_env(spec, "LD_LIBRARY_PATH");
	if (i->n_library_dirs > 0)
		set_env(spec, "LD_LIBRARY_PATH",
			joined("", i->library_dirs, i->n_library_dirs,
			       libraries ? libraries->value : ""));
	programs = find_env(spec, "PATH");
	if (i->n_program_dirs > 0)
		set_env(spec, "PATH",
			joined(programs ? programs->value : GT_DEFAULT_PATH, i->program_dirs,
			       i->n_program_dirs, ""));
}
