/* plot.c - curves as SVG paths: no library is needed for a few lines and two axes. */
#include <gantry/sim/plot.h>

#define WIDTH  1000
#define HEIGHT 160 /* of one panel */
#define LEFT   80
#define TOP    50
#define GAP    40
#define NAME   130 /* between the names of curves in one panel */

static const void *point_at(const struct gt_plot *p, size_t i)
{
	return (const char *)p->points + i * p->size;
}

static double highest(const struct gt_plot *p, const struct gt_plot_curve *c)
{
	double most = 1;

	for (size_t i = 0; i < p->n; i++)
		most = GT_MAX(most, c->value(point_at(p, i)));
	return most;
}

static void axes_draw(int top, double most, struct gt_buf *out)
{
	gt_buf_addf(out,
		    "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.0f</text>\n"
		    "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">0</text>\n"
		    "<path d=\"M%d %dv%dh%d\" fill=\"none\" stroke=\"#888\"/>\n",
		    LEFT - 6, top + 10, most, LEFT - 6, top + HEIGHT, LEFT, top, HEIGHT, WIDTH);
}

static void curve_draw(const struct gt_plot *p, const struct gt_plot_curve *c, int top, double most,
		       struct gt_buf *out)
{
	double end_s = p->time_s(point_at(p, p->n - 1));

	gt_buf_addf(out, "<path fill=\"none\" stroke=\"%s\" d=\"M%d %d", c->color, LEFT,
		    top + HEIGHT);
	for (size_t i = 0; i < p->n; i++) {
		const void *at = point_at(p, i);

		gt_buf_addf(out, "L%.1f %.1f",
			    LEFT + (end_s > 0 ? WIDTH * p->time_s(at) / end_s : 0),
			    top + HEIGHT * (1 - c->value(at) / most));
	}
	gt_buf_adds(out, "\"/>\n");
}

static size_t panels(const struct gt_plot *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_curves; i++)
		n += !p->curves[i].same;
	return n;
}

void gt_plot_svg(const struct gt_plot *p, struct gt_buf *out)
{
	int top = TOP - HEIGHT - GAP, label = LEFT;
	double most = 1;

	gt_buf_addf(out,
		    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		    "font-family=\"sans-serif\" font-size=\"12\">\n"
		    "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
		    "<text x=\"%d\" y=\"16\">%s</text>\n",
		    LEFT + WIDTH + 20, TOP + (int)panels(p) * (HEIGHT + GAP), LEFT, p->title);
	for (size_t i = 0; i < p->n_curves && p->n > 0; i++) {
		const struct gt_plot_curve *c = &p->curves[i];

		if (!c->same) {
			top += HEIGHT + GAP;
			label = LEFT;
			most = highest(p, c);
			axes_draw(top, most, out);
		}
		gt_buf_addf(out, "<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>\n", label, top - 6,
			    c->color, c->name);
		label += NAME;
		curve_draw(p, c, top, most, out);
	}
	gt_buf_adds(out, "</svg>\n");
}
