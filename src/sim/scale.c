/* scale.c - the events of a run, in their order. */
#include "sim_scale.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct event {
	uint64_t at_ns, serial;
	uint32_t kind; /* of equal times the lower comes first */
	uint32_t fn;
	struct replica *replica;
	uint64_t service_ns;
};
enum { ENDED, STARTED, DUE, ARRIVED };

static const struct policy *const policies[] = { &gt_sim_gantry, &gt_sim_kpa, &gt_sim_fixed,
						 &gt_sim_hist,   &gt_sim_ray, &gt_sim_keda };

/* ---- the heap ---- */
static bool before(const struct event *a, const struct event *b)
{
	if (a->at_ns != b->at_ns)
		return a->at_ns < b->at_ns;
	if (a->kind != b->kind)
		return a->kind < b->kind;
	return a->serial < b->serial;
}

static void event_add(struct sim *s, struct event e)
{
	size_t at = s->n_heap++;

	if (at == s->cap_heap) {
		s->cap_heap = s->cap_heap ? 2 * s->cap_heap : 1024;
		s->heap = gt_grow(s->heap, s->cap_heap, sizeof(*s->heap));
	}
	e.serial = s->serial++;
	while (at > 0 && before(&e, &s->heap[(at - 1) / 2])) {
		s->heap[at] = s->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	s->heap[at] = e;
}

static struct event event_take(struct sim *s)
{
	struct event first = s->heap[0], last = s->heap[--s->n_heap];
	size_t at = 0;

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= s->n_heap)
			break;
		if (child + 1 < s->n_heap && before(&s->heap[child + 1], &s->heap[child]))
			child++;
		if (!before(&s->heap[child], &last))
			break;
		s->heap[at] = s->heap[child];
		at = child;
	}
	s->heap[at] = last;
	return first;
}

/* ---- calls and slots ---- */
static void queue_push(struct queue *q, uint32_t call)
{
	if (q->n == q->cap) {
		size_t cap = q->cap ? 2 * q->cap : 16;
		uint32_t *calls = gt_alloc_array(cap, sizeof(*calls));

		for (size_t i = 0; i < q->n; i++)
			calls[i] = q->calls[(q->first + i) % q->cap];
		free(q->calls);
		*q = (struct queue){ .calls = calls, .n = q->n, .cap = cap };
	}
	q->calls[(q->first + q->n++) % q->cap] = call;
}

static uint32_t queue_pop(struct queue *q)
{
	uint32_t call = q->calls[q->first];

	q->first = (q->first + 1) % q->cap;
	q->n--;
	return call;
}

static void delay_note(struct sim *s, const struct gt_sim_call *call, const struct replica *r)
{
	if (seconds(call->arrival_ns) < s->run->skip_s)
		return;
	s->delays_s[s->res.counted++] = seconds(s->now_ns - call->arrival_ns);
	s->res.cold += r->ready_ns > call->arrival_ns;
}

static void call_start(struct sim *s, struct fn *f, struct replica *r, uint32_t index)
{
	const struct gt_sim_call *call = &s->load->calls[index];

	if (r->used++ == 0) {
		r->idle_ns = s->now_ns; /* until it is idle again: since when it serves */
		s->now_serving++;
	}
	f->in_flight++;
	DL_DELETE(f->replicas, r);
	DL_PREPEND(f->replicas, r);
	delay_note(s, call, r);
	event_add(s, (struct event){ .at_ns = s->now_ns + call->service_ns,
				     .kind = ENDED,
				     .fn = f->index,
				     .replica = r,
				     .service_ns = call->service_ns });
}

static void queue_serve(struct sim *s, struct fn *f)
{
	struct replica *r, *next;

	DL_FOREACH_SAFE (f->replicas, r, next) {
		if (f->queue.n == 0)
			break;
		while (r->state == READY && r->used < s->run->slots && f->queue.n > 0) {
			s->now_queued--;
			call_start(s, f, r, queue_pop(&f->queue));
		}
	}
}

/* ---- replicas ---- */
static void replica_start(struct sim *s, struct fn *f)
{
	struct replica *r = gt_alloc(sizeof(*r));
	uint64_t takes_ns = gt_sim_cold_ns(s->cold, s->load->ids[f->index], f->n_starts++);

	r->fn = f->index;
	r->ordered_ns = s->now_ns;
	r->serial = s->res.starts++;
	DL_APPEND(f->replicas, r);
	f->n_starting++;
	s->now_starting++;
	event_add(s, (struct event){ .at_ns = s->now_ns + takes_ns,
				     .kind = STARTED,
				     .fn = f->index,
				     .replica = r });
}

static void replica_end(struct sim *s, struct fn *f, struct replica *r)
{
	s->gpu_ns += s->now_ns - r->ordered_ns;
	DL_DELETE(f->replicas, r);
	free(r);
}

