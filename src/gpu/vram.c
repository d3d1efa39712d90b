/* vram.c - the sum of what a model needs on a GPU. Formulas and their sources: vram.h. */
#include <gantry/gpu/vram.h>

#include <string.h>

#define OVERHEAD      GT_GIB
#define OVERHEAD_BOTH (GT_GIB + GT_GIB / 2) /* with the activations, at least */

/* The greatest of each: sizes are bounded (gt_llm_check), so that no product below overflows. */
_Static_assert(GT_LLM_SIZE_MAX <= 1 << 24 && GT_LLM_LAYERS_MAX <= 1 << 12, "sums fit 64 bits");

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

static bool replicated(const char *name, const struct gt_tensor *t)
{
	static const char *const parts[] = { "norm", "q_a_proj", "kv_a_proj", "wpe.",
					     "position_embedding" };
	static const char *const ends[] = { ".gate.weight", ".router.weight",
					    ".shared_expert_gate.weight" };

	if (t->rank < 2 || t->rank > GT_TENSOR_DIMS_KEPT)
		return true;
	for (size_t i = 0; i < GT_LEN(parts); i++)
		if (strstr(name, parts[i]))
			return true;
	for (size_t i = 0; i < GT_LEN(ends); i++)
		if (ends_with(name, ends[i]))
			return true;
	return false;
}

uint64_t gt_vram_rank_bytes(const struct gt_llm *llm, const char *name, const struct gt_tensor *t,
			    uint32_t parallel)
{
	uint64_t n = parallel;

	if (n == 1 || t->bytes == 0 || replicated(name, t))
		return t->bytes;
	if (llm->kv_heads && llm->kv_heads < n &&
	    (strstr(name, ".k_proj.") || strstr(name, ".v_proj.")))
		return t->bytes / llm->kv_heads;
	for (uint32_t i = 0; i < t->rank; i++)
		if (t->dims[i] % n == 0)
			return (t->bytes + n - 1) / n;
	return t->bytes / t->dims[0] * ((t->dims[0] + n - 1) / n);
}

/* ---- the cache ------------------------------------------------------------------------------ */

static uint64_t in_blocks(uint64_t tokens)
{
	return (tokens + GT_VRAM_BLOCK - 1) / GT_VRAM_BLOCK * GT_VRAM_BLOCK;
}

/* A rank has the heads that fall to it, but no less than one of each layer. */
static uint64_t rank_heads(const struct gt_llm *m, uint64_t heads, uint32_t parallel)
{
	if (m->kv_heads == 0 || parallel == 1)
		return heads;
	return heads * ((m->kv_heads + parallel - 1) / parallel) / m->kv_heads;
}

static uint64_t cache_bytes(const struct gt_model *model, uint32_t kv_bits, uint64_t full_tokens,
			    uint64_t window_tokens)
{
	const struct gt_llm *m = &model->llm;
	uint64_t full = rank_heads(m, m->full_heads, model->parallel) * m->kv_dims +
			(uint64_t)m->latent_layers * m->latent_dims;
	uint64_t window = rank_heads(m, m->window_heads, model->parallel) * m->kv_dims;

	return (full * full_tokens + window * window_tokens) * kv_bits / 8;
}

/* ---- the sum -------------------------------------------------------------------------------- */

static int check(const struct gt_model *model, const struct gt_vram_params *p, uint64_t context,
		 struct gt_err *err)
{
	const struct gt_llm *m = &model->llm;

	if (context == 0)
		return gt_err_set(err, EINVAL, "bad_parameter",
				  "the model does not say for how many tokens it was made; say how "
				  "long a sequence may get (context)");
	if (context > GT_LLM_SIZE_MAX)
		return gt_err_set(err, EINVAL, "bad_parameter", "a context of more than %u tokens",
				  GT_LLM_SIZE_MAX);
	if (p->sequences > GT_GPU_SEQUENCES_MAX)
		return gt_err_set(err, EINVAL, "bad_parameter", "more than %d sequences",
				  GT_GPU_SEQUENCES_MAX);
	if (model->parallel > 1 && m->heads % model->parallel != 0)
		return gt_err_set(err, EINVAL, "model_unknown",
				  "its %u heads can not be split evenly over %u GPUs", m->heads,
				  model->parallel);
	return 0;
}

