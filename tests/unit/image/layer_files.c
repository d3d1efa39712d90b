/* layer_files.c - see the header. */
#include "layer_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

struct place *place_open(void)
{
	struct place *p;

	if (geteuid() != 0)
		return NULL;
	p = gt_alloc(sizeof(*p));
	/* On a disk: the kernel mounts indexes from there, but not from memory. */
	gt_strcopy(p->dir, sizeof(p->dir), "/var/tmp/gantry-layer-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	p->fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(p->fd >= 0);
	return p;
}

void place_close(struct place *p)
{
	if (!p)
		return;
	run_tool((const char *const[]){ "rm", "-rf", p->dir, NULL });
	close(p->fd);
	free(p);
}

void run_tool(const char *const *words)
{
	pid_t pid;
	int status;

	assert_int_equal(
		posix_spawnp(&pid, words[0], NULL, NULL, (char **)(uintptr_t)words, environ), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0)
		fail_msg("%s %s failed", words[0], words[1]);
}

static void plant_file(int dir, const char *name, size_t len, mode_t mode)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	gt_auto(free) char *text = gt_alloc(len + 1);

	assert_true(fd >= 0);
	for (size_t i = 0; i < len; i++)
		text[i] = (char)(i * 31 + len);
	assert_int_equal(write(fd, text, len), len);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void plant_names(int dir)
{
	char name[256] = { 0 };

	assert_int_equal(mkdirat(dir, "names", 0755), 0);
	int names = openat(dir, "names", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(names >= 0);
	for (size_t len = 1; len <= 255; len += len < 90 ? 7 : 3) {
		memset(name, 'n', len);
		plant_file(names, name, len, 0644);
	}
	plant_file(names, "!", 0, 0644); /* before "." */
	plant_file(names, "-x", 1, 0644);
	plant_file(names, "..x", 1, 0644);
	plant_file(names, "\xff\xfe\n\t\"", 1, 0644);
	memset(name, 'd', 255);
	assert_int_equal(mkdirat(names, name, 0), 0);
	close(names);
}

static void plant_times(int dir)
{
	static const struct timespec times[][2] = {
		{ { 1, 5 }, { 1, 5 } },
		{ { 1700000000, 123456789 }, { 1700000000, 123456789 } },
		{ { -86400, 0 }, { -86400, 0 } },
		{ { -5, 750000000 }, { -5, 750000000 } },
		{ { 1ll << 33, 999999999 }, { 1ll << 33, 999999999 } },
	};
	char name[16];

	for (size_t i = 0; i < GT_LEN(times); i++) {
		snprintf(name, sizeof(name), "time%zu", i);
		plant_file(dir, name, i, 0640);
		assert_int_equal(utimensat(dir, name, times[i], 0), 0);
	}
}

static void plant_xattrs(int dir)
{
	static char large[3000];
	int fd = openat(dir, "attributes", O_RDONLY | O_CREAT | O_CLOEXEC, 0644);

	memset(large, 'x', sizeof(large));
	assert_true(fd >= 0);
	assert_int_equal(fsetxattr(fd, "user.empty", "", 0, 0), 0);
	assert_int_equal(fsetxattr(fd, "user.nul", "a\0=\nb", 5, 0), 0);
	assert_int_equal(fsetxattr(fd, "user.large", large, sizeof(large), 0), 0);
	assert_int_equal(fsetxattr(dir, "user.of.the.root", "1", 1, 0), 0);
	close(fd);
}

void plant(const struct place *p, const char *name, bool xattrs)
{
	assert_int_equal(mkdirat(p->fd, name, 0751), 0);
	int dir = openat(p->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(dir >= 0);
	for (size_t len = 0; len < 5000; len += len < 1500 ? 173 : 1000) {
		char file[16];

		snprintf(file, sizeof(file), "size%zu", len);
		plant_file(dir, file, len, 0644);
	}
	plant_file(dir, "large", 3 << 20, 0600);
	plant_file(dir, "setuid", 10, 06755);
	plant_file(dir, "none", 10, 0);
	plant_file(dir, "owned", 10, 0644);
	assert_int_equal(fchownat(dir, "owned", 70000, 3000000, 0), 0);
	assert_int_equal(mkdirat(dir, "tmp", 0755), 0);
	assert_int_equal(fchmodat(dir, "tmp", 01777, 0), 0);
	assert_int_equal(mkdirat(dir, "tmp/empty", 0700), 0);
	assert_int_equal(linkat(dir, "large", dir, "tmp/again", 0), 0);
	assert_int_equal(linkat(dir, "large", dir, "Again", 0), 0);
	assert_int_equal(symlinkat("../../etc/passwd", dir, "link"), 0);
	assert_int_equal(fchownat(dir, "link", 3, 4, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(linkat(dir, "link", dir, "linked link", 0), 0);
	assert_int_equal(mkfifoat(dir, "fifo", 0620), 0);
	for (size_t len = 90; len < 4096; len += len < 600 ? 37 : 501) {
		char to[4096] = { 0 }, link[16];

		memset(to, 't', len);
		snprintf(link, sizeof(link), "long%zu", len);
		assert_int_equal(symlinkat(to, dir, link), 0);
	}
	plant_names(dir);
	plant_times(dir);
	if (xattrs)
		plant_xattrs(dir);
	close(dir);
}

void layer_file_paths(const struct place *p, const char *name, char tar[128], char index[128])
{
	snprintf(tar, 128, "%s/%s.tar", p->dir, name);
	snprintf(index, 128, "%s/%s.index", p->dir, name);
}

void layer_file(const struct place *p, const char *name, enum gt_layer_form form, const void *data,
		size_t len)
{
	struct gt_layer_writer *w = NULL;
	struct gt_layer_result res;
	struct gt_err err = { 0 };
	char tar[128], index[128];

	layer_file_paths(p, name, tar, index);
	int fds[] = { open(tar, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
		      open(index, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) };

	assert_int_equal(gt_layer_new(form, fds[0], fds[1], NULL, &w, &err), 0);
	if (gt_layer_feed(w, data, len, &err) < 0 || gt_layer_finish(w, &res, &err) < 0)
		fail_msg("layer %s: %s", name, err.text);
	gt_layer_free(w);
	close(fds[0]);
	close(fds[1]);
}

int layer_mounted(const struct place *p, const char *name)
{
	struct gt_err err = { 0 };
	char tar[128], index[128];
	int mnt = -1;

	layer_file_paths(p, name, tar, index);
	int r = gt_layer_mount(tar, index, &mnt, &err);

	if (r == -EOPNOTSUPP)
		print_message("skipped: %s\n", err.text);
	else if (r < 0)
		fail_msg("%s", err.text);
	return mnt;
}

void file_content(const char *path, struct gt_buf *b)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	fd_content(fd, b);
	close(fd);
}

int tmpfs_of(const char *size)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);

	assert_true(fs >= 0);
	assert_int_equal(fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0), 0);
	assert_int_equal(fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), 0);
	int mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);

