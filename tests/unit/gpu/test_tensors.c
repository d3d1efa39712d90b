/* test_tensors.c - headers of safetensors and GGUF, written here byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/gpu/tensors.h>
#include <gantry/os/os.h>

static int file_of(const void *data, size_t len)
{
	int fd = -EBADF;

	assert_int_equal(gt_os_memfd("model", data, len, &fd, NULL), 0);
	return fd;
}

/* ---- safetensors ---------------------------------------------------------------------------- */

static int open_raw(const void *data, size_t len, struct gt_tensors *ret, struct gt_err *err)
{
	gt_auto(fd) int fd = file_of(data, len);

	return gt_safetensors_open(fd, ret, err);
}

static int open_text(const char *header, size_t data, struct gt_tensors *ret, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf out = { 0 };
	uint64_t len = strlen(header);

	gt_buf_add(&out, &len, sizeof(len));
	gt_buf_adds(&out, header);
	for (size_t i = 0; i < data; i++)
		gt_buf_addc(&out, 'x');
	return open_raw(out.data, out.len, ret, err);
}

static void a_header_is_read(void **state)
{
	gt_auto(tensors) struct gt_tensors t = { 0 };
	const char *text =
		"{\"__metadata__\":{\"format\":\"pt\"},"
		"\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
		"\"a\\u0041\":{\"data_offsets\":[0,4],\"shape\":[],\"dtype\":\"F32\"},"
		"\"none\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[4,4]},"
		"\"half\":{\"dtype\":\"F4\",\"shape\":[2,1],\"data_offsets\":[16,17]},"
		"\"six\":{\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[17,20]},"
		"\"five\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,2],\"data_offsets\":[20,22]}}"
		"   ";

	(void)state;
	assert_int_equal(open_text(text, 22, &t, NULL), 0);
	assert_int_equal(t.n, 6);
	assert_int_equal(t.bytes, 22);
	assert_string_equal(gt_tensor_name(&t, 0), "aA");
	assert_int_equal(t.list[0].rank, 0);
	assert_int_equal(t.list[0].bytes, 4);
	assert_int_equal(t.list[0].begin, 8 + strlen(text));
	assert_string_equal(gt_tensor_name(&t, 1), "none");
	assert_int_equal(t.list[1].bytes, 0);
	assert_string_equal(gt_tensor_name(&t, 2), "b");
	assert_int_equal(t.list[2].dims[1], 3);
	assert_int_equal(t.list[5].rank, 5);
}

static void a_file_may_have_no_tensors(void **state)
{
	gt_auto(tensors) struct gt_tensors t = { 0 };

	(void)state;
	assert_int_equal(open_text("{}", 0, &t, NULL), 0);
	assert_int_equal(t.n, 0);
}

#define T(dtype, shape, offsets) \
	"{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]}"

