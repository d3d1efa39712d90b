/* model/weights.h - what a node tells of weights: how far a replica's are, and whose it has in
 * memory. */
#ifndef GANTRY_MODEL_WEIGHTS_H
#define GANTRY_MODEL_WEIGHTS_H

#include <gantry/base/base.h>
#include <gantry/base/err.h>

struct gt_spec;

#define GT_WEIGHTS_KEY_SIZE 17           /* 16 hex digits and NUL */
#define GT_WEIGHTS_HERE_MAX 64           /* models that a node tells of */
#define GT_WEIGHTS_BPS      (1ULL << 30) /* read speed of a node that has not measured one */

/* Functions whose weights are the same files of a node have the same key: FNV-1a over where they
 * are.
 * "" when there are none. A clash would mislead one choice of a node, and nothing else. */
void gt_weights_key(const struct gt_spec *spec, char ret[GT_WEIGHTS_KEY_SIZE]);

/* A replica's. All 0 until its files were found. */
struct gt_weights_progress {
	uint64_t total;    /* bytes of its files */
	uint64_t resident; /* of them, in memory when it was placed */
	uint64_t bytes;    /* and read ahead of it since */
	bool store;        /* they come from the node's weight store */
	char why[40]; /* slug of what was not done: store_full, store_off, weights_missing ...; ""
		       */
};

/* Which folios the node's page cache got from its file system. */
enum gt_weights_pages { GT_PAGES_UNKNOWN, GT_PAGES_LARGE, GT_PAGES_SMALL, GT_PAGES_N };
const char *gt_weights_pages_name(enum gt_weights_pages p); /* "unknown", "2MiB", "4KiB" */

struct gt_weights_here {
	char key[GT_WEIGHTS_KEY_SIZE];
	uint64_t resident, total;
};

/* Of a node. */
struct gt_node_weights {
	bool told;
	uint64_t read_bps; /* as last measured; 0 = not yet */
	enum gt_weights_pages pages;
	uint64_t store_bytes, store_used; /* 0 = it has none */
	bool store_huge;
	struct gt_weights_here *here;
	size_t n_here;
};

#endif