/* One that still starts is freed by its STARTED event. */
static void replica_stop(struct sim *s, struct fn *f, struct replica *r)
{
	if (r->state == STARTING) {
		f->n_starting--;
		s->now_starting--;
		s->gpu_ns += s->now_ns - r->ordered_ns;
		r->state = DRAINING;
		DL_DELETE(f->replicas, r);
		return;
	}
	f->n_ready--;
	s->now_ready--;
	r->state = DRAINING;
	if (r->used == 0)
		replica_end(s, f, r);
}

static struct replica *victim(const struct fn *f, bool any)
{
	struct replica *r, *best = NULL;

	if (!f->replicas)
		return NULL;
	if (!any) {
		for (r = f->replicas->prev;; r = r->prev) {
			if (r->state == READY && r->used == 0)
				return r;
			if (r == f->replicas)
				return NULL;
		}
	}
	DL_FOREACH (f->replicas, r) {
		if (r->state == DRAINING)
			continue;
		if (!best || (r->state == STARTING && best->state == READY) ||
		    (r->state == best->state && r->serial > best->serial))
			best = r;
	}
	return best;
}

static void idle_stop(struct sim *s, struct fn *f, struct order *o)
{
	struct replica *r, *next;

	DL_FOREACH_SAFE (f->replicas, r, next) {
		if (r->state != READY || r->used > 0)
			continue;
		if (s->now_ns - r->idle_ns >= o->idle_ns)
			replica_stop(s, f, r);
		else
			o->due_ns = GT_MIN(o->due_ns, r->idle_ns + o->idle_ns);
	}
}

static void obey(struct sim *s, struct fn *f, struct order *o)
{
	while (f->n_ready + f->n_starting < o->need)
		replica_start(s, f);
	while (f->n_ready + (o->any ? f->n_starting : 0) > o->wanted) {
		struct replica *r = victim(f, o->any);

		if (!r)
			break;
		replica_stop(s, f, r);
	}
	if (o->idle_ns != 0)
		idle_stop(s, f, o);
}

static void decide(struct sim *s, struct fn *f, enum cause cause)
{
	struct order o = { .due_ns = NEVER, .wanted = UINT32_MAX };
	uint64_t begin = s->run->clock ? gt_mono_ns(s->run->clock) : 0;

	s->policy->decide(s, f, cause, &o);
	if (s->run->clock)
		s->decide_cpu_ns += gt_mono_ns(s->run->clock) - begin;
	s->res.decisions++;
	f->arrivals = f->completions = f->became_ready = 0;
	f->service_ns = f->start_ns = 0;
	obey(s, f, &o);
	if (o.due_ns != f->due_ns && o.due_ns != NEVER)
		event_add(s, (struct event){ .at_ns = GT_MAX(o.due_ns, s->now_ns + 1),
					     .kind = DUE,
					     .fn = f->index,
					     .service_ns = o.due_ns });
	f->due_ns = o.due_ns;
}

/* ---- events ---- */
static void on_ended(struct sim *s, struct fn *f, const struct event *e)
{
	struct replica *r = e->replica;

	f->in_flight--;
	f->completions++;
	f->service_ns += e->service_ns;
	DL_DELETE(f->replicas, r);
	DL_PREPEND(f->replicas, r);
	if (--r->used == 0) {
		s->busy_ns += s->now_ns - r->idle_ns;
		r->idle_ns = s->now_ns;
		s->now_serving--;
		if (r->state == DRAINING) {
			replica_end(s, f, r);
			return;
		}
	}
	queue_serve(s, f);
}

static bool on_started(struct sim *s, struct fn *f, const struct event *e)
{
	struct replica *r = e->replica;

	if (r->state == DRAINING) {
		free(r);
		return false;
	}
	r->state = READY;
	r->ready_ns = r->idle_ns = s->now_ns;
	f->n_starting--;
	f->n_ready++;
	s->now_starting--;
	s->now_ready++;
	f->became_ready++;
	f->start_ns += s->now_ns - r->ordered_ns;
	queue_serve(s, f);
	return true;
}

static void on_event(struct sim *s, const struct event *e)
{
	struct fn *f = &s->fns[e->fn];

	switch (e->kind) {
	case ENDED:
		on_ended(s, f, e);
		decide(s, f, COMPLETION);
		break;
	case STARTED:
		if (on_started(s, f, e))
			decide(s, f, BECAME_READY);
		break;
	default:
		if (f->due_ns == e->service_ns) { /* else another one took its place */
			f->due_ns = NEVER;
			decide(s, f, TIMER);
		}
		break;
	}
}

static void on_arrival(struct sim *s)
{
	uint32_t index = (uint32_t)s->next_call++;
	struct fn *f = &s->fns[s->load->calls[index].function];

	f->arrivals++;
	queue_push(&f->queue, index);
	s->now_queued++;
	queue_serve(s, f);
	decide(s, f, ARRIVAL);
}

/* ---- a run ---- */
static void points_until(struct sim *s, uint64_t ns)
{
	while (s->run->points && s->next_point < s->run->n_points &&
	       s->run->points[s->next_point].t_s <= seconds(ns)) {
		struct gt_sim_point *p = &s->run->points[s->next_point++];

		p->ready = s->now_ready;
		p->starting = s->now_starting;
		p->serving = s->now_serving;
		p->queued = (uint32_t)s->now_queued;
	}
}

