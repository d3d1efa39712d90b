/* sim/task.h, private - durable calls in the virtual fleet (task.c). */
#ifndef GANTRY_SRC_SIM_TASK_H
#define GANTRY_SRC_SIM_TASK_H

#include <gantry/control/task.h>
#include <gantry/model/schedule.h>

struct w_gateway;

struct w_task { /* as it is on the disk; its seq is its place, from 1 on */
	size_t fn;
	enum gt_task_state state;
	uint32_t attempt, tries, lost, results;
	uint64_t session, due_ms;
	bool acknowledged;
};

#define W_DUES_MAX 4096
struct w_plan { /* a schedule, as it is on the disk */
	char name[GT_SCHEDULE_NAME_MAX + 1];
	size_t fn;
	uint64_t every_ms, since_ms, next_ms;
	uint8_t made[W_DUES_MAX]; /* calls, by due time */
};

struct w_tasks {
	struct w_post *posts; /* that control has */
	struct w_plan *plans;
	size_t n_plans;
	struct w_task *at;
	size_t n, cap;
	uint64_t first; /* those before it have ended */
	uint64_t service_ns;
};

struct w_lease { /* as a gateway has it */
	struct w_gateway *gateway;
	uint64_t seq;
	uint32_t attempt, tries;
	size_t fn;
	bool ended;
	uint64_t told; /* serial of the post that tells its end; 0: none that is under way */
	int how;       /* enum w_call_end */
	struct w_lease *prev, *next;
};

struct w_desk { /* of one life of a gateway */
	uint64_t session;
	struct w_lease *leases;
	size_t n_leases;
	uint64_t *told, *answered; /* by function */
	size_t n_fns;
	uint64_t posts[GT_TASK_EXCHANGES_MAX]; /* serials of those under way, or 0 */
	bool alone;                            /* the one that was begun last tells everything */
	uint64_t asking;                       /* the one of them that asks for leases, or 0 */
	uint64_t timer, due_ns, alive_ns;      /* a serial; times */
	bool full;
};

/* task.c. Nothing where the world's configuration has no durable calls. */
struct gt_world;
struct gt_control_ports;
void gt_w_tasks_ports(struct gt_world *w, struct gt_control_ports *ports);
void gt_w_tasks_snapshot(struct gt_world *w, struct w_gateway *g); /* behind the routes */
void gt_w_tasks_resync(struct gt_world *w, struct w_gateway *g);   /* they are here */
void gt_w_tasks_clear(struct gt_world *w, struct w_gateway *g);    /* the process ends */
void gt_w_tasks_lost(struct gt_world *w);                          /* control has ended */
/* schedule.c: true when the operation is about schedules; FIRE leaves its calls to be taken in. */
bool gt_w_plan_apply(struct gt_world *w, struct gt_task_op *op);
bool gt_w_plan_near(const struct gt_world *w, const char *function); /* a call of it is due soon */
void gt_w_plan_failed(struct gt_world *w, struct gt_task_op *op);
void gt_w_lease_end(struct gt_world *w, struct w_lease *l, int how);
/* call.c: stands in the function's queue as any other. */
void gt_w_call_lease(struct gt_world *w, struct w_lease *l, uint64_t service_ns);

#endif
