/* world_agent.h - nodes and their processes, as the other files of the world see them. */
#ifndef GANTRY_SIM_WORLD_AGENT_H
#define GANTRY_SIM_WORLD_AGENT_H

#include <gantry/model/msg.h>

struct gt_world;
struct w_agent;
struct w_event;
struct w_proc;

/* agent.c */
void gt_w_agent_heard(struct w_agent *a, uint64_t sent_ns);
void gt_w_agent_beat(struct gt_world *w, struct w_event *e); /* and again; e->a: the node */
void gt_w_agent_snapshot(struct gt_world *w, struct w_agent *a);
void gt_w_agent_order(struct gt_world *w, const char *node, const struct gt_order *order);
void gt_w_agent_forget(struct gt_world *w, const char *node, const char *replica);
void gt_w_agent_changed(struct gt_world *w, struct w_proc *p);
/* A timer of this process: e->data is its id, gt_w_proc_of finds it while it lives. */
void gt_w_proc_later(struct gt_world *w, struct w_proc *p, uint64_t ms,
		     void (*fn)(struct gt_world *w, struct w_event *e));
struct w_proc *gt_w_proc_of(struct gt_world *w, const struct w_event *e);
void gt_w_proc_end(struct gt_world *w, struct w_proc *p, enum gt_replica_state state,
		   const char *cause);
uint32_t gt_w_gpus_count(struct gt_world *w, struct w_proc *p, bool take);
void gt_w_agent_report(struct gt_world *w, struct w_agent *a); /* when there is anything to say */
struct w_proc *gt_w_proc_find(struct gt_world *w, const char *id);
bool gt_w_proc_serves(const struct w_proc *p);
void gt_w_agent_fini(struct gt_world *w, struct w_agent *a);

/* park.c */
void gt_w_park_order(struct gt_world *w, struct w_proc *p, const struct gt_order *o);
void gt_w_park_pursue(struct gt_world *w, struct w_proc *p);

#endif
