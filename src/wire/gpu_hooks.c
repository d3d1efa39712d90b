/* gpu_hooks.c - reading, writing and comparing the members about GPUs and labels. */
#include "gpu_hooks.h"

#include <string.h>
#include <strings.h>

#include <gantry/base/units.h>
#include <gantry/model/spec.h>

#define SHORT_WANTED "a string such as \"H100:2\" or \"any:1\"; more is said in resources.gpu"

/* ---- resources.gpu -------------------------------------------------------------------------- */

static int gpu_refuse_both(const struct gt_at *at, struct gt_err *err)
{
	return gt_refuse_at(err, at, "both gpu and resources.gpu are there; keep one");
}

/* What looks right and is not what the table takes. */
static int gpu_refuse_whole(const json_t *js, const struct gt_at *at, struct gt_err *err)
{
	const json_t *share = json_object_get(js, "share");
	struct gt_at share_at = { .up = at, .name = "share" };
	struct gt_at mode_at = { .up = at, .name = "mode" };

	if (json_object_get(js, "mode"))
		return gt_refuse_at(
			err, &mode_at,
			"not supported by this version: GPUs that are shared are shared "
			"by turns, and not by NVIDIA's MPS; leave the member out");
	if (json_is_number(share) && json_number_value(share) == 1)
		return gt_refuse_at(err, &share_at, "1 is a whole GPU; leave the member out");
	return 0;
}

static int gpu_read(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		    struct gt_err *err)
{
	struct gt_spec *spec = base;
	int r;

	if (spec->resources.gpu.count)
		return gpu_refuse_both(at, err);
	if (!json_is_object(js))
		return gt_field_refuse_type(at, js, "an object such as {\"count\": 1}", err);
	r = gpu_refuse_whole(js, at, err);
	if (r < 0)
		return r;
	spec->resources.gpu.count = 1;
	return gt_fields_read(f->sub, js, at, base, err);
}

static void gpu_write(struct gt_json *j, const struct gt_field *f, const void *base)
{
	const struct gt_spec *spec = base;

	if (spec->resources.gpu.count)
		gt_fields_write(f->sub, j, f->name, base, NULL, false);
}

static bool gpu_equal(const struct gt_field *f, const void *a, const void *b)
{
	return gt_fields_equal(f->sub, a, b);
}

const struct gt_field_hooks gt_gpu_hooks = { gpu_read, gpu_write, gpu_equal };

/* ---- resources.gpu.memory: a size, or "auto" ------------------------------------------------ */

static int memory_read(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		       void *base, struct gt_err *err)
{
	struct gt_gpu_want *want = &((struct gt_spec *)base)->resources.gpu;

	if (!json_is_string(js) || strcmp(json_string_value(js), "auto") != 0)
		return gt_field_bytes(f, js, at, &want->memory_bytes, err);
	want->memory_auto = true;
	return 0;
}

static void memory_write(struct gt_json *j, const struct gt_field *f, const void *base)
{
	const struct gt_gpu_want *want = &((const struct gt_spec *)base)->resources.gpu;
	char text[32];

	gt_format_bytes(want->memory_bytes, text, sizeof(text));
	if (want->memory_auto || want->memory_bytes)
		gt_json_str(j, f->name, want->memory_auto ? "auto" : text);
}

static bool memory_equal(const struct gt_field *f, const void *a, const void *b)
{
	const struct gt_gpu_want *x = &((const struct gt_spec *)a)->resources.gpu;
	const struct gt_gpu_want *y = &((const struct gt_spec *)b)->resources.gpu;

	(void)f;
	return x->memory_auto == y->memory_auto && x->memory_bytes == y->memory_bytes;
}

const struct gt_field_hooks gt_gpu_memory_hooks = { memory_read, memory_write, memory_equal };

/* ---- gpu: the same for who writes by hand --------------------------------------------------- */

