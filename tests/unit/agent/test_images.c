/* test_images.c - a node's images: what the worker, which is not trusted, can make of them; orders
 * to it by the hundred; what is collected. As root: files change their owner. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/os/os.h>

#include "agent_impl.h"
#include "images.h"

#define WORKER_ID 65534
#define MANY      1500

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEX_C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define A     "sha256:" HEX_A
#define B     "sha256:" HEX_B
#define C     "sha256:" HEX_C
#define REF   "registry.example/team/echo"

struct world {
	char dir[64];
	struct agent agent;
	struct images *images;
	unsigned failed, done, wrong;
};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void open_images(struct world *w)
{
	const struct images_config config = { .uid = WORKER_ID, .gid = WORKER_ID };
	struct gt_err err = { 0 };

	if (gt_images_new(&w->agent, &config, w->dir, &w->images, &err) < 0)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));
	char path[96];

	*state = w;
	gt_strcopy(w->dir, sizeof(w->dir), "/tmp/gantry-images.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(chmod(w->dir, 0711), 0);
	snprintf(path, sizeof(path), "%s/agent", w->dir);
	assert_int_equal(mkdir(path, 0711), 0);
	assert_int_equal(gt_loop_new(&w->agent.loop, NULL), 0);
	if (geteuid() == 0)
		open_images(w);
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	gt_images_free(w->images);
	gt_loop_free(w->agent.loop);
	nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(w);
	return 0;
}

static struct images *need_root(void **state)
{
	struct world *w = *state;

	if (geteuid() != 0) {
		print_message("skipped: only root can take files over\n");
		skip();
	}
	return w->images;
}

static void write_file(int dir, const char *name, const char *text)
{
	gt_auto(fd) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchown(fd, WORKER_ID, WORKER_ID), 0);
}

static bool has(int dir, const char *name)
{
	return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int keep(struct images *im, const char *diff_id, const char *text)
{
	write_file(im->work_fd, "layer-0.tar", text);
	write_file(im->work_fd, "layer-0.erofs", text);
	return gt_image_layer_keep(im, "layer-0", diff_id, NULL);
}

static void assert_content(int dir, const char *name, const char *text)
{
	char got[64] = "";

	assert_true(gt_os_read_at(dir, name, got, sizeof(got), NULL) >= 0);
	assert_string_equal(got, text);
}

static struct gt_image_record *record_of(const char *digest, const char *index, const char *layer,
					 const char *command)
{
	struct gt_image_record *r = gt_alloc(sizeof(*r));

	gt_strcopy(r->digest, sizeof(r->digest), digest);
	gt_strcopy(r->index, sizeof(r->index), index);
	r->name = gt_strdup(REF);
	r->cmd = gt_alloc_array(2, sizeof(*r->cmd));
	r->cmd[0] = gt_strdup(command);
	r->n_cmd = 1;
	r->layers = gt_alloc_array(1, sizeof(*r->layers));
	gt_strcopy(r->layers[0].diff_id, GT_REF_DIGEST_SIZE, layer);
	r->n_layers = 1;
	return r;
}

static int keep_record(struct images *im, const char *ordered, const char *digest,
		       const char *index, const char *layer, const char *command)
{
	gt_auto(image_record) struct gt_image_record *r = record_of(digest, index, layer, command);
	struct image *image;

	return gt_image_record_keep(im, ordered, &r, &image, NULL);
}

/* ---- a worker that lies ---- */

static void test_layer_is_taken_once(void **state)
{
	struct images *im = need_root(state);

	assert_int_equal(keep(im, A, "first"), 0);
	assert_false(has(im->work_fd, "layer-0.tar"));
	assert_int_equal(keep(im, A, "second"), -EEXIST);
	assert_content(im->layers_fd, HEX_A ".tar", "first");
	assert_content(im->layers_fd, HEX_A ".erofs", "first");
}

