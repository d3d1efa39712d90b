/* sched/sched.h - which node, and which of its GPUs, a replica gets.
 *
 * Pure: no I/O, no clock, no randomness; the same calls give the same answers everywhere. A fleet
 * is used by one thread at a time. The cost of a decision does not grow with the fleet but for one
 * pass over a row of bytes, one byte a node (src/sched/README.md).
 *
 * A score is a whole number of steps; a step is 0.12 GPU of fragmentation, or 300 ms of time to
 * ready: where a waiting second is worth 20 GPU-seconds and a replica lives for 50 s, both cost the
 * same. Equal scores: the node with the lowest index. */
#ifndef GANTRY_SCHED_SCHED_H
#define GANTRY_SCHED_SCHED_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

#define GT_SCHED_NODES_MAX       65536
#define GT_SCHED_GPUS_MAX        16 /* of a node */
#define GT_SCHED_KINDS_MAX       4  /* different GPUs (model, size) in one node */
#define GT_SCHED_MODELS_MAX      64 /* of a fleet */
#define GT_SCHED_LABELS_MAX      32 /* of a node */
#define GT_SCHED_WANT_MODELS_MAX 8
#define GT_SCHED_WANT_LABELS_MAX 8
#define GT_SCHED_HINTS_MAX       64
#define GT_SCHED_GANG_MAX        256
#define GT_SCHED_GPU_MILLI       1000            /* thousandths of a GPU */
#define GT_SCHED_GPU_BYTES_MAX   (1024 * GT_GIB) /* of VRAM, of one GPU */

#define GT_SCHED_STEP_MILLI   120 /* of fragmentation, in thousandths of a GPU */
#define GT_SCHED_STEP_MS      300 /* of time to ready */
#define GT_SCHED_MODEL_STEPS  10  /* the next model in order of preference: 3 s */
#define GT_SCHED_SPREAD_STEPS 2   /* each replica of the function that a node has: 0.6 s */
/* The same for a want without GPUs: more than any fill of a node. */
#define GT_SCHED_SPREAD_CPU_STEPS 101

struct gt_sched;

struct gt_sched_config {
	/* What a function states of memory and cpu are limits, and most replicas stay far below. So
	 * a node takes limits up to this many times its size. 0 = 1. */
	uint32_t memory_overcommit, cpu_overcommit;
	uint32_t shapes_max; /* kinds of wants that have a row of the index; 0 = 1024 */
	bool learn;    /* the mix is what was placed lately, instead of what gt_sched_mix says */
	bool plain;    /* no index: every decision scores every node. For comparison */
	bool portable; /* no vector instructions. For comparison */
};

struct gt_sched *gt_sched_new(const struct gt_sched_config *config);
struct gt_sched *gt_sched_free(struct gt_sched *s); /* NULL is fine; returns NULL */
GT_CLEANUP_TYPE(sched, struct gt_sched *, gt_sched_free)

/* Ids of names, given on first sight and good for the fleet's life. -E2BIG when there are too many.
 * Text is copied and compared as it is. A label is one word: "zone=a". */
GT_MUST_USE int gt_sched_model(struct gt_sched *s, const char *name, uint8_t *ret,
			       struct gt_err *err);
GT_MUST_USE int gt_sched_label(struct gt_sched *s, const char *label, uint32_t *ret,
			       struct gt_err *err);

/* ---- nodes ---- */
enum gt_sched_state {
	GT_SCHED_DOWN,     /* not connected, lost, or its replicas are not known yet */
	GT_SCHED_CORDONED, /* keeps what it has, takes nothing new */
	GT_SCHED_UP,
};

struct gt_sched_gpu {
	uint8_t model;
	bool broken;         /* not given to anybody */
	uint64_t vram_bytes; /* 0 = unknown, never full */
	/* Of the node's GPUs, those with the same number are near to each other: joined by links of
	 * their own, or below one bridge of the machine. 0 = near to no other. */
	uint8_t link, bridge;
};

