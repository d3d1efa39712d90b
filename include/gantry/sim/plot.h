/* sim/plot.h - curves over time as SVG text. Deterministic. */
#ifndef GANTRY_SIM_PLOT_H
#define GANTRY_SIM_PLOT_H

#include <gantry/base/buf.h>

struct gt_plot_curve {
	const char *name, *color;
	double (*value)(const void *point);
	bool same; /* in the panel, and by the scale, of the one before */
};

struct gt_plot {
	const char *title;
	const struct gt_plot_curve *curves;
	size_t n_curves;
	const void *points; /* `n` of them, each of `size` bytes, by time */
	size_t n, size;
	double (*time_s)(const void *point);
};

/* One panel below the other, behind what is in out. */
void gt_plot_svg(const struct gt_plot *plot, struct gt_buf *out);

#endif