static int short_read(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		      void *base, struct gt_err *err)
{
	struct gt_gpu_want *want = &((struct gt_spec *)base)->resources.gpu;
	uint64_t count = 1;
	const char *text = NULL;

	(void)f;
	if (want->count)
		return gpu_refuse_both(at, err);
	if (!json_is_string(js))
		return gt_field_refuse_type(at, js, SHORT_WANTED, err);
	int r = gt_field_text(js, at, GT_GPU_MODEL_MAX + 8, &text, err);

	if (r < 0)
		return r;
	size_t len = strcspn(text, ":");
	gt_auto(free) char *model = gt_strndup(text, len);

	if ((text[len] && gt_parse_u64(text + len + 1, GT_GPUS_MAX, &count) < 0) || count == 0 ||
	    !gt_gpu_model_ok(model))
		return gt_refuse_at(err, at,
				    "\"%.100s\" names no GPUs; write a model, or \"any\", and how "
				    "many, 1 to %d: \"H100:2\"",
				    text, GT_GPUS_MAX);
	want->count = (uint32_t)count;
	if (strcasecmp(model, "any") == 0)
		return 0;
	want->models = gt_alloc_array(2, sizeof(*want->models));
	want->models[want->n_models++] = gt_steal(&model);
	return 0;
}

static void short_write(struct gt_json *j, const struct gt_field *f, const void *base)
{
	(void)j, (void)f, (void)base; /* resources.gpu is its canonical form */
}

static bool short_equal(const struct gt_field *f, const void *a, const void *b)
{
	(void)f, (void)a, (void)b;
	return true;
}

const struct gt_field_hooks gt_gpu_short_hooks = { short_read, short_write, short_equal };

/* ---- labels --------------------------------------------------------------------------------- */

static struct gt_label *labels_at(const struct gt_field *f, const void *base, size_t *n)
{
	*n = *(const size_t *)(const void *)((const char *)base + f->count_offset);
	return *(struct gt_label *const *)(const void *)((const char *)base + f->offset);
}

static int labels_read(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		       void *base, struct gt_err *err)
{
	size_t *n = (size_t *)(void *)((char *)base + f->count_offset), size = json_object_size(js);
	struct gt_label *labels;
	const char *key;
	json_t *value;

	if (!json_is_object(js))
		return gt_field_refuse_type(at, js, "an object such as {\"zone\": \"a\"}", err);
	if (size > f->max)
		return gt_refuse_at(err, at, "%zu labels are too many; the limit is %u", size,
				    (unsigned)f->max);
	labels = size ? gt_alloc_array(size, sizeof(*labels)) : NULL;
	*(struct gt_label **)(void *)((char *)base + f->offset) = labels;
	json_object_foreach((json_t *)js, key, value)
	{
		struct gt_at here = { .up = at, .name = key };
		const char *text = NULL;
		int r = gt_field_text(value, &here, GT_LABEL_MAX, &text, err);

		if (r < 0)
			return r;
		if (!gt_label_key_ok(key) || !gt_label_value_ok(text))
			return gt_refuse_at(err, &here,
					    "keys and values of labels have letters, digits and "
					    "._-/, %d at most",
					    GT_LABEL_MAX);
		gt_strcopy(labels[*n].key, sizeof(labels->key), key);
		gt_strcopy(labels[*n].value, sizeof(labels->value), text);
		++*n;
	}
	gt_labels_sort(labels, *n);
	return 0;
}

static void labels_write(struct gt_json *j, const struct gt_field *f, const void *base)
{
	size_t n;
	const struct gt_label *labels = labels_at(f, base, &n);

	gt_json_object(j, f->name);
	for (size_t i = 0; i < n; i++)
		gt_json_str(j, labels[i].key, labels[i].value);
	gt_json_close(j, '}');
}

static bool labels_equal(const struct gt_field *f, const void *a, const void *b)
{
	size_t n, n_other;
	const struct gt_label *x = labels_at(f, a, &n), *y = labels_at(f, b, &n_other);

	if (n != n_other)
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(x[i].key, y[i].key) != 0 || strcmp(x[i].value, y[i].value) != 0)
			return false;
	return true;
}

const struct gt_field_hooks gt_labels_hooks = { labels_read, labels_write, labels_equal };
