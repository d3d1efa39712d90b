/* task.c - durable calls in the virtual fleet: the store's table of them, which writes late or not
 * at all, and the gateways' ends of leases. Control's end is the real one. */
#include "world_priv.h"

#include <stdlib.h>
#include <string.h>

#define STORE_NS  (5 * W_MS)
#define REST_NS   (250 * W_MS) /* a function that got none is asked for again */
#define ALIVE_NS  (3000 * W_MS)
#define RETRY_NS  (200 * W_MS)
#define WANTS_MAX 64

/* ---- the table ------------------------------------------------------------------------------ */

static struct w_task *task_at(struct gt_world *w, uint64_t seq)
{
	return seq && seq <= w->tasks.n ? &w->tasks.at[seq - 1] : NULL;
}

static const char *name_of(const struct gt_world *w, const struct w_task *t)
{
	return w->fns[t->fn]->name;
}

static void accept(struct gt_world *w, struct gt_task_op *op)
{
	for (size_t i = 0; i < op->n_tasks; i++) {
		struct gt_task *from = &op->tasks[i];
		struct w_task *t;

		if (w->tasks.n == w->tasks.cap) {
			w->tasks.cap = w->tasks.cap ? 2 * w->tasks.cap : 256;
			w->tasks.at = gt_grow(w->tasks.at, w->tasks.cap, sizeof(*w->tasks.at));
		}
		t = &w->tasks.at[w->tasks.n++];
		*t = (struct w_task){ .fn = gt_w_fn(w, from->function)->index };
		from->seq = w->tasks.n;
		from->taken = GT_TAKEN_NEW;
		gt_task_op_change(op, from->function, 1);
	}
}

static void finish(struct gt_world *w, struct gt_task_op *op)
{
	for (size_t i = 0; i < op->n_results; i++) {
		struct gt_task_result *r = &op->results[i];
		struct w_task *t = task_at(w, r->seq);
		bool fenced = t && t->state == GT_TASK_RUNNING && t->attempt == r->attempt;

		if (gt_w_sabotaged(w, "late results are recorded"))
			fenced = t != NULL && r->counts;
		r->stale = !fenced;
		if (!fenced)
			continue;
		gt_strcopy(r->function, sizeof(r->function), name_of(w, t));
		t->state = r->state = r->next;
		t->due_ms = r->due_ms;
		t->tries += r->counts;
		t->lost = 0;
		t->results += gt_task_ended(r->next);
		if (t->results > 1)
			gt_w_break(w, "results", "call %llu of %s has two results",
				   (unsigned long long)r->seq, r->function);
	}
}

static void lose(struct gt_world *w, struct gt_task_op *op, struct w_task *t)
{
	bool again = ++t->lost < GT_TASK_LOST_MAX;

	t->state = again ? GT_TASK_QUEUED : GT_TASK_FAILED;
	t->results += !again;
	if (again)
		gt_task_op_change(op, name_of(w, t), 1);
}

static bool holds(const struct gt_task_op *op, uint64_t seq)
{
	for (size_t i = 0; i < op->n_held; i++)
		if (op->held[i] == seq)
			return true;
	return false;
}

static void reconcile(struct gt_world *w, struct gt_task_op *op)
{
	for (uint64_t seq = 1; seq <= w->tasks.n; seq++) {
		struct w_task *t = task_at(w, seq);

		if (t->state == GT_TASK_RUNNING && t->session == op->sessions[0].session &&
		    !holds(op, seq))
			lose(w, op, t);
	}
}

