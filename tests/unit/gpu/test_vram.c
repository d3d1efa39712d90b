/* test_vram.c - the sum, by hand; and a model's directory from files to bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/gpu/model_files.h>
#include <gantry/gpu/vram.h>

static struct gt_model llama_8b(void)
{
	return (struct gt_model){
		.llm = { .arch = "llama",
			 .layers = 32,
			 .hidden = 4096,
			 .intermediate = 14336,
			 .vocab = 128256,
			 .heads = 32,
			 .kv_heads = 8,
			 .full_heads = 256,
			 .kv_dims = 256,
			 .context = 131072,
			 .kv_bits = 16 },
		.weight_bytes = 16060522496,
		.rank_bytes = 16060522496,
		.parallel = 1,
	};
}

static void the_sum_by_hand(void **state)
{
	struct gt_model m = llama_8b();
	struct gt_vram_params p = { .context = 8192, .sequences = 1 };
	struct gt_vram v;

	(void)state;
	assert_int_equal(gt_vram_estimate(&m, &p, &v, NULL), 0);
	assert_int_equal(v.token_bytes, 128 * GT_KIB);
	assert_int_equal(v.sequence_bytes, GT_GIB);
	assert_int_equal(v.terms.weights, 16060522496);
	assert_int_equal(v.terms.cache, GT_GIB);
	assert_int_equal(v.terms.activations, 2048ULL * 28672 * 2 + 128256 * 4);
	assert_int_equal(v.terms.activations + v.terms.overhead, 3 * GT_GIB / 2);
	assert_int_equal(v.bytes, 16060522496 + GT_GIB + 3 * GT_GIB / 2);
	p = (struct gt_vram_params){
		.context = 8192, .sequences = 3, .kv_bits = 8, .overhead_bytes = GT_MIB
	};
	assert_int_equal(gt_vram_estimate(&m, &p, &v, NULL), 0);
	assert_int_equal(v.terms.cache, 3 * GT_GIB / 2);
	assert_int_equal(v.terms.overhead, GT_MIB);
	p = (struct gt_vram_params){ .context = 1 }; /* a block of 16 tokens */
	assert_int_equal(gt_vram_estimate(&m, &p, &v, NULL), 0);
	assert_int_equal(v.sequence_bytes, 16 * 128 * GT_KIB);
	p = (struct gt_vram_params){ 0 }; /* all that the model can */
	assert_int_equal(gt_vram_estimate(&m, &p, &v, NULL), 0);
	assert_int_equal(v.context, 131072);
	assert_int_equal(v.terms.cache, 16 * GT_GIB);
	/* Activations above half a GiB do not eat the overhead. */
	m.llm.intermediate = 1 << 17;
	assert_int_equal(gt_vram_estimate(&m, &p, &v, NULL), 0);
	assert_int_equal(v.terms.overhead, GT_GIB);
}

static void windows_latents_and_states(void **state)
{
	struct gt_model m = llama_8b();
	struct gt_vram_params p = { .context = 8192 };
	struct gt_vram v;

	(void)state;
	m.llm.full_heads = 64; /* 8 layers of 32 */
	m.llm.window_heads = 192;
	m.llm.window = 1024;
	assert_int_equal(gt_vram_estimate(&m, &p, &v, NULL), 0);
	assert_int_equal(v.sequence_bytes, GT_GIB / 4 + GT_GIB * 3 / 4 / 8);
	p.context = 512; /* shorter than the window */
	assert_int_equal(gt_vram_estimate(&m, &p, &v, NULL), 0);
	assert_int_equal(v.sequence_bytes, GT_GIB / 16);
	/* DeepSeek-V3: 61 layers of 512 + 64. */
	m.llm = (struct gt_llm){ .arch = "deepseek_v3",
				 .layers = 61,
				 .hidden = 7168,
				 .heads = 128,
				 .latent_layers = 61,
				 .latent_dims = 576,
				 .kv_bits = 16,
				 .context = 163840 };
	assert_int_equal(gt_vram_estimate(&m, &p, &v, NULL), 0);
	assert_int_equal(v.token_bytes, 61 * 576 * 2); /* 68.6 KiB */
	m.llm.latent_layers = 0;
	m.llm.state_layers = 61;
	m.llm.state_bytes = 1000;
	p.sequences = 2;
	assert_int_equal(gt_vram_estimate(&m, &p, &v, NULL), 0);
	assert_int_equal(v.token_bytes, 0);
	assert_int_equal(v.terms.cache, 2 * 61 * 1000);
}

