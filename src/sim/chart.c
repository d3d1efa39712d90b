/* chart.c - curves as SVG paths: no library is needed for a few lines and two axes. */
#include <gantry/sim/capacity.h>

#define WIDTH  1000
#define HEIGHT 160 /* of one panel */
#define LEFT   80
#define TOP    50
#define GAP    40

struct curve {
	const char *name, *color;
	double (*value)(const struct gt_capacity_point *p);
	bool same; /* in the panel and scale of the one before */
};

static double replicas(const struct gt_capacity_point *p)
{
	return p->replicas;
}

static double ready(const struct gt_capacity_point *p)
{
	return p->ready;
}

static double busy(const struct gt_capacity_point *p)
{
	return p->busy;
}

static double waiting(const struct gt_capacity_point *p)
{
	return (double)p->waiting;
}

static double gpus(const struct gt_capacity_point *p)
{
	return p->gpus;
}

static double nodes(const struct gt_capacity_point *p)
{
	return p->nodes_up;
}

static const struct curve curves[] = {
	{ "replicas", "#d62728", replicas, false },
	{ "ready", "#2ca02c", ready, true },
	{ "with a call", "#1f77b4", busy, true },
	{ "calls that wait", "#9467bd", waiting, false },
	{ "GPUs given", "#ff7f0e", gpus, false },
	{ "nodes up", "#444", nodes, false },
};

static double highest(const struct gt_capacity_result *r, const struct curve *c)
{
	double most = 1;

	for (size_t i = 0; i < r->n_points; i++)
		most = GT_MAX(most, c->value(&r->points[i]));
	return most;
}

static void curve_draw(const struct gt_capacity_result *r, const struct curve *c, int top,
		       double most, struct gt_buf *out)
{
	double end_s = r->points[r->n_points - 1].t_s;

	gt_buf_addf(out, "<path fill=\"none\" stroke=\"%s\" d=\"M%d %d", c->color, LEFT,
		    top + HEIGHT);
	for (size_t i = 0; i < r->n_points; i++)
		gt_buf_addf(out, "L%.1f %.1f", LEFT + WIDTH * r->points[i].t_s / end_s,
			    top + HEIGHT * (1 - c->value(&r->points[i]) / most));
	gt_buf_adds(out, "\"/>\n");
}

void gt_capacity_svg(const struct gt_capacity *config, const struct gt_capacity_result *r,
		     struct gt_buf *out)
{
	int top = TOP - HEIGHT - GAP, label = LEFT;
	double most = 1;

	gt_buf_addf(out,
		    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		    "font-family=\"sans-serif\" font-size=\"12\">\n"
		    "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
		    "<text x=\"%d\" y=\"16\">%u simulated nodes of %u GPUs, %.2f hours, seed "
		    "%llu</text>\n",
		    LEFT + WIDTH + 20, TOP + 4 * (HEIGHT + GAP), LEFT, config->nodes, config->gpus,
		    r->hours, (unsigned long long)config->seed);
	for (size_t i = 0; i < GT_LEN(curves) && r->n_points > 0; i++) {
		const struct curve *c = &curves[i];

		if (!c->same) {
			top += HEIGHT + GAP;
			label = LEFT;
			most = highest(r, c);
			gt_buf_addf(out,
				    "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.0f</text>\n"
				    "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">0</text>\n"
				    "<path d=\"M%d %dv%dh%d\" fill=\"none\" stroke=\"#888\"/>\n",
				    LEFT - 6, top + 10, most, LEFT - 6, top + HEIGHT, LEFT, top,
				    HEIGHT, WIDTH);
		}
		gt_buf_addf(out, "<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>\n", label, top - 6,
			    c->color, c->name);
		label += 100;
		curve_draw(r, c, top, most, out);
	}
	gt_buf_adds(out, "</svg>\n");
}
