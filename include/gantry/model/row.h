/* model/row.h - a function (or one of its revisions) as the store keeps it. */
#ifndef GANTRY_MODEL_ROW_H
#define GANTRY_MODEL_ROW_H

#include <gantry/model/spec.h>

#define GT_ETAG_SIZE                                                                \
	33 /* 32 hex digits (first half of SHA-256 over the canonical spec) and NUL \
	    */

struct gt_function_row {
	char *name;        /* as long as it is: control keeps a row for every function */
	uint32_t revision; /* 1, 2, ... never used twice for a name while the function exists */
	char etag[GT_ETAG_SIZE];
	char *spec_json;     /* canonical text */
	uint64_t created_ms; /* of the function (current row) or of the revision */
	uint64_t updated_ms;
};

/* What users said of a node. */
enum gt_node_duty {
	GT_DUTY_ALL,      /* it takes replicas */
	GT_DUTY_CORDONED, /* it keeps those it has */
	GT_DUTY_DRAINING, /* they move to other nodes */
};
struct gt_node_row {
	char name[GT_NAME_MAX + 1];
	enum gt_node_duty duty;  /* GT_DUTY_ALL: nothing was said, there is no row */
	uint64_t drain_until_ms; /* wall clock; those that are left then end without a successor */
};

#endif