static uint64_t activation_bytes(const struct gt_llm *m, uint64_t sequences)
{
	uint64_t widest = GT_MAX(4ULL * m->hidden, 2ULL * m->intermediate);

	return GT_VRAM_BATCHED_TOKENS * widest * 2 + sequences * m->vocab * 4;
}

static uint64_t overhead_bytes(const struct gt_vram_params *p, uint64_t activations)
{
	if (p->overhead_bytes)
		return p->overhead_bytes;
	return activations < OVERHEAD_BOTH - OVERHEAD ? OVERHEAD_BOTH - activations : OVERHEAD;
}

int gt_vram_estimate(const struct gt_model *model, const struct gt_vram_params *params,
		     struct gt_vram *ret, struct gt_err *err)
{
	const struct gt_llm *m = &model->llm;
	struct gt_vram v = { .context = params->context ? params->context : m->context,
			     .sequences = params->sequences ? params->sequences : 1,
			     .kv_bits = params->kv_bits ? params->kv_bits : m->kv_bits };
	uint64_t window = in_blocks(GT_MIN(v.context, (uint64_t)m->window));
	int r = check(model, params, v.context, err);

	if (r < 0)
		return r;
	v.token_bytes = cache_bytes(model, v.kv_bits, 1, 1);
	v.sequence_bytes = cache_bytes(model, v.kv_bits, in_blocks(v.context), window) +
			   m->state_layers * m->state_bytes / model->parallel;
	v.terms.weights = model->rank_bytes;
	v.terms.activations = activation_bytes(m, v.sequences);
	v.terms.overhead = overhead_bytes(params, v.terms.activations);
	if (__builtin_mul_overflow(v.sequence_bytes, (uint64_t)v.sequences, &v.terms.cache) ||
	    __builtin_add_overflow(v.terms.cache, v.terms.weights, &v.bytes) ||
	    v.bytes > UINT64_MAX / 2 || v.terms.overhead > GT_GPU_BYTES_MAX)
		return gt_err_set(err, EINVAL, "bad_parameter",
				  "it needs more memory than any GPU has");
	v.bytes += v.terms.activations + v.terms.overhead;
	*ret = v;
	return 0;
}

/* ---- on a GPU ------------------------------------------------------------------------------- */

uint64_t gt_vram_sequences(const struct gt_vram *v, uint64_t gpu_bytes)
{
	uint64_t usable = gpu_bytes / GT_GPU_WHOLE * GT_GPU_FRACTION_MAX;
	uint64_t others = v->bytes - v->terms.cache;

	if (usable < others)
		return 0;
	return v->sequence_bytes ? (usable - others) / v->sequence_bytes : GT_GPU_SEQUENCES_MAX;
}

uint32_t gt_vram_utilization(const struct gt_vram *v, uint64_t gpu_bytes)
{
	if (v->bytes > gpu_bytes)
		return 0;
	uint64_t milli = (v->bytes * GT_GPU_WHOLE + gpu_bytes - 1) / gpu_bytes;

	return milli <= GT_GPU_FRACTION_MAX ? (uint32_t)milli : 0;
}

const struct gt_vram_gpu gt_vram_gpus[] = {
	{ "T4", 15360 },           { "V100 16GB", 16384 },
	{ "A10G", 23028 },         { "L4", 23034 },
	{ "RTX 4090", 24564 },     { "RTX 5090", 32607 },
	{ "V100 32GB", 32768 },    { "A100 40GB", 40960 },
	{ "L40S", 46068 },         { "RTX 6000 Ada", 49140 },
	{ "H100 80GB", 81559 },    { "A100 80GB", 81920 },
	{ "RTX PRO 6000", 97887 }, { "H200", 143771 },
	{ "B200", 183359 },        { NULL, 0 },
};
