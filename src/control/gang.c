/* gang.c - gangs: all of an epoch are placed, admitted and killed as one. */
#include "gang.h"

#include <stdlib.h>
#include <string.h>

#include "place.h"

/* ---- a gang ---- */
static struct gt_ctl_gang *gang_find(struct gt_control *c, const char *id)
{
	struct gt_ctl_gang *g;

	HASH_FIND_STR(c->gangs, id, g);
	return g;
}

static struct gt_ctl_gang *gang_add(struct gt_control *c, struct gt_ctl_function *f, const char *id,
				    uint32_t size)
{
	struct gt_ctl_gang *g = gt_alloc(sizeof(*g) + size * sizeof(g->seats[0]));

	gt_strcopy(g->id, sizeof(g->id), id);
	g->f = f;
	g->size = size;
	HASH_ADD_STR(c->gangs, id, g);
	if (f)
		DL_PREPEND(gt_ctl_live(c, f)->gangs, g);
	return g;
}

static void gang_unhold(struct gt_control *c, struct gt_ctl_gang *g)
{
	for (uint32_t i = 0; i < g->size; i++)
		gt_sched_release(c->sched, &g->seats[i].held);
	g->hold_until_ns = 0;
}

/* For whoever waits for room. */
static void gang_release(struct gt_control *c, struct gt_ctl_gang *g)
{
	bool held = g->hold_until_ns != 0;

	gang_unhold(c, g);
	if (held)
		gt_ctl_blocked_touch(c);
}

static void gang_free(struct gt_control *c, struct gt_ctl_gang *g)
{
	gang_release(c, g);
	if (g->f)
		DL_DELETE(g->f->live->gangs, g);
	HASH_DEL(c->gangs, g);
	free(g->addresses);
	free(g);
}

static uint32_t seated(const struct gt_ctl_gang *g)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < g->size; i++)
		n += g->seats[i].r != NULL;
	return n;
}

static void gang_event(struct gt_control *c, const struct gt_ctl_gang *g, const char *type,
		       const char *function, const char *cause, const char *text)
{
	gt_ctl_event(c, type, function, NULL, NULL, cause, "gang %s, epoch %u: %s", g->id, g->epoch,
		     text);
}

static bool is_current(const struct gt_ctl_gang *g)
{
	return g->f && g->revision == g->f->rev->row.revision;
}

/* ---- the start ---- */
/* Of the gangs whose rank 0 is on the node no two have one. */
static uint16_t port_free(const struct gt_control *c, const struct gt_ctl_node *node)
{
	uint16_t port = GT_GANG_PORT;
	const struct gt_ctl_gang *g;

	for (g = c->gangs; g && port < GT_GANG_PORT + GT_GANG_PORTS - 1;) {
		const struct gt_ctl_replica *r = g->seats[0].r;

		if (r && r->node == node && g->port == port) {
			port++;
			g = c->gangs; /* from the start: they are in no order */
		} else {
			g = g->hh.next;
		}
	}
	return port;
}

/* With network host the members have those of their nodes. */
static int check_addresses(struct gt_control *c, const struct gt_ctl_live *live,
			   const struct gt_sched_spot *spots, struct gt_err *err)
{
	const struct gt_spec *spec = live->f->rev->spec;

	for (uint32_t i = 0; spec->network == GT_NETWORK_HOST && i < spec->gang.size; i++) {
		const struct gt_ctl_node *node = c->node_at[spots[i].node];

		if (!node->address[0])
			return gt_err_set(
				err, ENOSPC, "no_capacity",
				"node %s has no address for members of a gang; set [agent] "
				"address in its configuration",
				node->name);
	}
	return 0;
}

int gt_ctl_gang_reserve(struct gt_control *c, struct gt_ctl_live *live,
			struct gt_sched_spot ret[GT_GANG_MAX], struct gt_sched_look *look,
			struct gt_err *err)
{
	uint32_t size = live->f->rev->spec->gang.size;
	int r = gt_ctl_place_gang(c, live, size, ret, look, err);

	if (r < 0)
		return r;
	r = check_addresses(c, live, ret, err);
	for (uint32_t i = 0; r < 0 && i < size; i++)
		gt_sched_release(c->sched, &ret[i]);
	return r;
}

