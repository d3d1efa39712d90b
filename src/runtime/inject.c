/* inject.c - model/inject.h as a part of the flat specification, and as rules of the control group.
 */
#include "plan.h"

_Static_assert(GT_INJECT_NODES_MAX <= GT_CGROUP_DEVICES_MAX, "each node has its rule");

#define DEV_SLASH 5 /* "/dev/" */

void gt_inject_encode(const struct gt_inject *i, struct gt_buf *out)
{
	struct gt_init_inject head = {
		.n_nodes = (uint32_t)i->n_nodes,
		.n_links = (uint32_t)i->n_links,
		.n_texts = (uint32_t)i->n_texts,
		.n_hides = (uint32_t)i->n_hides,
	};

	gt_buf_add(out, &head, sizeof(head));
	for (size_t k = 0; k < i->n_nodes; k++) {
		struct gt_init_node node = { .major = i->nodes[k].major,
					     .minor = i->nodes[k].minor,
					     .block = i->nodes[k].type == 'b' };

		gt_buf_add(out, &node, sizeof(node));
	}
}

void gt_inject_encode_strings(const struct gt_inject *i, struct gt_buf *out)
{
	for (size_t k = 0; k < i->n_nodes; k++)
		gt_encode_string(out, i->nodes[k].path + DEV_SLASH);
	for (size_t k = 0; k < i->n_links; k++) {
		gt_encode_string(out, i->links[k].path);
		gt_encode_string(out, i->links[k].to);
	}
	for (size_t k = 0; k < i->n_texts; k++) {
		gt_encode_string(out, i->texts[k].path);
		gt_encode_string(out, i->texts[k].text);
	}
	for (size_t k = 0; k < i->n_hides; k++)
		gt_encode_string(out, i->hides[k]);
}

/* Process 1 makes the nodes, hence MKNOD; the program could not, in its user namespace, and a
 * second node of what it may open gives it nothing. */
void gt_inject_devices(const struct gt_inject *i, struct plan *p)
{
	for (size_t k = 0; k < i->n_nodes; k++) {
		const struct gt_inject_node *n = &i->nodes[k];

		p->devices[p->n_devices++] = (struct gt_cgroup_device){
			.type = n->type,
			.major = n->major,
			.minor = n->minor,
			.access = GT_CGROUP_MKNOD | (n->read ? GT_CGROUP_READ : 0u) |
				  (n->write ? GT_CGROUP_WRITE : 0u),
		};
	}
}
