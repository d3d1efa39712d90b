/* api/op.h - what waits for an answer of the store, which control owes us: it comes after the
 * client, or even the server, is gone. One that comes after control's end does not come at all, so
 * whoever asks is on a list of the API meanwhile, whose end frees it; what was asked for is the
 * store's. */
#ifndef GANTRY_SRC_API_OP_H
#define GANTRY_SRC_API_OP_H

#include "api_priv.h"

struct gt_owed { /* the first member of who asks */
	struct gt_api *api;
	void (*drop)(struct gt_owed *o);
	struct gt_owed *prev, *next;
};

/* From the question to its answer, or its refusal. drop: frees who asks, when neither comes. */
void gt_api_owe(struct gt_api *api, struct gt_owed *o, void (*drop)(struct gt_owed *o));
void gt_api_owe_end(struct gt_owed *o);

/* A request that is answered with it. */
struct gt_op {
	struct gt_owed owed;
	struct gt_api *api;
	struct gt_request *req;         /* NULL: the client is gone */
	char function[GT_NAME_MAX + 1]; /* "": it is about none */
	char etag[GT_ETAG_SIZE];        /* of the specification that was put */
	uint32_t revision;              /* asked for */
	bool dry_run;
	char *token;      /* for machines to join with, that is made; owned */
	uint64_t wait_ms; /* for a call's result */
	int status;       /* of the answer */
};

struct gt_op *gt_op_new(struct gt_api *api, struct gt_request *req);
void gt_op_free(struct gt_op *op);
struct gt_request *gt_op_end(struct gt_op *op); /* frees it; the request, or NULL */

#endif
