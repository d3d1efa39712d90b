/* runtime.c - containers, from nothing to a program and back to nothing. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/base/clock.h>
#include <gantry/os/os.h>
#include <gantry/runtime/runtime.h>

#include "../../../src/runtime/seccomp_filter.h"
#include "../torture.h"

#define WAIT_MS 10000

struct stage {
	struct gt_loop *loop;
	struct gt_runtime *rt;
	uint64_t until_ns;
};

struct run {
	struct gt_container *c;
	struct gt_container_where where;
	int in, out, status; /* of the FIFO */
	bool started, failed, exited, leave;
	struct gt_err err;
	struct gt_exit how;
	char text[256];
};

static int step(struct stage *s, struct world *w, struct gt_err *err)
{
	if (gt_mono_ns(&gt_clock_system) > s->until_ns) {
		wrong(w, "nothing comes about any more");
		return gt_err_set(err, ETIMEDOUT, "late", "nothing comes about any more");
	}
	return gt_loop_step(s->loop, 100, err);
}

static int stage_open(struct stage *s, struct gt_runtime_config config, struct gt_err *err)
{
	int r;

	*s = (struct stage){ .until_ns = gt_mono_ns(&gt_clock_system) + WAIT_MS * GT_NS_PER_MS };
	config.dir = ".";
	config.allow_host_image = true;
	r = gt_loop_new(&s->loop, err);
	return r < 0 ? r : gt_runtime_new(s->loop, &config, &s->rt, err);
}

/* Everything that it began has an end. */
static void stage_close(struct stage *s, struct world *w, bool retire)
{
	struct gt_err err;

	while (s->rt && retire && gt_runtime_busy(s->rt) && step(s, w, &err) == 0)
		continue;
	if (s->rt && retire)
		gt_runtime_retire(s->rt);
	gt_runtime_free(s->rt);
	gt_loop_free(s->loop);
}

static int on_sandbox(struct gt_container *c, const struct gt_container_where *where, void *arg,
		      struct gt_err *err)
{
	(void)c;
	(void)err;
	((struct run *)arg)->where = *where;
	return 0;
}

static void on_started(struct gt_container *c, uint64_t root_us, uint64_t exec_us, void *arg)
{
	(void)c;
	(void)root_us;
	(void)exec_us;
	((struct run *)arg)->started = true;
}

static void on_failed(struct gt_container *c, const struct gt_err *err, void *arg)
{
	struct run *r = arg;

	(void)c;
	r->failed = r->exited = true;
	r->err = *err;
}

static void on_exit_(struct gt_container *c, const struct gt_exit *how, void *arg)
{
	struct run *r = arg;

	(void)c;
	r->exited = true;
	r->how = *how;
}

/* What the agent has ready for a replica is made outside of what fails. */
static struct run fresh;

