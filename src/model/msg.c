/* msg.c - releasing and copying what the roles tell each other. A finished struct is zeroed, so
 * that finishing it again does nothing. */
#include <gantry/model/msg.h>

#include <stdlib.h>

void gt_order_fini(struct gt_order *o)
{
	free(o->spec_json);
	free(o->gpus);
	free(o->addresses);
	*o = (struct gt_order){ 0 };
}

void gt_end_fini(struct gt_end *e)
{
	free(e->log_tail);
	*e = (struct gt_end){ 0 };
}

void gt_end_copy(struct gt_end *dst, const struct gt_end *src)
{
	*dst = *src;
	dst->log_tail = gt_strdup(src->log_tail);
}

void gt_observed_fini(struct gt_observed *o)
{
	gt_end_fini(&o->end);
	free(o->gpus);
	*o = (struct gt_observed){ 0 };
}

void gt_report_fini(struct gt_report *r)
{
	for (size_t i = 0; i < r->n_replicas; i++)
		gt_observed_fini(&r->replicas[i]);
	free(r->replicas);
	free(r->gpus);
	free(r->labels);
	free(r->gpu_stats);
	free(r->events);
	free(r->weights.here);
	*r = (struct gt_report){ 0 };
}

void gt_route_fini(struct gt_route *r)
{
	for (size_t i = 0; i < r->n_models; i++)
		free(r->models[i]);
	free(r->models);
	free(r->replicas);
	gt_end_fini(&r->fail);
	*r = (struct gt_route){ 0 };
}

void gt_demand_fini(struct gt_demand *d)
{
	free(d->functions);
	free(d->drained);
	*d = (struct gt_demand){ 0 };
}
