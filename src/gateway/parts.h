/* parts.h - the demand of several shards in one post. */
#ifndef GANTRY_GATEWAY_PARTS_H
#define GANTRY_GATEWAY_PARTS_H

#include "gw.h"

void gt_parts_send(struct gt_gateway *gw); /* not of shard 0: what it has to tell */
/* The others are shard 0's; with one shard they find nothing. */
bool gt_parts_complete(const struct gt_gateway *gw); /* a full one of every shard is here */
void gt_parts_add(struct gt_gateway *gw, struct gt_demand *d);
void gt_parts_done(struct gt_gateway *gw, bool ok); /* the post was answered, or was not */
void gt_parts_forget(struct gt_gateway *gw, bool tell);

/* demand.c */
enum gt_told { GT_TOLD, GT_TOLD_NOTHING, GT_TOLD_TOO_LATE /* all is wanted meanwhile */ };
void gt_demander_told(struct gt_gateway *gw, enum gt_told how); /* shard 0 of our part */
void gt_demander_has_part(struct gt_gateway *gw, bool urgent);

#endif
