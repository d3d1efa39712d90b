/* shard.h - the loop threads of one gateway. Each is a struct gt_gateway of its own, with its own
 * loop, connections, pools and timers: nothing of it is touched by another thread.
 *
 * A function has one home, by its name: that shard alone has its queue, slots and connections to
 * its replicas, so that all of these are exact without a lock. A connection goes with its call to
 * the home of the function (move.c) and stays there. Shard 0 also has what there is one of: the
 * link to control, the demand of all (demand.c), signals, files, the gateways before and after.
 *
 * What one shard wants of another it writes into its letter box. */
#ifndef GANTRY_GATEWAY_SHARD_H
#define GANTRY_GATEWAY_SHARD_H

#include <pthread.h>
#include <stdatomic.h>

#include <gantry/gateway/gateway.h>
#include <gantry/loop/loop.h>

#include "catalog.h"

#define GT_SHARDS_MAX GT_GATEWAY_THREADS_MAX

struct gt_gateway;
struct gt_demand_part;
struct gt_line;

/* Lies inside of what it carries, so that sending one never fails and needs no memory. `fn` runs on
 * the shard that it was posted to, which owns the letter from then on; gw->freeing: nothing begins
 * any more. Letters of one sender come in their order. */
struct gt_mail {
	struct gt_mail *next;
	void (*fn)(struct gt_gateway *gw, struct gt_mail *m GT_TAKES);
};

struct gt_shard {
	struct gt_gateway *gw;
	struct gt_wake *wake; /* NULL: under a test, which reads the box itself */
	struct gt_loop *loop; /* of its own; NULL: shard 0's is the caller's */
	pthread_t thread;
	bool running;
	struct gt_mail *read; /* its own: taken out of the box, oldest first */
	bool reads_on;        /* the rest of a flood */
	/* Shard 0's: parts.c. */
	struct gt_gateway_stats stats; /* as it told them last */
	bool in_post;
	_Alignas(64) _Atomic(struct gt_mail *) box; /* newest first */
};

struct gt_shards {
	unsigned n;
	struct gt_catalog *catalog; /* whose models are whose */
	/* Shard 0's own. */
	unsigned n_quiet; /* shards that take no more connections */
	struct gt_demand_part *parts[GT_SHARDS_MAX];
	/* Anyone's. Connections count also while they move. Of buffered bytes each shard tells
	 * only coarse steps. */
	_Alignas(64) _Atomic uint32_t n_conns;
	_Atomic int64_t buffered;
	struct gt_shard at[GT_SHARDS_MAX];
};

/* The set that `first` is shard 0 of. */
struct gt_shards *gt_shards_new(struct gt_gateway *first);
/* Before any thread runs. */
void gt_shards_add(struct gt_shards *s, struct gt_gateway *gw);
/* Everything of all of them, the first one, too; no thread runs. */
void gt_shards_free(struct gt_shards *s);

uint32_t gt_shard_hash(const char *function, size_t len);
/* Whose that function is, known or not. */
unsigned gt_shard_home(const struct gt_gateway *gw, const char *function, size_t len);

void gt_shard_post(struct gt_shards *s, unsigned to, struct gt_mail *m GT_TAKES);
void gt_shard_read(struct gt_gateway *gw); /* its letters; the others of a flood come later */
/* Runs fn on every other shard, or on one. Nothing when there is only one. */
void gt_shards_tell(struct gt_gateway *gw, void (*fn)(struct gt_gateway *gw));
void gt_shard_tell(struct gt_gateway *gw, unsigned to, void (*fn)(struct gt_gateway *gw));

/* spread.c */
/* Shard 0: takes out of a line of routes what is other shards', and sends it to them. */
void gt_spread_line(struct gt_gateway *gw, struct gt_line *line);

/* ---- what is counted over all of them ---- */
void gt_gw_conns_add(struct gt_gateway *gw, int n);
uint32_t gt_gw_conns(const struct gt_gateway *gw);
void gt_gw_buffered_add(struct gt_gateway *gw, int64_t bytes);
size_t gt_gw_buffered(const struct gt_gateway *gw); /* true to 64 KiB a shard */

#endif
