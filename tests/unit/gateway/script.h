/* script.h - a gateway without a descriptor: its port leads to scripted peers and its clock is the
 * script's. Nothing waits and nothing is timed, so a minute of a slow client takes no time and a
 * run depends on its input alone. Needs no test framework: the fuzz target uses it, too. */
#ifndef TESTS_GATEWAY_SCRIPT_H
#define TESTS_GATEWAY_SCRIPT_H

#include "../../../src/gateway/calls.h"

#define SCRIPT_TOKEN   "secret-token"
#define SCRIPT_ENDS    96
#define SCRIPT_SHARDS  4
#define SCRIPT_REPLICA "01ARZ3NDEKTSV4RRFFQ69G5FA" /* and a letter from A on */

enum script_role { SCRIPT_FREE, SCRIPT_CLIENT, SCRIPT_BROKER, SCRIPT_UP, SCRIPT_API, SCRIPT_LINK };

/* One connection, seen from the peer. */
struct script_end {
	enum script_role role;
	struct script *script;
	char name[INET6_ADDRSTRLEN]; /* a client's address, a replica's id */
	struct gt_buf to_gw;         /* on its way to the gateway */
	bool eof;                    /* after to_gw */
	int error;                   /* after to_gw; 0 = none */
	struct gt_buf sent;          /* all that ever was in to_gw */
	struct gt_buf got;           /* what the gateway wrote */
	size_t room;                 /* bytes it may write before the peer reads on */
	bool shut, reset, closed;    /* by the gateway */
	uint64_t closed_ns;
	bool undelivered; /* the peer's kernel says that it did not get all */
	bool open;        /* the gateway holds it */
	unsigned pending; /* events not told yet */
	bool full;        /* the gateway was told to wait for room */
	gt_watch_fn *fn;
	void *arg;
};

struct script {
	uint64_t now_ns, wall_ms; /* the wall clock where now_ns is 0 */
	struct gt_clock clock;
	struct gt_loop *loop; /* of all shards: a step is one of each of them */
	struct gt_gateway *gw;
	struct gt_gateway *shards[SCRIPT_SHARDS]; /* the first is gw */
	bool mail_waits;                          /* letters between shards are not read */
	struct script_end ends[SCRIPT_ENDS];      /* in the order of their making */
	size_t n_ends;
	size_t room;         /* of connections to come */
	unsigned dial_fails; /* so many dials fail */
	bool dial_hold;      /* the broker says nothing */
	bool api_away;       /* control can not be connected to */
	struct gt_route route;
	struct gt_route_replica replicas[4];
	const char *others[SCRIPT_SHARDS]; /* more functions like it; their replicas' ids go on */
	const char *token;                 /* that is told with them */
	uint64_t epoch, seq;
	unsigned guarded; /* connections that are watched as those of other hosts */
	const struct gt_member *members;
	size_t n_members;
	unsigned writes, reads; /* calls of the port */
	unsigned read_first; /* of the reads, those before the first write; a test sets all to 0 */
};

/* A function "echo" with one slot on each of n replicas; its routes are told. */
struct script *script_open(size_t n_replicas);
/* The same with so many shards. */
struct script *script_open_shards(size_t n_replicas, unsigned n_shards);
/* Frees the gateway; returns how many connections it did not close. */
size_t script_close(struct script *s);
void script_tell(struct script *s, size_t n_replicas); /* s->route, again or changed */
void script_members(struct script *s, const struct gt_member *members, size_t n); /* borrowed */
struct script_end *script_door(struct script *s); /* control, by its own socket */
struct script_end *script_client(struct script *s, const char *peer); /* NULL: no ends left */
struct script_end *script_client_at(struct script *s, unsigned shard, const char *peer);
struct script_end *script_up(struct script *s, enum script_role role, size_t i); /* i-th, or NULL */
void script_put(struct script_end *e, const void *data, size_t len);             /* and runs */
void script_puts(struct script_end *e, const char *text);
void script_add(struct script_end *e, const char *text); /* is there at the next run */
void script_eof(struct script_end *e);
void script_fail(struct script_end *e, int error); /* a reset, mostly */
void script_room(struct script_end *e, size_t more);
void script_run(struct script *s);                       /* until nothing moves */
void script_wait(struct script *s, uint64_t ms);         /* timers fire in their order */
bool script_has(struct script_end *e, const char *text); /* e got it */

#endif
