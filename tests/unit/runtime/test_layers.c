/* test_layers.c - images of several layers, shared between containers or not, and users that are
 * names of such an image. */
#include "fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/os/os.h>

#define LAYERS(f, ...)                                                            \
	struct fixture f;                                                         \
	if (fixture_open_with(&f, (struct gt_runtime_config){ __VA_ARGS__ }) < 0) \
		skip();

/* A file in a layer's directory. */
static void put(const char *dir, const char *path, const char *text)
{
	char full[200];
	FILE *out;

	snprintf(full, sizeof(full), "%s/%s", dir, path);
	out = fopen(full, "we");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	fclose(out);
}

static void make_dir(const char *dir, const char *name, char out[160])
{
	assert_true(snprintf(out, 160, "%s/%s", dir, name) < 160);
	assert_int_equal(mkdir(out, 0755), 0);
}

/* The directory as the image room would hand it over. */
static int layer_of(const char *dir)
{
	struct gt_err err;
	int at, tree;

	if (gt_os_path_open(dir, &at, &err) < 0 || gt_os_tree_open(at, &tree, &err) < 0 ||
	    gt_os_tree_attr(tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, -1,
			    &err) < 0)
		fail_msg("%s", err.text);
	gt_close(at);
	return tree;
}

/* A shell of the host in the layers' root. */
static struct gt_spec *shell_in_layers(const char *script)
{
	static const char *const dirs[] = { "/bin", "/lib", "/lib64", "/usr" };
	struct gt_spec *spec = fixture_shell(script);

	free(spec->image);
	spec->image = gt_strdup("registry.test/x:1");
	for (size_t i = 0; i < GT_LEN(dirs); i++) {
		if (access(dirs[i], F_OK) == 0)
			fixture_mount(spec, dirs[i], dirs[i], true);
	}
	return spec;
}

struct two {
	char low[160], top[160];
};

/* top hides one file of low and takes another one away. */
static void two_make(struct fixture *f, struct two *t)
{
	char path[200];

	make_dir(f->dir, "low", t->low);
	make_dir(f->dir, "top", t->top);
	put(t->low, "low", "low\n");
	put(t->low, "both", "low\n");
	put(t->low, "gone", "low\n");
	put(t->top, "both", "top\n");
	snprintf(path, sizeof(path), "%s/gone", t->top);
	assert_int_equal(mknod(path, S_IFCHR, makedev(0, 0)), 0);
}

static void run_layers(struct fixture *f, const int *layers, size_t n, bool owned,
		       struct gt_spec *spec, struct run *run)
{
	struct gt_container_args args = { .function = "layered",
					  .revision = 1,
					  .layers = layers,
					  .n_layers = n,
					  .layers_owned = owned };

	if (run_start_as(f, args, spec, run) < 0)
		fail_msg("refused: %s", run->err.text);
}

static void expect(struct fixture *f, struct run *run, const char *text)
{
	fixture_until(f, &run->exited);
	run_read(run);
	if (run->failed)
		fail_msg("%s", run->err.text);
	assert_string_equal(gt_buf_str(&run->text), text);
}

static const char look[] = "cat /low /both; ls /gone 2>/dev/null || echo none;"
			   "stat -c %u /low; echo x > /both && cat /both";
#define SEEN "low\ntop\nnone\n0\nx\n"

