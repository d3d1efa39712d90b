/* replica_gpu.c - a replica's GPUs: taken from the node's book before anything is started, told to
 * the program, given back when it has ended. Control chose them; the book is the node's own, so
 * that no mistake of anybody gives one GPU to two. */
#include <stdlib.h>
#include <string.h>

#include "agent_impl.h"

void gt_replica_gpus_set(struct replica *r, const struct gt_gpu_grant *gpus, size_t n)
{
	r->gpus = n ? gt_alloc_array(n, sizeof(*gpus)) : NULL;
	r->gpu_use = n ? gt_alloc_array(n, sizeof(*r->gpu_use)) : NULL;
	r->n_gpus = n;
	if (n)
		memcpy(r->gpus, gpus, n * sizeof(*gpus));
}

/* Of the GPU on which it is least, in thousandths. Rounded down, so that shares never promise more
 * than there is; but a memory that was computed is what the program needs: less would not do. */
static unsigned fraction(const struct replica *r)
{
	bool computed = gt_gpu_terms_sum(&r->spec->resources.gpu.estimate.terms) > 0;
	uint64_t least = GT_GPU_FRACTION_MAX;

	for (size_t i = 0; i < r->n_gpus; i++) {
		const struct gt_gpu *gpu = gt_gpus_find(r->agent->gpus, r->gpus[i].uuid);

		if (gpu && gpu->memory_bytes > 0)
			least = GT_MIN(least, (r->gpus[i].memory_bytes * 1000 +
					       (computed ? gpu->memory_bytes - 1 : 0)) /
						      gpu->memory_bytes);
	}
	return (unsigned)least;
}

static char *replaced(const char *word, const char *what, const char *with)
{
	gt_auto(buf) struct gt_buf out = { 0 };
	const char *at;

	gt_buf_init(&out, 0);
	for (; (at = strstr(word, what)); word = at + strlen(what)) {
		gt_buf_add(&out, word, (size_t)(at - word));
		gt_buf_adds(&out, with);
	}
	gt_buf_adds(&out, word);
	return gt_buf_steal(&out);
}

/* Each replica has read a specification of its own. */
static void fill_command(struct replica *r)
{
	struct gt_spec *spec = r->spec;
	char text[16];

	snprintf(text, sizeof(text), "0.%03u", fraction(r));
	for (size_t i = 0; i < spec->n_command; i++) {
		char *word = spec->command[i];

		if (!strstr(word, GT_GPU_FRACTION))
			continue;
		spec->command[i] = replaced(word, GT_GPU_FRACTION, text);
		free(word);
	}
}

/* An order that gives less than its specification asks for comes from a control that does not know
 * of GPUs. */
static int check_count(const struct replica *r, struct gt_err *err)
{
	uint32_t want = r->spec->resources.gpu.count;

	if (r->n_gpus != want)
		return gt_err_set(err, EINVAL, "gpu_conflict",
				  "the function asks for %u GPUs and was given %zu", want,
				  r->n_gpus);
	return 0;
}

int gt_replica_gpus_again(struct replica *r, struct gt_err *err)
{
	const struct gt_gpu *gpus;
	size_t n = gt_gpus_list(r->agent->gpus, &gpus);

	return gt_gpu_ledger_take(r->agent->ledger, gpus, n, r->id, r->gpus, r->n_gpus, err);
}

int gt_replica_gpus_take(struct replica *r, struct gt_err *err)
{
	int res = check_count(r, err);

	if (res == 0)
		res = gt_replica_gpus_again(r, err);
	if (res == 0 && r->n_gpus > 0)
		fill_command(r);
	return res;
}

int gt_replica_gpus_keep(struct replica *r, struct gt_err *err)
{
	if (gt_gpus_known(r->agent->gpus))
		return gt_replica_gpus_take(r, err);
	gt_gpu_ledger_keep(r->agent->ledger, r->id, r->gpus, r->n_gpus);
	return 0;
}

void gt_replica_gpus_return(struct replica *r)
{
	if (r->n_gpus == 0)
		return;
	gt_agent_gpus_ended(r);
	gt_gpu_ledger_give_back(r->agent->ledger, r->id);
}

static char *uuids(const struct replica *r)
{
	gt_auto(buf) struct gt_buf out = { 0 };

	gt_buf_init(&out, 0);
	for (size_t i = 0; i < r->n_gpus; i++)
		gt_buf_addf(&out, "%s%s", i ? "," : "", r->gpus[i].uuid);
	return gt_buf_steal(&out);
}

size_t gt_replica_gpus_env(const struct replica *r, char *ret[GT_CONTAINER_ENV_MAX])
{
	const struct gt_gpu *first;
	uint64_t bytes = UINT64_MAX;
	size_t n = 0;

	if (r->n_gpus == 0)
		return 0;
	gt_auto(free) char *list = uuids(r);

	first = gt_gpus_find(r->agent->gpus, r->gpus[0].uuid);
	for (size_t i = 0; i < r->n_gpus; i++)
		bytes = GT_MIN(bytes, r->gpus[i].memory_bytes);
	ret[n++] = gt_asprintf("GANTRY_GPU_UUIDS=%s", list);
	ret[n++] = gt_asprintf("GANTRY_GPU_COUNT=%zu", r->n_gpus);
	ret[n++] = gt_asprintf("GANTRY_GPU_MEMORY_BYTES=%llu", (unsigned long long)bytes);
	ret[n++] = gt_asprintf("GANTRY_GPU_MEMORY_FRACTION=0.%03u", fraction(r));
	if (!first) /* it fell off since it was given */
		return n;
	ret[n++] = gt_asprintf("GANTRY_GPU_BACKEND=%s", gt_gpu_backend_name(first->backend));
	return n;
}
