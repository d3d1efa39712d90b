/* gpu/model_files.h - a model as it lies in a directory. Opening its files is one step, reading
 * them another, so that a process with rights can open what one without them reads. */
#ifndef GANTRY_GPU_MODEL_FILES_H
#define GANTRY_GPU_MODEL_FILES_H

#include <gantry/gpu/vram.h>

#define GT_MODEL_FILES_MAX 512 /* of weights */

struct gt_model_file {
	char *name;
	int fd;
};

struct gt_model_files {
	int config_fd, index_fd;       /* -EBADF: there is none */
	struct gt_model_file *weights; /* by name; of safetensors, or else of GGUF */
	size_t n;
	bool gguf;
};
void gt_model_files_fini(struct gt_model_files *f);
static inline void gt_cleanup_model_files(struct gt_model_files *f)
{
	gt_model_files_fini(f);
}

/* path: a directory with config.json and *.safetensors or *.gguf, or one such file, inside of the
 * directory root_fd, which symbolic links do not leave (openat2, RESOLVE_IN_ROOT). All files of
 * weights of a directory are opened; which of them are the model's, the index says. -ENOENT,
 * -EINVAL, slug "bad_model". */
GT_MUST_USE int gt_model_files_open(int root_fd, const char *path, struct gt_model_files *ret,
				    struct gt_err *err);
/* Reads the headers. parallel: GPUs that the weights are split over; GGUF: 1. Slugs "bad_model",
 * "model_unknown". */
GT_MUST_USE int gt_model_read(const struct gt_model_files *f, uint32_t parallel,
			      struct gt_model *ret, struct gt_err *err);

#endif
