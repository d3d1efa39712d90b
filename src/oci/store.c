/* store.c - a container's directory: <root>/<id>/ with state.json, config.json (as it was read),
 * `lock` (held by the living monitor), `control` (its socket), `status` (how the program ended) and
 * `run/` (the engine's directory). Making the directory is what makes an id taken. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <gantry/base/clock.h>
#include <gantry/os/os.h>
#include <gantry/runtime/runtime.h>

#include "oci.h"

#define STATE_MAX    (4 * GT_MIB)
#define LOCK_POLL_MS 2

bool oci_id_ok(const char *id)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_+-.";

	return *id && strlen(id) <= GT_OCI_ID_MAX && strspn(id, allowed) == strlen(id) &&
	       !gt_streq(id, ".") && !gt_streq(id, "..");
}

void oci_dir_fini(struct oci_dir *d)
{
	free(d->path);
	gt_close(d->fd);
	*d = (struct oci_dir){ .fd = -EBADF };
}

int oci_dir_open(const char *root, const char *id, struct oci_dir *ret, struct gt_err *err)
{
	gt_auto(free) char *path = gt_asprintf("%s/%s", root, id);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 && errno == ENOENT)
		return gt_err_set(err, ENOENT, "not_found", "container \"%s\" does not exist", id);
	if (fd < 0)
		return gt_err_errno(err, errno, "open %s", path);
	*ret = (struct oci_dir){ .path = gt_steal(&path), .fd = fd };
	return 0;
}

int oci_dir_make(const char *root, const char *id, struct oci_dir *ret, struct gt_err *err)
{
	gt_auto(free) char *path = gt_asprintf("%s/%s", root, id);
	int r = gt_os_mkdir_at(AT_FDCWD, root, 0700, err);

	if (r < 0)
		return r;
	if (mkdir(path, 0700) < 0 && errno == EEXIST)
		return gt_err_set(err, EEXIST, "exists",
				  "a container with id \"%s\" exists already", id);
	if (access(path, W_OK) < 0)
		return gt_err_errno(err, errno, "make %s", path);
	return oci_dir_open(root, id, ret, err);
}

/* Two levels are all there is: the engine's directory has files and an empty `mnt`. */
static void remove_below(int parent, const char *name, int depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;

	if (!dir) {
		gt_close(fd);
		return;
	}
	while ((e = readdir(dir))) {
		if (gt_streq(e->d_name, ".") || gt_streq(e->d_name, ".."))
			continue;
		if (unlinkat(fd, e->d_name, 0) < 0 && depth > 0)
			remove_below(fd, e->d_name, depth - 1);
	}
	closedir(dir);
	unlinkat(parent, name, AT_REMOVEDIR);
}

void oci_dir_remove(const struct oci_dir *d)
{
	gt_auto(free) char *run = gt_asprintf("%s/run", d->path);

	/* A monitor that was killed leaves control groups behind. */
	if (access(run, F_OK) == 0 && gt_runtime_cleanup(run, NULL) < 0)
		return;
	remove_below(AT_FDCWD, d->path, 2);
}

/* ---- files ---- */

/* Whole or not at all: others read while this writes. */
int oci_file_write(int dirfd, const char *name, const void *data, size_t len, struct gt_err *err)
{
	gt_auto(free) char *temp = gt_asprintf("%s.new", name);
	gt_auto(fd) int fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len ||
	    renameat(dirfd, temp, dirfd, name) < 0)
		return gt_err_errno(err, errno, "write %s", name);
	return 0;
}

int oci_file_read(int dirfd, const char *name, size_t max, struct gt_buf *ret, struct gt_err *err)
{
	gt_auto(fd) int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = 1;

	if (fd < 0)
		return gt_err_errno(err, errno, "open %s", name);
	gt_buf_init(ret, max);
	while (n > 0) {
		char part[8192];

		n = read(fd, part, sizeof(part));
		if (n < 0)
			return gt_err_errno(err, errno, "read %s", name);
		if (gt_buf_add(ret, part, (size_t)n) < 0)
			return gt_err_errno(err, EMSGSIZE, "%s has more than %zu bytes", name, max);
	}
	return 0;
}

int oci_state_save(const struct oci_dir *d, const struct gt_oci_state *state, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf text = { 0 };

	gt_oci_state_write(state, true, &text);
	return oci_file_write(d->fd, "state.json", text.data, text.len, err);
}

/* ---- who lives ---- */

int oci_lock_take(const struct oci_dir *d, int *ret, struct gt_err *err)
{
	gt_auto(fd) int fd = openat(d->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	/* Others look for an instant; nobody but a monitor keeps it. */
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return gt_err_errno(err, errno, "lock %s", d->path);
	*ret = gt_steal_fd(&fd);
	return 0;
}

int oci_lock_wait(const struct oci_dir *d, unsigned wait_ms, struct gt_err *err)
{
	const struct timespec pause = { .tv_nsec = LOCK_POLL_MS * (long)GT_NS_PER_MS };
	uint64_t until_ns = gt_mono_ns(&gt_clock_system) + wait_ms * GT_NS_PER_MS;
	gt_auto(fd) int fd = openat(d->fd, "lock", O_RDWR | O_CLOEXEC);

	/* Shared: whoever looks must not be taken for a monitor by the next one. */
	while (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0) {
		if (gt_mono_ns(&gt_clock_system) > until_ns)
			return gt_err_set(err, ETIMEDOUT, "busy",
					  "the container's monitor did not end within %u ms",
					  wait_ms);
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* One that nobody has reaped is dead, too. */
static bool process_lives(const struct gt_oci_state *s)
{
	uint64_t start_time = 0;
	gt_auto(fd) int pidfd = -EBADF;

	return s->pid > 0 && gt_os_pidfd_open(s->pid, &pidfd, NULL) == 0 &&
	       gt_os_start_time(s->pid, &start_time, NULL) == 0 && start_time == s->start_time &&
	       !gt_os_pidfd_ended(pidfd);
}

int oci_state_load(const struct oci_dir *d, struct gt_oci_state *ret, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	bool monitored = oci_lock_wait(d, 0, NULL) < 0;
	int r = oci_file_read(d->fd, "state.json", STATE_MAX, &text, err);

	if (r == 0)
		r = gt_oci_state_read(text.data ? text.data : "", text.len, ret, err);
	if (r < 0)
		return gt_err_wrap(err, "%s", d->path);
	/* A monitor has its container's process 1 from early on, and may be late to see its end. */
	if (ret->status != GT_OCI_STOPPED && (ret->pid > 0 || !monitored) && !process_lives(ret))
		ret->status = GT_OCI_STOPPED;
	if (ret->status == GT_OCI_STOPPED)
		ret->pid = 0;
	return 0;
}
