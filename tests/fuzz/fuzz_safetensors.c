/* fuzz_safetensors.c - files of weights. What is refused says why; what is accepted has tensors
 * that cover the file behind its header, in order, with names that differ. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/gpu/tensors.h>
#include <gantry/os/os.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	gt_auto(fd) int fd = -EBADF;
	gt_auto(tensors) struct gt_tensors t = { 0 };
	struct gt_err err = { 0 };
	uint64_t header, sum = 0;

	must(gt_os_memfd("fuzz", data, len, &fd, NULL) == 0);
	if (gt_safetensors_open(fd, &t, &err) < 0) {
		must(err.code > 0 && err.text[0] && strcmp(err.slug, "bad_model") == 0 && !t.list);
		return 0;
	}
	memcpy(&header, data, sizeof(header));
	must(header <= GT_SAFETENSORS_HEADER_MAX && t.bytes == len - sizeof(header) - header);
	for (size_t i = 0; i < t.n; i++) {
		must(t.list[i].begin == sizeof(header) + header + sum);
		sum += t.list[i].bytes;
		for (size_t k = 0; k < i && t.n < 64; k++)
			must(strcmp(gt_tensor_name(&t, i), gt_tensor_name(&t, k)) != 0);
	}
	must(sum == t.bytes);
	return 0;
}
