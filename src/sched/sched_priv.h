/* sched_priv.h - what the files of this room share.
 *
 * From a want to a node:
 *   want  -> shape   all that scores depend on; wants of one shape share a row of the index
 *   node  -> cap     what is free on it, its GPUs in one order
 *   (shape, cap) -> byte   0 = does not fit, else the score around MIDDLE; a pure function
 *   row: one byte a node. Memory, and what is said of single nodes (hints, replicas of the same
 *   function), is not in the byte: it is looked at on the way (choose.c). */
#ifndef GANTRY_SCHED_PRIV_H
#define GANTRY_SCHED_PRIV_H

#include <gantry/sched/sched.h>

#include "state.h"
#include "words.h"

#define MIDDLE     127       /* the byte of a score of 0 steps */
#define BYTE_MAX   253       /* so that a byte + 1 fits beside "unknown" */
#define WEIGHT_ALL (1 << 20) /* the weights of a mix add up to about this */
#define NO_NODE    UINT32_MAX
#define UNRATED    UINT8_MAX /* of a pick */
#define TASKS_MAX  4096
#define ROW_ALIGN  64
#define LOG_LEAST  1024
#define ROOM_ANY   UINT64_MAX
#define CPU_PART   256 /* thousandths: less than lies between two thresholds of most mixes */
#define CPU_PARTS  1024

/* ---- GPUs ---- */
/* What the mix can do with free GPUs of one kind (mix.c). */
struct kind {
	uint8_t model;
	uint32_t mib;  /* 0 = unknown */
	int64_t price; /* WEIGHT_ALL = 1 */
	size_t n_cpu, n_ones, n_groups;
	uint32_t *cpu;      /* thresholds of cpu, rising */
	uint16_t *cpu_from; /* of each part of the range of cpu: those its begin reaches */
	uint16_t *ones;     /* thousandths of tasks with one GPU, rising */
	uint16_t *upto;     /* by thousandths v, 0 to 1000: how many of `ones` are at most v */
	/* [n_cpu + 1][n_ones + 1]: the part of all tasks that the first i of `ones` make up and
	 * that so much cpu is enough for */
	uint32_t *one_weight;
	uint16_t *milli, *num; /* of each group of tasks with several GPUs, falling */
	uint32_t *weight;      /* [n_cpu + 1][n_groups] of the group's tasks */
};

/* ---- nodes ---- */
struct slot {
	uint8_t kind; /* of node.kinds */
	bool broken;
	uint16_t milli; /* taken */
	uint32_t mib;   /* taken */
	uint8_t link, bridge;
};

struct node {
	char *name; /* NULL: no such node */
	enum gt_sched_state state;
	bool near;   /* some of its GPUs are near to each other */
	bool barred; /* has a member of the gang that is being placed apart */
	uint32_t generation;
	uint64_t cpu_room, memory_room; /* times overcommit */
	uint64_t cpu_taken, memory_taken;
	uint32_t replicas, exclusives;
	uint32_t owner;     /* of the exclusive ones */
	bool owners_differ; /* never placed so, but found so after a start */
	uint8_t n_slots, n_kinds, n_labels;
	uint8_t kinds[GT_SCHED_KINDS_MAX];
	struct slot slots[GT_SCHED_GPUS_MAX];
	uint32_t *labels; /* rising */
};

/* ---- shapes and rows ---- */
struct shape {
	uint64_t models;                         /* bits; 0 = any */
	uint8_t order[GT_SCHED_WANT_MODELS_MAX]; /* model + 1, best first; 0 = no more, or equal */
	uint32_t labels[GT_SCHED_WANT_LABELS_MAX]; /* + 1 */
	uint32_t cpu, mib, owner;                  /* owner: of an exclusive want */
	uint16_t milli;
	uint8_t gpus, exclusive;
};
_Static_assert(sizeof(struct shape) % 8 == 0, "hashed as words, without padding");

struct task {
	struct shape shape;
	uint64_t weight;
};

struct row {
	struct shape shape;
	uint64_t cursor; /* it knows of all changes up to this one */
	uint64_t used;
	uint8_t *bytes; /* one a node */
	uint8_t *picks; /* by node: the first GPU taken, or UNRATED: the byte is no score yet, but
			 * no score is above it */
	uint8_t *tops;  /* for each ROW_ALIGN of the bytes: none is larger */
	uint16_t needs[GLANCE_KINDS]; /* at least, of one GPU, by kind of a glance */
	uint8_t whole;                /* GPUs that must be whole */
};

/* ---- replicas of one function ---- */
struct peer {
	uint32_t node, count;
};
struct peers;

struct adjust {
	uint32_t node;
	int32_t ready, spread; /* steps */
	uint32_t rated;        /* what the row had */
};

struct gt_sched {
	struct gt_sched_config config;
	struct node *nodes;
	size_t n_nodes, cap_nodes; /* n: the highest index + 1; cap: a multiple of ROW_ALIGN */
	uint32_t generation;
	uint64_t milli_taken;

	char *models[GT_SCHED_MODELS_MAX];
	size_t n_models;
	uint64_t capacity[GT_SCHED_MODELS_MAX]; /* GPUs of each, in thousandths */
	struct gt_sched_labels *labels;         /* names.c */
	struct kind kinds[KINDS_ALL];
	size_t n_kinds;
	struct task *tasks;
	size_t n_tasks;
	struct task *learned; /* LEARNED_MAX, with config.learn */
	size_t n_learned;
	uint64_t lessons;
	bool mix_stale; /* prices and weights wait for gt_sched_mix_refresh */

	uint64_t seq;     /* changes so far */
	uint64_t *newest; /* by node: its last change */
	uint32_t *log;    /* nodes by change, with a bit when outdated: a ring of log_cap */
	size_t log_cap;

