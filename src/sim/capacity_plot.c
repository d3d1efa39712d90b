/* capacity_plot.c - the curves of a simulated cluster. */
#include <gantry/sim/capacity.h>
#include <gantry/sim/plot.h>

#include <stdio.h>

static const struct gt_capacity_point *point(const void *p)
{
	return p;
}

static double time_s(const void *p)
{
	return point(p)->t_s;
}

static double replicas(const void *p)
{
	return point(p)->replicas;
}

static double ready(const void *p)
{
	return point(p)->ready;
}

static double busy(const void *p)
{
	return point(p)->busy;
}

static double waiting(const void *p)
{
	return (double)point(p)->waiting;
}

static double gpus(const void *p)
{
	return point(p)->gpus;
}

static double nodes(const void *p)
{
	return point(p)->nodes_up;
}

static const struct gt_plot_curve curves[] = {
	{ "replicas", "#d62728", replicas, false },
	{ "ready", "#2ca02c", ready, true },
	{ "with a call", "#1f77b4", busy, true },
	{ "calls that wait", "#9467bd", waiting, false },
	{ "GPUs given", "#ff7f0e", gpus, false },
	{ "nodes up", "#444", nodes, false },
};

void gt_capacity_svg(const struct gt_capacity *config, const struct gt_capacity_result *r,
		     struct gt_buf *out)
{
	char title[160];

	snprintf(title, sizeof(title), "%u simulated nodes of %u GPUs, %.2f hours, seed %llu",
		 config->nodes, config->gpus, r->hours, (unsigned long long)config->seed);
	gt_plot_svg(&(struct gt_plot){ .title = title,
				       .curves = curves,
				       .n_curves = GT_LEN(curves),
				       .points = r->points,
				       .n = r->n_points,
				       .size = sizeof(r->points[0]),
				       .time_s = time_s },
		    out);
}
