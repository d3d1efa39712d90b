/* test_user.c - the reader of an image's /etc/passwd and /etc/group: what is meant is found, what
 * is hostile ends in a refusal, in bounded time and without leaving the image. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* A part of gantry-init, which is no part of the library. */
#include "../../../src/runtime/init/user.c"

struct image {
	char dir[64];
	int root;
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void image_put(const struct image *im, const char *path, const char *text, size_t len)
{
	int fd = openat(im->root, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static void image_open(struct image *im, const char *passwd, const char *group)
{
	*im = (struct image){ .dir = "/tmp/gantry-test-XXXXXX" };
	assert_non_null(mkdtemp(im->dir));
	im->root = open(im->dir, O_PATH | O_DIRECTORY);
	assert_true(im->root >= 0);
	assert_int_equal(mkdirat(im->root, "etc", 0755), 0);
	if (passwd)
		image_put(im, "etc/passwd", passwd, strlen(passwd));
	if (group)
		image_put(im, "etc/group", group, strlen(group));
}

static void image_close(struct image *im)
{
	close(im->root);
	nftw(im->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define PASSWD                                     \
	"root:x:0:0:root:/root:/bin/sh\n"          \
	"# a comment\n\nbroken\n:::\n"             \
	"web:x:33:34:Web,,,:/var/www:/bin/false\n" \
	"far:x:70000:1:::\n"                       \
	"neg:x:-1:1:::\n"                          \
	"nohome:x:40:41\n"                         \
	"web:x:1:1::/second:\n"                    \
	"last:x:50:51::/l:"
#define GROUP "root:x:0:\nwww:x:34:\nvideo:x:44:a,web,b\nx:y:z\naudio:x:45:web\nwebs:x:46:webs,we\n"

static const struct {
	const char *user;
	int code;
	unsigned uid, gid, n_groups;
	const char *home;
} cases[] = {
	{ "root", 0, 0, 0, 0, "/root" },         { "web", 0, 33, 34, 2, "/var/www" },
	{ "web:www", 0, 33, 34, 0, "/var/www" }, { "web:7", 0, 33, 7, 0, "/var/www" },
	{ "7:www", 0, 7, 34, 0, "/" },           { "33", 0, 33, 34, 0, "/var/www" },
	{ "33:1", 0, 33, 1, 0, "/var/www" },     { "7", 0, 7, 0, 0, "/" },
	{ "0:0", 0, 0, 0, 0, "/root" },          { "nohome", 0, 40, 41, 0, "/" },
	{ "last", 0, 50, 51, 0, "/l" }, /* no newline at the end */
	{ "far", ERANGE, 0, 0, 0, NULL },        { "neg", ERANGE, 0, 0, 0, NULL },
	{ "70000", ENOENT, 0, 0, 0, NULL },      { "broken", ERANGE, 0, 0, 0, NULL },
	{ "nobody", ENOENT, 0, 0, 0, NULL },     { "web:nobody", ENOENT, 0, 0, 0, NULL },
	{ "web:x", ERANGE, 0, 0, 0, NULL },      { "", EINVAL, 0, 0, 0, NULL },
	{ ":1", EINVAL, 0, 0, 0, NULL },         { "#", ENOENT, 0, 0, 0, NULL },
};

static void names_and_numbers(void **state)
{
	enum gt_init_user_part part;
	struct init_user u;
	struct image im;

	(void)state;
	image_open(&im, PASSWD, GROUP);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int code = init_user_find(im.root, cases[i].user, &u, &part);

		if (code != cases[i].code)
			fail_msg("\"%s\": %s", cases[i].user, strerror(code));
		if (code != 0)
			continue;
		assert_int_equal(u.uid, cases[i].uid);
		assert_int_equal(u.gid, cases[i].gid);
		assert_int_equal(u.n_groups, cases[i].n_groups);
		assert_string_equal(u.home, cases[i].home);
	}
	assert_int_equal(init_user_find(im.root, "web", &u, &part), 0);
	assert_int_equal(u.groups[0], 44);
	assert_int_equal(u.groups[1], 45);
	assert_int_equal(init_user_find(im.root, "web:gone", &u, &part), ENOENT);
	assert_int_equal(part, GT_INIT_USER_GROUP);
	assert_int_equal(init_user_find(im.root, "gone:www", &u, &part), ENOENT);
	assert_int_equal(part, GT_INIT_USER_USER);
	image_close(&im);
}

static void without_the_files(void **state)
{
	enum gt_init_user_part part;
	struct init_user u;
	struct image im;

	(void)state;
	image_open(&im, NULL, NULL);
	assert_int_equal(init_user_find(im.root, "7:8", &u, &part), 0);
	assert_int_equal(init_user_find(im.root, "web", &u, &part), ENOENT);
	assert_int_equal(init_user_find(im.root, "7:www", &u, &part), ENOENT);
	image_put(&im, "etc/passwd", PASSWD, strlen(PASSWD));
	assert_int_equal(init_user_find(im.root, "web", &u, &part), 0);
	assert_int_equal(u.n_groups, 0);
	image_close(&im);
}

/* The host's own file must never be read for the image's. */
static void links_stay_inside(void **state)
{
	enum gt_init_user_part part;
	struct init_user u;
	struct image im;

	(void)state;
	image_open(&im, NULL, NULL);
	assert_int_equal(symlinkat("../../../../../../../../etc/passwd", im.root, "etc/passwd"), 0);
	assert_int_equal(init_user_find(im.root, "root", &u, &part), ELOOP);
	assert_int_equal(unlinkat(im.root, "etc/passwd", 0), 0);
	assert_int_equal(symlinkat("/proc/self/root/etc/passwd", im.root, "etc/passwd"), 0);
	assert_int_equal(init_user_find(im.root, "root", &u, &part), ENOENT);
	assert_int_equal(unlinkat(im.root, "etc/passwd", 0), 0);
	/* One within the image is fine. */
	image_put(&im, "real", "in:x:3:4::/in:\n", 15);
	assert_int_equal(symlinkat("/real", im.root, "etc/passwd"), 0);
	assert_int_equal(init_user_find(im.root, "in", &u, &part), 0);
	assert_int_equal(u.uid, 3);
	image_close(&im);
}

static void not_a_file(void **state)
{
	enum gt_init_user_part part;
	struct init_user u;
	struct image im;

	(void)state;
	image_open(&im, NULL, NULL);
	assert_int_equal(mkfifoat(im.root, "etc/passwd", 0644), 0);
	assert_int_equal(init_user_find(im.root, "root", &u, &part),
			 EINVAL); /* and does not wait */
	assert_int_equal(init_user_find(im.root, "5", &u, &part), 0);
	assert_int_equal(unlinkat(im.root, "etc/passwd", 0), 0);
	assert_int_equal(mkdirat(im.root, "etc/passwd", 0755), 0);
	assert_int_equal(init_user_find(im.root, "root", &u, &part), EISDIR);
	image_close(&im);
}

static void bounds_hold(void **state)
{
	const size_t long_len = 10000;
	enum gt_init_user_part part;
	struct init_user u;
	struct image im;
	char *text = malloc(200000);
	size_t len;

	(void)state;
	assert_non_null(text);
	image_open(&im, NULL, NULL);
	/* A line that is too long is nobody's, and what stands after it is found. */
	memset(text, 'x', long_len);
	memcpy(text, "web:x:1:1:", 10);
	len = long_len + (size_t)snprintf(text + long_len, 100, "\nweb:x:2:2::/w:\n");
	image_put(&im, "etc/passwd", text, len);
	assert_int_equal(init_user_find(im.root, "web", &u, &part), 0);
	assert_int_equal(u.uid, 2);
	/* A NUL hides nothing. */
	image_put(&im, "etc/passwd", "web\0:x:3:3:::\nweb:x:4:4:::\n", 27);
	assert_int_equal(init_user_find(im.root, "web", &u, &part), 0);
	assert_int_equal(u.uid, 4);
	/* What lies behind a megabyte does not exist. */
	int fd = openat(im.root, "etc/passwd", O_WRONLY | O_TRUNC);
	assert_int_equal(ftruncate(fd, 1ll << 40), 0);
	assert_int_equal(pwrite(fd, "\nweb:x:5:5:::\n", 14, 4 << 20), 14);
	close(fd);
	assert_int_equal(init_user_find(im.root, "web", &u, &part), ENOENT);
	/* More groups than we carry are refused, not cut. */
	image_put(&im, "etc/passwd", "web:x:4:4:::\n", 13);
	len = 0;
	for (int i = 0; i <= INIT_GROUPS_MAX; i++)
		len += (size_t)snprintf(text + len, 64, "g%d:x:%d:web\n", i, i);
	image_put(&im, "etc/group", text, len);
	assert_int_equal(init_user_find(im.root, "web", &u, &part), E2BIG);
	free(text);
	image_close(&im);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_numbers), cmocka_unit_test(without_the_files),
		cmocka_unit_test(links_stay_inside), cmocka_unit_test(not_a_file),
		cmocka_unit_test(bounds_hold),
	};

	return cmocka_run_group_tests_name("user", tests, NULL, NULL);
}
