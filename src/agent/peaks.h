/* peaks.h - what models were seen to need of a GPU beyond their estimate, for the next estimate of
 * the same model with the same engine; part of the room. One file, STATE/agent/gpu-peaks: a head, a
 * checksum of all that follows, a line for each key. Of the loop's thread. */
#ifndef GANTRY_SRC_AGENT_PEAKS_H
#define GANTRY_SRC_AGENT_PEAKS_H

#include <gantry/http/digest.h>
#include <gantry/model/spec.h>

#define PEAKS_MAX 256 /* keys; the one that was learned longest ago goes first */

struct peaks;

/* dir is where the file is, or will be. One that is damaged is ignored, with a line in the log. */
struct peaks *gt_peaks_open(const char *dir);
void gt_peaks_free(struct peaks *p); /* NULL is fine */

/* The same for the same weights (where they are, how many bytes of them are on a GPU), command,
 * number of GPUs, context, sequences and type of the cache. */
void gt_peaks_key(const struct gt_spec *spec, uint64_t weights, char ret[GT_SHA256_HEX_SIZE]);

/* A GPU of gpu_bytes in all was seen with `peak` of this model. The greatest is kept, with a
 * twentieth more, but for no more than the GPU has: it was enough. */
void gt_peaks_learn(struct peaks *p, const char *key, uint64_t peak, uint64_t gpu_bytes);
uint64_t gt_peaks_need(const struct peaks *p, const char *key); /* bytes on each GPU; 0: unknown */

#endif
