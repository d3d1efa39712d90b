/* shape.c - a want without what does not change its scores, in one form for equal ones. */
#include "sched_priv.h"

#include <string.h>

static int bad(struct gt_err *err, const char *what, unsigned long long n, unsigned long long max)
{
	return gt_err_set(err, EINVAL, "invalid_want", "%s: %llu is above %llu", what, n, max);
}

static int check(const struct gt_sched_want *w, struct gt_err *err)
{
	if (w->gpus > GT_SCHED_GPUS_MAX)
		return bad(err, "GPUs of one replica", w->gpus, GT_SCHED_GPUS_MAX);
	if (w->gpu_milli > GT_SCHED_GPU_MILLI)
		return bad(err, "thousandths of a GPU", w->gpu_milli, GT_SCHED_GPU_MILLI);
	if (w->gpu_bytes > GT_SCHED_GPU_BYTES_MAX)
		return bad(err, "bytes of a GPU", w->gpu_bytes, GT_SCHED_GPU_BYTES_MAX);
	if (w->cpu_milli >= UINT32_MAX)
		return bad(err, "cpu", w->cpu_milli, UINT32_MAX - 1);
	if (w->n_models > GT_SCHED_WANT_MODELS_MAX)
		return bad(err, "GPU models", w->n_models, GT_SCHED_WANT_MODELS_MAX);
	if (w->n_labels > GT_SCHED_WANT_LABELS_MAX)
		return bad(err, "node labels", w->n_labels, GT_SCHED_WANT_LABELS_MAX);
	if (w->n_hints > GT_SCHED_HINTS_MAX)
		return bad(err, "hints", w->n_hints, GT_SCHED_HINTS_MAX);
	for (size_t i = 0; i < w->n_models; i++)
		if (w->models[i] >= GT_SCHED_MODELS_MAX)
			return bad(err, "id of a GPU model", w->models[i], GT_SCHED_MODELS_MAX - 1);
	return 0;
}

static void models_set(const struct gt_sched_want *w, struct shape *sh)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n_models; i++) {
		uint64_t bit = 1ULL << w->models[i];

		if (!(sh->models & bit) && !w->models_equal && w->n_models > 1)
			sh->order[n++] = (uint8_t)(w->models[i] + 1);
		sh->models |= bit;
	}
}

static void labels_set(const struct gt_sched_want *w, struct shape *sh)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n_labels; i++) {
		uint32_t label = w->labels[i] + 1;
		size_t at = n;

		for (; at > 0 && sh->labels[at - 1] > label; at--)
			;
		if (at > 0 && sh->labels[at - 1] == label)
			continue;
		memmove(sh->labels + at + 1, sh->labels + at, (n - at) * sizeof(label));
		sh->labels[at] = label;
		n++;
	}
}

int gt_sched_shape(const struct gt_sched_want *w, struct shape *ret, struct gt_err *err)
{
	int r = check(w, err);

	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	ret->cpu = (uint32_t)w->cpu_milli;
	ret->exclusive = w->exclusive;
	ret->owner = w->exclusive ? w->owner : 0;
	if (w->gpus) {
		uint64_t mib = (w->gpu_bytes + GT_MIB - 1) / GT_MIB;

		ret->gpus = (uint8_t)w->gpus;
		ret->milli = (uint16_t)w->gpu_milli;
		if (w->gpu_milli == 0 && w->gpu_bytes == 0)
			ret->milli = GT_SCHED_GPU_MILLI;
		ret->mib = (uint32_t)GT_MIN(mib, code_mib(UINT32_MAX));
		models_set(w, ret);
	}
	if (w->n_labels)
		labels_set(w, ret);
	return 0;
}

/* Two multiplications a word, as in splitmix64. */
uint64_t gt_sched_hash(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t h = len * 0x9e3779b97f4a7c15ULL;

	for (; len >= 4; p += GT_MIN(len, 8), len -= GT_MIN(len, 8)) {
		uint64_t word = 0;

		memcpy(&word, p, len >= 8 ? 8 : 4);
		h = (h ^ word) * 0xbf58476d1ce4e5b9ULL;
		h ^= h >> 29;
	}
	h *= 0x94d049bb133111ebULL;
	return h ^ h >> 31;
}

bool gt_sched_need(const struct shape *sh, const struct kind *k, unsigned *milli, uint32_t *mib)
{
	*milli = sh->milli;
	*mib = sh->mib;
	if (sh->models && !(sh->models >> k->model & 1))
		return false;
	if (k->mib == 0) {
		*milli = sh->milli ? sh->milli : GT_SCHED_GPU_MILLI;
		*mib = 0;
		return true;
	}
	if (sh->mib > k->mib)
		return false;
	if (sh->milli == 0)
		*milli = (unsigned)(((uint64_t)sh->mib * GT_SCHED_GPU_MILLI + k->mib - 1) / k->mib);
	else if (sh->mib == 0)
		*mib = (uint32_t)(((uint64_t)sh->milli * k->mib + GT_SCHED_GPU_MILLI - 1) /
				  GT_SCHED_GPU_MILLI);
	return true;
}
