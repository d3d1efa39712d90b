#include "state_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/base/clock.h>
#include <gantry/base/log.h>
#include <gantry/http/digest.h>
#include <gantry/wire/json.h>
#include <gantry/wire/value.h>

#define POINTER_DIR  "/run/gantry"
#define POINTER_FILE POINTER_DIR "/daemon.json"
#define LOCK_WAIT_MS 2000 /* the roles of a killed supervisor need a moment to die */
#define TOKEN_BYTES  32

static int make_dir(const char *path, mode_t mode, uid_t uid, gid_t gid, struct gt_err *err)
{
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return gt_err_errno(err, errno, "mkdir %s", path);
	if (chmod(path, mode) < 0 || lchown(path, uid, gid) < 0)
		return gt_err_errno(err, errno, "ownership of %s", path);
	return 0;
}

/* Like `mkdir -p`: parents get the usual mode, the directory itself is set by the caller. */
static int make_parents(const char *path, struct gt_err *err)
{
	gt_auto(free) char *p = gt_strdup(path);

	for (char *s = strchr(p + 1, '/'); s; s = strchr(s + 1, '/')) {
		*s = '\0';
		if (mkdir(p, 0755) < 0 && errno != EEXIST)
			return gt_err_errno(err, errno, "mkdir %s", p);
		*s = '/';
	}
	return 0;
}

static int busy(const char *dir, int fd, struct gt_err *err)
{
	char text[32] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return gt_err_set(
		err, EBUSY, "state_in_use",
		"state directory %s is used by another gantryd (process %s); stop it first or "
		"choose another --state",
		dir, text[0] ? text : "unknown");
}

/* The lock's file names its owner. When that process is alive the answer is immediate; when it is
 * gone, its roles (which inherited the lock) are about to be. */
static int take_lock(const char *dir, int *ret, struct gt_err *err)
{
	gt_auto(fd) int fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	uint64_t until = gt_mono_ns(&gt_clock_system) + LOCK_WAIT_MS * GT_NS_PER_MS;

	if (fd < 0)
		return gt_err_errno(err, errno, "%s/lock", dir);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		char text[32] = "";
		if (errno != EWOULDBLOCK)
			return gt_err_errno(err, errno, "lock %s/lock", dir);
		if (pread(fd, text, sizeof(text) - 1, 0) > 0) {
			char path[64];
			text[strcspn(text, "\n")] = '\0';
			snprintf(path, sizeof(path), "/proc/%.20s", text);
			if (text[0] && access(path, F_OK) == 0)
				return busy(dir, fd, err);
		}
		if (gt_mono_ns(&gt_clock_system) > until)
			return busy(dir, fd, err);
		usleep(5000);
	}
	char pid[32];
	int n = snprintf(pid, sizeof(pid), "%d\n", getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) < 0)
		gt_debug("pid is not in %s/lock: %m", dir); /* only its text suffers */
	*ret = gt_steal_fd(&fd);
	return 0;
}

/* The database may come from a backup that root copied back, or from another `user`. Only plain
 * files with one name change hands: control owns the directory and might have put a link there. */
static int give_files(const char *path, uid_t uid, gid_t gid, struct gt_err *err)
{
	DIR *d = opendir(path);
	const struct dirent *entry;
	int r = 0;

	if (!d)
		return gt_err_errno(err, errno, "%s", path);
	while (r == 0 && (entry = readdir(d))) {
		struct stat st;
		gt_auto(fd) int fd = openat(dirfd(d), entry->d_name,
					    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

		if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 ||
		    (st.st_uid == uid && st.st_gid == gid))
			continue;
		if (fchown(fd, uid, gid) < 0)
			r = gt_err_errno(err, errno, "ownership of %s/%s", path, entry->d_name);
	}
	closedir(d);
	return r;
}

int gt_state_open(char *dir, size_t size, gid_t gid, int *lock_fd, struct gt_err *err)
{
	gt_auto(fd) int lock = -EBADF;

	if (make_parents(dir, err) < 0)
		return gt_err_wrap(err, "state directory");
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return gt_err_errno(err, errno, "state directory %s", dir);
	gt_auto(free) char *full = realpath(dir, NULL);
	if (!full || chdir(full) < 0)
		return gt_err_errno(err, errno, "state directory %s", dir);
	if (!gt_strcopy(dir, size, full))
		return gt_err_set(err, ENAMETOOLONG, "bad_config", "state directory %s: too long",
				  full);
	if (chmod(".", 0755) < 0)
		return gt_err_errno(err, errno, "mode of %s", full);
	if (take_lock(full, &lock, err) < 0)
		return -err->code;
	if (make_dir("agent", 0700, 0, 0, err) < 0 || make_dir("run", 0750, 0, gid, err) < 0)
		return gt_err_wrap(err, "state directory %s", full);
	*lock_fd = gt_steal_fd(&lock);
	return 0;
}

