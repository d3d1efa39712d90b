/* fuzz_hook.c - the answer of a provider's hook: what is believed has the right form, and what is
 * not says why. The first byte says which question it answers. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include <gantry/wire/hook.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct gt_hook_answer a = { 0 };
	struct gt_err err = { 0 };
	enum gt_hook_verb verb;

	if (len == 0)
		return 0;
	verb = data[0] % GT_HOOK_VERBS;
	if (gt_hook_answer_read(verb, (const char *)data + 1, len - 1, &a, &err) < 0) {
		assert(err.text[0]);
		return 0;
	}
	assert(verb != GT_HOOK_CREATE || gt_host_id_ok(a.id));
	for (size_t i = 0; i < a.n_hosts; i++)
		assert(a.hosts[i].key[0] && gt_host_id_ok(a.hosts[i].id));
	gt_hook_answer_fini(&a);
	return 0;
}