static void what_breaks_the_format_is_refused(void **state)
{
	static const struct {
		const char *header;
		size_t data;
		const char *words;
	} rows[] = {
		{ "", 0, "does not begin with {" },
		{ " {}", 0, "does not begin with {" },
		{ "[]", 0, "does not begin with {" },
		{ "{", 0, "no JSON" },
		{ "{}{}", 0, "no JSON" },
		{ "{}x", 0, "no JSON" },
		{ "{\"a\":1}", 0, "it is no object" },
		{ "{\"a\":[]}", 0, "it is no object" },
		{ "{\"a\":{}}", 0, "it needs dtype, shape and data_offsets" },
		{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[]}}", 0, "it needs dtype" },
		{ "{\"a\":{\"x\":1}}", 0, "neither dtype, shape nor" },
		{ "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 0, "there twice" },
		{ "{\"a\":{\"dtype\":1}}", 0, "dtype is no string" },
		{ "{\"a\":" T("U9", "1", "0,1") "}", 1, "dtype is unknown" },
		{ "{\"a\":" T("u8", "1", "0,1") "}", 1, "dtype is unknown" },
		{ "{\"a\":" T("U8", "-1", "0,1") "}", 1, "shape is no list of whole numbers" },
		{ "{\"a\":" T("U8", "1.0", "0,1") "}", 1, "shape is no list" },
		{ "{\"a\":" T("U8", "1e0", "0,1") "}", 1, "shape is no list" },
		{ "{\"a\":" T("U8", "[1]", "0,1") "}", 1, "shape is no list" },
		{ "{\"a\":" T("U8", "18446744073709551616", "0,1") "}", 1, "shape is no list" },
		{ "{\"a\":" T("U8", "4294967296,4294967296", "0,0") "}", 0, "shape is too large" },
		{ "{\"a\":" T("U64", "1152921504606846976", "0,0") "}", 0, "shape is too large" },
		{ "{\"a\":" T("U8", "1", "0") "}", 1, "not two whole numbers" },
		{ "{\"a\":" T("U8", "1", "0,1,2") "}", 1, "not two whole numbers" },
		{ "{\"a\":" T("U8", "1", "1,0") "}", 1, "do not fit its shape" },
		{ "{\"a\":" T("U8", "2", "0,1") "}", 1, "do not fit its shape" },
		{ "{\"a\":" T("F4", "3", "0,2") "}", 2, "do not fill whole bytes" },
		{ "{\"a\":" T("F6_E3M2", "1", "0,1") "}", 1, "do not fill whole bytes" },
		{ "{\"a\":" T("U8", "1", "1,2") "}", 2, "bytes before it are no tensor's" },
		{ "{\"a\":" T("U8", "2", "0,2") ",\"b\":" T("U8", "2", "1,3") "}", 3,
		  "another tensor's too" },
		{ "{\"a\":" T("U8", "2", "0,2") ",\"b\":" T("U8", "1", "3,4") "}", 4,
		  "bytes before it" },
		{ "{\"a\":" T("U8", "2", "0,2") "}", 1, "the file ends before" },
		{ "{\"a\":" T("U8", "2", "0,2") "}", 3, "the last 1 bytes of the file" },
		{ "{\"a\":" T("U8", "1", "0,1") ",\"\\u0061\":" T("U8", "1", "1,2") "}", 2,
		  "\"a\": it is there twice" },
		{ "{\"a\\u0000\":" T("U8", "1", "0,1") "}", 1, "a name is no text" },
		{ "{\"\xff\":" T("U8", "1", "0,1") "}", 1, "no UTF-8" },
		{ "{\"__metadata__\":{\"a\":1}}", 0, "a value that is no string" },
		{ "{\"__metadata__\":[]}", 0, "__metadata__ is no object" },
		{ "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is there twice" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		struct gt_tensors t = { 0 };
		struct gt_err err = { 0 };

		if (open_text(rows[i].header, rows[i].data, &t, &err) >= 0)
			fail_msg("%s: accepted", rows[i].header);
		assert_string_equal(err.slug, "bad_model");
		if (!strstr(err.text, rows[i].words))
			fail_msg("%s: \"%s\"", rows[i].header, err.text);
		assert_null(t.list);
	}
}

static void lengths_are_held_against_the_file(void **state)
{
	struct gt_tensors t = { 0 };
	struct gt_err err = { 0 };
	uint64_t huge[2] = { 100000001, 0 }, longer[2] = { 9, 0 }, most[2] = { UINT64_MAX, 0 };

	(void)state;
	assert_true(open_raw("1234567", 7, &t, &err) < 0);
	assert_non_null(strstr(err.text, "ends too early"));
	assert_true(open_raw(huge, sizeof(huge), &t, &err) < 0);
	assert_non_null(strstr(err.text, "the format's limit is 100000000"));
	assert_true(open_raw(most, sizeof(most), &t, &err) < 0);
	assert_true(open_raw(longer, sizeof(longer), &t, &err) < 0);
	assert_non_null(strstr(err.text, "ends within its header"));
}

/* ---- GGUF ----------------------------------------------------------------------------------- */

struct gguf {
	struct gt_buf meta, tensors;
	uint64_t n_meta, n_tensors;
	uint32_t version;
	size_t data;
};

static void put_text(struct gt_buf *out, const char *text)
{
	uint64_t len = strlen(text);

	gt_buf_add(out, &len, sizeof(len));
	gt_buf_adds(out, text);
}

static void meta(struct gguf *g, const char *key, uint32_t type, const void *value, size_t len)
{
	put_text(&g->meta, key);
	gt_buf_add(&g->meta, &type, sizeof(type));
	gt_buf_add(&g->meta, value, len);
	g->n_meta++;
}

static void meta_u32(struct gguf *g, const char *key, uint32_t value)
{
	meta(g, key, 4, &value, sizeof(value));
}

static void meta_text(struct gguf *g, const char *key, const char *value)
{
	meta(g, key, 8, NULL, 0);
	put_text(&g->meta, value);
}

static void tensor(struct gguf *g, const char *name, uint32_t type, uint64_t a, uint64_t b,
		   uint64_t offset)
{
	const uint32_t rank = b ? 2 : 1;

	put_text(&g->tensors, name);
	gt_buf_add(&g->tensors, &rank, sizeof(rank));
	gt_buf_add(&g->tensors, &a, sizeof(a));
	if (b)
		gt_buf_add(&g->tensors, &b, sizeof(b));
	gt_buf_add(&g->tensors, &type, sizeof(type));
	gt_buf_add(&g->tensors, &offset, sizeof(offset));
	g->n_tensors++;
}

/* With n_meta and n_tensors as they are, and the data's size. Frees. */
static int gguf_open(struct gguf *g, struct gt_tensors *ret, struct gt_llm *llm,
		     struct gt_gguf_split *split, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf out = { 0 };
	uint32_t version = g->version ? g->version : 3;

	gt_buf_adds(&out, "GGUF");
	gt_buf_add(&out, &version, sizeof(version));
	gt_buf_add(&out, &g->n_tensors, sizeof(g->n_tensors));
	gt_buf_add(&out, &g->n_meta, sizeof(g->n_meta));
	gt_buf_add(&out, gt_buf_str(&g->meta), g->meta.len);
	gt_buf_add(&out, gt_buf_str(&g->tensors), g->tensors.len);
	while (out.len % 32)
		gt_buf_addc(&out, 0);
	for (size_t i = 0; i < g->data; i++)
		gt_buf_addc(&out, 'x');
	gt_buf_fini(&g->meta);
	gt_buf_fini(&g->tensors);
	gt_auto(fd) int fd = file_of(out.data, out.len);

	return gt_gguf_open(fd, ret, llm, split, err);
}

static struct gguf small_llama(void)
{
	struct gguf g = { 0 };

	meta_u32(&g, "llama.block_count", 2);
	meta_text(&g, "general.architecture", "llama");
	meta_u32(&g, "llama.embedding_length", 64);
	meta_u32(&g, "llama.feed_forward_length", 128);
	meta_u32(&g, "llama.attention.head_count", 4);
	meta_u32(&g, "llama.attention.head_count_kv", 2);
	meta_u32(&g, "llama.context_length", 2048);
	return g;
}

static void a_gguf_is_read(void **state)
{
	gt_auto(tensors) struct gt_tensors t = { 0 };
	struct gguf g = small_llama();
	struct gt_gguf_split split;
	struct gt_llm llm;
	const uint32_t string = 8;
	const uint64_t three = 3;

	(void)state;
	meta(&g, "tokenizer.ggml.tokens", 9, &string, sizeof(string));
	gt_buf_add(&g.meta, &three, sizeof(three));
	for (int i = 0; i < 3; i++)
		put_text(&g.meta, "token");
	tensor(&g, "token_embd.weight", 14, 256, 3, 0);
	tensor(&g, "output_norm.weight", 0, 64, 0, 640); /* 630 and padding */
	tensor(&g, "blk.0.attn_q.weight", 39, 64, 64, 896);
	g.data = 896 + 64 * 64 / 32 * 17;
	assert_int_equal(gguf_open(&g, &t, &llm, &split, NULL), 0);
	assert_int_equal(t.n, 3);
	assert_int_equal(t.list[0].bytes, 3 * 210);
	assert_int_equal(t.list[1].bytes, 256);
	assert_int_equal(t.bytes, 3 * 210 + 256 + 64 * 64 / 32 * 17);
	assert_int_equal(t.list[0].begin % 32, 0);
	assert_int_equal(split.no, 0);
	assert_int_equal(split.count, 1);
	assert_string_equal(llm.arch, "llama");
	assert_int_equal(llm.layers, 2);
	assert_int_equal(llm.vocab, 3);
	assert_int_equal(llm.full_heads, 4);
	assert_int_equal(llm.kv_dims, 32);
	assert_int_equal(llm.context, 2048);
}

/* The type sizes that nothing else here would notice, as Python's gguf.GGML_QUANT_SIZES has them.
 */
static void blocks_have_their_sizes(void **state)
{
	static const struct {
		uint32_t number, elements, bytes;
	} rows[] = {
		{ 0, 1, 4 },      { 1, 1, 2 },      { 2, 32, 18 },    { 3, 32, 20 },
		{ 6, 32, 22 },    { 7, 32, 24 },    { 8, 32, 34 },    { 10, 256, 84 },
		{ 11, 256, 110 }, { 12, 256, 144 }, { 13, 256, 176 }, { 14, 256, 210 },
		{ 15, 256, 292 }, { 16, 256, 66 },  { 17, 256, 74 },  { 18, 256, 98 },
		{ 19, 256, 50 },  { 20, 32, 18 },   { 21, 256, 110 }, { 22, 256, 82 },
		{ 23, 256, 136 }, { 24, 1, 1 },     { 25, 1, 2 },     { 26, 1, 4 },
		{ 27, 1, 8 },     { 28, 1, 8 },     { 29, 256, 56 },  { 30, 1, 2 },
		{ 34, 256, 54 },  { 35, 256, 66 },  { 39, 32, 17 },   { 40, 64, 36 },
		{ 41, 128, 18 },
	};
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		const struct gt_ggml_type *t = gt_ggml_type(rows[i].number);

		assert_non_null(t);
		assert_int_equal(t->elements, rows[i].elements);
		assert_int_equal(t->bytes, rows[i].bytes);
	}
	for (uint32_t i = 0; i < 1000; i++)
		n += gt_ggml_type(i) != NULL;
	assert_int_equal(n, GT_LEN(rows));
}

