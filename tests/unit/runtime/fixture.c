/* fixture.c - shared by the tests of the room. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS       10000
#define OPEN_MAX_HERE 16

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* ---- what a test that fails half-way leaves ---- */

/* It never comes to fixture_close, and its own fixture is gone with its stack. */
static struct {
	pid_t pid; /* whose: tests fork */
	char dir[sizeof(((struct fixture *)0)->dir)];
} left[OPEN_MAX_HERE];

static void clean_up(const char *dir)
{
	struct gt_err err;

	if (gt_runtime_cleanup(dir, &err) < 0)
		print_error("%s\n", err.text);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void clean_up_all(void)
{
	for (size_t i = 0; i < GT_LEN(left); i++) {
		if (left[i].pid == getpid())
			clean_up(left[i].dir);
	}
}

static void note_opened(const char *dir)
{
	static bool registered;

	if (!registered)
		atexit(clean_up_all);
	registered = true;
	for (size_t i = 0; i < GT_LEN(left); i++) {
		if (left[i].pid == getpid())
			continue;
		left[i].pid = getpid();
		gt_strcopy(left[i].dir, sizeof(left[i].dir), dir);
		return;
	}
	fail_msg("more than %d fixtures are open", OPEN_MAX_HERE);
}

static void note_closed(const char *dir)
{
	for (size_t i = 0; i < GT_LEN(left); i++) {
		if (left[i].pid == getpid() && gt_streq(left[i].dir, dir))
			left[i].pid = 0;
	}
}

/* The example server, linked statically: the smallest root file system there is. */
static int build_echo(const char *rootfs)
{
	char out[128];
	char *argv[] = { "gcc", "-D_GNU_SOURCE",        "-Os", "-static", "-s", "-o",
			 out,   "examples/echo/echo.c", NULL };
	pid_t pid;
	int status;

	snprintf(out, sizeof(out), "%s/echo", rootfs);
	if (posix_spawnp(&pid, "gcc", NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid || status != 0)
		return -1;
	return 0;
}

int fixture_open(struct fixture *f, unsigned pool)
{
	return fixture_open_with(f, (struct gt_runtime_config){ .pool = pool });
}

int fixture_open_with(struct fixture *f, struct gt_runtime_config config)
{
	struct gt_err err;

	*f = (struct fixture){ .dir = "/tmp/gantry-test-XXXXXX" };
	if (geteuid() != 0) {
		print_message("skipped: containers need root\n");
		return -1;
	}
	assert_non_null(mkdtemp(f->dir));
	note_opened(f->dir);
	snprintf(f->rootfs, sizeof(f->rootfs), "%s/rootfs", f->dir);
	assert_int_equal(mkdir(f->rootfs, 0755), 0);
	if (build_echo(f->rootfs) < 0) {
		print_message("skipped: gcc can not build examples/echo/echo.c here\n");
		nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
		note_closed(f->dir);
		return -1;
	}
	config.dir = f->dir;
	config.allow_host_image = true;
	assert_int_equal(gt_loop_new(&f->loop, &err), 0);
	if (gt_runtime_new(f->loop, &config, &f->rt, &err) < 0)
		fail_msg("%s", err.text);
	return 0;
}

void fixture_close(struct fixture *f)
{
	uint64_t until_ns = gt_mono_ns(&gt_clock_system) + WAIT_MS * GT_NS_PER_MS;

	while (f->rt && gt_runtime_busy(f->rt) && gt_mono_ns(&gt_clock_system) < until_ns)
		assert_int_equal(gt_loop_step(f->loop, 100, NULL), 0);
	if (f->rt)
		assert_false(gt_runtime_busy(f->rt)); /* nothing may stay behind */
	gt_runtime_free(f->rt);
	gt_loop_free(f->loop);
	nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	note_closed(f->dir);
}

void fixture_until(struct fixture *f, const bool *flag)
{
	uint64_t until_ns = gt_mono_ns(&gt_clock_system) + WAIT_MS * GT_NS_PER_MS;

	while (!*flag && gt_mono_ns(&gt_clock_system) < until_ns)
		assert_int_equal(gt_loop_step(f->loop, 100, NULL), 0);
	assert_true(*flag);
}

void fixture_until_waiting(struct fixture *f, unsigned staged, unsigned prepared)
{
	uint64_t until_ns = gt_mono_ns(&gt_clock_system) + WAIT_MS * GT_NS_PER_MS;
	struct gt_runtime_waiting w;

	for (;;) {
		w = gt_runtime_waiting(f->rt);
		if (w.staged == staged && w.prepared == prepared)
			return;
		if (gt_mono_ns(&gt_clock_system) >= until_ns)
			fail_msg("%u staged and %u prepared", w.staged, w.prepared);
		assert_int_equal(gt_loop_step(f->loop, 100, NULL), 0);
	}
}

void fixture_command(struct gt_spec *spec, const char *const *words)
{
	size_t n = 0;

	while (words[n])
		n++;
	spec->command = gt_alloc_array(n + 1, sizeof(char *));
	spec->n_command = n;
	for (size_t i = 0; i < n; i++)
		spec->command[i] = gt_strdup(words[i]);
}

void fixture_mount(struct gt_spec *spec, const char *host, const char *path, bool readonly)
{
	spec->volumes = gt_grow(spec->volumes, spec->n_volumes + 1, sizeof(*spec->volumes));
	spec->volumes[spec->n_volumes++] = (struct gt_volume){ .host = gt_strdup(host),
							       .path = gt_strdup(path),
							       .readonly = readonly };
}

static struct gt_spec *spec_new(const char *image, enum gt_image_kind kind, const char *path)
{
	struct gt_spec *spec = gt_spec_new();

	spec->image = gt_strdup(image);
	spec->image_kind = kind;
	spec->image_path = gt_strdup(path);
	spec->port = 8000;
	return spec;
}

struct gt_spec *fixture_shell(const char *script)
{
	const char *const words[] = { "sh", "-c", script, NULL };
	struct gt_spec *spec = spec_new("host:", GT_IMAGE_HOST, NULL);

	fixture_command(spec, words);
	return spec;
}

struct gt_spec *fixture_echo(const struct fixture *f)
{
	const char *const words[] = { "/echo", NULL };
	struct gt_spec *spec = spec_new("dir:rootfs", GT_IMAGE_DIR, f->rootfs);

	fixture_command(spec, words);
	return spec;
}

/* ---- one container ---- */

static int on_sandbox(struct gt_container *c, const struct gt_container_where *where, void *arg,
		      struct gt_err *err)
{
	struct run *run = arg;

	(void)c;
	(void)err;
	run->placed = true;
	run->where = *where;
	return 0;
}

static void on_started(struct gt_container *c, uint64_t root_us, uint64_t exec_us, void *arg)
{
	struct run *run = arg;

	(void)c;
	run->started = true;
	run->root_us = root_us;
	run->exec_us = exec_us;
}

static void on_failed(struct gt_container *c, const struct gt_err *err, void *arg)
{
	struct run *run = arg;

	(void)c;
	run->failed = run->exited = true;
	run->err = *err;
}

static void on_exit_(struct gt_container *c, const struct gt_exit *how, void *arg)
{
	struct run *run = arg;

	(void)c;
	run->exited = true;
	run->how = *how;
}

int run_start(struct fixture *f, struct gt_spec *spec, struct run *run)
{
	return run_start_as(f, (struct gt_container_args){ .function = "hello", .revision = 3 },
			    spec, run);
}

int run_start_as(struct fixture *f, struct gt_container_args args, struct gt_spec *spec,
		 struct run *run)
{
	struct gt_container_events events = { on_sandbox, on_started, on_failed, on_exit_, run };
	char fifo[128];
	int r;

	*run = (struct run){ .status = memfd_create("status", MFD_CLOEXEC) };
	snprintf(fifo, sizeof(fifo), "%s/out", f->dir);
	unlink(fifo);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	run->out[1] = open(fifo, O_RDWR | O_CLOEXEC);
	run->out[0] = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(run->out[0] >= 0 && run->out[1] >= 0 && run->status >= 0);
	args.replica = args.replica ? args.replica : "01TEST";
	args.spec = spec;
	args.stdout_fd = args.stdout_fd ? args.stdout_fd : run->out[1];
	args.stderr_fd = run->out[1];
	args.status_fd = run->status;
	r = gt_container_start(f->rt, &args, &events, &run->c, &run->err);
	gt_spec_free(spec);
	return r;
}

uint32_t fixture_id_base(const struct run *run)
{
	unsigned base = 0;

	assert_int_equal(sscanf(run->where.sandbox, "%*x-%*x-%*x-%x", &base), 1);
	return base;
}

void run_read(struct run *run)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(run->out[0], buf, sizeof(buf))) > 0)
		gt_buf_add(&run->text, buf, (size_t)n);
}

void run_all(struct fixture *f, struct gt_spec *spec, struct run *run)
{
	if (run_start(f, spec, run) < 0)
		fail_msg("refused: %s", run->err.text);
	fixture_until(f, &run->exited);
	run_read(run);
}

void run_close(struct run *run)
{
	if (run->c)
		gt_container_release(run->c);
	gt_close(run->out[0]);
	gt_close(run->out[1]);
	gt_close(run->status);
	gt_buf_fini(&run->text);
}
