/* place.c - filter, then score. */
#include <gantry/sched/sched.h>

enum fit { FIT_DOWN, FIT_MEMORY, FIT_CPU, FIT_OK }; /* further = came closer to fitting */

static bool has_room(uint64_t size, uint64_t taken, uint64_t want, uint64_t overcommit)
{
	if (size == 0 || want == 0)
		return true;
	uint64_t room = size > UINT64_MAX / overcommit ? UINT64_MAX : size * overcommit;

	return taken <= room && want <= room - taken;
}

static enum fit node_fit(const struct gt_sched_node *node, const struct gt_sched_want *want)
{
	if (!node->up)
		return FIT_DOWN;
	if (!has_room(node->memory_bytes, node->memory_taken_bytes, want->memory_bytes,
		      GT_SCHED_MEMORY_OVERCOMMIT))
		return FIT_MEMORY;
	if (!has_room(node->cpu_milli, node->cpu_taken_milli, want->cpu_milli,
		      GT_SCHED_CPU_OVERCOMMIT))
		return FIT_CPU;
	return FIT_OK;
}

static double share(uint64_t taken, uint64_t size)
{
	return size ? (double)taken / (double)size : 0;
}

/* Higher is better. The same function elsewhere weighs more than any fill: one lost node should not
 * take all of its replicas. */
static double node_score(const struct gt_sched_node *node, const struct gt_sched_want *want)
{
	double fill = share(node->memory_taken_bytes, node->memory_bytes) +
		      share(node->cpu_taken_milli, node->cpu_milli) + node->replicas / 1e4;

	if (want->policy == GT_SCHED_PACK)
		return fill;
	return -fill - 100.0 * node->same_function;
}

static int refuse(const struct gt_sched_node *nodes, size_t n, const struct gt_sched_want *want,
		  struct gt_err *err)
{
	const struct gt_sched_node *closest = NULL;
	enum fit best = FIT_DOWN;

	for (size_t i = 0; i < n; i++) {
		enum fit fit = node_fit(&nodes[i], want);

		if (!closest || fit > best) {
			closest = &nodes[i];
			best = fit;
		}
	}
	if (!closest || best == FIT_DOWN)
		return gt_err_set(err, ENOSPC, "no_capacity", "no node is up (%zu known)", n);
	if (best == FIT_MEMORY)
		return gt_err_set(err, ENOSPC, "no_capacity",
				  "node %s: %llu MiB of memory limits are placed and %llu MiB more "
				  "would pass %u times its %llu MiB; stop replicas or lower "
				  "resources.memory",
				  closest->name,
				  (unsigned long long)(closest->memory_taken_bytes / GT_MIB),
				  (unsigned long long)(want->memory_bytes / GT_MIB),
				  GT_SCHED_MEMORY_OVERCOMMIT,
				  (unsigned long long)(closest->memory_bytes / GT_MIB));
	return gt_err_set(err, ENOSPC, "no_capacity",
			  "node %s: cpu limits of %llu m are placed and %llu m more would pass %u "
			  "times its %llu m; stop replicas or lower resources.cpu",
			  closest->name, (unsigned long long)closest->cpu_taken_milli,
			  (unsigned long long)want->cpu_milli, GT_SCHED_CPU_OVERCOMMIT,
			  (unsigned long long)closest->cpu_milli);
}

int gt_sched_place(const struct gt_sched_node *nodes, size_t n, const struct gt_sched_want *want,
		   size_t *ret, struct gt_err *err)
{
	size_t best = n;
	double best_score = 0;

	for (size_t i = 0; i < n; i++) {
		if (node_fit(&nodes[i], want) != FIT_OK)
			continue;
		double score = node_score(&nodes[i], want);

		if (best == n || score > best_score) {
			best = i;
			best_score = score;
		}
	}
	if (best == n)
		return refuse(nodes, n, want, err);
	*ret = best;
	return 0;
}
