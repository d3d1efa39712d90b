/* route.c - where the calls of a function may go, as gateways are told. */
#include "control_priv.h"

#include <stdlib.h>

/* A new revision takes over as a whole: from the moment its first replica is ready. */
static bool current_serves(const struct gt_ctl_live *live)
{
	const struct gt_ctl_replica *r;

	DL_FOREACH (live->replicas, r)
		if (r->state == GT_REPLICA_READY && gt_ctl_current(r))
			return true;
	return false;
}

/* Adds the replicas, and returns the revision of those that take new calls. */
static const struct gt_ctl_revision *replicas_fill(const struct gt_ctl_live *live,
						   struct gt_route *route)
{
	const struct gt_ctl_revision *serving = NULL;
	bool current = current_serves(live);
	const struct gt_ctl_replica *r;
	size_t n = 0;

	DL_FOREACH (live->replicas, r)
		n++;
	route->replicas = gt_alloc_array(n, sizeof(*route->replicas));
	DL_FOREACH (live->replicas, r) {
		bool draining = (r->state == GT_REPLICA_DRAINING && r->ready_ns != 0) ||
				r->state == GT_REPLICA_PARKING;
		bool serves = r->state == GT_REPLICA_READY && gt_ctl_current(r) == current;

		if ((!draining && !serves) || gt_ctl_follows(r))
			continue;
		struct gt_route_replica *to = &route->replicas[route->n_replicas++];

		gt_strcopy(to->id, sizeof(to->id), r->id);
		gt_strcopy(to->node, sizeof(to->node), r->node->name);
		to->draining = draining;
		to->suspect = r->node->silent;
		if (serves && !serving) {
			serving = r->rev;
			route->revision = r->revision;
		}
	}
	return serving;
}

/* Until the next replica is there: one that is parked comes back before another is started. */
static uint64_t return_ms(const struct gt_ctl_live *live)
{
	const struct gt_ctl_replica *r;

	DL_FOREACH (live->replicas, r)
		if (r->state == GT_REPLICA_PARKED && gt_ctl_current(r))
			return gt_ctl_wake_ms(live);
	return live->start_ms;
}

static void failure_fill(struct gt_control *c, const struct gt_ctl_live *live,
			 struct gt_route *route)
{
	uint64_t now = gt_ctl_now(c);

	if (!live->failure || now >= live->fail_until_ns)
		return;
	route->fail_seq = live->fail_seq;
	route->retry_ms = (live->fail_until_ns - now + GT_NS_PER_MS - 1) / GT_NS_PER_MS;
	gt_end_copy(&route->fail, live->failure);
}

static void spec_fill(const struct gt_ctl_function *f, struct gt_route *route)
{
	const struct gt_spec *spec = f->rev->spec;

	gt_strcopy(route->function, sizeof(route->function), gt_ctl_name(f));
	route->revision = f->rev->row.revision;
	route->access = spec->access;
	route->concurrency = spec->scale.concurrency;
	route->target = spec->scale.target;
	route->queue = spec->limits.queue;
	route->wait_ms = spec->limits.wait_ms;
	route->first_byte_ms = spec->limits.first_byte_ms;
	route->idle_ms = spec->limits.idle_ms;
	route->run_ms = spec->limits.run_ms;
	route->body_bytes = spec->limits.body_bytes;
	route->idempotent = spec->idempotent;
	if (spec->affinity.header)
		gt_strcopy(route->affinity, sizeof(route->affinity), spec->affinity.header);
	route->max_replicas = spec->scale.max;
	route->start_ms = CTL_START_MS_DEFAULT;
	route->models = gt_alloc_array(spec->n_models, sizeof(char *));
	for (size_t i = 0; i < spec->n_models; i++)
		route->models[route->n_models++] = gt_strdup(spec->models[i]);
}

int gt_control_route(struct gt_control *c, const char *function, struct gt_route *ret,
		     struct gt_err *err)
{
	struct gt_ctl_function *f = gt_ctl_function_find(c, function);
	struct gt_route route = { 0 };

	if (!f)
		return gt_err_set(err, ENOENT, "function_not_found", "there is no function %s",
				  function);
	spec_fill(f, &route);
	if (f->live) {
		const struct gt_ctl_revision *serving = replicas_fill(f->live, &route);

		route.start_ms = return_ms(f->live);
		if (serving)
			route.concurrency = serving->spec->scale.concurrency;
		else
			failure_fill(c, f->live, &route);
	}
	*ret = route;
	return 0;
}
