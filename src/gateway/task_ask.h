/* task_ask.h - when a gateway asks control for durable calls of a function. Pure.
 *
 * Control lets a gateway hold so many calls of a function: its window. While that is full it is
 * asked in vain. So it is asked when one of them has ended, and else after a rest, as the window
 * grows with the replicas. */
#ifndef GANTRY_SRC_GATEWAY_TASK_ASK_H
#define GANTRY_SRC_GATEWAY_TASK_ASK_H

#include <gantry/model/task.h>

#define GT_TASK_REST_MS 250

struct gt_task_ask {
	uint64_t told, answered; /* numbers of calls to work: control's, and the last one covered */
	uint64_t rests_ns;       /* not asked for before */
	uint32_t n;              /* that the post under way asks for */
	bool freed;              /* one has ended since that was sent */
};

/* There is work, as far as is known, and no reason to wait. */
bool gt_task_ask_due(const struct gt_task_ask *a, uint64_t now_ns);
void gt_task_ask_sent(struct gt_task_ask *a, uint32_t n);
void gt_task_ask_freed(struct gt_task_ask *a); /* a call has ended */
/* want: the answer's, with what the window let through; leases: those that came with it. */
void gt_task_ask_answered(struct gt_task_ask *a, const struct gt_task_want *want, uint32_t leases,
			  uint64_t now_ns);

#endif