/* /etc gets files of ours over what all layers make of it together, unless it is no directory. */
static void etc_over_layers(void **state)
{
	static const struct {
		mode_t top; /* what the topmost layer has at /etc: nothing, a whiteout, a link */
		const char *seen;
	} cases[] = {
		{ 0, "layered\nkept\n750\n" },
		{ S_IFCHR, "layered\nnone\n755\n" },
		{ S_IFLNK, "none\nnone\n777\n" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		char etc[160], path[200];
		struct run run;
		struct two t;
		int layers[2];

		LAYERS(f, .pool = 0);
		two_make(&f, &t);
		make_dir(t.low, "etc", etc);
		put(etc, "kept", "kept\n");
		assert_int_equal(chmod(etc, 0750), 0);
		snprintf(path, sizeof(path), "%s/etc", t.top);
		if (cases[i].top == S_IFCHR)
			assert_int_equal(mknod(path, S_IFCHR, makedev(0, 0)), 0);
		if (cases[i].top == S_IFLNK)
			assert_int_equal(symlink("/nowhere", path), 0);
		layers[0] = layer_of(t.top);
		layers[1] = layer_of(t.low);
		run_layers(&f, layers, 2, true,
			   shell_in_layers("for f in hostname kept; do cat /etc/$f 2>/dev/null || "
					   "echo none; done; stat -c %a /etc"),
			   &run);
		expect(&f, &run, cases[i].seen);
		run_close(&run);
		gt_close(layers[0]);
		gt_close(layers[1]);
		fixture_close(&f);
	}
}

static void shared_by_descriptor(void **state)
{
	struct run runs[3];
	struct two t;
	int layers[2];
	char path[200], text[8] = "";

	(void)state;
	LAYERS(f, .prepared_max = 1);
	if (!gt_runtime_layers_by_fd(f.rt)) {
		print_message("skipped: this kernel's overlay takes no descriptors\n");
		fixture_close(&f);
		skip();
	}
	two_make(&f, &t);
	layers[0] = layer_of(t.top);
	layers[1] = layer_of(t.low);
	/* Two at once, and a prepared one after them, all over the same two mounts. */
	run_layers(&f, layers, 2, false, shell_in_layers(look), &runs[0]);
	run_layers(&f, layers, 2, false, shell_in_layers(look), &runs[1]);
	expect(&f, &runs[0], SEEN);
	expect(&f, &runs[1], SEEN);
	fixture_until_waiting(&f, 0, 1);
	run_layers(&f, layers, 2, false, shell_in_layers(look), &runs[2]);
	expect(&f, &runs[2], SEEN);
	assert_int_equal(gt_container_start_kind(runs[2].c), GT_START_PREPARED);
	for (size_t i = 0; i < GT_LEN(runs); i++)
		run_close(&runs[i]);
	/* Nothing was written to a layer. */
	snprintf(path, sizeof(path), "%s/both", t.top);
	assert_int_equal(gt_os_read_at(AT_FDCWD, path, text, sizeof(text), NULL), 0);
	assert_string_equal(text, "top");
	gt_close(layers[0]);
	gt_close(layers[1]);
	fixture_close(&f);
}

static void owned_by_path(void **state)
{
	struct run run;
	struct two t;
	int layers[2];

	(void)state;
	LAYERS(f, .prepared_max = 1, .layers_by_path = true);
	assert_false(gt_runtime_layers_by_fd(f.rt));
	two_make(&f, &t);
	for (int i = 0; i < 2; i++) {
		layers[0] = layer_of(t.top);
		layers[1] = layer_of(t.low);
		run_layers(&f, layers, 2, true, shell_in_layers(look), &run);
		gt_close(layers[0]);
		gt_close(layers[1]);
		expect(&f, &run, SEEN);
		assert_int_equal(gt_container_start_kind(run.c), GT_START_COLD);
		run_close(&run);
	}
	/* Layers that others use too can not be taken here. */
	assert_true(run_start_as(&f,
				 (struct gt_container_args){ .function = "layered",
							     .revision = 1,
							     .layers = layers,
							     .n_layers = 2 },
				 shell_in_layers("true"), &run) < 0);
	assert_string_equal(run.err.slug, "sandbox_failed");
	run_close(&run);
	/* dir: images go the same way. */
	if (run_start(&f, fixture_shell("echo dir"), &run) < 0)
		fail_msg("%s", run.err.text);
	expect(&f, &run, "dir\n");
	run_close(&run);
	fixture_close(&f);
}

static void as_many_as_an_image_may_have(bool by_path)
{
	int layers[GT_RUNTIME_LAYERS_MAX + 1];
	char name[16], dir[160];
	struct run run;

	LAYERS(f, .layers_by_path = by_path);
	for (int i = 0; i < GT_RUNTIME_LAYERS_MAX; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		make_dir(f.dir, name, dir);
		put(dir, name, "");
		layers[i] = layer_of(dir);
	}
	layers[GT_RUNTIME_LAYERS_MAX] = layers[0];
	run_layers(&f, layers, GT_RUNTIME_LAYERS_MAX, true,
		   shell_in_layers("ls -d /l[0-9]* | wc -l"), &run);
	expect(&f, &run, "128\n");
	run_close(&run);
	assert_true(run_start_as(&f,
				 (struct gt_container_args){ .function = "layered",
							     .layers = layers,
							     .n_layers = GT_LEN(layers),
							     .layers_owned = true },
				 shell_in_layers("true"), &run) < 0);
	run_close(&run);
	for (int i = 0; i < GT_RUNTIME_LAYERS_MAX; i++)
		gt_close(layers[i]);
	fixture_close(&f);
}

static void many_by_descriptor(void **state)
{
	(void)state;
	as_many_as_an_image_may_have(false);
}

static void many_by_path(void **state)
{
	(void)state;
	as_many_as_an_image_may_have(true);
}

/* ---- users ---- */

static void in_image(struct fixture *f, const char *user, const char *script, struct run *run)
{
	char dir[160];
	struct gt_spec *spec = shell_in_layers(script);
	int layer;

	snprintf(dir, sizeof(dir), "%s/img", f->dir);
	layer = layer_of(dir);
	spec->user = gt_strdup(user);
	run_layers(f, &layer, 1, true, spec, run);
	gt_close(layer);
	fixture_until(f, &run->exited);
	run_read(run);
}

static void users_by_name(void **state)
{
	static const char script[] =
		"id -u; id -g; id -G; echo $HOME; echo ok > /dev/stdout;"
		"grep -E 'Cap(Eff|Inh|Amb)' /proc/self/status | cut -f2 | sort -u";
	char dir[160], etc[160];
	struct run run;

	(void)state;
	LAYERS(f, .pool = 1);
	make_dir(f.dir, "img", dir);
	make_dir(dir, "etc", etc);
	put(etc, "passwd", "root:x:0:0::/root:\nweb:x:33:34::/var/www:\n");
	put(etc, "group", "www:x:34:\nvideo:x:44:web\n");
	in_image(&f, "web", script, &run);
	if (run.failed)
		fail_msg("%s", run.err.text);
	assert_string_equal(gt_buf_str(&run.text),
			    "33\n34\n34 44\n/var/www\nok\n0000000000000000\n");
	run_close(&run);
	in_image(&f, "33:video", script, &run);
	assert_string_equal(gt_buf_str(&run.text), "33\n44\n44\n/var/www\nok\n0000000000000000\n");
	run_close(&run);
	in_image(&f, "gone", script, &run);
	assert_true(run.failed);
	assert_string_equal(run.err.slug, "exec_failed");
	assert_string_equal(run.err.text,
			    "user \"gone\" is not in /etc/passwd of the image registry.test/x:1");
	run_close(&run);
	in_image(&f, "web:gone", script, &run);
	assert_true(run.failed);
	assert_string_equal(run.err.text,
			    "group \"gone\" is not in /etc/group of the image registry.test/x:1");
	run_close(&run);
	fixture_close(&f);
}

/* A passwd of the image that is a link to the node's, or never ends, gives nothing away. */
static void hostile_users(void **state)
{
	char dir[160], etc[160], path[200];
	struct run run;

	(void)state;
	LAYERS(f, .pool = 1);
	make_dir(f.dir, "img", dir);
	make_dir(dir, "etc", etc);
	snprintf(path, sizeof(path), "%s/passwd", etc);
	assert_int_equal(symlink("/../../../../../../etc/passwd", path), 0);
	in_image(&f, "root", "echo never", &run);
	assert_true(run.failed);
	run_close(&run);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/zero", path), 0);
	in_image(&f, "root", "echo never", &run);
	assert_true(run.failed);
	run_close(&run);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0644), 0);
	in_image(&f, "root", "echo never", &run);
	assert_true(run.failed);
	assert_non_null(strstr(run.err.text, "/etc/passwd"));
	run_close(&run);
	in_image(&f, "5:5", "id -u", &run);
	assert_string_equal(gt_buf_str(&run.text), "5\n");
	run_close(&run);
	fixture_close(&f);
}

