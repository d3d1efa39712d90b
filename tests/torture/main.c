/* main.c - torture: every call and allocation of every scene fails once.
 * usage: torture [-s SEED] [-p JOBS] [-n POINTS] [-c CALL] [-m ALLOCATION] [-j FILE] [-v]
 *[SCENE...] -p	so many points of a scene at once; most of one is waiting -n	only so many points,
 *drawn by the seed -c, -m	only this point of the scene -j	writes the counts, as JSON */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/gpu/helper.h>

#include "point.h"

SCENES(base);
SCENES(http);
SCENES(image);
SCENES(node);
SCENES(runtime);
SCENES(store);
SCENES(daemon);

#define SCENES_MAX 128
#define SAMPLE     8 /* points of a scene */
#define JOBS_MAX   64

struct sum {
	unsigned of[VERDICTS], points;
};

static struct {
	unsigned seed, most, call_at, alloc_at, jobs;
	bool verbose;
	const char *json;
	char **only;
	struct sum all;
	unsigned unfit; /* scenes that do not work, whatever fails */
	unsigned scenes, calls, allocs, places;
} opts;

/* What those that try the points of one scene share. */
struct shared {
	_Atomic unsigned next;
	struct sum of[JOBS_MAX];
};

static bool chosen(const struct scene *s)
{
	if (!opts.only[0])
		return true;
	for (char **p = opts.only; *p; p++)
		if (gt_starts_with(s->name, *p))
			return true;
	return false;
}

static void try_point(const struct scene *s, unsigned call_at, unsigned alloc_at, struct sum *sum)
{
	struct outcome o;

	point_run(s, call_at, alloc_at, opts.seed, &o);
	free(o.places);
	sum->of[o.verdict]++;
	sum->points += o.verdict != UNREACHED;
	if (o.verdict <= UNREACHED && !opts.verbose)
		return;
	printf("%-9s %s -%c %u", verdict_names[o.verdict], s->name, call_at ? 'c' : 'm',
	       call_at ? call_at : alloc_at);
	if (o.hit.error)
		printf(" [%s %s: %s in %s]", o.hit.call, o.hit.file, inject_error(o.hit.error),
		       o.hit.role);
	printf(" %s\n", o.text);
	fflush(stdout);
}

static bool count(const struct scene *s, struct outcome *o)
{
	point_run(s, 0, 0, opts.seed, o);
	if (o->verdict == DONE)
		return true;
	printf("%-9s %s without any fault: %s\n", verdict_names[o->verdict], s->name, o->text);
	free(o->places);
	o->places = NULL;
	fflush(stdout);
	opts.unfit++;
	return false;
}

static void add(struct sum *to, const struct sum *more)
{
	for (int v = 0; v < VERDICTS; v++)
		to->of[v] += more->of[v];
	to->points += more->points;
}

static unsigned bad(void)
{
	unsigned n = opts.unfit;

	for (int v = UNREACHED + 1; v < VERDICTS; v++)
		n += opts.all.of[v];
	return n;
}

/* One of several that take the next point by turns. */
static pid_t start_job(const struct scene *s, const struct outcome *o, struct shared *shared,
		       struct sum *sum)
{
	unsigned n = o->calls + (unsigned)o->n_places;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned i; (i = atomic_fetch_add(&shared->next, 1)) < n;)
		if (i < o->calls)
			try_point(s, i + 1, 0, sum);
		else
			try_point(s, 0, o->places[i - o->calls], sum);
	_exit(0);
}

static void try_points(const struct scene *s, const struct outcome *o, struct sum *sum)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[JOBS_MAX];
	int status;

	MUST(shared != MAP_FAILED);
	for (unsigned i = 0; i < opts.jobs; i++)
		pids[i] = start_job(s, o, shared, &shared->of[i]);
	for (unsigned i = 0; i < opts.jobs; i++) {
		if (pids[i] < 0 || waitpid(pids[i], &status, 0) < 0 || status) {
			printf("%-9s %s: points were not tried\n", verdict_names[BROKEN], s->name);
			opts.unfit++;
		}
		add(sum, &shared->of[i]);
	}
	munmap(shared, sizeof(*shared));
}

