/* test_layer_files.c - layers as the kernel sees them: what is mounted or extracted is what tar(1)
 * would have unpacked, and overlayfs makes of two layers what they say. Needs root. */
#include "layer_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

static int open_place(void **state)
{
	*state = place_open();
	return 0;
}

static int close_place(void **state)
{
	place_close(*state);
	return 0;
}

/* Ends a test that can not run here. */
static struct place *place_of(void **state)
{
	if (!*state) {
		print_message("skipped: mounting layers needs root\n");
		skip();
	}
	return *state;
}

static const char *const user_xattrs[] = { "user.", NULL };
static const char *const all_xattrs[] = { "user.", "trusted.", NULL };

static int open_at(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* Packs PLACE/tree by tar(1), unpacks it beside, and compares that with the mounted layer. */
static void round_trip(const struct place *p, const char *format, bool xattrs,
		       enum gt_layer_form form)
{
	static const char *const suffix[] = { "plain", "gz", "zst" };
	gt_auto(buf) struct gt_buf plain = { 0 }, data = { 0 };
	gt_auto(free) char *how = gt_asprintf("--format=%s", format);
	gt_auto(free) char *from = gt_asprintf("%s/tree", p->dir);
	gt_auto(free) char *packed = gt_asprintf("%s/packed.tar", p->dir);
	gt_auto(free) char *name = gt_asprintf("%s-%s", format, suffix[form]);
	gt_auto(free) char *to = gt_asprintf("%s/%s", p->dir, name);

	run_tool((const char *const[]){ "tar", "-C", from, how, "-cf", packed,
					xattrs ? "--xattrs" : "--no-xattrs", ".", NULL });
	assert_int_equal(mkdir(to, 0700), 0);
	run_tool((const char *const[]){ "tar", "-C", to, "--numeric-owner", "-xpf", packed,
					xattrs ? "--xattrs" : "--no-xattrs",
					"--warning=no-timestamp", NULL });
	file_content(packed, &plain);
	if (form == GT_LAYER_GZIP)
		gzip_of(&plain, &data);
	else if (form == GT_LAYER_ZSTD)
		zstd_of(&plain, &data);
	else
		gt_buf_add(&data, plain.data, plain.len);
	layer_file(p, name, form, data.data, data.len);
	gt_auto(fd) int mnt = layer_mounted(p, name), unpacked = open_at(p->fd, name);

	if (mnt >= 0)
		must_equal(unpacked, mnt, 0, user_xattrs);
}

static void a_mounted_layer_is_what_tar_unpacks(void **state)
{
	struct place *p = place_of(state);

	plant(p, "tree", true);
	round_trip(p, "pax", true, GT_LAYER_TAR);
	round_trip(p, "pax", true, GT_LAYER_GZIP);
	round_trip(p, "gnu", false, GT_LAYER_ZSTD);
	round_trip(p, "gnu", false, GT_LAYER_GZIP);
}

/* What ustar and v7 can say, which is less. */
static void old_formats(void **state)
{
	struct place *p = place_of(state);

	assert_int_equal(mkdirat(p->fd, "tree", 0755), 0);
	int dir = open_at(p->fd, "tree");
	char deep[200];

	assert_int_equal(mkdirat(dir, "d", 0750), 0);
	snprintf(deep, sizeof(deep), "d/%0*d", 90, 1);
	assert_int_equal(symlinkat("x", dir, "d/l"), 0);
	int fd = openat(dir, deep, O_WRONLY | O_CREAT | O_CLOEXEC, 0604);

	assert_int_equal(write(fd, "text", 4), 4);
	close(fd);
	/* Whole seconds are all they know; links of names count. */
	assert_int_equal(linkat(dir, deep, dir, "d/again", 0), 0);
	round_trip(p, "v7", false, GT_LAYER_TAR);
	gt_auto(free) char *mid = gt_asprintf("d/%0*d", 98, 2);

	assert_int_equal(mkdirat(dir, mid, 0700), 0);
	gt_auto(free) char *far = gt_asprintf("%s/%0*d", mid, 90, 3);

	assert_int_equal(mkdirat(dir, far, 0700), 0);
	round_trip(p, "ustar", false, GT_LAYER_TAR);
	close(dir);
}

/* Entries that only archives of images have. */
static void image_entries(struct gt_buf *tar)
{
	static const struct tar_entry entries[] = {
		{ .path = "keep", .data = "new" },
		{ .path = "dir/.wh.gone" },
		{ .path = "dir/more", .data = "more" },
		{ .path = "fresh/sub/.wh.nothing" },
		{ .path = "hidden/", .type = '5', .mode = 0700 },
		{ .path = "hidden/.wh..wh..opq" },
		{ .path = "hidden/own", .data = "own" },
		{ .path = ".wh.whole" },
		{ .path = "was-dir", .data = "file now" },
		{ .path = "was-file/x", .data = "directory now" },
		{ .path = "again/", .type = '5', .mode = 0711 },
		{ .path = ".wh.again" },
		{ .path = "suid", .mode = 04755, .uid = 1, .gid = 2, .data = "s" },
		{ .path = "linked", .type = '1', .link = "suid" },
		{ .path = "dir/linked", .type = '1', .link = "./suid" },
		{ .path = "gone-but-linked", .data = "first" },
		{ .path = "second", .type = '1', .link = "gone-but-linked" },
		{ .path = "gone-but-linked", .data = "other" },
		{ .path = "p", .type = '6', .mode = 0600 },
		{ .path = "l", .type = '2', .link = "/etc/passwd", .uid = 5 },
		{ .path = "x", .pax = "SCHILY.xattr.user.a=b\nmtime=12.25" },
	};

	for (size_t i = 0; i < GT_LEN(entries); i++)
		tar_add(tar, &entries[i]);
	tar_end(tar);
}

static void an_extracted_layer_is_the_mounted_one(void **state)
{
	static const uint32_t base = 100000;
	gt_auto(buf) struct gt_buf tar = { 0 };
	struct gt_err err = { 0 };
	struct place *p = place_of(state);
	char paths[2][128];

	plant(p, "tree", true);
	gt_auto(free) char *from = gt_asprintf("%s/tree", p->dir);
	gt_auto(free) char *packed = gt_asprintf("%s/packed.tar", p->dir);

	run_tool((const char *const[]){ "tar", "-C", from, "--format=pax", "--xattrs", "-cf",
					packed, ".", NULL });
	file_content(packed, &tar);
	for (int i = 0; i < 2; i++) {
		char name[16];

		snprintf(name, sizeof(name), "layer%d", i);
		layer_file(p, name, GT_LAYER_TAR, tar.data, tar.len);
		layer_file_paths(p, name, paths[0], paths[1]);
		assert_int_equal(mkdirat(p->fd, name, 0700), 0);
		gt_auto(fd) int fd = open(paths[0], O_RDONLY | O_CLOEXEC);
		gt_auto(fd) int dir = open_at(p->fd, name), mnt = layer_mounted(p, name);

		if (gt_layer_extract(fd, dir, base, &err) < 0)
			fail_msg("%s", err.text);
		if (mnt >= 0)
			must_equal(mnt, dir, base, all_xattrs);
		gt_buf_reset(&tar);
		image_entries(&tar); /* the second time */
	}
}

/* The names below a directory, sorted, as "a b/ b/c ". */
static void names_below(int dir, const char *path, struct gt_buf *text)
{
	struct dirent **names;
	char proc[32];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", dir);
	int n = scandir(proc, &names, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		gt_auto(free) struct dirent *e = names[i];
		struct stat st;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		gt_auto(free) char *full = gt_asprintf("%s%s", path, e->d_name);

		assert_int_equal(fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
		gt_buf_addf(text, "%s%s ", full, S_ISDIR(st.st_mode) ? "/" : "");
		if (S_ISDIR(st.st_mode)) {
			gt_auto(fd) int sub = open_at(dir, e->d_name);
			gt_auto(free) char *below = gt_asprintf("%s/", full);

			names_below(sub, below, text);
		}
	}
	free(names);
}

/* lower is below upper; both are mounts. -1 when this kernel takes no descriptors. */
static int overlay(int upper, int lower)
{
	gt_auto(fd) int fs = fsopen("overlay", FSOPEN_CLOEXEC);

	assert_true(fs >= 0);
	if (fsconfig(fs, FSCONFIG_SET_FD, "lowerdir+", NULL, upper) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_FD, "lowerdir+", NULL, lower) < 0) {
		print_message("skipped: overlayfs takes no layers by descriptor here\n");
		return -1;
	}
	assert_int_equal(fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), 0);
	int mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);

	assert_true(mnt >= 0);
	return mnt;
}

