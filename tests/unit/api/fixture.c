/* fixture.c - see fixture.h. Requests are HTTP/1.0, so that a body ends with the connection. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/http/digest.h>

#include "api_priv.h"
#include "contract_read.h"

/* ---- the store ------------------------------------------------------------------------------ */

struct stored {
	struct gt_function_row row;
	struct stored *next; /* newest first */
};

/* What completes in the next round, as the port demands. */
struct job {
	struct gt_timer timer;
	struct world *w;
	bool full;
	char function[GT_NAME_MAX + 1];
	gt_store_done_fn *done;
	gt_store_revisions_fn *done_rows;
	void *arg;
	struct gt_task_op *task; /* each NULL, or what is asked: */
	struct gt_member_op *member;
	struct gt_webhook_op *webhook;
	struct job *next; /* kept */
};

static void on_job(void *arg)
{
	struct job *j = arg;
	struct gt_err err = { 0 };
	struct gt_function_row rows[32];
	struct stored *s;
	size_t n = 0;

	gt_err_set(&err, ENOSPC, "storage_full", "full");
	if (j->done_rows) {
		LL_FOREACH (j->w->rows, s)
			if (n < GT_LEN(rows) && gt_streq(s->row.name, j->function))
				rows[n++] = s->row;
		j->done_rows(NULL, rows, n, j->arg);
	} else {
		j->done(j->full ? &err : NULL, j->arg);
	}
	free(j);
}

/* It completes by `then`, in the next round, unless the store is silent. */
static struct job *job_start(struct world *w, void (*then)(void *arg))
{
	struct job *j = gt_alloc(sizeof(*j));

	j->w = w;
	j->full = w->storage_full;
	if (w->silent) {
		LL_PREPEND(w->kept, j);
		w->n_kept++;
	} else {
		gt_timer_set(w->loop, &j->timer, 0, then, j);
	}
	return j;
}

static void kept_free(struct world *w)
{
	struct job *j, *next;

	LL_FOREACH_SAFE (w->kept, j, next) {
		gt_task_op_free(j->task);
		gt_member_op_free(j->member);
		gt_webhook_op_free(j->webhook);
		free(j);
	}
}

static struct job *job_new(struct world *w, const char *function, void *arg)
{
	struct job *j = job_start(w, on_job);

	j->arg = arg;
	gt_strcopy(j->function, sizeof(j->function), function);
	return j;
}

static void store_put(void *ctx, const struct gt_function_row *row, gt_store_done_fn *done,
		      void *arg)
{
	struct world *w = ctx;
	struct stored *s;

	job_new(w, row->name, arg)->done = done;
	if (w->storage_full)
		return;
	s = gt_alloc(sizeof(*s));
	s->row = *row;
	s->row.name = gt_strdup(row->name);
	s->row.spec_json = gt_strdup(row->spec_json);
	LL_PREPEND(w->rows, s);
}

static void store_drop(void *ctx, const char *function, gt_store_done_fn *done, void *arg)
{
	job_new(ctx, function, arg)->done = done;
}

static void store_put_node(void *ctx, const struct gt_node_row *row, gt_store_done_fn *done,
			   void *arg)
{
	job_new(ctx, row->name, arg)->done = done;
}

static void store_revisions(void *ctx, const char *function, gt_store_revisions_fn *done, void *arg)
{
	job_new(ctx, function, arg)->done_rows = done;
}

/* One token; a join is always let in. */
static void on_member_job(void *arg)
{
	struct job *j = arg;
	struct world *w = j->w;
	struct gt_member_op *op = j->member;
	struct gt_err err = { 0 };

	switch (op->verb) {
	case GT_MEMBER_TOKEN_ADD:
		w->join_token = op->token;
		break;
	case GT_MEMBER_TOKENS:
		op->tokens = gt_alloc(sizeof(*op->tokens));
		op->tokens[0] = w->join_token;
		op->n_tokens = w->join_token.id[0] != '\0';
		break;
	case GT_MEMBER_TOKEN_DROP:
		if (!gt_streq(op->token.id, w->join_token.id))
			gt_err_set(&err, ENOENT, "not_found", "there is no join token %s",
				   op->token.id);
		else
			w->join_token = (struct gt_join_token){ 0 };
		break;
	case GT_MEMBER_JOIN:
		op->member.since_ms = op->now_ms;
		break;
	default:
		break;
	}
	if (j->full)
		gt_err_set(&err, ENOSPC, "storage_full", "full");
	op->done(op, err.code ? &err : NULL, op->arg);
	free(j);
}

