/* fuzz_model_config.c - config.json of a model, and the index of its files. What is refused says
 * why; a model that is accepted can be reckoned with, at any context and split, without an
 * overflow. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/gpu/vram.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void reckon(const struct gt_llm *llm)
{
	static const uint64_t contexts[] = { 1, 4096, GT_LLM_SIZE_MAX };

	for (uint32_t parallel = 1; parallel <= GT_VRAM_PARALLEL_MAX; parallel *= 4) {
		struct gt_model m = { .llm = *llm, .rank_bytes = 1, .parallel = parallel };
		uint64_t last = 0;

		for (size_t i = 0; i < GT_LEN(contexts); i++) {
			struct gt_vram_params p = { .context = contexts[i], .sequences = 3 };
			struct gt_err err = { 0 };
			struct gt_vram v;

			if (gt_vram_estimate(&m, &p, &v, &err) < 0) {
				must(err.text[0]);
				continue;
			}
			must(v.bytes == gt_gpu_terms_sum(&v.terms) && v.bytes >= last);
			last = v.bytes;
		}
	}
}

static int on_weight(const char *tensor, const char *file, void *arg, struct gt_err *err)
{
	(void)arg, (void)err;
	must(strlen(tensor) <= GT_TENSOR_NAME_MAX && *file && !strchr(file, '/'));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct gt_err err = { 0 };
	struct gt_llm llm;

	if (gt_llm_config_read((const char *)data, len, &llm, &err) == 0)
		reckon(&llm);
	else
		must(err.code > 0 && err.text[0] &&
		     (strcmp(err.slug, "bad_model") == 0 ||
		      strcmp(err.slug, "model_unknown") == 0));
	gt_err_clear(&err);
	if (gt_weight_map_read((const char *)data, len, on_weight, NULL, &err) < 0)
		must(err.code > 0 && err.text[0] && strcmp(err.slug, "bad_model") == 0);
	return 0;
}
