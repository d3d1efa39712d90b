/* holds.c - the gateway that leads asks those that led before: by its uplink, as calls are passed
 * on the other way. */
#include "holds.h"
#include "held.h"
#include "leader.h"
#include "routes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/http/pki.h>

/* While it is waited for; and later, as it may still take itself for the leader. */
#define AGAIN_MS      50
#define AGAIN_LATE_MS 2000

enum ask_state {
	ASK_NOTED,  /* led before; this one does not lead */
	ASK_PAUSED, /* tried again later */
	ASK_WAY,    /* its uplink makes the connection */
	ASK_ANSWER, /* of HTTP */
	ASK_HEAD,   /* the rest of its head */
	ASK_LINES,
};

struct ask {
	struct gt_hold hold; /* first */
	struct gt_gateway *gw;
	char door[GT_DOOR_SIZE]; /* "" = this place is free */
	enum ask_state state;
	/* What it tells anew is counted besides what it told before, until it has told all. */
	bool set, set_before;
	struct gt_up *up;
	struct gt_timer again, late; /* late: set while what it tells is waited for */
	size_t n_line;
	char line[GT_HOLDS_LINE];
};

struct gt_asks {
	struct ask of[GT_HOLDS_MAX];
};

static unsigned index_of(const struct ask *a, bool set)
{
	return GT_HELD_LED + 2 * (unsigned)(a - a->gw->others.asks->of) + set;
}

/* ---- all shards ---- */

struct change {
	struct gt_mail mail;
	unsigned by;
	int64_t n; /* 0 = it has none any more */
	char replica[GT_REPLICA_ID_SIZE];
};

static void change(struct gt_gateway *gw, const struct change *c)
{
	if (c->n)
		(void)gt_held_change(gw, c->by, c->replica, c->n);
	else
		gt_held_forget(gw, c->by);
}

static void open_change(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct change *c = GT_CONTAINER(m, struct change, mail);

	if (!gw->freeing)
		change(gw, c);
	free(c);
}

static void change_others(struct gt_gateway *gw, const struct change *what)
{
	for (unsigned i = 1; gw->shards && i < gw->shards->n; i++) {
		struct change *c = gt_alloc(sizeof(*c));

		*c = *what;
		c->mail.fn = open_change;
		gt_shard_post(gw->shards, i, &c->mail);
	}
}

static void forget_set(struct ask *a, bool set)
{
	const struct change c = { .by = index_of(a, set) };

	change_others(a->gw, &c);
	change(a->gw, &c);
}

static void forget_slots(struct ask *a)
{
	forget_set(a, false);
	forget_set(a, true);
}

static void open_slots(struct gt_gateway *gw)
{
	struct gt_route_fn *f, *next;

	if (!gw->others.shut)
		return;
	gw->others.shut = false;
	HASH_ITER (hh, gw->fns, f, next)
		gt_routes_pump(gw, &f->fn);
}

/* ---- one that is asked ---- */

static void ask(void *arg);

static void settled(struct ask *a)
{
	struct gt_gateway *gw = a->gw;

	gt_timer_clear(gw->loop, &a->late);
	for (size_t i = 0; i < GT_HOLDS_MAX; i++)
		if (gt_timer_is_set(&gw->others.asks->of[i].late))
			return;
	if (!gw->others.shut)
		return;
	gt_shards_tell(gw, open_slots);
	open_slots(gw);
}

static void hang_up(struct ask *a)
{
	struct gt_up *up = a->up;

	a->up = NULL;
	a->n_line = 0;
	if (up) {
		up->hold = NULL;
		gt_up_close(up);
	}
}

static void leave(struct ask *a)
{
	hang_up(a);
	gt_timer_clear(a->gw->loop, &a->again);
	gt_timer_clear(a->gw->loop, &a->late);
	a->state = ASK_NOTED;
}

static void again(struct ask *a)
{
	bool waited_for = gt_timer_is_set(&a->late);

	hang_up(a);
	a->state = ASK_PAUSED;
	gt_timer_set(a->gw->loop, &a->again, waited_for ? AGAIN_MS : AGAIN_LATE_MS, ask, a);
}

/* It has no calls, as far as anyone can tell. */
static void nobody(struct ask *a)
{
	forget_slots(a);
	settled(a);
	again(a);
}

