/* sim/task.h, private - durable calls in the virtual fleet (task.c). */
#ifndef GANTRY_SRC_SIM_TASK_H
#define GANTRY_SRC_SIM_TASK_H

#include <gantry/control/task.h>

struct w_gateway;

struct w_task { /* as it is on the disk; its seq is its place, from 1 on */
	size_t fn;
	enum gt_task_state state;
	uint32_t attempt, tries, lost, results;
	uint64_t session, due_ms;
	bool acknowledged;
};

struct w_tasks {
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
	bool ended, told;
	int how; /* enum w_call_end */
	struct w_lease *prev, *next;
};

struct w_desk { /* of one life of a gateway */
	uint64_t session;
	struct w_lease *leases;
	size_t n_leases;
	uint64_t *told, *answered; /* by function */
	size_t n_fns;
	uint64_t posting, timer, due_ns, alive_ns; /* serials; times */
	bool full;
};

/* task.c. Nothing where the world's configuration has no durable calls. */
struct gt_world;
struct gt_control_ports;
void gt_w_tasks_ports(struct gt_world *w, struct gt_control_ports *ports);
void gt_w_tasks_snapshot(struct gt_world *w, struct w_gateway *g); /* behind the routes */
void gt_w_tasks_resync(struct gt_world *w, struct w_gateway *g);   /* they are here */
void gt_w_tasks_clear(struct gt_world *w, struct w_gateway *g);    /* the process ends */
void gt_w_lease_end(struct gt_world *w, struct w_lease *l, int how);
/* call.c: stands in the function's queue as any other. */
void gt_w_call_lease(struct gt_world *w, struct w_lease *l, uint64_t service_ns);

#endif