	assert_true(mnt >= 0);
	close(fs);
	return mnt;
}

/* ---- comparing ---- */
struct compare {
	uint32_t id_base;
	const char *const *prefixes;
	struct {
		ino_t a, b;
	} files[4096]; /* of more than one name */
	size_t n_files;
	char path[8192];
};

static void differ(const struct compare *c, const char *what)
{
	fail_msg("%s: %s differs", c->path, what);
}

static int names_of(int dir, struct dirent ***ret)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n;
	char path[32];

	assert_true(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = scandir(path, ret, NULL, alphasort);
	close(fd);
	assert_true(n >= 2);
	return n;
}

static void compare_content(const struct compare *c, int a, int b)
{
	gt_auto(buf) struct gt_buf x = { 0 }, y = { 0 };

	fd_content(a, &x);
	fd_content(b, &y);
	if (x.len != y.len || memcmp(x.data, y.data, x.len) != 0)
		differ(c, "content");
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "name=value" of those that count, sorted. */
static void xattrs_of(const struct compare *c, int fd, struct gt_buf *text)
{
	char list[4096], *names[64], value[4096];
	ssize_t len = flistxattr(fd, list, sizeof(list));
	size_t n = 0;

	assert_true(len >= 0);
	for (char *p = list; p < list + len; p += strlen(p) + 1)
		for (const char *const *prefix = c->prefixes; *prefix; prefix++)
			if (gt_starts_with(p, *prefix))
				names[n++] = p;
	qsort(names, n, sizeof(*names), by_text);
	for (size_t i = 0; i < n; i++) {
		ssize_t got = fgetxattr(fd, names[i], value, sizeof(value));

		assert_true(got >= 0);
		gt_buf_addf(text, "%s=%zd:", names[i], got);
		gt_buf_add(text, value, (size_t)got);
	}
}

static void compare_xattrs(const struct compare *c, int a, int b)
{
	gt_auto(buf) struct gt_buf x = { 0 }, y = { 0 };

	xattrs_of(c, a, &x);
	xattrs_of(c, b, &y);
	if (strcmp(gt_buf_str(&x), gt_buf_str(&y)) != 0 || x.len != y.len)
		fail_msg("%s: attributes are %s and %s", c->path, gt_buf_str(&x), gt_buf_str(&y));
}

static void compare_stat(struct compare *c, const struct stat *a, const struct stat *b)
{
	if (a->st_mode != b->st_mode)
		differ(c, "mode");
	if (a->st_uid + c->id_base != b->st_uid || a->st_gid + c->id_base != b->st_gid)
		differ(c, "owner");
	if (a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec)
		differ(c, "time");
	if (a->st_nlink != b->st_nlink)
		differ(c, "count of links");
	if (a->st_rdev != b->st_rdev)
		differ(c, "device");
	if (!S_ISDIR(a->st_mode) && a->st_size != b->st_size)
		differ(c, "size");
	if (S_ISDIR(a->st_mode) || a->st_nlink == 1)
		return;
	for (size_t i = 0; i < c->n_files; i++)
		if ((c->files[i].a == a->st_ino) != (c->files[i].b == b->st_ino))
			differ(c, "what it is linked to");
	assert_true(c->n_files < GT_LEN(c->files));
	c->files[c->n_files].a = a->st_ino;
	c->files[c->n_files++].b = b->st_ino;
}

static void compare_dirs(struct compare *c, int a, int b);

static void compare_name(struct compare *c, int a, int b, const char *name)
{
	struct stat x, y;

	assert_int_equal(fstatat(a, name, &x, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(fstatat(b, name, &y, AT_SYMLINK_NOFOLLOW), 0);
	compare_stat(c, &x, &y);
	if (S_ISLNK(x.st_mode)) {
		char to[2][4097] = { { 0 } };

		assert_int_equal(readlinkat(a, name, to[0], 4096), x.st_size);
		assert_int_equal(readlinkat(b, name, to[1], 4096), x.st_size);
		if (strcmp(to[0], to[1]) != 0)
			differ(c, "target");
	}
	if (!S_ISREG(x.st_mode) && !S_ISDIR(x.st_mode))
		return;
	int fds[] = { openat(a, name, O_RDONLY | O_CLOEXEC),
		      openat(b, name, O_RDONLY | O_CLOEXEC) };

	assert_true(fds[0] >= 0 && fds[1] >= 0);
	compare_xattrs(c, fds[0], fds[1]);
	if (S_ISREG(x.st_mode))
		compare_content(c, fds[0], fds[1]);
	else if (strcmp(name, ".") != 0)
		compare_dirs(c, fds[0], fds[1]);
	close(fds[0]);
	close(fds[1]);
}

static void compare_dirs(struct compare *c, int a, int b)
{
	struct dirent **x, **y;
	int n = names_of(a, &x), m = names_of(b, &y);
	size_t at = strlen(c->path);

	for (int i = 0; i < GT_MIN(n, m); i++) {
		snprintf(c->path + at, sizeof(c->path) - at, "/%s", x[i]->d_name);
		if (strcmp(x[i]->d_name, y[i]->d_name) != 0)
			fail_msg("%s: the other has %s there", c->path, y[i]->d_name);
		if (x[i]->d_type != y[i]->d_type)
			differ(c, "type in the directory");
		if (strcmp(x[i]->d_name, "..") != 0)
			compare_name(c, a, b, x[i]->d_name);
		c->path[at] = '\0';
	}
	if (n != m)
		differ(c, "count of names");
	for (int i = 0; i < n; i++)
		free(x[i]);
	for (int i = 0; i < m; i++)
		free(y[i]);
	free(x);
	free(y);
}

void must_equal(int a, int b, uint32_t id_base, const char *const *xattr_prefixes)
{
	gt_auto(free) struct compare *c = gt_alloc(sizeof(*c));

	c->id_base = id_base;
	c->prefixes = xattr_prefixes;
	compare_dirs(c, a, b);
}
