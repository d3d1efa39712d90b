/* judge.c - the coordinator: who has said what, and what that means. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "preflight.h"

#define BAR      0.8 /* of the baseline */
#define STANDOUT 4   /* times the links of the middle rank: that one is slow */
#define LEAST_NS 1000000

struct judge {
	const struct pf_config *c;
	int listener, n_fds;
	int fds[PF_RANKS_MAX]; /* of ranks, in the order in which they came */
	int by_rank[PF_RANKS_MAX];
	struct pf_msg hello[PF_RANKS_MAX], result[PF_RANKS_MAX];
	int n_hello, n_result;
	bool id_asked;
	char cause[24], detail[400];
	int slowest;
};

__attribute__((format(printf, 3, 4))) static void verdict(struct judge *j, const char *cause,
							  const char *fmt, ...)
{
	va_list args;

	if (j->cause[0])
		return; /* the first that was found */
	snprintf(j->cause, sizeof(j->cause), "%s", cause);
	va_start(args, fmt);
	vsnprintf(j->detail, sizeof(j->detail), fmt, args);
	va_end(args);
}

/* ---- hearing ---- */

/* Of different versions they may join, and add wrong or not at all. */
static void compare_versions(struct judge *j)
{
	for (int r = 1; r < j->c->ranks; r++)
		if (j->hello[r].version != j->hello[0].version)
			verdict(j, "version_mismatch",
				"rank %d has NCCL %d, rank 0 has %d: use one image for all", r,
				j->hello[r].version, j->hello[0].version);
}

static void ask_id(struct judge *j)
{
	const struct pf_msg m = { .magic = PF_MAGIC, .type = PF_MAKE_ID };

	if (j->n_hello < j->c->ranks || j->id_asked)
		return;
	compare_versions(j);
	j->id_asked = true;
	if (!j->cause[0])
		pf_send(j->by_rank[0], &m);
}

/* At once: the others wait for a rank that has stopped. */
static void judge_sums(struct judge *j, const struct pf_msg *m)
{
	for (int s = 0; s < j->c->n_sizes; s++)
		if (m->wrong[s] >= 0)
			verdict(j, "corrupt",
				"rank %d, %llu bytes: element %lld is %g and should be %g", m->rank,
				(unsigned long long)j->c->sizes[s], (long long)m->wrong[s], m->got,
				m->wanted);
}

static void hear(struct judge *j, int fd, const struct pf_msg *m)
{
	int rank = m->rank;

	if (rank < 0 || rank >= j->c->ranks)
		return;
	switch (m->type) {
	case PF_HELLO:
		j->n_hello += j->hello[rank].magic == 0;
		j->hello[rank] = *m;
		j->by_rank[rank] = fd;
		ask_id(j);
		break;
	case PF_ID:
		for (int r = 0; r < j->c->ranks; r++)
			pf_send(j->by_rank[r], m);
		break;
	case PF_RESULT:
		j->n_result += j->result[rank].magic == 0;
		j->result[rank] = *m;
		judge_sums(j, m);
		break;
	case PF_FAILED:
		verdict(j, "failed", "rank %d: %.200s", rank, m->text);
		break;
	case PF_NO_LIBRARY:
		verdict(j, "no_library", "rank %d: %.200s", rank, m->text);
		break;
	default:
		break;
	}
}

static void turn(struct judge *j, int timeout_ms)
{
	struct pollfd polls[PF_RANKS_MAX + 1];
	struct pf_msg m;
	int n = 0;

	polls[n++] = (struct pollfd){ .fd = j->listener, .events = POLLIN };
	for (int i = 0; i < j->n_fds; i++)
		polls[n++] = (struct pollfd){ .fd = j->fds[i], .events = POLLIN };
	if (poll(polls, (nfds_t)n, timeout_ms) <= 0)
		return;
	for (int i = 1; i < n; i++) {
		if (!polls[i].revents)
			continue;
		if (pf_receive(polls[i].fd, &m))
			hear(j, polls[i].fd, &m);
		else
			j->fds[i - 1] = -1; /* its end; what it had to say it has said */
	}
	if (polls[0].revents && j->n_fds < PF_RANKS_MAX) {
		int fd = accept4(j->listener, NULL, NULL, SOCK_CLOEXEC);

		/* Whoever sends half a message does not hold up the others for ever. */
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_sec = 1 },
			   sizeof(struct timeval));
		if (fd >= 0)
			j->fds[j->n_fds++] = fd;
	}
}

/* ---- judging ---- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The middle round of the rank that took longest. */
static uint64_t time_of(const struct judge *j, int size)
{
	uint64_t rounds[PF_ROUNDS];

	for (int i = 0; i < PF_ROUNDS; i++) {
		rounds[i] = 0;
		for (int r = 0; r < j->c->ranks; r++)
			if (j->result[r].ns[size][i] > rounds[i])
				rounds[i] = j->result[r].ns[size][i];
	}
	qsort(rounds, PF_ROUNDS, sizeof(rounds[0]), by_value);
	return rounds[PF_ROUNDS / 2] ? rounds[PF_ROUNDS / 2] : 1;
}

