/* ours.c - containers of the runtime room, through its public header, driven as the agent drives
 * them: one thread, one loop. The filter alone is taken from inside the room, for the peers. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/loop/loop.h>
#include <gantry/runtime/runtime.h>

#include "seccomp_filter.h"

#define RUNTIMES_MAX 4
#define SLOTS_MAX    512
#define SETTLE_MS    40 /* longer than any pause of the runtime between two steps of its own */
#define DEADLINE_S   30
#define PATH_SIZE    512
#define MEMORY_BYTES (64 * GT_MIB)
#define DISK_BYTES   (16 * GT_MIB)
#define PIDS         64

struct slot {
	struct gt_container *c;
	int status;
	bool started, ended;
};

struct runtime {
	char name[32], dir[PATH_SIZE];
	struct gt_runtime *rt;
	struct slot slots[SLOTS_MAX]; /* 0: starts; bursts use the first ones; live the last ones */
	size_t n_live;
};

static struct ours {
	char rootfs[PATH_SIZE];
	const char *dir;
	struct gt_loop *loop;
	struct runtime *runtimes[RUNTIMES_MAX];
	size_t n_runtimes;
	struct gt_watch *watch;
	int out[2];
	uint64_t stamp_ns; /* the last one */
} ours;

/* ---- the loop ---- */

static void step(int max_wait_ms)
{
	struct gt_err err;

	if (gt_loop_step(ours.loop, max_wait_ms, &err) < 0)
		bench_die("loop: %s", err.text);
}

/* Until the runtime has nothing left to do: what was used up is there again. */
static void settle(void)
{
	uint64_t before_ns;

	do {
		before_ns = bench_now_ns();
		step(SETTLE_MS);
	} while (bench_now_ns() - before_ns < SETTLE_MS * GT_NS_PER_MS);
}

static void on_output(struct gt_watch *w, unsigned events, void *arg)
{
	uint64_t stamp_ns = bench_stamp(ours.out[0]);

	(void)w;
	(void)events;
	(void)arg;
	if (stamp_ns > 0)
		ours.stamp_ns = stamp_ns;
}

static struct runtime *find(const char *name)
{
	for (size_t i = 0; i < ours.n_runtimes; i++) {
		if (strcmp(ours.runtimes[i]->name, name) == 0)
			return ours.runtimes[i];
	}
	bench_die("no runtime %s", name);
}

/* ---- one container ---- */

static void on_started(struct gt_container *c, uint64_t root_us, uint64_t exec_us, void *arg)
{
	struct slot *slot = arg;

	(void)c;
	(void)root_us;
	(void)exec_us;
	slot->started = true;
}

static void on_failed(struct gt_container *c, const struct gt_err *err, void *arg)
{
	(void)c;
	(void)arg;
	bench_die("start: %s", err->text);
}

static void on_exit_(struct gt_container *c, const struct gt_exit *how, void *arg)
{
	struct slot *slot = arg;

	(void)c;
	(void)how;
	slot->ended = true;
}

static struct gt_spec *spec_new(bool stays)
{
	struct gt_spec *spec = gt_spec_new();

	spec->image = gt_asprintf("dir:%s", ours.rootfs);
	spec->n_command = stays ? 2 : 1;
	spec->command = gt_alloc_array(spec->n_command + 1, sizeof(char *));
	spec->command[0] = gt_strdup("/stamp");
	if (stays)
		spec->command[1] = gt_strdup("stay");
	spec->port = 8000;
	spec->resources.memory_bytes = MEMORY_BYTES;
	spec->resources.disk_bytes = DISK_BYTES;
	spec->resources.pids = PIDS;
	spec->resources.cpu_milli = 1000;
	return spec;
}