static void refused_gguf(struct gguf *g, const char *words)
{
	struct gt_tensors t = { 0 };
	struct gt_gguf_split split;
	struct gt_err err = { 0 };
	struct gt_llm llm;

	if (gguf_open(g, &t, &llm, &split, &err) >= 0)
		fail_msg("accepted, not \"%s\"", words);
	if (!strstr(err.text, words))
		fail_msg("\"%s\", not \"%s\"", err.text, words);
}

static void a_bad_gguf_is_refused(void **state)
{
	const uint32_t types[] = { 9, 4 };
	const uint64_t many = 1ULL << 62;
	struct gguf g = small_llama();

	(void)state;
	g.version = 1;
	refused_gguf(&g, "neither version 2 nor 3");
	g = small_llama();
	g.version = 0x03000000;
	refused_gguf(&g, "not little-endian");
	g = small_llama();
	g.n_meta++;
	refused_gguf(&g, "a name is empty"); /* the padding */
	g = small_llama();
	g.n_tensors = 1ULL << 60;
	refused_gguf(&g, "more tensors");
	g = small_llama();
	g.n_meta = 1ULL << 60;
	refused_gguf(&g, "more than 65536");
	g = small_llama();
	meta_u32(&g, "llama.block_count", 3);
	refused_gguf(&g, "there twice");
	g = small_llama();
	meta(&g, "a.list", 9, types, 4);
	refused_gguf(&g, "");
	g = small_llama();
	meta(&g, "a.list", 9, &types[1], 4);
	gt_buf_add(&g.meta, &many, sizeof(many));
	refused_gguf(&g, "longer than the file");
	g = small_llama();
	meta(&g, "a.list", 9, &types[0], 4);
	gt_buf_add(&g.meta, &many, sizeof(many));
	refused_gguf(&g, "a type that is not known");
	g = small_llama();
	meta(&g, "a.value", 13, NULL, 0);
	refused_gguf(&g, "a type that is not known");
	g = small_llama();
	meta_u32(&g, "general.alignment", 33);
	refused_gguf(&g, "no power of two");
	g = small_llama();
	meta_u32(&g, "split.no", 2);
	meta_u32(&g, "split.count", 2);
	refused_gguf(&g, "split.no and split.count");
}

