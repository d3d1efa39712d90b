/* upstream.c - the server behind every gateway that is measured: one thread, epoll, static.
 * usage: upstream [port=N] [unix=PATH] [core=N] [gate=PATH]
 *
 * The last part of a GET's path says what the answer is:
 *	bytes-N		N bytes, in one send when the socket takes them
 *	late-N-MS	the same MS milliseconds later; MS is one for all, and for all streams
 *	sse-N-MS	N events of about 200 bytes, one every MS milliseconds; each carries "@" and
 *			the 19 digits of CLOCK_MONOTONIC right before it was written
 *	hold-ID		none; when the connection ends is remembered
 *	held-ID		"ARRIVED CLOSED" of that hold, in ns of CLOCK_MONOTONIC; 0 = not yet
 *	stamps		"LISTENED FIRST": when listen() had returned, when the first request was
 *read With a gate it listens only once that file exists. A request's body is passed over. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX   4096
#define EVENTS_MAX 256
#define SIZES_MAX  8
#define HOLDS_MAX  4096 /* remembered; an id is taken modulo this */
#define EVENT_SIZE 200

struct conn {
	int fd;
	bool listener, armed, closed;
	size_t len;
	char in[HEAD_MAX];
	const char *out; /* unsent rest of the answer */
	size_t out_len;
	char small[256];
	long hold; /* -1: none */
	/* an event stream */
	struct conn *next;
	uint64_t due_ns, interval_ns;
	unsigned long events;
	const struct answer *late; /* instead of events */
	size_t skip;               /* of a request's body */
};

struct answer {
	size_t size, len;
	char *data;
};

static struct {
	int epoll_fd;
	uint64_t listened_ns, first_ns;
	struct answer answers[SIZES_MAX];
	struct conn *streams, **streams_end; /* by due_ns: all intervals of a run are equal */
	struct conn *closed;                 /* freed at the end of the round */
	struct {
		uint64_t arrived_ns, closed_ns;
	} holds[HOLDS_MAX];
} up = { .streams_end = &up.streams };

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void conn_close(struct conn *c)
{
	if (c->closed)
		return;
	c->closed = true;
	if (c->hold >= 0)
		up.holds[c->hold].closed_ns = now_ns();
	close(c->fd);
	if (!c->interval_ns) { /* a stream is freed by its next turn */
		c->next = up.closed;
		up.closed = c;
	}
}

static void arm(struct conn *c, bool writable)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c };

	if (writable)
		ev.events |= EPOLLOUT;
	if (c->armed != writable && epoll_ctl(up.epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) < 0)
		die("epoll_ctl");
	c->armed = writable;
}

static void flush(struct conn *c)
{
	while (c->out_len) {
		ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			arm(c, true);
			return;
		}
		if (n < 0) {
			conn_close(c);
			return;
		}
		c->out += n;
		c->out_len -= (size_t)n;
	}
	arm(c, false);
}

static const struct answer *answer_of(size_t size)
{
	char head[256];

	for (size_t i = 0; i < SIZES_MAX; i++) {
		struct answer *a = &up.answers[i];

		if (a->data && a->size == size)
			return a;
		if (a->data)
			continue;
		int n = snprintf(head, sizeof(head),
				 "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
				 "Content-Length: %zu\r\n\r\n",
				 size);

		*a = (struct answer){ .size = size, .len = (size_t)n + size };
		a->data = malloc(a->len);
		if (!a->data)
			die("malloc");
		memcpy(a->data, head, (size_t)n);
		memset(a->data + n, 'x', size);
		return a;
	}
	fprintf(stderr, "more than %d sizes\n", SIZES_MAX);
	exit(1);
}

static void answer_text(struct conn *c, int status, uint64_t a, uint64_t b)
{
	char body[64];
	int n = snprintf(body, sizeof(body), "%llu %llu", (unsigned long long)a,
			 (unsigned long long)b);

	c->out = c->small;
	c->out_len = (size_t)snprintf(c->small, sizeof(c->small),
				      "HTTP/1.1 %d -\r\nContent-Type: text/plain\r\n"
				      "Content-Length: %d\r\n\r\n%s",
				      status, n, body);
	flush(c);
}

/* ---- event streams ---- */

