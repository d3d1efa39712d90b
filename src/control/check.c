/* check.c - the books against what they are kept of. For simulations and tests: it walks over all
 * that lives. */
#include "gang.h"

static int broken(struct gt_err *err, const char *slug, const struct gt_ctl_replica *r,
		  const char *what)
{
	return gt_err_set(err, EUCLEAN, slug, "replica %s of %s on %s: %s", r->id, r->function,
			  r->node->name, what);
}

/* Every replica is in the table by its id, and in the list of its owner. */
static int list_check(const struct gt_control *c, const struct gt_ctl_replica *list,
		      const struct gt_ctl_function *owner, size_t *n, struct gt_err *err)
{
	const struct gt_ctl_replica *r;

	DL_FOREACH (list, r) {
		const struct gt_ctl_replica *found;

		HASH_FIND_STR(c->replicas, r->id, found);
		if (found != r)
			return broken(err, "owner", r, "is not in the table");
		if (r->f != owner)
			return broken(err, "owner", r, "is in the list of another owner");
		if (gt_replica_state_ended(r->state))
			return broken(err, "owner", r, "has ended and is listed as live");
		++*n;
	}
	return 0;
}

static int owners_check(const struct gt_control *c, struct gt_err *err)
{
	const struct gt_ctl_live *live;
	size_t n = 0;

	DL_FOREACH (c->lives, live) {
		if (live->f->live != live)
			return gt_err_set(err, EUCLEAN, "owner", "a live part of %s is stale",
					  gt_ctl_name(live->f));
		int r = list_check(c, live->replicas, live->f, &n, err);

		if (r < 0)
			return r;
	}
	int r = list_check(c, c->strays, NULL, &n, err);

	if (r == 0 && n != HASH_COUNT(c->replicas))
		return gt_err_set(err, EUCLEAN, "owner", "%u replicas, %zu of them with an owner",
				  HASH_COUNT(c->replicas), n);
	return r;
}

static void spot_add(struct gt_sched_usage *sum, const struct gt_sched_spot *spot)
{
	sum->cpu_milli += spot->cpu_milli;
	sum->memory_bytes += spot->memory_bytes;
	sum->replicas++;
	for (size_t i = 0; i < GT_SCHED_GPUS_MAX; i++) {
		if (!(spot->gpu_mask >> i & 1))
			continue;
		sum->gpu_milli[i] = (uint16_t)(sum->gpu_milli[i] + spot->gpu_milli);
		sum->gpu_bytes[i] += spot->gpu_mib * GT_MIB;
	}
}

static int usage_check(const struct gt_ctl_node *node, const struct gt_sched_usage *sum,
		       const struct gt_sched_usage *booked, uint32_t held, struct gt_err *err)
{
	for (size_t i = 0; i < GT_SCHED_GPUS_MAX; i++) {
		if (sum->gpu_milli[i] > GT_SCHED_GPU_MILLI)
			return gt_err_set(err, EUCLEAN, "books",
					  "node %s: GPU %zu is given %u thousandths", node->name, i,
					  sum->gpu_milli[i]);
		if (sum->gpu_milli[i] != booked->gpu_milli[i] ||
		    sum->gpu_bytes[i] != booked->gpu_bytes[i])
			return gt_err_set(err, EUCLEAN, "books",
					  "node %s: %u thousandths of GPU %zu are booked, its "
					  "replicas have %u",
					  node->name, booked->gpu_milli[i], i, sum->gpu_milli[i]);
	}
	if (sum->replicas == node->replicas + held && sum->replicas == booked->replicas &&
	    sum->cpu_milli == booked->cpu_milli && sum->memory_bytes == booked->memory_bytes)
		return 0;
	return gt_err_set(
		err, EUCLEAN, "books",
		"node %s: %u (and %u) replicas with %llu m and %llu bytes are booked, "
		"there are %u with %llu m and %llu bytes",
		node->name, booked->replicas, node->replicas, (unsigned long long)booked->cpu_milli,
		(unsigned long long)booked->memory_bytes, sum->replicas,
		(unsigned long long)sum->cpu_milli, (unsigned long long)sum->memory_bytes);
}

/* Every seat is its member's, and no gang is ready in part. */
static int gang_check(const struct gt_ctl_gang *g, struct gt_err *err)
{
	uint32_t ready = 0;

	for (uint32_t i = 0; i < g->size; i++) {
		const struct gt_ctl_replica *r = g->seats[i].r;

		if (!r)
			continue;
		if (r->gang != g || r->member.rank != i || r->member.epoch != g->epoch)
			return broken(err, "gang", r, "has the seat of another");
		if (g->broken && !r->stop_ordered)
			return broken(err, "gang", r, "lives on in a broken gang");
		ready += r->state == GT_REPLICA_READY;
	}
	if (ready != 0 && ready != g->size)
		return gt_err_set(err, EUCLEAN, "gang", "gang %s, epoch %u: %u of %u are ready",
				  g->id, g->epoch, ready, g->size);
	return 0;
}

/* What failed epochs had of the node and the next ones may have. */
static void held_add(const struct gt_control *c, const struct gt_ctl_node *node,
		     struct gt_sched_usage *sum, uint32_t *n)
{
	const struct gt_ctl_gang *g;

	for (g = c->gangs; g; g = g->hh.next)
		for (uint32_t i = 0; i < g->size; i++) {
			const struct gt_sched_spot *held = &g->seats[i].held;

			if (held->generation == 0 || held->node != node->index)
				continue;
			spot_add(sum, held);
			++*n;
		}
}

static int node_check(const struct gt_control *c, const struct gt_ctl_node *node, size_t *n,
		      struct gt_err *err)
{
	struct gt_sched_usage sum = { 0 }, booked = { 0 };
	uint32_t held = 0;
	const struct gt_ctl_replica *r;

	DL_FOREACH2(node->list, r, node_next)
	{
		if (r->node != node)
			return broken(err, "books", r, "is in the list of another node");
		spot_add(&sum, &r->spot);
	}
	*n += sum.replicas;
	held_add(c, node, &sum, &held);
	if (gt_sched_usage(c->sched, node->index, &booked) < 0)
		return gt_err_set(err, EUCLEAN, "books", "node %s has no books", node->name);
	return usage_check(node, &sum, &booked, held, err);
}

int gt_control_check(const struct gt_control *c, struct gt_err *err)
{
	const struct gt_ctl_gang *g;
	size_t n = 0;
	int r = owners_check(c, err);

	for (g = c->gangs; r == 0 && g; g = g->hh.next)
		r = gang_check(g, err);
	for (size_t i = 0; r == 0 && i < c->n_nodes; i++)
		r = c->node_at[i] ? node_check(c, c->node_at[i], &n, err) : 0;
	if (r == 0 && n != HASH_COUNT(c->replicas))
		r = gt_err_set(err, EUCLEAN, "books", "%u replicas, %zu of them on a node",
			       HASH_COUNT(c->replicas), n);
	return r;
}
