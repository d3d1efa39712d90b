/* park_steps.h - the order in which a replica is parked and brought back: what to do next, from
 *what came of the last thing. Pure: no I/O, no clock; park.c carries out.
 *
 *	park	RESERVE [SLEEP] [FIND, LOCK each, CHECKPOINT each] FREEZE [GIVE] -> PARKED
 *	unpark	[TAKE, FREE] THAW [RESTORE each, UNLOCK each] [WAKE, PROBE] -> READY
 *
 * What the driver demands: nothing is frozen before all is locked, and all is thawed before
 *anything is restored, as a thread of the driver inside the process must run; and nothing is
 *restored without the memory for it, as a restore that runs out of memory hangs the process for
 *ever.
 *
 *	a lock that times out	UNLOCK, it stays ready and is tried again later
 *	a checkpoint that fails	UNLOCK if it is still locked, else KILL
 *	any restore that fails	KILL: another replica is started
 *	the helper is lost	STATE, and on from what it says; else KILL
 *	sleep or wake fails	KILL */
#ifndef GANTRY_AGENT_PARK_STEPS_H
#define GANTRY_AGENT_PARK_STEPS_H

#include <gantry/model/replica.h>

#define PARK_PROCS_MAX 16

enum park_do {
	PARK_RESERVE,    /* of the node's memory for parked ones */
	PARK_SLEEP,      /* asks the program */
	PARK_FIND,       /* its processes that use the GPU: steps->n */
	PARK_STATE,      /* of process i, as the driver has it */
	PARK_LOCK,       /* process i; AGAIN: it timed out */
	PARK_CHECKPOINT, /* process i */
	PARK_FREEZE,     /* all of its processes; AGAIN: the kernel is at it */
	PARK_GIVE,       /* its GPUs back to the node's book */
	PARK_TAKE,       /* its GPUs from the node's book; AGAIN: they are not free */
	PARK_FREE,       /* is so much of the GPU's memory free? AGAIN: not yet */
	PARK_THAW,
	PARK_RESTORE, /* process i */
	PARK_UNLOCK,  /* process i */
	PARK_WAKE,    /* asks the program */
	PARK_PROBE,   /* does it answer? */
	PARK_WAIT,    /* a moment */
	/* the ends */
	PARK_PARKED,
	PARK_READY, /* it serves; when it was to be parked: steps->why */
	PARK_KILL,  /* steps->why */
	PARK_DO_N
};
const char *gt_park_do_name(enum park_do d); /* "checkpoint" */

enum park_came { /* of what was done */
		 PARK_OK,
		 PARK_ERROR,
		 PARK_AGAIN,
		 PARK_LOST, /* the helper died or was killed */
		 /* of STATE */
		 PARK_IS_RUNNING,
		 PARK_IS_LOCKED,
		 PARK_IS_CHECKPOINTED,
		 PARK_IS_FAILED,
};

enum park_proc { PARK_RUNS, PARK_LOCKED, PARK_CHECKPOINTED };

struct park_steps {
	enum gt_park_method method; /* FREEZE, HTTP or CUDA */
	bool hook;                  /* the program has a way to sleep */
	bool gpus;                  /* it has GPUs */
	/* how it is */
	bool frozen, asleep, on_gpu;
	enum park_proc procs[PARK_PROCS_MAX];
	size_t n;
	/* the way */
	enum park_do at;
	bool off;  /* it is being parked */
	bool undo; /* what was begun is taken back: it will be ready */
	bool asked_twice;
	size_t i;
	enum park_do about; /* the one that STATE is about */
	enum park_do again; /* the one that is tried again after WAIT */
	uint64_t until_ns;  /* no more waiting then; 0 = not yet */
	const char *why;
};

/* Ready, on its GPUs. */
void gt_park_steps_init(struct park_steps *s, enum gt_park_method method, bool hook, bool gpus);
/* From ready to parked (off), or back. Returns the first thing to do. */
enum park_do gt_park_begin(struct park_steps *s, bool off);
enum park_do gt_park_next(struct park_steps *s, enum park_came came, uint64_t now_ns);
static inline bool gt_park_is_end(enum park_do d)
{
	return d >= PARK_PARKED;
}

#endif