static void lease(struct gt_world *w, struct gt_task_op *op)
{
	for (size_t i = 0; i < op->n_wants; i++) {
		uint32_t left = op->wants[i].n;

		for (uint64_t seq = w->tasks.first; left && seq <= w->tasks.n; seq++) {
			struct w_task *t = task_at(w, seq);

			if (t->state != GT_TASK_QUEUED ||
			    strcmp(name_of(w, t), op->wants[i].function) != 0)
				continue;
			struct gt_task *to = gt_task_op_add(op);

			t->state = GT_TASK_RUNNING;
			t->session = op->sessions[0].session;
			to->seq = seq;
			to->attempt = ++t->attempt;
			to->tries = t->tries;
			gt_strcopy(to->function, sizeof(to->function), name_of(w, t));
			gt_task_op_change(op, to->function, -1);
			left--;
		}
	}
	while (w->tasks.first <= w->tasks.n && gt_task_ended(task_at(w, w->tasks.first)->state))
		w->tasks.first++;
}

static void release(struct gt_world *w, struct gt_task_op *op)
{
	for (uint64_t seq = 1; seq <= w->tasks.n; seq++) {
		struct w_task *t = task_at(w, seq);
		bool lives = false;

		for (size_t i = 0; i < op->n_sessions; i++)
			lives |= op->sessions[i].session == t->session;
		if (t->state == GT_TASK_RUNNING && !lives)
			lose(w, op, t);
	}
}

static void wake(struct gt_world *w, struct gt_task_op *op)
{
	op->next_ms = UINT64_MAX;
	for (uint64_t seq = w->tasks.first; seq <= w->tasks.n; seq++) {
		struct w_task *t = task_at(w, seq);

		if (t->state != GT_TASK_WAITING)
			continue;
		if (t->due_ms <= GT_MAX(op->now_ms, op->told_ms)) {
			t->state = GT_TASK_QUEUED;
			gt_task_op_change(op, name_of(w, t), 1);
		} else {
			op->next_ms = GT_MIN(op->next_ms, t->due_ms);
		}
	}
}

static void count(struct gt_world *w, struct gt_task_op *op)
{
	for (uint64_t seq = 1; seq <= w->tasks.n; seq++)
		if (task_at(w, seq)->state == GT_TASK_QUEUED)
			gt_task_op_change(op, name_of(w, task_at(w, seq)), 1);
	for (uint64_t seq = 1; seq <= w->tasks.n; seq++)
		if (task_at(w, seq)->state == GT_TASK_WAITING)
			op->next_ms = GT_MIN(op->next_ms, task_at(w, seq)->due_ms);
}

static void apply(struct gt_world *w, struct gt_task_op *op)
{
	switch (op->verb) {
	case GT_TASK_ACCEPT:
		accept(w, op);
		break;
	case GT_TASK_EXCHANGE:
		finish(w, op);
		if (op->full)
			reconcile(w, op);
		lease(w, op);
		break;
	case GT_TASK_RELEASE:
		release(w, op);
		break;
	case GT_TASK_WAKE:
		wake(w, op);
		break;
	case GT_TASK_COUNT:
		count(w, op);
		break;
	default:
		if (!gt_w_plan_apply(w, op))
			gt_w_break(w, "list", "the virtual store has no verb %d", op->verb);
		else if (op->verb == GT_TASK_FIRE)
			accept(w, op);
	}
}

struct w_post {
	struct w_gateway *gateway;
	uint64_t serial, epoch;
	struct gt_task_op *op; /* until control has it, and from its answer on */
	struct gt_world *w;
	bool unanswered;
	struct w_post *prev, *next; /* while control has it */
};

static void post_fini(void *arg)
{
	gt_task_op_free(((struct w_post *)arg)->op);
}

struct write {
	struct gt_task_op *op; /* NULL: it is done */
};

static void write_fini(void *arg)
{
	gt_task_op_free(((struct write *)arg)->op);
}

/* a: epoch of the control that asked. As with functions: after a crash it is open whether the last
 * writes were committed, and nobody is told. */
