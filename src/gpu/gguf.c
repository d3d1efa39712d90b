/* gguf.c - the head of a GGUF file: metadata, then the table of tensors. Read through a window of
 * 64 KiB: vocabularies of hundreds of thousands of words are passed over, not kept. */
#include "gguf.h"

#include <endian.h>
#include <string.h>

#include "tensors.h"

#define WINDOW    (64 * GT_KIB)
#define METADATA  65536      /* entries */
#define STRINGS   (1U << 24) /* of a list */
#define ALIGN_MAX 65536
#define KEY_MAX   255
#define GGUF_RANK 4  /* GGML_MAX_DIMS */
#define GGUF_NAME 63 /* GGML_MAX_NAME less the end */

enum value_type {
	T_U8,
	T_I8,
	T_U16,
	T_I16,
	T_U32,
	T_I32,
	T_F32,
	T_BOOL,
	T_STRING,
	T_ARRAY,
	T_U64,
	T_I64,
	T_F64,
	T_N
};
static const unsigned char value_size[T_N] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

struct reader {
	int fd;
	uint64_t size;    /* of the file */
	uint64_t at;      /* of the next byte */
	uint64_t from, n; /* what of the file `window` holds */
	uint32_t version;
	uint64_t align;
	struct gguf_facts *facts;
	struct gt_gguf_split split;
	struct gt_tensors keys; /* names alone, to find one that is there twice */
	struct gt_err *err;
	unsigned char window[WINDOW];
};

static int refuse(struct reader *r, const char *what)
{
	return gt_err_set(r->err, EINVAL, "bad_model", "GGUF, byte %llu: %s",
			  (unsigned long long)r->at, what);
}

static int skip(struct reader *r, uint64_t n)
{
	if (n > r->size - r->at)
		return refuse(r, "the file ends within its header");
	r->at += n;
	return 0;
}

static int take(struct reader *r, void *out, size_t n)
{
	uint64_t at = r->at;
	int res = skip(r, n);

	if (res < 0)
		return res;
	if (at < r->from || at + n > r->from + r->n) {
		r->from = at;
		r->n = GT_MIN(WINDOW, r->size - at);
		res = gt_tensors_pread(r->fd, r->window, r->n, at, r->err);
		if (res < 0)
			return res;
	}
	memcpy(out, r->window + (at - r->from), n);
	return 0;
}

static int take_u32(struct reader *r, uint32_t *ret)
{
	int res = take(r, ret, sizeof(*ret));

	*ret = le32toh(*ret);
	return res;
}

static int take_u64(struct reader *r, uint64_t *ret)
{
	int res = take(r, ret, sizeof(*ret));

	*ret = le64toh(*ret);
	return res;
}

/* A string of 1 to max bytes, which must not hold a NUL. */
static int take_text(struct reader *r, char *out, size_t max)
{
	uint64_t len;
	int res = take_u64(r, &len);

	if (res < 0)
		return res;
	if (len == 0 || len > max)
		return refuse(r, "a name is empty or too long");
	res = take(r, out, len);
	if (res < 0)
		return res;
	out[len] = '\0';
	return strlen(out) == len ? 0 : refuse(r, "a name holds a NUL");
}

static int skip_text(struct reader *r)
{
	uint64_t len;
	int res = take_u64(r, &len);

	return res < 0 ? res : skip(r, len);
}

/* ---- metadata ------------------------------------------------------------------------------- */

/* A whole number of any width; negative ones and other types count as not there. */
static int take_number(struct reader *r, uint32_t type, bool *ret_whole, uint64_t *ret)
{
	unsigned char b[8] = { 0 };
	bool is_signed = type == T_I8 || type == T_I16 || type == T_I32 || type == T_I64;
	int res = take(r, b, value_size[type]);

	if (res < 0)
		return res;
	memcpy(ret, b, sizeof(*ret));
	*ret = le64toh(*ret);
	*ret_whole = type != T_F32 && type != T_F64 && type != T_BOOL;
	if (is_signed && b[value_size[type] - 1] & 0x80)
		*ret_whole = false;
	return 0;
}

