/* task_run.c - one durable call, run as any other: a client's connection whose client is here. What
 * it sends is the lease, what it is sent is the result. So it stands in the same queue, takes the
 * same slots and is cut by the same limits. */
#include "tasks.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define DETAIL_MAX 500

static struct gt_task_run *run_of(struct gt_sock *s)
{
	return s->layer;
}

/* ---- the transport -------------------------------------------------------------------------- */

static int task_watch(struct gt_sock *s, struct gt_loop *loop GT_UNUSED, gt_watch_fn *fn GT_UNUSED,
		      void *arg, struct gt_err *err GT_UNUSED)
{
	s->layer = ((struct gt_conn *)arg)->task;
	s->can_read = s->can_write = true;
	return 0;
}

static void task_nothing(struct gt_sock *s GT_UNUSED)
{
}

/* What of a piece is not sent yet; `at` is where it begins. */
static size_t copy(struct gt_task_run *run, size_t at, const char *data, size_t len, char *to,
		   size_t room)
{
	size_t from = run->sent - at, n;

	if (run->sent < at || from >= len)
		return 0;
	n = GT_MIN(len - from, room);
	memcpy(to, data + from, n);
	run->sent += n;
	return n;
}

/* A short read means that no more is there: both pieces are one stream. */
static ssize_t task_read(struct gt_sock *s, void *buf, size_t len)
{
	struct gt_task_run *run = run_of(s);
	size_t head = run->req.len, n;

	if (run->answered)
		return 0;
	n = copy(run, 0, run->req.data, head, buf, len);
	n += copy(run, head, run->task.body.data, run->task.body.len, (char *)buf + n, len - n);
	return n ? (ssize_t)n : -EAGAIN;
}

static void take_head(struct gt_task_run *run)
{
	const struct gt_h1 *resp = &run->resp;
	const struct gt_h1_field *type = gt_h1_find(resp, GT_H1_CONTENT_TYPE);

	if (resp->status < 200)
		return;
	run->result.status = resp->status;
	if (type && type->value.len <= GT_TASK_TYPE_MAX)
		run->result.content_type = gt_strndup(gt_h1_text(resp, type->value),
						      type->value.len);
}

/* False when the answer is larger than what can be kept. */
static bool take(struct gt_task_run *run, const char *data, size_t len)
{
	size_t at = 0;

	while (!run->answered) {
		struct gt_h1_body body;
		size_t used;

		switch (gt_h1_feed(&run->resp, data + at, len - at, &used, &body)) {
		case GT_H1_MORE:
			return true;
		case GT_H1_HEAD:
			take_head(run);
			break;
		case GT_H1_DATA:
			if (gt_buf_add(&run->body, body.data, body.len) < 0)
				return false;
			break;
		case GT_H1_END:
			run->answered = run->resp.status >= 200;
			if (!run->answered)
				gt_h1_reset(&run->resp);
			break;
		default:
			return false; /* the gateway wrote this itself */
		}
		at += used;
	}
	return true;
}

static ssize_t task_write(struct gt_sock *s, const struct iovec *iov, size_t n)
{
	struct gt_task_run *run = run_of(s);
	ssize_t all = 0;

	for (size_t i = 0; i < n; i++) {
		if (!take(run, iov[i].iov_base, iov[i].iov_len))
			return -EPIPE;
		all += (ssize_t)iov[i].iov_len;
	}
	if (run->answered) /* now the client closes */
		s->can_read = true;
	return all;
}

static bool task_yes(struct gt_sock *s GT_UNUSED)
{
	return true;
}

static void task_reset(struct gt_sock *s)
{
	run_of(s)->cut = true;
}

static void over(struct gt_task_run *run);

static void task_close(struct gt_sock *s)
{
	over(run_of(s));
}

static const struct gt_sock_ops ops = {
	.watch = task_watch,
	.unwatch = task_nothing,
	.read = task_read,
	.write = task_write,
	.silent = task_yes,
	.delivered = task_yes,
	.shut = task_nothing,
	.reset = task_reset,
	.close = task_close,
};