static void stream_append(struct conn *c)
{
	c->next = NULL;
	*up.streams_end = c;
	up.streams_end = &c->next;
}

static void stream_start(struct conn *c, unsigned long events, unsigned long ms)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
				   "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
				   "Transfer-Encoding: chunked\r\n\r\n";

	if (send(c->fd, head, sizeof(head) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(head) - 1) {
		conn_close(c);
		return;
	}
	c->events = events;
	c->interval_ns = ms * 1000000;
	c->due_ns = now_ns() + c->interval_ns;
	stream_append(c);
}

static void stream_event(struct conn *c)
{
	static const char fill[] =
		"{\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,"
		"\"delta\":{\"content\":\" token\"},\"finish_reason\":null}],"
		"\"pad\":\"0123456789012345678901234567\"}";
	char event[EVENT_SIZE + 64], chunk[EVENT_SIZE + 128];
	int n = snprintf(event, sizeof(event), "data: @%019llu %s\n\n",
			 (unsigned long long)now_ns(), fill);
	int len = snprintf(chunk, sizeof(chunk), "%x\r\n%s\r\n%s", n, event,
			   c->events == 1 ? "0\r\n\r\n" : "");

	/* One that does not fit into the socket would not be measured in time anyway. */
	if (send(c->fd, chunk, (size_t)len, MSG_NOSIGNAL) != len)
		conn_close(c);
	c->events--;
}

static void answer_late(struct conn *c, const struct answer *answer, unsigned long ms)
{
	c->late = answer;
	c->interval_ns = ms * 1000000;
	c->due_ns = now_ns() + c->interval_ns;
	stream_append(c);
}

static void on_due(struct conn *c)
{
	if (!c->late) {
		stream_event(c);
		return;
	}
	c->out = c->late->data;
	c->out_len = c->late->len;
	c->late = NULL;
	flush(c);
}

/* What is due; returns ns until the next is, or UINT64_MAX. */
static uint64_t streams_run(void)
{
	uint64_t now = now_ns();
	struct conn *c;

	while ((c = up.streams) && (c->closed || c->due_ns <= now)) {
		up.streams = c->next;
		if (!up.streams)
			up.streams_end = &up.streams;
		if (!c->closed)
			on_due(c);
		if (!c->closed && c->events) {
			/* Late ones are not made up for: two at once would be one for a proxy. */
			c->due_ns = now_ns() + c->interval_ns;
			stream_append(c);
			continue;
		}
		c->interval_ns = 0;
		if (c->closed) {
			c->next = up.closed;
			up.closed = c;
		}
	}
	return c ? c->due_ns - now : UINT64_MAX;
}

/* ---- requests ---- */

static void serve(struct conn *c, char *head)
{
	char *path = strchr(head, ' '), *end = path ? strchr(path + 1, ' ') : NULL;
	unsigned long a, b;

	if (!end) {
		conn_close(c);
		return;
	}
	*end = '\0';
	const char *what = strrchr(path, '/');

	what = what ? what + 1 : path;
	if (!up.first_ns)
		up.first_ns = now_ns();
	if (sscanf(what, "bytes-%lu", &a) == 1) {
		const struct answer *answer = answer_of(a);

		c->out = answer->data;
		c->out_len = answer->len;
		flush(c);
	} else if (sscanf(what, "late-%lu-%lu", &a, &b) == 2 && b) {
		answer_late(c, answer_of(a), b);
	} else if (sscanf(what, "sse-%lu-%lu", &a, &b) == 2 && a && b) {
		stream_start(c, a, b);
	} else if (sscanf(what, "hold-%lu", &a) == 1) {
		c->hold = (long)(a % HOLDS_MAX);
		up.holds[c->hold].arrived_ns = now_ns();
		up.holds[c->hold].closed_ns = 0;
	} else if (sscanf(what, "held-%lu", &a) == 1) {
		answer_text(c, 200, up.holds[a % HOLDS_MAX].arrived_ns,
			    up.holds[a % HOLDS_MAX].closed_ns);
	} else if (strcmp(what, "stamps") == 0) {
		answer_text(c, 200, up.listened_ns, up.first_ns);
	} else {
		answer_text(c, 404, 0, 0);
	}
}

