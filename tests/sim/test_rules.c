/* test_rules.c - each rule is broken on purpose, by the world or in control's own memory, and must
 * be seen to break: a rule that can not fail says nothing. */
#include "fleet.h"

#include "../../src/control/gang.h"

#include <string.h>

#define SEEDS 40

/* ---- in control's memory ---- */
static struct gt_ctl_replica *a_ready_one(struct gt_control *c)
{
	struct gt_ctl_replica *r, *next;

	HASH_ITER (hh, c->replicas, r, next)
		if (r->f && r->state == GT_REPLICA_READY)
			return r;
	return NULL;
}

static bool books(struct gt_control *c)
{
	struct gt_ctl_replica *r = a_ready_one(c);

	if (r)
		gt_sched_release(c->sched, &r->spot);
	return r;
}

static bool wrong_node_list(struct gt_control *c)
{
	struct gt_ctl_replica *r = a_ready_one(c);

	if (r)
		DL_DELETE2(r->node->list, r, node_prev, node_next);
	return r;
}

static bool no_owner(struct gt_control *c)
{
	struct gt_ctl_replica *r = a_ready_one(c);

	if (r)
		DL_DELETE(r->f->live->replicas, r);
	return r;
}

static bool not_in_table(struct gt_control *c)
{
	struct gt_ctl_replica *r = a_ready_one(c);

	if (r)
		HASH_DEL(c->replicas, r);
	return r;
}

static bool listed_twice(struct gt_control *c)
{
	struct gt_ctl_replica *r = a_ready_one(c);

	if (!r || !r->f->live->ended)
		return false;
	memcpy(r->f->live->ended->id, r->id, sizeof(r->id));
	return true;
}

/* A stray that nobody stops, whose time to be stopped has come. */
static bool due_for_ever(struct gt_control *c)
{
	struct gt_ctl_replica *r = a_ready_one(c);

	if (!r)
		return false;
	gt_ctl_replica_orphan(c, r);
	r->drain_until_ns = 0;
	return true;
}

/* A member of an admitted gang that is not ready any more. */
static bool ready_in_part(struct gt_control *c)
{
	struct gt_ctl_gang *g;

	for (g = c->gangs; g; g = g->hh.next)
		if (g->admitted && !g->broken && !g->leaving) {
			g->seats[1].r->state = GT_REPLICA_STARTING;
			return true;
		}
	return false;
}

static bool wrong_seat(struct gt_control *c)
{
	struct gt_ctl_gang *g = c->gangs;

	if (g)
		g->epoch++;
	return g;
}

static const struct saboteur {
	const char *rule;
	const char *in_world;                     /* see gt_w_sabotaged */
	bool (*in_control)(struct gt_control *c); /* true: it is done */
} saboteurs[] = {
	{ "capacity", "memory is not given back", NULL },
	{ "bounds", "max is one more", NULL },
	{ "bounds", "min is forgotten", NULL },
	{ "start", "orders go to two nodes", NULL },
	{ "calls", "a call ends twice", NULL },
	{ "calls", "a call is never counted", NULL },
	{ "parked", "parking memory is not counted", NULL },
	{ "parked", "a parked one keeps its GPUs", NULL },
	{ "epoch", "the epoch goes back", NULL },
	{ "wanted", "ticks are lost", NULL },
	{ "wait", "free slots are not seen", NULL },
	{ "gang", "members answer too early", NULL },
	{ "gang", "epochs of gangs stand still", NULL },
	{ "gang", "members are not killed", NULL },
	{ "gang", NULL, ready_in_part },
	{ "gang", NULL, wrong_seat },
	{ "cordon", "what was said of nodes is forgotten", NULL },
	{ "books", NULL, books },
	{ "books", NULL, wrong_node_list },
	{ "owner", NULL, no_owner },
	{ "owner", NULL, not_in_table },
	{ "list", NULL, listed_twice },
	{ "ticks", NULL, due_for_ever },
};

struct source {
	struct gt_world *w;
	const struct saboteur *s;
	uint64_t next_ns;
};

static uint64_t next_ns(void *arg)
{
	return ((struct source *)arg)->next_ns;
}

static void fire(void *arg)
{
	struct source *source = arg;
	struct gt_control *c = gt_world_control(source->w);

	source->next_ns += GT_NS_PER_S;
	if (c && source->s->in_control(c))
		source->next_ns = UINT64_MAX;
}

/* What was torn apart can not be taken down in order: the world is left to the system. */
static const struct gt_world_broken *control_broken(struct gt_world *w, const struct saboteur *s)
{
	struct source source = { w, s, gt_world_now(w) + 20 * GT_NS_PER_S };
	const struct gt_world_source calls = { next_ns, fire, &source };
	const struct gt_world_kind kind = { .gang = strcmp(s->rule, "gang") == 0 ? 3 : 0,
					    .gang_spread = GT_GANG_ANY,
					    .start_most_ms = 10,
					    .min = 1,
					    .max = 3,
					    .target = 1,
					    .concurrency = 1,
					    .idle_ms = 1000,
					    .drain_ms = 100,
					    .memory_mib = 64,
					    .queue = 100,
					    .wait_ms = 60000,
					    .serial = 1 };

	gt_world_deploy(w, 0, &kind);
	gt_world_callers(w, 0, 1500, 2000, false);
	gt_world_run(w, gt_world_now(w) + 120 * GT_NS_PER_S, &calls);
	return gt_world_broken(w);
}

/* Until one seed breaks it; most need the right fault at the right moment. */
static bool is_caught(const struct saboteur *s)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct gt_world *w = fleet_new(seed, s->in_world);
		const struct gt_world_broken *b;

		if (s->in_world)
			fleet_run(w);
		b = s->in_control ? control_broken(w, s) : gt_world_broken(w);
		if (b && strcmp(b->rule, s->rule) != 0)
			fail_msg("SEED=%llu: %s: broke the rule %s: %s", (unsigned long long)seed,
				 s->in_world ? s->in_world : s->rule, b->rule, b->text);
		bool caught = b;

		if (!s->in_control || !caught)
			gt_world_free(w);
		if (caught)
			return true;
	}
	return false;
}

static void every_rule_can_break(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(saboteurs); i++)
		if (!is_caught(&saboteurs[i]))
			fail_msg("%s: %s: no seed of %d saw it", saboteurs[i].rule,
				 saboteurs[i].in_world ? saboteurs[i].in_world : "in control",
				 SEEDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_rule_can_break) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
