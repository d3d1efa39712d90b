/* safetensors.c - the header of a safetensors file, read token by token: a header may have 100 MB,
 * so no tree of it is built. Format: github.com/huggingface/safetensors, README.md. */
#include <gantry/wire/weights.h>

#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/units.h>

#include "doc.h"
#include "load.h"
#include "scan.h"
#include "utf8.h"

enum { SEEN_DTYPE = 1, SEEN_SHAPE = 2, SEEN_OFFSETS = 4, SEEN_ALL = 7 };

struct header {
	struct gt_scan scan;
	const char *begin;
	struct gt_err *err;
	char name[GT_TENSOR_NAME_MAX + 1];
	struct gt_tensor_text t;
	unsigned seen;
};

static int refuse(struct header *h, const char *what)
{
	return gt_err_set(h->err, EINVAL, "bad_model", "the header of safetensors, byte %zu: %s",
			  (size_t)(h->scan.p - h->begin), what);
}

static int refuse_tensor(struct header *h, const char *what)
{
	gt_err_set(h->err, EINVAL, "bad_model", "tensor \"%.200s\": %s", h->name, what);
	gt_err_printable(h->err);
	return -EINVAL;
}

/* The string of the token that was read last, without its quotes and escapes. */
static bool token_text(const struct header *h, char *out, size_t size)
{
	const char *tok = h->scan.tok + 1;
	size_t len = h->scan.len - 2;
	bool fits = false;

	if (!memchr(tok, '\\', len)) {
		if (len >= size)
			return false;
		memcpy(out, tok, len);
		out[len] = '\0';
		return true;
	}
	/* Escapes are rare in names: the parser knows them. */
	json_t *js = gt_json_load(h->scan.tok, h->scan.len, JSON_DECODE_ANY, NULL);

	if (js)
		fits = gt_strcopy(out, size, json_string_value(js));
	json_decref(js);
	return fits;
}

/* A whole number without sign, fraction and exponent. */
static bool token_u64(struct header *h, uint64_t *ret)
{
	char text[GT_U64_SIZE + 1];

	if (h->scan.len > GT_U64_SIZE)
		return false;
	memcpy(text, h->scan.tok, h->scan.len);
	text[h->scan.len] = '\0';
	return gt_parse_u64(text, UINT64_MAX, ret) == 0;
}

static int read_dtype(struct header *h)
{
	if (gt_scan_next(&h->scan) != GT_TOKEN_STRING)
		return refuse_tensor(h, "its dtype is no string");
	if (!token_text(h, h->t.dtype, sizeof(h->t.dtype)))
		return refuse_tensor(h, "its dtype is unknown");
	return 0;
}

/* Of an array of whole numbers the next, 1; 0 at its end. */
static int read_number(struct header *h, const char *member, uint64_t *ret)
{
	enum gt_token token = gt_scan_next(&h->scan);

	if (token == GT_TOKEN_CLOSE)
		return 0;
	if (token == GT_TOKEN_ATOM && token_u64(h, ret))
		return 1;
	gt_err_set(h->err, EINVAL, "bad_model", "tensor \"%.200s\": %s is no list of whole numbers",
		   h->name, member);
	gt_err_printable(h->err);
	return -EINVAL;
}

static int open_list(struct header *h, const char *what)
{
	if (gt_scan_next(&h->scan) != GT_TOKEN_OPEN || gt_scan_in_object(&h->scan))
		return refuse_tensor(h, what);
	return 0;
}

static int read_shape(struct header *h)
{
	uint64_t dim = 0;
	int r = open_list(h, "its shape is no list");

	h->t.elements = 1;
	while (r == 0 && (r = read_number(h, "shape", &dim)) == 1) {
		if (h->t.rank < GT_TENSOR_DIMS_KEPT)
			h->t.dims[h->t.rank] = dim;
		h->t.rank++;
		/* The reference multiplies in the same order, and refuses the same. */
		if (__builtin_mul_overflow(h->t.elements, dim, &h->t.elements))
			return refuse_tensor(h, "its shape is too large");
		r = 0;
	}
	return r;
}

static int read_offsets(struct header *h)
{
	uint64_t rest;
	int r = open_list(h, "its data_offsets are no list");

	if (r == 0)
		r = read_number(h, "data_offsets", &h->t.begin);
	if (r == 1)
		r = read_number(h, "data_offsets", &h->t.end);
	if (r == 1)
		r = read_number(h, "data_offsets", &rest) == 0 ? 2 : -EINVAL;
	return r == 2 ? 0 : refuse_tensor(h, "its data_offsets are not two whole numbers");
}

