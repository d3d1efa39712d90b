/* tells.c - what this gateway's calls have, told to the one that leads now: as long as they run. */
#include "calls.h"
#include "cluster.h"
#include "held.h"
#include "leader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <gantry/base/units.h>

#define UNSENT_MAX (1 * GT_MIB)

struct gt_tell {
	struct gt_hold hold; /* first */
	struct gt_tell *prev, *next;
	struct gt_gateway *gw;
	uint64_t serial;
	struct gt_up *up;
	struct gt_outq out;
	bool counted[GT_SHARDS_MAX]; /* of these it was told what they have */
	unsigned n_counted;
	uint64_t left; /* slots that it takes to be held */
};

static void heard(struct gt_hold *hold);
static void gone(struct gt_hold *hold);

/* ---- words for who asked; shard 0 ---- */

static void end(struct gt_tell *t)
{
	gt_up_close(t->up); /* which frees it */
}

/* False: t is gone. */
static bool flush(struct gt_tell *t)
{
	bool over = t->n_counted == (t->gw->shards ? t->gw->shards->n : 1) && !t->left;

	if (gt_sock_send(&t->up->sock, &t->out, NULL, 0) == 0 &&
	    !(over && !gt_outq_unsent(&t->out)))
		return true;
	end(t);
	return false;
}

static bool say(struct gt_tell *t, const char *word, uint32_t n, const char *replica)
{
	char text[32 + GT_REPLICA_ID_SIZE];
	int len = replica ? snprintf(text, sizeof(text), "%s %u %s\n", word, n, replica)
			  : snprintf(text, sizeof(text), "%s\n", word);
	const struct iovec iov = { text, (size_t)len };

	if (gt_outq_add(&t->out, &iov, 1) == 0)
		return true;
	end(t);
	return false;
}

/* ---- between shards ---- */

struct word {
	struct gt_mail mail;
	void (*fn)(struct gt_gateway *gw, const struct word *w);
	uint64_t serial; /* of who asked; 0 = of nobody in particular */
	unsigned from;
	uint32_t n;
	char replica[GT_REPLICA_ID_SIZE];
};

static void open_word(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct word *w = GT_CONTAINER(m, struct word, mail);

	if (!gw->freeing)
		w->fn(gw, w);
	free(w);
}

static void post(struct gt_gateway *gw, unsigned to, const struct word *what)
{
	struct word *w;

	if (to == gw->shard) {
		what->fn(gw, what);
		return;
	}
	w = gt_alloc(sizeof(*w));
	*w = *what;
	w->mail.fn = open_word;
	gt_shard_post(gw->shards, to, &w->mail);
}

static struct gt_tell *of_serial(struct gt_gateway *gw, uint64_t serial)
{
	struct gt_tell *t;

	DL_FOREACH (gw->others.tells, t)
		if (t->serial == serial)
			return t;
	return NULL;
}

static void take_held(struct gt_gateway *gw, const struct word *w)
{
	struct gt_tell *t = of_serial(gw, w->serial);

	if (t && say(t, "held", w->n, w->replica))
		t->left += w->n;
}

static void take_counted(struct gt_gateway *gw, const struct word *w)
{
	struct gt_tell *t = of_serial(gw, w->serial);

	if (!t)
		return;
	t->counted[w->from] = true;
	t->n_counted++;
	if (t->n_counted == (gw->shards ? gw->shards->n : 1) && say(t, "all", 0, NULL))
		(void)flush(t);
}

/* Of whoever was told that it is held. */
static void take_given(struct gt_gateway *gw, const struct word *w)
{
	struct gt_tell *t, *next;

	DL_FOREACH_SAFE (gw->others.tells, t, next) {
		if (!t->counted[w->from] || !say(t, "given", w->n, w->replica))
			continue;
		t->left -= GT_MIN(t->left, w->n);
		(void)flush(t);
	}
}

static void tell(struct gt_gateway *gw, struct word w, const char *replica, uint32_t n)
{
	w.from = gw->shard;
	w.n = n;
	gt_strcopy(w.replica, sizeof(w.replica), replica);
	post(gw, 0, &w);
}

struct counting {
	struct gt_gateway *gw;
	uint64_t serial;
};

static void tell_before(const char *replica, uint32_t n, void *arg)
{
	const struct counting *c = arg;

	tell(c->gw, (struct word){ .fn = take_held, .serial = c->serial }, replica, n);
}

