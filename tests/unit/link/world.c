/* world.c - see world.h. */
#include "world.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

static void on_stored(void *arg)
{
	struct world *w = arg;

	w->done(NULL, w->done_arg);
}

static void store_put(void *ctx, const struct gt_function_row *row, gt_store_done_fn *done,
		      void *arg)
{
	struct world *w = ctx;

	(void)row;
	w->done = done;
	w->done_arg = arg;
	gt_timer_set(w->loop, &w->stored, 0, on_stored, w);
}

static void store_drop(void *ctx, const char *function, gt_store_done_fn *done, void *arg)
{
	(void)function;
	store_put(ctx, NULL, done, arg);
}

static void on_member_stored(void *arg)
{
	struct world *w = arg;
	struct gt_member_op *op = gt_steal(&w->member);

	if (op->verb == GT_MEMBER_JOIN && !w->member_err.code)
		op->member.since_ms = op->now_ms;
	op->done(op, w->member_err.code ? &w->member_err : NULL, op->arg);
}

static void store_member(void *ctx, struct gt_member_op *op)
{
	struct world *w = ctx;

	assert_null(w->member);
	w->member = op;
	if (w->silent)
		return;
	gt_timer_set(w->loop, &w->stored_member, 0, on_member_stored, w);
}

static void store_task(void *ctx, struct gt_task_op *op)
{
	struct world *w = ctx;

	assert_null(w->task);
	w->task = op;
}

static void on_members(void *ctx)
{
	gt_link_on_members(((struct world *)ctx)->link);
}

static uint64_t wall(void *arg)
{
	return ((struct world *)arg)->now_ms;
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

static void on_order(void *ctx, const char *node, const struct gt_order *order)
{
	gt_link_on_order(((struct world *)ctx)->link, node, order);
}

static void on_forget(void *ctx, const char *node, const char *replica)
{
	gt_link_on_forget(((struct world *)ctx)->link, node, replica);
}

static void on_route(void *ctx, const char *function)
{
	gt_link_on_route(((struct world *)ctx)->link, function);
}

static void on_route_gone(void *ctx, const char *function)
{
	gt_link_on_route_gone(((struct world *)ctx)->link, function);
}

static void on_event(void *ctx, const struct gt_event *event)
{
	(void)ctx;
	(void)event;
}

static void on_due(void *ctx)
{
	(void)ctx;
}

int world_setup(void **state)
{
	static const char *const tokens[] = { HASH };
	struct world *w = gt_alloc(sizeof(*w));
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct gt_control_ports ports = { .clock = gt_clock_system,
					  .rnd = gt_rand_system,
					  .store = { .ctx = w,
						     .put = store_put,
						     .drop = store_drop,
						     .member = store_member,
						     .task = store_task },
					  .on_members = on_members,
					  .ctx = w,
					  .on_order = on_order,
					  .on_forget = on_forget,
					  .on_route = on_route,
					  .on_route_gone = on_route_gone,
					  .on_event = on_event,
					  .on_due = on_due };
	struct gt_link_config config = { .tokens_sha256 = tokens, .n_tokens = 1 };

	snprintf(w->path, sizeof(w->path), "/tmp/gt-link-%d.sock", (int)getpid());
	unlink(w->path);
	gt_strcopy(sun.sun_path, sizeof(sun.sun_path), w->path);
	w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(w->fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(w->fd, 16), 0);
	assert_int_equal(gt_loop_new(&w->loop, NULL), 0);
	assert_int_equal(gt_http_client_new(w->loop, &w->client, NULL), 0);
	w->control = gt_control_new(&ports, &(struct gt_control_config){ .epoch = 3 });
	config.loop = w->loop;
	config.listen_fd = w->fd;
	config.control = w->control;
	w->now_ms = gt_wall_ms(&gt_clock_system);
	w->authority = authority_new();
	config.authority = w->authority;
	config.clock = (struct gt_clock){ .wall_ms = wall, .arg = w };
	config.node_certificate_ms = 7 * 86400000ULL;
	assert_int_equal(gt_link_new(&config, &w->link, NULL), 0);
	*state = w;
	return 0;
}

int world_teardown(void **state)
{
	struct world *w = *state;

	gt_http_client_free(w->client);
	gt_link_free(w->link);
	gt_control_free(w->control);
	gt_task_op_free(w->task); /* the store's, which ends last and calls nobody back */
	gt_member_op_free(w->member);
	gt_pki_ca_free(w->authority);
	gt_loop_free(w->loop);
	close(w->fd);
	unlink(w->path);
	free(w);
	return 0;
}

struct posted {
	int status;
	struct gt_buf *answer;
};

static void on_posted(int status, const char *body, size_t len, const struct gt_err *err GT_UNUSED,
		      void *arg)
{
	struct posted *p = arg;

	p->status = status;
	if (p->answer && body)
		gt_buf_add(p->answer, body, len);
}

int post_as(struct world *w, const char *path, const char *sender, const char *body, size_t len,
	    struct gt_buf *answer)
{
	gt_auto(free) char *url = gt_asprintf("http://control%s", path);
	gt_auto(free) char *header = gt_asprintf("Gantry-Peer: %s", sender ? sender : "");
	const char *const headers[] = { header };
	struct posted p = { -1, answer };
	struct gt_http_out out = { .method = "POST",
				   .unix_path = w->path,
				   .url = url,
				   .content_type = "application/json",
				   .headers = headers,
				   .n_headers = sender != NULL,
				   .body = body,
				   .body_len = len,
				   .on_done = on_posted,
				   .arg = &p };
	struct gt_http_call *call;

	assert_int_equal(gt_http_start(w->client, &out, &call, NULL), 0);
	step_until(w, p.status != -1);
	return p.status;
}

int post(struct world *w, const char *path, const char *body, size_t len)
{
	return post_as(w, path, NULL, body, len, NULL);
}

static void on_ignored(int status GT_UNUSED, const char *body GT_UNUSED, size_t len GT_UNUSED,
		       const struct gt_err *err GT_UNUSED, void *arg GT_UNUSED)
{
}

void post_only(struct world *w, const char *path, const char *body, size_t len)
{
	gt_auto(free) char *url = gt_asprintf("http://control%s", path);
	struct gt_http_out out = { .method = "POST",
				   .unix_path = w->path,
				   .url = url,
				   .content_type = "application/json",
				   .body = body,
				   .body_len = len,
				   .on_done = on_ignored };
	struct gt_http_call *call;

	assert_int_equal(gt_http_start(w->client, &out, &call, NULL), 0);
}
