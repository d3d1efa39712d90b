/* gpu/tensors.h - the tensors that a file of weights has, out of its header alone: safetensors and
 * GGUF. Files are a stranger's: every count, size and offset is checked against the file's size,
 * and memory is in proportion to the header. Slug of all refusals: "bad_model". */
#ifndef GANTRY_GPU_TENSORS_H
#define GANTRY_GPU_TENSORS_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>
#include <gantry/model/llm.h>
#include <gantry/wire/weights.h>

#define GT_SAFETENSORS_HEADER_MAX 100000000 /* the format's own limit */
#define GT_TENSORS_MAX            1000000   /* of one file */

struct gt_tensor {
	size_t name; /* where it begins in gt_tensors.names */
	uint32_t rank;
	uint64_t
		dims[GT_TENSOR_DIMS_KEPT]; /* as the file has them, the first GT_TENSOR_DIMS_KEPT */
	uint64_t begin, bytes;             /* place in the file */
};

/* The tensors of one file in the order of their bytes. */
struct gt_tensors {
	struct gt_tensor *list;
	size_t n;
	struct gt_buf names;
	uint64_t bytes; /* of all */
};
void gt_tensors_fini(struct gt_tensors *t);
static inline void gt_cleanup_tensors(struct gt_tensors *t)
{
	gt_tensors_fini(t);
}
static inline const char *gt_tensor_name(const struct gt_tensors *t, size_t i)
{
	return t->names.data + t->list[i].name;
}

/* Bits of an element by the format's name of its type ("BF16", "F8_E4M3", "F4"); 0: unknown. */
unsigned gt_safetensors_bits(const char *dtype);
/* Reads by pread only. As strict as the format's README (huggingface/safetensors), which is
 * stricter than its reference: a header of at most 100 MB that begins with {, names that differ,
 * members that are known, no hole, no overlap, all of the file covered. *ret is written on success
 * only. */
GT_MUST_USE int gt_safetensors_open(int fd, struct gt_tensors *ret, struct gt_err *err);

/* A type of ggml: so many elements are one block of so many bytes. NULL: there is none of that
 * number, or it was withdrawn. */
struct gt_ggml_type {
	const char *name;
	uint32_t elements, bytes;
};
const struct gt_ggml_type *gt_ggml_type(uint32_t number);
/* GGUF of versions 2 and 3, little-endian (ggml, docs/gguf.md). What the model is goes to *ret_llm;
 * of a part that is not the first (split.no > 0) all of it stays 0. */
struct gt_gguf_split {
	uint32_t no, count; /* 0 of 1: not split */
};
GT_MUST_USE int gt_gguf_open(int fd, struct gt_tensors *ret, struct gt_llm *ret_llm,
			     struct gt_gguf_split *ret_split, struct gt_err *err);

#endif
