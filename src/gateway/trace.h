/* trace.h - W3C Trace Context: a request's place in a distributed trace. Pure. */
#ifndef GANTRY_GATEWAY_TRACE_H
#define GANTRY_GATEWAY_TRACE_H

#include <gantry/base/clock.h>
#include <gantry/http/http1.h>

#define GT_TRACE_ID_SIZE     33 /* 32 hex digits and NUL */
#define GT_TRACE_PARENT_SIZE 56

struct gt_trace {
	char id[GT_TRACE_ID_SIZE];
	char parent[GT_TRACE_PARENT_SIZE]; /* the traceparent to send on: our own span */
	bool state; /* the request's tracestate belongs to it and is well-formed */
};

/* Continues the caller's trace when it names one, else begins one. */
void gt_trace_begin(const struct gt_h1 *req, const struct gt_rand *rnd, struct gt_trace *ret);

#endif
