/* test_llm_config.c - what config.json says of a model's memory, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/cleanup.h>
#include <gantry/wire/weights.h>

#define SIZES                                                                                      \
	"\"num_hidden_layers\":4,\"hidden_size\":64,\"num_attention_heads\":8,\"vocab_size\":100," \
	"\"intermediate_size\":256,\"max_position_embeddings\":4096"

static struct gt_llm read_ok(const char *text)
{
	struct gt_err err = { 0 };
	struct gt_llm m;

	if (gt_llm_config_read(text, strlen(text), &m, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return m;
}

static void plain_attention(void **state)
{
	struct gt_llm m = read_ok("{\"model_type\":\"llama\"," SIZES "}");

	(void)state;
	assert_string_equal(m.arch, "llama");
	assert_int_equal(m.kv_heads, 8); /* as many as heads, when it is not said */
	assert_int_equal(m.full_heads, 32);
	assert_int_equal(m.kv_dims, 16);
	assert_int_equal(m.kv_bits, 16);
	assert_int_equal(m.context, 4096);
	assert_false(m.tied);
	m = read_ok("{\"model_type\":\"qwen3\",\"num_key_value_heads\":2,\"head_dim\":128,"
		    "\"torch_dtype\":\"float32\",\"tie_word_embeddings\":true," SIZES "}");
	assert_int_equal(m.full_heads, 8);
	assert_int_equal(m.kv_dims, 256);
	assert_int_equal(m.kv_bits, 32);
	assert_true(m.tied);
}

static void windows(void **state)
{
	static const struct {
		const char *text;
		uint32_t full, window;
	} rows[] = {
		{ "\"mistral\",\"sliding_window\":64", 0, 32 },
		{ "\"mistral\",\"sliding_window\":null", 32, 0 },
		{ "\"qwen2\",\"sliding_window\":64,\"max_window_layers\":3", 32, 0 },
		{ "\"qwen2\",\"sliding_window\":64,\"max_window_layers\":3,"
		  "\"use_sliding_window\":true",
		  24, 8 },
		{ "\"gemma2\",\"sliding_window\":64", 16, 16 },
		{ "\"gemma3_text\",\"sliding_window\":64", 0, 32 },
		{ "\"cohere2\",\"sliding_window\":64", 8, 24 },
		{ "\"cohere2\",\"sliding_window\":64,\"sliding_window_pattern\":2", 16, 16 },
		{ "\"gpt_oss\",\"sliding_window\":64,\"layer_types\":[\"sliding_attention\","
		  "\"full_attention\",\"full_attention\",\"full_attention\"]",
		  24, 8 },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		gt_auto(free) char *text = gt_asprintf("{\"model_type\":%s," SIZES "}",
						       rows[i].text);
		struct gt_llm m = read_ok(text);

		if (m.full_heads != rows[i].full || m.window_heads != rows[i].window)
			fail_msg("%s: %u full, %u with a window", text, m.full_heads,
				 m.window_heads);
	}
}

static void latents_and_states(void **state)
{
	struct gt_llm m = read_ok("{\"model_type\":\"deepseek_v3\",\"kv_lora_rank\":512,"
				  "\"qk_rope_head_dim\":64," SIZES "}");

	(void)state;
	assert_int_equal(m.latent_layers, 4);
	assert_int_equal(m.latent_dims, 576);
	assert_int_equal(m.full_heads, 0);
	m = read_ok("{\"model_type\":\"mamba\",\"state_size\":16,\"conv_kernel\":4,\"expand\":2,"
		    "\"num_hidden_layers\":4,\"hidden_size\":64}");
	assert_int_equal(m.state_layers, 4);
	assert_int_equal(m.state_bytes, 128 * 3 * 2 + 128 * 16 * 4);
	m = read_ok("{\"model_type\":\"mamba2\",\"state_size\":16,\"n_groups\":1,"
		    "\"num_hidden_layers\":4,\"hidden_size\":64}");
	assert_int_equal(m.state_bytes, (128 + 32) * 3 * 2 + 128 * 16 * 4);
	m = read_ok("{\"model_type\":\"jamba\",\"attn_layer_period\":4,\"attn_layer_offset\":1,"
		    "\"mamba_d_state\":16," SIZES "}");
	assert_int_equal(m.state_layers, 3);
	assert_int_equal(m.full_heads, 8);
	assert_int_equal(m.state_bytes, 128 * 3 * 2 + 128 * 16 * 4);
	m = read_ok("{\"model_type\":\"qwen3_next\",\"linear_num_key_heads\":2,"
		    "\"linear_key_head_dim\":8,\"linear_num_value_heads\":4,"
		    "\"linear_value_head_dim\":16,\"layer_types\":[\"linear_attention\","
		    "\"linear_attention\",\"linear_attention\",\"full_attention\"]," SIZES "}");
	assert_int_equal(m.state_layers, 3);
	assert_int_equal(m.full_heads, 8);
	assert_int_equal(m.state_bytes, (2 * 2 * 8 + 4 * 16) * 3 * 2 + 4 * 8 * 16 * 4);
}