static void store_member(void *ctx, struct gt_member_op *op)
{
	job_start(ctx, on_member_job)->member = op;
}

/* Two of them at most. */
static void on_webhook_job(void *arg)
{
	struct job *j = arg;
	struct gt_webhook_op *op = j->webhook;
	struct gt_webhook_keys *keys = &j->w->webhook_keys;
	struct gt_err err = { 0 };

	if (j->full) {
		gt_err_set(&err, ENOSPC, "storage_full", "full");
	} else if (op->verb == GT_WEBHOOK_ROTATE) {
		keys->at[1] = keys->at[0];
		gt_strcopy(keys->at[1].name, sizeof(keys->at[1].name), op->old);
		keys->at[1].ends_ms = op->now_ms + op->overlap_ms;
		keys->at[0] = op->key;
		keys->n = 2;
	} else {
		assert_string_equal(op->key.name, keys->at[1].name);
		keys->n = 1;
	}
	op->keys = *keys;
	op->done(op, err.code ? &err : NULL, op->arg);
	free(j);
}

static void store_webhook(void *ctx, struct gt_webhook_op *op)
{
	job_start(ctx, on_webhook_job)->webhook = op;
}

/* The one call whose end is to be told. */
static void on_hooks_job(void *arg)
{
	struct job *j = arg;
	struct gt_task *t = gt_task_op_add(j->task);

	gt_strcopy(t->id, sizeof(t->id), "told");
	t->seq = 1;
	t->state = GT_TASK_SUCCEEDED;
	t->callback = gt_strdup(gt_steal(&j->w->callback));
	j->task->done(j->task, NULL, j->task->arg);
	free(j);
}

static void store_task(void *ctx, struct gt_task_op *op)
{
	struct world *w = ctx;
	bool was_silent = w->silent;

	w->silent = !w->callback || op->verb != GT_TASK_HOOKS;
	job_start(w, on_hooks_job)->task = op;
	w->silent = was_silent;
}

/* ---- control's other ports ------------------------------------------------------------------ */

static void on_order(void *ctx, const char *node, const struct gt_order *order)
{
	(void)ctx;
	(void)node;
	(void)order;
}

static void on_two(void *ctx, const char *node, const char *replica)
{
	(void)ctx;
	(void)node;
	(void)replica;
}

static void on_one(void *ctx, const char *function)
{
	(void)ctx;
	(void)function;
}

static void on_work(void *ctx GT_UNUSED, const char *function GT_UNUSED, uint64_t seen GT_UNUSED)
{
}

static void on_changed(void *ctx GT_UNUSED, const char *id GT_UNUSED)
{
}

static void on_stop(void *ctx GT_UNUSED, uint64_t seq GT_UNUSED, uint32_t attempt GT_UNUSED)
{
}

static void on_event(void *ctx, const struct gt_event *event)
{
	struct world *w = ctx;

	if (w->api)
		gt_api_on_event(w->api, event);
}

static void on_due(void *ctx)
{
	(void)ctx;
}

void node_up(struct world *w, const char *node)
{
	struct gt_report report = { .full = true,
				    .epoch = gt_control_epoch(w->control),
				    .cpu_milli = 8000,
				    .memory_bytes = 16 * GT_GIB };

	gt_strcopy(report.node, sizeof(report.node), node);
	gt_control_node_up(w->control, node);
	assert_int_equal(gt_control_report(w->control, &report, NULL), 0);
}

void observe(struct world *w, const char *node, const char *replica, const char *function,
	     enum gt_replica_state state)
{
	struct gt_observed o = { .revision = 1,
				 .state = state,
				 .pid = 4242,
				 .created_ms = gt_wall_ms(&gt_clock_system),
				 .phases = { 100, 200, 300, 400 },
				 .end = { .exit_code = -1 } };
	struct gt_report report = { .epoch = gt_control_epoch(w->control),
				    .replicas = &o,
				    .n_replicas = 1 };

	gt_strcopy(report.node, sizeof(report.node), node);
	gt_strcopy(o.replica, sizeof(o.replica), replica);
	gt_strcopy(o.function, sizeof(o.function), function);
	assert_int_equal(gt_control_report(w->control, &report, NULL), 0);
}