/* ---- what became of it ---------------------------------------------------------------------- */

void gt_task_run_refused(struct gt_task_run *run, const struct gt_refusal *why)
{
	struct gt_task_result *r = &run->result;

	if (r->slug[0])
		return;
	gt_strcopy(r->slug, sizeof(r->slug), why->slug);
	r->detail = why->detail ? gt_strndup(why->detail, DETAIL_MAX) : NULL;
}

/* Never later than it was: what the program wrote just after must not seem to be older. The loop's
 * own time is that of its last round, so the clock itself is asked. */
static uint64_t wall_of(const struct gt_gateway *gw, uint64_t mono_ns)
{
	const struct gt_clock *clock = gt_loop_clock(gw->loop);
	uint64_t wall_ns = gt_wall_ms(clock) * GT_NS_PER_MS, now_ns = gt_mono_ns(clock);

	return (wall_ns - (now_ns - GT_MIN(mono_ns, now_ns))) / GT_NS_PER_MS;
}

struct started {
	struct gt_mail mail;
	struct gt_task_start start;
};

static void started_there(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct started *s = GT_CONTAINER(m, struct started, mail);

	if (!gw->freeing)
		gt_tasks_started(gw, &s->start);
	free(s);
}

void gt_task_run_slot(struct gt_task_run *run, const struct gt_call *call)
{
	struct gt_gateway *gw = call->gw;
	struct gt_task_start start = { .seq = run->task.seq,
				       .attempt = run->task.attempt,
				       .revision = call->revision,
				       .started_ms = gt_wall_ms(gt_loop_clock(gw->loop)) };
	struct started *letter;

	gt_strcopy(start.id, sizeof(start.id), run->task.id);
	gt_strcopy(start.replica, sizeof(start.replica), call->replica);
	if (gw->shard == 0) {
		gt_tasks_started(gw, &start);
		return;
	}
	letter = gt_alloc(sizeof(*letter));
	letter->start = start;
	letter->mail.fn = started_there;
	gt_shard_post(gw->shards, 0, &letter->mail);
}

void gt_task_run_over(struct gt_task_run *run, const struct gt_call *call)
{
	struct gt_task_result *r = &run->result;

	r->started_ms = wall_of(call->gw, call->slot_ns ? call->slot_ns : call->begun_ns);
	r->wait_ms = call->wait_ns / GT_NS_PER_MS;
	r->start_ms = call->start_ns / GT_NS_PER_MS;
	r->revision = call->revision;
	gt_strcopy(r->replica, sizeof(r->replica), call->replica);
}

/* An answer counts when it is the function's own and complete. */
static void judge(struct gt_task_run *run)
{
	struct gt_task_result *r = &run->result;

	if (!run->answered && !run->cut && !r->slug[0] && r->status &&
	    gt_h1_eof(&run->resp) == GT_H1_END)
		run->answered = true; /* only its end told where it ends */
	if (run->stopped)
		gt_strcopy(r->slug, sizeof(r->slug), "cancelled");
	else if (run->body.failed)
		gt_strcopy(r->slug, sizeof(r->slug), "result_too_large");
	else if (!run->answered && !r->slug[0])
		gt_strcopy(r->slug, sizeof(r->slug), "replica_lost");
	if (!r->slug[0]) {
		r->body = (struct gt_blob){ run->body.data, run->body.len };
		run->body = (struct gt_buf){ 0 };
		return;
	}
	r->status = 0;
	free(gt_steal(&r->content_type));
}

static void come_back(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	if (!gw->freeing)
		gt_tasks_ended(gw, GT_CONTAINER(m, struct gt_task_run, mail));
}