static void addresses_set(struct gt_control *c, struct gt_ctl_gang *g,
			  const struct gt_sched_spot *spots)
{
	free(gt_steal(&g->addresses));
	if (g->f->rev->spec->network != GT_NETWORK_HOST)
		return;
	g->addresses = gt_alloc_array(g->size, sizeof(g->addresses[0]));
	for (uint32_t i = 0; i < g->size; i++)
		gt_strcopy(g->addresses[i], sizeof(g->addresses[i]),
			   c->node_at[spots[i].node]->address);
}

/* Which epochs of a found gang the control before this one ordered, nobody knows: it may have been
 * some ahead of the members that were found. Under a name of its own no epoch is another's. */
static void rename_found(struct gt_control *c, struct gt_ctl_gang *g)
{
	if (!g->found)
		return;
	HASH_DEL(c->gangs, g);
	gt_ulid(&c->ports.clock, &c->ports.rnd, g->id);
	HASH_ADD_STR(c->gangs, id, g);
}

static void epoch_start(struct gt_control *c, struct gt_ctl_gang *g,
			const struct gt_sched_spot *spots, const char *reason)
{
	rename_found(c, g);
	addresses_set(c, g, spots);
	g->revision = g->f->rev->row.revision;
	g->port = port_free(c, c->node_at[spots[0].node]);
	g->epoch++;
	g->admitted = g->broken = g->again = g->leaving = g->found = false;
	for (uint32_t i = 0; i < g->size; i++) {
		const struct gt_gang_member member = {
			.epoch = g->epoch, .rank = i, .size = g->size, .port = g->port
		};

		g->seats[i].r = gt_ctl_replica_new(c, g->f, &spots[i], g, &member, reason);
	}
}

struct gt_ctl_replica *gt_ctl_gang_start(struct gt_control *c, struct gt_ctl_live *live,
					 const struct gt_sched_spot *spots, const char *reason)
{
	char id[GT_REPLICA_ID_SIZE];
	struct gt_ctl_gang *g;

	gt_ulid(&c->ports.clock, &c->ports.rnd, id);
	g = gang_add(c, live->f, id, live->f->rev->spec->gang.size);
	epoch_start(c, g, spots, reason);
	return g->seats[0].r;
}

void gt_ctl_gang_answers(struct gt_control *c, struct gt_ctl_replica *r)
{
	struct gt_ctl_gang *g = r->gang;

	r->answers = true;
	for (uint32_t i = 0; i < g->size; i++)
		if (!g->seats[i].r || !g->seats[i].r->answers)
			return;
	if (g->broken || g->leaving || g->admitted)
		return;
	g->admitted = true;
	g->ready_ns = gt_ctl_now(c);
	/* From the last to the first: whose turn it is last opens the route. */
	for (uint32_t i = g->size; i-- > 0;)
		gt_ctl_replica_ready(c, g->seats[i].r);
}

/* ---- found after a start of control ---- */
static void epoch_adopt(struct gt_ctl_gang *g, const struct gt_ctl_replica *r)
{
	g->epoch = r->member.epoch;
	g->port = r->member.port;
	g->revision = r->revision;
	g->found = true;
	g->admitted = g->broken = g->again = g->leaving = false;
}

/* Members of an epoch that a later one shows to be over. */
static void epoch_evict(struct gt_control *c, struct gt_ctl_gang *g)
{
	for (uint32_t i = 0; i < g->size; i++) {
		struct gt_ctl_replica *r = gt_steal(&g->seats[i].r);

		if (!r)
			continue;
		r->gang = NULL;
		gt_ctl_replica_leave(c, r, "its gang goes on without it", true);
	}
	gang_unhold(c, g);
}

/* So long members of before this start are awaited. */
static uint64_t known_at(const struct gt_control *c)
{
	return c->started_ns + CTL_SETTLE_NS + c->node_lost_ns;
}

void gt_ctl_gang_adopt(struct gt_control *c, struct gt_ctl_replica *r)
{
	const struct gt_gang_member *m = &r->member;
	struct gt_ctl_gang *g = gang_find(c, m->id);

	if (!gt_gang_member_ok(m))
		return;
	if (!g) {
		if (gt_ctl_now(c) >= known_at(c))
			return;
		g = gang_add(c, r->f, m->id, m->size);
		epoch_adopt(g, r);
	} else if (m->epoch > g->epoch && m->size == g->size && g->f == r->f) {
		epoch_evict(c, g);
		epoch_adopt(g, r);
	}
	if (m->epoch != g->epoch || m->size != g->size || g->broken || g->f != r->f ||
	    g->seats[m->rank].r)
		return;
	g->seats[m->rank].r = r;
	r->gang = g;
}

