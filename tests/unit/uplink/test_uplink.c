/* test_uplink.c - the role as a process of its own, between a door, a broker and an agent that the
 * test plays. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>
#include <gantry/model/dial.h>
#include <gantry/os/os.h>
#include <gantry/uplink/uplink.h>

#include "door.h"

#define WAIT_MS  5000
#define QUIET_MS 150 /* nothing comes */
#define HOUR_MS  (3600ULL * 1000)
#define WEEK_MS  (7ULL * 86400 * 1000)
#define BIG      (1 << 20)

static const char replica_id[] = "01ARZ3NDEKTSV4RRFFQ69G5FAA";

struct world {
	struct door door;
	char dir[64];
	int link_fd, dial_fd, agent_fd;
	pid_t pid;
};

static int listen_at(struct world *w, const char *name, int type)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/%s", w->dir, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static int connect_to(struct world *w, const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	const struct timeval limit = { .tv_sec = 5 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/%s", w->dir, name);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static int set_up(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));
	char link[128];

	signal(SIGPIPE, SIG_IGN);
	snprintf(w->dir, sizeof(w->dir), "/tmp/gantry-uplink-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(link, sizeof(link), "%s/link", w->dir);
	assert_int_equal(mkdir(link, 0700), 0);
	door_open(&w->door);
	w->link_fd = listen_at(w, "link.sock", SOCK_STREAM);
	w->dial_fd = listen_at(w, "dial.sock", SOCK_SEQPACKET);
	w->agent_fd = listen_at(w, "agent.sock", SOCK_STREAM);
	*state = w;
	return 0;
}

static int stop(struct world *w, int signo)
{
	int status = -1;

	if (w->pid <= 0)
		return 0;
	if (signo)
		kill(w->pid, signo);
	assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
	w->pid = 0;
	return status;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char command[128];

	stop(w, SIGKILL);
	door_close(&w->door);
	gt_close(w->link_fd);
	gt_close(w->dial_fd);
	gt_close(w->agent_fd);
	/* It may have been killed while it wrote one of them anew. */
	static const char *const files[] = { "link/node.key.new",
					     "link/node.crt.new",
					     "link/ca.crt.new",
					     "link/join.json.new",
					     "link/node.key",
					     "link/node.crt",
					     "link/ca.crt",
					     "link/join.json",
					     "link",
					     "link.sock",
					     "dial.sock",
					     "agent.sock",
					     "" };

	for (size_t i = 0; i < GT_LEN(files); i++) {
		snprintf(command, sizeof(command), "%s/%s", w->dir, files[i]);
		remove(command);
	}
	free(w);
	return 0;
}

static int start(struct world *w, const char *token)
{
	int ready[2];

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	w->pid = fork();
	if (w->pid == 0) {
		char dir[128], dial[128], agent[128];
		struct gt_uplink_config config = { .dir = dir,
						   .url = token ? w->door.url : "",
						   .token = token ? token : "",
						   .node = "n-1",
						   .dial_path = dial,
						   .agent_path = agent,
						   .link_fd = w->link_fd,
						   .ready_fd = ready[1],
						   .drain_ms = 2000 };
		struct gt_err err = { 0 };

		snprintf(dir, sizeof(dir), "%s/link", w->dir);
		snprintf(dial, sizeof(dial), "%s/dial.sock", w->dir);
		snprintf(agent, sizeof(agent), "%s/agent.sock", w->dir);
		gt_close(w->door.fd);
		gt_log_init("uplink", GT_ERROR);
		_exit(-gt_uplink_run(&config, &err));
	}
	gt_close(ready[1]);
	return ready[0];
}

static void is_ready(int fd GT_TAKES)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char text[8] = "";

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(read(fd, text, sizeof(text)), 6);
	assert_string_equal(text, "READY\n");
	gt_close(fd);
}