static void on_late(void *arg)
{
	struct ask *a = arg;

	gt_warn("gateway: the one at %s, which led before, does not say what its calls have: its "
		"slots are given out",
		a->door);
	nobody(a);
}

static void nonsense(struct ask *a)
{
	gt_warn("gateway: the one at %s, which led before, talks nonsense", a->door);
	nobody(a);
}

static void ask(void *arg)
{
	struct ask *a = arg;
	int error;

	a->state = ASK_WAY;
	a->up = gt_forward_open(a->gw, 0, a->door, &error);
	if (a->up)
		a->up->hold = &a->hold;
	else
		again(a);
}

/* ---- what it says ---- */

static void say_who_leads(struct ask *a)
{
	struct gt_gateway *gw = a->gw;
	char text[512 + GT_DOOR_SIZE];
	int len = snprintf(text, sizeof(text),
			   "GET /link/v1/nodes/%s/holds HTTP/1.1\r\nHost: " GT_PKI_SNI "\r\n"
			   "Connection: Upgrade\r\nUpgrade: gantry-holds\r\nGantry-Epoch: %llu\r\n"
			   "Gantry-Door: %s\r\n\r\n",
			   gw->leader.node, (unsigned long long)gw->leader.epoch,
			   gw->leader.own_door);
	const struct iovec iov = { text, (size_t)len };

	a->state = ASK_ANSWER;
	if (a->up->sock.ops->write(&a->up->sock, &iov, 1) != len)
		again(a); /* the socket was empty */
}

/* False: nonsense. */
static bool told(struct ask *a, const char *text, size_t len)
{
	struct change c = { .by = index_of(a, a->set) };
	struct gt_hold_line l;

	if (gt_hold_read(text, len, &l) < 0)
		return false;
	if (l.word == GT_HOLD_ALL) {
		a->set_before = a->set;
		forget_set(a, !a->set);
		settled(a);
		return true;
	}
	c.n = l.word == GT_HOLD_HELD ? (int64_t)l.n : -(int64_t)l.n;
	gt_strcopy(c.replica, sizeof(c.replica), l.replica);
	if (gt_held_change(a->gw, c.by, c.replica, c.n) < 0)
		return false;
	change_others(a->gw, &c);
	return true;
}

/* False: the connection is gone. */
static bool line(struct ask *a, char *text, size_t len)
{
	text[len] = '\0';
	if (len && text[len - 1] == '\r' && a->state != ASK_LINES)
		text[len - 1] = '\0';
	switch (a->state) {
	case ASK_WAY:
		if (gt_streq(text, "ok"))
			say_who_leads(a);
		else if (gt_streq(text, "none"))
			nobody(a);
		else
			again(a);
		break;
	case ASK_ANSWER:
		if (gt_starts_with(text, "HTTP/1.1 101 ")) {
			a->state = ASK_HEAD;
			a->set = !a->set_before;
			forget_set(a, a->set);
		} else { /* it follows somebody else, or is of a version that knows no such thing */
			gt_warn("gateway: the one at %s, which led before, answers: %s", a->door,
				text);
			nobody(a);
		}
		break;
	case ASK_HEAD:
		a->state = *text ? ASK_HEAD : ASK_LINES;
		break;
	default:
		if (!told(a, text, len))
			nonsense(a);
	}
	return a->up != NULL;
}

static bool all_told(const struct ask *a)
{
	return a->state == ASK_LINES && a->set == a->set_before;
}

/* The end is its last word where it has told of the end of each call, too. */
static void ended(struct ask *a)
{
	if (all_told(a) && !gt_held_any(a->gw, index_of(a, a->set))) {
		leave(a);
		*a->door = '\0';
		return;
	}
	if (all_told(a))
		gt_timer_set(a->gw->loop, &a->late, GT_HOLDS_MS, on_late, a);
	again(a);
}

/* False: the connection is gone. */
static bool lines(struct ask *a)
{
	char *end;

	while ((end = memchr(a->line, '\n', a->n_line))) {
		char text[GT_HOLDS_LINE];
		size_t len = (size_t)(end - a->line);

		memcpy(text, a->line, len);
		a->n_line -= len + 1;
		memmove(a->line, end + 1, a->n_line);
		if (!line(a, text, len))
			return false;
	}
	if (a->n_line < sizeof(a->line))
		return true;
	nonsense(a);
	return false;
}

