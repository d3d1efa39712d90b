/* vessel.c - what a container leaves that the next one of its plan may have: its network namespace,
 * its control groups and its ids.
 *
 * The program had no right over either: they belong to the host's user namespace, and it was in one
 * of its own before it ran. What it can leave is counted by the kernel: sockets that somebody else
 * still holds, connections that time out, processes, memory. Whatever shows such a trace is not
 * used again. */
#include "runtime_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/os/os.h>

struct vessel *gt_vessel_of(struct sandbox *box)
{
	struct vessel *v;

	if (box->netns < 0 || box->net.kind == GT_NETWORK_HOST || box->frozen_once ||
	    !gt_cgroup_is_fresh(&box->rt->cgroups, box->where.sandbox))
		return NULL;
	v = gt_alloc(sizeof(*v));
	gt_strcopy(v->leaf, sizeof(v->leaf), box->where.sandbox);
	v->id_base = box->id_base;
	box->id_base = 0;
	v->netns = gt_steal_fd(&box->netns);
	v->net = box->net;
	box->net.leased = false;
	return v;
}

/* "sockets: used 0", then of TCP "... tw 0 ...": what a closed connection leaves keeps its port for
 * a minute. */
bool gt_vessel_is_clean(const struct gt_runtime *rt, const struct vessel *v)
{
	unsigned used, waiting;
	const char *tw;
	char text[512];

	if (gt_os_read_in(v->netns, rt->netns, "/proc/thread-self/net/sockstat", text, sizeof(text),
			  NULL) < 0)
		return false;
	tw = strstr(text, " tw ");
	return sscanf(text, "sockets: used %u", &used) == 1 && used == 0 && tw &&
	       sscanf(tw, " tw %u", &waiting) == 1 && waiting == 0;
}

void gt_vessel_drop(struct gt_runtime *rt, struct vessel *v)
{
	gt_close(v->netns);
	gt_sandbox_net_release(rt, &v->net);
	gt_sandbox_remove(gt_sandbox_leftover(rt, v->leaf));
	gt_idrange_put(&rt->ids, v->id_base);
	free(v);
}