/* Its first connection; it is let in with a certificate for life_ms. */
static void let_in(struct world *w, uint64_t life_ms)
{
	gt_auto(buf) struct gt_buf json = { 0 };
	struct guest g;
	int ready = start(w, w->door.token);

	assert_true(door_guest(&w->door, WAIT_MS, &g));
	assert_string_equal(g.node, "");
	assert_non_null(strstr(g.head, "POST /link/v1/join HTTP/1.1\r\n"));
	assert_non_null(strstr(g.body, w->door.token));
	assert_non_null(strstr(g.body, "\"node\":\"n-1\""));
	door_sign(&w->door, g.body, "n-1", life_ms, &json);
	guest_answer(&g, "201 Created", gt_buf_str(&json));
	is_ready(ready);
	guest_leave(&g);
}

/* The next connection is a pipe, and it waits here from now on. */
static unsigned take_pipe(struct world *w, unsigned shards, struct guest *ret)
{
	char answer[128];
	unsigned shard;

	assert_true(door_guest(&w->door, WAIT_MS, ret));
	assert_string_equal(ret->node, "n-1");
	assert_int_equal(sscanf(ret->head, "GET /link/v1/nodes/n-1/pipe?shard=%u HTTP", &shard), 1);
	assert_non_null(strstr(ret->head, "Upgrade: gantry-pipe\r\n"));
	snprintf(answer, sizeof(answer),
		 "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "
		 "gantry-pipe\r\nGantry-Shards: %u\r\n\r\n",
		 shards);
	guest_say(ret, answer);
	return shard;
}

static bool nobody_comes(struct world *w)
{
	struct pollfd p = { .fd = w->door.fd, .events = POLLIN };

	return poll(&p, 1, QUIET_MS) == 0;
}

/* ---- who the node is ---- */

