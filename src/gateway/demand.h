/* demand.h - what control is told: who waits, who is served (demand.c). */
#ifndef GANTRY_GATEWAY_DEMAND_H
#define GANTRY_GATEWAY_DEMAND_H

#include <stdbool.h>

struct gt_demand;
struct gt_gateway;

void gt_demander_changed(struct gt_gateway *gw, bool urgent);
void gt_demander_counted(struct gt_gateway *gw); /* only gw->stats: that may wait a second */
void gt_demander_resync(struct gt_gateway *gw);  /* the next post tells everything */
void gt_demander_build(struct gt_gateway *gw, bool full, struct gt_demand *d);
void gt_demander_stop(struct gt_gateway *gw);

#endif
