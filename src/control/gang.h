/* gang.h - a gang as control knows it: a seat for each member. A member is a replica like any
 * other; what makes it one of a gang is that it gets ready, leaves and fails with the others.
 *
 *	forming    all seats are taken; one is ready for calls when all members answer
 *	admitted   all members are ready
 *	broken     one failed: the others are being killed; `again`: the next epoch follows
 *	waiting    broken and all are gone: what they had of their nodes is held for the next epoch
 *	leaving    drains as one: the member of rank 0 until its calls have ended, then all stop */
#ifndef GANTRY_CONTROL_GANG_H
#define GANTRY_CONTROL_GANG_H

#include "control_priv.h"

struct gt_ctl_seat {
	struct gt_ctl_replica *r;  /* NULL: not known, or ended */
	struct gt_sched_spot held; /* of an ended one, for the next epoch */
};

struct gt_ctl_gang {
	char id[GT_REPLICA_ID_SIZE];
	struct gt_ctl_function *f; /* NULL: it was deleted */
	uint32_t revision, epoch, size;
	uint16_t port;
	uint32_t restarts; /* in a row */
	bool admitted, broken, again, leaving;
	bool found;             /* of before this start of control: it has served, most likely */
	uint64_t ready_ns;      /* when it was admitted */
	uint64_t hold_until_ns; /* what is held; 0 = nothing is */
	char (*addresses)[GT_ADDRESS_MAX + 1]; /* by rank; NULL: its node finds them */
	struct gt_ctl_gang *prev, *next;       /* live->gangs, while f */
	UT_hash_handle hh;                     /* control->gangs, by id */
	struct gt_ctl_seat seats[];
};

/* Books a place for each member, by rank, or none. */
GT_MUST_USE int gt_ctl_gang_reserve(struct gt_control *c, struct gt_ctl_live *live,
				    struct gt_sched_spot ret[GT_GANG_MAX],
				    struct gt_sched_look *look, struct gt_err *err);
/* Orders all members of a new gang to start. Its member of rank 0. */
struct gt_ctl_replica *gt_ctl_gang_start(struct gt_control *c, struct gt_ctl_live *live,
					 const struct gt_sched_spot *spots, const char *reason);
/* A found member takes its seat. It has none (r->gang stays NULL) when its epoch is over. */
void gt_ctl_gang_adopt(struct gt_control *c, struct gt_ctl_replica *r);
/* Orders the stop of all. */
void gt_ctl_gang_stop(struct gt_control *c, struct gt_ctl_gang *g, bool force);
void gt_ctl_gang_leave(struct gt_control *c, struct gt_ctl_gang *g, const char *reason, bool force);
/* The epoch is over: all of it are killed. `fault` of the program, or of where it ran. */
void gt_ctl_gang_break(struct gt_control *c, struct gt_ctl_gang *g, bool fault, const char *why);
/* A member answers: when all do, all are ready. */
void gt_ctl_gang_answers(struct gt_control *c, struct gt_ctl_replica *r);
/* A member is ending; the seat is empty afterwards. meant: it was told to. True: the gang starts
 * again, and this is no failure of the function. */
bool gt_ctl_gang_ended(struct gt_control *c, struct gt_ctl_replica *r, bool meant,
		       const struct gt_end *end);
/* Next epochs of those of the function that wait, where there is room and need; what is held is
 * held until its time is over. */
void gt_ctl_gangs_resume(struct gt_control *c, struct gt_ctl_live *live, bool needed);
/* Those with nobody in them go; the others live on until their members have ended. */
void gt_ctl_gangs_orphan(struct gt_control *c, struct gt_ctl_live *live);
void gt_ctl_gangs_free(struct gt_control *c); /* at control's end */
bool gt_ctl_gangs_wait(const struct gt_ctl_live *live);
uint64_t gt_ctl_gangs_due(const struct gt_ctl_live *live);
/* After a start of control members are awaited for as long as a node may be away. */
void gt_ctl_gangs_tick(struct gt_control *c);
uint64_t gt_ctl_gangs_missing_due(const struct gt_control *c);
/* What is held on a node is given back: it has other GPUs now, or is lost. */
void gt_ctl_gangs_unhold(struct gt_control *c, uint32_t node);

/* Will it serve, and is it one that counts as the replica of its function? */
static inline bool gt_ctl_gang_counts(const struct gt_ctl_gang *g)
{
	return g->broken ? g->again : !g->leaving;
}

#endif
