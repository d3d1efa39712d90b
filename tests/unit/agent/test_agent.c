/* test_agent.c - a whole agent process against a control that this test plays: orders go down a
 * watch, reports come up, the broker hands out sockets, replicas outlive their agent. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/agent/agent.h>
#include <gantry/http/client.h>
#include <gantry/http/server.h>
#include <gantry/model/dial.h>
#include <gantry/os/os.h>
#include <gantry/wire/wire.h>

#define WAIT_MS  15000
#define SEEN_MAX 16

struct world {
	char dir[64];
	struct gt_loop *loop;
	struct gt_http_server *server;
	struct gt_http_client *client;
	struct gt_loop *hung; /* of a control before this one, which does nothing any more */
	struct gt_http_server *hung_server;
	struct gt_http_client *hung_client;
	int link_fd, agent_fd, dial_fd;
	pid_t agent;
	struct gt_stream *watch;
	uint64_t epoch, seq;
	bool old;                         /* lines are of a control before this one */
	bool deaf;                        /* reports do not arrive */
	unsigned unheard;                 /* so many have not */
	bool known;                       /* orders say that the node has reported it */
	struct gt_order orders[SEEN_MAX]; /* what the snapshot lists */
	size_t n_orders;
	struct gt_observed seen[SEEN_MAX]; /* the last word on each replica */
	size_t n_seen;
	unsigned reports, full_reports;
	char logs[8192];
	bool logs_done;
};

/* ---- control, as the agent sees it ---- */

static void send_line(struct world *w, struct gt_line *line)
{
	gt_auto(buf) struct gt_buf out = { 0 };

	line->epoch = w->epoch - w->old;
	line->seq = ++w->seq;
	gt_line_write(line, &out);
	assert_non_null(w->watch);
	assert_int_equal(gt_stream_write(w->watch, out.data, out.len), 0);
}

static void on_watch_close(void *arg)
{
	((struct world *)arg)->watch = NULL;
}

static void get_desired(struct gt_request *req, void *app)
{
	struct world *w = app;
	struct gt_line line = { .type = GT_LINE_SNAPSHOT,
				.orders = w->orders,
				.n_orders = w->n_orders };

	w->watch = gt_request_stream(req, 200, "application/x-ndjson");
	gt_stream_on_close(w->watch, on_watch_close, w);
	send_line(w, &line);
}

static struct gt_observed *seen_slot(struct world *w, const char *replica)
{
	for (size_t i = 0; i < w->n_seen; i++) {
		if (gt_streq(w->seen[i].replica, replica))
			return &w->seen[i];
	}
	assert_true(w->n_seen < SEEN_MAX);
	return &w->seen[w->n_seen++];
}

static void post_report(struct gt_request *req, void *app)
{
	const struct gt_buf *body = gt_request_body(req);
	struct gt_report report;
	struct world *w = app;
	struct gt_err err = { 0 };

	if (w->deaf) {
		w->unheard++;
		gt_request_reply(req, 503, NULL, NULL);
		return;
	}
	if (gt_report_read(body->data, body->len, &report, &err) < 0)
		fail_msg("%s: %s", err.path, err.text);
	assert_string_equal(report.node, "n1");
	assert_int_equal(report.epoch, w->epoch);
	assert_true(report.cpu_milli >= 1000 && report.memory_bytes > 0);
	w->reports++;
	w->full_reports += report.full;
	assert_int_equal(report.n_gpus, report.full ? 2 : 0);
	assert_int_equal(report.n_labels, report.full ? 2 : 0);
	for (size_t i = 0; i < report.n_replicas; i++) {
		struct gt_observed *slot = seen_slot(w, report.replicas[i].replica);

		gt_observed_fini(slot);
		*slot = report.replicas[i];
	}
	report.n_replicas = 0; /* moved */
	gt_report_fini(&report);
	gt_request_reply(req, 204, NULL, NULL);
}

static void refuse(struct gt_request *req, const struct gt_err *err, void *app)
{
	(void)app;
	(void)err;
	gt_request_reply(req, 404, NULL, NULL);
}

static const struct gt_http_route routes[] = {
	{ GT_GET, "/link/v1/nodes/{node}/desired", GT_ROLE_NONE, 0, get_desired, "d", "d" },
	{ GT_POST, "/link/v1/nodes/{node}/report", GT_ROLE_NONE, 1 << 20, post_report, "r", "r" },
};