static int read_member(struct header *h)
{
	static const struct {
		const char *name;
		unsigned bit;
		int (*read)(struct header *h);
	} members[] = { { "dtype", SEEN_DTYPE, read_dtype },
			{ "shape", SEEN_SHAPE, read_shape },
			{ "data_offsets", SEEN_OFFSETS, read_offsets } };
	char key[32];

	if (!token_text(h, key, sizeof(key)))
		return refuse_tensor(h, "a member is neither dtype, shape nor data_offsets");
	for (size_t i = 0; i < GT_LEN(members); i++) {
		if (!gt_streq(key, members[i].name))
			continue;
		if (h->seen & members[i].bit)
			return refuse_tensor(h, "a member is there twice");
		h->seen |= members[i].bit;
		return members[i].read(h);
	}
	return refuse_tensor(h, "a member is neither dtype, shape nor data_offsets");
}

static int read_tensor(struct header *h)
{
	enum gt_token token = gt_scan_next(&h->scan);

	if (token != GT_TOKEN_OPEN || !gt_scan_in_object(&h->scan))
		return refuse_tensor(h, "it is no object");
	h->t = (struct gt_tensor_text){ .name = h->name };
	h->seen = 0;
	while ((token = gt_scan_next(&h->scan)) == GT_TOKEN_KEY) {
		int r = read_member(h);

		if (r < 0)
			return r;
	}
	if (token != GT_TOKEN_CLOSE)
		return refuse(h, "no JSON");
	if (h->seen != SEEN_ALL)
		return refuse_tensor(h, "it needs dtype, shape and data_offsets");
	return 0;
}

/* A map of strings that says nothing of tensors. */
static int skip_metadata(struct header *h)
{
	enum gt_token token = gt_scan_next(&h->scan);

	if (token != GT_TOKEN_OPEN || !gt_scan_in_object(&h->scan))
		return refuse(h, "__metadata__ is no object");
	while ((token = gt_scan_next(&h->scan)) == GT_TOKEN_KEY)
		if (gt_scan_next(&h->scan) != GT_TOKEN_STRING)
			return refuse(h, "__metadata__ has a value that is no string");
	return token == GT_TOKEN_CLOSE ? 0 : refuse(h, "no JSON");
}

static int read_entry(struct header *h, bool *metadata, gt_tensor_fn *fn, void *arg)
{
	int r;

	if (!token_text(h, h->name, sizeof(h->name)))
		return refuse(h, "a name is no text, or longer than 1023 bytes");
	if (gt_streq(h->name, "__metadata__")) {
		if (*metadata)
			return refuse(h, "__metadata__ is there twice");
		*metadata = true;
		return skip_metadata(h);
	}
	r = read_tensor(h);
	return r < 0 ? r : fn(&h->t, arg, h->err);
}

int gt_safetensors_read(const char *text, size_t len, gt_tensor_fn *fn, void *arg,
			struct gt_err *err)
{
	struct header h = { .begin = text, .err = err };
	enum gt_token token;
	bool metadata = false;

	gt_scan_begin(&h.scan, text, len);
	if (len == 0 || *text != '{')
		return refuse(&h, "it does not begin with {");
	if (!gt_utf8_ok(text, len))
		return refuse(&h, "it is no UTF-8");
	gt_scan_next(&h.scan); /* the { */
	while ((token = gt_scan_next(&h.scan)) == GT_TOKEN_KEY) {
		int r = read_entry(&h, &metadata, fn, arg);

		if (r < 0)
			return r;
	}
	if (token != GT_TOKEN_CLOSE || gt_scan_next(&h.scan) != GT_TOKEN_END)
		return refuse(&h, "no JSON");
	return 0;
}

/* ---- model.safetensors.index.json ----------------------------------------------------------- */

static int refuse_index(struct gt_err *err, const char *what)
{
	return gt_err_set(err, EINVAL, "bad_model", "model.safetensors.index.json: %s", what);
}

int gt_weight_map_read(const char *text, size_t len, gt_weight_fn *fn, void *arg,
		       struct gt_err *err)
{
	gt_auto(doc) json_t *js = NULL;
	const char *name;
	json_t *value;
	int r = gt_doc_parse(text, len, GT_INDEX_JSON_MAX, &js, err);

	if (r < 0) {
		if (err)
			gt_strcopy(err->slug, sizeof(err->slug), "bad_model");
		gt_err_wrap(err, "model.safetensors.index.json");
		return r;
	}
	json_t *map = json_object_get(js, "weight_map");

	if (!json_is_object(map))
		return refuse_index(err, "weight_map is no object");
	json_object_foreach(map, name, value)
	{
		const char *file = json_string_value(value);

		if (!file || !*file || strlen(file) != json_string_length(value) ||
		    strchr(file, '/') || file[0] == '.')
			return refuse_index(err, "weight_map has a value that names no file");
		if (strlen(name) > GT_TENSOR_NAME_MAX)
			return refuse_index(err, "a name is longer than 1023 bytes");
		r = fn(name, file, arg, err);
		if (r < 0)
			return r;
	}
	return 0;
}