static void write_end(struct gt_world *w, struct w_event *e)
{
	static const struct gt_err full = { .code = ENOSPC,
					    .slug = "storage_full",
					    .text = "full" };
	struct write *write = e->data;
	struct gt_task_op *op = write->op;
	bool same_control = w->c && e->a == w->epoch;
	bool fails = gt_w_chance(w, same_control ? w->store_fail_permille : 500);

	if (!same_control) {
		if (!fails && !w->c)
			apply(w, op);
		return;
	}
	if (!fails)
		apply(w, op);
	else
		gt_w_plan_failed(w, op);
	write->op = NULL;
	op->done(op, fails ? &full : NULL, op->arg);
}

static void store_task(void *ctx, struct gt_task_op *op)
{
	struct gt_world *w = ctx;
	uint64_t takes_ns = STORE_NS + gt_w_below(w, w->store_slow_ms) * W_MS;
	struct w_event *e;

	w->store_at_ns = GT_MAX(w->store_at_ns, w->now_ns + takes_ns);
	e = gt_w_at(w, w->store_at_ns, write_end);
	e->data = gt_alloc(sizeof(struct write));
	((struct write *)e->data)->op = op;
	e->data_fini = write_fini;
	e->a = w->epoch;
}

/* ---- users ---------------------------------------------------------------------------------- */

static void on_accepted(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_world *w = arg;

	for (size_t i = 0; !err && i < op->n_tasks; i++) {
		struct w_task *t = task_at(w, op->tasks[i].seq);

		t->acknowledged = true;
		w->stats.tasks_accepted++;
	}
	gt_task_op_free(op);
}

void gt_world_task(struct gt_world *w, size_t fn, uint64_t service_ns)
{
	struct gt_task_op *op;
	struct gt_task *t;
	struct gt_err err;

	if (!w->c || !w->config.tasks)
		return;
	op = gt_task_op_new(GT_TASK_ACCEPT);
	t = gt_task_op_add(op);
	gt_strcopy(t->function, sizeof(t->function), w->fns[fn]->name);
	t->deadline_ms = UINT64_MAX;
	w->tasks.service_ns = service_ns;
	if (gt_control_task(w->c, op, on_accepted, w, &err) < 0)
		gt_task_op_free(op);
}

uint64_t gt_world_tasks_open(const struct gt_world *w)
{
	uint64_t n = 0;

	for (size_t i = 0; i < w->tasks.n; i++)
		n += !gt_task_ended(w->tasks.at[i].state);
	return n;
}

/* ---- gateways ------------------------------------------------------------------------------- */

static void schedule(struct gt_world *w, struct w_gateway *g, uint64_t in_ns);

/* The place of a post that is under way; of 0, a free one. NULL: there is none. */
static uint64_t *post_at(struct w_gateway *g, uint64_t serial)
{
	for (size_t i = 0; i < GT_LEN(g->desk.posts); i++)
		if (g->desk.posts[i] == serial)
			return &g->desk.posts[i];
	return NULL;
}

/* Its results are untold again, unless their leases have been freed. */
static void post_over(struct w_gateway *g, uint64_t serial)
{
	struct w_lease *l;

	if (!serial)
		return;
	DL_FOREACH (g->desk.leases, l)
		if (l->told == serial)
			l->told = 0;
	*post_at(g, serial) = 0;
	if (g->desk.asking == serial)
		g->desk.asking = 0;
}

static void lease_free(struct w_gateway *g, struct w_lease *l)
{
	DL_DELETE(g->desk.leases, l);
	g->desk.n_leases--;
	free(l);
}

void gt_w_tasks_clear(struct gt_world *w, struct w_gateway *g)
{
	while (g->desk.leases)
		lease_free(g, g->desk.leases);
	free(g->desk.told);
	free(g->desk.answered);
	g->desk = (struct w_desk){ .session = ++w->serial };
}

void gt_w_lease_end(struct gt_world *w, struct w_lease *l, int how)
{
	l->ended = true;
	l->how = how;
	schedule(w, l->gateway, 0);
}