static bool is_missing_some(const struct gt_ctl_gang *g)
{
	return !g->broken && !g->leaving && seated(g) < g->size;
}

uint64_t gt_ctl_gangs_missing_due(const struct gt_control *c)
{
	const struct gt_ctl_gang *g;

	for (g = c->gangs; g && gt_ctl_now(c) < known_at(c); g = g->hh.next)
		if (is_missing_some(g))
			return known_at(c);
	return CTL_NEVER;
}

void gt_ctl_gangs_tick(struct gt_control *c)
{
	struct gt_ctl_gang *g, *next;

	if (gt_ctl_now(c) < known_at(c))
		return;
	HASH_ITER (hh, c->gangs, g, next)
		if (is_missing_some(g))
			gt_ctl_gang_break(c, g, false, "not all of its members were found");
}

/* ---- the end ---- */
static void members_stop(struct gt_control *c, struct gt_ctl_gang *g, const char *reason,
			 bool force)
{
	for (uint32_t i = 0; i < g->size; i++)
		if (g->seats[i].r)
			gt_ctl_replica_leave_alone(c, g->seats[i].r, reason, force);
}

void gt_ctl_gang_leave(struct gt_control *c, struct gt_ctl_gang *g, const char *reason, bool force)
{
	g->leaving = true;
	g->again = false;
	gang_release(c, g);
	/* Without rank 0 nobody serves, and nobody would say that it has drained. */
	members_stop(c, g, reason, force);
	if (!g->admitted || !g->seats[0].r)
		gt_ctl_gang_stop(c, g, force);
}

void gt_ctl_gang_stop(struct gt_control *c, struct gt_ctl_gang *g, bool force)
{
	for (uint32_t i = 0; i < g->size; i++)
		if (g->seats[i].r)
			gt_ctl_replica_stop_order(c, g->seats[i].r, force);
}

/* Whether a next epoch follows. A start that fails by the program's own fault is retried as that
 * of any function: later and later. */
static bool may_restart(struct gt_control *c, struct gt_ctl_gang *g, bool fault)
{
	if (!is_current(g) || g->leaving || (fault && !g->admitted && !g->found))
		return false;
	if (g->admitted && gt_ctl_now(c) - g->ready_ns >= GT_BACKOFF_CLEAR_MS * GT_NS_PER_MS)
		g->restarts = 0;
	if (g->restarts >= g->f->rev->spec->gang.restarts)
		return false;
	g->restarts++;
	return true;
}

void gt_ctl_gang_break(struct gt_control *c, struct gt_ctl_gang *g, bool fault, const char *why)
{
	struct gt_ctl_function *f = g->f;
	uint32_t n = 0;

	if (g->broken)
		return;
	g->again = may_restart(c, g, fault);
	g->broken = true;
	for (uint32_t i = 0; i < g->size; i++) {
		if (!g->seats[i].r)
			continue;
		n++;
		gt_ctl_replica_leave_alone(c, g->seats[i].r, "its gang failed", true);
	}
	if (f)
		gang_event(c, g, "gang.broken", gt_ctl_name(f), NULL, why);
	if (n == 0 && !g->again)
		gang_free(c, g);
	if (f)
		gt_ctl_touch(c, f);
}

/* Held for the next epoch, unless it is of no use there. */
static void seat_leave(struct gt_control *c, struct gt_ctl_gang *g, struct gt_ctl_replica *r)
{
	struct gt_ctl_seat *seat = &g->seats[r->member.rank];

	seat->r = NULL;
	r->gang = NULL;
	if (!g->again)
		return;
	if (g->hold_until_ns == 0)
		g->hold_until_ns = gt_ctl_now(c) + GT_GANG_HOLD_MS * GT_NS_PER_MS;
	if (r->node->lost)
		return;
	seat->held = r->spot;
	r->spot = (struct gt_sched_spot){ 0 };
}