static int take_list(struct reader *r, struct gguf_number *ret, uint64_t *ret_n)
{
	uint32_t type;
	uint64_t n;
	int res = take_u32(r, &type);

	if (res == 0)
		res = take_u64(r, &n);
	if (res < 0)
		return res;
	if (type >= T_N || type == T_ARRAY)
		return refuse(r, "a list of a type that is not known");
	if (type == T_STRING ? n > STRINGS : n > (r->size - r->at) / value_size[type])
		return refuse(r, "a list is longer than the file, or than one may be");
	*ret_n = n;
	if (type != T_STRING && (!ret || n > GT_LLM_LAYERS_MAX))
		return skip(r, n * value_size[type]);
	for (uint64_t i = 0; res == 0 && i < n; i++) {
		bool whole = false;
		uint64_t value = 0;

		if (type == T_STRING) {
			res = skip_text(r);
			continue;
		}
		res = take_number(r, type, &whole, &value);
		if (!whole || value > UINT32_MAX)
			value = 0;
		ret->there = ret->list = true;
		ret->n = n;
		ret->sum += value;
		ret->value = GT_MAX(ret->value, value);
	}
	return res;
}

/* "llama.block_count": which of the keys it is is told by what follows the first dot. No
 * architecture's name has one. */
static struct gguf_number *number_of(struct reader *r, const char *key)
{
	const char *dot = strchr(key, '.');
	int i = dot ? gt_gguf_key(dot + 1) : -1;

	return i < 0 ? NULL : &r->facts->keys[i];
}

static int special(struct reader *r, const char *key, uint64_t value)
{
	if (gt_streq(key, "general.alignment")) {
		if (value == 0 || value > ALIGN_MAX || (value & (value - 1)) != 0)
			return refuse(r, "general.alignment is no power of two up to 65536");
		r->align = value;
	} else if (gt_streq(key, "split.no")) {
		r->split.no = (uint32_t)GT_MIN(value, UINT32_MAX);
	} else if (gt_streq(key, "split.count")) {
		r->split.count = (uint32_t)GT_MIN(value, UINT32_MAX);
	}
	return 0;
}

static int take_value(struct reader *r, const char *key, uint32_t type)
{
	struct gguf_number *number = number_of(r, key);
	bool whole = false;
	uint64_t n = 0;
	int res;

	if (type >= T_N)
		return refuse(r, "a value of a type that is not known");
	if (type == T_STRING) {
		if (gt_streq(key, "general.architecture"))
			return take_text(r, r->facts->arch, GT_LLM_ARCH_MAX);
		return skip_text(r);
	}
	if (type == T_ARRAY) {
		res = take_list(r, number, &n);
		if (gt_streq(key, "tokenizer.ggml.tokens"))
			r->facts->tokens = n;
		return res;
	}
	res = take_number(r, type, &whole, &n);
	if (res < 0 || !whole)
		return res;
	if (number)
		*number = (struct gguf_number){ .there = true, .value = n };
	return special(r, key, n);
}

static int take_metadata(struct reader *r, uint64_t n)
{
	int res = 0;

	if (n > METADATA)
		return refuse(r, "more than 65536 entries of metadata");
	for (uint64_t i = 0; res == 0 && i < n; i++) {
		const struct gt_tensor none = { 0 };
		char key[KEY_MAX + 1];
		uint32_t type = 0;

		res = take_text(r, key, KEY_MAX);
		if (res == 0)
			res = gt_tensors_add(&r->keys, key, &none, r->err);
		if (res == 0)
			res = take_u32(r, &type);
		if (res == 0)
			res = take_value(r, key, type);
	}
	return res < 0 ? res : gt_tensors_check_names(&r->keys, r->err);
}

/* ---- tensors -------------------------------------------------------------------------------- */

static int take_dims(struct reader *r, const char *name, struct gt_tensor *one, uint64_t *ret)
{
	int res = take_u32(r, &one->rank);

	if (res == 0 && one->rank > GGUF_RANK)
		return gt_tensor_refuse(r->err, name, "it has more than 4 dimensions");
	*ret = 1;
	for (uint32_t i = 0; res == 0 && i < one->rank; i++) {
		res = take_u64(r, &one->dims[i]);
		if (res == 0 && __builtin_mul_overflow(*ret, one->dims[i], ret))
			return gt_tensor_refuse(r->err, name, "its shape is too large");
	}
	return res;
}

static uint64_t padded(const struct reader *r, uint64_t n)
{
	return (n + r->align - 1) & ~(r->align - 1);
}

/* Rows lie one behind the other in blocks: a row is whole blocks. */
static int size_it(struct reader *r, const char *name, uint32_t number, uint64_t elements,
		   struct gt_tensor *one)
{
	const struct gt_ggml_type *type = gt_ggml_type(number);