static void fns_fit(struct gt_world *w, struct w_desk *d)
{
	size_t n = w->n_fns;

	if (d->n_fns >= n)
		return;
	d->told = gt_grow(d->told, n, sizeof(*d->told));
	d->answered = gt_grow(d->answered, n, sizeof(*d->answered));
	memset(d->told + d->n_fns, 0, (n - d->n_fns) * sizeof(*d->told));
	memset(d->answered + d->n_fns, 0, (n - d->n_fns) * sizeof(*d->answered));
	d->n_fns = n;
}

/* a: watch, b: number; data: the function's index */
static void work_arrive(struct gt_world *w, struct w_event *e)
{
	struct w_gateway *g = e->who;
	size_t fn = *(size_t *)e->data;

	if (!gt_w_peer_hears(&g->peer, e))
		return;
	fns_fit(w, &g->desk);
	g->desk.told[fn] = GT_MAX(g->desk.told[fn], e->b);
	schedule(w, g, 0);
}

static void work_tell(struct gt_world *w, struct w_gateway *g, const char *function,
		      uint64_t number)
{
	struct w_event *e = gt_w_peer_tell(w, &g->peer, work_arrive);

	e->b = number;
	e->data = gt_alloc(sizeof(size_t));
	*(size_t *)e->data = gt_w_fn(w, function)->index;
}

static void on_task_work(void *ctx, const char *function, uint64_t seen)
{
	struct gt_world *w = ctx;

	for (size_t i = 0; i < w->config.gateways; i++)
		if (w->gateways[i].peer.heard)
			work_tell(w, &w->gateways[i], function, seen);
}

struct snapshot {
	struct gt_world *w;
	struct w_gateway *g;
};

static void snapshot_work(const char *function, uint64_t seen, void *arg)
{
	struct snapshot *s = arg;

	work_tell(s->w, s->g, function, seen);
}

void gt_w_tasks_snapshot(struct gt_world *w, struct w_gateway *g)
{
	struct snapshot s = { w, g };

	if (w->config.tasks)
		gt_control_task_work(w->c, snapshot_work, &s);
}

void gt_w_tasks_resync(struct gt_world *w, struct w_gateway *g)
{
	if (!w->config.tasks)
		return;
	for (size_t i = 0; i < GT_LEN(g->desk.posts); i++) /* connections broke with the watch */
		post_over(g, g->desk.posts[i]);
	g->desk.full = true;
	schedule(w, g, 0);
}

static bool is_untold(const struct w_lease *l)
{
	return l->ended && !l->told;
}

static bool any_untold(const struct w_gateway *g)
{
	const struct w_lease *l;

	DL_FOREACH (g->desk.leases, l)
		if (is_untold(l))
			return true;
	return false;
}

static void results_add(struct gt_world *w, struct w_gateway *g, struct gt_task_op *op,
			uint64_t serial)
{
	struct w_lease *l;

	DL_FOREACH (g->desk.leases, l) {
		if (!is_untold(l))
			continue;
		struct gt_task_result *r = gt_task_op_result(op);

		l->told = serial;
		r->seq = l->seq;
		r->attempt = l->attempt;
		r->tries = l->tries;
		gt_strcopy(r->function, sizeof(r->function), w->fns[l->fn]->name);
		r->status = l->how == W_SERVED ? 200 : 0;
		if (l->how != W_SERVED)
			gt_strcopy(r->slug, sizeof(r->slug),
				   l->how == W_LOST ? "replica_lost" : "wait_timeout");
	}
}

static void wants_add(struct gt_world *w, struct w_gateway *g, struct gt_task_op *op)
{
	struct w_lease *l;

	op->wants = gt_alloc_array(WANTS_MAX, sizeof(*op->wants));
	for (size_t fn = 0; fn < g->desk.n_fns && op->n_wants < WANTS_MAX; fn++) {
		if (g->desk.told[fn] <= g->desk.answered[fn])
			continue;
		struct gt_task_want *want = &op->wants[op->n_wants++];

		gt_strcopy(want->function, sizeof(want->function), w->fns[fn]->name);
		want->n = 32;
		DL_FOREACH (g->desk.leases, l)
			want->held += l->fn == fn && !l->ended;
	}
}

