/* sim/plot.h - a run of the autoscaler as a picture. */
#ifndef GANTRY_SIM_PLOT_H
#define GANTRY_SIM_PLOT_H

#include <gantry/base/buf.h>
#include <gantry/sim/scale.h>

/* Three curves over time as SVG text, behind what is in buf: replicas that are there (ready and
 * starting), those of them that serve, and calls that wait. Deterministic. */
void gt_sim_plot_svg(const struct gt_sim_point *points, size_t n, const char *title,
		     struct gt_buf *out);

#endif
