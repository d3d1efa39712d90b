/* gguf.h - the metadata of a GGUF file that memory depends on, gathered while the file is read and
 * understood at the end: keys may come in any order, before or after general.architecture. */
#ifndef GANTRY_GPU_GGUF_H
#define GANTRY_GPU_GGUF_H

#include <gantry/gpu/tensors.h>

/* A whole number of the metadata, or a list of them. */
struct gguf_number {
	bool there;
	bool list;
	uint64_t value;  /* of a list the greatest */
	uint64_t sum, n; /* of a list */
};

enum gguf_key {
	GGUF_BLOCK_COUNT,
	GGUF_CONTEXT,
	GGUF_EMBEDDING,
	GGUF_FEED_FORWARD,
	GGUF_HEADS,
	GGUF_KV_HEADS,
	GGUF_KEY_LENGTH,
	GGUF_VALUE_LENGTH,
	GGUF_WINDOW,
	GGUF_VOCAB,
	GGUF_KV_LORA_RANK,
	GGUF_ROPE_DIMS,
	GGUF_KEY_LENGTH_MLA,
	GGUF_SSM_CONV,
	GGUF_SSM_INNER,
	GGUF_SSM_STATE,
	GGUF_SSM_GROUPS,
	GGUF_KEYS
};

struct gguf_facts {
	char arch[GT_LLM_ARCH_MAX + 1];
	struct gguf_number keys[GGUF_KEYS];
	uint64_t tokens; /* of the vocabulary's list */
};

/* Which of the keys `name` is, given what follows the architecture ("block_count"); -1: none. */
int gt_gguf_key(const char *name);
/* -EINVAL "model_unknown". */
GT_MUST_USE int gt_gguf_llm(const struct gguf_facts *f, struct gt_llm *ret, struct gt_err *err);

#endif