static void failed(struct gt_world *w, struct w_gateway *g, uint64_t serial)
{
	post_over(g, serial);
	g->desk.full = true;
	schedule(w, g, RETRY_NS);
}

static void leases_take(struct gt_world *w, struct w_gateway *g, struct gt_task_op *op)
{
	for (size_t i = 0; i < op->n_tasks; i++) {
		struct w_lease *l = gt_alloc(sizeof(*l));
		const struct gt_task *t = &op->tasks[i];

		*l = (struct w_lease){ .gateway = g,
				       .seq = t->seq,
				       .attempt = t->attempt,
				       .tries = t->tries,
				       .fn = gt_w_fn(w, t->function)->index };
		DL_APPEND(g->desk.leases, l);
		g->desk.n_leases++;
		gt_w_call_lease(w, l, 1 + gt_w_below(w, w->tasks.service_ns));
	}
}

static void on_answer(struct gt_world *w, struct w_event *e)
{
	struct w_post *post = e->data;
	struct w_gateway *g = post->gateway;
	struct w_lease *l, *next;

	if (!post_at(g, post->serial))
		return;
	if (!e->a) {
		failed(w, g, post->serial);
		return;
	}
	DL_FOREACH_SAFE (g->desk.leases, l, next)
		if (l->told == post->serial)
			lease_free(g, l);
	post_over(g, post->serial);
	for (size_t i = 0; i < post->op->n_wants; i++) {
		const struct gt_task_want *want = &post->op->wants[i];
		size_t fn = gt_w_fn(w, want->function)->index;

		if (!want->queued)
			g->desk.answered[fn] = GT_MAX(g->desk.answered[fn], want->seen);
	}
	leases_take(w, g, post->op);
	schedule(w, g, any_untold(g) ? 0 : REST_NS);
}

/* taken: 1, or 0 = refused, or lost on its way back. */
static void answer(struct gt_world *w, struct w_post *post, uint64_t taken, uint64_t in_ns)
{
	struct w_event *e = gt_w_at(w, w->now_ns + in_ns, on_answer);

	e->data = post;
	e->data_fini = post_fini;
	e->a = taken;
}

static void on_exchanged(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct w_post *post = arg;
	struct gt_world *w = post->w;
	bool lost = post->unanswered || post->gateway->peer.cut_down_ns > w->now_ns;

	DL_DELETE(w->tasks.posts, post);
	post->op = op;
	answer(w, post, !err && !lost, 1 + gt_w_below(w, 5 * W_MS));
}

static void on_arrival(struct gt_world *w, struct w_event *e)
{
	struct w_post *post = gt_steal(&e->data);
	struct gt_task_op *op = post->op;
	struct gt_err err = { 0 };

	if (!w->c || post->gateway->peer.cut_up_ns > w->now_ns) {
		answer(w, post, 0, W_POST_TIMEOUT_NS);
		return;
	}
	post->op = NULL;
	DL_APPEND(w->tasks.posts, post);
	if (gt_control_task_exchange(w->c, post->epoch, op, on_exchanged, post, &err) == 0)
		return;
	DL_DELETE(w->tasks.posts, post);
	post->op = op;
	answer(w, post, 0, 1);
}

/* Nobody answers them any more: they broke with the gateways' connections. */
void gt_w_tasks_lost(struct gt_world *w)
{
	struct w_post *post, *next;

	DL_FOREACH_SAFE (w->tasks.posts, post, next)
		free(post);
	w->tasks.posts = NULL;
}

static void arrive(struct gt_world *w, struct w_post *post, uint64_t in_ns)
{
	struct w_event *e = gt_w_at(w, w->now_ns + in_ns, on_arrival);

	e->data = post;
	e->data_fini = post_fini;
}

