/* model.c - the opened files of a model, read: what it is, and how many bytes its weights have. */
#include <gantry/gpu/model_files.h>

#include <string.h>

#include "tensors.h"

#define INDEX_TENSORS GT_TENSORS_MAX

/* Of the index: which file has which tensor. */
struct entry {
	char *name;
	uint32_t file; /* of gt_model_files.weights */
	bool found;
};

struct index {
	const struct gt_model_files *files;
	struct entry *list;
	size_t n;
	bool used[GT_MODEL_FILES_MAX]; /* those of the files that it names */
};

static void index_fini(struct index *x)
{
	for (size_t i = 0; i < x->n; i++)
		free(x->list[i].name);
	free(x->list);
}

static inline void gt_cleanup_index(struct index *x)
{
	index_fini(x);
}

/* ---- small files ---- */

static int read_text(int fd, size_t max, struct gt_buf *ret, struct gt_err *err)
{
	uint64_t size;
	int r = gt_tensors_file_size(fd, &size, err);
	char *text;

	if (r < 0)
		return r;
	if (size > max)
		return gt_err_set(err, EMSGSIZE, "bad_model", "it has %llu bytes; the limit is %zu",
				  (unsigned long long)size, max);
	gt_buf_init(ret, max + 1);
	text = gt_buf_reserve(ret, size + 1);
	if (!text)
		return gt_err_set(err, ENOMEM, "bad_model", "it does not fit into memory");
	r = gt_tensors_pread(fd, text, size, 0, err);
	ret->len = size;
	return r;
}

static int read_config(int fd, struct gt_llm *ret, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	int r;

	if (fd < 0)
		return gt_err_set(
			err, ENOENT, "bad_model",
			"there is no config.json beside the weights, which says what they "
			"are of");
	r = read_text(fd, GT_CONFIG_JSON_MAX, &text, err);
	return r < 0 ? gt_err_wrap(err, "config.json")
		     : gt_llm_config_read(text.data ? text.data : "", text.len, ret, err);
}

/* ---- the index ---- */

static int by_file(const void *a, const void *b)
{
	return strcmp(((const struct gt_model_file *)a)->name,
		      ((const struct gt_model_file *)b)->name);
}

