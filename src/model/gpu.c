/* gpu.c - names of GPUs, and which GPU is what a function asked for. */
#include <gantry/model/gpu.h>

#include <ctype.h>
#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/units.h>

const char *gt_gpu_backend_name(enum gt_gpu_backend backend)
{
	static const char *const names[] = {
		[GT_GPU_SIM] = "sim", [GT_GPU_FAKE] = "fake", [GT_GPU_NVIDIA] = "nvidia"
	};

	return names[backend];
}

const char *gt_gpu_health_name(enum gt_gpu_health health)
{
	static const char *const names[] = { [GT_GPU_WELL] = "well",
					     [GT_GPU_DRAIN] = "drain",
					     [GT_GPU_RESET] = "reset",
					     [GT_GPU_LOST] = "lost" };

	return names[health];
}

enum gt_gpu_health gt_gpu_health_of_action(int action)
{
	static const enum gt_gpu_health rows[] = {
		[0] = GT_GPU_WELL,  [1] = GT_GPU_RESET, /* reset the GPU */
		[2] = GT_GPU_DRAIN,                     /* reboot */
		[3] = GT_GPU_WELL,  /* drain peer-to-peer: what is on one GPU goes on */
		[4] = GT_GPU_RESET, /* drain and reset */
		[5] = GT_GPU_WELL,  /* recover the IMEX domain: several nodes' business */
		[6] = GT_GPU_RESET, /* reset the bus */
		[7] = GT_GPU_DRAIN, /* reboot */
	};

	return action >= 0 && (size_t)action < GT_LEN(rows) ? rows[action] : GT_GPU_WELL;
}

const char *gt_gpu_driver_state_name(enum gt_gpu_driver_state state)
{
	static const char *const names[] = { [GT_GPU_DRIVER_NONE] = "none",
					     [GT_GPU_DRIVER_STARTING] = "starting",
					     [GT_GPU_DRIVER_READY] = "ready",
					     [GT_GPU_DRIVER_FAILED] = "failed" };

	return names[state];
}

const struct gt_gpu gt_gpu_unknown = {
	.minor = -1, .gi = -1, .ci = -1, .numa = -1, .link = -1, .bridge = -1
};

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

uint64_t gt_gpu_terms_sum(const struct gt_gpu_terms *t)
{
	return t->weights + t->cache + t->activations + t->overhead + t->measured;
}

static const struct {
	const char *name;
	uint32_t bits;
} kv_types[] = {
	[GT_KV_AUTO] = { "auto", 0 },  [GT_KV_FP32] = { "fp32", 32 }, [GT_KV_BF16] = { "bf16", 16 },
	[GT_KV_FP16] = { "fp16", 16 }, [GT_KV_FP8] = { "fp8", 8 },    [GT_KV_INT8] = { "int8", 8 },
	[GT_KV_INT4] = { "int4", 4 },
};
_Static_assert(GT_LEN(kv_types) == GT_KV_N, "every type has a row");

const char *gt_kv_type_name(enum gt_kv_type type)
{
	return kv_types[type].name;
}

uint32_t gt_kv_type_bits(enum gt_kv_type type)
{
	return kv_types[type].bits;
}

bool gt_gpu_uuid_ok(const char *uuid)
{
	return *uuid && strlen(uuid) <= GT_GPU_UUID_MAX && uuid[strspn(uuid, ALNUM "._-/")] == '\0';
}

bool gt_gpu_model_ok(const char *model)
{
	size_t len = strlen(model);

	if (len == 0 || len > GT_GPU_MODEL_MAX || model[0] == ' ' || model[len - 1] == ' ')
		return false;
	for (const char *p = model; *p; p++)
		if (*p < ' ' || *p >= 0x7f || strchr(",:\"\\", *p))
			return false;
	return strpbrk(model, ALNUM) != NULL;
}

const char *gt_gpu_group_read(const char *text, struct gt_gpu_group *ret)
{
	const char *colon = strchr(text, ':'), *end = colon ? colon : text + strlen(text);
	const char *x = memchr(text, 'x', (size_t)(end - text));

	*ret = (struct gt_gpu_group){ 0 };
	if (!x)
		return "there is no count";
	gt_auto(free) char *count = gt_strndup(text, (size_t)(x - text));
	gt_auto(free) char *size = gt_strndup(x + 1, (size_t)(end - x - 1));
	if (gt_parse_u64(count, GT_NODE_GPUS_MAX, &ret->count) < 0 || ret->count == 0)
		return "the count is none of 1 to 16";
	if (gt_parse_bytes(size, &ret->memory_bytes) < 0 || ret->memory_bytes < GT_MIB ||
	    ret->memory_bytes > GT_GPU_BYTES_MAX)
		return "the size is none of 1MiB to 1TiB";
	if (colon &&
	    (!gt_gpu_model_ok(colon + 1) || !gt_strcopy(ret->model, sizeof(ret->model), colon + 1)))
		return "this is no name of a model";
	return NULL;
}

/* The next word at or behind *at and its length; 0 = none is left. */
static size_t next_word(const char **at)
{
	size_t len = 0;

	while (**at && !isalnum((unsigned char)**at))
		++*at;
	while (isalnum((unsigned char)(*at)[len]))
		len++;
	return len;
}

static bool same_word(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (tolower((unsigned char)a[i]) != tolower((unsigned char)b[i]))
			return false;
	return true;
}

bool gt_gpu_model_match(const char *wanted, const char *model)
{
	size_t len, have;

	for (; (len = next_word(&wanted)) > 0; wanted += len) {
		do {
			have = next_word(&model);
			model += have;
		} while (have > 0 && (have != len || !same_word(model - have, wanted, len)));
		if (have == 0)
			return false;
	}
	return true;
}

int gt_gpu_preference(const struct gt_gpu_want *want, const char *model)
{
	for (size_t i = 0; i < want->n_models; i++)
		if (gt_gpu_model_match(want->models[i], model))
			return (int)i;
	return want->n_models == 0 ? 0 : -1;
}

uint32_t gt_gpu_want_milli(const struct gt_gpu_want *want)
{
	return want->share_milli ? want->share_milli : GT_GPU_WHOLE;
}

uint64_t gt_gpu_want_bytes(const struct gt_gpu_want *want, uint64_t gpu_bytes)
{
	if (want->memory_bytes)
		return want->memory_bytes;
	return gpu_bytes * gt_gpu_want_milli(want) / GT_GPU_WHOLE;
}
