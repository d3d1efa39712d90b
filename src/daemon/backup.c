#include "backup.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/base/cleanup.h>
#include <gantry/base/clock.h>
#include <gantry/http/digest.h>
#include <gantry/store/backup.h>

#include "kind.h"
#include "state_dir.h"

#define MANIFEST  "MANIFEST"
#define FIRST     "gantry backup 1\n"
#define LINES_MAX (64U << 20)

/* ---- files ---------------------------------------------------------------------------------- */

/* A new file, synced. */
static int file_copy(int from_dir, const char *name, int to_dir, const char *to, struct gt_err *err)
{
	gt_auto(fd) int in = openat(from_dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	gt_auto(fd) int out = -EBADF;
	struct stat st;
	ssize_t n;

	if (in < 0 || fstat(in, &st) < 0)
		return gt_err_errno(err, errno, "%s", name);
	if (!S_ISREG(st.st_mode))
		return gt_err_set(err, EINVAL, "bad_backup", "%s is no plain file", name);
	out = openat(to_dir, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out < 0)
		return gt_err_errno(err, errno, "%s", to);
	while ((n = sendfile(out, in, NULL, 1 << 20)) > 0)
		;
	if (n < 0 || fsync(out) < 0)
		return gt_err_errno(err, errno, "%s", to);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void tree_remove(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int sync_dir(const char *path, struct gt_err *err)
{
	gt_auto(fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return gt_err_errno(err, errno, "%s", path);
	return 0;
}

static int file_digest(const char *path, char hex[GT_SHA256_HEX_SIZE], struct gt_err *err)
{
	gt_auto(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	gt_auto(sha256) struct gt_sha256 *sum = gt_sha256_new();
	char buf[65536];
	ssize_t n;

	if (fd < 0)
		return gt_err_errno(err, errno, "%s", path);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		gt_sha256_add(sum, buf, (size_t)n);
	if (n < 0)
		return gt_err_errno(err, errno, "%s", path);
	gt_sha256_end(gt_steal(&sum), hex);
	return 0;
}

/* ---- a backup ------------------------------------------------------------------------------- */

/* Of control's own files: keys, and what was learned. */
static bool is_kept(const char *name)
{
	static const char *const others[] = { "gantry.db", "ballast", "decisions.csv", "bodies" };

	for (size_t i = 0; i < GT_LEN(others); i++)
		if (strncmp(name, others[i], strlen(others[i])) == 0)
			return false;
	return name[0] != '.';
}

static int keys_copy(int from, int to, struct gt_err *err)
{
	int fd = dup(from), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return gt_err_errno(err, errno, "control/");
	while (r == 0 && (e = readdir(d)))
		if (is_kept(e->d_name) && (e->d_type == DT_REG || e->d_type == DT_UNKNOWN))
			r = file_copy(from, e->d_name, to, e->d_name, err);
	closedir(d);
	return r;
}

/* As control's user, since what it owns may be anything; both directories by descriptors, since
 * that user may not search the way to them. */
static int control_copy_as(uid_t uid, gid_t gid, int from, int to, struct gt_err *err)
{
	char from_path[64], to_path[64];
	int r;

	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return gt_err_errno(err, errno, "become user %u", (unsigned)uid);
	snprintf(from_path, sizeof(from_path), "/proc/self/fd/%d", from);
	snprintf(to_path, sizeof(to_path), "/proc/self/fd/%d", to);
	r = gt_store_copy(from_path, to_path, err);
	return r < 0 ? r : keys_copy(from, to, err);
}

static int control_copy(uid_t uid, gid_t gid, int from, int to, struct gt_err *err)
{
	gt_auto(fd) int tell = -EBADF, hear = -EBADF;
	struct gt_err said = { 0 };
	int fds[2], status = 0;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return gt_err_errno(err, errno, "pipe");
	hear = fds[0];
	tell = fds[1];
	pid = fork();
	if (pid < 0)
		return gt_err_errno(err, errno, "fork");
	if (pid == 0) {
		(void)!control_copy_as(uid, gid, from, to, &said);
		_exit(write(tell, &said, sizeof(said)) == sizeof(said) ? 0 : 1);
	}
	tell = gt_close(tell);
	if (read(hear, &said, sizeof(said)) != sizeof(said))
		gt_err_set(&said, EIO, "internal", "the copying process was killed");
	waitpid(pid, &status, 0);
	said.text[sizeof(said.text) - 1] = '\0';
	if (!said.code)
		return 0;
	*err = said;
	return -err->code;
}

static struct {
	struct gt_buf *list;
	size_t root_len;
	struct gt_err *err;
} walking; /* nftw has no argument */

static int list_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	char hex[GT_SHA256_HEX_SIZE];

	(void)st;
	(void)ftw;
	if (type == FTW_D)
		return sync_dir(path, walking.err);
	if (type != FTW_F)
		return gt_err_set(walking.err, EINVAL, "bad_backup", "%s is no plain file", path);
	if (file_digest(path, hex, walking.err) < 0)
		return -1;
	gt_buf_addf(walking.list, "%s  %s\n", hex, path + walking.root_len + 1);
	return 0;
}

static int manifest_write(const char *dir, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf list = { 0 };
	gt_auto(free) char *path = gt_asprintf("%s/%s", dir, MANIFEST);
	gt_auto(fd) int fd = -EBADF;

	gt_buf_adds(&list, FIRST);
	walking.list = &list;
	walking.root_len = strlen(dir);
	walking.err = err;
	gt_err_clear(err);
	if (nftw(dir, list_one, 16, FTW_PHYS) != 0)
		return err->code ? -err->code : gt_err_errno(err, errno, "%s", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, list.data, list.len) != (ssize_t)list.len || fsync(fd) < 0)
		return gt_err_errno(err, errno ? errno : EIO, "%s", path);
	return sync_dir(dir, err);
}

static int backup_fill(const struct gt_config *c, const char *dir, struct gt_err *err)
{
	gt_auto(fd) int from = open("control", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	gt_auto(fd) int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	gt_auto(fd) int to = -EBADF;
	uid_t uid;
	gid_t gid;
	int r = gt_kind_ids(c, &uid, &gid, err);

	if (r < 0)
		return r;
	if (from < 0)
		return gt_err_errno(err, errno, "%s/control", c->state);
	if (root < 0 || mkdirat(root, "control", 0700) < 0 ||
	    fchownat(root, "control", uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (to = openat(root, "control", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return gt_err_errno(err, errno, "%s", dir);
	r = control_copy(uid, gid, from, to, err);
	if (r == 0)
		r = file_copy(AT_FDCWD, GT_TOKEN_FILE, root, GT_TOKEN_FILE, err);
	return r < 0 ? r : manifest_write(dir, err);
}

static int full_path(const char *path, char **ret, struct gt_err *err)
{
	gt_auto(free) char *cwd = path[0] == '/' ? gt_strdup("") : getcwd(NULL, 0);
	size_t len = strlen(path);

	if (!cwd)
		return gt_err_errno(err, errno, "the working directory");
	while (len > 1 && path[len - 1] == '/')
		len--;
	*ret = gt_asprintf("%s%s%.*s", cwd, cwd[0] ? "/" : "", (int)len, path);
	return 0;
}

int gt_backup(const struct gt_config *c, const char *to, struct gt_err *err)
{
	gt_auto(free) char *full = NULL, *partial = NULL;

	if (c->store[0])
		return gt_err_set(
			err, ENOTSUP, "usage",
			"functions and calls are in PostgreSQL: copy them with its own tools "
			"(pg_dump), and admin.token and control/ of %s by hand",
			c->state);
	if (full_path(to, &full, err) < 0)
		return -err->code;
	partial = gt_asprintf("%s.partial", full);
	if (chdir(c->state) < 0)
		return gt_err_errno(err, errno, "state directory %s", c->state);
	if (access(full, F_OK) == 0)
		return gt_err_set(err, EEXIST, "usage", "%s is there already", full);
	if (mkdir(partial, 0700) < 0)
		return errno != EEXIST
			       ? gt_err_errno(err, errno, "%s", partial)
			       : gt_err_set(
					 err, EEXIST, "usage",
					 "%s is there: of a backup that is being made, or that did "
					 "not end; remove it then",
					 partial);
	if (backup_fill(c, partial, err) < 0) {
		tree_remove(partial);
		return gt_err_wrap(err, "backup");
	}
	if (rename(partial, full) < 0) {
		gt_err_errno(err, errno, "%s", full);
		tree_remove(partial);
		return -err->code;
	}
	return 0;
}

/* ---- and back ------------------------------------------------------------------------------- */

/* "admin.token", "control/NAME" or "control/bodies/NAME". */
static bool name_ok(const char *name)
{
	const char *plain = strncmp(name, "control/", 8) == 0 ? name + 8 : name;

	if (plain != name && strncmp(plain, "bodies/", 7) == 0)
		plain += 7;
	return plain[0] && plain[0] != '.' && !strchr(plain, '/') &&
	       (plain != name || gt_streq(name, GT_TOKEN_FILE));
}

/* One file of the list; to < 0: its digest alone is looked at. */
static int line_take(const char *dir, char *line, int to, struct gt_err *err)
{
	gt_auto(free) char *path = NULL;
	char hex[GT_SHA256_HEX_SIZE], *name = line + GT_SHA256_HEX_SIZE - 1;

	if (strlen(line) < GT_SHA256_HEX_SIZE + 2 || strncmp(name, "  ", 2) != 0 ||
	    !name_ok(name + 2))
		return gt_err_set(err, EINVAL, "bad_backup", "%s/%s: \"%.80s\" is no line of it",
				  dir, MANIFEST, line);
	name += 2;
	path = gt_asprintf("%s/%s", dir, name);
	if (to >= 0)
		return strncmp(name, "control/", 8) ? 0
						    : file_copy(AT_FDCWD, path, to, name + 8, err);
	if (file_digest(path, hex, err) < 0)
		return -err->code;
	if (strncmp(hex, line, GT_SHA256_HEX_SIZE - 1) != 0)
		return gt_err_set(err, EBADMSG, "bad_backup", "%s has changed since the backup",
				  path);
	return 0;
}

static int manifest_read(const char *dir, char **ret, struct gt_err *err)
{
	gt_auto(free) char *path = gt_asprintf("%s/%s", dir, MANIFEST), *text = NULL;
	gt_auto(file) FILE *f = fopen(path, "re");
	struct stat st;

	if (!f || fstat(fileno(f), &st) < 0)
		return gt_err_errno(err, errno, "%s", path);
	if (st.st_size > (off_t)LINES_MAX)
		return gt_err_set(err, EFBIG, "bad_backup", "%s: too long", path);
	text = gt_alloc((size_t)st.st_size + 1);
	if (fread(text, 1, (size_t)st.st_size, f) < (size_t)st.st_size && ferror(f))
		return gt_err_errno(err, errno, "read %s", path);
	if (strncmp(text, FIRST, strlen(FIRST)) != 0 || !strstr(text, "  control/gantry.db\n"))
		return gt_err_set(err, EINVAL, "bad_backup",
				  "%s does not begin as one of `gantryd backup` does", path);
	*ret = gt_steal(&text);
	return 0;
}

/* to: -1 = looks at each; else copies those of control/ into it. */
static int lines_take(const char *dir, const char *list, int to, struct gt_err *err)
{
	gt_auto(free) char *text = gt_strdup(list + strlen(FIRST));
	char *save = NULL;
	int r = 0;

	for (char *line = strtok_r(text, "\n", &save); line && r == 0;
	     line = strtok_r(NULL, "\n", &save))
		r = line_take(dir, line, to, err);
	return r;
}

static struct {
	uid_t uid;
	gid_t gid;
} owner;

static int give_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return lchown(path, owner.uid, owner.gid);
}

#define NEW_DIR "control.restored"

static int new_fill(const struct gt_config *c, const char *from, const char *list,
		    struct gt_err *err)
{
	gt_auto(fd) int to = -EBADF;
	int r;

	tree_remove(NEW_DIR); /* of a restore that was killed */
	if (mkdir(NEW_DIR, 0700) < 0 || mkdir(NEW_DIR "/bodies", 0700) < 0 ||
	    (to = open(NEW_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return gt_err_errno(err, errno, "%s/" NEW_DIR, c->state);
	r = lines_take(from, list, to, err);
	if (r == 0)
		r = gt_store_verify(NEW_DIR, err);
	if (r == 0)
		r = gt_store_renumber(NEW_DIR, err);
	if (r == 0)
		r = gt_kind_ids(c, &owner.uid, &owner.gid, err);
	if (r == 0 && nftw(NEW_DIR, give_one, 16, FTW_PHYS) != 0)
		r = gt_err_errno(err, errno, "ownership of %s/" NEW_DIR, c->state);
	if (r == 0)
		r = sync_dir(NEW_DIR "/bodies", err);
	return r < 0 ? r : sync_dir(NEW_DIR, err);
}

/* One rename makes it so. */
static int swap_in(const char *before, struct gt_err *err)
{
	gt_auto(free) char *aside = gt_asprintf("control.%s", before);

	if (renameat2(AT_FDCWD, NEW_DIR, AT_FDCWD, "control", RENAME_EXCHANGE) == 0) {
		if (rename(NEW_DIR, aside) < 0)
			return gt_err_errno(err, errno, "%s", aside);
		return sync_dir(".", err);
	}
	if (errno != ENOENT || rename(NEW_DIR, "control") < 0)
		return gt_err_errno(err, errno, "control");
	return sync_dir(".", err);
}

static int token_restore(const char *from, const char *before, struct gt_err *err)
{
	gt_auto(free) char *path = gt_asprintf("%s/%s", from, GT_TOKEN_FILE);
	gt_auto(free) char *aside = gt_asprintf("%s.%s", GT_TOKEN_FILE, before);

	unlink(GT_TOKEN_FILE ".restored");
	if (file_copy(AT_FDCWD, path, AT_FDCWD, GT_TOKEN_FILE ".restored", err) < 0)
		return -err->code;
	if ((link(GT_TOKEN_FILE, aside) < 0 && errno != ENOENT) ||
	    rename(GT_TOKEN_FILE ".restored", GT_TOKEN_FILE) < 0)
		return gt_err_errno(err, errno, "%s", GT_TOKEN_FILE);
	return sync_dir(".", err);
}

int gt_restore(const struct gt_config *c, const char *from, struct gt_err *err)
{
	gt_auto(free) char *full = NULL, *list = NULL;
	gt_auto(fd) int lock = -EBADF;
	char state[GT_CONFIG_TEXT], before[48];
	uid_t uid;
	gid_t gid;
	int r;

	if (full_path(from, &full, err) < 0 || gt_kind_ids(c, &uid, &gid, err) < 0 ||
	    manifest_read(full, &list, err) < 0 || lines_take(full, list, -1, err) < 0)
		return -err->code;
	gt_strcopy(state, sizeof(state), c->state);
	if (gt_state_open(state, sizeof(state), gid, &lock, err) < 0)
		return -err->code;
	snprintf(before, sizeof(before), "before-%llu",
		 (unsigned long long)gt_wall_ms(&gt_clock_system) / 1000);
	r = new_fill(c, full, list, err);
	if (r < 0) {
		tree_remove(NEW_DIR);
		return gt_err_wrap(err, "restore: nothing was changed");
	}
	r = swap_in(before, err);
	return r < 0 ? r : token_restore(full, before, err);
}