static void test_layer_is_a_plain_file(void **state)
{
	struct images *im = need_root(state);

	write_file(im->dir_fd, "secret", "secret");
	write_file(im->work_fd, "layer-0.erofs", "index");
	assert_int_equal(symlinkat("../secret", im->work_fd, "layer-0.tar"), 0);
	assert_true(gt_image_layer_keep(im, "layer-0", A, NULL) < 0);
	assert_int_equal(unlinkat(im->work_fd, "layer-0.tar", 0), 0);
	assert_int_equal(linkat(im->dir_fd, "secret", im->work_fd, "layer-0.tar", 0), 0);
	assert_int_equal(gt_image_layer_keep(im, "layer-0", A, NULL), -EINVAL);
	assert_int_equal(unlinkat(im->work_fd, "layer-0.tar", 0), 0);
	assert_int_equal(mkfifoat(im->work_fd, "layer-0.tar", 0600), 0);
	assert_int_equal(gt_image_layer_keep(im, "layer-0", A, NULL), -EINVAL);
	assert_int_equal(gt_image_layer_keep(im, "../secret", A, NULL), -EINVAL);
	assert_int_equal(gt_image_layer_keep(im, "layer-0", "sha256:../../x", NULL), -EINVAL);
	assert_false(has(im->layers_fd, HEX_A ".tar"));
	assert_content(im->dir_fd, "secret", "secret");
}

static void test_half_a_layer_is_none(void **state)
{
	struct images *im = need_root(state);

	write_file(im->work_fd, "layer-0.tar", "x");
	assert_true(gt_image_layer_keep(im, "layer-0", A, NULL) < 0);
	assert_false(has(im->layers_fd, HEX_A ".tar"));
	assert_int_equal(keep(im, A, "x"), 0);
}

static void test_lost_file(void **state)
{
	struct images *im = need_root(state);

	assert_int_equal(keep(im, A, "x"), 0);
	assert_int_equal(keep_record(im, REF ":1", B, "", A, "/echo"), 0);
	assert_non_null(gt_image_find(im, B));
	assert_int_equal(unlinkat(im->layers_fd, HEX_A ".tar", 0), 0);
	assert_null(gt_image_find(im, B));
	/* The worker takes it for complete as long as its index is there. */
	assert_false(has(im->layers_fd, HEX_A ".erofs"));
	assert_int_equal(keep(im, A, "x"), 0);
	assert_non_null(gt_image_find(im, B));
}

static void test_record_of_another_image(void **state)
{
	struct images *im = need_root(state);

	assert_int_equal(keep(im, A, "x"), 0);
	assert_int_equal(keep_record(im, REF ":1@" B, C, "", A, "/echo"), -EBADMSG);
	assert_int_equal(keep_record(im, B, C, "", A, "/echo"), -EBADMSG);
	assert_int_equal(keep_record(im, REF ":1", "", "", A, "/echo"), -EBADMSG);
	assert_int_equal(keep_record(im, REF ":1", B, "", C, "/echo"), -ESTALE);
	assert_null(im->images);
}

static void test_record_is_not_replaced(void **state)
{
	struct images *im = need_root(state);

	assert_int_equal(keep(im, A, "x"), 0);
	assert_int_equal(keep_record(im, REF ":1", B, "", A, "/echo"), 0);
	assert_int_equal(keep_record(im, REF ":2", B, "", A, "/evil"), 0);
	assert_string_equal(gt_image_find(im, B)->record->cmd[0], "/echo");
	gt_images_free(im);
	((struct world *)*state)->images = NULL;
	open_images(*state);
	im = ((struct world *)*state)->images;
	assert_string_equal(gt_image_find(im, B)->record->cmd[0], "/echo");
}

/* Who names an index finds what it led to, and nobody else's word makes it so. */
static void test_index(void **state)
{
	struct images *im = need_root(state);

	assert_int_equal(keep(im, A, "x"), 0);
	assert_int_equal(keep_record(im, REF ":1", B, C, A, "/echo"), 0);
	assert_null(gt_image_find(im, C));
	assert_int_equal(keep_record(im, REF "@" C, B, C, A, "/echo"), 0);
	assert_ptr_equal(gt_image_find(im, C), gt_image_find(im, B));
}

static void test_an_image_is_no_bundle(void **state)
{
	struct images *im = need_root(state);

	assert_int_equal(keep(im, A, "x"), 0);
	assert_int_equal(keep_record(im, REF ":1", B, "", A, "/echo"), 0);
	assert_null(gt_image_bundle_find(im, B));
}

/* ---- collection ---- */