static void bad_tensors_are_refused(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t a, b, offset;
		size_t data;
		const char *words;
	} rows[] = {
		{ 4, 32, 0, 0, 4096, "type is unknown or was withdrawn" },
		{ 99, 32, 0, 0, 4096, "type is unknown or was withdrawn" },
		{ 2, 33, 0, 0, 4096, "no whole blocks" },
		{ 0, 8, 0, 32, 4096, "does not begin where the last one ends" },
		{ 0, 8, 0, 0, 31, "ends before its last" },
		{ 0, 1ULL << 40, 0, 0, 31, "ends before its last byte" },
		{ 0, 1ULL << 32, 1ULL << 32, 0, 31, "shape is too large" },
		{ 0, 1ULL << 61, 0, 0, 31, "shape is too large" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		struct gguf g = small_llama();

		tensor(&g, "t", rows[i].type, rows[i].a, rows[i].b, rows[i].offset);
		g.data = rows[i].data;
		refused_gguf(&g, rows[i].words);
	}
	struct gguf g = small_llama();

	tensor(&g, "t", 0, 8, 0, 0);
	tensor(&g, "t", 0, 8, 0, 32);
	g.data = 64;
	refused_gguf(&g, "\"t\": it is there twice");
}

static void a_gguf_of_what_is_not_known_is_refused(void **state)
{
	struct gguf g = { 0 };

	(void)state;
	meta_text(&g, "general.architecture", "clip");
	refused_gguf(&g, "general.architecture clip: how much memory such a model needs");
	g = (struct gguf){ 0 };
	refused_gguf(&g, "general.architecture (none)");
	g = (struct gguf){ 0 };
	meta_text(&g, "general.architecture", "llama");
	refused_gguf(&g, "block_count or embedding_length is missing");
}