/* False: there is nothing more to read now. */
static bool body_skip(struct conn *c)
{
	static char scratch[65536];

	while (c->skip) {
		ssize_t n = recv(c->fd, scratch,
				 c->skip < sizeof(scratch) ? c->skip : sizeof(scratch), 0);

		if (n <= 0) {
			if (n == 0 || errno != EAGAIN)
				conn_close(c);
			return false;
		}
		c->skip -= (size_t)n;
	}
	return true;
}

static size_t body_of(const char *head)
{
	const char *length = strcasestr(head, "\r\nContent-Length:");

	return length ? strtoul(length + 17, NULL, 10) : 0;
}

static void conn_read(struct conn *c)
{
	if (!body_skip(c))
		return;
	ssize_t n = recv(c->fd, c->in + c->len, sizeof(c->in) - 1 - c->len, 0);
	char *end;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		conn_close(c);
		return;
	}
	c->len += (size_t)n;
	c->in[c->len] = '\0';
	end = strstr(c->in, "\r\n\r\n");
	if (end) {
		size_t body = body_of(c->in), here = c->len - (size_t)(end + 4 - c->in);

		c->skip = body > here ? body - here : 0;
		c->len = 0;
		serve(c, c->in);
		if (!c->closed)
			body_skip(c); /* no edge tells again of what is here already */
	} else if (c->len == sizeof(c->in) - 1) {
		conn_close(c);
	}
}

static void watch(int fd, bool listener)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	if (!c)
		die("calloc");
	*c = (struct conn){ .fd = fd, .listener = listener, .hold = -1 };
	if (!listener)
		ev.events |= EPOLLRDHUP | EPOLLET;
	if (epoll_ctl(up.epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("epoll_ctl");
}

static void accept_all(int listener)
{
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		watch(fd, false);
	}
}

static void run(void)
{
	struct epoll_event events[EVENTS_MAX];

	for (;;) {
		uint64_t wait_ns = streams_run();
		struct timespec ts = { (time_t)(wait_ns / 1000000000),
				       (long)(wait_ns % 1000000000) };
		int n = epoll_pwait2(up.epoll_fd, events, EVENTS_MAX,
				     wait_ns == UINT64_MAX ? NULL : &ts, NULL);

		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			if (c->listener)
				accept_all(c->fd);
			if (!c->listener && !c->closed && events[i].events & EPOLLOUT)
				flush(c);
			if (!c->listener && !c->closed && events[i].events & ~EPOLLOUT)
				conn_read(c);
			/* With edges, an end that came with data is told once. */
			if (!c->listener && !c->closed &&
			    events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
				conn_close(c);
		}
		while (up.closed) {
			struct conn *c = up.closed;

			up.closed = c->next;
			free(c);
		}
	}
}

/* ---- start ---- */

static void listen_at(int family, const struct sockaddr *addr, socklen_t len)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		die("socket");
	if (family == AF_INET)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, addr, len) < 0 || listen(fd, 16384) < 0)
		die("listen");
	up.listened_ns = now_ns();
	watch(fd, true);
}

static void pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
}

static void wait_for(const char *path)
{
	const struct timespec pause = { .tv_nsec = 2000000 };

	while (access(path, F_OK) < 0)
		nanosleep(&pause, NULL);
}

int main(int argc, char **argv)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct rlimit lim;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	up.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (up.epoll_fd < 0)
		die("epoll_create1");
	for (int i = 1; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!value) {
			fprintf(stderr,
				"usage: upstream [port=N] [unix=PATH] [core=N] [gate=PATH]\n");
			return 2;
		}
		*value++ = '\0';
		if (strcmp(argv[i], "core") == 0)
			pin(atoi(value));
		else if (strcmp(argv[i], "gate") == 0)
			wait_for(value);
		else if (strcmp(argv[i], "port") == 0)
			in.sin_port = htons((uint16_t)atoi(value));
		else if (strcmp(argv[i], "unix") == 0)
			snprintf(un.sun_path, sizeof(un.sun_path), "%s", value);
	}
	if (in.sin_port)
		listen_at(AF_INET, (struct sockaddr *)&in, sizeof(in));
	if (un.sun_path[0]) {
		unlink(un.sun_path);
		listen_at(AF_UNIX, (struct sockaddr *)&un, sizeof(un));
	}
	run();
}