int gt_state_dir(const char *name, uid_t uid, gid_t gid, struct gt_err *err)
{
	int r = make_dir(name, 0700, uid, gid, err);

	return r < 0 ? r : give_files(name, uid, gid, err);
}

static int write_file(const char *path, const char *text, mode_t mode, struct gt_err *err)
{
	char tmp[128];

	snprintf(tmp, sizeof(tmp), "%s.new", path);
	unlink(tmp);
	gt_auto(fd) int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return gt_err_errno(err, errno, "%s", tmp);
	if (fchmod(fd, mode) < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ||
	    fsync(fd) < 0 || rename(tmp, path) < 0)
		return gt_err_errno(err, errno ? errno : EIO, "%s", path);
	return 0;
}

/* "gty_" and 256 random bits in hex: findable by secret scanners. */
static int make_token(struct gt_err *err)
{
	unsigned char raw[TOKEN_BYTES];
	char text[8 + 2 * TOKEN_BYTES] = "gty_";

	gt_rand_system.fill(gt_rand_system.arg, raw, sizeof(raw));
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(text + 4 + 2 * i, 3, "%02x", raw[i]);
	size_t n = strlen(text);
	text[n] = '\n';
	text[n + 1] = '\0';
	return write_file(GT_TOKEN_FILE, text, 0600, err);
}

int gt_state_token_read(char *sha256_hex, size_t size, struct gt_err *err)
{
	char text[256] = "";
	gt_auto(fd) int fd = open(GT_TOKEN_FILE, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return gt_err_errno(err, errno, "%s", GT_TOKEN_FILE);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return gt_err_errno(err, errno, "%s", GT_TOKEN_FILE);
	text[strcspn(text, "\r\n")] = '\0';
	if (strlen(text) < 16)
		return gt_err_set(
			err, EINVAL, "bad_config",
			"%s holds no token of 16 characters or more; remove it to get a new one",
			GT_TOKEN_FILE);
	if (size < GT_SHA256_HEX_SIZE)
		return gt_err_set(err, ENOBUFS, "internal", "digest buffer");
	gt_sha256_hex(text, strlen(text), sha256_hex);
	return 0;
}

int gt_state_token(char *sha256_hex, size_t size, struct gt_err *err)
{
	int r = gt_state_token_read(sha256_hex, size, err);

	if (r != -ENOENT)
		return r;
	return make_token(err) < 0 ? gt_err_wrap(err, "new admin token")
				   : gt_state_token_read(sha256_hex, size, err);
}

void gt_state_token_print(const char *sha256_hex, char ret[GT_SHA256_HEX_SIZE])
{
	gt_sha256_hex(sha256_hex, strlen(sha256_hex), ret);
}

static void describe(const char *dir, const char *url, struct gt_buf *out)
{
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "state", dir);
	gt_json_str(&j, "url", url);
	gt_json_u64(&j, "pid", (uint64_t)getpid());
	gt_json_str(&j, "version", GT_VERSION);
	gt_json_close(&j, '}');
	gt_buf_addc(out, '\n');
}

void gt_state_announce(const char *dir, const char *url)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_err err = { 0 };

	describe(dir, url, &text);
	if (write_file("daemon.json", gt_buf_str(&text), 0644, &err) < 0)
		gt_warn("%s", err.text);
	if ((mkdir(POINTER_DIR, 0755) < 0 && errno != EEXIST) ||
	    write_file(POINTER_FILE, gt_buf_str(&text), 0644, &err) < 0)
		gt_debug("%s is not written; gantry needs GANTRY_URL or GANTRY_STATE",
			 POINTER_FILE);
}

void gt_state_withdraw(const char *dir)
{
	char text[4096] = "";
	gt_auto(fd) int fd = open(POINTER_FILE, O_RDONLY | O_CLOEXEC);

	unlink("daemon.json");
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return;
	gt_auto(value) struct gt_value *v = NULL;
	if (gt_value_parse(text, strlen(text), &v, NULL) < 0)
		return;
	if (gt_streq(gt_value_str(v, "state", ""), dir)) {
		unlink(POINTER_FILE);
		rmdir(POINTER_DIR);
	}
}