	struct state *states; /* by node */
	struct glance *glances;

	struct row *rows;
	size_t n_rows, cap_rows;
	uint32_t *row_slots; /* hash: row + 1 */
	size_t n_row_slots;  /* a power of two */
	uint64_t requests;

	struct peers *peers; /* peers.c */
	struct adjust *adjust;
	size_t n_adjust, cap_adjust;
	uint32_t *mark;  /* by node: place in adjust + 1 */
	uint8_t *bounds; /* of a search: of each block, what is left of its tops (choose.c) */
};

static inline bool fits(uint64_t room, uint64_t taken, uint64_t want)
{
	return want == 0 || room == ROOM_ANY || (taken <= room && want <= room - taken);
}

/* shape.c */
GT_MUST_USE int gt_sched_shape(const struct gt_sched_want *want, struct shape *ret,
			       struct gt_err *err);
uint64_t gt_sched_hash(const void *data, size_t len); /* len: a multiple of 4 */
/* What a want takes of a GPU of this kind; false when it may not or can not have one. */
bool gt_sched_need(const struct shape *sh, const struct kind *k, unsigned *milli, uint32_t *mib);

/* mix.c */
void gt_sched_mix_refresh(struct gt_sched *s); /* after a change of capacity or mix */
void gt_sched_mix_learn(struct gt_sched *s, const struct shape *sh); /* it was placed */
void gt_sched_kind_clear(struct kind *k);

/* fleet.c */
uint32_t gt_sched_slot_code(const struct gt_sched *s, const struct node *n, size_t slot);

/* near.c: for each code a slot that is in that state, and all of them near to each other. */
uint32_t gt_sched_near(const struct gt_sched *s, const struct node *n, const uint32_t *codes,
		       size_t n_codes);

/* rate.c */
void gt_sched_cap(const struct gt_sched *s, const struct node *n, struct cap *ret);
/* F, if `cpu` were what is left of it. */
int64_t gt_sched_frag(const struct gt_sched *s, const struct cap *c, uint32_t cpu);
uint32_t gt_sched_cap_rate(const struct gt_sched *s, const struct shape *sh, const struct cap *c,
			   int64_t frag);
/* Quick: no rate of a cap that may do is above it. `milli`: needed of a GPU of its first kind. */
uint32_t gt_sched_cap_bound(const struct gt_sched *s, const struct shape *sh, const struct cap *c,
			    int64_t frag, unsigned milli);
/* The codes of the GPUs a want takes, `pick` the first; how many. */
size_t gt_sched_cap_take(const struct gt_sched *s, const struct shape *sh, const struct cap *c,
			 unsigned pick, uint32_t codes[GT_SCHED_GPUS_MAX]);
/* Up, not another's, and with the labels. */
bool gt_sched_node_takes(const struct node *n, const struct shape *sh);
uint32_t gt_sched_node_rate(const struct gt_sched *s, const struct shape *sh, const struct node *n);

/* index.c */
void gt_sched_index_grow(struct gt_sched *s, size_t cap_nodes);
void gt_sched_index_free(struct gt_sched *s);
void gt_sched_index_reset(struct gt_sched *s); /* every score has changed */
void gt_sched_changed(struct gt_sched *s, uint32_t node);
const struct state *gt_sched_state_learn(struct gt_sched *s, uint32_t node);
static inline const struct state *gt_sched_state(struct gt_sched *s, uint32_t node)
{
	return s->glances[node].kind != GLANCE_UNKNOWN ? &s->states[node]
						       : gt_sched_state_learn(s, node);
}
struct row *gt_sched_row(struct gt_sched *s, const struct shape *sh); /* up to date */
/* The score of the node, worked out when it is not yet. */
uint32_t gt_sched_row_rate(struct gt_sched *s, struct row *row, uint32_t node);

size_t gt_sched_tops_size(size_t nodes); /* bytes for the tops of so many; of ROW_ALIGN */
void gt_sched_row_set(struct row *row, uint32_t node, uint32_t rated);

/* widest.c: the largest byte that is not above `most`; n is a multiple of ROW_ALIGN */
uint8_t gt_sched_row_max(const uint8_t *bytes, size_t n, uint8_t most, bool portable);

/* choose.c: the node with the highest score, NO_NODE when nothing fits */
struct adjust *gt_sched_adjust_of(const struct gt_sched *s, uint32_t node); /* NULL: none */
void gt_sched_adjust_collect(struct gt_sched *s, const struct gt_sched_want *want, bool spread);
void gt_sched_adjust_end(struct gt_sched *s);
bool gt_sched_memory_fits(struct gt_sched *s, uint32_t node, const struct gt_sched_want *want);
struct choice {
	uint32_t node;
	uint8_t pick;
};
struct choice gt_sched_choose(struct gt_sched *s, const struct gt_sched_want *want,
			      const struct shape *sh, bool spread);

/* peers.c */
void gt_sched_peers_add(struct gt_sched *s, uint32_t function, uint32_t node, int by);
size_t gt_sched_peers_of(const struct gt_sched *s, uint32_t function, const struct peer **ret);
void gt_sched_peers_forget(struct gt_sched *s, uint32_t node);
void gt_sched_peers_free(struct gt_sched *s);

/* names.c */
void gt_sched_names_free(struct gt_sched *s);

/* refuse.c */
/* Of a node that does not take the want; *most: what the node has of it. */
enum gt_sched_limit gt_sched_first_limit(const struct gt_sched *s, const struct node *n,
					 const struct gt_sched_want *want, const struct shape *sh,
					 uint64_t *most);
int gt_sched_refuse(const struct gt_sched *s, const struct gt_sched_want *want,
		    const struct shape *sh, struct gt_err *err);

#endif
