/* test_scan.c - which files a pattern means, in a directory where a stranger wrote. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/buf.h>
#include <gantry/base/cleanup.h>
#include <gantry/weights/scan.h>

struct world {
	char dir[64];
	int root;
};

static int set_up(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));

	snprintf(w->dir, sizeof(w->dir), "/tmp/gantry-scan-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->root = open(w->dir, O_PATH | O_CLOEXEC);
	assert_true(w->root >= 0);
	*state = w;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int tear_down(void **state)
{
	struct world *w = *state;

	close(w->root);
	nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(w);
	return 0;
}

static void make(struct world *w, const char *path, size_t size)
{
	gt_auto(fd) int fd = openat(w->root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char text[] = "weights";

	assert_true(fd >= 0);
	for (size_t i = 0; i < size; i += sizeof(text) - 1)
		assert_true(write(fd, text, GT_MIN(size - i, sizeof(text) - 1)) > 0);
}

static bool note(const struct gt_weights_found *f, void *arg)
{
	assert_true(f->fd >= 0 && f->id.size > 0 && f->resident <= f->id.size);
	gt_buf_addf(arg, "%s ", f->path);
	return true;
}

static void finds(struct world *w, const char *pattern, const char *wanted)
{
	gt_auto(buf) struct gt_buf seen = { 0 };
	struct gt_err err = { 0 };
	int r;

	gt_buf_init(&seen, 0);
	r = gt_weights_scan(w->root, pattern, note, &seen, &err);
	assert_int_equal(r, *wanted ? 0 : -ENOENT);
	assert_string_equal(gt_buf_str(&seen), wanted);
}

static void patterns_match_within_a_component(void **state)
{
	struct world *w = *state;

	mkdirat(w->root, "qwen", 0700);
	mkdirat(w->root, "qwen/sub", 0700);
	mkdirat(w->root, "llama", 0700);
	make(w, "qwen/b.st", 10);
	make(w, "qwen/a.st", 10);
	make(w, "qwen/.hidden.st", 10);
	make(w, "qwen/c.bin", 10);
	make(w, "qwen/sub/d.st", 10);
	make(w, "llama/a.st", 10);
	finds(w, "qwen/*.st", "qwen/a.st qwen/b.st ");
	finds(w, "*/a.st", "llama/a.st qwen/a.st ");
	finds(w, "*/*/*", "qwen/sub/d.st ");
	finds(w, "qwen/[ac].*", "qwen/a.st qwen/c.bin ");
	finds(w, "qwen/?.bin", "qwen/c.bin ");
	finds(w, "qwen/.hid*", "qwen/.hidden.st ");
	finds(w, "qwen/c.bin", "qwen/c.bin ");
	finds(w, "qwen/sub", "");
	finds(w, "none/*", "");
	finds(w, "qwen/a.st/x", "");
}

static void only_files_of_the_place_are_opened(void **state)
{
	struct world *w = *state;

	mkdirat(w->root, "in", 0700);
	make(w, "in/blob", 10);
	make(w, "empty", 0);
	assert_int_equal(mkfifoat(w->root, "fifo", 0600), 0);
	assert_int_equal(symlinkat("in/blob", w->root, "good"), 0);
	assert_int_equal(symlinkat("../in/blob", w->root, "in/round"), 0);
	assert_int_equal(symlinkat("/etc/passwd", w->root, "out"), 0);
	assert_int_equal(symlinkat("../../etc/passwd", w->root, "up"), 0);
	assert_int_equal(symlinkat("loop", w->root, "loop"), 0);
	assert_int_equal(symlinkat("/proc/self/exe", w->root, "magic"), 0);
	finds(w, "*", "good ");
	finds(w, "*/*", "in/blob in/round ");
	finds(w, "fifo", "");
	finds(w, "out", "");
}

