/* llm_config.c - config.json of Hugging Face to struct gt_llm. The table below says which models'
 * memory is known; everything else is refused. Members are named as in transformers'
 * configuration_*.py, whose defaults stand where a member may be missing. */
#include <gantry/wire/weights.h>

#include <string.h>

#include <gantry/base/cleanup.h>

#include "doc.h"

/* How layers remember, beyond what layer_types says. */
enum kind {
	FULL,        /* all tokens */
	WINDOW_ALL,  /* sliding_window, when it is there, is for all layers */
	WINDOW_LATE, /* with use_sliding_window, from max_window_layers on */
	WINDOW_MOST, /* all but each Nth, which is full */
	LATENT,      /* multi-head latent attention */
	MAMBA,       /* no attention at all */
	MAMBA2,
	JAMBA,     /* Mamba, and attention in each Nth layer */
	DELTA_NET, /* linear attention by layer_types */
};

struct known {
	const char *type;
	enum kind kind;
	uint32_t every; /* of WINDOW_MOST: the Nth is full */
};

static const struct known known[] = {
	{ "llama", FULL, 0 },
	{ "qwen2", WINDOW_LATE, 0 },
	{ "qwen2_moe", WINDOW_LATE, 0 },
	{ "qwen2_vl", WINDOW_LATE, 0 },
	{ "qwen2_vl_text", WINDOW_LATE, 0 },
	{ "qwen2_5_vl", WINDOW_LATE, 0 },
	{ "qwen2_5_vl_text", WINDOW_LATE, 0 },
	{ "qwen3", WINDOW_LATE, 0 },
	{ "qwen3_moe", WINDOW_LATE, 0 },
	{ "qwen3_vl_text", FULL, 0 },
	{ "qwen3_vl_moe_text", FULL, 0 },
	{ "qwen3_next", DELTA_NET, 0 },
	{ "mistral", WINDOW_ALL, 0 },
	{ "ministral", WINDOW_ALL, 0 },
	{ "mixtral", WINDOW_ALL, 0 },
	{ "gemma", FULL, 0 },
	{ "gemma2", WINDOW_MOST, 2 },
	{ "gemma3_text", WINDOW_MOST, 6 },
	{ "phi", FULL, 0 },
	{ "phi3", WINDOW_ALL, 0 },
	{ "cohere", FULL, 0 },
	{ "cohere2", WINDOW_MOST, 4 },
	{ "gpt_oss", WINDOW_MOST, 2 },
	{ "gpt_neox", FULL, 0 },
	{ "olmo", FULL, 0 },
	{ "olmo2", FULL, 0 },
	{ "olmoe", FULL, 0 },
	{ "granite", FULL, 0 },
	{ "granitemoe", FULL, 0 },
	{ "starcoder2", WINDOW_ALL, 0 },
	{ "stablelm", FULL, 0 },
	{ "smollm3", FULL, 0 },
	{ "glm", FULL, 0 },
	{ "glm4", FULL, 0 },
	{ "glm4_moe", FULL, 0 },
	{ "seed_oss", FULL, 0 },
	{ "internlm2", FULL, 0 },
	{ "internlm3", FULL, 0 },
	{ "ernie4_5", FULL, 0 },
	{ "ernie4_5_moe", FULL, 0 },
	{ "deepseek_v2", LATENT, 0 },
	{ "deepseek_v3", LATENT, 0 },
	{ "kimi_k2", LATENT, 0 },
	{ "mamba", MAMBA, 0 },
	{ "falcon_mamba", MAMBA, 0 },
	{ "mamba2", MAMBA2, 0 },
	{ "jamba", JAMBA, 0 },
};

struct config {
	const json_t *text; /* text_config, or the document itself */
	const struct known *known;
	struct gt_llm *m;
	struct gt_err *err;
};

static int refuse(struct config *c, const char *what)
{
	gt_err_set(c->err, EINVAL, "model_unknown", "config.json of model_type %s: %s", c->m->arch,
		   what);
	gt_err_printable(c->err);
	return -EINVAL;
}

/* A size: 0 when it is not there, is null or no size; gt_llm_check tells what may be 0. */
static uint32_t size_of(const struct config *c, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(c->text, name));

	return n > 0 && n <= (json_int_t)UINT32_MAX ? (uint32_t)n : 0;
}

static uint32_t size_or(const struct config *c, const char *name, uint32_t fallback)
{
	uint32_t n = size_of(c, name);

	return n ? n : fallback;
}

/* ---- layers --------------------------------------------------------------------------------- */

static int add_layer(struct config *c, const char *type)
{
	struct gt_llm *m = c->m;

	if (gt_streq(type, "full_attention") || gt_streq(type, "attention"))
		m->full_heads += m->kv_heads;
	else if (gt_streq(type, "sliding_attention"))
		m->window_heads += m->kv_heads;
	else if (gt_streq(type, "linear_attention") && m->state_bytes)
		m->state_layers++;
	else
		return refuse(c, "layer_types has a type that is not known");
	return 0;
}