/* Only FIFOs are given to the program's user: the container's output may be somebody's file. */
static void other_output_keeps_its_owner(void **state)
{
	struct gt_container_args args = { .function = "out", .revision = 1 };
	struct gt_spec *spec = fixture_shell("echo text; echo text >&2");
	struct stat file, fifo;
	struct run run;
	char path[160];

	(void)state;
	LAYERS(f, .pool = 1);
	snprintf(path, sizeof(path), "%s/file", f.dir);
	args.stdout_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(args.stdout_fd > 0);
	spec->user = gt_strdup("7:8");
	assert_int_equal(run_start_as(&f, args, spec, &run), 0);
	expect(&f, &run, "text\n");
	assert_int_equal(fstat(args.stdout_fd, &file), 0);
	assert_int_equal(fstat(run.out[1], &fifo), 0);
	assert_int_equal(file.st_uid, 0);
	assert_int_equal(file.st_size, 5);
	assert_int_equal(fifo.st_uid, fixture_id_base(&run) + 7);
	assert_int_equal(fifo.st_gid, fixture_id_base(&run) + 8);
	run_close(&run);
	gt_close(args.stdout_fd);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(etc_over_layers), cmocka_unit_test(shared_by_descriptor),
		cmocka_unit_test(owned_by_path),   cmocka_unit_test(many_by_descriptor),
		cmocka_unit_test(many_by_path),    cmocka_unit_test(users_by_name),
		cmocka_unit_test(hostile_users),   cmocka_unit_test(other_output_keeps_its_owner),
	};

	return cmocka_run_group_tests_name("layers", tests, NULL, NULL);
}
