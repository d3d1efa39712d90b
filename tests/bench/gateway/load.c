/* load.c - the load generator: one thread, epoll, keep-alive HTTP/1.1 to a gateway.
 *
 * usage: load MODE port=N path=/PATH token=TOKEN [conns=N] [seconds=S] [rate=N] [window=N]
 *		[events=N] [seed=N] [core=N] [cpu=NAME:PID,PID]... [host=ADDR] [overload=1]
 *		[method=NAME] [field=LINE] [body=N | text=TEXT]
 *
 *	closed	each connection sends its next request when it has its answer, for so long
 *	open	`rate` requests a second at fixed times; latency counts from the time it should
 *		have been sent, also when all connections were busy then
 *	sse	each connection reads a stream of `events` events (upstream.c); measured from the
 *		moment all streams run (it says "streaming") until the first ends; latency is from
 *		write to read
 *	once	each connection sends one request, at most `window` wait at once; says "sent"
 *		when all are; the connections stay open until standard input ends
 *	churn	as closed, each request on a connection of its own; says "running", and goes on
 *		until standard input ends
 *
 * A fifth of `seconds` is warmed up before. Prints one JSON object: requests (or events), errors
 * (answers that are not 2xx, connections that ended), seconds, p50_us, p99_us, p999_us, and
 * cpu_NAME in ns for the measured part. With `overload` 429 and 503 with Retry-After are no errors
 * but `refused`, with refused_p50_us and refused_p99_us, and no part of `requests`. */
#include "measure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX    256
#define HEAD_MAX      1024
#define STAMP_SIZE    19
#define GIVE_UP_NS    60000000000u /* without a single answer */
#define START_SPAN_NS 500000000u   /* streams begin at random times of it */

enum mode { CLOSED, OPEN, SSE, ONCE, CHURN, N_MODES };

struct conn {
	struct conn *next; /* idle */
	int fd;
	bool busy, done, in_body, in_stamp, renewed;
	size_t head_len, left; /* of the body */
	uint64_t since_ns;     /* sent, or should have been; a stream: when it is to begin */
	unsigned long events;
	size_t stamp_len;
	char head[HEAD_MAX + 1];
	char stamp[STAMP_SIZE + 1];
};

static struct {
	enum mode mode;
	struct sockaddr_in addr;
	const char *path, *token;
	unsigned long n_conns, rate, window, events, seed;
	double seconds;
	struct bench_group groups[BENCH_GROUPS_MAX];
	size_t n_groups;
	bool overload;
	const char *method, *field, *text;
	size_t body;
	char *request;
	size_t request_len;
} cfg = { .path = "/",
	  .token = "",
	  .n_conns = 1,
	  .seconds = 1,
	  .events = 100,
	  .method = "GET",
	  .field = "",
	  .text = "" };

static struct {
	int epoll_fd;
	struct conn *conns, *idle, **order;
	struct bench_hist hist, refused;
	uint64_t errors, began_ns, ended_ns, due_ns, last_ns;
	unsigned long busy, sent, done, streaming;
	bool measuring, over;
	char scratch[256 * 1024];
} run;

/* ---- the measured part ---- */

static void measure_begin(void)
{
	memset(&run.hist, 0, sizeof(run.hist));
	memset(&run.refused, 0, sizeof(run.refused));
	run.errors = 0;
	for (size_t i = 0; i < cfg.n_groups; i++)
		cfg.groups[i].began_ns = bench_group_ns(&cfg.groups[i]);
	run.measuring = true;
	run.began_ns = bench_now_ns();
}

static void measure_end(void)
{
	run.ended_ns = bench_now_ns();
	for (size_t i = 0; i < cfg.n_groups; i++)
		cfg.groups[i].began_ns = bench_group_ns(&cfg.groups[i]) - cfg.groups[i].began_ns;
	run.over = true;
}

static void say(const char *word)
{
	puts(word);
	fflush(stdout);
}