/* Returns the time just before the start was asked for. */
static uint64_t slot_start(struct runtime *r, struct slot *slot, const char *function, bool stays)
{
	struct gt_container_events events = {
		.on_started = on_started, .on_failed = on_failed, .on_exit = on_exit_, .arg = slot
	};
	struct gt_spec *spec = spec_new(stays);
	struct gt_container_args args = {
		.function = function,
		.replica = "01BENCH",
		.revision = 1,
		.spec = spec,
		.stdout_fd = ours.out[1],
		.stderr_fd = ours.out[1],
	};
	struct gt_err err;
	uint64_t began_ns;

	if (gt_spec_check(spec, &err) < 0)
		bench_die("spec: %s", err.text);
	*slot = (struct slot){ .status = memfd_create("status", MFD_CLOEXEC) };
	args.status_fd = slot->status;
	began_ns = bench_now_ns();
	if (gt_container_start(r->rt, &args, &events, &slot->c, &err) < 0)
		bench_die("start: %s", err.text);
	gt_spec_free(spec);
	return began_ns;
}

static void slot_wait(const struct slot *slot, const bool *flag)
{
	uint64_t until_ns = bench_now_ns() + DEADLINE_S * GT_NS_PER_S;

	while (!*flag && bench_now_ns() < until_ns)
		step(1000);
	if (!*flag)
		bench_die("a container did not %s within %d s",
			  flag == &slot->started ? "start" : "end", DEADLINE_S);
}

static void slot_end(struct slot *slot)
{
	gt_container_release(slot->c);
	gt_close(slot->status);
	*slot = (struct slot){ .status = -EBADF };
}

/* ---- commands ---- */

/* open NAME POOL POOL_MAX PREPARED_MAX: another runtime */
static void open_(char **words, size_t n_words)
{
	struct runtime *r = gt_alloc(sizeof(*r));
	struct gt_runtime_config config = {
		.pool = (unsigned)strtoul(words[2], NULL, 10),
		.pool_max = (unsigned)strtoul(words[3], NULL, 10),
		.prepared_max = (unsigned)strtoul(words[4], NULL, 10),
	};
	struct gt_err err;

	(void)n_words;
	if (ours.n_runtimes == RUNTIMES_MAX)
		bench_die("more than %d runtimes", RUNTIMES_MAX);
	snprintf(r->name, sizeof(r->name), "%s", words[1]);
	snprintf(r->dir, sizeof(r->dir), "%s/%s", ours.dir, words[1]);
	if (mkdir(r->dir, 0700) < 0)
		bench_die("mkdir %s: %s", r->dir, strerror(errno));
	config.dir = r->dir;
	if (gt_runtime_new(ours.loop, &config, &r->rt, &err) < 0)
		bench_die("runtime: %s", err.text);
	ours.runtimes[ours.n_runtimes++] = r;
	settle();
	bench_reply("ok");
}

/* start NAME FUNCTION -> ns to the program's first instruction, ns to the last control group's
 * removal, ns of CPU time until everything is again as it was, enum gt_start_kind */
static void start(char **words, size_t n_words)
{
	struct runtime *r = find(words[1]);
	struct slot *slot = &r->slots[0];
	uint64_t began_ns, ended_ns, cpu_ns = bench_cpu_ns();
	enum gt_start_kind kind;

	(void)n_words;
	ours.stamp_ns = 0;
	began_ns = slot_start(r, slot, words[2], false);
	slot_wait(slot, &slot->ended);
	ended_ns = bench_now_ns();
	kind = gt_container_start_kind(slot->c);
	slot_end(slot);
	on_output(NULL, 0, NULL);
	settle();
	if (ours.stamp_ns < began_ns)
		bench_die("the program printed no stamp");
	bench_reply("%llu %llu %llu %d", (unsigned long long)(ours.stamp_ns - began_ns),
		    (unsigned long long)(ended_ns - began_ns),
		    (unsigned long long)(bench_cpu_ns() - cpu_ns), (int)kind);
}

/* burst NAME K COUNT MS -> containers, ns, ns of CPU time: K at once until COUNT were started or MS
 * have passed */