bool gt_ctl_gang_ended(struct gt_control *c, struct gt_ctl_replica *r, bool meant,
		       const struct gt_end *end)
{
	struct gt_ctl_gang *g = r->gang;
	bool fault = end && strcmp(end->cause, "node_lost") != 0;
	bool again, leader = r->member.rank == 0;
	char why[128];

	if (!g)
		return false;
	if (!meant && !g->broken) {
		gt_strcopy(why, sizeof(why), "its member failed: ");
		gt_strcopy(why + strlen(why), sizeof(why) - strlen(why), end ? end->cause : "gone");
		g->again = may_restart(c, g, fault);
		g->broken = true;
		gang_event(c, g, "gang.broken", r->function, end ? end->cause : NULL, why);
	}
	again = g->again;
	seat_leave(c, g, r);
	if (!meant)
		members_stop(c, g, "its gang failed", true);
	else if (leader && g->leaving)
		gt_ctl_gang_stop(c, g, false);
	if (seated(g) == 0 && !again)
		gang_free(c, g);
	return again;
}

/* ---- the next epoch ---- */
static bool is_waiting(const struct gt_ctl_gang *g)
{
	return g->broken && g->again && seated(g) == 0;
}

bool gt_ctl_gangs_wait(const struct gt_ctl_live *live)
{
	const struct gt_ctl_gang *g;

	DL_FOREACH (live->gangs, g)
		if (is_waiting(g))
			return true;
	return false;
}

uint64_t gt_ctl_gangs_due(const struct gt_ctl_live *live)
{
	const struct gt_ctl_gang *g;
	uint64_t due = CTL_NEVER;

	DL_FOREACH (live->gangs, g)
		if (is_waiting(g) && g->hold_until_ns)
			due = GT_MIN(due, g->hold_until_ns);
	return due;
}

/* What is held is given back and taken again at once: nobody is between the two. */
static void resume(struct gt_control *c, struct gt_ctl_gang *g)
{
	struct gt_sched_spot held[GT_GANG_MAX], spots[GT_GANG_MAX];
	uint64_t until_ns = g->hold_until_ns, now = gt_ctl_now(c);
	struct gt_err err = { 0 };

	for (uint32_t i = 0; i < g->size; i++)
		held[i] = g->seats[i].held;
	gang_unhold(c, g);
	if (gt_ctl_gang_reserve(c, g->f->live, spots, NULL, &err) == 0) {
		epoch_start(c, g, spots, "its gang failed");
		gang_event(c, g, "gang.restarted", gt_ctl_name(g->f), NULL,
			   "all members start again");
		return;
	}
	g->hold_until_ns = until_ns;
	if (now >= g->hold_until_ns) {
		gang_event(c, g, "gang.given_up", gt_ctl_name(g->f), "no_capacity", err.text);
		gang_free(c, g);
		return;
	}
	for (uint32_t i = 0; i < g->size; i++)
		gt_ctl_rehold(c, &held[i], &g->seats[i].held);
	gt_ctl_blocked_add(c, g->f->live);
}

void gt_ctl_gangs_resume(struct gt_control *c, struct gt_ctl_live *live, bool needed)
{
	struct gt_ctl_gang *g, *next;

	DL_FOREACH_SAFE (live->gangs, g, next) {
		if (g->broken && g->again && !is_current(g)) {
			g->again = false;
			gang_release(c, g);
			if (seated(g) == 0)
				gang_free(c, g);
		} else if (is_waiting(g) && needed) {
			resume(c, g);
		} else if (is_waiting(g) && gt_ctl_now(c) >= g->hold_until_ns) {
			gang_event(c, g, "gang.given_up", gt_ctl_name(g->f), NULL,
				   "no call needs it");
			gang_free(c, g);
		}
	}
}

void gt_ctl_gangs_orphan(struct gt_control *c, struct gt_ctl_live *live)
{
	struct gt_ctl_gang *g, *next;

	DL_FOREACH_SAFE (live->gangs, g, next) {
		g->again = false;
		gang_release(c, g);
		if (seated(g) == 0) {
			gang_free(c, g);
			continue;
		}
		DL_DELETE(live->gangs, g);
		g->f = NULL;
	}
}

void gt_ctl_gangs_unhold(struct gt_control *c, uint32_t node)
{
	struct gt_ctl_gang *g;

	for (g = c->gangs; g; g = g->hh.next)
		for (uint32_t i = 0; i < g->size; i++)
			if (g->seats[i].held.generation && g->seats[i].held.node == node)
				gt_sched_release(c->sched, &g->seats[i].held);
}

void gt_ctl_gangs_free(struct gt_control *c)
{
	struct gt_ctl_gang *g, *next;

	HASH_ITER (hh, c->gangs, g, next) {
		HASH_DEL(c->gangs, g);
		free(g->addresses);
		free(g);
	}
}