struct gt_sched_node {
	const char *name; /* for refusals; copied */
	enum gt_sched_state state;
	uint64_t cpu_milli, memory_bytes; /* size; 0 = unknown, never full */
	size_t n_gpus;
	struct gt_sched_gpu gpus[GT_SCHED_GPUS_MAX]; /* a slot stays the same GPU */
	size_t n_labels;
	uint32_t labels[GT_SCHED_LABELS_MAX];
};

/* Adds the node with this index, or changes it: what is booked on it stays booked. Indexes should
 * be small and dense. -EINVAL, -E2BIG: nothing has changed. */
GT_MUST_USE int gt_sched_node_set(struct gt_sched *s, uint32_t index,
				  const struct gt_sched_node *node, struct gt_err *err);
/* The node is forgotten with all that was booked on it; spots on it may still be released. */
void gt_sched_node_remove(struct gt_sched *s, uint32_t index);

/* ---- wants ---- */
struct gt_sched_hint {
	uint32_t node;
	uint32_t ms; /* expected time to ready there */
};

/* One replica. Zero is a valid "none" for every member. */
struct gt_sched_want {
	uint64_t cpu_milli, memory_bytes; /* limits */
	/* GPUs, all on one node, of one model and size. Of each of them: thousandths of its time,
	 * and bytes of its memory. Only bytes: as many thousandths as that is of the GPU, all of
	 * one whose size is unknown. Only thousandths: as much of the memory. Neither: all. */
	uint32_t gpus;
	uint32_t gpu_milli;
	uint64_t gpu_bytes;
	/* For gt_sched_book: it is in the GPU's memory, of which others may have taken some since.
	 * What is left is booked. */
	bool is_there;
	size_t n_models; /* allowed, best first; 0 = any */
	uint8_t models[GT_SCHED_WANT_MODELS_MAX];
	bool models_equal; /* their order means nothing */
	size_t n_labels;   /* the node must have all of them */
	uint32_t labels[GT_SCHED_WANT_LABELS_MAX];
	/* The whole node is for this owner: it goes to a node where nothing is or where everything
	 * is exclusive to the same owner, and nothing else comes there while it stays. */
	bool exclusive;
	uint32_t owner;
	uint32_t function; /* replicas of the same one are spread over nodes; 0 = no spreading */
	/* Expected time to ready: on the nodes that are named, and on all others. */
	uint32_t usual_ms;
	const struct gt_sched_hint *hints; /* borrowed for the call; a node at most once */
	size_t n_hints;
};

/* What was booked: enough to give it back. */
struct gt_sched_spot {
	uint32_t node, generation;
	uint32_t gpu_mask; /* slots */
	uint16_t gpu_milli;
	bool exclusive;
	uint32_t gpu_mib; /* of each */
	uint32_t owner, function;
	uint64_t cpu_milli, memory_bytes;
};

/* Finds the best node and GPUs and books them. -EINVAL (slug invalid_want) for a want over a bound.
 * -ENOSPC (slug no_capacity) when none fits: err says which limit was met first on how many nodes,
 * which costs a pass over the fleet; err NULL spares it. */
GT_MUST_USE int gt_sched_place(struct gt_sched *s, const struct gt_sched_want *want,
			       struct gt_sched_spot *ret, struct gt_err *err);
enum gt_sched_spread {
	GT_SCHED_ANYWHERE,
	GT_SCHED_APART,    /* no two members on one node */
	GT_SCHED_TOGETHER, /* all on one node; only for equal members */
};
/* All or nothing: n spots, or none is booked. Members are taken largest first, each to the best
 * place that is left, without spreading among themselves; so a gang of equal members is placed
 * whenever that is possible, one of different members is refused in rare cases though some other
 * arrangement exists. TOGETHER, no two members have parts of one GPU, and the sum of their GPUs
 * must be one that a want may have. */
