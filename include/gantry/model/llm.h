/* model/llm.h - what of a language model decides how much memory it needs beside its weights. */
#ifndef GANTRY_MODEL_LLM_H
#define GANTRY_MODEL_LLM_H

#include <gantry/base/err.h>

#define GT_LLM_ARCH_MAX 47

#define GT_LLM_LAYERS_MAX 4096       /* of a model */
#define GT_LLM_SIZE_MAX   (1u << 24) /* of each dimension, and tokens of context */

/* A layer remembers all tokens (full), the last `window`, one vector a token that serves as key and
 * value of all heads (latent: multi-head latent attention), or a state of constant size. */
struct gt_llm {
	char arch[GT_LLM_ARCH_MAX + 1]; /* model_type, general.architecture: one that is known */
	uint32_t layers;
	uint32_t hidden, intermediate, vocab;
	uint32_t heads;
	uint32_t kv_heads;     /* of a layer; where layers differ, of the one that has most */
	uint32_t full_heads;   /* the same, summed over the full layers */
	uint32_t window_heads; /* and over those with a window */
	uint32_t kv_dims;      /* of a head: of its key and its value together */
	uint32_t window;       /* tokens; 0 = no layer has one */
	uint32_t latent_layers, latent_dims;
	uint32_t state_layers;
	uint64_t state_bytes; /* of one such layer, of one sequence */
	uint32_t context;     /* the most tokens it was made for; 0 = not told */
	uint32_t kv_bits;     /* of an element of the cache, unless another type is chosen */
	bool tied;            /* the head is the embedding: a stored copy is not loaded */
};

/* What any room may count on: no dimension is 0 or above its maximum, heads and layers fit each
 * other. -EINVAL "model_unknown" says which is wrong. */
GT_MUST_USE int gt_llm_check(const struct gt_llm *m, struct gt_err *err);

#endif