static int index_add(const char *tensor, const char *file, void *arg, struct gt_err *err)
{
	struct index *x = arg;
	const struct gt_model_file key = { .name = (char *)file }, *f;

	f = bsearch(&key, x->files->weights, x->files->n, sizeof(*f), by_file);
	if (!f) {
		gt_err_set(err, ENOENT, "bad_model",
			   "model.safetensors.index.json names %.200s, which is not there", file);
		gt_err_printable(err);
		return -ENOENT;
	}
	if (x->n == INDEX_TENSORS)
		return gt_err_set(err, E2BIG, "bad_model", "the index has more than %d tensors",
				  INDEX_TENSORS);
	if ((x->n & (x->n - 1)) == 0) /* a power of two, or nothing: full */
		x->list = gt_grow(x->list, x->n ? x->n * 2 : 1, sizeof(*x->list));
	uint32_t i = (uint32_t)(f - x->files->weights);

	x->used[i] = true;
	x->list[x->n++] = (struct entry){ gt_strdup(tensor), i, false };
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int read_index(struct index *x, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	int r = read_text(x->files->index_fd, GT_INDEX_JSON_MAX, &text, err);

	if (r < 0)
		return gt_err_wrap(err, "model.safetensors.index.json");
	r = gt_weight_map_read(text.data ? text.data : "", text.len, index_add, x, err);
	if (r == 0 && x->n == 0)
		return gt_err_set(err, EINVAL, "bad_model",
				  "model.safetensors.index.json has no tensors");
	if (r == 0)
		qsort(x->list, x->n, sizeof(*x->list), by_text);
	return r;
}

/* Both say the same: each tensor is where the index has it, and none is elsewhere too. */
static int index_tick(struct index *x, const char *name, uint32_t file, struct gt_err *err)
{
	struct entry key = { .name = (char *)name }, *e;

	e = bsearch(&key, x->list, x->n, sizeof(*x->list), by_text);
	if (!e || e->file != file)
		return gt_tensor_refuse(err, name,
					"model.safetensors.index.json does not have it there");
	e->found = true;
	return 0;
}

static int index_check(const struct index *x, struct gt_err *err)
{
	for (size_t i = 0; i < x->n; i++)
		if (!x->list[i].found)
			return gt_tensor_refuse(err, x->list[i].name,
						"the index has it, its file has not");
	return 0;
}

/* ---- weights ---- */

static bool is_copy(const struct gt_model *m, const char *name)
{
	return m->llm.tied && gt_streq(name, "lm_head.weight");
}

static void count(struct gt_model *m, const struct gt_tensors *t)
{
	m->files++;
	for (size_t i = 0; i < t->n; i++) {
		const char *name = gt_tensor_name(t, i);

		if (is_copy(m, name))
			continue;
		m->tensors++;
		m->weight_bytes += t->list[i].bytes;
		m->rank_bytes += gt_vram_rank_bytes(&m->llm, name, &t->list[i], m->parallel);
	}
}

static int read_safetensors(const struct gt_model_files *f, uint32_t i, struct index *x,
			    struct gt_model *m, struct gt_err *err)
{
	gt_auto(tensors) struct gt_tensors t = { 0 };
	int r = gt_safetensors_open(f->weights[i].fd, &t, err);

	if (r < 0)
		return gt_err_wrap(err, "%s", f->weights[i].name);
	for (size_t k = 0; x->n && k < t.n; k++) {
		r = index_tick(x, gt_tensor_name(&t, k), i, err);
		if (r < 0)
			return gt_err_wrap(err, "%s", f->weights[i].name);
	}
	count(m, &t);
	return 0;
}

static int read_all_safetensors(const struct gt_model_files *f, struct gt_model *m,
				struct gt_err *err)
{
	gt_auto(index) struct index x = { .files = f };
	int r = read_config(f->config_fd, &m->llm, err);

	if (r == 0 && f->index_fd >= 0)
		r = read_index(&x, err);
	if (r == 0 && f->n > 1 && x.n == 0)
		return gt_err_set(err, EINVAL, "bad_model",
				  "%zu files of weights and no model.safetensors.index.json that "
				  "says which of them are the model's; name the one file",
				  f->n);
	for (uint32_t i = 0; r == 0 && i < f->n; i++)
		if (x.n == 0 || x.used[i])
			r = read_safetensors(f, i, &x, m, err);
	return r < 0 ? r : index_check(&x, err);
}

static int read_all_gguf(const struct gt_model_files *f, struct gt_model *m, struct gt_err *err)
{
	uint32_t parts = 1;

	if (m->parallel > 1)
		return gt_err_set(
			err, EINVAL, "model_unknown",
			"how the engines split GGUF over GPUs is not known; say what each "
			"needs");
	for (uint32_t i = 0; i < f->n; i++) {
		gt_auto(tensors) struct gt_tensors t = { 0 };
		struct gt_gguf_split split = { 0 };
		struct gt_llm llm;
		int r = gt_gguf_open(f->weights[i].fd, &t, &llm, &split, err);

		if (r < 0)
			return gt_err_wrap(err, "%s", f->weights[i].name);
		if (i == 0)
			parts = split.count;
		if (split.no != i || split.count != parts || parts != f->n)
			return gt_err_set(err, EINVAL, "bad_model",
					  "%s is part %u of %u, and there are %zu files; name the "
					  "one file, or the first part, with all parts beside it",
					  f->weights[i].name, split.no + 1, split.count, f->n);
		if (i == 0)
			m->llm = llm;
		count(m, &t);
	}
	return 0;
}

int gt_model_read(const struct gt_model_files *f, uint32_t parallel, struct gt_model *ret,
		  struct gt_err *err)
{
	struct gt_model m = { .format = f->gguf ? "GGUF" : "safetensors", .parallel = parallel };
	int r = f->gguf ? read_all_gguf(f, &m, err) : read_all_safetensors(f, &m, err);

	if (r == 0)
		*ret = m;
	return r;
}
