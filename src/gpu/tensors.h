/* tensors.h - putting a gt_tensors together, for the readers of formats. */
#ifndef GANTRY_GPU_TENSORS_PRIV_H
#define GANTRY_GPU_TENSORS_PRIV_H

#include <gantry/gpu/tensors.h>

/* Appends; -E2BIG past GT_TENSORS_MAX. The name is copied. */
GT_MUST_USE int gt_tensors_add(struct gt_tensors *t, const char *name, const struct gt_tensor *one,
			       struct gt_err *err);
/* Refuses a name that is there twice. */
GT_MUST_USE int gt_tensors_check_names(const struct gt_tensors *t, struct gt_err *err);
/* "tensor "NAME": ..." */
int gt_tensor_refuse(struct gt_err *err, const char *name, const char *what);
/* All of `size` bytes at `at`; the end of the file is a failure. */
GT_MUST_USE int gt_tensors_pread(int fd, void *out, size_t size, uint64_t at, struct gt_err *err);
GT_MUST_USE int gt_tensors_file_size(int fd, uint64_t *ret, struct gt_err *err);

#endif
