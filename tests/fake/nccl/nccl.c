/* nccl.c - a test double of libnccl.so.2: all-reduce as a ring over loopback sockets, in the host's
 * memory, with the calls that gantry-preflight makes. GANTRY_FAKE_NCCL, or where there is no
 * such variable the file beside the library with ".faults" at its name, holds faults, parted by
 * ';':
 *
 *	corrupt=R        rank R adds one bit too much to what it sends
 *	slow=R           rank R takes 25 ms longer for each MiB of a call, up to 4
 *	hang=R           rank R never comes back from its first sum
 *	hang_join=R      rank R never joins
 *	version=R:21805  rank R says that it is another version
 *	error=R          rank R's first sum fails */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define VERSION   22809
#define RANKS_MAX 64

struct unique_id {
	char internal[128];
};

struct comm {
	int rank, n, before, after; /* sockets of the ring */
	float *from_before;
	size_t cap;
};

static int the_rank = -1; /* of this process, once it is known */
static int rank_zero_door = -1;

static const char *faults(void)
{
	static char text[256];
	static int known;
	char path[4096];
	Dl_info self;
	FILE *file;

	if (getenv("GANTRY_FAKE_NCCL"))
		return getenv("GANTRY_FAKE_NCCL");
	if (known++ || !dladdr(&known, &self))
		return text;
	snprintf(path, sizeof(path), "%s.faults", self.dli_fname);
	file = fopen(path, "re");
	if (file && !fgets(text, sizeof(text), file))
		text[0] = '\0';
	if (file)
		fclose(file);
	return text;
}

/* -1, or the value of the fault when it is this rank's. */
static long fault(const char *name, int rank)
{
	const char *at = faults();
	size_t len = strlen(name);

	for (; at && *at; at = strchr(at, ';') ? strchr(at, ';') + 1 : NULL) {
		char *end;

		if (strncmp(at, name, len) != 0 || at[len] != '=')
			continue;
		if (strtol(at + len + 1, &end, 10) == rank)
			return *end == ':' ? strtol(end + 1, NULL, 10) : 1;
	}
	return -1;
}

static void hang(void)
{
	for (;;)
		pause();
}

const char *ncclGetErrorString(int r);
const char *ncclGetErrorString(int r)
{
	return r == 0 ? "no error" : "unhandled system error (fake)";
}

/* It is asked before it is told a rank: the environment has it. */
int ncclGetVersion(int *version);
int ncclGetVersion(int *version)
{
	const char *rank = getenv("RANK");
	long other = fault("version", rank ? atoi(rank) : 0);

	*version = other > 0 ? (int)other : VERSION;
	return 0;
}

static int door(uint16_t *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(fd, RANKS_MAX) < 0 || getsockname(fd, (struct sockaddr *)&at, &size) < 0)
		return -1;
	*port = ntohs(at.sin_port);
	return fd;
}

static int dial(uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ? -1 : fd;
}

int ncclGetUniqueId(struct unique_id *id);
int ncclGetUniqueId(struct unique_id *id)
{
	uint16_t port;

	rank_zero_door = door(&port);
	memset(id, 0, sizeof(*id));
	memcpy(id->internal, &port, sizeof(port));
	return rank_zero_door < 0;
}