static void test_orphans(void **state)
{
	struct images *im = need_root(state);

	assert_int_equal(keep(im, A, "x"), 0);
	assert_int_equal(keep(im, B, "y"), 0);
	assert_int_equal(keep_record(im, REF ":1", C, "", A, "/echo"), 0);
	assert_int_equal(gt_image_orphans_remove(im, 1000), 0);
	assert_true(has(im->layers_fd, HEX_B ".erofs"));
	assert_int_equal(gt_image_orphans_remove(im, UINT64_MAX), 1);
	assert_false(has(im->layers_fd, HEX_B ".erofs"));
	assert_true(has(im->layers_fd, HEX_A ".erofs"));
}

static void test_uploads(void **state)
{
	const struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct images *im = need_root(state);

	write_file(im->work_fd, GT_IMAGE_UPLOAD "old", "x");
	write_file(im->work_fd, GT_IMAGE_UPLOAD "new", "x");
	assert_int_equal(utimensat(im->work_fd, GT_IMAGE_UPLOAD "old", old, 0), 0);
	gt_image_collect(im, false);
	assert_false(has(im->work_fd, GT_IMAGE_UPLOAD "old"));
	assert_true(has(im->work_fd, GT_IMAGE_UPLOAD "new"));
	/* A worker was started for it, though nothing was pulled. */
	assert_true(im->worker_pid > 0);
}

/* ---- orders ---- */

static void on_done(struct gt_image_record *r, void *arg)
{
	(void)r;
	((struct world *)arg)->done++;
}

static void on_failed(const struct gt_err *err, void *arg)
{
	struct world *w = arg;

	w->wrong += strstr(err->text, "open the upload") == NULL;
	if (++w->failed == MANY)
		gt_loop_stop(w->agent.loop);
}

/* More than its socket holds, none is lost; the same is ordered once. */
static void test_many_orders(void **state)
{
	struct images *im = need_root(state);
	struct world *w = *state;
	const struct image_want want = { .on_done = on_done, .on_failed = on_failed, .arg = w };
	struct image_job *job = NULL;

	for (unsigned i = 0; i < MANY; i++) {
		char digest[GT_REF_DIGEST_SIZE];

		snprintf(digest, sizeof(digest), "sha256:%064x", i / 2);
		gt_image_order(im, GT_IMAGE_IMPORT, digest, GT_IMAGE_UPLOAD "none", &want);
	}
	assert_int_equal(im->next_id, MANY / 2);
	assert_non_null(im->outbox);
	job = gt_image_order(im, GT_IMAGE_IMPORT, A, GT_IMAGE_UPLOAD "none", &want);
	gt_image_cancel(job);
	assert_int_equal(gt_loop_run(w->agent.loop, NULL), 0);
	assert_int_equal(w->failed, MANY);
	assert_int_equal(w->wrong, 0);
	assert_null(im->errands);
	assert_null(im->outbox);
}

static void on_failed_order_again(const struct gt_err *err, void *arg)
{
	struct world *w = arg;
	const struct image_want want = { .on_done = on_done, .on_failed = on_failed, .arg = w };

	(void)err;
	w->failed = MANY - 1;
	gt_image_order(w->images, GT_IMAGE_IMPORT, A, GT_IMAGE_UPLOAD "none", &want);
}

/* Who hears of its death may order anew: that goes to another worker. */
static void test_worker_dies(void **state)
{
	struct images *im = need_root(state);
	struct world *w = *state;
	const struct image_want want = { .on_done = on_done,
					 .on_failed = on_failed_order_again,
					 .arg = w };

	gt_image_order(im, GT_IMAGE_IMPORT, B, GT_IMAGE_UPLOAD "none", &want);
	assert_int_equal(kill(im->worker_pid, SIGKILL), 0);
	assert_int_equal(gt_loop_run(w->agent.loop, NULL), 0);
	assert_int_equal(w->failed, MANY);
	assert_int_equal(w->wrong, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_layer_is_taken_once),
		TEST(test_layer_is_a_plain_file),
		TEST(test_half_a_layer_is_none),
		TEST(test_lost_file),
		TEST(test_record_of_another_image),
		TEST(test_record_is_not_replaced),
		TEST(test_index),
		TEST(test_an_image_is_no_bundle),
		TEST(test_orphans),
		TEST(test_uploads),
		TEST(test_many_orders),
		TEST(test_worker_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