static void print_result(void)
{
	printf("{\"requests\": %llu, \"errors\": %llu, \"seconds\": %.6f, \"p50_us\": %.3f, "
	       "\"p99_us\": %.3f, \"p999_us\": %.3f",
	       (unsigned long long)run.hist.n, (unsigned long long)run.errors,
	       (double)(run.ended_ns - run.began_ns) / 1e9, bench_hist_us(&run.hist, 0.5),
	       bench_hist_us(&run.hist, 0.99), bench_hist_us(&run.hist, 0.999));
	if (cfg.overload)
		printf(", \"refused\": %llu, \"refused_p50_us\": %.3f, \"refused_p99_us\": %.3f",
		       (unsigned long long)run.refused.n, bench_hist_us(&run.refused, 0.5),
		       bench_hist_us(&run.refused, 0.99));
	for (size_t i = 0; i < cfg.n_groups; i++)
		printf(", \"cpu_%s\": %llu", cfg.groups[i].name,
		       (unsigned long long)cfg.groups[i].began_ns);
	printf("}\n");
	fflush(stdout);
}

/* ---- connections ---- */

static void conn_open(struct conn *c)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c };
	int one = 1, room = (int)cfg.request_len + (256 << 10);

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&cfg.addr, sizeof(cfg.addr)) < 0)
		bench_die("connect, after %llu answers: %s", (unsigned long long)run.hist.n,
			  strerror(errno));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (cfg.body) /* a request is one send */
		setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0 ||
	    epoll_ctl(run.epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		bench_die("watch a connection: %s", strerror(errno));
}

static void conn_send(struct conn *c, uint64_t since_ns)
{
	c->busy = true;
	c->since_ns = since_ns;
	c->in_body = false;
	c->head_len = c->left = 0;
	run.busy++;
	run.sent++;
	if (send(c->fd, cfg.request, cfg.request_len, MSG_NOSIGNAL) != (ssize_t)cfg.request_len)
		bench_die("a request could not be sent: %s", strerror(errno));
}

/* With a reset, so that no port stays taken. */
static void conn_renew(struct conn *c)
{
	struct linger reset = { .l_onoff = 1 };

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(c->fd);
	conn_open(c);
	c->renewed = true;
}

/* What a connection does at its start and after its answer. */
static void conn_next(struct conn *c)
{
	if (cfg.mode == CLOSED || cfg.mode == CHURN) {
		conn_send(c, bench_now_ns());
	} else if (cfg.mode == OPEN) {
		c->next = run.idle;
		run.idle = c;
	}
}

static bool is_good(const struct conn *c)
{
	return strncmp(c->head, "HTTP/1.1 2", 10) == 0;
}

static bool is_refusal(const struct conn *c)
{
	return cfg.overload &&
	       (strncmp(c->head, "HTTP/1.1 429", 12) == 0 ||
		strncmp(c->head, "HTTP/1.1 503", 12) == 0) &&
	       strcasestr(c->head, "\r\nRetry-After: ");
}

static void answered(struct conn *c)
{
	uint64_t now_ns = bench_now_ns();
	bool refused = is_refusal(c);

	run.last_ns = now_ns;
	if (!refused && !is_good(c) && run.errors++ == 0 && cfg.overload)
		fprintf(stderr, "the first error: %s\n", c->head);
	bench_hist_add(refused ? &run.refused : &run.hist, now_ns - c->since_ns);
	c->busy = false;
	c->done = true;
	run.busy--;
	run.done++;
	if (cfg.mode == CHURN || (cfg.overload && strcasestr(c->head, "\r\nConnection: close\r\n")))
		conn_renew(c);
	conn_next(c);
}

