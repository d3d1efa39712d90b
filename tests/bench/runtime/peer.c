/* peer.c - other runtimes' command-line tools, from the moment before they are started to the
 * moment they are reaped. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOOLS_MAX  8
#define TOOL_FD    9 /* where a tool finds its file */
#define WORD_SIZE  256
#define BURST_MAX  64
#define COUNT_MARK "{}" /* in a tool's words: a number that no other start had */

struct tool {
	char name[32];
	char *file; /* NULL: none */
	char **argv;
	size_t n_argv;
};

static struct peer {
	const char *dir; /* holds the files `stdin` and `stderr` */
	struct tool tools[TOOLS_MAX];
	size_t n_tools;
	unsigned long count;
	int out[2];
} peer;

/* crun refuses a host with both cgroup versions: in a mount namespace of this process alone, take
 * the second one away. */
static void hide_unified_cgroups(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		bench_die("a mount namespace: %s", strerror(errno));
	if (umount2("/sys/fs/cgroup/unified", MNT_DETACH) < 0 && errno != ENOENT && errno != EINVAL)
		bench_die("unmount the unified hierarchy: %s", strerror(errno));
}

static const struct tool *find(const char *name)
{
	for (size_t i = 0; i < peer.n_tools; i++) {
		if (strcmp(peer.tools[i].name, name) == 0)
			return &peer.tools[i];
	}
	bench_die("no tool %s", name);
}

/* tool NAME FILE|- ARGV...: FILE is open for it as descriptor 9. */
static void tool_add(char **words, size_t n_words)
{
	struct tool *t = &peer.tools[peer.n_tools++];

	if (peer.n_tools > TOOLS_MAX)
		bench_die("more than %d tools", TOOLS_MAX);
	snprintf(t->name, sizeof(t->name), "%s", words[1]);
	t->file = strcmp(words[2], "-") == 0 ? NULL : strdup(words[2]);
	t->n_argv = n_words - 3;
	t->argv = calloc(t->n_argv + 1, sizeof(char *));
	if (!t->argv)
		bench_die("out of memory");
	for (size_t i = 0; i < t->n_argv; i++)
		t->argv[i] = strdup(words[i + 3]);
	bench_reply("ok");
}

/* Never /dev/null: crun gives its standard streams to the container's root, the host's device too.
 */
static void stdio(posix_spawn_file_actions_t *actions, const struct tool *t)
{
	char path[WORD_SIZE];

	posix_spawn_file_actions_init(actions);
	snprintf(path, sizeof(path), "%s/stdin", peer.dir);
	posix_spawn_file_actions_addopen(actions, 0, path, O_RDONLY | O_CREAT, 0600);
	posix_spawn_file_actions_adddup2(actions, peer.out[1], 1);
	snprintf(path, sizeof(path), "%s/stderr", peer.dir);
	posix_spawn_file_actions_addopen(actions, 2, path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (t->file)
		posix_spawn_file_actions_addopen(actions, TOOL_FD, t->file, O_RDONLY, 0);
}

/* What the tool and its command line need is made before the clock starts. */
static pid_t spawn(const struct tool *t, uint64_t *began_ns)
{
	char words[BENCH_WORDS_MAX][WORD_SIZE], *argv[BENCH_WORDS_MAX + 1] = { NULL };
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int r;

	peer.count++;
	for (size_t i = 0; i < t->n_argv; i++) {
		const char *mark = strstr(t->argv[i], COUNT_MARK);

		argv[i] = t->argv[i];
		if (!mark)
			continue;
		snprintf(words[i], sizeof(words[i]), "%.*s%lu%s", (int)(mark - t->argv[i]),
			 t->argv[i], peer.count, mark + strlen(COUNT_MARK));
		argv[i] = words[i];
	}
	stdio(&actions, t);
	*began_ns = bench_now_ns();
	r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	if (r != 0)
		bench_die("start %s: %s", argv[0], strerror(r));
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static void check(const struct tool *t, pid_t pid, int status)
{
	if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		bench_die("%s ended with status 0x%x, see its file stderr", t->name, status);
}

/* start NAME -> ns to the program's first instruction, ns to the tool's end, ns of CPU time */
static void start(char **words, size_t n_words)
{
	const struct tool *t = find(words[1]);
	uint64_t began_ns, ended_ns, stamp_ns, cpu_ns = bench_cpu_ns();
	int status = 0;
	pid_t pid;

	(void)n_words;
	pid = spawn(t, &began_ns);
	pid = waitpid(pid, &status, 0);
	ended_ns = bench_now_ns();
	check(t, pid, status);
	stamp_ns = bench_stamp(peer.out[0]);
	if (stamp_ns < began_ns)
		bench_die("%s printed no stamp", t->name);
	bench_reply("%llu %llu %llu", (unsigned long long)(stamp_ns - began_ns),
		    (unsigned long long)(ended_ns - began_ns),
		    (unsigned long long)(bench_cpu_ns() - cpu_ns));
}

/* burst NAME K MS -> containers, ns, ns of CPU time: K at once for so long */
static void burst(char **words, size_t n_words)
{
	const struct tool *t = find(words[1]);
	unsigned long width = strtoul(words[2], NULL, 10), running = 0, count = 0;
	uint64_t began_ns = bench_now_ns(), cpu_ns = bench_cpu_ns(), ignored_ns, took_ns;
	uint64_t until_ns = began_ns + strtoull(words[3], NULL, 10) * 1000000;

	(void)n_words;
	if (width == 0 || width > BURST_MAX)
		bench_die("a burst is 1 to %d wide", BURST_MAX);
	for (;;) {
		int status = 0;

		while (running < width && bench_now_ns() < until_ns) {
			spawn(t, &ignored_ns);
			running++;
		}
		if (running == 0)
			break;
		check(t, waitpid(-1, &status, 0), status);
		bench_stamp(peer.out[0]); /* a full pipe would stop them */
		running--;
		count++;
	}
	took_ns = bench_now_ns() - began_ns;
	bench_reply("%lu %llu %llu", count, (unsigned long long)took_ns,
		    (unsigned long long)(bench_cpu_ns() - cpu_ns));
}

int bench_peer(int argc, char **argv)
{
	static const struct bench_command commands[] = {
		{ "tool", 4, tool_add },
		{ "start", 2, start },
		{ "burst", 4, burst },
	};

	(void)argc;
	peer.dir = argv[2];
	bench_pipe(peer.out);
	hide_unified_cgroups();
	bench_serve(commands, sizeof(commands) / sizeof(commands[0]));
	for (size_t i = 0; i < peer.n_tools; i++) {
		for (size_t k = 0; k < peer.tools[i].n_argv; k++)
			free(peer.tools[i].argv[k]);
		free(peer.tools[i].argv);
		free(peer.tools[i].file);
	}
	return 0;
}
