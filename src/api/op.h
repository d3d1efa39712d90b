/* api/op.h - a request whose answer control owes us: it may come after the client, or even the
 * server, is gone. Then op->req is NULL and only the op is left to free. */
#ifndef GANTRY_SRC_API_OP_H
#define GANTRY_SRC_API_OP_H

#include "api_priv.h"

struct gt_op {
	struct gt_request *req;
	char function[GT_NAME_MAX + 1]; /* "": it is about none */
	char etag[GT_ETAG_SIZE];        /* of the specification that was put */
	uint32_t revision;              /* asked for */
	bool dry_run;
	struct gt_control *control;
};

struct gt_op *gt_op_new(struct gt_api *api, struct gt_request *req);
void gt_op_free(struct gt_op *op);

#endif