/* ---- set-up ---- */

static int listen_at(struct world *w, const char *name, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/run/%s", w->dir, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static void start_agent(struct world *w)
{
	int ready[2];
	char text[6];

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	w->agent = fork();
	if (w->agent == 0) {
		struct gt_agent_config config = {
			.state_dir = w->dir,
			.node = "n1",
			.gpus = "sim:2x8GiB:H100",
			.labels = "zone=a,rack=7",
			.agent_fd = w->agent_fd,
			.dial_fd = w->dial_fd,
			.ready_fd = ready[1],
			.pool = 1,
			.allow_host_image = true,
			.usage_ms = 100,
		};
		struct gt_err err = { 0 };
		int r = gt_agent_run(&config, &err);

		if (r < 0)
			fprintf(stderr, "agent: %s\n", err.text);
		exit(r < 0);
	}
	gt_close(ready[1]);
	assert_int_equal(read(ready[0], text, sizeof(text)), 6);
	assert_memory_equal(text, "READY\n", 6);
	gt_close(ready[0]);
}

static void stop_agent(struct world *w, int signo)
{
	int status = -1;

	assert_int_equal(kill(w->agent, signo), 0);
	assert_int_equal(waitpid(w->agent, &status, 0), w->agent);
	if (signo != SIGKILL)
		assert_int_equal(status, 0);
}

static void serve_link(struct world *w)
{
	struct gt_http_config config = { .listen_fd = w->link_fd,
					 .routes = routes,
					 .n_routes = GT_LEN(routes),
					 .hooks = { .refuse = refuse },
					 .app = w };

	assert_int_equal(gt_http_server_new(w->loop, &config, &w->server, NULL), 0);
}

static int set_up(void **state)
{
	struct world *w;
	char path[96];

	*state = NULL;
	if (geteuid() != 0)
		return 0;
	w = gt_alloc(sizeof(*w));
	gt_strcopy(w->dir, sizeof(w->dir), "/tmp/gantry-agent-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(path, sizeof(path), "%s/run", w->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	w->epoch = 1;
	w->link_fd = listen_at(w, "link.sock", SOCK_STREAM);
	w->agent_fd = listen_at(w, "agent.sock", SOCK_STREAM);
	w->dial_fd = listen_at(w, "dial.sock", SOCK_SEQPACKET);
	start_agent(w); /* before there are threads and a loop of ours to inherit */
	assert_int_equal(gt_loop_new(&w->loop, NULL), 0);
	assert_int_equal(gt_http_client_new(w->loop, &w->client, NULL), 0);
	serve_link(w);
	*state = w;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int tear_down(void **state)
{
	struct world *w = *state;
	struct gt_err err = { 0 };

	if (!w)
		return 0;
	kill(w->agent, SIGKILL);
	waitpid(w->agent, NULL, 0);
	if (gt_agent_cleanup(w->dir, &err) < 0)
		print_message("%s\n", err.text);
	gt_http_server_free(w->server);
	gt_http_client_free(w->client);
	gt_loop_free(w->loop);
	gt_http_server_free(w->hung_server);
	gt_http_client_free(w->hung_client);
	gt_loop_free(w->hung);
	for (size_t i = 0; i < w->n_seen; i++)
		gt_observed_fini(&w->seen[i]);
	for (size_t i = 0; i < w->n_orders; i++)
		gt_order_fini(&w->orders[i]);
	gt_close(w->link_fd);
	gt_close(w->agent_fd);
	gt_close(w->dial_fd);
	nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(w);
	return 0;
}

/* ---- steps ---- */

static bool wait_for(struct world *w, bool (*done)(struct world *w, const void *arg),
		     const void *arg)
{
	uint64_t until_ns = gt_mono_ns(&gt_clock_system) + WAIT_MS * GT_NS_PER_MS;

	while (!done(w, arg)) {
		if (gt_mono_ns(&gt_clock_system) > until_ns)
			return false;
		assert_int_equal(gt_loop_step(w->loop, 50, NULL), 0);
	}
	return true;
}

struct expected {
	const char *replica;
	enum gt_replica_state state;
};

static bool in_state(struct world *w, const void *arg)
{
	const struct expected *e = arg;
	const struct gt_observed *o = seen_slot(w, e->replica);

	gt_strcopy(seen_slot(w, e->replica)->replica, GT_REPLICA_ID_SIZE, e->replica);
	return o->state == e->state;
}

static bool usage_is_known(struct world *w, const void *arg)
{
	return seen_slot(w, arg)->usage.has & GT_USAGE_CPU;
}

static struct gt_observed *expect_state(struct world *w, const char *replica,
					enum gt_replica_state state)
{
	struct expected e = { replica, state };

	if (!wait_for(w, in_state, &e))
		fail_msg("%s is %s, not %s: %s", replica,
			 gt_replica_state_name(seen_slot(w, replica)->state),
			 gt_replica_state_name(state), seen_slot(w, replica)->end.text);
	return seen_slot(w, replica);
}

static bool watch_is_up(struct world *w, const void *arg)
{
	(void)arg;
	return w->watch && w->full_reports > 0;
}

static void await_link(struct world *w)
{
	assert_true(wait_for(w, watch_is_up, NULL));
}

static void order(struct world *w, const char *replica, enum gt_want want, const char *spec_json,
		  uint64_t grace_ms)
{
	struct gt_order o = {
		.revision = 1, .want = want, .known = w->known, .grace_ms = grace_ms
	};
	struct gt_line line = { .type = GT_LINE_ORDER, .orders = &o, .n_orders = 1 };

	gt_strcopy(o.replica, sizeof(o.replica), replica);
	gt_strcopy(o.function, sizeof(o.function), "hello");
	o.spec_json = (char *)spec_json;
	send_line(w, &line);
	if (w->old) /* which lists nothing */
		return;
	for (size_t i = 0; i < w->n_orders; i++) {
		if (gt_streq(w->orders[i].replica, replica)) {
			w->orders[i].want = want;
			return;
		}
	}
	o.spec_json = gt_strdup(spec_json);
	w->orders[w->n_orders++] = o;
}

/* With GPUs; a snapshot would order it without. */
static void order_gpus(struct world *w, const char *replica, const char *spec_json,
		       const struct gt_gpu_grant *gpus, size_t n)
{
	struct gt_order o = { .revision = 1, .gpus = (struct gt_gpu_grant *)gpus, .n_gpus = n };
	struct gt_line line = { .type = GT_LINE_ORDER, .orders = &o, .n_orders = 1 };

	gt_strcopy(o.replica, sizeof(o.replica), replica);
	gt_strcopy(o.function, sizeof(o.function), "hello");
	o.spec_json = (char *)spec_json;
	send_line(w, &line);
}

static void on_logs(int status, const char *body, size_t len, const struct gt_err *err, void *arg)
{
	struct world *w = arg;

	(void)err;
	assert_int_equal(status, 200);
	snprintf(w->logs, sizeof(w->logs), "%.*s", (int)len, body);
	w->logs_done = true;
}

static bool logs_are_done(struct world *w, const void *arg)
{
	(void)arg;
	return w->logs_done;
}

static const char *get_logs(struct world *w, const char *query)
{
	struct gt_http_call *call;
	char path[96], url[160];
	struct gt_http_out out = {
		.method = "GET", .unix_path = path, .url = url, .on_done = on_logs, .arg = w
	};

	snprintf(path, sizeof(path), "%s/run/agent.sock", w->dir);
	snprintf(url, sizeof(url), "http://agent/link/v1/logs?function=hello%s", query);
	w->logs_done = false;
	assert_int_equal(gt_http_start(w->client, &out, &call, NULL), 0);
	assert_true(wait_for(w, logs_are_done, NULL));
	return w->logs;
}

/* Asks the broker; the errno, or 0 and a connected socket. */
static int dial(struct world *w, const char *replica, int *ret)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct gt_dial_ask ask = { .tag = 77 };
	struct gt_dial_answer answer;
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	size_t len, n_fds = 0;
	struct pollfd p = { sock, POLLIN, 0 };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/run/dial.sock", w->dir);
	gt_strcopy(ask.replica, sizeof(ask.replica), replica);
	assert_int_equal(connect(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(send(sock, &ask, sizeof(ask), 0), sizeof(ask));
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(gt_os_recv(sock, &answer, sizeof(answer), &len, ret, 1, &n_fds, NULL), 0);
	assert_int_equal(answer.tag, 77);
	assert_int_equal(n_fds, answer.error == 0);
	gt_close(sock);
	return answer.error;
}

#define NEEDS_ROOT(w)                                   \
	struct world *w = *state;                       \
	if (!w) {                                       \
		print_message("skipped: needs root\n"); \
		skip();                                 \
	}

/* Says "hi" to whoever connects. */
#define SERVER                                                                    \
	"{\"image\":\"host:\",\"command\":[\"python3\",\"-u\",\"-c\","            \
	"\"import socket,signal,sys\\n"                                           \
	"s=socket.create_server(('127.0.0.1',8000));print('up',flush=True)\\n"    \
	"while 1:\\n c,a=s.accept();c.sendall(b'hi');c.close()\"],\"port\":8000," \
	"\"env\":{\"PATH\":\"/usr/bin:/bin\"}}"
#define SHELL(script) \
	"{\"image\":\"host:\",\"command\":[\"sh\",\"-c\",\"" script "\"],\"port\":8000}"

#define A "01AAAAAAAAAAAAAAAAAAAAAAAA"
#define B "01BBBBBBBBBBBBBBBBBBBBBBBB"

static void a_replica_from_order_to_forget(void **state)
{
	struct gt_line forget = { .type = GT_LINE_FORGET };
	struct gt_observed *o;
	char text[8] = "", path[128];
	int fd;

	NEEDS_ROOT(w);
	await_link(w);
	order(w, A, GT_WANT_RUN, SERVER, 0);
	o = expect_state(w, A, GT_REPLICA_READY);
	assert_true(o->pid > 0 && o->phases.sandbox_us && o->phases.root_us && o->phases.exec_us &&
		    o->phases.ready_us);
	assert_int_equal(dial(w, A, &fd), 0);
	struct pollfd p = { fd, POLLIN, 0 };
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(read(fd, text, 2), 2);
	assert_string_equal(text, "hi");
	gt_close(fd);
	assert_true(wait_for(w, usage_is_known, A));
	assert_true(o->usage.cpu_us > 0 && o->usage.pids == 2); /* with process 1 */
	assert_int_equal(dial(w, B, &fd), ENOENT);
	assert_non_null(strstr(get_logs(w, ""), "\"line\":\"up\""));
	order(w, A, GT_WANT_STOP, "", 5000);
	o = expect_state(w, A, GT_REPLICA_STOPPED);
	assert_int_equal(o->end.signal, SIGTERM);
	gt_strcopy(forget.name, sizeof(forget.name), A);
	send_line(w, &forget);
	snprintf(path, sizeof(path), "%s/agent/replicas/" A, w->dir);
	for (int i = 0; i < 200 && access(path, F_OK) == 0; i++)
		assert_int_equal(gt_loop_step(w->loop, 10, NULL), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_non_null(strstr(get_logs(w, "&replica=" A), "\"line\":\"up\"")); /* logs stay */
}

static void a_crash_leaves_no_memory_behind(void **state)
{
	struct rlimit any = { RLIM_INFINITY, RLIM_INFINITY };
	int status = 0;

	NEEDS_ROOT(w);
	if (prlimit(w->agent, RLIMIT_CORE, &any, NULL) < 0) {
		print_message("skipped: no dump could be made at all\n");
		skip();
	}
	await_link(w);
	assert_int_equal(kill(w->agent, SIGABRT), 0);
	assert_int_equal(waitpid(w->agent, &status, 0), w->agent);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_false(WCOREDUMP(status));
}

static void failures_tell_why(void **state)
{
	struct gt_observed *o;

	NEEDS_ROOT(w);
	await_link(w);
	order(w, A, GT_WANT_RUN, SHELL("echo first; echo last words >&2; exit 9"), 0);
	o = expect_state(w, A, GT_REPLICA_FAILED);
	assert_string_equal(o->end.cause, "exited_early");
	assert_int_equal(o->end.exit_code, 9);
	assert_non_null(strstr(o->end.log_tail, "last words"));
	order(w, B, GT_WANT_RUN, "{\"image\":\"dir:/nowhere\",\"command\":[\"x\"],\"port\":1}", 0);
	o = expect_state(w, B, GT_REPLICA_FAILED);
	assert_string_equal(o->end.cause, "image_missing");
	order(w, "01CCCCCCCCCCCCCCCCCCCCCCCC", GT_WANT_RUN, "{\"image\":7}", 0);
	o = expect_state(w, "01CCCCCCCCCCCCCCCCCCCCCCCC", GT_REPLICA_FAILED);
	assert_string_equal(o->end.cause, "sandbox_failed");
	order(w, "01DDDDDDDDDDDDDDDDDDDDDDDD", GT_WANT_RUN,
	      "{\"image\":\"host:\",\"command\":[\"sleep\",\"60\"],\"port\":1,"
	      "\"ready\":{\"timeout\":\"200ms\"}}",
	      0);
	o = expect_state(w, "01DDDDDDDDDDDDDDDDDDDDDDDD", GT_REPLICA_FAILED);
	assert_string_equal(o->end.cause, "not_ready_in_time");
	/* What was never ordered to run can be ordered to stop. */
	order(w, "01EEEEEEEEEEEEEEEEEEEEEEEE", GT_WANT_STOP, SHELL("true"), 0);
	expect_state(w, "01EEEEEEEEEEEEEEEEEEEEEEEE", GT_REPLICA_STOPPED);
}

/* Refuses twice, then is ready: an open port alone is not enough. */
#define SLOW_SERVER                                                                            \
	"{\"image\":\"host:\",\"command\":[\"python3\",\"-u\",\"-c\","                         \
	"\"import socket\\ns=socket.create_server(('127.0.0.1',8000));n=0\\n"                  \
	"while 1:\\n c,a=s.accept();r=c.recv(999);n+=1;print(n,r.split()[1],flush=True)\\n"    \
	" c.sendall(b'HTTP/1.1 503 no\\\\r\\\\n' if n<3 else b'HTTP/1.1 204 ok\\\\r\\\\n')\\n" \
	" c.close()\"],\"port\":8000,\"ready\":{\"path\":\"/health?x\"},"                      \
	"\"env\":{\"PATH\":\"/usr/bin:/bin\"}}"

static void ready_is_what_the_path_says(void **state)
{
	NEEDS_ROOT(w);
	await_link(w);
	order(w, A, GT_WANT_RUN, SLOW_SERVER, 0);
	expect_state(w, A, GT_REPLICA_READY);
	while (!strstr(get_logs(w, ""), "3 b'/health?x'"))
		;
	assert_non_null(strstr(get_logs(w, ""), "2 b'/health?x'"));
}

static void the_deaf_are_killed_after_the_grace(void **state)
{
	struct gt_observed *o;

	NEEDS_ROOT(w);
	await_link(w);
	order(w, A, GT_WANT_RUN, SHELL("trap '' TERM; echo deaf; while :; do sleep 1; done"), 0);
	while (!strstr(get_logs(w, ""), "deaf"))
		;
	order(w, A, GT_WANT_STOP, "", 100);
	o = expect_state(w, A, GT_REPLICA_STOPPED);
	assert_int_equal(o->end.signal, SIGKILL);
}

static void replicas_outlive_their_agent(void **state)
{
	int64_t pid;
	int fd;

	NEEDS_ROOT(w);
	await_link(w);
	order(w, A, GT_WANT_RUN, SERVER, 0);
	order(w, B, GT_WANT_RUN, SHELL("sleep 1000"), 0);
	pid = expect_state(w, A, GT_REPLICA_READY)->pid;
	while (seen_slot(w, B)->pid == 0)
		assert_int_equal(gt_loop_step(w->loop, 50, NULL), 0);
	/* One dies while nobody looks. */
	pid_t dead = (pid_t)seen_slot(w, B)->pid;
	stop_agent(w, SIGKILL);
	kill(dead, SIGKILL);
	w->full_reports = 0;
	memset(seen_slot(w, A), 0, sizeof(w->seen[0]));
	gt_strcopy(w->seen[0].replica, sizeof(w->seen[0].replica), A);
	start_agent(w);
	await_link(w);
	assert_int_equal(expect_state(w, A, GT_REPLICA_READY)->pid, pid);
	assert_true(seen_slot(w, A)->phases.exec_us > 0);
	assert_true(wait_for(w, usage_is_known, A)); /* though nobody started it */
	assert_string_equal(expect_state(w, B, GT_REPLICA_FAILED)->end.cause, "exited_early");
	assert_int_equal(dial(w, A, &fd), 0);
	gt_close(fd);
	stop_agent(w, SIGTERM); /* leaves it too */
	assert_int_equal(kill((pid_t)pid, 0), 0);
	start_agent(w);
	stop_agent(w, SIGINT); /* takes it along */
	char path[128];
	snprintf(path, sizeof(path), "%s/agent/replicas/" A, w->dir);
	assert_int_equal(access(path, F_OK), -1);
	/* Gone, but for a line in the process table until its adoptive parent looks. */
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	assert_int_equal(access(path, R_OK), -1);
}

static void a_new_control_asks_before_it_orders(void **state)
{
	int64_t pid;

	NEEDS_ROOT(w);
	await_link(w);
	w->known = true; /* it ended with the machine: it must not begin a second life */
	order(w, B, GT_WANT_RUN, SERVER, 0);
	w->known = false;
	gt_order_fini(&w->orders[--w->n_orders]);
	order(w, A, GT_WANT_RUN, SERVER, 0);
	pid = expect_state(w, A, GT_REPLICA_READY)->pid;
	assert_string_equal(seen_slot(w, B)->replica, "");
	assert_true(wait_for(w, usage_is_known, A));
	/* Control restarts with an empty mind: nothing may stop because of it. */
	gt_stream_end(w->watch);
	w->watch = NULL;
	gt_http_server_free(w->server);
	gt_order_fini(&w->orders[0]);
	w->n_orders = 0;
	w->epoch = 2;
	w->full_reports = 0;
	memset(&w->seen[0], 0, sizeof(w->seen[0]));
	w->n_seen = 0;
	serve_link(w);
	await_link(w);
	assert_int_equal(expect_state(w, A, GT_REPLICA_READY)->pid, pid);
	assert_true(usage_is_known(w, A)); /* with the very first report */
	/* The same control, connected again, means what it lists. */
	gt_stream_end(w->watch);
	w->watch = NULL;
	expect_state(w, A, GT_REPLICA_DRAINING);
}

static void end_watch(struct world *w)
{
	gt_stream_end(w->watch);
	w->watch = NULL;
}

static bool is_unheard(struct world *w, const void *arg)
{
	(void)arg;
	return w->unheard > 0;
}

/* Its watch breaks before it has heard of what runs: what it lists then it still does not know. */
static void a_new_control_that_has_not_heard_ends_nothing(void **state)
{
	int64_t pid;

	NEEDS_ROOT(w);
	await_link(w);
	order(w, A, GT_WANT_RUN, SERVER, 0);
	pid = expect_state(w, A, GT_REPLICA_READY)->pid;
	gt_order_fini(&w->orders[0]);
	w->n_orders = 0;
	w->epoch = 2;
	w->deaf = true;
	for (int i = 0; i < 3; i++) {
		end_watch(w);
		await_link(w);
		w->unheard = 0;
		assert_true(wait_for(w, is_unheard, NULL));
	}
	w->deaf = false;
	memset(w->seen, 0, sizeof(w->seen)); /* strings of an end are in none of them */
	w->n_seen = 0;
	assert_int_equal(expect_state(w, A, GT_REPLICA_READY)->pid, pid);
	end_watch(w); /* now it knows */
	expect_state(w, A, GT_REPLICA_DRAINING);
}

#define C "01CCCCCCCCCCCCCCCCCCCCCCCC"

static bool watch_is_there(struct world *w, const void *arg)
{
	(void)arg;
	return w->watch != NULL;
}

static void come_again(struct world *w)
{
	end_watch(w);
	assert_true(wait_for(w, watch_is_there, NULL));
}

/* It was paused, is awake, and is found before the one that leads now. */
static void an_old_control_is_not_obeyed(void **state)
{
	enum { ROUNDS = 1000 };
	struct gt_line forget = { .type = GT_LINE_FORGET, .name = A };
	int64_t pid;
	int fd;

	NEEDS_ROOT(w);
	await_link(w);
	order(w, A, GT_WANT_RUN, SERVER, 0);
	pid = expect_state(w, A, GT_REPLICA_READY)->pid;
	w->old = true;
	come_again(w);
	for (unsigned i = 0; i < ROUNDS; i++) {
		order(w, A, GT_WANT_STOP, "", 0);
		send_line(w, &forget);
		order(w, B, GT_WANT_RUN, SERVER, 0);
		assert_int_equal(gt_loop_step(w->loop, 0, NULL), 0);
	}
	w->old = false;
	come_again(w);
	order(w, C, GT_WANT_RUN, SERVER, 0);
	expect_state(w, C, GT_REPLICA_READY);
	assert_int_equal(expect_state(w, A, GT_REPLICA_READY)->pid, pid);
	assert_int_equal(dial(w, A, &fd), 0);
	gt_close(fd);
	assert_int_equal(seen_slot(w, B)->pid, 0);
}

/* From now on another one listens at its socket. */
static void control_hangs(struct world *w)
{
	w->hung = w->loop;
	w->hung_server = w->server;
	w->hung_client = w->client;
	assert_int_equal(gt_loop_new(&w->loop, NULL), 0);
	assert_int_equal(gt_http_client_new(w->loop, &w->client, NULL), 0);
	serve_link(w);
	w->epoch++;
	w->watch = NULL;
	w->full_reports = 0;
	for (size_t i = 0; i < w->n_seen; i++)
		gt_observed_fini(&w->seen[i]);
	w->n_seen = 0;
}

static void on_reconnect(int status, const char *body, size_t len, const struct gt_err *err,
			 void *arg)
{
	(void)body;
	(void)len;
	(void)err;
	*(int *)arg = status;
}

/* The uplink says that another one leads. What is open to the one before stays open. */
static void a_control_that_hangs_is_left(void **state)
{
	const uint64_t soon_ns = 3 * GT_NS_PER_S; /* a report that it does not answer takes five */
	struct gt_http_call *call;
	uint64_t begun_ns;
	char path[96];
	int64_t pid;
	int status = 0;
	struct gt_http_out out = { .method = "POST",
				   .unix_path = path,
				   .url = "http://agent/link/v1/reconnect",
				   .body = "",
				   .on_done = on_reconnect,
				   .arg = &status };

	NEEDS_ROOT(w);
	snprintf(path, sizeof(path), "%s/run/agent.sock", w->dir);
	await_link(w);
	order(w, A, GT_WANT_RUN, SERVER, 0);
	pid = expect_state(w, A, GT_REPLICA_READY)->pid;
	control_hangs(w);
	begun_ns = gt_mono_ns(&gt_clock_system);
	assert_int_equal(gt_http_start(w->client, &out, &call, NULL), 0);
	await_link(w);
	assert_int_equal(expect_state(w, A, GT_REPLICA_READY)->pid, pid);
	assert_true(gt_mono_ns(&gt_clock_system) - begun_ns < soon_ns);
	assert_int_equal(status, 204);
	order(w, C, GT_WANT_RUN, SERVER, 0);
	expect_state(w, C, GT_REPLICA_READY);
}

#define D "01DDDDDDDDDDDDDDDDDDDDDDDD"
#define GPU_SHELL(gpu, ...)                                                               \
	"{\"image\":\"host:\",\"command\":[\"sh\",\"-c\"," __VA_ARGS__ "],\"port\":8000," \
	"\"resources\":{\"gpu\":" gpu "}}"
#define SLEEPER(gpu) GPU_SHELL(gpu, "\"sleep 1000\"")

static void gpus_are_told_and_given_once(void **state)
{
	static const struct gt_gpu_grant both[] = { { "SIM-n1-0", GT_GPU_WHOLE, 8 * GT_GIB },
						    { "SIM-n1-1", GT_GPU_WHOLE, 6 * GT_GIB } };
	static const struct gt_gpu_grant half = { "SIM-n1-1", 500, 4 * GT_GIB };
	static const struct gt_gpu_grant other = { "SIM-n2-1", 500, 4 * GT_GIB };
	struct gt_observed *o;

	NEEDS_ROOT(w);
	await_link(w);
	order_gpus(w, A,
		   GPU_SHELL("{\"count\":2}", "\"echo $GANTRY_GPU_UUIDS $GANTRY_GPU_COUNT "
					      "$GANTRY_GPU_MEMORY_BYTES $GANTRY_GPU_BACKEND "
					      "$GANTRY_GPU_MEMORY_FRACTION $0 $1 "
					      "cuda=$CUDA_VISIBLE_DEVICES.; sleep 1000\","
					      "\"a=${gpu.memory_fraction}-${gpu.memory_fraction}\","
					      "\"${gpu.memory_fraction}\""),
		   both, 2);
	while (!strstr(get_logs(w, ""), "SIM-n1-0,SIM-n1-1 2 6442450944 sim 0.750 "
					"a=0.750-0.750 0.750 cuda=."))
		;
	order_gpus(w, B, SLEEPER("{\"share\":0.5}"), &half, 1);
	o = expect_state(w, B, GT_REPLICA_FAILED);
	assert_string_equal(o->end.cause, "gpu_conflict");
	assert_non_null(strstr(o->end.text, "(" A " has some)"));
	order_gpus(w, C, SLEEPER("{\"share\":0.5}"), &other, 1);
	o = expect_state(w, C, GT_REPLICA_FAILED);
	assert_string_equal(o->end.cause, "gpu_conflict");
	assert_non_null(strstr(o->end.text, "has no GPU SIM-n2-1"));
	order_gpus(w, "01EEEEEEEEEEEEEEEEEEEEEEEE", SLEEPER("{\"count\":1}"), NULL, 0);
	o = expect_state(w, "01EEEEEEEEEEEEEEEEEEEEEEEE", GT_REPLICA_FAILED);
	assert_non_null(strstr(o->end.text, "asks for 1 GPUs and was given 0"));
	order(w, A, GT_WANT_STOP, "", 0);
	o = expect_state(w, A, GT_REPLICA_STOPPED);
	assert_int_equal(o->n_gpus, 2);
	order_gpus(w, D, SLEEPER("{\"share\":0.5}"), &half, 1); /* its end gave them back */
	while (seen_slot(w, D)->pid == 0)
		assert_int_equal(gt_loop_step(w->loop, 50, NULL), 0);
}

static void the_book_of_gpus_outlives_the_agent(void **state)
{
	static const struct gt_gpu_grant half = { "SIM-n1-1", 500, 4 * GT_GIB };
	struct gt_observed *o;

	NEEDS_ROOT(w);
	await_link(w);
	order_gpus(w, A, SLEEPER("{\"share\":0.5}"), &half, 1);
	order_gpus(w, B, SLEEPER("{\"share\":0.5}"), &half, 1);
	while (seen_slot(w, A)->pid == 0 || seen_slot(w, B)->pid == 0)
		assert_int_equal(gt_loop_step(w->loop, 50, NULL), 0);
	w->epoch = 2; /* a control that knows of nothing: it asks first */
	stop_agent(w, SIGKILL);
	for (size_t i = 0; i < w->n_seen; i++)
		gt_observed_fini(&w->seen[i]);
	w->n_seen = 0;
	w->full_reports = 0;
	start_agent(w);
	await_link(w);
	o = seen_slot(w, A);
	assert_int_equal(o->n_gpus, 1);
	assert_string_equal(o->gpus[0].uuid, half.uuid);
	assert_int_equal(o->gpus[0].milli, 500);
	assert_int_equal(o->gpus[0].memory_bytes, 4 * GT_GIB);
	order_gpus(w, C, SLEEPER("{\"share\":0.5}"), &half, 1);
	assert_string_equal(expect_state(w, C, GT_REPLICA_FAILED)->end.cause, "gpu_conflict");
	order(w, B, GT_WANT_STOP, "", 0);
	expect_state(w, B, GT_REPLICA_STOPPED);
	order_gpus(w, D, SLEEPER("{\"share\":0.5}"), &half, 1);
	while (seen_slot(w, D)->pid == 0)
		assert_int_equal(gt_loop_step(w->loop, 50, NULL), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(a_replica_from_order_to_forget),
		T(failures_tell_why),
		T(a_crash_leaves_no_memory_behind),
		T(ready_is_what_the_path_says),
		T(the_deaf_are_killed_after_the_grace),
		T(replicas_outlive_their_agent),
		T(a_new_control_asks_before_it_orders),
		T(a_new_control_that_has_not_heard_ends_nothing),
		T(gpus_are_told_and_given_once),
		T(the_book_of_gpus_outlives_the_agent),
		T(an_old_control_is_not_obeyed),
		T(a_control_that_hangs_is_left),
	};

	return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
