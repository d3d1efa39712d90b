#include "pump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 16 /* then other connections get their turn */

/* One direction. */
struct flow {
	struct end *from, *to;
	char *rest; /* read, and not taken yet; NULL = nothing */
	size_t at, len;
	bool from_ended, told_end; /* no more comes; and the other side knows */
	bool to_gone;              /* takes no more: what comes is dropped */
	bool broken;               /* by an error: no orderly end can be told */
};

struct pump {
	struct gt_loop *loop;
	struct end left, right;
	struct flow flows[2];
	struct gt_watch *watches[2];
	struct gt_timer again; /* there is more to do */
	pump_fn *fn;
	void *arg;
};

/* Shared by all pumps of a thread: nothing stays in it between two steps. */
static _Thread_local char scratch[PUMP_ROOM];

static void keep(struct flow *f, const char *data, size_t len)
{
	f->rest = gt_alloc(len);
	memcpy(f->rest, data, len);
	f->at = 0;
	f->len = len;
}

static void rest_drop(struct flow *f)
{
	free(f->rest);
	f->rest = NULL;
}

/* How many of the bytes were taken, all when nobody is there to take them. */
static size_t give(struct flow *f, const char *data, size_t len)
{
	size_t done = 0;

	while (done < len && !f->to_gone) {
		ssize_t n = end_write(f->to, data + done, len - done);

		if (n == -EAGAIN)
			return done;
		if (n < 0)
			f->to_gone = true;
		else
			done += (size_t)n;
	}
	return len;
}

/* False: the other end takes no more now. */
static bool give_rest(struct flow *f)
{
	f->at += give(f, f->rest + f->at, f->len - f->at);
	if (f->at < f->len)
		return false;
	rest_drop(f);
	return true;
}

static void tell_end(struct flow *f)
{
	int r = f->to_gone ? 0 : end_shut(f->to);

	if (r == -EAGAIN)
		return;
	f->told_end = true;
	f->to_gone |= r < 0;
}

/* True: it stopped only because others wait. */
static bool flow_step(struct flow *f)
{
	for (int i = 0; i < ROUNDS; i++) {
		if (f->rest && !give_rest(f))
			return false;
		if (f->from_ended) {
			if (!f->told_end && !f->broken)
				tell_end(f);
			return false;
		}
		ssize_t n = end_read(f->from, scratch, sizeof(scratch));

		if (n == -EAGAIN)
			return false;
		if (n <= 0) {
			f->from_ended = true;
			f->broken = n < 0;
			continue;
		}
		size_t taken = give(f, scratch, (size_t)n);

		if (taken < (size_t)n)
			keep(f, scratch + taken, (size_t)n - taken);
	}
	return true;
}

static void finish(struct pump *p, bool reset)
{
	for (int i = 0; i < 2; i++) {
		gt_watch_close(p->watches[i]);
		rest_drop(&p->flows[i]);
	}
	gt_timer_clear(p->loop, &p->again);
	end_close(&p->left, reset);
	end_close(&p->right, reset);
}

/* All that can be said was said, or there is nobody to say it to. */
static bool is_over(const struct flow *f)
{
	return f->from_ended && !f->rest && (f->told_end || f->broken);
}

static void on_again(void *arg);

static void step(struct pump *p)
{
	bool more = false;

	for (int i = 0; i < 2; i++)
		more |= flow_step(&p->flows[i]);
	const struct flow *a = &p->flows[0], *b = &p->flows[1];
	bool broken = (a->broken && !a->rest) || (b->broken && !b->rest);

	if (broken || (is_over(a) && is_over(b))) {
		pump_fn *fn = p->fn;
		void *arg = p->arg;

		finish(p, broken);
		free(p);
		fn(arg);
		return;
	}
	if (more && !gt_timer_is_set(&p->again))
		gt_timer_set(p->loop, &p->again, 0, on_again, p);
}

static void on_event(struct gt_watch *w, unsigned events, void *arg)
{
	struct pump *p = arg;
	struct flow *f = &p->flows[w == p->watches[0] ? 0 : 1];

	/* Nobody would read the error of one that has said its last word. */
	if (events & GT_EV_FAILED && f->from_ended)
		f->broken = true;
	step(p);
}

static void on_again(void *arg)
{
	step(arg);
}

int pump_new(const struct pump_config *config, struct pump **ret, struct gt_err *err)
{
	struct pump *p = gt_alloc(sizeof(*p));
	const unsigned all = GT_EV_READ | GT_EV_WRITE | GT_EV_HANGUP | GT_EV_EDGE;
	int r;

	*p = (struct pump){ .loop = config->loop,
			    .left = end_steal(config->left),
			    .right = end_steal(config->right),
			    .fn = config->fn,
			    .arg = config->arg };
	p->flows[0] = (struct flow){ .from = &p->left, .to = &p->right };
	p->flows[1] = (struct flow){ .from = &p->right, .to = &p->left };
	if (config->to_right_len)
		keep(&p->flows[0], config->to_right, config->to_right_len);
	if (config->to_left_len)
		keep(&p->flows[1], config->to_left, config->to_left_len);
	r = gt_loop_watch(p->loop, p->left.fd, all, on_event, p, &p->watches[0], err);
	if (r == 0)
		r = gt_loop_watch(p->loop, p->right.fd, all, on_event, p, &p->watches[1], err);
	if (r < 0) {
		pump_free(p);
		return r;
	}
	/* TLS may have bytes that the socket does not tell of. */
	gt_timer_set(p->loop, &p->again, 0, on_again, p);
	*ret = p;
	return 0;
}

void pump_free(struct pump *p)
{
	if (!p)
		return;
	finish(p, true);
	free(p);
}
