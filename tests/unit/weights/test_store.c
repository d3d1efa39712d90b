/* test_store.c - the store's books: what is in it, who holds it, what goes. */
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
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/cleanup.h>
#include <gantry/weights/store.h>

#define ROOM (8 * GT_MIB)

static char dir[64];

static struct gt_weights_store *opened(void)
{
	struct gt_weights_store *s = NULL;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(gt_weights_store_open_at(fd, ROOM, &s, NULL), 0);
	return s;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int set_up(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/gantry-store-XXXXXX");
	assert_non_null(mkdtemp(dir));
	*state = opened();
	return 0;
}

static int tear_down(void **state)
{
	gt_weights_store_close(*state);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static struct gt_weights_id id_of(uint64_t ino, uint64_t size)
{
	return (struct gt_weights_id){ .dev = 1,
				       .ino = ino,
				       .size = size,
				       .mtime_ns = 5000000007,
				       .mode = 0640,
				       .uid = getuid(),
				       .gid = getgid() };
}

/* Pinned once; NULL: there is no room. */
static struct gt_weights_copy *filled(struct gt_weights_store *s, uint64_t ino, uint64_t size)
{
	struct gt_weights_id id = id_of(ino, size);
	struct gt_weights_copy *c = NULL;
	struct gt_err err = { 0 };
	gt_auto(fd) int fd = -EBADF;
	int r = gt_weights_store_add(s, &id, &c, &fd, &err);

	if (r < 0) {
		assert_int_equal(r, -ENOSPC);
		assert_string_equal(err.slug, "store_full");
		return NULL;
	}
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(gt_weights_store_seal(s, c, &id, &err), 0);
	return c;
}

static struct gt_weights_copy *find(struct gt_weights_store *s, uint64_t ino, uint64_t size)
{
	struct gt_weights_id id = id_of(ino, size);
	char name[GT_WEIGHTS_NAME_SIZE];

	gt_weights_id_name(&id, name);
	return gt_weights_store_find(s, name);
}

static void a_copy_is_found_when_it_is_complete(void **state)
{
	struct gt_weights_id id = id_of(1, 3);
	struct gt_weights_store *s = *state;
	struct gt_weights_copy *c;
	struct gt_err err = { 0 };
	struct stat st;
	int fd, at;

	assert_int_equal(gt_weights_store_add(s, &id, &c, &fd, &err), 0);
	assert_null(find(s, 1, 3));
	assert_int_equal(gt_weights_store_add(s, &id, &c, &at, &err), -EEXIST);
	assert_int_equal(write(fd, "abc", 3), 3);
	close(fd);
	assert_int_equal(gt_weights_store_seal(s, c, &id, &err), 0);
	assert_ptr_equal(find(s, 1, 3), c);
	assert_null(find(s, 2, 3));
	assert_int_equal(gt_weights_store_room(s).used, 2 * GT_MIB);
	assert_int_equal(gt_weights_copy_size(c), 3);
	assert_int_equal(gt_weights_copy_open(s, c, &at, &err), 0);
	assert_int_equal(fstat(at, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0440);
	assert_int_equal(st.st_mtim.tv_sec, 5);
	assert_int_equal(st.st_mtim.tv_nsec, 7);
	close(at);
}

static void the_one_used_longest_ago_makes_room(void **state)
{
	struct gt_weights_store *s = *state;

	for (uint64_t i = 1; i <= 4; i++)
		gt_weights_store_unpin(s, filled(s, i, GT_MIB));
	assert_int_equal(gt_weights_store_room(s).used, ROOM);
	gt_weights_store_pin(s, find(s, 1, GT_MIB));
	gt_weights_store_unpin(s, find(s, 1, GT_MIB));
	assert_non_null(filled(s, 5, GT_MIB));
	assert_null(find(s, 2, GT_MIB));
	assert_non_null(find(s, 1, GT_MIB));
	assert_non_null(find(s, 3, GT_MIB));
	assert_int_equal(gt_weights_store_room(s).used, ROOM);
}

static void what_is_held_stays_and_a_refusal_removes_nothing(void **state)
{
	struct gt_weights_store *s = *state;
	struct gt_weights_copy *held = filled(s, 1, 4 * GT_MIB);

	gt_weights_store_unpin(s, filled(s, 2, 2 * GT_MIB));
	assert_null(filled(s, 3, 4 * GT_MIB + 1));
	assert_null(filled(s, 3, 100 * GT_MIB));
	assert_non_null(find(s, 2, 2 * GT_MIB));
	gt_weights_store_pin(s, held);
	gt_weights_store_unpin(s, held);
	assert_null(filled(s, 3, 5 * GT_MIB)); /* two had it, one has left */
	gt_weights_store_unpin(s, held);
	assert_non_null(filled(s, 3, 5 * GT_MIB));
	assert_null(find(s, 1, 4 * GT_MIB));
}

static void a_fill_that_failed_leaves_nothing(void **state)
{
	struct gt_weights_id id = id_of(1, ROOM);
	struct gt_weights_store *s = *state;
	struct gt_weights_copy *c;
	int fd;

	assert_int_equal(gt_weights_store_add(s, &id, &c, &fd, NULL), 0);
	close(fd);
	gt_weights_store_drop(s, c);
	assert_int_equal(gt_weights_store_room(s).used, 0);
	assert_non_null(filled(s, 1, ROOM));
}

static void a_later_process_finds_what_is_complete(void **state)
{
	struct gt_weights_id id = id_of(2, 5);
	struct gt_weights_copy *c;
	char path[128];
	int fd;

	assert_non_null(filled(*state, 1, 3 * GT_MIB));
	assert_int_equal(gt_weights_store_add(*state, &id, &c, &fd, NULL), 0);
	close(fd);
	gt_weights_store_close(*state);
	*state = opened();
	assert_int_equal(gt_weights_store_room(*state).used, 4 * GT_MIB);
	assert_non_null(find(*state, 1, 3 * GT_MIB));
	assert_null(find(*state, 2, 5));
	snprintf(path, sizeof(path), "%s/1-2-5-12a05f207-0.part", dir);
	assert_int_equal(access(path, F_OK), -1);
	assert_non_null(filled(*state, 2, 5));
}

static void nothing_mounted_is_no_store(void **state)
{
	struct gt_weights_store *s = NULL;

	(void)state;
	assert_int_equal(gt_weights_store_open(dir, &s, NULL), -ENOENT);
	assert_int_equal(gt_weights_store_unmount(dir, NULL), 0);
	assert_int_equal(gt_weights_store_mount(dir, 0, NULL), 0);
}

static void a_mount_has_its_size_and_another_one(void **state)
{
	struct gt_weights_store *s = NULL;
	struct gt_err err = { 0 };

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(gt_weights_store_mount(dir, 4 * GT_MIB, &err), 0);
	assert_int_equal(gt_weights_store_open(dir, &s, &err), 0);
	assert_int_equal(gt_weights_store_room(s).bytes, 4 * GT_MIB);
	assert_non_null(filled(s, 1, GT_MIB));
	gt_weights_store_close(s);
	/* A supervisor that starts again finds it, with a new size or the same. */
	assert_int_equal(gt_weights_store_mount(dir, 6 * GT_MIB, &err), 0);
	assert_int_equal(gt_weights_store_open(dir, &s, &err), 0);
	assert_int_equal(gt_weights_store_room(s).bytes, 6 * GT_MIB);
	assert_non_null(find(s, 1, GT_MIB));
	gt_weights_store_close(s);
	assert_int_equal(gt_weights_store_mount(dir, 0, &err), 0);
	assert_int_equal(gt_weights_store_open(dir, &s, &err), -ENOENT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_copy_is_found_when_it_is_complete),
		TEST(the_one_used_longest_ago_makes_room),
		TEST(what_is_held_stays_and_a_refusal_removes_nothing),
		TEST(a_fill_that_failed_leaves_nothing),
		TEST(a_later_process_finds_what_is_complete),
		TEST(nothing_mounted_is_no_store),
		TEST(a_mount_has_its_size_and_another_one),
	};

	return cmocka_run_group_tests_name("weights/test_store", tests, NULL, NULL);
}