static void a_volume_may_be_a_file(void **state)
{
	struct world *w = *state, file = *w;

	make(w, "x", 10);
	file.root = openat(w->root, "x", O_PATH | O_CLOEXEC);
	finds(&file, "", " ");
	close(file.root);
	finds(w, "", "");
}

static void too_much_is_refused(void **state)
{
	struct gt_err err = { 0 };
	struct world *w = *state;
	gt_auto(buf) struct gt_buf seen = { 0 };
	char name[32];

	gt_buf_init(&seen, 0);
	for (int i = 0; i <= GT_WEIGHTS_FILES_MAX; i++) {
		snprintf(name, sizeof(name), "%d", i);
		make(w, name, 1);
	}
	assert_int_equal(gt_weights_scan(w->root, "*", note, &seen, &err), -E2BIG);
	assert_string_equal(err.slug, "weights_many");
	assert_int_equal(gt_weights_scan(w->root, "1*", note, &seen, &err), 0);
	for (int i = 0; i <= GT_WEIGHTS_NAMES_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(symlinkat("0", w->root, name), 0);
	}
	assert_int_equal(gt_weights_scan(w->root, "0*", note, &seen, &err), -E2BIG);
}

static void name_of(struct world *w, const char *path, char ret[GT_WEIGHTS_NAME_SIZE])
{
	gt_auto(fd) int fd = openat(w->root, path, O_RDONLY | O_CLOEXEC);
	struct gt_weights_id id;

	assert_int_equal(gt_weights_id_of(fd, &id, NULL), 0);
	gt_weights_id_name(&id, ret);
	assert_true(!strchr(ret, '/') && !strchr(ret, '.') && ret[0]);
}

static void another_content_has_another_name(void **state)
{
	char a[GT_WEIGHTS_NAME_SIZE], b[GT_WEIGHTS_NAME_SIZE];
	const struct timespec old[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	struct world *w = *state;

	make(w, "x", 10);
	make(w, "y", 10);
	name_of(w, "x", a);
	name_of(w, "y", b);
	assert_string_not_equal(a, b);
	/* Moved, it is the same file; written to, it is not, even when its time is turned back. */
	assert_int_equal(renameat(w->root, "y", w->root, "z"), 0);
	assert_int_equal(utimensat(w->root, "x", old, 0), 0);
	name_of(w, "x", b);
	assert_string_not_equal(a, b);
	make(w, "x", 11);
	assert_int_equal(utimensat(w->root, "x", old, 0), 0);
	name_of(w, "x", a);
	assert_string_not_equal(a, b);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* With room for none, one, two ... descriptors: never that there is nothing, or less. */
static void a_lack_of_descriptors_is_told(void **state)
{
	struct world *w = *state;
	struct rlimit before, few;
	unsigned told = 0;
	int r = -EMFILE, lowest = dup(w->root);

	assert_true(lowest >= 0);
	close(lowest);
	make(w, "a.bin", 10);
	make(w, "b.bin", 10);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (unsigned room = 0; r == -EMFILE && room < 8; room++) {
		gt_auto(buf) struct gt_buf got = { 0 };
		struct gt_err err = { 0 };

		few = (struct rlimit){ (rlim_t)lowest + room, before.rlim_max };
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		r = gt_weights_scan(w->root, "*.bin", note, &got, &err);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		told += r == -EMFILE;
		if (r == 0)
			assert_string_equal(gt_buf_str(&got), "a.bin b.bin ");
		else
			assert_int_equal(r, -EMFILE);
	}
	assert_int_equal(r, 0);
	assert_true(told >= 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(patterns_match_within_a_component),
		TEST(only_files_of_the_place_are_opened),
		TEST(a_volume_may_be_a_file),
		TEST(too_much_is_refused),
		TEST(a_lack_of_descriptors_is_told),
		TEST(another_content_has_another_name),
	};

	return cmocka_run_group_tests_name("weights/test_scan", tests, NULL, NULL);
}
