/* owed.c - posts whose answer waits for the store. When control ends first nobody calls back: the
 * link has them all, so that none is lost. */
#include <stdlib.h>
#include <utlist.h>

#include "link_priv.h"

static void on_gone(void *arg)
{
	struct gt_link_owed *o = arg;

	gt_request_reply(o->req, 503, NULL, NULL); /* to nobody, but it must be answered */
	o->req = NULL;
}

struct gt_link_owed *gt_link_owe(struct gt_link *link, struct gt_request *req)
{
	struct gt_link_owed *o = gt_alloc(sizeof(*o));

	o->link = link;
	o->req = req;
	DL_APPEND(link->owed, o);
	gt_request_on_gone(req, on_gone, o);
	return o;
}

void gt_link_owed_free(struct gt_link_owed *o)
{
	DL_DELETE(o->link->owed, o);
	if (o->req)
		gt_request_on_gone(o->req, NULL, NULL);
	free(o->csr);
	free(o);
}

void gt_link_owed_end(struct gt_link *link)
{
	struct gt_link_owed *o, *next;

	DL_FOREACH_SAFE (link->owed, o, next)
		gt_link_owed_free(o);
}