static void go_back(struct gt_gateway *gw, struct gt_task_run *run)
{
	struct gt_task_result *r = &run->result;

	r->seq = run->task.seq;
	r->attempt = run->task.attempt;
	r->tries = run->task.tries;
	gt_strcopy(r->function, sizeof(r->function), run->task.function);
	r->ended_ms = gt_wall_ms(gt_loop_clock(gw->loop));
	r->started_ms = r->started_ms ? r->started_ms : r->ended_ms;
	gt_h1_fini(&run->resp);
	gt_buf_fini(&run->req);
	free(gt_steal(&run->task.body.data));
	if (gw->shard == 0) {
		gt_tasks_ended(gw, run);
		return;
	}
	run->mail.fn = come_back;
	gt_shard_post(gw->shards, 0, &run->mail);
}

static void over(struct gt_task_run *run)
{
	struct gt_gateway *gw = run->gw;

	run->conn = NULL;
	if (gw->freeing)
		return; /* who made it frees it */
	HASH_DEL(gw->runs, run);
	judge(run);
	go_back(gw, run);
}

/* ---- its life ------------------------------------------------------------------------------- */

struct gt_task_run *gt_task_run_new(struct gt_task *task GT_TAKES)
{
	struct gt_task_run *run = gt_alloc(sizeof(*run));

	run->task = *task;
	*task = (struct gt_task){ 0 };
	run->key = (struct gt_lease_key){ run->task.seq, run->task.attempt };
	gt_h1_init(&run->resp, GT_H1_RESPONSE);
	gt_buf_init(&run->body, GT_TASK_BODY_MAX);
	return run;
}

void gt_task_run_free(struct gt_task_run *run)
{
	gt_task_fini(&run->task);
	gt_task_result_fini(&run->result);
	gt_h1_fini(&run->resp);
	gt_buf_fini(&run->req);
	gt_buf_fini(&run->body);
	free(run);
}

/* A version of control that does not say it is believed to have this host's clock. */
static uint64_t left_of(const struct gt_gateway *gw, const struct gt_task *t)
{
	uint64_t now_ms = gt_wall_ms(gt_loop_clock(gw->loop));

	return t->left_ms ? t->left_ms : t->deadline_ms - GT_MIN(now_ms, t->deadline_ms);
}

static void write_request(struct gt_gateway *gw, struct gt_task_run *run)
{
	static const char *const priorities[GT_TASK_CLASSES] = { "high", "normal", "low" };
	const struct gt_task *t = &run->task;
	uint64_t left_s = GT_MAX((left_of(gw, t) + 999) / 1000, 1ULL);
	struct gt_buf *out = &run->req;

	gt_buf_addf(out, "%s /f/%s%s HTTP/1.1\r\nHost: gantry\r\nConnection: close\r\n", t->method,
		    t->function, t->path);
	if (t->content_type)
		gt_buf_addf(out, "Content-Type: %s\r\n", t->content_type);
	if (t->body.len || gt_streq(t->method, "POST"))
		gt_buf_addf(out, "Content-Length: %zu\r\n", t->body.len);
	if (left_s <= 24 * 3600)
		gt_buf_addf(out, "Gantry-Deadline: %llu\r\n", (unsigned long long)left_s);
	gt_buf_addf(out,
		    "Gantry-Priority: %s\r\nGantry-Call-Id: %s\r\nGantry-Attempt: %u\r\n"
		    "X-Request-Id: %s\r\n\r\n",
		    priorities[t->priority % GT_TASK_CLASSES], t->id, t->attempt, t->id);
}

void gt_task_run_start(struct gt_gateway *gw, struct gt_task_run *run)
{
	run->gw = gw;
	write_request(gw, run);
	HASH_ADD(hh, gw->runs, key, sizeof(run->key), run);
	run->conn = gt_conn_open_task(gw, &ops, run);
	gt_conn_run(run->conn);
}

void gt_task_run_stop(struct gt_gateway *gw, const struct gt_lease_key *key)
{
	struct gt_task_run *run = NULL;

	HASH_FIND(hh, gw->runs, key, sizeof(*key), run);
	if (!run || !run->conn)
		return;
	run->stopped = true;
	gt_conn_close(run->conn);
}