static void all_points(const struct scene *s)
{
	struct sum sum = { 0 };
	struct outcome o;

	if (opts.call_at || opts.alloc_at) {
		try_point(s, opts.call_at, opts.alloc_at, &opts.all);
		return;
	}
	if (!count(s, &o))
		return;
	opts.scenes++;
	if (opts.verbose)
		printf("%s: %u calls, %u allocations at %zu places\n", s->name, o.calls, o.allocs,
		       o.n_places);
	fflush(stdout);
	try_points(s, &o, &sum);
	add(&opts.all, &sum);
	opts.calls += o.calls;
	opts.allocs += o.allocs;
	opts.places += (unsigned)o.n_places;
	printf("%-20s %5u calls %5u allocations at %4zu places:", s->name, o.calls, o.allocs,
	       o.n_places);
	free(o.places);
	for (int v = 0; v < VERDICTS; v++)
		if (sum.of[v])
			printf(" %u %s", sum.of[v], verdict_names[v]);
	printf("\n");
	fflush(stdout);
}

static bool over(void)
{
	return opts.all.points >= opts.most || bad() >= SAMPLE;
}

/* A few points of one scene and a few of another. */
static void sample(const struct scene *const *scenes, size_t n)
{
	srand(opts.seed);
	while (!over()) {
		const struct scene *s = scenes[(size_t)rand() % n];
		struct outcome o = { 0 };

		if (!count(s, &o))
			continue;
		opts.scenes++;
		for (unsigned i = 0; i < SAMPLE && !over(); i++) {
			unsigned at = (unsigned)rand();

			if (o.calls && (i % 2 || !o.n_places))
				try_point(s, at % o.calls + 1, 0, &opts.all);
			else if (o.n_places)
				try_point(s, 0, o.places[at % o.n_places], &opts.all);
		}
		free(o.places);
	}
}

static void report(void)
{
	unsigned crashes = opts.all.of[CRASHED] + opts.all.of[HUNG];
	FILE *out = opts.json ? fopen(opts.json, "we") : NULL;

	printf("seed %u, %u scenes, %u points:", opts.seed, opts.scenes, opts.all.points);
	for (int v = 0; v < VERDICTS; v++)
		if (v != UNREACHED)
			printf(" %u %s%s", opts.all.of[v], verdict_names[v],
			       v == BROKEN ? "\n" : ",");
	printf("%u passed, %u failed\n", opts.all.points - GT_MIN(bad(), opts.all.points), bad());
	if (!out)
		return;
	fprintf(out,
		"{\"seed\": %u, \"scenes\": %u, \"calls\": %u, \"allocations\": %u, \"places\": "
		"%u, \"points\": %u, "
		"\"done\": %u, \"refused\": %u, \"ended\": %u, \"crashes\": %u, \"leaks\": %u, "
		"\"left\": %u, \"wrong\": %u, \"broken\": %u}\n",
		opts.seed, opts.scenes, opts.calls, opts.allocs, opts.places, opts.all.points,
		opts.all.of[DONE], opts.all.of[REFUSED], opts.all.of[ENDED], crashes,
		opts.all.of[LEAKED], opts.all.of[LEFT], opts.all.of[WRONG], opts.all.of[BROKEN]);
	fclose(out);
}

static void read_flags(int argc, char **argv)
{
	int c;

	opts.seed = 1;
	opts.jobs = 1;
	while ((c = getopt(argc, argv, "s:p:n:c:m:j:v")) != -1) {
		unsigned n = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;

		switch (c) {
		case 's':
			opts.seed = n;
			break;
		case 'p':
			opts.jobs = GT_MIN(GT_MAX(n, 1U), JOBS_MAX);
			break;
		case 'n':
			opts.most = n;
			break;
		case 'c':
			opts.call_at = n;
			break;
		case 'm':
			opts.alloc_at = n;
			break;
		case 'j':
			opts.json = optarg;
			break;
		case 'v':
			opts.verbose = true;
			break;
		default:
			exit(2);
		}
	}
	opts.only = argv + optind;
}

static void gather(const struct scene **out, size_t *n, const struct scene *from, size_t many)
{
	for (size_t i = 0; i < many; i++)
		if (chosen(&from[i]) && !(from[i].flags & (ROOT | CONTAINERS) && geteuid() != 0) &&
		    *n < SCENES_MAX)
			out[(*n)++] = &from[i];
}

int main(int argc, char **argv)
{
	const struct scene *scenes[SCENES_MAX];
	size_t n = 0;

	if (argc == 2 && strcmp(argv[1], GT_GPU_HELPER_ARG) == 0)
		gt_gpud_main();
	read_flags(argc, argv);
#define GATHER(room) gather(scenes, &n, room##_scenes, n_##room##_scenes)
	GATHER(base);
	GATHER(http);
	GATHER(store);
	GATHER(image);
	GATHER(runtime);
	GATHER(node);
	GATHER(daemon);
	if (opts.most)
		sample(scenes, n);
	else
		for (size_t i = 0; i < n; i++)
			all_points(scenes[i]);
	report();
	return bad() ? 1 : 0;
}
