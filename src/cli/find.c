#include "find.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/base/units.h>
#include <gantry/wire/value.h>

#define SMALL_FILE_MAX 8192
#define DIRS_MAX       4

void gt_target_fini(struct gt_target *t)
{
	free(t->url);
	free(t->ca);
	free(t->token);
	free(t->state);
	free(t->note);
}

/* A whole small file that root or this user owns: a state directory below the working directory
 * could be anyone's. */
static int read_own(const char *path, struct gt_buf *out)
{
	gt_auto(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	ssize_t n;
	char *to;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()))
		return -EPERM;
	gt_buf_init(out, SMALL_FILE_MAX + 1);
	to = gt_buf_reserve(out, SMALL_FILE_MAX);
	n = read(fd, to, SMALL_FILE_MAX);
	if (n < 0)
		return -errno;
	to[n] = '\0';
	out->len = (size_t)n;
	return 0;
}

static bool printable(const char *s)
{
	for (; *s; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			return false;
	return true;
}

static int read_token(const char *path, char **ret, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	int rc = read_own(path, &text);
	char *s = gt_buf_str(&text);

	if (rc < 0)
		return gt_err_errno(err, -rc, "%s", path);
	s[strcspn(s, "\r\n")] = '\0';
	if (!*s || !printable(s))
		return gt_err_set(err, EINVAL, "usage", "%s: there is no token in it", path);
	*ret = gt_strdup(s);
	return 0;
}

static int set_url(const char *url, struct gt_target *t, struct gt_err *err)
{
	size_t n = strlen(url);

	if ((!gt_starts_with(url, "http://") && !gt_starts_with(url, "https://")) ||
	    !printable(url))
		return gt_err_set(err, EINVAL, "usage",
				  "\"%s\" is no URL; write it as http://HOST:PORT", url);
	while (n && url[n - 1] == '/')
		n--;
	t->url = gt_strndup(url, n);
	return 0;
}

/* Fills url, state and pid when a live daemon keeps its state in dir. */
static int look_into(const char *dir, struct gt_target *t)
{
	gt_auto(free) char *path = gt_asprintf("%s/daemon.json", dir);
	gt_auto(value) struct gt_value *v = NULL;
	gt_auto(buf) struct gt_buf text = { 0 };
	uint64_t pid;
	int rc = read_own(path, &text);

	if (rc < 0)
		return rc;
	rc = gt_value_parse(gt_buf_str(&text), text.len, &v, NULL);
	if (rc < 0)
		return rc;
	pid = gt_value_u64(v, "pid", 0);
	if (pid == 0 || pid > INT32_MAX || (kill((pid_t)pid, 0) < 0 && errno == ESRCH))
		return -ESRCH;
	rc = set_url(gt_value_str(v, "url", ""), t, NULL);
	if (rc < 0)
		return rc;
	t->state = gt_strdup(dir);
	t->pid = (pid_t)pid;
	return 0;
}

static char *pointed_dir(const char *pointer)
{
	gt_auto(value) struct gt_value *v = NULL;
	gt_auto(buf) struct gt_buf text = { 0 };

	if (read_own(pointer ? pointer : "/run/gantry/daemon.json", &text) < 0 ||
	    gt_value_parse(gt_buf_str(&text), text.len, &v, NULL) < 0)
		return NULL;
	return gt_strdup(gt_value_str(v, "state", NULL));
}

static char *user_dir(void)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

	if (xdg && *xdg)
		return gt_asprintf("%s/gantry", xdg);
	return home && *home ? gt_asprintf("%s/.local/state/gantry", home) : NULL;
}

static int find_local(const char *pointer, struct gt_target *t)
{
	const char *only = getenv("GANTRY_STATE");
	char *dirs[DIRS_MAX] = { 0 };
	int rc = -ENOENT;

	if (only && *only) {
		dirs[0] = gt_strdup(only);
	} else {
		dirs[0] = pointed_dir(pointer);
		dirs[1] = gt_strdup("/var/lib/gantry");
		dirs[2] = user_dir();
		dirs[3] = gt_strdup("build/demo-state");
	}
	for (size_t i = 0; i < DIRS_MAX; i++) {
		if (rc < 0 && dirs[i])
			rc = look_into(dirs[i], t);
		free(dirs[i]);
	}
	return rc;
}

static int local_token(struct gt_target *t)
{
	gt_auto(free) char *path = gt_asprintf("%s/admin.token", t->state);
	struct gt_err err = { 0 };

	if (read_token(path, &t->token, &err) < 0)
		t->note = gt_asprintf("%s; run this as root or set GANTRY_TOKEN", err.text);
	return 0;
}

static int find_token(const struct gt_find *in, const struct gt_target *local, struct gt_target *t,
		      struct gt_err *err)
{
	const char *given = in->token;

	if (!given && in->token_file)
		return read_token(in->token_file, &t->token, err);
	if (!given)
		given = getenv("GANTRY_TOKEN");
	if (given && *given) {
		if (!printable(given))
			return gt_err_set(err, EINVAL, "usage",
					  "the token has blanks or control characters in it");
		t->token = gt_strdup(given);
		return 0;
	}
	if (local->url && gt_streq(local->url, t->url)) {
		if (!t->state)
			t->state = gt_strdup(local->state);
		return local_token(t);
	}
	t->note = gt_strdup("no token was given: use --token, --token-file or GANTRY_TOKEN");
	return 0;
}

int gt_target_find(const struct gt_find *in, struct gt_target *ret, struct gt_err *err)
{
	gt_auto(target) struct gt_target local = { 0 };
	gt_auto(target) struct gt_target t = { 0 };
	const char *url = in->url ? in->url : getenv("GANTRY_URL");
	const char *ca = in->ca ? in->ca : getenv("GANTRY_CA");
	bool found = find_local(in->pointer, &local) == 0;
	int rc;

	if ((!url || !*url) && !found)
		return gt_err_set(
			err, ENOENT, "unreachable",
			"no daemon runs on this machine; start one with `gantryd run "
			"--state /var/lib/gantry --listen 127.0.0.1:8080` as root, or name "
			"another with --url or GANTRY_URL");
	rc = set_url(url && *url ? url : local.url, &t, err);
	if (rc == 0)
		rc = find_token(in, &local, &t, err);
	if (rc < 0)
		return rc;
	if (ca && *ca)
		t.ca = gt_strdup(ca);
	if (found && gt_streq(local.url, t.url))
		t.pid = local.pid;
	*ret = t;
	t = (struct gt_target){ 0 };
	return 0;
}
