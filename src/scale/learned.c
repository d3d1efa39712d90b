/* learned.c - the states as bytes. One list of members writes and reads, so that they can not drift
 * apart. */
#include <gantry/scale/learned.h>

#include <math.h>
#include <string.h>

#include "scale_priv.h"

#define MAGIC      "gtlearn1" /* the version is its last letter: any change of the lists below */
#define FNV_START  0xcbf29ce484222325ULL /* FNV-1a, RFC 9923 (64 bits) */
#define FNV_PRIME  0x100000001b3ULL
#define FLOAT_MOST 1e15F

/* Writes to `out`, or reads from at..end. */
struct walk {
	struct gt_buf *out;
	const char *at, *end;
	uint64_t base_ns, now_ns, elapsed_ns; /* of times that are read */
	bool bad;
};

/* ---- kinds of members ---- */
static void raw(struct walk *w, void *p, size_t size)
{
	if (w->out) {
		(void)!gt_buf_add(w->out, p, size);
	} else if (w->bad || (size_t)(w->end - w->at) < size) {
		w->bad = true;
		memset(p, 0, size);
	} else {
		memcpy(p, w->at, size);
		w->at += size;
	}
}

static void small(struct walk *w, uint8_t *n, unsigned most)
{
	raw(w, n, sizeof(*n));
	if (!w->out && *n > most) {
		w->bad = true;
		*n = 0;
	}
}

static void flag(struct walk *w, bool *b)
{
	uint8_t n = w->out ? *b : 0;

	small(w, &n, 1);
	*b = n;
}

static void floats(struct walk *w, float *f, size_t n)
{
	raw(w, f, n * sizeof(*f));
	for (size_t i = 0; i < n && !w->out; i++)
		if (!(fabsf(f[i]) <= FLOAT_MOST))
			w->bad = true;
}

/* 0 stays 0: "never". A time from before the clock's zero becomes its first moment. */
static void moment(struct walk *w, uint64_t *ns)
{
	uint64_t ago;

	raw(w, ns, sizeof(*ns));
	if (w->out || *ns == 0)
		return;
	if (*ns >= w->base_ns + w->elapsed_ns) {
		*ns = GT_MIN(*ns - w->base_ns - w->elapsed_ns, UINT64_MAX / 2);
		*ns += GT_MIN(w->now_ns, UINT64_MAX / 2);
		return;
	}
	ago = w->base_ns + w->elapsed_ns - *ns;
	*ns = w->now_ns > ago ? w->now_ns - ago : 1;
}

static void steps(struct walk *w, struct steps *s)
{
	small(w, &s->n, STEPS_MAX);
	if (!w->out) {
		s->cap = s->n;
		s->all = s->n ? gt_alloc_array(s->n, sizeof(s->all[0])) : NULL;
	}
	for (size_t i = 0; i < s->n; i++) {
		raw(w, &s->all[i].count, sizeof(s->all[i].count));
		moment(w, &s->all[i].end_ns);
	}
}

static void runs(struct walk *w, struct off_runs *r)
{
	small(w, &r->n, STEPS_MAX);
	if (!w->out) {
		r->cap = r->n;
		r->all = r->n ? gt_alloc_array(r->n, sizeof(r->all[0])) : NULL;
	}
	for (size_t i = 0; i < r->n; i++) {
		raw(w, &r->all[i].count, sizeof(r->all[i].count));
		small(w, &r->all[i].context, CONTEXTS - 1);
		small(w, &r->all[i].told, GAP_BINS);
		moment(w, &r->all[i].off_ns);
	}
}

static void levels(struct walk *w, struct gt_scale *s)
{
	for (size_t i = 0; i < LEVEL_GROUPS; i++) {
		bool has = s->levels[i] != NULL;

		flag(w, &has);
		if (!has)
			continue;
		if (!w->out)
			s->levels[i] = gt_alloc(sizeof(struct level));
		raw(w, s->levels[i]->at_risk, sizeof(s->levels[i]->at_risk));
		raw(w, s->levels[i]->returned, sizeof(s->levels[i]->returned));
		floats(w, &s->levels[i]->harm_s, 1);
		floats(w, &s->levels[i]->harm_n, 1);
	}
}

/* ---- the lists ---- */
/* All but the state of Knative's rule, which looks back a minute. */
static void scale_walk(struct walk *w, struct gt_scale *s)
{
	moment(w, &s->now_ns);
	raw(w, &s->on, sizeof(s->on));
	raw(w, &s->calls, sizeof(s->calls));
	raw(w, &s->queued, sizeof(s->queued));
	steps(w, &s->idle);
	steps(w, &s->held);
	steps(w, &s->renewed);
	runs(w, &s->off);
	levels(w, s);
	floats(w, &s->recent, 1);
	floats(w, &s->today, 1);
	floats(w, &s->fast, 1);
	floats(w, &s->slow, 1);
	floats(w, &s->service_s, 1);
	floats(w, &s->service_n, 1);
	floats(w, &s->start_s, 1);
	floats(w, &s->start_n, 1);
	floats(w, s->ahead, AHEAD);
	floats(w, &s->error2, 1);
	small(w, &s->ahead_at, AHEAD - 1);
	flag(w, &s->waited);
	flag(w, &s->wait_start);
	moment(w, &s->ahead_ns);
	moment(w, &s->wait_ns);
	floats(w, &s->wait_call_s, 1);
	raw(w, &s->wait_ready, sizeof(s->wait_ready));
	raw(w, &s->wait_peak, sizeof(s->wait_peak));
}

