/* near.c - which GPUs of a node are near to each other, by NVML: pairs, and from them groups. */
#include "nvidia.h"

typedef bool is_near_fn(nvmlDevice_t a, nvmlDevice_t b);

static bool is_linked(nvmlDevice_t a, nvmlDevice_t b)
{
	int status = -1;

	return NVML_CALL(p2p, a, b, NVML_P2P_NVLINK, &status) == NVML_SUCCESS &&
	       status == NVML_P2P_OK;
}

static bool is_below_one_bridge(nvmlDevice_t a, nvmlDevice_t b)
{
	int level = NVML_TOPOLOGY_HOSTBRIDGE + 1;

	return NVML_CALL(ancestor, a, b, &level) == NVML_SUCCESS &&
	       level <= NVML_TOPOLOGY_HOSTBRIDGE;
}

/* Who is near to somebody of a group belongs to it. */
static void group(const nvmlDevice_t *cards, size_t n, is_near_fn *is_near, int *ret)
{
	int next = 0;

	for (size_t i = 0; i < n; i++)
		ret[i] = -1;
	for (size_t i = 0; i < n; i++) {
		for (size_t k = i + 1; k < n; k++) {
			int was = ret[k], becomes = ret[i];

			if ((was >= 0 && was == becomes) || !is_near(cards[i], cards[k]))
				continue;
			if (becomes < 0)
				becomes = was >= 0 ? was : next++;
			ret[i] = ret[k] = becomes;
			for (size_t o = 0; was >= 0 && o < n; o++)
				if (ret[o] == was)
					ret[o] = becomes;
		}
	}
}

void nvml_near(const nvmlDevice_t *cards, size_t n, int *ret_link, int *ret_bridge)
{
	group(cards, n, is_linked, ret_link);
	group(cards, n, is_below_one_bridge, ret_bridge);
}
