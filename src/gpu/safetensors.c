/* safetensors.c - which bytes of a safetensors file are which tensor's. The JSON of the header is
 * read in wire; that its offsets make sense, and cover the file, is checked here. */
#include <endian.h>
#include <string.h>

#include "tensors.h"

unsigned gt_safetensors_bits(const char *dtype)
{
	/* In the order of the reference's enum. */
	static const struct {
		const char *name;
		unsigned bits;
	} types[] = {
		{ "BOOL", 8 },    { "F4", 4 },          { "F6_E2M3", 6 },     { "F6_E3M2", 6 },
		{ "U8", 8 },      { "I8", 8 },          { "F8_E5M2", 8 },     { "F8_E4M3", 8 },
		{ "F8_E8M0", 8 }, { "F8_E4M3FNUZ", 8 }, { "F8_E5M2FNUZ", 8 }, { "I16", 16 },
		{ "U16", 16 },    { "F16", 16 },        { "BF16", 16 },       { "I32", 32 },
		{ "U32", 32 },    { "F32", 32 },        { "C64", 64 },        { "F64", 64 },
		{ "I64", 64 },    { "U64", 64 },
	};

	for (size_t i = 0; i < GT_LEN(types); i++)
		if (strcmp(types[i].name, dtype) == 0)
			return types[i].bits;
	return 0;
}

static int add(const struct gt_tensor_text *t, void *arg, struct gt_err *err)
{
	struct gt_tensors *list = arg;
	unsigned bits = gt_safetensors_bits(t->dtype);
	struct gt_tensor one = { .rank = t->rank, .begin = t->begin };
	uint64_t size;

	if (bits == 0)
		return gt_tensor_refuse(err, t->name, "its dtype is unknown");
	if (__builtin_mul_overflow(t->elements, bits, &size))
		return gt_tensor_refuse(err, t->name, "its shape is too large");
	if (size % 8 != 0)
		return gt_tensor_refuse(err, t->name, "its elements do not fill whole bytes");
	if (t->end < t->begin || t->end - t->begin != size / 8)
		return gt_tensor_refuse(err, t->name,
					"its data_offsets do not fit its shape and dtype");
	one.bytes = size / 8;
	memcpy(one.dims, t->dims, sizeof(one.dims));
	return gt_tensors_add(list, t->name, &one, err);
}

static int by_place(const void *a, const void *b)
{
	const struct gt_tensor *x = a, *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* those of no bytes first */
}

/* Each begins where the one before ends, and the last ends with the file. */
static int check_places(struct gt_tensors *t, uint64_t data_at, uint64_t data_bytes,
			struct gt_err *err)
{
	uint64_t at = 0;

	if (t->n)
		qsort(t->list, t->n, sizeof(*t->list), by_place);
	for (size_t i = 0; i < t->n; i++) {
		struct gt_tensor *one = &t->list[i];

		if (one->begin != at)
			return gt_tensor_refuse(err, gt_tensor_name(t, i),
						one->begin < at
							? "its bytes are another tensor's too"
							: "bytes before it are no tensor's");
		if (one->bytes > data_bytes - at)
			return gt_tensor_refuse(err, gt_tensor_name(t, i),
						"the file ends before its last byte");
		at += one->bytes;
		one->begin += data_at;
	}
	if (at != data_bytes)
		return gt_err_set(err, EINVAL, "bad_model",
				  "the last %llu bytes of the file are no tensor's",
				  (unsigned long long)(data_bytes - at));
	t->bytes = at;
	return 0;
}

static int read_header(int fd, struct gt_buf *ret, uint64_t *ret_size, struct gt_err *err)
{
	uint64_t len;
	char *text;
	int r = gt_tensors_file_size(fd, ret_size, err);

	if (r == 0)
		r = gt_tensors_pread(fd, &len, sizeof(len), 0, err);
	if (r < 0)
		return r;
	len = le64toh(len);
	if (len > GT_SAFETENSORS_HEADER_MAX)
		return gt_err_set(err, EINVAL, "bad_model",
				  "a header of %llu bytes; the format's limit is %d",
				  (unsigned long long)len, GT_SAFETENSORS_HEADER_MAX);
	if (len > *ret_size - sizeof(len))
		return gt_err_set(err, EINVAL, "bad_model", "the file ends within its header");
	gt_buf_init(ret, GT_SAFETENSORS_HEADER_MAX + 1);
	text = gt_buf_reserve(ret, len + 1);
	if (!text)
		return gt_err_set(err, ENOMEM, "bad_model", "its header does not fit into memory");
	r = gt_tensors_pread(fd, text, len, sizeof(len), err);
	ret->len = len;
	return r;
}

int gt_safetensors_open(int fd, struct gt_tensors *ret, struct gt_err *err)
{
	gt_auto(tensors) struct gt_tensors t = { 0 };
	gt_auto(buf) struct gt_buf header = { 0 };
	uint64_t size = 0;
	int r = read_header(fd, &header, &size, err);

	if (r == 0)
		r = gt_safetensors_read(header.data, header.len, add, &t, err);
	if (r == 0)
		r = gt_tensors_check_names(&t, err);
	if (r == 0)
		r = check_places(&t, sizeof(uint64_t) + header.len,
				 size - sizeof(uint64_t) - header.len, err);
	if (r < 0)
		return r;
	*ret = t;
	t = (struct gt_tensors){ 0 };
	return 0;
}
