/* rules_gang.h - what must hold of gangs; called where the world sees something of one. */
#ifndef GANTRY_SIM_RULES_GANG_H
#define GANTRY_SIM_RULES_GANG_H

#include "world_priv.h"

#define W_GANG_MAX 8 /* members */

/* True: for a gang that was ordered before, in an earlier epoch. */
bool gt_w_rule_gang_order(struct gt_world *w, const struct gt_order *order);
void gt_w_rule_gang_start(struct gt_world *w, const struct w_proc *p);
void gt_w_rule_gang_ready(struct gt_world *w, const struct w_proc *p);
void gt_w_rule_gang_dead(struct gt_world *w, const struct w_proc *p); /* unasked */
void gt_w_rule_route(struct gt_world *w, const char *function);
void gt_w_rule_gangs_check(struct gt_world *w);
void gt_w_rule_gangs_fini(struct gt_world *w);

#endif