static int layers_by_types(struct config *c, const json_t *types)
{
	int r = 0;

	if (json_array_size(types) != c->m->layers)
		return refuse(c, "layer_types and num_hidden_layers do not fit each other");
	for (size_t i = 0; r == 0 && i < c->m->layers; i++)
		r = add_layer(c, json_string_value(json_array_get(types, i)));
	return r;
}

static bool has_window(const struct config *c, uint32_t layer)
{
	const struct gt_llm *m = c->m;

	if (m->window == 0)
		return false;
	switch (c->known->kind) {
	case WINDOW_ALL:
		return true;
	case WINDOW_LATE:
		return json_is_true(json_object_get(c->text, "use_sliding_window")) &&
		       layer >= size_of(c, "max_window_layers");
	case WINDOW_MOST:
		return (layer + 1) % size_or(c, "sliding_window_pattern", c->known->every) != 0;
	default:
		return false;
	}
}

static void layers_by_kind(struct config *c)
{
	for (uint32_t i = 0; i < c->m->layers; i++) {
		if (has_window(c, i))
			c->m->window_heads += c->m->kv_heads;
		else
			c->m->full_heads += c->m->kv_heads;
	}
}

/* ---- kinds ---------------------------------------------------------------------------------- */

static int attention_read(struct config *c)
{
	const json_t *types = json_object_get(c->text, "layer_types");
	struct gt_llm *m = c->m;
	uint32_t dim = size_of(c, "head_dim");

	if (m->heads == 0)
		return refuse(c, "num_attention_heads is missing");
	if (dim == 0 && m->hidden % m->heads != 0)
		return refuse(c,
			      "head_dim is missing, and hidden_size is no multiple of the heads");
	m->kv_heads = size_or(c, "num_key_value_heads", m->heads);
	if (m->kv_heads > 1 << 16)
		return refuse(c, "num_key_value_heads is out of range");
	m->kv_dims = 2 * GT_MIN(dim ? dim : m->hidden / m->heads, 1U << 16);
	m->window = size_of(c, "sliding_window");
	if (json_is_array(types))
		return layers_by_types(c, types);
	if (c->known->kind == DELTA_NET)
		return refuse(c, "layer_types is missing");
	layers_by_kind(c);
	return 0;
}

static int latent_read(struct config *c)
{
	uint32_t rank = size_of(c, "kv_lora_rank"), rope = size_of(c, "qk_rope_head_dim");

	if (rank == 0 || rope == 0 || rank > GT_LLM_SIZE_MAX || rope > GT_LLM_SIZE_MAX)
		return refuse(c, "kv_lora_rank or qk_rope_head_dim is missing");
	c->m->latent_layers = c->m->layers;
	c->m->latent_dims = rank + rope;
	return 0;
}

/* The last inputs of the convolution as the cache has them, and the state itself in 32 bits: an
 * engine that keeps it in 16 needs less. */
static uint64_t state_bytes(const struct config *c, uint64_t channels, uint64_t kernel,
			    uint64_t state)
{
	return channels * (kernel ? kernel - 1 : 0) * c->m->kv_bits / 8 + state * 4;
}

static int mamba_read(struct config *c, const char *conv, const char *dim, const char *expand)
{
	uint64_t inner = size_of(c, "intermediate_size"), n = size_or(c, dim, 16);

	/* Jamba's intermediate_size is that of its other layers. */
	if (inner == 0 || c->known->kind == JAMBA)
		inner = (uint64_t)size_or(c, expand, 2) * c->m->hidden;
	if (inner > GT_LLM_SIZE_MAX || n > 1 << 16)
		return refuse(c, "the size of its state is out of range");
	c->m->state_bytes = state_bytes(c, inner, GT_MIN(size_or(c, conv, 4), 64U), inner * n);
	c->m->state_layers = c->m->layers;
	return 0;
}

static int mamba2_read(struct config *c)
{
	uint64_t inner = (uint64_t)size_or(c, "expand", 2) * c->m->hidden;
	uint64_t n = size_or(c, "state_size", 128), groups = size_or(c, "n_groups", 8);

	if (inner > GT_LLM_SIZE_MAX || n > 1 << 16 || groups > 1 << 10)
		return refuse(c, "the size of its state is out of range");
	c->m->state_bytes = state_bytes(c, inner + 2 * groups * n,
					GT_MIN(size_or(c, "conv_kernel", 4), 64U), inner * n);
	c->m->state_layers = c->m->layers;
	return 0;
}

