/* gpu/estimate.h - the estimate of gpu/vram.h, made by a process of its own: files of models are a
 * stranger's, may be on a disk that does not answer, and the caller is root with a loop. The
 * process opens the files, gives up every right, reads, answers and ends; it dies with its parent.
 */
#ifndef GANTRY_GPU_ESTIMATE_H
#define GANTRY_GPU_ESTIMATE_H

#include <sys/types.h>

#include <gantry/gpu/vram.h>

struct gt_estimate_order {
	int root_fd;      /* directory that the path is looked up in; borrowed for the call */
	const char *path; /* a directory, or one file (gpu/model_files.h); inside of root_fd */
	uint32_t parallel;
	struct gt_vram_params params;
	uid_t uid; /* who reads */
	gid_t gid;
};

/* One packet. */
struct gt_estimate_answer {
	int code; /* 0: there is an estimate; else a positive errno, and why */
	char slug[40];
	char text[600];
	char arch[GT_LLM_ARCH_MAX + 1];
	struct gt_vram vram;
};

/* From a process of one thread. The answer can be received from *ret_socket (gt_os_recv); its end
 * without one means that the process died. Whoever does not want to wait kills it. */
GT_MUST_USE int gt_estimate_start(const struct gt_estimate_order *order, int *ret_pidfd,
				  int *ret_socket, struct gt_err *err);

#endif