GT_MUST_USE int gt_sched_place_gang(struct gt_sched *s, const struct gt_sched_want *wants, size_t n,
				    enum gt_sched_spread spread, struct gt_sched_spot *ret,
				    struct gt_err *err);
/* Books what a node already has (found after a start): these slots, over any limit of cpu and
 * memory. -EBUSY when a GPU has not so much left (slug gpu_taken): it was given twice, and the
 * books are left as they were. -ENOENT for an unknown node, -EINVAL for slots it does not have. */
GT_MUST_USE int gt_sched_book(struct gt_sched *s, const struct gt_sched_want *want, uint32_t node,
			      uint32_t gpu_mask, struct gt_sched_spot *ret, struct gt_err *err);
/* Gives back exactly what was booked, and clears the spot: a second release does nothing. */
void gt_sched_release(struct gt_sched *s, struct gt_sched_spot *spot);

/* ---- the mix ---- */
struct gt_sched_task {
	struct gt_sched_want want;
	uint64_t weight; /* how often it is asked for, in any unit */
};
/* What is asked for as a rule: fragmentation is what of the free GPUs these can not use, and a
 * model's price is how much more is asked of it than it has. Those without GPUs do not count. n 0:
 * nothing is known, nothing is fragmented. At most 4096. */
GT_MUST_USE int gt_sched_mix(struct gt_sched *s, const struct gt_sched_task *tasks, size_t n,
			     struct gt_err *err);

/* ---- looking ---- */
/* The score of one node for a want by room, model and mix alone, as place sees it: 0 = no fit. */
unsigned gt_sched_rate(struct gt_sched *s, const struct gt_sched_want *want, uint32_t node);

enum gt_sched_limit { /* in the order in which they are looked at */
		      GT_SCHED_LIMIT_DOWN,
		      GT_SCHED_LIMIT_CORDONED,
		      GT_SCHED_LIMIT_GANG, /* has a member of the gang that is being placed */
		      GT_SCHED_LIMIT_LABELS,
		      GT_SCHED_LIMIT_EXCLUSIVE,
		      GT_SCHED_LIMIT_MODEL,
		      GT_SCHED_LIMIT_SIZE, /* too few GPUs that would do, also when all were free */
		      GT_SCHED_LIMIT_GPUS,
		      GT_SCHED_LIMIT_CPU,
		      GT_SCHED_LIMIT_MEMORY,
		      GT_SCHED_LIMITS
};
const char *gt_sched_limit_name(enum gt_sched_limit l); /* "down", "gpus" ...; static */

#define GT_SCHED_BEST_MAX 4
#define GT_SCHED_LOOK_MAX 128

/* Steps; the sum decides. */
struct gt_sched_score {
	uint32_t node;
	int32_t room;   /* fragmentation, models and fill */
	int32_t ready;  /* time to ready, against the usual one */
	int32_t spread; /* replicas of the function there: 0 or less */
};
struct gt_sched_look {
	struct gt_sched_score best[GT_SCHED_BEST_MAX]; /* the first is where place would go */
	size_t n_best;
	uint32_t looked;                   /* the first nodes of the fleet: at most LOOK_MAX */
	uint32_t refused[GT_SCHED_LIMITS]; /* of those, by the first limit that they fail */
};
/* How nodes stand for this want now. All zero for a want over a bound. For people: it costs a pass
 * over a row beside the LOOK_MAX nodes. */
void gt_sched_look(struct gt_sched *s, const struct gt_sched_want *want, struct gt_sched_look *ret);
uint64_t gt_sched_gpu_milli_taken(const struct gt_sched *s); /* over the fleet */

struct gt_sched_usage {
	uint64_t cpu_milli, memory_bytes; /* booked */
	uint32_t replicas;
	uint16_t gpu_milli[GT_SCHED_GPUS_MAX];
	uint64_t gpu_bytes[GT_SCHED_GPUS_MAX];
};
GT_MUST_USE int gt_sched_usage(const struct gt_sched *s, uint32_t node, struct gt_sched_usage *ret);

#endif