/* "Bus bandwidth" in GB/s as nccl-tests has it (doc/PERFORMANCE.md): size / time * 2 (n - 1) / n,
 * which does not depend on the number of ranks where the links are equal. */
static double busbw(const struct judge *j, int size)
{
	double n = j->c->ranks;

	return (double)j->c->sizes[size] / (double)time_of(j, size) * 2 * (n - 1) / n;
}

/* Of both of its links. */
static uint64_t links_of(const struct judge *j, int rank)
{
	return j->result[rank].link_ns + j->result[(rank + 1) % j->c->ranks].link_ns;
}

static void judge_links(struct judge *j)
{
	uint64_t sorted[PF_RANKS_MAX];
	int n = j->c->ranks;

	j->slowest = -1;
	if (n < 3)
		return; /* two ranks have the same two links */
	for (int r = 0; r < n; r++) {
		sorted[r] = links_of(j, r);
		if (j->slowest < 0 || sorted[r] > links_of(j, j->slowest))
			j->slowest = r;
	}
	qsort(sorted, (size_t)n, sizeof(sorted[0]), by_value);
	/* With three ranks each neighbour has half of it. */
	if (links_of(j, j->slowest) > LEAST_NS &&
	    links_of(j, j->slowest) * 10 > sorted[0] * (n == 3 ? 15 : 10 * STANDOUT) &&
	    links_of(j, j->slowest) > sorted[n / 2] * 3 / 2)
		verdict(j, "slow", "the links of rank %d take %llu us, the fastest %llu us",
			j->slowest, (unsigned long long)(links_of(j, j->slowest) / 1000),
			(unsigned long long)(sorted[0] / 1000));
}

static void judge_results(struct judge *j)
{
	int last = j->c->n_sizes - 1;

	judge_links(j);
	if (j->c->baseline > 0 && j->c->ranks > 1 && busbw(j, last) < BAR * j->c->baseline)
		verdict(j, "slow", "%.3g GB/s is below %.0f %% of %.3g GB/s (%s)%s", busbw(j, last),
			BAR * 100, j->c->baseline, j->c->baseline_of,
			j->slowest < 0 ? "; two ranks can not be told apart" : "");
}

static void judge_silence(struct judge *j)
{
	char missing[128] = "";
	size_t len = 0;

	for (int r = 0; r < j->c->ranks && len < sizeof(missing) - 8; r++)
		if (j->result[r].magic == 0)
			len += (size_t)snprintf(missing + len, sizeof(missing) - len, "%s%d",
						len ? "," : "", r);
	verdict(j, "hung", "after %llu ms %d of %d ranks had joined, %d had finished; not: %s",
		(unsigned long long)j->c->timeout_ms, j->n_hello, j->c->ranks, j->n_result,
		missing);
}

/* ---- telling ---- */

static void print_text(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar((unsigned char)*text < 0x20 ? ' ' : *text);
	}
	putchar('"');
}

static void print_verdict(const struct judge *j, uint64_t began_ns)
{
	bool measured = j->n_result == j->c->ranks;

	printf("{\"verdict\":\"%s\"", j->cause[0] ? "fail" : "pass");
	if (j->cause[0]) {
		printf(",\"cause\":\"%s\",\"detail\":", j->cause);
		print_text(j->detail);
	}
	printf(",\"ranks\":%d,\"nccl\":%d,\"sizes\":[", j->c->ranks, j->hello[0].version);
	for (int s = 0; measured && s < j->c->n_sizes; s++)
		printf("%s{\"bytes\":%llu,\"us\":%.1f,\"busbw_gbps\":%.3f}", s ? "," : "",
		       (unsigned long long)j->c->sizes[s], (double)time_of(j, s) / 1000,
		       busbw(j, s));
	printf("]");
	if (measured && j->slowest >= 0)
		printf(",\"slowest_rank\":%d", j->slowest);
	if (j->c->baseline > 0)
		printf(",\"baseline_gbps\":%g", j->c->baseline);
	printf(",\"elapsed_ms\":%llu}\n", (unsigned long long)((pf_now_ns() - began_ns) / 1000000));
	fflush(stdout);
}

int pf_judge(const struct pf_config *c, int listener, uint64_t began_ns)
{
	static struct judge j;
	uint64_t end_ns = began_ns + c->timeout_ms * 1000000;

	j.c = c;
	j.listener = listener;
	j.slowest = -1;
	while (!j.cause[0] && j.n_result < c->ranks && pf_now_ns() < end_ns)
		turn(&j, (int)((end_ns - pf_now_ns()) / 1000000) + 1);
	if (j.n_result == c->ranks)
		judge_results(&j);
	else if (!j.cause[0])
		judge_silence(&j);
	print_verdict(&j, began_ns);
	return j.cause[0] ? 1 : 0;
}
