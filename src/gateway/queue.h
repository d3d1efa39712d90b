/* queue.h - whose turn it is among those who wait for a slot of one function. Pure.
 *
 * First come, first served, with two exceptions. Classes share slots 16 : 4 : 1 while all of them
 * have somebody waiting: the first of a class sees at most 20 others served before. And of one
 * caller (a token; all without one are one caller) at most GT_QUEUE_WINDOW calls stand in a class's
 * line at once; its others come to the end of the line one by one, as those are served. So a burst
 * delays others by a window, not by its length, and callers with a backlog share equally. A waiter
 * comes to the line when it is able to run. Every operation is O(1); none allocates, except for a
 * caller that was not here lately. */
#ifndef GANTRY_GATEWAY_QUEUE_H
#define GANTRY_GATEWAY_QUEUE_H

#include <uthash.h>

#include <gantry/model/msg.h>

enum gt_class { GT_CLASS_HIGH, GT_CLASS_NORMAL, GT_CLASS_LOW, GT_CLASS_N };

struct gt_waiter {
	/* Set by the owner before it is queued. */
	uint64_t caller;
	enum gt_class class;
	size_t bytes;                        /* held while it waits */
	uint64_t affinity;                   /* hash of what keeps calls together; 0 = nothing */
	const struct gt_prompt_taps *prompt; /* NULL = none; read when a slot is given */
	bool able;                           /* its body has come far enough to hold a slot */
	/* fn.c's */
	struct gt_waiter *prev, *next; /* all that wait, oldest first */
	bool queued;
	uint64_t since_ns, cold_at_ns;
	char avoid[GT_REPLICA_ID_SIZE]; /* replica that just failed it: taken only if no other is
					   free */
	/* queue.c's */
	struct gt_waiter *line_prev, *line_next;
	enum { GT_UNABLE, GT_IN_LINE, GT_BEHIND } place;
	struct gt_caller *of;
};

#define GT_QUEUE_WINDOW 8

struct gt_caller {
	struct gt_caller *prev, *next; /* while nobody waits, in queue->idle */
	uint64_t id;
	uint32_t n; /* that wait, able or not */
	struct {
		uint32_t n, in_line;
		struct gt_waiter *behind; /* of a full window */
	} classes[GT_CLASS_N];
	UT_hash_handle hh;
};

struct gt_queue {
	struct {
		struct gt_waiter *line;
		uint32_t n;        /* that wait, able or not */
		uint32_t in_line;  /* of them */
		uint32_t backlogs; /* callers with somebody behind */
		unsigned credit;   /* slots left in this round */
	} classes[GT_CLASS_N];
	struct gt_caller *callers, *idle;
	unsigned n_idle;
};

void gt_queue_fini(struct gt_queue *q); /* nobody waits */
void gt_queue_add(struct gt_queue *q, struct gt_waiter *w);
void gt_queue_able(struct gt_queue *q, struct gt_waiter *w); /* comes to the line */
/* Was served in vain: next in turn again. */
void gt_queue_put_back(struct gt_queue *q, struct gt_waiter *w);
void gt_queue_remove(struct gt_queue *q, struct gt_waiter *w);
struct gt_waiter *gt_queue_first(struct gt_queue *q);         /* NULL: nobody is able */
void gt_queue_serve(struct gt_queue *q, struct gt_waiter *w); /* removes the first */

uint32_t gt_queue_of(const struct gt_queue *q, uint64_t caller); /* so many of it wait */
uint32_t gt_queue_callers(const struct gt_queue *q);             /* of whom somebody waits */
/* How many are served before a newcomer of that caller and class, while those callers that have a
 * backlog keep it. */
uint32_t gt_queue_ahead(const struct gt_queue *q, uint64_t caller, enum gt_class class);

#endif