static void ranks_share(void **state)
{
	struct gt_model m = llama_8b();
	struct gt_vram_params p = { .context = 8192 };
	struct gt_err err = { 0 };
	struct gt_vram v;

	(void)state;
	m.parallel = 4;
	assert_int_equal(gt_vram_estimate(&m, &p, &v, NULL), 0);
	assert_int_equal(v.terms.cache, GT_GIB / 4);
	m.parallel = 16; /* more ranks than key-value heads: one head on each */
	assert_int_equal(gt_vram_estimate(&m, &p, &v, NULL), 0);
	assert_int_equal(v.terms.cache, GT_GIB / 8);
	m.parallel = 3;
	assert_int_equal(gt_vram_estimate(&m, &p, &v, &err), -EINVAL);
	assert_non_null(strstr(err.text, "32 heads can not be split evenly over 3 GPUs"));

	static const struct {
		const char *name;
		uint32_t rank;
		uint64_t dims[GT_TENSOR_DIMS_KEPT];
		uint32_t parallel;
		uint64_t bytes; /* of one rank; an element has 2 */
	} rows[] = {
		{ "model.layers.0.mlp.up_proj.weight", 2, { 12, 8 }, 1, 192 },
		{ "model.layers.0.mlp.up_proj.weight", 2, { 12, 8 }, 4, 48 },
		{ "model.layers.0.mlp.down_proj.weight", 2, { 7, 8 }, 4, 28 },
		{ "model.embed_tokens.weight", 2, { 5, 3 }, 2, 18 },
		{ "model.layers.0.input_layernorm.weight", 1, { 8 }, 4, 16 },
		{ "model.layers.0.self_attn.q_norm.weight", 2, { 8, 8 }, 4, 128 },
		{ "model.layers.0.mlp.gate.weight", 2, { 8, 8 }, 4, 128 },
		{ "model.layers.0.mlp.gate_proj.weight", 2, { 8, 8 }, 4, 32 },
		{ "model.layers.0.self_attn.kv_a_proj_with_mqa.weight", 2, { 8, 8 }, 4, 128 },
		{ "model.layers.0.self_attn.k_proj.weight", 2, { 64, 8 }, 4, 256 },
		{ "model.layers.0.self_attn.k_proj.weight", 2, { 64, 8 }, 16, 128 },
		{ "model.layers.0.self_attn.q_proj.weight", 2, { 64, 8 }, 16, 64 },
		{ "model.layers.0.self_attn.q_proj.bias", 1, { 64 }, 16, 128 },
		{ "experts.w1", 3, { 3, 8, 8 }, 4, 96 },
		{ "empty", 2, { 0, 8 }, 3, 0 },
	};

	for (size_t i = 0; i < GT_LEN(rows); i++) {
		struct gt_tensor t = { .rank = rows[i].rank, .bytes = 2 };
		uint64_t got;

		memcpy(t.dims, rows[i].dims, sizeof(t.dims));
		for (uint32_t k = 0; k < t.rank; k++)
			t.bytes *= t.dims[k];
		got = gt_vram_rank_bytes(&m.llm, rows[i].name, &t, rows[i].parallel);
		if (got != rows[i].bytes)
			fail_msg("%s over %u: %llu", rows[i].name, rows[i].parallel,
				 (unsigned long long)got);
	}
}

