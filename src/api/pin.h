/* pin.h - what of a specification only a node can tell is asked before it is kept, and stands in it
 * from then on: the digest of an image's tag, the memory that a model needs. */
#ifndef GANTRY_SRC_API_PIN_H
#define GANTRY_SRC_API_PIN_H

#include "api_priv.h"

bool gt_pin_needed(const struct gt_spec *spec);
/* Asks and fills in the specification, which stays the caller's, until fn. err: why it can not be,
 * NULL = it is done; also when the client leaves meanwhile. fn is called once, maybe at once. */
typedef void gt_pin_fn(const struct gt_err *err, void *arg);
void gt_pin(struct gt_api *api, struct gt_request *req, struct gt_spec *spec, gt_pin_fn *fn,
	    void *arg);

#endif
