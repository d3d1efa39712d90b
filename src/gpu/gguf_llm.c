/* gguf_llm.c - what the metadata of a GGUF file says of the model, by the rules of llama.cpp
 * (src/llama-model.cpp, llama-hparams.cpp): its cache has 16 bits an element, recurrent state 32.
 */
#include "gguf.h"

#include <string.h>

enum kind { FULL, WINDOW_MOST, LATENT, STATE };

static const struct known {
	const char *arch;
	enum kind kind;
	uint32_t every; /* of WINDOW_MOST: the Nth layer is full */
} known[] = {
	{ "llama", FULL, 0 },         { "qwen2", FULL, 0 },          { "qwen2moe", FULL, 0 },
	{ "qwen2vl", FULL, 0 },       { "qwen3", FULL, 0 },          { "qwen3moe", FULL, 0 },
	{ "qwen3vl", FULL, 0 },       { "gemma", FULL, 0 },          { "gemma2", WINDOW_MOST, 2 },
	{ "gemma3", WINDOW_MOST, 6 }, { "gpt-oss", WINDOW_MOST, 2 }, { "cohere2", WINDOW_MOST, 4 },
	{ "command-r", FULL, 0 },     { "phi2", FULL, 0 },           { "phi3", FULL, 0 },
	{ "falcon", FULL, 0 },        { "gpt2", FULL, 0 },           { "gptneox", FULL, 0 },
	{ "starcoder2", FULL, 0 },    { "stablelm", FULL, 0 },       { "olmo", FULL, 0 },
	{ "olmo2", FULL, 0 },         { "olmoe", FULL, 0 },          { "granite", FULL, 0 },
	{ "granitemoe", FULL, 0 },    { "glm4", FULL, 0 },           { "internlm2", FULL, 0 },
	{ "smollm3", FULL, 0 },       { "deepseek2", LATENT, 0 },    { "mamba", STATE, 0 },
	{ "mamba2", STATE, 0 },       { "jamba", STATE, 0 },
};

int gt_gguf_key(const char *name)
{
	static const char *const keys[] = {
		[GGUF_BLOCK_COUNT] = "block_count",
		[GGUF_CONTEXT] = "context_length",
		[GGUF_EMBEDDING] = "embedding_length",
		[GGUF_FEED_FORWARD] = "feed_forward_length",
		[GGUF_HEADS] = "attention.head_count",
		[GGUF_KV_HEADS] = "attention.head_count_kv",
		[GGUF_KEY_LENGTH] = "attention.key_length",
		[GGUF_VALUE_LENGTH] = "attention.value_length",
		[GGUF_WINDOW] = "attention.sliding_window",
		[GGUF_VOCAB] = "vocab_size",
		[GGUF_KV_LORA_RANK] = "attention.kv_lora_rank",
		[GGUF_ROPE_DIMS] = "rope.dimension_count",
		[GGUF_KEY_LENGTH_MLA] = "attention.key_length_mla",
		[GGUF_SSM_CONV] = "ssm.conv_kernel",
		[GGUF_SSM_INNER] = "ssm.inner_size",
		[GGUF_SSM_STATE] = "ssm.state_size",
		[GGUF_SSM_GROUPS] = "ssm.group_count",
	};
	_Static_assert(GT_LEN(keys) == GGUF_KEYS, "every key has its name");

	for (size_t i = 0; i < GT_LEN(keys); i++)
		if (strcmp(keys[i], name) == 0)
			return (int)i;
	return -1;
}

static int refuse(const struct gguf_facts *f, const char *what, struct gt_err *err)
{
	gt_err_set(err, EINVAL, "model_unknown", "general.architecture %s: %s", f->arch, what);
	gt_err_printable(err);
	return -EINVAL;
}

static uint64_t number(const struct gguf_facts *f, enum gguf_key key, uint64_t fallback)
{
	return f->keys[key].there ? f->keys[key].value : fallback;
}

/* What does not fit into 32 bits is refused as too large by gt_llm_check. */
static uint32_t size_of(const struct gguf_facts *f, enum gguf_key key, uint64_t fallback)
{
	return (uint32_t)GT_MIN(number(f, key, fallback), UINT32_MAX);
}

/* With a window, all layers but each Nth have it. */
static void attention_split(const struct known *k, uint64_t all_heads, struct gt_llm *m)
{
	if (k->kind != WINDOW_MOST || m->window == 0) {
		m->full_heads = (uint32_t)all_heads;
		return;
	}
	m->full_heads = m->layers / k->every * m->kv_heads;
	m->window_heads = (uint32_t)all_heads - m->full_heads;
}

static int attention(const struct gguf_facts *f, const struct known *k, struct gt_llm *m,
		     struct gt_err *err)
{
	const struct gguf_number *kv = &f->keys[GGUF_KV_HEADS];
	uint64_t all_heads, dim;

