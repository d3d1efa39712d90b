/* preflight.h - gantry-preflight, a program of its own: do these GPUs add up, and how fast?
 *
 * Each rank is a process, for a library that hangs must not take the judge along. All connect to
 * one coordinator, in the process of rank 0, which hands out NCCL's id, collects what each rank saw
 * and says one verdict. Ranks of one build talk to each other: messages are structs as they are.
 * Nothing of NVIDIA is linked; both libraries are loaded by the ranks. */
#ifndef GPU_PREFLIGHT_H
#define GPU_PREFLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PF_RANKS_MAX  64
#define PF_SIZES_MAX  8
#define PF_ROUNDS     5 /* timed, after one to warm up */
#define PF_LINK_BYTES (4u << 20)
#define PF_MAGIC      0x31465047u /* "GPF1" */

enum pf_type { PF_HELLO = 1, PF_MAKE_ID, PF_ID, PF_RESULT, PF_FAILED, PF_NO_LIBRARY };

struct pf_config {
	int ranks;        /* of all */
	int first, local; /* those of this process */
	const char *host; /* of the coordinator */
	uint16_t port;    /* 0 = any, when all ranks are here */
	const char *nccl; /* the library's name or path */
	const char *cuda; /* of the driver; NULL: memory of the host, for a test double of NCCL */
	uint64_t sizes[PF_SIZES_MAX];
	int n_sizes;
	double baseline;         /* GB/s of the largest size; 0 = none is known */
	const char *baseline_of; /* where that is from */
	uint64_t timeout_ms;
};

struct pf_msg {
	uint32_t magic, type;
	int32_t rank, version; /* of NCCL: 22809 is 2.28.9 */
	uint8_t id[128];
	uint64_t ns[PF_SIZES_MAX][PF_ROUNDS];
	int64_t wrong[PF_SIZES_MAX]; /* the first wrong element; -1 = none */
	double got, wanted;          /* of the first wrong one */
	uint64_t link_ns;            /* for PF_LINK_BYTES from the rank before */
	char text[200];              /* FAILED, NO_LIBRARY: why */
};

uint64_t pf_now_ns(void);
/* Whole messages; false: the peer is gone. */
bool pf_send(int fd, const struct pf_msg *m);
bool pf_receive(int fd, struct pf_msg *m);

/* worker.c: a rank, in a process of its own. */
_Noreturn void pf_work(const struct pf_config *c, int rank);

/* judge.c: on the listening socket, until all ranks have told or time is up. Prints the verdict as
 * JSON; 0: pass, 1: fail. */
int pf_judge(const struct pf_config *c, int listener, uint64_t began_ns);

#endif