static void files(struct world *w)
{
	(void)w;
	unlink("out");
	MUST(mkfifo("out", 0600) == 0);
	fresh = (struct run){ .status = memfd_create("status", MFD_CLOEXEC) };
	fresh.in = open("out", O_RDWR | O_CLOEXEC);
	fresh.out = open("out", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	MUST(fresh.in >= 0 && fresh.out >= 0 && fresh.status >= 0);
}

static void no_files(struct world *w)
{
	(void)w;
	gt_close(fresh.in);
	gt_close(fresh.out);
	gt_close(fresh.status);
}

static void recover(struct world *w)
{
	struct gt_err err;

	(void)w;
	if (gt_runtime_cleanup(".", &err) < 0)
		broken("cleanup: %s", err.text);
}

static struct gt_spec *shell(const char *script)
{
	const char *words[] = { "sh", "-c", script };
	struct gt_spec *spec = gt_spec_new();

	spec->image = gt_strdup("host:");
	spec->image_kind = GT_IMAGE_HOST;
	spec->port = 8000;
	spec->command = gt_alloc_array(GT_LEN(words) + 1, sizeof(char *));
	spec->n_command = GT_LEN(words);
	for (size_t i = 0; i < GT_LEN(words); i++)
		spec->command[i] = gt_strdup(words[i]);
	return spec;
}

static int begin(struct stage *s, struct gt_spec *spec, struct gt_container_args args,
		 struct run *run, struct gt_err *err)
{
	struct gt_container_events events = { on_sandbox, on_started, on_failed, on_exit_, run };
	int r;

	*run = fresh;
	args.function = "echo";
	args.replica = "01TEST";
	args.revision = 1;
	args.spec = spec;
	args.stdout_fd = args.stderr_fd = run->in;
	args.status_fd = run->status;
	r = gt_container_start(s->rt, &args, &events, &run->c, err);
	gt_spec_free(spec);
	return r;
}

static int started(struct stage *s, struct world *w, struct run *run, struct gt_err *err)
{
	int r = 0;

	while (r == 0 && !run->started && !run->failed)
		r = step(s, w, err);
	if (r == 0 && run->failed) {
		*err = run->err;
		r = -run->err.code;
	}
	return r;
}

static int ended(struct stage *s, struct world *w, struct run *run, struct gt_err *err)
{
	int r = started(s, w, run, err);

	while (r == 0 && !run->exited)
		r = step(s, w, err);
	return r;
}

static void end(struct run *run)
{
	ssize_t n = -1;

	/* The FIFO is the test's: one failure at most. */
	for (int i = 0; i < 2 && n < 0; i++)
		n = read(run->out, run->text, sizeof(run->text) - 1);
	run->text[n > 0 ? n : 0] = '\0';
	if (run->c)
		gt_container_release(run->c);
	run->c = NULL;
}

static int run_with(struct world *w, struct gt_runtime_config config, struct gt_spec *spec,
		    struct gt_container_args args, const char *said, struct gt_err *err)
{
	struct stage s;
	struct run run = { 0 };
	int r = stage_open(&s, config, err);

	while (r == 0 && config.pool && gt_runtime_waiting(s.rt).staged < config.pool)
		r = step(&s, w, err);
	if (r < 0)
		gt_spec_free(spec);
	else
		r = begin(&s, spec, args, &run, err);
	if (r == 0)
		r = ended(&s, w, &run, err);
	end(&run);
	stage_close(&s, w, true);
	if (r == 0 && said && !gt_streq(run.text, said) && !w->wrong[0])
		wrong(w, "it ran, and said \"%s\" (%d, %d)", run.text, run.how.code,
		      run.how.signal);
	return r;
}

static int nothing(struct world *w, struct gt_err *err)
{
	struct stage s;
	int r = stage_open(&s, (struct gt_runtime_config){ 0 }, err);

	stage_close(&s, w, true);
	return r;
}

static int cold(struct world *w, struct gt_err *err)
{
	return run_with(w, (struct gt_runtime_config){ 0 }, shell("echo ok"),
			(struct gt_container_args){ 0 }, "ok\n", err);
}

/* The pool tries again: a sandbox that could not be staged is none that was promised. */
static int pooled(struct world *w, struct gt_err *err)
{
	return run_with(w, (struct gt_runtime_config){ .pool = 1 }, shell("echo ok"),
			(struct gt_container_args){ 0 }, "ok\n", err);
}

static int limited(struct world *w, struct gt_err *err)
{
	struct gt_spec *spec = shell("echo ok");

	spec->resources.memory_bytes = 64 * GT_MIB;
	return run_with(w, (struct gt_runtime_config){ 0 }, spec, (struct gt_container_args){ 0 },
			"ok\n", err);
}

/* In a network of its own: a table and routes of this machine's are no test's to make. */
static void with_network(struct world *w)
{
	MUST(unshare(CLONE_NEWNET) == 0);
	files(w);
}

static int egress(struct world *w, struct gt_err *err)
{
	static const struct gt_net_config config = { .set_forwarding = true };
	struct gt_spec *spec = shell("echo ok");

	spec->network = GT_NETWORK_EGRESS;
	return run_with(w, (struct gt_runtime_config){ .egress = &config }, spec,
			(struct gt_container_args){ 0 }, "ok\n", err);
}

static void with_volume(struct world *w)
{
	files(w);
	MUST(mkdir("volume", 0755) == 0 || errno == EEXIST);
	put_file("volume/x", "ok\n", 3);
}

static int volume(struct world *w, struct gt_err *err)
{
	struct gt_spec *spec = shell("cat /tmp/v/x");

	spec->volumes = gt_alloc_array(1, sizeof(*spec->volumes));
	spec->n_volumes = 1;
	spec->volumes[0] = (struct gt_volume){ .host = gt_asprintf("%s/volume", w->dir),
					       .path = gt_strdup("/tmp/v"),
					       .readonly = true };
	return run_with(w, (struct gt_runtime_config){ 0 }, spec, (struct gt_container_args){ 0 },
			"ok\n", err);
}

/* ---- layers ---- */

static int layer = -EBADF;

static void with_layer(struct world *w)
{
	struct gt_err err;
	int at;

	files(w);
	MUST(mkdir("layer", 0755) == 0 || errno == EEXIST);
	put_file("layer/x", "ok\n", 3);
	if (gt_os_path_open(w->dir, &at, &err) < 0)
		broken("%s", err.text);
	gt_close(at);
	gt_auto(free) char *path = gt_asprintf("%s/layer", w->dir);

	if (gt_os_path_open(path, &at, &err) < 0 || gt_os_tree_open(at, &layer, &err) < 0 ||
	    gt_os_tree_attr(layer, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, -1,
			    &err) < 0)
		broken("%s", err.text);
	gt_close(at);
}

static void without_layer(struct world *w)
{
	no_files(w);
	gt_close(layer);
}

static int layers(struct world *w, struct gt_err *err)
{
	static const char *const dirs[] = { "/bin", "/lib", "/lib64", "/usr" };
	struct gt_spec *spec = shell("cat /x");

	gt_spec_free(NULL);
	free(spec->image);
	spec->image = gt_strdup("registry.test/x:1");
	spec->volumes = gt_alloc_array(GT_LEN(dirs), sizeof(*spec->volumes));
	for (size_t i = 0; i < GT_LEN(dirs); i++)
		spec->volumes[spec->n_volumes++] = (struct gt_volume){ .host = gt_strdup(dirs[i]),
								       .path = gt_strdup(dirs[i]),
								       .readonly = true };
	return run_with(w, (struct gt_runtime_config){ 0 }, spec,
			(struct gt_container_args){ .layers = &layer, .n_layers = 1 }, "ok\n", err);
}

/* ---- prepared ---- */

static int prepared(struct world *w, struct gt_err *err)
{
	struct gt_spec *spec = shell("echo ok");
	struct gt_container_args args = { .function = "echo", .revision = 1, .spec = spec };
	struct stage s;
	struct run run = { 0 };
	int r = stage_open(&s, (struct gt_runtime_config){ .prepared_max = 1 }, err);

	if (r == 0)
		r = gt_runtime_prepare(s.rt, &args, err);
	gt_spec_free(spec);
	/* What could not be prepared is started cold. */
	for (int i = 0; r == 0 && i < 20 && gt_runtime_waiting(s.rt).prepared == 0; i++)
		r = gt_loop_step(s.loop, 10, err);
	if (r == 0)
		r = begin(&s, shell("echo ok"), (struct gt_container_args){ 0 }, &run, err);
	if (r == 0)
		r = ended(&s, w, &run, err);
	end(&run);
	stage_close(&s, w, true);
	if (r == 0 && !gt_streq(run.text, "ok\n") && !w->wrong[0])
		wrong(w, "it ran, and said \"%s\"", run.text);
	return r;
}

/* ---- one that runs ---- */

/* What is done with it while it runs is done or refused; then it ends. */
static int while_it_runs(struct world *w,
			 int (*fn)(struct stage *s, struct run *run, struct gt_err *err),
			 struct gt_err *err)
{
	struct stage s;
	struct run run = { 0 };
	struct gt_err ignored;
	int r = stage_open(&s, (struct gt_runtime_config){ 0 }, err);

	if (r == 0)
		r = begin(&s, shell("sleep 60"), (struct gt_container_args){ 0 }, &run, err);
	if (r == 0)
		r = started(&s, w, &run, err);
	if (r == 0)
		r = fn(&s, &run, err);
	if (run.c)
		gt_container_kill(run.c);
	while (run.started && !run.exited && step(&s, w, &ignored) == 0)
		continue;
	end(&run);
	stage_close(&s, w, true);
	return r;
}

static int freeze_it(struct stage *s, struct run *run, struct gt_err *err)
{
	int r;

	if (!gt_runtime_can_freeze(s->rt))
		return 0;
	r = gt_container_freeze(run->c, err);
	for (int i = 0; r == -EAGAIN && i < 200; i++)
		r = gt_container_freeze(run->c, err);
	return r < 0 ? r : gt_container_thaw(run->c, err);
}

static int freeze(struct world *w, struct gt_err *err)
{
	return while_it_runs(w, freeze_it, err);
}

static int use_it(struct stage *s, struct run *run, struct gt_err *err)
{
	struct gt_usage usage;
	int fd = -EBADF, r = gt_container_usage(run->c, &usage, err);

	(void)s;
	if (r == 0)
		r = gt_container_memory(run->c, 128 * GT_MIB, err);
	if (r == 0)
		r = gt_container_dial(run->c, 8000, &fd, err);
	gt_close(fd);
	return r;
}

static int use(struct world *w, struct gt_err *err)
{
	return while_it_runs(w, use_it, err);
}

/* Another process of ours adopts it; what can not be adopted is swept. */
static int adopt(struct world *w, struct gt_err *err)
{
	struct gt_container_events events = { .on_exit = on_exit_ };
	struct stage s, t;
	struct run run = { 0 }, second = { 0 };
	struct gt_err ignored;
	int r = stage_open(&s, (struct gt_runtime_config){ 0 }, err), again = 0;

	if (r == 0)
		r = begin(&s, shell("sleep 60"), (struct gt_container_args){ 0 }, &run, err);
	if (r == 0)
		r = started(&s, w, &run, err);
	if (r == 0 && run.c) {
		gt_container_leave(run.c);
		run.c = NULL;
	}
	end(&run);
	stage_close(&s, w, false);
	again = stage_open(&t, (struct gt_runtime_config){ 0 }, err);
	events.arg = &second;
	if (r == 0 && again == 0) {
		again = gt_container_adopt(t.rt, &run.where, fresh.status, &events, &second.c,
					   &second.how, err);
		if (again == 0)
			gt_container_kill(second.c);
		while (again == 0 && !second.exited && step(&t, w, &ignored) == 0)
			continue;
	}
	if (second.c)
		gt_container_release(second.c);
	if (t.rt)
		gt_runtime_sweep(t.rt);
	stage_close(&t, w, true);
	if (!t.rt)
		recover(w); /* as the next start does */
	return r < 0 ? r : again;
}

static int aside(struct world *w, struct gt_err *err)
{
	int fds[GT_RUNTIME_GROUPS_MAX];
	size_t n = 0;
	struct stage s;
	int r = stage_open(&s, (struct gt_runtime_config){ 0 }, err);

	if (r == 0)
		r = gt_runtime_aside(s.rt, 64 * GT_MIB, fds, &n, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		gt_close(fds[i]);
	stage_close(&s, w, true);
	return r;
}

/* A daemon is gone and its container runs. */
static void abandoned(struct world *w)
{
	struct stage s;
	struct run run = { 0 };
	struct gt_err err;

	files(w);
	if (stage_open(&s, (struct gt_runtime_config){ 0 }, &err) < 0 ||
	    begin(&s, shell("sleep 60"), (struct gt_container_args){ 0 }, &run, &err) < 0 ||
	    started(&s, w, &run, &err) < 0)
		broken("%s", err.text);
	gt_container_leave(run.c);
	run.c = NULL;
	stage_close(&s, w, false);
}

static int cleanup(struct world *w, struct gt_err *err)
{
	(void)w;
	return gt_runtime_cleanup(".", err);
}

static int filter(struct world *w, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf out = { 0 };
	int r = gt_seccomp_build(&out, err);

	if (r == 0 && out.len < 100)
		wrong(w, "%zu bytes of a filter", out.len);
	return r;
}

#define SCENE(name, setup, run, teardown)                                                \
	{                                                                                \
		"runtime." name, CONTAINERS | KEEPS, setup, run, NULL, teardown, recover \
	}

const struct scene runtime_scenes[] = {
	{ "runtime.filter", 0, NULL, filter, NULL, NULL, NULL },
	SCENE("nothing", NULL, nothing, NULL),
	SCENE("cold", files, cold, no_files),
	SCENE("pooled", files, pooled, no_files),
	SCENE("prepared", files, prepared, no_files),
	SCENE("limited", files, limited, no_files),
	SCENE("volume", with_volume, volume, no_files),
	SCENE("layers", with_layer, layers, without_layer),
	SCENE("egress", with_network, egress, no_files),
	SCENE("freeze", files, freeze, no_files),
	SCENE("use", files, use, no_files),
	SCENE("adopt", files, adopt, no_files),
	SCENE("aside", NULL, aside, NULL),
	SCENE("cleanup", abandoned, cleanup, no_files),
};
SCENES_OF(runtime);
