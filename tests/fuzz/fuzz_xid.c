/* fuzz_xid.c - a line of the kernel's log: what is understood names a GPU and a code, whatever
 * stands around it. */
#include <assert.h>
#include <string.h>

#include "../../src/gpu/xid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct gt_gpu_incident in;
	const char *words = NULL;
	int32_t pid = -1;

	if (!gpu_xid_parse((const char *)data, len, &in, &pid))
		return 0;
	assert(in.xid > 0 && strlen(in.pci) == 12 && pid >= 0);
	assert(gpu_xid_class(in.xid, &words) < GPU_XID_CLASS_N && words[0]);
	return 0;
}