static void run_events(struct sim *s)
{
	size_t told = 0, n = s->load->n_calls;

	while (s->next_call < n || s->n_heap > 0) {
		bool arrival = s->next_call < n &&
			       (s->n_heap == 0 ||
				s->load->calls[s->next_call].arrival_ns < s->heap[0].at_ns);
		uint64_t at = arrival ? s->load->calls[s->next_call].arrival_ns : s->heap[0].at_ns;

		points_until(s, at);
		s->now_ns = at;
		if (arrival) {
			on_arrival(s);
		} else {
			struct event e = event_take(s);

			on_event(s, &e);
		}
		if (s->run->progress && s->next_call - told >= 4096) {
			told = s->next_call;
			s->run->progress((double)told / (double)n, s->run->arg);
		}
	}
	points_until(s, NEVER);
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Nearest rank. */
static double quantile(const double *sorted, size_t n, double q)
{
	size_t rank = (size_t)ceil(q * (double)n);

	return n == 0 ? 0 : sorted[rank > 0 ? rank - 1 : 0];
}

static void result_fill(struct sim *s, struct gt_sim_result *ret)
{
	struct gt_sim_result *r = &s->res;
	size_t n = r->counted, met = 0;
	double sum = 0;

	qsort(s->delays_s, n, sizeof(double), by_value);
	for (size_t i = 0; i < n; i++) {
		sum += s->delays_s[i];
		met += s->delays_s[i] <= s->run->slo_s;
	}
	r->calls = s->load->n_calls;
	r->gpu_hours = seconds(s->gpu_ns) / 3600;
	r->busy_hours = seconds(s->busy_ns) / 3600;
	r->waste = r->gpu_hours > 0 ? 1 - r->busy_hours / r->gpu_hours : 0;
	r->mean_delay_s = n ? sum / (double)n : 0;
	r->p50_delay_s = quantile(s->delays_s, n, 0.5);
	r->p90_delay_s = quantile(s->delays_s, n, 0.9);
	r->p99_delay_s = quantile(s->delays_s, n, 0.99);
	r->max_delay_s = n ? s->delays_s[n - 1] : 0;
	r->slo = n ? (double)met / (double)n : 1;
	r->cold_fraction = n ? (double)r->cold / (double)n : 0;
	r->j20 = r->gpu_hours + 20 * sum / 3600;
	r->end_s = seconds(s->now_ns);
	r->decide_s = seconds(s->decide_cpu_ns);
	gt_sim_bounds(s->load, s->cold, s->run->slots, &r->zero_hours, &r->clairvoyant_hours);
	*ret = *r;
}

/* "fixed:600": the policy and its number. */
static int policy_find(const char *name, const struct policy **ret, double *param,
		       struct gt_err *err)
{
	for (size_t i = 0; i < GT_LEN(policies); i++) {
		const char *known = policies[i]->name;
		size_t len = strlen(known);
		char *end;

		if (known[len - 1] != ':' && strcmp(name, known) == 0) {
			*ret = policies[i];
			return 0;
		}
		if (known[len - 1] != ':' || !gt_starts_with(name, known))
			continue;
		*param = strtod(name + len, &end);
		if (*end == '\0' && end != name + len && *param > 0 &&
		    *param <= GT_SIM_SECONDS_MAX) {
			*ret = policies[i];
			return 0;
		}
	}
	return gt_err_set(err, EINVAL, "usage",
			  "there is no policy %.40s; there are: gantry, kpa, fixed:SECONDS, hist, "
			  "ray, keda",
			  name);
}

int gt_sim_policy_check(const char *policy, struct gt_err *err)
{
	const struct policy *p;
	double param;

	return policy_find(policy, &p, &param, err);
}

static void sim_free(struct sim *s)
{
	for (size_t i = 0; i < s->load->n_functions; i++) {
		struct replica *r, *next;

		DL_FOREACH_SAFE (s->fns[i].replicas, r, next)
			free(r);
		if (s->fns[i].policy)
			s->policy->fn_close(&s->fns[i]);
		free(s->fns[i].queue.calls);
	}
	if (s->policy->close)
		s->policy->close(s);
	free(s->fns);
	free(s->heap);
	free(s->delays_s);
}

int gt_sim_scale_run(const struct gt_sim_scale *run, const struct gt_sim_load *load,
		     const struct gt_sim_cold *cold, struct gt_sim_result *ret, struct gt_err *err)
{
	struct sim s = { .run = run, .load = load, .cold = cold };
	int r = policy_find(run->policy, &s.policy, &s.param, err);

	if (r < 0)
		return r;
	s.fns = gt_alloc_array(load->n_functions, sizeof(*s.fns));
	s.delays_s = gt_alloc_array(load->n_calls, sizeof(double));
	for (size_t i = 0; i < load->n_functions; i++) {
		s.fns[i].index = (uint32_t)i;
		s.fns[i].due_ns = NEVER;
	}
	if (s.policy->open)
		s.policy->open(&s);
	run_events(&s);
	result_fill(&s, ret);
	sim_free(&s);
	return 0;
}
