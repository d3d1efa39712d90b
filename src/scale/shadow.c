/* shadow.c - the candidate's replicas between two inputs: they become ready, are held and let go at
 * their times, as the live ones are by control. */
#include <gantry/scale/shadow.h>

#include <stdlib.h>
#include <string.h>

#include <gantry/base/units.h>

#define STARTS_MAX 64  /* starts under way at different times; more are taken together */
#define TURNS_MAX  256 /* own decisions between two inputs: a bound, never reached in earnest */

struct under_way {
	uint64_t ready_ns;
	uint32_t n;
};

struct gt_scale_shadow {
	struct gt_scale_candidate candidate;
	struct gt_scale *scale;
	struct gt_scale_bill live, shadow;
	uint64_t now_ns, due_ns; /* of the last decision; and of the next without an input */
	struct gt_scale_params params;
	uint32_t calls; /* at once, since now_ns */
	uint32_t live_replicas, live_waiting;
	uint32_t ready, starting;
	double start_s;
	struct under_way starts[STARTS_MAX]; /* by time */
	uint32_t n_starts;
};

int gt_scale_candidate_parse(const char *text, struct gt_scale_candidate *ret, struct gt_err *err)
{
	struct gt_scale_candidate c = { .price = -1, .buffer = -1 };
	gt_auto(free) char *copy = gt_strdup(text);
	char *at = copy, *word;
	uint64_t n;

	while ((word = strsep(&at, " "))) {
		if (!word[0])
			continue;
		if (!c.on && gt_scale_policy_parse(word, &c.policy) == 0)
			c.on = true;
		else if (c.on && gt_starts_with(word, "price=") &&
			 gt_parse_u64(word + 6, 1000000, &n) == 0)
			c.price = (double)n;
		else if (c.on && gt_starts_with(word, "buffer=") &&
			 gt_parse_u64(word + 7, 1000, &n) == 0)
			c.buffer = (int64_t)n;
		else if (c.on && gt_streq(word, "idle=learned"))
			c.learn_idle = true;
		else
			return gt_err_set(err, EINVAL, "invalid_config",
					  "'%.40s': write a policy (gantry, kpa) and then what is "
					  "different: price=50 buffer=1 idle=learned",
					  word);
	}
	if (!gt_strcopy(c.text, sizeof(c.text), text))
		return gt_err_set(err, EINVAL, "invalid_config", "longer than %zu characters",
				  sizeof(c.text) - 1);
	*ret = c;
	return 0;
}

void gt_scale_bill_add(struct gt_scale_bill *to, const struct gt_scale_bill *b)
{
	to->replica_s += b->replica_s;
	to->waiting_s += b->waiting_s;
	to->starts += b->starts;
}

struct gt_scale_shadow *gt_scale_shadow_new(const struct gt_scale_candidate *candidate)
{
	struct gt_scale_shadow *s = gt_alloc(sizeof(*s));

	s->candidate = *candidate;
	s->scale = gt_scale_new();
	s->due_ns = UINT64_MAX;
	return s;
}

void gt_scale_shadow_free(struct gt_scale_shadow *s)
{
	if (!s)
		return;
	gt_scale_free(s->scale);
	free(s);
}

static struct gt_scale_params params_of(const struct gt_scale_shadow *s,
					const struct gt_scale_params *live)
{
	struct gt_scale_params p = *live;

	p.policy = s->candidate.policy;
	if (s->candidate.price >= 0)
		p.price = s->candidate.price;
	if (s->candidate.buffer >= 0)
		p.buffer = (uint32_t)s->candidate.buffer;
	if (s->candidate.learn_idle)
		p.idle_stated = false;
	return p;
}

static uint32_t slots(const struct gt_scale_shadow *s)
{
	return GT_MAX(s->params.target, 1U);
}

static uint32_t served(const struct gt_scale_shadow *s)
{
	return (uint32_t)GT_MIN((uint64_t)s->ready * slots(s), (uint64_t)s->calls);
}

/* Replicas that have a call, when calls go to as few as can take them. */
static uint32_t busy(const struct gt_scale_shadow *s)
{
	return (uint32_t)(((uint64_t)served(s) + slots(s) - 1) / slots(s));
}