static void a_token_becomes_an_identity_that_stays(void **state)
{
	struct world *w = *state;
	struct gt_uplink_joined joined;
	char path[128];
	struct stat st;
	struct guest g, h;
	struct gt_err err;

	let_in(w, WEEK_MS);
	take_pipe(w, 1, &g);
	snprintf(path, sizeof(path), "%s/link", w->dir);
	assert_int_equal(gt_uplink_joined(path, &joined, &err), 0);
	assert_string_equal(joined.node, "n-1");
	assert_string_equal(joined.url, w->door.url);
	snprintf(path, sizeof(path), "%s/link/node.key", w->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(WEXITSTATUS(stop(w, SIGTERM)), 0);
	/* No token is needed, nor an address; and the used one is not shown again. */
	guest_leave(&g);
	while (door_guest(&w->door, 0, &g)) /* what was under way */
		guest_leave(&g);
	is_ready(start(w, NULL));
	take_pipe(w, 1, &g);
	stop(w, SIGKILL);
	while (door_guest(&w->door, 0, &h))
		guest_leave(&h);
	is_ready(start(w, w->door.token));
	take_pipe(w, 1, &h);
	guest_leave(&g);
	guest_leave(&h);
}

static void another_cluster_is_not_joined(void **state)
{
	struct world *w = *state;
	struct door other;
	struct guest g;
	int status;

	door_open(&other);
	gt_close(start(w, other.token));
	assert_false(door_guest(&w->door, WAIT_MS, &g)); /* it hung up before it said a word */
	status = stop(w, 0);
	assert_int_equal(WEXITSTATUS(status), EACCES);
	door_close(&other);
}

/* The cluster's, but a clock is wrong: it will be right. */
static void a_door_whose_certificate_is_over_is_tried_again(void **state)
{
	struct world *w = *state;
	struct guest g;
	gt_auto(buf) struct gt_buf json = { 0 };

	door_certify(&w->door, WEEK_MS);
	int ready = start(w, w->door.token);

	for (int i = 0; i < 3; i++)
		assert_false(door_guest(&w->door, WAIT_MS, &g)); /* it hung up, and came again */
	door_certify(&w->door, 0);
	assert_true(door_guest(&w->door, WAIT_MS, &g));
	door_sign(&w->door, g.body, "n-1", WEEK_MS, &json);
	guest_answer(&g, "201 Created", gt_buf_str(&json));
	is_ready(ready);
	guest_leave(&g);
}

static void a_no_ends_the_role_and_a_later_does_not(void **state)
{
	struct world *w = *state;
	struct guest g;

	gt_close(start(w, w->door.token));
	assert_true(door_guest(&w->door, WAIT_MS, &g));
	guest_answer(&g, "503 Service Unavailable", "{\"code\":\"control_unavailable\"}");
	guest_leave(&g);
	assert_true(door_guest(&w->door, WAIT_MS, &g));
	guest_leave(&g); /* without an answer */
	assert_true(door_guest(&w->door, WAIT_MS, &g));
	guest_answer(&g, "401 Unauthorized", "{\"code\":\"bad_join_token\",\"detail\":\"no\"}");
	assert_int_equal(WEXITSTATUS(stop(w, 0)), EACCES);
	guest_leave(&g);
}

static void a_name_that_is_taken_is_told(void **state)
{
	struct world *w = *state;
	struct guest g;

	gt_close(start(w, w->door.token));
	assert_true(door_guest(&w->door, WAIT_MS, &g));
	guest_answer(&g, "409 Conflict", "{\"code\":\"node_exists\"}");
	assert_int_equal(WEXITSTATUS(stop(w, 0)), EEXIST);
	guest_leave(&g);
}

static void a_certificate_is_renewed_before_it_ends(void **state)
{
	struct world *w = *state;
	gt_auto(buf) struct gt_buf json = { 0 };
	struct guest g, waits[3];
	size_t n = 0;

	let_in(w, 2000);
	while (true) {
		assert_true(door_guest(&w->door, WAIT_MS, &g));
		if (strstr(g.head, "POST /link/v1/nodes/n-1/certificate"))
			break;
		guest_say(&g, "HTTP/1.1 101 Switching Protocols\r\nGantry-Shards: 1\r\n\r\n");
		assert_true(n < GT_LEN(waits));
		waits[n++] = g;
	}
	assert_string_equal(g.node, "n-1");
	door_sign(&w->door, g.body, "n-1", WEEK_MS, &json);
	guest_answer(&g, "200 OK", gt_buf_str(&json));
	guest_leave(&g);
	assert_true(nobody_comes(w)); /* the new one is good for a while */
	while (n > 0)
		guest_leave(&waits[--n]);
}

/* It would be refused as soon as that clock is right: the present one stays, and it is asked again.
 */
static void a_certificate_of_a_clock_that_was_set_back_is_not_taken(void **state)
{
	struct world *w = *state;
	struct guest g, waits[3];
	size_t n = 0, asked = 0;

	w->door.back_ms = HOUR_MS;
	let_in(w, HOUR_MS + 600000); /* so it is due */
	while (asked < 2) {
		gt_auto(buf) struct gt_buf json = { 0 };

		assert_true(door_guest(&w->door, WAIT_MS, &g));
		if (!strstr(g.head, "POST /link/v1/nodes/n-1/certificate")) {
			guest_say(&g,
				  "HTTP/1.1 101 Switching Protocols\r\nGantry-Shards: 1\r\n\r\n");
			assert_true(n < GT_LEN(waits));
			waits[n++] = g;
			continue;
		}
		w->door.back_ms = asked++ ? 0 : 2 * HOUR_MS;
		door_sign(&w->door, g.body, "n-1", WEEK_MS, &json);
		guest_answer(&g, "200 OK", gt_buf_str(&json));
		guest_leave(&g);
	}
	assert_true(nobody_comes(w));
	while (n > 0)
		guest_leave(&waits[--n]);
}

/* Of a name's addresses the one where somebody answers is found. */
static void a_door_may_have_a_name(void **state)
{
	struct world *w = *state;
	struct guest g;
	char url[64];

	snprintf(url, sizeof(url), "https://localhost%s", strrchr(w->door.url, ':'));
	gt_strcopy(w->door.url, sizeof(w->door.url), url);
	let_in(w, WEEK_MS);
	take_pipe(w, 1, &g);
	guest_leave(&g);
}

static void what_is_no_door_is_refused(void **state)
{
	static const char *const urls[] = {
		"",
		"http://127.0.0.1:8080",
		"https://",
		"https://:8080",
		"https://host:",
		"https://host:0",
		"https://host:65536",
		"https://host:80x",
		"https://host/path",
		"https://host:80/x",
		"https://[::1",
		"https://[::1]x",
		"https://host:80:80",
	};
	static const char *const good[] = { "https://host",   "https://host/",
					    "https://host:1", "https://[::1]:8080",
					    "https://[::1]",  "https://10.0.0.1:65535/" };

	(void)state;
	for (size_t i = 0; i < GT_LEN(urls); i++)
		assert_int_equal(gt_uplink_check_url(urls[i], NULL), -EINVAL);
	for (size_t i = 0; i < GT_LEN(good); i++)
		assert_int_equal(gt_uplink_check_url(good[i], NULL), 0);
}

/* ---- pipes ---- */

static void so_many_wait_as_were_taken_lately(void **state)
{
	struct world *w = *state;
	struct guest g[12];
	unsigned per_shard[2] = { 0, 0 };

	let_in(w, WEEK_MS);
	for (size_t i = 0; i < 4; i++) /* two for each of two */
		per_shard[take_pipe(w, 2, &g[i])]++;
	assert_int_equal(per_shard[0], 2);
	assert_int_equal(per_shard[1], 2);
	assert_true(nobody_comes(w));
	for (size_t i = 0; i < 4; i++) /* each is replaced at once; nothing is at their ends yet */
		guest_say(&g[i], "agent\n");
	for (size_t i = 4; i < 8; i++)
		per_shard[take_pipe(w, 2, &g[i])]++;
	assert_int_equal(per_shard[0], 4);
	assert_int_equal(per_shard[1], 4);
	assert_true(nobody_comes(w));
	for (size_t i = 0; i < 8; i++)
		guest_leave(&g[i]);
}

/* A gateway that ends keeps some for the calls that wait there, and refuses one more: the next
 * gateway's are not put off until those end. */
static void one_that_ends_keeps_none_from_the_next(void **state)
{
	static const char no[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
	struct world *w = *state;
	struct guest kept, g, next[2];

	let_in(w, WEEK_MS);
	take_pipe(w, 1, &kept);
	take_pipe(w, 1, &g);
	guest_leave(&g);
	assert_true(door_guest(&w->door, WAIT_MS, &g));
	guest_say(&g, no);
	guest_leave(&g);
	take_pipe(w, 1, &next[0]);      /* as `kept` waits */
	guest_say(&next[0], "agent\n"); /* it is taken, and replaced */
	take_pipe(w, 1, &next[1]);
	guest_leave(&next[0]);
	guest_leave(&next[1]);
	guest_leave(&kept);
}

static int broker_accept(struct world *w)
{
	int fd = accept4(w->dial_fd, NULL, NULL, SOCK_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* The broker's question on fd is answered with one end of a pair, or an error. */
static int broker_answer(int fd, int error)
{
	struct gt_dial_ask ask;
	int pair[2] = { -EBADF, -EBADF };
	const struct timeval limit = { .tv_sec = 5 };

	assert_int_equal(recv(fd, &ask, sizeof(ask), 0), sizeof(ask));
	assert_string_equal(ask.replica, replica_id);
	struct gt_dial_answer a = { .tag = ask.tag, .error = error };

	if (!error) {
		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			0);
		fcntl(pair[0], F_SETFL, 0);
		setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	}
	assert_int_equal(gt_os_send(fd, &a, sizeof(a), &pair[1], error ? 0 : 1, NULL), 0);
	gt_close(pair[1]);
	return pair[0];
}

static void expect_line(struct guest *g, const char *line)
{
	char text[32] = "";

	assert_int_equal(guest_read(g, text, strlen(line)), strlen(line));
	assert_string_equal(text, line);
}

static void say_replica(struct guest *g)
{
	char line[64];

	snprintf(line, sizeof(line), "replica %s\n", replica_id);
	guest_say(g, line);
}

static void send_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		assert_true(n > 0);
		data += n;
		len -= (size_t)n;
	}
}

static void a_call_reaches_a_replica(void **state)
{
	struct world *w = *state;
	gt_auto(free) char *sent = gt_alloc(BIG);
	gt_auto(free) char *got = gt_alloc(BIG);
	char text[8] = "";
	struct guest g;

	let_in(w, WEEK_MS);
	take_pipe(w, 1, &g);
	say_replica(&g);
	gt_auto(fd) int broker = broker_accept(w);
	gt_auto(fd) int replica = broker_answer(broker, 0);
	expect_line(&g, "ok\n");
	guest_say(&g, "hello");
	assert_int_equal(recv(replica, text, 5, MSG_WAITALL), 5);
	assert_string_equal(text, "hello");
	for (size_t i = 0; i < BIG; i++)
		sent[i] = (char)(i * 31 >> 3);
	if (fork() == 0) { /* more than is ever on its way: somebody must read meanwhile */
		send_all(replica, sent, BIG);
		_exit(0);
	}
	assert_int_equal(guest_read(&g, got, BIG), BIG);
	assert_memory_equal(got, sent, BIG);
	wait(NULL);
	guest_shut(&g); /* the question is over, the answer is not */
	assert_int_equal(recv(replica, text, 1, 0), 0);
	send_all(replica, "bye", 3);
	replica = gt_close(replica);
	expect_line(&g, "bye");
	assert_int_equal(guest_read(&g, text, 1), 0);
	guest_leave(&g);
}

static void a_replica_that_is_not_there_is_told(void **state)
{
	struct world *w = *state;
	struct guest g;

	let_in(w, WEEK_MS);
	take_pipe(w, 1, &g);
	say_replica(&g);
	gt_auto(fd) int broker = broker_accept(w);

	broker_answer(broker, ENOENT);
	expect_line(&g, "err 2\n");
	guest_leave(&g);
}

static void a_broker_that_died_is_asked_again(void **state)
{
	struct world *w = *state;
	struct gt_dial_ask ask;
	struct guest g;
	char c;

	let_in(w, WEEK_MS);
	take_pipe(w, 1, &g);
	say_replica(&g);
	gt_auto(fd) int broker = broker_accept(w);
	assert_int_equal(recv(broker, &ask, sizeof(ask), 0), sizeof(ask));
	broker = gt_close(broker);
	broker = broker_accept(w);
	gt_auto(fd) int replica = broker_answer(broker, 0);
	expect_line(&g, "ok\n");
	/* One that breaks is no orderly end. */
	guest_leave(&g);
	assert_true(recv(replica, &c, 1, 0) <= 0);
}

static void the_agent_is_reached_and_nothing_else(void **state)
{
	static const char *const words[] = { "root\n", "replica 01\n",
					     "replica ../../agent.sock\n" };
	struct world *w = *state;
	struct guest g;

	let_in(w, WEEK_MS);
	take_pipe(w, 1, &g);
	guest_say(&g, "agent\nGET");
	gt_auto(fd) int agent = accept4(w->agent_fd, NULL, NULL, SOCK_CLOEXEC);
	char text[8] = "";

	assert_int_equal(recv(agent, text, 3, MSG_WAITALL), 3);
	assert_string_equal(text, "GET");
	expect_line(&g, "ok\n");
	guest_leave(&g);
	for (size_t i = 0; i < GT_LEN(words); i++) {
		take_pipe(w, 1, &g);
		guest_say(&g, words[i]);
		if (i > 0) { /* the broker says what it thinks of that name */
			struct gt_dial_ask ask;
			gt_auto(fd) int broker = broker_accept(w);

			assert_int_equal(recv(broker, &ask, sizeof(ask), 0), sizeof(ask));
			struct gt_dial_answer a = { .tag = ask.tag, .error = ENOENT };
			assert_int_equal(send(broker, &a, sizeof(a), 0), sizeof(a));
			expect_line(&g, "err 2\n");
		} else {
			expect_line(&g, "err 71\n");
		}
		guest_leave(&g);
	}
}

static void a_line_without_an_end_is_cut(void **state)
{
	struct world *w = *state;
	struct guest g;
	char text[80];

	let_in(w, WEEK_MS);
	take_pipe(w, 1, &g);
	memset(text, 'x', sizeof(text));
	guest_send(&g, text, sizeof(text));
	assert_int_equal(guest_read(&g, text, 1), 0);
	guest_leave(&g);
}

static void calls_in_flight_may_finish(void **state)
{
	struct world *w = *state;
	struct guest g;
	char c;

	let_in(w, WEEK_MS);
	take_pipe(w, 1, &g);
	guest_say(&g, "agent\n");
	gt_auto(fd) int agent = accept4(w->agent_fd, NULL, NULL, SOCK_CLOEXEC);
	expect_line(&g, "ok\n");
	kill(w->pid, SIGTERM);
	while (door_guest(&w->door, QUIET_MS, &(struct guest){ 0 }))
		; /* those that were under way */
	send_all(agent, "late", 4);
	expect_line(&g, "late");
	agent = gt_close(agent);
	assert_int_equal(guest_read(&g, &c, 1), 0);
	guest_leave(&g);
	assert_int_equal(WEXITSTATUS(stop(w, 0)), 0);
}

/* ---- the agent's way to control ---- */

static void the_agent_speaks_with_control(void **state)
{
	struct world *w = *state;
	struct guest g, pipes[2];
	char text[32] = "";

	let_in(w, WEEK_MS);
	take_pipe(w, 1, &pipes[0]);
	take_pipe(w, 1, &pipes[1]);
	gt_auto(fd) int agent = connect_to(w, "link.sock");
	send_all(agent, "GET /link/v1/nodes/n-1/desired HTTP/1.1\r\n\r\n", 43);
	assert_true(door_guest(&w->door, WAIT_MS, &g));
	assert_string_equal(g.node, "n-1");
	assert_string_equal(g.head, "GET /link/v1/nodes/n-1/desired HTTP/1.1\r\n\r\n");
	guest_say(&g, "HTTP/1.1 200 OK\r\n\r\n");
	assert_int_equal(recv(agent, text, 19, MSG_WAITALL), 19);
	/* Its end is told, so that the watch begins anew. */
	guest_leave(&g);
	assert_true(recv(agent, text, 1, 0) <= 0);
	guest_leave(&pipes[0]);
	guest_leave(&pipes[1]);
}

/* ---- several doors ---- */

static void away_to(struct guest *g, const char *url)
{
	char answer[200];

	snprintf(answer, sizeof(answer),
		 "HTTP/1.1 503 Service Unavailable\r\nGantry-Leader: %s\r\nContent-Length: "
		 "0\r\n\r\n",
		 url);
	guest_say(g, answer);
	guest_leave(g);
}

static void here_of(struct guest *g, const char *doors)
{
	char answer[300];

	snprintf(answer, sizeof(answer),
		 "HTTP/1.1 101 Switching Protocols\r\nGantry-Shards: 1\r\nGantry-Doors: %s\r\n\r\n",
		 doors);
	guest_say(g, answer);
}

static void is_pipe_at(struct door *d, struct guest *g)
{
	assert_true(door_guest(d, WAIT_MS, g));
	assert_non_null(strstr(g->head, "GET /link/v1/nodes/n-1/pipe?shard=0 "));
}

static void it_goes_to_the_door_that_leads(void **state)
{
	struct world *w = *state;
	struct door other;
	struct guest g, h;
	char text[8];

	door_open_other(&other, &w->door);
	let_in(w, WEEK_MS);
	is_pipe_at(&w->door, &g);
	gt_auto(fd) int agent = connect_to(w, "link.sock");
	send_all(agent, "GET /link/v1/nodes/n-1/desired HTTP/1.1\r\n\r\n", 43);
	assert_true(door_guest(&w->door, WAIT_MS, &h));
	assert_null(strstr(h.head, "/pipe"));
	away_to(&g, other.url);
	is_pipe_at(&other, &g);
	here_of(&g, other.url);
	/* What the agent had there has ended, and comes here when it asks again. */
	assert_true(recv(agent, text, sizeof(text), 0) <= 0);
	guest_leave(&g);
	guest_leave(&h);
	door_close(&other);
}

static void a_door_that_is_told_of_is_tried_when_the_first_is_gone(void **state)
{
	struct world *w = *state;
	struct gt_uplink_joined joined;
	struct door other;
	struct guest g, h, i;
	char doors[160], path[128];
	struct gt_err err;

	door_open_other(&other, &w->door);
	let_in(w, WEEK_MS);
	is_pipe_at(&w->door, &g);
	snprintf(doors, sizeof(doors), "%s nonsense %s", w->door.url, other.url);
	here_of(&g, doors);
	is_pipe_at(&w->door, &h);
	here_of(&h, doors);
	w->door.fd = gt_close(w->door.fd);
	guest_leave(&g);
	guest_leave(&h);
	/* It does not lead, and names the one that is gone, as it knows no better yet. */
	is_pipe_at(&other, &g);
	away_to(&g, w->door.url);
	is_pipe_at(&other, &g);
	here_of(&g, other.url);
	is_pipe_at(&other, &h); /* it is remembered by then */
	snprintf(path, sizeof(path), "%s/link", w->dir);
	assert_int_equal(gt_uplink_joined(path, &joined, &err), 0);
	assert_string_equal(joined.url, other.url);
	stop(w, SIGKILL);
	guest_leave(&g);
	guest_leave(&h);
	while (door_guest(&other, 0, &i))
		guest_leave(&i);
	is_ready(start(w, NULL));
	is_pipe_at(&other, &g);
	guest_leave(&g);
	door_close(&other);
}

int main(void)
{
#define WITH_WORLD(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_WORLD(a_token_becomes_an_identity_that_stays),
		WITH_WORLD(another_cluster_is_not_joined),
		WITH_WORLD(a_door_whose_certificate_is_over_is_tried_again),
		WITH_WORLD(a_no_ends_the_role_and_a_later_does_not),
		WITH_WORLD(a_name_that_is_taken_is_told),
		WITH_WORLD(a_certificate_is_renewed_before_it_ends),
		WITH_WORLD(a_certificate_of_a_clock_that_was_set_back_is_not_taken),
		WITH_WORLD(a_door_may_have_a_name),
		cmocka_unit_test(what_is_no_door_is_refused),
		WITH_WORLD(so_many_wait_as_were_taken_lately),
		WITH_WORLD(one_that_ends_keeps_none_from_the_next),
		WITH_WORLD(a_call_reaches_a_replica),
		WITH_WORLD(a_replica_that_is_not_there_is_told),
		WITH_WORLD(a_broker_that_died_is_asked_again),
		WITH_WORLD(the_agent_is_reached_and_nothing_else),
		WITH_WORLD(a_line_without_an_end_is_cut),
		WITH_WORLD(calls_in_flight_may_finish),
		WITH_WORLD(the_agent_speaks_with_control),
		WITH_WORLD(it_goes_to_the_door_that_leads),
		WITH_WORLD(a_door_that_is_told_of_is_tried_when_the_first_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
