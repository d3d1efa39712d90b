/* gpu/vram.h - how much memory of a GPU a model needs. Pure.
 *
 * Per rank (one GPU of `tensor_parallel`), in bytes:
 *	weights      exact: the sum of the tensors' bytes, out of the files' headers. Split over
 *ranks as vLLM and Megatron split (gt_vram_rank_bytes). cache        sequences * (tokens of a layer
 ** elements * bytes, over all layers, + state): full layers hold `context` tokens, layers with a
 *window min(context, window), each in blocks of 16 tokens (vLLM's block_size); an element is
 *	             kv_heads * (key + value dimensions), for latent attention kv_lora_rank +
 *	             qk_rope_head_dim, whole on each rank.  (vllm/v1/kv_cache_interface.py)
 *	activations  batched tokens * max(4 * hidden, 2 * intermediate) * 2 + sequences * vocabulary
 ** 4: the widest moment of a layer in 16 bits, and the logits in 32. A first model. overhead the
 *driver's context, graphs, NCCL: 1 GiB, and with the activations 1.5 GiB at least; or what was
 *measured. */
#ifndef GANTRY_GPU_VRAM_H
#define GANTRY_GPU_VRAM_H

#include <gantry/gpu/tensors.h>
#include <gantry/model/gpu.h>

#define GT_VRAM_BATCHED_TOKENS 2048 /* vLLM's max_num_batched_tokens where chunks are prefilled */
#define GT_VRAM_PARALLEL_MAX   64
#define GT_VRAM_BLOCK          16 /* tokens */

/* A model whose files were read. */
struct gt_model {
	struct gt_llm llm;
	const char *format; /* "safetensors", "GGUF" */
	uint32_t files;
	uint64_t tensors;
	uint64_t weight_bytes; /* of all */
	uint64_t rank_bytes;   /* on one GPU of `parallel` */
	uint32_t parallel;
};

struct gt_vram_params {
	uint64_t context;        /* tokens of a sequence; 0 = the most the model was made for */
	uint32_t sequences;      /* at once; 0 = 1 */
	uint32_t kv_bits;        /* of an element of the cache; 0 = the model's own */
	uint64_t overhead_bytes; /* measured; 0 = the rule above */
};

struct gt_vram {
	struct gt_gpu_terms terms;
	uint64_t bytes;          /* the sum */
	uint64_t token_bytes;    /* what one more token of a short sequence takes */
	uint64_t sequence_bytes; /* what a sequence of `context` tokens takes */
	uint64_t context;
	uint32_t sequences;
	uint32_t kv_bits;
};

/* What of a tensor is on one rank. Replicated: what has fewer than two or more than four
 * dimensions, norms, routers of experts, position embeddings, the compressing projections of latent
 * attention. Keys' and values' projections with fewer heads than ranks: one head. All else is cut
 * along a dimension that can be cut evenly, or else in rows, of which the first rank has most. */
uint64_t gt_vram_rank_bytes(const struct gt_llm *llm, const char *name, const struct gt_tensor *t,
			    uint32_t parallel);
/* -EINVAL "model_unknown": the model can not be split so, or no context is told; "bad_parameter":
 * a parameter is out of range. */
GT_MUST_USE int gt_vram_estimate(const struct gt_model *model, const struct gt_vram_params *params,
				 struct gt_vram *ret, struct gt_err *err);

/* How many sequences fit on a GPU of so many bytes; 0: not one. */
uint64_t gt_vram_sequences(const struct gt_vram *v, uint64_t gpu_bytes);
/* What vLLM's --gpu-memory-utilization must be there, in thousandths, rounded up; 0: it does not
 * fit. GT_GPU_FRACTION_MAX at most: the driver needs some too. */
uint32_t gt_vram_utilization(const struct gt_vram *v, uint64_t gpu_bytes);
/* GPUs that are common, with the memory that their driver tells (nvidia-smi, memory.total). */
struct gt_vram_gpu {
	const char *model;
	uint64_t mib;
};
extern const struct gt_vram_gpu gt_vram_gpus[]; /* from small to large; ends with model NULL */

#endif