/* Nothing changes until then. */
static void bill_until(struct gt_scale_shadow *s, uint64_t ns)
{
	double dt;

	if (ns <= s->now_ns)
		return;
	dt = (double)(ns - s->now_ns) / GT_NS_PER_S;
	s->live.replica_s += s->live_replicas * dt;
	s->live.waiting_s += s->live_waiting * dt;
	s->shadow.replica_s += (s->ready + s->starting) * dt;
	s->shadow.waiting_s += (s->calls - served(s)) * dt;
	s->now_ns = ns;
}

static void start(struct gt_scale_shadow *s, uint32_t n, uint64_t now_ns)
{
	uint64_t ready_ns = now_ns + (uint64_t)(s->start_s * GT_NS_PER_S);
	struct under_way *last = s->n_starts ? &s->starts[s->n_starts - 1] : NULL;

	s->starting += n;
	if (last && (s->n_starts == STARTS_MAX || last->ready_ns >= ready_ns))
		last->n += n; /* a shorter start than before: it waits for the longer one */
	else
		s->starts[s->n_starts++] = (struct under_way){ .ready_ns = ready_ns, .n = n };
}

/* `in` says what happened; what is now is the candidate's own. */
static void decide(struct gt_scale_shadow *s, struct gt_scale_pool *pool, struct gt_scale_in *in,
		   uint64_t now_ns)
{
	struct gt_scale_out out;

	in->now_ns = now_ns;
	in->params = s->params;
	in->in_flight = served(s);
	in->queued = s->calls - in->in_flight;
	in->ready = s->ready;
	in->starting = s->starting;
	gt_scale_decide(s->scale, pool, in, &out);
	s->due_ns = out.due_ns;
	if (s->ready + s->starting < out.need)
		start(s, out.need - s->ready - s->starting, now_ns);
	if (s->ready > out.wanted)
		s->ready = GT_MAX(out.wanted, busy(s));
}

static uint64_t next_start(const struct gt_scale_shadow *s)
{
	return s->n_starts ? s->starts[0].ready_ns : UINT64_MAX;
}

static void became_ready(struct gt_scale_shadow *s, struct gt_scale_in *in)
{
	uint32_t n = s->starts[0].n;

	s->n_starts--;
	memmove(&s->starts[0], &s->starts[1], s->n_starts * sizeof(s->starts[0]));
	s->starting -= n;
	s->ready += n;
	s->shadow.starts += n;
	in->starts = n;
	in->start_ns = (uint64_t)(s->start_s * GT_NS_PER_S) * n;
	in->renew = s->ready;
}

/* What the candidate does by itself until then. */
static void advance(struct gt_scale_shadow *s, struct gt_scale_pool *pool, uint64_t now_ns)
{
	for (unsigned i = 0; i < TURNS_MAX; i++) {
		uint64_t next = GT_MIN(next_start(s), s->due_ns);
		struct gt_scale_in in = { 0 };

		if (next > now_ns)
			break;
		next = GT_MAX(next, s->now_ns);
		bill_until(s, next);
		if (next_start(s) <= next)
			became_ready(s, &in);
		decide(s, pool, &in, next);
	}
	bill_until(s, now_ns);
}

/* Replicas that the live system has once it has done what was decided. Where it can not, the next
 * input tells. */
static uint32_t live_after(const struct gt_scale_in *in, const struct gt_scale_out *out)
{
	uint32_t have = in->ready + in->starting;

	if (have < out->need)
		return out->need;
	return in->ready > out->wanted ? out->wanted + in->starting : have;
}

void gt_scale_shadow_feed(struct gt_scale_shadow *s, struct gt_scale_pool *pool,
			  const struct gt_scale_in *in, const struct gt_scale_out *out)
{
	struct gt_scale_in own = *in;

	if (s->now_ns == 0)
		s->now_ns = in->now_ns;
	advance(s, pool, in->now_ns);
	s->now_ns = in->now_ns; /* also when the clock went back */
	s->live.starts += in->starts;
	s->live_replicas = live_after(in, out);
	s->live_waiting = in->queued;
	s->params = params_of(s, &in->params);
	s->calls = (uint32_t)GT_MIN((uint64_t)in->in_flight + in->queued, (uint64_t)UINT32_MAX);
	s->start_s = GT_MAX(out->start_s, 0.0);
	own.starts = own.renew = 0;
	own.start_ns = own.oldest_wait_ns = 0;
	decide(s, pool, &own, in->now_ns);
}

void gt_scale_shadow_bills(const struct gt_scale_shadow *s, struct gt_scale_bill *ret_live,
			   struct gt_scale_bill *ret_shadow)
{
	*ret_live = s->live;
	*ret_shadow = s->shadow;
}
