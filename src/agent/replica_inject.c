/* replica_inject.c - what a replica's container gets beside its image: the devices of
 * resources.devices. */
#include <stdlib.h>
#include <string.h>

#include "agent_impl.h"

static bool is_empty(const struct gt_inject *i)
{
	return i->n_nodes + i->n_binds + i->n_links + i->n_texts + i->n_env + i->n_hides == 0;
}

int gt_replica_inject(struct replica *r, struct gt_inject **ret, struct gt_err *err)
{
	const struct gt_spec *spec = r->spec;
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	int res = 0;

	for (size_t k = 0; res == 0 && k < spec->resources.n_devices; k++)
		res = gt_cdi_inject(r->agent, spec->resources.devices[k], i, err);
	if (res < 0)
		return res;
	gt_inject_env_apply(i, r->spec);
	*ret = is_empty(i) ? NULL : gt_steal(&i);
	return 0;
}
