/* llm.c - the bounds of gt_llm, so that no product of its sizes overflows. */
#include <gantry/model/llm.h>

static int refuse(const struct gt_llm *m, const char *what, uint64_t value, struct gt_err *err)
{
	return gt_err_set(err, EINVAL, "model_unknown", "architecture %s: %s is %llu", m->arch,
			  what, (unsigned long long)value);
}

int gt_llm_check(const struct gt_llm *m, struct gt_err *err)
{
	bool attends = m->full_heads || m->window_heads;
	const struct {
		const char *what;
		uint64_t value, min, max;
	} rows[] = {
		{ "the number of layers", m->layers, 1, GT_LLM_LAYERS_MAX },
		{ "the hidden size", m->hidden, 1, GT_LLM_SIZE_MAX },
		{ "the intermediate size", m->intermediate, 0, GT_LLM_SIZE_MAX },
		{ "the size of the vocabulary", m->vocab, 0, GT_LLM_SIZE_MAX },
		{ "the number of heads", m->heads, 0, 1 << 16 },
		{ "the number of key-value heads", m->kv_heads, attends, 1 << 16 },
		{ "the size of a head", m->kv_dims, attends ? 2 : 0, 1 << 16 },
		{ "the window", m->window, m->window_heads ? 1 : 0, GT_LLM_SIZE_MAX },
		{ "the size of the latent", m->latent_dims, m->latent_layers ? 1 : 0, 1 << 16 },
		{ "the number of latent layers", m->latent_layers, 0, m->layers },
		{ "the number of layers with a state", m->state_layers, 0, m->layers },
		{ "the size of a state", m->state_bytes, 0, 1ULL << 36 },
		{ "the context", m->context, 0, GT_LLM_SIZE_MAX * 8ULL },
		{ "the bits of an element of the cache", m->kv_bits, 1, 64 },
	};

	for (size_t i = 0; i < GT_LEN(rows); i++)
		if (rows[i].value < rows[i].min || rows[i].value > rows[i].max)
			return refuse(m, rows[i].what, rows[i].value, err);
	if ((uint64_t)m->full_heads + m->window_heads > (uint64_t)m->layers * m->kv_heads)
		return refuse(m, "the number of all key-value heads",
			      (uint64_t)m->full_heads + m->window_heads, err);
	if (((uint64_t)m->full_heads + m->window_heads) * m->kv_dims > 1ULL << 32)
		return refuse(m, "the number of elements that a token takes in the cache",
			      ((uint64_t)m->full_heads + m->window_heads) * m->kv_dims, err);
	if (m->full_heads + m->window_heads + m->latent_layers + m->state_layers == 0)
		return refuse(m, "the number of layers that remember anything", 0, err);
	return 0;
}
