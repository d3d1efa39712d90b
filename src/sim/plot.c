/* plot.c - curves as SVG paths; no library is needed for three lines and two axes. */
#include <gantry/sim/plot.h>

#define WIDTH  1000
#define HEIGHT 200 /* of one panel */
#define LEFT   70
#define TOP    40
#define GAP    40

struct curve {
	const char *name, *color;
	uint32_t (*value)(const struct gt_sim_point *p);
};

static uint32_t replicas(const struct gt_sim_point *p)
{
	return p->ready + p->starting;
}
static uint32_t serving(const struct gt_sim_point *p)
{
	return p->serving;
}
static uint32_t queued(const struct gt_sim_point *p)
{
	return p->queued;
}

static const struct curve curves[] = {
	{ "replicas, each with its GPU", "#d62728", replicas },
	{ "GPUs that serve", "#1f77b4", serving },
	{ "calls that wait", "#9467bd", queued },
};

static uint32_t highest(const struct gt_sim_point *points, size_t n, const struct curve *c)
{
	uint32_t most = 1;

	for (size_t i = 0; i < n; i++)
		most = GT_MAX(most, c->value(&points[i]));
	return most;
}

static void panel_draw(const struct gt_sim_point *points, size_t n, size_t index,
		       struct gt_buf *out)
{
	const struct curve *c = &curves[index];
	size_t top = TOP + index * (HEIGHT + GAP);
	uint32_t most = highest(points, n, c);

	gt_buf_addf(out,
		    "<text x=\"%d\" y=\"%zu\">%s</text>\n"
		    "<text x=\"%d\" y=\"%zu\" text-anchor=\"end\">%u</text>\n"
		    "<text x=\"%d\" y=\"%zu\" text-anchor=\"end\">0</text>\n"
		    "<path d=\"M%d %zuv%dh%d\" fill=\"none\" stroke=\"#888\"/>\n"
		    "<path fill=\"none\" stroke=\"%s\" d=\"M%d %zu",
		    LEFT, top - 6, c->name, LEFT - 6, top + 10, most, LEFT - 6, top + HEIGHT, LEFT,
		    top, HEIGHT, WIDTH, c->color, LEFT, top + HEIGHT);
	for (size_t i = 0; i < n; i++) {
		double x = LEFT + WIDTH * (double)(i + 1) / (double)n;
		double y = (double)top + HEIGHT * (1 - (double)c->value(&points[i]) / most);

		gt_buf_addf(out, "L%.1f %.1f", x, y);
	}
	gt_buf_adds(out, "\"/>\n");
}

void gt_sim_plot_svg(const struct gt_sim_point *points, size_t n, const char *title,
		     struct gt_buf *out)
{
	size_t height = TOP + GT_LEN(curves) * (HEIGHT + GAP);

	gt_buf_addf(out,
		    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%zu\" "
		    "font-family=\"sans-serif\" font-size=\"12\">\n"
		    "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
		    "<text x=\"%d\" y=\"16\">policy %s, %.0f s</text>\n",
		    LEFT + WIDTH + 20, height, LEFT, title, n ? points[n - 1].t_s : 0.0);
	for (size_t i = 0; i < GT_LEN(curves); i++)
		panel_draw(points, n, i, out);
	gt_buf_adds(out, "</svg>\n");
}