static void windows_and_states_of_gguf(void **state)
{
	struct gt_tensors t = { 0 };
	struct gguf g = { 0 };
	struct gt_gguf_split split;
	struct gt_llm llm;
	const uint32_t u32 = 4, heads[4] = { 0, 0, 8, 0 };
	const uint64_t four = 4;

	(void)state;
	meta_text(&g, "general.architecture", "gemma3");
	meta_u32(&g, "gemma3.block_count", 26);
	meta_u32(&g, "gemma3.embedding_length", 1152);
	meta_u32(&g, "gemma3.attention.head_count", 4);
	meta_u32(&g, "gemma3.attention.head_count_kv", 1);
	meta_u32(&g, "gemma3.attention.key_length", 256);
	meta_u32(&g, "gemma3.attention.value_length", 256);
	meta_u32(&g, "gemma3.attention.sliding_window", 512);
	assert_int_equal(gguf_open(&g, &t, &llm, &split, NULL), 0);
	assert_int_equal(llm.full_heads, 4);
	assert_int_equal(llm.window_heads, 22);
	assert_int_equal(llm.window, 512);
	assert_int_equal(llm.kv_dims, 512);

	g = (struct gguf){ 0 };
	meta_text(&g, "general.architecture", "jamba");
	meta_u32(&g, "jamba.block_count", 4);
	meta_u32(&g, "jamba.embedding_length", 64);
	meta_u32(&g, "jamba.attention.head_count", 8);
	meta(&g, "jamba.attention.head_count_kv", 9, &u32, sizeof(u32));
	gt_buf_add(&g.meta, &four, sizeof(four));
	gt_buf_add(&g.meta, heads, sizeof(heads));
	meta_u32(&g, "jamba.ssm.conv_kernel", 4);
	meta_u32(&g, "jamba.ssm.inner_size", 128);
	meta_u32(&g, "jamba.ssm.state_size", 16);
	assert_int_equal(gguf_open(&g, &t, &llm, &split, NULL), 0);
	assert_int_equal(llm.full_heads, 8);
	assert_int_equal(llm.state_layers, 3);
	assert_int_equal(llm.state_bytes, (3 * 128 + 128 * 16) * 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_header_is_read),
		cmocka_unit_test(a_file_may_have_no_tensors),
		cmocka_unit_test(what_breaks_the_format_is_refused),
		cmocka_unit_test(lengths_are_held_against_the_file),
		cmocka_unit_test(a_gguf_is_read),
		cmocka_unit_test(blocks_have_their_sizes),
		cmocka_unit_test(a_bad_gguf_is_refused),
		cmocka_unit_test(bad_tensors_are_refused),
		cmocka_unit_test(a_gguf_of_what_is_not_known_is_refused),
		cmocka_unit_test(windows_and_states_of_gguf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