/* ---- the agent's logs ----------------------------------------------------------------------- */

static void agent_closed(void *arg)
{
	struct world *w = arg;

	w->log_stream = NULL;
}

static void agent_logs(struct gt_request *req, void *app)
{
	struct world *w = app;
	gt_auto(buf) struct gt_buf body = { 0 };
	const char *tail = gt_request_query(req, "tail"),
		   *since = gt_request_query(req, "since_ms");

	snprintf(w->log_question, sizeof(w->log_question), "%s tail=%s since=%d stream=%s",
		 gt_request_query(req, "function"), tail ? tail : "-", since != NULL,
		 gt_request_query(req, "stream") ? gt_request_query(req, "stream") : "-");
	if (!gt_request_query(req, "follow")) {
		gt_buf_adds(&body, w->log_text);
		gt_request_reply(req, 200, GT_MEDIA_NDJSON, &body);
		return;
	}
	w->log_stream = gt_request_stream(req, 200, GT_MEDIA_NDJSON);
	gt_stream_on_close(w->log_stream, agent_closed, w);
	gt_stream_write(w->log_stream, w->log_text, strlen(w->log_text));
}

static void far_closed(void *arg)
{
	((struct world *)arg)->far_stream = NULL;
}

static void far_agent(struct gt_request *req, void *app)
{
	struct world *w = app;
	const struct gt_buf *asked = gt_request_body(req);
	gt_auto(buf) struct gt_buf body = { 0 };
	const char *tail = gt_request_query(req, "tail"), *after = gt_request_query(req, "after");

	snprintf(w->far_question, sizeof(w->far_question), "%s tail=%s after=%s %.*s",
		 gt_request_path(req), tail ? tail : "-", after ? after : "-", (int)asked->len,
		 asked->data ? asked->data : "");
	if (!w->far_text) {
		gt_buf_adds(&body, "{\"status\":503,\"code\":\"node_unreachable\"}");
		gt_request_reply(req, 503, "application/problem+json", &body);
	} else if (gt_request_query(req, "follow")) {
		w->far_stream = gt_request_stream(req, 200, GT_MEDIA_NDJSON);
		gt_stream_on_close(w->far_stream, far_closed, w);
	} else {
		gt_buf_adds(&body, w->far_text);
		gt_request_reply(req, 200, GT_MEDIA_NDJSON, &body);
	}
}

#define FAR "/link/v1/nodes/{node}/agent/link/v1/"
static const struct gt_http_route door_routes[] = {
	{ GT_GET, FAR "logs", GT_ROLE_NONE, 0, far_agent, "farLogs", "" },
	{ GT_GET, FAR "images", GT_ROLE_NONE, 0, far_agent, "farImages", "" },
	{ GT_POST, FAR "images/resolve", GT_ROLE_NONE, 65536, far_agent, "farResolve", "" },
};

static const struct gt_http_route agent_routes[] = {
	{ GT_GET, "/link/v1/logs", GT_ROLE_NONE, 0, agent_logs, "logs", "" },
};

/* ---- life ----------------------------------------------------------------------------------- */

static struct operation operations[OPERATIONS_MAX];
static size_t n_operations;