static void burst(char **words, size_t n_words)
{
	struct runtime *r = find(words[1]);
	unsigned long width = strtoul(words[2], NULL, 10), left = strtoul(words[3], NULL, 10);
	unsigned long running = 0, count = 0;
	uint64_t began_ns = bench_now_ns(), cpu_ns = bench_cpu_ns(), took_ns;
	uint64_t until_ns = began_ns + strtoull(words[4], NULL, 10) * GT_NS_PER_MS;

	(void)n_words;
	if (width == 0 || width + r->n_live > SLOTS_MAX)
		bench_die("a burst is 1 to %zu wide", SLOTS_MAX - r->n_live);
	do {
		for (size_t i = 0; i < width; i++) {
			if (r->slots[i].c && r->slots[i].ended) {
				slot_end(&r->slots[i]);
				running--;
				count++;
			}
			if (!r->slots[i].c && left > 0 && bench_now_ns() < until_ns) {
				slot_start(r, &r->slots[i], "burst", false);
				running++;
				left--;
			}
		}
		if (running > 0)
			step(1000);
	} while (running > 0);
	took_ns = bench_now_ns() - began_ns;
	settle();
	bench_reply("%lu %llu %llu", count, (unsigned long long)took_ns,
		    (unsigned long long)(bench_cpu_ns() - cpu_ns));
}

/* live NAME N: N containers that stay, instead of those that stayed so far */
static void live(char **words, size_t n_words)
{
	struct runtime *r = find(words[1]);
	size_t wanted = strtoul(words[2], NULL, 10);

	(void)n_words;
	if (wanted >= SLOTS_MAX)
		bench_die("more than %d containers", SLOTS_MAX - 1);
	while (r->n_live > 0) {
		struct slot *slot = &r->slots[SLOTS_MAX - r->n_live];

		gt_container_kill(slot->c);
		slot_wait(slot, &slot->ended);
		slot_end(slot);
		r->n_live--;
	}
	while (r->n_live < wanted) {
		struct slot *slot = &r->slots[SLOTS_MAX - ++r->n_live];

		slot_start(r, slot, "live", true);
		slot_wait(slot, &slot->started);
	}
	settle();
	bench_reply("ok");
}

/* filter PATH: the compiled call filter of our containers, as bubblewrap takes it */
static void filter(char **words, size_t n_words)
{
	struct gt_buf program = { 0 };
	struct gt_err err;
	FILE *f = fopen(words[1], "we");

	(void)n_words;
	if (!f || gt_seccomp_build(&program, &err) < 0 ||
	    fwrite(program.data, program.len, 1, f) != 1 || fclose(f) != 0)
		bench_die("no filter in %s", words[1]);
	gt_buf_fini(&program);
	bench_reply("ok");
}

static void runtime_end(struct runtime *r)
{
	uint64_t until_ns = bench_now_ns() + DEADLINE_S * GT_NS_PER_S;

	for (size_t i = 0; i < SLOTS_MAX; i++) {
		if (r->slots[i].c)
			slot_end(&r->slots[i]);
	}
	while (gt_runtime_busy(r->rt) && bench_now_ns() < until_ns)
		step(100);
	gt_runtime_free(r->rt);
	free(r);
}

/* After an error: what runs is not ours to leave behind. */
static void give_up(void)
{
	for (size_t i = 0; i < ours.n_runtimes; i++) {
		struct gt_err err;

		if (gt_runtime_cleanup(ours.runtimes[i]->dir, &err) < 0)
			fprintf(stderr, "bench: %s\n", err.text);
	}
}

int bench_ours(int argc, char **argv)
{
	static const struct bench_command commands[] = {
		{ "open", 5, open_ }, { "start", 3, start },   { "burst", 5, burst },
		{ "live", 3, live },  { "filter", 2, filter },
	};
	struct gt_err err;

	(void)argc;
	ours.dir = argv[2];
	snprintf(ours.rootfs, sizeof(ours.rootfs), "%s/rootfs", argv[2]);
	bench_pipe(ours.out);
	signal(SIGPIPE,
	       SIG_IGN); /* nobody reads the answer any more: then the end of input is next */
	atexit(give_up);
	if (gt_loop_new(&ours.loop, &err) < 0 ||
	    gt_loop_watch(ours.loop, ours.out[0], GT_EV_READ, on_output, NULL, &ours.watch, &err) <
		    0)
		bench_die("loop: %s", err.text);
	bench_serve(commands, GT_LEN(commands));
	while (ours.n_runtimes > 0)
		runtime_end(ours.runtimes[--ours.n_runtimes]);
	gt_watch_close(ours.watch);
	gt_loop_free(ours.loop);
	return 0;
}