	if (!type)
		return gt_tensor_refuse(r->err, name, "its type is unknown or was withdrawn");
	if ((one->rank ? one->dims[0] : 1) % type->elements != 0)
		return gt_tensor_refuse(r->err, name, "its rows are no whole blocks of its type");
	one->bytes = elements / type->elements;
	if (__builtin_mul_overflow(one->bytes, (uint64_t)type->bytes, &one->bytes) ||
	    one->bytes > INT64_MAX / 2)
		return gt_tensor_refuse(r->err, name, "its shape is too large");
	return 0;
}

/* *end: where the last one ended, from the begin of the data. */
static int take_tensor(struct reader *r, struct gt_tensors *t, uint64_t *end)
{
	char name[GGUF_NAME + 1];
	struct gt_tensor one = { 0 };
	uint64_t elements = 0;
	uint32_t number = 0;
	int res = take_text(r, name, GGUF_NAME);

	if (res == 0)
		res = take_dims(r, name, &one, &elements);
	if (res == 0)
		res = take_u32(r, &number);
	if (res == 0)
		res = take_u64(r, &one.begin);
	if (res == 0)
		res = size_it(r, name, number, elements, &one);
	if (res < 0)
		return res;
	if (one.begin != padded(r, *end))
		return gt_tensor_refuse(r->err, name, "it does not begin where the last one ends");
	if (one.bytes > r->size || one.begin > r->size - one.bytes)
		return gt_tensor_refuse(r->err, name, "the file ends before its last byte");
	*end = one.begin + one.bytes;
	t->bytes += one.bytes;
	return gt_tensors_add(t, name, &one, r->err);
}

static int take_tensors(struct reader *r, uint64_t n, struct gt_tensors *t)
{
	uint64_t end = 0, data;
	int res = 0;

	if (n > GT_TENSORS_MAX)
		return refuse(r, "more tensors than a file may have");
	for (uint64_t i = 0; res == 0 && i < n; i++)
		res = take_tensor(r, t, &end);
	if (res == 0)
		res = gt_tensors_check_names(t, r->err);
	if (res < 0)
		return res;
	data = padded(r, r->at);
	if (n > 0 && (data > r->size || end > r->size - data))
		return refuse(r, "the file ends before its last tensor");
	for (size_t i = 0; i < t->n; i++)
		t->list[i].begin += data;
	return 0;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int take_head(struct reader *r, uint64_t *ret_tensors, uint64_t *ret_metadata)
{
	char magic[4];
	int res = take(r, magic, sizeof(magic));

	if (res == 0 && memcmp(magic, "GGUF", sizeof(magic)) != 0)
		return refuse(r, "it does not begin with GGUF");
	if (res == 0)
		res = take_u32(r, &r->version);
	if (res == 0 && r->version != 2 && r->version != 3)
		return refuse(r, "neither version 2 nor 3, or not little-endian");
	if (res == 0)
		res = take_u64(r, ret_tensors);
	if (res == 0)
		res = take_u64(r, ret_metadata);
	return res;
}

static int read_all(struct reader *r, struct gt_tensors *t)
{
	uint64_t tensors = 0, metadata = 0;
	int res = gt_tensors_file_size(r->fd, &r->size, r->err);

	if (res == 0)
		res = take_head(r, &tensors, &metadata);
	if (res == 0)
		res = take_metadata(r, metadata);
	if (res == 0)
		res = take_tensors(r, tensors, t);
	if (res == 0 && (r->split.count == 0 || r->split.no >= r->split.count))
		return refuse(r, "split.no and split.count do not fit each other");
	return res;
}

int gt_gguf_open(int fd, struct gt_tensors *ret, struct gt_llm *ret_llm,
		 struct gt_gguf_split *ret_split, struct gt_err *err)
{
	gt_auto(tensors) struct gt_tensors t = { 0 };
	struct gguf_facts facts = { .arch = "(none)" };
	gt_auto(free) struct reader *r = gt_alloc(sizeof(*r));
	struct gt_llm llm = { 0 };
	int res;

	r->fd = fd;
	r->align = 32;
	r->split.count = 1;
	r->facts = &facts;
	r->err = err;
	res = read_all(r, &t);
	gt_tensors_fini(&r->keys);
	if (res == 0 && r->split.no == 0)
		res = gt_gguf_llm(&facts, &llm, err);
	if (res < 0)
		return res;
	*ret = t;
	*ret_llm = llm;
	*ret_split = r->split;
	t = (struct gt_tensors){ 0 };
	return 0;
}
