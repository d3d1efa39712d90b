/* proto.h - what this process and gpud tell each other: one struct a packet of SOCK_SEQPACKET, each
 * beginning with its word. Both ends are one program, so structs go over as they are; a packet of
 * another size ends the conversation.
 *
 *	-> HELLO, then ASK (answered by ANSWER with the same id), CLAIM
 *	<- DRIVER, GPUS, SAMPLE, INCIDENT, ALIVE by itself
 */
#ifndef GPU_PROTO_H
#define GPU_PROTO_H

#include <gantry/gpu/helper.h>

#define GPUD_FD       3
#define GPUD_CONFIG   1024 /* bytes of "gpus = ..." and of a path */
#define GPUD_ALIVE_MS 500
#define GPUD_CLAIMS   1024

enum gpud_word {
	GPUD_HELLO = 1,
	GPUD_ASK,
	GPUD_CLAIM,
	GPUD_DRIVER,
	GPUD_GPUS,
	GPUD_SAMPLE,
	GPUD_INCIDENT,
	GPUD_ALIVE,
	GPUD_ANSWER,
	GPUD_WORD_N
};

struct gpud_hello {
	uint32_t word;
	uint64_t sample_ms;
	char gpus[GPUD_CONFIG], node[GT_NAME_MAX + 1], driver_root[GPUD_CONFIG];
};

struct gpud_ask {
	uint32_t word, id;
	struct gt_gpu_request request;
};

struct gpud_answer {
	uint32_t word, id;
	int32_t code; /* positive errno; 0 = done */
	char slug[40], text[GT_GPU_TEXT_MAX + 1];
	struct gt_gpu_reply reply;
};

/* A process's memory of simulated GPUs, whole: it replaces what was claimed. */
struct gpud_claim {
	uint32_t word, n; /* n 0: no more */
	int32_t pid;
	uint32_t state; /* enum gt_gpu_process_state, as last told to the client */
	struct {
		char uuid[GT_GPU_UUID_MAX + 1];
		uint64_t bytes;
	} of[GT_NODE_GPUS_MAX];
};

struct gpud_driver {
	uint32_t word;
	struct gt_gpu_driver driver;
};

struct gpud_gpus {
	uint32_t word, n;
	struct gt_gpu gpus[GT_NODE_GPUS_MAX];
};

struct gpud_sample {
	uint32_t word, pad;
	struct gt_gpu_sample sample;
};

struct gpud_incident {
	uint32_t word, pad;
	struct gt_gpu_incident incident;
};

/* Every half second. The longest that a call of the driver has been taking, and which one. */
struct gpud_alive {
	uint32_t word, pad;
	uint64_t call_ms; /* 0 = none is going on */
	char call[48];
};

union gpud_packet {
	uint32_t word;
	struct gpud_hello hello;
	struct gpud_ask ask;
	struct gpud_answer answer;
	struct gpud_claim claim;
	struct gpud_driver driver;
	struct gpud_gpus gpus;
	struct gpud_sample sample;
	struct gpud_incident incident;
	struct gpud_alive alive;
};

/* Whether a packet of so many bytes is what its word says. */
bool gpud_packet_ok(const union gpud_packet *p, size_t len);

/* claims.c: a process went over to other GPUs */
void gpu_claim_move(struct gpud_claim *c, const struct gt_gpu_request *rq);

#endif
