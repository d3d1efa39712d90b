/* splice.h - bodies that go from one socket to another through a pipe of the kernel, unseen: those
 * whose length is known and long, and bulk on upgraded connections. What is short, chunked or read
 * on the way is copied (relay.c). */
#ifndef GANTRY_GATEWAY_SPLICE_H
#define GANTRY_GATEWAY_SPLICE_H

#include "conn.h"

/* The answer's body from here on, or what is on an upgraded connection now. False: it is copied. */
bool gt_splice_begin(struct gt_call *call);
enum gt_spliced {
	GT_SPLICED_NOTHING, /* neither socket is ready for more */
	GT_SPLICED,         /* something moved */
	GT_SPLICED_ALL,     /* the body is complete at the client's socket */
	GT_SPLICED_END,     /* the replica sends no more; *error as errno, 0 = an orderly end */
	GT_SPLICED_LEFT,    /* the client takes no more */
};
enum gt_spliced gt_splice_down(struct gt_call *call, int *error);
size_t gt_splice_unsent(const struct gt_call *call); /* bytes on their way to the client */
void gt_splice_end(struct gt_call *call);            /* fine when it was not begun */
void gt_splice_free(struct gt_gateway *gw);

#endif