static void post_now(struct gt_world *w, struct w_gateway *g)
{
	uint64_t serial = ++w->serial;
	struct w_post *post = gt_alloc(sizeof(*post));
	struct gt_task_op *op = gt_task_op_new(GT_TASK_EXCHANGE);
	bool fails = gt_w_chance(w, w->posts_fail_permille);
	struct w_lease *l;

	op->sessions = gt_alloc(sizeof(*op->sessions));
	op->n_sessions = 1;
	op->sessions[0].session = g->desk.session;
	gt_strcopy(op->sessions[0].gateway, sizeof(op->sessions[0].gateway), g->peer.name);
	op->full = g->desk.full;
	op->held = gt_alloc_array(g->desk.n_leases + 1, sizeof(*op->held));
	DL_FOREACH (g->desk.leases, l)
		op->held[op->n_held++] = l->seq;
	results_add(w, g, op, serial);
	if (!g->desk.asking)
		wants_add(w, g, op);
	if (op->n_wants)
		g->desk.asking = serial;
	g->desk.alone = g->desk.full;
	g->desk.full = false;
	*post = (struct w_post){ .gateway = g,
				 .serial = serial,
				 .epoch = g->peer.epoch,
				 .op = op,
				 .w = w,
				 .unanswered = fails && gt_w_chance(w, 500) };
	*post_at(g, 0) = serial;
	g->desk.alive_ns = w->now_ns + ALIVE_NS;
	if (fails && !post->unanswered)
		answer(w, post, 0, gt_w_below(w, W_POST_TIMEOUT_NS));
	else
		arrive(w, post, 1 + gt_w_below(w, 5 * W_MS));
}

static bool worth_a_post(const struct gt_world *w, const struct w_gateway *g)
{
	if (any_untold(g))
		return true;
	for (size_t fn = 0; fn < g->desk.n_fns; fn++)
		if (g->desk.told[fn] > g->desk.answered[fn])
			return true;
	return g->desk.full || (g->desk.leases && g->desk.alive_ns <= w->now_ns);
}

/* As a gateway does, but for one result. */
static bool may_post(const struct gt_world *w, struct w_gateway *g)
{
	bool first = false;

	for (size_t i = 0; i < GT_LEN(g->desk.posts); i++)
		first |= g->desk.posts[i] != 0;
	return first ? post_at(g, 0) && !g->desk.alone && !g->desk.full && any_untold(g)
		     : worth_a_post(w, g);
}

static void on_timer(struct gt_world *w, struct w_event *e)
{
	struct w_gateway *g = e->who;

	if (g->desk.timer != e->a)
		return;
	g->desk.timer = 0;
	if (!g->peer.conn || !g->peer.epoch)
		return;
	if (may_post(w, g))
		post_now(w, g);
	else if (g->desk.leases)
		schedule(w, g, ALIVE_NS);
}

static void schedule(struct gt_world *w, struct w_gateway *g, uint64_t in_ns)
{
	struct w_event *e;

	if (!post_at(g, 0) || (g->desk.timer && g->desk.due_ns <= w->now_ns + in_ns))
		return;
	e = gt_w_at(w, w->now_ns + in_ns, on_timer);
	g->desk.due_ns = w->now_ns + in_ns;
	g->desk.timer = e->a = ++w->serial;
	e->who = g;
}

/* ---- control's ports ------------------------------------------------------------------------ */

static void on_task_changed(void *ctx, const char *id)
{
	(void)ctx;
	(void)id;
}

static void on_task_stop(void *ctx, uint64_t seq, uint32_t attempt)
{
	(void)attempt;
	(void)ctx;
	(void)seq;
}

void gt_w_tasks_ports(struct gt_world *w, struct gt_control_ports *ports)
{
	if (!w->config.tasks)
		return;
	ports->store.task = store_task;
	ports->on_task_work = on_task_work;
	ports->on_task_changed = on_task_changed;
	ports->on_task_stop = on_task_stop;
	if (!w->tasks.first)
		w->tasks.first = 1;
}
