/* refuse.c - why nothing fits: for each node the first limit that it fails, summed up. */
#include "sched_priv.h"

#include <gantry/base/buf.h>
#include <gantry/base/units.h>

#include <string.h>

struct tally {
	size_t nodes, n[GT_SCHED_LIMITS];
	uint64_t most[GT_SCHED_LIMITS]; /* of what is short, on the node that has most */
	const struct node *best[GT_SCHED_LIMITS];
};

static const struct {
	const char *name;
	const char *one, *many; /* "1 is down", "3 are down" */
} words[GT_SCHED_LIMITS] = {
	[GT_SCHED_LIMIT_DOWN] = { "down", "is down", "are down" },
	[GT_SCHED_LIMIT_CORDONED] = { "cordoned", "takes nothing new", "take nothing new" },
	[GT_SCHED_LIMIT_GANG] = { "gang", "has a member of the gang", "have a member of the gang" },
	[GT_SCHED_LIMIT_LABELS] = { "labels", "lacks a label", "lack a label" },
	[GT_SCHED_LIMIT_EXCLUSIVE] = { "exclusive", "is in use by others, or exclusive to them",
				       "are in use by others, or exclusive to them" },
	[GT_SCHED_LIMIT_MODEL] = { "gpu_model", "has no GPU of the models",
				   "have no GPUs of the models" },
	[GT_SCHED_LIMIT_SIZE] = { "gpu_size", "has too few such GPUs", "have too few such GPUs" },
	[GT_SCHED_LIMIT_GPUS] = { "gpus", "has too few free", "have too few free" },
	[GT_SCHED_LIMIT_CPU] = { "cpu", "has not so much cpu left", "have not so much cpu left" },
	[GT_SCHED_LIMIT_MEMORY] = { "memory", "has not so much memory left",
				    "have not so much memory left" },
};

const char *gt_sched_limit_name(enum gt_sched_limit l)
{
	return (unsigned)l < GT_SCHED_LIMITS ? words[l].name : "unknown";
}

/* How many of a node's GPUs would do: at all, and with what is free of them now. */
static void gpus_count(const struct gt_sched *s, const struct node *n, const struct shape *sh,
		       bool *model, uint64_t *sized, uint64_t *now)
{
	uint64_t of[GT_SCHED_KINDS_MAX] = { 0 }, left[GT_SCHED_KINDS_MAX] = { 0 };

	*model = false;
	*sized = *now = 0;
	for (size_t i = 0; i < n->n_slots; i++) {
		const struct slot *slot = &n->slots[i];
		const struct kind *kind = &s->kinds[n->kinds[slot->kind]];
		uint32_t code = gt_sched_slot_code(s, n, i), mib;
		unsigned milli;

		if (slot->broken || (sh->models && !(sh->models >> kind->model & 1)))
			continue;
		*model = true;
		if (!gt_sched_need(sh, kind, &milli, &mib))
			continue;
		of[slot->kind]++;
		left[slot->kind] += code_milli(code) >= milli && code_mib(code) >= mib;
	}
	for (size_t i = 0; i < GT_SCHED_KINDS_MAX; i++) {
		*sized = GT_MAX(*sized, of[i]);
		*now = GT_MAX(*now, left[i]);
	}
}

static uint64_t left_of(uint64_t room, uint64_t taken)
{
	return room > taken ? room - taken : 0;
}

enum gt_sched_limit gt_sched_first_limit(const struct gt_sched *s, const struct node *n,
					 const struct gt_sched_want *want, const struct shape *sh,
					 uint64_t *most)
{
	struct shape open = *sh;
	uint64_t sized, now;
	bool model;

	*most = 0;
	memset(open.labels, 0, sizeof(open.labels));
	if (n->state != GT_SCHED_UP)
		return n->state == GT_SCHED_DOWN ? GT_SCHED_LIMIT_DOWN : GT_SCHED_LIMIT_CORDONED;
	if (n->barred)
		return GT_SCHED_LIMIT_GANG;
	if (!gt_sched_node_takes(n, sh))
		return gt_sched_node_takes(n, &open) ? GT_SCHED_LIMIT_LABELS
						     : GT_SCHED_LIMIT_EXCLUSIVE;
	if (sh->gpus > 0) {
		gpus_count(s, n, sh, &model, &sized, &now);
		if (!model)
			return GT_SCHED_LIMIT_MODEL;
		*most = sized < sh->gpus ? sized : now;
		if (*most < sh->gpus)
			return sized < sh->gpus ? GT_SCHED_LIMIT_SIZE : GT_SCHED_LIMIT_GPUS;
	}
	if (!fits(n->cpu_room, n->cpu_taken, want->cpu_milli)) {
		*most = left_of(n->cpu_room, n->cpu_taken);
		return GT_SCHED_LIMIT_CPU;
	}
	*most = left_of(n->memory_room, n->memory_taken);
	return GT_SCHED_LIMIT_MEMORY;
}

