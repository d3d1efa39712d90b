#ifndef GANTRY_UPLINK_RENEW_H
#define GANTRY_UPLINK_RENEW_H

#include "uplink_priv.h"

/* Asks for the next certificate when two thirds of the present one's life are over, again and again
 * until there is one. */
struct renewal *renewal_new(struct uplink *u);
void renewal_free(struct renewal *r); /* NULL is fine */

#endif
