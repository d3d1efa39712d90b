/* wire/weights.h - the JSON beside and inside of models' files: config.json of Hugging Face, the
 * header of safetensors, model.safetensors.index.json. All of it is a stranger's: sizes, depth,
 * numbers and UTF-8 are checked, and memory is in proportion to the text. Slugs: "bad_model" for
 * what breaks its format, "model_unknown" for a model whose memory has no formula here. */
#ifndef GANTRY_WIRE_WEIGHTS_H
#define GANTRY_WIRE_WEIGHTS_H

#include <gantry/model/llm.h>

#define GT_CONFIG_JSON_MAX  (4 * GT_MIB)
#define GT_INDEX_JSON_MAX   (32 * GT_MIB)
#define GT_TENSOR_NAME_MAX  1023
#define GT_TENSOR_DIMS_KEPT 4 /* of a tensor that has more dimensions, the first */

/* Architectures are told by model_type (of text_config where there is one); their layers by
 * layer_types where it is there. -EINVAL "model_unknown" names what is not known or missing. */
GT_MUST_USE int gt_llm_config_read(const char *text, size_t len, struct gt_llm *ret,
				   struct gt_err *err);

/* A tensor as a safetensors header has it: bytes [begin, end) behind the header. */
struct gt_tensor_text {
	const char *name; /* NUL-terminated, without escapes; borrowed for the call */
	char dtype[16];
	uint32_t rank;
	uint64_t dims[GT_TENSOR_DIMS_KEPT];
	uint64_t elements; /* the product of all dimensions; 1 for rank 0 */
	uint64_t begin, end;
};
typedef int gt_tensor_fn(const struct gt_tensor_text *t, void *arg, struct gt_err *err);

/* Calls fn for each tensor, in the header's order; fn's failure ends it. Checks the grammar, the
 * types of members and that none is missing, unknown or given twice in one tensor; that names
 * differ, and what bytes there are, is the caller's to check. */
GT_MUST_USE int gt_safetensors_read(const char *text, size_t len, gt_tensor_fn *fn, void *arg,
				    struct gt_err *err);

/* weight_map: fn for each tensor and the name of its file, which has no '/'. */
typedef int gt_weight_fn(const char *tensor, const char *file, void *arg, struct gt_err *err);
GT_MUST_USE int gt_weight_map_read(const char *text, size_t len, gt_weight_fn *fn, void *arg,
				   struct gt_err *err);

#endif
