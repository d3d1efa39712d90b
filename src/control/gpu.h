/* gpu.h - the GPUs and labels of nodes, and who has which GPU. */
#ifndef CONTROL_GPU_H
#define CONTROL_GPU_H

#include <gantry/control/control.h>

struct gt_ctl_node;
struct gt_ctl_replica;

/* Of a node, as its last full report told. */
struct gt_ctl_facts {
	struct gt_node_gpu *gpus;
	size_t n_gpus;
	struct gt_label *labels;
	size_t n_labels;
};

/* Of a replica. */
struct gt_ctl_grants {
	struct gt_gpu_grant *list;
	size_t n;
};

void gt_ctl_facts_set(struct gt_control *c, struct gt_ctl_node *node, const struct gt_report *r);
void gt_ctl_facts_fini(struct gt_ctl_facts *facts);
void gt_ctl_gpus_book(struct gt_ctl_replica *r); /* r->gpus, on its node */
void gt_ctl_gpus_unbook(struct gt_ctl_replica *r);

#endif