static void heard(struct gt_hold *hold)
{
	struct ask *a = (struct ask *)hold;
	ssize_t n;

	while ((n = gt_sock_read(&a->up->sock, a->line + a->n_line, sizeof(a->line) - a->n_line)) >
	       0) {
		a->n_line += (size_t)n;
		if (!lines(a))
			return;
	}
	if (n != -EAGAIN)
		ended(a);
}

static void gone(struct gt_hold *hold)
{
	((struct ask *)hold)->up = NULL;
}

/* ---- all of them ---- */

void gt_holds_note(struct gt_gateway *gw, const char *door)
{
	struct ask *a = NULL;

	if (!*door || gt_streq(door, gw->leader.own_door))
		return;
	if (!gw->others.asks)
		gw->others.asks = gt_alloc(sizeof(*gw->others.asks));
	for (size_t i = 0; i < GT_HOLDS_MAX; i++) {
		struct ask *one = &gw->others.asks->of[i];

		if (gt_streq(one->door, door))
			return;
		if (!a && !*one->door)
			a = one;
	}
	if (!a) {
		gt_warn("gateway: %s led before, as %d others: it is not asked what its calls have",
			door, GT_HOLDS_MAX);
		return;
	}
	*a = (struct ask){ .hold = { .heard = heard, .gone = gone }, .gw = gw };
	gt_strcopy(a->door, sizeof(a->door), door);
}

bool gt_holds_awaits(const struct gt_gateway *gw)
{
	for (size_t i = 0; gw->others.asks && i < GT_HOLDS_MAX; i++) {
		const struct ask *a = &gw->others.asks->of[i];

		if (*a->door && (a->state == ASK_NOTED || gt_timer_is_set(&a->late)))
			return true;
	}
	return false;
}

/* All that were not asked yet. */
static void ask_all(struct gt_gateway *gw, bool wait)
{
	for (size_t i = 0; gw->others.asks && i < GT_HOLDS_MAX; i++) {
		struct ask *a = &gw->others.asks->of[i];

		if (!*a->door || a->state != ASK_NOTED)
			continue;
		if (wait)
			gt_timer_set(gw->loop, &a->late, GT_HOLDS_MS, on_late, a);
		ask(a);
	}
}

void gt_holds_ask(struct gt_gateway *gw)
{
	ask_all(gw, true);
}

void gt_holds_each(struct gt_gateway *gw,
		   void (*fn)(struct gt_gateway *gw, const char *door, bool counts))
{
	for (size_t i = 0; gw->others.asks && i < GT_HOLDS_MAX; i++) {
		struct ask *a = &gw->others.asks->of[i];

		if (*a->door)
			fn(gw, a->door,
			   a->state == ASK_NOTED || gt_timer_is_set(&a->late) ||
				   gt_held_any(gw, index_of(a, false)) ||
				   gt_held_any(gw, index_of(a, true)));
	}
}

static void shut_slots(struct gt_gateway *gw)
{
	gw->others.shut = true;
}

void gt_holds_inherit(struct gt_gateway *gw, const char *door, bool counts)
{
	gt_holds_note(gw, door);
	if (gw->leader.state != GT_LEADER_SELF)
		return;
	if (counts && gt_holds_awaits(gw)) {
		gt_shards_tell(gw, shut_slots);
		shut_slots(gw);
	}
	ask_all(gw, counts);
}

void gt_holds_stop(struct gt_gateway *gw)
{
	for (size_t i = 0; gw->others.asks && i < GT_HOLDS_MAX; i++) {
		struct ask *a = &gw->others.asks->of[i];

		if (!*a->door || a->state == ASK_NOTED)
			continue;
		leave(a);
		forget_slots(a);
	}
}

void gt_holds_free(struct gt_gateway *gw)
{
	for (size_t i = 0; gw->others.asks && i < GT_HOLDS_MAX; i++)
		if (*gw->others.asks->of[i].door)
			leave(&gw->others.asks->of[i]);
	free(gw->others.asks);
}
