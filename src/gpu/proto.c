/* proto.c - the size of each packet. */
#include "proto.h"

bool gpud_packet_ok(const union gpud_packet *p, size_t len)
{
	static const size_t sizes[GPUD_WORD_N] = {
		[GPUD_HELLO] = sizeof(struct gpud_hello),
		[GPUD_ASK] = sizeof(struct gpud_ask),
		[GPUD_CLAIM] = sizeof(struct gpud_claim),
		[GPUD_DRIVER] = sizeof(struct gpud_driver),
		[GPUD_GPUS] = sizeof(struct gpud_gpus),
		[GPUD_SAMPLE] = sizeof(struct gpud_sample),
		[GPUD_INCIDENT] = sizeof(struct gpud_incident),
		[GPUD_ALIVE] = sizeof(struct gpud_alive),
		[GPUD_ANSWER] = sizeof(struct gpud_answer),
	};

	return len >= sizeof(p->word) && p->word < GPUD_WORD_N && sizes[p->word] == len;
}

const char *gt_gpu_op_name(enum gt_gpu_op_kind kind)
{
	static const char *const names[GT_GPU_OP_N] = {
		[GT_GPU_OP_STATE] = "get state",       [GT_GPU_OP_LOCK] = "lock",
		[GT_GPU_OP_CHECKPOINT] = "checkpoint", [GT_GPU_OP_RESTORE] = "restore",
		[GT_GPU_OP_UNLOCK] = "unlock",         [GT_GPU_OP_THREAD] = "get restore thread",
		[GT_GPU_OP_PROCESSES] = "processes",   [GT_GPU_OP_MEMORY] = "memory",
		[GT_GPU_OP_REREAD] = "reread",
	};

	return names[kind];
}
