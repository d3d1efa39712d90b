/* ledger.c - entries in no order: a node has few GPUs, and few replicas have any. */
#include <gantry/gpu/ledger.h>

#include <stdlib.h>
#include <string.h>

struct entry {
	char holder[GT_GPU_HOLDER_MAX + 1];
	struct gt_gpu_grant grant;
};

struct gt_gpu_ledger {
	struct entry *entries;
	size_t n, cap;
};

struct gt_gpu_ledger *gt_gpu_ledger_new(void)
{
	return gt_alloc(sizeof(struct gt_gpu_ledger));
}

void gt_gpu_ledger_free(struct gt_gpu_ledger *l)
{
	if (!l)
		return;
	free(l->entries);
	free(l);
}

static const struct gt_gpu *find(const struct gt_gpu *gpus, size_t n, const char *uuid)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(gpus[i].uuid, uuid) == 0)
			return &gpus[i];
	return NULL;
}

/* Whether there is room on `gpu` beside what others have of it. */
static int check_room(const struct gt_gpu_ledger *l, const struct gt_gpu *gpu,
		      const struct gt_gpu_grant *want, struct gt_err *err)
{
	uint64_t milli = 0, bytes = 0;
	const char *other = "";

	for (size_t i = 0; i < l->n; i++) {
		const struct entry *e = &l->entries[i];

		if (strcmp(e->grant.uuid, gpu->uuid) != 0)
			continue;
		milli += e->grant.milli;
		bytes += e->grant.memory_bytes;
		other = e->holder;
	}
	if (want->milli == 0 || want->milli > GT_GPU_WHOLE - GT_MIN(milli, GT_GPU_WHOLE))
		return gt_err_set(
			err, EBUSY, "gpu_conflict",
			"%u thousandths of GPU %s are asked for and %llu are taken (%s has "
			"some)",
			want->milli, gpu->uuid, (unsigned long long)milli,
			*other ? other : "nobody");
	if (bytes > gpu->memory_bytes || want->memory_bytes > gpu->memory_bytes - bytes)
		return gt_err_set(err, EBUSY, "gpu_conflict",
				  "%llu MiB of GPU %s are asked for and %llu of its %llu MiB are "
				  "taken",
				  (unsigned long long)(want->memory_bytes / GT_MIB), gpu->uuid,
				  (unsigned long long)(bytes / GT_MIB),
				  (unsigned long long)(gpu->memory_bytes / GT_MIB));
	return 0;
}

static void add(struct gt_gpu_ledger *l, const char *holder, const struct gt_gpu_grant *grant)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 16;
		l->entries = gt_grow(l->entries, l->cap, sizeof(*l->entries));
	}
	gt_strcopy(l->entries[l->n].holder, sizeof(l->entries->holder), holder);
	l->entries[l->n++].grant = *grant;
}

int gt_gpu_ledger_take(struct gt_gpu_ledger *l, const struct gt_gpu *gpus, size_t n_gpus,
		       const char *holder, const struct gt_gpu_grant *grants, size_t n,
		       struct gt_err *err)
{
	size_t before = l->n;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct gt_gpu *gpu = find(gpus, n_gpus, grants[i].uuid);

		if (!gpu)
			r = gt_err_set(err, ENOENT, "gpu_conflict", "this node has no GPU %s",
				       grants[i].uuid);
		else
			r = check_room(l, gpu, &grants[i], err);
		if (r == 0)
			add(l, holder, &grants[i]); /* seen by the next one: no GPU twice */
	}
	if (r < 0)
		l->n = before;
	return r;
}

void gt_gpu_ledger_keep(struct gt_gpu_ledger *l, const char *holder,
			const struct gt_gpu_grant *grants, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add(l, holder, &grants[i]);
}

void gt_gpu_ledger_give_back(struct gt_gpu_ledger *l, const char *holder)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->entries[i].holder, holder) != 0)
			l->entries[kept++] = l->entries[i];
	l->n = kept;
}
