/* weights.c - see model/weights.h. */
#include <gantry/model/spec.h>
#include <gantry/model/weights.h>

#include <stdio.h>

static uint64_t hash_text(uint64_t hash, const char *text)
{
	do {
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3ull;
	} while (*text++);
	return hash;
}

void gt_weights_key(const struct gt_spec *spec, char ret[GT_WEIGHTS_KEY_SIZE])
{
	uint64_t hash = 0xcbf29ce484222325ull;

	ret[0] = '\0';
	for (size_t i = 0; i < spec->weights.n_paths; i++) {
		const char *root, *rest;

		gt_spec_weights_at(spec, i, &root, &rest);
		hash = hash_text(hash_text(hash, root), rest);
	}
	if (spec->weights.n_paths > 0)
		snprintf(ret, GT_WEIGHTS_KEY_SIZE, "%016llx", (unsigned long long)hash);
}

const char *gt_weights_pages_name(enum gt_weights_pages p)
{
	static const char *const names[] = {
		[GT_PAGES_UNKNOWN] = "unknown", [GT_PAGES_LARGE] = "2MiB", [GT_PAGES_SMALL] = "4KiB"
	};

	return (unsigned)p < GT_PAGES_N ? names[p] : "unknown";
}