static void a_text_config_is_the_model(void **state)
{
	struct gt_llm m = read_ok("{\"model_type\":\"gemma3\",\"torch_dtype\":\"bfloat16\","
				  "\"tie_word_embeddings\":true,\"vision_config\":{},"
				  "\"text_config\":{\"model_type\":\"gemma3_text\"," SIZES "}}");

	(void)state;
	assert_string_equal(m.arch, "gemma3_text");
	assert_true(m.tied);
}

static void what_is_not_known_is_refused(void **state)
{
	static const struct {
		const char *text, *slug, *words;
	} rows[] = {
		{ "", "bad_model", "config.json: the document is empty" },
		{ "{", "bad_model", "config.json: line 1" },
		{ "[]", "model_unknown", "model_type (none)" },
		{ "{}", "model_unknown", "model_type (none)" },
		{ "{\"model_type\":7}", "model_unknown", "model_type (none)" },
		{ "{\"model_type\":\"bert\"," SIZES "}", "model_unknown",
		  "model_type bert: how much memory such a model needs is not known" },
		{ "{\"model_type\":\"a\\u001b[2J\"}", "model_unknown", "model_type a?[2J" },
		{ "{\"model_type\":\"llama\"}", "model_unknown", "num_hidden_layers" },
		{ "{\"model_type\":\"llama\",\"num_hidden_layers\":4096000,\"hidden_size\":1}",
		  "model_unknown", "out of range" },
		{ "{\"model_type\":\"llama\",\"num_hidden_layers\":-1,\"hidden_size\":1}",
		  "model_unknown", "missing or out of range" },
		{ "{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":64}",
		  "model_unknown", "num_attention_heads is missing" },
		{ "{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":65,"
		  "\"num_attention_heads\":4}",
		  "model_unknown", "head_dim is missing" },
		{ "{\"model_type\":\"llama\",\"head_dim\":70000," SIZES "}", "model_unknown",
		  "the size of a head" },
		{ "{\"model_type\":\"llama\",\"num_key_value_heads\":4294967295," SIZES "}",
		  "model_unknown", "num_key_value_heads is out of range" },
		{ "{\"model_type\":\"llama\",\"layer_types\":[\"full_attention\"]," SIZES "}",
		  "model_unknown", "do not fit each other" },
		{ "{\"model_type\":\"llama\",\"layer_types\":[\"magic\",1,2,3]," SIZES "}",
		  "model_unknown", "a type that is not known" },
		{ "{\"model_type\":\"deepseek_v3\"," SIZES "}", "model_unknown", "kv_lora_rank" },
		{ "{\"model_type\":\"qwen3_next\"," SIZES "}", "model_unknown",
		  "linear attention" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		struct gt_err err = { 0 };
		struct gt_llm m;

		if (gt_llm_config_read(rows[i].text, strlen(rows[i].text), &m, &err) >= 0)
			fail_msg("%s: accepted", rows[i].text);
		assert_string_equal(err.slug, rows[i].slug);
		if (!strstr(err.text, rows[i].words))
			fail_msg("%s: \"%s\"", rows[i].text, err.text);
	}
}

static int none(const char *tensor, const char *file, void *arg, struct gt_err *err)
{
	(void)tensor, (void)file, (void)err;
	++*(int *)arg;
	return 0;
}

static void an_index_names_files_beside_it(void **state)
{
	static const char *const bad[] = {
		"{}",
		"{\"weight_map\":[]}",
		"{\"weight_map\":{\"a\":1}}",
		"{\"weight_map\":{\"a\":\"\"}}",
		"{\"weight_map\":{\"a\":\"../b.safetensors\"}}",
		"{\"weight_map\":{\"a\":\".b.safetensors\"}}",
		"{\"weight_map\":{\"a\":\"b\\u0000c\"}}",
		"{\"weight_map\":{\"a\":\"x\",\"a\":\"y\"}}",
	};
	const char *good = "{\"metadata\":{\"total_size\":1},"
			   "\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}";
	int n = 0;

	(void)state;
	assert_int_equal(gt_weight_map_read(good, strlen(good), none, &n, NULL), 0);
	assert_int_equal(n, 2);
	for (size_t i = 0; i < GT_LEN(bad); i++) {
		struct gt_err err = { 0 };

		if (gt_weight_map_read(bad[i], strlen(bad[i]), none, &n, &err) >= 0)
			fail_msg("%s: accepted", bad[i]);
		assert_string_equal(err.slug, "bad_model");
		assert_true(err.text[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_attention),
		cmocka_unit_test(windows),
		cmocka_unit_test(latents_and_states),
		cmocka_unit_test(a_text_config_is_the_model),
		cmocka_unit_test(what_is_not_known_is_refused),
		cmocka_unit_test(an_index_names_files_beside_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