static void count(struct gt_gateway *gw, const struct word *w)
{
	struct counting c = { gw, w->serial };
	struct gt_route_fn *f, *next;
	struct gt_target *t;

	HASH_ITER (hh, gw->fns, f, next)
		DL_FOREACH (f->fn.targets, t)
			if (t->in_flight)
				tell_before(t->id, t->in_flight, &c);
	if (gw->shard == 0)
		gt_held_before(gw, tell_before, &c);
	tell(gw, (struct word){ .fn = take_counted, .serial = w->serial }, "", 0);
}

void gt_tells_given(struct gt_gateway *gw, const char *replica, uint32_t n)
{
	if (gt_follows(gw) && !gw->freeing)
		tell(gw, (struct word){ .fn = take_given }, replica, n);
}

/* ---- who asks ---- */

static void heard(struct gt_hold *hold)
{
	struct gt_tell *t = (struct gt_tell *)hold;

	if (!t->up->sock.ops->silent(&t->up->sock))
		end(t); /* it has nothing to say */
	else
		(void)flush(t);
}

static void gone(struct gt_hold *hold)
{
	struct gt_tell *t = (struct gt_tell *)hold;

	DL_DELETE(t->gw->others.tells, t);
	gt_outq_clear(&t->out);
	free(t);
}

void gt_tells_stop(struct gt_gateway *gw)
{
	while (gw->others.tells)
		end(gw->others.tells);
}

/* A text of its head; false: it is not there, or too long. */
static bool field(const struct gt_h1 *req, const char *name, char *out, size_t size)
{
	const struct gt_h1_field *f = gt_h1_find_text(req, name);

	if (!f || !f->value.len || f->value.len >= size)
		return false;
	memcpy(out, gt_h1_text(req, f->value), f->value.len);
	out[f->value.len] = '\0';
	return !strpbrk(out, " \t");
}

static bool leads(struct gt_call *call, struct gt_leader *ret)
{
	const struct gt_h1 *req = &call->conn->x->req;
	const struct gt_leader *known = &call->gw->leader;
	char epoch[24];

	*ret = (struct gt_leader){ .state = GT_LEADER_OTHER };
	gt_strcopy(ret->own_door, sizeof(ret->own_door), known->own_door);
	return field(req, "Gantry-Epoch", epoch, sizeof(epoch)) &&
	       gt_parse_u64(epoch, INT64_MAX, &ret->epoch) == 0 &&
	       field(req, "Gantry-Door", ret->door, sizeof(ret->door)) &&
	       gt_starts_with(ret->door, "https://") && !gt_streq(ret->door, known->own_door) &&
	       gt_strcopy(ret->node, sizeof(ret->node), gt_cluster_peer(call->conn)->id.name);
}

static void begin(struct gt_call *call)
{
	static const char head[] = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
				   "Upgrade: gantry-holds\r\n\r\n";
	static uint64_t serial; /* shard 0's thread alone */
	struct gt_gateway *gw = call->gw;
	struct gt_conn *c = call->conn;
	struct gt_tell *t = gt_alloc(sizeof(*t));
	const struct word w = { .fn = count, .serial = ++serial };
	const struct iovec iov = { (char *)head, sizeof(head) - 1 };

	call->status = 101;
	t->hold = (struct gt_hold){ .heard = heard, .gone = gone };
	t->gw = gw;
	t->serial = serial;
	gt_outq_init(&t->out, UNSENT_MAX, &gw->queues);
	t->up = gt_up_of_conn(c);
	if (!t->up || gt_outq_add(&t->out, &iov, 1) < 0) {
		gt_outq_clear(&t->out);
		free(t);
		return;
	}
	t->up->sock.can_write = true;
	t->up->hold = &t->hold;
	DL_APPEND(gw->others.tells, t);
	for (unsigned i = 0; i < (gw->shards ? gw->shards->n : 1); i++)
		post(gw, i, &w);
}

void gt_tells_begin(struct gt_call *call)
{
	struct gt_gateway *gw = call->gw;
	struct gt_leader now;
	struct gt_tell *t;
	unsigned n = 0;

	DL_COUNT(gw->others.tells, t, n);
	if (!leads(call, &now)) {
		struct gt_refusal why = GT_REFUSAL(
			"bad_parameter", "who leads is said by Gantry-Epoch, a number, and "
					 "Gantry-Door, another gateway's address");

		gt_call_refuse(call, &why);
		return;
	}
	gt_leader_told(gw, &now);
	if (!gt_follows(gw))
		gt_call_refuse_for_now(call, "unavailable", "this gateway leads, by a later epoch");
	else if (now.epoch < gw->leader.epoch)
		gt_cluster_send_away(call);
	else if (n == GT_HOLDS_MAX)
		gt_call_refuse_for_now(call, "overloaded", "too many ask this gateway");
	else
		begin(call);
}