static void tally_fill(const struct gt_sched *s, const struct gt_sched_want *want,
		       const struct shape *sh, struct tally *t)
{
	for (size_t i = 0; i < s->n_nodes; i++) {
		const struct node *n = &s->nodes[i];
		enum gt_sched_limit limit;
		uint64_t most;

		if (!n->name)
			continue;
		limit = gt_sched_first_limit(s, n, want, sh, &most);
		t->nodes++;
		t->n[limit]++;
		if (t->best[limit] && most <= t->most[limit])
			continue;
		t->best[limit] = n;
		t->most[limit] = most;
	}
}

/* ---- words ---- */
static void add_bytes(struct gt_buf *b, uint64_t bytes)
{
	if (bytes >= GT_GIB && bytes % GT_GIB == 0)
		gt_buf_addf(b, "%llu GiB", (unsigned long long)(bytes / GT_GIB));
	else
		gt_buf_addf(b, "%llu MiB", (unsigned long long)((bytes + GT_MIB - 1) / GT_MIB));
}

static void add_want(struct gt_buf *b, const struct gt_sched *s, const struct gt_sched_want *want)
{
	size_t start = b->len;

	if (want->gpus) {
		gt_buf_addf(b, "%u GPU%s", want->gpus, want->gpus > 1 ? "s" : "");
		if (want->gpu_milli && want->gpu_milli < GT_SCHED_GPU_MILLI)
			gt_buf_addf(b, " (%u/1000 of %s)", want->gpu_milli,
				    want->gpus > 1 ? "each" : "it");
		if (want->gpu_bytes) {
			gt_buf_adds(b, " of ");
			add_bytes(b, want->gpu_bytes);
		}
		for (size_t i = 0; i < want->n_models; i++)
			gt_buf_addf(b, "%s%.32s", i ? " or " : ", model ",
				    want->models[i] < s->n_models ? s->models[want->models[i]]
								  : "?");
	}
	if (want->cpu_milli)
		gt_buf_addf(b, "%s%llu m of cpu", b->len > start ? ", " : "",
			    (unsigned long long)want->cpu_milli);
	if (want->memory_bytes) {
		gt_buf_adds(b, b->len > start ? ", " : "");
		add_bytes(b, want->memory_bytes);
		gt_buf_adds(b, " of memory");
	}
	if (b->len == start)
		gt_buf_adds(b, "a node");
}

/* What the node that comes closest has. */
static void add_most(struct gt_buf *b, const struct tally *t, enum gt_sched_limit l)
{
	const struct node *n = t->best[l];

	if (l == GT_SCHED_LIMIT_SIZE || l == GT_SCHED_LIMIT_GPUS) {
		gt_buf_addf(b, " (most: %llu on node %s)", (unsigned long long)t->most[l], n->name);
	} else if (l == GT_SCHED_LIMIT_CPU) {
		gt_buf_addf(b, " (most: %llu m on node %s, whose limits may add up to %llu m)",
			    (unsigned long long)t->most[l], n->name,
			    (unsigned long long)n->cpu_room);
	} else if (l == GT_SCHED_LIMIT_MEMORY) {
		gt_buf_adds(b, " (most: ");
		add_bytes(b, t->most[l] / GT_MIB * GT_MIB);
		gt_buf_addf(b, " on node %s, whose limits may add up to ", n->name);
		add_bytes(b, n->memory_room);
		gt_buf_addc(b, ')');
	}
}

/* The nearest way out is what stopped the nodes that came furthest. */
static const char *fix(const struct tally *t)
{
	if (t->n[GT_SCHED_LIMIT_MEMORY])
		return "; stop replicas or lower resources.memory";
	if (t->n[GT_SCHED_LIMIT_CPU])
		return "; stop replicas or lower resources.cpu";
	if (t->n[GT_SCHED_LIMIT_GPUS])
		return "; stop replicas or lower resources.gpu";
	return "";
}

int gt_sched_refuse(const struct gt_sched *s, const struct gt_sched_want *want,
		    const struct shape *sh, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf b = { .max = 4096 };
	struct tally t = { 0 };
	bool any = false;

	tally_fill(s, want, sh, &t);
	if (t.nodes == t.n[GT_SCHED_LIMIT_DOWN])
		return gt_err_set(err, ENOSPC, "no_capacity", "no node is up (%zu known)", t.nodes);
	gt_buf_adds(&b, "needs ");
	add_want(&b, s, want);
	gt_buf_addf(&b, ": of %zu node%s, ", t.nodes, t.nodes == 1 ? "" : "s");
	for (int l = 0; l < GT_SCHED_LIMITS; l++) {
		if (t.n[l] == 0)
			continue;
		gt_buf_addf(&b, "%s%zu %s", any ? ", " : "", t.n[l],
			    t.n[l] == 1 ? words[l].one : words[l].many);
		add_most(&b, &t, l);
		any = true;
	}
	gt_buf_adds(&b, fix(&t));
	gt_err_set(err, ENOSPC, "no_capacity", "%s", gt_buf_str(&b));
	return -ENOSPC;
}
