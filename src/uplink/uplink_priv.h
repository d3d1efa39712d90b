/* uplink_priv.h - what the files of this room share. All of it belongs to the loop's thread. */
#ifndef GANTRY_UPLINK_PRIV_H
#define GANTRY_UPLINK_PRIV_H

#include <gantry/http/pki.h>
#include <gantry/loop/loop.h>
#include <gantry/uplink/uplink.h>

#include "end.h"
#include "pump.h"

struct conn;
struct dialer;
struct door;
struct doors;
struct identity;
struct leader;
struct links;
struct pipes;
struct renewal;
struct ssl_ctx_st;

struct uplink {
	struct gt_loop *loop;
	struct gt_uplink_config config;
	struct door *door; /* NULL: nobody else leads */
	char url[GT_UPLINK_URL_SIZE], own_door[GT_UPLINK_URL_SIZE];
	struct doors *doors;   /* of a host that joined: those that there are */
	struct leader *leader; /* of one that has the store: who leads */
	uint64_t epoch;        /* and since when */
	struct identity *identity;
	struct renewal *renewal;
	struct dialer *dialer;
	struct links *links, *forwards;
	struct pipes *pipes;
	struct conn *conns; /* being made */
	struct gt_timer late;
	bool draining;
	bool away;           /* the door did not answer lately, and the log says so */
	struct gt_err fatal; /* why the role ends by itself; code 0 = it does not */
};

/* uplink.c */
void uplink_fail(struct uplink *u, const struct gt_err *why); /* ends the role */
void uplink_drained(struct uplink *u); /* a pipe's call ended, or what a gateway passed on */
/* The door was reached, or not: told in the log when that changes. */
void uplink_door_answers(struct uplink *u);
void uplink_door_silent(struct uplink *u, const struct gt_err *why);
void uplink_connect(struct uplink *u); /* who it is, is known: all connections begin */
/* To another door, or (NULL) to none: what waits at the one before, and what is on its way there,
 * is closed. Calls go on where they are. at_once: it should answer; else after the pause between
 * tries.
 */
void uplink_move(struct uplink *u, const char *url, bool at_once);

/* doors.c: which of several. */
struct doors *doors_new(struct uplink *u);
void doors_free(struct doors *d); /* NULL is fine */
/* What a gateway said: the door that leads, and all that there are, with blanks between them. Both
 * may be NULL. */
void doors_told(struct doors *d, const char *leads, const char *all);
void doors_silent(struct doors *d);  /* nobody answers at the present one */
void doors_answers(struct doors *d); /* it takes pipes: remembered for the next start */
bool doors_several(const struct doors *d);

/* leader.c: what the own control tells. */
GT_MUST_USE int leader_new(struct uplink *u, struct leader **ret, struct gt_err *err);
void leader_free(struct leader *l); /* NULL is fine */
/* The gateway says that the one behind this door leads: it may know before the own control does,
 * which may be dead, or hang. */
void leader_heard(struct uplink *u, uint64_t epoch, const char *url);

/* conn.c: a connection to the door until it is usable: name, TCP, TLS, who is there. */
#define CONN_MS 3000
/* e: the caller's when there is one; NULL = it failed, err says why. Once, and not when cancelled.
 * -EACCES: somebody is there who is not of this cluster; -EKEYEXPIRED: or was, by our clock. */
typedef void conn_fn(struct end *e, const struct gt_err *err, void *arg);
/* door: lives for as long as it; NULL = there is none, which is told as a failure. ctx: of
 * identity.h. Never calls back before it returned. */
struct conn *conn_open(struct uplink *u, struct door *door, struct ssl_ctx_st *ctx, conn_fn *fn,
		       void *arg);
void conn_cancel(struct conn *c); /* NULL is fine */
/* All on their way to that door. */
void conns_fail(struct uplink *u, const struct door *door, const struct gt_err *why);

/* ask.c: one HTTP exchange with the door on a connection of its own. */
struct ask;
/* status 0 = no answer, err says why. Once, and not when cancelled. */
typedef void ask_fn(int status, const char *body, size_t len, const struct gt_err *err, void *arg);
struct ask *ask_post(struct uplink *u, struct ssl_ctx_st *ctx, const char *path,
		     const struct gt_buf *body, ask_fn *fn, void *arg);
void ask_cancel(struct ask *a); /* NULL is fine */
/* What a problem document says, as an error. */
int ask_problem(int status, const char *body, size_t len, struct gt_err *err);

/* dialer.c: asks the node's broker for a connection into a replica. */
struct dial;
/* sock: taken by the callee; -EBADF with a positive errno. Once, and not when cancelled. */
typedef void dial_fn(int sock, int error, void *arg);
struct dialer *dialer_new(struct uplink *u);
void dialer_free(struct dialer *d); /* NULL is fine; after those who ask */
struct dial *dial_ask(struct dialer *d, const char *replica, dial_fn *fn, void *arg);
void dial_cancel(struct dial *dial); /* NULL is fine */

/* links.c: the agent's connections to control, and those of a gateway to another one. The latter
 * name the door first (uplink.h), and are told when its other end is there. */
int links_new(struct uplink *u, int fd, bool forwards, struct links **ret, struct gt_err *err);
void links_free(struct links *l); /* NULL is fine */
void links_listen(struct links *l, bool on);
size_t links_busy(const struct links *l);
void links_close(struct links *l); /* all that there are: they come again */
/* Those whose other end is not there yet; what was passed on goes on where it is. */
void links_leave(struct links *l);

/* pipes.c: connections that wait at the door for calls. */
struct pipes *pipes_new(struct uplink *u);
void pipes_free(struct pipes *p);               /* NULL is fine */
void pipes_drain(struct pipes *p);              /* none waits any more */
void pipes_move(struct pipes *p, bool at_once); /* those of another door, or none */
size_t pipes_busy(const struct pipes *p);       /* calls on them */

/* Doubles from first to most, and tells a time between a half and the whole of it. */
uint64_t backoff_ms(uint64_t *state, uint64_t first, uint64_t most);

#endif