static void what_a_gpu_holds(void **state)
{
	struct gt_model m = llama_8b();
	struct gt_vram_params p = { .context = 8192 };
	struct gt_vram v;

	(void)state;
	assert_int_equal(gt_vram_estimate(&m, &p, &v, NULL), 0);
	/* 14.96 + 1.5 GiB, and 1 GiB a sequence, of 95 %. */
	assert_int_equal(gt_vram_sequences(&v, 24 * GT_GIB), 6);
	assert_int_equal(gt_vram_sequences(&v, 17 * GT_GIB), 0);
	assert_int_equal(gt_vram_utilization(&v, 17 * GT_GIB), 0);
	assert_int_equal(gt_vram_utilization(&v, 18 * GT_GIB), 0);   /* 0.970 */
	assert_int_equal(gt_vram_utilization(&v, 80 * GT_GIB), 219); /* 0.2182 */
	for (const struct gt_vram_gpu *g = gt_vram_gpus; g->model; g++) {
		uint64_t bytes = g->mib * GT_MIB;

		assert_true(g == gt_vram_gpus || g[-1].mib <= g->mib);
		assert_int_equal(gt_vram_utilization(&v, bytes) > 0,
				 gt_vram_sequences(&v, bytes) > 0);
	}
}

static void parameters_have_bounds(void **state)
{
	static const struct gt_vram_params rows[] = {
		{ .context = GT_LLM_SIZE_MAX + 1 },
		{ .sequences = GT_GPU_SEQUENCES_MAX + 1 },
		{ .overhead_bytes = GT_GPU_BYTES_MAX + 1 },
	};
	struct gt_model m = llama_8b();
	struct gt_vram v;

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		struct gt_err err = { 0 };

		assert_int_equal(gt_vram_estimate(&m, &rows[i], &v, &err), -EINVAL);
		assert_string_equal(err.slug, "bad_parameter");
	}
	m.llm.context = 0;
	assert_int_equal(gt_vram_estimate(&m, &(struct gt_vram_params){ 0 }, &v, NULL), -EINVAL);
}

/* ---- files ---------------------------------------------------------------------------------- */

#define CONFIG                                                                                  \
	"{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":8,\"vocab_size\":4," \
	"\"num_attention_heads\":2,\"tie_word_embeddings\":true}"

static char dir[] = "/tmp/gantry-model-XXXXXX";
static int dir_fd = -1;

static void put(const char *name, const void *data, size_t len)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

/* One tensor of 2 * n bytes. */
static void put_weights(const char *file, const char *tensor, unsigned n)
{
	gt_auto(buf) struct gt_buf out = { 0 };
	gt_auto(free) char *header = gt_asprintf("{\"%s\":{\"dtype\":\"BF16\",\"shape\":[%u,1],"
						 "\"data_offsets\":[0,%u]}}",
						 tensor, n, 2 * n);
	uint64_t len = strlen(header);

	gt_buf_add(&out, &len, sizeof(len));
	gt_buf_adds(&out, header);
	for (unsigned i = 0; i < 2 * n; i++)
		gt_buf_addc(&out, 0);
	put(file, out.data, out.len);
}