static void lower_entries(struct gt_buf *tar)
{
	static const char *const files[] = { "keep",        "dir/gone",  "dir/stays", "hidden/a/b",
					     "whole/a",     "was-dir/a", "was-file",  "again/a",
					     "untouched/a", "hidden/own" };

	for (size_t i = 0; i < GT_LEN(files); i++)
		tar_add(tar, &(struct tar_entry){ .path = files[i], .data = "old" });
	tar_end(tar);
}

static const char merged[] =
	"again/ dir/ dir/linked dir/more dir/stays fresh/ fresh/sub/ gone-but-linked hidden/ "
	"hidden/own keep l linked p second suid untouched/ untouched/a was-dir was-file/ "
	"was-file/x "
	"x ";

static void whiteouts_hide_what_is_below(void **state)
{
	gt_auto(buf) struct gt_buf upper = { 0 }, lower = { 0 }, names = { 0 };
	struct gt_err err = { 0 };
	struct place *p = place_of(state);
	struct stat st;
	char paths[2][128], text[8] = "";

	image_entries(&upper);
	lower_entries(&lower);
	layer_file(p, "upper", GT_LAYER_TAR, upper.data, upper.len);
	layer_file(p, "lower", GT_LAYER_TAR, lower.data, lower.len);
	layer_file_paths(p, "upper", paths[0], paths[1]);
	assert_int_equal(mkdirat(p->fd, "extracted", 0700), 0);
	gt_auto(fd) int tar = open(paths[0], O_RDONLY | O_CLOEXEC);
	gt_auto(fd) int dir = open_at(p->fd, "extracted");
	gt_auto(fd) int a = layer_mounted(p, "upper"), b = layer_mounted(p, "lower");
	gt_auto(fd) int both = a >= 0 && b >= 0 ? overlay(a, b) : -1;

	if (both >= 0) {
		names_below(both, "", &names);
		assert_string_equal(gt_buf_str(&names), merged);
		assert_int_equal(fstatat(both, "again", &st, 0), 0);
		assert_int_equal(st.st_mode, S_IFDIR | 0711);
		gt_auto(fd) int keep = openat(both, "keep", O_RDONLY | O_CLOEXEC);

		assert_int_equal(read(keep, text, sizeof(text)), 3);
		assert_string_equal(text, "new");
		/* The extracted form means the same. */
		assert_int_equal(gt_layer_extract(tar, dir, 0, &err), 0);
		gt_auto(fd) int tree = open_tree(dir, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
		gt_auto(fd) int again = overlay(tree, b);

		gt_buf_reset(&names);
		names_below(again, "", &names);
		assert_string_equal(gt_buf_str(&names), merged);
	}
}

/* Of the index and of the directory, and only what the archive says with a marker. */
static void a_root_can_be_opaque(void **state)
{
	static const struct {
		struct tar_entry entries[3];
		bool opaque;
	} rows[] = {
		{ { { .path = ".wh..wh..opq" }, { .path = "f", .data = "x" } }, true },
		{ { { .path = "./", .type = '5', .mode = 0750 }, { .path = "./.wh..wh..opq" } },
		  true },
		{ { { .path = ".wh..wh..opq" }, { .path = "./", .type = '5', .mode = 0711 } },
		  true },
		{ { { .path = "/.wh..wh..opq" }, { .path = ".wh.f" } }, true },
		{ { { .path = "d/.wh..wh..opq" }, { .path = ".wh.f" } }, false },
		{ { { .path = "./", .type = '5', .pax = "SCHILY.xattr.trusted.overlay.opaque=y" },
		    { .path = "f", .pax = "SCHILY.xattr.user.overlay.opaque=y" } },
		  false },
	};
	struct gt_err err = { 0 };
	struct place *p = place_of(state);

	for (size_t i = 0; i < GT_LEN(rows); i++) {
		gt_auto(buf) struct gt_buf tar = { 0 };
		char name[16], paths[2][128];
		bool opaque;

		for (size_t k = 0; k < GT_LEN(rows[i].entries) && rows[i].entries[k].path; k++)
			tar_add(&tar, &rows[i].entries[k]);
		tar_end(&tar);
		snprintf(name, sizeof(name), "layer%zu", i);
		layer_file(p, name, GT_LAYER_TAR, tar.data, tar.len);
		layer_file_paths(p, name, paths[0], paths[1]);
		assert_int_equal(mkdirat(p->fd, name, 0700), 0);
		gt_auto(fd) int fd = open(paths[0], O_RDONLY | O_CLOEXEC);
		gt_auto(fd) int dir = open_at(p->fd, name), mnt = layer_mounted(p, name), tree = -1;

		if (gt_layer_extract(fd, dir, 0, &err) < 0 ||
		    gt_layer_mount_dir(dir, &tree, &err) < 0 ||
		    gt_layer_opaque(tree, &opaque, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(opaque, rows[i].opaque);
		if (mnt >= 0) {
			opaque = !opaque;
			assert_int_equal(gt_layer_opaque(mnt, &opaque, &err), 0);
			assert_int_equal(opaque, rows[i].opaque);
			must_equal(mnt, dir, 0, all_xattrs);
		}
	}
}

static void a_mount_lets_nothing_out(void **state)
{
	gt_auto(buf) struct gt_buf tar = { 0 };
	struct statvfs vfs;
	struct gt_err err = { 0 };
	struct place *p = place_of(state);
	char paths[2][128];
	int none = -7;

	image_entries(&tar);
	layer_file(p, "one", GT_LAYER_TAR, tar.data, tar.len);
	gt_auto(fd) int mnt = layer_mounted(p, "one");

	if (mnt >= 0) {
		assert_int_equal(fstatvfs(mnt, &vfs), 0);
		assert_int_equal(vfs.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV),
				 ST_RDONLY | ST_NOSUID | ST_NODEV);
		layer_file_paths(p, "one", paths[0], paths[1]);
		/* What is no index is not mounted, and the error names it. */
		assert_true(gt_layer_mount(paths[1], paths[0], &none, &err) < 0);
		assert_string_equal(err.slug, "sandbox_failed");
		assert_non_null(strstr(err.text, paths[0]));
		assert_true(gt_layer_mount("/nowhere/tar", paths[1], &none, &err) < 0);
		assert_int_equal(none, -7);
	}
}

/* Owners that a shift would carry past the last id are refused before the first file is made. */
static void owners_are_not_shifted_around(void **state)
{
	gt_auto(buf) struct gt_buf tar = { 0 };
	struct gt_err err = { 0 };
	struct place *p = place_of(state);
	char paths[2][128];

	tar_add(&tar, &(struct tar_entry){ .path = "f", .pax = "uid=4294867296" });
	tar_end(&tar);
	layer_file(p, "one", GT_LAYER_TAR, tar.data, tar.len);
	layer_file_paths(p, "one", paths[0], paths[1]);
	assert_int_equal(mkdirat(p->fd, "out", 0700), 0);
	gt_auto(fd) int fd = open(paths[0], O_RDONLY | O_CLOEXEC), out = open_at(p->fd, "out");

	assert_int_equal(gt_layer_extract(fd, out, 100000, &err), -EBADMSG);
	assert_int_equal(unlinkat(p->fd, "out", AT_REMOVEDIR), 0); /* empty */
}

static int file_on(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void full_disk(const char *data, size_t len, bool tar_on_it, size_t *fed)
{
	gt_auto(fd) int small = tmpfs_of("1m"), large = tmpfs_of("64m");
	gt_auto(fd) int tar = file_on(tar_on_it ? small : large, "tar");
	gt_auto(fd) int index = file_on(tar_on_it ? large : small, "index");
	struct gt_layer_writer *w = NULL;
	struct gt_layer_result res;
	struct gt_err err = { 0 };
	int r = 0;

	assert_int_equal(gt_layer_new(GT_LAYER_TAR, tar, index, NULL, &w, &err), 0);
	for (*fed = 0; r == 0 && *fed < len; *fed += 4096)
		r = gt_layer_feed(w, data + *fed, GT_MIN(len - *fed, 4096), &err);
	if (r == 0)
		r = gt_layer_finish(w, &res, &err);
	assert_int_equal(r, -ENOSPC);
	assert_string_equal(err.slug, "storage_full");
	gt_layer_free(w);
}

static void a_full_disk_is_told(void **state)
{
	gt_auto(buf) struct gt_buf tar = { 0 }, many = { 0 };
	gt_auto(free) char *text = NULL;
	struct gt_err err = { 0 };
	size_t fed;

	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: mounting a small disk needs root\n");
		skip();
	}
	text = gt_alloc((8 << 20) + 1);
	memset(text, 'x', 8 << 20);
	tar_add(&tar, &(struct tar_entry){ .path = "f", .data = text });
	tar_end(&tar);
	full_disk(tar.data, tar.len, true, &fed);
	assert_true(fed < tar.len); /* told while it is fed, not only at the end */
	for (int i = 0; i < 20000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%d", i);
		tar_add(&many, &(struct tar_entry){ .path = name });
	}
	tar_end(&many);
	full_disk(many.data, many.len, false, &fed);
	gt_auto(fd) int small = tmpfs_of("1m"), large = tmpfs_of("64m"), out = open_at(small, ".");
	gt_auto(fd) int fd = file_on(large, "tar");

	assert_int_equal(write(fd, tar.data, tar.len), tar.len);
	assert_int_equal(gt_layer_extract(fd, out, 0, &err), -ENOSPC);
	assert_string_equal(err.slug, "storage_full");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_place, close_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_mounted_layer_is_what_tar_unpacks),
		TEST(old_formats),
		TEST(an_extracted_layer_is_the_mounted_one),
		TEST(whiteouts_hide_what_is_below),
		TEST(a_root_can_be_opaque),
		TEST(a_mount_lets_nothing_out),
		TEST(owners_are_not_shifted_around),
		cmocka_unit_test(a_full_disk_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