static void broken(struct conn *c, const char *why)
{
	if (!c->busy && cfg.mode == OPEN && cfg.overload) { /* some refusals end it */
		close(c->fd);
		conn_open(c);
		return;
	}
	if (!c->busy && (cfg.mode == ONCE || cfg.mode == OPEN))
		bench_die("an idle connection ended: %s", why);
	if (cfg.mode == SSE && c->done) { /* had all its events */
		close(c->fd);
		return;
	}
	if (run.errors++ == 0 && cfg.overload)
		fprintf(stderr, "the first error: %s, after %zu bytes: %s\n", why, c->head_len,
			c->head_len ? c->head : "");
	if (run.errors > cfg.n_conns && cfg.mode != CHURN)
		bench_die("too many connections broke: %s, after %s", why, c->head);
	close(c->fd);
	run.busy -= c->busy;
	c->busy = false;
	if (cfg.mode == SSE || cfg.mode == ONCE) {
		run.done += !c->done;
		c->done = true;
		return;
	}
	conn_open(c);
	conn_next(c);
}

/* ---- answers ---- */

/* 0: the head is not complete; else how many of the bytes belong to it. */
static size_t take_head(struct conn *c, const char *data, size_t len)
{
	size_t old = c->head_len, add = len < HEAD_MAX - old ? len : HEAD_MAX - old;
	char *end, *length;

	memcpy(c->head + old, data, add);
	c->head[old + add] = '\0';
	end = strstr(c->head, "\r\n\r\n");
	if (!end && old + add == HEAD_MAX)
		bench_die("an answer's head has more than %d bytes", HEAD_MAX);
	c->head_len += add;
	if (!end)
		return 0;
	length = strcasestr(c->head, "\r\nContent-Length:");
	c->left = length && length < end ? strtoull(length + 17, NULL, 10) : 0;
	c->in_body = true;
	return (size_t)(end + 4 - c->head) - old;
}

/* Events' stamps are looked for in all bytes, whatever chunks they come in. */
static void take_events(struct conn *c, const char *data, size_t len)
{
	uint64_t now_ns = bench_now_ns();

	for (size_t i = 0; i < len; i++) {
		if (!c->in_stamp) {
			const char *at = memchr(data + i, '@', len - i);

			if (!at)
				return;
			i = (size_t)(at - data);
			c->in_stamp = true;
			c->stamp_len = 0;
			continue;
		}
		c->stamp[c->stamp_len++] = data[i];
		if (c->stamp_len < STAMP_SIZE)
			continue;
		c->in_stamp = false;
		run.streaming += c->events++ == 0;
		if (c->events == cfg.events && !c->done) {
			c->done = true;
			run.done++;
		}
		if (run.measuring && !run.over)
			bench_hist_add(&run.hist, now_ns - strtoull(c->stamp, NULL, 10));
	}
}

static void take(struct conn *c, const char *data, size_t len)
{
	if (!c->in_body) {
		size_t used = take_head(c, data, len);

		if (!used)
			return;
		data += used;
		len -= used;
		if (!is_good(c) && cfg.mode == SSE)
			bench_die("no stream: %s", c->head);
	}
	if (cfg.mode == SSE) {
		take_events(c, data, len);
		return;
	}
	if (len > c->left)
		bench_die("%zu bytes after an answer: %s", len - c->left, c->head);
	c->left -= len;
	if (c->left == 0)
		answered(c);
}

/* `ended`: an end was told with the data, and no edge will tell it again. */
static void conn_event(struct conn *c, bool ended)
{
	for (;;) {
		ssize_t n = recv(c->fd, run.scratch, sizeof(run.scratch), 0);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			broken(c, n ? strerror(errno) : "end of stream");
			return;
		}
		if (!c->busy)
			bench_die("an answer without a request");
		c->renewed = false;
		take(c, run.scratch, (size_t)n);
		if (c->renewed)
			return; /* a new connection has taken its place */
		if ((size_t)n < sizeof(run.scratch) && !ended)
			return; /* the next edge tells what comes later */
	}
}

/* ---- time ---- */