static int listen_at(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	gt_strcopy(sun.sun_path, sizeof(sun.sun_path), path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static void control_start(struct world *w, bool calls)
{
	struct gt_control_ports ports = {
		.clock = gt_clock_system,
		.rnd = gt_rand_system,
		.store = { .ctx = w,
			   .put = store_put,
			   .drop = store_drop,
			   .put_node = store_put_node,
			   .revisions = store_revisions,
			   .member = store_member,
			   .webhook = store_webhook },
		.ctx = w,
		.on_order = on_order,
		.on_forget = on_two,
		.on_route = on_one,
		.on_route_gone = on_one,
		.on_event = on_event,
		.on_due = on_due,
	};

	if (calls) {
		ports.store.task = store_task;
		ports.on_task_work = on_work;
		ports.on_task_changed = on_changed;
		ports.on_task_stop = on_stop;
	}
	w->control = gt_control_new(&ports, &(struct gt_control_config){ .epoch = 7 });
}

static struct gt_pki_ca *authority_new(void)
{
	struct gt_buf key = { 0 }, cert = { 0 };
	struct gt_pki_ca *ca = NULL;

	assert_int_equal(gt_pki_ca_new(gt_wall_ms(&gt_clock_system), &key, &cert, NULL), 0);
	assert_int_equal(gt_pki_ca_open(key.data, cert.data, &ca, NULL), 0);
	gt_buf_wipe(&key);
	gt_buf_fini(&cert);
	return ca;
}

static int setup(void **state, bool hosts, bool calls)
{
	static char digest[GT_TOKEN_HASH_HEX];
	static const char *const tokens[] = { digest };
	struct world *w = gt_alloc(sizeof(*w));
	struct gt_api_config config = { .tokens_sha256 = tokens, .n_tokens = 1 };
	struct gt_http_config agent = { .routes = agent_routes, .n_routes = 1, .app = w };
	struct gt_http_config door = { .routes = door_routes,
				       .n_routes = GT_LEN(door_routes),
				       .app = w };

	gt_sha256_hex(TOKEN, strlen(TOKEN), digest);
	n_operations = contract_read(operations);
	gt_strcopy(w->dir, sizeof(w->dir), "/tmp/gt-api-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->api_path, sizeof(w->api_path), "%s/api", w->dir);
	snprintf(w->agent_path, sizeof(w->agent_path), "%s/agent", w->dir);
	w->api_fd = listen_at(w->api_path);
	w->agent_fd = listen_at(w->agent_path);
	assert_int_equal(gt_loop_new(&w->loop, NULL), 0);
	assert_int_equal(gt_http_client_new(w->loop, &w->client, NULL), 0);
	control_start(w, calls);
	if (calls) {
		w->callback = "http://127.0.0.1:1/";
		w->webhook_keys.n = 1;
		gt_strcopy(w->webhook_keys.at[0].text, GT_WEBHOOK_KEY_SIZE, "key");
		gt_control_load_webhook_keys(w->control, &w->webhook_keys);
	}
	agent.listen_fd = w->agent_fd;
	assert_int_equal(gt_http_server_new(w->loop, &agent, &w->agent, NULL), 0);
	config.loop = w->loop;
	config.listen_fd = w->api_fd;
	config.control = w->control;
	config.client = w->client;
	config.agent_path = w->agent_path;
	snprintf(w->door_path, sizeof(w->door_path), "%s/door", w->dir);
	w->door_fd = listen_at(w->door_path);
	door.listen_fd = w->door_fd;
	assert_int_equal(gt_http_server_new(w->loop, &door, &w->door, NULL), 0);
	config.door_path = w->door_path;
	config.node = hosts ? "near" : NULL;
	w->authority = authority_new();
	config.authority = w->authority;
	assert_int_equal(gt_api_new(&config, &w->api, NULL), 0);
	*state = w;
	return 0;
}

int world_setup(void **state)
{
	return setup(state, false, false);
}

int world_setup_silent(void **state)
{
	return setup(state, false, true);
}

int world_setup_hosts(void **state)
{
	int r = setup(state, true, false);

	node_up(*state, "near");
	node_up(*state, "far");
	return r;
}

int world_teardown(void **state)
{
	struct world *w = *state;
	struct stored *s, *tmp;

	gt_api_free(w->api);
	w->api = NULL;
	gt_http_server_free(w->agent);
	gt_http_server_free(w->door);
	gt_control_free(w->control);
	kept_free(w); /* the store ends last, and calls nobody back */
	gt_pki_ca_free(w->authority);
	gt_http_client_free(w->client);
	gt_loop_free(w->loop);
	LL_FOREACH_SAFE (w->rows, s, tmp) {
		free(s->row.name);
		free(s->row.spec_json);
		free(s);
	}
	close(w->api_fd);
	close(w->agent_fd);
	close(w->door_fd);
	unlink(w->door_path);
	unlink(w->api_path);
	unlink(w->agent_path);
	rmdir(w->dir);
	free(w);
	return 0;
}

/* ---- requests ------------------------------------------------------------------------------- */

void ask_open(struct world *w, const char *method, const char *path, const char *headers,
	      const char *body, struct answer *ret)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	gt_auto(buf) struct gt_buf out = { 0 };

	memset(ret, 0, sizeof(*ret));
	gt_strcopy(sun.sun_path, sizeof(sun.sun_path), w->api_path);
	ret->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(ret->fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	gt_buf_addf(&out, "%s %s HTTP/1.0\r\nHost: x\r\n", method, path);
	if (!headers || !strstr(headers, "Authorization:"))
		gt_buf_adds(&out, "Authorization: Bearer " TOKEN "\r\n");
	if (headers)
		gt_buf_adds(&out, headers);
	if (body)
		gt_buf_addf(&out, "Content-Length: %zu\r\n", strlen(body));
	gt_buf_addf(&out, "\r\n%s", body ? body : "");
	for (size_t sent = 0; sent < out.len;) {
		ssize_t n = send(ret->fd, out.data + sent, out.len - sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		else if (errno != EAGAIN)
			break; /* refused early: the answer is there */
		assert_int_equal(gt_loop_step(w->loop, 0, NULL), 0);
	}
}

static void answer_read(struct answer *a)
{
	char bytes[65536];
	ssize_t n;
	char *end;

	while (!a->closed && (n = recv(a->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) >= 0) {
		a->closed = n == 0;
		gt_buf_add(&a->raw, bytes, (size_t)n);
	}
	end = strstr(gt_buf_str(&a->raw), "\r\n\r\n");
	if (!end)
		return;
	a->body = end + 4;
	sscanf(a->raw.data, "HTTP/1.%*d %d", &a->status);
}

bool answer_has(struct answer *a, const char *text)
{
	answer_read(a);
	return a->body && strstr(a->body, text);
}

bool answer_closed(struct answer *a)
{
	answer_read(a);
	return a->closed;
}

bool header_has(const struct answer *a, const char *line)
{
	const char *at = strstr(a->raw.data, line);

	return at && at < a->body && at[-1] == '\n';
}

void answer_fini(struct answer *a)
{
	close(a->fd);
	gt_buf_fini(&a->raw);
	gt_value_free(a->json);
	memset(a, 0, sizeof(*a));
	a->fd = -1;
}

/* A pattern and a path, segment by segment. */
static bool path_is(const char *pattern, const char *path)
{
	while (*pattern && *path && *path != '?') {
		if (*pattern == '{') {
			pattern += strcspn(pattern, "}") + 1;
			path += strcspn(path, "/?");
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return *pattern == '\0' && (*path == '\0' || *path == '?');
}

static void check_status(const char *method, const char *path, int status)
{
	for (size_t i = 0; i < n_operations; i++) {
		if (strcmp(operations[i].method, method) != 0 || !path_is(operations[i].path, path))
			continue;
		if (!contract_allows(&operations[i], status))
			fail_msg("%s answered %d, which the contract does not know",
				 operations[i].id, status);
	}
}

void ask(struct world *w, const char *method, const char *path, const char *headers,
	 const char *body, struct answer *ret)
{
	ask_open(w, method, path, headers, body, ret);
	step_until(w, answer_closed(ret));
	assert_non_null(ret->body);
	check_status(method, path, ret->status);
	assert_true(header_has(ret, "X-Request-Id: "));
	(void)!gt_value_parse(ret->body, strlen(ret->body), &ret->json, NULL);
	if (ret->status >= 400 && !strstr(path, "/v1/models")) {
		assert_true(header_has(ret, "Content-Type: application/problem+json"));
		assert_int_equal(gt_value_u64(ret->json, "status", 0), ret->status);
		assert_non_null(gt_value_str(ret->json, "code", NULL));
	}
}

void put_ok(struct world *w, const char *name, const char *spec, int status)
{
	gt_auto(free) char *path = gt_asprintf("/v1/functions/%s", name);
	struct answer a;

	ask(w, "PUT", path, "Content-Type: application/json\r\n", spec, &a);
	if (a.status != status)
		fail_msg("%s: %d %s", path, a.status, a.body);
	answer_fini(&a);
}

const char *str(const struct answer *a, const char *path)
{
	const char *s = gt_value_str(a->json, path, NULL);

	return s ? s : "(absent)";
}

void refused(struct world *w, const char *method, const char *path, const char *headers,
	     const char *body, int status, const char *code)
{
	struct answer a;

	ask(w, method, path, headers, body, &a);
	if (a.status != status)
		fail_msg("%s %s: %d %s", method, path, a.status, a.body);
	assert_string_equal(str(&a, "code"), code);
	answer_fini(&a);
}
