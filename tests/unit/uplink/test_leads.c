/* test_leads.c - the role where the own control has the store: the test plays that control, which
 * tells who leads, the gateway here, which names the door that it wants, and those doors. */
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
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/clock.h>
#include <gantry/base/log.h>
#include <gantry/uplink/uplink.h>
#include <gantry/wire/json.h>
#include <gantry/wire/leader.h>

#include "door.h"

#define WAIT_MS  5000
#define QUIET_MS 150 /* nothing comes */
#define HOUR_MS  (3600ULL * 1000)

static const char *const sockets[] = { "lead.sock", "link.sock", "forward.sock", "agent.sock" };

struct world {
	struct door there, yonder;
	char dir[64];
	int lead_fd, link_fd, forward_fd, agent_fd;
	int watch; /* control's end of the one that the role has */
	pid_t pid;
};

static struct sockaddr_un address(const struct world *w, const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/%s", w->dir, name);
	return at;
}

static int listen_at(struct world *w, const char *name)
{
	struct sockaddr_un at = address(w, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static int connect_to(struct world *w, const char *name)
{
	const struct timeval limit = { .tv_sec = WAIT_MS / 1000 };
	struct sockaddr_un at = address(w, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* All that comes until there are so many bytes, or the end. */
static const char *hear(int fd, size_t most)
{
	static char text[256];
	size_t len = 0;
	ssize_t n;

	while (len < GT_MIN(most, sizeof(text) - 1) &&
	       (n = recv(fd, text + len, GT_MIN(most, sizeof(text) - 1) - len, 0)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return text;
}

/* ---- control ---- */

/* The next request there; the connection is the caller's. */
static int asked(int listen_fd, char *text, size_t size)
{
	struct pollfd p = { .fd = listen_fd, .events = POLLIN };
	const char *length, *end;
	size_t len = 0;
	ssize_t n;
	int fd;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	*text = '\0';
	do {
		n = recv(fd, text + len, size - 1 - len, 0);
		assert_true(n > 0);
		len += (size_t)n;
		text[len] = '\0';
		end = strstr(text, "\r\n\r\n");
		length = strstr(text, "Content-Length: ");
	} while (!end ||
		 (length && len < (size_t)(end + 4 - text) + strtoul(length + 16, NULL, 10)));
	return fd;
}

static void certifies(struct world *w)
{
	gt_auto(buf) struct gt_buf cert = { 0 }, json = { 0 }, answer = { 0 };
	char text[4096];
	gt_auto(fd) int fd = asked(w->lead_fd, text, sizeof(text));
	const char *csr = strstr(text, "\r\n\r\n") + 4;
	struct gt_json j;
	struct gt_err err;

	assert_non_null(strstr(text, "POST /link/v1/gateways/n-1/certificate HTTP/1.1\r\n"));
	assert_int_equal(gt_pki_sign(w->there.ca, csr, strlen(csr), GT_PKI_GATEWAY, "n-1",
				     gt_wall_ms(&gt_clock_system), HOUR_MS, &cert, &err),
			 0);
	gt_json_begin(&j, &json);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "certificate", gt_buf_str(&cert));
	gt_json_str(&j, "ca", gt_pki_ca_pem(w->there.ca));
	gt_json_close(&j, '}');
	gt_buf_addf(&answer,
		    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
		    json.len, gt_buf_str(&json));
	say(fd, gt_buf_str(&answer));
}

/* door NULL: the daemon here does. */
static void leads(struct world *w, uint64_t epoch, const char *door)
{
	struct gt_leader l = { .state = door ? GT_LEADER_OTHER : GT_LEADER_SELF, .epoch = epoch };
	gt_auto(buf) struct gt_buf line = { 0 }, chunk = { 0 };

	gt_strcopy(l.door, sizeof(l.door), door ? door : "");
	gt_strcopy(l.own_door, sizeof(l.own_door), "https://here:1");
	gt_leader_write(&l, &line);
	gt_buf_addf(&chunk, "%zx\r\n%s\r\n", line.len, gt_buf_str(&line));
	say(w->watch, gt_buf_str(&chunk));
}

/* ---- the role ---- */

static void start(struct world *w)
{
	char text[4096];

	w->pid = fork();
	if (w->pid == 0) {
		struct sockaddr_un lead = address(w, "lead.sock");
		struct sockaddr_un agent = address(w, "agent.sock");
		struct gt_uplink_config config = { .dir = "",
						   .url = "",
						   .token = "",
						   .node = "n-1",
						   .dial_path = "",
						   .agent_path = agent.sun_path,
						   .link_fd = w->link_fd,
						   .lead_path = lead.sun_path,
						   .forward_fd = w->forward_fd,
						   .ready_fd = -1,
						   .drain_ms = WAIT_MS };
		struct gt_err err = { 0 };

		gt_close(w->there.fd);
		gt_close(w->yonder.fd);
		gt_close(w->lead_fd);
		gt_close(w->agent_fd);
		gt_log_init("uplink", GT_ERROR);
		_exit(-gt_uplink_run(&config, &err));
	}
	certifies(w);
	w->watch = asked(w->lead_fd, text, sizeof(text));
	assert_non_null(strstr(text, "GET /link/v1/leader HTTP/1.1\r\n"));
	say(w->watch, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

static int set_up(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));

	signal(SIGPIPE, SIG_IGN);
	snprintf(w->dir, sizeof(w->dir), "/tmp/gantry-uplink-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	door_open(&w->there);
	door_open_other(&w->yonder, &w->there);
	w->there.gateways = w->yonder.gateways = true;
	w->lead_fd = listen_at(w, sockets[0]);
	w->link_fd = listen_at(w, sockets[1]);
	w->forward_fd = listen_at(w, sockets[2]);
	w->agent_fd = listen_at(w, sockets[3]);
	*state = w;
	start(w);
	leads(w, 5, NULL);
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	if (w->pid > 0) { /* else it has ended */
		kill(w->pid, SIGKILL);
		waitpid(w->pid, NULL, 0);
	}
	door_close(&w->there);
	door_close(&w->yonder);
	gt_close(w->lead_fd);
	gt_close(w->link_fd);
	gt_close(w->forward_fd);
	gt_close(w->agent_fd);
	gt_close(w->watch);
	for (size_t i = 0; i < GT_LEN(sockets); i++)
		unlink(address(w, sockets[i]).sun_path);
	rmdir(w->dir);
	free(w);
	return 0;
}

/* The gateway here asks for a door; when it is there it says hello. A process of its own, as the
 * door waits for the word. */
static pid_t wants(struct world *w, uint64_t epoch, const char *door)
{
	char line[300];
	pid_t pid = fork();
	int fd;

	if (pid)
		return pid;
	fd = connect_to(w, "forward.sock");
	snprintf(line, sizeof(line), "%llu %s\n", (unsigned long long)epoch, door);
	say(fd, line);
	if (strcmp(hear(fd, 3), "ok\n") != 0)
		_exit(1);
	say(fd, "GET /hello HTTP/1.1\r\n\r\n");
	_exit(strcmp(hear(fd, 2), "hi") != 0);
}

static struct guest comes_to(struct door *door)
{
	struct guest g;

	do { /* pipes come, too, where that one leads */
		assert_true(door_guest(door, WAIT_MS, &g));
		if (strstr(g.head, "/hello"))
			break;
		guest_leave(&g);
	} while (true);
	assert_string_equal(g.node, "n-1");
	return g;
}

static void is_answered(struct guest *g, pid_t pid)
{
	int status = -1;

	guest_say(g, "hi");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	guest_leave(g);
}

static void is_served_at(struct door *door, pid_t pid)
{
	struct guest g = comes_to(door);

	is_answered(&g, pid);
}

static bool is_quiet(int listen_fd)
{
	struct pollfd p = { .fd = listen_fd, .events = POLLIN };

	return poll(&p, 1, QUIET_MS) == 0;
}

static bool nobody_comes(const struct door *d)
{
	return is_quiet(d->fd);
}

static void is_pipe_at(struct door *door)
{
	struct guest g;

	assert_true(door_guest(door, WAIT_MS, &g));
	assert_non_null(strstr(g.head, "GET /link/v1/nodes/n-1/pipe?shard="));
	guest_leave(&g);
}

/* ---- tests ---- */

static void a_gateway_that_leads_asks_at_another_door(void **state)
{
	struct world *w = *state;

	is_served_at(&w->there, wants(w, 0, w->there.url));
	is_served_at(&w->yonder, wants(w, 0, w->yonder.url));
	assert_true(nobody_comes(&w->there)); /* which moves nothing else there */
}

static void that_nobody_listens_is_told(void **state)
{
	struct world *w = *state;
	char line[300];
	int fd = connect_to(w, "forward.sock");

	snprintf(line, sizeof(line), "0 %s\n", w->yonder.url);
	w->yonder.fd = gt_close(w->yonder.fd);
	say(fd, line);
	assert_string_equal(hear(fd, 100), "none\n");
	gt_close(fd);
}

static void what_names_no_door_is_closed(void **state)
{
	static const char *const rows[] = { "\n",
					    "https://a:1\n",
					    "x https://a:1\n",
					    "-1 https://a:1\n",
					    "1 http://a:1\n",
					    "1  https://a:1\n",
					    "1 https://\n",
					    "99999999999999999999 https://a:1\n" };
	struct world *w = *state;
	char flood[2048];
	int fd;

	for (size_t i = 0; i < GT_LEN(rows); i++) {
		fd = connect_to(w, "forward.sock");
		say(fd, rows[i]);
		assert_string_equal(hear(fd, 100), "");
		gt_close(fd);
	}
	memset(flood, '1', sizeof(flood));
	fd = connect_to(w, "forward.sock");
	(void)!send(fd, flood, sizeof(flood), MSG_NOSIGNAL);
	assert_string_equal(hear(fd, 100), "");
	gt_close(fd);
	is_served_at(&w->there, wants(w, 0, w->there.url)); /* and nothing else happened */
}

/* Control hangs: all that this host has goes to the one that the gateway has heard of. The agent,
 * which that control does not let go, is told. */
static void the_gateway_may_know_before_control_does(void **state)
{
	struct world *w = *state;
	struct guest g;
	char text[4096];
	int agent;

	assert_true(nobody_comes(&w->there));
	is_served_at(&w->there, wants(w, 6, w->there.url));
	agent = asked(w->agent_fd, text, sizeof(text));
	assert_non_null(strstr(text, "POST /link/v1/reconnect HTTP/1.1\r\n"));
	say(agent, "HTTP/1.1 204 No Content\r\n\r\n");
	gt_close(agent);
	is_pipe_at(&w->there);
	agent = connect_to(w, "link.sock");
	say(agent, "GET /link/v1/nodes/n-1/desired HTTP/1.1\r\n\r\n");
	do { /* pipes that were closed come again */
		assert_true(door_guest(&w->there, WAIT_MS, &g));
		guest_leave(&g);
	} while (!strstr(g.head, "/desired"));
	gt_close(agent);
}

static void what_an_older_one_says_is_not_followed(void **state)
{
	struct world *w = *state;

	leads(w, 7, w->there.url);
	is_pipe_at(&w->there);
	leads(w, 6, w->yonder.url);
	leads(w, 6, NULL);
	is_served_at(&w->yonder, wants(w, 6, w->yonder.url)); /* asked for, and no more */
	assert_true(nobody_comes(&w->yonder));
	is_pipe_at(&w->there);
	leads(w, 8, w->yonder.url);
	is_pipe_at(&w->yonder);
	assert_true(is_quiet(w->agent_fd)); /* a control that says so has let the agent go */
}

/* What can not be understood is answered by the end of the connection. */
static bool takes_what_is_passed_on(struct world *w)
{
	struct pollfd p = { .fd = connect_to(w, "forward.sock"), .events = POLLIN };
	bool takes;

	say(p.fd, "\n");
	takes = poll(&p, 1, QUIET_MS) == 1;
	gt_close(p.fd);
	return takes;
}

/* The next uplink is there, and takes what comes. */
static void what_was_passed_on_may_finish(void **state)
{
	struct world *w = *state;
	pid_t gateway = wants(w, 0, w->there.url);
	struct guest g = comes_to(&w->there);
	int status = -1;

	kill(w->pid, SIGTERM);
	while (takes_what_is_passed_on(w))
		;
	assert_int_equal(waitpid(w->pid, &status, WNOHANG), 0);
	is_answered(&g, gateway);
	assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
	assert_int_equal(status, 0);
	w->pid = 0;
}

int main(void)
{
#define WITH_WORLD(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_WORLD(a_gateway_that_leads_asks_at_another_door),
		WITH_WORLD(that_nobody_listens_is_told),
		WITH_WORLD(what_names_no_door_is_closed),
		WITH_WORLD(the_gateway_may_know_before_control_does),
		WITH_WORLD(what_an_older_one_says_is_not_followed),
		WITH_WORLD(what_was_passed_on_may_finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