static int jamba_read(struct config *c)
{
	uint32_t period = size_or(c, "attn_layer_period", 8), attention = 0;
	uint32_t offset = json_object_get(c->text, "attn_layer_offset")
				  ? size_of(c, "attn_layer_offset")
				  : 4;
	int r = mamba_read(c, "mamba_d_conv", "mamba_d_state", "mamba_expand");

	if (r == 0)
		r = attention_read(c);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < c->m->layers; i++)
		attention += i % period == offset;
	c->m->state_layers = c->m->layers - attention;
	c->m->full_heads = attention * c->m->kv_heads;
	return 0;
}

static int delta_net_read(struct config *c)
{
	uint64_t k_heads = size_of(c, "linear_num_key_heads"),
		 k = size_of(c, "linear_key_head_dim");
	uint64_t v_heads = size_of(c, "linear_num_value_heads");
	uint64_t v = size_of(c, "linear_value_head_dim");

	if (k_heads == 0 || v_heads == 0 || k == 0 || v == 0)
		return refuse(c, "the sizes of its linear attention (linear_...) are missing");
	if (k_heads > 1 << 10 || v_heads > 1 << 10 || k > 1 << 12 || v > 1 << 12)
		return refuse(c, "the size of its state is out of range");
	c->m->state_bytes = state_bytes(c, 2 * k_heads * k + v_heads * v,
					GT_MIN(size_or(c, "linear_conv_kernel_dim", 4), 64U),
					v_heads * k * v);
	return attention_read(c);
}

static int kind_read(struct config *c)
{
	switch (c->known->kind) {
	case LATENT:
		return latent_read(c);
	case MAMBA:
		return mamba_read(c, "conv_kernel", "state_size", "expand");
	case MAMBA2:
		return mamba2_read(c);
	case JAMBA:
		return jamba_read(c);
	case DELTA_NET:
		return delta_net_read(c);
	default:
		return attention_read(c);
	}
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* The cache has the type that the model computes in: torch_dtype, lately dtype. */
static uint32_t kv_bits(const struct config *c, const json_t *root)
{
	static const char *const names[] = { "dtype", "torch_dtype" };

	for (size_t i = 0; i < GT_LEN(names); i++) {
		const json_t *js = json_object_get(c->text, names[i]);
		const char *type = json_string_value(js ? js : json_object_get(root, names[i]));

		if (gt_streq(type, "float32"))
			return 32;
		if (type)
			break;
	}
	return 16;
}

static const struct known *find_known(const char *type)
{
	for (size_t i = 0; i < GT_LEN(known); i++)
		if (gt_streq(known[i].type, type))
			return &known[i];
	return NULL;
}

static bool tied(const struct config *c, const json_t *root)
{
	const json_t *own = json_object_get(c->text, "tie_word_embeddings");

	return json_is_true(own ? own : json_object_get(root, "tie_word_embeddings"));
}

static int read_all(struct config *c, const json_t *root)
{
	struct gt_llm *m = c->m;
	const char *type = json_string_value(json_object_get(c->text, "model_type"));

	/* A text_config of older models has no type of its own. */
	if (!type)
		type = json_string_value(json_object_get(root, "model_type"));
	gt_strcopy(m->arch, sizeof(m->arch), type ? type : "(none)");
	c->known = find_known(type);
	if (!c->known)
		return refuse(c, "how much memory such a model needs is not known; write "
				 "what it needs as a size, such as \"40GiB\"");
	m->layers = GT_MIN(size_of(c, "num_hidden_layers"), GT_LLM_LAYERS_MAX + 1U);
	m->hidden = size_of(c, "hidden_size");
	if (m->layers == 0 || m->layers > GT_LLM_LAYERS_MAX || m->hidden == 0 ||
	    m->hidden > GT_LLM_SIZE_MAX)
		return refuse(c, "num_hidden_layers or hidden_size is missing or out of range");
	m->heads = size_of(c, "num_attention_heads");
	m->intermediate = size_or(c, "intermediate_size", 4 * m->hidden);
	m->vocab = size_of(c, "vocab_size");
	m->context = size_of(c, "max_position_embeddings");
	m->kv_bits = kv_bits(c, root);
	m->tied = tied(c, root);
	int r = kind_read(c);

	return r < 0 ? r : gt_llm_check(m, c->err);
}

int gt_llm_config_read(const char *text, size_t len, struct gt_llm *ret, struct gt_err *err)
{
	gt_auto(doc) json_t *root = NULL;
	struct gt_llm m = { 0 };
	struct config c = { .m = &m, .err = err };
	int r = gt_doc_parse(text, len, GT_CONFIG_JSON_MAX, &root, err);

	if (r < 0) {
		if (err)
			gt_strcopy(err->slug, sizeof(err->slug), "bad_model");
		gt_err_wrap(err, "config.json");
		return r;
	}
	c.text = json_object_get(root, "text_config");
	if (!json_is_object(c.text))
		c.text = root;
	r = read_all(&c, root);
	if (r == 0)
		*ret = m;
	return r;
}
