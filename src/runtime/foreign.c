/* foreign.c - runtime/foreign.h as a part of the flat specification. */
#include <gantry/runtime/foreign.h>

#include <string.h>

#include "plan.h"

_Static_assert(GT_FOREIGN_GROUPS_MAX <= GT_INIT_FOREIGN_MAX &&
		       GT_FOREIGN_LIMITS_MAX <= GT_INIT_FOREIGN_MAX,
	       "what is accepted fits");

uint64_t gt_foreign_caps_max(void)
{
	return GT_INIT_CAPS;
}

void gt_foreign_encode(const struct gt_foreign *f, struct gt_buf *out)
{
	struct gt_init_foreign flat = {
		.root_direct = f->root_direct,
		.root_readonly = f->root_readonly,
		.has_caps = f->has_caps,
		.has_oom_score_adj = f->has_oom_score_adj,
		.oom_score_adj = f->oom_score_adj,
		.umask = f->umask,
		.n_groups = (uint32_t)f->n_groups,
		.n_limits = (uint32_t)f->n_limits,
		.n_masked = (uint32_t)f->n_masked,
		.n_readonly = (uint32_t)f->n_readonly,
		.n_sysctls = (uint32_t)f->n_sysctls,
	};

	for (size_t i = 0; i < GT_FOREIGN_CAPS_N; i++)
		flat.caps[i] = f->caps[i] & GT_INIT_CAPS;
	memcpy(flat.groups, f->groups, f->n_groups * sizeof(flat.groups[0]));
	for (size_t i = 0; i < f->n_limits; i++) {
		flat.limits[i].resource = (uint64_t)f->limits[i].resource;
		flat.limits[i].soft = f->limits[i].soft;
		flat.limits[i].hard = f->limits[i].hard;
	}
	gt_buf_add(out, &flat, sizeof(flat));
}

void gt_foreign_encode_strings(const struct gt_foreign *f, struct gt_buf *out)
{
	gt_encode_string(out, f->domainname ? f->domainname : "");
	for (size_t i = 0; i < f->n_masked; i++)
		gt_encode_string(out, f->masked[i]);
	for (size_t i = 0; i < f->n_readonly; i++)
		gt_encode_string(out, f->readonly[i]);
	for (size_t i = 0; i < f->n_sysctls; i++) {
		gt_encode_string(out, f->sysctls[i].path);
		gt_encode_string(out, f->sysctls[i].value);
	}
}
