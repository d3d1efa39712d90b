/* fuzz_gguf.c - GGUF files. What is refused says why; the tensors of what is accepted lie inside
 * the file, one behind the other, and what it says of the model can be reckoned with. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/gpu/vram.h>
#include <gantry/os/os.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void reckon(const struct gt_llm *llm, uint64_t bytes)
{
	const struct gt_model m = {
		.llm = *llm, .weight_bytes = bytes, .rank_bytes = bytes, .parallel = 1
	};
	struct gt_vram_params p = { .context = llm->context ? 0 : 4096, .sequences = 7 };
	struct gt_err err = { 0 };
	struct gt_vram v;

	if (gt_vram_estimate(&m, &p, &v, &err) < 0) {
		must(err.text[0]);
		return;
	}
	must(v.bytes == v.terms.weights + v.terms.cache + v.terms.activations + v.terms.overhead);
	must(v.bytes >= bytes && v.terms.cache >= v.sequence_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	gt_auto(fd) int fd = -EBADF;
	gt_auto(tensors) struct gt_tensors t = { 0 };
	struct gt_gguf_split split = { 0 };
	struct gt_llm llm = { 0 };
	struct gt_err err = { 0 };
	uint64_t end = 0;

	must(gt_os_memfd("fuzz", data, len, &fd, NULL) == 0);
	if (gt_gguf_open(fd, &t, &llm, &split, &err) < 0) {
		must(err.code > 0 && err.text[0] && !t.list);
		must(strcmp(err.slug, "bad_model") == 0 || strcmp(err.slug, "model_unknown") == 0);
		return 0;
	}
	for (size_t i = 0; i < t.n; i++) {
		must(t.list[i].begin >= end && t.list[i].begin + t.list[i].bytes <= len);
		end = t.list[i].begin + t.list[i].bytes;
	}
	must(split.no < split.count);
	if (split.no == 0)
		reckon(&llm, t.bytes);
	return 0;
}
