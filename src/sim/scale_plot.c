/* scale_plot.c - the curves of a run of the autoscaler. */
#include <gantry/sim/plot.h>
#include <gantry/sim/scale.h>

#include <stdio.h>

static const struct gt_sim_point *point(const void *p)
{
	return p;
}

static double time_s(const void *p)
{
	return point(p)->t_s;
}

static double replicas(const void *p)
{
	return (double)point(p)->ready + point(p)->starting;
}

static double serving(const void *p)
{
	return point(p)->serving;
}

static double queued(const void *p)
{
	return point(p)->queued;
}

static const struct gt_plot_curve curves[] = {
	{ "replicas, a GPU each", "#d62728", replicas, false },
	{ "GPUs that serve", "#1f77b4", serving, true },
	{ "calls that wait", "#9467bd", queued, false },
};

void gt_sim_scale_svg(const struct gt_sim_scale *run, struct gt_buf *out)
{
	char title[160];

	snprintf(title, sizeof(title), "policy %.60s, %.0f s", run->policy,
		 run->n_points ? run->points[run->n_points - 1].t_s : 0.0);
	gt_plot_svg(&(struct gt_plot){ .title = title,
				       .curves = curves,
				       .n_curves = GT_LEN(curves),
				       .points = run->points,
				       .n = run->n_points,
				       .size = sizeof(run->points[0]),
				       .time_s = time_s },
		    out);
}