	if (m->heads == 0 || m->heads > 1 << 16)
		return refuse(f, "attention.head_count is missing or out of range", err);
	m->kv_heads = size_of(f, GGUF_KV_HEADS, m->heads);
	if (m->kv_heads > 1 << 16 || (kv->list && kv->n != m->layers))
		return refuse(f, "attention.head_count_kv is out of range", err);
	if (kv->list && k->kind == WINDOW_MOST)
		return refuse(f, "attention.head_count_kv differs between layers with a window",
			      err);
	all_heads = kv->list ? kv->sum : (uint64_t)m->kv_heads * m->layers;
	dim = m->hidden / m->heads;
	m->kv_dims = (uint32_t)GT_MIN(number(f, GGUF_KEY_LENGTH, dim), 1U << 16) +
		     (uint32_t)GT_MIN(number(f, GGUF_VALUE_LENGTH, dim), 1U << 16);
	m->window = k->kind == WINDOW_MOST ? size_of(f, GGUF_WINDOW, 0) : 0;
	attention_split(k, all_heads, m);
	return 0;
}

/* Layers without key-value heads are those with a state; without any list, all are. */
static int state(const struct gguf_facts *f, const struct known *k, struct gt_llm *m,
		 struct gt_err *err)
{
	uint64_t inner = number(f, GGUF_SSM_INNER, 0), n = number(f, GGUF_SSM_STATE, 0);
	uint64_t conv = number(f, GGUF_SSM_CONV, 0), groups = number(f, GGUF_SSM_GROUPS, 0);
	const struct gguf_number *kv = &f->keys[GGUF_KV_HEADS];

	if (inner == 0 || n == 0 || conv == 0)
		return refuse(f, "its ssm sizes are missing", err);
	if (inner > GT_LLM_SIZE_MAX || n > 1 << 16 || conv > 64 || groups > 1 << 10)
		return refuse(f, "its ssm sizes are out of range", err);
	m->state_bytes = ((conv - 1) * (inner + 2 * groups * n) + inner * n) * 4;
	m->state_layers = m->layers;
	if (!kv->list || kv->value == 0)
		return 0;
	int r = attention(f, k, m, err);

	if (r == 0)
		m->state_layers -= GT_MIN(m->full_heads / m->kv_heads, m->layers);
	return r;
}

static int latent(const struct gguf_facts *f, struct gt_llm *m, struct gt_err *err)
{
	uint64_t rank = number(f, GGUF_KV_LORA_RANK, 0), rope = number(f, GGUF_ROPE_DIMS, 0);

	/* Files from before llama.cpp had this attention are run with a full cache. */
	if (!f->keys[GGUF_KEY_LENGTH_MLA].there)
		return refuse(f, "a file without attention.key_length_mla; convert the model anew",
			      err);
	if (rank == 0 || rope == 0 || rank > 1 << 15 || rope > 1 << 15)
		return refuse(f, "attention.kv_lora_rank or rope.dimension_count is missing", err);
	m->latent_layers = m->layers;
	m->latent_dims = (uint32_t)(rank + rope);
	return 0;
}

int gt_gguf_llm(const struct gguf_facts *f, struct gt_llm *ret, struct gt_err *err)
{
	struct gt_llm m = { .kv_bits = 16 };
	const struct known *k = NULL;
	int r;

	for (size_t i = 0; i < GT_LEN(known); i++)
		if (strcmp(known[i].arch, f->arch) == 0)
			k = &known[i];
	if (!k)
		return refuse(f,
			      "how much memory such a model needs is not known; write what it "
			      "needs as a size, such as \"40GiB\"",
			      err);
	gt_strcopy(m.arch, sizeof(m.arch), f->arch);
	m.layers = size_of(f, GGUF_BLOCK_COUNT, 0);
	m.hidden = size_of(f, GGUF_EMBEDDING, 0);
	m.heads = size_of(f, GGUF_HEADS, 0);
	m.intermediate = size_of(f, GGUF_FEED_FORWARD, 0);
	m.vocab = size_of(f, GGUF_VOCAB, f->tokens);
	m.context = size_of(f, GGUF_CONTEXT, 0);
	if (m.layers == 0 || m.layers > GT_LLM_LAYERS_MAX || m.hidden == 0)
		return refuse(f, "block_count or embedding_length is missing or out of range", err);
	if (k->kind == STATE)
		r = state(f, k, &m, err);
	else if (k->kind == LATENT)
		r = latent(f, &m, err);
	else
		r = attention(f, k, &m, err);
	if (r == 0)
		r = gt_llm_check(&m, err);
	if (r == 0)
		*ret = m;
	return r;
}