static int make_dir(void **state)
{
	(void)state;
	gt_strcopy(dir + strlen(dir) - 6, 7, "XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0 ? -1 : mkdirat(dir_fd, "m", 0700);
}

static int remove_dir(void **state)
{
	static const char *const names[] = { "m/config.json",   "m/model.safetensors.index.json",
					     "m/a.safetensors", "m/b.safetensors",
					     "m/c.safetensors", "m/x.gguf",
					     "out.safetensors", "m/fifo.safetensors" };

	(void)state;
	for (size_t i = 0; i < GT_LEN(names); i++)
		unlinkat(dir_fd, names[i], 0);
	unlinkat(dir_fd, "m", AT_REMOVEDIR);
	close(dir_fd);
	return rmdir(dir);
}

static int read_dir(const char *path, struct gt_model *ret, struct gt_err *err)
{
	gt_auto(model_files) struct gt_model_files f = { .config_fd = -EBADF, .index_fd = -EBADF };
	int r = gt_model_files_open(dir_fd, path, &f, err);

	return r < 0 ? r : gt_model_read(&f, 1, ret, err);
}

static void refused(const char *path, const char *words)
{
	struct gt_err err = { 0 };
	struct gt_model m;

	if (read_dir(path, &m, &err) >= 0)
		fail_msg("%s: accepted, not \"%s\"", path, words);
	assert_string_equal(err.slug, "bad_model");
	if (!strstr(err.text, words))
		fail_msg("\"%s\", not \"%s\"", err.text, words);
}

#define INDEX(map)                                                           \
	do {                                                                 \
		const char *text_ = "{\"weight_map\":{" map "}}";            \
		put("m/model.safetensors.index.json", text_, strlen(text_)); \
	} while (0)

static void a_directory_is_read(void **state)
{
	struct gt_model m;

	(void)state;
	refused("m", "no *.safetensors and no *.gguf");
	refused("none", "open none: No such file");
	put_weights("m/a.safetensors", "a", 8);
	refused("m", "no config.json beside the weights");
	put("m/config.json", CONFIG, strlen(CONFIG));
	assert_int_equal(read_dir("m", &m, NULL), 0);
	assert_int_equal(m.weight_bytes, 16);
	assert_int_equal(m.rank_bytes, 16);
	assert_string_equal(m.llm.arch, "llama");
	refused("m/config.json", "neither a directory nor a file");
	/* The head that is the embedding. */
	put_weights("m/b.safetensors", "lm_head.weight", 8);
	refused("m", "2 files of weights and no model.safetensors.index.json");
	assert_int_equal(read_dir("m/a.safetensors", &m, NULL), 0);
	INDEX("\"a\":\"a.safetensors\",\"lm_head.weight\":\"b.safetensors\"");
	assert_int_equal(read_dir("m", &m, NULL), 0);
	assert_int_equal(m.weight_bytes, 16);
	assert_int_equal(m.files, 2);
	assert_int_equal(m.tensors, 1);
	/* What the index does not name is not the model's. */
	put("m/c.safetensors", "bad", 3);
	assert_int_equal(read_dir("m", &m, NULL), 0);
	INDEX("\"a\":\"a.safetensors\",\"x\":\"b.safetensors\"");
	refused("m", "\"lm_head.weight\": model.safetensors.index.json does not have it there");
	INDEX("\"a\":\"a.safetensors\",\"b\":\"a.safetensors\"");
	refused("m", "\"b\": the index has it, its file has not");
	INDEX("\"a\":\"z.safetensors\"");
	refused("m", "z.safetensors, which is not there");
	INDEX("");
	refused("m", "has no tensors");
	put("m/model.safetensors.index.json", "{", 1);
	refused("m", "model.safetensors.index.json: line 1");
}

static void links_stay_inside(void **state)
{
	struct gt_model m;

	(void)state;
	put("m/config.json", CONFIG, strlen(CONFIG));
	put_weights("out.safetensors", "a", 8);
	assert_int_equal(symlinkat("../out.safetensors", dir_fd, "m/a.safetensors"), 0);
	assert_int_equal(read_dir("m", &m, NULL), 0);
	assert_int_equal(m.weight_bytes, 16);
	/* Seen from m as the root, the link's target is not there. */
	gt_auto(fd) int root = openat(dir_fd, "m", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	gt_auto(model_files) struct gt_model_files f = { .config_fd = -EBADF, .index_fd = -EBADF };
	struct gt_err err = { 0 };

	assert_int_equal(gt_model_files_open(root, ".", &f, &err), -ENOENT);
	assert_string_equal(err.slug, "bad_model");
	assert_int_equal(mkfifoat(dir_fd, "m/fifo.safetensors", 0600), 0);
	refused("m/fifo.safetensors", "it is no file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sum_by_hand),
		cmocka_unit_test(windows_latents_and_states),
		cmocka_unit_test(ranks_share),
		cmocka_unit_test(what_a_gpu_holds),
		cmocka_unit_test(parameters_have_bounds),
		cmocka_unit_test_setup_teardown(a_directory_is_read, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(links_stay_inside, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