/* Sends what is due; returns when something will be, UINT64_MAX: never. */
static uint64_t due(uint64_t now_ns)
{
	if (cfg.mode == OPEN) {
		while (run.due_ns <= now_ns && run.idle) {
			struct conn *c = run.idle;

			run.idle = c->next;
			conn_send(c, run.due_ns);
			run.due_ns += 1000000000 / cfg.rate;
		}
		return run.idle ? run.due_ns : UINT64_MAX;
	}
	if (cfg.mode == SSE) {
		while (run.sent < cfg.n_conns && run.order[run.sent]->since_ns <= now_ns)
			conn_send(run.order[run.sent], now_ns);
		return run.sent < cfg.n_conns ? run.order[run.sent]->since_ns : UINT64_MAX;
	}
	if (cfg.mode == ONCE) {
		while (run.sent < cfg.n_conns && run.busy < cfg.window)
			conn_send(&run.conns[run.sent], bench_now_ns());
		if (run.sent == cfg.n_conns && !run.over) {
			run.over = true;
			say("sent");
		}
	}
	return UINT64_MAX;
}

static bool finished(uint64_t now_ns, uint64_t began_ns)
{
	double passed = (double)(now_ns - began_ns) / 1e9;

	if (now_ns - run.last_ns > GIVE_UP_NS && cfg.mode != ONCE)
		bench_die("nothing happens any more: %lu sent, %lu done", run.sent, run.done);
	if (cfg.mode == ONCE)
		return run.done == cfg.n_conns;
	if (cfg.mode == CHURN)
		return poll(&(struct pollfd){ .fd = 0, .events = POLLIN }, 1, 0) > 0;
	if (cfg.mode == SSE) {
		if (!run.measuring && run.streaming == cfg.n_conns) {
			say("streaming");
			measure_begin();
		}
		if (run.measuring && !run.over && run.done)
			measure_end();
		return run.done == cfg.n_conns;
	}
	if (!run.measuring && passed >= cfg.seconds / 5)
		measure_begin();
	if (passed >= cfg.seconds * 1.2 && !run.over)
		measure_end();
	return run.over;
}

static void loop(void)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t began_ns = bench_now_ns(), now_ns = began_ns;

	run.last_ns = run.due_ns = began_ns;
	while (!finished(now_ns, began_ns)) {
		uint64_t at_ns = due(now_ns);
		/* Never longer, so that the end of the measured part is on time. */
		uint64_t wait_ns = at_ns <= now_ns ? 0 : at_ns - now_ns;
		struct timespec ts = { .tv_nsec = wait_ns < 5000000 ? (long)wait_ns : 5000000 };
		int n = epoll_pwait2(run.epoll_fd, events, EVENTS_MAX, &ts, NULL);

		for (int i = 0; i < n; i++)
			conn_event(events[i].data.ptr, events[i].events & ~(uint32_t)EPOLLIN);
		now_ns = bench_now_ns();
	}
}

/* ---- start ---- */

static int by_start(const void *a, const void *b)
{
	const struct conn *x = *(struct conn *const *)a, *y = *(struct conn *const *)b;

	return x->since_ns < y->since_ns ? -1 : x->since_ns > y->since_ns;
}

static void open_all(void)
{
	uint64_t now_ns;

	run.conns = calloc(cfg.n_conns, sizeof(*run.conns));
	run.order = calloc(cfg.n_conns, sizeof(struct conn *));
	if (!run.conns || !run.order)
		bench_die("out of memory");
	for (unsigned long i = 0; i < cfg.n_conns; i++)
		conn_open(&run.conns[i]);
	now_ns = bench_now_ns();
	srandom((unsigned)cfg.seed);
	for (unsigned long i = 0; i < cfg.n_conns; i++) {
		run.order[i] = &run.conns[i];
		if (cfg.mode == SSE)
			run.conns[i].since_ns = now_ns + (uint64_t)random() % START_SPAN_NS;
		else
			conn_next(&run.conns[i]);
	}
	qsort(run.order, cfg.n_conns, sizeof(struct conn *), by_start);
}

