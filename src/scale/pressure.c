/* pressure.c - whose idle replica goes when another function finds no room. */
#include <gantry/scale/scale.h>

int gt_scale_pressure(const struct gt_scale_held *held, size_t n, size_t *ret)
{
	double least = 0;
	size_t best = n;

	for (size_t i = 0; i < n; i++) {
		if (held[i].spare == 0 || held[i].units == 0)
			continue;
		double worth = held[i].worth / held[i].units;

		if (best < n && worth >= least)
			continue;
		best = i;
		least = worth;
	}
	if (best == n)
		return -ENOENT;
	*ret = best;
	return 0;
}