static int whole(int fd, void *data, size_t len, int write_it)
{
	for (char *at = data; len > 0;) {
		ssize_t n = write_it ? send(fd, at, len, MSG_NOSIGNAL) : recv(fd, at, len, 0);

		if (n <= 0)
			return 1;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Everybody's door, by rank 0. */
static int gather(struct comm *c, uint16_t zero_port, uint16_t own, uint16_t ports[RANKS_MAX])
{
	int fds[RANKS_MAX], r = 0;
	uint16_t said[2] = { (uint16_t)c->rank, own };

	if (c->rank > 0) {
		int fd = dial(zero_port);

		r = fd < 0 || whole(fd, said, sizeof(said), 1) ||
		    whole(fd, ports, RANKS_MAX * sizeof(*ports), 0);
		close(fd);
		return r;
	}
	ports[0] = own;
	for (int i = 1; r == 0 && i < c->n; i++) {
		fds[i] = accept(rank_zero_door, NULL, NULL);
		r = fds[i] < 0 || whole(fds[i], said, sizeof(said), 0);
		ports[said[0] % RANKS_MAX] = said[1];
	}
	for (int i = 1; r == 0 && i < c->n; i++) {
		r = whole(fds[i], ports, RANKS_MAX * sizeof(*ports), 1);
		close(fds[i]);
	}
	return r;
}

int ncclCommInitRank(void **ret, int n, struct unique_id id, int rank);
int ncclCommInitRank(void **ret, int n, struct unique_id id, int rank)
{
	struct comm *c = calloc(1, sizeof(*c));
	uint16_t zero_port, own = 0, ports[RANKS_MAX] = { 0 };
	int listener;

	the_rank = rank;
	if (fault("hang_join", rank) > 0)
		hang();
	c->rank = rank;
	c->n = n;
	*ret = c;
	if (n == 1)
		return 0;
	memcpy(&zero_port, id.internal, sizeof(zero_port));
	listener = door(&own);
	if (listener < 0 || gather(c, zero_port, own, ports))
		return 2;
	c->after = dial(ports[(rank + 1) % n]);
	c->before = accept(listener, NULL, NULL);
	close(listener);
	return c->after < 0 || c->before < 0 ? 2 : 0;
}

/* Sends and receives at once, as both neighbours do. */
static int exchange(struct comm *c, const char *out, size_t n_out, char *in, size_t n_in)
{
	while (n_out > 0 || n_in > 0) {
		struct pollfd p[2] = { { c->after, n_out ? POLLOUT : 0, 0 },
				       { c->before, n_in ? POLLIN : 0, 0 } };
		ssize_t n;

		if (poll(p, 2, -1) < 0)
			return 2;
		if (p[0].revents & (POLLERR | POLLHUP) || p[1].revents & POLLERR)
			return 2;
		if (n_out && p[0].revents & POLLOUT) {
			n = send(c->after, out, n_out, MSG_DONTWAIT | MSG_NOSIGNAL);
			n = n > 0 ? n : 0;
			out += n;
			n_out -= (size_t)n;
		}
		if (n_in && p[1].revents & (POLLIN | POLLHUP)) {
			n = recv(c->before, in, n_in, MSG_DONTWAIT);
			if (n == 0)
				return 2;
			n = n > 0 ? n : 0;
			in += n;
			n_in -= (size_t)n;
		}
	}
	return 0;
}

static void delay(size_t bytes)
{
	size_t most = 4 << 20;

	if (fault("slow", the_rank) > 0)
		usleep((useconds_t)((bytes < most ? bytes : most) * 25000 / (1 << 20)));
}

/* Reduce-scatter, then all-gather, each n - 1 steps around the ring. */
static int ring(struct comm *c, float *data, size_t count)
{
	size_t most = (count + (size_t)c->n - 1) / (size_t)c->n;
	int n = c->n, r = 0;

	for (int step = 0; r == 0 && step < 2 * (n - 1); step++) {
		int add = step < n - 1, k = add ? step : step - (n - 1);
		int send_part = (c->rank - k + (add ? 0 : 1) + 2 * n) % n;
		int take_part = (send_part - 1 + n) % n;
		size_t send_at = (size_t)send_part * most, take_at = (size_t)take_part * most;
		size_t n_send = send_at < count ? (count - send_at < most ? count - send_at : most)
						: 0;
		size_t n_take = take_at < count ? (count - take_at < most ? count - take_at : most)
						: 0;

		r = exchange(c, (const char *)(data + send_at), n_send * sizeof(float),
			     (char *)c->from_before, n_take * sizeof(float));
		for (size_t i = 0; r == 0 && i < n_take; i++)
			data[take_at + i] = (add ? data[take_at + i] : 0) + c->from_before[i];
	}
	return r;
}

int ncclAllReduce(const void *from, void *to, size_t count, int type, int op, void *comm,
		  void *stream);
int ncclAllReduce(const void *from, void *to, size_t count, int type, int op, void *comm,
		  void *stream)
{
	struct comm *c = comm;

	(void)stream;
	if (type != 7 || op != 0)
		return 4;
	if (fault("hang", c->rank) > 0)
		hang();
	if (fault("error", c->rank) > 0)
		return 2;
	memmove(to, from, count * sizeof(float));
	if (fault("corrupt", c->rank) > 0 && count > 2)
		((float *)to)[count / 2] += 1;
	delay(count * sizeof(float));
	if (c->n == 1)
		return 0;
	if (c->cap < count) {
		free(c->from_before);
		c->from_before = malloc(count * sizeof(float));
		c->cap = count;
	}
	return ring(c, to, count);
}

int ncclSend(const void *from, size_t count, int type, int peer, void *comm, void *stream);
int ncclSend(const void *from, size_t count, int type, int peer, void *comm, void *stream)
{
	struct comm *c = comm;

	(void)type, (void)peer, (void)stream;
	delay(count * sizeof(float));
	return whole(c->after, (void *)(uintptr_t)from, count * sizeof(float), 1) ? 2 : 0;
}

int ncclRecv(void *to, size_t count, int type, int peer, void *comm, void *stream);
int ncclRecv(void *to, size_t count, int type, int peer, void *comm, void *stream)
{
	struct comm *c = comm;

	(void)type, (void)peer, (void)stream;
	delay(count * sizeof(float));
	return whole(c->before, to, count * sizeof(float), 0) ? 2 : 0;
}

int ncclCommDestroy(void *comm);
int ncclCommDestroy(void *comm)
{
	(void)comm;
	return 0;
}