/* Like that of a common client library: 12 fields, and those of a body. */
static void make_request(void)
{
	size_t size = cfg.text[0] ? strlen(cfg.text) : cfg.body, room = size + 4096;
	char length[64] = "";
	int n;

	if (size)
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n", size);
	cfg.request = malloc(room);
	if (!cfg.request)
		bench_die("out of memory");
	n = snprintf(cfg.request, room,
		     "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\n"
		     "Accept-Encoding: gzip, deflate\r\nUser-Agent: OpenAI/Python 1.40.0\r\n"
		     "X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 1.40.0\r\n"
		     "X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n"
		     "X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.11.2\r\n"
		     "X-Stainless-Async: false\r\nAuthorization: Bearer %s\r\n%s%s%s\r\n",
		     cfg.method, cfg.path, ntohs(cfg.addr.sin_port), cfg.token, length, cfg.field,
		     cfg.field[0] ? "\r\n" : "");
	if (n < 0 || (size_t)n + size > room)
		bench_die("the request is too long");
	if (cfg.text[0])
		memcpy(cfg.request + n, cfg.text, size);
	else
		memset(cfg.request + n, 'x', size);
	cfg.request_len = (size_t)n + size;
}

static void pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		bench_die("sched_setaffinity: %s", strerror(errno));
}

static void setting(const char *name, const char *value)
{
	unsigned long n = strtoul(value, NULL, 10);

	if (strcmp(name, "port") == 0)
		cfg.addr.sin_port = htons((uint16_t)n);
	else if (strcmp(name, "host") == 0)
		inet_pton(AF_INET, value, &cfg.addr.sin_addr);
	else if (strcmp(name, "path") == 0)
		cfg.path = value;
	else if (strcmp(name, "token") == 0)
		cfg.token = value;
	else if (strcmp(name, "conns") == 0)
		cfg.n_conns = n;
	else if (strcmp(name, "seconds") == 0)
		cfg.seconds = strtod(value, NULL);
	else if (strcmp(name, "rate") == 0)
		cfg.rate = n;
	else if (strcmp(name, "window") == 0)
		cfg.window = n;
	else if (strcmp(name, "events") == 0)
		cfg.events = n;
	else if (strcmp(name, "seed") == 0)
		cfg.seed = n;
	else if (strcmp(name, "overload") == 0)
		cfg.overload = n;
	else if (strcmp(name, "method") == 0)
		cfg.method = value;
	else if (strcmp(name, "field") == 0)
		cfg.field = value;
	else if (strcmp(name, "text") == 0)
		cfg.text = value;
	else if (strcmp(name, "body") == 0)
		cfg.body = n;
	else if (strcmp(name, "core") == 0)
		pin((int)n);
	else if (strcmp(name, "cpu") == 0 && cfg.n_groups < BENCH_GROUPS_MAX)
		bench_group_read(&cfg.groups[cfg.n_groups++], value);
	else
		bench_die("no such setting: %s=%s", name, value);
}

static void settings(int argc, char **argv)
{
	static const char *const modes[] = { "closed", "open", "sse", "once", "churn" };
	size_t mode = 0;

	while (mode < N_MODES && argc > 1 && strcmp(modes[mode], argv[1]) != 0)
		mode++;
	if (argc < 2 || mode == N_MODES)
		bench_die("usage: load closed|open|sse|once|churn NAME=VALUE...");
	cfg.mode = mode;
	cfg.addr.sin_family = AF_INET;
	cfg.addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (int i = 2; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!value)
			bench_die("a setting is NAME=VALUE: %s", argv[i]);
		*value++ = '\0';
		setting(argv[i], value);
	}
	if (cfg.mode == OPEN && !cfg.rate)
		bench_die("open needs a rate");
	cfg.window = cfg.window ? cfg.window : cfg.n_conns;
	make_request();
}

int main(int argc, char **argv)
{
	struct rlimit lim;
	char c;

	settings(argc, argv);
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (run.epoll_fd < 0)
		bench_die("epoll_create1: %s", strerror(errno));
	open_all();
	if (cfg.mode == CHURN)
		say("running");
	if (cfg.mode == ONCE || cfg.mode == CHURN)
		measure_begin();
	loop();
	if (cfg.mode == ONCE || cfg.mode == CHURN)
		measure_end();
	print_result();
	while (cfg.mode == ONCE && read(0, &c, 1) > 0)
		;
	return 0;
}
