/* traffic.c - the places of a gateway's counters. */
#include <gantry/model/traffic.h>

#include <string.h>

/* From a warm call to a model that is loaded first and then writes a long text. */
const uint32_t gt_hist_bounds_ms[GT_HIST_BOUNDS] = {
	1, 5, 25, 100, 500, 1000, 5000, 30000, 120000, 600000,
};

void gt_hist_add(struct gt_hist *h, uint64_t ns)
{
	unsigned i = 0;

	while (i < GT_HIST_BOUNDS && ns > gt_hist_bounds_ms[i] * GT_NS_PER_MS)
		i++;
	h->n[i]++;
	h->sum_us += ns / GT_NS_PER_US;
}

const char *const gt_refusal_names[GT_REFUSALS] = {
	"other",           "bad_gateway",        "bad_parameter",
	"body_too_large",  "function_not_found", "malformed_request",
	"model_not_found", "overloaded",         "queue_full",
	"replica_lost",    "request_timeout",    "run_timeout",
	"start_failed",    "unauthorized",       "unavailable",
	"wait_timeout",
};

unsigned gt_refusal_index(const char *slug)
{
	for (unsigned i = 1; i < GT_REFUSALS; i++)
		if (!strcmp(gt_refusal_names[i], slug))
			return i;
	return 0;
}