static void pool_walk(struct walk *w, struct gt_scale_pool *p)
{
	_Static_assert(sizeof(struct cell) == 2 * sizeof(float), "cells are floats alone");
	floats(w, &p->cells[0][0][0].at_risk, sizeof(p->cells) / sizeof(float));
	floats(w, &p->all[0][0].at_risk, sizeof(p->all) / sizeof(float));
	floats(w, &p->start_s, 1);
	floats(w, &p->start_n, 1);
}

static void head_walk(struct walk *w, struct gt_learned_head *head)
{
	raw(w, &head->now_ns, sizeof(head->now_ns));
	raw(w, &head->wall_ms, sizeof(head->wall_ms));
	flag(w, &head->final);
	raw(w, &head->functions, sizeof(head->functions));
}

#define COUNT_AT (sizeof(MAGIC) - 1 + 2 * sizeof(uint64_t) + 1) /* of head.functions */

/* ---- writing ---- */
static uint64_t sum_of(const char *at, size_t len)
{
	uint64_t h = FNV_START;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)at[i]) * FNV_PRIME;
	return h;
}

void gt_learned_begin(struct gt_buf *out, const struct gt_learned_head *head,
		      const struct gt_scale_pool *pool)
{
	gt_auto(free) struct gt_scale_pool *copy = gt_scale_pool_copy(pool);
	struct gt_learned_head h = *head;
	struct walk w = { .out = out };

	h.functions = 0;
	gt_buf_reset(out);
	gt_buf_adds(out, MAGIC);
	head_walk(&w, &h);
	pool_walk(&w, copy);
}

bool gt_learned_add(struct gt_buf *out, const char *name, uint64_t start_ms,
		    const struct gt_scale *scale)
{
	struct gt_scale copy = *scale; /* what it points to is only read */
	char padded[GT_NAME_MAX + 1] = "";
	struct walk w = { .out = out };
	uint32_t count;

	memcpy(&count, gt_buf_str(out) + COUNT_AT, sizeof(count));
	if (count == GT_LEARNED_FUNCTIONS_MAX || out->len > GT_LEARNED_BYTES_MAX / 2)
		return false;
	gt_strcopy(padded, sizeof(padded), name);
	raw(&w, padded, sizeof(padded));
	raw(&w, &start_ms, sizeof(start_ms));
	scale_walk(&w, &copy);
	count++;
	memcpy(gt_buf_str(out) + COUNT_AT, &count, sizeof(count));
	return true;
}

void gt_learned_end(struct gt_buf *out)
{
	uint64_t sum = sum_of(gt_buf_str(out), out->len);

	gt_buf_add(out, &sum, sizeof(sum));
}

/* ---- reading ---- */
static int bad(struct gt_err *err, const char *what)
{
	return gt_err_set(err, EINVAL, "invalid_state", "what was learned: %s", what);
}

/* Leaves w behind the head. */
static int open_walk(struct walk *w, const void *data, size_t len, struct gt_learned_head *ret,
		     struct gt_err *err)
{
	uint64_t sum;

	*w = (struct walk){ .at = data, .end = (const char *)data + len };
	if (len < COUNT_AT + sizeof(uint32_t) + sizeof(sum))
		return bad(err, "too short");
	if (memcmp(data, MAGIC, sizeof(MAGIC) - 1) != 0)
		return bad(err, "of another version");
	w->end -= sizeof(sum);
	memcpy(&sum, w->end, sizeof(sum));
	if (sum != sum_of(data, len - sizeof(sum)))
		return bad(err, "damaged: the checksum is wrong");
	w->at += sizeof(MAGIC) - 1;
	head_walk(w, ret);
	if (w->bad || ret->functions > GT_LEARNED_FUNCTIONS_MAX || ret->now_ns > UINT64_MAX / 2)
		return bad(err, "damaged: its head");
	return 0;
}

int gt_learned_head_read(const void *data, size_t len, struct gt_learned_head *ret,
			 struct gt_err *err)
{
	struct walk w;

	return open_walk(&w, data, len, ret, err);
}

static void function_read(struct walk *w, struct gt_learned_function *f)
{
	*f = (struct gt_learned_function){ .scale = gt_scale_new() };
	raw(w, f->name, sizeof(f->name));
	w->bad = w->bad || f->name[GT_NAME_MAX] || !f->name[0];
	raw(w, &f->start_ms, sizeof(f->start_ms));
	scale_walk(w, f->scale);
	f->busy = f->scale->calls > 0;
}

int gt_learned_read(const void *data, size_t len, uint64_t now_ns, uint64_t elapsed_ns,
		    void (*fn)(const struct gt_learned_function *f, void *arg), void *arg,
		    struct gt_scale_pool **ret_pool, struct gt_err *err)
{
	gt_auto(free) struct gt_scale_pool *pool = gt_scale_pool_new();
	struct gt_learned_function f;
	struct gt_learned_head head;
	struct walk w, again;
	int r = open_walk(&w, data, len, &head, err);

	if (r < 0)
		return r;
	w.base_ns = head.now_ns;
	w.now_ns = now_ns;
	w.elapsed_ns = GT_MIN(elapsed_ns, UINT64_MAX / 4);
	pool_walk(&w, pool);
	again = w;
	for (uint32_t i = 0; i < head.functions && !w.bad; i++) {
		function_read(&w, &f);
		gt_scale_free(f.scale);
	}
	if (w.bad || w.at != w.end)
		return bad(err, "damaged: a state");
	for (uint32_t i = 0; i < head.functions; i++) {
		function_read(&again, &f);
		fn(&f, arg);
	}
	*ret_pool = pool;
	pool = NULL;
	return 0;
}
