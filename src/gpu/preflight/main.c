/* main.c - gantry-preflight: options, the ranks' processes, and their end. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/gpu/preflight.h>

#include "preflight.h"

static const char help[] =
	"Usage: gantry-preflight --ranks N [options]\n"
	"Adds numbers over the GPUs of a gang with NCCL, checks each sum, and measures.\n"
	"Prints one line of JSON. Exit status: 0 pass, 1 fail, 2 wrong options.\n"
	"  --ranks N           of the whole gang, one a GPU\n"
	"  --first R --here K  this process has ranks R to R+K-1; default: all\n"
	"  --master HOST:PORT  where the process with rank 0 listens; needed over several nodes\n"
	"  --nccl PATH         the library (libnccl.so.2)\n"
	"  --cuda PATH         the driver (libcuda.so.1); \"none\": the host's memory, for tests\n"
	"  --sizes A,B,...     bytes (8,1048576,67108864)\n"
	"  --baseline GBPS     bus bandwidth of the largest size; below 80 % of it is a failure\n"
	"  --model NAME        instead: what 8 GPUs of a model are known for\n"
	"  --timeout MS        of all (4800, and 1000 more for each rank beyond four)\n";

/* GB/s with 8 ranks on one machine, the lower end of what is published for each. */
static const struct {
	const char *model;
	double gbps;
} known[] = { { "H100", 400 }, { "H200", 400 }, { "A100", 230 }, { "PCIe", 35 } };

static _Noreturn void usage(const char *why)
{
	fprintf(stderr, "gantry-preflight: %s; see --help\n", why);
	exit(2);
}

static long number(const char *text, long least, long most, const char *what)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || !*text || n < least || n > most)
		usage(what);
	return n;
}

static void take_sizes(struct pf_config *c, char *text)
{
	char *save = NULL;

	c->n_sizes = 0;
	for (char *s = strtok_r(text, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		if (c->n_sizes == PF_SIZES_MAX)
			usage("too many sizes");
		c->sizes[c->n_sizes++] = (uint64_t)number(s, 8, 1L << 32, "--sizes: 8 to 4 GiB");
	}
	if (c->n_sizes == 0)
		usage("--sizes is empty");
}

static void take_master(struct pf_config *c, char *text)
{
	char *colon = strrchr(text, ':');

	if (!colon)
		usage("--master is HOST:PORT");
	*colon = '\0';
	c->host = text;
	c->port = (uint16_t)number(colon + 1, 1, 65535, "--master is HOST:PORT");
}

static void take_model(struct pf_config *c, const char *model)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strstr(model, known[i].model) && c->ranks == 8) {
			c->baseline = known[i].gbps;
			c->baseline_of = known[i].model;
		}
}

static void take_options(struct pf_config *c, int argc, char **argv)
{
	static const struct option options[] = {
		{ "ranks", 1, NULL, 'n' }, { "first", 1, NULL, 'f' },
		{ "here", 1, NULL, 'k' },  { "master", 1, NULL, 'm' },
		{ "nccl", 1, NULL, 'l' },  { "cuda", 1, NULL, 'c' },
		{ "sizes", 1, NULL, 's' }, { "baseline", 1, NULL, 'b' },
		{ "model", 1, NULL, 'g' }, { "timeout", 1, NULL, 't' },
		{ "help", 0, NULL, 'h' },  { NULL, 0, NULL, 0 },
	};
	const char *model = NULL;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'n')
			c->ranks = (int)number(optarg, 1, PF_RANKS_MAX, "--ranks: 1 to 64");
		else if (o == 'f')
			c->first = (int)number(optarg, 0, PF_RANKS_MAX - 1, "--first: 0 to 63");
		else if (o == 'k')
			c->local = (int)number(optarg, 1, PF_RANKS_MAX, "--here: 1 to 64");
		else if (o == 'm')
			take_master(c, optarg);
		else if (o == 'l')
			c->nccl = optarg;
		else if (o == 'c')
			c->cuda = strcmp(optarg, "none") == 0 ? NULL : optarg;
		else if (o == 's')
			take_sizes(c, optarg);
		else if (o == 'b')
			c->baseline = strtod(optarg, NULL);
		else if (o == 'g')
			model = optarg;
		else if (o == 't')
			c->timeout_ms = (uint64_t)number(optarg, 1, 600000, "--timeout: ms");
		else if (o == 'h')
			exit(fputs(help, stdout) < 0);
		else
			usage("an option is not known");
	}
	if (c->ranks == 0 || optind < argc)
		usage("--ranks is missing, or there is a word too much");
	c->local = c->local ? c->local : c->ranks - c->first;
	if (c->first + c->local > c->ranks)
		usage("--first and --here go beyond --ranks");
	if (c->local < c->ranks && c->port == 0)
		usage("--master is needed where not all ranks are here");
	if (model && c->baseline <= 0)
		take_model(c, model);
}

/* Rank 0's process listens, on any port when nobody else needs to know it. */
static int listen_here(struct pf_config *c)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(c->port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(at);

	at.sin_addr.s_addr = htonl(c->port ? INADDR_ANY : INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(fd, PF_RANKS_MAX) < 0 || getsockname(fd, (struct sockaddr *)&at, &size) < 0) {
		fprintf(stderr, "gantry-preflight: listen: %s\n", strerror(errno));
		exit(1);
	}
	c->port = ntohs(at.sin_port);
	return fd;
}

static void start(const struct pf_config *c, pid_t pids[PF_RANKS_MAX])
{
	pid_t parent = getpid();

	for (int i = 0; i < c->local; i++) {
		pids[i] = fork();
		if (pids[i] != 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		pf_work(c, c->first + i);
	}
}

/* A process without rank 0 waits for its own ranks; what they saw the other one judges. */
static int wait_here(const struct pf_config *c, pid_t *pids, uint64_t began_ns)
{
	int left = c->local, bad = 0, status;

	while (left > 0 && pf_now_ns() - began_ns < c->timeout_ms * 1000000) {
		for (int i = 0; i < c->local; i++) {
			if (pids[i] <= 0 || waitpid(pids[i], &status, WNOHANG) != pids[i])
				continue;
			left--;
			bad |= status != 0;
			pids[i] = 0;
		}
		usleep(5000);
	}
	return bad || left > 0;
}

int main(int argc, char **argv)
{
	struct pf_config c = { .host = "127.0.0.1",
			       .nccl = "libnccl.so.2",
			       .cuda = "libcuda.so.1",
			       .sizes = { 8, 1 << 20, 64 << 20 },
			       .n_sizes = 3,
			       .baseline_of = "the baseline" };
	uint64_t began_ns = pf_now_ns();
	pid_t pids[PF_RANKS_MAX] = { 0 };
	int listener = -1, r;

	take_options(&c, argc, argv);
	if (c.timeout_ms == 0) /* a verdict before who started us has waited long enough */
		c.timeout_ms = gt_preflight_ms((unsigned)c.ranks) - 200;
	if (c.first == 0)
		listener = listen_here(&c);
	start(&c, pids);
	r = listener >= 0 ? pf_judge(&c, listener, began_ns) : wait_here(&c, pids, began_ns);
	for (int i = 0; i < c.local; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	return r;
}
